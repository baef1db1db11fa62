//! Ethernet II: MAC addresses, EtherTypes, and the twelve bytes that direct routing rewrites.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use super::field::put;
use super::packet::Vlan;
use crate::port::Frame;

/// Bytes of an Ethernet header without VLAN tags.
pub const HEADER_LEN: usize = 14;
/// Bytes of one 802.1Q or 802.1ad tag (TPID and TCI).
pub const TAG_LEN: usize = 4;
/// EtherType of IPv4.
pub const TYPE_IPV4: u16 = 0x0800;
/// EtherType of ARP.
pub const TYPE_ARP: u16 = 0x0806;
/// EtherType of IPv6.
pub const TYPE_IPV6: u16 = 0x86DD;
/// EtherType of an 802.1Q (customer) tag.
pub const TYPE_VLAN: u16 = 0x8100;
/// EtherType of an 802.1ad (service) tag.
pub const TYPE_SERVICE_VLAN: u16 = 0x88A8;

mod field {
    use super::Range;

    pub const DESTINATION: Range<usize> = 0..6;
    pub const SOURCE: Range<usize> = 6..12;
}

/// A 48-bit Ethernet address.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Every station on the segment.
    pub const BROADCAST: Self = Self([0xFF; 6]);
    /// All zeros: no station; ARP writes it for "not known yet".
    pub const ZERO: Self = Self([0; 6]);

    /// Whether this is a group address; broadcast is one.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        let [first, ..] = self.0;
        first & 1 == 1
    }

    /// Whether this names one station: neither a group nor all zeros.
    #[inline]
    pub const fn is_unicast(self) -> bool {
        let [a, b, c, d, e, f] = self.0;
        !self.is_multicast() && (a | b | c | d | e | f) != 0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// A text that is not a MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAMac;

impl fmt::Display for NotAMac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "not a MAC address: write six bytes in hexadecimal with colons, as 02:00:00:00:00:01",
        )
    }
}

impl std::error::Error for NotAMac {}

impl FromStr for Mac {
    type Err = NotAMac;

    /// Reads six pairs of hexadecimal digits between colons or between hyphens.
    fn from_str(text: &str) -> Result<Self, NotAMac> {
        let separator = if text.contains('-') { '-' } else { ':' };
        let mut parts = text.split(separator);
        let mut bytes = [0; 6];
        for byte in &mut bytes {
            let part = parts.next().ok_or(NotAMac)?;
            // from_str_radix alone would take "+1" for a byte.
            if part.len() != 2 || !part.bytes().all(|digit| digit.is_ascii_hexdigit()) {
                return Err(NotAMac);
            }
            *byte = u8::from_str_radix(part, 16).map_err(|_| NotAMac)?;
        }
        if parts.next().is_some() { Err(NotAMac) } else { Ok(Self(bytes)) }
    }
}

/// The station the frame is addressed to; `None` where the frame is shorter than that.
#[inline]
pub fn destination(frame: &[u8]) -> Option<Mac> {
    frame.get(field::DESTINATION)?.try_into().ok().map(Mac)
}

/// The station that sent the frame; `None` where the frame is shorter than that.
#[inline]
pub fn source(frame: &[u8]) -> Option<Mac> {
    frame.get(field::SOURCE)?.try_into().ok().map(Mac)
}

/// Writes both MAC addresses and nothing else. Answers `false`, and changes nothing,
/// where the frame has no room for them.
#[inline]
pub fn set_macs(frame: &mut [u8], destination: Mac, source: Mac) -> bool {
    let Some(macs) = frame.first_chunk_mut::<12>() else { return false };
    let [d0, d1, d2, d3, d4, d5] = destination.0;
    let [s0, s1, s2, s3, s4, s5] = source.0;
    *macs = [d0, d1, d2, d3, d4, d5, s0, s1, s2, s3, s4, s5];
    true
}

