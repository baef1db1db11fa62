//! Forwarding in place: the MAC addresses, the tag, the TTL and its checksum; under
//! masquerading, one end's address and port as well.

use super::hops::Hop;
use super::read::TAGGED;
use crate::forward::masq::End;
use crate::wire::checksum::Change;
use crate::wire::ethernet::HEADER_LEN;
use crate::wire::field::{put, u16_at, u32_at};
use crate::wire::{ipv4, ipv6, tcp, udp};

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

/// Gives one end of a plain IPv4 packet another address and port, as
/// [`masq::rewrite`](crate::forward::masq::rewrite) does. `udp`: of UDP, else of TCP.
#[inline]
pub(super) fn masquerade_v4<const L3: usize, const HEAD: usize>(
    frame: &mut [u8],
    end: End,
    (address, port): (u32, u16),
    udp: bool,
) -> bool {
    let Some(head) = frame.first_chunk_mut::<HEAD>() else { return false };
    let l4 = L3 + ipv4::HEADER_LEN;
    let (address_at, port_at) = match end {
        End::Source => (L3 + ipv4::SRC, l4 + udp::SRC_PORT),
        End::Destination => (L3 + ipv4::DST, l4 + udp::DST_PORT),
    };
    let checksum_at = l4 + if udp { udp::CHECKSUM } else { tcp::CHECKSUM };
    let parts = || {
        let (old, old_port) = (u32_at(head, address_at)?, u16_at(head, port_at)?);
        let checksum = u16_at(head, checksum_at)?;
        Some((old, old_port, u16_at(head, L3 + ipv4::CHECKSUM)?, checksum))
    };
    let Some((old, old_port, header_checksum, checksum)) = parts() else { return false };
    let moved = Change::NONE.word32(old, address);
    let change = moved.word(old_port, port);
    let checksum = if udp { change.apply_udp(checksum) } else { change.apply(checksum) };
    let written = [
        put(head, address_at, address.to_be_bytes()),
        put(head, port_at, port.to_be_bytes()),
        put(head, L3 + ipv4::CHECKSUM, moved.apply(header_checksum).to_be_bytes()),
        put(head, checksum_at, checksum.to_be_bytes()),
    ];
    written.iter().all(Option::is_some)
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
