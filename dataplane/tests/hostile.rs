//! Frames that nobody should send: whatever the bytes, the packet path's view of them never
//! panics, never leaves the frame, and names the reason for what it refuses.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use dataplane::port::Frame;
use dataplane::port::memory::MemoryFrame;
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{self, Malformed, Packet, Parsed, Unanswerable, Vlan, checksum, icmp, ndp};
use proptest::prelude::*;
use support::packet::{self, CLIENT_MAC, DIRECTOR_MAC, describe};

const OWN: Mac = Mac(DIRECTOR_MAC);
const CLIENT: &str = "198.18.0.5:40000";
const VIP: &str = "198.18.255.1:443";
const CLIENT6: &str = "[2001:db8::5]:40000";
const VIP6: &str = "[2001:db8:ffff::1]:443";
const ERRORS: [icmp::Error; 4] = [
    icmp::Error::PortUnreachable,
    icmp::Error::HostUnreachable,
    icmp::Error::TimeExceeded,
    icmp::Error::PacketTooBig { mtu: 1400 },
];

/// One good frame of every kind that the packet path reads.
fn good_frames() -> Vec<Vec<u8>> {
    let tcp = packet::tcp(CLIENT, VIP).flags("S").payload(b"hello").build();
    let tcp6 = packet::tcp(CLIENT6, VIP6).flags("A").payload(b"hello").build();
    let udp = packet::udp(CLIENT, VIP).payload(&[7; 40]);
    let udp6 = packet::udp(CLIENT6, VIP6).payload(&[7; 40]);
    let mut frames = vec![
        packet::tcp(CLIENT, VIP).options(&[1; 40]).tcp_options(&[1; 40]).pad_to(160).build(),
        packet::tcp(CLIENT, VIP).vlan(10).build(),
        packet::tcp(CLIENT6, VIP6).tag(0x88A8, 7).vlan(10).build(),
        packet::udp(CLIENT, VIP).pad_to(60).build(),
        packet::udp(CLIENT6, VIP6).extension(0, &[1, 4]).extension(60, &[0; 14]).build(),
        packet::udp(CLIENT6, VIP6).extension(43, &[2, 0]).extension(51, &[0; 22]).build(),
        packet::sctp(CLIENT, VIP, &[(10, 5), (6, 0)]).build(),
        packet::sctp(CLIENT6, VIP6, &[(1, 16)]).build(),
        packet::echo_request("198.18.0.5", "198.18.255.1", 7, 1).options(&[7; 12]).build(),
        packet::echo_request("2001:db8::5", "2001:db8:ffff::1", 7, 1).payload(b"ping").build(),
        packet::icmp_error("198.18.0.1", "198.18.255.1", 3, 4, &tcp, 28).build(),
        packet::icmp_error("2001:db8::1", "2001:db8:ffff::1", 2, 0, &tcp6, 48).build(),
        packet::raw("198.18.0.5", "198.18.255.1", 50).payload(&[1; 30]).build(),
        packet::arp_request(CLIENT_MAC, "198.18.0.5", "198.18.255.1"),
        packet::arp_reply(CLIENT_MAC, "198.18.0.5", DIRECTOR_MAC, "198.18.255.1"),
        packet::neighbour_solicitation(CLIENT_MAC, "2001:db8::5", "2001:db8:ffff::1"),
        packet::neighbour_solicitation(CLIENT_MAC, "::", "2001:db8:ffff::1"),
        packet::neighbour_advertisement(CLIENT_MAC, "2001:db8::5", DIRECTOR_MAC, "2001:db8::1"),
        tcp,
        tcp6,
    ];
    frames.extend(udp.fragments(24));
    frames.extend(udp6.fragments(24));
    frames.extend(udp6.fragments(4096));
    frames
}

/// Does to a frame everything that the packet path could, and checks what must always hold.
fn handle(bytes: &[u8]) {
    assert_a_tag_changes_only_offsets(bytes);
    match wire::parse(bytes) {
        Parsed::Packet(packet) => {
            assert!(packet.end() <= bytes.len(), "{}", describe(bytes));
            assert!(usize::from(packet.l4_offset) <= packet.end(), "{}", describe(bytes));
            read_and_rewrite(bytes, &packet);
            answer_all(bytes, &packet);
        }
        Parsed::Arp(arp) => {
            let mut frame = MemoryFrame::new(bytes);
            if wire::arp::reply(&mut frame, &arp, OWN) {
                assert!(matches!(wire::parse(frame.bytes()), Parsed::Arp(_)));
            } else {
                assert_eq!(frame.bytes(), bytes);
            }
        }
        Parsed::Other | Parsed::Malformed(_) => {}
    }
}

