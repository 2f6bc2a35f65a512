//! Slows down those who guess (I5): passwords, codes and tokens, each by whom it is tried on and by where it is tried from.
//!
//! A try counts as failed from its beginning, so that a hundred at once are a hundred; one that succeeds is taken back. Some
//! failures are free, and after them each doubles the wait, up to a longest one; with time they are forgiven. A login's failures
//! from everywhere, and an address's on everybody, slow only those down who have not signed in there before, so that no stranger
//! can keep a login's owner out. Counted in memory: what a restart forgets is minutes of an attacker's time.

use crate::{
    error::{Denied, Error, Result, UserErrorCode},
    events::security::{self, NewSecurityEvent},
};
use entity::{
    UserId,
    security_event::{SecurityEventKind, SecurityOutcome},
};
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// How many are remembered; beyond that, those are forgotten who have failed the least.
const REMEMBERED: usize = 100_000;

/// How fast one may go.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Failures without a wait.
    free: f64,
    /// The wait after those; each further failure doubles it.
    first: Duration,
    /// The longest wait.
    longest: Duration,
    /// How long until one failure is forgiven.
    forgiven: Duration,
}

impl Pace {
    const fn new(free: u32, longest: u64, forgiven: u64) -> Self {
        Self {
            free: free as f64,
            first: Duration::from_secs(1),
            longest: Duration::from_secs(longest),
            forgiven: Duration::from_secs(forgiven),
        }
    }
}

/// Somebody's secrets, from one address: 5, then up to a quarter of an hour.
const OWN: Pace = Pace::new(5, 900, 600);
/// Somebody's secrets, from all addresses that they have not signed in from: 100, then one a minute.
const ALL: Pace = Pace::new(100, 60, 60);
/// Anybody's secrets, from one address; many people may share it.
const HERE: Pace = Pace::new(30, 60, 10);
/// The tokens of links, from one address. Nobody guesses one.
const TOKENS: Pace = Pace::new(20, 60, 10);
/// What an address asks for without a secret: sign-ups, and mails to addresses that it names.
const ASKED: Pace = Pace::new(100, 60, 30);

/// Usernames that one user asks for, of which the answer says whether they are taken.
const NAMED: Pace = Pace::new(10, 60, 60);

/// Whose secret is tried, and which. Each has failures of its own: who has a password must not wipe out wrong codes with it.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Whom<'a> {
    /// The password of who signs in by this, as it was typed: by the person, it would tell whose two names these are.
    Login(&'a str),
    /// A user's password, once more.
    Password(UserId),
    /// A user's codes.
    Code(UserId),
}

impl Whom<'_> {
    /// What a failure is called, with its code, and the user if that is known.
    fn failure(self) -> (SecurityEventKind, &'static str, Option<UserId>) {
        match self {
            Self::Login(_) => (SecurityEventKind::SignIn, "WRONG_CREDENTIALS", None),
            Self::Password(user) => (SecurityEventKind::PasswordCheck, "WRONG_CREDENTIALS", Some(user)),
            Self::Code(user) => (SecurityEventKind::TwoFactorCode, "WRONG_TWO_FACTOR_CODE", Some(user)),
        }
    }
}

/// Records a failure when it is dropped, since a try counts as failed until something else is said of it.
struct Failure(Option<NewSecurityEvent>);

impl Drop for Failure {
    fn drop(&mut self) {
        if let Some(event) = self.0.take() {
            security::note(event);
        }
    }
}

/// What is tried.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Tried {
    /// The token of a link.
    Token,
    /// To sign up.
    SignUp,
    /// To have a mail sent.
    Mail,
    /// To take another username.
    Username,
}

/// Counts failures.
pub struct Throttle {
    on: bool,
    hasher: RandomState,
    counts: Mutex<HashMap<u64, Count>>,
    /// Who has signed in from where, and when last.
    known: Mutex<HashMap<u64, Instant>>,
}

#[derive(Clone, Copy)]
struct Count {
    failures: f64,
    at: Instant,
}

