//! FTP: its rule for other ports, and data connections under masquerading.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::catalog::spec::RealSpec;
use dataplane::forward::Forwarding;
use dataplane::shared::TableSizes;
use dataplane::snapshot::Persistence;
use dataplane::wire::Protocol;
use support::lab::Lab;
use support::lab::Seen::{Real, Reset};
use support::packet::{self, Builder, assert_checksums, transport_of};
use support::scene::{INSIDE, OUTSIDE, Scene, ip, real, real6, rip, rip6, service, site};

const VIP: &str = "192.0.2.10:21";
const CLIENT: &str = "10.1.0.1:1000";

fn masq(real: RealSpec) -> RealSpec {
    RealSpec { forwarding: Forwarding::Masq, ..real }
}

/// A scene with a masqueraded FTP service of three servers.
fn scene(cores: usize, ports: [u16; 3]) -> Scene {
    let mut scene = Scene::with(cores, site(1500), TableSizes::default());
    let servers = [masq(real(1, ports[0])), masq(real(2, ports[1])), masq(real(3, ports[2]))];
    scene.add(&service(Protocol::Tcp, "192.0.2.10", 21, "rr"), &servers);
    scene
}

/// Opens a control connection; answers its real server.
fn control(scene: &mut Scene, client: &str) -> u8 {
    let number = scene.picks(&packet::tcp(client, VIP).flags("S"));
    assert_ne!(number, 0);
    assert_eq!(scene.picks(&packet::tcp(client, VIP).flags("A")), number);
    number
}

/// The one frame that leaves, with its port.
fn one(mut sent: Vec<support::scene::Sent>) -> (u8, Vec<u8>) {
    assert_eq!(sent.len(), 1, "{sent:?}");
    let sent = sent.remove(0);
    assert_checksums(&sent.bytes);
    (sent.port, sent.bytes)
}

fn says(from: &str, to: &str, line: &str) -> Builder {
    packet::tcp(from, to).flags("PA").payload(line.as_bytes())
}

fn payload(frame: &[u8]) -> String {
    String::from_utf8(transport_of(frame).3[20..].to_vec()).unwrap()
}

#[test]
fn a_passive_servers_port_leads_to_that_server_and_its_address_becomes_the_vip() {
    for number in 1..=3 {
        let mut scene = scene(1, [21, 21, 2121]);
        for client in 1..number {
            control(&mut scene, &format!("10.1.9.{client}:999"));
        }
        let server = control(&mut scene, CLIENT);
        let port = if server == 3 { 2121 } else { 21 };
        let (out, line) = one(scene.client(&says(CLIENT, VIP, "PASV\r\n")));
        assert_eq!((out, payload(&line).as_str()), (INSIDE, "PASV\r\n"));
        let own = rip(server).replace('.', ",");
        let answer = format!("227 Entering Passive Mode ({own},156,64).\r\n");
        let from = format!("{}:{port}", rip(server));
        let (out, line) = one(scene.server(server, &says(&from, CLIENT, &answer)));
        assert_eq!(out, OUTSIDE);
        assert_eq!(payload(&line), "227 Entering Passive Mode  (192,0,2,10,156,64).\r\n");
        // From any port, whatever server is next in turn.
        let data = "10.1.0.1:1777";
        let (out, syn) = one(scene.client(&packet::tcp(data, "192.0.2.10:40000").flags("S")));
        assert_eq!((out, syn[5] - 0x10), (INSIDE, server));
        assert_eq!(transport_of(&syn).3[2..4], 40_000_u16.to_be_bytes());
        let reply = packet::tcp(&format!("{}:40000", rip(server)), data).flags("SA");
        let (out, reply) = one(scene.server(server, &reply));
        assert_eq!((out, &ip(&reply)[12..16]), (OUTSIDE, &[192, 0, 2, 10][..]));
        assert_eq!(scene.picks(&packet::tcp(data, "192.0.2.10:40000").flags("A")), server);
        // Nobody else was meant, and once is once.
        for other in ["10.1.0.2:1777", "10.1.0.1:1778"] {
            let (out, answer) =
                one(scene.client(&packet::tcp(other, "192.0.2.10:40000").flags("S")));
            assert_eq!((out, ip(&answer)[33] & 4), (OUTSIDE, 4), "{other} is reset");
        }
    }
}

