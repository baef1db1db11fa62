//! The slots of IPv4 clients' templates.

use super::cells::{
    Cells, FIRST_IF_FREE, Row, TIMEOUT_MASK, Whose, first_word, scope_of, timeout_of, with_timeout,
};
use super::key::{ClientKey, Handle, Probe, TemplateKey};
use super::sync::{AtomicU64, Ordering};
use crate::block::Block;
use crate::cpu::Tier;
use crate::prefetch::prefetch;

/// IPv4: the key in one word, so that one compare-and-swap claims.
///
/// Beside the buckets is a bit for each of them: whether some key that may stand there stands in a
/// later one of its buckets. It is never taken back. The only core of a table needs not look at a
/// new key's second bucket where the first one's bit is 0, nor at the third one where the
/// second's is.
pub(super) struct V4 {
    buckets: Block<BucketV4>,
    marks: Block<AtomicU64>,
}

#[repr(align(64))]
struct BucketV4([SlotV4; 4]);

struct SlotV4 {
    key: AtomicU64,
    value: AtomicU64,
}

impl V4 {
    #[inline]
    fn slot(&self, place: usize) -> &SlotV4 {
        &self.buckets[place / Self::WAYS].0[place % Self::WAYS]
    }
}

impl V4 {
    /// Where the key should go, if it stands nowhere in its buckets and a slot is free: to the
    /// first one while enough are free there, then to the emptier one of two, and where those are
    /// nearly full, to the third one if that is emptier still. For the only core of a table.
    #[inline(always)]
    pub(super) fn vacant(
        &self,
        pair: [usize; 2],
        third: impl FnOnce() -> Option<usize>,
        name: u64,
        tier: Tier,
    ) -> Option<usize> {
        let [first, _] = pair;
        let free = self.buckets.get(first)?.free_unless_by(tier, name)?;
        if count(free) >= FIRST_IF_FREE as u64 && !self.goes_on(first) {
            return Some(first * Self::WAYS + free.trailing_zeros() as usize);
        }
        self.vacant_further(pair, third, name, free)
    }

    #[inline(never)]
    fn vacant_further(
        &self,
        [first, second]: [usize; 2],
        third: impl FnOnce() -> Option<usize>,
        name: u64,
        first_free: u32,
    ) -> Option<usize> {
        let second_free = self.buckets.get(second)?.free_unless(name)?;
        let goes_on = count(first_free) < FIRST_IF_FREE as u64;
        let (mut bucket, mut free) = (first, first_free);
        if goes_on && count(second_free) > count(free) {
            (bucket, free) = (second, second_free);
        }
        let is_crowded = goes_on && count(free) < THIRD_IF_FREE;
        if (is_crowded || self.goes_on(first) && self.goes_on(second))
            && let Some(third) = third()
        {
            let third_free = self.buckets.get(third)?.free_unless(name)?;
            if is_crowded && count(third_free) > count(free) {
                (bucket, free) = (third, third_free);
                self.mark(second);
            }
        }
        if bucket != first {
            self.mark(first);
        }
        (free != 0).then(|| bucket * Self::WAYS + free.trailing_zeros() as usize)
    }

    /// Whether a key that may stand in this bucket may stand in a later one of its buckets.
    #[inline(always)]
    fn goes_on(&self, bucket: usize) -> bool {
        let word = self.marks.get(bucket / BITS);
        word.is_some_and(|word| word.load(Ordering::Relaxed) >> (bucket % BITS) & 1 != 0)
    }

    /// Requests what is looked at first of a new key, whose first bucket this is. For the only
    /// core of a table.
    #[inline(always)]
    pub(super) fn prefetch_first(&self, bucket: usize) {
        prefetch(&self.buckets[bucket]);
        self.prefetch_mark(bucket);
    }

    #[inline(always)]
    fn prefetch_mark(&self, bucket: usize) {
        if let Some(word) = self.marks.get(bucket / BITS) {
            prefetch(word);
        }
    }

