//! How the real servers of long lists stand, on one core: picks that do not walk the list.
//!
//! Services with more than [`WALKED`] real servers have a [`Tournament`] over their list, kept
//! up with every change of load. What the own core changes is known by the time of the next pick,
//! by its journal on the [`LoadBoard`]; on one core the choice is therefore the walk's, always.
//! What other cores have is read again a few servers at a time (all of a list up to
//! [`REREAD_WHOLE`]): some with every pick of the service, more with every tick, so that a service
//! of 1,000 servers is up to date after four ticks at the latest. (A walk would read every core's
//! counters of every server.)

use arrayvec::ArrayVec;

use super::tournament::{Entrant, Tournament};
use super::{Pool, Scheduler};
use crate::compat::Kernel;
use crate::ids::RealId;
use crate::load::{Counts, LoadBoard};
use crate::snapshot::{Service, Tracking};

/// Lists up to this length are walked: that is no slower.
pub(super) const WALKED: usize = 4;
/// Servers whose other cores' counts are read again with a pick of their service.
const REREAD_AT_PICK: usize = 4;
/// All of them in lists up to this length, as a walk would.
const REREAD_WHOLE: usize = 16;
/// And with every tick, over all services.
pub(super) const REREAD_PER_TICK: usize = 256;

/// What servers compete for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Contest {
    /// wlc, and what lblc and lblcr fall back on: the smallest load per weight.
    Load,
    /// lc: the smallest load.
    UnweightedLoad,
    /// sed: the smallest (active + 1) per weight.
    Delay,
    /// nq: the first idle one, else as sed.
    Idleness,
    /// fo: the largest weight.
    Weight,
    /// ovf: the largest weight among those with no more active connections than that.
    WeightNotFull,
    /// lblc, lblcr: the smallest 2 x active per weight, overloaded or not.
    Spare,
}

impl Contest {
    /// The contest that a scheduler is nothing but.
    #[inline]
    pub(super) fn of(scheduler: Scheduler) -> Option<Self> {
        match scheduler {
            Scheduler::Wlc => Some(Self::Load),
            Scheduler::Lc => Some(Self::UnweightedLoad),
            Scheduler::Sed => Some(Self::Delay),
            Scheduler::Nq => Some(Self::Idleness),
            Scheduler::Fo => Some(Self::Weight),
            Scheduler::Ovf => Some(Self::WeightNotFull),
            Scheduler::Rr
            | Scheduler::Wrr
            | Scheduler::Lblc
            | Scheduler::Lblcr
            | Scheduler::Dh
            | Scheduler::Sh
            | Scheduler::Mh
            | Scheduler::Twos => None,
        }
    }
}

/// A real server in the list, as far as contests care.
#[derive(Clone, Copy, Debug)]
struct Standing {
    real: RealId,
    weight: u32,
    /// What other cores have, as of the last time they were asked.
    others: Counts,
}

/// What the rules depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rules {
    scheduler_epoch: u64,
    list_epoch: u64,
    kernel: Kernel,
    tracking: Tracking,
}

/// One service's list.
#[derive(Clone, Debug)]
struct Field {
    rules: Rules,
    standings: Vec<Standing>,
    contests: ArrayVec<(Contest, Tournament), 2>,
    /// The board's edits that were taken up.
    edits: u64,
    /// Where rereading goes on.
    reread: usize,
}

/// Which field a real server is in, and where.
#[derive(Clone, Copy, Debug, Default)]
struct Seat {
    /// The service's number and one; 0 for none.
    field: u32,
    place: u32,
}

/// All long lists that this core has picked from.
#[derive(Clone, Debug, Default)]
pub(super) struct Standings {
    fields: Vec<Option<Box<Field>>>,
    /// By real server.
    seats: Vec<Seat>,
    /// How much of the core's journal was read.
    read: u64,
    /// The field that is reread next.
    reread: usize,
}

impl Standings {
    /// The winner of a contest, and what it won with.
    #[inline]
    pub(super) fn winner(
        &mut self,
        contest: Contest,
        service: &Service,
        pool: &Pool<'_>,
    ) -> Option<(RealId, Entrant)> {
        let index = self.prepare(contest, service, pool);
        let field = self.fields.get_mut(index)?.as_deref_mut()?;
        if pool.loads.cores() > 1 {
            let servers = match field.standings.len() {
                short @ ..=REREAD_WHOLE => short,
                _ => REREAD_AT_PICK,
            };
            field.reread(servers, pool.loads, pool.core);
        }
        let (place, entrant) = field.tournament(contest)?.winner()?;
        Some((field.standings.get(place)?.real, entrant))
    }

