//! Undoing a transfer of ownership that an Admin asked for (U9, I7).
//!
//! The former Owner gets a link by e-mail that works for 72 hours. Nothing that the new Owner or an Admin can do meanwhile defeats it:
//! not ending or suspending the former Owner's access, not a smaller plan, not another transfer, not closing the account.

use super::{ops::find, ownership};
use crate::{
    actor::member_of,
    app::{App, Happening, Outgoing, Tx},
    db::{Sql, by_id, model, select},
    error::{Error, Fault, Result, UserError, UserErrorCode},
    identity::ops::find_user,
    keys::{Keys, Purpose},
};
use chrono::TimeDelta;
use entity::{
    AccountId, Moment, TransferId, UserId, UserLevel,
    account::{self, AccountStatus},
    event::EventKind,
    mail::MailKind,
    ownership_transfer,
};
use sea_orm::{EntityTrait, IntoActiveModel};

/// How long the former Owner can undo a transfer.
pub const UNDO_TTL: TimeDelta = TimeDelta::hours(72);
/// The version of every link to undo a transfer: there is one link for each transfer.
pub const LINK_VERSION: i64 = 1;

/// Whether the former Owner can still undo a transfer.
pub fn is_open(row: &ownership_transfer::Model, now: Moment) -> bool {
    row.settled_at.is_none() && now < row.at + UNDO_TTL
}

/// Records a transfer, and answers its id if the Owner can undo it.
///
/// An Owner who asks for a transfer agrees to it, and gives up what they could take back before. A transfer by an Admin can be undone,
/// except by whoever owns the account through a transfer that the new Owner can undo.
pub(super) async fn record(tx: &Tx, account: &account::Model, new_owner: UserId, asked_by: UserId) -> Result<Option<TransferId>> {
    if asked_by == account.owner_id {
        let sql = Sql::new("UPDATE ownership_transfers SET settled_at = ").bind(tx.now()).push(" WHERE settled_at IS NULL");
        sql.push(" AND account_id = ").bind(account.id).push(" AND former_owner_id = ").bind(asked_by).run(tx.db()).await?;
        return Ok(None);
    }
    if first_open_of(tx, account.id, new_owner).await?.is_some() {
        return Ok(None);
    }
    let row = ownership_transfer::Model {
        id: tx.id(),
        account_id: account.id,
        former_owner_id: account.owner_id,
        new_owner_id: new_owner,
        asked_by,
        at: tx.now(),
        settled_at: None,
    };
    let id = row.id;
    ownership_transfer::Entity::insert(row.into_active_model()).exec_without_returning(tx.db()).await?;
    Ok(Some(id))
}

/// The first transfer that a user can undo now.
async fn first_open_of(tx: &Tx, account: AccountId, former: UserId) -> Result<Option<ownership_transfer::Model>> {
    let sql = open(tx.now()).push(" AND t.account_id = ").bind(account).push(" AND t.former_owner_id = ").bind(former);
    sql.push(" ORDER BY t.at LIMIT 1").one(tx.db(), model("t")).await
}

/// Makes the transfers final that rest on one which this user can undo, now that they are the Owner again. Their own stays open: who
/// gives an account back for a moment must not take the undo away.
pub(super) async fn regained(tx: &Tx, account: AccountId, owner: UserId) -> Result<()> {
    let Some(first) = first_open_of(tx, account, owner).await? else { return Ok(()) };
    let sql = Sql::new("UPDATE ownership_transfers SET settled_at = ").bind(tx.now()).push(" WHERE settled_at IS NULL");
    let sql = sql.push(" AND account_id = ").bind(account).push(" AND at >= ").bind(first.at);
    sql.push(" AND former_owner_id <> ").bind(owner).run(tx.db()).await.map(drop)
}

/// Makes an account's transfers final that were asked for at a moment or later: all of them, when the operator decides who owns it.
pub(crate) async fn settle_since(tx: &Tx, account: AccountId, at: Moment) -> Result<()> {
    let sql = Sql::new("UPDATE ownership_transfers SET settled_at = ").bind(tx.now()).push(" WHERE settled_at IS NULL");
    sql.push(" AND account_id = ").bind(account).push(" AND at >= ").bind(at).run(tx.db()).await.map(drop)
}

