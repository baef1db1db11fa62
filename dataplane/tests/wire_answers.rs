//! The director as a host: every answer that it writes over the frame that caused it.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use dataplane::port::Frame;
use dataplane::port::memory::MemoryFrame;
use dataplane::wire::ethernet::{self, Mac};
use dataplane::wire::icmp::{self, Error};
use dataplane::wire::ndp::{self, Ndp, NotNdp};
use dataplane::wire::{self, Packet, Parsed, Protocol, TcpFlags, Unanswerable, Vlan};
use support::packet::{self, CLIENT_MAC, DIRECTOR_MAC, describe};

const OWN: Mac = Mac(DIRECTOR_MAC);
const PEER: Mac = Mac(CLIENT_MAC);
const CLIENT: &str = "198.18.0.5:40000";
const VIP: &str = "198.18.255.1:443";
const CLIENT6: &str = "[2001:db8::5]:40000";
const VIP6: &str = "[2001:db8:ffff::1]:443";
const PAIRS: [(&str, &str); 2] = [(CLIENT, VIP), (CLIENT6, VIP6)];

fn parsed(bytes: &[u8]) -> Packet {
    match wire::parse(bytes) {
        Parsed::Packet(packet) => packet,
        other => panic!("{other:?} for {}", describe(bytes)),
    }
}

/// What `answer` makes of a frame: the answer, its fields checked for what all answers share.
fn answered(
    bytes: &[u8],
    answer: impl FnOnce(&mut MemoryFrame, &Packet) -> Result<(), Unanswerable>,
) -> Result<(Vec<u8>, Packet), Unanswerable> {
    let asked = parsed(bytes);
    let mut frame = MemoryFrame::new(bytes);
    if let Err(why) = answer(&mut frame, &asked) {
        assert_eq!(frame.bytes(), bytes, "a refused frame stays as it was");
        return Err(why);
    }
    let bytes = frame.bytes().to_vec();
    let given = parsed(&bytes);
    packet::assert_checksums(&bytes);
    assert_eq!((given.src, given.dst), (asked.dst, asked.src));
    assert_eq!((given.vlan, given.l3_offset), (asked.vlan, asked.l3_offset));
    assert_eq!((given.end(), given.ttl), (bytes.len(), 64));
    assert_eq!(ethernet::source(&bytes), Some(OWN));
    assert_eq!(ethernet::destination(&bytes), Some(PEER));
    Ok((bytes, given))
}

fn reset(bytes: &[u8]) -> Result<(Vec<u8>, Packet), Unanswerable> {
    answered(bytes, |frame, packet| wire::tcp::reset(frame, packet, OWN))
}

fn echo(bytes: &[u8]) -> Result<(Vec<u8>, Packet), Unanswerable> {
    answered(bytes, |frame, packet| icmp::echo_reply(frame, packet, OWN))
}

fn error(bytes: &[u8], why: Error) -> Result<(Vec<u8>, Packet), Unanswerable> {
    answered(bytes, |frame, packet| icmp::error(frame, packet, OWN, why))
}

fn numbers(reset: &[u8], packet: &Packet) -> (u32, u32) {
    let header = packet.transport(reset);
    let number = |at: usize| u32::from_be_bytes(header[at..at + 4].try_into().unwrap());
    (number(4), number(8))
}

#[test]
fn a_syn_is_reset_with_an_acknowledgement_of_it() {
    for (from, to) in PAIRS {
        let frame = packet::tcp(from, to).flags("S").numbers(7000, 0).tcp_options(&[1; 8]).build();
        let (bytes, answer) = reset(&frame).unwrap();
        assert_eq!(answer.tcp_flags, TcpFlags::RST | TcpFlags::ACK);
        assert_eq!(numbers(&bytes, &answer), (0, 7001));
        assert_eq!((answer.src_port, answer.dst_port), (443, 40000));
        assert_eq!(answer.transport(&bytes).len(), 20);
    }
}

