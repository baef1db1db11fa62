//! Laws: what holds for every sequence of packets, waits and changes.
//!
//! The first compares the whole path, over two cores, with a naive model of IPVS: the same
//! verdict after every step, the same counters after every step. `DIRECTOR_LAW_STEPS` sets how
//! many steps it takes in all.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod model;
mod support;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use dataplane::catalog::Catalog;
use dataplane::catalog::spec::{PortSpec, RealSpec, Selector, ServiceSpec, Site};
use dataplane::classify::Rank;
use dataplane::compat::Compat;
use dataplane::director::{Director, Surroundings};
use dataplane::ids::{Mark, PortIndex, RealId};
use dataplane::port::Frame;
use dataplane::port::memory::MemoryFrame;
use dataplane::route::Route;
use dataplane::sched::{Scheduler, SchedulerFlags};
use dataplane::shared::{HashKey, Shared, TableSizes};
use dataplane::snapshot::{Identity, Persistence, Tracking};
use dataplane::tick::Tick;
use dataplane::timer::TimerRule;
use dataplane::verdict::{DropReason, Verdict};
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Addr, Family, Protocol, Vlan};
use model::pick;
use model::{Flow, Known, Model, Packet, Settings, Switches, V6, Weights};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestError, TestRunner};
use support::lab::{Layout, Setup, number_of, real_address, real_mac};
use support::packet::{self, CLIENT_MAC, DIRECTOR_MAC, transport_of};

const CORES: usize = 2;
const STEPS_PER_CASE: usize = 300;
/// One unit of time: templates keep their expiry in units of 8 ticks, so the laws wait and set
/// timeouts in multiples of it.
const UNIT: u64 = 8;

const PORTS: [u16; 9] = [80, 443, 21, 53, 5000, 500, 20, 8000, 80];
const FLAGS: [&str; 10] = ["S", "A", "FA", "R", "SA", "", "S", "A", "PA", "FR"];

fn known() -> Vec<Known> {
    let port = |udp, vip, port| Known::Port { udp, vip, port };
    vec![
        port(false, 0, 80),
        port(false, 0, 0),
        port(false, 0, 21),
        port(true, 0, 53),
        port(true, 0, 0),
        port(false, 1, 443),
        Known::Mark,
        port(false, V6, 80),
        port(false, V6, 0),
    ]
}

fn marked() -> Vec<(bool, u8, u16)> {
    vec![(false, 0, 443), (true, 0, 443), (false, 1, 443), (false, 1, 8000)]
}

fn vip(number: u8) -> Addr {
    let text = ["198.18.255.1", "198.18.255.2", "2001:db8:0:ffff::1"][usize::from(number)];
    text.parse::<std::net::IpAddr>().unwrap().into()
}

#[derive(Clone, Debug)]
enum Op {
    Packet { client: u8, client_port: u16, udp: bool, vip: u8, port: usize, flags: usize },
    Again { back: usize, flags: usize },
    Wait(u64),
    AddService(usize, Settings),
    EditService(usize, Settings),
    DeleteService(usize),
    AddReal(usize, u8, Weights),
    EditReal(usize, u8, Weights),
    DeleteReal(usize, u8),
    Switch { sloppy_tcp: bool, conn_reuse_mode: u8, expire_quiescent_template: bool },
}

/// What is fixed for a whole case.
#[derive(Clone, Copy, Debug)]
struct Case {
    expire_nodest_conn: bool,
}

/// With thresholds (`limits`) there is neither wrr nor one-packet scheduling: how a refused
/// round of wrr ends is not described.
fn settings(limits: bool) -> impl Strategy<Value = Settings> {
    use pick::Scheduler::{Fo, Lc, None, Nq, Ovf, Rr, Sed, Wlc, Wrr};
    let scheduler = prop_oneof![
        4 => Just(Rr), 3 => Just(Wrr), 3 => Just(Wlc), 1 => Just(Lc), 1 => Just(Sed),
        1 => Just(Nq), 1 => Just(Fo), 1 => Just(Ovf), 1 => Just(None),
    ];
    let timeout = prop_oneof![Just(4u32), Just(20), Just(60), Just(360)];
    let persistence = prop_oneof![
        1 => Just(Option::None),
        1 => (timeout, any::<bool>()).prop_map(Some),
    ];
    (scheduler, persistence, prop::bool::weighted(0.2)).prop_map(
        move |(scheduler, persistence, one_packet)| Settings {
            scheduler: if limits && scheduler == Wrr { Rr } else { scheduler },
            persistence,
            one_packet: one_packet && !limits,
        },
    )
}

