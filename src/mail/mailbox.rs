//! What `--dev` and the tests keep instead of sending: the newest thousand mails, in memory, as a page and as JSON.
//!
//! The page needs no script. A mail's HTML is shown in a sandboxed frame, so that nothing in it runs or reaches the page.
//! Absent: any guard. It shows links that let people in, so it is served in `--dev` alone, on a loopback address.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{SecondsFormat, TimeDelta};
use serde_json::{Value, json};

use super::letter::{Rendered, escape};
use super::transport::Envelope;

/// How many mails are kept.
const CAPACITY: usize = 1_000;
/// How far apart mails are sent at most that were due at the same time.
const TOGETHER: TimeDelta = TimeDelta::seconds(5);

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:0 auto;padding:1em}\
    summary{cursor:pointer;padding:.5em 0}pre{white-space:pre-wrap;overflow-wrap:anywhere}\
    iframe{width:100%;height:32em;border:1px solid #6e7781}";

/// The mails that were not sent. Clones share them.
#[derive(Clone, Default)]
pub struct Mailbox {
    newest_first: Arc<Mutex<VecDeque<Arc<Envelope>>>>,
}

impl Mailbox {
    /// Keeps a mail, and drops the oldest one when there are too many.
    pub fn push(&self, envelope: &Envelope) {
        let mut kept = self.kept();
        // Several are sent at once, in any order: those stand in the order in which they were queued.
        let together = |mail: &Envelope| mail.id > envelope.id && (mail.at - envelope.at).abs() < TOGETHER;
        let place = kept.iter().take_while(|mail| together(mail)).count();
        kept.insert(place, Arc::new(envelope.clone()));
        kept.truncate(CAPACITY);
    }

    /// The mails, newest first: all, or those to one address, whatever its case.
    pub fn list(&self, to: Option<&str>) -> Vec<Arc<Envelope>> {
        let wanted = to.map(str::trim).filter(|to| !to.is_empty()).map(str::to_lowercase);
        let is_wanted = |mail: &Arc<Envelope>| wanted.as_ref().is_none_or(|to| mail.to.to_lowercase() == *to);
        self.kept().iter().filter(|mail| is_wanted(mail)).cloned().collect()
    }

    /// What `/mailbox.json` answers.
    pub fn json(&self, to: Option<&str>) -> String {
        self.list(to).iter().map(|mail| json_of(mail)).collect::<Value>().to_string()
    }

    /// What `/mailbox` answers.
    pub fn page(&self, to: Option<&str>) -> String {
        let mails = self.list(to);
        let shown = match mails.len() {
            0 => "<p>No mails.</p>".to_owned(),
            _ => mails.iter().map(|mail| html_of(mail)).collect::<Vec<_>>().join("\n"),
        };
        format!(
            "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>Mailbox</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>Mailbox</h1>\n\
             <p>Mails that were kept instead of sent, newest first. <a href=\"/mailbox.json\">As JSON</a></p>\n\
             <form><label>To <input name=\"to\" type=\"search\" value=\"{}\"></label> <button>Show</button></form>\n\
             {shown}\n</main>\n</body>\n</html>\n",
            escape(to.unwrap_or_default())
        )
    }

    /// A panic elsewhere can't leave the list half-changed, so that a poisoned lock means nothing here.
    fn kept(&self) -> MutexGuard<'_, VecDeque<Arc<Envelope>>> {
        self.newest_first.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn json_of(mail: &Envelope) -> Value {
    let Rendered { subject, text, html } = &mail.rendered;
    json!({
        "to": mail.to, "kind": mail.kind, "subject": subject, "text": text, "html": html,
        "token": mail.token, "sentAt": sent_at(mail),
    })
}

fn html_of(mail: &Envelope) -> String {
    let subject = escape(&mail.rendered.subject);
    let lines: Vec<String> = mail.rendered.text.lines().map(linked).collect();
    format!(
        "<details>\n<summary><strong>{subject}</strong><br>{} to {}, <time>{}</time></summary>\n<pre>{}</pre>\n\
         <iframe sandbox title=\"{subject}\" srcdoc=\"{}\"></iframe>\n</details>",
        mail.kind,
        escape(&mail.to),
        sent_at(mail),
        lines.join("\n"),
        escape(&mail.rendered.html)
    )
}

fn sent_at(mail: &Envelope) -> String {
    mail.at.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// A line of a mail's text. One that is nothing but an address is the letter's own link, as names stand in sentences
/// and messages behind a `>`; it can be followed here, since the frame lets none out.
fn linked(line: &str) -> String {
    let text = escape(line);
    let is_link = (line.starts_with("https://") || line.starts_with("http://")) && !line.contains(' ');
    if is_link { format!("<a href=\"{text}\" rel=\"noreferrer\">{text}</a>") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn envelope(to: &str, subject: &str) -> Envelope {
        Envelope {
            id: "mail_1".into(),
            to: to.into(),
            kind: "invitation".into(),
            rendered: Rendered {
                subject: subject.into(),
                text: "Hi\nhttps://app.example/#token=t\"\nhttps://evil.example is quoted <b>".into(),
                html: "<p title=\"x\">Hi & bye</p>".into(),
            },
            token: Some("t".into()),
            at: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn it_keeps_the_newest_thousand_newest_first() {
        let mailbox = Mailbox::default();
        (0..=CAPACITY).for_each(|n| mailbox.push(&envelope("a@x.io", &n.to_string())));
        let subjects: Vec<String> = mailbox.list(None).iter().map(|mail| mail.rendered.subject.clone()).collect();
        assert_eq!((subjects.len(), &*subjects[0], &*subjects[CAPACITY - 1]), (CAPACITY, "1000", "1"));
    }

    #[test]
    fn json_has_the_seven_fields_and_filters_by_address() {
        let mailbox = Mailbox::default();
        mailbox.clone().push(&envelope("A@x.io", "one"));
        mailbox.push(&envelope("b@x.io", "two"));
        let mails: Value = serde_json::from_str(&mailbox.json(Some("a@X.io"))).unwrap();
        let rendered = envelope("", "one").rendered;
        let expected = json!([{
            "to": "A@x.io", "kind": "invitation", "subject": "one", "text": rendered.text, "html": rendered.html,
            "token": "t", "sentAt": "1970-01-01T00:00:00.000Z",
        }]);
        assert_eq!(mails, expected);
        assert_eq!((mailbox.json(Some("c@x.io")), mailbox.list(Some(" ")).len()), ("[]".to_owned(), 2));
    }

    #[test]
    fn t58_the_page_escapes_what_it_shows() {
        let mailbox = Mailbox::default();
        mailbox.push(&envelope("<i>@x.io", "\"><script>"));
        let page = mailbox.page(None);
        assert!(page.contains("srcdoc=\"&lt;p title=&quot;x&quot;&gt;Hi &amp; bye&lt;/p&gt;\""));
        assert!(page.contains("<a href=\"https://app.example/#token=t&quot;\""));
        assert_eq!((page.matches("<a ").count(), page.contains("<script"), page.contains("<i>")), (2, false, false));
        assert!(mailbox.page(Some("\"><script>")).contains("value=\"&quot;&gt;&lt;script&gt;\""));
    }
}
