//! A simulated segment for tests: stations that answer questions or do not, and the director's
//! neighbours among them, under a clock that jumps from one event to the next.

use std::collections::BTreeMap;
use std::net::IpAddr;

use dataplane::ids::{NeighbourId, PortIndex};
use dataplane::mailbox::{Event, Heard, Outgoing};
use dataplane::neighbour::NeighbourTable;
use dataplane::port::Frame;
use dataplane::port::memory::MemoryFrame;
use dataplane::wire::ethernet::{self, Mac};
use dataplane::wire::ndp::{self, Ndp};
use dataplane::wire::{Addr, Parsed, Vlan, arp, parse};

use super::{Neighbours, Notice, PortFace, Settings, Watched};

pub(super) const OWN: Mac = Mac([2, 0, 0, 0, 0, 1]);
pub(super) const LAN: PortIndex = PortIndex(0);
/// Two real servers and a VIP of each family.
pub(super) const RIP: [&str; 2] = ["198.18.10.11", "2001:db8:10::11"];
pub(super) const OTHER_RIP: [&str; 2] = ["198.18.10.12", "2001:db8:10::12"];
pub(super) const VIP: [&str; 2] = ["198.18.255.1", "2001:db8:ff::1"];
pub(super) const DIP: [&str; 2] = ["198.18.10.1", "2001:db8:10::1"];

pub(super) fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

pub(super) fn mac(number: u32) -> Mac {
    let [a, b, c, d] = number.to_be_bytes();
    Mac([2, 1, a, b, c, d])
}

pub(super) fn face() -> PortFace {
    PortFace {
        name: "lan".into(),
        mac: OWN,
        vlan: Vlan::UNTAGGED,
        addresses: vec![(addr(DIP[0]), 16), (addr(DIP[1]), 64)],
        vips: VIP.map(addr).to_vec(),
    }
}

/// A machine on the segment.
#[derive(Clone)]
pub(super) struct Station {
    pub mac: Mac,
    pub addresses: Vec<Addr>,
    pub up: bool,
    pub delay_ms: u64,
    /// Whether it answers questions to itself alone, as it should.
    pub answers_unicast: bool,
}

impl Station {
    pub(super) fn new(mac: Mac, address: &str) -> Self {
        let addresses = vec![addr(address)];
        Self { mac, addresses, up: true, delay_ms: 0, answers_unicast: true }
    }

    fn answer(&self, frame: &[u8]) -> Option<Vec<u8>> {
        let to = ethernet::destination(frame)?;
        let for_me = to.is_multicast() || (to == self.mac && self.answers_unicast);
        if !self.up || !for_me {
            return None;
        }
        let mut answer = MemoryFrame::new(frame);
        match parse(frame) {
            Parsed::Arp(question) if self.addresses.contains(&question.target.into()) => {
                arp::reply(&mut answer, &question, self.mac).then_some(())?;
            }
            Parsed::Packet(packet) => {
                let Ok(Ndp::Solicitation { target, .. }) = ndp::parse(frame, &packet) else {
                    return None;
                };
                self.addresses.contains(&target.into()).then_some(())?;
                ndp::advertise_in_reply(&mut answer, &packet, self.mac).ok()?;
            }
            _ => return None,
        }
        Some(answer.bytes().to_vec())
    }
}

/// A frame that the director sent.
#[derive(Clone)]
pub(super) struct Sent {
    pub at: u64,
    pub frame: Box<[u8]>,
}

impl Sent {
    /// Whom it asks for, if it is a question.
    pub(super) fn target(&self) -> Option<Addr> {
        match parse(&self.frame) {
            Parsed::Arp(arp) if !arp.is_announcement() => Some(arp.target.into()),
            Parsed::Packet(packet) => match ndp::parse(&self.frame, &packet) {
                Ok(Ndp::Solicitation { target, .. }) => Some(target.into()),
                _ => None,
            },
            _ => None,
        }
    }

