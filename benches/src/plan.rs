//! Who is who: the addresses of clients, VIPs and real servers, by number.

use std::net::{Ipv4Addr, Ipv6Addr};

use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Addr, Family};

/// The port that every service is on.
pub const VIP_PORT: u16 = 80;
/// The MAC address of the router that clients are behind.
pub const GATEWAY_MAC: Mac = Mac([2, 0, 0, 0, 0, 0xFE]);
/// That router's addresses.
pub const GATEWAY_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 254);
/// See [`GATEWAY_V4`].
pub const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0xF, 0, 0, 0, 0, 0xFE);
/// The director's own addresses.
pub const OWN_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 255, 253);
/// See [`OWN_V4`].
pub const OWN_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xDB8, 0xF, 0, 0, 0, 0, 1);
/// The first ephemeral port.
pub const FIRST_CLIENT_PORT: u16 = 1024;

/// The first client's IPv4 address. They follow one another; no VIP, real server or
/// multicast address is in reach below 2 thousand million clients.
const CLIENTS_V4: u32 = u32::from_be_bytes([10, 0, 0, 0]);
const VIPS_V4: u32 = u32::from_be_bytes([198, 18, 0, 1]);
const SERVERS_V4: u32 = u32::from_be_bytes([198, 19, 0, 1]);

/// A client's IPv4 address.
#[inline]
pub const fn client_v4(number: u32) -> u32 {
    CLIENTS_V4.wrapping_add(number)
}

/// The low 32 bits of a client's IPv6 address.
#[inline]
pub const fn client_v6_low(number: u32) -> u32 {
    number
}

/// A service's VIP, as four bytes; for IPv6 these are its last four.
#[inline]
pub const fn vip_bytes(family: Family, number: u32) -> [u8; 4] {
    match family {
        Family::V4 => vip_v4(number).to_be_bytes(),
        Family::V6 => number.to_be_bytes(),
    }
}

/// A service's IPv4 VIP.
#[inline]
pub const fn vip_v4(number: u32) -> u32 {
    VIPS_V4.wrapping_add(number)
}

/// A real server's IPv4 address.
#[inline]
pub const fn server_v4(number: u32) -> u32 {
    SERVERS_V4.wrapping_add(number)
}

/// A real server's address, as four bytes; for IPv6 these are its last four.
#[inline]
pub const fn server_bytes(family: Family, number: u16) -> [u8; 4] {
    match family {
        Family::V4 => server_v4(number as u32).to_be_bytes(),
        Family::V6 => (number as u32).to_be_bytes(),
    }
}

/// The number of the real server whose MAC address a frame has as its destination.
#[inline]
pub fn server_of_mac(frame: &[u8]) -> Option<u32> {
    let [2, 0, 1, b, c, d] = *frame.first_chunk::<6>()? else { return None };
    Some(u32::from_be_bytes([0, b, c, d]))
}

/// The number of the client that a frame of the bench's own kind comes from.
#[inline]
pub fn client_of(family: Family, frame: &[u8]) -> Option<u32> {
    let at = match family {
        Family::V4 => 26,
        Family::V6 => 34,
    };
    let low = u32::from_be_bytes(*frame.get(at..)?.first_chunk::<4>()?);
    Some(match family {
        Family::V4 => low.wrapping_sub(CLIENTS_V4),
        Family::V6 => low,
    })
}

/// A client's address.
pub fn client(family: Family, number: u32) -> Addr {
    match family {
        Family::V4 => Addr::from(Ipv4Addr::from(client_v4(number))),
        Family::V6 => v6(0xC, client_v6_low(number)),
    }
}

/// A service's VIP.
pub fn vip(family: Family, number: u32) -> Addr {
    match family {
        Family::V4 => Addr::from(Ipv4Addr::from(VIPS_V4.wrapping_add(number))),
        Family::V6 => v6(0xA, number),
    }
}

/// A real server's address. Every service has the same machines behind it.
pub fn server(family: Family, number: u32) -> Addr {
    match family {
        Family::V4 => Addr::from(Ipv4Addr::from(SERVERS_V4.wrapping_add(number))),
        Family::V6 => v6(0xE, number),
    }
}

/// A real server's MAC address.
pub const fn server_mac(number: u32) -> Mac {
    let [_, b, c, d] = number.to_be_bytes();
    Mac([2, 0, 1, b, c, d])
}

fn v6(part: u16, number: u32) -> Addr {
    let [high, low] = [(number >> 16) as u16, number as u16];
    Addr::from(Ipv6Addr::new(0x2001, 0xDB8, part, 0, 0, 0, high, low))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_million_clients_are_clear_of_vips_and_servers() {
        let last = client_v4(40_000_000);
        assert!(last < VIPS_V4 && VIPS_V4 + 65_535 < SERVERS_V4);
        assert_eq!(client(Family::V4, 256).to_string(), "10.0.1.0");
        assert_eq!(vip(Family::V6, 0x1_0002).to_string(), "2001:db8:a::1:2");
    }

    #[test]
    fn a_servers_mac_address_tells_its_number() {
        assert_eq!(server_of_mac(&server_mac(3_999).0), Some(3_999));
        assert_eq!(server_of_mac(&GATEWAY_MAC.0), None);
        assert_eq!(server_of_mac(&[2, 0, 1]), None);
    }

    #[test]
    fn the_bytes_of_a_vip_are_those_of_its_address() {
        let v4 = Addr::from(Ipv4Addr::from(vip_bytes(Family::V4, 9_999)));
        assert_eq!(v4, vip(Family::V4, 9_999));
        let [.., a, b, c, d] = vip(Family::V6, 9_999).number().to_be_bytes();
        assert_eq!([a, b, c, d], vip_bytes(Family::V6, 9_999));
    }
}
