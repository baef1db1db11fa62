//! What services, and what belongs to them, are known by.

use crate::ids::Mark;
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
    /// The port of FTP's control connections.
    pub const FTP_PORT: u16 = 21;

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

    /// What its templates are kept under besides the client, as IPVS keeps them: FTP's are for
    /// all ports of the VIP, so that data connections find them.
    #[must_use]
    pub fn scope(self) -> Self {
        match self {
            Self::Address { protocol, vip, vip_port: Self::FTP_PORT } => {
                Self::Address { protocol, vip, vip_port: 0 }
            }
            other => other,
        }
    }
}
