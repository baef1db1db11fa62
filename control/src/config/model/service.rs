//! Virtual services: what is balanced, how, and over which real servers.

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};
use std::ops::RangeInclusive;

use dataplane::wire;
use documented::{Documented, DocumentedFields};
use serde::Serialize;
use serde::ser::Serializer;

use super::address::Cidr;
use super::as_text;
use super::compat::ServiceCompat;
use super::netmask::Netmask;
use super::real_server::RealServer;
use super::scheduler::Scheduler;

/// `services[]`: one virtual service. Everything here is taken over by a reload.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Service {
    /// `name`: what the service is called in listings, commands and metrics; unique. Without
    /// one it is called after its mark or selector: `mark/10`, `mark6/10`,
    /// `tcp/198.18.255.1:443`, `tcp/[2001:db8::1]:443`.
    pub name: String,
    /// `mark`: joins several selectors into one service (PFM), ipvsadm's `-f`. Unique per
    /// address family.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mark: Option<Mark>,
    /// `family`: of a mark without selectors, as ipvsadm's `-f 10 -6`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub family: Option<Family>,
    /// `selectors`: what belongs to the service; exactly one without a mark, all of one family.
    /// A mark without selectors takes nothing, as in the kernel without iptables' rules. The
    /// short form `vip`, `protocol`, `vip_port` directly in the service is the same as one
    /// selector.
    pub selectors: Vec<Selector>,
    /// `scheduler`: who gets the next client.
    pub scheduler: Scheduler,
    /// `persistence`: keeps a client on its real server; `true` is `timeout: 360`, a time alone
    /// sets the timeout.
    #[serde(serialize_with = "persistence_or_false")]
    pub persistence: Option<Persistence>,
    /// `tracking`: what is remembered.
    pub tracking: Tracking,
    /// `one_packet`: schedule every UDP packet by itself, ipvsadm's `-o`; for selectors with
    /// `udp` or `any`. No connection remembers the packet: under `masq` its answer keeps the
    /// real server's address, as with the kernel.
    pub one_packet: bool,
    /// `seed`: what mh's keys and twos's draws are made from; directors with one seed agree on
    /// a client.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// `on_drain`: what becomes of the bound clients of a real server in `drain`.
    pub on_drain: OnDrain,
    /// `on_down`: what becomes of the clients of a real server that is `down`.
    pub on_down: OnDown,
    /// `drain_deadline`: a real server that has been in `drain` for so long counts as `down`, and
    /// `on_down` says what becomes of its clients. It counts from the moment when this director
    /// first saw the `drain`; reading the same file again does not begin anew, and `director
    /// status` shows the rest.
    #[serde(rename = "drain_deadline", skip_serializing_if = "Option::is_none")]
    pub drain_deadline_s: Option<u32>,
    /// `compat`: the switches that this service has otherwise than the others.
    #[serde(skip_serializing_if = "ServiceCompat::is_empty")]
    pub compat: ServiceCompat,
    /// `pins`: clients that have a real server of their own, whatever the scheduler says, as
    /// long as it is not down. Clients that are bound already stay where they are. Default:
    /// none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<Pin>,
    /// `real_servers`: in the file's order. Without one that can be used, clients get an ICMP
    /// error.
    pub real_servers: Vec<RealServer>,
}

/// `services[].pins[]`: a client's own real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Documented, DocumentedFields)]
pub struct Pin {
    /// `client`: an address, or a network such as `198.18.0.0/24`; the longest prefix that
    /// fits decides. Compulsory.
    pub client: Cidr,
    /// `real_server`: the address of one of the service's real servers; of several with one
    /// address the one that was added last. Compulsory.
    pub real_server: IpAddr,
}

/// `on_drain`: what becomes of the bound clients of a real server in drain.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Documented, DocumentedFields,
)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum OnDrain {
    /// They stay.
    #[default]
    Keep,
    /// Their new connections go elsewhere.
    NewElsewhere,
}

/// `on_down`: what becomes of the clients of a real server that is down.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Documented, DocumentedFields,
)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum OnDown {
    /// They are given another one at once.
    #[default]
    Rebind,
    /// They stay, as in IPVS.
    Keep,
    /// They stay, and their packets are dropped until it is back.
    Drop,
}

impl Service {
    /// The address family of its VIPs.
    #[must_use]
    pub fn family(&self) -> Family {
        let of_selectors = self.selectors.first().map(|selector| Family::of(selector.vip));
        of_selectors.or(self.family).unwrap_or(Family::V4)
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

/// The name of a service that has a mark and no name of its own: `mark/10`, `mark6/10`.
#[must_use]
pub fn mark_name(mark: Mark, family: Family) -> String {
    match family {
        Family::V4 => format!("mark/{mark}"),
        Family::V6 => format!("mark6/{mark}"),
    }
}

/// The name of a service without mark and name: `tcp/198.18.255.1:443`.
#[must_use]
pub fn selector_name(selector: &Selector) -> String {
    let Selector { vip, protocol, vip_ports } = selector;
    match Family::of(*vip) {
        Family::V4 => format!("{protocol}/{vip}:{vip_ports}"),
        Family::V6 => format!("{protocol}/[{vip}]:{vip_ports}"),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Documented, DocumentedFields)]
pub enum Family {
    /// IPv4.
    #[serde(rename = "ipv4")]
    #[documented_fields(rename = "ipv4")]
    V4,
    /// IPv6.
    #[serde(rename = "ipv6")]
    #[documented_fields(rename = "ipv6")]
    V6,
}

impl From<wire::Family> for Family {
    fn from(family: wire::Family) -> Self {
        match family {
            wire::Family::V4 => Self::V4,
            wire::Family::V6 => Self::V6,
        }
    }
}

impl From<Family> for wire::Family {
    fn from(family: Family) -> Self {
        match family {
            Family::V4 => Self::V4,
            Family::V6 => Self::V6,
        }
    }
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Selector {
    /// `vip`: the virtual address.
    pub vip: IpAddr,
    /// `protocol`: the protocol; `any` is all three, bound as one.
    pub protocol: Protocol,
    /// `vip_port`: a port, a range of ports, or 0 for every port (PCC), which needs
    /// persistence.
    #[serde(rename = "vip_port")]
    pub vip_ports: VipPorts,
}

/// `services[].selectors[].protocol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Documented, DocumentedFields)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
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

/// `services[].persistence`: ipvsadm's `-p` and `-M`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Persistence {
    /// `timeout`: how long a template lives after the last new connection, ipvsadm's `-p`.
    #[serde(rename = "timeout")]
    pub timeout_s: u32,
    /// `prefix`: how many leading bits of an address make one client, ipvsadm's `-M`: at most
    /// 32 for IPv4, 128 for IPv6. Without it every address is a client by itself.
    #[serde(flatten)]
    pub mask: Netmask,
    /// `engine`: what binds clients besides their address, ipvsadm's `--pe`. `director show -c
    /// --persistent` shows the calls.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<Engine>,
}

/// `services[].persistence.engine`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum Engine {
    /// SIP's Call-ID (RFC 3261, 20.8): a call of a client stays with its server, whatever
    /// port its datagrams come from. UDP only; messages without a Call-ID are dropped.
    Sip,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum Tracking {
    /// Every connection with its state, timeout and counts, as the kernel does.
    #[default]
    Full,
    /// The template alone: fastest, 16 bytes an IPv4 client, 32 an IPv6 one, load counted in
    /// bound clients.
    /// For persistent services whose real servers are all `route` or `tunnel`.
    Client,
}
