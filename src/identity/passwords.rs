//! Passwords: which are good enough, and Argon2id away from the threads that serve requests (I2).
//!
//! A hash takes some 20 ms and 19 MiB, so only a few run at once and only so many wait: who comes then is told to come again in
//! a moment, rather than that memory or other requests suffer.

use crate::error::{Denied, Fault, Result, UserError, UserErrorCode};
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use std::{
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization;

/// The shortest and the longest password, in characters.
const LENGTH: std::ops::RangeInclusive<usize> = 8..=256;
/// What an attacker who tries the likeliest first needs at least: the 10,000 commonest passwords are refused.
const GUESSES: u64 = 10_000;
/// How much of a password is scored: what comes behind it makes a good one no worse.
const SCORED: usize = 50;
/// How many hash at once, and how many may wait.
const AT_ONCE: usize = 2;
const WAITING: usize = 64;
/// When the surplus may come again.
const SURPLUS_WAITS: Duration = Duration::from_secs(1);
/// Argon2id with 19 MiB and 2 passes.
const COST: (u32, u32) = (19 * 1024, 2);

/// Refuses a new password of the wrong length; what it may be guessed by is [`Hasher::check`]'s.
fn fits(password: &str, field: &str) -> Result<(), UserError> {
    let length = password.chars().count();
    if LENGTH.contains(&length) {
        return Ok(());
    }
    let rule = format!("A password has {} to {} characters; this one has {length}.", LENGTH.start(), LENGTH.end());
    Err(UserError::new(UserErrorCode::Invalid, rule).at([field]))
}

/// Refuses a password that is guessed soon. Half a second of work for the worst, so it is done where passwords are hashed.
fn guessed(password: &str, inputs: &[&str], field: &str) -> Result<(), UserError> {
    let scored: String = password.chars().take(SCORED).collect();
    if zxcvbn::zxcvbn(&scored, inputs).guesses() >= GUESSES {
        return Ok(());
    }
    let why = "This password is among the first that anyone would try. Take a longer or less common one.";
    Err(UserError::new(UserErrorCode::WeakPassword, why).at([field]))
}

/// Hashes and compares passwords.
#[derive(Clone)]
pub struct Hasher {
    hashing: Arc<Work>,
    /// New passwords take their turns apart, so that nobody's odd ones keep others from signing in.
    scoring: Arc<Work>,
}

/// Some work that few do at once, and so many wait for.
struct Work {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Work {
    fn new(at_once: usize) -> Arc<Self> {
        Arc::new(Self { permits: Arc::new(Semaphore::new(at_once)), waiting: AtomicUsize::default() })
    }
}

impl Default for Hasher {
    fn default() -> Self {
        Self { hashing: Work::new(AT_ONCE), scoring: Work::new(1) }
    }
}

/// Compared with when the login is not known, so that the answer takes as long.
static NOBODY: LazyLock<String> = LazyLock::new(|| hash(b"nobody's password").unwrap_or_default());

impl Hasher {
    /// Checks a new password (I2); what it may not be made of is told as `inputs`: the user's own name and address.
    pub async fn check(&self, password: &str, inputs: &[&str], field: &'static str) -> Result<()> {
        fits(password, field)?;
        let (password, inputs) = (password.to_owned(), inputs.iter().map(|&input| input.to_owned()).collect::<Vec<_>>());
        let scored = move || guessed(&password, &inputs.iter().map(String::as_str).collect::<Vec<_>>(), field);
        Ok(self.scoring.run(scored).await??)
    }

    /// The hash of a password, in the PHC format.
    pub async fn hash(&self, password: &str) -> Result<String> {
        let password = normalized(password);
        self.hashing.run(move || hash(&password).map_err(|error| Fault::new(error.to_string()).into())).await?
    }

    /// Whether the password is the one of the hash; without a hash it is not, and takes as long to say so.
    pub async fn verify(&self, password: &str, hash: Option<&str>) -> Result<bool> {
        if password.chars().count() > *LENGTH.end() {
            return Ok(false);
        }
        let (password, known) = (normalized(password), hash.is_some());
        let hash = hash.map_or_else(|| NOBODY.clone(), str::to_owned);
        let fits = move || {
            PasswordHash::new(&hash)
                .is_ok_and(|hash| argon2().is_ok_and(|argon2| argon2.verify_password(&password, &hash).is_ok()))
        };
        Ok(self.hashing.run(fits).await? && known)
    }
}

impl Work {
    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let place = Place::take(&self.waiting).ok_or(Denied::RateLimited(SURPLUS_WAITS))?;
        let permit = self.permits.clone().acquire_owned().await.map_err(Fault::new)?;
        drop(place);
        // The permit goes along: a client that hangs up does not stop the hash, nor make room for another.
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        Ok(work.await.map_err(Fault::new)?)
    }
}

/// A place among those who wait.
struct Place<'a>(&'a AtomicUsize);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicUsize) -> Option<Self> {
        let place = Self(waiting);
        (place.0.fetch_add(1, Ordering::Relaxed) < WAITING).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The same password, however a keyboard composed its characters.
fn normalized(password: &str) -> Vec<u8> {
    password.nfkc().collect::<String>().into_bytes()
}

fn argon2() -> argon2::Result<Argon2<'static>> {
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, Params::new(COST.0, COST.1, 1, None)?))
}