impl Count {
    /// The failures that are not forgiven yet.
    fn now(&self, pace: Pace, now: Instant) -> f64 {
        (self.failures - (now - self.at).as_secs_f64() / pace.forgiven.as_secs_f64()).max(0.0)
    }

    /// How long until the next try.
    fn wait(&self, pace: Pace, now: Instant) -> Duration {
        // One that is half forgiven is still one.
        let beyond = self.now(pace, now).ceil() - pace.free;
        if beyond < 0.0 {
            return Duration::ZERO;
        }
        let wait = pace.first.as_secs_f64() * beyond.min(32.0).exp2();
        pace.longest.min(Duration::from_secs_f64(wait)).saturating_sub(now - self.at)
    }
}

/// A try that has begun, and counts as failed until something else is said of it.
#[must_use]
pub struct Try<'a> {
    throttle: &'a Throttle,
    counted: Vec<u64>,
    /// What a success wipes out: the failures of this person from this address.
    own: Option<u64>,
    /// What a success is remembered by.
    known: Option<u64>,
    /// What is recorded unless it succeeds.
    failure: Failure,
}

impl Throttle {
    /// One that slows down, unless it is off.
    pub fn new(on: bool) -> Self {
        Self { on, hasher: RandomState::new(), counts: Mutex::default(), known: Mutex::default() }
    }

    /// Begins a try on somebody's password or code, be there such a person or not.
    pub fn secret(&self, whom: Whom<'_>, address: Option<IpAddr>) -> Result<Try<'_>> {
        let network = address.map(network);
        let known = self.known_key(whom, address);
        let (kind, code, user) = whom.failure();
        let whom = self.hasher.hash_one(whom);
        let own = self.key("own", (whom, network));
        let mut paces = vec![(own, OWN)];
        if !lock(&self.known).contains_key(&known) {
            paces.push((self.key("all", whom), ALL));
            paces.extend(network.map(|network| (self.key("here", network), HERE)));
        }
        let begun = self.begin(&paces);
        if user.is_some() {
            security::note_refusal(kind, user, &begun);
        }
        let event = NewSecurityEvent { user, ..NewSecurityEvent::new(kind, SecurityOutcome::Failure).code(code) };
        Ok(Try { own: Some(own), known: Some(known), failure: Failure(Some(event)), ..begun? })
    }

    /// Begins a try of another sort from an address.
    pub fn from(&self, tried: Tried, address: Option<IpAddr>) -> Result<Try<'_>> {
        let pace = if tried == Tried::Token { TOKENS } else { ASKED };
        let here = address.map(|address| (self.key("from", (tried, network(address))), pace));
        self.begin(here.as_slice())
    }

    /// Begins an attempt of a user to take a username. The answer reveals whether it is taken, so every attempt counts, by user and by
    /// network.
    pub fn username(&self, user: UserId, address: Option<IpAddr>) -> Result<Try<'_>> {
        let by_user = (self.key("named", user), NAMED);
        let here = address.map(|address| (self.key("from", (Tried::Username, network(address))), ASKED));
        self.begin(&[by_user].into_iter().chain(here).collect::<Vec<_>>())
    }

    /// Tries the token of a link, which is wrong when `work` answers `NOT_FOUND`. Nobody guesses one, so that many at once
    /// are no harm, and count when they have failed.
    pub async fn token<T>(&self, address: Option<IpAddr>, work: impl Future<Output = Result<T>>) -> Result<T> {
        self.from(Tried::Token, address)?.undone();
        let outcome = work.await;
        if matches!(&outcome, Err(Error::User(error)) if error.code == UserErrorCode::NotFound) {
            // It has failed, and counts as that.
            let _counted = self.from(Tried::Token, address);
        }
        outcome
    }

    /// Remembers that somebody has proved who they are from an address: strangers' failures are none of theirs there.
    pub fn knows(&self, whom: Whom<'_>, address: Option<IpAddr>) {
        self.remember(self.known_key(whom, address));
    }

    fn remember(&self, known: u64) {
        if !self.on {
            return;
        }
        let mut all = lock(&self.known);
        all.insert(known, Instant::now());
        if all.len() > REMEMBERED {
            // Room by halves: who came last stays.
            let mut times: Vec<_> = all.values().copied().collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            all.retain(|_, at| *at > median);
        }
    }

    fn known_key(&self, whom: Whom<'_>, address: Option<IpAddr>) -> u64 {
        self.key("known", (whom, address.map(network)))
    }

    fn key(&self, what: &str, whom: impl Hash) -> u64 {
        self.hasher.hash_one((what, whom))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Count>> {
        lock(&self.counts)
    }

    fn begin(&self, paces: &[(u64, Pace)]) -> Result<Try<'_>> {
        let mut begun = Try { throttle: self, counted: Vec::new(), own: None, known: None, failure: Failure(None) };
        if !self.on {
            return Ok(begun);
        }
        let (now, mut counts) = (Instant::now(), self.lock());
        let waits = paces.iter().filter_map(|(key, pace)| Some(counts.get(key)?.wait(*pace, now)));
        let wait = waits.max().unwrap_or_default();
        if !wait.is_zero() {
            return Err(Denied::RateLimited(wait).into());
        }
        for (key, pace) in paces {
            let count = counts.entry(*key).or_insert(Count { failures: 0.0, at: now });
            *count = Count { failures: count.now(*pace, now) + 1.0, at: now };
            begun.counted.push(*key);
        }
        forget(&mut counts);
        drop(counts);
        Ok(begun)
    }
}

