//! From the text of a setting to its type: pure functions, one for each kind of value.
//!
//! What can't be parsed is answered with the end of a sentence that begins with the setting's name. It repeats the text,
//! so that a mistyped one is seen, but never one that is or may hold a secret.

use super::{LogFormat, PlanChanges};
use crate::{keyring::TokenAlgorithm, strength};
use axum::http::Uri;
use chrono::TimeDelta;
use ipnet::IpNet;
use lettre::message::Mailbox;
use std::net::{IpAddr, SocketAddr};
use tracing_subscriber::EnvFilter;

type Parsed<T> = Result<T, String>;

/// A complaint that repeats the text, unless it looks like a URL with a password.
fn is_not(text: &str, kind: &str) -> String {
    if text.contains("://") && text.contains('@') { format!("is not {kind}") } else { format!("{text:?} is not {kind}") }
}

fn kept(text: &str, valid: bool, complaint: impl FnOnce() -> String) -> Parsed<String> {
    if valid { Ok(text.to_owned()) } else { Err(complaint()) }
}

pub(super) fn text(text: &str) -> Parsed<String> {
    kept(text, !text.is_empty(), || "must not be blank".to_owned())
}

pub(super) fn address(text: &str) -> Parsed<SocketAddr> {
    text.parse().map_err(|_| is_not(text, "an address such as 127.0.0.1:8080"))
}

pub(super) fn database_url(text: &str) -> Parsed<String> {
    let known = ["sqlite:", "postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme));
    kept(text, known, || "must begin with sqlite:, postgres:// or postgresql://".to_owned())
}

pub(super) fn smtp_url(text: &str) -> Parsed<String> {
    let known = text.starts_with("smtp://") || text.starts_with("smtps://");
    kept(text, known, || "must begin with smtp:// or smtps://".to_owned())
}

pub(super) fn mailbox(text: &str) -> Parsed<String> {
    kept(text, text.parse::<Mailbox>().is_ok(), || is_not(text, "a sender such as Keyholder <no-reply@example.com>"))
}

/// A web address that a path can be put after: no query, no slash at the end.
pub(super) fn web_address(text: &str) -> Parsed<String> {
    split_web_address(text)
        .map(|(origin, path)| format!("{origin}{}", path.trim_end_matches('/')))
        .ok_or_else(|| is_not(text, "a web address such as https://app.example.com"))
}

pub(super) fn origins(text: &str) -> Parsed<Vec<String>> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(origin).collect()
}

fn origin(text: &str) -> Parsed<String> {
    match split_web_address(text) {
        Some((origin, path)) if path == "/" => Ok(origin),
        _ => Err(is_not(text, "an origin such as https://app.example.com")),
    }
}

/// The origin of a web address, as a browser would send it, and its path.
fn split_web_address(text: &str) -> Option<(String, String)> {
    // The parser drops a fragment without a word.
    if text.contains(['?', '#']) {
        return None;
    }
    let address: Uri = text.parse().ok()?;
    let (scheme, host) = (address.scheme_str()?, address.host()?);
    let usual_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let port = address.port_u16();
    let authority = port.map_or(host.to_owned(), |port| format!("{host}:{port}"));
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._:[]".contains(c);
    // What is more than host and port is a password, or a port out of range.
    if address.authority()? != authority.as_str() || !host.chars().all(plain) {
        return None;
    }
    let shown = if port == Some(usual_port) { host } else { &authority };
    Some((format!("{scheme}://{}", shown.to_ascii_lowercase()), address.path().to_owned()))
}

pub(super) fn secret(text: &str) -> Parsed<String> {
    strength::weakness(text).map_or_else(|| Ok(text.to_owned()), |why| Err(why.to_owned()))
}

pub(super) fn networks(text: &str) -> Parsed<Vec<IpNet>> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(network).collect()
}

fn network(text: &str) -> Parsed<IpNet> {
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| one()).map_err(|_| is_not(text, "an address or a network such as 10.0.0.0/8"))
}

/// Host names in lower case, without ports.
pub(super) fn hosts(text: &str) -> Parsed<Vec<String>> {
    text.split(',').map(str::trim).filter(|item| !item.is_empty()).map(host).collect()
}

fn host(text: &str) -> Parsed<String> {
    let host = text.strip_suffix('.').unwrap_or(text);
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if host.is_empty() || !host.chars().all(plain) {
        return Err(is_not(text, "a host name without a port, such as keyholder.test"));
    }
    Ok(host.to_ascii_lowercase())
}

/// A length of time from a second to ten years, which no sum with a date overflows.
pub(super) fn duration(text: &str) -> Parsed<TimeDelta> {
    let wrong = || is_not(text, "a duration such as 30s, 5m, 12h or 7d");
    let (number, unit) = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)]
        .into_iter()
        .find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)))
        .ok_or_else(wrong)?;
    let number: u32 = number.parse().map_err(|_| wrong())?;
    let length = TimeDelta::seconds(i64::from(number) * unit);
    if length < TimeDelta::seconds(1) || length > TimeDelta::days(3_650) {
        return Err(is_not(text, "from 1s to 3650d"));
    }
    Ok(length)
}

pub(super) fn count(text: &str) -> Parsed<u32> {
    text.parse().map_err(|_| is_not(text, "a whole number from 0 up"))
}

pub(super) fn some(text: &str) -> Parsed<usize> {
    text.parse().ok().filter(|count| *count > 0).ok_or_else(|| is_not(text, "a whole number from 1 up"))
}

/// The parser calls itself for each level, so that there is an end to what its stack holds.
pub(super) fn nesting(text: &str) -> Parsed<usize> {
    some(text).ok().filter(|levels| *levels <= 200).ok_or_else(|| is_not(text, "a whole number from 1 to 200"))
}

pub(super) fn switch(text: &str) -> Parsed<bool> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err(is_not(text, "on or off")),
    }
}

pub(super) fn plan_changes(text: &str) -> Parsed<PlanChanges> {
    match text {
        "operator" => Ok(PlanChanges::Operator),
        "self" => Ok(PlanChanges::SelfService),
        _ => Err(is_not(text, "operator or self")),
    }
}

pub(super) fn token_algorithm(text: &str) -> Parsed<TokenAlgorithm> {
    let known = [TokenAlgorithm::EdDsa, TokenAlgorithm::Es256].into_iter().find(|algorithm| algorithm.name() == text);
    known.ok_or_else(|| is_not(text, "EdDSA or ES256"))
}

pub(super) fn log_filter(text: &str) -> Parsed<String> {
    kept(text, EnvFilter::builder().parse(text).is_ok(), || {
        is_not(text, "a log filter such as info or info,keyholder::mail=debug")
    })
}

pub(super) fn log_format(text: &str) -> Parsed<LogFormat> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(is_not(text, "text or json")),
    }
}
