//! The environment: today's option names, registered threads, an orderly end.

#![allow(clippy::missing_safety_doc)]

use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int, c_uint};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::ethdev::known_pools;
use crate::raw;

/// Bytes of an mbuf, headroom included, that capsule asks for.
pub const RTE_MBUF_DEFAULT_BUF_SIZE: u32 = raw::RTE_MBUF_DEFAULT_BUF_SIZE;

static READY: AtomicBool = AtomicBool::new(false);
static KEEP_MEMORY: AtomicBool = AtomicBool::new(false);
static HELD: AtomicU32 = AtomicU32::new(0);

/// Whether `rte_eal_init` has succeeded in this process.
pub fn eal_is_ready() -> bool {
    READY.load(Ordering::Acquire)
}

/// From now on pools are not freed and the environment is not taken down: the program
/// still holds frames or queues that point into that memory. The process can go on and exit.
pub fn keep_memory() {
    KEEP_MEMORY.store(true, Ordering::Release);
}

/// How many mbufs were still in somebody's hands when their pools were to be freed.
pub fn held_mbufs() -> u32 {
    HELD.load(Ordering::Acquire)
}

/// `rte_eal_init` with the options that capsule writes put into today's words.
///
/// # Safety
/// `argv` points to `argc` valid C strings.
pub unsafe fn rte_eal_init(argc: c_int, argv: *mut *mut c_char) -> c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    let old = (0..count).map(|i| {
        // SAFETY: `i` is below `argc`, and each of those entries is a C string.
        unsafe { CStr::from_ptr(*argv.add(i)) }.to_string_lossy().into_owned()
    });
    let words: Vec<CString> = translate(&old.collect::<Vec<_>>())
        .into_iter()
        .filter_map(|w| CString::new(w).ok())
        .collect();
    let Ok(argc) = c_int::try_from(words.len()) else { return -libc::E2BIG };
    let mut argv: Vec<*mut c_char> = words.into_iter().map(CString::into_raw).collect();
    argv.push(std::ptr::null_mut());
    // DPDK may keep pointers into its arguments, so they live as long as the process.
    let argv = argv.leak();
    // SAFETY: `argv` holds `argc` C strings and a null pointer, none of which is ever freed.
    let answer = unsafe { raw::rte_eal_init(argc, argv.as_mut_ptr()) };
    READY.store(answer >= 0, Ordering::Release);
    answer
}

/// capsule's options in today's words:
/// `--master-lcore N -l N` is one logical core, 0, on CPU N (so that N may be above DPDK's
/// 128 logical cores); `--pci-whitelist` is `-a`; and a PCI address with hexadecimal letters,
/// which capsule takes for a virtual device, is `-a`, too.
fn translate(old: &[String]) -> Vec<String> {
    let allowed: Vec<&str> = old
        .iter()
        .zip(old.iter().skip(1))
        .filter(|(option, _)| *option == "-a")
        .filter_map(|(_, device)| device.split(',').next())
        .collect();
    let mut new = Vec::with_capacity(old.len());
    let mut words = old.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--master-lcore" => {
                words.next();
                new.extend(["--main-lcore".to_owned(), "0".to_owned()]);
            }
            "-l" => {
                let cpu = words.next().map(String::as_str).unwrap_or_default();
                new.extend(["--lcores".to_owned(), format!("0@{cpu}")]);
            }
            "--pci-whitelist" | "--vdev" => {
                let Some(device) = words.next() else { continue };
                let name = device.split(',').next().unwrap_or_default();
                if word == "--vdev" && !is_pci_address(name) {
                    new.extend([word.clone(), device.clone()]);
                } else if !allowed.contains(&name) {
                    new.extend(["-a".to_owned(), device.clone()]);
                }
            }
            _ => new.push(word.clone()),
        }
    }
    new
}

/// Whether this is a PCI address such as `0000:3b:00.0` (the domain may be left out).
pub fn is_pci_address(name: &str) -> bool {
    let hex = |part: &str, digits: usize| {
        part.len() == digits && part.bytes().all(|b| b.is_ascii_hexdigit())
    };
    let parts: Vec<&str> = name.split(':').collect();
    let (bus, slot) = match parts.as_slice() {
        [domain, bus, slot] if (4..=8).contains(&domain.len()) && hex(domain, domain.len()) => {
            (bus, slot)
        }
        [bus, slot] => (bus, slot),
        _ => return false,
    };
    let Some((device, function)) = slot.split_once('.') else { return false };
    hex(bus, 2) && hex(device, 2) && matches!(function.as_bytes(), [b'0'..=b'7'])
}

