//! An operator's hand on bindings: ended, moved, pinned. On several cores, whoever's turn it is.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::HashMap;

use dataplane::bindings::{BoundKey, Rebind, Rebound, client_scope};
use dataplane::mailbox::{Answer, Query};
use dataplane::pins::Pin;
use dataplane::table::{ClientKey, Cursor, TemplateKey};
use dataplane::wire::Addr;
use support::lab::Seen::{Real, Unreachable};
use support::lab::{Lab, client_address, identity, real_address};

const CORES: usize = 2;

fn lab(words: &str, reals: u16) -> Lab {
    let mut lab = Lab::with_cores(CORES);
    lab.ipvsadm(&format!("-A {words}"));
    for real in 1..=reals {
        lab.ipvsadm(&format!("-a {words} -r R{real}"));
    }
    lab
}

fn client_key(number: u16) -> ClientKey {
    client_address(number, false).into()
}

/// The keys of a client's templates, whichever scope they are in.
fn templates(lab: &Lab, client: u16) -> Vec<BoundKey> {
    let mut keys: Vec<TemplateKey> = Vec::new();
    for shard in 0..CORES as u32 {
        let mut from = Some(Cursor::default());
        while let Some(at) = from {
            from = lab.shared.templates.iterate(shard, at, lab.now, 64, |key, view| {
                if key.client == client_key(client) && !view.invalid {
                    keys.push(key);
                }
            });
        }
    }
    keys.into_iter().map(BoundKey::Template).collect()
}

/// The key of a client of the service that was made first, under `tracking: client`.
fn dense(client: u16) -> BoundKey {
    let scope = client_scope(dataplane::ids::ServiceId(0)).unwrap();
    BoundKey::Client { scope, client: client_key(client) }
}

