//! A load balancer with its clients and real servers in one process: no wire, no clock.
//!
//! Services are written as for `ipvsadm`, with short names for addresses: `V` and `V2` are
//! VIPs (`[V]` an IPv6 one), `R3` is the third real server, clients have numbers as well.
//!
//! ```text
//! let mut lab = Lab::new();
//! lab.ipvsadm("-A -t V:443 -s rr -p 360");
//! lab.ipvsadm("-a -t V:443 -r R1");
//! let conn = lab.client(1).opens("V:443");
//! assert_eq!(conn.got, Real(1));
//! lab.after_secs(360);
//! assert_eq!(lab.sends(&conn, "A"), Reset);
//! ```
//!
//! After every step each core's counters must account for every frame, every frame that was
//! sent must be one that came in, and what a real server gets must be the client's frame with
//! other MAC addresses and one TTL less. A failing test prints the state.

// Every test binary uses its own part of this file.
#![allow(dead_code, unused_imports)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod command;
mod place;
mod seen;
mod state;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use dataplane::catalog::Catalog;
use dataplane::compat::{Compat, Defence};
use dataplane::counters::CoreTotals;
use dataplane::director::{Director, Surroundings};
use dataplane::ids::PortIndex;
use dataplane::port::Frame;
use dataplane::port::memory::{MemoryFrame, MemoryPort};
use dataplane::shared::{HashKey, Shared, TableSizes};
use dataplane::snapshot::Snapshot;
use dataplane::tick::Tick;
use dataplane::timer::TimerRule;
use dataplane::worker::Worker;

use super::packet::{self, Builder};
pub use command::{Command, identity};
pub use place::{
    KERNEL_PORT, Layout, client_address, core_of, number_of, real_address, real_mac, socket,
};
pub use seen::Seen;

/// How a laboratory is built.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Cores, each with its own worker.
    pub cores: usize,
    /// Ports and what is where.
    pub layout: Layout,
    /// Table sizes.
    pub sizes: TableSizes,
    /// Host answers per second and core.
    pub answers_per_second: u32,
    /// Frames that may wait for a MAC address on each core.
    pub held_limit: usize,
    /// When timers end.
    pub timers: TimerRule,
}

impl Default for Setup {
    fn default() -> Self {
        let sizes = TableSizes {
            connections_v4: 1024,
            connections_v6: 1024,
            templates_v4: 512,
            templates_v6: 512,
            clients_v4: 512,
            clients_v6: 512,
            fragments: 2048,
            age_unit_s: 6,
        };
        Self {
            cores: 1,
            layout: Layout::OneArm,
            sizes,
            answers_per_second: u32::MAX,
            held_limit: 8,
            timers: TimerRule::Exact,
        }
    }
}

/// The laboratory.
pub struct Lab {
    pub setup: Setup,
    pub shared: Arc<Shared>,
    pub catalog: Catalog,
    pub workers: Vec<Worker<MemoryPort>>,
    pub now: Tick,
    /// Cores that take no turns.
    pub stuck: Vec<usize>,
    /// Whether retired snapshots are taken back after every step.
    pub collects_retired: bool,
    /// Real servers whose MAC addresses nobody knows yet.
    pub unknown: Vec<u16>,
    /// Switches for services to come.
    pub compat: Compat,
    next_port: u16,
    fed: u64,
    came_out: u64,
    log: VecDeque<String>,
}

/// One flow of a client.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Client address and port.
    pub from: String,
    /// VIP and port.
    pub to: String,
    /// UDP rather than TCP.
    pub udp: bool,
    /// What became of its first packet.
    pub got: Seen,
}

/// A client that is about to send.
pub struct Client<'a> {
    lab: &'a mut Lab,
    number: u16,
    port: Option<u16>,
}

impl<'a> Client<'a> {
    /// The source port; a new one otherwise.
    pub fn port(mut self, port: u16) -> Self {
        self.port = Some(port);
        self
    }

    /// Sends a SYN.
    pub fn opens(self, to: &str) -> Connection {
        self.sends("S", to)
    }

