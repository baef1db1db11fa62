//! Builds complete frames, with valid checksums, from the words of a test. Written without
//! the packet path's own code, so that the two can be compared.
//!
//! ```text
//! packet::tcp("198.18.0.5:40000", "198.18.255.1:443").flags("S").vlan(10).build()
//! packet::udp("[2001:db8::5]:40000", "[2001:db8:ffff::1]:53").payload(b"?").build()
//! ```

// Every test binary uses its own part of this file.
#![allow(dead_code, unused_imports)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod checks;
mod describe;
mod neighbour;

use std::net::{IpAddr, SocketAddr};

pub use checks::{assert_checksums, transport_of};
pub use describe::describe;
pub use neighbour::{arp_reply, arp_request, neighbour_advertisement, neighbour_solicitation};

use checks::{crc32c, internet_checksum, pseudo_header};

/// The MAC address of the client (or router) that sends to the director.
pub const CLIENT_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xC1, 0x01];
/// The MAC address of the director's port.
pub const DIRECTOR_MAC: [u8; 6] = [0x02, 0, 0, 0, 0xD1, 0x01];

/// What follows the IP header.
#[derive(Clone, Debug)]
enum Transport {
    Tcp { flags: u8, sequence: u32, acknowledgement: u32, options: Vec<u8> },
    Udp { checksum: bool },
    Sctp { tag: u32, chunks: Vec<u8> },
    Icmp { kind: u8, code: u8, rest: [u8; 4] },
    Raw { protocol: u8 },
}

/// An IPv6 extension header.
#[derive(Clone, Debug)]
struct Extension {
    number: u8,
    /// What follows the two bytes of next header and length; padded to the header's unit.
    body: Vec<u8>,
}

/// A packet that is being described.
#[derive(Clone, Debug)]
pub struct Builder {
    src_mac: [u8; 6],
    dst_mac: [u8; 6],
    tags: Vec<(u16, u16)>,
    src: SocketAddr,
    dst: SocketAddr,
    ttl: u8,
    tos: u8,
    id: u32,
    dont_fragment: bool,
    options: Vec<u8>,
    extensions: Vec<Extension>,
    transport: Transport,
    payload: Vec<u8>,
    pad_to: usize,
}

/// A TCP segment; an ACK if no flags are told.
pub fn tcp(src: &str, dst: &str) -> Builder {
    let transport =
        Transport::Tcp { flags: 0x10, sequence: 1000, acknowledgement: 2000, options: Vec::new() };
    Builder::new(socket(src), socket(dst), transport)
}

/// A UDP datagram.
pub fn udp(src: &str, dst: &str) -> Builder {
    Builder::new(socket(src), socket(dst), Transport::Udp { checksum: true })
}

/// An SCTP packet with chunks of these types, each with a value of the length given.
pub fn sctp(src: &str, dst: &str, chunk_types: &[(u8, usize)]) -> Builder {
    let mut chunks = Vec::new();
    for (kind, value_len) in chunk_types {
        let len = u16::try_from(4 + value_len).unwrap();
        chunks.extend([*kind, 0]);
        chunks.extend(len.to_be_bytes());
        chunks.resize(chunks.len() + value_len.next_multiple_of(4), 0);
    }
    Builder::new(socket(src), socket(dst), Transport::Sctp { tag: 0x1234_5678, chunks })
}

/// An echo request of the addresses' family.
pub fn echo_request(src: &str, dst: &str, id: u16, sequence: u16) -> Builder {
    let kind = if address(src).is_ipv4() { 8 } else { 128 };
    let ([a, b], [c, d]) = (id.to_be_bytes(), sequence.to_be_bytes());
    icmp(src, dst, kind, 0, [a, b, c, d])
}

/// Any ICMP or ICMPv6 message: `rest` are the bytes behind the checksum.
pub fn icmp(src: &str, dst: &str, kind: u8, code: u8, rest: [u8; 4]) -> Builder {
    let transport = Transport::Icmp { kind, code, rest };
    Builder::new(SocketAddr::new(address(src), 0), SocketAddr::new(address(dst), 0), transport)
}

