//! Laws about frames: every one is accounted for, direct routing changes fifteen bytes at the
//! most, a burst is as good as its frames one at a time, and no reload moves a live binding.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::ids::PortIndex;
use dataplane::sched::Scheduler;
use proptest::prelude::*;
use proptest::test_runner::Config;
use support::lab::{Connection, Lab, Seen, Setup};
use support::packet::{self, Builder, CLIENT_MAC, DIRECTOR_MAC};

fn config(cases: u32) -> Config {
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// Services of every kind of binding, on both families.
fn lab(cores: usize) -> Lab {
    let mut lab = Lab::with(Setup { cores, held_limit: 4, ..Setup::default() });
    lab.unknown.push(3);
    for (service, words) in [
        ("-t V:80", "-s wrr -p 60"),
        ("-t [V]:80", "-s wlc -p 60"),
        ("-u V:0", "-s rr -p 60"),
        ("-t V2:0", "-s rr -p 60 --client"),
        ("-t V2:443", "-s rr"),
        ("-u [V]:53", "-s rr -o"),
    ] {
        lab.ipvsadm(&format!("-A {service} {words}"));
        for real in 1..=3 {
            lab.ipvsadm(&format!("-a {service} -r R{real} -w {real}"));
        }
    }
    lab
}

prop_compose! {
    /// A packet of one of a few clients to one of a few addresses and ports.
    fn packets()(
        v6 in prop::bool::weighted(0.3),
        client in 1u16..5,
        client_port in 2000u16..2004,
        vip in 1u16..4,
        port in prop::sample::select(vec![80u16, 443, 53, 8080]),
        kind in 0u8..10,
        flags in prop::sample::select(vec!["S", "A", "FA", "R", "PA", ""]),
        ttl in prop::sample::select(vec![0u8, 1, 2, 64, 255]),
        payload in prop::collection::vec(any::<u8>(), 0..80),
        tos in any::<u8>(),
        pad in 0usize..200,
    ) -> Builder {
        let (from, to) = match v6 {
            true => (
                format!("[2001:db8::{client}]:{client_port}"),
                format!("[2001:db8:0:ffff::{vip}]:{port}"),
            ),
            false => (
                format!("198.18.32.{client}:{client_port}"),
                format!("198.18.255.{vip}:{port}"),
            ),
        };
        let packet = match kind {
            0..6 => packet::tcp(&from, &to).flags(flags),
            6 | 7 => packet::udp(&from, &to),
            8 => packet::sctp(&from, &to, &[(1, 16)]),
            _ => {
                let host = |text: &str| text.parse::<std::net::SocketAddr>().unwrap().ip();
                packet::echo_request(&host(&from).to_string(), &host(&to).to_string(), 1, 1)
            }
        };
        packet.ttl(ttl).tos(tos).payload(&payload).pad_to(pad)
    }
}

/// Frames of every kind, some of them bent.
fn frames() -> impl Strategy<Value = Vec<u8>> {
    let neighbour = prop::sample::select(vec![
        packet::arp_request(CLIENT_MAC, "198.18.0.1", "198.18.255.1"),
        packet::arp_reply(CLIENT_MAC, "198.18.0.1", DIRECTOR_MAC, "198.18.0.254"),
        packet::arp_reply(CLIENT_MAC, "198.18.255.1", DIRECTOR_MAC, "198.18.0.254"),
        packet::neighbour_solicitation(CLIENT_MAC, "2001:db8::1", "2001:db8:0:ffff::1"),
    ]);
    let fragment = (packets(), 0usize..3).prop_map(|(packet, at)| {
        let fragments = packet.payload(&[7; 200]).fragments(64);
        fragments[at].clone()
    });
    let bent =
        (packets(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(packet, at, byte)| {
            let mut frame = packet.build();
            let at = at.index(frame.len());
            frame[at] = byte;
            frame
        });
    let cut = (packets(), any::<prop::sample::Index>()).prop_map(|(packet, at)| {
        let mut frame = packet.build();
        frame.truncate(at.index(frame.len()));
        frame
    });
    prop_oneof![
        12 => packets().prop_map(|packet| packet.build()),
        1 => neighbour,
        1 => fragment,
        1 => bent,
        1 => cut,
        1 => prop::collection::vec(any::<u8>(), 0..100),
    ]
}

/// Totals without what counts turns.
fn counted(lab: &Lab) -> String {
    let mut totals = lab.totals();
    (totals.turns, totals.busy_turns) = (0, 0);
    format!("{totals:?}")
}

proptest! {
    #![proptest_config(config(256))]

    /// The check is the laboratory's: after every step, on every core.
    #[test]
    fn every_frame_is_accounted_for(
        bursts in prop::collection::vec(
            (0usize..3, prop::collection::vec(frames(), 1..33), 0u32..900, prop::option::of(0usize..20)),
            1..12,
        ),
    ) {
        let mut lab = lab(3);
        for (core, frames, ticks, room) in bursts {
            lab.workers[core].ports_mut()[0].tx_room = room;
            lab.feed(core, PortIndex(0), &frames);
            lab.feed(core, PortIndex(0), &[]);
            lab.after_ticks(ticks);
        }
        for worker in &mut lab.workers {
            worker.stop();
        }
        lab.check();
        prop_assert_eq!(lab.totals().held, 0);
    }

    #[test]
    fn a_burst_is_as_good_as_its_frames_one_at_a_time(
        bursts in prop::collection::vec(prop::collection::vec(frames(), 1..33), 1..8),
        waits in prop::collection::vec(0u32..2000, 8),
    ) {
        let (mut all, mut single) = (lab(1), lab(1));
        for (burst, ticks) in bursts.iter().zip(waits) {
            let together = all.feed(0, PortIndex(0), burst);
            let mut apart = Vec::new();
            for frame in burst {
                apart.extend(single.feed(0, PortIndex(0), std::slice::from_ref(frame)));
            }
            prop_assert_eq!(together, apart);
            all.after_ticks(ticks);
            single.after_ticks(ticks);
        }
        prop_assert_eq!(counted(&all), counted(&single));
        prop_assert_eq!(all.states(), single.states());
        prop_assert_eq!(all.templates(), single.templates());
    }

    /// The comparison with the frame as it came is the laboratory's, for every frame that
    /// reaches a real server.
    #[test]
    fn direct_routing_changes_twelve_bytes_and_the_ttl(
        packets in prop::collection::vec(packets(), 1..20),
        keep in any::<bool>(),
    ) {
        let mut lab = lab(1);
        lab.learn(3);
        if keep {
            lab.switch(|compat| compat.ttl = dataplane::compat::TtlPolicy::Keep);
        }
        for packet in packets {
            if let Seen::Real(number) = lab.send(&packet) {
                prop_assert!((1..=3).contains(&number));
            }
        }
    }

    #[test]
    fn no_reload_moves_a_live_binding(
        reloads in prop::collection::vec(reload(), 1..6),
        cores in 1usize..4,
    ) {
        let mut lab = lab(cores);
        lab.learn(3);
        let conns: Vec<(u16, &str, Connection)> = (1..=12)
            .flat_map(|client| ["V:80", "[V]:80", "V2:80"].map(|to| (client, to)))
            .map(|(client, to)| (client, to, lab.client(client).opens(to)))
            .collect();
        for reload in reloads {
            apply(&mut lab, &reload);
            for (client, to, conn) in &conns {
                prop_assert_eq!(lab.establishes(conn), conn.got);
                prop_assert_eq!(lab.client(*client).opens(to).got, conn.got);
            }
            lab.after_secs(10);
        }
    }
}

/// A change that removes no real server: order, weights, schedulers, more real servers.
#[derive(Clone, Debug)]
struct Reload {
    reversed: bool,
    weights: Vec<u32>,
    scheduler: Scheduler,
    more: u16,
}

prop_compose! {
    fn reload()(
        reversed in any::<bool>(),
        weights in prop::collection::vec(0u32..5, 3),
        scheduler in prop::sample::select(Scheduler::ALL),
        more in 0u16..4,
    ) -> Reload {
        Reload { reversed, weights, scheduler, more }
    }
}

fn apply(lab: &mut Lab, reload: &Reload) {
    let mut farms = lab.catalog.farms();
    if reload.reversed {
        farms.reverse();
    }
    for farm in &mut farms {
        farm.service.scheduler = Some(reload.scheduler);
        farm.reals.truncate(3);
        for (real, weight) in farm.reals.iter_mut().zip(&reload.weights) {
            real.weight = *weight;
        }
        for number in 0..reload.more {
            let mut real = farm.reals[0];
            let v6 = !real.address.is_v4();
            real.address = support::lab::real_address(10 + number, v6).unwrap();
            farm.reals.push(real);
        }
        if reload.reversed {
            farm.reals.reverse();
        }
    }
    lab.catalog.apply(&farms, Vec::new()).unwrap();
    lab.publish();
}
