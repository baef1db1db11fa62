//! What lblc and lblcr remember: a bounded cache by destination address, kept in order as
//! IPVS keeps it. One per service and core.

use std::collections::HashMap;

use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::wire::{Addr, Packet};

/// Entries above which idle ones are removed (16 for each of IPVS's 1024 buckets).
const CROWDED: usize = 16 * 1024;
/// Entries at which no new destination is remembered (one and a half times as many).
const LIMIT: usize = CROWDED * 3 / 2;
/// The most entries that one housekeeping removes because of crowding.
const REMOVED_AT_MOST: usize = CROWDED / 2;
/// How often the housekeeping comes.
const PERIOD: u32 = 60 * TICKS_PER_SECOND;
/// Every so many housekeepings, all that is older than [`UNUSED`] goes.
const FULL_SWEEP: u32 = 30;
/// How long an entry of a crowded cache must have been idle to be removed.
const IDLE: u32 = 6 * 60 * TICKS_PER_SECOND;
/// How long an entry may be unused at all (`lblc_expiration`, `lblcr_expiration`).
pub(super) const UNUSED: u32 = 24 * 3600 * TICKS_PER_SECOND;

#[derive(Clone, Debug)]
struct Entry<T> {
    used: Tick,
    value: T,
}

/// Up to [`LIMIT`] destinations with what is remembered of them.
#[derive(Clone, Debug)]
pub(super) struct Cache<T> {
    entries: HashMap<Addr, Entry<T>>,
    tidied: Option<Tick>,
    rounds: u32,
}

impl<T> Default for Cache<T> {
    /// Takes the memory for a full cache, so that no later pick takes any.
    fn default() -> Self {
        Self { entries: HashMap::with_capacity(LIMIT), tidied: None, rounds: 0 }
    }
}

impl<T> Cache<T> {
    /// What is remembered of the packet's destination; counts as a use.
    pub(super) fn get(&mut self, packet: &Packet, now: Tick) -> Option<&mut T> {
        let entry = self.entries.get_mut(&packet.dst)?;
        entry.used = now;
        Some(&mut entry.value)
    }

    /// Remembers something of the packet's destination, if there is room or an entry.
    pub(super) fn put(&mut self, packet: &Packet, value: T, now: Tick) {
        if self.entries.len() < LIMIT || self.entries.contains_key(&packet.dst) {
            self.entries.insert(packet.dst, Entry { used: now, value });
        }
    }

    /// The housekeeping, if it is due: at most once a minute.
    pub(super) fn tidy(&mut self, now: Tick) {
        let tidied = *self.tidied.get_or_insert(now);
        if tidied.until(now) < PERIOD as i32 {
            return;
        }
        self.tidied = Some(now);
        self.rounds += 1;
        let older_than = |entry: &Entry<T>, ticks: u32| entry.used.until(now) > ticks as i32;
        if self.rounds >= FULL_SWEEP {
            self.rounds = 0;
            self.entries.retain(|_, entry| !older_than(entry, UNUSED));
        } else if self.entries.len() > CROWDED {
            let excess = self.entries.len() - CROWDED;
            let mut left = (excess * 4 / 3).min(REMOVED_AT_MOST);
            self.entries.retain(|_, entry| {
                let removed = left > 0 && older_than(entry, IDLE);
                left -= usize::from(removed);
                !removed
            });
        }
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Parsed, parse};

    fn to(number: u32) -> Packet {
        let mut frame = vec![0; 14 + 28];
        frame[12] = 8;
        frame[14..34].copy_from_slice(&[
            0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 198, 18, 0, 5, 0, 0, 0, 0,
        ]);
        frame[30..34].copy_from_slice(&number.to_be_bytes());
        frame[39] = 8;
        let Parsed::Packet(packet) = parse(&frame) else { panic!("not read") };
        packet
    }

    #[test]
    fn a_full_cache_takes_no_new_destination_and_updates_known_ones() {
        let mut cache = Cache::default();
        for number in 0..LIMIT as u32 + 10 {
            cache.put(&to(number), 1, Tick(0));
        }
        assert_eq!(cache.len(), LIMIT);
        assert_eq!(cache.get(&to(LIMIT as u32), Tick(0)), None);
        cache.put(&to(3), 2, Tick(0));
        assert_eq!(cache.get(&to(3), Tick(0)), Some(&mut 2));
    }

    #[test]
    fn a_crowded_cache_loses_idle_entries_only_and_only_so_many() {
        let mut cache = Cache::default();
        cache.tidy(Tick(0));
        for number in 0..LIMIT as u32 {
            cache.put(&to(number), 0, Tick(0));
        }
        cache.tidy(Tick(PERIOD));
        assert_eq!(cache.len(), LIMIT, "nothing is idle yet");
        let later = Tick(IDLE + PERIOD);
        assert!(cache.get(&to(7), later).is_some());
        cache.tidy(later);
        assert_eq!(cache.len(), LIMIT - REMOVED_AT_MOST);
        assert!(cache.get(&to(7), later).is_some());
    }

    #[test]
    fn every_half_hour_what_was_unused_for_a_day_goes() {
        let mut cache = Cache::default();
        cache.put(&to(1), 0, Tick(0));
        cache.tidy(Tick(0));
        let mut now = Tick(UNUSED);
        for _ in 0..FULL_SWEEP {
            assert_eq!(cache.len(), 1);
            now = now.plus(PERIOD);
            cache.tidy(now);
        }
        assert_eq!(cache.len(), 0);
    }
}
