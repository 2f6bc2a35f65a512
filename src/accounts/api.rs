//! Accounts as clients see them: of one that the request does not act in, only id and name.

use crate::{
    actor::Actor,
    api::{Ask, Connection, Guarded, PageArgs},
    api_keys::api::{self as api_keys, ApiKeyEdge},
    connections::{self, api::ClientConnectionEdge, guests::AgencyBlockEdge, view::ConnectionUserEdge},
    db::{Sql, model, select},
    error::Result,
    events::{
        api::{EventEdge, EventFilter},
        feed::Cursor,
        security::api::{self as security_events, SecurityEventEdge, SecurityEventFilter},
    },
    invitations::{self, api::InvitationEdge},
    limits::{Counted, Rolling},
    users::{self, AccountUserEdge, User},
};
use async_graphql::{Context, Object, SimpleObject};
use entity::{
    AccountId, Moment, UserId, UserLevel,
    account::{self, AccountStatus, Plan},
    billing,
    connection::{ConnectionStatus, Side},
    event::EventKind,
    invitation::InvitationStatus,
    security_event::{SecurityEventKind, SecurityOutcome},
    user,
};
use guarded::guarded;
use sea_orm::ConnectionTrait;
use std::collections::HashMap;

/// A customer's tenant.
#[derive(Clone, Debug)]
pub struct Account {
    row: account::Model,
    /// Whether the request acts in it: else only id and name are told.
    here: bool,
    /// Whether the viewer lacks the two-factor that it requires: then only that is told besides (U10).
    barred: bool,
}

impl Account {
    /// As the actor may see it.
    pub fn seen(row: account::Model, actor: Option<&Actor>) -> Self {
        let here = actor.is_some_and(|actor| actor.acts_in(row.id));
        let barred = actor.is_some_and(Actor::lacks_two_factor);
        Self { row, here, barred }
    }

    /// As a user sees it who acts in it, or will with the credentials that are given here.
    pub fn acted_in(row: account::Model, user: &user::Model) -> Self {
        let barred = row.two_factor_required && user.two_factor_since.is_none();
        Self { row, here: true, barred }
    }

    /// As who has just changed it sees it.
    pub fn changed(row: account::Model) -> Self {
        Self { row, here: true, barred: false }
    }

    /// Its name, for sentences.
    pub fn title(&self) -> &str {
        &self.row.name
    }

    fn here<T>(&self, value: T) -> Option<T> {
        (self.here && !self.barred).then_some(value)
    }
}

impl Guarded for Account {
    fn account(&self) -> AccountId {
        self.row.id
    }
}

/// Accounts by their ids, in one statement.
pub async fn load(db: &impl ConnectionTrait, actor: Option<&Actor>, ids: Vec<AccountId>) -> Result<HashMap<AccountId, Account>> {
    let ids: std::collections::BTreeSet<_> = ids.into_iter().collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<account::Model> = select::<account::Entity>("a").push(" WHERE a.id IN ").list(ids).all(db, model("a")).await?;
    Ok(rows.into_iter().map(|row| (row.id, Account::seen(row, actor))).collect())
}

/// A customer's tenant. Of an account that the request does not act in, only `id` and `name` are readable; the rest is null,
/// without an error.
#[guarded]
#[Object(serial)]
impl Account {
    /// Its id.
    pub async fn id(&self) -> AccountId {
        self.row.id
    }

    /// The organisation's name.
    async fn name(&self) -> &str {
        &self.row.name
    }

    /// Whether it is open.
    async fn status(&self) -> Option<AccountStatus> {
        self.here(self.row.status)
    }

    /// Which levels and how many seats it has.
    async fn plan(&self) -> Option<Plan> {
        self.here(self.row.plan)
    }

    /// When it was opened.
    async fn created_at(&self) -> Option<Moment> {
        self.here(self.row.created_at)
    }

    /// Whether nobody can act in it without two-factor. Readable without it too.
    async fn two_factor_required(&self) -> Option<bool> {
        self.here.then_some(self.row.two_factor_required)
    }

