//! Schedulers: which real server gets a new client. A closed set with ipvsadm's names.
//!
//! A scheduler has three parts. What depends on the configuration alone (hash tables) is
//! built by control and shared by all cores ([`Tables`]). What moves with every pick (the
//! cursor of rr and wrr) belongs to one core ([`State`]). Loads come from the
//! [`LoadBoard`], which sums all cores.
//!
//! All of them walk the service's list from its head, and the real server that was added
//! last is at the head, as in IPVS; ties go to the first one met.

mod cache;
mod dh;
mod fo;
mod lblc;
mod lblcr;
mod lc;
mod mh;
mod nq;
mod ovf;
mod pool;
pub mod rr;
mod sed;
mod sh;
mod standings;
mod tables;
mod tournament;
mod twos;
mod wlc;
pub mod wrr;

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::RealId;
use crate::load::LoadBoard;
use crate::snapshot::Service;
use crate::wire::Packet;

pub use mh::Maglev;
pub use pool::Pool;
use pool::{active_of, load_of};
pub(crate) use standings::Race;
use standings::{Contest, Standings, WALKED};
pub use tables::{Listed, Tables};

macro_rules! schedulers {
    ($($name:ident, $word:literal, $doc:literal;)*) => {
        /// The scheduling algorithms, by ipvsadm's names.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Scheduler { $(#[doc = $doc] $name,)* }

        impl Scheduler {
            /// All of them, in the order of ipvsadm's manual page.
            pub const ALL: &'static [Scheduler] = &[$(Scheduler::$name,)*];

            /// The name as in `ipvsadm -s`.
            pub const fn name(self) -> &'static str {
                match self { $(Scheduler::$name => $word,)* }
            }
        }
    };
}

schedulers! {
    Rr, "rr", "Round robin.";
    Wrr, "wrr", "Weighted round robin.";
    Lc, "lc", "Least connections.";
    Wlc, "wlc", "Weighted least connections (ipvsadm's default).";
    Lblc, "lblc", "Locality-based least connections.";
    Lblcr, "lblcr", "Locality-based least connections with replication.";
    Dh, "dh", "Destination hashing.";
    Sh, "sh", "Source hashing.";
    Mh, "mh", "Maglev hashing.";
    Sed, "sed", "Shortest expected delay.";
    Nq, "nq", "Never queue.";
    Fo, "fo", "Weighted failover.";
    Ovf, "ovf", "Weighted overflow.";
    Twos, "twos", "Power of two choices.";
}

impl Scheduler {
    /// The scheduler of that name, as in `ipvsadm -s`.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|scheduler| scheduler.name() == name)
    }
}

bitflags::bitflags! {
    /// `ipvsadm -b`: what the three scheduler flags mean depends on the scheduler.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct SchedulerFlags: u8 {
        /// sh, mh: look for another real server when the hashed one is unusable.
        const FALLBACK = 1;
        /// sh, mh: hash the client's port as well.
        const PORT = 2;
        /// `flag-3`: without a meaning in any scheduler so far.
        const FLAG_3 = 4;
    }
}

/// What a core, or all of them together, remembers between two picks of one service.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Which scheduler instance and which list the state was made for.
    scheduler_epoch: u64,
    list_epoch: u64,
    cursor: Cursor,
}

#[derive(Clone, Debug, Default)]
enum Cursor {
    #[default]
    None,
    Rr(rr::Cursor),
    Wrr(wrr::Cursor),
    Lblc(lblc::Servers),
    Lblcr(lblcr::Sets),
    Twos(twos::Draws),
}

impl State {
    /// Whether a scheduler remembers anything that cores could share.
    pub(crate) const fn is_of(scheduler: Scheduler) -> bool {
        matches!(scheduler, Scheduler::Rr | Scheduler::Wrr | Scheduler::Lblc | Scheduler::Lblcr)
    }
}

/// What is remembered is good wherever another core stopped.
fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one core remembers of all services, and how their real servers stand.
#[derive(Clone, Debug, Default)]
pub struct Schedulers {
    states: Vec<State>,
    standings: Standings,
}

