//! What is allowed when inviting and joining: pure, and told the time.

use crate::{
    error::{UserError, UserErrorCode},
    identity::rules::SENT_IN_A_DAY,
    limits::DAY,
};
use chrono::TimeDelta;
use entity::{
    Moment, UserLevel,
    invitation::{self, InvitationStatus},
    user,
};

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

/// Refuses to send an invitation again that was answered or taken back: what is pending or expired can be (U3).
pub fn resendable(invitation: &invitation::Model, now: Moment) -> Result<(), UserError> {
    match answerable(invitation, now, "invitationId") {
        Err(error) if error.code != UserErrorCode::Expired => Err(error),
        _ => Ok(()),
    }
}

/// When an invitation can be sent again, after the resends of which the latest come first (U3): while its link stands, some time
/// after the latest e-mail, the first one included; and at most [`SENT_IN_A_DAY`] times in any 24 hours.
pub fn resend_at(invitation: &invitation::Model, resent: &[Moment], interval: TimeDelta, now: Moment) -> Option<Moment> {
    let stands = invitation.status_at(now) == InvitationStatus::Pending;
    let after_latest = stands.then_some(invitation.sent_at + interval);
    let after_day = resent.get(SENT_IN_A_DAY - 1).map(|at| *at + DAY);
    after_latest.max(after_day).filter(|at| *at > now)
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
    use entity::{AccountId, InvitationId, UserId};
    use uuid::Uuid;

    fn at(minutes: i64) -> Moment {
        Moment::UNIX_EPOCH + TimeDelta::minutes(minutes)
    }

    fn invitation(status: InvitationStatus, sent: i64) -> invitation::Model {
        invitation::Model {
            id: InvitationId(Uuid::nil()),
            account_id: AccountId(Uuid::nil()),
            email: "a@x.example".to_owned(),
            email_key: "a@x.example".to_owned(),
            level: UserLevel::Admin,
            message: None,
            status,
            invited_by: UserId(Uuid::nil()),
            accepted_by: None,
            version: 1,
            created_at: at(0),
            sent_at: at(sent),
            expires_at: at(sent) + TimeDelta::days(7),
            decided_at: None,
        }
    }

    /// U3: a minute after the latest while the link stands, five times in a day in any case.
    #[test]
    fn u3_when_it_can_be_sent_again() {
        let (pending, minute) = (invitation(InvitationStatus::Pending, 10), TimeDelta::minutes(1));
        assert_eq!(resend_at(&pending, &[], minute, at(10)), Some(at(11)));
        assert_eq!(resend_at(&pending, &[], minute, at(11)), None);
        let five = [at(10), at(8), at(6), at(4), at(2)];
        assert_eq!(resend_at(&pending, &five[..4], minute, at(11)), None);
        assert_eq!(resend_at(&pending, &five, minute, at(11)), Some(at(2) + DAY));
        assert_eq!(resend_at(&pending, &five, minute, at(2) + DAY), None);
        let expired = invitation(InvitationStatus::Expired, 10);
        assert_eq!(resend_at(&expired, &[], minute, at(10)), None, "no link stands");
        assert_eq!(resend_at(&expired, &five, minute, at(11)), Some(at(2) + DAY));
    }

    /// U3: what is pending or has expired; nothing else.
    #[test]
    fn u3_what_can_be_sent_again() {
        let code = |status, now| resendable(&invitation(status, 0), now).err().map(|error| error.code);
        assert_eq!(code(InvitationStatus::Pending, at(1)), None);
        assert_eq!(code(InvitationStatus::Pending, at(0) + TimeDelta::days(8)), None);
        assert_eq!(code(InvitationStatus::Expired, at(1)), None);
        for status in [InvitationStatus::Accepted, InvitationStatus::Declined, InvitationStatus::Canceled] {
            assert_eq!(code(status, at(1)), Some(UserErrorCode::AlreadyDecided));
        }
    }
}
