//! Virtual services: what is balanced, how, and over which real servers.

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::ops::RangeInclusive;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::address::Mac;
use super::as_text;

/// `services[]`: one virtual service. Everything here is taken over by a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Service {
    /// `name`: unique; letters, digits and `_ - . : / [ ]`, at most 64 characters.
    /// Default: from the mark or the selector, such as `mark/10`, `mark6/10`,
    /// `tcp/198.18.255.1:443` or `tcp/[2001:db8::1]:443`.
    pub name: String,
    /// `mark`: joins several selectors into one service (PFM); 1 to 4,294,967,295,
    /// ipvsadm's `-f`. Unique per address family. Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// `selectors`: what belongs to the service; at least one, exactly one without a
    /// mark, all of one family. The short form `vip`, `protocol`, `vip_port` directly in
    /// the service is the same as one selector.
    pub selectors: Vec<Selector>,
    /// `scheduler`: who gets the next client. Default `wlc`, as ipvsadm's.
    pub scheduler: Scheduler,
    /// `persistence`: keeps a client on its real server. Default: none; `persistence:
    /// true` is `timeout: 360`.
    #[serde(serialize_with = "persistence_or_false")]
    pub persistence: Option<Persistence>,
    /// `tracking`: what is remembered. Default `full`.
    pub tracking: Tracking,
    /// `one_packet`: schedule every UDP packet by itself, ipvsadm's `-o`. Default false.
    pub one_packet: bool,
    /// `real_servers`: in the file's order. May be empty: clients then get an ICMP error.
    pub real_servers: Vec<RealServer>,
}

impl Service {
    /// The address family of its VIPs.
    #[must_use]
    pub fn family(&self) -> Family {
        self.selectors.first().map_or(Family::V4, |selector| Family::of(selector.vip))
    }

    /// What its persistence is keyed by.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match (self.mark, self.selectors.first().map(|selector| selector.vip_ports)) {
            (Some(_), _) => Kind::Pfm,
            (None, Some(VipPorts::All)) => Kind::Pcc,
            (None, _) => Kind::Ppc,
        }
    }
}

/// What a client is bound by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Persistent port connections: one (protocol, VIP, port or range).
    Ppc,
    /// Persistent client connections: every port of a VIP.
    Pcc,
    /// Persistent firewall mark: every selector of a mark.
    Pfm,
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// A firewall mark, ipvsadm's `-f`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct Mark(pub NonZeroU32);

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// `services[].selectors[]`: which packets belong to the service.
///
/// A packet that fits several selectors belongs to the most specific one: a port before
/// a range before all ports. Two selectors of one rank never overlap, whatever service
/// they are in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Selector {
    /// `vip`: the virtual address. Compulsory.
    pub vip: IpAddr,
    /// `protocol`: `tcp`, `udp`, `sctp` or `any` (all three, bound as one). Compulsory.
    pub protocol: Protocol,
    /// `vip_port`: a port (443), a range (`8000-8010`) or 0 for every port. Compulsory.
    #[serde(rename = "vip_port")]
    pub vip_ports: VipPorts,
}

/// `services[].selectors[].protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
    /// TCP, UDP and SCTP together; a client is bound once for all three, which the
    /// kernel can do with marks only.
    Any,
}

impl Protocol {
    /// Whether one packet could be meant by both.
    #[must_use]
    pub fn overlaps(self, other: Protocol) -> bool {
        self == other || self == Protocol::Any || other == Protocol::Any
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
            Protocol::Sctp => "sctp",
            Protocol::Any => "any",
        })
    }
}

/// `services[].selectors[].vip_port`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VipPorts {
    /// One port.
    One(NonZeroU16),
    /// `FIRST-LAST`, both included, FIRST below LAST.
    Range(NonZeroU16, NonZeroU16),
    /// `0`: every port.
    All,
}

impl VipPorts {
    /// The port numbers that are meant.
    #[must_use]
    pub fn numbers(&self) -> RangeInclusive<u16> {
        match self {
            VipPorts::One(port) => port.get()..=port.get(),
            VipPorts::Range(first, last) => first.get()..=last.get(),
            VipPorts::All => 0..=u16::MAX,
        }
    }

    /// The port as IPVS has it: the number if there is just one, else 0.
    #[must_use]
    pub fn single(&self) -> u16 {
        match self {
            VipPorts::One(port) => port.get(),
            VipPorts::Range(..) | VipPorts::All => 0,
        }
    }
}

impl fmt::Display for VipPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VipPorts::One(port) => port.fmt(f),
            VipPorts::Range(first, last) => write!(f, "{first}-{last}"),
            VipPorts::All => f.write_str("0"),
        }
    }
}

impl Serialize for VipPorts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            VipPorts::One(port) => serializer.serialize_u16(port.get()),
            VipPorts::Range(..) => as_text(self, serializer),
            VipPorts::All => serializer.serialize_u16(0),
        }
    }
}

/// `services[].scheduler`: ipvsadm's short names; the hashing ones with their flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Scheduler {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connection.
    Lc,
    /// Weighted least connection.
    #[default]
    Wlc,
    /// Locality-based least connection.
    Lblc,
    /// Locality-based least connection with replication.
    Lblcr,
    /// Destination hashing.
    Dh,
    /// Source hashing.
    Sh(HashFlags),
    /// Maglev hashing.
    Mh(HashFlags),
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Weighted fail-over.
    Fo,
    /// Weighted overflow.
    Ovf,
    /// Power of two choices.
    Twos,
}

