//! Connections: an agency asks, a client approves up to a level, the agency's people act in the client's account.

pub mod addressed;
pub mod api;
pub mod block;
pub mod decide;
pub mod ending;
pub mod guests;
pub mod listen;
pub mod ops;
pub mod places;
pub mod rules;
pub mod term;
pub mod view;
