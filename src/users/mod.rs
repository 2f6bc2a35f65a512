//! Users of an account: as others see them (`view`), what becomes of their access (`ops`, `departure`), and what is allowed.

pub mod api;
pub mod departure;
pub mod ops;
pub mod rules;
pub mod view;

pub use view::{AccountUser, AccountUserEdge, User, find, list, load, load_places, load_visible};
