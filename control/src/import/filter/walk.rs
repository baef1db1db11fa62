//! Which packets leave the rules with which mark.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::IpAddr;

use crate::config::model::{Family, Protocol};

use super::super::draft::Origin;
use super::super::note::Notes;
use super::{ALL_PROTOCOLS, Match, Ports, Rule, Ruleset, Verdict};

/// The ports of a VIP under a protocol that have a mark, and the rule that put it on. The
/// stretches are disjoint, sorted and as long as can be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::import) struct Painted {
    pub(in crate::import) vip: IpAddr,
    pub(in crate::import) protocol: Protocol,
    pub(in crate::import) stretches: Vec<(Ports, u32, Origin)>,
}

/// Rules looked at in all: a bound on the time, far above what any real ruleset takes.
const MOST_STEPS: u64 = 15_000_000;
/// What noting that a rule's mark was kept or covered counts for.
const TO_NOTE: u64 = 8;
/// Chains within chains; iptables refuses loops, and here they end.
const DEEPEST: usize = 64;
/// VIPs looked at.
const MOST_VIPS: usize = 65_536;
/// Addresses of networks that overlap.
const MOST_ADDRESSES: usize = 8 * MOST_VIPS;

/// Sends packets to every VIP that the rules name, or that is among `known`.
pub(in crate::import) fn marks(
    rules: &Ruleset,
    known: impl Iterator<Item = IpAddr>,
    notes: &mut Notes,
) -> Vec<Painted> {
    if !rules.marks_anything() {
        return Vec::new();
    }
    let mut vips: BTreeSet<IpAddr> = known.take(MOST_VIPS).collect();
    named(rules, &mut vips, notes);
    let names_ports =
        |rule: &&Rule| rule.matches.iter().any(|matched| matches!(matched, Match::Ports { .. }));
    let mut walk = Walk {
        rules,
        with_ports: rules.rules().filter(names_ports).collect(),
        chains: rules.chains() as u64,
        steps: 0,
        anywhere: BTreeSet::new(),
        kept: BTreeSet::new(),
        covered: BTreeMap::new(),
        lost: BTreeSet::new(),
        dropped: BTreeSet::new(),
        missing: BTreeSet::new(),
    };
    let mut painted = Vec::new();
    for vip in vips.iter().copied() {
        let cuts = walk.cuts(vip);
        for protocol in ALL_PROTOCOLS {
            let stretches = walk.paint(vip, protocol, &cuts);
            if !stretches.is_empty() {
                painted.push(Painted { vip, protocol, stretches });
            }
        }
        if walk.steps >= MOST_STEPS {
            let why = "it would take too long to find out which packets they fit";
            let hint = "split the file, or write the selectors by hand";
            let what = format!("the rules for {vip} and the addresses behind it");
            notes.add(Origin::default(), what, why, hint);
            break;
        }
    }
    walk.report(vips.is_empty(), notes);
    painted
}

/// Every address that a rule names as a destination.
fn named(rules: &Ruleset, vips: &mut BTreeSet<IpAddr>, notes: &mut Notes) {
    let mut walked = HashSet::new();
    let mut addresses = 0;
    for rule in rules.rules() {
        for matched in &rule.matches {
            let Match::Destination { nets, not: false } = matched else { continue };
            for net in nets {
                if walked.contains(net) {
                    continue;
                }
                match net.addresses() {
                    Some(all)
                        if vips.len() + all.len() <= MOST_VIPS && addresses < MOST_ADDRESSES =>
                    {
                        addresses += all.len();
                        vips.extend(all);
                        walked.insert(*net);
                    }
                    _ => {
                        let what = format!("destination {} to {}", net.first, net.last);
                        let why = "a selector has one VIP, and these are too many";
                        let hint = "it counts for the VIPs that are named elsewhere; \
                                    add selectors for others";
                        notes.add(rule.origin, what, why, hint);
                    }
                }
            }
        }
    }
}

/// A packet on its way.
struct Packet {
    vip: IpAddr,
    family: Family,
    protocol: Protocol,
    port: u16,
    mark: u32,
    /// The rules that put the mark on, the last one last; those before it put on bits that
    /// are left.
    by: Vec<Origin>,
}

/// What a chain did to a packet.
enum Left {
    /// It came to the end of the chain.
    Through,
    Accepted,
    Dropped,
}

