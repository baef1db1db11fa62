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

mod line;
mod name;
mod window;

use super::cells::{Row, Whose};
use super::client::ClientTable;
use super::client_slots::{DEAD, Slots, Word};
use super::client_view::{Hit, Rebound, ServiceReal};
use super::key::{ClientKey, Handle, Probe};
use super::sync::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use crate::block::Block;
use crate::prefetch::prefetch;
use line::IN_LINE;

pub(super) use line::Line;
pub(super) use name::{Name, Veil};
pub(super) use window::WideWindow;

/// A row of buckets.
pub(super) struct Wide(Block<Line>);

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
