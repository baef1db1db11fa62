//! The entries of one table: each under one number for life, and mostly where its flow's hash
//! says.
//!
//! An entry is put into its flow's home, a cache line of as many entries as fit, where that has
//! room: a lookup then reads that line and nothing else. Three of four entries are at home in a
//! table that is filled as far as tables are meant to be. Each home counts those that are away, in
//! bits that its entries have to spare: only of these the index knows. Memory comes in segments;
//! growth adds one and moves nothing, and entries are found where their home was before, too.

mod homes;
mod segment;
mod sweep;

use arrayvec::ArrayVec;

use super::entry::Entry;
use super::places::BLOCK;
use super::table::Slot;
use crate::tick::Tick;

pub(super) use segment::{Segment, per_line, segment};

/// Segments that a slab may have, and units that they may take in all.
const UNITS: usize = 16;
const UNIT_BITS: u32 = 24;
/// A segment begins at a multiple of so many numbers.
const UNIT: usize = 1 << UNIT_BITS;
/// Entries that a slab may have.
pub(super) const LIMIT: usize = UNITS * UNIT;
/// No segment has the unit.
const NOBODYS: u8 = u8::MAX;

/// The entries.
pub(super) struct Slab<E> {
    segments: ArrayVec<Segment<E>, UNITS>,
    /// Which segment has a unit of numbers.
    owners: [u8; UNITS],
    capacity: usize,
    used: usize,
    /// Where a sweep goes on, and from when on the block there has to be looked at, by what
    /// was seen of it; `None` where its beginning was not.
    sweep_at: u32,
    sweep_due: Option<Tick>,
}

impl<E: Entry> Slab<E> {
    pub(super) fn new(capacity: usize) -> Self {
        let (segments, owners) = (ArrayVec::new(), [NOBODYS; UNITS]);
        let mut slab =
            Self { segments, owners, capacity: 0, used: 0, sweep_at: 0, sweep_due: None };
        let _ = slab.grow(segment(capacity));
        slab
    }

    /// Adds a segment; gives it back where there would be too many.
    pub(super) fn grow(&mut self, more: Option<Segment<E>>) -> Result<(), Option<Segment<E>>> {
        if !self.has_room_for(more.as_ref()) {
            return Err(more);
        }
        let Some(mut more) = more else { return Ok(()) };
        more.base = self.end_of_units();
        more.before = self.segments.iter().map(Segment::lines).sum();
        let (first, number) = ((more.base >> UNIT_BITS) as usize, self.segments.len());
        self.owners.iter_mut().skip(first).take(more.units()).for_each(|of| *of = number as u8);
        self.capacity += more.len();
        self.segments.push(more);
        Ok(())
    }

    fn end_of_units(&self) -> u32 {
        self.segments.last().map_or(0, Segment::behind)
    }

    pub(super) fn has_room_for(&self, segment: Option<&Segment<E>>) -> bool {
        let units = (self.end_of_units() >> UNIT_BITS) as usize;
        segment.is_none_or(|segment| units + segment.units() <= UNITS)
    }

    /// Which segment an entry is in, and where there.
    #[inline(always)]
    fn at(&self, number: u32) -> Option<(usize, usize)> {
        if let [only] = &self.segments[..] {
            let place = number as usize;
            return (place < only.len()).then_some((0, place));
        }
        let owner = usize::from(*self.owners.get((number >> UNIT_BITS) as usize)?);
        let place = number - self.segments.get(owner)?.base;
        Some((owner, place as usize))
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
        match &self.segments[..] {
            [only] => only.entries.get(slot.number() as usize),
            _ => self.get_in_many(slot),
        }
    }

