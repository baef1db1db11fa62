//! A table grown while it is in use.
//!
//! Whoever has time takes the memory ([`Growth`]); the core takes it up, moves a few buckets of
//! the index a turn, and gives back the old index ([`Spent`]) for others to free. Entries stay
//! where they are.

use arrayvec::ArrayVec;

use super::entry::{Entry, EntryV4, EntryV6};
use super::index::{Home, Index, PLACES};
use super::slab::{self, Segment};
use super::table::{Slot, Table};

/// Memory for a larger table.
pub struct Growth<E> {
    pub(super) index: Index,
    pub(super) segment: Option<Segment<E>>,
}

impl<E: Entry> Growth<E> {
    /// Memory that makes a table of `capacity` entries one of at least `wanted`.
    pub fn new(capacity: usize, wanted: usize) -> Self {
        let wanted = wanted.clamp(capacity, slab::LIMIT);
        Self { index: Index::new(wanted), segment: slab::segment(wanted - capacity) }
    }
}

/// What a table has done with: to be dropped where time does not matter.
pub struct Spent {
    index: Index,
}

impl Spent {
    pub(super) fn new(index: Index) -> Self {
        Self { index }
    }

    /// Bytes that dropping it frees.
    pub fn bytes(&self) -> usize {
        self.index.bytes()
    }
}

impl<E> std::fmt::Debug for Growth<E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let entries: usize = self.segment.as_ref().map_or(0, Segment::len);
        f.debug_struct("Growth").field("entries", &entries).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Spent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Spent").field("bytes", &self.bytes()).finish()
    }
}

/// Memory for one of a core's tables.
#[derive(Debug)]
pub enum TableGrowth {
    /// For IPv4 connections.
    V4(Growth<EntryV4>),
    /// For IPv6 connections.
    V6(Growth<EntryV6>),
}

/// What a core gives back, to be dropped.
#[derive(Debug)]
pub enum Leftover {
    /// The index before.
    Index(Spent),
    /// Memory that a table could not take up: it has as many pieces as it can have.
    Unused(TableGrowth),
}

/// An index that is being left, bucket by bucket.
pub(super) struct Leaving {
    pub(super) index: Index,
    /// Buckets before this one are empty.
    pub(super) next: usize,
}

impl<E: Entry> Table<E> {
    /// Takes up memory for more entries. Given back while the table is still growing, and where
    /// it has too many pieces.
    #[expect(clippy::result_large_err, reason = "given back for control to free; once a growth")]
    pub fn grow(&mut self, growth: Growth<E>) -> Result<(), Growth<E>> {
        if self.leaving.is_some() || !self.slab.has_room_for(growth.segment.as_ref()) {
            return Err(growth);
        }
        let Growth { index, segment } = growth;
        if let Err(segment) = self.slab.grow(segment) {
            return Err(Growth { index, segment });
        }
        let index = std::mem::replace(&mut self.index, index);
        self.leaving = Some(Leaving { index, next: 0 });
        Ok(())
    }

    /// Whether the table is between two indexes.
    #[inline]
    pub fn is_growing(&self) -> bool {
        self.leaving.is_some()
    }

    /// Moves up to `buckets` buckets (of twelve entries at the most) to the new index. Gives
    /// back the old one once it is empty.
    pub fn step(&mut self, buckets: usize) -> Option<Spent> {
        let leaving = self.leaving.as_mut()?;
        let end = leaving.next.saturating_add(buckets).min(leaving.index.buckets());
        for number in (leaving.next..end).flat_map(|bucket| leaving.index.numbers_in(bucket)) {
            if let Some(entry) = self.slab.get(Slot::from_number(number)) {
                crate::prefetch::prefetch(entry);
            }
        }
        while leaving.next < end {
            let numbers: ArrayVec<u32, PLACES> = leaving.index.numbers_in(leaving.next).collect();
            let home = |number: &u32| {
                let entry = self.slab.get(Slot::from_number(*number))?;
                Some((Home::of(E::hash(&entry.own_key(), self.secret)), *number))
            };
            let moving: ArrayVec<(Home, u32), PLACES> = numbers.iter().filter_map(home).collect();
            moving.iter().for_each(|(home, _)| self.index.prefetch(*home));
            for (home, number) in moving {
                if !self.index.insert(home, number) {
                    // Not seen at 80 % fill; the next turn may find room.
                    return None;
                }
                leaving.index.remove(home, number);
            }
            leaving.next += 1;
        }
        if leaving.next < leaving.index.buckets() {
            return None;
        }
        let Leaving { index, .. } = self.leaving.take()?;
        Some(Spent::new(index))
    }
}
