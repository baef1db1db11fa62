//! The first look at a frame: is it a plain packet, and what does it say?
//!
//! Plain is what nearly all traffic is: sent to this port's MAC address alone, on its VLAN, a
//! whole TCP, UDP packet without IP options or extension headers, consistent, with hops left.
//! All else is `None` here, and the reference path knows what it is.

use crate::wire::ethernet::{HEADER_LEN, Mac, TAG_LEN, TYPE_VLAN};
use crate::wire::field::{bytes_at, u16_at, u32_at};
use crate::wire::{Protocol, TcpFlags, Vlan, ipv4, tcp, udp};

/// Where the IP header of an untagged frame begins.
pub(super) const UNTAGGED: usize = HEADER_LEN;
/// Where the IP header of a tagged frame begins.
pub(super) const TAGGED: usize = HEADER_LEN + TAG_LEN;

/// The headers of an untagged frame with IPv4 and TCP: no whole Ethernet frame is shorter.
pub(super) const UNTAGGED_HEAD: usize = UNTAGGED + ipv4::HEADER_LEN + tcp::HEADER_LEN;
/// The same with a tag.
pub(super) const TAGGED_HEAD: usize = TAGGED + ipv4::HEADER_LEN + tcp::HEADER_LEN;

/// The least data offset of a TCP header, as it stands.
const TCP_WITHOUT_OPTIONS: u8 = 0x50;

/// What a frame must look like to be read here: a port's MAC address and VLAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Gate {
    /// The port's own MAC address in the upper 48 bits, last byte highest.
    mac: u64,
    /// The VLAN id, 0 for none.
    pub vlan: u16,
}

impl Gate {
    pub(super) fn new(own: Mac, vlan: Vlan) -> Self {
        let [a, b, c, d, e, f] = own.0;
        Self { mac: u64::from_le_bytes([0, 0, a, b, c, d, e, f]), vlan: vlan.id().unwrap_or(0) }
    }

    /// Whether a frame whose IP header begins at `L3` is for the port and on its VLAN.
    #[inline(always)]
    pub(super) fn takes<const L3: usize, const HEAD: usize>(self, link: &[u8; HEAD]) -> bool {
        eight(link, 0) << 16 == self.mac && (L3 != TAGGED || self.is_tagged(link))
    }

    /// Whether the outermost tag is the port's.
    #[inline(always)]
    fn is_tagged(self, link: &[u8]) -> bool {
        u16_at(link, HEADER_LEN - 2) == Some(TYPE_VLAN)
            && u16_at(link, HEADER_LEN).is_some_and(|tci| tci & 0x0FFF == self.vlan)
    }
}

/// What a plain IPv4 packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HeaderV4 {
    /// VIP, port and protocol.
    pub target: TargetV4,
    /// CIP.
    pub client: u32,
    /// Bytes of the IP packet.
    pub total_len: u16,
}

/// A destination in one number: the address's bytes lowest, the protocol, the port's bytes
/// highest, all as they stand in the packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TargetV4(pub u64);

impl TargetV4 {
    pub(super) const fn vip(self) -> u32 {
        (self.0 as u32).swap_bytes()
    }

    pub(super) const fn vip_port(self) -> u16 {
        ((self.0 >> 48) as u16).swap_bytes()
    }

    pub(super) const fn protocol(self) -> u8 {
        (self.0 >> 32) as u8
    }
}

#[inline(always)]
fn byte<const N: usize>(bytes: &[u8; N], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or(0)
}

/// Eight bytes as they stand, the first one lowest.
#[inline(always)]
pub(super) fn eight<const N: usize>(bytes: &[u8; N], at: usize) -> u64 {
    bytes_at(bytes, at).map_or(0, |word| u64::from_le_bytes(*word))
}

/// Four bytes as they stand, the first one lowest.
#[inline(always)]
fn four<const N: usize>(bytes: &[u8; N], at: usize) -> u32 {
    bytes_at(bytes, at).map_or(0, |word| u32::from_le_bytes(*word))
}

