//! Connections in the API: lists, previews and mutations. What a connection shows stands in `view`, subscriptions in `listen`.

use super::{
    block,
    decide::{self, Approval},
    ops::{self, Request},
    places::{self, Whom},
    view::{AgencyProfile, ClientConnection, Wants, view},
};
use crate::{
    accounts::api::{self as accounts, Account},
    api::{Answer, Ask, Asked, Connection, Edge, PageArgs, answer, answer_each, by_link, cursor_id},
    app::App,
    consequences::{Consequence, Outcome},
    db::{Sql, by_id, contains, model, select},
    error::{Result, UserError},
    keys::{Keys, LinkOrId, Purpose},
    users,
};
use async_graphql::{Context, InputObject, MaybeUndefined, Object, SimpleObject};
use entity::{
    AccountId, ConnectionId, Moment, UserId, UserLevel, account,
    connection::{self, ConnectionStatus, Side},
};
use guarded::guarded;

/// One entry of a list of connections.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct ClientConnectionEdge {
    /// Where it stands in the list.
    cursor: String,
    /// The connection.
    node: ClientConnection,
}

impl Edge for ClientConnectionEdge {
    type Node = ClientConnection;
    fn node(&self) -> &ClientConnection {
        &self.node
    }
    fn cursor(&self) -> &str {
        &self.cursor
    }
}

/// An account's connections, newest first.
pub async fn list(
    ctx: &Context<'_>,
    account: AccountId,
    side: Side,
    page: &PageArgs,
    status: Option<&[ConnectionStatus]>,
    search: Option<&str>,
) -> Result<Connection<ClientConnectionEdge>> {
    let now = ctx.app().now();
    let part = search.map(contains).transpose()?;
    let scope = |sql: Sql| {
        let sql = match side {
            Side::Agency => sql.push(" WHERE c.agency_id = ").bind(account),
            Side::Client => sql.push(" WHERE c.client_id = ").bind(account),
        };
        let sql = match status {
            // One whose time is over counts as expired or ended, whether or not it was written down yet (E6).
            Some(status) => {
                let sql = sql.push(" AND CASE WHEN c.status = 'pending' AND c.expires_at <= ").bind(now);
                let sql = sql.push(" THEN 'expired' WHEN c.status = 'active' AND c.ends_at <= ").bind(now);
                sql.push(" THEN 'ended' ELSE c.status END IN ").distinct(status)
            }
            None => sql,
        };
        let Some(part) = &part else { return sql };
        let sql = sql
            .push(" AND (c.client_email_key LIKE ")
            .bind(part.as_str())
            .push(" ESCAPE '\\' OR EXISTS (SELECT 1 FROM accounts a");
        sql.push(" WHERE a.id = c.client_id AND a.name_key LIKE ").bind(part.as_str()).push(" ESCAPE '\\'))")
    };
    page_of(ctx, page, &format!("{account} as {}", side.name()), scope).await
}

/// Pending requests to the viewer's verified address.
pub async fn of_viewer(ctx: &Context<'_>, page: &PageArgs) -> Result<Connection<ClientConnectionEdge>> {
    let key = ctx.actor().await?.verified_email_key().map(str::to_owned);
    let now = ctx.app().now();
    let scope = |sql: Sql| {
        sql.push(" WHERE c.status = 'pending' AND c.expires_at > ")
            .bind(now)
            .push(" AND NOT c.silenced AND c.client_email_key = ")
            .bind(key.clone())
    };
    page_of(ctx, page, "one's access requests", scope).await
}

async fn page_of(
    ctx: &Context<'_>,
    page: &PageArgs,
    name: &str,
    scope: impl Fn(Sql) -> Sql,
) -> Result<Connection<ClientConnectionEdge>> {
    let (db, window, asked) = (ctx.app().reader(), page.window(ctx.app(), name)?, Asked::of(ctx));
    let mut sql = scope(select::<connection::Entity>("c"));
    if let Some(after) = cursor_id::<ConnectionId>(window.after.as_ref())? {
        sql = sql.push(" AND c.id < ").bind(after);
    }
    if let Some(before) = cursor_id::<ConnectionId>(window.before.as_ref())? {
        sql = sql.push(" AND c.id > ").bind(before);
    }
    let order = if window.backwards() { "" } else { " DESC" };
    let rows = sql.push(&format!(" ORDER BY c.id{order} LIMIT {}", window.limit())).all(db, model("c")).await?;
    let total = if asked.total() { scope(Sql::new("SELECT count(*) FROM connections c")).count(db).await? } else { 0 };
    let rows = view(ctx.app(), &*ctx.actor().await?, rows, Wants::of(&asked)).await?;
    Ok(window.page(
        rows,
        total,
        |node, cursor| ClientConnectionEdge { cursor, node },
        |row: &ClientConnection| vec![row.id.to_string()],
    ))
}

