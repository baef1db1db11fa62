//! The replies of one burst, looked up together: first where the connections that they answer
//! would stand in this core's own table, then those that are not there in the reply table.

use super::{Origin, Place, ReplyHome, ReplyKeyV4, ReplyTable};
use crate::conn::table::{EntryV4, Slot, Table};
use crate::port::{BURST, places};

/// No entry.
const NONE: u32 = u32::MAX;

/// A burst's IPv4 replies, each at its frame's place.
pub struct ReplyBurst {
    /// A bit for every place that a reply was put to.
    taken: u32,
    /// The same for those whose connections' homes were requested.
    aimed: u32,
    keys: [ReplyKeyV4; BURST],
    /// What the core's own table finds them by.
    answered: [[u64; 2]; BURST],
    /// Where the reply table would have them.
    homes: [ReplyHome; BURST],
    /// A bit for every reply whose connection is not at home in the core's own table.
    strays: u32,
    /// The number of the home's first entry; once it was read, that of the core's own
    /// connection, or [`NONE`].
    guesses: [u32; BURST],
    /// A bit for every reply to a connection of another core.
    foreign: u32,
    found: [Option<(Place, Origin)>; BURST],
}

const _: () = assert!(BURST <= u32::BITS as usize);

impl Default for ReplyBurst {
    fn default() -> Self {
        Self {
            taken: 0,
            aimed: 0,
            keys: [ReplyKeyV4::default(); BURST],
            answered: [[0; 2]; BURST],
            homes: [ReplyHome::default(); BURST],
            strays: 0,
            guesses: [NONE; BURST],
            foreign: 0,
            found: [None; BURST],
        }
    }
}

/// The connection that a reply answers, as far as the tables were asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Probably the one in this entry of the core's own table.
    Own(Slot),
    /// Another core's.
    Foreign(Place, Origin),
    /// None.
    Nobody,
}

