//! Security events that wait to be written: equal ones as one row with a count, in bounded memory, with a limit per user and day.
//!
//! A flood of failures against one login must neither fill the table nor push out what else happened to the user.

use super::NewSecurityEvent;
use crate::{actor::Client, network::Network};
use chrono::TimeDelta;
use entity::{ApiKeyId, Moment, SecurityEventId, security_event, security_event::SecurityOutcome};
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};
use uuid::Uuid;

/// How long equal events from one network are one row.
const WINDOW: TimeDelta = TimeDelta::hours(1);
/// How long events past the limit of a user are one row for each kind of them.
const DAY: TimeDelta = TimeDelta::days(1);
/// The rows that failures of one user can make in a day. Further ones are counted without their addresses.
pub(super) const FAILURES_PER_DAY: u32 = 200;
/// The rows that successes of one user can make in a day.
const SUCCESSES_PER_DAY: u32 = 2_000;
/// The rows in memory.
const ROWS_MAX: usize = 20_000;
/// The users whose limits are in memory, and the pairs of an API key and a network.
const REMEMBERED: usize = 50_000;
/// The longest user agent, in characters.
const AGENT_MAX: usize = 200;

/// What makes two events equal.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Key {
    event: NewSecurityEvent,
    network: Option<Network>,
}

impl Key {
    /// For events past the limit: who and what, but not from where.
    fn summed_up(self) -> Self {
        let NewSecurityEvent { kind, outcome, user, actor, account, via, code, by_operator, .. } = self.event;
        let rest = NewSecurityEvent::new(kind, outcome);
        Self { event: NewSecurityEvent { user, actor, by_operator, account, via, code, ..rest }, network: None }
    }
}

/// A row of the table.
struct Row {
    id: SecurityEventId,
    at: Moment,
    last_at: Moment,
    count: i64,
    address: Option<IpAddr>,
    user_agent: Option<String>,
    window: TimeDelta,
    written: bool,
}

impl Row {
    /// Whether another equal event is counted here. A row that was never written must not get lost.
    fn is_open(&self, now: Moment) -> bool {
        !self.written || (TimeDelta::zero()..self.window).contains(&(now - self.at))
    }
}

/// See the module.
#[derive(Default)]
pub struct Pending {
    rows: HashMap<Key, Row>,
    unwritten: Vec<Key>,
    limits: HashMap<(Uuid, bool), (Moment, u32)>,
    used_keys: HashSet<(ApiKeyId, Network)>,
}

impl Pending {
    /// Takes an event. Returns false if there is no room for it.
    pub fn add(&mut self, event: NewSecurityEvent, client: &Client, now: Moment, id: impl FnOnce() -> SecurityEventId) -> bool {
        let mut key = Key { event, network: client.address.map(Network::containing) };
        if self.repeats(&key, now) {
            return true;
        }
        let within = self.within_limit(&key.event, now);
        if !within {
            key = key.summed_up();
            if self.repeats(&key, now) {
                return true;
            }
        }
        if self.rows.len() >= ROWS_MAX && !self.make_room(now) {
            return false;
        }
        let client = if within { client.clone() } else { Client::default() };
        let row = Row {
            id: id(),
            at: now,
            last_at: now,
            count: 1,
            address: client.address,
            user_agent: client.user_agent.as_deref().map(short_agent),
            window: if within { WINDOW } else { DAY },
            written: false,
        };
        self.unwritten.push(key.clone());
        self.rows.insert(key, row);
        true
    }

    /// Counts an event that equals one of an open row.
    fn repeats(&mut self, key: &Key, now: Moment) -> bool {
        let Some(row) = self.rows.get_mut(key).filter(|row| row.is_open(now)) else { return false };
        (row.count, row.last_at) = (row.count + 1, row.last_at.max(now));
        if std::mem::replace(&mut row.written, false) {
            self.unwritten.push(key.clone());
        }
        true
    }

