//! Where the fragments of one datagram go, without putting them together: the first one has
//! the ports and decides, the others follow. One per core; the NIC spreads fragments by their
//! addresses, so that all of a datagram arrive on one core.
//!
//! A bounded table of sets of four: a flood of first fragments pushes the oldest of a set
//! out, so what is lost is old.

use std::collections::HashMap;

use arrayvec::ArrayVec;

use crate::bindings::Outcome;
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::wire::{Addr, Family, Fragment, Packet, Protocol};

/// How fragments are treated. Part of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FragmentLimits {
    /// Ticks for which the first fragment's decision is remembered; the kernel waits 30
    /// seconds for the rest of a datagram.
    pub remembered: u32,
    /// Ticks for which an IPv4 fragment waits for its first one.
    pub early_wait: u32,
    /// The same over IPv6, where the kernel is more patient.
    pub early_wait_v6: u32,
    /// Fragments that may wait on each core.
    pub early: usize,
    /// Whether nothing is decided before all fragments of a datagram are there, as the kernel
    /// has it, which puts datagrams together first. Costs memory for every datagram in flight.
    pub whole: bool,
}

impl FragmentLimits {
    /// Ticks for which a fragment of this family waits for its first one.
    pub const fn wait(&self, family: Family) -> u32 {
        match family {
            Family::V4 => self.early_wait,
            Family::V6 => self.early_wait_v6,
        }
    }
}

impl Default for FragmentLimits {
    fn default() -> Self {
        Self {
            remembered: 30 * TICKS_PER_SECOND,
            // 50 ms, rounded up.
            early_wait: 13,
            early_wait_v6: 13,
            early: 64,
            whole: false,
        }
    }
}

/// What the fragments of one datagram share (RFC 791; RFC 8200, 4.5). IPv6's later
/// fragments do not name the transport protocol, and need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    src: Addr,
    dst: Addr,
    id: u32,
    protocol: u8,
}

impl Key {
    fn of(packet: &Packet) -> Option<Self> {
        let id = match packet.fragment {
            Fragment::Whole => return None,
            Fragment::First { id } | Fragment::Later { id, .. } => id,
        };
        let protocol = match packet.family {
            Family::V4 => packet.protocol.number(),
            Family::V6 => 0,
        };
        Some(Self { src: packet.src, dst: packet.dst, id, protocol })
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    key: Key,
    ports: (Protocol, u16, u16),
    outcome: Outcome,
    since: Tick,
}

/// Gaps that a datagram's fragments may leave between them on their way, and one more.
const RANGES: usize = 32;

/// What is there of a datagram that is not decided about.
#[derive(Clone, Debug)]
struct Pieces {
    since: Tick,
    /// Bytes that are there, in order and with gaps between them: first, and one behind the last.
    ranges: ArrayVec<(u32, u32), RANGES>,
    /// The datagram's length, once its last fragment has told it.
    len: Option<u32>,
    /// Its first bytes, as far as they are there: as long as a TCP header can be.
    head: [u8; HEAD],
}

/// The kernel's timers end by up to this part of their time later than they should.
const LATENESS: u32 = 8;

/// Bytes of the longest transport header.
const HEAD: usize = 60;

impl Pieces {
    fn new(since: Tick) -> Self {
        Self { since, ranges: ArrayVec::new(), len: None, head: [0; HEAD] }
    }

    fn add(&mut self, start: u32, end: u32, more: bool) {
        if !more {
            self.len = Some(end);
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
        // More gaps than that are nobody's datagram: it never becomes whole.
        let _ = self.ranges.try_insert(place, (start, end));
    }

    fn keep_head(&mut self, start: u32, bytes: &[u8]) {
        if let Some(place) = self.head.get_mut(start as usize..) {
            place.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        }
    }

    /// The beginning of the datagram, if all of it is there.
    fn head(&self) -> Option<&[u8]> {
        let len = self.len.filter(|_| self.is_whole())? as usize;
        self.head.get(..len.min(HEAD))
    }

    fn is_whole(&self) -> bool {
        matches!((self.ranges.as_slice(), self.len), ([(0, end)], Some(len)) if *end >= len)
    }
}

/// Entries that one datagram may stand in.
const WAYS: usize = 4;
/// A first fragment with other ports than the first one so far is an attack on the
/// classification within this time, and another datagram with the same number after it.
const CONTESTED: u32 = TICKS_PER_SECOND;

/// The decisions about datagrams in flight.
pub struct Fragments {
    sets: Box<[[Option<Entry>; WAYS]]>,
    secret: [u64; 2],
    remembered: u64,
    pieces: HashMap<Key, Pieces>,
}

/// A first fragment that contradicts an earlier one of its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction;

impl Fragments {
    /// An empty table for so many datagrams at least, hashed under this secret.
    pub fn new(entries: usize, secret: [u64; 2]) -> Self {
        let sets = entries.div_ceil(WAYS).max(1);
        Self {
            sets: vec![[None; WAYS]; sets].into_boxed_slice(),
            secret,
            remembered: 0,
            pieces: HashMap::new(),
        }
    }

