//! A core's line of the board: what it counts of all real servers, by itself alone.

use std::sync::atomic::AtomicI64;

use super::journal::Journal;
use super::tally::{Incoming, Tallies};
use super::{LIMIT, RealLoad};
use crate::ids::RealId;
use crate::pieces::{Pieces, Shelf};

/// What one core writes.
#[derive(Debug)]
pub(super) struct CoreLine {
    pub(super) loads: Pieces<RealLoad>,
    pub(super) tallies: Tallies,
    /// Of each real server's templates: those that lost their client. Seldom written, so not
    /// in the line that packets write.
    pub(super) orphans: Pieces<AtomicI64>,
    pub(super) journal: Journal,
}

impl CoreLine {
    pub(super) fn new() -> Self {
        let (loads, orphans) = (Pieces::new(LIMIT), Pieces::new(LIMIT));
        Self { loads, tallies: Tallies::new(), orphans, journal: Journal::default() }
    }
}

/// One core's counters of all real servers.
#[derive(Clone, Copy, Debug)]
pub struct CoreLoads<'a>(pub(super) &'a CoreLine);

impl<'a> CoreLoads<'a> {
    /// The counters of a real server; `None` for an id that was never reserved.
    #[inline]
    pub fn of(self, id: RealId) -> Option<&'a RealLoad> {
        self.0.loads.get(id.0 as usize)
    }

    /// Counts packets from clients of many real servers one after the other.
    #[inline(always)]
    pub(crate) fn incoming(self) -> Option<Incoming<'a>> {
        self.0.tallies.incoming(&self.0.loads)
    }

    /// Requests what [`Self::incoming`] needs of a real server.
    #[inline(always)]
    pub(crate) fn prefetch(self, id: RealId) {
        self.0.tallies.prefetch(id);
    }

    /// A look at the counters of many real servers one after the other; `None` while the first
    /// ones have none.
    #[inline(always)]
    pub(crate) fn shelf(self) -> Option<LoadShelf<'a>> {
        self.0.loads.shelf().map(LoadShelf)
    }
}

/// See [`CoreLoads::shelf`].
pub(crate) struct LoadShelf<'a>(Shelf<'a, RealLoad>);

impl<'a> LoadShelf<'a> {
    /// As [`CoreLoads::of`].
    #[inline(always)]
    pub(crate) fn of(&mut self, id: RealId) -> Option<&'a RealLoad> {
        self.0.get(id.0 as usize)
    }
}
