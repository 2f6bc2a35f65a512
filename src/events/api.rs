//! Events as clients see them, and the audit log.

use super::summary::{Names, summary};
use crate::{
    accounts::api::{self as accounts, Account},
    actor::Actor,
    api::{Ask, Asked, Connection, Edge, PageArgs, Window},
    api_keys::api::{self as api_keys, ApiKey},
    app::App,
    connections::{self, view::ClientConnection},
    db::{Sql, columns, model},
    error::{Denied, Result},
    invitations::api::{self as invitations, Invitation},
    permission::Permission,
    schema::Node,
    users::{self, AccountUser, User},
};
use async_graphql::{Context, SimpleObject};
use entity::{
    AccountId, ApiKeyId, ConnectionId, EventId, InvitationId, LogId, MemberId, Moment, UserId,
    event::{self, EventKind, Subject},
    member, user,
};
use sea_orm::{Iterable, QueryResult};
use std::collections::HashMap;
use uuid::Uuid;

/// One thing that happened. The audit log, the subscriptions and the e-mails all come from it.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(serial)]
pub struct Event {
    /// Its id.
    pub id: EventId,
    /// What happened.
    kind: EventKind,
    /// When.
    at: Moment,
    /// Null for what the system or the operator did, such as an expiry.
    actor: Option<User>,
    /// Whether the operator of the server did it, by command line.
    by_operator: bool,
    /// The agency, when the actor acted through a connection.
    via: Option<Account>,
    /// The API key that the actor used, where it was no session.
    api_key: Option<ApiKeyId>,
    /// What it happened to; null when it is gone, was a session, or is not for the viewer to see.
    subject: Option<Box<Node>>,
    /// The value before, where one changed.
    before: Option<String>,
    /// The value after.
    after: Option<String>,
    /// A sentence for people.
    summary: String,
}

/// One entry of a log.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct EventEdge {
    /// Where it stands in the list.
    cursor: String,
    /// What happened.
    node: Event,
}

impl EventEdge {
    /// An event that was heard, with the cursor to go on behind it.
    pub fn heard(cursor: String, node: Event) -> Self {
        Self { cursor, node }
    }
}

impl Edge for EventEdge {
    type Node = Event;
    fn node(&self) -> &Event {
        &self.node
    }
    fn cursor(&self) -> &str {
        &self.cursor
    }
}

/// Which events of a log are wanted.
#[derive(Clone, Debug, Default)]
pub struct EventFilter {
    /// What this user did.
    pub actor: Option<UserId>,
    /// Of these kinds.
    pub kinds: Option<Vec<EventKind>>,
    /// Not before this moment.
    pub from: Option<Moment>,
    /// Before this moment.
    pub until: Option<Moment>,
}

impl EventFilter {
    fn narrow(&self, sql: Sql) -> Sql {
        let sql = match self.actor {
            Some(actor) => sql.push(" AND e.actor_id = ").bind(actor),
            None => sql,
        };
        let sql = match &self.kinds {
            Some(kinds) => sql.push(" AND e.kind IN ").distinct(kinds),
            None => sql,
        };
        let sql = match self.from {
            Some(from) => sql.push(" AND e.at >= ").bind(from),
            None => sql,
        };
        match self.until {
            Some(until) => sql.push(" AND e.at < ").bind(until),
            None => sql,
        }
    }
}

/// Whom a client blocks is not for an agency's people to know, least of all the blocked one's.
const NOT_FOR_GUESTS: &str = " AND e.kind NOT IN ('agency_blocked', 'agency_unblocked')";

/// Whether somebody may know of such an event where they read a log.
pub fn is_for(actor: &Actor, kind: EventKind) -> bool {
    actor.via().is_none() || !matches!(kind, EventKind::AgencyBlocked | EventKind::AgencyUnblocked)
}

