//! A header in parts of a vector register's size.

use std::arch::x86_64::{__m256i, _mm256_storeu_si256};

use super::head::{HEAD_V4, KnownHead};

/// Bytes of a part of a header.
pub(crate) const PART: usize = 32;

/// The header of known clients in parts that are stored at once: of IPv4 its first and its last
/// ones, which overlap; of IPv6 two, and what is left.
#[derive(Clone, Debug, Default)]
pub(super) struct Parts {
    pub(super) bytes: [Part; 3],
    /// What stands in the words that a client's address and its port are in.
    pub(super) words: [u64; 2],
}

/// So much of a header.
#[derive(Clone, Debug, Default)]
#[repr(align(32))]
pub(crate) struct Part(pub [u8; PART]);

impl Parts {
    pub(super) fn new(head: &KnownHead) -> Self {
        let (mut bytes, from, words) = match head {
            KnownHead::V4(head) => (head.bytes(), [0, HEAD_V4 - PART, HEAD_V4], [24, 28]),
            KnownHead::V6(head) => (head.bytes(), [0, PART, 2 * PART], [32, 48]),
        };
        bytes.resize(4 * PART, 0);
        let from_byte = |at: usize| bytes.get(at..).unwrap_or_default();
        let word = |at| from_byte(at).first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        let part = |at| Part(from_byte(at).first_chunk().copied().unwrap_or_default());
        Self { words: words.map(word), bytes: from.map(part) }
    }
}

/// Stores a part from byte `at` on; nothing where it has no room.
///
/// # Safety
/// Where this is not called from code for the same CPUs, the CPU was asked
/// ([`crate::cpu::is_wide`]).
#[target_feature(enable = "avx512f,avx512vl")]
#[inline]
pub(crate) fn put_part<const LEN: usize>(to: &mut [u8; LEN], at: usize, part: __m256i) {
    let Some(to) = to.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<PART>()) else { return };
    // SAFETY: 32 bytes that may be written.
    unsafe { _mm256_storeu_si256(to.as_mut_ptr().cast(), part) }
}

/// No byte, in an order of bytes.
pub(super) const GAP: u8 = 0x80;
