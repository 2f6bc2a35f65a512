//! The whole schema, put together from the subjects' parts; looking things up by id; and the role matrix as a list.

use crate::{
    accounts::{
        api::{self as accounts, Account, AccountsQuery},
        mutation::AccountsMutation,
    },
    actor::Actor,
    api::{Ask, Guarded},
    api_keys::api::{self as api_keys, ApiKey, ApiKeysMutation},
    app::App,
    connections::{
        api::{ConnectionsMutation, ConnectionsQuery},
        listen::ConnectionsSubscription,
        view::{self, ClientConnection, ConnectionUser},
    },
    error::{Denied, Result},
    events::{
        api::{self as events, Event},
        listen::EventsSubscription,
        security::api::{self as security_events, SecurityEvent},
    },
    identity::{
        api::{IdentityMutation, IdentityQuery},
        security::{self, SecurityMutation, Session},
    },
    invitations::api::{self as invitations, Invitation, InvitationsMutation, InvitationsQuery},
    permission::{Describe, MATRIX, Permission, PermissionArea, Row, allows},
    users::{self, AccountUser, User, api::UsersMutation},
};
use async_graphql::{
    Context, ID, Interface, MergedObject, MergedSubscription, Object, Schema, SchemaBuilder, ValidationMode,
    extensions::ExtensionFactory,
};
use entity::{AccountId, NodeId, UserLevel};
use std::{
    collections::{HashMap, HashSet},
    sync::LazyLock,
};

/// The schema that is served.
pub type Api = Schema<Query, Mutation, Subscription>;

/// What can be asked.
#[derive(Default, MergedObject)]
pub struct Query(NodeQuery, IdentityQuery, AccountsQuery, InvitationsQuery, ConnectionsQuery);

/// What can be changed.
#[derive(Default, MergedObject)]
pub struct Mutation(
    IdentityMutation,
    SecurityMutation,
    AccountsMutation,
    ApiKeysMutation,
    UsersMutation,
    InvitationsMutation,
    ConnectionsMutation,
);

/// What can be listened to. Each payload has a cursor; a listener that comes back with `after: <its last cursor>` gets all that
/// it missed, in order, once, and then what comes. When the viewer's access ends, the stream ends with an error.
#[derive(Default, MergedSubscription)]
pub struct Subscription(ConnectionsSubscription, EventsSubscription);

fn builder() -> SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query::default(), Mutation::default(), Subscription::default()).directive(Describe)
}

/// The schema of a running server. Introspection and suggestions are for development, unless the settings say otherwise (R1).
pub fn build(app: &App) -> Api {
    let limits = &app.config.limits;
    let builder = builder().data(app.clone()).limit_depth(limits.query_depth).limit_complexity(limits.query_cost);
    // The edge has counted how deep selections nest, and says by how much they are too deep.
    let builder = builder.limit_recursive_depth(limits.document_nesting + 1);
    if app.config.introspection { builder.finish() } else { builder.disable_introspection().disable_suggestions().finish() }
}

/// The schema with an extension that looks at documents and lets none of them run.
pub fn examining(extension: impl ExtensionFactory, mode: ValidationMode) -> Api {
    builder().extension(extension).validation_mode(mode).finish()
}

/// Whether the schema, or GraphQL itself, has a type of this name.
pub fn has_type(name: &str) -> bool {
    static NAMES: LazyLock<HashSet<String>> = LazyLock::new(|| builder().finish().names().into_iter().collect());
    NAMES.contains(name)
}

/// The SDL, as `schema.graphql` has it.
pub fn sdl() -> String {
    // The describer stands where a directive would, but is none that a document could use.
    let sdl = builder().finish().sdl();
    sdl.lines().map(str::trim_end).collect::<Vec<_>>().join("\n").trim().to_owned() + "\n"
}

