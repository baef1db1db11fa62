//! The clients of one burst, looked up together: all are hashed, then all first buckets are on
//! their way from memory at once, then those that are not in their first bucket are looked
//! for in the next, again all at once. What is found is what [`ClientTable::lookup`] finds.

use super::cells::Row;
use super::client::{ClientScope, ClientTable};
use super::client_dense::{self, Bucket, Dense};
use super::hash::Hash;
use super::key::{ClientKey, Probe, TemplateKey};
use super::line::Line;
use super::segments::{Segments, pair_of, shard_of};
use arrayvec::ArrayVec;

use crate::ids::ScopeId;
use crate::port::BURST;

/// An IPv4 client and its scope, as the table's words have them.
#[derive(Clone, Copy, Default)]
struct Name(u64);

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
    /// The places from this one on, to be filled.
    #[inline(always)]
    pub fn places(&mut self, from: usize) -> impl Iterator<Item = ClientPlace<'_>> {
        self.names.get_mut(from..).unwrap_or_default().iter_mut().map(ClientPlace)
    }

    /// Puts a client to a place.
    #[inline(always)]
    pub fn put(&mut self, at: usize, client: u32, scope: ClientScope) {
        if let Some(name) = self.names.get_mut(at) {
            ClientPlace(name).put(client, scope);
        }
    }

    /// Puts nobody to a place.
    #[inline(always)]
    pub fn clear(&mut self, at: usize) {
        if let Some(name) = self.names.get_mut(at) {
            *name = Name(0);
        }
    }

    /// The clients' real servers, from this place on, by their numbers. 0 for one that is not
    /// bound, or not plainly (then [`ClientTable::lookup`] knows), and where nobody was put.
    #[inline(always)]
    pub fn found(&self, from: usize) -> impl Iterator<Item = u16> {
        self.found.get(from..).unwrap_or_default().iter().map(|word| *word as u16)
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

/// How lines are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sight {
    /// With instructions that not every CPU has.
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    Avx2,
    /// As every CPU can.
    Any,
}

impl Sight {
    #[inline(always)]
    fn best() -> Self {
        #[cfg(all(target_arch = "x86_64", not(loom)))]
        if std::arch::is_x86_feature_detected!("avx2")
            && std::arch::is_x86_feature_detected!("bmi1")
        {
            return Self::Avx2;
        }
        Self::Any
    }
}

/// Looks for all clients in their first bucket; a bit for everyone who is not there.
#[inline(always)]
fn find_first(
    row: &Dense,
    burst: &mut ClientBurst,
    places: usize,
    age_now: u8,
    first: impl Fn(&Bucket, u64) -> usize,
) -> u32 {
    let ClientBurst { names, buckets, found, .. } = burst;
    let names = names.get(..places).unwrap_or(&*names);
    let (mut strays, mut bit) = (0, 1);
    for (name, (bucket, found)) in names.iter().zip(buckets.iter().zip(found)) {
        *found = row.bound_in(*bucket as usize, name.0, age_now, &first);
        strays |= if *found == 0 { bit } else { 0 };
        bit <<= 1;
    }
    strays
}

#[cfg(all(target_arch = "x86_64", not(loom)))]
#[target_feature(enable = "avx2,bmi1")]
fn find_first_avx2(row: &Dense, burst: &mut ClientBurst, places: usize, age_now: u8) -> u32 {
    find_first(row, burst, places, age_now, |line, name| line.first_candidate_avx2(name))
}

/// The numbers of the bits that are set.
fn places_of(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (place < BURST).then_some(place)
    })
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
        let steps = Steps { segments: &self.v4, announced: *announced };
        let Some(row) = steps.row(0) else { return };
        let per_shard = self.v4.per_shard(row);
        let names = names.get(..places).unwrap_or(&*names);
        let outcomes = names.iter().map(|name| name.0).zip(hashes.iter_mut().zip(buckets));
        if self.v4.shards() == 1 {
            self.hasher.hash_each(outcomes, |(place, bucket), hash| {
                *place = hash;
                let first = Hash::scale(hash.first, per_shard);
                row.prefetch(first);
                *bucket = first as u32;
            });
        } else {
            self.hasher.hash_each(outcomes, |(place, bucket), hash| {
                *place = hash;
                *bucket = steps.aim(row, per_shard, 0, &hash);
            });
        }
    }

    /// Finds the clients that [`Self::aim`] has aimed at, and sets their ages to `age_now`.
    #[inline]
    pub fn find(&self, burst: &mut ClientBurst, places: usize, age_now: u8) {
        let Some(row) = self.v4.row(burst.announced.saturating_sub(1)) else {
            return burst.find_nobody();
        };
        let strays = match Sight::best() {
            #[cfg(all(target_arch = "x86_64", not(loom)))]
            // SAFETY: it was found to be there.
            #[allow(unsafe_code)]
            Sight::Avx2 => unsafe { find_first_avx2(row, burst, places, age_now) },
            Sight::Any => find_first(row, burst, places, age_now, Line::first_candidate),
        };
        if strays != 0 {
            self.find_strays(burst, strays, age_now);
        }
    }

    fn find_strays(&self, burst: &mut ClientBurst, strays: u32, age_now: u8) {
        let steps = Steps { segments: &self.v4, announced: burst.announced };
        let Some(row) = steps.row(1) else { return };
        let per_shard = self.v4.per_shard(row);
        let mut list = ArrayVec::<u8, BURST>::new();
        for at in places_of(strays) {
            if burst.names[at].0 != 0 {
                burst.buckets[at] = steps.aim(row, per_shard, 1, &burst.hashes[at]);
                list.push(at as u8);
            }
        }
        if !list.is_empty() {
            self.find_on(burst, &list, age_now);
        }
    }

    /// Looks for those that are not in the first bucket of the newest segment.
    fn find_on(&self, burst: &mut ClientBurst, strays: &[u8], age_now: u8) {
        let steps = Steps { segments: &self.v4, announced: burst.announced };
        for step in 1..2 * steps.announced {
            let Some(row) = steps.row(step) else { return };
            for at in strays.iter().map(|at| usize::from(*at)) {
                if burst.found[at] == 0 {
                    let bucket = burst.buckets[at] as usize;
                    burst.found[at] =
                        row.bound_in(bucket, burst.names[at].0, age_now, Line::first_candidate);
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
