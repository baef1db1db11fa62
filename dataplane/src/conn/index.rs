//! Where a flow's entry stands: buckets of one cache line, twelve places each.
//!
//! A place has eleven bits of the flow's hash and an entry's number. A flow stands in its home
//! bucket; if that is full, in its other bucket, and the home counts it as away, so that a
//! search ends at a home that nobody is away from. If both are full, one of their flows moves
//! to its own other bucket. At 80 % fill, one flow in twenty is away, and one search in a few
//! hundred looks at an entry in vain.

// Buckets' numbers are reduced to how many there are, and places are below twelve; a checked
// access to each would cost a branch in the one lookup that every packet pays.
#![allow(clippy::indexing_slicing)]

use crate::block::Block;
use crate::wide::equal_bytes;

/// Entries that a bucket holds.
pub(super) const PLACES: usize = 12;

/// In a place's word: the flow is away from home.
const AWAY: u32 = 1 << 31;
const FINE_SHIFT: u32 = 28;
const FINE: u32 = 7 << FINE_SHIFT;
const NUMBER: u32 = (1 << FINE_SHIFT) - 1;

/// A bit for every place. The tags' second word goes on with how many are away.
const ALL_PLACES: u32 = (1 << PLACES) - 1;
const AWAY_SHIFT: u32 = 32;

/// Where a flow may stand, and what by it is known there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Home {
    hash: u64,
}

impl Home {
    pub(super) const fn of(hash: u64) -> Self {
        Self { hash }
    }

    /// Never 0, which says that a place is free.
    #[inline]
    fn tag(self) -> u8 {
        ((self.hash >> 56) as u8).max(1)
    }

    #[inline]
    fn fine(self) -> u32 {
        (self.hash >> 53) as u32 & 7
    }

    #[inline]
    fn bucket(self, buckets: usize) -> usize {
        (((self.hash & 0xFFFF_FFFF) * buckets as u64) >> 32) as usize
    }
}

/// How far a flow's other bucket is from its home; neither 0 nor a whole round.
#[inline]
fn distance(tag: u8, fine: u32, buckets: usize) -> usize {
    let spread = (u32::from(tag) << 3 | fine).wrapping_mul(0x9E37_79B1);
    1 + ((u64::from(spread) * (buckets as u64 - 1)) >> 32) as usize
}

/// One cache line: tags (a byte each, 0 = free), the number of flows that are away, words.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Bucket {
    tags: [u64; 2],
    words: [u32; PLACES],
}

const EMPTY: Bucket = Bucket { tags: [0; 2], words: [0; PLACES] };

impl Bucket {
    /// A bit for every place that has this tag.
    #[inline(always)]
    fn matches(&self, tag: u8) -> u32 {
        equal_bytes(self.tags, tag) & ALL_PLACES
    }

    fn free_place(&self) -> Option<usize> {
        let free = self.matches(0);
        (free != 0).then(|| free.trailing_zeros() as usize)
    }

    fn tag(&self, place: usize) -> u8 {
        let [first, second] = self.tags;
        let word = if place < 8 { first } else { second };
        (word >> (place % 8 * 8)) as u8
    }

    fn set(&mut self, place: usize, tag: u8, word: u32) {
        let shift = place % 8 * 8;
        let tags = &mut self.tags[place / 8];
        *tags = *tags & !(0xFF << shift) | u64::from(tag) << shift;
        self.words[place] = word;
    }

    #[inline]
    fn anybody_away(&self) -> bool {
        self.tags[1] >> AWAY_SHIFT != 0
    }

    fn count_away(&mut self, more: bool) {
        let one = 1 << AWAY_SHIFT;
        let [_, second] = &mut self.tags;
        *second = if more { second.wrapping_add(one) } else { second.wrapping_sub(one) };
    }

    /// The entries' numbers that may be the flow's.
    #[inline(always)]
    fn numbers(&self, home: Home) -> impl Iterator<Item = u32> + '_ {
        let mut left = self.matches(home.tag());
        let fine = home.fine() << FINE_SHIFT;
        std::iter::from_fn(move || {
            while left != 0 {
                let place = left.trailing_zeros() as usize;
                left &= left - 1;
                if let Some(word) = self.words.get(place)
                    && word & FINE == fine
                {
                    return Some(word & NUMBER);
                }
            }
            None
        })
    }
}

/// The buckets.
pub(super) struct Index(Block<Bucket>);

/// A flow in an index: a bucket and the place in it.
#[derive(Clone, Copy)]
struct At {
    bucket: usize,
    place: usize,
}

impl Index {
    /// Buckets for so many entries, all of their pages touched: four of five places are used.
    pub(super) fn new(entries: usize) -> Self {
        Self::with_buckets((entries * 5 / 4).div_ceil(PLACES).max(2))
    }

