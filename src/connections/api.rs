//! Connections in the API: lists, previews, mutations and subscriptions. What a connection shows stands in `view`.

use super::{
    decide::{self, Approval, DECIDE_CLIENT_ACCESS},
    ops::{self, REQUEST_CLIENT_ACCESS, Request},
    view::{ClientConnection, Wants, view, view_in},
};
use crate::{
    accounts::api::{self as accounts, Account},
    actor::Actor,
    api::{Answer, Ask, Asked, Connection, Edge, PageArgs, answer, answer_each, cursor_id},
    app::App,
    db::{Sql, contains, model, select},
    error::{Denied, Result, UserError},
    events::{
        api::{Event, view_events},
        feed::{AsyncSee, Cursor, Entry, Listener},
    },
    invitations::ops::Named,
    keys::{Keys, Purpose},
    users,
};
use async_graphql::{Context, InputObject, Object, SimpleObject, Subscription};
use entity::{
    AccountId, ConnectionId, Moment, UserLevel, account,
    connection::{self, ConnectionStatus},
    event::Subject,
};
use futures_util::{Stream, StreamExt};
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

/// On which side of its connections an account stands.
#[derive(Clone, Copy, Debug)]
pub enum Side {
    /// It asks.
    Agency(AccountId),
    /// It is asked.
    Client(AccountId),
}

/// An account's connections, newest first.
pub async fn list(
    ctx: &Context<'_>,
    side: Side,
    page: &PageArgs,
    status: Option<&[ConnectionStatus]>,
    search: Option<&str>,
) -> Result<Connection<ClientConnectionEdge>> {
    let now = ctx.app().now();
    let scope = |sql: Sql| {
        let sql = match side {
            Side::Agency(id) => sql.push(" WHERE c.agency_id = ").bind(id),
            Side::Client(id) => sql.push(" WHERE c.client_id = ").bind(id),
        };
        let sql = match status {
            // A pending one whose time is over counts as expired, whether or not it was written down yet (E6).
            Some(status) => {
                let sql = sql.push(" AND CASE WHEN c.status = 'pending' AND c.expires_at <= ").bind(now);
                sql.push(" THEN 'expired' ELSE c.status END IN ").list(status.iter().copied())
            }
            None => sql,
        };
        let Some(part) = search.map(contains) else { return sql };
        let sql = sql
            .push(" AND (c.client_email_key LIKE ")
            .bind(part.clone())
            .push(" ESCAPE '\\' OR EXISTS (SELECT 1 FROM accounts a");
        sql.push(" WHERE a.id = c.client_id AND LOWER(a.name) LIKE ").bind(part).push(" ESCAPE '\\'))")
    };
    page_of(ctx, page, &format!("{side:?}"), scope).await
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
    let rows = view(ctx, Some(ctx.actor().await?), rows, Wants::of(&asked)).await?;
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
    let row: Option<connection::Model> =
        select::<connection::Entity>("c").push(" WHERE c.id = ").bind(id).one(app.reader(), model("c")).await?;
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

/// What the mutation of this name changed.

#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct JoinPartnerProgram {
    /// The account, an agency now.
    account: Option<Account>,
}

/// What the mutation of this name changed.

#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct EnableClientAccess {
    /// The account, which may ask for access now.
    account: Option<Account>,
}

/// What the mutation of this name changed.

#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct RequestClientAccess {
    /// The requests that went out.
    connections: Vec<ClientConnection>,
}

