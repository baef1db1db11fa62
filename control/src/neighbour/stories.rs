//! Neighbours on a simulated segment.

use dataplane::ids::NeighbourId;
use dataplane::mailbox::{Event, Heard};
use dataplane::wire::Addr;
use dataplane::wire::ethernet::Mac;

use super::lan::{DIP, LAN, Lan, OTHER_RIP, OWN, RIP, Station, VIP, addr, face, mac};
use super::{Condition, Notice, Settings, Watched};

const SERVER: Mac = Mac([2, 0, 0, 0, 1, 0x11]);
const SPARE_NIC: Mac = Mac([2, 0, 0, 0, 1, 0x12]);

/// A segment with one real server that is watched and known.
fn known(rip: &str) -> (Lan, NeighbourId) {
    let mut lan = Lan::new(vec![Station::new(SERVER, rip)]);
    let id = lan.watch(rip);
    lan.run_for(1);
    assert_eq!(lan.table.mac(id), Some(SERVER));
    (lan, id)
}

fn listed(lan: &Lan, id: NeighbourId) -> Option<Condition> {
    lan.neighbours.iter().find(|listed| listed.id == id).map(|listed| listed.condition)
}

#[test]
fn a_next_hop_is_resolved_by_one_question_to_everybody() {
    for rip in RIP {
        let (mut lan, id) = known(rip);
        lan.run_for(20_000);
        assert_eq!(lan.sent.len(), 1, "{rip}");
        assert_eq!(lan.sent[0].target(), Some(addr(rip)));
        assert!(lan.sent[0].to_everybody());
        assert_eq!(listed(&lan, id), Some(Condition::Reachable));
        assert_eq!(lan.notices.len(), 1);
        assert_eq!(lan.notices[0].to_string(), format!("port lan: {rip} is at 02:00:00:00:01:11"));
    }
}

#[test]
fn a_slow_answer_counts_although_the_question_was_repeated() {
    for rip in RIP {
        let mut lan = Lan::new(vec![Station { delay_ms: 1_500, ..Station::new(SERVER, rip) }]);
        let id = lan.watch(rip);
        lan.run_for(1_499);
        assert_eq!(lan.table.mac(id), None);
        lan.run_for(1);
        assert_eq!(lan.table.mac(id), Some(SERVER));
        assert_eq!(lan.sent.len(), 2);
    }
}

#[test]
fn a_silent_next_hop_is_given_up_and_found_when_it_comes_up() {
    for rip in RIP {
        let mut lan = Lan::new(vec![Station { up: false, ..Station::new(SERVER, rip) }]);
        let id = lan.watch(rip);
        lan.run_until(2_999);
        assert!(lan.notices.is_empty());
        lan.run_until(70_000);
        let lost = Notice::Lost { port: "lan".into(), address: addr(rip), last: None };
        assert_eq!(lan.notices, [lost], "said once");
        let seconds: Vec<_> = lan.sent.iter().map(|sent| sent.at / 1_000).collect();
        assert_eq!(seconds, [0, 1, 2, 4, 6, 10, 18, 34, 66]);
        assert!(lan.sent.iter().all(|sent| sent.to_everybody()));
        assert_eq!(listed(&lan, id), Some(Condition::Failed));

        lan.stations[0].up = true;
        lan.run_until(125_999);
        assert_eq!(lan.table.mac(id), None);
        lan.run_until(126_000);
        assert_eq!(lan.table.mac(id), Some(SERVER));
        assert!(matches!(&lan.notices[1..], [Notice::Learned { .. }]), "{:?}", lan.notices);
    }
}

#[test]
fn a_lost_next_hop_that_shows_itself_is_asked_at_once_and_not_believed_before() {
    for rip in RIP {
        let mut lan = Lan::new(vec![Station { up: false, ..Station::new(SERVER, rip) }]);
        let id = lan.watch(rip);
        lan.run_until(80_000);
        let asked = lan.sent.len();
        lan.stations[0].up = true;
        lan.announces(rip, SPARE_NIC);
        assert_eq!(lan.table.mac(id), None);
        lan.run_for(0);
        assert_eq!(lan.sent.len(), asked + 1);
        assert_eq!(lan.table.mac(id), Some(SERVER), "what it answers, not what was said");
    }
}

