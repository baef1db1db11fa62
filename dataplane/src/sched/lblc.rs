//! Locality-based least connections: a destination stays with its real server until that
//! one is overloaded while another has half its weight to spare.

use super::cache::Cache;
use super::standings::Contest;
use super::{Chooser, Pool};
use crate::ids::RealId;
use crate::wire::Packet;

/// Each destination's real server.
#[derive(Clone, Debug, Default)]
pub(super) struct Servers(Cache<RealId>);

impl Servers {
    pub(super) fn pick(&mut self, chooser: &mut Chooser<'_>, packet: &Packet) -> Option<RealId> {
        let pool = chooser.pool;
        self.0.tidy(pool.now);
        // The overload flag does not count for a remembered server, as in IPVS.
        if let Some(known) = self.0.get(packet, pool.now).copied()
            && pool.is_listed(known)
            && pool.weight(known) > 0
            && !is_busy(chooser, known)
        {
            return Some(known);
        }
        let picked = chooser.winner(Contest::Load)?;
        self.0.put(packet, picked, pool.now);
        Some(picked)
    }
}

/// Whether a real server has more active connections than weight while another one of the
/// list, usable or not, has some to spare.
pub(super) fn is_busy(chooser: &mut Chooser<'_>, real: RealId) -> bool {
    let pool = chooser.pool;
    pool.active(real) > pool.weight(real) && chooser.has_spare()
}

/// Whether a real server has fewer than half as many active connections as its weight.
pub(super) fn has_spare(pool: &Pool<'_>, real: RealId) -> bool {
    pool.active(real) * 2 < pool.weight(real)
}
