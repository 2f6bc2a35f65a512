//! Security events in the database: written, erased with their user, and deleted when their time is over.

use super::BATCH;
use crate::{
    app::{App, Tx},
    db::{Sql, hold_texts},
    error::Result,
    network::Network,
};
use entity::{
    ApiKeyId, UserId,
    security_event::{self, SecurityEventKind},
};
use sea_orm::{EntityTrait, IntoActiveModel, QueryResult, sea_query::OnConflict};
use std::collections::HashSet;

/// What writing and erasing exclude each other by, so that a batch from memory never brings back what was erased.
const LOCK: &str = "security events";

/// Writes rows with one statement, in a transaction of their own. A row that is there already gets its new count.
pub async fn write(app: &App, rows: &[security_event::Model]) -> Result<()> {
    app.tx(async |tx| {
        hold_texts(tx.db(), [LOCK]).await?;
        let erased = erased(tx, rows).await?;
        let mut known = known_networks(tx, rows).await?;
        let rows: Vec<_> = rows
            .iter()
            .filter(|row| is_new(row, &mut known))
            .filter_map(|row| without_erased(row, &erased))
            .map(IntoActiveModel::into_active_model)
            .collect();
        if rows.is_empty() {
            return Ok(());
        }
        let counted = [security_event::Column::Count, security_event::Column::LastAt];
        let counted = OnConflict::column(security_event::Column::Id).update_columns(counted).to_owned();
        security_event::Entity::insert_many(rows).on_conflict(counted).exec_without_returning(tx.db()).await?;
        Ok(())
    })
    .await
}

/// Those of the rows' users who are erased.
async fn erased(tx: &Tx, rows: &[security_event::Model]) -> Result<HashSet<UserId>> {
    let users: HashSet<_> = rows.iter().flat_map(|row| [row.user_id, row.actor_id]).flatten().collect();
    let sql = Sql::new("SELECT id FROM users WHERE erased_at IS NOT NULL AND id IN ").list(users);
    Ok(sql.all(tx.db(), |row| row.try_get_by_index(0)).await?.into_iter().collect())
}

/// As [`erase`] leaves rows: without any that concerns an erased user alone, and without where they were.
fn without_erased(row: &security_event::Model, erased: &HashSet<UserId>) -> Option<security_event::Model> {
    let is_erased = |user: Option<UserId>| user.is_some_and(|user| erased.contains(&user));
    if is_erased(row.user_id) && row.account_id.is_none() {
        return None;
    }
    let mut row = row.clone();
    if is_erased(row.user_id) || is_erased(row.actor_id) {
        (row.address, row.user_agent) = (None, None);
    }
    Some(row)
}

/// The networks that the rows' API keys were used from before.
async fn known_networks(tx: &Tx, rows: &[security_event::Model]) -> Result<HashSet<(ApiKeyId, Network)>> {
    let used = rows.iter().filter(|row| row.kind == SecurityEventKind::ApiKeyUsed);
    let keys: HashSet<_> = used.filter_map(|row| row.api_key_id).collect();
    if keys.is_empty() {
        return Ok(HashSet::new());
    }
    let sql = Sql::new("SELECT DISTINCT api_key_id, address FROM security_events WHERE kind = 'api_key_used'");
    let sql = sql.push(" AND address IS NOT NULL AND api_key_id IN ").list(keys);
    let read = |row: &QueryResult| Ok((row.try_get_by_index::<ApiKeyId>(0)?, row.try_get_by_index::<String>(1)?));
    let known = sql.all(tx.db(), read).await?.into_iter();
    Ok(known.filter_map(|(key, address)| Some((key, Network::containing(address.parse().ok()?)))).collect())
}

/// Whether a row is worth keeping: the use of an API key only if its network is new.
fn is_new(row: &security_event::Model, known: &mut HashSet<(ApiKeyId, Network)>) -> bool {
    let address = row.address.as_deref().and_then(|address| address.parse().ok()).map(Network::containing);
    match (row.kind, row.api_key_id, address) {
        (SecurityEventKind::ApiKeyUsed, Some(key), Some(network)) => known.insert((key, network)),
        _ => true,
    }
}

/// Erases where a user was, and what concerns them alone (U8). Who calls marks the user as erased in the same transaction.
pub async fn erase(tx: &Tx, user: UserId) -> Result<()> {
    hold_texts(tx.db(), [LOCK]).await?;
    let sql = Sql::new("DELETE FROM security_events WHERE account_id IS NULL AND user_id = ");
    sql.bind(user).run(tx.db()).await?;
    let sql = Sql::new("UPDATE security_events SET address = NULL, user_agent = NULL WHERE user_id = ").bind(user);
    sql.push(" OR actor_id = ").bind(user).run(tx.db()).await?;
    Ok(())
}

/// Deletes what is older than the settings keep it, a batch at a time, so that nobody waits long for the writer.
pub async fn delete_old(app: &App) -> Result<()> {
    let before = app.now() - app.config.security_events_ttl;
    loop {
        let sql =
            Sql::new("DELETE FROM security_events WHERE id IN (SELECT id FROM security_events WHERE last_at < ").bind(before);
        let sql = sql.push(&format!(" ORDER BY last_at LIMIT {BATCH})"));
        if sql.run(app.db.writer()).await? < BATCH as u64 {
            return Ok(());
        }
    }
}
