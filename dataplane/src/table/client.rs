//! The client table: (scope, client) -> real server alone, for services that keep no
//! connections (`tracking: client`). Every packet asks it, so it is as dense as can be: seven
//! IPv4 clients in one cache line.
//!
//! It keeps the template table's promise by the same protocol (`assign.rs`), and its memory is
//! used anew by the same rule (`grace.rs`). A client has no timer but a coarse age, in units
//! chosen by the caller, which a hit writes only if it differs.
//!
//! A client is freed no earlier than its timeout after its last packet, on whichever core that
//! was. The age is a byte beside the word that is compared and swapped, so the owner frees in
//! two steps: it *dooms* an aged client, waits for a grace period, and frees it only if nobody
//! has found it since. Whoever finds a doomed client writes its age and lifts the doom; whoever
//! had read the word before it was doomed has written the age before the grace period ended, and
//! the owner sees that.

use std::cell::Cell;
use std::sync::Arc;

use super::assign::{Assigned, NoHole, assign, assign_at};
use super::client_dense::{self, Dense, DenseWindow};
use super::client_slots::{DoomSweeper, list};
use super::client_view::{Bound, ClientScope, Freed, Hit, Rebound, ServiceReal, Vacancy};
use super::client_wide::{Veil, Wide, WideWindow};
use super::counters::{Counters, Stats};
use super::grace::Grace;
use super::hash::Hasher;
use super::key::{ClientKey, Probe, TemplateKey};
use super::segments::{Segments, hash_of, shard_of};
use super::template::{Cursor, GrowError, Sizes};
use super::value::Value;
use super::view::Full;
use crate::cpu::Tier;
use crate::ids::ScopeId;
use crate::wire::Family;

/// How far cores' clocks may be apart, in age units: an age that much ahead is fresh.
const AHEAD: u8 = 8;
/// The longest timeout, in age units.
pub const MAX_TIMEOUT_AGES: u8 = u8::MAX - AHEAD;

/// Whether an age is over. Ages wrap, so an owner must go round its shard at least once while
/// ages count from the longest timeout to 255; a client that is missed lives another round.
pub(super) fn aged(age: u8, age_now: u8, timeout: u8) -> bool {
    let past = age_now.wrapping_sub(age);
    past > timeout && past <= MAX_TIMEOUT_AGES
}

/// One core's seat at the client table; see [`Seat`](super::Seat).
pub struct ClientSeat {
    core: usize,
    seen: u64,
    v4: DoomSweeper,
    v6: DoomSweeper,
}

impl ClientSeat {
    /// The core's number, which is its shard's.
    pub fn core(&self) -> u32 {
        self.core as u32
    }
}

/// The table. Shared by all cores behind an `Arc`.
pub struct ClientTable {
    shards: usize,
    pub(super) hasher: Hasher,
    pub(super) tier: Tier,
    pub(super) v4: Segments<Dense>,
    pub(super) v6: Segments<Wide>,
    pub(super) veil: Veil,
    pub(super) grace: Grace,
    pub(super) counters: Counters,
}

impl ClientTable {
    /// A table and one seat for each of its cores. `key` must be secret and random. An IPv4
    /// client takes 16 bytes, an IPv6 one 32.
    pub fn new(sizes: Sizes, key: [u64; 2]) -> (Arc<Self>, Vec<ClientSeat>) {
        let shards = sizes.shards.clamp(1, Value::MAX_CORES) as usize;
        let hasher = Hasher::new(key);
        let table = Self {
            shards,
            hasher,
            tier: Tier::best(),
            veil: Veil::new(&hasher),
            v4: Segments::new(shards, sizes.entries_v4),
            v6: Segments::new(shards, sizes.entries_v6),
            grace: Grace::new(shards),
            counters: Counters::new(shards),
        };
        let seat = |core| ClientSeat {
            core,
            seen: 0,
            v4: DoomSweeper::new(core),
            v6: DoomSweeper::new(core),
        };
        (Arc::new(table), (0..shards).map(seat).collect())
    }

