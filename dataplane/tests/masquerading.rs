//! Masquerading: what real servers and clients receive, on any core, in both families.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use dataplane::catalog::spec::RealSpec;
use dataplane::forward::Forwarding;
use dataplane::forward::masq::{self, End, Endpoint};
use dataplane::mailbox::Event;
use dataplane::port::Frame;
use dataplane::port::memory::MemoryFrame;
use dataplane::shared::TableSizes;
use dataplane::verdict::DropReason;
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Parsed, Protocol, icmp, parse};
use proptest::prelude::*;
use support::packet::{self, Builder, assert_checksums, describe};
use support::scene::{
    GATEWAY_MAC, INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, Scene, Sent, addr, ip, macs, real,
    real_mac, real6, service, site,
};

const VIP: &str = "192.0.2.10:80";
const CLIENT: &str = "10.1.0.1:1000";
const SERVER: &str = "172.16.0.11:8080";

fn masq(spec: RealSpec) -> RealSpec {
    RealSpec { forwarding: Forwarding::Masq, ..spec }
}

fn scene_of(protocol: Protocol) -> Scene {
    let mut scene = Scene::new();
    scene.add(&service(protocol, "192.0.2.10", 80, "rr"), &[masq(real(1, 8080))]);
    scene
}

fn one(sent: Vec<Sent>) -> Sent {
    assert_eq!(sent.len(), 1, "{:?}", sent.iter().map(|s| describe(&s.bytes)).collect::<Vec<_>>());
    sent.into_iter().next().unwrap()
}

/// The frame as it should leave: other MACs, one TTL less.
fn expected(packet: Builder, port: u8, to: [u8; 6]) -> Sent {
    let own = if port == INSIDE { INSIDE_MAC } else { OUTSIDE_MAC };
    Sent { port, bytes: packet.ttl(63).src_mac(own).dst_mac(to).build() }
}

fn assert_sent(got: Vec<Sent>, wanted: &Sent) {
    let got = one(got);
    assert_checksums(&got.bytes);
    assert_eq!(got, *wanted, "{}\n{}", describe(&got.bytes), describe(&wanted.bytes));
}

#[test]
fn a_connection_goes_there_and_back_with_its_port_mapped() {
    let mut scene = scene_of(Protocol::Tcp);
    let sent = scene.client(&packet::tcp(CLIENT, VIP).flags("S"));
    assert_sent(sent, &expected(packet::tcp(CLIENT, SERVER).flags("S"), INSIDE, real_mac(1)));
    let sent = scene.server(1, &packet::tcp(SERVER, CLIENT).flags("SA").payload(b"odd"));
    let wanted = packet::tcp(VIP, CLIENT).flags("SA").payload(b"odd");
    assert_sent(sent, &expected(wanted, OUTSIDE, GATEWAY_MAC));
    let load = scene.shared.loads.sum(dataplane::ids::RealId(1));
    assert_eq!((load.in_packets, load.out_packets, load.out_bytes), (1, 1, 43));
}

#[test]
fn the_states_follow_both_directions() {
    let mut scene = scene_of(Protocol::Tcp);
    let state = |scene: &Scene| {
        let bindings = scene.workers[0].director().bindings();
        bindings.iter().next().map(|(_, conn)| conn.state.word()).unwrap_or("-")
    };
    let steps = [
        (true, "S", "SYN_RECV"),
        (false, "SA", "SYN_RECV"),
        (true, "A", "ESTABLISHED"),
        (false, "FA", "FIN_WAIT"),
        (true, "FA", "TIME_WAIT"),
        (false, "A", "TIME_WAIT"),
    ];
    for (from_client, flags, after) in steps {
        let sent = if from_client {
            scene.client(&packet::tcp(CLIENT, VIP).flags(flags))
        } else {
            scene.server(1, &packet::tcp(SERVER, CLIENT).flags(flags))
        };
        one(sent);
        assert_eq!(state(&scene), after, "after {flags}");
    }
}

