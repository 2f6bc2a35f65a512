//! What is allowed of who signed up, and what a session's refresh tokens may do (I1, I3): pure, and told the time.

use crate::{
    error::{UserError, UserErrorCode},
    limits::DAY,
};
use chrono::TimeDelta;
use entity::{
    Moment,
    session::{self, SessionClient},
    user,
};

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
        _ if now - session.last_used_at > SESSION_TTL => Refresh::Unknown,
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

/// When another mail can be sent, after those of which the latest come first (U3): some time after the latest, and at most
/// [`SENT_IN_A_DAY`] in any 24 hours.
pub fn resend_at(sent: &[Moment], interval: TimeDelta) -> Option<Moment> {
    let after_latest = sent.first().map(|at| *at + interval);
    let after_day = sent.get(SENT_IN_A_DAY - 1).map(|at| *at + DAY);
    after_latest.max(after_day)
}

/// How often one thing is sent in 24 hours.
pub const SENT_IN_A_DAY: usize = 5;

/// What people know a device by, as far as its program says what it is.
pub fn device_name(client: SessionClient, user_agent: Option<&str>) -> String {
    // Of a program that is not known, the name that it begins with.
    let other = || user_agent.unwrap_or_default().split(['/', ' ', '(']).next().filter(|name| !name.is_empty());
    known_device(client, user_agent).unwrap_or_else(|| other().unwrap_or("an unknown program").to_owned())
}

/// What people know a device by, in words that are the server's own; `None` for a program that it does not know.
pub fn known_device(client: SessionClient, user_agent: Option<&str>) -> Option<String> {
    let agent = user_agent.unwrap_or_default();
    // Most programs name those before them too, so that the later ones of these come first.
    let find = |names: &[(&str, &'static str)]| names.iter().find(|(part, _)| agent.contains(part)).map(|(_, name)| *name);
    let browser = find(&[
        ("Edg", "Edge"),
        ("OPR/", "Opera"),
        ("Firefox/", "Firefox"),
        ("FxiOS/", "Firefox"),
        ("Chrome/", "Chrome"),
        ("CriOS/", "Chrome"),
        ("Safari/", "Safari"),
    ]);
    let system = find(&[
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Android", "Android"),
        ("Windows", "Windows"),
        ("Mac OS X", "macOS"),
        ("CrOS", "ChromeOS"),
        ("Linux", "Linux"),
    ]);
    let kind = match client {
        SessionClient::Ios => Some("the app on iOS"),
        SessionClient::Android => Some("the app on Android"),
        SessionClient::Web | SessionClient::Other => browser,
    };
    match system {
        Some(system) => kind.map(|kind| format!("{kind} on {system}")),
        None => kind.map(str::to_owned),
    }
}

/// How long a session lasts that nobody uses.
pub const SESSION_TTL: TimeDelta = TimeDelta::days(90);

/// How long a link works that verifies an address, and how long who signed up has for that.
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
            client: SessionClient::Web,
            user_agent: None,
            account_id: None,
            via_id: None,
            created_at: at,
            last_used_at: at,
            ended_at: None,
            authenticated_at: None,
        };
        let after = |generation, seconds| refresh(&session, generation, at + TimeDelta::seconds(seconds));
        assert_eq!(after(5, 0), Refresh::Rotate);
        assert_eq!(after(5, 90 * 24 * 3_600), Refresh::Rotate);
        assert_eq!(after(5, 90 * 24 * 3_600 + 1), Refresh::Unknown, "nobody has used it for three months");
        assert_eq!(after(4, 30), Refresh::Repeat);
        assert_eq!(after(4, 31), Refresh::Reuse);
        assert_eq!(after(4, -1), Refresh::Reuse);
        assert_eq!(after(3, 0), Refresh::Reuse);
        assert_eq!(after(6, 0), Refresh::Unknown);
    }

    #[test]
    fn what_people_know_a_device_by() {
        let web = |agent| device_name(SessionClient::Web, agent);
        let firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0";
        let edge = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36 Edg/140.0.0.0";
        let safari = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1";
        assert_eq!(web(Some(firefox)), "Firefox on Linux");
        assert_eq!(web(Some(edge)), "Edge on Windows");
        assert_eq!(web(Some(safari)), "Safari on iPhone");
        assert_eq!((web(Some("curl/8.0")), web(None)), ("curl".to_owned(), "an unknown program".to_owned()));
        assert_eq!(device_name(SessionClient::Ios, Some("Keyholder/1.0")), "the app on iOS");
    }

    /// U3: a minute after the latest, and five in a day.
    #[test]
    fn u3_when_a_mail_can_be_sent_again() {
        let at = |minutes| "2026-01-01T00:00:00Z".parse::<Moment>().unwrap() + TimeDelta::minutes(minutes);
        let minute = TimeDelta::minutes(1);
        assert_eq!(resend_at(&[], minute), None);
        assert_eq!(resend_at(&[at(5), at(0)], minute), Some(at(6)));
        assert_eq!(resend_at(&[at(9), at(7), at(5), at(3), at(1)], minute), Some(at(1) + DAY));
        assert_eq!(resend_at(&[at(1_500), at(7), at(5), at(3), at(1)], minute), Some(at(1_501)));
    }
}