    /// The one Owner.
    #[needs(ViewUsers)]
    async fn owner(&self, ctx: &Context<'_>) -> async_graphql::Result<Option<User>> {
        Ok(users::find(ctx.app().reader(), &*ctx.actor().await?, self.row.owner_id).await?)
    }

    /// Everyone with direct access, with their levels: by level, then by name.
    #[needs(ViewUsers)]
    #[graphql(complexity = "crate::api::page_cost(first.or(last), child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "they are the field's own, as the schema names them")]
    async fn users(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        level: Option<Vec<UserLevel>>,
        search: Option<String>,
    ) -> async_graphql::Result<Connection<AccountUserEdge>> {
        let page = PageArgs { first, after, last, before };
        Ok(users::list(ctx, self.row.id, &page, level.as_deref(), search.as_deref()).await?)
    }

    /// How many seats the plan has, and who holds them.
    #[needs(ViewUsers)]
    async fn seats(&self, ctx: &Context<'_>) -> async_graphql::Result<Seats> {
        Ok(Seats::of(ctx, &self.row).await?)
    }

    /// Invitations to the account, newest first.
    #[needs(InviteUsers)]
    #[graphql(complexity = "crate::api::page_cost(first.or(last), child_complexity)")]
    async fn invitations(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        status: Option<Vec<InvitationStatus>>,
    ) -> async_graphql::Result<Connection<InvitationEdge>> {
        let page = PageArgs { first, after, last, before };
        Ok(invitations::api::of_account(ctx, self.row.id, &page, status.as_deref()).await?)
    }

    /// New users invited in the last 24 hours, against the limit.
    #[needs(InviteUsers)]
    async fn invitation_quota(&self, ctx: &Context<'_>) -> async_graphql::Result<Quota> {
        let limit = ctx.app().config.invitations_per_day;
        Ok(Quota::of(ctx, Counted::Invitations(self.row.id), limit).await?)
    }

    /// What the account is billed by.
    #[needs(ChangeBillingInformation)]
    async fn billing(&self, ctx: &Context<'_>) -> async_graphql::Result<BillingInformation> {
        let sql = select::<billing::Entity>("b").push(" WHERE b.account_id = ").bind(self.row.id);
        let row: Option<billing::Model> = sql.one(ctx.app().reader(), model("b")).await?;
        Ok(row.unwrap_or_else(|| billing::Model::blank(self.row.id)).into())
    }

