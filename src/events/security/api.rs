//! Security events in the API: the viewer's own, and those of the account that they act in.

use crate::{
    accounts::api::{self as accounts, Account},
    actor::{Actor, Proof},
    api::{Ask, Asked, Connection, Edge, PageArgs, cursor_id},
    app::App,
    db::{Sql, columns, model},
    error::{Denied, Result},
    permission::{MATRIX, Permission},
    users::{self, User},
};
use async_graphql::{Context, SimpleObject};
use entity::{
    AccountId, ApiKeyId, Moment, SecurityEventId, SessionId, UserId,
    security_event::{self, SecurityEventKind, SecurityOutcome},
};
use std::collections::HashMap;

/// A sign-in, a refusal, or another access that matters for security, with where it came from. It is not part of the audit log's
/// gapless numbering: it appears a moment after it occurred, it can be lost in a crash or under heavy load, and it is deleted after
/// a time that the operator sets. Equal events from one network within an hour are one event with a `count`.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(serial)]
pub struct SecurityEvent {
    /// The event's id.
    pub id: SecurityEventId,
    /// What was tried.
    kind: SecurityEventKind,
    /// How it ended.
    outcome: SecurityOutcome,
    /// When it occurred first.
    at: Moment,
    /// When it occurred last. Equal to `at` when `count` is 1.
    last_at: Moment,
    /// How often it occurred from `at` to `lastAt`.
    count: i64,
    /// The user whose login, session, API key or access it concerns. Null when it concerns the account alone.
    user: Option<User>,
    /// The user who did it. Null when that is not known, as for a failed sign-in, or when the operator did it.
    actor: Option<User>,
    /// Whether the server's operator did it, by command line.
    by_operator: bool,
    /// The account that it concerns. Null when it concerns the user alone, as sign-ins do.
    account: Option<Account>,
    /// The agency, when the actor acted through a connection.
    via: Option<Account>,
    /// The API key that was used, created or deleted.
    api_key: Option<ApiKeyId>,
    /// The session that began or ended. Null for other kinds.
    session: Option<SessionId>,
    /// The IP address that the request came from; the first one's when `count` is more than 1. Null when the operator did it, when the
    /// user has been erased, when the viewer may not see it, and for the rest of a day on which many addresses failed.
    address: Option<String>,
    /// The request's `User-Agent` header, shortened to 200 characters. Null when `address` is, or when there was none.
    user_agent: Option<String>,
    /// The code of the error that was returned, such as `FORBIDDEN`. Null when the outcome is `SUCCESS`.
    code: Option<String>,
    /// The permission that was required. Null when none was.
    permission: Option<Permission>,
    /// The GraphQL field that was denied, such as `inviteUsers`, or the operator's command, such as `account show`. Null for other
    /// kinds.
    operation: Option<String>,
}

/// A security event in a list.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct SecurityEventEdge {
    /// The event's position in the list.
    cursor: String,
    /// The event.
    node: SecurityEvent,
}

impl Edge for SecurityEventEdge {
    type Node = SecurityEvent;
    fn node(&self) -> &SecurityEvent {
        &self.node
    }
    fn cursor(&self) -> &str {
        &self.cursor
    }
}

/// Whose security events are listed.
#[derive(Clone, Copy)]
pub enum Subject {
    /// Those that concern the viewer.
    Viewer,
    /// Those of the account that the viewer acts in. The caller has checked that they may view its audit log.
    Account(AccountId),
}

/// Which security events are listed.
#[derive(Default)]
pub struct SecurityEventFilter {
    /// Only of these kinds.
    pub kinds: Option<Vec<SecurityEventKind>>,
    /// Only with one of these outcomes.
    pub outcomes: Option<Vec<SecurityOutcome>>,
    /// Only what this user did.
    pub actor: Option<UserId>,
    /// Only what occurred at this moment or later.
    pub from: Option<Moment>,
    /// Only what occurred before this moment.
    pub until: Option<Moment>,
}

impl SecurityEventFilter {
    fn check(&self) -> Result<()> {
        match (self.from, self.until) {
            (Some(from), Some(until)) if from > until => {
                Err(Denied::BadRequest("`from` is after `until`, so there is nothing between them.".into()).into())
            }
            _ => Ok(()),
        }
    }

    fn narrow(&self, mut sql: Sql) -> Sql {
        if let Some(kinds) = &self.kinds {
            sql = sql.push(" AND s.kind IN ").distinct(kinds);
        }
        if let Some(outcomes) = &self.outcomes {
            sql = sql.push(" AND s.outcome IN ").distinct(outcomes);
        }
        if let Some(actor) = self.actor {
            sql = sql.push(" AND s.actor_id = ").bind(actor);
        }
        if let Some(from) = self.from {
            sql = sql.push(" AND s.last_at >= ").bind(from);
        }
        if let Some(until) = self.until {
            sql = sql.push(" AND s.at < ").bind(until);
        }
        sql
    }
}