fn weights(limits: bool) -> impl Strategy<Value = Weights> {
    let weight = prop_oneof![1 => Just(0u32), 2 => 1u32..7];
    (weight, 0u32..6, 0u32..4).prop_map(move |(weight, upper, lower)| match limits {
        true => Weights { weight, upper, lower: lower.min(upper) },
        false => Weights { weight, upper: 0, lower: 0 },
    })
}

fn op(limits: bool) -> impl Strategy<Value = Op> {
    let service = || 0..known().len();
    let real = || 1u8..5;
    let client_port = prop_oneof![30 => 1001u16..1004, 1 => Just(20)];
    let wait = prop_oneof![4 => 1u64..20, 3 => 20u64..400, 2 => 400u64..4000, 1 => 4000u64..40_000];
    let packet = (0u8..4, client_port, prop::bool::weighted(0.25), 0u8..3, 0..PORTS.len())
        .prop_flat_map(|(client, client_port, udp, vip, port)| {
            (0..FLAGS.len()).prop_map(move |flags| Op::Packet {
                client,
                client_port,
                udp,
                vip,
                port,
                flags,
            })
        });
    prop_oneof![
        30 => packet,
        35 => (0usize..6, 0..FLAGS.len()).prop_map(|(back, flags)| Op::Again { back, flags }),
        12 => wait.prop_map(Op::Wait),
        2 => (service(), settings(limits)).prop_map(|(i, s)| Op::AddService(i, s)),
        3 => (service(), settings(limits)).prop_map(|(i, s)| Op::EditService(i, s)),
        1 => service().prop_map(Op::DeleteService),
        5 => (service(), real(), weights(limits)).prop_map(|(i, n, w)| Op::AddReal(i, n, w)),
        5 => (service(), real(), weights(limits)).prop_map(|(i, n, w)| Op::EditReal(i, n, w)),
        3 => (service(), real()).prop_map(|(i, n)| Op::DeleteReal(i, n)),
        1 => (any::<bool>(), 0u8..4, any::<bool>()).prop_map(|(a, b, c)| Op::Switch {
            sloppy_tcp: a, conn_reuse_mode: b, expire_quiescent_template: c
        }),
    ]
}

/// What the client sees of its packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Real(u16),
    Reset,
    Unreachable,
    Dropped(DropReason),
}

/// The model and the packet path side by side.
struct Both {
    model: Model,
    shared: Arc<Shared>,
    catalog: Catalog,
    directors: Vec<Director>,
    ids: HashMap<model::RealKey, RealId>,
    recent: Vec<Flow>,
    compat: Compat,
}

impl Both {
    fn new(case: Case) -> Self {
        let sizes = TableSizes {
            connections_v4: 2048,
            connections_v6: 1024,
            templates_v4: 512,
            templates_v6: 256,
            ..Setup::default().sizes
        };
        let (shared, seats) = Shared::new(CORES, sizes, TimerRule::Exact, HashKey([3, 5]));
        let mut catalog = Catalog::new(Arc::clone(&shared), site());
        let compat = Compat { expire_nodest_conn: case.expire_nodest_conn, ..Compat::default() };
        catalog.compat = compat;
        catalog.set_selectors(marked().into_iter().map(selector).collect());
        let snapshot = catalog.snapshot();
        let surroundings =
            Surroundings { macs: vec![Mac(DIRECTOR_MAC)], answers_per_second: u32::MAX };
        let directors = seats
            .into_iter()
            .map(|seat| {
                let (shared, snapshot) = (Arc::clone(&shared), Arc::clone(&snapshot));
                Director::new(shared, snapshot, seat, surroundings.clone())
            })
            .collect();
        let mut model = Model::new(CORES, known(), marked(), 1000 * UNIT);
        model.switches = Switches {
            conn_reuse_mode: compat.conn_reuse_mode,
            expire_nodest_conn: case.expire_nodest_conn,
            ..Switches::default()
        };
        Self { model, shared, catalog, directors, ids: HashMap::new(), recent: Vec::new(), compat }
    }

    fn now(&self) -> Tick {
        Tick(u32::try_from(self.model.now).unwrap())
    }

    fn sweep(&mut self) {
        let now = self.now();
        for director in &mut self.directors {
            let round = director.bindings().round();
            director.sweep(now, round);
            director.quiescent();
        }
    }

