//! What the packet path needs to know of a packet: [`Packet`], and the other outcomes of parsing.

use std::fmt;

use bitflags::bitflags;

use super::addr::{Addr, Family};
use super::arp::Arp;

/// What a frame turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// IPv4 or IPv6.
    Packet(Packet),
    /// ARP for IPv4 over Ethernet.
    Arp(Arp),
    /// Neither IP nor ARP, for instance LLDP: for the kernel-facing port.
    Other,
    /// Not to be trusted: to be dropped, with the reason.
    Malformed(Malformed),
}

/// Why a frame cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Malformed {
    /// The frame ends before its Ethernet header, its IP header or the length that its IP header states.
    Truncated,
    /// More than two VLAN tags.
    VlanDepth,
    /// An IP header that contradicts itself: wrong version, a header length below 20 bytes or beyond
    /// the packet, a total length shorter than the header.
    BadIpHeader,
    /// An address that no packet may carry on a wire: a multicast or broadcast source
    /// (RFC 1122, 3.2.1.3; RFC 4291, 2.7), an IPv4-mapped address in IPv6.
    BadAddress,
    /// IPv6 extension headers that run past the packet, a hop-by-hop header that is not the
    /// first, or a second fragment header.
    BadExtensionHeader,
    /// More than 8 extension headers, or more than 256 bytes of them.
    HeaderChainTooLong,
    /// An IPv6 routing header of type 0 (RFC 5095).
    RoutingHeaderZero,
    /// A fragment that cannot be part of a packet: its end lies past 65,535 bytes, or it is not the
    /// last one and not a multiple of eight bytes long, or it is empty.
    BadFragment,
    /// A first fragment without the complete transport header (RFC 7112), or a TCP fragment
    /// that begins inside of it (RFC 1858, RFC 3128).
    TinyFragment,
    /// The packet ends inside its transport header, or the header's own length is impossible.
    BadTransportHeader,
    /// An ARP packet that is cut short, or not for IPv4 over Ethernet.
    BadArp,
}

impl Malformed {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 11] = [
        Self::Truncated,
        Self::VlanDepth,
        Self::BadIpHeader,
        Self::BadAddress,
        Self::BadExtensionHeader,
        Self::HeaderChainTooLong,
        Self::RoutingHeaderZero,
        Self::BadFragment,
        Self::TinyFragment,
        Self::BadTransportHeader,
        Self::BadArp,
    ];
}

/// A packet's fields, copied out of its frame. All offsets are bytes from the frame's start, and
/// all lie inside of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub src: Addr,
    /// Destination address.
    pub dst: Addr,
    /// Which fragment this is; an IPv6 atomic fragment (RFC 6946) is a whole packet.
    pub fragment: Fragment,
    /// Where the IP header begins: 14, 18 or 22; further on for a packet quoted by an ICMP error.
    pub l3_offset: u16,
    /// Where the transport header begins; of a later fragment, where its piece of payload begins.
    pub l4_offset: u16,
    /// Bytes of the IP packet, header included, Ethernet padding excluded.
    pub total_len: u16,
    /// Source port of TCP, UDP and SCTP; 0 for other protocols and later fragments.
    pub src_port: u16,
    /// Destination port, likewise.
    pub dst_port: u16,
    /// The outermost VLAN tag.
    pub vlan: Vlan,
    /// The transport protocol. A later IPv6 fragment names the first header inside the
    /// fragmented part instead, which may be an extension header.
    pub protocol: Protocol,
    /// IPv4 or IPv6.
    pub family: Family,
    /// Time to live or hop limit.
    pub ttl: u8,
    /// Type of service or traffic class: DSCP and ECN.
    pub tos: u8,
    /// Whether the sender forbids fragmentation; always for IPv6.
    pub dont_fragment: bool,
    /// Flags of TCP; empty for other protocols and later fragments.
    pub tcp_flags: TcpFlags,
    /// ICMP type; 0 for other protocols.
    pub icmp_type: u8,
    /// ICMP code; 0 for other protocols.
    pub icmp_code: u8,
    /// Types of an SCTP packet's first two chunks; [`NO_CHUNK`] where there is none.
    pub sctp_chunks: [u8; 2],
}

/// In [`Packet::sctp_chunks`]: there is no such chunk. The number is reserved by IETF (RFC 9260, 3.2).
pub const NO_CHUNK: u8 = 0xFF;

impl Packet {
    /// The offset just behind the IP packet: where the frame's payload ends and padding begins.
    #[inline]
    pub const fn end(&self) -> usize {
        self.l3_offset as usize + self.total_len as usize
    }

    /// The packet's bytes from the transport header on, padding excluded. Empty if `frame` is not
    /// the frame that this packet was parsed from.
    #[inline]
    pub fn transport<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        frame.get(usize::from(self.l4_offset)..self.end()).unwrap_or_default()
    }

    /// Whether this is a fragment without a transport header.
    #[inline]
    pub const fn is_later_fragment(&self) -> bool {
        matches!(self.fragment, Fragment::Later { .. })
    }
}

