//! What happens on the agency's side: joining the program and leaving it, asking clients for access, again and no more. The
//! client's side is `decide`.

use super::{
    addressed::Addressed,
    block,
    ending::{As, Ending},
    rules,
};
use crate::{
    accounts::{ops::find, rules::assignable},
    actor::{Actor, Caller},
    app::{App, Happening, Outgoing, Tx},
    consequences::{ConsequenceKind, Consequences, Outcome},
    db::{ROWS_PER_STATEMENT, Sql, by_id, insert_all, model, select},
    error::{Error, Fault, Result, UserError, UserErrorCode},
    identity::rules::needs_verified_email,
    limits::{Counted, Rolling, not_too_soon},
    permission::Permission,
    text::{self, Email},
};
use entity::{
    ConnectionId, EventId, LogId, Moment, NodeId, UserLevel, account,
    connection::{self, ConnectionStatus},
    event::EventKind,
    mail::MailKind,
};
use sea_orm::IntoActiveModel;
use std::collections::HashSet;
use uuid::Uuid;

/// What [`join_partner_program`], [`enable_client_access`] and [`disable_client_access`] ask for.
pub const JOIN_PARTNER_PROGRAM: Permission = Permission::JoinPartnerProgram;
/// What [`request_client_access`], [`resend_client_request`] and [`cancel_client_request`] ask for.
pub const REQUEST_CLIENT_ACCESS: Permission = Permission::RequestClientAccess;

/// Makes the account an agency; doing it again changes nothing (C1).
pub async fn join_partner_program(app: &App, caller: &Caller) -> Result<account::Model> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, JOIN_PARTNER_PROGRAM, Vec::new()).await?;
        let account = &actor.seat()?.account;
        if account.partner_program_joined_at.is_none() {
            let sql =
                Sql::new("UPDATE accounts SET partner_program_joined_at = ").bind(tx.now()).push(" WHERE id = ").bind(account.id);
            sql.run(tx.db()).await?;
            tx.append(actor.did(EventKind::PartnerProgramJoined, account.id.0), [LogId::from(account.id)]);
        }
        find(tx, account.id).await
    })
    .await
}

/// Lets the agency ask for access to clients' accounts (C1).
pub async fn enable_client_access(app: &App, caller: &Caller) -> Result<account::Model> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, JOIN_PARTNER_PROGRAM, Vec::new()).await?;
        let account = &actor.seat()?.account;
        rules::in_program(account)?;
        if !account.client_access_enabled {
            Sql::new("UPDATE accounts SET client_access_enabled = ")
                .bind(true)
                .push(" WHERE id = ")
                .bind(account.id)
                .run(tx.db())
                .await?;
            tx.append(actor.did(EventKind::ClientAccessEnabled, account.id.0), [LogId::from(account.id)]);
        }
        find(tx, account.id).await
    })
    .await
}

/// Leaves the partner program: every client is let go, what is pending is taken back, and no more access can be asked for (C10).
pub async fn disable_client_access(app: &App, caller: &Caller, dry_run: bool) -> Result<Outcome<account::Model>> {
    let here = caller.actor(app).await?.standing()?.account.id;
    app.tx(async |tx| {
        let ending = Ending::find(tx, here, As::Agency).await?;
        let actor = tx.authorize(caller, JOIN_PARTNER_PROGRAM, ending.logs()).await?;
        ending.is_still(tx).await?;
        if dry_run {
            let keys = ending.keys(tx).await?;
            return Ok(Outcome::Would(ending.consequences(keys)));
        }
        let account = &actor.seat()?.account;
        ending.carry_out(tx, &|kind, subject| actor.did(kind, subject)).await?;
        if account.partner_program_joined_at.is_some() {
            let sql = Sql::new("UPDATE accounts SET partner_program_joined_at = NULL, client_access_enabled = ").bind(false);
            sql.push(" WHERE id = ").bind(account.id).run(tx.db()).await?;
            tx.append(actor.did(EventKind::ClientAccessDisabled, account.id.0), [LogId::from(account.id)]);
        }
        find(tx, account.id).await.map(Outcome::Done)
    })
    .await
}

