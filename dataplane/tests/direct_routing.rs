//! Direct routing: what a real server gets is what the client sent, but for twelve MAC bytes,
//! the TTL and its checksum.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::compat::TtlPolicy;
use dataplane::ids::PortIndex;
use dataplane::verdict::DropReason;
use support::lab::Seen::{Dropped, Real, TimeExceeded, TooBig};
use support::lab::{Lab, Layout, Setup, real_mac};
use support::packet::{self, Builder, CLIENT_MAC, DIRECTOR_MAC};

const CLIENT: &str = "198.18.32.1:40000";
const VIP: &str = "198.18.255.1:80";
const CLIENT6: &str = "[2001:db8::1]:40000";
const VIP6: &str = "[2001:db8:0:ffff::1]:80";

/// Services for everything on port 80 of both VIPs, on R1.
fn lab(layout: Layout) -> Lab {
    let mut lab = Lab::with(Setup { layout, ..Setup::default() });
    for service in ["-t V:80", "-u V:80", "-t [V]:80", "-u [V]:80"] {
        lab.ipvsadm(&format!("-A {service} -s rr"));
        lab.ipvsadm(&format!("-a {service} -r R1"));
    }
    lab
}

/// Sends the frame and gives what left, with its port.
fn routed(lab: &mut Lab, frame: &[u8]) -> (PortIndex, Vec<u8>) {
    let mut sent = lab.feed(0, PortIndex(0), &[frame.to_vec()]);
    assert_eq!(sent.len(), 1, "{}", packet::describe(frame));
    sent.remove(0)
}

/// The places of the bytes that differ.
fn changed(before: &[u8], after: &[u8]) -> Vec<usize> {
    assert_eq!(before.len(), after.len(), "the frame keeps its length");
    (0..before.len()).filter(|at| before[*at] != after[*at]).collect()
}

fn packets() -> Vec<Builder> {
    let body: Vec<u8> = (0..=255).collect();
    vec![
        packet::tcp(CLIENT, VIP).flags("S"),
        packet::tcp(CLIENT, VIP).flags("S").options(&[1; 40]).tcp_options(&[1; 40]).payload(&body),
        packet::tcp(CLIENT, VIP).flags("S").tos(0xB8).dont_fragment().ttl(2),
        packet::tcp(CLIENT, VIP).flags("S").pad_to(60),
        packet::udp(CLIENT, VIP).payload(&body),
        packet::udp(CLIENT, VIP).without_checksum().pad_to(100),
        packet::tcp(CLIENT6, VIP6).flags("S").tos(0xFF),
        packet::tcp(CLIENT6, VIP6).flags("S").extension(0, &[1, 4]).extension(60, &[0; 14]),
        packet::udp(CLIENT6, VIP6).payload(&body).pad_to(400).ttl(255),
    ]
}

#[test]
fn twelve_mac_bytes_and_the_ttl_with_its_checksum_change_and_nothing_else() {
    for packet in packets() {
        let mut lab = lab(Layout::OneArm);
        let before = packet.build();
        let (_, after) = routed(&mut lab, &before);
        let v6 = before[14] >> 4 == 6;
        let allowed: &[usize] = if v6 { &[21] } else { &[22, 24, 25] };
        for at in changed(&before, &after) {
            assert!(at < 12 || allowed.contains(&at), "byte {at} of {}", packet::describe(&before));
        }
        let ttl = if v6 { 21 } else { 22 };
        assert_eq!(after[ttl], before[ttl] - 1);
        assert_eq!(after[..6], real_mac(1).0);
        assert_eq!(after[6..12], DIRECTOR_MAC);
        packet::assert_checksums(&after);
    }
}

#[test]
fn with_the_ttl_kept_only_the_mac_bytes_change() {
    for packet in packets() {
        let mut lab = lab(Layout::OneArm);
        lab.switch(|compat| compat.ttl = TtlPolicy::Keep);
        let before = packet.ttl(1).build();
        let (_, after) = routed(&mut lab, &before);
        assert!(changed(&before, &after).into_iter().all(|at| at < 12));
    }
}

#[test]
fn a_tag_stays_as_it_is_with_its_priority() {
    let mut lab = lab(Layout::Vlan);
    let before = packet::tcp(CLIENT, VIP).flags("S").tag(0x8100, 0xB00A).build();
    let (_, after) = routed(&mut lab, &before);
    assert_eq!(after[12..18], before[12..18]);
    assert!(changed(&before, &after).into_iter().all(|at| at < 12 || matches!(at, 26 | 28 | 29)));
}

