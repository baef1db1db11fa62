//! The client table's IPv6 layout: address, scope and real server in 20 bytes, three to a line,
//! with three ages; two lines to a bucket, and three buckets where a client may stand.
//!
//! A slot is claimed by its word, which says the scope alone. The halves of the address are
//! written behind it one by one, each by one compare-and-swap and only by those whose client has
//! what is there already. So two clients of one scope may both write to a slot that one of them
//! claimed; the halves then decide whose it is: they are always one of their clients', complete,
//! because nobody writes behind a half that is not its own. The claimer may lose its slot that
//! way; it looks on, and the slot is not lost. Halves are written while the word is tentative
//! only: who saw it so began before the slot could die and be used anew.
//!
//! A half of 0 says "not written". So the slots have addresses veiled by a secret: no client can
//! choose an address of which a half would be 0 there. One that has such an address all the same
//! (one in 2^63) finds no room.

use super::assign::{Holes, Seen, Window};
use super::cells::{Row, Whose};
use super::client::{ClientTable, Hit, Rebound, ServiceReal};
use super::client_slots::{DEAD, Slots, Word};
use super::hash::Hasher;
use super::key::{ClientKey, Handle, Probe};
use super::segments::{Places, Segments};
use super::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::block::Block;
use crate::prefetch::prefetch;

/// A row of buckets.
pub(super) struct Wide(Block<Line>);

/// Slots in a line.
const IN_LINE: usize = 3;

/// Three clients: the halves of their addresses, their words, their ages. Then marks: where else
/// clients have gone that are looked for here first.
#[repr(C, align(64))]
pub(super) struct Line {
    halves: [[AtomicU64; 2]; IN_LINE],
    words: [AtomicU32; IN_LINE],
    ages: [AtomicU8; IN_LINE],
    marks: AtomicU8,
}

/// The lines of a segment where a client may stand besides its first one, those first where most
/// are. A line's [`Line::marks`] have a bit for each, by its place here.
pub(super) const AWAY: [Away; 5] = [
    Away { choice: 0, turn: 1 },
    Away { choice: 1, turn: 0 },
    Away { choice: 2, turn: 0 },
    Away { choice: 1, turn: 1 },
    Away { choice: 2, turn: 1 },
];

/// A line other than a client's first one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Away {
    /// Which of its buckets.
    pub(super) choice: usize,
    /// 0 for the line of its side, 1 for the other one.
    pub(super) turn: usize,
}

/// A client as the slots have it: the word's upper part, and the veiled halves of the address,
/// the upper one first.
#[derive(Clone, Copy)]
pub(super) struct Name {
    word: u64,
    halves: [u64; 2],
}

/// What addresses are veiled by.
#[derive(Clone, Copy)]
pub(super) struct Veil([u64; 2]);

impl Veil {
    /// A secret that follows from the table's.
    pub(super) fn new(hasher: &Hasher) -> Self {
        let hash = hasher.hash(0, u64::MAX);
        let half = |high: u32, low: u32| (u64::from(high) << 32 | u64::from(low)).max(1);
        Self([half(hash.first, hash.second), half(hash.shard, hash.fingerprint)])
    }

    /// The halves of an address, veiled; or of a veiled one, as they were.
    #[inline(always)]
    pub(super) fn over(self, [high, low]: [u64; 2]) -> [u64; 2] {
        let Self([over_high, over_low]) = self;
        [high ^ over_high, low ^ over_low]
    }

    /// What is laid over an address whose upper half comes first.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "sse2")]
    #[inline]
    pub(super) fn wide(self) -> std::arch::x86_64::__m128i {
        let Self([high, low]) = self;
        std::arch::x86_64::_mm_set_epi64x(low as i64, high as i64)
    }

    /// A client as a slot has it; or one that a slot has, as it is.
    pub(super) fn client(self, client: ClientKey) -> ClientKey {
        let [high, low] = self.over(halves_of(client.bits()));
        ClientKey::V6(u128::from(high) << 64 | u128::from(low))
    }

    /// The key as the slots have it. `None` where they cannot.
    #[inline]
    fn name(self, probe: &Probe) -> Option<Name> {
        let halves = self.over(halves_of(probe.key.client.bits()));
        let word = u64::from(probe.key.scope.0) << 16;
        (!halves.contains(&0)).then_some(Name { word, halves })
    }
}