/// Whom an agency asks, and for what.
pub struct Request {
    /// Addresses; an entry may hold several with commas between them.
    pub emails: Vec<String>,
    /// The level to ask for; the client decides.
    pub level: Option<UserLevel>,
    /// What to write to them.
    pub message: Option<String>,
}

/// Asks clients for access, each address by itself: what is wrong with one keeps none of the others back (C2–C4).
pub async fn request_client_access(
    app: &App,
    caller: &Caller,
    input: Request,
) -> Result<(Vec<connection::Model>, Vec<UserError>)> {
    let addresses = text::addresses(&input.emails);
    let here = caller.actor(app).await?.may(REQUEST_CLIENT_ACCESS)?.account.id;
    app.tx(async |tx| {
        // Read before the check only to know which logs to hold; nothing of it is told.
        let (emails, mut errors) = text::read_addresses(addresses.iter().take(text::ADDRESSES_MAX).cloned().collect());
        let asked = Addressed::find(tx.db(), emails.iter().map(|(_, email)| (here, email.key.as_str())).collect()).await?;
        let actor = tx.authorize(caller, REQUEST_CLIENT_ACCESS, asked.logs().collect()).await?;
        asked.hold(tx).await?;
        needs_verified_email(&actor.user)?;
        rules::may_ask(&actor.seat()?.account)?;
        input.level.map_or(Ok(()), assignable)?;
        let message = text::message(input.message.as_deref(), "message")?;
        text::some_addresses(addresses.len())?;
        let mut desk = Desk::open(app, tx, &actor, &emails).await?;
        let mut requests = Vec::new();
        for (place, email) in emails {
            match desk.admit(&email) {
                Ok(()) => {
                    let silenced = desk.silenced.contains(&email.key);
                    let request = new_request(app, tx, &actor, (input.level, message.as_deref()), email)?;
                    requests.push(connection::Model { silenced, ..request });
                }
                Err(error) => errors.push((place, error.at(["emails".to_owned(), place.to_string()]).value(email.address))),
            }
        }
        send(tx, &actor, &requests, &asked).await?;
        errors.sort_by_key(|(place, _)| *place);
        Ok((requests, errors.into_iter().map(|(_, error)| error).collect()))
    })
    .await
}

/// What decides over each address of a call, kept up to date from one to the next.
struct Desk {
    requested: HashSet<String>,
    /// Whoever is asked here blocks the agency, and hears nothing of it.
    silenced: HashSet<String>,
    quota: u32,
    frees_at: Moment,
}

impl Desk {
    async fn open(app: &App, tx: &Tx, actor: &Actor, emails: &[(usize, Email)]) -> Result<Self> {
        let agency = &actor.seat()?.account;
        let pending = select::<connection::Entity>("c").push(" WHERE c.status = 'pending' AND c.agency_id = ").bind(agency.id);
        let pending = pending.push(" AND c.client_email_key IN ").list(emails.iter().map(|(_, email)| email.key.as_str()));
        let pending: Vec<connection::Model> = pending.all(tx.db(), model("c")).await?;
        // One that has expired makes room for a new one, and its event must not be lost for that.
        let (expired, requested): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|row| row.status_at(tx.now()) == ConnectionStatus::Expired);
        expire(tx, &expired).await?;
        let (limit, now) = (app.config.client_requests_per_day, tx.now());
        let day = Rolling::read(tx.db(), Counted::ClientRequests(agency.id), limit, now).await?;
        let day = day.stricter(Rolling::read(tx.db(), Counted::RequestsBy(actor.user.id), limit, now).await?, now);
        let silenced = block::silenced(tx, agency.id, emails.iter().map(|(_, email)| email.key.as_str()).collect()).await?;
        Ok(Self {
            requested: requested.into_iter().map(|row| row.client_email_key).collect(),
            silenced,
            quota: day.left(),
            frees_at: day.next_free(now),
        })
    }

    fn admit(&mut self, email: &Email) -> Result<(), UserError> {
        if self.requested.contains(&email.key) {
            return Err(UserError::new(UserErrorCode::AlreadyRequested, "There is a pending request to this address already."));
        }
        if self.quota == 0 {
            let why = "You or the agency requested access to as many client accounts as possible in 24 hours. Try again later.";
            return Err(UserError::new(UserErrorCode::DailyLimitReached, why).retry_at(self.frees_at));
        }
        self.requested.insert(email.key.clone());
        self.quota -= 1;
        Ok(())
    }
}

