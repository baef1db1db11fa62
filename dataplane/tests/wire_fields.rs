//! What the packet path reads from a frame is what the builder was told, and what an
//! independent parser reads from it.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::net::IpAddr;

use dataplane::wire::{
    self, Addr, Family, Fragment, NO_CHUNK, Packet, Parsed, Protocol, TcpFlags, Vlan, checksum,
};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use proptest::prelude::*;
use support::packet::{self, Builder, describe};

/// What a builder is told.
#[derive(Clone, Debug)]
struct Told {
    v6: bool,
    /// The last bytes of both addresses.
    hosts: (u16, u16),
    ports: (u16, u16),
    transport: Transport,
    ttl: u8,
    tos: u8,
    id: u16,
    dont_fragment: bool,
    tags: Vec<u16>,
    options: Vec<u8>,
    extensions: Vec<(u8, usize)>,
    payload: Vec<u8>,
    pad_to: usize,
}

#[derive(Clone, Copy, Debug)]
enum Transport {
    Tcp(u8),
    Udp,
    Sctp(u8, Option<u8>),
    Echo,
    Esp,
}

impl Told {
    fn addresses(&self) -> (IpAddr, IpAddr) {
        let (a, b) = self.hosts;
        let text = |client: u16, prefix: &str| match self.v6 {
            true => format!("2001:db8:{prefix}::{client:x}"),
            false => format!("198.18.{}.{}", client >> 8, client & 255),
        };
        (text(a, "1").parse().unwrap(), text(b, "2").parse().unwrap())
    }

    fn builder(&self) -> Builder {
        let (src, dst) = self.addresses();
        let from = std::net::SocketAddr::new(src, self.ports.0).to_string();
        let to = std::net::SocketAddr::new(dst, self.ports.1).to_string();
        let builder = match self.transport {
            Transport::Tcp(flags) => {
                let letters: String = "FSRPAUEC"
                    .chars()
                    .enumerate()
                    .filter(|(bit, _)| flags >> bit & 1 == 1)
                    .map(|(_, letter)| letter)
                    .collect();
                packet::tcp(&from, &to).flags(&letters)
            }
            Transport::Udp => packet::udp(&from, &to),
            Transport::Sctp(first, None) => packet::sctp(&from, &to, &[(first, 3)]),
            Transport::Sctp(first, Some(second)) => {
                packet::sctp(&from, &to, &[(first, 3), (second, 0)])
            }
            Transport::Echo => packet::echo_request(&src.to_string(), &dst.to_string(), 1, 2),
            Transport::Esp => packet::raw(&src.to_string(), &dst.to_string(), 50),
        };
        let payload = match self.transport {
            // Bytes behind the last chunk would be a chunk, too.
            Transport::Sctp(..) => &[],
            _ => &self.payload[..],
        };
        let mut builder = builder
            .ttl(self.ttl)
            .tos(self.tos)
            .id(u32::from(self.id))
            .payload(payload)
            .pad_to(self.pad_to);
        for tci in &self.tags {
            builder = builder.tag(0x8100, *tci);
        }
        if self.dont_fragment {
            builder = builder.dont_fragment();
        }
        if self.v6 {
            for (number, words) in &self.extensions {
                // The first byte is the routing type: 2 is not the forbidden one.
                builder = builder.extension(*number, &[&[2], &vec![0; words * 8 + 5][..]].concat());
            }
            builder
        } else {
            builder.options(&self.options)
        }
    }

    fn expected(&self) -> Packet {
        let (src, dst) = self.addresses();
        let l3 = 14 + 4 * self.tags.len();
        let head = if self.v6 {
            40 + self.extensions.iter().map(|(_, words)| (words + 1) * 8).sum::<usize>()
        } else {
            20 + self.options.len()
        };
        let builder = self.builder();
        let (protocol, tcp_flags, chunks, icmp_type) = match self.transport {
            Transport::Tcp(flags) => (Protocol::Tcp, flags, [NO_CHUNK; 2], 0),
            Transport::Udp => (Protocol::Udp, 0, [NO_CHUNK; 2], 0),
            Transport::Sctp(first, second) => {
                (Protocol::Sctp, 0, [first, second.unwrap_or(NO_CHUNK)], 0)
            }
            Transport::Echo if self.v6 => (Protocol::Icmpv6, 0, [NO_CHUNK; 2], 128),
            Transport::Echo => (Protocol::Icmp, 0, [NO_CHUNK; 2], 8),
            Transport::Esp => (Protocol::Esp, 0, [NO_CHUNK; 2], 0),
        };
        let (src_port, dst_port) = if protocol.has_ports() { self.ports } else { (0, 0) };
        Packet {
            src: src.into(),
            dst: dst.into(),
            fragment: Fragment::Whole,
            l3_offset: l3 as u16,
            l4_offset: (l3 + head) as u16,
            total_len: (head + builder.transport_bytes().len()) as u16,
            src_port,
            dst_port,
            vlan: self.tags.first().map_or(Vlan::UNTAGGED, |tci| Vlan::tagged(*tci)),
            protocol,
            family: if self.v6 { Family::V6 } else { Family::V4 },
            ttl: self.ttl,
            tos: self.tos,
            dont_fragment: self.v6 || self.dont_fragment,
            tcp_flags: TcpFlags::from_bits_retain(tcp_flags),
            icmp_type,
            icmp_code: 0,
            sctp_chunks: chunks,
        }
    }
}