#[test]
fn without_an_ack_the_reset_acknowledges_data_syn_and_fin() {
    let frame = packet::tcp(CLIENT, VIP)
        .flags("FP")
        .numbers(u32::MAX - 2, 99)
        .payload(b"hello")
        .tcp_options(&[1; 4])
        .vlan(10)
        .pad_to(120)
        .build();
    let (bytes, answer) = reset(&frame).unwrap();
    assert_eq!(answer.tcp_flags, TcpFlags::RST | TcpFlags::ACK);
    assert_eq!(numbers(&bytes, &answer), (0, 3));
    let frame = packet::tcp(CLIENT, VIP).flags("SF").numbers(10, 99).build();
    let (bytes, answer) = reset(&frame).unwrap();
    assert_eq!(numbers(&bytes, &answer), (0, 12));
}

#[test]
fn with_an_ack_the_reset_has_the_acknowledged_number() {
    for (from, to) in PAIRS {
        let frame = packet::tcp(from, to).flags("PA").numbers(7000, 123_456).payload(b"hi").build();
        let (bytes, answer) = reset(&frame).unwrap();
        assert_eq!(answer.tcp_flags, TcpFlags::RST);
        assert_eq!(numbers(&bytes, &answer), (123_456, 0));
    }
}

#[test]
fn extension_headers_and_options_do_not_come_back() {
    let frame = packet::tcp(CLIENT6, VIP6).flags("S").extension(60, &[0; 30]).build();
    let (_, answer) = reset(&frame).unwrap();
    assert_eq!(answer.total_len, 60);
    let frame = packet::tcp(CLIENT, VIP).flags("S").options(&[1; 40]).build();
    let (_, answer) = reset(&frame).unwrap();
    assert_eq!(answer.total_len, 40);
}

#[test]
fn resets_fragments_damage_and_groups_are_not_reset() {
    let refused = |bytes: &[u8]| reset(bytes).unwrap_err();
    let syn = packet::tcp(CLIENT, VIP).flags("S");
    assert_eq!(refused(&packet::tcp(CLIENT, VIP).flags("R").build()), Unanswerable::WrongKind);
    assert_eq!(refused(&packet::tcp(CLIENT, VIP).flags("RA").build()), Unanswerable::WrongKind);
    assert_eq!(refused(&packet::udp(CLIENT, VIP).build()), Unanswerable::WrongKind);
    let fragments = syn.clone().payload(&[0; 100]).fragments(64);
    assert_eq!(refused(&fragments[0]), Unanswerable::Fragment);
    let mut damaged = syn.build();
    damaged[40] ^= 1;
    assert_eq!(refused(&damaged), Unanswerable::BadChecksum);
    assert_eq!(refused(&syn.clone().dst_mac([0xFF; 6]).build()), Unanswerable::NotToOneHost);
    assert_eq!(refused(&syn.src_mac([1; 6]).build()), Unanswerable::NoSingleSource);
    for to in ["224.0.0.9:443", "255.255.255.255:443", "127.0.0.1:443", "0.0.0.0:443"] {
        let frame = packet::tcp(CLIENT, to).flags("S").build();
        assert_eq!(refused(&frame), Unanswerable::NotToOneHost, "{to}");
    }
    for from in ["0.0.0.0:1", "127.0.0.1:1", "240.0.0.1:1"] {
        let frame = packet::tcp(from, VIP).flags("S").build();
        assert_eq!(refused(&frame), Unanswerable::NoSingleSource, "{from}");
    }
    for from in ["[::]:1", "[::1]:1"] {
        let frame = packet::tcp(from, VIP6).flags("S").build();
        assert_eq!(refused(&frame), Unanswerable::NoSingleSource, "{from}");
    }
}

#[test]
fn an_echo_comes_back_with_its_data() {
    let data: Vec<u8> = (0..100).collect();
    for (from, to, kind) in
        [("198.18.0.5", "198.18.255.1", 0), ("2001:db8::5", "2001:db8:ffff::1", 129)]
    {
        let request = packet::echo_request(from, to, 77, 3).payload(&data).tos(0x28);
        for frame in [request.build(), request.clone().vlan(10).pad_to(300).build()] {
            let (bytes, answer) = echo(&frame).unwrap();
            assert_eq!((answer.icmp_type, answer.icmp_code), (kind, 0));
            assert_eq!(answer.tos, 0x28);
            assert_eq!(answer.transport(&bytes)[4..8], [0, 77, 0, 3]);
            assert_eq!(answer.transport(&bytes)[8..], data);
        }
    }
}