impl Name {
    /// A client of the scope of this number, the halves of its address veiled.
    #[inline(always)]
    pub(super) fn new(scope: u16, halves: [u64; 2]) -> Self {
        Self { word: u64::from(scope) << 16, halves }
    }
}

#[inline]
fn halves_of(address: u128) -> [u64; 2] {
    [(address >> 64) as u64, address as u64]
}

impl Row for Wide {
    const WAYS: usize = 2 * IN_LINE;
    const SLOTS_FOR_1024: usize = 6 * 256;
    const CHOICES: usize = 3;

    fn new(buckets: usize) -> Self {
        let line = || Line {
            halves: std::array::from_fn(|_| [AtomicU64::new(0), AtomicU64::new(0)]),
            words: std::array::from_fn(|_| AtomicU32::new(0)),
            ages: std::array::from_fn(|_| AtomicU8::new(0)),
            marks: AtomicU8::new(0),
        };
        Self(Block::new(2 * buckets, line))
    }

    fn bytes(&self) -> usize {
        self.buckets() * 2 * size_of::<Line>()
    }

    fn buckets(&self) -> usize {
        self.0.len() / 2
    }

    #[inline]
    fn prefetch(&self, bucket: usize) {
        self.prefetch_line(2 * bucket);
        self.prefetch_line(2 * bucket + 1);
    }

    fn handle(segment: usize, place: usize) -> Handle {
        Handle::v6(segment, place)
    }
}

/// The line of a bucket, 0 or 1, in which a key is looked for first and put first: the lowest bit
/// of a hash that chooses the bucket by its upper ones.
#[inline(always)]
pub(super) fn side_of(first: u32) -> usize {
    (first & 1) as usize
}

/// The places of a bucket in the key's order.
#[inline]
fn turned(way: usize, side: usize) -> usize {
    if side == 0 {
        way
    } else if way < IN_LINE {
        way + IN_LINE
    } else {
        way - IN_LINE
    }
}

impl Slots for Wide {
    fn load(&self, place: usize) -> Word {
        let (line, at) = self.line(place);
        Word(u64::from(line.words[at].load(Ordering::Acquire)))
    }

    fn swap(&self, place: usize, before: Word, after: Word) -> Result<(), Word> {
        let (line, at) = self.line(place);
        line.words[at]
            .compare_exchange(before.0 as u32, after.0 as u32, Ordering::AcqRel, Ordering::Acquire)
            .map_or_else(|newer| Err(Word(u64::from(newer))), |_| Ok(()))
    }

    #[inline]
    fn age(&self, place: usize) -> &AtomicU8 {
        let (line, at) = self.line(place);
        &line.ages[at]
    }

    fn client(&self, place: usize, _word: Word) -> ClientKey {
        let [high, low] = self.halves(place).each_ref().map(|half| half.load(Ordering::Acquire));
        ClientKey::V6(u128::from(high) << 64 | u128::from(low))
    }

    fn clear(&self, place: usize) {
        for half in self.halves(place) {
            half.store(0, Ordering::Release);
        }
        // Last, because a slot whose word is 0 may be claimed.
        let (line, at) = self.line(place);
        line.words[at].store(0, Ordering::Release);
    }

    #[inline(always)]
    fn is_quiet(&self, bucket: usize, age_now: u8) -> bool {
        let lines = &self.0[2 * bucket..2 * bucket + 2];
        let slots = lines.iter().flat_map(|line| line.words.iter().zip(&line.ages));
        let each = slots.map(|(word, age)| {
            let word = Word(u64::from(word.load(Ordering::Acquire)));
            word.is_quiet(age.load(Ordering::Relaxed), age_now)
        });
        each.fold(true, |all, is_quiet| all & is_quiet)
    }
}

impl Wide {
    #[inline]
    fn line(&self, place: usize) -> (&Line, usize) {
        (&self.0[place / IN_LINE], place % IN_LINE)
    }

    #[inline]
    fn halves(&self, place: usize) -> &[AtomicU64; 2] {
        let (line, at) = self.line(place);
        &line.halves[at]
    }

