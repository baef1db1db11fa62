//! The keyed hash that spreads keys over buckets: with a secret 128-bit key, so that nobody who
//! chooses addresses can aim at one bucket.
//!
//! AES rounds where the CPU has them (0.4 ns), SipHash-1-3 elsewhere. The choice is made once
//! per table, so all cores get the same hash of a key.

/// 128 well mixed bits, cut into the four numbers a table needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub(super) struct Hash {
    /// Chooses the first bucket.
    pub(super) first: u32,
    /// Chooses the second bucket.
    pub(super) second: u32,
    /// Chooses the shard.
    pub(super) shard: u32,
    /// Tells apart keys whose slot does not hold them in one word.
    pub(super) fingerprint: u32,
}

impl Hash {
    #[inline]
    fn from_words(low: u64, high: u64) -> Self {
        Self {
            first: low as u32,
            second: (low >> 32) as u32,
            shard: high as u32,
            fingerprint: (high >> 32) as u32,
        }
    }

    /// `number` scaled to `0..below` (Lemire's multiplication instead of a division).
    #[inline]
    pub(super) fn scale(number: u32, below: usize) -> usize {
        ((u64::from(number) * below as u64) >> 32) as usize
    }
}

/// A hash function with its key.
#[derive(Clone, Copy)]
pub(super) struct Hasher {
    key: [u64; 2],
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    #[cfg(target_arch = "x86_64")]
    Aes,
    Sip,
}

impl Hasher {
    /// The fastest function this CPU has, with a secret `key`.
    pub(super) fn new(key: [u64; 2]) -> Self {
        Self { key, kind: fastest() }
    }

    /// Hashes an address (an IPv4 address is below 2^32) and a small number beside it.
    #[inline]
    pub(super) fn hash(&self, address: u128, beside: u64) -> Hash {
        match self.kind {
            #[cfg(target_arch = "x86_64")]
            Kind::Aes => {
                // SAFETY: this kind is chosen by `fastest` alone, after it found the CPU to have
                // AES; every x86-64 has SSE2.
                #[allow(unsafe_code)]
                unsafe {
                    aes(self.key, address, beside)
                }
            }
            Kind::Sip => sip(self.key, address, beside),
        }
    }
}

impl Hasher {
    /// Hashes one word.
    #[inline]
    pub(super) fn hash_word(&self, word: u64) -> Hash {
        match self.kind {
            #[cfg(target_arch = "x86_64")]
            Kind::Aes => {
                // SAFETY: as in `hash`.
                #[allow(unsafe_code)]
                unsafe {
                    aes_word(self.key, word)
                }
            }
            Kind::Sip => sip(self.key, u128::from(word), 0),
        }
    }

    /// [`Self::hash_word`] of many words, each given to `take` with what stands beside it: the
    /// instructions for AES are not inlined into code for every CPU, and a call for each word
    /// would cost more than the hash.
    #[inline(always)]
    pub(super) fn hash_each<T>(
        &self,
        words: impl Iterator<Item = (u64, T)>,
        mut take: impl FnMut(T, Hash),
    ) {
        match self.kind {
            #[cfg(target_arch = "x86_64")]
            Kind::Aes => {
                // SAFETY: as in `hash`.
                #[allow(unsafe_code)]
                unsafe {
                    aes_each(self.key, words, take);
                }
            }
            Kind::Sip => {
                for (word, beside) in words {
                    take(beside, sip(self.key, u128::from(word), 0));
                }
            }
        }
    }
}

