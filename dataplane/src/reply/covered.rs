//! Connections that a newer one covers: packets of their real server look alike, as a client
//! speaks from one port to two virtual services that lead to one port of it. IPVS gives such
//! packets to the newest; when it ends, to the one before. Here only the newest is announced, and
//! the others wait in a list under a lock, which nobody takes who has none of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Origin, ReplyKey, ReplyTable};
use crate::conn::table::Slot;
use crate::tick::Tick;

/// Covered connections that are remembered at the most. Beyond them both stay announced, and
/// either one is found.
const MOST: usize = 4096;

/// The covered connections, oldest first.
#[derive(Default)]
pub(super) struct Covered {
    count: AtomicUsize,
    all: Mutex<Vec<(ReplyKey, Origin)>>,
}

impl Covered {
    fn lock(&self) -> MutexGuard<'_, Vec<(ReplyKey, Origin)>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReplyTable {
    /// Takes back the announcement of a connection as long as another one with its key is
    /// announced; by its owner alone. Answers whether that is so.
    pub fn cover(&self, key: &ReplyKey, older: &Origin) -> bool {
        let mut all = self.covered.lock();
        let other = |origin: &Origin| (origin.core, origin.slot) != (older.core, older.slot);
        if all.len() >= MOST || self.search(&self.locate(key), key, other).is_none() {
            return false;
        }
        all.push((*key, *older));
        self.covered.count.store(all.len(), Ordering::Release);
        self.remove(key, older.core, older.slot);
        true
    }

    /// One with this key is announced no more: announces the newest one that it covered, which
    /// is answered.
    pub fn uncover(&self, key: &ReplyKey, now: Tick) -> Option<Origin> {
        if self.covered.count.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut all = self.covered.lock();
        let place = all.iter().rposition(|(covered, _)| covered == key)?;
        let (_, origin) = all.remove(place);
        // Its owner looks here first if it ends meanwhile, and waits for the lock.
        self.insert(key, &origin, now);
        self.covered.count.store(all.len(), Ordering::Release);
        Some(origin)
    }

    /// Forgets a connection that was covered and may be so no longer; by its owner alone.
    /// Answers whether it was announced.
    pub fn remove_covered(&self, key: &ReplyKey, core: u16, slot: Slot) -> bool {
        let mut all = self.covered.lock();
        let own = |(covered, origin): &(ReplyKey, Origin)| {
            covered == key && (origin.core, origin.slot) == (core, slot)
        };
        match all.iter().position(own) {
            Some(place) => {
                all.remove(place);
                self.covered.count.store(all.len(), Ordering::Release);
                false
            }
            None => {
                self.remove(key, core, slot);
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{key, origin};
    use super::*;

    fn found(table: &ReplyTable) -> Option<Origin> {
        table.find(&key(1)).map(|(_, origin)| origin)
    }

    #[test]
    fn the_newest_of_a_key_is_found_and_then_those_that_it_covered() {
        let table = ReplyTable::new(64, 16, [3, 4]);
        table.open();
        for n in 1..=3 {
            let older = found(&table);
            assert!(table.insert(&key(1), &origin(n, n as u16), Tick(0)));
            assert_eq!(older.map(|older| table.cover(&key(1), &older)), (n > 1).then_some(true));
            assert_eq!(found(&table), Some(origin(n, n as u16)));
        }
        assert_eq!(table.uncover(&key(2), Tick(0)), None);
        // One in the middle ends, covered; then the newest; then the last.
        assert!(!table.remove_covered(&key(1), 2, Slot::from_number(2)));
        table.remove(&key(1), 3, Slot::from_number(3));
        assert_eq!(found(&table), None);
        assert_eq!(table.uncover(&key(1), Tick(0)), Some(origin(1, 1)));
        assert_eq!(found(&table), Some(origin(1, 1)));
        assert!(table.remove_covered(&key(1), 1, Slot::from_number(1)), "not covered any more");
        assert_eq!((found(&table), table.entries()), (None, 0));
    }

    #[test]
    fn the_only_one_of_a_key_is_never_covered() {
        let table = ReplyTable::new(64, 16, [3, 4]);
        table.open();
        assert!(table.insert(&key(1), &origin(1, 0), Tick(0)));
        assert!(!table.cover(&key(1), &origin(1, 0)), "the newer one has ended before");
        assert_eq!(found(&table), Some(origin(1, 0)));
    }

    #[test]
    fn where_too_many_are_covered_both_are_announced() {
        let table = ReplyTable::new(3 * MOST, 16, [3, 4]);
        table.open();
        for n in 0..=MOST as u32 {
            table.insert(&key(n), &origin(n, 0), Tick(0));
            table.insert(&key(n), &origin(n, 1), Tick(0));
            assert_eq!(table.cover(&key(n), &origin(n, 0)), n < MOST as u32);
        }
        assert_eq!(table.entries(), MOST + 2);
    }
}
