//! What users say of themselves, and how they are erased (U8).

use super::ops::{end_sessions, find_user};
use crate::{
    actor::Caller,
    app::{App, Happening, Tx},
    connections,
    consequences::{ConsequenceKind, Consequences, Outcome},
    db::{OnTaken, Sql, model, select},
    error::{Error, Fault, Result, UserError, UserErrorCode},
    invitations, text,
    users::departure::{Departure, Membership},
};
use entity::{
    AccountId, LogId, Moment, NodeId, UserId, account,
    connection::{self, ConnectionStatus},
    event::EventKind,
    invitation::{self, InvitationStatus},
    user,
};

/// Changes name or username.
pub async fn update(app: &App, caller: &Caller, name: Option<&str>, username: Option<&str>) -> Result<user::Model> {
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

/// Erases oneself. Whoever owns an account transfers or closes it first (U8, I7).
pub async fn delete_user(app: &App, caller: &Caller, dry_run: bool) -> Result<Outcome<()>> {
    let id = caller.actor(app).await?.user.id;
    let done = app
        .tx(async |tx| {
            let traces = Traces::find(tx, id).await?;
            let actor = tx.proven(caller, traces.logs()).await?;
            traces.are_all(tx).await?;
            traces.own_nothing("You own an account: transfer it to somebody else, or close it, before you go.")?;
            if dry_run {
                return Ok(Outcome::Would(traces.consequences(tx.now())));
            }
            erase(tx, &actor.user, &traces, |kind, subject| actor.did(kind, subject)).await.map(Outcome::Done)
        })
        .await?;
    app.db.empty_log().await;
    Ok(done)
}

/// Erases somebody as the operator. Whoever owns an account is refused (U8).
pub async fn erase_by_operator(app: &App, id: UserId) -> Result<()> {
    app.tx(async |tx| {
        let traces = Traces::find(tx, id).await?;
        tx.hold(traces.logs()).await?;
        traces.are_all(tx).await?;
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
            tx.hold(traces.logs()).await?;
            traces.are_all(tx).await?;
            let user = find_user(tx, id).await?;
            let stays = user.email_verified_at.is_some() || user.erased_at.is_some();
            if stays || traces.owned().any(|place| place.shared) {
                return Ok(false);
            }
            for place in traces.owned() {
                close_with_owner(tx, place.account).await?;
            }
            erase(tx, &user, &traces, Happening::by_itself).await?;
            Ok(true)
        })
        .await?;
    app.db.empty_log().await;
    Ok(erased)
}

/// Closes an account that goes with its only user, whose name it may have.
async fn close_with_owner(tx: &Tx, account: AccountId) -> Result<()> {
    let sql = Sql::new("UPDATE accounts SET status = ").bind(account::AccountStatus::Closed).push(", name = ").bind(CLOSED);
    sql.push(", name_key = ").bind(CLOSED.to_lowercase()).push(" WHERE id = ").bind(account).run(tx.db()).await?;
    tx.append(Happening::by_itself(EventKind::AccountClosed, account.0), [account.into()]);
    Ok(())
}

/// What an erased user is called.
pub const FORMER: &str = "Former user";
/// What an account is called that went with its only user.
const CLOSED: &str = "Closed account";

/// Where somebody has left traces that name them.
pub(crate) struct Traces {
    departure: Departure,
    invitations: Vec<invitation::Model>,
    requests: Vec<connection::Model>,
}

impl Traces {
    /// In all tables.
    pub(crate) async fn find(tx: &Tx, user: UserId) -> Result<Self> {
        let key = || Sql::new("SELECT email_key FROM users WHERE id = ").bind(user);
        let key: Option<String> = key().one(tx.db(), |row| row.try_get_by_index(0)).await?;
        let invitations = select::<invitation::Entity>("i").push(" WHERE i.email_key = ").bind(key.as_deref());
        let requests = select::<connection::Entity>("c").push(" WHERE c.client_email_key = ").bind(key.as_deref());
        Ok(Self {
            departure: Departure::find(tx, user, None).await?,
            invitations: invitations.all(tx.db(), model("i")).await?,
            requests: requests.all(tx.db(), model("c")).await?,
        })
    }

    /// Has the work run again when there is another one by now, whose log is not held.
    pub(crate) async fn are_all(&self, tx: &Tx) -> Result<()> {
        let user = self.departure.user;
        if Self::find(tx, user).await?.logs() == self.logs() {
            return Ok(());
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

    /// What goes with them.
    pub(crate) fn consequences(&self, now: Moment) -> Consequences {
        let invited = self.invitations.iter().filter(|row| row.status_at(now) == InvitationStatus::Pending);
        let asked = self.requests.iter().filter(|row| row.status_at(now) == ConnectionStatus::Pending);
        self.departure
            .consequences()
            .and(ConsequenceKind::LoginDeleted, [NodeId::User(self.departure.user)])
            .and(ConsequenceKind::InvitationCanceled, invited.map(|row| NodeId::Invitation(row.id)))
            .and(ConsequenceKind::RequestCanceled, asked.map(|row| NodeId::Connection(row.id)))
    }

    /// Whether they are a direct user of this account and of no other that is open.
    pub(crate) fn is_only_in(&self, account: AccountId) -> bool {
        self.departure.memberships.iter().all(|place| place.account == account)
    }
}

/// Takes a user's name, addresses and secrets out of everything; what is left is an id that names nobody. Who calls holds the
/// logs of their traces, and has closed what they own.
pub(crate) async fn erase(
    tx: &Tx,
    user: &user::Model,
    traces: &Traces,
    did: impl Fn(EventKind, uuid::Uuid) -> Happening,
) -> Result<()> {
    end_sessions(tx, user.id, None).await?;
    Sql::new("DELETE FROM recovery_codes WHERE user_id = ").bind(user.id).run(tx.db()).await?;
    traces.departure.carry_out(tx, EventKind::UserLeft, &did).await?;
    erase_letters(tx, user, traces, &did).await?;
    erase_names(tx, user).await?;
    erase_row(tx, user).await?;
    tx.append(did(EventKind::UserErased, user.id.0), [user.id.into()]);
    Ok(())
}

/// An account that they closed may have their name, and what they renamed too.
async fn erase_names(tx: &Tx, user: &user::Model) -> Result<()> {
    let sql = Sql::new("UPDATE accounts SET name = ").bind(CLOSED).push(", name_key = ").bind(CLOSED.to_lowercase());
    sql.push(" WHERE status = 'closed' AND owner_id = ").bind(user.id).run(tx.db()).await?;
    let sql =
        Sql::new("DELETE FROM billing WHERE account_id IN (SELECT id FROM accounts WHERE status = 'closed' AND owner_id = ");
    sql.bind(user.id).push(")").run(tx.db()).await?;
    Sql::new("UPDATE billing SET email = NULL WHERE email = ").bind(user.email.as_str()).run(tx.db()).await?;
    let sql = Sql::new("UPDATE events SET before = NULL, after = NULL WHERE kind = 'account_renamed' AND actor_id = ");
    sql.bind(user.id).run(tx.db()).await?;
    Ok(())
}

/// What was sent to them: nothing pending waits for an answer any more, and nothing keeps the address.
async fn erase_letters(
    tx: &Tx,
    user: &user::Model,
    traces: &Traces,
    did: &impl Fn(EventKind, uuid::Uuid) -> Happening,
) -> Result<()> {
    let pending = traces.invitations.iter().filter(|row| row.status_at(tx.now()) == InvitationStatus::Pending);
    invitations::ops::withdraw_all(tx, &pending.cloned().collect::<Vec<_>>(), did).await?;
    for row in traces.requests.iter().filter(|row| row.status_at(tx.now()) == ConnectionStatus::Pending) {
        connections::ops::withdraw(tx, row, did(EventKind::ClientAccessCanceled, row.id.0)).await?;
    }
    let nobody = nobody(user.id);
    let letters = [
        ("invitations", "email", "message = NULL, "),
        ("connections", "client_email", "message = NULL, "),
        ("mails", "to_email", ""),
    ];
    for (table, email, words) in letters {
        // What was written to them may name them too.
        let sql = Sql::new(format!("UPDATE {table} SET {words}{email} = '', {email}_key = ")).bind(nobody.as_str());
        sql.push(&format!(" WHERE {email}_key = ")).bind(user.email_key.as_str()).run(tx.db()).await?;
    }
    let sql = Sql::new("UPDATE mails SET to_email = '', to_email_key = ").bind(nobody.as_str()).push(" WHERE user_id = ");
    sql.bind(user.id).run(tx.db()).await?;
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
    let sql = sql.push(", reset_version = reset_version + 1, email_version = email_version + 1, erased_at = ").bind(tx.now());
    sql.push(" WHERE id = ").bind(user.id).run(tx.db()).await?;
    Ok(())
}
