//! Ports: old names, and what capsule cannot say about a port.

#![allow(non_camel_case_types)]
#![allow(clippy::missing_safety_doc)]

use std::os::raw::{c_char, c_int, c_uint};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::raw;

/// Receive-side scaling over IP addresses.
pub const ETH_RSS_IP: u64 = raw::SHIM_RSS_IP;
/// Receive-side scaling over TCP ports.
pub const ETH_RSS_TCP: u64 = raw::SHIM_RSS_TCP;
/// Receive-side scaling over UDP ports.
pub const ETH_RSS_UDP: u64 = raw::SHIM_RSS_UDP;
/// Receive-side scaling over SCTP ports.
pub const ETH_RSS_SCTP: u64 = raw::SHIM_RSS_SCTP;
/// A transmit queue may free mbufs in bulk: one pool, one reference each.
pub const DEV_TX_OFFLOAD_MBUF_FAST_FREE: u64 = raw::SHIM_TX_FAST_FREE;

impl raw::rte_eth_rx_mq_mode {
    /// The old name of [`raw::rte_eth_rx_mq_mode::RTE_ETH_MQ_RX_RSS`].
    pub const ETH_MQ_RX_RSS: Self = Self::RTE_ETH_MQ_RX_RSS;
}

/// Changes a port's configuration before it is applied: the port's number, the number of
/// receive queues, the number of transmit queues, the configuration that capsule wrote.
pub type ConfigureHook = fn(u16, u16, &mut u16, &mut raw::rte_eth_conf);

static CONFIGURE: OnceLock<ConfigureHook> = OnceLock::new();
static DATA_ROOM: AtomicU16 = AtomicU16::new(0);
static POOL_FAILED: AtomicBool = AtomicBool::new(false);
static POOLS: Mutex<Vec<Pool>> = Mutex::new(Vec::new());

/// A pool of mbufs and where its memory lies.
#[derive(Clone, Copy, Debug)]
pub struct Pool {
    /// The NUMA node that was asked for.
    pub node: c_int,
    /// The pool.
    pub raw: NonNull<raw::rte_mempool>,
}

// SAFETY: this is an address and a number; DPDK's pools may be used from any thread.
unsafe impl Send for Pool {}

/// Sets the function that sees every port's configuration before it is applied. The first
/// caller wins; answers whether that was this one.
pub fn set_configure_hook(hook: ConfigureHook) -> bool {
    CONFIGURE.set(hook).is_ok()
}

/// Makes mbufs of every later pool at least this large (headroom included, in bytes).
/// capsule always asks for 2,176 bytes, which holds no jumbo frame.
pub fn set_data_room(bytes: u16) {
    DATA_ROOM.store(bytes, Ordering::Relaxed);
}

/// The pools that were made and not freed. With more than one, a transmit queue sees mbufs
/// of several.
pub fn pools() -> Vec<Pool> {
    known_pools().clone()
}

/// Whether a pool could not be made.
pub fn pool_failed() -> bool {
    POOL_FAILED.load(Ordering::Acquire)
}

pub(crate) fn known_pools() -> MutexGuard<'static, Vec<Pool>> {
    POOLS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `rte_pktmbuf_pool_create` with [`set_data_room`] applied.
///
/// # Safety
/// `name` is a valid C string.
pub unsafe fn rte_pktmbuf_pool_create(
    name: *const c_char,
    count: c_uint,
    cache: c_uint,
    private: u16,
    data_room: u16,
    node: c_int,
) -> *mut raw::rte_mempool {
    let room = data_room.max(DATA_ROOM.load(Ordering::Relaxed));
    // SAFETY: the caller's `name` is passed on; all else are numbers that DPDK checks.
    let pool = unsafe { raw::rte_pktmbuf_pool_create(name, count, cache, private, room, node) };
    match NonNull::new(pool) {
        Some(raw) => known_pools().push(Pool { node, raw }),
        None => POOL_FAILED.store(true, Ordering::Release),
    }
    pool
}

/// `rte_eth_dev_configure` after the hook has had its say.
///
/// # Safety
/// `conf` points to a configuration.
pub unsafe fn rte_eth_dev_configure(
    port: u16,
    rx_queues: u16,
    tx_queues: u16,
    conf: *const raw::rte_eth_conf,
) -> c_int {
    // SAFETY: the caller's `conf` is valid, and the structure is plain data.
    let mut conf = unsafe { *conf };
    let mut tx_queues = tx_queues;
    if let Some(hook) = CONFIGURE.get() {
        hook(port, rx_queues, &mut tx_queues, &mut conf);
    }
    // SAFETY: `conf` lives on this stack; DPDK copies it and checks the numbers.
    unsafe { raw::rte_eth_dev_configure(port, rx_queues, tx_queues, &conf) }
}

/// The NUMA node of a port, or -1 where it has none or there is no pool on it: capsule then
/// takes the node of the port's first core, which has one.
///
/// # Safety
/// None beyond DPDK being initialised.
pub unsafe fn rte_eth_dev_socket_id(port: u16) -> c_int {
    // SAFETY: any port number may be asked for; an unknown one answers -1.
    let node = unsafe { raw::rte_eth_dev_socket_id(port) };
    if known_pools().iter().any(|pool| pool.node == node) { node } else { -1 }
}
