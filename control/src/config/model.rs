//! The configuration as it is meant: every default filled in, every reference resolved.
//!
//! A [`Model`] comes out of [`parse`](crate::config::parse) or
//! [`load`](crate::config::load) and from nowhere else, so whoever holds one need not
//! check it again: names are unique, selectors do not overlap, address families fit,
//! every next hop is reachable. It derefs to [`Settings`], whose fields are plain data.
//!
//! The doc comment of a field says what its key means; values, ranges, defaults and examples
//! stand in the tables of [`keys`](super::keys), and `director explain-key` shows both.
//! `Serialize` writes the YAML back with every default spelt out; reading that gives an equal
//! model.

mod address;
mod allow;
mod compat;
mod metrics;
mod netmask;
mod port;
mod real_server;
mod run_as;
mod scheduler;
mod service;

use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;

use documented::{Documented, DocumentedFields};
use serde::Serialize;
use serde::ser::Serializer;

pub use address::{Cidr, Mac};
pub use allow::Allow;
pub use compat::{Compat, Defaults, Kernel, ServiceCompat};
pub use metrics::Metrics;
pub use netmask::Netmask;
pub use port::{CoreId, Device, PciAddress, Port, Route, VlanId};
pub use real_server::{Forwarding, GueChecksum, RealServer, State, Thresholds, Tunnel};
pub use run_as::RunAs;
pub use scheduler::{HashFlags, Scheduler};
pub use service::{
    Engine, Family, Kind, Mark, OnDown, OnDrain, Persistence, Pin, Protocol, Selector, Service,
    Tracking, VipPorts, mark_name, selector_name,
};

/// A configuration that was found to be free of problems.
///
/// Immutable: it derefs to its [`Settings`] for reading only.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Model {
    settings: Settings,
}

impl Model {
    /// Only the checks of this module may call something valid.
    pub(in crate::config) fn of_checked(settings: Settings) -> Self {
        Self { settings }
    }
}

impl Model {
    /// The same configuration with other services and timeouts: what ipvsadm's commands made
    /// of it. They obey the kernel's rules, which are wider than a file's: a real server may
    /// stand where no route leads.
    pub(crate) fn with_services(&self, services: Vec<Service>, timeouts: Timeouts) -> Self {
        Self { settings: Settings { services, timeouts, ..self.settings.clone() } }
    }
}

impl Deref for Model {
    type Target = Settings;

    fn deref(&self) -> &Settings {
        &self.settings
    }
}

/// Everything a configuration file says, defaults included.
#[derive(Clone, Debug, PartialEq, Serialize, Documented, DocumentedFields)]
pub struct Settings {
    /// `ports`: the NIC ports, in the file's order.
    pub ports: Vec<Port>,
    /// `main_core`: the CPU for the control thread and DPDK's main thread, which never polls.
    /// Where `memory.no_huge` is true, one that polls a port can be named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub main_core: Option<CoreId>,
    /// `memory`: hugepages and packet buffers.
    pub memory: Memory,
    /// `tables`: how many entries the tables start with.
    pub tables: Tables,
    /// `fragments`: how fragments find their way.
    pub fragments: Fragments,
    /// `timeouts`: how long idle connections are kept.
    pub timeouts: Timeouts,
    /// `ttl`: what direct routing does with the TTL or hop limit.
    pub ttl: Ttl,
    /// `neighbours`: ARP and Neighbour Discovery.
    pub neighbours: Neighbours,
    /// `control`: the control socket and the watch on this file.
    pub control: Control,
    /// `metrics`: Prometheus metrics and health over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// `run_as`: who the director is once its ports are up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_as: Option<RunAs>,
    /// `log`: what is logged and how.
    pub log: Log,
    /// `compat`: switches that the kernel's IPVS has as sysctls.
    pub compat: Compat,
    /// `services`: the virtual services, in the file's order. May be empty.
    pub services: Vec<Service>,
}

/// `memory`: DPDK's memory. A change needs a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Memory {
    /// `no_huge`: use ordinary pages, for laboratories and machines without hugepages (slower;
    /// NICs bound to vfio-pci cannot be used).
    pub no_huge: bool,
    /// `mib`: memory for DPDK. Must hold the packet buffers, 2,432 bytes each.
    pub mib: u32,
    /// `mbufs`: packet buffers in the pool. One less than a power of two wastes least. Must
    /// cover every descriptor of every port, and 512 per core.
    pub mbufs: u32,
    /// `file_prefix`: keeps two DPDK programs on one machine apart.
    pub file_prefix: String,
}

/// `tables`: entries of all cores together. A reload makes tables larger while packets pass, and
/// no entry is lost; a smaller size takes effect with a restart. A table that is seven eighths
/// full doubles by itself while a quarter of the machine's memory stays free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Tables {
    /// `connections`: IPv4 connections (`tracking: full`). IPVS: `conn_tab_bits`, which counts
    /// hash rows instead.
    pub connections: u32,
    /// `connections6`: IPv6 connections.
    pub connections6: u32,
    /// `templates`: IPv4 persistence templates of `tracking: full`.
    pub templates: u32,
    /// `templates6`: IPv6 persistence templates, and SIP calls (`persistence.engine`) of either
    /// family.
    pub templates6: u32,
    /// `clients`: IPv4 clients of `tracking: client`.
    pub clients: u32,
    /// `clients6`: IPv6 clients of `tracking: client`.
    pub clients6: u32,
    /// `fragments`: fragmented packets whose later fragments are being followed; where all
    /// places are taken, the oldest makes room.
    pub fragments: u32,
}

