//! What a plan allows (L3): pure.

use crate::{
    actor::Actor,
    error::{UserError, UserErrorCode},
};
use entity::{AccountId, Moment, NodeId, UserLevel, account::Plan};

/// Who holds a seat: a user, or a pending invitation.
#[derive(Clone, Copy, Debug)]
pub struct Holder {
    /// The place or invitation.
    pub node: NodeId,
    /// At which level.
    pub level: UserLevel,
    /// Since when.
    pub since: Moment,
}

/// Who is in the way of a plan: those whose level it lacks, then the latest of those who are too many. Empty when it fits (L4).
pub fn in_the_way(plan: Plan, holders: &[Holder]) -> Vec<NodeId> {
    let (mut fitting, lacking): (Vec<_>, Vec<_>) =
        holders.iter().copied().partition(|holder| plan.levels().contains(&holder.level));
    // Invitations give way before users, and who came last before who came first; the Owner never does.
    let gives_way = |holder: &Holder| {
        (holder.level == UserLevel::Owner, !matches!(holder.node, NodeId::Invitation(_)), std::cmp::Reverse(holder.since))
    };
    fitting.sort_by_key(gives_way);
    let seats = plan.seats().map_or(usize::MAX, |seats| usize::try_from(seats).unwrap_or(usize::MAX));
    let surplus = fitting.len().saturating_sub(seats);
    lacking.iter().chain(&fitting[..surplus]).map(|holder| holder.node).collect()
}

/// Refuses a level that an account's plan does not have (L3).
pub fn needs_level(plan: Plan, level: UserLevel) -> Result<(), UserError> {
    if plan.levels().contains(&level) {
        return Ok(());
    }
    let levels: Vec<_> = plan.levels().iter().map(|level| level.title()).collect();
    let why = format!(
        "The {} plan has no {}: its levels are {}. Take another level or a larger plan.",
        plan.title(),
        level.title(),
        levels.join(", ")
    );
    Err(UserError::new(UserErrorCode::LevelNotInPlan, why).at(["level"]))
}

/// Refuses when the request acts in another account than the client believes.
pub fn right_account(actor: &Actor, named: Option<AccountId>) -> Result<(), UserError> {
    if named.is_none_or(|account| actor.acts_in(account)) {
        return Ok(());
    }
    let why = "This request acts in another account: switchAccount first.";
    Err(UserError::new(UserErrorCode::WrongAccount, why).at(["accountId"]))
}

/// Refuses Owner, which is transferred and never given.
pub fn assignable(level: UserLevel) -> Result<(), UserError> {
    if level == UserLevel::Owner {
        let why = "There is one Owner: ownership is transferred, not given with a level.";
        return Err(UserError::new(UserErrorCode::LevelNotAssignable, why).at(["level"]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use entity::{InvitationId, MemberId};
    use uuid::Uuid;

    fn holder(id: u128, level: UserLevel) -> Holder {
        let at: Moment = "2026-01-01T00:00:00Z".parse().unwrap();
        Holder {
            node: NodeId::Member(MemberId(Uuid::from_u128(id))),
            level,
            since: at + TimeDelta::days(i64::try_from(id).unwrap()),
        }
    }

    fn invited(id: u128, level: UserLevel) -> Holder {
        Holder { node: NodeId::Invitation(InvitationId(Uuid::from_u128(id))), ..holder(id, level) }
    }

    /// L3, L4: levels and seats of the plans, and who is in the way of a smaller one.
    #[test]
    fn l4_who_is_in_the_way() {
        use UserLevel::{Admin, Manager, Owner, Viewer};
        let all = [holder(1, Owner), holder(2, Admin), holder(3, Manager), invited(4, Admin), holder(5, Admin)];
        assert_eq!(in_the_way(Plan::Premium, &all), []);
        assert_eq!(in_the_way(Plan::Standard, &all), [all[2].node]);
        assert_eq!(in_the_way(Plan::Essentials, &all), [all[2].node, all[3].node]);
        assert_eq!(in_the_way(Plan::Free, &all), [all[1].node, all[2].node, all[3].node, all[4].node]);
        let six: Vec<_> = (1..=6).map(|id| holder(id, if id == 1 { Owner } else { Viewer })).collect();
        assert_eq!(in_the_way(Plan::Standard, &six), [six[5].node]);
    }
}