/// A log, newest first.
pub async fn list(ctx: &Context<'_>, log: LogId, page: &PageArgs, filter: &EventFilter) -> Result<Connection<EventEdge>> {
    let (app, window) = (ctx.app(), page.window(ctx.app(), format!("events of {}", log.0.simple()))?);
    if filter.from.zip(filter.until).is_some_and(|(from, until)| from > until) {
        return Err(Denied::BadRequest("`from` is after `until`: nothing is between them.".into()).into());
    }
    let actor = ctx.actor().await?;
    let guest = actor.via().is_some();
    // An API key never reads its creator's own log (I6).
    let readable = (log != actor.user.id.into() || !actor.by_key()).then_some(log);
    let scope = |sql: Sql| {
        let sql = sql.push(" FROM log_entries l JOIN events e ON e.id = l.event_id WHERE l.log_id = ").bind(readable);
        let sql = filter.narrow(if guest { sql.push(NOT_FOR_GUESTS) } else { sql });
        // By whom is told of no connection that the viewer may not see, so it is not to be found out by asking for a name either.
        if filter.actor.is_none() || log == actor.user.id.into() {
            return sql;
        }
        let sql = sql.push(" AND (e.kind NOT IN ").list(EventKind::iter().filter(|kind| kind.subject() == Subject::Connection));
        let sql = sql.push(" OR EXISTS (SELECT 1 FROM connections c WHERE c.id = e.subject_id AND (");
        connections::view::of_side(sql, &actor).push(")))")
    };
    let mut sql = scope(Sql::new(format!("SELECT l.number AS l_number, {}", columns::<event::Entity>("e"))));
    let (after, before) = numbers(&window)?;
    if let Some(after) = after {
        sql = sql.push(" AND l.number < ").bind(after);
    }
    if let Some(before) = before {
        sql = sql.push(" AND l.number > ").bind(before);
    }
    let order = if window.backwards() { "" } else { " DESC" };
    let read = |row: &QueryResult| Ok((row.try_get::<i64>("", "l_number")?, model::<event::Model>("e")(row)?));
    let rows = sql.push(&format!(" ORDER BY l.number{order} LIMIT {}", window.limit())).all(app.reader(), read).await?;
    let total = if Asked::of(ctx).total() { scope(Sql::new("SELECT count(*)")).count(app.reader()).await? } else { 0 };
    let (numbers, events): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let events = view_events(app, &actor, &events).await?;
    let rows = numbers.into_iter().zip(events).collect();
    Ok(window.page(
        rows,
        total,
        |(_, node), cursor| EventEdge { cursor, node },
        // As long for every number: a cursor tells how long its place is.
        |(number, _): &(i64, Event)| vec![format!("{number:020}")],
    ))
}

fn numbers(window: &Window) -> Result<(Option<i64>, Option<i64>)> {
    let number = |key: &Option<Vec<String>>| match key.as_deref() {
        None => Ok(None),
        Some([number]) => number.parse().map(Some).map_err(|_| ()),
        Some(_) => Err(()),
    };
    let wrong = |()| Denied::BadRequest("That is no cursor of this list.".into());
    Ok((number(&window.after).map_err(wrong)?, number(&window.before).map_err(wrong)?))
}

/// What a value before or after names by its id.
#[derive(Clone, Copy)]
enum Named {
    Account(AccountId),
    User(UserId),
    Nothing,
}

/// An id that a level may follow, in brackets.
fn id_of(value: &str) -> &str {
    value.split(' ').next().unwrap_or_default()
}

impl Named {
    /// Only where the kind of event keeps an id: what people may write themselves, such as a new name, names nothing.
    fn read(kind: EventKind, value: &str) -> Self {
        match kind {
            EventKind::UserLeft | EventKind::UserRevoked => value.parse().map_or(Self::Nothing, Self::Account),
            EventKind::OwnershipTransferred
            | EventKind::OwnershipTransferUndone
            | EventKind::ClientUserAdded
            | EventKind::ClientUserLevelChanged
            | EventKind::ClientUserRemoved => id_of(value).parse().map_or(Self::Nothing, Self::User),
            _ => Self::Nothing,
        }
    }

    fn account(self) -> Option<AccountId> {
        if let Self::Account(id) = self { Some(id) } else { None }
    }

