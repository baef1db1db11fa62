//! The clients of one burst, looked up together: all are hashed, then all first buckets are on
//! their way from memory at once, then those that are not in their first bucket are looked
//! for in the next, again all at once. What is found is what [`ClientTable::lookup`] finds.

use super::cells::Row;
use super::client::ClientTable;
use super::client_dense::{self, Bucket, Dense};
use super::client_view::ClientScope;
use super::hash::{Hash, Hasher};
use super::key::{ClientKey, Probe, TemplateKey};
use super::line::Line;
use super::segments::{Segments, pair_of, shard_of};
use crate::cpu::Tier;
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
    /// A bit for every client that is not in the first bucket of the newest segment, as far as it
    /// is still to be looked for.
    strays: u32,
    /// A bit for every place where nobody was found, where they are looked for first or later.
    absent: u32,
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
            strays: 0,
            absent: u32::MAX,
            announced: 0,
        }
    }
}

/// A place in a [`ClientBurst`].
pub struct ClientPlace<'a> {
    name: &'a mut Name,
    hash: &'a mut Hash,
    bucket: &'a mut u32,
}

impl ClientPlace<'_> {
    /// Puts a client there.
    #[inline(always)]
    pub fn put(self, client: u32, scope: ClientScope) {
        *self.name = Name(client_dense::name(client, scope.number()));
    }
}

/// Hashes clients as they are put to their places, and requests their lines at once.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "there is none"))]
#[derive(Clone, Copy)]
pub(crate) struct Aimer<'a> {
    hasher: &'a Hasher,
    row: &'a Dense,
}

#[cfg(target_arch = "x86_64")]
impl Aimer<'_> {
    /// Puts a client to a place, as [`ClientPlace::put`] and [`ClientTable::aim`] do.
    #[target_feature(enable = "aes,sse2")]
    #[inline]
    pub(crate) fn put(self, place: ClientPlace<'_>, client: u32, scope: ClientScope) {
        let name = client_dense::name(client, scope.number());
        let hash = self.hasher.hash_word_by_aes(name);
        let bucket = Hash::scale(hash.first, self.row.buckets());
        self.row.prefetch(bucket);
        (*place.name, *place.hash, *place.bucket) = (Name(name), hash, bucket as u32);
    }
}

/// Four places in a [`ClientBurst`].
#[cfg(target_arch = "x86_64")]
pub(crate) struct ClientFour<'a> {
    names: &'a mut [Name; 4],
    hashes: &'a mut [Hash; 4],
    buckets: &'a mut [u32; 4],
}

#[cfg(target_arch = "x86_64")]
impl Aimer<'_> {
    /// [`Self::put`] of four clients: the lower half of each quarter is a client, and in front
    /// of it its scope's number and 16 bits of 0; the upper halves are 0.
    #[target_feature(enable = "avx512f,avx512vl,vaes,aes")]
    #[inline]
    pub(crate) fn put_four(self, places: ClientFour<'_>, clients: std::arch::x86_64::__m512i) {
        use std::arch::x86_64::{__m256i, _mm512_castsi512_si256, _mm512_maskz_compress_epi64};
        let (hashes, buckets) = self.hasher.hash_four(clients, self.row.buckets() as u32);
        for bucket in buckets {
            self.row.prefetch(bucket as usize);
        }
        let names = _mm512_castsi512_si256(_mm512_maskz_compress_epi64(0x55, clients));
        // SAFETY: four words, whatever their bits.
        #[allow(unsafe_code)]
        let names = unsafe { std::mem::transmute::<__m256i, [u64; 4]>(names) };
        (*places.hashes, *places.buckets) = (hashes, buckets);
        *places.names = names.map(Name);
    }
}