    /// Sends a TCP segment with these flags; `-` for none.
    pub fn sends(self, flags: &str, to: &str) -> Connection {
        let (lab, mut connection) = self.flow(to, false);
        connection.got = lab.sends(&connection, flags);
        connection
    }

    /// Sends a datagram.
    pub fn sends_udp(self, to: &str) -> Connection {
        let (lab, mut connection) = self.flow(to, true);
        connection.got = lab.sends(&connection, "");
        connection
    }

    fn flow(self, to: &str, udp: bool) -> (&'a mut Lab, Connection) {
        let port = self.port.unwrap_or_else(|| {
            self.lab.next_port += 1;
            self.lab.next_port
        });
        let to = socket(to);
        let from = SocketAddr::new(client_address(self.number, to.is_ipv6()), port);
        let got = Seen::Nothing;
        (self.lab, Connection { from: from.to_string(), to: to.to_string(), udp, got })
    }
}

impl Lab {
    /// One core, one port, no services.
    pub fn new() -> Self {
        Self::with(Setup::default())
    }

    /// So many cores.
    pub fn with_cores(cores: usize) -> Self {
        Self::with(Setup { cores, ..Setup::default() })
    }

    /// A laboratory built like this.
    pub fn with(setup: Setup) -> Self {
        let key = HashKey([0x0123_4567_89AB_CDEF, 0x0F1E_2D3C_4B5A_6978]);
        let (shared, seats) = Shared::new(setup.cores, setup.sizes, setup.timers, key);
        let mut catalog = Catalog::new(Arc::clone(&shared), setup.layout.site());
        let first = catalog.snapshot();
        let macs = setup.layout.macs();
        let surroundings =
            Surroundings { macs: macs.clone(), answers_per_second: setup.answers_per_second };
        let workers = seats.into_iter().enumerate().map(|(core, seat)| {
            let director =
                Director::new(Arc::clone(&shared), Arc::clone(&first), seat, surroundings.clone());
            let ports = macs.iter().map(|mac| MemoryPort::new(*mac)).collect();
            Worker::new(core, director, ports, setup.held_limit)
        });
        Self {
            workers: workers.collect(),
            shared,
            catalog,
            now: Tick::from_secs(1),
            stuck: Vec::new(),
            collects_retired: true,
            unknown: Vec::new(),
            compat: Compat::default(),
            next_port: 10_000,
            fed: 0,
            came_out: 0,
            log: VecDeque::new(),
            setup,
        }
    }

    /// Sets an IPVS switch by its name, for all services.
    pub fn sysctl(&mut self, name: &str, value: u8) {
        let on = value != 0;
        let compat = &mut self.compat;
        match name {
            "sloppy_tcp" => compat.sloppy_tcp = on,
            "sloppy_sctp" => compat.sloppy_sctp = on,
            "conn_reuse_mode" => compat.conn_reuse_mode = value,
            "expire_nodest_conn" => compat.expire_nodest_conn = on,
            "expire_quiescent_template" => compat.expire_quiescent_template = on,
            "secure_tcp" if on => compat.secure_tcp = Defence::Always,
            "secure_tcp" => compat.secure_tcp = Defence::Off,
            "schedule_icmp" => compat.schedule_icmp = on,
            other => panic!("no switch {other}"),
        }
        self.switch(|_| {});
    }

    /// Changes switches that have no name in IPVS, or that tests want for one service only.
    pub fn switch(&mut self, change: impl Fn(&mut Compat)) {
        change(&mut self.compat);
        self.catalog.compat = self.compat;
        for farm in self.catalog.farms() {
            let spec =
                dataplane::catalog::spec::ServiceSpec { compat: self.compat, ..farm.service };
            self.catalog.edit_service(spec).unwrap();
        }
        self.publish();
    }

    /// Carries out one command of `ipvsadm`'s and makes the cores take it up.
    pub fn ipvsadm(&mut self, line: &str) {
        self.note(format!("ipvsadm {line}"));
        Command::parse(line).carry_out(&mut self.catalog, self.compat).unwrap_or_else(|refused| {
            panic!("ipvsadm {line}: {refused}");
        });
        self.publish();
    }

