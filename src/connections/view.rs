//! Connections as clients see them, loaded with all that they lead to: a fixed number of statements for a page of any length.

use super::{guests::guests, rules};
use crate::{
    accounts::api::{self as accounts, Account},
    actor::Actor,
    api::{Ask, Asked, Connection, Edge, PageArgs, cursor_id},
    app::App,
    db::{Sql, columns, model, select},
    error::Result,
    mail::delivery::{self, Delivery},
    permission::Permission,
    text,
    users::{self, User},
};
use async_graphql::{ComplexObject, Context, SimpleObject};
use entity::{
    AccountId, ConnectionId, Moment, PlaceId, UserId, UserLevel,
    connection::{self, ConnectionStatus},
    mail::MailKind,
    place,
};
use sea_orm::QueryResult;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// How many places of each connection are loaded with a list: its first page, whatever its size, and one more.
const PLACES: i64 = 101;

/// One agency's access to one client, from the request on.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(complex, serial)]
pub struct ClientConnection {
    /// Its id.
    pub id: ConnectionId,
    /// What became of it. Expiry is true from its moment on.
    status: ConnectionStatus,
    /// The account that asks.
    agency: Account,
    /// The account that lets it in. Null until the request is approved.
    client: Option<Account>,
    /// The address that was asked.
    client_email: Option<String>,
    /// What the agency wrote.
    #[graphql(complexity = "crate::api::LONG_TEXT")]
    message: Option<String>,
    /// The level that the agency asked for.
    requested_level: Option<UserLevel>,
    /// The ceiling for everyone of the agency; null until approved.
    level: Option<UserLevel>,
    /// Who asked.
    requested_by: Option<User>,
    /// Who approved or declined.
    decided_by: Option<User>,
    /// When it was asked.
    created_at: Moment,
    /// Until when the request can be answered.
    expires_at: Option<Moment>,
    /// When it was approved, declined, canceled or expired.
    decided_at: Option<Moment>,
    /// When the access ended.
    ended_at: Option<Moment>,
    /// When the access ends by itself, if the client said so; both sides are reminded a week before.
    until: Option<Moment>,
    /// What became of the latest e-mail.
    delivery: Option<Delivery>,
    /// What there is to know of who asks, before they are let in; null once that is decided.
    agency_profile: Option<AgencyProfile>,
    #[graphql(skip)]
    places: Option<Places>,
    #[graphql(skip)]
    row: connection::Model,
    #[graphql(skip)]
    of_others: bool,
}

impl ClientConnection {
    /// Whether it is between two accounts that the viewer acts in neither of: then only the request is told, and whether it
    /// was answered.
    pub fn is_of_others(&self) -> bool {
        self.of_others
    }

    /// The agency's name, for sentences.
    pub fn agency_name(&self) -> &str {
        self.agency.title()
    }

    /// The client's name, or the address that was asked, for sentences.
    pub fn client_name(&self) -> &str {
        self.client.as_ref().map_or(self.row.client_email.as_str(), Account::title)
    }
}

#[ComplexObject]
impl ClientConnection {
    /// Which of the agency's users may act in the client's account, and at which level, in the order in which they were added.
    #[graphql(complexity = "crate::api::page_cost(first, child_complexity)")]
    async fn users(
        &self,
        ctx: &Context<'_>,
        first: Option<i32>,
        after: Option<String>,
    ) -> Option<async_graphql::Result<Connection<ConnectionUserEdge>>> {
        if self.of_others {
            return None;
        }
        let page = PageArgs { first, after, ..PageArgs::default() };
        Some(self.page_of_users(ctx, &page).await.map_err(Into::into))
    }
}

