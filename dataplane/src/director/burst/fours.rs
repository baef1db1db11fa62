//! The first look at four frames at a time, for CPUs with AVX-512.
//!
//! Each frame's head is compared as a whole with the form of the frame before. What differs
//! between frames of one form, and nothing else, is then gathered into a row of 16 bytes:
//!
//! ```text
//! words of 16 bits: 0 | client's port | client 2 | IP length | TCP data offset or UDP length | TTL | frame length
//! ```
//!
//! and four rows are checked at once.

use std::arch::x86_64::{
    __m128i, __m512i, _mm_insert_epi16, _mm512_and_si512, _mm512_broadcast_i32x4,
    _mm512_castsi128_si512, _mm512_castsi512_si128, _mm512_cmplt_epu16_mask, _mm512_inserti32x4,
    _mm512_load_si512, _mm512_mask_blend_epi16, _mm512_maskz_loadu_epi8,
    _mm512_maskz_permutexvar_epi8, _mm512_or_si512, _mm512_set1_epi64, _mm512_shuffle_epi8,
    _mm512_srli_epi16, _mm512_subs_epu16, _mm512_ternarylogic_epi64, _mm512_test_epi64_mask,
};

use super::read::{V4_ODD_SOURCES, WideForm};
use crate::conn::flow::bits_of;
use crate::conn::table::EntryV4;
use crate::port::Frame;
use crate::wire::{Protocol, ipv4, tcp, udp};

/// How many frames are read at a time.
pub(super) const FOUR: usize = 4;

/// (a ^ b) & c
pub(super) const DIFFERENT_UNDER: i32 = 0x28;
/// Where in a row stands what: numbers of bytes.
const CLIENT_PORT: usize = 2;
const CLIENT: usize = 4;
pub(super) const TOTAL_LEN: usize = 8;
pub(super) const L4: usize = 10;
pub(super) const TTL: usize = 12;
/// The frame's length is this word.
pub(super) const FRAME_LEN: i32 = 7;
/// Each row's word of L4.
const L4_WORDS: u32 = 0x2020_2020;

/// From the bytes of a head to the bytes of a row: where each is taken from; `GAP` for none.
#[expect(clippy::indexing_slicing, reason = "at compile time")]
const fn order(l3: usize, udp: bool) -> [u8; 64] {
    let mut order = [GAP; 64];
    let l4 = l3 + ipv4::HEADER_LEN;
    let mut at = 0;
    while at < 4 {
        order[CLIENT + at] = (l3 + ipv4::SRC + 3 - at) as u8;
        at += 1;
    }
    order[CLIENT_PORT] = (l4 + 1) as u8;
    order[CLIENT_PORT + 1] = l4 as u8;
    order[TOTAL_LEN] = (l3 + ipv4::TOTAL_LEN + 1) as u8;
    order[TOTAL_LEN + 1] = (l3 + ipv4::TOTAL_LEN) as u8;
    if udp {
        order[L4] = (l4 + udp::LEN + 1) as u8;
        order[L4 + 1] = (l4 + udp::LEN) as u8;
    } else {
        order[L4] = (l4 + tcp::FLAGS - 1) as u8;
    }
    order[TTL] = (l3 + ipv4::TTL) as u8;
    order
}

pub(super) const GAP: u8 = 0xFF;

/// The bytes of a row that are taken from somewhere.
#[expect(clippy::indexing_slicing, reason = "at compile time")]
pub(super) const fn taken(order: &[u8; 64]) -> u64 {
    let (mut bits, mut at) = (0, 0);
    while at < order.len() {
        if order[at] != GAP {
            bits |= 1 << at;
        }
        at += 1;
    }
    bits
}

/// Sixteen bytes for `_mm512_shuffle_epi8`: word `n` is the row's word of `words[n]`, or 0.
#[expect(clippy::indexing_slicing, reason = "at compile time")]
const fn words(words: [Option<u8>; 8]) -> [u8; 16] {
    let mut bytes = [0x80; 16];
    let mut at = 0;
    while at < 8 {
        if let Some(word) = words[at] {
            bytes[2 * at] = 2 * word;
            bytes[2 * at + 1] = 2 * word + 1;
        }
        at += 1;
    }
    bytes
}

/// Sixteen bytes in each quarter.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn quarters(bytes: [u8; 16]) -> __m512i {
    // SAFETY: sixteen bytes, whatever their bits.
    #[allow(unsafe_code)]
    let one = unsafe { std::mem::transmute::<[u8; 16], __m128i>(bytes) };
    _mm512_broadcast_i32x4(one)
}

