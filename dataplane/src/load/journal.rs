//! Whose load a core has changed, so that its schedulers need not look at everybody's.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::ids::RealId;

/// Whose load one core has changed, written and read by that core alone.
#[derive(Debug, Default)]
pub(super) struct Journal {
    ids: OnceLock<Box<[AtomicU32]>>,
    written: AtomicU64,
}

impl Journal {
    /// Changes that a journal holds: more than a turn makes.
    pub(super) const HOLDS: u64 = 4096;

    /// Keeps notes from now on.
    pub(super) fn open(&self) {
        self.ids.get_or_init(|| (0..Self::HOLDS).map(|_| AtomicU32::new(0)).collect());
    }

    /// What was noted from that point on; `None` if nothing was.
    #[inline]
    pub(super) fn since(&self, from: u64) -> Option<News<'_>> {
        let end = self.written.load(Relaxed);
        (end != from).then_some(News { journal: self, from, end })
    }

    /// Notes a change, if the journal is open.
    #[inline]
    pub(super) fn note(&self, id: RealId) {
        let Some(ids) = self.ids.get() else { return };
        let written = self.written.load(Relaxed);
        if let Some(place) = ids.get((written % Self::HOLDS) as usize) {
            place.store(id.0, Relaxed);
        }
        self.written.store(written.wrapping_add(1), Relaxed);
    }
}

/// What a journal tells from some point on.
pub struct News<'a> {
    journal: &'a Journal,
    from: u64,
    end: u64,
}

impl News<'_> {
    /// The point that it ends at.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Tells each real server in turn; `false` if the journal does not reach back that far.
    #[inline]
    pub fn read(self, mut each: impl FnMut(RealId)) -> bool {
        let Some(ids) = self.journal.ids.get() else { return false };
        if self.end.wrapping_sub(self.from) > Journal::HOLDS {
            return false;
        }
        let mut at = self.from;
        while at != self.end {
            if let Some(id) = ids.get((at % Journal::HOLDS) as usize) {
                each(RealId(id.load(Relaxed)));
            }
            at = at.wrapping_add(1);
        }
        true
    }
}
