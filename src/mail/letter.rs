//! What a mail says: each kind with its data, and the subject, text and HTML made of them.
//!
//! Names, account names and messages come from people who may mean harm. Every finished line goes through `one_line`,
//! a message is quoted line by line, and all HTML is escaped where the document is put together, so that none of them
//! can add a header, a line or an element. A mail is a few paragraphs, so there is no template language.
//! A letter about a login names nobody: it may go to an address that its user only claims to have (I1).
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
    /// Asks a new user to verify the address.
    VerifyEmail {
        /// The page that verifies the address.
        link: String,
        /// When the link stops working.
        expires_at: DateTime<Utc>,
    },
    /// Asks to verify the new address of a login.
    ConfirmEmailChange {
        /// The login's present address, masked. `None` when that address is not verified, so that a stranger can't write in it.
        login: Option<String>,
        /// The page that verifies the address.
        link: String,
        /// When the link stops working.
        expires_at: DateTime<Utc>,
    },
    /// Tells the present, verified address of a login that a change of it was requested.
    StopEmailChange {
        /// The new address.
        new_address: String,
        /// The page that stops the change.
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
        /// Whether the address is verified. Otherwise the reset removes what was set up before.
        verified: bool,
        /// Where the new password is given.
        link: String,
        /// When the link stops working.
        expires_at: DateTime<Utc>,
    },
    /// Lets a user sign in. It contains no text that a user chose.
    SignInLink {
        /// The page that signs in.
        link: String,
        /// When the link stops working.
        expires_at: DateTime<Utc>,
    },
    /// Tells a user of something that was done to their login.
    Security {
        /// What was done, in a few words.
        title: &'static str,
        /// What was done, in a sentence.
        what: String,
        /// What became of the user's API keys, where that matters.
        api_keys: Option<String>,
        /// When.
        at: DateTime<Utc>,
    },
    /// Tells a user of something that was done where they have, or had, access.
    Notice {
        /// The user; `None` when their address is not verified.
        name: Option<String>,
        /// What was done, in a few words.
        title: &'static str,
        /// What was done, in a sentence.
        what: String,
        /// When.
        at: DateTime<Utc>,
    },
    /// Tells an account's Owner and Admins about a change of who controls the account.
    Alert {
        /// The reader.
        name: String,
        /// The subject.
        subject: String,
        /// What happened and who did it, in full sentences.
        what: String,
        /// When.
        at: DateTime<Utc>,
        /// Where the reader can undo the change, and until when.
        undo: Option<(String, DateTime<Utc>)>,
        /// What to do if the change was not intended.
        remedy: &'static str,
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
            Self::VerifyEmail { .. } => "Verify your e-mail address".to_owned(),
            Self::ConfirmEmailChange { .. } => "Verify your new e-mail address".to_owned(),
            Self::StopEmailChange { .. } => "A change of your e-mail address was requested".to_owned(),
            Self::Invitation { account, inviter, .. } => format!("{inviter} invites you to {account}"),
            Self::AccessRequest { agency, .. } => format!("{agency} asks for access to your account"),
            Self::AccessApproved { client, .. } => format!("{client} has approved your access request"),
            Self::AccessDeclined { address, .. } => format!("{address} has declined your access request"),
            Self::ConnectionEnded { other_account, .. } => format!("The connection with {other_account} has ended"),
            Self::ConnectionEnding { agency, client, .. } => format!("{agency}'s access to {client} ends soon"),
            Self::ResetPassword { .. } => "Take a new password".to_owned(),
            Self::SignInLink { .. } => "Your sign-in link".to_owned(),
            Self::Security { title, .. } | Self::Notice { title, .. } => (*title).to_owned(),
            Self::Alert { subject, .. } => subject.clone(),
            Self::InvitationAcceptedByAnother { account, invited_address, .. } => {
                format!("Your invitation of {invited_address} to {account} was accepted with another address")
            }
        }
    }

    /// What stands above the message.
    fn paragraphs(&self) -> Vec<String> {
        match self {
            Self::VerifyEmail { .. } => vec![
                "Hello,".to_owned(),
                "Somebody signed up with this e-mail address. If it was you, open the link and enter the password that you chose. Until \
                 then you can't invite or approve anyone."
                    .to_owned(),
            ],
            Self::ConfirmEmailChange { login, .. } => vec![
                "Hello,".to_owned(),
                match login {
                    Some(login) => format!("The user with the login {login} wants to use this e-mail address from now on."),
                    None => "A new user, whose own address is not verified, wants to use this e-mail address from now on.".to_owned(),
                },
                "If that is you, open the link and enter the password of the login.".to_owned(),
            ],
            Self::StopEmailChange { new_address, .. } => vec![
                "Hello,".to_owned(),
                format!("Somebody who is signed in with your login wants to change its e-mail address to {new_address}."),
                "If it was you, there is nothing to do here: the change is complete when you open the link that was sent to the new \
                 address."
                    .to_owned(),
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
            Self::ResetPassword { verified, .. } => vec![
                "Hello,".to_owned(),
                "Somebody asked for a new password for the login with this address. All sessions end when you choose one.".to_owned(),
                match verified {
                    true => "Two-factor authentication stays on.".to_owned(),
                    false => "This address was never verified. The new password verifies it, and removes what was set up with this \
                              address before, such as API keys and two-factor authentication."
                        .to_owned(),
                },
            ],
            Self::SignInLink { .. } => vec![
                "Hello,".to_owned(),
                "Somebody requested a link to sign in to the login with this address. The link works once. If two-factor authentication is \
                 on, you need a code too."
                    .to_owned(),
            ],
            Self::Security { what, api_keys, at, .. } => {
                let happened = format!("{what} It was {}.", at.format("%A, %-d %B %Y, %H:%M UTC"));
                ["Hello,".to_owned(), happened].into_iter().chain(api_keys.clone()).collect()
            }
            Self::Notice { name: None, what, at, .. } => {
                vec!["Hello,".to_owned(), format!("{what} It was {}.", at.format("%A, %-d %B %Y, %H:%M UTC"))]
            }
            Self::Notice { name: Some(name), what, at, .. } => {
                vec![format!("Hello {name},"), format!("{what} It was {}.", at.format("%A, %-d %B %Y, %H:%M UTC"))]
            }
            Self::Alert { name, what, at, .. } => vec![
                format!("Hello {name},"),
                what.clone(),
                format!("This happened on {}.", at.format("%A, %-d %B %Y, %H:%M UTC")),
            ],
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
            Self::VerifyEmail { link, expires_at } | Self::ConfirmEmailChange { link, expires_at, .. } => {
                ("Verify the address", link, expires_at)
            }
            Self::StopEmailChange { link, expires_at, .. } => ("Stop the change", link, expires_at),
            Self::Invitation { link, expires_at, .. } => ("See the invitation", link, expires_at),
            Self::AccessRequest { link, expires_at, .. } => ("See the request", link, expires_at),
            Self::Alert { undo: Some((link, expires_at)), .. } => ("Undo the transfer", link, expires_at),
            Self::ResetPassword { link, expires_at, .. } => ("Take a new password", link, expires_at),
            Self::SignInLink { link, expires_at } => ("Sign in", link, expires_at),
            _ => return None,
        };
        let until = format!("The link works until {}.", expires_at.format("%A, %-d %B %Y, %H:%M UTC"));
        Some((label, one_line(link), until))
    }

    /// What a reader does who did not expect the mail.
    fn unexpected(&self) -> &'static str {
        match self {
            Self::VerifyEmail { .. } => {
                "If you did not sign up, ignore this e-mail: the login can do little, and is deleted after 7 days. If you want to sign up \
                 yourself, open the link and choose \"I did not choose a password\". Never enter a password that somebody else told you."
            }
            Self::ConfirmEmailChange { .. } => {
                "If you don't know that login, ignore this e-mail: without the link and the password nothing changes. Never enter a \
                 password that somebody else told you."
            }
            Self::StopEmailChange { .. } => {
                "If it was not you, stop the change with this link, and choose a new password: somebody is signed in with your login."
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
            Self::SignInLink { .. } => {
                "If it wasn't you, ignore this e-mail: without the link nobody can sign in. Never pass the link on."
            }
            Self::Security { .. } => "If it wasn't you, take a new password at once: that ends all sessions.",
            Self::Notice { .. } => "You get this because of your access to that account.",
            Self::Alert { remedy, .. } => remedy,
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
mod tests;
