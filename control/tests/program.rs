//! The command line and the start: what the program prints and how it ends, also when
//! nothing is as it should be.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::time::Duration;

use support::farm::{self, Farm};
use support::frame::udp;
use support::node::Node;
use support::program::{Ended, Home, Program, director, director_with_input, refusal};
use support::server::Talk;
use support::socket::Wire;
use support::{PATIENCE, eventually, server};

const NULL_PORT: &str = "ports:\n  - name: lan0\n    device: net_null0\n    cores: [1]\n    \
                         addresses: [198.18.10.1/16]\n";

/// A node with an interface `eth0` for a director, and the node with the wire's other end.
fn wired() -> (Node, Node) {
    let (node, peer) = (Node::new(), Node::new());
    node.wire("eth0", &peer, "peer0");
    node.mute("eth0");
    peer.mute("peer0");
    (node, peer)
}

fn assert_sentence(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code(), Some(code), "{}", ended.stderr);
    assert_eq!(ended.stdout, "", "nothing belongs on standard output");
    for foul in ["panicked", "EAL", "PMD", "RUST_BACKTRACE", "ethdev"] {
        assert!(!ended.stderr.contains(foul), "'{foul}' in: {}", ended.stderr);
    }
    for part in parts {
        assert!(ended.stderr.contains(part), "'{part}' is not in: {}", ended.stderr);
    }
}

/// Starts a director that must end with one line on standard error.
fn assert_refused(node: &Node, home: &Home, yaml: &str, code: i32, parts: &[&str]) {
    let ended = refusal(node, home, yaml);
    assert_sentence(&ended, code, parts);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(!home.socket().exists(), "the socket of a director that did not start");
}

#[test]
fn every_subcommand_has_help_that_names_its_options() {
    for (command, words) in [
        ("", &["run", "check", "apply", "show", "status", "explain"][..]),
        ("run", &["--config", "--socket", "--verbose"]),
        ("check", &["FILE", "--config"]),
        ("apply", &["FILE", "--socket", "standard input"]),
        ("show", &["--connections", "--stats", "--rate", "--thresholds", "--persistent"]),
        ("show", &["--exact", "--json", "ipvsadm -lnc"]),
        ("status", &["--socket", "--json"]),
        ("explain", &["FLOW", "--flags", "--port", "--json", "198.18.255.1:443"]),
    ] {
        let arguments: Vec<&str> =
            [command, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let ended = director(&arguments);
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{command}");
        for word in words {
            assert!(ended.stdout.contains(word), "{command}: '{word}' in {}", ended.stdout);
        }
    }
    assert!(director(&["--version"]).stdout.starts_with("director "));
}

#[test]
fn words_that_are_not_known_end_with_2_and_a_usage() {
    for arguments in [
        &[][..],
        &["reload"],
        &["show", "--conections"],
        &["show", "--connections", "--stats"],
        &["apply"],
        &["explain"],
        &["check", "a.yaml", "-c", "b.yaml"],
    ] {
        let ended = director(arguments);
        assert_sentence(&ended, 2, &["Usage: director"]);
    }
}

#[test]
fn without_a_director_every_question_ends_with_2_and_a_sentence() {
    for arguments in [
        &["status", "--socket", "/nonexistent/control.sock"][..],
        &["show", "--socket", "/nonexistent/control.sock"],
        &["explain", "--socket", "/nonexistent/control.sock", "tcp 1.2.3.4:5 -> 6.7.8.9:80"],
        &["apply", "--socket", "/nonexistent/control.sock", "-"],
    ] {
        let ended = director_with_input(arguments, "ports: []\n");
        assert_sentence(&ended, 2, &["/nonexistent/control.sock", "is it running?"]);
        assert_eq!(ended.stderr.lines().count(), 1);
    }
}

#[test]
fn files_that_cannot_be_read_or_are_wrong_end_with_1() {
    let home = Home::new();
    let file = home.file();
    let name = file.to_str().unwrap();
    let missing = director(&["check", "/nonexistent/director.yaml"]);
    assert_sentence(&missing, 1, &["/nonexistent/director.yaml", "cannot be read"]);
    let missing = director(&["apply", "--socket", "/nonexistent/s", "/nonexistent/d.yaml"]);
    assert_sentence(&missing, 1, &["/nonexistent/d.yaml"]);

    std::fs::write(&file, format!("{NULL_PORT}servces: []\nttl: 7\n")).unwrap();
    for arguments in [&["check", name][..], &["check", "-c", name], &["run", "-c", name]] {
        let ended = director(arguments);
        assert_sentence(&ended, 1, &[&format!("{name}:6"), "`services`", &format!("{name}:7")]);
    }
    std::fs::write(&file, NULL_PORT).unwrap();
    let fine = director(&["check", name]);
    assert_eq!((fine.code(), fine.stderr.as_str()), (Some(0), ""));
    assert!(fine.stdout.contains("no problem; 1 port(s), 0 service(s)"), "{}", fine.stdout);
}

#[test]
fn what_the_system_lacks_is_said_in_one_sentence_before_anything_runs() {
    let (node, _peer) = wired();
    let home = Home::new();
    let on = |device: &str, cores: &str| home.yaml(&farm::port_on(device, cores));
    let huge = on("net_null0", "[1]").replace("no_huge: true", "no_huge: false");
    assert_refused(&node, &home, &huge, 2, &["hugepages", "nr_hugepages", "no_huge"]);
    let few = on("net_null0", "[1]").replace("mbufs: 8191", "mbufs: 1024");
    assert_refused(&node, &home, &few, 2, &["1024 mbufs are too few", "set mbufs to at least"]);
    let small = on("net_null0", "[1]").replace("mib: 128", "mib: 64").replace("8191", "65535");
    assert_refused(&node, &home, &small, 2, &["65535 mbufs need about", "memory.mib"]);
    let core = on("net_null0", "[1, 999]");
    assert_refused(&node, &home, &core, 2, &["core 999 does not exist", "cores 0, 1"]);
}

#[test]
fn devices_that_are_not_there_are_said_in_one_sentence() {
    let (node, _peer) = wired();
    let home = Home::new();
    for (device, parts) in [
        ("net_af_packet0,iface=eth7", &["port lan0", "there is no network interface eth7"][..]),
        ("net_af_packet0", &["port lan0", "iface=NAME"]),
        ("0000:ff:1f.7", &["port lan0", "there is no device 0000:ff:1f.7"]),
        ("net_nonsense0", &["port lan0", "cannot bring up net_nonsense0"]),
        ("net_pcap0,rx_pcap=/nonexistent.pcap", &["port lan0", "/nonexistent.pcap"]),
        ("net_af_xdp0,iface=eth7", &["port lan0", "eth7"]),
    ] {
        let yaml = home.yaml(&farm::port_on(device, "[1]"));
        assert_refused(&node, &home, &yaml, 2, parts);
    }
    let yaml = home.yaml(&farm::port_on("net_af_packet0,iface=eth0", "[0, 1]"));
    let yaml = yaml.replace("main_core: 0\n", "main_core: 0\n");
    let ended = refusal(&node, &home, &yaml);
    // The main core polls here as well, which the configuration refuses first.
    assert_sentence(&ended, 1, &["main_core"]);
}
