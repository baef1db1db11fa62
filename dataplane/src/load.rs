//! What every real server carries: counted by the cores, summed by whoever asks.
//!
//! Each core writes only its own line of a real server's counters, with plain loads and
//! stores, so that no line ever travels between cores because of a packet. The sum over
//! the cores is what schedulers, thresholds and listings see; while other cores count, a
//! sum may be a packet old, never torn (every counter is one atomic word).
//!
//! A core that asks for it keeps a journal of the real servers whose load it changed, so that
//! its schedulers need not look at all of them.

mod journal;
mod line;
mod real;
mod sum;
mod tally;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crossbeam::utils::CachePadded;

use crate::ids::RealId;
use crate::pieces::Pieces;
use line::CoreLine;
use real::add;

pub use journal::News;
pub use line::CoreLoads;
pub(crate) use line::LoadShelf;
pub use real::RealLoad;
pub use sum::{Counts, Load};
pub(crate) use tally::Incoming;

const LIMIT: usize = RealId::LIMIT as usize;

/// The loads of all real servers on all cores.
#[derive(Debug)]
pub struct LoadBoard {
    cores: Box<[CachePadded<CoreLine>]>,
    overload: Pieces<AtomicBool>,
    /// How often control has changed an OVERLOAD flag.
    edits: AtomicU64,
}

impl LoadBoard {
    /// A board for so many cores, with no real server yet.
    pub fn new(cores: usize) -> Self {
        Self {
            cores: (0..cores.max(1)).map(|_| CachePadded::new(CoreLine::new())).collect(),
            overload: Pieces::new(LIMIT),
            edits: AtomicU64::new(0),
        }
    }

    /// Makes room for a real server. Called by control before a snapshot names it.
    pub fn reserve(&self, id: RealId) {
        for core in &self.cores {
            core.loads.reserve(id.0 as usize);
            core.orphans.reserve(id.0 as usize);
        }
        self.overload.reserve(id.0 as usize);
    }

    /// One core's counters of a real server; `None` for an id that was never reserved.
    #[inline]
    pub fn of_core(&self, core: usize, id: RealId) -> Option<&RealLoad> {
        self.cores.get(core)?.loads.get(id.0 as usize)
    }

    /// How many cores there are.
    pub fn cores(&self) -> usize {
        self.cores.len()
    }

    /// Changes a real server's ActiveConn and InActConn on one core; by that core alone.
    #[inline]
    pub fn shift(&self, core: usize, id: RealId, active: i64, inactive: i64) {
        if let Some(line) = self.cores.get(core)
            && let Some(load) = line.loads.get(id.0 as usize)
        {
            load.shift(active, inactive);
            line.journal.note(id);
        }
    }

    /// Changes the number of templates (or clients, under `tracking: client`) that a core
    /// counts as bound to a real server; by that core alone.
    #[inline]
    pub fn bind(&self, core: usize, id: RealId, by: i64) {
        if let Some(line) = self.cores.get(core)
            && let Some(load) = line.loads.get(id.0 as usize)
        {
            load.bind(by);
            line.journal.note(id);
        }
    }

    /// Changes the number of a real server's templates that have lost their client: it was
    /// taken from them or is bound anew, and they go on for their connections alone. By that
    /// core alone.
    pub fn orphan(&self, core: usize, id: RealId, by: i64) {
        let orphans = self.cores.get(core).and_then(|line| line.orphans.get(id.0 as usize));
        if let Some(orphans) = orphans {
            add(orphans, by);
        }
    }

    /// Lets a core keep a journal from now on; by that core alone.
    pub fn keep_journal(&self, core: usize) {
        if let Some(line) = self.cores.get(core) {
            line.journal.open();
        }
    }

