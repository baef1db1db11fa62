//! A director with two ports between clients and real servers, fed frame by frame.
//!
//! ```text
//!  clients --- gateway 10.255.255.254 --- port 0 [director] port 1 --- real servers
//!              fd00:ff::fe                10.255.255.1  172.16.0.1     172.16.0.(10+n)
//!                                         fd00:ff::1    fd00:16::1     fd00:16::(10+n)
//! ```

// Every test binary uses its own part of this file.
#![allow(dead_code, unused_imports)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::net::IpAddr;
use std::sync::Arc;

use dataplane::catalog::Catalog;
use dataplane::catalog::spec::{PortSpec, RealSpec, ServiceSpec, Site};
use dataplane::compat::Compat;
use dataplane::director::{Director, Surroundings};
use dataplane::ids::PortIndex;
use dataplane::port::Frame;
use dataplane::port::memory::{MemoryFrame, MemoryPort};
use dataplane::route::Route;
use dataplane::sched::{Scheduler, SchedulerFlags};
use dataplane::shared::{HashKey, Shared, TableSizes};
use dataplane::snapshot::{Identity, Policy, Tracking};
use dataplane::tick::Tick;
use dataplane::timer::TimerRule;
use dataplane::verdict::DropReason;
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Addr, Protocol, Vlan};
use dataplane::worker::Worker;

use super::packet::{self, Builder};

/// The port towards clients.
pub const OUTSIDE: u8 = 0;
/// The port towards real servers.
pub const INSIDE: u8 = 1;
pub const OUTSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const INSIDE_MAC: [u8; 6] = [2, 0, 0, 0, 1, 0];
pub const GATEWAY_MAC: [u8; 6] = [2, 0, 0, 0, 0, 0xFE];

/// A frame that left, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    pub port: u8,
    pub bytes: Vec<u8>,
}

pub struct Scene {
    pub shared: Arc<Shared>,
    pub catalog: Catalog,
    pub workers: Vec<Worker<MemoryPort>>,
    pub now: Tick,
}

pub fn addr(text: &str) -> Addr {
    text.parse::<IpAddr>().unwrap().into()
}

pub fn real_mac(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 1, 0x10 + number]
}

/// RIP of the real server with this number.
pub fn rip(number: u8) -> String {
    format!("172.16.0.{}", 10 + number)
}

pub fn rip6(number: u8) -> String {
    format!("fd00:16::{}", 10 + number)
}

pub fn service(protocol: Protocol, vip: &str, vip_port: u16, scheduler: &str) -> ServiceSpec {
    ServiceSpec {
        name: Arc::from("test"),
        identity: Identity::Address { protocol, vip: addr(vip), vip_port },
        scheduler: Some(Scheduler::by_name(scheduler).unwrap()),
        flags: SchedulerFlags::empty(),
        seed: None,
        persistence: None,
        engine: None,
        tracking: Tracking::Full,
        one_packet: false,
        compat: Compat::default(),
        policy: Policy::default(),
    }
}

/// A real server whose MAC address is known.
pub fn real(number: u8, port: u16) -> RealSpec {
    RealSpec { mac: Some(Mac(real_mac(number))), ..RealSpec::new(addr(&rip(number)), port) }
}

pub fn real6(number: u8, port: u16) -> RealSpec {
    RealSpec { mac: Some(Mac(real_mac(number))), ..RealSpec::new(addr(&rip6(number)), port) }
}

pub fn site(inside_mtu: u16) -> Site {
    let port = |name: &str, mtu, addresses: [&str; 2]| PortSpec {
        name: Arc::from(name),
        vlan: Vlan::UNTAGGED,
        mtu,
        addresses: addresses.map(addr).to_vec(),
        peer: None,
        kernel_facing: false,
    };
    let route = |network: &str, length, port, via: Option<&str>| Route {
        network: addr(network),
        length,
        port: PortIndex(port),
        via: via.map(addr),
    };
    Site {
        ports: vec![
            port("eth0", 1500, ["10.255.255.1", "fd00:ff::1"]),
            port("eth1", inside_mtu, ["172.16.0.1", "fd00:16::1"]),
        ],
        routes: vec![
            route("10.255.255.0", 24, OUTSIDE, None),
            route("fd00:ff::", 64, OUTSIDE, None),
            route("172.16.0.0", 24, INSIDE, None),
            route("fd00:16::", 64, INSIDE, None),
            route("0.0.0.0", 0, OUTSIDE, Some("10.255.255.254")),
            route("::", 0, OUTSIDE, Some("fd00:ff::fe")),
        ],
    }
}