#[test]
fn what_outlives_the_last_service_of_its_family_is_translated_but_not_where_all_is_as_in_the_kernel()
 {
    for as_kernel in [false, true] {
        let mut scene = Scene::new();
        scene.catalog.routes_all = true;
        scene.catalog.compat.as_kernel = as_kernel;
        let spec = service(Protocol::Tcp, "192.0.2.10", 80, "rr");
        scene.add(&spec, &[masq(real(1, 8080))]);
        one(scene.client(&packet::tcp(CLIENT, VIP).flags("S")));
        let reply = |scene: &mut Scene| scene.server(1, &packet::tcp(SERVER, CLIENT).flags("SA"));
        let from =
            |port: &str| expected(packet::tcp(port, CLIENT).flags("SA"), OUTSIDE, GATEWAY_MAC);
        assert_sent(reply(&mut scene), &from(VIP));
        scene.catalog.delete_service(&spec.identity).unwrap();
        scene.publish();
        assert_sent(reply(&mut scene), &from(if as_kernel { SERVER } else { VIP }));
        let about = packet::tcp(VIP, CLIENT).flags("A").build();
        let error = packet::icmp_error("10.1.0.1", "192.0.2.10", 3, 3, &about, 28);
        let told = scene.client(&error).iter().filter(|sent| sent.port == INSIDE).count();
        assert_eq!(told, usize::from(!as_kernel));
        // A service of another family does not bring it back, one of its own does.
        scene.add(&service(Protocol::Tcp, "2001:db8::10", 80, "rr"), &[]);
        assert_sent(reply(&mut scene), &from(if as_kernel { SERVER } else { VIP }));
        scene.add(&service(Protocol::Udp, "192.0.2.10", 53, "rr"), &[]);
        assert_sent(reply(&mut scene), &from(VIP));
    }
}

#[test]
fn a_reply_keeps_the_connection_alive_and_an_ended_one_has_none() {
    let mut scene = scene_of(Protocol::Udp);
    one(scene.client(&packet::udp(CLIENT, VIP)));
    for _ in 0..5 {
        scene.now = scene.now.plus_secs(299);
        let wanted = expected(packet::udp(VIP, CLIENT), OUTSIDE, GATEWAY_MAC);
        assert_sent(scene.server(1, &packet::udp(SERVER, CLIENT)), &wanted);
    }
    scene.now = scene.now.plus_secs(300);
    let as_it_is = expected(packet::udp(SERVER, CLIENT), OUTSIDE, GATEWAY_MAC);
    assert_sent(scene.server(1, &packet::udp(SERVER, CLIENT)), &as_it_is);
}

#[test]
fn a_port_that_is_used_again_after_the_servers_fin_alone_stays_with_its_server() {
    let mut scene = Scene::new();
    let mut spec = service(Protocol::Tcp, "192.0.2.10", 80, "rr");
    // By mode 2 a connection that waits after a FIN is only over if no reply was ever seen.
    spec.compat.conn_reuse_mode = 2;
    scene.add(&spec, &[masq(real(1, 80)), masq(real(2, 80))]);
    let from_client = |flags| packet::tcp(CLIENT, VIP).flags(flags);
    let reply = |flags| packet::tcp("172.16.0.12:80", CLIENT).flags(flags);
    assert_eq!(scene.picks(&from_client("S")), 2);
    scene.server(2, &reply("SA"));
    scene.client(&from_client("A"));
    scene.server(2, &reply("FA"));
    assert_eq!(scene.picks(&from_client("S")), 2);
}

#[test]
fn udp_without_a_checksum_stays_without() {
    let mut scene = scene_of(Protocol::Udp);
    let there = scene.client(&packet::udp(CLIENT, VIP).without_checksum().payload(b"x"));
    let wanted = packet::udp(CLIENT, SERVER).without_checksum().payload(b"x");
    assert_eq!(one(there), expected(wanted, INSIDE, real_mac(1)));
    let back = scene.server(1, &packet::udp(SERVER, CLIENT).without_checksum());
    let wanted = packet::udp(VIP, CLIENT).without_checksum();
    assert_eq!(one(back), expected(wanted, OUTSIDE, GATEWAY_MAC));
}