fn read_and_rewrite(bytes: &[u8], packet: &Packet) {
    if let Some(inner) = icmp::quoted(bytes, packet) {
        assert!(inner.l3_offset > packet.l4_offset);
        assert!(inner.l4_offset > inner.l3_offset);
        assert!(usize::from(inner.l4_offset) + 4 <= packet.end(), "{}", describe(bytes));
    }
    let _ = ndp::parse(bytes, packet);
    let _ = checksum::transport_holds(bytes, packet);
    let _ = wire::ipv4::checksum_holds(bytes, packet);
    let mut copy = bytes.to_vec();
    wire::ipv4::decrement_ttl(&mut copy, packet);
    wire::ipv6::decrement_hop_limit(&mut copy, packet);
}

/// A VLAN tag changes where things are and nothing else. Plain untagged packets are read in
/// a shorter way than tagged ones, so this also compares the two ways.
fn assert_a_tag_changes_only_offsets(bytes: &[u8]) {
    if bytes.len() < 14 || matches!(bytes[12..14], [0x81, 0x00] | [0x88, 0xA8]) {
        return;
    }
    let tagged = [&bytes[..12], &[0x81, 0x00, 0x60, 0x0A], &bytes[12..]].concat();
    let vlan = Vlan::tagged(0x600A);
    let expected = match wire::parse(bytes) {
        Parsed::Packet(packet) => Parsed::Packet(Packet {
            l3_offset: packet.l3_offset + 4,
            l4_offset: packet.l4_offset + 4,
            vlan,
            ..packet
        }),
        Parsed::Arp(arp) => {
            Parsed::Arp(wire::arp::Arp { l3_offset: arp.l3_offset + 4, vlan, ..arp })
        }
        other => other,
    };
    assert_eq!(wire::parse(&tagged), expected, "{}", describe(bytes));
}

/// Every answer is either refused, and the frame as it was, or a whole packet with good checksums.
fn answer_all(bytes: &[u8], packet: &Packet) {
    let check = |frame: MemoryFrame, result: Result<(), Unanswerable>| match result {
        Ok(()) => {
            let parsed = wire::parse(frame.bytes());
            let Parsed::Packet(answer) = parsed else { panic!("{parsed:?} for {bytes:02x?}") };
            assert_eq!(answer.dst_port, packet.src_port * u16::from(answer.protocol.has_ports()));
            assert_eq!(answer.end(), frame.bytes().len());
            packet::assert_checksums(frame.bytes());
        }
        Err(_) => assert_eq!(frame.bytes(), bytes),
    };
    let mut frame = MemoryFrame::new(bytes);
    let result = icmp::echo_reply(&mut frame, packet, OWN);
    check(frame, result);
    let mut frame = MemoryFrame::new(bytes);
    let result = wire::tcp::reset(&mut frame, packet, OWN);
    check(frame, result);
    let mut frame = MemoryFrame::new(bytes);
    let result = ndp::advertise_in_reply(&mut frame, packet, OWN);
    check(frame, result);
    for why in ERRORS {
        let mut frame = MemoryFrame::new(bytes);
        let result = icmp::error(&mut frame, packet, OWN, why);
        check(frame, result);
    }
}

fn malformed(bytes: &[u8]) -> Malformed {
    match wire::parse(bytes) {
        Parsed::Malformed(reason) => reason,
        other => panic!("{other:?} for {}", describe(bytes)),
    }
}

fn accepted(bytes: &[u8]) -> Packet {
    match wire::parse(bytes) {
        Parsed::Packet(packet) => packet,
        other => panic!("{other:?} for {}", describe(bytes)),
    }
}

#[test]
fn every_good_frame_is_accepted() {
    for frame in good_frames() {
        assert!(
            matches!(wire::parse(&frame), Parsed::Packet(_) | Parsed::Arp(_)),
            "{:?} for {}",
            wire::parse(&frame),
            describe(&frame)
        );
        handle(&frame);
    }
}