fn new_request(
    app: &App,
    tx: &Tx,
    actor: &Actor,
    (level, message): (Option<UserLevel>, Option<&str>),
    email: Email,
) -> Result<connection::Model, Error> {
    Ok(connection::Model {
        id: tx.id(),
        agency_id: actor.seat()?.account.id,
        client_id: None,
        client_email: email.address,
        client_email_key: email.key,
        message: message.map(str::to_owned),
        requested_level: level,
        level: None,
        status: ConnectionStatus::Pending,
        requested_by: actor.user.id,
        decided_by: None,
        version: 1,
        created_at: tx.now(),
        sent_at: tx.now(),
        expires_at: tx.now() + app.config.request_ttl,
        decided_at: None,
        ended_at: None,
        ends_at: None,
        remind_at: None,
        silenced: false,
    })
}

async fn send(tx: &Tx, actor: &Actor, requests: &[connection::Model], addressed: &Addressed) -> Result<()> {
    insert_all(tx.db(), requests.iter().cloned().map(IntoActiveModel::into_active_model)).await?;
    let mails = requests.iter().map(|row| {
        let event = tx.append(actor.did(EventKind::ClientAccessRequested, row.id.0), addressed.hear_of(row));
        letter(row, event, addressed)
    });
    tx.mail(&mails.collect::<Vec<_>>()).await
}

fn letter<'a>(row: &'a connection::Model, event: EventId, addressed: &Addressed) -> Outgoing<'a> {
    let to = (row.client_email.as_str(), row.client_email_key.as_str());
    // Whoever it would go to: it is theirs even if it never leaves.
    let user = addressed.owner_of(&row.client_email_key);
    Outgoing { kind: MailKind::AccessRequest, event, subject: row.id.0, version: row.version, to, user }
}

/// A request of the agency that the actor acts in, held with whoever was asked.
async fn own(tx: &Tx, caller: &Caller, id: ConnectionId) -> Result<(Actor, connection::Model)> {
    let find = || by_id::<connection::Entity>(tx.db(), id);
    let peeked = find().await?;
    let addressed = Addressed::by(tx.db(), peeked.as_slice()).await?;
    let actor = tx.authorize(caller, REQUEST_CLIENT_ACCESS, addressed.logs().collect()).await?;
    addressed.hold(tx).await?;
    let here = actor.seat()?.account.id;
    let unknown = || UserError::new(UserErrorCode::NotFound, "There is no such request of this account.").at(["connectionId"]);
    Ok((actor, find().await?.filter(|row| row.agency_id == here).ok_or_else(unknown)?))
}

