//! What can be known to fail before DPDK is started: DPDK starts once per process, reports
//! with numbers and prints to the terminal; a check here ends in one sentence instead.

use std::ffi::CString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::{env, thread};

use capsule_ffi as ffi;
use dataplane::port::BURST;

use crate::config::{Device, NicConfig, PortConfig};
use crate::error::{Detail, NicError};
use crate::interface;
use crate::port::data_room;

const MIB: u64 = 1 << 20;
/// Bytes of an mbuf besides its buffer: its header, the pool's header before it, and what
/// spreads mbufs over memory channels.
const MBUF_OVERHEAD: u64 = 128 + 64 + 128;
/// Without hugepages an mbuf lies inside one page if it fits, so a page is never shared by
/// the end of one and the beginning of the next.
const PAGE: u64 = 4096;
/// What DPDK needs besides the pools: tables, queues, rings.
const BASE_MIB: u64 = 16;
/// CPUs that a fixed-size CPU set can name.
const MOST_CPUS: usize = 1024;
/// Kernel drivers that hand a PCI device to DPDK, or work beside it.
const DPDK_DRIVERS: [&str; 6] =
    ["vfio-pci", "igb_uio", "uio_pci_generic", "uio_hv_generic", "mlx5_core", "mlx4_core"];

/// Every IPv4 host takes this much (RFC 791, 3.1).
const LEAST_MTU: u16 = 576;
/// The usual jumbo frame.
const MOST_MTU: u16 = 9_216;

const CAP_NET_ADMIN: u32 = 12;
const CAP_NET_RAW: u32 = 13;

/// Everything, in the order in which an operator would want to hear of it.
pub(crate) fn check(config: &NicConfig) -> Result<(), NicError> {
    names(config)?;
    numbers(config)?;
    cores(config)?;
    mbufs(config)?;
    memory(config)?;
    runtime_is_writable()?;
    config.ports.iter().try_for_each(device)
}

fn names(config: &NicConfig) -> Result<(), NicError> {
    if config.ports.is_empty() {
        return Err(NicError::NoPorts);
    }
    let prefix = &config.memory.file_prefix;
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if prefix.is_empty()
        || prefix.len() > 64
        || prefix.starts_with('.')
        || !prefix.chars().all(letters)
    {
        return Err(out_of_range(
            "memory.file_prefix",
            format!("{prefix:?}"),
            "1 to 64 letters, digits, `.`, `_` or `-`, not beginning with `.`",
        ));
    }
    for (n, port) in config.ports.iter().enumerate() {
        let device = port.parsed_device();
        if port.name.is_empty() || port.name.contains('\0') {
            let value = format!("{:?}", port.name);
            return Err(out_of_range("a port's name", value, "some text"));
        }
        if device.name.is_empty() || device.name.len() > 63 || port.device.contains('\0') {
            return Err(out_of_range(
                &format!("port {}: the device", port.name),
                format!("{:?}", port.device),
                "a PCI address or a virtual device of at most 63 letters, and its arguments",
            ));
        }
        for other in config.ports.iter().take(n) {
            if other.name == port.name {
                return Err(NicError::NameTwice { port: port.name.clone() });
            }
            if other.parsed_device().name == device.name {
                let (first, second) = (other.name.clone(), port.name.clone());
                return Err(NicError::DeviceTwice { device: device.name, first, second });
            }
        }
    }
    Ok(())
}

fn numbers(config: &NicConfig) -> Result<(), NicError> {
    if config.mbuf_cache > ffi::RTE_MEMPOOL_CACHE_MAX_SIZE {
        let most = format!("0 to {}", ffi::RTE_MEMPOOL_CACHE_MAX_SIZE);
        return Err(out_of_range("mbuf_cache", config.mbuf_cache.to_string(), &most));
    }
    for port in &config.ports {
        for (what, value) in
            [("rx_descriptors", port.rx_descriptors), ("tx_descriptors", port.tx_descriptors)]
        {
            if !(32..=32_768).contains(&value) {
                let what = format!("port {}: {what}", port.name);
                return Err(out_of_range(&what, value.to_string(), "32 to 32768"));
            }
        }
        if !(LEAST_MTU..=MOST_MTU).contains(&port.mtu) {
            let what = format!("port {}: mtu", port.name);
            return Err(out_of_range(
                &what,
                port.mtu.to_string(),
                &format!("{LEAST_MTU} to {MOST_MTU}"),
            ));
        }
    }
    Ok(())
}

