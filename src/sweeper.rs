//! The sweeper: writes down what has expired, so that its event follows within a minute (E6).
//!
//! Nothing waits for it: a request or invitation counts as expired from its moment on, whoever looks. Each row is read again
//! with its account held, so however many replicas sweep, the event comes once.

use crate::{
    app::App,
    connections,
    db::{Sql, model, select},
    error::Result,
    invitations,
};
use entity::{
    LogId,
    connection::{self, ConnectionStatus},
    invitation::{self, InvitationStatus},
};
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

/// Writes down all that has expired by now.
pub async fn sweep(app: &App) -> Result<()> {
    while connections(app).await? {}
    while invitations(app).await? {}
    Ok(())
}

fn due<E: sea_orm::EntityTrait>(app: &App) -> Sql {
    select::<E>("x")
        .push(" WHERE x.status = 'pending' AND x.expires_at <= ")
        .bind(app.now())
        .push(&format!(" ORDER BY x.expires_at LIMIT {BATCH}"))
}

async fn connections(app: &App) -> Result<bool> {
    let rows: Vec<connection::Model> = due::<connection::Entity>(app).all(app.reader(), model("x")).await?;
    for row in &rows {
        app.tx(async |tx| {
            let addressed = connections::ops::addressed_users(tx.db(), [row.client_email_key.as_str()].into_iter()).await?;
            tx.hold([LogId::from(row.agency_id)].into_iter().chain(addressed.into_values().map(LogId::from)).collect()).await?;
            let row: Option<connection::Model> =
                select::<connection::Entity>("x").push(" WHERE x.id = ").bind(row.id).one(tx.db(), model("x")).await?;
            let expired =
                row.filter(|row| row.status == ConnectionStatus::Pending && row.status_at(tx.now()) == ConnectionStatus::Expired);
            connections::ops::expire(tx, expired.as_slice()).await
        })
        .await?;
    }
    Ok(!rows.is_empty())
}

async fn invitations(app: &App) -> Result<bool> {
    let rows: Vec<invitation::Model> = due::<invitation::Entity>(app).all(app.reader(), model("x")).await?;
    for row in &rows {
        app.tx(async |tx| {
            tx.hold(vec![LogId::from(row.account_id)]).await?;
            let row: Option<invitation::Model> =
                select::<invitation::Entity>("x").push(" WHERE x.id = ").bind(row.id).one(tx.db(), model("x")).await?;
            let expired =
                row.filter(|row| row.status == InvitationStatus::Pending && row.status_at(tx.now()) == InvitationStatus::Expired);
            invitations::ops::expire(tx, expired.as_slice()).await
        })
        .await?;
    }
    Ok(!rows.is_empty())
}
