//! Links to download an account: made, used once, and good for ten minutes. What the download has is `http::exports`.
//!
//! Making a link requires recent authentication, and is never possible with an API key (I6, I7). A link is good for as long as the
//! session that it was made with may export the account: that is looked up when it is used, and again for each page that goes out.

use crate::{
    actor::{Caller, Pass, ProofId},
    app::App,
    db::Sql,
    error::{Denied, Error, Result},
    keys::{Keys, Purpose},
    permission::Permission,
};
use chrono::TimeDelta;
use entity::{AccountId, LogId, SessionId, UserId, event::EventKind};
use sea_orm::QueryResult;
use uuid::Uuid;

/// What [`export_account`] asks for.
pub const EXPORT: Permission = Permission::ExportAccount;

/// How long a link works.
const LINK_TTL: TimeDelta = TimeDelta::minutes(10);

/// Makes a link to download the account that the request acts in.
pub async fn export_account(app: &App, caller: &Caller) -> Result<String> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, EXPORT, Vec::new()).await?;
        actor.proved_lately(tx.now())?;
        let (account, session) = (actor.seat()?.account.id, actor.session()?.id);
        let id: Uuid = tx.id();
        // Those that nobody used go with the next one that is made.
        Sql::new("DELETE FROM exports WHERE expires_at <= ").bind(tx.now()).run(tx.db()).await?;
        let columns = "INSERT INTO exports (id, account_id, user_id, via_id, session_id, expires_at) VALUES (";
        let sql = Sql::new(columns).bind(id).push(", ").bind(account).push(", ").bind(actor.user.id).push(", ");
        let sql = sql.bind(actor.via()).push(", ").bind(session).push(", ");
        sql.bind(tx.now() + LINK_TTL).push(")").run(tx.db()).await?;
        tx.append(actor.did(EventKind::AccountExported, account.0), [LogId::from(account)]);
        Ok(format!("{}/exports/{}", app.own_url, app.keys.link(Purpose::Export, id, 0)))
    })
    .await
}

/// A link that works: who downloads with it, and which account.
pub struct Link {
    id: Uuid,
    /// The user who made it, with the session that they made it with.
    pub caller: Caller,
    /// The account.
    pub account: AccountId,
    /// The user who made it.
    pub user: UserId,
}

/// The link of a token; `None` for one that is none, was used, is too old, or whose maker may not any more.
pub async fn find(app: &App, token: &str) -> Result<Option<Link>> {
    let Some(id) = Keys::link_id(token).filter(|id| app.keys.is_link(token, Purpose::Export, *id, 0)) else { return Ok(None) };
    let read = |row: &QueryResult| {
        let (account, user): (AccountId, UserId) = (row.try_get_by_index(0)?, row.try_get_by_index(1)?);
        let via: Option<AccountId> = row.try_get_by_index(2)?;
        let session: Option<SessionId> = row.try_get_by_index(3)?;
        Ok(session.map(|session| Pass { user, proof: ProofId::Session(session), account: Some(account), via }))
    };
    let sql = Sql::new("SELECT account_id, user_id, via_id, session_id FROM exports WHERE id = ").bind(id);
    let found = sql.push(" AND expires_at > ").bind(app.now()).one(app.reader(), read).await?;
    let Some(pass) = found.flatten() else { return Ok(None) };
    let caller = Caller::recalled(pass);
    match caller.actor(app).await.and_then(|actor| actor.may(EXPORT).map(|seat| seat.account.id)) {
        Ok(account) => Ok(Some(Link { id, caller, account, user: pass.user })),
        Err(Error::Denied(Denied::Overloaded)) => Err(Denied::Overloaded.into()),
        Err(Error::Denied(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

impl Link {
    /// Uses it up. Of many at once, one deletes the row and has it.
    pub async fn use_up(&self, app: &App) -> Result<bool> {
        let used = app.tx(async |tx| Sql::new("DELETE FROM exports WHERE id = ").bind(self.id).run(tx.db()).await).await?;
        Ok(used == 1)
    }
}
