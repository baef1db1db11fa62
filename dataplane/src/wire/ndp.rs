//! Neighbour Discovery: solicitations and advertisements (RFC 4861).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use super::addr::Addr;
use super::answer::{self, Reply, Unanswerable};
use super::checksum;
use super::ethernet::{self, Mac, TYPE_IPV6};
use super::field::{bytes_at, put};
use super::icmp;
use super::ipv6;
use super::packet::{Fragment, Packet, Protocol, Vlan};
use crate::port::Frame;

/// The only hop limit that is believed: no router can have forwarded the packet.
const HOP_LIMIT: u8 = 255;
/// Bytes before the options: ICMP header with flags, and the target.
const FIXED_LEN: usize = 24;
/// Bytes with one link-layer address option.
const LEN: usize = FIXED_LEN + 8;
const TARGET: usize = 8;
const OPTION_SOURCE_MAC: u8 = 1;
const OPTION_TARGET_MAC: u8 = 2;
const FLAG_ROUTER: u8 = 0x80;
const FLAG_SOLICITED: u8 = 0x40;
const FLAG_OVERRIDE: u8 = 0x20;
/// All nodes on the link.
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 0, 0, 1);

/// A valid neighbour message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ndp {
    /// Who has the target address?
    Solicitation {
        /// Whose MAC address is asked for.
        target: Ipv6Addr,
        /// The asker's MAC address, if it says so; it does not while it probes for duplicates.
        source_mac: Option<Mac>,
    },
    /// The target address is here.
    Advertisement {
        /// Whose MAC address is told.
        target: Ipv6Addr,
        /// The MAC address, if it is said.
        target_mac: Option<Mac>,
        /// The target is a router.
        router: bool,
        /// This answers a question.
        solicited: bool,
        /// A MAC address known from before is to be replaced.
        overrides: bool,
    },
}

/// Why a packet is not a neighbour message, or not one to be believed (RFC 4861, 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NotNdp {
    /// Not a neighbour solicitation or advertisement.
    OtherType,
    /// The hop limit is not 255, so the packet was forwarded by a router.
    HopLimit,
    /// The ICMP code is not zero.
    Code,
    /// The ICMP checksum is wrong.
    Checksum,
    /// Fragmented (RFC 6980), or behind extension headers.
    ExtensionHeaders,
    /// Shorter than 24 bytes, or an option without length or cut short.
    Length,
    /// The target is a multicast or unspecified address.
    Target,
    /// A probe that was not sent to the target's solicited-node group, or that names a
    /// MAC address.
    Probe,
    /// A solicited advertisement that was sent to a group.
    Solicited,
}

impl fmt::Display for NotNdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherType => "not a neighbour solicitation or advertisement",
            Self::HopLimit => "the hop limit of a neighbour message is not 255",
            Self::Code => "the ICMP code of a neighbour message is not 0",
            Self::Checksum => "the checksum of a neighbour message is wrong",
            Self::ExtensionHeaders => "a neighbour message has extension headers or is a fragment",
            Self::Length => "a neighbour message or one of its options is too short",
            Self::Target => "the target of a neighbour message is not one host's address",
            Self::Probe => "a duplicate address probe breaks the rules of RFC 4861, 7.1.1",
            Self::Solicited => "an advertisement to a group claims to be solicited",
        })
    }
}

impl std::error::Error for NotNdp {}

/// Whether this looks like a neighbour solicitation or advertisement, to be given to [`parse`].
#[inline]
pub const fn is_neighbour_message(packet: &Packet) -> bool {
    matches!(packet.protocol, Protocol::Icmpv6)
        && matches!(
            packet.icmp_type,
            icmp::v6::NEIGHBOUR_SOLICITATION | icmp::v6::NEIGHBOUR_ADVERTISEMENT
        )
        && !packet.is_later_fragment()
}