impl ClientConnection {
    async fn page_of_users(&self, ctx: &Context<'_>, page: &PageArgs) -> Result<Connection<ConnectionUserEdge>> {
        let window = page.window(ctx.app(), format!("users of {}", self.id))?;
        let after = cursor_id::<PlaceId>(window.after.as_ref())?;
        let actor = ctx.actor().await?;
        let enough = i64::try_from(window.limit()).is_ok_and(|limit| limit <= PLACES);
        let places = match &self.places {
            Some(places) if after.is_none() && enough => places.clone(),
            _ => {
                let limit = i64::try_from(window.limit()).unwrap_or(PLACES);
                load_places(ctx.app(), &actor, &[self.id], after, limit).await?.remove(&self.id).unwrap_or_default()
            }
        };
        let limit = usize::try_from(window.limit()).unwrap_or(usize::MAX);
        let node = |place: Place| {
            let Place { row, user, added_by } = place;
            ConnectionUser {
                id: row.id,
                user,
                connection: Box::new(self.clone()),
                level: row.level,
                added_by,
                added_at: row.added_at,
            }
        };
        let rows: Vec<_> = places.first.into_iter().take(limit).map(node).collect();
        Ok(window.page(
            rows,
            places.total,
            |node, cursor| ConnectionUserEdge { cursor, node },
            |row: &ConnectionUser| vec![row.id.to_string()],
        ))
    }
}

/// An agency user's place on a connection; what counts is the lower of `level` and the connection's.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(serial)]
pub struct ConnectionUser {
    /// The place's id.
    pub id: PlaceId,
    /// Who has it.
    user: User,
    /// On which connection.
    connection: Box<ClientConnection>,
    /// Their level, which the connection's may lower.
    level: UserLevel,
    /// Who gave it; null when it came with the approval.
    added_by: Option<User>,
    /// Since when.
    added_at: Moment,
}

/// One entry of a connection's users.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct ConnectionUserEdge {
    /// Where it stands in the list.
    cursor: String,
    /// The user's place.
    node: ConnectionUser,
}

impl ConnectionUserEdge {
    /// A place in its list.
    pub(super) fn new(cursor: String, node: ConnectionUser) -> Self {
        Self { cursor, node }
    }
}

/// What there is to know of an agency that asks, so that nobody lets in who only calls themselves so.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(serial)]
pub struct AgencyProfile {
    /// Since when its account is there.
    pub opened_at: Moment,
    /// In how many clients' accounts it can act.
    pub client_count: i64,
    /// The verified address of the requester, with its domain in ASCII (`xn--…`), so that letters that look like others are seen.
    /// Null when the requester is not a user of the agency any more.
    pub requester_email: Option<String>,
}

impl AgencyProfile {
    /// Of those who made these requests: two statements, however many.
    pub async fn load(app: &App, rows: &[connection::Model]) -> Result<HashMap<ConnectionId, Self>> {
        if rows.is_empty() {
            return Ok(HashMap::new());
        }
        let agencies: BTreeSet<_> = rows.iter().map(|row| row.agency_id).collect();
        let sql = Sql::new(
            "SELECT a.id, a.created_at, (SELECT count(*) FROM connections c WHERE c.status = 'active' AND c.agency_id = a.id \
             AND (c.ends_at IS NULL OR c.ends_at > ",
        );
        let sql = sql.bind(app.now()).push("))").push(" FROM accounts a WHERE a.id IN ").list(agencies);
        let read = |row: &QueryResult| {
            Ok((row.try_get_by_index::<AccountId>(0)?, (row.try_get_by_index::<Moment>(1)?, row.try_get_by_index::<i64>(2)?)))
        };
        let agencies: HashMap<_, _> = sql.all(app.reader(), read).await?.into_iter().collect();
        // Of who is still of the agency.
        let sql = Sql::new("SELECT c.id, u.email FROM connections c JOIN users u ON u.id = c.requested_by");
        let sql = sql.push(" JOIN members m ON m.user_id = u.id AND m.account_id = c.agency_id");
        let sql = sql.push(" WHERE u.email_verified_at IS NOT NULL AND c.id IN ").list(rows.iter().map(|row| row.id));
        let read = |row: &QueryResult| Ok((row.try_get_by_index::<ConnectionId>(0)?, row.try_get_by_index::<String>(1)?));
        let emails: HashMap<_, _> = sql.all(app.reader(), read).await?.into_iter().collect();
        let profiles = rows.iter().filter_map(|row| {
            let (opened_at, client_count) = *agencies.get(&row.agency_id)?;
            Some((
                row.id,
                Self {
                    opened_at,
                    client_count,
                    requester_email: emails.get(&row.id).map(|email| text::with_ascii_domain(email)),
                },
            ))
        });
        Ok(profiles.collect())
    }
}