    /// Requests one line, of which a bucket has two.
    #[inline(always)]
    pub(super) fn prefetch_line(&self, line: usize) {
        if let Some(line) = self.0.get(line) {
            prefetch(line);
        }
    }

    /// Whether a slot has this client's address, without writing. One that is still being
    /// written is not.
    #[inline]
    fn has_address(&self, place: usize, halves: [u64; 2]) -> bool {
        let [high, low] = self.halves(place);
        high.load(Ordering::Acquire) == halves[0] && low.load(Ordering::Acquire) == halves[1]
    }

    /// Whose a slot is, and its word. Where the address is still being written, this settles
    /// whose it will be.
    fn settle(&self, place: usize, name: Name) -> (Whose, Word) {
        let word = self.load(place);
        if word.0 == 0 {
            return (Whose::Free, word);
        }
        if !word.is_of(name.word) {
            return (Whose::Other, word);
        }
        let [high, low] = name.halves;
        let this = if word.0 == name.word {
            let [first, second] = self.halves(place);
            settle_half(first, high) && settle_half(second, low)
        } else {
            self.has_address(place, name.halves)
        };
        (if this { Whose::This } else { Whose::Other }, word)
    }

    /// The lower half of the word of a client that is bound in this line and is not doomed, with
    /// its age set; 0 if there is none. `first` says which slot may be the client's.
    #[inline(always)]
    pub(super) fn bound_in(
        &self,
        line: usize,
        name: Name,
        age_now: u8,
        first: impl FnOnce(&Line, Name) -> usize,
    ) -> u16 {
        let Some(line) = self.0.get(line) else { return 0 };
        // Whether a client stands in its first line is chance, and not to be guessed: any slot is
        // looked at instead of none.
        let at = first(line, name);
        let slot = at.min(IN_LINE - 1);
        let (Some(word), Some(age)) = (line.words.get(slot), line.ages.get(slot)) else { return 0 };
        let word = word.load(Ordering::Acquire);
        // A bound client: neither 0, dead, nor doomed.
        let value = u64::from(word ^ name.word as u32);
        let is_bound = (at < IN_LINE) & (value.wrapping_sub(1) < DEAD - 1);
        if is_bound & (age.load(Ordering::Relaxed) != age_now) {
            age.store(age_now, Ordering::Release);
        }
        std::hint::select_unpredictable(is_bound, word as u16, 0)
    }

    /// Where else than in this line clients may be that are looked for here first: no more than a
    /// hint, for other cores' clients may be there before their mark is seen.
    #[inline(always)]
    pub(super) fn marks(&self, line: usize) -> u8 {
        self.0.get(line).map_or(0, |line| line.marks.load(Ordering::Relaxed))
    }

    /// Notes that a client that is looked for in this line first goes elsewhere.
    fn mark(&self, line: usize, away: Away) {
        let bit = AWAY.iter().position(|other| *other == away).map_or(0, |place| 1 << place);
        if let Some(Line { marks, .. }) = self.0.get(line)
            && marks.load(Ordering::Relaxed) & bit != bit
        {
            marks.fetch_or(bit, Ordering::Relaxed);
        }
    }
}

impl Line {
    /// The slot that has this name; beyond all slots if there is none.
    #[inline(always)]
    pub(super) fn first_of(&self, name: Name) -> usize {
        let [high, low] = name.halves;
        let differs = |[first, second]: &[AtomicU64; 2], word: &AtomicU32| {
            let scope = (word.load(Ordering::Acquire) ^ name.word as u32) >> 16;
            (first.load(Ordering::Acquire) ^ high)
                | (second.load(Ordering::Acquire) ^ low)
                | u64::from(scope)
        };
        // All three are compared, and none is guessed: where a client stands is chance.
        let mut at = IN_LINE;
        for place in (0..IN_LINE).rev() {
            at = if differs(&self.halves[place], &self.words[place]) == 0 { place } else { at };
        }
        at
    }

