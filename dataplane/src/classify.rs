//! (VIP, protocol, port) to service, by one hash lookup whatever the number of services.
//!
//! All rules of one VIP and protocol are painted over the port range when the snapshot is
//! made, the most specific last. What is left are a few intervals with one answer each,
//! so that exact ports, ranges, marks and port 0 all cost the same.

use std::collections::{BTreeMap, HashMap};
use std::ops::RangeInclusive;

use crate::ids::{ScopeId, ServiceId};
use crate::wire::{Addr, Protocol};

/// What a packet belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The service.
    pub service: ServiceId,
    /// What its clients' templates are keyed by.
    pub scope: ScopeId,
    /// Whether the service was made for just this port (not for a mark, for every port, or
    /// for FTP's other ports): decides the port on the real server.
    pub own_port: bool,
    /// Whether only FTP's rule led here: such a packet without a real server goes to the
    /// host instead of being refused.
    pub ftp_data: bool,
}

/// How specific a rule is; where several match, the greatest one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(pub u32);

impl Rank {
    /// Every port of a VIP.
    pub const ALL_PORTS: Self = Self(10);
    /// A range of ports.
    pub const RANGE: Self = Self(20);
    /// FTP's other ports: port 20 and the unprivileged ones, before port 0 as in IPVS.
    pub const FTP: Self = Self(25);
    /// One port.
    pub const PORT: Self = Self(30);
    /// A mark given by a firewall rule: wins over every address service, as in IPVS. The
    /// rule's place is added, because the last rule that matches sets the mark.
    pub const FIREWALL: Self = Self(1000);
}

/// One rule to paint.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The VIP, or any address of a network of VIPs.
    pub vip: Addr,
    /// How many bits of it count; the family's full width for one VIP.
    pub length: u8,
    /// The network whose clients it is for; `None` for everybody.
    pub source: Option<(Addr, u8)>,
    /// TCP, UDP or SCTP.
    pub protocol: Protocol,
    /// The ports.
    pub ports: RangeInclusive<u16>,
    /// The answer; `None` for a mark without a service, which takes the packet from the marks
    /// of earlier rules and leaves it to the address services.
    pub hit: Option<Hit>,
    /// Against other rules.
    pub rank: Rank,
}

/// Where which answer begins.
type Canvas = BTreeMap<u32, Option<Hit>>;

/// Paints over a range of ports what another painting has there; it begins at port 0.
fn cover(canvas: &mut Canvas, ports: &RangeInclusive<u16>, with: &[(u32, Option<Hit>)]) {
    let (start, after) = (u32::from(*ports.start()), u32::from(*ports.end()) + 1);
    let behind = canvas.range(..=after).next_back().and_then(|(_, hit)| *hit);
    let covered: Vec<u32> = canvas.range(start..after).map(|(at, _)| *at).collect();
    for at in covered {
        canvas.remove(&at);
    }
    for (at, hit) in with {
        if *at <= start {
            canvas.insert(start, *hit);
        } else if *at < after {
            canvas.insert(*at, *hit);
        }
    }
    if after <= u32::from(u16::MAX) {
        canvas.entry(after).or_insert(behind);
    }
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    start: u16,
    hit: Option<Hit>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    vip: Addr,
    protocol: Protocol,
    first: u32,
    len: u32,
}

#[derive(Clone, Debug)]
struct Prefix {
    network: Addr,
    length: u8,
    protocol: Protocol,
    first: u32,
    len: u32,
}

/// The finished lookup structure. Part of a snapshot, never changed.
#[derive(Clone, Debug, Default)]
pub struct Classifier {
    /// Open addressing with linear probing, at most half full.
    places: Box<[Option<Place>]>,
    intervals: Vec<Interval>,
    /// Networks of VIPs, longest first; asked only where no single VIP matches.
    prefixes: Vec<Prefix>,
    /// What clients of some networks find instead, longest first.
    sources: Vec<(Addr, u8, Classifier)>,
    /// By some bits of an address: whether there may be a rule for it.
    likely: Likely,
}

/// A bit for every few addresses.
#[derive(Clone, Debug, Default)]
struct Likely(Box<[u64]>);

impl Likely {
    /// Words of 64 bits: few enough to stay in the nearest cache.
    const WORDS: usize = 128;

    #[inline(always)]
    fn bit(address: Addr) -> (usize, u64) {
        let hash = slot(address, Protocol::Tcp);
        (hash / 64 % Self::WORDS, 1 << (hash % 64))
    }

