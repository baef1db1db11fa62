//! The first look at four packets of real servers at a time, for CPUs with AVX-512.

use std::arch::x86_64::{
    __m128i, __m512i, _mm_loadu_si128, _mm512_castsi128_si512, _mm512_inserti32x4, _mm512_or_si512,
    _mm512_set1_epi64, _mm512_set4_epi64, _mm512_shuffle_epi8,
};

use super::Reading;
use super::fours::{self, FOUR, quarters};
use super::lane::{Kind, Lane};
use super::read::WideForm;
use super::reading::Sight;
use crate::classify::Classifier;
use crate::conn::flow::bits_of;
use crate::conn::table::EntryV4;
use crate::port::Frame;
use crate::reply::{ReplyKeyV4, ReplyTable};
use crate::wire::{Addr, Protocol, ipv4};

/// Reads frames from a place on as long as all four are of this form, plain, and none is to where
/// a service may be.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vbmi,avx512ifma")]
#[inline]
pub(super) fn read<F: Frame, const L3: usize, const HEAD: usize, const UDP: bool>(
    reading: &mut Reading,
    from: usize,
    frames: &[F],
    sight: Sight<'_>,
    table: &ReplyTable,
    form: &WideForm,
) -> usize {
    let (kind, protocol) =
        if UDP { (Kind::ReplyUdp, Protocol::Udp) } else { (Kind::ReplyTcp, Protocol::Tcp) };
    let classifier = &sight.snapshot.classifier;
    let mut read = 0;
    for frames in frames.as_chunks::<FOUR>().0 {
        let at = from + read;
        let Some(rows) = fours::read::<F, L3, HEAD, UDP>(frames, form) else { break };
        let Some(four) = Four::of::<F, L3, HEAD>(frames, protocol) else { break };
        let lanes = reading.lanes.get_mut(at..).and_then(|lanes| lanes.first_chunk_mut::<FOUR>());
        let Some(lanes) = lanes else { break };
        if may_have_any(classifier, &four.keys) {
            break;
        }
        *lanes = Lane::new(kind, 0).with_lens(fours::total_lens(rows));
        let homes = sight.conns.request_homes(four.ends);
        reading.replies.put_four(at, (four.keys, four.answered), homes, table);
        reading.clients.clear_all(at, FOUR);
        read += FOUR;
    }
    read
}

/// Whether a rule may be for one of the clients.
#[inline(always)]
fn may_have_any(classifier: &Classifier, keys: &[ReplyKeyV4; FOUR]) -> bool {
    keys.iter().any(|key| classifier.may_have(Addr::v4(key.client())))
}

/// Between whom four packets are.
struct Four {
    keys: [ReplyKeyV4; FOUR],
    /// What the connections are found by that they answer.
    answered: [[u64; 2]; FOUR],
    /// The clients' ends, as [`EntryV4::end_of`] has them in the lower half of each quarter; the
    /// upper halves are anything.
    ends: __m512i,
}

/// No byte.
const GAP: u8 = 0x80;

impl Four {
    /// `None` if a frame is shorter than `HEAD`.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    fn of<F: Frame, const L3: usize, const HEAD: usize>(
        frames: &[F; FOUR],
        protocol: Protocol,
    ) -> Option<Self> {
        // Of each: source 4, destination 4, their ports 2 and 2, and four bytes more.
        let [a, b, c, d] = frames;
        let rows = _mm512_castsi128_si512(both::<L3, HEAD>(a.bytes())?);
        let rows = _mm512_inserti32x4::<1>(rows, both::<L3, HEAD>(b.bytes())?);
        let rows = _mm512_inserti32x4::<2>(rows, both::<L3, HEAD>(c.bytes())?);
        let rows = _mm512_inserti32x4::<3>(rows, both::<L3, HEAD>(d.bytes())?);

        const NO: u8 = GAP;
        let keys = quarters([7, 6, 5, 4, 3, 2, 1, 0, NO, NO, NO, NO, 11, 10, 9, 8]);
        let answered = quarters([NO, NO, NO, NO, 7, 6, 5, 4, NO, NO, NO, NO, 9, 8, 11, 10]);
        let ends = quarters([11, 10, 7, 6, 5, 4, NO, NO, NO, NO, NO, NO, NO, NO, NO, NO]);
        let [low, high] = EntryV4::answered_key(0, 0, 0, protocol);
        let same = _mm512_set4_epi64(high as i64, low as i64, high as i64, low as i64);
        let answered = _mm512_or_si512(_mm512_shuffle_epi8(rows, answered), same);
        let same = _mm512_set1_epi64(EntryV4::end_of(0, 0, bits_of(protocol)) as i64);
        Some(Self {
            keys: keys_of(_mm512_shuffle_epi8(rows, keys), protocol),
            answered: pairs(answered),
            ends: _mm512_or_si512(_mm512_shuffle_epi8(rows, ends), same),
        })
    }
}

