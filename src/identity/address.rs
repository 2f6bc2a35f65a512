//! Addresses: proving that a mailbox is one's own, another link for that, and another address (I1).

use super::{
    ops::{end_sessions, find_user},
    rules::resend_at,
    two_factor,
};
use crate::{
    actor::Caller,
    api_keys,
    app::{App, Happening, Outgoing, Tx},
    db::{OnTaken, Sql, by_id},
    error::{Result, UserError, UserErrorCode},
    keys::{Keys, Purpose},
    text::{self, Email},
};
use chrono::TimeDelta;
use entity::{Moment, SessionId, UserId, event::EventKind, mail::MailKind, user};

/// How many links before the present one are told from those that never were.
const REMEMBERED: i64 = 10;

/// Proves that the mailbox is the user's: of the address they signed up with, or of the one that they change to.
///
/// Whoever signed up with an address that is not theirs must not stay signed in once its owner proves it, so every
/// session but the one that asks ends (I1).
pub async fn verify_email(app: &App, caller: &Caller, token: &str) -> Result<user::Model> {
    let invalid = || UserError::new(UserErrorCode::NotFound, "This link is not valid. Ask for a new one.").at(["token"]);
    let expired = |why: &str| UserError::new(UserErrorCode::Expired, why).at(["token"]);
    let link = Keys::read_timed_link(token).ok_or_else(invalid)?;
    let id = UserId(link.id);
    let session = caller.actor(app).await.ok().filter(|actor| actor.user.id == id);
    let session = session.and_then(|actor| actor.session().ok().map(|session| session.id));
    let is_of = |version| app.keys.is_timed_link(&link, Purpose::VerifyEmail, version);
    app.tx(async |tx| {
        tx.hold(vec![id.into()]).await?;
        let user = by_id::<user::Entity>(tx.db(), id).await?.ok_or_else(invalid)?;
        if !(user.email_version.saturating_sub(REMEMBERED)..=user.email_version).any(is_of) {
            return Err(invalid().into());
        }
        if !is_of(user.email_version) {
            return Err(expired("There is a newer link than this one.").into());
        }
        let change = user.pending_email.clone().zip(user.pending_email_key.clone());
        if change.is_none() && user.email_verified_at.is_some() {
            // A link works once; for the user themself, opening it again is no mistake.
            if session.is_none() {
                return Err(expired("This link was used already: the address is verified.").into());
            }
            return Ok(user);
        }
        if link.is_over(tx.now()) {
            return Err(expired("This link is too old. Ask for a new one.").into());
        }
        if let Some((address, key)) = change {
            take_address(tx, &user, Email { address, key }).await?;
        }
        if user.email_verified_at.is_none() {
            mark_verified(tx, &find_user(tx, id).await?, session).await?;
        }
        find_user(tx, id).await
    })
    .await
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

/// Writes that the user's address is theirs, and ends every session but `keep`. Where no session asks, whoever set things up here
/// may be somebody else: their API keys and two-factor end too (I1).
pub(crate) async fn mark_verified(tx: &Tx, user: &user::Model, keep: Option<SessionId>) -> Result<()> {
    Sql::new("UPDATE users SET email_verified_at = ").bind(tx.now()).push(" WHERE id = ").bind(user.id).run(tx.db()).await?;
    forget_change(tx, user.id).await?;
    end_sessions(tx, user.id, keep).await?;
    if keep.is_none() {
        api_keys::ops::delete_of_user(tx, user.id).await?;
        two_factor::switch_off(tx, user.id).await?;
    }
    tx.append(Happening::by(user.id, None, EventKind::EmailVerified, user.id.0), [user.id.into()]);
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
        send_link(tx, user, event).await
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
            send_link(tx, &user, event).await?;
        }
        Ok(user)
    })
    .await
}

/// Puts a link into the outbox that verifies the address which is to be verified.
pub async fn send_link(tx: &Tx, user: &user::Model, event: entity::EventId) -> Result<()> {
    let pending = user.pending_email.as_deref().zip(user.pending_email_key.as_deref());
    let to = pending.unwrap_or((&user.email, &user.email_key));
    let link = Outgoing { to, version: user.email_version, ..Outgoing::to_user(user, MailKind::VerifyEmail, event, user.id.0) };
    tx.mail(&[link]).await
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
