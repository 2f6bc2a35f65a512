//! What the whole server shares, and the one way to change anything: [`App::tx`].
//!
//! A transaction has one `now`, holds the logs of the accounts that it concerns, collects its events and mails,
//! and writes them with a fixed number of statements when it commits; after the commit it wakes listeners and the mailer.
//! When it loses against another one it runs again, so nothing within may touch the world outside the database.

use crate::{
    clock::Clock,
    config::Config,
    db::{Db, ROWS_PER_STATEMENT, Sql, insert_all},
    error::{Denied, Error, Fault, Result},
    events::{
        bus::Bus,
        feed::Feeds,
        security::{self, NewSecurityEvent, SecurityLog},
    },
    identity::{passwords::Hasher, throttle::Throttle},
    keys::Keys,
    mail::{Mailer, quota},
    text,
    turns::Turns,
};
use entity::{AccountId, ApiKeyId, EventId, LogId, Moment, UserId, event, log, log_entry, mail, session::Lifetimes, user};
use sea_orm::{
    ColumnTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QueryResult, QuerySelect,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    ops::Deref,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};
use uuid::Uuid;

/// How often a transaction is run that loses against others.
const TRIES: u32 = 8;

/// How many logs one statement holds, under both databases' limit of parameters.
const HELD_AT_ONCE: usize = 10_000;

/// The server's parts. Cloning is cheap.
#[derive(Clone)]
pub struct App(Arc<Parts>);

/// See [`App`].
pub struct Parts {
    /// The settings.
    pub config: Config,
    /// The database.
    pub db: Db,
    /// Time and ids.
    pub clock: Clock,
    /// Secrets.
    pub keys: Keys,
    /// The outbox's sender.
    pub mailer: Mailer,
    /// Hashes passwords.
    pub hasher: Hasher,
    /// Slows down those who guess.
    pub throttle: Throttle,
    /// Which operations may be under way.
    pub turns: Turns,
    /// Wake-ups.
    pub bus: Box<dyn Bus>,
    /// What listeners read.
    pub feeds: Feeds,
    /// Records security events.
    pub security: SecurityLog,
    /// Where the server itself is reached, without a slash at the end.
    pub own_url: String,
    /// Where links in mails lead, without a slash at the end.
    pub app_url: String,
}

impl Deref for App {
    type Target = Parts;
    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl App {
    /// Puts the parts together.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Now.
    pub fn now(&self) -> Moment {
        self.clock.now()
    }

    /// The database, for reading outside a transaction.
    pub fn reader(&self) -> &DatabaseConnection {
        self.db.reader()
    }

    /// Does some work in one transaction: all of it, or nothing.
    ///
    /// The work is run again when it loses against another transaction; an error of its own undoes it.
    pub async fn tx<T>(&self, work: impl AsyncFnOnce(&Tx) -> Result<T> + Clone) -> Result<T> {
        for attempt in 1..=TRIES {
            let (db, turn) = self.db.begin().await.map_err(|error| match error {
                // SQLite's one writer is another process, and has been for long.
                Error::Contended(_) => Denied::Overloaded.into(),
                error => error,
            })?;
            let tx = Tx { app: self.clone(), db, now: OnceLock::new(), pending: Mutex::default() };
            let outcome = match work.clone()(&tx).await {
                Ok(done) => tx.commit(self).await.map(|()| done),
                Err(error) => {
                    // A connection that can't even roll back is given up by the pool; what matters is why.
                    if let Err(cause) = tx.db.rollback().await {
                        tracing::warn!(%cause, "a transaction could not be rolled back");
                    }
                    Err(error)
                }
            };
            drop(turn);
            match outcome {
                Err(Error::Contended(cause)) => {
                    tracing::debug!(attempt, ?cause, "a transaction lost and is run again");
                    tokio::time::sleep(Duration::from_millis(u64::from(attempt * attempt))).await;
                }
                outcome => return outcome,
            }
        }
        Err(Denied::Overloaded.into())
    }
}

/// Why a commit failed. Only what surely undid it may be tried again, or called undone.
fn commit_failed(error: DbErr) -> Error {
    if error.sql_err().is_some() {
        return Fault::new(error).into();
    }
    match error.into() {
        contended @ Error::Contended(_) => contended,
        Error::Fault(fault) => Error::Unsure(fault),
        other => Error::Unsure(Fault::new(other.cause())),
    }
}

/// What happened, before it is written down.
pub struct Happening {
    kind: event::EventKind,
    actor: Option<UserId>,
    via: Option<AccountId>,
    api_key: Option<ApiKeyId>,
    by_operator: bool,
    subject: Uuid,
    before: Option<String>,
    after: Option<String>,
}

impl Happening {
    /// Nobody did it: a time ran out.
    pub fn by_itself(kind: event::EventKind, subject: Uuid) -> Self {
        Self { kind, actor: None, via: None, api_key: None, by_operator: false, subject, before: None, after: None }
    }

