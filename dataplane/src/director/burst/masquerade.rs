//! Masquerading in place: the way, the TTL, one end's address and port, and both checksums, of a
//! plain packet whose header is read and written in words that are as wide as may be.

use super::hops::Hop;
use super::read::eight;
use super::rewrite::write_link;
use crate::forward::masq::End;
use crate::wire::field::{put, u16_at};
use crate::wire::{ipv4, tcp, udp};

/// What a TTL that loses one adds to the sum of its header in one's complement.
const TTL_LOST: u64 = 0xFFFE;

/// Sends a plain IPv4 frame on, one of its ends given another address and port, as
/// [`masq::rewrite`](crate::forward::masq::rewrite) does. `false`, and nothing is written, for a
/// frame that is shorter than `HEAD`, which none is that was read. `UDP`: of UDP, else of TCP.
#[inline(always)]
pub(super) fn masquerade_v4<const L3: usize, const HEAD: usize, const UDP: bool>(
    frame: &mut [u8],
    hop: Hop<'_>,
    end: End,
    (address, port): (u32, u16),
) -> bool {
    let Some(head) = frame.first_chunk_mut::<HEAD>() else { return false };
    // One's complement sums are the same in either byte order (RFC 1071, 2(B)): everything is
    // taken as it stands, the first byte lowest.
    let l4 = L3 + ipv4::HEADER_LEN;
    let checksum_at = l4 + if UDP { udp::CHECKSUM } else { tcp::CHECKSUM };
    // TTL 8, protocol 8, checksum 16, source 32; destination 32, ports of 16 bits.
    let (first, second) = (eight(head, L3 + ipv4::TTL), eight(head, L3 + ipv4::DST));
    let Some(checksum) = u16_at(head, checksum_at).map(u16::swap_bytes) else { return false };
    let (address, port) = (address.swap_bytes(), port.swap_bytes());
    let (old, old_port) = match end {
        End::Source => ((first >> 32) as u32, (second >> 32) as u16),
        End::Destination => (second as u32, (second >> 48) as u16),
    };
    let moved = u64::from(!old) + u64::from(address);
    let moved_port = u64::from(!old_port) + u64::from(port);
    let lost = if hop.takes_ttl() { TTL_LOST } else { 0 };
    let header_sum = folded(u64::from(!(first >> 16) as u16) + moved + lost);
    let sum = folded(u64::from(!checksum) + moved + moved_port);
    let checksum = match UDP {
        // None stays none, and a computed 0 is written as 0xFFFF (RFC 768).
        true if checksum == 0 => 0,
        true if sum == u16::MAX => u16::MAX,
        _ => !sum,
    };
    let first = first & !(0xFFFF << 16) | u64::from(!header_sum) << 16;
    let first = first - u64::from(hop.takes_ttl());
    let (first, second) = match end {
        End::Source => (
            first & u64::from(u32::MAX) | u64::from(address) << 32,
            second & !(0xFFFF << 32) | u64::from(port) << 32,
        ),
        End::Destination => {
            (first, second & 0xFFFF << 32 | u64::from(address) | u64::from(port) << 48)
        }
    };
    write_link::<L3, HEAD>(head, hop)
        && put(head, L3 + ipv4::TTL, first.to_le_bytes()).is_some()
        && put(head, L3 + ipv4::DST, second.to_le_bytes()).is_some()
        && put(head, checksum_at, checksum.to_le_bytes()).is_some()
}

/// A sum of few words, its carries added: 0 for 0 only.
#[inline(always)]
fn folded(sum: u64) -> u16 {
    let sum = (sum & 0xFFFF) + (sum >> 16 & 0xFFFF) + (sum >> 32);
    let sum = (sum & 0xFFFF) + (sum >> 16);
    ((sum & 0xFFFF) + (sum >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::read::{UNTAGGED, UNTAGGED_HEAD};
    use super::super::rewrite::take_ttl;
    use super::*;
    use crate::forward::masq::{self, Endpoint};
    use crate::wire::checksum::Change;
    use crate::wire::{Addr, Parsed, parse};

    fn frame(udp: bool, ends: ([u32; 2], [u16; 2]), ttl: u8, checksums: [u16; 2]) -> Vec<u8> {
        let ([src, dst], [from, to]) = ends;
        let mut bytes = vec![2; 12];
        bytes.extend([8, 0, 0x45, 0, 0, 46, 1, 2, 0x40, 0, ttl, if udp { 17 } else { 6 }]);
        bytes.extend(checksums[0].to_be_bytes());
        bytes.extend([src.to_be_bytes(), dst.to_be_bytes()].concat());
        bytes.extend([from.to_be_bytes(), to.to_be_bytes()].concat());
        let [high, low] = checksums[1].to_be_bytes();
        match udp {
            true => bytes.extend([0, 26, high, low]),
            false => bytes.extend([1, 2, 3, 4, 5, 6, 7, 8, 0x50, 0x10, 1, 0, high, low, 0, 0]),
        }
        bytes.resize(60, 0xEE);
        bytes
    }

    /// The two checksums are as they come: they need not be right to be followed.
    fn agrees<const UDP: bool>(
        ends: ([u32; 2], [u16; 2]),
        ttl: Option<u8>,
        checksums: [u16; 2],
        (end, to): (End, (u32, u16)),
    ) {
        let frame = frame(UDP, ends, ttl.unwrap_or(64), checksums);
        let words = [0, 0x0807_0605_0403_0201, 0x0C0B_0A09, u64::from(ttl.is_some()) << 24];
        let hop = Hop::of(&words);
        assert_eq!(hop.takes_ttl(), ttl.is_some());
        let mut written = frame.clone();
        assert!(masquerade_v4::<UNTAGGED, UNTAGGED_HEAD, UDP>(&mut written, hop, end, to));
        let mut expected = frame;
        let Parsed::Packet(packet) = parse(&expected) else { panic!("not a packet") };
        let to = Endpoint { address: Addr::v4(to.0), port: to.1 };
        masq::rewrite(&mut expected, &packet, end, to).unwrap();
        expected[..12].copy_from_slice(&[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
        if ttl.is_some() {
            take_ttl((&mut expected[22..26]).try_into().unwrap());
        }
        assert_eq!(written, expected);
    }

    /// A checksum, often one at the edge.
    fn checksum() -> impl Strategy<Value = u16> {
        prop_oneof![Just(0), Just(u16::MAX), Just(u16::MAX - 1), any::<u16>(), any::<u16>()]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        #[test]
        fn both_ends_are_rewritten_as_on_the_reference_path(
            addresses in prop::array::uniform2(1_u32..0xE000_0000),
            ports in prop::array::uniform2(1_u16..),
            ttl in prop::option::of(2_u8..),
            checksums in prop::array::uniform2(checksum()),
            to in (1_u32..0xE000_0000, 1_u16..),
            source in any::<bool>(),
            to_zero in any::<bool>(),
        ) {
            let end = if source { End::Source } else { End::Destination };
            let at = usize::from(!source);
            let change = Change::NONE.addr(Addr::v4(addresses[at]), Addr::v4(to.0));
            let checksum = change.word(ports[at], to.1).apply(checksums[1]);
            // Often the port with which the sum comes to zero: one in 65,536 does by itself.
            let to = match to.1.overflowing_add(checksum) {
                (port, carried) if to_zero => (to.0, port + u16::from(carried)),
                _ => to,
            };
            agrees::<false>((addresses, ports), ttl, checksums, (end, to));
            agrees::<true>((addresses, ports), ttl, checksums, (end, to));
        }
    }
}