    /// Which address it announces, if it is an announcement.
    pub(super) fn announced(&self) -> Option<Addr> {
        match parse(&self.frame) {
            Parsed::Arp(arp) if arp.is_announcement() => Some(arp.sender.into()),
            Parsed::Packet(packet) => match ndp::parse(&self.frame, &packet) {
                Ok(Ndp::Advertisement { target, .. }) => Some(target.into()),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn to_everybody(&self) -> bool {
        ethernet::destination(&self.frame).unwrap().is_multicast()
    }
}

/// The segment.
pub(super) struct Lan {
    pub now: u64,
    pub table: NeighbourTable,
    pub neighbours: Neighbours,
    pub stations: Vec<Station>,
    pub sent: Vec<Sent>,
    pub notices: Vec<Notice>,
    /// Answers on their way, by the time of their arrival.
    wire: BTreeMap<(u64, u64), Vec<u8>>,
    carried: u64,
}

impl Lan {
    /// A segment where the director's own announcements are off.
    pub(super) fn new(stations: Vec<Station>) -> Self {
        let quiet = Settings { announcements: 0, ..Settings::default() };
        Self::with(quiet, stations)
    }

    pub(super) fn with(settings: Settings, stations: Vec<Station>) -> Self {
        let mut neighbours = Neighbours::new(settings);
        neighbours.site(vec![face()], 0);
        Self {
            now: 0,
            table: NeighbourTable::default(),
            neighbours,
            stations,
            sent: Vec::new(),
            notices: Vec::new(),
            wire: BTreeMap::new(),
            carried: 0,
        }
    }

    pub(super) fn hop(&self, address: &str) -> Watched {
        let address = addr(address);
        let id = self.table.intern(LAN, address).unwrap();
        Watched { id, port: LAN, address, pinned: None }
    }

    pub(super) fn watch(&mut self, address: &str) -> NeighbourId {
        let hop = self.hop(address);
        self.neighbours.watch(&self.table, hop, self.now);
        hop.id
    }

    pub(super) fn hear(&mut self, event: Event) {
        self.neighbours.hear(&self.table, &event, self.now);
        self.notices.extend(self.neighbours.notices());
    }

    /// A packet waits for this next hop.
    pub(super) fn want(&mut self, id: NeighbourId) {
        if self.table.want(id) {
            self.hear(Event::Wanted(id));
        }
    }

    /// A station tells its address unasked.
    pub(super) fn announces(&mut self, address: &str, mac: Mac) {
        let heard = Heard { port: LAN, address: addr(address), mac, reply: false, unicast: false };
        self.hear(Event::Heard(heard));
    }

    /// Lets time pass: everything that is due until `until` happens, in order.
    pub(super) fn run_until(&mut self, until: u64) {
        loop {
            let due = self.neighbours.next_due().map(|due| due.max(self.now));
            let arrival = self.wire.first_key_value().map(|((at, _), _)| *at);
            let Some(next) = due.into_iter().chain(arrival).min().filter(|next| *next <= until)
            else {
                break;
            };
            self.now = next;
            if arrival == Some(next) {
                let (_, frame) = self.wire.pop_first().unwrap();
                if let Some(event) = told_by_core(&frame) {
                    self.hear(event);
                }
            } else {
                self.tick();
            }
        }
        self.now = until;
    }

    pub(super) fn run_for(&mut self, ms: u64) {
        self.run_until(self.now + ms);
    }

    fn tick(&mut self) {
        let Self { neighbours, table, stations, sent, wire, carried, now, .. } = self;
        neighbours.tick(table, *now, &mut |Outgoing { port, frame }| {
            assert_eq!(port, LAN);
            assert_eq!(ethernet::source(&frame), Some(OWN));
            for station in stations.iter() {
                if let Some(answer) = station.answer(&frame) {
                    *carried += 1;
                    wire.insert((*now + station.delay_ms, *carried), answer);
                }
            }
            sent.push(Sent { at: *now, frame });
        });
        self.notices.extend(self.neighbours.notices());
    }
}

/// What a core tells control about a frame that came in.
fn told_by_core(frame: &[u8]) -> Option<Event> {
    match parse(frame) {
        Parsed::Arp(arp) => Some(Event::Heard(Heard {
            port: LAN,
            address: arp.sender.into(),
            mac: arp.sender_mac,
            reply: arp.operation == arp::Operation::Reply,
            unicast: ethernet::destination(frame) == Some(OWN),
        })),
        Parsed::Packet(packet) => match ndp::parse(frame, &packet) {
            Ok(Ndp::Advertisement { target, target_mac: Some(mac), solicited, .. }) => {
                let address = target.into();
                let heard = Heard { port: LAN, address, mac, reply: solicited, unicast: solicited };
                Some(Event::Heard(heard))
            }
            _ => None,
        },
        _ => None,
    }
}
