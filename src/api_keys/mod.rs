//! API keys: what programs act with in one account, in the name of the user who made them (I6).
//!
//! A key is 256 random bits behind `kh_`. It is shown once; what is kept is its hash, by which it is found, and how it begins, by
//! which people know it. It acts at its creator's present level, and at most at the one that it was given.

pub mod api;
pub mod ops;

use aws_lc_rs::{
    digest,
    rand::{self},
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};

/// What every key begins with, so that people and secret scanners know one when they see it.
const MARK: &str = "kh_";
/// How much of a key people see, the mark included.
const PREFIX: usize = 10;

/// Whether a bearer's token is meant as an API key.
pub fn is_one(token: &str) -> bool {
    token.starts_with(MARK)
}

/// What a key is found by.
pub fn hash(key: &str) -> String {
    BASE64.encode(digest::digest(&digest::SHA256, key.as_bytes()))
}

/// A new key and how it begins.
fn generate() -> Result<(String, String), aws_lc_rs::error::Unspecified> {
    let mut bytes = [0; 32];
    rand::fill(&mut bytes)?;
    let key = format!("{MARK}{}", BASE64.encode(bytes));
    let prefix = key[..PREFIX].to_owned();
    Ok((key, prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// THREATS 55, 56: enough bits, and not to be told from its hash or its beginning.
    #[test]
    fn threat_56_a_key_has_256_bits() {
        let (key, prefix) = generate().unwrap();
        assert_eq!((key.len(), &key[..10]), (46, prefix.as_str()));
        assert!(is_one(&key) && !hash(&key).contains(&key[3..]));
        assert_ne!(generate().unwrap().0, key);
    }
}
