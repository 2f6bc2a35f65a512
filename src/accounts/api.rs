//! Accounts as clients see them: of one that the request does not act in, only id and name.

use super::{ops, ownership};
use crate::{
    actor::Actor,
    api::{Answer, Ask, Connection, Guarded, PageArgs, answer},
    api_keys::api::{self as api_keys, ApiKeyEdge},
    connections::{self, api::ClientConnectionEdge},
    consequences::{Consequence, Outcome},
    db::{Sql, model, select},
    error::Result,
    events::{
        api::{EventEdge, EventFilter},
        feed::Cursor,
    },
    invitations::{self, api::InvitationEdge},
    limits::{Counted, Rolling},
    users::{self, AccountUserEdge, User},
};
use async_graphql::{Context, InputObject, Object, SimpleObject};
use entity::{
    AccountId, Moment, UserId, UserLevel,
    account::{self, AccountStatus, Plan},
    connection::{ConnectionStatus, Side},
    event::EventKind,
    invitation::InvitationStatus,
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
        Ok(Quota::of(ctx, Counted::Invitations, self.row.id, limit).await?)
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

    /// What happened in the account, newest first.
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
    ) -> async_graphql::Result<Connection<EventEdge>> {
        let page = PageArgs { first, after, last, before };
        Ok(crate::events::api::list(ctx, self.row.id.into(), &page, &EventFilter { actor, kinds }).await?)
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

    /// Client accounts requested in the last 24 hours, against the limit.
    #[needs(RequestClientAccess)]
    async fn client_request_quota(&self, ctx: &Context<'_>) -> async_graphql::Result<Quota> {
        let limit = ctx.app().config.client_requests_per_day;
        Ok(Quota::of(ctx, Counted::ClientRequests, self.row.id, limit).await?)
    }

    /// Where the account's log stands: pass it as `after` to a subscription, and nothing falls between query and subscription.
    async fn activity_cursor(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<String>> {
        if !self.here {
            return None;
        }
        Some(Cursor::now(ctx.app(), self.row.id.into()).await.map(Cursor::write).map_err(Into::into))
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
    async fn of(ctx: &Context<'_>, what: Counted, account: AccountId, limit: u32) -> Result<Self> {
        let app = ctx.app();
        let day = Rolling::read(app.reader(), what, account, limit, app.now()).await?;
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

/// Another plan.
#[derive(InputObject)]
pub struct ChangePlanInput {
    /// The plan to take.
    plan: Plan,
}

/// What `changePlan` changed.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct ChangePlan {
    /// The account with its new plan.
    account: Option<Account>,
}

/// To whom ownership goes.
#[derive(InputObject)]
pub struct TransferOwnershipInput {
    /// An Admin of the account's own.
    user_id: UserId,
    /// Refused with `WRONG_ACCOUNT` unless the request acts in it.
    account_id: Option<AccountId>,
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// Whether two-factor is asked of everyone.
#[derive(InputObject)]
pub struct RequireTwoFactorInput {
    /// Whether it is.
    required: bool,
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// Which account is closed.
#[derive(InputObject)]
pub struct CloseAccountInput {
    /// The account's name, typed again.
    confirmation: String,
    /// Refused with `WRONG_ACCOUNT` unless the request acts in it.
    account_id: Option<AccountId>,
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

macro_rules! with_account {
    ($($name:ident $doc:literal)*) => { $(
        #[doc = $doc]
        #[derive(Default, SimpleObject)]
        #[graphql(serial)]
        pub struct $name {
            /// The account as it is now.
            account: Option<Account>,
            /// What would end; null unless it was a dry run.
            consequences: Option<Vec<Consequence>>,
        }

        impl From<Outcome<account::Model>> for $name {
            fn from(outcome: Outcome<account::Model>) -> Self {
                let (account, consequences) = outcome.split();
                Self { account: account.map(Account::changed), consequences }
            }
        }
    )* };
}

with_account! {
    TransferOwnership "What `transferOwnership` changed."
    RequireTwoFactor "What `requireTwoFactor` changed."
}

/// What `closeAccount` changed.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct CloseAccount {
    /// The account that is closed.
    account_id: Option<AccountId>,
    /// What would end; null unless it was a dry run.
    consequences: Option<Vec<Consequence>>,
}

/// What accounts can be told to do.
#[derive(Default)]
pub struct AccountsMutation;

#[guarded(elsewhere)]
#[Object(serial)]
impl AccountsMutation {
    /// Take another plan. Refused with `PLAN_TOO_SMALL`, naming who is in the way, when the users and pending invitations don't fit it.
    #[needs(ops::CHANGE_PLAN)]
    async fn change_plan(&self, ctx: &Context<'_>, input: ChangePlanInput) -> Answer<ChangePlan> {
        let changed = ops::change_plan(ctx.app(), ctx.caller(), input.plan).await;
        answer(changed.map(|account| ChangePlan { account: Some(Account::changed(account)) }))
    }

    /// Make an Admin of the account's own its Owner; the Owner becomes an Admin. All Admins are told. Asks who one is again.
    #[needs(ownership::TRANSFER_OWNERSHIP)]
    async fn transfer_ownership(&self, ctx: &Context<'_>, input: TransferOwnershipInput) -> Answer<TransferOwnership> {
        let TransferOwnershipInput { user_id, account_id, dry_run } = input;
        let done = ownership::transfer_ownership(ctx.app(), ctx.caller(), user_id, account_id, dry_run.unwrap_or_default()).await;
        answer(done.map(TransferOwnership::from))
    }

    /// Ask two-factor of everyone who acts in the account, also of agencies' users and API keys; or no longer.
    #[needs(ownership::REQUIRE_TWO_FACTOR)]
    async fn require_two_factor(&self, ctx: &Context<'_>, input: RequireTwoFactorInput) -> Answer<RequireTwoFactor> {
        let done =
            ownership::require_two_factor(ctx.app(), ctx.caller(), input.required, input.dry_run.unwrap_or_default()).await;
        answer(done.map(RequireTwoFactor::from))
    }

    /// Close the account for good, with its connections, invitations and API keys. Asks who one is again.
    #[needs(ownership::CLOSE_ACCOUNT)]
    async fn close_account(&self, ctx: &Context<'_>, input: CloseAccountInput) -> Answer<CloseAccount> {
        let CloseAccountInput { confirmation, account_id, dry_run } = input;
        let done =
            ownership::close_account(ctx.app(), ctx.caller(), &confirmation, account_id, dry_run.unwrap_or_default()).await;
        answer(done.map(|done| {
            let (account_id, consequences) = done.split();
            CloseAccount { account_id, consequences }
        }))
    }
}