/// `rte_thread_set_affinity`, and the thread becomes one of DPDK's: only then has it a
/// mempool cache of its own.
///
/// # Safety
/// `set` points to a CPU set.
pub unsafe fn rte_thread_set_affinity(set: *mut raw::rte_cpuset_t) -> c_int {
    // SAFETY: the caller's CPU set is passed on.
    let answer = unsafe { raw::rte_thread_set_affinity(set) };
    if answer != 0 {
        return if answer < 0 { answer } else { -answer };
    }
    // SAFETY: DPDK is initialised, or capsule would not start threads. A thread that is
    // registered already (the main one) is left as it is.
    let answer = unsafe { raw::rte_thread_register() };
    if answer < 0 {
        // SAFETY: reads this thread's error number.
        return -unsafe { raw::_rte_errno() };
    }
    0
}

/// The NUMA node of a CPU, or 0 where the machine does not say: DPDK counts memory of such a
/// machine as node 0.
///
/// # Safety
/// None; the name and signature are those of libnuma, which is not needed for this.
pub unsafe fn numa_node_of_cpu(cpu: c_int) -> c_int {
    (0..64)
        .find(|node| Path::new(&format!("/sys/devices/system/node/node{node}/cpu{cpu}")).exists())
        .unwrap_or(0)
}

/// `rte_mempool_free`, unless frames of the pool are still in somebody's hands.
///
/// # Safety
/// `pool` is null or a pool that nobody uses from now on.
pub unsafe fn rte_mempool_free(pool: *mut raw::rte_mempool) {
    let Some(pool) = NonNull::new(pool) else { return };
    // SAFETY: the pool is alive until the last call of this function.
    let held: c_uint = unsafe { raw::rte_mempool_in_use_count(pool.as_ptr()) };
    HELD.fetch_add(held, Ordering::AcqRel);
    if held > 0 {
        keep_memory();
    }
    if KEEP_MEMORY.load(Ordering::Acquire) {
        return;
    }
    known_pools().retain(|known| known.raw != pool);
    // SAFETY: all of the pool's mbufs are back, and the caller gives it up.
    unsafe { raw::rte_mempool_free(pool.as_ptr()) }
}

/// `rte_eal_cleanup`, unless memory has to stay ([`keep_memory`]). Always answers 0: capsule
/// takes any other answer for a reason to panic, and the process is about to end.
///
/// # Safety
/// No other thread uses DPDK.
pub unsafe fn rte_eal_cleanup() -> c_int {
    if READY.load(Ordering::Acquire) && !KEEP_MEMORY.load(Ordering::Acquire) {
        READY.store(false, Ordering::Release);
        // SAFETY: passed on to the caller.
        unsafe { raw::rte_eal_cleanup() };
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn the_main_core_becomes_logical_core_zero_on_its_cpu() {
        let new = translate(&words("app --master-lcore 150 -l 150"));
        assert_eq!(new, words("app --main-lcore 0 --lcores 0@150"));
    }

    #[test]
    fn a_pci_address_with_letters_is_no_virtual_device() {
        let new = translate(&words("app --vdev 0000:3b:00.0 --pci-whitelist 0000:02:00.0"));
        assert_eq!(new, words("app -a 0000:3b:00.0 -a 0000:02:00.0"));
    }

    #[test]
    fn a_pci_device_that_is_allowed_with_arguments_is_not_allowed_twice() {
        let new = translate(&words("app --pci-whitelist 0000:02:00.0 -a 0000:02:00.0,rx_vec=0"));
        assert_eq!(new, words("app -a 0000:02:00.0,rx_vec=0"));
    }

    #[test]
    fn virtual_devices_stay_what_they_are() {
        let new = translate(&words("app --vdev net_null0,size=64"));
        assert_eq!(new, words("app --vdev net_null0,size=64"));
    }

    #[test]
    fn pci_addresses_are_told_from_other_names() {
        for name in ["0000:3b:00.0", "3b:00.1", "10000:e1:00.7"] {
            assert!(is_pci_address(name), "{name}");
        }
        for name in ["net_null0", "0000:3b:00", "0000:3b:00.8", "3b00.0", "a:b:c:d", ""] {
            assert!(!is_pci_address(name), "{name}");
        }
    }
}
