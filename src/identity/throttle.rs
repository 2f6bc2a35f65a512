//! Slows down those who guess (I5): passwords, codes and tokens, each by whom it is tried on and by where it is tried from.
//!
//! A try counts as failed from its beginning, so that a hundred at once are a hundred; one that succeeds is taken back. Some
//! failures are free, and after them each doubles the wait, up to a longest one; with time they are forgiven. A login's failures
//! from everywhere slow nobody down on a device that has signed in before: it has failures of its own, so that no stranger can
//! keep a login's owner out. Which devices these are is in the database (`devices`); failures are counted in memory: what a restart
//! forgets is minutes of an attacker's time.

use crate::{
    error::{Denied, Error, Result, UserErrorCode},
    events::security::{self, NewSecurityEvent},
    network::Network,
};
use entity::{
    UserId,
    security_event::{SecurityEventKind, SecurityOutcome},
    session,
};
use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::Instant;
use uuid::Uuid;

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

    /// As fast as so many together.
    fn times(self, many: u32) -> Self {
        Self { free: self.free * f64::from(many), forgiven: self.forgiven / many, ..self }
    }
}

/// A user's secrets, from one network or on one device: 5, then up to a quarter of an hour.
const OWN: Pace = Pace::new(5, 900, 600);
/// A user's secrets, from all networks, on devices that have not signed in before: 100, then one a minute.
const ALL: Pace = Pace::new(100, 60, 60);
/// Any user's secrets, from one network; many people may share it.
const HERE: Pace = Pace::new(30, 60, 10);
/// The tokens of links, from one network. Nobody guesses one.
const TOKENS: Pace = Pace::new(20, 60, 10);
/// What a network asks for without a secret: sign-ups, and e-mails to addresses that it names.
const ASKED: Pace = Pace::new(100, 60, 30);
/// How much more an IPv6 /48 may do than one of its /64: it is a site of many, or one customer who has it all.
const SITE: u32 = 4;

/// Usernames that one user asks for, of which the answer says whether they are taken.
const NAMED: Pace = Pace::new(10, 60, 60);

/// What is tried, and what its failures are counted by. Each has failures of its own: who has a password must not wipe out wrong
/// codes with it.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Whom<'a> {
    /// The password of a login, as it was typed, on an unknown device: by the user, it would show whose two names these are.
    Login(&'a str),
    /// A user's codes, behind the password, on an unknown device.
    Code(UserId),
    /// A user's secret, behind a link that was e-mailed: only who reads the mailbox gets here.
    Link(UserId, Secret),
    /// The password of a login on a device that its user has signed in on before.
    LoginOn(Uuid),
    /// A user's secret, on a device that the user has signed in on: a code behind the password, or either of them once more.
    Device(UserId, Uuid, Secret),
}

/// A secret that a user knows or has.
#[derive(Clone, Copy, Debug, Hash)]
pub enum Secret {
    /// The password.
    Password,
    /// A two-factor code.
    Code,
}

impl Whom<'_> {
    /// A secret that somebody gives once more, who is signed in: counted on their device. Sessions of older servers name none.
    pub fn once_more(session: &session::Model, secret: Secret) -> Self {
        Self::Device(session.user_id, session.device_id.unwrap_or(session.id.0), secret)
    }
}

