//! The MAC addresses of next hops, as all cores see them.
//!
//! Control resolves and refreshes; a core reads one atomic word per packet. An entry keeps
//! its id for good, so that snapshots can name it.

use std::collections::HashMap;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Mutex, PoisonError};

use crate::ids::{NeighbourId, PortIndex};
use crate::pieces::Pieces;
use crate::wire::Addr;
use crate::wire::ethernet::Mac;

/// Next hops there may be at the most.
pub const LIMIT: usize = 1 << 20;

/// Places of the index by address; more than a half of them is never taken.
const INDEX: usize = 1 << 17;
/// Neighbours that can be found by address: gateways, real servers and clients in connected
/// networks.
const INDEXED: usize = INDEX / 2;

const KNOWN: u64 = 1 << 48;

#[derive(Debug, Default)]
struct Entry {
    /// The MAC address in the low 48 bits, and whether it is known.
    word: AtomicU64,
    /// Whether a core has asked for it since it was last known.
    wanted: AtomicBool,
    /// The address, written once, before the index names the entry.
    address: [AtomicU64; 2],
    port: AtomicU64,
}

/// The next hops of all ports. Shared by all cores and the control thread.
#[derive(Debug)]
pub struct NeighbourTable {
    entries: Pieces<Entry>,
    /// Ids plus one, by hash, with linear probing: how a core finds a neighbour by address.
    /// Written by control under the lock of `ids`; entries are never taken out.
    index: Box<[AtomicU32]>,
    /// Moves whenever a MAC address does.
    generation: AtomicU64,
    /// Asked by control only.
    ids: Mutex<HashMap<(PortIndex, Addr), NeighbourId>>,
}

impl Default for NeighbourTable {
    fn default() -> Self {
        Self {
            entries: Pieces::new(LIMIT),
            index: (0..INDEX).map(|_| AtomicU32::new(0)).collect(),
            generation: AtomicU64::new(0),
            ids: Mutex::default(),
        }
    }
}

/// Where the search for a neighbour begins.
fn home(port: PortIndex, address: Addr) -> usize {
    let [high, low] = address.words();
    let mixed =
        (high ^ low.rotate_left(31) ^ u64::from(port.0) << 56).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 40) as usize
}

impl NeighbourTable {
    /// The id of the next hop with this address on this port; a new one where it has none.
    /// `None` when there are [`LIMIT`] of them.
    pub fn intern(&self, port: PortIndex, address: Addr) -> Option<NeighbourId> {
        let mut ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = ids.get(&(port, address)) {
            return Some(*id);
        }
        if ids.len() >= LIMIT {
            return None;
        }
        let id = NeighbourId(ids.len() as u32);
        self.entries.reserve(id.0 as usize);
        if let Some(entry) = self.entries.get(id.0 as usize) {
            for (place, word) in entry.address.iter().zip(address.words()) {
                place.store(word, Relaxed);
            }
            entry.port.store(u64::from(port.0), Relaxed);
        }
        self.enter(port, address, id);
        ids.insert((port, address), id);
        Some(id)
    }

    /// Puts a neighbour into the index; beyond [`INDEXED`] it is known by its id alone.
    fn enter(&self, port: PortIndex, address: Addr, id: NeighbourId) {
        if id.0 as usize >= INDEXED {
            return;
        }
        let places = (0..INDEX).map(|step| (home(port, address) + step) % INDEX);
        for place in places.filter_map(|place| self.index.get(place)) {
            if place.load(Relaxed) == 0 {
                place.store(id.0 + 1, Release);
                return;
            }
        }
    }

    /// The id of the next hop with this address on this port, if it has one. For cores:
    /// never waits.
    pub fn find(&self, port: PortIndex, address: Addr) -> Option<NeighbourId> {
        for step in 0..INDEX {
            let place = self.index.get((home(port, address) + step) % INDEX)?;
            let id = place.load(Acquire).checked_sub(1)?;
            let entry = self.entries.get(id as usize)?;
            let [high, low] = &entry.address;
            if Addr::from_words([high.load(Relaxed), low.load(Relaxed)]) == address
                && entry.port.load(Relaxed) == u64::from(port.0)
            {
                return Some(NeighbourId(id));
            }
        }
        None
    }

