//! A received frame: whose it is, and to which server it was sent.

use dataplane::wire::ethernet::Mac;
use dataplane::wire::field::{bytes_at, u16_at};

use super::stamp::{Place, Stamp};

/// Headers that are looked through at the most, outermost first.
const LAYERS: usize = 4;
const ETHERTYPE_V4: u16 = 0x0800;
const ETHERTYPE_V6: u16 = 0x86DD;
const GUE_PORT: u16 = 6080;

/// Where a frame went: its MAC address and the outermost IP address. Of servers that are
/// reached directly the first tells them apart, of others the second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination {
    /// The MAC address.
    pub mac: Mac,
    /// The IP address's number; IPv4 in the lowest 32 bits.
    pub address: u128,
    /// Whether `address` is IPv6.
    pub v6: bool,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sight {
    /// Where it went.
    pub destination: Destination,
    /// What it says about itself.
    pub stamp: Stamp,
}

/// Reads a generated frame as it came out of the box: as it was, with other addresses, or in
/// a tunnel (IPIP, GRE, GUE). `None` for all other frames.
#[inline]
pub fn read(frame: &[u8]) -> Option<Sight> {
    let mac = Mac(*bytes_at(frame, 0)?);
    let (mut ethertype, mut at) = (u16_at(frame, 12)?, 14);
    while matches!(ethertype, 0x8100 | 0x88A8) {
        (ethertype, at) = (u16_at(frame, at + 2)?, at + 4);
    }
    let mut outermost = None;
    for _ in 0..LAYERS {
        let (protocol, destination, next) = network(frame, at, ethertype)?;
        let (address, v6) = *outermost.get_or_insert(destination);
        let place = match protocol {
            6 => Place::Tcp(
                next,
                next + usize::from(*bytes_at::<1>(frame, next + 12)?.first()? >> 4) * 4,
            ),
            17 => Place::Udp(next + 8),
            4 => {
                (ethertype, at) = (ETHERTYPE_V4, next);
                continue;
            }
            41 => {
                (ethertype, at) = (ETHERTYPE_V6, next);
                continue;
            }
            47 => {
                (ethertype, at) = gre(frame, next)?;
                continue;
            }
            _ => return None,
        };
        if let Some(stamp) = Stamp::read(frame, place) {
            return Some(Sight { destination: Destination { mac, address, v6 }, stamp });
        }
        if protocol != 17 || u16_at(frame, next + 2)? != GUE_PORT {
            return None;
        }
        (ethertype, at) = gue(frame, next + 8)?;
    }
    None
}

/// An IP header's protocol, its destination (and whether that is IPv6), and where it ends.
#[inline]
fn network(frame: &[u8], at: usize, ethertype: u16) -> Option<(u8, (u128, bool), usize)> {
    match ethertype {
        ETHERTYPE_V4 => {
            let head: &[u8; 20] = bytes_at(frame, at)?;
            let [first, _, _, _, _, _, _, _, _, protocol, ..] = *head;
            let [.., a, b, c, d] = *head;
            let address = u128::from(u32::from_be_bytes([a, b, c, d]));
            Some((protocol, (address, false), at + usize::from(first & 0x0F) * 4))
        }
        ETHERTYPE_V6 => {
            let [_, _, _, _, _, _, protocol, _] = *bytes_at::<8>(frame, at)?;
            let address = u128::from_be_bytes(*bytes_at(frame, at + 24)?);
            Some((protocol, (address, true), at + 40))
        }
        _ => None,
    }
}

/// What is in a GRE packet (RFC 2784, RFC 2890), and where.
fn gre(frame: &[u8], at: usize) -> Option<(u16, usize)> {
    let flags = u16_at(frame, at)?;
    let optional = [0x8000, 0x2000, 0x1000].into_iter().filter(|flag| flags & flag != 0).count();
    Some((u16_at(frame, at + 2)?, at + 4 + 4 * optional))
}

/// What is in a GUE packet (the kernel's foo-over-udp, variant 0), and where.
fn gue(frame: &[u8], at: usize) -> Option<(u16, usize)> {
    let [first, protocol] = *bytes_at(frame, at)?;
    let ethertype = match protocol {
        4 => ETHERTYPE_V4,
        41 => ETHERTYPE_V6,
        _ => return None,
    };
    Some((ethertype, at + 4 + usize::from(first & 0x1F) * 4))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::flows::Kind;
    use crate::generate::forge::Forge;
    use crate::generate::forge::tests::offer;
    use crate::generate::offer::Offer;
    use crate::generate::stamp::Sequence;
    use dataplane::port::Frame as _;
    use dataplane::port::memory::MemoryFrame;
    use dataplane::wire::Protocol;

    fn frame(offer: &Offer) -> Vec<u8> {
        let mut frame = MemoryFrame::new(&[0; 128]);
        let mut forge = Forge::new(offer, Mac([2, 0, 0, 0, 0, 1]));
        assert!(forge.write(&mut frame, 7, Sequence(5), Kind::Following, 3));
        frame.bytes().to_vec()
    }

    fn around(inner: &[u8], protocol: u8, between: &[u8]) -> Vec<u8> {
        let mut frame = inner[..12].to_vec();
        frame.extend([0x08, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 64, protocol, 0, 0]);
        frame.extend([192, 0, 2, 1, 192, 0, 2, 33]);
        frame.extend(between);
        frame.extend(&inner[14..]);
        frame
    }

    #[test]
    fn a_frame_is_known_plain_and_in_every_tunnel() {
        let stamp = Stamp { flow: 7, sequence: Sequence(5), time: 3 };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            let plain = frame(&Offer { protocol, ..offer() });
            let seen = read(&plain).unwrap();
            assert_eq!((seen.stamp, seen.destination.mac), (stamp, offer().to));
            assert_eq!(seen.destination.address, 0xC612_0001);
            let gue = [0x80, 0, 0x17, 0xC0, 0, 0, 0, 0, 1, 4, 0, 0, 9, 9, 9, 9];
            let gre = [0x80, 0, 8, 0, 0, 0, 0, 0];
            for (protocol, between) in [(4, &[][..]), (17, &gue), (47, &gre)] {
                let seen = read(&around(&plain, protocol, between)).unwrap();
                assert_eq!((seen.stamp, seen.destination.address), (stamp, 0xC000_0221));
            }
            let mut tagged = plain[..12].to_vec();
            tagged.extend([0x81, 0, 0, 5]);
            tagged.extend(&plain[12..]);
            assert_eq!(read(&tagged).unwrap().stamp, stamp);
        }
    }

    #[test]
    fn other_frames_are_not_taken_for_generated_ones() {
        let mut other = frame(&offer());
        other[54] ^= 1;
        assert_eq!(read(&other), None);
        let plain = frame(&offer());
        for length in 0..plain.len() {
            let _ = read(&plain[..length]);
        }
        assert_eq!(read(&around(&around(&plain, 1, &[]), 4, &[])), None);
    }
}