impl Whom<'_> {
    /// What a failure is called, with its code, and the user if that is known.
    fn failure(self) -> (SecurityEventKind, &'static str, Option<UserId>) {
        match self {
            Self::Login(_) | Self::LoginOn(_) => (SecurityEventKind::SignIn, "WRONG_CREDENTIALS", None),
            Self::Link(user, Secret::Password) | Self::Device(user, _, Secret::Password) => {
                (SecurityEventKind::PasswordCheck, "WRONG_CREDENTIALS", Some(user))
            }
            Self::Code(user) | Self::Link(user, Secret::Code) | Self::Device(user, _, Secret::Code) => {
                (SecurityEventKind::TwoFactorCode, "WRONG_TWO_FACTOR_CODE", Some(user))
            }
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
    /// What a success wipes out: the failures of this user from this network, or on this device.
    own: Option<u64>,
    /// What is recorded unless it succeeds.
    failure: Failure,
}

impl Throttle {
    /// One that slows down, unless it is off.
    pub fn new(on: bool) -> Self {
        Self { on, hasher: RandomState::new(), counts: Mutex::default() }
    }

    /// Begins a try on a user's password or code, whether or not there is such a user.
    pub fn secret(&self, whom: Whom<'_>, address: Option<IpAddr>) -> Result<Try<'_>> {
        let networks: Vec<_> = address.map(networks).into_iter().flatten().collect();
        let mut paces = Vec::new();
        let own = match whom {
            Whom::LoginOn(device) => self.key("device", (device, Secret::Password)),
            Whom::Device(_, device, secret) => self.key("device", (device, secret)),
            Whom::Link(..) => self.key("own", whom),
            Whom::Login(_) | Whom::Code(_) => {
                paces.push((self.key("all", whom), ALL));
                paces.extend(networks.iter().map(|(network, clients)| (self.key("here", network), HERE.times(*clients))));
                self.key("own", (whom, networks.first().map(|(network, _)| network)))
            }
        };
        paces.push((own, OWN));
        let (begun, (kind, code, user)) = (self.begin(&paces), whom.failure());
        if user.is_some() {
            security::note_refusal(kind, user, &begun);
        }
        let event = NewSecurityEvent { user, ..NewSecurityEvent::new(kind, SecurityOutcome::Failure).code(code) };
        Ok(Try { own: Some(own), failure: Failure(Some(event)), ..begun? })
    }

    /// Begins a try of another sort from an address.
    pub fn from(&self, tried: Tried, address: Option<IpAddr>) -> Result<Try<'_>> {
        let pace = if tried == Tried::Token { TOKENS } else { ASKED };
        let networks = address.map(networks).into_iter().flatten();
        let paces: Vec<_> =
            networks.map(|(network, clients)| (self.key("from", (tried, network)), pace.times(clients))).collect();
        self.begin(&paces)
    }

    /// Begins an attempt of a user to take a username. The answer reveals whether it is taken, so every attempt counts, by user and by
    /// network.
    pub fn username(&self, user: UserId, address: Option<IpAddr>) -> Result<Try<'_>> {
        let by_user = (self.key("named", user), NAMED);
        let networks = address.map(networks).into_iter().flatten();
        let here = networks.map(|(network, clients)| (self.key("from", (Tried::Username, network)), ASKED.times(clients)));
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

    fn key(&self, what: &str, whom: impl Hash) -> u64 {
        self.hasher.hash_one((what, whom))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Count>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, paces: &[(u64, Pace)]) -> Result<Try<'_>> {
        let mut begun = Try { throttle: self, counted: Vec::new(), own: None, failure: Failure(None) };
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
        let (own, throttle) = (self.own, self.throttle);
        self.undone();
        if let Some(own) = own {
            throttle.lock().remove(&own);
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

/// The networks of an address, the smallest first, and how many clients share each.
fn networks(address: IpAddr) -> impl Iterator<Item = (Network, u32)> {
    [(Network::containing(address), 1)].into_iter().chain(Network::site(address).map(|site| (site, SITE)))
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
        Whom::Code(UserId(Uuid::from_u128(n.into())))
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

    /// THREATS 38, 77: however many strangers fail from everywhere, a device that has signed in can go on; who has stolen one has
    /// few tries too, and a device's password buys it no codes.
    #[tokio::test(start_paused = true)]
    async fn threat_38_nobody_is_locked_out_by_strangers() {
        let throttle = Throttle::new(true);
        let strangers = (0..150).filter(|n| wait(throttle.secret(Whom::Login("ann"), Some(address(*n)))) == 0).count();
        assert_eq!(strangers, 100);
        assert!(wait(throttle.secret(Whom::Login("ann"), Some(address(199)))) > 0, "an unknown device has to wait");
        let device = Uuid::from_u128(1);
        let ann = UserId(Uuid::nil());
        let known = |secret| wait(throttle.secret(Whom::Device(ann, device, secret), Some(address(1))));
        assert_eq!((0..10).take_while(|_| known(Secret::Password) == 0).count(), 5, "a known one has its own");
        assert_eq!((0..10).take_while(|_| known(Secret::Code) == 0).count(), 5);
        for n in 0..100 {
            let from = Some(address(n));
            assert_eq!(wait(throttle.secret(Whom::LoginOn(device), from)), 1, "wherever it is taken to");
        }
    }

    /// I5: who has a whole network of IPv6 addresses counts as one client, and a site of many as a few.
    #[tokio::test(start_paused = true)]
    async fn i5_ipv6_networks_count_as_one() {
        let throttle = Throttle::new(true);
        let from = |network: u128, host: u128| {
            Some(IpAddr::from(std::net::Ipv6Addr::from((0x2001_0db8_u128 << 96) | network << 64 | host)))
        };
        let login = |n: u128| Whom::Code(UserId(Uuid::from_u128(n)));
        assert_eq!((0..50).take_while(|n| wait(throttle.secret(login(*n), from(0, *n))) == 0).count(), 30, "one /64");
        assert_eq!(
            (100..300).take_while(|n| wait(throttle.secret(login(*n), from(*n, 1))) == 0).count(),
            90,
            "the rest of its /48"
        );
        assert_eq!(wait(throttle.secret(login(300), from(1 << 16, 1))), 0, "another /48");
        let mails = |network| wait(throttle.from(Tried::Mail, from(network, 1)));
        assert_eq!((0..500).take_while(|n| mails(*n) == 0).count(), 400, "a mail from each /64 of one /48");
        assert_eq!(wait(throttle.from(Tried::Mail, Some(address(1)))), 0);
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
        let mut codes = 0;
        for _ in 0..50 {
            codes += u32::from(throttle.secret(Whom::Code(UserId(Uuid::nil())), Some(address(1))).is_ok());
            throttle.secret(Whom::Login("ann"), Some(address(1))).unwrap().succeeded();
        }
        assert_eq!(codes, 5);
    }
}
