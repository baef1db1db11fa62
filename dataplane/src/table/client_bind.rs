//! The clients of a burst that were not found: bound one after the other, now that their lines
//! have come from memory.

use super::client::ClientTable;
use super::client_burst::ClientBurst;
use super::client_dense::{Dense, Room};
use super::client_view::{Bound, ServiceReal};
use super::counters::Counters;
use super::line::Line;
use super::segments::pair_of;
use crate::cpu::Tier;

/// Where a client of a burst is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundAt {
    /// Its real server.
    pub real: ServiceReal,
    /// Whether this call made the binding: to be counted once.
    pub by_this_call: bool,
}

/// A table with one core that has not grown: nobody else writes there, and what two looks and two
/// compare-and-swaps assure is so after one look and one store.
#[derive(Clone, Copy)]
pub(crate) struct SoleClients<'a> {
    row: &'a Dense,
    buckets: usize,
    counters: &'a Counters,
    tier: Tier,
}

impl SoleClients<'_> {
    /// As [`ClientTable::bind_at`].
    #[inline(always)]
    pub(crate) fn bind_at(
        &self,
        burst: &ClientBurst,
        at: usize,
        age_now: u8,
        pick: impl FnOnce() -> Option<ServiceReal>,
    ) -> Option<BoundAt> {
        let (name, hash) = burst.wanted(at)?;
        let buckets = pair_of(self.buckets, &hash, 0);
        match self.row.room_in(buckets, name, self.tier) {
            Room::Vacant(place) => {
                let real = pick()?;
                self.row.take(place, name, real, age_now);
                self.counters.inserted_alone();
                Some(BoundAt { real, by_this_call: true })
            }
            Room::Taken => self.bound_at(buckets, name, age_now),
            Room::Full => None,
        }
    }

    /// The same of a client that stands there.
    #[inline(never)]
    fn bound_at(&self, buckets: [usize; 2], name: u64, age_now: u8) -> Option<BoundAt> {
        let bound = |bucket| self.row.bound_in(bucket, name, age_now, Line::first_candidate);
        let [first, second] = buckets.map(bound);
        let real = ServiceReal::new((first | second) as u16)?;
        Some(BoundAt { real, by_this_call: false })
    }
}

impl ClientTable {
    /// The table, if only one core has it and it has not grown.
    #[inline]
    pub(crate) fn sole(&self) -> Option<SoleClients<'_>> {
        if self.v4.shards() > 1 || self.v4.announced() > 1 {
            return None;
        }
        let row = self.v4.row(0)?;
        let (buckets, counters) = (self.v4.per_shard(row), &self.counters);
        Some(SoleClients { row, buckets, counters, tier: self.tier })
    }

    /// The real server of the client at a place of a burst that was looked up; the picked one if
    /// it has none. `None` where [`Self::get_or_insert`] is to be asked, and nobody was picked
    /// for it; or where nobody could be picked.
    #[inline(always)]
    pub fn bind_at(
        &self,
        burst: &ClientBurst,
        at: usize,
        age_now: u8,
        pick: impl FnOnce() -> Option<ServiceReal>,
    ) -> Option<BoundAt> {
        match self.sole() {
            Some(sole) => sole.bind_at(burst, at, age_now, pick),
            None => self.bind_among_cores(burst, at, age_now, pick),
        }
    }

    #[inline(never)]
    fn bind_among_cores(
        &self,
        burst: &ClientBurst,
        at: usize,
        age_now: u8,
        pick: impl FnOnce() -> Option<ServiceReal>,
    ) -> Option<BoundAt> {
        let (_, probe) = self.probe_at(burst, at)?;
        let bound = match self.vacancy(&probe) {
            Some(vacancy) => self.get_or_insert_at(&probe, vacancy, pick()?, age_now).ok()?,
            None => Bound::Found(self.lookup(&probe, age_now)?),
        };
        let by_this_call = matches!(bound, Bound::Inserted(_));
        Some(BoundAt { real: bound.hit().real, by_this_call })
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::table::{ClientKey, ClientScope, Sizes};

    /// The clients of one burst after the other, found or bound one by one.
    fn ask(
        (table, scope): (&ClientTable, ClientScope),
        clients: impl Iterator<Item = u32>,
        fresh: u16,
    ) -> Vec<BoundAt> {
        let (mut burst, mut asked) = (ClientBurst::default(), Vec::new());
        for client in clients {
            burst.put(0, client, scope);
            burst.put(1, client, scope);
            table.aim(&mut burst, 2);
            table.find_first(&mut burst, 2, 7);
            table.find_strays(&mut burst, 7);
            let found = burst.found(1).next().and_then(ServiceReal::new);
            let pick = || ServiceReal::new(fresh);
            let bound = match found {
                Some(real) => Some(BoundAt { real, by_this_call: false }),
                None => table.bind_at(&burst, 1, 7, pick),
            };
            let probe = table.probe(scope, ClientKey::V4(client));
            assert_eq!(table.peek(&probe).map(|hit| hit.real), bound.map(|bound| bound.real));
            if bound.is_some() {
                assert_eq!(
                    table.bind_at(&burst, 0, 7, pick).map(|again| again.real),
                    bound.map(|b| b.real)
                );
            }
            asked.extend(bound);
        }
        asked
    }

    #[test]
    fn clients_are_bound_once_until_the_table_is_full_and_found_wherever_they_stand() {
        for shards in [1, 2] {
            let sizes = Sizes { shards, entries_v4: 2_000, entries_v6: 100 };
            let (table, _) = ClientTable::new(sizes, [1, 2]);
            let scope = ClientScope::new(3).unwrap();
            let bound = ask((&table, scope), 0..2_800, 5);
            assert!(bound.len() > 2_500 && bound.iter().all(|bound| bound.by_this_call));
            assert_eq!(table.stats().entries as usize, bound.len());
            let again = ask((&table, scope), 0..2_800, 6);
            let known = again.iter().filter(|bound| bound.real.number() == 5).count();
            assert_eq!(known, bound.len());
            assert!(again.iter().all(|bound| bound.by_this_call == (bound.real.number() == 6)));
        }
    }

    #[test]
    fn what_is_bound_by_other_calls_is_found_in_a_burst_as_well() {
        let sizes = Sizes { shards: 1, entries_v4: 2_000, entries_v6: 100 };
        let (table, _) = ClientTable::new(sizes, [1, 2]);
        let scope = ClientScope::new(3).unwrap();
        for client in 0..2_000 {
            let probe = table.probe(scope, ClientKey::V4(client));
            let real = ServiceReal::new(4).unwrap();
            let bound = match (client % 2, table.vacancy(&probe)) {
                (0, Some(vacancy)) => table.get_or_insert_at(&probe, vacancy, real, 7),
                _ => table.get_or_insert(&probe, real, 7),
            };
            assert!(bound.is_ok());
        }
        let found = ask((&table, scope), 0..2_000, 6);
        assert!(found.iter().all(|bound| !bound.by_this_call && bound.real.number() == 4));
    }
}
