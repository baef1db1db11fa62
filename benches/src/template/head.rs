//! Ethernet, IP and TCP headers of a frame to or from a VIP.

use dataplane::wire::ethernet::Mac;

use super::words::Words;
use crate::plan;

/// Bytes of Ethernet, IPv4 and TCP headers, and what fills an Ethernet frame up to 60.
pub(crate) const HEAD_V4: usize = 60;
/// Bytes of Ethernet, IPv6 and TCP headers.
pub(super) const HEAD_V6: usize = 74;

/// A header of which a client's address and port are left out; see [`Template::known`].
#[derive(Clone, Debug)]
pub enum KnownHead {
    /// IPv4.
    V4(Words<7>),
    /// IPv6.
    V6(Words<9>),
}

/// A header without the fields that a flow decides.
#[derive(Clone, Debug)]
pub(super) enum Head {
    V4(Words<7>),
    V6 {
        /// From clients to a VIP.
        request: Words<9>,
        /// From real servers to clients.
        answer: Words<9>,
    },
}

/// From the gateway to the director, without addresses.
pub(super) fn head_v4(director: Mac, len: usize) -> [u8; HEAD_V4] {
    let mut head = [0; HEAD_V4];
    head[..6].copy_from_slice(&director.0);
    head[6..12].copy_from_slice(&plan::GATEWAY_MAC.0);
    head[12..14].copy_from_slice(&[0x08, 0x00]);
    head[14] = 0x45;
    head[16..18].copy_from_slice(&(len as u16 - 14).to_be_bytes());
    // Don't fragment, TTL 64, TCP.
    head[20..24].copy_from_slice(&[0x40, 0, 64, 6]);
    let tcp: &mut [u8; 26] = &mut [0; 26];
    write_tcp(tcp);
    head[34..].copy_from_slice(tcp);
    head
}

/// From the first of some addresses to another one; their last four bytes are left out.
pub(super) fn head_v6(director: Mac, len: usize, from: [u8; 16], to: [u8; 16]) -> [u8; HEAD_V6] {
    let mut head = [0; HEAD_V6];
    head[..6].copy_from_slice(&director.0);
    head[6..12].copy_from_slice(&plan::GATEWAY_MAC.0);
    head[12..14].copy_from_slice(&[0x86, 0xDD]);
    head[14] = 0x60;
    head[18..20].copy_from_slice(&(len as u16 - 54).to_be_bytes());
    // TCP, hop limit 64.
    head[20..22].copy_from_slice(&[6, 64]);
    head[22..34].copy_from_slice(&from[..12]);
    head[38..50].copy_from_slice(&to[..12]);
    let tcp: &mut [u8; 20] = &mut [0; 20];
    write_tcp(tcp);
    head[54..].copy_from_slice(tcp);
    head
}

/// A TCP header without options, from no port, without flags.
fn write_tcp(tcp: &mut [u8]) {
    let fields: [(usize, [u8; 2]); 4] = [
        (2, plan::VIP_PORT.to_be_bytes()),
        (12, [0x50, 0]),
        (14, [0xFF, 0xFF]),
        // No checksum that a difference could bring to a special case.
        (16, [0x12, 0x34]),
    ];
    for (at, bytes) in fields {
        if let Some(place) = tcp.get_mut(at..at + 2) {
            place.copy_from_slice(&bytes);
        }
    }
}