    /// The first slot that has the address, whatever its scope, for CPUs that compare a whole
    /// line; beyond all slots if there is none.
    #[cfg(all(target_arch = "x86_64", not(loom)))]
    #[target_feature(enable = "avx512f,bmi1")]
    #[inline]
    pub(super) fn first_with_address(&self, name: Name) -> usize {
        use std::arch::asm;
        use std::arch::x86_64::{
            __m512i, _mm_set_epi64x, _mm512_broadcast_i32x4, _mm512_testn_epi64_mask,
        };
        const { assert!(size_of::<Self>() == 64 && align_of::<Self>() == 64) };
        let [high, low] = name.halves;
        let wanted = _mm512_broadcast_i32x4(_mm_set_epi64x(low as i64, high as i64));
        let other: __m512i;
        // SAFETY: the load is of `self`, which is 64 bytes, aligned to 64. Others may write the
        // line meanwhile, as atomics; assembly reads it as the CPU does, half by half whole, and
        // nothing relies on more than one of them: what is found is a hint, and the word of the
        // slot is asked, which is bound only after both halves were written.
        #[allow(unsafe_code)]
        unsafe {
            asm!(
                "vpxorq {other}, {wanted}, [{line}]",
                line = in(reg) std::ptr::from_ref(self),
                wanted = in(zmm_reg) wanted,
                other = out(zmm_reg) other,
                options(readonly, nostack, preserves_flags),
            );
        }
        let same = u32::from(_mm512_testn_epi64_mask(other, other));
        (same & same >> 1 & 0b01_01_01).trailing_zeros() as usize / 2
    }
}

/// Whether a half is `wanted`, after writing it if nobody had written any.
fn settle_half(half: &AtomicU64, wanted: u64) -> bool {
    match half.load(Ordering::Acquire) {
        0 => match half.compare_exchange(0, wanted, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => true,
            Err(other) => other == wanted,
        },
        found => found == wanted,
    }
}

/// The slots where one client may stand.
pub(super) struct WideWindow<'a> {
    segments: &'a Segments<Wide>,
    places: Places,
    name: Name,
    side: usize,
    real: ServiceReal,
    age_now: u8,
}

impl<'a> WideWindow<'a> {
    /// `None` for a client that no slot can have.
    pub(super) fn new(
        segments: &'a Segments<Wide>,
        veil: Veil,
        probe: &Probe,
        real: ServiceReal,
        age_now: u8,
    ) -> Option<Self> {
        let (places, name) = (segments.places(probe), veil.name(probe)?);
        let side = side_of(probe.hash.first);
        Some(Self { segments, places, name, side, real, age_now })
    }

    fn slot(&self, at: usize) -> Option<(&'a Wide, usize, Handle, bool)> {
        let (bucket, way) = (at / Wide::WAYS, at % Wide::WAYS);
        self.segments.slot(&self.places, bucket * Wide::WAYS + turned(way, self.side))
    }

    fn swap(&self, at: usize, before: u64, after: u64) -> bool {
        self.slot(at)
            .is_some_and(|(row, place, ..)| row.swap(place, Word(before), Word(after)).is_ok())
    }

    /// Marks the key's first line in a segment, if this slot stands elsewhere.
    fn mark(&self, row: &Wide, at: usize) {
        let (number, turn) = (at / Wide::WAYS, usize::from(at % Wide::WAYS >= IN_LINE));
        let segment = self.places.bucket(number).0.segment;
        let of_segment = |number: &usize| self.places.bucket(*number).0.segment == segment;
        let first = (0..number).find(of_segment).unwrap_or(number);
        let away = Away { choice: number - first, turn };
        if away != (Away { choice: 0, turn: 0 }) {
            row.mark(2 * self.places.bucket(first).0.bucket + self.side, away);
        }
    }

    /// The buckets' rows, the places in the key's order, and whether new keys may go there.
    fn buckets(&self) -> impl Iterator<Item = (&'a Wide, [usize; Wide::WAYS], bool)> {
        (0..self.places.buckets()).filter_map(|number| {
            let (at, open) = self.places.bucket(number);
            let place = |way| at.bucket * Wide::WAYS + turned(way, self.side);
            Some((self.segments.row(at.segment)?, std::array::from_fn(place), open))
        })
    }
}

