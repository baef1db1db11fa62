//! From a packet in words to the bytes of its frame.

use std::net::IpAddr;

use dataplane::wire::ethernet::{Mac, TYPE_IPV4, TYPE_IPV6};
use dataplane::wire::{Addr, Family, Protocol, checksum, sctp};

use super::vector::{IcmpSpec, PacketSpec};

const DEFAULT_TTL: u8 = 64;
const DEFAULT_SEQ: u32 = 1000;
const WINDOW: u16 = 8192;
/// Bytes of a quoted IPv4 packet behind its header (RFC 792).
const QUOTED: usize = 8;
/// Bytes of an SCTP chunk behind its header, as an INIT has them.
const CHUNK_BODY: usize = 16;
const IPV4_HEADER: usize = 20;
const IPV6_HEADER: usize = 40;
const FRAGMENT_HEADER: u8 = 44;
const PATTERN: &[u8] = b"0123456789abcdef";

/// The frame that carries the packet from one station to another.
pub(super) fn build(
    spec: &PacketSpec,
    next_id: u32,
    source: Mac,
    destination: Mac,
) -> Result<Vec<u8>, String> {
    let ethertype = match spec.src {
        IpAddr::V4(_) => TYPE_IPV4,
        IpAddr::V6(_) => TYPE_IPV6,
    };
    let mut frame = Vec::new();
    frame.extend(destination.0);
    frame.extend(source.0);
    frame.extend(ethertype.to_be_bytes());
    frame.extend(packet(spec, next_id)?);
    Ok(frame)
}

/// The IP packet, or the one fragment of it that is asked for.
fn packet(spec: &PacketSpec, next_id: u32) -> Result<Vec<u8>, String> {
    if let Some(key) = spec.unknown.keys().next() {
        return Err(format!("{key:?} of the packet is not simulated"));
    }
    let family = Addr::from(spec.src).family();
    if Addr::from(spec.dst).family() != family {
        return Err(format!("{} and {} are of different families", spec.src, spec.dst));
    }
    let number = number(&spec.proto)?;
    let payload = transport(spec, Protocol::of(number, family))?;
    let id = spec.id.unwrap_or(next_id);
    let Some(cut) = spec.frag else {
        return header(spec, number, None, id, &payload);
    };
    let begin = cut.size.saturating_mul(cut.index);
    let end = begin.saturating_add(cut.size).min(payload.len());
    let piece = payload.get(begin..end).filter(|piece| !piece.is_empty());
    let piece = piece.ok_or_else(|| format!("there is no fragment {}", cut.index))?;
    let more = end < payload.len();
    let offset = u16::try_from(begin).map_err(|_| "the fragment lies beyond 65535 bytes")?;
    header(spec, number, Some((offset, more)), id, piece)
}

fn number(proto: &serde_json::Value) -> Result<u8, String> {
    let named = match proto.as_str() {
        Some("tcp") => Some(6),
        Some("udp") => Some(17),
        Some("icmp") => Some(1),
        Some("icmpv6") => Some(58),
        Some("sctp") => Some(132),
        Some(other) => other.parse().ok(),
        None => proto.as_u64().and_then(|number| u8::try_from(number).ok()),
    };
    named.ok_or_else(|| format!("{proto} is no protocol"))
}

fn header(
    spec: &PacketSpec,
    number: u8,
    fragment: Option<(u16, bool)>,
    id: u32,
    payload: &[u8],
) -> Result<Vec<u8>, String> {
    let ttl = spec.ttl.unwrap_or(DEFAULT_TTL);
    match (spec.src, spec.dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            let total = u16::try_from(IPV4_HEADER + payload.len()).map_err(|_| TOO_LONG)?;
            let (offset, more) = fragment.unwrap_or_default();
            let flags = u16::from(spec.df) << 14 | u16::from(more) << 13 | (offset / 8);
            let mut bytes = vec![0x45, spec.tos];
            bytes.extend(total.to_be_bytes());
            bytes.extend((id as u16).to_be_bytes());
            bytes.extend(flags.to_be_bytes());
            bytes.extend([ttl, number, 0, 0]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            let sum = checksum::of(&bytes);
            put(&mut bytes, 10, sum);
            bytes.extend(payload);
            Ok(bytes)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            let extension = if fragment.is_some() { 8 } else { 0 };
            let length = u16::try_from(extension + payload.len()).map_err(|_| TOO_LONG)?;
            let first = 6u32 << 28 | u32::from(spec.tos) << 20;
            let mut bytes = Vec::from(first.to_be_bytes());
            bytes.extend(length.to_be_bytes());
            bytes.extend([if fragment.is_some() { FRAGMENT_HEADER } else { number }, ttl]);
            bytes.extend(src.octets());
            bytes.extend(dst.octets());
            if let Some((offset, more)) = fragment {
                bytes.extend([number, 0]);
                bytes.extend((offset | u16::from(more)).to_be_bytes());
                bytes.extend(id.to_be_bytes());
            }
            bytes.extend(payload);
            Ok(bytes)
        }
        _ => Err("an IPv4 and an IPv6 address in one packet".into()),
    }
}

const TOO_LONG: &str = "the packet is longer than 65535 bytes";

