//! API keys in the API.

use super::ops::{self, NewApiKey};
use crate::{
    actor::Actor,
    api::{Answer, Ask, Asked, Connection, Edge, PageArgs, answer, cursor_id},
    app::App,
    db::{Sql, columns, model},
    error::Result,
    users::{self, User},
};
use async_graphql::{Context, InputObject, Object, SimpleObject};
use entity::{AccountId, ApiKeyId, Moment, UserId, UserLevel, api_key};
use guarded::guarded;
use std::collections::HashMap;

/// What a program acts with in an account, in the name of the user who made it.
#[derive(Clone, Debug, SimpleObject)]
#[graphql(serial)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// What it is for.
    name: String,
    /// How the secret begins.
    prefix: String,
    /// Who made it.
    created_by: Option<User>,
    /// At most; and never above the creator's present level.
    level: UserLevel,
    /// When it was made.
    created_at: Moment,
    /// Until when it works; null: until it is deleted.
    expires_at: Option<Moment>,
    /// When it was last used, to the minute.
    last_used_at: Option<Moment>,
}

impl ApiKey {
    fn seen(row: api_key::Model, users: &HashMap<UserId, User>) -> Self {
        let created_by = users.get(&row.user_id).cloned();
        let api_key::Model { id, name, prefix, level, created_at, expires_at, last_used_at, .. } = row;
        Self { id, name, prefix, created_by, level, created_at, expires_at, last_used_at }
    }

    /// What it is for, in sentences.
    pub fn title(&self) -> &str {
        &self.name
    }
}

/// One entry of an account's keys.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct ApiKeyEdge {
    /// Where it stands in the list.
    cursor: String,
    /// The key.
    node: ApiKey,
}

impl Edge for ApiKeyEdge {
    type Node = ApiKey;
    fn node(&self) -> &ApiKey {
        &self.node
    }
    fn cursor(&self) -> &str {
        &self.cursor
    }
}

async fn seen(app: &App, actor: &Actor, rows: Vec<api_key::Model>) -> Result<Vec<ApiKey>> {
    let users = users::load(app.reader(), Some(actor), rows.iter().map(|row| row.user_id).collect()).await?;
    Ok(rows.into_iter().map(|row| ApiKey::seen(row, &users)).collect())
}

/// An account's keys, newest first.
pub async fn list(ctx: &Context<'_>, account: AccountId, page: &PageArgs) -> Result<Connection<ApiKeyEdge>> {
    let (app, window) = (ctx.app(), page.window(ctx.app(), format!("API keys of {account}"))?);
    let scope = |columns: &str| Sql::new(format!("SELECT {columns} FROM api_keys k WHERE k.account_id = ")).bind(account);
    let mut sql = scope(&columns::<api_key::Entity>("k"));
    if let Some(id) = cursor_id::<ApiKeyId>(window.after.as_ref())? {
        sql = sql.push(" AND k.id < ").bind(id);
    }
    if let Some(id) = cursor_id::<ApiKeyId>(window.before.as_ref())? {
        sql = sql.push(" AND k.id > ").bind(id);
    }
    let order = if window.backwards() { "" } else { " DESC" };
    let rows = sql.push(&format!(" ORDER BY k.id{order} LIMIT {}", window.limit())).all(app.reader(), model("k")).await?;
    let total = if Asked::of(ctx).total() { scope("count(*)").count(app.reader()).await? } else { 0 };
    let keys = seen(app, &*ctx.actor().await?, rows).await?;
    Ok(window.page(keys, total, |node, cursor| ApiKeyEdge { cursor, node }, |key| vec![key.id.to_string()]))
}

/// Keys by their ids, of the account that the actor acts in, if they may see them.
pub async fn load_visible(app: &App, actor: &Actor, ids: &[ApiKeyId]) -> Result<Vec<ApiKey>> {
    let Some(seat) = actor.seat_if_any().filter(|seat| !ids.is_empty() && seat.may(ops::API_KEYS)) else {
        return Ok(Vec::new());
    };
    let sql = crate::db::select::<api_key::Entity>("k").push(" WHERE k.account_id = ").bind(seat.account.id);
    seen(app, actor, sql.push(" AND k.id IN ").list(ids.iter().copied()).all(app.reader(), model("k")).await?).await
}

/// A new key.
#[derive(InputObject)]
pub struct CreateApiKeyInput {
    /// What it is for.
    name: String,
    /// At most; the creator's own if not given.
    level: Option<UserLevel>,
    /// Until when it works; until it is deleted if not given.
    expires_at: Option<Moment>,
}

/// Which key.
#[derive(InputObject)]
pub struct RevokeApiKeyInput {
    /// The key.
    api_key_id: ApiKeyId,
}

/// What `createApiKey` made.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct CreateApiKey {
    /// The key.
    api_key: Option<ApiKey>,
    /// Shown this once. Send it as `Authorization: Bearer kh_…`.
    secret: Option<String>,
}

/// What `revokeApiKey` deleted.
#[derive(Default, SimpleObject)]
#[graphql(serial)]
pub struct RevokeApiKey {
    /// The key that is gone.
    api_key_id: Option<ApiKeyId>,
}

/// What API keys can be told to do.
#[derive(Default)]
pub struct ApiKeysMutation;

#[guarded(elsewhere)]
#[Object(serial)]
impl ApiKeysMutation {
    /// Make a key that acts in the account that this request acts in, at the creator's present level and at most at the one given.
    /// Asks who one is again.
    #[needs(ops::API_KEYS)]
    async fn create_api_key(&self, ctx: &Context<'_>, input: CreateApiKeyInput) -> Answer<CreateApiKey> {
        let CreateApiKeyInput { name, level, expires_at } = input;
        let made = async {
            let (row, secret) = ops::create_api_key(ctx.app(), ctx.caller(), NewApiKey { name, level, expires_at }).await?;
            let api_key = seen(ctx.app(), &*ctx.actor().await?, vec![row]).await?.pop();
            Ok(CreateApiKey { api_key, secret: Some(secret) })
        };
        answer(made.await)
    }

    /// Delete a key. Its very next request is refused.
    #[needs(ops::API_KEYS)]
    async fn revoke_api_key(&self, ctx: &Context<'_>, input: RevokeApiKeyInput) -> Answer<RevokeApiKey> {
        let revoked = ops::revoke_api_key(ctx.app(), ctx.caller(), input.api_key_id).await;
        answer(revoked.map(|id| RevokeApiKey { api_key_id: Some(id) }))
    }
}
