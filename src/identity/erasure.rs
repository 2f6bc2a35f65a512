//! How a user is erased: by themselves, by the operator, or since they never proved their address (U8, I1).
//!
//! What is left is an id that names nobody. An address counts as theirs only once it is verified: who has merely typed somebody's
//! address must not take back what was sent there.

use super::ops::{end_sessions, find_user};
use crate::{
    accounts::{ownership, undo},
    actor::Caller,
    app::{App, Happening, Tx},
    connections::{
        self,
        ending::{As, Ending},
    },
    consequences::{ConsequenceKind, Consequences, Outcome},
    db::{ROWS_PER_STATEMENT, Sql, model, select},
    error::{Error, Fault, Result, UserError, UserErrorCode},
    events::security,
    invitations,
    users::departure::{Departure, Membership},
};
use entity::{
    AccountId, LogId, Moment, NodeId, UserId,
    connection::{self, ConnectionStatus},
    event::EventKind,
    invitation::{self, InvitationStatus},
    user,
};
use uuid::Uuid;

/// Erases oneself. Whoever owns an account transfers or closes it first (U8, I7).
pub async fn delete_user(app: &App, caller: &Caller, dry_run: bool) -> Result<Outcome<()>> {
    let id = caller.actor(app).await?.user.id;
    let done = app
        .tx(async |tx| {
            let traces = Traces::find(tx, id).await?;
            let actor = tx.proven(caller, traces.logs()).await?;
            let traces = traces.held(tx).await?;
            traces.own_nothing("You own an account: transfer it to somebody else, or close it, before you go.")?;
            if dry_run {
                return Ok(Outcome::Would(traces.consequences(tx.now())));
            }
            erase(tx, &actor.user, &traces, |kind, subject| actor.did(kind, subject)).await.map(Outcome::Done)
        })
        .await?;
    if matches!(done, Outcome::Done(())) {
        app.db.empty_log().await;
    }
    Ok(done)
}

/// Erases somebody as the operator. Whoever owns an account is refused (U8).
pub async fn erase_by_operator(app: &App, id: UserId) -> Result<()> {
    app.tx(async |tx| {
        let traces = Traces::find(tx, id).await?;
        tx.hold(traces.logs()).await?;
        let traces = traces.held(tx).await?;
        let user = find_user(tx, id).await?;
        traces.own_nothing("this user owns an open account: transfer it first, with `keyholder account transfer`")?;
        if user.erased_at.is_none() {
            erase(tx, &user, &traces, Happening::by_operator).await?;
        }
        Ok(())
    })
    .await?;
    app.db.empty_log().await;
    Ok(())
}

/// Erases somebody who has not verified their address in time, with an account that holds nobody else (I1). Answers whether they
/// were: one who verified meanwhile, or whose account others use, stays.
pub async fn erase_unverified(app: &App, id: UserId) -> Result<bool> {
    let erased = app
        .tx(async |tx| {
            let traces = Traces::find(tx, id).await?;
            let mut endings = Vec::new();
            for place in traces.owned() {
                endings.push(Ending::find(tx, place.account, As::Both).await?);
            }
            tx.hold(traces.logs().into_iter().chain(endings.iter().flat_map(Ending::logs)).collect()).await?;
            let traces = traces.held(tx).await?;
            let user = find_user(tx, id).await?;
            let stays = user.email_verified_at.is_some() || user.erased_at.is_some() || undo::depends_on(tx, id).await?;
            if stays || traces.owned().any(|place| place.shared) {
                return Ok(false);
            }
            for ending in endings {
                ending.is_still(tx).await?;
                ownership::close(tx, ending, Happening::by_itself).await?;
            }
            erase(tx, &user, &traces, Happening::by_itself).await?;
            Ok(true)
        })
        .await?;
    if erased {
        app.db.empty_log().await;
    }
    Ok(erased)
}

/// What an erased user is called.
pub const FORMER: &str = "Former user";
/// What a closed account is called whose Owner is erased.
const CLOSED: &str = "Closed account";

