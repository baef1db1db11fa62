//! Every interleaving of two or three cores on the tables, as far as loom can go:
//! `RUSTFLAGS="--cfg loom" cargo test -p dataplane --test template_loom --release`.
//!
//! Tables are as small as they get, two buckets, so that every key's window is the whole table.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![cfg(loom)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use dataplane::ids::{RealId, ScopeId};
use dataplane::table::{
    Bound, Candidate, ClientKey, ClientScope, ClientSeat, ClientTable, Gone, Outcome, Renewal,
    Seat, ServiceReal, Sizes, Swept, TemplateKey, TemplateTable,
};
use dataplane::tick::Tick;
use dataplane::timer::TimerRule;
use loom::thread;

/// Runs `model` under all schedules with so many preemptions.
fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 100_000;
    builder.check(model);
}

/// Like all times here a multiple of 32 ms, the unit of expiries.
const TIMEOUT_S: u32 = 8;
const START: Tick = Tick::from_secs(100);
/// The timers of templates made at `START` have fired.
const LATE: Tick = Tick::from_secs(111);

/// A table in which every key's window is the whole of it: 8 slots.
fn table(cores: u32) -> (Arc<TemplateTable>, Vec<Seat>) {
    table_of(cores, 2)
}

/// The same with two or three buckets for IPv4.
fn table_of(cores: u32, buckets: usize) -> (Arc<TemplateTable>, Vec<Seat>) {
    // All keys go to shard 0, whose owner is core 0.
    let entries_v4 = if buckets == 2 { 1 } else { 6 * cores as usize };
    let sizes = Sizes { shards: cores, entries_v4, entries_v6: 1 };
    let (table, seats) = TemplateTable::new(sizes, TimerRule::Exact, [1, 2]);
    table.set_timeout(0, TIMEOUT_S);
    (table, seats)
}

fn v4(client: u32) -> TemplateKey {
    TemplateKey { scope: ScopeId(1), client: ClientKey::V4(client) }
}

fn v6(client: u128) -> TemplateKey {
    TemplateKey { scope: ScopeId(1), client: ClientKey::V6(client) }
}

fn insert(table: &TemplateTable, key: TemplateKey, real: u32, now: Tick) -> Outcome {
    let candidate = Candidate { real: RealId(real), timeout_index: 0 };
    table.get_or_insert(&table.probe_in(0, key), candidate, now).unwrap()
}

/// The real server the call ended with, and whether this call bound it.
fn insert_real(table: &TemplateTable, key: TemplateKey, real: u32, now: Tick) -> (u32, bool) {
    let outcome = insert(table, key, real, now);
    (outcome.view().real.0, matches!(outcome, Outcome::Inserted(_)))
}

fn real(table: &TemplateTable, key: TemplateKey, now: Tick) -> Option<u32> {
    table.get(&table.probe_in(0, key), now).map(|view| view.real.0)
}

fn sweep(table: &TemplateTable, seat: &mut Seat, now: Tick) -> Vec<Swept> {
    let mut events = Vec::new();
    table.quiescent(seat);
    table.sweep(seat, now, 3, |event| events.push(event));
    events
}

/// Lets `cores` bind one key at once; they must agree, and one alone must have bound it.
fn all_agree(
    table: &Arc<TemplateTable>,
    key: TemplateKey,
    now: Tick,
    others: Vec<Seat>,
    meanwhile: impl FnOnce() -> Option<(u32, bool)>,
) {
    let threads: Vec<_> = others
        .into_iter()
        .zip(1..)
        .map(|(mut seat, number)| {
            let table = Arc::clone(table);
            thread::spawn(move || {
                table.quiescent(&mut seat);
                insert_real(&table, key, number, now)
            })
        })
        .collect();
    let own = meanwhile();
    let answers: Vec<_> =
        threads.into_iter().map(|thread| thread.join().unwrap()).chain(own).collect();
    let bound = real(table, key, now).expect("bound");
    assert!(answers.iter().all(|(real, _)| *real == bound), "{answers:?}, bound to {bound}");
    assert_eq!(answers.iter().filter(|(_, inserted)| *inserted).count(), 1, "{answers:?}");
}

