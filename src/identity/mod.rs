//! Identity: signing up and in, verified addresses, sessions, and switching between accounts.

pub mod address;
pub mod api;
pub mod devices;
pub mod erasure;
pub mod ops;
pub mod passwords;
pub mod profile;
pub mod recovery;
pub mod refresh;
pub mod rules;
pub mod security;
pub mod sign_in_link;
pub mod sign_up;
pub mod throttle;
pub mod totp;
pub mod two_factor;
pub mod viewer;
mod void;
pub mod ways;
