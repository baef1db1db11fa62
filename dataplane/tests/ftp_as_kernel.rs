//! FTP under masquerading where all is as in the kernel: third hosts, lines of other lengths, and
//! control connections that outlive their time. The recordings `ftp-*` watch the single steps;
//! here the packets of one control connection arrive on whatever core they like.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::catalog::spec::RealSpec;
use dataplane::conn::table::Flow;
use dataplane::conn::{Conn, State};
use dataplane::forward::Forwarding;
use dataplane::ids::{PortIndex, RealId};
use dataplane::shared::TableSizes;
use dataplane::verdict::Verdict;
use dataplane::wire::Protocol;
use support::packet::{self, Builder, assert_checksums, transport_of};
use support::scene::{
    GATEWAY_MAC, INSIDE, INSIDE_MAC, OUTSIDE, OUTSIDE_MAC, Scene, Sent, addr, ip, real, real_mac,
    rip, service, site,
};

const VIP: &str = "192.0.2.10:21";
const CLIENT: &str = "10.1.0.1:1000";
const SERVER: &str = "172.16.0.11:21";
const LINE: &str = "227 Entering Passive Mode (172,16,0,13,156,64).\r\n";
const WRITTEN: &str = "227 Entering Passive Mode (192,0,2,10,156,64).\r\n";
const DATA: &str = "10.1.0.1:1777";
const DATA_VIP: &str = "192.0.2.10:40000";
const THIRD: &str = "172.16.0.13:40000";

/// One masqueraded FTP server, and some cores.
fn scene(cores: usize) -> Scene {
    let mut scene = Scene::with(cores, site(1500), TableSizes::default());
    let mut spec = service(Protocol::Tcp, "192.0.2.10", 21, "rr");
    spec.compat.as_kernel = true;
    scene.add(&spec, &[RealSpec { forwarding: Forwarding::Masq, ..real(1, 21) }]);
    let id = scene.shared.neighbours.intern(PortIndex(INSIDE), addr(&rip(3))).unwrap();
    scene.shared.neighbours.set(id, Some(dataplane::wire::ethernet::Mac(real_mac(3))));
    scene
}

fn turn(scene: &mut Scene) {
    (0..scene.workers.len()).for_each(|core| drop(scene.turn(core)));
}

fn wait(scene: &mut Scene, seconds: u32) {
    for _ in 0..seconds {
        scene.now = scene.now.plus_secs(1);
        turn(scene);
    }
}

fn one(sent: Vec<Sent>) -> (u8, Vec<u8>) {
    let [sent] = &sent[..] else { panic!("{sent:?}") };
    assert_checksums(&sent.bytes);
    (sent.port, sent.bytes.clone())
}

/// What a client's packet becomes that arrives on this core; 0 for the client itself, else the
/// real server's number.
fn from_client(scene: &mut Scene, core: usize, packet: Builder) -> (u8, Vec<u8>) {
    let core = core % scene.workers.len();
    let frame = packet.src_mac(GATEWAY_MAC).dst_mac(OUTSIDE_MAC).build();
    let (port, bytes) = one(scene.feed(core, OUTSIDE, &frame));
    turn(scene);
    (if port == INSIDE { bytes[5] - 0x10 } else { 0 }, bytes)
}

fn from_server(scene: &mut Scene, core: usize, number: u8, packet: Builder) -> Vec<u8> {
    let core = core % scene.workers.len();
    let frame = packet.src_mac(real_mac(number)).dst_mac(INSIDE_MAC).build();
    let (port, bytes) = one(scene.feed(core, INSIDE, &frame));
    turn(scene);
    assert_eq!(port, OUTSIDE);
    bytes
}

/// Opens the control connection; the client has said 1001, the server 5001 as its next number.
fn control(scene: &mut Scene) {
    from_client(scene, 0, packet::tcp(CLIENT, VIP).flags("S").numbers(1000, 0));
    from_server(scene, 1, 1, packet::tcp(SERVER, CLIENT).flags("SA").numbers(5000, 1001));
    from_client(scene, 0, packet::tcp(CLIENT, VIP).flags("A").numbers(1001, 5001));
}

fn asks(scene: &mut Scene, words: &str, numbers: (u32, u32)) -> Vec<u8> {
    let packet = packet::tcp(CLIENT, VIP).flags("PA").numbers(numbers.0, numbers.1);
    let (number, bytes) = from_client(scene, 0, packet.payload(words.as_bytes()));
    assert_eq!(number, 1);
    bytes
}

fn answers(scene: &mut Scene, core: usize, words: &str, numbers: (u32, u32)) -> Vec<u8> {
    let packet = packet::tcp(SERVER, CLIENT).flags("PA").numbers(numbers.0, numbers.1);
    from_server(scene, core, 1, packet.payload(words.as_bytes()))
}