/// Where somebody has left traces that name them.
pub(crate) struct Traces {
    departure: Departure,
    /// The invitations to their verified address, and those that they joined by.
    invitations: Vec<invitation::Model>,
    /// The requests to their verified address.
    requests: Vec<connection::Model>,
}

impl Traces {
    /// In all tables.
    pub(crate) async fn find(tx: &Tx, user: UserId) -> Result<Self> {
        let key = Sql::new("SELECT email_key FROM users WHERE email_verified_at IS NOT NULL AND id = ").bind(user);
        let key: Option<String> = key.one(tx.db(), |row| row.try_get_by_index(0)).await?;
        let invitations = select::<invitation::Entity>("i").push(" WHERE i.email_key = ").bind(key.as_deref());
        let invitations = invitations.push(" OR i.accepted_by = ").bind(user).push(" ORDER BY i.id");
        let requests = select::<connection::Entity>("c").push(" WHERE c.client_email_key = ").bind(key.as_deref());
        Ok(Self {
            departure: Departure::find(tx, user, None).await?,
            invitations: invitations.all(tx.db(), model("i")).await?,
            requests: requests.push(" ORDER BY c.id").all(tx.db(), model("c")).await?,
        })
    }

    /// As they are now that their logs are held. There may be others by now, whose logs are not: then the work is run again.
    pub(crate) async fn held(self, tx: &Tx) -> Result<Self> {
        let now = Self::find(tx, self.departure.user).await?;
        if now.logs() == self.logs() && now.owned().eq(self.owned()) {
            return Ok(now);
        }
        Err(Error::Contended(Fault::new("somebody was invited or asked while they were erased")))
    }

    /// The logs that hear of it.
    pub(crate) fn logs(&self) -> Vec<LogId> {
        let invited = self.invitations.iter().map(|row| row.account_id);
        let asked = self.requests.iter().map(|row| row.agency_id);
        self.departure.logs().into_iter().chain(invited.chain(asked).map(LogId::from)).collect()
    }

    /// Refuses, in these words, to erase whoever owns an account that is open.
    fn own_nothing(&self, why: &str) -> Result<(), UserError> {
        let owned: Vec<_> = self.owned().map(|place| NodeId::Account(place.account)).collect();
        if owned.is_empty() { Ok(()) } else { Err(UserError::new(UserErrorCode::CannotLeave, why).blockers(owned)) }
    }

    /// What they own.
    fn owned(&self) -> impl Iterator<Item = &Membership> {
        self.departure.memberships.iter().filter(|place| place.owns)
    }

    fn pending(&self, now: Moment) -> (Vec<invitation::Model>, Vec<connection::Model>) {
        let invited = self.invitations.iter().filter(|row| row.status_at(now) == InvitationStatus::Pending);
        let asked = self.requests.iter().filter(|row| row.status_at(now) == ConnectionStatus::Pending);
        (invited.cloned().collect(), asked.cloned().collect())
    }

    /// What goes with them.
    pub(crate) fn consequences(&self, now: Moment) -> Consequences {
        let (invited, asked) = self.pending(now);
        self.departure
            .consequences()
            .and(ConsequenceKind::LoginDeleted, [NodeId::User(self.departure.user)])
            .and(ConsequenceKind::InvitationCanceled, invited.iter().map(|row| NodeId::Invitation(row.id)))
            .and(ConsequenceKind::RequestCanceled, asked.iter().map(|row| NodeId::Connection(row.id)))
    }
}

/// Takes a user's name, addresses and secrets out of everything; what is left is an id that names nobody. Who calls holds the
/// logs of their traces, and has closed what they own.
pub(crate) async fn erase(
    tx: &Tx,
    user: &user::Model,
    traces: &Traces,
    did: impl Fn(EventKind, Uuid) -> Happening,
) -> Result<()> {
    end_sessions(tx, user.id, None).await?;
    Sql::new("UPDATE sessions SET user_agent = NULL WHERE user_id = ").bind(user.id).run(tx.db()).await?;
    Sql::new("DELETE FROM recovery_codes WHERE user_id = ").bind(user.id).run(tx.db()).await?;
    erase_billing(tx, user, &did).await?;
    traces.departure.carry_out(tx, EventKind::UserLeft, &did).await?;
    erase_letters(tx, user, traces, &did).await?;
    erase_names(tx, user, traces).await?;
    erase_key_names(tx, user.id).await?;
    security::store::erase(tx, user.id).await?;
    erase_row(tx, user).await?;
    tx.append(did(EventKind::UserErased, user.id.0), [user.id.into()]);
    Ok(())
}

