//! The poll loop of one core: news, receive, decide, send, a little clean-up.
//!
//! The only code that sees both ports and the mailbox. Everything in a turn is bounded, so
//! that no turn is much longer than a burst takes.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bindings::Rebound;
use crate::counters::CoreCounters;
use crate::director::{Decided, Director, Reading};
use crate::forward::fragment;
use crate::fragments::FragmentLimits;
use crate::ids::{NeighbourId, PortIndex};
use crate::mailbox::{Answer, Query, REBINDS};
use crate::port::{BURST, Burst, Frame, Port};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::trace::Tracer;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, Mac};
use crate::wire::{Addr, Family};

/// Table entries looked at in one turn at the most.
const SWEEP_PER_TURN: usize = 64;
/// Bursts taken from one port in one turn at the most.
const BURSTS_PER_TURN: usize = 4;
/// Bursts that are under way at a time.
const INTAKES: usize = 3;
/// How long frames wait for their next hop's MAC address: three questions, a second apart.
const HOLD: u32 = 3 * TICKS_PER_SECOND;

/// The next hop that a frame waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// Its MAC address.
    Mac(NeighbourId),
    /// First its id.
    Id(Addr),
}

struct Held<F> {
    frame: F,
    awaited: Awaited,
    /// What it waits for, once that was found.
    mac: Option<Mac>,
    port: PortIndex,
    until: Tick,
}

/// A fragment that waits for its datagram's first one.
struct Early<F> {
    frame: F,
    ingress: PortIndex,
    until: Tick,
}

/// A burst from one port.
struct Intake<F> {
    frames: Burst<F>,
    reading: Reading,
}

