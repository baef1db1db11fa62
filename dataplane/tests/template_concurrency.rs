//! Threads that all ask for the same new clients at once, while clients expire, holes open and
//! windows fill: every thread must get the same real server, and exactly one must have bound it.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![cfg(not(loom))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use dataplane::ids::{RealId, ScopeId};
use dataplane::table::{
    Bound, Candidate, ClientKey, ClientScope, ClientTable, Full, Gone, Handle, Outcome, Renewal,
    Seat, ServiceReal, Sizes, Swept, TemplateKey, TemplateTable, View,
};
use dataplane::tick::Tick;
use dataplane::timer::TimerRule;

const THREADS: usize = 4;
/// Frames in a burst: a core is quiescent after each.
const BURST: usize = 32;

/// Rounds of sweeping until a table is empty: what is reclaimed in one is bounded.
const LAST_ROUNDS: u32 = 20;
/// Asks after which a thread lets another run, as there are more threads than cores here; no
/// memory is used anew before every thread has had its turn.
const SLICE: usize = 512;

/// The threads' answers in one round. A key's cell holds real server + 1 in the low half and, in
/// the high half, how many calls bound it.
struct Answers(Vec<AtomicU64>);

impl Answers {
    fn new(keys: usize) -> Self {
        Self((0..keys).map(|_| AtomicU64::new(0)).collect())
    }

    /// Notes an answer, which must be everybody's.
    fn note(&self, key: usize, real: u64, inserted: bool, round: usize) {
        let cell = &self.0[key];
        let first = cell.compare_exchange(0, real + 1, Ordering::Relaxed, Ordering::Relaxed);
        if let Err(other) = first {
            let others = other & u64::from(u32::MAX);
            assert_eq!(others, real + 1, "two real servers for key {key} in round {round}");
        }
        if inserted {
            let before = cell.fetch_add(1 << 32, Ordering::Relaxed) >> 32;
            assert_eq!(before, 0, "key {key} was bound twice in round {round}");
        }
    }

    /// Ready for the next round. Returns how many keys were bound in this one.
    fn clear(&self) -> u64 {
        self.0.iter().map(|cell| cell.swap(0, Ordering::Relaxed) >> 32).sum()
    }
}

/// What a thread keeps of the templates that it holds on to over rounds.
struct Held {
    key: usize,
    view: View,
    until: usize,
}

/// One thread of the template test.
struct Core {
    table: Arc<TemplateTable>,
    seat: Seat,
    held: Vec<Held>,
    freed: u64,
    full: u64,
    calls: u64,
}

impl Core {
    fn turn(&mut self, now: Tick) {
        self.table.quiescent(&mut self.seat);
        let freed = &mut self.freed;
        self.table.sweep(&mut self.seat, now, 64, |event| {
            *freed += u64::from(matches!(event, Swept::Freed { .. }));
        });
    }

    fn ask(&mut self, key: TemplateKey, real: u32, now: Tick) -> Result<Outcome, Full> {
        self.calls += 1;
        let candidate = Candidate { real: RealId(real), timeout_index: 1 };
        self.table.get_or_insert(&self.table.probe(key), candidate, now)
    }

    fn hold(&mut self, key: usize, view: View, now: Tick, until: usize) {
        let held =
            self.table.attach(view.handle, view.real, Renewal::AsKernel, now, &mut self.seat);
        // Within a round nothing that was found can end.
        let view = held.unwrap_or_else(|Gone| panic!("key {key} is gone in its own round"));
        self.held.push(Held { key, view, until });
    }

    fn release(&mut self, round: usize, now: Tick) {
        let (table, seat) = (&self.table, &mut self.seat);
        self.held.retain(|held| {
            if held.until <= round {
                table.release(held.view.handle, now, seat);
            }
            held.until > round
        });
    }
}

/// Half of the keys are the same in every round, half are new.
fn key(round: usize, number: usize, v6: bool) -> TemplateKey {
    let number = if number.is_multiple_of(2) { number } else { number + (round << 20) } as u32;
    let client = match v6 {
        true => ClientKey::V6(u128::from(number) << 64 | 0x2001_0db8 << 96),
        false => ClientKey::V4(number),
    };
    TemplateKey { scope: ScopeId(number % 3), client }
}

/// The order in which a thread asks: half of the threads in the same, the others from both ends,
/// so that all pairs of slots of a window meet.
fn order(thread: usize, index: usize, keys: usize) -> usize {
    match thread % 4 {
        0 | 1 => index,
        2 => keys - 1 - index,
        _ => (index + keys / 2) % keys,
    }
}

