//! What each stage of the packet path takes, by itself: `cargo bench -p benches`.
//!
//! Stages are measured over many keys in no order, so that tables are met as packets meet
//! them; but one stage after the other, without the burst's overlap. `director bench` says what
//! all of them together cost.

// Clippy knows the functions that benches call only as production code.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench fails by panicking, and criterion's macros make items without docs"
)]

use std::hint::black_box;

use benches::choice::choosing;
use benches::farm::Measured;
use benches::load::Load;
use benches::plan;
use benches::sample::{self, frame};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use dataplane::compat::TtlPolicy;
use dataplane::conn::table::Table;
use dataplane::conn::{Conn, ConnFlags, EntryV4, Flow, State};
use dataplane::forward::masq::{self, End, Endpoint};
use dataplane::forward::{self, Egress, Forwarding, Inner, Outer, Tunnel};
use dataplane::ids::{PortIndex, RealId, ScopeId};
use dataplane::port::Frame;
use dataplane::sched::Scheduler;
use dataplane::table::{Candidate, ClientKey, Sizes, TemplateKey, TemplateTable};
use dataplane::tick::Tick;
use dataplane::timer::TimerRule;
use dataplane::wire::ethernet::Mac;
use dataplane::wire::packet::Packet;
use dataplane::wire::{Addr, Family, Protocol, parse};

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
/// Keys that are gone through in turn.
const KEYS: usize = 4096;

/// Numbers below `end` in no order.
fn numbers(end: u32) -> Vec<u32> {
    let spread = |n: u32| ((u64::from(n.wrapping_mul(0x9E37_79B1)) * u64::from(end)) >> 32) as u32;
    (0..KEYS as u32).map(spread).collect()
}

fn packet(family: Family, client: u32) -> Packet {
    sample::packet(&frame(family, client)).unwrap()
}

const FAMILIES: [(&str, Family); 2] = [("v4", Family::V4), ("v6", Family::V6)];

/// One element after the other, again and again.
fn each<'a, T>(all: &'a [T]) -> impl FnMut() -> &'a T {
    let mut at = 0;
    move || {
        at = (at + 1) % all.len();
        &all[at]
    }
}

fn parsing(c: &mut Criterion) {
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    for (name, family) in FAMILIES {
        let frames: Vec<_> = numbers(65_536).into_iter().map(|n| frame(family, n)).collect();
        let mut next = each(&frames);
        group.bench_function(name, |b| b.iter(|| black_box(parse(next().bytes()))));
    }
    group.finish();
}

fn classifying(c: &mut Criterion) {
    let mut group = c.benchmark_group("classify");
    group.throughput(Throughput::Elements(1));
    for services in [1, 100, 10_000] {
        for (name, family) in FAMILIES {
            let measured =
                Measured::new(&Load::in_memory(family, services, 1, Scheduler::Wlc), 1).unwrap();
            let vips: Vec<Addr> =
                numbers(services).into_iter().map(|n| plan::vip(family, n)).collect();
            let mut next = each(&vips);
            let classifier = &measured.snapshot().classifier;
            group.bench_function(BenchmarkId::new(name, services), |b| {
                b.iter(|| black_box(classifier.lookup(*next(), Protocol::Tcp, plan::VIP_PORT)));
            });
        }
    }
    group.finish();
}

fn templates(c: &mut Criterion) {
    let mut group = c.benchmark_group("template");
    group.throughput(Throughput::Elements(1));
    for clients in [1_000, 65_536, 1_000_000] {
        let entries = clients as usize * 5 / 4;
        let sizes = Sizes { shards: 1, entries_v4: entries, entries_v6: 0 };
        let (table, _seats) = TemplateTable::new(sizes, TimerRule::Exact, [1, 2]);
        let key = |client| TemplateKey {
            scope: ScopeId(1),
            client: ClientKey::V4(plan::client_v4(client)),
        };
        let first = Candidate { real: RealId(1), timeout_index: 0 };
        for client in 0..clients {
            table.get_or_insert(&table.probe(key(client)), first, Tick(0)).unwrap();
        }
        let keys: Vec<_> = numbers(clients).into_iter().map(key).collect();
        let mut next = each(&keys);
        group.bench_function(BenchmarkId::new("get", clients), |b| {
            b.iter(|| black_box(table.get(&table.probe(*next()), Tick(1))));
        });
    }
    group.finish();
}