    /// The key with its hash and the shard that the hash chooses.
    #[inline]
    pub fn probe(&self, scope: ClientScope, client: ClientKey) -> Probe {
        let key = TemplateKey { scope: ScopeId(u32::from(scope.number())), client };
        let hash = match client {
            ClientKey::V4(client) => {
                self.hasher.hash_word(client_dense::name(client, scope.number()))
            }
            ClientKey::V6(_) => hash_of(&self.hasher, &key),
        };
        Probe { key, hash, shard: shard_of(hash, self.shards) }
    }

    /// The key with its hash, in the shard of the core to which the NIC steers this client. For
    /// one key the shard must always be the same, on all cores and for the table's lifetime.
    #[inline]
    pub fn probe_in(&self, shard: u32, scope: ClientScope, client: ClientKey) -> Probe {
        Probe { shard: shard.min(self.shards as u32 - 1), ..self.probe(scope, client) }
    }

    /// Requests the client's cache lines.
    #[inline]
    pub fn prefetch(&self, probe: &Probe) {
        match probe.key.client {
            ClientKey::V4(_) => self.v4.prefetch(probe),
            ClientKey::V6(_) => self.v6.prefetch(probe),
        }
    }

    /// The client's real server. Sets its age to `age_now`, if it is another.
    #[inline]
    pub fn lookup(&self, probe: &Probe, age_now: u8) -> Option<Hit> {
        match probe.key.client {
            ClientKey::V4(_) => self.lookup_dense(probe, age_now),
            ClientKey::V6(_) => self.lookup_wide(probe, age_now),
        }
    }

    /// The client's real server; leaves its age as it is.
    pub fn peek(&self, probe: &Probe) -> Option<Hit> {
        match probe.key.client {
            ClientKey::V4(_) => self.peek_dense(probe),
            ClientKey::V6(_) => self.peek_wide(probe),
        }
    }

    /// The client's real server, `real` if it has none. However many cores ask at once, exactly
    /// one gets [`Bound::Inserted`] and all get the same real server.
    pub fn get_or_insert(
        &self,
        probe: &Probe,
        real: ServiceReal,
        age_now: u8,
    ) -> Result<Bound, Full> {
        let assigned = match probe.key.client {
            ClientKey::V4(_) => assign(&DenseWindow::new(&self.v4, probe, real, age_now)),
            ClientKey::V6(_) => WideWindow::new(&self.v6, self.veil, probe, real, age_now)
                .map_or(Err(NoHole), |window| assign(&window)),
        };
        self.bound(probe, assigned)
    }

    /// Where a client would go that is bound nowhere. None where it is, where there is no room,
    /// or where [`Self::get_or_insert`] knows alone.
    #[inline]
    pub fn vacancy(&self, probe: &Probe) -> Option<Vacancy> {
        match probe.key.client {
            ClientKey::V4(_) => DenseWindow::vacancy(&self.v4, probe),
            ClientKey::V6(_) => None,
        }
    }

    /// As [`Self::get_or_insert`], for a client that had this vacancy just now.
    pub fn get_or_insert_at(
        &self,
        probe: &Probe,
        vacancy: Vacancy,
        real: ServiceReal,
        age_now: u8,
    ) -> Result<Bound, Full> {
        let window = DenseWindow::new(&self.v4, probe, real, age_now);
        self.bound(probe, assign_at(&window, vacancy.hole))
    }

    fn bound(&self, probe: &Probe, assigned: Result<Assigned<Hit>, NoHole>) -> Result<Bound, Full> {
        match assigned {
            Ok(Assigned::Inserted(hit)) => {
                self.counters.inserted(probe.shard, probe.is_v6());
                Ok(Bound::Inserted(hit))
            }
            Ok(Assigned::Found(hit)) => Ok(Bound::Found(hit)),
            Err(NoHole) => {
                self.counters.full(probe.shard);
                Err(Full)
            }
        }
    }

    /// Binds a client that was found to another real server, because the old one is gone. The
    /// first to do so wins and the others get what it chose. None if the client was freed
    /// meanwhile: insert it.
    pub fn rebind(&self, probe: &Probe, hit: Hit, new: ServiceReal) -> Option<Rebound> {
        match probe.key.client {
            ClientKey::V4(_) => self.rebind_dense(probe, hit, new),
            ClientKey::V6(_) => self.rebind_wide(probe, hit, new),
        }
    }

