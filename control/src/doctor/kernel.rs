//! The kernel's own network beside the director's: addresses that both have, and what the
//! kernel does with packets that are not its own.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Examination, Finding, Severity};

pub(super) fn examine(patient: &mut Examination<'_>) {
    let interfaces: Vec<String> =
        patient.nic.ports.iter().filter_map(nic::PortConfig::interface).collect();
    if !interfaces.is_empty() {
        addresses(patient, &interfaces);
        forwarding(patient);
    }
    for index in 0..patient.model.ports.len() {
        reverse_path(patient, index);
    }
}

/// On an interface that both see, the kernel answers what the director answers, too: it
/// resets connections to addresses that it has.
fn addresses(patient: &mut Examination<'_>, interfaces: &[String]) {
    let local = local_addresses(patient);
    let own = patient.model.ports.iter().flat_map(|port| &port.addresses).map(|c| c.address());
    let selectors = patient.model.services.iter().flat_map(|service| &service.selectors);
    let both: BTreeSet<IpAddr> = own
        .chain(selectors.map(|selector| selector.vip))
        .filter(|one| local.contains(one))
        .collect();
    for address in both {
        let length = if address.is_ipv4() { 32 } else { 128 };
        patient.find(Finding::new(
            Severity::Warning,
            format!("address {address}"),
            "the kernel of this machine has it as well",
            format!(
                "the kernel sees every frame of {}, answers ARP and resets connections that it \
                 does not know",
                interfaces.join(" and ")
            ),
            format!(
                "take it from the kernel (`ip addr del {address}/{length} dev IFACE`), or keep \
                 the kernel silent (`sysctl net.ipv4.conf.all.arp_ignore=1` and a firewall rule)"
            ),
        ));
    }
}

/// What the kernel calls local, of both families.
fn local_addresses(patient: &Examination<'_>) -> BTreeSet<IpAddr> {
    let trie = patient.machine.read("/proc/net/fib_trie").unwrap_or_default();
    let mut found = BTreeSet::new();
    let mut last = None;
    for line in trie.lines().map(str::trim) {
        if let Some(rest) = line.strip_prefix("|-- ") {
            last = rest.parse::<Ipv4Addr>().ok();
        } else if line.starts_with("/32 host LOCAL") {
            found.extend(last.map(IpAddr::V4));
        }
    }
    let six = patient.machine.read("/proc/net/if_inet6").unwrap_or_default();
    let number = |line: &str| u128::from_str_radix(line.split_whitespace().next()?, 16).ok();
    found.extend(six.lines().filter_map(number).map(|n| IpAddr::V6(Ipv6Addr::from(n))));
    found
}

/// A kernel that forwards sends on what the director balances, a second time.
fn forwarding(patient: &mut Examination<'_>) {
    for (path, key) in [
        ("/proc/sys/net/ipv4/ip_forward", "net.ipv4.ip_forward"),
        ("/proc/sys/net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
    ] {
        if patient.machine.number::<u8>(path) == Some(1) {
            patient.find(Finding::new(
                Severity::Warning,
                "kernel",
                format!("it forwards packets ({key}=1)"),
                "it sees the frames of the director's interface, too, and sends them on a second \
                 time where it has a route",
                format!("switch it off (`sysctl {key}=0`), or drop them in its firewall"),
            ));
        }
    }
}

/// The kernel-facing port: packets of clients come out of a tap, and the kernel may hold that
/// they should have come from somewhere else.
fn reverse_path(patient: &mut Examination<'_>, index: usize) {
    let port = patient.model.ports.get(index);
    let device = port.and_then(|port| port.kernel_port.as_ref()).map(ToString::to_string);
    let Some(device) = device else { return };
    let interface = device.split(',').find_map(|word| word.strip_prefix("iface="));
    let interface = interface.unwrap_or("default");
    let filter = |name: &str| -> u8 {
        let path = format!("/proc/sys/net/ipv4/conf/{name}/rp_filter");
        patient.machine.number(&path).unwrap_or(0)
    };
    // The tap itself is made at the start, from the defaults.
    let of_interface = match patient.machine.has(&format!("/proc/sys/net/ipv4/conf/{interface}")) {
        true => filter(interface),
        false => filter("default"),
    };
    // 1 is strict; the greater of the two holds, and 2 is greater and loose.
    if filter("all").max(of_interface) != 1 {
        return;
    }
    let name = port.map(|port| port.name.clone()).unwrap_or_default();
    patient.find(Finding::new(
        Severity::Warning,
        format!("port {name}"),
        format!("the kernel checks the way back of what comes in on {interface} (rp_filter=1)"),
        "packets of clients that it would answer through another interface are dropped without \
         a word",
        "make the check loose (`sysctl net.ipv4.conf.all.rp_filter=2`)",
    ));
}
