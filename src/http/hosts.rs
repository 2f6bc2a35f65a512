//! The host that a request is for: there must be exactly one (RFC 9112, section 3.2), and a server to develop against answers
//! only to names that no other site can have.
//!
//! A foreign site can point a name of its own at this machine (DNS rebinding). To the browser its page then has the same origin
//! as the server, and reads the mailbox. Nothing but the name tells such a request from a real one: a browser sends neither
//! `Origin` nor `Sec-Fetch-Site` with a plain GET of a page's own origin.

use axum::http::{HeaderMap, StatusCode, Uri, header, uri::Authority};
use std::net::IpAddr;

/// Why a request is not answered: the status and the text.
pub type Refused = (StatusCode, String);

/// Checks the host of a request; with `dev`, it must also be local or one of the hosts that the settings name.
pub fn check(uri: &Uri, headers: &HeaderMap, dev: Option<&[String]>) -> Result<(), Refused> {
    let host = only(headers).map_err(|why| (StatusCode::BAD_REQUEST, why.to_owned()))?;
    // A request line may name the host too. Where the two differ, a proxy and the server could each believe another one.
    if uri.authority().is_some_and(|named| !named.as_str().eq_ignore_ascii_case(host.as_str())) {
        return Err((StatusCode::BAD_REQUEST, "The request line and the Host header name two different hosts.".to_owned()));
    }
    match dev {
        Some(named) if !is_local(host.host(), named) => Err((StatusCode::MISDIRECTED_REQUEST, misdirected(host.host()))),
        _ => Ok(()),
    }
}

fn only(headers: &HeaderMap) -> Result<Authority, &'static str> {
    let mut lines = headers.get_all(header::HOST).iter();
    let line = lines.next().ok_or("A request must have a Host header.")?;
    if lines.next().is_some() {
        return Err("A request must have one Host header, and this one has several.");
    }
    let host = line.to_str().ok().and_then(|line| line.parse().ok()).filter(is_host);
    host.ok_or("The Host header is not a host, such as localhost:8080.")
}

/// Whether this is a name or an address, with or without a port.
fn is_host(authority: &Authority) -> bool {
    let (text, host) = (authority.as_str(), authority.host());
    let port = text.strip_prefix(host);
    let is_port = |port: &str| port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    !host.is_empty() && port.is_some_and(is_port)
}

/// Whether a host is this machine by its name, an IP address, or one of these.
fn is_local(host: &str, named: &[String]) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
    host == "localhost" || host.ends_with(".localhost") || address.parse::<IpAddr>().is_ok() || named.contains(&host)
}

fn misdirected(host: &str) -> String {
    let named: String = host.chars().take(100).collect();
    format!(
        "With --dev, this server answers to localhost, names under .localhost, IP addresses and the hosts in KEYHOLDER_DEV_HOSTS. \
         This request is for \"{named}\". Add that name to KEYHOLDER_DEV_HOSTS, or use one of the others."
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(uri: &str, hosts: &[&str], dev: Option<&[&str]>) -> u16 {
        let headers = hosts.iter().map(|host| (header::HOST, host.parse().expect("a value"))).collect();
        let named = dev.map(|named| named.iter().map(|host| (*host).to_owned()).collect::<Vec<_>>());
        check(&uri.parse().expect("a URI"), &headers, named.as_deref()).map_or_else(|(status, _)| status.as_u16(), |()| 200)
    }

    #[test]
    fn a_request_has_one_host() {
        for hosts in [
            &[][..],
            &["a", "a"],
            &["a", "b"],
            &[""],
            &["a b"],
            &["u@a"],
            &["a:b"],
            &["a:99999"],
            &["a:"],
            &[":80"],
            &["[::"],
            &["a/b"],
        ] {
            assert_eq!(status("/", hosts, None), 400, "{hosts:?}");
        }
        for host in ["a", "a:80", "a.example.", "[::1]", "[::1]:80", "192.0.2.1:80", "a_b"] {
            assert_eq!(status("/", &[host], None), 200, "{host}");
        }
    }

    #[test]
    fn a_request_line_names_no_other_host() {
        assert_eq!(status("http://a.example/", &["A.example"], None), 200);
        assert_eq!(status("http://localhost/", &["a.example"], None), 400);
        assert_eq!(status("http://a.example/", &["localhost"], Some(&[])), 400);
        assert_eq!(status("http://a.example/", &["a.example"], Some(&[])), 421);
        assert_eq!(status("http://a.example/", &[], None), 400);
    }

    #[test]
    fn threat_81_with_dev_a_host_is_local_or_named() {
        let named: &[&str] = &["keyholder.test"];
        for host in [
            "localhost",
            "LOCALHOST:8080",
            "localhost.",
            "app.localhost",
            "127.0.0.1",
            "[::1]:8080",
            "192.0.2.7",
            "Keyholder.test:80",
        ] {
            assert_eq!(status("/", &[host], Some(named)), 200, "{host}");
        }
        for host in
            ["evil.example", "localhost.evil.example", "evillocalhost", "127.0.0.1.evil.example", "2130706433", "0x7f.1", "x"]
        {
            assert_eq!(status("/", &[host], Some(named)), 421, "{host}");
            assert_eq!(status("/", &[host], None), 200, "{host}");
        }
    }
}
