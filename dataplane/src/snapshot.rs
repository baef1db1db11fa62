//! The configuration as the cores see it: immutable, numbered, swapped as a whole.
//!
//! Control makes a [`Snapshot`] from its [`catalog`](crate::catalog) and sends it to every
//! core's mailbox. Nothing in it changes afterwards; what moves (loads, tables, MAC
//! addresses) lives elsewhere and refers to it by ids.

mod hosts;
mod identity;
mod masqueraded;
mod numbers;
mod persistence;
mod port;
mod real;
mod service;

use std::net::IpAddr;
use std::sync::Arc;

use crate::classify::Classifier;
use crate::compat::Compat;
use crate::conn::Timeouts;
use crate::fragments::FragmentLimits;
use crate::ids::{Generation, PortIndex, RealId, ServiceId};
use crate::route::{Exits, Routes};
use crate::table::ServiceReal;
use crate::wire::Family;
pub use hosts::{HostAddress, Hosts};
pub use identity::Identity;
pub use masqueraded::Masqueraded;
pub use numbers::Numbers;
pub use persistence::{Engine, Persistence};
pub use port::PortFacts;
pub use real::{NextHop, Real, RealState, SharedRoute};
pub use service::{Member, OnDown, OnDrain, Policy, Service, Tracking};

/// One generation of the configuration.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Its number.
    pub generation: Generation,
    /// Services by id.
    pub services: Vec<Option<Arc<Service>>>,
    /// Real servers by id, removed ones among them as long as they are referred to.
    pub reals: Vec<Option<Arc<Real>>>,
    /// (VIP, protocol, port) to service.
    pub classifier: Classifier,
    /// Addresses that are answered for.
    pub hosts: Hosts,
    /// The ports.
    pub ports: Vec<PortFacts>,
    /// Where packets to clients and to tunnels' ends leave.
    pub routes: Routes,
    /// The same with gateways and MTUs, for the packet path.
    pub exits: Exits,
    /// The masqueraded real servers.
    pub masqueraded: Masqueraded,
    /// Connection timeouts.
    pub timeouts: Timeouts,
    /// How fragments are treated.
    pub fragments: FragmentLimits,
    /// By service: the real server of each number that the client table keeps.
    pub client_reals: Numbers,
    /// Every persistence timeout in use or in a live template, in seconds.
    pub template_timeouts_s: Vec<u32>,
    /// The switches for what is of no service.
    pub compat: Compat,
    /// Whether entries of removed real servers are to be looked for and ended
    /// (`expire_nodest_conn`).
    pub flushes_removed: bool,
    /// Whether there is any service for IPv4, and for IPv6.
    pub served: [bool; 2],
}

impl Snapshot {
    /// The switches for what belongs to this service, which may have been removed.
    #[inline]
    pub fn compat_of(&self, service: ServiceId) -> &Compat {
        self.service(service).map_or(&self.compat, |service| &service.compat)
    }

    /// The switches for connections of this real server: its service's.
    #[inline]
    pub fn compat_of_real(&self, real: RealId) -> &Compat {
        self.real(real).map_or(&self.compat, |real| self.compat_of(real.service))
    }

    /// Whether there is any service for this family. Without one, IPVS is not asked at all.
    #[inline]
    pub fn serves(&self, family: Family) -> bool {
        let [v4, v6] = self.served;
        match family {
            Family::V4 => v4,
            Family::V6 => v6,
        }
    }

    /// Whether what remains of this family's connections is not looked at: the kernel takes its
    /// hooks out with the last service of a family.
    #[inline]
    pub fn passes_by(&self, family: Family) -> bool {
        self.compat.as_kernel && !self.serves(family)
    }

    /// The service of that id.
    #[inline]
    pub fn service(&self, id: ServiceId) -> Option<&Arc<Service>> {
        self.services.get(id.0 as usize)?.as_ref()
    }

    /// The real server of that id, removed or not.
    #[inline]
    pub fn real(&self, id: RealId) -> Option<&Real> {
        self.reals.get(id.0 as usize)?.as_deref()
    }

    /// The real server that a service's client table entry names.
    #[inline]
    pub fn client_real(&self, service: ServiceId, number: ServiceReal) -> Option<RealId> {
        self.client_reals.real(service, number)
    }

    /// The real server of that id if it is in its service's list.
    #[inline]
    pub fn available(&self, id: RealId) -> Option<&Real> {
        self.real(id).filter(|real| real.available)
    }

    /// The port facts of that index.
    pub fn port(&self, index: PortIndex) -> Option<&PortFacts> {
        self.ports.get(usize::from(index.0))
    }

    /// The services in the order of `ipvsadm -ln`.
    pub fn sorted_services(&self) -> Vec<&Arc<Service>> {
        let mut services: Vec<_> = self.services.iter().flatten().collect();
        services.sort_by_key(|service| service.identity);
        services
    }
}

/// An address with its number of network bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Any address of the network.
    pub address: IpAddr,
    /// Leading bits that name the network.
    pub length: u8,
}
