//! What happens when people sign up, prove their address, sign in, come back, switch accounts and sign out.

use super::{
    passwords,
    rules::{self, Refresh},
};
use crate::{
    accounts,
    actor::{Actor, Caller, SEAT_COLUMNS, Seat},
    app::{App, Happening, Outgoing, Tx},
    db::{OnTaken, Sql, model, select},
    error::{Denied, Error, Fault, Result, UserError, UserErrorCode},
    invitations,
    keys::{Keys, Purpose, Ticket},
    text::{self, Email},
};
use chrono::TimeDelta;
use entity::{
    AccountId, ConnectionId, LogId, Moment, SessionId, UserId, UserLevel, event::EventKind, mail::MailKind, session, user,
};
use sea_orm::{EntityTrait, IntoActiveModel};
use uuid::Uuid;

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
}

/// A device that signs in.
#[derive(Clone, Debug)]
pub struct Device {
    /// What kind it is.
    pub client: session::SessionClient,
    /// As it calls itself.
    pub user_agent: Option<String>,
}

/// What somebody says of themselves when they sign up.
pub struct SignUp {
    /// Their address.
    pub email: String,
    /// Their password.
    pub password: String,
    /// Their name.
    pub name: String,
    /// Their username; made of the name when there is none.
    pub username: Option<String>,
    /// What their account is called; their own name when nothing is said.
    pub account_name: Option<String>,
    /// The invitation that they join by, instead of opening an account.
    pub invitation_token: Option<String>,
    /// Their device.
    pub device: Device,
}

/// A new user, with an account of their own or in the one that invited them (I1).
pub async fn sign_up(app: &App, input: SignUp) -> Result<SignedIn> {
    let email = text::email(&input.email).map_err(|why| UserError::new(UserErrorCode::Invalid, why).at(["email"]))?;
    let name = text::name(&input.name, "name")?;
    let account_name = input.account_name.as_deref().map_or_else(|| Ok(name.clone()), |name| text::name(name, "accountName"))?;
    let username = input.username.as_deref().map(|username| text::username(username, "username")).transpose()?;
    passwords::check(&input.password, &[&name, &email.address], "password")?;
    let password_hash = app.hasher.hash(&input.password).await?;
    app.tx(async |tx| {
        let joined = match &input.invitation_token {
            Some(token) => Some(invitations::ops::pending_by_token(app, tx, token, "invitationToken").await?),
            None => None,
        };
        let user = insert_user(tx, &email, &name, username.clone(), &password_hash).await?;
        let event = tx.append(of_user(&user, EventKind::UserSignedUp), [user.id.into()]);
        let seat = match joined {
            Some(invitation) => {
                if invitation.email_key == user.email_key {
                    mark_verified(tx, &user, None).await?;
                }
                invitations::ops::join(tx, &user, invitation, "invitationToken").await?
            }
            None => accounts::ops::open(tx, &user, &account_name).await?,
        };
        // An accepted invitation's link has verified the address that it was sent to (I1).
        let user = find_user(tx, user.id).await?;
        if user.email_verified_at.is_none() {
            let to = (user.email.as_str(), user.email_key.as_str());
            tx.mail(&[Outgoing { kind: MailKind::VerifyEmail, event, subject: user.id.0, version: 0, to, user: Some(user.id) }])
                .await?;
        }
        begin_session(app, tx, user, Some(seat), &input.device).await
    })
    .await
}

fn of_user(user: &user::Model, kind: EventKind) -> Happening {
    Happening { kind, actor: Some(user.id), via: None, subject: user.id.0, change: None }
}