    /// Time passes; both sides see every timer at its moment.
    fn wait(&mut self, units: u64) {
        let until = self.model.now + units * UNIT;
        while let Some(next) = self.model.next_timer().filter(|next| *next <= until) {
            self.model.now = next;
            self.sweep();
            self.model.fire();
        }
        self.model.now = until;
    }

    fn publish(&mut self) {
        let snapshot = self.catalog.snapshot();
        for director in &mut self.directors {
            drop(director.adopt(Arc::clone(&snapshot)));
        }
        for (_, address, id) in self.shared.neighbours.list() {
            let number = (1..9).find(|n| real_address(*n, !address.is_v4()) == Some(address));
            self.shared.neighbours.set(id, number.map(real_mac));
        }
        // Several rounds: a template is ended only after the connections of all cores, and a
        // round over the templates takes two sweeps, one for each family.
        let rounds = if self.compat.expire_nodest_conn { 4 } else { 1 };
        (0..rounds).for_each(|_| self.sweep());
    }

    fn service_spec(&self, index: usize, settings: &Settings) -> ServiceSpec {
        let identity = identity(known()[index]);
        ServiceSpec {
            name: "law".into(),
            identity,
            scheduler: scheduler(settings.scheduler),
            flags: SchedulerFlags::empty(),
            seed: None,
            engine: None,
            persistence: settings.persistence.map(|(timeout_s, whole)| Persistence {
                timeout_s,
                mask: if whole { u128::MAX } else { !1 },
            }),
            tracking: Tracking::Full,
            one_packet: settings.one_packet,
            compat: self.compat,
            policy: Default::default(),
        }
    }

    fn real_spec(&self, index: usize, number: u8, weights: Weights) -> (Identity, RealSpec) {
        let identity = identity(known()[index]);
        let address = real_address(number.into(), identity.family() == Family::V6).unwrap();
        let spec = RealSpec {
            weight: weights.weight,
            upper_threshold: weights.upper,
            lower_threshold: weights.lower,
            ..RealSpec::new(address, identity.vip_port())
        };
        (identity, spec)
    }

    /// One step on both sides. Operations that make no sense now are left out.
    fn step(&mut self, op: &Op) {
        match *op {
            Op::Packet { client, client_port, udp, vip, port, flags } => {
                let flow = Flow { client, client_port, udp, vip, port: PORTS[port] };
                self.recent.insert(0, flow);
                self.recent.truncate(8);
                self.packet(flow, flags);
            }
            Op::Again { back, flags } => {
                if let Some(flow) = self.recent.get(back).copied() {
                    self.packet(flow, flags);
                }
            }
            Op::Wait(units) => self.wait(units),
            ref change => {
                if self.change(change) {
                    self.publish();
                }
            }
        }
        self.compare_counters();
    }

    fn change(&mut self, op: &Op) -> bool {
        let listed = |model: &Model, index, number| {
            let service: Option<&model::Service> = model.services.get(&index);
            service.is_some_and(|service| service.list.contains(&number))
        };
        match *op {
            Op::AddService(index, settings) if !self.model.services.contains_key(&index) => {
                let settings = sane(index, settings);
                self.model.add_service(index, settings);
                self.catalog.add_service(self.service_spec(index, &settings)).unwrap();
            }
            Op::EditService(index, settings) if self.model.services.contains_key(&index) => {
                let settings = sane(index, settings);
                self.model.edit_service(index, settings);
                self.catalog.edit_service(self.service_spec(index, &settings)).unwrap();
            }
            Op::DeleteService(index) if self.model.services.contains_key(&index) => {
                self.model.delete_service(index);
                self.catalog.delete_service(&identity(known()[index])).unwrap();
            }
            Op::AddReal(index, number, weights)
                if self.model.services.contains_key(&index)
                    && !listed(&self.model, index, number) =>
            {
                self.model.add_real(index, number, weights);
                let (service, spec) = self.real_spec(index, number, weights);
                let id = self.catalog.add_real(&service, spec).unwrap();
                self.ids.insert((index, number), id);
            }
            Op::EditReal(index, number, weights) if listed(&self.model, index, number) => {
                self.model.edit_real(index, number, weights);
                let (service, spec) = self.real_spec(index, number, weights);
                self.catalog.edit_real(&service, spec).unwrap();
            }
            Op::DeleteReal(index, number) if listed(&self.model, index, number) => {
                let old = self.model.reals[&(index, number)].settings;
                self.model.delete_real(index, number);
                let (service, spec) = self.real_spec(index, number, old);
                self.catalog.delete_real(&service, spec.address, spec.port).unwrap();
            }
            Op::Switch { sloppy_tcp, conn_reuse_mode, expire_quiescent_template } => {
                let switches = &mut self.model.switches;
                switches.sloppy_tcp = sloppy_tcp;
                switches.conn_reuse_mode = conn_reuse_mode;
                switches.expire_quiescent_template = expire_quiescent_template;
                self.compat.sloppy_tcp = sloppy_tcp;
                self.compat.conn_reuse_mode = conn_reuse_mode;
                self.compat.expire_quiescent_template = expire_quiescent_template;
                self.catalog.compat = self.compat;
                for (index, service) in &self.model.services {
                    let spec = self.service_spec(*index, &service.settings);
                    self.catalog.edit_service(spec).unwrap();
                }
            }
            _ => return false,
        }
        true
    }

