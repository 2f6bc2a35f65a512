//! Two-factor: switching it on and off, and what counts as the second factor (I4).
//!
//! The secret is made of the server's own and kept nowhere; a code counts once, since the time step of the last one is kept. Of
//! recovery codes only hashes are, and one that was used is gone.

use super::{
    throttle::{Secret, Whom},
    totp::{self, Code, Device},
};
use crate::{
    actor::Caller,
    app::{App, Happening, Outgoing, Tx},
    db::{Sql, insert_all},
    error::{Error, Fault, Result, UserError, UserErrorCode},
    keys::Purpose,
};
use entity::{UserId, event::EventKind, mail::MailKind, recovery_code, user};
use sea_orm::IntoActiveModel;

/// What a device has to know to make codes.
#[derive(Debug)]
pub struct Enrolment {
    /// To be typed.
    pub secret: String,
    /// All of it.
    pub uri: String,
    /// The same, for a camera.
    pub qr_code: String,
}

fn device(app: &App, user: &user::Model) -> Result<Device> {
    let secret = app.keys.derived(Purpose::TwoFactor, user.id.0, user.two_factor_version);
    // Codes are shown under the name of the host that people know.
    let host = app.app_url.split("://").last().unwrap_or_default().split(['/', ':']).next().unwrap_or_default();
    Device::new(secret, host, &user.email).map_err(|error| Fault::new(error.to_string()).into())
}

/// Makes a new secret. Nothing asks for its codes before one of them was given (I7).
pub async fn begin(app: &App, caller: &Caller) -> Result<Enrolment> {
    let user = app
        .tx(async |tx| {
            let mut user = tx.proven(caller, Vec::new()).await?.user;
            if user.two_factor_since.is_some() {
                return Err(UserError::new(UserErrorCode::Invalid, "Two-factor is on already: disable it first.").into());
            }
            user.two_factor_version += 1;
            // The codes of another secret are others, so that none of them was used yet.
            let sql = Sql::new("UPDATE users SET two_factor_step = 0, two_factor_version = ").bind(user.two_factor_version);
            sql.push(" WHERE id = ").bind(user.id).run(tx.db()).await?;
            Ok(user)
        })
        .await?;
    let device = device(app, &user)?;
    let uri = device.uri().map_err(|error| Fault::new(error.to_string()))?;
    let qr_code = totp::qr_code(&uri).map_err(|error| Fault::new(error.to_string()))?;
    Ok(Enrolment { secret: device.secret(), uri, qr_code })
}

/// Switches two-factor on, once a code shows that the device has the secret. Answers the recovery codes (I7).
pub async fn confirm(app: &App, caller: &Caller, code: &str) -> Result<Vec<String>> {
    let asks = caller.actor(app).await?;
    let attempt = app.throttle.secret(Whom::once_more(asks.session()?, Secret::Code), caller.address())?;
    let done = app
        .tx(async |tx| {
            let actor = tx.proven(caller, Vec::new()).await?;
            let user = &actor.user;
            if user.two_factor_since.is_some() || user.two_factor_version == 0 {
                let why = if user.two_factor_since.is_some() { "Two-factor is on already." } else { "Use beginTwoFactor first." };
                return Err(UserError::new(UserErrorCode::Invalid, why).into());
            }
            if !takes_code(app, tx, user, code).await? {
                return Err(wrong_code("code").into());
            }
            Sql::new("UPDATE users SET two_factor_since = ")
                .bind(tx.now())
                .push(" WHERE id = ")
                .bind(user.id)
                .run(tx.db())
                .await?;
            told(tx, user, actor.did(EventKind::TwoFactorEnabled, user.id.0)).await?;
            new_codes(tx, user.id).await
        })
        .await;
    attempt.unless_wrong(done)
}

/// Switches two-factor off. Asks for a code (I7).
pub async fn disable(app: &App, caller: &Caller, code: &str) -> Result<()> {
    let asks = caller.actor(app).await?;
    let attempt = app.throttle.secret(Whom::once_more(asks.session()?, Secret::Code), caller.address())?;
    let done = app
        .tx(async |tx| {
            let actor = tx.proven(caller, Vec::new()).await?;
            is_on(&actor.user)?;
            if !takes(app, tx, &actor.user, code).await? {
                return Err(wrong_code("code").into());
            }
            switch_off(tx, actor.user.id).await?;
            told(tx, &actor.user, actor.did(EventKind::TwoFactorDisabled, actor.user.id.0)).await
        })
        .await;
    attempt.unless_wrong(watched(app, asks.user.id, done).await)
}

/// Makes new recovery codes in the place of all before. Asks for a code (I7).
pub async fn regenerate(app: &App, caller: &Caller, code: &str) -> Result<Vec<String>> {
    let asks = caller.actor(app).await?;
    let attempt = app.throttle.secret(Whom::once_more(asks.session()?, Secret::Code), caller.address())?;
    let done = app
        .tx(async |tx| {
            let actor = tx.proven(caller, Vec::new()).await?;
            is_on(&actor.user)?;
            if !takes(app, tx, &actor.user, code).await? {
                return Err(wrong_code("code").into());
            }
            told(tx, &actor.user, actor.did(EventKind::RecoveryCodesRegenerated, actor.user.id.0)).await?;
            new_codes(tx, actor.user.id).await
        })
        .await;
    attempt.unless_wrong(watched(app, asks.user.id, done).await)
}