/// Reads a neighbour message and checks everything that RFC 4861, 7.1.1 and 7.1.2 demand.
///
/// # Errors
/// [`NotNdp`]: the packet must be ignored, or is something else.
pub fn parse(frame: &[u8], packet: &Packet) -> Result<Ndp, NotNdp> {
    if !is_neighbour_message(packet) {
        return Err(NotNdp::OtherType);
    }
    let plain = packet.l4_offset == packet.l3_offset.saturating_add(ipv6::HEADER_LEN as u16);
    if !plain || packet.fragment != Fragment::Whole {
        return Err(NotNdp::ExtensionHeaders);
    }
    if packet.ttl != HOP_LIMIT {
        return Err(NotNdp::HopLimit);
    }
    if packet.icmp_code != 0 {
        return Err(NotNdp::Code);
    }
    if !checksum::transport_holds(frame, packet) {
        return Err(NotNdp::Checksum);
    }
    let (fixed, options) =
        packet.transport(frame).split_at_checked(FIXED_LEN).ok_or(NotNdp::Length)?;
    let target = Ipv6Addr::from(*bytes_at::<16>(fixed, TARGET).ok_or(NotNdp::Length)?);
    if target.is_multicast() || target.is_unspecified() {
        return Err(NotNdp::Target);
    }
    if packet.icmp_type == icmp::v6::NEIGHBOUR_SOLICITATION {
        let source_mac = mac_option(options, OPTION_SOURCE_MAC)?;
        let to_group = packet.dst == solicited_node(target).into();
        if packet.src.is_unspecified() && (source_mac.is_some() || !to_group) {
            return Err(NotNdp::Probe);
        }
        return Ok(Ndp::Solicitation { target, source_mac });
    }
    let target_mac = mac_option(options, OPTION_TARGET_MAC)?;
    let [_, _, _, _, flags, ..] = fixed else { return Err(NotNdp::Length) };
    let has = |flag| flags & flag != 0;
    if has(FLAG_SOLICITED) && packet.dst.is_multicast() {
        return Err(NotNdp::Solicited);
    }
    Ok(Ndp::Advertisement {
        target,
        target_mac,
        router: has(FLAG_ROUTER),
        solicited: has(FLAG_SOLICITED),
        overrides: has(FLAG_OVERRIDE),
    })
}

/// The MAC address in the first option of this kind. All options must have a length; those of
/// other kinds are skipped.
fn mac_option(mut options: &[u8], kind: u8) -> Result<Option<Mac>, NotNdp> {
    let mut found = None;
    while let [this, words, ..] = options {
        let len = usize::from(*words) * 8;
        if len == 0 {
            return Err(NotNdp::Length);
        }
        let (option, after) = options.split_at_checked(len).ok_or(NotNdp::Length)?;
        if *this == kind && found.is_none() {
            found = bytes_at::<6>(option, 2).copied().map(Mac).filter(|mac| mac.is_unicast());
        }
        options = after;
    }
    if options.is_empty() { Ok(found) } else { Err(NotNdp::Length) }
}

/// The group that a solicitation for this address is sent to (RFC 4291, 2.7.1).
pub fn solicited_node(addr: Ipv6Addr) -> Ipv6Addr {
    const PREFIX: u128 = 0xFF02_0000_0000_0000_0000_0001_FF00_0000;
    Ipv6Addr::from_bits(PREFIX | addr.to_bits() & 0xFF_FFFF)
}

/// The MAC address of an IPv6 group (RFC 2464, 7).
pub fn group_mac(group: Ipv6Addr) -> Mac {
    let [.., a, b, c, d] = group.octets();
    Mac([0x33, 0x33, a, b, c, d])
}

/// A neighbour message's ICMP bytes but for the checksum.
fn message(kind: u8, flags: u8, target: Ipv6Addr, option: u8, mac: Mac) -> Option<[u8; LEN]> {
    let mut bytes = [0; LEN];
    put(&mut bytes, 0, [kind, 0, 0, 0, flags])?;
    put(&mut bytes, TARGET, target.octets())?;
    put(&mut bytes, FIXED_LEN, [option, 1])?;
    put(&mut bytes, FIXED_LEN + 2, mac.0)?;
    Some(bytes)
}

