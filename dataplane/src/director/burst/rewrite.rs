//! Forwarding in place: the MAC addresses, the tag, the TTL and its checksum.

use super::hops::Hop;
use super::read::TAGGED;
use crate::wire::ethernet::HEADER_LEN;
use crate::wire::{ipv4, ipv6};

/// Writes a plain IPv4 frame's way to its real server. `false`, and nothing is written, for a
/// frame that is shorter than `HEAD`, which none is that was read.
#[inline(always)]
pub(super) fn route_v4<const L3: usize, const HEAD: usize>(frame: &mut [u8], hop: Hop<'_>) -> bool {
    match hop.takes_ttl() {
        true => route::<L3, HEAD, true>(frame, hop),
        false => route::<L3, HEAD, false>(frame, hop),
    }
}

/// [`route_v4`] to a hop of which it is known whether it takes one off the `TTL`.
#[inline(always)]
pub(super) fn route<const L3: usize, const HEAD: usize, const TTL: bool>(
    frame: &mut [u8],
    hop: Hop<'_>,
) -> bool {
    let Some(head) = frame.first_chunk_mut::<HEAD>() else { return false };
    if !write_link::<L3, HEAD>(head, hop) {
        return false;
    }
    if TTL
        && let Some(place) = head.get_mut(L3 + ipv4::TTL..).and_then(|rest| rest.first_chunk_mut())
    {
        take_ttl(place);
    }
    true
}

/// Writes a plain IPv6 frame's way to its real server, as [`route_v4`] does.
#[inline(always)]
pub(super) fn route_v6<const L3: usize, const HEAD: usize>(frame: &mut [u8], hop: Hop<'_>) -> bool {
    match hop.takes_ttl() {
        true => route_v6_by::<L3, HEAD, true>(frame, hop),
        false => route_v6_by::<L3, HEAD, false>(frame, hop),
    }
}

/// [`route_v6`] to a hop of which it is known whether it takes one off the `HOPS` that are left.
#[inline(always)]
pub(super) fn route_v6_by<const L3: usize, const HEAD: usize, const HOPS: bool>(
    frame: &mut [u8],
    hop: Hop<'_>,
) -> bool {
    let Some(head) = frame.first_chunk_mut::<HEAD>() else { return false };
    if !write_link::<L3, HEAD>(head, hop) {
        return false;
    }
    if HOPS && let Some(hops) = head.get_mut(L3 + ipv6::HOP_LIMIT) {
        *hops = hops.wrapping_sub(1);
    }
    true
}

/// The MAC addresses, and the tag where it changes.
#[inline(always)]
pub(super) fn write_link<const L3: usize, const HEAD: usize>(
    head: &mut [u8; HEAD],
    hop: Hop<'_>,
) -> bool {
    let Some(macs) = head.first_chunk_mut() else { return false };
    hop.write_macs(macs);
    if L3 == TAGGED
        && let Some(tag) = hop.tag()
        && let Some(place) = head.get_mut(HEADER_LEN - 2..).and_then(|rest| rest.first_chunk_mut())
    {
        *place = tag;
    }
    true
}

/// Takes one off a TTL above 0, which is followed by the protocol and the checksum.
#[inline(always)]
pub(super) fn take_ttl(bytes: &mut [u8; 4]) {
    // The lowest byte is the TTL, the upper half the checksum with its bytes swapped, as is the
    // word that loses one: RFC 1624's equation 3 holds in either byte order (RFC 1071, 2(B)).
    // In one's complement the checksum gains one, which passes over 0xFFFF: where two more
    // are too many, one is added after the overflow.
    let word = u32::from_le_bytes(*bytes);
    let (passed, passes) = word.overflowing_add(0x1_FFFF);
    let taken = std::hint::select_unpredictable(passes, passed, word.wrapping_add(0xFFFF));
    *bytes = taken.to_le_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::checksum;

    #[test]
    fn the_checksum_follows_the_ttl_whatever_both_are() {
        for (ttl, protocol) in [(1, 6), (2, 17), (64, 0), (255, 255), (255, 0), (1, 255)] {
            for rest in 0..=u16::MAX {
                let [c, d] = rest.to_be_bytes();
                let sum = checksum::of(&[ttl, protocol, c, d]);
                let [high, low] = sum.to_be_bytes();
                let mut bytes = [ttl, protocol, high, low];
                take_ttl(&mut bytes);
                let wanted = checksum::of(&[ttl - 1, protocol, c, d]).to_be_bytes();
                assert_eq!(bytes, [ttl - 1, protocol, wanted[0], wanted[1]], "{rest:#x}");
            }
        }
    }
}
