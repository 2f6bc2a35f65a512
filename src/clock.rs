//! Time and ids, both from one clock: what the whole server asks instead of the operating system.
//!
//! A clock can be set ahead or back, which is how a story lives through seven days and how the demo fills the weeks before.
//! Moments are cut to the millisecond, so that what is read back from either database equals what was written.

use chrono::{SubsecRound, TimeDelta, Utc};
use entity::Moment;
use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use uuid::{ContextV7, Timestamp, Uuid};

/// Tells the time, and makes ids that sort by it.
#[derive(Clone, Default)]
pub struct Clock {
    offset: Arc<AtomicI64>,
    counter: Arc<std::sync::Mutex<ContextV7>>,
}

impl Clock {
    /// Now, to the millisecond.
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the operating system")]
    pub fn now(&self) -> Moment {
        (Utc::now() + TimeDelta::milliseconds(self.offset.load(Ordering::Relaxed))).trunc_subsecs(3)
    }

    /// Sets the clock ahead, or back when `by` is negative.
    pub fn advance(&self, by: TimeDelta) {
        self.offset.fetch_add(by.num_milliseconds(), Ordering::Relaxed);
    }

    /// A new id: a `UUIDv7` of now, larger than any that this clock gave in the same millisecond.
    pub fn id<Id: From<Uuid>>(&self) -> Id {
        let now = self.now();
        let seconds = u64::try_from(now.timestamp()).unwrap_or_default();
        let context = self.counter.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Uuid::new_v7(Timestamp::from_unix(&*context, seconds, now.timestamp_subsec_nanos())).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use entity::UserId;

    #[test]
    fn ids_ascend() {
        let clock = Clock::default();
        let ids: Vec<UserId> = (0..10_000).map(|_| clock.id()).collect();
        assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
    }

    #[test]
    fn a_clock_can_be_set() {
        let clock = Clock::default();
        let before = clock.now();
        clock.advance(TimeDelta::days(7));
        assert!(clock.now() - before >= TimeDelta::days(7));
        assert_eq!(clock.now().timestamp_subsec_micros() % 1000, 0);
    }
}
