//! Memory of the reply table: lines of sixteen places, and their entries.
//!
//! A line has a tag for every place (a byte of the key's hash; free; or claimed by a core that
//! writes), a version for every place, odd while the entry is being written, and the number of
//! keys that should stand here and stand elsewhere. A key stands in its home line or, if that
//! was full, in one of the few lines after it on the key's own path.
//!
//! Entries are written by the owner alone and read under a version that is looked at before and
//! after (a sequence lock of atomics). Tags are hints: what counts is the key in the entry.

// Places are reduced to the number of lines and ways; a checked access to each would cost a
// branch in the lookup that every masqueraded reply pays.
#![allow(clippy::indexing_slicing)]

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering, fence};

use super::layout::{self, Layout, WORDS};
use super::{Origin, ReplyHome, ReplyKey};
use crate::block::Block;
use crate::tick::Tick;

/// Places in a line.
const WAYS: usize = 16;
/// Lines where a key may stand.
const PATH: usize = 8;
const FREE: u64 = 0;
const CLAIMED: u64 = 1;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

#[derive(Default)]
#[repr(align(64))]
struct Line {
    tags: [AtomicU64; 2],
    versions: [AtomicU16; WAYS],
    away: AtomicU32,
}

impl Line {
    /// A bit for every place that may have this tag; the lowest is exact in each word.
    #[inline]
    fn matches(&self, tag: u64) -> u32 {
        let zeros = |word: u64| {
            let differs = word ^ (ONES * tag);
            let bits = differs.wrapping_sub(ONES) & !differs & HIGHS;
            (bits >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56
        };
        let [first, second] = &self.tags;
        let [first, second] = [first.load(Ordering::Acquire), second.load(Ordering::Acquire)];
        (zeros(first) | zeros(second) << 8) as u32
    }

    /// Claims a free place.
    fn claim(&self) -> Option<usize> {
        loop {
            let free = self.matches(FREE);
            if free == 0 {
                return None;
            }
            let place = free.trailing_zeros() as usize;
            let (word, shift) = (&self.tags[place / 8], place % 8 * 8);
            let before = word.load(Ordering::Relaxed);
            let after = before | CLAIMED << shift;
            if before >> shift & 0xFF == FREE
                && word
                    .compare_exchange(before, after, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return Some(place);
            }
        }
    }

    /// Changes a place's tag, which nobody else may change at present.
    fn retag(&self, place: usize, from: u64, to: u64) {
        self.tags[place / 8].fetch_xor((from ^ to) << (place % 8 * 8), Ordering::Release);
    }
}

/// The places of a line whose bits are set.
fn places(mut bits: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let place = bits.trailing_zeros() as usize;
        bits &= bits.wrapping_sub(1);
        (place < WAYS).then_some(place)
    })
}

/// One address family's entries.
pub(super) struct Store<L> {
    lines: Block<Line>,
    words: Block<AtomicU64>,
    layout: PhantomData<L>,
}

impl<L: Layout> Store<L> {
    /// Room for so many entries at three quarters of its places.
    pub(super) fn new(entries: usize) -> Self {
        let lines = (entries * 4 / 3).div_ceil(WAYS).max(2);
        Self {
            lines: Block::new(lines, Line::default),
            words: Block::new(lines * WAYS * L::LEN, || AtomicU64::new(0)),
            layout: PhantomData,
        }
    }