    /// Brings a service's field up to date, and answers which it is.
    #[inline]
    fn prepare(&mut self, contest: Contest, service: &Service, pool: &Pool<'_>) -> usize {
        self.settle(pool.loads, pool.core);
        let index = service.id.0 as usize;
        let rules = Rules {
            scheduler_epoch: service.scheduler_epoch,
            list_epoch: service.list_epoch,
            kernel: pool.kernel,
            tracking: pool.tracking,
        };
        let fits = |field: &Field| field.rules == rules && field.tournament(contest).is_some();
        if !self.fields.get(index).and_then(Option::as_deref).is_some_and(fits) {
            self.rebuild(index, contest, rules, pool);
        }
        if let Some(Some(field)) = self.fields.get_mut(index)
            && field.edits != pool.loads.edits()
        {
            field.look_at_all(pool.loads, pool.core);
        }
        index
    }

    /// The contest of a service in which the only core picks several times in a row. `None` with
    /// several cores, and where a change of load is more than one change in one tournament.
    pub(super) fn race(
        &mut self,
        contest: Contest,
        service: &Service,
        pool: &Pool<'_>,
    ) -> Option<Race<'_>> {
        if pool.loads.cores() > 1 {
            return None;
        }
        let index = self.prepare(contest, service, pool);
        let Field { rules, standings, contests, .. } =
            self.fields.get_mut(index)?.as_deref_mut()?;
        let [(held, tournament)] = contests.as_mut_slice() else { return None };
        (*held == contest).then_some(Race { contest, rules: *rules, standings, tournament })
    }

    /// Takes up what the own core has changed since the last time.
    #[inline]
    pub(super) fn settle(&mut self, loads: &LoadBoard, core: usize) {
        let Some(news) = loads.journal(core, self.read) else { return };
        self.read = news.end();
        let mut last = None;
        let complete = news.read(|id| {
            // Opening a connection changes a load twice.
            if last != Some(id) {
                self.look(id, loads, core);
                last = Some(id);
            }
        });
        if !complete {
            for field in self.fields.iter_mut().flatten() {
                field.look_at_all(loads, core);
            }
        }
    }

    #[inline]
    fn look(&mut self, id: RealId, loads: &LoadBoard, core: usize) {
        let Some(seat) = self.seats.get(id.0 as usize) else { return };
        let (field, place) = ((seat.field as usize).wrapping_sub(1), seat.place as usize);
        if let Some(Some(field)) = self.fields.get_mut(field)
            && field.standings.get(place).is_some_and(|known| known.real == id)
        {
            field.look(place, loads, core);
        }
    }

    /// Asks for the other cores' counts of a few servers, field after field. Once a tick.
    pub(super) fn tend(&mut self, loads: &LoadBoard, core: usize) {
        let mut left = if loads.cores() > 1 { REREAD_PER_TICK } else { 0 };
        for _ in 0..self.fields.len() {
            if left == 0 {
                return;
            }
            if let Some(Some(field)) = self.fields.get_mut(self.reread) {
                let servers = field.standings.len().min(left);
                field.reread(servers, loads, core);
                left -= servers;
                if left == 0 && field.reread != 0 {
                    return;
                }
            }
            self.reread = (self.reread + 1) % self.fields.len();
        }
    }

    /// Makes the field fit the service as it is now.
    #[cold]
    fn rebuild(&mut self, index: usize, contest: Contest, rules: Rules, pool: &Pool<'_>) {
        pool.loads.keep_journal(pool.core);
        if index >= self.fields.len() {
            self.fields.resize_with(index + 1, || None);
        }
        let known = self.fields.get_mut(index).and_then(Option::take);
        let mut field = match known {
            // One more contest over the same list.
            Some(field) if field.rules == rules => field,
            _ => Box::new(Field::new(rules, pool)),
        };
        field.add(contest, pool);
        for (place, standing) in field.standings.iter().enumerate() {
            let real = standing.real.0 as usize;
            if real >= self.seats.len() {
                self.seats.resize(real + 1, Seat::default());
            }
            if let Some(seat) = self.seats.get_mut(real) {
                *seat = Seat { field: index as u32 + 1, place: place as u32 };
            }
        }
        if let Some(slot) = self.fields.get_mut(index) {
            *slot = Some(field);
        }
    }

    /// Bytes that the standings take.
    pub(super) fn bytes(&self) -> usize {
        let fields: usize = self.fields.iter().flatten().map(|field| field.bytes()).sum();
        fields
            + self.fields.capacity() * size_of::<Option<Box<Field>>>()
            + self.seats.capacity() * size_of::<Seat>()
    }
}

/// A contest whose winners' loads change, one after the other, and nothing else on the board.
/// The journal then has nothing to tell.
pub(crate) struct Race<'a> {
    contest: Contest,
    rules: Rules,
    standings: &'a [Standing],
    tournament: &'a mut Tournament,
}

