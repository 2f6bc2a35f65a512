//! What happens when people are invited and join.

use super::rules;
use crate::{
    accounts,
    actor::{Actor, Caller, Seat, member_of},
    app::{App, Happening, Outgoing, Tx},
    db::{Sql, by_id, insert_all, model, select},
    error::{Error, Result, UserError, UserErrorCode},
    identity,
    keys::{Keys, LinkOrId, Purpose},
    limits::{Counted, Rolling},
    permission::Permission,
    text::{self, Email},
};
use entity::{
    AccountId, InvitationId, LogId, Moment, UserLevel, account,
    event::EventKind,
    invitation::{self, InvitationStatus},
    mail::MailKind,
    user,
};
use sea_orm::IntoActiveModel;
use std::collections::HashSet;
use uuid::Uuid;

/// What [`invite_users`] asks for.
pub const INVITE_USERS: Permission = Permission::InviteUsers;

/// Who is to be invited.
pub struct Invite {
    /// Addresses; an entry may hold several with commas between them.
    pub emails: Vec<String>,
    /// At which level.
    pub level: UserLevel,
    /// What to write to them.
    pub message: Option<String>,
}

/// Invites people by e-mail, each address by itself: what is wrong with one keeps none of the others back (U1, U2, U5).
pub async fn invite_users(app: &App, caller: &Caller, input: Invite) -> Result<(Vec<invitation::Model>, Vec<UserError>)> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, INVITE_USERS, Vec::new()).await?;
        let account = &actor.seat()?.account;
        identity::rules::needs_verified_email(&actor.user)?;
        accounts::rules::assignable(input.level)?;
        accounts::rules::needs_level(account.plan, input.level)?;
        let message = text::message(input.message.as_deref(), "message")?;
        let addresses = text::addresses(&input.emails);
        text::some_addresses(addresses.len())?;
        let (emails, mut errors) = text::read_addresses(addresses);
        let mut desk = Desk::open(app, tx, account, &emails).await?;
        let mut invitations = Vec::new();
        for (place, email) in emails {
            match desk.admit(&email) {
                Ok(()) => invitations.push(new_invitation(app, tx, &actor, &input, message.as_deref(), email)?),
                Err(error) => errors.push((place, error.at(["emails".to_owned(), place.to_string()]).value(email.address))),
            }
        }
        send(tx, &actor, &invitations).await?;
        errors.sort_by_key(|(place, _)| *place);
        Ok((invitations, errors.into_iter().map(|(_, error)| error).collect()))
    })
    .await
}

/// What decides over each address of a call, kept up to date from one to the next.
struct Desk {
    users: HashSet<String>,
    invited: HashSet<String>,
    seats: Option<u64>,
    quota: u32,
    frees_at: Moment,
}

impl Desk {
    async fn open(app: &App, tx: &Tx, account: &account::Model, emails: &[(usize, Email)]) -> Result<Self> {
        let keys = || emails.iter().map(|(_, email)| email.key.as_str());
        let users =
            Sql::new("SELECT u.email_key FROM members m JOIN users u ON u.id = m.user_id WHERE m.account_id = ").bind(account.id);
        let users = users.push(" AND u.email_key IN ").list(keys()).all(tx.db(), |row| row.try_get_by_index(0)).await?;
        let pending = select::<invitation::Entity>("i").push(" WHERE i.status = 'pending' AND i.account_id = ").bind(account.id);
        let pending: Vec<invitation::Model> = pending.push(" AND i.email_key IN ").list(keys()).all(tx.db(), model("i")).await?;
        // One that has expired makes room for a new one, and its event must not be lost for that.
        let (expired, invited): (Vec<_>, Vec<_>) =
            pending.into_iter().partition(|row| row.status_at(tx.now()) == InvitationStatus::Expired);
        expire(tx, &expired).await?;
        let held = u64::try_from(accounts::ops::seat_holders(tx, account.id).await?.len()).unwrap_or(u64::MAX);
        let day = Rolling::read(tx.db(), Counted::Invitations, account.id, app.config.invitations_per_day, tx.now()).await?;
        Ok(Self {
            users: users.into_iter().collect(),
            invited: invited.into_iter().map(|row| row.email_key).collect(),
            seats: account.plan.seats().map(|seats| seats.saturating_sub(held)),
            quota: day.left(),
            frees_at: day.next_free(tx.now()),
        })
    }

