//! The director that is measured: its configuration and its tables, made for a load.

use std::sync::Arc;

use dataplane::catalog::spec::{Farm, PortSpec, RealSpec, ServiceSpec, Site};
use dataplane::catalog::{Catalog, Refused};
use dataplane::compat::Compat;
use dataplane::director::{Director, Surroundings};
use dataplane::ids::PortIndex;
use dataplane::port::Port;
use dataplane::route::Route;
use dataplane::sched::SchedulerFlags;
use dataplane::shared::{CoreSeat, HashKey, Shared, TableSizes};
use dataplane::snapshot::{Identity, Persistence, Policy, Snapshot, Tracking};
use dataplane::timer::TimerRule;
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Addr, Family, Protocol, Vlan};
use dataplane::worker::Worker;

use crate::load::{Load, Source};
use crate::plan;

/// A fixed hash key, so that two runs fill their tables alike.
const KEY: HashKey = HashKey([0x0123_4567_89AB_CDEF, 0x0F1E_2D3C_4B5A_6978]);

/// Tables, catalog and first snapshot of the director that is measured.
pub struct Measured {
    /// What the cores share.
    pub shared: Arc<Shared>,
    catalog: Option<Catalog>,
    snapshot: Arc<Snapshot>,
    seats: Vec<CoreSeat>,
}

impl Measured {
    /// A director for this load on so many cores.
    ///
    /// # Errors
    /// More services or real servers than there are ids for.
    pub fn new(load: &Load, cores: usize) -> Result<Self, Refused> {
        let (shared, seats) = Shared::new(cores, sizes(load), TimerRule::Exact, KEY);
        let mut catalog = Catalog::new(Arc::clone(&shared), site());
        let (_, snapshot) = catalog.applied(&farms(load), Vec::new())?;
        // Masqueraded replies leave through the clients' router.
        for gateway in [Addr::from(plan::GATEWAY_V4), Addr::from(plan::GATEWAY_V6)] {
            if let Some(id) = shared.neighbours.intern(PortIndex(0), gateway) {
                shared.neighbours.set(id, Some(plan::GATEWAY_MAC));
            }
        }
        Ok(Self { shared, catalog: Some(catalog), snapshot, seats })
    }

    /// The first configuration.
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The catalog, for who changes it while the director works. Once.
    pub fn take_catalog(&mut self) -> Option<Catalog> {
        self.catalog.take()
    }

    /// The workers of the cores that these ports are of, one port each.
    pub fn workers<P: Port>(&mut self, ports: Vec<P>) -> Vec<Worker<P>> {
        let mut workers = Vec::new();
        for (core, (seat, port)) in self.seats.drain(..).zip(ports).enumerate() {
            let macs: Vec<Mac> = vec![port.mac()];
            let surroundings = Surroundings { macs, answers_per_second: 10_000 };
            let (shared, snapshot) = (Arc::clone(&self.shared), Arc::clone(&self.snapshot));
            let director = Director::new(shared, snapshot, seat, surroundings);
            workers.push(Worker::new(core, director, vec![port], 1024));
        }
        workers
    }
}

/// Tables for the load's clients; those that it does not need stay small.
fn sizes(load: &Load) -> TableSizes {
    let none = TableSizes::default();
    let entries = load.table_entries();
    let templates = if load.persistence_s > 0 { entries } else { none.templates_v4 };
    let age_unit_s = load.persistence_s.div_ceil(60).max(1);
    match (load.tracking, load.family) {
        (Tracking::Client, Family::V4) => TableSizes { clients_v4: entries, age_unit_s, ..none },
        (Tracking::Client, Family::V6) => TableSizes { clients_v6: entries, age_unit_s, ..none },
        (Tracking::Full, Family::V4) => {
            TableSizes { connections_v4: entries, templates_v4: templates, age_unit_s, ..none }
        }
        (Tracking::Full, Family::V6) => {
            TableSizes { connections_v6: entries, templates_v6: templates, age_unit_s, ..none }
        }
    }
}

fn site() -> Site {
    let port = PortSpec {
        name: "wire".into(),
        vlan: Vlan::UNTAGGED,
        // Room for the headers of a tunnel around the longest synthetic packet.
        mtu: 2000,
        addresses: vec![plan::OWN_V4.into(), plan::OWN_V6.into()],
        peer: None,
        kernel_facing: false,
    };
    let route = |network: Addr, length, via| Route { network, length, port: PortIndex(0), via };
    Site {
        ports: vec![port],
        routes: vec![
            route(plan::server(Family::V4, 0), 16, None),
            route(plan::server(Family::V6, 0), 48, None),
            route(Addr::v4(0), 0, Some(plan::GATEWAY_V4.into())),
            route(Addr::v6(0), 0, Some(plan::GATEWAY_V6.into())),
        ],
    }
}

/// The load's services, each with its real servers.
pub fn farms(load: &Load) -> Vec<Farm> {
    (0..load.services).map(|number| farm(load, number)).collect()
}

fn farm(load: &Load, number: u32) -> Farm {
    let compat = Compat {
        // A capture is replayed from anywhere: its packets open connections without a SYN.
        sloppy_tcp: load.source == Source::Pcap,
        ..Compat::default()
    };
    let identity = Identity::Address {
        protocol: Protocol::Tcp,
        vip: plan::vip(load.family, number),
        vip_port: plan::VIP_PORT,
    };
    let whole = u128::MAX >> (128 - u32::from(load.family.bits()));
    let service = ServiceSpec {
        name: format!("service-{number}").into(),
        identity,
        scheduler: Some(load.scheduler),
        flags: SchedulerFlags::empty(),
        seed: None,
        persistence: (load.persistence_s > 0)
            .then_some(Persistence { timeout_s: load.persistence_s, mask: whole }),
        engine: None,
        tracking: load.tracking,
        one_packet: false,
        compat,
        policy: Policy::default(),
    };
    let reals = (0..load.servers).map(|server| RealSpec {
        forwarding: load.forwarding,
        mac: Some(plan::server_mac(server)),
        ..RealSpec::new(plan::server(load.family, server), plan::VIP_PORT)
    });
    Farm { service, reals: reals.collect() }
}
