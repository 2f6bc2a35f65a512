//! What a mail says: each kind with its data, and the subject, text and HTML made of them.
//!
//! Names, account names and messages come from people who may mean harm. Every finished line goes through `one_line`,
//! a message is quoted line by line, and all HTML is escaped where the document is put together, so that none of them
//! can add a header, a line or an element. A mail is a few paragraphs, so there is no template language.
//! Absent: addresses, retries and the making of links, which belong to the outbox.

use chrono::{DateTime, Utc};

/// The most characters a subject has.
const SUBJECT_LENGTH: usize = 200;

const BODY_STYLE: &str = "margin:0;padding:24px;background:#ffffff;color:#1f2328;font:16px/1.5 system-ui,sans-serif";
const QUOTE_STYLE: &str = "margin:16px 0;padding:4px 16px;border-left:4px solid #6e7781";
const BUTTON_STYLE: &str =
    "display:inline-block;padding:10px 20px;border-radius:6px;background:#0b57d0;color:#ffffff;text-decoration:none";

/// A mail with all that it tells. It has no `Debug`, since its link is a secret.
#[derive(Clone)]
pub enum Letter {
    /// Asks a user to prove that the address they gave is theirs.
    VerifyEmail {
        /// The user.
        name: String,
        /// Where the address is proven.
        link: String,
        /// When the link stops working.
        expires_at: DateTime<Utc>,
    },
    /// Invites an address to become a user of an account.
    Invitation {
        /// The account to join.
        account: String,
        /// Who invites.
        inviter: String,
        /// The level that the new user will have.
        level: &'static str,
        /// What the inviter wrote.
        message: Option<String>,
        /// Where the invitation is accepted.
        link: String,
        /// When the link stops working.
        expires_at: DateTime<Utc>,
    },
    /// Asks a client to let an agency into an account.
    AccessRequest {
        /// The agency.
        agency: String,
        /// Who asks for it.
        requester: String,
        /// What there is to know of who asks.
        profile: String,
        /// The level asked for.
        level: &'static str,
        /// What the requester wrote.
        message: Option<String>,
        /// Where the request is answered.
        link: String,
        /// When the link stops working.
        expires_at: DateTime<Utc>,
    },
    /// Tells the agency that a client let it in.
    AccessApproved {
        /// The agency.
        agency: String,
        /// The client's account.
        client: String,
        /// The highest level that the client allows.
        level: &'static str,
        /// When the access ends by itself.
        until: Option<DateTime<Utc>>,
        /// Who approved.
        approver: String,
    },
    /// Tells the agency that its request was declined. It names no account, since none was chosen.
    AccessDeclined {
        /// The agency.
        agency: String,
        /// The address that was asked.
        address: String,
        /// The level asked for.
        level: &'static str,
    },
    /// Tells one side of a connection that the other ended it, or that its time is over.
    ConnectionEnded {
        /// Who ended it; nobody, when its time is over.
        by: Option<String>,
        /// The reader's account.
        account: String,
        /// The other side's account.
        other_account: String,
    },
    /// Reminds one side of a connection that it ends by itself.
    ConnectionEnding {
        /// The agency.
        agency: String,
        /// The client's account.
        client: String,
        /// When it ends.
        ends_at: DateTime<Utc>,
    },
    /// Lets a user take another password.
    ResetPassword {
        /// The user.
        name: String,
        /// Where the new password is given.
        link: String,
        /// When the link stops working.
        expires_at: DateTime<Utc>,
    },
    /// Tells a user of something that was done to their login.
    Security {
        /// The user.
        name: String,
        /// What was done, in a few words.
        title: &'static str,
        /// What was done, in a sentence.
        what: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// Tells a user of something that was done where they have, or had, access.
    Notice {
        /// The user.
        name: String,
        /// What was done, in a few words.
        title: &'static str,
        /// What was done, in a sentence.
        what: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// Tells the inviter that the person who joined has another address than the invited one.
    InvitationAcceptedByAnother {
        /// The account that was joined.
        account: String,
        /// The address that was invited.
        invited_address: String,
        /// Who joined.
        joiner: String,
        /// The level that they have.
        level: &'static str,
    },
}

/// A mail as it is sent. It has no `Debug`, since its link is a secret.
#[derive(Clone)]
pub struct Rendered {
    /// One line of at most 200 characters.
    pub subject: String,
    /// The plain text.
    pub text: String,
    /// A whole HTML document that says the same.
    pub html: String,
}

impl Letter {
    /// Writes the mail.
    pub fn render(&self) -> Rendered {
        let subject = cut(&one_line(&self.subject()), SUBJECT_LENGTH);
        let paragraphs: Vec<String> = self.paragraphs().iter().map(|paragraph| one_line(paragraph)).collect();
        let quotation = self.message().map(quoted_lines).unwrap_or_default();
        Rendered { text: self.text(&paragraphs, &quotation), html: self.html(&subject, &paragraphs, &quotation), subject }
    }

    fn subject(&self) -> String {
        match self {
            Self::VerifyEmail { .. } => "Confirm your e-mail address".to_owned(),
            Self::Invitation { account, inviter, .. } => format!("{inviter} invites you to {account}"),
            Self::AccessRequest { agency, .. } => format!("{agency} asks for access to your account"),
            Self::AccessApproved { client, .. } => format!("{client} has approved your access request"),
            Self::AccessDeclined { address, .. } => format!("{address} has declined your access request"),
            Self::ConnectionEnded { other_account, .. } => format!("The connection with {other_account} has ended"),
            Self::ConnectionEnding { agency, client, .. } => format!("{agency}'s access to {client} ends soon"),
            Self::ResetPassword { .. } => "Take a new password".to_owned(),
            Self::Security { title, .. } | Self::Notice { title, .. } => (*title).to_owned(),
            Self::InvitationAcceptedByAnother { account, invited_address, .. } => {
                format!("Your invitation of {invited_address} to {account} was accepted with another address")
            }
        }
    }

    /// What stands above the message.
    fn paragraphs(&self) -> Vec<String> {
        match self {
            Self::VerifyEmail { name, .. } => vec![
                format!("Hello {name},"),
                "please confirm that this e-mail address is yours. Until then you can't invite or approve anyone.".to_owned(),
            ],
            Self::Invitation { account, inviter, level, .. } => {
                vec![format!("{inviter} invites you to join the account {account}."), format!("Your level: {level}.")]
            }
            Self::AccessRequest { agency, requester, level, profile, .. } => vec![
                format!("{requester} of {agency} asks you to let that agency act in your account."),
                profile.clone(),
                format!("Level asked for: {level}. If you approve, you choose the level yourself."),
            ],
            Self::AccessApproved { agency, client, level, until, approver } => vec![
                format!("{approver} has approved the access request of {agency} to the account {client}."),
                match until {
                    Some(until) => format!("Highest level there: {level}, until {}.", until.format("%A, %-d %B %Y, %H:%M UTC")),
                    None => format!("Highest level there: {level}."),
                },
            ],
            Self::AccessDeclined { agency, address, level } => vec![
                format!("The access request of {agency} to {address} has been declined."),
                format!("Level asked for: {level}."),
            ],
            Self::ConnectionEnding { agency, client, ends_at } => vec![
                format!("The access of {agency} to the account {client} ends {}.", ends_at.format("%A, %-d %B %Y, %H:%M UTC")),
                "Until then the client can give it another end, or none.".to_owned(),
            ],
            Self::ConnectionEnded { by: None, account, other_account } => vec![
                format!("The time of the connection between your account {account} and {other_account} is over."),
                "Nobody can act in the client's account through it any more.".to_owned(),
            ],
            Self::ConnectionEnded { by: Some(by), account, other_account } => vec![
                format!("{by} has ended the connection between your account {account} and {other_account}."),
                "Nobody can act in the client's account through it any more.".to_owned(),
            ],
            Self::ResetPassword { name, .. } => vec![
                format!("Hello {name},"),
                "somebody asked for a new password for the login with this address. All your sessions end when you take one."
                    .to_owned(),
            ],
            Self::Security { name, what, at, .. } | Self::Notice { name, what, at, .. } => {
                vec![format!("Hello {name},"), format!("{what} It was {}.", at.format("%A, %-d %B %Y, %H:%M UTC"))]
            }
            Self::InvitationAcceptedByAnother { account, invited_address, joiner, level } => vec![
                format!("You invited {invited_address} to the account {account}."),
                format!("{joiner} has accepted the invitation, signed in with another address. Their level: {level}."),
            ],
        }
    }

    fn message(&self) -> Option<&str> {
        match self {
            Self::Invitation { message, .. } | Self::AccessRequest { message, .. } => message.as_deref(),
            _ => None,
        }
    }

    /// What the reader is asked to do, where, and until when.
    fn action(&self) -> Option<(&'static str, String, String)> {
        let (label, link, expires_at) = match self {
            Self::VerifyEmail { link, expires_at, .. } => ("Confirm the address", link, expires_at),
            Self::Invitation { link, expires_at, .. } => ("See the invitation", link, expires_at),
            Self::AccessRequest { link, expires_at, .. } => ("See the request", link, expires_at),
            Self::ResetPassword { link, expires_at, .. } => ("Take a new password", link, expires_at),
            _ => return None,
        };
        let until = format!("The link works until {}.", expires_at.format("%A, %-d %B %Y, %H:%M UTC"));
        Some((label, one_line(link), until))
    }

    /// What a reader does who did not expect the mail.
    fn unexpected(&self) -> &'static str {
        match self {
            Self::VerifyEmail { .. } => {
                "If you didn't ask for this, ignore this mail: without the link nobody can confirm your address."
            }
            Self::Invitation { .. } => {
                "If you don't know who invites you, ignore this mail. Don't pass the link on: whoever has it may join."
            }
            Self::AccessRequest { .. } => {
                "If you don't know this agency, decline or ignore the request: nobody gets access unless you approve it."
            }
            Self::AccessApproved { .. } => "If you didn't expect this, ask in your agency who made the request.",
            Self::AccessDeclined { .. } => "If you didn't expect this, ask your client before you make another request.",
            Self::ConnectionEnded { .. } => "If you didn't expect this, ask the other side. A new request can restore it.",
            Self::ConnectionEnding { .. } => "If you didn't expect this, ask the other side.",
            Self::ResetPassword { .. } => "If it wasn't you, ignore this mail: without the link nobody can change your password.",
            Self::Security { .. } => "If it wasn't you, take a new password at once: that ends all sessions.",
            Self::Notice { .. } => "You get this because of your access to that account.",
            Self::InvitationAcceptedByAnother { .. } => "If you don't know this person, revoke their access to your account.",
        }
    }

    fn text(&self, paragraphs: &[String], quotation: &[String]) -> String {
        let mut blocks = paragraphs.to_vec();
        if !quotation.is_empty() {
            let lines: Vec<String> = quotation.iter().map(|line| format!("> {line}").trim_end().to_owned()).collect();
            blocks.push(format!("Their message:\n\n{}", lines.join("\n")));
        }
        if let Some((label, link, until)) = self.action() {
            blocks.extend([format!("{label}:\n{link}"), until]);
        }
        blocks.push(self.unexpected().to_owned());
        blocks.join("\n\n") + "\n"
    }

    fn html(&self, subject: &str, paragraphs: &[String], quotation: &[String]) -> String {
        let mut blocks: Vec<String> = paragraphs.iter().map(|text| paragraph(text)).collect();
        if !quotation.is_empty() {
            let lines = escape(&quotation.join("\n")).replace('\n', "<br>\n");
            blocks.push(paragraph("Their message:"));
            blocks.push(format!("<blockquote dir=\"auto\" style=\"{QUOTE_STYLE}\">{lines}</blockquote>"));
        }
        if let Some((label, link, until)) = self.action() {
            let link = escape(&link);
            blocks.push(format!("<p><a href=\"{link}\" style=\"{BUTTON_STYLE}\">{label}</a></p>"));
            blocks.push(format!("<p>Or open this address:<br>\n<span style=\"word-break:break-all\">{link}</span></p>"));
            blocks.push(paragraph(&until));
        }
        blocks.push(paragraph(self.unexpected()));
        let title = escape(subject);
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n</head>\n\
             <body style=\"{BODY_STYLE}\">\n<main style=\"max-width:36em;margin:0 auto\">\n\
             <h1 style=\"font-size:20px;line-height:1.3\">{title}</h1>\n{}\n</main>\n</body>\n</html>\n",
            blocks.join("\n")
        )
    }
}

