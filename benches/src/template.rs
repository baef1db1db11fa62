//! A complete frame from some client to a VIP, of which only a few bytes change.

use dataplane::port::Frame;
use dataplane::wire::Family;
use dataplane::wire::ethernet::Mac;

use crate::draw::{ACK, Flow};
use crate::plan;

/// Bytes of Ethernet, IPv4 and TCP headers, and what fills an Ethernet frame up to 60.
const HEAD_V4: usize = 60;
/// Bytes of Ethernet, IPv6 and TCP headers.
const HEAD_V6: usize = 74;

/// The beginning of a frame, without the fields that a flow decides.
#[derive(Clone, Debug)]
pub struct Template {
    head: Head,
    /// Bytes of the whole frame, without FCS.
    len: usize,
    /// The first IPv6 real server's address.
    server_prefix: [u8; 16],
    /// The first IPv6 client's address.
    client_prefix: [u8; 16],
}

#[derive(Clone, Debug)]
enum Head {
    V4([u8; HEAD_V4]),
    V6([u8; HEAD_V6]),
}

impl Template {
    /// A frame to the first VIP for `director`, `len` bytes long without its FCS. Lengths
    /// below what the headers need are raised to it.
    pub fn new(family: Family, director: Mac, len: u16) -> Self {
        let (head, len) = match family {
            Family::V4 => {
                let len = usize::from(len).max(HEAD_V4);
                (Head::V4(head_v4(director, len)), len)
            }
            Family::V6 => {
                let len = usize::from(len).max(HEAD_V6);
                (Head::V6(head_v6(director, len)), len)
            }
        };
        let server_prefix = plan::server(Family::V6, 0).number().to_be_bytes();
        let client_prefix = plan::client(Family::V6, 0).number().to_be_bytes();
        Self { head, len, server_prefix, client_prefix }
    }

    /// Makes `frame` this flow's. A frame without room for it is left as it is, and the
    /// director counts it as malformed.
    #[inline(always)]
    pub fn write(&self, frame: &mut impl Frame, flow: Flow, vip: Option<[u8; 4]>) {
        if !frame.set_len(self.len) {
            return;
        }
        match &self.head {
            Head::V4(head) => {
                let Some(bytes) = frame.bytes_mut().first_chunk_mut::<HEAD_V4>() else { return };
                *bytes = *head;
                bytes[26..30].copy_from_slice(&plan::client_v4(flow.client).to_be_bytes());
                if let Some(vip) = vip {
                    bytes[30..34].copy_from_slice(&vip);
                }
                bytes[34..36].copy_from_slice(&flow.port.to_be_bytes());
                bytes[47] = flow.flags;
            }
            Head::V6(head) => {
                let Some(bytes) = frame.bytes_mut().first_chunk_mut::<HEAD_V6>() else { return };
                *bytes = *head;
                bytes[34..38].copy_from_slice(&plan::client_v6_low(flow.client).to_be_bytes());
                if let Some(vip) = vip {
                    bytes[50..54].copy_from_slice(&vip);
                }
                bytes[54..56].copy_from_slice(&flow.port.to_be_bytes());
                bytes[67] = flow.flags;
            }
        }
    }

    /// Makes `frame` the real server's answer to this flow.
    #[inline(always)]
    pub fn write_answer(&self, frame: &mut impl Frame, flow: Flow, server: u16) {
        if !frame.set_len(self.len) {
            return;
        }
        match &self.head {
            Head::V4(head) => {
                let Some(bytes) = frame.bytes_mut().first_chunk_mut::<HEAD_V4>() else { return };
                *bytes = *head;
                bytes[26..30].copy_from_slice(&plan::server_bytes(Family::V4, server));
                bytes[30..34].copy_from_slice(&plan::client_v4(flow.client).to_be_bytes());
                bytes[34..36].copy_from_slice(&plan::VIP_PORT.to_be_bytes());
                bytes[36..38].copy_from_slice(&flow.port.to_be_bytes());
            }
            Head::V6(head) => {
                let Some(bytes) = frame.bytes_mut().first_chunk_mut::<HEAD_V6>() else { return };
                *bytes = *head;
                bytes[22..38].copy_from_slice(&self.server_prefix);
                bytes[34..38].copy_from_slice(&plan::server_bytes(Family::V6, server));
                bytes[38..54].copy_from_slice(&self.client_prefix);
                bytes[50..54].copy_from_slice(&plan::client_v6_low(flow.client).to_be_bytes());
                bytes[54..56].copy_from_slice(&plan::VIP_PORT.to_be_bytes());
                bytes[56..58].copy_from_slice(&flow.port.to_be_bytes());
            }
        }
    }

    /// Bytes of the frame, without FCS.
    pub fn frame_len(&self) -> usize {
        self.len
    }
}

fn head_v4(director: Mac, len: usize) -> [u8; HEAD_V4] {
    let mut head = [0; HEAD_V4];
    head[..6].copy_from_slice(&director.0);
    head[6..12].copy_from_slice(&plan::GATEWAY_MAC.0);
    head[12..14].copy_from_slice(&[0x08, 0x00]);
    head[14] = 0x45;
    head[16..18].copy_from_slice(&(len as u16 - 14).to_be_bytes());
    // Don't fragment, TTL 64, TCP.
    head[20..24].copy_from_slice(&[0x40, 0, 64, 6]);
    head[30..34].copy_from_slice(&plan::vip_bytes(Family::V4, 0));
    let tcp: &mut [u8; 26] = &mut [0; 26];
    write_tcp(tcp);
    head[34..].copy_from_slice(tcp);
    head
}

fn head_v6(director: Mac, len: usize) -> [u8; HEAD_V6] {
    let mut head = [0; HEAD_V6];
    head[..6].copy_from_slice(&director.0);
    head[6..12].copy_from_slice(&plan::GATEWAY_MAC.0);
    head[12..14].copy_from_slice(&[0x86, 0xDD]);
    head[14] = 0x60;
    head[18..20].copy_from_slice(&(len as u16 - 54).to_be_bytes());
    // TCP, hop limit 64.
    head[20..22].copy_from_slice(&[6, 64]);
    head[22..38].copy_from_slice(&plan::client(Family::V6, 0).number().to_be_bytes());
    head[38..54].copy_from_slice(&plan::vip(Family::V6, 0).number().to_be_bytes());
    let tcp: &mut [u8; 20] = &mut [0; 20];
    write_tcp(tcp);
    head[54..].copy_from_slice(tcp);
    head
}

/// A TCP header without options, from no port.
fn write_tcp(tcp: &mut [u8]) {
    let fields: [(usize, [u8; 2]); 4] = [
        (2, plan::VIP_PORT.to_be_bytes()),
        (12, [0x50, ACK]),
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
