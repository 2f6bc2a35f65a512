//! Addresses: proving that a mailbox is the user's, resending that link, and changing or keeping the address (I1).

use super::{
    ops::find_user,
    rules::resend_at,
    throttle::{Secret, Whom},
};
use crate::{
    actor::{Caller, Seat},
    app::{App, Happening, Outgoing, Tx},
    db::{OnTaken, Sql, by_id},
    error::{Denied, Error, Result, UserError, UserErrorCode},
    invitations,
    keys::{Keys, Purpose, TimedLink},
    text::{self, Email},
};
use chrono::TimeDelta;
use entity::{LogId, Moment, SessionId, UserId, event::EventKind, mail::MailKind, user};

/// How many links before the present one are told from those that never were.
const REMEMBERED: i64 = 10;

/// What a verification changed.
pub struct Verified {
    /// The user, with the verified address.
    pub user: user::Model,
    /// The account of the Admin invitation that the user signed up with, or why they can't join it. `None` without such an invitation.
    pub joined: Option<Result<Seat, UserError>>,
}

/// What shows that the person with the link also set up the login (I1).
enum Proof {
    /// The request is sent with this session of the user.
    Session(SessionId),
    /// The request contains the password.
    Password,
}

/// Verifies the address that the user signed up with or changes to.
///
/// The link shows only that its bearer reads the mailbox. A stranger may have set up the login with a password of their own. So
/// the user's own session or the password is required too; without either, nothing changes (I1).
pub async fn verify_email(app: &App, caller: &Caller, token: &str, password: Option<&str>) -> Result<Verified> {
    let link = Keys::read_timed_link(token).ok_or_else(invalid)?;
    let user = by_id::<user::Entity>(app.reader(), link.id).await?.ok_or_else(invalid)?;
    let session = own_session(app, caller, user.id).await?;
    if !is_unused(app, &link, &user, app.now())? {
        // For the user, opening a link again is no mistake.
        return if session.is_some() { Ok(Verified { user, joined: None }) } else { Err(used().into()) };
    }
    let proof = match (session, password) {
        (Some(session), _) => Proof::Session(session),
        (None, Some(password)) => password_of(app, caller, &user, password).await?,
        (None, None) => return Err(password_required().into()),
    };
    let claimed = invitations::ops::account_of_claim(app, &user).await?.map(LogId::from);
    app.tx(async |tx| {
        tx.hold(claimed.into_iter().chain([user.id.into()]).collect()).await?;
        let now = find_user(tx, user.id).await?;
        if !is_unused(app, &link, &now, tx.now())? {
            return Ok(Verified { user: now, joined: None });
        }
        if !proof.still_holds(tx, &user, &now).await? {
            return Err(password_required().into());
        }
        confirm(tx, &now).await
    })
    .await
}

fn invalid() -> UserError {
    UserError::new(UserErrorCode::NotFound, "This link is not valid. Request a new one.").at(["token"])
}

fn expired(why: &str) -> UserError {
    UserError::new(UserErrorCode::Expired, why).at(["token"])
}

fn used() -> UserError {
    expired("This link was used already: the address is verified. Sign in.")
}

fn password_required() -> UserError {
    let why = "The link alone does not verify the address. Enter the password of the login, or send the request with the user's own \
               session. If you did not choose a password, request a password reset for this address.";
    UserError::new(UserErrorCode::PasswordRequired, why).at(["password"])
}

/// Whether a link can still verify an address. `false` when it has done so; an error when it never could, or can't any more.
fn is_unused(app: &App, link: &TimedLink, user: &user::Model, now: Moment) -> Result<bool, UserError> {
    version_of(app, link, Purpose::VerifyEmail, user)?;
    if user.pending_email.is_none() && user.email_verified_at.is_some() {
        return Ok(false);
    }
    if link.is_over(now) {
        return Err(expired("This link has expired. Request a new one."));
    }
    Ok(true)
}

/// Refuses a link that is not the user's latest one for a purpose.
fn version_of(app: &App, link: &TimedLink, purpose: Purpose, user: &user::Model) -> Result<(), UserError> {
    let is_of = |version| app.keys.is_timed_link(link, purpose, version);
    if !(user.email_version.saturating_sub(REMEMBERED)..=user.email_version).any(is_of) {
        return Err(invalid());
    }
    if !is_of(user.email_version) {
        return Err(expired("This link was used, or there is a newer one."));
    }
    Ok(())
}