#[test]
fn udp_over_ipv6_without_a_checksum_gets_one() {
    let (vip, client, server) =
        ("[2001:db8:c0de::10]:53", "[2001:db8:1::1]:1000", "[fd00:16::11]:5353");
    let mut scene = Scene::new();
    let spec = service(Protocol::Udp, "2001:db8:c0de::10", 53, "rr");
    let real = RealSpec { address: addr("fd00:16::11"), ..real6(1, 5353) };
    scene.add(&spec, &[masq(real)]);
    for payload in [&b"odd"[..], b"even", b""] {
        let there = packet::udp(client, vip).without_checksum().payload(payload);
        let wanted = packet::udp(client, server).payload(payload);
        assert_sent(scene.client(&there), &expected(wanted, INSIDE, real_mac(1)));
        let back = packet::udp(server, client).without_checksum().payload(payload);
        let wanted = packet::udp(vip, client).payload(payload);
        assert_sent(scene.server(1, &back), &expected(wanted, OUTSIDE, GATEWAY_MAC));
    }
}

#[test]
fn sctp_gets_a_new_crc() {
    let mut scene = scene_of(Protocol::Sctp);
    let sent = scene.client(&packet::sctp(CLIENT, VIP, &[(1, 16)]));
    let wanted = packet::sctp(CLIENT, SERVER, &[(1, 16)]);
    assert_sent(sent, &expected(wanted, INSIDE, real_mac(1)));
    let sent = scene.server(1, &packet::sctp(SERVER, CLIENT, &[(2, 16)]));
    assert_sent(sent, &expected(packet::sctp(VIP, CLIENT, &[(2, 16)]), OUTSIDE, GATEWAY_MAC));
}

#[test]
fn a_piece_of_an_sctp_packet_that_needs_another_port_is_dropped() {
    let mut scene = scene_of(Protocol::Sctp);
    let pieces = packet::sctp(CLIENT, VIP, &[(1, 100)]).dst_mac(OUTSIDE_MAC).fragments(64);
    assert!(scene.feed(0, OUTSIDE, &pieces[0]).is_empty());
    assert_eq!(scene.dropped(DropReason::SctpFragment), 1);
}

#[test]
fn ipv6_is_masqueraded_as_well() {
    let (vip, client, server) =
        ("[2001:db8:c0de::10]:80", "[2001:db8:1::1]:1000", "[fd00:16::11]:8080");
    let mut scene = Scene::new();
    let spec = service(Protocol::Tcp, "2001:db8:c0de::10", 80, "rr");
    // The topology counts in decimal, the address in hexadecimal digits.
    let real = RealSpec { address: addr("fd00:16::11"), ..real6(1, 8080) };
    scene.add(&spec, &[masq(real)]);
    let sent = scene.client(&packet::tcp(client, vip).flags("S"));
    assert_sent(sent, &expected(packet::tcp(client, server).flags("S"), INSIDE, real_mac(1)));
    let sent = scene.server(1, &packet::tcp(server, client).flags("SA"));
    assert_sent(sent, &expected(packet::tcp(vip, client).flags("SA"), OUTSIDE, GATEWAY_MAC));
    // An ICMPv6 error from the client's side, and one from the server's.
    let reply = packet::tcp(vip, client).flags("A").payload(&[7; 64]).build();
    let error = packet::icmp_error("2001:db8:1::1", "2001:db8:c0de::10", 2, 0, &reply, 100);
    let translated = packet::tcp(server, client).flags("A").payload(&[7; 64]).build();
    let wanted = packet::icmp_error("2001:db8:1::1", "fd00:16::11", 2, 0, &translated, 100);
    assert_sent(scene.client(&error), &expected(wanted, INSIDE, real_mac(1)));
    let request = packet::tcp(client, server).flags("A").payload(&[7; 64]).build();
    let error = packet::icmp_error("fd00:16::11", "2001:db8:1::1", 1, 4, &request, 100);
    let translated = packet::tcp(client, vip).flags("A").payload(&[7; 64]).build();
    let wanted = packet::icmp_error("2001:db8:c0de::10", "2001:db8:1::1", 1, 4, &translated, 100);
    assert_sent(scene.server(1, &error), &expected(wanted, OUTSIDE, GATEWAY_MAC));
}