/// `fragments`: later fragments have no ports and follow their first one; there is no
/// reassembly. Taken over by a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Fragments {
    /// `remembered`: how long the later fragments are awaited after the first one, as the
    /// kernel's `ipfrag_time`.
    #[serde(rename = "remembered")]
    pub remembered_s: u32,
    /// `early_wait`: how long a later fragment waits that comes before its first one; then it
    /// is dropped and counted.
    #[serde(
        rename = "early_wait",
        serialize_with = "maybe_millis",
        skip_serializing_if = "Option::is_none"
    )]
    pub early_wait_ms: Option<u32>,
    /// `early`: how many may wait so on each core.
    pub early: u16,
    /// `whole`: nothing is decided before all fragments of a datagram are there, as the kernel
    /// has it, which puts datagrams together first; they wait as long as `early_wait` says. Under
    /// `compat: ipvs` who sent the first one of a datagram that stays incomplete is told so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<bool>,
}

/// `timeouts`: seconds without a packet after which a connection is forgotten, as `ipvsadm
/// --set TCP TCPFIN UDP`. Taken over by a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Timeouts {
    /// `tcp`: established TCP connections.
    #[serde(rename = "tcp")]
    pub tcp_s: u32,
    /// `tcp_fin`: TCP connections after the client's FIN.
    #[serde(rename = "tcp_fin")]
    pub tcp_fin_s: u32,
    /// `udp`: UDP flows.
    #[serde(rename = "udp")]
    pub udp_s: u32,
}

/// `ttl`: the TTL (IPv4) or hop limit (IPv6) under direct routing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum Ttl {
    /// One less per pass, with its checksum, as kernels since 6.12.107 do.
    #[default]
    Decrement,
    /// Untouched, as older kernels do: direct routing then changes twelve bytes only.
    Keep,
}

/// `neighbours`: how MAC addresses are found and kept (RFC 4861's constants serve ARP, too).
/// Taken over by a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Neighbours {
    /// `reachable`: how long an answer is trusted before it is asked again by unicast (RFC 4861
    /// `REACHABLE_TIME`).
    #[serde(rename = "reachable", serialize_with = "millis")]
    pub reachable_ms: u32,
    /// `retransmit`: pause between two requests (RFC 4861 `RETRANS_TIMER`).
    #[serde(rename = "retransmit", serialize_with = "millis")]
    pub retransmit_ms: u32,
    /// `retries`: requests without an answer until a neighbour counts as gone (RFC 4861
    /// `MAX_MULTICAST_SOLICIT`).
    pub retries: u8,
    /// `held_frames`: frames held per neighbour while its MAC is looked for; more are dropped
    /// and counted. A core holds 16 times as many for all neighbours together.
    pub held_frames: u16,
    /// `entries`: neighbours known at most.
    pub entries: u32,
}

/// `control`: how a running director is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Control {
    /// `socket`: absolute path of the Unix socket (mode 0600 unless `allow` names somebody), at
    /// most 107 bytes, which is all that fits into the kernel's `sun_path`. Missing folders are
    /// made (mode 0700). A change needs a restart.
    pub socket: PathBuf,
    /// `watch`: whether a change of the file is taken over without being asked.
    pub watch: bool,
    /// `allow`: who else may use the socket than root and the director's own user.
    pub allow: Allow,
}

/// `log`: what is written to standard error. Taken over by a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Log {
    /// `level`: the least severe level that is written.
    pub level: LogLevel,
    /// `format`: `text` for people, `json` for collectors.
    pub format: LogFormat,
}

/// `log.level`.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Serialize,
    Documented,
    DocumentedFields,
)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum LogLevel {
    /// Only what stops the director from doing its work.
    Error,
    /// Also what an operator should look into.
    Warn,
    /// Also what changed: reloads, neighbours, real servers.
    #[default]
    Info,
    /// Also why.
    Debug,
    /// Everything.
    Trace,
}

/// `log.format`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum LogFormat {
    /// One line of text per event.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

impl Default for Memory {
    fn default() -> Self {
        Self { no_huge: false, mib: 1024, mbufs: 65_535, file_prefix: "director".to_owned() }
    }
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            connections: 1_000_000,
            connections6: 128_000,
            templates: 1_000_000,
            templates6: 128_000,
            clients: 1_000_000,
            clients6: 128_000,
            fragments: 8_000,
        }
    }
}

impl Default for Fragments {
    fn default() -> Self {
        Self { remembered_s: 30, early_wait_ms: None, early: 64, whole: None }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self { tcp_s: 900, tcp_fin_s: 120, udp_s: 300 }
    }
}

impl Default for Neighbours {
    fn default() -> Self {
        Self {
            reachable_ms: 30_000,
            retransmit_ms: 1_000,
            retries: 3,
            held_frames: 16,
            entries: 4_096,
        }
    }
}

impl Default for Control {
    fn default() -> Self {
        Self {
            socket: PathBuf::from("/run/director/control.sock"),
            watch: true,
            allow: Allow::default(),
        }
    }
}

/// Writes milliseconds as a duration that the reader takes back, such as `1500ms`.
fn millis<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value}ms"))
}

fn maybe_millis<S: Serializer>(value: &Option<u32>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => millis(value, serializer),
        None => serializer.serialize_none(),
    }
}

/// Writes a value in its text form; `Display` and the reader are each other's inverse.
fn as_text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
