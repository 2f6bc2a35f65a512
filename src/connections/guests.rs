//! What an account sees of the agencies around it: who can act here through a connection, and which it blocks.

use super::{
    decide::DECIDE_CLIENT_ACCESS,
    view::{ConnectionUser, ConnectionUserEdge, load_visible, outlines, places_of},
};
use crate::{
    accounts::api::{self as accounts, Account},
    api::{Ask, Asked, Connection, Edge, PageArgs, cursor_id},
    db::{Sql, columns, model},
    error::Result,
    users::{self, User},
};
use async_graphql::{Context, SimpleObject};
use entity::{AccountId, Moment, PlaceId, UserId, place};
use sea_orm::QueryResult;
use uuid::Uuid;

/// Everyone who can act in an account through an agency's connection, the one last added first. An agency's Owner, who needs no
/// place, stands here as if they had one at the ceiling, with the connection's id for the place's.
pub(super) fn guests(of: &str) -> String {
    let p = columns::<place::Entity>("p");
    format!(
        "SELECT {p} FROM (SELECT p.id, p.connection_id, p.user_id, p.level, p.added_by, p.added_at FROM places p \
         JOIN connections c ON c.id = p.connection_id AND c.status = 'active' JOIN members m ON m.account_id = c.agency_id \
         AND m.user_id = p.user_id AND m.level < 5 AND m.suspended_at IS NULL WHERE {of} \
         UNION ALL SELECT c.id, c.id, a.owner_id, c.level, NULL, c.decided_at FROM connections c \
         JOIN accounts a ON a.id = c.agency_id WHERE c.status = 'active' AND {of}) p WHERE 1 = 1"
    )
}

/// Everyone who can act in an account through an agency's connection, the one last added first.
pub async fn list(ctx: &Context<'_>, account: AccountId, page: &PageArgs) -> Result<Connection<ConnectionUserEdge>> {
    let (app, window, asked) = (ctx.app(), page.window(ctx.app(), format!("agencies' users in {account}"))?, Asked::of(ctx));
    let actor = ctx.actor().await?;
    // Who acts here through a connection learns of no other (L6).
    let via = actor.seat()?.via.as_ref().map(|via| via.id);
    let here = "c.client_id = $1 AND (c.ends_at IS NULL OR c.ends_at > $2) AND (c.id = $3 OR $4)";
    let scope = |text: String| Sql::with(text, [account.into(), app.now().into(), via.into(), via.is_none().into()]);
    let mut sql = scope(guests(here));
    if let Some(after) = cursor_id::<PlaceId>(window.after.as_ref())? {
        sql = sql.push(" AND p.id < ").bind(after);
    }
    if let Some(before) = cursor_id::<PlaceId>(window.before.as_ref())? {
        sql = sql.push(" AND p.id > ").bind(before);
    }
    let order = if window.backwards() { "" } else { " DESC" };
    let sql = sql.push(&format!(" ORDER BY p.id{order} LIMIT {}", window.limit()));
    let rows: Vec<place::Model> = sql.all(app.reader(), model("p")).await?;
    let total = if asked.total() {
        scope(format!("SELECT count(*) FROM ({}) counted", guests(here))).count(app.reader()).await?
    } else {
        0
    };
    let of: Vec<_> = rows.iter().map(|row| row.connection_id).collect();
    let whole = via.is_some() || actor.may(DECIDE_CLIENT_ACCESS).is_ok();
    let connections = if whole { load_visible(app, &actor, &of).await? } else { outlines(app, &actor, &of).await? };
    let rows = places_of(app, &actor, rows, &connections).await?;
    Ok(window.page(
        rows,
        total,
        |node, cursor| ConnectionUserEdge::new(cursor, node),
        |row: &ConnectionUser| vec![row.id.to_string()],
    ))
}

/// An agency that an account blocks.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(serial)]
pub struct AgencyBlock {
    /// The agency.
    agency: Account,
    /// Who blocked it.
    blocked_by: Option<User>,
    /// Since when.
    blocked_at: Moment,
}

/// One entry of the agencies that an account blocks.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct AgencyBlockEdge {
    /// Where it stands in the list.
    cursor: String,
    /// The agency.
    node: AgencyBlock,
}

impl Edge for AgencyBlockEdge {
    type Node = AgencyBlock;
    fn node(&self) -> &AgencyBlock {
        &self.node
    }
    fn cursor(&self) -> &str {
        &self.cursor
    }
}

/// The agencies that an account blocks, the one last blocked first.
pub async fn blocked(ctx: &Context<'_>, account: AccountId, page: &PageArgs) -> Result<Connection<AgencyBlockEdge>> {
    let (db, window, asked) =
        (ctx.app().reader(), page.window(ctx.app(), format!("agencies that {account} blocks"))?, Asked::of(ctx));
    // Of several addresses of one block the first stands for all.
    let scope = |columns: &str| {
        let sql = Sql::new(format!("SELECT {columns} FROM blocks b WHERE NOT EXISTS (SELECT 1 FROM blocks f"));
        let sql =
            sql.push(" WHERE f.account_id = b.account_id AND f.agency_id = b.agency_id AND f.id < b.id) AND b.account_id = ");
        sql.bind(account)
    };
    let mut sql = scope("b.id, b.agency_id, b.blocked_by, b.blocked_at");
    if let Some(after) = cursor_id::<Uuid>(window.after.as_ref())? {
        sql = sql.push(" AND b.id < ").bind(after);
    }
    if let Some(before) = cursor_id::<Uuid>(window.before.as_ref())? {
        sql = sql.push(" AND b.id > ").bind(before);
    }
    let order = if window.backwards() { "" } else { " DESC" };
    let read = |row: &QueryResult| {
        let (id, agency): (Uuid, AccountId) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let (by, at): (UserId, Moment) = (row.try_get_by_index(2)?, row.try_get_by_index(3)?);
        Ok((id, agency, by, at))
    };
    let rows = sql.push(&format!(" ORDER BY b.id{order} LIMIT {}", window.limit())).all(db, read).await?;
    let total = if asked.total() { scope("count(*)").count(db).await? } else { 0 };
    let actor = ctx.actor().await?;
    let agencies = accounts::load(db, Some(&actor), rows.iter().map(|row| row.1).collect()).await?;
    let people = users::load(db, Some(&actor), rows.iter().map(|row| row.2).collect()).await?;
    let rows = rows.into_iter().filter_map(|(id, agency, by, at)| {
        Some((id, AgencyBlock { agency: agencies.get(&agency)?.clone(), blocked_by: people.get(&by).cloned(), blocked_at: at }))
    });
    Ok(window.page(
        rows.collect(),
        total,
        |(_, node), cursor| AgencyBlockEdge { cursor, node },
        |(id, _): &(Uuid, AgencyBlock)| vec![id.to_string()],
    ))
}
