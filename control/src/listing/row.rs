//! The rows of listings: plain data, one struct per kind of line.

use std::sync::Arc;

use dataplane::sched::SchedulerFlags;
use dataplane::snapshot::{Identity, Persistence, RealState, Tracking};
use dataplane::wire::{Addr, Protocol};

/// All services of a director.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// What the first line calls the size of the connection table (4096 in an untouched IPVS).
    pub table_size: u32,
    /// The services, in the order in which they are printed.
    pub services: Vec<ServiceRow>,
}

impl Listing {
    /// Puts services and real servers into ipvsadm's order. Without it they stay as they are
    /// (`--nosort`).
    pub fn sort(&mut self) {
        super::order::services(&mut self.services);
        for service in &mut self.services {
            super::order::reals(&mut service.reals);
        }
    }

    /// The row of one service.
    pub fn find(&self, identity: &Identity) -> Option<&ServiceRow> {
        self.services.iter().find(|service| service.identity == *identity)
    }
}

/// A virtual service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRow {
    /// The operator's name for it; in JSON only, as ipvsadm knows none.
    pub name: Arc<str>,
    /// Protocol, VIP and port or ports, or a mark.
    pub identity: Identity,
    /// The scheduler's name; `None` for a service that gives new clients nothing.
    pub scheduler: Option<&'static str>,
    /// The scheduler's flags.
    pub flags: SchedulerFlags,
    /// Timeout and mask, if clients are bound.
    pub persistence: Option<Persistence>,
    /// The persistence engine's name (`--pe`).
    pub engine: Option<Arc<str>>,
    /// One-packet scheduling.
    pub one_packet: bool,
    /// Whether connections or only clients are kept; in JSON only.
    pub tracking: Tracking,
    /// Its counters.
    pub stats: Stats,
    /// Its real servers.
    pub reals: Vec<RealRow>,
}

/// A real server of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealRow {
    /// RIP.
    pub address: Addr,
    /// Its port; 0 for all ports.
    pub port: u16,
    /// The word in the `Forward` column: `Route`, `Masq`, `Tunnel`, `Local` or `FullNat`.
    pub forwarding: &'static str,
    /// The kind of tunnel; counts only where `forwarding` is `Tunnel`.
    pub tunnel: Option<Tunnel>,
    /// The weight that schedulers see; 0 = quiesced.
    pub weight: u32,
    /// ActiveConn.
    pub active: u64,
    /// InActConn.
    pub inactive: u64,
    /// PersistConn: templates, or clients under `tracking: client`.
    pub persistent: u64,
    /// Clients that are bound: as `persistent`, but for templates that have lost their client
    /// and end with their connections; in JSON only.
    pub clients: u64,
    /// Connections at which it takes no new clients; 0 = no limit.
    pub upper_threshold: u32,
    /// Connections below which it takes clients again, as configured; 0 = by the upper one.
    pub lower_threshold: u32,
    /// Up, drain or down; in JSON only.
    pub state: RealState,
    /// Its counters.
    pub stats: Stats,
}

/// Counters and their rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Since the start, or since they were last set to zero.
    pub total: Traffic,
    /// Moving averages, per second.
    pub per_second: Traffic,
}

/// Connections, packets and bytes. Bytes are IP total lengths, without Ethernet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Traffic {
    /// Connections scheduled.
    pub conns: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Packets to clients that passed the director.
    pub out_packets: u64,
    /// Bytes from clients.
    pub in_bytes: u64,
    /// Bytes to clients that passed the director.
    pub out_bytes: u64,
}

impl Traffic {
    /// The five numbers in the order of ipvsadm's columns.
    pub fn columns(&self) -> [u64; 5] {
        [self.conns, self.in_packets, self.out_packets, self.in_bytes, self.out_bytes]
    }