#[test]
fn icmp_errors_are_translated_in_both_directions_however_little_they_quote() {
    for (protocol, make) in
        [(Protocol::Tcp, packet::tcp as fn(&str, &str) -> Builder), (Protocol::Udp, packet::udp)]
    {
        for quoted in [28, 35, 36, 40, 48, 120] {
            let mut scene = scene_of(protocol);
            let open = make(CLIENT, VIP);
            one(scene.client(&if protocol == Protocol::Tcp { open.flags("S") } else { open }));
            let data = |src, dst| make(src, dst).payload(&[7; 90]).build();
            let error =
                packet::icmp_error("10.77.0.1", "192.0.2.10", 3, 4, &data(VIP, CLIENT), quoted);
            let wanted =
                packet::icmp_error("10.77.0.1", "172.16.0.11", 3, 4, &data(SERVER, CLIENT), quoted);
            assert_sent(scene.client(&error), &expected(wanted, INSIDE, real_mac(1)));
            let error =
                packet::icmp_error("172.16.0.11", "10.1.0.1", 3, 3, &data(CLIENT, SERVER), quoted);
            let wanted =
                packet::icmp_error("192.0.2.10", "10.1.0.1", 3, 3, &data(CLIENT, VIP), quoted);
            assert_sent(scene.server(1, &error), &expected(wanted, OUTSIDE, GATEWAY_MAC));
        }
    }
}

#[test]
fn replies_are_found_on_whatever_core_they_arrive_and_their_owner_hears_of_them() {
    let mut scene = Scene::with(3, site(1500), TableSizes::default());
    scene.add(&service(Protocol::Tcp, "192.0.2.10", 80, "rr"), &[masq(real(1, 8080))]);
    let mut words = Vec::new();
    for (flags, from_client) in [("S", true), ("SA", false), ("A", true), ("FA", false)] {
        let (core, port, frame) = match from_client {
            true => (0, OUTSIDE, packet::tcp(CLIENT, VIP).flags(flags).dst_mac(OUTSIDE_MAC)),
            false => (2, INSIDE, packet::tcp(SERVER, CLIENT).flags(flags).dst_mac(INSIDE_MAC)),
        };
        let sent = scene.feed(core, port, &frame.build());
        if !from_client {
            let wanted = packet::tcp(VIP, CLIENT).flags(flags);
            assert_sent(sent, &expected(wanted, OUTSIDE, GATEWAY_MAC));
        }
        scene.turn(0);
        let bindings = scene.workers[0].director().bindings();
        words.push(bindings.iter().next().unwrap().1.state.word());
    }
    assert_eq!(words, ["SYN_RECV", "SYN_RECV", "ESTABLISHED", "FIN_WAIT"]);
    let load = scene.shared.loads.sum(dataplane::ids::RealId(1));
    assert_eq!((load.in_packets, load.out_packets), (2, 2));
    // Its end is everybody's.
    scene.now = scene.now.plus_secs(130);
    for _ in 0..10 {
        scene.now = scene.now.plus_secs(1);
        scene.turn(0);
    }
    assert_eq!(scene.workers[0].director().bindings().connections(), 0);
    let late = packet::tcp(SERVER, CLIENT).flags("A").dst_mac(INSIDE_MAC);
    let as_it_is = expected(packet::tcp(SERVER, CLIENT).flags("A"), OUTSIDE, GATEWAY_MAC);
    assert_sent(scene.feed(2, INSIDE, &late.build()), &as_it_is);
}

#[test]
fn the_ttl_is_looked_at_before_anything_is_rewritten_on_both_ways() {
    let mut scene = scene_of(Protocol::Tcp);
    let answer = one(scene.client(&packet::tcp(CLIENT, VIP).flags("S").ttl(1)));
    assert_eq!((answer.port, &ip(&answer.bytes)[12..16]), (OUTSIDE, &[192, 0, 2, 10][..]));
    assert_eq!(ip(&answer.bytes)[20], 11);
    let answer = one(scene.server(1, &packet::tcp(SERVER, CLIENT).flags("SA").ttl(1)));
    assert_eq!((answer.port, &ip(&answer.bytes)[12..16]), (INSIDE, &[172, 16, 0, 1][..]));
    assert_eq!(&ip(&answer.bytes)[28 + 12..28 + 16], &[172, 16, 0, 11]);
    assert_checksums(&answer.bytes);
}

