//! What other balancers got wrong once, and this one must not: one test for each mistake that
//! concerns a decision.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::catalog::spec::{RealSpec, ServiceSpec};
use dataplane::compat::Kernel;
use dataplane::forward::Forwarding;
use dataplane::ids::PortIndex;
use dataplane::shared::TableSizes;
use dataplane::snapshot::{OnDrain, Policy};
use dataplane::verdict::DropReason;
use dataplane::wire::Protocol;
use support::lab::Seen::{Real, Reset, Unreachable};
use support::lab::{Lab, Seen, Setup, client_address, number_of, socket};
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
            // A core makes thousands of turns in the time that was passed over.
            for worker in &mut lab.workers {
                let round = worker.director().bindings().round();
                worker.director_mut().sweep(lab.now, round);
            }
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
    // Every server is in one of these states, in every combination of three servers.
    const USABLE: [&str; 3] = ["-w 1", "-w 7", "-w 2 -x 1000"];
    const BARRED: [&str; 4] = ["-w 0", "-w 3 -x 1", "-w 4 --state drain", "-w 5 --state down"];
    let states: Vec<&str> = USABLE.into_iter().chain(BARRED).collect();
    for scheduler in SCHEDULERS {
        for combination in 0..states.len().pow(3) {
            let state = |server: usize| {
                states[combination / states.len().pow(server as u32) % states.len()]
            };
            let mut lab = Lab::new();
            lab.compat.kernel = Kernel::New;
            lab.ipvsadm(&format!("-A -t V:80 -s {scheduler}"));
            lab.ipvsadm("-A -t V2:80 -s rr");
            for server in 0..3 {
                lab.ipvsadm(&format!("-a -t V:80 -r R{} {}", server + 1, state(server)));
            }
            // One connection makes a server with a threshold of 1 full.
            let mut full = [false; 3];
            for client in 1..=6 {
                let got = lab.client(client).opens("V:80").got;
                let case = || format!("{scheduler}, {:?}, {got:?}", [0, 1, 2].map(state));
                match got {
                    Real(number) => {
                        let server = usize::from(number) - 1;
                        assert!(!state(server).contains("-w 0"), "{}", case());
                        assert!(!state(server).contains("--state"), "{}", case());
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
fn two_directors_bind_a_new_client_to_one_server_whatever_its_ports_and_their_past() {
    for scheduler in ["sh", "mh", "dh"] {
        let director = |past: u16| {
            let mut lab = Lab::new();
            lab.ipvsadm(&format!("-A -t V:0 -s {scheduler} -p 300"));
            for server in 1..=5 {
                lab.ipvsadm(&format!("-a -t V:0 -r R{server}"));
            }
            for client in 1000..1000 + past {
                lab.client(client).opens("V:80");
            }
            lab
        };
        let (mut one, mut other) = (director(0), director(37));
        for client in 1..=100 {
            let (from, to) = (2000 + client * 7, ["V:80", "V:443", "V:8080"]);
            let first = one.client(client).port(from).opens(to[usize::from(client % 3)]).got;
            assert!(matches!(first, Real(_)));
            let at_other = other.client(client).port(from + 1).opens(to[0]).got;
            assert_eq!(at_other, first, "{scheduler}, client {client}");
        }
    }
}

#[test]
fn more_cores_than_one_would_think_of_bind_a_client_to_one_server() {
    let mut lab = Lab::with_cores(200);
    lab.ipvsadm("-A -t V:0 -s rr -p 300");
    for server in 1..=3 {
        lab.ipvsadm(&format!("-a -t V:0 -r R{server}"));
    }
    let conns: Vec<_> = (0..400).map(|_| lab.client(1).opens("V:80")).collect();
    assert!(conns.iter().all(|conn| conn.got == conns[0].got));
    let busy = lab.workers.iter().filter(|w| w.director().bindings().connections() > 0).count();
    assert!(busy > 100, "{busy} cores had a part");
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

#[test]
fn a_bound_clients_new_connections_leave_a_server_that_drains_where_the_service_says_so() {
    for policy in [OnDrain::Keep, OnDrain::NewElsewhere] {
        let mut lab = lab(&["-A -t V:80 -s rr -p 60", "-a -t V:80 -r R1", "-a -t V:80 -r R2"]);
        for farm in lab.catalog.farms() {
            let policy = Policy { on_drain: policy, ..farm.service.policy };
            lab.catalog.edit_service(ServiceSpec { policy, ..farm.service }).unwrap();
        }
        let open = lab.client(1).opens("V:80");
        assert_eq!(open.got, Real(2));
        lab.ipvsadm("-e -t V:80 -r R2 --state drain");
        let wanted = if policy == OnDrain::Keep { Real(2) } else { Real(1) };
        for _ in 0..4 {
            assert_eq!(lab.client(1).opens("V:80").got, wanted, "{policy:?}");
        }
        assert_eq!(lab.establishes(&open), Real(2), "what is open stays under {policy:?}");
        for client in 2..=9 {
            assert_eq!(lab.client(client).opens("V:80").got, Real(1), "{policy:?}");
        }
    }
}

#[test]
fn a_server_in_the_place_of_a_removed_one_does_not_inherit_its_clients() {
    let mut lab = lab(&["-A -t V:80 -s rr -p 60", "-a -t V:80 -r R1"]);
    let open = lab.client(1).opens("V:80");
    lab.establishes(&open);
    lab.ipvsadm("-d -t V:80 -r R1");
    // The place is free when nothing refers to it any more, and not before.
    for round in 0..4 {
        let adopted = lab.catalog.snapshot().generation;
        lab.catalog.reclaim(adopted);
        lab.ipvsadm(&format!("-a -t V:80 -r R{}", 2 + round));
        let got = lab.establishes(&open);
        assert!(!matches!(got, Real(_)), "round {round}: {got:?}");
        assert_eq!(lab.client(1).opens("V:80").got, Real(2 + round), "round {round}");
        lab.ipvsadm(&format!("-d -t V:80 -r R{}", 2 + round));
        lab.after_secs(if round == 2 { 2_000 } else { 61 });
    }
}

#[test]
fn a_hash_table_that_was_edited_is_the_one_that_a_fresh_start_would_build() {
    for scheduler in ["sh", "sh -b sh-fallback", "mh", "mh -b sh-fallback,sh-port", "dh"] {
        let new = format!("-A -t V:80 -s {scheduler}");
        let servers = ["-a -t V:80 -r R1 -w 3", "-a -t V:80 -r R2", "-a -t V:80 -r R3 -w 2"];
        let mut fresh = lab(&[&new]);
        let mut edited = lab(&[&new, "-a -t V:80 -r R7 -w 9", "-a -t V:80 -r R1 -w 8"]);
        edited.clients("V:80", 1..=20);
        edited.restore("-d -t V:80 -r R7\n-d -t V:80 -r R1");
        for server in servers {
            fresh.ipvsadm(server);
            edited.ipvsadm(&format!("{} -w 60", server.split(" -w").next().unwrap()));
        }
        edited.clients("V:80", 1..=20);
        for server in servers {
            edited.ipvsadm(&server.replace("-a", "-e"));
        }
        let port = 20_000;
        for client in 1..=200 {
            let wanted = fresh.client(client).port(port).opens("V:80").got;
            let got = edited.client(client).port(port).opens("V:80").got;
            assert_eq!(got, wanted, "{scheduler}, client {client}");
        }
    }
}

#[test]
fn a_service_that_goes_and_comes_under_traffic_harms_no_other_and_leaves_no_count_behind() {
    let mut lab = Lab::with_cores(4);
    lab.restore("-A -t V:80 -s wlc -p 60\n-a -t V:80 -r R1\n-A -t V2:80 -s rr\n-a -t V2:80 -r R9");
    let other = lab.client(200).opens("V2:80");
    for round in 0..40 {
        let open: Vec<_> = (1..=8).map(|client| lab.client(client).opens("V:80")).collect();
        lab.ipvsadm(if round % 2 == 0 { "-D -t V:80" } else { "-d -t V:80 -r R1" });
        for conn in &open {
            assert_eq!(lab.sends(conn, "A"), Seen::Dropped(DropReason::RealServerGone));
            let got = lab.client(1).opens("V:80").got;
            let nobodys = Seen::Dropped(DropReason::NotForUs);
            assert!(matches!(got, Reset | Unreachable) || got == nobodys, "{got:?}");
        }
        assert_eq!(lab.sends(&other, "A"), Real(9));
        if round % 2 == 0 {
            lab.ipvsadm("-A -t V:80 -s wlc -p 60");
        }
        lab.ipvsadm("-a -t V:80 -r R1");
        for conn in &open {
            assert_eq!(lab.sends(conn, "F"), Real(1), "the server is back");
        }
    }
    lab.after_secs(400);
    assert_eq!(lab.load("-t V:80", 1), (0, 0, 0));
}

#[test]
fn a_full_table_costs_nobody_who_is_served_and_ends_with_the_flood() {
    let sizes = TableSizes { connections_v4: 64, templates_v4: 64, ..Setup::default().sizes };
    let mut lab = Lab::with(Setup { sizes, ..Setup::default() });
    lab.restore("-A -t V:80 -s rr\n-a -t V:80 -r R1\n-A -t V2:80 -s rr -p 600\n-a -t V2:80 -r R2");
    let served: Vec<_> = (1..=8)
        .flat_map(|client| [lab.client(client).opens("V:80"), lab.client(client).opens("V2:80")])
        .collect();
    served.iter().for_each(|conn| assert_eq!(lab.establishes(conn), conn.got));
    let mut refused = 0;
    for client in 1_000..2_000 {
        let got = lab.client(client).opens("V:80").got;
        refused += u32::from(got == Seen::Dropped(DropReason::TableFull));
    }
    assert!(refused > 0, "the table is full");
    for conn in &served {
        assert_eq!(lab.sends(conn, "A"), conn.got);
    }
    lab.after_secs(70);
    assert_eq!(lab.client(3_000).opens("V:80").got, Real(1), "the half-open ones are gone");
    assert_eq!(lab.sends(&served[0], "A"), served[0].got);
}

#[test]
fn a_reload_applies_every_weight_and_a_weight_of_zero_stays_zero() {
    let mut lab = lab(&["-A -t V:80 -s wrr"]);
    let farm = |lab: &Lab, weights: [u32; 3]| {
        let mut farm = lab.catalog.farms().remove(0);
        farm.reals = (1..=3)
            .zip(weights)
            .map(|(number, weight)| {
                let address = support::lab::real_address(number, false).unwrap();
                RealSpec { weight, ..RealSpec::new(address, 80) }
            })
            .collect();
        farm
    };
    for weights in [[1, 1, 1], [0, 5, 1], [3, 0, 0], [0, 0, 0], [2, 1, 0]] {
        let farm = farm(&lab, weights);
        lab.catalog.apply(&[farm], Vec::new()).unwrap();
        lab.publish();
        // The round that the last weights began comes to its end first.
        lab.picks("V:80", 12);
        let total: u32 = weights.iter().sum();
        let mut got = [0; 3];
        for _ in 0..total {
            match lab.client(1).opens("V:80").got {
                Real(number) => got[usize::from(number) - 1] += 1,
                other => panic!("{weights:?}: {other:?}"),
            }
        }
        assert_eq!(got, weights);
        if total == 0 {
            assert_eq!(lab.client(1).opens("V:80").got, Unreachable);
        }
    }
}

#[test]
fn a_reload_brings_no_server_back_that_is_down() {
    let mut lab = lab(&["-A -t V:80 -s rr", "-a -t V:80 -r R1", "-a -t V:80 -r R2 --state down"]);
    let farms = lab.catalog.farms();
    for _ in 0..3 {
        assert!(lab.catalog.apply(&farms, Vec::new()).unwrap().is_empty());
        lab.publish();
        assert_eq!(lab.picks("V:80", 4), "1 1 1 1");
    }
    // Neither does another weight.
    lab.ipvsadm("-e -t V:80 -r R2 -w 9 --state down");
    assert_eq!(lab.picks("V:80", 4), "1 1 1 1");
}

/// A burst is looked up with whatever instructions the CPU has, a packet by itself without.
#[test]
fn every_client_of_a_burst_finds_its_own_server_and_never_that_of_another() {
    const CLIENTS: u16 = 300;
    let mut lab = Lab::new();
    let services = [
        ("V:80", "-s rr -p 60 --client"),
        ("[V]:80", "-s rr -p 60 --client"),
        ("V2:80", "-s rr"),
        ("[V2]:80", "-s rr"),
    ];
    for (to, words) in services {
        lab.ipvsadm(&format!("-A -t {to} {words}"));
        for server in 1..=7 {
            lab.ipvsadm(&format!("-a -t {to} -r R{server}"));
        }
        let is_v6 = to.starts_with('[');
        let packet = |client, flags| {
            let from = std::net::SocketAddr::new(client_address(client, is_v6), 2000);
            packet::tcp(&from.to_string(), &socket(to).to_string()).flags(flags)
        };
        let servers: Vec<u16> = (1..=CLIENTS)
            .map(|client| {
                let Real(server) = lab.send(&packet(client, "S")) else { panic!("{to}: {client}") };
                assert_eq!(lab.send(&packet(client, "A")), Real(server));
                server
            })
            .collect();
        // Each burst has clients from all over the table, and those without a connection, whose
        // addresses differ from theirs in few bits.
        for first in 0..64 {
            let burst: Vec<u16> = (0..32).map(|place| (first + place * 37) % 512).collect();
            let has_server = |client: &u16| (1..=CLIENTS).contains(client);
            let known = burst.iter().filter(|client| has_server(client) || words == "-s rr");
            let known: Vec<u16> = known.copied().filter(|client| *client > 0).collect();
            let frames: Vec<_> = known.iter().map(|client| packet(*client, "A").build()).collect();
            let sent = lab.feed(0, PortIndex(0), &frames);
            let went: Vec<_> = sent
                .iter()
                .filter_map(|(_, frame)| {
                    Some((packet::transport_of(frame).0, number_of(&frame[..6])?))
                })
                .collect();
            let wanted: Vec<_> = known
                .iter()
                .filter(|client| has_server(client))
                .map(|client| (client_address(*client, is_v6), servers[usize::from(*client) - 1]))
                .collect();
            assert_eq!(went, wanted, "{to}");
        }
    }
}
