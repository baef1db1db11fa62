//! `director generate` through a running director, over a wire between two namespaces.

// Clippy knows the functions that tests call only as production code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod support;

use std::process::{Command, Output};

use serde_json::Value;
use support::farm;
use support::node::{Node, mac_text};
use support::program::Program;

const VIP: &str = "198.18.255.1";

/// A director's node, and the generator's at the other end of the wire.
fn wired() -> (Node, Node) {
    let (director, peer) = (Node::new(), Node::new());
    director.wire("eth0", &peer, "peer0");
    director.mute("eth0");
    peer.mute("peer0");
    // The kernel at the generator's end keeps quiet: no addresses, no answers.
    peer.ip("link set dev peer0 arp off");
    (director, peer)
}

/// A service of three real servers, with more keys of its own.
fn services(more: &str) -> String {
    format!(
        "{}services:\n  - vip: {VIP}\n    protocol: udp\n    vip_port: 53\n    scheduler: rr\n\
         {more}    real_servers:\n{}",
        farm::one_port(),
        farm::reals(3)
    )
}

/// Runs the generator; what all tests have in common can be said otherwise.
fn generate(peer: &Node, arguments: &str) -> Output {
    let common = [
        ("--vip", "198.18.255.1:53"),
        ("--client", "198.18.64.1"),
        ("--servers", "198.18.10.8/29"),
        ("--own", "198.18.0.254"),
        ("--clients", "200"),
        ("--cores", "0"),
        ("--rate", "2k"),
        ("--open", "500"),
    ];
    let mut command = Command::new(env!("CARGO_BIN_EXE_director"));
    command.args(["generate", "--tx-port", "net_af_packet0,iface=peer0"]);
    command.args(["--no-huge", "--udp", "--json"]).args(arguments.split_whitespace());
    let said = |option| arguments.split_whitespace().any(|word| word == option);
    for (option, value) in common.into_iter().filter(|(option, _)| !said(*option)) {
        command.args([option, value]);
    }
    peer.inside(|| command.output().unwrap())
}

fn result(output: &Output) -> Value {
    let said = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {said}"))
}

#[test]
fn through_a_director_nothing_is_lost_and_every_client_keeps_its_server() {
    let (node, peer) = wired();
    let director = Program::start(&node, &services("    persistence: 300\n"));
    let plots = director.home.folder.join("plots");
    let output = generate(
        &peer,
        &format!("--seconds 0.5 --new 0.3 --loads 20,60,100 --plots {}", plots.display()),
    );
    let found = result(&output);
    assert_eq!(output.status.code(), Some(0), "{found:#}");
    assert_eq!(found["invariants_hold"], true);
    let loads = found["series"][0]["loads"].as_array().unwrap();
    assert_eq!(loads.len(), 3);
    for trial in loads {
        assert_eq!((&trial["lost"], &trial["moved"]), (&Value::from(0), &Value::from(0)));
        assert_eq!(trial["looked_at"], trial["sent"]);
        let latency = |name| trial["latency_us"][name].as_f64().unwrap();
        assert!(latency("min") > 0.0 && latency("p50") <= latency("p99"), "{trial:#}");
        assert!(latency("p99") <= latency("p99.9") && latency("p99.9") <= latency("max"));
    }
    let servers = loads[2]["servers"].as_array().unwrap();
    assert_eq!(servers.len(), 3, "one MAC address each: {servers:?}");
    let svg = std::fs::read_to_string(plots.join("latency.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("99.9 %"));
    director.stop();
}

#[test]
fn a_director_without_persistence_is_caught_moving_clients() {
    let (node, peer) = wired();
    let director = Program::start(&node, &services(""));
    let output = generate(&peer, "--seconds 0.5 --new 0.3");
    let found = result(&output);
    assert_eq!(output.status.code(), Some(3), "{found:#}");
    let trial = &found["series"][0]["trials"][0];
    assert!(trial["moved"].as_u64().unwrap() > 0 && trial["first_client_moved"].is_u64());
    assert_eq!(trial["overtaken"], 0);
    // Connections stay where they are all the same.
    let output = generate(&peer, "--seconds 0.5 --new 0.3 --stays connection");
    assert_eq!(output.status.code(), Some(0), "{:#}", result(&output));
    director.stop();
}

#[test]
fn the_search_finds_the_rate_that_passes_and_says_where_none_does() {
    let (node, peer) = wired();
    let director = Program::start(&node, &services("    persistence: 300\n"));
    // So much may be lost that a busy machine passes, too; what rate it can send says nothing.
    let search = "--search --resolution 20 --seconds 0.2 --clients 20,40";
    // A machine that is too busy for every rate of one search is not so for ever.
    let finds = || {
        let found = result(&generate(&peer, &format!("{search} --loss 90")));
        let finds = |series: &Value| series["no_drop_pps"].as_f64().unwrap() > 0.0;
        found["series"].as_array().unwrap().iter().all(finds)
    };
    assert!((0..6).any(|_| finds()), "six searches found no rate that passes");
    let to = mac_text(node.mac("eth0"));
    let nowhere = format!("{search} --loss 1 --to {to} --vip 198.18.255.9:53 --open 0");
    let found = result(&generate(&peer, &nowhere));
    assert_eq!(found["series"][1]["no_drop_pps"], 0.0, "{found:#}");
    assert_eq!(found["series"][1]["trials"][0]["loss"], 1.0);
    director.stop();
}

#[test]
fn what_cannot_be_done_is_said_in_a_sentence() {
    let (_node, peer) = wired();
    for (arguments, sentence) in [
        ("--servers 198.18.10.8/29", "nobody says who has 198.18.255.1"),
        ("--cores 0,1", "one port is served by one core"),
        ("--rate quick", "--rate quick is none of max, packets a second"),
        ("--client 2001:db8::1", "are not of one family"),
        ("--size 20", "--size 20 is neither imix nor 64 to 1518 bytes"),
    ] {
        let output = generate(&peer, arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments}: {said}");
        assert!(said.contains(sentence), "{arguments}: {said}");
    }
}
