//! `virtual_server_group`: addresses, ranges of them and marks under one name.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::config::model::{Family, Mark};
use crate::ipvsadm::Names;

use super::super::draft::{self, Draft, Origin};
use super::tree::Node;
use super::{origin, virtual_server};

/// Addresses of one line that are taken over.
const MOST: u32 = 4_096;

/// What a group has one virtual server for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Member {
    Address {
        vip: IpAddr,
        vip_port: u16,
    },
    /// Without a family it is that of the real servers.
    Mark {
        mark: Mark,
        family: Option<Family>,
    },
}

/// Groups by name; every member with its line.
pub(super) type Groups = HashMap<String, Vec<(Member, Origin)>>;

pub(super) fn read_all(file: usize, nodes: &[Node], names: &Names, draft: &mut Draft) -> Groups {
    let mut groups = Groups::new();
    let mut members = 0;
    for node in nodes.iter().filter(|node| node.key() == "virtual_server_group") {
        let group = groups.entry(node.value(0).unwrap_or_default().to_owned()).or_default();
        for line in &node.children {
            let at = origin(file, line);
            match line_members(line, names) {
                Ok(all) if members + all.len() <= MOST_OF_ALL => {
                    members += all.len();
                    group.extend(all.into_iter().map(|member| (member, at)));
                }
                Ok(_) => {
                    let why = "there are too many addresses in groups";
                    draft.notes.add(at, line.shown(), why, "import the file in parts");
                }
                Err(why) => {
                    let what = format!("{}: {}", node.words.joined(), line.shown());
                    draft.notes.add(at, what, why, "write a service for it by hand");
                }
            }
        }
    }
    groups
}

/// The names of the groups that virtual servers stand for.
pub(super) fn used(nodes: &[Node]) -> HashSet<String> {
    let servers = nodes.iter().filter(|node| node.key() == "virtual_server");
    let groups = servers.filter(|node| node.value(0) == Some("group"));
    groups.filter_map(|node| node.value(1)).map(str::to_owned).collect()
}

/// Notes a group that no virtual server stands for: keepalived passes over it, too.
pub(super) fn note_unused(file: usize, group: &Node, used: &HashSet<String>, draft: &mut Draft) {
    if group.value(0).is_some_and(|name| used.contains(name)) {
        return;
    }
    let why = "no virtual_server uses the group, so nothing of it was balanced";
    let hint = "leave it out, or write a service for it";
    draft.notes.add(origin(file, group), group.shown(), why, hint);
}

/// Members of all groups.
const MOST_OF_ALL: usize = 80_000;

fn line_members(line: &Node, names: &Names) -> Result<Vec<Member>, &'static str> {
    if line.key() == "fwmark" {
        let mark = line.value(0).and_then(|text| text.parse::<NonZeroU32>().ok());
        let mark = mark.map(Mark).ok_or("a mark is a number from 1 on")?;
        let family = match line.value(1) {
            None => None,
            Some("inet") => Some(Family::V4),
            Some("inet6") => Some(Family::V6),
            Some(_) => return Err("a family is inet or inet6"),
        };
        return Ok(vec![Member::Mark { mark, family }]);
    }
    let vip_port = match line.value(0) {
        None => 0,
        Some(text) => virtual_server::port(text, names).ok_or("its port is not understood")?,
    };
    let addresses = range(line.key()).ok_or("its addresses are not understood, or too many")?;
    Ok(addresses.into_iter().map(|vip| Member::Address { vip, vip_port }).collect())
}

/// `ADDRESS`, `FIRST-LAST`, `FIRST-LASTBYTE` (hex for IPv6) or `ADDRESS/PREFIX`.
fn range(text: &str) -> Option<Vec<IpAddr>> {
    if let Some((first, last)) = text.split_once('-') {
        let first = draft::address(first)?;
        let last = match (first, draft::address(last)) {
            (_, Some(last)) => last,
            (IpAddr::V4(v4), None) => {
                let byte: u8 = last.parse().ok()?;
                IpAddr::V4(((v4.to_bits() & !0xFF) | u32::from(byte)).into())
            }
            (IpAddr::V6(v6), None) => {
                let part = u16::from_str_radix(last, 16).ok()?;
                IpAddr::V6(((v6.to_bits() & !0xFFFF) | u128::from(part)).into())
            }
        };
        return between(first, last);
    }
    let Some((address, prefix)) = text.split_once('/') else {
        return draft::address(text).map(|address| vec![address]);
    };
    let prefix: u32 = prefix.parse().ok()?;
    match draft::address(address)? {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(prefix).unwrap_or(0);
            let first = v4.to_bits() & !host;
            (prefix <= 32).then(|| between(first_v4(first), first_v4(first | host)))?
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(prefix).unwrap_or(0);
            let first = v6.to_bits() & !host;
            let ends = (IpAddr::V6(first.into()), IpAddr::V6((first | host).into()));
            (prefix <= 128).then(|| between(ends.0, ends.1))?
        }
    }
}

fn first_v4(bits: u32) -> IpAddr {
    IpAddr::V4(bits.into())
}

fn between(first: IpAddr, last: IpAddr) -> Option<Vec<IpAddr>> {
    match (first, last) {
        (IpAddr::V4(first), IpAddr::V4(last)) => {
            let (first, last) = (first.to_bits(), last.to_bits());
            (last.checked_sub(first)? < MOST)
                .then(|| (first..=last).map(|bits| IpAddr::V4(bits.into())).collect())
        }
        (IpAddr::V6(first), IpAddr::V6(last)) => {
            let (first, last) = (first.to_bits(), last.to_bits());
            (last.checked_sub(first)? < u128::from(MOST))
                .then(|| (first..=last).map(|bits| IpAddr::V6(bits.into())).collect())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_addresses_are_written_in_four_ways() {
        let ends = |text| {
            let all = range(text)?;
            Some((all.len(), all.first()?.to_string(), all.last()?.to_string()))
        };
        let some = |count, first: &str, last: &str| Some((count, first.into(), last.into()));
        assert_eq!(ends("198.18.1.7"), some(1, "198.18.1.7", "198.18.1.7"));
        assert_eq!(ends("198.18.1.3-10"), some(8, "198.18.1.3", "198.18.1.10"));
        assert_eq!(ends("198.18.1.250-198.18.2.5"), some(12, "198.18.1.250", "198.18.2.5"));
        assert_eq!(ends("198.18.1.8/29"), some(8, "198.18.1.8", "198.18.1.15"));
        assert_eq!(ends("2001:db8::2-10"), some(15, "2001:db8::2", "2001:db8::10"));
        for bad in ["198.18.1.9-3", "198.18.0.0/12", "::/0", "198.18.1.1/33", "x", "198.18.1.1-256"]
        {
            assert_eq!(ends(bad), None, "{bad}");
        }
    }
}
