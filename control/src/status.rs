//! How the running director is: `director status`.

mod explanation;
mod text;

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dataplane::block::{PagesInUse, pages_in_use};
use dataplane::counters::CoreTotals;
use dataplane::shared::Shared;
use dataplane::snapshot::Snapshot;
use dataplane::table::Stats;
use dataplane::verdict::DropReason;
use nic::{NicStats, PortInfo, Steered};
use serde::Serialize;

use crate::control_thread::Draining;
use crate::neighbour::Neighbours;
use crate::publish;

pub use explanation::explanation;

/// How the last attempt to change the configuration ended.
#[derive(Clone, Debug)]
pub struct LastApply {
    /// What was to be applied.
    pub name: String,
    /// When.
    pub at: SystemTime,
    /// Why it was refused, if it was.
    pub problems: Option<String>,
}

impl LastApply {
    /// The configuration that the director started with.
    pub fn started(config: &Path) -> Self {
        Self { name: config.display().to_string(), at: SystemTime::now(), problems: None }
    }
}

/// Everything that `director status` says. The field names are the JSON's.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    version: &'static str,
    dpdk: String,
    pid: u32,
    uptime_s: u64,
    /// The newest generation, and the one that every core runs at least.
    generation: u64,
    adopted_generation: u64,
    services: usize,
    real_servers: usize,
    last_apply: Applied,
    cores: Vec<Core>,
    ports: Vec<Port>,
    tables: Vec<Table>,
    drains: Vec<Draining>,
    neighbours: Vec<Neighbour>,
    frames: Frames,
    drops: Vec<Dropped>,
    memory: Memory,
}

