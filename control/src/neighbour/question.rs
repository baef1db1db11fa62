//! The frames that the director sends of its own accord: questions and announcements.

use std::net::{IpAddr, Ipv6Addr};

use dataplane::port::Frame;
use dataplane::port::memory::MemoryFrame;
use dataplane::wire::checksum::Change;
use dataplane::wire::ethernet::{self, Mac};
use dataplane::wire::field::{put, u16_at};
use dataplane::wire::{Addr, Parsed, arp, icmp, ipv6, ndp, parse};

use super::site::PortFace;

/// The question which MAC address `target` has, to one station or to everybody; `None` where
/// the port has no address of the target's family to ask with.
pub(super) fn question(face: &PortFace, target: Addr, to: Option<Mac>) -> Option<Box<[u8]>> {
    let source = face.source_for(target)?;
    let mut frame = MemoryFrame::new(&[]);
    let written = match (IpAddr::from(source), IpAddr::from(target)) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            arp::request(&mut frame, face.vlan, face.mac, source, target)
        }
        (IpAddr::V6(source), IpAddr::V6(target)) => {
            ndp::solicitation(&mut frame, face.vlan, face.mac, source, target)
                && (to.is_none() || address_to(frame.bytes_mut(), target).is_some())
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    };
    if !written {
        return None;
    }
    if let Some(station) = to {
        ethernet::set_macs(frame.bytes_mut(), station, face.mac);
    }
    Some(frame.bytes().into())
}

/// Sends a solicitation to the target itself instead of to its group (RFC 4861, 7.3.3).
fn address_to(frame: &mut [u8], target: Ipv6Addr) -> Option<()> {
    let Parsed::Packet(packet) = parse(frame) else { return None };
    let sum_at = usize::from(packet.l4_offset).checked_add(icmp::CHECKSUM)?;
    let sum = u16_at(frame, sum_at)?;
    let sum = Change::NONE.addr(packet.dst, target.into()).apply(sum);
    put(frame, sum_at, sum.to_be_bytes())?;
    put(frame, usize::from(packet.l3_offset).checked_add(ipv6::DST)?, target.octets())
}

/// The announcement that `address` is at this port now.
pub(super) fn announcement(face: &PortFace, address: Addr) -> Option<Box<[u8]>> {
    let mut frame = MemoryFrame::new(&[]);
    let written = match IpAddr::from(address) {
        IpAddr::V4(address) => arp::announcement(&mut frame, face.vlan, face.mac, address),
        IpAddr::V6(address) => ndp::announcement(&mut frame, face.vlan, face.mac, address),
    };
    written.then(|| frame.bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::wire::Vlan;
    use dataplane::wire::ndp::Ndp;

    const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const STATION: Mac = Mac([2, 0, 0, 0, 1, 0x11]);

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn face(vlan: Vlan) -> PortFace {
        PortFace {
            name: "lan".into(),
            mac: OWN,
            vlan,
            addresses: vec![(addr("198.18.10.1"), 24), (addr("2001:db8:10::1"), 64)],
            vips: vec![],
        }
    }

    #[test]
    fn an_arp_question_goes_to_everybody_or_to_one_station() {
        for (to, destination) in [(None, Mac::BROADCAST), (Some(STATION), STATION)] {
            let frame = question(&face(Vlan::tagged(10)), addr("198.18.10.11"), to).unwrap();
            let Parsed::Arp(asked) = parse(&frame) else { panic!("{frame:?}") };
            assert_eq!(Addr::from(asked.target), addr("198.18.10.11"));
            assert_eq!((asked.sender_mac, Addr::from(asked.sender)), (OWN, addr("198.18.10.1")));
            assert_eq!(asked.vlan, Vlan::tagged(10));
            assert_eq!(ethernet::destination(&frame), Some(destination));
        }
    }

    #[test]
    fn a_solicitation_is_valid_by_rfc_4861_both_ways() {
        let target = Ipv6Addr::new(0x2001, 0xDB8, 0x10, 0, 0, 0, 0xAB, 0xCDEF);
        let group = ndp::solicited_node(target);
        let ways = [(None, group, ndp::group_mac(group)), (Some(STATION), target, STATION)];
        for (to, dst, mac) in ways {
            let frame = question(&face(Vlan::tagged(10)), target.into(), to).unwrap();
            let Parsed::Packet(packet) = parse(&frame) else { panic!("{frame:?}") };
            let asked = ndp::parse(&frame, &packet).unwrap();
            let Ndp::Solicitation { target: about, source_mac } = asked else {
                panic!("{asked:?}")
            };
            assert_eq!((about, source_mac), (target, Some(OWN)));
            assert_eq!((packet.src, packet.dst), (addr("2001:db8:10::1"), dst.into()));
            assert_eq!((packet.ttl, packet.vlan), (255, Vlan::tagged(10)));
            assert_eq!(ethernet::destination(&frame), Some(mac));
            assert_eq!(ethernet::source(&frame), Some(OWN));
        }
    }

    #[test]
    fn without_an_address_of_its_family_a_target_cannot_be_asked() {
        let mut face = face(Vlan::UNTAGGED);
        face.addresses.truncate(1);
        assert_eq!(question(&face, addr("2001:db8:10::11"), None), None);
    }
}
