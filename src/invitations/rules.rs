//! What is allowed when inviting and joining: pure, and told the time.

use crate::error::{UserError, UserErrorCode};
use chrono::TimeDelta;
use entity::{
    Moment, UserLevel,
    invitation::{self, InvitationStatus},
    user,
};

/// What "a day" is for every limit: any 24 hours, not a calendar's day.
pub const DAY: TimeDelta = TimeDelta::hours(24);
/// How many addresses one call may name: more than any day's limit, and not so many that an answer is endless.
pub const ADDRESSES_MAX: usize = 200;

/// When the next one becomes free of those that were taken in the last 24 hours (oldest first); `None` while some remain.
pub fn frees_at(taken: &[Moment], limit: u32) -> Option<Moment> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    if limit == 0 {
        return None;
    }
    let surplus = taken.len().checked_sub(limit)?;
    taken.get(surplus).map(|at| *at + DAY)
}

/// When one more would be allowed that is too many now: when the oldest of those taken frees its place, be it one of this very call.
pub fn next_free(taken: &[Moment], limit: u32, now: Moment) -> Moment {
    frees_at(taken, limit).or_else(|| taken.first().map(|at| *at + DAY)).unwrap_or(now + DAY)
}

/// Refuses an empty list and an endless one.
pub fn some_addresses(count: usize) -> Result<(), UserError> {
    let wrong = |what: String| Err(UserError::new(UserErrorCode::Invalid, what).at(["emails"]));
    match count {
        0 => wrong("Give at least one e-mail address.".to_owned()),
        1..=ADDRESSES_MAX => Ok(()),
        _ => wrong(format!("Give {ADDRESSES_MAX} addresses at most; these are {count}.")),
    }
}

/// Refuses Owner, which is transferred and never given.
pub fn assignable(level: UserLevel) -> Result<(), UserError> {
    if level == UserLevel::Owner {
        let why = "There is one Owner: ownership is transferred, not given with a level.";
        return Err(UserError::new(UserErrorCode::LevelNotAssignable, why).at(["level"]));
    }
    Ok(())
}

/// Refuses an invitation that can't be answered any more.
pub fn answerable(invitation: &invitation::Model, now: Moment, field: &str) -> Result<(), UserError> {
    let (code, why) = match invitation.status_at(now) {
        InvitationStatus::Pending => return Ok(()),
        InvitationStatus::Expired => (UserErrorCode::Expired, "This invitation has expired. Ask for a new one."),
        InvitationStatus::Accepted => (UserErrorCode::AlreadyDecided, "This invitation was accepted already."),
        InvitationStatus::Declined => (UserErrorCode::AlreadyDecided, "This invitation was declined."),
        InvitationStatus::Canceled => (UserErrorCode::AlreadyDecided, "This invitation was taken back."),
    };
    Err(UserError::new(code, why).at([field]))
}

/// Whoever bears the link may join, but an Admin has to be whom the invitation was sent to (U2).
pub fn may_bear(invitation: &invitation::Model, user: &user::Model, field: &str) -> Result<(), UserError> {
    if invitation.level == UserLevel::Admin && invitation.email_key != user.email_key {
        let why = "Only the address that it was sent to can join as Admin by this invitation. Sign in with that address.";
        return Err(UserError::new(UserErrorCode::NotFound, why).at([field]));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// U1, C2: any 24 hours, rolling.
    #[test]
    fn u1_the_day_rolls() {
        let at = |hour: i64| "2026-01-01T00:00:00Z".parse::<Moment>().unwrap() + TimeDelta::hours(hour);
        let taken: Vec<_> = (0..5).map(at).collect();
        assert_eq!(frees_at(&taken, 6), None);
        assert_eq!(frees_at(&taken, 5), Some(at(24)));
        // After the limit was lowered, the one that brings the count below it.
        assert_eq!(frees_at(&taken, 3), Some(at(26)));
        assert_eq!(frees_at(&[], 0), None);
    }
}
