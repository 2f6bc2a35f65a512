//! What happens when people are invited and join.

use super::rules;
use crate::{
    accounts,
    actor::{Actor, Caller, Seat, member_of},
    app::{App, Happening, Outgoing, Tx},
    db::{ROWS_PER_STATEMENT, Sql, by_id, insert_all, model, select},
    error::{Error, Fault, Result, UserError, UserErrorCode},
    identity,
    keys::{Keys, LinkOrId, Purpose},
    limits::{Counted, Rolling, not_too_soon},
    permission::Permission,
    text::{self, Email},
};
use entity::{
    AccountId, EventId, InvitationId, LogId, Moment, UserId, UserLevel, account,
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
        actor.grant(input.level, tx.now())?;
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
        let seats = accounts::ops::seats_left(tx, account).await?;
        let day = Rolling::read(tx.db(), Counted::Invitations(account.id), app.config.invitations_per_day, tx.now()).await?;
        Ok(Self {
            users: users.into_iter().collect(),
            invited: invited.into_iter().map(|row| row.email_key).collect(),
            seats,
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
        sent_by: None,
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
    let mails = invitations
        .iter()
        .map(|row| letter(row, tx.append(actor.did(EventKind::UserInvited, row.id.0), [LogId::from(row.account_id)])));
    tx.mail(&mails.collect::<Vec<_>>()).await
}

fn letter(row: &invitation::Model, event: EventId) -> Outgoing<'_> {
    let to = (row.email.as_str(), row.email_key.as_str());
    Outgoing { kind: MailKind::Invitation, event, subject: row.id.0, version: row.version, to, user: None }
}

/// Writes down that these have expired (E6). Their accounts are held.
pub async fn expire(tx: &Tx, rows: &[invitation::Model]) -> Result<()> {
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let sql = Sql::new("UPDATE invitations SET status = 'expired', decided_at = expires_at WHERE id IN ");
        sql.list(rows.iter().map(|row| row.id)).run(tx.db()).await?;
        for row in rows {
            tx.append(Happening::by_itself(EventKind::InvitationExpired, row.id.0), [LogId::from(row.account_id)]);
        }
    }
    Ok(())
}

/// Takes these back, for the reason that the event tells. Their accounts are held.
pub async fn withdraw_all(tx: &Tx, rows: &[invitation::Model], did: &impl Fn(EventKind, Uuid) -> Happening) -> Result<()> {
    for rows in rows.chunks(ROWS_PER_STATEMENT) {
        let sql = Sql::new("UPDATE invitations SET status = ").bind(InvitationStatus::Canceled).push(", decided_at = ");
        let sql = sql.bind(tx.now()).push(" WHERE status = 'pending' AND id IN ").list(rows.iter().map(|row| row.id));
        sql.run(tx.db()).await?;
        for row in rows {
            tx.append(did(EventKind::InvitationCanceled, row.id.0), [LogId::from(row.account_id)]);
        }
    }
    Ok(())
}

/// The pending Admin invitations of an account that a user sent or resent: each still makes somebody an Admin when its sender is gone.
pub async fn pending_for_admin(tx: &Tx, account: AccountId, sender: UserId) -> Result<Vec<invitation::Model>> {
    let sql = select::<invitation::Entity>("i").push(" WHERE i.status = 'pending' AND i.account_id = ").bind(account);
    let sql = sql.push(" AND i.level = ").bind(UserLevel::Admin).push(" AND i.expires_at > ").bind(tx.now());
    let sql = sql.push(" AND (i.invited_by = ").bind(sender).push(" OR i.sent_by = ").bind(sender);
    sql.push(") ORDER BY i.id").all(tx.db(), model("i")).await
}

/// An invitation of the account that the actor acts in.
async fn own(tx: &Tx, actor: &Actor, id: InvitationId) -> Result<invitation::Model> {
    let here = actor.seat()?.account.id;
    let unknown = || UserError::new(UserErrorCode::NotFound, "There is no such invitation here.").at(["invitationId"]);
    Ok(find(tx, id).await?.filter(|row| row.account_id == here).ok_or_else(unknown)?)
}

/// Takes a pending invitation back: its link is dead and its seat free. It has used its place of the day (U1).
pub async fn cancel_invitation(app: &App, caller: &Caller, id: InvitationId) -> Result<invitation::Model> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, INVITE_USERS, Vec::new()).await?;
        let row = own(tx, &actor, id).await?;
        rules::answerable(&row, tx.now(), "invitationId")?;
        withdraw_all(tx, &[row], &|kind, subject| actor.did(kind, subject)).await?;
        own(tx, &actor, id).await
    })
    .await
}