    /// Requests the second bucket, if [`Self::vacant`] is going to look at it. Reads the first.
    #[inline(always)]
    pub(super) fn prefetch_second(&self, [first, second]: [usize; 2]) {
        let is_crowded = self.buckets.get(first).is_some_and(BucketV4::is_crowded);
        if is_crowded || self.goes_on(first) {
            self.prefetch(second);
            self.prefetch_mark(second);
        }
    }

    /// Free -> bound at once. For the only core of a table.
    #[inline(always)]
    pub(super) fn take(&self, place: usize, name: u64, timeout: u8, value: u64) {
        let slot = self.slot(place);
        slot.key.store(with_timeout(name, timeout), Ordering::Release);
        slot.value.store(value, Ordering::Release);
    }
}

/// The third bucket is looked at if neither of the other two has so many free slots. By then
/// a third of new keys are, at the nominal fill; with 3, where it is four of five, one key in
/// 88,000 has no room.
const THIRD_IF_FREE: u64 = 2;

/// How many of four bits are set: counting them takes longer where CPUs may be old.
#[inline(always)]
fn count(four: u32) -> u64 {
    const COUNTS: u64 = 0x4332_3221_3221_2110;
    COUNTS >> (4 * four) & 7
}

/// Bits in a word of marks.
const BITS: usize = u64::BITS as usize;

impl BucketV4 {
    /// Whether new keys go to whichever of their buckets is emptier.
    #[inline(always)]
    fn is_crowded(&self) -> bool {
        let used = |slot: &SlotV4| usize::from(slot.key.load(Ordering::Relaxed) != 0);
        self.0.iter().map(used).sum::<usize>() > V4::WAYS - FIRST_IF_FREE
    }

    /// A bit for every free slot; `None` if one is the key's, in whatever state. For the only
    /// core of a table, which never sees one of a slot's words cleared and the other not.
    #[inline(always)]
    fn free_unless(&self, name: u64) -> Option<u32> {
        let (mut free, mut taken) = (0, false);
        for (way, slot) in self.0.iter().enumerate() {
            let key = slot.key.load(Ordering::Acquire);
            taken |= key & !TIMEOUT_MASK == name;
            free |= u32::from(key == 0) << way;
        }
        (!taken).then_some(free)
    }
}

impl BucketV4 {
    /// The same by the best that the CPU has.
    #[inline(always)]
    fn free_unless_by(&self, tier: Tier, name: u64) -> Option<u32> {
        match tier {
            // SAFETY: the CPU has the tier.
            #[cfg(all(target_arch = "x86_64", not(loom)))]
            #[allow(unsafe_code)]
            Tier::Avx512 => unsafe { self.free_unless_avx512(name) },
            _ => self.free_unless(name),
        }
    }

    /// The same for CPUs that compare a whole line.
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    #[target_feature(enable = "avx512f")]
    #[inline]
    fn free_unless_avx512(&self, name: u64) -> Option<u32> {
        use std::arch::x86_64::{
            __m512i, _mm512_cmpeq_epi64_mask, _mm512_set1_epi64, _mm512_testn_epi64_mask,
        };
        const { assert!(size_of::<Self>() == 64 && align_of::<Self>() == 64) };
        // Keys are every other word.
        const KEYS: u32 = 0x55;
        let mask = _mm512_set1_epi64(!TIMEOUT_MASK as i64);
        let words: __m512i;
        // SAFETY: the instruction reads the 64 bytes of `self`, aligned to 64. Others may write the
        // words meanwhile, as atomics; assembly reads them as the CPU does, word by word whole,
        // and nothing relies on more than one of them.
        #[allow(unsafe_code)]
        unsafe {
            std::arch::asm!(
                "vpandq {words}, {mask}, [{line}]",
                line = in(reg) std::ptr::from_ref(self),
                mask = in(zmm_reg) mask,
                words = out(zmm_reg) words,
                options(readonly, nostack, preserves_flags),
            );
        }
        let taken = _mm512_cmpeq_epi64_mask(words, _mm512_set1_epi64(name as i64));
        let free = u32::from(_mm512_testn_epi64_mask(words, words)) & KEYS;
        let pairs = (free | free >> 1) & 0x33;
        (u32::from(taken) & KEYS == 0).then_some((pairs | pairs >> 2) & 0xF)
    }
}

