//! Ports: what would keep DPDK from opening them, and where their devices are.

use nic::{NicError, PortConfig, preflight};

use super::{Examination, Finding, Severity};

pub(super) fn examine(patient: &mut Examination<'_>) {
    for fault in preflight::faults(patient.nic, patient.machine) {
        // A director that runs has taken its memory already.
        let memory =
            matches!(fault, NicError::NoHugepages { .. } | NicError::NoHugepagesOnNode { .. });
        let core = matches!(fault, NicError::CoreUnavailable { .. });
        let said = core && patient.findings.iter().any(|finding| finding.about == "cores");
        if !(memory && patient.running.is_some() || said) {
            let mut found = of_fault(&fault);
            if let NicError::Mtu { port, mtu, .. } = &fault
                && let Some(port) = patient.nic.ports.iter().find(|one| one.name == *port)
                && let Some(interface) = port.interface()
            {
                let command = format!("`ip link set {interface} mtu {mtu}`");
                found.mend = format!("let the interface take more ({command}), or {}", found.mend);
            }
            patient.find(found);
        }
    }
    for port in &patient.nic.ports {
        if let Some(address) = port.pci_address() {
            iommu(patient, port, &address);
            numa(patient, port, &address);
        }
        spreading(patient, port);
        tun(patient, port);
    }
}

/// The sentence of a fault already says what to do; here it is taken apart.
fn of_fault(fault: &NicError) -> Finding {
    let sentence = fault.to_string();
    let (what, mend) = sentence.split_once("; ").unwrap_or((&sentence, "correct it"));
    let (about, what) = match what.split_once(": ") {
        Some((about, what)) if about.starts_with("port ") => (about, what),
        _ => (about(fault), what),
    };
    Finding::new(Severity::Fatal, about, what, why(fault), mend)
}

fn about(fault: &NicError) -> &'static str {
    match fault {
        NicError::NoHugepages { .. }
        | NicError::NoHugepagesOnNode { .. }
        | NicError::NoHugetlbfs => "hugepages",
        NicError::TooLittleMemory { .. } | NicError::TooFewMbufs { .. } => "memory",
        NicError::CoreUnavailable { .. } => "cores",
        NicError::RuntimeDirectory { .. } => "DPDK's files",
        _ => "configuration",
    }
}

fn why(fault: &NicError) -> &'static str {
    match fault {
        NicError::NoHugepages { .. } | NicError::NoHugetlbfs => {
            "packet buffers must lie in memory that the kernel never moves"
        }
        NicError::NoHugepagesOnNode { .. } => {
            "a core's packet buffers lie on its own NUMA node, and nowhere else"
        }
        NicError::TooLittleMemory { .. } | NicError::TooFewMbufs { .. } => {
            "queues that cannot be filled with buffers receive nothing"
        }
        NicError::CoreUnavailable { .. } => "a poll loop needs a CPU of its own",
        NicError::NoSuchDevice { .. } => "a port is opened by its device's PCI address",
        NicError::NoSuchInterface { .. } => "the virtual device sits on an interface of the kernel",
        NicError::DriverNotBound { .. } => "DPDK drives a NIC only where the kernel does not",
        NicError::MoreCoresThanQueues { .. } => {
            "every core that polls a port has a queue of its own"
        }
        NicError::Mtu { .. } => "longer packets would vanish in the kernel",
        NicError::NotPermitted { .. } => "the kernel lets only those who may have raw frames",
        NicError::RuntimeDirectory { .. } => "DPDK keeps its lock and its memory map there",
        NicError::File { .. } => "the virtual device reads and writes it",
        _ => "the port cannot be opened",
    }
}

/// vfio-pci wants an IOMMU, or to be told that there is none.
fn iommu(patient: &mut Examination<'_>, port: &PortConfig, address: &str) {
    let device = format!("/sys/bus/pci/devices/{address}");
    if patient.machine.link(&format!("{device}/driver")).as_deref() != Some("vfio-pci") {
        return;
    }
    let unsafe_mode = "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode";
    let allowed = patient.machine.read(unsafe_mode).is_some_and(|word| word.starts_with('Y'));
    if patient.machine.has(&format!("{device}/iommu_group")) || allowed {
        return;
    }
    patient.find(Finding::new(
        Severity::Fatal,
        format!("port {}", port.name),
        format!("device {address} is bound to vfio-pci and there is no IOMMU for it"),
        "vfio-pci lets a NIC write only where the IOMMU allows it",
        format!(
            "switch the IOMMU on (intel_iommu=on or amd_iommu=on on the kernel's command line, \
             VT-d or AMD-Vi in the firmware), or do without its protection \
             (`echo 1 > {unsafe_mode}`)"
        ),
    ));
}

/// A NIC on another NUMA node than its cores costs every packet a way across.
fn numa(patient: &mut Examination<'_>, port: &PortConfig, address: &str) {
    let path = format!("/sys/bus/pci/devices/{address}/numa_node");
    let Some(node) = patient.machine.number::<i64>(&path).and_then(|n| u32::try_from(n).ok())
    else {
        return;
    };
    let away: Vec<usize> = (port.cores.iter().copied())
        .filter(|core| patient.machine.node_of(*core) != node)
        .collect();
    if away.is_empty() {
        return;
    }
    let there = patient.machine.read(&format!("/sys/devices/system/node/node{node}/cpulist"));
    patient.find(Finding::new(
        patient.slower(),
        format!("port {}", port.name),
        format!("device {address} is on NUMA node {node}, and of its cores {away:?} are not"),
        "every packet crosses between the nodes",
        format!(
            "poll with cores of node {node}: {} (`lscpu -e` lists them)",
            there.unwrap_or_default()
        ),
    ));
}

/// Several cores get something to do only if the device spreads frames over its queues.
fn spreading(patient: &mut Examination<'_>, port: &PortConfig) {
    let alone = ["net_null", "net_ring", "net_memif"].iter().any(|driver| port.is_virtual(driver));
    if port.cores.len() < 2 || !alone {
        return;
    }
    patient.find(Finding::new(
        patient.slower(),
        format!("port {}", port.name),
        format!("{} cores poll a device without receive-side scaling", port.cores.len()),
        "which queue a frame comes in on is up to the other side",
        "take one core, or a device that spreads frames",
    ));
}

/// Taps are made through this file.
fn tun(patient: &mut Examination<'_>, port: &PortConfig) {
    if !port.is_virtual("net_tap") || patient.machine.has("/dev/net/tun") {
        return;
    }
    patient.find(Finding::new(
        Severity::Fatal,
        format!("port {}", port.name),
        "there is no /dev/net/tun",
        "taps are made through it",
        "load its module (`modprobe tun`)",
    ));
}