struct Walk<'a> {
    rules: &'a Ruleset,
    /// Those that name ports.
    with_ports: Vec<&'a Rule>,
    chains: u64,
    steps: u64,
    /// Rules that mark packets without a word about their destination.
    anywhere: BTreeSet<Origin>,
    /// Rules whose mark some packet kept.
    kept: BTreeSet<Origin>,
    /// Rules whose mark another one put its own over, and that one.
    covered: BTreeMap<Origin, Origin>,
    /// Rules whose packets came to IPVS without a mark in the end, or not at all.
    lost: BTreeSet<Origin>,
    /// Rules that drop.
    dropped: BTreeSet<Origin>,
    /// Rules that lead to a chain that is not there.
    missing: BTreeSet<Origin>,
}

impl Walk<'_> {
    /// The ports at which something may change, from 0 on.
    fn cuts(&mut self, vip: IpAddr) -> Vec<u16> {
        let mut cuts = BTreeSet::from([0]);
        self.steps += self.chains;
        for rule in &self.with_ports {
            self.steps += 1;
            let here = rule.matches.iter().all(|matched| match matched {
                Match::Destination { nets, not } => {
                    nets.iter().any(|net| net.contains(vip)) != *not
                }
                _ => true,
            });
            for matched in rule.matches.iter().filter(|_| here) {
                let Match::Ports { ports, .. } = matched else { continue };
                self.steps += ports.len() as u64;
                for (first, last) in ports {
                    cuts.insert(*first);
                    cuts.extend(last.checked_add(1));
                }
            }
        }
        cuts.into_iter().collect()
    }

    fn paint(
        &mut self,
        vip: IpAddr,
        protocol: Protocol,
        cuts: &[u16],
    ) -> Vec<(Ports, u32, Origin)> {
        let mut stretches: Vec<(Ports, u32, Origin)> = Vec::new();
        for (index, first) in cuts.iter().copied().enumerate() {
            if self.steps >= MOST_STEPS {
                break;
            }
            let last = cuts.get(index + 1).map_or(u16::MAX, |next| next.saturating_sub(1));
            let Some((mark, by)) = self.send(vip, protocol, first) else { continue };
            match stretches.last_mut() {
                Some((ports, same, _))
                    if *same == mark && ports.1.checked_add(1) == Some(first) =>
                {
                    ports.1 = last;
                }
                _ => stretches.push(((first, last), mark, by)),
            }
        }
        stretches
    }

    /// The mark with which a packet comes to IPVS.
    fn send(&mut self, vip: IpAddr, protocol: Protocol, port: u16) -> Option<(u32, Origin)> {
        let family = Family::of(vip);
        let mut packet = Packet { vip, family, protocol, port, mark: 0, by: Vec::new() };
        let rules = self.rules;
        for entry in &rules.entries {
            self.steps += 1;
            let Some(table) = rules.tables.get(&entry.table) else { continue };
            if table.family.is_some_and(|only| only != family) {
                continue;
            }
            if let Left::Dropped = self.chain(table, &entry.chain, &mut packet, false, 0) {
                self.lost.extend(packet.by);
                return None;
            }
        }
        if packet.mark == 0 {
            self.lost.extend(packet.by);
            return None;
        }
        let last = *packet.by.last()?;
        self.kept.extend(packet.by);
        Some((packet.mark, last))
    }

    /// `placed`: a rule on the way here has looked at the destination.
    fn chain(
        &mut self,
        table: &super::Table,
        name: &str,
        packet: &mut Packet,
        placed: bool,
        depth: usize,
    ) -> Left {
        let Some(rules) = table.chains.get(name).filter(|_| depth < DEEPEST) else {
            return Left::Through;
        };
        for rule in rules {
            self.steps += 1 + rule.matches.len() as u64;
            if self.steps >= MOST_STEPS {
                return Left::Through;
            }
            if !rule.matches.iter().all(|matched| self.fits(matched, packet)) {
                continue;
            }
            let placed = placed || names_destination(rule);
            if let Verdict::Jump(to) | Verdict::Goto(to) = &rule.verdict
                && !table.chains.contains_key(to)
            {
                self.missing.insert(rule.origin);
            }
            match &rule.verdict {
                Verdict::Go => {}
                Verdict::Mark { keep, flip } => {
                    packet.mark = packet.mark & keep ^ flip;
                    self.steps += TO_NOTE * packet.by.len() as u64;
                    if *keep == 0 {
                        let over = packet.by.drain(..).map(|by| (by, rule.origin));
                        self.covered.extend(over);
                    }
                    packet.by.push(rule.origin);
                    if !placed && packet.mark != 0 {
                        self.anywhere.insert(rule.origin);
                    }
                }
                Verdict::Return => return Left::Through,
                Verdict::Accept => return Left::Accepted,
                Verdict::Drop => {
                    self.dropped.insert(rule.origin);
                    return Left::Dropped;
                }
                Verdict::Jump(to) => match self.chain(table, to, packet, placed, depth + 1) {
                    Left::Through => {}
                    left => return left,
                },
                Verdict::Goto(to) => return self.chain(table, to, packet, placed, depth + 1),
            }
        }
        Left::Through
    }

    fn fits(&mut self, matched: &Match, packet: &Packet) -> bool {
        match matched {
            Match::Family(family) => *family == packet.family,
            Match::Destination { nets, not } => {
                self.steps += nets.len() as u64;
                nets.iter().any(|net| net.contains(packet.vip)) != *not
            }
            Match::Protocols { protocols, not } => protocols.contains(&packet.protocol) != *not,
            Match::Ports { ports, not } => {
                self.steps += ports.len() as u64;
                let port = packet.port;
                ports.iter().any(|(first, last)| (*first..=*last).contains(&port)) != *not
            }
            Match::Mark { value, mask, not } => (packet.mark & mask == *value) != *not,
            Match::Never => false,
        }
    }

    /// Rules that would put a mark on and that no packet came to. Those that look for other
    /// packets than the first ones from outside, or for other protocols than a service has,
    /// are left out, as are all when not every packet could be sent.
    fn unreached(&self, no_vips: bool) -> Vec<Origin> {
        if no_vips || self.steps >= MOST_STEPS {
            return Vec::new();
        }
        let marks = |rule: &&Rule| matches!(rule.verdict, Verdict::Mark { flip, .. } if flip != 0);
        let first = |rule: &&Rule| {
            !rule.matches.iter().any(|matched| match matched {
                Match::Never => true,
                Match::Protocols { protocols, not: false } => protocols.is_empty(),
                _ => false,
            })
        };
        let unmoved = |origin: &Origin| {
            let moved = self.kept.contains(origin) || self.lost.contains(origin);
            !moved && !self.covered.contains_key(origin)
        };
        let rules = self.rules.rules().filter(marks).filter(first).map(|rule| rule.origin);
        rules.filter(unmoved).collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn report(self, no_vips: bool, notes: &mut Notes) {
        let unreached = self.unreached(no_vips);
        let why = "the rule names no destination, and a selector needs a VIP";
        let anywhere: Vec<Origin> = if no_vips {
            let marking = |rule: &&Rule| matches!(rule.verdict, Verdict::Mark { .. });
            self.rules.rules().filter(marking).map(|rule| rule.origin).collect()
        } else {
            self.anywhere.into_iter().collect()
        };
        for origin in anywhere {
            let hint = if no_vips {
                "write the selectors by hand"
            } else {
                "it counts for every VIP that is named elsewhere; add selectors for others"
            };
            notes.add(origin, "a mark for any destination", why, hint);
        }
        for origin in unreached {
            let why = "no packet that opens a connection from outside comes to this rule";
            let hint = "see whether its chain has a hook before IPVS (prerouting or input) or is \
                        called from one, and which rules stand before it";
            notes.add(origin, "a mark that no packet gets", why, hint);
        }
        for (origin, by) in self.covered.into_iter().filter(|(rule, _)| !self.kept.contains(rule)) {
            let why = format!("all of its packets get the mark of line {}", by.line());
            let hint = "leave it out, or see whether the other rule was meant to come first";
            notes.add(origin, "a mark that no packet keeps", why, hint);
        }
        for origin in self.missing {
            let why = "there is no such chain, and it is no target that is known";
            let hint = "if it puts marks on, write the selectors by hand";
            notes.add(origin, "a rule with an unknown target", why, hint);
        }
        for origin in self.dropped {
            let why = "Director is no packet filter";
            let hint = "such packets have no selector now; filter before the director";
            notes.add(origin, "a rule that drops packets", why, hint);
        }
    }
}

