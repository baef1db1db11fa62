//! Receive-side scaling by client: a key under which a NIC's hash chooses one queue for all
//! packets of a client, whatever it talks to.
//!
//! NICs spread packets by the Toeplitz hash of source, destination and ports: of every input bit
//! that is 1, the 32 bits of key that begin at its place are added (without carry), and the low
//! bits of the sum choose a place in a table of queues. Where a key is 0 in all places by which
//! an input bit reaches those low bits, that input bit does not count. So the key is 0 wherever
//! destination, ports and the client's host part would reach, in IPv4 and in IPv6 at once (one
//! key serves both), and random elsewhere.
//!
//! IPv4's destination and ports lie where IPv6's source has its bits 33 to 96. These do not count
//! either; an IPv6 client is told from others by its first 32 bits and its last 31.

use crate::wire::{Addr, Family};

/// Bits of input: IPv4 addresses and ports, IPv6 addresses and ports.
const INPUT_V4: usize = 96;
const INPUT_V6: usize = 288;
/// Bits of the hash.
const HASH: usize = 32;
/// A key that serves all input, in bits.
const WHOLE_KEY: usize = INPUT_V6 + HASH;

/// How clients are told apart when a queue is chosen for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steering {
    /// The bits of an IPv4 client's address that may count; those of the coarsest netmask.
    pub v4: u32,
    /// The bits of an IPv6 client's address that may count.
    pub v6: u128,
    /// What the key is made from, so that nobody outside can aim at one queue.
    pub secret: [u64; 2],
}

/// A key that steers, for one kind of device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RssKey {
    /// The key as the device wants it.
    pub bytes: Vec<u8>,
    /// How many bits of an IPv4 client's address have a say in its queue.
    pub bits_v4: usize,
    /// How many bits of an IPv6 client's address have.
    pub bits_v6: usize,
}

impl Steering {
    /// Everybody for himself.
    pub const fn by_address(secret: [u64; 2]) -> Self {
        Self { v4: u32::MAX, v6: u128::MAX, secret }
    }

    /// The same for clients that are bound under this netmask as well: whom it joins shares a
    /// queue.
    pub fn joining(self, family: Family, mask: u128) -> Self {
        match family {
            Family::V4 => Self { v4: self.v4 & mask as u32, ..self },
            Family::V6 => Self { v6: self.v6 & mask, ..self },
        }
    }

    /// Whether a client's bit counts, from the most significant one on.
    fn counts(&self, family: Family, bit: usize) -> bool {
        match family {
            Family::V4 => bit < 32 && self.v4 >> (31 - bit) & 1 == 1,
            Family::V6 => bit < 128 && self.v6 >> (127 - bit) & 1 == 1,
        }
    }

    /// The key of so many bytes for a device whose table of queues has `2^table_bits` places (1
    /// to 16). `None` where the key is too short for IPv4.
    pub fn key(&self, bytes: usize, table_bits: u32) -> Option<RssKey> {
        let low = table_bits.clamp(1, 16) as usize;
        let bits = bytes.checked_mul(8).filter(|bits| *bits >= INPUT_V4 + HASH)?;
        let mut barred = vec![false; bits.max(WHOLE_KEY)];
        for (family, inputs) in [(Family::V4, INPUT_V4), (Family::V6, INPUT_V6)] {
            for input in (0..inputs).filter(|input| !self.counts(family, *input)) {
                if let Some(reach) = barred.get_mut(input + HASH - low..input + HASH) {
                    reach.fill(true);
                }
            }
        }
        let mut random = Random(self.secret);
        let mut key: Vec<bool> = barred.iter().map(|barred| !barred && random.bit()).collect();
        // Where a free stretch ends, a 1 makes the last client bits that reach it tell apart all
        // places of the table.
        for at in 0..key.len() {
            let ends = barred.get(at) == Some(&false) && barred.get(at + 1) != Some(&false);
            if let Some(bit) = key.get_mut(at).filter(|_| ends) {
                *bit = true;
            }
        }
        // And no bit that may count is left without a say by chance.
        for (family, width) in [(Family::V4, 32), (Family::V6, 128)] {
            for input in (0..width).filter(|input| self.counts(family, *input)) {
                let reach = input + HASH - low..input + HASH;
                let free = reach.clone().rfind(|at| barred.get(*at) == Some(&false));
                let silent = key.get(reach).is_some_and(|reach| !reach.contains(&true));
                if let Some(bit) = free.and_then(|at| key.get_mut(at)).filter(|_| silent) {
                    *bit = true;
                }
            }
        }
        let says = |family, width| {
            let reaches = |input: &usize| {
                self.counts(family, *input)
                    && key.get(input + HASH - low..input + HASH).is_some_and(|k| k.contains(&true))
            };
            (0..width).filter(reaches).count()
        };
        let (bits_v4, bits_v6) = (says(Family::V4, 32), says(Family::V6, 128));
        key.truncate(bits);
        let byte = |bits: &[bool]| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit));
        Some(RssKey { bytes: key.chunks(8).map(byte).collect(), bits_v4, bits_v6 })
    }
}

