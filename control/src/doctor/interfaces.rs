//! Interfaces of the kernel that a virtual device sits on: what the kernel does there to
//! frames before or after the director has them.

use nic::{Offload, PortConfig};

use super::{Examination, Finding, Severity};

pub(super) fn examine(patient: &mut Examination<'_>) {
    for port in &patient.nic.ports {
        let Some(interface) = port.interface() else { continue };
        offloads(patient, port, &interface);
        ipv6(patient, port, &interface);
        promiscuous(patient, port, &interface);
    }
}

fn offloads(patient: &mut Examination<'_>, port: &PortConfig, interface: &str) {
    let on = patient.machine.offloads_of(interface);
    let joined = [Offload::Gro, Offload::Lro].iter().any(|one| on.contains(one));
    // On the interface itself the others concern only what the kernel sends through it, which
    // is nothing that comes in here.
    if !joined {
        return;
    }
    let words: Vec<String> = (on.iter())
        .filter(|one| matches!(one, Offload::Gro | Offload::Lro))
        .map(|one| format!("{} off", one.word()))
        .collect();
    patient.find(Finding::new(
        Severity::Warning,
        format!("port {}", port.name),
        format!("{interface} joins received segments (GRO or LRO)"),
        "packets longer than the MTU are dropped, so that transfers stall",
        format!("switch it off (`ethtool -K {interface} {}`)", words.join(" ")),
    ));
}

/// The kernel answers for its own addresses on an interface that the director has.
fn ipv6(patient: &mut Examination<'_>, port: &PortConfig, interface: &str) {
    let path = format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6");
    if patient.machine.number::<u8>(&path) != Some(0) {
        return;
    }
    patient.find(Finding::new(
        Severity::Advice,
        format!("port {}", port.name),
        format!("the kernel speaks IPv6 on {interface}"),
        "it takes part in Neighbour Discovery there beside the director, under the same MAC \
         address",
        format!("leave the interface to the director (`sysctl net.ipv6.conf.{interface}.disable_ipv6=1`)"),
    ));
}

/// Frames for other stations reach an AF_PACKET socket only if somebody asked for them.
fn promiscuous(patient: &mut Examination<'_>, port: &PortConfig, interface: &str) {
    const IFF_UP: u32 = 1;
    let flags = patient.machine.read(&format!("/sys/class/net/{interface}/flags"));
    let flags = flags.and_then(|hex| u32::from_str_radix(hex.trim_start_matches("0x"), 16).ok());
    // `/sys/class/net` may be that of another network namespace than this thread's.
    let known = flags.filter(|_| !patient.machine.is_this());
    if known.is_some_and(|flags| flags & IFF_UP == 0) {
        patient.find(Finding::new(
            Severity::Warning,
            format!("port {}", port.name),
            format!("{interface} is down"),
            "nothing is received or sent there",
            format!("bring it up (`ip link set {interface} up`)"),
        ));
    }
}