fn names_destination(rule: &Rule) -> bool {
    rule.matches.iter().any(|matched| matches!(matched, Match::Destination { not: false, .. }))
}

#[cfg(test)]
mod tests {
    use super::super::super::draft::Draft;
    use super::super::{Reader, nft};
    use super::*;
    use crate::ipvsadm::Names;

    /// Which ports get which mark, VIP by VIP; protocols that have the same are joined.
    fn painted(text: &str) -> Vec<String> {
        walked(text).0
    }

    fn notes(text: &str) -> Vec<String> {
        let notes = walked(text).1.finish(&["f".to_owned()]);
        notes.iter().map(ToString::to_string).collect()
    }

    fn walked(text: &str) -> (Vec<String>, Notes) {
        let mut draft = Draft::new(["f"].into_iter());
        if text.starts_with("table") {
            nft(0, text, &Names::offline(), &mut draft);
        } else {
            let mut reader = Reader::new(0, text);
            crate::import::script::each(text, |line| {
                let origin = Origin::new(0, line.number);
                reader.command(origin, &line.words, false, &Names::offline(), &mut draft);
            });
        }
        let mut notes = std::mem::take(&mut draft.notes);
        let mut lines: Vec<String> = Vec::new();
        for one in marks(&draft.rules, std::iter::empty(), &mut notes) {
            for ((first, last), mark, _) in one.stretches {
                lines.push(format!("{} {} {first}-{last} {mark:#x}", one.vip, one.protocol));
            }
        }
        (lines, notes)
    }