#[test]
fn with_two_arms_frames_leave_on_the_servers_port_with_its_mac_address_and_tag() {
    for (layout, tag, expected) in [
        (Layout::TwoArms, None, &[0x08, 0x00][..]),
        (Layout::TwoVlans, Some(10), &[0x81, 0x00, 0x00, 20, 0x08, 0x00]),
    ] {
        let mut lab = lab(layout);
        let packet = packet::tcp(CLIENT, VIP).flags("S").payload(b"hello").pad_to(70);
        let packet = tag.into_iter().fold(packet, |packet, id| packet.vlan(id));
        let (port, after) = routed(&mut lab, &packet.build());
        assert_eq!(port, PortIndex(1), "{layout:?}");
        assert_eq!(after[..6], real_mac(1).0);
        assert_eq!(after[6..12], layout.macs()[1].0);
        assert_eq!(after[12..12 + expected.len()], *expected, "{layout:?}");
        assert_eq!(lab.send(&packet), Real(1));
    }
}

#[test]
fn frames_for_other_stations_and_other_vlans_are_left_alone() {
    let mut untagged = lab(Layout::OneArm);
    let syn = packet::tcp(CLIENT, VIP).flags("S");
    let other = syn.clone().dst_mac([0x02, 0, 0, 0, 0xD1, 0x77]);
    assert_eq!(untagged.send(&other), Dropped(DropReason::OtherMac));
    assert_eq!(untagged.send(&syn.clone().vlan(10)), Dropped(DropReason::OtherVlan));
    let mut tagged = lab(Layout::Vlan);
    assert_eq!(tagged.send(&syn.clone().vlan(11)), Dropped(DropReason::OtherVlan));
    assert_eq!(tagged.send(&syn.clone()), Dropped(DropReason::OtherVlan));
    assert_eq!(tagged.send(&syn.vlan(10)), Real(1));
}

#[test]
fn a_packet_whose_ttl_runs_out_is_answered_and_refreshes_its_connection_all_the_same() {
    for (from, to) in [(CLIENT, VIP), (CLIENT6, VIP6)] {
        let mut lab = lab(Layout::OneArm);
        let packet = packet::tcp(from, to);
        assert_eq!(lab.send(&packet.clone().flags("S")), Real(1));
        lab.after_secs(50);
        assert_eq!(lab.send(&packet.clone().flags("S").ttl(1)), TimeExceeded);
        assert_eq!(lab.send(&packet.clone().flags("S").ttl(0)), TimeExceeded);
        lab.after_secs(50);
        assert_eq!(lab.send(&packet.flags("A").ttl(2)), Real(1), "the entry lives");
    }
}

#[test]
fn a_packet_that_is_too_long_draws_the_mtu_of_the_servers_link() {
    let mut lab = lab(Layout::Narrow);
    let long = packet::tcp(CLIENT, VIP).flags("S").dont_fragment().payload(&[7; 1200]);
    assert_eq!(lab.send(&long), TooBig(1000));
    assert_eq!(lab.send(&long.clone().ttl(1)), TimeExceeded, "the TTL is looked at first");
    let fits = long.payload(&[7; 960]);
    assert_eq!(lab.send(&fits), Real(1));
    let long = packet::udp(CLIENT6, VIP6).payload(&[7; 1200]);
    assert_eq!(lab.send(&long), TooBig(1000));
}

#[test]
fn icmp_errors_about_a_connection_follow_it_and_others_do_not() {
    let mut lab = lab(Layout::OneArm);
    assert_eq!(lab.send(&packet::tcp(CLIENT, VIP).flags("S")), Real(1));
    let out = packet::tcp(VIP, CLIENT).flags("SA").build();
    let error = |kind, code| packet::icmp_error("198.18.0.1", "198.18.255.1", kind, code, &out, 28);
    assert_eq!(lab.send(&error(3, 4)), Real(1));
    assert_eq!(lab.send(&error(11, 0)), Real(1));
    assert_eq!(lab.send(&error(5, 1)), Dropped(DropReason::NotForUs));
    let stranger = packet::tcp(VIP, "198.18.32.9:40000").flags("SA").build();
    let error = packet::icmp_error("198.18.0.1", "198.18.255.1", 3, 4, &stranger, 28);
    assert_eq!(lab.send(&error), Dropped(DropReason::NotForUs));
    assert_eq!(lab.states(), ["SYN_RECV"]);

    assert_eq!(lab.send(&packet::tcp(CLIENT6, VIP6).flags("S")), Real(1));
    let out = packet::tcp(VIP6, CLIENT6).flags("SA").build();
    let error = packet::icmp_error("2001:db8::99", "2001:db8:0:ffff::1", 2, 0, &out, 60);
    assert_eq!(lab.send(&error), Real(1));
    assert_eq!(packet::tcp(CLIENT, VIP).build()[6..12], CLIENT_MAC);
}
