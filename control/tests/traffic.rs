//! Every protocol once from end to end, with real sockets on both sides.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::net::UdpSocket;
use std::time::Duration;

use support::eventually;
use support::farm::{self, CLIENT, CLIENT6, Farm, VIP6, VIPS};
use support::frame::{icmp_error, ipv4, sctp_init};
use support::node::Node;
use support::program::Program;
use support::server::{self, Talk, ask};
use support::socket::RawIp;

const ICMP: u8 = 1;
const SCTP: u8 = 132;

fn service(name: &str, vip: &str, protocol: &str, port: u16, more: &str, reals: &str) -> String {
    format!(
        "  - name: {name}\n    vip: \"{vip}\"\n    protocol: {protocol}\n    vip_port: {port}\n    \
         scheduler: rr\n{more}    real_servers:\n{reals}"
    )
}

/// Asks over UDP from this port: the name of the server that answers.
fn ask_udp(client: &Node, from: &str, to: &str) -> String {
    let socket = client.inside(|| UdpSocket::bind(from).unwrap());
    socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    socket.connect(to).unwrap();
    socket.send(b"who").unwrap();
    let mut bytes = [0u8; 64];
    let length = socket.recv(&mut bytes).unwrap();
    let text = String::from_utf8_lossy(&bytes[..length]).into_owned();
    text.strip_suffix(" who").unwrap().to_owned()
}

#[test]
fn tcp_udp_and_sctp_reach_real_servers_and_icmp_errors_follow_their_flow() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    for (index, node) in farm.servers.iter().enumerate() {
        // Each answers from the address that it was asked on.
        server::udp(node, &format!("{}:53", VIPS[0]), &farm::name(index));
        server::udp(node, &format!("[{VIP6}]:53"), &farm::name(index));
    }
    let (v4, v6) = (farm::reals(2), farm::reals6(2));
    let persistent = "    persistence: true\n";
    let body = format!(
        "{}services:\n{}{}{}{}{}{}",
        farm::one_port(),
        service("web", VIPS[0], "tcp", 80, "", &v4),
        service("web6", VIP6, "tcp", 80, "", &v6),
        service("dns", VIPS[0], "udp", 53, "", &v4),
        service("dns6", VIP6, "udp", 53, "", &v6),
        service("calls", VIPS[0], "sctp", 3868, "", &v4),
        service("all", VIPS[1], "any", 0, persistent, &v4),
    );
    let program = Program::start(&farm.director, &body);
    tcp(&farm);
    udp(&farm);
    sctp(&farm);
    icmp(&farm, &program);
    let listed = program.told(&["show", "-c"]);
    for protocol in ["TCP", "UDP", "SCTP"] {
        assert!(listed.lines().any(|line| line.starts_with(protocol)), "{protocol}: {listed}");
    }
    let balance = program.stop();
    assert!(balance.forwarded > 60, "{balance:?}");
}

fn tcp(farm: &Farm) {
    for (from, to) in [(CLIENT, format!("{}:80", VIPS[0])), (CLIENT6, format!("[{VIP6}]:80"))] {
        let names: Vec<String> = (0..4).map(|_| ask(&farm.client, from, &to)).collect();
        assert_eq!((&names[0], &names[1]), (&names[2], &names[3]), "round robin");
        assert_ne!(names[0], names[1]);
    }
    // Long lines, in segments as long as the wire takes.
    let mut talk = Talk::open(&farm.client, CLIENT, &format!("{}:80", VIPS[0]));
    let long = "x".repeat(200_000);
    let first = talk.say(&long);
    assert_eq!(talk.say(&long), first);
}

fn udp(farm: &Farm) {
    for (any, to) in [("0.0.0.0", format!("{}:53", VIPS[0])), ("[::]", format!("[{VIP6}]:53"))] {
        let names: Vec<String> =
            (0..4).map(|n| ask_udp(&farm.client, &format!("{any}:{}", 5000 + n), &to)).collect();
        assert_eq!((&names[0], &names[1]), (&names[2], &names[3]), "round robin");
        assert_ne!(names[0], names[1]);
        // The same flow stays where it is.
        let again = ask_udp(&farm.client, &format!("{any}:5000"), &to);
        assert_eq!(again, names[0]);
    }
}