/// An object with an id of its own.
#[expect(clippy::large_enum_variant, reason = "a page has a hundred at most, and most are the large ones")]
#[derive(Clone, Debug, Interface)]
#[graphql(field(name = "id", ty = "ID", desc = "Its id, the same for ever."))]
pub enum Node {
    /// An account.
    Account(Account),
    /// A user.
    User(User),
    /// A user's place in an account.
    AccountUser(AccountUser),
    /// An invitation.
    Invitation(Invitation),
    /// A connection.
    ClientConnection(ClientConnection),
    /// An agency user's place on a connection.
    ConnectionUser(ConnectionUser),
    /// One of the viewer's sessions.
    Session(Session),
    /// An API key.
    ApiKey(ApiKey),
    /// An event.
    Event(Event),
    /// A security event.
    SecurityEvent(SecurityEvent),
}

/// The most ids that `nodes` takes.
const NODES_MAX: usize = 100;

/// Things by their ids: those that the viewer may know of, each in its place, null for any other (one answer for what is
/// somebody else's and for what is not there).
pub async fn load_nodes(ctx: &Context<'_>, ids: &[NodeId]) -> Result<Vec<Option<Node>>> {
    let (app, actor) = (ctx.app(), ctx.actor().await?);
    macro_rules! pick {
        ($variant:ident) => {
            ids.iter().filter_map(|id| if let NodeId::$variant(id) = id { Some(*id) } else { None }).collect::<Vec<_>>()
        };
    }
    let mut found: HashMap<String, Node> = HashMap::new();
    let mut add = |nodes: Vec<(String, Node)>| found.extend(nodes);
    add(visible_accounts(app, &actor, pick!(Account))
        .await?
        .into_iter()
        .map(|node| (node.account().to_string(), Node::Account(node)))
        .collect());
    if let wanted @ [_, ..] = pick!(User).as_slice() {
        let users = users::load_visible(app.reader(), &actor, wanted).await?;
        add(users.into_iter().map(|(id, node)| (id.to_string(), Node::User(node))).collect());
    }
    if let (wanted @ [_, ..], Ok(_)) = (pick!(Member).as_slice(), actor.may(Permission::ViewUsers)) {
        let places = users::load_places(app.reader(), &actor, wanted).await?;
        add(places.into_iter().map(|node| (node.id.to_string(), Node::AccountUser(node))).collect());
    }
    if let wanted @ [_, ..] = pick!(Invitation).as_slice() {
        let rows = invitations::load_visible(app, &actor, wanted).await?;
        add(rows.into_iter().map(|node| (node.id.to_string(), Node::Invitation(node))).collect());
    }
    if let wanted @ [_, ..] = pick!(Connection).as_slice() {
        let rows = view::load_visible(app, &actor, wanted).await?;
        add(rows.into_iter().map(|node| (node.id.to_string(), Node::ClientConnection(node))).collect());
    }
    if let wanted @ [_, ..] = pick!(Place).as_slice() {
        let rows = view::load_visible_places(app, &actor, wanted).await?;
        add(rows.into_iter().map(|node| (node.id.to_string(), Node::ConnectionUser(node))).collect());
    }
    if let wanted @ [_, ..] = pick!(Session).as_slice() {
        let sessions = security::sessions(ctx).await?.into_iter().filter(|session| wanted.contains(&session.id));
        add(sessions.map(|node| (node.id.to_string(), Node::Session(node))).collect());
    }
    if let wanted @ [_, ..] = pick!(ApiKey).as_slice() {
        let keys = api_keys::load_visible(app, &actor, wanted).await?;
        add(keys.into_iter().map(|node| (node.id.to_string(), Node::ApiKey(node))).collect());
    }
    if let wanted @ [_, ..] = pick!(Event).as_slice() {
        let rows = events::load_visible(app, &actor, wanted).await?;
        add(rows.into_iter().map(|node| (node.id.to_string(), Node::Event(node))).collect());
    }
    if let wanted @ [_, ..] = pick!(SecurityEvent).as_slice() {
        let rows = security_events::load_visible(app, &actor, wanted).await?;
        add(rows.into_iter().map(|node| (node.id.to_string(), Node::SecurityEvent(node))).collect());
    }
    Ok(ids.iter().map(|id| found.get(&id.to_string()).cloned()).collect())
}

