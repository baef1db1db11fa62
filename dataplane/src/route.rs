//! Which port and which next hop lead to an address.

use crate::ids::{NeighbourId, PortIndex};
use crate::wire::{Addr, Vlan};

/// One entry of the routing table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// The network, with the host bits zero.
    pub network: Addr,
    /// Leading bits that count; 0 for the default route.
    pub length: u8,
    /// The port that it leaves on.
    pub port: PortIndex,
    /// The gateway; `None` for a connected network.
    pub via: Option<Addr>,
}

/// Where a packet goes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// The port that it leaves on.
    pub port: PortIndex,
    /// The neighbour that gets it: the destination itself or a gateway.
    pub neighbour: Addr,
}

/// The routing table: connected networks, routes and default gateways of all ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routes(Vec<Route>);

impl Routes {
    /// A table of these routes; the longest prefix wins, of equal ones the first.
    pub fn new(mut routes: Vec<Route>) -> Self {
        for route in &mut routes {
            route.network = route.network.masked(route.length);
        }
        routes.sort_by_key(|route| std::cmp::Reverse(route.length));
        Self(routes)
    }

    /// The next hop towards an address.
    pub fn lookup(&self, to: Addr) -> Option<Hop> {
        self.0
            .iter()
            .find(|route| {
                route.network.family() == to.family() && to.masked(route.length) == route.network
            })
            .map(|route| Hop { port: route.port, neighbour: route.via.unwrap_or(to) })
    }

    /// All routes, longest prefix first.
    pub fn iter(&self) -> impl Iterator<Item = &Route> {
        self.0.iter()
    }
}

/// Where packets for a network leave: a route with all that sending takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// The network, with the host bits zero.
    pub network: Addr,
    /// Leading bits that count.
    pub length: u8,
    /// The port.
    pub port: PortIndex,
    /// The port's tag.
    pub vlan: Vlan,
    /// The longest IP packet that the port takes.
    pub mtu: u16,
    /// The gateway; `None` where the destination itself is the neighbour.
    pub gateway: Option<NeighbourId>,
}

/// All exits, longest prefix first: what a core asks on the way to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exits(pub Vec<Exit>);

impl Exits {
    /// The exit towards an address.
    #[inline]
    pub fn lookup(&self, to: Addr) -> Option<&Exit> {
        self.0.get(self.place(to)?)
    }

    /// Which exit, counted from 0, leads towards an address.
    #[inline]
    pub fn place(&self, to: Addr) -> Option<usize> {
        self.0.iter().position(|exit| {
            exit.network.family() == to.family() && to.masked(exit.length) == exit.network
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn the_longest_prefix_wins_and_families_do_not_mix() {
        let route = |network: &str, length, port, via: Option<&str>| Route {
            network: addr(network),
            length,
            port: PortIndex(port),
            via: via.map(addr),
        };
        let routes = Routes::new(vec![
            route("0.0.0.0", 0, 0, Some("198.18.10.254")),
            route("198.18.10.1", 24, 0, None),
            route("198.18.20.1", 24, 1, None),
            route("::", 0, 1, Some("2001:db8::fe")),
        ]);
        let hop = |to: &str| routes.lookup(addr(to)).map(|hop| (hop.port.0, hop.neighbour));
        assert_eq!(hop("198.18.10.11"), Some((0, addr("198.18.10.11"))));
        assert_eq!(hop("198.18.20.11"), Some((1, addr("198.18.20.11"))));
        assert_eq!(hop("198.51.100.1"), Some((0, addr("198.18.10.254"))));
        assert_eq!(hop("2001:db8:1::1"), Some((1, addr("2001:db8::fe"))));
        assert_eq!(Routes::default().lookup(addr("198.18.10.11")), None);
    }
}
