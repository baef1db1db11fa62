//! What other balancers got wrong once, and this one must not: one test for each mistake that
//! concerns a decision.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::catalog::spec::RealSpec;
use dataplane::compat::Kernel;
use dataplane::forward::Forwarding;
use dataplane::verdict::DropReason;
use dataplane::wire::Protocol;
use support::lab::Seen::{Real, Reset, Unreachable};
use support::lab::{Lab, Seen};
use support::packet;
use support::scene::{Scene, real, rip, service};

/// Schedulers with the options that make their walks longest.
const SCHEDULERS: [&str; 16] = [
    "rr",
    "wrr",
    "lc",
    "wlc",
    "lblc",
    "lblcr",
    "dh",
    "sh",
    "sh -b sh-fallback",
    "mh",
    // The flags are the same for both.
    "mh -b sh-fallback,sh-port",
    "sed",
    "nq",
    "fo",
    "ovf",
    "twos",
];

fn lab(lines: &[&str]) -> Lab {
    let mut lab = Lab::new();
    for line in lines {
        lab.ipvsadm(line);
    }
    lab
}

#[test]
fn a_client_that_tries_again_does_not_keep_itself_on_a_server_that_is_gone() {
    for gone in ["-d -t V:80 -r R2", "-e -t V:80 -r R2 -w 0"] {
        let mut lab = lab(&["-A -t V:80 -s rr -p 60", "-a -t V:80 -r R1", "-a -t V:80 -r R2"]);
        lab.sysctl("expire_quiescent_template", 1);
        assert_eq!(lab.client(1).opens("V:80").got, Real(2));
        lab.ipvsadm(gone);
        for attempt in 0..100 {
            lab.after_secs(1);
            assert_eq!(lab.client(1).opens("V:80").got, Real(1), "attempt {attempt} after {gone}");
        }
    }
}

#[test]
fn a_reused_port_does_not_lead_to_a_quiesced_server_for_ever() {
    for (flags, waits_s) in [("R", 0), ("F", 0), ("F", 119)] {
        let mut lab = lab(&["-A -t V:80 -s rr", "-a -t V:80 -r R1", "-a -t V:80 -r R2"]);
        lab.sysctl("conn_reuse_mode", 2);
        let conn = lab.client(1).opens("V:80");
        assert_eq!(conn.got, Real(2));
        lab.establishes(&conn);
        lab.sends(&conn, flags);
        lab.ipvsadm("-e -t V:80 -r R2 -w 0");
        lab.after_secs(waits_s);
        assert_eq!(lab.sends(&conn, "S"), Real(1), "after {flags} and {waits_s} s");
    }
}

#[test]
fn timeouts_of_up_to_thirty_one_days_end_when_they_should() {
    // 524 s is where another program's timers went wrong.
    for timeout_s in [1, 523, 524, 525, 4_000, 65_536, 31 * 24 * 3600] {
        let mut lab = lab(&["-A -u V:53 -s rr", "-a -u V:53 -r R1", "-a -u V:53 -r R2"]);
        lab.ipvsadm(&format!("-E -u V:53 -s rr -p {timeout_s}"));
        lab.catalog.timeouts.udp_s = 1;
        lab.publish();
        assert_eq!(lab.client(1).sends_udp("V:53").got, Real(2));
        let later = |lab: &mut Lab, seconds| {
            lab.now = lab.now.plus_secs(seconds);
            lab.after_ticks(1);
        };
        later(&mut lab, timeout_s - 1);
        assert_eq!(lab.client(1).sends_udp("V:53").got, Real(2), "{timeout_s} s are not over");
        later(&mut lab, timeout_s + 2);
        assert_eq!(lab.client(1).sends_udp("V:53").got, Real(1), "{timeout_s} s are over");
    }
}