    fn packet(&mut self, flow: Flow, flags: usize) {
        let flags = FLAGS[flags];
        let core = (usize::from(flow.client) * 7
            + usize::from(flow.client_port)
            + usize::from(flow.port)
            + usize::from(flow.udp))
            % CORES;
        let expected = match self.model.packet(core, &Packet { flow, flags }) {
            model::Verdict::Real(number) => Fate::Real(number.into()),
            model::Verdict::Silence => Fate::Dropped(DropReason::RealServerGone),
            model::Verdict::Refused => Fate::Unreachable,
            model::Verdict::Host if flow.udp => Fate::Unreachable,
            model::Verdict::Host if flags.contains('R') => Fate::Dropped(DropReason::Unanswerable),
            model::Verdict::Host => Fate::Reset,
        };
        let now = self.now();
        let mut frame = MemoryFrame::new(&frame_of(&flow, flags));
        let verdict = self.directors[core].handle(&mut frame, PortIndex(0), now);
        let seen = match verdict {
            Verdict::Forward(_) => match number_of(&frame.bytes()[..6]) {
                Some(number) => Fate::Real(number),
                None => answer(frame.bytes()),
            },
            Verdict::Drop(reason) => Fate::Dropped(reason),
            other => panic!("{other:?} for {flow:?} {flags}"),
        };
        assert_eq!(seen, expected, "{flow:?} {flags:?} on core {core} at {now:?}");
    }

    fn compare_counters(&self) {
        for (key, expected) in &self.model.reals {
            let id = self.ids[key];
            let load = self.shared.loads.sum(id);
            let found = (load.active, load.inactive, load.bound, load.connections, load.in_packets);
            let expected_counts = (
                expected.active,
                expected.inactive,
                expected.bound,
                expected.conns,
                expected.in_packets,
            );
            assert_eq!(
                found, expected_counts,
                "active, inactive, bound, conns, packets of {key:?}"
            );
            if expected.settings.upper != 0 {
                let overloaded = self.shared.loads.is_overloaded(id);
                assert_eq!(overloaded, expected.overloaded, "OVERLOAD of {key:?}");
            }
        }
        let connections: usize =
            self.directors.iter().map(|director| director.bindings().connections()).sum();
        assert_eq!(connections, self.model.connections.len(), "connections");
        let templates = self.shared.templates.stats().entries;
        assert_eq!(templates, self.model.templates.len() as u64, "templates");
    }
}

/// One-packet scheduling is for UDP and marks. All ports without persistence is allowed here,
/// though `ipvsadm` does not: nobody is scheduled then.
fn sane(index: usize, settings: Settings) -> Settings {
    let tcp = matches!(known()[index], Known::Port { udp: false, .. });
    Settings { one_packet: settings.one_packet && !tcp, ..settings }
}

fn identity(known: Known) -> Identity {
    match known {
        Known::Mark => Identity::Mark { family: Family::V4, mark: mark() },
        Known::Port { udp, vip: number, port } => Identity::Address {
            protocol: if udp { Protocol::Udp } else { Protocol::Tcp },
            vip: vip(number),
            vip_port: port,
        },
    }
}

fn mark() -> Mark {
    Mark(NonZeroU32::new(10).unwrap())
}

