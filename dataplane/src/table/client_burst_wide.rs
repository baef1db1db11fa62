//! The IPv6 clients of one burst, looked up together as the IPv4 ones are; bursts without any pay
//! nothing for it.

use super::cells::Row;
use super::client::ClientTable;
use super::client_burst::places_of;
use super::client_view::ClientScope;
use super::client_wide::{AWAY, Away, Line, Name, Veil, Wide, side_of};
use super::hash::{Hash, Hasher};
use super::segments::{MAX_CHOICES, pair_of, shard_of, third_of};
use crate::cpu::Tier;
use crate::port::BURST;

/// The halves of an address, the upper one first.
type Address = [u64; 2];

/// A burst's IPv6 clients, each at its frame's place.
#[repr(align(64))]
pub struct ClientBurstV6 {
    /// As the frames have them; veiled, once they were aimed at.
    addresses: [Address; BURST],
    hashes: [Hash; BURST],
    /// The lines where they are looked for first.
    lines: [u32; BURST],
    scopes: [u16; BURST],
    found: [u16; BURST],
    /// Where else strays may be: as the marks of [`AWAY`].
    marks: [u8; BURST],
    /// A bit for everyone.
    taken: u32,
    /// For everyone who was not aimed at.
    unaimed: u32,
    /// For everyone who was not in the line, and is still to be looked for elsewhere.
    strays: u32,
    /// Segments there were when they were aimed at.
    announced: usize,
}

impl Default for ClientBurstV6 {
    fn default() -> Self {
        Self {
            addresses: [[0; 2]; BURST],
            hashes: [Hash::default(); BURST],
            lines: [0; BURST],
            scopes: [0; BURST],
            found: [0; BURST],
            marks: [0; BURST],
            taken: 0,
            unaimed: 0,
            strays: 0,
            announced: 0,
        }
    }
}

impl ClientBurstV6 {
    /// Forgets all clients.
    #[inline(always)]
    pub fn clear(&mut self) {
        (self.taken, self.unaimed, self.strays) = (0, 0, 0);
    }

    /// Whether there is none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Puts a client to a frame's place: the halves of its address, the upper one first.
    #[inline(always)]
    pub fn put(&mut self, at: usize, address: [u64; 2], scope: ClientScope) {
        if let (Some(place), Some(number)) = (self.addresses.get_mut(at), self.scopes.get_mut(at)) {
            (*place, *number) = (address, scope.number());
            self.taken |= 1 << (at % BURST);
            self.unaimed |= 1 << (at % BURST);
        }
    }

    /// The real servers of the clients at this place and behind it, by their numbers. 0 for one
    /// that is not bound, or not plainly (then [`ClientTable::lookup`] knows). Of places without
    /// a client it says nothing.
    #[inline(always)]
    pub fn found(&self, from: usize) -> impl Iterator<Item = u16> {
        self.found.get(from..).unwrap_or_default().iter().copied()
    }

    #[inline(always)]
    fn name(&self, at: usize) -> Name {
        Name::new(self.scopes[at], self.addresses[at])
    }
}

/// Hashes clients as they are put to their places, and requests their lines at once.
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "there is none"))]
#[derive(Clone, Copy)]
pub(crate) struct AimerV6<'a> {
    hasher: &'a Hasher,
    veil: Veil,
    row: &'a Wide,
    buckets: u32,
}

#[cfg(target_arch = "x86_64")]
impl AimerV6<'_> {
    /// Puts four clients of one scope to this place and those behind it: a quarter is an address,
    /// its upper half first.
    #[target_feature(enable = "avx512f,avx512vl,vaes,aes")]
    #[inline]
    pub(crate) fn put_four(
        self,
        burst: &mut ClientBurstV6,
        at: usize,
        addresses: std::arch::x86_64::__m512i,
        scope: ClientScope,
    ) -> bool {
        use std::arch::x86_64::{
            __m512i, _mm512_broadcast_i32x4, _mm512_shuffle_epi32, _mm512_xor_si512,
        };
        const SWAPPED: i32 = 0b01_00_11_10;
        fn four<T>(row: &mut [T; BURST], at: usize) -> Option<&mut [T; 4]> {
            row.get_mut(at..)?.first_chunk_mut()
        }
        let (Some(names), Some(hashes), Some(lines), Some(scopes)) = (
            four(&mut burst.addresses, at),
            four(&mut burst.hashes, at),
            four(&mut burst.lines, at),
            four(&mut burst.scopes, at),
        ) else {
            return false;
        };
        let numbers = _mm512_shuffle_epi32::<SWAPPED>(addresses);
        let state = self.hasher.hash_four_addresses(numbers, beside(scope.number()));
        *lines = lines_of_four(state, self.buckets);
        for line in *lines {
            self.row.prefetch_line(line as usize);
        }
        let veil = _mm512_broadcast_i32x4(self.veil.wide());
        // SAFETY: four times two words, and four times the four numbers of a hash in the state's
        // order, whatever their bits.
        #[allow(unsafe_code)]
        unsafe {
            *hashes = std::mem::transmute::<__m512i, [Hash; 4]>(state);
            let veiled = _mm512_xor_si512(addresses, veil);
            *names = std::mem::transmute::<__m512i, [Address; 4]>(veiled);
        }
        *scopes = [scope.number(); 4];
        burst.taken |= 0xF << (at % BURST);
        true
    }
}

