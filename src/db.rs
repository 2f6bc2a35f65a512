//! The database: SQLite or PostgreSQL, and all that the two disagree on.
//!
//! On SQLite one connection writes and a few read, so writers queue here instead of failing there; `synchronous=FULL`, so an
//! acknowledged write survives the machine. Lists and look-ups that join are plain SQL (`$1` works on both), built by [`Sql`].
//! Nothing outside this file asks which database it is.

use crate::{
    error::{Denied, Error, Fault, Result},
    private::close_to_others,
};
use sea_orm::{
    ActiveModelTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    EntityName, EntityTrait, FromQueryResult, IdenStatic, Iterable, QueryResult, RuntimeErr, SqliteTransactionMode, Statement,
    TransactionOptions, TransactionTrait, Value, sqlx,
};
use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, timeout_at},
};
use unicode_normalization::UnicodeNormalization;

/// How long a statement waits for a connection, and SQLite for another process that writes, before the client is told that the
/// server is overloaded. A transaction waits longer in an orderly queue: see [`Turns`].
const PATIENCE: Duration = Duration::from_millis(900);
const SQLITE_READERS: u32 = 4;
const POSTGRES_CONNECTIONS: u32 = 10;
/// How many of them transactions may have at once: the rest are for reading.
const POSTGRES_WRITERS: u32 = 8;
/// How many rows go into one statement, under both databases' limit of parameters.
pub const ROWS_PER_STATEMENT: usize = 500;

/// The database's connections.
#[derive(Clone)]
pub struct Db {
    reader: DatabaseConnection,
    writer: DatabaseConnection,
    turns: Arc<Turns>,
    statements: Arc<AtomicU64>,
}

/// Whose turn it is to write. A queue that moves is waited in for as long as it takes; one that has not moved for a while is
/// left, since nobody knows when it will.
struct Turns {
    free: Arc<Semaphore>,
    /// When one ended.
    moved: watch::Sender<Instant>,
}

/// A transaction's turn, until it ends.
pub struct Turn {
    turns: Arc<Turns>,
    /// Whether the transaction began. One that could not has not moved the queue.
    began: bool,
    _place: OwnedSemaphorePermit,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if self.began {
            self.turns.moved.send_replace(Instant::now());
        }
    }
}

impl Turns {
    fn new(writers: u32) -> Arc<Self> {
        Arc::new(Self { free: Arc::new(Semaphore::new(writers as usize)), moved: watch::Sender::new(Instant::now()) })
    }

    async fn take(self: &Arc<Self>) -> Result<Turn> {
        let from = Instant::now();
        let mut place = std::pin::pin!(Arc::clone(&self.free).acquire_owned());
        loop {
            let moved = *self.moved.borrow();
            let until = moved.max(from) + PATIENCE;
            match timeout_at(until, place.as_mut()).await {
                Ok(Ok(place)) => return Ok(Turn { turns: Arc::clone(self), began: false, _place: place }),
                Err(_) if *self.moved.borrow() > moved => {}
                _ => return Err(Denied::Overloaded.into()),
            }
        }
    }
}

/// How often a migration is tried that others keep from its locks.
const MIGRATED_TRIES: usize = 5;

impl Db {
    /// Connects to `sqlite://file` (made if it is not there) or `postgres://…`.
    pub async fn connect(url: &str) -> Result<Self> {
        let statements = Arc::<AtomicU64>::default();
        let (reader, writer, writers) = if url.starts_with("sqlite:") {
            make_private(url).map_err(|error| Fault::new(format!("{url}: {error}")))?;
            let writer = open(url, 1, &statements).await?;
            (open(url, SQLITE_READERS, &statements).await?, writer, 1)
        } else {
            let pool = open(url, POSTGRES_CONNECTIONS, &statements).await?;
            (pool.clone(), pool, POSTGRES_WRITERS)
        };
        Ok(Self { reader, writer, turns: Turns::new(writers), statements })
    }

    /// For reading outside a transaction.
    pub fn reader(&self) -> &DatabaseConnection {
        &self.reader
    }

