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
use crate::conn::table::{EntryV4, Table};
use crate::conn::{ConnBurst, State};
use crate::forward::Forwarding;
use crate::forward::masq::End;
use crate::ids::PortIndex;
use crate::load::CoreLoads;
use crate::neighbour::NeighbourTable;
use crate::port::{BURST, Frame};
use crate::snapshot::Snapshot;
use crate::table::ClientBurst;
use crate::tick::Tick;
use crate::wire::Protocol;
pub use decided::Decided;
use hops::{By, Hops, Sources};
use lane::{Kind, Lane};
use read::{
    Gate, TAGGED, TAGGED_HEAD, UNTAGGED, UNTAGGED_HEAD, client_port_v4, is_ack_v4, read_v4,
};
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
    /// Whether clients are still to be looked up.
    seeks_clients: bool,
    conns: ConnBurst<EntryV4>,
    /// Whether the connections' entries are still to be looked for.
    seeks_conns: bool,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            at: Arrival { port: PortIndex::default(), now: Tick::default() },
            lanes: [Lane::default(); BURST],
            done: 0,
            frames: 0,
            clients: ClientBurst::default(),
            seeks_clients: false,
            conns: ConnBurst::default(),
            seeks_conns: false,
        }
    }
}

/// What the core has learned for bursts to come.
pub(super) struct Learned {
    services: Services,
    client_hops: Hops,
    conn_hops: Hops,
    /// The neighbours' generation that the hops were made from.
    neighbours: u64,
}

impl Learned {
    pub(super) fn new() -> Self {
        Self {
            services: Services::new(),
            client_hops: Hops::new(By::Number),
            conn_hops: Hops::new(By::Id),
            neighbours: 0,
        }
    }

    /// Forgets what was learned from the snapshot.
    pub(super) fn forget(&mut self) {
        self.services.forget();
        self.forget_hops();
    }

    fn forget_hops(&mut self) {
        self.client_hops.forget();
        self.conn_hops.forget();
    }

    /// Forgets what was learned from the neighbours, if one has changed.
    fn follow(&mut self, neighbours: &NeighbourTable) {
        let generation = neighbours.generation();
        if generation != self.neighbours {
            self.neighbours = generation;
            self.forget_hops();
        }
    }

