//! Sixteen bytes compared at once, with the instructions that every x86-64 has; safe to call.

/// A bit for each of the sixteen bytes that is as `wanted`, beginning with the lowest byte of
/// the first word.
#[inline(always)]
pub fn equal_bytes(words: [u64; 2], wanted: u8) -> u32 {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_set1_epi8};
        let [first, second] = words.map(|word| word as i64);
        // SAFETY: SSE2 is part of every x86-64, and nothing but registers is touched.
        #[allow(unsafe_code)]
        unsafe {
            let equal = _mm_cmpeq_epi8(_mm_set_epi64x(second, first), _mm_set1_epi8(wanted as i8));
            _mm_movemask_epi8(equal) as u32
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        let bytes = words.iter().flat_map(|word| word.to_le_bytes()).enumerate();
        bytes.map(|(at, byte)| u32::from(byte == wanted) << at).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_its_bit() {
        let words = [0x0706_0504_0302_0100, 0x0F0E_0D0C_0B0A_09FF];
        for byte in 0..=255 {
            let bit = match byte {
                8 => 0,
                0xFF => 1 << 8,
                0..16 => 1 << byte,
                _ => 0,
            };
            assert_eq!(equal_bytes(words, byte), bit, "{byte}");
        }
        assert_eq!(equal_bytes([0; 2], 0), 0xFFFF);
    }
}
