//! What happens on the client's side: approving, declining, changing the ceiling and the end; and ending it, from either side.

use super::{
    addressed::Addressed,
    ending::{consequences_of_one, end_by_itself, end_one, sides},
    rules,
};
use crate::{
    accounts::{ownership::tell_admins, rules::right_account},
    actor::{Actor, Caller, member_of},
    app::{App, Outgoing, Tx},
    consequences::Outcome,
    db::{Sql, by_id, model, select},
    error::{Denied, Error, Fault, Result, UserError, UserErrorCode},
    grants::Grant,
    identity::{ops::find_user, rules::needs_verified_email},
    keys::{Keys, LinkOrId, Purpose},
    permission::Permission,
};
use async_graphql::MaybeUndefined;
use entity::{
    AccountId, ConnectionId, EventId, LogId, Moment, UserId, UserLevel,
    connection::{self, Ended, Side},
    event::EventKind,
    mail::MailKind,
    place,
};
use sea_orm::{EntityTrait, IntoActiveModel};
use std::collections::BTreeSet;

/// What every decision of the client asks for.
pub const DECIDE_CLIENT_ACCESS: Permission = Permission::DecideClientAccess;

pub(super) fn no_such(field: &str) -> Error {
    UserError::new(UserErrorCode::NotFound, "There is no such connection for this account.").at([field]).into()
}

async fn find(tx: &Tx, id: ConnectionId) -> Result<Option<connection::Model>> {
    by_id::<connection::Entity>(tx.db(), id).await
}

/// The request that is named, before it is known who asks for it.
pub(super) async fn peek(app: &App, tx: &Tx, named: &LinkOrId<ConnectionId>) -> Result<Option<connection::Model>> {
    match named {
        LinkOrId::Id(id) => find(tx, *id).await,
        LinkOrId::Token(token) => {
            let Some(id) = Keys::link_id(token).map(ConnectionId) else { return Ok(None) };
            Ok(find(tx, id).await?.filter(|row| app.keys.is_link(token, Purpose::AccessRequest, id.0, row.version)))
        }
    }
}

/// The logs that a change of a connection concerns: the agency's, the client's once known, and the addressed user's own (E1).
pub(super) async fn logs(tx: &Tx, row: &connection::Model) -> Result<Vec<LogId>> {
    let addressed = Addressed::by(tx.db(), std::slice::from_ref(row)).await?;
    Ok(sides(row).chain(addressed.user(row).map(LogId::from)).collect())
}

/// The request that is named, held and read again: of two who answer at once, the second sees what the first did.
async fn answer_of(app: &App, tx: &Tx, caller: &Caller, named: &LinkOrId<ConnectionId>) -> Result<(Actor, connection::Model)> {
    let peeked = peek(app, tx, named).await?;
    let also = match &peeked {
        Some(row) => logs(tx, row).await?,
        None => Vec::new(),
    };
    let actor = tx.authorize(caller, DECIDE_CLIENT_ACCESS, also).await?;
    let field = named.field("connectionId");
    needs_verified_email(&actor.user)?;
    // Who bears the link may answer, and who has the address and proved it (C3); nobody else learns that there is a request.
    let addressed = |row: &connection::Model| !row.silenced && actor.verified_email_key() == Some(row.client_email_key.as_str());
    let row = peeked.filter(|row| matches!(named, LinkOrId::Token(_)) || addressed(row));
    // Read again now that it is held, and named again: a link that was replaced meanwhile is dead.
    let row = row.ok_or_else(|| no_such(field))?.id;
    let row = peek(app, tx, named).await?.filter(|again| again.id == row).ok_or_else(|| no_such(field))?;
    rules::answerable(&row, tx.now(), field)?;
    Ok((actor, row))
}

/// A moment for people, as events keep it.
fn moment(at: Moment) -> String {
    at.format("%-d %B %Y, %H:%M UTC").to_string()
}

/// What the client decides.
pub struct Approval {
    /// Which request.
    pub named: LinkOrId<ConnectionId>,
    /// The account that the client believes to act in.
    pub account: Option<AccountId>,
    /// The ceiling.
    pub level: UserLevel,
    /// When the access ends by itself.
    pub until: Option<Moment>,
}

