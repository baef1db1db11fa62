//! The director as a host: what it answers by itself, and where it is silent.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use dataplane::ids::PortIndex;
use dataplane::port::Port;
use dataplane::verdict::DropReason;
use support::lab::Seen::{
    self, Dropped, FromKernel, Kernel, NoProtocol, Pong, Punted, Real, Reset, Told, Unreachable,
};
use support::lab::{KERNEL_PORT, Lab, Layout, Setup};
use support::packet::{self, CLIENT_MAC, DIRECTOR_MAC};

const SILENCE: Seen = Dropped(DropReason::NotForUs);
const NO_ANSWER: Seen = Dropped(DropReason::Unanswerable);
const CLIENT: &str = "198.18.32.1:40000";
const CLIENT6: &str = "[2001:db8::1]:40000";
const GROUP: [u8; 6] = [0xFF; 6];

fn lab(layout: Layout) -> Lab {
    let mut lab = Lab::with(Setup { layout, ..Setup::default() });
    for service in ["-t V:80", "-t [V]:80"] {
        lab.ipvsadm(&format!("-A {service} -s rr"));
        lab.ipvsadm(&format!("-a {service} -r R1"));
    }
    lab
}

#[test]
fn arp_is_answered_for_vips_and_own_addresses_only() {
    let mut lab = lab(Layout::OneArm);
    let asks = |target: &str| packet::arp_request(CLIENT_MAC, "198.18.32.1", target);
    assert_eq!(lab.frame(&asks("198.18.255.1")), Told);
    assert_eq!(lab.frame(&asks("198.18.0.254")), Told);
    assert_eq!(lab.frame(&asks("198.18.255.2")), SILENCE);
    let mut unicast = asks("198.18.255.1");
    unicast[..6].copy_from_slice(&DIRECTOR_MAC);
    assert_eq!(lab.frame(&unicast), Told);
    unicast[..6].copy_from_slice(&[0x02, 0, 0, 0, 0xD1, 0x77]);
    assert_eq!(lab.frame(&unicast), Dropped(DropReason::OtherMac), "asked of another station");
    assert_eq!(lab.totals().answered, 3);
}

#[test]
fn an_arp_reply_goes_to_control() {
    let mut lab = lab(Layout::OneArm);
    let reply = packet::arp_reply(CLIENT_MAC, "198.18.0.1", DIRECTOR_MAC, "198.18.0.254");
    assert_eq!(lab.frame(&reply), Punted);
}

#[test]
fn neighbour_solicitations_are_answered_for_vips_and_own_addresses_only() {
    let mut lab = lab(Layout::OneArm);
    let asks = |from: &str, target: &str| packet::neighbour_solicitation(CLIENT_MAC, from, target);
    assert_eq!(lab.frame(&asks("2001:db8::1", "2001:db8:0:ffff::1")), Told);
    assert_eq!(lab.frame(&asks("2001:db8::1", "2001:db8::fe")), Told);
    assert_eq!(lab.frame(&asks("::", "2001:db8:0:ffff::1")), Told, "a probe: we defend the VIP");
    assert_eq!(lab.frame(&asks("2001:db8::1", "2001:db8:0:ffff::2")), SILENCE);
}

#[test]
fn a_ping_to_an_address_of_the_director_is_answered() {
    let mut lab = lab(Layout::OneArm);
    for to in ["198.18.255.1", "198.18.0.254"] {
        let ping = packet::echo_request("198.18.32.1", to, 7, 1).payload(b"abc");
        assert_eq!(lab.send(&ping), Pong);
        assert_eq!(lab.send(&ping.dst_mac(GROUP)), NO_ANSWER, "{to} by broadcast");
    }
    for to in ["2001:db8:0:ffff::1", "2001:db8::fe"] {
        assert_eq!(lab.send(&packet::echo_request("2001:db8::1", to, 7, 1).payload(b"abc")), Pong);
    }
    assert_eq!(lab.send(&packet::echo_request("198.18.32.1", "198.18.255.9", 7, 1)), SILENCE);
}