    fn admit(&mut self, email: &Email) -> Result<(), UserError> {
        let refuse = |code, why: &str| Err(UserError::new(code, why));
        if self.users.contains(&email.key) {
            return refuse(UserErrorCode::AlreadyAUser, "This person is a user of the account already.");
        }
        if self.invited.contains(&email.key) {
            return refuse(UserErrorCode::AlreadyInvited, "This address has a pending invitation already.");
        }
        if self.seats == Some(0) {
            return refuse(
                UserErrorCode::NoSeatsLeft,
                "The plan has no seat left: take a larger plan, or take an invitation back.",
            );
        }
        if self.quota == 0 {
            let why = "The account has invited as many people as it may in 24 hours.";
            return Err(UserError::new(UserErrorCode::DailyLimitReached, why).retry_at(self.frees_at));
        }
        self.invited.insert(email.key.clone());
        self.seats = self.seats.map(|seats| seats - 1);
        self.quota -= 1;
        Ok(())
    }
}

fn new_invitation(
    app: &App,
    tx: &Tx,
    actor: &Actor,
    input: &Invite,
    message: Option<&str>,
    email: Email,
) -> Result<invitation::Model> {
    Ok(invitation::Model {
        id: tx.id(),
        account_id: actor.seat()?.account.id,
        email: email.address,
        email_key: email.key,
        level: input.level,
        message: message.map(str::to_owned),
        status: InvitationStatus::Pending,
        invited_by: actor.user.id,
        accepted_by: None,
        version: 1,
        created_at: tx.now(),
        sent_at: tx.now(),
        expires_at: tx.now() + app.config.invitation_ttl,
        decided_at: None,
    })
}

async fn send(tx: &Tx, actor: &Actor, invitations: &[invitation::Model]) -> Result<()> {
    insert_all(tx.db(), invitations.iter().cloned().map(IntoActiveModel::into_active_model)).await?;
    let mails = invitations.iter().map(|row| {
        let event = tx.append(actor.did(EventKind::UserInvited, row.id.0), [LogId::from(row.account_id)]);
        let to = (row.email.as_str(), row.email_key.as_str());
        Outgoing { kind: MailKind::Invitation, event, subject: row.id.0, version: row.version, to, user: None }
    });
    tx.mail(&mails.collect::<Vec<_>>()).await
}

/// Writes down that these have expired (E6). Their accounts are held.
pub async fn expire(tx: &Tx, rows: &[invitation::Model]) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let sql = Sql::new("UPDATE invitations SET status = 'expired', decided_at = expires_at WHERE id IN ")
        .list(rows.iter().map(|row| row.id));
    sql.run(tx.db()).await?;
    for row in rows {
        tx.append(Happening::by_itself(EventKind::InvitationExpired, row.id.0), [LogId::from(row.account_id)]);
    }
    Ok(())
}

/// Takes these back, for the reason that the event tells. Their accounts are held.
pub async fn withdraw_all(tx: &Tx, rows: &[invitation::Model], did: &impl Fn(EventKind, Uuid) -> Happening) -> Result<()> {
    let sql =
        Sql::new("UPDATE invitations SET status = ").bind(InvitationStatus::Canceled).push(", decided_at = ").bind(tx.now());
    sql.push(" WHERE id IN ").list(rows.iter().map(|row| row.id)).run(tx.db()).await?;
    for row in rows {
        tx.append(did(EventKind::InvitationCanceled, row.id.0), [LogId::from(row.account_id)]);
    }
    Ok(())
}

/// The invitation of a link, with its account held; refused unless it can be answered.
pub async fn pending_by_token(app: &App, tx: &Tx, token: &str, field: &str) -> Result<invitation::Model> {
    let unknown =
        || Error::from(UserError::new(UserErrorCode::NotFound, "This link is not valid, or a newer one was sent.").at([field]));
    let id = InvitationId(Keys::link_id(token).ok_or_else(unknown)?);
    let account: Option<AccountId> =
        Sql::new("SELECT account_id FROM invitations WHERE id = ").bind(id).one(tx.db(), |row| row.try_get_by_index(0)).await?;
    tx.hold(vec![account.ok_or_else(unknown)?.into()]).await?;
    let row =
        find(tx, id).await?.filter(|row| app.keys.is_link(token, Purpose::Invitation, id.0, row.version)).ok_or_else(unknown)?;
    rules::answerable(&row, tx.now(), field)?;
    Ok(row)
}

