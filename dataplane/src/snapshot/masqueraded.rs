//! Whose packets to the world pass the director.

use std::collections::{HashMap, HashSet};

use crate::ids::RealId;
use crate::wire::{Addr, Protocol};

/// The masqueraded real servers: whose packets to the world pass the director.
#[derive(Clone, Debug, Default)]
pub struct Masqueraded {
    /// Everybody's packets pass, as through a host that is a router too.
    pub everybody: bool,
    addresses: HashSet<Addr>,
    ports: HashSet<(Option<Protocol>, Addr, u16)>,
    /// Those that may begin flows through their service.
    callers: HashMap<(Addr, u16), RealId>,
}

impl Masqueraded {
    /// Adds a real server; `protocol` is `None` for a mark's.
    pub fn add(&mut self, protocol: Option<Protocol>, address: Addr, port: u16) {
        self.addresses.insert(address);
        self.ports.insert((protocol, address, port));
    }

    /// Adds a real server that may begin flows over UDP through its service.
    pub fn add_caller(&mut self, address: Addr, port: u16, real: RealId) {
        self.callers.entry((address, port)).or_insert(real);
    }

    /// The real server that begins flows from this address and port.
    pub fn caller(&self, address: Addr, port: u16) -> Option<RealId> {
        if self.callers.is_empty() {
            return None;
        }
        self.callers.get(&(address, port)).copied()
    }

    /// Whether this is one's address.
    pub fn has_address(&self, address: Addr) -> bool {
        self.everybody || self.addresses.contains(&address)
    }

    /// Whether one serves this protocol on this port.
    pub fn has_port(&self, protocol: Protocol, address: Addr, port: u16) -> bool {
        self.ports.contains(&(Some(protocol), address, port))
            || self.ports.contains(&(None, address, port))
    }
}
