//! Memory that is locked, and memory for the tables.

use super::{Examination, Finding, Severity};

const CAP_IPC_LOCK: u64 = 1 << 14;
const MIB: u64 = 1 << 20;
/// What an entry of each table takes at the most, empty places included.
const BYTES_PER_ENTRY: u64 = 80;

pub(super) fn examine(patient: &mut Examination<'_>) {
    locked(patient);
    tables(patient);
}

/// vfio-pci pins what the NIC may write to; that counts against RLIMIT_MEMLOCK.
fn locked(patient: &mut Examination<'_>) {
    if patient.nic.memory.no_huge || !patient.has_nic() || may_lock(patient) {
        return;
    }
    let limits = patient.machine.read("/proc/self/limits").unwrap_or_default();
    let soft = (limits.lines())
        .find_map(|line| line.strip_prefix("Max locked memory"))
        .and_then(|rest| rest.split_whitespace().next().map(str::to_owned));
    let Some(soft) = soft else { return };
    let wanted = u64::from(patient.nic.memory.mib) * MIB;
    if soft.parse::<u64>().is_ok_and(|bytes| bytes < wanted) {
        patient.find(Finding::new(
            Severity::Fatal,
            "locked memory",
            format!(
                "{} MiB may be locked, and {} MiB are needed",
                number(&soft) / MIB,
                wanted / MIB
            ),
            "vfio-pci locks all memory that the NIC may write to",
            "raise it (`ulimit -l unlimited`; under systemd LimitMEMLOCK=infinity)",
        ));
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}

fn may_lock(patient: &Examination<'_>) -> bool {
    let status = patient.machine.read("/proc/thread-self/status").unwrap_or_default();
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = held.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    held.is_none_or(|held| held & CAP_IPC_LOCK != 0)
}

fn tables(patient: &mut Examination<'_>) {
    if patient.running.is_some() {
        return;
    }
    let tables = &patient.model.tables;
    let entries = [
        tables.connections,
        tables.connections6,
        tables.templates,
        tables.templates6,
        tables.clients,
        tables.clients6,
    ];
    let need_mib = entries.iter().map(|n| u64::from(*n)).sum::<u64>() * BYTES_PER_ENTRY / MIB;
    let meminfo = patient.machine.read("/proc/meminfo").unwrap_or_default();
    let have_mib = (meminfo.lines())
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kib| kib / 1024);
    let Some(have_mib) = have_mib.filter(|have| *have < need_mib) else { return };
    patient.find(Finding::new(
        Severity::Warning,
        "tables",
        format!("full tables take about {need_mib} MiB, and {have_mib} MiB are free"),
        "a director that runs out of memory is killed, and all of its connections with it",
        "write smaller sizes under tables, or add memory",
    ));
}
