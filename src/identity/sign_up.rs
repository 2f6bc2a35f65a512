//! What happens when somebody becomes a user (I1).

use super::{
    address::send_link,
    devices::Device,
    ops::{SignedIn, Start, begin_session},
    rules::Method,
    throttle::Tried,
};
use crate::{
    accounts,
    actor::Caller,
    app::{App, Happening, Tx},
    db::{OnTaken, Sql},
    error::{Error, Fault, Result, UserError, UserErrorCode},
    invitations,
    text::{self, Email},
};
use entity::{UserId, UserLevel, event::EventKind, invitation, user};
use sea_orm::{EntityTrait, IntoActiveModel};
use uuid::Uuid;

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
    /// The invitation that they join by, instead of opening an account. As Admin they join once their address is verified.
    pub invitation_token: Option<String>,
    /// Their device.
    pub device: Device,
}

/// A new user, with an account of their own or in the one that invited them (I1).
///
/// Joining verifies no address: people forward links, so the link shows nothing about its bearer's mailbox (U2).
pub async fn sign_up(app: &App, caller: &Caller, input: SignUp) -> Result<SignedIn> {
    // It tells whether an address or a username is taken, so it stays counted whatever comes of it.
    let _counted = app.throttle.from(Tried::SignUp, caller.address())?;
    let email = text::email(&input.email).map_err(|why| UserError::new(UserErrorCode::Invalid, why).at(["email"]))?;
    let name = text::name(&input.name, "name")?;
    let account_name = input.account_name.as_deref().map_or_else(|| Ok(name.clone()), |name| text::name(name, "accountName"))?;
    let username = input.username.as_deref().map(|username| text::username(username, "username")).transpose()?;
    app.hasher.check(&input.password, &[&name, &email.address], "password").await?;
    let password_hash = app.hasher.hash(&input.password).await?;
    app.tx(async |tx| {
        let invitation = match &input.invitation_token {
            Some(token) => Some(invitations::ops::pending_by_token(app, tx, token, "invitationToken").await?),
            None => None,
        };
        invitation.as_ref().map_or(Ok(()), |row| invitations::rules::may_sign_up(row, &email.key))?;
        let user = insert_user(tx, &email, &name, username.clone(), &password_hash).await?;
        let event = tx.append(Happening::by(user.id, None, EventKind::UserSignedUp, user.id.0), [user.id.into()]);
        let seat = match invitation {
            Some(invitation) if invitation.level == UserLevel::Admin => {
                claim(tx, &user, &invitation).await?;
                None
            }
            Some(invitation) => Some(invitations::ops::join(tx, &user, invitation, "invitationToken").await?),
            None => Some(accounts::ops::open(tx, &user, &account_name).await?),
        };
        send_link(tx, caller, &user, event).await?;
        begin_session(app, tx, user, seat, Start { device: &input.device, proved: &[Method::Password] }).await
    })
    .await
}

/// Remembers the Admin invitation that the user joins by once their address is verified. It stays pending, so that the person
/// whom it was sent to can still answer it (U2).
async fn claim(tx: &Tx, user: &user::Model, invitation: &invitation::Model) -> Result<()> {
    let sql = Sql::new("UPDATE users SET claimed_invitation_id = ").bind(invitation.id).push(" WHERE id = ").bind(user.id);
    sql.run(tx.db()).await.map(drop)
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
    let chosen = username.is_some();
    let (username, username_key) = match username {
        Some((_, key)) if exists(tx, "username_key", &key).await? => return Err(taken("username", "username").into()),
        Some(username) => username,
        None => free_username(tx, name).await?,
    };
    let id: UserId = tx.id();
    tx.open_log(id.into()).await?;
    let user = user::Model {
        id,
        name: name.to_owned(),
        name_key: name.to_lowercase(),
        username,
        username_key,
        email: email.address.clone(),
        email_key: email.key.clone(),
        email_verified_at: None,
        password_hash: password_hash.to_owned(),
        last_account_id: None,
        created_at: tx.now(),
        email_version: 0,
        pending_email: None,
        pending_email_key: None,
        reset_version: 0,
        two_factor_since: None,
        two_factor_version: 0,
        two_factor_step: 0,
        claimed_invitation_id: None,
        sign_in_version: 0,
        erased_at: None,
    };
    // Of two who sign up at once the database lets one in. It says which key was taken; a username that nobody chose is no
    // reason to refuse anybody, so the work is run again and finds another.
    let inserted = user::Entity::insert(user.clone().into_active_model()).exec_without_returning(tx.db()).await;
    inserted.on_taken(|which| match which.contains("username") {
        true if chosen => taken("username", "username").into(),
        true => Error::Contended(Fault::new("two took the same username at once")),
        false => taken("email", "address").into(),
    })?;
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