    /// What a core has changed from a point of its journal on; `None` if nothing.
    #[inline]
    pub fn journal(&self, core: usize, from: u64) -> Option<News<'_>> {
        self.cores.get(core)?.journal.since(from)
    }

    /// What one core has counted.
    #[inline]
    pub fn own(&self, core: usize, id: RealId) -> Counts {
        self.of_core(core, id).map_or(Counts::default(), RealLoad::counts)
    }

    /// What all other cores have counted.
    pub fn others(&self, core: usize, id: RealId) -> Counts {
        let others = self.cores.iter().enumerate().filter(|(other, _)| *other != core);
        others
            .filter_map(|(_, line)| line.loads.get(id.0 as usize))
            .fold(Counts::default(), |sum, load| sum.plus(load.counts()))
    }

    /// One core's counters of all real servers.
    #[inline]
    pub fn core(&self, core: usize) -> Option<CoreLoads<'_>> {
        self.cores.get(core).map(|line| CoreLoads(line))
    }

    /// The sums over all cores.
    pub fn sum(&self, id: RealId) -> Load {
        let mut load = Load::default();
        let (mut active, mut inactive, mut bound, mut orphans) = (0i64, 0i64, 0i64, 0i64);
        let at = id.0 as usize;
        for line in self.cores.iter().filter_map(|core| core.orphans.get(at)) {
            orphans += line.load(Relaxed);
        }
        for core in &self.cores {
            let Some(line) = core.loads.get(at) else { continue };
            active += line.active.load(Relaxed);
            inactive += line.inactive.load(Relaxed);
            bound += line.bound.load(Relaxed);
            load.connections += line.connections.load(Relaxed);
            let [packets, bytes] = core.tallies.with(id, [&line.in_packets, &line.in_bytes]);
            load.in_packets += packets;
            load.in_bytes += bytes;
            load.out_packets += line.out_packets.load(Relaxed);
            load.out_bytes += line.out_bytes.load(Relaxed);
        }
        // Other cores may be between the two halves of a move; never show less than none.
        load.active = active.max(0) as u64;
        load.inactive = inactive.max(0) as u64;
        load.bound = bound.max(0) as u64;
        load.orphans = orphans.max(0) as u64;
        load
    }

    /// What schedulers need, over all cores.
    #[inline]
    pub fn counts(&self, id: RealId) -> Counts {
        let lines = self.cores.iter().filter_map(|core| core.loads.get(id.0 as usize));
        lines.fold(Counts::default(), |sum, load| sum.plus(load.counts()))
    }

    /// Active and inactive connections over all cores.
    #[inline]
    pub fn connections(&self, id: RealId) -> (u64, u64) {
        let counts = self.counts(id);
        (counts.active.max(0) as u64, counts.inactive.max(0) as u64)
    }

    /// Forgets a real server whose id is to be given out again. No core refers to it.
    pub fn reset(&self, id: RealId) {
        for line in self.cores.iter().filter_map(|core| core.orphans.get(id.0 as usize)) {
            line.store(0, Relaxed);
        }
        for core in &self.cores {
            core.tallies.reset(id);
            let Some(line) = core.loads.get(id.0 as usize) else { continue };
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

    /// Sets or clears the OVERLOAD flag because of an edit; by control.
    pub fn set_overloaded(&self, id: RealId, overloaded: bool) {
        if self.flag(id, overloaded) {
            self.edits.fetch_add(1, Relaxed);
        }
    }

    /// Sets or clears the OVERLOAD flag because of what a core has counted; by that core.
    pub fn set_overloaded_by(&self, core: usize, id: RealId, overloaded: bool) {
        if self.flag(id, overloaded)
            && let Some(line) = self.cores.get(core)
        {
            line.journal.note(id);
        }
    }

    /// Whether the flag was another; writes only on a change.
    fn flag(&self, id: RealId, overloaded: bool) -> bool {
        let flag = self.overload.get(id.0 as usize);
        let changes = flag.filter(|flag| flag.load(Relaxed) != overloaded);
        changes.inspect(|flag| flag.store(overloaded, Relaxed)).is_some()
    }

    /// How often control has changed an OVERLOAD flag: another number than before tells
    /// schedulers to look at all of them.
    #[inline]
    pub fn edits(&self) -> u64 {
        self.edits.load(Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::journal::Journal;
    use super::*;

    #[test]
    fn a_template_made_on_one_core_and_freed_on_another_leaves_nothing() {
        let board = LoadBoard::new(2);
        let id = RealId(1500);
        board.reserve(id);
        board.bind(0, id, 1);
        assert_eq!(board.sum(id).bound, 1);
        board.bind(1, id, -1);
        assert!(board.sum(id).is_idle());
    }

    #[test]
    fn a_journal_tells_whose_load_its_core_changed_or_that_it_does_not_reach_back() {
        let board = LoadBoard::new(2);
        (0..5).for_each(|n| board.reserve(RealId(n)));
        board.shift(0, RealId(1), 1, 0);
        assert!(board.journal(0, 0).is_none(), "none is kept before somebody asks");
        board.keep_journal(0);
        board.shift(0, RealId(1), 0, 1);
        board.shift(1, RealId(2), 0, 1);
        board.bind(0, RealId(3), 1);
        board.set_overloaded_by(0, RealId(4), true);
        board.set_overloaded_by(0, RealId(4), true);
        let news = board.journal(0, 0).unwrap();
        assert_eq!(news.end(), 3);
        let mut told = Vec::new();
        assert!(news.read(|id| told.push(id.0)));
        assert_eq!(told, [1, 3, 4]);
        assert!(board.journal(0, 3).is_none());
        assert_eq!(board.edits(), 0);
        board.set_overloaded(RealId(4), false);
        assert_eq!(board.edits(), 1);
        (0..Journal::HOLDS - 2).for_each(|_| board.shift(0, RealId(2), 1, 0));
        let mut told = 0;
        assert!(!board.journal(0, 0).unwrap().read(|_| told += 1));
        assert!(board.journal(0, 1).unwrap().read(|_| told += 1));
        assert_eq!(told, Journal::HOLDS);
        let counts = Counts { active: Journal::HOLDS as i64 - 2, inactive: 1, bound: 0 };
        assert_eq!(board.counts(RealId(2)), counts);
        assert_eq!(board.own(0, RealId(2)).plus(board.others(0, RealId(2))), counts);
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