    #[test]
    fn a_later_rule_marks_over_an_earlier_one() {
        let all = "-t mangle -A PREROUTING -d 198.18.255.1 -p tcp -j MARK --set-mark 1\n";
        let one =
            "-t mangle -A PREROUTING -d 198.18.255.1 -p tcp --dport 80 -j MARK --set-mark 2\n";
        assert_eq!(
            painted(&[all, one].concat()),
            [
                "198.18.255.1 tcp 0-79 0x1",
                "198.18.255.1 tcp 80-80 0x2",
                "198.18.255.1 tcp 81-65535 0x1"
            ]
        );
        assert_eq!(painted(&[one, all].concat()), ["198.18.255.1 tcp 0-65535 0x1"]);
        assert_eq!(notes(&[all, one].concat()), [""; 0]);
        let noted = notes(&[one, all].concat());
        assert_eq!(noted.len(), 1, "{noted:?}");
        let said = "f:1: a mark that no packet keeps: all of its packets get the mark of line 2;";
        assert!(noted.concat().starts_with(said), "{noted:?}");
    }

    #[test]
    fn a_mark_that_no_packet_gets_is_told() {
        let text = "table ip t {\n chain c {\n ip daddr 198.18.255.1 tcp dport 80 mark set 1\n }\n\
                    chain d {\n type filter hook prerouting priority mangle;\n\
                    ip daddr 198.18.255.1 tcp dport 81 mark set 2\n\
                    ip daddr 198.18.255.1 ct state established mark set 3\n}\n}\n";
        assert_eq!(painted(text), ["198.18.255.1 tcp 81-81 0x2"]);
        let noted = notes(text);
        assert_eq!(noted.len(), 1, "{noted:?}");
        assert!(noted.concat().starts_with("f:3: a mark that no packet gets: "), "{noted:?}");
        let text = "-t mangle -A a -d 198.18.255.1 -p tcp -j MARK --set-mark 1\n\
                    -t mangle -A PREROUTING -d 198.18.255.1 -p udp -j MARK --set-mark 1\n\
                    -t mangle -A PREROUTING -d 198.18.255.1 -p udp -j MARK --xor-mark 1\n";
        assert_eq!(painted(text), [""; 0]);
        let noted = notes(text);
        assert_eq!(noted.len(), 1, "{noted:?}");
        assert!(noted.concat().starts_with("f:1: a mark that no packet gets: "), "{noted:?}");
    }

    #[test]
    fn masks_keep_the_other_bits_of_a_mark() {
        let text = "-t mangle -A PREROUTING -d 198.18.255.1 -p udp -j MARK --set-mark 0xf0f\n\
                    -t mangle -A PREROUTING -m mark --mark 0x0f/0xff -j MARK --set-xmark 0x11/0xff\n\
                    -t mangle -A PREROUTING -m mark ! --mark 0xf11 -j MARK --set-mark 9\n\
                    -t mangle -A PREROUTING -p udp -j MARK --and-mark 0xff0\n\
                    -t mangle -A PREROUTING -p udp -j MARK --or-mark 0x4\n\
                    -t mangle -A PREROUTING -p tcp -j MARK --set-mark 0\n\
                    -t mangle -A PREROUTING -p sctp -j MARK --xor-mark 9\n";
        assert_eq!(painted(text), ["198.18.255.1 udp 0-65535 0xf14"]);
    }

