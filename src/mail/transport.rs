//! How a mail leaves: through a mail server, or into the [`Mailbox`] that `--dev` reads.
//!
//! One try each time; the answer says whether another makes sense. The outbox keeps the mails, decides when to try again,
//! and asks again with the same id after a crash, so that the Message-ID lets a mail server know a doubled mail.
//! Absent: retries, and a pool of connections: a try that is given up midway would leave in it one that is out of step,
//! and the answer to one mail could be taken for the answer to another.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox as Sender, MultiPart};
use lettre::transport::smtp;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use super::letter::{Rendered, cut, one_line};
use super::mailbox::Mailbox;

/// How long one try may take, from looking up the mail server's name to its last answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// The most characters kept of a mail server's answer.
const ANSWER_LENGTH: usize = 500;

/// Tells answering machines that nobody reads what they would send back (RFC 3834).
const AUTO_SUBMITTED: HeaderName = HeaderName::new_from_ascii_str("Auto-Submitted");

/// Where mails go.
pub enum Transport {
    /// To a mail server.
    Smtp(Box<Smtp>),
    /// Nowhere: they are kept to be read.
    Memory(Mailbox),
}

/// A mail server, and who the mails are from.
pub struct Smtp {
    server: AsyncSmtpTransport<Tokio1Executor>,
    from: Sender,
}

/// A mail with its address. It has no `Debug`, since its token is a secret.
#[derive(Clone)]
pub struct Envelope {
    /// What the Message-ID is made of: the same at each try.
    pub id: String,
    /// The address.
    pub to: String,
    /// The kind of letter.
    pub kind: String,
    /// What it says.
    pub rendered: Rendered,
    /// The token in its link, for the mailbox.
    pub token: Option<String>,
    /// The mail's date.
    pub at: DateTime<Utc>,
}

/// What became of a try, with the mail server's answer or what went wrong, on one line of at most 500 characters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// The mail server has taken it.
    Sent(String),
    /// It may succeed later.
    Later(String),
    /// It is refused for good.
    Never(String),
}

impl Transport {
    /// A mail server by its address, such as `smtps://user:password@mail.example.com`, and the sender.
    /// The error is a sentence that names the wrong setting, and never has the address, which may hold a password.
    pub fn smtp(url: &str, from: &str) -> Result<Self, String> {
        let server = AsyncSmtpTransport::<Tokio1Executor>::from_url(url).map_err(|error| {
            format!(
                "SMTP_URL is not the address of a mail server ({error}). Write smtps://user:password@host, \
                 smtp://user:password@host?tls=required or, without encryption, smtp://host."
            )
        })?;
        let from: Sender = from.parse().map_err(|error| {
            format!("KEYHOLDER_MAIL_FROM is not a sender ({error}). Write Name <mail@example.com> or mail@example.com.")
        })?;
        let from = Sender::new(from.name, ascii_domain(&from.email));
        Ok(Self::Smtp(Box::new(Smtp { server: server.timeout(Some(TIMEOUT)).build(), from })))
    }

    /// Tries once to deliver a mail.
    pub async fn deliver(&self, envelope: &Envelope) -> Outcome {
        match self {
            Self::Smtp(smtp) => smtp.deliver(envelope).await,
            Self::Memory(mailbox) => {
                mailbox.push(envelope);
                Outcome::Sent("Kept in memory.".to_owned())
            }
        }
    }
}

impl Smtp {
    async fn deliver(&self, envelope: &Envelope) -> Outcome {
        let message = match self.message(envelope) {
            Ok(message) => message,
            Err(reason) => return Outcome::Never(reason),
        };
        // The client's own timeout ends with the connection's beginning; a server that falls silent later would hold us.
        match tokio::time::timeout(TIMEOUT, self.server.send(message)).await {
            Ok(Ok(answer)) => {
                let lines: Vec<&str> = answer.message().collect();
                Outcome::Sent(told(&format!("{} {}", answer.code(), lines.join(" "))))
            }
            Ok(Err(error)) => refused(&error),
            Err(_) => Outcome::Later(format!("The mail server did not answer within {} seconds.", TIMEOUT.as_secs())),
        }
    }

