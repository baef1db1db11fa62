//! TCP as direct routing sees it: states, reuse of ports, and segments without a connection.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::verdict::DropReason;
use support::lab::Lab;
use support::lab::Seen::{Dropped, Real, Reset};

/// rr over R1 and R2, so that the next pick tells whether one was made.
fn lab() -> Lab {
    let mut lab = Lab::new();
    lab.restore(
        "-A -t V:80 -s rr
         -a -t V:80 -r R1
         -a -t V:80 -r R2",
    );
    lab
}

#[test]
fn repeated_syns_of_one_flow_are_one_connection_and_one_pick() {
    let mut lab = lab();
    let conn = lab.client(1).opens("V:80");
    assert_eq!([conn.got, lab.sends(&conn, "S"), lab.sends(&conn, "S")], [Real(2); 3]);
    assert_eq!(lab.states(), ["SYN_RECV"]);
    assert_eq!(lab.picks("V:80", 2), "1 2");
    let load = lab.shared.loads.sum(lab.real_id("-t V:80", 2));
    assert_eq!((load.connections, load.in_packets, load.in_bytes), (2, 4, 160));
}

#[test]
fn segments_lead_through_the_recorded_states_and_their_timeouts() {
    for (segments, state, seconds, active) in [
        ("S", "SYN_RECV", 60, 1),
        ("S R", "SYN_RECV", 60, 1),
        ("S A", "ESTABLISHED", 900, 1),
        ("S A S", "ESTABLISHED", 900, 1),
        ("S A R", "CLOSE", 10, 0),
        ("S A FA", "FIN_WAIT", 120, 0),
        ("S A FA A", "FIN_WAIT", 120, 0),
        ("S A FR", "CLOSE", 10, 0),
        ("S F", "TIME_WAIT", 120, 0),
        ("S A F R", "CLOSE", 10, 0),
        ("S A -", "CLOSE", 10, 0),
        ("SA", "SYN_RECV", 60, 1),
        ("SF", "SYN_RECV", 60, 1),
    ] {
        let mut lab = lab();
        let mut segments = segments.split(' ');
        let conn = lab.client(1).sends(segments.next().unwrap(), "V:80");
        for flags in segments {
            assert_eq!(lab.sends(&conn, flags), Real(2));
        }
        assert_eq!(lab.states(), [state]);
        assert_eq!(lab.load("-t V:80", 2), (active, 1 - active, 0), "{state}");
        lab.after_ticks(seconds * 250 - 1);
        assert_eq!(lab.states(), [state], "one tick before its end");
        lab.after_secs(2);
        assert!(lab.states().is_empty(), "{state} has gone");
        assert_eq!(lab.load("-t V:80", 2), (0, 0, 0));
        assert_eq!(lab.sends(&conn, "A"), Reset);
    }
}

#[test]
fn a_connection_ends_at_its_time_even_before_a_sweep_has_come_by() {
    let mut lab = lab();
    let conn = lab.client(1).opens("V:80");
    lab.now = lab.now.plus_secs(60);
    assert_eq!(lab.sends(&conn, "A"), Reset);
    assert_eq!(lab.sends(&conn, "S"), Real(1), "a new connection, a new pick");
    assert_eq!(lab.sends(&conn, "A"), Real(1));
    assert_eq!(lab.states(), ["ESTABLISHED"]);
    assert_eq!(lab.load("-t V:80", 2), (0, 0, 0));
    lab.after_secs(901);
    assert!(lab.states().is_empty());
    assert_eq!(lab.load("-t V:80", 1), (0, 0, 0));
}

#[test]
fn a_reused_port_is_scheduled_anew_as_conn_reuse_mode_says() {
    for (mode, after_fin, after_rst) in [(0, 2, 2), (1, 2, 1), (2, 1, 1), (3, 1, 1)] {
        for (ending, expected) in [("F", after_fin), ("R", after_rst)] {
            let mut lab = lab();
            lab.sysctl("conn_reuse_mode", mode);
            let conn = lab.client(1).opens("V:80");
            lab.establishes(&conn);
            lab.sends(&conn, ending);
            assert_eq!(lab.sends(&conn, "S"), Real(expected), "mode {mode} after {ending}");
            assert_eq!(lab.states(), ["SYN_RECV"], "one flow, one entry");
        }
    }
}