/// What an access request's link shows to its bearer before deciding.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct AccessRequestPreview {
    /// The connection's id.
    id: ConnectionId,
    /// Which agency asks.
    agency_name: String,
    /// Who of it asked.
    requested_by_name: Option<String>,
    /// The level that it asks for.
    requested_level: Option<UserLevel>,
    /// What it wrote.
    message: Option<String>,
    /// Until when the request can be answered.
    expires_at: Moment,
    /// What there is to know of who asks, before they are let in.
    agency_profile: Option<AgencyProfile>,
}

/// What is asked of connections.
#[derive(Default)]
pub struct ConnectionsQuery;

#[Object(serial)]
impl ConnectionsQuery {
    /// What an access request's link shows to its bearer before deciding; null unless it is pending.
    async fn access_request_by_token(
        &self,
        ctx: &Context<'_>,
        token: String,
    ) -> Option<async_graphql::Result<AccessRequestPreview>> {
        preview(ctx.app(), &token).await.map_err(Into::into).transpose()
    }
}

async fn preview(app: &App, token: &str) -> Result<Option<AccessRequestPreview>> {
    let Some(id) = Keys::link_id(token) else { return Ok(None) };
    let row = by_id::<connection::Entity>(app.reader(), id).await?;
    let valid = |row: &connection::Model| {
        app.keys.is_link(token, Purpose::AccessRequest, id, row.version) && row.status_at(app.now()) == ConnectionStatus::Pending
    };
    let Some(row) = row.filter(valid) else { return Ok(None) };
    let agency = accounts::load(app.reader(), None, vec![row.agency_id]).await?.remove(&row.agency_id);
    let agency_profile = AgencyProfile::load(app, std::slice::from_ref(&row)).await?.remove(&row.id);
    let requester = users::load(app.reader(), None, vec![row.requested_by]).await?.remove(&row.requested_by);
    Ok(agency.map(|agency| AccessRequestPreview {
        id: row.id,
        agency_name: agency.title().to_owned(),
        requested_by_name: requester.map(|user| user.title().to_owned()),
        requested_level: row.requested_level,
        message: row.message,
        expires_at: row.expires_at,
        agency_profile,
    }))
}

/// Whom to ask for access.
#[derive(InputObject)]
pub struct RequestClientAccessInput {
    /// An entry may hold several addresses with commas between them; what is past the day's limit gets its own error.
    emails: Vec<String>,
    /// The level to ask for.
    level: Option<UserLevel>,
    /// Why you need it.
    message: Option<String>,
}