impl Edge for ConnectionUserEdge {
    type Node = ConnectionUser;
    fn node(&self) -> &ConnectionUser {
        &self.node
    }
    fn cursor(&self) -> &str {
        &self.cursor
    }
}

#[derive(Clone, Debug)]
struct Place {
    row: place::Model,
    user: User,
    added_by: Option<User>,
}

/// The first places of a connection, and how many it has.
#[derive(Clone, Debug, Default)]
struct Places {
    first: Vec<Place>,
    total: u64,
}

/// The first places of each connection after a cursor: two statements, however many connections.
async fn load_places(
    app: &App,
    actor: &Actor,
    ids: &[ConnectionId],
    after: Option<PlaceId>,
    limit: i64,
) -> Result<HashMap<ConnectionId, Places>> {
    let counted = "SELECT p.*, ROW_NUMBER() OVER (PARTITION BY p.connection_id ORDER BY p.id) AS place, \
                   (SELECT count(*) FROM places q WHERE q.connection_id = p.connection_id) AS total \
                   FROM places p WHERE p.connection_id IN ";
    let sql = Sql::new(format!("SELECT {}, p.total AS total FROM (", columns::<place::Entity>("p")));
    let sql = sql.push(counted).list(ids.iter().copied());
    let sql = match after {
        Some(after) => sql.push(" AND p.id > ").bind(after),
        None => sql,
    };
    let sql = sql.push(") p WHERE p.place <= ").bind(limit).push(" ORDER BY p.id");
    let read = |row: &QueryResult| Ok((model::<place::Model>("p")(row)?, row.try_get::<i64>("", "total")?));
    let rows = sql.all(app.reader(), read).await?;
    let people = rows.iter().flat_map(|(place, _)| [Some(place.user_id), place.added_by]).flatten().collect();
    let people = users::load(app.reader(), Some(actor), people).await?;
    let mut places: HashMap<ConnectionId, Places> = HashMap::new();
    for (row, total) in rows {
        let Some(user) = people.get(&row.user_id).cloned() else { continue };
        let added_by = row.added_by.and_then(|id| people.get(&id).cloned());
        let of = places.entry(row.connection_id).or_default();
        of.total = u64::try_from(total).unwrap_or_default();
        of.first.push(Place { row, user, added_by });
    }
    Ok(places)
}

/// What of the relations a query asks for, so that nothing is loaded in vain.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a relation of its own")]
pub struct Wants {
    people: bool,
    delivery: bool,
    profile: bool,
    places: bool,
}

impl Wants {
    /// All but the places, which load themselves: right for a single connection.
    pub const ONE: Self = Self { people: true, delivery: true, profile: true, places: false };

    const NOTHING: Self = Self { people: false, delivery: false, profile: false, places: false };

    /// What a list asks of its nodes.
    pub fn of(asked: &Asked<'_>) -> Self {
        // A place leads back to its connection, of which anything may be asked.
        let places = asked.node("users");
        let people = places || asked.node("requestedBy") || asked.node("decidedBy");
        let profile = asked.node("agencyProfile") || asked.beyond("users", "connection", "agencyProfile");
        Self { people, delivery: places || asked.node("delivery"), profile, places }
    }
}

impl Wants {
    /// What a list asks of the connections that its edges lead through.
    pub fn of_ways(asked: &Asked<'_>) -> Self {
        let via = |field| asked.edge("via", field);
        let people = via("requestedBy") || via("decidedBy");
        Self { people, delivery: via("delivery"), profile: via("agencyProfile"), places: false }
    }
}

