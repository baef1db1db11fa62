//! One client, one real server: by port, by client and by mark, and for how long.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::verdict::DropReason;
use support::lab::Seen::{self, Dropped, Real, Reset, Unreachable};
use support::lab::{Lab, row};

const GONE: Seen = Dropped(DropReason::RealServerGone);

/// A service with real servers R1 to R`reals`.
fn service(words: &str, reals: u16) -> Lab {
    let mut lab = Lab::new();
    add(&mut lab, words, 1..=reals);
    lab
}

fn add(lab: &mut Lab, words: &str, reals: impl IntoIterator<Item = u16>) {
    lab.ipvsadm(&format!("-A {words}"));
    for real in reals {
        lab.ipvsadm(&format!("-a {words} -r R{real}"));
    }
}

#[test]
fn ppc_binds_a_client_to_one_server_per_port() {
    for vip in ["V", "[V]"] {
        let mut lab = Lab::new();
        for port in [80, 443] {
            add(&mut lab, &format!("-t {vip}:{port} -s rr -p 360"), 1..=3);
        }
        assert_eq!(lab.clients(&format!("{vip}:80"), [1, 1, 2, 2, 1, 3]), "3 3 2 2 3 1");
        assert_eq!(lab.clients(&format!("{vip}:443"), [2, 2, 1]), "3 3 2");
    }
}

#[test]
fn pcc_binds_a_client_to_one_server_for_all_tcp_ports() {
    for vip in ["V", "[V]"] {
        let mut lab = service(&format!("-t {vip}:0 -s rr -p 360"), 3);
        let to = |port: u16| format!("{vip}:{port}");
        let picked = row([22, 80, 443, 65_535].map(|port| lab.client(1).opens(&to(port)).got));
        assert_eq!(picked, "3 3 3 3");
        assert_eq!(lab.clients(&to(80), [2, 3, 2, 1]), "2 1 2 3");
        assert_eq!(lab.templates().len(), 3);
    }
}

#[test]
fn tcp_and_udp_of_one_client_are_bound_apart_under_pcc() {
    let mut lab = service("-t V:0 -s rr -p 360", 3);
    add(&mut lab, "-u V:0 -s rr -p 360", 1..=3);
    assert_eq!(lab.client(1).opens("V:80").got, Real(3));
    assert_eq!(lab.client(2).sends_udp("V:53").got, Real(3));
    assert_eq!(lab.client(1).sends_udp("V:53").got, Real(2));
    assert_eq!(lab.templates().len(), 3);
}

#[test]
fn pfm_binds_a_client_to_one_server_for_everything_with_the_mark() {
    for (family, vip, vip2) in [("", "V", "V2"), ("-6", "[V]", "[V2]")] {
        let mut lab = service(&format!("-f 10 {family} -s rr -p 360"), 3);
        lab.restore(&format!(
            "mark -t {vip}:8000 -f 10
             mark -t {vip}:8001 -f 10
             mark -t {vip2}:8001 -f 10
             mark -u {vip}:8000 -f 10"
        ));
        let mut got = |udp: bool, to: String| match udp {
            true => lab.client(1).sends_udp(&to).got,
            false => lab.client(1).opens(&to).got,
        };
        assert_eq!(got(false, format!("{vip}:8000")), Real(3));
        assert_eq!(got(false, format!("{vip}:8001")), Real(3));
        assert_eq!(got(false, format!("{vip2}:8001")), Real(3));
        assert_eq!(got(true, format!("{vip}:8000")), Real(3));
        assert_eq!(got(false, format!("{vip2}:8000")), Reset, "not marked, no service");
        assert_eq!(lab.templates().len(), 1);
        assert_eq!(lab.client(2).opens(&format!("{vip}:8000")).got, Real(2));
    }
}

#[test]
fn a_mark_wins_over_the_port_and_a_mark_without_a_service_says_nothing() {
    let mut lab = service("-t V:8000 -s rr", 1);
    add(&mut lab, "-f 10 -s rr", [2]);
    lab.ipvsadm("mark -t V:8000 -f 10");
    assert_eq!(lab.client(1).opens("V:8000").got, Real(2));
    lab.ipvsadm("-D -f 10");
    assert_eq!(lab.client(1).opens("V:8000").got, Real(1));
}

