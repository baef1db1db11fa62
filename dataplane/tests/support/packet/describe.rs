//! A frame in one line, for failing tests. Never fails, whatever the bytes.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::checks::l3_of;

/// TCP flags from the lowest bit up.
pub const FLAG_LETTERS: &str = "FSRPAUEC";

/// The frame in one line: MACs, VLANs, addresses, protocol, what is notable, length.
pub fn describe(frame: &[u8]) -> String {
    let mut line = String::new();
    let l3 = l3_of(frame);
    for tag in frame.get(14..l3).unwrap_or_default().chunks_exact(4) {
        let _ = write!(line, "vlan {} ", u16::from_be_bytes([tag[0], tag[1]]) & 0xFFF);
    }
    let ethertype = frame.get(l3 - 2..l3).unwrap_or_default();
    let packet = frame.get(l3..).unwrap_or_default();
    let what = match ethertype {
        [0x08, 0x00] => ipv4(packet),
        [0x86, 0xDD] => ipv6(packet),
        [0x08, 0x06] => arp(packet),
        other => Some(format!("ethertype {other:02x?}")),
    };
    line += &what.unwrap_or_else(|| format!("cut short {packet:02x?}"));
    let mac = |at: usize| {
        let bytes = frame.get(at..at + 6).unwrap_or_default();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":")
    };
    format!("{} > {} {line} ({} bytes)", mac(6), mac(0), frame.len())
}

fn ipv4(packet: &[u8]) -> Option<String> {
    let header = packet.first_chunk::<20>()?;
    let src = IpAddr::V4(Ipv4Addr::new(header[12], header[13], header[14], header[15]));
    let dst = IpAddr::V4(Ipv4Addr::new(header[16], header[17], header[18], header[19]));
    let place = u16::from_be_bytes([header[6], header[7]]);
    let end = usize::from(u16::from_be_bytes([header[2], header[3]])).min(packet.len());
    let body = packet.get(usize::from(header[0] & 15) * 4..end)?;
    let offset = usize::from(place & 0x1FFF) * 8;
    let mut line = transport(src, dst, header[9], (offset == 0).then_some(body))?;
    if place & 0x3FFF != 0 {
        let id = u16::from_be_bytes([header[4], header[5]]);
        let _ = write!(line, " fragment {id:#x} at {offset}, more {}", place & 0x2000 != 0);
    }
    let _ = write!(line, " ttl {}", header[8]);
    Some(line)
}

fn ipv6(packet: &[u8]) -> Option<String> {
    let header = packet.first_chunk::<40>()?;
    let addr = |at: usize| {
        let bytes: [u8; 16] = header[at..at + 16].try_into().unwrap_or_default();
        IpAddr::V6(Ipv6Addr::from(bytes))
    };
    let (mut next, mut at, mut notes) = (header[6], 40, String::new());
    let mut first = true;
    while matches!(next, 0 | 43 | 44 | 51 | 60) && first {
        let extension = packet.get(at..)?.first_chunk::<8>()?;
        let len = usize::from(extension[1]);
        let _ = write!(notes, " ext {next}");
        at += match next {
            44 => {
                let place = u16::from_be_bytes([extension[2], extension[3]]);
                first = place & !7 == 0;
                let _ = write!(notes, " at {}, more {}", place & !7, place & 1 != 0);
                8
            }
            51 => (len + 2) * 4,
            _ => (len + 1) * 8,
        };
        next = extension[0];
    }
    let body = packet.get(at..)?;
    let line = transport(addr(8), addr(24), next, first.then_some(body))?;
    Some(format!("{line}{notes} hop limit {}", header[7]))
}

fn transport(src: IpAddr, dst: IpAddr, protocol: u8, body: Option<&[u8]>) -> Option<String> {
    let Some(body) = body else { return Some(format!("{src} > {dst} protocol {protocol}")) };
    let ports = body.first_chunk::<4>().map(|[a, b, c, d]| {
        let (from, to) = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
        format!("{src} port {from} > {dst} port {to}")
    });
    match protocol {
        6 => {
            let bits = *body.get(13)?;
            let letters = FLAG_LETTERS.chars().enumerate();
            let flags: String =
                letters.filter(|(bit, _)| bits >> bit & 1 == 1).map(|(_, letter)| letter).collect();
            let number = |at: usize| -> Option<u32> {
                Some(u32::from_be_bytes(body.get(at..at + 4)?.try_into().ok()?))
            };
            Some(format!("{} TCP {flags} seq {} ack {}", ports?, number(4)?, number(8)?))
        }
        17 => Some(format!("{} UDP", ports?)),
        132 => Some(format!("{} SCTP chunk {}", ports?, body.get(12)?)),
        1 | 58 => Some(format!("{src} > {dst} ICMP {}/{}", body.first()?, body.get(1)?)),
        other => Some(format!("{src} > {dst} protocol {other}")),
    }
}

fn arp(packet: &[u8]) -> Option<String> {
    let arp = packet.first_chunk::<28>()?;
    let addr = |at: usize| Ipv4Addr::new(arp[at], arp[at + 1], arp[at + 2], arp[at + 3]);
    let word = if arp[7] == 1 { "asks for" } else { "answers to" };
    Some(format!("ARP {} {word} {}", addr(14), addr(24)))
}