#[expect(clippy::indexing_slicing, reason = "at compile time")]
pub(super) const fn as_bytes(words: [u16; 8]) -> [u8; 16] {
    let mut bytes = [0; 16];
    let mut at = 0;
    while at < 8 {
        let [low, high] = words[at].to_le_bytes();
        (bytes[2 * at], bytes[2 * at + 1]) = (low, high);
        at += 1;
    }
    bytes
}

/// A head's row, and in what it differs from the form.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
#[inline]
fn row<const L3: usize, const HEAD: usize, const UDP: bool>(
    frame: &[u8],
    form: &WideForm,
) -> Option<(__m128i, __m512i)> {
    const { assert!(HEAD <= 64) };
    let from = const { &Aligned(order(L3, UDP)) };
    let head = frame.first_chunk::<HEAD>()?;
    // SAFETY: of the head the first `HEAD` bytes are read and no others; the others have 64
    // bytes each, at multiples of 64.
    #[allow(unsafe_code)]
    let [head, bytes, mask, sources] = unsafe {
        [
            _mm512_maskz_loadu_epi8(u64::MAX >> (64 - HEAD), head.as_ptr().cast()),
            _mm512_load_si512(form.bytes().as_ptr().cast()),
            _mm512_load_si512(form.mask().as_ptr().cast()),
            _mm512_load_si512(from.0.as_ptr().cast()),
        ]
    };
    let other = _mm512_ternarylogic_epi64::<DIFFERENT_UNDER>(head, bytes, mask);
    let taken = const { taken(&order(L3, UDP)) };
    let row = _mm512_castsi512_si128(_mm512_maskz_permutexvar_epi8(taken, sources, head));
    // Longer than 65,535 bytes is no frame that a packet fills.
    let len = u16::try_from(frame.len()).unwrap_or(u16::MAX);
    Some((_mm_insert_epi16::<FRAME_LEN>(row, i32::from(len)), other))
}

#[repr(align(64))]
pub(super) struct Aligned(pub(super) [u8; 64]);

/// Reads four frames; `None` unless all of them are plain and of this form.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
#[inline]
pub(super) fn read<F: Frame, const L3: usize, const HEAD: usize, const UDP: bool>(
    frames: &[F; FOUR],
    form: &WideForm,
) -> Option<__m512i> {
    let [a, b, c, d] = frames;
    let (a, not_a) = row::<L3, HEAD, UDP>(a.bytes(), form)?;
    let (b, not_b) = row::<L3, HEAD, UDP>(b.bytes(), form)?;
    let (c, not_c) = row::<L3, HEAD, UDP>(c.bytes(), form)?;
    let (d, not_d) = row::<L3, HEAD, UDP>(d.bytes(), form)?;
    let rows = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
    let rows = _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(rows, c), d);
    let other = _mm512_or_si512(_mm512_or_si512(not_a, not_b), _mm512_or_si512(not_c, not_d));
    let whole = are_whole::<L3, { ipv4::HEADER_LEN }, UDP>(rows);
    (whole && _mm512_test_epi64_mask(other, other) == 0).then_some(rows)
}

/// Whether all lengths, sources and hops are as [`super::read::read_v4`] wants them; `HEADER` is
/// the IP header's length.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn are_whole<const L3: usize, const HEADER: usize, const UDP: bool>(
    rows: __m512i,
) -> bool {
    let rows = match UDP {
        true => rows,
        false => {
            // The upper half of the byte counts words of 32 bits.
            let offset = _mm512_and_si512(rows, quarters(as_bytes([0, 0, 0, 0, 0, 0xF0, 0, 0])));
            _mm512_mask_blend_epi16(L4_WORDS, rows, _mm512_srli_epi16::<2>(offset))
        }
    };
    const ODD: u16 = (V4_ODD_SOURCES >> 16) as u16;
    // What L4 needs fits the packet, the packet the frame, there are hops left, the source is
    // ordinary, and L4 has a header: each as a difference that is large enough.
    let left = const { words([Some(4), Some(7), Some(6), None, Some(5), None, None, None]) };
    let right = const { words([Some(5), Some(4), None, Some(3), None, None, None, None]) };
    let least_l4 = if UDP { udp::HEADER_LEN } else { tcp::HEADER_LEN } as u16;
    let least = as_bytes([HEADER as u16, L3 as u16, 2, 1, least_l4, 0, 0, 0]);
    let sources = quarters(as_bytes([0, 0, 0, ODD, 0, 0, 0, 0]));
    let left = _mm512_or_si512(_mm512_shuffle_epi8(rows, quarters(left)), sources);
    let right = _mm512_shuffle_epi8(rows, quarters(right));
    let spare = _mm512_subs_epu16(left, right);
    _mm512_cmplt_epu16_mask(spare, quarters(least)) == 0
}

