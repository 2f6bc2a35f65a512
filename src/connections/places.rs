//! The places of an agency's users on a client's connection: given, changed and taken (C7).

use super::{
    decide::{held, no_such},
    ending::{Guest, sides},
    rules,
};
use crate::{
    actor::{Actor, Caller, member_of},
    app::{App, Outgoing, Tx},
    consequences::{ConsequenceKind, Consequences, Outcome},
    db::{Sql, by_id, model, select},
    error::{Denied, Error, Result, UserError, UserErrorCode},
    grants::Grant,
    identity::ops::find_user,
    permission::Permission,
};
use entity::{
    AccountId, ConnectionId, NodeId, UserId, UserLevel, account, connection, event::EventKind, mail::MailKind, place, user,
};
use sea_orm::{EntityTrait, IntoActiveModel};

/// Whom of the agency.
#[derive(Clone)]
pub enum Whom {
    /// By id.
    Id(UserId),
    /// By username, as they gave it.
    Username(String),
}

impl Whom {
    /// One of the two, not both and not neither.
    pub fn one_of(id: Option<UserId>, username: Option<String>) -> Result<Self, UserError> {
        match (id, username) {
            (Some(id), None) => Ok(Self::Id(id)),
            (None, Some(username)) => Ok(Self::Username(username)),
            _ => Err(UserError::new(UserErrorCode::Invalid, "Give `userId` or `username`, one of the two.").at(["userId"])),
        }
    }

    fn field(&self) -> &'static str {
        match self {
            Self::Id(_) => "userId",
            Self::Username(_) => "username",
        }
    }

    /// Who is a direct user of the agency; whoever is none, or nobody, is refused alike (C7).
    async fn find(&self, tx: &Tx, agency: AccountId) -> Result<user::Model> {
        let sql = select::<user::Entity>("u").push(" JOIN members m ON m.user_id = u.id AND m.account_id = ").bind(agency);
        let sql = match self {
            Self::Id(id) => sql.push(" WHERE u.id = ").bind(*id),
            Self::Username(name) => {
                sql.push(" WHERE u.username_key = ").bind(name.trim().to_lowercase().replace('\0', "\u{fffd}"))
            }
        };
        let why = "There is no such user in your agency. They have to be one of its users first.";
        let nobody = || UserError::new(UserErrorCode::NotAnAgencyUser, why).at([self.field()]);
        Ok(sql.one(tx.db(), model("u")).await?.ok_or_else(nobody)?)
    }
}

/// Whoever manages places on a connection, from the agency's side.
struct Manager {
    actor: Actor,
    connection: connection::Model,
    ceiling: UserLevel,
    /// The highest level that they may give; none is above them when it is the agency's Owner or an Admin.
    own: Option<UserLevel>,
}

impl Manager {
    /// Of an active connection of the agency that they act in, with both accounts held.
    async fn find(app: &App, tx: &Tx, caller: &Caller, id: ConnectionId) -> Result<Self> {
        let (actor, connection) = held(app, tx, caller, id).await?;
        let seat = actor.seat()?;
        let connection = connection
            .filter(|row| seat.via.is_none() && row.agency_id == seat.account.id)
            .ok_or_else(|| no_such("connectionId"))?;
        let place = place_of(tx, id, actor.user.id).await?;
        let own = match place {
            _ if seat.level >= UserLevel::Admin => None,
            Some(place) => Some(if seat.by_key { place.level.min(seat.level) } else { place.level }),
            None => return Err(not_theirs(&actor)),
        };
        rules::active(&connection, tx.now())?;
        if own.is_some() && actor.user.two_factor_since.is_none() && asks_two_factor(tx, &connection).await? {
            // They could not act there either (U10).
            return Err(Denied::TwoFactorRequired.into());
        }
        let ceiling = connection.level.ok_or_else(|| no_such("connectionId"))?;
        Ok(Self { actor, connection, ceiling, own })
    }

    /// Checks that they may grant a level there.
    fn grant(&self, tx: &Tx, level: UserLevel) -> Result<Grant> {
        let grant = self.actor.grant(level, tx.now())?;
        rules::may_give(level, self.ceiling, self.own)?;
        Ok(grant)
    }
}

async fn asks_two_factor(tx: &Tx, connection: &connection::Model) -> Result<bool> {
    let client = match connection.client_id {
        Some(client) => by_id::<account::Entity>(tx.db(), client).await?,
        None => None,
    };
    Ok(client.is_some_and(|client| client.two_factor_required))
}

/// A place, as an event keeps it.
fn told(user: UserId, level: UserLevel) -> String {
    format!("{user} ({})", level.title())
}

/// What somebody hears who knows the connection, or not at all: then there is none.
fn not_theirs(actor: &Actor) -> Error {
    match actor.seat() {
        Ok(seat) if seat.may(Permission::RequestClientAccess) => {
            let reason = "Of the agency, its Owner, its Admins and whoever can act there manage places on a client.".to_owned();
            Denied::Forbidden { permission: None, level: Some(seat.level), reason }.into()
        }
        Ok(_) => no_such("connectionId"),
        Err(error) => error,
    }
}

async fn place_of(tx: &Tx, connection: ConnectionId, user: UserId) -> Result<Option<place::Model>> {
    let sql =
        select::<place::Entity>("p").push(" WHERE p.connection_id = ").bind(connection).push(" AND p.user_id = ").bind(user);
    sql.one(tx.db(), model("p")).await
}

