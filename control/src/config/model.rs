//! The configuration as it is meant: every default filled in, every reference resolved.
//!
//! A [`Model`] comes out of [`parse`](crate::config::parse) or
//! [`load`](crate::config::load) and from nowhere else, so whoever holds one need not
//! check it again: names are unique, selectors do not overlap, address families fit,
//! every next hop is reachable. It derefs to [`Settings`], whose fields are plain data.
//!
//! The doc comment of a field is its reference: YAML key, unit, range, default and, where
//! there is one, the IPVS setting it stands for. `Serialize` writes the YAML back with
//! every default spelt out; reading that gives an equal model.

mod address;
mod allow;
mod metrics;
mod port;
mod real_server;
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
pub use metrics::Metrics;
pub use port::{CoreId, Device, PciAddress, Port, Route, VlanId};
pub use real_server::{Forwarding, GueChecksum, RealServer, State, Thresholds, Tunnel};
pub use scheduler::{HashFlags, Scheduler};
pub use service::{
    Family, Kind, Mark, OnDown, OnDrain, Persistence, Protocol, Selector, Service, Tracking,
    VipPorts, mark_name, selector_name,
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
    /// `ports`: the NIC ports, 1 to 16, in the file's order.
    pub ports: Vec<Port>,
    /// `main_core`: the CPU for the control thread and DPDK's main thread, which never
    /// polls. Default: the lowest CPU of the machine that no port polls; if there is none,
    /// it shares the last one that does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub main_core: Option<CoreId>,
    /// `memory`: hugepages and packet buffers.
    pub memory: Memory,
    /// `tables`: how many entries the tables start with.
    pub tables: Tables,
    /// `timeouts`: how long idle connections are kept.
    pub timeouts: Timeouts,
    /// `ttl`: what direct routing does with the TTL or hop limit. Default `decrement`.
    pub ttl: Ttl,
    /// `neighbours`: ARP and Neighbour Discovery.
    pub neighbours: Neighbours,
    /// `control`: the control socket and the watch on this file.
    pub control: Control,
    /// `metrics`: Prometheus metrics and health over HTTP. Default: none are offered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
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
    /// `no_huge`: use ordinary pages, for laboratories and machines without hugepages
    /// (slower; NICs bound to vfio-pci cannot be used). Default false.
    pub no_huge: bool,
    /// `mib`: memory for DPDK in MiB, 64 to 1,048,576. Default 1024.
    pub mib: u32,
    /// `mbufs`: packet buffers in the pool, 1,024 to 16,777,215. One less than a power
    /// of two wastes least. Must cover every descriptor of every port. Default 65,535.
    pub mbufs: u32,
    /// `file_prefix`: keeps two DPDK programs on one machine apart; letters, digits,
    /// `_`, `-` and `.`, at most 32 characters. Default `director`.
    pub file_prefix: String,
}

/// `tables`: entries of all cores together, 1,024 to 1,000,000,000 each, with `k`
/// (thousand) or `M` (million) if wanted. Tables round up to whole buckets and grow
/// online; these are the sizes they start with. A change needs a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Tables {
    /// `connections`: IPv4 connections (`tracking: full`). Default 1M.
    /// IPVS: `conn_tab_bits`, which counts hash rows instead.
    pub connections: u32,
    /// `connections6`: IPv6 connections. Default 128k.
    pub connections6: u32,
    /// `templates`: IPv4 persistence templates of `tracking: full`. Default 1M.
    pub templates: u32,
    /// `templates6`: IPv6 persistence templates. Default 128k.
    pub templates6: u32,
    /// `clients`: IPv4 clients of `tracking: client`. Default 1M.
    pub clients: u32,
    /// `clients6`: IPv6 clients of `tracking: client`. Default 128k.
    pub clients6: u32,
    /// `fragments`: fragmented packets whose later fragments are being followed.
    /// Default 8k.
    pub fragments: u32,
}

/// `timeouts`: seconds without a packet after which a connection is forgotten, 1 to
/// 2,678,400 (31 days), as `ipvsadm --set TCP TCPFIN UDP`. Taken over by a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Timeouts {
    /// `tcp`: established TCP connections. Default 900.
    #[serde(rename = "tcp")]
    pub tcp_s: u32,
    /// `tcp_fin`: TCP connections after the client's FIN. Default 120.
    #[serde(rename = "tcp_fin")]
    pub tcp_fin_s: u32,
    /// `udp`: UDP flows. Default 300.
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

/// `neighbours`: how MAC addresses are found and kept (RFC 4861's constants serve ARP,
/// too). Taken over by a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Neighbours {
    /// `reachable`: how long an answer is trusted before it is asked again by unicast,
    /// 1 s to 1 h. Default 30 s (RFC 4861 `REACHABLE_TIME`).
    #[serde(rename = "reachable", serialize_with = "millis")]
    pub reachable_ms: u32,
    /// `retransmit`: pause between two requests, 10 ms to 1 min. Default 1 s (RFC 4861
    /// `RETRANS_TIMER`).
    #[serde(rename = "retransmit", serialize_with = "millis")]
    pub retransmit_ms: u32,
    /// `retries`: requests without an answer until a neighbour counts as gone, 1 to 20.
    /// Default 3 (RFC 4861 `MAX_MULTICAST_SOLICIT`).
    pub retries: u8,
    /// `held_frames`: frames held per neighbour while its MAC is looked for, 0 to 1,024;
    /// more are dropped and counted. Default 16.
    pub held_frames: u16,
    /// `entries`: neighbours known at most, 16 to 65,536. Default 4,096.
    pub entries: u32,
}

