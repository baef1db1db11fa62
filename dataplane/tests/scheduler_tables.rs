//! The schedulers with tables and caches of their own: mh, lblc, lblcr, twos. And all
//! schedulers: none ever picks a real server that takes no clients.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod support;

use dataplane::catalog::spec::RealSpec;
use dataplane::sched::{Scheduler, SchedulerFlags};
use dataplane::snapshot::RealState;
use dataplane::wire::Protocol;
use support::packet;
use support::scene::{Scene, addr, real, real_mac, service};

use dataplane::wire::ethernet::Mac;

/// Real server 192.168.1.N, as in the recorded sequences of the hashing schedulers.
fn recorded(number: u8, port: u16, weight: u32) -> RealSpec {
    RealSpec {
        weight,
        mac: Some(Mac(real_mac(number))),
        ..RealSpec::new(addr(&format!("192.168.1.{number}")), port)
    }
}

/// A site in which 192.168.1.0/24 is on the inside.
fn scene() -> Scene {
    let mut site = support::scene::site(1500);
    site.routes.insert(
        0,
        dataplane::route::Route {
            network: addr("192.168.1.0"),
            length: 24,
            port: dataplane::ids::PortIndex(support::scene::INSIDE),
            via: None,
        },
    );
    Scene::with(1, site, Default::default())
}

fn clients(scene: &mut Scene, count: u8, vip: &str) -> Vec<u8> {
    (1..=count)
        .map(|n| scene.picks(&packet::tcp(&format!("10.1.0.{n}:5000"), vip).flags("S")))
        .collect()
}

#[test]
fn mh_places_clients_as_the_kernel_does() {
    let mut scene = scene();
    let spec = service(Protocol::Tcp, "10.9.0.100", 1017, "mh");
    scene.add(&spec, &[recorded(1, 1017, 1), recorded(2, 1017, 2), recorded(3, 1017, 3)]);
    assert_eq!(
        clients(&mut scene, 60, "10.9.0.100:1017"),
        [
            2, 3, 2, 3, 2, 3, 3, 3, 3, 2, 1, 3, 3, 2, 3, 3, 2, 2, 2, 2, 1, 1, 2, 3, 3, 2, 1, 3, 2,
            1, 3, 3, 3, 1, 2, 3, 2, 2, 2, 3, 3, 1, 1, 3, 3, 2, 3, 2, 3, 2, 3, 3, 3, 2, 2, 3, 1, 3,
            1, 1
        ]
    );
}

#[test]
fn mh_with_the_port_places_connections_as_the_kernel_does() {
    let mut scene = scene();
    let mut spec = service(Protocol::Tcp, "10.9.0.100", 1018, "mh");
    spec.flags = SchedulerFlags::PORT;
    scene.add(&spec, &[recorded(1, 1018, 1), recorded(2, 1018, 2), recorded(3, 1018, 3)]);
    let picks: Vec<u8> = (40_001..=40_030)
        .map(|port| {
            let from = format!("10.1.0.7:{port}");
            scene.picks(&packet::tcp(&from, "10.9.0.100:1018").flags("S"))
        })
        .collect();
    assert_eq!(
        picks,
        [3, 3, 3, 3, 2, 3, 3, 1, 3, 3, 2, 2, 3, 2, 2, 2, 3, 3, 3, 1, 1, 2, 3, 3, 3, 2, 3, 3, 3, 3]
    );
}

#[test]
fn mh_with_fallback_moves_only_the_quiesced_servers_clients() {
    let mut scene = scene();
    let mut spec = service(Protocol::Tcp, "10.9.0.100", 1021, "mh");
    spec.flags = SchedulerFlags::FALLBACK;
    scene.add(&spec, &[recorded(1, 1021, 1), recorded(2, 1021, 2), recorded(3, 1021, 3)]);
    scene.catalog.edit_real(&spec.identity, recorded(2, 1021, 0)).unwrap();
    scene.publish();
    assert_eq!(
        clients(&mut scene, 40, "10.9.0.100:1021"),
        [
            1, 3, 3, 3, 1, 3, 1, 3, 1, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 1, 1, 3, 3, 1, 3, 1, 3, 3, 1,
            3, 3, 3, 3, 3, 3, 1, 3, 3, 1, 1
        ]
    );
}

