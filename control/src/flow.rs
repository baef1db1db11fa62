//! A packet described in words: `tcp 198.18.0.5:40000 -> 198.18.255.1:443`.

use std::net::{IpAddr, SocketAddr};

use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Protocol, TcpFlags, Vlan};
use thiserror::Error;

/// What is wrong with a description.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum FlowError {
    /// Not `PROTOCOL CLIENT -> VIP`.
    #[error("'{0}' is no packet: write 'tcp 198.18.0.5:40000 -> 198.18.255.1:443'")]
    Shape(String),
    /// Another protocol.
    #[error("'{0}' is no protocol that is balanced: write tcp, udp or sctp")]
    Protocol(String),
    /// Not an address and a port.
    #[error("'{0}' is no address with a port: write 198.18.0.5:40000 or [2001:db8::5]:40000")]
    Endpoint(String),
    /// IPv4 to IPv6 or the reverse.
    #[error("{0} and {1} are of different address families")]
    Families(IpAddr, IpAddr),
    /// An unknown flag.
    #[error("'{0}' is no TCP flag: write letters out of S, F, R, P, A and U")]
    Flag(char),
}

/// A packet that somebody asks about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlowText {
    protocol: Protocol,
    client: SocketAddr,
    vip: SocketAddr,
    flags: TcpFlags,
}

impl FlowText {
    /// Reads a description and TCP flags by their letters.
    pub fn parse(flow: &str, flags: &str) -> Result<Self, FlowError> {
        let shape = || FlowError::Shape(flow.trim().to_owned());
        let (left, vip) = flow.split_once("->").ok_or_else(shape)?;
        let mut words = left.split_whitespace();
        let (protocol, client) = (words.next().ok_or_else(shape)?, words.next().ok_or_else(shape)?);
        if words.next().is_some() {
            return Err(shape());
        }
        let protocol = match protocol.to_ascii_lowercase().as_str() {
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "sctp" => Protocol::Sctp,
            _ => return Err(FlowError::Protocol(protocol.to_owned())),
        };
        let endpoint = |text: &str| {
            text.trim().parse().map_err(|_| FlowError::Endpoint(text.trim().to_owned()))
        };
        let (client, vip): (SocketAddr, SocketAddr) = (endpoint(client)?, endpoint(vip)?);
        if client.is_ipv4() != vip.is_ipv4() {
            return Err(FlowError::Families(client.ip(), vip.ip()));
        }
        Ok(Self { protocol, client, vip, flags: parse_flags(flags)? })
    }

    /// The packet as a frame for a port with this MAC address and VLAN.
    pub fn frame(&self, mac: Mac, vlan: Vlan) -> Vec<u8> {
        let mut frame = Vec::with_capacity(100);
        frame.extend(mac.0);
        frame.extend([2, 0, 0, 0, 0, 0xFE]);
        if let Some(tci) = vlan.tci() {
            frame.extend([0x81, 0x00]);
            frame.extend(tci.to_be_bytes());
        }
        let transport = self.transport();
        let length = transport.len() as u16;
        match (self.client.ip(), self.vip.ip()) {
            (IpAddr::V4(client), IpAddr::V4(vip)) => {
                frame.extend([0x08, 0x00, 0x45, 0]);
                frame.extend((length + 20).to_be_bytes());
                frame.extend([0, 0, 0x40, 0, 64, self.protocol.number(), 0, 0]);
                frame.extend(client.octets());
                frame.extend(vip.octets());
            }
            (IpAddr::V6(client), IpAddr::V6(vip)) => {
                frame.extend([0x86, 0xDD, 0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([self.protocol.number(), 64]);
                frame.extend(client.octets());
                frame.extend(vip.octets());
            }
            // Refused by `parse`.
            _ => {}
        }
        frame.extend(transport);
        frame
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.client.port().to_be_bytes());
        bytes.extend(self.vip.port().to_be_bytes());
        match self.protocol {
            Protocol::Tcp => {
                bytes.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, self.flags.bits()]);
                bytes.extend([0x20, 0, 0, 0, 0, 0]);
            }
            Protocol::Sctp => {
                bytes.extend([0, 0, 0, 0, 0, 0, 0, 0]);
                // An INIT chunk without parameters (RFC 9260, 3.3.2).
                bytes.extend([1, 0, 0, 20, 0, 0, 0, 1, 0, 0, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 1]);
            }
            _ => bytes.extend([0, 8, 0, 0]),
        }
        bytes
    }
}

fn parse_flags(letters: &str) -> Result<TcpFlags, FlowError> {
    letters.chars().try_fold(TcpFlags::empty(), |flags, letter| {
        let flag = match letter.to_ascii_uppercase() {
            'S' => TcpFlags::SYN,
            'F' => TcpFlags::FIN,
            'R' => TcpFlags::RST,
            'P' => TcpFlags::PSH,
            'A' => TcpFlags::ACK,
            'U' => TcpFlags::URG,
            _ => return Err(FlowError::Flag(letter)),
        };
        Ok(flags | flag)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataplane::wire::{Parsed, parse};

    #[test]
    fn a_description_becomes_the_packet_that_it_describes() {
        for (text, protocol) in [
            ("tcp 198.18.0.5:40000 -> 198.18.255.1:443", Protocol::Tcp),
            ("UDP  198.18.0.5:40000->198.18.255.1:443", Protocol::Udp),
            ("sctp 198.18.0.5:40000 -> 198.18.255.1:443", Protocol::Sctp),
            ("tcp [2001:db8::5]:40000 -> [2001:db8:255::1]:443", Protocol::Tcp),
            ("udp [2001:db8::5]:40000 -> [2001:db8:255::1]:443", Protocol::Udp),
        ] {
            for vlan in [Vlan::UNTAGGED, Vlan::tagged(7)] {
                let flow = FlowText::parse(text, "SA").unwrap();
                let frame = flow.frame(Mac([2, 0, 0, 0, 0, 1]), vlan);
                let Parsed::Packet(packet) = parse(&frame) else { panic!("{text}") };
                assert_eq!(packet.protocol, protocol, "{text}");
                assert_eq!((packet.src_port, packet.dst_port), (40_000, 443), "{text}");
                assert_eq!(packet.vlan.id(), vlan.id());
                if protocol == Protocol::Tcp {
                    assert_eq!(packet.tcp_flags, TcpFlags::SYN | TcpFlags::ACK);
                }
            }
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_an_example() {
        let problem =
            |flow: &str, flags: &str| FlowText::parse(flow, flags).unwrap_err().to_string();
        assert!(problem("hello", "S").contains("write 'tcp"));
        assert!(problem("tcp a b -> 198.18.0.1:1", "S").contains("is no packet"));
        assert!(problem("icmp 198.18.0.5:1 -> 198.18.0.1:1", "S").contains("tcp, udp or sctp"));
        assert!(problem("tcp 198.18.0.5 -> 198.18.0.1:1", "S").contains("address with a port"));
        assert!(problem("tcp 198.18.0.5:1 -> [2001:db8::1]:1", "S").contains("different"));
        assert!(problem("tcp 198.18.0.5:1 -> 198.18.0.1:1", "SX").contains("'X'"));
    }
}
