//! Locality-based least connections: a destination stays with its real server until that
//! one is overloaded while another has half its weight to spare.

use super::Pool;
use super::cache::Cache;
use crate::ids::RealId;
use crate::wire::Packet;

/// Each destination's real server.
#[derive(Clone, Debug, Default)]
pub(super) struct Servers(Cache<RealId>);

impl Servers {
    pub(super) fn pick(&mut self, pool: &Pool<'_>, packet: &Packet) -> Option<RealId> {
        self.0.tidy(pool.now);
        // The overload flag does not count for a remembered server, as in IPVS.
        if let Some(known) = self.0.get(packet, pool.now)
            && pool.is_listed(*known)
            && pool.weight(*known) > 0
            && !is_busy(pool, *known)
        {
            return Some(*known);
        }
        let picked = pool.least(|real| pool.load(real))?;
        self.0.put(packet, picked, pool.now);
        Some(picked)
    }
}

/// Whether a real server has more active connections than weight while another one of the
/// list, usable or not, has fewer than half as many as its weight.
pub(super) fn is_busy(pool: &Pool<'_>, real: RealId) -> bool {
    pool.active(real) > pool.weight(real)
        && pool.members.iter().any(|m| pool.active(m.real) * 2 < pool.weight(m.real))
}
