//! Which exit leads to an IPv4 client: what [`Exits`](crate::route::Exits) says, in as many
//! words as it takes to compare.

use arrayvec::ArrayVec;

use crate::snapshot::Snapshot;
use crate::wire::Addr;

/// Exits that are remembered; there are seldom more.
const REMEMBERED: usize = 16;

/// A network and its exit's place.
#[derive(Clone, Copy, Debug)]
struct Way {
    mask: u32,
    network: u32,
    place: u32,
}

/// The first IPv4 exits of a snapshot, in its order.
#[derive(Debug, Default)]
pub(super) struct Ways {
    ways: ArrayVec<Way, REMEMBERED>,
    is_learned: bool,
}

impl Ways {
    /// Forgets everything: another snapshot was adopted.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The place of the exit that leads to a client, if one does.
    #[inline(always)]
    pub(super) fn place(&mut self, client: u32, snapshot: &Snapshot) -> Option<u32> {
        if !self.is_learned {
            self.learn(snapshot);
        }
        match self.ways.iter().find(|way| client & way.mask == way.network) {
            Some(way) => Some(way.place),
            None => self.search(client, snapshot),
        }
    }

    #[cold]
    #[inline(never)]
    fn learn(&mut self, snapshot: &Snapshot) {
        self.is_learned = true;
        for (exit, place) in snapshot.exits.0.iter().zip(0..) {
            let kept = 32_u32.saturating_sub(exit.length.into());
            let mask = u32::MAX.checked_shl(kept).unwrap_or(0);
            let way = Way { mask, network: exit.network.v4_number(), place };
            if exit.network.is_v4() && self.ways.try_push(way).is_err() {
                return;
            }
        }
    }

    /// Among those that were not remembered.
    #[cold]
    #[inline(never)]
    fn search(&self, client: u32, snapshot: &Snapshot) -> Option<u32> {
        if !self.ways.is_full() {
            return None;
        }
        snapshot.exits.place(Addr::v4(client)).map(|place| place as u32)
    }
}
