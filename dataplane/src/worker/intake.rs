//! Bursts from a port: received, read, decided about, several under way at a time.

use super::Worker;
use super::sending::transmit;
use crate::director::Reading;
use crate::ids::PortIndex;
use crate::port::{BURST, Burst, Port};
use crate::tick::Tick;
use crate::wire::Family;

/// Bursts taken from one port in one turn at the most.
const BURSTS_PER_TURN: usize = 8;
/// No further burst is taken in a turn in which so many ways were learned.
const LEARNED_PER_TURN: u32 = 32;
/// Bursts that are under way at a time.
pub(super) const INTAKES: usize = 3;

/// A burst from one port.
pub(super) struct Intake<F> {
    pub(super) frames: Burst<F>,
    pub(super) reading: Reading,
}

impl<F> Default for Intake<F> {
    fn default() -> Self {
        Self { frames: Burst::new(), reading: Reading::default() }
    }
}

impl<P: Port> Worker<P> {
    /// Takes bursts from a port as long as they are full. A burst is read, its memory fetched
    /// while the next one is read, and decided about while that one's is fetched. One that needs
    /// nothing but clients of a table in the core's own cache is decided about at once, one of a
    /// table that is near when the next one was read: fewer frames are under way then, and stay in
    /// the cache.
    pub(super) fn receive(&mut self, index: usize, now: Tick) -> usize {
        let ingress = PortIndex(index as u8);
        if !self.tracer.is_idle() {
            return self.receive_traced(index, ingress, now);
        }
        let mut received = 0;
        let (mut read, mut fetched, mut passed) = (0, 0, 0);
        let mut more = true;
        let nearest_v4 = self.director.is_nearest(Family::V4);
        let [near_v4, near_v6] = [Family::V4, Family::V6].map(|of| self.director.is_near(of));
        let known = self.director.learned();
        let few = self.director.has_few_connections();
        let few_v6 = self.director.has_few_v6_connections();
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
                // What is new to the core, as all is after a reload, is learned in small pieces.
                let learned = self.director.learned().wrapping_sub(known);
                more = frames == BURST && read < BURSTS_PER_TURN && learned < LEARNED_PER_TURN;
            }
            let next = self.intakes.get(fetched % INTAKES).map(|intake| &intake.reading);
            let soon = few
                && next.is_some_and(|reading| {
                    (nearest_v4 || !reading.seeks_v4_clients())
                        && (near_v6 || !reading.has_v6_clients())
                        && (few_v6 || !reading.has_v6_conns())
                });
            if fetched < if soon { read } else { were_read }
                && let Some(intake) = self.intakes.get_mut(fetched % INTAKES)
            {
                self.director.fetch(&mut intake.reading);
                fetched += 1;
            }
            let reading = self.intakes.get(passed % INTAKES).map(|intake| &intake.reading);
            let (waits, far) = reading.map_or((false, false), |reading| {
                let far_clients = reading.has_v6_clients() && !near_v6;
                let far_conns = reading.has_v6_conns() && !few_v6;
                (reading.is_fetched(), far_clients || far_conns)
            });
            let ready = match waits {
                true if few && !far => fetched,
                false if nearest_v4 && !far => read,
                false if near_v4 && !far => fetched,
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
}
