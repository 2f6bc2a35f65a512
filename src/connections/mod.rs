//! Connections: an agency asks, a client approves up to a level, the agency's people act in the client's account.

pub mod api;
pub mod decide;
pub mod ending;
pub mod listen;
pub mod ops;
pub mod rules;
pub mod view;
