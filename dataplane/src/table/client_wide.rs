//! The client table's IPv6 layout: the template's slots of 32 bytes, with real server and age in
//! the value word.

use super::assign::{Seen, Window};
use super::cells::{Cells, Row, V6, Whose};
use super::client::{ClientScope, ClientTable, Freed, Hit, Rebound, ServiceReal};
use super::key::{ClientKey, Handle, Probe, TemplateKey};
use super::seat::Sweeper;
use super::segments::{Places, Segments};
use super::sync::{AtomicU64, Ordering};
use super::template::Cursor;

/// A value word: dead 1, queued for reclaiming 1 | age 8 | real server 16. 0 is tentative in a
/// claimed slot.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Word(u64);

const AGE_SHIFT: u32 = 16;
const AGE: u64 = 0xff << AGE_SHIFT;
const QUEUED: u64 = 1 << 62;
const DEAD: u64 = 1 << 63;

impl Word {
    fn new(real: ServiceReal, age: u8) -> Self {
        Self(u64::from(real.number())).with_age(age)
    }

    /// None if the word is empty or dead.
    fn real(self) -> Option<ServiceReal> {
        ServiceReal::new(self.0 as u16).filter(|_| self.0 & DEAD == 0)
    }

    fn age(self) -> u8 {
        (self.0 >> AGE_SHIFT) as u8
    }

    fn with_age(self, age: u8) -> Self {
        Self(self.0 & !AGE | u64::from(age) << AGE_SHIFT)
    }
}

/// Changes the word of a bound client, `change` being asked again if another core was faster.
/// None if the client is not bound.
fn update(word: &AtomicU64, mut change: impl FnMut(Word, ServiceReal) -> Word) -> Option<Word> {
    let mut before = Word(word.load(Ordering::Acquire));
    loop {
        let after = change(before, before.real()?);
        if after == before {
            return Some(after);
        }
        match word.compare_exchange(before.0, after.0, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(after),
            Err(newer) => before = Word(newer),
        }
    }
}

fn hit(word: &AtomicU64, slot: Handle, age_now: u8) -> Option<Hit> {
    let real = update(word, |word, _| word.with_age(age_now))?.real()?;
    Some(Hit { real, slot })
}

/// The slots where one client may stand.
pub(super) struct WideWindow<'a> {
    segments: &'a Segments<V6>,
    places: Places,
    name: <V6 as Cells>::Name,
    real: ServiceReal,
    age_now: u8,
}

impl<'a> WideWindow<'a> {
    pub(super) fn new(
        segments: &'a Segments<V6>,
        probe: &Probe,
        real: ServiceReal,
        age_now: u8,
    ) -> Self {
        let (places, name) = (segments.places(probe), V6::name(probe));
        Self { segments, places, name, real, age_now }
    }

    fn slot(&self, at: usize) -> Option<(&'a V6, usize, Handle, bool)> {
        self.segments.slot(&self.places, at)
    }

    /// Gives a tentative slot its value.
    fn settle_empty(&self, at: usize, value: u64) -> Option<Handle> {
        let (row, place, slot, _) = self.slot(at)?;
        row.value(place).compare_exchange(0, value, Ordering::AcqRel, Ordering::Acquire).ok()?;
        Some(slot)
    }
}

impl Window for WideWindow<'_> {
    type Bound = Hit;
    const WAYS: usize = V6::WAYS;
    const FIRST_IF_FREE: usize = 2;

    fn slots(&self) -> usize {
        self.places.buckets() * V6::WAYS
    }

    fn look(&self, at: usize) -> Seen<Hit> {
        let Some((row, place, slot, open)) = self.slot(at) else { return Seen::Other };
        let word = row.value(place);
        match row.settle_whole(place, self.name) {
            (Whose::Free, claimable) if claimable && open => Seen::Free,
            (Whose::Free | Whose::Other, _) => Seen::Other,
            (Whose::This, _) if word.load(Ordering::Acquire) == 0 => Seen::Tentative,
            // Never empty again, so no hit means dead.
            (Whose::This, _) => hit(word, slot, self.age_now).map_or(Seen::Dead, Seen::Bound),
        }
    }

    fn claim(&self, at: usize) -> bool {
        self.slot(at).is_some_and(|(row, place, ..)| row.claim(place, self.name, 0))
    }

    fn abandon(&self, at: usize) -> bool {
        self.settle_empty(at, DEAD).is_some()
    }

    fn publish(&self, at: usize) -> Option<Hit> {
        let slot = self.settle_empty(at, Word::new(self.real, self.age_now).0)?;
        Some(Hit { real: self.real, slot })
    }
}

/// The key's scope, which was made from a `ClientScope`.
fn scope_of(key: TemplateKey) -> Option<ClientScope> {
    ClientScope::new(key.scope.0 as u16)
}