    /// Applies the migrations that are missing, and answers their names. Who works meanwhile may take what it locks in another order;
    /// when that costs the migration its turn, it is tried again (R4).
    pub async fn migrate(&self) -> Result<Vec<&'static str>, DbErr> {
        for _ in 1..MIGRATED_TRIES {
            match migration::up(&self.writer).await {
                Err(error) if is_worth_another_try(&error) => tracing::warn!(%error, "the migration is tried again"),
                done => return done,
            }
        }
        migration::up(&self.writer).await
    }

    /// For one statement that needs no transaction.
    pub fn writer(&self) -> &DatabaseConnection {
        &self.writer
    }

    /// How many statements ran so far: what a page costs is counted, not guessed.
    pub fn statements(&self) -> u64 {
        self.statements.load(Ordering::Relaxed)
    }

    /// Empties SQLite's write-ahead log into its file, so that what was deleted is not left in there. That somebody reads
    /// meanwhile only puts it off to the next time, or to the end of the server.
    pub async fn empty_log(&self) {
        if self.writer.get_database_backend() == DbBackend::Sqlite
            && let Err(error) = self.writer.execute_unprepared("PRAGMA wal_checkpoint(TRUNCATE)").await
        {
            tracing::warn!(%error, "the write-ahead log could not be emptied");
        }
    }

    /// Closes all connections; SQLite then puts its log away, and nothing but the one file is left.
    pub async fn close(&self) {
        for pool in [&self.reader, &self.writer] {
            if let Err(error) = pool.close_by_ref().await {
                tracing::warn!(%error, "a connection could not be closed");
            }
        }
    }

    /// Begins a transaction that may write: on SQLite it takes the write lock at once, since one that takes it later can lose.
    #[expect(clippy::disallowed_methods, reason = "App::tx begins its transactions here")]
    pub(crate) async fn begin(&self) -> Result<(DatabaseTransaction, Turn)> {
        let mut turn = self.turns.take().await?;
        let options =
            TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..Default::default() };
        let transaction = self.writer.begin_with_options(options).await?;
        turn.began = true;
        Ok((transaction, turn))
    }
}

/// Makes the file of a new SQLite database, for its owner's eyes alone; SQLite gives its other files the same mode. Those that are
/// there already are closed to others.
fn make_private(url: &str) -> std::io::Result<()> {
    let path = url.trim_start_matches("sqlite:").trim_start_matches("//").split('?').next().unwrap_or_default();
    if path.is_empty() || path.starts_with(':') {
        return Ok(());
    }
    if Path::new(path).exists() {
        return ["", "-wal", "-shm", "-journal"].iter().try_for_each(|end| close_to_others(Path::new(&format!("{path}{end}"))));
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map(|_| ())
}

async fn open(url: &str, connections: u32, statements: &Arc<AtomicU64>) -> Result<DatabaseConnection> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(connections).acquire_timeout(PATIENCE).sqlx_logging(false);
    options.test_before_acquire_if_idle_for(Duration::from_secs(5));
    options.map_sqlx_sqlite_opts(|options| {
        options
            .create_if_missing(true)
            .journal_mode(sqlx::sqlite::SqliteJournalMode::Wal)
            .synchronous(sqlx::sqlite::SqliteSynchronous::Full)
            .busy_timeout(PATIENCE)
            .foreign_keys(true)
            // What is deleted is overwritten: who is erased is gone from the file too (U8).
            .pragma("secure_delete", "ON")
    });
    // A transaction that its program forgot must not hold its locks for ever.
    options.map_sqlx_postgres_opts(|options| {
        options.options([("idle_in_transaction_session_timeout", "10s"), ("lock_timeout", "10s")])
    });
    options.map_sqlx_sqlite_pool_opts(|pool| pool.after_release(|connection, _| Box::pin(is_clean::<sqlx::Sqlite>(connection))));
    options
        .map_sqlx_postgres_pool_opts(|pool| pool.after_release(|connection, _| Box::pin(is_clean::<sqlx::Postgres>(connection))));
    let mut db = Database::connect(options).await?;
    let statements = statements.clone();
    db.set_metric_callback(move |_| {
        statements.fetch_add(1, Ordering::Relaxed);
    });
    Ok(db)
}

/// Whether a connection may be used again. After a commit that failed, the driver takes the next transaction for one inside
/// the last, and its commit for none: what is acknowledged then is lost.
async fn is_clean<D: sqlx::Database>(connection: &mut D::Connection) -> Result<bool, sqlx::Error> {
    use sqlx::Connection as _;
    // What was told to roll back has done so when this answers.
    connection.ping().await?;
    Ok(!connection.is_in_transaction())
}

impl From<DbErr> for Error {
    fn from(error: DbErr) -> Self {
        match error {
            error if is_overload(&error) => Denied::Overloaded.into(),
            error if is_lost(&error) => {
                tracing::warn!(%error, "the database is not there");
                Denied::Overloaded.into()
            }
            error if is_bad_text(&error) => {
                Denied::BadRequest("A text here has a character that no text can have.".into()).into()
            }
            error if is_worth_another_try(&error) => Self::Contended(Fault::new(error)),
            error => Fault::new(error).into(),
        }
    }
}

/// Whether the same transaction may succeed when it is run again: it lost against another one.
fn is_worth_another_try(error: &DbErr) -> bool {
    // PostgreSQL: serialization failure, deadlock. SQLite: busy, locked and their extended codes.
    match driver_code(error).as_deref() {
        Some("40001" | "40P01") => true,
        Some(code) => code.parse::<u32>().is_ok_and(|code| matches!(code & 0xff, 5 | 6) && code < 10_000),
        None => false,
    }
}