/// EtherType IPv4 and a header without options, as they stand.
const V4_PLAIN: u64 = 0x0045_0008;
/// The three bytes of it.
const V4_PLAIN_BYTES: u64 = 0x00FF_FFFF;
/// In the eight bytes from the fragment word on: more fragments, the offset, the protocol.
const V4_WHOLE_BYTES: u64 = 0xFF00_FF3F;
/// There: a whole packet of TCP.
const V4_WHOLE_TCP: u64 = 0x0600_0000;
/// There: a whole packet of UDP.
const V4_WHOLE_UDP: u64 = 0x1100_0000;
/// There: all of the TTL but its lowest bit.
const V4_HOPS_LEFT: u64 = 0x00FE_0000;
/// The bytes of a [`TargetV4`] that are address and port.
const V4_ADDRESS_AND_PORT: u64 = 0xFFFF_0000_FFFF_FFFF;
/// Sources from here on are groups, reserved, or broadcast: the reference path knows which.
pub(super) const V4_ODD_SOURCES: u32 = 0xE000_0000;

/// Reads a frame whose IP header begins at `L3` and which has at least `HEAD` bytes:
/// [`UNTAGGED`] and [`UNTAGGED_HEAD`], or [`TAGGED`] and [`TAGGED_HEAD`].
#[inline(always)]
pub(super) fn read_v4<const L3: usize, const HEAD: usize>(
    frame: &[u8],
    gate: Gate,
) -> Option<(HeaderV4, &[u8; HEAD])> {
    let head = frame.first_chunk::<HEAD>()?;
    let kind = eight(head, L3 - 2) & V4_PLAIN_BYTES;
    if eight(head, 0) << 16 != gate.mac || kind != V4_PLAIN {
        return None;
    }
    if L3 == TAGGED && !gate.is_tagged(head) {
        return None;
    }
    let total_len = u16_at(head, L3 + ipv4::TOTAL_LEN)?;
    let client = u32_at(head, L3 + ipv4::SRC)?;
    if client >= V4_ODD_SOURCES || L3 + usize::from(total_len) > frame.len() {
        return None;
    }
    let middle = eight(head, L3 + ipv4::FLAGS);
    if middle & V4_HOPS_LEFT == 0 {
        return None;
    }
    let (number, needed) = match middle & V4_WHOLE_BYTES {
        V4_WHOLE_TCP => {
            let data_offset = byte(head, L3 + ipv4::HEADER_LEN + tcp::FLAGS - 1);
            if data_offset < TCP_WITHOUT_OPTIONS {
                return None;
            }
            (6, u16::from(data_offset >> 4) * 4)
        }
        V4_WHOLE_UDP => {
            let udp_len = u16_at(head, L3 + ipv4::HEADER_LEN + udp::LEN)?;
            if usize::from(udp_len) < udp::HEADER_LEN {
                return None;
            }
            (17, udp_len)
        }
        _ => return None,
    };
    if u32::from(needed) + ipv4::HEADER_LEN as u32 > u32::from(total_len) {
        return None;
    }
    let target = eight(head, L3 + ipv4::DST) & V4_ADDRESS_AND_PORT | number << 32;
    Some((HeaderV4 { target: TargetV4(target), client, total_len }, head))
}

/// What is the same in all plain packets to one destination, each word under a mask.
#[derive(Clone, Copy, Debug)]
pub(super) struct Form {
    gate: Gate,
    /// VIP and port alone.
    target: u64,
    /// A whole packet of the protocol.
    whole: u32,
}

/// A [`Form`] as the first 64 bytes of a frame.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(super) struct WideForm {
    bytes: [u8; 64],
    mask: [u8; 64],
}

/// What a packet of a [`Form`] says besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PlainV4 {
    /// CIP.
    pub client: u32,
    /// Bytes of the IP packet.
    pub total_len: u16,
}

impl Form {
    /// The form of packets to this destination, over TCP or UDP.
    pub(super) fn new(gate: Gate, target: TargetV4) -> Self {
        let whole = u32::from(target.protocol()) << 24;
        Self { gate, target: target.0 & V4_ADDRESS_AND_PORT, whole }
    }

    /// Whether the packets are UDP's.
    pub(super) fn is_udp(&self) -> bool {
        self.whole == V4_WHOLE_UDP as u32
    }