/// Runs rounds of `keys` keys; returns (calls, answers Full).
fn templates(rounds: usize, keys: usize, v6: bool, room: usize) -> (u64, u64) {
    let entries = |family: bool| if family == v6 { room } else { 0 };
    let sizes =
        Sizes { shards: THREADS as u32, entries_v4: entries(false), entries_v6: entries(true) };
    let (table, seats) = TemplateTable::new(sizes, TimerRule::Exact, [0x5eed, 7]);
    table.set_timeout(1, 8);
    let answers = Answers::new(keys);
    let barrier = Barrier::new(THREADS);
    let bound = AtomicU64::new(0);
    let run = |thread: usize, seat: Seat| {
        let mut core =
            Core { table: Arc::clone(&table), seat, held: Vec::new(), freed: 0, full: 0, calls: 0 };
        for round in 0..rounds {
            // Everything that nobody holds expired between the rounds, but nobody has swept it.
            let now = Tick::from_secs(9 * round as u32 + 100);
            for index in 0..keys {
                let number = order(thread, index, keys);
                match core.ask(key(round, number, v6), (thread + 1 + round * THREADS) as u32, now) {
                    Ok(outcome) => {
                        let inserted = matches!(outcome, Outcome::Inserted(_));
                        let view = outcome.view();
                        answers.note(number, u64::from(view.real.0), inserted, round);
                        if (number + thread).is_multiple_of(64) {
                            core.hold(number, view, now, round + 3);
                        }
                    }
                    Err(Full) => core.full += 1,
                }
                if index % BURST == BURST - 1 {
                    core.turn(now);
                }
                if index % SLICE == SLICE - 1 {
                    thread::yield_now();
                }
            }
            core.turn(now);
            for held in &core.held {
                // Those of earlier rounds, too, if the key is still asked for.
                if held.key.is_multiple_of(2) {
                    let probe = core.table.probe(key(round, held.key, v6));
                    let found = core.table.get(&probe, now).map(|view| view.real);
                    assert_eq!(found, Some(held.view.real), "a held client moved, round {round}");
                }
            }
            core.release(round, now);
            core.turn(now);
            barrier.wait();
            if thread == 0 {
                bound.fetch_add(answers.clear(), Ordering::Relaxed);
            }
            barrier.wait();
        }
        let end = Tick::from_secs(9 * rounds as u32 + 1000);
        core.release(usize::MAX, end);
        barrier.wait();
        // Extended ones have another minute.
        for after in 0..LAST_ROUNDS {
            for _ in 0..room / 64 + 8 {
                core.turn(end.plus_secs(100 * after));
            }
            barrier.wait();
        }
        (core.calls, core.full, core.freed)
    };
    let sums = thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = seats
            .into_iter()
            .enumerate()
            .map(|(thread, seat)| scope.spawn(move || run(thread, seat)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .fold((0, 0, 0), |(calls, full, freed), core| {
                (calls + core.0, full + core.1, freed + core.2)
            })
    });
    let stats = table.stats();
    assert_eq!(stats.inserted, bound.into_inner(), "every binding was somebody's");
    assert_eq!(stats.inserted, sums.2, "every binding was reported freed, once");
    assert_eq!(stats.entries, 0);
    assert_eq!(stats.full, sums.1);
    (sums.0, sums.1)
}

#[test]
fn all_cores_agree_on_new_ipv4_clients_while_holes_open() {
    // Room for a few rounds' keys: slots are used anew all the time.
    let (calls, full) = templates(300, 5_000, false, 20_000);
    assert_eq!(calls, 6_000_000);
    assert!(full < calls / 10, "{full} of {calls} found no room");
}

#[test]
fn all_cores_agree_on_new_ipv6_clients_while_holes_open() {
    let (calls, full) = templates(100, 5_000, true, 25_000);
    assert_eq!(calls, 2_000_000);
    assert!(full < calls / 10, "{full} of {calls} found no room");
}

#[test]
fn all_cores_agree_in_a_table_that_overflows() {
    let (calls, full) = templates(400, 500, false, 400);
    assert_eq!(calls, 800_000);
    assert!(full > 0, "the table was to be too small");
}

/// Clients of the client table.
fn client(round: usize, number: usize, v6: bool) -> ClientKey {
    key(round, number, v6).client
}