#[test]
fn tcp_that_no_service_takes_is_reset_and_resets_are_swallowed() {
    let mut lab = lab(Layout::OneArm);
    for to in ["V:81", "[V]:81"] {
        for flags in ["S", "A", "F", "-", "SA", "PA"] {
            assert_eq!(lab.client(1).sends(flags, to).got, Reset, "{flags} to {to}");
        }
        for flags in ["R", "RA", "RS"] {
            assert_eq!(lab.client(1).sends(flags, to).got, NO_ANSWER, "{flags} to {to}");
        }
    }
    assert_eq!(lab.client(1).sends("A", "V:80").got, Reset, "no connection, no SYN");
    assert_eq!(lab.client(1).opens("V2:80").got, SILENCE, "not our address");
}

#[test]
fn what_no_service_takes_is_unreachable_and_unknown_protocols_are_refused() {
    let mut lab = lab(Layout::OneArm);
    assert_eq!(lab.client(1).sends_udp("V:80").got, Unreachable);
    assert_eq!(lab.client(1).sends_udp("[V]:80").got, Unreachable);
    assert_eq!(lab.send(&packet::raw("198.18.32.1", "198.18.255.1", 50)), NoProtocol);
    assert_eq!(lab.send(&packet::sctp(CLIENT, "198.18.255.1:80", &[(1, 16)])), NoProtocol);
    let packet = packet::sctp(CLIENT6, "[2001:db8:0:ffff::1]:80", &[(1, 16)]);
    assert_eq!(lab.send(&packet), NoProtocol);
}

#[test]
fn a_datagram_whose_checksum_is_wrong_is_dropped_in_silence() {
    let mut lab = lab(Layout::OneArm);
    for (from, to) in [(CLIENT, "198.18.255.1:53"), (CLIENT6, "[2001:db8:0:ffff::1]:53")] {
        let datagram = packet::udp(from, to).payload(b"hello");
        let mut frame = datagram.build();
        *frame.last_mut().unwrap() ^= 1;
        assert_eq!(lab.frame(&frame), NO_ANSWER, "{to}");
        assert_eq!(lab.send(&datagram), Unreachable, "{to}");
    }
    let without = |from, to| packet::udp(from, to).payload(b"hello").without_checksum();
    assert_eq!(lab.send(&without(CLIENT, "198.18.255.1:53")), Unreachable, "RFC 768 allows it");
    assert_eq!(lab.send(&without(CLIENT6, "[2001:db8:0:ffff::1]:53")), NO_ANSWER);
}

#[test]
fn nobody_is_answered_who_has_an_address_of_the_director() {
    let mut lab = lab(Layout::OneArm);
    for [vip, own] in [["198.18.255.1", "198.18.0.254"], ["[2001:db8:0:ffff::1]", "[2001:db8::fe]"]]
    {
        for from in [vip, own] {
            let (from, to) = (format!("{from}:4000"), format!("{vip}:81"));
            let syn = packet::tcp(&from, &to).flags("S");
            assert_eq!(lab.send(&syn), NO_ANSWER, "{from}");
            assert_eq!(lab.send(&packet::udp(&from, &to)), NO_ANSWER, "{from}");
            let host = |end: &str| end.rsplit_once(':').unwrap().0.replace(['[', ']'], "");
            let ping = packet::echo_request(&host(&from), &host(&to), 1, 1);
            assert_eq!(lab.send(&ping), NO_ANSWER, "{from}");
        }
    }
}

#[test]
fn what_was_sent_to_a_group_of_stations_is_neither_balanced_nor_answered() {
    let mut lab = lab(Layout::OneArm);
    for (from, to) in [(CLIENT, "198.18.255.1"), (CLIENT6, "[2001:db8:0:ffff::1]")] {
        for port in [80, 81] {
            let to = format!("{to}:{port}");
            let syn = packet::tcp(from, &to).flags("S").dst_mac(GROUP);
            assert_eq!(lab.send(&syn), SILENCE, "{to}");
            assert_eq!(lab.send(&packet::udp(from, &to).dst_mac(GROUP)), SILENCE, "{to}");
        }
    }
    assert!(lab.states().is_empty());
}

