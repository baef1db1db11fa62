//! The templates that a burst's opening packets ask for: all are hashed and all lines on their
//! way from memory at once, before the first one is decided about.

use super::cells::Cells;
use super::cells_v4::V4;
use super::counters::Counters;
use super::hash::Hash;
use super::key::{ClientKey, Handle, Probe, TemplateKey};
use super::segments::{hash_of, pair_of, shard_of, third_of};
use super::template::TemplateTable;
use super::value::Value;
use crate::cpu::Tier;
use crate::ids::{RealId, ScopeId};
use crate::port::BURST;
use crate::tick::Tick;

/// An IPv4 client and its scope.
#[derive(Clone, Copy, Default)]
struct Name(u64);

impl Name {
    fn key(self) -> TemplateKey {
        let client = ClientKey::V4((self.0 >> 32) as u32);
        TemplateKey { scope: ScopeId(self.0 as u32), client }
    }
}

/// A burst's IPv4 clients that open connections, each at its frame's place.
pub struct TemplateBurst {
    /// In the order in which they were put.
    names: [Name; BURST],
    hashes: [Hash; BURST],
    count: usize,
    /// By a frame's place: which of them it is.
    turns: [u8; BURST],
}

impl Default for TemplateBurst {
    fn default() -> Self {
        let (names, hashes) = ([Name(0); BURST], [Hash::default(); BURST]);
        Self { names, hashes, count: 0, turns: [NOBODY; BURST] }
    }
}

/// No client was put there.
const NOBODY: u8 = u8::MAX;

impl TemplateBurst {
    /// Forgets all clients.
    #[inline]
    pub fn clear(&mut self) {
        self.count = 0;
        self.turns = [NOBODY; BURST];
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Puts a client to a place, under its service's netmask.
    #[inline(always)]
    pub fn put(&mut self, at: usize, client: u32, scope: ScopeId) {
        if let (Some(name), Some(turn)) = (self.names.get_mut(self.count), self.turns.get_mut(at)) {
            *name = Name(u64::from(client) << 32 | u64::from(scope.0));
            *turn = self.count as u8;
            self.count += 1;
        }
    }

    #[inline(always)]
    fn wanted(&self, at: usize) -> Option<(Name, Hash)> {
        let turn = usize::from(*self.turns.get(at)?);
        Some((*self.names.get(turn)?, *self.hashes.get(turn)?))
    }
}

impl TemplateTable {
    /// The table's only row, if only one core has it and it has not grown.
    #[inline(always)]
    fn only_row(&self) -> Option<&V4> {
        if self.shards > 1 || self.v4.announced() > 1 { None } else { self.v4.row(0) }
    }

    /// Hashes a burst's clients and requests their lines; [`Self::fetch`] requests the others.
    #[inline]
    pub fn aim(&self, burst: &mut TemplateBurst) {
        let TemplateBurst { names, hashes, count, .. } = burst;
        if let Some(row) = self.only_row() {
            let buckets = self.v4.per_shard(row);
            for (name, place) in names.iter().zip(&mut *hashes).take(*count) {
                *place = hash_of(&self.hasher, &name.key());
            }
            // One request after the other, so that the CPU has as many pages looked up at a
            // time as it can.
            for hash in hashes.iter().take(*count) {
                row.prefetch_first(Hash::scale(hash.first, buckets));
            }
            return;
        }
        for (name, place) in names.iter().zip(hashes).take(*count) {
            let key = name.key();
            let hash = hash_of(&self.hasher, &key);
            self.v4.prefetch(&Probe { key, hash, shard: shard_of(hash, self.shards) });
            *place = hash;
        }
    }

    /// Requests the second lines that will be looked at. Reads the first ones.
    #[inline]
    pub fn fetch(&self, burst: &TemplateBurst) {
        if let Some(row) = self.only_row() {
            let buckets = self.v4.per_shard(row);
            for hash in burst.hashes.iter().take(burst.count) {
                row.prefetch_second(pair_of(buckets, hash, 0));
            }
        }
    }

    /// Makes the template of the client at a place of a burst, from the picked real server, and
    /// counts the connection that it is made for: what [`Self::get_or_insert`] and
    /// [`Self::attach`] give. `None`, and nobody was asked for a pick, unless all that is to be
    /// known is that the client has none, and there is room; `None` also where none was picked.
    #[inline(always)]
    pub fn make_at(
        &self,
        burst: &TemplateBurst,
        at: usize,
        timeout_index: u8,
        now: Tick,
        pick: impl FnOnce() -> Option<RealId>,
    ) -> Option<(Handle, RealId)> {
        let sole = self.sole(timeout_index, now)?;
        let vacant = sole.vacant_at(burst, at)?;
        let real = pick()?;
        let handle = vacant.handle();
        sole.make(vacant, real);
        Some((handle, real))
    }

    /// What makes templates of connections that begin now, if only one core has the table and it
    /// has not grown: nobody else writes there.
    #[inline(always)]
    pub(crate) fn sole(&self, timeout_index: u8, now: Tick) -> Option<SoleTemplates<'_>> {
        let row = self.only_row()?;
        let expires = now.plus_secs(self.period_s(Value::EMPTY, timeout_index));
        Some(SoleTemplates {
            row,
            buckets: self.v4.per_shard(row),
            counters: &self.counters,
            timeout_index,
            tier: self.tier,
            first: Value::new(RealId(0), expires, self.rule).count_up(),
        })
    }
}

/// See [`TemplateTable::sole`].
pub(crate) struct SoleTemplates<'a> {
    row: &'a V4,
    buckets: usize,
    counters: &'a Counters,
    timeout_index: u8,
    tier: Tier,
    /// The value of a new one, but for its real server.
    first: Value,
}

/// A client that has no template, and a free slot for it.
#[derive(Clone, Copy)]
pub(crate) struct VacantSlot {
    place: usize,
    name: u64,
}

impl VacantSlot {
    /// The template's handle once it is there.
    #[inline(always)]
    pub(crate) fn handle(self) -> Handle {
        Handle::v4(0, self.place)
    }
}

impl SoleTemplates<'_> {
    /// Where the template of the client at a place of a burst should go. `None` if it has one, in
    /// whatever state, or there is no room.
    #[inline(always)]
    pub(crate) fn vacant_at(&self, burst: &TemplateBurst, at: usize) -> Option<VacantSlot> {
        let (name, hash) = burst.wanted(at)?;
        let name = V4::name(&Probe { key: name.key(), hash, shard: 0 });
        let pair = pair_of(self.buckets, &hash, 0);
        let third = || third_of(self.buckets, &hash, 0);
        let place = self.row.vacant(pair, third, name, self.tier)?;
        Some(VacantSlot { place, name })
    }

    /// Makes the template, and counts its first connection.
    #[inline(always)]
    pub(crate) fn make(&self, VacantSlot { place, name }: VacantSlot, real: RealId) {
        self.row.take(place, name, self.timeout_index, self.first.of_real(real).0);
        self.counters.inserted_alone();
    }
}
