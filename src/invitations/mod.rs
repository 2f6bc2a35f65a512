//! Invitations: a seat offered by e-mail, and taken.

pub mod api;
pub mod ops;
pub mod rules;