    /// Whether a frame has this form, but for its lengths, its source and its hops.
    #[inline(always)]
    pub(super) fn is_alike<const L3: usize, const HEAD: usize>(&self, head: &[u8; HEAD]) -> bool {
        let other = (eight(head, 0) << 16 ^ self.gate.mac)
            | u64::from(four(head, L3 - 2) & V4_PLAIN_BYTES as u32 ^ V4_PLAIN as u32)
            | u64::from(four(head, L3 + ipv4::FLAGS) & V4_WHOLE_BYTES as u32 ^ self.whole)
            | (eight(head, L3 + ipv4::DST) & V4_ADDRESS_AND_PORT ^ self.target);
        other == 0 && (L3 != TAGGED || self.gate.is_tagged(head))
    }

    /// The form for [`WideForm::is_alike`].
    pub(super) fn wide<const L3: usize>(&self) -> WideForm {
        WideForm::new::<L3>(self.gate).of_whole_v4::<L3>(self.whole).with(
            L3 + ipv4::DST,
            &self.target.to_le_bytes(),
            &V4_ADDRESS_AND_PORT.to_le_bytes(),
        )
    }

    /// The form of those packets only, over TCP, that neither open nor close anything.
    pub(super) fn wide_of_acks<const L3: usize>(&self) -> WideForm {
        self.wide::<L3>().of_acks::<L3>()
    }

    /// [`read_v4`], for a frame that is `alike`; `UDP` as [`Self::is_udp`] answers.
    #[inline(always)]
    pub(super) fn read<const L3: usize, const HEAD: usize, const UDP: bool>(
        frame: &[u8],
        alike: impl FnOnce(&[u8; HEAD]) -> bool,
    ) -> Option<(PlainV4, &[u8; HEAD])> {
        let head = frame.first_chunk::<HEAD>()?;
        if !alike(head) || byte(head, L3 + ipv4::TTL) <= 1 {
            return None;
        }
        let total_len = u16_at(head, L3 + ipv4::TOTAL_LEN)?;
        let client = u32_at(head, L3 + ipv4::SRC)?;
        let l4 = L3 + ipv4::HEADER_LEN;
        let (least, needed) = match UDP {
            true => (udp::HEADER_LEN as u32, u32::from(u16_at(head, l4 + udp::LEN)?)),
            false => (tcp::HEADER_LEN as u32, u32::from(byte(head, l4 + tcp::FLAGS - 1) >> 4) * 4),
        };
        let fits = needed >= least
            && needed + ipv4::HEADER_LEN as u32 <= u32::from(total_len)
            && client < V4_ODD_SOURCES
            && L3 + usize::from(total_len) <= frame.len();
        fits.then_some((PlainV4 { client, total_len }, head))
    }
}

impl Default for WideForm {
    fn default() -> Self {
        Self { bytes: [0; 64], mask: [0; 64] }
    }
}

impl WideForm {
    /// The form of frames for a port, whose IP header begins at `L3`.
    #[inline(always)]
    pub(super) fn new<const L3: usize>(gate: Gate) -> Self {
        let form = Self::default();
        let mac = gate.mac.to_le_bytes();
        let form = form.with(0, mac.get(2..).unwrap_or_default(), &[0xFF; 6]);
        if L3 != TAGGED {
            return form;
        }
        form.with(HEADER_LEN - 2, &TYPE_VLAN.to_be_bytes(), &[0xFF; 2]).with(
            HEADER_LEN,
            &gate.vlan.to_be_bytes(),
            &[0x0F, 0xFF],
        )
    }

    /// The form of a protocol's packets to any destination; TCP's that neither open nor close
    /// anything.
    pub(super) fn to_anywhere<const L3: usize>(gate: Gate, protocol: Protocol) -> Self {
        let form = Self::new::<L3>(gate).of_whole_v4::<L3>(u32::from(protocol.number()) << 24);
        if protocol == Protocol::Tcp { form.of_acks::<L3>() } else { form }
    }

    /// Of those, plain IPv4 packets with such a word for fragments, TTL and protocol.
    fn of_whole_v4<const L3: usize>(self, whole: u32) -> Self {
        let mask = (V4_WHOLE_BYTES as u32).to_le_bytes();
        self.with(L3 - 2, &V4_PLAIN.to_le_bytes(), &[0xFF; 3]).with(
            L3 + ipv4::FLAGS,
            &whole.to_le_bytes(),
            &mask,
        )
    }