impl ClientTable {
    pub(super) fn lookup_wide(&self, probe: &Probe, age_now: u8) -> Option<Hit> {
        self.find_wide(probe, |word, slot| hit(word, slot, age_now))
    }

    pub(super) fn peek_wide(&self, probe: &Probe) -> Option<Hit> {
        self.find_wide(probe, |word, slot| {
            let real = Word(word.load(Ordering::Acquire)).real()?;
            Some(Hit { real, slot })
        })
    }

    #[inline(always)]
    fn find_wide(
        &self,
        probe: &Probe,
        hit: impl Fn(&AtomicU64, Handle) -> Option<Hit>,
    ) -> Option<Hit> {
        let name = V6::name(probe);
        for segment in (0..self.v6.announced()).rev() {
            let Some(row) = self.v6.row(segment) else { continue };
            for at in self.v6.pair(row, segment, probe) {
                for place in at.bucket * V6::WAYS..(at.bucket + 1) * V6::WAYS {
                    if !row.is_of(place, name) {
                        continue;
                    }
                    if let Some(hit) = hit(row.value(place), V6::handle(segment, place)) {
                        return Some(hit);
                    }
                }
            }
        }
        None
    }

    pub(super) fn rebind_wide(&self, hit: Hit, new: ServiceReal) -> Option<Rebound> {
        let mut by_this_call = false;
        let (row, place) = self.v6.find(hit.slot)?;
        let after = update(row.value(place), |word, real| {
            by_this_call = real == hit.real;
            if by_this_call { Word::new(new, word.age()) } else { word }
        })?;
        Some(Rebound { hit: Hit { real: after.real()?, ..hit }, by_this_call })
    }

    pub(super) fn sweep_wide(
        &self,
        rounds: &mut Sweeper,
        budget: usize,
        over: &impl Fn(ClientScope, u8) -> bool,
        on_freed: &mut impl FnMut(Freed),
    ) {
        rounds.limbo.reclaim(&self.grace, budget.saturating_mul(V6::WAYS), |bits| {
            if let Some((row, place)) = self.v6.find(Handle::from_bits(bits)) {
                row.clear(place);
            }
        });
        for _ in 0..budget {
            let at = (&mut rounds.segment, &mut rounds.bucket);
            let Some((row, segment, bucket)) = self.v6.next_bucket(rounds.shard as usize, at)
            else {
                (rounds.segment, rounds.bucket) = (0, 0);
                return;
            };
            for place in bucket * V6::WAYS..(bucket + 1) * V6::WAYS {
                if rounds.limbo.room() == 0 {
                    continue;
                }
                let word = row.value(place);
                let value = Word(word.load(Ordering::Acquire));
                if let Some(event) = free(row, place, value, over) {
                    self.counters.freed(rounds.shard, true);
                    on_freed(event);
                } else if value.0 & (DEAD | QUEUED) != DEAD {
                    continue;
                }
                // Dead, and nobody but the owner changes a dead word.
                word.store(DEAD | QUEUED, Ordering::Release);
                rounds.limbo.push(V6::handle(segment, place).to_bits());
            }
        }
    }

    /// False at the end of the shard.
    pub(super) fn list_wide(
        &self,
        shard: usize,
        cursor: &mut Cursor,
        budget: usize,
        each: &mut impl FnMut(ClientScope, ClientKey, ServiceReal, u8),
    ) -> bool {
        for _ in 0..budget {
            let at = (&mut cursor.segment, &mut cursor.bucket);
            let Some((row, _, bucket)) = self.v6.next_bucket(shard, at) else { return false };
            for place in bucket * V6::WAYS..(bucket + 1) * V6::WAYS {
                let Some(key) = row.key(place) else { continue };
                let value = Word(row.value(place).load(Ordering::Acquire));
                // A thread without a seat may meet a slot that is being used anew.
                if row.key(place) != Some(key) {
                    continue;
                }
                if let (Some(scope), Some(real)) = (scope_of(key), value.real()) {
                    each(scope, key.client, real, value.age());
                }
            }
        }
        true
    }
}

/// Kills a bound client that is over and was not found again meanwhile.
fn free(
    row: &V6,
    place: usize,
    value: Word,
    over: &impl Fn(ClientScope, u8) -> bool,
) -> Option<Freed> {
    let real = value.real()?;
    let key = row.key(place)?;
    let scope = scope_of(key)?;
    if !over(scope, value.age()) {
        return None;
    }
    let dead = value.0 | DEAD;
    row.value(place).compare_exchange(value.0, dead, Ordering::AcqRel, Ordering::Acquire).ok()?;
    Some(Freed { scope, client: key.client, real })
}
