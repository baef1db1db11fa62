//! The replies of one burst, looked up together.

use super::{Origin, Place, ReplyHome, ReplyKey, ReplyTable};
use crate::port::BURST;

/// A burst's replies, each at its frame's place.
pub struct ReplyBurst {
    /// A bit for every place that a reply was put to.
    taken: u32,
    keys: [Option<(ReplyKey, ReplyHome)>; BURST],
    found: [Option<(Place, Origin)>; BURST],
}

const _: () = assert!(BURST <= u32::BITS as usize);

impl Default for ReplyBurst {
    fn default() -> Self {
        Self { taken: 0, keys: [None; BURST], found: [None; BURST] }
    }
}

impl ReplyBurst {
    /// Forgets all replies.
    #[inline]
    pub fn clear(&mut self) {
        if self.taken != 0 {
            *self = Self::default();
        }
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Puts a reply to a place and requests its line in the table.
    #[inline]
    pub fn put(&mut self, at: usize, key: ReplyKey, table: &ReplyTable) {
        if let Some(place) = self.keys.get_mut(at) {
            let home = table.locate(&key);
            table.prefetch_bucket(&home);
            *place = Some((key, home));
            self.taken |= 1 << (at % BURST);
        }
    }

    fn each(&mut self, mut f: impl FnMut(&ReplyKey, &ReplyHome, &mut Option<(Place, Origin)>)) {
        let mut left = self.taken;
        for (key, found) in self.keys.iter().zip(&mut self.found) {
            if left == 0 {
                return;
            }
            if let Some((key, home)) = key.as_ref().filter(|_| left & 1 == 1) {
                f(key, home, found);
            }
            left >>= 1;
        }
    }

    /// Reads the lines and requests the entries.
    pub fn fetch(&mut self, table: &ReplyTable) {
        self.each(|_, home, _| table.prefetch_entry(home));
    }

    /// Reads the entries; `each` gets every connection that was found.
    pub fn find(&mut self, table: &ReplyTable, mut each: impl FnMut(&Origin)) {
        self.each(|key, home, found| {
            *found = table.find_at(home, key);
            if let Some((_, origin)) = found {
                each(origin);
            }
        });
    }

    /// What the reply at this place answers, as of [`Self::find`].
    #[inline]
    pub fn found(&self, at: usize) -> Option<(&ReplyKey, Place, Origin)> {
        let (key, _) = self.keys.get(at)?.as_ref()?;
        let (place, origin) = (*self.found.get(at)?)?;
        Some((key, place, origin))
    }

    /// The same as of now.
    pub fn find_again(&self, at: usize, table: &ReplyTable) -> Option<(&ReplyKey, Place, Origin)> {
        let (key, home) = self.keys.get(at)?.as_ref()?;
        let (place, origin) = table.find_at(home, key)?;
        Some((key, place, origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::table::Slot;
    use crate::ids::RealId;
    use crate::tick::Tick;
    use crate::wire::{Addr, Protocol};

    #[test]
    fn every_reply_is_found_at_its_place() {
        let table = ReplyTable::new(100, 16, [3, 4]);
        table.open();
        let key = |n: u16| ReplyKey {
            real: Addr::v4(7),
            real_port: 80,
            client: Addr::v4(9),
            client_port: n,
            protocol: Protocol::Tcp,
        };
        let origin = |n: u16| Origin {
            core: 0,
            slot: Slot::from_number(n.into()),
            real: RealId(5),
            vip: Addr::v4(1),
            vip_port: 80,
        };
        for n in 0..50 {
            assert!(table.insert(&key(n), &origin(n), Tick(0)));
        }
        let mut burst = ReplyBurst::default();
        for (at, n) in [(0, 3), (7, 49), (8, 77), (31, 12)] {
            burst.put(at, key(n), &table);
        }
        burst.fetch(&table);
        let mut seen = Vec::new();
        burst.find(&table, |origin| seen.push(origin.slot.number()));
        assert_eq!(seen, [3, 49, 12]);
        let found = |at| burst.found(at).map(|(key, _, origin)| (*key, origin));
        assert_eq!(found(7), Some((key(49), origin(49))));
        assert_eq!((found(1), found(8)), (None, None));
        table.remove(&key(49), 0, Slot::from_number(49));
        assert!(burst.found(7).is_some() && burst.find_again(7, &table).is_none());
        burst.clear();
        assert!(burst.is_empty() && burst.found(0).is_none());
    }
}