    /// The traffic with these five numbers.
    pub fn from_columns(columns: [u64; 5]) -> Self {
        let [conns, in_packets, out_packets, in_bytes, out_bytes] = columns;
        Self { conns, in_packets, out_packets, in_bytes, out_bytes }
    }
}

/// The kinds of tunnels to real servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// IP in IP.
    Ipip,
    /// Generic UDP encapsulation.
    Gue {
        /// The UDP port.
        port: u16,
        /// The UDP checksum.
        checksum: TunnelChecksum,
    },
    /// GRE; it has no remote checksum offload.
    Gre {
        /// GRE's own checksum.
        checksum: TunnelChecksum,
    },
}

/// What a tunnel does about checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelChecksum {
    /// None (`--tun-nocsum`).
    Off,
    /// Computed (`--tun-csum`).
    On,
    /// Remote checksum offload (`--tun-remcsum`).
    Remote,
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address.
    pub address: Addr,
    /// The TCP, UDP or SCTP port.
    pub port: u16,
}

/// A connection or a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionRow {
    /// TCP, UDP or SCTP; `None` (listed as `IP`) for a template of a mark or of all protocols.
    pub protocol: Option<Protocol>,
    /// Seconds until it ends unless a packet comes.
    pub expires_s: u32,
    /// The state's word; `NONE` or `ASSURED` for templates.
    pub state: &'static str,
    /// The client; port 0 for templates.
    pub client: Endpoint,
    /// VIP and port, or the mark written as an address with port 0.
    pub virtual_side: Endpoint,
    /// The real server.
    pub real: Endpoint,
    /// What the persistence engine found, for its templates.
    pub engine: Option<EngineData>,
    /// Whether this is a template; in JSON only.
    pub template: bool,
}

/// What a persistence engine bound a client by.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct EngineData {
    /// The engine (`sip`).
    pub name: String,
    /// What it found (a SIP Call-ID).
    pub data: String,
}

/// A running synchronisation daemon.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct SyncDaemon {
    /// Sender or receiver.
    pub role: SyncRole,
    /// The interface that it sends or listens on.
    pub interface: String,
    /// Which group of directors it belongs to: 0..=255.
    pub syncid: u8,
    /// The longest message, in bytes.
    pub maxlen: u16,
    /// The multicast group.
    pub group: std::net::IpAddr,
    /// The UDP port.
    pub port: u16,
    /// The multicast TTL.
    pub ttl: u8,
}

/// Which half of synchronisation a daemon does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncRole {
    /// Sends.
    Master,
    /// Receives.
    Backup,
}

impl ServiceRow {
    /// The scheduler's name; the word `none` where there is none.
    pub(super) fn scheduler_name(&self) -> &'static str {
        self.scheduler.unwrap_or("none")
    }

    /// The names of the scheduler's flags that are set, which depend on the scheduler. The
    /// third one of sh and mh has none.
    pub(super) fn flag_names(&self) -> Vec<&'static str> {
        let names: &[&str] = match self.scheduler {
            Some("sh") => &["sh-fallback", "sh-port"],
            Some("mh") => &["mh-fallback", "mh-port"],
            _ => &["flag-1", "flag-2", "flag-3"],
        };
        let bits = [SchedulerFlags::FALLBACK, SchedulerFlags::PORT, SchedulerFlags::FLAG_3];
        let named = names.iter().zip(bits);
        named.filter_map(|(name, bit)| self.flags.contains(bit).then_some(*name)).collect()
    }

    /// The same as ipvsadm joins them; empty if all that are set have no name, `None` if none
    /// is set.
    pub(super) fn flag_list(&self) -> Option<String> {
        (!self.flags.is_empty()).then(|| self.flag_names().join(","))
    }
}

impl RealRow {
    /// The tunnel, where packets really go through one. One that nobody described is IP in IP.
    pub(super) fn used_tunnel(&self) -> Option<Tunnel> {
        (self.forwarding == "Tunnel").then(|| self.tunnel.unwrap_or(Tunnel::Ipip))
    }
}
