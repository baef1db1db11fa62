//! The page of metrics. Every name of a family stands here or in a file beside this one.
//!
//! Labels come from the configuration and from closed lists, never from traffic, so that
//! nobody outside can make series. Where the configuration is so large that its series would
//! be too many, the first services have some, and what is left is for their real servers.

mod cores;
mod ipvs;
mod ports;
mod services;

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use dataplane::shared::Shared;

use super::board::Facts;
use super::exposition::{Exposition, Format};

pub(super) use services::{reals_of, room_for};

/// How changes of the configuration ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Applies {
    /// Changes that were taken over.
    pub taken_over: u64,
    /// Changes that were refused.
    pub refused: u64,
    /// Whether the last one was refused.
    pub last_refused: bool,
    /// When the last one was asked for; `None` for the start.
    pub last: Option<SystemTime>,
    /// When the running configuration was taken over; `None` for the start.
    pub last_taken_over: Option<SystemTime>,
}

/// Writes the page.
pub(super) fn write(facts: &Facts, shared: &Shared, format: Format) -> String {
    let mut page = Exposition::new(format);
    program(&mut page, facts);
    configuration(&mut page, facts);
    cores::write(&mut page, facts, shared);
    ports::write(&mut page, facts);
    let series = services::Series::of(facts, shared);
    series.write(&mut page);
    if facts.settings.ipvs_names {
        ipvs::write(&mut page, facts, &series);
    }
    page.finish()
}

fn program(page: &mut Exposition, facts: &Facts) {
    let dpdk = nic::dpdk_version();
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("dpdk", dpdk.as_str())];
    page.gauge("director_build_info", "Which director this is; always 1.").sample(&labels, 1);
    let started = "Start time of the process since unix epoch in seconds.";
    page.gauge("process_start_time_seconds", started).only(unix_seconds(facts.started));
    let process = Process::read();
    page.gauge("process_resident_memory_bytes", "Resident memory size in bytes.")
        .only(process.resident_bytes);
    page.counter("process_cpu_seconds", "Total user and system CPU time spent in seconds.")
        .only(process.cpu_seconds);
}

fn configuration(page: &mut Exposition, facts: &Facts) {
    let generation = facts.snapshot.generation;
    page.gauge("director_generation", "The newest generation of the configuration.")
        .only(generation);
    let applies = &facts.applies;
    let help = "Changes of the configuration since the start, by how they ended.";
    let mut changes = page.counter("director_reloads", help);
    changes.sample(&[("result", "taken_over")], applies.taken_over);
    changes.sample(&[("result", "refused")], applies.refused);
    let help = "Whether the last change of the configuration was taken over.";
    page.gauge("director_last_reload_successful", help).only(u8::from(!applies.last_refused));
    let last = unix_seconds(applies.last.unwrap_or(facts.started));
    let help = "When the last change of the configuration was asked for, since unix epoch.";
    page.gauge("director_last_reload_timestamp_seconds", help).only(last);
    let live = unix_seconds(applies.last_taken_over.unwrap_or(facts.started));
    let help = "When the running configuration was taken over, since unix epoch.";
    page.gauge("director_last_reload_success_timestamp_seconds", help).only(live);
}

fn unix_seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_millis() as f64 / 1000.0)
}

/// What the kernel knows of this process.
struct Process {
    resident_bytes: u64,
    cpu_seconds: f64,
}

impl Process {
    fn read() -> Self {
        let number = |text: &str, index: usize| -> u64 {
            text.split_whitespace().nth(index).and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // After the name in parentheses, which may have blanks; utime and stime are the 14th
        // and 15th of all fields (proc(5)), in the kernel's fixed hundredths of a second.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        let hundredths = number(fields, 11) + number(fields, 12);
        Self { resident_bytes: number(&statm, 1) * 4096, cpu_seconds: hundredths as f64 / 100.0 }
    }
}
