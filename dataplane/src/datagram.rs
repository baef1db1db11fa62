//! A datagram that was put together from its fragments, and how it is taken apart again.
//!
//! The kernel does not send on what it has received but cuts anew, and where it cuts depends on
//! what it has received: nothing gets longer than the longest fragment was (`frag_max_size`), and
//! the fragments that it has still apart in memory leave as they came if they all fit.

use crate::forward::fragment::{Anew, Cut, HeaderPlace};
use crate::port::Frame;
use crate::port::memory::MemoryFrame;
use crate::wire::field::put;
use crate::wire::{Family, Fragment, Packet, Parsed, checksum, ipv4, ipv6, parse, parse_piece};

/// A link takes at least so much of IPv6 (RFC 8200, 5).
const LEAST_V6: u16 = 1280;
/// The ECN field: congestion experienced.
const CONGESTED: u8 = 3;

/// A datagram in one piece.
pub(crate) struct Datagram {
    /// The whole packet in a frame.
    pub(crate) frame: MemoryFrame,
    /// Bytes of the longest fragment's packet.
    pub(crate) longest: u16,
    family: Family,
    /// Whether the pieces forbid further cutting, as the longest fragment did.
    forbids: bool,
    /// Bytes of payload in each of the fragments.
    sizes: Vec<usize>,
    /// Bytes of the whole packet.
    len: u16,
    /// Where an IPv6 datagram's fragment header was.
    place: HeaderPlace,
}

/// A fragment, even one that lacks a part of its transport header.
pub(crate) fn as_piece(frame: &[u8]) -> Option<Packet> {
    match parse(frame) {
        Parsed::Packet(packet) if packet.fragment != Fragment::Whole => Some(packet),
        Parsed::Packet(_) => None,
        _ => parse_piece(frame),
    }
}

/// Where a fragment's part of the payload begins.
pub(crate) fn payload_at(frame: &[u8], piece: &Packet) -> usize {
    let header = ipv6::fragment_header(frame, piece);
    header.map_or(usize::from(piece.l4_offset), |header| header.at + ipv6::FRAGMENT_HEADER_LEN)
}

const fn offset_of(piece: &Packet) -> u16 {
    match piece.fragment {
        Fragment::Later { offset, .. } => offset,
        Fragment::First { .. } | Fragment::Whole => 0,
    }
}

impl Datagram {
    /// Puts all fragments of a datagram together; `None` where that makes no packet.
    pub(crate) fn of<F: Frame>(frames: &[F]) -> Option<Self> {
        let mut pieces: Vec<(Packet, &[u8])> = frames
            .iter()
            .map(|frame| as_piece(frame.bytes()).map(|piece| (piece, frame.bytes())))
            .collect::<Option<_>>()?;
        pieces.sort_by_key(|(piece, _)| offset_of(piece));
        let (first, head) = *pieces.first()?;
        let mut bytes = head.get(..payload_at(head, &first))?.to_vec();
        let mut sizes = Vec::with_capacity(pieces.len());
        let mut end = 0;
        for (piece, frame) in &pieces {
            // One may be missing that found no place to wait in.
            (usize::from(offset_of(piece)) == end).then_some(())?;
            let payload = frame.get(payload_at(frame, piece)..piece.end())?;
            bytes.extend_from_slice(payload);
            sizes.push(payload.len());
            end += payload.len();
        }
        let longest = pieces.iter().map(|(piece, _)| piece.total_len).max()?;
        let family = first.family;
        let forbids = family == Family::V4
            && pieces.iter().any(|(piece, _)| piece.dont_fragment && piece.total_len == longest);
        let tos = congestion(first.tos, pieces.iter().map(|(piece, _)| piece.tos))?;
        let mut frame = MemoryFrame::of_any_length(&bytes);
        let place = match family {
            Family::V4 => {
                write_whole(frame.bytes_mut(), &first, forbids, tos)?;
                HeaderPlace::default()
            }
            Family::V6 => unite(&mut frame, &first, tos)?,
        };
        let Parsed::Packet(Packet { total_len: len, .. }) = parse(frame.bytes()) else {
            return None;
        };
        Some(Self { frame, longest, family, forbids, sizes, len, place })
    }

