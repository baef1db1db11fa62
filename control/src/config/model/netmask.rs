//! Which clients are one.

use std::net::Ipv4Addr;

use serde::Serialize;

use super::Family;

/// Which bits of an address make one client, ipvsadm's `-M`. One mask has one form: a
/// [`Netmask::Holes`] is never what a [`Netmask::Prefix`] could say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Netmask {
    /// `prefix`: leading bits, 1 to 32 for IPv4, 1 to 128 for IPv6.
    #[serde(rename = "prefix")]
    Prefix(u8),
    /// `netmask`: an IPv4 mask that is no prefix, because its ones stand apart or because it
    /// has none.
    #[serde(rename = "netmask")]
    Holes(Ipv4Addr),
}

impl Netmask {
    /// An IPv4 mask in its one form.
    #[must_use]
    pub fn v4(mask: Ipv4Addr) -> Self {
        let ones = mask.to_bits().leading_ones();
        match u8::try_from(ones) {
            Ok(prefix @ 1..) if ones == mask.to_bits().count_ones() => Self::Prefix(prefix),
            _ => Self::Holes(mask),
        }
    }

    /// A mask as the catalog has it: for IPv4 in the low 32 bits; for IPv6 a prefix, as ipvsadm
    /// takes nothing else.
    #[must_use]
    pub fn of(mask: u128, family: Family) -> Self {
        match family {
            Family::V4 => Self::v4(Ipv4Addr::from_bits((mask & u128::from(u32::MAX)) as u32)),
            Family::V6 => Self::Prefix(u8::try_from(mask.leading_ones()).unwrap_or(128)),
        }
    }

    /// The mask itself, for IPv4 in the low 32 bits.
    #[must_use]
    pub fn bits(self, family: Family) -> u128 {
        let width: u32 = match family {
            Family::V4 => 32,
            Family::V6 => 128,
        };
        match self {
            Self::Prefix(prefix) => {
                let all = u128::MAX >> (128 - width);
                let zeros = width.saturating_sub(prefix.into());
                all.checked_shl(zeros).unwrap_or(0) & all
            }
            Self::Holes(mask) => mask.to_bits().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masks_have_as_many_leading_ones_as_the_prefix_says() {
        assert_eq!(Netmask::Prefix(32).bits(Family::V4), 0xFFFF_FFFF);
        assert_eq!(Netmask::Prefix(24).bits(Family::V4), 0xFFFF_FF00);
        assert_eq!(Netmask::Prefix(0).bits(Family::V4), 0);
        assert_eq!(Netmask::Prefix(128).bits(Family::V6), u128::MAX);
        assert_eq!(Netmask::Prefix(64).bits(Family::V6), u128::MAX << 64);
        assert_eq!(Netmask::Prefix(0).bits(Family::V6), 0);
    }

    #[test]
    fn every_mask_has_one_form_and_comes_back_from_it() {
        for (text, form) in [
            ("255.255.255.255", Netmask::Prefix(32)),
            ("255.255.255.0", Netmask::Prefix(24)),
            ("128.0.0.0", Netmask::Prefix(1)),
            ("255.0.255.0", Netmask::Holes(Ipv4Addr::new(255, 0, 255, 0))),
            ("0.0.0.24", Netmask::Holes(Ipv4Addr::new(0, 0, 0, 24))),
            ("0.0.0.0", Netmask::Holes(Ipv4Addr::UNSPECIFIED)),
        ] {
            let mask: Ipv4Addr = text.parse().unwrap();
            assert_eq!(Netmask::v4(mask), form);
            assert_eq!(form.bits(Family::V4), u128::from(mask.to_bits()), "{text}");
            assert_eq!(Netmask::of(form.bits(Family::V4), Family::V4), form);
        }
        for prefix in [1, 64, 128] {
            let form = Netmask::Prefix(prefix);
            assert_eq!(Netmask::of(form.bits(Family::V6), Family::V6), form);
        }
    }
}