/// The lines that four hashes, each a quarter, choose first among so many buckets of one range.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
fn lines_of_four(hashes: std::arch::x86_64::__m512i, buckets: u32) -> [u32; 4] {
    use std::arch::x86_64::{
        __m128i, _mm256_cvtepi64_epi32, _mm512_add_epi64, _mm512_and_si512, _mm512_castsi512_si256,
        _mm512_maskz_compress_epi64, _mm512_mul_epu32, _mm512_set1_epi64, _mm512_slli_epi64,
        _mm512_srli_epi64,
    };
    // The lowest word of a quarter is the hash's first number.
    let scaled = _mm512_mul_epu32(hashes, _mm512_set1_epi64(i64::from(buckets)));
    let bucket = _mm512_srli_epi64::<32>(scaled);
    let side = _mm512_and_si512(hashes, _mm512_set1_epi64(1));
    let line = _mm512_add_epi64(_mm512_slli_epi64::<1>(bucket), side);
    let lines = _mm512_castsi512_si256(_mm512_maskz_compress_epi64(0x55, line));
    // SAFETY: four numbers of 32 bits, whatever their bits.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<__m128i, [u32; 4]>(_mm256_cvtepi64_epi32(lines))
    }
}

/// What a client's address is hashed with.
#[inline(always)]
fn beside(scope: u16) -> u64 {
    u64::from(scope) | 1 << 32
}

/// A bucket where a client may stand, by its number among them: the newest segment's three come
/// first.
fn bucket_at(table: &ClientTable, announced: usize, step: usize, hash: &Hash) -> Option<usize> {
    let row = table.v6.row(announced.checked_sub(1 + step / MAX_CHOICES)?)?;
    let (per_shard, shard) = (table.v6.per_shard(row), shard_of(*hash, table.v6.shards()));
    let [first, second] = pair_of(per_shard, hash, shard);
    match step % MAX_CHOICES {
        0 => Some(first),
        1 => Some(second),
        _ => third_of(per_shard, hash, shard),
    }
}

/// The numbers of the lines where marks say that a client may be.
#[inline(always)]
fn lines_of(per_shard: usize, shard: u32, hash: &Hash, marks: u8) -> impl Iterator<Item = usize> {
    let side = side_of(hash.first);
    places_of(u32::from(marks)).filter_map(move |place| {
        let Away { choice, turn } = *AWAY.get(place)?;
        let bucket = match choice {
            2 => third_of(per_shard, hash, shard)?,
            _ => pair_of(per_shard, hash, shard)[choice],
        };
        Some(2 * bucket + (side ^ turn))
    })
}

/// Looks for all clients in their first lines; a bit for everyone who is not there.
#[inline(always)]
fn find_first(
    row: &Wide,
    burst: &mut ClientBurstV6,
    age_now: u8,
    first: impl Fn(&Line, Name) -> usize,
) -> u32 {
    let mut away = 0;
    for at in places_of(burst.taken) {
        let real = row.bound_in(burst.lines[at] as usize, burst.name(at), age_now, &first);
        burst.found[at] = real;
        away |= u32::from(real == 0) << at;
    }
    away
}

#[cfg(all(target_arch = "x86_64", not(loom)))]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,bmi1")]
fn find_first_avx512(row: &Wide, burst: &mut ClientBurstV6, age_now: u8) -> u32 {
    find_first(row, burst, age_now, |line, name| line.first_with_address(name))
}