#[test]
fn no_prefix_of_a_good_frame_is_taken_for_a_packet() {
    for frame in good_frames() {
        let end = match wire::parse(&frame) {
            Parsed::Packet(packet) => packet.end(),
            Parsed::Arp(arp) => usize::from(arp.l3_offset) + wire::arp::LEN,
            other => panic!("{other:?}"),
        };
        for len in 0..end {
            let reason = malformed(&frame[..len]);
            assert!(matches!(reason, Malformed::Truncated | Malformed::BadArp), "{reason:?}");
        }
        for len in end..frame.len() {
            handle(&frame[..len]);
        }
    }
}

#[test]
fn no_single_byte_makes_a_good_frame_dangerous() {
    for frame in good_frames() {
        for at in 0..frame.len() {
            for value in [0, 1, 4, 0x0F, 0x40, 0x45, 0x60, 0x7F, 0x80, 0xFE, 0xFF] {
                let mut bent = frame.clone();
                bent[at] = value;
                handle(&bent);
            }
        }
    }
}

#[test]
fn an_ihl_below_five_or_past_the_packet_is_refused() {
    let frame = packet::tcp(CLIENT, VIP).build();
    for ihl in 0..16 {
        let mut bent = frame.clone();
        bent[14] = 0x40 | ihl;
        match ihl {
            0..5 => assert_eq!(malformed(&bent), Malformed::BadIpHeader, "IHL {ihl}"),
            5 => assert_eq!(usize::from(accepted(&bent).l4_offset), 14 + 20),
            // Forty bytes: ten words of header leave none for TCP, more do not fit.
            6..11 => assert_eq!(malformed(&bent), Malformed::BadTransportHeader, "IHL {ihl}"),
            _ => assert_eq!(malformed(&bent), Malformed::BadIpHeader, "IHL {ihl}"),
        }
    }
}

#[test]
fn every_ihl_from_five_to_fifteen_is_read() {
    for words in 0..=10 {
        let frame = packet::tcp(CLIENT, VIP).options(&vec![1; words * 4]).build();
        let packet = accepted(&frame);
        assert_eq!(usize::from(packet.l4_offset), 34 + words * 4);
        assert_eq!((packet.src_port, packet.dst_port), (40000, 443));
    }
}

#[test]
fn an_ip_version_that_contradicts_the_ethertype_is_refused() {
    for (frame, version) in
        [(packet::tcp(CLIENT, VIP).build(), 6), (packet::tcp(CLIENT6, VIP6).build(), 4)]
    {
        let mut bent = frame;
        bent[14] = version << 4 | 5;
        assert_eq!(malformed(&bent), Malformed::BadIpHeader);
    }
}

#[test]
fn lengths_that_lie_are_refused_and_padding_is_not_payload() {
    let frame = packet::udp(CLIENT, VIP).payload(b"0123456789").build();
    let with_total = |total: u16| {
        let mut bent = frame.clone();
        bent[16..18].copy_from_slice(&total.to_be_bytes());
        bent
    };
    assert_eq!(malformed(&with_total(39)), Malformed::Truncated);
    assert_eq!(malformed(&with_total(0xFFFF)), Malformed::Truncated);
    assert_eq!(malformed(&with_total(19)), Malformed::BadIpHeader);
    assert_eq!(malformed(&with_total(0)), Malformed::BadIpHeader);
    assert_eq!(malformed(&with_total(20)), Malformed::BadTransportHeader);
    assert_eq!(malformed(&with_total(27)), Malformed::BadTransportHeader);
    // The datagram's own length now passes the packet's end.
    assert_eq!(malformed(&with_total(37)), Malformed::BadTransportHeader);
    let padded = packet::udp(CLIENT, VIP).payload(b"0123456789").pad_to(90).build();
    assert_eq!(accepted(&padded).transport(&padded).len(), 18);
}

#[test]
fn udp_lengths_shorter_than_the_header_are_refused() {
    for (from, to, at) in [(CLIENT, VIP, 38), (CLIENT6, VIP6, 58)] {
        let frame = packet::udp(from, to).payload(b"0123456789").build();
        for len in 0..=19_u16 {
            let mut bent = frame.clone();
            bent[at..at + 2].copy_from_slice(&len.to_be_bytes());
            if (8..=18).contains(&len) {
                accepted(&bent);
            } else {
                assert_eq!(malformed(&bent), Malformed::BadTransportHeader, "{len}");
            }
        }
    }
}

