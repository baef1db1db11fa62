//! The entries of one table: each under one number for life, and mostly where its flow's hash
//! says.
//!
//! An entry is put into its flow's home, a cache line of as many entries as fit, where that has
//! room: a lookup then reads that line and nothing else. Four of five entries are at home in a
//! table that is filled as far as tables are meant to be. Memory comes in segments; growth adds
//! one and moves nothing, and entries whose home is in another segment since are found through
//! the index, as all that are away.

use arrayvec::ArrayVec;

use super::entry::{Entry, Packed};
use super::places::{BLOCK, Places};
use super::table::Slot;
use crate::block::Block;
use crate::tick::Tick;

/// Segments that a slab may have.
const SEGMENTS: usize = 16;
const PLACE_BITS: u32 = 24;
/// Entries that one segment may have.
const SEGMENT: usize = 1 << PLACE_BITS;
/// Entries that a slab may have.
pub(super) const LIMIT: usize = SEGMENTS * SEGMENT;
/// Entries of a block are looked at this often at least, whatever they say.
const LONGEST: u32 = 60 * crate::tick::TICKS_PER_SECOND;

/// Memory for entries.
pub(super) struct Segment<E> {
    entries: Block<E>,
    places: Places,
}

impl<E: Entry> Segment<E> {
    fn new(entries: usize) -> Self {
        // Written, not just reserved: no core is to wait for a page.
        Self { entries: Block::new(entries, E::default), places: Places::new(entries) }
    }

    fn lines(&self) -> u64 {
        (self.entries.len() / per_line::<E>()) as u64
    }
}

impl<E> Segment<E> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}

/// Segments for so many entries, all of their pages touched.
pub(super) fn segments<E: Entry>(mut entries: usize) -> Vec<Segment<E>> {
    let mut segments = Vec::new();
    while entries > 0 {
        let now = entries.min(SEGMENT);
        segments.push(Segment::new(now));
        entries -= now;
    }
    segments
}

/// Entries in a home.
pub(super) const fn per_line<E>() -> usize {
    64 / size_of::<E>()
}

#[inline(always)]
fn split(number: u32) -> (usize, usize) {
    ((number >> PLACE_BITS) as usize, number as usize & (SEGMENT - 1))
}

fn joined(segment: usize, place: usize) -> u32 {
    (segment << PLACE_BITS | place) as u32
}

/// The entries.
pub(super) struct Slab<E> {
    segments: ArrayVec<Segment<E>, SEGMENTS>,
    capacity: usize,
    used: usize,
    /// Where a sweep goes on, and from when on the block there has to be looked at, by what
    /// was seen of it; `None` where its beginning was not.
    sweep_at: u32,
    sweep_due: Option<Tick>,
}

impl<E: Entry> Slab<E> {
    pub(super) fn new(capacity: usize) -> Self {
        let segments = ArrayVec::new();
        let mut slab = Self { segments, capacity: 0, used: 0, sweep_at: 0, sweep_due: None };
        let _ = slab.grow(self::segments(capacity.min(LIMIT)));
        slab
    }

    /// Adds segments; gives them back where there would be too many.
    pub(super) fn grow(&mut self, more: Vec<Segment<E>>) -> Result<(), Vec<Segment<E>>> {
        if more.len() > self.segments.remaining_capacity() {
            return Err(more);
        }
        self.capacity += more.iter().map(Segment::len).sum::<usize>();
        self.segments.extend(more);
        Ok(())
    }