    /// Makes the packet, as it leaves now, ready to be cut for a link with this MTU. `apart` says
    /// whether the kernel has its fragments still apart; `id` is for the pieces of an IPv6 packet.
    ///
    /// # Errors
    /// The frame itself, where it leaves in one piece.
    pub(crate) fn cut(
        self,
        mtu: u16,
        apart: bool,
        id: u32,
    ) -> Result<Cut<MemoryFrame>, MemoryFrame> {
        let Self { frame, longest, family, forbids, mut sizes, place, len: whole_len } = self;
        let Parsed::Packet(packet) = parse(frame.bytes()) else { return Err(frame) };
        let len = packet.total_len;
        let (is_cut, mtu) = match (family, packet.family) {
            (Family::V4, Family::V4) => (true, mtu.min(longest)),
            (Family::V6, Family::V6) => (len > longest.min(mtu), mtu.min(longest).max(LEAST_V6)),
            // What the kernel knows of fragments it does not know of the other family's packet.
            _ => (len > mtu, mtu),
        };
        if !is_cut {
            return Err(frame);
        }
        let header = match packet.family {
            Family::V4 => usize::from(packet.l4_offset.saturating_sub(packet.l3_offset)),
            Family::V6 if len == whole_len => place.at,
            Family::V6 => ipv6::HEADER_LEN,
        };
        let rest: usize = sizes.iter().skip(1).sum();
        if let Some(size) = sizes.first_mut() {
            *size = usize::from(len).saturating_sub(header + rest);
        }
        let extra = match packet.family {
            Family::V4 => 0,
            Family::V6 => ipv6::FRAGMENT_HEADER_LEN,
        };
        let room = usize::from(mtu).saturating_sub(header + extra);
        let last = sizes.len().saturating_sub(1);
        let mut all = sizes.iter().enumerate();
        let fit = all.all(|(at, size)| *size <= room && (at == last || size.is_multiple_of(8)));
        let sizes = if apart && fit { sizes } else { Vec::new() };
        let place = if len == whole_len { place } else { HeaderPlace::default() };
        Cut::anew(frame, &packet, mtu, Anew { id, sizes, forbids, place })
    }
}

/// The type of service of the whole: congestion that a fragment has met the whole has met, if
/// all were capable of telling (RFC 3168, 5.3). `None` where some were and some were not.
fn congestion(first: u8, all: impl Iterator<Item = u8>) -> Option<u8> {
    let seen = all.fold(0_u8, |seen, tos| seen | 1 << (tos & CONGESTED));
    let [capable_and_not, congested] = [seen & 1 != 0 && seen != 1, seen & 1 << CONGESTED != 0];
    if capable_and_not {
        return None;
    }
    Some(if congested { first | CONGESTED } else { first })
}

/// Makes the header of an IPv4 datagram's first fragment that of the whole.
fn write_whole(bytes: &mut [u8], first: &Packet, forbids: bool, tos: u8) -> Option<()> {
    let l3 = usize::from(first.l3_offset);
    let total = u16::try_from(bytes.len().checked_sub(l3)?).ok()?;
    put(bytes, l3 + ipv4::TOS, [tos])?;
    put(bytes, l3 + ipv4::TOTAL_LEN, total.to_be_bytes())?;
    let flags = if forbids { ipv4::DONT_FRAGMENT } else { 0 };
    put(bytes, l3 + ipv4::FLAGS, flags.to_be_bytes())?;
    put(bytes, l3 + ipv4::CHECKSUM, [0; 2])?;
    let sum = checksum::of(bytes.get(l3..usize::from(first.l4_offset))?);
    put(bytes, l3 + ipv4::CHECKSUM, sum.to_be_bytes())
}

/// Takes the fragment header out of an IPv6 datagram that has all its payload; answers where it
/// was.
fn unite(frame: &mut MemoryFrame, first: &Packet, tos: u8) -> Option<HeaderPlace> {
    let l3 = usize::from(first.l3_offset);
    let header = ipv6::fragment_header(frame.bytes(), first)?;
    let total_len = u16::try_from(frame.bytes().len().checked_sub(l3)?).ok()?;
    let whole = Packet { fragment: Fragment::Whole, total_len, ..*first };
    ipv6::take_fragment_header(frame, &whole).then_some(())?;
    // The second half of the traffic class is the first half of the second byte.
    *frame.bytes_mut().get_mut(l3 + 1)? |= (tos & CONGESTED) << 4;
    Some(HeaderPlace { said: header.said.checked_sub(l3)?, at: header.at.checked_sub(l3)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn congestion_of_one_fragment_is_the_datagrams_if_all_could_tell() {
        let of = |all: &[u8]| congestion(all[0], all.iter().copied());
        assert_eq!(of(&[0, 0]), Some(0));
        assert_eq!(of(&[2, 3]), Some(3));
        assert_eq!(of(&[1, 2]), Some(1));
        assert_eq!(of(&[3, 3]), Some(3));
        assert_eq!(of(&[0, 3]), None);
        assert_eq!(of(&[1, 0]), None);
    }
}
