//! What every real server carries: counted by the cores, summed by whoever asks.
//!
//! Each core writes only its own line of a real server's counters, with plain loads and
//! stores, so that no line ever travels between cores because of a packet. The sum over
//! the cores is what schedulers, thresholds and listings see; while other cores count, a
//! sum may be a packet old, never torn (every counter is one atomic word).

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};

use crossbeam::utils::CachePadded;

use crate::ids::RealId;
use crate::pieces::Pieces;

const LIMIT: usize = RealId::LIMIT as usize;

/// One core's counters of one real server: one writer, any number of readers.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct RealLoad {
    active: AtomicI64,
    inactive: AtomicI64,
    bound: AtomicI64,
    connections: AtomicU64,
    in_packets: AtomicU64,
    in_bytes: AtomicU64,
    out_packets: AtomicU64,
    out_bytes: AtomicU64,
}

fn add(counter: &AtomicI64, by: i64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

#[inline]
fn count(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(by), Relaxed);
}

impl RealLoad {
    /// Changes ActiveConn and InActConn by so much.
    pub fn shift(&self, active: i64, inactive: i64) {
        if active != 0 {
            add(&self.active, active);
        }
        if inactive != 0 {
            add(&self.inactive, inactive);
        }
    }

    /// Changes the number of templates (or clients, under `tracking: client`) bound here.
    pub fn bind(&self, by: i64) {
        add(&self.bound, by);
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

    /// Counts a packet to a client.
    #[inline]
    pub fn outgoing(&self, bytes: u64) {
        count(&self.out_packets, 1);
        count(&self.out_bytes, bytes);
    }
}

/// One core's counters of all real servers.
#[derive(Clone, Copy, Debug)]
pub struct CoreLoads<'a>(&'a Pieces<RealLoad>);

impl<'a> CoreLoads<'a> {
    /// The counters of a real server; `None` for an id that was never reserved.
    #[inline]
    pub fn of(self, id: RealId) -> Option<&'a RealLoad> {
        self.0.get(id.0 as usize)
    }
}

/// The sum over all cores of one real server's counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// Connections in an active state (the listing's ActiveConn).
    pub active: u64,
    /// All other connections (the listing's InActConn).
    pub inactive: u64,
    /// Templates, or clients under `tracking: client` (the listing's PersistConn).
    pub bound: u64,
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

    /// Whether nothing refers to the real server any more, so that its id may be reused.
    pub fn is_idle(self) -> bool {
        self.total() == 0 && self.bound == 0
    }
}

/// The loads of all real servers on all cores.
#[derive(Debug)]
pub struct LoadBoard {
    cores: Box<[CachePadded<Pieces<RealLoad>>]>,
    overload: Pieces<AtomicBool>,
}

impl LoadBoard {
    /// A board for so many cores, with no real server yet.
    pub fn new(cores: usize) -> Self {
        Self {
            cores: (0..cores.max(1)).map(|_| CachePadded::new(Pieces::new(LIMIT))).collect(),
            overload: Pieces::new(LIMIT),
        }
    }

    /// Makes room for a real server. Called by control before a snapshot names it.
    pub fn reserve(&self, id: RealId) {
        for core in &self.cores {
            core.reserve(id.0 as usize);
        }
        self.overload.reserve(id.0 as usize);
    }

    /// One core's counters of a real server; `None` for an id that was never reserved.
    #[inline]
    pub fn of_core(&self, core: usize, id: RealId) -> Option<&RealLoad> {
        self.cores.get(core)?.get(id.0 as usize)
    }

    /// One core's counters of all real servers.
    #[inline]
    pub fn core(&self, core: usize) -> Option<CoreLoads<'_>> {
        self.cores.get(core).map(|loads| CoreLoads(loads))
    }

    /// The sums over all cores.
    pub fn sum(&self, id: RealId) -> Load {
        let mut load = Load::default();
        let (mut active, mut inactive, mut bound) = (0i64, 0i64, 0i64);
        for line in self.cores.iter().filter_map(|core| core.get(id.0 as usize)) {
            active += line.active.load(Relaxed);
            inactive += line.inactive.load(Relaxed);
            bound += line.bound.load(Relaxed);
            load.connections += line.connections.load(Relaxed);
            load.in_packets += line.in_packets.load(Relaxed);
            load.in_bytes += line.in_bytes.load(Relaxed);
            load.out_packets += line.out_packets.load(Relaxed);
            load.out_bytes += line.out_bytes.load(Relaxed);
        }
        // Other cores may be between the two halves of a move; never show less than none.
        load.active = active.max(0) as u64;
        load.inactive = inactive.max(0) as u64;
        load.bound = bound.max(0) as u64;
        load
    }

    /// Active and inactive connections over all cores: the part that schedulers need.
    #[inline]
    pub fn connections(&self, id: RealId) -> (u64, u64) {
        let (mut active, mut inactive) = (0i64, 0i64);
        for line in self.cores.iter().filter_map(|core| core.get(id.0 as usize)) {
            active += line.active.load(Relaxed);
            inactive += line.inactive.load(Relaxed);
        }
        (active.max(0) as u64, inactive.max(0) as u64)
    }

    /// Templates or clients bound over all cores.
    #[inline]
    pub fn bound(&self, id: RealId) -> u64 {
        let sum: i64 = self
            .cores
            .iter()
            .filter_map(|core| core.get(id.0 as usize))
            .map(|l| l.bound.load(Relaxed))
            .sum();
        sum.max(0) as u64
    }

    /// Forgets a real server whose id is to be given out again. No core refers to it.
    pub fn reset(&self, id: RealId) {
        for line in self.cores.iter().filter_map(|core| core.get(id.0 as usize)) {
            for counter in [&line.active, &line.inactive, &line.bound] {
                counter.store(0, Relaxed);
            }
            let totals = [
                &line.connections,
                &line.in_packets,
                &line.in_bytes,
                &line.out_packets,
                &line.out_bytes,
            ];
            for counter in totals {
                counter.store(0, Relaxed);
            }
        }
        self.set_overloaded(id, false);
    }

    /// Whether the real server is over its upper threshold (IPVS's OVERLOAD flag).
    #[inline]
    pub fn is_overloaded(&self, id: RealId) -> bool {
        self.overload.get(id.0 as usize).is_some_and(|flag| flag.load(Relaxed))
    }

    /// Sets or clears the OVERLOAD flag; writes only on a change.
    pub fn set_overloaded(&self, id: RealId, overloaded: bool) {
        if let Some(flag) = self.overload.get(id.0 as usize)
            && flag.load(Relaxed) != overloaded
        {
            flag.store(overloaded, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_made_on_one_core_and_freed_on_another_leaves_nothing() {
        let board = LoadBoard::new(2);
        let id = RealId(1500);
        board.reserve(id);
        board.of_core(0, id).unwrap().bind(1);
        assert_eq!(board.sum(id).bound, 1);
        board.of_core(1, id).unwrap().bind(-1);
        assert!(board.sum(id).is_idle());
    }

    #[test]
    fn an_unknown_real_server_has_no_counters_and_no_load() {
        let board = LoadBoard::new(1);
        assert!(board.of_core(0, RealId(7)).is_none());
        assert!(board.of_core(9, RealId(7)).is_none());
        assert_eq!(board.sum(RealId(7)), Load::default());
        board.set_overloaded(RealId(7), true);
        assert!(!board.is_overloaded(RealId(7)));
    }
}
