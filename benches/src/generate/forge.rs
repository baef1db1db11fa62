//! Frames as a client behind a router sends them: every length and checksum right.

use dataplane::port::Frame;
use dataplane::wire::checksum::{self, pseudo_header};
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Addr, Family, Protocol};

use super::flows::Kind;
use super::offer::{Offer, nth};
use super::stamp::{Place, Sequence, Stamp, TCP_LEN, UDP_LEN};
use crate::load::FCS;

const ETHERNET: usize = 14;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// Frames of one length.
#[derive(Clone, Debug)]
struct Mould {
    bytes: Vec<u8>,
    /// Everything that does not change from frame to frame, summed: of the IP header
    ip_sum: checksum::Sum,
    /// and of pseudo-header, transport header and payload.
    transport_sum: checksum::Sum,
}

/// Makes an offer's frames.
#[derive(Clone, Debug)]
pub struct Forge {
    offer: Offer,
    moulds: Vec<Mould>,
    next: usize,
    /// Where the transport header begins.
    transport: usize,
    place: Place,
}

impl Forge {
    /// Frames from a port with this MAC address.
    pub fn new(offer: &Offer, from: Mac) -> Self {
        let transport = ETHERNET
            + match offer.family() {
                Family::V4 => 20,
                Family::V6 => 40,
            };
        let place = match offer.protocol {
            Protocol::Udp => Place::Udp(transport + 8),
            _ => Place::Tcp(transport, transport + 20),
        };
        let shortest = match place {
            Place::Udp(payload) => payload + UDP_LEN,
            Place::Tcp(_, payload) => payload + TCP_LEN,
        };
        let length = |bytes: u16| usize::from(bytes - FCS).max(shortest).max(60);
        let pattern = offer.size.pattern();
        let moulds = pattern.into_iter().map(|bytes| mould(offer, from, length(bytes), transport));
        Self { offer: offer.clone(), moulds: moulds.collect(), next: 0, transport, place }
    }

    /// Sends to this MAC address from now on.
    pub fn send_to(&mut self, to: Mac) {
        for mould in &mut self.moulds {
            for (byte, from) in mould.bytes.iter_mut().zip(to.0) {
                *byte = from;
            }
        }
    }

    /// Bytes of the longest frame, without FCS.
    pub fn longest(&self) -> usize {
        self.moulds.iter().map(|mould| mould.bytes.len()).max().unwrap_or(0)
    }

    /// Mean bytes of a frame, with its FCS.
    pub fn mean_len(&self) -> f64 {
        let all: usize = self.moulds.iter().map(|mould| mould.bytes.len()).sum();
        all as f64 / self.moulds.len().max(1) as f64 + f64::from(FCS)
    }

    /// Makes `frame` a flow's next one; `false`, and it is of no use, where it has no room.
    #[inline]
    pub fn write(
        &mut self,
        frame: &mut impl Frame,
        flow: u32,
        sequence: Sequence,
        kind: Kind,
        time: u32,
    ) -> bool {
        self.next = if self.next + 1 < self.moulds.len() { self.next + 1 } else { 0 };
        let Some(mould) = self.moulds.get(self.next) else { return false };
        if !frame.set_len(mould.bytes.len()) {
            return false;
        }
        let stamp = Stamp { flow, sequence, time };
        fill(mould, &self.offer, (self.transport, self.place), frame.bytes_mut(), stamp, kind)
            .is_some()
    }
}

/// Writes a frame and its checksums.
#[inline]
fn fill(
    mould: &Mould,
    offer: &Offer,
    (transport, place): (usize, Place),
    bytes: &mut [u8],
    stamp: Stamp,
    kind: Kind,
) -> Option<()> {
    bytes.copy_from_slice(&mould.bytes);
    let client = offer.client_of(stamp.flow);
    let vip = nth(offer.first_vip, offer.service_of(client));
    let source = nth(offer.first_client, client);
    let port = offer.port_of(stamp.flow, stamp.sequence.connection());
    let flags = match kind {
        Kind::Opening => SYN,
        Kind::Following => ACK,
    };
    match offer.family() {
        Family::V4 => {
            put(bytes, 26, source.v4_number().to_be_bytes())?;
            put(bytes, 30, vip.v4_number().to_be_bytes())?;
            let sum = mould.ip_sum.addr(source).addr(vip).checksum();
            put(bytes, 24, sum.to_be_bytes())?;
        }
        Family::V6 => {
            put(bytes, 22, source.number().to_be_bytes())?;
            put(bytes, 38, vip.number().to_be_bytes())?;
        }
    }
    put(bytes, transport, port.to_be_bytes())?;
    stamp.write(bytes, place)?;
    let sum = stamp.words().into_iter().fold(mould.transport_sum, |sum, word| sum.word32(word));
    let sum = sum.addr(source).addr(vip).word(port);
    match place {
        Place::Tcp(header, _) => {
            put(bytes, header + 13, [flags])?;
            let sum = sum.word(u16::from(flags)).checksum();
            put(bytes, header + 16, sum.to_be_bytes())
        }
        Place::Udp(payload) => {
            let sum = checksum::udp_zero_rule(sum.checksum());
            put(bytes, payload - 2, sum.to_be_bytes())
        }
    }
}

