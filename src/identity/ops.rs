//! What happens to sessions: signing in, coming back, switching accounts, signing out.

use super::{
    devices::{self, Device},
    refresh,
    rules::{Method, methods},
    throttle::{Secret, Whom},
    two_factor::{takes, watched, wrong_code},
};
use crate::{
    actor::{Caller, SEAT_COLUMNS, Seat},
    app::{App, Happening, Outgoing, Tx},
    db::{Sql, by_id, model, select},
    error::{Error, Fault, Result, UserError, UserErrorCode},
    events::security::{self, NewSecurityEvent},
    keys::{NewToken, Ticket},
    text,
};
use entity::{
    AccountId, ConnectionId, EventId, LogId, Moment, SessionId, UserId,
    event::EventKind,
    mail::MailKind,
    security_event::{SecurityEventKind, SecurityOutcome},
    session::{self, Lifetimes},
    user,
};
use sea_orm::{EntityTrait, IntoActiveModel};

/// What a client keeps after signing in.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The access token.
    pub access_token: String,
    /// Until when it is valid.
    pub expires_at: Moment,
    /// The refresh token, where a new one was given.
    pub refresh_token: Option<String>,
}

/// Who is signed in now, and where they act.
#[derive(Debug)]
pub struct SignedIn {
    /// The user.
    pub user: user::Model,
    /// Where they act, if anywhere.
    pub seat: Option<Seat>,
    /// What the client keeps.
    pub credentials: Credentials,
    /// The session.
    pub session: SessionId,
    /// The device's new token; none when it had a valid one.
    pub device_token: Option<String>,
    /// What tells of its beginning, if it begins.
    pub(super) event: Option<EventId>,
}

/// The user of an id that is known to be one.
pub async fn find_user(tx: &Tx, id: UserId) -> Result<user::Model> {
    let found = by_id::<user::Entity>(tx.db(), id).await?;
    found.ok_or_else(|| Fault::new(format!("no user {id}")).into())
}

/// How a session begins.
pub(super) struct Start<'a> {
    /// On which device.
    pub device: &'a Device,
    /// How the user proved who they are.
    pub proved: &'a [Method],
}

pub(super) async fn begin_session(
    app: &App,
    tx: &Tx,
    user: user::Model,
    seat: Option<Seat>,
    start: Start<'_>,
) -> Result<SignedIn> {
    let Start { device, proved } = start;
    let admitted = devices::admit(tx, user.id, device).await?;
    let session = session::Model {
        id: tx.id(),
        user_id: user.id,
        generation: 0,
        rotated_at: tx.now(),
        client: device.client,
        user_agent: device.agent(),
        account_id: seat.as_ref().map(|seat| seat.account.id),
        via_id: via(seat.as_ref()),
        created_at: tx.now(),
        last_used_at: tx.now(),
        ended_at: None,
        authenticated_at: None,
        settled_generation: 0,
        methods: methods(proved),
        device_id: Some(admitted.id),
    };
    session::Entity::insert(session.clone().into_active_model()).exec_without_returning(tx.db()).await?;
    if session.via_id.is_none() {
        remember_account(tx, user.id, session.account_id).await?;
    }
    note_entry(tx, &session);
    let event = tx.append(Happening::by(user.id, None, EventKind::SignedIn, session.id.0), [user.id.into()]);
    let refresh = refresh::token(&app.keys, session.id, session.generation);
    let credentials = credentials(app, &session, seat.as_ref(), tx.now(), Some(refresh))?;
    let device_token = admitted.new_token;
    Ok(SignedIn { user, seat, credentials, session: session.id, device_token, event: Some(event) })
}

async fn remember_account(tx: &Tx, user: UserId, account: Option<AccountId>) -> Result<()> {
    Sql::new("UPDATE users SET last_account_id = ").bind(account).push(" WHERE id = ").bind(user).run(tx.db()).await?;
    Ok(())
}

pub(super) fn via(seat: Option<&Seat>) -> Option<AccountId> {
    seat?.via.as_ref().map(|via| via.agency_id)
}