#[test]
fn an_echo_reply_leaves_out_options_and_extension_headers() {
    let frame =
        packet::echo_request("198.18.0.5", "198.18.255.1", 1, 2).options(&[1; 40]).payload(b"abc");
    let (bytes, answer) = echo(&frame.build()).unwrap();
    assert_eq!((answer.total_len, &answer.transport(&bytes)[8..]), (31, &b"abc"[..]));
    let frame = packet::echo_request("2001:db8::5", "2001:db8:ffff::1", 1, 2)
        .extension(60, &[0; 6])
        .payload(b"abc");
    let (bytes, answer) = echo(&frame.build()).unwrap();
    assert_eq!((answer.total_len, &answer.transport(&bytes)[8..]), (51, &b"abc"[..]));
}

#[test]
fn an_echo_of_zeros_alone_has_the_right_one_of_two_zero_checksums() {
    let frame = packet::echo_request("198.18.0.5", "198.18.255.1", 0, 0).build();
    let (bytes, answer) = echo(&frame).unwrap();
    assert_eq!(answer.transport(&bytes), [0, 0, 0xFF, 0xFF, 0, 0, 0, 0]);
}

#[test]
fn only_whole_intact_echo_requests_to_one_host_are_echoed() {
    let request = packet::echo_request("198.18.0.5", "198.18.255.1", 1, 1).payload(&[0; 64]);
    assert_eq!(echo(&request.fragments(32)[0]), Err(Unanswerable::Fragment));
    let mut damaged = request.build();
    damaged[50] ^= 0x10;
    assert_eq!(echo(&damaged), Err(Unanswerable::BadChecksum));
    let group = packet::echo_request("198.18.0.5", "224.0.0.1", 1, 1).build();
    assert_eq!(echo(&group), Err(Unanswerable::NotToOneHost));
    let reply = packet::icmp("198.18.0.5", "198.18.255.1", 0, 0, [0, 1, 0, 1]).build();
    assert_eq!(echo(&reply), Err(Unanswerable::WrongKind));
    // Type 128 means an echo request in IPv6 only, and 8 in IPv4 only.
    let crossed = packet::icmp("198.18.0.5", "198.18.255.1", 128, 0, [0; 4]).build();
    assert_eq!(echo(&crossed), Err(Unanswerable::WrongKind));
}

#[test]
fn every_error_has_its_type_and_code_and_quotes_the_packet() {
    let cases = [
        (Error::PortUnreachable, (3, 3), (1, 4), 0),
        (Error::HostUnreachable, (3, 1), (1, 3), 0),
        (Error::TimeExceeded, (11, 0), (3, 0), 0),
        (Error::PacketTooBig { mtu: 1400 }, (3, 4), (2, 0), 1400_u32),
    ];
    for (from, to) in PAIRS {
        for (why, v4, v6, rest) in cases {
            let frame = packet::udp(from, to).payload(b"hello").vlan(10).pad_to(200).build();
            let asked = parsed(&frame);
            let (bytes, answer) = error(&frame, why).unwrap();
            let expected = if asked.src.is_v4() { v4 } else { v6 };
            assert_eq!((answer.icmp_type, answer.icmp_code), expected);
            let message = answer.transport(&bytes);
            assert_eq!(message[4..8], rest.to_be_bytes(), "{why:?}");
            assert_eq!(message[8..], frame[18..asked.end()], "padding is not quoted");
            let quoted = icmp::quoted(&bytes, &answer).unwrap();
            assert_eq!((quoted.src, quoted.dst), (asked.src, asked.dst));
            assert_eq!((quoted.src_port, quoted.dst_port), (40000, 443));
            assert_eq!(quoted.protocol, Protocol::Udp);
        }
    }
}