impl ReplyBurst {
    /// Forgets all replies.
    #[inline]
    pub fn clear(&mut self) {
        (self.taken, self.aimed, self.strays, self.foreign) = (0, 0, 0, 0);
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Puts a reply to a place. [`Self::aim`] requests what it needs.
    #[inline(always)]
    pub fn put(&mut self, at: usize, key: ReplyKeyV4, table: &ReplyTable, conns: &Table<EntryV4>) {
        if let (Some(place), Some(answered), Some(home), Some(guess)) = (
            self.keys.get_mut(at),
            self.answered.get_mut(at),
            self.homes.get_mut(at),
            self.guesses.get_mut(at),
        ) {
            *place = key;
            *answered = key.answered();
            *guess = conns.home(answered).number();
            *home = table.locate_v4(&key);
            self.taken |= 1 << (at % BURST);
        }
    }

    /// [`Self::put`] for four places from one on, with what is found by what; their homes were
    /// requested.
    #[inline(always)]
    pub fn put_four(
        &mut self,
        at: usize,
        (keys, answered): ([ReplyKeyV4; 4], [[u64; 2]; 4]),
        homes: [Slot; 4],
        table: &ReplyTable,
    ) {
        let places = (
            self.keys.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()),
            self.answered.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()),
            self.homes.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()),
            self.guesses.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()),
        );
        let (Some(keys_at), Some(answered_at), Some(homes_at), Some(guesses)) = places else {
            return;
        };
        *homes_at = keys.map(|key| table.locate_v4(&key));
        (*keys_at, *answered_at, *guesses) = (keys, answered, homes.map(Slot::number));
        self.taken |= 0xF << (at % BURST);
        self.aimed |= 0xF << (at % BURST);
    }

    /// Requests the homes of the replies' connections, and their lines in the reply table. One
    /// request after the other, so that the CPU has as many pages looked up at a time as it can.
    #[inline]
    pub fn aim(&self, table: &ReplyTable, conns: &Table<EntryV4>) {
        for first in places(self.taken & !self.aimed).filter_map(|at| self.guesses.get(at)) {
            conns.prefetch_slot(Slot::from_number(*first));
        }
        for home in places(self.taken).filter_map(|at| self.homes.get(at)) {
            table.prefetch_bucket(home);
        }
    }

    /// Reads the homes, and the lines of those that are not there: requests their entries.
    #[inline(never)]
    pub fn fetch(&mut self, table: &ReplyTable, conns: &Table<EntryV4>) {
        let mut strays = 0;
        for at in places(self.taken) {
            if let (Some(key), Some(guess)) = (self.answered.get(at), self.guesses.get_mut(at)) {
                let (slot, missed) = conns.guess_answered(Slot::from_number(*guess), key);
                strays |= u32::from(missed) << at;
                *guess = slot.number();
            }
        }
        self.strays = strays;
        for home in places(strays).filter_map(|at| self.homes.get(at)) {
            table.prefetch_entry(home);
        }
    }

    /// Reads the reply table's entries, and requests the connections of this core.
    #[inline(never)]
    pub fn find(&mut self, table: &ReplyTable, conns: &Table<EntryV4>, core: usize) {
        for at in places(self.strays) {
            if let (Some(key), Some(home), Some(guess), Some(found)) = (
                self.keys.get(at),
                self.homes.get(at),
                self.guesses.get_mut(at),
                self.found.get_mut(at),
            ) {
                *found = table.find_v4(home, key);
                match whose(found, Some(core)) {
                    Whose::Own(slot) => {
                        conns.prefetch_slot(slot);
                        *guess = slot.number();
                    }
                    Whose::Foreign(..) => (*guess, self.foreign) = (NONE, self.foreign | 1 << at),
                    Whose::Nobody => *guess = NONE,
                }
            }
        }
    }

    /// Between whom the reply at this place is, and what the core's own table finds it by.
    #[inline(always)]
    pub fn keys(&self, at: usize) -> Option<(&ReplyKeyV4, &[u64; 2])> {
        Some((self.keys.get(at)?, self.answered.get(at)?))
    }

    /// The core's own connection that the reply at this place probably answers, as of
    /// [`Self::find`].
    #[inline(always)]
    pub fn own(&self, at: usize) -> Option<Slot> {
        self.guesses.get(at).filter(|guess| **guess != NONE).map(|guess| Slot::from_number(*guess))
    }

    /// Whose connection the reply at this place answers, as of [`Self::find`].
    pub fn whose(&self, at: usize) -> Whose {
        match self.own(at) {
            Some(slot) => Whose::Own(slot),
            _ if self.foreign >> (at % BURST) & 1 == 0 => Whose::Nobody,
            _ => self.found.get(at).map_or(Whose::Nobody, |found| whose(found, None)),
        }
    }

    /// The same as of now.
    #[cold]
    #[inline(never)]
    pub fn ask_again(
        &self,
        at: usize,
        table: &ReplyTable,
        conns: &Table<EntryV4>,
        core: usize,
    ) -> Whose {
        let (Some((key, answered)), Some(home)) = (self.keys(at), self.homes.get(at)) else {
            return Whose::Nobody;
        };
        match conns.guess_answered(conns.home(answered), answered) {
            (slot, false) => Whose::Own(slot),
            (_, true) => whose(&table.find_v4(home, key), Some(core)),
        }
    }
}

/// The connection that was found in the reply table, as seen by a core that may have it.
fn whose(found: &Option<(Place, Origin)>, core: Option<usize>) -> Whose {
    match found {
        Some((_, origin)) if core == Some(usize::from(origin.core)) => Whose::Own(origin.slot),
        Some((place, origin)) => Whose::Foreign(*place, *origin),
        None => Whose::Nobody,
    }
}

#[cfg(test)]
mod tests {
    use super::super::ReplyKey;
    use super::*;
    use crate::conn::{Conn, ConnFlags, Flow, State};
    use crate::forward::Forwarding;
    use crate::ids::RealId;
    use crate::tick::Tick;
    use crate::wire::{Addr, Protocol};