/// As `templates`, for the client table.
fn clients(rounds: usize, keys: usize, v6: bool, room: usize) -> (u64, u64) {
    let entries = |family: bool| if family == v6 { room } else { 0 };
    let sizes =
        Sizes { shards: THREADS as u32, entries_v4: entries(false), entries_v6: entries(true) };
    let (table, seats) = ClientTable::new(sizes, [0x5eed, 9]);
    let scope = ClientScope::new(9).unwrap();
    let answers = Answers::new(keys);
    let barrier = Barrier::new(THREADS);
    let run = |thread: usize, mut seat: dataplane::table::ClientSeat| {
        let (mut calls, mut full, mut freed) = (0, 0, 0);
        let mut turn = |age: u8, budget: usize| {
            table.quiescent(&mut seat);
            table.sweep(&mut seat, age, budget, |_| 1, |_| freed += 1);
        };
        for round in 0..rounds {
            // Two units a round: a client of the round before is old enough to be freed, unless
            // somebody asks for it first.
            let age = (2 * round) as u8;
            let real = ServiceReal::new(((thread + round * THREADS) % 30_000) as u16 + 1).unwrap();
            for index in 0..keys {
                let number = order(thread, index, keys);
                let probe = table.probe(scope, client(round, number, v6));
                calls += 1;
                let bound = match table.lookup(&probe, age) {
                    Some(hit) => Ok(Bound::Found(hit)),
                    None => table.get_or_insert(&probe, real, age),
                };
                match bound {
                    Ok(bound) => {
                        let inserted = matches!(bound, Bound::Inserted(_));
                        let real = u64::from(bound.hit().real.number());
                        answers.note(number, real, inserted, round);
                    }
                    Err(Full) => full += 1,
                }
                if index % BURST == BURST - 1 {
                    turn(age, 64);
                }
                if index % SLICE == SLICE - 1 {
                    thread::yield_now();
                }
            }
            turn(age, 64);
            barrier.wait();
            if thread == 0 {
                answers.clear();
            }
            barrier.wait();
        }
        for _ in 0..LAST_ROUNDS {
            for _ in 0..room / 64 + 8 {
                turn((2 * rounds + 20) as u8, 64);
            }
            barrier.wait();
        }
        (calls, full, freed)
    };
    let sums = thread::scope(|scope| {
        let run = &run;
        let threads: Vec<_> = seats
            .into_iter()
            .enumerate()
            .map(|(thread, seat)| scope.spawn(move || run(thread, seat)))
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .fold((0, 0, 0), |(calls, full, freed), core| {
                (calls + core.0, full + core.1, freed + core.2)
            })
    });
    let stats = table.stats();
    assert_eq!((stats.entries, stats.inserted), (0, sums.2), "freed once for every binding");
    (sums.0, sums.1)
}

#[test]
fn all_cores_agree_on_clients_without_connections_while_holes_open() {
    let (calls, full) = clients(300, 5_000, false, 20_000);
    assert_eq!(calls, 6_000_000);
    assert!(full < calls / 10, "{full} of {calls} found no room");
    let (calls, full) = clients(50, 5_000, true, 25_000);
    assert_eq!(calls, 1_000_000);
    assert!(full < calls / 10, "{full} of {calls} found no room");
}

#[test]
fn more_connections_than_a_slot_can_count_are_counted_right() {
    const EACH: usize = 20_000;
    let sizes = Sizes { shards: THREADS as u32, entries_v4: 100, entries_v6: 0 };
    let (table, seats) = TemplateTable::new(sizes, TimerRule::Exact, [1, 2]);
    table.set_timeout(1, 8);
    let key = TemplateKey { scope: ScopeId(1), client: ClientKey::V4(1) };
    let probe = table.probe(key);
    let start = Tick::from_secs(8);
    let first = Candidate { real: RealId(1), timeout_index: 1 };
    let handle: Handle = table.get_or_insert(&probe, first, start).unwrap().view().handle;
    let late = start.plus_secs(1000);
    let barrier = Barrier::new(THREADS);
    let run = |thread: usize, mut seat: Seat| {
        for round in 0..5 {
            for _ in 0..EACH {
                let held = table.attach(handle, RealId(1), Renewal::AsKernel, start, &mut seat);
                assert!(held.is_ok());
            }
            // One connection is left, on a different core every time; the others end.
            let last = round % THREADS == thread;
            for _ in usize::from(last)..EACH {
                table.release(handle, start, &mut seat);
            }
            barrier.wait();
            assert!(table.get(&probe, late).is_some(), "the last connection was forgotten");
            barrier.wait();
            if last {
                table.release(handle, start, &mut seat);
                assert_eq!(seat.carried(), 0);
            }
            barrier.wait();
            assert_eq!(table.get(&probe, start).map(|view| view.connections), Some(0));
            assert!(table.get(&probe, late).is_none(), "a connection was counted twice");
            barrier.wait();
        }
    };
    thread::scope(|scope| {
        let run = &run;
        for (thread, seat) in seats.into_iter().enumerate() {
            scope.spawn(move || run(thread, seat));
        }
    });
    assert!(table.stats().carried > 0);
}
