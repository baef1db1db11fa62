//! One real server's counters on one core.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};

use super::Counts;

/// One core's counters of one real server: one writer, any number of readers.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct RealLoad {
    pub(super) active: AtomicI64,
    pub(super) inactive: AtomicI64,
    pub(super) bound: AtomicI64,
    pub(super) connections: AtomicU64,
    pub(super) in_packets: AtomicU64,
    pub(super) in_bytes: AtomicU64,
    pub(super) out_packets: AtomicU64,
    pub(super) out_bytes: AtomicU64,
}

pub(super) fn add(counter: &AtomicI64, by: i64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

#[inline]
fn count(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

impl RealLoad {
    /// Changes ActiveConn and InActConn by so much.
    pub(super) fn shift(&self, active: i64, inactive: i64) {
        if active != 0 {
            add(&self.active, active);
        }
        if inactive != 0 {
            add(&self.inactive, inactive);
        }
    }

    /// Changes the number of templates (or clients, under `tracking: client`) bound here.
    pub(super) fn bind(&self, by: i64) {
        add(&self.bound, by);
    }

    /// Counts a new client, and answers what is counted now.
    #[inline(always)]
    pub(crate) fn client(&self) -> Counts {
        count(&self.connections, 1);
        add(&self.bound, 1);
        self.counts()
    }

    /// Counts a connection that its first packet has made active, with that packet, and its
    /// template if it got one; answers what is counted now.
    #[inline(always)]
    pub(crate) fn opening(&self, templates: i64, bytes: u64) -> Counts {
        count(&self.connections, 1);
        add(&self.active, 1);
        add(&self.bound, templates);
        self.incoming(1, bytes);
        self.counts()
    }

    #[inline(always)]
    pub(super) fn counts(&self) -> Counts {
        Counts {
            active: self.active.load(Relaxed),
            inactive: self.inactive.load(Relaxed),
            bound: self.bound.load(Relaxed),
        }
    }

    /// Counts one scheduled connection.
    pub fn connection(&self) {
        count(&self.connections, 1);
    }

    /// Counts packets from clients, and their bytes (IP total length, as IPVS does).
    #[inline]
    pub fn incoming(&self, packets: u64, bytes: u64) {
        count(&self.in_packets, packets);
        count(&self.in_bytes, bytes);
    }

    /// Counts packets to a client.
    #[inline]
    pub fn outgoing(&self, packets: u64, bytes: u64) {
        count(&self.out_packets, packets);
        count(&self.out_bytes, bytes);
    }
}
