//! Who holds the server's connections: all clients together, and each client network.
//!
//! A connection that comes straight from a client counts for its network from its beginning. One that a trusted proxy opens
//! counts for nobody: a proxy holds connections for thousands of clients. There a WebSocket or a stream of events, which keeps
//! its connection, counts for the network that the proxy names.

use super::places::{Place, Places};
use crate::{config::Config, network::Network};
use ipnet::IpNet;
use std::{net::IpAddr, sync::Arc};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How many more connections an IPv6 /48 may have than a /64.
const SITE_FACTOR: usize = 4;
/// The files that the server itself may need open, besides its connections.
const OWN_FILES: usize = 128;

/// The connections that are open.
pub struct Connections {
    all: Arc<Semaphore>,
    networks: Arc<Places<Network>>,
    per_client: usize,
    proxies: Vec<IpNet>,
}

/// A connection's place among all. Dropping it frees the place.
pub struct Slot {
    _all: OwnedSemaphorePermit,
    _network: NetworkSlot,
}

/// A place among those of a client network.
pub struct NetworkSlot {
    _places: Vec<Place<Network>>,
}

impl Connections {
    /// As many as the settings and the system's limit of open files allow.
    pub fn new(config: &Config) -> Self {
        let limits = &config.limits;
        let most = at_most_files(limits.connections, file_limit());
        if most < limits.connections {
            let setting = limits.connections;
            tracing::warn!(
                "The system allows so few open files that {most} connections can be open at once, and not max_connections = {setting}. \
                 Raise the limit (ulimit -n, or LimitNOFILE of systemd)."
            );
        }
        Self {
            all: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            networks: Arc::default(),
            per_client: limits.connections_per_client,
            proxies: config.trusted_proxies.clone(),
        }
    }

    /// Takes a place for a new connection, unless all are taken or its network has as many as it may.
    pub fn open(&self, peer: IpAddr) -> Option<Slot> {
        let network = if self.is_proxy(peer) { NetworkSlot { _places: Vec::new() } } else { self.network(peer)? };
        Some(Slot { _all: Arc::clone(&self.all).try_acquire_owned().ok()?, _network: network })
    }

    /// Takes a place for a WebSocket or a stream that comes through a trusted proxy, unless the client's network has as many as it
    /// may. Without a proxy the connection has its place already.
    pub fn keep(&self, peer: Option<IpAddr>, client: Option<IpAddr>) -> Option<NetworkSlot> {
        match (peer, client) {
            (Some(peer), Some(client)) if self.is_proxy(peer) => self.network(client),
            _ => Some(NetworkSlot { _places: Vec::new() }),
        }
    }

    fn network(&self, address: IpAddr) -> Option<NetworkSlot> {
        let mut places = vec![self.networks.take(Network::containing(address), self.per_client)?];
        if let Some(site) = Network::site(address) {
            places.push(self.networks.take(site, self.per_client.saturating_mul(SITE_FACTOR))?);
        }
        Some(NetworkSlot { _places: places })
    }

    fn is_proxy(&self, peer: IpAddr) -> bool {
        self.proxies.iter().any(|network| network.contains(&peer.to_canonical()))
    }
}

/// How many connections the limit of open files leaves room for.
fn at_most_files(connections: usize, files: Option<usize>) -> usize {
    files.map_or(connections, |files| connections.min(files.saturating_sub(OWN_FILES).max(1)))
}

/// The system's limit of open files, where it can be read.
fn file_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(settings: &[(&str, &str)]) -> Connections {
        Connections::new(&Config::from_pairs(true, settings).expect("settings"))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn threat_71_a_network_has_a_part_of_the_connections() {
        let connections = connections(&[("max_connections", "10"), ("max_connections_per_client", "2")]);
        let held: Vec<_> = ["2001:db8::1", "2001:db8::2"].map(|peer| connections.open(ip(peer))).into();
        assert!(held.iter().all(Option::is_some) && connections.open(ip("2001:db8::3")).is_none());
        let others: Vec<_> = (1..8).map(|n| connections.open(ip(&format!("2001:db8:0:{n}::1")))).collect();
        assert_eq!(others.iter().flatten().count(), 6, "a /48 has four times as many as a /64");
        assert!(connections.open(ip("192.0.2.1")).is_some());
        drop(held);
        assert!(connections.open(ip("2001:db8::3")).is_some());
    }

    #[test]
    fn threat_71_a_proxy_counts_for_nobody_and_its_clients_for_themselves() {
        let connections = connections(&[("max_connections_per_client", "1"), ("trusted_proxies", "10.0.0.0/8")]);
        let proxy = ip("::ffff:10.0.0.1");
        let _held = [connections.open(proxy).expect("is free"), connections.open(proxy).expect("is free")];
        let socket = connections.keep(Some(proxy), Some(ip("192.0.2.1")));
        assert!(socket.is_some() && connections.keep(Some(proxy), Some(ip("192.0.2.1"))).is_none());
        assert!(connections.keep(Some(proxy), Some(ip("192.0.2.2"))).is_some());
        assert!(connections.keep(Some(ip("192.0.2.1")), Some(ip("192.0.2.1"))).is_some(), "counted as a connection already");
    }

    #[test]
    fn connections_leave_files_for_the_server_itself() {
        assert_eq!(at_most_files(10_000, Some(1_024)), 896);
        assert_eq!((at_most_files(10_000, Some(20_000)), at_most_files(10_000, None)), (10_000, 10_000));
        assert_eq!(at_most_files(10_000, Some(3)), 1);
    }
}