impl Hasher {
    /// The same as [`Self::hash_each`] of many addresses and what is [`Self::hash`]ed beside them.
    #[inline(always)]
    pub(super) fn hash_each_address<T>(
        &self,
        keys: impl Iterator<Item = ((u128, u64), T)>,
        mut take: impl FnMut(T, Hash),
    ) {
        match self.kind {
            #[cfg(target_arch = "x86_64")]
            Kind::Aes => {
                // SAFETY: as in `hash`.
                #[allow(unsafe_code)]
                unsafe {
                    aes_each_address(self.key, keys, take);
                }
            }
            Kind::Sip => {
                for ((address, number), beside) in keys {
                    take(beside, sip(self.key, address, number));
                }
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "aes,sse2")]
fn aes_each_address<T>(
    key: [u64; 2],
    keys: impl Iterator<Item = ((u128, u64), T)>,
    mut take: impl FnMut(T, Hash),
) {
    for ((address, number), beside) in keys {
        take(beside, aes(key, address, number));
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "aes,sse2")]
fn aes_each<T>(
    key: [u64; 2],
    words: impl Iterator<Item = (u64, T)>,
    mut take: impl FnMut(T, Hash),
) {
    for (word, beside) in words {
        take(beside, aes_word(key, word));
    }
}

fn fastest() -> Kind {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("aes") {
        return Kind::Aes;
    }
    Kind::Sip
}

impl Hasher {
    /// Whether [`Self::hash_word`] is AES's.
    #[inline]
    pub(super) fn is_aes(&self) -> bool {
        self.kind != Kind::Sip
    }

    /// [`Self::hash_word`], where [`Self::is_aes`], to be inlined into loops that are made for
    /// CPUs with AES.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "aes,sse2")]
    #[inline]
    pub(super) fn hash_word_by_aes(&self, word: u64) -> Hash {
        aes_word(self.key, word)
    }
}

#[cfg(target_arch = "x86_64")]
impl Hasher {
    /// [`Self::hash_word`] of the four words that are each quarter's lower half, where
    /// [`Self::is_aes`] and the upper halves are 0; and each [`Hash::first`], scaled to
    /// `0..below`.
    #[target_feature(enable = "avx512f,avx512vl,vaes,aes")]
    #[inline]
    pub(super) fn hash_four(
        &self,
        words: std::arch::x86_64::__m512i,
        below: u32,
    ) -> ([Hash; 4], [u32; 4]) {
        use std::arch::x86_64::{
            __m128i, __m512i, _mm_set_epi64x, _mm256_cvtepi64_epi32, _mm512_aesenc_epi128,
            _mm512_broadcast_i32x4, _mm512_castsi512_si256, _mm512_maskz_compress_epi64,
            _mm512_mul_epu32, _mm512_set1_epi64, _mm512_srli_epi64, _mm512_xor_si512,
        };
        let key = _mm_set_epi64x(self.key[1] as i64, self.key[0] as i64);
        let key = _mm512_broadcast_i32x4(key);
        let mut state = _mm512_xor_si512(words, key);
        for _ in 0..4 {
            state = _mm512_aesenc_epi128(state, key);
        }
        let scaled = _mm512_mul_epu32(state, _mm512_set1_epi64(i64::from(below)));
        let scaled = _mm512_maskz_compress_epi64(0x55, _mm512_srli_epi64::<32>(scaled));
        let scaled = _mm256_cvtepi64_epi32(_mm512_castsi512_si256(scaled));
        // SAFETY: arrays of numbers of just these sizes, whatever their bits; a hash is four
        // words of 32 bits in the state's order.
        #[allow(unsafe_code)]
        unsafe {
            (
                std::mem::transmute::<__m512i, [Hash; 4]>(state),
                std::mem::transmute::<__m128i, [u32; 4]>(scaled),
            )
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Hasher {
    /// [`Self::hash`] of the four addresses that are the quarters, all with the same number beside
    /// them, where [`Self::is_aes`]: each hash is a quarter.
    #[target_feature(enable = "avx512f,avx512vl,vaes,aes")]
    #[inline]
    pub(super) fn hash_four_addresses(
        &self,
        addresses: std::arch::x86_64::__m512i,
        beside: u64,
    ) -> std::arch::x86_64::__m512i {
        use std::arch::x86_64::{
            _mm_set_epi64x, _mm512_aesenc_epi128, _mm512_broadcast_i32x4, _mm512_xor_si512,
        };
        let key = _mm_set_epi64x(self.key[1] as i64, self.key[0] as i64);
        let key = _mm512_broadcast_i32x4(key);
        let beside = _mm_set_epi64x(beside.rotate_left(32) as i64, beside as i64);
        let beside = _mm512_xor_si512(_mm512_broadcast_i32x4(beside), key);
        let mut state = _mm512_aesenc_epi128(_mm512_xor_si512(addresses, key), beside);
        for _ in 0..3 {
            state = _mm512_aesenc_epi128(state, key);
        }
        state
    }
}

/// Four AES rounds: one over the address under the key, one over what stands beside it, two to
/// let every input bit reach every output bit.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "aes,sse2")]
#[inline]
fn aes(key: [u64; 2], address: u128, beside: u64) -> Hash {
    use std::arch::x86_64::{_mm_set_epi64x, _mm_xor_si128};
    let key = _mm_set_epi64x(key[1] as i64, key[0] as i64);
    let address = _mm_set_epi64x((address >> 64) as i64, address as i64);
    let beside = _mm_set_epi64x(beside.rotate_left(32) as i64, beside as i64);
    four_rounds(_mm_xor_si128(address, key), _mm_xor_si128(beside, key), key)
}

/// Four AES rounds of a word under the key.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "aes,sse2")]
#[inline]
fn aes_word(key: [u64; 2], word: u64) -> Hash {
    use std::arch::x86_64::{_mm_cvtsi64_si128, _mm_set_epi64x, _mm_xor_si128};
    let key = _mm_set_epi64x(key[1] as i64, key[0] as i64);
    four_rounds(_mm_xor_si128(_mm_cvtsi64_si128(word as i64), key), key, key)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "aes,sse2")]
#[inline]
fn four_rounds(
    state: std::arch::x86_64::__m128i,
    first: std::arch::x86_64::__m128i,
    others: std::arch::x86_64::__m128i,
) -> Hash {
    use std::arch::x86_64::{_mm_aesenc_si128, _mm_cvtsi128_si64, _mm_unpackhi_epi64};
    let mut state = _mm_aesenc_si128(state, first);
    state = _mm_aesenc_si128(state, others);
    state = _mm_aesenc_si128(state, others);
    state = _mm_aesenc_si128(state, others);
    let low = _mm_cvtsi128_si64(state) as u64;
    let high = _mm_cvtsi128_si64(_mm_unpackhi_epi64(state, state)) as u64;
    Hash::from_words(low, high)
}

/// SipHash-1-3 of the three words (Aumasson and Bernstein, 2012), with the 128-bit output of
/// its reference implementation.
fn sip(key: [u64; 2], address: u128, beside: u64) -> Hash {
    let mut v = [
        key[0] ^ 0x736f_6d65_7073_6575,
        key[1] ^ 0x646f_7261_6e64_6f6d ^ 0xee,
        key[0] ^ 0x6c79_6765_6e65_7261,
        key[1] ^ 0x7465_6462_7974_6573,
    ];
    // The last word holds the message's length, 24 bytes, in its top byte.
    for word in [address as u64, (address >> 64) as u64, beside, 24 << 56] {
        v[3] ^= word;
        sip_round(&mut v);
        v[0] ^= word;
    }
    v[2] ^= 0xee;
    (0..3).for_each(|_| sip_round(&mut v));
    let low = v[0] ^ v[1] ^ v[2] ^ v[3];
    v[1] ^= 0xdd;
    (0..3).for_each(|_| sip_round(&mut v));
    Hash::from_words(low, v[0] ^ v[1] ^ v[2] ^ v[3])
}

fn sip_round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u64; 2] = [0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908];

    fn kinds() -> Vec<Hasher> {
        let mut kinds = vec![Hasher { key: KEY, kind: Kind::Sip }];
        if fastest() != Kind::Sip {
            kinds.push(Hasher::new(KEY));
        }
        kinds
    }

    #[test]
    fn flipping_any_input_bit_flips_about_half_of_the_output() {
        for hasher in kinds() {
            for bit in 0..192 {
                let mut flipped = 0;
                for n in 0..64u128 {
                    let address = n * 0x9e37_79b9_7f4a_7c15;
                    let one = hasher.hash(address, 5);
                    let other = if bit < 128 {
                        hasher.hash(address ^ (1 << bit), 5)
                    } else {
                        hasher.hash(address, 5 ^ (1 << (bit - 128)))
                    };
                    flipped += (one.first ^ other.first).count_ones()
                        + (one.second ^ other.second).count_ones()
                        + (one.shard ^ other.shard).count_ones()
                        + (one.fingerprint ^ other.fingerprint).count_ones();
                }
                let mean = f64::from(flipped) / 64.0;
                assert!((56.0..72.0).contains(&mean), "{:?} bit {bit}: {mean}", hasher.kind);
            }
        }
    }

    #[test]
    fn a_word_is_hashed_as_well_alone_and_among_others() {
        for hasher in kinds() {
            for bit in 0..64 {
                let mut flipped = 0;
                for n in 0..64u64 {
                    let word = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                    let [one, other] = [word, word ^ 1 << bit].map(|word| hasher.hash_word(word));
                    flipped += (one.first ^ other.first).count_ones()
                        + (one.second ^ other.second).count_ones()
                        + (one.shard ^ other.shard).count_ones()
                        + (one.fingerprint ^ other.fingerprint).count_ones();
                }
                let mean = f64::from(flipped) / 64.0;
                assert!((56.0..72.0).contains(&mean), "{:?} bit {bit}: {mean}", hasher.kind);
            }
            let mut hashes = Vec::new();
            let words = [7u64, 1 << 63, 0].into_iter().zip(0..);
            hasher.hash_each(words.clone(), |at: i32, hash| hashes.push((at, hash)));
            let alone: Vec<_> = words.map(|(word, at)| (at, hasher.hash_word(word))).collect();
            assert_eq!(hashes, alone);
        }
    }

    #[test]
    fn four_at_once_are_hashed_as_each_alone() {
        let hasher = Hasher::new(KEY);
        #[cfg(target_arch = "x86_64")]
        if crate::cpu::Tier::best() == crate::cpu::Tier::Avx512 {
            let words: [u64; 4] =
                std::array::from_fn(|n| ((n as u64 + 1) << 61) | (12_345 * n as u64));
            let [a, b, c, d] = words;
            // SAFETY: the CPU has the tier; sixty-four bytes, whatever their bits.
            #[allow(unsafe_code)]
            let (hashes, scaled) = unsafe {
                let spread = std::mem::transmute::<[u64; 8], std::arch::x86_64::__m512i>([
                    a, 0, b, 0, c, 0, d, 0,
                ]);
                hasher.hash_four(spread, 1_000_003)
            };
            let alone = words.map(|word| hasher.hash_word(word));
            assert_eq!(hashes, alone);
            assert_eq!(scaled, alone.map(|hash| Hash::scale(hash.first, 1_000_003) as u32));
        }
        assert_ne!(hasher.hash_word(0), hasher.hash_word(1));
    }

    #[test]
    fn four_addresses_at_once_are_hashed_as_each_alone() {
        let hasher = Hasher::new(KEY);
        let addresses: [u128; 4] =
            std::array::from_fn(|n| (n as u128 + 1) << 125 | (n as u128 * 77) << 60 | 5);
        let alone = addresses.map(|address| hasher.hash(address, 9 | 1 << 32));
        #[cfg(target_arch = "x86_64")]
        if crate::cpu::Tier::best() == crate::cpu::Tier::Avx512 {
            // SAFETY: the CPU has the tier; sixty-four bytes, whatever their bits.
            #[allow(unsafe_code)]
            let hashes = unsafe {
                let rows = std::mem::transmute::<[u128; 4], std::arch::x86_64::__m512i>(addresses);
                std::mem::transmute::<std::arch::x86_64::__m512i, [Hash; 4]>(
                    hasher.hash_four_addresses(rows, 9 | 1 << 32),
                )
            };
            assert_eq!(hashes, alone);
        }
        assert_ne!(alone[0], alone[1]);
    }

    #[test]
    fn another_key_gives_another_hash() {
        for hasher in kinds() {
            let other = Hasher { key: [KEY[0] ^ 1, KEY[1]], ..hasher };
            assert_ne!(hasher.hash(1, 1), other.hash(1, 1));
        }
    }

    #[test]
    fn neighbouring_addresses_spread_evenly() {
        for hasher in kinds() {
            let mut buckets = [0u32; 256];
            for address in 0..65_536u128 {
                buckets[Hash::scale(hasher.hash(0x0a00_0000 + address, 7).first, 256)] += 1;
            }
            // 256 each on average, standard deviation 16.
            assert!(buckets.iter().all(|n| (160..352).contains(n)), "{buckets:?}");
        }
    }
}
