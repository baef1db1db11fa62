//! Frames that wait for a next hop's MAC address, and what the cores tell control.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::catalog::spec::RealSpec;
use dataplane::ids::PortIndex;
use dataplane::mailbox::{Event, Outgoing};
use dataplane::verdict::DropReason;
use dataplane::wire::Addr;
use dataplane::wire::ethernet::Mac;
use support::lab::Seen::{Dropped, Held, Real, Unsent};
use support::lab::{Lab, Setup, identity, real_mac};
use support::packet::{self, CLIENT_MAC, DIRECTOR_MAC};

/// R1 known, R2 not; rr picks R2 first.
fn lab(held_limit: usize) -> Lab {
    let mut lab = Lab::with(Setup { held_limit, ..Setup::default() });
    lab.unknown.push(2);
    lab.restore(
        "-A -t V:80 -s rr
         -a -t V:80 -r R1
         -a -t V:80 -r R2",
    );
    lab
}

fn events(lab: &Lab) -> Vec<Event> {
    let mailbox = &lab.shared.mailboxes[0];
    std::iter::from_fn(|| mailbox.events.pop()).collect()
}

#[test]
fn frames_wait_and_leave_in_order_when_the_next_hop_is_known() {
    let mut lab = lab(8);
    let conn = lab.client(1).opens("V:80");
    assert_eq!(conn.got, Held);
    let segments = [b"one", b"two"]
        .map(|body| packet::tcp(&conn.from, &conn.to).flags("PA").payload(body).build());
    for segment in &segments {
        assert_eq!(lab.frame(segment), Held);
    }
    assert_eq!(lab.client(1).opens("V:80").got, Real(1), "others do not wait");
    assert_eq!(lab.totals().held, 3);
    lab.after_secs(1);
    assert_eq!(lab.totals().held, 3);
    lab.learn(2);
    // A frame that comes in the same turn must not overtake those that waited.
    let last = packet::tcp(&conn.from, &conn.to).flags("FA").build();
    let sent = lab.feed(0, PortIndex(0), &[last]);
    let flags: Vec<u8> = sent.iter().map(|(_, frame)| frame[47]).collect();
    assert_eq!(flags, [0x02, 0x18, 0x18, 0x11], "SYN, both segments, FIN");
    assert_eq!([&sent[1].1[54..57], &sent[2].1[54..57]], [b"one", b"two"]);
    for (_, frame) in &sent {
        assert_eq!(frame[..6], real_mac(2).0);
        assert_eq!(frame[6..12], DIRECTOR_MAC);
        packet::assert_checksums(frame);
    }
    assert_eq!(lab.totals().held, 0);
}

#[test]
fn no_more_frames_wait_than_the_limit() {
    let mut lab = lab(2);
    let conn = lab.client(1).opens("V:80");
    assert_eq!(lab.sends(&conn, "A"), Held);
    assert_eq!(lab.sends(&conn, "A"), Dropped(DropReason::HoldQueueFull));
    assert_eq!(lab.totals().held, 2);
}

#[test]
fn frames_that_waited_three_seconds_are_given_up_together_and_their_sender_is_told() {
    let mut lab = lab(8);
    let client = Addr::v4(0xC612_004D);
    let id = lab.shared.neighbours.intern(PortIndex(0), client).unwrap();
    lab.shared.neighbours.set(id, Some(Mac(CLIENT_MAC)));
    let syn = packet::tcp("198.18.0.77:1024", "198.18.255.1:80").flags("S");
    assert_eq!(lab.send(&syn), Held);
    lab.after_secs(2);
    assert_eq!(lab.send(&syn), Held);
    lab.after_ticks(249);
    assert_eq!(lab.totals().held, 2);
    lab.now = lab.now.plus(1);
    let told = lab.turn();
    assert_eq!(lab.totals().held, 0);
    assert_eq!(told.len(), 2);
    for (port, frame) in told {
        assert_eq!((port, &frame[..6]), (PortIndex(0), &CLIENT_MAC[..]));
        assert_eq!(frame[30..34], [198, 18, 0, 77], "to the client");
        assert_eq!(frame[34..36], [3, 1], "host unreachable");
        assert_eq!(frame[58..62], [198, 18, 255, 1], "about its packet to the VIP");
        packet::assert_checksums(&frame);
    }
}

#[test]
fn frames_that_wait_when_the_core_stops_are_dropped_as_stopping() {
    let mut lab = lab(8);
    lab.client(1).opens("V:80");
    lab.workers[0].stop();
    assert_eq!(lab.totals().dropped_for(DropReason::Stopping), 1);
    lab.check();
}

