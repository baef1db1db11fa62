//! The poll loop of one core: news, receive, decide, send, a little clean-up.
//!
//! The only code that sees both ports and the mailbox. Everything in a turn is bounded, so
//! that no turn is much longer than a burst takes.

mod intake;
mod mail;
mod sending;
mod waiting;
mod whole;

use std::collections::VecDeque;
use std::sync::Arc;

use crate::counters::CoreCounters;
use crate::director::{Decided, Director};
use crate::fragments::FragmentLimits;
use crate::ids::PortIndex;
use crate::port::{Burst, Frame, Port};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::trace::Tracer;
use crate::verdict::{DropReason, Verdict};
use intake::{INTAKES, Intake};
use waiting::{Awaited, Early, Held};

/// Table entries looked at in one turn at the most.
const SWEEP_PER_TURN: usize = 64;
/// One core: its ports' queues, its director and its mailbox.
pub struct Worker<P: Port> {
    core: usize,
    shared: Arc<Shared>,
    director: Director,
    ports: Vec<P>,
    tx: Vec<Burst<P::Frame>>,
    /// Three bursts at a time: while one is decided about, memory answers the others' questions.
    intakes: [Intake<P::Frame>; INTAKES],
    decided: Decided,
    /// What is to be freed, all at once.
    spent: Burst<P::Frame>,
    held: VecDeque<Held<P::Frame>>,
    held_limit: usize,
    early: VecDeque<Early<P::Frame>>,
    fragments_remembered: u64,
    parting: Option<Arc<Snapshot>>,
    swept_at: Tick,
    sweep_credit: usize,
    /// Packets that were cut so far.
    cut: u32,
    tracer: Tracer,
}

impl<P: Port> Worker<P> {
    /// A worker on these queues: one for every port of the configuration, in its order.
    pub fn new(core: usize, director: Director, ports: Vec<P>, held_limit: usize) -> Self {
        let shared = Arc::clone(director.shared());
        let worker = Self {
            core,
            director,
            tx: ports.iter().map(|_| Burst::new()).collect(),
            ports,
            intakes: Default::default(),
            decided: Decided::default(),
            spent: Burst::new(),
            held: VecDeque::with_capacity(held_limit),
            held_limit,
            early: VecDeque::with_capacity(FragmentLimits::default().early),
            fragments_remembered: 0,
            parting: None,
            swept_at: Tick::default(),
            sweep_credit: 0,
            cut: (core as u32) << 24,
            tracer: Tracer::default(),
            shared,
        };
        if let Some(counters) = worker.counters() {
            counters.generation.set(worker.director.snapshot().generation.0);
        }
        worker
    }

    fn counters(&self) -> Option<&CoreCounters> {
        self.shared.counters.get(self.core).map(|padded| &**padded)
    }

    /// The director inside, for tests and explanations.
    pub fn director(&self) -> &Director {
        &self.director
    }

    /// When the first frame that waits, for its next hop or its datagram's rest, is given up.
    pub fn gives_up_at(&self) -> Option<Tick> {
        let early = self.early.front().map(|early| early.until);
        let held = self.held.iter().map(|held| held.until);
        held.chain(early).reduce(|a, b| if a.has_come(b) { a } else { b })
    }

    /// The director inside, for simulations that sweep its tables at moments of their own.
    pub fn director_mut(&mut self) -> &mut Director {
        &mut self.director
    }

    /// The queues, for tests.
    pub fn ports_mut(&mut self) -> &mut [P] {
        &mut self.ports
    }

    /// Whether somebody wants to see what becomes of frames; then [`Self::stamp`] tells the
    /// time of what comes next.
    pub fn is_traced(&self) -> bool {
        !self.tracer.is_idle()
    }

    /// The time in nanoseconds, for those who trace. Before a turn.
    pub fn stamp(&mut self, now_ns: u64) {
        self.tracer.stamp(now_ns);
    }