#[test]
fn after_time_wait_a_reused_port_is_scheduled_anew_unless_the_mode_is_zero() {
    for (mode, expected) in [(0, 2), (1, 1), (2, 1)] {
        let mut lab = lab();
        lab.sysctl("conn_reuse_mode", mode);
        let conn = lab.client(1).opens("V:80");
        lab.sends(&conn, "F");
        assert_eq!(lab.states(), ["TIME_WAIT"]);
        assert_eq!(lab.sends(&conn, "S"), Real(expected), "mode {mode}");
    }
}

#[test]
fn the_old_entry_still_counts_while_the_new_server_is_chosen() {
    let mut lab = Lab::new();
    lab.restore(
        "-A -t V:80 -s wlc
         -a -t V:80 -r R1
         -a -t V:80 -r R2",
    );
    let old = lab.client(1).opens("V:80");
    assert_eq!(old.got, Real(2));
    lab.establishes(&old);
    lab.sends(&old, "R");
    // R2 carries one inactive connection: the closed one, which the SYN replaces.
    assert_eq!(lab.sends(&old, "S"), Real(1));
    assert_eq!(lab.load("-t V:80", 2), (0, 0, 0));
}

#[test]
fn a_reused_connection_ends_even_if_nobody_takes_the_new_one() {
    let mut lab = lab();
    let conn = lab.client(1).opens("V:80");
    lab.establishes(&conn);
    lab.sends(&conn, "R");
    for real in ["R1", "R2"] {
        lab.ipvsadm(&format!("-e -t V:80 -r {real} -w 0"));
    }
    assert_eq!(lab.sends(&conn, "S").to_string(), "X");
    assert_eq!(lab.sends(&conn, "A"), Reset);
    assert!(lab.states().is_empty());
}

#[test]
fn without_a_connection_only_syns_are_scheduled_unless_tcp_is_sloppy() {
    let mut lab = lab();
    assert_eq!(lab.client(1).sends("A", "V:80").got, Reset);
    assert_eq!(lab.client(1).sends("R", "V:80").got, Dropped(DropReason::Unanswerable));
    assert_eq!(lab.client(1).sends("RS", "V:80").got, Dropped(DropReason::Unanswerable));
    assert_eq!(lab.client(1).sends("SA", "V:80").got, Real(2));
    assert_eq!(lab.client(1).sends("SF", "V:80").got, Real(1));
    for (flags, state) in [("A", "ESTABLISHED"), ("F", "CLOSE"), ("-", "CLOSE"), ("P", "CLOSE")] {
        let mut lab = self::lab();
        lab.sysctl("sloppy_tcp", 1);
        assert_eq!(lab.client(1).sends(flags, "V:80").got, Real(2), "{flags}");
        assert_eq!(lab.states(), [state], "{flags}");
        assert_eq!(lab.client(1).sends("R", "V:80").got, Dropped(DropReason::Unanswerable));
    }
}

#[test]
fn a_flow_from_port_0_is_never_found_again() {
    let mut lab = lab();
    let conn = lab.client(1).port(0).opens("V:80");
    assert_eq!(conn.got, Real(2));
    assert_eq!(lab.sends(&conn, "A"), Reset);
    assert_eq!(lab.sends(&conn, "S"), Real(1), "another pick");
}

#[test]
fn with_secure_tcp_a_connection_is_synack_until_it_is_acknowledged() {
    let mut lab = lab();
    lab.sysctl("secure_tcp", 1);
    let conn = lab.client(1).opens("V:80");
    assert_eq!(lab.states(), ["SYNACK"]);
    lab.establishes(&conn);
    assert_eq!(lab.states(), ["ESTABLISHED"]);
    let conn = lab.client(2).opens("V:80");
    lab.sends(&conn, "R");
    assert_eq!(lab.states(), ["CLOSE", "ESTABLISHED"]);
}

#[test]
fn an_edited_timeout_counts_from_the_next_packet_on() {
    let mut lab = lab();
    let [one, two] = [1, 2].map(|client| {
        let conn = lab.client(client).opens("V:80");
        lab.establishes(&conn);
        conn
    });
    lab.catalog.timeouts.tcp_s = 30;
    lab.publish();
    lab.establishes(&one);
    lab.after_secs(32);
    assert_eq!(lab.states(), ["ESTABLISHED"]);
    assert_eq!(lab.sends(&one, "A"), Reset);
    assert_eq!(lab.sends(&two, "A"), Real(1));
}