    /// Several commands, one in a line.
    pub fn restore(&mut self, lines: &str) {
        for line in lines.lines().map(str::trim).filter(|line| !line.is_empty()) {
            self.ipvsadm(line);
        }
    }

    /// Sends the catalog as it is to all cores, and lets them take it up.
    pub fn publish(&mut self) {
        let snapshot = self.catalog.snapshot();
        self.send_snapshot(&snapshot);
        self.resolve_known();
        self.turn();
    }

    /// Puts a snapshot in every core's mailbox, in place of one that waits there.
    pub fn send_snapshot(&mut self, snapshot: &Arc<Snapshot>) {
        for mailbox in &self.shared.mailboxes {
            drop(mailbox.snapshots.force_push(Arc::clone(snapshot)));
        }
    }

    /// Tells the cores the MAC addresses of all stations that the layout has.
    pub fn resolve_known(&mut self) {
        for (_, address, id) in self.shared.neighbours.list() {
            let Some(number) = place::number_at(address) else { continue };
            if !self.unknown.contains(&number) && self.shared.neighbours.mac(id).is_none() {
                self.shared.neighbours.set(id, Some(real_mac(number)));
            }
        }
    }

    /// The MAC address of a real server becomes known.
    pub fn learn(&mut self, number: u16) {
        self.unknown.retain(|unknown| *unknown != number);
        self.resolve_known();
    }