#[test]
fn two_cores_that_bind_one_client_agree() {
    check(3, || {
        let (table, seats) = table(2);
        all_agree(&table, v4(7), START, seats, || None);
    });
}

#[test]
fn three_cores_that_bind_one_client_agree() {
    check(2, || {
        let (table, seats) = table(3);
        all_agree(&table, v4(7), START, seats, || None);
    });
}

#[test]
fn two_cores_that_bind_one_ipv6_client_agree() {
    check(3, || {
        let (table, seats) = table(2);
        all_agree(&table, v6(7 << 64), START, seats, || None);
    });
}

/// All slots of the window are taken but one, and another, `opening`, is dead and may be
/// reclaimed. Two cores bind a key while the owner sweeps, which opens a second hole; if `joins`,
/// the owner then binds the key, too.
fn holes(key: fn(u32) -> TemplateKey, opening: u32, joins: bool) {
    holes_in(table(3), 8, key, opening, joins);
}

fn holes_in(
    (table, mut seats): (Arc<TemplateTable>, Vec<Seat>),
    slots: u32,
    key: fn(u32) -> TemplateKey,
    opening: u32,
    joins: bool,
) {
    for number in 0..slots - 1 {
        insert(&table, key(number), 9, if number == opening { START } else { LATE });
    }
    let mut owner = seats.remove(0);
    assert_eq!(sweep(&table, &mut owner, LATE).len(), 1);
    sweep(&table, &mut owner, LATE);
    table.quiescent(&mut owner);
    seats.iter_mut().for_each(|seat| table.quiescent(seat));
    let sweeper = Arc::clone(&table);
    let sweeps = thread::spawn(move || {
        // Reclaims first; one bucket of walking is enough.
        sweeper.sweep(&mut owner, LATE, 1, |_| {});
        joins.then(|| insert_real(&sweeper, key(slots), 3, LATE))
    });
    all_agree(&table, key(slots), LATE, seats, move || sweeps.join().unwrap());
}

#[test]
fn two_cores_that_find_different_holes_agree() {
    check(2, || holes(v4, 0, false));
}

#[test]
fn two_cores_that_find_different_holes_in_the_other_order_agree() {
    check(2, || holes(v4, 6, false));
}

#[test]
fn two_cores_that_find_different_holes_of_three_buckets_agree() {
    for opening in [0, 6, 10] {
        check(1, move || holes_in(table_of(3, 3), 12, v4, opening, false));
    }
}

#[test]
fn two_cores_that_find_different_ipv6_holes_agree() {
    check(1, || holes(|number| v6(u128::from(number) << 3), 0, false));
    check(1, || holes(|number| v6(u128::from(number) << 3), 6, false));
}

/// A template that died long ago is reclaimed while another core binds its client anew.
#[test]
fn an_ipv6_slot_that_is_reclaimed_while_its_client_comes_back_can_be_used_again() {
    check(3, || {
        let (table, mut seats) = table(2);
        // No half of one is another's.
        let client = |number: u32| v6(u128::from(number + 2) << 64 | u128::from(number + 20));
        insert(&table, client(0), 9, START);
        let mut owner = seats.remove(0);
        let mut seat = seats.remove(0);
        assert_eq!(sweep(&table, &mut owner, LATE).len(), 1);
        sweep(&table, &mut owner, LATE);
        table.quiescent(&mut owner);
        table.quiescent(&mut seat);
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || insert_real(&other, client(0), 1, LATE));
        sweep(&table, &mut owner, LATE);
        assert_eq!(thread.join().unwrap(), (1, true));
        // All eight slots are there.
        for number in 1..8 {
            assert_eq!(insert_real(&table, client(number), 2, LATE), (2, true));
        }
    });
}

