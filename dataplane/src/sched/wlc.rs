//! Weighted least connections: the smallest load per weight.

use super::Pool;
use crate::ids::RealId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<RealId> {
    pool.least(|real| pool.load(real))
}
