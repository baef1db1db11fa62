//! How patiently neighbours are asked, and how many of them are kept.

/// The numbers of the neighbour state machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Milliseconds for which an answer is trusted; a neighbour is asked again before they
    /// are over. RFC 4861, 10: `REACHABLE_TIME`.
    pub reachable_ms: u32,
    /// Milliseconds between two questions. RFC 4861, 10: `RETRANS_TIMER`. Zero counts as one.
    pub retransmit_ms: u32,
    /// Broadcast questions without an answer until a neighbour counts as gone. RFC 4861, 10:
    /// `MAX_MULTICAST_SOLICIT`. Zero counts as one.
    pub retries: u8,
    /// Neighbours known at most. Configured next hops are always taken; others only while
    /// there are fewer neighbours than this (RFC 6583, 6.1).
    pub entries: u32,
    /// How often each own address and VIP is announced when the director starts or takes
    /// it over, one second apart (RFC 5227, 2.3: `ANNOUNCE_NUM`). Zero announces nothing.
    pub announcements: u8,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            reachable_ms: 30_000,
            retransmit_ms: 1_000,
            retries: 3,
            entries: 4_096,
            announcements: 2,
        }
    }
}

impl Settings {
    /// Milliseconds between two questions.
    pub(super) fn pause_ms(&self) -> u64 {
        u64::from(self.retransmit_ms.max(1))
    }

    /// Broadcast questions until a neighbour counts as gone.
    pub(super) fn questions(&self) -> u8 {
        self.retries.max(1)
    }
}
