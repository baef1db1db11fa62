//! A header in words of a register's size, so that each byte is written once.

/// A header in words of 8 bytes, and the few bytes behind them.
#[derive(Clone, Copy, Debug)]
pub struct Words<const N: usize> {
    pub(super) words: [u64; N],
    pub(super) rest: [u8; 4],
}

impl<const N: usize> Words<N> {
    pub(super) fn new(head: &[u8]) -> Self {
        let (chunks, tail) = head.as_chunks::<8>();
        let (mut words, mut rest) = ([0; N], [0; 4]);
        for (word, chunk) in words.iter_mut().zip(chunks) {
            *word = u64::from_ne_bytes(*chunk);
        }
        for (to, from) in rest.iter_mut().zip(tail) {
            *to = *from;
        }
        Self { words, rest }
    }

    /// The words and the bytes behind them in a row.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn bytes(&self) -> Vec<u8> {
        let words = self.words.iter().flat_map(|word| word.to_ne_bytes());
        words.chain(self.rest).collect()
    }
}

/// Four bytes and two more as the bytes of a word at this place, the others zero.
#[inline(always)]
pub(super) fn word(bytes: [u8; 8]) -> u64 {
    u64::from_ne_bytes(bytes)
}

/// A number, big end first, in a word's middle.
#[inline(always)]
pub(super) fn middle(number: u32) -> u64 {
    let [a, b, c, d] = number.to_be_bytes();
    word([0, 0, a, b, c, d, 0, 0])
}

/// The lower half of a number, big end first, as a word's end.
#[inline(always)]
pub(super) fn end(number: u32) -> u64 {
    let [_, _, a, b] = number.to_be_bytes();
    word([0, 0, 0, 0, 0, 0, a, b])
}

/// Writes the words and the bytes behind them.
#[inline(always)]
pub(super) fn put<const N: usize, const LEN: usize>(
    to: &mut [u8; LEN],
    words: [u64; N],
    rest: [u8; 4],
) {
    let (chunks, tail) = to.as_chunks_mut::<8>();
    for (chunk, word) in chunks.iter_mut().zip(words) {
        *chunk = word.to_ne_bytes();
    }
    for (to, from) in tail.iter_mut().zip(rest) {
        *to = from;
    }
}
