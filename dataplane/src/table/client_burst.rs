//! The clients of one burst, looked up together: all are hashed, then all first buckets are on
//! their way from memory at once, then those that are not in their first bucket are looked
//! for in the next, again all at once. What is found is what [`ClientTable::lookup`] finds.

use super::cells::Row;
use super::client::{ClientScope, ClientTable, ServiceReal};
use super::client_dense::{self, Dense};
use super::hash::{Hash, Input};
use super::segments::{Segments, pair_of, shard_of};
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

/// Up to a burst of IPv4 clients.
pub struct ClientBurst {
    names: [Name; BURST],
    hashes: [Hash; BURST],
    buckets: [u32; BURST],
    found: [u32; BURST],
    len: usize,
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
            len: 0,
            announced: 0,
        }
    }
}

impl ClientBurst {
    /// Forgets all of them.
    #[inline]
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds a client. More than [`BURST`] are left out.
    #[inline(always)]
    pub fn push(&mut self, client: u32, scope: ClientScope) {
        if let Some(place) = self.names.get_mut(self.len) {
            *place = Name(client_dense::name(client, scope.number()));
            self.len += 1;
        }
    }

    /// The real server of the client that was pushed as this one, beginning with 0. `None` if
    /// it is not bound, or not plainly: then [`ClientTable::lookup`] knows.
    #[inline(always)]
    pub fn found(&self, at: usize) -> Option<ServiceReal> {
        ServiceReal::new(*self.found.get(at)? as u16)
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
    /// Hashes the clients and requests their lines.
    #[inline]
    pub fn aim(&self, burst: &mut ClientBurst) {
        let ClientBurst { names, hashes, buckets, len, announced, .. } = burst;
        *announced = self.v4.announced();
        let (Some(names), Some(hashes)) = (names.get(..*len), hashes.get_mut(..*len)) else {
            return;
        };
        self.hasher.hash_each(names, hashes);
        let steps = Steps { segments: &self.v4, announced: *announced };
        let Some(row) = steps.row(0) else { return };
        let per_shard = row.buckets() / self.v4.shards();
        for (hash, bucket) in hashes.iter().zip(buckets) {
            *bucket = steps.aim(row, per_shard, 0, hash);
        }
    }

    /// Finds the clients that [`Self::aim`] has aimed at, and sets their ages to `age_now`.
    #[inline]
    pub fn find(&self, burst: &mut ClientBurst, age_now: u8) {
        let ClientBurst { names, hashes, buckets, found, len, announced } = burst;
        let steps = Steps { segments: &self.v4, announced: *announced };
        let (Some(row), Some(names)) = (steps.row(0), names.get(..*len)) else { return };
        let per_shard = row.buckets() / self.v4.shards();
        let mut strays = [0u8; BURST];
        let mut left = 0;
        for (at, (((name, bucket), hash), found)) in
            names.iter().zip(&mut *buckets).zip(&*hashes).zip(&mut *found).enumerate()
        {
            *found = row.bound_in(*bucket as usize, name.0, age_now);
            if *found == 0 {
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
            let per_shard = row.buckets() / self.v4.shards();
            for at in strays.iter().map(|at| usize::from(*at)) {
                if burst.found[at] == 0 {
                    burst.buckets[at] = steps.aim(row, per_shard, step + 1, &burst.hashes[at]);
                }
            }
        }
    }
}
