//! ICMP for IPv4 (RFC 792, RFC 1812) and IPv6 (RFC 4443): echo, errors, and what errors quote.

use super::addr::{Addr, Family};
use super::answer::{self, Reply, Unanswerable, ip_header_len};
use super::checksum;
use super::ethernet::Mac;
use super::field::put;
use super::packet::{Fragment, Packet, Protocol, TcpFlags, Vlan};
use super::{ipv4, ipv6};
use crate::port::Frame;

/// Bytes before an echo's data or an error's quoted packet.
pub const HEADER_LEN: usize = 8;
/// Offset of the checksum.
pub const CHECKSUM: usize = 2;

/// Types of ICMP for IPv4.
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Source quench.
    pub const SOURCE_QUENCH: u8 = 4;
    /// Redirect.
    pub const REDIRECT: u8 = 5;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 12;
    /// The largest type that is known not to be an error (extended echo reply, RFC 8335).
    pub(super) const LAST_KNOWN: u8 = 43;
}

/// Types of ICMPv6. All below 128 are errors.
pub mod v6 {
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 1;
    /// Packet too big.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 3;
    /// Parameter problem.
    pub const PARAMETER_PROBLEM: u8 = 4;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;
}

/// An IPv4 error is at most this long, IP header included (RFC 1812, 4.3.2.3).
const V4_ERROR_MAX: usize = 576;
/// An IPv6 error is at most this long, IPv6 header included (RFC 4443, 2.4 c).
const V6_ERROR_MAX: usize = 1280;
/// Offset of the next-header field in IPv6's fixed header.
const V6_NEXT_HEADER: u16 = 6;
/// Precedence "internetwork control" (RFC 1812, 4.3.2.5).
const V4_ERROR_PRECEDENCE: u8 = 0xC0;
/// What an error keeps of its packet's type of service (RFC 1812, 4.3.2.5).
const V4_KEPT_TOS: u8 = 0x1E;

/// What an ICMP error reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Error {
    /// Nobody takes the packet at this port: 3/3, ICMPv6 1/4.
    PortUnreachable,
    /// Nobody here speaks the protocol: 3/2, ICMPv6 parameter problem 4/1 at the next-header
    /// field of the fixed header.
    ProtocolUnreachable,
    /// The next hop does not answer: host unreachable 3/1, ICMPv6 address unreachable 1/3.
    HostUnreachable,
    /// TTL or hop limit ran out: 11/0, ICMPv6 3/0.
    TimeExceeded,
    /// Fragments of the datagram did not come in time: 11/1, ICMPv6 3/1.
    ReassemblyTime,
    /// The packet is longer than the next link takes: fragmentation needed 3/4, ICMPv6 2/0.
    PacketTooBig {
        /// The longest packet that the next link takes, in bytes.
        mtu: u16,
    },
}

impl Error {
    /// Type and code.
    const fn numbers(self, family: Family) -> (u8, u8) {
        match (self, family) {
            (Self::PortUnreachable, Family::V4) => (v4::UNREACHABLE, 3),
            (Self::PortUnreachable, Family::V6) => (v6::UNREACHABLE, 4),
            (Self::ProtocolUnreachable, Family::V4) => (v4::UNREACHABLE, 2),
            (Self::ProtocolUnreachable, Family::V6) => (v6::PARAMETER_PROBLEM, 1),
            (Self::HostUnreachable, Family::V4) => (v4::UNREACHABLE, 1),
            (Self::HostUnreachable, Family::V6) => (v6::UNREACHABLE, 3),
            (Self::TimeExceeded, Family::V4) => (v4::TIME_EXCEEDED, 0),
            (Self::TimeExceeded, Family::V6) => (v6::TIME_EXCEEDED, 0),
            (Self::ReassemblyTime, Family::V4) => (v4::TIME_EXCEEDED, 1),
            (Self::ReassemblyTime, Family::V6) => (v6::TIME_EXCEEDED, 1),
            (Self::PacketTooBig { .. }, Family::V4) => (v4::UNREACHABLE, 4),
            (Self::PacketTooBig { .. }, Family::V6) => (v6::PACKET_TOO_BIG, 0),
        }
    }
}

/// Reads type and code; `None` where the header is not all there.
#[inline]
pub(super) fn read(message: &[u8], packet: &mut Packet) -> Option<()> {
    let [kind, code, ..] = *message.first_chunk::<HEADER_LEN>()?;
    packet.icmp_type = kind;
    packet.icmp_code = code;
    Some(())
}

