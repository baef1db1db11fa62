//! What both layouts of the client table have in common: a slot's word and age, and how its
//! client is counted, doomed, freed and listed.

use super::cells::Row;
use super::client_view::{ClientScope, Freed, Hit, Rebound, ServiceReal};
use super::counters::Counters;
use super::grace::{Grace, Limbo};
use super::key::{ClientKey, Handle};
use super::seat::Sweeper;
use super::segments::Segments;
use super::sync::{AtomicU8, Ordering};
use super::template::Cursor;

/// A slot's word: client 32 (of IPv4 alone) | scope 16 | doomed 1 | real server 15. 0 is free;
/// with real server 0 it is tentative; with the highest number dead, and queued for reclaiming
/// if also doomed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Word(pub(super) u64);

const REAL: u64 = 0x7fff;
pub(super) const DEAD: u64 = 0x7fff;
const DOOMED: u64 = 0x8000;
const VALUE: u64 = DOOMED | REAL;

impl Word {
    pub(super) fn of(name: u64, real: ServiceReal) -> Self {
        Self(name | u64::from(real.number()))
    }

    pub(super) fn is_of(self, name: u64) -> bool {
        (self.0 ^ name) <= VALUE
    }

    fn name(self) -> u64 {
        self.0 & !VALUE
    }

    /// None if the word is free, tentative or dead.
    pub(super) fn real(self) -> Option<ServiceReal> {
        ServiceReal::new((self.0 & REAL) as u16)
    }

    fn doomed(self) -> bool {
        self.0 & DOOMED != 0
    }

    fn scope(self) -> Option<ClientScope> {
        ClientScope::new((self.0 >> 16) as u16)
    }

    /// Whether a sweep has nothing to do with a slot of this word and age: nobody is there, or
    /// somebody who was seen just now. Without a branch, as nobody can foretell who is there.
    #[inline(always)]
    pub(super) fn is_quiet(self, age: u8, age_now: u8) -> bool {
        (self.0 == 0) | (age == age_now) & (self.0 & VALUE != DEAD)
    }
}

/// Slots that have a word and an age beside it.
pub(super) trait Slots: Row {
    fn load(&self, place: usize) -> Word;
    fn swap(&self, place: usize, before: Word, after: Word) -> Result<(), Word>;
    fn age(&self, place: usize) -> &AtomicU8;
    /// The client of a slot that is bound, whose word is this, as the slot has it.
    fn client(&self, place: usize, word: Word) -> ClientKey;
    /// Makes a dead slot free. For the owner, after the grace period.
    fn clear(&self, place: usize);

    /// Counts a packet: sets the age, and lifts the doom. None if the client is not bound or was
    /// freed before that.
    #[inline]
    fn hit(&self, place: usize, mut word: Word, age_now: u8) -> Option<ServiceReal> {
        loop {
            let real = word.real()?;
            let age = self.age(place);
            if age.load(Ordering::Relaxed) != age_now {
                age.store(age_now, Ordering::Release);
            }
            if !word.doomed() {
                return Some(real);
            }
            match self.swap(place, word, Word(word.0 & !DOOMED)) {
                Ok(()) => return Some(real),
                Err(newer) => word = newer,
            }
        }
    }

    /// Binds a client that was found to another real server; see `ClientTable::rebind`.
    fn rebind(&self, place: usize, name: u64, hit: Hit, new: ServiceReal) -> Option<Rebound> {
        let mut word = self.load(place);
        loop {
            let real = word.real().filter(|_| word.is_of(name))?;
            if real != hit.real {
                return Some(Rebound { hit: Hit { real, ..hit }, by_this_call: false });
            }
            match self.swap(place, word, Word::of(name, new)) {
                Ok(()) => {
                    return Some(Rebound { hit: Hit { real: new, ..hit }, by_this_call: true });
                }
                Err(newer) => word = newer,
            }
        }
    }

    /// Whether a bucket has nothing for a sweep: all that is there was seen in this age.
    fn is_quiet(&self, bucket: usize, age_now: u8) -> bool;

    /// Dooms the slot's client if it is over.
    fn doom(&self, place: usize, over: &impl Fn(ClientScope, u8) -> bool) -> bool {
        let word = self.load(place);
        let (Some(scope), Some(_), false) = (word.scope(), word.real(), word.doomed()) else {
            return false;
        };
        over(scope, self.age(place).load(Ordering::Relaxed))
            && self.swap(place, word, Word(word.0 | DOOMED)).is_ok()
    }