    /// One turn. Answers whether anything was received.
    pub fn turn(&mut self, now: Tick) -> bool {
        self.news(now);
        // First what has waited, so that no later frame of a flow overtakes it.
        if !self.held.is_empty() {
            self.release(now);
        }
        if !self.early.is_empty() {
            self.drop_early(now);
        }
        let mut received = 0;
        for index in 0..self.ports.len() {
            received += self.receive(index, now);
        }
        self.flush();
        self.clean(now);
        self.director.quiescent();
        if let Some(counters) = self.counters() {
            counters.turns.add(1);
            if received > 0 {
                counters.busy_turns.add(1);
                counters.received.add(received as u64);
            }
        }
        received > 0
    }

    /// The last turn: what waits is dropped, what is ready is sent.
    pub fn stop(&mut self) {
        while let Some(held) = self.held.pop_front() {
            self.unhold();
            drop(held);
            self.count_drop(DropReason::Stopping);
        }
        while self.early.pop_front().is_some() {
            self.unhold();
            self.count_drop(DropReason::Stopping);
        }
        self.flush();
    }

    /// Decides about a frame and does what was decided; gives back a fragment that came
    /// before its first one.
    fn handle(&mut self, mut frame: P::Frame, ingress: PortIndex, now: Tick) -> Option<P::Frame> {
        let seen = self.tracer.look(&self.director, frame.bytes(), ingress, now);
        let verdict = self.director.handle(&mut frame, ingress, now);
        if let Some(seen) = seen {
            self.tracer.tell(seen, &self.director, verdict);
        }
        self.carry_out(frame, verdict, now)
    }

    /// Does what was decided; gives back a fragment that came before its first one.
    fn carry_out(&mut self, frame: P::Frame, verdict: Verdict, now: Tick) -> Option<P::Frame> {
        match verdict {
            Verdict::Forward(port) => self.send(frame, port),
            Verdict::Hold(neighbour, port) => self.hold(frame, Awaited::Mac(neighbour), port, now),
            Verdict::Seek(address, port) => self.hold(frame, Awaited::Id(address), port, now),
            Verdict::Fragment(port) => self.split(frame, port),
            Verdict::Punt => {
                if let Some(counters) = self.counters() {
                    counters.punted.add(1);
                }
                let _ = self.spent.try_push(frame);
            }
            Verdict::Early => return Some(frame),
            Verdict::Drop(reason) => {
                self.count_drop(reason);
                // One that finds no place is freed at once.
                let _ = self.spent.try_push(frame);
            }
        }
        None
    }

    fn count_drop(&self, reason: DropReason) {
        if let Some(counters) = self.counters() {
            counters.dropped(reason);
        }
    }

    /// Bounded clean-up. Every entry of every table is looked at about once a second.
    fn clean(&mut self, now: Tick) {
        let passed = self.swept_at.until(now);
        if passed > 0 {
            self.swept_at = now;
            let pace = self.director.bindings().pace();
            let per_tick = pace / TICKS_PER_SECOND as usize + 1;
            let credit = per_tick.saturating_mul(passed.unsigned_abs() as usize);
            self.sweep_credit = self.sweep_credit.saturating_add(credit).min(pace + 1);
            if let Some(counters) = self.counters() {
                let bindings = self.director.bindings();
                counters.connections.set(bindings.connections() as u64);
                counters.connections_v6.set(bindings.connections_v6() as u64);
                let [room_v4, room_v6] = bindings.capacity();
                counters.room_v4.set(room_v4 as u64);
                counters.room_v6.set(room_v6 as u64);
                counters.client_age.set(u64::from(self.director.bindings().client_age()));
                let bindings = self.director.bindings();
                counters.connection_bytes.set(bindings.bytes() as u64);
                counters.connection_bytes_v6.set(bindings.bytes_v6() as u64);
            }
        }
        if self.sweep_credit > 0 {
            let budget = self.sweep_credit.min(SWEEP_PER_TURN);
            self.sweep_credit -= budget;
            self.director.sweep(now, budget);
        }
    }
}
