//! The first look at an IPv6 frame, as `read` has it for IPv4.

use super::read::{Gate, TAGGED, UNTAGGED, WideForm, eight};
use crate::wire::field::u16_at;
use crate::wire::{Addr, ipv6, tcp, udp};

/// The headers of an untagged frame with IPv6 and UDP: no whole frame of TCP is shorter.
pub(super) const UNTAGGED_HEAD_V6: usize = UNTAGGED + ipv6::HEADER_LEN + udp::HEADER_LEN;
/// The same with a tag.
pub(super) const TAGGED_HEAD_V6: usize = TAGGED + ipv6::HEADER_LEN + udp::HEADER_LEN;

/// A destination: the address's two words and the port, as they stand in the packet, and the
/// protocol above the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetV6 {
    pub vip: [u64; 2],
    port_and_number: u32,
}

impl TargetV6 {
    pub(super) fn vip(self) -> Addr {
        Addr::from_words(self.vip.map(u64::swap_bytes))
    }

    pub(super) const fn vip_port(self) -> u16 {
        (self.port_and_number as u16).swap_bytes()
    }

    pub(super) const fn protocol(self) -> u8 {
        (self.port_and_number >> 16) as u8
    }

    /// All of it in one word, well enough mixed to find it by.
    pub(super) fn mixed(self) -> u64 {
        let [high, low] = self.vip;
        let port = u64::from(self.port_and_number);
        let mixed = (high ^ port).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ low;
        (mixed ^ mixed >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }
}

/// What a plain packet says besides its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlainV6 {
    /// The halves of CIP, the upper one first.
    pub client: [u64; 2],
    /// Bytes of the IP packet.
    pub total_len: u16,
}

/// EtherType IPv6 and the version, as they stand.
const V6_PLAIN: u64 = 0x0060_DD86;
/// The bits of it.
const V6_PLAIN_BITS: u64 = 0x00F0_FFFF;
/// In the header's first eight bytes: where the next header's number begins.
const NUMBER_SHIFT: u32 = 48;
/// There: where all of the hop limit but its lowest bit begins.
const HOPS_SHIFT: u32 = 57;
/// Upper halves of sources from here on are groups'.
pub(super) const GROUPS: u64 = 0xFF << 56;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Whether it is an IPv6 frame for this port.
#[inline(always)]
fn is_v6<const L3: usize, const HEAD: usize>(head: &[u8; HEAD], gate: Gate) -> bool {
    eight(head, L3 - 2) & V6_PLAIN_BITS == V6_PLAIN && gate.takes::<L3, HEAD>(head)
}

/// Eight bytes, most significant first.
#[inline(always)]
fn number<const HEAD: usize>(head: &[u8; HEAD], at: usize) -> u64 {
    eight(head, at).swap_bytes()
}

/// The same of all packets, for one of which it is known whether it is of `UDP`, else of TCP:
/// `None` where a length, the source or the hop limit is not plain.
#[inline(always)]
fn read_rest<const L3: usize, const HEAD: usize, const OF_UDP: bool>(
    frame: &[u8],
    head: &[u8; HEAD],
) -> Option<PlainV6> {
    let l4 = L3 + ipv6::HEADER_LEN;
    let payload = u16_at(head, L3 + ipv6::PAYLOAD_LEN)?;
    let (least, needed) = match OF_UDP {
        true => (udp::HEADER_LEN as u16, u16_at(head, l4 + udp::LEN)?),
        false => {
            let data_offset = *frame.get(l4 + tcp::FLAGS - 1)?;
            (tcp::HEADER_LEN as u16, u16::from(data_offset >> 4) * 4)
        }
    };
    let client = [number(head, L3 + ipv6::SRC), number(head, L3 + ipv6::SRC + 8)];
    let [high, _] = client;
    // Below 2^64 there are the unspecified address, the host itself and IPv4 in disguise.
    let good_source = high != 0 && high < GROUPS;
    let fits = needed >= least && needed <= payload && l4 + usize::from(payload) <= frame.len();
    let total_len = payload.checked_add(ipv6::HEADER_LEN as u16)?;
    let plain = fits && good_source && eight(head, L3) >> HOPS_SHIFT != 0;
    plain.then_some(PlainV6 { client, total_len })
}

