//! One core that does, on its own thread, what it is told: fill the tables, make a round,
//! forget the new clients. Between two jobs it sleeps, and leaves its CPU to a reference.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use dataplane::counters::CoreTotals;
use dataplane::port::Port;
use dataplane::tick::Tick;
use dataplane::worker::Worker;

use crate::bare::Bare;
use crate::cpu::CpuTime;
use crate::draw::{ACK, Order, SYN};
use crate::gap::Gaps;
use crate::round::{self, Round};
use crate::synthesis::Synthesis;

/// Turns between two looks at the clock: some ten microseconds.
const TURNS_AT_ONCE: u64 = 16;

/// In how many steps time passes.
const STEPS: u32 = 4;
/// Entries looked at between two turns while time passes.
const SWEPT_AT_ONCE: usize = 1024;

/// What a core is told to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Job {
    /// Every client of this core sends what makes it known.
    Fill {
        /// Whether connections are opened and established one after the other.
        handshake: bool,
        /// Whether real servers answer through the director afterwards, and how many there
        /// are; 0 if they do not.
        answering: usize,
    },
    /// A measured round.
    Round {
        /// Whether the longest time between two polls is looked for.
        gaps: bool,
        /// It ends after this time,
        time: Duration,
        /// or after so many packets, or new clients,
        packets: u64,
        /// whichever is first.
        new_clients: u32,
    },
    /// So many seconds pass in which nothing arrives and the tables are swept.
    Pass {
        /// Seconds.
        seconds: u32,
    },
    /// The end.
    Stop,
}

/// Where a core has its time from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The clock on the wall, since this moment.
    Wall(Instant),
    /// So many turns have passed, of the same length each: the same work in every run,
    /// however fast the machine is.
    Turns(u32),
}

/// How long a turn takes by [`Clock::Turns`]: about what a burst does.
const TURN: Duration = Duration::from_micros(1);

/// One core with its worker.
pub struct CoreAtWork<P: Port> {
    worker: Worker<Synthesis<P>>,
    core: usize,
    clock: Clock,
    /// Entries that its tables have room for.
    entries: usize,
    /// What was let pass without waiting for it.
    skipped: Tick,
    /// Instead of the worker's turns.
    bare: Option<Bare<P::Frame>>,
    /// While this is set no round ends: control is at something that needs the cores.
    held: Arc<AtomicBool>,
}

impl<P: Port> CoreAtWork<P> {
    /// The core of this number, by the shared counters' order.
    /// `entries` is what its largest table has room for.
    pub fn new(core: usize, worker: Worker<Synthesis<P>>, entries: usize, clock: Clock) -> Self {
        let held = Arc::default();
        Self { worker, core, entries, clock, skipped: Tick::default(), bare: None, held }
    }

    /// The same without a director.
    pub fn bare(self, bare: Option<Bare<P::Frame>>) -> Self {
        Self { bare, ..self }
    }

