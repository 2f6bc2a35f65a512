//! The viewer: who a request acts as, what they may do here and why, and everywhere they can switch to.

use super::{
    security::{self, Session},
    ways::Ways,
};
use crate::{
    accounts::{self, api::Account},
    actor::{Actor, NEVER_BY_KEY, Seat},
    api::{Ask, Asked, Connection, Edge, PageArgs, Window},
    connections::{
        self,
        api::ClientConnectionEdge,
        view::{ClientConnection, Wants, view_ways},
    },
    db::search_key,
    error::{Denied, Result},
    events::{
        api::{EventEdge, EventFilter},
        feed::Cursor,
        security::api::{self as security_events, SecurityEventEdge, SecurityEventFilter},
    },
    grants::{FRESH, is_fresh},
    invitations::{self, api::InvitationEdge},
    permission::{MATRIX, Permission},
    users::User,
};
use async_graphql::{Context, Enum, Object, SimpleObject};
use entity::{
    AccountId, Moment, UserLevel,
    event::EventKind,
    security_event::{SecurityEventKind, SecurityOutcome},
};
use sea_orm::QueryResult;
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

/// Who a request acts as.
pub struct Viewer(pub Arc<Actor>);

/// Who this request acts as.
#[Object(serial)]
impl Viewer {
    /// The user. For an API key: its creator, without the e-mail address.
    async fn user(&self) -> User {
        User::seen(self.0.user.clone(), Some(&self.0), false)
    }

    /// The level in the account that this request acts in; null when it acts in none, or access to it has ended.
    async fn level(&self) -> Option<UserLevel> {
        self.0.standing().ok().map(|seat| seat.level)
    }

    /// All that the viewer may do in the account that this request acts in.
    #[graphql(complexity = "crate::api::cost(MATRIX.len(), 1)")]
    async fn permissions(&self) -> Vec<Permission> {
        let may = |permission| self.0.seat_if_any().is_some_and(|seat| seat.may(permission));
        MATRIX.iter().map(|row| row.permission).filter(|permission| may(*permission)).collect()
    }

    /// Whether the viewer may do this in the account that this request acts in.
    async fn can(&self, permission: Permission) -> bool {
        self.0.seat_if_any().is_some_and(|seat| seat.may(permission))
    }

    /// Why `can` answers as it does.
    async fn explain(&self, permission: Permission) -> PermissionExplanation {
        PermissionExplanation::of(&self.0, permission)
    }