    /// Every next hop with its id.
    pub fn list(&self) -> Vec<(PortIndex, Addr, NeighbourId)> {
        let ids = self.ids.lock().unwrap_or_else(PoisonError::into_inner);
        let mut list: Vec<_> = ids.iter().map(|((port, addr), id)| (*port, *addr, *id)).collect();
        list.sort_by_key(|(_, _, id)| *id);
        list
    }

    /// The MAC address, if it is known.
    #[inline]
    pub fn mac(&self, id: NeighbourId) -> Option<Mac> {
        let word = self.entries.get(id.0 as usize)?.word.load(Relaxed);
        if word & KNOWN == 0 {
            return None;
        }
        let [_, _, mac @ ..] = word.to_be_bytes();
        Some(Mac(mac))
    }

    /// A number that moves whenever a MAC address becomes known, another one or unknown: what
    /// was read before it moved may be out of date.
    #[inline]
    pub fn generation(&self) -> u64 {
        self.generation.load(Acquire)
    }

    /// Tells the cores the MAC address, or that it is not known any more.
    pub fn set(&self, id: NeighbourId, mac: Option<Mac>) {
        let Some(entry) = self.entries.get(id.0 as usize) else { return };
        let word = mac.map_or(0, |Mac([a, b, c, d, e, f])| {
            u64::from_be_bytes([0, 0, a, b, c, d, e, f]) | KNOWN
        });
        if entry.word.swap(word, Relaxed) != word {
            // Whoever sees this sees the address as well.
            self.generation.fetch_add(1, Release);
        }
        entry.wanted.store(false, Relaxed);
    }

    /// Takes back a [`Self::want`] that could not be passed on.
    pub fn unwant(&self, id: NeighbourId) {
        if let Some(entry) = self.entries.get(id.0 as usize) {
            entry.wanted.store(false, Relaxed);
        }
    }

    /// Notes that a packet waits for this next hop; `true` for the first one to say so.
    pub fn want(&self, id: NeighbourId) -> bool {
        self.entries
            .get(id.0 as usize)
            .is_some_and(|entry| !entry.wanted.load(Relaxed) && !entry.wanted.swap(true, Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_next_hop_keeps_its_id_and_gets_its_mac() {
        let table = NeighbourTable::default();
        let here = Addr::v4(0xC612_0A0B);
        let id = table.intern(PortIndex(0), here).unwrap();
        assert_eq!(table.intern(PortIndex(0), here), Some(id));
        assert_eq!(table.find(PortIndex(0), here), Some(id));
        assert_eq!(table.find(PortIndex(1), here), None);
        assert_ne!(table.intern(PortIndex(1), here), Some(id));
        assert_eq!(table.mac(id), None);
        assert!(table.want(id));
        assert!(!table.want(id), "asked once only");
        let mac = Mac([2, 0, 0, 0, 1, 0x11]);
        let before = table.generation();
        table.set(id, Some(mac));
        assert_eq!(table.mac(id), Some(mac));
        let after = table.generation();
        assert_ne!(after, before);
        table.set(id, Some(mac));
        assert_eq!(table.generation(), after, "the same address is no news");
        table.set(id, None);
        assert_eq!(table.mac(id), None);
        assert!(table.want(id), "asked again once it was forgotten");
        assert_eq!(table.mac(NeighbourId(9999)), None);
        assert_eq!(table.list().len(), 2);
    }

    #[test]
    fn every_neighbour_in_the_index_is_found_by_its_address() {
        let table = NeighbourTable::default();
        let address = |n: usize| Addr::v4(0x0A00_0000 + n as u32);
        for n in 0..INDEXED {
            table.intern(PortIndex((n % 3) as u8), address(n));
        }
        for n in 0..INDEXED {
            let found = table.find(PortIndex((n % 3) as u8), address(n));
            assert_eq!(found, Some(NeighbourId(n as u32)));
        }
        assert_eq!(table.find(PortIndex(0), address(INDEXED)), None);
        let beyond = table.intern(PortIndex(0), address(INDEXED));
        assert!(beyond.is_some());
        assert_eq!(table.find(PortIndex(0), address(INDEXED)), None);
    }
}