fn open(now: Moment) -> Sql {
    select::<ownership_transfer::Entity>("t").push(" WHERE t.settled_at IS NULL AND t.at > ").bind(now - UNDO_TTL)
}

/// Refuses to close an account while a transfer of its ownership can be undone.
pub(super) async fn needs_none_open(tx: &Tx, account: &account::Model) -> Result<()> {
    let sql = open(tx.now()).push(" AND t.account_id = ").bind(account.id).push(" ORDER BY t.at DESC LIMIT 1");
    let row: Option<ownership_transfer::Model> = sql.one(tx.db(), model("t")).await?;
    let Some(row) = row else { return Ok(()) };
    let until = row.at + UNDO_TTL;
    let why = format!(
        "An Admin transferred the ownership of {}, and the former Owner can undo that until {}. Close the account after that.",
        account.name,
        until.format("%-d %B %Y, %H:%M UTC")
    );
    Err(UserError::new(UserErrorCode::TransferCanBeUndone, why).retry_at(until).into())
}

/// Whether the ownership of an account depends on this user being there: they can take one back, or own one that somebody can take back.
pub(crate) async fn depends_on(tx: &Tx, user: UserId) -> Result<bool> {
    let sql = open(tx.now()).push(" AND (t.former_owner_id = ").bind(user);
    let sql = sql.push(" OR t.account_id IN (SELECT a.id FROM accounts a WHERE a.status = 'active' AND a.owner_id = ").bind(user);
    let found: Option<ownership_transfer::Model> = sql.push(")) LIMIT 1").one(tx.db(), model("t")).await?;
    Ok(found.is_some())
}

/// Undoes a transfer with the token from the former Owner's e-mail. They are the Owner again, whatever became of their access and of the
/// plan's seats. The present Owner becomes Admin, and the Admin who asked for the transfer gets the plan's highest level below Admin.
pub async fn undo_transfer(app: &App, token: &str) -> Result<account::Model> {
    let invalid = || {
        let why = "This link is not valid. Open it again from the e-mail, or copy all of it.";
        UserError::new(UserErrorCode::NotFound, why).at(["token"])
    };
    let id = Keys::link_id(token).filter(|id| app.keys.is_link(token, Purpose::UndoTransfer, *id, LINK_VERSION));
    let id = TransferId(id.ok_or_else(invalid)?);
    app.tx(async |tx| {
        let row = by_id::<ownership_transfer::Entity>(tx.db(), id).await?.ok_or_else(invalid)?;
        let peeked = find(tx, row.account_id).await?.owner_id;
        tx.hold(vec![row.account_id.into(), row.former_owner_id.into(), row.asked_by.into(), peeked.into()]).await?;
        let row = by_id::<ownership_transfer::Entity>(tx.db(), id).await?.ok_or_else(invalid)?;
        let account = find(tx, row.account_id).await?;
        if account.owner_id != peeked {
            return Err(Error::Contended(Fault::new("the account has another Owner by now")));
        }
        if find_user(tx, row.former_owner_id).await?.erased_at.is_some() {
            return Err(invalid().into());
        }
        may_undo(&row, &account, tx.now())?;
        undo(tx, &row, &account).await?;
        find(tx, account.id).await
    })
    .await
}

/// Refuses a transfer that can't be undone any more.
fn may_undo(row: &ownership_transfer::Model, account: &account::Model, now: Moment) -> Result<(), UserError> {
    let until = (row.at + UNDO_TTL).format("%-d %B %Y, %H:%M UTC");
    let (code, why) = if account.status != AccountStatus::Active {
        (UserErrorCode::NotActive, format!("The account {} is closed.", account.name))
    } else if row.settled_at.is_some() {
        let why = "This transfer was undone already, or became final with a later change of ownership.";
        (UserErrorCode::AlreadyDecided, format!("{why} Sign in to see who owns {} now.", account.name))
    } else if is_open(row, now) {
        return Ok(());
    } else {
        (UserErrorCode::Expired, format!("This transfer could be undone until {until}. Ask the Owner of {}.", account.name))
    };
    Err(UserError::new(code, why).at(["token"]))
}