macro_rules! one_connection {
    ($($name:ident)*) => { $(
        /// What the mutation of this name changed.
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
        answer(joined.map(|row: account::Model| JoinPartnerProgram { account: Some(Account::entered(row)) }))
    }

    /// Let the agency ask for access to clients' accounts.
    #[needs(ops::JOIN_PARTNER_PROGRAM)]
    async fn enable_client_access(&self, ctx: &Context<'_>) -> Answer<EnableClientAccess> {
        let enabled = ops::enable_client_access(ctx.app(), ctx.caller()).await;
        answer(enabled.map(|row| EnableClientAccess { account: Some(Account::entered(row)) }))
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
            ctx.actor().await?.may(DECIDE_CLIENT_ACCESS)?;
            let named = Named::one_of(token, connection_id, "connectionId")?;
            let row =
                decide::approve_client_request(ctx.app(), ctx.caller(), Approval { named, account: account_id, level }).await?;
            shown(ctx, row).await
        };
        answer(approved.await.map(|connection| ApproveClientRequest { connection }))
    }

    /// Turn the agency down.
    #[needs(decide::DECIDE_CLIENT_ACCESS)]
    async fn decline_client_request(&self, ctx: &Context<'_>, input: AnswerClientRequestInput) -> Answer<DeclineClientRequest> {
        let declined = async {
            ctx.actor().await?.may(DECIDE_CLIENT_ACCESS)?;
            let named = Named::one_of(input.token, input.connection_id, "connectionId")?;
            let row = decide::decline_client_request(ctx.app(), ctx.caller(), named).await?;
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
    Ok(view(ctx, Some(ctx.actor().await?), vec![row], Wants::ONE).await?.pop())
}

async fn request_client_access(
    ctx: &Context<'_>,
    input: RequestClientAccessInput,
) -> Result<(RequestClientAccess, Vec<UserError>)> {
    let RequestClientAccessInput { emails, level, message } = input;
    let (rows, errors) = ops::request_client_access(ctx.app(), ctx.caller(), Request { emails, level, message }).await?;
    let connections = view(ctx, Some(ctx.actor().await?), rows, Wants::ONE).await?;
    Ok((RequestClientAccess { connections }, errors))
}

/// A change to a connection, with its place in the log.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct ClientConnectionChange {
    /// Pass it as `after` to go on behind this change.
    cursor: String,
    /// What happened.
    event: Event,
    /// The connection as it is now.
    connection: ClientConnection,
}

/// What connections can be listened to for.
#[derive(Default)]
pub struct ConnectionsSubscription;

#[Subscription]
impl ConnectionsSubscription {
    /// Each change to a connection of the account that this request acts in: as the client for who may decide
    /// (`DECIDE_CLIENT_ACCESS`), as the agency for who may ask (`REQUEST_CLIENT_ACCESS`) or has a place on it. Without `after`: from now.
    async fn client_connection_changed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The cursor of the last change that was heard, or an account's `activityCursor`.")] after: Option<
            String,
        >,
    ) -> async_graphql::Result<impl Stream<Item = async_graphql::Result<ClientConnectionChange>> + use<>> {
        let account = ctx.actor().await?.seat()?.account.id;
        let watch = WatchAccount(account);
        watch.may(ctx.app(), ctx.actor().await?).await?;
        let listener = Listener::new(ctx.app(), ctx.caller(), account.into(), after.as_deref()).await?;
        Ok(listener.stream(watch).map(|item| item.map_err(Into::into)))
    }

    /// Each change to an access request that is addressed to the viewer. Without `after`: from now.
    async fn access_request_changed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The cursor of the last change that was heard, or the viewer's `activityCursor`.")] after: Option<
            String,
        >,
    ) -> async_graphql::Result<impl Stream<Item = async_graphql::Result<ClientConnectionChange>> + use<>> {
        let user = ctx.actor().await?.user.id;
        let listener = Listener::new(ctx.app(), ctx.caller(), user.into(), after.as_deref()).await?;
        Ok(listener.stream(WatchOwn).map(|item| item.map_err(Into::into)))
    }
}

/// Listens to an account's connections.
#[derive(Clone, Copy)]
struct WatchAccount(AccountId);

impl AsyncSee<ClientConnectionChange> for WatchAccount {
    async fn may(&self, app: &App, actor: &Actor) -> Result<()> {
        let seat = actor.seat()?;
        if seat.may(DECIDE_CLIENT_ACCESS) || seat.may(REQUEST_CLIENT_ACCESS) {
            return Ok(());
        }
        if seat.via.is_none() && has_place(app, actor, self.0).await? {
            return Ok(());
        }
        let reason =
            "Connections are heard of by who may decide on them, who may ask for them, and who has a place on one.".to_owned();
        Err(Denied::Forbidden { permission: Some(REQUEST_CLIENT_ACCESS), level: Some(seat.level), reason }.into())
    }

    async fn see(&self, app: &App, actor: &Actor, entry: &Entry, cursor: Cursor) -> Result<Option<ClientConnectionChange>> {
        // The same right as for looking it up by its id.
        change(app, actor, entry, cursor).await
    }
}

async fn has_place(app: &App, actor: &Actor, agency: AccountId) -> Result<bool> {
    let sql =
        Sql::new("SELECT count(*) FROM places p JOIN connections c ON c.id = p.connection_id WHERE c.agency_id = ").bind(agency);
    Ok(sql.push(" AND p.user_id = ").bind(actor.user.id).count(app.reader()).await? > 0)
}

/// Listens to the requests that are addressed to oneself.
#[derive(Clone, Copy)]
struct WatchOwn;

impl AsyncSee<ClientConnectionChange> for WatchOwn {
    /// One's own log, but opened in an account: a stream ends with the access of the token that opened it (I3, C9).
    async fn may(&self, _: &App, actor: &Actor) -> Result<()> {
        actor.seat_unless_nowhere().map(|_| ())
    }

    async fn see(&self, app: &App, actor: &Actor, entry: &Entry, cursor: Cursor) -> Result<Option<ClientConnectionChange>> {
        change(app, actor, entry, cursor).await
    }
}

async fn change(app: &App, actor: &Actor, entry: &Entry, cursor: Cursor) -> Result<Option<ClientConnectionChange>> {
    if entry.event.kind.subject() != Subject::Connection {
        return Ok(None);
    }
    let id = ConnectionId(entry.event.subject_id);
    let Some(connection) = super::view::load_visible(app, actor, &[id]).await?.pop() else { return Ok(None) };
    let event = view_events(app, actor, std::slice::from_ref(&entry.event)).await?.pop();
    Ok(event.map(|event| ClientConnectionChange { cursor: cursor.write(), event, connection }))
}

/// Connections by id, for the events that tell of them, whoever reads: the log was checked already.
pub async fn of_events(app: &App, actor: &Actor, ids: Vec<ConnectionId>) -> Result<Vec<ClientConnection>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = select::<connection::Entity>("c").push(" WHERE c.id IN ").list(ids).all(app.reader(), model("c")).await?;
    view_in(app, Some(actor), rows, Wants::ONE).await
}