#[test]
fn three_cores_that_find_different_holes_agree() {
    for opening in [0, 6] {
        check(1, move || holes(v4, opening, true));
    }
}

#[test]
fn a_template_is_replaced_only_if_no_connection_came_before() {
    check(3, || {
        let (table, mut seats) = table(2);
        insert(&table, v4(7), 9, START);
        let mut seat = seats.remove(0);
        let other = Arc::clone(&table);
        // Just after the timer fired; a connection that comes just before restarts it.
        let now = START.plus_secs(TIMEOUT_S);
        let early = Tick(now.0 - 8);
        let thread = thread::spawn(move || insert_real(&other, v4(7), 1, now));
        // This core's clock is behind.
        let view = table.get(&table.probe_in(0, v4(7)), early);
        let attached = view.filter(|view| view.real == RealId(9)).is_some_and(|view| {
            table.attach(view.handle, view.real, Renewal::AsKernel, early, &mut seat).is_ok()
        });
        let expected = if attached { (9, false) } else { (1, true) };
        assert_eq!(thread.join().unwrap(), expected);
        assert_eq!(real(&table, v4(7), now), Some(expected.0));
    });
}

#[test]
fn cores_that_replace_an_expired_template_agree() {
    check(3, || {
        let (table, seats) = table(2);
        insert(&table, v4(7), 9, START);
        all_agree(&table, v4(7), LATE, seats, || None);
    });
}

#[test]
fn cores_agree_while_the_table_grows() {
    check(2, || {
        let (table, mut seats) = table(3);
        let mut owner = seats.remove(0);
        let sweeper = Arc::clone(&table);
        all_agree(&table, v4(7), START, seats, move || {
            sweeper.grow(1, 0).unwrap();
            sweep(&sweeper, &mut owner, START);
            None
        });
    });
}

#[test]
fn two_cores_that_replace_an_invalid_template_agree() {
    check(2, || {
        let (table, seats) = table(2);
        insert(&table, v4(7), 9, START);
        let threads: Vec<_> = seats
            .into_iter()
            .zip(1..)
            .map(|(_seat, number)| {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    let view = table.get(&table.probe_in(0, v4(7)), START);
                    let old = view.filter(|view| view.real == RealId(9));
                    let first = old.is_some_and(|old| table.invalidate(old.handle));
                    (first, insert_real(&table, v4(7), number, START))
                })
            })
            .collect();
        let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert_eq!(answers.iter().filter(|(first, _)| *first).count(), 1, "{answers:?}");
        assert_eq!(answers.iter().filter(|(_, (_, inserted))| *inserted).count(), 1, "{answers:?}");
        assert_eq!(answers[0].1.0, answers[1].1.0);
        assert_eq!(real(&table, v4(7), START), Some(answers[0].1.0));
    });
}

#[test]
fn a_connection_on_an_expiring_template_keeps_it_or_is_refused() {
    check(3, || {
        let (table, mut seats) = table(2);
        insert(&table, v4(7), 1, START);
        let mut owner = seats.remove(0);
        let mut seat = seats.remove(0);
        let other = Arc::clone(&table);
        // A core whose clock is a tick behind still sees the template alive.
        let early = Tick(START.plus_secs(TIMEOUT_S).0 - 1);
        let thread = thread::spawn(move || {
            let view = other.get(&other.probe_in(0, v4(7)), early)?;
            other.attach(view.handle, view.real, Renewal::AsKernel, early, &mut seat).ok()
        });
        let now = early.plus(8);
        let mut events = sweep(&table, &mut owner, now);
        events.extend(sweep(&table, &mut owner, now));
        match thread.join().unwrap() {
            Some(view) => {
                assert_eq!(events, []);
                let found = table.get(&table.probe_in(0, v4(7)), now).expect("still there");
                assert_eq!((found.handle, found.connections), (view.handle, 1));
            }
            None => {
                assert!(matches!(events[..], [Swept::Freed { real: RealId(1), .. }]), "{events:?}");
                assert_eq!(real(&table, v4(7), now), None);
            }
        }
    });
}