    fn add(&mut self, address: Addr) {
        if self.0.is_empty() {
            self.0 = vec![0; Self::WORDS].into();
        }
        let (word, bit) = Self::bit(address);
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    #[inline(always)]
    fn has(&self, address: Addr) -> bool {
        let (word, bit) = Self::bit(address);
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }
}

impl Classifier {
    /// Paints the rules.
    pub fn build(rules: Vec<Rule>) -> Self {
        let mut networks: Vec<(Addr, u8)> =
            rules.iter().filter_map(|rule| rule.source).map(|(a, n)| (a.masked(n), n)).collect();
        networks.sort();
        networks.dedup();
        networks.sort_by_key(|(_, length)| std::cmp::Reverse(*length));
        let of = |network: Option<(Addr, u8)>| {
            let rules = rules.iter().filter(|rule| match (rule.source, network) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some((source, wide)), Some((network, length))) => {
                    wide <= length
                        && source.family() == network.family()
                        && source.masked(wide) == network.masked(wide)
                }
            });
            Self::build_for_all(rules.cloned().collect())
        };
        let sources =
            networks.iter().map(|(network, n)| (*network, *n, of(Some((*network, *n))))).collect();
        let mut built = Self { sources, ..of(None) };
        for rule in &rules {
            built.likely.add(rule.vip);
        }
        built
    }

    /// Paints rules that do not look at the client.
    fn build_for_all(mut rules: Vec<Rule>) -> Self {
        // Stable, so that of two rules with one rank the later one is painted over.
        rules.sort_by_key(|rule| rule.rank);
        let mut single: HashMap<(Addr, Protocol), Vec<&Rule>> = HashMap::new();
        let mut networks: Vec<(Addr, u8, Protocol)> = Vec::new();
        for rule in &rules {
            if rule.length == rule.vip.family().bits() {
                single.entry((rule.vip, rule.protocol)).or_default();
            } else {
                networks.push((rule.vip.masked(rule.length), rule.length, rule.protocol));
            }
        }
        networks.sort();
        networks.dedup();
        networks.sort_by_key(|(_, length, _)| std::cmp::Reverse(*length));
        let wide: Vec<&Rule> = rules.iter().filter(|r| r.length != r.vip.family().bits()).collect();
        for rule in &rules {
            if rule.length == rule.vip.family().bits()
                && let Some(list) = single.get_mut(&(rule.vip, rule.protocol))
            {
                list.push(rule);
            }
        }
        let mut built = Self::with_room(single.len());
        for ((vip, protocol), mut list) in single {
            if !wide.is_empty() {
                list.extend(wide.iter().filter(|rule| covers(rule, vip, protocol)));
                list.sort_by_key(|rule| rule.rank);
            }
            let (first, len) = built.paint(&list);
            built.place(Place { vip, protocol, first, len });
        }
        for (network, length, protocol) in networks {
            let list: Vec<&Rule> = wide
                .iter()
                .filter(|rule| rule.length <= length && covers(rule, network, protocol))
                .copied()
                .collect();
            let (first, len) = built.paint(&list);
            built.prefixes.push(Prefix { network, length, protocol, first, len });
        }
        built
    }

    fn with_room(vips: usize) -> Self {
        let places = (vips * 2).next_power_of_two().max(2);
        Self { places: vec![None; places].into_boxed_slice(), ..Self::default() }
    }

    fn paint(&mut self, rules: &[&Rule]) -> (u32, u32) {
        let mut canvas = Canvas::from([(0, None)]);
        // The rules come in the order of their ranks, those that set marks last.
        let marks = rules.partition_point(|rule| rule.rank < Rank::FIREWALL);
        let (addresses, marks) = rules.split_at(marks);
        for rule in addresses {
            cover(&mut canvas, &rule.ports, &[(0, rule.hit)]);
        }
        let unmarked: Vec<(u32, Option<Hit>)> =
            canvas.iter().map(|(at, hit)| (*at, *hit)).collect();
        for rule in marks {
            match rule.hit {
                hit @ Some(_) => cover(&mut canvas, &rule.ports, &[(0, hit)]),
                None => cover(&mut canvas, &rule.ports, &unmarked),
            }
        }
        let first = self.intervals.len();
        for (start, hit) in canvas {
            let repeats = self.intervals.len() > first
                && self.intervals.last().is_some_and(|last| last.hit == hit);
            if !repeats {
                self.intervals.push(Interval { start: start as u16, hit });
            }
        }
        (first as u32, (self.intervals.len() - first) as u32)
    }

    fn place(&mut self, place: Place) {
        let mask = self.places.len() - 1;
        let mut at = slot(place.vip, place.protocol) & mask;
        while let Some(taken) = self.places.get_mut(at) {
            if taken.is_none() {
                *taken = Some(place);
                return;
            }
            at = (at + 1) & mask;
        }
    }

    /// The service of a packet from this client to this address, protocol and port.
    #[inline]
    pub fn for_client(
        &self,
        client: Addr,
        vip: Addr,
        protocol: Protocol,
        vip_port: u16,
    ) -> Option<Hit> {
        if self.sources.is_empty() {
            return self.lookup(vip, protocol, vip_port);
        }
        let mut networks = self.sources.iter();
        let own = networks.find(|(network, length, _)| {
            network.family() == client.family() && client.masked(*length) == *network
        });
        own.map_or(self, |(_, _, classifier)| classifier).lookup(vip, protocol, vip_port)
    }

    /// Whether any rule looks at the client: then [`Self::lookup`] does not say all.
    #[inline]
    pub fn looks_at_clients(&self) -> bool {
        !self.sources.is_empty()
    }

    /// Whether any rule may be for this address. Quick, and never wrong if it says no.
    #[inline(always)]
    pub fn may_have(&self, vip: Addr) -> bool {
        self.likely.has(vip) || !self.prefixes.is_empty() || !self.sources.is_empty()
    }

    /// Whether any rule is for this address, whatever the port.
    pub fn has_address(&self, vip: Addr) -> bool {
        let placed = |protocol| {
            let mask = self.places.len().wrapping_sub(1);
            let mut at = slot(vip, protocol) & mask;
            while let Some(Some(place)) = self.places.get(at) {
                if place.vip == vip && place.protocol == protocol {
                    return true;
                }
                at = (at + 1) & mask;
            }
            false
        };
        [Protocol::Tcp, Protocol::Udp, Protocol::Sctp].into_iter().any(placed)
            || self.prefixes.iter().any(|prefix| {
                prefix.network.family() == vip.family()
                    && vip.masked(prefix.length) == prefix.network
            })
            || self.sources.iter().any(|(_, _, classifier)| classifier.has_address(vip))
    }

    /// The service of a packet to this address, protocol and port from a client that no rule
    /// names.
    #[inline]
    pub fn lookup(&self, vip: Addr, protocol: Protocol, vip_port: u16) -> Option<Hit> {
        let mask = self.places.len().wrapping_sub(1);
        let mut at = slot(vip, protocol) & mask;
        while let Some(Some(place)) = self.places.get(at) {
            if place.vip == vip && place.protocol == protocol {
                return self.port(place.first, place.len, vip_port);
            }
            at = (at + 1) & mask;
        }
        if self.prefixes.is_empty() { None } else { self.lookup_network(vip, protocol, vip_port) }
    }

    #[cold]
    fn lookup_network(&self, vip: Addr, protocol: Protocol, vip_port: u16) -> Option<Hit> {
        let prefix = self.prefixes.iter().find(|prefix| {
            prefix.protocol == protocol
                && prefix.network.family() == vip.family()
                && vip.masked(prefix.length) == prefix.network
        })?;
        self.port(prefix.first, prefix.len, vip_port)
    }

    #[inline]
    fn port(&self, first: u32, len: u32, vip_port: u16) -> Option<Hit> {
        let intervals = self.intervals.get(first as usize..(first + len) as usize)?;
        let after = intervals.partition_point(|interval| interval.start <= vip_port);
        intervals.get(after.wrapping_sub(1))?.hit
    }
}

