//! Tables that grow under traffic: nobody is lost, nobody is refused longer than a turn.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::HashMap;

use dataplane::catalog::spec::RealSpec;
use dataplane::forward::Forwarding;
use dataplane::shared::{TableSizes, Unable};
use dataplane::snapshot::{Persistence, Tracking};
use dataplane::verdict::DropReason;
use dataplane::wire::Protocol;
use support::packet;
use support::scene::{Scene, real, service};

const VIP: &str = "192.0.2.10:80";

/// 1,024 connections, templates and clients of each family.
fn small() -> TableSizes {
    TableSizes {
        connections_v4: 1024,
        connections_v6: 1024,
        templates_v4: 1024,
        templates_v6: 1024,
        clients_v4: 1024,
        clients_v6: 1024,
        ..TableSizes::default()
    }
}

/// Does what control does until all tables are as large as this.
fn grow(scene: &mut Scene, wanted: &TableSizes) {
    for _ in 0..10_000 {
        match scene.shared.grow(wanted) {
            Ok(true) | Err(Unable::Busy) => drop(scene.turn(0)),
            Ok(false) => return,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the tables do not grow");
}

fn client(n: u32) -> String {
    format!("10.{}.{}.{}:{}", 1 + n / 62_500, n / 250 % 250, 1 + n % 250, 1000 + n % 7)
}

#[test]
fn connections_of_a_full_table_stay_and_new_ones_are_taken_while_it_grows() {
    for forwarding in [Forwarding::Route, Forwarding::Masq] {
        let mut scene = Scene::with(1, support::scene::site(1500), small());
        let masq = |number| RealSpec { forwarding, ..real(number, 80) };
        scene.add(&service(Protocol::Tcp, "192.0.2.10", 80, "rr"), &[masq(1), masq(2), masq(3)]);
        let mut servers = HashMap::new();
        for n in 0..1024 {
            servers.insert(n, scene.picks(&packet::tcp(&client(n), VIP).flags("S")));
        }
        assert!(scene.client(&packet::tcp(&client(1024), VIP).flags("S")).is_empty());
        assert_eq!(scene.dropped(DropReason::TableFull), 1);

        let wanted = TableSizes { connections_v4: 2048, connections_v6: 4096, ..small() };
        assert_eq!(scene.shared.grow(&wanted), Ok(true));
        assert_eq!(scene.shared.sizes_now().connections_v4, 2048);
        // Some fifty entries move with every turn, so that it is over after two dozen turns.
        for n in 1024..2048 {
            servers.insert(n, scene.picks(&packet::tcp(&client(n), VIP).flags("S")));
            let old = n * 7 % (n + 1);
            let picked = scene.picks(&packet::tcp(&client(old), VIP).flags("A"));
            assert_eq!(picked, servers[&old], "client {old} after {n}");
        }
        for (n, server) in &servers {
            let picked = scene.picks(&packet::tcp(&client(*n), VIP).flags("A"));
            assert_eq!(picked, *server, "client {n}");
            if forwarding == Forwarding::Masq {
                let from = format!("{}:80", support::scene::rip(*server));
                let sent = scene.server(*server, &packet::tcp(&from, &client(*n)).flags("SA"));
                assert_eq!(sent.len(), 1, "the reply to client {n}");
            }
        }
        assert_eq!(scene.dropped(DropReason::TableFull), 1);
        grow(&mut scene, &wanted);
        let bindings = scene.workers[0].director().bindings();
        assert_eq!(bindings.connections(), 2048);
        for _ in 0..200 {
            scene.turn(0);
        }
        assert_eq!(scene.workers[0].director().bindings().capacity(), [2048, 4096]);
        let mailbox = &scene.shared.mailboxes[0];
        assert_eq!(mailbox.leftovers.len(), 2, "both old indexes come back to be freed");
    }
}

#[test]
fn cores_that_do_not_give_back_the_old_index_grow_no_further_and_go_on_when_they_can() {
    let mut scene = Scene::with(1, support::scene::site(1500), small());
    for step in 2..12 {
        let wanted = TableSizes { connections_v4: 1024 * step, ..small() };
        let _ = scene.shared.grow(&wanted);
        (0..100).for_each(|_| drop(scene.turn(0)));
    }
    let mailbox = &scene.shared.mailboxes[0];
    assert!(mailbox.leftovers.is_full());
    assert_eq!(scene.workers[0].director().bindings().capacity()[0], 1024 * 5);
    assert_eq!(
        scene.shared.grow(&TableSizes { connections_v4: 90_000, ..small() }),
        Err(Unable::Busy)
    );
    while scene.shared.mailboxes[0].leftovers.pop().is_some() {}
    (0..1000).for_each(|_| drop(scene.turn(0)));
    assert_eq!(scene.workers[0].director().bindings().capacity()[0], 1024 * 7);
}

#[test]
fn bound_clients_of_both_trackings_stay_and_new_ones_are_bound_while_their_table_grows() {
    for tracking in [Tracking::Full, Tracking::Client] {
        let mut scene = Scene::with(1, support::scene::site(1500), small());
        let mut spec = service(Protocol::Tcp, "192.0.2.10", 80, "rr");
        spec.persistence = Some(Persistence { timeout_s: 3600, mask: u128::MAX });
        spec.tracking = tracking;
        scene.add(&spec, &[real(1, 80), real(2, 80), real(3, 80)]);
        let wanted = TableSizes { connections_v4: 8192, ..small() };
        grow(&mut scene, &wanted);
        (0..200).for_each(|_| drop(scene.turn(0)));
        let mut servers = HashMap::new();
        // Nine tenths of what they are made for: control would have begun long before.
        for n in 0..920 {
            servers.insert(n, scene.picks(&packet::tcp(&client(n), VIP).flags("S")));
        }
        let larger = TableSizes { templates_v4: 4096, clients_v4: 4096, ..wanted };
        let before = scene.shared.templates.stats().slots + scene.shared.clients.stats().slots;
        for n in 920..4000 {
            let _ = scene.shared.grow(&larger);
            scene.now = scene.now.plus(1);
            servers.insert(n, scene.picks(&packet::tcp(&client(n), VIP).flags("S")));
        }
        let after = scene.shared.templates.stats().slots + scene.shared.clients.stats().slots;
        assert!(after > 2 * before, "{before} slots, then {after}");
        for (n, server) in &servers {
            // Another port: the binding decides.
            let other = client(*n).replace(":100", ":200");
            assert_eq!(scene.picks(&packet::tcp(&other, VIP).flags("S")), *server, "client {n}");
        }
        let entries = match tracking {
            Tracking::Full => scene.shared.templates.stats(),
            Tracking::Client => scene.shared.clients.stats(),
        };
        assert_eq!((entries.entries, entries.entries_v6, entries.full), (4000, 0, 0));
    }
}
