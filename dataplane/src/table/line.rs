//! Which of a cache line's words begin with a name: seven comparisons at once.

/// A cache line of seven words and eight bytes that may be anything.
#[repr(C, align(64))]
pub(super) struct Line<W, B> {
    pub(super) words: [W; 7],
    pub(super) beside: B,
}

/// Where in a word a name ends.
const BELOW: u64 = 0xFFFF;

#[cfg(all(target_arch = "x86_64", not(loom)))]
mod wide {
    use std::arch::asm;
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi32, _mm_movemask_epi8, _mm_packs_epi16,
        _mm_packs_epi32, _mm_set1_epi64x,
    };

    use super::{BELOW, Line};
    use crate::table::sync::AtomicU64;

    impl<B> Line<AtomicU64, B> {
        /// The place of a word that differs from `name` in its lowest 16 bits only, if there is
        /// one. No more than a hint while others write: the word itself is to be asked.
        #[inline(always)]
        pub(in crate::table) fn candidate(&self, name: u64) -> Option<usize> {
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
            let bits = halves_equal([a, b, c, d], name);
            // Two bits for each word, one for each half; the eighth is no word.
            let whole = bits & bits >> 1 & 0x1555;
            (whole != 0).then_some(whole.trailing_zeros() as usize / 2)
        }
    }

    /// A bit for each half of the eight words that is as in `name`.
    #[inline(always)]
    fn halves_equal([a, b, c, d]: [__m128i; 4], name: u64) -> u32 {
        // SAFETY: every x86-64 has SSE2.
        #[allow(unused_unsafe, unsafe_code)]
        unsafe {
            let mask = _mm_set1_epi64x(!BELOW as i64);
            let name = _mm_set1_epi64x(name as i64);
            let equal = |words| _mm_cmpeq_epi32(_mm_and_si128(words, mask), name);
            let first = _mm_packs_epi32(equal(a), equal(b));
            let last = _mm_packs_epi32(equal(c), equal(d));
            _mm_movemask_epi8(_mm_packs_epi16(first, last)) as u32
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", not(loom))))]
impl<B> Line<super::sync::AtomicU64, B> {
    /// The place of a word that differs from `name` in its lowest 16 bits only, if there is
    /// one. No more than a hint while others write: the word itself is to be asked.
    pub(super) fn candidate(&self, name: u64) -> Option<usize> {
        let mut words = self.words.iter();
        words.position(|word| word.load(super::sync::Ordering::Acquire) ^ name <= BELOW)
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
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
        assert_eq!(line(others, name).candidate(name), None);
        for place in 0..7 {
            for below in [0, 1, 0x7FFF, 0xFFFF] {
                let mut words = others;
                words[place] = name | below;
                assert_eq!(line(words, name).candidate(name), Some(place), "{below:#x}");
            }
        }
    }

    #[test]
    fn of_two_words_the_first_is_found() {
        let words: [u64; 7] = [9, 9, 7 << 16 | 1, 9, 7 << 16 | 2, 9, 9];
        assert_eq!(
            Line { words: words.map(AtomicU64::new), beside: 0u64 }.candidate(7 << 16),
            Some(2)
        );
    }
}
