//! Who gets which packets: selectors of marks from the rules that put them on, and services
//! that no packet reaches because a mark takes it first.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32};

use crate::config::model::{Family, Mark, Protocol, Scheduler, Selector, VipPorts};

use super::super::draft::{Key, Origin, Servers, Service, one_or_all};
use super::super::filter::Painted;
use super::super::note::Notes;
use super::no_host;

/// Selectors of all marks that are taken over.
const MOST: usize = 80_000;

/// What marks have taken.
pub(super) struct Claims {
    of_marks: HashMap<(Mark, Family), Vec<(Selector, Origin)>>,
    /// Ports that a mark with a service takes: for each first port the last one.
    painted: HashMap<(IpAddr, Protocol), BTreeMap<u16, u16>>,
    /// Selectors that marks have without a rule.
    own: HashSet<(IpAddr, Protocol, u16)>,
}

impl Claims {
    pub(super) fn new(painted: Vec<Painted>, services: &[Service], notes: &mut Notes) -> Self {
        let known: HashSet<(Mark, Family)> = services.iter().filter_map(mark_of).collect();
        let mut claims =
            Self { of_marks: HashMap::new(), painted: HashMap::new(), own: HashSet::new() };
        let mut strangers = BTreeMap::new();
        let mut of_vip: BTreeMap<IpAddr, Vec<(Mark, Selector, Origin)>> = BTreeMap::new();
        let mut count = 0;
        for one in painted {
            let family = Family::of(one.vip);
            let mut stretches = Vec::new();
            for (ports, mark, origin) in one.stretches {
                let mark = NonZeroU32::new(mark).map(Mark);
                match mark.filter(|mark| known.contains(&(*mark, family))) {
                    Some(mark) => stretches.push((ports, mark, origin)),
                    None => {
                        if let Some(mark) = mark {
                            strangers.entry((mark, one.vip.is_ipv6())).or_insert(origin);
                        }
                    }
                }
            }
            count += stretches.len();
            if count > MOST {
                let why = "there are more selectors than a configuration can hold";
                let what = format!("the marks of {} and the addresses behind it", one.vip);
                notes.add(Origin::default(), what, why, "import the rules in parts");
                break;
            }
            let taken = stretches.iter().map(|((first, last), ..)| (*first, *last)).collect();
            claims.painted.insert((one.vip, one.protocol), taken);
            of_vip.entry(one.vip).or_default().extend(selectors(one.vip, one.protocol, &stretches));
        }
        for (vip, all) in of_vip {
            for (mark, selector, origin) in joined(all) {
                let key = (mark, Family::of(vip));
                claims.of_marks.entry(key).or_default().push((selector, origin));
            }
        }
        for ((mark, six), origin) in strangers {
            let family = if six { Family::V6 } else { Family::V4 };
            let what = format!("mark {mark} of {family} packets");
            let why = "no virtual service has this mark";
            let hint = "import the file that says `ipvsadm -A -f` or `virtual_server fwmark`, if \
                        there is one";
            notes.add(origin, what, why, hint);
        }
        claims.own(services, notes);
        claims
    }

    /// Notes down what marks select by themselves.
    fn own(&mut self, services: &[Service], notes: &mut Notes) {
        for service in services {
            let Some(key) = mark_of(service) else { continue };
            for (selector, origin) in &service.selectors {
                let Selector { vip, protocol, vip_ports } = *selector;
                let new = !self.takes(vip, protocol, vip_ports.single())
                    && self.own.insert((vip, protocol, vip_ports.single()));
                if new {
                    self.of_marks.entry(key).or_default().push((*selector, *origin));
                } else {
                    let what = format!("{protocol} {vip} port {vip_ports}");
                    let why = "another mark has it already";
                    notes.add(*origin, what, why, "keep the one that is meant");
                }
            }
        }
    }

    /// The selectors of a service; `None` if none of its packets would reach it.
    pub(super) fn take(
        &mut self,
        service: &Service,
        notes: &mut Notes,
    ) -> Option<Vec<(Selector, Origin)>> {
        let mut selectors = match service.key {
            Key::Mark { mark, family } => self.of_marks.remove(&(mark, family)).unwrap_or_default(),
            Key::Address { protocol, vip, vip_port } => {
                if self.takes(vip, protocol, vip_port) {
                    let why = "its packets have a mark, and a mark's service goes first";
                    let hint = "nothing: no packet reached it in the kernel either";
                    notes.add(service.origin, service.key.shown(), why, hint);
                    return None;
                }
                vec![(Selector { vip, protocol, vip_ports: one_or_all(vip_port) }, service.origin)]
            }
        };
        let before = selectors.len();
        selectors.retain(|(selector, origin)| {
            let vip = selector.vip;
            let why = no_host(vip).or(vip.is_loopback().then_some("it is a loopback address"));
            if let Some(why) = why {
                let what = format!("{}: VIP {vip}", service.key.shown());
                notes.add(*origin, what, why, "a VIP is an address that clients can reach");
            }
            why.is_none()
        });
        (before == 0 || !selectors.is_empty()).then_some(selectors)
    }

    /// Whether marks take all packets for a port, or for all of them (0).
    fn takes(&self, vip: IpAddr, protocol: Protocol, vip_port: u16) -> bool {
        let claimed = |port| self.own.contains(&(vip, protocol, port));
        if claimed(0) || claimed(vip_port) {
            return true;
        }
        let Some(taken) = self.painted.get(&(vip, protocol)) else { return false };
        if vip_port == 0 {
            let ports = taken.iter().map(|(first, last)| u32::from(last - first) + 1);
            return ports.sum::<u32>() > u32::from(u16::MAX);
        }
        let before = taken.range(..=vip_port).next_back();
        before.is_some_and(|(_, last)| *last >= vip_port)
    }
}

