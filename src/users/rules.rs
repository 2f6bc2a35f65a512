//! What is allowed of an account's users: pure.

use crate::error::{UserError, UserErrorCode};
use entity::{UserId, UserLevel, member, user};

/// Refuses a change of level that would touch the Owner's, or one's own (U6).
pub fn may_set_level(asker: UserId, target: &member::Model) -> Result<(), UserError> {
    if target.level == UserLevel::Owner {
        let why = "The Owner's level changes only with ownership: transfer it first.";
        return Err(UserError::new(UserErrorCode::OwnerLevelIsFixed, why).at(["userId"]));
    }
    if target.user_id == asker {
        let why = "Nobody changes their own level: ask another Admin, or the Owner.";
        return Err(UserError::new(UserErrorCode::CannotChangeOwnLevel, why).at(["userId"]));
    }
    Ok(())
}

/// Refuses to make somebody Admin or Owner whose address is not verified. An unverified user is erased after 7 days, and no account
/// with other users loses its Owner that way (I1).
pub fn may_govern(target: &user::Model, level: UserLevel) -> Result<(), UserError> {
    if level < UserLevel::Admin || target.email_verified_at.is_some() {
        return Ok(());
    }
    let why = format!(
        "{} can't become {}, because their e-mail address is not verified. Ask them to open the link in their verification e-mail.",
        target.name,
        level.title()
    );
    Err(UserError::new(UserErrorCode::EmailNotVerified, why).at(["userId"]))
}

/// Refuses to take the Owner's access, or one's own (U6, U7).
pub fn may_take_access(asker: UserId, target: &member::Model) -> Result<(), UserError> {
    if target.level == UserLevel::Owner {
        let why = "The Owner can't be put out: ownership is transferred first.";
        return Err(UserError::new(UserErrorCode::OwnerCannotBeRevoked, why).at(["userId"]));
    }
    if target.user_id == asker {
        let why = "Nobody puts themselves out: ask another Admin, or the Owner.";
        return Err(UserError::new(UserErrorCode::CannotRevokeSelf, why).at(["userId"]));
    }
    Ok(())
}

/// Refuses to let an Owner or an Admin leave (U8).
pub fn may_leave(level: UserLevel) -> Result<(), UserError> {
    if level < UserLevel::Admin {
        return Ok(());
    }
    let why = match level {
        UserLevel::Owner => "The Owner can't leave: transfer ownership, or close the account.",
        _ => "An Admin can't leave: the Owner or another Admin revokes their access, or lowers their level first.",
    };
    Err(UserError::new(UserErrorCode::CannotLeave, why))
}

/// Refuses a new Owner who is no Admin of the account's own, or can't act there now, or asks for it themselves (U9).
pub fn may_own(asker: UserId, target: &member::Model) -> Result<(), UserError> {
    let why = if target.user_id == asker {
        "Ownership is given to somebody else: ask the Owner or another Admin to transfer it to you."
    } else if target.level == UserLevel::Owner {
        "They own the account already."
    } else if target.level != UserLevel::Admin {
        "Ownership goes to an Admin: make them one first."
    } else if target.suspended_at.is_some() {
        "Ownership goes to an Admin who can act here: reinstate them first."
    } else {
        return Ok(());
    };
    Err(UserError::new(UserErrorCode::NewOwnerMustBeAdmin, why).at(["userId"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use UserLevel::{Admin, Author, Manager, Owner, Viewer};
    use entity::{AccountId, MemberId, Moment};
    use uuid::Uuid;

    const ASKER: UserId = UserId(Uuid::from_u128(1));

    fn member(user: u128, level: UserLevel) -> member::Model {
        let (id, account) = (MemberId(Uuid::nil()), AccountId(Uuid::nil()));
        member::Model {
            id,
            account_id: account,
            user_id: UserId(Uuid::from_u128(user)),
            level,
            joined_at: Moment::UNIX_EPOCH,
            suspended_at: None,
        }
    }

    fn code(outcome: Result<(), UserError>) -> Option<UserErrorCode> {
        outcome.err().map(|error| error.code)
    }

    /// U6, U7, U8: the Owner and oneself are out of reach, and Owner and Admins stay.
    #[test]
    fn u7_who_can_be_put_out() {
        for level in [Admin, Manager, Author, Viewer] {
            assert_eq!(code(may_take_access(ASKER, &member(2, level))), None);
            assert_eq!(code(may_take_access(ASKER, &member(1, level))), Some(UserErrorCode::CannotRevokeSelf));
            assert_eq!(code(may_set_level(ASKER, &member(2, level))), None);
            assert_eq!(code(may_set_level(ASKER, &member(1, level))), Some(UserErrorCode::CannotChangeOwnLevel));
            assert_eq!(code(may_leave(level)).is_none(), level != Admin);
        }
        assert_eq!(code(may_take_access(ASKER, &member(2, Owner))), Some(UserErrorCode::OwnerCannotBeRevoked));
        assert_eq!(code(may_set_level(ASKER, &member(2, Owner))), Some(UserErrorCode::OwnerLevelIsFixed));
        assert_eq!(code(may_leave(Owner)), Some(UserErrorCode::CannotLeave));
    }

    /// U9: to an Admin of the account's own who can act there, and not to who asks.
    #[test]
    fn u9_who_can_own() {
        assert_eq!(code(may_own(ASKER, &member(2, Admin))), None);
        let suspended = member::Model { suspended_at: Some(Moment::UNIX_EPOCH), ..member(2, Admin) };
        for target in [member(1, Admin), member(2, Manager), member(2, Author), member(2, Viewer), member(2, Owner), suspended] {
            assert_eq!(code(may_own(ASKER, &target)), Some(UserErrorCode::NewOwnerMustBeAdmin));
        }
    }
}