    /// Client number so-and-so.
    pub fn client(&mut self, number: u16) -> Client<'_> {
        Client { lab: self, number, port: None }
    }

    /// Another packet of a known flow: TCP flags, `-` for none, anything for UDP.
    pub fn sends(&mut self, conn: &Connection, flags: &str) -> Seen {
        let packet = match conn.udp {
            true => packet::udp(&conn.from, &conn.to),
            false => packet::tcp(&conn.from, &conn.to).flags(flags.trim_matches('-')),
        };
        self.send(&packet)
    }

    /// The connection's SYN was seen; now its ACK comes.
    pub fn establishes(&mut self, conn: &Connection) -> Seen {
        self.sends(conn, "A")
    }

    /// So many SYNs of client 1, each from a new port: the picks as in the golden vectors.
    pub fn picks(&mut self, to: &str, count: usize) -> String {
        row((0..count).map(|_| self.client(1).opens(to).got))
    }

    /// One SYN of each of these clients, from a new port.
    pub fn clients(&mut self, to: &str, numbers: impl IntoIterator<Item = u16>) -> String {
        row(numbers.into_iter().map(|number| self.client(number).opens(to).got))
    }

    /// A packet from wherever it comes: on the first port, on the core that RSS chooses.
    pub fn send(&mut self, packet: &Builder) -> Seen {
        self.frame(&packet.build())
    }

    /// The same for a finished frame.
    pub fn frame(&mut self, frame: &[u8]) -> Seen {
        let core = place::core_of(frame, self.workers.len());
        self.frame_on(core, PortIndex(0), frame)
    }

    /// A frame on this core and port.
    pub fn frame_on(&mut self, core: usize, port: PortIndex, frame: &[u8]) -> Seen {
        let before = self.totals();
        let sent = self.feed(core, port, &[frame.to_vec()]);
        let seen = seen::of(self, &before, frame, port, &sent);
        self.note(format!("core {core}: {} -> {seen:?}", packet::describe(frame)));
        seen
    }

    /// Frames in one burst; answers what left, in order, with its port.
    pub fn feed(
        &mut self,
        core: usize,
        port: PortIndex,
        frames: &[Vec<u8>],
    ) -> Vec<(PortIndex, Vec<u8>)> {
        let wire = &mut self.workers[core].ports_mut()[usize::from(port.0)];
        wire.arriving.extend(frames.iter().map(|frame| MemoryFrame::new(frame)));
        self.fed += frames.len() as u64;
        self.workers[core].turn(self.now);
        let sent = self.collect(core);
        self.check();
        sent
    }

    /// One turn on the first core for so many frames that a test put on its wires itself.
    pub fn feed_nothing(&mut self, waiting: u64) -> Vec<(PortIndex, Vec<u8>)> {
        self.fed += waiting;
        self.feed(0, PortIndex(0), &[])
    }

    /// One turn on every core; answers what left.
    pub fn turn(&mut self) -> Vec<(PortIndex, Vec<u8>)> {
        let mut sent = Vec::new();
        for core in 0..self.workers.len() {
            if !self.stuck.contains(&core) {
                self.workers[core].turn(self.now);
            }
            sent.extend(self.collect(core));
        }
        if self.collects_retired {
            for mailbox in &self.shared.mailboxes {
                while mailbox.retired.pop().is_some() {}
            }
        }
        self.check();
        sent
    }

    fn collect(&mut self, core: usize) -> Vec<(PortIndex, Vec<u8>)> {
        let mut sent = Vec::new();
        for (index, port) in self.workers[core].ports_mut().iter_mut().enumerate() {
            for frame in port.sent.drain(..) {
                sent.push((PortIndex(index as u8), frame.bytes().to_vec()));
            }
        }
        self.came_out += sent.len() as u64;
        sent
    }

    /// Lets time pass, with turns of the poll loop, so that tables are swept as in life.
    pub fn after_secs(&mut self, seconds: u32) {
        self.after_ticks(seconds * dataplane::tick::TICKS_PER_SECOND);
    }

    /// The same in ticks of 4 ms.
    pub fn after_ticks(&mut self, ticks: u32) {
        const STEP: u32 = 25;
        let end = self.now.plus(ticks);
        while self.now != end {
            let left = self.now.until(end).unsigned_abs();
            self.now = self.now.plus(left.min(STEP));
            for _ in 0..8 {
                self.turn();
            }
        }
        self.note(format!("{ticks} ticks later, at {:?}", self.now));
    }

    /// The counters of all cores together.
    pub fn totals(&self) -> CoreTotals {
        self.shared.totals()
    }

    /// Every frame must be accounted for, on every core and on the wires.
    pub fn check(&self) {
        for (core, counters) in self.shared.counters.iter().enumerate() {
            let totals = counters.read();
            assert!(totals.is_conserved(), "core {core} lost count of frames: {totals:?}");
        }
        let totals = self.totals();
        assert_eq!(totals.received, self.fed, "frames received");
        assert_eq!(totals.forwarded + totals.originated, self.came_out, "frames sent");
    }

    /// Remembers a line for the report of a failing test.
    pub fn note(&mut self, line: String) {
        if self.log.len() == 40 {
            self.log.pop_front();
        }
        self.log.push_back(line);
    }

    /// Active and inactive connections and templates of a real server, as `ipvsadm -ln`
    /// counts them: `lab.load("-t V:80", 3)`.
    pub fn load(&self, service: &str, real: u16) -> (u64, u64, u64) {
        let load = self.shared.loads.sum(self.real_id(service, real));
        (load.active, load.inactive, load.bound)
    }

    /// Whether a real server carries IPVS's OVERLOAD flag.
    pub fn is_overloaded(&self, service: &str, real: u16) -> bool {
        self.shared.loads.is_overloaded(self.real_id(service, real))
    }

    /// The states of all connections, sorted: `["ESTABLISHED", "SYN_RECV"]`.
    pub fn states(&self) -> Vec<&'static str> {
        let mut states: Vec<_> = self
            .workers
            .iter()
            .flat_map(|worker| worker.director().bindings().iter())
            .map(|(_, conn)| conn.state.word())
            .collect();
        states.sort_unstable();
        states
    }
}

/// Picks in one line, as the golden vectors are written.
pub fn row(seen: impl IntoIterator<Item = Seen>) -> String {
    seen.into_iter().map(|seen| seen.to_string()).collect::<Vec<_>>().join(" ")
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", state::print(self));
        }
    }
}
