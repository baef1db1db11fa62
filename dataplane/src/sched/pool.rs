//! What schedulers choose from.

use std::sync::Arc;

use super::SchedulerFlags;
use crate::compat::Kernel;
use crate::ids::RealId;
use crate::load::{Counts, LoadBoard};
use crate::snapshot::{Member, Real, Tracking};
use crate::tick::Tick;

/// What a scheduler may look at: the service's list, the real servers and their loads.
#[derive(Clone, Copy)]
pub struct Pool<'a> {
    /// The service's real servers, head of the list first.
    pub members: &'a [Member],
    /// All real servers of the snapshot, by id.
    pub reals: &'a [Option<Arc<Real>>],
    /// The loads, summed over the cores on request.
    pub loads: &'a LoadBoard,
    /// Which kernel's load formula is followed.
    pub kernel: Kernel,
    /// The service's scheduler flags.
    pub flags: SchedulerFlags,
    /// Whether load is counted in connections or in clients.
    pub tracking: Tracking,
    /// What random choices are drawn from, if they must be repeatable.
    pub seed: Option<u64>,
    /// What they are drawn from otherwise.
    pub secret: [u64; 2],
    /// The time of the packet.
    pub now: Tick,
    /// The core that picks.
    pub core: usize,
}

impl Pool<'_> {
    /// The weight that counts: 0 where the server is quiesced, drained, down or gone.
    pub(super) fn weight(&self, real: RealId) -> u64 {
        match self.reals.get(real.0 as usize) {
            Some(Some(real)) => u64::from(real.effective_weight()),
            _ => 0,
        }
    }

    pub(super) fn is_overloaded(&self, real: RealId) -> bool {
        self.loads.is_overloaded(real)
    }

    /// Weight above zero and not overloaded: what most schedulers ask for.
    pub(super) fn is_usable(&self, real: RealId) -> bool {
        self.weight(real) > 0 && !self.is_overloaded(real)
    }

    /// Whether the real server stands in the service's list.
    pub(super) fn is_listed(&self, real: RealId) -> bool {
        self.members.iter().any(|member| member.real == real)
    }

    pub(super) fn usable(&self) -> impl Iterator<Item = RealId> + '_ {
        self.members.iter().map(|member| member.real).filter(|real| self.is_usable(*real))
    }

    pub(super) fn active(&self, real: RealId) -> u64 {
        active_of(self.loads.counts(real), self.tracking)
    }

    pub(super) fn load(&self, real: RealId) -> u64 {
        load_of(self.loads.counts(real), self.tracking, self.kernel)
    }

    /// The usable real server with the smallest cost per weight, the first one on ties.
    pub(super) fn least(&self, cost: impl Fn(RealId) -> u64) -> Option<RealId> {
        self.least_of(self.members.iter().map(|member| member.real), cost)
    }

    /// The usable one of these real servers with the smallest cost per weight, the first one on
    /// ties.
    pub(super) fn least_of(
        &self,
        reals: impl Iterator<Item = RealId>,
        cost: impl Fn(RealId) -> u64,
    ) -> Option<RealId> {
        let mut best: Option<(RealId, u64, u64)> = None;
        for real in reals {
            let weight = self.weight(real);
            if weight == 0 || self.is_overloaded(real) {
                continue;
            }
            let cost = cost(real);
            let better = match best {
                // Cross-multiplied, so that no division rounds a difference away.
                Some((_, c, w)) => {
                    u128::from(c) * u128::from(weight) > u128::from(cost) * u128::from(w)
                }
                None => true,
            };
            if better {
                best = Some((real, cost, weight));
            }
        }
        best.map(|(real, _, _)| real)
    }
}

pub(super) fn active_of(counts: Counts, tracking: Tracking) -> u64 {
    let count = match tracking {
        Tracking::Full => counts.active,
        Tracking::Client => counts.bound,
    };
    count.max(0) as u64
}

/// The load of wlc, lc and their relatives: 257 x active + inactive since mid-2026,
/// 256 x active + inactive before.
pub(super) fn load_of(counts: Counts, tracking: Tracking, kernel: Kernel) -> u64 {
    let active = active_of(counts, tracking);
    let factor = match (tracking, kernel) {
        (Tracking::Client, _) => return active,
        (Tracking::Full, Kernel::New) => 257,
        (Tracking::Full, Kernel::Classic) => 256,
    };
    active.wrapping_mul(factor).wrapping_add(counts.inactive.max(0) as u64)
}
