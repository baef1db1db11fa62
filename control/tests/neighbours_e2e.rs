//! The director among its neighbours: it answers for its addresses, finds the real servers
//! and says when somebody else claims what is its own.

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
use support::farm::{self, CLIENT, CLIENT6, DIRECTOR, DIRECTOR6, Farm, VIP6, VIPS};
use support::frame::{Arp, BROADCAST, ethernet, solicitation, udp};
use support::node::{Node, mac_text};
use support::program::Program;
use support::server::Talk;
use support::socket::Wire;

const CLIENT_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xC1];
const SERVER_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x11];
const PINNED_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0x12];

/// A director and the other end of its wire, where nobody is but the test.
struct Alone {
    director: Node,
    _peer: Node,
    wire: Wire,
}

impl Alone {
    fn new() -> Self {
        let (director, peer) = (Node::new(), Node::new());
        director.wire("eth0", &peer, "peer0");
        director.mute("eth0");
        peer.mute("peer0");
        let wire = Wire::on(&peer, "peer0");
        Self { director, _peer: peer, wire }
    }

    fn datagram(&self, port: u16, to: &str, text: &[u8]) {
        let header = ethernet(self.director.mac("eth0"), CLIENT_MAC, 0x0800);
        self.wire.send(&[header, udp((CLIENT, port), (to, 53), text)].concat());
    }

    /// The next question for this address.
    fn question(&self, target: &str) -> Arp {
        self.wire.expect(&format!("an ARP question for {target}"), |frame| {
            Arp::read(frame).filter(|arp| arp.operation == 1 && arp.target.to_string() == target)
        })
    }

    /// The next datagram that the director sends on: its MAC addresses and its text.
    fn forwarded(&self) -> ([u8; 6], [u8; 6], Vec<u8>) {
        self.wire.expect("a datagram", |frame| {
            let ipv4_udp = frame.get(12..14)? == [8, 0] && *frame.get(23)? == 17;
            let length = usize::from(u16::from_be_bytes(frame.get(38..40)?.try_into().ok()?));
            let text = frame.get(42..34 + length)?.to_vec();
            ipv4_udp
                .then(|| (frame[..6].try_into().unwrap(), frame[6..12].try_into().unwrap(), text))
        })
    }
}

fn dns(vip: &str, reals: &str) -> String {
    format!(
        "  - {{ vip: {vip}, protocol: udp, vip_port: 53, scheduler: rr, real_servers: [{reals}] }}\n"
    )
}

