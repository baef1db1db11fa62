//! The clients of one burst, looked up together: all are hashed, then all first buckets are on
//! their way from memory at once, then those that are not in their first bucket are looked
//! for in the next, again all at once. What is found is what [`ClientTable::lookup`] finds.

use super::cells::Row;
use super::client::{ClientScope, ClientTable};
use super::client_dense::{self, Dense};
use super::hash::{Hash, Input};
use super::key::{ClientKey, Probe, TemplateKey};
use super::segments::{Segments, pair_of, shard_of};
use crate::ids::ScopeId;
use crate::port::BURST;

/// An IPv4 client and its scope, as the table's words have them.
#[derive(Clone, Copy, Default)]
struct Name(u64);

impl Input for Name {
    #[inline(always)]
    fn address(self) -> u128 {
        u128::from(self.0 >> 32)
    }

    #[inline(always)]
    fn beside(self) -> u64 {
        self.0 >> 16 & 0xFFFF
    }
}

/// A burst's IPv4 clients, each at its frame's place.
pub struct ClientBurst {
    names: [Name; BURST],
    hashes: [Hash; BURST],
    buckets: [u32; BURST],
    found: [u32; BURST],
    /// Segments there were when they were aimed at.
    announced: usize,
}

impl Default for ClientBurst {
    fn default() -> Self {
        Self {
            names: [Name(0); BURST],
            hashes: [Hash::default(); BURST],
            buckets: [0; BURST],
            found: [0; BURST],
            announced: 0,
        }
    }
}

/// A place in a [`ClientBurst`].
pub struct ClientPlace<'a>(&'a mut Name);

impl ClientPlace<'_> {
    /// Puts a client there.
    #[inline(always)]
    pub fn put(self, client: u32, scope: ClientScope) {
        *self.0 = Name(client_dense::name(client, scope.number()));
    }

    /// Puts nobody there.
    #[inline(always)]
    pub fn clear(self) {
        *self.0 = Name(0);
    }
}

impl ClientBurst {
    /// All places, to be filled or cleared.
    #[inline(always)]
    pub fn places(&mut self) -> impl Iterator<Item = ClientPlace<'_>> {
        self.names.iter_mut().map(ClientPlace)
    }

    /// The clients' real servers, from this place on, by their numbers. 0 for one that is not
    /// bound, or not plainly (then [`ClientTable::lookup`] knows), and where nobody was put.
    #[inline(always)]
    pub fn found(&self, from: usize) -> impl Iterator<Item = u16> {
        self.found.get(from..).unwrap_or_default().iter().map(|word| *word as u16)
    }

    /// Who is looked for at a place, and the hash; `None` where nobody was put.
    #[inline(always)]
    pub(super) fn wanted(&self, at: usize) -> Option<(u64, Hash)> {
        let (Name(name), hash) = (*self.names.get(at)?, *self.hashes.get(at)?);
        (name != 0).then_some((name, hash))
    }

    /// Under which scope the client at a place is looked for.
    #[inline(always)]
    pub fn scope_at(&self, at: usize) -> Option<ClientScope> {
        let Name(name) = *self.names.get(at)?;
        ClientScope::new((name >> 16) as u16)
    }

    /// Nobody was put anywhere, and nobody is looked for.
    pub fn find_nobody(&mut self) {
        self.found.fill(0);
    }
}

/// Where a search goes on: the newest segment's first bucket is step 0, its second one step 1,
/// then come older segments.
struct Steps<'a> {
    segments: &'a Segments<Dense>,
    announced: usize,
}

impl<'a> Steps<'a> {
    fn row(&self, step: usize) -> Option<&'a Dense> {
        self.segments.row(self.announced.checked_sub(1 + step / 2)?)
    }

    /// Requests the line where a search goes on, and answers which it is.
    #[inline(always)]
    fn aim(&self, row: &Dense, per_shard: usize, step: usize, hash: &Hash) -> u32 {
        let pair = pair_of(per_shard, hash, shard_of(*hash, self.segments.shards()));
        let bucket = pair[step % 2];
        row.prefetch(bucket);
        bucket as u32
    }
}

impl ClientTable {
    /// The client at a place, with its hash; `None` where nobody was put, or none aimed at.
    pub fn probe_at(&self, burst: &ClientBurst, at: usize) -> Option<(ClientScope, Probe)> {
        let (Name(name), hash) = (*burst.names.get(at)?, *burst.hashes.get(at)?);
        let scope = ClientScope::new((name >> 16) as u16)?;
        let client = ClientKey::V4((name >> 32) as u32);
        let key = TemplateKey { scope: ScopeId(u32::from(scope.number())), client };
        Some((scope, Probe { key, hash, shard: shard_of(hash, self.v4.shards()) }))
    }

    /// Hashes the clients of the first so many places and requests their lines.
    #[inline]
    pub fn aim(&self, burst: &mut ClientBurst, places: usize) {
        let ClientBurst { names, hashes, buckets, announced, .. } = burst;
        *announced = self.v4.announced();
        let names = names.get(..places).unwrap_or(&*names);
        self.hasher.hash_each(names, hashes);
        let steps = Steps { segments: &self.v4, announced: *announced };
        let Some(row) = steps.row(0) else { return };
        let per_shard = self.v4.per_shard(row);
        for (bucket, (hash, _)) in buckets.iter_mut().zip(hashes.iter().zip(names)) {
            *bucket = steps.aim(row, per_shard, 0, hash);
        }
    }

    /// Finds the clients that [`Self::aim`] has aimed at, and sets their ages to `age_now`.
    #[inline]
    pub fn find(&self, burst: &mut ClientBurst, places: usize, age_now: u8) {
        let ClientBurst { names, hashes, buckets, found, announced } = burst;
        let steps = Steps { segments: &self.v4, announced: *announced };
        let names = names.get(..places).unwrap_or(&*names);
        let Some(row) = steps.row(0) else { return found.fill(0) };
        let per_shard = self.v4.per_shard(row);
        let mut strays = [0u8; BURST];
        let mut left = 0;
        let looked_at = names.iter().zip(&mut *buckets).zip(&*hashes).zip(&mut *found);
        for (at, (((name, bucket), hash), found)) in looked_at.enumerate() {
            *found = row.bound_in(*bucket as usize, name.0, age_now);
            if *found == 0 && name.0 != 0 {
                *bucket = steps.aim(row, per_shard, 1, hash);
                strays[left % BURST] = at as u8;
                left += 1;
            }
        }
        if left > 0 {
            self.find_strays(burst, &strays[..left], age_now);
        }
    }

    /// Looks for those that are not in the first bucket of the newest segment.
    fn find_strays(&self, burst: &mut ClientBurst, strays: &[u8], age_now: u8) {
        let steps = Steps { segments: &self.v4, announced: burst.announced };
        for step in 1..2 * steps.announced {
            let Some(row) = steps.row(step) else { return };
            for at in strays.iter().map(|at| usize::from(*at)) {
                if burst.found[at] == 0 {
                    let bucket = burst.buckets[at] as usize;
                    burst.found[at] = row.bound_in(bucket, burst.names[at].0, age_now);
                }
            }
            let Some(row) = steps.row(step + 1) else { return };
            let per_shard = self.v4.per_shard(row);
            for at in strays.iter().map(|at| usize::from(*at)) {
                if burst.found[at] == 0 {
                    burst.buckets[at] = steps.aim(row, per_shard, step + 1, &burst.hashes[at]);
                }
            }
        }
    }
}
