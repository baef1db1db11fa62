//! The entries of one table: each under one number for life, and mostly where its flow's hash
//! says.
//!
//! An entry is put into its flow's home, a cache line of as many entries as fit, where that has
//! room: a lookup then reads that line and nothing else. Four of five entries are at home in a
//! table that is filled as far as tables are meant to be. Each home counts those that are away, in
//! bits that its entries have to spare: only of these the index knows. Memory comes in segments;
//! growth adds one and moves nothing, and entries are found where their home was before, too.

use arrayvec::ArrayVec;

use super::entry::Entry;
#[cfg(target_arch = "x86_64")]
use super::entry::EntryV4;
use super::packed::Packed;
use super::places::{BLOCK, Places};
use super::table::Slot;
use crate::block::Block;
use crate::tick::Tick;

/// Segments that a slab may have, and units that they may take in all.
const UNITS: usize = 16;
const UNIT_BITS: u32 = 24;
/// A segment begins at a multiple of so many numbers.
const UNIT: usize = 1 << UNIT_BITS;
/// Entries that a slab may have.
pub(super) const LIMIT: usize = UNITS * UNIT;
/// No segment has the unit.
const NOBODYS: u8 = u8::MAX;
/// Entries of a block are looked at this often at least, whatever they say.
const LONGEST: u32 = 60 * crate::tick::TICKS_PER_SECOND;

/// Memory for entries.
pub(super) struct Segment<E> {
    entries: Block<E>,
    places: Places,
    /// The number of its first entry.
    base: u32,
    /// Homes of all segments before.
    before: u64,
}

impl<E: Entry> Segment<E> {
    fn new(entries: usize) -> Self {
        // Written, not just reserved: no core is to wait for a page.
        let (entries, places) = (Block::new(entries, E::default), Places::new(entries));
        Self { entries, places, base: 0, before: 0 }
    }

    fn lines(&self) -> u64 {
        (self.entries.len() / per_line::<E>()) as u64
    }
}

impl<E> Segment<E> {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    fn units(&self) -> usize {
        self.len().div_ceil(UNIT)
    }

    /// The number that the segment behind it begins with.
    fn behind(&self) -> u32 {
        self.base + (self.units() << UNIT_BITS) as u32
    }

    fn number(&self, place: usize) -> u32 {
        self.base + place as u32
    }

    /// The number of the block behind this place's.
    fn after_block(&self, place: usize) -> u32 {
        let end = place - place % BLOCK + BLOCK;
        if end >= self.len() { self.behind() } else { self.number(end) }
    }
}

/// A segment for so many entries, if any, all of its pages touched.
pub(super) fn segment<E: Entry>(entries: usize) -> Option<Segment<E>> {
    (entries > 0).then(|| Segment::new(entries.min(LIMIT)))
}

/// Entries in a home.
pub(super) const fn per_line<E>() -> usize {
    64 / size_of::<E>()
}

/// The entries.
pub(super) struct Slab<E> {
    segments: ArrayVec<Segment<E>, UNITS>,
    /// Which segment has a unit of numbers.
    owners: [u8; UNITS],
    capacity: usize,
    used: usize,
    /// Where a sweep goes on, and from when on the block there has to be looked at, by what
    /// was seen of it; `None` where its beginning was not.
    sweep_at: u32,
    sweep_due: Option<Tick>,
}

impl<E: Entry> Slab<E> {
    pub(super) fn new(capacity: usize) -> Self {
        let (segments, owners) = (ArrayVec::new(), [NOBODYS; UNITS]);
        let mut slab =
            Self { segments, owners, capacity: 0, used: 0, sweep_at: 0, sweep_due: None };
        let _ = slab.grow(segment(capacity));
        slab
    }

    /// Adds a segment; gives it back where there would be too many.
    pub(super) fn grow(&mut self, more: Option<Segment<E>>) -> Result<(), Option<Segment<E>>> {
        if !self.has_room_for(more.as_ref()) {
            return Err(more);
        }
        let Some(mut more) = more else { return Ok(()) };
        more.base = self.end_of_units();
        more.before = self.segments.iter().map(Segment::lines).sum();
        let (first, number) = ((more.base >> UNIT_BITS) as usize, self.segments.len());
        self.owners.iter_mut().skip(first).take(more.units()).for_each(|of| *of = number as u8);
        self.capacity += more.len();
        self.segments.push(more);
        Ok(())
    }