#[test]
fn answers_have_a_rate_limit_and_balanced_packets_have_none() {
    let setup = Setup { answers_per_second: 10, ..Setup::default() };
    let mut lab = Lab::with(setup);
    lab.restore("-A -t V:80 -s rr\n -a -t V:80 -r R1");
    let resets =
        |lab: &mut Lab| (0..30).filter(|_| lab.client(1).opens("V:81").got == Reset).count();
    assert_eq!(resets(&mut lab), 10);
    assert_eq!(resets(&mut lab), 0);
    assert_eq!(lab.totals().dropped_for(DropReason::AnswerLimited), 50);
    assert_eq!(lab.picks("V:80", 3), "1 1 1");
    lab.after_ticks(125);
    assert_eq!(resets(&mut lab), 5);
    lab.after_secs(60);
    assert_eq!(resets(&mut lab), 10);
}

#[test]
fn with_a_kernel_facing_port_the_kernel_gets_what_the_director_does_not_take() {
    let mut lab = lab(Layout::KernelFacing);
    assert_eq!(lab.client(1).opens("V:80").got, Real(1));
    for (to, flags) in [("V:81", "S"), ("V:80", "A"), ("V:81", "R"), ("198.18.0.254:22", "S")] {
        assert_eq!(lab.client(1).sends(flags, to).got, Kernel, "{flags} to {to}");
    }
    assert_eq!(lab.client(1).sends_udp("V:53").got, Kernel);
    assert_eq!(lab.send(&packet::raw("198.18.32.1", "198.18.255.1", 50)), Kernel);
    let reply = packet::arp_reply(CLIENT_MAC, "198.18.0.1", DIRECTOR_MAC, "198.18.0.254");
    assert_eq!(lab.frame(&reply), Kernel);
    let question = packet::arp_request(CLIENT_MAC, "198.18.32.1", "198.18.0.77");
    assert_eq!(lab.frame(&question), Kernel);
    let question = packet::arp_request(CLIENT_MAC, "198.18.32.1", "198.18.255.1");
    assert_eq!(lab.frame(&question), Told, "the VIP is the director's");
    let to_group = packet::tcp(CLIENT, "198.18.255.1:80").flags("S").dst_mac(GROUP);
    assert_eq!(lab.send(&to_group), Kernel);
    assert_eq!(lab.totals().to_kernel, 9);
}

#[test]
fn what_the_kernel_sends_leaves_on_the_nic_port_as_it_is() {
    let mut lab = lab(Layout::KernelFacing);
    let frame = packet::tcp("198.18.0.254:22", CLIENT).flags("SA").src_mac(DIRECTOR_MAC).build();
    assert_eq!(lab.frame_on(0, KERNEL_PORT, &frame), FromKernel);
    let syn = packet::tcp(CLIENT, "198.18.255.1:80").flags("S").build();
    assert_eq!(lab.frame_on(0, KERNEL_PORT, &syn), FromKernel, "never balanced");
    assert_eq!(lab.workers[0].ports_mut()[usize::from(PortIndex(0).0)].mac().0, DIRECTOR_MAC);
}

#[test]
fn a_local_real_server_is_the_kernel_or_else_the_director_as_a_host() {
    for (layout, expected) in [(Layout::KernelFacing, Kernel), (Layout::OneArm, Reset)] {
        let mut lab = Lab::with(Setup { layout, ..Setup::default() });
        lab.restore("-A -t V:80 -s rr\n -a -t V:80 -r R1 --local");
        assert_eq!(lab.client(1).opens("V:80").got, expected);
    }
}

#[test]
fn without_any_service_of_the_family_the_host_gets_packets_of_listed_connections() {
    let mut lab = Lab::new();
    // The service's address is the director's own as well, so that it stays when the service goes.
    lab.restore("-A -t 198.18.0.254:80 -s rr\n -a -t 198.18.0.254:80 -r R1");
    let conn = lab.client(1).opens("198.18.0.254:80");
    lab.ipvsadm("-A -t [V]:80");
    lab.ipvsadm("-D -t 198.18.0.254:80");
    assert_eq!(lab.sends(&conn, "A"), Reset);
    lab.ipvsadm("-A -t V:81");
    assert_eq!(lab.sends(&conn, "A"), Dropped(DropReason::RealServerGone));
    lab.ipvsadm("-A -t 198.18.0.254:80 -s rr");
    assert_eq!(lab.sends(&conn, "A"), Dropped(DropReason::RealServerGone));
    lab.ipvsadm("-a -t 198.18.0.254:80 -r R1");
    assert_eq!(lab.sends(&conn, "A"), Real(1));
}