async fn insert_user(
    tx: &Tx,
    email: &Email,
    name: &str,
    username: Option<(String, String)>,
    password_hash: &str,
) -> Result<user::Model> {
    let taken = |field: &str, what: &str| {
        UserError::new(UserErrorCode::Taken, format!("This {what} is taken. Sign in, or take another one.")).at([field])
    };
    if exists(tx, "email_key", &email.key).await? {
        return Err(taken("email", "address").into());
    }
    let (username, username_key) = match username {
        Some((_, key)) if exists(tx, "username_key", &key).await? => return Err(taken("username", "username").into()),
        Some(chosen) => chosen,
        None => free_username(tx, name).await?,
    };
    let id: UserId = tx.id();
    tx.open_log(id.into()).await?;
    let user = user::Model {
        id,
        name: name.to_owned(),
        username,
        username_key,
        email: email.address.clone(),
        email_key: email.key.clone(),
        email_verified_at: None,
        password_hash: password_hash.to_owned(),
        last_account_id: None,
        created_at: tx.now(),
    };
    // Two who sign up at once with the same address: the database lets one in.
    let inserted = user::Entity::insert(user.clone().into_active_model()).exec_without_returning(tx.db()).await;
    inserted.on_taken(|| taken("email", "address or username").into())?;
    Ok(user)
}

async fn exists(tx: &Tx, column: &str, key: &str) -> Result<bool> {
    Ok(Sql::new(format!("SELECT count(*) FROM users WHERE {column} = ")).bind(key).count(tx.db()).await? > 0)
}

/// A username made of the name, with digits behind it where others have the same.
async fn free_username(tx: &Tx, name: &str) -> Result<(String, String)> {
    let words: Vec<String> =
        name.to_lowercase().split_whitespace().map(|word| word.chars().filter(char::is_ascii_alphanumeric).collect()).collect();
    let base: String = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(".").chars().take(30).collect();
    let base = if base.len() < 3 { "user".to_owned() } else { base };
    if !exists(tx, "username_key", &base).await? {
        return Ok((base.clone(), base));
    }
    // Of the clock's id only the random end, so that it tells nothing.
    let unique = format!("{base}.{:08x}", tx.id::<Uuid>().as_u128() & 0xffff_ffff);
    Ok((unique.clone(), unique))
}

/// The user of an id that is known to be one.
pub async fn find_user(tx: &Tx, id: UserId) -> Result<user::Model> {
    let found = select::<user::Entity>("u").push(" WHERE u.id = ").bind(id).one(tx.db(), model("u")).await?;
    found.ok_or_else(|| Fault::new(format!("no user {id}")).into())
}