    /// Frees a client that was doomed before the grace period, if it is still over.
    fn free(&self, place: usize, over: &impl Fn(ClientScope, u8) -> bool) -> Option<Freed> {
        let word = self.load(place);
        let (scope, real) = (word.scope()?, word.real()?);
        if !word.doomed() {
            return None;
        }
        if !over(scope, self.age(place).load(Ordering::Acquire)) {
            // Lost only if somebody else lifts the doom, or rebinds.
            let _ = self.swap(place, word, Word(word.0 & !DOOMED));
            return None;
        }
        let client = self.client(place, word);
        self.swap(place, word, Word(word.name() | DEAD | DOOMED)).ok()?;
        Some(Freed { scope, client, real })
    }

    /// Marks an abandoned slot as queued for reclaiming. Nobody but the owner changes a dead word.
    fn queue(&self, place: usize) -> bool {
        let word = self.load(place);
        word.0 & VALUE == DEAD && self.swap(place, word, Word(word.0 | DOOMED)).is_ok()
    }
}

/// Where a shard's owner is on its rounds, and what it has doomed.
pub(super) struct DoomSweeper {
    rounds: Sweeper,
    doomed: Limbo,
}

impl DoomSweeper {
    pub(super) fn new(core: usize) -> Self {
        Self { rounds: Sweeper::new(core), doomed: Limbo::new() }
    }

    /// Walks the next `budget` buckets, and frees what was doomed a grace period ago.
    pub(super) fn sweep<R: Slots>(
        &mut self,
        segments: &Segments<R>,
        (grace, counters): (&Grace, &Counters),
        (budget, age_now): (usize, u8),
        over: &impl Fn(ClientScope, u8) -> bool,
        on_freed: &mut impl FnMut(Freed),
    ) {
        let Self { rounds, doomed } = self;
        let slots = budget.saturating_mul(R::WAYS);
        rounds.limbo.reclaim(grace, slots, |bits| {
            if let Some((row, place)) = segments.find(Handle::from_bits(bits)) {
                row.clear(place);
            }
        });
        let room = rounds.limbo.room();
        doomed.reclaim(grace, slots.min(room), |bits| {
            let handle = Handle::from_bits(bits);
            if let Some((row, place)) = segments.find(handle)
                && let Some(event) = row.free(place, over)
            {
                rounds.limbo.push(bits);
                counters.freed(rounds.shard, handle.is_v6());
                on_freed(event);
            }
        });
        for _ in 0..budget {
            let at = (&mut rounds.segment, &mut rounds.bucket);
            let Some((row, segment, bucket)) = segments.next_bucket(rounds.shard as usize, at)
            else {
                // No slot is doomed a second time while it is listed from the first.
                if doomed.is_empty() {
                    (rounds.segment, rounds.bucket) = (0, 0);
                }
                return;
            };
            if row.is_quiet(bucket, age_now) {
                continue;
            }
            for place in bucket * R::WAYS..(bucket + 1) * R::WAYS {
                let bits = R::handle(segment, place).to_bits();
                if doomed.room() > 0 && row.doom(place, over) {
                    doomed.push(bits);
                }
                if rounds.limbo.room() > 0 && row.queue(place) {
                    rounds.limbo.push(bits);
                }
            }
        }
        segments.prefetch_next(rounds.shard as usize, (rounds.segment, rounds.bucket), budget);
    }
}

/// Lists up to `budget` buckets of a shard. False at its end.
pub(super) fn list<R: Slots>(
    segments: &Segments<R>,
    shard: usize,
    cursor: &mut Cursor,
    budget: usize,
    each: &mut impl FnMut(ClientScope, ClientKey, ServiceReal, u8),
) -> bool {
    for _ in 0..budget {
        let at = (&mut cursor.segment, &mut cursor.bucket);
        let Some((row, _, bucket)) = segments.next_bucket(shard, at) else { return false };
        for place in bucket * R::WAYS..(bucket + 1) * R::WAYS {
            let word = row.load(place);
            let (Some(scope), Some(real)) = (word.scope(), word.real()) else { continue };
            let (client, age) = (row.client(place, word), row.age(place).load(Ordering::Relaxed));
            // A thread without a seat may meet a slot that is being used anew.
            let again = row.load(place);
            let same = again.real().is_some() && again.is_of(word.name());
            if same && row.client(place, again) == client {
                each(scope, client, real, age);
            }
        }
    }
    true
}