/// Xorshift (Marsaglia, 2003) over both halves of the secret.
struct Random([u64; 2]);

impl Random {
    fn bit(&mut self) -> bool {
        let [mut a, b] = self.0;
        a = (a | u64::from(a == 0 && b == 0)) ^ a << 23;
        let next = a ^ b ^ a >> 17 ^ b >> 26;
        self.0 = [b, next];
        next.wrapping_add(b) >> 63 == 1
    }
}

/// The Toeplitz hash of what NICs look at: source, destination, and ports where they count.
/// Zeros are taken for what the key lacks.
pub fn hash(key: &[u8], source: Addr, destination: Addr, ports: Option<(u16, u16)>) -> u32 {
    let mut toeplitz = Toeplitz { key, at: 0, hash: 0 };
    for address in [source, destination] {
        match address.family() {
            Family::V4 => toeplitz.add(&address.v4_number().to_be_bytes()),
            Family::V6 => toeplitz.add(&address.number().to_be_bytes()),
        }
    }
    if let Some((from, to)) = ports {
        toeplitz.add(&from.to_be_bytes());
        toeplitz.add(&to.to_be_bytes());
    }
    toeplitz.hash
}

struct Toeplitz<'a> {
    key: &'a [u8],
    /// Bytes of input so far.
    at: usize,
    hash: u32,
}

impl Toeplitz<'_> {
    fn add(&mut self, input: &[u8]) {
        for byte in input {
            let window = (0..5).fold(0u64, |window, next| {
                window << 8 | u64::from(self.key.get(self.at + next).copied().unwrap_or(0))
            });
            for bit in (0..8).filter(|bit| byte >> (7 - bit) & 1 == 1) {
                self.hash ^= (window >> (8 - bit)) as u32;
            }
            self.at += 1;
        }
    }
}

/// The table of queues that goes with such a key: by the high bits of a place, because these are
/// what the last bits of a client's address change. Neighbours then spread even over few queues.
pub fn table_of(places: u16, queues: u16) -> Vec<u16> {
    let queue = |place| (u32::from(place) * u32::from(queues) / u32::from(places.max(1))) as u16;
    (0..places).map(queue).collect()
}

