//! DPDK 22.11 for capsule 0.1.5: bindings, and wrappers where the two disagree.
//!
//! See `README.md` for why this crate exists. Names and signatures are those that
//! capsule calls; where DPDK has another name or habit today, the item here of the same
//! name stands before the binding.

mod eal;
mod ethdev;
mod kni;

/// The bindings as bindgen makes them.
#[allow(
    non_camel_case_types,
    non_snake_case,
    non_upper_case_globals,
    dead_code,
    unsafe_op_in_unsafe_fn,
    clippy::all,
    clippy::undocumented_unsafe_blocks
)]
mod raw {
    include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
}

// By name: an explicit item stands before one of the same name that the glob brings.
pub use eal::{
    RTE_MBUF_DEFAULT_BUF_SIZE, eal_is_ready, held_mbufs, is_pci_address, keep_memory,
    numa_node_of_cpu, rte_eal_cleanup, rte_eal_init, rte_mempool_free, rte_thread_set_affinity,
};
pub use ethdev::{
    ConfigureHook, DEV_TX_OFFLOAD_MBUF_FAST_FREE, ETH_RSS_IP, ETH_RSS_SCTP, ETH_RSS_TCP,
    ETH_RSS_UDP, Pool, pool_failed, pools, rte_eth_dev_configure, rte_eth_dev_socket_id,
    rte_pktmbuf_pool_create, set_configure_hook, set_data_room,
};
pub use kni::*;
pub use raw::*;
