//! The clients of a burst that were not found: bound one after the other, now that their lines
//! have come from memory.

use super::client::{Bound, ClientTable, ServiceReal};
use super::client_burst::ClientBurst;
use super::client_dense::Room;
use super::line::Line;
use super::segments::pair_of;

/// Where a client of a burst is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundAt {
    /// Its real server.
    pub real: ServiceReal,
    /// Whether this call made the binding: to be counted once.
    pub by_this_call: bool,
}

impl ClientTable {
    /// The real server of the client at a place of a burst that was looked up; the picked one if
    /// it has none. `None` where [`Self::get_or_insert`] is to be asked, and nobody was picked
    /// for it; or where nobody could be picked.
    #[inline(always)]
    pub fn bind_at(
        &self,
        burst: &ClientBurst,
        at: usize,
        age_now: u8,
        pick: impl FnOnce() -> Option<ServiceReal>,
    ) -> Option<BoundAt> {
        if self.v4.shards() > 1 || self.v4.announced() > 1 {
            return self.bind_among_cores(burst, at, age_now, pick);
        }
        // The only core of a table that has not grown: nobody else writes there, and what two
        // looks and two compare-and-swaps assure is so after one look and one store.
        let (name, hash) = burst.wanted(at)?;
        let row = self.v4.row(0)?;
        let buckets = pair_of(self.v4.per_shard(row), &hash, 0);
        match row.room_in(buckets, name) {
            Room::Vacant(place) => {
                let real = pick()?;
                row.take(place, name, real, age_now);
                self.counters.inserted(0, false);
                Some(BoundAt { real, by_this_call: true })
            }
            Room::Taken => {
                let [first, second] = buckets.map(|bucket| row.bound_in(bucket, name, age_now, Line::first_candidate));
                let real = ServiceReal::new((first | second) as u16)?;
                Some(BoundAt { real, by_this_call: false })
            }
            Room::Full => None,
        }
    }

    #[inline(never)]
    fn bind_among_cores(
        &self,
        burst: &ClientBurst,
        at: usize,
        age_now: u8,
        pick: impl FnOnce() -> Option<ServiceReal>,
    ) -> Option<BoundAt> {
        let (_, probe) = self.probe_at(burst, at)?;
        let bound = match self.vacancy(&probe) {
            Some(vacancy) => self.get_or_insert_at(&probe, vacancy, pick()?, age_now).ok()?,
            None => Bound::Found(self.lookup(&probe, age_now)?),
        };
        let by_this_call = matches!(bound, Bound::Inserted(_));
        Some(BoundAt { real: bound.hit().real, by_this_call })
    }
}
