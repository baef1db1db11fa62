//! What all cores share: the tables that single-assign, the loads, the next hops.

mod growth;

use crossbeam::utils::CachePadded;

use crate::agreements::Agreements;
use crate::counters::{CoreCounters, CoreTotals};
use crate::expected::{EXCHANGES_S, ExpectedTable, LISTENING_S};
use crate::load::LoadBoard;
use crate::mailbox::Mailbox;
use crate::neighbour::NeighbourTable;
use crate::path_mtus::PathMtus;
use crate::reply::ReplyTable;
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex};

use crate::table::{ClientSeat, ClientTable, Seat, Sizes, TemplateTable};
use crate::timer::TimerRule;

pub use growth::Unable;

/// How large the tables are, in entries of the whole director.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableSizes {
    /// IPv4 connections.
    pub connections_v4: usize,
    /// IPv6 connections.
    pub connections_v6: usize,
    /// IPv4 templates.
    pub templates_v4: usize,
    /// IPv6 templates.
    pub templates_v6: usize,
    /// IPv4 clients under `tracking: client`.
    pub clients_v4: usize,
    /// IPv6 clients under `tracking: client`.
    pub clients_v6: usize,
    /// Datagrams whose later fragments are being followed.
    pub fragments: usize,
    /// Seconds between two ages of a client under `tracking: client`; 247 of them must
    /// exceed the longest timeout.
    pub age_unit_s: u32,
}

impl Default for TableSizes {
    /// Small tables: what tests and `director replay` need.
    fn default() -> Self {
        Self {
            connections_v4: 4096,
            connections_v6: 4096,
            templates_v4: 4096,
            templates_v6: 4096,
            clients_v4: 4096,
            clients_v6: 4096,
            fragments: 2048,
            age_unit_s: 6,
        }
    }
}

/// The secret that all hashes are keyed with, so that nobody outside can build collisions.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HashKey(pub [u64; 2]);

impl std::fmt::Debug for HashKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HashKey(secret)")
    }
}

/// One core's seats at the shared tables.
pub struct CoreSeat {
    /// At the template table.
    pub templates: Seat,
    /// At the client table.
    pub clients: ClientSeat,
}

/// Everything that more than one core touches. One per process, behind an `Arc`.
pub struct Shared {
    /// Persistence templates.
    pub templates: Arc<TemplateTable>,
    /// Clients under `tracking: client`.
    pub clients: Arc<ClientTable>,
    /// Masqueraded connections, by the packets that answer them.
    pub replies: ReplyTable,
    /// Connections that were agreed upon in others.
    pub expected: ExpectedTable,
    /// What FTP's control connections say, as the kernel understands it.
    pub agreements: Agreements,
    /// Key exchanges, which AH and ESP follow.
    pub exchanges: ExpectedTable,
    /// What real servers carry.
    pub loads: LoadBoard,
    /// Next hops' MAC addresses.
    pub neighbours: NeighbourTable,
    /// What routers have said of the ways to tunnels' ends.
    pub path_mtus: PathMtus,
    /// Each core's counters.
    pub counters: Box<[CachePadded<CoreCounters>]>,
    /// Each core's queues to and from control.
    pub mailboxes: Box<[Mailbox]>,
    /// The hash key.
    pub key: HashKey,
    /// How large the tables were at the start.
    pub sizes: TableSizes,
    /// How large they are meant to be now; no core ever asks.
    grown: Mutex<TableSizes>,
    /// When timers really end.
    pub rule: TimerRule,
    /// Seconds that one unit of the client table's ages stands for.
    pub age_unit_s: u32,
    /// The machine's free pages of memory, buffers included, as control has last seen them: what
    /// IPVS's defences look at.
    pub free_pages: AtomicU32,
}

impl Shared {
    /// Cores that can share the tables.
    pub const MAX_CORES: usize = 256;

    /// Takes the memory for so many cores, and gives each of them its seat at the tables.
    pub fn new(
        cores: usize,
        sizes: TableSizes,
        rule: TimerRule,
        key: HashKey,
    ) -> (Arc<Self>, Vec<CoreSeat>) {
        let cores = cores.clamp(1, Self::MAX_CORES);
        let sizes_of_templates = Sizes {
            shards: cores as u32,
            entries_v4: sizes.templates_v4,
            entries_v6: sizes.templates_v6,
        };
        let (templates, seats) = TemplateTable::new(sizes_of_templates, rule, key.0);
        let sizes_of_clients = Sizes {
            entries_v4: sizes.clients_v4,
            entries_v6: sizes.clients_v6,
            ..sizes_of_templates
        };
        let (clients, client_seats) = ClientTable::new(sizes_of_clients, key.0);
        let seats = seats
            .into_iter()
            .zip(client_seats)
            .map(|(templates, clients)| CoreSeat { templates, clients })
            .collect();
        let shared = Self {
            templates,
            clients,
            replies: ReplyTable::new(sizes.connections_v4, sizes.connections_v6, key.0),
            expected: ExpectedTable::new(key.0, LISTENING_S),
            agreements: Agreements::default(),
            exchanges: ExpectedTable::new(key.0, EXCHANGES_S),
            loads: LoadBoard::new(cores),
            neighbours: NeighbourTable::default(),
            path_mtus: PathMtus::default(),
            counters: (0..cores).map(|_| CachePadded::default()).collect(),
            mailboxes: (0..cores).map(|_| Mailbox::default()).collect(),
            key,
            sizes,
            grown: Mutex::new(sizes),
            rule,
            age_unit_s: sizes.age_unit_s.max(1),
            free_pages: AtomicU32::new(u32::MAX),
        };
        (Arc::new(shared), seats)
    }

    /// How many cores share this.
    pub fn cores(&self) -> usize {
        self.counters.len()
    }

    /// The counters of all cores together.
    pub fn totals(&self) -> CoreTotals {
        let mut totals = CoreTotals::default();
        for core in &self.counters {
            totals.add(&core.read());
        }
        totals
    }
}