/// Lets the agency into the account that the approver acts in, up to a level (C5, C6).
pub async fn approve_client_request(app: &App, caller: &Caller, input: Approval) -> Result<connection::Model> {
    app.tx(async |tx| {
        let (actor, row) = answer_of(app, tx, caller, &input.named).await?;
        let client = actor.seat()?.account.id;
        let field = input.named.field("connectionId");
        right_account(&actor, input.account)?;
        let grant = actor.grant(input.level, tx.now())?;
        input.until.map_or(Ok(()), |until| rules::may_end_at(until, tx.now()))?;
        if row.agency_id == client {
            return Err(UserError::new(
                UserErrorCode::OwnAccount,
                "An account can't be its own client: act in the client's account.",
            )
            .at([field])
            .into());
        }
        // Both accounts are held, so this look is as good as the unique index behind it.
        if let Some(former) = connected(tx, row.agency_id, client).await? {
            if rules::active(&former, tx.now()).is_ok() {
                let why = "This agency has access to this account already.";
                return Err(UserError::new(UserErrorCode::AlreadyConnected, why).at([field]).into());
            }
            // Its time is over, and its end must not be lost for that.
            end_by_itself(tx, &former).await?;
        }
        let sql = Sql::new("UPDATE connections SET status = 'active', client_id = ").bind(client);
        let sql = sql.push(", level = ").bind(grant).push(", decided_by = ").bind(actor.user.id).push(", decided_at = ");
        let sql = sql.bind(tx.now()).push(", ends_at = ").bind(input.until).push(", remind_at = ");
        let sql = sql.bind(rules::remind_at(input.until, tx.now())).push(" WHERE id = ").bind(row.id);
        sql.run(tx.db()).await?;
        let row = find(tx, row.id).await?.ok_or_else(|| no_such(field))?;
        place_requester(tx, &row, grant).await?;
        let until = input.until.map_or_else(String::new, |until| format!(", until {}", moment(until)));
        let approved = actor.did(EventKind::ClientAccessApproved, row.id.0).to(format!("{}{until}", input.level.title()));
        let event = tx.append(approved, logs(tx, &row).await?);
        mail_agency(tx, &row, MailKind::AccessApproved, event).await?;
        if grant.is_admin() {
            tell_admins(tx, client, MailKind::AgencyAdminAdded, event).await?;
        }
        Ok(row)
    })
    .await
}

async fn connected(tx: &Tx, agency: AccountId, client: AccountId) -> Result<Option<connection::Model>> {
    let sql = select::<connection::Entity>("c").push(" WHERE c.status = 'active' AND c.agency_id = ").bind(agency);
    sql.push(" AND c.client_id = ").bind(client).one(tx.db(), model("c")).await
}

/// The requester gets a place at the ceiling, if they are still a direct user of the agency (C6).
async fn place_requester(tx: &Tx, row: &connection::Model, grant: Grant) -> Result<()> {
    if member_of(tx, row.agency_id, row.requested_by).await?.is_none() {
        return Ok(());
    }
    let (level, user_id) = (grant.level(), row.requested_by);
    let place = place::Model { id: tx.id(), connection_id: row.id, user_id, level, added_by: None, added_at: tx.now() };
    place::Entity::insert(place.into_active_model()).exec_without_returning(tx.db()).await?;
    Ok(())
}

/// Tells the agency's Owner, and the requester if they can still act in the agency (C6).
async fn mail_agency(tx: &Tx, row: &connection::Model, kind: MailKind, event: EventId) -> Result<()> {
    let mut people = BTreeSet::from([owner_of(tx, row.agency_id).await?]);
    let requester = member_of(tx, row.agency_id, row.requested_by).await?;
    people.extend(requester.filter(|member| member.suspended_at.is_none()).map(|member| member.user_id));
    mail_users(tx, row, kind, event, people).await
}

async fn owner_of(tx: &Tx, account: AccountId) -> Result<UserId> {
    Ok(crate::accounts::ops::find(tx, account).await?.owner_id)
}

async fn mail_users(tx: &Tx, row: &connection::Model, kind: MailKind, event: EventId, people: BTreeSet<UserId>) -> Result<()> {
    for id in people {
        let user = find_user(tx, id).await?;
        tx.mail(&[Outgoing::to_user(&user, kind, event, row.id.0)]).await?;
    }
    Ok(())
}

/// Turns the agency down.
pub async fn decline_client_request(app: &App, caller: &Caller, named: LinkOrId<ConnectionId>) -> Result<connection::Model> {
    app.tx(async |tx| {
        let (actor, row) = answer_of(app, tx, caller, &named).await?;
        let sql = Sql::new("UPDATE connections SET status = 'declined', decided_by = ")
            .bind(actor.user.id)
            .push(", decided_at = ")
            .bind(tx.now());
        sql.push(" WHERE id = ").bind(row.id).run(tx.db()).await?;
        let event = tx.append(actor.did(EventKind::ClientAccessDeclined, row.id.0), logs(tx, &row).await?);
        mail_agency(tx, &row, MailKind::AccessDeclined, event).await?;
        find(tx, row.id).await?.ok_or_else(|| no_such("connectionId"))
    })
    .await
}

