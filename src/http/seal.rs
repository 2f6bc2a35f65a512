//! The one way out for errors: each gets its code here, and a fault is logged once, with its cause and the request's id. The
//! client sees the id alone.

use super::RequestId;
use crate::error::{Denied, Error, level_name, whole_seconds};
use async_graphql::{ErrorExtensionValues, Response, Value};

/// How long a client should wait when the server is overloaded, in seconds.
pub const RETRY_AFTER: i32 = 1;

/// The longest message, in bytes: some repeat what the client sent, which may be long, as often as it was used.
const MESSAGE_MAX: usize = 1_000;

/// Gives every error of an answer its code.
pub fn seal(response: &mut Response, id: &RequestId) {
    for error in &mut response.errors {
        if error.message.len() > MESSAGE_MAX {
            error.message.truncate(error.message.floor_char_boundary(MESSAGE_MAX));
            error.message.push('…');
        }
        let ours = error.source::<Error>().cloned();
        let extensions = error.extensions.get_or_insert_default();
        match ours {
            Some(ours) => {
                if let Error::Fault(fault) | Error::Contended(fault) | Error::Unsure(fault) = &ours {
                    tracing::error!(request_id = %id.0, path = ?error.path, cause = %fault.cause(), "a request failed");
                }
                extend(extensions, &ours, id);
            }
            None if extensions.get("code").is_some() => {}
            // Parsing and validation have no codes of their own.
            None => extensions.set("code", "BAD_REQUEST"),
        }
    }
}

fn extend(extensions: &mut ErrorExtensionValues, error: &Error, id: &RequestId) {
    match error {
        Error::Denied(denied) => explain(extensions, denied),
        // Only mutations refuse an input, and they answer it in their payload.
        Error::User(_) => extensions.set("code", "BAD_REQUEST"),
        Error::Fault(_) | Error::Contended(_) | Error::Unsure(_) => {
            extensions.set("code", "INTERNAL");
            extensions.set("requestId", id.0.as_str());
        }
    }
}

fn explain(extensions: &mut ErrorExtensionValues, denied: &Denied) {
    extensions.set("code", denied.code());
    match denied {
        Denied::Forbidden { permission, level, reason } => {
            if let Some(permission) = permission {
                extensions.set("permission", permission.name());
            }
            extensions.set("level", level.map_or(Value::Null, |level| level_name(level).into()));
            extensions.set("reason", reason.as_str());
        }
        Denied::Overloaded => extensions.set("retryAfter", RETRY_AFTER),
        Denied::RateLimited(wait) => extensions.set("retryAfter", whole_seconds(*wait)),
        _ => {}
    }
}
