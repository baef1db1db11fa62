//! Every frame that came in is somewhere, and every reason to drop one is counted as itself.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;

use dataplane::catalog::spec::{RealSpec, ServiceSpec};
use dataplane::compat::Defence;
use dataplane::ids::PortIndex;
use dataplane::snapshot::{OnDown, Policy, RealState};
use dataplane::verdict::DropReason::{self, *};
use support::lab::Seen::{Dropped, Held, Real, Unsent};
use support::lab::{Lab, Layout, Setup};
use support::packet::{self, CLIENT_MAC, DIRECTOR_MAC};

const CLIENT: &str = "198.18.32.1:40000";
const VIP: &str = "198.18.255.1:80";
const CLIENT6: &str = "[2001:db8::1]:40000";
const VIP6: &str = "[2001:db8:0:ffff::1]:80";

/// Reasons that belong to code which a laboratory without a NIC or a control thread cannot
/// reach, or to masquerading and the SIP engine, which have stories of their own.
const NO_PATH: [DropReason; 6] = [NoPort, PuntQueueFull, FrameMemory, NoCallId, Loop, SctpFragment];

fn with(setup: Setup, lines: &str) -> Lab {
    let mut lab = Lab::with(setup);
    lab.restore(lines);
    lab
}

fn lab() -> Lab {
    with(Setup::default(), "-A -t V:80 -s rr\n -a -t V:80 -r R1")
}

/// Frames that are refused before anybody asks what they are for.
fn malformed() -> Vec<(DropReason, Vec<u8>)> {
    let good = packet::tcp(CLIENT, VIP).flags("S").build();
    let bent = |at: usize, byte: u8| {
        let mut frame = good.clone();
        frame[at] = byte;
        frame
    };
    let good6 = packet::tcp(CLIENT6, VIP6).flags("S");
    let segment = good6.transport_bytes();
    let arp = packet::arp_request(CLIENT_MAC, "198.18.32.1", "198.18.255.1");
    let mut bad_arp = arp.clone();
    bad_arp[18] = 5;
    vec![
        (Truncated, good[..20].to_vec()),
        (BadIpHeader, bent(14, 0x44)),
        (BadL4Header, bent(46, 0x30)),
        (BadVlan, packet::tcp(CLIENT, VIP).vlan(1).vlan(2).vlan(3).build()),
        (BadAddress, packet::udp("224.0.0.1:1", VIP).build()),
        (BadExtensionHeader, good6.clone().extension(60, &[1, 4]).extension(0, &[1, 4]).build()),
        (HeaderChain, (0..9).fold(good6.clone(), |p, _| p.extension(60, &[0; 6])).build()),
        (RoutingHeader, good6.clone().extension(43, &[0; 6]).build()),
        (BadFragment, good6.fragment(&[], 24, false)),
        (TinyFragment, good6.fragment(&segment[..8], 0, true)),
        (BadArp, bad_arp),
    ]
}

#[test]
fn every_reason_that_has_a_code_path_is_counted_as_itself() {
    let mut seen = BTreeSet::new();
    let mut lab = lab();
    for (reason, frame) in malformed() {
        assert_eq!(lab.frame(&frame), Dropped(reason), "{}", packet::describe(&frame));
        seen.insert(reason.label());
    }
    for (reason, provoke) in provoked() {
        provoke(reason);
        seen.insert(reason.label());
    }
    let no_path = NO_PATH.iter().map(|reason| reason.label());
    let all: BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.label()).collect();
    assert_eq!(seen.iter().copied().chain(no_path).collect::<BTreeSet<_>>(), all);
    assert_eq!(seen.len() + NO_PATH.len(), all.len(), "no reason is in both lists");
}

type Provoke = fn(DropReason);