#[test]
fn a_known_next_hop_is_refreshed_by_unicast_and_never_unknown() {
    for rip in RIP {
        let (mut lan, id) = known(rip);
        for _ in 0..6_000 {
            lan.run_for(100);
            assert_eq!(lan.table.mac(id), Some(SERVER));
        }
        let (first, refreshes) = lan.sent.split_first().unwrap();
        assert!(first.to_everybody());
        assert!((24..=29).contains(&refreshes.len()), "{} in ten minutes", refreshes.len());
        assert!(refreshes.iter().all(|sent| !sent.to_everybody()));
        assert_eq!(lan.notices.len(), 1);
    }
}

#[test]
fn a_station_that_ignores_unicast_questions_is_never_unknown_either() {
    for rip in RIP {
        let (mut lan, id) = known(rip);
        lan.stations[0].answers_unicast = false;
        for _ in 0..1_000 {
            lan.run_for(100);
            assert_eq!(lan.table.mac(id), Some(SERVER));
        }
        assert_eq!(lan.notices.len(), 1);
    }
}

#[test]
fn a_next_hop_that_falls_silent_is_lost_when_its_time_is_over() {
    for rip in RIP {
        let (mut lan, id) = known(rip);
        lan.stations[0].up = false;
        lan.run_until(26_900);
        assert_eq!(lan.table.mac(id), Some(SERVER), "used while it is asked");
        lan.run_until(30_001);
        assert_eq!(lan.table.mac(id), None);
        let last = Some(SERVER);
        let lost = Notice::Lost { port: "lan".into(), address: addr(rip), last };
        assert_eq!(lan.notices[1..], [lost]);
        let unicast = lan.sent.iter().filter(|sent| !sent.to_everybody()).count();
        assert_eq!((unicast, lan.sent.len()), (3, 7));
    }
}

#[test]
fn traffic_for_a_lost_next_hop_shortens_the_pause() {
    let mut lan = Lan::new(vec![Station { up: false, ..Station::new(SERVER, RIP[0]) }]);
    let id = lan.watch(RIP[0]);
    lan.run_until(70_000);
    lan.stations[0].up = true;
    lan.want(id);
    lan.run_until(71_000);
    assert_eq!(lan.table.mac(id), Some(SERVER), "five seconds after the question at 66 s");
}

#[test]
fn a_move_to_another_nic_is_followed_when_the_old_one_is_silent() {
    for rip in RIP {
        let (mut lan, id) = known(rip);
        lan.run_for(5_000);
        lan.stations[0].mac = SPARE_NIC;
        lan.announces(rip, SPARE_NIC);
        assert_eq!(lan.table.mac(id), Some(SERVER), "not on its word");
        lan.run_for(3_000);
        assert_eq!(lan.table.mac(id), Some(SPARE_NIC));
        let moved = Notice::Changed {
            port: "lan".into(),
            address: addr(rip),
            old: SERVER,
            new: SPARE_NIC,
            unsaid: 0,
        };
        assert!(lan.notices.contains(&moved), "{:?}", lan.notices);

        lan.stations[0].mac = SERVER;
        lan.run_for(30_000);
        assert_eq!(lan.table.mac(id), Some(SERVER), "found without an announcement, too");
        let changes = |notice: &&Notice| matches!(notice, Notice::Changed { .. });
        assert_eq!(lan.notices.iter().filter(changes).count(), 1, "within a minute");
    }
}

#[test]
fn a_claim_is_not_followed_while_the_known_station_answers() {
    for rip in RIP {
        let (mut lan, id) = known(rip);
        lan.run_for(1_000);
        for _ in 0..1_100 {
            lan.announces(rip, SPARE_NIC);
            lan.run_for(100);
            assert_eq!(lan.table.mac(id), Some(SERVER));
        }
        let disputed: Vec<_> = lan.notices[1..].iter().map(|notice| notice.to_string()).collect();
        assert_eq!(disputed.len(), 2, "one a minute: {disputed:?}");
        assert!(disputed[0].contains("02:00:00:00:01:12 says unasked that it has"));
        assert!(disputed[1].contains("599 more notices like this"), "{}", disputed[1]);
        assert!(lan.sent.len() <= 112, "asked once a second at the most: {}", lan.sent.len());
    }
}

