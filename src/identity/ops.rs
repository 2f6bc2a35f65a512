//! What happens to sessions: signing in, coming back, switching accounts, signing out.

use super::{
    rules::{self, Refresh},
    throttle::Whom,
    two_factor::{takes, wrong_code},
};
use crate::{
    actor::{Caller, SEAT_COLUMNS, Seat},
    app::{App, Happening, Outgoing, Tx},
    db::{Sql, by_id, model, select},
    error::{Denied, Error, Fault, Result, UserError, UserErrorCode},
    events::security::{self, NewSecurityEvent},
    keys::{Keys, Purpose, Ticket},
    text,
};
use entity::{
    AccountId, ConnectionId, EventId, LogId, Moment, SessionId, UserId,
    event::EventKind,
    mail::MailKind,
    security_event::{SecurityEventKind, SecurityOutcome},
    session, user,
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
    /// What tells of its beginning, if it begins.
    event: Option<EventId>,
}

/// A device that signs in.
#[derive(Clone, Debug)]
pub struct Device {
    /// What kind it is.
    pub client: session::SessionClient,
    /// As it calls itself.
    pub user_agent: Option<String>,
}

impl Device {
    /// As it calls itself, in what we keep of that.
    fn agent(&self) -> Option<String> {
        self.user_agent.as_deref().map(|agent| agent.chars().filter(|c| !c.is_control()).take(200).collect())
    }
}

/// The user of an id that is known to be one.
pub async fn find_user(tx: &Tx, id: UserId) -> Result<user::Model> {
    let found = by_id::<user::Entity>(tx.db(), id).await?;
    found.ok_or_else(|| Fault::new(format!("no user {id}")).into())
}

pub(super) async fn begin_session(
    app: &App,
    tx: &Tx,
    user: user::Model,
    seat: Option<Seat>,
    device: &Device,
) -> Result<SignedIn> {
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
    };
    session::Entity::insert(session.clone().into_active_model()).exec_without_returning(tx.db()).await?;
    if session.via_id.is_none() {
        remember_account(tx, user.id, session.account_id).await?;
    }
    note_entry(tx, &session);
    let event = tx.append(Happening::by(user.id, None, EventKind::SignedIn, session.id.0), [user.id.into()]);
    let refresh = refresh_token(&app.keys, session.id, session.generation);
    let credentials = credentials(app, &session, seat.as_ref(), tx.now(), Some(refresh))?;
    Ok(SignedIn { user, seat, credentials, session: session.id, event: Some(event) })
}

async fn remember_account(tx: &Tx, user: UserId, account: Option<AccountId>) -> Result<()> {
    Sql::new("UPDATE users SET last_account_id = ").bind(account).push(" WHERE id = ").bind(user).run(tx.db()).await?;
    Ok(())
}

fn via(seat: Option<&Seat>) -> Option<AccountId> {
    seat?.via.as_ref().map(|via| via.agency_id)
}

fn credentials(
    app: &App,
    session: &session::Model,
    seat: Option<&Seat>,
    now: Moment,
    refresh_token: Option<String>,
) -> Result<Credentials> {
    let ticket = Ticket { user: session.user_id, session: session.id, account: seat.map(|seat| seat.account.id), via: via(seat) };
    // A JWT tells whole seconds; what the answer says must be what the token says.
    let expires_at = chrono::SubsecRound::trunc_subsecs(now + app.config.access_token_ttl, 0);
    let access_token = app.keys.access_token(ticket, seat.map(|seat| seat.level), now, expires_at).map_err(Fault::new)?;
    Ok(Credentials { access_token, expires_at, refresh_token })
}

/// A session's refresh token: its generation in clear, and a MAC over both.
fn refresh_token(keys: &Keys, session: SessionId, generation: i64) -> String {
    format!("{}.{generation}", keys.link(Purpose::Refresh, session.0, generation))
}

