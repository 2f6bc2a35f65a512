//! What is allowed of who signed up, and what a session's refresh tokens may do (I1, I3): pure, and told the time.

use crate::{
    error::{UserError, UserErrorCode},
    limits::DAY,
};
use chrono::TimeDelta;
use entity::{
    Moment,
    session::{self, Lifetimes, SessionClient},
    user,
};

/// How long a replaced token whose successor is in use counts as a straggler: another tab, a request that was slow. Also the
/// longest time that the clocks of two servers may differ by.
const STRAGGLER: TimeDelta = TimeDelta::seconds(60);

/// What becomes of a refresh token that is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Refresh {
    /// It is the current one: the next generation begins.
    Rotate,
    /// It was replaced, and its successor is still unused: the same successor again, however late.
    Repeat,
    /// It was replaced, and its successor was used in the last minute: refused without any effect.
    Straggler,
    /// It was replaced, and its successor was used earlier than that: somebody has copied it, and the session ends.
    Reuse,
    /// It was never given, or the session has ended by itself.
    Unknown,
}

/// What becomes of the refresh token of a generation.
///
/// The successor of token `g` was used when generation `g + 2` began. Of these moments only the latest is known, and up to which
/// generation all were over a minute ago: generations that followed each other within a minute count as one moment.
pub fn refresh(session: &session::Model, generation: i64, now: Moment, lifetimes: Lifetimes) -> Refresh {
    match session.generation - generation {
        _ if now >= lifetimes.end_of(session) => Refresh::Unknown,
        0 => Refresh::Rotate,
        1 => Refresh::Repeat,
        2.. if generation + 2 > session.settled_generation && is_recent(session.rotated_at, now) => Refresh::Straggler,
        2.. => Refresh::Reuse,
        _ => Refresh::Unknown,
    }
}

/// Begins the next generation of a session's refresh tokens.
pub fn rotate(session: &mut session::Model, now: Moment) {
    if !is_recent(session.rotated_at, now) {
        session.settled_generation = session.generation;
    }
    session.generation += 1;
    session.rotated_at = now;
}

/// Whether a moment is less than a minute away. One far ahead is not: a clock that was set back makes nothing recent.
fn is_recent(moment: Moment, now: Moment) -> bool {
    (now - moment).abs() <= STRAGGLER
}

/// A way to prove who one is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Method {
    /// The password.
    Password,
    /// A one-time code of a device, or a recovery code.
    Code,
    /// A link that was e-mailed: a second channel.
    Link,
}

