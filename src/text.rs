//! What people may write: names, messages, addresses. Cleaned once, at the door, so that nothing further in has to ask.
//!
//! Characters that can't be seen are refused, since they forge what others read ([`crate::visible`]).
//! An address has two forms: as written, where mail goes, and its key, by which `a@x.io`, `A@X.IO` and its Unicode
//! variants are one identity.

use crate::{
    error::{UserError, UserErrorCode::Invalid},
    visible::{self, Flaw},
};
use unicode_normalization::UnicodeNormalization;

/// The longest name of a person or an account, in characters.
pub const NAME_MAX: usize = 100;
/// The longest message in a mail, in characters.
pub const MESSAGE_MAX: usize = 2_000;
/// The most combining marks in a row in a name: as many as living languages put on one letter.
const NAME_MARKS: usize = 4;
/// The most of them in a message, which may quote scripture.
const MESSAGE_MARKS: usize = 8;
/// The longest address, in bytes (RFC 5321).
const EMAIL_MAX: usize = 254;

/// An e-mail address.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Email {
    /// As it was written.
    pub address: String,
    /// What makes it one identity.
    pub key: String,
}

/// What makes a text unreadable, as a sentence; none of a text that people can read.
fn unreadable(text: &str, what: &str, marks_max: usize) -> Option<String> {
    Some(match visible::flaw(text, marks_max)? {
        Flaw::Hidden(c) => format!("{what} has the character {}, which can't be seen here. Leave it out.", visible::named(c)),
        Flaw::Piled(c) => format!(
            "{what} has more than {marks_max} combining marks in a row, the last of them {}. Leave some of them out.",
            visible::named(c)
        ),
    })
}

/// A name: one line, 1 to 100 characters, in NFC, of which people see at least one.
pub fn name(text: &str, field: &str) -> Result<String, UserError> {
    let name: String = text.trim_matches(visible::is_blank).nfc().collect();
    let wrong = |what: String| Err(UserError::new(Invalid, what).at([field]));
    if name.is_empty() {
        return wrong("This can't be empty.".into());
    }
    let length = name.chars().count();
    if length > NAME_MAX {
        return wrong(format!("This may have {NAME_MAX} characters at most; it has {length}."));
    }
    if let Some(why) = unreadable(&name, "This", NAME_MARKS) {
        return wrong(why);
    }
    if let Some(mark) = name.chars().next().filter(|c| visible::is_mark(*c)) {
        return wrong(format!(
            "This begins with the combining mark {}. Put the character that it belongs to before it.",
            visible::named(mark)
        ));
    }
    if !name.chars().any(visible::is_visible) {
        return wrong("This has no character that can be seen. Write at least one letter, digit or symbol.".into());
    }
    Ok(name)
}

/// A message: up to 2,000 characters, line breaks and tabs allowed; nothing but blanks is no message.
pub fn message(text: Option<&str>, field: &str) -> Result<Option<String>, UserError> {
    let Some(text) = text else { return Ok(None) };
    let message: String = text.replace("\r\n", "\n").trim_matches(visible::is_blank).nfc().collect();
    let wrong = |what: String| Err(UserError::new(Invalid, what).at([field]));
    let length = message.chars().count();
    if length > MESSAGE_MAX {
        return wrong(format!("A message may have {MESSAGE_MAX} characters at most; this one has {length}."));
    }
    if let Some(why) = message.split(['\n', '\t']).find_map(|line| unreadable(line, "The message", MESSAGE_MARKS)) {
        return wrong(why);
    }
    Ok((!message.is_empty()).then_some(message))
}

/// A username: 3 to 40 of a–z, 0–9, dot, hyphen and underscore, beginning with a letter or digit. Answers it and its key.
pub fn username(text: &str, field: &str) -> Result<(String, String), UserError> {
    let username = text.trim();
    let fits = (3..=40).contains(&username.len())
        && username.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
        && username.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !fits {
        let rule = "A username has 3 to 40 characters: letters a to z, digits, dots, hyphens and underscores; it begins with a letter or digit.";
        return Err(UserError::new(Invalid, rule).at([field]));
    }
    Ok((username.to_owned(), username.to_ascii_lowercase()))
}

