//! Who asks: the credentials of a request, and what the database says of them at this moment (L2).
//!
//! An [`Actor`] is read in one query. A query reads it when a field first needs it; a mutation reads it inside the
//! transaction that acts, with its account held, so that nothing can change between the check and the deed.

use crate::{
    api_keys,
    app::{App, Happening, Tx},
    connections::rules::level_through,
    db::{Sql, columns, model, select},
    error::{Denied, Result},
    keys::{Bearer, Ticket},
    network::Network,
    permission::{Permission, allows},
    turns::{EventTurn, Taker, Who},
};
use entity::{
    AccountId, ApiKeyId, LogId, Moment, SessionId, UserId, UserLevel, account, api_key,
    connection::{self, ConnectionStatus},
    event::EventKind,
    member,
    session::{self, Lifetimes},
    user,
};
use sea_orm::{ConnectionTrait, FromQueryResult, QueryResult};
use std::{
    net::IpAddr,
    sync::{Arc, LazyLock, OnceLock},
};
use tokio::sync::Mutex;
use uuid::Uuid;

/// The credentials of a request.
#[derive(Clone)]
pub struct Caller {
    credential: Result<Option<Credential>, &'static str>,
    /// Where the access token acts, expired or not.
    bearer: Option<Ticket>,
    client: Client,
    /// As it was last read.
    actor: Arc<Mutex<Option<Arc<Actor>>>>,
    /// The turn of the subscription that this caller opened.
    pub turn: EventTurn,
    /// Who this is, once the database has confirmed it.
    known: Arc<OnceLock<Pass>>,
}

/// What a request proves with who sends it.
#[derive(Clone)]
enum Credential {
    /// An access token, of which all is checked but whether its session stands.
    Session(Ticket),
    /// What may be an API key, by its hash.
    ApiKey(Arc<str>),
    /// Who it was before, of whom it was written down.
    Recalled(Pass),
}

/// Who acts, as far as their credentials tell, and where.
#[derive(Clone, Copy, Debug)]
pub struct Pass {
    /// The user.
    pub user: UserId,
    /// What they prove it with.
    pub proof: ProofId,
    /// The account.
    pub account: Option<AccountId>,
    /// The agency through whose connection, when the account is a client's.
    pub via: Option<AccountId>,
}

impl Pass {
    fn of(ticket: Ticket) -> Self {
        let Ticket { user, session, account, via } = ticket;
        Self { user, proof: ProofId::Session(session), account, via }
    }
}

/// The session or the API key.
#[derive(Clone, Copy, Debug)]
pub enum ProofId {
    /// A session.
    Session(SessionId),
    /// An API key.
    ApiKey(ApiKeyId),
}

/// What somebody proves with who they are.
#[derive(Clone, Debug)]
pub enum Proof {
    /// A session, which began with a sign-in.
    Session(session::Model),
    /// An API key, which somebody made.
    ApiKey(api_key::Model),
}

/// What no API key may do, whatever its level (I6): it outlives whoever signed in, and reads no mail.
pub const NEVER_BY_KEY: [Permission; 6] = [
    Permission::AddOrAccessApiKeys,
    Permission::RequireTwoFactorAuthentication,
    Permission::CloseAccount,
    Permission::TransferOwnership,
    Permission::DecideClientAccess,
    Permission::ExportAccount,
];

/// The program that a request comes from.
#[derive(Clone, Default)]
pub struct Client {
    /// As it calls itself: its `User-Agent` header.
    pub user_agent: Option<Arc<str>>,
    /// Where it is, as far as trusted proxies tell.
    pub address: Option<IpAddr>,
}

const SIGNED_OUT: &str = "Nobody is signed in: send `Authorization: Bearer <access token>`.";
const NO_SUCH_KEY: &str = "There is no such API key, or it has expired or was deleted.";
const EXPIRED: &str = "The access token has expired. Refresh the session to get a new one.";
const SESSION_ENDED: &str = "The session has ended. Sign in again.";

