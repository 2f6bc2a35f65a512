//! Who asks: the credentials of a request, and what the database says of them at this moment (L2).
//!
//! An [`Actor`] is read in one query. A query reads it when a field first needs it; a mutation reads it inside the
//! transaction that acts, with its account held, so that nothing can change between the check and the deed.

use crate::{
    app::{App, Happening, Tx},
    connections::rules::level_through,
    db::{Sql, columns, model},
    error::{Denied, Result},
    keys::Ticket,
    permission::{Permission, allows},
};
use entity::{AccountId, LogId, UserId, UserLevel, account, connection, event::EventKind, member, session, user};
use sea_orm::{ConnectionTrait, FromQueryResult, QueryResult};
use std::{
    net::IpAddr,
    sync::{Arc, LazyLock},
};
use tokio::sync::Mutex;
use uuid::Uuid;

/// The credentials of a request.
#[derive(Clone)]
pub struct Caller {
    ticket: Result<Option<Ticket>, &'static str>,
    client: Client,
    /// As it was last read.
    actor: Arc<Mutex<Option<Arc<Actor>>>>,
}

/// The program that a request comes from.
#[derive(Clone, Default)]
pub struct Client {
    /// As it calls itself: its `User-Agent` header.
    pub user_agent: Option<Arc<str>>,
    /// Where it is, as far as trusted proxies tell.
    pub address: Option<IpAddr>,
}

const SIGNED_OUT: &str = "Nobody is signed in: send `Authorization: Bearer <access token>`.";
const SESSION_ENDED: &str = "The session has ended. Sign in again.";

impl Caller {
    /// Reads an `Authorization` header. A wrong one is remembered, and told when an actor is needed: public fields and
    /// mutations ignore it (I3).
    pub fn of(app: &App, authorization: Option<&str>) -> Self {
        let ticket = authorization.map_or(Ok(None), |header| {
            let (scheme, token) = header.trim().split_once(' ').unwrap_or((header, ""));
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err("The Authorization header has to be `Bearer <access token>`.");
            }
            app.keys.read_access_token(token.trim(), &app.clock).map(Some)
        });
        Self { ticket, client: Client::default(), actor: Arc::default() }
    }

    /// From this client.
    #[must_use]
    pub fn from(mut self, client: Client) -> Self {
        self.client = client;
        self
    }

    /// The client's address, by which tries are counted; none for who is part of the server.
    pub fn address(&self) -> Option<IpAddr> {
        self.client.address
    }

    /// The `User-Agent` header.
    pub fn user_agent(&self) -> Option<&str> {
        self.client.user_agent.as_deref()
    }

    /// One who holds this ticket: how the demo acts as its people.
    pub fn with(ticket: Ticket) -> Self {
        Self { ticket: Ok(Some(ticket)), client: Client::default(), actor: Arc::default() }
    }

    /// Why the credentials that were given are none.
    pub fn refusal(&self) -> Option<&str> {
        self.ticket.err()
    }

    /// The same credentials, to be looked up anew. A socket goes on when its token expires, but not when its session ends.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self { actor: Arc::default(), ..self.clone() }
    }

    /// Whether no credentials were given.
    pub fn is_signed_out(&self) -> bool {
        matches!(self.ticket, Ok(None))
    }

    fn ticket(&self) -> Result<Ticket> {
        match self.ticket {
            Ok(Some(ticket)) => Ok(ticket),
            Ok(None) => Err(Denied::Unauthenticated(SIGNED_OUT).into()),
            Err(why) => Err(Denied::Unauthenticated(why).into()),
        }
    }

    /// Who this is, read once per request.
    pub async fn actor(&self, app: &App) -> Result<Arc<Actor>> {
        let mut known = self.actor.lock().await;
        if let Some(actor) = &*known {
            return Ok(Arc::clone(actor));
        }
        Ok(Arc::clone(known.insert(Arc::new(Actor::read(app.reader(), self.ticket()?).await?))))
    }

    /// Who this is at this moment, and for every later question of the same request: what a subscription tells next is
    /// guarded by what its listener may do then (L2).
    pub async fn actor_now(&self, app: &App) -> Result<Arc<Actor>> {
        self.actor.lock().await.take();
        self.actor(app).await
    }
}

