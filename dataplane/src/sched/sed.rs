//! Shortest expected delay: the smallest (active + 1) per weight.

use super::Pool;
use crate::ids::RealId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<RealId> {
    pool.least(|real| pool.active(real) + 1)
}