#[test]
fn long_packets_are_quoted_up_to_576_and_1280_bytes() {
    for ((from, to), longest) in PAIRS.into_iter().zip([576, 1280]) {
        for len in [500, 520, 521, 540, 1183, 1184, 1185, 1400] {
            let frame = packet::udp(from, to).payload(&vec![0xAB; len]).build();
            let (bytes, answer) = error(&frame, Error::PacketTooBig { mtu: 500 }).unwrap();
            let asked = parsed(&frame);
            let head = if asked.src.is_v4() { 28 } else { 48 };
            let expected = (usize::from(asked.total_len) + head).min(longest);
            assert_eq!(usize::from(answer.total_len), expected);
            let quote = &answer.transport(&bytes)[8..];
            assert_eq!(*quote, frame[14..14 + quote.len()]);
        }
    }
}

#[test]
fn a_first_fragment_is_quoted_and_the_error_is_none() {
    for (from, to) in PAIRS {
        let fragments = packet::udp(from, to).payload(&[0; 200]).fragments(64);
        let (_, answer) = error(&fragments[0], Error::TimeExceeded).unwrap();
        assert_eq!(answer.fragment, wire::Fragment::Whole);
        for later in &fragments[1..] {
            assert_eq!(error(later, Error::TimeExceeded), Err(Unanswerable::Fragment));
        }
    }
}

#[test]
fn no_error_about_errors_groups_or_unknown_icmp() {
    let inner = packet::udp(CLIENT, VIP).build();
    let refused = |bytes: &[u8]| error(bytes, Error::PortUnreachable).unwrap_err();
    for kind in [3, 4, 5, 11, 12, 44, 200] {
        let frame = packet::icmp_error("198.18.0.5", "198.18.255.1", kind, 0, &inner, 60).build();
        assert_eq!(refused(&frame), Unanswerable::IcmpError, "type {kind}");
    }
    for kind in [0, 1, 2, 3, 4, 100, 127, 137] {
        let frame =
            packet::icmp_error("2001:db8::5", "2001:db8:ffff::1", kind, 0, &inner, 60).build();
        assert_eq!(refused(&frame), Unanswerable::IcmpError, "ICMPv6 type {kind}");
    }
    let ping = packet::echo_request("198.18.0.5", "198.18.255.1", 1, 1).build();
    error(&ping, Error::TimeExceeded).unwrap();
    for to in ["224.0.0.1:53", "255.255.255.255:53"] {
        assert_eq!(refused(&packet::udp(CLIENT, to).build()), Unanswerable::NotToOneHost);
    }
    let group = packet::udp(CLIENT6, "[ff02::1]:53").build();
    assert_eq!(refused(&group), Unanswerable::NotToOneHost);
    let broadcast = packet::udp(CLIENT, VIP).dst_mac([0xFF; 6]).build();
    assert_eq!(refused(&broadcast), Unanswerable::NotToOneHost);
}

#[test]
fn quotes_are_read_from_four_bytes_of_transport_header() {
    let reply = packet::tcp(VIP, CLIENT).flags("SA").options(&[1; 12]).build();
    for (len, readable) in
        [(32 + 3, false), (32 + 4, true), (32 + 8, true), (32 + 13, true), (32 + 20, true)]
    {
        let frame =
            packet::icmp_error("198.18.0.1", "198.18.255.1", 3, 4, &reply, len).vlan(10).build();
        let quoted = icmp::quoted(&frame, &parsed(&frame));
        assert_eq!(quoted.is_some(), readable, "{len}");
        let Some(quoted) = quoted else { continue };
        assert_eq!((quoted.src_port, quoted.dst_port), (443, 40000));
        assert_eq!(quoted.src.to_string(), "198.18.255.1");
        assert_eq!((quoted.l3_offset, quoted.l4_offset), (18 + 28, 18 + 28 + 32));
        let flags = if len >= 32 + 14 { TcpFlags::SYN | TcpFlags::ACK } else { TcpFlags::empty() };
        assert_eq!(quoted.tcp_flags, flags);
    }
}

