//! What happens to the access of an account's users: levels, suspending, revoking, leaving (U6–U8).

use super::{departure::Departure, rules};
use crate::{
    accounts::{self, ownership::tell_admins},
    actor::{Actor, Caller, member_of},
    app::{App, Outgoing, Tx},
    consequences::{ConsequenceKind, Consequences, Outcome},
    db::Sql,
    error::{Denied, Error, Fault, Result, UserError, UserErrorCode},
    identity::{
        erasure::{self, Traces},
        ops::find_user,
    },
    invitations::ops::{pending_for_admin, withdraw_all},
    permission::Permission,
};
use entity::{AccountId, NodeId, UserId, UserLevel, event::EventKind, invitation, mail::MailKind, member};

/// What [`set_user_level`] asks for.
pub const SET_LEVEL: Permission = Permission::SetUserAccessLevel;
/// What [`revoke_user`], [`suspend_user`] and [`reinstate_user`] ask for.
pub const REVOKE: Permission = Permission::RevokeAccountAccess;

/// The user's place in the account that the actor acts in.
pub(crate) async fn colleague(tx: &Tx, actor: &Actor, user: UserId) -> Result<member::Model> {
    let unknown = || UserError::new(UserErrorCode::NotFound, "There is no such user in this account.").at(["userId"]);
    Ok(member_of(tx, actor.seat()?.account.id, user).await?.ok_or_else(unknown)?)
}

fn ids(invitations: &[invitation::Model]) -> impl Iterator<Item = NodeId> {
    invitations.iter().map(|row| NodeId::Invitation(row.id))
}

async fn changed(tx: &Tx, member: &member::Model) -> Result<member::Model> {
    let changed = crate::db::by_id::<member::Entity>(tx.db(), member.id).await?;
    changed.ok_or_else(|| Fault::new(format!("no place {}", member.id)).into())
}

/// Gives a user another level. It counts from their very next request on (U6, L2).
pub async fn set_user_level(
    app: &App,
    caller: &Caller,
    user: UserId,
    level: UserLevel,
    dry_run: bool,
) -> Result<Outcome<member::Model>> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, SET_LEVEL, vec![user.into()]).await?;
        let member = colleague(tx, &actor, user).await?;
        let grant = actor.grant(level, tx.now())?;
        rules::may_set_level(actor.user.id, &member)?;
        accounts::rules::needs_level(actor.seat()?.account.plan, level)?;
        rules::may_govern(&find_user(tx, user).await?, level)?;
        if dry_run {
            if level >= member.level {
                return Ok(Outcome::Would(Consequences::default()));
            }
            let sent = pending_for_admin(tx, member.account_id, user).await?;
            let would = Consequences::default().and(ConsequenceKind::AccessShrinks, [NodeId::User(user)]);
            return Ok(Outcome::Would(would.and(ConsequenceKind::AdminInvitationRemains, ids(&sent))));
        }
        if level != member.level {
            Sql::new("UPDATE members SET level = ").bind(grant).push(" WHERE id = ").bind(member.id).run(tx.db()).await?;
            let what = actor.did(EventKind::UserLevelChanged, member.id.0).from(member.level.title()).to(level.title());
            let event = tx.append(what, [member.account_id.into(), user.into()]);
            if grant.is_admin() {
                tell_admins(tx, member.account_id, MailKind::AdminAdded, event).await?;
            }
        }
        changed(tx, &member).await.map(Outcome::Done)
    })
    .await
}

/// Keeps a user out until they are reinstated; their level, seat, keys and places rest (U6).
pub async fn suspend_user(app: &App, caller: &Caller, user: UserId, dry_run: bool) -> Result<Outcome<member::Model>> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, REVOKE, vec![user.into()]).await?;
        let member = colleague(tx, &actor, user).await?;
        rules::may_take_access(actor.user.id, &member)?;
        if dry_run {
            if member.suspended_at.is_some() {
                return Ok(Outcome::Would(Consequences::default()));
            }
            let sent = pending_for_admin(tx, member.account_id, user).await?;
            let would = Consequences::default().and(ConsequenceKind::AccessEnds, [NodeId::User(user)]);
            return Ok(Outcome::Would(would.and(ConsequenceKind::AdminInvitationRemains, ids(&sent))));
        }
        if member.suspended_at.is_none() {
            let sql = Sql::new("UPDATE members SET suspended_at = ").bind(tx.now()).push(" WHERE id = ").bind(member.id);
            sql.run(tx.db()).await?;
            tx.append(actor.did(EventKind::UserSuspended, member.id.0), [member.account_id.into(), user.into()]);
        }
        changed(tx, &member).await.map(Outcome::Done)
    })
    .await
}

/// Lets a suspended user in again, as they were (U6).
pub async fn reinstate_user(app: &App, caller: &Caller, user: UserId, dry_run: bool) -> Result<Outcome<member::Model>> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, REVOKE, vec![user.into()]).await?;
        let member = colleague(tx, &actor, user).await?;
        rules::may_take_access(actor.user.id, &member)?;
        let highest = member.level.max(highest_place(tx, &member).await?.unwrap_or(member.level));
        actor.grant(highest, tx.now())?;
        if dry_run {
            return Ok(Outcome::Would(Consequences::default()));
        }
        if member.suspended_at.is_some() {
            Sql::new("UPDATE members SET suspended_at = NULL WHERE id = ").bind(member.id).run(tx.db()).await?;
            let what = actor.did(EventKind::UserReinstated, member.id.0);
            let event = tx.append(what, [member.account_id.into(), user.into()]);
            if member.level == UserLevel::Admin {
                tell_admins(tx, member.account_id, MailKind::AdminAdded, event).await?;
            }
        }
        changed(tx, &member).await.map(Outcome::Done)
    })
    .await
}