/// Lets a colleague act in the client's account (C7).
pub async fn add_client_user(
    app: &App,
    caller: &Caller,
    id: ConnectionId,
    whom: Whom,
    level: UserLevel,
    dry_run: bool,
) -> Result<Outcome<connection::Model>> {
    app.tx(async |tx| {
        let manager = Manager::find(app, tx, caller, id).await?;
        let grant = manager.grant(tx, level)?;
        let user = whom.find(tx, manager.connection.agency_id).await?;
        if place_of(tx, id, user.id).await?.is_some() {
            let why = "They have a place there already: change it with setClientUserLevel.";
            return Err(UserError::new(UserErrorCode::AlreadyAUser, why).at([whom.field()]).into());
        }
        if dry_run {
            return Ok(Outcome::Would(Consequences::default()));
        }
        let (by, level) = (Some(manager.actor.user.id), grant.level());
        let place = place::Model { id: tx.id(), connection_id: id, user_id: user.id, level, added_by: by, added_at: tx.now() };
        place::Entity::insert(place.into_active_model()).exec_without_returning(tx.db()).await?;
        let added = manager.actor.did(EventKind::ClientUserAdded, id.0).to(told(user.id, level));
        tx.append(added, sides(&manager.connection));
        Ok(Outcome::Done(manager.connection))
    })
    .await
}

/// Gives a colleague another level in the client's account (C7).
pub async fn set_client_user_level(
    app: &App,
    caller: &Caller,
    id: ConnectionId,
    whom: Whom,
    level: UserLevel,
    dry_run: bool,
) -> Result<Outcome<connection::Model>> {
    app.tx(async |tx| {
        let manager = Manager::find(app, tx, caller, id).await?;
        let grant = manager.grant(tx, level)?;
        let user = whom.find(tx, manager.connection.agency_id).await?;
        let unknown = || UserError::new(UserErrorCode::NotFound, "They have no place there: addClientUser gives one.");
        let place = place_of(tx, id, user.id).await?.ok_or_else(|| unknown().at([whom.field()]))?;
        rules::is_in_reach(place.level, manager.own).map_err(|error| error.at([whom.field()]))?;
        if dry_run {
            let shrinks = (level < place.level.min(manager.ceiling)).then_some(NodeId::User(user.id));
            return Ok(Outcome::Would(Consequences::default().and(ConsequenceKind::AccessShrinks, shrinks)));
        }
        if level != place.level {
            Sql::new("UPDATE places SET level = ").bind(grant).push(" WHERE id = ").bind(place.id).run(tx.db()).await?;
            let changed = manager.actor.did(EventKind::ClientUserLevelChanged, id.0);
            let changed = changed.from(told(user.id, place.level)).to(told(user.id, level));
            tx.append(changed, sides(&manager.connection));
        }
        Ok(Outcome::Done(manager.connection))
    })
    .await
}

/// Takes an agency's user's place in the client's account, with all that they hold there: by the agency's Owner and Admins,
/// whoever is at or above their level there, themselves, and the client (C7, C9).
pub async fn remove_client_user(
    app: &App,
    caller: &Caller,
    id: ConnectionId,
    user: UserId,
    dry_run: bool,
) -> Result<Outcome<connection::Model>> {
    app.tx(async |tx| {
        let (actor, connection) = held(app, tx, caller, id).await?;
        let connection = connection.ok_or_else(|| no_such("connectionId"))?;
        let place = place_of(tx, id, user).await?;
        may_remove(tx, &actor, &connection, user, place.as_ref()).await?;
        rules::active(&connection, tx.now())?;
        let unknown = || UserError::new(UserErrorCode::NotFound, "They have no place on this connection.").at(["userId"]);
        let place = place.ok_or_else(unknown)?;
        let leaving = Guest::of(&connection, user)?;
        if dry_run {
            return leaving.consequences(tx).await.map(Outcome::Would);
        }
        Sql::new("DELETE FROM places WHERE id = ").bind(place.id).run(tx.db()).await?;
        leaving.forget(tx).await?;
        let removed = actor.did(EventKind::ClientUserRemoved, id.0).from(user.to_string());
        let event = tx.append(removed, sides(&connection));
        // A user who is suspended in the agency could not act there anyway.
        let acts = member_of(tx, connection.agency_id, user).await?.is_some_and(|member| member.suspended_at.is_none());
        if acts && user != actor.user.id && !leaving.is_owner(tx).await? {
            let former = find_user(tx, user).await?;
            tx.mail(&[Outgoing::to_user(&former, MailKind::AccessRevoked, event, user.0)]).await?;
        }
        Ok(Outcome::Done(connection))
    })
    .await
}

async fn may_remove(
    tx: &Tx,
    actor: &Actor,
    connection: &connection::Model,
    user: UserId,
    place: Option<&place::Model>,
) -> Result<()> {
    let seat = actor.seat()?;
    let oneself = user == actor.user.id;
    if connection.client_id == Some(seat.account.id) {
        // Who acts there through this very connection may give up their own place.
        let own = oneself && seat.via.as_ref().is_some_and(|via| via.id == connection.id);
        return if own { actor.session().map(drop) } else { actor.may(super::decide::DECIDE_CLIENT_ACCESS).map(drop) };
    }
    if seat.via.is_some() {
        return Err(no_such("connectionId"));
    }
    if oneself && place.is_some() {
        return actor.session().map(drop);
    }
    if seat.level >= UserLevel::Admin {
        return Ok(());
    }
    let own = place_of(tx, connection.id, actor.user.id).await?.ok_or_else(|| not_theirs(actor))?;
    let own = if seat.by_key { own.level.min(seat.level) } else { own.level };
    let Some(place) = place else { return Ok(()) };
    rules::is_in_reach(place.level, Some(own)).map_err(|error| error.at(["userId"]).into())
}
