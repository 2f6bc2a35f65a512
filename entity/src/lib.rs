//! Keyholder's tables: one file each, with the row and the facts that the row tells by itself.
//!
//! Nothing here reads a clock, asks the database or knows who asks: a fact takes `now` and answers. What GraphQL shows
//! is built elsewhere, field by field, so that a column can't leak. Only the words that both share live here: ids and enums.

pub mod account;
pub mod api_key;
pub mod billing;
pub mod connection;
pub mod event;
pub mod ids;
pub mod invitation;
pub mod level;
pub mod log;
pub mod log_entry;
pub mod mail;
pub mod member;
pub mod ownership_transfer;
pub mod place;
pub mod recovery_code;
pub mod security_event;
pub mod session;
pub mod user;

pub use ids::*;
pub use level::UserLevel;

/// A moment in UTC, to the millisecond: what both databases keep without loss.
pub type Moment = chrono::DateTime<chrono::Utc>;
