//! Maglev hashing: a table of 4093 slots in which every real server has its own order of
//! preference, so that a change of the list moves few clients.

use super::sh::folded;
use super::{Listed, Pool, SchedulerFlags};
use crate::ids::RealId;
use crate::wire::Packet;

/// Slots (IPVS's table of index 12).
pub(super) const SLOTS: u32 = 4093;
/// IPVS's fixed keys, each used for both halves of SipHash's key.
const PLACE: u64 = 2_654_435_761;
const STEP: u64 = 2_654_446_892;
/// Bits that the turns of the heaviest real server may have.
const TURN_BITS: u32 = 6;

/// The table, and what was mixed into the keys.
#[derive(Clone, Debug, Default)]
pub struct Maglev {
    seed: u64,
    slots: Box<[RealId]>,
}

/// What one real server claims slots by.
struct Claim {
    real: RealId,
    next: u32,
    step: u32,
    turns: u64,
}

/// SipHash-1-3 of the four bytes of a number, with one word as both halves of the key: what
/// the kernel's 64-bit `hsiphash` computes, cut to 32 bits.
fn hash(value: u32, key: u64) -> u32 {
    let mut state = [
        key ^ 0x736F_6D65_7073_6575,
        key ^ 0x646F_7261_6E64_6F6D,
        key ^ 0x6C79_6765_6E65_7261,
        key ^ 0x7465_6462_7974_6573,
    ];
    let word = 4 << 56 | u64::from(value);
    state[3] ^= word;
    round(&mut state);
    state[0] ^= word;
    state[2] ^= 0xFF;
    for _ in 0..3 {
        round(&mut state);
    }
    let [a, b, c, d] = state;
    (a ^ b ^ c ^ d) as u32
}

fn round([a, b, c, d]: &mut [u64; 4]) {
    *a = a.wrapping_add(*b);
    *b = b.rotate_left(13) ^ *a;
    *a = a.rotate_left(32);
    *c = c.wrapping_add(*d);
    *d = d.rotate_left(16) ^ *c;
    *a = a.wrapping_add(*d);
    *d = d.rotate_left(21) ^ *a;
    *c = c.wrapping_add(*b);
    *b = b.rotate_left(17) ^ *c;
    *c = c.rotate_left(32);
}

/// How often each real server claims a slot in a round, as shifted-down multiples of the
/// weights' common divisor.
fn turns(last_weights: impl Iterator<Item = u32> + Clone) -> impl Fn(u32) -> u64 {
    let divisor =
        last_weights.clone().fold(0, |divisor, weight| super::wrr::gcd(divisor, u64::from(weight)));
    let divisor = divisor.max(1);
    let largest = u64::from(last_weights.max().unwrap_or(0)) / divisor;
    let shift = (u64::BITS - largest.leading_zeros()).saturating_sub(TURN_BITS);
    move |weight| match weight {
        0 => 0,
        weight => ((u64::from(weight) / divisor) >> shift).max(1),
    }
}

impl Maglev {
    /// The table for this list, head first. It goes by the latest weights above zero, so
    /// that quiescing a server moves nobody else's clients.
    ///
    /// Seed 0 gives IPVS's own table; all directors with the same other seed agree on
    /// another one.
    pub(super) fn build(listed: &[Listed], seed: u64) -> Self {
        let turns = turns(listed.iter().map(|member| member.last_weight));
        let mut claims: Vec<Claim> = listed
            .iter()
            .map(|member| {
                let value = folded(member.address).wrapping_add(u32::from(member.port));
                Claim {
                    real: member.real,
                    next: hash(value, PLACE ^ seed) % SLOTS,
                    step: hash(value, STEP ^ seed) % (SLOTS - 1) + 1,
                    turns: turns(member.last_weight),
                }
            })
            .filter(|claim| claim.turns > 0)
            .take(SLOTS as usize)
            .collect();
        let mut slots: Vec<Option<RealId>> = vec![None; SLOTS as usize];
        let mut free = if claims.is_empty() { 0 } else { SLOTS };
        while free > 0 {
            for claim in &mut claims {
                for _ in 0..claim.turns.min(u64::from(free)) {
                    claim.take(&mut slots);
                    free -= 1;
                }
            }
        }
        Self { seed, slots: slots.into_iter().flatten().collect() }
    }