#[test]
fn a_hundred_thousand_forged_messages_poison_nothing() {
    let reals: Vec<[String; 2]> = (11..31)
        .map(|host| [format!("198.18.10.{host}"), format!("2001:db8:10::{host}")])
        .collect();
    let stations: Vec<Station> = reals
        .iter()
        .zip(100..)
        .map(|(rips, number)| {
            let addresses = rips.iter().map(|rip| addr(rip)).collect();
            let delay_ms = u64::from(number) % 7 * 50;
            Station { addresses, delay_ms, ..Station::new(mac(number), &rips[0]) }
        })
        .collect();
    let mut lan = Lan::new(stations.clone());
    let mut truth = Vec::new();
    for (rips, station) in reals.iter().zip(&stations) {
        truth.extend(rips.iter().map(|rip| (lan.watch(rip), station.mac)));
    }
    lan.run_for(1_000);
    let mut random = 0x9E37_79B9_7F4A_7C15_u64;
    let mut draw = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let odd_macs = [Mac::BROADCAST, Mac::ZERO, OWN, Mac([1, 0, 0x5E, 0, 0, 1])];
    for _ in 0..100_000 {
        let rip = &reals[draw(20) as usize][draw(2) as usize];
        let address = match draw(20) {
            0 => addr(VIP[draw(2) as usize]),
            1 => addr(DIP[draw(2) as usize]),
            2 => Addr::v4(draw(1 << 32) as u32),
            _ => addr(rip),
        };
        let forger = match draw(10) {
            0 => odd_macs[draw(4) as usize],
            1 => stations[draw(20) as usize].mac,
            _ => mac(1_000 + draw(1 << 24) as u32),
        };
        let heard =
            Heard { port: LAN, address, mac: forger, reply: draw(4) > 0, unicast: draw(4) > 0 };
        let claims = VIP.map(addr).contains(&address);
        lan.hear(if claims { Event::VipClaimed(heard) } else { Event::Heard(heard) });
        lan.run_for(draw(13));
        for (id, mac) in &truth {
            assert_eq!(lan.table.mac(*id), Some(*mac));
        }
    }
    assert_eq!(lan.neighbours.iter().count(), truth.len());
    let minutes = lan.now.div_ceil(60_000) + 1;
    let most = truth.len() as u64 + 3 * 64 * minutes;
    assert!((lan.notices.len() as u64) < most, "{} in {minutes} min", lan.notices.len());
    let asked = lan.sent.len() as u64;
    assert!(asked < truth.len() as u64 * (lan.now / 1_000 + 2), "{asked} questions");
}

#[test]
fn a_forger_on_another_port_answers_in_vain() {
    let mut lan = Lan::new(vec![]);
    let id = lan.watch(RIP[0]);
    lan.run_for(1);
    let port = dataplane::ids::PortIndex(1);
    let (address, mac) = (addr(RIP[0]), SPARE_NIC);
    lan.hear(Event::Heard(Heard { port, address, mac, reply: true, unicast: true }));
    assert_eq!(lan.table.mac(id), None);
}

#[test]
fn a_claimed_vip_is_reported_once_a_minute_and_names_the_real_server() {
    for (rip, vip) in RIP.into_iter().zip(VIP) {
        let (mut lan, _) = known(rip);
        let claim = |mac, reply| {
            Event::VipClaimed(Heard { port: LAN, address: addr(vip), mac, reply, unicast: false })
        };
        for _ in 0..65 {
            lan.hear(claim(SERVER, true));
            lan.hear(claim(SPARE_NIC, false));
            lan.hear(claim(OWN, true));
            lan.run_for(1_000);
        }
        let told: Vec<_> = lan.notices[1..].iter().map(|notice| notice.to_string()).collect();
        assert_eq!(told.len(), 4, "{told:?}");
        let server = format!("port lan: 02:00:00:00:01:11 ({rip}) answers for VIP {vip}, so");
        assert!(told[0].starts_with(&server) && told[2].starts_with(&server), "{told:?}");
        let other = format!("port lan: 02:00:00:00:01:12 sends in the name of VIP {vip}, so");
        assert!(told[1].starts_with(&other) && told[3].starts_with(&other), "{told:?}");
        assert_eq!(told[0].contains("arp_ignore=1"), vip.contains('.'));
    }
}

#[test]
fn another_machine_with_our_own_address_is_reported_and_not_learned() {
    for dip in DIP {
        let mut lan = Lan::new(vec![]);
        let id = lan.watch(dip);
        lan.run_for(100);
        assert!(lan.sent.is_empty(), "the director does not ask for itself");
        lan.announces(dip, SPARE_NIC);
        lan.announces(dip, SPARE_NIC);
        lan.announces(dip, OWN);
        assert_eq!(lan.table.mac(id), None);
        let (address, mac) = (addr(dip), SPARE_NIC);
        let duplicate = Notice::Duplicate { port: "lan".into(), address, mac, unsaid: 0 };
        assert_eq!(lan.notices, [duplicate]);
    }
}

