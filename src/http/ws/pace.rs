//! How much a peer may send that asks for nothing: pings, pongs, ends of operations that are none, and pieces of a message that
//! never becomes whole.

use super::super::accept::Received;
use std::time::Duration;
use tokio::time::Instant;

/// The messages without effect that a peer may send at once.
const AT_ONCE: u32 = 100;
/// The time in which a peer may send one more of them.
const EACH: Duration = Duration::from_millis(100);
/// What the pieces of the longest message may have of their own heads, in bytes.
const HEADS: usize = 64 * 1024;

/// Counts what a peer sends without effect.
pub struct Pace {
    left: u32,
    since: Instant,
    received: Received,
    /// The bytes that the connection had received when the latest message was whole.
    accounted: usize,
    longest: usize,
}

impl Pace {
    /// For a socket on a connection that counts what it receives, and whose messages may have so many bytes.
    pub fn new(received: Received, longest: usize) -> Self {
        Self { left: AT_ONCE, since: Instant::now(), accounted: received.bytes(), received, longest }
    }

    /// The bytes that a message may have.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// Counts a message without effect. False if there are too many.
    pub fn allows_one_more(&mut self) -> bool {
        let refill = self.since.elapsed().as_millis() / EACH.as_millis();
        if refill > 0 {
            self.left = AT_ONCE.min(self.left.saturating_add(u32::try_from(refill).unwrap_or(u32::MAX)));
            self.since = Instant::now();
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }

    /// Notes that a message is whole.
    pub fn message_is_whole(&mut self) {
        self.accounted = self.received.bytes();
    }

    /// Whether more bytes came since the latest message than the longest message has, in pieces of a sensible size.
    pub fn is_in_too_many_pieces(&self) -> bool {
        self.received.bytes().saturating_sub(self.accounted) > self.longest.saturating_add(HEADS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn threat_69_a_peer_may_send_some_messages_without_effect_and_some_more_with_time() {
        let mut pace = Pace::new(Received::default(), 1_000);
        let allowed = (0..10_000).filter(|_| pace.allows_one_more()).count();
        assert_eq!(allowed, 100);
        tokio::time::advance(EACH * 10).await;
        assert_eq!((0..10_000).filter(|_| pace.allows_one_more()).count(), 10);
        tokio::time::advance(EACH * 100_000).await;
        assert_eq!((0..10_000).filter(|_| pace.allows_one_more()).count(), 100, "no more than at once");
    }
}
