//! What the core has learned of services: from a packet's destination to what its clients are
//! found by, in one cache line instead of classifier, snapshot and service.
//!
//! Learned from the snapshot on the first packet, forgotten when another one is adopted.

use super::read::target_v4;
use crate::bindings::client_scope;
use crate::snapshot::{Snapshot, Tracking};
use crate::table::ClientScope;
use crate::wire::{Addr, Family, Protocol};

/// Destinations that are remembered.
const ROWS: usize = 1 << 14;
/// Rows in which one destination may stand.
const WINDOW: usize = 4;

/// How packets to a destination are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Way {
    /// As the reference path does.
    #[default]
    ByTheBook,
    /// By the client table alone.
    Client {
        /// What its clients are kept under.
        scope: ClientScope,
        /// The bits that tell clients apart.
        mask: u32,
        /// Place of its real server number 0 in [`Numbers`](crate::snapshot::Numbers).
        first_place: u32,
    },
}

/// Remembered destinations.
pub(super) struct Services {
    rows: Box<[Row]>,
    last: Row,
    /// Rows of other epochs count as empty.
    epoch: u32,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(32))]
struct Row {
    target: u64,
    epoch: u32,
    way: Way,
}

impl Services {
    pub(super) fn new() -> Self {
        Self { rows: vec![Row::default(); ROWS].into(), last: Row::default(), epoch: 1 }
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.rows.fill(Row::default());
            self.epoch = 1;
        }
        self.last = Row::default();
    }

    /// How packets to this destination are treated.
    #[inline(always)]
    pub(super) fn way(&mut self, target: u64, snapshot: &Snapshot) -> Way {
        if self.last.target == target {
            return self.last.way;
        }
        self.look_up(target, snapshot)
    }

    #[inline(never)]
    fn look_up(&mut self, target: u64, snapshot: &Snapshot) -> Way {
        let home = home(target);
        let window = self.rows.get(home..home + WINDOW).unwrap_or_default();
        let known = window.iter().find(|row| row.target == target && row.epoch == self.epoch);
        let row = match known {
            Some(row) => *row,
            None => self.learn(target, home, snapshot),
        };
        self.last = row;
        row.way
    }

    #[cold]
    fn learn(&mut self, target: u64, home: usize, snapshot: &Snapshot) -> Row {
        let row = Row { target, epoch: self.epoch, way: way_of(target, snapshot) };
        let window = self.rows.get_mut(home..home + WINDOW).unwrap_or_default();
        let free = window.iter().position(|row| row.epoch != self.epoch).unwrap_or(0);
        if let Some(place) = window.get_mut(free) {
            *place = row;
        }
        row
    }
}

/// Where the search for a destination begins; the window behind it never ends outside.
#[inline]
fn home(target: u64) -> usize {
    let mixed = (target ^ target >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as usize % (ROWS - WINDOW + 1)
}

fn way_of(target: u64, snapshot: &Snapshot) -> Way {
    let vip = Addr::v4((target >> 32) as u32);
    let protocol = Protocol::of(target as u8, Family::V4);
    debug_assert_eq!(target, target_v4(vip.v4_number(), (target >> 16) as u16, target as u8));
    let hit = snapshot.classifier.lookup(vip, protocol, (target >> 16) as u16);
    let Some(service) = hit.and_then(|hit| snapshot.service(hit.service)) else {
        return Way::ByTheBook;
    };
    match service.tracking {
        Tracking::Full => Way::ByTheBook,
        Tracking::Client => {
            let scope = client_scope(service.id);
            let first_place = snapshot.client_reals.first_place(service.id);
            match (scope, service.persistence, first_place) {
                (Some(scope), Some(persistence), Some(first_place)) => {
                    Way::Client { scope, mask: persistence.mask as u32, first_place }
                }
                _ => Way::ByTheBook,
            }
        }
    }
}