/// A connection.
#[derive(InputObject)]
pub struct ClientConnectionIdInput {
    /// Its id.
    connection_id: ConnectionId,
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// Leaving the partner program.
#[derive(InputObject)]
pub struct DisableClientAccessInput {
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// A place for one of the agency's users on a client's connection.
#[derive(InputObject)]
pub struct ClientUserInput {
    /// The connection.
    connection_id: ConnectionId,
    /// One of the two: a user of the agency,
    user_id: Option<UserId>,
    /// or their username.
    username: Option<String>,
    /// Their level there: at most the connection's, and at most one's own unless one is the agency's Owner or an Admin.
    level: UserLevel,
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// Whose place on a client's connection is taken.
#[derive(InputObject)]
pub struct RemoveClientUserInput {
    /// The connection.
    connection_id: ConnectionId,
    /// The user.
    user_id: UserId,
    /// Make the same checks, change nothing, and tell what would end.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// An agency that the account wants to hear nothing of any more.
#[derive(InputObject)]
pub struct BlockAgencyInput {
    /// One of the two: the token of a request's link,
    token: Option<String>,
    /// or the id of a request to the viewer's verified address, or of a connection of the account.
    connection_id: Option<ConnectionId>,
    /// Make the same checks, and change nothing.
    #[graphql(default_with = "Some(false)")]
    dry_run: Option<bool>,
}

/// An agency that may ask again.
#[derive(InputObject)]
pub struct UnblockAgencyInput {
    /// The agency.
    agency_id: AccountId,
}

/// An approval.
#[derive(InputObject)]
pub struct ApproveClientRequestInput {
    /// Refused with `WRONG_ACCOUNT` unless the request acts in it.
    account_id: Option<AccountId>,
    /// One of the two: the link's token,
    token: Option<String>,
    /// or the id of a request to the viewer's verified address.
    connection_id: Option<ConnectionId>,
    /// The highest level that anyone of the agency gets.
    level: UserLevel,
    /// When the access ends by itself; both sides are reminded a week before. Without it, it lasts until somebody ends it.
    until: Option<Moment>,
}

/// An answer to a request for access.
#[derive(InputObject)]
pub struct AnswerClientRequestInput {
    /// One of the two: the link's token,
    token: Option<String>,
    /// or the id of a request to the viewer's verified address.
    connection_id: Option<ConnectionId>,
}

/// Another ceiling.
#[derive(InputObject)]
pub struct SetConnectionLevelInput {
    /// The connection.
    connection_id: ConnectionId,
    /// The highest level that anyone of the agency gets from now on.
    level: UserLevel,
    /// When the access ends by itself; null for never. Left out, it stays as it is.
    until: MaybeUndefined<Moment>,
}

/// What `joinPartnerProgram` changed.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct JoinPartnerProgram {
    /// The account, an agency now.
    account: Option<Account>,
}

/// What `enableClientAccess` changed.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct EnableClientAccess {
    /// The account, which may ask for access now.
    account: Option<Account>,
}

/// What `disableClientAccess` changed.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct DisableClientAccess {
    /// The account, which is no agency any more.
    account: Option<Account>,
    /// What would end; null unless it was a dry run.
    consequences: Option<Vec<Consequence>>,
}

/// What `blockAgency` changed.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct BlockAgency {
    /// The agency, of which the account hears nothing any more.
    agency: Option<Account>,
    /// Nothing ends with it; null unless it was a dry run.
    consequences: Option<Vec<Consequence>>,
}

/// What `unblockAgency` changed.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct UnblockAgency {
    /// The agency, which may ask again.
    agency: Option<Account>,
}

/// What `requestClientAccess` made.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct RequestClientAccess {
    /// The requests that went out.
    connections: Vec<ClientConnection>,
}

macro_rules! one_connection {
    ($($name:ident)*) => { $(
        /// What a decision on a connection leaves.
        #[derive(Default, SimpleObject)]
        #[graphql(serial)]
        pub struct $name {
            /// The connection as it is now.
            connection: Option<ClientConnection>,
        }
    )* };
}

one_connection! { ApproveClientRequest DeclineClientRequest SetConnectionLevel }

macro_rules! one_connection_or_what_would {
    ($($name:ident)*) => { $(
        /// What a change to a connection leaves.
        #[derive(Default, SimpleObject)]
        #[graphql(serial)]
        pub struct $name {
            /// The connection as it is now.
            connection: Option<ClientConnection>,
            /// What would end; null unless it was a dry run.
            consequences: Option<Vec<Consequence>>,
        }
    )* };
}

one_connection_or_what_would! {
    ResendClientRequest CancelClientRequest EndClientConnection AddClientUser SetClientUserLevel RemoveClientUser
}

/// What can be done with connections.
#[derive(Default)]
pub struct ConnectionsMutation;

#[guarded(elsewhere)]
#[Object(serial)]
impl ConnectionsMutation {
    /// Make the account an agency. Doing it again changes nothing.
    #[needs(ops::JOIN_PARTNER_PROGRAM)]
    async fn join_partner_program(&self, ctx: &Context<'_>) -> Answer<JoinPartnerProgram> {
        let joined = ops::join_partner_program(ctx.app(), ctx.caller()).await;
        answer(joined.map(|row: account::Model| JoinPartnerProgram { account: Some(Account::changed(row)) }))
    }