/// The account that the actor acts in, and those on the other side of its connections or that they could switch to. An API key can't
/// switch.
async fn visible_accounts(app: &App, actor: &Actor, ids: Vec<AccountId>) -> Result<Vec<Account>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let here = actor.seat_if_any().map(|seat| seat.account.id);
    let switches = (!actor.by_key()).then_some(actor.user.id);
    let sql = crate::db::Sql::new("SELECT a.id FROM accounts a WHERE a.id IN ").list(ids).push(" AND (a.id = ").bind(here);
    let sql = sql.push(" OR EXISTS (SELECT 1 FROM members m WHERE m.account_id = a.id AND m.user_id = ").bind(switches);
    let sql = sql
        .push(") OR EXISTS (SELECT 1 FROM connections c WHERE c.status = 'active' AND (c.ends_at IS NULL OR c.ends_at > ")
        .bind(app.now())
        .push(") AND (c.agency_id = a.id AND c.client_id = ")
        .bind(here);
    let sql = sql.push(" OR c.client_id = a.id AND c.agency_id = ").bind(here);
    let visible: Vec<AccountId> = sql.push(")))").all(app.reader(), |row| row.try_get_by_index(0)).await?;
    Ok(accounts::load(app.reader(), Some(actor), visible).await?.into_values().collect())
}

fn read_ids(ids: &[ID]) -> Result<Vec<NodeId>> {
    ids.iter().map(|id| id.parse().map_err(|wrong: entity::WrongId| Denied::BadRequest(wrong.to_string()).into())).collect()
}

/// One row of the role matrix.
pub struct RoleMatrixRow(&'static Row);

/// One row of the role matrix.
#[Object(serial)]
impl RoleMatrixRow {
    /// What may be done.
    async fn permission(&self) -> Permission {
        self.0.permission
    }
    /// The part of the product.
    async fn area(&self) -> PermissionArea {
        self.0.area
    }
    /// In words.
    async fn action(&self) -> &str {
        self.0.action
    }
    /// The levels that may, highest first.
    async fn levels(&self) -> Vec<UserLevel> {
        UserLevel::ALL.into_iter().filter(|level| allows(*level, false, self.0.permission)).collect()
    }
    /// Never allowed through a connection, whatever the level.
    async fn direct_users_only(&self) -> bool {
        self.0.direct_users_only
    }
    /// What else there is to know.
    async fn note(&self) -> Option<&str> {
        self.0.note
    }
}

/// What is asked of no subject alone.
#[derive(Default)]
pub struct NodeQuery;

#[Object(serial)]
impl NodeQuery {
    /// A thing by its id; null for one that is not there or that the viewer may not know of.
    async fn node(&self, ctx: &Context<'_>, id: ID) -> Option<async_graphql::Result<Node>> {
        let found = async { load_nodes(ctx, &read_ids(&[id])?).await };
        found.await.map(|mut nodes| nodes.pop().flatten()).map_err(Into::into).transpose()
    }

    /// Things by their ids, each in its place; null for one that is not there or that the viewer may not know of. 100 at most.
    #[graphql(complexity = "crate::api::cost(ids.len(), child_complexity)")]
    async fn nodes(&self, ctx: &Context<'_>, ids: Vec<ID>) -> async_graphql::Result<Vec<Option<Node>>> {
        if ids.len() > NODES_MAX {
            return Err(crate::error::Error::from(Denied::BadRequest(format!(
                "Ask for {NODES_MAX} ids at most; these are {}.",
                ids.len()
            )))
            .into());
        }
        Ok(load_nodes(ctx, &read_ids(&ids)?).await?)
    }

    /// The user levels and what each may do. Public.
    #[graphql(complexity = "crate::api::cost(MATRIX.len(), child_complexity)")]
    async fn role_matrix(
        &self,
        #[graphql(desc = "Only of this part of the product.")] area: Option<PermissionArea>,
    ) -> Vec<RoleMatrixRow> {
        MATRIX.iter().filter(|row| area.is_none_or(|area| row.area == area)).map(RoleMatrixRow).collect()
    }
}
