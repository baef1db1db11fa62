//! IPv4 headers (RFC 791).

use super::addr::{Addr, Family};
use super::checksum::{self, Change};
use super::field::{bytes_at, put, u16_at, u32_at};
use super::packet::{Fragment, Malformed, NO_CHUNK, Packet, Protocol, TcpFlags, Vlan};

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Offset of the type of service.
pub const TOS: usize = 1;
/// Offset of the total length.
pub const TOTAL_LEN: usize = 2;
/// Offset of the word with flags and fragment offset.
pub const FLAGS: usize = 6;
/// Offset of the identification, which the fragments of one packet share.
pub const IDENTIFICATION: usize = 4;
/// Offset of the time to live.
pub const TTL: usize = 8;
/// Offset of the protocol.
pub const PROTOCOL: usize = 9;
/// Offset of the header checksum.
pub const CHECKSUM: usize = 10;
/// Offset of the source address.
pub const SRC: usize = 12;
/// Offset of the destination address.
pub const DST: usize = 16;

pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1FFF;

/// Reads the header at `l3`, up to and not including the transport header. `whole` demands that
/// the frame holds all that the total length states; a quoted packet need not be there to its end.
#[inline]
pub(super) fn read(frame: &[u8], l3: usize, vlan: Vlan, whole: bool) -> Result<Packet, Malformed> {
    let header = bytes_at::<HEADER_LEN>(frame, l3).ok_or(Malformed::Truncated)?;
    let [version_and_len, tos, len0, len1, id0, id1, place0, place1, ttl, protocol, ..] = *header;
    let (Some(src), Some(dst)) = (u32_at(header, SRC), u32_at(header, DST)) else {
        return Err(Malformed::Truncated);
    };
    let header_len = u16::from(version_and_len & 0x0F) * 4;
    let total_len = u16::from_be_bytes([len0, len1]);
    if version_and_len >> 4 != 4 || header_len < HEADER_LEN as u16 || total_len < header_len {
        return Err(Malformed::BadIpHeader);
    }
    let needed = if whole { total_len } else { header_len };
    if frame.len() < l3 + usize::from(needed) {
        return Err(Malformed::Truncated);
    }
    let src = Addr::v4(src);
    if src.is_multicast() || src.is_broadcast() {
        return Err(Malformed::BadAddress);
    }
    let protocol = Protocol::of(protocol, Family::V4);
    let place = u16::from_be_bytes([place0, place1]);
    let id = u32::from(u16::from_be_bytes([id0, id1]));
    let fragment = match place & (MORE_FRAGMENTS | OFFSET) {
        0 => Fragment::Whole,
        MORE_FRAGMENTS => Fragment::First { id },
        place => {
            Fragment::Later { more: place & MORE_FRAGMENTS != 0, offset: (place & OFFSET) << 3, id }
        }
    };
    if whole {
        check_fragment(fragment, protocol, header_len, total_len - header_len)?;
    }
    Ok(Packet {
        src,
        dst: Addr::v4(dst),
        fragment,
        l3_offset: l3 as u16,
        l4_offset: l3 as u16 + header_len,
        total_len,
        src_port: 0,
        dst_port: 0,
        vlan,
        protocol,
        family: Family::V4,
        ttl,
        tos,
        dont_fragment: place & DONT_FRAGMENT != 0,
        tcp_flags: TcpFlags::empty(),
        icmp_type: 0,
        icmp_code: 0,
        sctp_chunks: [NO_CHUNK; 2],
    })
}

/// As [`read`], also of fragments that cut a TCP header in pieces.
pub(super) fn read_piece(frame: &[u8], l3: usize, vlan: Vlan) -> Result<Packet, Malformed> {
    let packet = read(frame, l3, vlan, false)?;
    if frame.len() < packet.end() {
        return Err(Malformed::Truncated);
    }
    let header_len = packet.l4_offset - packet.l3_offset;
    let any = Protocol::Other(u8::MAX);
    check_fragment(packet.fragment, any, header_len, packet.total_len - header_len)?;
    Ok(packet)
}

/// Refuses fragments that no honest sender makes. `head_len` is what comes before the fragmented
/// part in the reassembled packet, `len` the bytes of payload; shared with IPv6.
#[inline]
pub(super) fn check_fragment(
    fragment: Fragment,
    protocol: Protocol,
    head_len: u16,
    len: u16,
) -> Result<(), Malformed> {
    let (offset, more) = match fragment {
        Fragment::Whole => return Ok(()),
        Fragment::First { .. } => (0, true),
        Fragment::Later { more, offset, .. } => (offset, more),
    };
    let end = u32::from(head_len) + u32::from(offset) + u32::from(len);
    if len == 0 || end > u32::from(u16::MAX) || (more && !len.is_multiple_of(8)) {
        return Err(Malformed::BadFragment);
    }
    // RFC 3128 names offset 8; a fragment at 16 would overwrite the TCP checksum.
    if protocol == Protocol::Tcp && offset != 0 && usize::from(offset) < super::tcp::HEADER_LEN {
        return Err(Malformed::TinyFragment);
    }
    Ok(())
}