/// An ICMP error that quotes the first `quoted_len` bytes of the IP packet in `frame`.
pub fn icmp_error(
    src: &str,
    dst: &str,
    kind: u8,
    code: u8,
    frame: &[u8],
    quoted_len: usize,
) -> Builder {
    let packet = &frame[checks::l3_of(frame)..];
    let quote = &packet[..quoted_len.min(packet.len())];
    icmp(src, dst, kind, code, [0; 4]).payload(quote)
}

/// A packet of any other protocol.
pub fn raw(src: &str, dst: &str, protocol: u8) -> Builder {
    let transport = Transport::Raw { protocol };
    Builder::new(SocketAddr::new(address(src), 0), SocketAddr::new(address(dst), 0), transport)
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap_or_else(|_| panic!("not ADDRESS:PORT or [ADDRESS]:PORT: {text}"))
}

fn address(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("not an address: {text}"))
}

impl Builder {
    fn new(src: SocketAddr, dst: SocketAddr, transport: Transport) -> Self {
        assert_eq!(src.is_ipv4(), dst.is_ipv4(), "one packet has one family: {src}, {dst}");
        Self {
            src_mac: CLIENT_MAC,
            dst_mac: DIRECTOR_MAC,
            tags: Vec::new(),
            src,
            dst,
            ttl: 64,
            tos: 0,
            id: 0x4242,
            dont_fragment: false,
            options: Vec::new(),
            extensions: Vec::new(),
            transport,
            payload: Vec::new(),
            pad_to: 0,
        }
    }

    /// TCP flags by their letters: F S R P A U E C.
    pub fn flags(mut self, letters: &str) -> Self {
        let Transport::Tcp { flags, .. } = &mut self.transport else { panic!("not TCP") };
        *flags = letters.chars().fold(0, |all, letter| {
            let bit = describe::FLAG_LETTERS.find(letter);
            all | 1 << bit.unwrap_or_else(|| panic!("no TCP flag {letter}"))
        });
        self
    }

    /// TCP sequence and acknowledgement numbers.
    pub fn numbers(mut self, sequence_number: u32, acknowledgement_number: u32) -> Self {
        let Transport::Tcp { sequence, acknowledgement, .. } = &mut self.transport else {
            panic!("not TCP")
        };
        (*sequence, *acknowledgement) = (sequence_number, acknowledgement_number);
        self
    }

    /// TCP options, padded to four bytes.
    pub fn tcp_options(mut self, bytes: &[u8]) -> Self {
        let Transport::Tcp { options, .. } = &mut self.transport else { panic!("not TCP") };
        *options = padded(bytes, 4);
        self
    }

    /// UDP without a checksum.
    pub fn without_checksum(mut self) -> Self {
        self.transport = Transport::Udp { checksum: false };
        self
    }

