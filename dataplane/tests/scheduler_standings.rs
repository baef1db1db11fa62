//! Schedulers over long lists: the same decisions as a walk through the list, whatever happens.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::sync::Arc;

use proptest::prelude::*;

use dataplane::catalog::Catalog;
use dataplane::catalog::spec::{RealSpec, ServiceSpec, Site};
use dataplane::compat::{Compat, Kernel};
use dataplane::ids::RealId;
use dataplane::sched::{self, Pool, Scheduler, SchedulerFlags, Schedulers};
use dataplane::shared::{HashKey, Shared, TableSizes};
use dataplane::snapshot::{Identity, RealState, Service, Snapshot, Tracking};
use dataplane::tick::Tick;
use dataplane::timer::TimerRule;
use dataplane::wire::{Addr, Packet, Parsed, Protocol, parse};

mod support;

const IDENTITY: Identity =
    Identity::Address { protocol: Protocol::Tcp, vip: Addr::v4(0xC000_020A), vip_port: 80 };

/// One service, and the state of each core's schedulers beside a walker's.
struct Bench {
    catalog: Catalog,
    shared: Arc<Shared>,
    snapshot: Arc<Snapshot>,
    cores: Vec<(Schedulers, sched::State)>,
    next: u8,
}

fn address(number: u32) -> Addr {
    Addr::v4(0x0A00_0000 + number)
}

impl Bench {
    fn new(cores: usize, scheduler: &str, weights: &[u32], tracking: Tracking) -> Self {
        let (shared, _) =
            Shared::new(cores, TableSizes::default(), TimerRule::Exact, HashKey([1, 2]));
        let mut catalog = Catalog::new(Arc::clone(&shared), Site::default());
        let spec = ServiceSpec {
            name: "long".into(),
            identity: IDENTITY,
            scheduler: Scheduler::by_name(scheduler),
            flags: SchedulerFlags::default(),
            seed: None,
            persistence: None,
            engine: None,
            tracking,
            one_packet: false,
            compat: Compat::default(),
            policy: Default::default(),
        };
        catalog.add_service(spec).unwrap();
        for (number, weight) in weights.iter().enumerate() {
            let real = RealSpec { weight: *weight, ..RealSpec::new(address(number as u32), 80) };
            catalog.add_real(&IDENTITY, real).unwrap();
        }
        let snapshot = catalog.snapshot();
        let cores = (0..cores).map(|_| Default::default()).collect();
        Self { catalog, shared, snapshot, cores, next: 0 }
    }

    fn service(&self) -> Arc<Service> {
        Arc::clone(self.snapshot.services.iter().flatten().next().unwrap())
    }

    fn reals(&self) -> Vec<RealId> {
        self.service().members.iter().map(|member| member.real).collect()
    }

    /// What the standings and the walk pick for one new client.
    fn picks(&mut self, core: usize) -> (Option<RealId>, Option<RealId>) {
        self.next = self.next.wrapping_add(1);
        let frame = support::packet::tcp(&format!("10.1.0.{}:99", self.next), "192.0.2.10:80");
        let Parsed::Packet(packet) = parse(&frame.flags("S").build()) else { panic!("no packet") };
        self.picks_for(core, &packet)
    }

    fn picks_for(&mut self, core: usize, packet: &Packet) -> (Option<RealId>, Option<RealId>) {
        let service = self.service();
        let pool = Pool {
            members: &service.members,
            reals: &self.snapshot.reals,
            loads: &self.shared.loads,
            kernel: service.compat.kernel,
            flags: service.flags,
            tracking: service.tracking,
            seed: service.seed,
            secret: [3, 4],
            now: Tick(0),
            core,
        };
        let (schedulers, walker) = &mut self.cores[core];
        let would = schedulers.would_pick(&service, &pool, packet);
        let picked = schedulers.pick(&service, &pool, packet);
        if self.shared.cores() == 1 {
            assert_eq!(would, picked);
        }
        (picked, sched::pick(walker, &service, &pool, packet))
    }

    fn edit(&mut self, number: u32, change: impl FnOnce(&mut RealSpec)) {
        let farm = self.catalog.farms().remove(0);
        let Some(real) = farm.reals.iter().find(|real| real.address == address(number)) else {
            return;
        };
        let mut real = *real;
        change(&mut real);
        self.catalog.edit_real(&IDENTITY, real).unwrap();
        self.snapshot = self.catalog.snapshot();
    }