#[test]
fn a_release_after_the_timer_fired_leaves_the_extension() {
    check(3, || {
        let (table, mut seats) = table(2);
        let view = insert(&table, v4(7), 1, START).view();
        let mut owner = seats.remove(0);
        let mut seat = seats.remove(0);
        table.attach(view.handle, view.real, Renewal::AsKernel, START, &mut seat).unwrap();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || other.release(view.handle, LATE, &mut seat));
        sweep(&table, &mut owner, LATE);
        thread.join().unwrap();
        let found = table.get(&table.probe_in(0, v4(7)), LATE).expect("extended");
        assert!(found.extended && found.connections == 0);
        assert_eq!(found.expires, START.plus_secs(TIMEOUT_S + 60));
    });
}

#[test]
fn two_cores_count_every_connection() {
    check(3, || {
        let (table, mut seats) = table(3);
        let mut owner = seats.remove(0);
        let view = insert(&table, v4(7), 1, START).view();
        let threads: Vec<_> = seats
            .into_iter()
            .map(|mut seat| {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    let attach = |seat: &mut Seat| {
                        table.attach(view.handle, view.real, Renewal::AsKernel, START, seat)
                    };
                    attach(&mut seat).unwrap();
                    attach(&mut seat).unwrap();
                    table.release(view.handle, START, &mut seat);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        let found = table.get(&table.probe_in(0, v4(7)), START).unwrap();
        assert_eq!(found.connections, 2);
        assert!(matches!(sweep(&table, &mut owner, LATE)[..], [Swept::Extended { .. }]));
    });
}

#[test]
fn a_handle_never_leads_to_another_keys_template() {
    check(3, || {
        let (table, mut seats) = table(2);
        insert(&table, v4(7), 1, START);
        let mut owner = seats.remove(0);
        let mut seat = seats.remove(0);
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            let view = other.get(&other.probe_in(0, v4(7)), START);
            let attached = view.map(|view| {
                other.attach(view.handle, view.real, Renewal::AsKernel, START, &mut seat)
            });
            other.quiescent(&mut seat);
            attached
        });
        for _ in 0..3 {
            sweep(&table, &mut owner, LATE);
        }
        // The same real server, so that only the slot's memory tells the two apart.
        let next = insert(&table, v4(8), 1, START).view();
        match thread.join().unwrap() {
            Some(Ok(view)) => {
                let found = table.get(&table.probe_in(0, v4(7)), START).expect("held");
                assert_eq!((found.handle, found.connections), (view.handle, 1));
            }
            Some(Err(Gone)) | None => assert_eq!(real(&table, v4(7), LATE), None),
        }
        let next =
            table.get(&table.probe_in(0, v4(8)), START).map(|view| (view.handle, view.connections))
                == Some((next.handle, 0));
        assert!(next, "a connection was counted on another key's template");
    });
}

fn clients(cores: u32) -> (Arc<ClientTable>, Vec<ClientSeat>) {
    ClientTable::new(Sizes { shards: cores, entries_v4: 1, entries_v6: 1 }, [1, 2])
}

fn client_real(number: u16) -> ServiceReal {
    ServiceReal::new(number).unwrap()
}

fn client_probe(table: &ClientTable, client: ClientKey) -> dataplane::table::Probe {
    table.probe_in(0, ClientScope::new(1).unwrap(), client)
}

fn client_sweep(table: &ClientTable, seat: &mut ClientSeat, age: u8) -> usize {
    let mut freed = 0;
    table.quiescent(seat);
    table.sweep(seat, age, 3, |_| 10, |_| freed += 1);
    freed
}