pub(super) fn credentials(
    app: &App,
    session: &session::Model,
    seat: Option<&Seat>,
    now: Moment,
    refresh_token: Option<String>,
) -> Result<Credentials> {
    let ticket = Ticket { user: session.user_id, session: session.id, account: seat.map(|seat| seat.account.id), via: via(seat) };
    // A JWT tells whole seconds; what the answer says must be what the token says.
    let expires_at = chrono::SubsecRound::trunc_subsecs(now + app.config.access_token_ttl, 0);
    let new = NewToken {
        ticket,
        level: seat.map(|seat| seat.level),
        proved_at: session.proved_at(),
        methods: &session.methods,
        issued_at: now,
        expires_at,
    };
    let access_token = app.keys.access_token(&new).map_err(Fault::new)?;
    Ok(Credentials { access_token, expires_at, refresh_token })
}

/// Who wants to sign in.
pub struct SignIn {
    /// Address or username.
    pub login: String,
    /// Password.
    pub password: String,
    /// A one-time code or a recovery code.
    pub code: Option<String>,
    /// Where to act; else where they last did.
    pub account: Option<AccountId>,
    /// Their device.
    pub device: Device,
}

/// The user of an address or a username.
pub async fn find_by_login(app: &App, login: &str) -> Result<Option<user::Model>> {
    let (column, key) = login_key(login);
    select::<user::Entity>("u").push(&format!(" WHERE u.{column} = ")).bind(key).one(app.reader(), model("u")).await
}

/// The column that a login is looked up in, and what for.
pub(super) fn login_key(login: &str) -> (&'static str, String) {
    match text::email(login) {
        Ok(email) => ("email_key", email.key),
        Err(_) => ("username_key", login.trim().to_lowercase().replace('\0', "\u{fffd}")),
    }
}

/// Signs in. An unknown login and a wrong password give the same words after the same time (I5).
pub async fn sign_in(app: &App, caller: &Caller, input: SignIn) -> Result<SignedIn> {
    let user = find_by_login(app, &input.login).await?;
    let wrong = || UserError::new(UserErrorCode::WrongCredentials, "The login or the password is wrong.");
    let known = devices::find(app.reader(), input.device.token.as_deref(), user.as_ref().map(|user| user.id)).await?;
    let (_, login) = login_key(&input.login);
    let concerned = user.as_ref().map(|user| user.id);
    let attempt = app.throttle.secret(known.map_or(Whom::Login(&login), Whom::LoginOn), caller.address());
    security::note_refusal(SecurityEventKind::SignIn, concerned, &attempt);
    let attempt = attempt?.concerning(concerned);
    let fits = app.hasher.verify(&input.password, user.as_ref().map(|user| user.password_hash.as_str())).await;
    let (fits, attempt) = attempt.of(fits)?;
    let Some(user) = user.filter(|_| fits) else {
        return Err(wrong().into());
    };
    let tries_code = user.two_factor_since.is_some() && input.code.is_some();
    let whom = known.map_or(Whom::Code(user.id), |device| Whom::Device(user.id, device, Secret::Code));
    let code = match tries_code.then(|| app.throttle.secret(whom, caller.address())).transpose() {
        Ok(code) => code,
        Err(denied) => {
            attempt.undone();
            return Err(denied);
        }
    };
    let entry = Entry { first: Method::Password, code: input.code.as_deref(), account: input.account, device: &input.device };
    let signed_in = app
        .tx(async |tx| {
            tx.hold(vec![user.id.into()]).await?;
            let now = find_user(tx, user.id).await?;
            // Changed or erased while it was compared.
            if now.password_hash != user.password_hash {
                return Err(wrong().into());
            }
            enter(app, tx, now, entry).await
        })
        .await;
    if matches!(&signed_in, Err(Error::User(error)) if error.code == UserErrorCode::TwoFactorCodeRequired) {
        security::note_refusal(SecurityEventKind::SignIn, concerned, &signed_in);
    }
    let signed_in = watched(app, user.id, signed_in).await;
    let wrong_code = matches!(&signed_in, Err(Error::User(error)) if error.code == UserErrorCode::WrongTwoFactorCode);
    let signed_in = match code {
        Some(code) => code.unless_wrong(signed_in),
        None => signed_in,
    };
    if wrong_code {
        // The password was right.
        attempt.undone();
        return signed_in;
    }
    attempt.unless_wrong(signed_in)
}

/// A sign-in whose first factor was right.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    /// The first factor.
    pub first: Method,
    /// The second, where it was given.
    pub code: Option<&'a str>,
    /// The account to act in; else the usual one.
    pub account: Option<AccountId>,
    /// The device.
    pub device: &'a Device,
}