    /// The connection through which the viewer acts, when in a client's account.
    async fn via(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<ClientConnection>> {
        let row = self.0.standing().ok()?.via.clone()?;
        view_ways(ctx.app(), &self.0, vec![row], Wants::ONE).await.map(|mut one| one.pop()).map_err(Into::into).transpose()
    }

    /// Every account that the viewer can switch to, own and clients', by name. For an API key: the one account that it acts in.
    #[graphql(complexity = "crate::api::page_cost(first.or(last), child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "they are the field's own, as the schema names them")]
    async fn accounts(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        #[graphql(desc = "In the account's name.")] search: Option<String>,
        #[graphql(desc = "Only where the viewer has one of these levels.")] level: Option<Vec<UserLevel>>,
    ) -> async_graphql::Result<Connection<AccountAccessEdge>> {
        let page = PageArgs { first, after, last, before };
        Ok(accounts(ctx, &self.0, &page, search.as_deref(), level.as_deref()).await?)
    }

    /// Pending invitations to the viewer's verified e-mail address. Empty for an API key.
    #[graphql(complexity = "crate::api::page_cost(first, child_complexity)")]
    async fn invitations(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> async_graphql::Result<Connection<InvitationEdge>> {
        Ok(invitations::api::of_viewer(ctx, &PageArgs { first, after, ..PageArgs::default() }).await?)
    }

    /// Pending access requests to the viewer's verified e-mail address. Empty for an API key.
    #[graphql(complexity = "crate::api::page_cost(first, child_complexity)")]
    async fn access_requests(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> async_graphql::Result<Connection<ClientConnectionEdge>> {
        Ok(connections::api::of_viewer(ctx, &PageArgs { first, after, ..PageArgs::default() }).await?)
    }

    /// The viewer's sessions that have not ended, the one last used first. Empty for an API key.
    async fn sessions(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<Session>> {
        Ok(security::sessions(ctx).await?)
    }

    /// Whether signing in requires a two-factor code. Null for an API key.
    async fn two_factor_enabled(&self) -> Option<bool> {
        self.own(self.0.user.two_factor_since.is_some())
    }

    /// Whether the viewer's e-mail address is verified. Null for an API key.
    async fn email_verified(&self) -> Option<bool> {
        self.own(self.0.user.email_verified_at.is_some())
    }

    /// The address that the viewer is changing to, until it is verified. Null when no change is pending, and for an API key.
    async fn pending_email(&self) -> Option<&str> {
        self.own(self.0.user.pending_email.as_deref()).flatten()
    }

    /// Whether the viewer wants the e-mails of the account that this request acts in; null when it acts in none.
    async fn email_opt_in(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<bool>> {
        let Some(seat) = self.0.seat_if_any() else { return Ok(None) };
        Ok(Some(accounts::settings::opted_in(ctx.app(), seat.account.id, self.0.user.id).await?))
    }

    /// When the viewer's recent authentication ends. Null when `reauthenticate` is needed, and for an API key.
    async fn reauthenticated_until(&self, ctx: &Context<'_>) -> Option<Moment> {
        let session = self.0.session().ok()?;
        is_fresh(session, ctx.app().now()).then(|| session.proved_at() + FRESH)
    }

    /// What happened to the viewer's own login, newest first. Empty for an API key.
    #[graphql(complexity = "crate::api::page_cost(first.or(last), child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "they are the field's own, as the schema names them")]
    async fn activity(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        kinds: Option<Vec<EventKind>>,
        #[graphql(desc = "Only what happened at this moment or later.")] from: Option<Moment>,
        #[graphql(desc = "Only what happened before this moment.")] until: Option<Moment>,
    ) -> async_graphql::Result<Connection<EventEdge>> {
        let page = PageArgs { first, after, last, before };
        let filter = EventFilter { kinds, from, until, actor: None };
        Ok(crate::events::api::list(ctx, self.0.user.id.into(), &page, &filter).await?)
    }

    /// Sign-ins, failures and other security events that concern the viewer, newest first. Empty for an API key. For those of an
    /// account, see `Account.securityEvents`.
    #[graphql(complexity = "crate::api::page_cost(first.or(last), child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "they are the field's own, as the schema names them")]
    async fn security_events(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        kinds: Option<Vec<SecurityEventKind>>,
        #[graphql(desc = "Only with one of these outcomes.")] outcomes: Option<Vec<SecurityOutcome>>,
        #[graphql(desc = "Only what occurred at this moment or later.")] from: Option<Moment>,
        #[graphql(desc = "Only what occurred before this moment.")] until: Option<Moment>,
    ) -> async_graphql::Result<Connection<SecurityEventEdge>> {
        let page = PageArgs { first, after, last, before };
        let filter = SecurityEventFilter { kinds, outcomes, actor: None, from, until };
        Ok(security_events::list(ctx, security_events::Subject::Viewer, &page, &filter).await?)
    }

    /// The position of the viewer's own log. Pass it as `after` to `accessRequestChanged` to miss nothing between a query and its
    /// subscription. Null for an API key.
    async fn activity_cursor(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<String>> {
        let Some(log) = self.0.own_log() else { return Ok(None) };
        Ok(Some(Cursor::now(ctx.app(), log).await?.write_end(ctx.app())))
    }
}

impl Viewer {
    /// A fact about the user's own login, which an API key can't read (I6).
    fn own<T>(&self, fact: T) -> Option<T> {
        (!self.0.by_key()).then_some(fact)
    }
}

/// What decides whether a permission is given.
#[derive(Clone, Copy, Debug, Enum, Eq, PartialEq)]
pub enum PermissionTerm {
    /// The viewer's level is high enough, or is not.
    Level,
    /// The viewer's own level would do, but the client allows less on the connection.
    Ceiling,
    /// It is never given through a connection.
    DirectUsersOnly,
    /// The account requires two-factor, which the viewer has not set up.
    TwoFactor,
    /// It is never given to an API key, or the key's level is too low while its maker's would do.
    ApiKey,
    /// The viewer acts in no account, or their access to it has ended.
    NoAccess,
}

impl PermissionTerm {
    fn of(actor: &Actor, permission: Permission) -> Self {
        let (row, Ok(seat)) = (permission.row(), actor.standing()) else { return Self::NoAccess };
        let ceiling = seat.via.as_ref().and_then(|via| via.level);
        if actor.lacks_two_factor() {
            Self::TwoFactor
        } else if row.direct_users_only && seat.via.is_some() {
            Self::DirectUsersOnly
        } else if seat.by_key && NEVER_BY_KEY.contains(&permission) {
            Self::ApiKey
        } else if seat.level >= row.lowest || seat.full < row.lowest {
            Self::Level
        } else if ceiling.is_some_and(|ceiling| ceiling < row.lowest) {
            Self::Ceiling
        } else {
            Self::ApiKey
        }
    }
}

/// Why a permission is given or denied.
#[derive(SimpleObject)]
#[graphql(serial)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own for the client")]
pub struct PermissionExplanation {
    /// Whether it is given.
    allowed: bool,
    /// What decided.
    decided_by: PermissionTerm,
    /// Why, in a sentence.
    reason: String,
    /// The viewer's level; null when they act in no account.
    level: Option<UserLevel>,
    /// The lowest level that has the permission.
    lowest_level: UserLevel,
    /// Whether it is never given through a connection.
    direct_users_only: bool,
    /// Whether the viewer acts through a connection.
    through_connection: bool,
    /// That connection's ceiling.
    ceiling: Option<UserLevel>,
    /// Whether the account requires two-factor and the viewer has none: then nothing is given.
    two_factor_missing: bool,
}

impl PermissionExplanation {
    fn of(actor: &Actor, permission: Permission) -> Self {
        let (row, seat) = (permission.row(), actor.standing().ok());
        let via = seat.and_then(|seat| seat.via.as_ref());
        let reason = match seat {
            None => "You act in no account, or your access to it has ended.".to_owned(),
            Some(_) if actor.lacks_two_factor() => Denied::TwoFactorRequired.to_string(),
            Some(seat) => seat.reason(permission),
        };
        Self {
            allowed: actor.seat_if_any().is_some_and(|seat| seat.may(permission)),
            decided_by: PermissionTerm::of(actor, permission),
            reason,
            two_factor_missing: actor.lacks_two_factor(),
            level: seat.map(|seat| seat.level),
            lowest_level: row.lowest,
            direct_users_only: row.direct_users_only,
            through_connection: via.is_some(),
            ceiling: via.and_then(|via| via.level),
        }
    }
}

/// One account that the viewer can act in, at a level; `via` is set when it is a client's.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct AccountAccessEdge {
    /// Where it stands in the list.
    cursor: String,
    /// The account.
    node: Account,
    /// What the viewer may do there.
    level: UserLevel,
    /// The connection through which, when it is a client's.
    via: Option<ClientConnection>,
}

impl Edge for AccountAccessEdge {
    type Node = Account;
    fn node(&self) -> &Account {
        &self.node
    }
    fn cursor(&self) -> &str {
        &self.cursor
    }
}

/// The one account of an API key, if the search and the levels match it (I6). Its key in the list comes first.
fn account_of_key(actor: &Actor, search: Option<&str>, levels: Option<&[UserLevel]>) -> Result<Option<(Vec<String>, Seat)>> {
    let part = search.map(search_key).transpose()?.unwrap_or_default();
    let matches =
        |seat: &&Seat| seat.account.name_key.contains(&part) && levels.is_none_or(|levels| levels.contains(&seat.level));
    let seat = actor.standing().ok().filter(matches);
    Ok(seat.map(|seat| (vec![seat.account.name_key.clone(), seat.account.id.0.to_string()], seat.clone())))
}

async fn accounts(
    ctx: &Context<'_>,
    actor: &Actor,
    page: &PageArgs,
    search: Option<&str>,
    levels: Option<&[UserLevel]>,
) -> Result<Connection<AccountAccessEdge>> {
    let (app, db, window) = (ctx.app(), ctx.app().reader(), page.window(ctx.app(), "one's accounts")?);
    if actor.by_key() {
        let one = account_of_key(actor, search, levels)?;
        let total = one.iter().len().try_into().unwrap_or_default();
        let in_window = |(key, _): &(Vec<String>, Seat)| {
            window.after.as_ref().is_none_or(|after| key > after) && window.before.as_ref().is_none_or(|before| key < before)
        };
        return page_of_accounts(ctx, actor, &window, (one.into_iter().filter(in_window).collect(), total)).await;
    }
    let ways = Ways::of(app, actor.user.id, search, levels).await?;
    let (sql, now) = (ways.page(&window)?, ways.now);
    let read = |row: &QueryResult| {
        let agency: Option<AccountId> = row.try_get("", "c_agency_id")?;
        // The name that the list is in the order of.
        let key = vec![row.try_get::<String>("", "name")?, row.try_get::<Uuid>("", "way")?.to_string()];
        Ok((key, Seat::of_row(row, agency, now)?))
    };
    let rows = sql.all(db, read).await?;
    let rows: Vec<_> = rows.into_iter().filter_map(|(key, seat)| Some((key, seat?))).collect();
    let total = if Asked::of(ctx).total() { ways.count().count(db).await? } else { 0 };
    page_of_accounts(ctx, actor, &window, (rows, total)).await
}

async fn page_of_accounts(
    ctx: &Context<'_>,
    actor: &Actor,
    window: &Window,
    (rows, total): (Vec<(Vec<String>, Seat)>, u64),
) -> Result<Connection<AccountAccessEdge>> {
    let (app, asked) = (ctx.app(), Asked::of(ctx));
    let via = rows.iter().filter_map(|(_, seat)| seat.via.clone()).collect();
    let via = view_ways(app, actor, via, Wants::of_ways(&asked)).await?;
    let via: HashMap<_, _> = via.into_iter().map(|connection| (connection.id, connection)).collect();
    let edge = |(_, seat): (Vec<String>, Seat), cursor| AccountAccessEdge {
        cursor,
        level: seat.level,
        via: seat.via.and_then(|row| via.get(&row.id).cloned()),
        node: Account::seen(seat.account, Some(actor)),
    };
    Ok(window.page(rows, total, edge, |(key, _)| key.clone()))
}
