//! Identity in the API: who the viewer is and where they can act, and the mutations of signing up and in.

use super::ops::{self, Credentials, Device, SignIn, SignUp, SignedIn};
use crate::{
    accounts::api::Account,
    actor::{Actor, SEAT_COLUMNS, Seat},
    api::{Answer, Ask, Asked, Connection, Edge, PageArgs, answer},
    connections::{
        self,
        api::ClientConnectionEdge,
        view::{ClientConnection, Wants, view},
    },
    db::{Sql, contains},
    error::{Denied, Error, Result},
    events::feed::Cursor,
    invitations::{self, api::InvitationEdge},
    permission::{MATRIX, Permission},
    users::User,
};
use async_graphql::{Context, InputObject, Object, SimpleObject};
use entity::{AccountId, ConnectionId, Moment, UserLevel, session::SessionClient};
use std::{collections::HashMap, sync::Arc};
use uuid::Uuid;

/// Who a request acts as.
pub struct Viewer(Arc<Actor>);

/// Who this request acts as.
#[Object(serial)]
impl Viewer {
    /// The person.
    async fn user(&self) -> User {
        User::oneself(self.0.user.clone())
    }

    /// The level in the account that this request acts in; null when it acts in none, or access to it has ended.
    async fn level(&self) -> Option<UserLevel> {
        ops::level_of(self.0.seat_if_any())
    }