#[test]
fn mh_without_fallback_refuses_the_quiesced_servers_clients_and_moves_nobody() {
    let mut scene = scene();
    let spec = service(Protocol::Tcp, "10.9.0.100", 1017, "mh");
    scene.add(&spec, &[recorded(1, 1017, 1), recorded(2, 1017, 2), recorded(3, 1017, 3)]);
    let before = clients(&mut scene, 60, "10.9.0.100:1017");
    let mut later = self::scene();
    later.add(&spec, &[recorded(1, 1017, 1), recorded(2, 1017, 2), recorded(3, 1017, 3)]);
    later.catalog.edit_real(&spec.identity, recorded(2, 1017, 0)).unwrap();
    later.publish();
    let after = clients(&mut later, 60, "10.9.0.100:1017");
    for (before, after) in before.into_iter().zip(after) {
        assert_eq!(after, if before == 2 { 0 } else { before });
    }
}

#[test]
fn a_server_that_is_down_is_no_part_of_a_hash_table() {
    for scheduler in ["mh", "sh", "dh"] {
        let mut scene = scene();
        let spec = service(Protocol::Tcp, "10.9.0.100", 80, scheduler);
        let down = RealSpec { state: RealState::Down, ..recorded(2, 80, 1) };
        scene.add(&spec, &[recorded(1, 80, 1), down, recorded(3, 80, 1)]);
        let picks = clients(&mut scene, 40, "10.9.0.100:80");
        assert!(picks.iter().all(|pick| matches!(pick, 1 | 3)), "{scheduler}: {picks:?}");
    }
}

fn sequence(scheduler: &str, weights: &[u32], count: u16) -> Vec<u8> {
    let mut scene = Scene::new();
    let spec = service(Protocol::Tcp, "192.0.2.10", 80, scheduler);
    let reals: Vec<RealSpec> = weights
        .iter()
        .zip(1..)
        .map(|(weight, number)| RealSpec { weight: *weight, ..real(number, 80) })
        .collect();
    scene.add(&spec, &reals);
    (0..count)
        .map(|n| {
            let from = format!("10.1.0.1:{}", 2000 + n);
            scene.picks(&packet::tcp(&from, "192.0.2.10:80").flags("S"))
        })
        .collect()
}

