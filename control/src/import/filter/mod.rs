//! Firewall marks: the rules that put them on, and which packets get which.
//!
//! Rules of iptables and nft are read into one form. What they do is then not guessed from how
//! they look but found by sending packets through them: for every VIP and protocol one packet
//! for each stretch of ports between two numbers that any rule names. So order, user chains,
//! masks and `-m mark` count exactly as in the kernel.

mod iptables;
mod iptables_rule;
mod nft;
mod nft_mark;
mod nft_rule;
mod nft_text;
mod walk;

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

use crate::config::model::{Family, Protocol};

use super::draft::Origin;

pub(super) use iptables::Reader;
pub(super) use nft::{is_nft, read as nft};
pub(super) use walk::{Painted, marks};

/// Addresses from the first to the last, both included and of one family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Net {
    first: IpAddr,
    last: IpAddr,
}

/// Ports from the first to the last, both included.
type Ports = (u16, u16);

/// What a packet must have for a rule to fit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Match {
    Family(Family),
    /// Its destination is in one of these, or in none of them.
    Destination {
        nets: Vec<Net>,
        not: bool,
    },
    /// Its protocol is one of these, or none of them.
    Protocols {
        protocols: Vec<Protocol>,
        not: bool,
    },
    /// Its destination port is in one of these, or in none of them.
    Ports {
        ports: Vec<Ports>,
        not: bool,
    },
    /// Its mark under the mask has this value, or another one.
    Mark {
        value: u32,
        mask: u32,
        not: bool,
    },
    /// No packet that comes from a NIC and opens a connection.
    Never,
}

impl Match {
    /// How many addresses and ports it has.
    fn size(&self) -> usize {
        match self {
            Match::Destination { nets, .. } => nets.len(),
            Match::Ports { ports, .. } => ports.len(),
            Match::Family(_) | Match::Protocols { .. } | Match::Mark { .. } | Match::Never => 1,
        }
    }
}

/// Why a rule that marks connections is worth a note, and what to do about it.
const CONNECTION_MARKED: (&str, &str) = (
    "it marks the connection and not the packet, and Director tracks no marks of connections",
    "mark the packets with the same mark (iptables: -j MARK; nft: meta mark set)",
);
/// The same of one that copies the mark from the connection to the packet, or back.
const COPIED: (&str, &str) = (
    "Director tracks no marks of connections; it remembers each connection's service by itself",
    "leave it out where another rule gives packets the mark; else let this one do it \
     (iptables: -j MARK; nft: meta mark set)",
);

/// Why what belongs to a ruleset is left out, and what to do.
const TOO_MUCH: &str = "there are too many rules, or too many addresses and ports in them";
const IN_PARTS: &str = "import it in parts, or write the selectors by hand";

/// What becomes of a packet that fits.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// The mark becomes (mark & keep) ^ flip.
    Mark {
        keep: u32,
        flip: u32,
    },
    Jump(String),
    Goto(String),
    Return,
    Accept,
    Drop,
    /// Nothing that concerns marks.
    Go,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    origin: Origin,
    matches: Vec<Match>,
    verdict: Verdict,
}

/// Where packets enter a chain on their way to a virtual service.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    hook: Hook,
    priority: i32,
    table: String,
    chain: String,
}

/// The kernel's hooks before IPVS, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Hook {
    Prerouting,
    Input,
}

/// All tables of all files.
#[derive(Debug, Default)]
pub(super) struct Ruleset {
    tables: HashMap<String, Table>,
    entries: BTreeSet<Entry>,
    /// What was added so far: chains, rules, and their addresses and ports.
    chains: usize,
    added: usize,
    elements: usize,
    /// Rules that were moved or compared to put one among them or take one out.
    moved: usize,
}