    /// Whether the user whom an event concerns, else the account, can have one more row today.
    fn within_limit(&mut self, event: &NewSecurityEvent, now: Moment) -> bool {
        let Some(concerned) = event.user.map(|user| user.0).or(event.account.map(|account| account.0)) else { return false };
        // What anybody can cause in the user's name, such as requests for links, has no share in the limit of their own successes.
        let succeeded = event.outcome == SecurityOutcome::Success && event.actor.is_some();
        let is_today = |since: Moment| (TimeDelta::zero()..DAY).contains(&(now - since));
        if self.limits.len() >= REMEMBERED {
            self.limits.retain(|_, (since, _)| is_today(*since));
            if self.limits.len() >= REMEMBERED {
                self.limits.clear();
            }
        }
        let (since, rows) = self.limits.entry((concerned, succeeded)).or_insert((now, 0));
        if !is_today(*since) {
            (*since, *rows) = (now, 0);
        }
        *rows = rows.saturating_add(1);
        *rows <= if succeeded { SUCCESSES_PER_DAY } else { FAILURES_PER_DAY }
    }

    /// Forgets rows that are written: those whose window is over, or else all of them.
    fn make_room(&mut self, now: Moment) -> bool {
        self.rows.retain(|_, row| row.is_open(now));
        if self.rows.len() >= ROWS_MAX {
            self.rows.retain(|_, row| !row.written);
        }
        self.rows.len() < ROWS_MAX
    }

    /// Whether this is the first use of an API key from this network, as far as memory goes back.
    pub fn is_first_use(&mut self, key: ApiKeyId, address: IpAddr) -> bool {
        if self.used_keys.len() >= REMEMBERED {
            // The table still has what is forgotten here.
            self.used_keys.clear();
        }
        self.used_keys.insert((key, Network::containing(address)))
    }

    /// Up to `most` rows to write, which count as written from now on.
    pub fn take(&mut self, most: usize, now: Moment) -> Batch {
        if self.unwritten.is_empty() {
            return Batch::default();
        }
        let keys = self.unwritten.split_off(self.unwritten.len().saturating_sub(most));
        let mut rows = Vec::with_capacity(keys.len());
        for key in &keys {
            if let Some(row) = self.rows.get_mut(key) {
                row.written = true;
                rows.push(model(&key.event, row));
            }
        }
        if self.unwritten.is_empty() {
            self.rows.retain(|_, row| row.is_open(now));
        }
        Batch { keys, rows }
    }

    /// Takes rows back that could not be written.
    pub fn restore(&mut self, keys: Vec<Key>) {
        for key in keys {
            // Another event may have brought it back already.
            if let Some(row) = self.rows.get_mut(&key).filter(|row| row.written) {
                row.written = false;
                self.unwritten.push(key);
            }
        }
    }
}

/// Rows to write, and what they are known by here.
#[derive(Default)]
pub struct Batch {
    pub keys: Vec<Key>,
    pub rows: Vec<security_event::Model>,
}

fn model(event: &NewSecurityEvent, row: &Row) -> security_event::Model {
    security_event::Model {
        id: row.id,
        kind: event.kind,
        outcome: event.outcome,
        at: row.at,
        last_at: row.last_at,
        count: row.count,
        user_id: event.user,
        actor_id: event.actor,
        by_operator: event.by_operator,
        account_id: event.account,
        via_id: event.via,
        api_key_id: event.api_key,
        session_id: event.session,
        address: row.address.map(|address| address.to_string()),
        user_agent: row.user_agent.clone(),
        code: event.code.map(str::to_owned),
        permission: event.permission.map(crate::permission::Permission::name),
        operation: event.operation.as_deref().map(str::to_owned),
    }
}

