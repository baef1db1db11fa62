//! Ports.

use std::sync::Arc;

use crate::ids::PortIndex;
use crate::wire::{Addr, Family, Vlan};

/// A port as far as the configuration knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// The operator's name for it.
    pub name: Arc<str>,
    /// The VLAN that its frames carry.
    pub vlan: Vlan,
    /// Where frames that the director does not take go, if anywhere: the kernel-facing
    /// port; and for that one, the NIC port that its frames leave on.
    pub peer: Option<PortIndex>,
    /// Whether this is the kernel-facing port of `peer`.
    pub kernel_facing: bool,
    /// The longest IP packet that it takes.
    pub mtu: u16,
    /// The director's own IPv4 address on it, for what it sends as a router.
    pub own_v4: Option<Addr>,
    /// The director's own IPv6 address on it.
    pub own_v6: Option<Addr>,
}

impl PortFacts {
    /// The director's own address of this family on the port.
    pub fn own(&self, family: Family) -> Option<Addr> {
        match family {
            Family::V4 => self.own_v4,
            Family::V6 => self.own_v6,
        }
    }
}
