//! Accounts: opening one, its plan, and what of it a viewer sees.

pub mod api;
pub mod export;
pub mod mutation;
pub mod ops;
pub mod ownership;
pub mod rules;
pub mod settings;
pub mod undo;