fn numbers(frame: &[u8]) -> (u32, u32) {
    let segment = transport_of(frame).3;
    let number = |at: usize| u32::from_be_bytes(segment[at..at + 4].try_into().unwrap());
    (number(4), number(8))
}

fn payload(frame: &[u8]) -> String {
    String::from_utf8(transport_of(frame).3[20..].to_vec()).unwrap()
}

fn connections(scene: &Scene) -> Vec<(Flow, Conn)> {
    scene.workers.iter().flat_map(|worker| worker.director().bindings().iter()).collect()
}

fn counted(scene: &Scene) -> (i64, i64) {
    let load = scene.shared.loads.sum(RealId(1));
    (load.active as i64, load.inactive as i64)
}

/// Asks for a port of the third host and gets it.
fn agree(scene: &mut Scene) {
    control(scene);
    asks(scene, "PASV\r\n", (1001, 5001));
    assert_eq!(payload(&answers(scene, 2, LINE, (5001, 1007))), WRITTEN);
}

#[test]
fn a_client_is_sent_to_the_host_that_its_server_names_and_its_answers_come_from_the_vip() {
    for cores in [1, 4] {
        let mut scene = scene(cores);
        agree(&mut scene);
        let listed = connections(&scene);
        assert_eq!(listed.len(), 2);
        assert!(listed.iter().any(|(flow, _)| (flow.client_port, flow.vip_port) == (0, 40_000)));
        assert_eq!(counted(&scene), (1, 1));
        // Nobody else is meant.
        let other = packet::tcp("10.1.0.2:1777", DATA_VIP).flags("S");
        assert_eq!(from_client(&mut scene, 3, other).0, 0);
        for flags in ["S", "A"] {
            let (number, sent) =
                from_client(&mut scene, 3, packet::tcp(DATA, DATA_VIP).flags(flags));
            assert_eq!((number, &ip(&sent)[16..20]), (3, &[172, 16, 0, 13][..]), "{cores} {flags}");
            let back = packet::tcp(THIRD, DATA).flags("SA");
            let back = from_server(&mut scene, 1, 3, back);
            assert_eq!(ip(&back)[12..16], [192, 0, 2, 10]);
        }
        assert_eq!(counted(&scene), (2, 0));
        // What the real server itself sends from that port is its own.
        let own = packet::tcp("172.16.0.11:40000", DATA).flags("A");
        assert_eq!(ip(&from_server(&mut scene, 1, 1, own))[12..16], [172, 16, 0, 11]);
        // An error about it follows it.
        let error = packet::icmp_error(
            "10.1.0.1",
            "192.0.2.10",
            3,
            3,
            &packet::tcp(DATA_VIP, DATA).flags("A").build(),
            28,
        );
        let (number, sent) = from_client(&mut scene, 3, error);
        assert_eq!((number, &ip(&sent)[16..20]), (3, &[172, 16, 0, 13][..]));
        // It ends as others do, and nothing is left.
        from_client(&mut scene, 3, packet::tcp(DATA, DATA_VIP).flags("R"));
        from_client(&mut scene, 0, packet::tcp(CLIENT, VIP).flags("R").numbers(1007, 0));
        wait(&mut scene, 200);
        assert_eq!((connections(&scene).len(), counted(&scene)), (0, (0, 0)));
        assert!(scene.shared.agreements.is_empty() && scene.shared.replies.entries() == 0);
    }
}

#[test]
fn a_host_that_was_never_heard_of_is_looked_for_on_the_real_servers_network() {
    let mut scene = scene(1);
    control(&mut scene);
    asks(&mut scene, "EPSV\r\n", (1001, 5001));
    let sent = answers(&mut scene, 0, "229 x (|1|172.16.0.99|40000|)\r\n", (5001, 1007));
    assert_eq!(payload(&sent), "229 x (|||40000|)\r\n");
    let syn = packet::tcp(DATA, DATA_VIP).flags("S").src_mac(GATEWAY_MAC).dst_mac(OUTSIDE_MAC);
    let mut frame = dataplane::port::memory::MemoryFrame::new(&syn.build());
    let now = scene.now;
    let director = scene.workers[0].director_mut();
    let verdict = director.handle(&mut frame, PortIndex(OUTSIDE), now);
    assert_eq!(verdict, Verdict::Seek(addr("172.16.0.99"), PortIndex(INSIDE)));
}

