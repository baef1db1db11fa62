//! A burst of frames at once: read them, find their clients, decide, rewrite, in short loops
//! that let the memory answer many questions at a time.
//!
//! What is plain all the way is done here; every other frame takes the reference path, one at
//! a time and in its place, so that a burst gives what its frames give one by one.

mod alike;
mod bind;
mod clients;
mod clients_v6;
mod conns;
mod conns_v6;
mod decided;
mod exits;
mod forms;
#[cfg(target_arch = "x86_64")]
mod fours;
#[cfg(target_arch = "x86_64")]
mod fours_replies;
#[cfg(target_arch = "x86_64")]
mod fours_v6;
mod hops;
mod lane;
mod masquerade;
mod opens;
mod read;
mod read_v6;
mod reading;
mod replies;
mod rewrite;
mod services;
mod services_v6;
mod tunnels;

use super::{Arrival, Path};
use crate::bindings::Bindings;
use crate::conn::ConnBurst;
use crate::conn::table::EntryV4;
use crate::cpu::Tier;
use crate::ids::PortIndex;
use crate::load::CoreLoads;
use crate::mailbox::{Mailbox, Note, Seen};
use crate::port::Frame;
use crate::reply::{Origin, ReplyTable};
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tick::Tick;
use crate::wire::Family;
pub use decided::Decided;
use exits::Ways;
use forms::{Anywhere, Forms};
use hops::{By, Hops, Sources};
use lane::{Kind, Lane};
use read::{Gate, TAGGED, TAGGED_HEAD, TargetV4, UNTAGGED, UNTAGGED_HEAD};
use read_v6::TargetV6;
pub use reading::Reading;
use reading::Sight;
use services::Services;
use services_v6::ServicesV6;
use tunnels::Tunnels;

/// What plain packets read and write besides their frames.
struct Desk<'a> {
    core: usize,
    now: Tick,
    sources: Sources<'a>,
    loads: CoreLoads<'a>,
    bindings: &'a mut Bindings,
    /// Tunnelled packets so far.
    packets_made: &'a mut u64,
    key: [u64; 2],
    replies: &'a ReplyTable,
    reply_changes: u64,
    mailboxes: &'a [Mailbox],
}

impl Desk<'_> {
    /// Tells the owner of a connection what has passed by here.
    fn note(&self, origin: &Origin, seen: Seen) {
        if let Some(owner) = self.mailboxes.get(usize::from(origin.core)) {
            // A full queue loses the note; the next reply brings another one.
            let _ = owner.seen.push(Note::Replied(seen));
        }
    }
}

/// What the core has learned for bursts to come.
pub(super) struct Learned {
    services: Services,
    services_v6: ServicesV6,
    client_hops: Hops,
    conn_hops: Hops,
    exit_hops: Hops,
    client_tunnels: Tunnels,
    conn_tunnels: Tunnels,
    exits: Ways,
    /// The neighbours' generation that the hops were made from.
    neighbours: u64,
    /// How often what is known of tunnels' ways had changed by then.
    path_mtus: u32,
    tier: Tier,
    forms: Forms<TargetV4>,
    forms_v6: Forms<TargetV6>,
    /// What real servers' packets are compared with.
    answers: Forms<Anywhere>,
}

impl Learned {
    pub(super) fn new() -> Self {
        Self {
            services: Services::new(),
            services_v6: ServicesV6::new(),
            client_hops: Hops::new(By::Number),
            conn_hops: Hops::new(By::Id),
            exit_hops: Hops::new(By::Exit),
            client_tunnels: Tunnels::new(By::Number),
            conn_tunnels: Tunnels::new(By::Id),
            exits: Ways::default(),
            neighbours: 0,
            path_mtus: 0,
            tier: Tier::best(),
            forms: Forms::default(),
            forms_v6: Forms::default(),
            answers: Forms::default(),
        }
    }

    /// How many ways were learned, ever: each costs as much as many packets.
    pub(super) fn learned(&self) -> u32 {
        let services = self.services.learned().wrapping_add(self.services_v6.learned());
        [&self.client_hops, &self.conn_hops, &self.exit_hops]
            .iter()
            .fold(services, |all, hops| all.wrapping_add(hops.learned()))
    }

    /// Requests what clients' packets will need of their real servers, which are many.
    #[inline(never)]
    fn fetch_hops(&self, reading: &Reading, loads: CoreLoads<'_>) {
        let clients = || {
            let lanes = reading.lanes.iter().zip(reading.clients.found(0)).take(reading.frames);
            lanes
                .filter(|(lane, real)| lane.kind() == Kind::Client && *real != 0)
                .map(|(lane, real)| lane.first_place().wrapping_add(u32::from(real)))
        };
        clients().for_each(|place| self.client_hops.prefetch(place));
        for real in clients().filter_map(|place| self.client_hops.likely(place)) {
            loads.prefetch(real);
        }
    }

