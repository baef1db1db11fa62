//! Datagrams of which nothing is decided before all of their fragments are there, as the kernel
//! has it. What is there of each; the fragments themselves wait at the worker's.

use std::collections::HashMap;

use arrayvec::ArrayVec;

use crate::fragments::{FragmentLimits, Key};
use crate::tick::Tick;
use crate::wire::{Fragment, Packet};

/// Gaps that a datagram's fragments may leave between them on their way, and one more.
const RANGES: usize = 32;
/// The kernel's timers end by up to this part of their time later than they should.
const LATENESS: u32 = 8;

/// What became of a fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gathered {
    /// It waits for others, or was the last that was missing: then the datagram is settled.
    Waits,
    /// All of it was there before.
    Known,
    /// It contradicts the others, so that its datagram is settled (RFC 5722).
    Broken,
    /// There is no room for its datagram.
    NoRoom,
}

/// What became of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Settled {
    /// All of its fragments are there.
    Whole,
    /// None of them is of any use.
    Broken,
}

/// The datagrams that are being put together on one core.
#[derive(Default)]
pub(crate) struct Gathering {
    datagrams: HashMap<Key, Pieces>,
    settled: Vec<(Key, Settled)>,
    count: u64,
}

impl Gathering {
    /// Takes note of `len` bytes of a datagram.
    pub(crate) fn add(
        &mut self,
        packet: &Packet,
        len: usize,
        now: Tick,
        limits: &FragmentLimits,
    ) -> Gathered {
        let Some(key) = Key::of(packet) else { return Gathered::NoRoom };
        // Whoever has them wait forgets them in time; what is left is nobody's.
        let wait = limits.wait(packet.family);
        let late = wait + wait / LATENESS;
        let is_fresh = |pieces: &Pieces| pieces.since.until(now) < late as i32;
        if self.datagrams.len() >= limits.early && !self.datagrams.contains_key(&key) {
            self.datagrams.retain(|_, pieces| is_fresh(pieces));
            if self.datagrams.len() >= limits.early {
                return Gathered::NoRoom;
            }
        }
        let pieces = self.datagrams.entry(key).or_insert_with(|| Pieces::new(now));
        if !is_fresh(pieces) {
            *pieces = Pieces::new(now);
        }
        let (start, more) = match packet.fragment {
            Fragment::Later { offset, more, .. } => (u32::from(offset), more),
            Fragment::First { .. } | Fragment::Whole => (0, true),
        };
        let end = start.saturating_add(u32::try_from(len).unwrap_or(u32::MAX));
        let settled = match pieces.add(start, end, more) {
            Added::Known => return Gathered::Known,
            Added::Contradicts => Settled::Broken,
            Added::New if !pieces.is_whole() => return Gathered::Waits,
            Added::New => Settled::Whole,
        };
        self.datagrams.remove(&key);
        self.settled.push((key, settled));
        self.count = self.count.wrapping_add(1);
        match settled {
            Settled::Whole => Gathered::Waits,
            Settled::Broken => Gathered::Broken,
        }
    }

    /// The next datagram that has been settled.
    pub(crate) fn next_settled(&mut self) -> Option<(Key, Settled)> {
        self.settled.pop()
    }

    /// Counts what was settled.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// Whether there are datagrams that have been settled and that nobody has asked for.
    pub(crate) fn has_settled(&self) -> bool {
        !self.settled.is_empty()
    }

    /// Since when a datagram is being put together.
    pub(crate) fn waits_since(&self, key: &Key) -> Option<Tick> {
        self.datagrams.get(key).map(|pieces| pieces.since)
    }

    /// Forgets a datagram of which nothing was decided.
    pub(crate) fn forget(&mut self, packet: &Packet) {
        if let Some(key) = Key::of(packet) {
            self.datagrams.remove(&key);
        }
    }
}

/// What is there of one datagram.
#[derive(Clone, Debug)]
struct Pieces {
    since: Tick,
    /// Bytes that are there, in order and with gaps between them: first, and one behind the last.
    ranges: ArrayVec<(u32, u32), RANGES>,
    /// The datagram's length, once its last fragment has told it.
    len: Option<u32>,
}

/// What a fragment was to those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Added {
    New,
    Known,
    Contradicts,
}

impl Pieces {
    fn new(since: Tick) -> Self {
        Self { since, ranges: ArrayVec::new(), len: None }
    }

    fn add(&mut self, start: u32, end: u32, more: bool) -> Added {
        let furthest = self.ranges.last().map_or(0, |(_, to)| *to).max(self.len.unwrap_or(0));
        let is_too_long = self.len.is_some_and(|len| end > len);
        if is_too_long || !more && end < furthest {
            return Added::Contradicts;
        }
        if !more {
            self.len = Some(end);
        }
        if self.ranges.iter().any(|(from, to)| start >= *from && end <= *to) {
            return Added::Known;
        }
        if self.ranges.iter().any(|(from, to)| start < *to && end > *from) {
            return Added::Contradicts;
        }
        let (mut start, mut end) = (start, end);
        self.ranges.retain(|(from, to)| {
            let apart = *to < start || *from > end;
            if !apart {
                (start, end) = (start.min(*from), end.max(*to));
            }
            apart
        });
        let place = self.ranges.partition_point(|(from, _)| *from < start);
        match self.ranges.try_insert(place, (start, end)) {
            Ok(()) => Added::New,
            // More gaps than that are nobody's datagram.
            Err(_) => Added::Contradicts,
        }
    }

    fn is_whole(&self) -> bool {
        matches!((self.ranges.as_slice(), self.len), ([(0, end)], Some(len)) if *end >= len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_datagram_is_whole_when_no_byte_is_missing_in_whatever_order_they_came() {
        let pieces = [(0, 8, true), (8, 16, true), (16, 24, true), (24, 30, false)];
        for order in [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1], [1, 3, 0, 2]] {
            let mut gathered = Pieces::new(Tick(0));
            for (count, place) in order.iter().enumerate() {
                assert!(!gathered.is_whole(), "{order:?} after {count}");
                let (start, end, more) = pieces[*place];
                assert_eq!(gathered.add(start, end, more), Added::New);
                assert_eq!(gathered.add(start, end, more), Added::Known);
            }
            assert!(gathered.is_whole(), "{order:?}");
        }
    }

    #[test]
    fn fragments_that_overlap_or_end_elsewhere_contradict_each_other() {
        let first = || {
            let mut gathered = Pieces::new(Tick(0));
            assert_eq!(gathered.add(16, 32, true), Added::New);
            gathered
        };
        assert_eq!(first().add(8, 24, true), Added::Contradicts);
        assert_eq!(first().add(24, 40, true), Added::Contradicts);
        assert_eq!(first().add(0, 64, true), Added::Contradicts);
        assert_eq!(first().add(8, 30, false), Added::Contradicts);
        assert_eq!(first().add(24, 32, true), Added::Known);
        let mut ended = first();
        assert_eq!(ended.add(32, 40, false), Added::New);
        assert_eq!(ended.add(40, 48, true), Added::Contradicts);
        assert_eq!(ended.add(0, 16, true), Added::New);
        assert!(ended.is_whole());
    }

    #[test]
    fn a_datagram_of_too_many_gaps_never_becomes_whole() {
        let mut gathered = Pieces::new(Tick(0));
        for place in 0..RANGES as u32 {
            assert_eq!(gathered.add(place * 16, place * 16 + 8, true), Added::New);
        }
        assert_eq!(gathered.add(4096, 4104, true), Added::Contradicts);
    }
}