#[test]
fn tcp_header_lengths_that_lie_are_refused() {
    let frame = packet::tcp(CLIENT, VIP).payload(&[0; 8]).build();
    for words in 0..16 {
        let mut bent = frame.clone();
        bent[46] = words << 4;
        if (5..=7).contains(&words) {
            accepted(&bent);
        } else {
            assert_eq!(malformed(&bent), Malformed::BadTransportHeader, "{words}");
        }
    }
}

#[test]
fn two_vlan_tags_are_looked_through_and_three_refused() {
    let tagged = |count: u16| {
        (0..count).fold(packet::tcp(CLIENT, VIP), |packet, id| packet.vlan(10 + id)).build()
    };
    assert_eq!(accepted(&tagged(0)).vlan.tci(), None);
    assert_eq!(accepted(&tagged(1)).vlan.id(), Some(10));
    assert_eq!(accepted(&tagged(2)).vlan.id(), Some(10));
    assert_eq!(accepted(&tagged(2)).l3_offset, 22);
    for count in 3..8 {
        assert_eq!(malformed(&tagged(count)), Malformed::VlanDepth);
    }
}

#[test]
fn frames_that_are_neither_ip_nor_arp_are_left_to_others() {
    let frame = packet::tcp(CLIENT, VIP).build();
    for ethertype in [0x0000, 0x0026, 0x05FF, 0x0842, 0x8847, 0x8863, 0x88CC, 0x9100, 0xFFFF_u16] {
        let mut other = frame.clone();
        other[12..14].copy_from_slice(&ethertype.to_be_bytes());
        assert_eq!(wire::parse(&other), Parsed::Other, "{ethertype:#x}");
    }
}

#[test]
fn up_to_eight_extension_headers_are_walked() {
    for count in 0..=12 {
        let packet = packet::tcp(CLIENT6, VIP6).flags("S");
        let frame = (0..count).fold(packet, |packet, _| packet.extension(60, &[0; 6])).build();
        if count <= 8 {
            let packet = accepted(&frame);
            assert_eq!(usize::from(packet.l4_offset), 14 + 40 + count * 8);
            assert_eq!((packet.src_port, packet.dst_port), (40000, 443));
        } else {
            assert_eq!(malformed(&frame), Malformed::HeaderChainTooLong, "{count} headers");
        }
        handle(&frame);
    }
}

#[test]
fn up_to_256_bytes_of_extension_headers_are_walked() {
    for words in 1..=64 {
        let frame = packet::tcp(CLIENT6, VIP6).extension(60, &vec![0; words * 8 - 2]).build();
        if words <= 32 {
            assert_eq!(usize::from(accepted(&frame).l4_offset), 54 + words * 8);
        } else {
            assert_eq!(malformed(&frame), Malformed::HeaderChainTooLong, "{} bytes", words * 8);
        }
    }
}

#[test]
fn an_authentication_header_is_walked_in_units_of_four() {
    let frame = packet::udp(CLIENT6, VIP6).extension(51, &[0; 22]).build();
    let packet = accepted(&frame);
    assert_eq!((packet.l4_offset, packet.dst_port), (54 + 24, 443));
    let frame = packet::udp(CLIENT6, VIP6).extension(51, &[0; 10]).build();
    assert_eq!(accepted(&frame).l4_offset, 54 + 12);
}

#[test]
fn routing_header_zero_is_refused_and_others_are_walked() {
    let frame = |kind| packet::tcp(CLIENT6, VIP6).extension(43, &[kind, 0, 0, 0, 0, 0]).build();
    assert_eq!(malformed(&frame(0)), Malformed::RoutingHeaderZero);
    for kind in [1, 2, 3, 4, 253] {
        assert_eq!(accepted(&frame(kind)).dst_port, 443);
    }
}

#[test]
fn hop_by_hop_options_come_first_or_not_at_all() {
    let first = packet::tcp(CLIENT6, VIP6).extension(0, &[1, 4]).extension(60, &[1, 4]);
    assert_eq!(accepted(&first.build()).dst_port, 443);
    let second = packet::tcp(CLIENT6, VIP6).extension(60, &[1, 4]).extension(0, &[1, 4]);
    assert_eq!(malformed(&second.build()), Malformed::BadExtensionHeader);
}

