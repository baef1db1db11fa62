//! Fragments: all of a datagram reach one server, whatever their order, and what waits is
//! bounded in number and time.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use dataplane::catalog::spec::RealSpec;
use dataplane::forward::{Forwarding, Tunnel};
use dataplane::tick::TICKS_PER_SECOND;
use dataplane::verdict::DropReason;
use dataplane::wire::{Fragment, Parsed, Protocol, parse};
use proptest::prelude::*;
use support::packet::{self, Builder};
use support::scene::{
    GATEWAY_MAC, INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, Scene, Sent, ip, macs, real, real6,
    service,
};

const VIP: &str = "192.0.2.10:53";
const VIP6: &str = "[2001:db8:c0de::10]:53";

/// Three real servers of both families behind UDP port 53.
fn scene(forwarding: Forwarding) -> Scene {
    let mut scene = Scene::new();
    let with = |spec: RealSpec| RealSpec { forwarding, tunnel: Tunnel::Ipip, ..spec };
    let port = if forwarding == Forwarding::Masq { 5353 } else { 53 };
    let v4: Vec<_> = (1..=3).map(|n| with(real(n, port))).collect();
    let v6: Vec<_> = (1..=3).map(|n| with(real6(n, port))).collect();
    scene.add(&service(Protocol::Udp, "192.0.2.10", 53, "rr"), &v4);
    scene.add(&service(Protocol::Udp, "2001:db8:c0de::10", 53, "rr"), &v6);
    scene
}

fn datagram(client: u16, v6: bool, len: usize, id: u32) -> Builder {
    let payload: Vec<u8> = (0..len).map(|n| (n % 249) as u8).collect();
    let packet = match v6 {
        true => packet::udp(&format!("[2001:db8:1::{client:x}]:1000"), VIP6),
        false => packet::udp(&format!("10.1.0.{client}:1000"), VIP),
    };
    packet.payload(&payload).id(id).src_mac(GATEWAY_MAC).dst_mac(OUTSIDE_MAC)
}

/// The transport bytes of a datagram, from its fragments in any order.
fn joined(fragments: &[&[u8]]) -> Vec<u8> {
    let mut whole = Vec::new();
    for bytes in fragments {
        let Parsed::Packet(packet) = parse(bytes) else { panic!("not read") };
        let offset = match packet.fragment {
            Fragment::Whole | Fragment::First { .. } => 0,
            Fragment::Later { offset, .. } => usize::from(offset),
        };
        let data = packet.transport(bytes);
        whole.resize(whole.len().max(offset + data.len()), 0);
        whole[offset..offset + data.len()].copy_from_slice(data);
    }
    whole
}

fn feed_all(scene: &mut Scene, frames: &[Vec<u8>]) -> Vec<Sent> {
    frames.iter().flat_map(|frame| scene.feed(0, OUTSIDE, frame)).collect()
}

