//! What other balancers got wrong once, and this one must not: one test for each mistake that
//! concerns what is read from a packet or written into it.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::catalog::spec::{RealSpec, Site};
use dataplane::compat::{Compat, TtlPolicy};
use dataplane::forward::Forwarding;
use dataplane::shared::TableSizes;
use dataplane::wire::Protocol;
use support::lab::{Lab, Seen};
use support::packet::{self, Builder, assert_checksums};
use support::scene::{INSIDE, OUTSIDE, Scene, ip, real, real6, rip, service, site};

const CLIENT: &str = "10.1.0.1:1000";
const VIP: &str = "192.0.2.10:80";

fn masqueraded(real: RealSpec) -> RealSpec {
    RealSpec { forwarding: Forwarding::Masq, ..real }
}

fn scene(reals: &[RealSpec], site: Site) -> Scene {
    let mut scene = Scene::with(1, site, TableSizes::default());
    scene.add(&service(Protocol::Tcp, "192.0.2.10", 80, "rr"), reals);
    scene
}

/// The frame that leaves for the one that came in.
fn sent(scene: &mut Scene, packet: &Builder) -> Vec<u8> {
    let mut sent = scene.client(packet);
    assert_eq!(sent.len(), 1, "{sent:?}");
    sent.remove(0).bytes
}

#[test]
fn a_checksum_is_found_behind_ipv6_extension_headers() {
    let mut scene = Scene::new();
    let vip = "2001:db8:c0de::10";
    scene.add(&service(Protocol::Tcp, vip, 80, "rr"), &[masqueraded(real6(1, 8080))]);
    for lengths in [&[][..], &[6], &[14], &[6, 14], &[22, 6, 6]] {
        let mut syn = packet::tcp("[2001:db8:1::1]:1000", &format!("[{vip}]:80")).flags("S");
        for len in lengths {
            // Destination options that are padding (RFC 8200, 4.2).
            let mut body = vec![1, *len - 2];
            body.resize(usize::from(*len), 0);
            syn = syn.extension(60, &body);
        }
        let frame = sent(&mut scene, &syn.payload(&[9; 33]));
        assert_checksums(&frame);
        assert_eq!(packet::transport_of(&frame).3[2..4], 8080_u16.to_be_bytes(), "{lengths:?}");
    }
}

#[test]
fn the_header_checksum_follows_the_ttl_whatever_it_was() {
    for policy in [TtlPolicy::Decrement, TtlPolicy::Keep] {
        let mut scene = scene(&[], site(1500));
        let compat = Compat { ttl: policy, ..Compat::default() };
        scene.catalog.compat = compat;
        for (vip, forwarding) in [
            ("192.0.2.20", Forwarding::Route),
            ("192.0.2.21", Forwarding::Masq),
            ("192.0.2.22", Forwarding::Tunnel),
        ] {
            let mut service = service(Protocol::Tcp, vip, 80, "rr");
            service.compat = compat;
            let server = RealSpec { forwarding, ..real(1, 80) };
            scene.add(&service, &[server]);
            for ttl in 0..=255 {
                let syn = packet::tcp(CLIENT, &format!("{vip}:80")).flags("S").ttl(ttl);
                let frames = scene.client(&syn);
                let [frame] = &frames[..] else { panic!("{forwarding:?}, TTL {ttl}: {frames:?}") };
                assert_checksums(&frame.bytes);
                if policy == TtlPolicy::Decrement && ttl <= 1 {
                    assert_eq!(frame.port, OUTSIDE, "{forwarding:?}: TTL {ttl} goes no further");
                } else if frame.port == INSIDE {
                    let left = ttl - u8::from(policy == TtlPolicy::Decrement);
                    assert_eq!(ip(&frame.bytes)[8], left, "{forwarding:?}");
                }
            }
        }
    }
}

