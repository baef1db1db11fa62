//! Real servers and how packets get to them.

use std::net::IpAddr;
use std::num::NonZeroU16;

use documented::{Documented, DocumentedFields};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::address::Mac;

/// `services[].real_servers[]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct RealServer {
    /// `name`: for listings and commands; unique in the service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `address`: the RIP, of the service's family, except under `tunnel`.
    pub address: IpAddr,
    /// `real_port`: the port on the real server, or 0 to keep the packet's; marks, ranges and
    /// all ports keep it. `route` and `tunnel` cannot change it.
    pub real_port: u16,
    /// `weight`: the share of new clients; 0: quiesced, no new clients. ipvsadm itself takes
    /// more, as the kernel does.
    pub weight: u32,
    /// `state`: whether the real server takes clients; the service's `on_drain` and `on_down`
    /// say what becomes of those it has.
    pub state: State,
    /// `forwarding`: how packets get there.
    #[serde(flatten)]
    pub forwarding: Forwarding,
    /// `mac`: pins the next hop's MAC instead of asking for it; with `route` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// `upper_threshold` and `lower_threshold`.
    #[serde(flatten)]
    pub thresholds: Thresholds,
}

/// `upper_threshold`, `lower_threshold`: ipvsadm's `-x` and `-y`, 0 to 2,147,483,647, the lower
/// one not above the upper one; 0: no limit.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Documented, DocumentedFields)]
#[documented_fields(rename_all = "snake_case")]
pub enum Forwarding {
    /// `route`: direct routing, ipvsadm's `-g`.
    #[default]
    Route,
    /// `masq`: NAT, ipvsadm's `-m`. Answers go back through the director, so it is the real
    /// servers' gateway, as with LVS-NAT; `gateway` of the port is its own way to the clients.
    Masq,
    /// `tunnel`: IPIP, GRE or GUE, ipvsadm's `-i`, shaped by the key `tunnel` beside it.
    Tunnel(Tunnel),
    /// `local`: to the director's own kernel, through the port's `kernel_port`.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
#[serde(tag = "type", rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum Tunnel {
    /// `ipip`: IP in IP (RFC 2003, RFC 2473).
    #[default]
    Ipip,
    /// `gre` (RFC 2784).
    Gre {
        /// `checksum`: send GRE checksums, `--tun-csum`.
        checksum: bool,
    },
    /// `gue`: generic UDP encapsulation.
    Gue {
        /// `port`: the outer destination port, `--tun-port`. Compulsory.
        port: NonZeroU16,
        /// `checksum`: the outer checksum.
        checksum: GueChecksum,
    },
}

/// `tunnel.checksum` of GUE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum GueChecksum {
    /// `--tun-nocsum`.
    #[default]
    None,
    /// `--tun-csum`: the UDP checksum is sent.
    Full,
    /// `--tun-remcsum`: remote checksum offload.
    Remote,
}

/// `state`: whether a real server takes clients.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Documented, DocumentedFields,
)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum State {
    /// Takes new and old clients.
    #[default]
    Up,
    /// Takes no new clients.
    Drain,
    /// Takes nobody.
    Down,
}