fn mark_of(service: &Service) -> Option<(Mark, Family)> {
    match service.key {
        Key::Mark { mark, family } => Some((mark, family)),
        Key::Address { .. } => None,
    }
}

/// Stretches of ports as selectors. Where every port has a mark, the one that has most of them
/// is said by `0`: ports and ranges go before it.
fn selectors(
    vip: IpAddr,
    protocol: Protocol,
    stretches: &[((u16, u16), Mark, Origin)],
) -> Vec<(Mark, Selector, Origin)> {
    let mut counts: HashMap<Mark, u32> = HashMap::new();
    for ((first, last), mark, _) in stretches {
        *counts.entry(*mark).or_default() += u32::from(last - first) + 1;
    }
    let whole = counts.values().sum::<u32>() > u32::from(u16::MAX);
    let most = counts.into_iter().max_by_key(|(mark, count)| (*count, *mark));
    let ground = most.map(|(mark, _)| mark).filter(|_| whole);
    let mut found = Vec::new();
    let mut said = false;
    for ((first, last), mark, origin) in stretches {
        let vip_ports = if ground == Some(*mark) {
            if std::mem::replace(&mut said, true) {
                continue;
            }
            VipPorts::All
        } else {
            // Nobody listens on port 0.
            match (NonZeroU16::new((*first).max(1)), NonZeroU16::new(*last)) {
                (Some(first), Some(last)) if first < last => VipPorts::Range(first, last),
                (Some(first), Some(_)) => VipPorts::One(first),
                _ => continue,
            }
        };
        found.push((*mark, Selector { vip, protocol, vip_ports }, *origin));
    }
    found
}

/// What all three protocols have of one VIP becomes `any`.
fn joined(all: Vec<(Mark, Selector, Origin)>) -> Vec<(Mark, Selector, Origin)> {
    let key = |mark: Mark, selector: &Selector| {
        (mark, *selector.vip_ports.numbers().start(), *selector.vip_ports.numbers().end())
    };
    let mut counts: HashMap<_, usize> = HashMap::new();
    for (mark, selector, _) in &all {
        *counts.entry(key(*mark, selector)).or_default() += 1;
    }
    let mut joined = Vec::new();
    for (mark, selector, origin) in all {
        match (counts.get(&key(mark, &selector)), selector.protocol) {
            (Some(3), Protocol::Tcp) => {
                joined.push((mark, Selector { protocol: Protocol::Any, ..selector }, origin));
            }
            (Some(3), _) => {}
            _ => joined.push((mark, selector, origin)),
        }
    }
    joined
}

/// Services for marks of which nothing but the rules is known.
pub(super) fn services_of(painted: &[Painted], notes: &mut Notes) -> Vec<Service> {
    let mut marks: BTreeMap<(Mark, bool), Origin> = BTreeMap::new();
    for one in painted {
        for (_, mark, origin) in &one.stretches {
            let Some(mark) = NonZeroU32::new(*mark).map(Mark) else { continue };
            marks.entry((mark, one.vip.is_ipv6())).or_insert(*origin);
        }
    }
    let service = |((mark, six), origin): ((Mark, bool), Origin)| {
        let what = format!("the service of mark {mark}");
        let why = "no file says what is done with the mark";
        let hint = "import ipvsadm-save's text or keepalived.conf together with the rules, or \
                    write its real servers by hand; remove it if the mark is not IPVS's";
        notes.add(origin, what, why, hint);
        Service {
            origin,
            key: Key::Mark { mark, family: if six { Family::V6 } else { Family::V4 } },
            name: None,
            selectors: Vec::new(),
            scheduler: Scheduler::default(),
            persistence: None,
            one_packet: false,
            real_servers: Servers::default(),
        }
    };
    marks.into_iter().map(service).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(198, 18, 255, 1));

    fn mark(number: u32) -> Mark {
        Mark(NonZeroU32::new(number).unwrap())
    }

    fn shown(all: &[(Mark, Selector, Origin)]) -> Vec<String> {
        all.iter()
            .map(|(mark, one, _)| format!("{mark}: {} {}", one.protocol, one.vip_ports))
            .collect()
    }

    #[test]
    fn a_mark_on_every_port_is_said_once_and_others_go_before_it() {
        let at = Origin::default();
        let stretches =
            [((0, 79), mark(1), at), ((80, 80), mark(2), at), ((81, 65_535), mark(1), at)];
        let found = selectors(VIP, Protocol::Tcp, &stretches);
        assert_eq!(shown(&found), ["1: tcp 0", "2: tcp 80"]);
        // One port without a mark, and `0` would take it in.
        let found = selectors(VIP, Protocol::Tcp, &stretches[..2]);
        assert_eq!(shown(&found), ["1: tcp 1-79", "2: tcp 80"]);
        assert_eq!(shown(&selectors(VIP, Protocol::Tcp, &[((0, 0), mark(1), at)])), [""; 0]);
    }

    #[test]
    fn what_all_three_protocols_have_becomes_any() {
        let at = Origin::default();
        let mut all = Vec::new();
        for protocol in [Protocol::Tcp, Protocol::Udp, Protocol::Sctp] {
            all.extend(selectors(VIP, protocol, &[((53, 53), mark(1), at)]));
        }
        all.extend(selectors(VIP, Protocol::Tcp, &[((80, 81), mark(1), at)]));
        assert_eq!(shown(&joined(all)), ["1: any 53", "1: tcp 80-81"]);
    }
}