#[inline]
fn put<const N: usize>(bytes: &mut [u8], at: usize, value: [u8; N]) -> Option<()> {
    dataplane::wire::field::put(bytes, at, value)
}

fn mould(offer: &Offer, from: Mac, len: usize, transport: usize) -> Mould {
    let mut bytes = vec![0; len];
    let l4_len = len - transport;
    let protocol = offer.protocol.number();
    let fields: Vec<(usize, Vec<u8>)> = match offer.family() {
        Family::V4 => vec![
            (12, vec![0x08, 0x00, 0x45, 0]),
            (16, ((len - ETHERNET) as u16).to_be_bytes().to_vec()),
            // Don't fragment, TTL 64.
            (20, vec![0x40, 0, 64, protocol]),
        ],
        Family::V6 => vec![
            (12, vec![0x86, 0xDD, 0x60]),
            (18, (l4_len as u16).to_be_bytes().to_vec()),
            (20, vec![protocol, 64]),
        ],
    };
    let l4 = match offer.protocol {
        Protocol::Udp => vec![(4, (l4_len as u16).to_be_bytes().to_vec())],
        // Five words of header, a window of 64 KiB.
        _ => vec![(12, vec![0x50, 0]), (14, vec![0xFF, 0xFF])],
    };
    let l4 = l4.into_iter().map(|(at, field)| (transport + at, field));
    let ends = [
        (0, offer.to.0.to_vec()),
        (6, from.0.to_vec()),
        (transport + 2, offer.port.to_be_bytes().to_vec()),
    ];
    for (at, field) in fields.into_iter().chain(l4).chain(ends) {
        for (to, from) in bytes.iter_mut().skip(at).zip(field) {
            *to = from;
        }
    }
    let nobody = match offer.family() {
        Family::V4 => Addr::v4(0),
        Family::V6 => Addr::v6(0),
    };
    let ip = bytes.get(ETHERNET..transport).unwrap_or_default();
    let l4 = bytes.get(transport..).unwrap_or_default();
    let ip_sum = checksum::Sum::ZERO.bytes(ip);
    let transport_sum = pseudo_header(nobody, nobody, offer.protocol, l4_len).bytes(l4);
    Mould { ip_sum, transport_sum, bytes }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::load::FrameSize;
    use dataplane::port::memory::MemoryFrame;
    use dataplane::wire::packet::Parsed;
    use dataplane::wire::{ipv4, parse};
    use std::net::Ipv6Addr;

    /// A small offer.
    pub(crate) fn offer() -> Offer {
        Offer {
            first_client: Addr::v4(0x0A00_0001),
            clients: 100,
            connections: 1,
            first_vip: Addr::v4(0xC612_0001),
            services: 1,
            port: 80,
            protocol: Protocol::Tcp,
            new_share: 0.0,
            size: FrameSize::Bytes(64),
            to: Mac([2, 0, 0, 0, 0, 9]),
        }
    }

    #[test]
    fn frames_of_all_kinds_are_whole_and_their_checksums_right() {
        let v6 = |part| Addr::from(Ipv6Addr::new(0x2001, 0xDB8, part, 0, 0, 0, 0, 1));
        let of_v6 = Offer { first_client: v6(0xC), first_vip: v6(0xA), ..offer() };
        for protocol in [Protocol::Tcp, Protocol::Udp] {
            for base in [offer(), of_v6.clone()] {
                for size in [FrameSize::Bytes(64), FrameSize::Bytes(1518), FrameSize::Imix] {
                    let services = 7;
                    whole_and_right(&Offer { protocol, size, services, ..base.clone() });
                }
            }
        }
    }

    fn whole_and_right(offer: &Offer) {
        let mut forge = Forge::new(offer, Mac([2, 0, 0, 0, 0, 1]));
        for flow in [0, 1, 77, 99] {
            for kind in [Kind::Opening, Kind::Following] {
                let mut frame = MemoryFrame::new(&[0; 1514]);
                let sequence = Sequence(0xFEDC_BA98);
                assert!(forge.write(&mut frame, flow, sequence, kind, 0xFFFF_0001));
                let Parsed::Packet(packet) = parse(frame.bytes()) else { panic!() };
                assert_eq!(packet.src, nth(offer.first_client, flow));
                assert_eq!(packet.dst, nth(offer.first_vip, offer.service_of(flow)));
                assert_eq!((packet.src_port, packet.dst_port), (offer.port_of(flow, 0xFED), 80));
                assert!(ipv4::checksum_holds(frame.bytes(), &packet) || !packet.src.is_v4());
                assert!(checksum::transport_holds(frame.bytes(), &packet), "{offer:?}");
                assert_eq!(packet.end(), frame.bytes().len());
            }
        }
    }

    #[test]
    fn a_frame_without_room_is_refused() {
        let mut forge = Forge::new(&offer(), Mac::default());
        let mut frame = MemoryFrame::new(&[0; 20]);
        let long = Offer { size: FrameSize::Bytes(1518), ..offer() };
        assert!(forge.write(&mut frame, 0, Sequence(0), Kind::Following, 0));
        assert_eq!(frame.bytes().len(), 60);
        assert_eq!(Forge::new(&long, Mac::default()).longest(), 1514);
    }
}
