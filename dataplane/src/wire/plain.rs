//! The short way for the plainest packets: untagged, whole, without options or extension
//! headers, TCP or UDP. All that is unusual or wrong is left to the long way, which knows why.
//!
//! Inlined always: 5.5 ns a packet, caller included, where a call, which hands the packet over
//! in memory, makes it 8 ns and the long way alone 14 ns.

use super::addr::{Addr, Family};
use super::ethernet::{HEADER_LEN, TYPE_IPV4, TYPE_IPV6};
use super::field::{bytes_at, u16_at, u32_at};
use super::packet::{Fragment, NO_CHUNK, Packet, Protocol, TcpFlags, Vlan};
use super::{ipv4, ipv6, tcp, udp};

const V4_TRANSPORT: usize = HEADER_LEN + ipv4::HEADER_LEN;
const V6_TRANSPORT: usize = HEADER_LEN + ipv6::HEADER_LEN;
/// A first byte of IPv4 that says version 4 and no options.
const V4_WITHOUT_OPTIONS: u8 = 0x45;
/// All bits of IPv4's fragment word but "don't fragment" and the reserved one.
const V4_FRAGMENT: u16 = 0x3FFF;

/// The packet in this frame, if it is a plain one: exactly what the long way would read.
#[inline(always)]
pub(super) fn read(frame: &[u8]) -> Option<Packet> {
    match u16_at(frame, HEADER_LEN - 2)? {
        TYPE_IPV4 => read_v4(frame),
        TYPE_IPV6 => read_v6(frame),
        _ => None,
    }
}

#[inline(always)]
fn read_v4(frame: &[u8]) -> Option<Packet> {
    let head = frame.first_chunk::<{ V4_TRANSPORT + udp::HEADER_LEN }>()?;
    let [version_and_len, tos, _, _, _, _, _, _, ttl, number] = *bytes_at(head, HEADER_LEN)?;
    let place = u16_at(head, HEADER_LEN + 6)?;
    let src = Addr::v4(u32_at(head, HEADER_LEN + ipv4::SRC)?);
    let odd = src.is_multicast() || src.is_broadcast();
    if version_and_len != V4_WITHOUT_OPTIONS || place & V4_FRAGMENT != 0 || odd {
        return None;
    }
    let total_len = u16_at(head, HEADER_LEN + ipv4::TOTAL_LEN)?;
    let end = HEADER_LEN + usize::from(total_len);
    let (protocol, tcp_flags) = transport(number, frame, V4_TRANSPORT, end)?;
    Some(Packet {
        src,
        dst: Addr::v4(u32_at(head, HEADER_LEN + ipv4::DST)?),
        fragment: Fragment::Whole,
        l3_offset: HEADER_LEN as u16,
        l4_offset: V4_TRANSPORT as u16,
        total_len,
        src_port: u16_at(head, V4_TRANSPORT)?,
        dst_port: u16_at(head, V4_TRANSPORT + 2)?,
        vlan: Vlan::UNTAGGED,
        protocol,
        family: Family::V4,
        ttl,
        tos,
        dont_fragment: place & 0x4000 != 0,
        tcp_flags,
        icmp_type: 0,
        icmp_code: 0,
        sctp_chunks: [NO_CHUNK; 2],
    })
}

#[inline(always)]
fn read_v6(frame: &[u8]) -> Option<Packet> {
    let head = frame.first_chunk::<{ V6_TRANSPORT + udp::HEADER_LEN }>()?;
    let [version, class, _, _, _, _, number, hop_limit] = *bytes_at(head, HEADER_LEN)?;
    let addr = |at| {
        bytes_at::<16>(head, HEADER_LEN + at).map(|bytes| Addr::v6(u128::from_be_bytes(*bytes)))
    };
    let (src, dst) = (addr(ipv6::SRC)?, addr(ipv6::DST)?);
    if version >> 4 != 6 || src.is_multicast() || src.is_v4() || dst.is_v4() {
        return None;
    }
    let payload_len = u16_at(head, HEADER_LEN + ipv6::PAYLOAD_LEN)?;
    let total_len = payload_len.checked_add(ipv6::HEADER_LEN as u16)?;
    let end = HEADER_LEN + usize::from(total_len);
    let (protocol, tcp_flags) = transport(number, frame, V6_TRANSPORT, end)?;
    Some(Packet {
        src,
        dst,
        fragment: Fragment::Whole,
        l3_offset: HEADER_LEN as u16,
        l4_offset: V6_TRANSPORT as u16,
        total_len,
        src_port: u16_at(head, V6_TRANSPORT)?,
        dst_port: u16_at(head, V6_TRANSPORT + 2)?,
        vlan: Vlan::UNTAGGED,
        protocol,
        family: Family::V6,
        ttl: hop_limit,
        tos: version << 4 | class >> 4,
        dont_fragment: true,
        tcp_flags,
        icmp_type: 0,
        icmp_code: 0,
        sctp_chunks: [NO_CHUNK; 2],
    })
}

/// The protocol and the TCP flags, if the packet of `end` bytes (counted in its frame) is all there
/// and the transport header at `at` is in order.
#[inline(always)]
fn transport(number: u8, frame: &[u8], at: usize, end: usize) -> Option<(Protocol, TcpFlags)> {
    const TCP: u8 = Protocol::Tcp.number();
    const UDP: u8 = Protocol::Udp.number();
    let len = end.checked_sub(at).filter(|_| end <= frame.len())?;
    match number {
        TCP => {
            let [data_offset, flags] = *bytes_at(frame, at + tcp::FLAGS - 1)?;
            let header_len = usize::from(data_offset >> 4) * 4;
            let fits = header_len >= tcp::HEADER_LEN && header_len <= len;
            fits.then_some((Protocol::Tcp, TcpFlags::from_bits_retain(flags)))
        }
        UDP => {
            let udp_len = usize::from(u16_at(frame, at + udp::LEN)?);
            let fits = udp_len >= udp::HEADER_LEN && udp_len <= len;
            fits.then_some((Protocol::Udp, TcpFlags::empty()))
        }
        _ => None,
    }
}
