//! Firewall rules that set marks, as far as a director can tell packets apart.

use std::ops::RangeInclusive;

use dataplane::catalog::spec::Selector;
use dataplane::classify::Rank;
use dataplane::ids::Mark;
use dataplane::wire::{Addr, Family, Protocol};

use super::world::network;

/// `iptables -t mangle -A PREROUTING ... -j MARK --set-mark N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MarkRule {
    source: Option<(Addr, u8)>,
    destination: (Addr, u8),
    protocol: Option<Protocol>,
    ports: Vec<RangeInclusive<u16>>,
    mark: Mark,
}

impl MarkRule {
    /// Reads the words behind `-A PREROUTING` or `-D PREROUTING`.
    pub(super) fn read(words: &[String], family: Family) -> Result<Self, String> {
        let everything = match family {
            Family::V4 => (Addr::v4(0), 0),
            Family::V6 => (Addr::v6(0), 0),
        };
        let mut rule = Self {
            source: None,
            destination: everything,
            protocol: None,
            ports: Vec::new(),
            mark: Mark(std::num::NonZeroU32::MIN),
        };
        let mut marked = false;
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} has no value"))?;
            match word {
                "-i" | "--in-interface" => {
                    if value != "eth0" {
                        return Err(format!("marks of packets from {value} are not simulated"));
                    }
                }
                "-s" | "--source" | "--src" => rule.source = Some(network(value)?),
                "-d" | "--destination" | "--dst" => rule.destination = network(value)?,
                "-p" | "--protocol" => rule.protocol = Some(protocol(value)?),
                // A match module says nothing by itself.
                "-m" | "--match" => {}
                "--dport" | "--dports" | "--destination-port" | "--destination-ports" => {
                    rule.ports = value.split(',').map(ports).collect::<Result<_, _>>()?;
                }
                "-j" | "--jump" if value == "MARK" => {}
                "--set-mark" | "--set-xmark" => {
                    rule.mark = mark(value)?;
                    marked = true;
                }
                other => return Err(format!("{other} {value} is not simulated")),
            }
        }
        if marked { Ok(rule) } else { Err("the rule sets no mark".into()) }
    }

    /// The rules as selectors; of two that match, the later one sets the mark.
    pub(super) fn selectors(rules: &[Self]) -> Vec<Selector> {
        let mut selectors = Vec::new();
        for (place, rule) in rules.iter().enumerate() {
            let all = [0..=u16::MAX];
            let ports = if rule.ports.is_empty() { &all[..] } else { &rule.ports };
            for ports in ports {
                selectors.push(Selector {
                    vip: rule.destination.0,
                    length: rule.destination.1,
                    source: rule.source,
                    protocol: rule.protocol,
                    ports: ports.clone(),
                    mark: rule.mark,
                    rank: Rank(Rank::FIREWALL.0 + place as u32),
                });
            }
        }
        selectors
    }
}

fn protocol(word: &str) -> Result<Protocol, String> {
    match word {
        "tcp" | "6" => Ok(Protocol::Tcp),
        "udp" | "17" => Ok(Protocol::Udp),
        "sctp" | "132" => Ok(Protocol::Sctp),
        other => Err(format!("marks of protocol {other} are not simulated")),
    }
}

fn ports(word: &str) -> Result<RangeInclusive<u16>, String> {
    let number = |text: &str, empty: u16| match text {
        "" => Ok(empty),
        text => text.parse().map_err(|_| format!("{word:?} is no port or range of ports")),
    };
    match word.split_once(':') {
        Some((first, last)) => Ok(number(first, 0)?..=number(last, u16::MAX)?),
        None => {
            let port = word.parse().map_err(|_| format!("{word:?} is no port"))?;
            Ok(port..=port)
        }
    }
}

fn mark(word: &str) -> Result<Mark, String> {
    let word = word.split('/').next().unwrap_or_default();
    let number = match word.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => word.parse().ok(),
    };
    let number = number.and_then(std::num::NonZeroU32::new);
    number.map(Mark).ok_or_else(|| format!("{word:?} is no mark"))
}
