//! UDP headers (RFC 768).

use super::packet::{Fragment, Packet};

/// Bytes of a header.
pub const HEADER_LEN: usize = 8;
/// Offset of the source port.
pub const SRC_PORT: usize = 0;
/// Offset of the destination port.
pub const DST_PORT: usize = 2;
/// Offset of the length of header and data.
pub const LEN: usize = 4;
/// Offset of the checksum.
pub const CHECKSUM: usize = 6;

/// Reads the ports; `None` where the header is not all there, or states a length that is
/// shorter than the header or longer than the packet.
#[inline]
pub(super) fn read(datagram: &[u8], packet: &mut Packet) -> Option<()> {
    let [s0, s1, d0, d1, len0, len1, _, _] = *datagram.first_chunk::<HEADER_LEN>()?;
    packet.src_port = u16::from_be_bytes([s0, s1]);
    packet.dst_port = u16::from_be_bytes([d0, d1]);
    let len = usize::from(u16::from_be_bytes([len0, len1]));
    // A first fragment holds only the beginning of the datagram.
    let fits = len <= datagram.len() || packet.fragment != Fragment::Whole;
    (len >= HEADER_LEN && fits).then_some(())
}
