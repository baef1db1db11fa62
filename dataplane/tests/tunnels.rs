//! Tunnels: whatever the kind and the families, what comes out of the tunnel is what went in.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use dataplane::catalog::spec::RealSpec;
use dataplane::forward::{Forwarding, GueChecksum, Tunnel};
use dataplane::shared::TableSizes;
use dataplane::verdict::DropReason;
use dataplane::wire::Protocol;
use etherparse::{IpHeaders, SlicedPacket};
use support::packet::{self, Builder, assert_checksums, describe};
use support::scene::{
    GATEWAY_MAC, INSIDE, INSIDE_MAC, OUTSIDE, Scene, Sent, ip, macs, real, real_mac, real6,
    service, site,
};

const KINDS: [Tunnel; 6] = [
    Tunnel::Ipip,
    Tunnel::Gre { checksum: false },
    Tunnel::Gre { checksum: true },
    Tunnel::Gue { port: 6080, checksum: GueChecksum::None },
    Tunnel::Gue { port: 6080, checksum: GueChecksum::Full },
    Tunnel::Gue { port: 6080, checksum: GueChecksum::Remote },
];

/// A scene with one tunnelled real server of this family behind both families' VIPs.
fn scene(tunnel: Tunnel, outer_v6: bool, inside_mtu: u16) -> Scene {
    let spec = if outer_v6 { real6(1, 80) } else { real(1, 80) };
    let spec = RealSpec { forwarding: Forwarding::Tunnel, tunnel, ..spec };
    let mut scene = Scene::with(1, site(inside_mtu), TableSizes::default());
    scene.workers[0].ports_mut()[1] =
        dataplane::port::memory::MemoryPort::new(dataplane::wire::ethernet::Mac(INSIDE_MAC))
            .with_mtu(inside_mtu);
    for vip in ["192.0.2.10", "2001:db8:c0de::10"] {
        scene.add(&service(Protocol::Tcp, vip, 80, "rr"), &[spec]);
    }
    scene
}

fn client(v6: bool) -> Builder {
    match v6 {
        true => packet::tcp("[2001:db8:1::1]:1000", "[2001:db8:c0de::10]:80"),
        false => packet::tcp("10.1.0.1:1000", "192.0.2.10:80"),
    }
}

fn one(sent: Vec<Sent>) -> Sent {
    assert_eq!(sent.len(), 1, "{:?}", sent.iter().map(|s| describe(&s.bytes)).collect::<Vec<_>>());
    sent.into_iter().next().unwrap()
}

fn header_len(family_v6: bool) -> usize {
    if family_v6 { 40 } else { 20 }
}

/// The inner packet of a tunnel packet, after its outer headers were checked by another
/// project's parser.
fn unwrap(bytes: &[u8], tunnel: Tunnel, outer_v6: bool, inner_v6: bool) -> Vec<u8> {
    let packet = SlicedPacket::from_ethernet(bytes).unwrap();
    let (headers, _) = IpHeaders::from_slice(ip(bytes)).unwrap();
    let number = if inner_v6 { 41 } else { 4 };
    let (protocol, between) = match tunnel {
        Tunnel::Ipip => (number, 0),
        Tunnel::Gre { checksum } => (47, if checksum { 8 } else { 4 }),
        Tunnel::Gue { .. } => (17, 12),
    };
    match headers {
        IpHeaders::Ipv4(v4, _) => {
            assert!(!outer_v6);
            assert_eq!(v4.protocol.0, protocol);
            assert_eq!((v4.source, v4.destination), ([172, 16, 0, 1], [172, 16, 0, 11]));
            assert_eq!(v4.header_checksum, v4.calc_header_checksum());
            assert_eq!(usize::from(v4.total_len), bytes.len() - 14);
        }
        IpHeaders::Ipv6(v6, _) => {
            assert!(outer_v6);
            assert_eq!(v6.next_header.0, protocol);
            assert_eq!(v6.source_addr().to_string(), "fd00:16::1");
            assert_eq!(v6.destination_addr().to_string(), "fd00:16::11");
            assert_eq!(usize::from(v6.payload_length), bytes.len() - 14 - 40);
        }
    }
    drop(packet);
    let at = 14 + header_len(outer_v6);
    let ethertype: [u8; 2] = if inner_v6 { [0x86, 0xDD] } else { [8, 0] };
    match tunnel {
        Tunnel::Ipip => {}
        Tunnel::Gre { checksum: false } => assert_eq!(bytes[at..at + 2], [0, 0]),
        Tunnel::Gre { checksum: true } => {
            assert_eq!(bytes[at..at + 2], [0x80, 0]);
            assert_eq!(dataplane::wire::checksum::of(&bytes[at..]), 0);
        }
        Tunnel::Gue { checksum, port } => {
            let checksum = checksum != GueChecksum::None;
            assert_eq!(bytes[at + 2..at + 4], port.to_be_bytes());
            assert_eq!(bytes[at + 8..at + 12], [0, number, 0, 0]);
            assert_eq!(bytes[at + 6..at + 8] != [0, 0], checksum);
            assert_checksums_unless_v6_without(bytes, checksum || !outer_v6);
        }
    }
    if matches!(tunnel, Tunnel::Gre { .. }) {
        assert_eq!(bytes[at + 2..at + 4], ethertype);
    }
    bytes[at + between..].to_vec()
}

