//! Proving who one is, once more or in another way: a link to a new password, a changed one, and the proof that I7 asks for.

use super::{
    address::{address_of_link, forget_change, mark_verified},
    ops::{end_sessions, find_user},
    rules::{Method, methods},
    throttle::{Secret, Tried, Whom},
    two_factor::{takes, watched, wrong_code},
    void::Setup,
};
use crate::{
    actor::Caller,
    api_keys::ops::OwnKeys,
    app::{App, Happening, Outgoing, Tx},
    db::{Sql, by_id, model, select},
    error::{Result, UserError, UserErrorCode},
    events::security::NewSecurityEvent,
    grants::FRESH,
    keys::{Keys, Purpose},
    text,
};
use chrono::TimeDelta;
use entity::{
    Moment, SessionId, UserId,
    event::EventKind,
    mail::MailKind,
    security_event::{SecurityEventKind, SecurityOutcome},
    user,
};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};
use uuid::Uuid;

/// How long a link to a new password works.
pub const RESET_TTL: TimeDelta = TimeDelta::hours(1);

/// How long the answer to who asks for a link takes at least: longer than what is done for it.
const ANSWERED_AFTER: Duration = Duration::from_millis(25);

/// Whose password reset is requested.
pub enum ResetFor<'a> {
    /// The user of this address.
    Address(&'a str),
    /// The user of a link that verifies an address or stops a change of it. The e-mail goes to the login's address.
    Link(&'a str),
}

/// Sends a link to a new password, if the address is somebody's. Who asks learns nothing, not even by the time it takes: a mail is
/// put into the outbox in any case, one that nobody is there for is not sent, and the little that differs is waited out (I5).
pub async fn request_reset(app: &App, caller: &Caller, named: ResetFor<'_>) -> Result<()> {
    let _counted = app.throttle.from(Tried::Mail, caller.address())?;
    let answered_at = Instant::now() + ANSWERED_AFTER;
    let email = match named {
        ResetFor::Address(address) => text::email(address).ok(),
        ResetFor::Link(token) => address_of_link(app, token).await?,
    };
    let Some(email) = email else { return Ok(()) };
    let done = app.tx(async |tx| {
        let find = select::<user::Entity>("u").push(" WHERE u.email_key = ").bind(email.key.as_str());
        let user: Option<user::Model> = find.one(tx.db(), model("u")).await?;
        let (subject, version) = user.as_ref().map_or((tx.id::<Uuid>(), 0), |user| (user.id.0, user.reset_version));
        // In no log, so that a user's log does not cost more than nobody's. The user sees it among the security events.
        let event = tx.append(Happening::by_itself(EventKind::PasswordResetRequested, subject), None);
        let to = user.as_ref().map_or((email.address.as_str(), email.key.as_str()), |user| (&user.email, &user.email_key));
        let user = user.as_ref().map(|user| user.id);
        if let Some(user) = user {
            let requested = NewSecurityEvent::new(SecurityEventKind::PasswordResetRequested, SecurityOutcome::Success);
            tx.note(requested.of_user(user));
        }
        tx.mail_link(caller.address(), Outgoing { kind: MailKind::ResetPassword, event, subject, version, to, user }).await
    });
    let done = done.await;
    sleep_until(answered_at).await;
    done
}

/// Sends an e-mail that anybody may request: limited per network, and answered after the same time whatever comes of it.
pub(super) async fn answered_evenly(app: &App, caller: &Caller, send: impl Future<Output = Result<()>>) -> Result<()> {
    let _counted = app.throttle.from(Tried::Mail, caller.address())?;
    let answered_at = Instant::now() + ANSWERED_AFTER;
    let done = send.await;
    sleep_until(answered_at).await;
    done
}

/// Takes another password by the link in a mail, and ends all sessions. It gives none, so that two-factor still stands in the
/// way. For an unverified user it voids everything that was set up before, since a stranger may have done that, and verifies the
/// address (I1).
pub async fn reset(app: &App, token: &str, password: &str, delete_api_keys: bool) -> Result<user::Model> {
    let invalid = || UserError::new(UserErrorCode::NotFound, "This link is not valid. Ask for a new one.").at(["token"]);
    let over = || UserError::new(UserErrorCode::Expired, "This link was used or is too old. Ask for a new one.").at(["token"]);
    let link = Keys::read_timed_link(token).ok_or_else(invalid)?;
    let user: user::Model = by_id::<user::Entity>(app.reader(), link.id).await?.ok_or_else(invalid)?;
    let is_of = |version| app.keys.is_timed_link(&link, Purpose::ResetPassword, version);
    // One that was used once is still known as ours.
    if !(user.reset_version.saturating_sub(REMEMBERED)..=user.reset_version).any(is_of) {
        return Err(invalid().into());
    }
    if !is_of(user.reset_version) || link.is_over(app.now()) {
        return Err(over().into());
    }
    app.hasher.check(password, &[&user.name, &user.email], "password").await?;
    let hash = app.hasher.hash(password).await?;
    app.tx(async |tx| {
        let setup = Setup::find(tx, &user).await?;
        let keys = OwnKeys::find(tx, user.id, delete_api_keys).await?;
        tx.hold(setup.logs().into_iter().chain(keys.logs()).collect()).await?;
        let user = find_user(tx, user.id).await?;
        if !is_of(user.reset_version) {
            return Err(over().into());
        }
        let deleted = keys.delete(tx).await?;
        if user.email_verified_at.is_none() {
            setup.void(tx, &user).await?;
            mark_verified(tx, user.id).await?;
        }
        set_password(tx, user.id, &hash).await?;
        // The link is used up. A mere change of the password leaves it: whoever made that change may not be the user.
        let sql = Sql::new("UPDATE users SET reset_version = reset_version + 1 WHERE id = ").bind(user.id);
        sql.run(tx.db()).await?;
        changed(tx, &user, ended(EventKind::PasswordReset, user.id.0, &user, deleted), None).await?;
        find_user(tx, user.id).await
    })
    .await
}

/// How many links before the present one are told from those that never were.
const REMEMBERED: i64 = 10;

/// A change of password.
#[derive(Clone, Copy)]
pub struct NewPassword<'a> {
    /// The password until now.
    pub current: &'a str,
    /// The password from now on.
    pub new: &'a str,
    /// Whether to delete the user's API keys too.
    pub delete_api_keys: bool,
}