#[test]
fn a_template_that_ends_after_its_server_was_removed_leaves_nothing_behind() {
    for service_too in [false, true] {
        let mut lab = lab(&["-A -t V:80 -s rr -p 20", "-a -t V:80 -r R1"]);
        let conn = lab.client(1).opens("V:80");
        lab.establishes(&conn);
        lab.ipvsadm(if service_too { "-D -t V:80" } else { "-d -t V:80 -r R1" });
        lab.after_secs(2_000);
        lab.ipvsadm(if service_too { "-A -t V:80 -s rr -p 20" } else { "-a -t V:80 -r R1" });
        if service_too {
            lab.ipvsadm("-a -t V:80 -r R1");
        }
        assert_eq!(lab.load("-t V:80", 1), (0, 0, 0), "service too: {service_too}");
        assert_eq!(lab.client(1).opens("V:80").got, Real(1));
    }
}

#[test]
fn no_scheduler_picks_a_server_that_must_not_be_picked() {
    // Every server is in one of these states, in every combination of four servers.
    const USABLE: [&str; 3] = ["-w 1", "-w 7", "-w 2 -x 1000"];
    const BARRED: [&str; 2] = ["-w 0", "-w 3 -x 1"];
    let states: Vec<&str> = USABLE.into_iter().chain(BARRED).collect();
    for scheduler in SCHEDULERS {
        for combination in 0..states.len().pow(4) {
            let state = |server: usize| states[combination / states.len().pow(server as u32) % 5];
            let mut lab = Lab::new();
            lab.compat.kernel = Kernel::New;
            lab.ipvsadm(&format!("-A -t V:80 -s {scheduler}"));
            lab.ipvsadm("-A -t V2:80 -s rr");
            for server in 0..4 {
                lab.ipvsadm(&format!("-a -t V:80 -r R{} {}", server + 1, state(server)));
            }
            // One connection makes a server with a threshold of 1 full.
            let mut full = [false; 4];
            for client in 1..=6 {
                let got = lab.client(client).opens("V:80").got;
                let case = || format!("{scheduler}, {:?}, {got:?}", [0, 1, 2, 3].map(state));
                match got {
                    Real(number) => {
                        let server = usize::from(number) - 1;
                        assert_ne!(state(server), "-w 0", "{}", case());
                        // IPVS does not ask whether a server that lblc remembers is full.
                        assert!(!full[server] || scheduler == "lblc", "{}", case());
                        full[server] = state(server).ends_with("-x 1");
                    }
                    Unreachable => {}
                    _ => panic!("{}", case()),
                }
            }
        }
    }
}

#[test]
fn a_full_replacement_of_all_servers_in_one_reload_leaves_none_of_the_old_ones() {
    let mut lab = lab(&["-A -t V:80 -s wlc", "-a -t V:80 -r R1", "-a -t V:80 -r R2"]);
    assert_eq!(lab.picks("V:80", 2), "2 1");
    lab.restore("-d -t V:80 -r R1\n-d -t V:80 -r R2\n-a -t V:80 -r R3\n-a -t V:80 -r R4");
    assert_eq!(lab.picks("V:80", 4), "4 3 4 3");
}

#[test]
fn a_service_without_servers_never_takes_the_first_one_there_is() {
    for scheduler in SCHEDULERS {
        let mut lab = lab(&["-A -t V2:80 -s rr", "-a -t V2:80 -r R1"]);
        lab.ipvsadm(&format!("-A -t V:80 -s {scheduler}"));
        for client in 1..=20 {
            assert_eq!(lab.client(client).opens("V:80").got, Unreachable, "{scheduler}");
        }
    }
}

#[test]
fn a_reset_ends_a_connection_soon_and_refreshes_nothing() {
    let mut lab = lab(&["-A -t V:80 -s rr -p 60", "-a -t V:80 -r R1", "-a -t V:80 -r R2"]);
    let conn = lab.client(1).opens("V:80");
    lab.establishes(&conn);
    lab.after_secs(30);
    lab.sends(&conn, "R");
    assert_eq!(lab.states(), ["CLOSE"]);
    lab.after_secs(11);
    assert_eq!(lab.sends(&conn, "A"), Reset, "the connection is over");
    lab.after_secs(20);
    assert_eq!(lab.client(1).opens("V:80").got, Real(1), "60 s after the only new connection");
}