impl Scheduler {
    /// The name that `ipvsadm -s` takes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Scheduler::Rr => "rr",
            Scheduler::Wrr => "wrr",
            Scheduler::Lc => "lc",
            Scheduler::Wlc => "wlc",
            Scheduler::Lblc => "lblc",
            Scheduler::Lblcr => "lblcr",
            Scheduler::Dh => "dh",
            Scheduler::Sh(_) => "sh",
            Scheduler::Mh(_) => "mh",
            Scheduler::Sed => "sed",
            Scheduler::Nq => "nq",
            Scheduler::Fo => "fo",
            Scheduler::Ovf => "ovf",
            Scheduler::Twos => "twos",
        }
    }

    /// The flags of `sh` and `mh`; none for the others.
    #[must_use]
    pub fn flags(&self) -> HashFlags {
        match self {
            Scheduler::Sh(flags) | Scheduler::Mh(flags) => *flags,
            _ => HashFlags::default(),
        }
    }
}

impl Serialize for Scheduler {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let flags = self.flags();
        if flags == HashFlags::default() {
            return serializer.serialize_str(self.name());
        }
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("name", self.name())?;
        map.serialize_entry("fallback", &flags.fallback)?;
        map.serialize_entry("port", &flags.port)?;
        map.end()
    }
}

/// `services[].scheduler.{fallback,port}`: ipvsadm's `-b sh-fallback,sh-port` and
/// `-b mh-fallback,mh-port`. Both false by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HashFlags {
    /// Try another real server when the hashed one cannot take a client.
    pub fallback: bool,
    /// Hash the client's port, too.
    pub port: bool,
}

/// `services[].persistence`: ipvsadm's `-p` and `-M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Persistence {
    /// `timeout`: how long a template lives after the last new connection, 1 to
    /// 2,678,400 s (31 days). Default 360, as ipvsadm's `-p` without a number.
    #[serde(rename = "timeout")]
    pub timeout_s: u32,
    /// `prefix` (or `netmask: 255.255.255.0`, IPv4 only): how many leading bits of an
    /// address make one client; 1 to 32, for IPv6 1 to 128. Default 32, 128: every
    /// address by itself.
    pub prefix: u8,
}

/// Writes `false` for no persistence, so that the key is always there to be seen.
fn persistence_or_false<S: Serializer>(
    value: &Option<Persistence>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(persistence) => persistence.serialize(serializer),
        None => serializer.serialize_bool(false),
    }
}

/// `services[].tracking`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tracking {
    /// Every connection with its state, timeout and counts, as the kernel does.
    #[default]
    Full,
    /// The template alone: fastest, 16 bytes a client, load counted in bound clients.
    /// For persistent services whose real servers are all `route` or `tunnel`.
    Client,
}

/// `services[].real_servers[]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RealServer {
    /// `name`: for listings and commands; unique in the service, form as a port's name.
    /// Default: none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `address`: the RIP. Compulsory. Of the service's family, except under `tunnel`.
    pub address: IpAddr,
    /// `real_port`: 1 to 65,535, or 0 to keep the packet's port. Default: the service's
    /// port, 0 for marks, ranges and all ports. `route` and `tunnel` cannot change it.
    pub real_port: u16,
    /// `weight`: 0 (quiesced: no new clients) to 65,535. Default 1.
    pub weight: u16,
    /// `forwarding`: how packets get there. Default `route`.
    #[serde(flatten)]
    pub forwarding: Forwarding,
    /// `mac`: pins the next hop's MAC instead of asking for it; `route` only.
    /// Default: asked for by ARP or Neighbour Discovery.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// `upper_threshold` and `lower_threshold`.
    #[serde(flatten)]
    pub thresholds: Thresholds,
}

/// `upper_threshold`, `lower_threshold`: ipvsadm's `-x` and `-y`; 0 to 2,147,483,647,
/// the lower one not above the upper one. Default 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Thresholds {
    /// From this many connections on the real server gets no new ones.
    #[serde(rename = "upper_threshold")]
    pub upper: u32,
    /// Below this many it gets them again; 0 stands for three quarters of the upper one.
    #[serde(rename = "lower_threshold")]
    pub lower: u32,
}

/// `services[].real_servers[].forwarding`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Forwarding {
    /// `route`: direct routing, ipvsadm's `-g`.
    #[default]
    Route,
    /// `masq`: NAT, ipvsadm's `-m`.
    Masq,
    /// `tunnel`: ipvsadm's `-i`, shaped by the key `tunnel` beside it.
    Tunnel(Tunnel),
    /// `local`: to the kernel-facing port.
    Local,
}

impl Forwarding {
    /// The word in YAML.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Forwarding::Route => "route",
            Forwarding::Masq => "masq",
            Forwarding::Tunnel(_) => "tunnel",
            Forwarding::Local => "local",
        }
    }
}

impl Serialize for Forwarding {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("forwarding", self.name())?;
        if let Forwarding::Tunnel(tunnel) = self {
            map.serialize_entry("tunnel", tunnel)?;
        }
        map.end()
    }
}

/// `services[].real_servers[].tunnel`: the outer headers, ipvsadm's `--tun-type` and
/// its companions. Default `{type: ipip}`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Tunnel {
    /// `ipip`: IP in IP (RFC 2003, RFC 2473).
    #[default]
    Ipip,
    /// `gre` (RFC 2784).
    Gre {
        /// `checksum`: send GRE checksums, `--tun-csum`. Default false.
        checksum: bool,
    },
    /// `gue`: generic UDP encapsulation.
    Gue {
        /// `port`: the outer destination port, `--tun-port`. Compulsory.
        port: NonZeroU16,
        /// `checksum`: the outer checksum. Default `none`.
        checksum: GueChecksum,
    },
}

/// `tunnel.checksum` of GUE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GueChecksum {
    /// `--tun-nocsum`.
    #[default]
    None,
    /// `--tun-csum`: the UDP checksum is sent.
    Full,
    /// `--tun-remcsum`: remote checksum offload.
    Remote,
}
