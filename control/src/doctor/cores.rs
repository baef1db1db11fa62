//! CPUs: whether something else runs on those that poll, and how fast they run.

use std::collections::{BTreeMap, BTreeSet};

use super::{Examination, Finding, Severity};
use crate::cores::NoSuchCore;

/// A core of the configuration that there is not.
pub(super) fn missing(missing: &NoSuchCore) -> Finding {
    let sentence = missing.to_string();
    let what = sentence.split("; ").next().unwrap_or_default();
    Finding::new(
        Severity::Fatal,
        "cores",
        what,
        "a poll loop needs a CPU of its own",
        "name other cores (ports[].cores, main_core; `lscpu -e` lists them), or let this process \
         use the core (taskset, systemd's CPUAffinity=)",
    )
}

pub(super) fn examine(patient: &mut Examination<'_>) {
    let polling = patient.polling();
    isolated(patient, &polling);
    siblings(patient, &polling);
    governor(patient, &polling);
    shared(patient, &polling);
}

fn words(cores: &[usize]) -> String {
    cores.iter().map(usize::to_string).collect::<Vec<_>>().join(",")
}

fn isolated(patient: &mut Examination<'_>, polling: &[usize]) {
    let isolated = patient.machine.cpus("/sys/devices/system/cpu/isolated").unwrap_or_default();
    let open: Vec<usize> = polling.iter().copied().filter(|c| !isolated.contains(c)).collect();
    if open.is_empty() {
        return;
    }
    let (list, all) = (words(&open), words(polling));
    patient.find(Finding::new(
        patient.slower(),
        format!("cores {list}"),
        "other programs and interrupts may run there",
        "a poll loop that is put aside for a moment loses what overflows its queue meanwhile",
        format!(
            "put isolcpus={all} nohz_full={all} rcu_nocbs={all} on the kernel's command line \
             (GRUB_CMDLINE_LINUX in /etc/default/grub, then `update-grub` and a restart)"
        ),
    ));
}

fn siblings(patient: &mut Examination<'_>, polling: &[usize]) {
    let mut busy: BTreeSet<usize> = polling.iter().copied().collect();
    busy.insert(patient.nic.main_core);
    let mut told = BTreeSet::new();
    for core in polling {
        let path = format!("/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list");
        let siblings: BTreeSet<usize> =
            patient.machine.cpus(&path).unwrap_or_default().into_iter().collect();
        let together: Vec<usize> = siblings.intersection(&busy).copied().collect();
        if together.len() > 1 && told.insert(together.clone()) {
            patient.find(Finding::new(
                patient.slower(),
                format!("cores {}", words(&together)),
                "they are hyperthreads of one core",
                "each has about half of the speed while the other is busy, and a poll loop always \
                 is",
                "take one thread of each core (`lscpu -e=CPU,CORE,NODE`)",
            ));
        }
    }
}

fn governor(patient: &mut Examination<'_>, polling: &[usize]) {
    let mut slow: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for core in polling {
        let path = format!("/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor");
        if let Some(governor) = patient.machine.read(&path).filter(|word| word != "performance") {
            slow.entry(governor).or_default().push(*core);
        }
    }
    for (governor, cores) in slow {
        let list = words(&cores);
        patient.find(Finding::new(
            patient.slower(),
            format!("cores {list}"),
            format!("their frequency is governed by {governor}"),
            "the clock falls between bursts and takes its time to rise",
            format!("fix it (`cpupower -c {list} frequency-set -g performance`)"),
        ));
    }
}

fn shared(patient: &mut Examination<'_>, polling: &[usize]) {
    let main_core = patient.nic.main_core;
    if !polling.contains(&main_core) {
        return;
    }
    patient.find(Finding::new(
        patient.slower(),
        format!("core {main_core}"),
        "it polls a port and runs the control thread as well",
        "the two take turns, and packets wait for the other's turn to end",
        "leave a core to the control thread (ports[].cores, main_core; `nproc` counts them)",
    ));
}