    /// Forgets what was learned from the snapshot.
    pub(super) fn forget(&mut self) {
        self.services.forget();
        self.exits.forget();
        self.services_v6.forget();
        self.forget_hops();
    }

    fn forget_hops(&mut self) {
        self.client_hops.forget();
        self.conn_hops.forget();
        self.exit_hops.forget();
        self.client_tunnels.forget();
        self.conn_tunnels.forget();
    }

    /// Forgets what was learned from the neighbours, if one has changed, or a tunnel's way.
    fn follow(&mut self, shared: &Shared) {
        let (generation, changes) = (shared.neighbours.generation(), shared.path_mtus.changes());
        if generation != self.neighbours || changes != self.path_mtus {
            (self.neighbours, self.path_mtus) = (generation, changes);
            self.forget_hops();
        }
    }

    /// Sends plain frames on, from the first one, as long as they leave on one port.
    #[inline]
    fn stretch<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let (count, port) = self.simply::<F, L3, HEAD>(reading, desk, frames);
        match count {
            0 => self.pass_tunnelled::<F, L3>(reading, desk, frames),
            _ => (count, port),
        }
    }

    /// Sends plain frames of one kind of tracking on, from the first one, as long as they leave on one port.
    #[inline]
    fn simply<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        match reading.lanes.get(reading.done).map_or(Kind::ByTheBook, |lane| lane.kind()) {
            Kind::ByTheBook | Kind::Bind => (0, PortIndex::default()),
            Kind::Open => self.pass_opens::<F, L3, HEAD>(reading, desk, frames),
            Kind::Client => self.pass_clients::<F, L3, HEAD>(reading, desk, frames),
            Kind::ClientV6 => self.pass_clients_v6::<F, L3>(reading, desk, frames),
            Kind::ConnTcpV6 | Kind::ConnUdpV6 => self.pass_conns_v6::<F, L3>(reading, desk, frames),
            Kind::ConnTcp | Kind::ConnUdp | Kind::ReplyTcp | Kind::ReplyUdp => {
                self.pass_conns::<F, L3, HEAD>(reading, desk, frames)
            }
        }
    }
}

