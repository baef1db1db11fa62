//! All entries of a table one after the other: for sweeps and listings.

use super::Conn;
use super::flow::Flow;
use super::table::{Entry, Packed, Slot, Table};
use crate::tick::Tick;

/// Entries that are listed at a time, at the most.
const LISTED: usize = 64;
/// Empty blocks that a listing passes over at a time.
const PASSED_OVER: usize = 1024;

impl<E: Entry> Table<E> {
    /// Looks at up to `budget` entries after those of the last call, round and round, and
    /// answers the first one that is `due`. `None` when the budget is used up. Entries none of
    /// which ends by `now` are passed over by blocks, unless `all` are to be looked at.
    pub fn sweep(
        &mut self,
        budget: &mut usize,
        (now, all): (Tick, bool),
        due: impl FnMut(&Packed) -> bool,
    ) -> Option<Slot> {
        self.slab.sweep(budget, (now, all), due)
    }

    /// How many entries a full round of [`Self::sweep`] looks at, at the most.
    pub fn round(&self) -> usize {
        self.slab.round()
    }

    /// All connections, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Flow, Conn)> + '_ {
        let mut from = 0;
        let runs = std::iter::from_fn(move || {
            let (entries, next) = self.slab.run(from, LISTED)?;
            from = next;
            Some(entries)
        });
        runs.flatten()
            .filter(|entry| entry.packed().is_used())
            .map(|entry| (entry.flow(), entry.packed().conn()))
    }

    /// Up to `limit` connections from entry number `from` on, and where to go on; `None`
    /// at the end. For listings that must not stall the core.
    pub fn page(
        &self,
        from: usize,
        limit: usize,
        mut each: impl FnMut(Flow, Conn),
    ) -> Option<usize> {
        let mut from = u32::try_from(from).ok()?;
        for _ in 0..PASSED_OVER {
            if !self.slab.is_free_from(from) {
                break;
            }
            (_, from) = self.slab.run(from, LISTED)?;
        }
        let (entries, next) = self.slab.run(from, limit)?;
        for entry in entries.iter().filter(|entry| entry.packed().is_used()) {
            each(entry.flow(), entry.packed().conn());
        }
        (next < self.slab.end()).then_some(next as usize)
    }
}
