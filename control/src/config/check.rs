//! From what is written to what is meant: defaults, and how the parts fit together.
//!
//! A value that is wrong by itself has been reported by `raw` and counts as unknown here. A
//! check is left out only if a value that it needs is unknown: one mistake gives one
//! problem, and hides no other.

mod lan;
mod port;
mod real_server;
mod selector;
mod service;

use std::net::IpAddr;

use super::code::Code;
use super::fields::Given;
use super::findings::Findings;
use super::model::{Memory, Settings};
use super::path::Path;
use super::raw;

use lan::Lan;

/// The settings, as far as they can be told; they are good if nothing was reported.
pub(super) fn settings(file: raw::File, findings: &mut Findings<'_>) -> Option<Settings> {
    let lan = Lan::around(&file.ports);
    let ports = port::ports(&file.ports, findings);
    main_core(&file, findings);
    memory(&file, findings);
    let services = service::services(file.services, file.defaults, &lan, findings);
    let raw::Memory { no_huge, mib, mbufs, file_prefix } = file.memory;
    let default = Memory::default();
    Some(Settings {
        ports: ports?,
        main_core: file.main_core.good(),
        memory: Memory {
            no_huge: no_huge.or(default.no_huge),
            mib: mib.or(default.mib),
            mbufs: mbufs.or(default.mbufs),
            file_prefix: file_prefix.or(default.file_prefix),
        },
        tables: file.tables,
        fragments: file.fragments,
        timeouts: file.timeouts,
        ttl: file.ttl,
        neighbours: file.neighbours,
        control: file.control,
        metrics: file.metrics,
        run_as: file.run_as,
        log: file.log,
        compat: file.compat,
        services: services?,
    })
}

/// A polling core never yields, so the control thread would starve on it.
fn main_core(file: &raw::File, findings: &mut Findings<'_>) {
    let Given::Good(core) = file.main_core else { return };
    let mut polling = file.ports.items.iter().flatten().flat_map(port::cores);
    // A laboratory may have no CPU to spare; there the two take turns.
    if polling.any(|polled| *polled == core) && file.memory.no_huge.known_or(false) == Some(false) {
        let what = format!("the main core {core} also polls a port");
        let hint = "use a core that no port polls, or remove the key: then one is chosen";
        findings.value(Code::MainCorePolls, &Path::Root.key("main_core"), what, hint);
    }
}

/// A packet buffer with its headroom and DPDK's own head and tail.
const MBUF_BYTES: u64 = 2_432;
/// What a core keeps in its mempool cache and in a burst on the way.
const MBUFS_PER_CORE: u64 = 512;

/// Queues that cannot be filled with buffers do not start.
fn memory(file: &raw::File, findings: &mut Findings<'_>) {
    let (path, default) = (Path::Root.key("memory"), Memory::default());
    let Some(mbufs) = file.memory.mbufs.known_or(default.mbufs).map(u64::from) else { return };
    // What cannot be read needs something, too: the least that there can be.
    let needed: u64 = file.ports.items.iter().flatten().map(mbufs_of).sum();
    if mbufs < needed {
        let what = format!("{mbufs} packet buffers are too few: the ports' queues need {needed}");
        let hint = format!("write at least {}", (needed + 1).next_power_of_two() - 1);
        findings.value(Code::TooFewMbufs, &path.key("mbufs"), what, &hint);
    }
    let wanted_mib = (mbufs * MBUF_BYTES).div_ceil(1 << 20);
    if let Some(mib) = file.memory.mib.known_or(default.mib)
        && wanted_mib > u64::from(mib)
    {
        let what = format!("{mib} MiB are too little for {mbufs} packet buffers");
        let hint = format!("write at least {wanted_mib}, or fewer `mbufs`");
        findings.value(Code::TooLittleMemory, &path.key("mib"), what, &hint);
    }
}

/// The buffers that a port's queues take at least.
fn mbufs_of(port: &raw::Port) -> u64 {
    let cores = port::cores(port).len().max(1) as u64;
    let queues = cores + u64::from(!port.kernel_port.is_absent());
    let ring = |descriptors: Given<u16>| {
        u64::from(descriptors.known_or(port::DESCRIPTORS).unwrap_or(raw::LEAST_DESCRIPTORS))
    };
    queues * (ring(port.rx_descriptors) + ring(port.tx_descriptors) + MBUFS_PER_CORE)
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
