//! The replies of one burst, looked up together.

use super::{Origin, Place, ReplyHome, ReplyKeyV4, ReplyTable};
use crate::port::{BURST, places};

/// A burst's IPv4 replies, each at its frame's place.
pub struct ReplyBurst {
    /// A bit for every place that a reply was put to.
    taken: u32,
    keys: [ReplyKeyV4; BURST],
    homes: [ReplyHome; BURST],
    found: [Option<(Place, Origin)>; BURST],
}

const _: () = assert!(BURST <= u32::BITS as usize);

impl Default for ReplyBurst {
    fn default() -> Self {
        Self {
            taken: 0,
            keys: [ReplyKeyV4::default(); BURST],
            homes: [ReplyHome::default(); BURST],
            found: [None; BURST],
        }
    }
}

impl ReplyBurst {
    /// Forgets all replies.
    #[inline]
    pub fn clear(&mut self) {
        self.taken = 0;
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Puts a reply to a place and requests its line in the table.
    #[inline(always)]
    pub fn put(&mut self, at: usize, key: ReplyKeyV4, table: &ReplyTable) {
        if let (Some(place), Some(home), Some(found)) =
            (self.keys.get_mut(at), self.homes.get_mut(at), self.found.get_mut(at))
        {
            *home = table.locate_v4(&key);
            table.prefetch_bucket(home);
            *place = key;
            *found = None;
            self.taken |= 1 << (at % BURST);
        }
    }

    /// Reads the lines and requests the entries.
    #[inline(never)]
    pub fn fetch(&mut self, table: &ReplyTable) {
        for home in places(self.taken).filter_map(|at| self.homes.get(at)) {
            table.prefetch_entry(home);
        }
    }

    /// Reads the entries; `each` gets every connection that was found.
    #[inline(always)]
    pub fn find(&mut self, table: &ReplyTable, mut each: impl FnMut(&Origin)) {
        for at in places(self.taken) {
            if let (Some(key), Some(home), Some(found)) =
                (self.keys.get(at), self.homes.get(at), self.found.get_mut(at))
            {
                *found = table.find_v4(home, key);
                if let Some((_, origin)) = found {
                    each(origin);
                }
            }
        }
    }

    /// What the reply at this place answers, as of [`Self::find`].
    #[inline(always)]
    pub fn found(&self, at: usize) -> Option<(ReplyKeyV4, Place, Origin)> {
        let (place, origin) = (*self.found.get(at)?)?;
        (self.taken >> (at % BURST) & 1 != 0).then_some((*self.keys.get(at)?, place, origin))
    }

    /// The same as of now.
    #[cold]
    pub fn find_again(&self, at: usize, table: &ReplyTable) -> Option<(ReplyKeyV4, Place, Origin)> {
        let (key, home) = (*self.keys.get(at)?, self.homes.get(at)?);
        let (place, origin) = table.find_v4(home, &key)?;
        Some((key, place, origin))
    }
}

#[cfg(test)]
mod tests {
    use super::super::ReplyKey;
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
        let key_v4 = |n| ReplyKeyV4::new((7, 80), (9, n), Protocol::Tcp);
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
            burst.put(at, key_v4(n), &table);
        }
        burst.fetch(&table);
        let mut seen = Vec::new();
        burst.find(&table, |origin| seen.push(origin.slot.number()));
        assert_eq!(seen, [3, 49, 12]);
        let found = |at| burst.found(at).map(|(key, _, origin)| (key, origin));
        assert_eq!(found(7), Some((key_v4(49), origin(49))));
        assert_eq!((found(1), found(8)), (None, None));
        table.remove(&key(49), 0, Slot::from_number(49));
        assert!(burst.found(7).is_some() && burst.find_again(7, &table).is_none());
        burst.clear();
        assert!(burst.is_empty() && burst.found(0).is_none());
    }
}