/// Connections with all that they lead to, as somebody sees them from where they act.
pub async fn view(app: &App, actor: &Actor, rows: Vec<connection::Model>, wants: Wants) -> Result<Vec<ClientConnection>> {
    let mut relations = Relations::load(app, actor, &rows, wants).await?;
    let here = actor.seat_if_any().map(|seat| seat.account.id);
    let seen = rows.into_iter().filter_map(|row| {
        let of_others = rules::is_of_others(&row, here, actor.user.id);
        relations.seen(row, of_others)
    });
    Ok(seen.collect())
}

/// Connections through which somebody can act, wherever they act now.
pub async fn view_ways(app: &App, actor: &Actor, rows: Vec<connection::Model>, wants: Wants) -> Result<Vec<ClientConnection>> {
    let mut relations = Relations::load(app, actor, &rows, wants).await?;
    Ok(rows.into_iter().filter_map(|row| relations.seen(row, false)).collect())
}

/// What the connections of a page lead to.
struct Relations {
    now: Moment,
    accounts: HashMap<AccountId, Account>,
    people: HashMap<UserId, User>,
    deliveries: HashMap<Uuid, Delivery>,
    profiles: HashMap<ConnectionId, AgencyProfile>,
    places: Option<HashMap<ConnectionId, Places>>,
}

impl Relations {
    async fn load(app: &App, actor: &Actor, rows: &[connection::Model], wants: Wants) -> Result<Self> {
        let db = app.reader();
        let sides = rows.iter().flat_map(|row| [Some(row.agency_id), row.client_id]).flatten().collect();
        let people = rows.iter().filter(|_| wants.people).flat_map(|row| [Some(row.requested_by), row.decided_by]);
        let people = people.flatten().collect();
        let asked = rows.iter().filter(|_| wants.delivery).map(|row| row.id.0).collect();
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let places = match ids.as_slice() {
            [_, ..] if wants.places => Some(load_places(app, actor, &ids, None, PLACES).await?),
            _ => None,
        };
        Ok(Self {
            now: app.now(),
            accounts: accounts::load(db, Some(actor), sides).await?,
            people: users::load(db, Some(actor), people).await?,
            deliveries: delivery::latest(db, MailKind::AccessRequest, asked).await?,
            profiles: AgencyProfile::load(app, if wants.profile { rows } else { &[] }).await?,
            places,
        })
    }

    /// One connection. Of one between others, whoever was asked by an address of theirs learns that somebody answered: not
    /// who, for which account, nor how far.
    fn seen(&mut self, row: connection::Model, of_others: bool) -> Option<ClientConnection> {
        let person = |id: Option<UserId>| id.and_then(|id| self.people.get(&id).cloned());
        Some(ClientConnection {
            id: row.id,
            status: row.status_at(self.now),
            agency: self.accounts.get(&row.agency_id)?.clone(),
            client: row.client_id.filter(|_| !of_others).and_then(|id| self.accounts.get(&id).cloned()),
            client_email: Some(row.client_email.clone()),
            message: row.message.clone(),
            requested_level: row.requested_level,
            level: row.level.filter(|_| !of_others),
            requested_by: person(Some(row.requested_by)),
            decided_by: person(row.decided_by.filter(|_| !of_others)),
            created_at: row.created_at,
            expires_at: Some(row.expires_at),
            decided_at: row.decided_at,
            // One whose time is over has ended at that moment, whether or not it was written down yet (E6).
            ended_at: row.ended_at.or(row.ends_at.filter(|ends_at| *ends_at <= self.now)).filter(|_| !of_others),
            until: row.ends_at.filter(|_| !of_others),
            agency_profile: self.profiles.remove(&row.id).filter(|_| row.status_at(self.now) == ConnectionStatus::Pending),
            delivery: self.deliveries.get(&row.id.0).cloned(),
            places: self.places.as_mut().map(|places| places.remove(&row.id).unwrap_or_default()),
            row,
            of_others,
        })
    }
}