    pub(super) fn has_room_for(&self, segments: usize) -> bool {
        segments <= self.segments.remaining_capacity()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Entries in use.
    #[inline]
    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn bytes(&self) -> usize {
        let places: usize = self.segments.iter().map(|segment| segment.places.bytes()).sum();
        self.capacity * size_of::<E>() + places
    }

    /// An entry, used or not.
    #[inline(always)]
    pub(super) fn get(&self, slot: Slot) -> Option<&E> {
        let (segment, place) = split(slot.number());
        self.segments.get(segment)?.entries.get(place)
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut E> {
        let (segment, place) = split(slot.number());
        self.segments.get_mut(segment)?.entries.get_mut(place)
    }

    /// The first entry of the home of flows with this hash, whose upper bits count.
    #[inline(always)]
    pub(super) fn home(&self, hash: u64) -> Slot {
        let line = match &self.segments[..] {
            [only] => scaled(hash, only.lines()) as usize,
            _ => return self.home_in_many(hash),
        };
        Slot::from_number((line * per_line::<E>()) as u32)
    }

    /// [`Self::home`] of many hashes; requests the homes.
    #[inline(always)]
    pub(super) fn request_homes<const N: usize>(&self, hashes: [u64; N]) -> [Slot; N] {
        let [only] = &self.segments[..] else {
            return hashes.map(|hash| {
                let home = self.home_in_many(hash);
                self.get(home).inspect(|entry| crate::prefetch::prefetch(*entry));
                home
            });
        };
        let lines = only.lines();
        hashes.map(|hash| {
            let place = scaled(hash, lines) as usize * per_line::<E>();
            only.entries.get(place).inspect(|entry| crate::prefetch::prefetch(*entry));
            Slot::from_number(place as u32)
        })
    }

    /// Where another segment was added, a flow's home is either there or where it was before:
    /// most entries stay at home.
    #[cold]
    #[inline(never)]
    fn home_in_many(&self, hash: u64) -> Slot {
        for (number, last) in self.segments.iter().enumerate().skip(1).rev() {
            let before: u64 = self.segments.iter().take(number).map(Segment::lines).sum();
            // What chooses among so many segments is independent of what chooses among fewer.
            let line = scaled(mixed(hash, number as u64), before + last.lines());
            if let Some(line) = line.checked_sub(before) {
                return Slot::from_number(joined(number, line as usize * per_line::<E>()));
            }
        }
        let line = scaled(hash, self.segments.first().map_or(0, Segment::lines));
        Slot::from_number((line as usize * per_line::<E>()) as u32)
    }

    /// Requests what is known of the places of a home.
    #[inline(always)]
    pub(super) fn prefetch_room(&self, home: Slot) {
        let (segment, place) = split(home.number());
        if let Some(segment) = self.segments.get(segment) {
            segment.places.prefetch(place);
        }
    }

    /// A home's entries.
    #[inline(always)]
    pub(super) fn line(&self, home: Slot) -> Option<&[E]> {
        let (segment, place) = split(home.number());
        self.segments.get(segment)?.entries.get(place..place + per_line::<E>())
    }

    /// Puts an entry into its home if that has room, else where there is any.
    pub(super) fn add(&mut self, entry: E, home: Slot) -> Option<Slot> {
        let (at_home, place) = split(home.number());
        let segment = self.segments.get_mut(at_home)?;
        let mut found = segment.places.take_of(place, per_line::<E>());
        let mut number = at_home;
        if found.is_none() {
            let near = segment.places.take_near(place);
            found = near;
            if near.is_none() {
                let others = self.segments.iter_mut().enumerate();
                (number, found) = others
                    .filter(|(other, _)| *other != at_home)
                    .find_map(|(other, segment)| Some((other, segment.places.take_near(0)?)))
                    .map(|(other, place)| (other, Some(place)))?;
            }
        }
        let slot = Slot::from_number(joined(number, found?));
        *self.get_mut(slot)? = entry;
        self.used += 1;
        self.ends_at(slot, entry.packed().expires());
        Some(slot)
    }

    /// Frees an entry.
    pub(super) fn remove(&mut self, slot: Slot) {
        let (number, place) = split(slot.number());
        let Some(segment) = self.segments.get_mut(number) else { return };
        let entry = segment.entries.get_mut(place).filter(|entry| entry.packed().is_used());
        if let Some(entry) = entry {
            *entry = E::default();
            segment.places.free(place);
            self.used -= 1;
        }
    }

    /// An entry may end then, and perhaps sooner than anybody knew.
    #[inline]
    pub(super) fn ends_at(&mut self, slot: Slot, expires: Tick) {
        let (number, place) = split(slot.number());
        if let Some(segment) = self.segments.get_mut(number) {
            segment.places.due_by(place, expires);
        }
        if let Some(due) = &mut self.sweep_due
            && slot.number() / BLOCK as u32 == self.sweep_at / BLOCK as u32
            && expires.has_come(*due)
        {
            *due = expires;
        }
    }

    /// How many entries a round of sweeping has.
    pub(super) fn round(&self) -> usize {
        if self.used == 0 { 0 } else { self.capacity }
    }

    /// The number behind the last entry.
    pub(super) fn end(&self) -> u32 {
        let last = self.segments.len().saturating_sub(1);
        self.segments.last().map_or(0, |segment| joined(last, segment.len()))
    }

    /// Entries from number `from` on to the end of its block, up to so many, and the number
    /// after them.
    pub(super) fn run(&self, from: u32, limit: usize) -> Option<(&[E], u32)> {
        let (number, place) = split(from);
        let segment = self.segments.get(number)?;
        let end = (place - place % BLOCK + BLOCK).min(place.saturating_add(limit));
        let end = end.min(segment.len());
        let next = if end == segment.len() { joined(number + 1, 0) } else { joined(number, end) };
        Some((segment.entries.get(place..end).unwrap_or_default(), next))
    }

    /// Whether no entry is in use from here to the end of its block.
    pub(super) fn is_free_from(&self, from: u32) -> bool {
        let (number, place) = split(from);
        self.segments.get(number).is_none_or(|segment| segment.places.are_free_from(place))
    }

    /// Looks at up to `budget` entries after those of the last call, round and round, and
    /// answers the first one that is `due`; `None` when the budget is used up. Entries none of
    /// which can have ended by `now` are passed over, unless `all` are to be looked at.
    pub(super) fn sweep(
        &mut self,
        budget: &mut usize,
        (now, all): (Tick, bool),
        mut due: impl FnMut(&Packed) -> bool,
    ) -> Option<Slot> {
        while *budget > 0 && self.used > 0 {
            let at = self.sweep_at;
            let (number, place) = split(at);
            let Some((entries, next)) = self.run(at, *budget) else {
                (self.sweep_at, self.sweep_due) = (0, None);
                continue;
            };
            let segment = self.segments.get(number)?;
            let mut soonest = self.sweep_due;
            if place % BLOCK == 0 {
                if !all && !segment.places.due(place).has_come(now) {
                    *budget -= (segment.len() - place).min(BLOCK).min(*budget);
                    self.sweep_at = after_block(number, place, segment.len());
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
                return Some(Slot::from_number(joined(number, place + offset)));
            }
            *budget -= entries.len().max(1).min(*budget);
            self.sweep_at = next;
            self.sweep_due = soonest;
            let (into, next) = split(next);
            let ended = into != number || next % BLOCK == 0;
            if ended
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
        let (number, place) = split(self.sweep_at);
        if let Some(segment) = self.segments.get(number)
            && segment.places.due(place).has_come(now)
            && let Some((entries, _)) = self.run(self.sweep_at, BLOCK)
        {
            entries.iter().step_by(per_line::<E>()).for_each(crate::prefetch::prefetch);
        }
    }
}

/// The number of the block behind this place's.
fn after_block(number: usize, place: usize, len: usize) -> u32 {
    let end = place - place % BLOCK + BLOCK;
    if end >= len { joined(number + 1, 0) } else { joined(number, end) }
}

/// The upper half of the hash, scaled.
#[inline(always)]
fn scaled(hash: u64, below: u64) -> u64 {
    ((hash >> 32) * below) >> 32
}

/// Another hash of a hash, by a number.
fn mixed(hash: u64, number: u64) -> u64 {
    let hash = (hash ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (hash ^ hash >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}
