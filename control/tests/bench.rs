//! `director bench` over memory ports, as an operator calls it.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_director"));
    command.args(["bench", "--source", "memory"]).args(arguments.split_whitespace());
    command.output().unwrap()
}

/// The result of a short measurement, which is held to be one of balancing.
fn measured(arguments: &str) -> Value {
    let output = bench(&format!("{arguments} --rounds 1 --packets 20000 --seconds 60 --json"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments}: {said}");
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    // The system counts a thread's time in ticks: so short a round may have taken none.
    assert!(result["ns_per_packet"].as_f64().unwrap() >= 0.0, "{result}");
    assert_eq!(result["burst"], 32.0, "{result}");
    assert_eq!(result["received"], result["forwarded"], "{result}");
    assert!(result["received"].as_u64().unwrap() >= 40_000, "{result}");
    result
}

#[test]
fn every_kind_of_director_balances_what_is_synthesised() {
    for arguments in [
        "--tracking client --clients 500",
        "--tracking full --clients 500",
        "--tracking client --family v6 --clients 500",
        "--tracking full --family v6 --clients 500",
        "--forwarding tunnel --size imix",
        "--forwarding tunnel --family v6",
        "--tracking full --forwarding masq --servers 7",
        "--tracking full --forwarding masq --family v6",
        "--tracking client --services 50 --servers 3 --scheduler rr",
        "--tracking full --persistence 0 --scheduler lc",
        "--tracking client --new 0.5 --room 100000",
        "--tracking full --new 1 --room 100000",
        "--cores 0,1 --tracking client --clients 5000",
    ] {
        measured(arguments);
    }
}

#[test]
fn a_reload_and_growing_tables_at_full_load_lose_nothing() {
    for arguments in [
        "--during reload --services 200 --servers 8 --clients 2000",
        "--during growth --tracking full --clients 20000",
        "--during growth --clients 20000",
        "--during growth --clients 20000 --family v6",
    ] {
        let output = bench(&format!("{arguments} --rounds 2 --seconds 0.3 --at-most 1 --json"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments}: {said}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["lost"], 0, "{arguments}: {result}");
        assert!(result["live_in_ms"].as_f64().unwrap() > 0.0, "{arguments}: {result}");
        assert!(result["pause_us"].is_f64(), "{arguments}: {result}");
        assert!(result["pause_before_us"].is_f64(), "{arguments}: {result}");
    }
}

#[test]
fn a_load_that_makes_no_sense_is_refused_in_a_sentence() {
    for (arguments, sentence) in [
        ("--size 20", "--size 20 is neither imix nor 64 to 1518 bytes"),
        ("--new 1.5", "--new is a share of all packets, 0 to 1"),
        ("--scheduler best", "there is no scheduler best; see ipvsadm's names"),
        ("--clients 0", "--clients 0 is not between 1 and 100000000"),
        ("--persistence 0", "--tracking client binds clients: give --persistence more than 0"),
        ("--forwarding masq", "--forwarding masq needs connections: take --tracking full"),
        (
            "--reference macswap",
            "testpmd needs DPDK's ports; leave out --reference or take --source null",
        ),
    ] {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said.lines().last(), Some(sentence), "{arguments}");
    }
}

#[test]
fn the_result_for_people_names_load_cost_and_share() {
    let output = bench("--rounds 1 --packets 20000 --clients 77");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("tracking client, 77 client(s), 1 service(s) of 100"), "{text}");
    assert!(text.contains("ns/packet on the CPU"), "{text}");
    assert!(text.contains("CPU share"), "{text}");
}