fn hash(password: &[u8]) -> Result<String, argon2::password_hash::Error> {
    let argon2 = argon2().map_err(|_| argon2::password_hash::Error::Internal)?;
    let hash: PasswordHash = argon2.hash_password(password)?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I2: 8 to 256 characters, no rules of composition, the commonest refused.
    #[tokio::test]
    async fn i2_what_a_password_may_be() {
        let code = async |password: &str| match Hasher::default().check(password, &["ann@example.com"], "password").await {
            Err(crate::error::Error::User(error)) => Some(error.code),
            other => other.map(|()| None).unwrap(),
        };
        assert_eq!(code("7 chars").await, Some(UserErrorCode::Invalid));
        assert_eq!(code(&"x".repeat(257)).await, Some(UserErrorCode::Invalid));
        for weak in ["password", "12345678", "qwertyuiop", "aaaaaaaaaa", "ann@example.com", "P@ssw0rd"] {
            assert_eq!(code(weak).await, Some(UserErrorCode::WeakPassword), "{weak}");
        }
        for good in ["grüne Wiese am Bach", "correct horse battery", "密码很长很安全的吧一二三", &"lorem ipsum ".repeat(21)]
        {
            assert_eq!(code(good).await, None, "{good}");
        }
    }

    #[tokio::test]
    async fn i2_hashes_fit_their_password_alone() {
        let hasher = Hasher::default();
        let hash = hasher.hash("caf\u{e9} au lait").await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify("cafe\u{301} au lait", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("cafe au lait", Some(&hash)).await.unwrap());
        assert!(!hasher.verify("nobody's password", None).await.unwrap());
    }

    /// THREATS 35: what no password can be is refused while nobody hashes at all.
    #[tokio::test]
    async fn threat_35_a_megabyte_is_never_hashed() {
        let hasher = Hasher::default();
        let hash = hasher.hash("caf\u{e9} au lait").await.unwrap();
        let _all = hasher.hashing.permits.acquire_many(u32::try_from(AT_ONCE).unwrap()).await.unwrap();
        let _scoring = hasher.scoring.permits.acquire().await.unwrap();
        let megabyte = "x".repeat(1 << 20);
        let refused = async {
            assert!(!hasher.verify(&megabyte, Some(&hash)).await.unwrap());
            assert!(hasher.check(&megabyte, &[], "password").await.is_err());
        };
        tokio::time::timeout(Duration::from_secs(10), refused).await.expect("nobody hashes it");
    }
}