/// Their verified address is no account's for invoices any more: of those that they leave, and of those that they have closed.
async fn erase_billing(tx: &Tx, user: &user::Model, did: &impl Fn(EventKind, Uuid) -> Happening) -> Result<()> {
    let sql =
        Sql::new("DELETE FROM billing WHERE account_id IN (SELECT id FROM accounts WHERE status = 'closed' AND owner_id = ");
    sql.bind(user.id).push(")").run(tx.db()).await?;
    if user.email_verified_at.is_none() {
        return Ok(());
    }
    let sql = Sql::new("UPDATE billing SET email = NULL WHERE lower(email) IN (").bind(user.email_key.as_str()).push(", ");
    let sql = sql.bind(user.email.to_lowercase()).push(") AND account_id IN (SELECT m.account_id FROM members m");
    let sql = sql.push(" JOIN accounts a ON a.id = m.account_id AND a.status = 'active' WHERE m.user_id = ").bind(user.id);
    let changed: Vec<AccountId> = sql.push(") RETURNING account_id").all(tx.db(), |row| row.try_get_by_index(0)).await?;
    for account in changed {
        tx.append(did(EventKind::BillingChanged, account.0), [account.into()]);
    }
    Ok(())
}

/// The names of the API keys that they created, from the events that tell of their creation and of their end, whoever ended them.
async fn erase_key_names(tx: &Tx, user: UserId) -> Result<()> {
    let sql = Sql::new("UPDATE events SET after = NULL, before = CASE WHEN kind = 'api_key_created' THEN before END");
    let sql = sql.push(" WHERE kind IN ('api_key_created', 'api_key_revoked') AND subject_id IN");
    let sql = sql.push(" (SELECT c.subject_id FROM events c WHERE c.kind = 'api_key_created' AND c.actor_id = ").bind(user);
    sql.push(")").run(tx.db()).await?;
    Ok(())
}

/// An account that they closed may have their name, and so may what they called others, what accounts of theirs were called by
/// others, and what they wrote to people.
async fn erase_names(tx: &Tx, user: &user::Model, traces: &Traces) -> Result<()> {
    let closed = "(SELECT id FROM accounts WHERE status = 'closed' AND owner_id = ";
    let sql = Sql::new("UPDATE events SET before = NULL, after = NULL WHERE kind = 'account_renamed' AND subject_id IN ");
    sql.push(closed).bind(user.id).push(")").run(tx.db()).await?;
    let sql = Sql::new("UPDATE accounts SET name = ").bind(CLOSED).push(", name_key = ").bind(CLOSED.to_lowercase());
    sql.push(" WHERE id IN ").push(closed).bind(user.id).push(")").run(tx.db()).await?;
    let written = [
        (
            "events",
            "before = NULL, after = NULL",
            "coalesce(before, '') || ' ' || coalesce(after, '')",
            "kind = 'account_renamed' AND actor_id = ",
        ),
        (
            "events",
            "before = NULL, after = NULL",
            "coalesce(before, '') || ' ' || coalesce(after, '')",
            "kind = 'account_renamed' AND subject_id IN ",
        ),
        ("invitations", "message = NULL", "message", "message IS NOT NULL AND invited_by = "),
        ("connections", "message = NULL", "message", "message IS NOT NULL AND requested_by = "),
    ];
    for (table, nothing, words, by) in written {
        let sql = Sql::new(format!("SELECT id, {words} FROM {table} WHERE {by}"));
        let accounts = traces.departure.memberships.iter().map(|place| place.account);
        let sql = if by.ends_with("IN ") { sql.list(accounts) } else { sql.bind(user.id) };
        let read = |row: &sea_orm::QueryResult| Ok((row.try_get_by_index::<Uuid>(0)?, row.try_get_by_index::<String>(1)?));
        let named = sql.all(tx.db(), read).await?.into_iter().filter(|(_, words)| words.to_lowercase().contains(&user.name_key));
        let named: Vec<_> = named.map(|(id, _)| id).collect();
        for ids in named.chunks(ROWS_PER_STATEMENT) {
            let sql = Sql::new(format!("UPDATE {table} SET {nothing} WHERE id IN ")).list(ids.iter().copied());
            sql.run(tx.db()).await?;
        }
    }
    Ok(())
}

