//! Source hashing: 256 buckets over the client's address, shared out by weight.

use super::{Listed, Pool, SchedulerFlags};
use crate::ids::RealId;
use crate::wire::{Addr, Packet};

/// Buckets of sh and dh (the kernel's default of 2^8).
pub(super) const BUCKETS: usize = 256;

/// The top eight bits of the value times 2^32 / golden ratio.
pub(super) fn multiplicative(value: u32) -> u8 {
    (value.wrapping_mul(0x61C8_8647) >> 24) as u8
}

/// The address as the hashing schedulers see it: IPv4 as a number, IPv6 with its four
/// words XORed.
pub(super) fn folded(address: Addr) -> u32 {
    if address.is_v4() {
        return address.v4_number();
    }
    let number = address.number();
    (number >> 96) as u32 ^ (number >> 64) as u32 ^ (number >> 32) as u32 ^ number as u32
}

/// Head first, every real server takes as many buckets in a row as its weight says (one
/// where the weight is 0), round after round until all are taken.
pub(super) fn buckets(listed: &[Listed]) -> Box<[RealId]> {
    if listed.is_empty() {
        return Box::default();
    }
    let runs = listed.iter().map(|member| {
        std::iter::repeat_n(member.real, member.weight.clamp(1, BUCKETS as u32) as usize)
    });
    runs.cycle().flatten().take(BUCKETS).collect()
}

fn bucket(packet: &Packet, flags: SchedulerFlags, offset: u8) -> u8 {
    let port = if flags.contains(SchedulerFlags::PORT) { u32::from(packet.src_port) } else { 0 };
    multiplicative(port.wrapping_add(folded(packet.src))).wrapping_add(offset)
}

pub(super) fn pick(pool: &Pool<'_>, buckets: &[RealId], packet: &Packet) -> Option<RealId> {
    let first = bucket(packet, pool.flags, 0);
    let at = |place: u8| buckets.get(usize::from(place)).copied();
    let real = at(first)?;
    if pool.is_usable(real) {
        return Some(real);
    }
    if !pool.flags.contains(SchedulerFlags::FALLBACK) {
        return None;
    }
    // IPVS's walk: the k-th try looks at bucket 2 x first + k.
    (0..=u8::MAX).find_map(|k| {
        let real = at(bucket(packet, pool.flags, first.wrapping_add(k)))?;
        pool.is_usable(real).then_some(real)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(address: &str) -> u8 {
        multiplicative(u32::from(address.parse::<std::net::Ipv4Addr>().unwrap()))
    }

    #[test]
    fn hashes_equal_the_recorded_ones() {
        assert_eq!(hash("10.0.0.1"), 39);
        assert_eq!(hash("10.1.0.7"), 248);
        assert_eq!(hash("192.168.1.1"), 136);
        assert_eq!(hash("203.0.113.77"), 57);
        assert_eq!(hash("255.255.255.255"), 158);
        let with_port = u32::from(std::net::Ipv4Addr::new(10, 1, 0, 7)).wrapping_add(30_001);
        assert_eq!(multiplicative(with_port), 85);
    }

    #[test]
    fn a_quiesced_real_server_still_takes_one_bucket_a_round() {
        let listed = |real, weight| Listed {
            real: RealId(real),
            weight,
            last_weight: weight,
            address: Addr::v4(real),
            port: 80,
        };
        let table = buckets(&[listed(3, 3), listed(2, 0), listed(1, 1)]);
        assert_eq!(table.len(), BUCKETS);
        let first: Vec<u32> = table.iter().take(7).map(|real| real.0).collect();
        assert_eq!(first, [3, 3, 3, 2, 1, 3, 3]);
        assert!(buckets(&[]).is_empty());
    }
}