/// Takes one off the time to live and updates the header checksum. Answers `false`, and changes
/// nothing, where it is 0 or 1: the packet must not be forwarded.
#[inline]
pub fn decrement_ttl(frame: &mut [u8], packet: &Packet) -> bool {
    let l3 = usize::from(packet.l3_offset);
    let Some(header) = frame.get_mut(l3..).and_then(|bytes| bytes.first_chunk_mut::<HEADER_LEN>())
    else {
        return false;
    };
    let [.., ttl, protocol, check0, check1, _, _, _, _, _, _, _, _] = header;
    if *ttl <= 1 {
        return false;
    }
    let old = u16::from_be_bytes([*ttl, *protocol]);
    *ttl -= 1;
    let change = Change::NONE.word(old, u16::from_be_bytes([*ttl, *protocol]));
    let updated = change.apply(u16::from_be_bytes([*check0, *check1]));
    [*check0, *check1] = updated.to_be_bytes();
    true
}

/// Whether the header checksum is right. [`crate::wire::parse`] leaves this to the NIC or to the
/// caller: a router must drop what fails (RFC 1812, 5.2.2).
#[inline]
pub fn checksum_holds(frame: &[u8], packet: &Packet) -> bool {
    let header = usize::from(packet.l3_offset)..usize::from(packet.l4_offset);
    frame.get(header).is_some_and(|header| checksum::Sum::ZERO.bytes(header).holds())
}

/// What a header of the director's own says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Header {
    pub src: Addr,
    pub dst: Addr,
    pub protocol: Protocol,
    pub tos: u8,
    pub ttl: u8,
    /// Bytes behind the header.
    pub payload_len: u16,
    /// What its fragments would have in common; `None` where it must not become fragments.
    pub identification: Option<u16>,
}

/// Writes a header without options at `l3`. Where the packet is never to become fragments its
/// identification may be 0 (RFC 6864, 4.1).
pub(crate) fn write(frame: &mut [u8], l3: usize, header: Header) -> Option<()> {
    let total_len = header.payload_len.checked_add(HEADER_LEN as u16)?;
    let [len0, len1] = total_len.to_be_bytes();
    let [id0, id1] = header.identification.unwrap_or(0).to_be_bytes();
    let place = if header.identification.is_none() { DONT_FRAGMENT } else { 0 };
    let [df0, df1] = place.to_be_bytes();
    let [s0, s1, s2, s3] = header.src.v4_number().to_be_bytes();
    let [d0, d1, d2, d3] = header.dst.v4_number().to_be_bytes();
    let mut bytes = [
        0x45,
        header.tos,
        len0,
        len1,
        id0,
        id1,
        df0,
        df1,
        header.ttl,
        header.protocol.number(),
        0,
        0,
        s0,
        s1,
        s2,
        s3,
        d0,
        d1,
        d2,
        d3,
    ];
    let checksum = checksum::of(&bytes).to_be_bytes();
    put(&mut bytes, CHECKSUM, checksum)?;
    put(frame, l3, bytes)
}

/// The header's checksum field; `None` past the end.
#[inline]
pub fn checksum_at(frame: &[u8], packet: &Packet) -> Option<u16> {
    u16_at(frame, usize::from(packet.l3_offset) + CHECKSUM)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Parsed, parse};

    fn frame(ttl: u8, protocol: u8) -> (Vec<u8>, Packet) {
        let mut frame = vec![0; 14 + 20 + 40];
        frame[12..14].copy_from_slice(&[8, 0]);
        let header = Header {
            identification: None,
            src: Addr::v4(0xC612_0005),
            dst: Addr::v4(0xC612_FF01),
            protocol: Protocol::of(protocol, Family::V4),
            tos: 0,
            ttl,
            payload_len: 40,
        };
        write(&mut frame, 14, header).unwrap();
        frame[14 + 20 + 5] = 40; // a UDP length that fits
        frame[14 + 20 + 12] = 0x50; // a TCP header length that fits
        let Parsed::Packet(packet) = parse(&frame) else { panic!("{:?}", parse(&frame)) };
        (frame, packet)
    }

    #[test]
    fn every_ttl_with_every_protocol_is_decremented_with_its_checksum() {
        for protocol in 0..=255 {
            for ttl in 2..=255 {
                let (mut bytes, packet) = frame(ttl, protocol);
                assert!(decrement_ttl(&mut bytes, &packet));
                assert_eq!(bytes, frame(ttl - 1, protocol).0, "ttl {ttl}, protocol {protocol}");
            }
        }
    }

    #[test]
    fn a_ttl_of_zero_or_one_stays() {
        for ttl in [0, 1] {
            let (mut bytes, packet) = frame(ttl, 6);
            assert!(!decrement_ttl(&mut bytes, &packet));
            assert_eq!(bytes, frame(ttl, 6).0);
        }
    }

    #[test]
    fn the_ttl_update_is_right_for_every_header_checksum() {
        for id in 0..=u16::MAX {
            let (mut bytes, packet) = frame(64, 17);
            bytes[18..20].copy_from_slice(&id.to_be_bytes());
            bytes[24..26].fill(0);
            let sum = checksum::of(&bytes[14..34]);
            bytes[24..26].copy_from_slice(&sum.to_be_bytes());
            assert!(decrement_ttl(&mut bytes, &packet));
            assert!(checksum_holds(&bytes, &packet), "{id:#x}");
            assert_ne!(checksum_at(&bytes, &packet), Some(0xFFFF), "{id:#x}");
        }
    }

    #[test]
    fn a_flipped_bit_fails_the_header_checksum() {
        let (mut bytes, packet) = frame(64, 6);
        assert!(checksum_holds(&bytes, &packet));
        bytes[20] ^= 1;
        assert!(!checksum_holds(&bytes, &packet));
    }
}
