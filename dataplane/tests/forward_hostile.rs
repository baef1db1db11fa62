//! Damaged and cut frames through every forwarding method, in both directions: nothing
//! panics, every frame is accounted for, and what is sent can be read.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::catalog::spec::RealSpec;
use dataplane::forward::{Forwarding, GueChecksum, Tunnel};
use dataplane::snapshot::{Engine, Persistence};
use dataplane::wire::{Parsed, Protocol, parse};
use proptest::prelude::*;
use support::packet::{self, describe};
use support::scene::{INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, Scene, real, real6, service};

const KINDS: [(Forwarding, Tunnel); 5] = [
    (Forwarding::Route, Tunnel::Ipip),
    (Forwarding::Masq, Tunnel::Ipip),
    (Forwarding::Tunnel, Tunnel::Ipip),
    (Forwarding::Tunnel, Tunnel::Gre { checksum: true }),
    (Forwarding::Tunnel, Tunnel::Gue { port: 6080, checksum: GueChecksum::Full }),
];

fn scene(kind: (Forwarding, Tunnel)) -> Scene {
    let mut scene = Scene::new();
    let with = |spec: RealSpec| RealSpec { forwarding: kind.0, tunnel: kind.1, ..spec };
    for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
        for (vip, spec) in
            [("192.0.2.10", with(real(1, 8080))), ("2001:db8:c0de::10", with(real6(1, 8080)))]
        {
            let mut service = service(protocol, vip, 80, "twos");
            service.compat.sloppy_tcp = true;
            service.compat.schedule_icmp = true;
            if protocol == Protocol::Udp && vip.contains(':') {
                service.persistence = Some(Persistence { timeout_s: 10, mask: u128::MAX });
                service.engine = Some(Engine::Sip);
            }
            scene.add(&service, &[spec]);
        }
    }
    scene
}

/// Good frames of clients and of real servers, with the port that they come in on.
fn good() -> Vec<(u8, Vec<u8>)> {
    let (vip, client, server) = ("192.0.2.10:80", "10.1.0.1:1000", "172.16.0.11:8080");
    let (vip6, client6, server6) =
        ("[2001:db8:c0de::10]:80", "[2001:db8:1::1]:1000", "[fd00:16::11]:8080");
    let sip = b"A\r\nCall-ID: abc@x\r\n\r\n";
    let mut outside = vec![
        packet::tcp(client, vip).flags("S").build(),
        packet::tcp(client6, vip6).flags("S").build(),
        packet::udp(client, vip).payload(&[1; 50]).build(),
        packet::udp(client6, vip6).payload(sip).build(),
        packet::sctp(client, vip, &[(1, 20)]).build(),
        packet::tcp(client, vip).options(&[7, 4, 4, 0]).payload(&[1; 1440]).build(),
    ];
    let reply = packet::tcp(vip, client).payload(&[7; 40]).build();
    outside.push(packet::icmp_error("10.77.0.1", "192.0.2.10", 3, 4, &reply, 60).build());
    outside.extend(packet::udp(client, vip).payload(&[1; 200]).fragments(64));
    outside.extend(packet::udp(client6, vip6).payload(&[1; 200]).fragments(64));
    let mut inside = vec![
        packet::tcp(server, client).flags("SA").build(),
        packet::tcp(server6, client6).flags("SA").build(),
        packet::udp(server, client).payload(&[1; 50]).build(),
        packet::sctp(server, client, &[(2, 20)]).build(),
    ];
    let request = packet::tcp(client, server).payload(&[7; 40]).build();
    inside.push(packet::icmp_error("172.16.0.11", "10.1.0.1", 3, 3, &request, 60).build());
    let wrapped = packet::raw("172.16.0.1", "172.16.0.11", 4)
        .payload(&packet::tcp(client, vip).dont_fragment().payload(&[7; 40]).build()[14..]);
    let wrapped = wrapped.build();
    inside.push(packet::icmp_error("172.16.0.254", "172.16.0.1", 3, 4, &wrapped, 100).build());
    let outside = outside.into_iter().map(|mut frame| {
        frame[..6].copy_from_slice(&OUTSIDE_MAC);
        (OUTSIDE, frame)
    });
    let inside = inside.into_iter().map(|mut frame| {
        frame[..6].copy_from_slice(&INSIDE_MAC);
        (INSIDE, frame)
    });
    outside.chain(inside).collect()
}

#[derive(Clone, Debug)]
enum Damage {
    Byte(prop::sample::Index, u8),
    Cut(prop::sample::Index),
    Grow(u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<prop::sample::Index>(), any::<u8>()).prop_map(|(at, to)| Damage::Byte(at, to)),
        1 => any::<prop::sample::Index>().prop_map(Damage::Cut),
        1 => any::<u8>().prop_map(Damage::Grow),
    ]
}

fn apply(frame: &mut Vec<u8>, damage: &Damage) {
    match damage {
        // The Ethernet header stays, so that the frame gets as far as possible.
        Damage::Byte(at, to) if frame.len() > 14 => {
            let at = 14 + at.index(frame.len() - 14);
            frame[at] = *to;
        }
        Damage::Byte(..) => {}
        Damage::Cut(at) => frame.truncate(at.index(frame.len() + 1)),
        Damage::Grow(by) => frame.resize(frame.len() + usize::from(*by), 0xEE),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn damaged_frames_pass_or_are_dropped_and_nothing_panics(
        kind in 0..KINDS.len(),
        steps in proptest::collection::vec(
            (any::<prop::sample::Index>(), proptest::collection::vec(damage(), 0..4)), 1..30,
        ),
    ) {
        let frames = good();
        let mut scene = scene(KINDS[kind]);
        for (which, damages) in steps {
            let (port, mut frame) = frames[which.index(frames.len())].clone();
            for damage in &damages {
                apply(&mut frame, damage);
            }
            // The scene checks that every frame is accounted for.
            for sent in scene.feed(0, port, &frame) {
                let readable = matches!(parse(&sent.bytes), Parsed::Packet(_) | Parsed::Arp(_));
                prop_assert!(readable, "{} became {}", describe(&frame), describe(&sent.bytes));
            }
            scene.now = scene.now.plus(1);
        }
    }
}
