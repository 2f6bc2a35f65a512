//! Wake-ups: "this log has grown". They carry no content, so one may be lost or doubled without harm: a listener reads the
//! log after its cursor, and a slow poll backs it up. Sent after the commit, never within it.

use entity::LogId;
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};
use tokio::sync::watch;

/// Carries wake-ups from who wrote to who listens.
pub trait Bus: Send + Sync {
    /// Tells that these logs have grown.
    fn wake(&self, logs: &[LogId]);

    /// Hears of one log from now on. The value counts the wake-ups; a slow listener sees the latest only.
    fn listen(&self, log: LogId) -> watch::Receiver<u64>;
}

/// The bus of a server that is alone.
#[derive(Default)]
pub struct InProcess {
    logs: Mutex<HashMap<LogId, watch::Sender<u64>>>,
}

impl Bus for InProcess {
    fn wake(&self, logs: &[LogId]) {
        let mut listened = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        for log in logs {
            let Some(sender) = listened.get(log) else { continue };
            if sender.receiver_count() == 0 {
                listened.remove(log);
            } else {
                sender.send_modify(|count| *count += 1);
            }
        }
    }

    fn listen(&self, log: LogId) -> watch::Receiver<u64> {
        let mut listened = self.logs.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of accounts that nobody listens to any more go when others come, so the map stays as small as its use.
        if listened.len() > 64 && listened.len().is_power_of_two() {
            listened.retain(|_, sender| sender.receiver_count() > 0);
        }
        listened.entry(log).or_insert_with(|| watch::channel(0).0).subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn wakes_who_listens_and_forgets_who_left() {
        let (bus, log) = (InProcess::default(), LogId(Uuid::from_u128(1)));
        let mut listener = bus.listen(log);
        bus.wake(&[LogId(Uuid::from_u128(2))]);
        assert!(!listener.has_changed().unwrap());
        bus.wake(&[log, log]);
        assert!(listener.has_changed().unwrap());
        listener.mark_unchanged();
        drop(listener);
        bus.wake(&[log]);
        assert!(bus.logs.lock().unwrap().is_empty());
    }
}
