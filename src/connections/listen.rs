//! Listening to connections: an account's, and the requests that are addressed to oneself.

use super::{
    decide::DECIDE_CLIENT_ACCESS,
    ops::REQUEST_CLIENT_ACCESS,
    view::{ClientConnection, load_visible},
};
use crate::{
    actor::Actor,
    api::Ask,
    app::App,
    db::Sql,
    error::{Denied, Result},
    events::{
        api::{Event, view_events},
        feed::{Cursor, Entry, Listener, Watch},
    },
};
use async_graphql::{Context, SimpleObject, Subscription};
use entity::{AccountId, ConnectionId, event::Subject};
use futures_util::{Stream, StreamExt};

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
        watch.may(ctx.app(), &*ctx.actor().await?).await?;
        let listener = Listener::new(ctx.app(), ctx.caller(), account.into(), after.as_deref()).await?;
        Ok(listener.stream(watch).map(|item| item.map_err(Into::into)))
    }

    /// Every change to an access request that is addressed to the viewer. Without `after`, it starts from now. An API key can't
    /// subscribe to it: `FORBIDDEN`.
    async fn access_request_changed(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The cursor of the last change that was heard, or the viewer's `activityCursor`.")] after: Option<
            String,
        >,
    ) -> async_graphql::Result<impl Stream<Item = async_graphql::Result<ClientConnectionChange>> + use<>> {
        let actor = ctx.actor().await?;
        WatchOwn.may(ctx.app(), &actor).await?;
        let user = actor.user.id;
        let listener = Listener::new(ctx.app(), ctx.caller(), user.into(), after.as_deref()).await?;
        Ok(listener.stream(WatchOwn).map(|item| item.map_err(Into::into)))
    }
}

/// Listens to an account's connections.
#[derive(Clone, Copy)]
struct WatchAccount(AccountId);

impl Watch<ClientConnectionChange> for WatchAccount {
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
    let sql = Sql::new("SELECT count(*) FROM places p JOIN connections c ON c.id = p.connection_id AND c.status = 'active'");
    let sql = sql.push(" AND (c.ends_at IS NULL OR c.ends_at > ").bind(app.now()).push(") WHERE c.agency_id = ").bind(agency);
    Ok(sql.push(" AND p.user_id = ").bind(actor.user.id).count(app.reader()).await? > 0)
}

/// Listens to the requests that are addressed to oneself.
#[derive(Clone, Copy)]
struct WatchOwn;

impl Watch<ClientConnectionChange> for WatchOwn {
    /// One's own log, but opened in an account: a stream ends with the access of the token that opened it (I3, C9). An API key has
    /// no log of its own (I6).
    async fn may(&self, _: &App, actor: &Actor) -> Result<()> {
        actor.session()?;
        actor.standing_unless_nowhere().map(|_| ())
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
    let Some(connection) = load_visible(app, actor, &[id]).await?.pop() else { return Ok(None) };
    let event = view_events(app, actor, std::slice::from_ref(&entry.event)).await?.pop();
    Ok(event.map(|event| ClientConnectionChange { cursor: cursor.write(app), event, connection }))
}