fn out_of_range(what: &str, value: String, allowed: &str) -> NicError {
    NicError::OutOfRange { what: what.to_owned(), value, allowed: allowed.to_owned() }
}

fn cores(config: &NicConfig) -> Result<(), NicError> {
    for port in &config.ports {
        if port.cores.is_empty() {
            return Err(NicError::NoCores { port: port.name.clone() });
        }
        if let Some(twice) = port.sorted_cores().windows(2).find_map(|w| match w {
            [a, b] if a == b => Some(*a),
            _ => None,
        }) {
            return Err(NicError::CoreTwice { port: port.name.clone(), core: twice });
        }
    }
    let mut all = config.cores();
    all.push(config.main_core);
    // A thread of its own: the caller's affinity is not to change while this is tried.
    let tried = thread::spawn(move || all.into_iter().try_for_each(pin)).join();
    tried.unwrap_or_else(|_| Err(NicError::Eal { detail: Detail("cores cannot be tried".into()) }))
}

/// Pins the calling thread to a CPU.
pub(crate) fn pin(core: usize) -> Result<(), NicError> {
    let unavailable = |reason: String| NicError::CoreUnavailable { core, reason };
    if core >= MOST_CPUS {
        return Err(unavailable("there is no such CPU".to_owned()));
    }
    // SAFETY: all zeros is an empty set; `core` is inside it.
    let set = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(core, &mut set);
        set
    };
    // SAFETY: a valid set for the calling thread.
    if unsafe { libc::sched_setaffinity(0, mem::size_of_val(&set), &set) } == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    Err(unavailable(match error.raw_os_error() {
        Some(libc::EINVAL) => "there is no such CPU, or this process may not use it".to_owned(),
        _ => error.to_string(),
    }))
}

/// NUMA nodes that get a pool.
fn nodes(config: &NicConfig) -> u64 {
    let mut cores = config.cores();
    cores.push(config.main_core);
    // SAFETY: a look into sysfs; the number of a CPU that can be used fits.
    let node = |core: usize| unsafe { ffi::numa_node_of_cpu(i32::try_from(core).unwrap_or(0)) };
    let mut nodes: Vec<i32> = cores.into_iter().map(node).collect();
    nodes.sort_unstable();
    nodes.dedup();
    nodes.len() as u64
}

/// The queues and caches together must not be able to empty a pool.
fn mbufs(config: &NicConfig) -> Result<(), NicError> {
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
    let (have, need) = (u64::from(config.mbufs), queues + (cores + 1) * at_hand);
    if have < need { Err(NicError::TooFewMbufs { have, need }) } else { Ok(()) }
}

fn memory(config: &NicConfig) -> Result<(), NicError> {
    let mbufs = u64::from(config.mbufs) * nodes(config);
    let each = u64::from(data_room(config)) + MBUF_OVERHEAD;
    let bytes = match (config.memory.no_huge, PAGE / each) {
        (false, _) => mbufs * each,
        (true, 0) => mbufs * each.div_ceil(PAGE) * PAGE,
        (true, in_a_page) => mbufs.div_ceil(in_a_page) * PAGE,
    };
    let need_mib = bytes.div_ceil(MIB) + BASE_MIB;
    if config.memory.no_huge {
        let have_mib = u64::from(config.reserved_mib());
        if have_mib < need_mib {
            return Err(NicError::TooLittleMemory { mbufs, need_mib, have_mib });
        }
        return match available_mib() {
            Some(most) if most < have_mib => {
                let allowed = format!("at most the {most} MiB that this machine has left");
                Err(out_of_range("memory.mib", have_mib.to_string(), &allowed))
            }
            _ => Ok(()),
        };
    }
    let need_mib = need_mib.max(u64::from(config.memory.mib));
    let free_mib = free_hugepages() / MIB;
    if free_mib < need_mib {
        return Err(NicError::NoHugepages { free_mib, need_mib, pages: need_mib.div_ceil(2) });
    }
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounted = mounts.lines().any(|l| l.split_whitespace().nth(2) == Some("hugetlbfs"));
    if mounted { Ok(()) } else { Err(NicError::NoHugetlbfs) }
}

