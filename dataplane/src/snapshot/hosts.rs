//! The addresses that are answered for.

use std::collections::HashMap;

use crate::ids::PortIndex;
use crate::wire::Addr;

/// Addresses that the director answers for as a host.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    exact: HashMap<Addr, HostAddress>,
    prefixes: Vec<(Addr, u8)>,
}

/// Why an address is the director's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostAddress {
    /// A service's VIP.
    Vip,
    /// The director's own address (DIP) on a port.
    Own(PortIndex),
}

impl Hosts {
    /// Adds an address; an own address stays one even if it is a VIP as well.
    pub fn add(&mut self, address: Addr, kind: HostAddress) {
        let entry = self.exact.entry(address).or_insert(kind);
        if matches!(kind, HostAddress::Own(_)) {
            *entry = kind;
        }
    }

    /// Adds a whole network of VIPs.
    pub fn add_prefix(&mut self, network: Addr, length: u8) {
        self.prefixes.push((network.masked(length), length));
    }

    fn is_in_prefix(&self, address: Addr) -> bool {
        self.prefixes.iter().any(|(network, length)| {
            address.family() == network.family() && address.masked(*length) == *network
        })
    }

    /// What the address is to the director, if anything.
    pub fn get(&self, address: Addr) -> Option<HostAddress> {
        let exact = self.exact.get(&address).copied();
        exact.or_else(|| self.is_in_prefix(address).then_some(HostAddress::Vip))
    }

    /// Every single address with its kind, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Addr, HostAddress)> + '_ {
        self.exact.iter().map(|(address, kind)| (*address, *kind))
    }
}
