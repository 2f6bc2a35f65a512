//! Client networks: what counts as one client where clients are counted by their address.

use std::net::{IpAddr, Ipv6Addr};

/// A client network: an IPv4 address, or an IPv6 prefix.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

impl Network {
    /// The network that an address counts for: the IPv4 address itself, or the IPv6 /64.
    pub fn containing(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self::v6(address, 64),
            first @ IpAddr::V4(_) => Self { first, prefix: 32 },
        }
    }

    /// The IPv6 /48 around an address. One customer of a provider often has all of it. None for IPv4.
    pub fn site(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            IpAddr::V6(address) => Some(Self::v6(address, 48)),
            IpAddr::V4(_) => None,
        }
    }

    fn v6(address: Ipv6Addr, prefix: u8) -> Self {
        let rest = 128 - u32::from(prefix);
        Self { first: Ipv6Addr::from(u128::from(address) >> rest << rest).into(), prefix }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_count_together() {
        let network = |text: &str| Network::containing(text.parse().expect("an address"));
        let site = |text: &str| Network::site(text.parse().expect("an address"));
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(site("2001:db8:1:2::1"), site("2001:db8:1:3::1"));
        assert_ne!(network("2001:db8:1::1"), site("2001:db8:1::1").expect("is IPv6"));
        assert_eq!((network("::ffff:192.0.2.1"), site("::ffff:192.0.2.1")), (network("192.0.2.1"), None));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
