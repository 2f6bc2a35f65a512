//! Which browsers' pages may call: those of our own host, and of the origins that the settings name. What sends no `Origin` is
//! no browser, or a page of our own.

use axum::http::{HeaderMap, HeaderValue, header, request::Parts, uri::Authority};

/// Whether the settings name this origin.
pub fn is_named(origin: &HeaderValue, named: &[String]) -> bool {
    origin.to_str().is_ok_and(|origin| named.iter().any(|named| named.eq_ignore_ascii_case(origin)))
}

/// Whether a page of this request's origin may do what a browser does not ask leave for: open a socket, or send credentials
/// that it holds. For a socket this is all that keeps a foreign page out.
pub fn is_allowed(parts: &Parts, named: &[String]) -> bool {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(Authority::as_str));
    parts.headers.get_all(header::ORIGIN).iter().all(|origin| is_own(origin, host) || is_named(origin, named))
}

fn is_own(origin: &HeaderValue, host: Option<&str>) -> bool {
    let of = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    of.zip(host).is_some_and(|((_, of), host)| of.eq_ignore_ascii_case(host))
}

/// Whether a request has credentials that a browser may have added.
pub fn has_credentials(headers: &HeaderMap) -> bool {
    headers.contains_key(header::AUTHORIZATION) || headers.contains_key(header::COOKIE)
}
