//! The template table against a plain map that knows the rules: any sequence of operations, any
//! passing of time, the same answers.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::ids::{RealId, ScopeId};
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::timer::{TimerRule, fires};

/// A template as the map knows it.
#[derive(Clone, Copy, Debug)]
struct Life {
    key: TemplateKey,
    handle: Handle,
    real: RealId,
    timeout_s: u32,
    expires: Tick,
    connections: u32,
    extended: bool,
    assured: bool,
    invalid: bool,
    over: bool,
}

impl Life {
    fn restart(&mut self, rule: TimerRule, now: Tick) {
        let period_s = if self.extended { 60 } else { self.timeout_s };
        self.expires = rounded(rule, now.plus_secs(period_s));
    }

    /// Lets the timer fire as often as it has by `now`.
    fn settle(&mut self, rule: TimerRule, now: Tick) {
        while !self.over {
            let period_s = if self.extended { 60 } else { self.timeout_s };
            let fired = fires(rule, self.expires, period_s * TICKS_PER_SECOND);
            if !fired.has_come(now) {
                return;
            }
            self.over = self.connections == 0;
            if !self.over {
                self.extended = true;
                self.expires = rounded(rule, fired.plus_secs(60));
            }
        }
    }
}

/// Expiries are kept to 8 ticks.
fn rounded(rule: TimerRule, expires: Tick) -> Tick {
    match rule {
        TimerRule::Exact => Tick(expires.0.div_ceil(8).wrapping_mul(8)),
        TimerRule::KernelWheel => Tick(expires.0 / 8 * 8),
    }
}

/// The table, the map, and both cores' connections.
struct World {
    rule: TimerRule,
    table: Arc<TemplateTable>,
    seats: Vec<Seat>,
    now: Tick,
    lives: Vec<Life>,
    current: HashMap<TemplateKey, usize>,
    /// (life, core)
    connections: Vec<(usize, usize)>,
    inserted: HashMap<(TemplateKey, RealId), i64>,
}

const TIMEOUTS_S: [u32; 4] = [1, 5, 61, 360];

impl World {
    fn new(rule: TimerRule, start: u32) -> Self {
        let sizes = Sizes { shards: 2, entries_v4: 2000, entries_v6: 2000 };
        let (table, seats) = TemplateTable::new(sizes, rule, [3, 4]);
        for (index, seconds) in (0..).zip(TIMEOUTS_S) {
            table.set_timeout(index, seconds);
        }
        let (lives, current, connections) = (Vec::new(), HashMap::new(), Vec::new());
        let now = Tick(start);
        Self { rule, table, seats, now, lives, current, connections, inserted: HashMap::new() }
    }

    fn key(number: u8) -> TemplateKey {
        let scope = ScopeId(u32::from(number % 2));
        let number = u32::from(number / 2 % 16);
        let client = match number.is_multiple_of(2) {
            true => ClientKey::V4(number),
            false => ClientKey::V6(u128::from(number) << (64 * (number / 2 % 2))),
        };
        TemplateKey { scope, client }
    }

    /// The life that the key's template should have now.
    fn expected(&mut self, key: TemplateKey) -> Option<usize> {
        let id = *self.current.get(&key)?;
        self.lives[id].settle(self.rule, self.now);
        (!self.lives[id].over && !self.lives[id].invalid).then_some(id)
    }

    fn compare(&self, id: usize, view: View) {
        let life = &self.lives[id];
        let expected = View {
            handle: life.handle,
            real: life.real,
            expires: life.expires,
            timeout_index: view.timeout_index,
            connections: life.connections,
            assured: life.assured,
            extended: life.extended,
            invalid: life.invalid,
        };
        assert_eq!(view, expected);
        assert_eq!(TIMEOUTS_S[usize::from(view.timeout_index)], life.timeout_s);
    }

    fn get(&mut self, key: TemplateKey) -> Option<usize> {
        let id = self.expected(key);
        let view = self.table.get(&self.table.probe(key), self.now);
        assert_eq!(view.is_some(), id.is_some(), "{key:?} at {:?}", self.now);
        if let (Some(id), Some(view)) = (id, view) {
            self.compare(id, view);
        }
        id
    }

