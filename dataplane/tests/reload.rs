//! Changes of the configuration under live traffic.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::catalog::Refused;
use dataplane::catalog::spec::{Farm, RealSpec};
use dataplane::ids::{Generation, PortIndex, RealId};
use dataplane::mailbox::Outgoing;
use dataplane::verdict::DropReason;
use dataplane::wire::Addr;
use support::lab::Seen::{self, Dropped, Real};
use support::lab::{Connection, Lab, identity};

const GONE: Seen = Dropped(DropReason::RealServerGone);

/// V:80 with rr over R1 to R3, and another service that stays.
fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.restore(
        "-A -t V:80 -s rr -p 360
         -a -t V:80 -r R1
         -a -t V:80 -r R2
         -a -t V:80 -r R3
         -A -t V:81 -s wrr
         -a -t V:81 -r R4 -w 2
         -a -t V:81 -r R5 -w 1",
    );
    lab
}

fn apply(lab: &mut Lab, farms: &[Farm]) -> String {
    let changes = lab.catalog.apply(farms, Vec::new()).unwrap();
    lab.publish();
    changes.to_string()
}

fn bound(lab: &mut Lab, clients: u16) -> Vec<Connection> {
    (1..=clients).map(|client| lab.client(client).opens("V:80")).collect()
}

#[test]
fn the_same_farms_in_another_order_change_nothing() {
    let mut lab = lab();
    let conns = bound(&mut lab, 2);
    let mut farms = lab.catalog.farms();
    farms.reverse();
    for farm in &mut farms {
        farm.reals.reverse();
    }
    assert_eq!(apply(&mut lab, &farms), "no change of services or real servers");
    for conn in &conns {
        assert_eq!(lab.establishes(conn), conn.got);
    }
    assert_eq!(lab.client(3).opens("V:80").got, Real(1), "the round goes on");
    assert_eq!(lab.clients("V:81", [1, 1, 1]), "5 4 4");
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut lab = lab();
    let before = lab.catalog.farms();
    let mut farms = before.clone();
    farms.remove(0);
    let bad = &mut farms.last_mut().unwrap().reals;
    (bad[0].upper_threshold, bad[0].lower_threshold) = (1, 2);
    assert_eq!(lab.catalog.apply(&farms, Vec::new()), Err(Refused::Thresholds));
    assert_eq!(lab.catalog.farms(), before);
    // Ids of real servers that are there are taken, and number 0 is nobody's.
    let mut farms = before.clone();
    let (reals, some) = (&mut farms[0].reals, before[1].reals[0]);
    let address = |number| Addr::v4(0x0A00_0000 + number);
    let all = (0..RealId::LIMIT).map(|number| RealSpec { address: address(number), ..some });
    *reals = all.collect();
    assert_eq!(lab.catalog.check(&farms), Err(Refused::TooMany));
    farms[0].reals.truncate(RealId::LIMIT as usize / 2);
    assert_eq!(lab.catalog.check(&farms), Ok(()));
}

#[test]
fn live_connections_and_templates_survive_every_kind_of_change() {
    let mut lab = lab();
    let conns = bound(&mut lab, 9);
    let ids: Vec<_> = (1..=3).map(|real| lab.real_id("-t V:80", real)).collect();
    let mut farms = lab.catalog.farms();
    let farm = farms.iter_mut().find(|f| f.service.identity == identity("-t V:80")).unwrap();
    farm.service.scheduler = Some(dataplane::sched::Scheduler::Wlc);
    farm.service.persistence =
        Some(dataplane::snapshot::Persistence { timeout_s: 60, mask: u128::MAX });
    for real in &mut farm.reals {
        real.weight = 7;
    }
    let mut seventh = farm.reals[0];
    seventh.address = support::lab::real_address(7, false).unwrap();
    farm.reals.push(seventh);
    assert_eq!(
        apply(&mut lab, &farms),
        "1 service edited, 1 real server added, 3 real servers edited"
    );
    for (client, conn) in conns.iter().enumerate() {
        assert_eq!(lab.establishes(conn), conn.got);
        assert_eq!(lab.client(client as u16 + 1).opens("V:80").got, conn.got);
    }
    let after: Vec<_> = (1..=3).map(|real| lab.real_id("-t V:80", real)).collect();
    assert_eq!(ids, after);
    assert_eq!(lab.client(77).opens("V:80").got, Real(7), "the new one has no load");
}

#[test]
fn a_removed_service_that_is_put_back_finds_its_connections_and_templates() {
    let mut lab = lab();
    let conns = bound(&mut lab, 3);
    let id = lab.real_id("-t V:80", 2);
    lab.ipvsadm("-D -t V:80");
    assert_eq!(lab.establishes(&conns[1]), GONE);
    lab.ipvsadm("-A -t V:80 -s rr -p 360");
    assert_eq!(lab.establishes(&conns[1]), GONE, "without its real server it is no better");
    assert_eq!(lab.client(4).opens("V:80").got, Seen::Unreachable);
    for real in ["R3", "R2", "R1"] {
        lab.ipvsadm(&format!("-a -t V:80 -r {real}"));
    }
    assert_eq!(lab.real_id("-t V:80", 2), id);
    for (client, conn) in conns.iter().enumerate() {
        assert_eq!(lab.establishes(conn), conn.got);
        assert_eq!(lab.client(client as u16 + 1).opens("V:80").got, conn.got);
    }
}

