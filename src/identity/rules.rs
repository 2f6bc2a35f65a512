//! What is allowed of who signed up, and what a session's refresh tokens may do (I1, I3): pure, and told the time.

use crate::error::{UserError, UserErrorCode};
use chrono::TimeDelta;
use entity::{Moment, session, user};

/// How long the token just replaced still gives its successor: a lost answer, two tabs at once.
const GRACE: TimeDelta = TimeDelta::seconds(30);

/// What becomes of a refresh token that is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refresh {
    /// It is the current one: the next generation begins.
    Rotate,
    /// It was replaced a moment ago, and its successor is still unused: the same successor again.
    Repeat,
    /// It was replaced before and should be gone: somebody has copied it, and the session ends.
    Reuse,
    /// It was never given.
    Unknown,
}

/// What becomes of the refresh token of a generation.
pub fn refresh(session: &session::Model, generation: i64, now: Moment) -> Refresh {
    match session.generation - generation {
        0 => Refresh::Rotate,
        // A clock that was set back must not bring an old token to life.
        1 if (TimeDelta::zero()..=GRACE).contains(&(now - session.rotated_at)) => Refresh::Repeat,
        1.. => Refresh::Reuse,
        _ => Refresh::Unknown,
    }
}

/// Refuses what asks for a verified address (I1).
pub fn needs_verified_email(user: &user::Model) -> Result<(), UserError> {
    if user.email_verified_at.is_some() {
        return Ok(());
    }
    let how = "Verify your e-mail address first: open the link in the mail that was sent when you signed up.";
    Err(UserError::new(UserErrorCode::EmailNotVerified, how))
}

/// How long after signing up an address can be verified.
pub const VERIFICATION_TTL: TimeDelta = TimeDelta::days(7);

#[cfg(test)]
mod tests {
    use super::*;
    use entity::{SessionId, UserId};
    use uuid::Uuid;

    /// I3: replaced at each use; the one just replaced repeats its successor for 30 seconds; an older one ends the session.
    #[test]
    fn i3_a_refresh_token_is_used_once() {
        let at: Moment = "2026-01-01T00:00:00Z".parse().unwrap();
        let session = session::Model {
            id: SessionId(Uuid::nil()),
            user_id: UserId(Uuid::nil()),
            generation: 5,
            rotated_at: at,
            client: session::SessionClient::Web,
            user_agent: None,
            account_id: None,
            via_id: None,
            created_at: at,
            last_used_at: at,
            ended_at: None,
        };
        let after = |generation, seconds| refresh(&session, generation, at + TimeDelta::seconds(seconds));
        assert_eq!(after(5, 0), Refresh::Rotate);
        assert_eq!(after(5, 1_000_000), Refresh::Rotate);
        assert_eq!(after(4, 30), Refresh::Repeat);
        assert_eq!(after(4, 31), Refresh::Reuse);
        assert_eq!(after(4, -1), Refresh::Reuse);
        assert_eq!(after(3, 0), Refresh::Reuse);
        assert_eq!(after(6, 0), Refresh::Unknown);
    }
}
