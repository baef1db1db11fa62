//! Least connections: the smallest load; weights only say who takes part.

use super::Pool;
use crate::ids::RealId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<RealId> {
    // min_by_key keeps the first of equals, as IPVS's strict comparison does.
    pool.usable().min_by_key(|real| pool.load(*real))
}