/// Takes another password, and ends all other sessions (I3, I7).
pub async fn change_password(app: &App, caller: &Caller, input: NewPassword<'_>) -> Result<user::Model> {
    let NewPassword { current, new, delete_api_keys } = input;
    let actor = caller.actor(app).await?;
    actor.proved_lately(app.now())?;
    let known = &actor.user.password_hash;
    let whom = Whom::once_more(actor.session()?, Secret::Password);
    let attempt = app.throttle.secret(whom, caller.address())?;
    let (fits, attempt) = attempt.of(app.hasher.verify(current, Some(known)).await)?;
    let wrong = || UserError::new(UserErrorCode::WrongCredentials, "This is not your password.").at(["currentPassword"]);
    if !fits {
        return Err(wrong().into());
    }
    attempt.succeeded();
    app.hasher.check(new, &[&actor.user.name, &actor.user.email], "newPassword").await?;
    let hash = app.hasher.hash(new).await?;
    app.tx(async |tx| {
        let keys = OwnKeys::find(tx, actor.user.id, delete_api_keys).await?;
        let actor = tx.proven(caller, keys.logs()).await?;
        if actor.user.password_hash != *known {
            return Err(wrong().into());
        }
        set_password(tx, actor.user.id, &hash).await?;
        let deleted = keys.delete(tx).await?;
        let change = ended(EventKind::PasswordChanged, actor.user.id.0, &actor.user, deleted);
        changed(tx, &actor.user, change, Some(actor.session()?.id)).await?;
        find_user(tx, actor.user.id).await
    })
    .await
}