/// Chains, rules, and addresses and ports in them, that are taken over of all files; and rules
/// that are passed when chains are changed in their middle. Rulesets of this size take the
/// kernel itself minutes.
const MOST_CHAINS: usize = 40_000;
const MOST_RULES: usize = 150_000;
const MOST_ELEMENTS: usize = 500_000;
const MOST_MOVED: usize = 20_000_000;

#[derive(Debug, Default)]
struct Table {
    /// Packets of the other family do not see it; `None`: of both.
    family: Option<Family>,
    chains: HashMap<String, Vec<Rule>>,
}

impl Ruleset {
    /// The rules of a chain, which is made where it is not there; `None` if there are too many
    /// chains.
    fn chain(
        &mut self,
        table: &str,
        family: Option<Family>,
        chain: &str,
    ) -> Option<&mut Vec<Rule>> {
        if !self.tables.get(table).is_some_and(|table| table.chains.contains_key(chain)) {
            if self.chains >= MOST_CHAINS {
                return None;
            }
            self.chains += 1;
            let new = || Table { family, chains: HashMap::new() };
            let table = self.tables.entry(table.to_owned()).or_insert_with(new);
            table.chains.insert(chain.to_owned(), Vec::new());
        }
        self.tables.get_mut(table)?.chains.get_mut(chain)
    }

    /// Whether these rules may be added, too, which they are then taken to be.
    fn admits(&mut self, rules: &[Rule]) -> bool {
        let elements: usize = rules.iter().flat_map(|rule| &rule.matches).map(Match::size).sum();
        let (rules, elements) = (self.added + rules.len(), self.elements + elements);
        let admits = rules <= MOST_RULES && elements <= MOST_ELEMENTS;
        if admits {
            (self.added, self.elements) = (rules, elements);
        }
        admits
    }

    /// Whether that many rules may still be passed.
    fn may_move(&mut self, rules: usize) -> bool {
        self.moved = self.moved.saturating_add(rules);
        self.moved <= MOST_MOVED
    }

    fn enter(&mut self, entry: Entry) {
        if !self.entries.contains(&entry) {
            self.entries.insert(entry);
        }
    }

    /// How many chains and tables there are.
    fn chains(&self) -> usize {
        self.tables.values().map(|table| table.chains.len() + 1).sum()
    }

    /// Whether any rule puts a mark on.
    fn marks_anything(&self) -> bool {
        self.rules().any(|rule| matches!(rule.verdict, Verdict::Mark { .. }))
    }

    fn rules(&self) -> impl Iterator<Item = &Rule> {
        self.tables.values().flat_map(|table| table.chains.values()).flatten()
    }
}

impl Net {
    fn contains(&self, address: IpAddr) -> bool {
        self.first.is_ipv4() == address.is_ipv4() && self.first <= address && address <= self.last
    }

    /// `ADDRESS`, `ADDRESS/PREFIX`, `ADDRESS/MASK` or `FIRST-LAST`.
    fn parse(text: &str) -> Option<Self> {
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (super::draft::address(first)?, super::draft::address(last)?);
            return (first.is_ipv4() == last.is_ipv4() && first <= last)
                .then_some(Self { first, last });
        }
        let (address, prefix) = text.split_once('/').unwrap_or((text, ""));
        let address: IpAddr = address.parse().ok()?;
        let width: u32 = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix.parse::<IpAddr>() {
            _ if prefix.is_empty() => width,
            Ok(IpAddr::V4(mask)) if address.is_ipv4() => contiguous(mask.to_bits().into(), 32)?,
            Ok(IpAddr::V6(mask)) if address.is_ipv6() => contiguous(mask.to_bits(), 128)?,
            _ => prefix.parse().ok().filter(|prefix| *prefix <= width)?,
        };
        let host = u128::MAX.checked_shr(128 - width + prefix).unwrap_or(0);
        Some(match address {
            IpAddr::V4(v4) => {
                let host = u32::try_from(host).unwrap_or(u32::MAX);
                let bits = v4.to_bits();
                Self {
                    first: IpAddr::V4((bits & !host).into()),
                    last: IpAddr::V4((bits | host).into()),
                }
            }
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                Self {
                    first: IpAddr::V6((bits & !host).into()),
                    last: IpAddr::V6((bits | host).into()),
                }
            }
        })
    }

    /// The addresses in it, if there are not too many to be VIPs.
    fn addresses(&self) -> Option<Vec<IpAddr>> {
        match (self.first, self.last) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let (first, last) = (first.to_bits(), last.to_bits());
                (last.checked_sub(first)? < MOST_VIPS)
                    .then(|| (first..=last).map(|bits| IpAddr::V4(bits.into())).collect())
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let (first, last) = (first.to_bits(), last.to_bits());
                (last.checked_sub(first)? < u128::from(MOST_VIPS))
                    .then(|| (first..=last).map(|bits| IpAddr::V6(bits.into())).collect())
            }
            _ => None,
        }
    }
}