fn ask(
    lab: &mut Lab,
    core: usize,
    keys: &[BoundKey],
    to: Option<(&str, u16)>,
    make: bool,
) -> Rebound {
    let to = to.map(|(service, real)| lab.real_id(service, real));
    let rebinds = keys.iter().map(|key| Rebind { key: *key, to, make }).collect();
    lab.shared.mailboxes[core].queries.push(Query::Rebind(rebinds)).unwrap();
    lab.turn();
    match lab.shared.mailboxes[core].answers.pop() {
        Some(Answer::Rebound(rebound)) => rebound,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_evicted_client_is_scheduled_anew_and_its_connections_go_on() {
    for core in 0..CORES {
        let mut lab = lab("-t V:80 -s wlc -p 360", 3);
        let old = lab.client(1).opens("V:80");
        assert_eq!(old.got, Real(3));
        let keys = templates(&lab, 1);
        assert_eq!(keys.len(), 1);
        let done = ask(&mut lab, core, &keys, None, false);
        assert_eq!(done, Rebound { found: 1, changed: 1, connections: 1, ..Rebound::default() });
        assert_eq!(lab.sends(&old, "A"), Real(3), "a connection stays where it is");
        let new = lab.client(1).opens("V:80").got;
        assert_ne!(new, Real(3));
        assert_eq!(lab.client(1).opens("V:80").got, new, "bound again");
        let done = ask(&mut lab, core, &keys, None, false);
        assert_eq!((done.found, done.changed), (1, 1));
        lab.check();
    }
}

#[test]
fn a_client_that_was_evicted_or_moved_is_not_counted_where_it_was() {
    for (core, to) in [(0, None), (1, None), (0, Some(("-t V:80", 1))), (1, Some(("-t V:80", 1)))] {
        let mut lab = lab("-t V:80 -s rr -p 3600", 3);
        assert_eq!(lab.client(1).opens("V:80").got, Real(3));
        assert_eq!(lab.load("-t V:80", 3).2, 1);
        let keys = templates(&lab, 1);
        // Its connection ends, its template does not.
        lab.after_secs(1_000);
        ask(&mut lab, core, &keys, to, false);
        lab.after_secs(5);
        let counts = [1, 2, 3].map(|real| lab.load("-t V:80", real).2);
        assert_eq!(counts, [u64::from(to.is_some()), 0, 0], "core {core}");
        lab.check();
    }
}

#[test]
fn a_template_without_its_client_is_no_client_while_its_connection_lasts() {
    for (core, to) in [(0, None), (1, None), (0, Some(("-t V:80", 1))), (1, Some(("-t V:80", 1)))] {
        let mut lab = lab("-t V:80 -s rr -p 3600", 3);
        let old = lab.client(1).opens("V:80");
        assert_eq!(old.got, Real(3));
        let clients = |lab: &Lab| {
            [1, 2, 3].map(|real| {
                let load = lab.shared.loads.sum(lab.real_id("-t V:80", real));
                (load.clients(), load.bound)
            })
        };
        assert_eq!(clients(&lab), [(0, 0), (0, 0), (1, 1)]);
        let keys = templates(&lab, 1);
        ask(&mut lab, core, &keys, to, false);
        let moved = u64::from(to.is_some());
        assert_eq!(clients(&lab), [(moved, moved), (0, 0), (0, 1)], "core {core}");
        assert_eq!(lab.sends(&old, "A"), Real(3));
        // The connection's fifteen minutes, and the minute that a template waits for one.
        lab.after_secs(1_000);
        assert_eq!(clients(&lab), [(moved, moved), (0, 0), (0, 0)], "core {core}");
        lab.check();
    }
}

#[test]
fn a_client_is_moved_and_counted_where_it_is_now() {
    let mut lab = lab("-t V:80 -s rr -p 360", 3);
    assert_eq!(lab.client(1).opens("V:80").got, Real(3));
    let keys = templates(&lab, 1);
    for core in 0..CORES {
        let done = ask(&mut lab, core, &keys, Some(("-t V:80", 1)), false);
        assert_eq!(done.found, 1);
        assert_eq!(done.changed, u64::from(core == 0), "it is there already");
        assert_eq!(lab.client(1).opens("V:80").got, Real(1));
    }
    assert_eq!(lab.load("-t V:80", 1).2, 1);
    let nobody = [BoundKey::Template(match keys[0] {
        BoundKey::Template(key) => TemplateKey { client: client_key(9), ..key },
        BoundKey::Client { .. } => unreachable!(),
    })];
    assert_eq!(ask(&mut lab, 0, &nobody, Some(("-t V:80", 2)), false), Rebound::default());
    let made = ask(&mut lab, 1, &nobody, Some(("-t V:80", 2)), true);
    assert_eq!(made, Rebound { made: 1, ..Rebound::default() });
    assert_eq!(lab.client(9).opens("V:80").got, Real(2));
    lab.after_secs(1_000);
    assert_eq!([1, 2, 3].map(|real| lab.load("-t V:80", real).2), [0, 0, 0], "every count ends");
}

#[test]
fn a_client_without_connections_is_moved_with_its_next_packet() {
    let mut lab = lab("-t V:0 -s rr -p 360 --client", 3);
    assert_eq!(lab.client(1).opens("V:80").got, Real(3));
    let done = ask(&mut lab, 1, &[dense(1)], Some(("-t V:0", 1)), false);
    assert_eq!((done.found, done.changed), (1, 1));
    assert_eq!(lab.client(1).sends("A", "V:80").got, Real(1));
    assert_eq!((lab.load("-t V:0", 1).2, lab.load("-t V:0", 3).2), (1, 0));
    for core in 0..CORES {
        let done = ask(&mut lab, core, &[dense(1)], None, false);
        assert_eq!(done.found, u64::from(core == 0), "nobody is no binding");
    }
    assert_eq!([1, 2, 3].map(|real| lab.load("-t V:0", real).2), [0, 0, 0]);
    let next = lab.client(1).sends("A", "V:80").got;
    assert!(matches!(next, Real(_)), "{next:?}");
    assert_eq!(lab.client(1).sends("A", "V:443").got, next);
    assert_eq!(ask(&mut lab, 0, &[dense(7)], Some(("-t V:0", 2)), true).made, 1);
    assert_eq!(lab.client(7).sends("A", "V:80").got, Real(2));
    lab.after_secs(1_000);
    assert_eq!([1, 2, 3].map(|real| lab.load("-t V:0", real).2), [0, 0, 0], "every count ends");
}

fn pin(lab: &mut Lab, service: &str, pins: &[(u16, u8, u16)]) {
    let pins = pins.iter().map(|(client, length, real)| Pin {
        client: Addr::from(client_address(*client, false)),
        length: *length,
        real: real_address(*real, false).unwrap(),
    });
    lab.catalog.set_pins(HashMap::from([(identity(service), pins.collect())]));
    lab.publish();
}

#[test]
fn a_pinned_client_goes_to_its_server_in_every_kind_of_service() {
    for words in ["-t V:80 -s rr", "-t V:80 -s rr -p 360", "-t V:80 -s rr -p 360 --client"] {
        let mut lab = lab(words, 3);
        let bound = lab.client(9).opens("V:80").got;
        pin(&mut lab, "-t V:80", &[(1, 32, 2), (9, 32, 1)]);
        for _ in 0..3 {
            assert_eq!(lab.client(1).opens("V:80").got, Real(2), "{words}");
        }
        if words.contains("-p") {
            assert_eq!(lab.client(9).opens("V:80").got, bound, "{words}: nobody is moved");
        }
        lab.ipvsadm("-d -t V:80 -r R2");
        let elsewhere = lab.client(1).opens("V:80").got;
        assert!(matches!(elsewhere, Real(1 | 3)), "{words}: {elsewhere:?}");
        lab.ipvsadm("-a -t V:80 -r R2");
        assert_eq!(
            lab.client(2).port(1).opens("V:80").got,
            lab.client(2).port(1).opens("V:80").got
        );
        lab.check();
    }
}

#[test]
fn a_pin_asks_neither_weight_nor_scheduler_and_ends_with_the_service_that_has_no_server() {
    let mut lab = lab("-t V:80 -s wlc", 2);
    lab.ipvsadm("-e -t V:80 -r R1 -w 0");
    pin(&mut lab, "-t V:80", &[(1, 32, 1)]);
    assert_eq!(lab.client(1).opens("V:80").got, Real(1));
    assert_eq!(lab.client(2).opens("V:80").got, Real(2));
    lab.ipvsadm("-d -t V:80 -r R1");
    lab.ipvsadm("-d -t V:80 -r R2");
    assert_eq!(lab.client(1).opens("V:80").got, Unreachable);
}
