//! The connection table of one core: the one lookup an established packet pays.
//!
//! Two parts. The index is an array of 64-byte buckets of ten places (a 16-bit tag and the
//! number of an entry each); a key may stand in either of two buckets. The entries stand
//! densely in a slab, so that an entry keeps its number for life. All memory is taken at
//! the start; a full table says so and the caller decides.

use std::hash::Hash;

use super::Conn;
use crate::wire::{Addr, Packet, Protocol};

/// The five values of an IPv4 flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowV4 {
    client: u32,
    vip: u32,
    client_port: u16,
    vip_port: u16,
    protocol: u8,
}

/// The five values of an IPv6 flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowV6 {
    client: u128,
    vip: u128,
    client_port: u16,
    vip_port: u16,
    protocol: u8,
}

/// The five values of a flow, from the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// CIP.
    pub client: Addr,
    /// VIP.
    pub vip: Addr,
    /// The client's port.
    pub client_port: u16,
    /// The virtual port.
    pub vip_port: u16,
    /// The transport protocol.
    pub protocol: Protocol,
}

impl Flow {
    /// The flow of a packet that goes from a client to a VIP.
    #[inline]
    pub fn of(packet: &Packet) -> Self {
        Self {
            client: packet.src,
            vip: packet.dst,
            client_port: packet.src_port,
            vip_port: packet.dst_port,
            protocol: packet.protocol,
        }
    }
}

/// What a table can be keyed by: the flows of one address family.
pub trait Key: Copy + Eq {
    /// The key of a flow of this family.
    fn from_flow(flow: &Flow) -> Self;
    /// The flow again.
    fn flow(&self) -> Flow;
    /// The key as words to hash.
    fn words(&self) -> [u64; 5];
}

impl Key for FlowV4 {
    fn from_flow(flow: &Flow) -> Self {
        Self {
            client: flow.client.v4_number(),
            vip: flow.vip.v4_number(),
            client_port: flow.client_port,
            vip_port: flow.vip_port,
            protocol: flow.protocol.number(),
        }
    }

    fn flow(&self) -> Flow {
        Flow {
            client: Addr::v4(self.client),
            vip: Addr::v4(self.vip),
            client_port: self.client_port,
            vip_port: self.vip_port,
            protocol: Protocol::of(self.protocol, crate::wire::Family::V4),
        }
    }

    #[inline]
    fn words(&self) -> [u64; 5] {
        [
            u64::from(self.client) << 32 | u64::from(self.vip),
            u64::from(self.client_port) << 32
                | u64::from(self.vip_port) << 16
                | u64::from(self.protocol),
            0,
            0,
            0,
        ]
    }
}

impl Key for FlowV6 {
    fn from_flow(flow: &Flow) -> Self {
        Self {
            client: flow.client.number(),
            vip: flow.vip.number(),
            client_port: flow.client_port,
            vip_port: flow.vip_port,
            protocol: flow.protocol.number(),
        }
    }

    fn flow(&self) -> Flow {
        Flow {
            client: Addr::v6(self.client),
            vip: Addr::v6(self.vip),
            client_port: self.client_port,
            vip_port: self.vip_port,
            protocol: Protocol::of(self.protocol, crate::wire::Family::V6),
        }
    }

    #[inline]
    fn words(&self) -> [u64; 5] {
        [
            (self.client >> 64) as u64,
            self.client as u64,
            (self.vip >> 64) as u64,
            self.vip as u64,
            u64::from(self.client_port) << 32
                | u64::from(self.vip_port) << 16
                | u64::from(self.protocol),
        ]
    }
}

const PLACES: usize = 10;

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Bucket {
    /// 0 = free place.
    tags: [u16; PLACES],
    slots: [u32; PLACES],
}

const EMPTY: Bucket = Bucket { tags: [0; PLACES], slots: [0; PLACES] };

impl Bucket {
    fn free_place(&self) -> Option<usize> {
        self.tags.iter().position(|tag| *tag == 0)
    }

    fn used(&self) -> usize {
        self.tags.iter().filter(|tag| **tag != 0).count()
    }
}

