//! Millions of packets: no memory is asked for, and no client changes its real server.
//!
//! `STEADY_PACKETS` is how many, of each kind of load; 10^8 where there is time.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::Write as _;
use std::time::Instant;

use benches::draw::{ACK, Draw, Order, SYN};
use benches::farm::Measured;
use benches::load::{FrameSize, Load, Source};
use benches::recycle::RecyclePort;
use benches::synthesis::Synthesis;
use benches::witness::Witness;
use dataplane::forward::Forwarding;
use dataplane::sched::Scheduler;
use dataplane::snapshot::Tracking;
use dataplane::tick::Tick;
use dataplane::wire::Family;
use dataplane::wire::ethernet::Mac;
use dataplane::worker::Worker;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, which counts how often each thread asks it.
struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: all of it is the system's allocator's work; counting touches no memory of others,
// and the counter is made without allocating.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }
}

type Port = Synthesis<Witness<RecyclePort>>;

struct Steady {
    worker: Worker<Port>,
    measured: Measured,
    started: Instant,
}

impl Steady {
    fn new(load: &Load) -> Self {
        let port = RecyclePort::new(Mac([2, 0, 0, 0, 0, 1]), 512, 2048);
        let witness = Witness::new(port, load.family, load.clients as usize);
        let port = Synthesis::new(witness, load, Some(Draw::new(load, 0, 1)));
        let mut measured = Measured::new(load, 1).unwrap();
        let worker = measured.workers(vec![port]).remove(0);
        Self { worker, measured, started: Instant::now() }
    }

    fn turn(&mut self) {
        self.worker.turn(Tick::after(self.started.elapsed()));
    }

    fn draw(&mut self) -> &mut Draw {
        self.worker.ports_mut()[0].draw_mut().unwrap()
    }

    fn fill(&mut self) {
        for flags in [SYN, ACK] {
            self.draw().set_order(Order::Each(flags));
            while !self.draw().has_been_round() {
                self.turn();
            }
        }
        self.draw().set_order(Order::Random);
    }

    fn received(&self) -> u64 {
        self.measured.shared.counters[0].received.get()
    }
}

fn packets() -> u64 {
    let packets = std::env::var("STEADY_PACKETS").ok();
    packets.map_or(1_000_000, |text| text.parse().expect("STEADY_PACKETS is a number"))
}

fn load(tracking: Tracking, family: Family) -> Load {
    Load {
        tracking,
        clients: 50_000,
        services: 3,
        services_in_use: 3,
        servers: 100,
        scheduler: Scheduler::by_name("wlc").unwrap(),
        persistence_s: 360,
        family,
        forwarding: Forwarding::Route,
        new_share: 0.0,
        mixed: false,
        room_for_new: 1 << 20,
        size: FrameSize::Imix,
        source: Source::Memory,
    }
}

/// Leaves what was counted for `scripts/bench`, in the file that it names.
fn tell(count: u64) {
    if let Some(path) = std::env::var_os("STEADY_COUNTS") {
        let mut file = std::fs::OpenOptions::new().append(true).open(path).unwrap();
        writeln!(file, "{count}").unwrap();
    }
}

fn assert_steady(load: &Load) {
    let mut steady = Steady::new(load);
    steady.fill();
    let packets = packets();
    // The clock moves on meanwhile: the clean-up is at work as well.
    let before = (steady.received(), ALLOCATIONS.get());
    assert!(before.1 > 0, "what was set up was counted");
    while steady.received() - before.0 < packets {
        for _ in 0..1_000 {
            steady.turn();
        }
    }
    let allocated = ALLOCATIONS.get() - before.1;
    let totals = steady.measured.shared.totals();
    let witness = steady.worker.ports_mut()[0].inner();
    let sentence = load.sentence();
    let lost = totals.received - totals.forwarded;
    tell(allocated + witness.moved() + lost);
    assert_eq!(allocated, 0, "allocations: {sentence}");
    assert_eq!(totals.forwarded, totals.received, "{totals:?}: {sentence}");
    assert_eq!(witness.moved(), 0, "clients that changed their real server: {sentence}");
    assert_eq!(witness.seen(), totals.forwarded, "{sentence}");
}

#[test]
fn bound_ipv4_clients_cost_no_memory_and_stay() {
    assert_steady(&load(Tracking::Client, Family::V4));
}

#[test]
fn bound_ipv6_clients_cost_no_memory_and_stay() {
    assert_steady(&load(Tracking::Client, Family::V6));
}

#[test]
fn established_ipv4_connections_cost_no_memory_and_stay() {
    assert_steady(&load(Tracking::Full, Family::V4));
}

#[test]
fn established_ipv6_connections_cost_no_memory_and_stay() {
    assert_steady(&load(Tracking::Full, Family::V6));
}

#[test]
fn new_clients_beside_old_ones_cost_no_memory_and_the_old_ones_stay() {
    assert_steady_with_new_clients(Tracking::Client);
}

#[test]
fn new_connections_beside_old_ones_cost_no_memory_and_the_old_ones_stay() {
    assert_steady_with_new_clients(Tracking::Full);
}

fn assert_steady_with_new_clients(tracking: Tracking) {
    let mut load = load(tracking, Family::V4);
    load.new_share = 0.25;
    let mut steady = Steady::new(&load);
    steady.fill();
    let before = ALLOCATIONS.get();
    while steady.draw().new_clients() < 400_000 {
        steady.turn();
    }
    let allocated = ALLOCATIONS.get() - before;
    let moved = steady.worker.ports_mut()[0].inner().moved();
    tell(allocated + moved);
    assert_eq!(allocated, 0);
    assert_eq!(moved, 0);
}
