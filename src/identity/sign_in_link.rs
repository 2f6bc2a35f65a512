//! Signing in with a link that is e-mailed (I5): for who is slowed down because strangers guess at their login.
//!
//! A link works once, for a few minutes, and as long as neither the password nor the address changes. It stands in for the password
//! alone: two-factor still asks for a code, whose tries are counted apart, since only who reads the mailbox can make any.

use super::{
    devices::Device,
    ops::{Entry, SignedIn, enter, find_user, login_key},
    recovery::answered_evenly,
    rules::Method,
    throttle::{Secret, Whom},
    two_factor,
};
use crate::{
    actor::Caller,
    app::{App, Happening, Outgoing},
    db::{Sql, by_id, model, select},
    error::{Error, Result, UserError, UserErrorCode},
    events::security,
    keys::{Keys, Purpose},
};
use chrono::TimeDelta;
use entity::{AccountId, event::EventKind, mail::MailKind, security_event::SecurityEventKind, user};
use uuid::Uuid;

/// How long a sign-in link works.
pub const SIGN_IN_LINK_TTL: TimeDelta = TimeDelta::minutes(15);
/// How many links before the present one are told from those that never were.
const REMEMBERED: i64 = 10;

/// Which links of a user work: each use of one raises it, and so does whatever voids links to a new password.
pub fn version(user: &user::Model) -> i64 {
    user.sign_in_version + user.reset_version
}

/// Sends a sign-in link to the verified address of a login. The answer is the same whether or not there is one, in words and time:
/// an e-mail is put into the outbox in any case, and one without a user is not sent.
pub async fn request(app: &App, caller: &Caller, login: &str) -> Result<()> {
    let (column, key) = login_key(login);
    let send = app.tx(async |tx| {
        let find = select::<user::Entity>("u").push(&format!(" WHERE u.email_verified_at IS NOT NULL AND u.{column} = "));
        let user: Option<user::Model> = find.bind(key.as_str()).one(tx.db(), model("u")).await?;
        let (subject, version) = user.as_ref().map_or((tx.id::<Uuid>(), 0), |user| (user.id.0, version(user)));
        let log = user.as_ref().map(|user| user.id.into());
        let event = tx.append(Happening::by_itself(EventKind::SignInLinkRequested, subject), log);
        // Nothing of a login that is nobody's is kept but a name to count by, so that both are refused alike.
        let nobody = format!("nobody:{}", app.keys.pseudonym("login", &key));
        let to = user.as_ref().map_or(("", nobody.as_str()), |user| (&user.email, &user.email_key));
        let user = user.as_ref().map(|user| user.id);
        tx.mail_link(caller.address(), Outgoing { kind: MailKind::SignInLink, event, subject, version, to, user }).await
    });
    answered_evenly(app, caller, send).await
}

/// A sign-in with a link.
pub struct LinkSignIn {
    /// The link's token.
    pub token: String,
    /// A one-time code or a recovery code.
    pub code: Option<String>,
    /// The account to act in; else the usual one.
    pub account: Option<AccountId>,
    /// The device.
    pub device: Device,
}

/// Signs in with a link, and uses it up.
pub async fn sign_in(app: &App, caller: &Caller, input: LinkSignIn) -> Result<SignedIn> {
    let invalid = || UserError::new(UserErrorCode::NotFound, "This sign-in link is not valid. Request a new one.").at(["token"]);
    let over = || {
        let why = "This sign-in link has expired or was used already. Request a new one.";
        UserError::new(UserErrorCode::Expired, why).at(["token"])
    };
    let link = Keys::read_timed_link(&input.token).ok_or_else(invalid)?;
    let user: user::Model = by_id::<user::Entity>(app.reader(), link.id).await?.ok_or_else(invalid)?;
    let is_of = |version| app.keys.is_timed_link(&link, Purpose::SignIn, version);
    let now = version(&user);
    if !(now.saturating_sub(REMEMBERED)..=now).any(is_of) {
        return Err(invalid().into());
    }
    if !is_of(now) || link.is_over(app.now()) {
        return Err(over().into());
    }
    let tries_code = user.two_factor_since.is_some() && input.code.is_some();
    let attempt = tries_code.then(|| app.throttle.secret(Whom::Link(user.id, Secret::Code), caller.address())).transpose()?;
    let entry = Entry { first: Method::Link, code: input.code.as_deref(), account: input.account, device: &input.device };
    let signed_in = app
        .tx(async |tx| {
            tx.hold(vec![user.id.into()]).await?;
            let user = find_user(tx, user.id).await?;
            if !is_of(version(&user)) {
                return Err(over().into());
            }
            let sql = Sql::new("UPDATE users SET sign_in_version = sign_in_version + 1 WHERE id = ").bind(user.id);
            sql.run(tx.db()).await?;
            enter(app, tx, user, entry).await
        })
        .await;
    if matches!(&signed_in, Err(Error::User(error)) if error.code == UserErrorCode::TwoFactorCodeRequired) {
        security::note_refusal(SecurityEventKind::SignIn, Some(user.id), &signed_in);
    }
    let signed_in = two_factor::watched(app, user.id, signed_in).await;
    match attempt {
        Some(attempt) => attempt.unless_wrong(signed_in),
        None => signed_in,
    }
}
