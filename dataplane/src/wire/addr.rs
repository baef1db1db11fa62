//! An IPv4 or IPv6 address as the tables keep it: sixteen bytes, two integer words.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

impl Family {
    /// Bits of an address: 32 or 128.
    #[inline]
    pub const fn bits(self) -> u8 {
        match self {
            Self::V4 => 32,
            Self::V6 => 128,
        }
    }
}

/// An address of either family. An IPv4 address is kept as its IPv4-mapped IPv6 form
/// (`::ffff:a.b.c.d`), so the family needs no place of its own; [`crate::wire::parse`] refuses
/// IPv6 packets with mapped addresses, so the two never meet.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Addr {
    high: u64,
    low: u64,
}

/// Where an IPv4 address begins in the low word's upper half.
const MAPPED: u64 = 0xFFFF_0000_0000;

impl Addr {
    /// An IPv4 address from its number (`198.18.0.5` is `0xC612_0005`).
    #[inline]
    pub const fn v4(number: u32) -> Self {
        Self { high: 0, low: MAPPED | number as u64 }
    }

    /// An address from its IPv6 number; one inside `::ffff:0:0/96` becomes an IPv4 address.
    #[inline]
    pub const fn v6(number: u128) -> Self {
        Self { high: (number >> 64) as u64, low: number as u64 }
    }

    /// Which family this address is of.
    #[inline]
    pub const fn family(self) -> Family {
        if self.is_v4() { Family::V4 } else { Family::V6 }
    }

    /// Whether this is an IPv4 address.
    #[inline]
    pub const fn is_v4(self) -> bool {
        self.high == 0 && self.low >> 32 == MAPPED >> 32
    }

    /// The number of an IPv4 address; of an IPv6 address its last 32 bits.
    #[inline]
    pub const fn v4_number(self) -> u32 {
        self.low as u32
    }

    /// The two words to hash or compare, most significant first.
    #[inline]
    pub const fn words(self) -> [u64; 2] {
        [self.high, self.low]
    }

    /// The address from the two words of [`Self::words`].
    #[inline]
    pub const fn from_words([high, low]: [u64; 2]) -> Self {
        Self { high, low }
    }

    /// The 128-bit number (the mapped one for IPv4).
    #[inline]
    pub const fn number(self) -> u128 {
        (self.high as u128) << 64 | self.low as u128
    }

    /// This address with all but its first `prefix` bits cleared: IPv4 0 to 32, IPv6 0 to 128;
    /// longer prefixes keep the address. The family stays.
    #[inline]
    pub const fn masked(self, prefix: u8) -> Self {
        if self.is_v4() {
            let kept = if prefix >= 32 { u32::MAX } else { !(u32::MAX >> prefix) };
            return Self::v4(self.v4_number() & kept);
        }
        let kept = if prefix >= 128 { u128::MAX } else { !(u128::MAX >> prefix) };
        Self::v6(self.number() & kept)
    }

    /// Whether this is a group address: 224.0.0.0/4 or ff00::/8.
    #[inline]
    pub const fn is_multicast(self) -> bool {
        if self.is_v4() { self.v4_number() >> 28 == 0xE } else { self.high >> 56 == 0xFF }
    }

    /// Whether this is 255.255.255.255.
    #[inline]
    pub const fn is_broadcast(self) -> bool {
        self.is_v4() && self.v4_number() == u32::MAX
    }

    /// Whether this is 127.0.0.0/8 or ::1.
    #[inline]
    pub const fn is_loopback(self) -> bool {
        if self.is_v4() { self.v4_number() >> 24 == 127 } else { self.high == 0 && self.low == 1 }
    }

    /// Whether no packet on a wire has this source but a host's that has no address yet:
    /// 127.0.0.0/8 and ::1, 0.0.0.0/8.
    #[inline]
    pub const fn is_inside_a_host(self) -> bool {
        self.is_loopback() || self.is_v4() && self.v4_number() >> 24 == 0
    }

    /// Whether this is 0.0.0.0 or ::.
    #[inline]
    pub const fn is_unspecified(self) -> bool {
        self.high == 0 && (self.low == 0 || self.low == MAPPED)
    }
}

impl From<Ipv4Addr> for Addr {
    fn from(addr: Ipv4Addr) -> Self {
        Self::v4(addr.to_bits())
    }
}

impl From<Ipv6Addr> for Addr {
    fn from(addr: Ipv6Addr) -> Self {
        Self::v6(addr.to_bits())
    }
}

impl From<IpAddr> for Addr {
    fn from(addr: IpAddr) -> Self {
        match addr {
            IpAddr::V4(addr) => addr.into(),
            IpAddr::V6(addr) => addr.into(),
        }
    }
}

impl From<Addr> for IpAddr {
    fn from(addr: Addr) -> Self {
        match addr.family() {
            Family::V4 => IpAddr::V4(Ipv4Addr::from_bits(addr.v4_number())),
            Family::V6 => IpAddr::V6(Ipv6Addr::from_bits(addr.number())),
        }
    }
}

impl fmt::Display for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

impl fmt::Debug for Addr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn both_families_keep_their_address_and_family() {
        for text in
            ["198.18.0.5", "0.0.0.0", "255.255.255.255", "2001:db8::1", "::", "::1", "::2:1"]
        {
            assert_eq!(addr(text).to_string(), text);
            assert_eq!(addr(text).is_v4(), text.contains('.'), "{text}");
            assert_eq!(Addr::from_words(addr(text).words()), addr(text));
        }
        assert_eq!(addr("198.18.0.5").v4_number(), 0xC612_0005);
    }

    #[test]
    fn a_mask_clears_the_tail_and_keeps_the_family() {
        let cases = [
            ("198.18.7.9", 32, "198.18.7.9"),
            ("198.18.7.9", 24, "198.18.7.0"),
            ("198.18.7.9", 1, "128.0.0.0"),
            ("198.18.7.9", 0, "0.0.0.0"),
            ("198.18.7.9", 200, "198.18.7.9"),
            ("2001:db8:1:2:3::4", 128, "2001:db8:1:2:3::4"),
            ("2001:db8:1:2:3::4", 64, "2001:db8:1:2::"),
            ("2001:db8:1:2:3::4", 33, "2001:db8::"),
            ("2001:db8:1:2:3::4", 0, "::"),
        ];
        for (given, prefix, kept) in cases {
            assert_eq!(addr(given).masked(prefix), addr(kept), "{given}/{prefix}");
        }
    }

    #[test]
    fn special_addresses_are_recognised() {
        for text in ["224.0.0.1", "239.255.255.255", "ff02::1"] {
            assert!(addr(text).is_multicast(), "{text}");
        }
        for text in ["223.255.255.255", "240.0.0.0", "fe80::1"] {
            assert!(!addr(text).is_multicast(), "{text}");
        }
        assert!(addr("127.9.9.9").is_loopback() && addr("::1").is_loopback());
        assert!(!addr("0.0.0.1").is_loopback());
        for text in ["0.0.0.0", "0.1.2.3", "127.0.0.1", "::1"] {
            assert!(addr(text).is_inside_a_host(), "{text}");
        }
        for text in ["1.0.0.0", "126.1.1.1", "128.0.0.1", "::", "2001:db8::1"] {
            assert!(!addr(text).is_inside_a_host(), "{text}");
        }
        assert!(addr("0.0.0.0").is_unspecified() && addr("::").is_unspecified());
        assert!(!addr("2001:db8::").is_unspecified() && !addr("::1").is_unspecified());
        assert!(addr("255.255.255.255").is_broadcast());
        assert!(!addr("ffff::ffff:ffff").is_broadcast());
    }
}