    /// The connection of client number `n`, from its port `n`.
    fn conn_of(n: u16, slot: u32, core: u16) -> (ReplyKey, Origin) {
        let key = ReplyKey {
            real: Addr::v4(7),
            real_port: 80,
            client: Addr::v4(9),
            client_port: n,
            protocol: Protocol::Tcp,
        };
        let origin = Origin {
            core,
            slot: Slot::from_number(slot),
            real: RealId(5),
            vip: Addr::v4(1),
            vip_port: 80,
        };
        (key, origin)
    }

    fn added(conns: &mut Table<EntryV4>, n: u16) -> Slot {
        let flow = Flow {
            client: Addr::v4(9),
            vip: Addr::v4(1),
            client_port: n,
            vip_port: 80,
            protocol: Protocol::Tcp,
        };
        let conn = Conn {
            template: None,
            real: RealId(5),
            expires: Tick(0),
            timeout: 0,
            real_port: 80,
            state: State::TcpEstablished,
            flags: ConnFlags::empty(),
            forwarding: Forwarding::Masq,
            in_packets: 0,
        };
        conns.insert(&flow, conn).unwrap()
    }

    #[test]
    fn every_reply_is_found_at_its_place_whether_its_connection_is_at_home_or_not() {
        let table = ReplyTable::new(100, 16, [3, 4]);
        table.open();
        let mut conns = Table::<EntryV4>::new(64, [5, 6]);
        let key_v4 = |n| ReplyKeyV4::new((7, 80), (9, n), Protocol::Tcp);
        let mut slots = vec![];
        for n in 0..50 {
            let slot = added(&mut conns, n);
            let (key, origin) = conn_of(n, slot.number(), 3);
            assert!(table.insert(&key, &origin, Tick(0)));
            slots.push(slot);
        }
        // Another core's.
        let (key, origin) = conn_of(60, 1, 4);
        assert!(table.insert(&key, &origin, Tick(0)));
        let mut strays = 0;
        for first in (0..50).step_by(25) {
            let mut burst = ReplyBurst::default();
            for n in first..first + 25 {
                burst.put(usize::from(n - first), key_v4(n), &table, &conns);
            }
            burst.put(30, key_v4(60), &table, &conns);
            burst.put(31, key_v4(61), &table, &conns);
            burst.fetch(&table, &conns);
            strays += (burst.strays & 0x1FF_FFFF).count_ones();
            burst.find(&table, &conns, 3);
            for n in first..first + 25 {
                let own = Whose::Own(slots[usize::from(n)]);
                assert_eq!(burst.whose(usize::from(n - first)), own, "{n}");
                assert_eq!(burst.ask_again(usize::from(n - first), &table, &conns, 3), own);
            }
            let Whose::Foreign(_, found) = burst.whose(30) else { panic!("another core's") };
            assert_eq!((found.core, burst.whose(31)), (4, Whose::Nobody));
            assert_eq!(burst.ask_again(30, &table, &conns, 3), burst.whose(30));
            assert_eq!(burst.ask_again(31, &table, &conns, 3), Whose::Nobody);
            assert_eq!(burst.keys(30).map(|(key, _)| *key), Some(key_v4(60)));
            burst.clear();
            assert!(burst.is_empty());
        }
        assert!((1..25).contains(&strays), "{strays} of 50 are not at home");
        // One ends while its reply is under way.
        let mut burst = ReplyBurst::default();
        burst.put(0, key_v4(49), &table, &conns);
        burst.fetch(&table, &conns);
        burst.find(&table, &conns, 3);
        conns.remove(slots[49]);
        let (key, _) = conn_of(49, 0, 3);
        table.remove(&key, 3, slots[49]);
        assert_eq!(burst.ask_again(0, &table, &conns, 3), Whose::Nobody);
    }
}