async fn begin_session(app: &App, tx: &Tx, user: user::Model, seat: Option<Seat>, device: &Device) -> Result<SignedIn> {
    let session = session::Model {
        id: tx.id(),
        user_id: user.id,
        generation: 0,
        rotated_at: tx.now(),
        client: device.client,
        user_agent: device.user_agent.as_deref().map(|agent| agent.chars().filter(|c| !c.is_control()).take(200).collect()),
        account_id: seat.as_ref().map(|seat| seat.account.id),
        via_id: via(seat.as_ref()),
        created_at: tx.now(),
        last_used_at: tx.now(),
        ended_at: None,
    };
    session::Entity::insert(session.clone().into_active_model()).exec_without_returning(tx.db()).await?;
    remember_account(tx, user.id, session.account_id).await?;
    tx.append(
        Happening { kind: EventKind::SignedIn, subject: session.id.0, ..of_user(&user, EventKind::SignedIn) },
        [user.id.into()],
    );
    let refresh = refresh_token(&app.keys, session.id, session.generation);
    let credentials = credentials(app, &session, seat.as_ref(), tx.now(), Some(refresh))?;
    Ok(SignedIn { user, seat, credentials })
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

/// Proves that the mailbox is the user's.
///
/// Whoever signed up with an address that is not theirs must not stay signed in once its owner proves it, so every
/// session but the one that asks ends (I1).
pub async fn verify_email(app: &App, caller: &Caller, token: &str) -> Result<user::Model> {
    let invalid = || UserError::new(UserErrorCode::NotFound, "This link is not valid. Ask for a new one.").at(["token"]);
    let id = UserId(Keys::link_id(token).ok_or_else(invalid)?);
    if !app.keys.is_link(token, Purpose::VerifyEmail, id.0, 0) {
        return Err(invalid().into());
    }
    let session = caller.actor(app).await.ok().filter(|actor| actor.user.id == id).map(|actor| actor.session.id);
    app.tx(async |tx| {
        tx.hold(vec![id.into()]).await?;
        let user = select::<user::Entity>("u").push(" WHERE u.id = ").bind(id).one(tx.db(), model::<user::Model>("u")).await?;
        let user = user.ok_or_else(invalid)?;
        if user.email_verified_at.is_some() {
            // A link works once; for the user themself, opening it again is no mistake.
            if session.is_none() {
                let why = "This link was used already: the address is verified.";
                return Err(UserError::new(UserErrorCode::Expired, why).at(["token"]).into());
            }
            return Ok(user);
        }
        mark_verified(tx, &user, session).await?;
        find_user(tx, id).await
    })
    .await
}

/// Writes that the user's address is theirs, and ends every session but `keep`.
pub(crate) async fn mark_verified(tx: &Tx, user: &user::Model, keep: Option<SessionId>) -> Result<()> {
    Sql::new("UPDATE users SET email_verified_at = ").bind(tx.now()).push(" WHERE id = ").bind(user.id).run(tx.db()).await?;
    let end =
        Sql::new("UPDATE sessions SET ended_at = ").bind(tx.now()).push(" WHERE ended_at IS NULL AND user_id = ").bind(user.id);
    match keep {
        Some(keep) => end.push(" AND id <> ").bind(keep),
        None => end,
    }
    .run(tx.db())
    .await?;
    tx.append(of_user(user, EventKind::EmailVerified), [user.id.into()]);
    Ok(())
}

/// Who wants to sign in.
pub struct SignIn {
    /// Address or username.
    pub login: String,
    /// Password.
    pub password: String,
    /// Where to act; else where they last did.
    pub account: Option<AccountId>,
    /// Their device.
    pub device: Device,
}

/// Signs in. An unknown login and a wrong password give the same words after the same time (I5).
pub async fn sign_in(app: &App, input: SignIn) -> Result<SignedIn> {
    let (column, key) = match text::email(&input.login) {
        Ok(email) => ("email_key", email.key),
        Err(_) => ("username_key", input.login.trim().to_lowercase().replace('\0', "\u{fffd}")),
    };
    let sql = select::<user::Entity>("u").push(&format!(" WHERE u.{column} = ")).bind(key);
    let user: Option<user::Model> = sql.one(app.reader(), model("u")).await?;
    let fits = app.hasher.verify(&input.password, user.as_ref().map(|user| user.password_hash.as_str())).await?;
    let Some(user) = user.filter(|_| fits) else {
        return Err(UserError::new(UserErrorCode::WrongCredentials, "The login or the password is wrong.").into());
    };
    app.tx(async |tx| {
        tx.hold(vec![user.id.into()]).await?;
        let seat = match input.account {
            Some(account) => Some(way_in(tx, user.id, account, None).await?.ok_or_else(|| no_account("accountId"))?),
            None => usual_seat(tx, &user).await?,
        };
        begin_session(app, tx, user.clone(), seat, &input.device).await
    })
    .await
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
        "SELECT m.account_id FROM members m JOIN accounts a ON a.id = m.account_id WHERE a.status = 'active' AND m.user_id = ",
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
    let sql = Sql::new(format!("SELECT {}, c.agency_id AS agency FROM accounts a", *SEAT_COLUMNS));
    let sql = sql.push(" LEFT JOIN members m ON m.account_id = a.id AND m.user_id = ").bind(user);
    let sql = sql.push(" LEFT JOIN connections c ON c.client_id = a.id AND c.status = 'active'");
    let sql = sql.push(" LEFT JOIN accounts g ON g.id = c.agency_id AND g.status = 'active'");
    let sql = sql.push(" LEFT JOIN members am ON am.account_id = g.id AND am.user_id = ").bind(user);
    let sql = sql.push(" LEFT JOIN places p ON p.connection_id = c.id AND p.user_id = ").bind(user);
    // Of a client's many connections only those of the user's own agencies matter.
    let sql =
        sql.push(" WHERE a.status = 'active' AND a.id = ").bind(account).push(" AND (m.id IS NOT NULL OR am.id IS NOT NULL)");
    let ways = sql
        .all(tx.db(), |row| {
            let agency = row.try_get::<Option<AccountId>>("", "agency")?;
            let through = agency.map(|agency| Seat::of_row(row, Some(agency))).transpose()?.flatten();
            Ok((Seat::of_row(row, None)?, through))
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
                Refresh::Reuse => return end_session(tx, &session, EventKind::RefreshTokenReused, None).await.map(|()| None),
            }
            let user = find_user(tx, session.user_id).await?;
            let seat = seat_of_session(tx, &session, account).await?;
            save_use(tx, &mut session, seat.as_ref()).await?;
            let next = refresh_token(&app.keys, session.id, session.generation);
            let credentials = credentials(app, &session, seat.as_ref(), tx.now(), Some(next))?;
            Ok(Some(SignedIn { user, seat, credentials }))
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

async fn save_use(tx: &Tx, session: &mut session::Model, seat: Option<&Seat>) -> Result<()> {
    (session.account_id, session.via_id, session.last_used_at) = (seat.map(|seat| seat.account.id), via(seat), tx.now());
    let sql =
        Sql::new("UPDATE sessions SET generation = ").bind(session.generation).push(", rotated_at = ").bind(session.rotated_at);
    let sql = sql.push(", account_id = ").bind(session.account_id).push(", via_id = ").bind(session.via_id);
    sql.push(", last_used_at = ").bind(tx.now()).push(" WHERE id = ").bind(session.id).run(tx.db()).await?;
    Ok(())
}

async fn end_session(tx: &Tx, session: &session::Model, kind: EventKind, actor: Option<UserId>) -> Result<()> {
    Sql::new("UPDATE sessions SET ended_at = ").bind(tx.now()).push(" WHERE id = ").bind(session.id).run(tx.db()).await?;
    tx.append(Happening { kind, actor, via: None, subject: session.id.0, change: None }, [LogId::from(session.user_id)]);
    Ok(())
}

/// Ends the session that asks, for every later request and open socket (I3).
pub async fn sign_out(app: &App, caller: &Caller) -> Result<()> {
    app.tx(async |tx| {
        let actor = tx.actor(caller, Vec::new()).await?;
        end_session(tx, &actor.session, EventKind::SignedOut, Some(actor.user.id)).await
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
        let Actor { user, mut session, .. } = tx.actor(caller, Vec::new()).await?;
        let seat = way_in(tx, user.id, account, connection).await?;
        let field = if connection.is_some() { "connectionId" } else { "accountId" };
        let seat = seat.ok_or_else(|| no_account(field))?;
        save_use(tx, &mut session, Some(&seat)).await?;
        remember_account(tx, user.id, seat.via.is_none().then_some(seat.account.id).or(user.last_account_id)).await?;
        let credentials = credentials(app, &session, Some(&seat), tx.now(), None)?;
        Ok(SignedIn { user, seat: Some(seat), credentials })
    })
    .await
}

/// Refuses what asks for a verified address (I1).
pub fn needs_verified_email(user: &user::Model) -> Result<()> {
    if user.email_verified_at.is_some() {
        return Ok(());
    }
    let how = "Verify your e-mail address first: open the link in the mail that was sent when you signed up.";
    Err(UserError::new(UserErrorCode::EmailNotVerified, how).into())
}

/// How long a link to verify an address is said to work.
pub const VERIFICATION_TTL: TimeDelta = TimeDelta::days(7);

/// The level that a seat gives, for tokens and answers.
pub fn level_of(seat: Option<&Seat>) -> Option<UserLevel> {
    seat.map(|seat| seat.level)
}