    /// Let the agency ask for access to clients' accounts.
    #[needs(ops::JOIN_PARTNER_PROGRAM)]
    async fn enable_client_access(&self, ctx: &Context<'_>) -> Answer<EnableClientAccess> {
        let enabled = ops::enable_client_access(ctx.app(), ctx.caller()).await;
        answer(enabled.map(|row| EnableClientAccess { account: Some(Account::changed(row)) }))
    }

    /// Leave the partner program: all clients are let go at once, pending requests are taken back, and no more can be asked.
    #[needs(ops::JOIN_PARTNER_PROGRAM)]
    async fn disable_client_access(
        &self,
        ctx: &Context<'_>,
        input: Option<DisableClientAccessInput>,
    ) -> Answer<DisableClientAccess> {
        let dry_run = input.and_then(|input| input.dry_run).unwrap_or_default();
        answer(ops::disable_client_access(ctx.app(), ctx.caller(), dry_run).await.map(|done| {
            let (row, consequences) = done.split();
            DisableClientAccess { account: row.map(Account::changed), consequences }
        }))
    }

    /// Requests access to clients' accounts by e-mail. Each address is handled separately, so that an error with one does not affect
    /// the others. Requires a verified address.
    ///
    /// The agency, and each user over all their agencies, can request 35 client accounts in any 24 hours. In 24 hours an address
    /// (without its `+tag`) gets at most 6 e-mails with invitations and requests from one user and 20 from all, and one user causes at
    /// most 100 e-mails to others. A request past a limit on e-mails is created, and its `delivery` is `FAILED` with the reason.
    ///
    /// Errors: `INVALID`, `EMAIL_NOT_VERIFIED`, `NOT_IN_PARTNER_PROGRAM`, `CLIENT_ACCESS_DISABLED`, `LEVEL_NOT_ASSIGNABLE`,
    /// `ALREADY_REQUESTED`, `DAILY_LIMIT_REACHED` with `retryAt`.
    #[needs(ops::REQUEST_CLIENT_ACCESS)]
    async fn request_client_access(&self, ctx: &Context<'_>, input: RequestClientAccessInput) -> Answer<RequestClientAccess> {
        answer_each(request_client_access(ctx, input).await)
    }

    /// Send a request again, with a new link and seven new days. One that has expired lives again.
    #[needs(ops::REQUEST_CLIENT_ACCESS)]
    async fn resend_client_request(&self, ctx: &Context<'_>, input: ClientConnectionIdInput) -> Answer<ResendClientRequest> {
        let ClientConnectionIdInput { connection_id, dry_run } = input;
        let done = ops::resend_client_request(ctx.app(), ctx.caller(), connection_id, dry_run.unwrap_or_default()).await;
        answer(told(ctx, done).await.map(|(connection, consequences)| ResendClientRequest { connection, consequences }))
    }

    /// Take a pending request back. It has used its place of the day.
    #[needs(ops::REQUEST_CLIENT_ACCESS)]
    async fn cancel_client_request(&self, ctx: &Context<'_>, input: ClientConnectionIdInput) -> Answer<CancelClientRequest> {
        let ClientConnectionIdInput { connection_id, dry_run } = input;
        let done = ops::cancel_client_request(ctx.app(), ctx.caller(), connection_id, dry_run.unwrap_or_default()).await;
        answer(told(ctx, done).await.map(|(connection, consequences)| CancelClientRequest { connection, consequences }))
    }

