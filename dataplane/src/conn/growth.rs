//! A table grown while it is in use.
//!
//! Whoever has time takes the memory ([`Growth`]); the core takes it up, moves a few buckets of
//! the index a turn, and gives back the old index ([`Spent`]) for others to free. Entries stay
//! where they are.

use super::entry::{Entry, EntryV4, EntryV6};
use super::index::Index;
use super::slab::{self, Segment};

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
