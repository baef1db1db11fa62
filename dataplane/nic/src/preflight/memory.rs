//! Packet buffers and the memory that they lie in.

use dataplane::port::BURST;

use super::out_of_range;
use crate::config::NicConfig;
use crate::error::NicError;
use crate::machine::Machine;
use crate::plan::data_room;

const MIB: u64 = 1 << 20;
/// Bytes of an mbuf besides its buffer: its header, the pool's header before it, and what
/// spreads mbufs over memory channels.
const MBUF_OVERHEAD: u64 = 128 + 64 + 128;
/// Without hugepages an mbuf lies inside one page if it fits, so a page is never shared by
/// the end of one and the beginning of the next.
const PAGE: u64 = 4096;
/// What DPDK needs besides the pools: tables, queues, rings.
const BASE_MIB: u64 = 16;
/// NUMA nodes that get a pool.
fn nodes(config: &NicConfig, machine: &Machine) -> Vec<u32> {
    let mut cores = config.cores();
    cores.push(config.main_core);
    let mut nodes: Vec<u32> = cores.into_iter().map(|core| machine.node_of(core)).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// What a configuration takes of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Packet buffers that the queues and the cores' caches can hold: `mbufs` is at least this.
    pub mbufs: u64,
    /// MiB of hugepages (of ordinary memory without them) on each NUMA node that has cores.
    pub memory_mib: Vec<(u32, u64)>,
}

/// What this configuration takes of a machine.
pub fn needs(config: &NicConfig, machine: &Machine) -> Needs {
    let pool_mib = pool_bytes(config).div_ceil(MIB);
    let nodes = nodes(config, machine).into_iter().enumerate();
    Needs {
        mbufs: mbufs_held(config),
        memory_mib: nodes
            .map(|(index, node)| (node, pool_mib + if index == 0 { BASE_MIB } else { 0 }))
            .collect(),
    }
}

/// The queues and caches together must not be able to empty a pool.
pub(super) fn mbufs(config: &NicConfig) -> Result<(), NicError> {
    let (have, need) = (u64::from(config.mbufs), mbufs_held(config));
    if have < need { Err(NicError::TooFewMbufs { have, need }) } else { Ok(()) }
}

fn mbufs_held(config: &NicConfig) -> u64 {
    let cores = config.cores().len() as u64;
    let queues: u64 = config
        .ports
        .iter()
        .map(|port| {
            let receiving = port.cores.len() as u64;
            receiving * u64::from(port.rx_descriptors) + cores * u64::from(port.tx_descriptors)
        })
        .sum();
    // A cache may grow to one and a half of its size before it gives back.
    let at_hand = u64::from(config.mbuf_cache) * 3 / 2 + 2 * BURST as u64;
    queues + (cores + 1) * at_hand
}

/// Bytes of one node's pool.
fn pool_bytes(config: &NicConfig) -> u64 {
    let mbufs = u64::from(config.mbufs);
    let each = u64::from(data_room(config)) + MBUF_OVERHEAD;
    match (config.memory.no_huge, PAGE / each) {
        (false, _) => mbufs * each,
        (true, 0) => mbufs * each.div_ceil(PAGE) * PAGE,
        (true, in_a_page) => mbufs.div_ceil(in_a_page) * PAGE,
    }
}

pub(super) fn memory(config: &NicConfig, machine: &Machine) -> Result<(), NicError> {
    let needs = needs(config, machine).memory_mib;
    let mbufs = u64::from(config.mbufs) * needs.len() as u64;
    let need_mib: u64 = needs.iter().map(|(_, mib)| mib).sum();
    if config.memory.no_huge {
        let have_mib = u64::from(config.reserved_mib());
        if have_mib < need_mib {
            return Err(NicError::TooLittleMemory { mbufs, need_mib, have_mib });
        }
        return match available_mib(machine) {
            Some(most) if most < have_mib => {
                let allowed = format!("at most the {most} MiB that this machine has left");
                Err(out_of_range("memory.mib", have_mib.to_string(), &allowed))
            }
            _ => Ok(()),
        };
    }
    let need_mib = need_mib.max(u64::from(config.memory.mib));
    let free_mib = free_hugepages(machine, "/sys/kernel/mm") / MIB;
    if free_mib < need_mib {
        let pages = pages_for(machine, "/sys/kernel/mm", need_mib - free_mib);
        return Err(NicError::NoHugepages { free_mib, need_mib, pages });
    }
    // A pool takes its node's memory and no other.
    for (node, need_mib) in needs {
        let folder = format!("/sys/devices/system/node/node{node}");
        let free_mib = free_hugepages(machine, &folder) / MIB;
        if machine.has(&format!("{folder}/hugepages")) && free_mib < need_mib {
            let pages = pages_for(machine, &folder, need_mib - free_mib);
            return Err(NicError::NoHugepagesOnNode { node, free_mib, need_mib, pages });
        }
    }
    let mounts = machine.read("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts.lines().any(|l| l.split_whitespace().nth(2) == Some("hugetlbfs"));
    if mounted { Ok(()) } else { Err(NicError::NoHugetlbfs) }
}

/// MiB that the kernel could hand out now; `None` where it does not tell.
fn available_mib(machine: &Machine) -> Option<u64> {
    let memory = machine.read("/proc/meminfo")?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

/// Bytes of free hugepages of all sizes, of the machine or of a node.
fn free_hugepages(machine: &Machine, folder: &str) -> u64 {
    let free = |name: &String| -> Option<u64> {
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let pages: u64 = machine.number(&format!("{folder}/hugepages/{name}/free_hugepages"))?;
        Some(kib * 1024 * pages)
    };
    machine.list(&format!("{folder}/hugepages")).iter().filter_map(free).sum()
}

/// How many pages of 2 MiB there must be so that so many MiB more are free.
fn pages_for(machine: &Machine, folder: &str, missing_mib: u64) -> u64 {
    let path = format!("{folder}/hugepages/hugepages-2048kB/nr_hugepages");
    machine.number::<u64>(&path).unwrap_or(0) + missing_mib.div_ceil(2)
}
