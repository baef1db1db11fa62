//! The neighbours that the generator plays: it answers for real servers' addresses, for
//! clients' router, and finds the balancer's MAC address.

use dataplane::port::Frame;
use dataplane::wire::ethernet::{self, Mac};
use dataplane::wire::packet::{Packet, Parsed, Vlan};
use dataplane::wire::{Addr, arp, ndp, parse};

/// Addresses that are answered for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    /// Its first address.
    pub address: Addr,
    /// Bits that all its addresses share.
    pub prefix: u8,
}

impl Network {
    fn has(&self, address: Addr) -> bool {
        address.family() == self.address.family()
            && address.masked(self.prefix) == self.address.masked(self.prefix)
    }
}

/// What the generator is to others on its links.
#[derive(Clone, Debug, Default)]
pub struct Neighbours {
    /// Real servers. Each gets a MAC address of its own, by which they are told apart.
    pub servers: Vec<Network>,
    /// The generator's own addresses, such as the clients' router's. They are at the port's
    /// MAC address.
    pub own: Vec<Addr>,
}

impl Neighbours {
    /// The MAC address of who is asked for, if the generator plays them.
    fn mac_of(&self, address: Addr, port: Mac) -> Option<Mac> {
        if self.own.contains(&address) {
            return Some(port);
        }
        let is_server = self.servers.iter().any(|network| network.has(address));
        let [.., a, b, c, d] = address.number().to_be_bytes();
        // Locally administered, and not the port's own.
        is_server.then_some(Mac([0x02, 0xD1, a, b, c, d]))
    }

    /// Makes a question for somebody's MAC address its own answer; `false` where the frame is
    /// none, or nobody's here.
    pub fn answer(&self, frame: &mut impl Frame, port: Mac) -> bool {
        match parse(frame.bytes()) {
            Parsed::Arp(arp) => {
                let mac = self.mac_of(arp.target.into(), port);
                mac.is_some_and(|mac| arp::reply(frame, &arp, mac))
            }
            Parsed::Packet(packet) if ndp::is_neighbour_message(&packet) => {
                let Ok(ndp::Ndp::Solicitation { target, .. }) = ndp::parse(frame.bytes(), &packet)
                else {
                    return false;
                };
                let mac = self.mac_of(target.into(), port);
                mac.is_some_and(|mac| ndp::advertise_in_reply(frame, &packet, mac).is_ok())
            }
            _ => false,
        }
    }
}

/// Makes the frame the question who has `address`. The first of the own addresses asks, or
/// nobody (0.0.0.0).
pub fn question(frame: &mut impl Frame, neighbours: &Neighbours, address: Addr, port: Mac) -> bool {
    let own = neighbours.own.iter().find(|own| own.family() == address.family());
    match (std::net::IpAddr::from(address), own.map(|own| std::net::IpAddr::from(*own))) {
        (std::net::IpAddr::V4(target), own) => {
            let sender = match own {
                Some(std::net::IpAddr::V4(own)) => own,
                _ => std::net::Ipv4Addr::UNSPECIFIED,
            };
            arp::request(frame, Vlan::UNTAGGED, port, sender, target)
        }
        (std::net::IpAddr::V6(target), own) => {
            let sender = match own {
                Some(std::net::IpAddr::V6(own)) => own,
                // A link-local address of the port's own (RFC 4291, appendix A).
                _ => link_local(port),
            };
            ndp::solicitation(frame, Vlan::UNTAGGED, port, sender, target)
        }
    }
}

/// The MAC address that a frame says `address` is at.
pub fn told(frame: &[u8], address: Addr) -> Option<Mac> {
    match parse(frame) {
        Parsed::Arp(arp) if Addr::from(arp.sender) == address => Some(arp.sender_mac),
        Parsed::Packet(packet) if ndp::is_neighbour_message(&packet) => {
            told_v6(frame, &packet, address)
        }
        _ => None,
    }
}

fn told_v6(frame: &[u8], packet: &Packet, address: Addr) -> Option<Mac> {
    match ndp::parse(frame, packet) {
        Ok(ndp::Ndp::Advertisement { target, .. }) if Addr::from(target) == address => {
            ethernet::source(frame)
        }
        _ => None,
    }
}

fn link_local(mac: Mac) -> std::net::Ipv6Addr {
    let [a, b, c, d, e, f] = mac.0;
    let word = |high, low| u16::from_be_bytes([high, low]);
    std::net::Ipv6Addr::new(
        0xFE80,
        0,
        0,
        0,
        word(a ^ 2, b),
        word(c, 0xFF),
        word(0xFE, d),
        word(e, f),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::port::memory::MemoryFrame;
    use std::net::{Ipv4Addr, Ipv6Addr};

    const ASKER: Mac = Mac([2, 0, 0, 0, 0, 7]);
    const PORT: Mac = Mac([2, 0, 0, 0, 0, 8]);

    fn neighbours() -> Neighbours {
        let server = |address, prefix| Network { address, prefix };
        Neighbours {
            servers: vec![
                server(Addr::from(Ipv4Addr::new(198, 19, 0, 0)), 16),
                server(Addr::from(Ipv6Addr::new(0x2001, 0xDB8, 0xE, 0, 0, 0, 0, 0)), 64),
            ],
            own: vec![Ipv4Addr::new(198, 18, 0, 254).into()],
        }
    }

    #[test]
    fn servers_and_own_addresses_are_answered_for_and_nobody_else() {
        let asking = Neighbours { servers: Vec::new(), own: vec![Addr::v4(0xC612_0009)] };
        let v6 = |part, last| Addr::from(Ipv6Addr::new(0x2001, 0xDB8, part, 0, 0, 0, 0, last));
        for (address, mac) in [
            (Addr::v4(0xC613_0102), Some(Mac([2, 0xD1, 198, 19, 1, 2]))),
            (Addr::v4(0xC612_00FE), Some(PORT)),
            (Addr::v4(0xC612_00FD), None),
            (v6(0xE, 0x105), Some(Mac([2, 0xD1, 0, 0, 1, 5]))),
            (v6(0xF, 1), None),
        ] {
            let mut frame = MemoryFrame::new(&[0; 128]);
            assert!(question(&mut frame, &asking, address, ASKER), "{address}");
            let answered = neighbours().answer(&mut frame, PORT);
            assert_eq!(answered, mac.is_some(), "{address}");
            if answered {
                assert_eq!(told(frame.bytes(), address), mac, "{address}");
                assert_eq!(ethernet::destination(frame.bytes()), Some(ASKER));
                assert_eq!(told(frame.bytes(), Addr::v4(5)), None);
            }
        }
    }
}
