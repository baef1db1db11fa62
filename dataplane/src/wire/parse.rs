//! From a frame to what it is.

use super::addr::Family;
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

/// Reads a fragment that [`parse`] refuses because a transport header is cut in pieces, for those
/// who put the header together before they look at it: ports are all that is read of it. `None`
/// for all other frames, and for what an IPv6 host does not put together (RFC 7112).
pub fn parse_piece(frame: &[u8]) -> Option<Packet> {
    let mut link = Link {
        ethertype: ethertype(frame, HEADER_LEN).ok()?,
        l3: HEADER_LEN,
        vlan: Vlan::UNTAGGED,
    };
    if is_tag(link.ethertype) {
        link = untag(frame, link).ok()?;
    }
    let mut packet = match link.ethertype {
        TYPE_IPV4 => ipv4::read_piece(frame, link.l3, link.vlan).ok()?,
        TYPE_IPV6 => ipv6::read(frame, link.l3, link.vlan, true).ok()?,
        _ => return None,
    };
    let cut = packet.family == Family::V4 || packet.protocol == Protocol::Sctp;
    if packet.fragment == Fragment::Whole || !packet.protocol.has_ports() || !cut {
        return None;
    }
    if !packet.is_later_fragment() {
        let [s0, s1, d0, d1] = *packet.transport(frame).first_chunk()?;
        packet.src_port = u16::from_be_bytes([s0, s1]);
        packet.dst_port = u16::from_be_bytes([d0, d1]);
    }
    Some(packet)
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
