//! The sweeper: writes down what has expired or ended by itself, so that its event follows within a minute (E6), reminds of what will,
//! and forgets what is not needed any more.
//!
//! Nothing waits for it: a request or invitation counts as expired from its moment on, whoever looks. Each row is read again
//! with its account held, so however many replicas sweep, the event comes once.

use crate::{
    app::App,
    connections,
    db::{Sql, by_id, model, select},
    error::Result,
    events::security,
    identity::{self, rules::VERIFICATION_TTL},
    invitations,
    mail::outbox,
};
use entity::{
    LogId, UserId,
    connection::{self, ConnectionStatus},
    invitation::{self, InvitationStatus},
    session::Lifetimes,
};
use sea_orm::EntityTrait;
use std::time::Duration;
use tokio::sync::watch;

/// How often it looks.
const EVERY: Duration = Duration::from_secs(20);
/// How many rows it takes at once.
const BATCH: u32 = 100;

/// Sweeps until the server stops.
pub async fn run(app: App, mut shutdown: watch::Receiver<bool>) {
    while !*shutdown.borrow() {
        if let Err(error) = sweep(&app).await {
            tracing::error!(cause = %error.cause(), "what has expired could not be written down");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = shutdown.changed() => {}
        }
    }
}

/// Writes down all that has expired by now. A row that can't be is told in the log and left; the others don't wait for it.
pub async fn sweep(app: &App) -> Result<()> {
    while batch(app, due::<connection::Entity>(app).await?, connection).await {}
    while batch(app, due::<invitation::Entity>(app).await?, invitation).await {}
    while batch(app, active_until(app, "ends_at").await?, ended).await {}
    while batch(app, active_until(app, "remind_at").await?, ending).await {}
    batch(app, unverified(app).await?, unverified_user).await;
    end_old_sessions(app).await?;
    security::store::delete_old(app).await?;
    outbox::forget_addresses(app).await
}

/// Writes down the end of sessions that are over, so that a clock that is set back brings none of them to life (I3).
async fn end_old_sessions(app: &App) -> Result<()> {
    let (now, Lifetimes { idle, total }) = (app.now(), app.config.session_lifetimes);
    let sql = Sql::new("UPDATE sessions SET ended_at = ").bind(now).push(" WHERE ended_at IS NULL AND (last_used_at <= ");
    sql.bind(now - idle).push(" OR created_at <= ").bind(now - total).push(")").run(app.db.writer()).await?;
    Ok(())
}

/// Users whose time to verify their address is over. One whose account others use stays, and is looked at again: it is the next
/// round's, not the next batch's.
async fn unverified(app: &App) -> Result<Vec<UserId>> {
    let sql = Sql::new("SELECT id FROM users WHERE email_verified_at IS NULL AND erased_at IS NULL AND created_at <= ");
    let sql = sql.bind(app.now() - VERIFICATION_TTL).push(&format!(" ORDER BY created_at LIMIT {BATCH}"));
    sql.all(app.reader(), |row| row.try_get_by_index(0)).await
}

async fn unverified_user(app: &App, id: &UserId) -> Result<()> {
    identity::erasure::erase_unverified(app, *id).await.map(drop)
}

/// Active connections of which a moment has come.
async fn active_until(app: &App, moment: &str) -> Result<Vec<connection::Model>> {
    let sql = select::<connection::Entity>("c").push(&format!(" WHERE c.status = 'active' AND c.{moment} <= ")).bind(app.now());
    sql.push(&format!(" ORDER BY c.{moment} LIMIT {BATCH}")).all(app.reader(), model("c")).await
}

async fn ended(app: &App, row: &connection::Model) -> Result<()> {
    connections::term::end(app, row).await
}

async fn ending(app: &App, row: &connection::Model) -> Result<()> {
    connections::term::remind(app, row).await
}

async fn due<E: EntityTrait>(app: &App) -> Result<Vec<E::Model>> {
    let due = select::<E>("x").push(" WHERE x.status = 'pending' AND x.expires_at <= ").bind(app.now());
    due.push(&format!(" ORDER BY x.expires_at LIMIT {BATCH}")).all(app.reader(), model("x")).await
}

/// Answers whether any row of the batch was dealt with, so that there may be more.
async fn batch<R>(app: &App, rows: Vec<R>, sweep: impl AsyncFn(&App, &R) -> Result<()>) -> bool {
    let mut done = false;
    for row in &rows {
        match sweep(app, row).await {
            Ok(()) => done = true,
            Err(error) => tracing::error!(cause = %error.cause(), "what has expired could not be written down"),
        }
    }
    done
}

async fn connection(app: &App, row: &connection::Model) -> Result<()> {
    app.tx(async |tx| {
        let addressed = connections::addressed::Addressed::by(tx.db(), std::slice::from_ref(row)).await?;
        tx.hold([LogId::from(row.agency_id)].into_iter().chain(addressed.logs()).collect()).await?;
        let row = by_id::<connection::Entity>(tx.db(), row.id).await?;
        let expired =
            row.filter(|row| row.status == ConnectionStatus::Pending && row.status_at(tx.now()) == ConnectionStatus::Expired);
        connections::ops::expire(tx, expired.as_slice()).await
    })
    .await
}

async fn invitation(app: &App, row: &invitation::Model) -> Result<()> {
    app.tx(async |tx| {
        tx.hold(vec![LogId::from(row.account_id)]).await?;
        let row = by_id::<invitation::Entity>(tx.db(), row.id).await?;
        let expired =
            row.filter(|row| row.status == InvitationStatus::Pending && row.status_at(tx.now()) == InvitationStatus::Expired);
        invitations::ops::expire(tx, expired.as_slice()).await
    })
    .await
}