    fn user(self) -> Option<UserId> {
        if let Self::User(id) = self { Some(id) } else { None }
    }
}

/// What the events of a page happened to.
struct Subjects {
    accounts: HashMap<AccountId, Account>,
    users: HashMap<UserId, User>,
    members: HashMap<MemberId, AccountUser>,
    invitations: HashMap<InvitationId, Invitation>,
    connections: HashMap<ConnectionId, ClientConnection>,
    api_keys: HashMap<ApiKeyId, ApiKey>,
}

impl Subjects {
    /// One statement or a few per kind of subject, however many events.
    async fn load(app: &App, actor: &Actor, events: &[event::Model]) -> Result<Self> {
        let ids =
            |subject: Subject| events.iter().filter(move |event| event.kind.subject() == subject).map(|event| event.subject_id);
        let via = events.iter().filter_map(|event| event.via_id);
        let values = |event: &event::Model| [event.before.clone(), event.after.clone()].into_iter().flatten();
        let named = || events.iter().flat_map(|event| values(event).map(|value| Named::read(event.kind, &value)));
        let accounts = ids(Subject::Account).map(AccountId).chain(via).chain(named().filter_map(Named::account)).collect();
        let accounts = accounts::load(app.reader(), Some(actor), accounts).await?;
        let people = events.iter().filter_map(|event| event.actor_id).chain(ids(Subject::User).map(UserId));
        let people = people.chain(named().filter_map(Named::user)).collect();
        let users = users::load(app.reader(), Some(actor), people).await?;
        let members = members(app, actor, ids(Subject::Member).map(MemberId).collect()).await?;
        let invitations =
            invitations::load_visible(app, actor, &ids(Subject::Invitation).map(InvitationId).collect::<Vec<_>>()).await?;
        let connections =
            connections::view::load_visible(app, actor, &ids(Subject::Connection).map(ConnectionId).collect::<Vec<_>>()).await?;
        let api_keys = api_keys::load_visible(app, actor, &ids(Subject::ApiKey).map(ApiKeyId).collect::<Vec<_>>()).await?;
        Ok(Self {
            accounts,
            users,
            members: members.into_iter().map(|member| (member.id, member)).collect(),
            invitations: invitations.into_iter().map(|invitation| (invitation.id, invitation)).collect(),
            connections: connections.into_iter().map(|connection| (connection.id, connection)).collect(),
            api_keys: api_keys.into_iter().map(|key| (key.id, key)).collect(),
        })
    }

    /// A value before or after, for people: of an id, whose it is.
    fn words(&self, kind: EventKind, value: Option<&String>) -> String {
        let value = value.map_or("", String::as_str);
        let name = match Named::read(kind, value) {
            Named::Account(id) => self.accounts.get(&id).map(Account::title),
            Named::User(id) => self.users.get(&id).map(User::title),
            Named::Nothing => None,
        };
        match name {
            Some(name) => format!("{name}{}", &value[id_of(value).len()..]),
            None => value.to_owned(),
        }
    }

    fn node(&self, subject: Subject, id: Uuid) -> Option<Node> {
        match subject {
            Subject::Account => self.accounts.get(&AccountId(id)).cloned().map(Node::Account),
            Subject::User => self.users.get(&UserId(id)).cloned().map(Node::User),
            Subject::Member => self.members.get(&MemberId(id)).cloned().map(Node::AccountUser),
            Subject::Invitation => self.invitations.get(&InvitationId(id)).cloned().map(Node::Invitation),
            Subject::Connection => self.connections.get(&ConnectionId(id)).cloned().map(Node::ClientConnection),
            Subject::ApiKey => self.api_keys.get(&ApiKeyId(id)).cloned().map(Node::ApiKey),
            Subject::Session => None,
        }
    }
}