impl Schedulers {
    /// Picks a real server for a new client of the service, or `None` when none is usable.
    /// As [`pick`], but what it costs hardly grows with the list.
    pub fn pick(&mut self, service: &Service, pool: &Pool<'_>, packet: &Packet) -> Option<RealId> {
        let is_long = service.members.len() > WALKED;
        if is_long && let Some(contest) = Contest::of(service.scheduler?) {
            return self.standings.winner(contest, service, pool).map(|(real, _)| real);
        }
        let standings = is_long.then_some(&mut self.standings);
        let chooser = Chooser { service, pool, standings };
        // Under a lock, as in the kernel. A core that has not heard of an edit yet goes by itself.
        if let Some(mut state) = service.common.as_deref().map(lock)
            && state.list_epoch <= service.list_epoch
        {
            return state.pick(chooser, packet);
        }
        let index = service.id.0 as usize;
        if index >= self.states.len() {
            self.states.resize_with(index + 1, State::default);
        }
        self.states.get_mut(index)?.pick(chooser, packet)
    }

    /// [`Self::pick`] for a packet that is read only if the scheduler looks at packets.
    #[inline(always)]
    pub fn pick_unread(
        &mut self,
        service: &Service,
        pool: &Pool<'_>,
        read: impl FnOnce() -> Option<Packet>,
    ) -> Option<RealId> {
        match Contest::of(service.scheduler?) {
            Some(contest) if service.members.len() > WALKED => {
                self.standings.winner(contest, service, pool).map(|(real, _)| real)
            }
            _ => self.pick(service, pool, &read()?),
        }
    }

    /// Where the next clients of the service go, while nobody but who asks here changes a load.
    pub(crate) fn picker(&mut self, service: &Service, pool: &Pool<'_>) -> Picker<'_> {
        let is_long = service.members.len() > WALKED;
        let contest = service.scheduler.filter(|_| is_long).and_then(Contest::of);
        if let Some(contest) = contest
            && pool.loads.cores() == 1
        {
            return Picker::Race(self.standings.race(contest, service, pool));
        }
        Picker::Any(self)
    }

    /// The real server that [`Self::pick`] would pick, without moving a cursor.
    pub fn would_pick(
        &self,
        service: &Service,
        pool: &Pool<'_>,
        packet: &Packet,
    ) -> Option<RealId> {
        let own = || self.states.get(service.id.0 as usize).cloned().unwrap_or_default();
        let common = service.common.as_deref().map(|common| lock(common).clone());
        let mut state = common.unwrap_or_else(own);
        pick(&mut state, service, pool, packet)
    }

    /// Takes up what the core has changed. Once a turn, and before every pick.
    #[inline]
    pub fn settle(&mut self, loads: &LoadBoard, core: usize) {
        self.standings.settle(loads, core);
    }

    /// Takes up some of what other cores have changed. Once a tick.
    pub fn tend(&mut self, loads: &LoadBoard, core: usize) {
        self.standings.tend(loads, core);
    }

    /// Bytes that long lists take.
    pub fn bytes(&self) -> usize {
        self.standings.bytes()
    }
}

/// How several new clients of one service are given to real servers, one after the other.
pub(crate) enum Picker<'a> {
    /// By a contest whose tournament follows each pick at once. `None`: nobody can be picked so.
    Race(Option<Race<'a>>),
    /// By asking anew for each.
    Any(&'a mut Schedulers),
}

/// Picks a real server for a new client of the service, or `None` when none is usable, by
/// walking the list: the reference for [`Schedulers::pick`].
pub fn pick(
    state: &mut State,
    service: &Service,
    pool: &Pool<'_>,
    packet: &Packet,
) -> Option<RealId> {
    state.pick(Chooser { service, pool, standings: None }, packet)
}

/// How a scheduler finds the best of a list: by its standings, or by a walk.
struct Chooser<'a> {
    service: &'a Service,
    pool: &'a Pool<'a>,
    standings: Option<&'a mut Standings>,
}

impl Chooser<'_> {
    /// Who wins a contest.
    fn winner(&mut self, contest: Contest) -> Option<RealId> {
        let pool = self.pool;
        if let Some(standings) = &mut self.standings {
            return standings.winner(contest, self.service, pool).map(|(real, _)| real);
        }
        match contest {
            Contest::Load => wlc::pick(pool),
            Contest::UnweightedLoad => lc::pick(pool),
            Contest::Delay => sed::pick(pool),
            Contest::Idleness => nq::pick(pool),
            Contest::Weight => fo::pick(pool),
            Contest::WeightNotFull => ovf::pick(pool),
            Contest::Spare => {
                let mut all = pool.members.iter().map(|member| member.real);
                all.find(|real| lblc::has_spare(pool, *real))
            }
        }
    }