/// An e-mail address; what is wrong is told in a sentence, since the caller knows the place.
pub fn email(text: &str) -> Result<Email, &'static str> {
    let (text, too_long) = (text.trim(), "This is too long for an e-mail address.");
    // Composed, a text is a third as long at the least; an endless one is not worth composing.
    if text.len() > 3 * EMAIL_MAX {
        return Err(too_long);
    }
    let address: String = text.nfc().collect();
    if address.is_empty() {
        return Err("An e-mail address is missing here.");
    }
    if address.len() > EMAIL_MAX {
        return Err(too_long);
    }
    let wrong = "This is not an e-mail address, such as ann@example.com.";
    if address.chars().any(|c| {
        visible::is_hidden(c) || visible::is_blank(c) || matches!(c, '"' | '<' | '>' | '(' | ')' | ',' | ';' | ':' | '\\')
    }) {
        return Err(wrong);
    }
    let (local, domain) = address.rsplit_once('@').ok_or(wrong)?;
    if visible::flaw(local, NAME_MARKS).is_some() || !local.chars().any(visible::is_visible) {
        return Err(wrong);
    }
    let domain = idna::domain_to_ascii_strict(domain).map_err(|_| wrong)?;
    lettre::Address::new(local, &domain).map_err(|_| wrong)?;
    let local: String = local.chars().flat_map(char::to_lowercase).nfc().collect();
    let key = format!("{local}@{domain}");
    // On its way the domain is in ASCII, which is longer.
    if key.len() > EMAIL_MAX {
        return Err(too_long);
    }
    Ok(Email { address, key })
}

/// An address as a guard against look-alikes shows it: its domain in ASCII, so that letters of another script are seen as what
/// they are (`ann@аpple.example` becomes `ann@xn--pple-43d.example`).
pub fn with_ascii_domain(address: &str) -> String {
    let ascii = address.rsplit_once('@').filter(|(_, domain)| !domain.is_ascii()).and_then(|(local, domain)| {
        let domain = idna::domain_to_ascii(domain).ok()?;
        Some(format!("{local}@{domain}"))
    });
    ascii.unwrap_or_else(|| address.to_owned())
}

/// The mailbox of an address key: without a `+tag`, which its owner can add at will. Gmail ignores dots too, and has two domains.
pub fn mailbox(key: &str) -> String {
    let Some((local, domain)) = key.rsplit_once('@') else { return key.to_owned() };
    let local = local.split_once('+').map_or(local, |(name, _)| name);
    match domain {
        // Only a tag, which is no tag then.
        _ if local.is_empty() => key.to_owned(),
        "gmail.com" | "googlemail.com" => format!("{}@gmail.com", local.replace('.', "")),
        _ => format!("{local}@{domain}"),
    }
}

/// Every address of a list whose entries may hold several with commas between them, each with its entry's place.
pub fn addresses(entries: &[String]) -> Vec<(usize, String)> {
    let parts = entries.iter().enumerate().flat_map(|(place, entry)| {
        let several = entry.contains(',');
        // "a@x.io, " is one address; an empty entry by itself is a mistake to tell.
        entry.split(',').map(str::trim).filter(move |part| !several || !part.is_empty()).map(move |part| (place, part.to_owned()))
    });
    parts.collect()
}

/// How many addresses one call may name: more than any day's limit, and not so many that an answer is endless.
pub const ADDRESSES_MAX: usize = 200;

/// Refuses an empty list and an endless one.
pub fn some_addresses(count: usize) -> Result<(), UserError> {
    let wrong = |what: String| Err(UserError::new(Invalid, what).at(["emails"]));
    match count {
        0 => wrong("Give at least one e-mail address.".to_owned()),
        1..=ADDRESSES_MAX => Ok(()),
        _ => wrong(format!("Give {ADDRESSES_MAX} addresses at most; these are {count}.")),
    }
}

/// Things of a list, each with its entry's place.
pub type Listed<T> = Vec<(usize, T)>;

