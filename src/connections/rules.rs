//! What is allowed on a connection: pure, and told the time.

use crate::{
    accounts::rules::assignable,
    error::{UserError, UserErrorCode},
};
use chrono::TimeDelta;
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

/// Refuses a connection that is not active, or whose time is over.
pub fn active(connection: &connection::Model, now: Moment) -> Result<(), UserError> {
    if connection.status_at(now) == ConnectionStatus::Active {
        return Ok(());
    }
    Err(UserError::new(UserErrorCode::NotActive, "This connection is not active.").at(["connectionId"]))
}

/// Refuses to send a request again that was answered or taken back: what is pending or expired can be (C4).
pub fn resendable(connection: &connection::Model, now: Moment) -> Result<(), UserError> {
    match answerable(connection, now, "connectionId") {
        Err(error) if error.code != UserErrorCode::Expired => Err(error),
        _ => Ok(()),
    }
}

/// Refuses to give a place at a level above the client's ceiling, or above the giver's own there; `own` is none for the agency's
/// Owner and Admins, whom the ceiling alone binds (C7).
pub fn may_give(level: UserLevel, ceiling: UserLevel, own: Option<UserLevel>) -> Result<(), UserError> {
    assignable(level)?;
    if level > ceiling {
        let why = format!("The client allows {} at most: ask them for more.", ceiling.title());
        return Err(UserError::new(UserErrorCode::LevelAboveConnection, why).at(["level"]));
    }
    if own.is_some_and(|own| level > own) {
        return Err(UserError::new(UserErrorCode::LevelAboveOwn, "Nobody gives a level above their own there.").at(["level"]));
    }
    Ok(())
}

/// Refuses to touch the place of who stands higher there than who asks (C7).
pub fn is_in_reach(level: UserLevel, own: Option<UserLevel>) -> Result<(), UserError> {
    if own.is_some_and(|own| level > own) {
        let why = "They stand above you there: ask the agency's Owner or an Admin.";
        return Err(UserError::new(UserErrorCode::LevelAboveOwn, why));
    }
    Ok(())
}

/// The longest that an end can lie ahead.
const LONGEST: TimeDelta = TimeDelta::days(100 * 365);
/// How long before it ends both sides are reminded.
pub const REMINDED: TimeDelta = TimeDelta::days(7);

/// Refuses an end that has passed, or is too far to be meant.
pub fn may_end_at(until: Moment, now: Moment) -> Result<(), UserError> {
    let why = if until <= now {
        "The end has to be in the future: endClientConnection ends it at once."
    } else if until > now + LONGEST {
        "The end can be a hundred years ahead at most. Without one, the access lasts until somebody ends it."
    } else {
        return Ok(());
    };
    Err(UserError::new(UserErrorCode::Invalid, why).at(["until"]))
}

/// When both sides are reminded of an end; never, when that moment has passed already.
pub fn remind_at(until: Option<Moment>, now: Moment) -> Option<Moment> {
    until.map(|until| until - REMINDED).filter(|at| *at > now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use UserLevel::{Admin, Author, Manager, Owner, Viewer};

    fn code(outcome: Result<(), UserError>) -> Option<UserErrorCode> {
        outcome.err().map(|error| error.code)
    }

    /// C7: at most the ceiling, and at most one's own level there unless one is the agency's Owner or an Admin.
    #[test]
    fn c7_what_can_be_given() {
        let all = [Admin, Manager, Author, Viewer];
        for (level, ceiling) in all.into_iter().flat_map(|level| all.map(|ceiling| (level, ceiling))) {
            let above = (level > ceiling).then_some(UserErrorCode::LevelAboveConnection);
            assert_eq!(code(may_give(level, ceiling, None)), above);
            for own in all {
                let own_bound = (level > own).then_some(UserErrorCode::LevelAboveOwn);
                assert_eq!(code(may_give(level, ceiling, Some(own))), above.or(own_bound));
                assert_eq!(code(is_in_reach(level, Some(own))), own_bound);
            }
            assert_eq!(code(is_in_reach(level, None)), None);
            assert_eq!(code(may_give(Owner, ceiling, None)), Some(UserErrorCode::LevelNotAssignable));
        }
    }

    /// An end lies ahead, and both sides are reminded a week before if there is as much time.
    #[test]
    fn an_end_lies_ahead() {
        let now = Moment::UNIX_EPOCH;
        for (days, fits, reminded) in
            [(-1, false, None), (0, false, None), (3, true, None), (7, true, None), (8, true, Some(1)), (40_000, false, None)]
        {
            let until = now + TimeDelta::days(days);
            assert_eq!(code(may_end_at(until, now)), (!fits).then_some(UserErrorCode::Invalid), "{days}");
            if fits {
                assert_eq!(remind_at(Some(until), now), reminded.map(|days| now + TimeDelta::days(days)), "{days}");
            }
        }
        assert_eq!(remind_at(None, now), None);
    }

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
