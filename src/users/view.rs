//! Users, as others see them, and an account's list of them.

use crate::{
    actor::Actor,
    api::{Ask, Asked, Connection, Edge, PageArgs},
    db::{Sql, columns, model, select},
    error::{Denied, Result},
    permission::Permission,
};
use async_graphql::{Context, Object, SimpleObject};
use entity::{AccountId, MemberId, Moment, UserId, UserLevel, member, user};
use sea_orm::ConnectionTrait;
use std::collections::HashMap;

/// A person with a login.
#[derive(Clone, Debug)]
pub struct User {
    row: user::Model,
    /// Whether the viewer may read the address: it is their own, or they invite users here and this is one. An API key never reads
    /// its creator's.
    shows_email: bool,
}

impl User {
    /// As the actor may see them; `shares_account` when they are a direct user of the account that the actor acts in.
    pub fn seen(row: user::Model, actor: Option<&Actor>, shares_account: bool) -> Self {
        let invites = || actor.and_then(Actor::seat_if_any).is_some_and(|seat| seat.may(Permission::InviteUsers));
        let shows_email = match actor.filter(|actor| actor.user.id == row.id) {
            Some(oneself) => !oneself.by_key(),
            None => shares_account && invites(),
        };
        Self { row, shows_email }
    }

    /// As they see themselves.
    pub fn oneself(row: user::Model) -> Self {
        Self { row, shows_email: true }
    }

    /// Their name, for sentences.
    pub fn title(&self) -> &str {
        &self.row.name
    }
}

/// A person with a login.
#[Object(serial)]
impl User {
    /// Their id.
    pub async fn id(&self) -> UserId {
        self.row.id
    }

    /// As they call themselves.
    async fn name(&self) -> &str {
        &self.row.name
    }

    /// What they can sign in with, besides their address.
    async fn username(&self) -> &str {
        &self.row.username
    }

    /// Whether the person is gone: what is left is an id that names nobody.
    async fn erased(&self) -> bool {
        self.row.erased_at.is_some()
    }

    /// The user's e-mail address. Null unless the viewer is the user, or may invite users to the account that the request acts in
    /// and the user is a direct user of it. An API key can't read its creator's address.
    async fn email(&self) -> Option<&str> {
        (self.shows_email && self.row.erased_at.is_none()).then_some(self.row.email.as_str())
    }
}

/// Users by their ids, in one statement.
pub async fn load(db: &impl ConnectionTrait, actor: Option<&Actor>, ids: Vec<UserId>) -> Result<HashMap<UserId, User>> {
    let ids: std::collections::BTreeSet<_> = ids.into_iter().collect();
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let here = actor.and_then(Actor::seat_if_any).map(|seat| seat.account.id);
    let sql =
        Sql::new(format!("SELECT {}, m.id IS NOT NULL AS shares FROM users u LEFT JOIN members m", columns::<user::Entity>("u")));
    let sql = sql.push(" ON m.user_id = u.id AND m.account_id = ").bind(here).push(" WHERE u.id IN ").list(ids);
    let read = |row: &sea_orm::QueryResult| Ok(User::seen(model("u")(row)?, actor, row.try_get("", "shares")?));
    Ok(sql.all(db, read).await?.into_iter().map(|user| (user.row.id, user)).collect())
}

/// One user.
pub async fn find(db: &impl ConnectionTrait, actor: &Actor, id: UserId) -> Result<Option<User>> {
    Ok(load(db, Some(actor), vec![id]).await?.remove(&id))
}

/// A user's place in an account (a node, so that clients' caches follow a change of level).
#[derive(Clone, Debug, SimpleObject)]
#[graphql(serial)]
pub struct AccountUser {
    /// The place's id.
    pub id: MemberId,
    /// Who has it.
    pub user: User,
    /// What they may do in the account.
    pub level: UserLevel,
    /// Since when.
    pub joined_at: Moment,
    /// Whether signing in asks them for a code. Readable as their address is.
    pub two_factor_enabled: Option<bool>,
    /// Whether they can't act in the account until they are reinstated.
    pub suspended: bool,
}

impl AccountUser {
    /// A place and who has it.
    pub fn seen(place: &member::Model, user: User) -> Self {
        let two_factor_enabled = user.shows_email.then_some(user.row.two_factor_since.is_some());
        let member::Model { id, level, joined_at, suspended_at, .. } = *place;
        Self { id, user, level, joined_at, two_factor_enabled, suspended: suspended_at.is_some() }
    }
}

/// One entry of an account's users.
#[derive(SimpleObject)]
#[graphql(serial)]
pub struct AccountUserEdge {
    /// Where it stands in the list.
    cursor: String,
    /// The user's place.
    node: AccountUser,
}

impl Edge for AccountUserEdge {
    type Node = AccountUser;
    fn node(&self) -> &AccountUser {
        &self.node
    }
    fn cursor(&self) -> &str {
        &self.cursor
    }
}

