//! How hard key material is to guess: weak material is refused at the start, because everything that Keyholder signs, derives
//! or encrypts is only as strong as it.

/// The least length of a secret, in characters.
pub const SECRET_MIN: usize = 32;
/// How many characters of a secret are examined. More would take long and change nothing.
const EXAMINED: usize = 64;
/// The least number of different characters in a secret: 32 random hexadecimal digits have 14 on average.
const DISTINCT_MIN: usize = 8;
/// The least number of guesses for a whole secret, as a power of ten. The estimate ends at 10^19.3.
const WHOLE_MIN: f64 = 19.0;
/// Because it ends there, each piece of a word of at most this length is estimated too.
const PIECE: usize = 16;
/// The least number of guesses for the pieces together: 32 random hexadecimal digits take 10^26 and more.
const PIECES_MIN: f64 = 22.0;
/// The least number of different bytes in a private key of 32 bytes: a random one has 30 on average.
const DISTINCT_BYTES_MIN: usize = 16;

/// Why a secret can't be used, as the end of a sentence that begins with its name. Never repeats the secret.
pub fn weakness(secret: &str) -> Option<&'static str> {
    let length = secret.chars().count();
    if length < SECRET_MIN {
        return Some("must have at least 32 characters, as from `openssl rand -base64 32`");
    }
    let distinct: std::collections::BTreeSet<char> = secret.chars().collect();
    if distinct.len() < DISTINCT_MIN {
        return Some("has too few different characters, so it can be guessed. Make a random one with `openssl rand -base64 32`");
    }
    let examined: String = secret.chars().take(EXAMINED).collect();
    let words = examined.split(|c: char| !c.is_alphanumeric()).map(|word| word.chars().collect::<Vec<_>>());
    let pieces: f64 = words.flat_map(|word| word.chunks(PIECE).map(guesses).collect::<Vec<_>>()).sum();
    let whole = guesses(&examined.chars().collect::<Vec<_>>());
    (whole < WHOLE_MIN || pieces < PIECES_MIN).then_some(
        "can be guessed: it consists of words, sequences or repetitions. Make a random one with `openssl rand -base64 32`",
    )
}

/// How many guesses a text takes, as a power of ten.
fn guesses(text: &[char]) -> f64 {
    let text: String = text.iter().collect();
    zxcvbn::zxcvbn(&text, &["keyholder", "secret"]).guesses_log10()
}

/// Whether a private key can't come from a random source, such as one of zeros.
pub fn is_weak_key(private: &[u8]) -> bool {
    private.iter().collect::<std::collections::BTreeSet<_>>().len() < DISTINCT_BYTES_MIN
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_lc_rs::rand;
    use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
    }

    #[test]
    fn threat_86_a_secret_that_can_be_guessed_is_refused() {
        for weak in [
            "x".repeat(40),
            "ab".repeat(20),
            "0123456789abcdef0123456789abcdef".to_owned(),
            "0123456789abcdefghijklmnopqrstuvwxyz".to_owned(),
            "abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz".to_owned(),
            "qwertyuiopasdfghjklzxcvbnmqwertyuiop".to_owned(),
            "passwordpasswordpasswordpassword1234".to_owned(),
            "keyholder-secret-keyholder-secret-keyholder".to_owned(),
            "changeme-changeme-changeme-changeme".to_owned(),
            "00000000-0000-0000-0000-000000000000".to_owned(),
            "this is the secret of my keyholder server".to_owned(),
            "MyCompany-Keyholder-Production-Secret-2026!".to_owned(),
            "MyCompanyKeyholderProductionSecret2026".to_owned(),
            "correct horse battery staple tomato".to_owned(),
            "2026-01-01 2026-01-02 2026-01-03 2026-01-04".to_owned(),
            "\u{3164}".repeat(40),
        ] {
            assert!(weakness(&weak).is_some(), "{weak}");
        }
        assert!(weakness("short").is_some_and(|why| why.contains("32 characters")));
    }

    #[test]
    fn random_secrets_are_strong() {
        for _ in 0..40 {
            let mut bytes = [0; 32];
            rand::fill(&mut bytes).unwrap();
            for strong in [hex(&bytes[..16]), hex(&bytes), BASE64.encode(bytes), BASE64.encode(&bytes[..24])] {
                assert_eq!(weakness(&strong), None, "{strong}");
            }
            assert!(!is_weak_key(&bytes));
        }
        assert!(is_weak_key(&[0; 32]) && is_weak_key(&[7, 8].repeat(16)));
    }
}