impl Caller {
    /// Reads an `Authorization` header. A wrong one is remembered, and told when an actor is needed: public fields and
    /// mutations ignore it (I3).
    pub fn of(app: &App, authorization: Option<&str>) -> Self {
        let mut bearer = None;
        let credential = authorization.map_or(Ok(None), |header| {
            let (scheme, token) = header.trim().split_once(' ').unwrap_or((header, ""));
            if !scheme.eq_ignore_ascii_case("bearer") {
                return Err("The Authorization header has to be `Bearer <access token>`.");
            }
            let token = token.trim();
            if api_keys::is_one(token) {
                return Ok(Some(Credential::ApiKey(api_keys::hash(token).into())));
            }
            let Bearer { ticket, expired } = app.keys.read_access_token(token, app.now())?;
            bearer = Some(ticket);
            if expired { Err(EXPIRED) } else { Ok(Some(Credential::Session(ticket))) }
        });
        Self { bearer, ..Self::new(credential) }
    }

    fn new(credential: Result<Option<Credential>, &'static str>) -> Self {
        Self {
            credential,
            bearer: None,
            client: Client::default(),
            actor: Arc::default(),
            turn: EventTurn::default(),
            known: Arc::default(),
        }
    }

    /// For whom this caller's operations count.
    pub fn taker(&self) -> Taker {
        let who = match &self.credential {
            Ok(Some(Credential::Session(ticket))) => Who::User(ticket.user),
            Ok(Some(Credential::Recalled(pass))) => Who::User(pass.user),
            Ok(Some(Credential::ApiKey(hash))) => Who::ApiKey(Arc::clone(hash)),
            Ok(None) | Err(_) => Who::SignedOut(self.address().map(Network::containing)),
        };
        Taker { who, address: self.address() }
    }

