//! What is sent, and to what kind of director.

use std::fmt;

use dataplane::forward::Forwarding;
use dataplane::sched::Scheduler;
use dataplane::snapshot::Tracking;
use dataplane::wire::Family;

/// The longest Ethernet frame with its FCS, in bytes.
pub const LONGEST: u16 = 1518;

/// Bytes of the FCS, which counts in a frame's size and is not in DPDK's memory.
pub const FCS: u16 = 4;

/// How long the frames are, each with its FCS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameSize {
    /// All of them the same number of bytes, 64 to [`LONGEST`]. An IPv6 frame has at least
    /// 78.
    Bytes(u16),
    /// The "simple IMIX": seven of 64 bytes, four of 594, one of 1518.
    Imix,
}

impl FrameSize {
    /// The lengths in their shares, FCS included.
    pub fn pattern(self) -> Vec<u16> {
        match self {
            Self::Bytes(bytes) => vec![bytes],
            Self::Imix => vec![64, 594, 64, 594, 64, 64, 1518, 64, 594, 64, 594, 64],
        }
    }
}

impl fmt::Display for FrameSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bytes(bytes) => bytes.fmt(f),
            Self::Imix => f.write_str("imix"),
        }
    }
}

/// Where the packets come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// DPDK's `net_null`; every received mbuf gets a client's header.
    Null,
    /// DPDK's `net_pcap`, which replays one packet of each client for ever.
    Pcap,
    /// Ordinary memory, without DPDK: for instruction counts, and where DPDK is not.
    Memory,
}

impl Source {
    /// The name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Pcap => "pcap",
            Self::Memory => "memory",
        }
    }
}

/// The packets and the director that they meet.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// What the services remember of clients.
    pub tracking: Tracking,
    /// Known clients. With [`Tracking::Full`] each has one connection.
    pub clients: u32,
    /// Services that are configured.
    pub services: u32,
    /// Services that clients use, each of them one.
    pub services_in_use: u32,
    /// Real servers of each service.
    pub servers: u32,
    /// The services' scheduler.
    pub scheduler: Scheduler,
    /// Seconds that a client stays bound; 0 for no persistence ([`Tracking::Full`] only).
    pub persistence_s: u32,
    /// IPv4 or IPv6.
    pub family: Family,
    /// How packets reach the real servers.
    pub forwarding: Forwarding,
    /// The share of packets that come from clients never seen before, 0 to 1.
    pub new_share: f64,
    /// Whether, under masquerading, requests and answers come in the same bursts; else every
    /// second burst is of answers, as with two ports.
    pub mixed: bool,
    /// New clients that the tables have room for beside the known ones, where there are any.
    pub room_for_new: u32,
    /// How long the frames are.
    pub size: FrameSize,
    /// Where the packets come from.
    pub source: Source,
}

impl Load {
    /// Connections over memory, for what is measured by itself.
    pub fn in_memory(family: Family, services: u32, servers: u32, scheduler: Scheduler) -> Self {
        Self {
            tracking: Tracking::Full,
            clients: 65_536,
            services,
            services_in_use: services,
            servers,
            scheduler,
            persistence_s: 360,
            family,
            forwarding: Forwarding::Route,
            new_share: 0.0,
            mixed: false,
            room_for_new: 0,
            size: FrameSize::Bytes(64),
            source: Source::Memory,
        }
    }

    /// Clients that the tables are to have room for.
    pub fn table_entries(&self) -> usize {
        let new = if self.new_share > 0.0 { self.room_for_new } else { 0 };
        // A table that is filled to the last place measures its crowding and nothing else.
        (self.clients as usize + new as usize).max(4096) / 4 * 5
    }

    /// In one line, for people.
    pub fn sentence(&self) -> String {
        let tracking = match self.tracking {
            Tracking::Full => "full",
            Tracking::Client => "client",
        };
        let family = match self.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        };
        let mixed = if self.mixed { ", mixed" } else { "" };
        format!(
            "tracking {tracking}, {} client(s), {} service(s) of {} server(s), {}, {family}, {}{mixed}, \
             {:.0} % new, frames of {}, source {}",
            self.clients,
            self.services,
            self.servers,
            self.scheduler.name(),
            self.forwarding.word(),
            self.new_share * 100.0,
            self.size,
            self.source.name()
        )
    }
}
