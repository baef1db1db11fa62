//! Never queue: the first idle real server, else as sed.

use super::Pool;
use crate::ids::RealId;

pub(super) fn pick(pool: &Pool<'_>) -> Option<RealId> {
    let idle = pool.usable().find(|real| pool.active(*real) == 0);
    idle.or_else(|| super::sed::pick(pool))
}