fn seen(actor: &Actor) -> impl Fn(&sea_orm::QueryResult) -> Result<AccountUser, sea_orm::DbErr> {
    move |row| {
        let member: member::Model = model("m")(row)?;
        let user = User::seen(model("u")(row)?, Some(actor), true);
        Ok(AccountUser::seen(&member, user))
    }
}

const FROM: &str = " FROM members m JOIN users u ON u.id = m.user_id WHERE m.account_id = ";

fn select_places() -> Sql {
    Sql::new(format!("SELECT {}, {}{FROM}", columns::<member::Entity>("m"), columns::<user::Entity>("u")))
}

/// Places by their ids, of the account that the actor acts in, in one statement.
pub async fn load_places(db: &impl ConnectionTrait, actor: &Actor, ids: &[MemberId]) -> Result<Vec<AccountUser>> {
    let here = actor.seat()?.account.id;
    select_places().bind(here).push(" AND m.id IN ").list(ids.iter().copied()).all(db, seen(actor)).await
}

/// An account's users: by level, then by name.
pub async fn list(
    ctx: &Context<'_>,
    account: AccountId,
    page: &PageArgs,
    levels: Option<&[UserLevel]>,
    search: Option<&str>,
) -> Result<Connection<AccountUserEdge>> {
    let (db, window) = (ctx.app().reader(), page.window(ctx.app(), format!("users of {account}"))?);
    let part = search.map(crate::db::contains).transpose()?;
    let filtered = |sql: Sql| {
        let sql = sql.bind(account);
        let sql = match levels {
            Some(levels) => sql.push(" AND m.level IN ").distinct(levels),
            None => sql,
        };
        match &part {
            Some(part) => sql
                .push(" AND (u.name_key LIKE ")
                .bind(part.as_str())
                .push(" ESCAPE '\\' OR u.username_key LIKE ")
                .bind(part.as_str())
                .push(" ESCAPE '\\')"),
            None => sql,
        }
    };
    let mut sql = filtered(select_places());
    if let Some(key) = &window.after {
        sql = beyond(sql, key, ("<", ">"))?;
    }
    if let Some(key) = &window.before {
        sql = beyond(sql, key, (">", "<"))?;
    }
    let order = if window.backwards() {
        " ORDER BY m.level, u.name_key DESC, m.id DESC"
    } else {
        " ORDER BY m.level DESC, u.name_key, m.id"
    };
    let rows = sql.push(order).push(&format!(" LIMIT {}", window.limit())).all(db, seen(&*ctx.actor().await?)).await?;
    let total = if Asked::of(ctx).total() { filtered(Sql::new(format!("SELECT count(*){FROM}"))).count(db).await? } else { 0 };
    let key = |place: &AccountUser| vec![(place.level as i16).to_string(), place.user.row.name_key.clone(), place.id.to_string()];
    Ok(window.page(rows, total, |node, cursor| AccountUserEdge { cursor, node }, key))
}

/// What lies on one side of a key: the level descends, name and id ascend.
fn beyond(sql: Sql, key: &[String], (level_is, rest_is): (&str, &str)) -> Result<Sql> {
    let parts = if let [level, name, id] = key {
        level.parse::<i16>().ok().zip(id.parse::<MemberId>().ok()).map(|(level, id)| (level, name, id))
    } else {
        None
    };
    let (level, name, id) = parts.ok_or_else(|| Denied::BadRequest("That is no cursor of this list.".into()))?;
    let sql = sql.push(&format!(" AND (m.level {level_is} ")).bind(level).push(" OR m.level = ").bind(level);
    let sql = sql.push(&format!(" AND (u.name_key {rest_is} ")).bind(name.as_str()).push(" OR u.name_key = ").bind(name.as_str());
    Ok(sql.push(&format!(" AND m.id {rest_is} ")).bind(id).push("))"))
}

/// Users whom the actor may know of by id: themselves (but not an API key its creator), and those of the account that they act in.
pub async fn load_visible(db: &impl ConnectionTrait, actor: &Actor, ids: &[UserId]) -> Result<HashMap<UserId, User>> {
    let sees_users = actor.seat_if_any().is_some_and(|seat| seat.may(Permission::ViewUsers));
    let here = actor.seat_if_any().filter(|_| sees_users).map(|seat| seat.account.id);
    let oneself = (!actor.by_key()).then_some(actor.user.id);
    let sql = select::<user::Entity>("u").push(" WHERE u.id IN ").list(ids.iter().copied()).push(" AND (u.id = ").bind(oneself);
    let sql = sql.push(" OR EXISTS (SELECT 1 FROM members m WHERE m.user_id = u.id AND m.account_id = ").bind(here).push("))");
    let visible: Vec<user::Model> = sql.all(db, model("u")).await?;
    Ok(visible.into_iter().map(|row| (row.id, User::seen(row, Some(actor), here.is_some()))).collect())
}