fn connections(c: &mut Criterion) {
    let mut group = c.benchmark_group("connection");
    group.throughput(Throughput::Elements(1));
    for clients in [1_000, 65_536, 1_000_000] {
        let mut table = Table::<EntryV4>::new(clients as usize * 5 / 4, [1, 2]);
        let flow = |client| Flow {
            client: plan::client(Family::V4, client),
            vip: plan::vip(Family::V4, 0),
            client_port: 2000,
            vip_port: plan::VIP_PORT,
            protocol: Protocol::Tcp,
        };
        let conn = Conn {
            template: None,
            real: RealId(1),
            expires: Tick(1000),
            timeout: 1000,
            real_port: plan::VIP_PORT,
            state: State::TcpEstablished,
            flags: ConnFlags::empty(),
            forwarding: Forwarding::Route,
            in_packets: 1,
        };
        for client in 0..clients {
            table.insert(&flow(client), conn).unwrap();
        }
        let flows: Vec<_> = numbers(clients).into_iter().map(flow).collect();
        let mut next = each(&flows);
        group.bench_function(BenchmarkId::new("find", clients), |b| {
            b.iter(|| black_box(table.find(next()).and_then(|slot| table.read(slot))));
        });
    }
    group.finish();
}

/// A choice and what it changes: the chosen server has a connection more.
fn schedulers(c: &mut Criterion) {
    let mut group = c.benchmark_group("scheduler");
    group.throughput(Throughput::Elements(1));
    for scheduler in Scheduler::ALL {
        for servers in [10, 100, 1_000] {
            let measured =
                Measured::new(&Load::in_memory(Family::V4, 1, servers, *scheduler), 1).unwrap();
            let packets: Vec<_> =
                numbers(65_536).into_iter().map(|n| packet(Family::V4, n)).collect();
            let id = BenchmarkId::new(scheduler.name(), servers);
            choosing(&measured, &packets, |choose| {
                group.bench_function(id, |b| b.iter(|| black_box(choose())));
            })
            .unwrap();
        }
    }
    group.finish();
}

fn rewrites(c: &mut Criterion) {
    let mut group = c.benchmark_group("rewrite");
    group.throughput(Throughput::Elements(1));
    for (name, family) in FAMILIES {
        let measured = Measured::new(&Load::in_memory(family, 1, 1, Scheduler::Wlc), 1).unwrap();
        let egress = Egress {
            macs: &[MAC],
            neighbours: &measured.shared.neighbours,
            ttl: TtlPolicy::Decrement,
        };
        let next_hop = measured.snapshot().reals.iter().flatten().find_map(|real| real.next_hop);
        let next_hop = next_hop.expect("every real server has one");
        assert_eq!(next_hop.port, PortIndex(0));
        let original = frame(family, 1);
        let packet = sample::packet(&original).unwrap();
        let mut route = original.clone();
        group.bench_function(BenchmarkId::new("route", name), |b| {
            b.iter(|| black_box(forward::route(&mut route, &packet, &next_hop, &egress)));
        });
        let mut masqueraded = original.clone();
        let to = Endpoint { address: plan::server(family, 0), port: 8080 };
        group.bench_function(BenchmarkId::new("masq", name), |b| {
            b.iter(|| {
                black_box(masq::rewrite(masqueraded.bytes_mut(), &packet, End::Destination, to))
            });
        });
        let outer = Outer {
            src: plan::vip(family, 9),
            dst: plan::server(family, 0),
            ttl: 63,
            dont_fragment: true,
            id: 0,
            flow: 7,
        };
        group.bench_function(BenchmarkId::new("tunnel", name), |b| {
            b.iter_batched_ref(
                || original.clone(),
                |frame| black_box(Tunnel::Ipip.wrap(frame, Inner::of(&packet), &outer)),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = stages;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(600))
        .without_plots();
    targets = parsing, classifying, templates, connections, schedulers, rewrites
}
criterion_main!(stages);