    /// What a round waits for before it ends, if it is set.
    pub fn held(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.held)
    }

    /// Does jobs until there are no more. Answers each with a round; only those of
    /// [`Job::Round`] say anything.
    pub fn serve(&mut self, jobs: &Receiver<Job>, answers: &Sender<Round>) {
        while let Ok(job) = jobs.recv() {
            if !self.serve_one(job, answers) {
                break;
            }
        }
    }

    /// Does one job; `false` at the end.
    pub fn serve_one(&mut self, job: Job, answers: &Sender<Round>) -> bool {
        let round = match job {
            Job::Fill { handshake, answering } => self.fill(handshake, answering),
            Job::Round { gaps, time, packets, new_clients } => {
                self.round(gaps, time, packets, new_clients)
            }
            Job::Pass { seconds } => self.pass(seconds),
            Job::Stop => return false,
        };
        answers.send(round).is_ok()
    }

    /// The moment of the next turn. The time is read once a turn, as in `director run`.
    #[inline(always)]
    fn now(&mut self) -> Tick {
        let passed = match &mut self.clock {
            Clock::Wall(started) => started.elapsed(),
            Clock::Turns(turns) => {
                *turns += 1;
                TURN * *turns
            }
        };
        self.skipped.plus(Tick::after(passed).0)
    }

    fn port(&mut self) -> Option<&mut Synthesis<P>> {
        self.worker.ports_mut().first_mut()
    }

    fn totals(&self) -> CoreTotals {
        let counters = self.worker.director().shared().counters.get(self.core);
        counters.map(|core| core.read()).unwrap_or_default()
    }

    fn fill(&mut self, handshake: bool, answering: usize) -> Round {
        if answering > 0
            && let Some(port) = self.port()
        {
            port.learn(answering);
            if let Some(draw) = port.draw_mut() {
                draw.answer_from(Vec::new());
            }
        }
        let flags: &[u8] = if handshake { &[SYN, ACK] } else { &[ACK] };
        let before = self.totals();
        for flags in flags {
            let Some(draw) = self.port().and_then(Synthesis::draw_mut) else { break };
            draw.set_order(Order::Each(*flags));
            while self.port().and_then(Synthesis::draw_mut).is_some_and(|d| !d.has_been_round()) {
                let now = self.now();
                self.worker.turn(now);
            }
        }
        if let Some(port) = self.port() {
            let learned = port.learned().unwrap_or_default();
            if let Some(draw) = port.draw_mut() {
                draw.answer_from(learned);
                draw.set_order(Order::Random);
            }
        }
        let after = self.totals();
        Round {
            packets: after.received - before.received,
            lost: round::lost(&before, &after),
            ..Round::default()
        }
    }

    /// One turn of a round.
    #[inline(always)]
    fn turn(&mut self) {
        let now = self.now();
        match &mut self.bare {
            None => {
                self.worker.turn(now);
            }
            Some(bare) => {
                if let Some(port) = self.worker.ports_mut().first_mut() {
                    bare.turn(port);
                }
            }
        }
    }

    fn round(&mut self, look: bool, time: Duration, packets: u64, new_clients: u32) -> Round {
        let before = self.totals();
        let had = self.received();
        let bursts = self.bursts();
        let mut gaps = look.then(Gaps::new);
        let began = CpuTime::now();
        let deadline = Instant::now() + time;
        loop {
            for _ in 0..TURNS_AT_ONCE {
                if let Some(gaps) = &mut gaps {
                    gaps.poll(Instant::now());
                }
                self.turn();
            }
            let received = self.received() - had;
            let new = self.port().and_then(Synthesis::draw_mut).map_or(0, |d| d.new_clients());
            let is_over = Instant::now() >= deadline || received >= packets || new >= new_clients;
            if is_over && !self.held.load(Ordering::Relaxed) {
                break;
            }
        }
        let ended = CpuTime::now();
        let after = self.totals();
        Round {
            packets: self.received() - had,
            on_cpu: began.on_cpu(&ended),
            wall: began.wall(&ended),
            bursts: self.bursts() - bursts,
            gaps: gaps.map(Gaps::seen).unwrap_or_default(),
            lost: round::lost(&before, &after),
        }
    }

    fn bursts(&mut self) -> u64 {
        self.port().map_or(0, |port| port.bursts())
    }

    fn received(&self) -> u64 {
        if let Some(bare) = &self.bare {
            return bare.packets();
        }
        let counters = self.worker.director().shared().counters.get(self.core);
        counters.map_or(0, |core| core.received.get())
    }

    /// Goes through the tables several times while time passes, so that entries whose time
    /// was up are gone whatever order they are looked at in.
    fn pass(&mut self, seconds: u32) -> Round {
        if let Some(port) = self.port() {
            port.paused = true;
        }
        for _ in 0..STEPS {
            self.skipped = self.skipped.plus_secs(seconds.div_ceil(STEPS));
            for _ in 0..self.entries.div_ceil(SWEPT_AT_ONCE) {
                let now = self.now();
                self.worker.director_mut().sweep(now, SWEPT_AT_ONCE);
                // What was freed is free when every core has made a turn.
                self.worker.turn(now);
            }
        }
        if let Some(port) = self.port() {
            port.paused = false;
            if let Some(draw) = port.draw_mut() {
                draw.forget_new();
            }
        }
        Round::default()
    }
}