    /// Tells the table that this core holds no [`Hit`] any more. Once per turn, between bursts.
    #[inline]
    pub fn quiescent(&self, seat: &mut ClientSeat) {
        self.grace.quiescent(seat.core, &mut seat.seen);
    }

    /// The core will not touch the table until it is `back`.
    pub fn away(&self, seat: &mut ClientSeat) {
        self.grace.away(seat.core);
    }

    /// The core uses the table again.
    pub fn back(&self, seat: &mut ClientSeat) {
        self.grace.back(seat.core, &mut seat.seen);
    }

    /// Walks the next `budget` buckets of each family in the core's own shard and frees clients
    /// whose age exceeds their scope's timeout (in age units, up to [`MAX_TIMEOUT_AGES`]).
    pub fn sweep(
        &self,
        seat: &mut ClientSeat,
        age_now: u8,
        budget: usize,
        timeout_of: impl Fn(ClientScope) -> u8,
        on_freed: impl FnMut(Freed),
    ) {
        self.sweep_each(seat, age_now, [budget; 2], timeout_of, on_freed);
    }

    /// [`Self::sweep`] of so many buckets of IPv4 and of IPv6.
    pub fn sweep_each(
        &self,
        seat: &mut ClientSeat,
        age_now: u8,
        [v4, v6]: [usize; 2],
        timeout_of: impl Fn(ClientScope) -> u8,
        mut on_freed: impl FnMut(Freed),
    ) {
        self.v4.open_if(|since| self.grace.over(since));
        self.v6.open_if(|since| self.grace.over(since));
        // Neighbours are mostly of one scope.
        let last = Cell::new((None, 0));
        let timeout_of = |scope| match last.get() {
            (Some(known), timeout) if known == scope => timeout,
            _ => {
                let timeout = timeout_of(scope);
                last.set((Some(scope), timeout));
                timeout
            }
        };
        let over = |scope, age| aged(age, age_now, timeout_of(scope));
        let around = (&self.grace, &self.counters);
        seat.v4.sweep(&self.v4, around, (v4, age_now), &over, &mut on_freed);
        seat.v6.sweep(&self.v6, around, (v6, age_now), &over, &mut |freed| {
            on_freed(Freed { client: self.veil.client(freed.client), ..freed });
        });
    }

    /// Lists up to `budget` buckets of a shard from `from` on: scope, client, real server and
    /// age. Returns where to go on; None at the end. For any thread at any time.
    pub fn iterate(
        &self,
        shard: u32,
        mut from: Cursor,
        budget: usize,
        mut each: impl FnMut(ClientScope, ClientKey, ServiceReal, u8),
    ) -> Option<Cursor> {
        let shard = shard as usize;
        if shard >= self.shards {
            return None;
        }
        if from.v6 {
            let mut each = |scope, client, real, age| {
                each(scope, self.veil.client(client), real, age);
            };
            return list(&self.v6, shard, &mut from, budget, &mut each).then_some(from);
        }
        if list(&self.v4, shard, &mut from, budget, &mut each) {
            return Some(from);
        }
        Some(Cursor { v6: true, ..Cursor::default() })
    }

    /// Adds room for so many clients more, without a stall: for the control thread, which pays
    /// for the memory. New clients may use it as soon as every core has been quiescent.
    pub fn grow(&self, more_v4: usize, more_v6: usize) -> Result<(), GrowError> {
        self.v4.open_if(|since| self.grace.over(since));
        self.v6.open_if(|since| self.grace.over(since));
        if self.v4.open() < self.v4.announced() || self.v6.open() < self.v6.announced() {
            return Err(GrowError::Growing);
        }
        let begin = || self.grace.begin();
        if more_v4 > 0 {
            self.v4.announce(more_v4, begin).ok_or(GrowError::Exhausted)?;
        }
        if more_v6 > 0 {
            self.v6.announce(more_v6, begin).ok_or(GrowError::Exhausted)?;
        }
        Ok(())
    }