impl ClientTable {
    /// What puts IPv6 clients to their places instead of [`Self::aim_v6`], if this table and this
    /// CPU allow it; only to be used where the CPU has [`Tier::Avx512`].
    #[inline]
    pub(crate) fn aimer_v6(&self, burst: &mut ClientBurstV6) -> Option<AimerV6<'_>> {
        if self.tier < Tier::Avx512 || !self.hasher.is_aes() || self.v6.shards() != 1 {
            return None;
        }
        if burst.taken == 0 {
            burst.announced = self.v6.announced();
        }
        let row = self.v6.row(burst.announced.saturating_sub(1))?;
        let buckets = row.buckets() as u32;
        Some(AimerV6 { hasher: &self.hasher, veil: self.veil, row, buckets })
    }

    /// Hashes a burst's IPv6 clients and requests the lines where most of them are.
    #[inline]
    pub fn aim_v6(&self, burst: &mut ClientBurstV6) {
        if burst.unaimed != 0 {
            self.aim_rest_v6(burst);
        }
    }

    fn aim_rest_v6(&self, burst: &mut ClientBurstV6) {
        let ClientBurstV6 { addresses, hashes, lines, scopes, taken, unaimed, announced, .. } =
            burst;
        if taken == unaimed {
            *announced = self.v6.announced();
        }
        let Some(row) = self.v6.row(announced.saturating_sub(1)) else { return };
        let (per_shard, shards) = (self.v6.per_shard(row), self.v6.shards());
        let keys = places_of(*unaimed).map(|at| {
            let [high, low] = addresses[at];
            ((u128::from(high) << 64 | u128::from(low), beside(scopes[at])), at)
        });
        self.hasher.hash_each_address(keys, |at, hash| {
            let start = if shards == 1 { 0 } else { shard_of(hash, shards) as usize * per_shard };
            let first = 2 * (start + Hash::scale(hash.first, per_shard)) + side_of(hash.first);
            row.prefetch_line(first);
            (hashes[at], lines[at]) = (hash, first as u32);
        });
        for at in places_of(std::mem::take(unaimed)) {
            addresses[at] = self.veil.over(addresses[at]);
        }
    }

    /// Finds the clients that are where [`Self::aim_v6`] has aimed at, and sets their ages to
    /// `age_now`; requests where the others may be.
    #[inline]
    pub fn find_first_v6(&self, burst: &mut ClientBurstV6, age_now: u8) {
        let Some(row) = self.v6.row(burst.announced.saturating_sub(1)) else {
            return burst.found.fill(0);
        };
        let away = match self.tier {
            #[cfg(all(target_arch = "x86_64", not(loom)))]
            // SAFETY: the CPU has the tier.
            #[allow(unsafe_code)]
            Tier::Avx512 => unsafe { find_first_avx512(row, burst, age_now) },
            _ => find_first(row, burst, age_now, Line::first_of),
        };
        burst.strays = 0;
        if away != 0 {
            self.aim_strays_v6(row, burst, away);
        }
    }

    /// Requests the lines where marks say that those may be who are not in their first one.
    fn aim_strays_v6(&self, row: &Wide, burst: &mut ClientBurstV6, away: u32) {
        let (per_shard, shards) = (self.v6.per_shard(row), self.v6.shards());
        for at in places_of(away) {
            let (hash, marks) = (&burst.hashes[at], row.marks(burst.lines[at] as usize));
            burst.marks[at] = marks;
            // Without any the client is nowhere; or another core has bound it just now, and then
            // the lookup of who binds it finds that.
            burst.strays |= u32::from(marks != 0 || burst.announced > 1) << at;
            lines_of(per_shard, shard_of(*hash, shards), hash, marks)
                .for_each(|line| row.prefetch_line(line));
        }
    }

    /// Finds those that were not where they were looked for first, likewise.
    #[inline]
    pub fn find_strays_v6(&self, burst: &mut ClientBurstV6, age_now: u8) {
        if burst.strays != 0 {
            self.find_on_v6(burst, age_now);
        }
    }

    #[inline(never)]
    fn find_on_v6(&self, burst: &mut ClientBurstV6, age_now: u8) {
        let strays = std::mem::take(&mut burst.strays);
        let Some(row) = self.v6.row(burst.announced.saturating_sub(1)) else { return };
        let (per_shard, shards) = (self.v6.per_shard(row), self.v6.shards());
        let mut away = 0;
        for at in places_of(strays) {
            let (hash, name) = (&burst.hashes[at], burst.name(at));
            let bound_in = |line| row.bound_in(line, name, age_now, Line::first_of);
            let found = match lines_of(per_shard, shard_of(*hash, shards), hash, burst.marks[at])
                .map(bound_in)
                .find(|real| *real != 0)
            {
                // In its first line there may be the same address under another scope.
                None => bound_in(burst.lines[at] as usize),
                Some(real) => real,
            };
            burst.found[at] = found;
            away |= u32::from(found == 0) << at;
        }
        if burst.announced > 1 {
            self.find_older_v6(burst, away, age_now);
        }
    }

    /// Looks through the older segments.
    fn find_older_v6(&self, burst: &mut ClientBurstV6, mut away: u32, age_now: u8) {
        self.request_v6(burst, away, MAX_CHOICES);
        for step in MAX_CHOICES..MAX_CHOICES * burst.announced {
            for at in places_of(away) {
                if self.find_at_v6(burst, at, step, age_now) {
                    away &= !(1 << at);
                }
            }
            if away == 0 {
                return;
            }
            self.request_v6(burst, away, step + 1);
        }
    }

    /// Requests the buckets where clients are looked for at a step.
    fn request_v6(&self, burst: &ClientBurstV6, away: u32, step: usize) {
        for at in places_of(away) {
            let row = burst.announced.checked_sub(1 + step / MAX_CHOICES);
            let row = row.and_then(|segment| self.v6.row(segment));
            if let Some(row) = row
                && let Some(bucket) = bucket_at(self, burst.announced, step, &burst.hashes[at])
            {
                row.prefetch(bucket);
            }
        }
    }

    /// Looks for a client in the bucket of a step.
    fn find_at_v6(&self, burst: &mut ClientBurstV6, at: usize, step: usize, age_now: u8) -> bool {
        let (hash, name) = (&burst.hashes[at], burst.name(at));
        let Some(bucket) = bucket_at(self, burst.announced, step, hash) else { return false };
        let segment = burst.announced.saturating_sub(1 + step / MAX_CHOICES);
        let Some(row) = self.v6.row(segment) else { return false };
        let in_line = |turn: usize| {
            let line = 2 * bucket + (side_of(hash.first) ^ turn);
            row.bound_in(line, name, age_now, Line::first_of)
        };
        burst.found[at] = match in_line(0) {
            0 => in_line(1),
            real => real,
        };
        burst.found[at] != 0
    }
}

