//! Masquerading: another address and port on one end of a packet, and the same inside of
//! what an ICMP error quotes. Checksums are updated, not summed again (RFC 1624), so that a
//! damaged packet stays damaged; SCTP's CRC32c alone is computed anew, and a UDP checksum where
//! IPv6 needs one and there was none.

use crate::wire::checksum::{self, Change, Crc32c, udp_zero_rule};
use crate::wire::field::{bytes_at, put, u16_at};
use crate::wire::{Addr, Family, Fragment, Packet, Protocol, icmp, ipv4, ipv6, sctp, tcp, udp};

/// Which end of a packet is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Where it comes from.
    Source,
    /// Where it goes to.
    Destination,
}

impl End {
    const fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

/// An address with a port: what is written into a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The address; of the packet's family.
    pub address: Addr,
    /// The TCP, UDP or SCTP port.
    pub port: u16,
}

/// The packet cannot be rewritten; it is as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritable {
    /// The new address is of the other family.
    Family,
    /// A piece of an SCTP packet needs another port: its CRC covers the other pieces too.
    SctpFragment,
    /// The headers are not where the packet says. Not after a successful parse.
    Headers,
}

/// Gives one end of a packet another address and port. A later fragment has an address only.
pub fn rewrite(
    frame: &mut [u8],
    packet: &Packet,
    end: End,
    to: Endpoint,
) -> Result<(), Unwritable> {
    let (address, port) = match end {
        End::Source => (packet.src, packet.src_port),
        End::Destination => (packet.dst, packet.dst_port),
    };
    if address.family() != to.address.family() {
        return Err(Unwritable::Family);
    }
    if let Fragment::Later { offset, .. } = packet.fragment
        && packet.protocol == Protocol::Tcp
        && packet.dst_port != 0
    {
        let change = Change::NONE.addr(address, to.address).word(port, to.port);
        write_later_checksum(frame, packet, usize::from(offset), change);
    }
    let has_port = packet.protocol.has_ports() && !packet.is_later_fragment();
    let other_port = has_port && port != to.port;
    if other_port && packet.protocol == Protocol::Sctp && packet.fragment != Fragment::Whole {
        return Err(Unwritable::SctpFragment);
    }
    let moved = Change::NONE.addr(address, to.address);
    write_address(frame, packet, end, to.address, moved).ok_or(Unwritable::Headers)?;
    if has_port {
        let change = moved.word(port, to.port);
        write_port(frame, packet, end, to.port).ok_or(Unwritable::Headers)?;
        if lacks_checksum(frame, packet) {
            let (src, dst) = match end {
                End::Source => (to.address, packet.dst),
                End::Destination => (packet.src, to.address),
            };
            write_first_checksum(frame, packet, src, dst).ok_or(Unwritable::Headers)?;
        } else {
            write_checksum(frame, packet, change, other_port).ok_or(Unwritable::Headers)?;
        }
    }
    Ok(())
}

fn write_address(
    frame: &mut [u8],
    packet: &Packet,
    end: End,
    to: Addr,
    moved: Change,
) -> Option<()> {
    let l3 = usize::from(packet.l3_offset);
    match (packet.family, end) {
        (Family::V4, end) => {
            let at = if end == End::Source { ipv4::SRC } else { ipv4::DST };
            put(frame, l3 + at, to.v4_number().to_be_bytes())?;
            let old = u16_at(frame, l3 + ipv4::CHECKSUM)?;
            put(frame, l3 + ipv4::CHECKSUM, moved.apply(old).to_be_bytes())
        }
        (Family::V6, End::Source) => put(frame, l3 + ipv6::SRC, to.number().to_be_bytes()),
        (Family::V6, End::Destination) => put(frame, l3 + ipv6::DST, to.number().to_be_bytes()),
    }
}

/// Updates the checksum of a TCP segment whose header was cut in pieces, if this one has it.
fn write_later_checksum(frame: &mut [u8], packet: &Packet, offset: usize, change: Change) {
    let Some(behind) = tcp::CHECKSUM.checked_sub(offset) else { return };
    let at = usize::from(packet.l4_offset) + behind;
    if at + 2 <= packet.end()
        && let Some(old) = u16_at(frame, at)
    {
        let _ = put(frame, at, change.apply(old).to_be_bytes());
    }
}

fn write_port(frame: &mut [u8], packet: &Packet, end: End, port: u16) -> Option<()> {
    // TCP, UDP and SCTP have their ports at the same places.
    let at = if end == End::Source { udp::SRC_PORT } else { udp::DST_PORT };
    put(frame, usize::from(packet.l4_offset) + at, port.to_be_bytes())
}

