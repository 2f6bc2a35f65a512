//! Identity: signing up and in, verified addresses, sessions, and switching between accounts.

pub mod api;
pub mod ops;
pub mod passwords;
pub mod rules;
pub mod sign_up;
pub mod throttle;
pub mod viewer;