    pub(super) fn entries(&self) -> usize {
        let words = self.lines.iter().flat_map(|line| &line.tags);
        let used = |word: u64| word.to_ne_bytes().iter().filter(|tag| **tag != 0).count();
        words.map(|word| used(word.load(Ordering::Relaxed))).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.lines) + size_of_val(&*self.words)
    }

    /// The line after so many on a key's path.
    #[inline]
    fn line(&self, home: &ReplyHome, step: usize) -> usize {
        let lines = self.lines.len() as u64;
        let first = ((home.hash & 0xFFFF_FFFF) * lines) >> 32;
        if step == 0 {
            return first as usize;
        }
        let stride = 1 + (((home.hash >> 32 & 0xFF_FFFF) * (lines - 1)) >> 24);
        ((first + stride * step as u64) % lines) as usize
    }

    #[inline]
    fn entry(&self, place: usize) -> &[AtomicU64] {
        &self.words[place * L::LEN..(place + 1) * L::LEN]
    }

    #[inline]
    pub(super) fn prefetch_bucket(&self, home: &ReplyHome) {
        crate::prefetch::prefetch(&self.lines[self.line(home, 0)]);
    }

    /// Whether an entry's line was requested.
    #[inline]
    pub(super) fn prefetch_entry(&self, home: &ReplyHome) -> bool {
        let line = self.line(home, 0);
        let matches = self.lines[line].matches(home.tag());
        if matches == 0 {
            return false;
        }
        let place = line * WAYS + matches.trailing_zeros() as usize;
        crate::prefetch::prefetch(&self.words[place * L::LEN]);
        true
    }

    /// Puts in an entry; false where there is no room on the key's path.
    pub(super) fn insert(
        &self,
        home: &ReplyHome,
        key: &ReplyKey,
        origin: &Origin,
        now: Tick,
    ) -> bool {
        let words = L::pack(key, origin, now);
        for step in 0..PATH {
            let line_at = self.line(home, step);
            let line = &self.lines[line_at];
            let Some(place) = line.claim() else { continue };
            if step > 0 {
                self.lines[self.line(home, 0)].away.fetch_add(1, Ordering::Relaxed);
            }
            let version = &line.versions[place];
            let before = version.load(Ordering::Relaxed);
            version.store(before.wrapping_add(1), Ordering::Relaxed);
            // A reader that sees a new word must see that the entry is being written.
            fence(Ordering::Release);
            for (to, word) in self.entry(line_at * WAYS + place).iter().zip(&words) {
                to.store(*word, Ordering::Relaxed);
            }
            version.store(before.wrapping_add(2), Ordering::Release);
            line.retag(place, CLAIMED, home.tag());
            return true;
        }
        false
    }

    /// The place and connection of a key, the first of those that are wanted.
    #[inline]
    pub(super) fn search(
        &self,
        home: &ReplyHome,
        key: &ReplyKey,
        wanted: impl Fn(&Origin) -> bool,
    ) -> Option<(usize, Origin)> {
        for step in 0..PATH {
            let line_at = self.line(home, step);
            let line = &self.lines[line_at];
            for place in places(line.matches(home.tag())) {
                let at = line_at * WAYS + place;
                if let Some(words) = self.read(line, place, at)
                    && L::is_of(&words, key)
                {
                    let origin = L::origin(&words);
                    if wanted(&origin) {
                        return Some((at, origin));
                    }
                }
            }
            if step == 0 && line.away.load(Ordering::Relaxed) == 0 {
                return None;
            }
        }
        None
    }

    /// An entry, unless it is being written.
    #[inline]
    fn read(&self, line: &Line, place: usize, at: usize) -> Option<[u64; WORDS]> {
        let version = &line.versions[place];
        let before = version.load(Ordering::Acquire);
        let mut words = [0; WORDS];
        for (to, word) in words.iter_mut().zip(self.entry(at)) {
            *to = word.load(Ordering::Relaxed);
        }
        fence(Ordering::Acquire);
        (before.is_multiple_of(2) && version.load(Ordering::Relaxed) == before).then_some(words)
    }

    /// Frees the place of an entry; by its owner alone.
    pub(super) fn free(&self, home: &ReplyHome, at: usize) {
        let line = at / WAYS;
        self.lines[line].retag(at % WAYS, home.tag(), FREE);
        let first = self.line(home, 0);
        if line != first {
            self.lines[first].away.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether so many ticks have passed since the owner was told; if so, it counts as told.
    pub(super) fn is_due(&self, at: usize, every: u32, now: Tick) -> bool {
        let Some(ports) = self.words.get(at * L::LEN + L::PORTS) else { return false };
        let before = ports.load(Ordering::Relaxed);
        // Fails where another core was faster, or the place is another connection's by now.
        layout::told_ago(before, now) >= every
            && ports
                .compare_exchange(
                    before,
                    layout::tell(before, now),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }
}