fn write_checksum(
    frame: &mut [u8],
    packet: &Packet,
    change: Change,
    other_port: bool,
) -> Option<()> {
    let l4 = usize::from(packet.l4_offset);
    match packet.protocol {
        // A piece that ends before the checksum.
        Protocol::Tcp if l4 + tcp::CHECKSUM + 2 > packet.end() => Some(()),
        Protocol::Tcp => {
            let at = l4 + tcp::CHECKSUM;
            let old = u16_at(frame, at)?;
            put(frame, at, change.apply(old).to_be_bytes())
        }
        Protocol::Udp => {
            let at = l4 + udp::CHECKSUM;
            let old = u16_at(frame, at)?;
            put(frame, at, change.apply_udp(old).to_be_bytes())
        }
        // The CRC does not cover addresses.
        Protocol::Sctp if other_port => write_crc(frame, packet),
        _ => Some(()),
    }
}

/// Whether it is a whole UDP datagram over IPv6 without a checksum. Most receivers drop it (RFC
/// 8200, 8.1), and IPVS gives it one.
fn lacks_checksum(frame: &[u8], packet: &Packet) -> bool {
    packet.protocol == Protocol::Udp
        && packet.family == Family::V6
        && packet.fragment == Fragment::Whole
        && u16_at(frame, usize::from(packet.l4_offset) + udp::CHECKSUM) == Some(0)
}

fn write_first_checksum(frame: &mut [u8], packet: &Packet, src: Addr, dst: Addr) -> Option<()> {
    let message = packet.transport(frame);
    // The length field decides where the datagram ends (RFC 768), not the packet.
    let len = usize::from(u16_at(message, udp::LEN)?);
    let datagram = message.get(..len).unwrap_or(message);
    let sum = udp_zero_rule(checksum::transport(src, dst, Protocol::Udp, datagram));
    put(frame, usize::from(packet.l4_offset) + udp::CHECKSUM, sum.to_be_bytes())
}

fn write_crc(frame: &mut [u8], packet: &Packet) -> Option<()> {
    let at = usize::from(packet.l4_offset) + sctp::CHECKSUM;
    put(frame, at, [0; 4])?;
    let crc = Crc32c::START.bytes(packet.transport(frame)).value();
    put(frame, at, crc.to_le_bytes())
}

/// Rewrites an ICMP error about a masqueraded flow: one end of the error itself gets the
/// address, and the quoted packet, which went the other way, gets address and port on its
/// other end. Only what is quoted is written: eight bytes of transport header suffice.
pub fn rewrite_error(
    frame: &mut [u8],
    error: &Packet,
    quoted: &Packet,
    end: End,
    to: Endpoint,
) -> Result<(), Unwritable> {
    let outer = match end {
        End::Source => error.src,
        End::Destination => error.dst,
    };
    if outer.family() != to.address.family() || quoted.family != error.family {
        return Err(Unwritable::Family);
    }
    let moved = Change::NONE.addr(outer, to.address);
    let change =
        rewrite_quoted(frame, error, quoted, end.other(), to).ok_or(Unwritable::Headers)?;
    write_address(frame, error, end, to.address, moved).ok_or(Unwritable::Headers)?;
    // ICMPv6 sums the addresses in its pseudo-header as well.
    let change = match error.family {
        Family::V4 => change,
        Family::V6 => change.addr(outer, to.address),
    };
    let at = usize::from(error.l4_offset) + icmp::CHECKSUM;
    let old = u16_at(frame, at).ok_or(Unwritable::Headers)?;
    put(frame, at, change.apply(old).to_be_bytes()).ok_or(Unwritable::Headers)
}

/// Rewrites the quoted packet and answers what that changes for the checksum around it.
fn rewrite_quoted(
    frame: &mut [u8],
    error: &Packet,
    quoted: &Packet,
    end: End,
    to: Endpoint,
) -> Option<Change> {
    let (address, port) = match end {
        End::Source => (quoted.src, quoted.src_port),
        End::Destination => (quoted.dst, quoted.dst_port),
    };
    let moved = Change::NONE.addr(address, to.address);
    // The IPv4 header sums to the same as before with its new checksum.
    let mut around = if quoted.family == Family::V4 { Change::NONE } else { moved };
    write_address(frame, quoted, end, to.address, moved)?;
    if !quoted.protocol.has_ports() {
        return Some(around);
    }
    write_port(frame, quoted, end, to.port)?;
    around = around.word(port, to.port);
    let at = usize::from(quoted.l4_offset)
        + match quoted.protocol {
            Protocol::Tcp => tcp::CHECKSUM,
            Protocol::Udp => udp::CHECKSUM,
            // A CRC over what is not quoted cannot be redone.
            _ => return Some(around),
        };
    // The transport checksum only where the quote is long enough to have it.
    if at + 2 <= error.end()
        && let Some(old) = bytes_at::<2>(frame, at).copied().map(u16::from_be_bytes)
    {
        let change = moved.word(port, to.port);
        let new = match quoted.protocol {
            Protocol::Udp => change.apply_udp(old),
            _ => change.apply(old),
        };
        put(frame, at, new.to_be_bytes())?;
        around = around.word(old, new);
    }
    Some(around)
}