    fn load(&self, core: usize, real: RealId, active: i64, inactive: i64) {
        match self.service().tracking {
            Tracking::Full => self.shared.loads.shift(core, real, active, inactive),
            Tracking::Client => self.shared.loads.bind(core, real, active),
        }
    }
}

#[derive(Clone, Debug)]
enum Deed {
    /// A client comes and stays (active) or is gone at once (inactive).
    Pick(bool),
    Shift(usize, i64, i64),
    Overload(usize, bool),
    OverloadByEdit(usize, bool),
    Weight(u32, u32),
    State(u32, RealState),
    Remove(u32),
    Add(u32, u32),
    Kernel(Kernel),
    Settle,
}

fn deed() -> impl Strategy<Value = Deed> {
    let place = 0..60usize;
    let number = 0..60u32;
    let states = prop_oneof![Just(RealState::Up), Just(RealState::Down), Just(RealState::Drain)];
    prop_oneof![
        30 => any::<bool>().prop_map(Deed::Pick),
        10 => (place.clone(), -3..6i64, -2..300i64).prop_map(|(p, a, i)| Deed::Shift(p, a, i)),
        3 => (place.clone(), any::<bool>()).prop_map(|(p, o)| Deed::Overload(p, o)),
        1 => (place, any::<bool>()).prop_map(|(p, o)| Deed::OverloadByEdit(p, o)),
        2 => (number.clone(), 0..5u32).prop_map(|(n, w)| Deed::Weight(n, w)),
        1 => (number.clone(), states).prop_map(|(n, s)| Deed::State(n, s)),
        1 => number.clone().prop_map(Deed::Remove),
        1 => (number, 0..5u32).prop_map(|(n, w)| Deed::Add(n, w)),
        1 => prop_oneof![Just(Kernel::New), Just(Kernel::Classic)].prop_map(Deed::Kernel),
        2 => Just(Deed::Settle),
    ]
}

fn done(bench: &mut Bench, deed: &Deed) -> Result<(), TestCaseError> {
    let reals = bench.reals();
    let real = |place: &usize| reals.get(place % reals.len().max(1)).copied();
    match deed {
        Deed::Pick(stays) => {
            let (picked, walked) = bench.picks(0);
            prop_assert_eq!(picked, walked);
            if let Some(real) = picked {
                bench.load(0, real, i64::from(*stays), i64::from(!*stays));
            }
        }
        Deed::Shift(place, active, inactive) => {
            if let Some(real) = real(place) {
                bench.load(0, real, *active, *inactive);
            }
        }
        Deed::Overload(place, on) => {
            if let Some(real) = real(place) {
                bench.shared.loads.set_overloaded_by(0, real, *on);
            }
        }
        Deed::OverloadByEdit(place, on) => {
            if let Some(real) = real(place) {
                bench.shared.loads.set_overloaded(real, *on);
            }
        }
        Deed::Weight(number, weight) => bench.edit(*number, |real| real.weight = *weight),
        Deed::State(number, state) => bench.edit(*number, |real| real.state = *state),
        Deed::Remove(number) => {
            let _ = bench.catalog.delete_real(&IDENTITY, address(*number), 80);
            bench.snapshot = bench.catalog.snapshot();
        }
        Deed::Add(number, weight) => {
            let real = RealSpec { weight: *weight, ..RealSpec::new(address(*number), 80) };
            let _ = bench.catalog.add_real(&IDENTITY, real);
            bench.snapshot = bench.catalog.snapshot();
        }
        Deed::Kernel(kernel) => {
            let mut spec = bench.catalog.farms().remove(0).service;
            spec.compat.kernel = *kernel;
            bench.catalog.edit_service(spec).unwrap();
            bench.snapshot = bench.catalog.snapshot();
        }
        Deed::Settle => bench.cores[0].0.settle(&bench.shared.loads, 0),
    }
    Ok(())
}

const LONG: [&str; 8] = ["wlc", "lc", "sed", "nq", "ovf", "fo", "lblc", "lblcr"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn on_one_core_standings_and_walk_agree_on_every_pick(
        weights in prop::collection::vec(0..5u32, 3..50),
        deeds in prop::collection::vec(deed(), 0..150),
    ) {
        for scheduler in LONG {
            for tracking in [Tracking::Full, Tracking::Client] {
                let mut bench = Bench::new(1, scheduler, &weights, tracking);
                for deed in &deeds {
                    done(&mut bench, deed)?;
                }
            }
        }
    }
}