/// The user's highest level in the accounts of this account's clients: it comes back with them.
async fn highest_place(tx: &Tx, member: &member::Model) -> Result<Option<UserLevel>> {
    let sql = Sql::new("SELECT p.level FROM places p JOIN connections c ON c.id = p.connection_id WHERE c.status = 'active'");
    let sql = sql.push(" AND c.agency_id = ").bind(member.account_id).push(" AND p.user_id = ").bind(member.user_id);
    sql.push(" ORDER BY p.level DESC LIMIT 1").one(tx.db(), |row| row.try_get_by_index(0)).await
}

/// How to revoke a user's access.
#[derive(Clone, Copy, Debug)]
pub struct Revoke {
    /// Whose.
    pub user: UserId,
    /// Cancel the pending Admin invitations that they sent, too.
    pub cancel_invitations: bool,
    /// Change nothing.
    pub dry_run: bool,
}

/// Ends a user's access, with all that they hold through it (U7, C11).
pub async fn revoke_user(app: &App, caller: &Caller, input: Revoke) -> Result<Outcome<UserId>> {
    let Revoke { user, cancel_invitations, dry_run } = input;
    let here = account_of(app, caller).await?;
    app.tx(async |tx| {
        let departure = Departure::find(tx, user, Some(here)).await?;
        let actor = tx.authorize(caller, REVOKE, departure.logs()).await?;
        departure.is_still(tx).await?;
        let member = colleague(tx, &actor, user).await?;
        rules::may_take_access(actor.user.id, &member)?;
        let sent = pending_for_admin(tx, here, user).await?;
        if dry_run {
            let kind =
                if cancel_invitations { ConsequenceKind::InvitationCanceled } else { ConsequenceKind::AdminInvitationRemains };
            return Ok(Outcome::Would(departure.consequences().and(kind, ids(&sent))));
        }
        let did = |kind, subject| actor.did(kind, subject);
        let events = departure.carry_out(tx, EventKind::UserRevoked, &did).await?;
        if cancel_invitations {
            withdraw_all(tx, &sent, &did).await?;
        }
        let former = find_user(tx, user).await?;
        let mails = events.into_iter().map(|event| Outgoing::to_user(&former, MailKind::AccessRevoked, event, user.0));
        tx.mail(&mails.collect::<Vec<_>>()).await?;
        Ok(Outcome::Done(user))
    })
    .await
}

/// Where the caller acts, to know which logs to hold; whether they may is asked within.
async fn account_of(app: &App, caller: &Caller) -> Result<AccountId> {
    Ok(caller.actor(app).await?.standing()?.account.id)
}

/// Who left, and whether their login is gone.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// The account.
    pub account: AccountId,
    /// Whether it was their last one.
    pub login_deleted: bool,
}

/// Leaves the account that the request acts in. Whoever is a direct user of no other is erased (U8), which asks who one is again.
pub async fn leave_account(app: &App, caller: &Caller, dry_run: bool) -> Result<Outcome<Left>> {
    let (user, account) = (caller.actor(app).await?.user.id, account_of(app, caller).await?);
    let done = app
        .tx(async |tx| {
            let departure = Departure::find(tx, user, Some(account)).await?;
            let traces = if is_elsewhere(tx, user, account).await? { None } else { Some(Traces::find(tx, user).await?) };
            let logs = traces.as_ref().map_or_else(|| departure.logs(), Traces::logs);
            let actor = tx.person(caller, logs).await?;
            departure.is_still(tx).await?;
            let login_deleted = traces.is_some();
            if is_elsewhere(tx, user, account).await? == login_deleted {
                return Err(Error::Contended(Fault::new("a user's accounts changed while they left one")));
            }
            let seat = actor.standing()?;
            if seat.via.is_some() {
                let reason = "You act here through an agency's connection: removeClientUser gives up a place there.".to_owned();
                return Err(Denied::Forbidden { permission: None, level: Some(seat.level), reason }.into());
            }
            if login_deleted && seat.level < UserLevel::Admin {
                actor.proved_lately(tx.now())?;
            }
            rules::may_leave(seat.level)?;
            let traces = match traces {
                Some(traces) => Some(traces.held(tx).await?),
                None => None,
            };
            if dry_run {
                let all = traces.map_or_else(|| departure.consequences(), |traces| traces.consequences(tx.now()));
                return Ok(Outcome::Would(all));
            }
            let did = |kind, subject| actor.did(kind, subject);
            match traces {
                Some(traces) => erasure::erase(tx, &actor.user, &traces, did).await?,
                None => departure.carry_out(tx, EventKind::UserLeft, &did).await.map(drop)?,
            }
            Ok(Outcome::Done(Left { account, login_deleted }))
        })
        .await?;
    if let Outcome::Done(Left { login_deleted: true, .. }) = done {
        app.db.empty_log().await;
    }
    Ok(done)
}

/// Whether somebody is a direct user of another account that is open.
async fn is_elsewhere(tx: &Tx, user: UserId, account: AccountId) -> Result<bool> {
    let sql = Sql::new(
        "SELECT count(*) FROM members m JOIN accounts a ON a.id = m.account_id AND a.status = 'active' WHERE m.user_id = ",
    );
    Ok(sql.bind(user).push(" AND m.account_id <> ").bind(account).count(tx.db()).await? > 0)
}