#[test]
fn quotes_behind_extension_headers_are_read() {
    let reply = packet::tcp(VIP6, CLIENT6).extension(60, &[0; 6]).build();
    let frame = packet::icmp_error("2001:db8::1", "2001:db8:ffff::1", 2, 0, &reply, 56).build();
    let quoted = icmp::quoted(&frame, &parsed(&frame)).unwrap();
    assert_eq!((quoted.src_port, quoted.dst_port), (443, 40000));
    assert_eq!(quoted.l4_offset, 14 + 48 + 48);
}

#[test]
fn quotes_without_ports_and_of_other_errors_are_refused() {
    let later = &packet::udp(VIP, CLIENT).payload(&[0; 100]).fragments(64)[1];
    let nested = packet::icmp_error(
        "198.18.255.1",
        "198.18.0.5",
        3,
        3,
        &packet::udp(CLIENT, VIP).build(),
        28,
    );
    for quoted in [later.clone(), nested.build()] {
        let frame = packet::icmp_error("198.18.0.1", "198.18.255.1", 3, 4, &quoted, 100).build();
        assert_eq!(icmp::quoted(&frame, &parsed(&frame)), None, "{}", describe(&frame));
    }
    let ping = packet::echo_request("198.18.0.1", "198.18.255.1", 1, 1);
    let ping = ping.payload(&packet::udp(VIP, CLIENT).build()[14..]).build();
    assert_eq!(icmp::quoted(&ping, &parsed(&ping)), None, "an echo request quotes nothing");
}

#[test]
fn the_first_fragment_of_a_reply_may_be_quoted() {
    let first = &packet::udp(VIP, CLIENT).payload(&[0; 100]).fragments(64)[0];
    let frame = packet::icmp_error("198.18.0.1", "198.18.255.1", 11, 1, first, 60).build();
    let quoted = icmp::quoted(&frame, &parsed(&frame)).unwrap();
    assert_eq!((quoted.src_port, quoted.dst_port), (443, 40000));
}

#[test]
fn a_solicitation_is_read_and_answered_in_place() {
    let frame = packet::neighbour_solicitation(CLIENT_MAC, "2001:db8::5", "2001:db8:ffff::1");
    let question = ndp::parse(&frame, &parsed(&frame)).unwrap();
    let target = "2001:db8:ffff::1".parse().unwrap();
    assert_eq!(question, Ndp::Solicitation { target, source_mac: Some(PEER) });
    let mut answer = MemoryFrame::new(&frame);
    ndp::advertise_in_reply(&mut answer, &parsed(&frame), OWN).unwrap();
    let expected = packet::neighbour_advertisement(
        DIRECTOR_MAC,
        "2001:db8:ffff::1",
        CLIENT_MAC,
        "2001:db8::5",
    );
    assert_eq!(answer.bytes(), expected);
}

#[test]
fn a_duplicate_address_probe_is_answered_to_all_nodes() {
    let frame = packet::neighbour_solicitation(CLIENT_MAC, "::", "2001:db8:ffff::1");
    let mut answer = MemoryFrame::new(&frame);
    ndp::advertise_in_reply(&mut answer, &parsed(&frame), OWN).unwrap();
    let packet = parsed(answer.bytes());
    assert_eq!(packet.dst.to_string(), "ff02::1");
    assert_eq!(ethernet::destination(answer.bytes()), Some(Mac([0x33, 0x33, 0, 0, 0, 1])));
    let told = ndp::parse(answer.bytes(), &packet).unwrap();
    assert_eq!(
        told,
        Ndp::Advertisement {
            target: "2001:db8:ffff::1".parse().unwrap(),
            target_mac: Some(OWN),
            router: false,
            solicited: false,
            overrides: true,
        }
    );
}

#[test]
fn the_director_solicits_and_announces_as_others_do() {
    let mut frame = MemoryFrame::new(&[0xEE; 30]);
    let (own, target) = ("2001:db8::5".parse().unwrap(), "2001:db8:ffff::1".parse().unwrap());
    assert!(ndp::solicitation(&mut frame, Vlan::UNTAGGED, PEER, own, target));
    let expected = packet::neighbour_solicitation(CLIENT_MAC, "2001:db8::5", "2001:db8:ffff::1");
    assert_eq!(frame.bytes(), expected);
    assert!(ndp::announcement(&mut frame, Vlan::tagged(10), OWN, target));
    let packet = parsed(frame.bytes());
    packet::assert_checksums(frame.bytes());
    assert_eq!((packet.vlan.id(), packet.ttl), (Some(10), 255));
    assert!(matches!(
        ndp::parse(frame.bytes(), &packet),
        Ok(Ndp::Advertisement { solicited: false, overrides: true, .. })
    ));
}