    fn insert(&mut self, key: TemplateKey, argument: u16) {
        let expected = self.expected(key);
        let (real, timeout_index) = (RealId(u32::from(argument) + 1), (argument % 4) as u8);
        let first = Candidate { real, timeout_index };
        match self.table.get_or_insert(&self.table.probe(key), first, self.now) {
            // Invalid templates of the key may fill its window.
            Err(Full) => assert_eq!(expected, None),
            Ok(Outcome::Found(view)) => self.compare(expected.unwrap(), view),
            Ok(Outcome::Inserted(view)) => {
                assert_eq!(expected, None);
                let timeout_s = TIMEOUTS_S[usize::from(timeout_index)];
                let mut life = Life {
                    key,
                    handle: view.handle,
                    real,
                    timeout_s,
                    expires: self.now,
                    connections: 0,
                    extended: false,
                    assured: false,
                    invalid: false,
                    over: false,
                };
                life.restart(self.rule, self.now);
                self.lives.push(life);
                self.current.insert(key, self.lives.len() - 1);
                *self.inserted.entry((key, real)).or_default() += 1;
                self.compare(self.lives.len() - 1, view);
            }
        }
    }

    /// A new connection (or, without one, a hit) through the key's template.
    fn hit(&mut self, key: TemplateKey, argument: u16, connect: bool) {
        let Some(id) = self.get(key) else { return };
        let renewal = if argument.is_multiple_of(5) { Renewal::Full } else { Renewal::AsKernel };
        let (life, core) = (&mut self.lives[id], usize::from(argument % 2));
        life.extended &= renewal == Renewal::AsKernel;
        life.restart(self.rule, self.now);
        let (handle, real) = (life.handle, life.real);
        let view = if connect {
            life.connections += 1;
            self.connections.push((id, core));
            self.table.attach(handle, real, renewal, self.now, &mut self.seats[core])
        } else {
            self.table.touch(handle, real, renewal, self.now)
        };
        self.compare(id, view.unwrap());
        let other = RealId(real.0 + 1);
        assert_eq!(self.table.touch(handle, other, renewal, self.now), Err(Gone));
    }

    fn release(&mut self, argument: u16) {
        if self.connections.is_empty() {
            return;
        }
        let index = usize::from(argument) % self.connections.len();
        let (id, core) = self.connections.swap_remove(index);
        self.lives[id].settle(self.rule, self.now);
        self.lives[id].connections -= 1;
        self.table.release(self.lives[id].handle, self.now, &mut self.seats[core]);
    }

    fn mark(&mut self, key: TemplateKey, what: u8) {
        let Some(id) = self.get(key) else { return };
        let life = &mut self.lives[id];
        match what {
            0 => {
                life.assured = true;
                self.table.assure(life.handle);
            }
            1 => {
                life.invalid = true;
                assert!(self.table.invalidate(life.handle));
                assert!(!self.table.invalidate(life.handle));
            }
            _ => {
                life.over = life.connections == 0;
                if !life.over {
                    life.extended = true;
                    life.expires = rounded(self.rule, self.now.plus_secs(60));
                }
                assert!(self.table.expire(life.handle, self.now));
            }
        }
    }

    fn sweep(&mut self, budget: usize) {
        for seat in &mut self.seats {
            self.table.quiescent(seat);
            let inserted = &mut self.inserted;
            self.table.sweep(seat, self.now, budget, |event| {
                if let Swept::Freed { key, real, .. } = event {
                    *inserted.get_mut(&(key, real)).unwrap() -= 1;
                }
            });
        }
    }

    /// Every living template is listed once, with what the map says of it; nothing else is.
    fn list(&mut self) {
        let mut expected = HashMap::new();
        for (id, life) in self.lives.iter_mut().enumerate() {
            life.settle(self.rule, self.now);
            if !life.over {
                expected.insert(life.handle, id);
            }
        }
        let mut listed = Vec::new();
        for shard in 0..2 {
            let mut cursor = Some(Cursor::default());
            while let Some(from) = cursor {
                let each = |key, view| listed.push((key, view));
                cursor = self.table.iterate(shard, from, self.now, 100, each);
            }
        }
        assert_eq!(listed.len(), expected.len());
        for (key, view) in listed {
            let id = expected.remove(&view.handle).unwrap();
            assert_eq!(self.lives[id].key, key);
            self.compare(id, view);
        }
    }