    fn end_of_units(&self) -> u32 {
        self.segments.last().map_or(0, Segment::behind)
    }

    pub(super) fn has_room_for(&self, segment: Option<&Segment<E>>) -> bool {
        let units = (self.end_of_units() >> UNIT_BITS) as usize;
        segment.is_none_or(|segment| units + segment.units() <= UNITS)
    }

    /// Which segment an entry is in, and where there.
    #[inline(always)]
    fn at(&self, number: u32) -> Option<(usize, usize)> {
        if let [only] = &self.segments[..] {
            let place = number as usize;
            return (place < only.len()).then_some((0, place));
        }
        let owner = usize::from(*self.owners.get((number >> UNIT_BITS) as usize)?);
        let place = number - self.segments.get(owner)?.base;
        Some((owner, place as usize))
    }

    pub(super) fn capacity(&self) -> usize {
        self.capacity
    }

    /// Entries in use.
    #[inline]
    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn bytes(&self) -> usize {
        let places: usize = self.segments.iter().map(|segment| segment.places.bytes()).sum();
        self.capacity * size_of::<E>() + places
    }

    /// An entry, used or not.
    #[inline(always)]
    pub(super) fn get(&self, slot: Slot) -> Option<&E> {
        match &self.segments[..] {
            [only] => only.entries.get(slot.number() as usize),
            _ => self.get_in_many(slot),
        }
    }

