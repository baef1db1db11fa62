//! The first look at four IPv6 frames at a time, as `fours` has it for IPv4: the same rows, whose
//! clients stand apart, each in a quarter of its own.

use std::arch::x86_64::{
    __m128i, __m512i, _mm_insert_epi16, _mm_loadu_si128, _mm_set_epi64x, _mm512_adds_epu16,
    _mm512_and_si512, _mm512_broadcast_i32x4, _mm512_castsi128_si512, _mm512_castsi512_si128,
    _mm512_inserti32x4, _mm512_load_si512, _mm512_mask_cmpge_epu64_mask, _mm512_maskz_loadu_epi8,
    _mm512_maskz_permutexvar_epi8, _mm512_or_si512, _mm512_set1_epi64, _mm512_shuffle_epi8,
    _mm512_sub_epi64, _mm512_ternarylogic_epi64, _mm512_test_epi64_mask,
};

use super::fours::{
    Aligned, DIFFERENT_UNDER, FOUR, FRAME_LEN, GAP, L4, TOTAL_LEN, TTL, are_whole, as_bytes,
    quarters, taken,
};
use super::read::WideForm;
use super::read_v6::GROUPS;
use crate::port::Frame;
use crate::wire::{ipv6, tcp, udp};

/// Four plain packets.
#[derive(Clone, Copy)]
pub(super) struct Four {
    /// Their lengths and the like.
    pub rows: __m512i,
    /// Their sources, each the upper half first, as numbers.
    pub clients: __m512i,
}

/// From the bytes of a head to the bytes of a row.
const fn order(l3: usize, of_udp: bool) -> [u8; 64] {
    let mut order = [GAP; 64];
    // What stands there is the payload's; the header's length is added.
    order[TOTAL_LEN] = (l3 + ipv6::PAYLOAD_LEN + 1) as u8;
    order[TOTAL_LEN + 1] = (l3 + ipv6::PAYLOAD_LEN) as u8;
    if of_udp {
        let l4 = l3 + ipv6::HEADER_LEN;
        order[L4] = (l4 + udp::LEN + 1) as u8;
        order[L4 + 1] = (l4 + udp::LEN) as u8;
    }
    order[TTL] = (l3 + ipv6::HOP_LIMIT) as u8;
    order
}

/// Bytes of a head that are compared at once.
const COMPARED: usize = 64;

/// A head's row, its client as it stands, and in what it differs from the form.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
#[inline]
fn row<const L3: usize, const HEAD: usize, const OF_UDP: bool>(
    frame: &[u8],
    form: &WideForm,
) -> Option<(__m128i, __m128i, __m512i)> {
    const { assert!(L3 + ipv6::HEADER_LEN + udp::DST_PORT + 2 <= COMPARED) };
    const { assert!(L3 + ipv6::HEADER_LEN <= HEAD && HEAD <= 128) };
    let from = const { &Aligned(order(L3, OF_UDP)) };
    let head = frame.first_chunk::<HEAD>()?;
    let loaded = const { if HEAD < COMPARED { u64::MAX >> (COMPARED - HEAD) } else { u64::MAX } };
    let source = head.get(L3 + ipv6::SRC..)?.first_chunk::<16>()?;
    // SAFETY: of the head only bytes that it has are read; the others have 64 bytes each, at
    // multiples of 64, and the source has 16.
    #[allow(unsafe_code)]
    let ([head, bytes, mask, sources], client) = unsafe {
        (
            [
                _mm512_maskz_loadu_epi8(loaded, head.as_ptr().cast()),
                _mm512_load_si512(form.bytes().as_ptr().cast()),
                _mm512_load_si512(form.mask().as_ptr().cast()),
                _mm512_load_si512(from.0.as_ptr().cast()),
            ],
            _mm_loadu_si128(source.as_ptr().cast()),
        )
    };
    let other = _mm512_ternarylogic_epi64::<DIFFERENT_UNDER>(head, bytes, mask);
    let taken = const { taken(&order(L3, OF_UDP)) };
    let row = _mm512_castsi512_si128(_mm512_maskz_permutexvar_epi8(taken, sources, head));
    let row = if OF_UDP {
        row
    } else {
        let data_offset = *frame.get(L3 + ipv6::HEADER_LEN + tcp::FLAGS - 1)?;
        _mm_insert_epi16::<{ L4 as i32 / 2 }>(row, i32::from(data_offset))
    };
    // Longer than 65,535 bytes is no frame that a packet fills.
    let len = u16::try_from(frame.len()).unwrap_or(u16::MAX);
    Some((_mm_insert_epi16::<FRAME_LEN>(row, i32::from(len)), client, other))
}

