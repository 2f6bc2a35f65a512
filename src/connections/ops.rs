//! What happens on the agency's side: joining the program, and asking clients for access. The client's side is `decide`.

use super::rules;
use crate::{
    accounts::{ops::find, rules::assignable},
    actor::{Actor, Caller},
    app::{App, Happening, Outgoing, Tx},
    db::{ROWS_PER_STATEMENT, Sql, insert_all, model, select},
    error::{Error, Result, UserError, UserErrorCode},
    identity::rules::needs_verified_email,
    limits::{Counted, Rolling},
    permission::Permission,
    text::{self, Email},
};
use entity::{
    LogId, Moment, UserId, UserLevel, account,
    connection::{self, ConnectionStatus},
    event::EventKind,
    mail::MailKind,
};
use sea_orm::{ConnectionTrait, IntoActiveModel};
use std::collections::{HashMap, HashSet};
use uuid::Uuid;

/// What [`join_partner_program`] and [`enable_client_access`] ask for.
pub const JOIN_PARTNER_PROGRAM: Permission = Permission::JoinPartnerProgram;
/// What [`request_client_access`] asks for.
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
    app.tx(async |tx| {
        // Read before the check only to know which logs to hold; nothing of it is told.
        let (emails, mut errors) = text::read_addresses(addresses.iter().take(text::ADDRESSES_MAX).cloned().collect());
        let known = addressed_users(tx.db(), emails.iter().map(|(_, email)| email.key.as_str())).await?;
        let actor = tx.authorize(caller, REQUEST_CLIENT_ACCESS, known.values().copied().map(LogId::from).collect()).await?;
        needs_verified_email(&actor.user)?;
        rules::may_ask(&actor.seat()?.account)?;
        input.level.map_or(Ok(()), assignable)?;
        let message = text::message(input.message.as_deref(), "message")?;
        text::some_addresses(addresses.len())?;
        let mut desk = Desk::open(app, tx, &actor.seat()?.account, &emails).await?;
        let mut requests = Vec::new();
        for (place, email) in emails {
            match desk.admit(&email) {
                Ok(()) => requests.push(new_request(app, tx, &actor, (input.level, message.as_deref()), email)?),
                Err(error) => errors.push((place, error.at(["emails".to_owned(), place.to_string()]).value(email.address))),
            }
        }
        send(tx, &actor, &requests, &known).await?;
        errors.sort_by_key(|(place, _)| *place);
        Ok((requests, errors.into_iter().map(|(_, error)| error).collect()))
    })
    .await
}

/// The users whose verified address these are: what concerns the address concerns their own log (E1).
pub async fn addressed_users(db: &impl ConnectionTrait, keys: impl Iterator<Item = &str>) -> Result<HashMap<String, UserId>> {
    let sql = Sql::new("SELECT email_key, id FROM users WHERE email_verified_at IS NOT NULL AND email_key IN ").list(keys);
    Ok(sql.all(db, |row| Ok((row.try_get_by_index(0)?, row.try_get_by_index(1)?))).await?.into_iter().collect())
}

/// What decides over each address of a call, kept up to date from one to the next.
struct Desk {
    requested: HashSet<String>,
    quota: u32,
    frees_at: Moment,
}

impl Desk {
    async fn open(app: &App, tx: &Tx, agency: &account::Model, emails: &[(usize, Email)]) -> Result<Self> {
        let pending = select::<connection::Entity>("c").push(" WHERE c.status = 'pending' AND c.agency_id = ").bind(agency.id);
        let pending = pending.push(" AND c.client_email_key IN ").list(emails.iter().map(|(_, email)| email.key.as_str()));
        let pending: Vec<connection::Model> = pending.all(tx.db(), model("c")).await?;
        // One that has expired makes room for a new one, and its event must not be lost for that.
        let (expired, requested): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|row| row.status_at(tx.now()) == ConnectionStatus::Expired);
        expire(tx, &expired).await?;
        let day =
            Rolling::read(tx.db(), Counted::ClientRequests, agency.id, app.config.client_requests_per_day, tx.now()).await?;
        Ok(Self {
            requested: requested.into_iter().map(|row| row.client_email_key).collect(),
            quota: day.left(),
            frees_at: day.next_free(tx.now()),
        })
    }

    fn admit(&mut self, email: &Email) -> Result<(), UserError> {
        if self.requested.contains(&email.key) {
            return Err(UserError::new(UserErrorCode::AlreadyRequested, "There is a pending request to this address already."));
        }
        if self.quota == 0 {
            let why = "The agency has asked for as many client accounts as it may in 24 hours.";
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
    })
}

async fn send(tx: &Tx, actor: &Actor, requests: &[connection::Model], addressed: &HashMap<String, UserId>) -> Result<()> {
    insert_all(tx.db(), requests.iter().cloned().map(IntoActiveModel::into_active_model)).await?;
    let mails = requests.iter().map(|row| {
        let user = addressed.get(&row.client_email_key).copied();
        let event = tx.append(
            actor.did(EventKind::ClientAccessRequested, row.id.0),
            [Some(row.agency_id.into()), user.map(LogId::from)].into_iter().flatten(),
        );
        let to = (row.client_email.as_str(), row.client_email_key.as_str());
        Outgoing { kind: MailKind::AccessRequest, event, subject: row.id.0, version: row.version, to, user }
    });
    tx.mail(&mails.collect::<Vec<_>>()).await
}

/// Takes these requests back, for the reason that the event tells. Their agencies are held, and so are the addressed users.
pub async fn withdraw_all(tx: &Tx, rows: &[connection::Model], did: &impl Fn(EventKind, Uuid) -> Happening) -> Result<()> {
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let sql = Sql::new("UPDATE connections SET status = ").bind(ConnectionStatus::Canceled).push(", decided_at = ");
        let sql = sql.bind(tx.now()).push(" WHERE status = 'pending' AND id IN ").list(rows.iter().map(|row| row.id));
        sql.run(tx.db()).await?;
        let addressed = addressed_users(tx.db(), rows.iter().map(|row| row.client_email_key.as_str())).await?;
        for row in rows {
            let user = addressed.get(&row.client_email_key).copied().map(LogId::from);
            let logs = [Some(row.agency_id.into()), user].into_iter().flatten();
            tx.append(did(EventKind::ClientAccessCanceled, row.id.0), logs);
        }
    }
    Ok(())
}

/// Writes down that these have expired (E6). Their agencies are held, and so are the addressed users.
pub async fn expire(tx: &Tx, rows: &[connection::Model]) -> Result<()> {
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let sql = Sql::new("UPDATE connections SET status = 'expired', decided_at = expires_at WHERE id IN ");
        sql.list(rows.iter().map(|row| row.id)).run(tx.db()).await?;
        let addressed = addressed_users(tx.db(), rows.iter().map(|row| row.client_email_key.as_str())).await?;
        for row in rows {
            let expired = Happening::by_itself(EventKind::ClientAccessExpired, row.id.0);
            let user = addressed.get(&row.client_email_key).copied().map(LogId::from);
            tx.append(expired, [Some(row.agency_id.into()), user].into_iter().flatten());
        }
    }
    Ok(())
}