/// A frame's addresses and ports.
#[inline(always)]
fn both<const L3: usize, const HEAD: usize>(frame: &[u8]) -> Option<__m128i> {
    let head = frame.first_chunk::<HEAD>()?.get(L3 + ipv4::SRC..)?.first_chunk::<16>()?;
    // SAFETY: sixteen bytes that may be read; SSE2 is part of every x86-64.
    #[allow(unsafe_code)]
    Some(unsafe { _mm_loadu_si128(head.as_ptr().cast()) })
}

/// The keys that are each quarter's words. Not a closure of a function for these CPUs alone, which
/// `map` could not take in.
#[inline(always)]
fn keys_of(rows: __m512i, protocol: Protocol) -> [ReplyKeyV4; FOUR] {
    pairs(rows).map(|words| ReplyKeyV4::of_words(words, protocol))
}

/// The words of each quarter.
#[inline(always)]
fn pairs(rows: __m512i) -> [[u64; 2]; FOUR] {
    // SAFETY: eight words, whatever their bits.
    #[allow(unsafe_code)]
    unsafe {
        std::mem::transmute::<__m512i, [[u64; 2]; FOUR]>(rows)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::read::{TAGGED, TAGGED_HEAD, UNTAGGED, UNTAGGED_HEAD};
    use super::*;
    use crate::cpu::Tier;
    use crate::port::memory::MemoryFrame;

    type Between = ((u32, u16), (u32, u16));

    fn agree<const L3: usize, const HEAD: usize>(packets: [Between; FOUR], protocol: Protocol) {
        let frames = packets.map(|((source, from), (destination, to))| {
            let mut bytes = [0xEE; 80];
            bytes[L3 + 12..L3 + 16].copy_from_slice(&source.to_be_bytes());
            bytes[L3 + 16..L3 + 20].copy_from_slice(&destination.to_be_bytes());
            bytes[L3 + 20..L3 + 22].copy_from_slice(&from.to_be_bytes());
            bytes[L3 + 22..L3 + 24].copy_from_slice(&to.to_be_bytes());
            MemoryFrame::new(&bytes)
        });
        // SAFETY: the CPU has the tier.
        #[allow(unsafe_code)]
        let four = unsafe { Four::of::<_, L3, HEAD>(&frames, protocol) }.unwrap();
        let keys = packets.map(|(real, client)| ReplyKeyV4::new(real, client, protocol));
        assert_eq!(four.keys, keys);
        assert_eq!(four.answered, keys.map(|key| key.answered()));
        let ends = pairs(four.ends).map(|[end, _]| end);
        let bits = bits_of(protocol);
        let end_of = |(_, (client, port)): Between| EntryV4::end_of(client, port, bits);
        assert_eq!(ends, packets.map(end_of));
    }

    proptest! {
        #[test]
        fn four_packets_are_between_whom_each_of_them_is(
            packets in prop::array::uniform4(((any::<u32>(), any::<u16>()), (any::<u32>(), any::<u16>()))),
            udp in any::<bool>(),
        ) {
            if Tier::best() < Tier::Avx512 {
                return Ok(());
            }
            let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
            agree::<UNTAGGED, UNTAGGED_HEAD>(packets, protocol);
            agree::<TAGGED, TAGGED_HEAD>(packets, protocol);
        }
    }
}