    /// Approves an agency's request: gives the agency access to the account that this request acts in, up to a level. Admin
    /// requires recent authentication (`reauthenticate`) and is e-mailed to the account's Owner and all Admins. The agency's Owner
    /// and the requester are e-mailed in any case. Errors: `NOT_FOUND`, `EXPIRED`, `ALREADY_DECIDED`, `EMAIL_NOT_VERIFIED`,
    /// `WRONG_ACCOUNT`, `LEVEL_NOT_ASSIGNABLE`, `INVALID`, `OWN_ACCOUNT`, `ALREADY_CONNECTED`.
    #[needs(decide::DECIDE_CLIENT_ACCESS)]
    async fn approve_client_request(&self, ctx: &Context<'_>, input: ApproveClientRequestInput) -> Answer<ApproveClientRequest> {
        let ApproveClientRequestInput { account_id, token, connection_id, level, until } = input;
        let approved = async {
            ctx.actor().await?.may(decide::DECIDE_CLIENT_ACCESS)?;
            let named = LinkOrId::one_of(token, connection_id, "connectionId")?;
            let row = by_link(
                ctx,
                named.is_token(),
                Box::pin(decide::approve_client_request(
                    ctx.app(),
                    ctx.caller(),
                    Approval { named, account: account_id, level, until },
                )),
            )
            .await?;
            shown(ctx, row).await
        };
        answer(approved.await.map(|connection| ApproveClientRequest { connection }))
    }

    /// Turn the agency down.
    #[needs(decide::DECIDE_CLIENT_ACCESS)]
    async fn decline_client_request(&self, ctx: &Context<'_>, input: AnswerClientRequestInput) -> Answer<DeclineClientRequest> {
        let declined = async {
            ctx.actor().await?.may(decide::DECIDE_CLIENT_ACCESS)?;
            let named = LinkOrId::one_of(input.token, input.connection_id, "connectionId")?;
            let row =
                by_link(ctx, named.is_token(), Box::pin(decide::decline_client_request(ctx.app(), ctx.caller(), named))).await?;
            shown(ctx, row).await
        };
        answer(declined.await.map(|connection| DeclineClientRequest { connection }))
    }

    /// Sets the highest level of an agency's users in the account, and when the access ends. Both take effect at once. Admin
    /// requires recent authentication (`reauthenticate`). Raising the level to Admin is e-mailed to the account's Owner and all
    /// Admins. Errors: `NOT_FOUND`, `NOT_ACTIVE`, `LEVEL_NOT_ASSIGNABLE`, `INVALID`.
    #[needs(decide::DECIDE_CLIENT_ACCESS)]
    async fn set_connection_level(&self, ctx: &Context<'_>, input: SetConnectionLevelInput) -> Answer<SetConnectionLevel> {
        let set = async {
            let SetConnectionLevelInput { connection_id, level, until } = input;
            let row = decide::set_connection_level(ctx.app(), ctx.caller(), connection_id, level, until).await?;
            shown(ctx, row).await
        };
        answer(set.await.map(|connection| SetConnectionLevel { connection }))
    }

    /// Either side ends an active connection: the client, or of the agency its Owner, its Admins and whoever asked. At once,
    /// nobody acts there through it any more.
    async fn end_client_connection(&self, ctx: &Context<'_>, input: ClientConnectionIdInput) -> Answer<EndClientConnection> {
        let ClientConnectionIdInput { connection_id, dry_run } = input;
        let done = decide::end_client_connection(ctx.app(), ctx.caller(), connection_id, dry_run.unwrap_or_default()).await;
        answer(told(ctx, done).await.map(|(connection, consequences)| EndClientConnection { connection, consequences }))
    }

    /// Adds a user of the agency to a client's connection. The agency's Owner and Admins can do this, and every user who can act on
    /// the connection. Admin requires recent authentication (`reauthenticate`), and is never possible with an API key. Errors:
    /// `NOT_FOUND`, `NOT_ACTIVE`, `INVALID`, `LEVEL_NOT_ASSIGNABLE`, `LEVEL_ABOVE_CONNECTION`, `LEVEL_ABOVE_OWN`,
    /// `NOT_AN_AGENCY_USER`, `ALREADY_A_USER`.
    async fn add_client_user(&self, ctx: &Context<'_>, input: ClientUserInput) -> Answer<AddClientUser> {
        let added = async {
            let ClientUserInput { connection_id, user_id, username, level, dry_run } = input;
            let whom = Whom::one_of(user_id, username)?;
            places::add_client_user(ctx.app(), ctx.caller(), connection_id, whom, level, dry_run.unwrap_or_default()).await
        };
        answer(told(ctx, added.await).await.map(|(connection, consequences)| AddClientUser { connection, consequences }))
    }