    fn message(&self, envelope: &Envelope) -> Result<Message, String> {
        let to: Address = envelope.to.parse().map_err(|_| "This is not an e-mail address.".to_owned())?;
        let Rendered { subject, text, html } = envelope.rendered.clone();
        Message::builder()
            .from(self.from.clone())
            .to(Sender::new(None, ascii_domain(&to)))
            .subject(one_line(&subject))
            .date(SystemTime::from(envelope.at))
            .message_id(Some(format!("<{}@{}>", envelope.id, self.from.email.domain())))
            .raw_header(HeaderValue::new(AUTO_SUBMITTED, "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(text, html))
            .map_err(|error| told(&error.to_string()))
    }
}

/// What an error means for the mail. Causes that are ours, such as a wrong host, are logged for the operator; the
/// sentence is for an account's Admin.
fn refused(error: &smtp::Error) -> Outcome {
    if let Some(code) = error.status() {
        let answer = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        let answer = told(&format!("{code} {answer}"));
        return if error.is_permanent() && !is_about_us(code.into()) { Outcome::Never(answer) } else { Outcome::Later(answer) };
    }
    // The client's word for an address beyond ASCII and a server that takes none.
    if error.is_client() && error.to_string().contains("SMTPUTF8") {
        return Outcome::Never("The mail server takes no address with such letters before the @.".to_owned());
    }
    tracing::warn!(cause = told(&error.to_string()), "a mail could not be handed to the mail server");
    let reason = match error {
        error if error.is_response() => "The mail server's answer could not be understood.",
        error if error.is_client() => "The mail server does not offer what SMTP_URL asks for.",
        error if error.is_tls() => "The connection to the mail server could not be secured.",
        _ => "The mail server could not be reached.",
    };
    Outcome::Later(reason.to_owned())
}

/// Refusals of our own signing in (RFC 4954). They end when the operator mends the password, and no mail is lost to them.
fn is_about_us(code: u16) -> bool {
    matches!(code, 530 | 534 | 535 | 538)
}

fn told(answer: &str) -> String {
    cut(&one_line(answer), ANSWER_LENGTH)
}

/// The address with its domain as mail servers know it, whether or not they take other letters.
fn ascii_domain(address: &Address) -> Address {
    idna::domain_to_ascii(address.domain())
        .ok()
        .and_then(|domain| Address::new(address.user(), domain).ok())
        .unwrap_or_else(|| address.clone())
}

#[cfg(test)]
#[path = "../../tests/support/smtp.rs"]
mod server;

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::server::SmtpServer;
    use super::*;

    const FROM: &str = "Keyholder <no-reply@bücher.example>";

    fn envelope(to: &str) -> Envelope {
        let rendered = Rendered { subject: "Grüße\r\nBcc: all@x.io".into(), text: ".\n..u\n".into(), html: "<p>ü</p>".into() };
        let at = Utc.with_ymd_and_hms(2026, 11, 30, 14, 5, 9).unwrap();
        Envelope { id: "mail_1".into(), to: to.into(), kind: "invitation".into(), rendered, token: None, at }
    }

    async fn deliver(url: &str, to: &str) -> Outcome {
        Transport::smtp(url, FROM).unwrap().deliver(&envelope(to)).await
    }

    #[tokio::test]
    async fn a_mail_arrives_as_text_and_html_with_its_headers() {
        let server = SmtpServer::start().await;
        assert_eq!(deliver(&server.url(), "eve@müller.example").await, Outcome::Sent("250 2.0.0 taken".into()));
        let mail = server.received().remove(0);
        assert_eq!((&*mail.from, mail.to), ("no-reply@xn--bcher-kva.example", vec!["eve@xn--mller-kva.example".to_owned()]));
        let (headers, body) = mail.data.split_once("\r\n\r\n").unwrap();
        for header in [
            "From: Keyholder <no-reply@xn--bcher-kva.example>",
            "To: eve@xn--mller-kva.example",
            "Date: Mon, 30 Nov 2026 14:05:09 +0000",
            "Message-ID: <mail_1@xn--bcher-kva.example>",
            "Auto-Submitted: auto-generated",
        ] {
            assert!(headers.lines().any(|line| line == header), "{header} is not in\n{headers}");
        }
        assert!(headers.contains("Content-Type: multipart/alternative;") && !headers.contains("\nBcc"), "{headers}");
        assert!(body.contains("\r\n.\r\n..u\r\n") && body.contains("<p>=C3=BC</p>"), "{body}");
    }

    #[tokio::test]
    async fn t62_a_later_try_has_the_same_message_id() {
        let server = SmtpServer::start().await;
        server.refuse("b@x.io", 450, 2);
        for _ in 0..2 {
            assert_eq!(deliver(&server.url(), "b@x.io").await, Outcome::Later("450 4.1.1 refused <b@x.io>".into()));
        }
        for _ in 0..2 {
            assert!(matches!(deliver(&server.url(), "b@x.io").await, Outcome::Sent(_)));
        }
        let mails = server.received();
        assert!(mails.len() == 2 && mails.iter().all(|mail| mail.data.contains("Message-ID: <mail_1@")));
    }

    #[tokio::test]
    async fn what_is_the_addresss_fault_is_final_and_what_is_ours_is_not() {
        let server = SmtpServer::start().await;
        server.refuse("gone@x.io", 550, usize::MAX);
        server.refuse("ours@x.io", 535, 1);
        assert_eq!(deliver(&server.url(), "gone@x.io").await, Outcome::Never("550 5.1.1 refused <gone@x.io>".into()));
        assert!(matches!(deliver(&server.url(), "ours@x.io").await, Outcome::Later(_)));
        for address in ["nobody", "a b@x.io", "\"a\r\nb\"@x.io", "a@x.io\nRCPT TO:<b@x.io>", "ü@x.io", "@", ""] {
            let outcome = deliver(&server.url(), address).await;
            assert!(matches!(outcome, Outcome::Never(_)), "{address:?}: {outcome:?}");
        }
        assert!(server.received().is_empty());
    }

    #[tokio::test]
    async fn a_mail_server_that_is_not_there_may_be_there_later() {
        let closed = SmtpServer::start().await.url();
        tokio::task::yield_now().await;
        assert_eq!(deliver(&closed, "b@x.io").await, Outcome::Later("The mail server could not be reached.".into()));
        let tls = SmtpServer::start().await;
        let required = format!("{}?tls=required", tls.url());
        assert!(matches!(deliver(&required, "b@x.io").await, Outcome::Later(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_mail_server_is_given_up() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let outcome = deliver(&format!("smtp://{}", silent.local_addr().unwrap()), "b@x.io").await;
        assert_eq!(outcome, Outcome::Later("The mail server did not answer within 20 seconds.".into()));
    }

    #[test]
    fn a_wrong_setting_is_named_without_its_password() {
        let wrong = |url, from| Transport::smtp(url, from).err().unwrap_or_default();
        for url in ["", "mail.example.com", "http://u:hunter2@x.io", "smtp://u:hunter2@x.io?tls=no", "smtp://u:hunter2@:25"] {
            let sentence = wrong(url, FROM);
            assert!(sentence.starts_with("SMTP_URL ") && !sentence.contains("hunter2"), "{url}: {sentence}");
        }
        assert!(wrong("smtp://x.io", "Keyholder").starts_with("KEYHOLDER_MAIL_FROM "));
        assert_eq!(wrong("smtps://user:p%40ss@mail.example.com/me.example", "a@x.io"), "");
    }
}
