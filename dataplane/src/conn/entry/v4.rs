//! The entry of an IPv4 connection.

use super::{Entry, finish, fold, fold_52, ports_and_protocol};
use crate::conn::Conn;
use crate::conn::flow::{Flow, bits_of};
use crate::conn::packed::{
    ANSWERED, ANSWERED_CLOCK, FORWARDING_SHIFT, KEY, MASQ, PROTOCOL_SHIFT, Packed, place_of,
};
#[cfg(target_arch = "x86_64")]
use crate::conn::packed::{CLOCK, METHOD, Renewal, SCARCE, STATE, Standing, TIMEOUT};
use crate::wire::{Addr, Protocol};

/// An IPv4 connection in 32 bytes.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(32))]
pub struct EntryV4 {
    /// Client, VIP.
    addresses: u64,
    packed: Packed,
}

impl EntryV4 {
    /// The key of a flow from its parts; the port's numbers, and the protocol's bits.
    #[inline(always)]
    pub fn key_of(
        [client, vip]: [u32; 2],
        [client_port, vip_port]: [u16; 2],
        protocol: Protocol,
    ) -> [u64; 2] {
        let ports = u64::from(client_port) << 48 | u64::from(vip_port) << 32;
        let addresses = u64::from(client) << 32 | u64::from(vip);
        [addresses, ports | bits_of(protocol) << PROTOCOL_SHIFT]
    }

    /// What [`Entry::end_hash`] hashes, in 50 bits: the protocol by its two bits.
    #[inline(always)]
    pub(crate) const fn end_of(client: u32, client_port: u16, protocol: u64) -> u64 {
        protocol << 48 | (client as u64) << 16 | client_port as u64
    }

    /// [`Entry::end_hash`] of the ends that are the lower halves of the quarters.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512ifma")]
    #[inline]
    pub(in crate::conn) fn end_hashes(
        ends: std::arch::x86_64::__m512i,
        secret: [u64; 2],
    ) -> std::arch::x86_64::__m512i {
        use std::arch::x86_64::{
            __m512i, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64, _mm512_set1_epi64,
            _mm512_setzero_si512, _mm512_slli_epi64, _mm512_xor_si512,
        };
        let nothing = _mm512_setzero_si512();
        let fold = |a: __m512i, b: __m512i| {
            let low = _mm512_madd52lo_epu64(nothing, a, b);
            _mm512_xor_si512(low, _mm512_madd52hi_epu64(nothing, a, b))
        };
        let [first, second] = secret.map(|word| _mm512_set1_epi64(word as i64));
        let hash = fold(_mm512_xor_si512(ends, first), second);
        _mm512_slli_epi64::<{ 64 - 52 }>(fold(_mm512_xor_si512(hash, second), first))
    }

