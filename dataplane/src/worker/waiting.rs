//! Frames that wait: for their next hop's MAC address, or for their datagram's first fragment.

use super::Worker;
use crate::fragments::Key;
use crate::ids::{NeighbourId, PortIndex};
use crate::port::{Frame, Port};
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::timer;
use crate::verdict::DropReason;
use crate::wire::Addr;
use crate::wire::ethernet::{self, Mac};

/// How often a next hop is asked for its MAC address, a second apart, before frames are given up.
const QUESTIONS: usize = 3;

/// The next hop that a frame waits for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Awaited {
    /// Its MAC address.
    Mac(NeighbourId),
    /// First its id.
    Id(Addr),
}

/// A frame that waits for its next hop.
pub(super) struct Held<F> {
    frame: F,
    awaited: Awaited,
    /// What it waits for, once that was found.
    mac: Option<Mac>,
    port: PortIndex,
    pub(super) until: Tick,
}

/// A fragment that waits for its datagram's first one, or for all others.
pub(super) struct Early<F> {
    pub(super) frame: F,
    /// Where it waits for all others: for which datagram's.
    pub(super) datagram: Option<Key>,
    pub(super) ingress: PortIndex,
    pub(super) until: Tick,
}

impl<P: Port> Worker<P> {
    pub(super) fn wait_for_first(&mut self, frame: P::Frame, ingress: PortIndex, now: Tick) {
        let limits = self.director.snapshot().fragments;
        // One that completes its datagram does not wait.
        let room = limits.early + usize::from(self.director.has_settled());
        if self.early.len() >= room {
            return self.count_drop(DropReason::FragmentTable);
        }
        let until = self.director.waits_until(frame.bytes(), now);
        let datagram = self.director.gathered(frame.bytes());
        let place = self.early.partition_point(|early| early.until.has_come(until));
        self.early.insert(place, Early { frame, datagram, ingress, until });
        if let Some(counters) = self.counters() {
            counters.held.add(1);
        }
    }

    /// Hands early fragments in again; those whose first one is still to come keep their
    /// place and their time.
    pub(super) fn retry_early(&mut self, now: Tick) {
        while let Some((key, settled)) = self.director.next_settled() {
            self.settle(&key, settled, now);
        }
        for _ in 0..self.early.len() {
            let Some(early) = self.early.pop_front() else { break };
            if early.datagram.is_some_and(|key| self.director.is_gathering(&key)) {
                self.early.push_back(early);
                continue;
            }
            match self.handle(early.frame, early.ingress, now) {
                Some(frame) => self.early.push_back(Early { frame, ..early }),
                None => self.unhold(),
            }
        }
    }

    pub(super) fn drop_early(&mut self, now: Tick) {
        while self.early.front().is_some_and(|early| early.until.has_come(now)) {
            let Some(mut early) = self.early.pop_front() else { break };
            self.unhold();
            let verdict = self.director.give_up_datagram(&mut early.frame, early.ingress, now);
            self.carry_out(early.frame, verdict, now);
        }
    }

    pub(super) fn hold(&mut self, frame: P::Frame, awaited: Awaited, port: PortIndex, now: Tick) {
        if self.held.len() >= self.held_limit {
            self.count_drop(DropReason::HoldQueueFull);
            return;
        }
        // All that wait for one neighbour wait for the answer to one question.
        let asked =
            self.held.iter().rev().find(|held| held.awaited == awaited && held.port == port);
        let rule = self.shared.rule;
        let second = |at: Tick| timer::fires(rule, at.plus(TICKS_PER_SECOND), TICKS_PER_SECOND);
        let until = match asked {
            Some(held) => held.until,
            None => (0..QUESTIONS).fold(now, |at, _| second(at)),
        };
        self.held.push_back(Held { frame, awaited, mac: None, port, until });
        if let Some(counters) = self.counters() {
            counters.held.add(1);
        }
    }

    pub(super) fn unhold(&self) {
        if let Some(counters) = self.counters() {
            counters.held.sub(1);
        }
    }

    /// Sends the held frames whose next hop is known by now and drops those that waited
    /// too long; the rest keep their order.
    pub(super) fn release(&mut self, now: Tick) {
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
}
