//! What one core keeps for itself about the template table.

use std::collections::HashMap;

use super::grace::Limbo;
use super::key::Handle;

/// One core's seat at the table: it makes the core the owner of the shard with the same number,
/// and holds what the core counts for itself. There is one per core, and it is not `Clone`.
pub struct Seat {
    pub(super) core: usize,
    pub(super) seen: u64,
    pub(super) v4: Sweeper,
    pub(super) v6: Sweeper,
    pub(super) carry: Carry,
}

impl Seat {
    pub(super) fn new(core: usize) -> Self {
        Self { core, seen: 0, v4: Sweeper::new(core), v6: Sweeper::new(core), carry: Carry::new() }
    }

    /// The core's number, which is its shard's.
    pub fn core(&self) -> u32 {
        self.core as u32
    }

    /// Templates of which this core counts connections for itself, because they have more than
    /// a slot can count.
    pub fn carried(&self) -> usize {
        self.carry.counts.len()
    }
}

/// Where a shard's owner is on its rounds.
pub(super) struct Sweeper {
    pub(super) shard: u32,
    pub(super) segment: usize,
    pub(super) bucket: usize,
    pub(super) limbo: Limbo,
}

impl Sweeper {
    pub(super) fn new(shard: usize) -> Self {
        Self { shard: shard as u32, segment: 0, bucket: 0, limbo: Limbo::new() }
    }
}

/// The connections of this core beyond what a slot can count.
///
/// A slot counts up to a limit. Beyond it, each core counts for itself: its next connection is
/// its *anchor*, counted in the slot (which has room for one per core above the limit); all
/// further ones are counted here alone. Connections are released here first and the anchor last. So
/// while a core counts for itself the slot's count is at least 1, and a count of 0 in the slot
/// means 0 everywhere, which one compare-and-swap can rely on. A connection is counted and
/// released by the same core, as a flow stays on its core.
pub(super) struct Carry {
    counts: HashMap<Handle, u32>,
}

impl Carry {
    /// Room before the map must allocate. A template is in it only while it has had more
    /// than 1,700 connections at once.
    const CAPACITY: usize = 1024;

    fn new() -> Self {
        Self { counts: HashMap::with_capacity(Self::CAPACITY) }
    }

    /// Whether this core counts for itself.
    pub(super) fn has(&self, handle: Handle) -> bool {
        self.counts.contains_key(&handle)
    }

    /// The slot has just counted this core's anchor.
    pub(super) fn anchor(&mut self, handle: Handle) {
        self.counts.insert(handle, 0);
    }

    /// One connection more.
    pub(super) fn hold(&mut self, handle: Handle) {
        if let Some(count) = self.counts.get_mut(&handle) {
            *count = count.saturating_add(1);
        }
    }

    /// One connection less, if there is one besides the anchor. If not, the core stops counting
    /// for itself and the connection is to be taken from the slot: false.
    pub(super) fn release(&mut self, handle: Handle) -> bool {
        match self.counts.get_mut(&handle) {
            Some(0) => {
                self.counts.remove(&handle);
                false
            }
            Some(count) => {
                *count -= 1;
                true
            }
            None => false,
        }
    }
}
