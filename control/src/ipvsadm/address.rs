//! Addresses, ports, masks and numbers as they are typed.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane::wire::{Addr, Family, Protocol};

use super::name::Names;

/// An address and, if it was given, a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Typed {
    pub(super) address: Addr,
    pub(super) port: Option<u16>,
}

/// `host[:port]`, `[IPv6]:port` or a bare IPv6 address. Digits alone are no host; an IPv6
/// address in brackets needs its port.
pub(super) fn endpoint(text: &str, protocol: Protocol, names: &Names) -> Option<Typed> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once("]:")?;
        // ipvsadm minds no brackets around an IPv4 address.
        let address = match address.parse::<Ipv6Addr>() {
            Ok(address) => IpAddr::V6(address),
            Err(_) => IpAddr::V4(inet_aton(address)?),
        };
        let port = port_number(port, protocol, names)?;
        return Some(Typed { address: address.into(), port: Some(port) });
    }
    if let Ok(address) = text.parse::<Ipv6Addr>() {
        return Some(Typed { address: IpAddr::V6(address).into(), port: None });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port_number(port, protocol, names)?)),
        None => (text, None),
    };
    let address = inet_aton(host).or_else(|| (names.resolve)(host))?;
    Some(Typed { address: IpAddr::V4(address).into(), port })
}

/// A number from 0 to 65535, or a service's name.
fn port_number(text: &str, protocol: Protocol, names: &Names) -> Option<u16> {
    match number(text, 0, u32::from(u16::MAX)) {
        Some(port) => u16::try_from(port).ok(),
        None => names.ports.number(text, protocol),
    }
}

/// An IPv4 address in any form that the C library knows: one to four numbers, decimal, octal or
/// hexadecimal, the last of which fills the bytes that are left.
pub(super) fn inet_aton(text: &str) -> Option<Ipv4Addr> {
    let parts: Vec<u32> = text.split('.').map(c_number).collect::<Option<_>>()?;
    let (last, bytes) = parts.split_last()?;
    if bytes.len() > 3 || bytes.iter().any(|byte| *byte > 255) {
        return None;
    }
    let bits_left = 32 - 8 * bytes.len() as u32;
    if u64::from(*last) >> bits_left != 0 {
        return None;
    }
    let high = bytes.iter().enumerate().fold(0u32, |sum, (i, byte)| sum | byte << (24 - 8 * i));
    Some(Ipv4Addr::from_bits(high | last))
}

fn c_number(text: &str) -> Option<u32> {
    let (digits, radix) = match text.as_bytes() {
        [b'0', b'x' | b'X', _, ..] => (text.get(2..)?, 16),
        [b'0', _, ..] => (text.get(1..)?, 8),
        _ => (text, 10),
    };
    if digits.starts_with('+') {
        return None;
    }
    u32::from_str_radix(digits, radix).ok()
}

/// A decimal number within bounds.
pub(super) fn number(text: &str, least: u32, most: u32) -> Option<u32> {
    let text = text.trim_start();
    let value: i64 = text.parse().ok()?;
    let value = u32::try_from(value).ok()?;
    (least..=most).contains(&value).then_some(value)
}

/// A persistence mask. IPv4 takes any pattern of bits, also one with holes, and `24` is the
/// address 0.0.0.24; IPv6 takes a prefix length.
pub(super) fn mask(text: &str, family: Family) -> Result<u128, &'static str> {
    match family {
        Family::V4 => inet_aton(text)
            .map(|mask| u128::from(mask.to_bits()))
            .ok_or("illegal virtual server persistent mask specified"),
        Family::V6 => number(text, 1, 128)
            .map(|length| prefix(length, 128))
            .ok_or("illegal ipv6 netmask specified"),
    }
}

/// The mask of a whole address.
pub(super) fn full_mask(family: Family) -> u128 {
    match family {
        Family::V4 => u128::from(u32::MAX),
        Family::V6 => u128::MAX,
    }
}

fn prefix(length: u32, width: u32) -> u128 {
    u128::MAX.checked_shl(width.saturating_sub(length)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_written_as_the_c_library_reads_it() {
        for (text, expected) in [
            ("192.0.2.10", "192.0.2.10"),
            ("24", "0.0.0.24"),
            ("10.1", "10.0.0.1"),
            ("10.1.258", "10.1.1.2"),
            ("0x7f.1", "127.0.0.1"),
            ("010.0.0.1", "8.0.0.1"),
            ("4294967295", "255.255.255.255"),
        ] {
            assert_eq!(inet_aton(text), expected.parse().ok(), "{text}");
        }
        for text in ["300.1.1.1", "1.2.3.4.5", "", "a", "1..2", "10.1.65536", "+1", "1.2.3.08"] {
            assert_eq!(inet_aton(text), None, "{text}");
        }
    }

    #[test]
    fn an_ipv6_address_has_a_port_in_brackets_or_neither() {
        let names = Names::offline();
        let port = |text| endpoint(text, Protocol::Tcp, &names).map(|typed| typed.port);
        assert_eq!(port("[2001:db8::1]:80"), Some(Some(80)));
        assert_eq!(port("2001:db8::1"), Some(None));
        assert_eq!(port("[2001:db8::1]"), None);
        assert_eq!(port("192.0.2.10:http"), Some(Some(80)));
        assert_eq!(port("[192.0.2.10]:80"), Some(Some(80)));
        assert_eq!(port("192.0.2.10:-1"), None);
        assert_eq!(port("192.0.2.10:70000"), None);
        assert_eq!(port("80"), None);
        assert_eq!(port("nosuchhost.invalid:80"), None);
    }

    #[test]
    fn masks_may_have_holes_and_prefixes_may_not_be_empty() {
        assert_eq!(mask("255.0.255.0", Family::V4), Ok(0xFF00_FF00));
        assert_eq!(mask("24", Family::V4), Ok(24));
        assert_eq!(mask("64", Family::V6), Ok(u128::MAX << 64));
        assert_eq!(mask("128", Family::V6), Ok(u128::MAX));
        assert!(mask("0", Family::V6).is_err());
        assert!(mask("129", Family::V6).is_err());
        assert!(mask("300.0.0.0", Family::V4).is_err());
    }
}
