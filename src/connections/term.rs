//! The end that a client sets: a connection ends by itself, and both sides are reminded a week before.

use super::ending::{end_by_itself, mail_both, sides};
use crate::{
    app::{App, Happening, Tx},
    db::{Sql, by_id},
    error::Result,
};
use entity::{
    connection::{self, ConnectionStatus},
    event::EventKind,
    mail::MailKind,
};

/// Writes down that a connection's time is over, if it is; once, however many look at it at once.
pub async fn end(app: &App, row: &connection::Model) -> Result<()> {
    app.tx(async |tx| match held(tx, row).await? {
        Some(row) if row.status_at(tx.now()) == ConnectionStatus::Ended => end_by_itself(tx, &row).await,
        _ => Ok(()),
    })
    .await
}

/// Reminds both sides that a connection ends soon, if that moment has come and they were not reminded yet.
pub async fn remind(app: &App, row: &connection::Model) -> Result<()> {
    app.tx(async |tx| {
        let Some(row) = held(tx, row).await?.filter(|row| row.remind_at.is_some_and(|at| at <= tx.now())) else { return Ok(()) };
        Sql::new("UPDATE connections SET remind_at = NULL WHERE id = ").bind(row.id).run(tx.db()).await?;
        if row.status_at(tx.now()) == ConnectionStatus::Active {
            let event = tx.append(Happening::by_itself(EventKind::ClientAccessEnding, row.id.0), sides(&row));
            mail_both(tx, &row, MailKind::ConnectionEnding, event).await?;
        }
        Ok(())
    })
    .await
}

/// As it is now that both sides are held, if it is still active as far as is written down.
async fn held(tx: &Tx, row: &connection::Model) -> Result<Option<connection::Model>> {
    tx.hold(sides(row).collect()).await?;
    let row = by_id::<connection::Entity>(tx.db(), row.id).await?;
    Ok(row.filter(|row| row.status == ConnectionStatus::Active))
}