    /// All that the viewer may do in the account that this request acts in.
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
        PermissionExplanation::of(self.0.seat_if_any(), permission)
    }

    /// The connection through which the viewer acts, when in a client's account.
    async fn via(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<ClientConnection>> {
        let row = self.0.seat_if_any()?.via.clone()?;
        view(ctx, Some(&self.0), vec![row], Wants::ONE).await.map(|mut one| one.pop()).map_err(Into::into).transpose()
    }

    /// Every account that the viewer can switch to: their own, and their clients', by name.
    #[graphql(complexity = "5 + first.or(last).unwrap_or(20).clamp(1, 100) as usize * child_complexity")]
    async fn accounts(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
        last: Option<i32>,
        before: Option<String>,
        #[graphql(desc = "In the account's name.")] search: Option<String>,
    ) -> async_graphql::Result<Connection<AccountAccessEdge>> {
        let page = PageArgs { first, after, last, before };
        Ok(accounts(ctx, &self.0, &page, search.as_deref()).await?)
    }

    /// Pending invitations to the viewer's verified e-mail address.
    #[graphql(complexity = "5 + first.unwrap_or(20).clamp(1, 100) as usize * child_complexity")]
    async fn invitations(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> async_graphql::Result<Connection<InvitationEdge>> {
        Ok(invitations::api::of_viewer(ctx, &PageArgs { first, after, ..PageArgs::default() }).await?)
    }

    /// Pending access requests to the viewer's verified e-mail address.
    #[graphql(complexity = "5 + first.unwrap_or(20).clamp(1, 100) as usize * child_complexity")]
    async fn access_requests(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> async_graphql::Result<Connection<ClientConnectionEdge>> {
        Ok(connections::api::of_viewer(ctx, &PageArgs { first, after, ..PageArgs::default() }).await?)
    }

    /// Where the viewer's own log stands: pass it as `after` to `accessRequestChanged`, and nothing falls between query and
    /// subscription.
    async fn activity_cursor(&self, ctx: &Context<'_>) -> async_graphql::Result<String> {
        Ok(Cursor::now(ctx.app(), self.0.user.id.into()).await?.write())
    }
}

/// Why a permission is given or denied.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct PermissionExplanation {
    /// Whether it is given.
    allowed: bool,
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
}

impl PermissionExplanation {
    fn of(seat: Option<&Seat>, permission: Permission) -> Self {
        let row = permission.row();
        let via = seat.and_then(|seat| seat.via.as_ref());
        let nowhere = || "You act in no account, or your access to it has ended.".to_owned();
        Self {
            allowed: seat.is_some_and(|seat| seat.may(permission)),
            reason: seat.map_or_else(nowhere, |seat| seat.reason(permission)),
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

/// Every way of a user into an account: a place of their own, or one on a connection of an agency of theirs.
const WAYS: &str = "SELECT m.id AS way, m.account_id AS account_id, NULL AS connection_id, m.level AS m_level, NULL AS am_level, \
     NULL AS p_level FROM members m WHERE m.user_id = ";
const WAYS_THROUGH: &str = " UNION ALL SELECT c.id, c.client_id, c.id, NULL, am.level, p.level FROM members am \
     JOIN accounts g ON g.id = am.account_id AND g.status = 'active' \
     JOIN connections c ON c.agency_id = g.id AND c.status = 'active' \
     LEFT JOIN places p ON p.connection_id = c.id AND p.user_id = am.user_id \
     WHERE (p.id IS NOT NULL OR g.owner_id = am.user_id) AND am.user_id = ";

async fn accounts(
    ctx: &Context<'_>,
    actor: &Actor,
    page: &PageArgs,
    search: Option<&str>,
) -> Result<Connection<AccountAccessEdge>> {
    let (db, window, user) = (ctx.app().reader(), page.window("one's accounts")?, actor.user.id);
    let scope = |columns: &str| {
        let sql = Sql::new(format!("SELECT {columns} FROM ({WAYS}")).bind(user).push(WAYS_THROUGH).bind(user);
        let sql = sql.push(") w JOIN accounts a ON a.id = w.account_id AND a.status = 'active' LEFT JOIN connections c ON c.id = w.connection_id");
        let sql = sql.push(" WHERE 1 = 1");
        match search.map(contains) {
            Some(part) => sql.push(" AND LOWER(a.name) LIKE ").bind(part).push(" ESCAPE '\\'"),
            None => sql,
        }
    };
    // The seat's columns name the tables that its levels come from; here they come from the ways.
    let seat = SEAT_COLUMNS.replace(
        "m.level AS m_level, am.level AS am_level, p.level AS p_level",
        "w.m_level AS m_level, w.am_level AS am_level, w.p_level AS p_level",
    );
    let mut sql = scope(&format!("w.way AS way, {seat}"));
    if let Some(key) = &window.after {
        sql = beyond(sql, key, ">")?;
    }
    if let Some(key) = &window.before {
        sql = beyond(sql, key, "<")?;
    }
    let order = if window.backwards() { " ORDER BY a.name DESC, w.way DESC" } else { " ORDER BY a.name, w.way" };
    let read = |row: &sea_orm::QueryResult| {
        let agency: Option<AccountId> = row.try_get("", "c_agency_id")?;
        Ok((row.try_get::<Uuid>("", "way")?, Seat::of_row(row, agency)?))
    };
    let rows = sql.push(order).push(&format!(" LIMIT {}", window.limit())).all(db, read).await?;
    let rows: Vec<_> = rows.into_iter().filter_map(|(way, seat)| Some((way, seat?))).collect();
    let total = if Asked::of(ctx).total() { scope("count(*)").count(db).await? } else { 0 };
    let via = rows.iter().filter_map(|(_, seat)| seat.via.clone()).collect();
    let via = view(ctx, Some(actor), via, Wants::WAYS).await?;
    let via: HashMap<_, _> = via.into_iter().map(|connection| (connection.id, connection)).collect();
    let edge = |(_, seat): (Uuid, Seat), cursor| AccountAccessEdge {
        cursor,
        level: seat.level,
        via: seat.via.and_then(|row| via.get(&row.id).cloned()),
        node: Account::seen(seat.account, Some(actor)),
    };
    Ok(window.page(rows, total, edge, |(way, seat)| vec![seat.account.name.clone(), way.to_string()]))
}

fn beyond(sql: Sql, key: &[String], side: &str) -> Result<Sql> {
    let parts = if let [name, way] = key { Uuid::parse_str(way).ok().map(|way| (name.as_str(), way)) } else { None };
    let (name, way) = parts.ok_or_else(|| Denied::BadRequest("That is no cursor of this list.".into()))?;
    let sql = sql.push(&format!(" AND (a.name {side} ")).bind(name).push(" OR a.name = ").bind(name);
    Ok(sql.push(&format!(" AND w.way {side} ")).bind(way).push(")"))
}

/// What is asked of identity.
#[derive(Default)]
pub struct IdentityQuery;

#[Object(serial)]
impl IdentityQuery {
    /// Who this request acts as; null when signed out.
    async fn viewer(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<Viewer>> {
        ctx.actor_if_any().await.map(|actor| actor.cloned().map(Viewer)).map_err(Into::into).transpose()
    }
}

/// Who signs up.
#[derive(InputObject)]
pub struct SignUpInput {
    /// Their address; a link to verify it is sent there.
    email: String,
    /// 8 to 256 characters, and not one of the commonest.
    #[graphql(secret)]
    password: String,
    /// As they call themselves.
    name: String,
    /// What to sign in with besides the address; made of the name when there is none.
    username: Option<String>,
    /// What the new account is called; their own name when nothing is said.
    account_name: Option<String>,
    /// Join by this invitation instead of opening an account.
    #[graphql(secret)]
    invitation_token: Option<String>,
    /// What kind of client this is.
    client: Option<SessionClient>,
}

/// The token of a link.
#[derive(InputObject)]
pub struct VerifyEmailInput {
    /// The link's token.
    #[graphql(secret)]
    token: String,
}

/// Who signs in.
#[derive(InputObject)]
pub struct SignInInput {
    /// E-mail address or username.
    login: String,
    /// The password.
    #[graphql(secret)]
    password: String,
    /// What kind of client this is.
    client: Option<SessionClient>,
    /// Act in this account; else the one last used.
    account_id: Option<AccountId>,
}

/// A session that goes on.
#[derive(InputObject)]
pub struct RefreshSessionInput {
    /// The latest refresh token.
    #[graphql(secret)]
    refresh_token: String,
    /// Act in this account (`NOT_FOUND` if one can't); else in the one last acted in, or in none if access to it has ended.
    account_id: Option<AccountId>,
}

/// Where to act.
#[derive(InputObject)]
pub struct SwitchAccountInput {
    /// The account: one's own, or a client's.
    account_id: AccountId,
    /// Through this agency's connection, where one has several ways in; else directly if one can.
    connection_id: Option<ConnectionId>,
}

/// What a client keeps after signing in.
#[derive(SimpleObject)]
#[graphql(name = "Credentials", serial)]
pub struct CredentialsView {
    /// A JWT: sub (user), sid (session), acc (account), lvl (level), via (agency's account, when in a client's), exp. Send it
    /// as `Authorization: Bearer …`.
    access_token: String,
    /// Until when it is valid.
    access_token_expires_at: Moment,
    /// Opaque; each use replaces it. Null from switchAccount: the session keeps the one it has.
    refresh_token: Option<String>,
}

impl From<Credentials> for CredentialsView {
    fn from(credentials: Credentials) -> Self {
        let Credentials { access_token, expires_at, refresh_token } = credentials;
        Self { access_token, access_token_expires_at: expires_at, refresh_token }
    }
}

macro_rules! signed_in {
    ($($name:ident $shown:literal)*) => { $(
        /// What the mutation of this name changed.
        #[derive(Default, SimpleObject)]
        #[graphql(name = $shown, serial)]
        pub struct $name {
            /// Who is signed in now.
            user: Option<User>,
            /// The account that the credentials act in.
            account: Option<Account>,
            /// What the client keeps.
            credentials: Option<CredentialsView>,
        }

        impl From<SignedIn> for $name {
            fn from(done: SignedIn) -> Self {
                let account = done.seat.map(|seat| Account::entered(seat.account));
                Self { user: Some(User::oneself(done.user)), account, credentials: Some(done.credentials.into()) }
            }
        }
    )* };
}

signed_in! { SignedUp "SignUp" Entered "SignIn" }

/// What the mutation of this name changed.

#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct VerifyEmail {
    /// Whose address is verified now.
    user: Option<User>,
}

/// What the mutation of this name changed.

#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct RefreshSession {
    /// The account that the credentials act in; null when access to it has ended.
    account: Option<Account>,
    /// What the client keeps.
    credentials: Option<CredentialsView>,
}

/// What the mutation of this name changed.

#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct SwitchAccount {
    /// The account that the credentials act in.
    account: Option<Account>,
    /// What the viewer may do there.
    level: Option<UserLevel>,
    /// The connection through which, when it is a client's.
    via: Option<ClientConnection>,
    /// What the client keeps.
    credentials: Option<CredentialsView>,
}

/// What `signOut` did.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct SignOutPayload {
    /// Whether the session has ended.
    signed_out: bool,
}

/// What identity can be told to do.
#[derive(Default)]
pub struct IdentityMutation;

#[Object(serial)]
impl IdentityMutation {
    /// Become a user, with a Free account of one's own or in the account that invited. Public.
    async fn sign_up(&self, ctx: &Context<'_>, input: SignUpInput) -> Answer<SignedUp> {
        let SignUpInput { email, password, name, username, account_name, invitation_token, client } = input;
        let device = device(ctx, client);
        let input = SignUp { email, password, name, username, account_name, invitation_token, device };
        answer(ops::sign_up(ctx.app(), input).await.map(SignedUp::from))
    }

    /// Prove that a mailbox is one's own. Ends the user's other sessions, which somebody else may have begun. Public.
    async fn verify_email(&self, ctx: &Context<'_>, input: VerifyEmailInput) -> Answer<VerifyEmail> {
        let verified = ops::verify_email(ctx.app(), ctx.caller(), &input.token).await;
        answer(verified.map(|user| VerifyEmail { user: Some(User::oneself(user)) }))
    }

    /// Sign in. Public.
    async fn sign_in(&self, ctx: &Context<'_>, input: SignInInput) -> Answer<Entered> {
        let SignInInput { login, password, client, account_id } = input;
        let input = SignIn { login, password, account: account_id, device: device(ctx, client) };
        answer(ops::sign_in(ctx.app(), input).await.map(Entered::from))
    }

    /// Get the next access token of a session. Public.
    async fn refresh_session(&self, ctx: &Context<'_>, input: RefreshSessionInput) -> Answer<RefreshSession> {
        let refreshed = ops::refresh(ctx.app(), &input.refresh_token, input.account_id).await;
        answer(refreshed.map(|done| {
            let account = done.seat.map(|seat| Account::entered(seat.account));
            RefreshSession { account, credentials: Some(done.credentials.into()) }
        }))
    }

    /// End the session that asks, for every later request and open socket.
    async fn sign_out(&self, ctx: &Context<'_>) -> Option<async_graphql::Result<SignOutPayload>> {
        let done = ops::sign_out(ctx.app(), ctx.caller()).await;
        Some(done.map(|()| SignOutPayload { signed_out: true }).map_err(|error: Error| error.into()))
    }

    /// Act in another of the viewer's accounts (one's own, or a client's) without signing in again; with one's own account's
    /// id: return.
    async fn switch_account(&self, ctx: &Context<'_>, input: SwitchAccountInput) -> Answer<SwitchAccount> {
        answer(switch_account(ctx, input).await)
    }
}

fn device(ctx: &Context<'_>, client: Option<SessionClient>) -> Device {
    Device { client: client.unwrap_or(SessionClient::Web), user_agent: ctx.caller().user_agent().map(str::to_owned) }
}

async fn switch_account(ctx: &Context<'_>, input: SwitchAccountInput) -> Result<SwitchAccount> {
    let done = ops::switch_account(ctx.app(), ctx.caller(), input.account_id, input.connection_id).await?;
    let Some(seat) = done.seat else { return Ok(SwitchAccount::default()) };
    let level = Some(seat.level);
    let via = match seat.via {
        Some(row) => view(ctx, Some(ctx.actor().await?), vec![row], Wants::WAYS).await?.pop(),
        None => None,
    };
    Ok(SwitchAccount { account: Some(Account::entered(seat.account)), level, via, credentials: Some(done.credentials.into()) })
}