#[test]
fn lblc_keeps_a_destination_until_its_server_is_busy_and_another_has_room() {
    assert_eq!(sequence("lblc", &[1, 1, 1], 8), [3, 3, 2, 2, 1, 1, 1, 1]);
    assert_eq!(sequence("lblc", &[2, 2], 12), [2, 2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
}

#[test]
fn lblcr_spreads_a_busy_destination_over_a_growing_set() {
    assert_eq!(sequence("lblcr", &[1, 1, 1], 8), [3, 3, 2, 2, 1, 1, 1, 2]);
}

#[test]
fn twos_shares_by_weight_and_never_serves_a_quiesced_server() {
    let picks = sequence("twos", &[1, 2, 1, 0], 400);
    let count = |number| picks.iter().filter(|pick| **pick == number).count();
    assert_eq!(count(4), 0);
    assert!((60..=140).contains(&count(1)), "{}", count(1));
    assert!((150..=250).contains(&count(2)), "{}", count(2));
    assert!((60..=140).contains(&count(3)), "{}", count(3));
}

#[test]
fn directors_with_one_seed_agree_and_those_without_draw_anew() {
    let picks = |seed: Option<u64>, first: u16| -> Vec<u8> {
        // One-packet scheduling counts nothing, so only the draws decide.
        let mut scene = Scene::new();
        let mut spec = service(Protocol::Udp, "192.0.2.10", 53, "twos");
        (spec.seed, spec.one_packet) = (seed, true);
        scene.add(&spec, &[real(1, 53), real(2, 53), real(3, 53)]);
        let warm_up = packet::udp("10.7.0.1:9", "192.0.2.10:53");
        for _ in 0..first {
            scene.picks(&warm_up);
        }
        (1..=60)
            .map(|n| scene.picks(&packet::udp(&format!("10.1.0.{n}:5000"), "192.0.2.10:53")))
            .collect()
    };
    assert_eq!(picks(Some(7), 0), picks(Some(7), 5), "history does not matter with a seed");
    assert_ne!(picks(Some(7), 0), picks(Some(8), 0));
    assert_ne!(picks(None, 0), picks(None, 5));
}

#[test]
fn no_scheduler_ever_picks_a_server_that_takes_no_clients() {
    #[derive(Clone, Copy, PartialEq, Debug)]
    enum Kind {
        Usable,
        Quiesced,
        Drained,
        Down,
        Overloaded,
        Removed,
    }
    const KINDS: [Kind; 6] =
        [Kind::Usable, Kind::Quiesced, Kind::Drained, Kind::Down, Kind::Overloaded, Kind::Removed];
    for scheduler in Scheduler::ALL {
        // With an empty memory, with all flags, and with one of servers that were usable once.
        for (flags, warm) in [
            (SchedulerFlags::empty(), false),
            (SchedulerFlags::all(), false),
            (SchedulerFlags::empty(), true),
        ] {
            // Every mixture of three servers' kinds.
            for mixture in 0..KINDS.len().pow(3) {
                let kinds = [mixture % 6, mixture / 6 % 6, mixture / 36].map(|n| KINDS[n]);
                let mut scene = Scene::new();
                let mut spec = service(Protocol::Tcp, "192.0.2.10", 80, scheduler.name());
                spec.flags = flags;
                scene.add(&spec, &[real(1, 80), real(2, 80), real(3, 80)]);
                for client in 1..=if warm { 6 } else { 0 } {
                    let from = format!("10.1.0.{client}:4000");
                    scene.picks(&packet::tcp(&from, "192.0.2.10:80").flags("S"));
                }
                for (number, kind) in (1..).zip(kinds) {
                    let mut changed = real(number, 80);
                    match kind {
                        Kind::Usable => {}
                        Kind::Quiesced => changed.weight = 0,
                        Kind::Drained => changed.state = RealState::Drain,
                        Kind::Down => changed.state = RealState::Down,
                        Kind::Overloaded => {
                            let snapshot = scene.workers[0].director().snapshot();
                            let id = snapshot
                                .reals
                                .iter()
                                .flatten()
                                .find(|r| r.address == changed.address);
                            scene.shared.loads.set_overloaded(id.unwrap().id, true);
                        }
                        Kind::Removed => {
                            let (address, port) = (changed.address, changed.port);
                            scene.catalog.delete_real(&spec.identity, address, port).unwrap();
                            continue;
                        }
                    }
                    if !matches!(kind, Kind::Usable | Kind::Overloaded) {
                        scene.catalog.edit_real(&spec.identity, changed).unwrap();
                    }
                }
                scene.publish();
                for client in 1..=6 {
                    let from = format!("10.1.0.{client}:5000");
                    let pick = scene.picks(&packet::tcp(&from, "192.0.2.10:80").flags("S"));
                    if pick != 0 {
                        let kind = kinds[usize::from(pick) - 1];
                        // IPVS does not ask whether a server that lblc remembers is full.
                        let remembered = warm && *scheduler == Scheduler::Lblc;
                        let usable = kind == Kind::Usable || remembered && kind == Kind::Overloaded;
                        assert!(usable, "{scheduler:?} {flags:?} {kinds:?} {warm}");
                    }
                }
            }
        }
    }
}