#[test]
fn a_port_of_its_own_takes_new_connections_from_the_wildcard_service_and_open_ones_stay() {
    let mut lab = service("-t V2:0 -s rr -p 360", 1);
    let open = lab.client(1).opens("V2:443");
    assert_eq!(open.got, Real(1));
    add(&mut lab, "-t V2:443 -s rr -p 360", [2]);
    assert_eq!(lab.client(1).opens("V2:443").got, Real(2));
    assert_eq!(lab.establishes(&open), Real(1));
    assert_eq!(lab.client(1).opens("V2:80").got, Real(1));
}

#[test]
fn ftp_and_its_other_ports_share_one_template() {
    let mut lab = service("-t V:21 -s rr -p 360", 3);
    let picked = row(["V:21", "V:20000", "V:20"].map(|to| lab.client(1).opens(to).got));
    assert_eq!(picked, "3 3 3");
    assert_eq!(lab.client(1).opens("V:1023").got, Reset);
    assert_eq!(lab.templates().len(), 1);
}

#[test]
fn ftp_and_all_ports_of_a_vip_share_their_templates() {
    let mut lab = Lab::new();
    add(&mut lab, "-t V:21 -p 360", [7]);
    add(&mut lab, "-t V:0 -p 360", [8]);
    assert_eq!(lab.client(1).opens("V:5000").got, Real(7));
    assert_eq!(lab.client(1).opens("V:500").got, Real(7));
    assert_eq!(lab.client(2).opens("V:500").got, Real(8));
}

#[test]
fn ftp_without_persistence_leaves_its_other_ports_to_the_host() {
    let mut lab = service("-t V:21 -s rr", 1);
    assert_eq!(lab.client(1).opens("V:21").got, Real(1));
    for to in ["V:20000", "V:20", "V:1023"] {
        assert_eq!(lab.client(1).opens(to).got, Reset, "{to}");
    }
}

#[test]
fn connections_from_port_20_are_never_scheduled() {
    let mut lab = service("-t V:80 -s rr -p 360", 2);
    assert_eq!(lab.client(1).port(20).opens("V:80").got, Reset);
    assert!(lab.templates().is_empty());
}

#[test]
fn an_expired_template_with_connections_lives_sixty_seconds_at_a_time() {
    let mut lab = service("-t V:80 -s rr -p 5", 3);
    lab.client(1).opens("V:80");
    lab.after_ticks(1300);
    assert_eq!(lab.templates(), ["198.18.32.1 -> 198.18.10.3 59 s, 1 connections E"]);
    assert_eq!(lab.client(1).opens("V:80").got, Real(3));
    lab.after_secs(1);
    assert_eq!(lab.templates(), ["198.18.32.1 -> 198.18.10.3 59 s, 2 connections E"]);
    // The connections end after 60 s in SYN_RECV, the template at its next firing.
    lab.after_secs(57);
    assert_eq!(lab.client(2).opens("V:80").got, Real(2));
    lab.after_secs(5);
    assert_eq!(lab.templates().len(), 1, "{:?}", lab.templates());
    assert_eq!(lab.client(1).opens("V:80").got, Real(1));
}

#[test]
fn an_extended_template_gets_its_own_timeout_back_where_that_is_asked_for() {
    for (switch, left) in [(false, " 60 s,"), (true, " 5 s,")] {
        let mut lab = service("-t V:80 -s rr -p 5", 3);
        lab.switch(|compat| compat.renew_extended_templates = switch);
        lab.client(1).opens("V:80");
        lab.after_ticks(1300);
        assert_eq!(lab.client(1).opens("V:80").got, Real(3));
        let templates = lab.templates();
        assert!(templates[0].contains(left), "{switch}: {templates:?}");
        assert_eq!(templates[0].ends_with('E'), !switch, "{templates:?}");
    }
}

#[test]
fn a_template_without_connections_ends_its_timeout_after_the_last_hit() {
    let mut lab = service("-u V:53 -s rr -p 5", 3);
    lab.catalog.timeouts.udp_s = 1;
    lab.publish();
    let mut got = Vec::new();
    for wait_ms in [0, 3000, 4000, 5500] {
        lab.after_ticks(wait_ms / 4);
        got.push(lab.client(1).sends_udp("V:53").got);
    }
    assert_eq!(row(got), "3 3 3 2");
}

#[test]
fn packets_of_open_connections_do_not_refresh_the_template_and_new_connections_do() {
    let mut lab = service("-t V:80 -s rr -p 60", 3);
    let conn = lab.client(1).opens("V:80");
    for _ in 0..4 {
        lab.after_ticks(125);
        lab.establishes(&conn);
    }
    assert_eq!(lab.templates(), ["198.18.32.1 -> 198.18.10.3 58 s, 1 connections A"]);
    lab.client(1).opens("V:80");
    assert_eq!(lab.templates(), ["198.18.32.1 -> 198.18.10.3 60 s, 2 connections A"]);
}

