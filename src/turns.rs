//! Turns: which operations may be under way, so that nobody's many keep others from theirs.
//!
//! Each query, mutation and event of a subscription has a turn while it runs. A user, an API key or a signed-out client network
//! has at most a quarter of all turns, and one client network at most half of them, whoever signs in there. Who it is comes
//! from the verified credentials, without a look at the database.

use crate::network::Network;
use entity::UserId;
use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// One turn of each so many at most for a user, a key or a signed-out network.
const OF_ONE: usize = 4;
/// One turn of each so many at most for a client network.
const OF_NETWORK: usize = 2;
/// How many holders are remembered before those without a turn are forgotten.
const REMEMBERED: usize = 1_024;

/// Who takes turns.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub enum Who {
    /// The user of a session.
    User(UserId),
    /// What may be an API key, by its hash.
    ApiKey(Arc<str>),
    /// Whoever is signed out in a client network, or has wrong credentials; `None` where the network is not known.
    SignedOut(Option<Network>),
}

/// One who takes turns, and where from.
#[derive(Clone, Debug)]
pub struct Taker {
    /// Who it is.
    pub who: Who,
    /// The client address.
    pub address: Option<IpAddr>,
}

#[derive(Clone, Eq, Hash, PartialEq)]
enum Holder {
    One(Who),
    Network(Network),
}

/// All turns.
pub struct Turns {
    all: Arc<Semaphore>,
    most: usize,
    holders: Mutex<Holders>,
}

#[derive(Default)]
struct Holders {
    semaphores: HashMap<Holder, Weak<Semaphore>>,
    /// From how many on those without a turn are forgotten.
    forget_from: usize,
}

/// A turn. Dropping it ends the turn.
pub struct Turn {
    _permits: Vec<OwnedSemaphorePermit>,
}

/// The turn of a subscription while an event is under way: it begins before the log is read, and ends when the answer is there.
#[derive(Clone, Default)]
pub struct EventTurn(Arc<Mutex<Option<Turn>>>);

impl EventTurn {
    fn lock(&self) -> MutexGuard<'_, Option<Turn>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins it, if a turn is free now.
    pub fn begin(&self, turns: &Turns, taker: &Taker) -> bool {
        let turn = turns.try_take(taker);
        let begun = turn.is_some();
        *self.lock() = turn;
        begun
    }

    /// Waits until it begins, unless it has begun already.
    pub async fn wait(&self, turns: &Turns, taker: &Taker) {
        if self.lock().is_none() {
            let turn = turns.take(taker).await;
            *self.lock() = turn;
        }
    }

    /// Ends it.
    pub fn end(&self) {
        self.lock().take();
    }
}

impl Turns {
    /// So many turns at once.
    pub fn new(most: usize) -> Self {
        let most = most.min(Semaphore::MAX_PERMITS);
        Self { all: Arc::new(Semaphore::new(most)), most, holders: Mutex::default() }
    }

    /// Takes a turn, if one is free now.
    pub fn try_take(&self, taker: &Taker) -> Option<Turn> {
        let permits = self.semaphores(taker).into_iter().map(|semaphore| semaphore.try_acquire_owned().ok());
        permits.collect::<Option<Vec<_>>>().map(|permits| Turn { _permits: permits })
    }

    /// Takes a turn, and waits until one is free.
    pub async fn take(&self, taker: &Taker) -> Option<Turn> {
        let mut permits = Vec::new();
        // All take them in one order, so that nobody waits in a circle. They are never closed.
        for semaphore in self.semaphores(taker) {
            permits.push(semaphore.acquire_owned().await.ok()?);
        }
        Some(Turn { _permits: permits })
    }

    /// What a turn takes a part of: the holder's own, its network's, and all.
    fn semaphores(&self, taker: &Taker) -> Vec<Arc<Semaphore>> {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let network = taker.address.map(|address| (Holder::Network(Network::containing(address)), OF_NETWORK));
        let mut semaphores = vec![holders.semaphore(Holder::One(taker.who.clone()), self.most / OF_ONE)];
        semaphores.extend(network.map(|(holder, part)| holders.semaphore(holder, self.most / part)));
        semaphores.push(Arc::clone(&self.all));
        semaphores
    }
}

impl Holders {
    fn semaphore(&mut self, holder: Holder, most: usize) -> Arc<Semaphore> {
        if let Some(semaphore) = self.semaphores.get(&holder).and_then(Weak::upgrade) {
            return semaphore;
        }
        if self.semaphores.len() >= self.forget_from.max(REMEMBERED) {
            self.semaphores.retain(|_, semaphore| semaphore.strong_count() > 0);
            self.forget_from = 2 * self.semaphores.len();
        }
        let semaphore = Arc::new(Semaphore::new(most.max(1)));
        self.semaphores.insert(holder, Arc::downgrade(&semaphore));
        semaphore
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn user(n: u128, address: &str) -> Taker {
        Taker { who: Who::User(UserId(Uuid::from_u128(n))), address: Some(address.parse().expect("an address")) }
    }

    fn signed_out(address: &str) -> Taker {
        let address: IpAddr = address.parse().expect("an address");
        Taker { who: Who::SignedOut(Some(Network::containing(address))), address: Some(address) }
    }

    fn all_of(turns: &Turns, taker: &Taker) -> Vec<Turn> {
        std::iter::from_fn(|| turns.try_take(taker)).collect()
    }

    #[test]
    fn threat_72_one_user_has_a_quarter_and_one_network_half_of_the_turns() {
        let turns = Turns::new(16);
        let first = all_of(&turns, &user(1, "192.0.2.1"));
        assert_eq!((first.len(), all_of(&turns, &user(1, "192.0.2.2")).len()), (4, 0), "wherever the user is");
        let second = all_of(&turns, &user(2, "192.0.2.1"));
        assert_eq!((second.len(), all_of(&turns, &user(3, "192.0.2.1")).len()), (4, 0), "whoever it is in one network");
        let third = all_of(&turns, &signed_out("2001:db8::1"));
        assert_eq!((third.len(), all_of(&turns, &signed_out("2001:db8::2")).len()), (4, 0), "a /64 is one");
        assert_eq!(all_of(&turns, &user(4, "192.0.2.4")).len(), 4);
        drop(first);
        assert_eq!(all_of(&turns, &user(1, "192.0.2.1")).len(), 4);
    }

    #[test]
    fn threat_72_made_up_keys_have_no_more_than_their_network() {
        let turns = Turns::new(16);
        let key =
            |n: u32| Taker { who: Who::ApiKey(n.to_string().into()), address: Some("192.0.2.1".parse().expect("an address")) };
        let held: Vec<_> = (0..100).filter_map(|n| turns.try_take(&key(n))).collect();
        assert_eq!(held.len(), 8);
    }

    #[tokio::test]
    async fn who_waits_gets_the_turn_that_another_one_ends() {
        let turns = Turns::new(1);
        let held = turns.try_take(&user(1, "192.0.2.1"));
        let other = user(2, "192.0.2.2");
        let (waited, ()) = futures_util::future::join(turns.take(&other), async { drop(held) }).await;
        assert!(waited.is_some() && turns.try_take(&user(1, "192.0.2.1")).is_none());
    }

    #[test]
    fn who_has_no_turn_is_forgotten() {
        let turns = Turns::new(16);
        let held = turns.try_take(&user(0, "192.0.2.1"));
        for n in 1..10_000 {
            turns.try_take(&user(n, "192.0.2.1")).expect("is free");
        }
        assert!(held.is_some() && turns.holders.lock().expect("no panic").semaphores.len() <= 2 * REMEMBERED);
    }
}