fn told() -> impl Strategy<Value = Told> {
    let transport = prop_oneof![
        any::<u8>().prop_map(Transport::Tcp),
        Just(Transport::Udp),
        (0..=254_u8, proptest::option::of(0..=254_u8)).prop_map(|(a, b)| Transport::Sctp(a, b)),
        Just(Transport::Echo),
        Just(Transport::Esp),
    ];
    let words = any::<[u8; 4]>();
    let extension = (prop_oneof![Just(43_u8), Just(60)], 0..4_usize);
    (
        (any::<bool>(), any::<(u16, u16)>(), any::<(u16, u16)>(), transport),
        (any::<u8>(), any::<u8>(), any::<u16>(), any::<bool>()),
        proptest::collection::vec(0..0xFFFF_u16, 0..=2),
        proptest::collection::vec(words, 0..=10).prop_map(|words| words.concat()),
        proptest::collection::vec(extension, 0..=8),
        proptest::collection::vec(any::<u8>(), 0..100),
        0..200_usize,
    )
        .prop_map(|(what, header, tags, options, extensions, payload, pad_to)| {
            let (v6, hosts, ports, transport) = what;
            let (ttl, tos, id, dont_fragment) = header;
            Told {
                v6,
                hosts,
                ports,
                transport,
                ttl,
                tos,
                id,
                dont_fragment,
                tags,
                options,
                extensions,
                payload,
                pad_to,
            }
        })
}

fn parsed(bytes: &[u8]) -> Packet {
    match wire::parse(bytes) {
        Parsed::Packet(packet) => packet,
        other => panic!("{other:?} for {}", describe(bytes)),
    }
}

/// The same fields as an independent parser reads them.
fn assert_oracle_agrees(bytes: &[u8], packet: &Packet) {
    let oracle = SlicedPacket::from_ethernet(bytes).unwrap();
    let ids: Vec<u16> = oracle.vlan_ids().into_iter().map(|id| id.value()).collect();
    assert_eq!(usize::from(packet.l3_offset), 14 + 4 * ids.len());
    assert_eq!(packet.vlan.tci().map(|tci| tci & 0xFFF), ids.first().copied());
    match oracle.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let header = ip.header();
            assert_eq!(packet.src, Addr::from(header.source_addr()));
            assert_eq!(packet.dst, Addr::from(header.destination_addr()));
            assert_eq!(packet.ttl, header.ttl());
            assert_eq!(packet.total_len, header.total_len());
            assert_eq!(packet.dont_fragment, header.dont_fragment());
            assert_eq!(packet.tos >> 2, header.dcp().value());
            assert_eq!(packet.protocol.number(), ip.payload_ip_number().0);
            assert_eq!(packet.transport(bytes), ip.payload().payload);
            assert_eq!(packet.fragment != Fragment::Whole, ip.is_payload_fragmented());
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header();
            assert_eq!(packet.src, Addr::from(header.source_addr()));
            assert_eq!(packet.dst, Addr::from(header.destination_addr()));
            assert_eq!(packet.ttl, header.hop_limit());
            assert_eq!(packet.total_len, header.payload_length() + 40);
            assert_eq!(packet.tos, header.traffic_class());
            assert_eq!(packet.protocol.number(), ip.payload().ip_number.0);
            // The oracle takes a payload length of 0 for a jumbogram, and padding for payload.
            if header.payload_length() != 0 {
                assert_eq!(packet.transport(bytes), ip.payload().payload);
            }
            assert_eq!(packet.fragment != Fragment::Whole, ip.is_payload_fragmented());
        }
        NetSlice::Arp(_) => panic!("not ARP: {}", describe(bytes)),
    }
    match &oracle.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            assert_eq!(packet.src_port, tcp.source_port());
            assert_eq!(packet.dst_port, tcp.destination_port());
            let flags = [tcp.fin(), tcp.syn(), tcp.rst(), tcp.psh(), tcp.ack(), tcp.urg()];
            for (bit, set) in flags.into_iter().enumerate() {
                assert_eq!(packet.tcp_flags.bits() >> bit & 1 == 1, set, "flag {bit}");
            }
        }
        Some(TransportSlice::Udp(udp)) => {
            assert_eq!(packet.src_port, udp.source_port());
            assert_eq!(packet.dst_port, udp.destination_port());
        }
        Some(TransportSlice::Icmpv4(icmp)) => assert_eq!(packet.icmp_type, icmp.type_u8()),
        Some(TransportSlice::Icmpv6(icmp)) => assert_eq!(packet.icmp_type, icmp.type_u8()),
        Some(TransportSlice::Igmp(_)) | None => {
            assert!(
                !matches!(packet.protocol, Protocol::Tcp | Protocol::Udp)
                    || oracle.is_ip_payload_fragmented()
            );
        }
    }
}

