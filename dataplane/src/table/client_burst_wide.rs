//! The IPv6 clients of one burst, looked up together as the IPv4 ones are; a list of them, so
//! that bursts without any pay nothing for it.

use super::cells::Row;
use super::client::{ClientScope, ClientTable};
use super::client_burst::places_of;
use super::client_wide::{Name, Wide, side_of};
use super::hash::Hash;
use super::segments::{MAX_CHOICES, pair_of, shard_of, third_of};
use crate::port::BURST;

/// A client, its scope, and which frame's it is.
#[derive(Clone, Copy, Default)]
struct Entry {
    /// The halves of the address, the upper one first.
    address: [u64; 2],
    scope: u16,
    place: u8,
}

/// A burst's IPv6 clients, in their frames' order.
pub struct ClientBurstV6 {
    entries: [Entry; BURST],
    hashes: [Hash; BURST],
    /// The lines where they are looked for first.
    lines: [u32; BURST],
    count: usize,
    /// A bit for everyone who was not in the line, and is still to be looked for elsewhere.
    strays: u32,
    /// By frame.
    found: [u16; BURST],
    /// Segments there were when they were aimed at.
    announced: usize,
}

impl Default for ClientBurstV6 {
    fn default() -> Self {
        Self {
            entries: [Entry::default(); BURST],
            hashes: [Hash::default(); BURST],
            lines: [0; BURST],
            count: 0,
            strays: 0,
            found: [0; BURST],
            announced: 0,
        }
    }
}

impl ClientBurstV6 {
    /// Forgets all clients.
    #[inline(always)]
    pub fn clear(&mut self) {
        (self.count, self.strays) = (0, 0);
    }

    /// Whether there is none.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Adds the client of a frame's place, the halves of its address, the upper one first. A
    /// place has one client.
    #[inline(always)]
    pub fn push(&mut self, place: usize, address: [u64; 2], scope: ClientScope) {
        if let Some(entry) = self.entries.get_mut(self.count) {
            *entry = Entry { address, scope: scope.number(), place: place as u8 };
            self.count += 1;
        }
    }

    /// The real servers of the clients at this place and behind it, by their numbers. 0 for one
    /// that is not bound, or not plainly (then [`ClientTable::lookup`] knows). Of places without
    /// a client it says nothing.
    #[inline(always)]
    pub fn found(&self, from: usize) -> impl Iterator<Item = u16> {
        self.found.get(from..).unwrap_or_default().iter().copied()
    }
}

/// A bucket where a client may stand, by its number among them: the newest segment's three come
/// first.
fn bucket_at(table: &ClientTable, announced: usize, step: usize, hash: &Hash) -> Option<usize> {
    let row = table.v6.row(announced.checked_sub(1 + step / MAX_CHOICES)?)?;
    let (per_shard, shard) = (table.v6.per_shard(row), shard_of(*hash, table.v6.shards()));
    let [first, second] = pair_of(per_shard, hash, shard);
    match step % MAX_CHOICES {
        0 => Some(first),
        1 => Some(second),
        _ => third_of(per_shard, hash, shard),
    }
}

impl ClientTable {
    /// Hashes a burst's IPv6 clients and requests the lines where most of them are.
    #[inline]
    pub fn aim_v6(&self, burst: &mut ClientBurstV6) {
        let ClientBurstV6 { entries, hashes, lines, count, announced, .. } = burst;
        *announced = self.v6.announced();
        let Some(row) = self.v6.row(announced.saturating_sub(1)) else { return };
        let (per_shard, shards) = (self.v6.per_shard(row), self.v6.shards());
        let keys = entries.iter().take(*count).map(|entry| {
            let [high, low] = entry.address;
            (u128::from(high) << 64 | u128::from(low), u64::from(entry.scope) | 1 << 32)
        });
        self.hasher.hash_each_address(keys.zip(hashes.iter_mut().zip(lines)), |at, hash| {
            let (place, line) = at;
            *place = hash;
            let start = if shards == 1 { 0 } else { shard_of(hash, shards) as usize * per_shard };
            let first = 2 * (start + Hash::scale(hash.first, per_shard)) + side_of(hash.first);
            row.prefetch_line(first);
            *line = first as u32;
        });
    }

    /// Finds the clients that are where [`Self::aim_v6`] has aimed at, and sets their ages to
    /// `age_now`; requests where the others may be.
    #[inline]
    pub fn find_first_v6(&self, burst: &mut ClientBurstV6, age_now: u8) {
        let ClientBurstV6 { entries, lines, count, found, strays, announced, .. } = burst;
        let Some(row) = self.v6.row(announced.saturating_sub(1)) else {
            return found.fill(0);
        };
        let (mut away, mut bit) = (0, 1);
        for (entry, line) in entries.iter().take(*count).zip(lines) {
            let name = Name::new(entry.scope, self.veil.over(entry.address));
            let real = row.bound_in(*line as usize, name, age_now);
            if let Some(found) = found.get_mut(usize::from(entry.place)) {
                *found = real;
            }
            away |= if real == 0 { bit } else { 0 };
            bit <<= 1;
        }
        *strays = away;
        if away != 0 {
            self.request(burst, 0);
            self.request(burst, 1);
        }
    }