#[target_feature(enable = "avx512f")]
#[inline]
fn together([a, b, c, d]: [__m128i; FOUR]) -> __m512i {
    let rows = _mm512_inserti32x4::<1>(_mm512_castsi128_si512(a), b);
    _mm512_inserti32x4::<3>(_mm512_inserti32x4::<2>(rows, c), d)
}

/// Reads four frames; `None` unless all of them are plain and of this form.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi")]
#[inline]
pub(super) fn read<F: Frame, const L3: usize, const HEAD: usize, const OF_UDP: bool>(
    frames: &[F; FOUR],
    form: &WideForm,
) -> Option<Four> {
    let [a, b, c, d] = frames;
    let (a, from_a, not_a) = row::<L3, HEAD, OF_UDP>(a.bytes(), form)?;
    let (b, from_b, not_b) = row::<L3, HEAD, OF_UDP>(b.bytes(), form)?;
    let (c, from_c, not_c) = row::<L3, HEAD, OF_UDP>(c.bytes(), form)?;
    let (d, from_d, not_d) = row::<L3, HEAD, OF_UDP>(d.bytes(), form)?;
    let other = _mm512_or_si512(_mm512_or_si512(not_a, not_b), _mm512_or_si512(not_c, not_d));
    let header = quarters(as_bytes([0, 0, 0, 0, ipv6::HEADER_LEN as u16, 0, 0, 0]));
    let rows = _mm512_adds_epu16(together([a, b, c, d]), header);
    let swapped = quarters([7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8]);
    let clients = _mm512_shuffle_epi8(together([from_a, from_b, from_c, from_d]), swapped);
    // Upper halves of 0 and those of groups, as one range.
    let upper = _mm512_sub_epi64(clients, _mm512_set1_epi64(1));
    let last = _mm512_set1_epi64(GROUPS.wrapping_sub(1) as i64);
    let odd = _mm512_mask_cmpge_epu64_mask(0x55, upper, last);
    let whole = odd == 0 && are_whole::<L3, { ipv6::HEADER_LEN }, OF_UDP>(rows);
    (whole && _mm512_test_epi64_mask(other, other) == 0).then_some(Four { rows, clients })
}

