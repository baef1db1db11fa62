//! IPv6 headers and their extension headers (RFC 8200, RFC 7045, RFC 7112).

use super::addr::{Addr, Family};
use super::field::{bytes_at, put};
use super::ipv4::check_fragment;
use super::packet::{Fragment, Malformed, NO_CHUNK, Packet, Protocol, TcpFlags, Vlan};
use crate::port::Frame;

/// Bytes of the fixed header.
pub const HEADER_LEN: usize = 40;
/// Offset of the payload length.
pub const PAYLOAD_LEN: usize = 4;
/// Offset of the number of what follows the header.
pub const NEXT_HEADER: usize = 6;
/// Offset of the hop limit.
pub const HOP_LIMIT: usize = 7;
/// Offset of the source address.
pub const SRC: usize = 8;
/// Offset of the destination address.
pub const DST: usize = 24;

/// The most extension headers that are walked.
const MAX_HEADERS: u8 = 8;
/// The most bytes of extension headers that are walked.
const MAX_CHAIN: usize = 256;
/// Bytes of a fragment header.
pub const FRAGMENT_HEADER_LEN: usize = 8;
/// The number that names it.
pub const FRAGMENT: u8 = next::FRAGMENT;

/// The header numbers that are walked over.
mod next {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const AUTHENTICATION: u8 = 51;
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// Reads the headers at `l3`, up to and not including the transport header. `whole` demands that
/// the frame holds all that the payload length states; a quoted packet need not be there to its end.
#[inline]
pub(super) fn read(frame: &[u8], l3: usize, vlan: Vlan, whole: bool) -> Result<Packet, Malformed> {
    let header = bytes_at::<HEADER_LEN>(frame, l3).ok_or(Malformed::Truncated)?;
    let [version_and_class, class_and_label, _, _, len0, len1, first, hop_limit, ..] = *header;
    let (Some(src), Some(dst)) = (addr_at(header, SRC), addr_at(header, DST)) else {
        return Err(Malformed::Truncated);
    };
    let total_len = u16::from_be_bytes([len0, len1]).checked_add(HEADER_LEN as u16);
    let Some(total_len) = total_len.filter(|_| version_and_class >> 4 == 6) else {
        return Err(Malformed::BadIpHeader);
    };
    let packet_end = l3 + usize::from(total_len);
    if whole && frame.len() < packet_end {
        return Err(Malformed::Truncated);
    }
    if src.is_multicast() || src.is_v4() || dst.is_v4() {
        return Err(Malformed::BadAddress);
    }
    let mut chain = Chain { at: l3 + HEADER_LEN, next: first, fragment: Fragment::Whole };
    if is_extension(first) {
        // Beyond this the chain is too long, so what lies there need not be looked at.
        let end = packet_end.min(frame.len());
        chain = walk(frame.get(..end).unwrap_or(frame), chain, whole)?;
    }
    Ok(Packet {
        src,
        dst,
        fragment: chain.fragment,
        l3_offset: l3 as u16,
        l4_offset: chain.at as u16,
        total_len,
        src_port: 0,
        dst_port: 0,
        vlan,
        protocol: Protocol::of(chain.next, Family::V6),
        family: Family::V6,
        ttl: hop_limit,
        tos: version_and_class << 4 | class_and_label >> 4,
        dont_fragment: true,
        tcp_flags: TcpFlags::empty(),
        icmp_type: 0,
        icmp_code: 0,
        sctp_chunks: [NO_CHUNK; 2],
    })
}

#[inline]
fn addr_at(header: &[u8; HEADER_LEN], at: usize) -> Option<Addr> {
    bytes_at::<16>(header, at).map(|bytes| Addr::v6(u128::from_be_bytes(*bytes)))
}

#[inline]
const fn is_extension(number: u8) -> bool {
    matches!(
        number,
        next::HOP_BY_HOP
            | next::ROUTING
            | next::FRAGMENT
            | next::AUTHENTICATION
            | next::DESTINATION_OPTIONS
    )
}

/// How far a walk over extension headers has come.
struct Chain {
    /// Where the next header begins.
    at: usize,
    /// Which header that is.
    next: u8,
    fragment: Fragment,
}

/// Walks extension headers to the transport header, or to the payload of a later fragment.
/// `packet` ends where the packet does.
fn walk(packet: &[u8], mut chain: Chain, whole: bool) -> Result<Chain, Malformed> {
    let start = chain.at;
    let mut headers = 0;
    let mut fragment_seen = false;
    while is_extension(chain.next) {
        headers += 1;
        let cut_short = match chain.fragment {
            Fragment::First { .. } => Malformed::TinyFragment,
            Fragment::Whole | Fragment::Later { .. } => Malformed::BadExtensionHeader,
        };
        let header = bytes_at::<8>(packet, chain.at).ok_or(cut_short)?;
        let [following, len, routing_type, ..] = *header;
        let bytes = match chain.next {
            next::HOP_BY_HOP if headers > 1 => return Err(Malformed::BadExtensionHeader),
            next::ROUTING if routing_type == 0 => return Err(Malformed::RoutingHeaderZero),
            next::FRAGMENT if fragment_seen => return Err(Malformed::BadExtensionHeader),
            next::FRAGMENT => FRAGMENT_HEADER_LEN,
            // The one header that counts in words of four bytes (RFC 4302, 2.2).
            next::AUTHENTICATION => (usize::from(len) + 2) * 4,
            _ => (usize::from(len) + 1) * 8,
        };
        let number = chain.next;
        chain.next = following;
        chain.at += bytes;
        if headers > MAX_HEADERS || chain.at - start > MAX_CHAIN {
            return Err(Malformed::HeaderChainTooLong);
        }
        if chain.at > packet.len() {
            return Err(cut_short);
        }
        if number == next::FRAGMENT {
            fragment_seen = true;
            chain.fragment = fragment(header);
            if whole {
                let protocol = Protocol::of(following, Family::V6);
                let head_len = (chain.at - start - FRAGMENT_HEADER_LEN) as u16;
                // A packet is at most 65,535 bytes long, so is what is left of it.
                let len = (packet.len() - chain.at) as u16;
                check_fragment(chain.fragment, protocol, head_len, len)?;
            }
            if matches!(chain.fragment, Fragment::Later { .. }) {
                break;
            }
        }
    }
    Ok(chain)
}

/// What a fragment header says. One with neither an offset nor more to come is an atomic
/// fragment: a whole packet (RFC 6946).
fn fragment(header: &[u8; FRAGMENT_HEADER_LEN]) -> Fragment {
    let [_, _, place0, place1, id @ ..] = *header;
    let place = u16::from_be_bytes([place0, place1]);
    let (offset, more, id) = (place & !7, place & 1 != 0, u32::from_be_bytes(id));
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First { id },
        (offset, more) => Fragment::Later { more, offset, id },
    }
}

