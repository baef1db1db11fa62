//! Tables that grow: because the configuration says so, or because they run full.

use std::fs;
use std::sync::atomic::Ordering;

use dataplane::shared::{Shared, TableSizes, Unable};
use tracing::{info, warn};

use super::ControlThread;
use crate::config::Model;

/// A table is doubled when so much of it is in use.
const FULL: (usize, usize) = (7, 8);
/// The part of the machine's memory that stays free when a table grows by itself.
const SPARED: u64 = 4;

/// KiB of a page of memory on x86-64.
const PAGE_KIB: u64 = 4;

/// The tables by the keys of the configuration, with how to get at their sizes.
type Size = (&'static str, fn(&mut TableSizes) -> &mut usize, fn(&Model) -> u32);

const TABLES: [Size; 6] = [
    ("connections", |sizes| &mut sizes.connections_v4, |model| model.tables.connections),
    ("connections6", |sizes| &mut sizes.connections_v6, |model| model.tables.connections6),
    ("templates", |sizes| &mut sizes.templates_v4, |model| model.tables.templates),
    ("templates6", |sizes| &mut sizes.templates_v6, |model| model.tables.templates6),
    ("clients", |sizes| &mut sizes.clients_v4, |model| model.tables.clients),
    ("clients6", |sizes| &mut sizes.clients_v6, |model| model.tables.clients6),
];

/// What the tables are to become.
#[derive(Clone, Debug)]
pub(super) struct Growth {
    wanted: TableSizes,
    /// Said once, until something else is to be said.
    said: String,
}

impl Growth {
    pub(super) fn new(shared: &Shared) -> Self {
        Self { wanted: shared.sizes_now(), said: String::new() }
    }

    fn say_once(&mut self, what: String) {
        if self.said != what {
            warn!("{what}");
            self.said = what;
        }
    }
}

impl ControlThread {
    /// Tells the cores how much memory is free, where their defences look at it.
    pub(super) fn look_at_memory(&self) {
        if !self.snapshot.compat.as_kernel {
            return;
        }
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        // Where the system does not say, nothing is short.
        let pages = free_pages(&meminfo).unwrap_or(u32::MAX);
        self.shared.free_pages.store(pages, Ordering::Relaxed);
    }

    /// Takes over the sizes of a configuration, and says what becomes of them; nothing if they
    /// are what they were.
    pub(super) fn resize_tables(&mut self, before: &Model, now: &Model) -> String {
        let mut said = String::new();
        for (key, size, configured) in TABLES {
            let (old, new) = (configured(before), configured(now));
            let wanted = size(&mut self.growth.wanted);
            if new as usize > *wanted {
                *wanted = new as usize;
                said += &format!("; tables.{key} grows to {new}");
            } else if new < old {
                said += &format!("; tables.{key} stays at {wanted} until a restart");
            }
        }
        said
    }

    /// Goes on with what is to grow: one table with each call, because its memory takes time.
    pub(super) fn grow_tables(&mut self) {
        match self.shared.grow(&self.growth.wanted) {
            Ok(_) | Err(Unable::Busy) => {}
            Err(error @ Unable::Exhausted(_)) => {
                self.growth.say_once(error.to_string());
                self.growth.wanted = self.shared.sizes_now();
            }
        }
    }

    /// Doubles the tables that run full, as far as there is memory.
    pub(super) fn look_at_tables(&mut self) {
        let entries = entries(&self.shared);
        let mut sizes = self.shared.sizes_now();
        for ((key, size, _), entries) in TABLES.into_iter().zip(entries) {
            let have = *size(&mut sizes);
            let wanted = *size(&mut self.growth.wanted);
            if wanted > have || entries * FULL.1 < have * FULL.0 {
                continue;
            }
            match spare_bytes() {
                Some(spare) if spare < bytes_of(key) * have as u64 => {
                    self.growth.say_once(format!(
                        "table {key} is full to {} % and stays at {have} entries: with twice as \
                         many, less than a quarter of the memory would be free",
                        entries * 100 / have.max(1)
                    ));
                }
                _ => {
                    info!("table {key} has {entries} of {have} entries and grows to twice that");
                    *size(&mut self.growth.wanted) = have.saturating_mul(2);
                }
            }
        }
    }
}

/// How many entries each table has, in the order of [`TABLES`]. Connections belong to their
/// core: what counts is the core that has most.
fn entries(shared: &Shared) -> [usize; 6] {
    let (templates, clients) = (shared.templates.stats(), shared.clients.stats());
    let most = |of: &dyn Fn(&dataplane::counters::CoreCounters) -> u64| {
        shared.counters.iter().map(|core| of(core)).max().unwrap_or(0) as usize * shared.cores()
    };
    [
        most(&|core| core.connections.get().saturating_sub(core.connections_v6.get())),
        most(&|core| core.connections_v6.get()),
        (templates.entries - templates.entries_v6.min(templates.entries)) as usize,
        templates.entries_v6 as usize,
        (clients.entries - clients.entries_v6.min(clients.entries)) as usize,
        clients.entries_v6 as usize,
    ]
}

/// What an entry takes at the most, with its part of the reply table.
fn bytes_of(key: &str) -> u64 {
    match key {
        "connections" => 40 + 48,
        "connections6" => 72 + 91,
        "templates" => 24,
        "templates6" => 64,
        "clients6" => 32,
        _ => 16,
    }
}

/// Bytes that may be taken so that a part of the memory stays free; `None` where the system
/// does not say.
fn spare_bytes() -> Option<u64> {
    spare(&fs::read_to_string("/proc/meminfo").ok()?)
}

fn spare(meminfo: &str) -> Option<u64> {
    let (total, available) = (kib(meminfo, "MemTotal:")?, kib(meminfo, "MemAvailable:")?);
    Some(available.saturating_sub(total / SPARED) * 1024)
}

/// Free pages and those of buffers, which are what IPVS's defences look at.
fn free_pages(meminfo: &str) -> Option<u32> {
    let free = kib(meminfo, "MemFree:")? + kib(meminfo, "Buffers:")?;
    Some(u32::try_from(free / PAGE_KIB).unwrap_or(u32::MAX))
}

fn kib(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_memory_is_spared() {
        let meminfo = "MemTotal:       16000 kB\nMemFree:  1 kB\nMemAvailable:    9000 kB\n";
        assert_eq!(spare(meminfo), Some(5000 * 1024));
        assert_eq!(spare(&meminfo.replace("9000", "100")), Some(0));
        assert_eq!(spare("MemTotal: 1 kB\n"), None);
    }

    #[test]
    fn free_pages_are_those_without_content_and_those_of_buffers() {
        let meminfo = "MemTotal: 16000 kB\nMemFree: 800 kB\nBuffers:  400 kB\nCached: 90 kB\n";
        assert_eq!(free_pages(meminfo), Some(300));
        assert_eq!(free_pages("MemTotal: 16000 kB\n"), None);
    }
}
