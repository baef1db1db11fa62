//! What the director is itself: its ports' MAC addresses, own addresses and VIPs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use dataplane::ids::PortIndex;
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Addr, Vlan};

/// A port as its neighbours see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFace {
    /// The operator's name for it.
    pub name: Arc<str>,
    /// Its MAC address.
    pub mac: Mac,
    /// The VLAN of its frames.
    pub vlan: Vlan,
    /// The director's own addresses on it, with the lengths of their networks' prefixes.
    pub addresses: Vec<(Addr, u8)>,
    /// The VIPs that are announced on it and that nobody else on it may claim.
    pub vips: Vec<Addr>,
}

impl PortFace {
    /// The own address that a question for `target` is asked with: one that is no VIP if
    /// there is any, because a real server has the VIP, too, and does not answer itself; of
    /// those, one in the target's network, of the longest prefix.
    pub(super) fn source_for(&self, target: Addr) -> Option<Addr> {
        let same_family =
            self.addresses.iter().filter(|(address, _)| address.family() == target.family());
        same_family
            .min_by_key(|(address, length)| {
                let beside = address.masked(*length) == target.masked(*length);
                (self.vips.contains(address), !beside, std::cmp::Reverse(*length))
            })
            .map(|(address, _)| *address)
    }
}

/// Why an address is the director's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ours {
    Own,
    Vip,
}

/// All ports.
#[derive(Debug, Default)]
pub(super) struct Site {
    faces: Vec<PortFace>,
    ours: HashMap<Addr, Ours>,
    shown: HashSet<(PortIndex, Addr)>,
}

impl Site {
    pub(super) fn new(faces: Vec<PortFace>) -> Self {
        let mut ours = HashMap::new();
        for face in &faces {
            for (address, _) in &face.addresses {
                ours.insert(*address, Ours::Own);
            }
        }
        for vip in faces.iter().flat_map(|face| &face.vips) {
            ours.entry(*vip).or_insert(Ours::Vip);
        }
        let mut site = Self { faces, ours, shown: HashSet::new() };
        site.shown = site.addresses().collect();
        site
    }

    pub(super) fn face(&self, port: PortIndex) -> Option<&PortFace> {
        self.faces.get(usize::from(port.0))
    }

    /// The operator's name of a port.
    pub(super) fn name(&self, port: PortIndex) -> Arc<str> {
        match self.face(port) {
            Some(face) => Arc::clone(&face.name),
            None => port.0.to_string().into(),
        }
    }

    pub(super) fn ours(&self, address: Addr) -> Option<Ours> {
        self.ours.get(&address).copied()
    }

    /// Whether a port of the director has this MAC address.
    pub(super) fn is_our_mac(&self, mac: Mac) -> bool {
        self.faces.iter().any(|face| face.mac == mac)
    }

    /// Every own address and VIP with its port.
    pub(super) fn addresses(&self) -> impl Iterator<Item = (PortIndex, Addr)> + '_ {
        (0..=u8::MAX).map(PortIndex).zip(&self.faces).flat_map(|(port, face)| {
            let own = face.addresses.iter().map(|(address, _)| *address);
            let vips = face
                .vips
                .iter()
                .copied()
                .filter(|vip| !face.addresses.iter().any(|(address, _)| address == vip));
            own.chain(vips).map(move |address| (port, address))
        })
    }

    /// Whether the address is announced on the port.
    pub(super) fn has(&self, port: PortIndex, address: Addr) -> bool {
        self.shown.contains(&(port, address))
    }

    /// Whether the address was announced on the port with this MAC address and VLAN.
    pub(super) fn shows(&self, port: PortIndex, address: Addr, as_on: &PortFace) -> bool {
        self.has(port, address)
            && self.face(port).is_some_and(|face| (face.mac, face.vlan) == (as_on.mac, as_on.vlan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::IpAddr;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn face(addresses: &[(&str, u8)], vips: &[&str]) -> PortFace {
        PortFace {
            name: "lan".into(),
            mac: Mac([2, 0, 0, 0, 0, 1]),
            vlan: Vlan::UNTAGGED,
            addresses: addresses.iter().map(|(text, length)| (addr(text), *length)).collect(),
            vips: vips.iter().map(|text| addr(text)).collect(),
        }
    }

    #[test]
    fn questions_are_asked_from_the_targets_network_and_not_with_a_vip() {
        let face = face(
            &[
                ("198.18.255.1", 16),
                ("198.18.20.1", 24),
                ("198.18.10.1", 24),
                ("2001:db8:1::1", 64),
                ("2001:db8:2::1", 64),
            ],
            &["198.18.255.1"],
        );
        let source = |target| face.source_for(addr(target));
        assert_eq!(source("198.18.10.11"), Some(addr("198.18.10.1")));
        assert_eq!(source("198.18.20.11"), Some(addr("198.18.20.1")));
        assert_eq!(source("2001:db8:2::11"), Some(addr("2001:db8:2::1")));
        assert_eq!(source("fe80::1"), Some(addr("2001:db8:1::1")));
        assert_ne!(source("198.18.30.11"), Some(addr("198.18.255.1")));
    }

    #[test]
    fn a_single_address_that_is_the_vip_still_asks() {
        let face = face(&[("198.18.10.1", 24)], &["198.18.10.1"]);
        assert_eq!(face.source_for(addr("198.18.10.11")), Some(addr("198.18.10.1")));
        assert_eq!(face.source_for(addr("2001:db8::1")), None);
    }

    #[test]
    fn an_own_address_that_is_a_vip_counts_as_own_and_is_listed_once() {
        let site = Site::new(vec![face(&[("198.18.10.1", 24)], &["198.18.10.1", "198.18.255.1"])]);
        assert_eq!(site.ours(addr("198.18.10.1")), Some(Ours::Own));
        assert_eq!(site.ours(addr("198.18.255.1")), Some(Ours::Vip));
        assert_eq!(site.ours(addr("198.18.10.2")), None);
        assert_eq!(site.addresses().count(), 2);
    }
}
