//! Events: the one truth of what happened. Every change appends one to the log of each account that it concerns, in its own
//! transaction ([`crate::app::Tx::append`]); the audit log, the subscriptions and the e-mails read them here. Who tried what, from where,
//! is kept apart from them ([`security`]).

pub mod api;
pub mod bus;
pub mod feed;
pub mod listen;
pub mod security;
pub mod summary;