    #[test]
    fn chains_return_where_they_were_called_and_accept_ends_them_all() {
        let text = "-t mangle -N a\n-t mangle -N b\n\
                    -t mangle -A PREROUTING -d 198.18.255.1 -p tcp -j a\n\
                    -t mangle -A PREROUTING -d 198.18.255.1 -p tcp --dport 4 -j MARK --set-mark 4\n\
                    -t mangle -A a -p tcp -m tcp ! --dport 1:5 -j RETURN\n\
                    -t mangle -A a -p tcp --dport 1 -j MARK --set-mark 1\n\
                    -t mangle -A a -p tcp --dport 3:4 -g b\n\
                    -t mangle -A a -p tcp -m multiport --dports 2,3 -j MARK --set-mark 2\n\
                    -t mangle -A b -p tcp -j MARK --set-mark 3\n\
                    -t mangle -A b -p tcp --dport 4 -j ACCEPT\n\
                    -t mangle -A a -p tcp --dport 5 -j DROP\n\
                    -t mangle -I a 1 -p tcp --dport 1 -j ACCEPT\n";
        assert_eq!(painted(text), ["198.18.255.1 tcp 2-2 0x2", "198.18.255.1 tcp 3-4 0x3"]);
    }

    #[test]
    fn what_nft_does_to_marks_of_connections_is_told() {
        let noted = |rule: &str| {
            let text = format!(
                "table ip t {{\n chain c {{\n type filter hook prerouting priority mangle;\n\
                 ip daddr 198.18.255.1 tcp dport 80 mark set 1\n{rule}\n}}\n}}\n"
            );
            (painted(&text), notes(&text))
        };
        let set = "it marks the connection and not the packet";
        let copied = "it remembers each connection's service by itself";
        for (rule, why) in [
            ("ct mark set 10", set),
            ("tcp dport 443 counter ct mark set 0xa accept", set),
            ("ct mark set mark", copied),
            ("ct mark set meta mark & 0xff", copied),
            ("meta mark set ct mark", copied),
            ("ct state established meta mark set ct mark and 0xff counter", copied),
            ("meta mark set (ct mark & 0xff) | 0x100", copied),
            ("ct mark 5 meta mark set 6", "a selector cannot ask for a connection's mark"),
        ] {
            let (painted, notes) = noted(rule);
            assert_eq!(painted, ["198.18.255.1 tcp 80-80 0x1"], "{rule}");
            assert_eq!(notes.len(), 1, "{rule}: {notes:?}");
            let shown = rule.replace('(', "( ").replace(')', " )");
            let begin = format!("f:5: {shown}: ");
            assert!(notes.concat().starts_with(&begin), "{notes:?}");
            assert!(notes.concat().contains(why), "{notes:?}");
        }
        for (rule, why) in [
            ("ip daddr 198.18.255.1 tcp dport 80 reject with tcp reset", "no packet filter"),
            ("ip daddr 198.18.255.1 tcp dport 80 dnat to 198.18.0.9", "nothing like `dnat`"),
            ("tcp dport 80 tproxy to :8080", "nothing like `tproxy`"),
        ] {
            let (_, notes) = noted(rule);
            assert!(notes.iter().any(|note| note.contains(why)), "{rule}: {notes:?}");
        }
    }

    #[test]
    fn nft_rules_do_what_iptables_rules_do() {
        let text = "table ip t {\n chain c {\n type filter hook prerouting priority mangle;\n\
                    ip daddr 198.18.255.1 tcp dport vmap { 80 : jump web, 25 : drop, 22 : accept }\n\
                    ip daddr . tcp dport { 198.18.255.2 . 53, 198.18.255.3 . 53-54 } mark set 7\n\
                    ip daddr 198.18.255.1 tcp dport { 22, 25 } mark set 8\n\
                    ip daddr 198.18.255.2 meta l4proto != { tcp, udp } meta mark set 0x100 comment \"x\"\n\
                    meta mark & 0xff00 == 0x100 meta mark set mark and 0xff or 0x2 return\n\
                    }\n chain web { ct state new counter meta mark set 5; }\n}\n";
        assert_eq!(
            painted(text),
            [
                "198.18.255.1 tcp 80-80 0x5",
                "198.18.255.2 tcp 53-53 0x7",
                "198.18.255.2 sctp 0-65535 0x2",
                "198.18.255.3 tcp 53-54 0x7"
            ]
        );
    }
}
