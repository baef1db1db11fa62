//! A line of the IPv6 layout: three clients and where else to look for others.

use super::name::Name;
use crate::table::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};

/// Slots in a line.
pub(super) const IN_LINE: usize = 3;

/// Three clients: the halves of their addresses, their words, their ages. Then marks: where else
/// clients have gone that are looked for here first.
#[repr(C, align(64))]
pub(in crate::table) struct Line {
    pub(super) halves: [[AtomicU64; 2]; IN_LINE],
    pub(super) words: [AtomicU32; IN_LINE],
    pub(super) ages: [AtomicU8; IN_LINE],
    pub(super) marks: AtomicU8,
}

impl Line {
    /// The slot that has this name; beyond all slots if there is none.
    #[inline(always)]
    pub(in crate::table) fn first_of(&self, name: Name) -> usize {
        let [high, low] = name.halves;
        let differs = |[first, second]: &[AtomicU64; 2], word: &AtomicU32| {
            let scope = (word.load(Ordering::Acquire) ^ name.word as u32) >> 16;
            (first.load(Ordering::Acquire) ^ high)
                | (second.load(Ordering::Acquire) ^ low)
                | u64::from(scope)
        };
        // All three are compared, and none is guessed: where a client stands is chance.
        let mut at = IN_LINE;
        for place in (0..IN_LINE).rev() {
            at = if differs(&self.halves[place], &self.words[place]) == 0 { place } else { at };
        }
        at
    }

    /// The first slot that has the address, whatever its scope, for CPUs that compare a whole
    /// line; beyond all slots if there is none.
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    #[target_feature(enable = "avx512f,bmi1")]
    #[inline]
    pub(in crate::table) fn first_with_address(&self, name: Name) -> usize {
        use std::arch::asm;
        use std::arch::x86_64::{
            __m512i, _mm_set_epi64x, _mm512_broadcast_i32x4, _mm512_testn_epi64_mask,
        };
        const { assert!(size_of::<Self>() == 64 && align_of::<Self>() == 64) };
        let [high, low] = name.halves;
        let wanted = _mm512_broadcast_i32x4(_mm_set_epi64x(low as i64, high as i64));
        let other: __m512i;
        // SAFETY: the load is of `self`, which is 64 bytes, aligned to 64. Others may write the
        // line meanwhile, as atomics; assembly reads it as the CPU does, half by half whole, and
        // nothing relies on more than one of them: what is found is a hint, and the word of the
        // slot is asked, which is bound only after both halves were written.
        #[allow(unsafe_code)]
        unsafe {
            asm!(
                "vpxorq {other}, {wanted}, [{line}]",
                line = in(reg) std::ptr::from_ref(self),
                wanted = in(zmm_reg) wanted,
                other = out(zmm_reg) other,
                options(readonly, nostack, preserves_flags),
            );
        }
        let same = u32::from(_mm512_testn_epi64_mask(other, other));
        (same & same >> 1 & 0b01_01_01).trailing_zeros() as usize / 2
    }
}