/// The rows' clients under a mask, each with its scope's number as
/// [`Aimer::put_four`](crate::table::Aimer::put_four) wants them.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn names(rows: __m512i, mask: u32, scope: u16) -> __m512i {
    let bits = u64::from(mask) << 32;
    let [a, b, c, d, e, f, g, h] = bits.to_le_bytes();
    let low = quarters([a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, 0, 0, 0]);
    let [a, b, c, d] = (u32::from(scope) << 16).to_le_bytes();
    let scopes = quarters([a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    _mm512_or_si512(_mm512_and_si512(rows, low), scopes)
}

/// The rows' flows to one destination, as [`EntryV4::key_of`] has them; `None` where a client
/// has port 0.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
pub(super) fn flows(
    rows: __m512i,
    vip: u32,
    vip_port: u16,
    protocol: Protocol,
) -> Option<[[u64; 2]; FOUR]> {
    use std::arch::x86_64::_mm512_testn_epi16_mask;
    // The words of a client, behind one for the VIP's, and of its port.
    let from = const { words([None, None, Some(2), Some(3), None, None, None, Some(1)]) };
    let [addresses, ports] = EntryV4::key_of([0, vip], [0, vip_port], protocol);
    let [a, b, c, d, e, f, g, h] = addresses.to_le_bytes();
    let [i, j, k, l, m, n, o, p] = ports.to_le_bytes();
    let own = quarters([a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p]);
    let flows = _mm512_or_si512(_mm512_shuffle_epi8(rows, quarters(from)), own);
    const PORTS: u32 = 0x8080_8080;
    if _mm512_testn_epi16_mask(flows, flows) & PORTS != 0 {
        return None;
    }
    // SAFETY: eight words, whatever their bits.
    #[allow(unsafe_code)]
    Some(unsafe { std::mem::transmute::<__m512i, [[u64; 2]; FOUR]>(flows) })
}

/// The ends of the rows' clients, as [`EntryV4::end_of`] has them in the lower half of each
/// quarter; the upper halves are anything.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn ends(rows: __m512i, protocol: Protocol) -> __m512i {
    use std::arch::x86_64::_mm512_srli_epi64;
    // Client and port stand behind a word of zeros.
    let protocol = _mm512_set1_epi64(EntryV4::end_of(0, 0, bits_of(protocol)) as i64);
    _mm512_or_si512(_mm512_srli_epi64::<16>(rows), protocol)
}