/// Takes the fragment header out of a packet that is whole nevertheless (RFC 6946). Answers
/// `false`, and changes nothing, where there is none.
pub fn take_fragment_header(frame: &mut impl Frame, packet: &Packet) -> bool {
    packet.fragment == Fragment::Whole
        && fragment_header(frame.bytes(), packet).is_some_and(|header| {
            cut_out(frame, packet, header.said, header.at, header.following).is_some()
        })
}

/// Where a packet's fragment header is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FragmentHeader {
    /// Where its number stands.
    pub said: usize,
    /// Where it begins.
    pub at: usize,
    /// The number of what follows it.
    pub following: u8,
}

/// The fragment header of a packet that was read.
pub(crate) fn fragment_header(frame: &[u8], packet: &Packet) -> Option<FragmentHeader> {
    if packet.family != Family::V6 {
        return None;
    }
    let l3 = usize::from(packet.l3_offset);
    // Where the number stands that says what comes next, and where that is.
    let (mut said, mut at) = (l3 + NEXT_HEADER, l3 + HEADER_LEN);
    while at < usize::from(packet.l4_offset) {
        let number = frame.get(said).copied()?;
        let [following, len, ..] = *bytes_at::<8>(frame, at)?;
        match number {
            next::FRAGMENT => return Some(FragmentHeader { said, at, following }),
            next::AUTHENTICATION => (said, at) = (at, at + (usize::from(len) + 2) * 4),
            _ => (said, at) = (at, at + (usize::from(len) + 1) * 8),
        }
    }
    None
}

fn cut_out(
    frame: &mut impl Frame,
    packet: &Packet,
    said: usize,
    at: usize,
    following: u8,
) -> Option<()> {
    let (l3, end) = (usize::from(packet.l3_offset), packet.end());
    let payload_len = usize::from(packet.total_len) - HEADER_LEN - FRAGMENT_HEADER_LEN;
    let bytes = frame.bytes_mut();
    bytes.get(at + FRAGMENT_HEADER_LEN..end)?;
    put(bytes, said, [following])?;
    put(bytes, l3 + PAYLOAD_LEN, u16::try_from(payload_len).ok()?.to_be_bytes())?;
    bytes.copy_within(at + FRAGMENT_HEADER_LEN..end, at);
    // Only ever shorter than it was, which always works.
    frame.set_len(end - FRAGMENT_HEADER_LEN);
    Some(())
}

/// Takes one off the hop limit. Answers `false`, and changes nothing, where it is 0 or 1: the
/// packet must not be forwarded.
#[inline]
pub fn decrement_hop_limit(frame: &mut [u8], packet: &Packet) -> bool {
    match frame.get_mut(usize::from(packet.l3_offset) + HOP_LIMIT) {
        Some(hop_limit) if *hop_limit > 1 => {
            *hop_limit -= 1;
            true
        }
        _ => false,
    }
}

/// What a header of the director's own says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub src: Addr,
    pub dst: Addr,
    pub protocol: Protocol,
    pub traffic_class: u8,
    pub hop_limit: u8,
    /// Bytes behind the header.
    pub payload_len: u16,
}

/// Writes a header without extensions and with flow label 0 at `l3`.
pub(crate) fn write(frame: &mut [u8], l3: usize, header: Header) -> Option<()> {
    let [len0, len1] = header.payload_len.to_be_bytes();
    let class = header.traffic_class;
    let protocol = header.protocol.number();
    let fixed = [0x60 | class >> 4, class << 4, 0, 0, len0, len1, protocol, header.hop_limit];
    put(frame, l3 + DST, header.dst.number().to_be_bytes())?;
    put(frame, l3 + SRC, header.src.number().to_be_bytes())?;
    put(frame, l3, fixed)
}