#[test]
fn a_server_that_is_down_is_not_used_although_the_tables_still_name_it() {
    let mut lab = lab(&["-A -t V:80 -s rr -p 60", "-a -t V:80 -r R1", "-a -t V:80 -r R2"]);
    assert_eq!(lab.client(1).opens("V:80").got, Real(2));
    lab.ipvsadm("-e -t V:80 -r R2 --state down");
    for client in 1..=8 {
        assert_eq!(lab.client(client).opens("V:80").got, Real(1));
    }
}

#[test]
fn protocols_without_ports_are_never_forwarded_and_never_rewritten() {
    let mut lab = lab(&["-A -t V:80 -s rr", "-a -t V:80 -r R1"]);
    for protocol in 0..=255u8 {
        if matches!(protocol, 1 | 6 | 17 | 58 | 132) {
            continue;
        }
        let packet = packet::raw("198.18.0.5", "198.18.255.1", protocol).payload(&[0xAA; 40]);
        let got = lab.send(&packet);
        let answered = matches!(got, Seen::NoProtocol | Seen::Dropped(_));
        assert!(answered, "protocol {protocol}: {got:?}");
    }
}

#[test]
fn ports_are_found_behind_options_of_every_length() {
    for words in 0..=10 {
        let mut lab = lab(&["-A -t V:80 -s rr", "-a -t V:80 -r R1", "-A -t V:0 -s rr -p 60"]);
        lab.ipvsadm("-a -t V:0 -r R2");
        // No-operation options (RFC 791): their bytes would read as ports 257.
        let options = vec![1; words * 4];
        let syn = packet::tcp("198.18.0.5:1000", "198.18.255.1:80").flags("S").options(&options);
        assert_eq!(lab.send(&syn), Real(1), "{words} words of options");
    }
}

#[test]
fn persistence_of_one_port_is_not_that_of_another() {
    let mut lab = lab(&[
        "-A -t V:80 -s rr -p 60",
        "-a -t V:80 -r R1",
        "-a -t V:80 -r R2",
        "-A -t V:81 -s rr",
        "-a -t V:81 -r R1",
        "-a -t V:81 -r R2",
    ]);
    assert_eq!(lab.picks("V:80", 3), "2 2 2");
    assert_eq!(lab.picks("V:81", 4), "2 1 2 1");
    assert_eq!(lab.picks("V:80", 2), "2 2");
}

#[test]
fn all_cores_bind_a_client_to_one_server_whatever_its_ports() {
    for scheduler in ["rr", "sh", "mh", "twos", "wlc"] {
        let mut lab = Lab::with_cores(8);
        lab.ipvsadm(&format!("-A -t V:0 -s {scheduler} -p 300"));
        for server in 1..=8 {
            lab.ipvsadm(&format!("-a -t V:0 -r R{server}"));
        }
        for client in 1..=20 {
            let first = lab.client(client).opens("V:80").got;
            assert!(matches!(first, Real(_)));
            for port in [22, 80, 443, 8080, 65_535] {
                for _ in 0..8 {
                    let next = lab.client(client).opens(&format!("V:{port}")).got;
                    assert_eq!(next, first, "{scheduler}, client {client}, port {port}");
                }
            }
        }
    }
}

#[test]
fn replies_of_masqueraded_servers_are_not_counted_as_drops() {
    let mut scene = Scene::new();
    let masqueraded = RealSpec { forwarding: Forwarding::Masq, ..real(1, 8080) };
    scene.add(&service(Protocol::Tcp, "192.0.2.10", 80, "rr"), &[masqueraded]);
    assert_eq!(scene.picks(&packet::tcp("10.1.0.1:1000", "192.0.2.10:80").flags("S")), 1);
    for flags in ["SA", "A", "FA", "R"] {
        let reply = packet::tcp(&format!("{}:8080", rip(1)), "10.1.0.1:1000").flags(flags);
        assert_eq!(scene.server(1, &reply).len(), 1, "{flags}");
    }
    for reason in DropReason::ALL.iter().copied() {
        assert_eq!(scene.dropped(reason), 0, "{reason:?}");
    }
}