/// Security events, newest first.
pub async fn list(
    ctx: &Context<'_>,
    subject: Subject,
    page: &PageArgs,
    filter: &SecurityEventFilter,
) -> Result<Connection<SecurityEventEdge>> {
    let (app, actor) = (ctx.app(), ctx.actor().await?);
    let list = match subject {
        Subject::Viewer => format!("security events of {}", actor.user.id),
        Subject::Account(account) => format!("security events of {account}"),
    };
    let window = page.window(ctx.app(), list)?;
    filter.check()?;
    let scope = |columns: &str| {
        let sql = Sql::new(format!("SELECT {columns} FROM security_events s WHERE "));
        filter.narrow(match subject {
            Subject::Viewer => own(sql, &actor),
            Subject::Account(account) => of_account(sql, &actor, account),
        })
    };
    let mut sql = scope(&columns::<security_event::Entity>("s"));
    if let Some(id) = cursor_id::<SecurityEventId>(window.after.as_ref())? {
        sql = sql.push(" AND s.id < ").bind(id);
    }
    if let Some(id) = cursor_id::<SecurityEventId>(window.before.as_ref())? {
        sql = sql.push(" AND s.id > ").bind(id);
    }
    let order = if window.backwards() { "" } else { " DESC" };
    let sql = sql.push(&format!(" ORDER BY s.id{order} LIMIT {}", window.limit()));
    let rows = sql.all(app.reader(), model("s")).await?;
    let total = if Asked::of(ctx).total() { scope("count(*)").count(app.reader()).await? } else { 0 };
    let rows = view(app, &actor, rows).await?;
    Ok(window.page(rows, total, |node, cursor| SecurityEventEdge { cursor, node }, |node| vec![node.id.to_string()]))
}

/// Security events by their ids: those that the lists give the viewer.
pub async fn load_visible(app: &App, actor: &Actor, ids: &[SecurityEventId]) -> Result<Vec<SecurityEvent>> {
    let sql = Sql::new(format!("SELECT {} FROM security_events s", columns::<security_event::Entity>("s")));
    let sql = own(sql.push(" WHERE s.id IN ").list(ids.iter().copied()).push(" AND ("), actor);
    let sql = match auditor_of(actor) {
        Some(account) => of_account(sql.push(" OR "), actor, account),
        None => sql,
    };
    view(app, actor, sql.push(")").all(app.reader(), model("s")).await?).await
}

/// What concerns the viewer. An API key sees nothing of its creator's (I6).
fn own(sql: Sql, actor: &Actor) -> Sql {
    sql.push("(s.user_id = ").bind(signed_in_user(actor)).push(")")
}

fn signed_in_user(actor: &Actor) -> Option<UserId> {
    matches!(actor.proof, Proof::Session(_)).then_some(actor.user.id)
}

/// What concerns an account. To those who act in it through a connection, the people of other agencies stay unknown (C3).
fn of_account(sql: Sql, actor: &Actor, account: AccountId) -> Sql {
    let sql = sql.push("(s.account_id = ").bind(account);
    match actor.via() {
        Some(agency) => sql.push(" AND (s.via_id IS NULL OR s.via_id = ").bind(agency).push("))"),
        None => sql.push(")"),
    }
}

/// The account whose audit log the viewer may view.
fn auditor_of(actor: &Actor) -> Option<AccountId> {
    actor.seat_if_any().filter(|seat| seat.may(Permission::ViewAuditLog)).map(|seat| seat.account.id)
}

/// Whether the viewer may know where an event came from: it was their own request, or one at their own login, or they audit the
/// account. Whoever audits it through a connection learns that of their own agency's people only.
fn may_locate(actor: &Actor, row: &security_event::Model) -> bool {
    let user = signed_in_user(actor);
    // Until the address is verified, failures may be those of the mailbox's owner, whom the viewer may not be.
    let concerned = if actor.user.email_verified_at.is_some() { row.actor_id.or(row.user_id) } else { row.actor_id };
    let own = user.is_some() && concerned == user;
    let audited = row.account_id.is_some() && row.account_id == auditor_of(actor);
    own || audited && (actor.via().is_none() || row.via_id == actor.via())
}

/// Rows with what they refer to, in a fixed number of statements.
async fn view(app: &App, actor: &Actor, rows: Vec<security_event::Model>) -> Result<Vec<SecurityEvent>> {
    let people = rows.iter().flat_map(|row| [row.user_id, row.actor_id]).flatten().collect();
    let users = users::load(app.reader(), Some(actor), people).await?;
    let concerned = rows.iter().flat_map(|row| [row.account_id, row.via_id]).flatten().collect();
    let accounts = accounts::load(app.reader(), Some(actor), concerned).await?;
    Ok(rows.into_iter().map(|row| seen(row, actor, &users, &accounts)).collect())
}

fn seen(
    row: security_event::Model,
    actor: &Actor,
    users: &HashMap<UserId, User>,
    accounts: &HashMap<AccountId, Account>,
) -> SecurityEvent {
    let located = may_locate(actor, &row);
    let user = |id: Option<UserId>| id.and_then(|id| users.get(&id)).cloned();
    let account = |id: Option<AccountId>| id.and_then(|id| accounts.get(&id)).cloned();
    SecurityEvent {
        id: row.id,
        kind: row.kind,
        outcome: row.outcome,
        at: row.at,
        last_at: row.last_at,
        count: row.count,
        user: user(row.user_id),
        actor: user(row.actor_id),
        by_operator: row.by_operator,
        account: account(row.account_id),
        via: account(row.via_id),
        api_key: row.api_key_id,
        session: row.session_id,
        address: row.address.filter(|_| located),
        user_agent: row.user_agent.filter(|_| located),
        code: row.code,
        permission: row.permission.and_then(|name| MATRIX.iter().map(|row| row.permission).find(|p| p.name() == name)),
        operation: row.operation,
    }
}