#[test]
fn a_pinned_next_hop_is_never_asked() {
    for rip in RIP {
        let mut lan = Lan::new(vec![Station::new(SERVER, rip)]);
        let hop = Watched { pinned: Some(SPARE_NIC), ..lan.hop(rip) };
        lan.neighbours.watch(&lan.table, hop, 0);
        assert_eq!(lan.table.mac(hop.id), Some(SPARE_NIC));
        lan.announces(rip, SERVER);
        lan.run_for(600_000);
        assert_eq!(lan.table.mac(hop.id), Some(SPARE_NIC));
        assert!(lan.sent.is_empty());
        assert!(lan.notices[0].to_string().contains("change its `mac:`"), "{}", lan.notices[0]);

        lan.watch(rip);
        assert_eq!(lan.table.mac(hop.id), Some(SPARE_NIC), "until it answers");
        lan.run_for(1);
        assert_eq!(lan.table.mac(hop.id), Some(SERVER));
    }
}

#[test]
fn what_is_no_longer_configured_is_forgotten_and_can_still_be_wanted() {
    let [rip, other] = [RIP[0], OTHER_RIP[0]];
    let mut lan = Lan::new(vec![Station::new(SERVER, rip), Station::new(SPARE_NIC, other)]);
    let hops = [rip, other].map(|address| lan.hop(address));
    lan.neighbours.watch_only(&lan.table, &hops, 0);
    lan.run_for(1);
    lan.neighbours.watch_only(&lan.table, &hops[1..], lan.now);
    assert_eq!(lan.table.mac(hops[0].id), Some(SERVER), "until its time is over");
    lan.run_for(60_000);
    assert_eq!(lan.table.mac(hops[0].id), None);
    assert_eq!(listed(&lan, hops[0].id), None);
    assert_eq!(lan.table.mac(hops[1].id), Some(SPARE_NIC));
    lan.want(hops[0].id);
    lan.run_for(1);
    assert_eq!(lan.table.mac(hops[0].id), Some(SERVER), "a packet still needed it");
}

#[test]
fn a_wanted_neighbour_is_found_and_forgotten_when_its_time_is_over() {
    for rip in RIP {
        let mut lan = Lan::new(vec![Station::new(SERVER, rip)]);
        let id = lan.hop(rip).id;
        lan.want(id);
        lan.run_for(1);
        assert_eq!(lan.table.mac(id), Some(SERVER));
        lan.run_until(29_999);
        assert_eq!(lan.table.mac(id), Some(SERVER));
        lan.run_until(30_001);
        assert_eq!((lan.table.mac(id), listed(&lan, id)), (None, None));
        assert_eq!((lan.sent.len(), lan.neighbours.next_due()), (1, None));
        lan.want(id);
        lan.run_for(1);
        assert_eq!(lan.table.mac(id), Some(SERVER));
        assert!(lan.notices.is_empty(), "only configured next hops are reported");
    }
}

#[test]
fn a_million_addresses_heard_make_no_entry() {
    let (mut lan, id) = known(RIP[0]);
    for number in 0..1_000_000 {
        let address = if number % 2 == 0 {
            Addr::v4(0xC613_0000 + number)
        } else {
            Addr::v6(0x2001_0DB8_u128 << 96 | u128::from(number))
        };
        let reply = number % 3 == 0;
        let heard = Heard { port: LAN, address, mac: mac(number), reply, unicast: reply };
        lan.hear(Event::Heard(heard));
    }
    assert_eq!(lan.neighbours.iter().count(), 1);
    assert_eq!(lan.table.mac(id), Some(SERVER));
    assert_eq!(lan.table.list().len(), 1);
}