#[test]
fn an_error_that_quotes_eight_bytes_of_tcp_reaches_the_server_of_its_flow() {
    for forwarding in [Forwarding::Route, Forwarding::Masq, Forwarding::Tunnel] {
        let server = RealSpec { forwarding, ..real(1, 80) };
        let mut scene = scene(&[server], site(1500));
        sent(&mut scene, &packet::tcp(CLIENT, VIP).flags("S"));
        let reply = packet::tcp(VIP, CLIENT).flags("A").payload(&[7; 900]).build();
        for (kind, code) in [(3, 4), (3, 1), (11, 0)] {
            let error = packet::icmp_error("10.77.0.1", "192.0.2.10", kind, code, &reply, 20 + 8);
            let frames = scene.client(&error);
            assert_eq!(frames.len(), 1, "{forwarding:?}");
            assert_eq!(frames[0].port, INSIDE, "{forwarding:?}");
            assert_checksums(&frames[0].bytes);
        }
    }
}

#[test]
fn an_error_about_a_packet_has_none_of_its_options_and_none_of_its_flags() {
    let mut scene = scene(&[real(1, 80)], site(1000));
    let long = packet::tcp(CLIENT, VIP).flags("S").payload(&[1; 1200]).dont_fragment();
    let odd = long.clone().tos(0xB9).options(&[1; 12]).id(0x1234);
    for packet in [long, odd] {
        let frame = sent(&mut scene, &packet);
        assert_checksums(&frame);
        let header = &ip(&frame)[..20];
        assert_eq!(header[0], 0x45, "no options");
        assert_eq!(header[6..8], [0, 0], "neither a fragment nor one that must not be");
        assert_eq!(header[9], 1);
        assert_eq!(ip(&frame)[20..22], [3, 4]);
        assert_eq!(ip(&frame)[24..26], [0, 0], "unused (RFC 1191, 4)");
        assert_eq!(ip(&frame)[26..28], 1000_u16.to_be_bytes());
    }
}

#[test]
fn what_a_client_says_of_its_address_in_an_option_decides_nothing_and_stays_as_it_is() {
    let mut scene = Scene::new();
    let servers: Vec<RealSpec> = (1..=6).map(|number| real(number, 80)).collect();
    scene.add(&service(Protocol::Tcp, "192.0.2.10", 80, "sh"), &servers);
    let plain = scene.picks(&packet::tcp(CLIENT, VIP).flags("S"));
    for forged in 0..40 {
        // The option that some balancers tell the client's address by (kind 254, 8 bytes).
        let option = [254, 8, 0x03, 0xE8, 172, 16, forged, 77];
        let syn = packet::tcp(CLIENT, VIP).flags("S").tcp_options(&option);
        let frame = sent(&mut scene, &syn);
        assert_eq!(frame[5] - 0x10, plain, "another server by what the client says");
        assert_eq!(ip(&frame)[40..48], option);
    }
}

#[test]
fn a_tunnel_packet_from_outside_is_never_unwrapped() {
    let mut scene = scene(&[real(1, 80)], site(1500));
    let syn = packet::tcp(CLIENT, VIP).flags("S").build();
    for (protocol, head) in [(4, &[][..]), (47, &[0, 0, 8, 0])] {
        for to in ["192.0.2.10", "10.255.255.1"] {
            let inside = [head, ip(&syn)].concat();
            let frames = scene.client(&packet::raw("10.1.0.66", to, protocol).payload(&inside));
            for frame in &frames {
                assert_eq!(frame.port, OUTSIDE, "protocol {protocol} to {to} got in");
                assert_eq!(ip(&frame.bytes)[9], 1, "an error is all that it draws");
            }
        }
    }
    assert_eq!(scene.workers[0].director().bindings().connections(), 0);
}

#[test]
fn an_update_never_writes_a_udp_checksum_that_says_there_is_none() {
    let mut scene = Scene::new();
    let to = masqueraded(real(1, 5353));
    scene.add(&service(Protocol::Udp, "192.0.2.10", 53, "rr"), &[to]);
    // Over all payloads of one word, each checksum comes up once, zero too.
    let mut ones = 0;
    for word in 0..=u16::MAX {
        let datagram = packet::udp("10.1.0.1:1000", "192.0.2.10:53").payload(&word.to_be_bytes());
        let frame = sent(&mut scene, &datagram);
        let checksum = &packet::transport_of(&frame).3[6..8];
        assert_ne!(checksum, [0, 0], "payload {word:#06x}");
        if checksum == [0xFF, 0xFF] {
            ones += 1;
            assert_checksums(&frame);
        }
    }
    assert!(ones >= 1, "the sum that is written as ones came up");
}

