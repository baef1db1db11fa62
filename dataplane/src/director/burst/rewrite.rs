//! Direct routing in place: the MAC addresses, the TTL and its checksum.

use super::hops::Hop;
use crate::wire::ipv4;

/// Where TTL, protocol and checksum stand in an IPv4 header.
const TTL: usize = ipv4::TTL;

/// Writes a plain IPv4 frame's way to its real server. `false`, and nothing is written, for a
/// frame that is shorter than its headers, which none is that was read.
#[inline(always)]
pub(super) fn route_v4<const L3: usize>(frame: &mut [u8], hop: Hop<'_>) -> bool {
    let Some((link, rest)) = frame.split_first_chunk_mut::<L3>() else { return false };
    let Some(head) = rest.first_chunk_mut::<{ ipv4::HEADER_LEN }>() else { return false };
    let Some(macs) = link.first_chunk_mut::<12>() else { return false };
    hop.write_macs(macs);
    let [ttl, _, high, low] = match head.get_mut(TTL..).and_then(|rest| rest.first_chunk_mut()) {
        Some(four) => four,
        None => return false,
    };
    if hop.takes_ttl() {
        *ttl = ttl.wrapping_sub(1);
        // RFC 1624, equation 3, for a word that becomes 0x0100 less.
        let sum = u32::from(!u16::from_be_bytes([*high, *low])) + 0xFEFF;
        let sum = !((sum & 0xFFFF) + (sum >> 16)) as u16;
        [*high, *low] = sum.to_be_bytes();
    }
    true
}
