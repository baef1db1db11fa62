//! Receive-side scaling: how a port spreads frames over its receive queues.

use capsule_ffi as ffi;

use crate::config::PortConfig;

/// How a port spreads frames over its receive queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rss {
    /// What is hashed, as DPDK's `RTE_ETH_RSS_*` bits.
    pub fields: u64,
    /// Whether addresses alone are hashed for TCP and UDP (no port numbers).
    pub addresses_only: bool,
    /// The key in force; empty where the driver does not tell.
    pub key: Vec<u8>,
    /// Bytes of key that the device wants.
    pub key_len: u8,
    /// The receive queue of each hash value modulo the table's length; empty where the driver
    /// does not tell.
    pub table: Vec<u16>,
}

/// Reads how frames are spread. Some drivers take a key when they are configured and forget
/// it: they are given it once more, and what they answer with is what counts.
pub(crate) fn read(
    id: u16,
    fields: u64,
    config: &PortConfig,
    device: &ffi::rte_eth_dev_info,
) -> Rss {
    let (mut in_force, mut key) = rss_conf(id, fields, device);
    if let Some(wanted) = config.rss_key.as_ref().filter(|wanted| **wanted != key) {
        let mut bytes = wanted.clone();
        let mut conf = ffi::rte_eth_rss_conf {
            rss_key: bytes.as_mut_ptr(),
            rss_key_len: u8::try_from(bytes.len()).unwrap_or(0),
            rss_hf: fields,
        };
        // SAFETY: the key has the length that `conf` says; the driver copies it.
        unsafe { ffi::rte_eth_dev_rss_hash_update(id, &mut conf) };
        (in_force, key) = rss_conf(id, fields, device);
        if *wanted != key {
            tracing::warn!(port = config.name, "the driver does not keep the RSS key");
        }
    }
    let ports = (ffi::ETH_RSS_TCP | ffi::ETH_RSS_UDP) & !ffi::ETH_RSS_IP;
    Rss {
        fields: in_force,
        addresses_only: in_force & ports == 0,
        key,
        key_len: key_len(device),
        table: table(id, device.reta_size),
    }
}

/// The hashed fields and the key, or the fields asked for and no key.
fn rss_conf(id: u16, fields: u64, device: &ffi::rte_eth_dev_info) -> (u64, Vec<u8>) {
    // Not every driver says how long its key is; no driver's is longer than this.
    let mut key = vec![0u8; usize::from(u8::MAX)];
    let mut conf = ffi::rte_eth_rss_conf {
        rss_key: key.as_mut_ptr(),
        rss_key_len: key_len(device),
        rss_hf: 0,
    };
    // SAFETY: `conf` points to more bytes than the longest key has.
    if unsafe { ffi::rte_eth_dev_rss_hash_conf_get(id, &mut conf) } != 0 {
        return (fields, Vec::new());
    }
    key.truncate(usize::from(conf.rss_key_len));
    (if conf.rss_hf == 0 { fields } else { conf.rss_hf }, key)
}

/// Bytes of the device's RSS key; 40, as most have, where it does not say.
pub(crate) fn key_len(device: &ffi::rte_eth_dev_info) -> u8 {
    if device.hash_key_size == 0 { 40 } else { device.hash_key_size }
}

fn table(id: u16, size: u16) -> Vec<u16> {
    let group = ffi::RTE_ETH_RETA_GROUP_SIZE as usize;
    let all = ffi::rte_eth_rss_reta_entry64 { mask: u64::MAX, ..Default::default() };
    let mut groups = vec![all; usize::from(size).div_ceil(group)];
    // SAFETY: there are groups for `size` entries.
    if size == 0 || unsafe { ffi::rte_eth_dev_rss_reta_query(id, groups.as_mut_ptr(), size) } != 0 {
        return Vec::new();
    }
    groups.iter().flat_map(|g| g.reta).take(usize::from(size)).collect()
}
