//! Which of a cache line's words begin with a name: seven comparisons at once.

use crate::cpu::Tier;

/// A cache line of seven words and eight bytes that may be anything.
#[repr(C, align(64))]
pub(super) struct Line<W, B> {
    pub(super) words: [W; 7],
    pub(super) beside: B,
}

/// Places of words, in rising order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidates(u32);

/// A bit at twice each word's place.
const ALL: u32 = 0x1555;

impl Candidates {
    /// The first one; beyond all words if there is none.
    #[inline(always)]
    pub(super) fn first(self) -> usize {
        self.0.trailing_zeros() as usize / 2
    }

    /// Whether there is any.
    #[inline(always)]
    pub(super) fn is_any(self) -> bool {
        self.0 != 0
    }

    /// How many there are, up to three. Counting bits takes longer where CPUs may be old.
    #[inline(always)]
    pub(super) fn up_to_three(self) -> usize {
        let fewer = |bits: u32| bits & bits.wrapping_sub(1);
        let (two, three) = (fewer(self.0), fewer(fewer(self.0)));
        usize::from(self.0 != 0) + usize::from(two != 0) + usize::from(three != 0)
    }
}

impl Iterator for Candidates {
    type Item = usize;

    #[inline(always)]
    fn next(&mut self) -> Option<usize> {
        let first = (self.0 != 0).then(|| self.first());
        self.0 &= self.0.wrapping_sub(1);
        first
    }
}

/// Where in a word a name ends.
const BELOW: u64 = 0xFFFF;

#[cfg(all(target_arch = "x86_64", not(loom)))]
mod wide {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m128i, __m256i, __m512i, _mm_and_si128, _mm_cmpeq_epi32, _mm_movemask_epi8,
        _mm_packs_epi16, _mm_packs_epi32, _mm_set1_epi64x, _mm256_castsi256_pd, _mm256_cmpeq_epi64,
        _mm256_movemask_pd, _mm256_set1_epi64x, _mm512_cmpeq_epi32_mask, _mm512_set1_epi64,
    };

    use super::{ALL, BELOW, Candidates, Line};
    use crate::table::sync::AtomicU64;

    impl<B> Line<AtomicU64, B> {
        /// The words that differ from `name` in their lowest 16 bits only. No more than a hint
        /// while others write: the words themselves are to be asked.
        #[inline(always)]
        pub(in crate::table) fn candidates(&self, name: u64) -> Candidates {
            const { assert!(size_of::<Self>() == 64 && align_of::<Self>() == 64) };
            let [a, b, c, d]: [__m128i; 4];
            // SAFETY: the four loads lie inside `self`, which is 64 bytes, aligned to 64. Others
            // may write the words meanwhile, as atomics; assembly reads them as the CPU does,
            // word by word whole, and nothing relies on more than one of them. Reading them one
            // by one, as Rust's atomics can, takes three times as long.
            #[allow(unsafe_code)]
            unsafe {
                asm!(
                    "movdqa {a}, [{line}]",
                    "movdqa {b}, [{line} + 16]",
                    "movdqa {c}, [{line} + 32]",
                    "movdqa {d}, [{line} + 48]",
                    line = in(reg) std::ptr::from_ref(self),
                    a = out(xmm_reg) a,
                    b = out(xmm_reg) b,
                    c = out(xmm_reg) c,
                    d = out(xmm_reg) d,
                    options(readonly, nostack, preserves_flags),
                );
            }
            Candidates(equal([a, b, c, d], name) & ALL)
        }
    }

    impl<B> Line<AtomicU64, B> {
        /// The first of [`Self::candidates`], for CPUs that compare whole words.
        #[target_feature(enable = "avx2,bmi1")]
        #[inline]
        pub(in crate::table) fn first_candidate_avx2(&self, name: u64) -> usize {
            const { assert!(size_of::<Self>() == 64 && align_of::<Self>() == 64) };
            let mask = _mm256_set1_epi64x(!BELOW as i64);
            let [a, b]: [__m256i; 2];
            // SAFETY: as in `candidates`; the two instructions read 32 bytes each.
            #[allow(unsafe_code)]
            unsafe {
                asm!(
                    "vpand {a}, {mask}, [{line}]",
                    "vpand {b}, {mask}, [{line} + 32]",
                    line = in(reg) std::ptr::from_ref(self),
                    mask = in(ymm_reg) mask,
                    a = out(ymm_reg) a,
                    b = out(ymm_reg) b,
                    options(readonly, nostack, preserves_flags),
                );
            }
            let name = _mm256_set1_epi64x(name as i64);
            let of = |words| {
                _mm256_movemask_pd(_mm256_castsi256_pd(_mm256_cmpeq_epi64(words, name))) as u32
            };
            (of(a) | (of(b) << 4 & 0x70)).trailing_zeros() as usize
        }
    }

    impl<B> Line<AtomicU64, B> {
        /// [`Self::candidates`] of two names, for CPUs that compare a whole line.
        #[target_feature(enable = "avx512f")]
        #[inline]
        pub(in crate::table) fn candidates_avx512(&self, names: [u64; 2]) -> [Candidates; 2] {
            const { assert!(size_of::<Self>() == 64 && align_of::<Self>() == 64) };
            let mask = _mm512_set1_epi64(!BELOW as i64);
            let words: __m512i;
            // SAFETY: as in `candidates`; the instruction reads all 64 bytes.
            #[allow(unsafe_code)]
            unsafe {
                asm!(
                    "vpandq {words}, {mask}, [{line}]",
                    line = in(reg) std::ptr::from_ref(self),
                    mask = in(zmm_reg) mask,
                    words = out(zmm_reg) words,
                    options(readonly, nostack, preserves_flags),
                );
            }
            names.map(|name| {
                let halves = _mm512_cmpeq_epi32_mask(words, _mm512_set1_epi64(name as i64));
                Candidates(u32::from(halves & halves >> 1) & ALL)
            })
        }
    }

    /// At twice a word's place a bit if it is as `name`; between those, chance.
    #[inline(always)]
    fn equal([a, b, c, d]: [__m128i; 4], name: u64) -> u32 {
        // SAFETY: every x86-64 has SSE2.
        #[allow(unused_unsafe, unsafe_code)]
        unsafe {
            let mask = _mm_set1_epi64x(!BELOW as i64);
            let name = _mm_set1_epi64x(name as i64);
            // Both halves of a word, each by itself: there is no comparison of whole words.
            let equal = |words| _mm_cmpeq_epi32(_mm_and_si128(words, mask), name);
            let first = _mm_packs_epi32(equal(a), equal(b));
            let last = _mm_packs_epi32(equal(c), equal(d));
            let halves = _mm_movemask_epi8(_mm_packs_epi16(first, last)) as u32;
            halves & halves >> 1
        }
    }
}

