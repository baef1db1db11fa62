//! A segment of a slab: memory for entries, taken at once, that begins at a number of its own.

use super::{LIMIT, UNIT, UNIT_BITS};
use crate::block::Block;
use crate::conn::entry::Entry;
use crate::conn::places::{BLOCK, Places};

/// Memory for entries.
pub(in crate::conn) struct Segment<E> {
    pub(super) entries: Block<E>,
    pub(super) places: Places,
    /// The number of its first entry.
    pub(super) base: u32,
    /// Homes of all segments before.
    pub(super) before: u64,
}

impl<E: Entry> Segment<E> {
    fn new(entries: usize) -> Self {
        // Written, not just reserved: no core is to wait for a page.
        let (entries, places) = (Block::new(entries, E::default), Places::new(entries));
        Self { entries, places, base: 0, before: 0 }
    }

    pub(super) fn lines(&self) -> u64 {
        (self.entries.len() / per_line::<E>()) as u64
    }
}

impl<E> Segment<E> {
    pub(in crate::conn) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn units(&self) -> usize {
        self.len().div_ceil(UNIT)
    }

    /// The number that the segment behind it begins with.
    pub(super) fn behind(&self) -> u32 {
        self.base + (self.units() << UNIT_BITS) as u32
    }

    pub(super) fn number(&self, place: usize) -> u32 {
        self.base + place as u32
    }

    /// The number of the block behind this place's.
    pub(super) fn after_block(&self, place: usize) -> u32 {
        let end = place - place % BLOCK + BLOCK;
        if end >= self.len() { self.behind() } else { self.number(end) }
    }
}

/// A segment for so many entries, if any, all of its pages touched.
pub(in crate::conn) fn segment<E: Entry>(entries: usize) -> Option<Segment<E>> {
    (entries > 0).then(|| Segment::new(entries.min(LIMIT)))
}

/// Entries in a home.
pub(in crate::conn) const fn per_line<E>() -> usize {
    64 / size_of::<E>()
}