    /// The bytes behind the transport header.
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        self.payload = bytes.to_vec();
        self
    }

    /// Time to live or hop limit.
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ttl = ttl;
        self
    }

    /// Type of service or traffic class.
    pub fn tos(mut self, tos: u8) -> Self {
        self.tos = tos;
        self
    }

    /// IPv4 identification, or that of IPv6 fragments.
    pub fn id(mut self, id: u32) -> Self {
        self.id = id;
        self
    }

    /// Sets "don't fragment" (IPv4).
    pub fn dont_fragment(mut self) -> Self {
        self.dont_fragment = true;
        self
    }

    /// IPv4 options, padded to four bytes.
    pub fn options(mut self, bytes: &[u8]) -> Self {
        self.options = padded(bytes, 4);
        self
    }

    /// One more IPv6 extension header: 0, 43, 51, 60, with what follows its first two bytes.
    pub fn extension(mut self, number: u8, body: &[u8]) -> Self {
        self.extensions.push(Extension { number, body: body.to_vec() });
        self
    }

    /// One more 802.1Q tag, inside of those told before.
    pub fn vlan(self, id: u16) -> Self {
        self.tag(0x8100, id)
    }

    /// One more VLAN tag with its EtherType and its control information.
    pub fn tag(mut self, ethertype: u16, tci: u16) -> Self {
        self.tags.push((ethertype, tci));
        self
    }

    /// The sending station.
    pub fn src_mac(mut self, mac: [u8; 6]) -> Self {
        self.src_mac = mac;
        self
    }

    /// The receiving station.
    pub fn dst_mac(mut self, mac: [u8; 6]) -> Self {
        self.dst_mac = mac;
        self
    }

    /// Ethernet padding up to this frame length.
    pub fn pad_to(mut self, len: usize) -> Self {
        self.pad_to = len;
        self
    }

    /// The frame.
    pub fn build(&self) -> Vec<u8> {
        self.frame(&self.transport_bytes(), None)
    }

    /// The frames of this packet cut into fragments with at most `size` bytes of payload each,
    /// in order. `size` is a multiple of eight. One fragment is IPv6's atomic one.
    pub fn fragments(&self, size: usize) -> Vec<Vec<u8>> {
        assert!(size > 0 && size.is_multiple_of(8), "fragments are multiples of eight bytes");
        let whole = self.transport_bytes();
        let pieces = whole.len().div_ceil(size);
        (0..pieces)
            .map(|n| {
                let piece = &whole[n * size..whole.len().min((n + 1) * size)];
                self.frame(piece, Some((n * size, n + 1 < pieces)))
            })
            .collect()
    }

    /// One fragment with `piece` as its payload, at any offset (in bytes): for hostile tests.
    pub fn fragment(&self, piece: &[u8], offset: usize, more: bool) -> Vec<u8> {
        self.frame(piece, Some((offset, more)))
    }

    /// Transport header and payload.
    pub fn transport_bytes(&self) -> Vec<u8> {
        let mut bytes = self.transport_header();
        bytes.extend(&self.payload);
        let sum = match &self.transport {
            Transport::Sctp { .. } => {
                let crc = crc32c(&bytes);
                bytes[8..12].copy_from_slice(&crc.to_le_bytes());
                return bytes;
            }
            Transport::Raw { .. } | Transport::Udp { checksum: false } => return bytes,
            Transport::Icmp { .. } if self.src.is_ipv4() => Vec::new(),
            _ => pseudo_header(self.src.ip(), self.dst.ip(), self.protocol(), bytes.len()),
        };
        let at = match &self.transport {
            Transport::Tcp { .. } => 16,
            Transport::Udp { .. } => 6,
            _ => 2,
        };
        let mut checksum = internet_checksum(&[sum, bytes.clone()].concat());
        if checksum == 0 && matches!(self.transport, Transport::Udp { .. }) {
            checksum = 0xFFFF;
        }
        bytes[at..at + 2].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// The transport header with a checksum of zero.
    fn transport_header(&self) -> Vec<u8> {
        let mut ports = self.src.port().to_be_bytes().to_vec();
        ports.extend(self.dst.port().to_be_bytes());
        match &self.transport {
            Transport::Tcp { flags, sequence, acknowledgement, options } => {
                let words = u8::try_from((20 + options.len()) / 4).unwrap();
                let numbers = [sequence.to_be_bytes(), acknowledgement.to_be_bytes()].concat();
                let rest = [words << 4, *flags, 0xFF, 0xFF, 0, 0, 0, 0];
                [&ports, &numbers, &rest[..], options].concat()
            }
            Transport::Udp { .. } => {
                let len = u16::try_from(8 + self.payload.len()).unwrap();
                [&ports, &len.to_be_bytes()[..], &[0, 0]].concat()
            }
            Transport::Sctp { tag, chunks } => {
                [&ports, &tag.to_be_bytes()[..], &[0; 4], chunks].concat()
            }
            Transport::Icmp { kind, code, rest } => [&[*kind, *code, 0, 0], &rest[..]].concat(),
            Transport::Raw { .. } => Vec::new(),
        }
    }

    fn protocol(&self) -> u8 {
        match self.transport {
            Transport::Tcp { .. } => 6,
            Transport::Udp { .. } => 17,
            Transport::Sctp { .. } => 132,
            Transport::Icmp { .. } if self.src.is_ipv4() => 1,
            Transport::Icmp { .. } => 58,
            Transport::Raw { protocol } => protocol,
        }
    }

    /// Ethernet, IP header and `payload`; `fragment` is offset in bytes, and whether more follow.
    fn frame(&self, payload: &[u8], fragment: Option<(usize, bool)>) -> Vec<u8> {
        let mut frame = [self.dst_mac, self.src_mac].concat();
        for (ethertype, tci) in &self.tags {
            frame.extend(ethertype.to_be_bytes());
            frame.extend(tci.to_be_bytes());
        }
        match (self.src.ip(), self.dst.ip()) {
            (IpAddr::V4(_), IpAddr::V4(_)) => {
                frame.extend(0x0800_u16.to_be_bytes());
                frame.extend(self.ipv4_header(payload.len(), fragment));
            }
            _ => {
                frame.extend(0x86DD_u16.to_be_bytes());
                frame.extend(self.ipv6_headers(payload.len(), fragment));
            }
        }
        frame.extend(payload);
        frame.resize(frame.len().max(self.pad_to), 0xEE);
        frame
    }

    fn ipv4_header(&self, payload_len: usize, fragment: Option<(usize, bool)>) -> Vec<u8> {
        let header_len = 20 + self.options.len();
        let (offset, more) = fragment.unwrap_or_default();
        let mut place = u16::try_from(offset / 8).unwrap();
        place |= u16::from(self.dont_fragment) << 14 | u16::from(more) << 13;
        let mut header = vec![0x40 | u8::try_from(header_len / 4).unwrap(), self.tos];
        header.extend(u16::try_from(header_len + payload_len).unwrap().to_be_bytes());
        header.extend((self.id as u16).to_be_bytes());
        header.extend(place.to_be_bytes());
        header.extend([self.ttl, self.protocol(), 0, 0]);
        header.extend(checks::octets(self.src.ip()));
        header.extend(checks::octets(self.dst.ip()));
        header.extend(&self.options);
        let checksum = internet_checksum(&header);
        header[10..12].copy_from_slice(&checksum.to_be_bytes());
        header
    }

    fn ipv6_headers(&self, payload_len: usize, fragment: Option<(usize, bool)>) -> Vec<u8> {
        let mut chain: Vec<(u8, Vec<u8>)> = Vec::new();
        for Extension { number, body } in &self.extensions {
            // Authentication headers count in fours from 8 bytes on, the others in eights.
            let unit = if *number == 51 { 4 } else { 8 };
            let bytes = padded(&[&[0, 0], &body[..]].concat(), unit);
            let bytes = if bytes.len() < 8 { padded(&bytes, 8) } else { bytes };
            let len = bytes.len() / unit - if *number == 51 { 2 } else { 1 };
            let mut bytes = bytes;
            bytes[1] = u8::try_from(len).unwrap();
            chain.push((*number, bytes));
        }
        if let Some((offset, more)) = fragment {
            let place = u16::try_from(offset).unwrap() | u16::from(more);
            let [p0, p1] = place.to_be_bytes();
            chain.push((44, [&[0, 0, p0, p1], &self.id.to_be_bytes()[..]].concat()));
        }
        let mut following = self.protocol();
        for (number, bytes) in chain.iter_mut().rev() {
            bytes[0] = following;
            following = *number;
        }
        let len = payload_len + chain.iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
        let mut header = vec![0x60 | self.tos >> 4, self.tos << 4, 0, 0];
        header.extend(u16::try_from(len).unwrap().to_be_bytes());
        header.extend([following, self.ttl]);
        header.extend(checks::octets(self.src.ip()));
        header.extend(checks::octets(self.dst.ip()));
        header.extend(chain.into_iter().flat_map(|(_, bytes)| bytes));
        header
    }
}

fn padded(bytes: &[u8], unit: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.resize(bytes.len().next_multiple_of(unit), 0);
    bytes
}
