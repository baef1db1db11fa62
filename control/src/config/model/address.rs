//! Addresses as a configuration writes them: with a prefix length, or a MAC.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;
use serde::ser::Serializer;

/// An address with the prefix length of its network, such as `198.18.10.1/24`.
///
/// The address may have host bits (a port's own address) or none (a route's target).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// `None` if the prefix length is above the family's 32 or 128.
    #[must_use]
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        (prefix <= bits(address)).then_some(Self { address, prefix })
    }

    /// The address with its host bits.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// The prefix length, 0 to 32 (IPv4) or 128 (IPv6).
    #[must_use]
    pub fn prefix(&self) -> u8 {
        self.prefix
    }

    /// The address without its host bits.
    #[must_use]
    pub fn network(&self) -> IpAddr {
        masked(self.address, self.prefix)
    }

    /// Whether `other` is of the same family and in this network.
    #[must_use]
    pub fn contains(&self, other: IpAddr) -> bool {
        self.address.is_ipv4() == other.is_ipv4() && masked(other, self.prefix) == self.network()
    }

    /// Whether the two networks have an address in common.
    #[must_use]
    pub fn overlaps(&self, other: &Cidr) -> bool {
        self.contains(other.network()) || other.contains(self.network())
    }

    /// The IPv4 broadcast address of the network; none for /31 and /32 (RFC 3021).
    #[must_use]
    pub fn broadcast(&self) -> Option<Ipv4Addr> {
        match self.network() {
            IpAddr::V4(network) if self.prefix < 31 => {
                Some(Ipv4Addr::from(u32::from(network) | (u32::MAX >> self.prefix)))
            }
            _ => None,
        }
    }
}

impl Cidr {
    /// Why no host of this network can have the address; `None` if one can. An IPv4 network
    /// keeps its first and its last address for itself and for everybody (RFC 1122, 3.2.1.3).
    #[must_use]
    pub fn no_host(&self, address: IpAddr) -> Option<&'static str> {
        let broadcast = self.broadcast()?;
        if address == self.network() {
            Some("is the address of the network itself")
        } else if address == broadcast {
            Some("is the broadcast address of its network")
        } else {
            None
        }
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Serialize for Cidr {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The number of bits in an address of this family.
fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The first `prefix` bits of the address, the rest zero.
fn masked(address: IpAddr, prefix: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask))
        }
    }
}

/// The MAC address of one station: neither zero nor a group address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mac([u8; 6]);

impl Mac {
    /// `None` for the zero address and for group addresses (lowest bit of the first byte).
    #[must_use]
    pub fn new(bytes: [u8; 6]) -> Option<Self> {
        let [first, ..] = bytes;
        (bytes != [0; 6] && first & 1 == 0).then_some(Self(bytes))
    }

    /// The six bytes as they stand on the wire.
    #[must_use]
    pub fn bytes(&self) -> [u8; 6] {
        self.0
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl Serialize for Mac {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(address: &str, prefix: u8) -> Cidr {
        Cidr::new(address.parse().unwrap(), prefix).unwrap()
    }

    #[test]
    fn a_network_holds_its_own_addresses_and_no_others() {
        let lan = cidr("198.18.10.1", 24);
        assert!(lan.contains("198.18.10.255".parse().unwrap()));
        assert!(!lan.contains("198.18.11.0".parse().unwrap()));
        assert!(!lan.contains("::1".parse().unwrap()));
        assert!(cidr("0.0.0.0", 0).contains("203.0.113.9".parse().unwrap()));
        assert!(cidr("2001:db8::", 64).contains("2001:db8::ffff".parse().unwrap()));
        assert!(!cidr("2001:db8::", 128).contains("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn a_wide_and_a_narrow_network_overlap_in_both_directions() {
        let (wide, narrow) = (cidr("198.18.0.0", 15), cidr("198.19.7.0", 24));
        assert!(wide.overlaps(&narrow) && narrow.overlaps(&wide));
        assert!(!narrow.overlaps(&cidr("198.19.8.0", 24)));
    }

    #[test]
    fn small_networks_have_no_broadcast_address() {
        assert_eq!(cidr("198.18.0.1", 24).broadcast(), Some(Ipv4Addr::new(198, 18, 0, 255)));
        assert_eq!(cidr("198.18.0.1", 31).broadcast(), None);
        assert_eq!(cidr("198.18.0.1", 32).broadcast(), None);
    }

    #[test]
    fn group_and_zero_macs_are_no_stations() {
        assert_eq!(Mac::new([0; 6]), None);
        assert_eq!(Mac::new([0xff; 6]), None);
        assert_eq!(Mac::new([2, 0, 0, 0, 0, 1]).unwrap().to_string(), "02:00:00:00:00:01");
    }
}
