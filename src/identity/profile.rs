//! What users say of themselves.

use super::ops::find_user;
use crate::{
    actor::Caller,
    app::App,
    db::{OnTaken, Sql},
    error::{Result, UserError, UserErrorCode},
    text,
};
use entity::{event::EventKind, user};

/// Changes name or username. Attempts to take another username are throttled, because the answer says whether it is taken (I1).
pub async fn update(app: &App, caller: &Caller, name: Option<&str>, username: Option<&str>) -> Result<user::Model> {
    if let Some(username) = username {
        let actor = caller.actor(app).await?;
        actor.session()?;
        let (_, key) = text::username(username, "username")?;
        if key != actor.user.username_key {
            let _counted = app.throttle.username(actor.user.id, caller.address())?;
        }
    }
    app.tx(async |tx| {
        let actor = tx.person(caller, Vec::new()).await?;
        let user = &actor.user;
        let name = name.map_or_else(|| Ok(user.name.clone()), |name| text::name(name, "name"))?;
        let kept = || Ok((user.username.clone(), user.username_key.clone()));
        let (username, key) = username.map_or_else(kept, |username| text::username(username, "username"))?;
        if (name.as_str(), username.as_str()) == (user.name.as_str(), user.username.as_str()) {
            return Ok(user.clone());
        }
        let sql = Sql::new("UPDATE users SET name = ").bind(name.as_str()).push(", name_key = ").bind(name.to_lowercase());
        let sql = sql.push(", username = ").bind(username).push(", username_key = ").bind(key);
        let taken = || UserError::new(UserErrorCode::Taken, "This username is taken. Take another one.").at(["username"]);
        sql.push(" WHERE id = ").bind(user.id).run_raw(tx.db()).await.on_taken(|_| taken().into())?;
        tx.append(actor.did(EventKind::ProfileChanged, user.id.0), [user.id.into()]);
        find_user(tx, user.id).await
    })
    .await
}
