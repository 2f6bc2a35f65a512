//! What is allowed when inviting and joining: pure, and told the time.

use crate::error::{UserError, UserErrorCode};
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

/// Whoever bears the link may join, but an Admin has to be whom the invitation was sent to (U2).
pub fn may_bear(invitation: &invitation::Model, user: &user::Model, field: &str) -> Result<(), UserError> {
    if invitation.level == UserLevel::Admin && invitation.email_key != user.email_key {
        let why = "Only the address that it was sent to can join as Admin by this invitation. Sign in with that address.";
        return Err(UserError::new(UserErrorCode::NotFound, why).at([field]));
    }
    Ok(())
}