#[test]
fn an_edited_timeout_is_for_new_clients_only() {
    let mut lab = service("-t V:80 -s rr -p 5", 3);
    lab.client(1).opens("V:80");
    lab.ipvsadm("-E -t V:80 -s rr -p 9");
    lab.client(2).opens("V:80");
    lab.client(1).opens("V:80");
    let seconds: Vec<_> =
        lab.templates().iter().map(|line| line.split(' ').nth(3).unwrap().to_owned()).collect();
    assert_eq!(seconds, ["5", "9"]);
}

#[test]
fn clients_under_one_netmask_share_a_template() {
    let mut lab = service("-t V:80 -s rr -p 360 -M 255.255.255.0", 3);
    let syn = |lab: &mut Lab, from: &str| {
        lab.send(&support::packet::tcp(from, "198.18.255.1:80").flags("S"))
    };
    assert_eq!(syn(&mut lab, "10.1.5.1:4000"), Real(3));
    assert_eq!(syn(&mut lab, "10.1.5.200:4000"), Real(3));
    assert_eq!(syn(&mut lab, "10.1.6.1:4000"), Real(2));
    assert!(lab.templates()[0].starts_with("10.1.5.0 -> "), "{:?}", lab.templates());

    let mut lab = service("-t [V]:80 -s rr -p 360 -M 64", 3);
    let syn = |lab: &mut Lab, from: &str| {
        lab.send(&support::packet::tcp(from, "[2001:db8:0:ffff::1]:80").flags("S"))
    };
    assert_eq!(syn(&mut lab, "[2001:db8:7:7::1]:4000"), Real(3));
    assert_eq!(syn(&mut lab, "[2001:db8:7:7:ffff::9]:4000"), Real(3));
    assert_eq!(syn(&mut lab, "[2001:db8:7:8::1]:4000"), Real(2));
}

/// R1 R2, client 1 bound to R2 with one open connection.
fn bound_to_two() -> (Lab, support::lab::Connection) {
    let mut lab = service("-t V:80 -s rr -p 360", 2);
    let conn = lab.client(1).opens("V:80");
    assert_eq!(conn.got, Real(2));
    (lab, conn)
}

#[test]
fn a_removed_server_silences_its_connections_and_loses_its_clients() {
    let (mut lab, conn) = bound_to_two();
    lab.ipvsadm("-d -t V:80 -r R2");
    assert_eq!(lab.sends(&conn, "A"), GONE);
    assert_eq!(lab.sends(&conn, "S"), GONE);
    assert_eq!(lab.client(1).opens("V:80").got, Real(1));
    lab.ipvsadm("-a -t V:80 -r R2");
    assert_eq!(lab.sends(&conn, "A"), Real(2));
    assert_eq!(lab.client(1).opens("V:80").got, Real(1));
    assert_eq!(lab.load("-t V:80", 2), (1, 0, 1), "the invalidated template still counts");
}

#[test]
fn silence_for_a_removed_server_does_not_restart_the_timer() {
    let (mut lab, conn) = bound_to_two();
    lab.ipvsadm("-d -t V:80 -r R2");
    lab.after_secs(50);
    assert_eq!(lab.sends(&conn, "A"), GONE);
    lab.after_secs(11);
    assert_eq!(lab.sends(&conn, "A"), Reset);
}

#[test]
fn with_expire_nodest_conn_the_connections_of_a_removed_server_end() {
    let (mut lab, conn) = bound_to_two();
    lab.sysctl("expire_nodest_conn", 1);
    lab.ipvsadm("-d -t V:80 -r R2");
    assert_eq!(lab.sends(&conn, "A"), Reset);
    assert_eq!(lab.sends(&conn, "S"), Real(1));
}

#[test]
fn with_expire_nodest_conn_a_server_that_is_put_back_does_not_find_what_it_had() {
    let (mut lab, conn) = bound_to_two();
    lab.sysctl("expire_nodest_conn", 1);
    lab.ipvsadm("-d -t V:80 -r R2");
    lab.after_secs(2);
    lab.ipvsadm("-a -t V:80 -r R2");
    assert_eq!(lab.sends(&conn, "A"), Reset);
    assert_eq!(lab.load("-t V:80", 2), (0, 0, 0));
}