#[test]
fn a_server_hears_of_a_reply_that_is_too_big_and_a_server_that_allows_it_is_fragmented() {
    let mut narrow = site(1500);
    narrow.ports[usize::from(OUTSIDE)].mtu = 1000;
    let mut scene = Scene::with(1, narrow, TableSizes::default());
    // The device takes what the configuration says.
    let ports = scene.workers[0].ports_mut();
    ports[0] = dataplane::port::memory::MemoryPort::new(Mac(OUTSIDE_MAC)).with_mtu(1000);
    scene.add(&service(Protocol::Udp, "192.0.2.10", 80, "rr"), &[masq(real(1, 8080))]);
    one(scene.client(&packet::udp(CLIENT, VIP)));
    let big = packet::udp(SERVER, CLIENT).payload(&[7; 1212]);
    let answer = one(scene.server(1, &big.clone().dont_fragment()));
    assert_eq!(answer.port, INSIDE);
    assert_eq!(&ip(&answer.bytes)[20..22], &[3, 4]);
    assert_eq!(&ip(&answer.bytes)[26..28], &1000_u16.to_be_bytes());
    let pieces = scene.server(1, &big);
    let lengths: Vec<_> = pieces.iter().map(|piece| piece.bytes.len() - 14).collect();
    assert_eq!(lengths, [996, 264]);
    let joined = [&ip(&pieces[0].bytes)[20..], &ip(&pieces[1].bytes)[20..]].concat();
    let whole = packet::udp(VIP, CLIENT).payload(&[7; 1212]);
    assert_eq!(joined, whole.transport_bytes());
}

#[test]
fn a_client_in_a_connected_network_is_sought_and_the_reply_waits() {
    let client = "10.255.255.77:1000";
    let mut scene = scene_of(Protocol::Tcp);
    one(scene.client(&packet::tcp(client, VIP).flags("S")));
    assert!(scene.server(1, &packet::tcp(SERVER, client).flags("SA")).is_empty());
    let events: Vec<Event> =
        std::iter::from_fn(|| scene.shared.mailboxes[0].events.pop()).collect();
    let address = addr("10.255.255.77");
    let port = dataplane::ids::PortIndex(OUTSIDE);
    assert_eq!(events, [Event::Sought { port, address }]);
    assert!(scene.turn(0).is_empty());
    let id = scene.shared.neighbours.intern(port, address).unwrap();
    assert!(scene.turn(0).is_empty());
    scene.shared.neighbours.set(id, Some(Mac([2, 0, 0, 0, 0, 77])));
    let wanted = expected(packet::tcp(VIP, client).flags("SA"), OUTSIDE, [2, 0, 0, 0, 0, 77]);
    assert_sent(scene.turn(0), &wanted);
    // Known by now: the next one does not wait.
    let wanted = expected(packet::tcp(VIP, client).flags("A"), OUTSIDE, [2, 0, 0, 0, 0, 77]);
    assert_sent(scene.server(1, &packet::tcp(SERVER, client).flags("A")), &wanted);
}

