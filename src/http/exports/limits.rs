//! How many downloads may be under way, and how long and how slowly one may be read: each costs as much as a client that never
//! stops asking.

use super::super::places::{Place, Places};
use crate::network::Network;
use chrono::TimeDelta;
use entity::{AccountId, Moment, UserId};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The downloads of all at once.
const ALL: usize = 16;
/// The downloads of one account, and of one user over all accounts.
const OF_ONE: usize = 2;
/// The downloads of one client network.
const OF_NETWORK: usize = 8;
/// The fewest bytes a second that a reader takes while the download waits for them.
const SLOWEST: i64 = 32 * 1024;
/// The time of waiting over which that is measured.
const MEASURED: TimeDelta = TimeDelta::seconds(10);
/// The longest that a download takes.
const LONGEST: TimeDelta = TimeDelta::minutes(30);

/// The downloads that are under way.
pub struct Downloads {
    all: Arc<Semaphore>,
    holders: Arc<Places<Holder>>,
}

#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Holder {
    Account(AccountId),
    User(UserId),
    Network(Network),
}

/// A download's place among them. Dropping it frees the place.
pub struct Running {
    _all: OwnedSemaphorePermit,
    _places: Vec<Place<Holder>>,
}

impl Default for Downloads {
    fn default() -> Self {
        Self { all: Arc::new(Semaphore::new(ALL)), holders: Arc::default() }
    }
}

impl Downloads {
    /// Takes a place for a download, unless the account, the user, their network or all together have as many as they may.
    pub fn begin(&self, account: AccountId, user: UserId, network: Option<Network>) -> Option<Running> {
        let mut holders = vec![(Holder::Account(account), OF_ONE), (Holder::User(user), OF_ONE)];
        holders.extend(network.map(|network| (Holder::Network(network), OF_NETWORK)));
        let places = holders.into_iter().map(|(holder, most)| self.holders.take(holder, most)).collect::<Option<_>>()?;
        Some(Running { _all: Arc::clone(&self.all).try_acquire_owned().ok()?, _places: places })
    }
}

/// How fast a download is read.
pub struct Pace {
    began: Moment,
    waited: TimeDelta,
    taken: i64,
}

impl Pace {
    /// Of a download that begins now.
    pub fn new(now: Moment) -> Self {
        Self { began: now, waited: TimeDelta::zero(), taken: 0 }
    }

    /// Notes that the reader took so many bytes after so long. Fails with the reason if the download has to end.
    pub fn note(&mut self, bytes: usize, waited: TimeDelta, now: Moment) -> Result<(), &'static str> {
        if now - self.began > LONGEST {
            return Err("it took more than 30 minutes");
        }
        self.waited += waited.max(TimeDelta::zero());
        self.taken = self.taken.saturating_add(i64::try_from(bytes).unwrap_or(i64::MAX));
        if self.waited < MEASURED {
            return Ok(());
        }
        if self.taken / self.waited.num_seconds().max(1) < SLOWEST {
            return Err("the reader took less than 32 KiB a second");
        }
        (self.waited, self.taken) = (TimeDelta::zero(), 0);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn id<Id: From<Uuid>>(n: u128) -> Id {
        Uuid::from_u128(n).into()
    }

    #[test]
    fn threat_72_one_user_has_two_downloads_over_all_accounts() {
        let downloads = Downloads::default();
        let held: Vec<_> = (0..8).filter_map(|account| downloads.begin(id(account), id(1), None)).collect();
        assert_eq!(held.len(), 2);
        let others: Vec<_> = (2..20).filter_map(|n| downloads.begin(id(100 + n), id(n), None)).collect();
        assert_eq!(others.len(), 14);
        drop(held);
        assert!(downloads.begin(id(50), id(50), None).is_some());
    }

    #[test]
    fn threat_72_one_network_has_half_of_the_downloads() {
        let downloads = Downloads::default();
        let network = |text: &str| Some(Network::containing(text.parse().expect("an address")));
        let held: Vec<_> = (0..20).filter_map(|n| downloads.begin(id(n), id(n), network("192.0.2.1"))).collect();
        assert_eq!(held.len(), 8);
        assert!(downloads.begin(id(50), id(50), network("192.0.2.2")).is_some());
    }

    #[test]
    fn threat_72_a_slow_reader_and_an_endless_download_are_cut_off() {
        let began = Moment::default();
        let second = TimeDelta::seconds(1);
        let read = |bytes: usize, waited: TimeDelta, times: i32| {
            let mut pace = Pace::new(began);
            (1..=times).find(|n| pace.note(bytes, waited, began + second * *n).is_err())
        };
        assert_eq!(read(31 * 1024, second, 1_700), Some(10), "too slow over ten seconds");
        assert_eq!(read(33 * 1024, second, 1_700), None);
        assert_eq!(read(1, TimeDelta::zero(), 1_700), None, "what the server itself takes is not the reader's");
        assert_eq!(read(1 << 20, second, 2_000), Some(1_801), "more than half an hour");
    }
}