#[test]
fn an_extension_header_past_the_packet_is_refused() {
    let frame = packet::udp(CLIENT6, VIP6).extension(60, &[0; 6]).build();
    let mut bent = frame.clone();
    bent[55] = 3; // 32 bytes, of which 16 are there
    assert_eq!(malformed(&bent), Malformed::BadExtensionHeader);
    let mut jumbo = frame;
    jumbo[18..20].fill(0);
    jumbo[20] = 0;
    assert_eq!(malformed(&jumbo), Malformed::BadExtensionHeader);
}

#[test]
fn addresses_that_no_sender_has_are_refused() {
    for from in ["224.0.0.1:1", "239.255.255.255:1", "255.255.255.255:1"] {
        assert_eq!(malformed(&packet::udp(from, VIP).build()), Malformed::BadAddress, "{from}");
    }
    for from in ["[ff02::1]:1", "[::ffff:198.18.0.5]:1"] {
        assert_eq!(malformed(&packet::udp(from, VIP6).build()), Malformed::BadAddress, "{from}");
    }
    let to_mapped = packet::udp(CLIENT6, "[::ffff:198.18.255.1]:443").build();
    assert_eq!(malformed(&to_mapped), Malformed::BadAddress);
}

#[test]
fn tiny_and_impossible_fragments_are_refused() {
    for (from, to) in [(CLIENT, VIP), (CLIENT6, VIP6)] {
        let tcp = packet::tcp(from, to).flags("S").payload(&[0; 100]);
        let segment = tcp.transport_bytes();
        let tiny = |frame: &[u8]| assert_eq!(malformed(frame), Malformed::TinyFragment);
        let bad = |frame: &[u8]| assert_eq!(malformed(frame), Malformed::BadFragment);
        tiny(&tcp.fragment(&segment[..8], 0, true));
        tiny(&tcp.fragment(&segment[..16], 0, true));
        accepted(&tcp.fragment(&segment[..24], 0, true));
        tiny(&tcp.fragment(&segment[8..32], 8, true));
        tiny(&tcp.fragment(&segment[16..32], 16, false));
        accepted(&tcp.fragment(&segment[24..32], 24, false));
        bad(&tcp.fragment(&segment[24..31], 24, true));
        accepted(&tcp.fragment(&segment[24..31], 24, false));
        bad(&tcp.fragment(&[], 24, false));
        bad(&tcp.fragment(&[0; 64], 65_528, false));
        let udp = packet::udp(from, to).payload(&[0; 100]);
        accepted(&udp.fragment(&udp.transport_bytes()[..8], 0, true));
        accepted(&udp.fragment(&udp.transport_bytes()[8..16], 8, true));
        // Options of TCP that the first fragment does not hold.
        let long = packet::tcp(from, to).tcp_options(&[1; 40]).payload(&[0; 100]);
        tiny(&long.fragment(&long.transport_bytes()[..56], 0, true));
        accepted(&long.fragment(&long.transport_bytes()[..64], 0, true));
    }
}

#[test]
fn a_first_fragment_must_hold_the_whole_chain_of_headers() {
    let options = packet::raw("2001:db8::5", "2001:db8::1", 60);
    // A destination options header of 16 bytes, cut after 8: TCP is in the next fragment.
    let cut = options.fragment(&[6, 1, 1, 4, 0, 0, 0, 0], 0, true);
    assert_eq!(malformed(&cut), Malformed::TinyFragment);
}

#[test]
fn two_fragment_headers_are_refused() {
    let inner = [6, 0, 0, 0, 0, 0, 0, 7]; // an atomic fragment header before TCP
    let packet = packet::raw("2001:db8::5", "2001:db8::1", 44);
    let payload = [&inner[..], &[0; 40]].concat();
    assert_eq!(malformed(&packet.fragment(&payload, 0, false)), Malformed::BadExtensionHeader);
    assert_eq!(malformed(&packet.fragment(&payload, 0, true)), Malformed::BadExtensionHeader);
}

/// Bytes that look like a frame at first: an EtherType, often a first byte that fits to it.
fn plausible() -> impl Strategy<Value = Vec<u8>> {
    let start = prop_oneof![
        Just(vec![0x08, 0x00, 0x45]),
        Just(vec![0x08, 0x00, 0x4F]),
        Just(vec![0x86, 0xDD, 0x60]),
        Just(vec![0x81, 0x00, 0x00, 0x0A, 0x08, 0x00, 0x45]),
        Just(vec![0x88, 0xA8, 0x00, 0x0A, 0x81, 0x00, 0x00, 0x0B, 0x86, 0xDD, 0x60]),
        Just(vec![0x08, 0x06, 0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00]),
    ];
    (start, any::<[u8; 12]>(), proptest::collection::vec(any::<u8>(), 0..400))
        .prop_map(|(start, macs, rest)| [&macs[..], &start, &rest].concat())
}