#[test]
fn a_scan_of_absent_addresses_stays_within_the_bound_and_spares_the_configured() {
    let settings = Settings { entries: 64, announcements: 0, ..Settings::default() };
    let stations = vec![Station::new(SERVER, RIP[0]), Station::new(SPARE_NIC, OTHER_RIP[0])];
    let mut lan = Lan::with(settings, stations);
    let id = lan.watch(RIP[0]);
    let scanned: Vec<_> = (0..100_000)
        .map(|host| lan.table.intern(LAN, Addr::v4(0xC613_0000 + host)).unwrap())
        .collect();
    for some in scanned.chunks(100) {
        some.iter().for_each(|id| lan.want(*id));
        lan.run_for(10);
        assert!(lan.neighbours.iter().count() <= 64);
    }
    assert_eq!(lan.table.mac(id), Some(SERVER));
    let full = |notice: &&Notice| matches!(notice, Notice::Full { entries: 64, .. });
    assert_eq!(lan.notices.iter().filter(full).count(), 1);

    lan.run_for(10_000);
    assert_eq!(lan.neighbours.iter().count(), 1, "what nobody wants is forgotten");
    let present = lan.hop(OTHER_RIP[0]).id;
    lan.want(present);
    lan.run_for(1);
    assert_eq!(lan.table.mac(present), Some(SPARE_NIC));
}

#[test]
fn more_real_servers_than_entries_are_all_resolved_at_a_bounded_pace() {
    let settings = Settings { entries: 100, announcements: 0, ..Settings::default() };
    let rips: Vec<_> =
        (0..3_000).map(|n| format!("198.18.{}.{}", 20 + n / 250, n % 250 + 1)).collect();
    let stations = rips.iter().zip(0..).map(|(rip, n)| Station::new(mac(n), rip)).collect();
    let mut lan = Lan::with(settings, stations);
    let ids: Vec<_> = rips.iter().map(|rip| lan.watch(rip)).collect();
    lan.run_until(480);
    for (id, number) in ids.iter().zip(0..) {
        assert_eq!(lan.table.mac(*id), Some(mac(number)));
    }
    for interval in 0..48 {
        let sent = lan.sent.iter().filter(|sent| sent.at / 10 == interval).count();
        assert!(sent <= 64, "{sent} in interval {interval}");
    }
}

#[test]
fn own_addresses_and_vips_are_announced_on_start_and_new_ones_on_reload() {
    let mut lan = Lan::with(Settings::default(), vec![]);
    lan.run_for(60_000);
    for address in DIP.into_iter().chain(VIP).map(addr) {
        let told = lan.sent.iter().filter(|sent| sent.announced() == Some(address));
        assert_eq!(told.map(|sent| sent.at).collect::<Vec<_>>(), [0, 1_000], "{address}");
    }
    assert!(lan.sent.iter().all(|sent| sent.to_everybody()));
    assert_eq!((lan.sent.len(), lan.neighbours.next_due()), (8, None));

    let fresh = addr("198.18.255.2");
    let mut reloaded = face();
    reloaded.vips.push(fresh);
    lan.neighbours.site(vec![reloaded.clone()], lan.now);
    lan.run_for(60_000);
    assert!(lan.sent[8..].iter().all(|sent| sent.announced() == Some(fresh)));
    assert_eq!(lan.sent.len(), 10);

    lan.neighbours.announce(lan.now);
    lan.run_for(500);
    assert_eq!(lan.sent.len(), 15, "everything on a takeover");
    lan.neighbours.site(vec![face()], lan.now);
    lan.run_for(60_000);
    assert_eq!(lan.sent.len(), 19, "what was removed is not announced again");

    reloaded.mac = SPARE_NIC;
    lan.neighbours.site(vec![reloaded], lan.now);
    assert!(lan.neighbours.next_due().is_some(), "another MAC address is news");
}

#[test]
fn announcements_can_be_switched_off() {
    let mut lan = Lan::new(vec![]);
    lan.neighbours.announce(0);
    lan.run_for(60_000);
    assert!(lan.sent.is_empty());
}

#[test]
fn a_next_hop_of_a_family_without_own_address_is_reported_and_tried_again() {
    let mut lan = Lan::new(vec![Station::new(SERVER, RIP[1])]);
    let mut lame = face();
    lame.addresses.truncate(1);
    lan.neighbours.site(vec![lame], 0);
    let id = lan.watch(RIP[1]);
    lan.run_for(30_000);
    assert!(lan.sent.is_empty());
    assert_eq!(lan.notices.len(), 1, "{:?}", lan.notices);
    assert!(lan.notices[0].to_string().contains("the port has no IPv6 address"));
    lan.neighbours.site(vec![face()], lan.now);
    lan.run_for(1_000);
    assert_eq!(lan.table.mac(id), Some(SERVER));
}
