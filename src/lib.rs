//! Keyholder: who may act in which account.
//!
//! A request comes in at [`http`], becomes an [`actor`], is read or changed by the subject's `api` and `ops`
//! ([`accounts`], [`users`], [`invitations`], [`connections`], [`identity`]) under rules that are pure functions, and what it
//! changed is told by [`events`] and [`mail`]. [`app`] holds the parts and begins every transaction; [`permission`] is the
//! role matrix.

pub mod accounts;
pub mod actor;
pub mod api;
pub mod api_keys;
pub mod app;
pub mod clock;
pub mod config;
pub mod connections;
pub mod consequences;
pub mod cursor;
pub mod db;
pub mod demo;
pub mod error;
pub mod events;
pub mod grants;
pub mod http;
pub mod identity;
pub mod invitations;
pub mod keyring;
pub mod keys;
pub mod limits;
pub mod logging;
pub mod mail;
pub mod network;
pub mod operator;
pub mod permission;
pub mod private;
pub mod schema;
pub mod server;
pub mod strength;
pub mod sweeper;
pub mod text;
pub mod turns;
pub mod users;
pub mod visible;