async fn members(app: &App, actor: &Actor, ids: Vec<MemberId>) -> Result<Vec<AccountUser>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let sql = Sql::new(format!("SELECT {}, {}", columns::<member::Entity>("m"), columns::<user::Entity>("u")));
    let sql = sql.push(" FROM members m JOIN users u ON u.id = m.user_id WHERE m.id IN ").list(ids);
    let read = |row: &QueryResult| {
        let member: member::Model = model("m")(row)?;
        let user = User::seen(model("u")(row)?, Some(actor), actor.acts_in(member.account_id));
        Ok(AccountUser::seen(&member, user))
    };
    sql.all(app.reader(), read).await
}

/// Events with all that they lead to, and their sentences. Who calls has checked that the actor may read their log.
pub async fn view_events(app: &App, actor: &Actor, events: &[event::Model]) -> Result<Vec<Event>> {
    let subjects = Subjects::load(app, actor, events).await?;
    Ok(events.iter().map(|event| seen(event, &subjects)).collect())
}

fn seen(event: &event::Model, subjects: &Subjects) -> Event {
    let subject = subjects.node(event.kind.subject(), event.subject_id);
    // Who reads the log may not read all that it tells of: an agency's user in a client's account sees no invitations there,
    // nor what the client agreed on with others (L6). And what others agreed on is told to whom it was addressed first, but
    // not by whom it was done (C3).
    let about_connection = event.kind.subject() == Subject::Connection;
    let hidden = match &subject {
        Some(Node::ClientConnection(connection)) => connection.is_of_others() && event.kind != EventKind::ClientAccessRequested,
        subject => about_connection && subject.is_none(),
    };
    let actor = event.actor_id.filter(|_| !hidden).and_then(|id| subjects.users.get(&id)).cloned();
    let via = event.via_id.filter(|_| !hidden).and_then(|id| subjects.accounts.get(&id)).cloned();
    let (about, client) = match &subject {
        Some(Node::Account(account)) => (account.title(), ""),
        Some(Node::User(user)) => (user.title(), ""),
        Some(Node::AccountUser(member)) => (member.user.title(), ""),
        Some(Node::Invitation(invitation)) => (invitation.address(), ""),
        Some(Node::ClientConnection(connection)) => (connection.agency_name(), connection.client_name()),
        Some(Node::ApiKey(key)) => (key.title(), ""),
        _ if about_connection => ("an agency", "a client"),
        _ => ("somebody", ""),
    };
    let names = Names {
        actor: actor.as_ref().map(|user| user.title().to_owned()).or_else(|| match event.actor_id {
            Some(_) => Some("Somebody".to_owned()),
            None => event.by_operator.then(|| "The operator".to_owned()),
        }),
        via: via.as_ref().map(|account| account.title().to_owned()),
        subject: about.to_owned(),
        client: client.to_owned(),
        change: if hidden {
            Default::default()
        } else {
            (subjects.words(event.kind, event.before.as_ref()), subjects.words(event.kind, event.after.as_ref()))
        },
    };
    Event {
        id: event.id,
        kind: event.kind,
        at: event.at,
        summary: summary(event.kind, &names),
        actor,
        by_operator: event.by_operator,
        via,
        api_key: event.api_key_id.filter(|_| !hidden),
        subject: subject.map(Box::new),
        before: event.before.clone().filter(|_| !hidden),
        after: event.after.clone().filter(|_| !hidden).filter(|after| !after.is_empty()),
    }
}

/// Events that the actor may know of by id: those of their own log, and of their account's if they may view it.
pub async fn load_visible(app: &App, actor: &Actor, ids: &[EventId]) -> Result<Vec<Event>> {
    let here = actor.seat_if_any().filter(|seat| seat.may(Permission::ViewAuditLog)).map(|seat| LogId::from(seat.account.id));
    let sql = crate::db::select::<event::Entity>("e").push(" WHERE e.id IN ").list(ids.iter().copied());
    let sql = sql.push(" AND EXISTS (SELECT 1 FROM log_entries l WHERE l.event_id = e.id AND (l.log_id = ").bind(here);
    let sql = sql.push(" OR l.log_id = ").bind(actor.own_log()).push("))");
    let mut events: Vec<event::Model> = sql.all(app.reader(), model("e")).await?;
    events.retain(|event| is_for(actor, event.kind));
    view_events(app, actor, &events).await
}
