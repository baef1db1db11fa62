//! The home of a flow: the line of a slab where its entry is put if that has room, and how many
//! flows are away from it.

use super::Slab;
use super::segment::{Segment, per_line};
use crate::conn::entry::Entry;
#[cfg(target_arch = "x86_64")]
use crate::conn::entry::EntryV4;
use crate::conn::packed::Packed;
use crate::conn::table::Slot;

impl<E: Entry> Slab<E> {
    /// The first entry of the home of flows with this hash, whose upper bits count.
    #[inline(always)]
    pub(in crate::conn) fn home(&self, hash: u64) -> Slot {
        match &self.segments[..] {
            [_] => self.first_home(hash),
            _ => self.home_in_many(hash),
        }
    }

    /// The home before any other segment was added. It stays: who is away from home is counted
    /// there.
    #[inline(always)]
    fn first_home(&self, hash: u64) -> Slot {
        let line = scaled(hash, self.segments.first().map_or(0, Segment::lines)) as usize;
        Slot::from_number((line * per_line::<E>()) as u32)
    }

    #[cold]
    #[inline(never)]
    fn home_in_many(&self, hash: u64) -> Slot {
        self.homes(hash).next().unwrap_or(Slot::from_number(0))
    }

    /// A flow's home, and those that it had before other segments were added. Where one was, a
    /// flow's home is either there or where it was before: most entries stay at home.
    fn homes(&self, hash: u64) -> impl Iterator<Item = Slot> {
        let later = self.segments.iter().enumerate().skip(1).rev();
        let later = later.filter_map(move |(number, segment)| {
            // What chooses among so many segments is independent of what chooses among fewer.
            let line = scaled(mixed(hash, number as u64), segment.before + segment.lines());
            let line = line.checked_sub(segment.before)?;
            Some(Slot::from_number(segment.number(line as usize * per_line::<E>())))
        });
        later.chain(std::iter::once_with(move || self.first_home(hash)))
    }

    /// Whether there is more than the first segment.
    #[inline(always)]
    pub(in crate::conn) fn has_many(&self) -> bool {
        self.segments.len() > 1
    }

    /// The homes that a flow with this hash had before other segments were added.
    pub(in crate::conn) fn older_homes(&self, hash: u64) -> impl Iterator<Item = Slot> {
        let many = self.segments.len() > 1;
        many.then(|| self.homes(hash).skip(1)).into_iter().flatten()
    }

    /// Whether an entry is in the home of flows with this hash, or in one that they had.
    #[inline(always)]
    pub(in crate::conn) fn is_at_home(&self, slot: Slot, hash: u64) -> bool {
        is_in(slot, self.home(hash), per_line::<E>())
            || self.segments.len() > 1 && self.was_at_home(slot, hash)
    }

    /// Whether an entry stands in the home that begins with this one.
    #[inline(always)]
    pub(in crate::conn) fn is_in_home(&self, slot: Slot, first: Slot) -> bool {
        is_in(slot, first, per_line::<E>())
    }

    #[cold]
    #[inline(never)]
    fn was_at_home(&self, slot: Slot, hash: u64) -> bool {
        self.older_homes(hash).any(|home| is_in(slot, home, per_line::<E>()))
    }

    /// Whether some flow that is not in the home that begins with this entry may be away from
    /// it. Reads the home. Where there are many segments that is not known here.
    #[inline(always)]
    pub(in crate::conn) fn goes_on(&self, home: Slot) -> bool {
        self.segments.len() > 1 || self.away_from(home) != 0
    }

    /// Whether some flow with such a hash may be away from its homes.
    #[inline(always)]
    pub(in crate::conn) fn anybody_away(&self, hash: u64) -> bool {
        self.away_from(self.first_home(hash)) != 0
    }

    /// How many flows are away from a home.
    #[inline(always)]
    fn away_from(&self, home: Slot) -> u32 {
        let line = self.line(home).unwrap_or_default();
        line.iter().rev().fold(0, |count, entry| count << Packed::AWAY_BITS | entry.packed().away())
    }

    /// One flow with this hash more, or fewer, is away from its homes. Who counts to the end
    /// stays there.
    pub(in crate::conn) fn count_away(&mut self, hash: u64, more: bool) {
        let home = self.first_home(hash);
        let most = (1 << (Packed::AWAY_BITS as usize * per_line::<E>())) - 1;
        let count = self.away_from(home);
        if count == most {
            return;
        }
        let mut count = if more { count + 1 } else { count.saturating_sub(1) };
        let first = home.number();
        for number in first..first + per_line::<E>() as u32 {
            if let Some(entry) = self.get_mut(Slot::from_number(number)) {
                entry.packed_mut().set_away(count);
            }
            count >>= Packed::AWAY_BITS;
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Slab<EntryV4> {
    /// [`Self::home`] of the four hashes that are the lower halves of the quarters; requests the
    /// homes.
    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    pub(in crate::conn) fn request_homes(&self, hashes: std::arch::x86_64::__m512i) -> [Slot; 4] {
        use std::arch::x86_64::{
            __m128i, __m256i, _mm256_cvtepi64_epi32, _mm512_castsi512_si256,
            _mm512_maskz_compress_epi64, _mm512_mul_epu32, _mm512_set1_epi64, _mm512_slli_epi64,
            _mm512_srli_epi64,
        };
        const { assert!(per_line::<EntryV4>() == 2) };
        let [only] = &self.segments[..] else {
            let hashes = _mm512_castsi512_si256(_mm512_maskz_compress_epi64(0x55, hashes));
            // SAFETY: four words, whatever their bits.
            #[allow(unsafe_code)]
            let hashes = unsafe { std::mem::transmute::<__m256i, [u64; 4]>(hashes) };
            return hashes.map(|hash| {
                let home = self.home_in_many(hash);
                self.get(home).inspect(|entry| crate::prefetch::prefetch(*entry));
                home
            });
        };
        let lines = _mm512_set1_epi64(only.lines() as i64);
        // As `scaled` does.
        let scaled = _mm512_mul_epu32(_mm512_srli_epi64::<32>(hashes), lines);
        let places = _mm512_slli_epi64::<1>(_mm512_srli_epi64::<32>(scaled));
        let places = _mm512_castsi512_si256(_mm512_maskz_compress_epi64(0x55, places));
        // SAFETY: four numbers of 32 bits, whatever their bits.
        #[allow(unsafe_code)]
        let places =
            unsafe { std::mem::transmute::<__m128i, [u32; 4]>(_mm256_cvtepi64_epi32(places)) };
        for place in places {
            only.entries.get(place as usize).inspect(|entry| crate::prefetch::prefetch(*entry));
        }
        places.map(Slot::from_number)
    }
}

/// Whether an entry is one of so many from this one on.
#[inline(always)]
fn is_in(slot: Slot, first: Slot, many: usize) -> bool {
    slot.number().wrapping_sub(first.number()) < many as u32
}

/// The upper half of the hash, scaled.
#[inline(always)]
fn scaled(hash: u64, below: u64) -> u64 {
    ((hash >> 32) * below) >> 32
}

/// Another hash of a hash, by a number.
fn mixed(hash: u64, number: u64) -> u64 {
    let hash = (hash ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (hash ^ hash >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}