impl Window for WideWindow<'_> {
    type Bound = Hit;
    const WAYS: usize = Wide::WAYS;
    // At the nominal fill five clients of six are then in their first line, nine of ten in their
    // first bucket, and one new client in 30,000 finds no room.
    const FIRST_IF_FREE: usize = 2;

    fn slots(&self) -> usize {
        self.places.buckets() * Wide::WAYS
    }

    fn look(&self, at: usize) -> Seen<Hit> {
        let Some((row, place, slot, open)) = self.slot(at) else { return Seen::Other };
        let word = match row.settle(place, self.name) {
            (Whose::Free, _) if open => return Seen::Free,
            (Whose::Free | Whose::Other, _) => return Seen::Other,
            // Not read again: a dead slot may be another client's by then.
            (Whose::This, word) => word,
        };
        if word.0 == self.name.word {
            return Seen::Tentative;
        }
        match row.hit(place, word, self.age_now) {
            Some(real) => Seen::Bound(Hit { real, slot }),
            None => Seen::Dead,
        }
    }

    fn claim(&self, at: usize) -> bool {
        let Some((row, place, ..)) = self.slot(at) else { return false };
        self.mark(row, at);
        row.swap(place, Word(0), Word(self.name.word)).is_ok()
            && row.settle(place, self.name).0 == Whose::This
    }

    fn abandon(&self, at: usize) -> bool {
        self.swap(at, self.name.word, self.name.word | DEAD)
    }

    fn nowhere(&self) -> Option<Holes> {
        let mut holes = Holes::default();
        for (number, (row, places, open)) in self.buckets().enumerate() {
            let mut free = 0;
            for (way, place) in places.into_iter().enumerate() {
                match row.settle(place, self.name).0 {
                    Whose::This => return None,
                    Whose::Free => free |= 1 << way,
                    Whose::Other => {}
                }
            }
            if open {
                holes.add::<Self>(number * Wide::WAYS, free);
            }
        }
        Some(holes)
    }

    fn nowhere_but(&self, but: usize) -> bool {
        self.buckets().enumerate().all(|(number, (row, places, _))| {
            let others = places.into_iter().enumerate();
            others
                .filter(|(way, _)| number * Wide::WAYS + way != but)
                .all(|(_, place)| row.settle(place, self.name).0 != Whose::This)
        })
    }

    fn publish(&self, at: usize) -> Option<Hit> {
        let (row, place, slot, _) = self.slot(at)?;
        // Before it can be found, so that it is never found with the age of a former client.
        row.age(place).store(self.age_now, Ordering::Release);
        let bound = Word::of(self.name.word, self.real);
        row.swap(place, Word(self.name.word), bound).ok()?;
        Some(Hit { real: self.real, slot })
    }
}

impl ClientTable {
    pub(super) fn lookup_wide(&self, probe: &Probe, age_now: u8) -> Option<Hit> {
        self.find_wide(probe, |row, place, word| row.hit(place, word, age_now))
    }

    pub(super) fn peek_wide(&self, probe: &Probe) -> Option<Hit> {
        self.find_wide(probe, |_, _, word| word.real())
    }

    #[inline(always)]
    fn find_wide(
        &self,
        probe: &Probe,
        hit: impl Fn(&Wide, usize, Word) -> Option<ServiceReal>,
    ) -> Option<Hit> {
        let (name, side) = (self.veil.name(probe)?, side_of(probe.hash.first));
        for segment in (0..self.v6.announced()).rev() {
            let Some(row) = self.v6.row(segment) else { continue };
            for at in self.v6.each(row, segment, probe) {
                for way in 0..Wide::WAYS {
                    let place = at.bucket * Wide::WAYS + turned(way, side);
                    if !row.has_address(place, name.halves) {
                        continue;
                    }
                    let word = row.load(place);
                    if word.is_of(name.word)
                        && let Some(real) = hit(row, place, word)
                    {
                        return Some(Hit { real, slot: Wide::handle(segment, place) });
                    }
                }
            }
        }
        None
    }

    pub(super) fn rebind_wide(&self, probe: &Probe, hit: Hit, new: ServiceReal) -> Option<Rebound> {
        let (row, place) = self.v6.find(hit.slot)?;
        row.rebind(place, self.veil.name(probe)?.word, hit, new)
    }
}