/// Addresses of a network that are taken as VIPs: as many as a /24 has.
const MOST_VIPS: u32 = 256;

fn contiguous(mask: u128, width: u32) -> Option<u32> {
    let ones = (mask << (128 - width)).leading_ones();
    (ones == mask.count_ones()).then_some(ones)
}

/// A number in decimal, or in hex behind `0x`.
fn number(text: &str) -> Option<u32> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

/// The protocols that selectors can have, by name or number; none for another protocol.
fn protocols(text: &str) -> Vec<Protocol> {
    match text.to_ascii_lowercase().as_str() {
        "tcp" | "6" => vec![Protocol::Tcp],
        "udp" | "17" => vec![Protocol::Udp],
        "sctp" | "132" => vec![Protocol::Sctp],
        "all" | "any" | "0" => ALL_PROTOCOLS.to_vec(),
        _ => Vec::new(),
    }
}

/// What a selector's `any` stands for.
const ALL_PROTOCOLS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];

/// A port by number or name.
fn port(text: &str, names: &crate::ipvsadm::Names) -> Option<u16> {
    use dataplane::wire::Protocol as Wire;
    let name = |protocol| names.ports.number(text, protocol);
    text.parse()
        .ok()
        .or_else(|| name(Wire::Tcp))
        .or_else(|| name(Wire::Udp))
        .or_else(|| name(Wire::Sctp))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_are_written_in_four_ways() {
        let ends = |text| Net::parse(text).map(|net| (net.first.to_string(), net.last.to_string()));
        let pair = |first: &str, last: &str| Some((first.to_owned(), last.to_owned()));
        assert_eq!(ends("198.18.0.5"), pair("198.18.0.5", "198.18.0.5"));
        assert_eq!(ends("198.18.0.5/24"), pair("198.18.0.0", "198.18.0.255"));
        assert_eq!(ends("198.18.0.5/255.255.255.254"), pair("198.18.0.4", "198.18.0.5"));
        assert_eq!(ends("198.18.0.5-198.18.0.9"), pair("198.18.0.5", "198.18.0.9"));
        assert_eq!(ends("0.0.0.0/0"), pair("0.0.0.0", "255.255.255.255"));
        assert_eq!(ends("2001:db8::1/127"), pair("2001:db8::", "2001:db8::1"));
        assert_eq!(ends("::/0").map(|(first, _)| first), Some("::".into()));
        for bad in
            ["", "198.18.0.5/33", "198.18.0.5/255.0.255.0", "a", "1.1.1.2-1.1.1.1", "::1-1.1.1.1"]
        {
            assert_eq!(ends(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_small_network_is_a_list_of_vips() {
        let count = |text| Net::parse(text).unwrap().addresses().map(|all| all.len());
        assert_eq!(count("198.18.0.0/24"), Some(256));
        assert_eq!(count("198.18.0.0/23"), None);
        assert_eq!(count("2001:db8::/126"), Some(4));
        assert_eq!(count("::/0"), None);
    }
}