fn assert_checksums_unless_v6_without(bytes: &[u8], has: bool) {
    if has {
        assert_checksums(bytes);
    }
}

#[test]
fn what_comes_out_of_a_tunnel_is_what_went_in_with_one_ttl_less() {
    for tunnel in KINDS {
        for (outer_v6, inner_v6) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut scene = scene(tunnel, outer_v6, 1500);
            for payload in [0, 1, 500] {
                let sent = client(inner_v6).flags("S").ttl(50).payload(&vec![7; payload]);
                // Padding does not go into the tunnel.
                let got = one(scene.client(&sent.clone().pad_to(80)));
                assert_eq!(macs(&got.bytes), [real_mac(1), INSIDE_MAC]);
                assert_eq!(got.port, INSIDE);
                let inner = unwrap(&got.bytes, tunnel, outer_v6, inner_v6);
                assert_eq!(inner, ip(&sent.ttl(49).build()), "{tunnel:?} {outer_v6} {inner_v6}");
                let ttl = ip(&got.bytes)[if outer_v6 { 7 } else { 8 }];
                assert_eq!(ttl, 49);
            }
        }
    }
}

#[test]
fn the_outer_header_takes_over_dscp_and_dont_fragment_and_keeps_congestion_inside() {
    let mut scene = scene(Tunnel::Ipip, false, 1500);
    for (tos, outer) in [(0xB8, 0xB8), (0xB9, 0xB9), (0xBA, 0xBA), (0xBB, 0xBA)] {
        let got = one(scene.client(&client(false).flags("S").tos(tos)));
        assert_eq!((ip(&got.bytes)[1], ip(&got.bytes)[21]), (outer, tos));
    }
    let fixed = one(scene.client(&client(false).flags("A").dont_fragment()));
    assert_eq!(ip(&fixed.bytes)[4..8], [0, 0, 0x40, 0]);
    let loose = one(scene.client(&client(false).flags("A")));
    assert_eq!(ip(&loose.bytes)[6..8], [0, 0]);
    let another = one(scene.client(&client(false).flags("A")));
    assert_ne!(ip(&loose.bytes)[4..6], ip(&another.bytes)[4..6], "two packets, two identities");
}

#[test]
fn a_flow_keeps_its_gue_source_port_and_flows_differ() {
    let mut scene = scene(Tunnel::Gue { port: 6080, checksum: GueChecksum::None }, false, 1500);
    let mut port = |from: &str| {
        let got = one(scene.client(&packet::tcp(from, "192.0.2.10:80").flags("S")));
        u16::from_be_bytes([ip(&got.bytes)[20], ip(&got.bytes)[21]])
    };
    let first = port("10.1.0.1:1000");
    assert_eq!(first, port("10.1.0.1:1000"));
    assert!((32_768..=60_999).contains(&first));
    let ports: std::collections::HashSet<u16> =
        (0..50).map(|n| port(&format!("10.1.0.2:{}", 2000 + n))).collect();
    assert!(ports.len() > 40);
}

#[test]
fn a_packet_too_long_for_the_tunnel_is_answered_with_what_the_tunnel_leaves() {
    for tunnel in KINDS {
        let room = usize::from(tunnel.room(dataplane::wire::Family::V4, 1500).unwrap());
        let mut scene = scene(tunnel, false, 1500);
        let of_len = |len: usize| client(false).flags("A").payload(&vec![7; len - 40]);
        scene.client(&client(false).flags("S"));
        let fits = one(scene.client(&of_len(room).dont_fragment()));
        assert_eq!((fits.port, fits.bytes.len()), (INSIDE, 1514));
        let answer = one(scene.client(&of_len(room + 1).dont_fragment()));
        assert_eq!((answer.port, &ip(&answer.bytes)[20..22]), (OUTSIDE, &[3, 4][..]));
        assert_eq!(ip(&answer.bytes)[26..28], (room as u16).to_be_bytes());
        // Where it may be cut, the tunnel packet is.
        let pieces = scene.client(&of_len(room + 1));
        assert_eq!(pieces.len(), 2, "{tunnel:?}");
        assert!(pieces.iter().all(|piece| piece.bytes.len() <= 1514));
        let inner6 = packet::tcp("[2001:db8:1::1]:1000", "[2001:db8:c0de::10]:80");
        scene.client(&inner6.clone().flags("S"));
        let answer = one(scene.client(&inner6.flags("A").payload(&vec![7; room - 60 + 1])));
        assert_eq!((answer.port, ip(&answer.bytes)[40]), (OUTSIDE, 2));
        assert_eq!(ip(&answer.bytes)[46..48], (room as u16).to_be_bytes());
    }
}