impl Try<'_> {
    /// Whose secret it is, where only that was not known before. A failure is recorded as theirs.
    pub fn concerning(mut self, user: Option<UserId>) -> Self {
        if let Some(event) = &mut self.failure.0 {
            event.user = user;
        }
        self
    }

    /// It was the right one.
    pub fn succeeded(self) {
        let (own, known) = (self.own, self.known);
        let throttle = self.throttle;
        self.undone();
        if let Some(own) = own {
            throttle.lock().remove(&own);
        }
        if let Some(known) = known {
            throttle.remember(known);
        }
    }

    /// With what came of it; where that is an error, it was never looked at.
    pub fn of<T>(self, outcome: Result<T>) -> Result<(T, Self)> {
        match outcome {
            Ok(done) => Ok((done, self)),
            Err(error) => {
                self.undone();
                Err(error)
            }
        }
    }

    /// With what came of it: a wrong password or code is a failure, and any other error is none.
    pub fn unless_wrong<T>(self, outcome: Result<T>) -> Result<T> {
        match &outcome {
            Ok(_) => self.succeeded(),
            Err(Error::User(error)) if error.code.is_wrong_secret() => {}
            Err(_) => self.undone(),
        }
        outcome
    }

    /// It was never looked at.
    pub fn undone(mut self) {
        self.failure.0 = None;
        let mut counts = self.throttle.lock();
        for key in self.counted {
            if let Some(count) = counts.get_mut(&key) {
                count.failures = (count.failures - 1.0).max(0.0);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whoever has a whole network of addresses to themselves counts as one.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Makes room by halves.
fn forget(counts: &mut HashMap<u64, Count>) {
    if counts.len() <= REMEMBERED {
        return;
    }
    let mut failures: Vec<f64> = counts.values().map(|count| count.failures).collect();
    let middle = failures.len() / 2;
    let (_, median, _) = failures.select_nth_unstable_by(middle, f64::total_cmp);
    let (median, mut room) = (*median, middle);
    counts.retain(|_, count| {
        let stays = count.failures > median || room == 0;
        room -= usize::from(!stays);
        stays
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        IpAddr::from([203, 0, 113, last])
    }

    fn nth(n: u32) -> Whom<'static> {
        Whom::Password(UserId(uuid::Uuid::from_u128(n.into())))
    }

    fn wait(outcome: Result<Try<'_>>) -> u64 {
        match outcome {
            Ok(_) => 0,
            Err(Error::Denied(Denied::RateLimited(wait))) => crate::error::whole_seconds(wait),
            Err(other) => panic!("{other}"),
        }
    }

    /// I5, THREATS 38: guessing backs off, and is forgiven with time.
    #[tokio::test(start_paused = true)]
    async fn threat_38_guessing_backs_off() {
        let throttle = Throttle::new(true);
        let ann = || wait(throttle.secret(Whom::Login("ann"), Some(address(1))));
        let free = (0..10).take_while(|_| ann() == 0).count();
        assert_eq!((free, ann()), (5, 1));
        let mut waits = Vec::new();
        for _ in 0..14 {
            waits.push(ann());
            tokio::time::advance(Duration::from_secs(ann())).await;
            assert_eq!(ann(), 0);
        }
        assert_eq!(waits[..5], [1, 2, 4, 8, 16]);
        assert!(waits.iter().all(|wait| *wait <= 900) && waits.last() > Some(&400), "{waits:?}");
        assert_eq!(wait(throttle.secret(Whom::Login("bob"), Some(address(1)))), 0, "another person's");
        tokio::time::advance(Duration::from_hours(24)).await;
        assert_eq!((0..10).take_while(|_| ann() == 0).count(), 5, "a day later");
    }

    /// THREATS 38: however many strangers fail from everywhere, who has signed in from an address can go on doing so.
    #[tokio::test(start_paused = true)]
    async fn threat_38_nobody_is_locked_out_by_strangers() {
        let throttle = Throttle::new(true);
        throttle.secret(Whom::Login("ann"), Some(address(200))).unwrap().succeeded();
        let strangers = (0..150).filter(|n| wait(throttle.secret(Whom::Login("ann"), Some(address(*n)))) == 0).count();
        assert_eq!(strangers, 100);
        assert!(wait(throttle.secret(Whom::Login("ann"), Some(address(199)))) > 0, "a new address has to wait");
        assert_eq!(wait(throttle.secret(Whom::Login("ann"), Some(address(200)))), 0, "a known one has not");
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_takes_its_try_back() {
        let throttle = Throttle::new(true);
        for _ in 0..1_000 {
            throttle.secret(Whom::Login("ann"), Some(address(1))).unwrap().succeeded();
            throttle.from(Tried::Token, Some(address(1))).unwrap().undone();
        }
        // Many at once from one address are as many, until they have succeeded.
        let tries: Vec<_> = (0..200).filter_map(|n| throttle.secret(nth(n), Some(address(1))).ok()).collect();
        assert_eq!(tries.len(), 30);
        tries.into_iter().for_each(Try::succeeded);
        assert_eq!(wait(throttle.secret(nth(300), Some(address(1)))), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn memory_is_bounded() {
        let throttle = Throttle::new(true);
        for _ in 0..4 {
            let _ = throttle.secret(Whom::Login("ann"), None);
        }
        for n in 0..u32::try_from(REMEMBERED).unwrap() {
            drop(throttle.secret(nth(n), Some(IpAddr::from(n.to_be_bytes()))));
        }
        assert!(throttle.lock().len() <= REMEMBERED + 3);
        assert_eq!(
            (0..10).take_while(|_| wait(throttle.secret(Whom::Login("ann"), None)) == 0).count(),
            1,
            "who failed most is remembered"
        );
    }

    /// I4, I5: a right password wipes out no wrong code, and who is known by one is not by another.
    #[tokio::test(start_paused = true)]
    async fn i5_each_secret_has_failures_of_its_own() {
        let throttle = Throttle::new(true);
        let ann = UserId(uuid::Uuid::nil());
        let mut codes = 0;
        for _ in 0..50 {
            codes += u32::from(throttle.secret(Whom::Code(ann), Some(address(1))).is_ok());
            throttle.secret(Whom::Password(ann), Some(address(1))).unwrap().succeeded();
        }
        assert_eq!(codes, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_known_is_bounded_too() {
        let throttle = Throttle::new(true);
        for n in 0..=u32::try_from(REMEMBERED).unwrap() {
            tokio::time::advance(Duration::from_millis(1)).await;
            throttle.knows(nth(n), None);
        }
        let known = lock(&throttle.known);
        assert!(
            known.len() <= REMEMBERED / 2
                && known.contains_key(&throttle.known_key(nth(u32::try_from(REMEMBERED).unwrap()), None))
        );
    }
}