    /// The account's API keys, newest first.
    #[needs(AddOrAccessApiKeys)]
    #[graphql(complexity = "crate::api::page_cost(first.or(last), child_complexity)")]
    async fn api_keys(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> async_graphql::Result<Connection<ApiKeyEdge>> {
        let page = PageArgs { first, after, last, before };
        Ok(api_keys::list(ctx, self.row.id, &page).await?)
    }

    /// What happened in the account, newest first. It contains every change; for who tried what, from where, see `securityEvents`.
    #[needs(ViewAuditLog)]
    #[graphql(complexity = "crate::api::page_cost(first.or(last), child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "they are the field's own, as the schema names them")]
    async fn audit_log(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        #[graphql(desc = "Only what this user did.")] actor: Option<UserId>,
        kinds: Option<Vec<EventKind>>,
        #[graphql(desc = "Only what happened at this moment or later.")] from: Option<Moment>,
        #[graphql(desc = "Only what happened before this moment.")] until: Option<Moment>,
    ) -> async_graphql::Result<Connection<EventEdge>> {
        let page = PageArgs { first, after, last, before };
        let filter = EventFilter { actor, kinds, from, until };
        Ok(crate::events::api::list(ctx, self.row.id.into(), &page, &filter).await?)
    }

    /// Security events that concern the account, newest first: the part of its audit log that is not made of changes. It contains API
    /// keys, denials, agency users who entered the account, fetched downloads and the operator's commands, with the IP addresses that
    /// they came from. Sign-ins concern the user alone (`Viewer.securityEvents`). A user who acts in the account through a connection
    /// does not see the users of other agencies, and sees the addresses of their own agency's users only.
    #[needs(ViewAuditLog)]
    #[graphql(complexity = "crate::api::page_cost(first.or(last), child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "they are the field's own, as the schema names them")]
    async fn security_events(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        #[graphql(desc = "Only what this user did.")] actor: Option<UserId>,
        kinds: Option<Vec<SecurityEventKind>>,
        #[graphql(desc = "Only with one of these outcomes.")] outcomes: Option<Vec<SecurityOutcome>>,
        #[graphql(desc = "Only what occurred at this moment or later.")] from: Option<Moment>,
        #[graphql(desc = "Only what occurred before this moment.")] until: Option<Moment>,
    ) -> async_graphql::Result<Connection<SecurityEventEdge>> {
        let page = PageArgs { first, after, last, before };
        let filter = SecurityEventFilter { kinds, outcomes, actor, from, until };
        Ok(security_events::list(ctx, security_events::Subject::Account(self.row.id), &page, &filter).await?)
    }

    /// When it joined the partner program.
    async fn partner_program_joined_at(&self) -> Option<Moment> {
        self.here(self.row.partner_program_joined_at).flatten()
    }

    /// Whether it may ask for access to clients' accounts.
    async fn client_access_enabled(&self) -> Option<bool> {
        self.here(self.row.client_access_enabled)
    }

    /// Connections in which this account is the agency, newest first.
    #[needs(RequestClientAccess)]
    #[graphql(complexity = "crate::api::page_cost(first.or(last), child_complexity)")]
    #[expect(clippy::too_many_arguments, reason = "they are the field's own, as the schema names them")]
    async fn client_connections(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        status: Option<Vec<ConnectionStatus>>,
        #[graphql(desc = "In the client's name or the address that was asked.")] search: Option<String>,
    ) -> async_graphql::Result<Connection<ClientConnectionEdge>> {
        let page = PageArgs { first, after, last, before };
        Ok(connections::api::list(ctx, self.row.id, Side::Agency, &page, status.as_deref(), search.as_deref()).await?)
    }

    /// Connections in which this account is the client, newest first.
    #[needs(DecideClientAccess)]
    #[graphql(complexity = "crate::api::page_cost(first.or(last), child_complexity)")]
    async fn agency_connections(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        status: Option<Vec<ConnectionStatus>>,
    ) -> async_graphql::Result<Connection<ClientConnectionEdge>> {
        let page = PageArgs { first, after, last, before };
        Ok(connections::api::list(ctx, self.row.id, Side::Client, &page, status.as_deref(), None).await?)
    }

    /// Everyone who can act here through an agency's connection, the one last added first; who acts here so sees those of their
    /// own. An agency's Owner, who needs no place, has one here at the connection's level.
    #[needs(ViewUsers)]
    #[graphql(complexity = "crate::api::page_cost(first.or(last), child_complexity)")]
    async fn agency_users(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> async_graphql::Result<Connection<ConnectionUserEdge>> {
        let page = PageArgs { first, after, last, before };
        Ok(connections::guests::list(ctx, self.row.id, &page).await?)
    }

    /// The agencies that this account hears nothing of, since it blocks them.
    #[needs(DecideClientAccess)]
    #[graphql(complexity = "crate::api::page_cost(first.or(last), child_complexity)")]
    async fn blocked_agencies(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
    ) -> async_graphql::Result<Connection<AgencyBlockEdge>> {
        let page = PageArgs { first, after, last, before };
        Ok(connections::guests::blocked(ctx, self.row.id, &page).await?)
    }

    /// Client accounts that the agency requested access to in the last 24 hours, against the limit. `requestClientAccess` limits each
    /// user to the same number over all their agencies.
    #[needs(RequestClientAccess)]
    async fn client_request_quota(&self, ctx: &Context<'_>) -> async_graphql::Result<Quota> {
        let limit = ctx.app().config.client_requests_per_day;
        Ok(Quota::of(ctx, Counted::ClientRequests(self.row.id), limit).await?)
    }

    /// Where the account's log stands: pass it as `after` to a subscription, and nothing falls between query and subscription.
    async fn activity_cursor(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<String>> {
        if !self.here {
            return None;
        }
        let now = Cursor::now(ctx.app(), self.row.id.into()).await;
        Some(now.map(|now| now.write_end(ctx.app())).map_err(Into::into))
    }
}

/// The seats of an account.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct Seats {
    /// How many the plan has; null: no limit.
    limit: Option<u64>,
    /// Held by users, the Owner included.
    used: u64,
    /// Held by pending invitations.
    reserved: u64,
}

impl Seats {
    async fn of(ctx: &Context<'_>, account: &account::Model) -> Result<Self> {
        let app = ctx.app();
        let used = Sql::new("SELECT count(*) FROM members WHERE account_id = ").bind(account.id).count(app.reader()).await?;
        let reserved = Sql::new("SELECT count(*) FROM invitations WHERE status = 'pending' AND account_id = ").bind(account.id);
        let reserved = reserved.push(" AND expires_at > ").bind(app.now()).count(app.reader()).await?;
        Ok(Self { limit: account.plan.seats(), used, reserved })
    }
}

/// What is left of a limit that counts the last 24 hours.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct Quota {
    /// How many there may be in 24 hours.
    limit: u32,
    /// How many there were.
    used: u32,
    /// How many there may still be.
    remaining: u32,
    /// When the next one becomes free; null while some remain.
    resets_at: Option<Moment>,
}

impl Quota {
    async fn of(ctx: &Context<'_>, what: Counted, limit: u32) -> Result<Self> {
        let app = ctx.app();
        let day = Rolling::read(app.reader(), what, limit, app.now()).await?;
        Ok(Self { limit, used: day.used(), remaining: day.left(), resets_at: day.resets_at() })
    }
}

/// The levels and the seats that a plan has.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct PlanTerms {
    /// The plan.
    plan: Plan,
    /// Its levels, highest first.
    levels: Vec<UserLevel>,
    /// How many users it has room for, the Owner included; null: no limit.
    seats: Option<u64>,
}

