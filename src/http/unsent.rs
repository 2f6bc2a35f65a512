//! Answers on their way: how much memory those may hold whose readers are slow, all together (E5).
//!
//! Each answer is bounded, and so is the time that its reader may take; but many readers who take nothing, of long answers each,
//! would hold as much memory as they like for so long. So long answers share a room, and when it is full the next one is refused.

use axum::body::Bytes;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What an answer may have without a share, in bytes: those of every day must not wait for anybody's slow readers.
pub const SHORT: usize = 32 * 1024;
/// The room is counted in so many bytes.
const UNIT: usize = 1024;

/// The room for long answers.
pub struct Unsent(Arc<Semaphore>);

/// The part of the room that an answer takes until this is dropped.
#[derive(Default)]
pub struct Share {
    _taken: Option<OwnedSemaphorePermit>,
}

impl Unsent {
    /// A room of so many bytes.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// A share for an answer of so many bytes, if there is room.
    pub fn share(&self, bytes: usize) -> Option<Share> {
        if bytes <= SHORT {
            return Some(Share::default());
        }
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        Some(Share { _taken: Some(Arc::clone(&self.0).try_acquire_many_owned(units).ok()?) })
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
}