#[test]
fn a_servers_own_traffic_passes_as_it_is_and_late_replies_are_refused_on_request() {
    let mut scene = scene_of(Protocol::Tcp);
    let passes = |scene: &mut Scene, packet: Builder| {
        let wanted = expected(packet.clone(), OUTSIDE, GATEWAY_MAC);
        assert_sent(scene.server(1, &packet), &wanted);
    };
    passes(&mut scene, packet::tcp(SERVER, CLIENT).flags("PA"));
    passes(&mut scene, packet::udp("172.16.0.11:5000", "10.1.0.1:53"));
    passes(&mut scene, packet::echo_request("172.16.0.11", "10.1.0.1", 1, 1));
    scene.catalog.compat.nat_icmp_send = true;
    scene.publish();
    let answer = one(scene.server(1, &packet::tcp(SERVER, CLIENT).flags("PA")));
    assert_eq!((answer.port, macs(&answer.bytes)[0]), (INSIDE, real_mac(1)));
    assert_eq!(&ip(&answer.bytes)[12..22], &[172, 16, 0, 1, 172, 16, 0, 11, 3, 3]);
    passes(&mut scene, packet::tcp(SERVER, CLIENT).flags("R"));
    passes(&mut scene, packet::tcp("172.16.0.11:1234", CLIENT).flags("PA"));
    // A station that is no masqueraded server is not routed for.
    let stranger = packet::tcp("172.16.0.99:8080", CLIENT).flags("PA");
    assert!(scene.server(9, &stranger).is_empty());
    assert_eq!(scene.dropped(DropReason::NotForUs), 1);
    // What is inside a host is nowhere else.
    for nowhere in ["127.0.0.1:53", "0.0.0.0:53", "0.1.2.3:53"] {
        let packet = packet::udp("172.16.0.11:5000", nowhere);
        assert!(scene.server(1, &packet).is_empty(), "{nowhere}");
    }
    assert_eq!(scene.dropped(DropReason::BadAddress), 3);
}

#[test]
fn a_gateways_director_counts_and_passes_the_replies_of_direct_routing() {
    let mut scene = Scene::new();
    scene.add(&service(Protocol::Tcp, "192.0.2.10", 80, "rr"), &[real(1, 80)]);
    one(scene.client(&packet::tcp(CLIENT, VIP).flags("S")));
    let reply = packet::tcp(VIP, CLIENT).flags("SA");
    let wanted = expected(reply.clone(), OUTSIDE, GATEWAY_MAC);
    assert_sent(scene.server(1, &reply), &wanted);
    let (_, conn) = scene.workers[0].director().bindings().iter().next().unwrap();
    assert!(!conn.flags.contains(dataplane::conn::ConnFlags::NO_OUTPUT));
    assert_eq!(scene.shared.loads.sum(conn.real).out_packets, 1);
}

#[test]
fn nothing_from_outside_is_masqueraded_to_loopback_and_a_local_server_is_the_host() {
    let mut scene = Scene::new();
    let spec = service(Protocol::Tcp, "192.0.2.10", 80, "rr");
    let own = masq(RealSpec::new(addr("10.255.255.1"), 80));
    scene.add(&spec, &[masq(RealSpec::new(addr("127.0.0.1"), 80)), own]);
    let reset = one(scene.client(&packet::tcp(CLIENT, VIP).flags("S")));
    assert_eq!(ip(&reset.bytes)[20 + 13], 0x14, "{}", describe(&reset.bytes));
    assert!(scene.client(&packet::tcp("10.1.0.2:1000", VIP).flags("S")).is_empty());
    assert_eq!(scene.dropped(DropReason::BadAddress), 1);
}

/// Who the client thinks that a reply of the one server's port comes from.
fn answers_as(scene: &mut Scene, core: usize, flags: &str) -> [u8; 6] {
    let reply = packet::tcp(SERVER, CLIENT).flags(flags).dst_mac(INSIDE_MAC).build();
    let sent = one(scene.feed(core, INSIDE, &reply));
    let bytes = ip(&sent.bytes);
    [12, 13, 14, 15, 20, 21].map(|at| bytes[at])
}