impl<B> Line<super::sync::AtomicU64, B> {
    /// [`Self::candidates`] of two names.
    #[inline(always)]
    pub(super) fn candidates_of_two(&self, names: [u64; 2], tier: Tier) -> [Candidates; 2] {
        match tier {
            // SAFETY: the CPU has the tier.
            #[cfg(all(target_arch = "x86_64", not(loom)))]
            #[allow(unsafe_code)]
            Tier::Avx512 => unsafe { self.candidates_avx512(names) },
            _ => names.map(|name| self.candidates(name)),
        }
    }

    /// The first of [`Self::candidates`]; beyond all words if there is none.
    #[inline(always)]
    pub(super) fn first_candidate(&self, name: u64) -> usize {
        self.candidates(name).first()
    }
}

#[cfg(not(all(target_arch = "x86_64", not(loom))))]
impl<B> Line<super::sync::AtomicU64, B> {
    /// The words that differ from `name` in their lowest 16 bits only. No more than a hint
    /// while others write: the words themselves are to be asked.
    pub(super) fn candidates(&self, name: u64) -> Candidates {
        let words = self.words.iter().enumerate();
        let is = |word: &super::sync::AtomicU64| {
            word.load(super::sync::Ordering::Acquire) ^ name <= BELOW
        };
        Candidates(words.map(|(at, word)| u32::from(is(word)) << (2 * at)).sum())
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::cpu::Tier;
    use crate::table::sync::AtomicU64;

    #[test]
    fn a_word_is_found_wherever_it_stands_and_by_its_upper_bits_alone() {
        let name = 0x0B00_0001_0003_0000;
        let line = |words: [u64; 7], beside: u64| Line { words: words.map(AtomicU64::new), beside };
        let others = [
            0,
            name ^ 1 << 16,
            name ^ 1 << 32,
            name ^ 1 << 63,
            !name,
            u64::from(name as u32),
            name & !0 << 32,
        ];
        // Beyond all words is any number above 6.
        let firsts = |line: &Line<AtomicU64, u64>| -> Vec<usize> {
            let first = |tier| match tier {
                // SAFETY: the CPU has the tier.
                #[cfg(target_arch = "x86_64")]
                #[allow(unsafe_code)]
                Tier::Avx2 => unsafe { line.first_candidate_avx2(name) },
                _ => line.first_candidate(name),
            };
            Tier::all().map(|tier| first(tier).min(7)).collect()
        };
        let nowhere = line(others, name);
        assert!(firsts(&nowhere).iter().all(|first| *first == 7));
        for place in 0..7 {
            for below in [0, 1, 0x7FFF, 0xFFFF] {
                let mut words = others;
                words[place] = name | below;
                let line = line(words, name);
                let found: Vec<usize> = line.candidates(name).collect();
                assert_eq!(found, [place], "{below:#x}");
                assert!(firsts(&line).iter().all(|first| *first == place), "{below:#x}");
            }
        }
        for set in 0..128 {
            let is = |at: &usize| set >> at & 1 == 1;
            let words = std::array::from_fn(|at| if is(&at) { name } else { !name });
            let found: Vec<usize> = line(words, name).candidates(name).collect();
            assert_eq!(found, (0..7).filter(is).collect::<Vec<usize>>());
            for tier in Tier::all() {
                let both = line(words, name).candidates_of_two([name, !name & !BELOW], tier);
                let [these, others] = both.map(Iterator::collect::<Vec<usize>>);
                assert_eq!(these, found);
                assert_eq!(others, (0..7).filter(|at| !is(at)).collect::<Vec<usize>>());
            }
        }
    }
}