const _: () = assert!(Wide::CHOICES == MAX_CHOICES && BURST <= 32);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::table::{ClientKey, ServiceReal, Sizes};

    #[test]
    fn a_burst_finds_what_lookups_find_in_tables_of_all_shapes() {
        for (shards, entries, growths) in [(1, 40, 0), (1, 4000, 2), (3, 4000, 1)] {
            let sizes = Sizes { shards, entries_v4: 4, entries_v6: entries };
            let (table, mut seats) = ClientTable::new(sizes, [5, 6]);
            let scopes = [1, 2].map(|n| ClientScope::new(n).unwrap());
            let address = |n: u64| [(0x2001_0db8 << 32) + n % 5, n / 2];
            let key = |n: u64| {
                let [high, low] = address(n);
                let client = ClientKey::V6(u128::from(high) << 64 | u128::from(low));
                table.probe(scopes[n as usize % 2], client)
            };
            let clients = entries as u64 * (growths + 1) * 2;
            for n in 0..clients {
                if n > 0 && n % (entries as u64 * 2) == 0 {
                    table.grow(0, entries).unwrap();
                    seats.iter_mut().for_each(|seat| table.quiescent(seat));
                    seats.iter_mut().for_each(|seat| table.sweep(seat, 0, 1, |_| 9, |_| {}));
                }
                let real = ServiceReal::new((n % 30_000 + 1) as u16).unwrap();
                let _ = table.get_or_insert(&key(n), real, 0);
            }
            let mut burst = ClientBurstV6::default();
            let (mut bound, mut at) = (0, 0);
            while at < 2 * clients {
                burst.clear();
                let places: Vec<_> =
                    (0..BURST).filter(|place| !(at as usize + place).is_multiple_of(3)).collect();
                for place in &places {
                    let n = (at + *place as u64) * 7 % (2 * clients);
                    burst.put(*place, address(n), scopes[n as usize % 2]);
                }
                table.aim_v6(&mut burst);
                table.find_first_v6(&mut burst, 7);
                table.find_strays_v6(&mut burst, 7);
                let found: Vec<_> = burst.found(0).collect();
                for place in places {
                    let n = (at + place as u64) * 7 % (2 * clients);
                    let hit = table.peek(&key(n));
                    assert_eq!(found[place], hit.map_or(0, |hit| hit.real.number()));
                    bound += u64::from(hit.is_some());
                }
                at += BURST as u64;
            }
            assert!(bound > clients / 3 && bound < clients * 5 / 3, "{bound} of {clients}");
            let mut ages = [0u64; 8];
            for shard in 0..shards {
                let mut cursor = Some(Default::default());
                while let Some(from) = cursor {
                    cursor =
                        table.iterate(shard, from, 9, |_, _, _, age| ages[usize::from(age)] += 1);
                }
            }
            assert!(ages[7] > 0 && ages[7] <= bound, "{ages:?}");
        }
    }
}