fn covers(rule: &Rule, vip: Addr, protocol: Protocol) -> bool {
    rule.protocol == protocol
        && rule.vip.family() == vip.family()
        && vip.masked(rule.length) == rule.vip.masked(rule.length)
}

#[inline]
fn slot(vip: Addr, protocol: Protocol) -> usize {
    let [high, low] = vip.words();
    let mixed = (high ^ low.rotate_left(29) ^ u64::from(protocol.number()))
        .wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as usize ^ mixed as usize >> 7
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn rule(vip: &str, length: u8, ports: RangeInclusive<u16>, rank: Rank, service: u32) -> Rule {
        Rule {
            vip: addr(vip),
            length,
            source: None,
            protocol: Protocol::Tcp,
            ports,
            hit: Some(Hit {
                service: ServiceId(service),
                scope: ScopeId(service),
                own_port: false,
                ftp_data: false,
            }),
            rank,
        }
    }

    fn service(classifier: &Classifier, vip: &str, port: u16) -> Option<u32> {
        classifier.lookup(addr(vip), Protocol::Tcp, port).map(|hit| hit.service.0)
    }

    #[test]
    fn an_exact_port_comes_before_a_range_and_a_range_before_port_zero() {
        let built = Classifier::build(vec![
            rule("198.18.255.1", 32, 443..=443, Rank::PORT, 1),
            rule("198.18.255.1", 32, 0..=65_535, Rank::ALL_PORTS, 2),
            rule("198.18.255.1", 32, 400..=500, Rank::RANGE, 3),
            rule("198.18.255.2", 32, 65_535..=65_535, Rank::PORT, 4),
        ]);
        for (port, expected) in [
            (443, 1),
            (442, 3),
            (444, 3),
            (400, 3),
            (500, 3),
            (399, 2),
            (501, 2),
            (0, 2),
            (65_535, 2),
        ] {
            assert_eq!(service(&built, "198.18.255.1", port), Some(expected), "port {port}");
        }
        assert_eq!(service(&built, "198.18.255.2", 65_535), Some(4));
        assert!(
            built.has_address(addr("198.18.255.2")) && !built.has_address(addr("198.18.255.3"))
        );
        assert!(built.may_have(addr("198.18.255.1")) && built.may_have(addr("198.18.255.2")));
        let likely = (0..10_000).filter(|n| built.may_have(Addr::v4(0x0A00_0000 + n))).count();
        assert!(likely < 20, "{likely} of 10,000 addresses without a rule");
        assert!(!built.looks_at_clients());
        assert_eq!(service(&built, "198.18.255.2", 65_534), None);
        assert_eq!(service(&built, "198.18.255.3", 443), None);
        assert_eq!(built.lookup(addr("198.18.255.1"), Protocol::Udp, 443), None);
    }

    #[test]
    fn a_network_of_vips_answers_where_no_single_vip_does_and_below_it_by_rank() {
        let built = Classifier::build(vec![
            rule("198.18.0.0", 15, 80..=80, Rank(1000), 7),
            rule("198.18.1.1", 32, 0..=65_535, Rank::ALL_PORTS, 8),
        ]);
        assert_eq!(service(&built, "198.19.4.4", 80), Some(7));
        assert_eq!(service(&built, "198.19.4.4", 81), None);
        assert_eq!(service(&built, "198.18.1.1", 80), Some(7));
        assert_eq!(service(&built, "198.18.1.1", 81), Some(8));
        assert_eq!(service(&built, "198.20.0.1", 80), None);
    }

    #[test]
    fn clients_of_a_named_network_find_what_is_for_them_and_what_is_for_all() {
        let source = |text, length| Some((addr(text), length));
        let built = Classifier::build(vec![
            rule("198.18.255.1", 32, 80..=80, Rank::PORT, 1),
            rule("198.18.255.1", 32, 443..=443, Rank::PORT, 2),
            Rule { source: source("10.9.1.2", 16), ..rule("0.0.0.0", 0, 80..=80, Rank(1000), 3) },
            Rule { source: source("10.9.7.0", 24), ..rule("0.0.0.0", 0, 443..=443, Rank(1001), 4) },
        ]);
        assert!(built.looks_at_clients() && built.may_have(addr("198.18.9.9")));
        let found = |client, port| {
            let vip = addr("198.18.255.1");
            built.for_client(addr(client), vip, Protocol::Tcp, port).map(|hit| hit.service.0)
        };
        for (client, port, expected) in [
            ("10.1.0.1", 80, 1),
            ("10.1.0.1", 443, 2),
            ("10.9.0.1", 80, 3),
            ("10.9.0.1", 443, 2),
            ("10.9.7.1", 80, 3),
            ("10.9.7.1", 443, 4),
        ] {
            assert_eq!(found(client, port), Some(expected), "{client} to port {port}");
        }
    }

    #[test]
    fn an_empty_classifier_knows_nothing() {
        assert_eq!(service(&Classifier::default(), "198.18.0.1", 80), None);
        assert_eq!(service(&Classifier::build(vec![]), "198.18.0.1", 80), None);
    }

    #[test]
    fn a_later_mark_without_a_service_leaves_the_packet_to_the_address_services() {
        let mark = |ports, place, service| {
            rule("10.0.0.1", 32, ports, Rank(Rank::FIREWALL.0 + place), service)
        };
        let built = Classifier::build(vec![
            rule("10.0.0.1", 32, 80..=80, Rank::PORT, 1),
            mark(70..=90, 0, 2),
            Rule { hit: None, ..mark(80..=85, 1, 0) },
            mark(84..=84, 2, 3),
        ]);
        let found = [69, 70, 79, 80, 81, 83, 84, 85, 86, 90, 91];
        let found = found.map(|port| service(&built, "10.0.0.1", port));
        let (two, three) = (Some(2), Some(3));
        let wanted = [None, two, two, Some(1), None, None, three, None, two, two, None];
        assert_eq!(found, wanted);
    }

    #[test]
    fn ten_thousand_services_are_all_found() {
        let vip = |i: u32| Addr::v4(0xC612_0000 + i / 100);
        let rules = (0..10_000u32)
            .map(|i| Rule {
                vip: vip(i),
                ..rule("0.0.0.0", 32, (i % 100) as u16..=(i % 100) as u16, Rank::PORT, i)
            })
            .collect();
        let built = Classifier::build(rules);
        for i in 0..10_000u32 {
            let hit = built.lookup(vip(i), Protocol::Tcp, (i % 100) as u16).unwrap();
            assert_eq!(hit.service.0, i);
        }
    }
}