/// What was sent to them: nothing pending waits for an answer any more, and nothing keeps the address.
async fn erase_letters(tx: &Tx, user: &user::Model, traces: &Traces, did: &impl Fn(EventKind, Uuid) -> Happening) -> Result<()> {
    let (invited, asked) = traces.pending(tx.now());
    invitations::ops::withdraw_all(tx, &invited, did).await?;
    connections::ops::withdraw_all(tx, &asked, did).await?;
    let nobody = nobody(user.id);
    let invitations: Vec<_> = traces.invitations.iter().map(|row| row.id).collect();
    let letters = [
        ("invitations", "email", "message", "id", invitations.iter().map(|id| id.0).collect::<Vec<_>>()),
        ("connections", "client_email", "message", "id", traces.requests.iter().map(|row| row.id.0).collect()),
        ("mails", "to_email", "detail", "subject_id", traces.requests.iter().map(|row| row.id.0).collect()),
        ("mails", "to_email", "detail", "subject_id", invitations.iter().map(|id| id.0).collect()),
        ("mails", "to_email", "detail", "user_id", vec![user.id.0]),
    ];
    for (table, email, words, id, ids) in letters {
        for ids in ids.chunks(ROWS_PER_STATEMENT) {
            // What was written to them may name them too, and a mail server's answer their address. Of what is about others'
            // things, only what went to them.
            let sql = Sql::new(format!("UPDATE {table} SET {words} = NULL, {email} = '', {email}_key = ")).bind(nobody.as_str());
            let sql = sql.push(&format!(" WHERE {id} IN ")).list(ids.iter().copied());
            match (table, id) {
                ("mails", "subject_id") => sql.push(" AND kind IN ('invitation', 'access_request')"),
                _ => sql,
            }
            .run(tx.db())
            .await?;
        }
    }
    // An invitation that was sent on to another address has left a mail to theirs.
    let verified = user.email_verified_at.map(|_| user.email_key.as_str());
    let sql = Sql::new("UPDATE mails SET detail = NULL, to_email = '', to_email_key = ").bind(nobody.as_str());
    sql.push(" WHERE to_email_key = ").bind(verified).run(tx.db()).await?;
    let sql = Sql::new("UPDATE blocks SET email_key = NULL WHERE email_key = ").bind(verified);
    sql.run(tx.db()).await?;
    let sql =
        Sql::new("UPDATE mails SET status = 'failed', detail = 'Not sent: nobody is there any more.' WHERE status = 'queued'");
    sql.push(" AND to_email_key = ").bind(nobody).run(tx.db()).await?;
    Ok(())
}

/// What stands where an address has to be one of its own.
fn nobody(user: UserId) -> String {
    format!("erased:{user}")
}

async fn erase_row(tx: &Tx, user: &user::Model) -> Result<()> {
    let nobody = nobody(user.id);
    let sql = Sql::new("UPDATE users SET name = ").bind(FORMER).push(", name_key = ").bind(FORMER.to_lowercase());
    let sql = sql.push(", username = ").bind(user.id.to_string()).push(", username_key = ").bind(nobody.as_str());
    let sql = sql.push(", email = '', email_key = ").bind(nobody.as_str()).push(", email_verified_at = NULL, password_hash = ''");
    let sql = sql.push(", last_account_id = NULL, pending_email = NULL, pending_email_key = NULL, two_factor_since = NULL");
    let sql = sql.push(", claimed_invitation_id = NULL");
    let sql = sql.push(", reset_version = reset_version + 1, email_version = email_version + 1, erased_at = ").bind(tx.now());
    sql.push(" WHERE id = ").bind(user.id).run(tx.db()).await?;
    Ok(())
}
