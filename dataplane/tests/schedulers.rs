//! Which real server a new connection gets: recorded sequences of IPVS, scheduler by scheduler.
//!
//! Real servers are added in ascending order; the newest stands at the head of the list.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::compat::Kernel;
use support::lab::{Lab, Seen, row};

/// A service with real servers R1, R2, ... of these weights, on port 80 of the VIP.
fn service(scheduler: &str, weights: &[u32]) -> Lab {
    let mut lab = Lab::new();
    lab.ipvsadm(&format!("-A -t V:80 -s {scheduler}"));
    for (place, weight) in weights.iter().enumerate() {
        lab.ipvsadm(&format!("-a -t V:80 -r R{} -w {weight}", place + 1));
    }
    lab
}

#[test]
fn rr_serves_the_newest_first_and_follows_additions_and_removals() {
    let mut lab = service("rr", &[1, 1, 1]);
    assert_eq!(lab.picks("V:80", 7), "3 2 1 3 2 1 3");
    lab.ipvsadm("-a -t V:80 -r R4");
    assert_eq!(lab.picks("V:80", 5), "2 1 4 3 2");
    assert_eq!(lab.picks("V:80", 1), "1");
    lab.ipvsadm("-d -t V:80 -r R1");
    assert_eq!(lab.picks("V:80", 5), "4 3 2 4 3");
    lab.ipvsadm("-e -t V:80 -r R4 -w 0");
    assert_eq!(lab.picks("V:80", 5), "2 3 2 3 2");
}

#[test]
fn rr_goes_on_with_the_successor_when_the_server_served_last_is_removed() {
    let mut lab = service("rr", &[1, 1, 1, 1]);
    assert_eq!(lab.picks("V:80", 2), "4 3");
    lab.ipvsadm("-d -t V:80 -r R3");
    assert_eq!(lab.picks("V:80", 3), "2 1 4");
}

#[test]
fn rr_follows_several_changes_of_the_list_between_two_picks() {
    let mut lab = service("rr", &[1, 1, 1]);
    assert_eq!(lab.picks("V:80", 2), "3 2");
    // The cursor stands on 2, then on its predecessor 3, then on 3's predecessor 4.
    lab.ipvsadm("-a -t V:80 -r R4");
    lab.ipvsadm("-d -t V:80 -r R2");
    lab.ipvsadm("-d -t V:80 -r R3");
    assert_eq!(lab.picks("V:80", 2), "1 4");
}

#[test]
fn rr_starts_at_the_head_when_the_head_was_served_last_and_is_removed() {
    let mut lab = service("rr", &[1, 1, 1]);
    assert_eq!(lab.picks("V:80", 1), "3");
    lab.ipvsadm("-d -t V:80 -r R3");
    lab.ipvsadm("-a -t V:80 -r R4");
    assert_eq!(lab.picks("V:80", 3), "4 2 1");
}

#[test]
fn rr_is_undisturbed_by_edits_and_a_server_put_back_is_first_in_the_round() {
    let mut lab = service("rr", &[1, 1, 1]);
    assert_eq!(lab.picks("V:80", 2), "3 2");
    lab.ipvsadm("-e -t V:80 -r R1 -w 5");
    lab.ipvsadm("-E -t V:80 -s rr");
    assert_eq!(lab.picks("V:80", 3), "1 3 2");
    lab.ipvsadm("-d -t V:80 -r R1");
    lab.ipvsadm("-a -t V:80 -r R1");
    assert_eq!(lab.picks("V:80", 3), "1 3 2");
}

#[test]
fn wrr_walks_the_levels_of_the_weights() {
    let mut lab = service("wrr", &[4, 3, 2]);
    let round = "3 2 1 1 2 1 3 2 1";
    assert_eq!(lab.picks("V:80", 27), [round; 3].join(" "));
}

#[test]
fn wrr_keeps_its_level_when_a_weight_is_edited() {
    let mut lab = service("wrr", &[5, 1, 1]);
    assert_eq!(lab.picks("V:80", 14), ["3 2 1 1 1 1 1"; 2].join(" "));
    lab.ipvsadm("-e -t V:80 -r R1 -w 3");
    assert_eq!(lab.picks("V:80", 10), "1 3 2 1 1 1 3 2 1 1");
}