/// Whether this is an ICMP error: a message that quotes another packet.
#[inline]
pub const fn is_error(packet: &Packet) -> bool {
    match packet.protocol {
        Protocol::Icmp => matches!(
            packet.icmp_type,
            v4::UNREACHABLE
                | v4::SOURCE_QUENCH
                | v4::REDIRECT
                | v4::TIME_EXCEEDED
                | v4::PARAMETER_PROBLEM
        ),
        Protocol::Icmpv6 => packet.icmp_type < v6::ECHO_REQUEST,
        _ => false,
    }
}

/// Whether this is an echo request, whole or its first fragment.
#[inline]
pub const fn is_echo_request(packet: &Packet) -> bool {
    !packet.is_later_fragment()
        && match packet.protocol {
            Protocol::Icmp => packet.icmp_type == v4::ECHO_REQUEST,
            Protocol::Icmpv6 => packet.icmp_type == v6::ECHO_REQUEST,
            _ => false,
        }
}

/// The packet that an ICMP error quotes, its offsets counted in the same frame. It was on its way
/// *from* the address that the error was sent to. Ports come from as few as four bytes
/// of transport header; flags and chunks only where they are there. `total_len` is what the
/// quoted header states, so [`Packet::end`] may lie behind the frame.
///
/// `None` where `packet` is no ICMP error, where what it quotes cannot be read, is a later fragment
/// (it has no ports) or is itself an ICMP error.
pub fn quoted(frame: &[u8], packet: &Packet) -> Option<Packet> {
    if !is_error(packet) || packet.is_later_fragment() {
        return None;
    }
    let l3 = usize::from(packet.l4_offset) + HEADER_LEN;
    let inner = packet_at(frame, l3, packet.end(), packet.family)?;
    Some(Packet { vlan: packet.vlan, ..inner })
}

/// A quoted packet that begins at `l3` and of which the frame has what lies before `end`;
/// otherwise as [`quoted`].
pub fn packet_at(frame: &[u8], l3: usize, end: usize, family: Family) -> Option<Packet> {
    let frame = frame.get(..end)?;
    let read = match family {
        Family::V4 => ipv4::read(frame, l3, Vlan::UNTAGGED, false),
        Family::V6 => ipv6::read(frame, l3, Vlan::UNTAGGED, false),
    };
    let mut inner = read.ok().filter(|inner| !inner.is_later_fragment())?;
    let transport = frame.get(usize::from(inner.l4_offset)..)?;
    read_quoted_transport(transport, &mut inner)?;
    (!is_error(&inner)).then_some(inner)
}

/// Reads what is needed of a quoted transport header: its first four bytes, although an error
/// should quote eight (RFC 792).
fn read_quoted_transport(transport: &[u8], inner: &mut Packet) -> Option<()> {
    let [a, b, c, d] = *transport.first_chunk::<4>()?;
    match inner.protocol {
        Protocol::Tcp | Protocol::Udp | Protocol::Sctp => {
            inner.src_port = u16::from_be_bytes([a, b]);
            inner.dst_port = u16::from_be_bytes([c, d]);
        }
        Protocol::Icmp | Protocol::Icmpv6 => {
            inner.icmp_type = a;
            inner.icmp_code = b;
        }
        Protocol::Ah | Protocol::Esp | Protocol::Other(_) => {}
    }
    if inner.protocol == Protocol::Tcp
        && let Some(flags) = transport.get(super::tcp::FLAGS)
    {
        inner.tcp_flags = TcpFlags::from_bits_retain(*flags);
    }
    Some(())
}

/// Makes the frame the reply to its echo request, with the same identifier, sequence number and
/// data, without the request's IP options or extension headers.
///
/// # Errors
/// [`Unanswerable`]; the frame is then as it was.
pub fn echo_reply(frame: &mut impl Frame, packet: &Packet, own: Mac) -> Result<(), Unanswerable> {
    if !is_echo_request(packet) {
        return Err(Unanswerable::WrongKind);
    }
    answer::check_endpoints(frame.bytes(), packet)?;
    if packet.fragment != Fragment::Whole {
        return Err(Unanswerable::Fragment);
    }
    if !checksum::transport_holds(frame.bytes(), packet) {
        return Err(Unanswerable::BadChecksum);
    }
    let reply = match packet.family {
        Family::V4 => v4::ECHO_REPLY,
        Family::V6 => v6::ECHO_REPLY,
    };
    let message = usize::from(packet.l4_offset)..packet.end();
    let at = usize::from(packet.l3_offset) + ip_header_len(packet.family);
    let len = message.len();
    if len < HEADER_LEN || at > message.start || frame.bytes().len() < message.end {
        return Err(Unanswerable::NoRoom);
    }
    // The message moves down over options before the frame is cut behind it.
    frame.bytes_mut().copy_within(message, at);
    let to = Reply {
        from: packet.dst,
        protocol: packet.protocol,
        tos: packet.tos,
        hop_limit: answer::HOP_LIMIT,
    };
    answer::begin(frame, packet, own, to, len)?;
    let bytes = frame.bytes_mut();
    put(bytes, at, [reply, packet.icmp_code, 0, 0])
        .and_then(|()| write_checksum(bytes, packet.dst, packet.src, at))
        .ok_or(Unanswerable::NoRoom)
}

