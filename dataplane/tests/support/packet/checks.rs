//! Checksums and offsets by their definitions, to build frames and to check answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub fn octets(addr: IpAddr) -> Vec<u8> {
    match addr {
        IpAddr::V4(addr) => addr.octets().to_vec(),
        IpAddr::V6(addr) => addr.octets().to_vec(),
    }
}

pub fn internet_checksum(bytes: &[u8]) -> u16 {
    let mut sum = 0_u64;
    for pair in bytes.chunks(2) {
        sum += u64::from(pair[0]) * 256 + u64::from(*pair.get(1).unwrap_or(&0));
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

pub fn pseudo_header(src: IpAddr, dst: IpAddr, protocol: u8, len: usize) -> Vec<u8> {
    let mut bytes = [octets(src), octets(dst)].concat();
    bytes.extend(u32::try_from(len).unwrap().to_be_bytes());
    bytes.extend([0, 0, 0, protocol]);
    bytes
}

pub fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    !crc
}

/// Where the packet begins in a frame with any number of VLAN tags.
pub fn l3_of(frame: &[u8]) -> usize {
    let mut at = 12;
    while matches!(frame.get(at..at + 2), Some([0x81, 0x00] | [0x88, 0xA8])) {
        at += 4;
    }
    at + 2
}

/// The addresses, the protocol and the transport bytes of a whole IP packet in a frame that is
/// known to be well-formed; IPv6 extension headers (but no fragments) are skipped.
pub fn transport_of(frame: &[u8]) -> (IpAddr, IpAddr, u8, &[u8]) {
    let packet = &frame[l3_of(frame)..];
    let u16_at = |at: usize| usize::from(u16::from_be_bytes([packet[at], packet[at + 1]]));
    if packet[0] >> 4 == 4 {
        let addr = |at: usize| {
            IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(&packet[at..at + 4]).unwrap()))
        };
        let header_len = usize::from(packet[0] & 15) * 4;
        return (addr(12), addr(16), packet[9], &packet[header_len..u16_at(2)]);
    }
    let addr =
        |at: usize| IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap()));
    let (mut next, mut at) = (packet[6], 40);
    while matches!(next, 0 | 43 | 60 | 51) {
        let len = usize::from(packet[at + 1]);
        let step = if next == 51 { (len + 2) * 4 } else { (len + 1) * 8 };
        next = packet[at];
        at += step;
    }
    (addr(8), addr(24), next, &packet[at..40 + u16_at(4)])
}

/// Fails unless the checksums of the whole IP packet in this frame are right: IPv4 header, TCP,
/// UDP (none is right over IPv4), ICMP, ICMPv6, SCTP.
pub fn assert_checksums(frame: &[u8]) {
    let packet = &frame[l3_of(frame)..];
    let what = super::describe(frame);
    if packet[0] >> 4 == 4 {
        let header_len = usize::from(packet[0] & 15) * 4;
        assert_eq!(internet_checksum(&packet[..header_len]), 0, "IPv4 header checksum of {what}");
    }
    let (src, dst, protocol, transport) = transport_of(frame);
    match protocol {
        17 if transport[6..8] == [0, 0] => assert!(src.is_ipv4(), "no UDP checksum in {what}"),
        6 | 17 | 58 => {
            let pseudo = pseudo_header(src, dst, protocol, transport.len());
            let sum = internet_checksum(&[&pseudo, transport].concat());
            assert_eq!(sum, 0, "transport checksum of {what}");
        }
        1 => assert_eq!(internet_checksum(transport), 0, "ICMP checksum of {what}"),
        132 => {
            let cleared = [&transport[..8], &[0; 4], &transport[12..]].concat();
            let found = u32::from_le_bytes(transport[8..12].try_into().unwrap());
            assert_eq!(found, crc32c(&cleared), "SCTP checksum of {what}");
        }
        _ => {}
    }
}
