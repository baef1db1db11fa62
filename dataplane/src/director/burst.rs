//! A burst of frames at once: read them, find their clients, decide, rewrite, in short loops
//! that let the memory answer many questions at a time.
//!
//! What is plain all the way is done here; every other frame takes the reference path, one at
//! a time and in its place, so that a burst gives what its frames give one by one.

mod decided;
mod hops;
mod lane;
mod read;
mod rewrite;
mod services;

use super::{Arrival, Path};
use crate::ids::PortIndex;
use crate::load::CoreLoads;
use crate::neighbour::NeighbourTable;
use crate::port::{BURST, Frame};
use crate::snapshot::Snapshot;
use crate::table::ClientBurst;
use crate::tick::Tick;
pub use decided::Decided;
use hops::{Hops, Sources};
use lane::Lane;
use read::{Gate, TAGGED, TAGGED_HEAD, UNTAGGED, UNTAGGED_HEAD, read_v4};
use services::Services;

/// A burst that was read: what was found out about its frames before their turn.
pub struct Reading {
    at: Arrival,
    lanes: [Lane; BURST],
    /// Lanes of frames that were decided about.
    done: usize,
    /// Frames that were read.
    frames: usize,
    clients: ClientBurst,
    /// Whether the clients are still to be looked up.
    seeks: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            at: Arrival { port: PortIndex::default(), now: Tick::default() },
            lanes: [Lane::default(); BURST],
            done: 0,
            frames: 0,
            clients: ClientBurst::default(),
            seeks: false,
        }
    }
}

/// What the core has learned for bursts to come.
pub(super) struct Learned {
    services: Services,
    client_hops: Hops,
    /// The neighbours' generation that the hops were made from.
    neighbours: u64,
}

impl Learned {
    pub(super) fn new() -> Self {
        Self { services: Services::new(), client_hops: Hops::new(), neighbours: 0 }
    }

    /// Forgets what was learned from the snapshot.
    pub(super) fn forget(&mut self) {
        self.services.forget();
        self.client_hops.forget();
    }

    /// Forgets what was learned from the neighbours, if one has changed.
    fn follow(&mut self, neighbours: &NeighbourTable) {
        let generation = neighbours.generation();
        if generation != self.neighbours {
            self.neighbours = generation;
            self.client_hops.forget();
        }
    }

    /// Answers whether any frame is not for the reference path.
    #[inline(never)]
    fn read_all<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &mut Reading,
        frames: &[F],
        gate: Gate,
        snapshot: &Snapshot,
    ) -> bool {
        let mut way = self.services.last();
        let mut any = Lane::default();
        let places = reading.lanes.iter_mut().zip(reading.clients.places());
        for (frame, (lane, client)) in frames.iter().zip(places) {
            *lane = Lane::default();
            let Some(header) = read_v4::<L3, HEAD>(frame.bytes(), gate) else {
                client.clear();
                continue;
            };
            if !way.is_to(header.target) {
                way = self.services.way(header.target, snapshot);
            }
            match way.scope {
                None => client.clear(),
                Some(scope) => {
                    client.put(header.client & way.mask, scope);
                    *lane = way.lane.with_len(header.total_len);
                    any = way.lane;
                }
            }
        }
        !any.is_by_the_book()
    }

    /// Sends plain frames on from the first one, as long as they leave on one port.
    #[inline(never)]
    fn stretch<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        sources: &Sources<'_>,
        loads: CoreLoads<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let side = self.client_hops.side(sources.vlan.unwrap_or(0));
        let (mut count, mut leaving) = (0, None);
        for (frame, (lane, number)) in
            frames.iter_mut().zip(lanes.iter().zip(reading.clients.found(reading.done)))
        {
            if number == 0 {
                break;
            }
            let place = lane.first_place().wrapping_add(u32::from(number));
            let hop = match self.client_hops.get(side, place) {
                Some(hop) => hop,
                None => {
                    let real = sources.snapshot.client_reals.at_place(place);
                    self.client_hops.learn(side, place, real, sources);
                    let Some(hop) = self.client_hops.get(side, place) else { break };
                    hop
                }
            };
            if *leaving.get_or_insert(hop.port()) != hop.port() || !hop.takes(lane.total_len()) {
                break;
            }
            if !rewrite::route_v4::<L3, HEAD>(frame.bytes_mut(), hop) {
                break;
            }
            if let Some(load) = loads.of(hop.real()) {
                load.incoming(1, u64::from(lane.total_len()));
            }
            count += 1;
        }
        (count, leaving.unwrap_or_default())
    }
}