    #[cold]
    #[inline(never)]
    fn get_in_many(&self, slot: Slot) -> Option<&E> {
        let (segment, place) = self.at(slot.number())?;
        self.segments.get(segment)?.entries.get(place)
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut E> {
        // The borrow of one arm would last for the other.
        if self.segments.len() != 1 {
            return self.get_mut_in_many(slot);
        }
        self.segments.first_mut()?.entries.get_mut(slot.number() as usize)
    }

    #[cold]
    #[inline(never)]
    fn get_mut_in_many(&mut self, slot: Slot) -> Option<&mut E> {
        let (segment, place) = self.at(slot.number())?;
        self.segments.get_mut(segment)?.entries.get_mut(place)
    }

    /// Requests what is known of the places of a home.
    #[inline(always)]
    pub(super) fn prefetch_room(&self, home: Slot) {
        if let Some((segment, place)) = self.at(home.number())
            && let Some(segment) = self.segments.get(segment)
        {
            segment.places.prefetch(place);
        }
    }

    /// Where an entry would be put whose home this is, if that has no room now.
    #[inline(always)]
    pub(super) fn room_if_full(&self, home: Slot) -> Option<Slot> {
        if self.line(home)?.iter().any(|entry| !entry.packed().is_used()) {
            return None;
        }
        let (segment, place) = self.at(home.number())?;
        let segment = self.segments.get(segment)?;
        Some(Slot::from_number(segment.number(segment.places.near(place)?)))
    }

    /// All entries, where there is one segment.
    #[inline(always)]
    pub(super) fn only(&self) -> Option<&[E]> {
        match &self.segments[..] {
            [only] => Some(&only.entries),
            _ => None,
        }
    }

    /// A home's entries.
    #[inline(always)]
    pub(super) fn line(&self, home: Slot) -> Option<&[E]> {
        let (segment, place) = self.at(home.number())?;
        self.segments.get(segment)?.entries.get(place..place + per_line::<E>())
    }

    /// Puts an entry into its home if that has room, else where there is any.
    #[inline(always)]
    pub(super) fn add(&mut self, mut entry: E, home: Slot) -> Option<Slot> {
        let (number, place) = self.at(home.number())?;
        let segment = self.segments.get_mut(number)?;
        let slot = match segment.places.take_of(place, per_line::<E>()) {
            Some(place) => Slot::from_number(segment.number(place)),
            None => self.take_away(number, place)?,
        };
        // How many are away from here is not the entry's.
        let place = self.get_mut(slot)?;
        entry.packed_mut().set_away(place.packed().away());
        *place = entry;
        self.used += 1;
        self.ends_at(slot, entry.packed().expires());
        Some(slot)
    }

    /// Takes any place, if possible near this one.
    #[inline(never)]
    fn take_away(&mut self, at_home: usize, place: usize) -> Option<Slot> {
        let segment = self.segments.get_mut(at_home)?;
        if let Some(place) = segment.places.take_near(place) {
            return Some(Slot::from_number(segment.number(place)));
        }
        let others = self.segments.iter_mut().enumerate().filter(|(other, _)| *other != at_home);
        for (_, segment) in others {
            if let Some(place) = segment.places.take_near(0) {
                return Some(Slot::from_number(segment.number(place)));
            }
        }
        None
    }

    /// Frees an entry.
    pub(super) fn remove(&mut self, slot: Slot) {
        let Some((number, place)) = self.at(slot.number()) else { return };
        let Some(segment) = self.segments.get_mut(number) else { return };
        let entry = segment.entries.get_mut(place).filter(|entry| entry.packed().is_used());
        if let Some(entry) = entry {
            let away = entry.packed().away();
            *entry = E::default();
            entry.packed_mut().set_away(away);
            segment.places.free(place);
            self.used -= 1;
        }
    }

    /// An entry may end then, and perhaps sooner than anybody knew.
    #[inline]
    pub(super) fn ends_at(&mut self, slot: Slot, expires: Tick) {
        if let Some((number, place)) = self.at(slot.number())
            && let Some(segment) = self.segments.get_mut(number)
        {
            segment.places.due_by(place, expires);
        }
        if let Some(due) = &mut self.sweep_due
            && slot.number() / BLOCK as u32 == self.sweep_at / BLOCK as u32
            && expires.has_come(*due)
        {
            *due = expires;
        }
    }
}