fn transport(spec: &PacketSpec, protocol: Protocol) -> Result<Vec<u8>, String> {
    let payload = payload(spec)?;
    let (src, dst) = (Addr::from(spec.src), Addr::from(spec.dst));
    let ports = [spec.sport.to_be_bytes(), spec.dport.to_be_bytes()].concat();
    let mut bytes = match protocol {
        Protocol::Tcp => {
            let mut bytes = ports;
            bytes.extend(spec.seq.unwrap_or(DEFAULT_SEQ).to_be_bytes());
            bytes.extend(spec.ack.to_be_bytes());
            bytes.extend([0x50, tcp_flags(spec.flags.as_deref().unwrap_or("S"))?]);
            bytes.extend(WINDOW.to_be_bytes());
            bytes.extend([0; 4]);
            bytes.extend(payload);
            let sum = checksum::transport(src, dst, protocol, &bytes);
            put(&mut bytes, 16, sum);
            bytes
        }
        Protocol::Udp => {
            let mut bytes = ports;
            bytes.extend(u16::try_from(8 + payload.len()).map_err(|_| TOO_LONG)?.to_be_bytes());
            bytes.extend([0; 2]);
            bytes.extend(payload);
            if !spec.nocsum {
                let sum = checksum::transport(src, dst, protocol, &bytes);
                put(&mut bytes, 6, checksum::udp_zero_rule(sum));
            }
            bytes
        }
        Protocol::Sctp => {
            let mut bytes = ports;
            bytes.extend([0, 0, 0, 1, 0, 0, 0, 0]);
            bytes.extend([chunk(spec.chunk.as_deref().unwrap_or("init"))?, 0]);
            bytes.extend(u16::try_from(4 + payload.len()).map_err(|_| TOO_LONG)?.to_be_bytes());
            bytes.extend(payload);
            // A chunk fills whole words, and its length does not count what fills them.
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            sctp_checksum(&mut bytes);
            bytes
        }
        Protocol::Icmp | Protocol::Icmpv6 => {
            let icmp = spec.icmp.as_deref().ok_or("an ICMP packet without its message")?;
            message(icmp, &payload, src, dst)?
        }
        Protocol::Ah | Protocol::Esp | Protocol::Other(_) => payload,
    };
    if spec.badcsum
        && let Some(place) = checksum_place(protocol)
        && let Some(byte) = bytes.get_mut(place)
    {
        *byte ^= 0xFF;
    }
    Ok(bytes)
}

fn checksum_place(protocol: Protocol) -> Option<usize> {
    match protocol {
        Protocol::Tcp => Some(16),
        Protocol::Udp => Some(6),
        Protocol::Sctp => Some(8),
        Protocol::Icmp | Protocol::Icmpv6 => Some(2),
        Protocol::Ah | Protocol::Esp | Protocol::Other(_) => None,
    }
}

fn payload(spec: &PacketSpec) -> Result<Vec<u8>, String> {
    match &spec.data {
        Some(hex) => unhex(hex).ok_or_else(|| format!("{hex:?} is not hexadecimal")),
        None => {
            let len = match spec.chunk {
                Some(_) if spec.plen == 0 => CHUNK_BODY,
                _ => spec.plen,
            };
            Ok(PATTERN.iter().copied().cycle().take(len).collect())
        }
    }
}

fn unhex(hex: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        hex.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect()
}

/// TCP's flags by their letters, the lowest bit first.
pub(super) const TCP_LETTERS: &str = "FSRPAUEC";

fn tcp_flags(letters: &str) -> Result<u8, String> {
    letters.chars().try_fold(0, |flags, letter| {
        let bit = TCP_LETTERS.find(letter).ok_or_else(|| format!("{letter:?} is no TCP flag"))?;
        Ok(flags | 1 << bit)
    })
}

/// SCTP's chunk types by name (RFC 9260, 3.2).
fn chunk(name: &str) -> Result<u8, String> {
    Ok(match name.replace('_', "-").as_str() {
        "data" => 0,
        "init" => 1,
        "init-ack" => 2,
        "sack" => 3,
        "heartbeat" => 4,
        "heartbeat-ack" => 5,
        "abort" => 6,
        "shutdown" => 7,
        "shutdown-ack" => 8,
        "error" => 9,
        "cookie-echo" => 10,
        "cookie-ack" => 11,
        "ecne" => 12,
        "cwr" => 13,
        "shutdown-complete" => 14,
        other => other.parse().map_err(|_| format!("{other:?} is no SCTP chunk"))?,
    })
}

fn sctp_checksum(bytes: &mut [u8]) {
    let sum = checksum::Crc32c::START.bytes(bytes).value().to_le_bytes();
    if let Some(place) = bytes.get_mut(sctp::CHECKSUM..sctp::HEADER_LEN) {
        place.copy_from_slice(&sum);
    }
}

fn message(icmp: &IcmpSpec, payload: &[u8], src: Addr, dst: Addr) -> Result<Vec<u8>, String> {
    let v6 = src.family() == Family::V6;
    let mut bytes = vec![icmp.kind, icmp.code, 0, 0];
    match (&icmp.inner, icmp.mtu) {
        (None, _) => {
            bytes.extend(icmp.id.to_be_bytes());
            bytes.extend(icmp.seq.to_be_bytes());
        }
        // RFC 1191 has the MTU in the lower half, RFC 4443 in the whole word.
        (Some(_), mtu) => bytes.extend(mtu.unwrap_or(0).to_be_bytes()),
    }
    if let Some(inner) = &icmp.inner {
        let quoted = packet(inner, 1)?;
        let most = if v6 { usize::MAX } else { IPV4_HEADER + QUOTED };
        let len = icmp.inner_len.unwrap_or(most).min(quoted.len());
        bytes.extend(quoted.get(..len).unwrap_or_default());
        // An IPv6 error never exceeds the least MTU (RFC 4443, 2.4).
        bytes.truncate(1280 - IPV6_HEADER);
    }
    bytes.extend(payload);
    let sum = match v6 {
        true => checksum::transport(src, dst, Protocol::Icmpv6, &bytes),
        false => checksum::of(&bytes),
    };
    put(&mut bytes, 2, sum);
    Ok(bytes)
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}