    /// The operator did it, by command line.
    pub fn by_operator(kind: event::EventKind, subject: Uuid) -> Self {
        Self { by_operator: true, ..Self::by_itself(kind, subject) }
    }

    /// A user did it, through an agency's connection if `via` is given.
    pub fn by(user: UserId, via: Option<AccountId>, kind: event::EventKind, subject: Uuid) -> Self {
        Self { actor: Some(user), via, ..Self::by_itself(kind, subject) }
    }

    /// With this API key, if with one.
    #[must_use]
    pub fn with_key(mut self, api_key: Option<ApiKeyId>) -> Self {
        self.api_key = api_key;
        self
    }

    /// The user who did it, and the agency that they acted through.
    pub fn doer(&self) -> (Option<UserId>, Option<AccountId>) {
        (self.actor, self.via)
    }

    /// What the value was before.
    #[must_use]
    pub fn from(mut self, before: impl Into<String>) -> Self {
        self.before = Some(before.into());
        self
    }

    /// What it is now.
    #[must_use]
    pub fn to(mut self, after: impl Into<String>) -> Self {
        self.after = Some(after.into());
        self
    }
}

/// An e-mail to be sent after the commit.
pub struct Outgoing<'a> {
    /// What it tells.
    pub kind: mail::MailKind,
    /// The event that it tells of.
    pub event: EventId,
    /// What that event happened to.
    pub subject: Uuid,
    /// Which link it bears; 0 where a link has no versions, or there is none.
    pub version: i64,
    /// Where it goes: the address and its key.
    pub to: (&'a str, &'a str),
    /// Who gets it, when it is a user of ours: for when they are erased (U8).
    pub user: Option<UserId>,
}

impl<'a> Outgoing<'a> {
    /// To a user of ours.
    pub fn to_user(user: &'a user::Model, kind: mail::MailKind, event: EventId, subject: Uuid) -> Self {
        Self { kind, event, subject, version: 0, to: (&user.email, &user.email_key), user: Some(user.id) }
    }
}

/// One transaction.
pub struct Tx {
    app: App,
    db: DatabaseTransaction,
    now: OnceLock<Moment>,
    pending: Mutex<Pending>,
}

/// What a transaction writes when it commits.
#[derive(Default)]
struct Pending {
    events: Vec<event::Model>,
    entries: Vec<(LogId, EventId)>,
    mails: Vec<mail::Model>,
    security: Vec<NewSecurityEvent>,
}

impl Tx {
    /// The server's parts.
    pub fn app(&self) -> &App {
        &self.app
    }

    /// The connection, for statements.
    pub fn db(&self) -> &DatabaseTransaction {
        &self.db
    }

    /// When all of it happens: one moment, which is the first that is asked for. An operation that holds logs asks after that,
    /// so that of two which wait for each other the later one is later by its time too.
    pub fn now(&self) -> Moment {
        *self.now.get_or_init(|| self.app.now())
    }

