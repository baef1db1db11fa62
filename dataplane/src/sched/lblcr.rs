//! Locality-based least connections with replication: a destination has a set of real
//! servers, which grows under load and shrinks when it has not changed for a day.

use arrayvec::ArrayVec;

use super::cache::{Cache, UNUSED};
use super::lblc::is_busy;
use super::standings::Contest;
use super::{Chooser, Pool};
use crate::ids::RealId;
use crate::tick::Tick;
use crate::wire::Packet;

/// Servers of a set that stand in its entry; a larger one takes memory once.
const FEW: usize = 4;

/// A destination's real servers, newest first.
#[derive(Clone, Debug)]
struct Set {
    servers: ArrayVec<RealId, FEW>,
    /// The older ones, where a destination has needed more.
    others: Vec<RealId>,
    changed: Tick,
}

/// Each destination's set.
#[derive(Clone, Debug, Default)]
pub(super) struct Sets(Cache<Set>);

impl Sets {
    pub(super) fn pick(&mut self, chooser: &mut Chooser<'_>, packet: &Packet) -> Option<RealId> {
        let pool = chooser.pool;
        self.0.tidy(pool.now);
        if let Some(set) = self.0.get(packet, pool.now) {
            let least = set.least(pool);
            if set.len() > 1 && set.changed.until(pool.now) > UNUSED as i32 {
                set.shrink(pool);
            }
            if let Some(least) = least
                && !is_busy(chooser, least)
            {
                return Some(least);
            }
            let picked = chooser.winner(Contest::Load)?;
            set.add(picked, pool.now);
            return Some(picked);
        }
        let picked = chooser.winner(Contest::Load)?;
        self.0.put(
            packet,
            Set { servers: [picked].into_iter().collect(), others: Vec::new(), changed: pool.now },
            pool.now,
        );
        Some(picked)
    }
}

impl Set {
    fn iter(&self) -> impl Iterator<Item = RealId> {
        self.servers.iter().chain(&self.others).copied()
    }

    fn len(&self) -> usize {
        self.servers.len() + self.others.len()
    }

    fn least(&self, pool: &Pool<'_>) -> Option<RealId> {
        pool.least_of(self.iter().filter(|real| pool.is_listed(*real)), |real| pool.load(real))
    }

    fn add(&mut self, real: RealId, now: Tick) {
        if self.iter().any(|known| known == real) {
            return;
        }
        if self.servers.is_full()
            && let Some(oldest) = self.servers.pop()
        {
            self.others.insert(0, oldest);
        }
        self.servers.insert(0, real);
        self.changed = now;
    }

    /// Removes the most loaded server that has a weight.
    fn shrink(&mut self, pool: &Pool<'_>) {
        let mut most: Option<RealId> = None;
        for real in self.iter().filter(|real| pool.weight(*real) > 0) {
            let heavier = most.is_none_or(|most| {
                u128::from(pool.load(most)) * u128::from(pool.weight(real))
                    < u128::from(pool.load(real)) * u128::from(pool.weight(most))
            });
            if heavier {
                most = Some(real);
            }
        }
        if let Some(most) = most {
            self.servers.retain(|real| *real != most);
            self.others.retain(|real| *real != most);
            self.changed = pool.now;
        }
    }
}