    fn step(&mut self, (what, number, argument): (u8, u8, u16)) {
        let key = Self::key(number);
        match what {
            0..30 => drop(self.get(key)),
            30..60 => self.insert(key, argument),
            60..100 => self.hit(key, argument, true),
            100..110 => self.hit(key, argument, false),
            110..150 => self.release(argument),
            150..155 => self.mark(key, 0),
            155..160 => self.mark(key, 1),
            160..163 => self.mark(key, 2),
            163..190 => self.now = self.now.plus(u32::from(argument) % 40),
            190..207 => self.now = self.now.plus(u32::from(argument) % 2000),
            207..209 => self.now = self.now.plus(u32::from(argument) * 3),
            209..255 => self.sweep(400),
            255 => self.list(),
        }
    }

    /// Ends everything; every binding must then have been freed once.
    fn end(&mut self) {
        self.list();
        while !self.connections.is_empty() {
            self.release(0);
        }
        self.now = self.now.plus_secs(1000);
        for _ in 0..8 {
            self.sweep(4000);
        }
        assert!(self.inserted.values().all(|balance| *balance == 0), "{:?}", self.inserted);
        let stats = self.table.stats();
        assert_eq!((stats.entries, stats.inserted), (0, self.lives.len() as u64));
        assert!(stats.full <= stats.inserted / 10, "{stats:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    /// About 256 x 4,500 operations.
    #[test]
    fn the_table_answers_as_a_plain_map_with_timers_does(
        wheel in any::<bool>(),
        start in prop_oneof![Just(1000), Just(u32::MAX - 200_000), Just((1 << 31) - 100_000)],
        steps in prop::collection::vec(any::<(u8, u8, u16)>(), 4_000..5_000),
    ) {
        let rule = if wheel { TimerRule::KernelWheel } else { TimerRule::Exact };
        let mut world = World::new(rule, start);
        steps.into_iter().for_each(|step| world.step(step));
        world.end();
    }
}

#[test]
fn a_table_of_its_nominal_size_has_room_for_all_but_a_few() {
    let sizes = Sizes { shards: 4, entries_v4: 100_000, entries_v6: 20_000 };
    let (table, _seats) = TemplateTable::new(sizes, TimerRule::Exact, [3, 4]);
    let insert = |client| {
        let probe = table.probe(TemplateKey { scope: ScopeId(1), client });
        let first = Candidate { real: RealId(1), timeout_index: 0 };
        let _ = table.get_or_insert(&probe, first, Tick(0));
    };
    (0..100_000).map(ClientKey::V4).for_each(insert);
    let full_v4 = table.stats().full;
    (0..20_000).map(ClientKey::V6).for_each(insert);
    let full_v6 = table.stats().full - full_v4;
    assert!(full_v4 <= 10 && full_v6 <= 5, "no room for {full_v4} IPv4, {full_v6} IPv6");
}

#[test]
fn a_table_grows_and_keeps_what_it_had() {
    let sizes = Sizes { shards: 1, entries_v4: 10, entries_v6: 10 };
    let (table, mut seats) = TemplateTable::new(sizes, TimerRule::Exact, [3, 4]);
    let seat = &mut seats[0];
    let clients = |n: u32| [ClientKey::V4(n), ClientKey::V6(u128::from(n))];
    let mut bound = HashMap::new();
    for n in 0..3000 {
        if n % 400 == 399 {
            assert_eq!(table.grow(1000, 1000), Ok(()));
            assert_eq!(table.grow(1000, 1000), Err(GrowError::Growing));
            table.quiescent(seat);
        }
        for client in clients(n) {
            let key = TemplateKey { scope: ScopeId(1), client };
            let first = Candidate { real: RealId(n + 1), timeout_index: 0 };
            if let Ok(outcome) = table.get_or_insert(&table.probe(key), first, Tick(0)) {
                assert!(matches!(outcome, Outcome::Inserted(_)));
                bound.insert(key, outcome.view().handle);
            }
        }
        table.quiescent(seat);
        table.sweep(seat, Tick(0), 1, |_| {});
    }
    assert_eq!(table.grow(1, 1), Err(GrowError::Exhausted));
    assert!(bound.len() > 5000, "{} found room", bound.len());
    for (key, handle) in &bound {
        assert_eq!(table.get(&table.probe(*key), Tick(0)).map(|view| view.handle), Some(*handle));
    }
    assert_eq!(table.stats().entries, bound.len() as u64);
}

#[test]
fn keys_that_differ_only_in_scope_family_or_a_half_of_the_address_are_different() {
    let sizes = Sizes { shards: 1, entries_v4: 100, entries_v6: 100 };
    let (table, _seats) = TemplateTable::new(sizes, TimerRule::Exact, [3, 4]);
    let clients = [0, 1, u128::MAX, 1 << 64, 1 | 1 << 64, u128::from(u64::MAX)];
    let mut keys: Vec<_> = clients.into_iter().map(ClientKey::V6).collect();
    keys.extend([ClientKey::V4(0), ClientKey::V4(1), ClientKey::V4(u32::MAX)]);
    let keys: Vec<_> = keys
        .into_iter()
        .flat_map(|client| {
            [0, 1, ScopeId::LIMIT - 1].map(|n| TemplateKey { scope: ScopeId(n), client })
        })
        .collect();
    for (real, key) in (1..).map(RealId).zip(&keys) {
        let first = Candidate { real, timeout_index: 255 };
        let outcome = table.get_or_insert(&table.probe(*key), first, Tick(0));
        assert!(matches!(outcome, Ok(Outcome::Inserted(_))), "{key:?}: {outcome:?}");
    }
    let mut listed = Vec::new();
    let mut cursor = Some(Cursor::default());
    while let Some(from) = cursor {
        cursor = table.iterate(0, from, Tick(0), 7, |key, view| listed.push((view.real, key)));
    }
    listed.sort();
    let expected: Vec<_> = (1..).map(RealId).zip(keys).collect();
    assert_eq!(listed, expected);
}

#[test]
fn a_handle_that_names_no_slot_is_gone() {
    let sizes = Sizes { shards: 1, entries_v4: 1, entries_v6: 1 };
    let (table, mut seats) = TemplateTable::new(sizes, TimerRule::Exact, [3, 4]);
    for bits in [0, 8, 1 << 28, 1 << 31, u32::MAX] {
        let handle = Handle::from_bits(bits);
        assert_eq!(handle.to_bits(), bits);
        let touched = table.touch(handle, RealId(1), Renewal::AsKernel, Tick(0));
        assert_eq!(touched, Err(Gone));
        assert!(!table.invalidate(handle) && !table.expire(handle, Tick(0)));
        table.assure(handle);
    }
    table.sweep(&mut seats[0], Tick(0), 100, |event| panic!("{event:?}"));
}

#[test]
fn a_template_ends_with_its_last_connection_even_if_that_is_noticed_after_it_fired() {
    for client in [ClientKey::V4(7), ClientKey::V6(7)] {
        let sizes = Sizes { shards: 1, entries_v4: 100, entries_v6: 100 };
        let (table, mut seats) = TemplateTable::new(sizes, TimerRule::Exact, [3, 4]);
        table.set_timeout(1, 5);
        let seat = &mut seats[0];
        let probe = table.probe(TemplateKey { scope: ScopeId(1), client });
        let bind = |now: Tick, seat: &mut Seat| {
            let first = Candidate { real: RealId(3), timeout_index: 1 };
            let handle = table.get_or_insert(&probe, first, now).unwrap().view().handle;
            table.attach(handle, RealId(3), Renewal::AsKernel, now, seat).unwrap();
            handle
        };
        // The connection ends half a second before the template's five are over, and the sweep of
        // templates comes by before that of connections.
        let handle = bind(Tick(0), seat);
        let ended = Tick(9 * TICKS_PER_SECOND / 2);
        let noticed = Tick(6 * TICKS_PER_SECOND);
        table.sweep(seat, noticed, 1000, |event| panic!("{event:?}"));
        table.release(handle, ended, seat);
        assert_eq!(table.get(&probe, noticed), None);
        // One that is still there keeps it for another minute, whenever the sweep comes by.
        bind(Tick::from_secs(10), seat);
        let mut extended = 0;
        table.sweep(seat, Tick::from_secs(18), 1000, |event| {
            extended += u32::from(matches!(event, Swept::Extended { .. }));
        });
        assert_eq!(extended, 1);
        let view = table.get(&probe, Tick::from_secs(18)).unwrap();
        assert!(view.extended);
        assert_eq!(view.expires, rounded(TimerRule::Exact, Tick::from_secs(75)));
    }
}
