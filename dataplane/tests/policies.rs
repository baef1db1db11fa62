//! The explicit words beside weight 0 (up, drain, down) and what services do about them; the
//! defences; and flows that only an ICMP error tells of.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use std::sync::atomic::Ordering;

use dataplane::catalog::spec::{RealSpec, ServiceSpec};
use dataplane::compat::Defence;
use dataplane::forward::Forwarding;
use dataplane::snapshot::{Engine, OnDown, OnDrain, Persistence, Policy, RealState, Tracking};
use dataplane::tick::Tick;
use dataplane::verdict::DropReason;
use dataplane::wire::Protocol;
use support::packet;
use support::scene::{INSIDE, OUTSIDE, Scene, addr, ip, macs, real, real_mac, rip, service};

const VIP: &str = "192.0.2.10:80";

fn persistent(protocol: Protocol, policy: Policy, tracking: Tracking) -> ServiceSpec {
    let persistence = Some(Persistence { timeout_s: 360, mask: u128::from(u32::MAX) });
    ServiceSpec { persistence, policy, tracking, ..service(protocol, "192.0.2.10", 80, "rr") }
}

/// Two real servers, the client bound to number 2 (the newest is served first).
fn bound(spec: &ServiceSpec) -> Scene {
    let mut scene = Scene::new();
    scene.add(spec, &[real(1, 80), real(2, 80)]);
    assert_eq!(syn(&mut scene, 1000), 2);
    scene
}

fn syn(scene: &mut Scene, port: u16) -> u8 {
    scene.picks(&packet::tcp(&format!("10.1.0.1:{port}"), VIP).flags("S"))
}

fn set(scene: &mut Scene, spec: &ServiceSpec, state: RealState, until: Option<Tick>) {
    let changed = RealSpec { state, drain_until: until, ..real(2, 80) };
    scene.catalog.edit_real(&spec.identity, changed).unwrap();
    scene.publish();
}

fn policy(on_drain: OnDrain, on_down: OnDown) -> Policy {
    Policy { on_drain, on_down }
}

#[test]
fn a_drained_server_keeps_its_clients_unless_new_connections_go_elsewhere() {
    for (on_drain, new) in [(OnDrain::Keep, 2), (OnDrain::NewElsewhere, 1)] {
        let spec = persistent(Protocol::Tcp, policy(on_drain, OnDown::Rebind), Tracking::Full);
        let mut scene = bound(&spec);
        set(&mut scene, &spec, RealState::Drain, None);
        let open = packet::tcp("10.1.0.1:1000", VIP).flags("A");
        assert_eq!(scene.picks(&open), 2, "an open connection stays");
        assert_eq!(syn(&mut scene, 2000), new);
        assert_eq!(scene.picks(&packet::tcp("10.1.0.2:1000", VIP).flags("S")), 1);
        assert_eq!(scene.picks(&open), 2);
    }
}

#[test]
fn by_default_nobody_is_sent_to_a_server_that_is_down() {
    for tracking in [Tracking::Full, Tracking::Client] {
        let spec = persistent(Protocol::Tcp, Policy::default(), tracking);
        let mut scene = bound(&spec);
        set(&mut scene, &spec, RealState::Down, None);
        if tracking == Tracking::Full {
            let answer = scene.client(&packet::tcp("10.1.0.1:1000", VIP).flags("A"));
            assert_eq!(answer[0].port, OUTSIDE);
            assert_eq!(ip(&answer[0].bytes)[33], 0x04, "reset, so that the client comes again");
        }
        assert_eq!(syn(&mut scene, 2000), 1);
        set(&mut scene, &spec, RealState::Up, None);
        assert_eq!(syn(&mut scene, 2001), 1, "and stays where it was moved to");
    }
}

#[test]
fn a_client_that_left_a_down_server_is_not_counted_there() {
    for tracking in [Tracking::Full, Tracking::Client] {
        let spec = persistent(Protocol::Tcp, Policy::default(), tracking);
        let mut scene = bound(&spec);
        set(&mut scene, &spec, RealState::Down, None);
        assert_eq!(syn(&mut scene, 2000), 1);
        let snapshot = scene.workers[0].director().snapshot();
        let mut clients: Vec<_> = (snapshot.reals.iter().flatten())
            .map(|real| (real.address, scene.shared.loads.sum(real.id).clients()))
            .collect();
        clients.sort();
        assert_eq!(clients, [(addr(&rip(1)), 1), (addr(&rip(2)), 0)], "{tracking:?}");
    }
}

