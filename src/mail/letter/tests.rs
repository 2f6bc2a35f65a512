//! No name or message gets out of its place.

use chrono::TimeZone as _;
use proptest::prelude::*;

use super::*;

/// Every kind of letter, with the same name in each place and the same message.
fn letters(name: &str, message: Option<&str>) -> Vec<Letter> {
    let (n, message, level, expires_at) = (|| name.to_owned(), message.map(str::to_owned), "Author", DateTime::UNIX_EPOCH);
    let link = || "https://app.example/page#token=abc".to_owned();
    vec![
        Letter::StopEmailChange { new_address: n(), link: link(), expires_at },
        Letter::Invitation { account: n(), inviter: n(), level, message: message.clone(), link: link(), expires_at },
        Letter::AccessRequest { agency: n(), requester: n(), profile: n(), level, message, link: link(), expires_at },
        Letter::AccessApproved { agency: n(), client: n(), level, until: None, approver: n() },
        Letter::AccessDeclined { agency: n(), address: n(), level },
        Letter::ConnectionEnded { by: Some(n()), account: n(), other_account: n() },
        Letter::ConnectionEnded { by: None, account: n(), other_account: n() },
        Letter::ConnectionEnding { agency: n(), client: n(), ends_at: expires_at },
        Letter::InvitationAcceptedByAnother { account: n(), invited_address: n(), joiner: n(), level },
        Letter::Alert {
            name: n(),
            subject: n(),
            what: n(),
            at: expires_at,
            undo: Some((link(), expires_at)),
            remedy: "Revoke it.",
        },
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
