//! From what is written to what is meant: defaults, and how the parts fit together.
//!
//! A part that is wrong by itself has been reported by `raw` and is passed over here, so
//! that one mistake gives one problem.

mod port;
mod real_server;
mod selector;
mod service;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use super::code::Code;
use super::findings::Findings;
use super::model::{Cidr, CoreId, Memory, Port, Settings};
use super::path::Path;
use super::raw;

/// The settings, as far as they can be told; they are good if nothing was reported.
pub(super) fn settings(file: raw::File, findings: &mut Findings<'_>) -> Option<Settings> {
    let lan = port::lan(&file.ports);
    let ports = port::ports(&file.ports, findings);
    let main_core = main_core(&file, &ports, findings);
    memory(&file.memory, &ports, findings);
    let services = service::services(&file.services, &lan, findings);
    Some(Settings {
        ports: ports?,
        main_core,
        memory: file.memory,
        tables: file.tables,
        timeouts: file.timeouts,
        ttl: file.ttl,
        neighbours: file.neighbours,
        control: file.control,
        metrics: file.metrics,
        log: file.log,
        compat: file.compat,
        services: services?,
    })
}

/// Where the director stands in its networks.
pub(super) struct Lan {
    /// Its own addresses.
    own: HashSet<IpAddr>,
    /// Networks that a port is in.
    connected: Networks,
    /// Networks behind a gateway or route.
    routed: Networks,
    /// Whether some port hands frames to the kernel.
    kernel_port: bool,
    /// Whether every port could be read; if not, nothing can be said to be unreachable.
    complete: bool,
}

/// A set of networks; asking it costs one look-up per prefix length that it has.
#[derive(Default)]
pub(super) struct Networks(BTreeMap<u8, HashSet<IpAddr>>);

impl Networks {
    fn insert(&mut self, network: Cidr) {
        self.0.entry(network.prefix()).or_default().insert(network.network());
    }

    fn contain(&self, address: IpAddr) -> bool {
        self.0.iter().any(|(prefix, networks)| {
            Cidr::new(address, *prefix).is_some_and(|cidr| networks.contains(&cidr.network()))
        })
    }
}

/// A polling core never yields, so the control thread would starve on it.
fn main_core(file: &raw::File, ports: &Option<Vec<Port>>, findings: &mut Findings<'_>) -> CoreId {
    let polling: BTreeSet<CoreId> =
        ports.iter().flatten().flat_map(|port| port.cores.iter().copied()).collect();
    let free = (0..u16::MAX).map(CoreId).find(|core| !polling.contains(core)).unwrap_or(CoreId(0));
    let core = file.main_core.or(free);
    // A laboratory may have no CPU to spare; there the two take turns.
    let laboratory = file.memory.no_huge && !file.main_core.is_absent();
    if polling.contains(&core) && !laboratory {
        let what = format!("the main core {core} also polls a port");
        let hint = format!("use a core that no port polls, such as {free}, or remove the key");
        findings.value(Code::MainCorePolls, &Path::Root.key("main_core"), what, &hint);
    }
    core
}

/// A packet buffer with its headroom and DPDK's own head and tail.
const MBUF_BYTES: u64 = 2_432;
/// What a core keeps in its mempool cache and in a burst on the way.
const MBUFS_PER_CORE: u64 = 512;

/// Queues that cannot be filled with buffers do not start.
fn memory(memory: &Memory, ports: &Option<Vec<Port>>, findings: &mut Findings<'_>) {
    let path = Path::Root.key("memory");
    let queues = |port: &Port| port.cores.len() as u64 + u64::from(port.kernel_port.is_some());
    let needed: u64 = ports
        .iter()
        .flatten()
        .map(|port| {
            let rings = u64::from(port.rx_descriptors) + u64::from(port.tx_descriptors);
            queues(port) * (rings + MBUFS_PER_CORE)
        })
        .sum();
    let mbufs = u64::from(memory.mbufs);
    if mbufs < needed {
        let what = format!("{mbufs} packet buffers are too few: the ports' queues need {needed}");
        let hint = format!("write at least {}", (needed + 1).next_power_of_two() - 1);
        findings.value(Code::TooFewMbufs, &path.key("mbufs"), what, &hint);
    }
    let wanted_mib = (mbufs * MBUF_BYTES).div_ceil(1 << 20);
    if wanted_mib > u64::from(memory.mib) {
        let what = format!("{} MiB are too little for {mbufs} packet buffers", memory.mib);
        let hint = format!("write at least {wanted_mib}, or fewer `mbufs`");
        findings.value(Code::TooLittleMemory, &path.key("mib"), what, &hint);
    }
}

/// Why no host can have this address; `None` if one can.
fn not_a_host(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("is the unspecified address"),
        _ if address.is_multicast() => Some("is a multicast address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("is the broadcast address"),
        IpAddr::V4(v4) if v4.octets().first() == Some(&0) => Some("belongs to no network"),
        _ => None,
    }
}

/// As [`not_a_host`], for an address that must be on the wire.
fn not_on_the_wire(address: IpAddr) -> Option<&'static str> {
    not_a_host(address).or(address.is_loopback().then_some("is a loopback address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_hold_the_addresses_of_each_of_them() {
        let mut networks = Networks::default();
        for (address, prefix) in [("198.18.10.7", 24), ("198.18.99.0", 25), ("2001:db8::", 64)] {
            networks.insert(Cidr::new(address.parse().unwrap(), prefix).unwrap());
        }
        for inside in ["198.18.10.200", "198.18.99.127", "2001:db8::7"] {
            assert!(networks.contain(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["198.18.11.1", "198.18.99.128", "2001:db8:0:1::7", "::"] {
            assert!(!networks.contain(outside.parse().unwrap()), "{outside}");
        }
    }

    #[test]
    fn addresses_without_a_host_are_known() {
        for bad in ["0.0.0.0", "::", "224.0.0.1", "ff02::1", "255.255.255.255", "0.1.2.3"] {
            assert!(not_a_host(bad.parse().unwrap()).is_some(), "{bad}");
        }
        for good in ["198.18.0.1", "127.0.0.1", "fe80::1"] {
            assert_eq!(not_a_host(good.parse().unwrap()), None, "{good}");
        }
        assert!(not_on_the_wire("127.0.0.1".parse().unwrap()).is_some());
    }
}
