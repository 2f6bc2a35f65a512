//! What is allowed on a connection: pure, and told the time.

use crate::error::{UserError, UserErrorCode};
use entity::{
    AccountId, Moment, UserId, UserLevel, account,
    connection::{self, ConnectionStatus},
};

/// The level at which a user of the agency acts in the client's account; `None` when they can't (L6, C6).
///
/// The agency's Owner acts at the ceiling, with or without a place; anyone else at the lower of their place and the ceiling.
/// Who is no direct user of the agency any more has no way in, whatever place was left (C11).
pub fn level_through(ceiling: UserLevel, in_agency: Option<UserLevel>, place: Option<UserLevel>) -> Option<UserLevel> {
    match in_agency? {
        UserLevel::Owner => Some(ceiling),
        _ => place.map(|place| place.min(ceiling)),
    }
}

/// Refuses an account that is no agency yet (C1).
pub fn in_program(account: &account::Model) -> Result<(), UserError> {
    if account.partner_program_joined_at.is_none() {
        return Err(UserError::new(UserErrorCode::NotInPartnerProgram, "Join the partner program first: joinPartnerProgram."));
    }
    Ok(())
}

/// Refuses an account that may not ask for access yet (C1).
pub fn may_ask(agency: &account::Model) -> Result<(), UserError> {
    in_program(agency)?;
    if !agency.client_access_enabled {
        return Err(UserError::new(UserErrorCode::ClientAccessDisabled, "Enable client access first: enableClientAccess."));
    }
    Ok(())
}

/// Whether a connection is between others than the account that somebody acts in, though they may know of the request: it was
/// sent to their address, and somebody else has answered by the link (C3).
pub fn is_of_others(connection: &connection::Model, here: Option<AccountId>, user: UserId) -> bool {
    let side = here.is_some_and(|here| here == connection.agency_id || Some(here) == connection.client_id);
    let answered_by_another = connection.decided_by.is_some_and(|decider| decider != user);
    !side && (connection.client_id.is_some() || answered_by_another)
}

/// Refuses a request that can't be answered any more (C4, C5).
pub fn answerable(connection: &connection::Model, now: Moment, field: &str) -> Result<(), UserError> {
    let (code, why) = match connection.status_at(now) {
        ConnectionStatus::Pending => return Ok(()),
        ConnectionStatus::Expired => (UserErrorCode::Expired, "This request has expired. The agency can send it again."),
        ConnectionStatus::Active | ConnectionStatus::Ended => {
            (UserErrorCode::AlreadyDecided, "This request was approved already.")
        }
        ConnectionStatus::Declined => (UserErrorCode::AlreadyDecided, "This request was declined already."),
        ConnectionStatus::Canceled => (UserErrorCode::AlreadyDecided, "The agency took this request back."),
    };
    Err(UserError::new(code, why).at([field]))
}

/// Refuses a connection that is not active.
pub fn active(connection: &connection::Model) -> Result<(), UserError> {
    if connection.status == ConnectionStatus::Active {
        return Ok(());
    }
    Err(UserError::new(UserErrorCode::NotActive, "This connection is not active.").at(["connectionId"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use UserLevel::{Admin, Author, Manager, Owner, Viewer};

    /// L6, C6, C8, C11: the lower of the two counts, the agency's Owner stands at the ceiling, who left has no way in.
    #[test]
    fn l6_the_lower_of_place_and_ceiling() {
        for ceiling in [Admin, Manager, Author, Viewer] {
            for place in [Admin, Manager, Author, Viewer] {
                for agency in [Admin, Manager, Author, Viewer] {
                    assert_eq!(level_through(ceiling, Some(agency), Some(place)), Some(place.min(ceiling)));
                    assert_eq!(level_through(ceiling, Some(agency), None), None);
                }
                assert_eq!(level_through(ceiling, Some(Owner), Some(place)), Some(ceiling));
                assert_eq!(level_through(ceiling, None, Some(place)), None);
            }
            assert_eq!(level_through(ceiling, Some(Owner), None), Some(ceiling));
            assert_eq!(level_through(ceiling, None, None), None);
        }
    }
}