#[test]
fn a_reply_that_comes_in_pieces_is_masqueraded_by_its_first_one() {
    let mut scene = Scene::new();
    let to = masqueraded(real(1, 5353));
    scene.add(&service(Protocol::Udp, "192.0.2.10", 53, "rr"), &[to]);
    sent(&mut scene, &packet::udp("10.1.0.1:1000", "192.0.2.10:53").payload(&[1; 20]));
    // What stands where ports would be in a later piece is nobody's port.
    let body = [0x14, 0xE9].repeat(700);
    let reply = packet::udp(&format!("{}:5353", rip(1)), "10.1.0.1:1000").id(77).payload(&body);
    let reply = reply.src_mac(support::scene::real_mac(1)).dst_mac(support::scene::INSIDE_MAC);
    for piece in reply.fragments(512) {
        let frames = scene.feed(0, INSIDE, &piece);
        assert_eq!(frames.len(), 1);
        assert_eq!(frames[0].port, OUTSIDE);
        assert_eq!(ip(&frames[0].bytes)[12..16], [192, 0, 2, 10]);
        let before = &ip(&piece)[20..];
        let after = &ip(&frames[0].bytes)[20..];
        let first = ip(&piece)[6..8] == [0x20, 0];
        let from = if first { 8 } else { 0 };
        assert_eq!(after[from..before.len()], before[from..], "payload is payload");
    }
}

/// A packet from another port each time, to the VIP of this number.
type Kind<'a> = &'a dyn Fn(u8, u8) -> Builder;

/// Leaves these bytes where the next functions' variables will be.
#[inline(never)]
fn soil_the_stack(with: u8) {
    std::hint::black_box([with; 32 * 1024]);
}

#[test]
fn a_client_is_found_again_whatever_was_in_memory_before_its_key_and_stands_behind_its_packet() {
    let mut lab = Lab::new();
    for service in [
        "-t V:80 -s rr -p 60",
        "-t [V]:80 -s rr -p 60",
        "-t V2:0 -s rr -p 60 --client",
        "-t [V2]:0 -s rr -p 60 --client",
        "-u V:53 -s rr",
        "-u [V]:53 -s rr",
    ] {
        lab.ipvsadm(&format!("-A {service}"));
        let name: Vec<&str> = service.split(' ').take(2).collect();
        for server in 1..=3 {
            lab.ipvsadm(&format!("-a {} -r R{server}", name.join(" ")));
        }
    }
    for (from, to) in [("198.18.32.5", "198.18.255"), ("[2001:db8::5]", "[2001:db8:0:ffff:")] {
        let end = |number: u8, port| match to.strip_prefix('[') {
            Some(_) => format!("{to}:{number}]:{port}"),
            None => format!("{to}.{number}:{port}"),
        };
        // Each from another port: whoever is found is found by the client, or by the connection.
        let tcp = |with: u8, number| {
            packet::tcp(&format!("{from}:{}", 2000 + u16::from(with)), &end(number, 80)).flags("S")
        };
        let udp = |_, _| packet::udp(&format!("{from}:2000"), &end(1, 53));
        let kinds: [(Kind<'_>, u8); 3] = [(&tcp, 1), (&tcp, 2), (&udp, 1)];
        for (kind, number) in kinds {
            let first = lab.send(&kind(0, number));
            assert!(matches!(first, Seen::Real(1..=3)), "{first:?}");
            for with in 1..=u8::MAX {
                let mut frame = kind(with, number).build();
                frame.resize(frame.len() + usize::from(with % 40), with);
                soil_the_stack(with);
                assert_eq!(lab.frame(&frame), first, "{with:#x} to {}", end(number, 0));
            }
        }
    }
}