impl Row for V4 {
    const WAYS: usize = 4;
    // With the marks, a little less than 24 bytes an entry.
    const SLOTS_FOR_1024: usize = 1532;
    const CHOICES: usize = 3;

    fn new(buckets: usize) -> Self {
        let slot = || SlotV4 { key: AtomicU64::new(0), value: AtomicU64::new(0) };
        let marks = Block::new(buckets.div_ceil(BITS), || AtomicU64::new(0));
        Self { buckets: Block::new(buckets, || BucketV4([slot(), slot(), slot(), slot()])), marks }
    }

    fn bytes(&self) -> usize {
        self.buckets() * size_of::<BucketV4>() + self.marks.len() * size_of::<AtomicU64>()
    }

    fn buckets(&self) -> usize {
        self.buckets.len()
    }

    #[inline]
    fn prefetch(&self, bucket: usize) {
        prefetch(&self.buckets[bucket]);
    }

    fn handle(segment: usize, place: usize) -> Handle {
        Handle::v4(segment, place)
    }
}

impl Cells for V4 {
    type Name = u64;

    #[inline]
    fn name(probe: &Probe) -> u64 {
        first_word(probe.key.scope, probe.key.client.bits() as u32)
    }

    #[inline]
    fn value(&self, place: usize) -> &AtomicU64 {
        &self.slot(place).value
    }

    #[inline]
    fn is_of(&self, place: usize, name: u64) -> bool {
        self.slot(place).key.load(Ordering::Acquire) & !TIMEOUT_MASK == name
    }

    #[inline]
    fn settle(&self, place: usize, name: u64) -> Whose {
        match self.slot(place).key.load(Ordering::Acquire) {
            0 => Whose::Free,
            word if word & !TIMEOUT_MASK == name => Whose::This,
            _ => Whose::Other,
        }
    }

