//! Where the director lives: CPUs, clock, control socket.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;

use nic::Machine;
use rustix::fs::{Access, access};
use rustix::net::sockopt::socket_peercred;

use super::{Examination, Finding, Severity};
use crate::config::Model;
use crate::cores;

/// Clocks that are read without asking the kernel.
const FAST_CLOCKS: [&str; 5] =
    ["tsc", "kvm-clock", "hyperv_clocksource_tsc_page", "xen", "arch_sys_counter"];

/// The CPUs that a director could use.
pub(super) fn usable_cpus(machine: &Machine) -> BTreeSet<u16> {
    if machine.is_this() {
        return cores::usable();
    }
    let online = machine.cpus("/sys/devices/system/cpu/online").unwrap_or_default();
    online.into_iter().filter_map(|cpu| u16::try_from(cpu).ok()).collect()
}

/// The director that answers on the configuration's control socket already.
pub(super) fn running(model: &Model, machine: &Machine) -> Option<i32> {
    let stream = UnixStream::connect(&model.control.socket).ok().filter(|_| machine.is_this())?;
    socket_peercred(&stream).ok().map(|peer| peer.pid.as_raw_nonzero().get())
}

pub(super) fn examine(patient: &mut Examination<'_>) {
    instructions(patient);
    clock(patient);
    folder(patient);
}

/// DPDK's own packages are built for these.
fn instructions(patient: &mut Examination<'_>) {
    let info = patient.machine.read("/proc/cpuinfo").unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags"));
    let Some(flags) = flags else { return };
    if flags.split_whitespace().any(|flag| flag == "sse4_2") {
        return;
    }
    patient.find(Finding::new(
        Severity::Fatal,
        "cpu",
        "it has no SSE4.2",
        "DPDK does not start without it",
        "in a virtual machine, hand the host's CPU through (cpu mode host-passthrough)",
    ));
}

fn clock(patient: &mut Examination<'_>) {
    const FOLDER: &str = "/sys/devices/system/clocksource/clocksource0";
    let Some(now) = patient.machine.read(&format!("{FOLDER}/current_clocksource")) else { return };
    if FAST_CLOCKS.contains(&now.as_str()) {
        return;
    }
    let there = patient.machine.read(&format!("{FOLDER}/available_clocksource"));
    let tsc = there.is_some_and(|words| words.split_whitespace().any(|word| word == "tsc"));
    let mend = match tsc {
        true => format!("take the faster one (`echo tsc > {FOLDER}/current_clocksource`)"),
        false => "boot with tsc=reliable if the CPU's clock can be trusted".to_owned(),
    };
    patient.find(Finding::new(
        patient.slower(),
        "clock",
        format!("the kernel's clock is {now}"),
        "it is read once every turn of a poll loop, and this one takes a system call",
        mend,
    ));
}

fn folder(patient: &mut Examination<'_>) {
    let socket = &patient.model.control.socket;
    let Some(folder) = socket.parent().filter(|_| patient.machine.is_this()) else { return };
    let nearest = folder.ancestors().find(|folder| folder.exists());
    let Some(metadata) = nearest.and_then(|folder| folder.metadata().ok()) else { return };
    let name = folder.display();
    if !metadata.is_dir() {
        patient.find(Finding::new(
            Severity::Fatal,
            "control socket",
            format!("{name} is no folder"),
            "the director is spoken to through a socket there",
            "write another path under control.socket",
        ));
        return;
    }
    if nearest == Some(folder) && metadata.mode() & 0o002 != 0 && metadata.mode() & 0o1000 == 0 {
        patient.find(Finding::new(
            Severity::Warning,
            "control socket",
            format!("everybody may write to {name}"),
            "whoever puts a socket of his own there is spoken to as the director",
            format!("keep others out (`chmod 755 {name}`)"),
        ));
    }
    let readonly = access(nearest.unwrap_or(folder), Access::WRITE_OK);
    if readonly.is_err() {
        patient.find(Finding::new(
            Severity::Fatal,
            "control socket",
            format!("{name} cannot be written to by this user"),
            "the director is spoken to through a socket there",
            "run as root, or write another path under control.socket",
        ));
    }
}