    /// The place that [`Entry::look`] answers, for CPUs that compare a whole line at once.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    pub(in crate::conn) fn find_avx512(line: &[Self], key: &[u64; 2]) -> usize {
        use std::arch::x86_64::{
            _mm_loadu_si128, _mm512_broadcast_i32x4, _mm512_loadu_si512, _mm512_set_epi64,
            _mm512_ternarylogic_epi64, _mm512_test_epi64_mask,
        };
        let Some(line) = line.first_chunk::<2>() else { return line.len() };
        // SAFETY: two entries are eight words without a gap between them, a key is two words.
        #[allow(unsafe_code)]
        let (words, key) = unsafe {
            let words = _mm512_loadu_si512(line.as_ptr().cast());
            (words, _mm512_broadcast_i32x4(_mm_loadu_si128(key.as_ptr().cast())))
        };
        let of_key = KEY as i64;
        let keys = _mm512_set_epi64(0, 0, of_key, -1, 0, 0, of_key, -1);
        // (words ^ key) & keys
        let other = _mm512_ternarylogic_epi64::<0x28>(words, key, keys);
        let differ = _mm512_test_epi64_mask(other, other);
        let [first, second] = [differ & 0x03 != 0, differ & 0x30 != 0];
        usize::from(first) + usize::from(first & second)
    }

    /// [`Entry::look`], for CPUs that compare a whole line at once.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    pub(in crate::conn) fn look_avx512(
        line: &[Self],
        key: &[u64; 2],
        renewal: &Renewal,
    ) -> (usize, Standing) {
        use std::arch::x86_64::{
            _mm_loadu_si128, _mm512_loadu_si512, _mm512_mask_broadcast_i32x4, _mm512_movepi32_mask,
            _mm512_set_epi64, _mm512_set1_epi32, _mm512_sub_epi32, _mm512_ternarylogic_epi64,
            _mm512_test_epi64_mask,
        };
        const { assert!(size_of::<[Self; 2]>() == 64 && align_of::<Self>() == 32) };
        /// The key's words of two entries, by words of 32 bits.
        const KEYS: u16 = 0x0F0F;
        let Some(line) = line.first_chunk::<2>() else { return (0, Standing::UNKNOWN) };
        let [clock, rest] = [renewal.clock() as i64, renewal.rest() as i64];
        let wanted = _mm512_set_epi64(rest, clock, 0, 0, rest, clock, 0, 0);
        // SAFETY: two entries are eight words without a gap between them, a key is two words.
        #[allow(unsafe_code)]
        let (words, wanted) = unsafe {
            let key = _mm_loadu_si128(key.as_ptr().cast());
            let words = _mm512_loadu_si512(line.as_ptr().cast());
            (words, _mm512_mask_broadcast_i32x4(wanted, KEYS, key))
        };
        let [of_key, of_place, of_clock] = [KEY, KEY | METHOD | SCARCE, CLOCK].map(|m| m as i64);
        let of_rest = TIMEOUT as i64;
        let mask =
            _mm512_set_epi64(of_rest, of_clock, of_place, -1, of_rest, of_clock, of_place, -1);
        // (words ^ wanted) & mask
        let differing = _mm512_ternarylogic_epi64::<0x28>(words, wanted, mask);
        let keys = _mm512_set_epi64(0, 0, of_key, -1, 0, 0, of_key, -1);
        let (any, key) =
            (_mm512_test_epi64_mask(differing, differing), _mm512_test_epi64_mask(differing, keys));
        let second = usize::from(key & 0x03 != 0);
        let missed = key & 0x30 != 0 && second == 1;
        let [one, other] = line;
        let entry = if second == 0 { one } else { other };
        let real = entry.packed.real().0;
        let standing = match any >> (4 * second) & 0xF {
            0 => Standing(real),
            _ => {
                let [of_place, of_clock] = [METHOD, STATE].map(|mask| mask as i64);
                let odds = _mm512_set_epi64(0, of_clock, of_place, 0, 0, of_clock, of_place, 0);
                let odd = _mm512_test_epi64_mask(differing, odds) >> (4 * second) & 0xF != 0;
                // A clock's upper half is when it expires; as `Tick::has_come` has it.
                let now = _mm512_set1_epi32(renewal.now.0 as i32);
                let lives = _mm512_movepi32_mask(_mm512_sub_epi32(now, words)) >> (8 * second);
                let expired = lives & 1 << 5 == 0;
                Standing(real | Standing::CHANGES).unless(odd | expired | missed)
            }
        };
        (second + usize::from(missed), standing)
    }

    /// What a real server's packet says of its masqueraded connection: a key without VIP, and
    /// with the port on the real server in the place of the virtual one.
    #[inline(always)]
    pub fn answered_key(
        client: u32,
        client_port: u16,
        real_port: u16,
        protocol: Protocol,
    ) -> [u64; 2] {
        let [addresses, place] = Self::key_of([client, 0], [client_port, real_port], protocol);
        [addresses, place | MASQ << FORWARDING_SHIFT]
    }

    /// 0 if the entry is of a masqueraded connection with this [`Self::answered_key`]. Which real
    /// server it has is another question.
    #[inline(always)]
    pub(in crate::conn) fn differs_from_answered(&self, [addresses, place]: &[u64; 2]) -> u64 {
        let Packed { place: own, clock, .. } = self.packed;
        (self.addresses ^ addresses) >> 32
            | (own ^ place) & ANSWERED
            | (clock ^ place >> 16) & ANSWERED_CLOCK
    }

    /// VIP and port.
    #[inline(always)]
    pub fn target(&self) -> (u32, u16) {
        (self.addresses as u32, (self.packed.place >> 32) as u16)
    }
}

impl Entry for EntryV4 {
    type Key = [u64; 2];

    #[inline]
    fn key(flow: &Flow) -> [u64; 2] {
        let addresses = u64::from(flow.client.v4_number()) << 32 | u64::from(flow.vip.v4_number());
        [addresses, place_of(flow)]
    }

    #[inline(always)]
    fn of_key([addresses, place]: &[u64; 2], conn: &Conn) -> Self {
        Self { addresses: *addresses, packed: Packed::new(*place, conn) }
    }

    #[inline(always)]
    fn differs(&self, [addresses, place]: &[u64; 2]) -> u64 {
        self.addresses ^ addresses | (self.packed.place ^ place) & KEY
    }

    #[inline(always)]
    fn is_udp([_, place]: &[u64; 2]) -> bool {
        place >> PROTOCOL_SHIFT & 2 != 0
    }

    #[inline]
    fn own_key(&self) -> [u64; 2] {
        [self.addresses, self.packed.place & KEY]
    }

    fn flow(&self) -> Flow {
        let (client_port, vip_port, protocol) = ports_and_protocol(self.packed.place);
        let client = Addr::v4((self.addresses >> 32) as u32);
        let vip = Addr::v4(self.addresses as u32);
        Flow { client, vip, client_port, vip_port, protocol }
    }

    #[inline]
    fn hash(key: &[u64; 2], secret: [u64; 2]) -> u64 {
        finish(fold(key[0] ^ secret[0], key[1] ^ secret[1]), secret)
    }

    #[inline(always)]
    fn end_hash([addresses, place]: &[u64; 2], secret: [u64; 2]) -> u64 {
        let protocol = place >> PROTOCOL_SHIFT & 3;
        let end = Self::end_of((addresses >> 32) as u32, (place >> 48) as u16, protocol);
        let [first, second] = secret;
        fold_52(fold_52(end ^ first, second) ^ second, first) << (64 - 52)
    }

    #[inline]
    fn packed(&self) -> &Packed {
        &self.packed
    }

    #[inline]
    fn packed_mut(&mut self) -> &mut Packed {
        &mut self.packed
    }
}