/// Addresses the frame back to its sender, with `own` as the new source.
/// Answers `false`, and changes nothing, where the frame is too short.
#[inline]
pub fn reflect(frame: &mut [u8], own: Mac) -> bool {
    match source(frame) {
        Some(sender) => set_macs(frame, sender, own),
        None => false,
    }
}

/// Makes the frame one of the director's own: MACs, VLAN tag, EtherType, and `len` zero bytes, which
/// begin at the offset that is returned. `None`, and nothing changed, where there is no room.
pub(super) fn begin(
    frame: &mut impl Frame,
    vlan: Vlan,
    destination: Mac,
    own: Mac,
    ethertype: u16,
    len: usize,
) -> Option<usize> {
    let l3 = if vlan.tci().is_some() { HEADER_LEN + TAG_LEN } else { HEADER_LEN };
    if !frame.set_len(l3 + len) {
        return None;
    }
    let bytes = frame.bytes_mut();
    bytes.fill(0);
    set_macs(bytes, destination, own);
    if let Some(tci) = vlan.tci() {
        put(bytes, HEADER_LEN - 2, TYPE_VLAN.to_be_bytes())?;
        put(bytes, HEADER_LEN, tci.to_be_bytes())?;
    }
    put(bytes, l3 - 2, ethertype.to_be_bytes())?;
    Some(l3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mac_prints_as_it_is_read() {
        let mac: Mac = "0a:00:00:fe:DC:01".parse().unwrap();
        assert_eq!(mac, Mac([0x0A, 0, 0, 0xFE, 0xDC, 1]));
        assert_eq!(mac.to_string(), "0a:00:00:fe:dc:01");
        assert_eq!("0a-00-00-fe-dc-01".parse(), Ok(mac));
    }

    #[test]
    fn what_is_not_six_bytes_is_not_a_mac() {
        for text in [
            "",
            "02:00:00:00:00",
            "02:00:00:00:00:01:02",
            "2:0:0:0:0:1",
            "+2:00:00:00:00:01",
            "02:00:00:00:00:0g",
            "02:00-00:00:00:01",
            "020000000001",
            "02:00:00:00:00:é",
        ] {
            assert_eq!(text.parse::<Mac>(), Err(NotAMac), "{text}");
        }
    }

    #[test]
    fn group_addresses_are_known_by_their_lowest_bit() {
        assert!(Mac::BROADCAST.is_multicast());
        assert!(Mac([0x33, 0x33, 0, 0, 0, 1]).is_multicast());
        assert!(!Mac([0x02, 0, 0, 0, 0, 1]).is_multicast());
        assert!(Mac([0x02, 0, 0, 0, 0, 1]).is_unicast());
        assert!(!Mac::ZERO.is_unicast());
        assert!(!Mac::BROADCAST.is_unicast());
    }

    #[test]
    fn writing_the_macs_changes_twelve_bytes() {
        let mut frame: Vec<u8> = (0..40).collect();
        assert!(set_macs(&mut frame, Mac([0xAA; 6]), Mac([0xBB; 6])));
        assert_eq!(frame[..6], [0xAA; 6]);
        assert_eq!(frame[6..12], [0xBB; 6]);
        assert_eq!(frame[12..], (12..40).collect::<Vec<u8>>());
        assert!(reflect(&mut frame, Mac([0xCC; 6])));
        assert_eq!(destination(&frame), Some(Mac([0xBB; 6])));
        assert_eq!(source(&frame), Some(Mac([0xCC; 6])));
    }

    #[test]
    fn a_frame_without_room_for_macs_stays_as_it_is() {
        let mut frame = [7; 11];
        assert!(!set_macs(&mut frame, Mac::BROADCAST, Mac::BROADCAST));
        assert!(!reflect(&mut frame, Mac::BROADCAST));
        assert_eq!(frame, [7; 11]);
        assert_eq!(source(&frame), None);
    }
}