fn read_refresh_token(keys: &Keys, token: &str) -> Option<(SessionId, i64)> {
    let (link, generation) = token.split_once('.')?;
    let (id, generation) = (Keys::link_id(link)?, generation.parse().ok()?);
    keys.is_link(link, Purpose::Refresh, id, generation).then_some((SessionId(id), generation))
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
fn login_key(login: &str) -> (&'static str, String) {
    match text::email(login) {
        Ok(email) => ("email_key", email.key),
        Err(_) => ("username_key", login.trim().to_lowercase().replace('\0', "\u{fffd}")),
    }
}

/// Signs in. An unknown login and a wrong password give the same words after the same time (I5).
pub async fn sign_in(app: &App, caller: &Caller, input: SignIn) -> Result<SignedIn> {
    let user = find_by_login(app, &input.login).await?;
    let wrong = || UserError::new(UserErrorCode::WrongCredentials, "The login or the password is wrong.");
    let (_, login) = login_key(&input.login);
    let concerned = user.as_ref().map(|user| user.id);
    let attempt = app.throttle.secret(Whom::Login(&login), caller.address());
    security::note_refusal(SecurityEventKind::SignIn, concerned, &attempt);
    let attempt = attempt?.concerning(concerned);
    let fits = app.hasher.verify(&input.password, user.as_ref().map(|user| user.password_hash.as_str())).await;
    let (fits, attempt) = attempt.of(fits)?;
    let Some(user) = user.filter(|_| fits) else {
        return Err(wrong().into());
    };
    let tries_code = user.two_factor_since.is_some() && input.code.is_some();
    let code = match tries_code.then(|| app.throttle.secret(Whom::Code(user.id), caller.address())).transpose() {
        Ok(code) => code,
        Err(denied) => {
            attempt.undone();
            return Err(denied);
        }
    };
    let signed_in = app
        .tx(async |tx| {
            tx.hold(vec![user.id.into()]).await?;
            let now = find_user(tx, user.id).await?;
            // Changed or erased while it was compared.
            if now.password_hash != user.password_hash {
                return Err(wrong().into());
            }
            second_factor(app, tx, &now, input.code.as_deref()).await?;
            let seat = match input.account {
                Some(account) => Some(way_in(tx, now.id, account, None).await?.ok_or_else(|| no_account("accountId"))?),
                None => usual_seat(tx, &now).await?,
            };
            let news = is_new_device(tx, &now, &input.device).await?;
            let signed_in = begin_session(app, tx, now, seat, &input.device).await?;
            if let Some(event) = signed_in.event.filter(|_| news) {
                tx.mail(&[Outgoing::to_user(&signed_in.user, MailKind::NewSignIn, event, signed_in.session.0)]).await?;
            }
            Ok(signed_in)
        })
        .await;
    if matches!(&signed_in, Err(Error::User(error)) if error.code == UserErrorCode::TwoFactorCodeRequired) {
        security::note_refusal(SecurityEventKind::SignIn, concerned, &signed_in);
    }
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
    let signed_in = attempt.unless_wrong(signed_in)?;
    app.throttle.knows(Whom::Password(signed_in.user.id), caller.address());
    app.throttle.knows(Whom::Code(signed_in.user.id), caller.address());
    Ok(signed_in)
}

/// Whether a user signs in with a program that they have never signed in with.
async fn is_new_device(tx: &Tx, user: &user::Model, device: &Device) -> Result<bool> {
    let sql = Sql::new("SELECT count(*) FROM sessions WHERE user_id = ").bind(user.id).push(" AND client = ").bind(device.client);
    let sql = match device.agent() {
        Some(agent) => sql.push(" AND user_agent = ").bind(agent),
        None => sql.push(" AND user_agent IS NULL"),
    };
    Ok(sql.count(tx.db()).await? == 0)
}

/// Asks for a code where two-factor is on.
async fn second_factor(app: &App, tx: &Tx, user: &user::Model, code: Option<&str>) -> Result<()> {
    if user.two_factor_since.is_none() {
        return Ok(());
    }
    let Some(code) = code else {
        let why = "Two-factor is on: give a code of your device, or a recovery code.";
        return Err(UserError::new(UserErrorCode::TwoFactorCodeRequired, why).at(["code"]).into());
    };
    if takes(app, tx, user, code).await? { Ok(()) } else { Err(wrong_code("code").into()) }
}

fn no_account(field: &str) -> Error {
    UserError::new(UserErrorCode::NotFound, "You can't act in such an account.").at([field]).into()
}

/// Where somebody acts when they don't say: where they last did, else in an account of their own, else nowhere.
async fn usual_seat(tx: &Tx, user: &user::Model) -> Result<Option<Seat>> {
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

/// The next access token of a session (I3), in the account asked for or the one last acted in.
pub async fn refresh(app: &App, token: &str, account: Option<AccountId>) -> Result<SignedIn> {
    const ENDED: &str = "The session has ended, or this is not its refresh token. Sign in again.";
    let ended = || Error::from(Denied::Unauthenticated(ENDED));
    let (id, generation) = read_refresh_token(&app.keys, token).ok_or_else(ended)?;
    let refreshed = app
        .tx(async |tx| {
            let find = || select::<session::Entity>("s").push(" WHERE s.ended_at IS NULL AND s.id = ").bind(id);
            let session: session::Model = find().one(tx.db(), model("s")).await?.ok_or_else(ended)?;
            tx.hold(vec![session.user_id.into()]).await?;
            let mut session: session::Model = find().one(tx.db(), model("s")).await?.ok_or_else(ended)?;
            match rules::refresh(&session, generation, tx.now()) {
                Refresh::Rotate => (session.generation, session.rotated_at) = (session.generation + 1, tx.now()),
                Refresh::Repeat => {}
                Refresh::Unknown => return Err(ended()),
                // The session's end has to stand, so this is no error yet.
                Refresh::Reuse => {
                    let event = end_session(tx, &session, Happening::by_itself(EventKind::RefreshTokenReused, id.0)).await?;
                    let user = find_user(tx, session.user_id).await?;
                    let mail = Outgoing::to_user(&user, MailKind::RefreshTokenReused, event, id.0);
                    return tx.mail(&[mail]).await.map(|()| None);
                }
            }
            let user = find_user(tx, session.user_id).await?;
            let seat = seat_of_session(tx, &session, account).await?;
            save_use(tx, &mut session, seat.as_ref()).await?;
            let next = refresh_token(&app.keys, session.id, session.generation);
            let credentials = credentials(app, &session, seat.as_ref(), tx.now(), Some(next))?;
            Ok(Some(SignedIn { user, seat, credentials, session: session.id, event: None }))
        })
        .await?;
    refreshed.ok_or_else(ended)
}

async fn seat_of_session(tx: &Tx, session: &session::Model, account: Option<AccountId>) -> Result<Option<Seat>> {
    if let Some(account) = account {
        return way_in(tx, session.user_id, account, None).await?.ok_or_else(|| no_account("accountId")).map(Some);
    }
    let Some(account) = session.account_id else { return Ok(None) };
    let Some(agency) = session.via_id else { return way_in(tx, session.user_id, account, None).await };
    let sql = Sql::new("SELECT id FROM connections WHERE status = 'active' AND agency_id = ")
        .bind(agency)
        .push(" AND client_id = ")
        .bind(account);
    match sql.one(tx.db(), |row| row.try_get_by_index(0)).await? {
        Some(connection) => way_in(tx, session.user_id, account, Some(connection)).await,
        None => Ok(None),
    }
}

/// Records that an agency user begins to act in a client's account.
fn note_entry(tx: &Tx, session: &session::Model) {
    if session.via_id.is_some() {
        let entered = NewSecurityEvent::new(SecurityEventKind::ClientAccountEntered, SecurityOutcome::Success);
        tx.note(NewSecurityEvent { account: session.account_id, via: session.via_id, ..entered.by(session.user_id) });
    }
}

async fn save_use(tx: &Tx, session: &mut session::Model, seat: Option<&Seat>) -> Result<()> {
    let before = (session.account_id, session.via_id);
    (session.account_id, session.via_id, session.last_used_at) = (seat.map(|seat| seat.account.id), via(seat), tx.now());
    if before != (session.account_id, session.via_id) {
        note_entry(tx, session);
    }
    let sql =
        Sql::new("UPDATE sessions SET generation = ").bind(session.generation).push(", rotated_at = ").bind(session.rotated_at);
    let sql = sql.push(", account_id = ").bind(session.account_id).push(", via_id = ").bind(session.via_id);
    sql.push(", last_used_at = ").bind(tx.now()).push(" WHERE id = ").bind(session.id).run(tx.db()).await?;
    Ok(())
}

async fn end_session(tx: &Tx, session: &session::Model, why: Happening) -> Result<EventId> {
    Sql::new("UPDATE sessions SET ended_at = ").bind(tx.now()).push(" WHERE id = ").bind(session.id).run(tx.db()).await?;
    Ok(tx.append(why, [LogId::from(session.user_id)]))
}

/// Ends all sessions of a user but `keep`. The event of what ends them is the caller's.
pub async fn end_sessions(tx: &Tx, user: UserId, keep: Option<SessionId>) -> Result<()> {
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
    let sql = sql.push(" AND s.last_used_at > ").bind(app.now() - rules::SESSION_TTL);
    sql.push(" ORDER BY s.last_used_at DESC, s.id DESC LIMIT 100").all(app.reader(), model("s")).await
}

/// Ends one of the user's sessions, for every later request and open socket (I3).
pub async fn revoke_session(app: &App, caller: &Caller, id: SessionId) -> Result<SessionId> {
    app.tx(async |tx| {
        let actor = tx.person(caller, Vec::new()).await?;
        let unknown = || UserError::new(UserErrorCode::NotFound, "You have no such session.").at(["sessionId"]);
        let session = by_id::<session::Entity>(tx.db(), id).await?;
        let session = session.filter(|session| session.user_id == actor.user.id && session.ended_at.is_none());
        let session = session.ok_or_else(unknown)?;
        end_session(tx, &session, actor.did(EventKind::SessionRevoked, id.0)).await?;
        Ok(id)
    })
    .await
}

/// Ends all sessions of the user but the one that asks.
pub async fn revoke_other_sessions(app: &App, caller: &Caller) -> Result<()> {
    app.tx(async |tx| {
        let actor = tx.person(caller, Vec::new()).await?;
        let own = actor.session()?.id;
        end_sessions(tx, actor.user.id, Some(own)).await?;
        tx.append(actor.did(EventKind::OtherSessionsRevoked, own.0), [actor.user.id.into()]);
        Ok(())
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
        save_use(tx, &mut session, Some(&seat)).await?;
        remember_account(tx, user.id, seat.via.is_none().then_some(seat.account.id).or(user.last_account_id)).await?;
        let credentials = credentials(app, &session, Some(&seat), tx.now(), None)?;
        Ok(SignedIn { user, seat: Some(seat), credentials, session: session.id, event: None })
    })
    .await
}
