//! Listening to all that happens in an account, as the audit log has it.

use super::{
    api::{EventEdge, is_for, view_events},
    feed::{Cursor, Entry, Listener, Watch},
};
use crate::{actor::Actor, api::Ask, app::App, error::Result, permission::Permission};
use async_graphql::{Context, Subscription};
use futures_util::{Stream, StreamExt};
use guarded::guarded;

/// What [`EventsSubscription`] asks for, before each event.
const VIEW_AUDIT_LOG: Permission = Permission::ViewAuditLog;

/// What logs can be listened to for.
#[derive(Default)]
pub struct EventsSubscription;

#[guarded(elsewhere)]
#[Subscription]
impl EventsSubscription {
    /// Everything that happens in the account, as the audit log has it. Without `after`: from now.
    #[needs(ViewAuditLog)]
    async fn account_activity(
        &self,
        ctx: &Context<'_>,
        #[graphql(desc = "The cursor of the last event that was heard, or an account's `activityCursor`.")] after: Option<String>,
    ) -> async_graphql::Result<impl Stream<Item = async_graphql::Result<EventEdge>> + use<>> {
        let account = ctx.actor().await?.may(VIEW_AUDIT_LOG)?.account.id;
        let listener = Listener::new(ctx.app(), ctx.caller(), account.into(), after.as_deref()).await?;
        Ok(listener.stream(WatchAll).map(|item| item.map_err(Into::into)))
    }
}

/// Listens to a whole log.
#[derive(Clone, Copy)]
struct WatchAll;

impl Watch<EventEdge> for WatchAll {
    async fn may(&self, _: &App, actor: &Actor) -> Result<()> {
        actor.may(VIEW_AUDIT_LOG).map(|_| ())
    }

    async fn see(&self, app: &App, actor: &Actor, entry: &Entry, cursor: Cursor) -> Result<Option<EventEdge>> {
        if !is_for(actor, entry.event.kind) {
            return Ok(None);
        }
        let event = view_events(app, actor, std::slice::from_ref(&entry.event)).await?.pop();
        Ok(event.map(|event| EventEdge::heard(cursor.write(app), event)))
    }
}