#[test]
fn an_active_server_connects_from_the_vip_to_what_its_client_has_named() {
    for lines in ["PORT 10,1,0,1,195,80\r\n", "EPRT |1|10.1.0.1|50000|\r\n"] {
        let mut scene = scene(1, [21, 21, 21]);
        let server = control(&mut scene, CLIENT);
        one(scene.client(&says(CLIENT, VIP, lines)));
        let (own, named) = (format!("{}:20", rip(server)), "10.1.0.1:50000");
        let (out, syn) = one(scene.server(server, &packet::tcp(&own, named).flags("S")));
        assert_eq!((out, &ip(&syn)[12..16]), (OUTSIDE, &[192, 0, 2, 10][..]), "{lines}");
        assert_eq!(transport_of(&syn).3[..2], 20_u16.to_be_bytes());
        for flags in ["SA", "A"] {
            let back = packet::tcp(named, "192.0.2.10:20").flags(flags);
            let (out, frame) = one(scene.client(&back));
            assert_eq!((out, frame[5] - 0x10), (INSIDE, server), "{lines}");
            assert_eq!(transport_of(&frame).3[2..4], 20_u16.to_be_bytes());
        }
        // Another client's port is nobody's to name.
        one(scene.client(&says(CLIENT, VIP, "PORT 10,1,0,77,195,80\r\n")));
        let other = packet::tcp(&own, "10.1.0.77:50000").flags("S");
        let (out, frame) = one(scene.server(server, &other));
        assert_eq!((out, &ip(&frame)[12..16]), (OUTSIDE, &ip(&other.build())[12..16]));
    }
}

#[test]
fn both_modes_work_over_ipv6_with_the_extended_commands() {
    let (vip, client) = ("2001:db8:c0de::10", "[2001:db8:1::1]:1000");
    let mut scene = Scene::new();
    let servers = [masq(real6(1, 21)), masq(real6(2, 21))];
    scene.add(&service(Protocol::Tcp, vip, 21, "rr"), &servers);
    let to = format!("[{vip}]:21");
    let server = scene.picks(&packet::tcp(client, &to).flags("S"));
    scene.picks(&packet::tcp(client, &to).flags("A"));
    let own = format!("[{}]:21", rip6(server));
    let line = "229 Entering Extended Passive Mode (|||40000|)\r\n";
    let (_, sent) = one(scene.server(server, &says(&own, client, line)));
    assert_eq!(payload(&sent), line);
    let data = packet::tcp("[2001:db8:1::1]:1777", &format!("[{vip}]:40000")).flags("S");
    assert_eq!(scene.picks(&data), server);
    one(scene.client(&says(client, &to, "EPRT |2|2001:db8:1::1|50000|\r\n")));
    let active = packet::tcp(&format!("[{}]:20", rip6(server)), "[2001:db8:1::1]:50000");
    let (out, _) = one(scene.server(server, &active.flags("S")));
    assert_eq!(out, OUTSIDE);
    let back = packet::tcp("[2001:db8:1::1]:50000", &format!("[{vip}]:20")).flags("SA");
    assert_eq!(scene.picks(&back), server);
}

#[test]
fn data_connections_find_their_server_on_whatever_core_they_arrive() {
    let mut scene = scene(4, [21, 21, 21]);
    let frame_of = |packet: Builder| {
        packet.src_mac(support::scene::GATEWAY_MAC).dst_mac(support::scene::OUTSIDE_MAC).build()
    };
    let server = control(&mut scene, CLIENT);
    let own = rip(server).replace('.', ",");
    let line = format!("227 Entering Passive Mode ({own},156,64).\r\n");
    let from = support::scene::real_mac(server);
    let reply = says(&format!("{}:21", rip(server)), CLIENT, &line);
    let reply = reply.src_mac(from).dst_mac(support::scene::INSIDE_MAC).build();
    let (_, sent) = one(scene.feed(3, INSIDE, &reply));
    assert!(payload(&sent).contains("192,0,2,10"), "{}", payload(&sent));
    let syn = packet::tcp("10.1.0.1:1777", "192.0.2.10:40000").flags("S");
    let (_, sent) = one(scene.feed(2, OUTSIDE, &frame_of(syn)));
    assert_eq!(sent[5] - 0x10, server);
    one(scene.client(&says(CLIENT, VIP, "PORT 10,1,0,1,195,80\r\n")));
    let syn = packet::tcp(&format!("{}:20", rip(server)), "10.1.0.1:50000").flags("S");
    let syn = syn.src_mac(from).dst_mac(support::scene::INSIDE_MAC).build();
    let (out, _) = one(scene.feed(1, INSIDE, &syn));
    assert_eq!(out, OUTSIDE);
    let back = packet::tcp("10.1.0.1:50000", "192.0.2.10:20").flags("SA");
    let (_, sent) = one(scene.feed(2, OUTSIDE, &frame_of(back)));
    assert_eq!((sent[5] - 0x10, &transport_of(&sent).3[2..4]), (server, &[0, 20][..]));
}