    /// Reads the frames. Answers whether any is of a client whose binding is to be looked up.
    #[inline(never)]
    fn read_all<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &mut Reading,
        frames: &[F],
        gate: Gate,
        snapshot: &Snapshot,
    ) -> bool {
        let mut way = self.services.last();
        let mut clients = None;
        let places = reading.lanes.iter_mut().zip(reading.clients.places());
        for (at, (frame, (lane, client))) in frames.iter().zip(places).enumerate() {
            *lane = Lane::BY_THE_BOOK;
            let Some((header, head)) = read_v4::<L3, HEAD>(frame.bytes(), gate) else {
                client.clear();
                continue;
            };
            if !way.is_to(header.target) {
                way = self.services.way(header.target, snapshot);
            }
            if let Some(scope) = way.scope {
                client.put(header.client & way.mask, scope);
                *lane = way.lane.with_len(header.total_len);
                clients = way.scope;
                continue;
            }
            client.clear();
            let protocol = match way.lane.kind() {
                Kind::ConnTcp => Protocol::Tcp,
                Kind::ConnUdp => Protocol::Udp,
                Kind::Client | Kind::ByTheBook => continue,
            };
            let client_port = client_port_v4::<L3, HEAD>(head);
            if client_port == 0 {
                continue;
            }
            let ports = [client_port, header.target.vip_port()];
            let addresses = [header.client, header.target.vip()];
            reading.conns.put(at, EntryV4::key_of(addresses, ports, protocol));
            if protocol == Protocol::Udp || is_ack_v4::<L3, HEAD>(head) {
                *lane = way.lane.with_len(header.total_len);
            }
        }
        clients.is_some()
    }

    /// Sends plain frames of one kind on, from the first one, as long as they leave on one port.
    #[inline]
    fn stretch<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        table: &mut Table<EntryV4>,
        sources: &Sources<'_>,
        loads: CoreLoads<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        match reading.lanes.get(reading.done).map_or(Kind::ByTheBook, |lane| lane.kind()) {
            Kind::ByTheBook => (0, PortIndex::default()),
            Kind::Client => self.pass_clients::<F, L3, HEAD>(reading, sources, loads, frames),
            Kind::ConnTcp | Kind::ConnUdp => {
                self.pass_conns::<F, L3, HEAD>(reading, table, sources, loads, frames)
            }
        }
    }

    /// Sends plain frames of bound clients on, from the first one, as long as they leave on
    /// one port.
    #[inline(never)]
    fn pass_clients<F: Frame, const L3: usize, const HEAD: usize>(
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
            let Some(hop) = self.client_hops.get_or_learn(side, place, sources) else { break };
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

    /// The same for packets of established connections, which are counted and live on.
    #[inline(never)]
    fn pass_conns<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        table: &mut Table<EntryV4>,
        sources: &Sources<'_>,
        loads: CoreLoads<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let side = self.conn_hops.side(sources.vlan.unwrap_or(0));
        let timeouts = &sources.snapshot.timeouts;
        let tcp = (State::TcpEstablished, timeouts.ticks(State::TcpEstablished));
        let udp = (State::Udp, timeouts.ticks(State::Udp));
        let now = reading.at.now;
        let (mut count, mut leaving) = (0, None);
        for (frame, lane) in frames.iter_mut().zip(lanes) {
            let (state, timeout) = match lane.kind() {
                Kind::ConnTcp => tcp,
                Kind::ConnUdp => udp,
                Kind::Client | Kind::ByTheBook => break,
            };
            let Some(entry) = reading.conns.entry(reading.done + count, table) else { break };
            // An expired entry may live on by its timer's slack: the reference path knows.
            if entry.state() != state || entry.expires().has_come(now) {
                break;
            }
            let real = entry.real();
            let Some(hop) = self.conn_hops.get_or_learn(side, real.0, sources) else { break };
            if *leaving.get_or_insert(hop.port()) != hop.port() || !hop.takes(lane.total_len()) {
                break;
            }
            let bytes = frame.bytes_mut();
            let rewritten = match (entry.forwarding(), hop.rip()) {
                (Forwarding::Route, _) => true,
                (Forwarding::Masq, Some(rip)) => {
                    let (end, to) = (End::Destination, (rip, entry.real_port()));
                    rewrite::masquerade_v4::<L3, HEAD>(bytes, end, to, state == State::Udp)
                }
                (Forwarding::Masq | Forwarding::Tunnel | Forwarding::Local, _) => false,
            };
            if !rewritten || !rewrite::route_v4::<L3, HEAD>(bytes, hop) {
                break;
            }
            entry.renew(state, timeout, now);
            if let Some(load) = loads.of(real) {
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
        reading.conns.clear();
        learned.follow(&self.shared.neighbours);
        let port = snapshot.port(at.port).filter(|port| !port.kernel_facing);
        reading.seeks_clients = match port.map(|port| Gate::new(self.mac(at.port), port.vlan)) {
            Some(gate) if gate.vlan == 0 => {
                learned.read_all::<F, UNTAGGED, UNTAGGED_HEAD>(reading, frames, gate, snapshot)
            }
            Some(gate) => {
                learned.read_all::<F, TAGGED, TAGGED_HEAD>(reading, frames, gate, snapshot)
            }
            None => {
                reading.lanes.fill(Lane::BY_THE_BOOK);
                false
            }
        };
        if reading.seeks_clients {
            self.shared.clients.aim(&mut reading.clients, frames.len());
        } else {
            reading.clients.find_nobody();
        }
        reading.seeks_conns = !reading.conns.is_empty();
        if reading.seeks_conns {
            reading.conns.aim(self.bindings.table_v4());
        }
    }

    /// Requests what can be requested now that the first requests were answered.
    pub(super) fn fetch(&mut self, reading: &mut Reading) {
        if std::mem::take(&mut reading.seeks_conns) {
            reading.conns.fetch(self.bindings.table_v4());
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
        self.fetch(reading);
        if std::mem::take(&mut reading.seeks_clients) {
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
        &mut self,
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
        let table = self.bindings.table_v4_mut();
        let mut passed = 0;
        while let Some(frames) = frames.get_mut(passed..).filter(|frames| !frames.is_empty()) {
            let (count, port) = match vlan {
                None => learned
                    .stretch::<F, UNTAGGED, UNTAGGED_HEAD>(reading, table, &sources, loads, frames),
                Some(_) => learned
                    .stretch::<F, TAGGED, TAGGED_HEAD>(reading, table, &sources, loads, frames),
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