    /// Sets the level of an agency user on a client's connection. Admin requires recent authentication (`reauthenticate`), and is
    /// never possible with an API key. Errors: those of `addClientUser`, without `ALREADY_A_USER`.
    async fn set_client_user_level(&self, ctx: &Context<'_>, input: ClientUserInput) -> Answer<SetClientUserLevel> {
        let set = async {
            let ClientUserInput { connection_id, user_id, username, level, dry_run } = input;
            let whom = Whom::one_of(user_id, username)?;
            places::set_client_user_level(ctx.app(), ctx.caller(), connection_id, whom, level, dry_run.unwrap_or_default()).await
        };
        answer(told(ctx, set.await).await.map(|(connection, consequences)| SetClientUserLevel { connection, consequences }))
    }

    /// Take the place of one of the agency's users in a client's account, at once and with all that they hold there: for the
    /// agency's Owner and Admins, whoever stands at or above them there, themselves, and the client.
    async fn remove_client_user(&self, ctx: &Context<'_>, input: RemoveClientUserInput) -> Answer<RemoveClientUser> {
        let RemoveClientUserInput { connection_id, user_id, dry_run } = input;
        let done = places::remove_client_user(ctx.app(), ctx.caller(), connection_id, user_id, dry_run.unwrap_or_default()).await;
        answer(told(ctx, done).await.map(|(connection, consequences)| RemoveClientUser { connection, consequences }))
    }

    /// Hear nothing any more of what an agency asks. It does not learn that. What it has access to already stays.
    #[needs(decide::DECIDE_CLIENT_ACCESS)]
    async fn block_agency(&self, ctx: &Context<'_>, input: BlockAgencyInput) -> Answer<BlockAgency> {
        let blocked = async {
            ctx.actor().await?.may(decide::DECIDE_CLIENT_ACCESS)?;
            let BlockAgencyInput { token, connection_id, dry_run } = input;
            let named = LinkOrId::one_of(token, connection_id, "connectionId")?;
            let by_token = named.is_token();
            let blocking = block::block_agency(ctx.app(), ctx.caller(), named, dry_run.unwrap_or_default());
            let (agency, consequences) = by_link(ctx, by_token, Box::pin(blocking)).await?.split();
            let agency = match agency {
                Some(row) => other(ctx, row.id).await?,
                None => None,
            };
            Ok(BlockAgency { agency, consequences })
        };
        answer(blocked.await)
    }

    /// Hear again of what an agency asks from now on.
    #[needs(decide::DECIDE_CLIENT_ACCESS)]
    async fn unblock_agency(&self, ctx: &Context<'_>, input: UnblockAgencyInput) -> Answer<UnblockAgency> {
        let unblocked = async {
            let row = block::unblock_agency(ctx.app(), ctx.caller(), input.agency_id).await?;
            Ok(UnblockAgency { agency: other(ctx, row.id).await? })
        };
        answer(unblocked.await)
    }
}

/// An account on the other side, of which only its name is told.
async fn other(ctx: &Context<'_>, id: AccountId) -> Result<Option<Account>> {
    Ok(accounts::load(ctx.app().reader(), Some(&*ctx.actor().await?), vec![id]).await?.remove(&id))
}

type Told = (Option<ClientConnection>, Option<Vec<Consequence>>);

/// The connection as it is now, or what would end.
async fn told(ctx: &Context<'_>, done: Result<Outcome<connection::Model>>) -> Result<Told> {
    let (row, consequences) = done?.split();
    match row {
        Some(row) => Ok((shown(ctx, row).await?, consequences)),
        None => Ok((None, consequences)),
    }
}

async fn shown(ctx: &Context<'_>, row: connection::Model) -> Result<Option<ClientConnection>> {
    Ok(view(ctx.app(), &*ctx.actor().await?, vec![row], Wants::ONE).await?.pop())
}

async fn request_client_access(
    ctx: &Context<'_>,
    input: RequestClientAccessInput,
) -> Result<(RequestClientAccess, Vec<UserError>)> {
    let RequestClientAccessInput { emails, level, message } = input;
    let (rows, errors) = ops::request_client_access(ctx.app(), ctx.caller(), Request { emails, level, message }).await?;
    let connections = view(ctx.app(), &*ctx.actor().await?, rows, Wants::ONE).await?;
    Ok((RequestClientAccess { connections }, errors))
}
