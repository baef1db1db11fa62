//! Room for a new IPv4 client, for the only core of a table: nobody else looks for it meanwhile.

use super::{Dense, FIRST_IF_FREE, MARK};
use crate::cpu::Tier;
use crate::table::cells::Row;
use crate::table::client_slots::{Slots, Word};
use crate::table::client_view::ServiceReal;
use crate::table::line::Candidates;
use crate::table::sync::Ordering;

/// What two buckets have for a client.
pub(in crate::table) enum Room {
    /// The client stands in one of them, in whatever state.
    Taken,
    /// It does not, and this place is where it should go.
    Vacant(usize),
    /// It does not, and no slot is free.
    Full,
}

impl Dense {
    /// Marks a bucket: not all clients that begin there are there.
    pub(super) fn mark(&self, bucket: usize) {
        if let Some(line) = self.0.get(bucket)
            && line.beside[MARK].load(Ordering::Relaxed) == 0
        {
            line.beside[MARK].store(1, Ordering::Release);
        }
    }

    /// Whether a client that is not in this bucket, which is its first one, may be in its second
    /// one. For the only core of a table: another core's clients may be there before their mark
    /// is seen.
    #[inline(always)]
    pub(in crate::table) fn goes_on(&self, bucket: usize) -> bool {
        self.0.get(bucket).is_some_and(|line| line.beside[MARK].load(Ordering::Acquire) != 0)
    }

    /// Looks for a client, and for room for it, in the two buckets where it may stand. For the
    /// only core of a table.
    #[inline(always)]
    pub(in crate::table) fn room_in(&self, buckets: [usize; 2], name: u64, tier: Tier) -> Room {
        let [Some(first), Some(second)] = buckets.map(|bucket| self.0.get(bucket)) else {
            return Room::Full;
        };
        let goes_on = first.beside[MARK].load(Ordering::Acquire) != 0;
        // No word but a free one is without a scope.
        let [taken, free] = first.candidates_of_two([name, 0], tier);
        if taken.is_any() || goes_on && second.candidates(name).is_any() {
            return Room::Taken;
        }
        match free.up_to_three() {
            FIRST_IF_FREE => Room::Vacant(buckets[0] * Self::WAYS + free.first()),
            few => self.room_in_crowd(buckets, (free, few), second.candidates(0)),
        }
    }

    /// The same where the first bucket is nearly full: in the emptier one.
    #[cold]
    fn room_in_crowd(
        &self,
        [first, second]: [usize; 2],
        (free, few): (Candidates, usize),
        free_in_second: Candidates,
    ) -> Room {
        let (bucket, free) = match free_in_second.up_to_three() > few {
            true => {
                self.mark(first);
                (second, free_in_second)
            }
            false => (first, free),
        };
        match free.is_any() {
            true => Room::Vacant(bucket * Self::WAYS + free.first()),
            false => Room::Full,
        }
    }

    /// Free -> bound at once. For the only core of a table.
    #[inline(always)]
    pub(in crate::table) fn take(&self, place: usize, name: u64, real: ServiceReal, age_now: u8) {
        self.age(place).store(age_now, Ordering::Release);
        self.word(place).store(Word::of(name, real).0, Ordering::Release);
    }
}