#[test]
fn what_answers_two_connections_is_the_newer_ones_and_then_the_older_ones_again() {
    const ONE: [u8; 6] = [192, 0, 2, 10, 0, 80];
    const TWO: [u8; 6] = [192, 0, 2, 20, 0, 80];
    const THREE: [u8; 6] = [192, 0, 2, 20, 0, 81];
    // Each on a core of its own, or all on one; replies come in anywhere.
    for cores in [1, 3] {
        let mut scene = Scene::with(cores, site(1500), TableSizes::default());
        let to = ["192.0.2.10:80", "192.0.2.20:80", "192.0.2.20:81"];
        for (vip, port) in [("192.0.2.10", 80), ("192.0.2.20", 80), ("192.0.2.20", 81)] {
            scene.add(&service(Protocol::Tcp, vip, port, "rr"), &[masq(real(1, 8080))]);
        }
        let core_of = |number: usize| number % cores;
        let says = |scene: &mut Scene, number: usize, flags: &str| {
            let frame = packet::tcp(CLIENT, to[number]).flags(flags).dst_mac(OUTSIDE_MAC);
            one(scene.feed(core_of(number), OUTSIDE, &frame.build()));
            (0..cores).for_each(|core| drop(scene.turn(core)));
        };
        let answers = |scene: &mut Scene, flags: &str, wanted: [u8; 6]| {
            for core in 0..cores {
                assert_eq!(answers_as(scene, core, flags), wanted, "core {core} of {cores}");
            }
            (0..cores).for_each(|core| drop(scene.turn(core)));
        };
        let wait = |scene: &mut Scene, seconds: u32| {
            for _ in 0..seconds {
                scene.now = scene.now.plus_secs(1);
                (0..cores).for_each(|core| drop(scene.turn(core)));
            }
        };
        for (number, wanted) in [ONE, TWO, THREE].into_iter().enumerate() {
            says(&mut scene, number, "S");
            answers(&mut scene, "SA", wanted);
            says(&mut scene, number, "A");
        }
        // An older one that goes on is no newer for that.
        says(&mut scene, 0, "A");
        answers(&mut scene, "A", THREE);
        // The one in the middle ends first; then the newest.
        says(&mut scene, 1, "R");
        wait(&mut scene, 12);
        answers(&mut scene, "A", THREE);
        says(&mut scene, 2, "R");
        wait(&mut scene, 12);
        answers(&mut scene, "A", ONE);
        // What begins again is the newest, and what is covered again is found again.
        says(&mut scene, 1, "S");
        answers(&mut scene, "SA", TWO);
        says(&mut scene, 0, "R");
        says(&mut scene, 1, "R");
        answers(&mut scene, "A", TWO);
        wait(&mut scene, 130);
        let connections = |core: usize| scene.workers[core].director().bindings().connections();
        assert_eq!((0..cores).map(connections).sum::<usize>(), 1, "the server spoke last to it");
        assert_eq!(scene.shared.replies.entries(), 1);
    }
}

/// Any packet that can be rewritten, with whether it is IPv6.
fn packets() -> impl Strategy<Value = (Builder, bool)> {
    let payload = proptest::collection::vec(any::<u8>(), 0..60);
    (0..3_u8, any::<bool>(), any::<[u16; 2]>(), payload, any::<bool>()).prop_map(
        |(kind, v6, [from, to], payload, without)| {
            let (src, dst) = match v6 {
                true => (format!("[2001:db8::5]:{from}"), format!("[2001:db8:ffff::1]:{to}")),
                false => (format!("198.18.0.5:{from}"), format!("198.18.255.1:{to}")),
            };
            let packet = match kind {
                0 => packet::tcp(&src, &dst).payload(&payload),
                1 if without && !v6 => packet::udp(&src, &dst).without_checksum().payload(&payload),
                1 => packet::udp(&src, &dst).payload(&payload),
                _ => packet::sctp(&src, &dst, &[(1, payload.len())]),
            };
            (packet, v6)
        },
    )
}

fn parsed(bytes: &[u8]) -> dataplane::wire::Packet {
    match parse(bytes) {
        Parsed::Packet(packet) => packet,
        other => panic!("{other:?}"),
    }
}

fn udp_checksum(frame: &[u8]) -> u16 {
    u16::from_be_bytes(packet::transport_of(frame).3[6..8].try_into().unwrap())
}

/// A sum in one's complement.
fn with_carry(one: u16, other: u16) -> u16 {
    let (sum, carried) = one.overflowing_add(other);
    sum + u16::from(carried)
}

