//! From a frame to what it is.

use super::ethernet::{
    HEADER_LEN, TAG_LEN, TYPE_ARP, TYPE_IPV4, TYPE_IPV6, TYPE_SERVICE_VLAN, TYPE_VLAN,
};
use super::field::u16_at;
use super::packet::{Fragment, Malformed, Packet, Parsed, Protocol, Vlan};
use super::{arp, icmp, ipv4, ipv6, plain, sctp, tcp, udp};

/// VLAN tags that are looked through.
const MAX_TAGS: usize = 2;

/// Reads one frame. Costs a handful of loads for a plain TCP or UDP packet. The IPv4 header
/// checksum and transport checksums are not verified; see [`ipv4::checksum_holds`] and
/// [`super::checksum::transport_holds`].
#[inline]
pub fn parse(frame: &[u8]) -> Parsed {
    if let Some(packet) = plain::read(frame) {
        return Parsed::Packet(packet);
    }
    match read(frame) {
        Ok(parsed) => parsed,
        Err(malformed) => Parsed::Malformed(malformed),
    }
}

/// The long way: everything that a frame can be.
#[inline(never)]
fn read(frame: &[u8]) -> Result<Parsed, Malformed> {
    let mut link =
        Link { ethertype: ethertype(frame, HEADER_LEN)?, l3: HEADER_LEN, vlan: Vlan::UNTAGGED };
    if is_tag(link.ethertype) {
        link = untag(frame, link)?;
    }
    let Link { ethertype, l3, vlan } = link;
    let packet = match ethertype {
        TYPE_IPV4 => ipv4::read(frame, l3, vlan, true)?,
        TYPE_IPV6 => ipv6::read(frame, l3, vlan, true)?,
        TYPE_ARP => return arp::read(frame, l3, vlan),
        _ => return Ok(Parsed::Other),
    };
    transport(packet, frame)
}

/// What the Ethernet header and its VLAN tags say.
struct Link {
    ethertype: u16,
    /// Where what the EtherType names begins.
    l3: usize,
    vlan: Vlan,
}

/// The EtherType just before `l3`.
#[inline]
fn ethertype(frame: &[u8], l3: usize) -> Result<u16, Malformed> {
    u16_at(frame, l3 - 2).ok_or(Malformed::Truncated)
}

#[inline]
const fn is_tag(ethertype: u16) -> bool {
    matches!(ethertype, TYPE_VLAN | TYPE_SERVICE_VLAN)
}

/// Looks through one or two VLAN tags; the outermost is the one that counts.
fn untag(frame: &[u8], mut link: Link) -> Result<Link, Malformed> {
    let tci = u16_at(frame, link.l3).ok_or(Malformed::Truncated)?;
    link.vlan = Vlan::tagged(tci);
    for _ in 0..MAX_TAGS {
        link.l3 += TAG_LEN;
        link.ethertype = ethertype(frame, link.l3)?;
        if !is_tag(link.ethertype) {
            return Ok(link);
        }
    }
    Err(Malformed::VlanDepth)
}

/// Reads the transport header of a packet whose IP header has been read.
#[inline]
fn transport(mut packet: Packet, frame: &[u8]) -> Result<Parsed, Malformed> {
    if packet.is_later_fragment() {
        return Ok(Parsed::Packet(packet));
    }
    let bytes = packet.transport(frame);
    let read = match packet.protocol {
        Protocol::Tcp => tcp::read(bytes, &mut packet),
        Protocol::Udp => udp::read(bytes, &mut packet),
        Protocol::Sctp => sctp::read(bytes, &mut packet),
        Protocol::Icmp | Protocol::Icmpv6 => icmp::read(bytes, &mut packet),
        Protocol::Ah | Protocol::Esp | Protocol::Other(_) => Some(()),
    };
    match (read, packet.fragment) {
        (Some(()), _) => Ok(Parsed::Packet(packet)),
        (None, Fragment::First { .. }) => Err(Malformed::TinyFragment),
        (None, _) => Err(Malformed::BadTransportHeader),
    }
}
