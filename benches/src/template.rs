//! A complete frame from some client to a VIP, of which only a few bytes change.

use dataplane::port::Frame;
use dataplane::wire::Family;
use dataplane::wire::ethernet::Mac;

#[cfg(target_arch = "x86_64")]
use crate::draw::KnownWide;
use crate::draw::{ACK, AT_ONCE, Flow, Known};
#[cfg(target_arch = "x86_64")]
use crate::ends::{Ends, EndsHead};
use crate::plan;
use head::{HEAD_V4, HEAD_V6, Head, KnownHead, head_v4, head_v6};
#[cfg(target_arch = "x86_64")]
use parts::{GAP, PART, Parts, put_part};
use words::{Words, end, middle, put, word};

pub(crate) mod head;
#[cfg(target_arch = "x86_64")]
pub(crate) mod parts;
mod words;

/// The beginning of a frame, without the fields that a flow decides.
///
/// It is written in whole words that have those fields in them already: bytes that are
/// written twice, or read as parts of larger words than they were written in, cost more than
/// all the rest of a synthetic packet.
#[derive(Clone, Debug)]
pub struct Template {
    head: Head,
    /// Bytes of the whole frame, without FCS.
    len: usize,
    /// The first VIP.
    vip: [u8; 4],
    #[cfg(target_arch = "x86_64")]
    parts: Parts,
    #[cfg(target_arch = "x86_64")]
    ends: EndsHead,
}

impl Template {
    /// A frame to the first VIP for `director`, `len` bytes long without its FCS. Lengths
    /// below what the headers need are raised to it.
    pub fn new(family: Family, director: Mac, len: u16) -> Self {
        let (head, len) = match family {
            Family::V4 => {
                let len = usize::from(len).max(HEAD_V4);
                (Head::V4(Words::new(&head_v4(director, len))), len)
            }
            Family::V6 => {
                let len = usize::from(len).max(HEAD_V6);
                let [client, vip, server] = [plan::client, plan::vip, plan::server]
                    .map(|address| address(Family::V6, 0).number().to_be_bytes());
                let request = Words::new(&head_v6(director, len, client, vip));
                let answer = Words::new(&head_v6(director, len, server, client));
                (Head::V6 { request, answer }, len)
            }
        };
        let vip = plan::vip_bytes(family, 0);
        let new = Self {
            head,
            len,
            vip,
            #[cfg(target_arch = "x86_64")]
            parts: Parts::default(),
            #[cfg(target_arch = "x86_64")]
            ends: EndsHead::default(),
        };
        #[cfg(target_arch = "x86_64")]
        let new = new.in_parts();
        new
    }

    #[cfg(target_arch = "x86_64")]
    fn in_parts(self) -> Self {
        let known = self.known();
        let ends = match &known {
            KnownHead::V4(head) => head.bytes().first_chunk().copied().map(EndsHead::new),
            KnownHead::V6(_) => None,
        };
        Self { parts: Parts::new(&known), ends: ends.unwrap_or_default(), ..self }
    }

    /// Makes `frame` this flow's. A frame without room for it is left as it is, and the
    /// director counts it as malformed.
    #[inline(always)]
    pub fn write(&self, frame: &mut impl Frame, flow: Flow, vip: Option<[u8; 4]>) {
        if !self.has_length(frame) {
            return;
        }
        let [v0, v1, v2, v3] = vip.unwrap_or(self.vip);
        let [p0, p1] = flow.port.to_be_bytes();
        match &self.head {
            Head::V4(Words { words: [w0, w1, w2, w3, w4, w5, w6], rest }) => {
                let Some(bytes) = frame.bytes_mut().first_chunk_mut::<HEAD_V4>() else { return };
                let [c0, c1, c2, c3] = plan::client_v4(flow.client).to_be_bytes();
                let w3 = w3 | word([0, 0, c0, c1, c2, c3, v0, v1]);
                let w4 = w4 | word([v2, v3, p0, p1, 0, 0, 0, 0]);
                let w5 = w5 | word([0, 0, 0, 0, 0, 0, 0, flow.flags]);
                put(bytes, [*w0, *w1, *w2, w3, w4, w5, *w6], *rest);
            }
            Head::V6 { request, .. } => {
                let Words { words: [w0, w1, w2, w3, w4, w5, w6, w7, w8], rest } = request;
                let Some(bytes) = frame.bytes_mut().first_chunk_mut::<HEAD_V6>() else { return };
                let [c0, c1, c2, c3] = plan::client_v6_low(flow.client).to_be_bytes();
                let w4 = w4 | word([0, 0, c0, c1, c2, c3, 0, 0]);
                let w6 = w6 | word([0, 0, v0, v1, v2, v3, p0, p1]);
                let w8 = w8 | word([0, 0, 0, flow.flags, 0, 0, 0, 0]);
                put(bytes, [*w0, *w1, *w2, *w3, w4, *w5, w6, *w7, w8], *rest);
            }
        }
    }