/// Takes the second factor and begins a session. The user, whose log is held, is notified when the device is unknown.
pub(super) async fn enter(app: &App, tx: &Tx, user: user::Model, entry: Entry<'_>) -> Result<SignedIn> {
    let Entry { first, code, account, device } = entry;
    let proved = if second_factor(app, tx, &user, code).await? { vec![first, Method::Code] } else { vec![first] };
    let seat = match account {
        Some(account) => Some(way_in(tx, user.id, account, None).await?.ok_or_else(|| no_account("accountId"))?),
        None => usual_seat(tx, &user).await?,
    };
    let signed_in = begin_session(app, tx, user, seat, Start { device, proved: &proved }).await?;
    if let Some(event) = signed_in.event.filter(|_| signed_in.device_token.is_some()) {
        tx.mail(&[Outgoing::to_user(&signed_in.user, MailKind::NewSignIn, event, signed_in.session.0)]).await?;
    }
    Ok(signed_in)
}

/// Asks for a code where two-factor is on. Answers whether it is.
async fn second_factor(app: &App, tx: &Tx, user: &user::Model, code: Option<&str>) -> Result<bool> {
    if user.two_factor_since.is_none() {
        return Ok(false);
    }
    let Some(code) = code else {
        let why = "Two-factor is on: give a code of your device, or a recovery code.";
        return Err(UserError::new(UserErrorCode::TwoFactorCodeRequired, why).at(["code"]).into());
    };
    if takes(app, tx, user, code).await? { Ok(true) } else { Err(wrong_code("code").into()) }
}

fn no_account(field: &str) -> Error {
    UserError::new(UserErrorCode::NotFound, "You can't act in such an account.").at([field]).into()
}

/// Where somebody acts when they don't say: where they last did, else in an account of their own, else nowhere.
pub(super) async fn usual_seat(tx: &Tx, user: &user::Model) -> Result<Option<Seat>> {
    if let Some(account) = user.last_account_id
        && let Some(seat) = way_in(tx, user.id, account, None).await?
    {
        return Ok(Some(seat));
    }
    let own = Sql::new(
        "SELECT m.account_id FROM members m JOIN accounts a ON a.id = m.account_id WHERE a.status = 'active' AND m.suspended_at IS NULL AND m.user_id = ",
    );
    let own: Option<AccountId> =
        own.bind(user.id).push(" ORDER BY m.level DESC, m.id LIMIT 1").one(tx.db(), |row| row.try_get_by_index(0)).await?;
    match own {
        Some(account) => way_in(tx, user.id, account, None).await,
        None => Ok(None),
    }
}

/// The way into an account: the direct one if there is one, unless a connection is asked for; else the highest level (C12).
pub(crate) async fn way_in(tx: &Tx, user: UserId, account: AccountId, connection: Option<ConnectionId>) -> Result<Option<Seat>> {
    let now = tx.now();
    let sql = Sql::new(format!("SELECT {}, c.agency_id AS agency FROM accounts a", *SEAT_COLUMNS));
    let sql = sql.push(" LEFT JOIN members m ON m.account_id = a.id AND m.suspended_at IS NULL AND m.user_id = ").bind(user);
    let sql = sql.push(" LEFT JOIN connections c ON c.client_id = a.id AND c.status = 'active'");
    let sql = sql.push(" LEFT JOIN accounts g ON g.id = c.agency_id AND g.status = 'active'");
    let sql = sql.push(" LEFT JOIN members am ON am.account_id = g.id AND am.suspended_at IS NULL AND am.user_id = ").bind(user);
    let sql = sql.push(" LEFT JOIN places p ON p.connection_id = c.id AND p.user_id = ").bind(user);
    // Of a client's many connections only those of the user's own agencies matter.
    let sql =
        sql.push(" WHERE a.status = 'active' AND a.id = ").bind(account).push(" AND (m.id IS NOT NULL OR am.id IS NOT NULL)");
    let ways = sql
        .all(tx.db(), |row| {
            let agency = row.try_get::<Option<AccountId>>("", "agency")?;
            let through = agency.map(|agency| Seat::of_row(row, Some(agency), now)).transpose()?.flatten();
            Ok((Seat::of_row(row, None, now)?, through))
        })
        .await?;
    let (direct, through): (Vec<_>, Vec<_>) = ways.into_iter().unzip();
    let through = through.into_iter().flatten();
    Ok(match connection {
        Some(id) => through.into_iter().find(|seat| seat.via.as_ref().is_some_and(|via| via.id == id)),
        None => direct.into_iter().flatten().next().or_else(|| through.max_by_key(|seat| seat.level)),
    })
}