    /// Finds those that were not where they were looked for first, likewise.
    #[inline]
    pub fn find_strays_v6(&self, burst: &mut ClientBurstV6, age_now: u8) {
        if burst.strays != 0 {
            self.find_on_v6(burst, age_now);
        }
    }

    #[inline(never)]
    fn find_on_v6(&self, burst: &mut ClientBurstV6, age_now: u8) {
        for step in 0..MAX_CHOICES * burst.announced {
            for at in places_of(burst.strays) {
                if self.find_at(burst, at, step, age_now) {
                    burst.strays &= !(1 << at);
                }
            }
            if burst.strays == 0 {
                return;
            }
            if step > 0 {
                self.request(burst, step + 1);
            }
        }
        burst.strays = 0;
    }

    /// Requests the buckets where strays are looked for at a step.
    fn request(&self, burst: &ClientBurstV6, step: usize) {
        for at in places_of(burst.strays) {
            let hash = &burst.hashes[at];
            let row = burst.announced.checked_sub(1 + step / MAX_CHOICES);
            let row = row.and_then(|segment| self.v6.row(segment));
            if let Some(row) = row
                && let Some(bucket) = bucket_at(self, burst.announced, step, hash)
            {
                row.prefetch(bucket);
            }
        }
    }

    /// Looks for a client in the bucket of a step.
    fn find_at(&self, burst: &mut ClientBurstV6, at: usize, step: usize, age_now: u8) -> bool {
        let (entry, hash) = (burst.entries[at], &burst.hashes[at]);
        let Some(bucket) = bucket_at(self, burst.announced, step, hash) else { return false };
        let segment = burst.announced.saturating_sub(1 + step / MAX_CHOICES);
        let Some(row) = self.v6.row(segment) else { return false };
        let name = Name::new(entry.scope, self.veil.over(entry.address));
        let in_line = |line: usize| row.bound_in(2 * bucket + line, name, age_now);
        let real = match in_line(side_of(hash.first)) {
            0 => in_line(1 - side_of(hash.first)),
            real => real,
        };
        if let Some(found) = burst.found.get_mut(usize::from(entry.place)) {
            *found = real;
        }
        real != 0
    }
}

const _: () = assert!(Wide::CHOICES == MAX_CHOICES && BURST <= 32);

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::table::{ClientKey, ServiceReal, Sizes};

    #[test]
    fn a_burst_finds_what_lookups_find_in_tables_of_all_shapes() {
        for (shards, entries, growths) in [(1, 40, 0), (1, 4000, 2), (3, 4000, 1)] {
            let sizes = Sizes { shards, entries_v4: 4, entries_v6: entries };
            let (table, mut seats) = ClientTable::new(sizes, [5, 6]);
            let scopes = [1, 2].map(|n| ClientScope::new(n).unwrap());
            let address = |n: u64| [(0x2001_0db8 << 32) + n % 5, n / 2];
            let key = |n: u64| {
                let [high, low] = address(n);
                let client = ClientKey::V6(u128::from(high) << 64 | u128::from(low));
                table.probe(scopes[n as usize % 2], client)
            };
            let clients = entries as u64 * (growths + 1) * 2;
            for n in 0..clients {
                if n > 0 && n % (entries as u64 * 2) == 0 {
                    table.grow(0, entries).unwrap();
                    seats.iter_mut().for_each(|seat| table.quiescent(seat));
                    seats.iter_mut().for_each(|seat| table.sweep(seat, 0, 1, |_| 9, |_| {}));
                }
                let real = ServiceReal::new((n % 30_000 + 1) as u16).unwrap();
                let _ = table.get_or_insert(&key(n), real, 0);
            }
            let mut burst = ClientBurstV6::default();
            let (mut bound, mut at) = (0, 0);
            while at < 2 * clients {
                burst.clear();
                let places: Vec<_> =
                    (0..BURST).filter(|place| !(at as usize + place).is_multiple_of(3)).collect();
                for place in &places {
                    let n = (at + *place as u64) * 7 % (2 * clients);
                    burst.push(*place, address(n), scopes[n as usize % 2]);
                }
                table.aim_v6(&mut burst);
                table.find_first_v6(&mut burst, 7);
                table.find_strays_v6(&mut burst, 7);
                let found: Vec<_> = burst.found(0).collect();
                for place in places {
                    let n = (at + place as u64) * 7 % (2 * clients);
                    let hit = table.peek(&key(n));
                    assert_eq!(found[place], hit.map_or(0, |hit| hit.real.number()));
                    bound += u64::from(hit.is_some());
                }
                at += BURST as u64;
            }
            assert!(bound > clients / 3 && bound < clients * 5 / 3, "{bound} of {clients}");
            let mut ages = [0u64; 8];
            for shard in 0..shards {
                let mut cursor = Some(Default::default());
                while let Some(from) = cursor {
                    cursor =
                        table.iterate(shard, from, 9, |_, _, _, age| ages[usize::from(age)] += 1);
                }
            }
            assert!(ages[7] > 0 && ages[7] <= bound, "{ages:?}");
        }
    }
}
