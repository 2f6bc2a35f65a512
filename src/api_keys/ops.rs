//! Making, finding and deleting API keys.

use super::{generate, hash};
use crate::{
    actor::{Caller, Pass, ProofId},
    app::{App, Happening, Outgoing, Tx},
    db::{Sql, by_id, model, select},
    error::{Error, Fault, Result, UserError, UserErrorCode, level_name},
    events::security::NewSecurityEvent,
    permission::Permission,
    text,
};
use chrono::TimeDelta;
use entity::{
    AccountId, ApiKeyId, LogId, Moment, UserId, UserLevel, api_key,
    event::EventKind,
    mail::MailKind,
    security_event::{SecurityEventKind, SecurityOutcome},
};
use sea_orm::{ConnectionTrait, EntityTrait, IntoActiveModel};

/// How many keys an account can have.
const AT_MOST: u64 = 200;
/// How exactly a key's last use is known.
const USED_EVERY: TimeDelta = TimeDelta::minutes(1);

/// What [`create_api_key`] and [`revoke_api_key`] ask for.
pub const API_KEYS: Permission = Permission::AddOrAccessApiKeys;

/// Who acts with the key of a hash, if there is such a key.
pub async fn pass(db: &impl ConnectionTrait, hash: &str) -> Result<Option<Pass>> {
    let sql = select::<api_key::Entity>("k").push(" WHERE k.hash = ").bind(hash);
    let key: Option<api_key::Model> = sql.one(db, model("k")).await?;
    Ok(key.map(|key| Pass { user: key.user_id, proof: ProofId::ApiKey(key.id), account: Some(key.account_id), via: key.via_id }))
}

/// Notes that a key was used, now and then: reading must not wait for a write.
pub fn used(app: &App, key: &api_key::Model) {
    let now = app.now();
    if key.last_used_at.is_some_and(|at| (TimeDelta::zero()..USED_EVERY).contains(&(now - at))) {
        return;
    }
    let (app, id) = (app.clone(), key.id);
    tokio::spawn(async move {
        let sql = Sql::new("UPDATE api_keys SET last_used_at = ").bind(now).push(" WHERE id = ").bind(id);
        if let Err(error) = sql.run(app.db.writer()).await {
            tracing::warn!(cause = %error.cause(), "the last use of an API key could not be noted");
        }
    });
}

/// What a new key should be.
pub struct NewApiKey {
    /// What it is for.
    pub name: String,
    /// The highest level that it acts at; its creator's own if none.
    pub level: Option<UserLevel>,
    /// Until when it works.
    pub expires_at: Option<Moment>,
}

/// Makes a key that acts in the account that the request acts in (I6, I7). Answers it with its secret.
pub async fn create_api_key(app: &App, caller: &Caller, input: NewApiKey) -> Result<(api_key::Model, String)> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, API_KEYS, Vec::new()).await?;
        actor.proved_lately(tx.now())?;
        let seat = actor.seat()?;
        let name = text::name(&input.name, "name")?;
        let level = input.level.unwrap_or(seat.level);
        if level > seat.level {
            let why = format!("You are {} here, and a key can have no higher level than you.", seat.level.title());
            return Err(UserError::new(UserErrorCode::LevelAboveOwn, why).at(["level"]).into());
        }
        if input.expires_at.is_some_and(|at| at <= tx.now()) {
            return Err(UserError::new(UserErrorCode::Invalid, "A key's end has to be in the future.").at(["expiresAt"]).into());
        }
        let there = Sql::new("SELECT count(*) FROM api_keys WHERE account_id = ").bind(seat.account.id).count(tx.db()).await?;
        if there >= AT_MOST {
            let why = format!("An account can have {AT_MOST} API keys. Delete one that isn't used any more.");
            return Err(UserError::new(UserErrorCode::Invalid, why).into());
        }
        let (secret, prefix) = generate().map_err(|_| Fault::new("the machine has no randomness to give"))?;
        let key = api_key::Model {
            id: tx.id(),
            account_id: seat.account.id,
            user_id: actor.user.id,
            via_id: actor.via(),
            name,
            prefix,
            hash: hash(&secret),
            level,
            created_at: tx.now(),
            expires_at: input.expires_at,
            last_used_at: None,
        };
        api_key::Entity::insert(key.clone().into_active_model()).exec_without_returning(tx.db()).await?;
        let made = actor.did(EventKind::ApiKeyCreated, key.id.0).from(level_name(level)).to(key.name.as_str());
        tx.note(lifecycle(SecurityEventKind::ApiKeyCreated, (Some(actor.user.id), actor.via()), &key));
        let event = tx.append(made, [key.account_id.into(), actor.user.id.into()]);
        tx.mail(&[Outgoing::to_user(&actor.user, MailKind::ApiKeyCreated, event, key.id.0)]).await?;
        Ok((key, secret))
    })
    .await
}