/// The session that a request is sent with, if it is this user's. A stale Authorization header and an API key don't count.
async fn own_session(app: &App, caller: &Caller, user: UserId) -> Result<Option<SessionId>> {
    match caller.actor(app).await {
        Ok(actor) if actor.user.id == user => Ok(actor.session().ok().map(|session| session.id)),
        Ok(_) | Err(Error::Denied(Denied::Unauthenticated(_))) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Compares the password. Wrong ones are slowed down: only who reads the mailbox can try any here (I5).
async fn password_of(app: &App, caller: &Caller, user: &user::Model, password: &str) -> Result<Proof> {
    let attempt = app.throttle.secret(Whom::Link(user.id, Secret::Password), caller.address())?;
    let (fits, attempt) = attempt.of(app.hasher.verify(password, Some(&user.password_hash)).await)?;
    if !fits {
        let why = "This is not the password of the login. If you did not choose one, request a password reset for this address.";
        return Err(UserError::new(UserErrorCode::WrongCredentials, why).at(["password"]).into());
    }
    attempt.succeeded();
    Ok(Proof::Password)
}

impl Proof {
    /// Whether it counts inside the transaction too: the session may have ended, and the password changed.
    async fn still_holds(&self, tx: &Tx, before: &user::Model, now: &user::Model) -> Result<bool> {
        match self {
            Self::Password => Ok(before.password_hash == now.password_hash),
            Self::Session(id) => {
                let live = Sql::new("SELECT count(*) FROM sessions WHERE ended_at IS NULL AND id = ").bind(*id);
                Ok(live.count(tx.db()).await? == 1)
            }
        }
    }
}

/// Makes the address verified, and lets the user join by the Admin invitation that they signed up with. Who calls holds the
/// user's log and the log of that invitation's account.
async fn confirm(tx: &Tx, user: &user::Model) -> Result<Verified> {
    if let Some((address, key)) = user.pending_email.clone().zip(user.pending_email_key.clone()) {
        take_address(tx, user, Email { address, key }).await?;
    }
    let claim = user.claimed_invitation_id.filter(|_| user.email_verified_at.is_none());
    if user.email_verified_at.is_none() {
        mark_verified(tx, user.id).await?;
    }
    let user = find_user(tx, user.id).await?;
    let joined = match claim {
        Some(claim) => Some(invitations::ops::join_by_claim(tx, &user, claim).await?),
        None => None,
    };
    Ok(Verified { user, joined })
}

/// Makes the address that was proved the user's, and tells the former one.
async fn take_address(tx: &Tx, user: &user::Model, email: Email) -> Result<()> {
    // Links to a new password that went to the former address are dead too.
    let sql =
        Sql::new("UPDATE users SET pending_email = NULL, pending_email_key = NULL, reset_version = reset_version + 1, email = ");
    let sql = sql.bind(email.address);
    let sql = sql.push(", email_key = ").bind(email.key).push(" WHERE id = ").bind(user.id);
    // Whoever holds the link has the mailbox, so that this tells no stranger anything.
    let taken = || UserError::new(UserErrorCode::Taken, "Another user has this address by now.").at(["token"]);
    sql.run_raw(tx.db()).await.on_taken(|_| taken().into())?;
    let event = tx.append(Happening::by(user.id, None, EventKind::EmailChanged, user.id.0), [user.id.into()]);
    if user.email_verified_at.is_some() {
        tx.mail(&[Outgoing::to_user(user, MailKind::EmailChanged, event, user.id.0)]).await?;
    }
    Ok(())
}

/// Writes that the user's address is verified. A pending change of it and a claimed invitation are over.
pub(crate) async fn mark_verified(tx: &Tx, user: UserId) -> Result<()> {
    let sql = Sql::new("UPDATE users SET claimed_invitation_id = NULL, email_verified_at = ").bind(tx.now());
    sql.push(" WHERE id = ").bind(user).run(tx.db()).await?;
    forget_change(tx, user).await?;
    tx.append(Happening::by(user, None, EventKind::EmailVerified, user.0), [user.into()]);
    Ok(())
}

/// Ends a change to another address that was begun, and the link that would end it.
pub(crate) async fn forget_change(tx: &Tx, user: UserId) -> Result<()> {
    let sql = Sql::new("UPDATE users SET pending_email = NULL, pending_email_key = NULL, email_version = email_version + 1");
    sql.push(" WHERE pending_email IS NOT NULL AND id = ").bind(user).run(tx.db()).await?;
    Ok(())
}

/// Sends the link once more: to the address that the user changes to, if they do, else to theirs.
pub async fn resend_verification(app: &App, caller: &Caller) -> Result<()> {
    app.tx(async |tx| {
        let actor = tx.person(caller, Vec::new()).await?;
        let user = &actor.user;
        if user.pending_email.is_none() && user.email_verified_at.is_some() {
            return Err(UserError::new(UserErrorCode::AlreadyDecided, "Your address is verified already.").into());
        }
        not_too_soon(tx, user.id, app.config.resend_interval).await?;
        let event = tx.append(actor.did(EventKind::VerificationResent, user.id.0), [user.id.into()]);
        send_link(tx, caller, user, event).await
    })
    .await
}

/// Asks to take another address, which has to be verified first. Says nothing of whether it is somebody's (I1, I7).
pub async fn change_email(app: &App, caller: &Caller, email: &str) -> Result<user::Model> {
    app.tx(async |tx| {
        let actor = tx.proven(caller, Vec::new()).await?;
        let user = &actor.user;
        let email = text::email(email).map_err(|why| UserError::new(UserErrorCode::Invalid, why).at(["email"]))?;
        if email.key == user.email_key && user.pending_email.is_none() {
            return Err(UserError::new(UserErrorCode::Invalid, "This is your address already.").at(["email"]).into());
        }
        not_too_soon(tx, user.id, TimeDelta::zero()).await?;
        // Back to the address that one has, nothing is pending; the links to others are dead in any case.
        let pending = (email.key != user.email_key).then_some(email);
        let sql = Sql::new("UPDATE users SET email_version = email_version + 1, pending_email = ");
        let sql = sql.bind(pending.as_ref().map(|email| email.address.clone())).push(", pending_email_key = ");
        let sql = sql.bind(pending.as_ref().map(|email| email.key.clone())).push(" WHERE id = ").bind(user.id);
        sql.run(tx.db()).await?;
        let event = tx.append(actor.did(EventKind::EmailChangeRequested, user.id.0), [user.id.into()]);
        let user = find_user(tx, user.id).await?;
        if pending.is_some() || user.email_verified_at.is_none() {
            send_link(tx, caller, &user, event).await?;
        }
        // An address that is not verified may be a stranger's, who must not decide over this login.
        if pending.is_some() && user.email_verified_at.is_some() {
            let offer = Outgoing::to_user(&user, MailKind::EmailChangeRequested, event, user.id.0);
            tx.mail(&[Outgoing { version: user.email_version, ..offer }]).await?;
        }
        Ok(user)
    })
    .await
}

/// Stops a pending change of address with the link that was sent to the present address (I1).
pub async fn stop_change(app: &App, token: &str) -> Result<()> {
    let link = Keys::read_timed_link(token).ok_or_else(invalid)?;
    let id = UserId(link.id);
    app.tx(async |tx| {
        tx.hold(vec![id.into()]).await?;
        let user = by_id::<user::Entity>(tx.db(), id).await?.ok_or_else(invalid)?;
        version_of(app, &link, Purpose::StopEmailChange, &user)?;
        if user.pending_email.is_none() {
            let why = "The change is complete: the login has another address now, and this link can't undo that. If you did not \
                       change it, ask the operator of this service for help.";
            return Err(UserError::new(UserErrorCode::AlreadyDecided, why).at(["token"]).into());
        }
        if link.is_over(tx.now()) {
            return Err(expired("This link has expired, and so has the change that it was about. Nothing changed.").into());
        }
        forget_change(tx, id).await?;
        tx.append(Happening::by_itself(EventKind::EmailChangeStopped, id.0), [id.into()]);
        Ok(())
    })
    .await
}

/// The address that a password reset goes to when it is requested with the link of a verification or of a stopped change.
///
/// `None` for the link of a pending change: it went to an address that is not the login's.
pub(super) async fn address_of_link(app: &App, token: &str) -> Result<Option<Email>> {
    let Some(link) = Keys::read_timed_link(token).filter(|link| !link.is_over(app.now())) else { return Ok(None) };
    let Some(user) = by_id::<user::Entity>(app.reader(), link.id).await? else { return Ok(None) };
    let recent = || user.email_version.saturating_sub(REMEMBERED)..=user.email_version;
    let is_of = |purpose| recent().any(|version| app.keys.is_timed_link(&link, purpose, version));
    let complete = user.pending_email.is_none() && app.keys.is_timed_link(&link, Purpose::StopEmailChange, user.email_version);
    let goes = match user.email_verified_at {
        None => is_of(Purpose::VerifyEmail),
        Some(_) => is_of(Purpose::StopEmailChange) && !complete,
    };
    Ok(goes.then_some(Email { address: user.email, key: user.email_key }))
}

/// Puts a link into the outbox that verifies the address which is to be verified.
pub async fn send_link(tx: &Tx, caller: &Caller, user: &user::Model, event: entity::EventId) -> Result<()> {
    let pending = user.pending_email.as_deref().zip(user.pending_email_key.as_deref());
    let to = pending.unwrap_or((&user.email, &user.email_key));
    let link = Outgoing { to, version: user.email_version, ..Outgoing::to_user(user, MailKind::VerifyEmail, event, user.id.0) };
    tx.mail_link(caller.address(), link).await
}

/// Refuses a link so soon after the last one, or the sixth in a day.
async fn not_too_soon(tx: &Tx, user: UserId, interval: TimeDelta) -> Result<()> {
    let sent = Sql::new("SELECT created_at FROM mails WHERE kind = ").bind(MailKind::VerifyEmail).push(" AND subject_id = ");
    let sent = sent.bind(user).push(" ORDER BY created_at DESC LIMIT 5");
    let sent: Vec<Moment> = sent.all(tx.db(), |row| row.try_get_by_index(0)).await?;
    match resend_at(&sent, interval).filter(|at| *at > tx.now()) {
        None => Ok(()),
        Some(at) => {
            let why = "The last e-mail was sent a moment ago, or there were five in a day. Look for it among the unwanted ones.";
            Err(UserError::new(UserErrorCode::ResendTooSoon, why).retry_at(at).into())
        }
    }
}