/// A small story for each reason that needs one.
fn provoked() -> Vec<(DropReason, Provoke)> {
    vec![
        (OtherMac, |reason| {
            let packet = packet::tcp(CLIENT, VIP).dst_mac([2; 6]);
            assert_eq!(lab().send(&packet), Dropped(reason));
        }),
        (OtherVlan, |reason| {
            assert_eq!(lab().send(&packet::tcp(CLIENT, VIP).vlan(9)), Dropped(reason));
        }),
        (NotForUs, |reason| {
            assert_eq!(lab().client(1).opens("V9:80").got, Dropped(reason));
        }),
        (AnswerLimited, |reason| {
            let mut lab = with(Setup { answers_per_second: 0, ..Setup::default() }, "-A -t V:80");
            assert_eq!(lab.client(1).opens("V:81").got, Dropped(reason));
        }),
        (Unanswerable, |reason| {
            assert_eq!(lab().client(1).sends("R", "V:81").got, Dropped(reason));
        }),
        (NoRealServer, |reason| {
            let mut lab = with(Setup { answers_per_second: 0, ..Setup::default() }, "-A -t V:80");
            assert_eq!(lab.client(1).opens("V:80").got, Dropped(reason));
        }),
        (RealServerGone, |reason| {
            let mut lab = lab();
            let conn = lab.client(1).opens("V:80");
            lab.ipvsadm("-d -t V:80 -r R1");
            assert_eq!(lab.establishes(&conn), Dropped(reason));
        }),
        (NoNeighbour, |reason| {
            let mut lab = unresolved(8);
            lab.client(1).opens("V:80");
            lab.after_secs(4);
            assert_eq!(lab.totals().dropped_for(reason), 1);
        }),
        (HoldQueueFull, |reason| {
            let mut lab = unresolved(1);
            assert_eq!(lab.client(1).opens("V:80").got, Held);
            assert_eq!(lab.client(1).opens("V:80").got, Dropped(reason));
        }),
        (TtlExceeded, |reason| {
            let setup = Setup { answers_per_second: 0, ..Setup::default() };
            let mut lab = with(setup, "-A -t V:80\n -a -t V:80 -r R1");
            assert_eq!(lab.send(&packet::tcp(CLIENT, VIP).flags("S").ttl(1)), Dropped(reason));
        }),
        (TooBig, |reason| {
            let setup = Setup { answers_per_second: 0, layout: Layout::Narrow, ..Setup::default() };
            let mut lab = with(setup, "-A -t V:80\n -a -t V:80 -r R1");
            let long = packet::tcp(CLIENT, VIP).flags("S").dont_fragment().payload(&[0; 1200]);
            assert_eq!(lab.send(&long), Dropped(reason));
        }),
        (TableFull, |reason| {
            let mut setup = Setup::default();
            setup.sizes.connections_v4 = 16;
            let mut lab = with(setup, "-A -t V:80\n -a -t V:80 -r R1");
            lab.picks("V:80", 64);
            assert!(lab.totals().dropped_for(reason) >= 64 - 16);
            let conns = lab.states().len() as u64;
            assert_eq!(lab.load("-t V:80", 1), (conns, 0, 0), "only what is there is counted");
        }),
        (FragmentEarly, |reason| {
            let whole = packet::udp(CLIENT, VIP).payload(&[0; 100]);
            let mut lab = lab();
            assert_eq!(lab.frame(&whole.fragments(64)[1]), Held);
            lab.after_secs(1);
            assert_eq!(lab.totals().dropped_for(reason), 1);
        }),
        (FragmentTable, |reason| {
            let mut lab = lab();
            let early = |n: u16| {
                let from = format!("198.18.33.1:{}", 2000 + n);
                packet::udp(&from, VIP).id(n.into()).payload(&[0; 100]).fragments(64)[1].clone()
            };
            let dropped = (1..200).filter(|n| lab.frame(&early(*n)) == Dropped(reason)).count();
            assert_eq!(dropped, 199 - 64, "sixty-four wait");
        }),
        (RealServerDown, |reason| {
            let mut lab = lab();
            let (identity, real) = {
                let farm = &lab.catalog.farms()[0];
                (farm.service.clone(), farm.reals[0])
            };
            let policy = Policy { on_down: OnDown::Drop, ..Policy::default() };
            let conn = lab.client(1).opens("V:80");
            lab.catalog.edit_service(ServiceSpec { policy, ..identity.clone() }).unwrap();
            let down = RealSpec { state: RealState::Down, ..real };
            lab.catalog.edit_real(&identity.identity, down).unwrap();
            lab.publish();
            assert_eq!(lab.establishes(&conn), Dropped(reason));
        }),
        (DropRate, |reason| {
            let mut lab = lab();
            lab.switch(|compat| {
                compat.drop_packet = Defence::Always;
                compat.am_droprate = 3;
            });
            assert_eq!(lab.client(1).opens("V:80").got, Dropped(reason));
        }),
        (Stopping, |reason| {
            let mut lab = unresolved(8);
            lab.client(1).opens("V:80");
            lab.workers[0].stop();
            assert_eq!(lab.totals().dropped_for(reason), 1);
        }),
    ]
}