/// Changes the ceiling, which binds at once, and until when the access lasts; places keep their level (C8).
pub async fn set_connection_level(
    app: &App,
    caller: &Caller,
    id: ConnectionId,
    level: UserLevel,
    until: MaybeUndefined<Moment>,
) -> Result<connection::Model> {
    app.tx(async |tx| {
        let peeked = find(tx, id).await?;
        let actor = tx.authorize(caller, DECIDE_CLIENT_ACCESS, peeked.iter().map(|row| row.agency_id.into()).collect()).await?;
        let row = find(tx, id).await?.filter(|row| row.client_id.is_some_and(|client| actor.acts_in(client)));
        let row = row.ok_or_else(|| no_such("connectionId"))?;
        rules::active(&row, tx.now())?;
        let grant = actor.grant(level, tx.now())?;
        let ends_at = match until {
            MaybeUndefined::Undefined => row.ends_at,
            MaybeUndefined::Null => None,
            MaybeUndefined::Value(until) => {
                rules::may_end_at(until, tx.now())?;
                Some(until)
            }
        };
        if row.level != Some(level) {
            Sql::new("UPDATE connections SET level = ").bind(grant).push(" WHERE id = ").bind(id).run(tx.db()).await?;
            let before = row.level.map_or("none", UserLevel::title);
            let changed = actor.did(EventKind::ClientAccessLevelChanged, id.0).from(before).to(level.title());
            let event = tx.append(changed, sides(&row));
            if let Some(client) = row.client_id.filter(|_| grant.is_admin()) {
                tell_admins(tx, client, MailKind::AgencyAdminAdded, event).await?;
            }
        }
        if row.ends_at != ends_at {
            let sql = Sql::new("UPDATE connections SET ends_at = ").bind(ends_at).push(", remind_at = ");
            let sql = sql.bind(rules::remind_at(ends_at, tx.now())).push(" WHERE id = ").bind(id);
            sql.run(tx.db()).await?;
            let words = |at: Option<Moment>| at.map_or_else(|| "no end".to_owned(), moment);
            let changed = actor.did(EventKind::ClientAccessUntilChanged, id.0).from(words(row.ends_at)).to(words(ends_at));
            tx.append(changed, sides(&row));
        }
        find(tx, id).await?.ok_or_else(|| no_such("connectionId"))
    })
    .await
}

/// Ends the agency's access: by the client, or by the agency's Owner, Admins or the requester (C9).
pub async fn end_client_connection(
    app: &App,
    caller: &Caller,
    id: ConnectionId,
    dry_run: bool,
) -> Result<Outcome<connection::Model>> {
    app.tx(async |tx| {
        let (actor, row) = held(app, tx, caller, id).await?;
        let row = row.ok_or_else(|| no_such("connectionId"))?;
        let by = may_end(&actor, &row)?;
        rules::active(&row, tx.now())?;
        if dry_run {
            return consequences_of_one(tx, &row).await.map(Outcome::Would);
        }
        let event = end_one(tx, &row, actor.did(EventKind::ClientAccessEnded, id.0).from(Ended::By(by).name())).await?;
        match row.client_id {
            Some(client) if by == Side::Agency => {
                mail_users(tx, &row, MailKind::ConnectionEnded, event, BTreeSet::from([owner_of(tx, client).await?])).await?;
            }
            _ => mail_agency(tx, &row, MailKind::ConnectionEnded, event).await?,
        }
        find(tx, id).await?.ok_or_else(|| no_such("connectionId")).map(Outcome::Done)
    })
    .await
}

/// Who asks, and the connection if it is of the account that they act in, with both sides held.
pub(super) async fn held(app: &App, tx: &Tx, caller: &Caller, id: ConnectionId) -> Result<(Actor, Option<connection::Model>)> {
    // Others' logs are not held up by who has nothing to do with them, as far as a look beforehand tells.
    let asker = caller.afresh().actor(app).await?;
    let peeked = find(tx, id).await?.filter(|row| is_theirs(&asker, row));
    let actor = tx.actor(caller, peeked.iter().flat_map(sides).collect()).await?;
    actor.seat()?;
    let row = find(tx, id).await?.filter(|row| is_theirs(&actor, row));
    if row.is_some() && peeked.is_none() {
        return Err(Error::Contended(Fault::new("a connection became one's own while it was looked up")));
    }
    Ok((actor, row))
}

/// Whether a connection is of the account that somebody acts in; of a client's, through an agency, only the one that they act through.
fn is_theirs(actor: &Actor, row: &connection::Model) -> bool {
    actor.seat_if_any().is_some_and(|seat| match &seat.via {
        Some(via) => via.id == row.id,
        None => row.agency_id == seat.account.id || row.client_id == Some(seat.account.id),
    })
}

/// From which side the actor may end it.
fn may_end(actor: &Actor, row: &connection::Model) -> Result<Side> {
    if row.client_id.is_some_and(|client| actor.acts_in(client)) {
        return actor.may(DECIDE_CLIENT_ACCESS).map(|_| Side::Client);
    }
    let seat = actor.seat()?;
    let may = seat.via.is_none() && (seat.level >= UserLevel::Admin || row.requested_by == actor.user.id);
    if may {
        return actor.session().map(|_| Side::Agency);
    }
    let reason = "Of the agency, its Owner, its Admins and whoever asked for the access may end it.".to_owned();
    Err(Denied::Forbidden { permission: None, level: Some(seat.level), reason }.into())
}