    fn with_buckets(buckets: usize) -> Self {
        Self(Block::new(buckets, || EMPTY))
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }

    fn other(&self, home: usize, tag: u8, fine: u32) -> usize {
        let other = home + distance(tag, fine, self.0.len());
        if other >= self.0.len() { other - self.0.len() } else { other }
    }

    /// The home of a flow that is away in this bucket.
    fn home_of(&self, bucket: usize, tag: u8, fine: u32) -> usize {
        let back = distance(tag, fine, self.0.len());
        if bucket >= back { bucket - back } else { bucket + self.0.len() - back }
    }

    #[inline]
    fn home(&self, home: Home) -> &Bucket {
        &self.0[home.bucket(self.0.len())]
    }

    #[inline]
    fn second(&self, home: Home) -> &Bucket {
        let other = self.other(home.bucket(self.0.len()), home.tag(), home.fine());
        &self.0[other]
    }

    /// Requests the line of the flow's home.
    #[inline(always)]
    pub(super) fn prefetch(&self, home: Home) {
        crate::prefetch::prefetch(self.home(home));
    }

    /// The entry that is most probably the flow's. Where none at home may be, requests the
    /// line of the other bucket.
    #[inline(always)]
    pub(super) fn first_guess(&self, home: Home) -> Option<u32> {
        let bucket = self.home(home);
        let guess = bucket.numbers(home).next();
        if guess.is_none() && bucket.anybody_away() {
            crate::prefetch::prefetch(self.second(home));
        }
        guess
    }

    /// The first entry's number for which `is_it` holds, of those that may be the flow's.
    #[inline]
    pub(super) fn find(&self, home: Home, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let bucket = self.home(home);
        let found = bucket.numbers(home).find(|number| is_it(*number));
        if found.is_some() || !bucket.anybody_away() {
            return found;
        }
        self.second(home).numbers(home).find(|number| is_it(*number))
    }

    /// Adds an entry; `false` where there is no place.
    #[inline(always)]
    pub(super) fn insert(&mut self, home: Home, number: u32) -> bool {
        let (tag, fine) = (home.tag(), home.fine());
        let first = home.bucket(self.0.len());
        let word = fine << FINE_SHIFT | number;
        if let Some(place) = self.0[first].free_place() {
            self.0[first].set(place, tag, word);
            return true;
        }
        self.insert_away(first, tag, word)
    }

    /// Adds an entry whose home is full.
    #[inline(never)]
    fn insert_away(&mut self, first: usize, tag: u8, word: u32) -> bool {
        let second = self.other(first, tag, (word & FINE) >> FINE_SHIFT);
        let free = self.0[second].free_place().map(|place| At { bucket: second, place });
        let at = free.or_else(|| self.make_room(first)).or_else(|| self.make_room(second));
        let Some(at) = at else { return false };
        if at.bucket == first {
            self.0[first].set(at.place, tag, word);
        } else {
            self.0[second].set(at.place, tag, word | AWAY);
            self.0[first].count_away(true);
        }
        true
    }

    /// Moves one of a full bucket's flows to its other bucket; answers the place that it left.
    fn make_room(&mut self, bucket: usize) -> Option<At> {
        for place in 0..PLACES {
            let tag = self.0[bucket].tag(place);
            let word = self.0[bucket].words[place];
            let fine = (word & FINE) >> FINE_SHIFT;
            let away = word & AWAY != 0;
            let target = match away {
                true => self.home_of(bucket, tag, fine),
                false => self.other(bucket, tag, fine),
            };
            if let Some(free) = self.0[target].free_place() {
                self.0[target].set(free, tag, word ^ AWAY);
                self.0[if away { target } else { bucket }].count_away(!away);
                self.0[bucket].set(place, 0, 0);
                return Some(At { bucket, place });
            }
        }
        None
    }

    /// Removes an entry; `false` if it is not here.
    pub(super) fn remove(&mut self, home: Home, number: u32) -> bool {
        let first = home.bucket(self.0.len());
        let second = self.other(first, home.tag(), home.fine());
        for bucket in [first, second] {
            let mut left = self.0[bucket].matches(home.tag());
            while left != 0 {
                let place = left.trailing_zeros() as usize;
                left &= left - 1;
                let word = self.0[bucket].words[place];
                if word & NUMBER == number && self.0[bucket].tag(place) != 0 {
                    self.0[bucket].set(place, 0, 0);
                    if word & AWAY != 0 {
                        self.0[first].count_away(false);
                    }
                    return true;
                }
            }
        }
        false
    }

