//! What all answers share: whom never to answer, and the headers of the way back.

use std::fmt;

use super::addr::{Addr, Family};
use super::ethernet::{self, Mac};
use super::field::u16_at;
use super::packet::{Packet, Protocol};
use super::{ipv4, ipv6};
use crate::port::Frame;

/// TTL and hop limit of the director's own packets.
pub(super) const HOP_LIMIT: u8 = 64;

/// Why a packet must not, or cannot, be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unanswerable {
    /// This answer is not for packets of this kind: a reset for a reset, an echo reply for
    /// anything but an echo request.
    WrongKind,
    /// A fragment: only whole packets are answered, and ICMP errors also quote first fragments.
    Fragment,
    /// An ICMP error about an ICMP error would never end (RFC 1122, 3.2.2; RFC 4443, 2.4 e).
    IcmpError,
    /// The source is not one single host: unspecified, loopback, multicast, broadcast or reserved.
    NoSingleSource,
    /// The packet or its frame was sent to a group, or the packet to a loopback address.
    NotToOneHost,
    /// The packet is damaged.
    BadChecksum,
    /// The frame's memory is too short for the answer.
    NoRoom,
}

impl fmt::Display for Unanswerable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongKind => "packets of this kind have no such answer",
            Self::Fragment => "a fragment cannot be answered",
            Self::IcmpError => "an ICMP error must not be answered with another one",
            Self::NoSingleSource => "the source address does not name one host",
            Self::NotToOneHost => "the packet was not sent to one host alone",
            Self::BadChecksum => "the packet's checksum is wrong",
            Self::NoRoom => "the frame has no room for the answer",
        })
    }
}

impl std::error::Error for Unanswerable {}

/// Whether the packet went from one host to one host, so that an answer can go back.
pub(super) fn check_endpoints(frame: &[u8], packet: &Packet) -> Result<(), Unanswerable> {
    if !names_one_host(packet.src) || !ethernet::source(frame).is_some_and(Mac::is_unicast) {
        return Err(Unanswerable::NoSingleSource);
    }
    if !names_one_host(packet.dst) || !ethernet::destination(frame).is_some_and(Mac::is_unicast) {
        return Err(Unanswerable::NotToOneHost);
    }
    Ok(())
}

/// Whether an address can be one host's on a wire. 0.0.0.0/8 and 240.0.0.0/4 cannot.
fn names_one_host(addr: Addr) -> bool {
    let reserved = addr.is_v4() && matches!(addr.v4_number() >> 24, 0 | 240..=255);
    !(reserved || addr.is_unspecified() || addr.is_multicast() || addr.is_loopback())
}

/// The IP header of an answer, as far as it is not the packet's turned around.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reply {
    /// The address that it comes from.
    pub from: Addr,
    pub protocol: Protocol,
    /// Type of service or traffic class.
    pub tos: u8,
    pub hop_limit: u8,
}

/// Bytes of the IP header of an answer to a packet of this family.
pub(super) const fn ip_header_len(family: Family) -> usize {
    match family {
        Family::V4 => ipv4::HEADER_LEN,
        Family::V6 => ipv6::HEADER_LEN,
    }
}

/// Makes the frame an answer with room for `payload_len` bytes behind the IP header: length,
/// reflected MACs, IP header. The payload's bytes are the caller's to write; where they
/// begin is returned. Where it fails the frame is as it was.
pub(super) fn begin(
    frame: &mut impl Frame,
    packet: &Packet,
    own: Mac,
    reply: Reply,
    payload_len: usize,
) -> Result<usize, Unanswerable> {
    let l3 = usize::from(packet.l3_offset);
    let payload_at = l3 + ip_header_len(packet.family);
    let short = u16::try_from(payload_len).map_err(|_| Unanswerable::NoRoom)?;
    if !frame.set_len(payload_at + payload_len) {
        return Err(Unanswerable::NoRoom);
    }
    turn_around(frame.bytes_mut(), packet, own, reply, short).ok_or(Unanswerable::NoRoom)?;
    Ok(payload_at)
}

/// Writes the MACs and the IP header of an answer.
fn turn_around(
    frame: &mut [u8],
    packet: &Packet,
    own: Mac,
    reply: Reply,
    payload_len: u16,
) -> Option<()> {
    let l3 = usize::from(packet.l3_offset);
    let Reply { from: src, protocol, tos, hop_limit } = reply;
    let dst = packet.src;
    match packet.family {
        Family::V4 => {
            // As hosts do: a reset forbids fragmentation, ICMP does not and needs a number then.
            // That of the packet it answers, still there, is as good as any.
            let identification = match protocol {
                Protocol::Tcp => None,
                _ => Some(u16_at(frame, l3 + ipv4::IDENTIFICATION)?),
            };
            let ttl = hop_limit;
            let header = ipv4::Header { src, dst, protocol, tos, ttl, payload_len, identification };
            ipv4::write(frame, l3, header)?;
        }
        Family::V6 => {
            let header =
                ipv6::Header { src, dst, protocol, traffic_class: tos, hop_limit, payload_len };
            ipv6::write(frame, l3, header)?;
        }
    }
    ethernet::reflect(frame, own).then_some(())
}
