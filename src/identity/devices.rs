//! Devices that a user has signed in on before (I5): no failures from elsewhere slow them down, and a sign-in on another one is
//! e-mailed to the user.
//!
//! A device is known by a token of 256 random bits, of which the database has the hash. It exempts from nothing else: neither from the
//! password nor from the second factor. Whatever ends all sessions of a user voids the tokens of their devices too.

use crate::{
    api_keys::hash,
    app::Tx,
    db::Sql,
    error::{Fault, Result},
};
use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use entity::{SessionId, UserId, session};
use sea_orm::ConnectionTrait;
use uuid::Uuid;

/// The beginning of every device token, for people and secret scanners.
const MARK: &str = "khd_";
/// How many devices of a user are known: those last used.
const KNOWN: u32 = 50;

/// A device that signs in.
#[derive(Clone, Debug)]
pub struct Device {
    /// What kind of client it runs.
    pub client: session::SessionClient,
    /// The client's `User-Agent` header.
    pub user_agent: Option<String>,
    /// The device token, if the client has one.
    pub token: Option<String>,
}

impl Device {
    /// The `User-Agent` header, as far as it is stored.
    pub(super) fn agent(&self) -> Option<String> {
        self.user_agent.as_deref().map(|agent| agent.chars().filter(|c| !c.is_control()).take(200).collect())
    }
}

/// A device that has signed in.
pub(super) struct Admitted {
    /// Its id.
    pub id: Uuid,
    /// Its new token; none when it had a valid one.
    pub new_token: Option<String>,
}

/// The device of a token, if the user has signed in on it. The token is looked up whether or not there is a user, so that the time
/// shows nothing.
pub(super) async fn find(db: &impl ConnectionTrait, token: Option<&str>, user: Option<UserId>) -> Result<Option<Uuid>> {
    let Some(token) = token else { return Ok(None) };
    let sql = Sql::new("SELECT id, user_id FROM devices WHERE hash = ").bind(hash(token));
    let found = sql.one(db, |row| Ok((row.try_get_by_index::<Uuid>(0)?, row.try_get_by_index::<UserId>(1)?))).await?;
    Ok(found.filter(|(_, owner)| Some(*owner) == user).map(|(id, _)| id))
}

/// Notes that a user signed in on a device. An unknown one gets a token, in the place of the one that was not used for longest.
pub(super) async fn admit(tx: &Tx, user: UserId, device: &Device) -> Result<Admitted> {
    if let Some(id) = find(tx.db(), device.token.as_deref(), Some(user)).await? {
        let sql = Sql::new("UPDATE devices SET last_used_at = ").bind(tx.now()).push(", user_agent = ").bind(device.agent());
        sql.push(" WHERE id = ").bind(id).run(tx.db()).await?;
        return Ok(Admitted { id, new_token: None });
    }
    let (id, token) = (tx.id::<Uuid>(), generate()?);
    let sql = Sql::new("INSERT INTO devices (id, user_id, hash, user_agent, created_at, last_used_at) VALUES (").bind(id);
    let sql = sql.push(", ").bind(user).push(", ").bind(hash(&token)).push(", ").bind(device.agent());
    sql.push(", ").bind(tx.now()).push(", ").bind(tx.now()).push(")").run(tx.db()).await?;
    let sql = Sql::new("DELETE FROM devices WHERE user_id = ").bind(user);
    let sql = sql.push(" AND id NOT IN (SELECT id FROM devices WHERE user_id = ").bind(user);
    sql.push(&format!(" ORDER BY last_used_at DESC, id DESC LIMIT {KNOWN})")).run(tx.db()).await?;
    Ok(Admitted { id, new_token: Some(token) })
}

/// Voids the tokens of a user's devices, but that of the session that stays.
pub(super) async fn void_all(tx: &Tx, user: UserId, keep: Option<SessionId>) -> Result<()> {
    let sql = Sql::new("DELETE FROM devices WHERE user_id = ").bind(user);
    let sql = match keep {
        Some(keep) => {
            let kept = " AND id NOT IN (SELECT device_id FROM sessions WHERE device_id IS NOT NULL AND id = ";
            sql.push(kept).bind(keep).push(")")
        }
        None => sql,
    };
    sql.run(tx.db()).await?;
    Ok(())
}

/// Voids the token of a session's device.
pub(super) async fn void(tx: &Tx, session: &session::Model) -> Result<()> {
    Sql::new("DELETE FROM devices WHERE id = ").bind(session.device_id).run(tx.db()).await?;
    Ok(())
}

fn generate() -> Result<String> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes).map_err(|_| Fault::new("the machine has no randomness to give"))?;
    Ok(format!("{MARK}{}", BASE64.encode(bytes)))
}
