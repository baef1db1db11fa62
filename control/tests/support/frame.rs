//! Frames and packets made by hand.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Everybody on the link.
pub const BROADCAST: [u8; 6] = [0xFF; 6];

/// What an ARP message says (RFC 826).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    pub to: [u8; 6],
    pub from: [u8; 6],
    /// 1 asks, 2 answers.
    pub operation: u16,
    pub sender: Ipv4Addr,
    pub sender_mac: [u8; 6],
    pub target: Ipv4Addr,
    pub target_mac: [u8; 6],
}

impl Arp {
    /// Who has `target`?
    pub fn question(from: [u8; 6], sender: &str, target: &str) -> Self {
        Self {
            to: BROADCAST,
            from,
            operation: 1,
            sender: sender.parse().unwrap(),
            sender_mac: from,
            target: target.parse().unwrap(),
            target_mac: [0; 6],
        }
    }

    /// The answer to a question: the target is at `mac`.
    pub fn answer(&self, mac: [u8; 6]) -> Self {
        Self {
            to: self.sender_mac,
            from: mac,
            operation: 2,
            sender: self.target,
            sender_mac: mac,
            target: self.sender,
            target_mac: self.sender_mac,
        }
    }

    /// As a frame, padded to the shortest that there is.
    pub fn frame(&self) -> Vec<u8> {
        let mut frame = ethernet(self.to, self.from, 0x0806);
        frame.extend([0, 1, 8, 0, 6, 4]);
        frame.extend(self.operation.to_be_bytes());
        frame.extend(self.sender_mac);
        frame.extend(self.sender.octets());
        frame.extend(self.target_mac);
        frame.extend(self.target.octets());
        frame.resize(60, 0);
        frame
    }

    /// Reads one, if the frame is one.
    pub fn read(frame: &[u8]) -> Option<Self> {
        if frame.get(12..20)? != [8, 6, 0, 1, 8, 0, 6, 4] {
            return None;
        }
        let mac = |at: usize| frame.get(at..at + 6)?.try_into().ok();
        let address = |at: usize| {
            let bytes: [u8; 4] = frame.get(at..at + 4)?.try_into().ok()?;
            Some(Ipv4Addr::from(bytes))
        };
        Some(Self {
            to: mac(0)?,
            from: mac(6)?,
            operation: u16::from_be_bytes(frame.get(20..22)?.try_into().ok()?),
            sender_mac: mac(22)?,
            sender: address(28)?,
            target_mac: mac(32)?,
            target: address(38)?,
        })
    }
}

/// An Ethernet header.
pub fn ethernet(to: [u8; 6], from: [u8; 6], ether_type: u16) -> Vec<u8> {
    let mut frame = Vec::with_capacity(128);
    frame.extend(to);
    frame.extend(from);
    frame.extend(ether_type.to_be_bytes());
    frame
}

/// The Internet checksum (RFC 1071).
pub fn checksum(parts: &[&[u8]]) -> u16 {
    let bytes: Vec<u8> = parts.concat();
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(pair[0]) << 8 | u32::from(pair.get(1).copied().unwrap_or(0));
    }
    while sum > 0xFFFF {
        sum = (sum & 0xFFFF) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IPv4 packet without options.
pub fn ipv4(protocol: u8, from: &str, to: &str, payload: &[u8]) -> Vec<u8> {
    let (from, to): (Ipv4Addr, Ipv4Addr) = (from.parse().unwrap(), to.parse().unwrap());
    let mut packet = vec![0x45, 0];
    packet.extend((payload.len() as u16 + 20).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, protocol, 0, 0]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(&[&packet]);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A UDP datagram over IPv4, whole (RFC 768; a checksum of 0 is none).
pub fn udp(from: (&str, u16), to: (&str, u16), text: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(from.1.to_be_bytes());
    datagram.extend(to.1.to_be_bytes());
    datagram.extend((text.len() as u16 + 8).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(text);
    ipv4(17, from.0, to.0, &datagram)
}

/// An SCTP packet with an INIT chunk (RFC 9260, 3.3.2), with its CRC-32c.
pub fn sctp_init(from: u16, to: u16) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(from.to_be_bytes());
    packet.extend(to.to_be_bytes());
    packet.extend([0; 8]);
    packet.extend([1, 0, 0, 20, 0, 0, 0, 7, 0, 0, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
    let sum = crc32c(&packet);
    packet[8..12].copy_from_slice(&sum.to_le_bytes());
    packet
}

fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82F6_3B78 } else { crc >> 1 };
        }
    }
    !crc
}

/// An ICMP error about a packet: its header and 8 bytes more are quoted (RFC 792).
pub fn icmp_error(kind: u8, code: u8, rest: u32, about: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(rest.to_be_bytes());
    message.extend(&about[..about.len().min(28)]);
    let sum = checksum(&[&message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    message
}

/// A Neighbour Solicitation (RFC 4861, 4.3) as a whole frame to the target's own group.
pub fn solicitation(from: [u8; 6], sender: &str, target: &str) -> Vec<u8> {
    let (sender, target): (Ipv6Addr, Ipv6Addr) = (sender.parse().unwrap(), target.parse().unwrap());
    let [.., a, b, c] = target.octets();
    let mut group = Ipv6Addr::new(0xFF02, 0, 0, 0, 0, 1, 0xFF00, 0).octets();
    group[13..].copy_from_slice(&[a, b, c]);
    let mut message = vec![135, 0, 0, 0, 0, 0, 0, 0];
    message.extend(target.octets());
    message.extend([1, 1]);
    message.extend(from);
    let pseudo = [0, 0, 0, 32, 0, 0, 0, 58];
    let sum = checksum(&[&sender.octets(), &group, &pseudo, &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut frame = ethernet([0x33, 0x33, 0xFF, a, b, c], from, 0x86DD);
    frame.extend([0x60, 0, 0, 0, 0, 32, 58, 255]);
    frame.extend(sender.octets());
    frame.extend(group);
    frame.extend(message);
    frame
}