#[derive(Clone, Debug, Serialize)]
struct Applied {
    name: String,
    at_unix_s: u64,
    result: &'static str,
    problems: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
struct Core {
    core: usize,
    cpu: Option<usize>,
    generation: u64,
    received: u64,
    forwarded: u64,
    dropped: u64,
    connections: u64,
    busy_percent: f64,
}

#[derive(Clone, Debug, Serialize)]
struct Port {
    name: String,
    device: String,
    driver: String,
    mac: String,
    link_up: bool,
    mtu: u16,
    queues: u16,
    rss: bool,
    /// By what packets find their queue.
    spread: String,
    received: u64,
    sent: u64,
    missed: u64,
    errors: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Table {
    name: &'static str,
    entries: u64,
    capacity: u64,
    bytes: u64,
    /// Empty places and indexes included.
    bytes_per_entry: f64,
    /// The same of each family alone, where that has a table of its own.
    bytes_per_entry_v4: Option<f64>,
    bytes_per_entry_v6: Option<f64>,
    full_events: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Neighbour {
    address: String,
    port: String,
    mac: Option<String>,
    state: String,
}

#[derive(Clone, Debug, Serialize)]
struct Frames {
    received: u64,
    forwarded: u64,
    answered: u64,
    to_kernel: u64,
    punted: u64,
    dropped: u64,
    unsent: u64,
    held: u64,
    originated: u64,
    connections_scheduled: u64,
    connections_by_template: u64,
    placed_by_hash: u64,
    vip_claims: u64,
}

#[derive(Clone, Debug, Serialize)]
struct Dropped {
    reason: &'static str,
    frames: u64,
    sentence: &'static str,
}

#[derive(Clone, Debug, Serialize)]
struct Memory {
    resident_bytes: u64,
    tables_bytes: u64,
    /// What pages the tables are on.
    pages: Pages,
    mbufs_in_use: u64,
    mbufs_free: u64,
}

/// Bytes of tables by the pages that they are on.
#[derive(Clone, Debug, Serialize)]
struct Pages {
    transparent_hugepages: u64,
    reserved_hugepages: u64,
    ordinary: u64,
}

impl Pages {
    fn now() -> Self {
        let PagesInUse { transparent, reserved, ordinary } = pages_in_use();
        Self { transparent_hugepages: transparent, reserved_hugepages: reserved, ordinary }
    }
}

/// What a report is made from.
pub struct Sources<'a> {
    /// The tables and counters.
    pub shared: &'a Shared,
    /// The running configuration.
    pub snapshot: &'a Snapshot,
    /// The ports as they were opened.
    pub ports: &'a [PortInfo],
    /// Their counters.
    pub nic: &'a NicStats,
    /// The neighbour table.
    pub neighbours: &'a Neighbours,
    /// What became of the latest configuration.
    pub last_apply: &'a LastApply,
    /// Real servers that are draining.
    pub drains: Vec<Draining>,
    /// Since the start.
    pub uptime: Duration,
}

impl Report {
    /// Reads everything once.
    pub fn gather(sources: Sources<'_>) -> Self {
        let Sources { shared, snapshot, ports, nic, neighbours, last_apply, drains, uptime } =
            sources;
        let totals = shared.totals();
        let tables = tables(shared, &totals);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            dpdk: nic::dpdk_version(),
            pid: std::process::id(),
            uptime_s: uptime.as_secs(),
            generation: snapshot.generation.0,
            adopted_generation: publish::adopted(shared).0,
            services: snapshot.services.iter().flatten().count(),
            real_servers: snapshot.reals.iter().flatten().filter(|real| real.available).count(),
            last_apply: Applied {
                name: last_apply.name.clone(),
                at_unix_s: last_apply
                    .at
                    .duration_since(UNIX_EPOCH)
                    .map_or(0, |since| since.as_secs()),
                result: if last_apply.problems.is_some() { "refused" } else { "taken over" },
                problems: last_apply.problems.clone(),
            },
            cores: cores(shared, ports),
            ports: ports.iter().map(|port| port_line(port, nic)).collect(),
            memory: Memory {
                resident_bytes: resident_bytes(),
                tables_bytes: tables.iter().map(|table| table.bytes).sum(),
                pages: Pages::now(),
                mbufs_in_use: nic.mbufs_in_use,
                mbufs_free: nic.mbufs_free,
            },
            tables,
            drains,
            neighbours: neighbours
                .iter()
                .map(|listed| Neighbour {
                    address: listed.address.to_string(),
                    port: snapshot
                        .port(listed.port)
                        .map(|p| p.name.to_string())
                        .unwrap_or_default(),
                    mac: listed.mac.map(|mac| mac.to_string()),
                    state: listed.condition.to_string(),
                })
                .collect(),
            drops: DropReason::ALL
                .iter()
                .map(|reason| Dropped {
                    reason: reason.label(),
                    frames: totals.dropped_for(*reason),
                    sentence: reason.sentence(),
                })
                .filter(|dropped| dropped.frames > 0)
                .collect(),
            frames: frames(&totals),
        }
    }
}

fn frames(totals: &CoreTotals) -> Frames {
    Frames {
        received: totals.received,
        forwarded: totals.forwarded,
        answered: totals.answered,
        to_kernel: totals.to_kernel,
        punted: totals.punted,
        dropped: totals.dropped_total(),
        unsent: totals.unsent,
        held: totals.held,
        originated: totals.originated,
        connections_scheduled: totals.scheduled,
        connections_by_template: totals.followed,
        placed_by_hash: totals.untracked,
        vip_claims: totals.vip_claims,
    }
}

fn cores(shared: &Shared, ports: &[PortInfo]) -> Vec<Core> {
    let mut cpus: Vec<usize> = ports.iter().flat_map(|port| port.cores.clone()).collect();
    cpus.sort_unstable();
    cpus.dedup();
    shared
        .counters
        .iter()
        .enumerate()
        .map(|(index, counters)| {
            let totals = counters.read();
            Core {
                core: index,
                cpu: cpus.get(index).copied(),
                generation: totals.generation,
                received: totals.received,
                forwarded: totals.forwarded,
                dropped: totals.dropped_total(),
                connections: totals.connections,
                busy_percent: percent(totals.busy_turns, totals.turns),
            }
        })
        .collect()
}

/// In hundredths of a percent at most: nobody reads more digits.
fn percent(part: u64, whole: u64) -> f64 {
    (10_000.0 * part as f64 / whole.max(1) as f64).round() / 100.0
}

fn port_line(port: &PortInfo, nic: &NicStats) -> Port {
    let stats = nic.ports.iter().find(|stats| stats.name == port.name);
    Port {
        name: port.name.clone(),
        device: port.device.clone(),
        driver: port.driver.clone(),
        mac: port.mac.to_string(),
        link_up: stats.map_or(port.link_up, |stats| stats.link_up),
        mtu: port.mtu,
        queues: port.rx_queues,
        rss: port.rss.is_some(),
        spread: spread(&port.steered, stats.map_or((0, 0), |stats| (stats.steered, stats.strayed))),
        received: stats.map_or(0, |stats| stats.ipackets),
        sent: stats.map_or(0, |stats| stats.opackets),
        missed: stats.map_or(0, |stats| stats.imissed + stats.rx_nombuf),
        errors: stats.map_or(0, |stats| stats.ierrors + stats.oerrors),
    }
}

/// By what a port's packets find their queue, and what was seen of it so far: how many of the
/// first ones went where the key says, and how many elsewhere.
fn spread(steered: &Steered, (right, wrong): (u64, u64)) -> String {
    let seen = right + wrong;
    match steered {
        Steered::NotAsked => "by flow: no service binds its clients".to_owned(),
        Steered::OneQueue => "one queue".to_owned(),
        Steered::Not(why) => format!("by flow: {why}; only speed differs"),
        Steered::ByClient { .. } if wrong > 0 => {
            format!("otherwise than the key says ({wrong} of {seen} packets); only speed differs")
        }
        Steered::ByClient { bits_v4, bits_v6 } => format!(
            "by client: {bits_v4} bits of IPv4 addresses and {bits_v6} of IPv6 addresses choose \
             the queue; {seen} packets seen, all in theirs"
        ),
    }
}

/// Memory and room of a family's part of a table.
type Part = (u64, u64);

fn table(name: &'static str, entries: u64, parts: [Part; 2], full_events: u64) -> Table {
    let each = |(bytes, room): Part| bytes as f64 / room.max(1) as f64;
    let [(bytes_v4, room_v4), (bytes_v6, room_v6)] = parts;
    let (bytes, capacity) = (bytes_v4 + bytes_v6, room_v4 + room_v6);
    let own = |part: Part| (part.0 > 0).then(|| each(part));
    Table {
        name,
        entries,
        capacity,
        bytes,
        bytes_per_entry: each((bytes, capacity)),
        bytes_per_entry_v4: own(parts[0]),
        bytes_per_entry_v6: own(parts[1]),
        full_events,
    }
}

fn tables(shared: &Shared, totals: &CoreTotals) -> Vec<Table> {
    let sizes = shared.sizes_now();
    let connections_v4 = totals.connection_bytes.saturating_sub(totals.connection_bytes_v6);
    let connections =
        [(connections_v4, totals.room_v4), (totals.connection_bytes_v6, totals.room_v6)];
    let full = totals.dropped_for(DropReason::TableFull);
    let shared_table = |name, stats: Stats, v4: usize, v6: usize| {
        let bytes_v4 = stats.bytes - stats.bytes_v6;
        let parts = [(bytes_v4 as u64, v4 as u64), (stats.bytes_v6 as u64, v6 as u64)];
        table(name, stats.entries, parts, stats.full)
    };
    let (templates, clients) = (shared.templates.stats(), shared.clients.stats());
    let mut rows = vec![
        table("connections", totals.connections, connections, full),
        shared_table("templates", templates, sizes.templates_v4, sizes.templates_v6),
        shared_table("clients", clients, sizes.clients_v4, sizes.clients_v6),
    ];
    let replies = &shared.replies;
    if replies.is_open() {
        let room = (sizes.connections_v4 + sizes.connections_v6) as u64;
        let parts = [(0, room), (replies.bytes() as u64, 0)];
        let mut row = table("replies", replies.entries() as u64, parts, replies.refused());
        (row.bytes_per_entry_v4, row.bytes_per_entry_v6) = (None, None);
        rows.push(row);
    }
    rows
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * 4096
}