async fn find(tx: &Tx, id: InvitationId) -> Result<Option<invitation::Model>> {
    by_id::<invitation::Entity>(tx.db(), id).await
}

/// Joins the account that invited, as the user who is signed in (U2, U5).
pub async fn accept_invitation(app: &App, caller: &Caller, named: LinkOrId<InvitationId>) -> Result<Seat> {
    app.tx(async |tx| {
        let row = peek(app, tx, &named).await?;
        let actor = tx.person(caller, row.iter().map(|row| row.account_id.into()).collect()).await?;
        let field = named.field("invitationId");
        let addressed = |row: &invitation::Model| {
            matches!(named, LinkOrId::Token(_)) || actor.verified_email_key() == Some(row.email_key.as_str())
        };
        // Read again now that the account is held: of two who take the last seat, the second sees the first.
        let row = peek(app, tx, &named).await?;
        let unknown = || UserError::new(UserErrorCode::NotFound, "There is no such invitation for you.").at([field]);
        let row = row.filter(addressed).ok_or_else(unknown)?;
        rules::answerable(&row, tx.now(), field)?;
        let user = actor.user.clone();
        if user.email_verified_at.is_none() && user.email_key == row.email_key {
            identity::address::mark_verified(tx, &user, Some(actor.session()?.id)).await?;
        }
        join(tx, &user, row, field).await
    })
    .await
}

/// The invitation that is named, before it is known who asks for it.
async fn peek(app: &App, tx: &Tx, named: &LinkOrId<InvitationId>) -> Result<Option<invitation::Model>> {
    match named {
        LinkOrId::Id(id) => find(tx, *id).await,
        LinkOrId::Token(token) => {
            let Some(id) = Keys::link_id(token).map(InvitationId) else { return Ok(None) };
            Ok(find(tx, id).await?.filter(|row| app.keys.is_link(token, Purpose::Invitation, id.0, row.version)))
        }
    }
}

/// Gives the invited person their place. The account is held and the invitation pending; seats and levels are checked again (U5).
pub async fn join(tx: &Tx, user: &user::Model, row: invitation::Model, field: &str) -> Result<Seat> {
    rules::may_bear(&row, user, field)?;
    let account = accounts::ops::find(tx, row.account_id).await?;
    if account.status != account::AccountStatus::Active {
        return Err(UserError::new(UserErrorCode::NotActive, "That account is closed.").at([field]).into());
    }
    if member_of(tx, account.id, user.id).await?.is_some() {
        return Err(UserError::new(UserErrorCode::AlreadyAUser, "You are a user of this account already.").at([field]).into());
    }
    accounts::rules::needs_level(account.plan, row.level)?;
    // The invitation's own seat is among those that are held.
    let held = u64::try_from(accounts::ops::seat_holders(tx, account.id).await?.len()).unwrap_or(u64::MAX);
    if account.plan.seats().is_some_and(|seats| held > seats) {
        return Err(UserError::new(UserErrorCode::NoSeatsLeft, "The account has no seat left. Ask who invited you.")
            .at([field])
            .into());
    }
    let member = accounts::ops::add_member(tx, account.id, user, row.level).await?;
    let sql = Sql::new("UPDATE invitations SET status = 'accepted', accepted_by = ")
        .bind(user.id)
        .push(", decided_at = ")
        .bind(tx.now());
    sql.push(" WHERE id = ").bind(row.id).run(tx.db()).await?;
    let joined = Happening::by(user.id, None, EventKind::UserJoined, member.0);
    let event = tx.append(joined, [LogId::from(account.id), user.id.into()]);
    if row.email_key != user.email_key {
        tell_inviter(tx, &row, event).await?;
    }
    Ok(Seat { account, level: row.level, via: None, by_key: false })
}

/// Whoever invited one address learns that somebody with another has joined (U2).
async fn tell_inviter(tx: &Tx, row: &invitation::Model, event: entity::EventId) -> Result<()> {
    let inviter = identity::ops::find_user(tx, row.invited_by).await?;
    tx.mail(&[Outgoing::to_user(&inviter, MailKind::InvitationAcceptedByAnother, event, row.id.0)]).await
}