#[test]
fn a_real_server_keeps_its_id_while_it_is_referred_to_and_gives_it_up_afterwards() {
    let mut lab = lab();
    bound(&mut lab, 3);
    let id = lab.real_id("-t V:80", 2);
    lab.ipvsadm("-d -t V:80 -r R2");
    let adopted = Generation(lab.totals().generation);
    lab.catalog.reclaim(adopted);
    lab.publish();
    assert_eq!(lab.real_id("-t V:80", 2), id, "its template lives");
    lab.after_secs(420);
    let adopted = Generation(lab.totals().generation);
    lab.catalog.reclaim(adopted);
    lab.ipvsadm("-a -t V:80 -r R9");
    assert_eq!(lab.real_id("-t V:80", 9), id, "free to be used again");
    assert_eq!(lab.load("-t V:80", 9), (0, 0, 0));
    lab.ipvsadm("-a -t V:80 -r R2");
    assert_ne!(lab.real_id("-t V:80", 2), id);
}

#[test]
fn a_core_that_takes_no_turns_gets_the_newest_snapshot_when_it_comes_back() {
    let mut lab = Lab::with_cores(2);
    lab.restore("-A -t V:80 -s rr\n -a -t V:80 -r R1");
    lab.stuck.push(1);
    for real in 2..=6 {
        lab.ipvsadm(&format!("-a -t V:80 -r R{real}"));
    }
    let generation = |lab: &Lab, core: usize| lab.shared.counters[core].read().generation;
    let newest = lab.catalog.generation().0;
    assert_eq!(generation(&lab, 0), newest);
    assert!(generation(&lab, 1) < newest);
    lab.stuck.clear();
    lab.turn();
    assert_eq!(generation(&lab, 1), newest);
    let picked: std::collections::HashSet<String> = (0..64).map(|_| lab.picks("V:80", 1)).collect();
    assert_eq!(picked.len(), 6);
}

#[test]
fn a_core_whose_retired_snapshots_nobody_takes_goes_on_with_what_it_has() {
    let mut lab = Lab::new();
    lab.restore("-A -t V:80 -s rr\n -a -t V:80 -r R1");
    lab.collects_retired = false;
    for real in 2..=9 {
        lab.ipvsadm(&format!("-a -t V:80 -r R{real}"));
    }
    let newest = lab.catalog.generation().0;
    let stands_at = lab.totals().generation;
    assert!(stands_at < newest, "there is no room for the snapshots it has done with");
    let conn = lab.client(1).opens("V:80");
    assert!(matches!(conn.got, Real(_)), "traffic flows all the same");
    lab.after_secs(5);
    assert_eq!(lab.totals().generation, stands_at);
    let question = support::packet::arp_request([2; 6], "198.18.0.254", "198.18.10.2");
    let outgoing = Outgoing { port: PortIndex(0), frame: question.clone().into() };
    lab.shared.mailboxes[0].outgoing.push(outgoing).unwrap();
    assert_eq!(lab.turn(), [(PortIndex(0), question)], "control's frames are sent all the same");
    assert_eq!(lab.establishes(&conn), conn.got);
    lab.collects_retired = true;
    lab.turn();
    lab.turn();
    assert_eq!(lab.totals().generation, newest);
    assert_eq!(lab.establishes(&conn), conn.got);
}

#[test]
fn every_snapshot_that_was_sent_comes_back_to_be_freed() {
    let mut lab = lab();
    let mut weak = Vec::new();
    for weight in 1..20 {
        lab.catalog
            .edit_real(&identity("-t V:81"), {
                let farms = lab.catalog.farms();
                let farm = farms.iter().find(|f| f.service.identity == identity("-t V:81"));
                dataplane::catalog::spec::RealSpec { weight, ..farm.unwrap().reals[0] }
            })
            .unwrap();
        let snapshot = lab.catalog.snapshot();
        weak.push(std::sync::Arc::downgrade(&snapshot));
        lab.send_snapshot(&snapshot);
        drop(snapshot);
        lab.turn();
    }
    lab.turn();
    let alive = weak.iter().filter(|snapshot| snapshot.upgrade().is_some()).count();
    assert_eq!(alive, 1, "the one in use");
}

#[test]
fn a_refused_change_leaves_everything_as_it_was() {
    let mut lab = lab();
    let service = identity("-t V:80");
    let before = lab.catalog.farms();
    let mut real = before[0].reals[0];
    (real.upper_threshold, real.lower_threshold) = (1, 2);
    assert!(lab.catalog.edit_real(&service, real).is_err());
    assert!(lab.catalog.add_real(&service, before[0].reals[0]).is_err());
    assert!(lab.catalog.add_service(before[0].service.clone()).is_err());
    let nobody = identity("-t V:4444");
    assert!(lab.catalog.delete_service(&nobody).is_err());
    assert!(lab.catalog.delete_real(&nobody, real.address, real.port).is_err());
    assert_eq!(lab.catalog.farms(), before);
}

#[test]
fn a_drained_server_keeps_its_clients_and_a_server_that_is_down_loses_them() {
    let mut lab = lab();
    let conns = bound(&mut lab, 3);
    assert_eq!(conns[1].got, Real(2));
    lab.ipvsadm("-e -t V:80 -r R2 --state drain");
    assert_eq!(lab.client(2).opens("V:80").got, Real(2));
    assert_eq!(lab.clients("V:80", 10..=15), "3 1 3 1 3 1");
    lab.ipvsadm("-e -t V:80 -r R2 --state down");
    let moved = lab.client(2).opens("V:80").got;
    assert!(matches!(moved, Real(1 | 3)), "{moved:?}");
    lab.ipvsadm("-e -t V:80 -r R2");
    assert_eq!(lab.client(2).opens("V:80").got, moved, "it stays where it is now");
}