/// Does it. The logs are held.
async fn undo(tx: &Tx, row: &ownership_transfer::Model, account: &account::Model) -> Result<()> {
    let former = find_user(tx, row.former_owner_id).await?;
    match member_of(tx, account.id, former.id).await? {
        Some(member) => {
            Sql::new("UPDATE members SET suspended_at = NULL WHERE id = ").bind(member.id).run(tx.db()).await?;
        }
        None => drop(super::ops::add_member(tx, account.id, &former, UserLevel::Admin).await?),
    }
    let undone = |instead_of: UserId| {
        let undone = Happening::by(former.id, None, EventKind::OwnershipTransferUndone, former.id.0);
        undone.from(instead_of.to_string()).to(former.id.to_string())
    };
    let event = if account.owner_id == former.id {
        // They are the Owner again already. What is left is that the transfer can't come back, and who asked for it.
        tx.append(undone(row.new_owner_id), [account.id.into(), former.id.into()])
    } else {
        ownership::give(tx, account, former.id, undone).await?
    };
    // Those that came after rest on this one.
    settle_since(tx, account.id, row.at).await?;
    lower(tx, account, row.asked_by, former.id).await?;
    let mut readers = ownership::people_in_charge(tx, account.id).await?;
    for user in [row.asked_by, row.new_owner_id] {
        if !readers.iter().any(|reader| reader.id == user) {
            readers.push(find_user(tx, user).await?);
        }
    }
    let readers = readers.iter().filter(|reader| reader.erased_at.is_none());
    let mails: Vec<_> = readers.map(|user| Outgoing::to_user(user, MailKind::OwnershipTransferUndone, event, row.id.0)).collect();
    tx.mail(&mails).await
}

/// The highest level below Admin that a plan has.
fn below_admin(plan: account::Plan) -> Option<UserLevel> {
    plan.levels().iter().copied().filter(|level| *level < UserLevel::Admin).max()
}

/// Takes Admin from the user who asked for the transfer, if the plan has a level below.
async fn lower(tx: &Tx, account: &account::Model, asked_by: UserId, former: UserId) -> Result<()> {
    let member = member_of(tx, account.id, asked_by).await?.filter(|member| member.level == UserLevel::Admin);
    let Some((member, level)) = member.zip(below_admin(account.plan)) else { return Ok(()) };
    Sql::new("UPDATE members SET level = ").bind(level).push(" WHERE id = ").bind(member.id).run(tx.db()).await?;
    let lowered = Happening::by(former, None, EventKind::UserLevelChanged, member.id.0);
    let lowered = lowered.from(member.level.title()).to(level.title());
    tx.append(lowered, [account.id.into(), asked_by.into()]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use entity::account::Plan;
    use uuid::Uuid;

    #[test]
    fn u9_a_transfer_is_open_for_72_hours() {
        let (at, user) = (Moment::UNIX_EPOCH, UserId(Uuid::nil()));
        let row = ownership_transfer::Model {
            id: TransferId(Uuid::nil()),
            account_id: AccountId(Uuid::nil()),
            former_owner_id: user,
            new_owner_id: user,
            asked_by: user,
            at,
            settled_at: None,
        };
        assert!(is_open(&row, at) && is_open(&row, at + UNDO_TTL - TimeDelta::seconds(1)));
        assert!(!is_open(&row, at + UNDO_TTL));
        assert!(!is_open(&ownership_transfer::Model { settled_at: Some(at), ..row }, at));
    }

    #[test]
    fn i7_the_level_below_admin() {
        let levels = Plan::ALL.map(below_admin);
        assert_eq!(levels, [None, None, Some(UserLevel::Author), Some(UserLevel::Manager)]);
    }
}