/// Reads a frame whose IP header begins at `L3` and which has at least `HEAD` bytes:
/// [`UNTAGGED`] and [`UNTAGGED_HEAD_V6`], or [`TAGGED`] and [`TAGGED_HEAD_V6`].
#[inline(always)]
pub(super) fn read_v6<const L3: usize, const HEAD: usize>(
    frame: &[u8],
    gate: Gate,
) -> Option<(TargetV6, PlainV6)> {
    let head = frame.first_chunk::<HEAD>()?;
    if !is_v6::<L3, HEAD>(head, gate) {
        return None;
    }
    let protocol = (eight(head, L3) >> NUMBER_SHIFT) as u8;
    let plain = match protocol {
        TCP => read_rest::<L3, HEAD, false>(frame, head)?,
        UDP => read_rest::<L3, HEAD, true>(frame, head)?,
        _ => return None,
    };
    let port = u16_at(head, L3 + ipv6::HEADER_LEN + udp::DST_PORT)?.swap_bytes();
    let vip = [eight(head, L3 + ipv6::DST), eight(head, L3 + ipv6::DST + 8)];
    let port_and_number = u32::from(protocol) << 16 | u32::from(port);
    Some((TargetV6 { vip, port_and_number }, plain))
}

/// What is the same in all plain packets to one destination.
#[derive(Clone, Copy, Debug)]
pub(super) struct FormV6 {
    gate: Gate,
    target: TargetV6,
}

impl FormV6 {
    /// The form of packets to this destination, over TCP or UDP.
    pub(super) fn new(gate: Gate, target: TargetV6) -> Self {
        Self { gate, target }
    }

    /// Whether the packets are UDP's.
    pub(super) fn is_udp(&self) -> bool {
        self.target.protocol() == UDP
    }

    /// The form as the first 64 bytes of a frame.
    pub(super) fn wide<const L3: usize>(&self) -> WideForm {
        let TargetV6 { vip: [high, low], port_and_number } = self.target;
        let port = (port_and_number as u16).to_le_bytes();
        WideForm::new::<L3>(self.gate)
            .with(L3 - 2, &V6_PLAIN.to_le_bytes(), &(V6_PLAIN_BITS as u32).to_le_bytes())
            .with(L3 + ipv6::NEXT_HEADER, &[self.target.protocol()], &[0xFF])
            .with(L3 + ipv6::DST, &high.to_le_bytes(), &[0xFF; 8])
            .with(L3 + ipv6::DST + 8, &low.to_le_bytes(), &[0xFF; 8])
            .with(L3 + ipv6::HEADER_LEN + udp::DST_PORT, &port, &[0xFF; 2])
    }

    /// [`read_v6`], for a frame that has this form; `OF_UDP` as [`Self::is_udp`] answers.
    #[inline(always)]
    pub(super) fn read<const L3: usize, const HEAD: usize, const OF_UDP: bool>(
        &self,
        frame: &[u8],
    ) -> Option<PlainV6> {
        let head = frame.first_chunk::<HEAD>()?;
        let [high, low] = self.target.vip;
        let number = if OF_UDP { UDP } else { TCP };
        let port = u16_at(head, L3 + ipv6::HEADER_LEN + udp::DST_PORT)?.swap_bytes();
        let other = (eight(head, L3 + ipv6::DST) ^ high)
            | (eight(head, L3 + ipv6::DST + 8) ^ low)
            | u64::from(port ^ self.target.port_and_number as u16)
            | u64::from((eight(head, L3) >> NUMBER_SHIFT) as u8 ^ number);
        if other != 0 || !is_v6::<L3, HEAD>(head, self.gate) {
            return None;
        }
        read_rest::<L3, HEAD, OF_UDP>(frame, head)
    }
}