fn clients_agree(client: ClientKey, preemptions: usize) {
    check(preemptions, move || {
        let (table, seats) = clients(2);
        let threads: Vec<_> = seats
            .into_iter()
            .zip(1..)
            .map(|(_seat, number)| {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    let probe = client_probe(&table, client);
                    let bound = table.get_or_insert(&probe, client_real(number), 1).unwrap();
                    (bound.hit().real, matches!(bound, Bound::Inserted(_)))
                })
            })
            .collect();
        let answers: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        let found = table.lookup(&client_probe(&table, client), 1).unwrap();
        assert!(answers.iter().all(|(real, _)| *real == found.real), "{answers:?}");
        assert_eq!(answers.iter().filter(|(_, inserted)| *inserted).count(), 1, "{answers:?}");
    });
}

#[test]
fn two_cores_that_bind_one_dense_client_agree() {
    clients_agree(ClientKey::V4(7), 3);
}

#[test]
fn two_cores_that_bind_one_wide_client_agree() {
    clients_agree(ClientKey::V6(7), 3);
}

/// Where a wide client goes in an empty table for two cores.
fn wide_slot(client: u128) -> dataplane::table::Handle {
    let (table, _seats) = clients(2);
    let probe = client_probe(&table, ClientKey::V6(client));
    table.get_or_insert(&probe, client_real(1), 1).unwrap().hit().slot
}

/// Two cores bind clients of one scope at once, which claim the same slot and then both write
/// their addresses there.
fn wide_clients_that_meet(one: u128, other: u128) {
    let has_first_slot = Arc::new([(); 2].map(|()| AtomicUsize::new(0)));
    let counts = Arc::clone(&has_first_slot);
    check(3, move || {
        let (table, seats) = clients(2);
        let both = [one, other].map(ClientKey::V6);
        let threads: Vec<_> = seats
            .into_iter()
            .zip(both.into_iter().zip(1..))
            .map(|(seat, (client, number))| {
                let table = Arc::clone(&table);
                thread::spawn(move || {
                    let probe = client_probe(&table, client);
                    let bound = table.get_or_insert(&probe, client_real(number), 1).unwrap();
                    assert_eq!(bound.hit().real, client_real(number));
                    assert!(matches!(bound, Bound::Inserted(_)));
                    (bound.hit().slot, seat)
                })
            })
            .collect();
        let (slots, mut seats): (Vec<_>, Vec<_>) =
            threads.into_iter().map(|thread| thread.join().unwrap()).unzip();
        for (count, slot) in counts.iter().zip(&slots) {
            count.fetch_add(usize::from(*slot == wide_slot(one)), Ordering::Relaxed);
        }
        let mut listed = Vec::new();
        let mut cursor = Some(Default::default());
        while let Some(from) = cursor {
            cursor = table.iterate(0, from, 3, |_, client, real, _| listed.push((real, client)));
        }
        listed.sort_unstable();
        assert_eq!(listed, [1, 2].map(client_real).into_iter().zip(both).collect::<Vec<_>>());
        // Once abandoned slots are reclaimed there is room for ten more: none is lost for good.
        for _ in 0..3 {
            seats.iter_mut().for_each(|seat| assert_eq!(client_sweep(&table, seat, 1), 0));
        }
        for number in 2..12 {
            let probe = client_probe(&table, ClientKey::V6(number << 65));
            assert!(table.get_or_insert(&probe, client_real(3), 1).is_ok());
        }
    });
    let counts = has_first_slot.each_ref().map(|count| count.load(Ordering::Relaxed));
    assert!(counts.iter().all(|count| *count > 0), "both want that slot: {counts:?}");
}

#[test]
fn two_wide_clients_that_claim_one_slot_get_one_each() {
    let high = 7u128 << 64;
    // The first half of both is the same, so that the second one tells whose the slot is; or both
    // halves differ.
    for (one, others) in [(high | 1, high | 2..high | 99), (high, 9 << 64..9 << 64 | 99)] {
        let same = Arc::new(Mutex::new(None));
        let found = Arc::clone(&same);
        check(0, move || {
            let wanted = wide_slot(one);
            *found.lock().unwrap() = others.clone().find(|other| wide_slot(*other) == wanted);
        });
        let other = same.lock().unwrap().expect("one slot in twelve is that one");
        wide_clients_that_meet(one, other);
    }
}