impl Tx {
    /// Who this is, read inside the transaction, with the account that they act in, their own log and `also` held.
    pub async fn actor(&self, caller: &Caller, also: Vec<LogId>) -> Result<Actor> {
        let ticket = caller.ticket()?;
        let own = [Some(ticket.user.into()), ticket.account.map(LogId::from)];
        self.hold(own.into_iter().flatten().chain(also).collect()).await?;
        Actor::read(self.db(), ticket).await
    }

    /// As [`Tx::actor`], refused unless they have the permission: the first line of every guarded operation.
    pub async fn authorize(&self, caller: &Caller, needs: Permission, also: Vec<LogId>) -> Result<Actor> {
        let actor = self.actor(caller, also).await?;
        actor.may(needs)?;
        Ok(actor)
    }
}

/// Who a request acts as, as the database has it.
#[derive(Clone, Debug)]
pub struct Actor {
    /// The user.
    pub user: user::Model,
    /// The session.
    pub session: session::Model,
    /// Where they act, if they can.
    seat: Option<Seat>,
    /// Whether their token names an account at all.
    names_account: bool,
}

/// An account that somebody acts in.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The account.
    pub account: account::Model,
    /// What counts: through a connection, the lower of their level there and the ceiling.
    pub level: UserLevel,
    /// The connection through which, when the account is a client's.
    pub via: Option<connection::Model>,
}

impl Seat {
    /// Whether the matrix allows it here.
    pub fn may(&self, permission: Permission) -> bool {
        allows(self.level, self.via.is_some(), permission)
    }

    /// Why the matrix allows or denies it, in a sentence.
    pub fn reason(&self, permission: Permission) -> String {
        let row = permission.row();
        let level = self.level.title();
        let how = if self.via.is_some() { " through an agency's connection" } else { "" };
        if row.direct_users_only && self.via.is_some() {
            return format!("\"{}\" is for the account's own users only, and you act here{how}.", row.action);
        }
        let verdict = if self.level >= row.lowest { "may" } else { "may not" };
        format!("You act here as {level}{how}, and \"{}\" takes {} or higher, so you {verdict}.", row.action, row.lowest.title())
    }
}

impl Actor {
    /// Where they act; denied when they can't any more, or act nowhere (L8).
    pub fn seat(&self) -> Result<&Seat> {
        self.seat.as_ref().ok_or_else(|| Denied::AccountAccessEnded.into())
    }

    /// Where they act, if they can.
    pub fn seat_if_any(&self) -> Option<&Seat> {
        self.seat.as_ref()
    }

    /// Where they act, or `None` when their token names no account; denied when it names one that they can't act in any more.
    pub fn seat_unless_nowhere(&self) -> Result<Option<&Seat>> {
        if self.names_account { self.seat().map(Some) } else { Ok(None) }
    }

    /// Where they act, if the matrix allows it there.
    pub fn may(&self, permission: Permission) -> Result<&Seat> {
        let seat = self.seat()?;
        if seat.may(permission) {
            return Ok(seat);
        }
        Err(Denied::Forbidden { permission: Some(permission), level: Some(seat.level), reason: seat.reason(permission) }.into())
    }

    /// Whether they act in this account.
    pub fn acts_in(&self, account: AccountId) -> bool {
        self.seat.as_ref().is_some_and(|seat| seat.account.id == account)
    }

    /// The agency through which they act, if they do.
    pub fn via(&self) -> Option<AccountId> {
        self.seat.as_ref()?.via.as_ref().map(|via| via.agency_id)
    }

    /// What they did, for the log.
    pub fn did(&self, kind: EventKind, subject: Uuid) -> Happening {
        Happening::by(self.user.id, self.via(), kind, subject)
    }

    /// Their address, once it is verified.
    pub fn verified_email_key(&self) -> Option<&str> {
        self.user.email_verified_at.map(|_| self.user.email_key.as_str())
    }

    /// The logs whose growth may change what they can do here.
    pub fn logs(&self) -> Vec<LogId> {
        let seat = self.seat.as_ref().map(|seat| seat.account.id.into());
        [Some(self.user.id.into()), seat, self.via().map(LogId::from)].into_iter().flatten().collect()
    }