/// Whether another holds what was waited for too long.
fn is_overload(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(_)) || driver_code(error).as_deref() == Some("55P03")
}

/// Whether the connection broke, or the database is starting or stopping: it will be there again. What a transaction did until
/// then is undone, unless it was about to commit.
fn is_lost(error: &DbErr) -> bool {
    use sqlx::Error::{Io, PoolClosed, Protocol, WorkerCrashed};
    match driver_error(error) {
        Some(Io(_) | PoolClosed | Protocol(_) | WorkerCrashed) => true,
        _ => driver_code(error).is_some_and(|code| code.len() == 5 && (code.starts_with("08") || code.starts_with("57P"))),
    }
}

/// Whether a text was the cause that PostgreSQL can't hold, such as one with a U+0000 in a forged cursor.
fn is_bad_text(error: &DbErr) -> bool {
    driver_code(error).as_deref() == Some("22021")
}

fn driver_error(error: &DbErr) -> Option<&sqlx::Error> {
    let (DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))
    | DbErr::Conn(RuntimeErr::SqlxError(error))) = error
    else {
        return None;
    };
    Some(error)
}

fn driver_code(error: &DbErr) -> Option<String> {
    match driver_error(error)? {
        sqlx::Error::Database(error) => error.code().map(std::borrow::Cow::into_owned),
        _ => None,
    }
}

/// Makes transactions that write about the same texts wait for each other, until their end. SQLite's writer is alone already.
pub async fn hold_texts<'a>(tx: &DatabaseTransaction, texts: impl IntoIterator<Item = &'a str>) -> Result<()> {
    if tx.get_database_backend() == DbBackend::Postgres {
        // In order, so that two transactions never wait for each other.
        for text in texts.into_iter().collect::<std::collections::BTreeSet<_>>() {
            let lock =
                Sql::new("SELECT 1 FROM (SELECT pg_advisory_xact_lock(hashtextextended(").bind(text).push(", 0))) AS held");
            lock.one(tx, |_| Ok(())).await?;
        }
    }
    Ok(())
}

/// The row of an id.
pub async fn by_id<E: EntityTrait>(db: &impl ConnectionTrait, id: impl Into<Value>) -> Result<Option<E::Model>> {
    select::<E>("x").push(" WHERE x.id = ").bind(id).one(db, model("x")).await
}

/// Inserts rows, many to a statement.
pub async fn insert_all<A: ActiveModelTrait + Send>(db: &impl ConnectionTrait, rows: impl IntoIterator<Item = A>) -> Result<()> {
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        A::Entity::insert_many(rows.by_ref().take(ROWS_PER_STATEMENT).collect::<Vec<_>>()).exec_without_returning(db).await?;
    }
    Ok(())
}

/// Turns a unique violation of the very statement into what it means.
pub trait OnTaken<T> {
    /// What the violation means; the driver's words name the key.
    fn on_taken(self, meaning: impl FnOnce(&str) -> Error) -> Result<T>;
}

impl<T> OnTaken<T> for Result<T, DbErr> {
    fn on_taken(self, meaning: impl FnOnce(&str) -> Error) -> Result<T> {
        self.map_err(|error| match error.sql_err() {
            Some(sea_orm::SqlErr::UniqueConstraintViolation(words)) => meaning(&words),
            _ => error.into(),
        })
    }
}

/// Behind a column: in the order of characters, which is SQLite's own, and not in that of the language that PostgreSQL's database
/// may have.
pub const IN_ORDER: &str = " COLLATE \"C\"";

/// A statement in the making: text and parameters grow together, so no value is ever part of the text.
pub struct Sql {
    text: String,
    values: Vec<Value>,
}