/// Records that an agency user begins to act in a client's account.
pub(super) fn note_entry(tx: &Tx, session: &session::Model) {
    if session.via_id.is_some() {
        let entered = NewSecurityEvent::new(SecurityEventKind::ClientAccountEntered, SecurityOutcome::Success);
        tx.note(NewSecurityEvent { account: session.account_id, via: session.via_id, ..entered.by(session.user_id) });
    }
}

pub(super) async fn end_session(tx: &Tx, session: &session::Model, why: Happening) -> Result<EventId> {
    Sql::new("UPDATE sessions SET ended_at = ").bind(tx.now()).push(" WHERE id = ").bind(session.id).run(tx.db()).await?;
    Ok(tx.append(why, [LogId::from(session.user_id)]))
}

/// Ends all sessions of a user but `keep`, and voids the tokens of all their devices but that session's. The event of what ends them
/// is the caller's.
pub async fn end_sessions(tx: &Tx, user: UserId, keep: Option<SessionId>) -> Result<()> {
    devices::void_all(tx, user, keep).await?;
    let end =
        Sql::new("UPDATE sessions SET ended_at = ").bind(tx.now()).push(" WHERE ended_at IS NULL AND user_id = ").bind(user);
    let end = match keep {
        Some(keep) => end.push(" AND id <> ").bind(keep),
        None => end,
    };
    end.run(tx.db()).await?;
    Ok(())
}

/// A user's sessions that have not ended, the one last used first: a hundred at most.
pub async fn live_sessions(app: &App, user: UserId) -> Result<Vec<session::Model>> {
    let sql = select::<session::Entity>("s").push(" WHERE s.ended_at IS NULL AND s.user_id = ").bind(user);
    let (now, Lifetimes { idle, total }) = (app.now(), app.config.session_lifetimes);
    let sql = sql.push(" AND s.last_used_at > ").bind(now - idle).push(" AND s.created_at > ").bind(now - total);
    sql.push(" ORDER BY s.last_used_at DESC, s.id DESC LIMIT 100").all(app.reader(), model("s")).await
}

/// Ends one of the user's sessions, for every later request and open socket (I3).
pub async fn revoke_session(app: &App, caller: &Caller, id: SessionId) -> Result<SessionId> {
    app.tx(async |tx| {
        let actor = tx.person(caller, Vec::new()).await?;
        let unknown = || UserError::new(UserErrorCode::NotFound, "You have no such session.").at(["sessionId"]);
        let session = by_id::<session::Entity>(tx.db(), id).await?;
        let session = session.filter(|session| session.user_id == actor.user.id && session.ended_at.is_none());
        let session = session.filter(|session| tx.now() < tx.lifetimes().end_of(session));
        let session = session.ok_or_else(unknown)?;
        // Whoever has that device must not come back as a known one. On the device that asks, nothing is lost.
        if session.device_id != actor.session()?.device_id {
            devices::void(tx, &session).await?;
        }
        end_session(tx, &session, actor.did(EventKind::SessionRevoked, id.0)).await?;
        Ok(id)
    })
    .await
}

/// Ends the session that asks, for every later request and open socket (I3).
pub async fn sign_out(app: &App, caller: &Caller) -> Result<()> {
    app.tx(async |tx| {
        let actor = tx.person(caller, Vec::new()).await?;
        let session = actor.session()?;
        end_session(tx, session, actor.did(EventKind::SignedOut, session.id.0)).await.map(drop)
    })
    .await
}

/// Acts in another account, in the same session (C12).
pub async fn switch_account(
    app: &App,
    caller: &Caller,
    account: AccountId,
    connection: Option<ConnectionId>,
) -> Result<SignedIn> {
    app.tx(async |tx| {
        let actor = tx.person(caller, Vec::new()).await?;
        let mut session = actor.session()?.clone();
        let user = actor.user;
        let seat = way_in(tx, user.id, account, connection).await?;
        let field = if connection.is_some() { "connectionId" } else { "accountId" };
        let seat = seat.ok_or_else(|| no_account(field))?;
        refresh::save_use(tx, &mut session, Some(&seat)).await?;
        remember_account(tx, user.id, seat.via.is_none().then_some(seat.account.id).or(user.last_account_id)).await?;
        let credentials = credentials(app, &session, Some(&seat), tx.now(), None)?;
        Ok(SignedIn { user, seat: Some(seat), credentials, session: session.id, device_token: None, event: None })
    })
    .await
}
