//! `tracking: client`: the binding and nothing else.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::verdict::DropReason;
use support::lab::Seen::{Dropped, Real, Unreachable};
use support::lab::{Lab, Setup};
use support::packet;

fn lab(words: &str, reals: u16) -> Lab {
    let mut lab = Lab::new();
    lab.ipvsadm(&format!("-A {words}"));
    for real in 1..=reals {
        lab.ipvsadm(&format!("-a {words} -r R{real}"));
    }
    lab
}

#[test]
fn every_packet_of_a_client_goes_to_its_server_and_no_connection_is_kept() {
    for vip in ["V", "[V]"] {
        let mut lab = lab(&format!("-t {vip}:0 -s rr -p 360 --client"), 3);
        let to = |port: u16| format!("{vip}:{port}");
        for flags in ["S", "A", "PA", "FA", "R", "-"] {
            assert_eq!(lab.client(1).sends(flags, &to(80)).got, Real(3), "{flags}");
        }
        assert_eq!(lab.client(1).opens(&to(443)).got, Real(3));
        assert_eq!(lab.clients(&to(80), [2, 3, 4, 2]), "2 1 3 2");
        assert!(lab.states().is_empty());
        assert!(lab.templates().is_empty());
        let service = format!("-t {vip}:0");
        assert_eq!(lab.load(&service, 3), (0, 0, 2));
    }
}

#[test]
fn a_segment_of_an_unknown_client_binds_it_unless_it_is_a_reset() {
    let mut lab = lab("-t V:0 -s rr -p 360 --client", 2);
    assert_eq!(lab.client(1).sends("R", "V:80").got, Dropped(DropReason::Unanswerable));
    assert_eq!(lab.client(1).sends("A", "V:80").got, Real(2));
    assert_eq!(lab.client(1).sends("R", "V:80").got, Real(2));
}

#[test]
fn a_binding_lives_from_the_last_packet() {
    for vip in ["V", "[V]"] {
        let mut lab = lab(&format!("-t {vip}:0 -s rr -p 360 --client"), 3);
        let to = format!("{vip}:80");
        let conn = lab.client(1).opens(&to);
        for _ in 0..6 {
            lab.after_secs(300);
            assert_eq!(lab.sends(&conn, "A"), Real(3));
        }
        lab.after_secs(354);
        assert_eq!(lab.load(&format!("-t {vip}:0"), 3), (0, 0, 1), "never earlier");
        lab.after_secs(36);
        assert_eq!(lab.load(&format!("-t {vip}:0"), 3), (0, 0, 0), "hardly later");
        assert_eq!(lab.client(1).opens(&to).got, Real(2));
    }
}

#[test]
fn removing_a_server_moves_its_clients_and_no_others() {
    let mut lab = lab("-t V:0 -s rr -p 360 --client", 3);
    let before = lab.clients("V:80", 1..=30);
    lab.ipvsadm("-d -t V:0 -r R2");
    let after = lab.clients("V:80", 1..=30);
    for (old, new) in before.split(' ').zip(after.split(' ')) {
        assert_ne!(new, "2");
        assert!(old == "2" || old == new, "{old} became {new}");
    }
    assert_eq!(lab.load("-t V:0", 2), (0, 0, 0));
    assert_eq!(lab.load("-t V:0", 1).2 + lab.load("-t V:0", 3).2, 30);
    lab.ipvsadm("-a -t V:0 -r R2");
    assert_eq!(lab.clients("V:80", 1..=30), after, "they stay where they are now");
}

#[test]
fn a_quiesced_server_keeps_its_clients() {
    let mut lab = lab("-t V:0 -s rr -p 360 --client", 2);
    assert_eq!(lab.client(1).opens("V:80").got, Real(2));
    lab.ipvsadm("-e -t V:0 -r R2 -w 0");
    assert_eq!(lab.client(1).opens("V:80").got, Real(2));
    assert_eq!(lab.clients("V:80", [2, 3]), "1 1");
    lab.sysctl("expire_quiescent_template", 1);
    assert_eq!(lab.client(1).opens("V:80").got, Real(1));
    assert_eq!(lab.load("-t V:0", 2), (0, 0, 0));
}

#[test]
fn load_is_counted_in_clients() {
    let mut lab = lab("-t V:0 -s wlc -p 360 --client", 2);
    for _ in 0..5 {
        assert_eq!(lab.client(1).opens("V:80").got, Real(2));
    }
    assert_eq!(lab.clients("V:80", [2, 3, 4, 5]), "1 2 1 2");
    assert_eq!((lab.load("-t V:0", 1).2, lab.load("-t V:0", 2).2), (2, 3));
}

#[test]
fn without_a_usable_server_a_new_client_is_refused() {
    let mut lab = lab("-t V:0 -s rr -p 360 --client", 0);
    assert_eq!(lab.client(1).opens("V:80").got, Unreachable);
}

#[test]
fn icmp_errors_follow_the_binding() {
    let mut lab = lab("-t V:0 -s rr -p 360 --client", 2);
    let conn = lab.client(1).opens("V:80");
    let out = packet::tcp(&conn.to, &conn.from).flags("SA").build();
    let error = packet::icmp_error("198.18.0.1", "198.18.255.1", 3, 4, &out, 28);
    assert_eq!(lab.send(&error), Real(2));
}

#[test]
fn clients_beyond_the_table_are_placed_by_their_address_alike_on_every_core() {
    let mut setup = Setup { cores: 4, ..Setup::default() };
    setup.sizes.clients_v4 = 64;
    let mut lab = Lab::with(setup);
    lab.ipvsadm("-A -t V:0 -s rr -p 360 --client");
    for real in 1..=3 {
        lab.ipvsadm(&format!("-a -t V:0 -r R{real}"));
    }
    for client in 1..=2000 {
        let first = lab.client(client).opens("V:80").got;
        for _ in 0..4 {
            assert_eq!(lab.client(client).opens("V:80").got, first, "client {client}");
        }
    }
    assert!(lab.totals().untracked > 0, "the table was full");
}