impl Path {
    /// Reads a burst's frames and requests what their decisions will need.
    pub(super) fn read<F: Frame>(
        &mut self,
        reading: &mut Reading,
        learned: &mut Learned,
        snapshot: &Snapshot,
        frames: &[F],
        at: Arrival,
    ) {
        (reading.at, reading.done, reading.frames) = (at, 0, frames.len());
        learned.follow(&self.shared.neighbours);
        let port = snapshot.port(at.port).filter(|port| !port.kernel_facing);
        reading.seeks = match port.map(|port| Gate::new(self.mac(at.port), port.vlan)) {
            Some(gate) if gate.vlan == 0 => {
                learned.read_all::<F, UNTAGGED, UNTAGGED_HEAD>(reading, frames, gate, snapshot)
            }
            Some(gate) => {
                learned.read_all::<F, TAGGED, TAGGED_HEAD>(reading, frames, gate, snapshot)
            }
            None => {
                reading.lanes.fill(Lane::default());
                false
            }
        };
        if reading.seeks {
            self.shared.clients.aim(&mut reading.clients, frames.len());
        } else {
            reading.clients.find_nobody();
        }
    }

    /// Decides about frames of a burst that was read, from the first undecided one on, until
    /// all are decided about, or until one was remembered that other frames may have waited for.
    pub(super) fn decide<F: Frame>(
        &mut self,
        reading: &mut Reading,
        learned: &mut Learned,
        snapshot: &Snapshot,
        undecided: &mut [F],
        decided: &mut Decided,
    ) {
        if std::mem::take(&mut reading.seeks) {
            let age = self.bindings.age_at(reading.at.now);
            self.shared.clients.find(&mut reading.clients, reading.frames, age);
        }
        let remembered = self.fragments.remembered();
        let mut frames = undecided;
        loop {
            let plain = self.pass(reading, learned, snapshot, frames, decided);
            let Some((frame, rest)) =
                frames.get_mut(plain..).and_then(|rest| rest.split_first_mut())
            else {
                return;
            };
            frames = rest;
            decided.push(self.handle(snapshot, frame, reading.at));
            reading.done += 1;
            if self.fragments.remembered() != remembered {
                return;
            }
        }
    }

    /// Sends plain frames on from the first one, and answers how many.
    fn pass<F: Frame>(
        &self,
        reading: &mut Reading,
        learned: &mut Learned,
        snapshot: &Snapshot,
        frames: &mut [F],
        decided: &mut Decided,
    ) -> usize {
        let vlan = snapshot.port(reading.at.port).and_then(|port| port.vlan.id());
        let Some(loads) = self.shared.loads.core(self.bindings.core()) else { return 0 };
        let (neighbours, macs) = (&self.shared.neighbours, &*self.surroundings.macs);
        let sources = Sources { snapshot, neighbours, macs, vlan };
        let mut passed = 0;
        while let Some(frames) = frames.get_mut(passed..).filter(|frames| !frames.is_empty()) {
            let (count, port) = match vlan {
                None => {
                    learned.stretch::<F, UNTAGGED, UNTAGGED_HEAD>(reading, &sources, loads, frames)
                }
                Some(_) => {
                    learned.stretch::<F, TAGGED, TAGGED_HEAD>(reading, &sources, loads, frames)
                }
            };
            if count == 0 {
                break;
            }
            decided.leave(port, count);
            passed += count;
            reading.done += count;
        }
        passed
    }
}