    /// The program that the request comes from.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Who this is, if a field or mutation has looked it up. Costs nothing.
    pub fn known(&self) -> Option<&Pass> {
        self.known.get()
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

    /// Where the request's access token acts, if it is one of this session. The token may have expired.
    pub fn ticket_of(&self, session: &session::Model) -> Option<Ticket> {
        self.bearer.filter(|ticket| ticket.session == session.id && ticket.user == session.user_id)
    }

    /// One who holds this ticket: how the demo acts as its people.
    pub fn with(ticket: Ticket) -> Self {
        Self { bearer: Some(ticket), ..Self::new(Ok(Some(Credential::Session(ticket)))) }
    }

    /// Who acted before with a session or an API key, as the database kept it: they may be less by now.
    pub fn recalled(pass: Pass) -> Self {
        Self::new(Ok(Some(Credential::Recalled(pass))))
    }

    /// Why the credentials that were given are none.
    pub fn refusal(&self) -> Option<&str> {
        self.credential.as_ref().err().copied()
    }

    /// The same credentials, to be looked up anew. A socket goes on when its token expires, but not when its session ends.
    #[must_use]
    pub fn afresh(&self) -> Self {
        Self { actor: Arc::default(), turn: EventTurn::default(), ..self.clone() }
    }

    /// Whether no credentials were given.
    pub fn is_signed_out(&self) -> bool {
        matches!(self.credential, Ok(None))
    }

    /// Who the credentials name, and where. An API key's are looked up, since nothing stands in it.
    async fn pass(&self, db: &impl ConnectionTrait) -> Result<Pass> {
        match &self.credential {
            Ok(Some(Credential::Session(ticket))) => Ok(Pass::of(*ticket)),
            Ok(Some(Credential::Recalled(pass))) => Ok(*pass),
            Ok(Some(Credential::ApiKey(hash))) => {
                let found = api_keys::ops::pass(db, hash).await?;
                found.ok_or_else(|| Denied::Unauthenticated(NO_SUCH_KEY).into())
            }
            Ok(None) => Err(Denied::Unauthenticated(SIGNED_OUT).into()),
            Err(why) => Err(Denied::Unauthenticated(why).into()),
        }
    }

    /// Who the credentials are of at this moment.
    async fn read(&self, db: &impl ConnectionTrait, pass: Pass, now: Moment, lifetimes: Lifetimes) -> Result<Actor> {
        Actor::read(db, &pass, now, lifetimes).await.inspect(|_| _ = self.known.set(pass))
    }

    /// Who this is, read once per request.
    pub async fn actor(&self, app: &App) -> Result<Arc<Actor>> {
        let mut known = self.actor.lock().await;
        if let Some(actor) = &*known {
            return Ok(Arc::clone(actor));
        }
        let (pass, lifetimes) = (self.pass(app.reader()).await?, app.config.session_lifetimes);
        let actor = self.read(app.reader(), pass, app.now(), lifetimes).await?;
        if let Proof::ApiKey(key) = &actor.proof {
            api_keys::ops::used(app, key);
        }
        Ok(Arc::clone(known.insert(Arc::new(actor))))
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
        let pass = caller.pass(self.db()).await?;
        let own = [Some(pass.user.into()), pass.account.map(LogId::from)];
        self.hold(own.into_iter().flatten().chain(also).collect()).await?;
        caller.read(self.db(), pass, self.now(), self.lifetimes()).await
    }

    /// As [`Tx::actor`], refused for an API key: the first line of every operation on oneself (I6).
    pub async fn person(&self, caller: &Caller, also: Vec<LogId>) -> Result<Actor> {
        let actor = self.actor(caller, also).await?;
        actor.session()?;
        Ok(actor)
    }

    /// As [`Tx::person`], refused unless they proved who they are in the last minutes: the first line of what could take an
    /// account or a login away (I7).
    pub async fn proven(&self, caller: &Caller, also: Vec<LogId>) -> Result<Actor> {
        let actor = self.actor(caller, also).await?;
        actor.proved_lately(self.now())?;
        Ok(actor)
    }

    /// As [`Tx::actor`], refused unless they have the permission: the first line of every guarded operation.
    pub async fn authorize(&self, caller: &Caller, needs: Permission, also: Vec<LogId>) -> Result<Actor> {
        if !also.is_empty() {
            // Others' logs are not held up for who may not anyway. What counts is what is read once all is held.
            let pass = caller.pass(self.db()).await?;
            caller.read(self.db(), pass, self.before_now(), self.lifetimes()).await?.may(needs)?;
        }
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
    /// What they prove it with.
    pub proof: Proof,
    /// When the session or the API key ends by itself.
    proof_ends_at: Option<Moment>,
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
    /// Their level before a ceiling or a key lowers it. The agency's Owner has none of their own in a client's account.
    pub full: UserLevel,
    /// The connection through which, when the account is a client's.
    pub via: Option<connection::Model>,
    /// Whether it is an API key that acts.
    pub by_key: bool,
}

impl Seat {
    /// Whether the matrix allows it here.
    pub fn may(&self, permission: Permission) -> bool {
        allows(self.level, self.via.is_some(), permission) && !(self.by_key && NEVER_BY_KEY.contains(&permission))
    }

    /// Why the matrix allows or denies it, in a sentence.
    pub fn reason(&self, permission: Permission) -> String {
        let row = permission.row();
        let level = self.level.title();
        let how = if self.via.is_some() { " through an agency's connection" } else { "" };
        if row.direct_users_only && self.via.is_some() {
            return format!("\"{}\" is for the account's own users only, and you act here{how}.", row.action);
        }
        if self.by_key && NEVER_BY_KEY.contains(&permission) {
            return format!("\"{}\" is for people who signed in, and you use an API key.", row.action);
        }
        let verdict = if self.level >= row.lowest { "may" } else { "may not" };
        format!("You act here as {level}{how}, and \"{}\" takes {} or higher, so you {verdict}.", row.action, row.lowest.title())
    }
}

impl Actor {
    /// Their session; denied when it is an API key that acts (I6).
    pub fn session(&self) -> Result<&session::Model> {
        match &self.proof {
            Proof::Session(session) => Ok(session),
            Proof::ApiKey(_) => {
                let reason = "An API key can't do this: sign in.".to_owned();
                let level = self.seat.as_ref().map(|seat| seat.level);
                Err(Denied::Forbidden { permission: None, level, reason }.into())
            }
        }
    }

    /// Where they act; denied when they can't any more, or act nowhere (L8), or lack the two-factor that the account requires (U10).
    pub fn seat(&self) -> Result<&Seat> {
        let seat = self.standing()?;
        if self.lacks_two_factor() { Err(Denied::TwoFactorRequired.into()) } else { Ok(seat) }
    }

    /// Where they act, be it without the two-factor that the account requires: for the little that they can do there even so,
    /// such as leaving it (U10).
    pub fn standing(&self) -> Result<&Seat> {
        self.seat.as_ref().ok_or_else(|| Denied::AccountAccessEnded.into())
    }

    /// Whether the account that they act in requires two-factor and they have none (U10).
    pub fn lacks_two_factor(&self) -> bool {
        self.user.two_factor_since.is_none() && self.seat.as_ref().is_some_and(|seat| seat.account.two_factor_required)
    }

    /// Where they act, if they can.
    pub fn seat_if_any(&self) -> Option<&Seat> {
        self.seat.as_ref().filter(|_| !self.lacks_two_factor())
    }

    /// As [`Actor::standing`], or `None` when their token names no account.
    pub fn standing_unless_nowhere(&self) -> Result<Option<&Seat>> {
        if self.names_account { self.standing().map(Some) } else { Ok(None) }
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
        let key = if let Proof::ApiKey(key) = &self.proof { Some(key.id) } else { None };
        Happening::by(self.user.id, self.via(), kind, subject).with_key(key)
    }

    /// Whether an API key acts. A key sees its account and nothing of its creator's (I6).
    pub fn by_key(&self) -> bool {
        matches!(self.proof, Proof::ApiKey(_))
    }

    /// The user's own log; none for an API key.
    pub fn own_log(&self) -> Option<LogId> {
        (!self.by_key()).then(|| self.user.id.into())
    }

    /// Their address, once it is verified; none for an API key.
    pub fn verified_email_key(&self) -> Option<&str> {
        self.user.email_verified_at.filter(|_| !self.by_key()).map(|_| self.user.email_key.as_str())
    }

    /// When what they do here ends by itself: the session or the API key, or the connection.
    pub fn ends_at(&self) -> Option<Moment> {
        let via = self.seat.as_ref().and_then(|seat| seat.via.as_ref()).and_then(|via| via.ends_at);
        [self.proof_ends_at, via].into_iter().flatten().min()
    }

    /// The logs whose growth may change what they can do here.
    pub fn logs(&self) -> Vec<LogId> {
        let seat = self.seat.as_ref().map(|seat| seat.account.id.into());
        [Some(self.user.id.into()), seat, self.via().map(LogId::from)].into_iter().flatten().collect()
    }

    async fn read(db: &impl ConnectionTrait, pass: &Pass, now: Moment, lifetimes: Lifetimes) -> Result<Self> {
        let (from, gone) = match pass.proof {
            ProofId::Session(_) => (&FROM_SESSION, SESSION_ENDED),
            ProofId::ApiKey(_) => (&FROM_API_KEY, NO_SUCH_KEY),
        };
        let sql = Sql::new(from.as_str()).bind(pass.account).push(MEMBER_AND_CONNECTION).bind(pass.via).push(AGENCY_AND_PLACE);
        let sql = match pass.proof {
            ProofId::Session(id) => sql.push("s.ended_at IS NULL AND s.id = ").bind(id),
            ProofId::ApiKey(id) => sql.push("k.id = ").bind(id),
        };
        let sql = sql.push(" AND u.id = ").bind(pass.user);
        let actor = sql.one(db, |row| Self::of_row(row, pass, now, lifetimes)).await?;
        let lives = |actor: &Self| actor.proof_ends_at.is_none_or(|ends_at| now < ends_at);
        actor.filter(lives).ok_or_else(|| Denied::Unauthenticated(gone).into())
    }

    fn of_row(row: &QueryResult, pass: &Pass, now: Moment, lifetimes: Lifetimes) -> Result<Self, sea_orm::DbErr> {
        let proof = match pass.proof {
            ProofId::Session(_) => Proof::Session(model("s")(row)?),
            ProofId::ApiKey(_) => Proof::ApiKey(model("k")(row)?),
        };
        let proof_ends_at = match &proof {
            Proof::Session(session) => Some(lifetimes.end_of(session)),
            Proof::ApiKey(key) => key.expires_at,
        };
        let mut seat = Seat::of_row(row, pass.via, now)?;
        if let (Some(seat), Proof::ApiKey(key)) = (&mut seat, &proof) {
            (seat.level, seat.by_key) = (seat.level.min(key.level), true);
        }
        Ok(Self { user: model("u")(row)?, proof, proof_ends_at, seat, names_account: pass.account.is_some() })
    }
}

/// The session or the API key and its user, where they may act, and by which right.
static FROM_SESSION: LazyLock<String> = LazyLock::new(|| from(&columns::<session::Entity>("s"), "sessions s", "s.user_id"));
static FROM_API_KEY: LazyLock<String> = LazyLock::new(|| from(&columns::<api_key::Entity>("k"), "api_keys k", "k.user_id"));

fn from(proof: &str, table: &str, user_id: &str) -> String {
    let (u, seat) = (columns::<user::Entity>("u"), &*SEAT_COLUMNS);
    format!(
        "SELECT {proof}, {u}, {seat} FROM {table} JOIN users u ON u.id = {user_id} LEFT JOIN accounts a ON a.status = 'active' AND a.id = "
    )
}

/// What [`Seat::of_row`] reads: an account `a`, a connection `c`, and three levels, the member's, the agency's member's and the
/// place's, from wherever they are joined.
pub(crate) fn seat_columns(levels: [&str; 3]) -> String {
    let (a, c) = (columns::<account::Entity>("a"), columns::<connection::Entity>("c"));
    let [m, am, p] = levels;
    format!("{a}, {c}, {m} AS m_level, {am} AS am_level, {p} AS p_level")
}

/// Where [`Seat::of_row`] finds them when the tables have their usual names.
pub(crate) static SEAT_COLUMNS: LazyLock<String> = LazyLock::new(|| seat_columns(["m.level", "am.level", "p.level"]));

/// The account's member who is not suspended (U6), and the connection of the agency that is bound next.
const MEMBER_AND_CONNECTION: &str = " LEFT JOIN members m ON m.account_id = a.id AND m.user_id = u.id AND m.suspended_at IS NULL \
     LEFT JOIN connections c ON c.client_id = a.id AND c.status = 'active' AND c.agency_id = ";

/// The user's level in that agency and their place on the connection; then what the session or the key has to be.
const AGENCY_AND_PLACE: &str = " LEFT JOIN accounts g ON g.id = c.agency_id AND g.status = 'active' \
     LEFT JOIN members am ON am.account_id = g.id AND am.user_id = u.id AND am.suspended_at IS NULL \
     LEFT JOIN places p ON p.connection_id = c.id AND p.user_id = u.id \
     WHERE ";

impl Seat {
    /// One's own, as a direct user.
    pub fn direct(account: account::Model, level: UserLevel) -> Self {
        Self { account, level, full: level, via: None, by_key: false }
    }

    /// Reads an account with the right to it: as its member, or through the connection when `via` is given, unless its time is over.
    pub(crate) fn of_row(row: &QueryResult, via: Option<AccountId>, now: Moment) -> Result<Option<Self>, sea_orm::DbErr> {
        let Some(account) = account::Model::from_query_result_optional(row, "a_")? else { return Ok(None) };
        let level = |column: &str| row.try_get::<Option<UserLevel>>("", column);
        if via.is_none() {
            return Ok(level("m_level")?.map(|level| Self::direct(account, level)));
        }
        let connection = connection::Model::from_query_result_optional(row, "c_")?;
        let (agency_level, place) = (level("am_level")?, level("p_level")?);
        let active = connection.filter(|connection| connection.status_at(now) == ConnectionStatus::Active);
        Ok(active.and_then(|connection| {
            let level = level_through(connection.level?, agency_level, place)?;
            let full = if agency_level == Some(UserLevel::Owner) { UserLevel::Owner } else { place? };
            Some(Self { account, level, full, via: Some(connection), by_key: false })
        }))
    }
}

/// A user's own place as a direct user of an account, read inside a transaction.
pub async fn member_of(tx: &Tx, account: AccountId, user: UserId) -> Result<Option<member::Model>> {
    let sql = select::<member::Entity>("m").push(" WHERE m.account_id = ").bind(account).push(" AND m.user_id = ").bind(user);
    sql.one(tx.db(), model("m")).await
}