    fn claim(&self, place: usize, name: u64, timeout: u8) -> bool {
        let word = with_timeout(name, timeout);
        let key = &self.slot(place).key;
        key.compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    fn timeout(&self, place: usize) -> u8 {
        timeout_of(self.slot(place).key.load(Ordering::Relaxed))
    }

    fn key(&self, place: usize) -> Option<TemplateKey> {
        let word = self.slot(place).key.load(Ordering::Acquire);
        let key = TemplateKey { scope: scope_of(word), client: ClientKey::V4(word as u32) };
        (word != 0).then_some(key)
    }

    fn clear(&self, place: usize) {
        let slot = self.slot(place);
        slot.key.store(0, Ordering::Release);
        // Last, because only a slot with both words 0 may be claimed.
        slot.value.store(0, Ordering::Release);
    }

    fn mark(&self, bucket: usize) {
        let bit = 1 << (bucket % BITS);
        if let Some(word) = self.marks.get(bucket / BITS)
            && word.load(Ordering::Relaxed) & bit == 0
        {
            word.fetch_or(bit, Ordering::Relaxed);
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::super::hash::Hasher;
    use super::super::segments::{Segments, hash_of, pair_of, third_of};
    use super::*;
    use crate::ids::ScopeId;

    #[test]
    fn a_line_tells_its_free_slots_and_whether_one_is_the_keys_whatever_the_cpu() {
        let name = first_word(ScopeId(5), 0x0B00_0001);
        let others = [first_word(ScopeId(5), 0x0B00_0002), first_word(ScopeId(4), 0x0B00_0001)];
        for set in 0..256u32 {
            let row = V4::new(1);
            let mut free = 0;
            for way in 0..4 {
                let key = match set >> (2 * way) & 3 {
                    0 => 0,
                    1 => name,
                    other => others[other as usize - 2],
                };
                free |= u32::from(key == 0) << way;
                if key != 0 {
                    // A value that looks like the key is no key.
                    row.take(way, key, way as u8 * 77, name);
                }
            }
            let is_there = (0..4).any(|way| set >> (2 * way) & 3 == 1);
            for tier in Tier::all() {
                let told = row.buckets[0].free_unless_by(tier, name);
                assert_eq!(told, (!is_there).then_some(free), "{set:#x}");
            }
        }
    }

    #[test]
    fn a_new_key_goes_on_when_its_buckets_are_crowded_and_is_seen_wherever_it_is() {
        let row = V4::new(200);
        let name = |n: u32| first_word(ScopeId(1), n);
        let put = |n| {
            row.vacant([130, 7], || Some(64), name(n), Tier::best())
                .inspect(|place| row.take(*place, name(n), 0, 1))
                .map(|place| place / V4::WAYS)
        };
        // To the first until two of its four are taken, then to the emptier one of two, and to
        // the third while it is the emptiest and the others have one free slot at the most; the
        // earlier one if they are alike.
        let to: Vec<usize> = (0..12).map(|n| put(n).unwrap()).collect();
        assert_eq!(to, [130, 130, 7, 7, 130, 7, 64, 64, 64, 130, 7, 64]);
        assert_eq!(put(12), None, "no room");
        assert!((0..12).all(|n| put(n).is_none()), "nobody is put there twice");
        assert!(row.goes_on(130) && row.goes_on(7) && !row.goes_on(64) && !row.goes_on(131));
        // The marks stay when there is room again, and who is behind them is still seen.
        (0..4).for_each(|way| row.clear(130 * V4::WAYS + way));
        (0..4).for_each(|way| row.clear(7 * V4::WAYS + way));
        assert!([6, 7, 8, 11].into_iter().all(|n| put(n).is_none()));
        assert_eq!(put(13), Some(130));
    }

    #[test]
    fn only_marked_buckets_are_gone_on_from() {
        let row = V4::new(8);
        let name = first_word(ScopeId(1), 1);
        let third = || -> Option<usize> { panic!("nobody has gone there") };
        let place = |n: u32| {
            let name = first_word(ScopeId(1), n);
            let place = row.vacant([1, 2], third, name, Tier::best()).unwrap();
            row.take(place, name, 0, 1);
            place / V4::WAYS
        };
        assert_eq!([place(1), place(2), place(3), place(4)], [1, 1, 2, 2]);
        row.clear(V4::WAYS);
        assert_eq!(row.vacant([1, 2], third, name, Tier::best()), Some(V4::WAYS));
    }

    #[test]
    fn a_table_holds_what_it_was_made_for_and_takes_24_bytes_an_entry() {
        for entries in [100_000, 1_000_000] {
            let row = Segments::<V4>::new(1, entries);
            let hasher = Hasher::new([7, entries as u64]);
            let (table, buckets) = (row.row(0).unwrap(), row.row(0).unwrap().buckets());
            let (_, bytes) = row.size();
            assert!(bytes <= 24 * entries + 64, "{bytes}");
            let left_out = (0..entries as u32).filter(|client| {
                let key = TemplateKey { scope: ScopeId(1), client: ClientKey::V4(*client) };
                let hash = hash_of(&hasher, &key);
                let name = V4::name(&Probe { key, hash, shard: 0 });
                let third = || third_of(buckets, &hash, 0);
                let place = table.vacant(pair_of(buckets, &hash, 0), third, name, Tier::best());
                place.inspect(|place| table.take(*place, name, 0, 1)).is_none()
            });
            let left_out = left_out.count();
            assert!(left_out * 15_000 <= entries, "{left_out} of {entries} found no room");
        }
    }

    #[test]
    fn four_bits_are_counted() {
        assert!((0..16).all(|four| count(four) == u64::from(four.count_ones())));
    }
}