/// The part of each client's address by which it is known.
#[target_feature(enable = "avx512f")]
#[inline]
pub(super) fn under(clients: __m512i, [high, low]: [u64; 2]) -> __m512i {
    let mask = _mm_set_epi64x(low as i64, high as i64);
    _mm512_and_si512(clients, _mm512_broadcast_i32x4(mask))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::fours::total_lens;
    use super::super::read::{Gate, TAGGED, UNTAGGED};
    use super::super::read_v6::{FormV6, PlainV6, TAGGED_HEAD_V6, UNTAGGED_HEAD_V6, read_v6};
    use super::*;
    use crate::cpu::Tier;
    use crate::port::memory::MemoryFrame;
    use crate::wire::Vlan;
    use crate::wire::ethernet::Mac;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 9]);
    const VLAN: u16 = 0x123;

    /// A frame of the form, and what is wrong with it: bytes that are written over, and an end
    /// that is cut off or put on.
    fn frame(tagged: bool, udp: bool, odd: &[(usize, u8)], end: isize) -> MemoryFrame {
        let mut bytes = vec![0; 12];
        bytes[..6].copy_from_slice(&OWN.0);
        if tagged {
            bytes.extend([0x81, 0, 0xE0 | (VLAN >> 8) as u8, VLAN as u8]);
        }
        bytes.extend([0x86, 0xDD, 0x60, 0, 0, 0, 0, 24, if udp { 17 } else { 6 }, 64]);
        bytes.extend([0x20, 1, 0xd, 0xb8, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]);
        bytes.extend([0x20, 1, 0xd, 0xb8, 0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 200, 1, 0, 80]);
        match udp {
            true => bytes.extend([0, 22, 0, 0]),
            false => bytes.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 0, 0, 0, 0, 0, 0]),
        }
        bytes.resize(if tagged { 82 } else { 78 }, 0xEE);
        for (at, byte) in odd {
            bytes[*at] = *byte;
        }
        bytes.resize((bytes.len() as isize + end).max(0) as usize, 0);
        MemoryFrame::new(&bytes)
    }

    fn agree<const L3: usize, const HEAD: usize, const UDP: bool>(frames: &[MemoryFrame; FOUR]) {
        let vlan = if L3 == TAGGED { Vlan::tagged(VLAN) } else { Vlan::UNTAGGED };
        let gate = Gate::new(OWN, vlan);
        let whole = frame(L3 == TAGGED, UDP, &[], 0);
        let (target, _) = read_v6::<L3, HEAD>(whole.bytes(), gate).unwrap();
        let form = FormV6::new(gate, target);
        let one = |frame: &MemoryFrame| form.read::<L3, HEAD, UDP>(frame.bytes());
        for frame in frames {
            let read = read_v6::<L3, HEAD>(frame.bytes(), gate);
            let here = read.filter(|(other, _)| *other == target).map(|(_, plain)| plain);
            assert_eq!(one(frame), here);
        }
        let each: Option<Vec<PlainV6>> = frames.iter().map(one).collect();
        if Tier::best() < Tier::Avx512 {
            return;
        }
        let mask = [!0, !0xFF];
        // SAFETY: the CPU has the tier.
        #[allow(unsafe_code)]
        let four = unsafe {
            read::<_, L3, HEAD, UDP>(frames, &form.wide::<L3>()).map(|four| {
                let clients = under(four.clients, mask);
                let clients = std::mem::transmute::<__m512i, [[u64; 2]; FOUR]>(clients);
                (clients, total_lens(four.rows))
            })
        };
        let wanted = each.map(|plain| {
            let client = |at: usize| [0, 1].map(|half| plain[at].client[half] & mask[half]);
            let total_len = |at: usize| u64::from(plain[at].total_len);
            (std::array::from_fn(client), std::array::from_fn(total_len))
        });
        assert_eq!(four, wanted);
    }

    prop_compose! {
        fn any_frame(tagged: bool, udp: bool)(
            odd in prop::collection::vec((0usize..78, any::<u8>()), 0..2),
            high in prop_oneof![
                6 => Just(None), 1 => Just(Some([0; 8])), 1 => Just(Some([0xFF, 2, 0, 0, 0, 0, 0, 0])),
            ],
            end in prop_oneof![6 => Just(0isize), 1 => -78isize..200, 1 => Just(70_000)],
        ) -> MemoryFrame {
            let source = if tagged { TAGGED } else { UNTAGGED } + ipv6::SRC;
            let high = high.into_iter().flatten().zip(source..).map(|(byte, at)| (at, byte));
            frame(tagged, udp, &odd.into_iter().chain(high).collect::<Vec<_>>(), end)
        }
    }

    fn four(tagged: bool, udp: bool) -> impl Strategy<Value = [MemoryFrame; FOUR]> {
        prop::array::uniform4(any_frame(tagged, udp))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn four_ipv6_frames_at_a_time_are_read_as_each_alone(
            a in four(false, false), b in four(false, true),
            c in four(true, false), d in four(true, true),
        ) {
            agree::<UNTAGGED, UNTAGGED_HEAD_V6, false>(&a);
            agree::<UNTAGGED, UNTAGGED_HEAD_V6, true>(&b);
            agree::<TAGGED, TAGGED_HEAD_V6, false>(&c);
            agree::<TAGGED, TAGGED_HEAD_V6, true>(&d);
        }
    }
}