fn short_agent(agent: &str) -> String {
    agent.chars().filter(|c| !c.is_control()).take(AGENT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use entity::{UserId, security_event::SecurityEventKind};

    fn event(user: u128, outcome: SecurityOutcome) -> NewSecurityEvent {
        NewSecurityEvent::new(SecurityEventKind::SignIn, outcome).of_user(UserId(Uuid::from_u128(user)))
    }

    fn from(address: IpAddr) -> Client {
        Client { user_agent: Some("a\u{7}gent".repeat(100).into()), address: Some(address) }
    }

    fn v4(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    /// E1a: a flood from one network is one row; it is written again when its count has changed, and not otherwise.
    #[test]
    fn e1a_equal_events_are_one_row() {
        let (clock, mut pending) = (Clock::default(), Pending::default());
        let add = |pending: &mut Pending, address: &str| {
            assert!(pending.add(event(1, SecurityOutcome::Failure), &from(address.parse().unwrap()), clock.now(), || clock.id()));
        };
        for n in 0..1_000 {
            add(&mut pending, &format!("2001:db8::{n:x}"));
        }
        add(&mut pending, "2001:db8:0:1::1");
        let first = pending.take(500, clock.now()).rows;
        assert_eq!(first.iter().map(|row| row.count).collect::<Vec<_>>(), [1_000, 1]);
        assert_eq!(first[0].user_agent.as_ref().map(|agent| (agent.len(), agent.contains('\u{7}'))), Some((AGENT_MAX, false)));
        assert!(pending.take(500, clock.now()).rows.is_empty());
        add(&mut pending, "2001:db8::1");
        let again = pending.take(500, clock.now()).rows;
        assert_eq!((again[0].id, again[0].count), (first[0].id, 1_001));
        clock.advance(WINDOW);
        add(&mut pending, "2001:db8::1");
        let later = pending.take(500, clock.now()).rows;
        assert!(later[0].id != first[0].id && later[0].count == 1);
    }

    /// E1a: a flood from everywhere ends in one row too, and does not push out a success of the same user.
    #[test]
    fn e1a_rows_per_user_and_day_are_limited() {
        let (clock, mut pending) = (Clock::default(), Pending::default());
        for n in 0..5_000 {
            assert!(pending.add(event(1, SecurityOutcome::Failure), &from(v4(n)), clock.now(), || clock.id()));
        }
        // Nor has a success of theirs to share with what anybody can cause in their name.
        let own = NewSecurityEvent { actor: Some(UserId(Uuid::from_u128(1))), ..event(1, SecurityOutcome::Success) };
        assert!(pending.add(own, &from(v4(1)), clock.now(), || clock.id()));
        let rows = pending.take(10_000, clock.now()).rows;
        let most = FAILURES_PER_DAY as usize;
        assert_eq!(rows.len(), most + 2);
        let sum = rows.iter().find(|row| row.count > 1).unwrap();
        assert_eq!((sum.count, &sum.address, &sum.user_agent), (5_000 - i64::from(FAILURES_PER_DAY), &None, &None));
        let success = rows.iter().find(|row| row.outcome == SecurityOutcome::Success).unwrap();
        assert_eq!(success.address.as_deref(), Some("0.0.0.1"));
        clock.advance(DAY);
        assert!(pending.add(event(1, SecurityOutcome::Failure), &from(v4(1)), clock.now(), || clock.id()));
        assert_eq!(pending.take(10, clock.now()).rows[0].address.as_deref(), Some("0.0.0.1"), "the next day");
    }

    /// E1a: what can't be written stays, up to a limit; then further events are refused.
    #[test]
    fn e1a_memory_is_bounded() {
        let (clock, mut pending) = (Clock::default(), Pending::default());
        let add = |pending: &mut Pending, user: usize| {
            pending.add(event(user as u128, SecurityOutcome::Failure), &from(v4(1)), clock.now(), || clock.id())
        };
        assert!((0..ROWS_MAX).all(|user| add(&mut pending, user)));
        assert!(!add(&mut pending, ROWS_MAX) && add(&mut pending, 0), "only what is there already is counted");
        let batch = pending.take(ROWS_MAX, clock.now());
        assert_eq!(batch.rows.len(), ROWS_MAX);
        pending.restore(batch.keys);
        assert!(!add(&mut pending, ROWS_MAX));
        assert_eq!(pending.take(ROWS_MAX, clock.now()).rows.len(), ROWS_MAX);
        assert!(add(&mut pending, ROWS_MAX), "written rows make room");
        assert!((0..u128::try_from(REMEMBERED * 2).unwrap()).all(|n| pending.is_first_use(ApiKeyId(Uuid::from_u128(n)), v4(1))));
        assert!(pending.used_keys.len() <= REMEMBERED && pending.limits.len() <= REMEMBERED);
    }
}
