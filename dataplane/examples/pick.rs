//! What a scheduler's choice costs, with the count that follows it:
//! `pick SCHEDULER SERVERS PICKS [walk]`.
//!
//! Prints nanoseconds a pick. On a busy machine count instructions instead, as the difference of
//! two numbers of picks: `valgrind --tool=callgrind target/release-dev/examples/pick wlc 1000 20000`.

// An example is run by hand: what is wrong with its arguments ends it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;
use std::time::Instant;

use dataplane::catalog::Catalog;
use dataplane::catalog::spec::{RealSpec, ServiceSpec, Site};
use dataplane::compat::Compat;
use dataplane::sched::{self, Pool, Scheduler, SchedulerFlags, Schedulers, State};
use dataplane::shared::{HashKey, Shared, TableSizes};
use dataplane::snapshot::{Identity, Tracking};
use dataplane::tick::Tick;
use dataplane::timer::TimerRule;
use dataplane::wire::{Addr, Parsed, Protocol, parse};

/// A SYN from 10.1.0.1 to 192.0.2.10:80, checksums left out.
const SYN: [u8; 54] = [
    2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 1, 0, 1,
    192, 0, 2, 10, 4, 0, 0, 80, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 2, 0, 0, 0, 0, 0, 0,
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [scheduler, servers, picks, rest @ ..] = args.as_slice() else {
        panic!("give a scheduler, a number of servers and a number of picks")
    };
    let servers: u32 = servers.parse().expect("a number of servers");
    let picks: usize = picks.parse().expect("a number of picks");
    let walks = rest.first().is_some_and(|word| word == "walk");

    let identity =
        Identity::Address { protocol: Protocol::Tcp, vip: Addr::v4(0xC000_020A), vip_port: 80 };
    let (shared, _) = Shared::new(1, TableSizes::default(), TimerRule::Exact, HashKey([1, 2]));
    let mut catalog = Catalog::new(Arc::clone(&shared), Site::default());
    let spec = ServiceSpec {
        name: "pick".into(),
        identity,
        scheduler: Some(Scheduler::by_name(scheduler).expect("a scheduler")),
        flags: SchedulerFlags::default(),
        seed: None,
        persistence: None,
        engine: None,
        tracking: Tracking::Full,
        one_packet: false,
        compat: Compat::default(),
        policy: Default::default(),
    };
    catalog.add_service(spec).expect("a service");
    for number in 0..servers {
        let real = RealSpec {
            weight: 1 + number % 3,
            ..RealSpec::new(Addr::v4(0x0A00_0000 + number), 80)
        };
        catalog.add_real(&identity, real).expect("a real server");
    }
    let snapshot = catalog.snapshot();
    let service = snapshot.services.iter().flatten().next().expect("the service");
    let Parsed::Packet(packet) = parse(&SYN) else { panic!("the SYN is malformed") };
    let pool = Pool {
        members: &service.members,
        reals: &snapshot.reals,
        loads: &shared.loads,
        kernel: service.compat.kernel,
        flags: service.flags,
        tracking: service.tracking,
        seed: None,
        secret: [3, 4],
        now: Tick(0),
        core: 0,
    };
    let (mut schedulers, mut walker) = (Schedulers::default(), State::default());
    let began = Instant::now();
    let mut last = None;
    for _ in 0..picks {
        last = match walks {
            true => sched::pick(&mut walker, service, &pool, &packet),
            false => schedulers.pick(service, &pool, &packet),
        };
        if let Some(real) = last {
            shared.loads.shift(0, real, 1, 0);
        }
    }
    let ns = began.elapsed().as_nanos() as f64 / picks as f64;
    println!("{scheduler} over {servers} servers: {ns:.1} ns a pick, the last was {last:?}");
}
