//! A burst of frames at once: read them, find their clients, decide, rewrite, in short loops
//! that let the memory answer many questions at a time.
//!
//! What is plain all the way is done here; every other frame takes the reference path, one at
//! a time and in its place, so that a burst gives what its frames give one by one.

mod hops;
mod read;
mod rewrite;
mod services;

use super::{Arrival, Path};
use crate::ids::PortIndex;
use crate::load::CoreLoads;
use crate::port::{BURST, Frame};
use crate::snapshot::Snapshot;
use crate::table::ClientBurst;
use crate::verdict::Verdict;
use arrayvec::ArrayVec;
use hops::{Hops, Sources};
use read::{Gate, TAGGED, UNTAGGED, read_v4};
use services::{Services, Way};

/// What was found out about one frame before its turn.
#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    kind: Kind,
    /// Bytes of the IP packet.
    total_len: u16,
    /// Of the service's real server number 0.
    first_place: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Kind {
    #[default]
    ByTheBook,
    ClientV4,
}

/// What became of the frames of a burst, in their order.
#[derive(Debug, Default)]
pub struct Decided {
    /// One for each frame that was decided about.
    pub verdicts: ArrayVec<Verdict, BURST>,
}

impl Decided {
    /// The port on which all of so many frames leave, if they do.
    #[inline]
    pub fn one_port(&self, frames: usize) -> Option<PortIndex> {
        let Some(Verdict::Forward(port)) = self.verdicts.first().copied() else { return None };
        let all = self.verdicts.len() == frames
            && self.verdicts.iter().all(|verdict| *verdict == Verdict::Forward(port));
        all.then_some(port)
    }
}

/// One core's burst at hand, and what it has learned for bursts to come.
pub(super) struct Pipeline {
    lanes: [Lane; BURST],
    /// Lanes of frames that were decided about.
    done: usize,
    clients: ClientBurst,
    /// Clients whose frames were decided about.
    clients_done: usize,
    services: Services,
    client_hops: Hops,
    neighbours: u64,
}

impl Pipeline {
    pub(super) fn new() -> Self {
        Self {
            lanes: [Lane::default(); BURST],
            done: 0,
            clients: ClientBurst::default(),
            clients_done: 0,
            services: Services::new(),
            client_hops: Hops::new(),
            neighbours: 0,
        }
    }

    /// Forgets what was learned from the snapshot.
    pub(super) fn forget(&mut self) {
        self.services.forget();
        self.client_hops.forget();
    }

    /// Reads the frames and requests what their decisions will need.
    pub(super) fn read<F: Frame>(
        &mut self,
        path: &mut Path,
        snapshot: &Snapshot,
        frames: &[F],
        at: Arrival,
    ) {
        self.done = 0;
        self.clients_done = 0;
        self.clients.clear();
        let generation = path.shared.neighbours.generation();
        if generation != self.neighbours {
            self.neighbours = generation;
            self.client_hops.forget();
        }
        let port = snapshot.port(at.port).filter(|port| !port.kernel_facing);
        match port.map(|port| Gate::new(path.mac(at.port), port.vlan)) {
            None => self.lanes.fill(Lane::default()),
            Some(gate) if gate.vlan == 0 => self.read_all::<F, UNTAGGED>(frames, gate, snapshot),
            Some(gate) => self.read_all::<F, TAGGED>(frames, gate, snapshot),
        }
        if !self.clients.is_empty() {
            let age = path.bindings.age_at(at.now);
            path.shared.clients.aim(&mut self.clients);
            path.shared.clients.find(&mut self.clients, age);
        }
    }

    fn read_all<F: Frame, const L3: usize>(
        &mut self,
        frames: &[F],
        gate: Gate,
        snapshot: &Snapshot,
    ) {
        for (frame, lane) in frames.iter().zip(&mut self.lanes) {
            *lane = Lane::default();
            let Some(header) = read_v4::<L3>(frame.bytes(), gate) else { continue };
            match self.services.way(header.target, snapshot) {
                Way::ByTheBook => {}
                Way::Client { scope, mask, first_place } => {
                    self.clients.push(header.client & mask, scope);
                    let total_len = header.total_len;
                    *lane = Lane { kind: Kind::ClientV4, total_len, first_place };
                }
            }
        }
    }

    /// Decides about frames from the first one on that was read and not decided about, until
    /// all are, or until one was remembered that other frames may have waited for.
    pub(super) fn decide<F: Frame>(
        &mut self,
        path: &mut Path,
        snapshot: &Snapshot,
        frames: &mut [F],
        at: Arrival,
        decided: &mut Decided,
    ) {
        let remembered = path.fragments.remembered();
        let mut frames = frames;
        loop {
            let plain = self.pass::<F>(path, snapshot, frames, at, decided);
            let Some((frame, rest)) =
                frames.get_mut(plain..).and_then(|rest| rest.split_first_mut())
            else {
                return;
            };
            frames = rest;
            decided.verdicts.push(path.handle(snapshot, frame, at));
            let kind = self.lanes.get(self.done).map(|lane| lane.kind);
            self.clients_done += usize::from(kind == Some(Kind::ClientV4));
            self.done += 1;
            if path.fragments.remembered() != remembered {
                return;
            }
        }
    }

    /// Sends plain frames on from the first one, and answers how many.
    fn pass<F: Frame>(
        &mut self,
        path: &Path,
        snapshot: &Snapshot,
        frames: &mut [F],
        at: Arrival,
        decided: &mut Decided,
    ) -> usize {
        let vlan = snapshot.port(at.port).and_then(|port| port.vlan.id());
        let Some(loads) = path.shared.loads.core(path.bindings.core()) else { return 0 };
        let sources = Sources {
            snapshot,
            neighbours: &path.shared.neighbours,
            macs: &path.surroundings.macs,
        };
        match vlan {
            None => self.pass_all::<F, UNTAGGED>(&sources, loads, frames, 0, decided),
            Some(vlan) => self.pass_all::<F, TAGGED>(&sources, loads, frames, vlan, decided),
        }
    }

    fn pass_all<F: Frame, const L3: usize>(
        &mut self,
        sources: &Sources<'_>,
        loads: CoreLoads<'_>,
        frames: &mut [F],
        vlan: u16,
        decided: &mut Decided,
    ) -> usize {
        let lanes = self.lanes.get(self.done..).unwrap_or_default();
        let mut passed = 0;
        for (frame, lane) in frames.iter_mut().zip(lanes) {
            if lane.kind != Kind::ClientV4 {
                break;
            }
            let Some(number) = self.clients.found(self.clients_done) else { break };
            let place = lane.first_place.wrapping_add(u32::from(number.number()));
            let hop = match self.client_hops.get(place) {
                Some(hop) => hop,
                None => {
                    let real = sources.snapshot.client_reals.at_place(place);
                    self.client_hops.learn(place, real, sources);
                    let Some(hop) = self.client_hops.get(place) else { break };
                    hop
                }
            };
            if !hop.takes(lane.total_len, vlan) || !rewrite::route_v4::<L3>(frame.bytes_mut(), hop)
            {
                break;
            }
            if let Some(load) = loads.of(hop.real()) {
                load.incoming(1, u64::from(lane.total_len));
            }
            decided.verdicts.push(Verdict::Forward(hop.port()));
            self.clients_done += 1;
            passed += 1;
        }
        self.done += passed;
        passed
    }
}
