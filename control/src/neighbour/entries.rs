//! All neighbours, by id, by address and by time.

use std::collections::{BTreeSet, HashMap};

use dataplane::ids::{NeighbourId, PortIndex};
use dataplane::wire::Addr;
use dataplane::wire::ethernet::Mac;

use super::entry::{NEVER, Neighbour};

/// How many of the next neighbours due are looked at for one that can be given up.
const SPARES_LOOKED_AT: usize = 64;

/// The neighbours that the director has to do with.
#[derive(Debug, Default)]
pub(super) struct Entries {
    by_id: HashMap<NeighbourId, Neighbour>,
    by_address: HashMap<(PortIndex, Addr), NeighbourId>,
    /// Every neighbour whose time comes at all.
    by_time: BTreeSet<(u64, NeighbourId)>,
}

impl Entries {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Neighbour> {
        self.by_id.values()
    }

    pub(super) fn get(&self, id: NeighbourId) -> Option<&Neighbour> {
        self.by_id.get(&id)
    }

    pub(super) fn find(&self, port: PortIndex, address: Addr) -> Option<NeighbourId> {
        self.by_address.get(&(port, address)).copied()
    }

    pub(super) fn insert(&mut self, neighbour: Neighbour) {
        self.remove(neighbour.id);
        self.by_address.insert((neighbour.port, neighbour.address), neighbour.id);
        if neighbour.due != NEVER {
            self.by_time.insert((neighbour.due, neighbour.id));
        }
        self.by_id.insert(neighbour.id, neighbour);
    }

    pub(super) fn remove(&mut self, id: NeighbourId) {
        if let Some(neighbour) = self.by_id.remove(&id) {
            self.by_address.remove(&(neighbour.port, neighbour.address));
            self.by_time.remove(&(neighbour.due, id));
        }
    }

    /// Changes a neighbour's state, and its place in time with it.
    pub(super) fn change<R>(
        &mut self,
        id: NeighbourId,
        change: impl FnOnce(&mut Neighbour) -> R,
    ) -> Option<R> {
        let neighbour = self.by_id.get_mut(&id)?;
        let before = neighbour.due;
        let result = change(neighbour);
        if neighbour.due != before {
            self.by_time.remove(&(before, id));
            if neighbour.due != NEVER {
                self.by_time.insert((neighbour.due, id));
            }
        }
        Some(result)
    }

    /// When the first neighbour falls due, and which.
    pub(super) fn first(&self) -> Option<(u64, NeighbourId)> {
        self.by_time.first().copied()
    }

    /// A neighbour that a new one may replace.
    pub(super) fn spare(&self) -> Option<NeighbourId> {
        let soon = self.by_time.iter().take(SPARES_LOOKED_AT).map(|(_, id)| *id);
        soon.into_iter().find(|id| self.get(*id).is_some_and(Neighbour::is_spare))
    }

    /// The neighbour that has this MAC address; a configured one if there are several.
    pub(super) fn station(&self, port: PortIndex, mac: Mac) -> Option<&Neighbour> {
        self.iter()
            .filter(|neighbour| neighbour.port == port && neighbour.mac() == Some(mac))
            .min_by_key(|neighbour| (!neighbour.watched, neighbour.address))
    }
}