#[test]
fn every_fragment_of_a_packet_is_told_apart() {
    for (from, to, id) in [
        ("198.18.0.5:40000", "198.18.255.1:53", 0x4242),
        ("[2001:db8::5]:40000", "[2001:db8::1]:53", 0xDEAD_BEEF),
    ] {
        let fragments = packet::udp(from, to).id(id).payload(&[7; 200]).vlan(10).fragments(80);
        let places: Vec<_> = fragments
            .iter()
            .map(|frame| {
                let packet = parsed(frame);
                assert_oracle_agrees(frame, &packet);
                (packet.fragment, packet.src_port, packet.dst_port, packet.protocol)
            })
            .collect();
        let udp = Protocol::Udp;
        let expected = [
            (Fragment::First { id }, 40000, 53, udp),
            (Fragment::Later { more: true, offset: 80, id }, 0, 0, udp),
            (Fragment::Later { more: false, offset: 160, id }, 0, 0, udp),
        ];
        assert_eq!(places, expected);
    }
}

#[test]
fn an_atomic_fragment_is_a_whole_packet() {
    let frames = packet::tcp("[2001:db8::5]:1", "[2001:db8::1]:2").fragments(4096);
    assert_eq!(frames.len(), 1);
    let packet = parsed(&frames[0]);
    assert_eq!(packet.fragment, Fragment::Whole);
    assert_eq!((packet.l4_offset, packet.src_port, packet.dst_port), (14 + 48, 1, 2));
}

#[test]
fn a_broken_checksum_is_found_in_every_protocol() {
    let (client, vip) = ("198.18.0.5:40000", "198.18.255.1:443");
    let (client6, vip6) = ("[2001:db8::5]:40000", "[2001:db8::1]:443");
    for builder in [
        packet::tcp(client, vip),
        packet::tcp(client6, vip6),
        packet::udp(client, vip).payload(b"odd"),
        packet::udp(client6, vip6),
        packet::sctp(client, vip, &[(1, 16)]),
        packet::echo_request("198.18.0.5", "198.18.255.1", 1, 1),
        packet::echo_request("2001:db8::5", "2001:db8::1", 1, 1),
    ] {
        let frame = builder.pad_to(200).build();
        let packet = parsed(&frame);
        assert!(checksum::transport_holds(&frame, &packet), "{}", describe(&frame));
        for bit in 0..8 {
            let mut damaged = frame.clone();
            damaged[usize::from(packet.l4_offset) + 1] ^= 1 << bit;
            assert!(!checksum::transport_holds(&damaged, &packet), "{}", describe(&damaged));
        }
    }
}

#[test]
fn udp_without_a_checksum_is_right_over_ipv4_only() {
    let v4 = packet::udp("198.18.0.5:1", "198.18.255.1:2").without_checksum().build();
    assert!(checksum::transport_holds(&v4, &parsed(&v4)));
    let v6 = packet::udp("[2001:db8::5]:1", "[2001:db8::1]:2").without_checksum().build();
    assert!(!checksum::transport_holds(&v6, &parsed(&v6)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_field_is_what_the_builder_was_told(told in told()) {
        let frame = told.builder().build();
        let packet = parsed(&frame);
        prop_assert_eq!(packet, told.expected(), "{}", describe(&frame));
        prop_assert_eq!(packet.transport(&frame), told.builder().transport_bytes());
        prop_assert!(checksum::transport_holds(&frame, &packet), "{}", describe(&frame));
        if !told.v6 {
            prop_assert!(wire::ipv4::checksum_holds(&frame, &packet));
        }
    }

    #[test]
    fn an_independent_parser_agrees(mut told in told()) {
        // The oracle reads each kind of extension header once, in their recommended order.
        told.extensions.truncate(1);
        let frame = told.builder().build();
        assert_oracle_agrees(&frame, &parsed(&frame));
    }
}
