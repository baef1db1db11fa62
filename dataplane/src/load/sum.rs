//! What several cores have counted, together.

/// The sum over all cores of one real server's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections in an active state (the listing's ActiveConn).
    pub active: u64,
    /// All other connections (the listing's InActConn).
    pub inactive: u64,
    /// Templates, or clients under `tracking: client` (the listing's PersistConn).
    pub bound: u64,
    /// Of [`Self::bound`]: templates whose client was taken from them or is bound anew, and
    /// that live on for their connections.
    pub orphans: u64,
    /// Connections scheduled since the start.
    pub connections: u64,
    /// Packets from clients.
    pub in_packets: u64,
    /// Bytes from clients (IP total length).
    pub in_bytes: u64,
    /// Packets to clients.
    pub out_packets: u64,
    /// Bytes to clients (IP total length).
    pub out_bytes: u64,
}

impl Load {
    /// Active and inactive connections together: what thresholds compare.
    pub fn total(self) -> u64 {
        self.active + self.inactive
    }

    /// Clients that are bound here: their next connection comes to this real server.
    pub fn clients(self) -> u64 {
        self.bound.saturating_sub(self.orphans)
    }

    /// Whether nothing refers to the real server any more, so that its id may be reused.
    pub fn is_idle(self) -> bool {
        self.total() == 0 && self.bound == 0
    }
}

/// What schedulers need of a load, of one core or of several; a core's part of a sum may be
/// below zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connections in an active state.
    pub active: i64,
    /// All other connections.
    pub inactive: i64,
    /// Templates or clients.
    pub bound: i64,
}

impl Counts {
    /// Both together.
    #[inline]
    pub fn plus(self, other: Self) -> Self {
        Self {
            active: self.active.wrapping_add(other.active),
            inactive: self.inactive.wrapping_add(other.inactive),
            bound: self.bound.wrapping_add(other.bound),
        }
    }
}
