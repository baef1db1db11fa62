//! Real servers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::compat::Kernel;
use crate::forward::{Forwarding, Tunnel};
use crate::ids::{NeighbourId, PortIndex, RealId, ServiceId};
use crate::tick::Tick;
use crate::wire::ethernet::Mac;
use crate::wire::{Addr, Vlan};

/// Whether a real server takes clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum RealState {
    /// Takes new and old clients.
    #[default]
    Up,
    /// Takes no new clients; bound ones stay.
    Drain,
    /// Takes nobody.
    Down,
}

/// Where frames for an address leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct NextHop {
    /// The NIC port.
    pub port: PortIndex,
    /// The neighbour whose MAC address they get.
    pub neighbour: NeighbourId,
    /// The tag that they get.
    pub vlan: Vlan,
    /// The longest IP packet that the port takes.
    pub mtu: u16,
}

/// The one route to a real server that IPVS keeps for its connections of all methods, anew after
/// every edit. Made for masquerading or a tunnel, it leads to the address that a packet names,
/// and so packets of direct routing are given to whoever has the VIP there: nobody.
#[derive(Debug, Default)]
pub struct SharedRoute(AtomicU8);

impl SharedRoute {
    const FOR_ROUTE: u8 = 1;
    const FOR_OTHERS: u8 = 2;

    /// Takes the route for a packet of this method, and answers whether it leads to the real
    /// server.
    pub fn leads(&self, forwarding: Forwarding) -> bool {
        let own = match forwarding {
            Forwarding::Route | Forwarding::Local => Self::FOR_ROUTE,
            Forwarding::Masq | Forwarding::Tunnel => Self::FOR_OTHERS,
        };
        let taken = self.0.compare_exchange(0, own, Ordering::Relaxed, Ordering::Relaxed);
        own == Self::FOR_OTHERS || taken.unwrap_or_else(|made| made) != Self::FOR_OTHERS
    }
}

/// A real server of one service.
#[derive(Clone, Debug)]
pub struct Real {
    /// Its id.
    pub id: RealId,
    /// The service whose list it is in.
    pub service: ServiceId,
    /// RIP.
    pub address: Addr,
    /// Its port (the VIP's unless it was given; 0 for all ports and marks).
    pub port: u16,
    /// The configured weight; 0 = quiesced.
    pub weight: u32,
    /// The latest weight above zero (mh keeps its table by it).
    pub last_weight: u32,
    /// Up, drain or down.
    pub state: RealState,
    /// When a drain ends and the server counts as down.
    pub drain_until: Option<Tick>,
    /// How packets reach it.
    pub forwarding: Forwarding,
    /// The outer headers of its tunnel, if packets reach it through one.
    pub tunnel: Tunnel,
    /// The director's own address towards it, as the outer source.
    pub tunnel_source: Option<Addr>,
    /// Connections at which it takes no new clients; 0 = no limit.
    pub upper_threshold: u32,
    /// Connections below which it takes clients again; 0 = three quarters of the upper one.
    pub lower_threshold: u32,
    /// Where its frames leave; `None` where no route leads to it.
    pub next_hop: Option<NextHop>,
    /// Whether its address is the director's own (or a loopback one): its packets are the
    /// host's, whatever the method.
    pub local: bool,
    /// Its number within the service, for the client table; 0 for none.
    pub number: u16,
    /// Its MAC address, where the configuration pins it.
    pub mac: Option<Mac>,
    /// Whose threshold rules are followed.
    pub kernel: Kernel,
    /// The route that connections of several methods share, where the method was changed and
    /// the kernel's way is taken with it.
    pub shared_route: Option<Arc<SharedRoute>>,
    /// Whether it is in its service's list. A removed real server keeps its id as long as
    /// connections or templates name it, and is the same again when it is put back.
    pub available: bool,
    /// Whether what names it is to be ended: it is not available, and it or another one was
    /// removed while `expire_nodest_conn` was on.
    pub flushed: bool,
}

impl Real {
    /// The weight that schedulers see.
    pub fn effective_weight(&self) -> u32 {
        match self.state {
            RealState::Up => self.weight,
            RealState::Drain | RealState::Down => 0,
        }
    }

    /// Whether a tunnel leads to this address, which is its own.
    pub(crate) fn is_end_of_tunnel(&self, end: Addr) -> bool {
        self.forwarding == Forwarding::Tunnel && self.address == end
    }

    /// Whether it takes nobody: down, or in drain for as long as it was to be.
    pub fn is_down(&self, now: Tick) -> bool {
        match self.state {
            RealState::Up => false,
            RealState::Drain => self.drain_until.is_some_and(|until| until.has_come(now)),
            RealState::Down => true,
        }
    }

    /// The number of connections below which an overloaded server takes clients again:
    /// three quarters of the upper threshold unless a lower one was given.
    pub fn effective_lower_threshold(&self) -> u32 {
        match self.lower_threshold {
            0 => self.upper_threshold - self.upper_threshold / 4,
            lower => lower,
        }
    }
}