proptest! {
    #[test]
    fn all_fragments_of_a_datagram_reach_one_server_in_any_order(
        v6 in any::<bool>(),
        len in 100_usize..1500,
        size in (1_usize..40).prop_map(|n| n * 8),
        order in any::<proptest::sample::Index>(),
        seed in any::<u64>(),
        method in 0..3_usize,
    ) {
        let forwarding = [Forwarding::Route, Forwarding::Masq, Forwarding::Tunnel][method];
        let mut scene = scene(forwarding);
        let sent = datagram(1, v6, len, 77);
        let mut frames = sent.fragments(size.max(len / 60 / 8 * 8 + 8));
        // Another client's datagram between, with the same number.
        let other = datagram(2, v6, len, 77).fragments(512);
        let mut random = seed;
        for place in (1..frames.len()).rev() {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            frames.swap(place, (random >> 33) as usize % (place + 1));
        }
        let cut = order.index(frames.len() + 1);
        let mut got = feed_all(&mut scene, &frames[..cut]);
        let strangers = feed_all(&mut scene, &other);
        got.extend(feed_all(&mut scene, &frames[cut..]));
        prop_assert_eq!(got.len(), frames.len());
        let servers: std::collections::HashSet<[u8; 6]> =
            got.iter().map(|sent| macs(&sent.bytes)[0]).collect();
        prop_assert_eq!(servers.len(), 1);
        let server = servers.into_iter().next().unwrap();
        prop_assert!(strangers.iter().all(|sent| macs(&sent.bytes)[0] != server));
        let outer = match (forwarding, v6) {
            (Forwarding::Tunnel, true) => 40,
            (Forwarding::Tunnel, false) => 20,
            _ => 0,
        };
        let inner: Vec<Vec<u8>> = got
            .iter()
            .map(|sent| [&sent.bytes[..14], &ip(&sent.bytes)[outer..]].concat())
            .collect();
        let whole = joined(&inner.iter().map(Vec::as_slice).collect::<Vec<_>>());
        let number = server[5] - 0x10;
        let expected = match (forwarding, v6) {
            (Forwarding::Masq, false) => {
                let to = format!("172.16.0.{}:5353", 10 + number);
                packet::udp("10.1.0.1:1000", &to).payload(&whole[8..]).transport_bytes()
            }
            (Forwarding::Masq, true) => {
                let to = format!("[fd00:16::{}]:5353", 10 + number);
                packet::udp("[2001:db8:1::1]:1000", &to).payload(&whole[8..]).transport_bytes()
            }
            _ => sent.transport_bytes(),
        };
        prop_assert_eq!(whole, expected);
        prop_assert_eq!(scene.shared.totals().held, 0);
    }
}

#[test]
fn replies_in_fragments_are_masqueraded_as_a_whole() {
    let mut scene = scene(Forwarding::Masq);
    scene.feed(0, OUTSIDE, &datagram(1, false, 10, 1).build());
    let reply =
        packet::udp("172.16.0.13:5353", "10.1.0.1:1000").payload(&[9; 900]).dst_mac(INSIDE_MAC);
    let mut frames = reply.fragments(400);
    frames.reverse();
    let got: Vec<Sent> = frames.iter().flat_map(|frame| scene.feed(0, INSIDE, frame)).collect();
    assert_eq!(got.len(), 3);
    assert!(
        got.iter().all(|sent| sent.port == OUTSIDE && ip(&sent.bytes)[12..16] == [192, 0, 2, 10])
    );
    let whole = joined(&got.iter().map(|sent| sent.bytes.as_slice()).collect::<Vec<_>>());
    let wanted = packet::udp(VIP, "10.1.0.1:1000").payload(&[9; 900]);
    assert_eq!(whole, wanted.transport_bytes());
}

#[test]
fn a_fragment_whose_first_one_does_not_come_is_dropped_in_time() {
    let mut scene = scene(Forwarding::Route);
    let frames = datagram(1, false, 900, 5).fragments(400);
    assert!(scene.feed(0, OUTSIDE, &frames[1]).is_empty());
    assert_eq!(scene.shared.totals().held, 1);
    scene.now = scene.now.plus(12);
    assert!(scene.turn(0).is_empty());
    assert_eq!(scene.dropped(DropReason::FragmentEarly), 0);
    scene.now = scene.now.plus(1);
    assert!(scene.turn(0).is_empty());
    assert_eq!(scene.dropped(DropReason::FragmentEarly), 1);
    assert_eq!(scene.feed(0, OUTSIDE, &frames[0]).len(), 1, "the first one alone goes on");
}

#[test]
fn what_was_decided_of_a_datagram_is_known_for_thirty_seconds() {
    for (seconds, known) in [(0, true), (29, true), (30, false), (3600, false)] {
        let mut scene = scene(Forwarding::Route);
        let frames = datagram(1, false, 900, 5).fragments(400);
        assert_eq!(scene.feed(0, OUTSIDE, &frames[0]).len(), 1);
        scene.now = scene.now.plus_secs(seconds);
        let sent = scene.feed(0, OUTSIDE, &frames[1]).len();
        assert_eq!(sent, usize::from(known), "{seconds} s later");
    }
}