#[test]
fn neighbour_messages_that_break_a_rule_are_ignored() {
    let target: Vec<u8> = "2001:db8:ffff::1".parse::<std::net::Ipv6Addr>().unwrap().octets().into();
    let with = |options: &[u8]| [&target[..], options].concat();
    let unicast = |kind: u8, rest: [u8; 4], body: &[u8]| {
        packet::icmp("2001:db8::5", "2001:db8:ffff::1", kind, 0, rest).ttl(255).payload(body)
    };
    let solicit = |body: &[u8]| unicast(135, [0; 4], body);
    let check = |frame: Vec<u8>| ndp::parse(&frame, &parsed(&frame));
    assert!(check(solicit(&target).build()).is_ok());
    assert_eq!(check(solicit(&target).ttl(254).build()), Err(NotNdp::HopLimit));
    let coded =
        packet::icmp("2001:db8::5", "2001:db8::1", 135, 1, [0; 4]).ttl(255).payload(&target);
    assert_eq!(check(coded.build()), Err(NotNdp::Code));
    let mut damaged = solicit(&target).build();
    damaged[70] ^= 1;
    assert_eq!(check(damaged), Err(NotNdp::Checksum));
    assert_eq!(check(solicit(&target[..15]).build()), Err(NotNdp::Length));
    assert_eq!(check(solicit(&with(&[1, 0, 0, 0])).build()), Err(NotNdp::Length));
    assert_eq!(check(solicit(&with(&[1, 2, 0, 0, 0, 0, 0, 0])).build()), Err(NotNdp::Length));
    assert_eq!(check(solicit(&with(&[9])).build()), Err(NotNdp::Length));
    assert!(check(solicit(&with(&[14, 1, 0, 0, 0, 0, 0, 0])).build()).is_ok());
    assert_eq!(check(solicit(&[0xFF; 16]).build()), Err(NotNdp::Target));
    assert_eq!(
        check(solicit(&target).extension(60, &[0; 6]).build()),
        Err(NotNdp::ExtensionHeaders)
    );
    let [atomic] = &solicit(&target).fragments(4096)[..] else { panic!("one atomic fragment") };
    assert_eq!(check(atomic.clone()), Err(NotNdp::ExtensionHeaders));
    let probe = packet::icmp("::", "2001:db8:ffff::1", 135, 0, [0; 4]).ttl(255).payload(&target);
    assert_eq!(check(probe.build()), Err(NotNdp::Probe));
    let named = [1, 1, 2, 0, 0, 0, 0, 9];
    let probe =
        packet::icmp("::", "ff02::1:ff00:1", 135, 0, [0; 4]).ttl(255).payload(&with(&named));
    assert_eq!(check(probe.build()), Err(NotNdp::Probe));
    let told = packet::icmp("2001:db8::5", "ff02::1", 136, 0, [0x40, 0, 0, 0]).ttl(255);
    assert_eq!(check(told.payload(&target).build()), Err(NotNdp::Solicited));
    assert_eq!(
        check(packet::echo_request("2001:db8::5", "2001:db8::1", 1, 1).build()),
        Err(NotNdp::OtherType)
    );
}

#[test]
fn a_hop_limit_is_decremented_and_nothing_else() {
    for hops in 0..=255 {
        let frame = packet::tcp(CLIENT6, VIP6).vlan(10).ttl(hops).build();
        let mut changed = frame.clone();
        let done = wire::ipv6::decrement_hop_limit(&mut changed, &parsed(&frame));
        assert_eq!(done, hops > 1);
        let expected = if done { hops - 1 } else { hops };
        assert_eq!(changed, packet::tcp(CLIENT6, VIP6).vlan(10).ttl(expected).build());
    }
}
