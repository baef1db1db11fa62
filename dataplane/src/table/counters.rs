//! What happened in a table, per shard, for metrics. No part of the protocol, so the model
//! checker need not see it.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;

/// A table's size and events, summed over its shards.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Entries now, up to what cores do at this moment. Invalid ones count until they expire.
    pub entries: u64,
    /// Of these, IPv6 ones.
    pub entries_v6: u64,
    /// Entries ever made.
    pub inserted: u64,
    /// Slots in all.
    pub slots: usize,
    /// Memory for slots, in bytes.
    pub bytes: usize,
    /// Of these, IPv6 ones.
    pub bytes_v6: usize,
    /// Requests for an entry that found no room.
    pub full: u64,
    /// Times that a core began to count connections of a template for itself.
    pub carried: u64,
}

#[derive(Default)]
struct Shard {
    inserted: AtomicU64,
    freed: AtomicU64,
    inserted_v6: AtomicU64,
    freed_v6: AtomicU64,
    full: AtomicU64,
    carried: AtomicU64,
}

/// One padded line of counters per shard.
pub(super) struct Counters(Box<[CachePadded<Shard>]>);

impl Counters {
    pub(super) fn new(shards: usize) -> Self {
        Self((0..shards).map(|_| CachePadded::new(Shard::default())).collect())
    }

    pub(super) fn inserted(&self, shard: u32, v6: bool) {
        self.add(shard, |counters| &counters.inserted);
        if v6 {
            self.add(shard, |counters| &counters.inserted_v6);
        }
    }

    /// One IPv4 entry more, counted by the only core there is: a plain addition, because one
    /// that no other core can interrupt waits until all earlier stores have been done.
    #[inline(always)]
    pub(super) fn inserted_alone(&self) {
        if let [shard] = &*self.0 {
            let inserted = shard.inserted.load(Ordering::Relaxed);
            shard.inserted.store(inserted + 1, Ordering::Relaxed);
        }
    }

    pub(super) fn freed(&self, shard: u32, v6: bool) {
        if v6 {
            self.add(shard, |counters| &counters.freed_v6);
        }
        self.add(shard, |counters| &counters.freed);
    }

    pub(super) fn full(&self, shard: u32) {
        self.add(shard, |counters| &counters.full);
    }

    pub(super) fn carried(&self, shard: u32) {
        self.add(shard, |counters| &counters.carried);
    }

    pub(super) fn stats(&self, slots: usize, [bytes_v4, bytes_v6]: [usize; 2]) -> Stats {
        let sum = |of: fn(&Shard) -> &AtomicU64| -> u64 {
            self.0.iter().map(|shard| of(shard).load(Ordering::Relaxed)).sum()
        };
        // Read first, so that an entry that is made and freed meanwhile cannot count below 0.
        let [freed, freed_v6] = [sum(|shard| &shard.freed), sum(|shard| &shard.freed_v6)];
        let inserted = sum(|shard| &shard.inserted);
        Stats {
            entries: inserted.saturating_sub(freed),
            entries_v6: sum(|shard| &shard.inserted_v6).saturating_sub(freed_v6),
            inserted,
            slots,
            bytes: bytes_v4 + bytes_v6,
            bytes_v6,
            full: sum(|shard| &shard.full),
            carried: sum(|shard| &shard.carried),
        }
    }

    fn add(&self, shard: u32, counter: impl Fn(&Shard) -> &AtomicU64) {
        if let Some(shard) = self.0.get(shard as usize) {
            counter(shard).fetch_add(1, Ordering::Relaxed);
        }
    }
}