/// A packet's place among the fragments of its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fragment {
    /// Not a fragment.
    Whole,
    /// The first fragment: it has the transport header, and others follow.
    First {
        /// What the fragments of one datagram share, with their addresses (and, for IPv4, protocol).
        id: u32,
    },
    /// Any other fragment.
    Later {
        /// Whether still others follow behind this one.
        more: bool,
        /// Where its payload belongs in the datagram, in bytes: 8 to 65,528.
        offset: u16,
        /// As for the first fragment.
        id: u32,
    },
}

/// What follows the IP header and its options or extension headers. An IPv6 authentication
/// header is walked over as IPVS does; `Ah` is seen over IPv4 only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// 6.
    Tcp,
    /// 17.
    Udp,
    /// 132.
    Sctp,
    /// 1, over IPv4 only.
    Icmp,
    /// 58, over IPv6 only.
    Icmpv6,
    /// 51, over IPv4 only.
    Ah,
    /// 50.
    Esp,
    /// Any other number; also 1 over IPv6, 58 over IPv4.
    Other(u8),
}

impl Protocol {
    /// The protocol behind a number in an IP header of this family.
    #[inline]
    pub const fn of(number: u8, family: Family) -> Self {
        match (number, family) {
            (6, _) => Self::Tcp,
            (17, _) => Self::Udp,
            (132, _) => Self::Sctp,
            (1, Family::V4) => Self::Icmp,
            (58, Family::V6) => Self::Icmpv6,
            (51, Family::V4) => Self::Ah,
            (50, _) => Self::Esp,
            _ => Self::Other(number),
        }
    }

    /// The number in the IP header.
    #[inline]
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
            Self::Icmp => 1,
            Self::Icmpv6 => 58,
            Self::Ah => 51,
            Self::Esp => 50,
            Self::Other(number) => number,
        }
    }

    /// Whether packets of this protocol have ports.
    #[inline]
    pub const fn has_ports(self) -> bool {
        matches!(self, Self::Tcp | Self::Udp | Self::Sctp)
    }
}

impl fmt::Display for Protocol {
    /// The name as listings print it; a number where there is none.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
            Self::Icmp => "ICMP",
            Self::Icmpv6 => "ICMPv6",
            Self::Ah => "AH",
            Self::Esp => "ESP",
            Self::Other(number) => return number.fmt(f),
        })
    }
}

bitflags! {
    /// The control bits of a TCP header's fourteenth byte (RFC 9293, 3.1).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct TcpFlags: u8 {
        /// No more data from the sender.
        const FIN = 0x01;
        /// Synchronise sequence numbers.
        const SYN = 0x02;
        /// Reset the connection.
        const RST = 0x04;
        /// Push.
        const PSH = 0x08;
        /// The acknowledgement number is valid.
        const ACK = 0x10;
        /// The urgent pointer is valid.
        const URG = 0x20;
        /// ECN echo.
        const ECE = 0x40;
        /// Congestion window reduced.
        const CWR = 0x80;
    }
}

/// The outermost VLAN tag of a frame, if it has one, in two bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Vlan(u16);

impl Vlan {
    /// No tag. VLAN id 4095 is reserved (IEEE 802.1Q, 9.6), so no tag that counts looks like this.
    pub const UNTAGGED: Self = Self(0xFFFF);

    /// The tag whose control information (priority, drop eligibility, id) is `tci`.
    #[inline]
    pub const fn tagged(tci: u16) -> Self {
        Self(tci)
    }

    /// The VLAN id, 1 to 4094; `None` for untagged frames and for tags that only carry a
    /// priority (id 0).
    #[inline]
    pub const fn id(self) -> Option<u16> {
        match self.0 & 0x0FFF {
            0 | 0x0FFF => None,
            id => Some(id),
        }
    }

    /// The tag control information as on the wire; `None` for untagged frames.
    #[inline]
    pub const fn tci(self) -> Option<u16> {
        if self.0 == Self::UNTAGGED.0 { None } else { Some(self.0) }
    }
}

impl fmt::Debug for Vlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tci() {
            None => f.write_str("Untagged"),
            Some(tci) => write!(f, "Vlan({}, priority {})", tci & 0x0FFF, tci >> 13),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_fits_one_cache_line() {
        assert!(size_of::<Packet>() <= 64, "{}", size_of::<Packet>());
        assert!(size_of::<Parsed>() <= 72, "{}", size_of::<Parsed>());
    }

    #[test]
    fn every_protocol_number_survives_both_ways() {
        for number in 0..=255 {
            for family in [Family::V4, Family::V6] {
                assert_eq!(Protocol::of(number, family).number(), number);
            }
        }
    }

    #[test]
    fn icmp_counts_only_in_its_own_family() {
        assert_eq!(Protocol::of(1, Family::V6), Protocol::Other(1));
        assert_eq!(Protocol::of(58, Family::V4), Protocol::Other(58));
    }

    #[test]
    fn a_priority_tag_names_no_vlan() {
        assert_eq!(Vlan::tagged(0xA000).id(), None);
        assert_eq!(Vlan::tagged(0xA000).tci(), Some(0xA000));
        assert_eq!(Vlan::tagged(0xA00A).id(), Some(10));
        assert_eq!(Vlan::UNTAGGED.id(), None);
        assert_eq!(Vlan::UNTAGGED.tci(), None);
    }

    #[test]
    fn the_list_of_reasons_is_in_order() {
        for (number, reason) in Malformed::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }
}