#[test]
fn the_director_answers_for_its_own_addresses_and_vips_as_a_host_does() {
    let farm = Farm::new(1);
    let body = format!(
        "{}services:\n  - name: web\n    vip: {}\n    protocol: tcp\n    vip_port: 80\n    \
         real_servers:\n{}  - name: web6\n    vip: \"{VIP6}\"\n    protocol: tcp\n    \
         vip_port: 80\n    real_servers:\n{}",
        farm::one_port(),
        VIPS[0],
        farm::reals(1),
        farm::reals6(1)
    );
    let program = Program::start(&farm.director, &body);
    let own = mac_text(farm.director.mac("eth0"));
    for address in [DIRECTOR, VIPS[0], DIRECTOR6, VIP6] {
        farm.client.shell(&format!("ping -c 3 -i 0.1 -W 30 {address}"));
        let neighbour = farm.client.shell(&format!("ip neigh show {address}"));
        assert!(neighbour.contains(&own), "{address}: {neighbour}");
    }
    // Pings of any size, and none for an address that is nobody's.
    farm.client.shell(&format!("ping -c 1 -s 1400 -W 30 {}", VIPS[0]));
    farm.client.shell(&format!("! ping -c 1 -W 1 {} >/dev/null", VIPS[1]));

    // No service and no kernel-facing port: a reset, and an unreachable port.
    let refused = |from: &str, to: String| {
        let error = Talk::try_open(&farm.client, from, &to, Duration::from_secs(30)).err();
        assert_eq!(error.unwrap().kind(), std::io::ErrorKind::ConnectionRefused, "{to}");
    };
    refused(CLIENT, format!("{}:81", VIPS[0]));
    refused(CLIENT, format!("{DIRECTOR}:22"));
    refused(CLIENT6, format!("[{VIP6}]:81"));
    for to in [format!("{}:53", VIPS[0]), format!("[{VIP6}]:53")] {
        let any = if to.starts_with('[') { "[::]:0" } else { "0.0.0.0:0" };
        let socket = farm.client.inside(|| UdpSocket::bind(any).unwrap());
        socket.connect(&to).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        socket.send(b"anybody?").unwrap();
        let error = socket.recv(&mut [0; 64]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{to}");
    }
    assert!(program.number(&["frames", "answered"]) >= 15);
    program.stop();
}

#[test]
fn a_solicitation_is_answered_with_the_port_s_mac() {
    let alone = Alone::new();
    let body = format!(
        "{}services:\n  - {{ vip: \"{VIP6}\", protocol: tcp, vip_port: 80 }}\n",
        farm::one_port()
    );
    let program = Program::start(&alone.director, &body);
    let own = alone.director.mac("eth0");
    for target in [VIP6, DIRECTOR6] {
        alone.wire.send(&solicitation(CLIENT_MAC, CLIENT6, target));
        let address: std::net::Ipv6Addr = target.parse().unwrap();
        alone.wire.expect("an advertisement", |frame| {
            // Not one of those that it sends to all nodes when it starts.
            let to_us = frame.get(..6)? == CLIENT_MAC;
            let advertisement = frame.get(12..14)? == [0x86, 0xDD] && *frame.get(54)? == 136;
            (to_us && advertisement && frame.get(62..78)? == address.octets()).then(|| {
                assert_eq!(frame[6..12], own);
                assert_eq!(frame[58] & 0x40, 0x40, "solicited");
                assert_eq!(frame[78..86], [&[2, 1], &own[..]].concat(), "its link-layer address");
            })
        });
    }
    for target in [VIPS[0], DIRECTOR] {
        let question = Arp::question(CLIENT_MAC, CLIENT, target);
        alone.wire.send(&question.frame());
        if target == DIRECTOR {
            let answer = alone
                .wire
                .expect("an ARP answer", |frame| Arp::read(frame).filter(|arp| arp.operation == 2));
            assert_eq!(answer, question.answer(own));
        }
    }
    program.stop();
}

#[test]
fn packets_wait_for_a_real_server_and_it_is_asked_again_by_unicast() {
    let alone = Alone::new();
    let pinned = format!("{{ address: 198.18.10.12, mac: \"{}\" }}", mac_text(PINNED_MAC));
    let ports = farm::one_port();
    let body = format!(
        "{ports}    gateway: 198.18.10.254\nneighbours: {{ reachable: 1s, retransmit: 100ms }}\n\
         services:\n{}{}{}",
        dns(VIPS[0], "{ address: 198.18.10.11 }"),
        dns(VIPS[1], &pinned),
        dns(VIPS[2], "{ address: 198.18.10.13 }")
    );
    let program = Program::start(&alone.director, &body);
    let own = alone.director.mac("eth0");

    // The gateway is looked for although nobody has needed it yet.
    alone.question("198.18.10.254");

    // Three wait, in their order, and each leaves once.
    for n in 0..3 {
        alone.datagram(4000, VIPS[0], &[b'a' + n]);
    }
    eventually("three frames are held", || {
        (program.number(&["frames", "held"]) == 3).then_some(())
    });
    let question = alone.question("198.18.10.11");
    assert_eq!((question.to, question.from, question.sender_mac), (BROADCAST, own, own));
    assert_eq!(question.sender.to_string(), DIRECTOR, "never the VIP (arp_announce)");
    alone.wire.send(&question.answer(SERVER_MAC).frame());
    for n in 0..3 {
        assert_eq!(alone.forwarded(), (SERVER_MAC, own, vec![b'a' + n]));
    }
    program.resolves("198.18.10.11");
    program.logs("198.18.10.11");

    // One whose MAC address is pinned is not asked for.
    alone.datagram(4000, VIPS[1], b"pinned");
    assert_eq!(alone.forwarded(), (PINNED_MAC, own, b"pinned".to_vec()));

    // Before the answer is too old it is asked for again, from the server alone.
    let again = alone.wire.expect("a question by unicast", |frame| {
        Arp::read(frame).filter(|arp| arp.operation == 1 && arp.to == SERVER_MAC)
    });
    assert_eq!(again.target.to_string(), "198.18.10.11");
    alone.wire.send(&again.answer(SERVER_MAC).frame());
    alone.datagram(4001, VIPS[0], b"on");
    assert_eq!(alone.forwarded(), (SERVER_MAC, own, b"on".to_vec()));

    // One that never answers: what waited for it is dropped, and counted.
    alone.datagram(4000, VIPS[2], b"lost");
    eventually("the frame is given up", || (program.dropped("no_neighbour") == 1).then_some(()));
    for frame in alone.wire.drain() {
        let asked = Arp::read(&frame).map(|arp| arp.target.to_string());
        assert_ne!(asked.as_deref(), Some("198.18.10.12"), "the pinned one was asked for");
    }
    program.stop();
}

#[test]
fn frames_leave_in_the_order_in_which_they_came_however_late_the_answer() {
    let alone = Alone::new();
    let place = |n: u64| (format!("198.18.254.{n}"), format!("198.18.20.{n}"));
    let body = |n: u64| {
        let (vip, rip) = place(n);
        format!(
            "{}neighbours: {{ retransmit: 100ms, retries: 20 }}\nservices:\n{}",
            farm::one_port(),
            dns(&vip, &format!("{{ address: {rip} }}"))
        )
    };
    let program = Program::start(&alone.director, &body(0));
    // When the answer comes is chance; a round for each real server makes many chances.
    for n in 1..=20u64 {
        let (vip, rip) = place(n);
        let ended = program.ask_with_input(&["apply", "-"], &program.yaml(&body(n)));
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        let question = alone.question(&rip);
        let before = program.number(&["frames", "received"]);
        for text in b'a'..=b'p' {
            alone.datagram(4000, &vip, &[text]);
        }
        eventually("the frames are held", || {
            (program.number(&["frames", "received"]) >= before + 16).then_some(())
        });
        alone.wire.send(&question.answer(SERVER_MAC).frame());
        let came: Vec<u8> = (b'a'..=b'p').flat_map(|_| alone.forwarded().2).collect();
        assert_eq!(came, (b'a'..=b'p').collect::<Vec<u8>>(), "to {rip}");
    }
    program.stop();
}

#[test]
fn a_real_server_that_claims_the_vip_is_logged_and_counted() {
    let alone = Alone::new();
    let body =
        format!("{}services:\n{}", farm::one_port(), dns(VIPS[0], "{ address: 198.18.10.11 }"));
    let program = Program::start(&alone.director, &body);
    let question = alone.question("198.18.10.11");
    alone.wire.send(&question.answer(SERVER_MAC).frame());
    program.resolves("198.18.10.11");

    let claim = Arp {
        sender: VIPS[0].parse().unwrap(),
        target: VIPS[0].parse().unwrap(),
        ..Arp::question(SERVER_MAC, VIPS[0], VIPS[0])
    };
    alone.wire.send(&claim.frame());
    alone.wire.send(&Arp { operation: 2, ..claim }.frame());
    eventually("the claims are counted", || {
        (program.number(&["frames", "vip_claims"]) >= 2).then_some(())
    });
    eventually("the claim is logged", || {
        let log = program.log();
        log.lines()
            .any(|line| {
                line.contains("WARN") && line.contains(VIPS[0]) && line.contains("198.18.10.11")
            })
            .then_some(())
    });
    let status = program.told(&["status"]);
    assert!(status.contains("WARNING: ") && status.contains("arp_ignore"), "{status}");

    // The director is not led astray: the VIP is answered for, the server has its packets.
    alone.datagram(4000, VIPS[0], b"still");
    assert_eq!(alone.forwarded().0, SERVER_MAC);
    program.stop();
}