/// Deletes a key of the account that the request acts in: its very next request is refused, and its sockets end.
pub async fn revoke_api_key(app: &App, caller: &Caller, id: ApiKeyId) -> Result<ApiKeyId> {
    app.tx(async |tx| {
        let unknown = || UserError::new(UserErrorCode::NotFound, "There is no such API key here.").at(["apiKeyId"]);
        let owner = by_id::<api_key::Entity>(tx.db(), id).await?.map(|key| key.user_id.into());
        let actor = tx.authorize(caller, API_KEYS, owner.into_iter().collect()).await?;
        let here = actor.seat()?.account.id;
        let key = by_id::<api_key::Entity>(tx.db(), id).await?.filter(|key| key.account_id == here).ok_or_else(unknown)?;
        delete(tx, vec![key], |kind, key| actor.did(kind, key.id.0)).await?;
        Ok(id)
    })
    .await
}

/// Deletes keys, each with its event. Who calls holds the account's log and those of the keys' users.
async fn delete(tx: &Tx, keys: Vec<api_key::Model>, did: impl Fn(EventKind, &api_key::Model) -> Happening) -> Result<()> {
    if keys.is_empty() {
        return Ok(());
    }
    Sql::new("DELETE FROM api_keys WHERE id IN ").list(keys.iter().map(|key| key.id)).run(tx.db()).await?;
    for key in keys {
        let gone = did(EventKind::ApiKeyRevoked, &key);
        tx.note(lifecycle(SecurityEventKind::ApiKeyDeleted, gone.doer(), &key));
        let gone = gone.from(key.name);
        tx.append(gone, [key.account_id.into(), key.user_id.into()]);
    }
    Ok(())
}

/// That a user creates or deletes a key, through an agency if at all. It concerns the user whose key it is.
fn lifecycle(
    kind: SecurityEventKind,
    (actor, via): (Option<UserId>, Option<AccountId>),
    key: &api_key::Model,
) -> NewSecurityEvent {
    NewSecurityEvent {
        actor,
        account: Some(key.account_id),
        via,
        api_key: Some(key.id),
        ..NewSecurityEvent::new(kind, SecurityOutcome::Success).of_user(key.user_id)
    }
}

/// The API keys of a user in all accounts, to be deleted by the user themself: when they change the password, or end their sessions.
pub struct OwnKeys {
    user: UserId,
    keys: Vec<api_key::Model>,
}

impl OwnKeys {
    /// Reads them, if they are to be deleted, so that the logs of their accounts can be locked.
    pub async fn find(tx: &Tx, user: UserId, wanted: bool) -> Result<Self> {
        let sql = select::<api_key::Entity>("k").push(" WHERE k.user_id = ").bind(user).push(" ORDER BY k.id");
        let keys = if wanted { sql.all(tx.db(), model("k")).await? } else { Vec::new() };
        Ok(Self { user, keys })
    }

    /// The logs of their accounts.
    pub fn logs(&self) -> Vec<LogId> {
        self.keys.iter().map(|key| key.account_id.into()).collect()
    }

    /// Deletes them, each with the event of `revokeApiKey`, and answers how many. The user's log is locked, so none is made
    /// meanwhile; one that was made before that is found when the transaction runs again.
    pub async fn delete(self, tx: &Tx) -> Result<usize> {
        let Self { user, keys } = self;
        if keys.is_empty() {
            return Ok(0);
        }
        let now = Self::find(tx, user, true).await?.keys;
        if now.iter().any(|key| !keys.iter().any(|known| known.account_id == key.account_id)) {
            return Err(Error::Contended(Fault::new("an API key was made while a user deleted theirs")));
        }
        let count = now.len();
        delete(tx, now, |kind, key| Happening::by(user, key.via_id, kind, key.id.0)).await?;
        Ok(count)
    }
}

/// Deletes all that a user made, wherever it acts. What becomes of the user says it in the log.
pub async fn delete_of_user(tx: &Tx, user: UserId) -> Result<()> {
    Sql::new("DELETE FROM api_keys WHERE user_id = ").bind(user).run(tx.db()).await?;
    Ok(())
}