    /// The moment by the clock, for who looks before the transaction's own moment has come.
    pub fn before_now(&self) -> Moment {
        self.app.now()
    }

    /// A new id.
    pub fn id<Id: From<Uuid>>(&self) -> Id {
        self.app.clock.id()
    }

    /// How long sessions last.
    pub fn lifetimes(&self) -> Lifetimes {
        self.app.config.session_lifetimes
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds these logs, and with them their accounts and users, until the end. All of a transaction's are taken in one call
    /// and in the order of their ids, so that two transactions never wait for each other.
    pub async fn hold(&self, logs: Vec<LogId>) -> Result<()> {
        // SQLite's writer is alone already; there it is a mere look-up.
        let logs: Vec<_> = logs.into_iter().collect::<BTreeSet<_>>().into_iter().collect();
        for logs in logs.chunks(HELD_AT_ONCE) {
            let held = log::Entity::find().filter(log::Column::Id.is_in(logs.iter().copied()));
            held.order_by_asc(log::Column::Id).lock_exclusive().all(&self.db).await?;
        }
        Ok(())
    }

    /// Makes the log of a new account or user.
    pub async fn open_log(&self, id: LogId) -> Result<()> {
        log::Entity::insert(log::Model { id, head: 0 }.into_active_model()).exec_without_returning(&self.db).await?;
        Ok(())
    }

    /// Appends an event to the log of each account and user that it concerns (E1).
    pub fn append(&self, what: Happening, logs: impl IntoIterator<Item = LogId>) -> EventId {
        let id = self.id();
        let Happening { before, after, .. } = what;
        let event = event::Model {
            id,
            kind: what.kind,
            at: self.now(),
            actor_id: what.actor,
            via_id: what.via,
            api_key_id: what.api_key,
            by_operator: what.by_operator,
            subject_id: what.subject,
            before,
            after,
        };
        let mut pending = self.pending();
        pending.events.push(event);
        pending.entries.extend(logs.into_iter().collect::<BTreeSet<_>>().into_iter().map(|log| (log, id)));
        id
    }

    /// Records a security event once this has committed (E1a).
    pub fn note(&self, event: NewSecurityEvent) {
        self.pending().security.push(event);
    }

    /// Puts e-mails into the outbox. An invitation or request past a limit is put there as failed (I8).
    pub async fn mail(&self, mails: &[Outgoing<'_>]) -> Result<()> {
        if mails.iter().any(|mail| quota::class(mail.kind) == quota::Class::Link) {
            return Err(Fault::new("a link that anybody can request goes through Tx::mail_link").into());
        }
        let actors: BTreeMap<_, _> = self.pending().events.iter().map(|event| (event.id, event.actor_id)).collect();
        let senders: Vec<_> = mails
            .iter()
            .map(|mail| actors.get(&mail.event).copied().flatten().filter(|actor| mail.user != Some(*actor)))
            .map(|actor| actor.map(|actor| actor.to_string()))
            .collect();
        let letter = mails.iter().position(|mail| quota::class(mail.kind) == quota::Class::Letter);
        let sender = letter.and_then(|place| senders[place].as_deref());
        let refused = quota::refuse_letters(self, mails, sender).await?;
        let rows = mails.iter().zip(senders).zip(refused).map(|((mail, sender), refused)| self.row(mail, sender, refused));
        let rows: Vec<_> = rows.collect();
        self.pending().mails.extend(rows);
        Ok(())
    }

    /// Puts an e-mail into the outbox that anybody can request for any address. Past a limit of the mailbox or of the client
    /// network, the request is refused with `RATE_LIMITED` (I8).
    pub async fn mail_link(&self, address: Option<IpAddr>, mail: Outgoing<'_>) -> Result<()> {
        let sender = self.app.keys.pseudonym("network", &quota::network(address));
        quota::refuse_link(self, &mail, &sender).await?;
        let row = self.row(&mail, Some(sender), None);
        self.pending().mails.push(row);
        Ok(())
    }

    /// What an address is counted by.
    pub fn mailbox(&self, key: &str) -> String {
        self.app.keys.pseudonym("mailbox", &text::mailbox(key))
    }

    fn row(&self, mail: &Outgoing<'_>, sender: Option<String>, refused: Option<&str>) -> mail::Model {
        mail::Model {
            id: self.id(),
            kind: mail.kind,
            event_id: mail.event,
            subject_id: mail.subject,
            version: mail.version,
            to_email: mail.to.0.to_owned(),
            to_email_key: mail.to.1.to_owned(),
            user_id: mail.user,
            status: if refused.is_some() { mail::DeliveryStatus::Failed } else { mail::DeliveryStatus::Queued },
            attempts: 0,
            next_at: self.now(),
            at: self.now(),
            created_at: self.now(),
            detail: refused.map(str::to_owned),
            mailbox: self.mailbox(mail.to.1),
            sender,
        }
    }

    async fn commit(self, app: &App) -> Result<()> {
        let pending = std::mem::take(&mut *self.pending());
        let grown = self.write(&pending).await?;
        // An answer that is lost here leaves open whether it was done, so nobody is told to try again.
        self.db.commit().await.map_err(commit_failed)?;
        app.bus.wake(&grown);
        if !pending.mails.is_empty() {
            app.mailer.wake();
        }
        let of_change = |event: &event::Model| {
            let logs = pending.entries.iter().filter(|(_, id)| *id == event.id).map(|(log, _)| *log);
            security::of_change(event, logs)
        };
        let noted = pending.events.iter().filter_map(of_change).chain(pending.security);
        noted.for_each(|event| app.security.record(event, &security::client()));
        Ok(())
    }

    /// Writes events, entries and mails: a fixed number of statements, however many there are.
    async fn write(&self, pending: &Pending) -> Result<Vec<LogId>> {
        let entries = self.number(&pending.entries).await?;
        insert_all(&self.db, pending.events.iter().cloned().map(IntoActiveModel::into_active_model)).await?;
        insert_all(&self.db, entries.into_iter().map(IntoActiveModel::into_active_model)).await?;
        insert_all(&self.db, pending.mails.iter().cloned().map(IntoActiveModel::into_active_model)).await?;
        Ok(pending.entries.iter().map(|(log, _)| *log).collect::<BTreeSet<_>>().into_iter().collect())
    }

    /// Takes the next numbers of each log: one statement, whichever logs they are.
    async fn number(&self, pending: &[(LogId, EventId)]) -> Result<Vec<log_entry::Model>> {
        let mut growth: BTreeMap<LogId, i64> = BTreeMap::new();
        for (log, _) in pending {
            *growth.entry(*log).or_default() += 1;
        }
        let mut next: BTreeMap<LogId, i64> = BTreeMap::new();
        let read = |row: &QueryResult| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?));
        for logs in growth.iter().collect::<Vec<_>>().chunks(ROWS_PER_STATEMENT) {
            let several: Vec<_> = logs.iter().filter(|(_, count)| **count > 1).collect();
            let sql =
                several.iter().fold(Sql::new("UPDATE logs SET head = head + CASE WHEN FALSE THEN 0"), |sql, (log, count)| {
                    sql.push(" WHEN id = ").bind(**log).push(" THEN ").bind(**count)
                });
            let sql = sql.push(" ELSE 1 END WHERE id IN ").list(logs.iter().map(|(log, _)| **log)).push(" RETURNING id, head");
            let heads: Vec<(LogId, i64)> = sql.all(&self.db, read).await?;
            next.extend(heads.into_iter().map(|(log, head)| (log, head - growth.get(&log).copied().unwrap_or_default() + 1)));
        }
        let numbered = pending.iter().map(|(log, event)| {
            let number = next.get_mut(log).ok_or_else(|| Fault::new(format!("no log {}", log.0)))?;
            *number += 1;
            Ok(log_entry::Model { log_id: *log, number: *number - 1, event_id: *event })
        });
        numbered.collect()
    }
}