/// The authentication methods of a proof (RFC 8176), with spaces between them.
pub fn methods(given: &[Method]) -> String {
    let name = |method: &Method| match method {
        Method::Password => "pwd",
        Method::Code => "otp",
        Method::Link => "mca",
    };
    let names: Vec<_> = given.iter().map(name).chain((given.len() > 1).then_some("mfa")).collect();
    names.join(" ")
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

/// How long a link works that verifies an address, and how long who signed up has for that.
pub const VERIFICATION_TTL: TimeDelta = TimeDelta::days(7);

#[cfg(test)]
mod tests {
    use super::*;
    use entity::{SessionId, UserId};
    use uuid::Uuid;

    const DAY_SECONDS: i64 = 24 * 3_600;
    const LIFETIMES: Lifetimes = Lifetimes { idle: TimeDelta::days(30), total: TimeDelta::days(90) };

    fn at(seconds: i64) -> Moment {
        "2026-01-01T00:00:00Z".parse::<Moment>().unwrap() + TimeDelta::seconds(seconds)
    }

    /// A session whose refresh tokens were rotated at these seconds.
    fn rotated_at(seconds: &[i64]) -> session::Model {
        let mut session = session::Model {
            id: SessionId(Uuid::nil()),
            user_id: UserId(Uuid::nil()),
            generation: 0,
            rotated_at: at(0),
            client: SessionClient::Web,
            user_agent: None,
            account_id: None,
            via_id: None,
            created_at: at(0),
            last_used_at: at(0),
            ended_at: None,
            authenticated_at: None,
            settled_generation: 0,
            methods: methods(&[Method::Password]),
            device_id: None,
        };
        for second in seconds {
            rotate(&mut session, at(*second));
            session.last_used_at = at(*second);
        }
        session
    }

    /// I3, THREATS 42: the one just replaced gives its successor however late; once that was used, the one before it is refused
    /// for a minute, and ends the session after that.
    #[test]
    fn i3_a_refresh_token_is_used_once() {
        let session = rotated_at(&[300, 600, 900, 1_200, 1_500]);
        let after = |generation, seconds: i64| refresh(&session, generation, at(1_500 + seconds), LIFETIMES);
        assert_eq!((after(5, 0), after(6, 0)), (Refresh::Rotate, Refresh::Unknown));
        assert_eq!((after(4, 0), after(4, 29 * DAY_SECONDS)), (Refresh::Repeat, Refresh::Repeat));
        assert_eq!((after(3, 0), after(3, 60), after(3, 61)), (Refresh::Straggler, Refresh::Straggler, Refresh::Reuse));
        assert_eq!([0, 1, 2].map(|generation| after(generation, 0)), [Refresh::Reuse; 3], "their successors were used long ago");
        // Rotated five times in a minute, as by tabs that start at once: all of them are stragglers, and later none is.
        let session = rotated_at(&[0, 600, 610, 620, 630, 640]);
        let after = |generation, seconds: i64| refresh(&session, generation, at(640 + seconds), LIFETIMES);
        assert_eq!([1, 2, 3, 4].map(|generation| after(generation, 60)), [Refresh::Straggler; 4]);
        assert_eq!([0, 1, 2, 3, 4].map(|generation| after(generation, 61)), [Refresh::Reuse; 5]);
    }

    /// I3, THREATS 67: a clock that was set back brings no token and no session to life; clocks that differ by a little end none.
    #[test]
    fn i3_a_clock_that_was_set_back() {
        let session = rotated_at(&[300, 600, 900]);
        let after = |generation, seconds: i64| refresh(&session, generation, at(900 + seconds), LIFETIMES);
        assert_eq!((after(1, -2), after(1, -61)), (Refresh::Straggler, Refresh::Reuse));
        assert_eq!((after(0, -2), after(0, -800)), (Refresh::Reuse, Refresh::Reuse));
        let mut session = rotated_at(&[300, 10_000]);
        rotate(&mut session, at(400));
        assert_eq!(refresh(&session, 0, at(400), LIFETIMES), Refresh::Reuse);
    }

    /// I3: 30 days after the last use and 90 days after the sign-in, to the moment.
    #[test]
    fn i3_how_long_a_session_lasts() {
        let after = |session: &session::Model, seconds| refresh(session, session.generation, at(seconds), LIFETIMES);
        let unused = rotated_at(&[]);
        assert_eq!((after(&unused, 30 * DAY_SECONDS - 1), after(&unused, 30 * DAY_SECONDS)), (Refresh::Rotate, Refresh::Unknown));
        let used: Vec<_> = (1..=89).map(|day| day * DAY_SECONDS).collect();
        let used = rotated_at(&used);
        assert_eq!((after(&used, 90 * DAY_SECONDS - 1), after(&used, 90 * DAY_SECONDS)), (Refresh::Rotate, Refresh::Unknown));
    }

    /// RFC 8176.
    #[test]
    fn i3_how_a_proof_is_named() {
        let names = [&[Method::Password][..], &[Method::Code], &[Method::Password, Method::Code], &[Method::Link]].map(methods);
        assert_eq!(names, ["pwd", "otp", "pwd otp mfa", "mca"]);
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
        // In e-mails a program never chooses the words.
        assert_eq!(known_device(SessionClient::Web, Some("URGENT/1.0 (call us)")), None);
        assert_eq!(known_device(SessionClient::Web, Some("URGENT Firefox/1.0 Linux")).as_deref(), Some("Firefox on Linux"));
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