/// All slots of a client's window are taken but one, and another one is dead and may be
/// reclaimed. Two cores bind the client while the owner sweeps, which opens a second hole.
#[test]
fn two_cores_that_find_different_wide_holes_agree() {
    const SLOTS: u128 = 12;
    for opening in [0, SLOTS - 2] {
        check(1, move || {
            let (table, mut seats) = clients(3);
            let probe = |number: u128| client_probe(&table, ClientKey::V6(number << 3));
            for number in 0..SLOTS - 1 {
                let age = if number == opening { 1 } else { 20 };
                table.get_or_insert(&probe(number), client_real(9), age).unwrap();
            }
            let mut owner = seats.remove(0);
            // Doomed, dead, out of sight.
            let mut freed = 0;
            for _ in 0..3 {
                freed += client_sweep(&table, &mut owner, 20);
                seats.iter_mut().for_each(|seat| table.quiescent(seat));
            }
            assert_eq!(freed, 1);
            let sweeper = Arc::clone(&table);
            // Reclaims first; one bucket of walking is enough.
            let sweeps = thread::spawn(move || sweeper.sweep(&mut owner, 20, 1, |_| 10, |_| {}));
            let threads: Vec<_> = seats
                .into_iter()
                .zip(1..)
                .map(|(_seat, number)| {
                    let table = Arc::clone(&table);
                    thread::spawn(move || {
                        let probe = client_probe(&table, ClientKey::V6(SLOTS << 3));
                        let bound = table.get_or_insert(&probe, client_real(number), 20).unwrap();
                        (bound.hit().real, matches!(bound, Bound::Inserted(_)))
                    })
                })
                .collect();
            let answers: Vec<_> =
                threads.into_iter().map(|thread| thread.join().unwrap()).collect();
            sweeps.join().unwrap();
            let found = table.peek(&probe(SLOTS)).unwrap();
            assert!(answers.iter().all(|(real, _)| *real == found.real), "{answers:?}");
            assert_eq!(answers.iter().filter(|(_, inserted)| *inserted).count(), 1, "{answers:?}");
        });
    }
}

fn a_packet_keeps_its_client(client: ClientKey) {
    check(3, move || {
        let (table, mut seats) = clients(2);
        let mut owner = seats.remove(0);
        let mut seat = seats.remove(0);
        table.get_or_insert(&client_probe(&table, client), client_real(1), 1).unwrap();
        let other = Arc::clone(&table);
        let thread = thread::spawn(move || {
            let hit = other.lookup(&client_probe(&other, client), 20);
            other.quiescent(&mut seat);
            (hit, seat)
        });
        let mut freed = 0;
        for _ in 0..2 {
            freed += client_sweep(&table, &mut owner, 20);
        }
        let (hit, mut seat) = thread.join().unwrap();
        for _ in 0..3 {
            table.quiescent(&mut seat);
            freed += client_sweep(&table, &mut owner, 20);
        }
        // Asked without touching its age: what is listed is bound.
        let mut listed = 0;
        let mut cursor = Some(Default::default());
        while let Some(from) = cursor {
            cursor = table.iterate(0, from, 3, |_, _, _, _| listed += 1);
        }
        match hit {
            Some(hit) => assert_eq!((hit.real, freed, listed), (client_real(1), 0, 1)),
            None => assert_eq!((freed, listed), (1, 0)),
        }
    });
}

#[test]
fn a_packet_that_found_its_dense_client_keeps_it_from_being_freed() {
    a_packet_keeps_its_client(ClientKey::V4(7));
}

#[test]
fn a_packet_that_found_its_wide_client_keeps_it_from_being_freed() {
    a_packet_keeps_its_client(ClientKey::V6(7));
}
