//! Connections in the API: lists, previews and mutations. What a connection shows stands in `view`, subscriptions in `listen`.

use super::{
    decide::{self, Approval},
    ops::{self, Request},
    view::{ClientConnection, Wants, view},
};
use crate::{
    accounts::api::{self as accounts, Account},
    api::{Answer, Ask, Asked, Connection, Edge, PageArgs, answer, answer_each, by_link, cursor_id},
    app::App,
    db::{Sql, by_id, contains, model, select},
    error::{Result, UserError},
    keys::{Keys, LinkOrId, Purpose},
    users,
};
use async_graphql::{Context, InputObject, Object, SimpleObject};
use entity::{
    AccountId, ConnectionId, Moment, UserLevel, account,
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
            // A pending one whose time is over counts as expired, whether or not it was written down yet (E6).
            Some(status) => {
                let sql = sql.push(" AND CASE WHEN c.status = 'pending' AND c.expires_at <= ").bind(now);
                sql.push(" THEN 'expired' ELSE c.status END IN ").distinct(status)
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
        sql.push(" WHERE c.status = 'pending' AND c.expires_at > ").bind(now).push(" AND c.client_email_key = ").bind(key.clone())
    };
    page_of(ctx, page, "one's access requests", scope).await
}

async fn page_of(
    ctx: &Context<'_>,
    page: &PageArgs,
    name: &str,
    scope: impl Fn(Sql) -> Sql,
) -> Result<Connection<ClientConnectionEdge>> {
    let (db, window, asked) = (ctx.app().reader(), page.window(name)?, Asked::of(ctx));
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
    let requester = users::load(app.reader(), None, vec![row.requested_by]).await?.remove(&row.requested_by);
    Ok(agency.map(|agency| AccessRequestPreview {
        id: row.id,
        agency_name: agency.title().to_owned(),
        requested_by_name: requester.map(|user| user.title().to_owned()),
        requested_level: row.requested_level,
        message: row.message,
        expires_at: row.expires_at,
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

one_connection! { ApproveClientRequest DeclineClientRequest SetConnectionLevel EndClientConnection }

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

    /// Ask clients for access to their accounts, by e-mail. Each address stands for itself: what is wrong with one keeps none
    /// of the others back.
    #[needs(ops::REQUEST_CLIENT_ACCESS)]
    async fn request_client_access(&self, ctx: &Context<'_>, input: RequestClientAccessInput) -> Answer<RequestClientAccess> {
        answer_each(request_client_access(ctx, input).await)
    }

    /// Give the agency access to the account that this request acts in, up to a level.
    #[needs(decide::DECIDE_CLIENT_ACCESS)]
    async fn approve_client_request(&self, ctx: &Context<'_>, input: ApproveClientRequestInput) -> Answer<ApproveClientRequest> {
        let ApproveClientRequestInput { account_id, token, connection_id, level } = input;
        let approved = async {
            ctx.actor().await?.may(decide::DECIDE_CLIENT_ACCESS)?;
            let named = LinkOrId::one_of(token, connection_id, "connectionId")?;
            let row = by_link(
                ctx,
                named.is_token(),
                Box::pin(decide::approve_client_request(ctx.app(), ctx.caller(), Approval { named, account: account_id, level })),
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

    /// Change the highest level that anyone of the agency gets. It binds at once.
    #[needs(decide::DECIDE_CLIENT_ACCESS)]
    async fn set_connection_level(&self, ctx: &Context<'_>, input: SetConnectionLevelInput) -> Answer<SetConnectionLevel> {
        let set = async {
            let row = decide::set_connection_level(ctx.app(), ctx.caller(), input.connection_id, input.level).await?;
            shown(ctx, row).await
        };
        answer(set.await.map(|connection| SetConnectionLevel { connection }))
    }

    /// Either side ends an active connection: the client, or of the agency its Owner, its Admins and whoever asked. At once,
    /// nobody acts there through it any more.
    async fn end_client_connection(&self, ctx: &Context<'_>, input: ClientConnectionIdInput) -> Answer<EndClientConnection> {
        let ended = async {
            let row = decide::end_client_connection(ctx.app(), ctx.caller(), input.connection_id).await?;
            shown(ctx, row).await
        };
        answer(ended.await.map(|connection| EndClientConnection { connection }))
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