/// MiB that the kernel could hand out now; `None` where it does not tell.
fn available_mib() -> Option<u64> {
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let line = memory.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? / 1024)
}

/// Bytes of free hugepages of all sizes.
fn free_hugepages() -> u64 {
    let Ok(sizes) = fs::read_dir("/sys/kernel/mm/hugepages") else { return 0 };
    let free = |folder: fs::DirEntry| -> Option<u64> {
        let name = folder.file_name();
        let kib = name.to_str()?.strip_prefix("hugepages-")?.strip_suffix("kB")?;
        let pages = fs::read_to_string(folder.path().join("free_hugepages")).ok()?;
        Some(kib.parse::<u64>().ok()? * 1024 * pages.trim().parse::<u64>().ok()?)
    };
    sizes.flatten().filter_map(free).sum()
}

/// The directory of this user's runtime files, by DPDK's own rules.
pub(crate) fn runtime_directory() -> PathBuf {
    // SAFETY: only reads the process's user.
    let root = unsafe { libc::getuid() } == 0;
    match (env::var_os("RUNTIME_DIRECTORY"), env::var_os("XDG_RUNTIME_DIR")) {
        (Some(folder), _) => PathBuf::from(folder),
        (None, _) if root => PathBuf::from("/var/run"),
        (None, Some(folder)) => PathBuf::from(folder),
        (None, None) => PathBuf::from("/tmp"),
    }
}

/// DPDK keeps its lock there, so it must be writable.
fn runtime_is_writable() -> Result<(), NicError> {
    let base = runtime_directory();
    let dpdk = base.join("dpdk");
    let directory = if dpdk.exists() { dpdk } else { base };
    if accessible(&directory, libc::W_OK | libc::X_OK) {
        return Ok(());
    }
    Err(NicError::RuntimeDirectory { directory: directory.display().to_string() })
}

fn accessible(path: &Path, how: i32) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let Ok(path) = CString::new(path.as_os_str().as_bytes()) else { return false };
    // SAFETY: a valid C string.
    unsafe { libc::access(path.as_ptr(), how) == 0 }
}

fn device(port: &PortConfig) -> Result<(), NicError> {
    let device = port.parsed_device();
    if device.pci {
        return pci(Path::new("/sys/bus/pci/devices"), port, &device);
    }
    privileges(port, &device)?;
    interfaces(port, &device)?;
    files(port, &device)
}

fn pci(devices: &Path, port: &PortConfig, device: &Device) -> Result<(), NicError> {
    let folder = devices.join(&device.name);
    let (port, device) = (port.name.clone(), device.name.clone());
    if !folder.exists() {
        return Err(NicError::NoSuchDevice { port, device, detail: Detail::default() });
    }
    let driver = fs::read_link(folder.join("driver")).ok();
    let driver = driver.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    match driver {
        Some(driver) if DPDK_DRIVERS.contains(&driver) => Ok(()),
        other => {
            let driver = other.map_or("no driver".to_owned(), |d| format!("the driver {d}"));
            Err(NicError::DriverNotBound { port, device, driver })
        }
    }
}