fn unresolved(held_limit: usize) -> Lab {
    let mut lab = Lab::with(Setup { held_limit, ..Setup::default() });
    lab.unknown.push(1);
    lab.restore("-A -t V:80\n -a -t V:80 -r R1");
    lab
}

#[test]
fn frames_that_a_full_wire_refuses_are_unsent() {
    let mut lab = lab();
    lab.workers[0].ports_mut()[0].tx_room = Some(40);
    let frames: Vec<_> = (0..100_u16)
        .map(|n| packet::tcp(&format!("198.18.32.1:{}", 2000 + n), VIP).flags("S").build())
        .collect();
    let mut sent = 0;
    for burst in frames.chunks(32) {
        sent += lab.feed(0, PortIndex(0), burst).len();
    }
    assert_eq!(sent, 40);
    assert_eq!(lab.totals().unsent, 60);
    assert_eq!(lab.totals().forwarded, 40);
    assert_eq!(lab.client(2).opens("V:80").got, Unsent);
    lab.workers[0].ports_mut()[0].tx_room = None;
    assert_eq!(lab.client(2).opens("V:80").got, Real(1), "and it goes on");
}

#[test]
fn more_frames_than_a_burst_in_one_turn_from_two_ports_are_all_sent() {
    let setup = Setup { layout: Layout::KernelFacing, ..Setup::default() };
    let mut lab = with(setup, "-A -t V:80\n -a -t V:80 -r R1");
    for (port, count) in [(0, 32), (1, 32)] {
        let wire = &mut lab.workers[0].ports_mut()[port];
        for n in 0..count {
            let from = format!("198.18.32.1:{}", 3000 + n);
            let frame = packet::tcp(&from, VIP).flags("S").build();
            wire.arriving.push_back(dataplane::port::memory::MemoryFrame::new(&frame));
        }
    }
    let sent = lab.feed_nothing(64);
    assert_eq!(sent.len(), 64, "both bursts leave on the NIC port");
    assert!(sent.iter().all(|(port, _)| *port == PortIndex(0)));
}

#[test]
fn a_mixed_burst_is_accounted_for_frame_by_frame() {
    let mut lab = lab();
    let mut frames: Vec<Vec<u8>> = malformed().into_iter().map(|(_, frame)| frame).collect();
    frames.push(packet::tcp(CLIENT, VIP).flags("S").build());
    frames.push(packet::arp_request(CLIENT_MAC, "198.18.32.1", "198.18.255.1"));
    frames.push(packet::arp_reply(CLIENT_MAC, "198.18.0.1", DIRECTOR_MAC, "198.18.0.254"));
    frames.push(packet::echo_request("198.18.32.1", "198.18.255.1", 1, 1).build());
    let count = frames.len() as u64;
    let sent = lab.feed(0, PortIndex(0), &frames);
    let totals = lab.totals();
    assert_eq!(sent.len(), 3);
    assert_eq!((totals.received, totals.forwarded, totals.punted), (count, 3, 1));
    assert_eq!(totals.dropped_total(), count - 4);
}