    /// For how many datagrams there is room.
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Whether a fragment's datagram is decided about, or all of it is there by now; asked only
    /// where nothing may be decided before ([`FragmentLimits::whole`]).
    pub fn gather(
        &mut self,
        packet: &Packet,
        transport: &[u8],
        now: Tick,
        limits: &FragmentLimits,
    ) -> bool {
        let Some(key) = Key::of(packet) else { return true };
        if self.entry(&key, now, limits).is_some() {
            return true;
        }
        // Whoever has them wait forgets them in time; what is left is nobody's.
        let wait = limits.wait(packet.family);
        let late = wait + wait / LATENESS;
        let is_fresh = |pieces: &Pieces| pieces.since.until(now) < late as i32;
        if self.pieces.len() >= limits.early && !self.pieces.contains_key(&key) {
            self.pieces.retain(|_, pieces| is_fresh(pieces));
            if self.pieces.len() >= limits.early {
                // No room to wait for the rest: as without waiting.
                return true;
            }
        }
        let pieces = self.pieces.entry(key).or_insert_with(|| Pieces::new(now));
        if !is_fresh(pieces) {
            *pieces = Pieces::new(now);
        }
        let (start, more) = match packet.fragment {
            Fragment::Later { offset, more, .. } => (u32::from(offset), more),
            Fragment::First { .. } | Fragment::Whole => (0, true),
        };
        let len = packet.end().saturating_sub(usize::from(packet.l4_offset));
        let was_whole = pieces.is_whole();
        pieces.add(start, start.saturating_add(u32::try_from(len).unwrap_or(u32::MAX)), more);
        pieces.keep_head(start, transport);
        let whole = pieces.is_whole();
        if whole && !was_whole {
            self.remembered = self.remembered.wrapping_add(1);
        }
        whole
    }

    /// Since when a fragment's datagram is being put together.
    pub fn waits_since(&self, packet: &Packet) -> Option<Tick> {
        self.pieces.get(&Key::of(packet)?).map(|pieces| pieces.since)
    }

    /// Forgets a datagram of which nothing was decided.
    pub fn forget(&mut self, packet: &Packet) {
        if let Some(key) = Key::of(packet) {
            self.pieces.remove(&key);
        }
    }

    /// The first bytes of a datagram of which all is there and about which nothing is decided.
    pub fn head(&self, packet: &Packet) -> Option<&[u8]> {
        self.pieces.get(&Key::of(packet)?)?.head()
    }

    /// The ports of a datagram that was decided about.
    pub fn ports(&self, packet: &Packet, now: Tick, limits: &FragmentLimits) -> Option<(u16, u16)> {
        let (_, source, destination) = self.entry(&Key::of(packet)?, now, limits)?.ports;
        Some((source, destination))
    }

    /// Counts first fragments and datagrams that became whole: when it has changed, early ones
    /// may go on.
    pub fn remembered(&self) -> u64 {
        self.remembered
    }

    fn home(&self, key: &Key) -> usize {
        let ([a, b], [c, d]) = (key.src.words(), key.dst.words());
        let tail = u64::from(key.id) << 8 | u64::from(key.protocol);
        let [first, second] = self.secret;
        let hash = [a, b, c, d, tail].iter().fold(first, |hash, word| {
            let product = u128::from(hash ^ word ^ 0x9E37_79B9_7F4A_7C15) * u128::from(second | 1);
            (product >> 64) as u64 ^ product as u64
        });
        (hash >> 32) as usize % self.sets.len().max(1)
    }

    fn entry(&self, key: &Key, now: Tick, limits: &FragmentLimits) -> Option<&Entry> {
        let set = self.sets.get(self.home(key))?;
        set.iter().flatten().find(|entry| entry.key == *key && entry.is_live(now, limits))
    }

    /// Whether a first fragment may be decided about by its own ports.
    ///
    /// # Errors
    /// [`Contradiction`], where the datagram was decided about with other ports just now
    /// (RFC 5722: such a datagram is not to be put together).
    pub fn check(
        &self,
        packet: &Packet,
        now: Tick,
        limits: &FragmentLimits,
    ) -> Result<(), Contradiction> {
        let known = Key::of(packet).and_then(|key| self.entry(&key, now, limits));
        match known {
            Some(entry)
                if entry.ports != ports(packet) && entry.since.until(now) < CONTESTED as i32 =>
            {
                Err(Contradiction)
            }
            _ => Ok(()),
        }
    }

    /// Remembers what was decided about a first fragment.
    pub fn remember(&mut self, packet: &Packet, outcome: Outcome, now: Tick) {
        let Some(key) = Key::of(packet) else { return };
        self.pieces.remove(&key);
        let home = self.home(&key);
        let Some(set) = self.sets.get_mut(home) else { return };
        let entry = Entry { key, ports: ports(packet), outcome, since: now };
        let same = set.iter().position(|place| place.is_some_and(|old| old.key == key));
        let age =
            |place: &Option<Entry>| place.map_or(i64::MAX, |old| i64::from(old.since.until(now)));
        let oldest =
            || set.iter().enumerate().max_by_key(|(_, place)| age(place)).map(|(place, _)| place);
        if let Some(place) = same.or_else(oldest).and_then(|place| set.get_mut(place)) {
            *place = Some(entry);
            self.remembered = self.remembered.wrapping_add(1);
        }
    }

    /// What was decided about the datagram that a later fragment belongs to.
    pub fn follow(&self, packet: &Packet, now: Tick, limits: &FragmentLimits) -> Option<Outcome> {
        self.entry(&Key::of(packet)?, now, limits).map(|entry| entry.outcome)
    }
}

impl Entry {
    fn is_live(&self, now: Tick, limits: &FragmentLimits) -> bool {
        self.since.until(now).unsigned_abs() < limits.remembered
    }
}

fn ports(packet: &Packet) -> (Protocol, u16, u16) {
    (packet.protocol, packet.src_port, packet.dst_port)
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
                gathered.add(start, end, more);
                gathered.add(start, end, more);
            }
            assert!(gathered.is_whole(), "{order:?}");
        }
    }

    #[test]
    fn a_datagram_of_too_many_gaps_never_becomes_whole() {
        let mut gathered = Pieces::new(Tick(0));
        for place in 0..2 * RANGES as u32 {
            gathered.add(place * 16, place * 16 + 8, true);
        }
        assert_eq!(gathered.ranges.len(), RANGES);
        assert!(!gathered.is_whole());
    }
}