/// Sends an invitation again, with a new link and new time, to another address if one is given. One that has expired lives again (U3).
pub async fn resend_invitation(app: &App, caller: &Caller, id: InvitationId, email: Option<&str>) -> Result<invitation::Model> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, INVITE_USERS, Vec::new()).await?;
        let row = own(tx, &actor, id).await?;
        actor.grant(row.level, tx.now())?;
        identity::rules::needs_verified_email(&actor.user)?;
        rules::resendable(&row, tx.now())?;
        let email = email.map(text::email).transpose();
        let email = email.map_err(|why| UserError::new(UserErrorCode::Invalid, why).at(["email"]))?;
        let email = email.filter(|email| email.key != row.email_key);
        if email.is_none() && row.email.is_empty() {
            let why = "The person whom it was sent to is gone. Invite another address.";
            return Err(UserError::new(UserErrorCode::NotActive, why).at(["invitationId"]).into());
        }
        let standing = (row.status_at(tx.now()) == InvitationStatus::Pending).then_some(row.sent_at);
        not_too_soon(app, tx, (MailKind::Invitation, id.0), standing, "invitationId").await?;
        check_again(app, tx, &actor, &row, email.as_ref()).await?;
        let (address, key) = email.map_or((row.email, row.email_key), |email| (email.address, email.key));
        let sql = Sql::new("UPDATE invitations SET version = version + 1, status = 'pending', decided_at = NULL, email = ");
        let sql = sql.bind(address).push(", email_key = ").bind(key).push(", sent_at = ").bind(tx.now()).push(", expires_at = ");
        let sql = sql.bind(tx.now() + app.config.invitation_ttl).push(", sent_by = ").bind(actor.user.id);
        sql.push(" WHERE id = ").bind(id).run(tx.db()).await?;
        let row = own(tx, &actor, id).await?;
        let event = tx.append(actor.did(EventKind::InvitationResent, id.0), [LogId::from(row.account_id)]);
        tx.mail(&[letter(&row, event)]).await?;
        Ok(row)
    })
    .await
}

/// One that lives again is checked as a new one, and one that goes to another address as one to that address, which takes a place
/// of the day's limit (U3).
async fn check_again(app: &App, tx: &Tx, actor: &Actor, row: &invitation::Model, email: Option<&Email>) -> Result<()> {
    let account = &actor.seat()?.account;
    let revived = row.status_at(tx.now()) == InvitationStatus::Expired;
    if !revived && email.is_none() {
        return Ok(());
    }
    if row.status == InvitationStatus::Pending && revived {
        expire(tx, std::slice::from_ref(row)).await?;
    }
    accounts::rules::needs_level(account.plan, row.level)?;
    let same = Email { address: row.email.clone(), key: row.email_key.clone() };
    let email_at = if email.is_some() { "email" } else { "invitationId" };
    let target = email.unwrap_or(&same);
    let mut desk = Desk::open(app, tx, account, std::slice::from_ref(&(0, target.clone()))).await?;
    // Its own seat is free already when it has expired, and goes along otherwise; only another address takes a place of the day.
    desk.seats = if revived { desk.seats } else { None };
    desk.quota = if email.is_some() { desk.quota } else { u32::MAX };
    desk.admit(target).map_err(|error| error.at([email_at]))?;
    if email.is_some() {
        let sql =
            Sql::new("INSERT INTO readdressings (id, account_id, invitation_id, created_at) VALUES (").bind(tx.id::<Uuid>());
        let sql = sql.push(", ").bind(account.id).push(", ").bind(row.id).push(", ").bind(tx.now()).push(")");
        sql.run(tx.db()).await?;
    }
    Ok(())
}