    pub(super) fn buckets(&self) -> usize {
        self.0.len()
    }

    /// The numbers of a bucket's entries.
    pub(super) fn numbers_in(&self, bucket: usize) -> impl Iterator<Item = u32> + '_ {
        self.0.get(bucket).into_iter().flat_map(|bucket| {
            let used = |place: &usize| bucket.tag(*place) != 0;
            (0..PLACES).filter(used).map(|place| bucket.words[place] & NUMBER)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u32) -> u64 {
        let product = u128::from(u64::from(n) ^ 0x1234_5678_9ABC_DEF1) * 0xD6E8_FEB8_6659_FD93;
        let n = (product >> 64) as u64 ^ product as u64;
        let product = u128::from(n) * 0x9E37_79B9_7F4A_7C15_u128;
        (product >> 64) as u64 ^ product as u64
    }

    fn home(n: u32) -> Home {
        Home::of(hash(n))
    }

    #[test]
    fn a_bucket_is_one_cache_line() {
        assert_eq!((size_of::<Bucket>(), align_of::<Bucket>()), (64, 64));
    }

    #[test]
    fn matches_are_all_places_with_the_tag_and_no_others() {
        let mut bucket = EMPTY;
        for place in 0..PLACES {
            bucket.set(place, (place as u8 % 3) + 1, place as u32);
        }
        for tag in 1..=255u8 {
            let exact: u32 =
                (0..PLACES).filter(|place| bucket.tag(*place) == tag).map(|place| 1 << place).sum();
            assert_eq!(bucket.matches(tag), exact, "tag {tag}");
        }
        assert_eq!(bucket.free_place(), None);
        bucket.set(7, 0, 0);
        assert_eq!(bucket.free_place(), Some(7));
        bucket.set(7, 9, 0);
        bucket.set(11, 0, 0);
        bucket.count_away(true);
        assert_eq!(bucket.free_place(), Some(11));
        assert!(bucket.anybody_away());
        bucket.count_away(false);
        assert!(!bucket.anybody_away());
    }

    #[test]
    fn an_index_takes_nine_of_ten_places_and_finds_all_of_them() {
        for buckets in [2usize, 3, 100, 5000] {
            let mut index = Index::with_buckets(buckets);
            let entries = match buckets {
                // With so few buckets, luck decides where flows may stand.
                2 | 3 => buckets * PLACES * 8 / 10,
                _ => buckets * PLACES * 9 / 10,
            } as u32;
            for n in 0..entries {
                assert!(index.insert(home(n), n), "entry {n} of {entries}");
            }
            for n in 0..entries {
                assert_eq!(index.find(home(n), |number| number == n), Some(n));
            }
            assert_eq!((0..buckets).flat_map(|b| index.numbers_in(b)).count(), entries as usize);
            for n in 0..entries {
                assert!(index.remove(home(n), n), "{n}");
                assert!(!index.remove(home(n), n), "{n}");
            }
            assert!(index.0.iter().all(|b| b.tags == [0; 2] && b.words == [0; PLACES]));
        }
    }

    #[test]
    fn at_the_fill_of_a_full_table_few_flows_are_away_and_few_guesses_are_wrong() {
        let entries = 100_000;
        let mut index = Index::new(entries as usize);
        for n in 0..entries {
            assert!(index.insert(home(n), n));
        }
        let away = index.0.iter().map(|b| b.tags[1] >> AWAY_SHIFT).sum::<u64>();
        assert!(away < 8_000, "{away} of {entries} flows are away");
        let mut looks = 0;
        for n in entries..2 * entries {
            assert_eq!(
                index.find(home(n), |_| {
                    looks += 1;
                    false
                }),
                None
            );
        }
        assert!(looks < 1_500, "{looks} entries looked at for {entries} unknown flows");
    }

    #[test]
    fn under_turnover_at_full_fill_no_insert_is_refused_and_no_count_of_away_is_lost() {
        let entries = 20_000;
        let mut index = Index::new(entries as usize);
        for n in 0..entries {
            assert!(index.insert(home(n), n));
        }
        for round in 1..20 {
            for n in (0..entries).step_by(3) {
                let old = n + (round - 1) * entries;
                assert!(index.remove(home(old), n));
                assert!(index.insert(home(n + round * entries), n));
            }
            for n in (0..entries).filter(|n| n % 3 != 0) {
                assert_eq!(index.find(home(n), |number| number == n), Some(n));
            }
        }
        let counted = index.0.iter().map(|b| b.tags[1] >> AWAY_SHIFT).sum::<u64>();
        let away = index.0.iter().flat_map(|b| b.words).filter(|word| word & AWAY != 0).count();
        assert_eq!(counted, away as u64);
    }
}