impl<F> Default for Intake<F> {
    fn default() -> Self {
        Self { frames: Burst::new(), reading: Reading::default() }
    }
}

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

    /// When the first frame that waits for its next hop is given up.
    pub fn gives_up_at(&self) -> Option<Tick> {
        self.held.iter().map(|held| held.until).reduce(|a, b| if a.has_come(b) { a } else { b })
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

    fn news(&mut self, now: Tick) {
        self.take_snapshot();
        self.director.grow();
        self.director.take_notes(now);
        self.send_outgoing();
        self.answer_query(now);
        if !self.tracer.is_idle() {
            self.tracer.settle();
        }
    }

    fn take_snapshot(&mut self) {
        let Some(mailbox) = self.shared.mailboxes.get(self.core) else { return };
        // The old snapshot must go back to control, so that no core frees it; until there is
        // room for it, no newer one is taken.
        if let Some(old) = self.parting.take()
            && let Err(old) = mailbox.retired.push(old)
        {
            self.parting = Some(old);
            return;
        }
        if let Some(snapshot) = mailbox.snapshots.pop() {
            let generation = snapshot.generation;
            let old = self.director.adopt(snapshot);
            self.parting = mailbox.retired.push(old).err();
            if let Some(counters) = self.shared.counters.get(self.core) {
                counters.generation.set(generation.0);
            }
        }
    }

    fn send_outgoing(&mut self) {
        let Some(mailbox) = self.shared.mailboxes.get(self.core) else { return };
        while let Some(outgoing) = mailbox.outgoing.pop() {
            let Some(port) = self.ports.get_mut(usize::from(outgoing.port.0)) else { continue };
            let Some(mut frame) = port.alloc(outgoing.frame.len()) else { continue };
            if frame.bytes().len() != outgoing.frame.len() {
                continue;
            }
            frame.bytes_mut().copy_from_slice(&outgoing.frame);
            let mut burst = Burst::new();
            burst.push(frame);
            port.tx(&mut burst);
            if burst.is_empty()
                && let Some(counters) = self.shared.counters.get(self.core)
            {
                counters.originated.add(1);
            }
        }
    }

    fn answer_query(&mut self, now: Tick) {
        let Some(mailbox) = self.shared.mailboxes.get(self.core) else { return };
        if mailbox.answers.is_full() {
            return;
        }
        let answer = match mailbox.queries.pop() {
            None => return,
            Some(Query::Connections { v6, from, mut page }) => {
                let next = self.director.bindings().page(v6, from, &mut page);
                Answer::Connections { page, next, now }
            }
            Some(Query::Trace(order)) => Answer::Traced(self.tracer.take(order)),
            Some(Query::Rebind(rebinds)) => {
                let mut all = Rebound::default();
                for rebind in rebinds.iter().take(REBINDS) {
                    all += self.director.rebind(rebind, now);
                }
                Answer::Rebound(all)
            }
            Some(Query::Explain { frame, port }) => {
                Answer::Explanation(self.director.explain(&frame, port, now))
            }
        };
        let _ = mailbox.answers.push(answer);
    }

    /// Takes bursts from a port as long as they are full. A burst is read, its memory fetched
    /// while the next one is read, and decided about while that one's is fetched. One that needs
    /// nothing but clients of a table that is near is decided about at once: fewer frames are
    /// under way then, and stay in the cache.
    fn receive(&mut self, index: usize, now: Tick) -> usize {
        let ingress = PortIndex(index as u8);
        if !self.tracer.is_idle() {
            return self.receive_traced(index, ingress, now);
        }
        let mut received = 0;
        let (mut read, mut fetched, mut passed) = (0, 0, 0);
        let mut more = true;
        let [near_v4, near_v6] = [Family::V4, Family::V6].map(|of| self.director.is_near(of));
        let few = self.director.has_few_connections();
        while more || passed < read {
            let (were_read, were_fetched) = (read, fetched);
            if passed < fetched
                && let Some(intake) = self.intakes.get_mut(passed % INTAKES)
            {
                self.director.find(&mut intake.reading);
            }
            if more {
                let frames = self.read(read % INTAKES, ingress, now);
                received += frames;
                read += usize::from(frames > 0);
                more = frames == BURST && read < BURSTS_PER_TURN;
            }
            let next = self.intakes.get(fetched % INTAKES).map(|intake| &intake.reading);
            let soon = few
                && next.is_some_and(|reading| {
                    (near_v4 || !reading.seeks_v4_clients())
                        && (near_v6 || !reading.has_v6_clients())
                });
            if fetched < if soon { read } else { were_read }
                && let Some(intake) = self.intakes.get_mut(fetched % INTAKES)
            {
                self.director.fetch(&mut intake.reading);
                fetched += 1;
            }
            let reading = self.intakes.get(passed % INTAKES).map(|intake| &intake.reading);
            let (waits, far) = reading.map_or((false, false), |reading| {
                (reading.is_fetched(), reading.has_v6_clients() && !near_v6)
            });
            let ready = match waits {
                true if few && !far => fetched,
                false if near_v4 && !far => read,
                _ => were_fetched,
            };
            if passed < ready {
                self.pass(passed % INTAKES, ingress, now);
                passed += 1;
            }
        }
        if let Some(port) = self.ports.get_mut(index)
            && !self.spent.is_empty()
        {
            port.discard(&mut self.spent);
        }
        received
    }

    /// The same frame by frame, by the reference path, while somebody traces.
    fn receive_traced(&mut self, index: usize, ingress: PortIndex, now: Tick) -> usize {
        let mut frames = Burst::new();
        if let Some(port) = self.ports.get_mut(index) {
            port.rx(&mut frames);
        }
        let received = frames.len();
        for frame in frames {
            if let Some(frame) = self.handle(frame, ingress, now) {
                self.wait_for_first(frame, ingress, now);
            }
            while self.director.fragments_remembered() != self.fragments_remembered {
                self.fragments_remembered = self.director.fragments_remembered();
                self.retry_early(now);
            }
        }
        if let Some(port) = self.ports.get_mut(index) {
            port.discard(&mut self.spent);
        }
        received
    }

    /// Receives and reads a burst; answers how many frames it has.
    fn read(&mut self, at: usize, ingress: PortIndex, now: Tick) -> usize {
        let (Some(intake), Some(port)) =
            (self.intakes.get_mut(at), self.ports.get_mut(usize::from(ingress.0)))
        else {
            return 0;
        };
        port.rx(&mut intake.frames);
        if !intake.frames.is_empty() {
            self.director.read(&mut intake.reading, &intake.frames, ingress, now);
        }
        intake.frames.len()
    }

    /// Decides about a burst that was read and does what was decided.
    fn pass(&mut self, at: usize, ingress: PortIndex, now: Tick) {
        let Some(intake) = self.intakes.get_mut(at) else { return };
        let Intake { frames, reading } = intake;
        self.director.decide(reading, frames, &mut self.decided);
        if self.director.fragments_remembered() == self.fragments_remembered
            && let Some(egress) = self.decided.one_port(frames.len())
            && let Some(port) = self.ports.get_mut(usize::from(egress.0))
            && self.tx.get(usize::from(egress.0)).is_some_and(|burst| burst.is_empty())
        {
            // The most frequent case by far: all leave on one port, and none waits anywhere.
            let counters = self.shared.counters.get(self.core).map(|padded| &**padded);
            transmit(port, frames, counters);
            self.decided.clear();
        } else {
            self.carry_out_all(at, ingress, now);
        }
    }

    /// Does what was decided about a burst's first frames, and decides about the rest of them.
    fn carry_out_all(&mut self, at: usize, ingress: PortIndex, now: Tick) {
        let Some(intake) = self.intakes.get_mut(at) else { return };
        let mut frames = std::mem::take(&mut intake.frames);
        let mut decided = std::mem::take(&mut self.decided);
        loop {
            let next = frames.drain(..decided.len().min(frames.len()));
            for (frame, verdict) in next.zip(decided.verdicts()) {
                if let Some(frame) = self.carry_out(frame, verdict, now) {
                    self.wait_for_first(frame, ingress, now);
                }
            }
            decided.clear();
            // One that goes on may be the first one that others wait for.
            while self.director.fragments_remembered() != self.fragments_remembered {
                self.fragments_remembered = self.director.fragments_remembered();
                self.retry_early(now);
            }
            let Some(intake) = self.intakes.get_mut(at).filter(|_| !frames.is_empty()) else {
                break;
            };
            self.director.decide(&mut intake.reading, &mut frames, &mut decided);
        }
        self.decided = decided;
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

    fn wait_for_first(&mut self, frame: P::Frame, ingress: PortIndex, now: Tick) {
        let limits = self.director.snapshot().fragments;
        if self.early.len() >= limits.early {
            return self.count_drop(DropReason::FragmentTable);
        }
        self.early.push_back(Early { frame, ingress, until: now.plus(limits.early_wait) });
        if let Some(counters) = self.counters() {
            counters.held.add(1);
        }
    }

    /// Hands early fragments in again; those whose first one is still to come keep their
    /// place and their time.
    fn retry_early(&mut self, now: Tick) {
        for _ in 0..self.early.len() {
            let Some(early) = self.early.pop_front() else { break };
            match self.handle(early.frame, early.ingress, now) {
                Some(frame) => self.early.push_back(Early { frame, ..early }),
                None => self.unhold(),
            }
        }
    }

    fn drop_early(&mut self, now: Tick) {
        while self.early.front().is_some_and(|early| early.until.has_come(now)) {
            self.early.pop_front();
            self.unhold();
            self.count_drop(DropReason::FragmentEarly);
        }
    }

    fn count_drop(&self, reason: DropReason) {
        if let Some(counters) = self.counters() {
            counters.dropped(reason);
        }
    }

    fn send(&mut self, frame: P::Frame, port: PortIndex) {
        let index = usize::from(port.0);
        if self.tx.get(index).is_some_and(Burst::is_full) {
            self.flush_port(index);
        }
        match self.tx.get_mut(index) {
            Some(burst) => burst.push(frame),
            None => self.count_drop(DropReason::NotForUs),
        }
    }

    /// Sends a frame whose packet may be longer than the port takes, in pieces if so. The
    /// frame counts as one; further pieces count as originated.
    fn split(&mut self, frame: P::Frame, port: PortIndex) {
        let index = usize::from(port.0);
        let Some(mtu) = self.director.snapshot().port(port).map(|facts| facts.mtu) else {
            return self.count_drop(DropReason::NotForUs);
        };
        let mut cut = match fragment::Cut::of(frame, mtu, self.next_id()) {
            Ok(cut) => cut,
            Err(frame) => return self.send(frame, port),
        };
        while cut.has_more() {
            let len = cut.next_len();
            let Some(mut piece) = self.ports.get_mut(index).and_then(|port| port.alloc(len)) else {
                // A datagram with a hole is of no use to anybody.
                return self.count_drop(DropReason::FrameMemory);
            };
            cut.fill(&mut piece);
            self.send_own(piece, port);
        }
        self.send(cut.into_last(), port);
    }

    /// What the pieces of one packet share: hard to guess, and no number twice in a row of 2^32
    /// (RFC 7739).
    fn next_id(&mut self) -> u32 {
        self.cut = self.cut.wrapping_add(1);
        let [first, second] = self.shared.key.0;
        // Odd factors and shifts lose nothing.
        let mixed = (self.cut ^ first as u32).wrapping_mul(second as u32 | 1);
        (mixed ^ mixed >> 16).wrapping_mul((second >> 32) as u32 | 1)
    }

    /// Sends a piece at once, behind what is ready already.
    fn send_own(&mut self, piece: P::Frame, port: PortIndex) {
        let index = usize::from(port.0);
        self.flush_port(index);
        let Some(port) = self.ports.get_mut(index) else { return };
        let mut burst = Burst::new();
        burst.push(piece);
        port.tx(&mut burst);
        if burst.is_empty()
            && let Some(counters) = self.counters()
        {
            counters.originated.add(1);
        }
    }

    fn hold(&mut self, frame: P::Frame, awaited: Awaited, port: PortIndex, now: Tick) {
        if self.held.len() >= self.held_limit {
            self.count_drop(DropReason::HoldQueueFull);
            return;
        }
        // All that wait for one neighbour wait for the answer to one question.
        let asked =
            self.held.iter().rev().find(|held| held.awaited == awaited && held.port == port);
        let until = asked.map_or(now.plus(HOLD), |held| held.until);
        self.held.push_back(Held { frame, awaited, mac: None, port, until });
        if let Some(counters) = self.counters() {
            counters.held.add(1);
        }
    }

    fn unhold(&self) {
        if let Some(counters) = self.counters() {
            counters.held.sub(1);
        }
    }

    /// Sends the held frames whose next hop is known by now and drops those that waited
    /// too long; the rest keep their order.
    fn release(&mut self, now: Tick) {
        self.look_up_held();
        for _ in 0..self.held.len() {
            let Some(mut held) = self.held.pop_front() else { break };
            if let Some(mac) = held.mac {
                let own = ethernet::source(held.frame.bytes()).unwrap_or_default();
                ethernet::set_macs(held.frame.bytes_mut(), mac, own);
                self.unhold();
                self.split(held.frame, held.port);
            } else if held.until.has_come(now) {
                self.unhold();
                let verdict = self.director.give_up(&mut held.frame, held.port, now);
                self.carry_out(held.frame, verdict, now);
            } else {
                self.held.push_back(held);
            }
        }
    }

    /// The newest first: control may tell a MAC address meanwhile, and no frame may find one
    /// that an older frame to the same next hop has just missed.
    fn look_up_held(&mut self) {
        let neighbours = &self.shared.neighbours;
        for held in self.held.iter_mut().rev() {
            if let Awaited::Id(address) = held.awaited
                && let Some(neighbour) = neighbours.find(held.port, address)
            {
                held.awaited = Awaited::Mac(neighbour);
            }
            held.mac = match held.awaited {
                Awaited::Mac(neighbour) => neighbours.mac(neighbour),
                Awaited::Id(_) => None,
            };
        }
    }

    fn flush(&mut self) {
        for index in 0..self.tx.len() {
            if self.tx.get(index).is_some_and(|burst| !burst.is_empty()) {
                self.flush_port(index);
            }
        }
    }

    fn flush_port(&mut self, index: usize) {
        let (Some(port), Some(burst)) = (self.ports.get_mut(index), self.tx.get_mut(index)) else {
            return;
        };
        let counters = self.shared.counters.get(self.core).map(|padded| &**padded);
        transmit(port, burst, counters);
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
                counters.connection_bytes.set(self.director.bindings().bytes() as u64);
            }
        }
        if self.sweep_credit > 0 {
            let budget = self.sweep_credit.min(SWEEP_PER_TURN);
            self.sweep_credit -= budget;
            self.director.sweep(now, budget);
        }
    }
}

/// Sends a burst; what the port refuses is dropped.
#[inline]
fn transmit<P: Port>(port: &mut P, burst: &mut Burst<P::Frame>, counters: Option<&CoreCounters>) {
    let offered = burst.len();
    port.tx(burst);
    let refused = burst.len();
    burst.clear();
    if let Some(counters) = counters {
        counters.forwarded.add((offered - refused) as u64);
        counters.unsent.add(refused as u64);
    }
}