/// Names an entry for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

impl Slot {
    /// The entry's number, for tables that point to it.
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The entry of that number.
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

#[derive(Clone, Copy)]
enum Entry<K> {
    Free(Option<u32>),
    Used(K, Conn),
}

/// The table had no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A table of one address family's connections.
pub struct Table<K> {
    buckets: Box<[Bucket]>,
    entries: Vec<Entry<K>>,
    first_free: Option<u32>,
    used: usize,
    capacity: usize,
    sweep_at: usize,
    key: [u64; 2],
}

struct Home {
    tag: u16,
    buckets: [usize; 2],
}

/// A folded multiplication: both halves of the 128-bit product, so that every bit counts.
#[inline]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

impl<K: Key> Table<K> {
    /// A table for so many connections, hashed under this secret key.
    pub fn new(capacity: usize, key: [u64; 2]) -> Self {
        let capacity = capacity.clamp(16, u32::MAX as usize - 1);
        let buckets = (capacity * 5 / 4).div_ceil(PLACES).max(2);
        Self {
            buckets: vec![EMPTY; buckets].into_boxed_slice(),
            entries: Vec::with_capacity(capacity),
            first_free: None,
            used: 0,
            capacity,
            sweep_at: 0,
            key,
        }
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.used
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// How many there may be.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Bytes of memory that the table takes in all.
    pub fn bytes(&self) -> usize {
        size_of_val(&*self.buckets) + self.capacity * size_of::<Entry<K>>()
    }

    #[inline]
    fn home(&self, key: &K) -> Home {
        let words = key.words();
        let mut hash = fold(words[0] ^ self.key[0], words[1] ^ self.key[1]);
        if size_of::<K>() > size_of::<FlowV4>() {
            hash = fold(hash ^ words[2], words[3] ^ self.key[0]);
            hash = fold(hash ^ words[4], self.key[1] | 1);
        }
        let hash = fold(hash ^ self.key[1], self.key[0] ^ 0x9E37_79B9_7F4A_7C15);
        let n = self.buckets.len() as u64;
        let reduce = |half: u64| ((half * n) >> 32) as usize;
        let first = reduce(hash & 0xFFFF_FFFF);
        let second = reduce(hash >> 32);
        let second = if second == first { (first + 1) % self.buckets.len() } else { second };
        // The tag must not repeat the bits that choose the buckets.
        let tag = (hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48) as u16;
        Home { tag: tag.max(1), buckets: [first, second] }
    }

    /// Asks the memory for the lines that a lookup of this flow will read.
    #[inline]
    pub fn prefetch(&self, flow: &Flow) {
        let home = self.home(&K::from_flow(flow));
        for bucket in home.buckets {
            if let Some(bucket) = self.buckets.get(bucket) {
                crate::prefetch::prefetch(bucket);
            }
        }
    }

    /// The entry of a flow.
    #[inline]
    pub fn find(&self, flow: &Flow) -> Option<Slot> {
        let key = K::from_flow(flow);
        let home = self.home(&key);
        for bucket in home.buckets.iter().filter_map(|bucket| self.buckets.get(*bucket)) {
            for (tag, slot) in bucket.tags.iter().zip(&bucket.slots) {
                if *tag == home.tag
                    && let Some(Entry::Used(found, _)) = self.entries.get(*slot as usize)
                    && *found == key
                {
                    return Some(Slot(*slot));
                }
            }
        }
        None
    }

    /// The connection in an entry.
    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&Conn> {
        match self.entries.get(slot.0 as usize) {
            Some(Entry::Used(_, conn)) => Some(conn),
            _ => None,
        }
    }

    /// The connection in an entry, to be changed.
    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Conn> {
        match self.entries.get_mut(slot.0 as usize) {
            Some(Entry::Used(_, conn)) => Some(conn),
            _ => None,
        }
    }

    /// The flow of an entry.
    pub fn flow(&self, slot: Slot) -> Option<Flow> {
        match self.entries.get(slot.0 as usize) {
            Some(Entry::Used(key, _)) => Some(key.flow()),
            _ => None,
        }
    }

    /// Adds a connection. The flow must not be in the table.
    pub fn insert(&mut self, flow: &Flow, conn: Conn) -> Result<Slot, Full> {
        let key = K::from_flow(flow);
        let home = self.home(&key);
        let used = |bucket: usize| self.buckets.get(bucket).map_or(PLACES, Bucket::used);
        let [first, second] = home.buckets;
        let bucket = if used(second) < used(first) { second } else { first };
        let place = self.buckets.get(bucket).and_then(Bucket::free_place).ok_or(Full)?;
        let slot = self.take_entry(Entry::Used(key, conn))?;
        if let Some(bucket) = self.buckets.get_mut(bucket)
            && let (Some(tag), Some(number)) =
                (bucket.tags.get_mut(place), bucket.slots.get_mut(place))
        {
            *tag = home.tag;
            *number = slot.0;
        }
        self.used += 1;
        Ok(slot)
    }

    fn take_entry(&mut self, entry: Entry<K>) -> Result<Slot, Full> {
        if let Some(number) = self.first_free {
            let place = self.entries.get_mut(number as usize).ok_or(Full)?;
            if let Entry::Free(next) = *place {
                self.first_free = next;
            }
            *place = entry;
            return Ok(Slot(number));
        }
        if self.entries.len() >= self.capacity {
            return Err(Full);
        }
        self.entries.push(entry);
        Ok(Slot((self.entries.len() - 1) as u32))
    }

    /// Removes an entry and gives back what was in it.
    pub fn remove(&mut self, slot: Slot) -> Option<(Flow, Conn)> {
        let Some(Entry::Used(key, conn)) = self.entries.get(slot.0 as usize).copied() else {
            return None;
        };
        let home = self.home(&key);
        for bucket in home.buckets {
            let Some(bucket) = self.buckets.get_mut(bucket) else { continue };
            for (tag, number) in bucket.tags.iter_mut().zip(&bucket.slots) {
                if *tag == home.tag && *number == slot.0 {
                    *tag = 0;
                }
            }
        }
        if let Some(entry) = self.entries.get_mut(slot.0 as usize) {
            *entry = Entry::Free(self.first_free);
        }
        self.first_free = Some(slot.0);
        self.used -= 1;
        Some((key.flow(), conn))
    }

    /// Looks at up to `budget` entries after those of the last call, round and round, and
    /// answers the first one that is `due`. `None` when the budget is used up.
    pub fn sweep(
        &mut self,
        budget: &mut usize,
        mut due: impl FnMut(&Conn) -> bool,
    ) -> Option<Slot> {
        while *budget > 0 && !self.entries.is_empty() {
            *budget -= 1;
            if self.sweep_at >= self.entries.len() {
                self.sweep_at = 0;
            }
            let at = self.sweep_at;
            self.sweep_at += 1;
            if let Some(Entry::Used(_, conn)) = self.entries.get(at)
                && due(conn)
            {
                return Some(Slot(at as u32));
            }
        }
        None
    }

    /// How many entries a full round of [`Self::sweep`] looks at.
    pub fn round(&self) -> usize {
        self.entries.len()
    }

    /// All connections, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Flow, &Conn)> + '_ {
        self.entries.iter().filter_map(|entry| match entry {
            Entry::Used(key, conn) => Some((key.flow(), conn)),
            Entry::Free(_) => None,
        })
    }

    /// Up to `limit` connections from entry number `from` on, and where to go on; `None`
    /// at the end. For listings that must not stall the core.
    pub fn page(
        &self,
        from: usize,
        limit: usize,
        mut each: impl FnMut(Flow, &Conn),
    ) -> Option<usize> {
        let end = from.saturating_add(limit).min(self.entries.len());
        for entry in self.entries.get(from..end).unwrap_or_default() {
            if let Entry::Used(key, conn) = entry {
                each(key.flow(), conn);
            }
        }
        (end < self.entries.len()).then_some(end)
    }
}
