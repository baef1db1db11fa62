//! One director on each kind of port: the same conversation everywhere.

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
use support::farm;
use support::frame::{Arp, ethernet, udp};
use support::node::Node;
use support::program::Program;
use support::socket::Wire;

const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xC1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const VIP: &str = "198.18.255.1";
const RIP: &str = "198.18.10.11";
const TEXT: &[u8] = b"a question of more than eighteen bytes";

fn services() -> String {
    format!(
        "services:\n  - {{ vip: {VIP}, protocol: udp, vip_port: 53, scheduler: rr, \
         real_servers: [{{ address: {RIP} }}] }}\n"
    )
}

/// A node for a director, with an interface, and the other end of its wire.
fn wired(interface: &str) -> (Node, Node) {
    let (director, peer) = (Node::new(), Node::new());
    director.wire(interface, &peer, "peer0");
    director.mute(interface);
    peer.mute("peer0");
    (director, peer)
}

/// Asks who has the VIP: the director's MAC address on this wire.
fn who_has_the_vip(wire: &Wire) -> [u8; 6] {
    let question = Arp::question(CLIENT_MAC, "198.18.0.1", VIP);
    let answer = eventually("an ARP answer for the VIP", || {
        wire.send(&question.frame());
        wire.drain()
            .iter()
            .filter_map(|frame| Arp::read(frame))
            .find(|arp| arp.operation == 2 && arp.to == CLIENT_MAC)
    });
    assert_eq!(answer, question.answer(answer.sender_mac));
    answer.sender_mac
}

/// A datagram to the VIP on one wire comes out to the real server on another (or the same).
fn balances(clients: &Wire, servers: &Wire) {
    let director = who_has_the_vip(clients);
    let packet = udp(("198.18.0.1", 4000), (VIP, 53), TEXT);
    clients.send(&[ethernet(director, CLIENT_MAC, 0x0800), packet.clone()].concat());
    let question = servers.expect("a question for the real server", |frame| {
        Arp::read(frame).filter(|arp| arp.operation == 1 && arp.target.to_string() == RIP)
    });
    servers.send(&question.answer(SERVER_MAC).frame());
    let (to, from, mut sent) = servers.expect("the datagram", |frame| {
        let (to, from) = (frame.get(..6)?.try_into().ok()?, frame.get(6..12)?.try_into().ok()?);
        frame.ends_with(TEXT).then(|| (to, from, frame[14..].to_vec()))
    });
    let addresses: ([u8; 6], [u8; 6]) = (to, from);
    assert_eq!(addresses, (SERVER_MAC, question.from), "to the server, from the port");
    // Direct routing: a hop less, and nothing else is another.
    assert_eq!(sent[8], 63, "TTL");
    sent[8] = 64;
    sent[10..12].copy_from_slice(&packet[10..12]);
    assert_eq!(sent, packet);
}

#[test]
fn net_tap_is_a_port_as_well() {
    let node = Node::new();
    let body = format!("{}{}", farm::port_on("net_tap0,iface=dtap0", "[1]"), services());
    let program = Program::start(&node, &body);
    node.mute("dtap0");
    node.ip("link set dtap0 up");
    let wire = Wire::on(&node, "dtap0");
    balances(&wire, &wire);
    assert_eq!(program.status()["ports"][0]["driver"], "net_tap");
    program.stop();
}

#[test]
fn net_af_xdp_is_a_port_as_well() {
    let (node, peer) = wired("eth0");
    let device = "net_af_xdp0,iface=eth0,force_copy=1";
    let program = Program::start(&node, &format!("{}{}", farm::port_on(device, "[1]"), services()));
    let wire = Wire::on(&peer, "peer0");
    balances(&wire, &wire);
    assert_eq!(program.status()["ports"][0]["driver"], "net_af_xdp");
    program.stop();
}

#[test]
fn two_arms_join_two_networks() {
    let (node, outside) = wired("eth0");
    let inside = Node::new();
    node.wire("eth1", &inside, "peer1");
    node.mute("eth1");
    inside.mute("peer1");
    let body = format!(
        "ports:
  - {{ name: wan0, device: \"net_af_packet0,iface=eth0\", cores: [1], addresses: [198.18.0.2/24] }}
  - {{ name: lan0, device: \"net_af_packet1,iface=eth1\", cores: [1], addresses: [198.18.10.1/24] }}
{}",
        services()
    );
    let program = Program::start(&node, &body);
    let (wan, lan) = (Wire::on(&outside, "peer0"), Wire::on(&inside, "peer1"));
    balances(&wan, &lan);
    assert_eq!(who_has_the_vip(&wan), node.mac("eth0"), "each arm answers with its own MAC");
    let sent: Vec<u64> = program.status()["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| port["sent"].as_u64().unwrap())
        .collect();
    assert!(sent[0] > 0 && sent[1] > 0, "{sent:?}");
    program.stop();
}

#[test]
fn a_port_in_a_vlan_speaks_with_its_tag_and_hears_no_other() {
    let (node, peer) = wired("eth0");
    let ports = farm::one_port() + "    vlan: 7\n";
    let program = Program::start(&node, &format!("{ports}{}", services()));
    let inside = Wire::on(&peer, "peer0").in_vlan(7);
    balances(&inside, &inside);

    let other = Wire::on(&peer, "peer0").in_vlan(8);
    let bare = Wire::on(&peer, "peer0");
    let question = Arp::question(CLIENT_MAC, "198.18.0.1", VIP);
    let header = ethernet(node.mac("eth0"), CLIENT_MAC, 0x0800);
    other.send(&question.frame());
    bare.send(&question.frame());
    other.send(&[header, udp(("198.18.0.1", 1), (VIP, 53), TEXT)].concat());
    eventually("frames outside the VLAN are dropped", || {
        (program.dropped("other_vlan") == 3).then_some(())
    });
    for wire in [other, bare] {
        let heard = wire.drain();
        assert!(heard.is_empty(), "the port spoke outside its VLAN: {heard:?}");
    }
    program.stop();
}
