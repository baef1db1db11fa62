//! What services, and what belongs to them, are known by.

use crate::ids::{Mark, ScopeId};
use crate::wire::{Addr, Family, Protocol};

/// What a virtual service is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Identity {
    /// A protocol, a VIP and a port (0 = every port).
    Address {
        /// TCP, UDP or SCTP.
        protocol: Protocol,
        /// The virtual address.
        vip: Addr,
        /// The virtual port, 0 for all.
        vip_port: u16,
    },
    /// Several ports, or several protocols, of a VIP without a mark. IPVS has no such
    /// service; it is bound by its whole selector, as a mark would bind it.
    Ports {
        /// TCP, UDP or SCTP; `None` for all three.
        protocol: Option<Protocol>,
        /// The virtual address.
        vip: Addr,
        /// The first virtual port.
        first: u16,
        /// The last virtual port.
        last: u16,
    },
    /// A mark that selectors give to packets.
    Mark {
        /// The family of the packets: the same mark is two services in IPVS.
        family: Family,
        /// The mark.
        mark: Mark,
    },
}

impl Identity {
    /// The address family of the service's clients.
    pub fn family(&self) -> Family {
        match self {
            Self::Address { vip, .. } | Self::Ports { vip, .. } => vip.family(),
            Self::Mark { family, .. } => *family,
        }
    }

    /// The port that the service was made for; marks have none.
    pub fn vip_port(&self) -> u16 {
        match self {
            Self::Address { vip_port, .. } => *vip_port,
            Self::Ports { .. } | Self::Mark { .. } => 0,
        }
    }
}

/// An address and a scope together: what a template is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Scoped {
    /// The interned (protocol, VIP, port) or mark.
    pub scope: ScopeId,
    /// The client under the service's netmask.
    pub client: Addr,
}

/// What scopes are interned from: the parts of IPVS's template key besides the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// A protocol's port of a VIP; port 0 is every port (and FTP's).
    Port {
        /// TCP, UDP or SCTP.
        protocol: Protocol,
        /// The virtual address.
        vip: Addr,
        /// The virtual port, or 0.
        vip_port: u16,
    },
    /// Several ports or protocols of a VIP.
    Ports {
        /// TCP, UDP or SCTP; `None` for all three.
        protocol: Option<Protocol>,
        /// The virtual address.
        vip: Addr,
        /// The first virtual port.
        first: u16,
        /// The last virtual port.
        last: u16,
    },
    /// Everything that carries a mark.
    Mark {
        /// The family of the packets.
        family: Family,
        /// The mark.
        mark: Mark,
    },
}