#[test]
fn two_services_share_one_journal_and_neither_misses_a_change() {
    let mut bench = Bench::new(1, "wlc", &[1; 40], Tracking::Full);
    let mut other = bench.catalog.farms().remove(0);
    other.service.identity =
        Identity::Address { protocol: Protocol::Tcp, vip: Addr::v4(0xC000_020B), vip_port: 80 };
    bench.catalog.add_service(other.service.clone()).unwrap();
    for real in &other.reals {
        bench.catalog.add_real(&other.service.identity, *real).unwrap();
    }
    bench.snapshot = bench.catalog.snapshot();
    let services: Vec<_> = bench.snapshot.services.iter().flatten().cloned().collect();
    let frame = support::packet::tcp("10.1.0.1:99", "192.0.2.10:80").flags("S").build();
    let Parsed::Packet(packet) = parse(&frame) else { panic!("no packet") };
    for round in 0..5_000usize {
        let service = &services[round * 7 % 3 % 2];
        let pool = Pool {
            members: &service.members,
            reals: &bench.snapshot.reals,
            loads: &bench.shared.loads,
            kernel: Kernel::New,
            flags: service.flags,
            tracking: Tracking::Full,
            seed: None,
            secret: [3, 4],
            now: Tick(0),
            core: 0,
        };
        let (schedulers, walker) = &mut bench.cores[0];
        let picked = schedulers.pick(service, &pool, &packet);
        assert_eq!(picked, sched::pick(walker, service, &pool, &packet), "round {round}");
        bench.shared.loads.shift(0, picked.unwrap(), 1, 0);
    }
}

#[test]
fn more_changes_than_a_journal_holds_are_taken_up_all_the_same() {
    let mut bench = Bench::new(1, "wlc", &[1; 100], Tracking::Full);
    assert_eq!(bench.picks(0).0, Some(bench.reals()[0]));
    let reals = bench.reals();
    for round in 0..20_000 {
        bench.load(0, reals[round % 99], 1, 0);
    }
    let (picked, walked) = bench.picks(0);
    assert_eq!((picked, walked), (Some(reals[99]), Some(reals[99])));
}

#[test]
fn what_other_cores_changed_is_known_after_four_ticks_for_a_thousand_servers() {
    let mut bench = Bench::new(3, "wlc", &[1; 1000], Tracking::Full);
    assert_eq!(bench.picks(0).0, Some(bench.reals()[0]));
    let reals = bench.reals();
    for (place, real) in reals.iter().enumerate().filter(|(place, _)| *place != 613) {
        bench.load(1 + place % 2, *real, 1 + place as i64 % 3, 0);
    }
    for _ in 0..4 {
        bench.cores[0].0.tend(&bench.shared.loads, 0);
    }
    assert_eq!(bench.picks(0), (Some(reals[613]), Some(reals[613])));
    // And by picks alone, with never an idle tick.
    bench.load(1, reals[613], 5, 0);
    bench.load(2, reals[7], -2, 0);
    for _ in 0..250 {
        bench.picks(0);
    }
    let (picked, walked) = bench.picks(0);
    assert_eq!(picked, walked);
}

#[test]
fn each_core_spreads_its_clients_and_together_they_spread_them_evenly() {
    let mut bench = Bench::new(4, "wlc", &[1; 100], Tracking::Full);
    for round in 0..4_000 {
        let core = round % 4;
        let (picked, _) = bench.picks(core);
        bench.load(core, picked.unwrap(), 1, 0);
        if round % 10 == 0 {
            bench.cores[core].0.tend(&bench.shared.loads, core);
        }
    }
    let counts: Vec<_> =
        bench.reals().iter().map(|real| bench.shared.loads.connections(*real).0).collect();
    assert_eq!(counts.iter().sum::<u64>(), 4_000);
    assert!(counts.iter().all(|count| (37..=43).contains(count)), "{counts:?}");
}

#[test]
fn standings_take_at_most_a_hundred_bytes_a_server_and_short_lists_none() {
    let mut bench = Bench::new(1, "wlc", &[1; 4], Tracking::Full);
    bench.picks(0);
    assert_eq!(bench.cores[0].0.bytes(), 0);
    let mut bench = Bench::new(1, "wlc", &[1; 1000], Tracking::Full);
    bench.picks(0);
    let bytes = bench.cores[0].0.bytes();
    assert!((20_000..=100_000).contains(&bytes), "{bytes}");
}