#[test]
fn udp_flows_of_a_down_server_move_at_once() {
    let spec = service(Protocol::Udp, "192.0.2.10", 80, "rr");
    let mut scene = Scene::new();
    scene.add(&spec, &[real(1, 80), real(2, 80)]);
    let datagram = packet::udp("10.1.0.1:1000", VIP);
    assert_eq!(scene.picks(&datagram), 2);
    set(&mut scene, &spec, RealState::Down, None);
    assert_eq!(scene.picks(&datagram), 1);
    assert_eq!(scene.picks(&datagram), 1);
}

#[test]
fn clients_of_a_down_server_may_be_kept_as_ipvs_keeps_them_or_wait() {
    for tracking in [Tracking::Full, Tracking::Client] {
        let spec = persistent(Protocol::Tcp, policy(OnDrain::Keep, OnDown::Keep), tracking);
        let mut scene = bound(&spec);
        set(&mut scene, &spec, RealState::Down, None);
        assert_eq!(syn(&mut scene, 1000), 2);
        assert_eq!(syn(&mut scene, 2000), 2);
        let spec = persistent(Protocol::Tcp, policy(OnDrain::Keep, OnDown::Drop), tracking);
        let mut scene = bound(&spec);
        set(&mut scene, &spec, RealState::Down, None);
        assert_eq!((syn(&mut scene, 1000), syn(&mut scene, 2000)), (0, 0));
        assert_eq!(scene.dropped(DropReason::RealServerDown), 2);
        set(&mut scene, &spec, RealState::Up, None);
        assert_eq!((syn(&mut scene, 1000), syn(&mut scene, 2001)), (2, 2));
    }
}

#[test]
fn after_its_deadline_a_drained_server_counts_as_down() {
    let spec = persistent(Protocol::Tcp, Policy::default(), Tracking::Full);
    let mut scene = bound(&spec);
    let until = scene.now.plus_secs(60);
    set(&mut scene, &spec, RealState::Drain, Some(until));
    assert_eq!(syn(&mut scene, 2000), 2);
    scene.now = until.plus(u32::MAX);
    assert_eq!(syn(&mut scene, 2001), 2);
    scene.now = until;
    assert_eq!(syn(&mut scene, 2002), 1);
}

#[test]
fn drop_packet_takes_the_first_of_every_three_that_would_open_a_connection() {
    let mut spec = service(Protocol::Tcp, "192.0.2.10", 80, "rr");
    (spec.compat.drop_packet, spec.compat.am_droprate) = (Defence::Always, 3);
    let mut scene = Scene::new();
    scene.add(&spec, &[real(1, 80)]);
    let passed: Vec<bool> = (1..=10).map(|port| syn(&mut scene, 1000 + port) != 0).collect();
    let wanted = [false, true, true, false, true, true, false, true, true, false];
    assert_eq!(passed, wanted);
    let known = packet::tcp("10.1.0.1:1002", VIP).flags("A");
    assert!((0..10).all(|_| scene.picks(&known) == 1), "open connections are never hit");
    assert_eq!(scene.dropped(DropReason::DropRate), 4);
}

#[test]
fn sctp_is_scheduled_by_an_init_alone_unless_it_is_sloppy_and_by_an_abort_never() {
    const DATA: u8 = 0;
    const INIT: u8 = 1;
    const ABORT: u8 = 6;
    for (sloppy, chunk, opens) in [
        (false, DATA, false),
        (false, ABORT, false),
        (false, INIT, true),
        (true, DATA, true),
        (true, ABORT, false),
        (true, INIT, true),
    ] {
        let mut spec = service(Protocol::Sctp, "192.0.2.10", 80, "rr");
        spec.compat.sloppy_sctp = sloppy;
        let mut scene = Scene::new();
        scene.add(&spec, &[real(1, 80)]);
        scene.client(&packet::sctp("10.1.0.1:1000", VIP, &[(chunk, 16)]));
        let connections = scene.workers[0].director().bindings().connections();
        assert_eq!(connections, usize::from(opens), "chunk {chunk}, sloppy {sloppy}");
    }
}

#[test]
fn where_memory_is_short_packets_are_dropped_at_a_rate_that_is_counted_anew_every_second() {
    let mut spec = service(Protocol::Tcp, "192.0.2.10", 80, "rr");
    (spec.compat.drop_packet, spec.compat.as_kernel) = (Defence::Pressed, true);
    spec.compat.amemthresh = 1024;
    let mut scene = Scene::new();
    scene.add(&spec, &[real(1, 80)]);
    let mut port = 1000;
    let mut passes = |scene: &mut Scene, free_pages: u32, count: usize| -> Vec<bool> {
        scene.now = scene.now.plus_secs(1);
        scene.shared.free_pages.store(free_pages, Ordering::Relaxed);
        let pass = |_| {
            port += 1;
            syn(scene, port) != 0
        };
        (0..count).map(pass).collect()
    };
    assert_eq!(passes(&mut scene, 1024, 4), [true; 4], "as much as it takes");
    assert_eq!(passes(&mut scene, 512, 3), [true, false, true]);
    assert_eq!(passes(&mut scene, 512, 4), [true, false, true, false]);
    assert_eq!(passes(&mut scene, 0, 3), [false; 3], "nothing is left");
}