#[test]
fn wrr_takes_a_new_server_into_the_levels() {
    let mut lab = service("wrr", &[4, 2]);
    assert_eq!(lab.picks("V:80", 12), ["2 1 1"; 4].join(" "));
    lab.ipvsadm("-a -t V:80 -r R3 -w 6");
    assert_eq!(lab.picks("V:80", 14), "3 1 3 2 1 3 3 1 3 2 1 3 3 1");
}

#[test]
fn wrr_with_a_common_divisor_and_with_a_server_quiesced() {
    assert_eq!(service("wrr", &[10, 4]).picks("V:80", 14), "2 1 1 1 1 2 1 2 1 1 1 1 2 1");
    let mut lab = service("wrr", &[3, 1]);
    assert_eq!(lab.picks("V:80", 8), "2 1 1 1 2 1 1 1");
    lab.ipvsadm("-e -t V:80 -r R1 -w 0");
    assert_eq!(lab.picks("V:80", 3), "2 2 2");
}

#[test]
fn wlc_gives_by_load_per_weight_and_the_head_on_ties() {
    assert_eq!(service("wlc", &[1, 1, 1]).picks("V:80", 7), "3 2 1 3 2 1 3");
    assert_eq!(service("wlc", &[1, 2, 3]).picks("V:80", 12), "3 2 1 3 2 3 3 2 1 3 2 3");
    let mut lab = Lab::new();
    lab.restore(
        "-A -t V:80
         -a -t V:80 -r R3 -w 3
         -a -t V:80 -r R2 -w 2
         -a -t V:80 -r R1 -w 1",
    );
    assert_eq!(lab.picks("V:80", 1), "1", "without load the head is first, whatever its weight");
}

#[test]
fn wlc_weighs_one_active_connection_against_256_inactive_ones_as_its_kernel_does() {
    for (kernel, expected) in [(Kernel::Classic, Seen::Real(2)), (Kernel::New, Seen::Real(1))] {
        let mut lab = service("wlc", &[1]);
        lab.switch(|compat| compat.kernel = kernel);
        for _ in 0..256 {
            let conn = lab.client(1).opens("V:80");
            lab.sends(&conn, "F");
        }
        assert_eq!(lab.load("-t V:80", 1), (0, 256, 0));
        lab.ipvsadm("-a -t V:80 -r R2");
        assert_eq!(lab.client(2).opens("V:80").got, Seen::Real(2));
        assert_eq!(lab.load("-t V:80", 2), (1, 0, 0));
        assert_eq!(lab.client(2).opens("V:80").got, expected, "{kernel:?}");
    }
}

#[test]
fn wlc_remembers_the_connections_of_a_server_that_is_put_back() {
    let mut lab = service("wlc", &[1, 1]);
    assert_eq!(lab.picks("V:80", 4), "2 1 2 1");
    lab.ipvsadm("-d -t V:80 -r R1");
    lab.ipvsadm("-a -t V:80 -r R1");
    assert_eq!(lab.load("-t V:80", 1), (2, 0, 0));
    assert_eq!(lab.picks("V:80", 1), "1");
}

#[test]
fn lc_asks_weights_only_whether_they_are_zero() {
    assert_eq!(service("lc", &[1, 100, 0]).picks("V:80", 6), "2 1 2 1 2 1");
}

#[test]
fn sed_counts_the_connection_to_come() {
    assert_eq!(service("sed", &[1, 2, 3]).picks("V:80", 12), "3 2 3 3 2 1 3 2 3 3 2 1");
}

#[test]
fn nq_gives_every_idle_server_one_before_it_weighs() {
    assert_eq!(service("nq", &[1, 2, 3]).picks("V:80", 12), "3 2 1 3 3 2 3 2 3 3 2 1");
}

#[test]
fn fo_stays_with_the_largest_weight_and_fails_over() {
    let mut lab = service("fo", &[5, 5, 1]);
    assert_eq!(lab.picks("V:80", 3), "2 2 2");
    lab.ipvsadm("-e -t V:80 -r R2 -w 0");
    assert_eq!(lab.picks("V:80", 2), "1 1");
}

#[test]
fn ovf_fills_every_server_with_its_weight_and_one_more() {
    assert_eq!(service("ovf", &[2, 2, 1]).picks("V:80", 9), "2 2 2 1 1 1 3 3 X");
}

/// A SYN of a client with this address to 10.9.0.100, as the hash vectors were recorded.
fn syn(lab: &mut Lab, client: &str) -> Seen {
    lab.send(&support::packet::tcp(client, "10.9.0.100:80").flags("S"))
}