#[test]
fn nothing_is_expected_for_ever_or_from_a_server_that_is_gone_or_where_it_is_switched_off() {
    let agreed = |scene: &mut Scene| {
        let server = control(scene, CLIENT);
        let own = rip(server).replace('.', ",");
        let line = format!("227 Entering Passive Mode ({own},156,64).\r\n");
        scene.server(server, &says(&format!("{}:21", rip(server)), CLIENT, &line));
        server
    };
    let syn = packet::tcp("10.1.0.1:1777", "192.0.2.10:40000").flags("S");
    let mut late = scene(1, [21; 3]);
    agreed(&mut late);
    late.now = late.now.plus_secs(122);
    assert_eq!(late.picks(&syn), 0);
    let mut gone = scene(1, [21; 3]);
    let server = agreed(&mut gone);
    let identity = service(Protocol::Tcp, "192.0.2.10", 21, "rr").identity;
    gone.catalog.delete_real(&identity, real(server, 21).address, 21).unwrap();
    gone.publish();
    assert_eq!(gone.picks(&syn), 0);
    let mut off = Scene::new();
    let mut plain = service(Protocol::Tcp, "192.0.2.10", 21, "rr");
    plain.compat.ip_vs_ftp = false;
    off.add(&plain, &[masq(real(1, 21))]);
    agreed(&mut off);
    assert_eq!(off.picks(&syn), 0);
}

#[test]
fn a_persistent_service_takes_a_clients_data_connections_under_every_method() {
    for forwarding in [Forwarding::Route, Forwarding::Tunnel, Forwarding::Masq] {
        let mut scene = Scene::new();
        let persistence = Some(Persistence { timeout_s: 60, mask: u128::from(u32::MAX) });
        let mut spec = service(Protocol::Tcp, "192.0.2.10", 21, "rr");
        spec.persistence = persistence;
        let servers: Vec<RealSpec> =
            (1..=3).map(|number| RealSpec { forwarding, ..real(number, 21) }).collect();
        scene.add(&spec, &servers);
        for client in 1..=6 {
            let picks = |scene: &mut Scene, port: u16, flags: &str| {
                let from = format!("10.1.0.{client}:{}", 2000 + port % 7);
                let to = format!("192.0.2.10:{port}");
                scene.picks(&packet::tcp(&from, &to).flags(flags))
            };
            let server = picks(&mut scene, 21, "S");
            // Passive: any unprivileged port. Active: what the client answers to port 20.
            for (port, flags) in [(40_000, "S"), (1024, "S"), (20, "SA"), (65_535, "S")] {
                assert_eq!(picks(&mut scene, port, flags), server, "{forwarding:?}, {port}");
            }
            assert_eq!(picks(&mut scene, 1023, "S"), 0, "privileged ports are nobody's");
        }
    }
}

#[test]
fn without_persistence_the_other_ports_of_an_ftp_service_are_the_hosts() {
    let mut lab = Lab::new();
    lab.restore("-A -t V:21 -s rr\n-a -t V:21 -r R1");
    assert_eq!(lab.client(1).opens("V:21").got, Real(1));
    for port in [20, 1024, 20_000] {
        assert_eq!(lab.client(1).opens(&format!("V:{port}")).got, Reset);
    }
    assert_eq!(
        lab.client(1).port(20).opens("V:21").got,
        Reset,
        "from port 20 nothing is scheduled"
    );
}

#[test]
fn a_client_names_itself_alone() {
    let mut scene = scene(1, [21, 21, 21]);
    let server = control(&mut scene, CLIENT);
    one(scene.client(&says(CLIENT, VIP, "PORT 10,1,0,9,195,80\r\n")));
    let active = packet::tcp(&format!("{}:20", rip(server)), "10.1.0.9:50000").flags("S");
    let (_, sent) = one(scene.server(server, &active));
    assert_eq!(ip(&sent)[12..16], [172, 16, 0, 10 + server]);
    let back = packet::tcp("10.1.0.9:50000", "192.0.2.10:20").flags("SA");
    assert_eq!(scene.picks(&back), 0);
}
