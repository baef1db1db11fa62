//! What binds clients, and what lets them go: drains with a deadline, and SIP's calls.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use support::eventually;
use support::farm::{self, CLIENT, Farm, VIPS};
use support::frame::{ethernet, udp};
use support::node::Node;
use support::program::Program;
use support::server::{self, ask};
use support::socket::Wire;

/// A persistent service; the first of these servers is in this state.
fn draining([first, second]: [usize; 2], state: &str) -> String {
    let [first, second] = [farm::rip(first), farm::rip(second)];
    format!(
        "{}services:\n  - name: web\n    vip: {}\n    protocol: tcp\n    vip_port: 80\n    \
         persistence: true\n    drain_deadline: 3\n    real_servers:\n      \
         - {{ address: {first}, state: {state} }}\n      - {{ address: {second} }}\n",
        farm::one_port(),
        VIPS[0]
    )
}

#[test]
fn when_a_drains_deadline_passes_its_clients_move_and_the_same_file_changes_nothing() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let program = Program::start(&farm.director, &draining([0, 1], "up"));
    (0..2).for_each(|index| program.resolves(&farm::rip(index)));
    let vip = format!("{}:80", VIPS[0]);
    let server = ask(&farm.client, CLIENT, &vip);
    let mine = (0..2).find(|index| farm::name(*index) == server).unwrap();
    let (body, other) = (|state| draining([mine, 1 - mine], state), farm::name(1 - mine));

    let apply = || program.ask_with_input(&["apply", "-"], &program.yaml(&body("drain")));
    assert_eq!(apply().code(), Some(0));
    let drains = || program.status()["drains"].clone();
    let drain = drains()[0].clone();
    assert_eq!((drain["service"].as_str(), drains().as_array().unwrap().len()), (Some("web"), 1));
    assert_eq!(drain["real_server"], format!("{}:80", farm::rip(mine)));
    assert!(program.told(&["status"]).contains("counts as down"));
    eventually("the deadline has passed", || (drains()[0]["seconds_left"] == 0).then_some(()));
    eventually("the client is with the other server", || {
        (ask(&farm.client, CLIENT, &vip) == other).then_some(())
    });
    program.logs(&format!("the drain of {} is over, it counts as down now", farm::rip(mine)));

    let generation = program.number(&["generation"]);
    assert_eq!(apply().code(), Some(0));
    program.logs("is what runs already");
    assert_eq!(program.number(&["generation"]), generation, "the same file changes nothing");
    assert_eq!(drains()[0]["seconds_left"], 0, "it does not begin anew");
    assert_eq!(ask(&farm.client, CLIENT, &vip), other);
    // Up again is up again.
    let up = program.ask_with_input(&["apply", "-"], &program.yaml(&body("up")));
    assert_eq!(up.code(), Some(0));
    assert_eq!(drains().as_array().map(Vec::len), Some(0));
    program.stop();
}

#[test]
fn sips_calls_are_bound_by_their_call_id_and_listed_with_it() {
    let (node, peer) = (Node::new(), Node::new());
    node.wire("eth0", &peer, "peer0");
    node.mute("eth0");
    peer.mute("peer0");
    let reals: String = (1..=3)
        .map(|n| format!("      - {{ address: 198.18.10.1{n}, mac: \"02:00:00:00:00:1{n}\" }}\n"))
        .collect();
    let body = format!(
        "{}services:\n  - name: calls\n    vip: 198.18.255.1\n    protocol: udp\n    \
         vip_port: 5060\n    scheduler: rr\n    persistence: {{ timeout: 60, engine: sip }}\n    \
         one_packet: true\n    real_servers:\n{reals}",
        farm::one_port()
    );
    let program = Program::start(&node, &body);
    let wire = Wire::on(&peer, "peer0");
    let director = node.mac("eth0");
    let send = |port: u16, call: &str| {
        let message = format!("OPTIONS sip:a SIP/2.0\r\nCall-ID: {call}\r\n\r\n");
        let packet = udp(("198.18.0.7", port), ("198.18.255.1", 5060), message.as_bytes());
        wire.send(&[ethernet(director, [2, 0, 0, 0, 0, 0xC1], 0x0800), packet].concat());
        wire.expect("the message at a server", |frame| {
            let text = String::from_utf8_lossy(frame).into_owned();
            (frame[5] & 0xF0 == 0x10 && text.contains(call)).then_some(frame[5])
        })
    };
    let (first, second) = (send(4000, "abc@x"), send(4001, "def@x"));
    assert_ne!(first, second, "rr gives two calls to two servers");
    assert_eq!((send(4002, "abc@x"), send(4003, "def@x")), (first, second));

    let listed = eventually("the calls in the listing", || {
        let text = program.told(&["show", "-c", "--persistent"]);
        (text.contains("abc@x") && text.contains("def@x")).then_some(text)
    });
    let line = listed.lines().find(|line| line.contains("abc@x")).unwrap();
    assert!(line.contains("198.18.0.7:0") && line.contains(" sip "), "{line}");
    assert!(!program.told(&["show", "-c"]).contains("abc@x"), "as ipvsadm -lnc");
    assert!(program.told(&["show"]).contains("rr persistent 60 pe sip ops"));
    program.stop();
}