#[test]
fn a_line_that_gets_longer_or_shorter_shifts_all_numbers_after_it_in_both_directions() {
    for cores in [1, 4] {
        let mut scene = scene(cores);
        control(&mut scene);
        asks(&mut scene, "PASV\r\n", (1001, 5001));
        let sent = answers(&mut scene, 2, LINE, (5001, 1007));
        assert_eq!((numbers(&sent), payload(&sent).len()), ((5001, 1007), LINE.len() - 1));
        let (server, client) = (5001 + LINE.len() as u32, 5000 + LINE.len() as u32);
        // The client acknowledges what it has got, selectively too.
        let sack = [[1, 1, 5, 10].to_vec(), client.to_be_bytes().to_vec()].concat();
        let sack = [sack, (client + 7).to_be_bytes().to_vec()].concat();
        let ack = packet::tcp(CLIENT, VIP).flags("A").numbers(1007, client).tcp_options(&sack);
        let (_, sent) = from_client(&mut scene, 0, ack);
        assert_eq!(numbers(&sent), (1007, server));
        let edges = &transport_of(&sent).3[24..32];
        assert_eq!(edges, [server.to_be_bytes(), (server + 7).to_be_bytes()].concat());
        // What the server says next begins where the client's numbers end.
        let sent = answers(&mut scene, 3, "150 ok\r\n", (server, 1007));
        assert_eq!((numbers(&sent), payload(&sent).as_str()), ((client, 1007), "150 ok\r\n"));
        // The same line once more says what it said, as nobody has asked again.
        let sent = answers(&mut scene, 1, LINE, (5001, 1007));
        assert_eq!((numbers(&sent), payload(&sent).as_str()), ((5001, 1007), LINE));
        // Another one gets longer by three.
        asks(&mut scene, "PASV\r\n", (1007, client + 8));
        let sent = answers(&mut scene, 2, "227 (9,9,9,9,1,2)\r\n", (server + 8, 1013));
        assert_eq!(numbers(&sent), (client + 8, 1013));
        assert_eq!(payload(&sent), "227 (192,0,2,10,1,2)\r\n");
        let sent = asks(&mut scene, "NOOP\r\n", (1013, client + 8 + 22));
        assert_eq!(numbers(&sent), (1013, server + 8 + 19));
        let sent = answers(&mut scene, 0, "200\r\n", (server + 8 + 19, 1019));
        assert_eq!(numbers(&sent), (client + 8 + 22, 1019));
    }
}

#[test]
fn a_server_is_believed_only_where_its_client_has_asked() {
    let mut scene = scene(1);
    control(&mut scene);
    for (asked, line) in [
        ("NOOP\r\n", LINE),
        ("EPSV\r\n", LINE),
        ("PASV\r\n", "229 Mode (|||40000|)\r\n"),
        ("PASV\r\n", "200 ok\r\n227 (172,16,0,11,156,64)\r\n"),
        ("PASV\r\n", "227 (172,16,0,11,256,64)\r\n"),
    ] {
        asks(&mut scene, asked, (1001, 5001));
        assert_eq!(payload(&answers(&mut scene, 0, line, (5001, 1007))), line);
        assert_eq!(from_client(&mut scene, 0, packet::tcp(DATA, DATA_VIP).flags("S")).0, 0);
    }
    // What it has answered is answered.
    asks(&mut scene, "PASV\r\n", (1001, 5001));
    assert_eq!(payload(&answers(&mut scene, 0, LINE, (5001, 1007))), WRITTEN);
    assert_eq!(payload(&answers(&mut scene, 0, LINE, (5001, 1007))), LINE);
}

#[test]
fn a_data_connection_that_nobody_opens_is_forgotten() {
    let mut scene = scene(2);
    agree(&mut scene);
    wait(&mut scene, 119);
    assert_eq!(counted(&scene), (1, 1));
    wait(&mut scene, 3);
    assert_eq!((counted(&scene), connections(&scene).len()), ((1, 0), 1));
    assert_eq!(from_client(&mut scene, 1, packet::tcp(DATA, DATA_VIP).flags("S")).0, 0);
}

#[test]
fn a_control_connection_lives_as_long_as_what_it_controls() {
    let mut scene = scene(2);
    agree(&mut scene);
    from_client(&mut scene, 1, packet::tcp(DATA, DATA_VIP).flags("S"));
    from_client(&mut scene, 1, packet::tcp(DATA, DATA_VIP).flags("A"));
    from_client(&mut scene, 0, packet::tcp(CLIENT, VIP).flags("R").numbers(1007, 0));
    // Ten seconds of CLOSE, and sixty again and again.
    for _ in 0..10 {
        wait(&mut scene, 31);
        let control = |(flow, _): &(Flow, Conn)| flow.vip_port == 21;
        assert!(connections(&scene).iter().any(control));
    }
    from_client(&mut scene, 1, packet::tcp(DATA, DATA_VIP).flags("R"));
    wait(&mut scene, 200);
    assert_eq!((connections(&scene).len(), counted(&scene)), (0, (0, 0)));
    assert!(scene.shared.agreements.is_empty());
}

