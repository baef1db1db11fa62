//! What can be known to fail before DPDK is started: DPDK starts once per process, reports
//! with numbers and prints to the terminal; a check here ends in one sentence instead.

mod memory;

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::io;
use std::mem;
use std::path::{Path, PathBuf};
use std::{env, thread};

use crate::config::{Device, NicConfig, PortConfig};
use crate::error::{Detail, NicError};
use crate::machine::Machine;
use crate::plan;
use capsule_ffi as ffi;

pub use memory::{Needs, needs};

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

/// The first reason for which the ports cannot be opened.
pub(crate) fn check(config: &NicConfig) -> Result<(), NicError> {
    match faults(config, &Machine::this()).into_iter().next() {
        None => Ok(()),
        Some(fault) => Err(fault),
    }
}

/// Everything for which the ports could not be opened on this machine, in the order in which
/// an operator would want to hear of it. What only DPDK knows is not among it.
pub fn faults(config: &NicConfig, machine: &Machine) -> Vec<NicError> {
    // What is configured wrongly leads the other checks astray.
    if let Err(fault) = names(config).and_then(|()| numbers(config)) {
        return vec![fault];
    }
    let here = || if machine.is_this() { runtime_is_writable() } else { Ok(()) };
    let mut faults: Vec<NicError> =
        [cores(config, machine), memory::mbufs(config), memory::memory(config, machine), here()]
            .into_iter()
            .filter_map(Result::err)
            .collect();
    faults.extend(config.ports.iter().filter_map(|port| device(port, machine).err()));
    faults
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

fn cores(config: &NicConfig, machine: &Machine) -> Result<(), NicError> {
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
    if !machine.is_this() {
        let online = machine.cpus("/sys/devices/system/cpu/online").unwrap_or_default();
        let reason = || "there is no such CPU".to_owned();
        let missing = all.into_iter().find(|core| !online.contains(core));
        return match missing {
            None => Ok(()),
            Some(core) => Err(NicError::CoreUnavailable { core, reason: reason() }),
        };
    }
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

fn device(port: &PortConfig, machine: &Machine) -> Result<(), NicError> {
    let device = port.parsed_device();
    if device.pci {
        return pci(machine, port, &device);
    }
    queues(port, &device)?;
    privileges(port, &device, machine)?;
    interfaces(port, &device, machine)?;
    files(port, &device)
}

fn pci(machine: &Machine, port: &PortConfig, device: &Device) -> Result<(), NicError> {
    let folder = format!("/sys/bus/pci/devices/{}", device.name);
    let (port, device) = (port.name.clone(), device.name.clone());
    if !machine.has(&folder) {
        return Err(NicError::NoSuchDevice { port, device, detail: Detail::default() });
    }
    match machine.link(&format!("{folder}/driver")) {
        Some(driver) if DPDK_DRIVERS.contains(&driver.as_str()) => Ok(()),
        other => {
            let driver = other.map_or("no driver".to_owned(), |d| format!("the driver {d}"));
            Err(NicError::DriverNotBound { port, device, driver })
        }
    }
}

/// Virtual devices on a kernel's interface have as many queues as their arguments say.
fn queues(port: &PortConfig, device: &Device) -> Result<(), NicError> {
    let key = match () {
        () if device.is("net_af_packet") => "qpairs",
        () if device.is("net_af_xdp") => "queue_count",
        () => return Ok(()),
    };
    let queues = device.values(key).next().and_then(|value| value.parse().ok()).unwrap_or(1u16);
    let cores = port.cores.len();
    if cores <= usize::from(queues) {
        return Ok(());
    }
    let (name, device, advice) = (&port.name, &port.device, plan::queue_advice(port));
    let (port, device) = (name.clone(), device.clone());
    Err(NicError::MoreCoresThanQueues { port, device, cores, queues, advice })
}

fn privileges(port: &PortConfig, device: &Device, machine: &Machine) -> Result<(), NicError> {
    let needed: &[(u32, &'static str)] = if device.is("net_af_packet") {
        &[(CAP_NET_RAW, "CAP_NET_RAW")]
    } else if device.is("net_af_xdp") {
        &[(CAP_NET_RAW, "CAP_NET_RAW"), (CAP_NET_ADMIN, "CAP_NET_ADMIN")]
    } else if device.is("net_tap") {
        &[(CAP_NET_ADMIN, "CAP_NET_ADMIN")]
    } else {
        &[]
    };
    let held = capabilities(machine);
    match needed.iter().find(|(bit, _)| held & (1 << bit) == 0) {
        None => Ok(()),
        Some((_, privilege)) => {
            let (port, device) = (port.name.clone(), device.name.clone());
            Err(NicError::NotPermitted { port, device, privilege })
        }
    }
}

/// The effective capabilities; all of them where the kernel does not tell.
fn capabilities(machine: &Machine) -> u64 {
    let status = machine.read("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(u64::MAX)
}

/// Interfaces named by a device's arguments.
fn interfaces(port: &PortConfig, device: &Device, machine: &Machine) -> Result<(), NicError> {
    let pcap = device.is("net_pcap");
    if !pcap && !device.is("net_af_packet") && !device.is("net_af_xdp") {
        return Ok(());
    }
    let keys: &[&str] = if pcap { &["iface", "rx_iface", "tx_iface"] } else { &["iface"] };
    let mut named = false;
    for interface in keys.iter().flat_map(|key| device.values(key)) {
        named = true;
        if !machine.has_interface(interface) {
            let (port, interface) = (port.name.clone(), interface.to_owned());
            return Err(NicError::NoSuchInterface { port, interface });
        }
        // Longer packets would vanish in the kernel.
        let most = machine.mtu_of(interface).filter(|_| !pcap).unwrap_or(u32::MAX);
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
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_pci_device_is_taken_only_from_a_driver_that_hands_it_over() {
        let root = env::temp_dir().join(format!("nic-preflight-{}", std::process::id()));
        let slot = root.join("sys/bus/pci/devices/0000:3b:00.0");
        fs::create_dir_all(&slot).unwrap();
        let port = PortConfig::new("wan", "3b:00.0", &[1]);
        let check = || pci(&Machine::at(&root), &port, &port.parsed_device());
        let told = check().unwrap_err().to_string();
        assert!(told.contains("device 0000:3b:00.0 is bound to no driver"), "{told}");
        symlink("/sys/bus/pci/drivers/ixgbe", slot.join("driver")).unwrap();
        let told = check().unwrap_err().to_string();
        assert!(told.contains("is bound to the driver ixgbe; give it to DPDK"), "{told}");
        assert!(told.contains("`dpdk-devbind.py --bind=vfio-pci 0000:3b:00.0`"), "{told}");
        fs::remove_file(slot.join("driver")).unwrap();
        symlink("/sys/bus/pci/drivers/vfio-pci", slot.join("driver")).unwrap();
        assert_eq!(check(), Ok(()));
        fs::remove_dir_all(&root).unwrap();
        assert!(matches!(check(), Err(NicError::NoSuchDevice { .. })));
    }
}