impl Path {
    /// See [`Director::has_few_connections`](super::Director::has_few_connections).
    #[inline]
    pub(super) fn has_few_connections(&self) -> bool {
        self.bindings.table_v4().bytes() <= super::NEAREST && !self.shared.replies.is_open()
    }

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
        // Entries that come from far away are better read where they are written.
        let near = self.has_few_connections();
        reading.conns.begin(&snapshot.timeouts, at.now, near);
        reading.conns_v6.begin(&snapshot.timeouts, at.now, false);
        reading.templates.clear();
        reading.replies.clear();
        reading.clients_v6.clear();
        let are_looked_at = self.shared.replies.is_open() && !snapshot.passes_by(Family::V4);
        let replies = are_looked_at.then_some(&self.shared.replies);
        learned.follow(&self.shared);
        let port = snapshot.port(at.port).filter(|port| !port.kernel_facing);
        (reading.seeks_clients, reading.has_unaimed) = (false, false);
        reading.is_varied = false;
        match port.map(|port| Gate::new(self.mac(at.port), port.vlan)) {
            Some(gate) => {
                let clients = &self.shared.clients;
                let conns = self.bindings.table_v4();
                let conns_v6 = self.bindings.table_v6();
                let sight = Sight { gate, snapshot, clients, conns, conns_v6, replies };
                match gate.vlan {
                    0 => learned.read_all::<F, UNTAGGED, UNTAGGED_HEAD>(reading, frames, sight),
                    _ => learned.read_all::<F, TAGGED, TAGGED_HEAD>(reading, frames, sight),
                }
            }
            None => reading.lanes.fill(Lane::BY_THE_BOOK),
        }
        if reading.has_unaimed {
            self.shared.clients.aim(&mut reading.clients, frames.len());
        }
        if !reading.seeks_clients {
            reading.clients.find_nobody();
        }
        reading.seeks_clients_v6 = !reading.clients_v6.is_empty();
        if reading.seeks_clients_v6 {
            self.shared.clients.aim_v6(&mut reading.clients_v6);
        }
        reading.seeks_conns = !reading.conns.is_empty();
        if reading.seeks_conns {
            reading.conns.aim(self.bindings.table_v4());
            self.shared.templates.aim(&mut reading.templates);
        }
        reading.seeks_conns_v6 = !reading.conns_v6.is_empty();
        [reading.seeks_strays, reading.seeks_strays_v6] = [false; 2];
        let has_replies = !reading.replies.is_empty();
        reading.seeks_replies = [has_replies; 2];
        if has_replies {
            reading.replies.aim(&self.shared.replies, self.bindings.table_v4());
        }
    }

    /// Requests what can be requested now that the first requests were answered.
    pub(super) fn fetch(&mut self, reading: &mut Reading) {
        if std::mem::take(&mut reading.seeks_clients) {
            let age = self.bindings.age_at(reading.at.now);
            self.shared.clients.find_first(&mut reading.clients, reading.frames, age);
        }
        if std::mem::take(&mut reading.seeks_clients_v6) {
            let age = self.bindings.age_at(reading.at.now);
            self.shared.clients.find_first_v6(&mut reading.clients_v6, age);
        }
        if std::mem::take(&mut reading.seeks_conns) {
            self.fetch_conns(&mut reading.conns);
            self.shared.templates.fetch(&reading.templates);
            reading.seeks_strays = reading.conns.has_strays();
        }
        if std::mem::take(&mut reading.seeks_conns_v6) {
            reading.conns_v6.fetch(self.bindings.table_v6());
            reading.seeks_strays_v6 = reading.conns_v6.has_strays();
        }
        let [to_request, _] = &mut reading.seeks_replies;
        if std::mem::take(to_request) {
            reading.reply_changes = self.bindings.reply_changes();
            reading.replies.fetch(&self.shared.replies, self.bindings.table_v4());
        }
    }

    #[inline(always)]
    fn fetch_conns(&self, conns: &mut ConnBurst<EntryV4>) {
        let table = self.bindings.table_v4();
        match table.tier() {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: the CPU has the tier.
            #[allow(unsafe_code)]
            Tier::Avx512 => unsafe { conns.fetch_avx512(table) },
            _ => conns.fetch(table),
        }
        conns.fetch_room(table);
    }

    /// Reads the replies' entries and requests their connections', and those that are not at
    /// home.
    pub(super) fn find(&self, reading: &mut Reading) {
        if std::mem::take(&mut reading.seeks_strays) {
            reading.conns.find(self.bindings.table_v4());
        }
        if std::mem::take(&mut reading.seeks_strays_v6) {
            reading.conns_v6.find(self.bindings.table_v6());
        }
        let [_, to_read] = &mut reading.seeks_replies;
        if std::mem::take(to_read) {
            let (conns, core) = (self.bindings.table_v4(), self.bindings.core());
            reading.replies.find(&self.shared.replies, conns, core);
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
        self.find(reading);
        reading.conns.settle(self.bindings.table_v4());
        let age = self.bindings.age_at(reading.at.now);
        self.shared.clients.find_strays(&mut reading.clients, age);
        self.shared.clients.find_strays_v6(&mut reading.clients_v6, age);
        if std::mem::take(&mut reading.is_varied)
            && let Some(loads) = self.shared.loads.core(self.bindings.core())
        {
            learned.fetch_hops(reading, loads);
        }
        let remembered = self.remembered();
        let mut frames = undecided;
        loop {
            let plain = match reading.kind() {
                Kind::ByTheBook | Kind::Bind => 0,
                _ => self.pass(reading, learned, snapshot, frames, decided),
            };
            let Some((frame, rest)) =
                frames.get_mut(plain..).and_then(|rest| rest.split_first_mut())
            else {
                return;
            };
            frames = rest;
            decided.push(match reading.kind() {
                Kind::ByTheBook => self.handle(snapshot, frame, reading.at),
                Kind::Open => self.open_and_pass(reading, learned, snapshot, frame),
                _ => self.bind_and_pass(reading, learned, snapshot, frame),
            });
            reading.done += 1;
            if self.remembered() != remembered {
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
        let path_mtus = &self.shared.path_mtus;
        let mut desk = Desk {
            core: self.bindings.core(),
            reply_changes: self.bindings.reply_changes(),
            now: reading.at.now,
            sources: Sources { snapshot, neighbours, path_mtus, macs, vlan },
            loads,
            bindings: &mut self.bindings,
            packets_made: &mut self.packets_made,
            key: self.shared.key.0,
            replies: &self.shared.replies,
            mailboxes: &self.shared.mailboxes,
        };
        let mut passed = 0;
        while let Some(frames) = frames.get_mut(passed..).filter(|frames| !frames.is_empty()) {
            reading.conns.follow(reading.done, desk.bindings.table_v4());
            let (count, port) = match vlan {
                None => learned.stretch::<F, UNTAGGED, UNTAGGED_HEAD>(reading, &mut desk, frames),
                Some(_) => learned.stretch::<F, TAGGED, TAGGED_HEAD>(reading, &mut desk, frames),
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