    /// The header of ACKs of known clients to the first VIP, but for what tells them apart.
    pub fn known(&self) -> KnownHead {
        let [v0, v1, v2, v3] = self.vip;
        match self.head {
            Head::V4(mut head) => {
                let [_, _, _, w3, w4, w5, _] = &mut head.words;
                *w3 |= word([0, 0, 0, 0, 0, 0, v0, v1]);
                *w4 |= word([v2, v3, 0, 0, 0, 0, 0, 0]);
                *w5 |= word([0, 0, 0, 0, 0, 0, 0, ACK]);
                KnownHead::V4(head)
            }
            Head::V6 { request: mut head, .. } => {
                let [_, _, _, _, _, _, w6, _, w8] = &mut head.words;
                *w6 |= word([0, 0, v0, v1, v2, v3, 0, 0]);
                *w8 |= word([0, 0, 0, ACK, 0, 0, 0, 0]);
                KnownHead::V6(head)
            }
        }
    }

    /// [`Self::write`] for ACKs of known clients to the first VIP.
    #[inline(always)]
    pub fn write_known(&self, head: &KnownHead, frames: &mut [impl Frame; AT_ONCE], known: Known) {
        let words = match head {
            KnownHead::V4(_) => {
                let clients = known.clients.map(|client| middle(plan::client_v4(client)));
                [clients, known.ports.map(|port| middle(port << 16))]
            }
            KnownHead::V6(_) => {
                let clients = known.clients.map(|client| middle(plan::client_v6_low(client)));
                [clients, known.ports.map(end)]
            }
        };
        self.write_all(head, frames, words);
    }