impl Race<'_> {
    /// The winner's place in the list, and who it is.
    #[inline(always)]
    pub(crate) fn winner(&self) -> Option<(usize, RealId)> {
        let (place, _) = self.tournament.winner()?;
        Some((place, self.standings.get(place)?.real))
    }

    /// What this core has counted for the server at a place is this now.
    #[inline(always)]
    pub(crate) fn follow(&mut self, place: usize, counts: Counts, is_overloaded: bool) {
        if let Some(standing) = self.standings.get(place) {
            let entrant =
                entrant_with(self.contest, standing, &self.rules, counts, || is_overloaded);
            self.tournament.change(place, entrant);
        }
    }
}

impl Field {
    fn new(rules: Rules, pool: &Pool<'_>) -> Self {
        let standing = |real: RealId| Standing {
            real,
            weight: u32::try_from(pool.weight(real)).unwrap_or(u32::MAX),
            others: pool.loads.others(pool.core, real),
        };
        Self {
            rules,
            standings: pool.members.iter().map(|member| standing(member.real)).collect(),
            contests: ArrayVec::new(),
            edits: pool.loads.edits(),
            reread: 0,
        }
    }

    fn add(&mut self, contest: Contest, pool: &Pool<'_>) {
        let mut tournament = Tournament::default();
        let entrants = self
            .standings
            .iter()
            .map(|standing| entrant(contest, standing, &self.rules, pool.loads, pool.core));
        tournament.restart(entrants);
        // A service has one contest, and lblc's two.
        if self.contests.is_full() {
            self.contests.clear();
        }
        self.contests.push((contest, tournament));
    }

    #[inline]
    fn tournament(&self, contest: Contest) -> Option<&Tournament> {
        self.contests.iter().find(|(held, _)| *held == contest).map(|(_, tournament)| tournament)
    }

    /// Reads all loads on this core and all flags again.
    #[cold]
    fn look_at_all(&mut self, loads: &LoadBoard, core: usize) {
        self.edits = loads.edits();
        (0..self.standings.len()).for_each(|place| self.look(place, loads, core));
    }

    /// Reads a server's load on this core again.
    #[inline]
    fn look(&mut self, place: usize, loads: &LoadBoard, core: usize) {
        let Some(standing) = self.standings.get(place) else { return };
        for (contest, tournament) in &mut self.contests {
            tournament.change(place, entrant(*contest, standing, &self.rules, loads, core));
        }
    }

    fn reread(&mut self, servers: usize, loads: &LoadBoard, core: usize) {
        for _ in 0..servers.min(self.standings.len()) {
            if let Some(standing) = self.standings.get_mut(self.reread) {
                standing.others = loads.others(core, standing.real);
            }
            self.look(self.reread, loads, core);
            self.reread = (self.reread + 1) % self.standings.len().max(1);
        }
    }

    fn bytes(&self) -> usize {
        size_of::<Self>()
            + self.standings.capacity() * size_of::<Standing>()
            + self.contests.iter().map(|(_, tournament)| tournament.bytes()).sum::<usize>()
    }
}

/// What a server enters a contest with.
#[inline]
fn entrant(
    contest: Contest,
    standing: &Standing,
    rules: &Rules,
    loads: &LoadBoard,
    core: usize,
) -> Entrant {
    let is_overloaded = || loads.is_overloaded(standing.real);
    entrant_with(contest, standing, rules, loads.own(core, standing.real), is_overloaded)
}

/// The same with what the own core has counted for it.
#[inline(always)]
fn entrant_with(
    contest: Contest,
    standing: &Standing,
    rules: &Rules,
    own: Counts,
    is_overloaded: impl FnOnce() -> bool,
) -> Entrant {
    let weight = standing.weight;
    if weight == 0 || contest != Contest::Spare && is_overloaded() {
        return Entrant::ABSENT;
    }
    let counts = own.plus(standing.others);
    let active = super::active_of(counts, rules.tracking);
    match contest {
        Contest::Load => Entrant::new(super::load_of(counts, rules.tracking, rules.kernel), weight),
        Contest::UnweightedLoad => {
            Entrant::new(super::load_of(counts, rules.tracking, rules.kernel), 1)
        }
        Contest::Idleness if active == 0 => Entrant::new(0, weight),
        Contest::Delay | Contest::Idleness => Entrant::new(active + 1, weight),
        Contest::Weight => Entrant::new(1, weight),
        Contest::WeightNotFull if active > u64::from(weight) => Entrant::ABSENT,
        Contest::WeightNotFull => Entrant::new(1, weight),
        Contest::Spare => Entrant::new(active * 2, weight),
    }
}
