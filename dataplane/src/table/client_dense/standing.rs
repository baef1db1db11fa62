//! An IPv4 client looked for in its bucket without a branch, by CPUs that compare a whole line.

use super::{Bucket, Dense};
use crate::table::client_slots::DEAD;
use crate::table::sync::Ordering;

/// What a bucket has for a client.
#[derive(Clone, Copy)]
pub(in crate::table) struct Standing {
    /// The lower half of its word; 0 if it is not bound here, or doomed.
    pub real: u32,
    /// The bit of its place, if its age is another than the one asked about.
    pub older: u8,
}

impl Dense {
    /// Looks for a client in a bucket without a branch, for CPUs that compare a whole line.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    pub(in crate::table) fn standing(
        &self,
        bucket: usize,
        name: u64,
        ages: std::arch::x86_64::__m128i,
    ) -> Standing {
        use std::arch::asm;
        use std::arch::x86_64::{
            __m128i, __m512i, _mm_cvtsi128_si32, _mm_mask_cmpneq_epi8_mask, _mm512_add_epi64,
            _mm512_castsi512_si128, _mm512_cmplt_epu64_mask, _mm512_maskz_compress_epi64,
            _mm512_set_epi64, _mm512_set1_epi64,
        };
        const { assert!(size_of::<Bucket>() == 64 && align_of::<Bucket>() == 64) };
        let Some(line) = self.0.get(bucket) else { return Standing { real: 0, older: 0 } };
        let (differences, beside): (__m512i, __m128i);
        // SAFETY: the loads lie inside the line, which is 64 bytes, aligned to 64. Others may
        // write words and ages meanwhile, as atomics; assembly reads them as the CPU does, each
        // of them whole, and nothing relies on more than one word and its age.
        #[allow(unsafe_code)]
        unsafe {
            asm!(
                "vpxorq {differences}, {name}, [{line}]",
                "vmovq {beside}, qword ptr [{line} + 56]",
                line = in(reg) std::ptr::from_ref(line),
                name = in(zmm_reg) _mm512_set1_epi64(name as i64),
                differences = out(zmm_reg) differences,
                beside = out(xmm_reg) beside,
                options(readonly, nostack, preserves_flags),
            );
        }
        // Of this name, and its value that of a bound client: neither 0, dead, nor doomed.
        let less = _mm512_add_epi64(differences, _mm512_set1_epi64(-1));
        // Behind the words stand the ages, which nothing is less than 0 of.
        const BELOW: i64 = (DEAD - 1) as i64;
        let values = _mm512_set_epi64(0, BELOW, BELOW, BELOW, BELOW, BELOW, BELOW, BELOW);
        let bound = _mm512_cmplt_epu64_mask(less, values);
        let word = _mm512_maskz_compress_epi64(bound, differences);
        let real = _mm_cvtsi128_si32(_mm512_castsi512_si128(word)) as u32;
        let older = _mm_mask_cmpneq_epi8_mask(u16::from(bound), beside, ages);
        Standing { real, older: older as u8 }
    }

    /// Sets the age of the client at a place that [`Self::standing`] found.
    #[inline]
    pub(in crate::table) fn refresh(&self, bucket: usize, older: u8, age_now: u8) {
        let age =
            self.0.get(bucket).and_then(|line| line.beside.get(older.trailing_zeros() as usize));
        if let Some(age) = age {
            age.store(age_now, Ordering::Release);
        }
    }
}