    /// [`Self::write_known`] of packets in rows, each written in as few stores as it takes.
    ///
    /// # Safety
    /// Where this is not called from code for the same CPUs, the CPU was asked ([`crate::cpu::is_wide`]).
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    pub fn write_known_wide(&self, frames: &mut [impl Frame; AT_ONCE], known: KnownWide) {
        use std::arch::x86_64::{
            __m512i, _mm256_load_si256, _mm256_mask_set1_epi64, _mm512_add_epi64, _mm512_or_si512,
            _mm512_set1_epi64, _mm512_set4_epi64, _mm512_shuffle_epi8,
        };
        // Where each byte of a word comes from, in both halves of 128 bits.
        let order = |from: [u8; 8]| {
            let high = from.map(|byte| if byte == GAP { GAP } else { byte + 8 });
            let [low, high] = [from, high].map(i64::from_le_bytes);
            _mm512_set4_epi64(high, low, high, low)
        };
        let is_v4 = matches!(self.head, Head::V4(_));
        let first = if is_v4 { plan::client_v4(0) } else { plan::client_v6_low(0) };
        let addresses = _mm512_add_epi64(known.clients, _mm512_set1_epi64(i64::from(first)));
        let client = _mm512_shuffle_epi8(addresses, order([GAP, GAP, 3, 2, 1, 0, GAP, GAP]));
        let port = order([GAP, GAP, GAP, GAP, GAP, GAP, 1, 0]);
        let mut port = _mm512_shuffle_epi8(known.ports, port);
        if is_v4 {
            // The parts overlap: the client's last two bytes are in both.
            let end = order([1, 0, GAP, GAP, GAP, GAP, GAP, GAP]);
            port = _mm512_or_si512(port, _mm512_shuffle_epi8(addresses, end));
        }
        let Parts { words: [beside_client, beside_port], bytes } = &self.parts;
        let client = _mm512_or_si512(client, _mm512_set1_epi64(*beside_client as i64));
        let port = _mm512_or_si512(port, _mm512_set1_epi64(*beside_port as i64));
        // SAFETY: eight words each, whatever their bits; and 32 bytes, aligned to 32.
        let ([clients, ports], [low, high]) = unsafe {
            let rows = [client, port].map(|row| {
                std::mem::transmute::<__m512i, [u64; AT_ONCE]>(row).map(|word| word as i64)
            });
            let [low, high, _] = bytes;
            (rows, [low, high].map(|part| _mm256_load_si256(part.0.as_ptr().cast())))
        };
        for (frame, (client, port)) in frames.iter_mut().zip(clients.into_iter().zip(ports)) {
            if !self.has_length(frame) {
                continue;
            }
            if is_v4 {
                let low = _mm256_mask_set1_epi64(low, 0b1000, client);
                let high = _mm256_mask_set1_epi64(high, 0b0001, port);
                if let Some(bytes) = frame.bytes_mut().first_chunk_mut::<HEAD_V4>() {
                    put_part(bytes, 0, low);
                    put_part(bytes, HEAD_V4 - PART, high);
                }
            } else {
                let high = _mm256_mask_set1_epi64(high, 0b0001, client);
                let high = _mm256_mask_set1_epi64(high, 0b0100, port);
                if let Some(bytes) = frame.bytes_mut().first_chunk_mut::<HEAD_V6>() {
                    put_part(bytes, 0, low);
                    put_part(bytes, PART, high);
                    let [.., end] = &self.parts.bytes;
                    if let (Some(to), Some(from)) =
                        (bytes.last_chunk_mut::<10>(), end.0.first_chunk())
                    {
                        *to = *from;
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn write_all(
        &self,
        head: &KnownHead,
        frames: &mut [impl Frame; AT_ONCE],
        [clients, ports]: [[u64; AT_ONCE]; 2],
    ) {
        let parts = frames.iter_mut().zip(clients.into_iter().zip(ports));
        match head {
            KnownHead::V4(Words { words: [w0, w1, w2, w3, w4, w5, w6], rest }) => {
                for (frame, (client, port)) in parts {
                    let words = [*w0, *w1, *w2, w3 | client, w4 | port, *w5, *w6];
                    self.write_words::<7, HEAD_V4>(frame, words, *rest);
                }
            }
            KnownHead::V6(Words { words: [w0, w1, w2, w3, w4, w5, w6, w7, w8], rest }) => {
                for (frame, (client, port)) in parts {
                    let words = [*w0, *w1, *w2, *w3, w4 | client, *w5, w6 | port, *w7, *w8];
                    self.write_words::<9, HEAD_V6>(frame, words, *rest);
                }
            }
        }
    }

    #[inline(always)]
    fn write_words<const N: usize, const LEN: usize>(
        &self,
        frame: &mut impl Frame,
        words: [u64; N],
        rest: [u8; 4],
    ) {
        if self.has_length(frame)
            && let Some(bytes) = frame.bytes_mut().first_chunk_mut::<LEN>()
        {
            put(bytes, words, rest);
        }
    }

    /// [`Self::write`] for the first service or [`Self::write_answer`], without a branch for IPv4
    /// that asks which it is.
    #[inline(always)]
    pub fn write_either_way(
        &self,
        frame: &mut impl Frame,
        (flow, server, is_answer): (Flow, u16, bool),
    ) {
        let Head::V4(Words { words: [w0, w1, w2, w3, w4, w5, w6], rest }) = &self.head else {
            return match is_answer {
                true => self.write_answer(frame, flow, server),
                false => self.write(frame, flow, None),
            };
        };
        if !self.has_length(frame) {
            return;
        }
        let Some(bytes) = frame.bytes_mut().first_chunk_mut::<HEAD_V4>() else { return };
        let [v0, v1, v2, v3] = self.vip;
        let [p0, p1] = flow.port.to_be_bytes();
        let [q0, q1] = plan::VIP_PORT.to_be_bytes();
        let [s0, s1, s2, s3] = plan::server_bytes(Family::V4, server);
        let [c0, c1, c2, c3] = plan::client_v4(flow.client).to_be_bytes();
        let all = u64::from(is_answer).wrapping_neg();
        let choose = |answer: u64, request: u64| answer & all | request & !all;
        let w3 =
            w3 | choose(word([0, 0, s0, s1, s2, s3, c0, c1]), word([0, 0, c0, c1, c2, c3, v0, v1]));
        let w4 =
            choose(word([c2, c3, q0, q1, p0, p1, 0, 0]), w4 | word([v2, v3, p0, p1, 0, 0, 0, 0]));
        let w5 = w5 | word([0, 0, 0, 0, 0, 0, 0, ACK]);
        put(bytes, [*w0, *w1, *w2, w3, w4, w5, *w6], *rest);
    }

    /// [`Self::write_either_way`] over IPv4, for several packets that are written in as few stores
    /// as it takes.
    ///
    /// # Safety
    /// Where this is not called from code for the same CPUs, the CPU was asked ([`crate::cpu::is_wide`]).
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    #[inline]
    pub fn write_ends_wide<F: Frame>(&self, frames: &mut [F; AT_ONCE], ends: &Ends) {
        self.ends.write(frames, ends, self.len);
    }

    /// Makes `frame` the real server's answer to this flow.
    #[inline(always)]
    pub fn write_answer(&self, frame: &mut impl Frame, flow: Flow, server: u16) {
        if !self.has_length(frame) {
            return;
        }
        let [v0, v1] = plan::VIP_PORT.to_be_bytes();
        let [p0, p1] = flow.port.to_be_bytes();
        match &self.head {
            Head::V4(Words { words: [w0, w1, w2, w3, _, w5, w6], rest }) => {
                let Some(bytes) = frame.bytes_mut().first_chunk_mut::<HEAD_V4>() else { return };
                let [s0, s1, s2, s3] = plan::server_bytes(Family::V4, server);
                let [c0, c1, c2, c3] = plan::client_v4(flow.client).to_be_bytes();
                let w3 = w3 | word([0, 0, s0, s1, s2, s3, c0, c1]);
                let w4 = word([c2, c3, v0, v1, p0, p1, 0, 0]);
                let w5 = w5 | word([0, 0, 0, 0, 0, 0, 0, ACK]);
                put(bytes, [*w0, *w1, *w2, w3, w4, w5, *w6], *rest);
            }
            Head::V6 { answer, .. } => {
                let Words { words: [w0, w1, w2, w3, w4, w5, w6, _, w8], rest } = answer;
                let Some(bytes) = frame.bytes_mut().first_chunk_mut::<HEAD_V6>() else { return };
                let [s0, s1, s2, s3] = plan::server_bytes(Family::V6, server);
                let [c0, c1, c2, c3] = plan::client_v6_low(flow.client).to_be_bytes();
                let w4 = w4 | word([0, 0, s0, s1, s2, s3, 0, 0]);
                let w6 = w6 | word([0, 0, c0, c1, c2, c3, v0, v1]);
                let w7 = word([p0, p1, 0, 0, 0, 0, 0, 0]);
                let w8 = w8 | word([0, 0, 0, ACK, 0, 0, 0, 0]);
                put(bytes, [*w0, *w1, *w2, *w3, w4, *w5, w6, w7, w8], *rest);
            }
        }
    }

    /// Gives the frame its length, where it has not got it already.
    #[inline(always)]
    fn has_length(&self, frame: &mut impl Frame) -> bool {
        frame.bytes().len() == self.len || frame.set_len(self.len)
    }

    /// Bytes of the frame, without FCS.
    pub fn frame_len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::port::memory::MemoryFrame;

    #[test]
    fn frames_written_together_are_as_those_written_one_by_one() {
        for (family, len) in [(Family::V4, 60), (Family::V6, 74), (Family::V4, 1496)] {
            let template = Template::new(family, Mac([2, 0, 0, 0, 0, 1]), len);
            let frame = || MemoryFrame::new(&vec![0xA5; usize::from(len)]);
            let mut together: [_; AT_ONCE] = std::array::from_fn(|_| frame());
            let clients = std::array::from_fn(|at| 0x0102_0304_u32.wrapping_mul(at as u32));
            let ports = std::array::from_fn(|at| 0xFFFF - 300 * at as u32);
            let known = Known { clients, ports };
            template.write_known(&template.known(), &mut together, known);
            for (written, (client, port)) in together.iter().zip(clients.into_iter().zip(ports)) {
                let port = port as u16;
                let flow = Flow { client, port, service: 0, flags: ACK, server: None };
                let mut alone = frame();
                template.write(&mut alone, flow, None);
                assert_eq!(written.bytes(), alone.bytes());
            }
            #[cfg(target_arch = "x86_64")]
            if crate::cpu::is_wide() && family == Family::V4 {
                let servers = std::array::from_fn(|at| 31 * at as u32);
                let answers = std::array::from_fn(|at| (at as u32 & 1).wrapping_neg());
                let ends = Ends::new(known, servers, answers);
                let mut wide: [_; AT_ONCE] = std::array::from_fn(|_| frame());
                // SAFETY: the CPU was asked.
                unsafe { template.write_ends_wide(&mut wide, &ends) };
                for (at, written) in wide.iter().enumerate() {
                    let (client, port) = (clients[at], ports[at] as u16);
                    let flow = Flow { client, port, service: 0, flags: ACK, server: None };
                    let mut alone = frame();
                    template.write_either_way(&mut alone, (flow, 31 * at as u16, at & 1 == 1));
                    assert_eq!(written.bytes(), alone.bytes());
                }
            }
            #[cfg(target_arch = "x86_64")]
            if crate::cpu::is_wide() {
                use std::arch::x86_64::__m512i;
                let rows = [clients, ports].map(|row| row.map(u64::from));
                // SAFETY: eight words each, and the CPU was asked.
                unsafe {
                    let [clients, ports] =
                        rows.map(|row| std::mem::transmute::<[u64; AT_ONCE], __m512i>(row));
                    let known = KnownWide { clients, ports };
                    let mut wide: [_; AT_ONCE] = std::array::from_fn(|_| frame());
                    template.write_known_wide(&mut wide, known);
                    assert!(wide.iter().zip(&together).all(|(a, b)| a.bytes() == b.bytes()));
                }
            }
        }
    }
}