#[test]
fn without_path_mtu_discovery_everything_may_be_cut() {
    let mut scene = scene(Tunnel::Ipip, false, 1500);
    let mut spec = service(Protocol::Tcp, "192.0.2.10", 80, "rr");
    spec.compat.pmtu_disc = false;
    scene.catalog.edit_service(spec).unwrap();
    scene.publish();
    let long = client(false).flags("S").payload(&[7; 1460]).dont_fragment();
    let lengths: Vec<usize> =
        scene.client(&long).iter().map(|piece| piece.bytes.len() - 14).collect();
    assert_eq!(lengths, [1500, 40]);
}

#[test]
fn a_link_too_narrow_for_tunnels_takes_none() {
    let mut scene = scene(Tunnel::Ipip, true, 1300);
    assert!(scene.client(&client(false).flags("S")).is_empty());
    assert_eq!(scene.dropped(DropReason::TooBig), 1);
}

#[test]
fn errors_about_tunnel_packets_are_unwrapped_and_told_to_the_client() {
    for tunnel in KINDS {
        let mut scene = scene(tunnel, false, 1500);
        scene.client(&client(false).flags("S"));
        let long = client(false).flags("A").payload(&[7; 1300]).dont_fragment();
        let outer = one(scene.client(&long));
        let mut error =
            packet::icmp_error("172.16.0.254", "172.16.0.1", 3, 4, &outer.bytes, 120).build();
        // The next link takes 1200 bytes; the checksum of an error is not looked at.
        error[14 + 26..14 + 28].copy_from_slice(&1200_u16.to_be_bytes());
        error[..6].copy_from_slice(&INSIDE_MAC);
        let answer = one(scene.feed(0, INSIDE, &error));
        assert_checksums(&answer.bytes);
        assert_eq!((answer.port, macs(&answer.bytes)[0]), (OUTSIDE, GATEWAY_MAC));
        let packet = ip(&answer.bytes);
        assert_eq!(packet[12..22], [192, 0, 2, 10, 10, 1, 0, 1, 3, 4]);
        let overhead = tunnel.overhead(dataplane::wire::Family::V4) as u16;
        assert_eq!(packet[26..28], (1200 - overhead).to_be_bytes(), "{tunnel:?}");
        assert_eq!(packet[28 + 12..28 + 20], [10, 1, 0, 1, 192, 0, 2, 10]);
    }
}

#[test]
fn nobody_is_told_of_an_ipv6_link_with_less_than_1280_bytes() {
    let [router, own] = ["fd00:16::fe", "fd00:16::1"];
    for (reported, payload, told) in [(1400, 1300, 1360), (1300, 1300, 1280), (1300, 1220, 0)] {
        let mut scene = scene(Tunnel::Ipip, true, 1500);
        scene.client(&client(true).flags("S"));
        let outer = one(scene.client(&client(true).flags("A").payload(&vec![7; payload])));
        let mut error = packet::icmp_error(router, own, 2, 0, &outer.bytes, 200).build();
        error[14 + 44..14 + 48].copy_from_slice(&u32::to_be_bytes(reported));
        error[..6].copy_from_slice(&INSIDE_MAC);
        let answers = scene.feed(0, INSIDE, &error);
        if told == 0 {
            assert!(answers.is_empty(), "1280 bytes are not too long for anybody");
            continue;
        }
        let answer = one(answers);
        assert_checksums(&answer.bytes);
        assert_eq!(ip(&answer.bytes)[40..42], [2, 0], "packet too big");
        assert_eq!(ip(&answer.bytes)[44..48], u32::to_be_bytes(told));
    }
}

#[test]
fn errors_about_other_tunnels_are_not_ours() {
    let mut scene = scene(Tunnel::Ipip, false, 1500);
    scene.client(&client(false).flags("S"));
    let stranger = packet::tcp("10.9.9.9:1", "192.0.2.10:80").build();
    let mut quoted = packet::raw("172.16.0.1", "172.16.0.11", 4);
    quoted = quoted.payload(ip(&stranger));
    let error = packet::icmp_error("172.16.0.254", "172.16.0.1", 3, 4, &quoted.build(), 200);
    assert!(scene.server(1, &error).is_empty());
}
