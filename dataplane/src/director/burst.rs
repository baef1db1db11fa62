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
use read::{Gate, TAGGED, TAGGED_HEAD, UNTAGGED, UNTAGGED_HEAD, read_v4};
use services::Services;

/// What was found out about one frame before its turn, in one word: 0 for the reference path.
///
/// ```text
/// place of the service's real server number 0 32 | bytes of the IP packet 16 | kind 16
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lane(u64);

const CLIENT_V4: u64 = 1;

impl Lane {
    /// The lane of packets without a length.
    #[inline(always)]
    fn client_v4(first_place: u32) -> Self {
        Self(u64::from(first_place) << 32 | CLIENT_V4)
    }

    #[inline(always)]
    fn with_len(self, total_len: u16) -> Self {
        Self(self.0 | u64::from(total_len) << 16)
    }

    #[inline(always)]
    fn is_by_the_book(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    fn total_len(self) -> u16 {
        (self.0 >> 16) as u16
    }

    #[inline(always)]
    fn first_place(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// What became of the frames of a burst, in their order.
#[derive(Debug, Default)]
pub struct Decided {
    /// So many frames, from the first one, leave on `port`.
    leaving: usize,
    port: PortIndex,
    /// The verdicts on the frames behind them.
    others: ArrayVec<Verdict, BURST>,
}

impl Decided {
    /// Frames that were decided about.
    #[inline]
    pub fn len(&self) -> usize {
        self.leaving + self.others.len()
    }

    /// Whether none was.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The port on which all of so many frames leave, if they do.
    #[inline]
    pub fn one_port(&self, frames: usize) -> Option<PortIndex> {
        (self.leaving == frames).then_some(self.port)
    }

    /// The verdicts, in the frames' order.
    pub fn verdicts(&self) -> impl Iterator<Item = Verdict> + '_ {
        let leaving = std::iter::repeat_n(Verdict::Forward(self.port), self.leaving);
        leaving.chain(self.others.iter().copied())
    }

    /// Forgets all of them.
    #[inline]
    pub fn clear(&mut self) {
        self.leaving = 0;
        self.others.clear();
    }

    fn push(&mut self, verdict: Verdict) {
        match verdict {
            Verdict::Forward(port) => self.leave(port, 1),
            _ => self.push_other(verdict),
        }
    }

    /// So many frames leave on one port.
    #[inline]
    fn leave(&mut self, port: PortIndex, frames: usize) {
        if self.others.is_empty() && (self.leaving == 0 || self.port == port) {
            self.port = port;
            self.leaving += frames;
        } else {
            (0..frames).for_each(|_| self.push_other(Verdict::Forward(port)));
        }
    }

    fn push_other(&mut self, verdict: Verdict) {
        let pushed = self.others.try_push(verdict);
        debug_assert!(pushed.is_ok(), "a burst has at most {BURST} frames");
    }
}

/// One core's burst at hand, and what it has learned for bursts to come.
pub(super) struct Pipeline {
    lanes: [Lane; BURST],
    /// Lanes of frames that were decided about.
    done: usize,
    clients: ClientBurst,
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
        let generation = path.shared.neighbours.generation();
        if generation != self.neighbours {
            self.neighbours = generation;
            self.client_hops.forget();
        }
        let port = snapshot.port(at.port).filter(|port| !port.kernel_facing);
        let any = match port.map(|port| Gate::new(path.mac(at.port), port.vlan)) {
            Some(gate) if gate.vlan == 0 => {
                self.read_all::<F, UNTAGGED, UNTAGGED_HEAD>(frames, gate, snapshot)
            }
            Some(gate) => self.read_all::<F, TAGGED, TAGGED_HEAD>(frames, gate, snapshot),
            None => {
                self.lanes.fill(Lane::default());
                false
            }
        };
        if any {
            let age = path.bindings.age_at(at.now);
            path.shared.clients.aim(&mut self.clients, frames.len());
            path.shared.clients.find(&mut self.clients, frames.len(), age);
        } else {
            self.clients.find_nobody();
        }
    }

    /// Answers whether any frame is not for the reference path.
    #[inline(never)]
    fn read_all<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        frames: &[F],
        gate: Gate,
        snapshot: &Snapshot,
    ) -> bool {
        let mut way = self.services.last();
        let mut any = Lane::default();
        for ((frame, lane), client) in frames.iter().zip(&mut self.lanes).zip(self.clients.places())
        {
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
            decided.push(path.handle(snapshot, frame, at));
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
            vlan,
        };
        let mut passed = 0;
        while let Some(frames) = frames.get_mut(passed..).filter(|frames| !frames.is_empty()) {
            let (count, port) = match vlan {
                None => self.stretch::<F, UNTAGGED, UNTAGGED_HEAD>(&sources, loads, frames),
                Some(_) => self.stretch::<F, TAGGED, TAGGED_HEAD>(&sources, loads, frames),
            };
            if count == 0 {
                break;
            }
            decided.leave(port, count);
            passed += count;
            self.done += count;
        }
        passed
    }

    /// Sends plain frames on from the first one, as long as they leave on one port.
    #[inline(never)]
    fn stretch<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        sources: &Sources<'_>,
        loads: CoreLoads<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let lanes = self.lanes.get(self.done..).unwrap_or_default();
        let side = self.client_hops.side(sources.vlan.unwrap_or(0));
        let (mut count, mut leaving) = (0, None);
        for ((frame, lane), number) in
            frames.iter_mut().zip(lanes).zip(self.clients.found(self.done))
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