    /// Of those, segments of TCP that neither open nor close anything.
    fn of_acks<const L3: usize>(self) -> Self {
        let at = L3 + ipv4::HEADER_LEN + tcp::FLAGS;
        self.with(at, &[TcpFlags::ACK.bits()], &[TELLING.bits()])
    }

    /// The same with these bytes, under this mask, from a place on.
    #[inline(always)]
    pub(super) fn with(mut self, at: usize, value: &[u8], mask: &[u8]) -> Self {
        let both = self.bytes.iter_mut().zip(&mut self.mask).skip(at);
        for ((byte, bits), (value, mask)) in both.zip(value.iter().zip(mask)) {
            (*byte, *bits) = (*value, *mask);
        }
        self
    }
}

#[cfg(target_arch = "x86_64")]
impl WideForm {
    /// What the bytes are that are not left open.
    #[inline]
    pub(super) fn bytes(&self) -> &[u8; 64] {
        &self.bytes
    }

    /// Which bits are not left open.
    #[inline]
    pub(super) fn mask(&self) -> &[u8; 64] {
        &self.mask
    }

    /// [`Form::is_alike`], for CPUs that compare a whole head at once.
    #[target_feature(enable = "avx512f,avx512bw")]
    #[inline]
    pub(super) fn is_alike<const HEAD: usize>(&self, head: &[u8; HEAD]) -> bool {
        use std::arch::x86_64::{
            _mm512_load_si512, _mm512_maskz_loadu_epi8, _mm512_ternarylogic_epi64,
            _mm512_test_epi64_mask,
        };
        const { assert!(HEAD <= 64) };
        // SAFETY: of the head the first `HEAD` bytes are read and no others; the form's arrays
        // have 64 bytes each, at multiples of 64.
        #[allow(unsafe_code)]
        let [head, bytes, mask] = unsafe {
            [
                _mm512_maskz_loadu_epi8(u64::MAX >> (64 - HEAD), head.as_ptr().cast()),
                _mm512_load_si512(self.bytes.as_ptr().cast()),
                _mm512_load_si512(self.mask.as_ptr().cast()),
            ]
        };
        // (head ^ bytes) & mask
        let other = _mm512_ternarylogic_epi64::<0x28>(head, bytes, mask);
        _mm512_test_epi64_mask(other, other) == 0
    }
}

/// The flags that say what a segment does to its connection.
const TELLING: TcpFlags =
    TcpFlags::SYN.union(TcpFlags::FIN).union(TcpFlags::RST).union(TcpFlags::ACK);

/// The client's port, of a frame that was read.
#[inline(always)]
pub(super) fn client_port_v4<const L3: usize, const HEAD: usize>(head: &[u8; HEAD]) -> u16 {
    u16_at(head, L3 + ipv4::HEADER_LEN).unwrap_or(0)
}

/// Whether a TCP segment, of a frame that was read, neither opens nor closes anything.
#[inline(always)]
pub(super) fn is_ack_v4<const L3: usize, const HEAD: usize>(head: &[u8; HEAD]) -> bool {
    let flags = TcpFlags::from_bits_retain(byte(head, L3 + ipv4::HEADER_LEN + tcp::FLAGS));
    flags.intersection(TELLING) == TcpFlags::ACK
}

/// Whether a TCP segment, of a frame that was read, opens a connection and does nothing else.
#[inline(always)]
pub(super) fn is_syn_v4<const L3: usize, const HEAD: usize>(head: &[u8; HEAD]) -> bool {
    let flags = TcpFlags::from_bits_retain(byte(head, L3 + ipv4::HEADER_LEN + tcp::FLAGS));
    flags.intersection(TELLING) == TcpFlags::SYN
}

/// Whether a packet, of a frame that was read, is a TCP segment with RST.
#[inline(always)]
pub(super) fn is_reset_v4<const L3: usize, const HEAD: usize>(head: &[u8; HEAD]) -> bool {
    let flags = TcpFlags::from_bits_retain(byte(head, L3 + ipv4::HEADER_LEN + tcp::FLAGS));
    byte(head, L3 + ipv4::PROTOCOL) == Protocol::Tcp.number() && flags.contains(TcpFlags::RST)
}