impl Sql {
    /// Begins with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), values: Vec::new() }
    }

    /// Begins with this text, in which `$1` and so on stand for these.
    pub fn with(text: String, values: impl IntoIterator<Item = Value>) -> Self {
        Self { text, values: values.into_iter().collect() }
    }

    /// Adds text.
    #[must_use]
    pub fn push(mut self, text: &str) -> Self {
        self.text.push_str(text);
        self
    }

    /// Adds a parameter.
    #[must_use]
    pub fn bind(mut self, value: impl Into<Value>) -> Self {
        self.values.push(value.into());
        self.text.push('$');
        self.text.push_str(&self.values.len().to_string());
        self
    }

    /// As [`Sql::list`], each value once: a client may repeat one of few as often as it likes.
    #[must_use]
    pub fn distinct<V: Into<Value> + PartialEq + Copy>(self, values: &[V]) -> Self {
        let mut once: Vec<V> = Vec::new();
        for value in values {
            if !once.contains(value) {
                once.push(*value);
            }
        }
        self.list(once)
    }

    /// Adds `(…, …)` with a parameter for each value; with none, a list that nothing is in.
    #[must_use]
    pub fn list<V: Into<Value>>(mut self, values: impl IntoIterator<Item = V>) -> Self {
        self.text.push('(');
        let first = self.values.len();
        for value in values {
            if self.values.len() > first {
                self.text.push_str(", ");
            }
            self = self.bind(value);
        }
        if self.values.len() == first {
            self.text.push_str("NULL");
        }
        self.text.push(')');
        self
    }

    fn statement(mut self, backend: DbBackend) -> Statement {
        if backend == DbBackend::Sqlite && self.text.contains(IN_ORDER) {
            self.text = self.text.replace(IN_ORDER, "");
        }
        Statement::from_sql_and_values(backend, self.text, self.values)
    }

    /// How the database goes about it, in its own words, a line each: for tests that it uses its indexes.
    pub async fn plan(mut self, db: &impl ConnectionTrait) -> Result<Vec<String>> {
        let backend = db.get_database_backend();
        let (explain, column) = if backend == DbBackend::Sqlite { ("EXPLAIN QUERY PLAN ", 3) } else { ("EXPLAIN ", 0) };
        self.text.insert_str(0, explain);
        self.all(db, |row| row.try_get_by_index(column)).await
    }

    /// All rows, each read by `read`.
    pub async fn all<T>(self, db: &impl ConnectionTrait, read: impl Fn(&QueryResult) -> Result<T, DbErr>) -> Result<Vec<T>> {
        let rows = db.query_all_raw(self.statement(db.get_database_backend())).await?;
        Ok(rows.iter().map(read).collect::<Result<_, _>>()?)
    }

    /// The first row, if there is one.
    pub async fn one<T>(self, db: &impl ConnectionTrait, read: impl Fn(&QueryResult) -> Result<T, DbErr>) -> Result<Option<T>> {
        let row = db.query_one_raw(self.statement(db.get_database_backend())).await?;
        Ok(row.as_ref().map(read).transpose()?)
    }

    /// The one number that a `SELECT count(*)` answers.
    pub async fn count(self, db: &impl ConnectionTrait) -> Result<u64> {
        let count: Option<i64> = self.one(db, |row| row.try_get_by_index(0)).await?;
        count.and_then(|count| count.try_into().ok()).ok_or_else(|| Fault::new("a count without a number").into())
    }

    /// As [`Sql::run`], with the database's own error: for [`OnTaken`].
    pub async fn run_raw(self, db: &impl ConnectionTrait) -> Result<u64, DbErr> {
        db.execute_raw(self.statement(db.get_database_backend())).await.map(|done| done.rows_affected())
    }

    /// Runs it; answers how many rows it touched.
    pub async fn run(self, db: &impl ConnectionTrait) -> Result<u64> {
        Ok(self.run_raw(db).await?)
    }
}

/// Every column of a table under an alias, named so that [`model`] finds them: `u.id AS u_id, u.name AS u_name, …`.
pub fn columns<E: EntityTrait>(alias: &str) -> String {
    let columns = E::Column::iter().map(|column| format!("{alias}.{0} AS {alias}_{0}", column.as_str()));
    columns.collect::<Vec<_>>().join(", ")
}

/// Every row's columns of one table: `SELECT u.id AS u_id, … FROM users u`.
pub fn select<E: EntityTrait + EntityName>(alias: &str) -> Sql {
    Sql::new(format!("SELECT {} FROM {} {alias}", columns::<E>(alias), E::default().table_name()))
}

/// The row that was selected with [`columns`] under an alias.
pub fn model<M: FromQueryResult>(alias: &'static str) -> impl Fn(&QueryResult) -> Result<M, DbErr> {
    move |row| M::from_query_result(row, &format!("{alias}_"))
}

/// The longest text that is searched for, in characters.
const SEARCH_MAX: usize = 200;

/// A text to search for, as keys are written: trimmed, composed, in small letters.
pub fn search_key(text: &str) -> Result<String> {
    let length = text.chars().count();
    if length > SEARCH_MAX {
        return Err(
            Denied::BadRequest(format!("A search may have {SEARCH_MAX} characters at most; this one has {length}.")).into()
        );
    }
    // PostgreSQL's texts can't have a U+0000, and SQLite's functions stop at one; nothing that is stored has any.
    Ok(text.trim().nfc().collect::<String>().to_lowercase().replace('\0', "\u{fffd}"))
}

/// [`pattern`] of a text to search for.
pub fn contains(text: &str) -> Result<String> {
    search_key(text).map(|key| pattern(&key))
}

/// The pattern for `name_key LIKE … ESCAPE '\\'` that finds a key anywhere in another, whatever wildcards it has.
pub fn pattern(key: &str) -> String {
    format!("%{}%", key.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"))
}