    pub(super) fn pick(&self, pool: &Pool<'_>, packet: &Packet) -> Option<RealId> {
        let with_port = pool.flags.contains(SchedulerFlags::PORT);
        let port = if with_port { u32::from(packet.src_port) } else { 0 };
        let client = folded(packet.src).wrapping_add(port);
        let place = |offset: u32| hash(client.wrapping_add(offset), PLACE ^ self.seed) % SLOTS;
        let at = |place: u32| self.slots.get(place as usize).copied();
        let first = place(0);
        let real = at(first)?;
        if pool.is_usable(real) {
            return Some(real);
        }
        if !pool.flags.contains(SchedulerFlags::FALLBACK) {
            return None;
        }
        (0..SLOTS).find_map(|k| {
            let real = at(place((k + first) % SLOTS))?;
            pool.is_usable(real).then_some(real)
        })
    }
}

impl Claim {
    /// Takes the next free slot in this server's order. There must be one; the step and
    /// the number of slots have no common divisor, so it is found.
    fn take(&mut self, slots: &mut [Option<RealId>]) {
        for _ in 0..SLOTS {
            let place = self.next;
            self.next = (self.next + self.step) % SLOTS;
            if let Some(slot @ None) = slots.get_mut(place as usize) {
                *slot = Some(self.real);
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Addr;

    fn listed(real: u32, last_weight: u32) -> Listed {
        let address = Addr::v4(0xC0A8_0100 + real);
        Listed { real: RealId(real), weight: last_weight, last_weight, address, port: 80 }
    }

    fn count(table: &Maglev, real: u32) -> usize {
        table.slots.iter().filter(|slot| slot.0 == real).count()
    }

    fn head(table: &Maglev) -> Vec<u32> {
        table.slots.iter().take(24).map(|slot| slot.0).collect()
    }

    #[test]
    fn hashes_equal_the_kernels() {
        let value = 0xC0A8_0101 + 80;
        assert_eq!(hash(value, PLACE), 0xCD25_7C3F);
        assert_eq!(hash(value, STEP), 0x932E_155F);
        assert_eq!(hash(value + 1, PLACE), 0x529F_7FE7);
        assert_eq!(hash(value + 1, STEP), 0x5574_829D);
        assert_eq!(hash(value + 2, PLACE), 0x7D6C_ECD1);
        assert_eq!(hash(value + 2, STEP), 0xAF3D_77FD);
    }

    #[test]
    fn tables_equal_the_kernels() {
        let equal = Maglev::build(&[listed(3, 1), listed(2, 1), listed(1, 1)], 0);
        assert_eq!(
            head(&equal),
            [1, 2, 3, 1, 3, 1, 2, 1, 2, 3, 1, 3, 3, 2, 1, 2, 1, 3, 3, 3, 1, 1, 2, 1]
        );
        assert_eq!([3, 2, 1].map(|real| count(&equal, real)), [1365, 1364, 1364]);
        let weighted = Maglev::build(&[listed(3, 3), listed(2, 2), listed(1, 1)], 0);
        assert_eq!(
            head(&weighted),
            [1, 2, 3, 3, 3, 3, 2, 1, 2, 3, 3, 3, 3, 3, 1, 2, 2, 3, 3, 3, 1, 1, 2, 2]
        );
        assert_eq!([3, 2, 1].map(|real| count(&weighted, real)), [2047, 1364, 682]);
    }

    #[test]
    fn a_list_of_nobody_and_a_list_of_zero_weights_are_empty() {
        assert!(Maglev::build(&[], 0).slots.is_empty());
        assert!(Maglev::build(&[listed(1, 0), listed(2, 0)], 0).slots.is_empty());
    }

    #[test]
    fn another_seed_is_another_table_with_the_same_shares() {
        let list = [listed(3, 1), listed(2, 1), listed(1, 1)];
        let (one, other) = (Maglev::build(&list, 0), Maglev::build(&list, 7));
        assert_ne!(one.slots, other.slots);
        assert_eq!([3, 2, 1].map(|real| count(&other, real)), [1365, 1364, 1364]);
        assert_eq!(other.slots, Maglev::build(&list, 7).slots);
    }

    #[test]
    fn the_largest_weights_neither_overflow_nor_starve_the_smallest() {
        let table = Maglev::build(&[listed(2, i32::MAX as u32), listed(1, 1)], 0);
        assert_eq!(table.slots.len(), SLOTS as usize);
        assert!(count(&table, 1) > 0);
    }
}
