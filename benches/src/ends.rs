//! IPv4 packets between clients and a service or its real servers, several written at a time, for
//! CPUs with AVX-512.

use std::arch::x86_64::{_mm256_load_si256, _mm256_mask_set1_epi64};

use dataplane::port::Frame;

use crate::draw::{AT_ONCE, Known};
use crate::plan;
use crate::template::head::HEAD_V4;
use crate::template::parts::{PART, Part, put_part};

/// Who sends packets to whom, in the host's byte order.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    addresses: [[u32; AT_ONCE]; 2],
    ports: [[u32; AT_ONCE]; 2],
}

impl Ends {
    /// Clients to the first service, or their real servers to them where all bits of `answers`
    /// are set.
    #[inline(always)]
    pub fn new(known: Known, servers: [u32; AT_ONCE], answers: [u32; AT_ONCE]) -> Self {
        let choose = |answer: [u32; AT_ONCE], request: [u32; AT_ONCE]| {
            let mut chosen = request;
            for ((to, all), answer) in chosen.iter_mut().zip(answers).zip(answer) {
                *to = answer & all | *to & !all;
            }
            chosen
        };
        let (clients, servers) = (known.clients.map(plan::client_v4), servers.map(plan::server_v4));
        let vip_ports = [plan::VIP_PORT.into(); AT_ONCE];
        Self {
            addresses: [choose(servers, clients), choose(clients, [plan::vip_v4(0); AT_ONCE])],
            ports: [choose(vip_ports, known.ports), choose(known.ports, vip_ports)],
        }
    }
}

/// A header of an ACK without addresses and ports, in two parts that are stored at once and
/// overlap.
#[derive(Clone, Debug, Default)]
pub struct EndsHead {
    parts: [Part; 2],
    /// What stands in the words that the addresses and the ports are in: the last one of the
    /// first part, and the first two of the second.
    words: [u64; 3],
}

/// Where the second part begins.
const SECOND: usize = HEAD_V4 - PART;
/// Where addresses and ports stand.
const FIELDS: std::ops::Range<usize> = 26..38;

impl EndsHead {
    /// The header without what stands in it between whom it is.
    pub fn new(mut head: [u8; HEAD_V4]) -> Self {
        if let Some(fields) = head.get_mut(FIELDS) {
            fields.fill(0);
        }
        let from = |at: usize| head.get(at..).unwrap_or_default();
        let word = |at| from(at).first_chunk().map_or(0, |word| u64::from_le_bytes(*word));
        let part = |at| Part(from(at).first_chunk().copied().unwrap_or_default());
        Self { parts: [0, SECOND].map(part), words: [PART - 8, SECOND, SECOND + 8].map(word) }
    }

    /// The three words, filled in.
    #[inline(always)]
    fn fill(&self, at: usize, ends: &Ends) -> [i64; 3] {
        let of = |both: &[[u32; AT_ONCE]; 2]| {
            let [from, to] = both;
            [from, to].map(|row| row.get(at).copied().unwrap_or(0))
        };
        let [source, destination] =
            of(&ends.addresses).map(|address| u64::from(address.swap_bytes()));
        let [from, to] = of(&ends.ports).map(|port| u64::from((port as u16).swap_bytes()));
        let [low, begin, next] = self.words;
        let low = low | source << 16 | destination << 48;
        let begin = begin | source >> 16 | destination << 16 | from << 48;
        [low, begin, next | to].map(|word| word as i64)
    }

    /// Makes frames packets between these ends. A frame without room is left as it is.
    ///
    /// # Safety
    /// Where this is not called from code for the same CPUs, the CPU was asked
    /// ([`crate::cpu::is_wide`]).
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    pub fn write<F: Frame>(&self, frames: &mut [F; AT_ONCE], ends: &Ends, len: usize) {
        // SAFETY: 32 bytes each, aligned to 32.
        let [low, high] = unsafe {
            let [low, high] = &self.parts;
            [low, high].map(|part| _mm256_load_si256(part.0.as_ptr().cast()))
        };
        for (at, frame) in frames.iter_mut().enumerate() {
            let has_length = frame.bytes().len() == len || frame.set_len(len);
            let [end, begin, next] = self.fill(at, ends);
            let low = _mm256_mask_set1_epi64(low, 0b1000, end);
            let high = _mm256_mask_set1_epi64(high, 0b0001, begin);
            let high = _mm256_mask_set1_epi64(high, 0b0010, next);
            if let Some(bytes) = frame.bytes_mut().first_chunk_mut::<HEAD_V4>()
                && has_length
            {
                put_part(bytes, 0, low);
                put_part(bytes, SECOND, high);
            }
        }
    }
}
