//! Newtypes for the numbers that tables and snapshots refer to each other by.
//!
//! Tables hold ids, never pointers, so that a reload can swap the whole configuration
//! under them. Ids are given out by the [`catalog`](crate::catalog) and stay with the
//! thing they name across reloads.

use std::fmt;

/// A virtual service. Stable across reloads; reused only when nothing refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// A real server *of one service* (the same machine in two services has two ids).
/// Zero is never given out, so that tables can use it for "none".
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RealId(pub u32);

impl RealId {
    /// Ids stay below this, because tables keep them in 20 bits.
    pub const LIMIT: u32 = 1 << 20;
}

/// What persistence templates are keyed by besides the client: the interned form of
/// (protocol, VIP, port), of (protocol, VIP, every port), or of a mark. Outlives
/// services, so that a service that is deleted and put back finds its templates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ScopeId(pub u32);

impl ScopeId {
    /// Ids stay below this, because tables keep them in 20 bits.
    pub const LIMIT: u32 = 1 << 20;
}

/// A next hop in the neighbour table: an address on a port whose MAC is to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NeighbourId(pub u32);

/// A NIC port, by its place in the configuration (0 is the first one).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortIndex(pub u8);

/// The number of a snapshot: every change of the configuration makes the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A firewall mark: the number that joins several selectors into one service (PFM).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mark(pub std::num::NonZeroU32);