impl ClientBurst {
    /// The places from this one on, by fours.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    pub(crate) fn fours(&mut self, from: usize) -> impl Iterator<Item = ClientFour<'_>> {
        let Self { names, hashes, buckets, .. } = self;
        let (names, _) = names.get_mut(from..).unwrap_or_default().as_chunks_mut();
        let (hashes, _) = hashes.get_mut(from..).unwrap_or_default().as_chunks_mut();
        let (buckets, _) = buckets.get_mut(from..).unwrap_or_default().as_chunks_mut();
        let fours = names.iter_mut().zip(hashes.iter_mut().zip(buckets));
        fours.map(|(names, (hashes, buckets))| ClientFour { names, hashes, buckets })
    }

    /// The places from this one on, to be filled.
    #[inline(always)]
    pub fn places(&mut self, from: usize) -> impl Iterator<Item = ClientPlace<'_>> {
        let Self { names, hashes, buckets, .. } = self;
        let names = names.iter_mut().skip(from);
        let beside = hashes.iter_mut().zip(buckets).skip(from);
        names.zip(beside).map(|(name, (hash, bucket))| ClientPlace { name, hash, bucket })
    }

    /// Puts a client to a place.
    #[inline(always)]
    pub fn put(&mut self, at: usize, client: u32, scope: ClientScope) {
        if let Some(name) = self.names.get_mut(at) {
            *name = Name(client_dense::name(client, scope.number()));
        }
    }

    /// Puts nobody to a place.
    #[inline(always)]
    pub fn clear(&mut self, at: usize) {
        if let Some(name) = self.names.get_mut(at) {
            *name = Name(0);
        }
    }

    /// Puts nobody to so many places.
    #[inline(always)]
    pub fn clear_all(&mut self, from: usize, places: usize) {
        if let Some(names) = self.names.get_mut(from..from.saturating_add(places)) {
            names.fill(Name(0));
        }
    }

    /// The clients' real servers, from this place on, by their numbers. 0 for one that is not
    /// bound, or not plainly (then [`ClientTable::lookup`] knows), and where nobody was put.
    #[inline(always)]
    pub fn found(&self, from: usize) -> impl Iterator<Item = u16> {
        self.found.get(from..).unwrap_or_default().iter().map(|word| *word as u16)
    }

    /// The same as they stand, each with something in its upper half.
    #[inline(always)]
    pub(crate) fn words(&self, from: usize) -> &[u32] {
        self.found.get(from..).unwrap_or_default()
    }

    /// The same, to be changed.
    #[inline]
    pub(crate) fn copied(&self, from: usize) -> [u32; BURST] {
        let mut words = [0; BURST];
        words.iter_mut().zip(self.words(from)).for_each(|(word, found)| *word = *found);
        words
    }

    /// Whether somebody from this place on was not found.
    #[inline(always)]
    pub(crate) fn has_absent(&self, from: usize) -> bool {
        self.absent >> (from % BURST) != 0
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
        (self.strays, self.absent) = (0, u32::MAX);
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

#[cfg(all(target_arch = "x86_64", not(loom)))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1")]
fn find_first_avx512(row: &Dense, burst: &mut ClientBurst, places: usize, age_now: u8) -> u32 {
    use std::arch::x86_64::{__m512i, _mm_set1_epi8, _mm512_testn_epi32_mask};
    let ClientBurst { names, buckets, found, .. } = burst;
    let names = names.get(..places).unwrap_or(&*names);
    let ages = _mm_set1_epi8(age_now as i8);
    let (mut older, mut any) = ([0; BURST], 0);
    let outcomes = found.iter_mut().zip(&mut older);
    for (name, (bucket, (found, older))) in names.iter().zip(buckets.iter().zip(outcomes)) {
        let standing = row.standing(*bucket as usize, name.0, ages);
        (*found, *older) = (standing.real, standing.older);
        any |= standing.older;
    }
    if any != 0 {
        for (bucket, older) in buckets.iter().zip(older).take(places) {
            row.refresh(*bucket as usize, older, age_now);
        }
    }
    // SAFETY: 32 numbers, whatever their bits.
    #[allow(unsafe_code)]
    let [low, high] = unsafe { std::mem::transmute::<[u32; BURST], [__m512i; 2]>(*found) };
    let nowhere = [low, high].map(|found| u32::from(_mm512_testn_epi32_mask(found, found)));
    (nowhere[0] | nowhere[1] << 16) & first_places(places)
}

/// The bits of so many places.
#[cfg(all(target_arch = "x86_64", not(loom)))]
fn first_places(places: usize) -> u32 {
    u32::MAX.checked_shr(BURST.saturating_sub(places) as u32).unwrap_or(0)
}

/// Looks for the clients at these places in their second bucket.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1")]
fn find_second_avx512(row: &Dense, burst: &mut ClientBurst, strays: u32, age_now: u8) {
    let ages = std::arch::x86_64::_mm_set1_epi8(age_now as i8);
    for at in places_of(strays) {
        let bucket = burst.buckets[at] as usize;
        let standing = row.standing(bucket, burst.names[at].0, ages);
        burst.found[at] = standing.real;
        row.refresh(bucket, standing.older, age_now);
    }
}

/// The numbers of the bits that are set.
pub(super) fn places_of(mut bits: u32) -> impl Iterator<Item = usize> {
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

    /// What puts clients to their places instead of [`Self::aim`], if this table and this CPU
    /// allow it; only to be used where the CPU has [`Tier::Avx512`].
    #[inline]
    pub(crate) fn aimer(&self, burst: &mut ClientBurst) -> Option<Aimer<'_>> {
        if self.tier < Tier::Avx512 || !self.hasher.is_aes() || self.v4.shards() != 1 {
            return None;
        }
        burst.announced = self.v4.announced();
        let row = self.v4.row(burst.announced.saturating_sub(1))?;
        Some(Aimer { hasher: &self.hasher, row })
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

    /// Finds the clients that [`Self::aim`] has aimed at, sets their ages to `age_now`, and
    /// requests what [`Self::find_strays`] will need for those that are not where they are
    /// looked for first.
    #[inline]
    pub fn find_first(&self, burst: &mut ClientBurst, places: usize, age_now: u8) {
        burst.strays = 0;
        let Some(row) = self.v4.row(burst.announced.saturating_sub(1)) else {
            return burst.find_nobody();
        };
        let strays = match self.tier {
            #[cfg(all(target_arch = "x86_64", not(loom)))]
            // SAFETY: the CPU has the tier.
            #[allow(unsafe_code)]
            Tier::Avx512 => unsafe { find_first_avx512(row, burst, places, age_now) },
            #[cfg(all(target_arch = "x86_64", not(loom)))]
            // SAFETY: the CPU has the tier.
            #[allow(unsafe_code)]
            Tier::Avx2 => unsafe { find_first_avx2(row, burst, places, age_now) },
            _ => find_first(row, burst, places, age_now, Line::first_candidate),
        };
        burst.absent = strays;
        if strays != 0 {
            self.aim_strays(burst, strays);
        }
    }

    fn aim_strays(&self, burst: &mut ClientBurst, strays: u32) {
        let steps = Steps { segments: &self.v4, announced: burst.announced };
        let Some(row) = steps.row(1) else { return };
        let per_shard = self.v4.per_shard(row);
        let alone = self.v4.shards() == 1 && burst.announced == 1;
        for at in places_of(strays) {
            let nowhere = alone && !row.goes_on(burst.buckets[at] as usize);
            if burst.names[at].0 != 0 && !nowhere {
                burst.buckets[at] = steps.aim(row, per_shard, 1, &burst.hashes[at]);
                burst.strays |= 1 << at;
            }
        }
    }

    /// Finds the clients that [`Self::find_first`] did not find.
    #[inline]
    pub fn find_strays(&self, burst: &mut ClientBurst, age_now: u8) {
        if burst.strays != 0 {
            let strays = burst.strays;
            self.find_on(burst, age_now);
            let found = |at: &usize| burst.found.get(*at).is_some_and(|word| *word != 0);
            let found = places_of(strays).filter(found).fold(0, |bits, at| bits | 1 << at);
            burst.absent &= !found;
        }
    }

    /// Looks for those that are not in the first bucket of the newest segment.
    fn find_on(&self, burst: &mut ClientBurst, age_now: u8) {
        let strays = std::mem::take(&mut burst.strays);
        #[cfg(all(target_arch = "x86_64", not(loom)))]
        if self.tier == Tier::Avx512
            && burst.announced == 1
            && let Some(row) = self.v4.row(0)
        {
            // SAFETY: the CPU has the tier.
            #[allow(unsafe_code)]
            return unsafe { find_second_avx512(row, burst, strays, age_now) };
        }
        let steps = Steps { segments: &self.v4, announced: burst.announced };
        for step in 1..2 * steps.announced {
            let Some(row) = steps.row(step) else { return };
            for at in places_of(strays) {
                if burst.found[at] == 0 {
                    let bucket = burst.buckets[at] as usize;
                    burst.found[at] =
                        row.bound_in(bucket, burst.names[at].0, age_now, Line::first_candidate);
                }
            }
            let Some(row) = steps.row(step + 1) else { return };
            let per_shard = self.v4.per_shard(row);
            for at in places_of(strays) {
                if burst.found[at] == 0 {
                    burst.buckets[at] = steps.aim(row, per_shard, step + 1, &burst.hashes[at]);
                }
            }
        }
    }
}