    /// IPv4 and IPv6 buckets in all shards: what a round of sweeps goes through.
    pub fn buckets(&self) -> [usize; 2] {
        [self.v4.buckets(), self.v6.buckets()]
    }

    /// Bytes of the memory for a family's clients.
    pub fn bytes(&self, family: Family) -> usize {
        let (_, bytes) = match family {
            Family::V4 => self.v4.size(),
            Family::V6 => self.v6.size(),
        };
        bytes
    }

    /// Sizes and events so far.
    pub fn stats(&self) -> Stats {
        let (slots_v4, bytes_v4) = self.v4.size();
        let (slots_v6, bytes_v6) = self.v6.size();
        self.counters.stats(slots_v4 + slots_v6, [bytes_v4, bytes_v6])
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_over_after_its_timeout_and_fresh_if_another_core_is_ahead() {
        for now in 0..=u8::MAX {
            let at = |past: u8| now.wrapping_sub(past);
            assert!(!aged(now, now, 60));
            assert!(!aged(at(60), now, 60));
            assert!(aged(at(61), now, 60));
            assert!(aged(at(247), now, 60));
            assert!(!aged(now.wrapping_add(1), now, 60));
            assert!(!aged(now.wrapping_add(AHEAD), now, 60));
        }
    }

    #[test]
    fn a_new_client_is_bound_once_and_freed_after_its_timeout() {
        for client in [ClientKey::V4(0), ClientKey::V4(u32::MAX), ClientKey::V6(0), V6_CLIENT] {
            let sizes = Sizes { shards: 1, entries_v4: 100, entries_v6: 100 };
            let (table, mut seats) = ClientTable::new(sizes, [1, 2]);
            let seat = &mut seats[0];
            let scope = ClientScope::new(1).unwrap();
            let [one, two] = [1, ServiceReal::MAX].map(|n| ServiceReal::new(n).unwrap());
            let probe = table.probe(scope, client);
            assert_eq!(table.lookup(&probe, 9), None);
            let bound = table.get_or_insert(&probe, one, 9).unwrap();
            assert!(matches!(bound, Bound::Inserted(hit) if hit.real == one));
            assert_eq!(table.vacancy(&probe), None);
            let again = table.get_or_insert(&probe, two, 9).unwrap();
            assert!(matches!(again, Bound::Found(hit) if hit.real == one));
            let other = table.probe(ClientScope::new(2).unwrap(), client);
            assert_eq!(table.lookup(&other, 9), None);

            let hit = table.lookup(&probe, 20).unwrap();
            assert_eq!(table.rebind(&probe, hit, two).map(|rebound| rebound.hit.real), Some(two));
            assert_eq!(table.rebind(&probe, hit, one).map(|rebound| rebound.hit.real), Some(two));

            let mut freed = Vec::new();
            let mut turn = |age| {
                for _ in 0..4 {
                    table.quiescent(seat);
                    table.sweep(seat, age, 1000, |_| 10, |event| freed.push(event));
                }
                freed.len()
            };
            assert_eq!(turn(30), 0);
            assert_eq!(turn(31), 1);
            assert_eq!(turn(32), 1);
            assert_eq!(freed, [Freed { scope, client, real: two }]);
            assert_eq!(table.lookup(&probe, 32), None);
            assert_eq!(table.stats().entries, 0);
            assert_eq!(table.stats().inserted, 1);
        }
    }

    #[test]
    fn a_vacancy_is_taken_unless_somebody_was_faster() {
        for shards in [1, 2] {
            let sizes = Sizes { shards, entries_v4: 100, entries_v6: 100 };
            let (table, _) = ClientTable::new(sizes, [1, 2]);
            let scope = ClientScope::new(1).unwrap();
            let [one, two] = [1, 2].map(|n| ServiceReal::new(n).unwrap());
            for n in 0..60 {
                let probe = table.probe(scope, ClientKey::V4(n));
                let vacancy = table.vacancy(&probe).unwrap();
                if n % 2 == 0 {
                    assert!(table.get_or_insert(&probe, two, 3).is_ok());
                }
                let bound = table.get_or_insert_at(&probe, vacancy, one, 4).unwrap();
                assert_eq!(matches!(bound, Bound::Inserted(_)), n % 2 == 1);
                assert_eq!(table.lookup(&probe, 4), Some(bound.hit()));
                assert_eq!(table.vacancy(&probe), None);
            }
            assert_eq!(table.stats().entries, 60);
            assert_eq!(table.vacancy(&table.probe(scope, V6_CLIENT)), None);
        }
    }

    #[test]
    fn a_table_of_its_nominal_size_takes_16_and_32_bytes_a_client_and_has_room_for_all_but_a_few() {
        let (v4, v6) = (200_000u32, 200_000u32);
        for shards in [1, 3] {
            let sizes = Sizes { shards, entries_v4: v4 as usize, entries_v6: v6 as usize };
            let (table, _) = ClientTable::new(sizes, [1, 2]);
            let most = u64::from(v4) * 16 + u64::from(v6) * 32 + 10_000;
            assert!(table.stats().bytes as u64 <= most, "{:?}", table.stats());
            let scope = ClientScope::new(1).unwrap();
            let real = ServiceReal::new(2).unwrap();
            let address = |n: u32| 0x2001_0db8_u128 << 96 | u128::from(n / 7) << 64 | u128::from(n);
            let insert = |client| {
                let _ = table.get_or_insert(&table.probe(scope, client), real, 0);
            };
            (0..v4).map(ClientKey::V4).for_each(insert);
            let full_v4 = table.stats().full;
            (0..v6).map(|n| ClientKey::V6(address(n))).for_each(insert);
            let full_v6 = table.stats().full - full_v4;
            assert!(full_v4 <= 20 && full_v6 <= 5, "no room for {full_v4} and {full_v6}");
            let found =
                |n: &u32| table.peek(&table.probe(scope, ClientKey::V6(address(*n)))).is_some();
            assert_eq!((0..v6).filter(found).count() as u64, u64::from(v6) - full_v6);
        }
    }

    #[test]
    fn clients_that_share_a_scope_or_a_half_are_different_and_one_of_the_secret_finds_no_room() {
        let sizes = Sizes { shards: 2, entries_v4: 4, entries_v6: 200 };
        let (table, _) = ClientTable::new(sizes, [1, 2]);
        let halves = [0, 1, 1 << 63, u64::MAX];
        let clients = halves.into_iter().flat_map(|high| {
            halves.map(|low| ClientKey::V6(u128::from(high) << 64 | u128::from(low)))
        });
        let scopes = [1, 2, u16::MAX].map(|n| ClientScope::new(n).unwrap());
        let keys: Vec<_> = clients.flat_map(|client| scopes.map(|scope| (scope, client))).collect();
        for (number, (scope, client)) in (2..).zip(&keys) {
            let (probe, real) = (table.probe(*scope, *client), ServiceReal::new(number).unwrap());
            let bound = table.get_or_insert(&probe, real, number as u8).unwrap();
            assert!(matches!(bound, Bound::Inserted(hit) if hit.real == real));
        }
        let mut listed = Vec::new();
        for shard in 0..2 {
            let mut cursor = Some(Cursor::default());
            while let Some(from) = cursor {
                cursor = table.iterate(shard, from, 3, |scope, client, real, age| {
                    assert_eq!(u16::from(age), real.number());
                    listed.push((real.number(), (scope, client)));
                });
            }
        }
        listed.sort_unstable();
        assert_eq!(listed, (2..).zip(keys).collect::<Vec<_>>());

        for address in [0, 1, 1 << 64] {
            let veiled = table.veil.client(ClientKey::V6(address));
            let probe = table.probe(scopes[0], veiled);
            let bound = table.get_or_insert(&probe, ServiceReal::new(9).unwrap(), 0);
            assert_eq!(bound, Err(Full));
            assert_eq!((table.lookup(&probe, 0), table.peek(&probe)), (None, None));
        }
    }

    const V6_CLIENT: ClientKey = ClientKey::V6(0x2001_0db8 << 96);
}