#[test]
fn no_more_fragments_wait_than_allowed() {
    let mut scene = scene(Forwarding::Route);
    for id in 0..70 {
        let frames = datagram(1, false, 900, id).fragments(400);
        assert!(scene.feed(0, OUTSIDE, &frames[1]).is_empty());
    }
    assert_eq!(scene.shared.totals().held, 64);
    assert_eq!(scene.dropped(DropReason::FragmentTable), 6);
    // Those that wait still find their first one.
    let first = &datagram(1, false, 900, 63).fragments(400)[0];
    assert_eq!(scene.feed(0, OUTSIDE, first).len(), 2);
    scene.workers[0].stop();
    assert_eq!(scene.dropped(DropReason::Stopping), 63);
}

#[test]
fn a_first_fragment_with_other_ports_does_not_change_what_was_decided() {
    let mut scene = scene(Forwarding::Route);
    let frames = datagram(1, false, 900, 5).fragments(400);
    let server = macs(&scene.feed(0, OUTSIDE, &frames[0])[0].bytes)[0];
    let forged = packet::udp("10.1.0.1:2000", VIP)
        .payload(&[0; 900])
        .id(5)
        .dst_mac(OUTSIDE_MAC)
        .fragments(400);
    assert!(scene.feed(0, OUTSIDE, &forged[0]).is_empty());
    assert_eq!(scene.dropped(DropReason::BadFragment), 1);
    assert_eq!(macs(&scene.feed(0, OUTSIDE, &frames[1])[0].bytes)[0], server);
    // The same number later on is another datagram.
    scene.now = scene.now.plus(TICKS_PER_SECOND);
    assert_eq!(scene.feed(0, OUTSIDE, &forged[0]).len(), 1);
}

#[test]
fn fragments_of_a_refused_datagram_are_refused_once() {
    let mut scene = Scene::new();
    scene.add(&service(Protocol::Udp, "192.0.2.10", 53, "rr"), &[]);
    let frames = datagram(1, false, 900, 5).fragments(400);
    let answers = feed_all(&mut scene, &frames);
    assert_eq!(answers.len(), 1);
    assert_eq!(ip(&answers[0].bytes)[20..22], [3, 3]);
    assert_eq!(scene.dropped(DropReason::NoRealServer), 2);
}

#[test]
fn a_vip_that_is_an_own_address_as_well_gets_its_fragments_in_any_order() {
    let mut scene = scene(Forwarding::Route);
    scene.add(&service(Protocol::Udp, "10.255.255.1", 53, "rr"), &[real(1, 53)]);
    let mut frames = packet::udp("10.1.0.1:1000", "10.255.255.1:53")
        .payload(&[0; 900])
        .dst_mac(OUTSIDE_MAC)
        .fragments(400);
    frames.reverse();
    assert_eq!(feed_all(&mut scene, &frames).len(), 3);
}

#[test]
fn fragments_to_nobody_do_not_wait() {
    let mut scene = scene(Forwarding::Route);
    let frames = packet::udp("10.1.0.1:1000", "192.0.2.99:53")
        .payload(&[0; 900])
        .dst_mac(OUTSIDE_MAC)
        .fragments(400);
    assert!(scene.feed(0, OUTSIDE, &frames[1]).is_empty());
    assert_eq!(scene.dropped(DropReason::NotForUs), 1);
}

#[test]
fn a_flood_of_first_fragments_pushes_only_old_decisions_out() {
    let mut scene = scene(Forwarding::Route);
    for id in 0..5_000 {
        scene.now = scene.now.plus(1);
        let frames = datagram((id % 200 + 1) as u16, false, 900, id).fragments(400);
        assert_eq!(feed_all(&mut scene, &frames).len(), 3, "{id}");
    }
}
