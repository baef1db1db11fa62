//! Receive-side scaling: how a port spreads frames over its receive queues, and whether it does
//! so by client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use capsule_ffi as ffi;
use dataplane::rss::{self, RssKey, Steering};
use dataplane::wire::{Parsed, parse};

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

/// Whether all frames of a client reach one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Steered {
    /// Nobody asked for it.
    NotAsked,
    /// There is one queue.
    OneQueue,
    /// By the key that is in force.
    ByClient {
        /// How many bits of an IPv4 client's address have a say.
        bits_v4: usize,
        /// How many bits of an IPv6 client's address have.
        bits_v6: usize,
    },
    /// Frames are spread otherwise: decisions are the same, cores share more. Why.
    Not(&'static str),
}

/// The key by which this device would steer, or why it cannot.
pub(crate) fn steering_key(
    steering: &Steering,
    device: &ffi::rte_eth_dev_info,
) -> Result<RssKey, &'static str> {
    if device.flow_type_rss_offloads == 0 {
        return Err("the device has no RSS");
    }
    if device.reta_size < 2 || !device.reta_size.is_power_of_two() {
        return Err("the driver has no table of queues");
    }
    let bits = device.reta_size.trailing_zeros();
    let key = steering.key(usize::from(key_len(device)), bits);
    key.ok_or("the device's RSS key is too short")
}

/// Whether the key that was made is the one in force.
pub(crate) fn steered(made: Result<RssKey, &'static str>, in_force: Option<&Rss>) -> Steered {
    match (made, in_force) {
        (Err(why), _) => Steered::Not(why),
        (Ok(_), None) => Steered::Not("the device has no RSS"),
        (Ok(made), Some(rss)) if rss.key != made.bytes => {
            Steered::Not("the driver does not keep the RSS key")
        }
        (Ok(_), Some(rss)) if rss.table.is_empty() => {
            Steered::Not("the driver does not tell its table of queues")
        }
        (Ok(RssKey { bits_v4, bits_v6, .. }), Some(_)) => Steered::ByClient { bits_v4, bits_v6 },
    }
}

/// How many frames reached the queue that the key says, and how many another one.
#[derive(Debug, Default)]
pub(crate) struct Sightings {
    pub steered: AtomicU64,
    pub strayed: AtomicU64,
}

/// Looks at the first frames of a queue: is it the one that the key says?
#[derive(Debug)]
pub(crate) struct Watch {
    key: Vec<u8>,
    table: Vec<u16>,
    left: u32,
    sightings: Arc<Sightings>,
}

impl Watch {
    /// Frames of each queue that are looked at.
    const FRAMES: u32 = 1000;

    pub(crate) fn new(rss: &Rss, sightings: &Arc<Sightings>) -> Self {
        Self {
            key: rss.key.clone(),
            table: rss.table.clone(),
            left: Self::FRAMES,
            sightings: Arc::clone(sightings),
        }
    }

    /// Looks at frames that this queue received; `false` once enough were seen.
    #[cold]
    #[inline(never)]
    pub(crate) fn look<'a>(&mut self, queue: u16, frames: impl Iterator<Item = &'a [u8]>) -> bool {
        for frame in frames.take(self.left as usize) {
            let Parsed::Packet(packet) = parse(frame) else { continue };
            let counter = match rss::queue_of(&self.key, &self.table, packet.src) {
                Some(expected) if expected == queue => &self.sightings.steered,
                _ => &self.sightings.strayed,
            };
            counter.fetch_add(1, Relaxed);
            self.left -= 1;
        }
        self.left > 0
    }
}