/// The queue of a client, as a device with this key and table of queues would choose it, if the
/// key steers. `None` for an empty table.
pub fn queue_of(key: &[u8], table: &[u16], client: Addr) -> Option<u16> {
    let nobody = match client.family() {
        Family::V4 => Addr::v4(0),
        Family::V6 => Addr::v6(0),
    };
    let hash = hash(key, client, nobody, None) as usize;
    table.get(hash.checked_rem(table.len())?).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The key and sums of the definition's own examples (Microsoft, "Verifying the RSS hash
    /// calculation").
    const EXAMPLE: [u8; 40] = [
        0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f,
        0xb0, 0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30,
        0xf2, 0x0c, 0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
    ];

    fn addr(text: &str) -> Addr {
        text.parse::<std::net::IpAddr>().unwrap().into()
    }

    #[test]
    fn the_hash_is_that_of_the_definition() {
        for (destination, to, source, from, addresses, with_ports) in [
            ("161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e_8fc2, 0x51cc_c178),
            ("65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718_262a, 0xc626_b0ea),
            ("3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc1_8cd5, 0x4020_7d3d),
        ] {
            let (source, destination) = (addr(source), addr(destination));
            assert_eq!(hash(&EXAMPLE, source, destination, None), addresses);
            assert_eq!(hash(&EXAMPLE, source, destination, Some((from, to))), with_ports);
        }
    }

    /// What a NIC does: the model is not told what counts.
    fn place(key: &[u8], table_bits: u32, flow: (Addr, Addr, u16, u16)) -> u32 {
        let (source, destination, from, to) = flow;
        hash(key, source, destination, Some((from, to))) & ((1 << table_bits) - 1)
    }

    fn steering() -> impl Strategy<Value = Steering> {
        (0..=32u32, 0..=128u32, any::<[u64; 2]>()).prop_map(|(v4, v6, secret)| Steering {
            v4: u32::MAX.checked_shl(32 - v4).unwrap_or(0),
            v6: u128::MAX.checked_shl(128 - v6).unwrap_or(0),
            secret,
        })
    }

    proptest! {
        #[test]
        fn a_client_has_one_place_whatever_vip_ports_and_host_part(
            steering in steering(),
            (bytes, table_bits) in (prop_oneof![Just(40usize), Just(52), Just(64)], 1..=9u32),
            (client, host, vips) in (any::<u128>(), any::<u128>(), any::<[u128; 4]>()),
            ports in any::<[(u16, u16); 4]>(),
        ) {
            let key = steering.key(bytes, table_bits).unwrap().bytes;
            prop_assert_eq!(key.len(), bytes);
            let masked = client & steering.v6 | host & !steering.v6;
            // One bit is set in all, so that none is an IPv4 address.
            let v6 = |number: u128| Addr::from_words([(number >> 64) as u64 | 1 << 61, number as u64]);
            let one = place(&key, table_bits, (v6(client), v6(vips[0]), 1, 2));
            let (client4, host4) = (client as u32, host as u32);
            let masked4 = client4 & steering.v4 | host4 & !steering.v4;
            let one4 = place(&key, table_bits, (Addr::v4(client4), Addr::v4(0), 0, 0));
            for (vip, (from, to)) in vips.into_iter().zip(ports) {
                prop_assert_eq!(place(&key, table_bits, (v6(client), v6(vip), from, to)), one);
                let flow = (Addr::v4(masked4), Addr::v4(vip as u32), from, to);
                prop_assert_eq!(place(&key, table_bits, flow), one4);
                prop_assert_eq!(place(&key, table_bits, (v6(masked), v6(vip), from, to)), one);
            }
        }
    }

    #[test]
    fn neighbours_reach_all_places_evenly_in_both_families() {
        for secret in [[0, 0], [1, 2], [u64::MAX, 77]] {
            let key = Steering::by_address(secret).key(40, 7).unwrap();
            assert_eq!((key.bits_v4, key.bits_v6 >= 31), (32, true), "{key:?}");
            let mut places = [[0u32; 128]; 2];
            for n in 0..256u32 {
                let v4 = place(&key.bytes, 7, (Addr::v4(0x0A01_0200 + n), Addr::v4(n), 1, 2));
                let client = Addr::v6(0x2001_0DB8 << 96 | u128::from(n));
                let v6 = place(&key.bytes, 7, (client, Addr::v6(1 << 100), 3, 4));
                places[0][v4 as usize] += 1;
                places[1][v6 as usize] += 1;
            }
            assert_eq!(places, [[2; 128]; 2], "256 neighbours on 128 places");
        }
    }

    #[test]
    fn a_coarse_netmask_joins_its_networks_and_spreads_them() {
        let steering = Steering::by_address([5, 6]).joining(Family::V4, 0xFFFF_FF00);
        let key = steering.key(40, 7).unwrap();
        assert_eq!(key.bits_v4, 24);
        let place = |client| place(&key.bytes, 7, (Addr::v4(client), Addr::v4(9), 1, 2));
        let mut places = [0u32; 128];
        for network in 0..256u32 {
            let one = place(0x0A01_0000 + (network << 8));
            assert!((0..256).all(|host| place(0x0A01_0000 + (network << 8) + host) == one));
            places[one as usize] += 1;
        }
        assert_eq!(places, [2; 128]);
    }

    #[test]
    fn another_secret_is_another_key_and_a_short_one_is_none() {
        let key = |secret| Steering::by_address(secret).key(40, 7);
        assert_ne!(key([1, 2]), key([1, 3]));
        assert_eq!(Steering::by_address([1, 2]).key(15, 7), None);
        assert!(Steering::by_address([1, 2]).key(16, 7).is_some());
    }

    #[test]
    fn a_handful_of_neighbours_spread_evenly_over_the_queues() {
        for (queues, clients) in [(2u16, 4u32), (4, 8), (8, 16), (16, 32)] {
            for secret in [[1, 2], [3, 4], [u64::MAX, 9]] {
                let key = Steering::by_address(secret).key(40, 7).unwrap().bytes;
                let table = table_of(128, queues);
                let mut each = vec![0; usize::from(queues)];
                for n in 0..clients {
                    let client = Addr::v4(0xC612_2000 + n);
                    each[usize::from(queue_of(&key, &table, client).unwrap())] += 1;
                }
                assert_eq!(each, vec![2; usize::from(queues)], "{clients} clients");
            }
        }
    }

    #[test]
    fn the_queue_of_a_client_is_the_queue_of_its_packets() {
        let key = Steering::by_address([8, 9]).key(52, 9).unwrap().bytes;
        let table = table_of(512, 3);
        assert_eq!((table.len(), table[0], table[511]), (512, 0, 2));
        for n in 0..1000 {
            let client = Addr::v4(n * 7919);
            let hash = hash(&key, client, Addr::v4(!n), Some((n as u16, 80)));
            assert_eq!(queue_of(&key, &table, client), Some(table[hash as usize % 512]));
        }
        assert_eq!(queue_of(&key, &[], Addr::v4(1)), None);
    }
}
