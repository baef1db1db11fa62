//! Addresses, ports and services as ipvsadm writes them with `-n`.

use std::fmt::Display;
use std::net::IpAddr;

use dataplane::ids::Mark;
use dataplane::snapshot::Identity;
use dataplane::wire::{Addr, Family, Protocol};

use super::row::Endpoint;

/// `192.0.2.10:80` or `[2001:db8::80]:80`.
pub(super) fn endpoint(endpoint: Endpoint) -> String {
    join(endpoint.address, endpoint.port)
}

/// `192.0.2.10:80`, or the address alone for port 0.
pub fn endpoint_text(address: Addr, port: u16) -> String {
    if port == 0 { address.to_string() } else { join(address, port) }
}

/// The same from its two parts.
pub(super) fn join(address: Addr, port: impl Display) -> String {
    match address.family() {
        Family::V4 => format!("{address}:{port}"),
        Family::V6 => format!("[{}]:{port}", ipv6(address)),
    }
}

/// Ports that ipvsadm has no word for: `8000-8099`; all of them are port 0, as in ipvsadm.
fn range(first: u16, last: u16) -> String {
    match (first, last) {
        (0 | 1, u16::MAX) => "0".into(),
        _ if first == last => first.to_string(),
        _ => format!("{first}-{last}"),
    }
}

/// An IPv6 address as the C library writes it: as RFC 5952 asks, but with the last 32 bits in
/// decimal where all before are zero and the first half of those 32 bits is not.
fn ipv6(address: Addr) -> String {
    match IpAddr::from(address) {
        IpAddr::V6(v6) => match v6.segments() {
            [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
                let [.., a, b, c, d] = v6.octets();
                format!("::{a}.{b}.{c}.{d}")
            }
            _ => v6.to_string(),
        },
        IpAddr::V4(v4) => v4.to_string(),
    }
}

/// A mark as the address that a mark's template has in IPVS: its number in the first 32 bits.
pub(super) fn of_mark(family: Family, mark: u32) -> Addr {
    match family {
        Family::V4 => Addr::v4(mark),
        Family::V6 => Addr::v6(u128::from(mark) << 96),
    }
}

/// What a service is known by, in words: `tcp 192.0.2.10:80`, `mark 10`, `mark 10 (IPv6)`.
pub fn identity_text(identity: &Identity) -> String {
    match *identity {
        Identity::Address { protocol, vip, vip_port } => {
            format!("{} {}", protocol.to_string().to_lowercase(), join(vip, vip_port))
        }
        Identity::Ports { protocol, vip, first, last } => {
            let protocol = protocol.map_or_else(|| "any".into(), |one| one.to_string());
            format!("{} {}", protocol.to_lowercase(), join(vip, range(first, last)))
        }
        Identity::Mark { family: Family::V4, mark } => format!("mark {}", mark.0),
        Identity::Mark { family: Family::V6, mark } => format!("mark {} (IPv6)", mark.0),
    }
}

/// A mark as ipvsadm prints it: the upper half of all marks as negative numbers.
fn signed(mark: Mark) -> i32 {
    mark.0.get().cast_signed()
}

/// What begins a service's line: `TCP  192.0.2.10:80`, `FWM  10` or `FWM  10 IPv6`. For what
/// IPVS does not have, `TCP  192.0.2.10:8000-8099` and `ANY  192.0.2.10:0`.
pub(super) fn service(identity: &Identity) -> String {
    match *identity {
        Identity::Address { protocol, vip, vip_port } => {
            format!("{protocol:<4} {}", join(vip, vip_port))
        }
        Identity::Ports { protocol, vip, first, last } => {
            let protocol = protocol.map_or_else(|| "ANY".into(), |one| one.to_string());
            format!("{protocol:<4} {}", join(vip, range(first, last)))
        }
        Identity::Mark { family: Family::V4, mark } => format!("FWM  {}", signed(mark)),
        Identity::Mark { family: Family::V6, mark } => format!("FWM  {} IPv6", signed(mark)),
    }
}

/// How ipvsadm's command line names a service: `-t 192.0.2.10:80`, `-f 10 -6`. `None` for
/// ranges of ports and for all protocols, which it cannot name.
pub(super) fn service_option(identity: &Identity) -> Option<String> {
    Some(match *identity {
        Identity::Ports { .. } => return None,
        Identity::Address { protocol, vip, vip_port } => {
            let option = match protocol {
                Protocol::Udp => "-u",
                Protocol::Sctp => "--sctp-service",
                _ => "-t",
            };
            format!("{option} {}", join(vip, vip_port))
        }
        Identity::Mark { family: Family::V4, mark } => format!("-f {}", signed(mark)),
        Identity::Mark { family: Family::V6, mark } => format!("-f {} -6", signed(mark)),
    })
}

/// The persistence mask where it is not the whole address: dotted for IPv4, a number of bits
/// for IPv6.
pub(super) fn mask(family: Family, mask: u128) -> Option<String> {
    match family {
        Family::V4 => match mask as u32 {
            u32::MAX => None,
            bits => Some(std::net::Ipv4Addr::from_bits(bits).to_string()),
        },
        Family::V6 => match mask.leading_ones() {
            128 => None,
            bits => Some(bits.to_string()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v6(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn ipv6_addresses_are_written_as_the_c_library_writes_them() {
        for (given, written) in [
            ("2001:db8::80", "[2001:db8::80]:1"),
            ("2001:0:0:1:0:0:0:1", "[2001:0:0:1::1]:1"),
            ("2001:db8:0:1:1:1:1:1", "[2001:db8:0:1:1:1:1:1]:1"),
            ("::", "[::]:1"),
            ("::1", "[::1]:1"),
            ("::ffff", "[::ffff]:1"),
            ("::1:2", "[::0.1.0.2]:1"),
            ("::102:304", "[::1.2.3.4]:1"),
        ] {
            assert_eq!(join(v6(given), 1), written);
        }
    }

    #[test]
    fn a_mark_fills_the_first_32_bits_of_an_address() {
        assert_eq!(join(of_mark(Family::V4, 10), 0), "0.0.0.10:0");
        assert_eq!(join(of_mark(Family::V6, 10), 0), "[0:a::]:0");
        assert_eq!(join(of_mark(Family::V4, u32::MAX), 0), "255.255.255.255:0");
    }

    #[test]
    fn only_masks_that_join_clients_are_written() {
        assert_eq!(mask(Family::V4, 0xFFFF_FFFF), None);
        assert_eq!(mask(Family::V4, 0xFF00_FF00).as_deref(), Some("255.0.255.0"));
        assert_eq!(mask(Family::V6, u128::MAX), None);
        assert_eq!(mask(Family::V6, u128::MAX << 80).as_deref(), Some("48"));
    }
}
