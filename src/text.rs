//! What people may write: names, messages, addresses. Cleaned once, at the door, so that nothing further in has to ask.
//!
//! Control characters and those that turn the direction of writing are refused, since they forge what others read.
//! An address has two forms: as written, where mail goes, and its key, by which `a@x.io`, `A@X.IO` and its Unicode
//! variants are one identity.

use crate::error::{UserError, UserErrorCode::Invalid};
use unicode_normalization::UnicodeNormalization;

/// The longest name of a person or an account, in characters.
pub const NAME_MAX: usize = 100;
/// The longest message in a mail, in characters.
pub const MESSAGE_MAX: usize = 2_000;
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

/// Characters that change how others are read: controls, line and paragraph separators, bidi controls, invisible joiners.
fn forges(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

/// A name: one line, 1 to 100 characters, in NFC.
pub fn name(text: &str, field: &str) -> Result<String, UserError> {
    let name: String = text.trim().nfc().collect();
    let wrong = |what: String| Err(UserError::new(Invalid, what).at([field]));
    if name.is_empty() {
        return wrong("This can't be empty.".into());
    }
    let length = name.chars().count();
    if length > NAME_MAX {
        return wrong(format!("This may have {NAME_MAX} characters at most; it has {length}."));
    }
    if name.chars().any(forges) {
        return wrong("This has characters that can't be seen, such as line breaks or marks that turn the direction of writing. Leave them out.".into());
    }
    Ok(name)
}

/// A message: up to 2,000 characters, line breaks and tabs allowed; nothing but blanks is no message.
pub fn message(text: Option<&str>, field: &str) -> Result<Option<String>, UserError> {
    let Some(text) = text else { return Ok(None) };
    let message: String = text.replace("\r\n", "\n").trim().nfc().collect();
    let length = message.chars().count();
    if length > MESSAGE_MAX {
        return Err(UserError::new(
            Invalid,
            format!("A message may have {MESSAGE_MAX} characters at most; this one has {length}."),
        )
        .at([field]));
    }
    if message.chars().any(|c| forges(c) && c != '\n' && c != '\t') {
        return Err(UserError::new(Invalid, "The message has characters that can't be seen. Leave them out.").at([field]));
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
    if address
        .chars()
        .any(|c| forges(c) || c.is_whitespace() || matches!(c, '"' | '<' | '>' | '(' | ')' | ',' | ';' | ':' | '\\'))
    {
        return Err(wrong);
    }
    let (local, domain) = address.rsplit_once('@').ok_or(wrong)?;
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
                prop_assert!(!once.address.chars().any(forges));
            }
            if let Ok(once) = name(&text, "name") {
                prop_assert_eq!(name(&once, "name").unwrap(), once);
            }
        }
    }
}
