//! Grace periods: when may the memory of something dead be used anew?
//!
//! A core calls [`Grace::quiescent`] between two bursts, where it holds on to nothing it has
//! read. What died before [`Grace::begin`] is out of every core's sight as soon as each core
//! has been quiescent once since, which [`Grace::over`] tells without waiting.
//!
//! Why it is right: `quiescent` acquires the epoch that `begin` advanced after the death, so
//! what the core reads later shows the death or something newer; and it releases its mark, so
//! what the core did earlier happened before the owner saw the mark. A core that is away reads
//! nothing; the fences in `begin` and `back` order its return after the death, or make
//! `over` see that it is back.

use crossbeam::utils::CachePadded;

use super::sync::{AtomicU64, Ordering, fence};

/// A core that reads nothing until it is back.
const AWAY: u64 = u64::MAX;

/// The cores' marks and the epoch they follow.
pub(super) struct Grace {
    epoch: CachePadded<AtomicU64>,
    marks: Box<[CachePadded<AtomicU64>]>,
}

impl Grace {
    /// All `cores` count as present from the start.
    pub(super) fn new(cores: usize) -> Self {
        let marks = (0..cores).map(|_| CachePadded::new(AtomicU64::new(0))).collect();
        Self { epoch: CachePadded::new(AtomicU64::new(0)), marks }
    }

    /// The core holds nothing it read before. One load of a line that seldom changes; its own
    /// line is written only when an epoch has begun since the core's last mark, `seen`.
    #[inline]
    pub(super) fn quiescent(&self, core: usize, seen: &mut u64) {
        let epoch = self.epoch.load(Ordering::Acquire);
        if epoch != *seen {
            self.mark(core, epoch);
            *seen = epoch;
        }
    }

    /// The core will read nothing until it is `back`.
    pub(super) fn away(&self, core: usize) {
        self.mark(core, AWAY);
    }

    /// The core reads again.
    pub(super) fn back(&self, core: usize, seen: &mut u64) {
        *seen = self.epoch.load(Ordering::Acquire);
        self.mark(core, *seen);
        fence(Ordering::SeqCst);
    }

    /// Begins a grace period for everything that is dead by now.
    pub(super) fn begin(&self) -> u64 {
        let epoch = self.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        fence(Ordering::SeqCst);
        epoch
    }

    /// Whether every core has been quiescent since that `begin`.
    pub(super) fn over(&self, since: u64) -> bool {
        self.marks.iter().all(|mark| mark.load(Ordering::Acquire) >= since)
    }

    fn mark(&self, core: usize, epoch: u64) {
        if let Some(mark) = self.marks.get(core) {
            mark.store(epoch, Ordering::Release);
        }
    }
}

/// Dead slots on their way to being free: those waiting for a grace period to end, and those
/// that died after it began. Bounded; what does not fit is found again by the next sweep.
pub(super) struct Limbo {
    waiting: Vec<u32>,
    since: u64,
    filling: Vec<u32>,
}

impl Limbo {
    /// Slots per grace period.
    const CAPACITY: usize = 1024;

    pub(super) fn new() -> Self {
        let empty = || Vec::with_capacity(Self::CAPACITY);
        Self { waiting: empty(), since: 0, filling: empty() }
    }

    /// How many `push` has room for.
    pub(super) fn room(&self) -> usize {
        Self::CAPACITY.saturating_sub(self.filling.len())
    }

    /// Whether no slot is waiting here.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.filling.is_empty()
    }

    /// Takes a slot that is dead.
    pub(super) fn push(&mut self, slot: u32) {
        self.filling.push(slot);
    }

    /// Hands out slots, at most `budget`, that no core can have in sight any more.
    pub(super) fn reclaim(&mut self, grace: &Grace, budget: usize, mut free: impl FnMut(u32)) {
        if !self.waiting.is_empty() && grace.over(self.since) {
            let keep = self.waiting.len().saturating_sub(budget);
            self.waiting.drain(keep..).for_each(&mut free);
        }
        if self.waiting.is_empty() && !self.filling.is_empty() {
            std::mem::swap(&mut self.waiting, &mut self.filling);
            self.since = grace.begin();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_grace_period_ends_when_every_present_core_has_been_quiescent() {
        let grace = Grace::new(3);
        let mut seen = [0; 3];
        grace.away(2);
        let since = grace.begin();
        assert!(!grace.over(since));
        grace.quiescent(0, &mut seen[0]);
        assert!(!grace.over(since));
        grace.quiescent(1, &mut seen[1]);
        assert!(grace.over(since));
        grace.back(2, &mut seen[2]);
        assert!(grace.over(since), "a core that came back later cannot know the dead");
        assert!(!grace.over(grace.begin()));
    }

    #[test]
    fn limbo_hands_out_nothing_before_its_grace_period_ends() {
        let grace = Grace::new(1);
        let mut seen = 0;
        let mut limbo = Limbo::new();
        let mut freed = Vec::new();
        limbo.push(7);
        limbo.reclaim(&grace, 10, |slot| freed.push(slot));
        limbo.push(8);
        limbo.reclaim(&grace, 10, |slot| freed.push(slot));
        assert!(freed.is_empty());
        grace.quiescent(0, &mut seen);
        limbo.reclaim(&grace, 10, |slot| freed.push(slot));
        assert_eq!(freed, [7], "the one that died later has a later grace period");
        grace.quiescent(0, &mut seen);
        limbo.reclaim(&grace, 10, |slot| freed.push(slot));
        assert_eq!(freed, [7, 8]);
    }
}