/// The bytes of the rows' IP packets.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn total_lens(rows: __m512i) -> [u64; FOUR] {
    use std::arch::x86_64::{_mm512_castsi512_si256, _mm512_maskz_compress_epi64};
    let lens = _mm512_and_si512(rows, _mm512_set1_epi64(0xFFFF));
    let lens = _mm512_castsi512_si256(_mm512_maskz_compress_epi64(0xAA, lens));
    // SAFETY: four words, whatever their bits.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<std::arch::x86_64::__m256i, [u64; FOUR]>(lens)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::read::{
        Form, Gate, PlainV4, TAGGED, TAGGED_HEAD, TargetV4, UNTAGGED, UNTAGGED_HEAD, read_v4,
    };
    use super::*;
    use crate::cpu::Tier;
    use crate::port::memory::MemoryFrame;
    use crate::wire::Vlan;
    use crate::wire::ethernet::Mac;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 9]);
    const VLAN: u16 = 0x123;

    /// A frame of the form, 60 bytes without its tag, and what is wrong with it: bytes that
    /// are written over, and an end that is cut off or put on.
    fn frame(tagged: bool, udp: bool, odd: &[(usize, u8)], end: isize) -> MemoryFrame {
        let mut bytes = vec![0; 12];
        bytes[..6].copy_from_slice(&OWN.0);
        if tagged {
            bytes.extend([0x81, 0, 0xE0 | (VLAN >> 8) as u8, VLAN as u8]);
        }
        bytes.extend([8, 0, 0x45, 0, 0, 46, 1, 2, 0x40, 0, 64, if udp { 17 } else { 6 }, 7, 8]);
        bytes.extend([10, 1, 2, 3, 198, 18, 0, 1, 200, 1, 0, 80]);
        match udp {
            true => bytes.extend([0, 26, 0, 0]),
            false => bytes.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 0, 0, 0, 0, 0, 0]),
        }
        bytes.resize(if tagged { 64 } else { 60 }, 0xEE);
        for (at, byte) in odd {
            bytes[*at] = *byte;
        }
        bytes.resize((bytes.len() as isize + end).max(0) as usize, 0);
        MemoryFrame::new(&bytes)
    }

    fn agree<const L3: usize, const HEAD: usize, const UDP: bool>(frames: &[MemoryFrame; FOUR]) {
        let vlan = if L3 == TAGGED { Vlan::tagged(VLAN) } else { Vlan::UNTAGGED };
        let protocol = if UDP { 17u64 } else { 6 };
        let target = TargetV4(u64::from_le_bytes([198, 18, 0, 1, protocol as u8, 0, 0, 80]));
        let form = Form::new(Gate::new(OWN, vlan), target);
        let one = |frame: &MemoryFrame| -> Option<PlainV4> {
            let alike = |head: &[u8; HEAD]| form.is_alike::<L3, HEAD>(head);
            Form::read::<L3, HEAD, UDP>(frame.bytes(), alike).map(|(plain, _)| plain)
        };
        for frame in frames {
            // Field by field, whatever the destination.
            let read = read_v4::<L3, HEAD>(frame.bytes(), Gate::new(OWN, vlan));
            let here = read.map(|(header, _)| header).filter(|header| header.target == target);
            let plain = here.map(|h| PlainV4 { client: h.client, total_len: h.total_len });
            assert_eq!(one(frame), plain);
        }
        let each: Option<Vec<PlainV4>> = frames.iter().map(one).collect();
        let wide = form.wide::<L3>();
        if Tier::best() < Tier::Avx512 {
            return;
        }
        // SAFETY: the CPU has the tier.
        #[allow(unsafe_code)]
        let four = unsafe {
            read::<_, L3, HEAD, UDP>(frames, &wide).map(|rows| {
                let names = std::mem::transmute::<__m512i, [u64; 8]>(names(rows, !0xFF, 7));
                (names, total_lens(rows), flows(rows, 0xC612_0001, 80, Protocol::Tcp))
            })
        };
        let wanted = each.map(|plain| {
            let mut names = [0; 8];
            for (at, plain) in plain.iter().enumerate() {
                names[2 * at] = u64::from(plain.client & !0xFF) << 32 | 7 << 16;
            }
            let flow = |at: usize| {
                let bytes = &frames[at].bytes()[L3 + 20..];
                let port = u16::from_be_bytes([bytes[0], bytes[1]]);
                EntryV4::key_of([plain[at].client, 0xC612_0001], [port, 80], Protocol::Tcp)
            };
            let flows: [[u64; 2]; FOUR] = std::array::from_fn(flow);
            let have_ports = flows.iter().all(|[_, ports]| ports >> 48 != 0);
            let lens = std::array::from_fn(|at| u64::from(plain[at].total_len));
            (names, lens, have_ports.then_some(flows))
        });
        assert_eq!(four, wanted);
    }

    prop_compose! {
        fn any_frame(tagged: bool, udp: bool)(
            odd in prop::collection::vec((0usize..60, any::<u8>()), 0..2),
            end in prop_oneof![6 => Just(0isize), 1 => -60isize..200, 1 => Just(70_000)],
        ) -> MemoryFrame {
            frame(tagged, udp, &odd, end)
        }
    }

    fn four(tagged: bool, udp: bool) -> impl Strategy<Value = [MemoryFrame; FOUR]> {
        prop::array::uniform4(any_frame(tagged, udp))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn four_frames_at_a_time_are_read_as_each_alone(
            a in four(false, false), b in four(false, true),
            c in four(true, false), d in four(true, true),
        ) {
            agree::<UNTAGGED, UNTAGGED_HEAD, false>(&a);
            agree::<UNTAGGED, UNTAGGED_HEAD, true>(&b);
            agree::<TAGGED, TAGGED_HEAD, false>(&c);
            agree::<TAGGED, TAGGED_HEAD, true>(&d);
        }
    }
}