fn privileges(port: &PortConfig, device: &Device) -> Result<(), NicError> {
    let needed: &[(u32, &'static str)] = if device.is("net_af_packet") {
        &[(CAP_NET_RAW, "CAP_NET_RAW")]
    } else if device.is("net_af_xdp") {
        &[(CAP_NET_RAW, "CAP_NET_RAW"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")]
    } else if device.is("net_tap") {
        &[(CAP_NET_ADMIN, "CAP_NET_ADMIN")]
    } else {
        &[]
    };
    let held = capabilities();
    match needed.iter().find(|(bit, _)| held & (1 << bit) == 0) {
        None => Ok(()),
        Some((_, privilege)) => {
            let (port, device) = (port.name.clone(), device.name.clone());
            Err(NicError::NotPermitted { port, device, privilege })
        }
    }
}

/// The effective capabilities; all of them where the kernel does not tell.
fn capabilities() -> u64 {
    let status = fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(u64::MAX)
}

/// Interfaces named by a device's arguments.
fn interfaces(port: &PortConfig, device: &Device) -> Result<(), NicError> {
    let pcap = device.is("net_pcap");
    if !pcap && !device.is("net_af_packet") && !device.is("net_af_xdp") {
        return Ok(());
    }
    let keys: &[&str] = if pcap { &["iface", "rx_iface", "tx_iface"] } else { &["iface"] };
    let mut named = false;
    for interface in keys.iter().flat_map(|key| device.values(key)) {
        named = true;
        if !interface::exists(interface) {
            let (port, interface) = (port.name.clone(), interface.to_owned());
            return Err(NicError::NoSuchInterface { port, interface });
        }
        // Longer packets would vanish in the kernel.
        let most = interface::mtu(interface).filter(|_| !pcap).unwrap_or(u32::MAX);
        if u32::from(port.mtu) > most {
            let (port, mtu) = (port.name.clone(), port.mtu);
            return Err(NicError::Mtu { port, mtu, least: u32::from(LEAST_MTU), most });
        }
    }
    if named || pcap {
        return Ok(());
    }
    let what = format!("port {}: the device", port.name);
    Err(out_of_range(&what, port.device.clone(), "given with `,iface=NAME`"))
}

/// Files that `net_pcap` reads and writes.
fn files(port: &PortConfig, device: &Device) -> Result<(), NicError> {
    if !device.is("net_pcap") {
        return Ok(());
    }
    let refusal = |file: &str, used, error: io::Error| {
        let (port, file, reason) = (port.name.clone(), file.to_owned(), error.to_string());
        Err(NicError::File { port, file, used, reason })
    };
    for file in device.values("rx_pcap") {
        if let Err(error) = File::open(file) {
            return refusal(file, "read", error);
        }
    }
    for file in device.values("tx_pcap") {
        // DPDK empties the file when it opens it, so that making it here loses nothing.
        if let Err(error) = OpenOptions::new().append(true).create(true).open(file) {
            return refusal(file, "written", error);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_pci_device_is_taken_only_from_a_driver_that_hands_it_over() {
        let devices = env::temp_dir().join(format!("nic-preflight-{}", std::process::id()));
        let slot = devices.join("0000:3b:00.0");
        fs::create_dir_all(&slot).unwrap();
        let port = PortConfig::new("wan", "3b:00.0", &[1]);
        let check = || pci(&devices, &port, &port.parsed_device());
        let told = check().unwrap_err().to_string();
        assert!(told.contains("device 0000:3b:00.0 is bound to no driver"), "{told}");
        symlink("/sys/bus/pci/drivers/ixgbe", slot.join("driver")).unwrap();
        let told = check().unwrap_err().to_string();
        assert!(told.contains("is bound to the driver ixgbe; give it to DPDK"), "{told}");
        assert!(told.contains("`dpdk-devbind.py --bind=vfio-pci 0000:3b:00.0`"), "{told}");
        fs::remove_file(slot.join("driver")).unwrap();
        symlink("/sys/bus/pci/drivers/vfio-pci", slot.join("driver")).unwrap();
        assert_eq!(check(), Ok(()));
        fs::remove_dir_all(&devices).unwrap();
        assert!(matches!(check(), Err(NicError::NoSuchDevice { .. })));
    }
}