#[test]
fn a_client_may_name_a_third_host() {
    let mut scene = scene(1);
    control(&mut scene);
    asks(&mut scene, "PORT 10,1,0,9,195,80\r\n", (1001, 5001));
    let active = packet::tcp("172.16.0.11:20", "10.1.0.9:50000").flags("S");
    assert_eq!(ip(&from_server(&mut scene, 0, 1, active))[12..16], [192, 0, 2, 10]);
    let back = packet::tcp("10.1.0.9:50000", "192.0.2.10:20").flags("SA");
    assert_eq!(from_client(&mut scene, 0, back).0, 1);
}

#[test]
fn a_client_that_names_the_vip_leads_its_server_to_the_host_which_resets_it() {
    let mut scene = scene(2);
    control(&mut scene);
    asks(&mut scene, "PORT 192,0,2,10,195,80\r\n", (1001, 5001));
    let syn = packet::tcp("172.16.0.11:20", "192.0.2.10:50000").flags("S");
    let frame = syn.src_mac(real_mac(1)).dst_mac(INSIDE_MAC).build();
    let (port, reset) = one(scene.feed(0, INSIDE, &frame));
    assert_eq!((port, reset[5] - 0x10), (INSIDE, 1), "back to the server, not out to the gateway");
    assert_eq!(ip(&reset)[12..20], [192, 0, 2, 10, 172, 16, 0, 11]);
    let segment = transport_of(&reset).3;
    assert_eq!((&segment[..4], segment[13] & 4), (&[0xC3, 0x50, 0, 20][..], 4));
    // It has come by way of the connection, which it closes, on whatever core that is.
    for core in [0, 1] {
        let (_, reset) = one(scene.feed(core, INSIDE, &frame));
        assert_eq!(ip(&reset)[8], 63);
        turn(&mut scene);
        let states =
            connections(&scene).into_iter().map(|(flow, conn)| (flow.vip_port, conn.state));
        assert!(states.clone().any(|data| data == (20, State::TcpClose)), "{core}");
    }
}

#[test]
fn a_client_that_names_everybody_leads_its_server_to_nobody() {
    for everybody in ["255,255,255,255", "224,0,0,1"] {
        let mut scene = scene(1);
        control(&mut scene);
        asks(&mut scene, &format!("PORT {everybody},195,80\r\n"), (1001, 5001));
        let to = format!("{}:50000", everybody.replace(',', "."));
        let syn = packet::tcp("172.16.0.11:20", &to).flags("S");
        let frame = syn.src_mac(real_mac(1)).dst_mac(INSIDE_MAC).build();
        assert!(scene.feed(0, INSIDE, &frame).is_empty(), "{to}");
    }
}

#[test]
fn a_client_that_names_port_0_again_has_another_connection_and_all_of_them_end() {
    let mut scene = scene(2);
    control(&mut scene);
    let mut said = 1001;
    for times in 1..=3 {
        let words = "PORT 10,1,0,1,0,0\r\n";
        asks(&mut scene, words, (said, 5001));
        said += words.len() as u32;
        assert_eq!(counted(&scene), (1, times));
    }
    from_client(&mut scene, 0, packet::tcp(CLIENT, VIP).flags("R").numbers(said, 0));
    // The control connection outlives them.
    wait(&mut scene, 119);
    assert_eq!(counted(&scene), (0, 4));
    wait(&mut scene, 80);
    assert_eq!((connections(&scene).len(), counted(&scene)), (0, (0, 0)));
    assert!(scene.shared.agreements.is_empty() && scene.shared.replies.entries() == 0);
}

#[test]
fn a_line_in_fragments_is_put_together_written_anew_and_cut_again() {
    let mut scene = scene(1);
    scene.catalog.fragments.whole = true;
    scene.publish();
    control(&mut scene);
    asks(&mut scene, "PASV\r\n", (1001, 5001));
    let line = LINE.replace("172,16,0,13", "172,16,0,101");
    let packet = packet::tcp(SERVER, CLIENT).flags("PA").numbers(5001, 1007);
    let packet = packet.payload(line.as_bytes()).src_mac(real_mac(1)).dst_mac(INSIDE_MAC);
    let sent: Vec<Sent> =
        packet.fragments(48).iter().flat_map(|frame| scene.feed(0, INSIDE, frame)).collect();
    let pieces: Vec<&[u8]> = sent.iter().map(|sent| &ip(&sent.bytes)[20..]).collect();
    assert_eq!(
        pieces.iter().map(|piece| piece.len()).collect::<Vec<_>>(),
        [48, 20 + WRITTEN.len() - 48]
    );
    let segment = pieces.concat();
    assert_eq!(String::from_utf8(segment[20..].to_vec()).unwrap(), WRITTEN);
    // What follows is shifted by as many bytes as the line has lost.
    let next = answers(&mut scene, 0, "150 Here it comes\r\n", (5001 + line.len() as u32, 1007));
    assert_eq!(numbers(&next), (5001 + WRITTEN.len() as u32, 1007));
}