    #[cold]
    #[inline(never)]
    fn get_in_many(&self, slot: Slot) -> Option<&E> {
        let (segment, place) = self.at(slot.number())?;
        self.segments.get(segment)?.entries.get(place)
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut E> {
        // The borrow of one arm would last for the other.
        if self.segments.len() != 1 {
            return self.get_mut_in_many(slot);
        }
        self.segments.first_mut()?.entries.get_mut(slot.number() as usize)
    }

    #[cold]
    #[inline(never)]
    fn get_mut_in_many(&mut self, slot: Slot) -> Option<&mut E> {
        let (segment, place) = self.at(slot.number())?;
        self.segments.get_mut(segment)?.entries.get_mut(place)
    }

    /// The first entry of the home of flows with this hash, whose upper bits count.
    #[inline(always)]
    pub(super) fn home(&self, hash: u64) -> Slot {
        match &self.segments[..] {
            [_] => self.first_home(hash),
            _ => self.home_in_many(hash),
        }
    }

    /// The home before any other segment was added. It stays: who is away from home is counted
    /// there.
    #[inline(always)]
    fn first_home(&self, hash: u64) -> Slot {
        let line = scaled(hash, self.segments.first().map_or(0, Segment::lines)) as usize;
        Slot::from_number((line * per_line::<E>()) as u32)
    }

    #[cold]
    #[inline(never)]
    fn home_in_many(&self, hash: u64) -> Slot {
        self.homes(hash).next().unwrap_or(Slot::from_number(0))
    }

    /// A flow's home, and those that it had before other segments were added. Where one was, a
    /// flow's home is either there or where it was before: most entries stay at home.
    fn homes(&self, hash: u64) -> impl Iterator<Item = Slot> {
        let later = self.segments.iter().enumerate().skip(1).rev();
        let later = later.filter_map(move |(number, segment)| {
            // What chooses among so many segments is independent of what chooses among fewer.
            let line = scaled(mixed(hash, number as u64), segment.before + segment.lines());
            let line = line.checked_sub(segment.before)?;
            Some(Slot::from_number(segment.number(line as usize * per_line::<E>())))
        });
        later.chain(std::iter::once_with(move || self.first_home(hash)))
    }

    /// Whether there is more than the first segment.
    #[inline(always)]
    pub(super) fn has_many(&self) -> bool {
        self.segments.len() > 1
    }

    /// The homes that a flow with this hash had before other segments were added.
    pub(super) fn older_homes(&self, hash: u64) -> impl Iterator<Item = Slot> {
        let many = self.segments.len() > 1;
        many.then(|| self.homes(hash).skip(1)).into_iter().flatten()
    }

    /// Whether an entry is in the home of flows with this hash, or in one that they had.
    #[inline(always)]
    pub(super) fn is_at_home(&self, slot: Slot, hash: u64) -> bool {
        is_in(slot, self.home(hash), per_line::<E>())
            || self.segments.len() > 1 && self.was_at_home(slot, hash)
    }

    /// Whether an entry stands in the home that begins with this one.
    #[inline(always)]
    pub(super) fn is_in_home(&self, slot: Slot, first: Slot) -> bool {
        is_in(slot, first, per_line::<E>())
    }

    #[cold]
    #[inline(never)]
    fn was_at_home(&self, slot: Slot, hash: u64) -> bool {
        self.older_homes(hash).any(|home| is_in(slot, home, per_line::<E>()))
    }

    /// Whether some flow that is not in the home that begins with this entry may be away from
    /// it. Reads the home. Where there are many segments that is not known here.
    #[inline(always)]
    pub(super) fn goes_on(&self, home: Slot) -> bool {
        self.segments.len() > 1 || self.away_from(home) != 0
    }

    /// Whether some flow with such a hash may be away from its homes.
    #[inline(always)]
    pub(super) fn anybody_away(&self, hash: u64) -> bool {
        self.away_from(self.first_home(hash)) != 0
    }

    /// How many flows are away from a home.
    #[inline(always)]
    fn away_from(&self, home: Slot) -> u32 {
        let line = self.line(home).unwrap_or_default();
        line.iter().rev().fold(0, |count, entry| count << Packed::AWAY_BITS | entry.packed().away())
    }

    /// One flow with this hash more, or fewer, is away from its homes. Who counts to the end
    /// stays there.
    pub(super) fn count_away(&mut self, hash: u64, more: bool) {
        let home = self.first_home(hash);
        let most = (1 << (Packed::AWAY_BITS as usize * per_line::<E>())) - 1;
        let count = self.away_from(home);
        if count == most {
            return;
        }
        let mut count = if more { count + 1 } else { count.saturating_sub(1) };
        let first = home.number();
        for number in first..first + per_line::<E>() as u32 {
            if let Some(entry) = self.get_mut(Slot::from_number(number)) {
                entry.packed_mut().set_away(count);
            }
            count >>= Packed::AWAY_BITS;
        }
    }

    /// Requests what is known of the places of a home.
    #[inline(always)]
    pub(super) fn prefetch_room(&self, home: Slot) {
        if let Some((segment, place)) = self.at(home.number())
            && let Some(segment) = self.segments.get(segment)
        {
            segment.places.prefetch(place);
        }
    }

    /// Where an entry would be put whose home this is, if that has no room now.
    #[inline(always)]
    pub(super) fn room_if_full(&self, home: Slot) -> Option<Slot> {
        if self.line(home)?.iter().any(|entry| !entry.packed().is_used()) {
            return None;
        }
        let (segment, place) = self.at(home.number())?;
        let segment = self.segments.get(segment)?;
        Some(Slot::from_number(segment.number(segment.places.near(place)?)))
    }

    /// All entries, where there is one segment.
    #[inline(always)]
    pub(super) fn only(&self) -> Option<&[E]> {
        match &self.segments[..] {
            [only] => Some(&only.entries),
            _ => None,
        }
    }

    /// A home's entries.
    #[inline(always)]
    pub(super) fn line(&self, home: Slot) -> Option<&[E]> {
        let (segment, place) = self.at(home.number())?;
        self.segments.get(segment)?.entries.get(place..place + per_line::<E>())
    }

    /// Puts an entry into its home if that has room, else where there is any.
    #[inline(always)]
    pub(super) fn add(&mut self, mut entry: E, home: Slot) -> Option<Slot> {
        let (number, place) = self.at(home.number())?;
        let segment = self.segments.get_mut(number)?;
        let slot = match segment.places.take_of(place, per_line::<E>()) {
            Some(place) => Slot::from_number(segment.number(place)),
            None => self.take_away(number, place)?,
        };
        // How many are away from here is not the entry's.
        let place = self.get_mut(slot)?;
        entry.packed_mut().set_away(place.packed().away());
        *place = entry;
        self.used += 1;
        self.ends_at(slot, entry.packed().expires());
        Some(slot)
    }

    /// Takes any place, if possible near this one.
    #[inline(never)]
    fn take_away(&mut self, at_home: usize, place: usize) -> Option<Slot> {
        let segment = self.segments.get_mut(at_home)?;
        if let Some(place) = segment.places.take_near(place) {
            return Some(Slot::from_number(segment.number(place)));
        }
        let others = self.segments.iter_mut().enumerate().filter(|(other, _)| *other != at_home);
        for (_, segment) in others {
            if let Some(place) = segment.places.take_near(0) {
                return Some(Slot::from_number(segment.number(place)));
            }
        }
        None
    }

    /// Frees an entry.
    pub(super) fn remove(&mut self, slot: Slot) {
        let Some((number, place)) = self.at(slot.number()) else { return };
        let Some(segment) = self.segments.get_mut(number) else { return };
        let entry = segment.entries.get_mut(place).filter(|entry| entry.packed().is_used());
        if let Some(entry) = entry {
            let away = entry.packed().away();
            *entry = E::default();
            entry.packed_mut().set_away(away);
            segment.places.free(place);
            self.used -= 1;
        }
    }

    /// An entry may end then, and perhaps sooner than anybody knew.
    #[inline]
    pub(super) fn ends_at(&mut self, slot: Slot, expires: Tick) {
        if let Some((number, place)) = self.at(slot.number())
            && let Some(segment) = self.segments.get_mut(number)
        {
            segment.places.due_by(place, expires);
        }
        if let Some(due) = &mut self.sweep_due
            && slot.number() / BLOCK as u32 == self.sweep_at / BLOCK as u32
            && expires.has_come(*due)
        {
            *due = expires;
        }
    }

    /// How many entries a round of sweeping has.
    pub(super) fn round(&self) -> usize {
        if self.used == 0 { 0 } else { self.capacity }
    }

    /// The number behind the last entry.
    pub(super) fn end(&self) -> u32 {
        self.segments.last().map_or(0, |segment| segment.number(segment.len()))
    }

    /// Entries from number `from` on to the end of its block, up to so many, and the number
    /// after them.
    pub(super) fn run(&self, from: u32, limit: usize) -> Option<(&[E], u32)> {
        let (number, place) = self.at(from)?;
        let segment = self.segments.get(number)?;
        let end = (place - place % BLOCK + BLOCK).min(place.saturating_add(limit));
        let end = end.min(segment.len());
        let next = if end == segment.len() { segment.behind() } else { segment.number(end) };
        Some((segment.entries.get(place..end)?, next))
    }

    /// Whether no entry is in use from here to the end of its block.
    pub(super) fn is_free_from(&self, from: u32) -> bool {
        let at =
            self.at(from).and_then(|(number, place)| Some((self.segments.get(number)?, place)));
        at.is_none_or(|(segment, place)| segment.places.are_free_from(place))
    }

    /// Looks at up to `budget` entries after those of the last call, round and round, and
    /// answers the first one that is `due`; `None` when the budget is used up. Entries none of
    /// which can have ended by `now` are passed over, unless `all` are to be looked at.
    pub(super) fn sweep(
        &mut self,
        budget: &mut usize,
        (now, all): (Tick, bool),
        mut due: impl FnMut(&Packed) -> bool,
    ) -> Option<Slot> {
        while *budget > 0 && self.used > 0 {
            let at = self.sweep_at;
            let here = self.at(at).zip(self.run(at, *budget));
            let Some(((number, place), (entries, next))) = here else {
                (self.sweep_at, self.sweep_due) = (0, None);
                continue;
            };
            let segment = self.segments.get(number)?;
            let mut soonest = self.sweep_due;
            if place % BLOCK == 0 {
                if !all && !segment.places.due(place).has_come(now) {
                    *budget -= (segment.len() - place).min(BLOCK).min(*budget);
                    self.sweep_at = segment.after_block(place);
                    continue;
                }
                soonest = Some(now.plus(LONGEST));
            }
            let mut found = None;
            for (offset, entry) in entries.iter().enumerate() {
                let packed = entry.packed();
                if !packed.is_used() {
                    continue;
                }
                if due(packed) {
                    found = Some(offset);
                    break;
                }
                soonest = soonest.map(|tick| match packed.expires().has_come(tick) {
                    true => packed.expires(),
                    false => tick,
                });
            }
            if let Some(offset) = found {
                *budget -= offset + 1;
                let last = offset + 1 == entries.len();
                self.sweep_at = if last { next } else { at + offset as u32 + 1 };
                // The block keeps its time: it is looked at again in the next round.
                self.sweep_due = None;
                return Some(Slot::from_number(at + offset as u32));
            }
            *budget -= entries.len().max(1).min(*budget);
            self.sweep_at = next;
            self.sweep_due = soonest;
            // Segments and blocks begin at multiples of a block's length.
            if next % BLOCK as u32 == 0
                && let Some(due) = self.sweep_due.take()
                && let Some(segment) = self.segments.get_mut(number)
            {
                segment.places.set_due(place, due);
            }
        }
        self.fetch_next(now);
        None
    }
    /// What the next call comes to stands there, but the CPU does not see that by itself.
    fn fetch_next(&self, now: Tick) {
        if let Some((number, place)) = self.at(self.sweep_at)
            && let Some(segment) = self.segments.get(number)
            && segment.places.due(place).has_come(now)
            && let Some((entries, _)) = self.run(self.sweep_at, BLOCK)
        {
            entries.iter().step_by(per_line::<E>()).for_each(crate::prefetch::prefetch);
        }
    }
}

#[cfg(target_arch = "x86_64")]
impl Slab<EntryV4> {
    /// [`Self::home`] of the four hashes that are the lower halves of the quarters; requests the
    /// homes.
    #[target_feature(enable = "avx512f,avx512vl")]
    #[inline]
    pub(super) fn request_homes(&self, hashes: std::arch::x86_64::__m512i) -> [Slot; 4] {
        use std::arch::x86_64::{
            __m128i, __m256i, _mm256_cvtepi64_epi32, _mm512_castsi512_si256,
            _mm512_maskz_compress_epi64, _mm512_mul_epu32, _mm512_set1_epi64, _mm512_slli_epi64,
            _mm512_srli_epi64,
        };
        const { assert!(per_line::<EntryV4>() == 2) };
        let [only] = &self.segments[..] else {
            let hashes = _mm512_castsi512_si256(_mm512_maskz_compress_epi64(0x55, hashes));
            // SAFETY: four words, whatever their bits.
            #[allow(unsafe_code)]
            let hashes = unsafe { std::mem::transmute::<__m256i, [u64; 4]>(hashes) };
            return hashes.map(|hash| {
                let home = self.home_in_many(hash);
                self.get(home).inspect(|entry| crate::prefetch::prefetch(*entry));
                home
            });
        };
        let lines = _mm512_set1_epi64(only.lines() as i64);
        // As `scaled` does.
        let scaled = _mm512_mul_epu32(_mm512_srli_epi64::<32>(hashes), lines);
        let places = _mm512_slli_epi64::<1>(_mm512_srli_epi64::<32>(scaled));
        let places = _mm512_castsi512_si256(_mm512_maskz_compress_epi64(0x55, places));
        // SAFETY: four numbers of 32 bits, whatever their bits.
        #[allow(unsafe_code)]
        let places =
            unsafe { std::mem::transmute::<__m128i, [u32; 4]>(_mm256_cvtepi64_epi32(places)) };
        for place in places {
            only.entries.get(place as usize).inspect(|entry| crate::prefetch::prefetch(*entry));
        }
        places.map(Slot::from_number)
    }
}

/// Whether an entry is one of so many from this one on.
#[inline(always)]
fn is_in(slot: Slot, first: Slot, many: usize) -> bool {
    slot.number().wrapping_sub(first.number()) < many as u32
}

/// The upper half of the hash, scaled.
#[inline(always)]
fn scaled(hash: u64, below: u64) -> u64 {
    ((hash >> 32) * below) >> 32
}

/// Another hash of a hash, by a number.
fn mixed(hash: u64, number: u64) -> u64 {
    let hash = (hash ^ number).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (hash ^ hash >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93)
}
