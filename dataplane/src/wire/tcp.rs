//! TCP headers, and the reset that answers a segment nobody takes (RFC 9293).

use super::answer::{self, Unanswerable};
use super::checksum;
use super::ethernet::Mac;
use super::field::{bytes_at, put, u32_at};
use super::packet::{Fragment, Packet, Protocol, TcpFlags};
use crate::port::Frame;

/// Bytes of a header without options.
pub const HEADER_LEN: usize = 20;
/// Offset of the source port; the destination port is two bytes behind it.
pub const SRC_PORT: usize = 0;
/// Offset of the destination port.
pub const DST_PORT: usize = 2;
/// Offset of the sequence number.
pub const SEQUENCE: usize = 4;
/// Offset of the acknowledgement number.
pub const ACKNOWLEDGEMENT: usize = 8;
/// Offset of the flags.
pub const FLAGS: usize = 13;
/// Offset of the checksum.
pub const CHECKSUM: usize = 16;

/// The congestion bits of a type of service or traffic class (RFC 3168, 5).
const ECN: u8 = 0x03;

/// Reads ports and flags; `None` where the header is not all there.
#[inline]
pub(super) fn read(segment: &[u8], packet: &mut Packet) -> Option<()> {
    let [s0, s1, d0, d1, _, _, _, _, _, _, _, _, len, flags, ..] =
        *segment.first_chunk::<HEADER_LEN>()?;
    let header_len = usize::from(len >> 4) * 4;
    packet.src_port = u16::from_be_bytes([s0, s1]);
    packet.dst_port = u16::from_be_bytes([d0, d1]);
    packet.tcp_flags = TcpFlags::from_bits_retain(flags);
    (header_len >= HEADER_LEN && header_len <= segment.len()).then_some(())
}

/// Makes the frame the reset that answers its segment, as a closed port does (RFC 9293, 3.10.7.1).
/// A reset is never answered, nor is a segment with a wrong checksum.
///
/// # Errors
/// [`Unanswerable`]; the frame is then as it was.
pub fn reset(frame: &mut impl Frame, packet: &Packet, own: Mac) -> Result<(), Unanswerable> {
    if packet.protocol != Protocol::Tcp || packet.tcp_flags.contains(TcpFlags::RST) {
        return Err(Unanswerable::WrongKind);
    }
    answer::check_endpoints(frame.bytes(), packet)?;
    if packet.fragment != Fragment::Whole {
        return Err(Unanswerable::Fragment);
    }
    if !checksum::transport_holds(frame.bytes(), packet) {
        return Err(Unanswerable::BadChecksum);
    }
    let header =
        reset_header(packet.transport(frame.bytes()), packet).ok_or(Unanswerable::WrongKind)?;
    let to = answer::Reply {
        from: packet.dst,
        protocol: Protocol::Tcp,
        // As Linux resets: in the segment's class, without its congestion bits.
        tos: packet.tos & !ECN,
        hop_limit: answer::HOP_LIMIT,
    };
    let at = answer::begin(frame, packet, own, to, HEADER_LEN)?;
    put(frame.bytes_mut(), at, header).ok_or(Unanswerable::NoRoom)
}

/// The header of the reset for `segment`, checksum included.
fn reset_header(segment: &[u8], packet: &Packet) -> Option<[u8; HEADER_LEN]> {
    let header = bytes_at::<HEADER_LEN>(segment, 0)?;
    let (sequence, acknowledgement, flags) = if packet.tcp_flags.contains(TcpFlags::ACK) {
        (u32_at(header, ACKNOWLEDGEMENT)?, 0, TcpFlags::RST)
    } else {
        let [.., len, _, _, _, _, _, _, _] = header;
        let data = segment.len().checked_sub(usize::from(len >> 4) * 4)?;
        let control = packet.tcp_flags.intersection(TcpFlags::SYN | TcpFlags::FIN).bits();
        let segment_len = data as u32 + control.count_ones();
        let next = u32_at(header, SEQUENCE)?.wrapping_add(segment_len);
        (0, next, TcpFlags::RST | TcpFlags::ACK)
    };
    let mut reset = [0; HEADER_LEN];
    put(&mut reset, SRC_PORT, packet.dst_port.to_be_bytes())?;
    put(&mut reset, DST_PORT, packet.src_port.to_be_bytes())?;
    put(&mut reset, SEQUENCE, sequence.to_be_bytes())?;
    put(&mut reset, ACKNOWLEDGEMENT, acknowledgement.to_be_bytes())?;
    put(&mut reset, FLAGS - 1, [0x50, flags.bits()])?;
    let checksum = checksum::transport(packet.dst, packet.src, Protocol::Tcp, &reset);
    put(&mut reset, CHECKSUM, checksum.to_be_bytes())?;
    Some(reset)
}
