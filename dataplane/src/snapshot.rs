//! The configuration as the cores see it: immutable, numbered, swapped as a whole.
//!
//! Control makes a [`Snapshot`] from its [`catalog`](crate::catalog) and sends it to every
//! core's mailbox. Nothing in it changes afterwards; what moves (loads, tables, MAC
//! addresses) lives elsewhere and refers to it by ids.

mod numbers;

use std::net::IpAddr;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use crate::classify::Classifier;
use crate::compat::{Compat, Kernel};
use crate::conn::Timeouts;
use crate::forward::{Forwarding, Tunnel};
use crate::fragments::FragmentLimits;
use crate::ids::{Generation, Mark, NeighbourId, PortIndex, RealId, ScopeId, ServiceId};
use crate::pins::Pins;
use crate::route::{Exits, Routes};
use crate::sched::{Scheduler, SchedulerFlags, State, Tables, rr, wrr};
use crate::table::ServiceReal;
use crate::tick::Tick;
use crate::wire::ethernet::Mac;
use crate::wire::{Addr, Family, Protocol, Vlan};
pub use numbers::Numbers;

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

/// How long and how finely clients are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Persistence {
    /// Seconds from the last new connection until the binding ends (`ipvsadm -p`).
    pub timeout_s: u32,
    /// Clients that share this many leading bits share a binding (`ipvsadm -M`): the
    /// mask itself, because IPVS takes masks with holes. For IPv4 the low 32 bits.
    pub mask: u128,
}

impl Persistence {
    /// `ipvsadm -p` without a number.
    pub const DEFAULT_TIMEOUT_S: u32 = 360;

    /// The client's address as templates keep it.
    pub fn masked(&self, client: Addr) -> Addr {
        match client.family() {
            Family::V4 => Addr::v4(client.v4_number() & self.mask as u32),
            Family::V6 => Addr::v6(client.number() & self.mask),
        }
    }
}

/// What binds clients besides their address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// SIP's Call-ID: a call stays with its server, whatever port its datagrams come from.
    /// Other protocols than UDP, and messages without a Call-ID, are dropped.
    Sip,
}

impl Engine {
    /// The name as in `ipvsadm --pe`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sip => "sip",
        }
    }
}

/// What is remembered of clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tracking {
    /// Every connection, with its state and timeout: the kernel's decisions.
    #[default]
    Full,
    /// Bindings only: one lookup a packet, no connections, load counted in clients.
    Client,
}

/// One place in a service's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// The real server.
    pub real: RealId,
    /// Which time of being added this is: a server that was removed and put back stands
    /// in a new place.
    pub incarnation: u32,
}

/// A virtual service.
#[derive(Clone, Debug)]
pub struct Service {
    /// Its id.
    pub id: ServiceId,
    /// The operator's name for it.
    pub name: Arc<str>,
    /// What it is known by.
    pub identity: Identity,
    /// How new clients are given a real server; `None` gives them none.
    pub scheduler: Option<Scheduler>,
    /// The scheduler's flags.
    pub flags: SchedulerFlags,
    /// What mh's keys and twos's draws are made from: several directors with one seed agree
    /// for the same client. `None`: mh uses IPVS's fixed keys, twos draws at random.
    pub seed: Option<u64>,
    /// Persistence, if clients are bound.
    pub persistence: Option<Persistence>,
    /// What binds clients besides their address (`ipvsadm --pe`).
    pub engine: Option<Engine>,
    /// The place of the persistence timeout in [`Snapshot::template_timeouts_s`].
    pub timeout_index: u8,
    /// What is remembered of clients.
    pub tracking: Tracking,
    /// UDP packets are scheduled one by one (`ipvsadm -o`).
    pub one_packet: bool,
    /// The real servers, newest first.
    pub members: Arc<[Member]>,
    /// Changes when the scheduler is another one than before.
    pub scheduler_epoch: u64,
    /// Changes when a real server is added, edited or removed.
    pub list_epoch: u64,
    /// What the scheduler remembers, where all cores share it as in the kernel.
    pub common: Option<Arc<Mutex<State>>>,
    /// Hash tables of the scheduler.
    pub tables: Tables,
    /// What was taken out of the list, for rr.
    pub rr_removals: rr::Removals,
    /// What the list went through, for wrr.
    pub wrr_history: wrr::History,
    /// The switches for this service.
    pub compat: Compat,
    /// What it does about servers that are in drain or down.
    pub policy: Policy,
    /// Clients that have a real server of their own.
    pub pins: Pins,
}

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

/// What happens to a bound client's new connections while its server is in drain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDrain {
    /// They stay with the server, as a quiesced server keeps its clients in IPVS.
    #[default]
    Keep,
    /// They go to another server; the connections that are there stay. (Under `tracking:
    /// client` new and old connections cannot be told apart, and the client stays.)
    NewElsewhere,
}

/// What happens to the clients of a server that is down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum OnDown {
    /// They are given another server at once: UDP flows move, TCP connections end with a
    /// reset, and the clients' next connections go elsewhere.
    #[default]
    Rebind,
    /// They stay, as in IPVS, where nothing but an edit moves a client.
    Keep,
    /// They stay bound, and their packets are dropped until the server is back.
    Drop,
}

/// What a service does about servers that are in drain or down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Policy {
    /// About bound clients of a server in drain.
    pub on_drain: OnDrain,
    /// About clients of a server that is down.
    pub on_down: OnDown,
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

/// The masqueraded real servers: whose packets to the world pass the director.
#[derive(Clone, Debug, Default)]
pub struct Masqueraded {
    /// Everybody's packets pass, as through a host that is a router too.
    pub everybody: bool,
    addresses: std::collections::HashSet<Addr>,
    ports: std::collections::HashSet<(Option<Protocol>, Addr, u16)>,
    /// Those that may begin flows through their service.
    callers: std::collections::HashMap<(Addr, u16), RealId>,
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

/// Addresses that the director answers for as a host.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    exact: std::collections::HashMap<Addr, HostAddress>,
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
    pub fn serves(&self, family: Family) -> bool {
        self.services.iter().flatten().any(|service| service.identity.family() == family)
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

/// An address with its number of network bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    /// Any address of the network.
    pub address: IpAddr,
    /// Leading bits that name the network.
    pub length: u8,
}
