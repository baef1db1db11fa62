//! Cores, drops, tables.

use dataplane::counters::CoreTotals;
use dataplane::shared::Shared;
use dataplane::verdict::DropReason;

use crate::metrics::board::Facts;
use crate::metrics::exposition::Exposition;

/// A counter of every core.
type Counter = (&'static str, &'static str, fn(&CoreTotals) -> u64);

const COUNTERS: [Counter; 8] = [
    ("director_core_turns", "Turns of the poll loop.", |totals| totals.turns),
    ("director_core_busy_turns", "Turns of the poll loop that received something.", |totals| {
        totals.busy_turns
    }),
    ("director_core_received_frames", "Frames received from all ports.", |totals| totals.received),
    (
        "director_core_forwarded_frames",
        "Frames sent on: balanced traffic, own answers, and what went to the kernel.",
        |totals| totals.forwarded,
    ),
    ("director_core_punted_frames", "Frames handed to the control thread.", |totals| totals.punted),
    ("director_core_unsent_frames", "Frames that a port's full queue refused.", |totals| {
        totals.unsent
    }),
    ("director_core_dropped_frames", "Frames dropped, for whatever reason.", |totals| {
        totals.dropped_total()
    }),
    (
        "director_core_originated_frames",
        "Frames sent that answer to no received one (ARP requests, announcements).",
        |totals| totals.originated,
    ),
];

const TOTALS: [Counter; 6] = [
    ("director_answered_frames", "Own answers as a host (ARP, echo, RST, ICMP).", |totals| {
        totals.answered
    }),
    ("director_kernel_frames", "Frames handed to a kernel-facing port.", |totals| totals.to_kernel),
    ("director_connections_scheduled", "Connections scheduled.", |totals| totals.scheduled),
    (
        "director_connections_by_template",
        "Connections scheduled that followed their client's binding.",
        |totals| totals.followed,
    ),
    (
        "director_clients_placed_by_hash",
        "New clients placed by hash, because the template table was full.",
        |totals| totals.untracked,
    ),
    (
        "director_vip_claims",
        "ARP messages in which a real server claimed a VIP that it should hide.",
        |totals| totals.vip_claims,
    ),
];

pub(super) fn write(page: &mut Exposition, facts: &Facts, shared: &Shared) {
    let mut cpus: Vec<usize> = facts.ports.iter().flat_map(|port| port.cores.clone()).collect();
    cpus.sort_unstable();
    cpus.dedup();
    let cores: Vec<(String, String, CoreTotals)> = (shared.counters.iter().enumerate())
        .map(|(index, counters)| {
            let cpu = cpus.get(index).map_or_else(String::new, usize::to_string);
            (index.to_string(), cpu, counters.read())
        })
        .collect();
    for (name, help, value) in COUNTERS {
        let mut family = page.counter(name, help);
        for (core, cpu, totals) in &cores {
            family.sample(&[("core", core), ("cpu", cpu)], value(totals));
        }
    }
    let mut generations =
        page.gauge("director_core_generation", "The generation that the core runs.");
    for (core, cpu, totals) in &cores {
        generations.sample(&[("core", core), ("cpu", cpu)], totals.generation);
    }
    let mut held =
        page.gauge("director_core_held_frames", "Frames that wait for a next hop's MAC address.");
    for (core, cpu, totals) in &cores {
        held.sample(&[("core", core), ("cpu", cpu)], totals.held);
    }
    let totals = shared.totals();
    let mut drops =
        page.counter("director_dropped_frames", "Frames dropped, by reason (director status).");
    for reason in DropReason::ALL {
        drops.sample(&[("reason", reason.label())], totals.dropped_for(*reason));
    }
    for (name, help, value) in TOTALS {
        page.counter(name, help).only(value(&totals));
    }
    tables(page, shared, &totals);
}

struct Table {
    name: &'static str,
    entries: u64,
    capacity: u64,
    bytes: u64,
    full: u64,
}

fn tables(page: &mut Exposition, shared: &Shared, totals: &CoreTotals) {
    let (templates, clients) = (shared.templates.stats(), shared.clients.stats());
    let sizes = &shared.sizes;
    let tables = [
        Table {
            name: "connections",
            entries: totals.connections,
            capacity: (sizes.connections_v4 + sizes.connections_v6) as u64,
            bytes: totals.connection_bytes,
            full: totals.dropped_for(DropReason::TableFull),
        },
        Table {
            name: "templates",
            entries: templates.entries,
            capacity: (sizes.templates_v4 + sizes.templates_v6) as u64,
            bytes: templates.bytes as u64,
            full: templates.full,
        },
        Table {
            name: "clients",
            entries: clients.entries,
            capacity: (sizes.clients_v4 + sizes.clients_v6) as u64,
            bytes: clients.bytes as u64,
            full: clients.full,
        },
    ];
    let mut entries = page.gauge("director_table_entries", "Entries in the table.");
    tables.iter().for_each(|table| entries.sample(&[("table", table.name)], table.entries));
    let mut room = page.gauge("director_table_capacity", "Entries that the table is made for.");
    tables.iter().for_each(|table| room.sample(&[("table", table.name)], table.capacity));
    let mut bytes = page.gauge("director_table_bytes", "Memory that the table takes.");
    tables.iter().for_each(|table| bytes.sample(&[("table", table.name)], table.bytes));
    let mut full =
        page.counter("director_table_full", "Times that there was no room for a new entry.");
    tables.iter().for_each(|table| full.sample(&[("table", table.name)], table.full));
}