/// Writes the checksum of the message from `at` to the frame's end; its field is zero now. An update of the request's checksum would do but for one reply:
/// all zeros, whose checksum is 0xFFFF and not 0.
fn write_checksum(frame: &mut [u8], src: Addr, dst: Addr, at: usize) -> Option<()> {
    let message = frame.get(at..)?;
    let checksum = match src.family() {
        Family::V4 => checksum::of(message),
        Family::V6 => checksum::transport(src, dst, Protocol::Icmpv6, message),
    };
    put(frame, at + CHECKSUM, checksum.to_be_bytes())
}

/// Makes the frame the ICMP error about its packet, sent from the address that the packet was sent
/// to. It quotes as much of the packet as fits into 576 bytes (IPv4: RFC 1812,
/// 4.3.2.3) or 1280 bytes (IPv6: RFC 4443, 2.4 c).
///
/// # Errors
/// [`Unanswerable`]; the frame is then as it was.
pub fn error(
    frame: &mut impl Frame,
    packet: &Packet,
    own: Mac,
    why: Error,
) -> Result<(), Unanswerable> {
    error_from(frame, packet, own, packet.dst, why)
}

/// As [`error`], sent from the address of a router on the way.
///
/// # Errors
/// [`Unanswerable`]; the frame is then as it was.
pub fn error_from(
    frame: &mut impl Frame,
    packet: &Packet,
    own: Mac,
    from: Addr,
    why: Error,
) -> Result<(), Unanswerable> {
    if packet.is_later_fragment() {
        return Err(Unanswerable::Fragment);
    }
    if is_error(packet) || may_be_error(packet) {
        return Err(Unanswerable::IcmpError);
    }
    answer::check_endpoints(frame.bytes(), packet)?;
    let (protocol, max, tos) = match packet.family {
        Family::V4 => {
            (Protocol::Icmp, V4_ERROR_MAX, packet.tos & V4_KEPT_TOS | V4_ERROR_PRECEDENCE)
        }
        Family::V6 => (Protocol::Icmpv6, V6_ERROR_MAX, 0),
    };
    let l3 = usize::from(packet.l3_offset);
    let head = ip_header_len(packet.family) + HEADER_LEN;
    // Of a packet that was itself only quoted, the frame has less than its header says.
    let here = frame.bytes().len().saturating_sub(l3).min(usize::from(packet.total_len));
    let quote = here.min(max.saturating_sub(head));
    if !frame.set_len(l3 + head + quote) {
        return Err(Unanswerable::NoRoom);
    }
    frame.bytes_mut().copy_within(l3..l3 + quote, l3 + head);
    let to = Reply { from, protocol, tos, hop_limit: answer::HOP_LIMIT };
    let at = answer::begin(frame, packet, own, to, HEADER_LEN + quote)?;
    finish_error(frame.bytes_mut(), from, packet.src, at, why).ok_or(Unanswerable::NoRoom)
}

/// Writes the error's ICMP header before its quote, which ends with the frame.
fn finish_error(frame: &mut [u8], src: Addr, dst: Addr, at: usize, why: Error) -> Option<()> {
    let (kind, code) = why.numbers(src.family());
    // Of both families the low half of the last word is the MTU, and all else is unused; a
    // parameter problem of IPv6 points to what is wrong.
    let mtu = match why {
        Error::PacketTooBig { mtu } => mtu,
        Error::ProtocolUnreachable if src.family() == Family::V6 => V6_NEXT_HEADER,
        Error::PortUnreachable
        | Error::ProtocolUnreachable
        | Error::HostUnreachable
        | Error::TimeExceeded
        | Error::ReassemblyTime => 0,
    };
    let [mtu0, mtu1] = mtu.to_be_bytes();
    put(frame, at, [kind, code, 0, 0, 0, 0, mtu0, mtu1])?;
    write_checksum(frame, src, dst, at)
}

/// Whether an ICMP message that quotes nothing known must be treated as an error all the same:
/// ICMPv6 redirects (RFC 4443, 2.4 e.2), and IPv4 types that nobody has defined.
const fn may_be_error(packet: &Packet) -> bool {
    match packet.protocol {
        Protocol::Icmp => packet.icmp_type > v4::LAST_KNOWN,
        Protocol::Icmpv6 => packet.icmp_type == v6::REDIRECT,
        _ => false,
    }
}
