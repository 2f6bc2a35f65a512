//! What happens to an account itself.

use super::rules::{self, Holder};
use crate::{
    actor::{Caller, Seat},
    app::{App, Happening, Tx},
    config::PlanChanges,
    db::{Sql, by_id},
    error::{Denied, Result, UserError, UserErrorCode},
    permission::Permission,
};
use entity::{AccountId, LogId, MemberId, NodeId, UserLevel, account, event::EventKind, member, user};
use sea_orm::{EntityTrait, IntoActiveModel};

/// Opens a Free account with this user as its Owner.
pub async fn open(tx: &Tx, owner: &user::Model, name: &str) -> Result<Seat> {
    let id: AccountId = tx.id();
    tx.open_log(id.into()).await?;
    let account = account::Model {
        id,
        name: name.to_owned(),
        name_key: name.to_lowercase(),
        status: account::AccountStatus::Active,
        plan: account::Plan::Free,
        owner_id: owner.id,
        owner_level: UserLevel::Owner,
        created_at: tx.now(),
        partner_program_joined_at: None,
        client_access_enabled: false,
        two_factor_required: false,
        opened_by: Some(owner.id),
    };
    account::Entity::insert(account.clone().into_active_model()).exec_without_returning(tx.db()).await?;
    add_member(tx, id, owner, UserLevel::Owner).await?;
    tx.append(Happening::by(owner.id, None, EventKind::AccountOpened, id.0), [id.into(), owner.id.into()]);
    Ok(Seat::direct(account, UserLevel::Owner))
}

/// Gives a user a place in an account. Who calls has checked seats and levels.
pub async fn add_member(tx: &Tx, account: AccountId, user: &user::Model, level: UserLevel) -> Result<MemberId> {
    let member =
        member::Model { id: tx.id(), account_id: account, user_id: user.id, level, joined_at: tx.now(), suspended_at: None };
    let id = member.id;
    member::Entity::insert(member.into_active_model()).exec_without_returning(tx.db()).await?;
    Ok(id)
}

/// An account that is known to be there, read inside a transaction.
pub async fn find(tx: &Tx, id: AccountId) -> Result<account::Model> {
    let found = by_id::<account::Entity>(tx.db(), id).await?;
    found.ok_or_else(|| crate::error::Fault::new(format!("no account {id}")).into())
}

/// What [`change_plan`] asks for.
pub const CHANGE_PLAN: Permission = Permission::ChangeBillingInformation;

/// Takes another plan, unless the users and pending invitations that there are don't fit it (L4).
pub async fn change_plan(app: &App, caller: &Caller, plan: account::Plan) -> Result<account::Model> {
    app.tx(async |tx| {
        let actor = tx.authorize(caller, CHANGE_PLAN, Vec::new()).await?;
        let seat = actor.seat()?;
        if app.config.plan_changes == PlanChanges::Operator {
            let reason = "On this server plans are changed by the platform's billing, not by the account's users.".to_owned();
            return Err(Denied::Forbidden { permission: Some(CHANGE_PLAN), level: Some(seat.level), reason }.into());
        }
        needs_room(tx, &seat.account, plan).await?;
        set_plan(tx, &seat.account, plan, actor.did(EventKind::PlanChanged, seat.account.id.0)).await
    })
    .await
}

/// Refuses a plan that the users and pending invitations that there are don't fit (L4).
pub async fn needs_room(tx: &Tx, account: &account::Model, plan: account::Plan) -> Result<()> {
    let blockers = if plan == account.plan { Vec::new() } else { rules::in_the_way(plan, &seat_holders(tx, account.id).await?) };
    if blockers.is_empty() {
        return Ok(());
    }
    let why = format!(
        "The {} plan is too small for {} of the users and pending invitations: `blockers` names them.",
        plan.title(),
        blockers.len()
    );
    Err(UserError::new(UserErrorCode::PlanTooSmall, why).at(["plan"]).blockers(blockers).into())
}

/// Takes a plan, whoever may be in its way: nobody is dropped, and who joins later is checked then (U5). The account is held.
pub async fn set_plan(tx: &Tx, account: &account::Model, plan: account::Plan, changed: Happening) -> Result<account::Model> {
    if plan != account.plan {
        Sql::new("UPDATE accounts SET plan = ").bind(plan).push(" WHERE id = ").bind(account.id).run(tx.db()).await?;
        tx.append(changed.from(account.plan.title()).to(plan.title()), [LogId::from(account.id)]);
    }
    find(tx, account.id).await
}

/// How many seats are held.
pub async fn seats_held(tx: &Tx, account: AccountId) -> Result<u64> {
    let members = Sql::new("SELECT count(*) FROM members WHERE account_id = ").bind(account).count(tx.db()).await?;
    let pending = Sql::new("SELECT count(*) FROM invitations WHERE status = 'pending' AND account_id = ").bind(account);
    Ok(members + pending.push(" AND expires_at > ").bind(tx.now()).count(tx.db()).await?)
}

/// How many seats there are for more; none for any number.
pub async fn seats_left(tx: &Tx, account: &account::Model) -> Result<Option<u64>> {
    let Some(seats) = account.plan.seats() else { return Ok(None) };
    Ok(Some(seats.saturating_sub(seats_held(tx, account.id).await?)))
}

/// Who holds the account's seats: its users, and the invitations that are pending now (L3).
pub async fn seat_holders(tx: &Tx, account: AccountId) -> Result<Vec<Holder>> {
    let sql = Sql::new("SELECT id, level, joined_at FROM members WHERE account_id = ").bind(account);
    let mut holders = sql
        .all(tx.db(), |row| {
            Ok(Holder {
                node: NodeId::Member(row.try_get_by_index(0)?),
                level: row.try_get_by_index(1)?,
                since: row.try_get_by_index(2)?,
            })
        })
        .await?;
    let sql = Sql::new("SELECT id, level, created_at FROM invitations WHERE status = 'pending' AND account_id = ").bind(account);
    let sql = sql.push(" AND expires_at > ").bind(tx.now());
    let invited = sql
        .all(tx.db(), |row| {
            Ok(Holder {
                node: NodeId::Invitation(row.try_get_by_index(0)?),
                level: row.try_get_by_index(1)?,
                since: row.try_get_by_index(2)?,
            })
        })
        .await?;
    holders.extend(invited);
    Ok(holders)
}