    async fn read(db: &impl ConnectionTrait, ticket: Ticket) -> Result<Self> {
        let sql =
            Sql::new(SESSION.as_str()).bind(ticket.account).push(MEMBER_AND_CONNECTION).bind(ticket.via).push(AGENCY_AND_PLACE);
        let sql = sql.bind(ticket.session).push(" AND u.id = ").bind(ticket.user);
        sql.one(db, |row| Self::of_row(row, ticket)).await?.ok_or_else(|| Denied::Unauthenticated(SESSION_ENDED).into())
    }

    fn of_row(row: &QueryResult, ticket: Ticket) -> Result<Self, sea_orm::DbErr> {
        Ok(Self {
            user: model("u")(row)?,
            session: model("s")(row)?,
            seat: Seat::of_row(row, ticket.via)?,
            names_account: ticket.account.is_some(),
        })
    }
}

/// The session and its user, where they may act, and by which right.
static SESSION: LazyLock<String> = LazyLock::new(|| {
    let (s, u) = (columns::<session::Entity>("s"), columns::<user::Entity>("u"));
    format!(
        "SELECT {s}, {u}, {} FROM sessions s JOIN users u ON u.id = s.user_id LEFT JOIN accounts a ON a.status = 'active' AND a.id = ",
        *SEAT_COLUMNS
    )
});

/// What [`Seat::of_row`] reads: an account `a`, a connection `c`, and three levels, the member's, the agency's member's and the
/// place's, from wherever they are joined.
pub(crate) fn seat_columns(levels: [&str; 3]) -> String {
    let (a, c) = (columns::<account::Entity>("a"), columns::<connection::Entity>("c"));
    let [m, am, p] = levels;
    format!("{a}, {c}, {m} AS m_level, {am} AS am_level, {p} AS p_level")
}

/// Where [`Seat::of_row`] finds them when the tables have their usual names.
pub(crate) static SEAT_COLUMNS: LazyLock<String> = LazyLock::new(|| seat_columns(["m.level", "am.level", "p.level"]));

/// The account's member, and the connection of the agency that is bound next.
const MEMBER_AND_CONNECTION: &str = " LEFT JOIN members m ON m.account_id = a.id AND m.user_id = u.id \
     LEFT JOIN connections c ON c.client_id = a.id AND c.status = 'active' AND c.agency_id = ";

/// The user's level in that agency and their place on the connection; then the session, which is bound next.
const AGENCY_AND_PLACE: &str = " LEFT JOIN accounts g ON g.id = c.agency_id AND g.status = 'active' \
     LEFT JOIN members am ON am.account_id = g.id AND am.user_id = u.id \
     LEFT JOIN places p ON p.connection_id = c.id AND p.user_id = u.id \
     WHERE s.ended_at IS NULL AND s.id = ";

impl Seat {
    /// Reads an account with the right to it: as its member, or through the connection when `via` is given.
    pub(crate) fn of_row(row: &QueryResult, via: Option<AccountId>) -> Result<Option<Self>, sea_orm::DbErr> {
        let Some(account) = account::Model::from_query_result_optional(row, "a_")? else { return Ok(None) };
        let level = |column: &str| row.try_get::<Option<UserLevel>>("", column);
        if via.is_none() {
            return Ok(level("m_level")?.map(|level| Self { account, level, via: None }));
        }
        let connection = connection::Model::from_query_result_optional(row, "c_")?;
        let (agency_level, place) = (level("am_level")?, level("p_level")?);
        Ok(connection.and_then(|connection| {
            let level = level_through(connection.level?, agency_level, place)?;
            Some(Self { account, level, via: Some(connection) })
        }))
    }
}

/// A user's own place as a direct user of an account, read inside a transaction.
pub async fn member_of(tx: &Tx, account: AccountId, user: UserId) -> Result<Option<member::Model>> {
    let sql = crate::db::select::<member::Entity>("m")
        .push(" WHERE m.account_id = ")
        .bind(account)
        .push(" AND m.user_id = ")
        .bind(user);
    sql.one(tx.db(), model("m")).await
}