fn paragraph(text: &str) -> String {
    format!("<p>{}</p>", escape(text))
}

/// The text on one line, each run of white space, control and bidi control characters as one space.
pub(super) fn one_line(text: &str) -> String {
    let spaced: String = text.chars().map(|c| if is_unsafe(c) { ' ' } else { c }).collect();
    spaced.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// At most so many characters; an ellipsis stands for the rest.
pub(super) fn cut(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let kept: String = text.chars().take(length.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// The text with nothing in it that HTML reads as markup, in an element or in a quoted attribute.
pub(super) fn escape(text: &str) -> String {
    let ampersands = text.replace('&', "&amp;");
    ampersands.replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

/// The message's own lines, each safe as a single line; none when there is nothing to read.
fn quoted_lines(message: &str) -> Vec<String> {
    let message = message.replace("\r\n", "\n");
    let lines: Vec<String> = message.split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).map(one_line).collect();
    let first = lines.iter().position(|line| !line.is_empty()).unwrap_or(lines.len());
    let end = lines.iter().rposition(|line| !line.is_empty()).map_or(first, |last| last + 1);
    lines[first..end].to_vec()
}

/// Controls, separators of lines, and what changes the direction of text or is invisible.
fn is_unsafe(c: char) -> bool {
    let bidi = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    bidi || c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200b}' | '\u{2060}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;
    use proptest::prelude::*;

    use super::*;

    /// Every kind of letter, with the same name in each place and the same message.
    fn letters(name: &str, message: Option<&str>) -> Vec<Letter> {
        let (n, message, level, expires_at) = (|| name.to_owned(), message.map(str::to_owned), "Author", DateTime::UNIX_EPOCH);
        let link = || "https://app.example/page#token=abc".to_owned();
        vec![
            Letter::VerifyEmail { name: n(), link: link(), expires_at },
            Letter::Invitation { account: n(), inviter: n(), level, message: message.clone(), link: link(), expires_at },
            Letter::AccessRequest { agency: n(), requester: n(), profile: n(), level, message, link: link(), expires_at },
            Letter::AccessApproved { agency: n(), client: n(), level, until: None, approver: n() },
            Letter::AccessDeclined { agency: n(), address: n(), level },
            Letter::ConnectionEnded { by: Some(n()), account: n(), other_account: n() },
            Letter::ConnectionEnded { by: None, account: n(), other_account: n() },
            Letter::ConnectionEnding { agency: n(), client: n(), ends_at: expires_at },
            Letter::InvitationAcceptedByAnother { account: n(), invited_address: n(), joiner: n(), level },
        ]
    }

    /// The elements of a document with their attributes, without line breaks: what an injection would change.
    fn elements(html: &str) -> Vec<&str> {
        let tags = html.split('<').skip(1).map(|rest| rest.split_once('>').unwrap().0);
        tags.filter(|tag| *tag != "br").collect()
    }

    #[test]
    fn an_invitation_says_who_what_where_and_until_when() {
        let invitation = Letter::Invitation {
            account: "Acme & Co".into(),
            inviter: "Ada".into(),
            level: "Author",
            message: Some("Welcome!\nSee you <soon>.".into()),
            link: "https://app.example/invitation#token=abc".into(),
            expires_at: Utc.with_ymd_and_hms(2026, 11, 30, 14, 5, 9).unwrap(),
        };
        let mail = invitation.render();
        assert_eq!(mail.subject, "Ada invites you to Acme & Co");
        assert_eq!(
            mail.text,
            "Ada invites you to join the account Acme & Co.\n\nYour level: Author.\n\n\
             Their message:\n\n> Welcome!\n> See you <soon>.\n\n\
             See the invitation:\nhttps://app.example/invitation#token=abc\n\n\
             The link works until Monday, 30 November 2026, 14:05 UTC.\n\n\
             If you don't know who invites you, ignore this mail. Don't pass the link on: whoever has it may join.\n"
        );
        assert!(mail.html.contains("Welcome!<br>\nSee you &lt;soon&gt;.</blockquote>"));
        assert!(mail.html.contains("href=\"https://app.example/invitation#token=abc\""));
        assert!(mail.html.contains("join the account Acme &amp; Co.") && mail.html.contains("30 November 2026, 14:05 UTC"));
    }

    #[test]
    fn t58_a_name_adds_no_header_line_or_element() {
        let name = "Eve\r\nBcc: all@x.io\0\u{2028}\u{2029}\u{85}\u{202e}<a href='//e'>\"&amp;</title><script>";
        let calm = letters("x", None);
        for (letter, calm) in letters(name, None).iter().zip(&calm) {
            let (mail, calm) = (letter.render(), calm.render());
            assert!(!mail.subject.chars().any(is_unsafe), "{}", mail.subject);
            assert_eq!(elements(&mail.html), elements(&calm.html));
            assert_eq!(mail.text.lines().count(), calm.text.lines().count());
            assert!(mail.html.contains("Eve Bcc: all@x.io &lt;a href=&#39;//e&#39;&gt;&quot;&amp;amp;&lt;/title&gt;"));
        }
    }

    #[test]
    fn t58_a_message_stays_a_quotation() {
        let message = "\r\n a\r\nb\rc\u{2028}d\u{85}e\n\n\u{202e}https://evil.example\u{0}</blockquote>\n";
        let mail = letters("x", Some(message)).remove(1).render();
        let quotation: Vec<&str> = mail.text.lines().filter(|line| line.starts_with('>')).collect();
        assert_eq!(quotation, ["> a", "> b", "> c", "> d", "> e", ">", "> https://evil.example </blockquote>"]);
        assert_eq!(mail.html.matches("</blockquote>").count(), 1);
        let blank = letters("x", Some(" \r\n\u{202e} ")).remove(1).render();
        assert!(!blank.text.contains("message") && !blank.html.contains("blockquote"));
    }

    /// Any text, rich in the characters that do harm.
    fn nasty() -> impl Strategy<Value = String> {
        let harmful = "\r\n\0\t\u{85}\u{1b}\u{2028}\u{2029}\u{202e}\u{2066}\u{feff}<>&\"'=;/#";
        let harmful: Vec<char> = harmful.chars().collect();
        let c = prop_oneof![any::<char>(), prop::sample::select(harmful)];
        prop::collection::vec(c, 0..300).prop_map(|chars| chars.into_iter().collect())
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

        #[test]
        fn t58_no_text_gets_out_of_its_place(name in nasty(), message in nasty()) {
            let lines = quoted_lines(&message).len();
            let calm = letters("x", (lines > 0).then_some(&*"x\n".repeat(lines)));
            for (letter, calm) in letters(&name, Some(&message)).iter().zip(calm) {
                let (mail, calm) = (letter.render(), calm.render());
                prop_assert!(!mail.subject.chars().any(is_unsafe) && mail.subject.chars().count() <= SUBJECT_LENGTH);
                prop_assert_eq!(elements(&mail.html), elements(&calm.html));
                prop_assert_eq!(mail.text.lines().count(), calm.text.lines().count());
            }
        }
    }
}
