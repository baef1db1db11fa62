//! Weighted failover: the largest weight, whatever the load.

use super::Pool;
use crate::ids::RealId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<RealId> {
    let mut best: Option<(RealId, u64)> = None;
    for real in pool.usable() {
        let weight = pool.weight(real);
        if best.is_none_or(|(_, largest)| weight > largest) {
            best = Some((real, weight));
        }
    }
    best.map(|(real, _)| real)
}
