//! SCTP common header and the types of the first chunks (RFC 9260).

use super::packet::{NO_CHUNK, Packet};

/// Bytes of the common header.
pub const HEADER_LEN: usize = 12;
/// Offset of the source port.
pub const SRC_PORT: usize = 0;
/// Offset of the destination port.
pub const DST_PORT: usize = 2;
/// Offset of the CRC32c, least significant byte first.
pub const CHECKSUM: usize = 8;
/// Bytes of a chunk's type, flags and length.
const CHUNK_HEADER_LEN: usize = 4;

/// Reads the ports and the first two chunks' types; `None` where the common header and the first
/// chunk's header are not all there.
#[inline]
pub(super) fn read(sctp: &[u8], packet: &mut Packet) -> Option<()> {
    let [s0, s1, d0, d1, ..] = *sctp.first_chunk::<{ HEADER_LEN + CHUNK_HEADER_LEN }>()?;
    packet.src_port = u16::from_be_bytes([s0, s1]);
    packet.dst_port = u16::from_be_bytes([d0, d1]);
    let (first, after) = chunk(sctp.get(HEADER_LEN..)?)?;
    packet.sctp_chunks = [first, chunk(after).map_or(NO_CHUNK, |(second, _)| second)];
    Some(())
}

/// The type of the chunk at the start of `chunks`, and the chunks behind it.
#[inline]
fn chunk(chunks: &[u8]) -> Option<(u8, &[u8])> {
    let [kind, _, len0, len1] = *chunks.first_chunk::<CHUNK_HEADER_LEN>()?;
    let len = usize::from(u16::from_be_bytes([len0, len1]));
    let after = if len < CHUNK_HEADER_LEN { None } else { chunks.get(len.next_multiple_of(4)..) };
    Some((kind, after.unwrap_or_default()))
}