/// Switches somebody's two-factor off as the operator, when they have lost the device and the codes.
pub async fn reset(app: &App, user: UserId) -> Result<bool> {
    app.tx(async |tx| {
        tx.hold(vec![user.into()]).await?;
        let user = super::ops::find_user(tx, user).await?;
        if user.two_factor_since.is_none() {
            return Ok(false);
        }
        switch_off(tx, user.id).await?;
        told(tx, &user, Happening::by_operator(EventKind::TwoFactorReset, user.id.0)).await?;
        Ok(true)
    })
    .await
}

fn is_on(user: &user::Model) -> Result<(), UserError> {
    if user.two_factor_since.is_some() {
        return Ok(());
    }
    Err(UserError::new(UserErrorCode::Invalid, "Two-factor is off. Use beginTwoFactor to switch it on."))
}

/// What a wrong code is answered.
pub fn wrong_code(field: &str) -> UserError {
    let why = "This code is wrong, or was used already. Wait for the next one, or take a recovery code.";
    UserError::new(UserErrorCode::WrongTwoFactorCode, why).at([field])
}

/// After how many wrong codes in a row the user is notified.
const SUSPICIOUS: i64 = 10;

/// Counts wrong codes in a row, and notifies the user of the tenth (I5): whoever gives them has the password, a session or the mailbox.
/// The try itself was rolled back, so this is a transaction of its own; the count is in the database, for all servers together.
pub async fn watched<T>(app: &App, user: UserId, outcome: Result<T>) -> Result<T> {
    if matches!(&outcome, Err(Error::User(error)) if error.code == UserErrorCode::WrongTwoFactorCode) {
        // A wrong code stays a wrong code for the throttle, whether or not it could be counted here.
        if let Err(error) = count_wrong_code(app, user).await {
            tracing::warn!(cause = %error.cause(), "a wrong two-factor code could not be counted");
        }
    }
    outcome
}

async fn count_wrong_code(app: &App, id: UserId) -> Result<()> {
    app.tx(async |tx| {
        tx.hold(vec![id.into()]).await?;
        let sql = Sql::new("UPDATE users SET wrong_codes = wrong_codes + 1 WHERE id = ").bind(id).push(" RETURNING wrong_codes");
        if sql.one(tx.db(), |row| row.try_get_by_index(0)).await? != Some(SUSPICIOUS) {
            return Ok(());
        }
        let user = super::ops::find_user(tx, id).await?;
        let event = tx.append(Happening::by_itself(EventKind::TwoFactorCodesFailed, id.0), [id.into()]);
        tx.mail(&[Outgoing::to_user(&user, MailKind::TwoFactorCodesFailed, event, id.0)]).await
    })
    .await
}

/// Takes a code of the device or a recovery code as the second factor: at most once, also of many tries at once, since who
/// calls holds the user's log until the end.
pub async fn takes(app: &App, tx: &Tx, user: &user::Model, code: &str) -> Result<bool> {
    let right = is_right(app, tx, user, code).await?;
    if right {
        let sql = Sql::new("UPDATE users SET wrong_codes = 0 WHERE wrong_codes > 0 AND id = ").bind(user.id);
        sql.run(tx.db()).await?;
    }
    Ok(right)
}

async fn is_right(app: &App, tx: &Tx, user: &user::Model, code: &str) -> Result<bool> {
    match Code::read(code) {
        Some(Code::OneTime(_)) => takes_code(app, tx, user, code).await,
        Some(Code::Recovery(code)) => {
            let sql = Sql::new("DELETE FROM recovery_codes WHERE user_id = ").bind(user.id).push(" AND hash = ");
            let counts = sql.bind(totp::hash(user.id, &code)).run(tx.db()).await? == 1;
            if counts {
                told(tx, user, Happening::by(user.id, None, EventKind::RecoveryCodeUsed, user.id.0)).await?;
            }
            Ok(counts)
        }
        None => Ok(false),
    }
}

async fn takes_code(app: &App, tx: &Tx, user: &user::Model, code: &str) -> Result<bool> {
    let Some(Code::OneTime(code)) = Code::read(code) else { return Ok(false) };
    let Some(step) = device(app, user)?.step(&code, tx.now()) else { return Ok(false) };
    // A step counts once, and none before it: whoever looked over a shoulder is too late.
    let sql = Sql::new("UPDATE users SET two_factor_step = ").bind(step).push(" WHERE id = ").bind(user.id);
    Ok(sql.push(" AND two_factor_step < ").bind(step).run(tx.db()).await? == 1)
}

/// Forgets the secret and the codes.
pub async fn switch_off(tx: &Tx, user: UserId) -> Result<()> {
    let sql = Sql::new("UPDATE users SET two_factor_since = NULL, two_factor_version = two_factor_version + 1 WHERE id = ");
    sql.bind(user).run(tx.db()).await?;
    Sql::new("DELETE FROM recovery_codes WHERE user_id = ").bind(user).run(tx.db()).await?;
    Ok(())
}

async fn new_codes(tx: &Tx, user: UserId) -> Result<Vec<String>> {
    Sql::new("DELETE FROM recovery_codes WHERE user_id = ").bind(user).run(tx.db()).await?;
    let codes = totp::recovery_codes().map_err(|_| Fault::new("the machine has no randomness to give"))?;
    let row = |code: &String| recovery_code::Model { user_id: user, hash: totp::hash(user, code) }.into_active_model();
    let rows: Vec<_> = codes.iter().map(row).collect();
    insert_all(tx.db(), rows).await?;
    Ok(codes)
}

/// Writes down what happened, and tells the user by mail.
async fn told(tx: &Tx, user: &user::Model, what: Happening) -> Result<()> {
    let event = tx.append(what, [user.id.into()]);
    tx.mail(&[Outgoing::to_user(user, MailKind::TwoFactorChanged, event, user.id.0)]).await
}