#[test]
fn drop_entry_ends_half_open_connections_and_leaves_busy_ones() {
    let mut scene = Scene::new();
    scene.add(&service(Protocol::Tcp, "192.0.2.10", 80, "rr"), &[real(1, 80)]);
    for port in 1000..1200 {
        syn(&mut scene, port);
        if port % 2 == 0 {
            for _ in 0..9 {
                scene.picks(&packet::tcp(&format!("10.1.0.1:{port}"), VIP).flags("A"));
            }
        }
    }
    scene.catalog.compat.drop_entry = Defence::Always;
    scene.publish();
    for _ in 0..59 * 250 {
        scene.now = scene.now.plus(1);
        scene.turn(0);
    }
    let bindings = scene.workers[0].director().bindings();
    let left = |word: &str| bindings.iter().filter(|(_, conn)| conn.state.word() == word).count();
    assert_eq!(left("ESTABLISHED"), 100);
    let half_open = left("SYN_RECV");
    assert!((3..60).contains(&half_open), "{half_open} of 100 after a minute at 1/32 a second");
}

#[test]
fn drop_entry_ends_templates_that_no_connection_has_made_sure_of() {
    let persistence = Some(Persistence { timeout_s: 3600, mask: u128::from(u32::MAX) });
    let spec = ServiceSpec { persistence, ..service(Protocol::Udp, "192.0.2.10", 80, "rr") };
    let assured = ServiceSpec { persistence, ..service(Protocol::Tcp, "192.0.2.10", 80, "rr") };
    let mut scene = Scene::new();
    scene.catalog.timeouts.udp_s = 1;
    scene.catalog.timeouts.tcp_s = 1;
    scene.add(&spec, &[real(1, 80)]);
    scene.add(&assured, &[real(1, 80)]);
    for host in 1..=100 {
        scene.picks(&packet::udp(&format!("10.1.0.{host}:1000"), VIP));
        for flags in ["S", "A"] {
            scene.picks(&packet::tcp(&format!("10.1.1.{host}:1000"), VIP).flags(flags));
        }
    }
    let left = |scene: &mut Scene, seconds: u32| {
        for _ in 0..seconds * 250 {
            scene.now = scene.now.plus(1);
            scene.turn(0);
        }
        scene.shared.templates.stats().entries
    };
    assert_eq!(left(&mut scene, 3), 200, "without the defence");
    scene.catalog.compat.drop_entry = Defence::Always;
    scene.publish();
    let after = left(&mut scene, 60);
    assert!((100..160).contains(&after), "{after} of 200, 100 of them sure");
}

#[test]
fn secure_tcp_keeps_half_open_connections_apart() {
    let mut spec = service(Protocol::Tcp, "192.0.2.10", 80, "rr");
    spec.compat.secure_tcp = Defence::Always;
    let mut scene = Scene::new();
    scene.add(&spec, &[real(1, 80)]);
    let mut state = |flags: &str| {
        scene.picks(&packet::tcp("10.1.0.1:1000", VIP).flags(flags));
        scene.workers[0].director().bindings().iter().next().unwrap().1.state.word()
    };
    assert_eq!([state("S"), state("A"), state("R")], ["SYNACK", "ESTABLISHED", "CLOSE"]);
}

#[test]
fn an_error_about_an_unknown_flow_is_scheduled_on_request_and_moves_nothing() {
    for forwarding in [Forwarding::Route, Forwarding::Masq] {
        let mut spec = service(Protocol::Tcp, "192.0.2.10", 80, "rr");
        let mut scene = Scene::new();
        let port = if forwarding == Forwarding::Masq { 8080 } else { 80 };
        scene.add(&spec, &[RealSpec { forwarding, ..real(1, port) }]);
        let reply = packet::tcp(VIP, "10.66.0.2:1000").flags("PA").build();
        let error = packet::icmp_error("10.77.0.1", "192.0.2.10", 3, 4, &reply, 28);
        assert!(scene.client(&error).is_empty());
        spec.compat.schedule_icmp = true;
        scene.catalog.edit_service(spec).unwrap();
        scene.publish();
        let sent = scene.client(&error);
        assert_eq!((sent[0].port, macs(&sent[0].bytes)[0]), (INSIDE, real_mac(1)));
        packet::assert_checksums(&sent[0].bytes);
        let bindings = scene.workers[0].director().bindings();
        let (_, conn) = bindings.iter().next().unwrap();
        assert_eq!((conn.state.word(), conn.timeout), ("NONE", 750));
        let load = scene.shared.loads.sum(conn.real);
        assert_eq!((load.active, load.inactive, load.connections), (0, 1, 1));
    }
}

