//! Going through all entries of a slab, some at a time: the round of a sweep and of a listing.

use super::Slab;
use super::segment::per_line;
use crate::conn::entry::Entry;
use crate::conn::packed::Packed;
use crate::conn::places::BLOCK;
use crate::conn::table::Slot;
use crate::tick::{TICKS_PER_SECOND, Tick};

/// Entries of a block are looked at this often at least, whatever they say.
const LONGEST: u32 = 60 * TICKS_PER_SECOND;

impl<E: Entry> Slab<E> {
    /// How many entries a round of sweeping has.
    pub(in crate::conn) fn round(&self) -> usize {
        if self.used == 0 { 0 } else { self.capacity }
    }

    /// The number behind the last entry.
    pub(in crate::conn) fn end(&self) -> u32 {
        self.segments.last().map_or(0, |segment| segment.number(segment.len()))
    }

    /// Entries from number `from` on to the end of its block, up to so many, and the number
    /// after them.
    pub(in crate::conn) fn run(&self, from: u32, limit: usize) -> Option<(&[E], u32)> {
        let (number, place) = self.at(from)?;
        let segment = self.segments.get(number)?;
        let end = (place - place % BLOCK + BLOCK).min(place.saturating_add(limit));
        let end = end.min(segment.len());
        let next = if end == segment.len() { segment.behind() } else { segment.number(end) };
        Some((segment.entries.get(place..end)?, next))
    }

    /// Whether no entry is in use from here to the end of its block.
    pub(in crate::conn) fn is_free_from(&self, from: u32) -> bool {
        let at =
            self.at(from).and_then(|(number, place)| Some((self.segments.get(number)?, place)));
        at.is_none_or(|(segment, place)| segment.places.are_free_from(place))
    }

    /// Looks at up to `budget` entries after those of the last call, round and round, and
    /// answers the first one that is `due`; `None` when the budget is used up. Entries none of
    /// which can have ended by `now` are passed over, unless `all` are to be looked at.
    pub(in crate::conn) fn sweep(
        &mut self,
        budget: &mut usize,
        (now, all): (Tick, bool),
        mut due: impl FnMut(&Packed) -> bool,
    ) -> Option<Slot> {
        while *budget > 0 && self.used > 0 {
            let at = self.sweep_at;
            let here = self.at(at).zip(self.run(at, *budget));
            let Some(((number, place), (entries, next))) = here else {
                (self.sweep_at, self.sweep_due) = (0, None);
                continue;
            };
            let segment = self.segments.get(number)?;
            let mut soonest = self.sweep_due;
            if place % BLOCK == 0 {
                if !all && !segment.places.due(place).has_come(now) {
                    *budget -= (segment.len() - place).min(BLOCK).min(*budget);
                    self.sweep_at = segment.after_block(place);
                    continue;
                }
                soonest = Some(now.plus(LONGEST));
            }
            let mut found = None;
            for (offset, entry) in entries.iter().enumerate() {
                let packed = entry.packed();
                if !packed.is_used() {
                    continue;
                }
                if due(packed) {
                    found = Some(offset);
                    break;
                }
                soonest = soonest.map(|tick| match packed.expires().has_come(tick) {
                    true => packed.expires(),
                    false => tick,
                });
            }
            if let Some(offset) = found {
                *budget -= offset + 1;
                let last = offset + 1 == entries.len();
                self.sweep_at = if last { next } else { at + offset as u32 + 1 };
                // The block keeps its time: it is looked at again in the next round.
                self.sweep_due = None;
                return Some(Slot::from_number(at + offset as u32));
            }
            *budget -= entries.len().max(1).min(*budget);
            self.sweep_at = next;
            self.sweep_due = soonest;
            // Segments and blocks begin at multiples of a block's length.
            if next % BLOCK as u32 == 0
                && let Some(due) = self.sweep_due.take()
                && let Some(segment) = self.segments.get_mut(number)
            {
                segment.places.set_due(place, due);
            }
        }
        self.fetch_next(now);
        None
    }

    /// What the next call comes to stands there, but the CPU does not see that by itself.
    fn fetch_next(&self, now: Tick) {
        if let Some((number, place)) = self.at(self.sweep_at)
            && let Some(segment) = self.segments.get(number)
            && segment.places.due(place).has_come(now)
            && let Some((entries, _)) = self.run(self.sweep_at, BLOCK)
        {
            entries.iter().step_by(per_line::<E>()).for_each(crate::prefetch::prefetch);
        }
    }
}