#[test]
fn with_expire_nodest_conn_a_syn_on_a_quiesced_servers_connection_is_scheduled_anew() {
    for (switch, expected) in [(1, Real(1)), (0, Real(2))] {
        let mut lab = service("-t V:80 -s rr", 2);
        lab.sysctl("expire_nodest_conn", switch);
        let conn = lab.client(1).opens("V:80");
        lab.ipvsadm("-e -t V:80 -r R2 -w 0");
        assert_eq!(lab.sends(&conn, "A"), Real(2));
        assert_eq!(lab.sends(&conn, "S"), expected);
    }
}

#[test]
fn a_quiesced_server_keeps_its_clients_unless_quiescent_templates_expire() {
    let (mut lab, _) = bound_to_two();
    lab.ipvsadm("-e -t V:80 -r R2 -w 0");
    assert_eq!(lab.client(1).opens("V:80").got, Real(2));
    lab.sysctl("expire_quiescent_template", 1);
    assert_eq!(lab.client(1).opens("V:80").got, Real(1));
    lab.ipvsadm("-e -t V:80 -r R2 -w 1");
    assert_eq!(lab.client(1).opens("V:80").got, Real(1));
}

#[test]
fn a_template_does_not_look_at_overload() {
    let mut lab = Lab::new();
    lab.restore(
        "-A -t V:80 -s rr -p 360
         -a -t V:80 -r R1 -x 2
         -a -t V:80 -r R2 -x 2",
    );
    assert_eq!(lab.clients("V:80", [1, 1, 1, 1, 1]), "2 2 2 2 2");
    assert_eq!(lab.clients("V:80", [2, 2, 2]), "1 1 1");
    assert_eq!(lab.client(3).opens("V:80").got, Unreachable);
}

#[test]
fn a_bound_client_that_reuses_a_port_stays() {
    for ending in ["R", "F"] {
        let (mut lab, conn) = bound_to_two();
        lab.sysctl("conn_reuse_mode", 3);
        lab.establishes(&conn);
        lab.sends(&conn, ending);
        assert_eq!(lab.sends(&conn, "S"), Real(2), "after {ending}");
        let load = lab.shared.loads.sum(lab.real_id("-t V:80", 2));
        assert_eq!(load.connections, 1, "the same connection after {ending}");
    }
}

#[test]
fn persistence_that_is_switched_off_and_on_finds_its_templates() {
    let mut lab = service("-t V:80 -s rr -p 360", 3);
    assert_eq!(lab.client(1).opens("V:80").got, Real(3));
    lab.ipvsadm("-E -t V:80 -s rr");
    assert_eq!(lab.clients("V:80", [1, 1]), "2 1");
    lab.ipvsadm("-E -t V:80 -s rr -p 360");
    assert_eq!(lab.client(1).opens("V:80").got, Real(3));
    assert_eq!(lab.client(2).opens("V:80").got, Real(3), "the cursor had gone on");
}

#[test]
fn one_packet_scheduling_keeps_the_template_and_no_connection() {
    let mut lab = service("-u V:53 -s rr -o", 2);
    let conn = lab.client(1).sends_udp("V:53");
    let picked = row([conn.got].into_iter().chain((0..4).map(|_| lab.sends(&conn, ""))));
    assert_eq!(picked, "2 1 2 1 2");
    let mut lab = service("-u V:53 -s rr -o -p 360", 2);
    let conn = lab.client(1).sends_udp("V:53");
    let picked = row([conn.got].into_iter().chain((0..3).map(|_| lab.sends(&conn, ""))));
    assert_eq!(picked, "2 2 2 2");
    assert!(lab.states().is_empty());
    assert_eq!(lab.templates().len(), 1);
    assert_eq!(lab.load("-u V:53", 2), (0, 0, 1));
}

#[test]
fn one_packet_scheduling_is_for_udp_alone() {
    let mut lab = service("-t V:80 -s rr -o", 2);
    let conn = lab.client(1).opens("V:80");
    assert_eq!([conn.got, lab.sends(&conn, "A"), lab.sends(&conn, "S")], [Real(2); 3]);
    assert_eq!(lab.states(), ["ESTABLISHED"]);
}

#[test]
fn without_one_packet_scheduling_a_udp_flow_is_one_connection() {
    let mut lab = service("-u V:53 -s rr", 2);
    let conn = lab.client(1).sends_udp("V:53");
    assert_eq!(row((0..3).map(|_| lab.sends(&conn, ""))), "2 2 2");
    assert_eq!(lab.states(), ["UDP"]);
    assert_eq!(lab.load("-u V:53", 2), (0, 1, 0));
}