/// Says no to an invitation: by its link, which needs no sign-in, or as the user of the verified address (U2).
pub async fn decline_invitation(app: &App, caller: &Caller, named: LinkOrId<InvitationId>) -> Result<invitation::Model> {
    let field = named.field("invitationId");
    app.tx(async |tx| {
        let unknown = || UserError::new(UserErrorCode::NotFound, NOT_ADDRESSED).at([field]);
        let (row, actor) = match &named {
            LinkOrId::Token(token) => (pending_by_token(app, tx, token, field).await?, None),
            LinkOrId::Id(id) => {
                let account = find(tx, *id).await?.map(|row| row.account_id.into());
                let actor = tx.person(caller, account.into_iter().collect()).await?;
                let row = find(tx, *id).await?;
                let row = row.filter(|row| actor.verified_email_key() == Some(row.email_key.as_str()));
                (row.ok_or_else(unknown)?, Some(actor))
            }
        };
        rules::answerable(&row, tx.now(), field)?;
        let sql = Sql::new("UPDATE invitations SET status = ").bind(InvitationStatus::Declined).push(", decided_at = ");
        sql.bind(tx.now()).push(" WHERE id = ").bind(row.id).run(tx.db()).await?;
        let declined = |kind, subject| match &actor {
            Some(actor) => Happening::by(actor.user.id, None, kind, subject),
            None => Happening::by_itself(kind, subject),
        };
        let event = tx.append(declined(EventKind::InvitationDeclined, row.id.0), [LogId::from(row.account_id)]);
        let inviter = who_answers_for(tx, &row).await?;
        tx.mail(&[Outgoing::to_user(&inviter, MailKind::InvitationDeclined, event, row.id.0)]).await?;
        find(tx, row.id).await?.ok_or_else(|| unknown().into())
    })
    .await
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

/// What answers an id or a token that leads to no invitation for the user.
const NOT_ADDRESSED: &str = "There is no such invitation to your verified address. Verify your address first, or use the link in \
                             the invitation e-mail.";

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
        let unknown = || UserError::new(UserErrorCode::NotFound, NOT_ADDRESSED).at([field]);
        let row = row.filter(addressed).ok_or_else(unknown)?;
        rules::answerable(&row, tx.now(), field)?;
        join(tx, &actor.user, row, field).await
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
    rules::may_join(&row, user, field)?;
    let account = accounts::ops::find(tx, row.account_id).await?;
    if account.status != account::AccountStatus::Active {
        return Err(UserError::new(UserErrorCode::NotActive, "That account is closed.").at([field]).into());
    }
    if member_of(tx, account.id, user.id).await?.is_some() {
        return Err(UserError::new(UserErrorCode::AlreadyAUser, "You are a user of this account already.").at([field]).into());
    }
    accounts::rules::needs_level(account.plan, row.level)?;
    // The invitation's own seat is among those that are held.
    if accounts::ops::seats_held(tx, account.id).await? > account.plan.seats().unwrap_or(u64::MAX) {
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
    if row.level == UserLevel::Admin {
        accounts::ownership::tell_admins(tx, account.id, MailKind::AdminAdded, event).await?;
    }
    if row.email_key != user.email_key {
        tell_inviter(tx, &row, event).await?;
    }
    Ok(Seat::direct(account, row.level))
}

/// The account of the Admin invitation that an unverified user signed up with.
pub async fn account_of_claim(app: &App, user: &user::Model) -> Result<Option<AccountId>> {
    let Some(id) = user.claimed_invitation_id else { return Ok(None) };
    Ok(by_id::<invitation::Entity>(app.reader(), id).await?.map(|row| row.account_id))
}

/// Joins by the Admin invitation that the user signed up with, now that their address is verified. The account is held. The inner
/// error says why they can't join; nothing has changed then (U2, U5).
pub async fn join_by_claim(tx: &Tx, user: &user::Model, id: InvitationId) -> Result<Result<Seat, UserError>> {
    let Some(row) = find(tx, id).await? else { return Err(Fault::new(format!("no invitation {id}")).into()) };
    let joined = match rules::answerable(&row, tx.now(), "token") {
        Ok(()) => join(tx, user, row, "token").await,
        Err(error) => Err(error.into()),
    };
    match joined {
        Ok(seat) => Ok(Ok(seat)),
        Err(Error::User(error)) => Ok(Err(*error)),
        Err(error) => Err(error),
    }
}

/// Whoever invited one address learns that somebody with another has joined (U2).
async fn tell_inviter(tx: &Tx, row: &invitation::Model, event: EventId) -> Result<()> {
    let inviter = who_answers_for(tx, row).await?;
    tx.mail(&[Outgoing::to_user(&inviter, MailKind::InvitationAcceptedByAnother, event, row.id.0)]).await
}

/// Whoever invited, if they can still act in the account; else its Owner.
async fn who_answers_for(tx: &Tx, row: &invitation::Model) -> Result<user::Model> {
    let inviter = member_of(tx, row.account_id, row.invited_by).await?.filter(|member| member.suspended_at.is_none());
    let user = match inviter {
        Some(member) => member.user_id,
        None => accounts::ops::find(tx, row.account_id).await?.owner_id,
    };
    identity::ops::find_user(tx, user).await
}
