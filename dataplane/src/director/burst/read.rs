//! The first look at a frame: is it a plain packet, and what does it say?
//!
//! Plain is what nearly all traffic is: sent to this port's MAC address alone, on its VLAN, a
//! whole TCP, UDP packet without IP options or extension headers, consistent, with hops left.
//! All else is `None` here, and the reference path knows what it is.

use crate::wire::ethernet::{HEADER_LEN, Mac, TAG_LEN};
use crate::wire::{Vlan, ipv4, tcp, udp};

/// Where the IP header of an untagged frame begins.
pub(super) const UNTAGGED: usize = HEADER_LEN;
/// Where the IP header of a tagged frame begins.
pub(super) const TAGGED: usize = HEADER_LEN + TAG_LEN;

/// Bytes of an IP header without options and a TCP one: no Ethernet frame is shorter.
const V4_HEAD: usize = ipv4::HEADER_LEN + tcp::HEADER_LEN;

/// What a frame must look like to be read here: a port's MAC address and VLAN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Gate {
    /// The port's own MAC address in the low 48 bits, first byte lowest.
    mac: u64,
    /// The VLAN id, 0 for none.
    pub vlan: u16,
}

impl Gate {
    pub(super) fn new(own: Mac, vlan: Vlan) -> Self {
        let [a, b, c, d, e, f] = own.0;
        Self { mac: u64::from_le_bytes([a, b, c, d, e, f, 0, 0]), vlan: vlan.id().unwrap_or(0) }
    }
}

/// What a plain IPv4 packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderV4 {
    /// VIP, port and protocol, as [`target_v4`] packs them.
    pub target: u64,
    /// CIP.
    pub client: u32,
    /// Bytes of the IP packet.
    pub total_len: u16,
}

/// A destination in one number: address, port and protocol.
pub(super) const fn target_v4(vip: u32, vip_port: u16, protocol: u8) -> u64 {
    (vip as u64) << 32 | (vip_port as u64) << 16 | protocol as u64
}

#[inline(always)]
fn word16<const N: usize>(bytes: &[u8; N], at: usize) -> u16 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(word) => u16::from_be_bytes(*word),
        None => 0,
    }
}

#[inline(always)]
fn word32<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(word) => u32::from_be_bytes(*word),
        None => 0,
    }
}

#[inline(always)]
fn word64<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    match bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        Some(word) => u64::from_le_bytes(*word),
        None => 0,
    }
}

/// Reads a frame whose IP header begins at `L3`: [`UNTAGGED`] or [`TAGGED`].
#[inline(always)]
pub(super) fn read_v4<const L3: usize>(frame: &[u8], gate: Gate) -> Option<HeaderV4> {
    let link = frame.first_chunk::<L3>()?;
    let head = frame.get(L3..)?.first_chunk::<V4_HEAD>()?;
    let for_us = (word64(link, 0) ^ gate.mac) << 16 == 0;
    // EtherType and the IP header's first byte at once.
    let kind = u32::from(word16(link, L3 - 2)) << 8 | u32::from(head[0]);
    if !for_us || kind != 0x0008_0045 {
        return None;
    }
    if L3 == TAGGED && (word16(link, 12) != 0x8100 || word16(link, 14) & 0x0FFF != gate.vlan) {
        return None;
    }
    let total_len = word16(head, 2);
    let fragment = word16(head, 6) & 0x3FFF;
    let [ttl, number] = [head[8], head[9]];
    let client = word32(head, 12);
    let odd_source = client >> 28 == 0xE || client == u32::MAX;
    if fragment != 0 || ttl <= 1 || odd_source || L3 + usize::from(total_len) > frame.len() {
        return None;
    }
    let transport_len = usize::from(total_len).checked_sub(ipv4::HEADER_LEN)?;
    let fits = match number {
        6 => {
            let header_len = usize::from(head[32] >> 4) * 4;
            header_len >= tcp::HEADER_LEN && header_len <= transport_len
        }
        17 => {
            let udp_len = usize::from(word16(head, 24));
            udp_len >= udp::HEADER_LEN && udp_len <= transport_len
        }
        _ => false,
    };
    let target = target_v4(word32(head, 16), word16(head, 22), number);
    fits.then_some(HeaderV4 { target, client, total_len })
}