/// `control`: how a running director is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Control {
    /// `socket`: absolute path of the Unix socket (mode 0600 unless `allow` names
    /// somebody), at most 107 bytes, which
    /// is all that fits into the kernel's `sun_path`. Default
    /// `/run/director/control.sock`. A change needs a restart.
    pub socket: PathBuf,
    /// `watch`: whether a change of the file is taken over without being asked.
    /// Default true.
    pub watch: bool,
    /// `allow`: who else may use the socket. Default: root and the director's own user.
    pub allow: Allow,
}

/// `log`: what is written to standard error. Taken over by a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Log {
    /// `level`: the least severe level that is written. Default `info`.
    pub level: LogLevel,
    /// `format`: `text` for people, `json` for collectors. Default `text`.
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

/// `compat`: what the kernel has under `/proc/sys/net/ipv4/vs/`, with the kernel's
/// defaults. Taken over by a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
pub struct Compat {
    /// `kernel`: whose rules decide where kernels differ. Default `new`.
    pub kernel: Kernel,
    /// `sloppy_tcp`: a connection may begin with any segment but a RST. Default false.
    pub sloppy_tcp: bool,
    /// `sloppy_sctp`: a connection may begin with any chunk but an ABORT. Default false.
    pub sloppy_sctp: bool,
    /// `conn_reuse_mode`: when a SYN on a known connection is scheduled anew: 0 never,
    /// bit 1 after TIME_WAIT and CLOSE, bit 2 also after FIN_WAIT seen in one direction;
    /// 0 to 3. Default 1.
    pub conn_reuse_mode: u8,
    /// `expire_nodest_conn`: forget connections at once when their real server is taken
    /// out, instead of dropping their packets until they time out. Default false.
    pub expire_nodest_conn: bool,
    /// `expire_quiescent_template`: a client bound to a real server of weight 0 is
    /// scheduled anew. Default false.
    pub expire_quiescent_template: bool,
    /// `schedule_icmp`: an ICMP error about a flow that is not known is scheduled as if it
    /// were the flow's first packet. Default false.
    pub schedule_icmp: bool,
    /// `nat_icmp_send`: a masqueraded real server's packet that belongs to no connection is
    /// answered with "port unreachable". Default false.
    pub nat_icmp_send: bool,
    /// `pmtu_disc`: tunnels tell senders of packets that are too long for them; without it
    /// the outer packet may be fragmented. Default true.
    pub pmtu_disc: bool,
    /// `secure_tcp`: the second TCP state table, for times of attack. Default false.
    pub secure_tcp: bool,
    /// `drop_entry`: half-open and idle connections are dropped at random: 0 never, 1 and 2
    /// while the tables have less room than `amemthresh`, 3 always. Default 0.
    pub drop_entry: u8,
    /// `drop_packet`: every n-th packet that would open a connection is dropped: 0 never, 1
    /// and 2 while the tables have less room than `amemthresh`, 3 always. Default 0.
    pub drop_packet: u8,
    /// `am_droprate`: the n of `drop_packet: 3`, 1 to 1,000,000. Default 10.
    pub am_droprate: u32,
    /// `amemthresh`: free entries of a core's connection table below which modes 1 and 2 act, 0 to
    /// 1,000,000,000.
    /// Default 1,024. The kernel counts pages of memory.
    pub amemthresh: u32,
}

/// `compat.kernel`: the generation of kernels whose decisions are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Documented, DocumentedFields)]
#[serde(rename_all = "snake_case")]
#[documented_fields(rename_all = "snake_case")]
pub enum Kernel {
    /// 6.12.107 and later: load is 257 x active + inactive, and edited thresholds act at
    /// once.
    #[default]
    New,
    /// Before: load is 256 x active + inactive, and a lowered threshold acts on the next
    /// connection.
    Classic,
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

impl Default for Compat {
    fn default() -> Self {
        Self {
            kernel: Kernel::New,
            sloppy_tcp: false,
            sloppy_sctp: false,
            conn_reuse_mode: 1,
            expire_nodest_conn: false,
            expire_quiescent_template: false,
            schedule_icmp: false,
            nat_icmp_send: false,
            pmtu_disc: true,
            secure_tcp: false,
            drop_entry: 0,
            drop_packet: 0,
            am_droprate: 10,
            amemthresh: 1_024,
        }
    }
}

/// Writes milliseconds as a duration that the reader takes back, such as `1500ms`.
fn millis<S: Serializer>(value: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{value}ms"))
}

/// Writes a value in its text form; `Display` and the reader are each other's inverse.
fn as_text<T: fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}
