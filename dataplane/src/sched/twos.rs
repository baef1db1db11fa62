//! Power of two choices: two weighted random candidates, and the less loaded of them.

use super::Pool;
use crate::ids::RealId;
use crate::wire::Packet;

/// Counts the picks of a service without a seed, so that no two draw the same numbers.
#[derive(Clone, Debug, Default)]
pub(super) struct Draws(u64);

impl Draws {
    /// The two numbers that a pick draws with.
    ///
    /// With a seed they come from the client's address and port alone: every director with
    /// this seed has the same two candidates for the same client, and what is drawn can be
    /// repeated. Without one they come from the process's secret and a count.
    fn draw(&mut self, pool: &Pool<'_>, packet: &Packet) -> [u64; 2] {
        let [high, low] = packet.src.words();
        let start = match pool.seed {
            Some(seed) => seed,
            None => {
                self.0 = self.0.wrapping_add(1);
                pool.secret[0] ^ mix(pool.secret[1] ^ self.0)
            }
        };
        let first = mix(mix(mix(start) ^ high) ^ low ^ u64::from(packet.src_port).rotate_left(48));
        [first, mix(first)]
    }

    pub(super) fn pick(&mut self, pool: &Pool<'_>, packet: &Packet) -> Option<RealId> {
        let total: u64 = pool.usable().map(|real| pool.weight(real)).sum();
        if total == 0 {
            return None;
        }
        // 0 and the total itself are both drawn, as in IPVS: the first server in the list
        // is the candidate for one number more than its weight.
        let [first, second] = self
            .draw(pool, packet)
            .map(|number| ((u128::from(number) * u128::from(total + 1)) >> u64::BITS) as u64);
        let (one, other) = (candidate(pool, first)?, candidate(pool, second)?);
        let cost = |load_of, weight_of| {
            u128::from(pool.load(load_of)) * u128::from(pool.weight(weight_of))
        };
        let other_is_better = cost(one, other) > cost(other, one);
        Some(if other_is_better { other } else { one })
    }
}

/// The first real server at which the weights so far reach the number.
fn candidate(pool: &Pool<'_>, number: u64) -> Option<RealId> {
    let mut sum = 0;
    pool.usable().find(|real| {
        sum += pool.weight(*real);
        sum >= number
    })
}

/// A bijection in which every bit of the result depends on every bit of the value
/// (the finalizer of SplitMix64: Steele, Lea and Flood, 2014).
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let value = (value ^ value >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let value = (value ^ value >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ value >> 31
}