impl Scene {
    pub fn new() -> Self {
        Self::with(1, site(1500), TableSizes::default())
    }

    pub fn with(cores: usize, site: Site, sizes: TableSizes) -> Self {
        let key = HashKey([0x0123_4567_89AB_CDEF, 0x0F1E_2D3C_4B5A_6978]);
        let (shared, seats) = Shared::new(cores, sizes, TimerRule::Exact, key);
        for gateway in ["10.255.255.254", "fd00:ff::fe"] {
            let id = shared.neighbours.intern(PortIndex(OUTSIDE), addr(gateway)).unwrap();
            shared.neighbours.set(id, Some(Mac(GATEWAY_MAC)));
        }
        let mut catalog = Catalog::new(Arc::clone(&shared), site);
        let snapshot = catalog.snapshot();
        let macs = vec![Mac(OUTSIDE_MAC), Mac(INSIDE_MAC), Mac([2, 0, 0, 0, 2, 0])];
        let surroundings = Surroundings { macs: macs.clone(), answers_per_second: u32::MAX };
        let workers = seats
            .into_iter()
            .enumerate()
            .map(|(core, seat)| {
                let director = Director::new(
                    Arc::clone(&shared),
                    Arc::clone(&snapshot),
                    seat,
                    surroundings.clone(),
                );
                let ports = macs.iter().map(|mac| MemoryPort::new(*mac)).collect();
                Worker::new(core, director, ports, 16)
            })
            .collect();
        Self { shared, catalog, workers, now: Tick::from_secs(1) }
    }

    pub fn add(&mut self, service: &ServiceSpec, reals: &[RealSpec]) {
        self.catalog.add_service(service.clone()).unwrap();
        for real in reals {
            self.catalog.add_real(&service.identity, *real).unwrap();
        }
        self.publish();
    }

    /// Makes every core take up the catalog as it is now.
    pub fn publish(&mut self) {
        let snapshot = self.catalog.snapshot();
        for (worker, mailbox) in self.workers.iter_mut().zip(&self.shared.mailboxes) {
            assert!(mailbox.snapshots.push(Arc::clone(&snapshot)).is_ok());
            worker.turn(self.now);
            while mailbox.retired.pop().is_some() {}
        }
    }

    /// What leaves when this frame comes in on a core's port.
    pub fn feed(&mut self, core: usize, port: u8, frame: &[u8]) -> Vec<Sent> {
        let worker = &mut self.workers[core];
        worker.ports_mut()[usize::from(port)].arriving.push_back(MemoryFrame::new(frame));
        self.turn(core)
    }

    /// What leaves in one turn.
    pub fn turn(&mut self, core: usize) -> Vec<Sent> {
        let worker = &mut self.workers[core];
        worker.turn(self.now);
        let mut sent = Vec::new();
        for (port, queue) in worker.ports_mut().iter_mut().enumerate() {
            sent.extend(
                queue
                    .sent
                    .drain(..)
                    .map(|frame| Sent { port: port as u8, bytes: frame.bytes().to_vec() }),
            );
        }
        let totals = self.shared.totals();
        assert!(totals.is_conserved(), "{totals:?}");
        sent
    }

    /// From a client, on core 0.
    pub fn client(&mut self, packet: &Builder) -> Vec<Sent> {
        let frame = packet.clone().src_mac(GATEWAY_MAC).dst_mac(OUTSIDE_MAC).build();
        self.feed(0, OUTSIDE, &frame)
    }

    /// From a real server, on core 0.
    pub fn server(&mut self, number: u8, packet: &Builder) -> Vec<Sent> {
        let frame = packet.clone().src_mac(real_mac(number)).dst_mac(INSIDE_MAC).build();
        self.feed(0, INSIDE, &frame)
    }

    /// The number of the real server that a client's packet goes to; 0 if none.
    pub fn picks(&mut self, packet: &Builder) -> u8 {
        match &self.client(packet)[..] {
            [Sent { port: INSIDE, bytes }] => bytes[5] - 0x10,
            _ => 0,
        }
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.shared.totals().dropped_for(reason)
    }
}

/// The IP packet in a frame without VLAN tags.
pub fn ip(frame: &[u8]) -> &[u8] {
    &frame[14..]
}

/// Both MAC addresses of a frame: destination, source.
pub fn macs(frame: &[u8]) -> [[u8; 6]; 2] {
    [frame[..6].try_into().unwrap(), frame[6..12].try_into().unwrap()]
}