    /// Whether some real server has fewer than half as many active connections as its weight.
    fn has_spare(&mut self) -> bool {
        match &mut self.standings {
            Some(standings) => standings
                .winner(Contest::Spare, self.service, self.pool)
                .is_some_and(|(_, entrant)| entrant.is_below_one()),
            None => self.winner(Contest::Spare).is_some(),
        }
    }
}

impl State {
    fn pick(&mut self, mut chooser: Chooser<'_>, packet: &Packet) -> Option<RealId> {
        let (service, pool) = (chooser.service, chooser.pool);
        self.follow(service);
        match (service.scheduler?, &mut self.cursor) {
            (Scheduler::Rr, Cursor::Rr(cursor)) => cursor.pick(pool),
            (Scheduler::Wrr, Cursor::Wrr(cursor)) => cursor.pick(pool),
            (Scheduler::Lblc, Cursor::Lblc(servers)) => servers.pick(&mut chooser, packet),
            (Scheduler::Lblcr, Cursor::Lblcr(sets)) => sets.pick(&mut chooser, packet),
            (Scheduler::Twos, Cursor::Twos(draws)) => draws.pick(pool, packet),
            // Not reached: the state has just been brought in line with the scheduler.
            (
                Scheduler::Rr
                | Scheduler::Wrr
                | Scheduler::Lblc
                | Scheduler::Lblcr
                | Scheduler::Twos,
                _,
            ) => None,
            (Scheduler::Dh, _) => dh::pick(pool, service.tables.buckets(), packet),
            (Scheduler::Sh, _) => sh::pick(pool, service.tables.buckets(), packet),
            (Scheduler::Mh, _) => match &service.tables {
                Tables::Maglev(table) => table.pick(pool, packet),
                Tables::Buckets(_) | Tables::None => None,
            },
            (scheduler, _) => chooser.winner(Contest::of(scheduler)?),
        }
    }

    /// Brings the state up to the service's list: a new scheduler starts afresh, an edited
    /// list is followed as the scheduler's IPVS counterpart does.
    #[inline]
    fn follow(&mut self, service: &Service) {
        if self.list_epoch == service.list_epoch && self.scheduler_epoch == service.scheduler_epoch
        {
            return;
        }
        if self.scheduler_epoch != service.scheduler_epoch {
            self.cursor = match service.scheduler {
                Some(Scheduler::Rr) => Cursor::Rr(rr::Cursor::default()),
                Some(Scheduler::Wrr) => Cursor::Wrr(wrr::Cursor::new(&service.wrr_history)),
                Some(Scheduler::Lblc) => Cursor::Lblc(lblc::Servers::default()),
                Some(Scheduler::Lblcr) => Cursor::Lblcr(lblcr::Sets::default()),
                Some(Scheduler::Twos) => Cursor::Twos(twos::Draws::default()),
                _ => Cursor::None,
            };
            self.scheduler_epoch = service.scheduler_epoch;
        } else if self.list_epoch != service.list_epoch {
            match &mut self.cursor {
                Cursor::Rr(cursor) => cursor.follow(&service.rr_removals, self.list_epoch),
                Cursor::Wrr(cursor) => cursor.follow(service.wrr_history.since(self.list_epoch)),
                Cursor::Lblc(_) | Cursor::Lblcr(_) | Cursor::Twos(_) | Cursor::None => {}
            }
        }
        self.list_epoch = service.list_epoch;
    }
}