#[test]
fn an_error_about_a_flow_to_the_ftp_data_port_is_never_scheduled() {
    let mut spec = service(Protocol::Tcp, "192.0.2.10", 80, "rr");
    spec.compat.schedule_icmp = true;
    let mut scene = Scene::new();
    scene.add(&spec, &[real(1, 80)]);
    for (client_port, sent) in [(20, 0), (21, 1)] {
        let reply = packet::tcp(VIP, &format!("10.66.0.2:{client_port}")).build();
        let error = packet::icmp_error("10.77.0.1", "192.0.2.10", 3, 4, &reply, 28);
        assert_eq!(scene.client(&error).len(), sent, "from port {client_port}");
    }
}

#[test]
fn an_error_about_an_open_flow_follows_it_to_a_removed_server_too_and_counts_there_no_more() {
    let spec = service(Protocol::Tcp, "192.0.2.10", 80, "rr");
    let mut scene = Scene::new();
    scene.add(&spec, &[real(1, 80)]);
    assert_eq!(syn(&mut scene, 1000), 1);
    let reply = packet::tcp(VIP, "10.1.0.1:1000").flags("SA").build();
    // Which errors follow, before and after the removal: 3, 4 and 11.
    for (removed, counted) in [(false, [2, 3, 4]), (true, [4, 4, 4])] {
        if removed {
            scene.catalog.delete_real(&spec.identity, addr(&rip(1)), 80).unwrap();
            scene.publish();
        }
        let kinds = [3, 4, 11].into_iter().zip(counted);
        for (kind, counted) in kinds {
            let error = packet::icmp_error("10.77.0.1", "192.0.2.10", kind, 1, &reply, 28);
            assert_eq!(scene.picks(&error), 1, "type {kind}, removed {removed}");
            let load = scene.shared.loads.sum(dataplane::ids::RealId(1));
            assert_eq!(load.in_packets, counted, "type {kind}, removed {removed}");
        }
        for kind in [5, 12] {
            let error = packet::icmp_error("10.77.0.1", "192.0.2.10", kind, 0, &reply, 28);
            assert!(scene.client(&error).is_empty(), "type {kind} is nobody's");
        }
    }
}

#[test]
fn an_error_that_finds_no_server_is_not_answered() {
    let mut spec = service(Protocol::Tcp, "192.0.2.10", 80, "rr");
    spec.compat.schedule_icmp = true;
    let mut scene = Scene::new();
    scene.add(&spec, &[]);
    let reply = packet::tcp(VIP, "10.66.0.2:1000").build();
    let error = packet::icmp_error("10.77.0.1", "192.0.2.10", 3, 4, &reply, 28);
    assert!(scene.client(&error).is_empty());
    assert_eq!(scene.dropped(DropReason::NoRealServer), 1);
}

#[test]
fn a_sip_call_stays_with_its_server_whatever_port_it_comes_from() {
    let mut spec = persistent(Protocol::Udp, Policy::default(), Tracking::Full);
    (spec.engine, spec.one_packet) = (Some(Engine::Sip), true);
    let mut scene = Scene::new();
    scene.add(&spec, &[real(1, 80), real(2, 80), real(3, 80)]);
    let mut call = |from: &str, id: &str| {
        let message = format!("OPTIONS sip:a SIP/2.0\r\n{id}\r\n\r\n");
        scene.picks(&packet::udp(from, VIP).payload(message.as_bytes()))
    };
    assert_eq!(call("10.1.0.1:5060", "Call-ID: abc@x"), 3);
    assert_eq!(call("10.1.0.1:5060", "Call-ID: def@x"), 2);
    assert_eq!(call("10.1.0.1:5061", "i: abc@x"), 3);
    assert_eq!(call("10.1.0.1:5062", "Call-ID: def@x"), 2);
    assert_eq!(call("10.1.0.2:5060", "Call-ID: abc@x"), 1, "another client's call is another one");
    assert_eq!(call("10.1.0.1:5060", "Via: abc@x"), 0);
    assert_eq!(scene.dropped(DropReason::NoCallId), 1);
}
