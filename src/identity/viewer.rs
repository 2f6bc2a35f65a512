//! The viewer: who a request acts as, what they may do here and why, and everywhere they can switch to.

use super::{
    security::{self, Session},
    ways::Ways,
};
use crate::{
    accounts::{self, api::Account},
    actor::{Actor, FRESH, NEVER_BY_KEY, Seat, is_fresh},
    api::{Ask, Asked, Connection, Edge, PageArgs},
    connections::{
        self,
        api::ClientConnectionEdge,
        view::{ClientConnection, Wants, view_ways},
    },
    error::{Denied, Result},
    events::{
        api::{EventEdge, EventFilter},
        feed::Cursor,
        security::api::{self as security_events, SecurityEventEdge, SecurityEventFilter},
    },
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
    /// The person.
    async fn user(&self) -> User {
        User::oneself(self.0.user.clone())
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

    /// Every account that the viewer can switch to: their own, and their clients', by name.
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

    /// Pending invitations to the viewer's verified e-mail address.
    #[graphql(complexity = "crate::api::page_cost(first, child_complexity)")]
    async fn invitations(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> async_graphql::Result<Connection<InvitationEdge>> {
        Ok(invitations::api::of_viewer(ctx, &PageArgs { first, after, ..PageArgs::default() }).await?)
    }

    /// Pending access requests to the viewer's verified e-mail address.
    #[graphql(complexity = "crate::api::page_cost(first, child_complexity)")]
    async fn access_requests(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> async_graphql::Result<Connection<ClientConnectionEdge>> {
        Ok(connections::api::of_viewer(ctx, &PageArgs { first, after, ..PageArgs::default() }).await?)
    }

    /// The viewer's sessions that have not ended, the one last used first.
    async fn sessions(&self, ctx: &Context<'_>) -> async_graphql::Result<Vec<Session>> {
        Ok(security::sessions(ctx).await?)
    }

    /// Whether signing in asks for a code.
    async fn two_factor_enabled(&self) -> bool {
        self.0.user.two_factor_since.is_some()
    }

    /// Whether the viewer's address is verified.
    async fn email_verified(&self) -> bool {
        self.0.user.email_verified_at.is_some()
    }

    /// The address that the viewer changes to, until it is verified.
    async fn pending_email(&self) -> Option<&str> {
        self.0.user.pending_email.as_deref()
    }

    /// Whether the viewer wants the e-mails of the account that this request acts in; null when it acts in none.
    async fn email_opt_in(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<bool>> {
        let Some(seat) = self.0.seat_if_any() else { return Ok(None) };
        Ok(Some(accounts::settings::opted_in(ctx.app(), seat.account.id, self.0.user.id).await?))
    }

    /// Until when what asks for it takes it as proven who the viewer is; null when `reauthenticate` is needed.
    async fn reauthenticated_until(&self, ctx: &Context<'_>) -> Option<Moment> {
        let session = self.0.session().ok()?;
        is_fresh(session, ctx.app().now()).then(|| session.proved_at() + FRESH)
    }

    /// What happened to the viewer's own login, newest first.
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

    /// Where the viewer's own log stands: pass it as `after` to `accessRequestChanged`, and nothing falls between query and
    /// subscription.
    async fn activity_cursor(&self, ctx: &Context<'_>) -> async_graphql::Result<String> {
        Ok(Cursor::now(ctx.app(), self.0.user.id.into()).await?.write_end(ctx.app()))
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

async fn accounts(
    ctx: &Context<'_>,
    actor: &Actor,
    page: &PageArgs,
    search: Option<&str>,
    levels: Option<&[UserLevel]>,
) -> Result<Connection<AccountAccessEdge>> {
    let (app, db, window) = (ctx.app(), ctx.app().reader(), page.window(ctx.app(), "one's accounts")?);
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
    let asked = Asked::of(ctx);
    let total = if asked.total() { ways.count().count(db).await? } else { 0 };
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
