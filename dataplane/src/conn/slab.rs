//! The entries of one table: dense, and each under one number for life.
//!
//! Memory comes in segments; growth adds one and moves nothing.

use arrayvec::ArrayVec;

use super::entry::{Entry, Packed};
use super::table::Slot;
use crate::block::Block;

/// Segments that a slab may have.
const SEGMENTS: usize = 16;
const PLACE_BITS: u32 = 24;
/// Entries that one segment may have.
const SEGMENT: usize = 1 << PLACE_BITS;
/// Entries that a slab may have.
pub(super) const LIMIT: usize = SEGMENTS * SEGMENT;

/// Memory for entries.
pub(super) type Segment<E> = Block<E>;

/// The entries.
pub(super) struct Slab<E> {
    segments: ArrayVec<Segment<E>, SEGMENTS>,
    /// Entries that were in use before.
    first_free: Option<u32>,
    /// The first entry that was never in use.
    fresh: u32,
    capacity: usize,
}

/// Segments for so many entries, all of their pages touched.
pub(super) fn segments<E: Entry>(mut entries: usize) -> Vec<Segment<E>> {
    let mut segments = Vec::new();
    while entries > 0 {
        let now = entries.min(SEGMENT);
        // Written, not just reserved: no core is to wait for a page.
        segments.push(Block::new(now, E::default));
        entries -= now;
    }
    segments
}

fn split(number: u32) -> (usize, usize) {
    ((number >> PLACE_BITS) as usize, number as usize & (SEGMENT - 1))
}

fn joined(segment: usize, place: usize) -> u32 {
    (segment << PLACE_BITS | place) as u32
}

impl<E: Entry> Slab<E> {
    pub(super) fn new(capacity: usize) -> Self {
        let mut slab = Self { segments: ArrayVec::new(), first_free: None, fresh: 0, capacity: 0 };
        let _ = slab.grow(segments(capacity.min(LIMIT)));
        slab
    }

    /// Adds segments; gives them back where there would be too many.
    pub(super) fn grow(&mut self, more: Vec<Segment<E>>) -> Result<(), Vec<Segment<E>>> {
        if more.len() > self.segments.remaining_capacity() {
            return Err(more);
        }
        self.capacity += more.iter().map(|segment| segment.len()).sum::<usize>();
        self.segments.extend(more);
        Ok(())
    }

    pub(super) fn has_room_for(&self, segments: usize) -> bool {
        segments <= self.segments.remaining_capacity()
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(super) fn bytes(&self) -> usize {
        self.capacity * size_of::<E>()
    }

    /// An entry, used or not.
    #[inline(always)]
    pub(super) fn get(&self, slot: Slot) -> Option<&E> {
        let (segment, place) = split(slot.number());
        self.segments.get(segment)?.get(place)
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut E> {
        let (segment, place) = split(slot.number());
        self.segments.get_mut(segment)?.get_mut(place)
    }

    /// Puts an entry where there is room.
    #[inline]
    pub(super) fn add(&mut self, entry: E) -> Option<Slot> {
        let number = self.first_free.or_else(|| self.next_fresh())?;
        let slot = Slot::from_number(number);
        let place = self.get_mut(slot)?;
        let before = std::mem::replace(place, entry);
        if self.first_free.is_some() {
            self.first_free = before.packed().next_free();
        } else {
            self.fresh = number + 1;
        }
        Some(slot)
    }

    /// Frees an entry.
    pub(super) fn remove(&mut self, slot: Slot) {
        let next = self.first_free;
        if let Some(entry) = self.get_mut(slot).filter(|entry| entry.packed().is_used()) {
            *entry = E::default();
            *entry.packed_mut() = Packed::free(next);
            self.first_free = Some(slot.number());
        }
    }

    /// The first number that was never given out, if there is memory behind it.
    fn next_fresh(&self) -> Option<u32> {
        let (segment, place) = split(self.fresh);
        if place < self.segments.get(segment)?.len() {
            return Some(self.fresh);
        }
        (segment + 1 < self.segments.len()).then(|| joined(segment + 1, 0))
    }

    /// How many entries were ever in use.
    pub(super) fn given_out(&self) -> usize {
        let (last, place) = split(self.fresh);
        self.segments.iter().take(last).map(|segment| segment.len()).sum::<usize>() + place
    }

    /// The number from which on no entry was ever in use.
    pub(super) fn end(&self) -> u32 {
        self.fresh
    }

    /// Up to `limit` entries from number `from` on, and the number after them.
    pub(super) fn run(&self, from: u32, limit: usize) -> Option<(&[E], u32)> {
        if from >= self.fresh {
            return None;
        }
        let (segment, place) = split(from);
        let entries = self.segments.get(segment)?;
        let used = match split(self.fresh) {
            (last, fresh) if last == segment => fresh.min(entries.len()),
            _ => entries.len(),
        };
        let end = place.saturating_add(limit).min(used);
        let next = if end == entries.len() { joined(segment + 1, 0) } else { joined(segment, end) };
        Some((entries.get(place..end).unwrap_or_default(), next))
    }
}
