//! Where the director stands in its networks, as far as the ports can be read.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;

use crate::config::fields::{Given, Listed};
use crate::config::model::{Cidr, Family};
use crate::config::raw;

use super::port::own;

/// The networks around the director. What a broken value could have said is not known, and
/// only what depends on it is left unsaid.
pub(super) struct Lan {
    own: HashSet<IpAddr>,
    connected: Networks,
    connected_known: bool,
    routed: Networks,
    routed_v4_known: bool,
    routed_v6_known: bool,
    kernel_port: Option<bool>,
}

impl Lan {
    pub(super) fn around(ports: &Listed<Option<raw::Port>>) -> Self {
        let all = ports.whole && ports.items.iter().all(Option::is_some);
        let mut lan = Lan {
            own: own(&ports.items).map(|(_, _, cidr)| cidr.address()).collect(),
            connected: Networks::default(),
            connected_known: all,
            routed: Networks::default(),
            routed_v4_known: all,
            routed_v6_known: all,
            kernel_port: all.then_some(false),
        };
        for port in ports.items.iter().flatten() {
            lan.take(port);
        }
        lan
    }

    fn take(&mut self, port: &raw::Port) {
        match port.kernel_port {
            Given::Absent => {}
            // A wrong one is one all the same.
            Given::Bad | Given::Good(_) => self.kernel_port = Some(true),
        }
        for address in &port.addresses.items {
            match address {
                Given::Good(cidr) => self.connected.insert(*cidr),
                Given::Absent | Given::Bad => self.connected_known = false,
            }
        }
        self.connected_known &= port.addresses.whole;
        self.routed_v4_known &= port.routes.whole && !port.gateway.is_bad();
        self.routed_v6_known &= port.routes.whole && !port.gateway6.is_bad();
        for route in &port.routes.items {
            match (route.to, route.via.good().map(Family::of)) {
                (Given::Good(to), _) => self.routed.insert(to),
                (_, Some(Family::V4)) => self.routed_v4_known = false,
                (_, Some(Family::V6)) => self.routed_v6_known = false,
                (_, None) => (self.routed_v4_known, self.routed_v6_known) = (false, false),
            }
        }
        let defaults = [
            (port.gateway.good().map(IpAddr::V4), IpAddr::from([0u8; 4])),
            (port.gateway6.good().map(IpAddr::V6), IpAddr::from([0u8; 16])),
        ];
        for (gateway, everything) in defaults {
            let network = gateway.and_then(|_| Cidr::new(everything, 0));
            network.into_iter().for_each(|network| self.routed.insert(network));
        }
    }

    /// Whether this is the director's own address.
    pub(super) fn owns(&self, address: IpAddr) -> bool {
        self.own.contains(&address)
    }

    /// Whether a port is in the address's network, or might be.
    pub(super) fn may_be_connected(&self, address: IpAddr) -> bool {
        !self.connected_known || self.connected.contain(address)
    }

    /// Whether a network, a route or a gateway leads there, or might.
    pub(super) fn may_be_reached(&self, address: IpAddr) -> bool {
        let known = match Family::of(address) {
            Family::V4 => self.routed_v4_known,
            Family::V6 => self.routed_v6_known,
        };
        self.may_be_connected(address) || !known || self.routed.contain(address)
    }

    /// Whether some port hands frames to the kernel, or might.
    pub(super) fn may_have_kernel_port(&self) -> bool {
        self.kernel_port != Some(false)
    }

    /// What a connected network has this address for, if not for a host.
    pub(super) fn reserved(&self, address: IpAddr) -> Option<(Cidr, &'static str)> {
        let network = self.connected.of(address)?;
        network.no_host(address).map(|why| (network, why))
    }
}

/// A set of networks; asking it costs one look-up per prefix length that it has.
#[derive(Default)]
struct Networks(BTreeMap<u8, HashSet<IpAddr>>);

impl Networks {
    fn insert(&mut self, network: Cidr) {
        self.0.entry(network.prefix()).or_default().insert(network.network());
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.of(address).is_some()
    }

    /// The smallest network that holds the address.
    fn of(&self, address: IpAddr) -> Option<Cidr> {
        self.0.iter().rev().find_map(|(prefix, networks)| {
            let network = Cidr::new(Cidr::new(address, *prefix)?.network(), *prefix)?;
            networks.contains(&network.network()).then_some(network)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_the_addresses_of_each_of_them() {
        let mut networks = Networks::default();
        for (address, prefix) in [("198.18.10.7", 24), ("198.18.99.0", 25), ("2001:db8::", 64)] {
            networks.insert(Cidr::new(address.parse().unwrap(), prefix).unwrap());
        }
        for inside in ["198.18.10.200", "198.18.99.127", "2001:db8::7"] {
            assert!(networks.contain(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["198.18.11.1", "198.18.99.128", "2001:db8:0:1::7", "::"] {
            assert!(!networks.contain(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn the_smallest_network_decides_what_an_address_is_for() {
        let mut networks = Networks::default();
        for (address, prefix) in [("198.18.0.1", 16), ("198.18.10.1", 24), ("198.18.9.0", 31)] {
            networks.insert(Cidr::new(address.parse().unwrap(), prefix).unwrap());
        }
        let why = |address: &str| {
            let address = address.parse().unwrap();
            networks.of(address).and_then(|network| network.no_host(address))
        };
        assert_eq!(why("198.18.10.0"), Some("is the address of the network itself"));
        assert_eq!(why("198.18.10.255"), Some("is the broadcast address of its network"));
        assert_eq!(why("198.18.255.255"), Some("is the broadcast address of its network"));
        for host in ["198.18.10.7", "198.18.11.255", "198.18.9.0", "198.18.9.1", "203.0.113.0"] {
            assert_eq!(why(host), None, "{host}");
        }
    }
}
