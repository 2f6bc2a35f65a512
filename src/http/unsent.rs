//! Rooms: how much memory requests and answers may hold, all together (E5).
//!
//! Each answer is bounded, and so is the time that its reader may take; but many readers who take nothing, of long answers each,
//! would hold as much memory as they like for so long. So long answers share a room, and when it is full the next one is refused.
//! In the same way requests share a room: their bodies while they arrive, and what is kept of them until they are answered.

use axum::body::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What an answer or a request may have without a share, in bytes: those of every day must not wait for anybody's slow readers.
pub const SHORT: usize = 32 * 1024;
/// The room is counted in so many bytes.
const UNIT: usize = 1024;

/// The room for long answers, or for long requests.
pub struct Unsent(Arc<Semaphore>);

/// The part of the room that an answer or a request takes until this is dropped.
#[derive(Default)]
pub struct Share {
    taken: Option<OwnedSemaphorePermit>,
}

impl Unsent {
    /// A room of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// A share of so many bytes, if there is room.
    pub fn share(&self, bytes: usize) -> Option<Share> {
        let mut share = Share::default();
        self.grow(&mut share, bytes).then_some(share)
    }

    /// Makes a share as large as so many bytes. False if there is no room for that.
    pub fn grow(&self, share: &mut Share, bytes: usize) -> bool {
        let has = share.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let lacks = bytes.div_ceil(UNIT).saturating_sub(has);
        if bytes <= SHORT || lacks == 0 {
            return true;
        }
        let Ok(lacks) = u32::try_from(lacks) else { return false };
        let Ok(more) = Arc::clone(&self.0).try_acquire_many_owned(lacks) else { return false };
        match &mut share.taken {
            Some(taken) => taken.merge(more),
            none => *none = Some(more),
        }
        true
    }
}

impl Share {
    /// The text of the answer; its share is given back when the last of it is.
    pub fn with(self, text: Vec<u8>) -> Bytes {
        Bytes::from_owner(Sharing { text, _share: self })
    }
}

struct Sharing {
    text: Vec<u8>,
    _share: Share,
}

impl AsRef<[u8]> for Sharing {
    fn as_ref(&self) -> &[u8] {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_answer_has_a_share_until_its_last_byte_has_gone() {
        let unsent = Unsent::new(100 * 1024);
        let first = unsent.share(60 * 1024).expect("there is room").with(vec![0; 60 * 1024]);
        let rest = first.slice(1..);
        drop(first);
        assert!(unsent.share(60 * 1024).is_none());
        assert!(unsent.share(SHORT).is_some());
        drop(rest);
        assert!(unsent.share(60 * 1024).is_some());
    }

    #[test]
    fn a_share_grows_as_long_as_there_is_room() {
        let unsent = Unsent::new(100 * 1024);
        let mut share = Share::default();
        assert!([10, 40, 40, 90].into_iter().all(|kib| unsent.grow(&mut share, kib * 1024)));
        assert!(!unsent.grow(&mut share, 101 * 1024) && unsent.share(40 * 1024).is_none());
        drop(share);
        assert!(unsent.share(100 * 1024).is_some());
    }
}
