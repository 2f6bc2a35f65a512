//! E-mail: readers of the event log, like subscriptions are. An operation puts a row into the outbox in its own transaction;
//! [`outbox`] sends it after the commit, at least once, through the [`transport`]; [`letter`] has the words, [`quota`] the limits.

mod alert;
pub mod compose;
pub mod delivery;
pub mod letter;
pub mod mailbox;
pub mod outbox;
pub mod quota;
pub mod transport;

use self::transport::Transport;
use std::sync::atomic::AtomicU64;
use tokio::sync::Notify;

/// What sends mail: the way out, and a bell for when there is some.
pub struct Mailer {
    transport: Transport,
    bell: Notify,
    /// How many milliseconds the latest mail took, so that what is never sent takes as long.
    pace: AtomicU64,
}

impl Mailer {
    /// Sends by this transport.
    pub fn new(transport: Transport) -> Self {
        Self { transport, bell: Notify::new(), pace: AtomicU64::new(0) }
    }

    /// Tells that there is mail to send.
    pub fn wake(&self) {
        self.bell.notify_one();
    }

    /// The mails that were kept instead of sent, with `--dev`.
    pub fn mailbox(&self) -> Option<&mailbox::Mailbox> {
        match &self.transport {
            Transport::Memory(mailbox) => Some(mailbox),
            Transport::Smtp(_) => None,
        }
    }
}