/// Sends a request again, with a new link and new time; one that has expired lives again (C4).
pub async fn resend_client_request(
    app: &App,
    caller: &Caller,
    id: ConnectionId,
    dry_run: bool,
) -> Result<Outcome<connection::Model>> {
    app.tx(async |tx| {
        let (actor, row) = own(tx, caller, id).await?;
        needs_verified_email(&actor.user)?;
        rules::may_ask(&actor.seat()?.account)?;
        rules::resendable(&row, tx.now())?;
        if row.client_email.is_empty() {
            let why = "The person whom it was sent to is gone. Ask another address.";
            return Err(UserError::new(UserErrorCode::NotActive, why).at(["connectionId"]).into());
        }
        let standing = row.status_at(tx.now()) == ConnectionStatus::Pending;
        not_too_soon(app, tx, (MailKind::AccessRequest, id.0), standing.then_some(row.sent_at), "connectionId").await?;
        let email = Email { address: row.client_email.clone(), key: row.client_email_key.clone() };
        // Writes down that it has expired, if nobody has yet; it uses no second place of the day.
        let mut desk = Desk::open(app, tx, &actor, std::slice::from_ref(&(0, email.clone()))).await?;
        if !standing {
            desk.quota = u32::MAX;
            desk.admit(&email).map_err(|error| error.at(["connectionId"]))?;
        }
        if dry_run {
            return Ok(Outcome::Would(Consequences::default()));
        }
        let silenced = desk.silenced.contains(&email.key);
        let sql = Sql::new("UPDATE connections SET version = version + 1, status = 'pending', decided_at = NULL, silenced = ");
        let sql = sql.bind(silenced).push(", sent_at = ").bind(tx.now()).push(", expires_at = ");
        sql.bind(tx.now() + app.config.request_ttl).push(" WHERE id = ").bind(id).run(tx.db()).await?;
        let row = connection::Model { version: row.version + 1, silenced, ..row };
        let addressed = Addressed::by(tx.db(), std::slice::from_ref(&row)).await?;
        let event = tx.append(actor.did(EventKind::ClientAccessResent, id.0), addressed.hear_of(&row));
        tx.mail(&[letter(&row, event, &addressed)]).await?;
        found(tx, id).await.map(Outcome::Done)
    })
    .await
}

async fn found(tx: &Tx, id: ConnectionId) -> Result<connection::Model> {
    by_id::<connection::Entity>(tx.db(), id).await?.ok_or_else(|| Fault::new(format!("no connection {id}")).into())
}

/// Takes a pending request back: its link is dead. It has used its place of the day (C2).
pub async fn cancel_client_request(
    app: &App,
    caller: &Caller,
    id: ConnectionId,
    dry_run: bool,
) -> Result<Outcome<connection::Model>> {
    app.tx(async |tx| {
        let (actor, row) = own(tx, caller, id).await?;
        rules::answerable(&row, tx.now(), "connectionId")?;
        if dry_run {
            let canceled = [NodeId::Connection(id)];
            return Ok(Outcome::Would(Consequences::default().and(ConsequenceKind::RequestCanceled, canceled)));
        }
        withdraw_all(tx, &[row], &|kind, subject| actor.did(kind, subject)).await?;
        found(tx, id).await.map(Outcome::Done)
    })
    .await
}

/// Takes these requests back, for the reason that the event tells. Their agencies are held, and so are the addressed users.
pub async fn withdraw_all(tx: &Tx, rows: &[connection::Model], did: &impl Fn(EventKind, Uuid) -> Happening) -> Result<()> {
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let sql = Sql::new("UPDATE connections SET status = ").bind(ConnectionStatus::Canceled).push(", decided_at = ");
        let sql = sql.bind(tx.now()).push(" WHERE status = 'pending' AND id IN ").list(rows.iter().map(|row| row.id));
        sql.run(tx.db()).await?;
        let addressed = Addressed::by(tx.db(), rows).await?;
        addressed.make_decoys(tx).await?;
        for row in rows {
            tx.append(did(EventKind::ClientAccessCanceled, row.id.0), addressed.hear_of(row));
        }
    }
    Ok(())
}

/// Writes down that these have expired (E6). Their agencies are held, and so are the addressed users.
pub async fn expire(tx: &Tx, rows: &[connection::Model]) -> Result<()> {
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let sql = Sql::new("UPDATE connections SET status = 'expired', decided_at = expires_at WHERE id IN ");
        sql.list(rows.iter().map(|row| row.id)).run(tx.db()).await?;
        let addressed = Addressed::by(tx.db(), rows).await?;
        addressed.make_decoys(tx).await?;
        for row in rows {
            tx.append(Happening::by_itself(EventKind::ClientAccessExpired, row.id.0), addressed.hear_of(row));
        }
    }
    Ok(())
}
