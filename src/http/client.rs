//! Where a request comes from: the address that tries are counted by (I5).
//!
//! `X-Forwarded-For` can be written by anyone, so it is read only where the settings name the proxy that a connection comes from,
//! and from its end on: each proxy puts behind what it was sent the address that it was sent by.

use super::Server;
use crate::actor::Client;
use axum::http::{HeaderMap, header, request::Parts};
use ipnet::IpNet;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

/// The other end of a request's connection, as the listener sees it.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// The program that a request comes from.
pub fn of(server: &Server, parts: &Parts) -> Client {
    let user_agent = parts.headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok()).map(Arc::from);
    let peer = parts.extensions.get::<Peer>();
    Client { user_agent, address: peer.map(|peer| address(*peer, &parts.headers, &server.app.config.trusted_proxies)) }
}

/// The client's address: the last one that no trusted proxy has.
fn address(peer: Peer, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.0.to_canonical();
    let lines = headers.get_all("x-forwarded-for").iter().rev();
    let mut hops = lines.flat_map(|line| line.to_str().unwrap_or_default().rsplit(','));
    while is_trusted(&client) {
        let Some(next) = hops.next().and_then(read) else { break };
        client = next;
    }
    client
}

/// An address as proxies write it: alone, or with a port.
fn read(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let alone = text.trim_start_matches('[').trim_end_matches(']').parse();
    alone.or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip())).ok().map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn i5_only_a_trusted_proxy_is_believed() {
        let of = |peer: &str, lines: &[&'static str]| {
            let headers = lines.iter().map(|line| ("x-forwarded-for".parse().unwrap(), HeaderValue::from_static(line))).collect();
            let trusted = ["10.0.0.0/8", "::1/128"].map(|network| network.parse().unwrap());
            address(Peer(peer.parse().unwrap()), &headers, &trusted).to_string()
        };
        assert_eq!(of("203.0.113.9", &["198.51.100.1"]), "203.0.113.9", "nobody's word but a proxy's");
        assert_eq!(of("10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(of("::ffff:10.0.0.1", &["198.51.100.1"]), "198.51.100.1");
        assert_eq!(
            of("10.0.0.1", &["198.51.100.1, 203.0.113.9, 10.0.0.2"]),
            "203.0.113.9",
            "what a client wrote before is no proxy's"
        );
        assert_eq!(of("10.0.0.1", &["198.51.100.1", "203.0.113.9"]), "203.0.113.9");
        assert_eq!(of("::1", &["203.0.113.9:4711"]), "203.0.113.9");
        assert_eq!(of("::1", &["[2001:db8::1]:4711"]), "2001:db8::1");
        assert_eq!(of("10.0.0.1", &["198.51.100.1, unknown"]), "10.0.0.1");
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
    }
}