/// The connections `c` of the account that the actor acts in, if they may see such a list or have a place on it, and the one that
/// they act through.
pub(crate) fn of_side(sql: Sql, actor: &Actor) -> Sql {
    let seat = actor.seat_if_any();
    let here = |permission| seat.filter(|seat| seat.may(permission)).map(|seat| seat.account.id);
    let direct = seat.filter(|seat| seat.via.is_none()).map(|seat| seat.account.id);
    let via = seat.and_then(|seat| seat.via.as_ref()).map(|via| via.id);
    let sql = sql.push("c.agency_id = ").bind(here(Permission::RequestClientAccess));
    let sql = sql.push(" OR c.client_id = ").bind(here(Permission::DecideClientAccess)).push(" OR c.id = ").bind(via);
    let sql = sql.push(" OR c.agency_id = ").bind(direct);
    let sql = sql.push(" AND EXISTS (SELECT 1 FROM places p WHERE p.connection_id = c.id AND p.user_id = ");
    sql.bind(actor.user.id).push(")")
}

/// Connections that the actor may know of by id: those of the account that they act in, if they may see such a list or
/// have a place on it, those addressed to them, and the one that they act through.
pub async fn load_visible(app: &App, actor: &Actor, ids: &[ConnectionId]) -> Result<Vec<ClientConnection>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = select::<connection::Entity>("c").push(" WHERE c.id IN ").list(ids.iter().copied()).push(" AND (");
    let sql = of_side(sql, actor).push(" OR c.client_email_key = ").bind(actor.verified_email_key()).push(" AND NOT c.silenced)");
    let rows = sql.all(app.reader(), model("c")).await?;
    view(app, actor, rows, Wants::ONE).await
}

/// Places that the actor may know of by id: those of connections that they may know of.
pub async fn load_visible_places(app: &App, actor: &Actor, ids: &[PlaceId]) -> Result<Vec<ConnectionUser>> {
    let sql = select::<place::Entity>("p").push(" WHERE p.id IN ").list(ids.iter().copied());
    let mut rows: Vec<place::Model> = sql.all(app.reader(), model("p")).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    // An agency's Owner stands in the client's list by the connection's id.
    let holders = (1..=ids.len()).map(|place| format!("${place}")).collect::<Vec<_>>().join(", ");
    let owners = Sql::with(guests(&format!("c.id IN ({holders})")), ids.iter().map(|id| (*id).into()));
    let owners: Vec<place::Model> = owners.push(" AND p.id = p.connection_id").all(app.reader(), model("p")).await?;
    rows.extend(owners);
    let of: Vec<_> = rows.iter().map(|row| row.connection_id).collect();
    let connections = load_visible(app, actor, &of).await?;
    places_of(app, actor, rows, &connections).await
}

/// That there are these connections of the account that the actor acts in, and whose: for who may know who can act here, and no more.
pub(super) async fn outlines(app: &App, actor: &Actor, ids: &[ConnectionId]) -> Result<Vec<ClientConnection>> {
    let sql = select::<connection::Entity>("c").push(" WHERE c.id IN ").list(ids.iter().copied());
    let rows: Vec<connection::Model> = sql.all(app.reader(), model("c")).await?;
    let mut relations = Relations::load(app, actor, &rows, Wants::NOTHING).await?;
    let outline = |row| {
        let seen = relations.seen(row, true)?;
        Some(ClientConnection { client_email: None, message: None, requested_level: None, ..seen })
    };
    Ok(rows.into_iter().filter_map(outline).collect())
}

/// Places with all that they lead to, in their order: those of these connections.
pub(super) async fn places_of(
    app: &App,
    actor: &Actor,
    rows: Vec<place::Model>,
    connections: &[ClientConnection],
) -> Result<Vec<ConnectionUser>> {
    let people =
        users::load(app.reader(), Some(actor), rows.iter().flat_map(|row| [Some(row.user_id), row.added_by]).flatten().collect())
            .await?;
    let seen = rows.into_iter().filter_map(|row| {
        let connection = Box::new(connections.iter().find(|connection| connection.id == row.connection_id)?.clone());
        let user = people.get(&row.user_id)?.clone();
        let added_by = row.added_by.and_then(|id| people.get(&id).cloned());
        Some(ConnectionUser { id: row.id, user, connection, level: row.level, added_by, added_at: row.added_at })
    });
    Ok(seen.collect())
}
