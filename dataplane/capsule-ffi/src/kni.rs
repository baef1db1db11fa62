//! The kernel NIC interface: gone from DPDK, so every call answers "not supported".
//! The path to the kernel is a `net_tap` or `virtio_user` port.

#![allow(non_camel_case_types)]
#![allow(clippy::missing_safety_doc)]

use std::os::raw::{c_char, c_int, c_uint};
use std::ptr;

use crate::raw::{rte_mbuf, rte_mempool};

/// A kernel interface; none can be made.
#[repr(C)]
#[derive(Debug)]
pub struct rte_kni {
    _none: [u8; 0],
}

/// What capsule fills in before it asks for an interface.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct rte_kni_conf {
    /// The interface's name.
    pub name: [c_char; 32],
    /// The port it belongs to.
    pub group_id: u16,
    /// Bytes of an mbuf.
    pub mbuf_size: u32,
    /// The interface's address.
    pub mac_addr: [u8; 6],
}

/// The callbacks that capsule sets.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub struct rte_kni_ops {
    /// The port they are for.
    pub port_id: u16,
    /// The kernel side asks for another MTU.
    pub change_mtu: Option<extern "C" fn(u16, c_uint) -> c_int>,
    /// The kernel side goes up or down.
    pub config_network_if: Option<extern "C" fn(u16, u8) -> c_int>,
    /// The kernel side asks for another address.
    pub config_mac_address: Option<extern "C" fn(u16, *mut u8) -> c_int>,
    /// The kernel side asks for promiscuous mode.
    pub config_promiscusity: Option<extern "C" fn(u16, u8) -> c_int>,
}

/// Answers that there is no KNI.
pub unsafe fn rte_kni_init(_max: c_uint) -> c_int {
    -libc::ENOTSUP
}

/// Makes nothing: a null pointer.
pub unsafe fn rte_kni_alloc(
    _pool: *mut rte_mempool,
    _conf: *const rte_kni_conf,
    _ops: *mut rte_kni_ops,
) -> *mut rte_kni {
    ptr::null_mut()
}

/// Answers that there is no KNI.
pub unsafe fn rte_kni_release(_kni: *mut rte_kni) -> c_int {
    -libc::ENOTSUP
}

/// Receives nothing.
pub unsafe fn rte_kni_rx_burst(
    _kni: *mut rte_kni,
    _frames: *mut *mut rte_mbuf,
    _count: c_uint,
) -> c_uint {
    0
}

/// Sends nothing.
pub unsafe fn rte_kni_tx_burst(
    _kni: *mut rte_kni,
    _frames: *mut *mut rte_mbuf,
    _count: c_uint,
) -> c_uint {
    0
}

/// Answers that there is no KNI.
pub unsafe fn rte_kni_handle_request(_kni: *mut rte_kni) -> c_int {
    -libc::ENOTSUP
}

/// Does nothing.
pub unsafe fn rte_kni_close() {}
