//! What `compat: ipvs` does as the kernel, and the default does better.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::ids::PortIndex;
use dataplane::shared::TableSizes;
use dataplane::tick::Tick;
use dataplane::timer::TimerRule;
use dataplane::verdict::DropReason;
use support::lab::Seen::{Dropped, Real, Unreachable};
use support::lab::{Lab, Setup, client_address, real_mac, row};
use support::packet;

const AS_KERNEL: [bool; 2] = [false, true];

fn lab(setup: Setup, as_kernel: bool, lines: &str) -> Lab {
    let mut lab = Lab::with(setup);
    lab.switch(|compat| compat.as_kernel = as_kernel);
    lab.restore(lines);
    lab
}

#[test]
fn a_client_that_finds_the_template_table_full_is_dropped_or_placed_by_hash() {
    for as_kernel in AS_KERNEL {
        let sizes = TableSizes { templates_v4: 64, ..Setup::default().sizes };
        let lines = "-A -t V:80 -s rr -p 60\n -a -t V:80 -r R1\n -a -t V:80 -r R2";
        let mut lab = lab(Setup { sizes, ..Setup::default() }, as_kernel, lines);
        let got: Vec<_> = (1..=900).map(|client| lab.client(client).opens("V:80").got).collect();
        let full = got.iter().filter(|got| **got == Dropped(DropReason::TableFull)).count();
        let placed = got.iter().filter(|got| matches!(got, Real(_))).count();
        assert_eq!(full > 0, as_kernel, "{full}");
        assert_eq!(full + placed, 900);
        lab.ipvsadm("-e -t V:80 -r R1 -w 0");
        for client in 901..=950 {
            let got = lab.client(client).opens("V:80").got;
            assert!(got != Real(1), "client {client} was placed at a server of weight 0");
        }
    }
}

#[test]
fn errors_are_limited_by_their_receiver_and_resets_are_not() {
    let setup = Setup { answers_per_second: 10_000, ..Setup::default() };
    let mut lab = lab(setup, true, "-A -t V:80 -s rr");
    let refused = |lab: &mut Lab, client| {
        (0..50).filter(|_| lab.client(client).opens("V:80").got == Unreachable).count()
    };
    assert_eq!([refused(&mut lab, 1), refused(&mut lab, 1)], [6, 0]);
    assert_eq!(refused(&mut lab, 2), 6);
    lab.after_secs(2);
    assert_eq!([refused(&mut lab, 1), refused(&mut lab, 3)], [2, 6]);
    let limited = lab.totals().dropped_for(DropReason::NoRealServer);
    for _ in 0..100 {
        assert_eq!(lab.client(1).opens("V:81").got, support::lab::Seen::Reset);
    }
    assert_eq!(lab.totals().dropped_for(DropReason::NoRealServer), limited);
    let all: usize = (100..1100).map(|client| refused(&mut lab, client)).sum();
    assert!(all <= 50, "{all} errors at one moment");
}

#[test]
fn all_cores_together_go_round_once_or_each_by_itself() {
    for (as_kernel, expected) in [(true, "3 2 1 3 2 1"), (false, "3 3 2 2 1 1")] {
        let lines = "-A -t V:80 -s rr\n -a -t V:80 -r R1\n -a -t V:80 -r R2\n -a -t V:80 -r R3";
        let mut lab = lab(Setup { cores: 2, ..Setup::default() }, as_kernel, lines);
        let syn = |client| {
            let from = format!("{}:1024", client_address(client, false));
            packet::tcp(&from, "198.18.255.1:80").flags("S").build()
        };
        let got: Vec<_> = (1..=6)
            .map(|client| lab.frame_on(usize::from(client) % 2, PortIndex(0), &syn(client)))
            .collect();
        assert_eq!(row(got), expected, "as kernel: {as_kernel}");
    }
}

#[test]
fn ipsec_follows_its_key_exchange_on_every_core_and_keeps_it() {
    let mut lab = lab(
        Setup { cores: 2, ..Setup::default() },
        false,
        "-A -u V:500 -s rr\n -a -u V:500 -r R1\n -a -u V:500 -r R2",
    );
    let client = client_address(7, false);
    let esp = packet::raw(&client.to_string(), "198.18.255.1", 50).payload(&[7; 40]).build();
    let without = lab.frame_on(1, PortIndex(0), &esp);
    assert!(!matches!(without, Real(_)), "{without:?}");
    let exchange = packet::udp(&format!("{client}:500"), "198.18.255.1:500").build();
    let Real(real) = lab.frame_on(0, PortIndex(0), &exchange) else { panic!("not scheduled") };
    for _ in 0..5 {
        for core in [0, 1] {
            assert_eq!(lab.frame_on(core, PortIndex(0), &esp), Real(real), "core {core}");
        }
    }
    // Longer than the key exchange would live by itself.
    for _ in 0..4 {
        lab.after_secs(200);
        assert_eq!(lab.frame_on(1, PortIndex(0), &esp), Real(real));
        lab.turn();
        assert_eq!(lab.states().len(), 1);
    }
    lab.after_secs(400);
    assert!(lab.states().is_empty());
    assert_ne!(lab.frame_on(1, PortIndex(0), &esp), Real(real));
}

#[test]
fn a_changed_method_loses_clients_as_in_the_kernel_or_not_at_all() {
    let reaches = |lab: &mut Lab, client, flags| {
        let from = format!("{}:1024", client_address(client, false));
        let frame = packet::tcp(&from, "198.18.255.1:80").flags(flags).build();
        let sent = lab.feed(0, PortIndex(0), &[frame]);
        sent.iter().any(|(_, frame)| frame[..6] == real_mac(1).0)
    };
    for as_kernel in AS_KERNEL {
        let lines = "-A -t V:80 -s rr\n -a -t V:80 -r R1 -m";
        let mut lab = lab(Setup::default(), as_kernel, lines);
        assert!(reaches(&mut lab, 1, "S"));
        lab.ipvsadm("-e -t V:80 -r R1");
        assert!(reaches(&mut lab, 1, "A"), "it is masqueraded still, and makes the route");
        assert_eq!(reaches(&mut lab, 2, "S"), !as_kernel, "it is not");
        lab.ipvsadm("-e -t V:80 -r R1 -w 2");
        assert!(reaches(&mut lab, 3, "S"), "the first one after the edit makes the route");
        assert!(reaches(&mut lab, 1, "A"));
        assert!(reaches(&mut lab, 4, "S"));
    }
}

#[test]
fn a_template_that_ends_in_the_slot_of_its_connection_looks_at_it_first_and_stays() {
    // A slot of the wheel for 60 s is 512 ticks wide: 61 s after a SYN are in that of 60 s, 62 s are
    // not.
    for (timeout_s, stays) in [(1, true), (2, false)] {
        let lines = format!(
            "-A -t V:80 -s rr -p {timeout_s}\n -a -t V:80 -r R1\n -a -t V:80 -r R2\n \
             -a -t V:80 -r R3"
        );
        let setup = Setup { timers: TimerRule::KernelWheel, ..Setup::default() };
        let mut lab = lab(setup, true, &lines);
        lab.now = Tick(1 << 15);
        let first = lab.clients("V:80", 1..=5);
        assert_eq!(first, "3 2 1 3 2");
        lab.after_secs(67);
        let then = lab.clients("V:80", 1..=5);
        assert_eq!(then == first, stays, "-p {timeout_s}: {then}");
        lab.check();
    }
}