async fn set_password(tx: &Tx, user: UserId, hash: &str) -> Result<()> {
    let sql = Sql::new("UPDATE users SET password_hash = ").bind(hash);
    sql.push(" WHERE id = ").bind(user).run(tx.db()).await?;
    // Whoever knew the former one may have begun to take the login elsewhere.
    forget_change(tx, user).await
}

/// Before the number of API keys that were deleted, in the event of what deleted them.
pub const DELETED_KEYS: &str = "API keys deleted: ";

/// The event of a user who ends their sessions. The e-mail about it reads there how many API keys were deleted.
fn ended(kind: EventKind, subject: Uuid, user: &user::Model, deleted: usize) -> Happening {
    let what = Happening::by(user.id, None, kind, subject);
    if deleted > 0 { what.to(format!("{DELETED_KEYS}{deleted}")) } else { what }
}

async fn changed(tx: &Tx, user: &user::Model, what: Happening, keep: Option<SessionId>) -> Result<()> {
    end_sessions(tx, user.id, keep).await?;
    let event = tx.append(what, [user.id.into()]);
    tx.mail(&[Outgoing::to_user(user, MailKind::PasswordChanged, event, user.id.0)]).await
}

/// Ends all sessions of the user but the calling one, and e-mails them about it.
pub async fn revoke_other_sessions(app: &App, caller: &Caller, delete_api_keys: bool) -> Result<()> {
    let user = caller.actor(app).await?.user.id;
    app.tx(async |tx| {
        let keys = OwnKeys::find(tx, user, delete_api_keys).await?;
        let actor = tx.person(caller, keys.logs()).await?;
        let own = actor.session()?.id;
        let deleted = keys.delete(tx).await?;
        end_sessions(tx, user, Some(own)).await?;
        let what = ended(EventKind::OtherSessionsRevoked, own.0, &actor.user, deleted);
        let event = tx.append(what, [user.into()]);
        tx.mail(&[Outgoing::to_user(&actor.user, MailKind::SessionsRevoked, event, own.0)]).await
    })
    .await
}

/// Proves once more who one is, by password or by a code. Answers until when that counts (I7).
pub async fn reauthenticate(app: &App, caller: &Caller, password: Option<&str>, code: Option<&str>) -> Result<Moment> {
    let actor = caller.actor(app).await?;
    actor.session()?;
    if password.is_none() && code.is_none() {
        return Err(UserError::new(UserErrorCode::Invalid, "Give your password, or a two-factor code.").at(["password"]).into());
    }
    let known = &actor.user.password_hash;
    let wrong = || UserError::new(UserErrorCode::WrongCredentials, "This is not your password.").at(["password"]);
    if let Some(password) = password {
        let whom = Whom::once_more(actor.session()?, Secret::Password);
        let attempt = app.throttle.secret(whom, caller.address())?;
        let (fits, attempt) = attempt.of(app.hasher.verify(password, Some(known)).await)?;
        if !fits {
            return Err(wrong().into());
        }
        attempt.succeeded();
    }
    let attempt = match code {
        Some(_) => Some(app.throttle.secret(Whom::once_more(actor.session()?, Secret::Code), caller.address())?),
        None => None,
    };
    let done = app
        .tx(async |tx| {
            let actor = tx.person(caller, Vec::new()).await?;
            if password.is_some() && actor.user.password_hash != *known {
                return Err(wrong().into());
            }
            if let Some(code) = code
                && (actor.user.two_factor_since.is_none() || !takes(app, tx, &actor.user, code).await?)
            {
                return Err(wrong_code("code").into());
            }
            let given = [password.map(|_| Method::Password), code.map(|_| Method::Code)];
            let given: Vec<_> = given.into_iter().flatten().collect();
            let sql =
                Sql::new("UPDATE sessions SET authenticated_at = ").bind(tx.now()).push(", methods = ").bind(methods(&given));
            sql.push(" WHERE id = ").bind(actor.session()?.id).run(tx.db()).await?;
            Ok(tx.now() + FRESH)
        })
        .await;
    let done = watched(app, actor.user.id, done).await;
    match attempt {
        Some(attempt) => attempt.unless_wrong(done),
        None => done,
    }
}
