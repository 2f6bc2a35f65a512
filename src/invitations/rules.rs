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

/// Refuses to send an invitation again that was answered or taken back: what is pending or expired can be (U3).
pub fn resendable(invitation: &invitation::Model, now: Moment) -> Result<(), UserError> {
    match answerable(invitation, now, "invitationId") {
        Err(error) if error.code != UserErrorCode::Expired => Err(error),
        _ => Ok(()),
    }
}

/// Whether a user may join by an invitation whose link they have. Below Admin the bearer of the link may, since people forward
/// e-mails. As Admin only a user whose verified address is the invited one may (U2).
pub fn may_join(invitation: &invitation::Model, user: &user::Model, field: &str) -> Result<(), UserError> {
    if invitation.level < UserLevel::Admin {
        return Ok(());
    }
    if invitation.email_key != user.email_key {
        let why = "You can't join as Admin with this address, because the invitation was sent to another one. Sign in or sign up \
                   with the invited address, or ask an Admin of the account to invite this address.";
        return Err(UserError::new(UserErrorCode::InvitedAddressRequired, why).at([field]));
    }
    if user.email_verified_at.is_none() {
        let why = "You can't join as Admin yet, because your e-mail address is not verified. Open the link in the verification \
                   e-mail, then accept the invitation again.";
        return Err(UserError::new(UserErrorCode::EmailNotVerified, why).at([field]));
    }
    Ok(())
}

/// Whether somebody may sign up with this address and an invitation's link. With an Admin invitation only the invited address may,
/// and it is verified before the user joins (U2).
pub fn may_sign_up(invitation: &invitation::Model, email_key: &str) -> Result<(), UserError> {
    if invitation.level < UserLevel::Admin || invitation.email_key == email_key {
        return Ok(());
    }
    let why = format!(
        "You can't sign up with this address and join as Admin, because the invitation was sent to {}. Sign up with that address, \
         or ask an Admin of the account to invite yours.",
        invitation.email
    );
    Err(UserError::new(UserErrorCode::InvitedAddressRequired, why).at(["email"]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
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
            sent_by: None,
            accepted_by: None,
            version: 1,
            created_at: at(0),
            sent_at: at(sent),
            expires_at: at(sent) + TimeDelta::days(7),
            decided_at: None,
        }
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
