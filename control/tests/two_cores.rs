//! Two queues and two cores: one client's connections arrive on both, and still one real
//! server has them all.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::collections::HashSet;

use support::eventually;
use support::farm::{self, Farm, VIPS};
use support::node::Node;
use support::program::{Home, Program, refusal};
use support::server::{self, Talk, ask};

#[test]
fn a_device_with_fewer_queues_than_cores_is_refused_in_a_sentence() {
    let (node, peer) = (Node::new(), Node::new());
    node.wire("eth0", &peer, "peer0");
    let home = Home::new();
    let yaml = home.yaml(&farm::port_on("net_af_packet0,iface=eth0", "[0, 1]"));
    let ended = refusal(&node, &home, &yaml);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    for part in ["port lan0", "queue", "qpairs"] {
        assert!(ended.stderr.contains(part), "'{part}' is not in: {}", ended.stderr);
    }
}

#[test]
fn one_client_has_one_server_whichever_queue_its_connections_arrive_on() {
    let farm = Farm::new(3);
    server::everywhere(&farm, &[80, 443, 8080]);
    let reals = farm::reals(3);
    let ports = farm::port_on("net_af_packet0,iface=eth0,qpairs=2", "[0, 1]");
    let [_, pcc, pfm] = VIPS;
    let body = format!(
        "{ports}services:
  - name: pcc
    vip: {pcc}
    protocol: tcp
    vip_port: 0
    scheduler: rr
    persistence: true
    real_servers:
{reals}
  - name: pfm
    mark: 10
    selectors:
      - {{ vip: {pfm}, protocol: tcp, vip_port: 80 }}
      - {{ vip: {pfm}, protocol: tcp, vip_port: 443 }}
    scheduler: rr
    persistence: true
    real_servers:
{reals}"
    );
    let program = Program::start(&farm.director, &body);
    let mut used = HashSet::new();
    for client in 1..=12 {
        let from = format!("198.18.64.{client}");
        for (vip, ports) in [(pcc, [80, 443, 8080]), (pfm, [80, 443, 80])] {
            let servers: HashSet<String> = (0..6)
                .map(|n| ask(&farm.client, &from, &format!("{vip}:{}", ports[n % 3])))
                .collect();
            assert_eq!(servers.len(), 1, "{from} to {vip}: {servers:?}");
            used.extend(servers);
        }
    }
    assert_eq!(used.len(), 3, "all servers have clients");
    let status = program.status();
    for core in status["cores"].as_array().unwrap() {
        let received = core["received"].as_u64().unwrap();
        assert!(received > 50, "both queues have a share: {status}");
        assert_eq!(core["generation"], 1);
    }
    // Whichever core has a connection, `explain` finds it.
    let mut open: Vec<Talk> =
        (0..8).map(|_| Talk::open(&farm.client, "198.18.64.1", &format!("{pcc}:80"))).collect();
    for talk in &mut open {
        talk.say("hello");
        let flow = format!("tcp 198.18.64.1:{} -> {pcc}:80", talk.port());
        let story = program.told(&["explain", &flow, "--flags", "A"]);
        assert!(story.contains("it belongs to a connection (ESTABLISHED"), "{story}");
    }
    // A reload reaches both.
    let told =
        program.ask_with_input(&["apply", "-"], &program.yaml(&body.replace(": rr", ": wrr")));
    assert_eq!(told.code(), Some(0), "{}", told.stderr);
    eventually("both cores run generation 2", || {
        let status = program.status();
        let cores = status["cores"].as_array().unwrap();
        cores.iter().all(|core| core["generation"] == 2).then_some(())
    });
    let listed = program.told(&["show", "-c"]);
    assert!(listed.lines().filter(|line| line.starts_with("TCP")).count() > 100, "{listed}");
    program.stop();
}