/// What an account's invoices say.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct BillingInformation {
    /// The company.
    company: Option<String>,
    /// Where invoices go.
    email: Option<String>,
    /// The address, line by line.
    address_lines: Vec<String>,
    /// The country, as two letters of ISO 3166.
    country: Option<String>,
    /// The company's number for taxes.
    tax_id: Option<String>,
}

impl From<billing::Model> for BillingInformation {
    fn from(row: billing::Model) -> Self {
        let billing::Model { company, email, address_lines, country, tax_id, .. } = row;
        let address_lines = address_lines.unwrap_or_default().lines().map(str::to_owned).collect();
        Self { company, email, address_lines, country, tax_id }
    }
}

/// What is asked of accounts.
#[derive(Default)]
pub struct AccountsQuery;

#[Object(serial)]
impl AccountsQuery {
    /// The account that this request acts in; null when signed out or acting in none.
    async fn account(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Account>> {
        let actor = match ctx.actor_if_any().await {
            Ok(actor) => actor?,
            Err(error) => return Some(Err(error.into())),
        };
        // A token that names an account which has ended for its user is an error, one that names none is not (L8).
        match actor.standing_unless_nowhere() {
            Ok(seat) => seat.map(|seat| Ok(Account::seen(seat.account.clone(), Some(&actor)))),
            Err(error) => Some(Err(error.into())),
        }
    }

    /// The levels and the seats that each plan has. Public.
    async fn plan_terms(&self) -> Vec<PlanTerms> {
        Plan::ALL.into_iter().map(|plan| PlanTerms { plan, levels: plan.levels().to_vec(), seats: plan.seats() }).collect()
    }
}
