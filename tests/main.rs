//! Stories: each is written once, goes through the front door (a real server on a loopback port, real HTTP and WebSocket)
//! and runs on SQLite and on PostgreSQL. A file is a subject; `support` has the server and the people.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]
#![expect(clippy::format_collect, clippy::format_push_string, reason = "a test's documents are short, and read better so")]

mod support;

mod access;
mod accounts;
mod api_keys;
mod audit;
mod clients;
mod closing;
mod connections;
mod devices;
mod docs;
mod edge;
mod export;
mod faults;
mod flooding;
mod grants;
mod guessing;
mod hidden;
mod identity;
mod invitations;
mod key_view;
mod leaks;
mod listening;
mod mail;
mod matrix;
mod model;
mod operators;
mod process;
mod protocols;
mod quotas;
mod rebinding;
mod resending;
mod scale;
mod schema;
mod security;
mod security_events;
mod sessions;
mod takeover;
mod texts;
mod traces;
mod two_factor;
mod undo;
mod users;