/// Reads how frames are spread. Some drivers take a key when they are configured and forget
/// it: they are given it once more, and what they answer with is what counts.
pub(crate) fn read(
    id: u16,
    fields: u64,
    port: &str,
    wanted: Option<&[u8]>,
    device: &ffi::rte_eth_dev_info,
) -> Rss {
    let (mut in_force, mut key) = rss_conf(id, fields, device);
    if let Some(wanted) = wanted.filter(|wanted| **wanted != *key) {
        let mut bytes = wanted.to_vec();
        let mut conf = ffi::rte_eth_rss_conf {
            rss_key: bytes.as_mut_ptr(),
            rss_key_len: u8::try_from(bytes.len()).unwrap_or(0),
            rss_hf: fields,
        };
        // SAFETY: the key has the length that `conf` says; the driver copies it.
        unsafe { ffi::rte_eth_dev_rss_hash_update(id, &mut conf) };
        (in_force, key) = rss_conf(id, fields, device);
        if *wanted != *key {
            tracing::warn!(port, "the driver does not keep the RSS key");
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

/// Gives the device the table of queues that goes with a key that steers. One that refuses it
/// keeps its own, under which clients are together as well, only spread less evenly.
pub(crate) fn spread_clients(id: u16, queues: u16, device: &ffi::rte_eth_dev_info) {
    let group = ffi::RTE_ETH_RETA_GROUP_SIZE as usize;
    let table = rss::table_of(device.reta_size, queues);
    let mut groups: Vec<_> = table
        .chunks(group)
        .map(|queues| {
            let mut entry = ffi::rte_eth_rss_reta_entry64 { mask: u64::MAX, ..Default::default() };
            entry.reta.iter_mut().zip(queues).for_each(|(to, queue)| *to = *queue);
            entry
        })
        .collect();
    // SAFETY: there are groups for as many places as the device has.
    unsafe { ffi::rte_eth_dev_rss_reta_update(id, groups.as_mut_ptr(), device.reta_size) };
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A UDP packet of this client to a changing VIP and port, checksums left out.
    fn frame(client: u32, n: u32) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
        frame.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0]);
        frame.extend(client.to_be_bytes());
        frame.extend((0xC612_0000 + n % 1000).to_be_bytes());
        frame.extend([(n >> 8) as u8, n as u8, 0, 53, 0, 8, 0, 0]);
        frame
    }

    fn device(key: u8, table: u16) -> ffi::rte_eth_dev_info {
        ffi::rte_eth_dev_info {
            flow_type_rss_offloads: 1,
            hash_key_size: key,
            reta_size: table,
            ..Default::default()
        }
    }

    fn rss(key: &RssKey, queues: u16) -> Rss {
        Rss {
            fields: 1,
            addresses_only: false,
            key: key.bytes.clone(),
            key_len: 40,
            table: rss::table_of(128, queues),
        }
    }

    /// A NIC of four queues that hashes all that RSS can hash, with this key.
    fn nic_queue(key: &[u8], table: &[u16], client: u32, n: u32) -> u16 {
        let vip = dataplane::wire::Addr::v4(0xC612_0000 + n % 1000);
        let ports = Some(((n & 0xFFFF) as u16, 53));
        let hash = rss::hash(key, dataplane::wire::Addr::v4(client), vip, ports);
        table[hash as usize % table.len()]
    }

    #[test]
    fn a_nic_with_the_key_is_seen_to_steer_and_one_with_another_key_is_not() {
        let steering = Steering::by_address([3, 4]);
        let key = steering_key(&steering, &device(40, 128)).unwrap();
        let rss = rss(&key, 4);
        assert_eq!(
            steered(Ok(key.clone()), Some(&rss)),
            Steered::ByClient { bits_v4: 32, bits_v6: key.bits_v6 }
        );
        let other: Vec<u8> = (0..40u8).map(|n| n.wrapping_mul(7) + 1).collect();
        for (in_nic, steers) in [(&key.bytes, true), (&other, false)] {
            let sightings = Arc::new(Sightings::default());
            let mut watches: Vec<_> = (0..4).map(|_| Watch::new(&rss, &sightings)).collect();
            let mut on = [true; 4];
            for n in (0..40_000u32).map(|n| n.wrapping_mul(0x9E37_79B1)) {
                let client = 0x0A00_0000 + (n >> 26);
                let queue = nic_queue(in_nic, &rss.table, client, n);
                if on[usize::from(queue)] {
                    let frame = frame(client, n);
                    on[usize::from(queue)] =
                        watches[usize::from(queue)].look(queue, [&frame[..]].into_iter());
                }
            }
            assert_eq!(on, [false; 4], "each queue has seen enough");
            let (right, wrong) = (sightings.steered.load(Relaxed), sightings.strayed.load(Relaxed));
            assert_eq!(right + wrong, 4_000);
            assert_eq!(wrong == 0, steers, "{right} right, {wrong} wrong");
        }
    }

    #[test]
    fn devices_that_cannot_steer_say_why() {
        let steering = Steering::by_address([3, 4]);
        let why = |device| steering_key(&steering, &device).unwrap_err();
        assert_eq!(why(ffi::rte_eth_dev_info::default()), "the device has no RSS");
        assert_eq!(why(device(40, 0)), "the driver has no table of queues");
        assert_eq!(why(device(40, 100)), "the driver has no table of queues");
        assert_eq!(why(device(8, 128)), "the device's RSS key is too short");
        let key = steering_key(&steering, &device(40, 128)).unwrap();
        let mut forgetful = rss(&key, 2);
        forgetful.key = vec![0; 40];
        let said = steered(Ok(key), Some(&forgetful));
        assert_eq!(said, Steered::Not("the driver does not keep the RSS key"));
    }
}
