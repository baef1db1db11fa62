//! Interfaces of the kernel that a virtual device sits on: what the kernel does there to
//! frames before or after the director has them.

use nic::{Carrier, Offload, PortConfig};

use super::{Examination, Finding, Severity};

pub(super) fn examine(patient: &mut Examination<'_>) {
    for (index, port) in patient.nic.ports.iter().enumerate() {
        let Some(interface) = port.interface() else { continue };
        offloads(patient, port, &interface);
        ipv6(patient, port, &interface);
        carrier(patient, index, port, &interface);
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

/// What is not up, or has nothing at its other end.
fn carrier(patient: &mut Examination<'_>, index: usize, port: &PortConfig, interface: &str) {
    let (what, mend) = match patient.machine.carrier_of(interface) {
        None | Some(Carrier::There) => return,
        Some(Carrier::Down) => ("is down", format!("bring it up (`ip link set {interface} up`)")),
        Some(Carrier::Absent) => {
            ("is up and has no carrier", "bring its other end up, or connect its cable".to_owned())
        }
    };
    let required = patient.model.ports.get(index).is_some_and(|port| port.require_link);
    let (severity, why) = match required {
        true => (Severity::Fatal, "require_link is set, and the start waits five seconds for it"),
        false => (Severity::Warning, "nothing is received or sent there until it has a link"),
    };
    let about = format!("port {}", port.name);
    patient.find(Finding::new(severity, about, format!("{interface} {what}"), why, mend));
}