/// The addresses that are some, each with its entry's place; and what is wrong with the others.
pub fn read_addresses(addresses: Vec<(usize, String)>) -> (Listed<Email>, Listed<UserError>) {
    let (mut emails, mut errors) = (Vec::new(), Vec::new());
    for (place, address) in addresses {
        match email(&address) {
            Ok(email) => emails.push((place, email)),
            Err(why) => {
                let value: String = address.chars().take(100).collect();
                errors.push((place, UserError::new(Invalid, why).at(["emails".to_owned(), place.to_string()]).value(value)));
            }
        }
    }
    (emails, errors)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn threat_59_one_identity() {
        let key = |text: &str| email(text).unwrap().key;
        assert_eq!(key("Ann@Example.COM"), "ann@example.com");
        assert_eq!(key(" ann@example.com "), "ann@example.com");
        assert_eq!(key("a@bücher.example"), key("a@xn--bcher-kva.example"));
        assert_eq!(key("a@BÜCHER.example"), key("a@bu\u{308}cher.example"));
        assert_eq!(email("Ann@Example.COM").unwrap().address, "Ann@Example.COM");
        // Within the limit as it is written, and past it as it is sent.
        let long = format!("a@{}example.com", "exzoë.upxzoë.".repeat(15));
        assert!(long.len() <= EMAIL_MAX && email(&long).is_err(), "{}", long.len());
    }

    #[test]
    fn threat_58_no_address_breaks_a_header() {
        for wrong in [
            "",
            " ",
            "ann",
            "@x.io",
            "ann@",
            "a@b@",
            "a b@x.io",
            "a\r\n@x.io",
            "a@x.io\nBcc: b@x.io",
            "a@\u{202e}x.io",
            "<a@x.io>",
            "a@x..io",
            "a@-x.io",
            "\"a b\"@x.io",
        ] {
            assert!(email(wrong).is_err(), "{wrong:?}");
        }
        assert!(email(&format!("{}@x.io", "a".repeat(300))).is_err());
    }

    /// THREATS 85: a name shows something, and a domain that looks like another one is seen as what it is.
    #[test]
    fn threat_85_names_are_seen_and_domains_are_ascii() {
        for wrong in
            ["\u{3164}", "\u{2800}\u{2800}", "\u{fe0f}", "\u{e0041}\u{e0042}", "\u{301}a", "a\u{200b}", "\u{a0}", "\u{1d159}"]
        {
            assert!(name(wrong, "name").is_err(), "{wrong:?}");
        }
        let told = |text: &str| name(text, "name").unwrap_err().message;
        assert!(told("Ann\u{3164}").contains("U+3164 (Hangul filler)"), "{}", told("Ann\u{3164}"));
        let piled = format!("a{}", "\u{301}".repeat(90));
        assert!(told(&piled).contains("U+0301") && message(Some(&piled), "message").is_err());
        assert_eq!(message(Some("\u{2800} \n"), "message").unwrap(), None);
        assert_eq!(with_ascii_domain("ann@аpple.example"), "ann@xn--pple-43d.example");
        assert_eq!(with_ascii_domain("Ann@Apple.example"), "Ann@Apple.example");
        for wrong in ["\u{2800}@x.io", "\u{301}@x.io", "a\u{fe0f}@x.io", "a\u{3164}@x.io"] {
            assert!(email(wrong).is_err(), "{wrong:?}");
        }
    }

    /// I8: what one mailbox gets is counted without tags.
    #[test]
    fn i8_tags_share_a_mailbox() {
        assert_eq!(mailbox("bob+1@x.example"), "bob@x.example");
        assert_eq!(mailbox("bob+1+2@x.example"), "bob@x.example");
        assert_eq!(mailbox("b.ob@x.example"), "b.ob@x.example");
        assert_eq!(mailbox("b.o.b+1@googlemail.com"), "bob@gmail.com");
        assert_eq!(mailbox("+1@x.example"), "+1@x.example");
    }

    #[test]
    fn names_and_messages() {
        assert_eq!(name("  Ann Lee ", "name").unwrap(), "Ann Lee");
        for wrong in ["", "   ", "a\nb", "a\u{0}", "a\u{2028}b", "\u{202e}nnA", &"x".repeat(101)] {
            assert!(name(wrong, "name").is_err(), "{wrong:?}");
        }
        assert_eq!(message(Some(" \n "), "message").unwrap(), None);
        assert_eq!(message(Some("a\r\nb"), "message").unwrap().as_deref(), Some("a\nb"));
        assert!(message(Some(&"x".repeat(2_001)), "message").is_err());
        assert!(message(Some("a\u{1b}[31m"), "message").is_err());
    }

    #[test]
    fn addresses_keep_their_place() {
        let list = |entries: &[&str]| addresses(&entries.iter().map(|entry| (*entry).to_owned()).collect::<Vec<_>>());
        assert_eq!(
            list(&["a@x.io, b@x.io,", "c@x.io", ""]),
            [(0, "a@x.io".into()), (0, "b@x.io".into()), (1, "c@x.io".into()), (2, String::new())]
        );
    }

    proptest! {
        #[test]
        fn cleaning_never_panics_and_is_stable(text in "\\PC{0,120}|.{0,40}@.{0,40}") {
            if let Ok(once) = email(&text) {
                prop_assert_eq!(&email(&once.key).unwrap().key, &once.key);
                prop_assert!(!once.address.chars().any(visible::is_hidden));
            }
            if let Ok(once) = name(&text, "name") {
                prop_assert_eq!(name(&once, "name").unwrap(), once);
            }
        }
    }
}
