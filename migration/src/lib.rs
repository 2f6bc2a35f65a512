//! The migrations, oldest first, and the few lines that apply what is missing.
//!
//! The SQL is the same for SQLite and PostgreSQL: plain types that both take, partial indexes, deferred keys; all but triggers with what they
//! keep up, which each has in its own words. A migration only adds, so that replicas of the version before can still run; there is no way down, since a backup is the way down.
//! Everything missing is applied in one transaction, under a lock that a second replica waits for.

mod m0001_the_first_tables;
mod m0002_identity;
mod m0003_users_and_levels;
mod m0004_agencies_and_clients;
mod m0005_tails_of_names;
mod m0006_claimed_invitations;
mod m0007_sessions_and_devices;
mod m0008_ownership_transfers;
mod m0009_quotas;
mod m0010_traces_of_the_erased;
mod m0011_security_events;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, SqliteTransactionMode, Statement, TransactionOptions, TransactionTrait,
};

/// Every migration: its name, and its SQL in steps, of which some are said differently to SQLite and to PostgreSQL.
const MIGRATIONS: &[(&str, &[[&str; 2]])] = &[
    ("0001_the_first_tables", &[both(m0001_the_first_tables::SQL)]),
    ("0002_identity", &[both(m0002_identity::SQL)]),
    ("0003_users_and_levels", &[both(m0003_users_and_levels::SQL)]),
    (
        "0004_agencies_and_clients",
        &[
            both(m0004_agencies_and_clients::SQL),
            [m0004_agencies_and_clients::SQLITE, m0004_agencies_and_clients::POSTGRES],
            both(m0004_agencies_and_clients::NAMES),
        ],
    ),
    ("0005_tails_of_names", &[[m0005_tails_of_names::SQLITE, m0005_tails_of_names::POSTGRES]]),
    ("0006_claimed_invitations", &[both(m0006_claimed_invitations::SQL)]),
    ("0007_sessions_and_devices", &[both(m0007_sessions_and_devices::SQL)]),
    ("0008_ownership_transfers", &[both(m0008_ownership_transfers::SQL)]),
    ("0009_quotas", &[both(m0009_quotas::SQL)]),
    ("0010_traces_of_the_erased", &[both(m0010_traces_of_the_erased::SQL)]),
    ("0011_security_events", &[both(m0011_security_events::SQL)]),
];

const fn both(sql: &str) -> [&str; 2] {
    [sql, sql]
}

/// Any number, the same in every replica: who holds it migrates.
const LOCK: i64 = 0x6b65_7968_6f6c_6465;

/// Applies what the database lacks, and answers the names of what it applied.
#[expect(clippy::disallowed_methods, reason = "there is no App before the tables are there")]
pub async fn up(db: &DatabaseConnection) -> Result<Vec<&'static str>, DbErr> {
    let options = TransactionOptions { sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate), ..Default::default() };
    let tx = db.begin_with_options(options).await?;
    let postgres = tx.get_database_backend() == DbBackend::Postgres;
    if postgres {
        tx.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    }
    tx.execute_unprepared("CREATE TABLE IF NOT EXISTS migrations (name text PRIMARY KEY)").await?;
    let done = applied(&tx).await?;
    let mut applied = Vec::new();
    for (name, steps) in MIGRATIONS.iter().filter(|(name, _)| !done.iter().any(|done| done == name)) {
        for step in *steps {
            tx.execute_unprepared(step[usize::from(postgres)]).await?;
        }
        tx.execute_unprepared(&format!("INSERT INTO migrations (name) VALUES ('{name}')")).await?;
        applied.push(*name);
    }
    tx.commit().await?;
    Ok(applied)
}

/// The names of what the database lacks; all of them when it is empty.
pub async fn missing(db: &DatabaseConnection) -> Result<Vec<&'static str>, DbErr> {
    let Ok(done) = applied(db).await else {
        // Without tables all is missing; without a database this fails too.
        return db.execute_unprepared("SELECT 1").await.map(|_| MIGRATIONS.iter().map(|(name, _)| *name).collect());
    };
    Ok(MIGRATIONS.iter().map(|(name, _)| *name).filter(|name| !done.iter().any(|done| done == name)).collect())
}

async fn applied(db: &impl ConnectionTrait) -> Result<Vec<String>, DbErr> {
    let rows = db.query_all_raw(Statement::from_string(db.get_database_backend(), "SELECT name FROM migrations")).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}
