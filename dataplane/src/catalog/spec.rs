//! What the operator asks for, before anything has an id.

use std::ops::RangeInclusive;
use std::sync::Arc;

use crate::classify::Rank;
use crate::compat::Compat;
use crate::forward::{Forwarding, Tunnel};
use crate::ids::{Mark, PortIndex};
use crate::route::Route;
use crate::sched::{Scheduler, SchedulerFlags};
use crate::snapshot::{Engine, Identity, Persistence, Policy, RealState, Tracking};
use crate::tick::Tick;
use crate::wire::ethernet::Mac;
use crate::wire::{Addr, Protocol, Vlan};

/// A virtual service without its real servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceSpec {
    /// The operator's name for it.
    pub name: Arc<str>,
    /// What it is known by.
    pub identity: Identity,
    /// The scheduler; `None` gives new clients nothing.
    pub scheduler: Option<Scheduler>,
    /// The scheduler's flags.
    pub flags: SchedulerFlags,
    /// What mh's keys and twos's draws are made from; see [`Service::seed`].
    ///
    /// [`Service::seed`]: crate::snapshot::Service::seed
    pub seed: Option<u64>,
    /// Persistence.
    pub persistence: Option<Persistence>,
    /// What binds clients besides their address; counts with persistence only.
    pub engine: Option<Engine>,
    /// What is remembered of clients.
    pub tracking: Tracking,
    /// One-packet scheduling.
    pub one_packet: bool,
    /// Switches.
    pub compat: Compat,
    /// What is done about real servers that are in drain or down.
    pub policy: Policy,
}

/// A real server of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RealSpec {
    /// RIP.
    pub address: Addr,
    /// Its port; 0 for all ports.
    pub port: u16,
    /// Weight; 0 = quiesced.
    pub weight: u32,
    /// How packets reach it.
    pub forwarding: Forwarding,
    /// The outer headers under [`Forwarding::Tunnel`].
    pub tunnel: Tunnel,
    /// Connections at which it takes no new clients; 0 = no limit.
    pub upper_threshold: u32,
    /// Connections below which it takes clients again; 0 = three quarters of the upper one.
    pub lower_threshold: u32,
    /// Up, drain or down.
    pub state: RealState,
    /// When a drain ends and the server counts as down; `None` for never.
    pub drain_until: Option<Tick>,
    /// Its MAC address, where it is not to be resolved.
    pub mac: Option<Mac>,
}

impl RealSpec {
    /// A directly routed server of weight 1, as `ipvsadm -a -r ADDRESS:PORT` adds it.
    pub fn new(address: Addr, port: u16) -> Self {
        Self {
            address,
            port,
            weight: 1,
            forwarding: Forwarding::Route,
            tunnel: Tunnel::Ipip,
            upper_threshold: 0,
            lower_threshold: 0,
            state: RealState::Up,
            drain_until: None,
            mac: None,
        }
    }
}

/// Gives packets to a VIP, protocol and port a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selector {
    /// The VIP, or any address of a network of VIPs.
    pub vip: Addr,
    /// How many bits of it count.
    pub length: u8,
    /// The network whose clients' packets get the mark; `None` for everybody's.
    pub source: Option<(Addr, u8)>,
    /// TCP, UDP or SCTP; `None` for all three.
    pub protocol: Option<Protocol>,
    /// The ports; all of them for "port 0".
    pub ports: RangeInclusive<u16>,
    /// The mark.
    pub mark: Mark,
    /// Against other selectors.
    pub rank: Rank,
}

impl Selector {
    /// The service that it gives packets to.
    pub fn identity(&self) -> Identity {
        Identity::Mark { family: self.vip.family(), mark: self.mark }
    }

    /// Whether all that comes to another one comes to this one and gets the same mark.
    pub fn covers(&self, other: &Self) -> bool {
        let within = |(wide, length): (Addr, u8), (narrow, of): (Addr, u8)| {
            wide.family() == narrow.family()
                && length <= of
                && wide.masked(length) == narrow.masked(length)
        };
        self.mark == other.mark
            && within((self.vip, self.length), (other.vip, other.length))
            && match (self.source, other.source) {
                (None, _) => true,
                (Some(wide), Some(narrow)) => within(wide, narrow),
                (Some(_), None) => false,
            }
            && (self.protocol.is_none() || self.protocol == other.protocol)
            && self.ports.start() <= other.ports.start()
            && self.ports.end() >= other.ports.end()
    }

    /// What it takes and which mark it gives, without its rank: what it is told apart by.
    pub fn key(&self) -> SelectorKey {
        let ports = (*self.ports.start(), *self.ports.end());
        (self.mark, (self.vip, self.length), self.source, self.protocol, ports)
    }
}

/// See [`Selector::key`].
pub type SelectorKey = (Mark, (Addr, u8), Option<(Addr, u8)>, Option<Protocol>, (u16, u16));

/// A service with everything that belongs to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farm {
    /// The service.
    pub service: ServiceSpec,
    /// Its real servers, in the order in which they are added.
    pub reals: Vec<RealSpec>,
}

/// A NIC port or a kernel-facing port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortSpec {
    /// The operator's name for it.
    pub name: Arc<str>,
    /// The VLAN that its frames carry.
    pub vlan: Vlan,
    /// The longest IP packet that it takes.
    pub mtu: u16,
    /// The director's own addresses on it.
    pub addresses: Vec<Addr>,
    /// The kernel-facing port behind a NIC port, or the NIC port before a kernel-facing one.
    pub peer: Option<PortIndex>,
    /// Whether it faces the kernel.
    pub kernel_facing: bool,
}

/// Where the director stands: ports, addresses and routes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Site {
    /// The ports, in the order of their indices.
    pub ports: Vec<PortSpec>,
    /// Connected networks, routes and gateways.
    pub routes: Vec<Route>,
}