proptest! {
    #[test]
    fn there_and_back_restores_the_packet(
        (packet, v6) in packets(), number in any::<u32>(), port in any::<u16>(),
        source in any::<bool>(), to_zero in any::<bool>(),
    ) {
        let before = packet.build();
        let mut frame = MemoryFrame::new(&before);
        let end = if source { End::Source } else { End::Destination };
        let address = match v6 {
            true => dataplane::wire::Addr::v6(0x2001_0db8 << 96 | u128::from(number) << 40),
            false => dataplane::wire::Addr::v4(number & 0x7FFF_FFFF),
        };
        let whole = parsed(&before);
        masq::rewrite(frame.bytes_mut(), &whole, end, Endpoint { address, port }).unwrap();
        // Often the port with which UDP's sum comes to zero: one sum in 65,536 does by itself.
        let port = match whole.protocol {
            Protocol::Udp if to_zero => with_carry(port, udp_checksum(frame.bytes())),
            _ => port,
        };
        let mut frame = MemoryFrame::new(&before);
        masq::rewrite(frame.bytes_mut(), &whole, end, Endpoint { address, port }).unwrap();
        let changed = parsed(frame.bytes());
        assert_checksums(frame.bytes());
        let ends = |p: &dataplane::wire::Packet| match source {
            true => [(p.src, p.src_port), (p.dst, p.dst_port)],
            false => [(p.dst, p.dst_port), (p.src, p.src_port)],
        };
        prop_assert_eq!(ends(&changed), [(address, port), ends(&whole)[1]]);
        let [(address, port), _] = ends(&whole);
        masq::rewrite(frame.bytes_mut(), &changed, end, Endpoint { address, port }).unwrap();
        prop_assert_eq!(describe(frame.bytes()), describe(&before));
        prop_assert_eq!(frame.bytes(), before);
    }

    #[test]
    fn errors_there_and_back_restore_the_quote(
        (packet, v6) in packets(), cut in 0_usize..60, port in any::<u16>(), source in any::<bool>(),
        to_zero in any::<bool>(),
    ) {
        let quoted_len = if v6 { 48 } else { 28 } + cut;
        let (router, to, new) = match v6 {
            true => ("2001:db8:9::9", "2001:db8::5", addr("fd00:16::11")),
            false => ("10.77.0.1", "198.18.0.5", addr("172.16.0.11")),
        };
        let before = packet::icmp_error(router, to, if v6 { 1 } else { 3 }, 4, &packet.build(), quoted_len).build();
        let mut frame = MemoryFrame::new(&before);
        let end = if source { End::Source } else { End::Destination };
        let (error, inner) = (parsed(&before), icmp::quoted(&before, &parsed(&before)).unwrap());
        let there = Endpoint { address: new, port };
        masq::rewrite_error(frame.bytes_mut(), &error, &inner, end, there).unwrap();
        let is_udp = inner.protocol == Protocol::Udp;
        let quoted_checksum = |bytes: &[u8]| {
            let at = usize::from(inner.l4_offset) + 6;
            u16::from_be_bytes(bytes[at..at + 2].try_into().unwrap())
        };
        if is_udp && to_zero {
            let port = with_carry(port, quoted_checksum(frame.bytes()));
            frame = MemoryFrame::new(&before);
            let there = Endpoint { address: new, port };
            masq::rewrite_error(frame.bytes_mut(), &error, &inner, end, there).unwrap();
        }
        // None stays none, and one that is there never becomes none.
        let had_none = is_udp && quoted_checksum(&before) == 0;
        prop_assert_eq!(is_udp && quoted_checksum(frame.bytes()) == 0, had_none);
        assert_checksums(frame.bytes());
        let changed = parsed(frame.bytes());
        let quoted = icmp::quoted(frame.bytes(), &changed).unwrap();
        prop_assert!(dataplane::wire::ipv4::checksum_holds(frame.bytes(), &quoted) || v6);
        // The two ends may have differed before; put each back alone is not possible, so
        // only errors whose address is the quoted one's are restored.
        let (outer, was) = match source {
            true => (error.src, Endpoint { address: inner.dst, port: inner.dst_port }),
            false => (error.dst, Endpoint { address: inner.src, port: inner.src_port }),
        };
        if outer == was.address {
            masq::rewrite_error(frame.bytes_mut(), &changed, &quoted, end, was).unwrap();
            prop_assert_eq!(frame.bytes(), before);
        }
    }
}