fn selector((udp, number, port): (bool, u8, u16)) -> Selector {
    Selector {
        vip: vip(number),
        length: 32,
        source: None,
        protocol: Some(if udp { Protocol::Udp } else { Protocol::Tcp }),
        ports: port..=port,
        mark: mark(),
        rank: Rank::FIREWALL,
    }
}

fn scheduler(scheduler: pick::Scheduler) -> Option<Scheduler> {
    Some(match scheduler {
        pick::Scheduler::None => return None,
        pick::Scheduler::Rr => Scheduler::Rr,
        pick::Scheduler::Wrr => Scheduler::Wrr,
        pick::Scheduler::Lc => Scheduler::Lc,
        pick::Scheduler::Wlc => Scheduler::Wlc,
        pick::Scheduler::Sed => Scheduler::Sed,
        pick::Scheduler::Nq => Scheduler::Nq,
        pick::Scheduler::Fo => Scheduler::Fo,
        pick::Scheduler::Ovf => Scheduler::Ovf,
    })
}

/// One port; the VIPs are the director's own as well, so that it answers for them when their
/// services are gone.
fn site() -> Site {
    let port = PortSpec {
        name: "wan".into(),
        vlan: Vlan::UNTAGGED,
        mtu: 1500,
        addresses: (0..3).map(vip).collect(),
        peer: None,
        kernel_facing: false,
    };
    let Site { routes, .. } = Layout::OneArm.site();
    Site { ports: vec![port], routes: routes.into_iter().collect::<Vec<Route>>() }
}

fn frame_of(flow: &Flow, flags: &str) -> Vec<u8> {
    let (from, to) = match flow.vip {
        V6 => (
            format!("[2001:db8::{:x}]:{}", 0x20 + u16::from(flow.client), flow.client_port),
            format!("[{}]:{}", vip(flow.vip), flow.port),
        ),
        _ => (
            format!("198.18.32.{}:{}", 0x20 + flow.client, flow.client_port),
            format!("{}:{}", vip(flow.vip), flow.port),
        ),
    };
    match flow.udp {
        true => packet::udp(&from, &to).build(),
        false => packet::tcp(&from, &to).flags(flags).build(),
    }
}

fn answer(frame: &[u8]) -> Fate {
    assert_eq!(frame[..6], CLIENT_MAC);
    let (_, _, protocol, transport) = transport_of(frame);
    match (protocol, transport[0], transport[1]) {
        (6, ..) if transport[13] & 4 != 0 => Fate::Reset,
        (1, 3, 3) | (58, 1, 4) => Fate::Unreachable,
        _ => panic!("{}", packet::describe(frame)),
    }
}

fn run(case: Case, start: &[Settings], ops: &[Op]) {
    let mut both = Both::new(case);
    for (index, settings) in start.iter().enumerate() {
        both.step(&Op::AddService(index, *settings));
        for number in 1..=2 {
            both.step(&Op::AddReal(index, number, Weights { weight: 1, upper: 0, lower: 0 }));
        }
    }
    for op in ops {
        both.step(op);
    }
}

fn cases() -> impl Strategy<Value = (Case, Vec<Settings>, Vec<Op>)> {
    (any::<bool>(), any::<bool>()).prop_flat_map(|(expire_nodest_conn, limits)| {
        let case = Case { expire_nodest_conn };
        let start = prop::collection::vec(settings(limits), known().len());
        let ops = prop::collection::vec(op(limits), 1..2 * STEPS_PER_CASE);
        (Just(case), start, ops)
    })
}

fn runner(cases: usize) -> TestRunner {
    TestRunner::new(Config {
        cases: u32::try_from(cases).unwrap(),
        failure_persistence: None,
        max_shrink_iters: 4000,
        ..Config::default()
    })
}

#[test]
fn the_packet_path_decides_as_the_model_of_ipvs_does() {
    let steps: usize = std::env::var("DIRECTOR_LAW_STEPS")
        .map_or(120_000, |steps| steps.parse().expect("DIRECTOR_LAW_STEPS is a number"));
    let result = runner(steps.div_ceil(STEPS_PER_CASE)).run(&cases(), |(case, start, ops)| {
        run(case, &start, &ops);
        Ok(())
    });
    match result {
        Err(TestError::Fail(reason, (case, start, ops))) => {
            let lines: Vec<String> = ops.iter().map(|op| format!("{op:?}")).collect();
            panic!("{reason}\n{case:?}\n{start:?}\n{}", lines.join("\n"));
        }
        other => other.unwrap(),
    }
}