#[test]
fn control_is_asked_once_until_the_address_is_known() {
    let mut lab = lab(8);
    let conn = lab.client(1).opens("V:80");
    lab.sends(&conn, "A");
    let wanted = events(&lab);
    assert!(matches!(wanted[..], [Event::Wanted(_)]), "{wanted:?}");
    let Event::Wanted(id) = wanted[0] else { unreachable!() };
    lab.shared.neighbours.set(id, None);
    lab.sends(&conn, "A");
    assert_eq!(events(&lab), [Event::Wanted(id)], "given up and asked for again");
    lab.shared.neighbours.set(id, Some(Mac(real_mac(2).0)));
    assert_eq!(lab.turn().len(), 3);
    assert_eq!(lab.sends(&conn, "A"), Real(2));
    assert!(events(&lab).is_empty());
}

#[test]
fn a_held_frame_that_meets_a_full_wire_is_unsent() {
    let mut lab = lab(8);
    lab.client(1).opens("V:80");
    lab.learn(2);
    lab.workers[0].ports_mut()[0].tx_room = Some(0);
    assert!(lab.turn().is_empty());
    assert_eq!(lab.totals().unsent, 1);
    assert_eq!(lab.client(2).opens("V:80").got, Unsent);
}

#[test]
fn a_server_without_a_route_gets_nothing() {
    let mut lab = Lab::new();
    lab.ipvsadm("-A -t V:80 -s rr");
    let far = RealSpec::new("203.0.113.5".parse::<std::net::IpAddr>().unwrap().into(), 80);
    lab.catalog.add_real(&identity("-t V:80"), far).unwrap();
    lab.publish();
    assert_eq!(lab.client(1).opens("V:80").got, Dropped(DropReason::NoNeighbour));
}

#[test]
fn a_station_that_claims_a_vip_is_counted_and_reported() {
    let mut lab = lab(8);
    let reply = packet::arp_reply(real_mac(1).0, "198.18.255.1", CLIENT_MAC, "198.18.0.1");
    let mut flooded = reply;
    flooded[..6].copy_from_slice(&[0xFF; 6]);
    lab.frame(&flooded);
    assert_eq!(lab.totals().vip_claims, 1);
    let told = events(&lab);
    let [Event::VipClaimed(heard)] = told[..] else { panic!("{told:?}") };
    assert_eq!(heard.mac, real_mac(1));
    assert!(heard.reply);
    let announced = packet::arp_request(real_mac(1).0, "198.18.255.1", "198.18.255.1");
    lab.frame(&announced);
    assert_eq!(lab.totals().vip_claims, 2);
    let ours = packet::arp_request(DIRECTOR_MAC, "198.18.255.1", "198.18.255.1");
    lab.frame(&ours);
    assert_eq!(lab.totals().vip_claims, 2, "our own announcement comes back from a switch");
}

#[test]
fn what_neighbours_say_of_themselves_is_told_to_control() {
    let mut lab = lab(8);
    lab.frame(&packet::arp_reply(real_mac(2).0, "198.18.10.2", DIRECTOR_MAC, "198.18.0.254"));
    let told = events(&lab);
    let [Event::Heard(heard)] = told[..] else { panic!("{told:?}") };
    assert_eq!((heard.mac, heard.reply, heard.unicast), (real_mac(2), true, true));
    let advertisement = packet::neighbour_advertisement(
        real_mac(3).0,
        "2001:db8:0:10::3",
        DIRECTOR_MAC,
        "2001:db8::fe",
    );
    lab.frame(&advertisement);
    let told = events(&lab);
    let [Event::Heard(heard)] = told[..] else { panic!("{told:?}") };
    assert_eq!((heard.mac, heard.reply), (real_mac(3), true));
}

#[test]
fn controls_own_frames_are_sent_and_counted_apart() {
    let mut lab = lab(8);
    let question = packet::arp_request(DIRECTOR_MAC, "198.18.0.254", "198.18.10.2");
    let outgoing = Outgoing { port: PortIndex(0), frame: question.clone().into() };
    lab.shared.mailboxes[0].outgoing.push(outgoing).unwrap();
    assert_eq!(lab.turn(), [(PortIndex(0), question)]);
    assert_eq!(lab.totals().originated, 1);
    assert_eq!(lab.totals().forwarded, 0);
}
