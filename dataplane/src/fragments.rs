//! Where the fragments of one datagram go, without putting them together: the first one has
//! the ports and decides, the others follow. One per core; the NIC spreads fragments by their
//! addresses, so that all of a datagram arrive on one core.
//!
//! A bounded table of sets of four: a flood of first fragments pushes the oldest of a set
//! out, so what is lost is old.

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
pub(crate) struct Key {
    src: Addr,
    dst: Addr,
    id: u32,
    protocol: u8,
}

impl Key {
    /// The key of a fragment's datagram; `None` for a whole packet.
    pub(crate) fn of(packet: &Packet) -> Option<Self> {
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
}

/// A first fragment that contradicts an earlier one of its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contradiction;

impl Fragments {
    /// An empty table for so many datagrams at least, hashed under this secret.
    pub fn new(entries: usize, secret: [u64; 2]) -> Self {
        let sets = entries.div_ceil(WAYS).max(1);
        Self { sets: vec![[None; WAYS]; sets].into_boxed_slice(), secret, remembered: 0 }
    }

    /// For how many datagrams there is room.
    pub fn capacity(&self) -> usize {
        self.sets.len() * WAYS
    }

    /// Whether a fragment's datagram was decided about.
    pub fn is_decided(&self, packet: &Packet, now: Tick, limits: &FragmentLimits) -> bool {
        Key::of(packet).is_some_and(|key| self.entry(&key, now, limits).is_some())
    }

    /// Counts first fragments: when it has changed, early ones may go on.
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