/// Makes the frame the advertisement that answers its solicitation: the target is at `own`.
/// A probe (from `::`) is answered to all nodes, anyone else directly (RFC 4861, 7.2.4).
///
/// # Errors
/// [`Unanswerable`]: not a valid solicitation, or no room; the frame is then as it was.
pub fn advertise_in_reply(
    frame: &mut impl Frame,
    packet: &Packet,
    own: Mac,
) -> Result<(), Unanswerable> {
    let Ok(Ndp::Solicitation { target, .. }) = parse(frame.bytes(), packet) else {
        return Err(Unanswerable::WrongKind);
    };
    if !ethernet::source(frame.bytes()).is_some_and(Mac::is_unicast) {
        return Err(Unanswerable::NoSingleSource);
    }
    let asker = packet.src;
    let probe = asker.is_unspecified();
    let to = if probe { Addr::from(ALL_NODES) } else { asker };
    let flags = if probe { FLAG_OVERRIDE } else { FLAG_SOLICITED | FLAG_OVERRIDE };
    let kind = icmp::v6::NEIGHBOUR_ADVERTISEMENT;
    let mut bytes =
        message(kind, flags, target, OPTION_TARGET_MAC, own).ok_or(Unanswerable::NoRoom)?;
    // The answer goes the packet's way back; only its two addresses differ from those seen.
    let back = Packet { src: to, dst: target.into(), ..*packet };
    sum_up(&mut bytes, back.dst, back.src).ok_or(Unanswerable::NoRoom)?;
    let reply = Reply { from: back.dst, protocol: Protocol::Icmpv6, tos: 0, hop_limit: HOP_LIMIT };
    let at = answer::begin(frame, &back, own, reply, LEN)?;
    if probe {
        ethernet::set_macs(frame.bytes_mut(), group_mac(ALL_NODES), own);
    }
    put(frame.bytes_mut(), at, bytes).ok_or(Unanswerable::NoRoom)
}

/// Writes the ICMP checksum of a neighbour message.
fn sum_up(bytes: &mut [u8; LEN], src: Addr, dst: Addr) -> Option<()> {
    let checksum = checksum::transport(src, dst, Protocol::Icmpv6, bytes);
    put(bytes, icmp::CHECKSUM, checksum.to_be_bytes())
}

/// Makes the frame a question for the MAC address of `target`, asked by `sender`, to the target's
/// solicited-node group. Answers `false`, and changes nothing, where the frame has no room.
pub fn solicitation(
    frame: &mut impl Frame,
    vlan: Vlan,
    own: Mac,
    sender: Ipv6Addr,
    target: Ipv6Addr,
) -> bool {
    let bytes = message(icmp::v6::NEIGHBOUR_SOLICITATION, 0, target, OPTION_SOURCE_MAC, own);
    bytes.is_some_and(|bytes| send(frame, vlan, own, sender, solicited_node(target), bytes))
}

/// Makes the frame an unsolicited advertisement to all nodes that `addr` is at `own` now
/// (RFC 4861, 7.2.6). Answers `false`, and changes nothing, where the frame has no room.
pub fn announcement(frame: &mut impl Frame, vlan: Vlan, own: Mac, addr: Ipv6Addr) -> bool {
    let kind = icmp::v6::NEIGHBOUR_ADVERTISEMENT;
    let bytes = message(kind, FLAG_OVERRIDE, addr, OPTION_TARGET_MAC, own);
    bytes.is_some_and(|bytes| send(frame, vlan, own, addr, ALL_NODES, bytes))
}

/// Makes the frame one with this message to a group.
fn send(
    frame: &mut impl Frame,
    vlan: Vlan,
    own: Mac,
    src: Ipv6Addr,
    group: Ipv6Addr,
    mut bytes: [u8; LEN],
) -> bool {
    let (src, dst) = (Addr::from(src), Addr::from(IpAddr::V6(group)));
    let len = ipv6::HEADER_LEN + LEN;
    let Some(l3) = ethernet::begin(frame, vlan, group_mac(group), own, TYPE_IPV6, len) else {
        return false;
    };
    let header = ipv6::Header {
        src,
        dst,
        protocol: Protocol::Icmpv6,
        traffic_class: 0,
        hop_limit: HOP_LIMIT,
        payload_len: LEN as u16,
    };
    sum_up(&mut bytes, src, dst).is_some()
        && ipv6::write(frame.bytes_mut(), l3, header).is_some()
        && put(frame.bytes_mut(), l3 + ipv6::HEADER_LEN, bytes).is_some()
}