/// IPv6 with a chain of random headers of known numbers.
fn chained() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        Just(0_u8),
        Just(43),
        Just(44),
        Just(51),
        Just(60),
        Just(6),
        Just(17),
        Just(58),
        Just(59)
    ];
    let header = (number, 0..4_u8, any::<[u8; 40]>());
    (proptest::collection::vec(header, 0..12), 0..6_usize, any::<u16>()).prop_map(
        |(chain, cut, lie)| {
            let mut frame = packet::raw("2001:db8::5", "2001:db8::1", 59).build();
            let mut previous = 20;
            for (number, len, body) in chain {
                frame[previous] = number;
                previous = frame.len();
                frame.extend([59, len]);
                frame.extend(&body[..usize::from(len) * 8 + 6]);
            }
            let len = if cut == 5 { lie } else { (frame.len() - 54).saturating_sub(cut) as u16 };
            frame[18..20].copy_from_slice(&len.to_be_bytes());
            frame
        },
    )
}

/// An ICMP error with anything inside.
fn quoting() -> impl Strategy<Value = Vec<u8>> {
    let quoted = prop_oneof![
        plausible().prop_map(|frame| frame[14..].to_vec()),
        proptest::collection::vec(any::<u8>(), 0..80),
        (any::<proptest::sample::Index>(), 0..120_usize).prop_map(|(which, len)| {
            let frames = good_frames();
            let frame = which.get(&frames);
            frame[14..].iter().copied().take(len).collect()
        }),
    ];
    (quoted, any::<bool>(), 0..16_u8).prop_map(|(quoted, v6, kind)| {
        let builder = if v6 {
            packet::icmp("2001:db8::5", "2001:db8:ffff::1", kind, 0, [0; 4])
        } else {
            packet::icmp("198.18.0.5", "198.18.255.1", kind, 0, [0; 4])
        };
        builder.payload(&quoted).build()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_do_no_harm(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        handle(&bytes);
    }

    #[test]
    fn plausible_bytes_do_no_harm(bytes in plausible()) {
        handle(&bytes);
    }

    #[test]
    fn random_chains_of_headers_do_no_harm(bytes in chained()) {
        handle(&bytes);
    }

    #[test]
    fn random_quotes_do_no_harm(bytes in quoting()) {
        handle(&bytes);
    }

    #[test]
    fn good_frames_with_random_bytes_inside_do_no_harm(
        which in any::<proptest::sample::Index>(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let frames = good_frames();
        let mut bytes = which.get(&frames).clone();
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        handle(&bytes);
    }

    /// A caller's mistake, a packet with another frame, must not become a crash.
    #[test]
    fn a_packet_with_another_frame_does_no_harm(
        which in any::<proptest::sample::Index>(),
        bytes in proptest::collection::vec(any::<u8>(), 0..160),
    ) {
        let frames = good_frames();
        if let Parsed::Packet(packet) = wire::parse(&frames[which.index(frames.len())]) {
            read_only_and_answers(&bytes, &packet);
        }
    }
}

fn read_only_and_answers(bytes: &[u8], packet: &Packet) {
    assert!(packet.transport(bytes).len() <= bytes.len());
    let _ = (icmp::quoted(bytes, packet), ndp::parse(bytes, packet));
    let _ = wire::ipv4::checksum_holds(bytes, packet);
    let mut copy = bytes.to_vec();
    wire::ipv4::decrement_ttl(&mut copy, packet);
    wire::ipv6::decrement_hop_limit(&mut copy, packet);
    let _ = icmp::echo_reply(&mut MemoryFrame::new(bytes), packet, OWN);
    let _ = wire::tcp::reset(&mut MemoryFrame::new(bytes), packet, OWN);
    let _ = ndp::advertise_in_reply(&mut MemoryFrame::new(bytes), packet, OWN);
    for why in ERRORS {
        let _ = icmp::error(&mut MemoryFrame::new(bytes), packet, OWN, why);
    }
}