/// The kernel need not have SCTP: the association's first packet is made by hand.
fn sctp(farm: &Farm) {
    let servers: Vec<RawIp> = farm.servers.iter().map(|node| RawIp::on(node, SCTP)).collect();
    let client = RawIp::on(&farm.client, SCTP);
    let mut seen = Vec::new();
    for port in [7000, 7001, 7000] {
        let packet = sctp_init(port, 3868);
        client.send(VIPS[0], &packet);
        seen.push(eventually("an INIT", || {
            servers.iter().position(|server| {
                server.receive().is_some_and(|got| got.get(20..) == Some(&packet[..]))
            })
        }));
    }
    assert_ne!(seen[0], seen[1], "round robin");
    assert_eq!(seen[0], seen[2], "one association, one server");
}

/// A router's "fragmentation needed" about a server's answer must reach that server.
fn icmp(farm: &Farm, program: &Program) {
    let client = RawIp::on(&farm.client, ICMP);
    let servers: Vec<RawIp> = farm.servers.iter().map(|node| RawIp::on(node, ICMP)).collect();
    let mut served = Vec::new();
    for _ in 0..2 {
        let mut talk = Talk::open(&farm.client, CLIENT, &format!("{}:80", VIPS[0]));
        let server = talk.say("hello");
        let ports = [80u16.to_be_bytes(), talk.port().to_be_bytes()].concat();
        let answer = ipv4(6, VIPS[0], CLIENT, &[&ports[..], &[0, 0, 0, 1]].concat());
        let error = icmp_error(3, 4, 1400, &answer);
        client.send(VIPS[0], &error);
        let place = eventually("the ICMP error", || {
            servers.iter().position(|socket| {
                socket.receive().is_some_and(|got| got.get(20..) == Some(&error[..]))
            })
        });
        assert_eq!(farm::name(place), server);
        served.push(server);
    }
    assert_ne!(served[0], served[1]);
    // One about a flow that nobody knows goes nowhere.
    let before = program.number(&["frames", "dropped"]);
    let answer = ipv4(6, VIPS[0], CLIENT, &[0, 80, 0, 1, 0, 0, 0, 1]);
    client.send(VIPS[0], &icmp_error(3, 4, 1400, &answer));
    eventually("it is dropped", || (program.number(&["frames", "dropped"]) > before).then_some(()));
}

#[test]
fn one_client_has_one_server_over_every_port_and_protocol() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80, 443, 8080]);
    let [_, full, bare] = VIPS;
    for (index, node) in farm.servers.iter().enumerate() {
        for vip in [full, bare] {
            server::udp(node, &format!("{vip}:53"), &farm::name(index));
        }
    }
    let (persistent, reals) = ("    persistence: true\n", farm::reals(2));
    let untracked = format!("{persistent}    tracking: client\n");
    let body = format!(
        "{}services:\n{}{}",
        farm::one_port(),
        service("connections", full, "any", 0, persistent, &reals),
        service("clients", bare, "any", 0, &untracked, &reals)
    );
    let program = Program::start(&farm.director, &body);
    for vip in [full, bare] {
        let mut used = std::collections::HashSet::new();
        for client in 1..=8 {
            let from = format!("198.18.64.{client}");
            let server = ask(&farm.client, &from, &format!("{vip}:80"));
            for port in [443, 8080, 80] {
                assert_eq!(ask(&farm.client, &from, &format!("{vip}:{port}")), server, "{from}");
            }
            let to = format!("{vip}:53");
            let over_udp = ask_udp(&farm.client, &format!("{from}:{}", 5300 + client), &to);
            assert_eq!(over_udp, server, "{from} over UDP");
            used.insert(server);
        }
        assert_eq!(used.len(), 2, "both servers have clients of {vip}");
    }
    let status = program.status();
    let tables = status["tables"].as_array().unwrap();
    for (name, entries) in [("templates", 8), ("clients", 8)] {
        let table = tables.iter().find(|table| table["name"] == name).unwrap();
        assert_eq!(table["entries"], entries, "{status}");
    }
    program.stop();
}