fn hash_service(options: &str, weights: &[u32]) -> Lab {
    let mut lab = Lab::new();
    lab.ipvsadm(&format!("-A -t 10.9.0.100:80 {options}"));
    for (place, weight) in weights.iter().enumerate() {
        lab.ipvsadm(&format!("-a -t 10.9.0.100:80 -r R{} -w {weight}", place + 1));
    }
    lab
}

fn hosts(lab: &mut Lab, network: &str, hosts: std::ops::RangeInclusive<u8>) -> String {
    row(hosts.map(|host| syn(lab, &format!("{network}.{host}:30000"))))
}

#[test]
fn dh_gives_a_vip_one_server_and_knows_no_other() {
    let mut lab = hash_service("-s dh", &[1, 1, 1]);
    assert_eq!(hosts(&mut lab, "10.1.0", 1..=3), "1 1 1");
    lab.ipvsadm("-e -t 10.9.0.100:80 -r R1 -w 0");
    assert_eq!(hosts(&mut lab, "10.1.0", 4..=6), "X X X");
}

#[test]
fn sh_hashes_clients_into_shares_by_weight() {
    let mut lab = hash_service("-s sh", &[1, 2, 3]);
    assert_eq!(
        hosts(&mut lab, "10.1.0", 1..=40),
        "3 2 1 3 1 3 3 3 3 3 3 2 3 2 3 3 2 3 2 1 2 1 2 1 3 2 3 3 1 3 1 3 2 3 3 3 3 2 3 2"
    );
}

#[test]
fn sh_with_ports_spreads_one_client() {
    let mut lab = hash_service("-s sh -b sh-port", &[1, 2, 3]);
    let picked = (30_001..=30_020).map(|port| syn(&mut lab, &format!("10.1.0.7:{port}")));
    assert_eq!(row(picked), "3 2 3 3 2 3 2 3 2 1 2 1 3 2 3 2 3 3 1 3");
}

#[test]
fn sh_falls_back_to_another_server_only_when_told_to() {
    let mut lab = hash_service("-s sh -b sh-fallback", &[1, 2, 3]);
    lab.ipvsadm("-e -t 10.9.0.100:80 -r R2 -w 0");
    assert_eq!(
        hosts(&mut lab, "10.1.0", 1..=40),
        "1 3 3 3 3 3 3 3 3 3 3 3 3 3 3 1 3 1 3 1 3 1 3 1 3 3 3 1 3 3 3 3 3 3 3 3 3 3 1 3"
    );
    let mut lab = hash_service("-s sh", &[1, 2, 3]);
    lab.ipvsadm("-e -t 10.9.0.100:80 -r R2 -w 0");
    assert_eq!(hosts(&mut lab, "10.1.0", 1..=20), "1 3 X 3 X 3 X 3 X 3 3 3 3 3 3 1 3 1 3 1");
}

#[test]
fn sh_has_no_stability_when_a_server_is_removed() {
    let mut lab = hash_service("-s sh", &[1, 1, 1]);
    assert_eq!(hosts(&mut lab, "10.1.2", 1..=12), "3 2 1 2 3 2 1 2 1 2 2 3");
    lab.ipvsadm("-d -t 10.9.0.100:80 -r R2");
    let after = (1..=12).map(|host| syn(&mut lab, &format!("10.1.2.{host}:30001")));
    assert_eq!(row(after), "1 3 3 3 3 3 1 1 1 1 3 3");
}

#[test]
fn a_service_without_a_usable_server_answers_port_unreachable_also_for_tcp() {
    for (scheduler, weights) in
        [("none", &[1, 1][..]), ("wlc", &[]), ("rr", &[0, 0]), ("wrr", &[0])]
    {
        let mut lab = service(scheduler, weights);
        assert_eq!(lab.picks("V:80", 2), "X X", "{scheduler} {weights:?}");
    }
}

#[test]
fn another_scheduler_starts_afresh_and_the_same_one_goes_on() {
    let mut lab = service("rr", &[1, 1, 1]);
    assert_eq!(lab.picks("V:80", 2), "3 2");
    lab.ipvsadm("-E -t V:80 -s rr -p 5");
    lab.ipvsadm("-E -t V:80 -s rr");
    assert_eq!(lab.picks("V:80", 1), "1");
    lab.ipvsadm("-E -t V:80 -s wrr");
    lab.ipvsadm("-E -t V:80 -s rr");
    assert_eq!(lab.picks("V:80", 2), "3 2");
}
