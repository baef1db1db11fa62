//! The connection table of one core: the one lookup an established packet pays.
//!
//! Two parts: a slab of packed entries, which keep their numbers for life, and an index of
//! one-line buckets. Three of four entries stand in their flow's home, a line of the slab that a
//! hash of the client's end names, so that packets of both directions know it. The home says
//! whether there are others, and these are found through the index, by a hash of all five values.
//! An IPv4 connection takes 32 bytes and 6.9 bytes of index and of what says which places are
//! free, empty places included; an IPv6 connection 64 and 6.9. For a burst: all homes are
//! requested, then read; of those that are not there [`Table::prefetch_bucket`], then
//! [`Table::prefetch_entry`]; what is not where it was taken to be is found by
//! [`Table::find_key`].
//!
//! All memory is taken at the start or by [`Growth`]; a full table says so and the caller
//! decides.

mod find;

use super::Conn;
use super::growth::Leaving;
use super::index::Index;
use super::slab::{self, Slab};
use crate::cpu::Tier;
use crate::tick::Tick;

pub use super::entry::{Entry, EntryV4, EntryV6};
pub use super::flow::Flow;
pub use super::growth::{Growth, Leftover, Spent, TableGrowth};
pub use super::index::Home;
pub use super::packed::{Packed, Renewal, Standing};
pub(crate) use find::Wanted;

/// Names an entry for as long as it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot(u32);

impl Slot {
    /// The entry's number, below 2^28, for tables that point to it.
    #[inline]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The entry of that number.
    #[inline]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// The table had no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A table of one address family's connections.
pub struct Table<E> {
    pub(super) index: Index,
    pub(super) leaving: Option<Leaving>,
    pub(super) slab: Slab<E>,
    pub(super) secret: [u64; 2],
    tier: Tier,
    /// How often an entry was taken out or given another state.
    changes: u32,
}

impl<E: Entry> Table<E> {
    /// The most connections that a table can have.
    pub const LIMIT: usize = slab::LIMIT;

    /// A table for so many connections (16 to [`Self::LIMIT`]), hashed under this secret.
    pub fn new(capacity: usize, secret: [u64; 2]) -> Self {
        let capacity = capacity.clamp(16, Self::LIMIT);
        // Whatever the secret, no factor of the hash is small.
        let [first, second] = secret;
        let secret = [first ^ 0x9E37_79B9_7F4A_7C15, second ^ 0xD6E8_FEB8_6659_FD93];
        Self {
            index: Index::new(capacity),
            leaving: None,
            slab: Slab::new(capacity),
            secret,
            tier: Tier::best(),
            changes: 0,
        }
    }

    /// What the CPU has to look through it.
    #[inline]
    pub(crate) fn tier(&self) -> Tier {
        self.tier
    }

    /// Goes up whenever what is known of an entry is no longer true but for what
    /// [`Packed::keep`] changes.
    #[inline(always)]
    pub(super) fn changes(&self) -> u32 {
        self.changes
    }

    /// How many connections there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.slab.used()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many there may be.
    #[inline]
    pub fn capacity(&self) -> usize {
        self.slab.capacity()
    }

    /// Bytes of memory that the table takes in all, empty places included.
    pub fn bytes(&self) -> usize {
        let leaving = self.leaving.as_ref().map_or(0, |leaving| leaving.index.bytes());
        self.index.bytes() + leaving + self.slab.bytes()
    }

    /// What an entry is to packets of its flow, if it is this flow's.
    #[inline(always)]
    pub(crate) fn standing(&self, slot: Slot, key: &E::Key, renewal: &Renewal) -> Standing {
        let entry = self.slab.get(slot).filter(|entry| entry.is_of(key));
        entry.map_or(Standing::UNKNOWN, |entry| entry.standing(renewal))
    }

    /// A packet from the client has left an entry's state as it is.
    #[inline(always)]
    pub(crate) fn keep(&mut self, slot: Slot, timeout: u32, expires: Tick) {
        if let Some(packed) = self.packed_mut(slot)
            && packed.keep(timeout, expires)
        {
            self.ends_at(slot, expires);
        }
    }

    /// The connection in an entry as it is packed: for those that need a part of it.
    #[inline]
    pub fn entry(&self, slot: Slot) -> Option<&Packed> {
        self.slab.get(slot).map(E::packed).filter(|packed| packed.is_used())
    }

    /// The same, to be changed.
    #[inline(always)]
    pub fn entry_mut(&mut self, slot: Slot) -> Option<&mut Packed> {
        self.slab.get_mut(slot).map(E::packed_mut).filter(|packed| packed.is_used())
    }

    /// The same, of an entry that is known to be in use.
    #[inline(always)]
    pub(crate) fn packed_mut(&mut self, slot: Slot) -> Option<&mut Packed> {
        self.slab.get_mut(slot).map(E::packed_mut)
    }

    /// The connection in an entry.
    #[inline]
    pub fn read(&self, slot: Slot) -> Option<Conn> {
        self.entry(slot).map(Packed::conn)
    }

    /// Changes the connection in an entry; nothing happens if there is none.
    #[inline]
    pub fn write(&mut self, slot: Slot, conn: &Conn) {
        if let Some(packed) = self.entry_mut(slot) {
            packed.set(conn);
            self.changes = self.changes.wrapping_add(1);
            self.slab.ends_at(slot, conn.expires);
        }
    }

    /// An entry that was changed in place may end then, perhaps sooner than before.
    #[cold]
    pub fn ends_at(&mut self, slot: Slot, expires: Tick) {
        self.slab.ends_at(slot, expires);
    }

    /// The flow of an entry.
    pub fn flow(&self, slot: Slot) -> Option<Flow> {
        self.slab.get(slot).filter(|entry| entry.packed().is_used()).map(E::flow)
    }

    /// Adds a connection. The flow must not be in the table; its protocol must have ports.
    pub fn insert(&mut self, flow: &Flow, conn: Conn) -> Result<Slot, Full> {
        self.insert_key(&self.locate(flow), &E::key(flow), &conn)
    }

    /// The same by the flow's key, which stands where [`Self::locate_key`] said.
    #[inline(always)]
    fn insert_key(&mut self, home: &Home, key: &E::Key, conn: &Conn) -> Result<Slot, Full> {
        let first = self.home(key);
        self.insert_wanted(Wanted { first, home, key }, conn)
    }

    /// The same of a flow that [`Self::find_wanted`] did not find.
    #[inline(always)]
    pub(crate) fn insert_wanted(
        &mut self,
        Wanted { first, home, key }: Wanted<'_, E>,
        conn: &Conn,
    ) -> Result<Slot, Full> {
        let entry = E::of_key(key, conn);
        if !entry.packed().is_used() {
            return Err(Full);
        }
        // A segment that was added since gives it another home.
        let first = if self.slab.has_many() { self.home(key) } else { first };
        let slot = self.slab.add(entry, first).ok_or(Full)?;
        if !self.slab.is_in_home(slot, first) {
            let end = self.end(key);
            if !self.slab.is_at_home(slot, end) {
                self.note_away(home, end, slot)?;
            }
        }
        Ok(slot)
    }

    /// An entry is not at home: only the index knows where it is.
    #[inline(never)]
    fn note_away(&mut self, home: &Home, end: u64, slot: Slot) -> Result<(), Full> {
        if !self.index.insert(*home, slot.0) {
            self.slab.remove(slot);
            return Err(Full);
        }
        self.slab.count_away(end, true);
        Ok(())
    }

    /// Removes an entry and gives back what was in it.
    pub fn remove(&mut self, slot: Slot) -> Option<(Flow, Conn)> {
        let entry = *self.slab.get(slot).filter(|entry| entry.packed().is_used())?;
        let key = entry.own_key();
        let end = self.end(&key);
        if !self.slab.is_at_home(slot, end) {
            let home = self.locate_key(&key);
            if !self.index.remove(home, slot.0)
                && let Some(leaving) = &mut self.leaving
            {
                leaving.index.remove(home, slot.0);
            }
            self.slab.count_away(end, false);
        }
        self.slab.remove(slot);
        self.changes = self.changes.wrapping_add(1);
        Some((entry.flow(), entry.packed().conn()))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::conn::{ConnFlags, State};
    use crate::forward::Forwarding;
    use crate::ids::RealId;
    use crate::tick::Tick;
    use crate::wire::{Addr, Protocol};

    fn flow(n: u32, v6: bool) -> Flow {
        let client = 0x0A00_0000 + n / 3;
        let protocol = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp][n as usize % 3];
        Flow {
            client: if v6 {
                Addr::v6(0x2001_0DB8 << 96 | u128::from(client))
            } else {
                Addr::v4(client)
            },
            vip: if v6 { Addr::v6(0x2001_0DB8 << 96 | 80) } else { Addr::v4(0xC633_640A) },
            client_port: (n * 7) as u16,
            vip_port: 80,
            protocol,
        }
    }

    fn conn(n: u32) -> Conn {
        Conn {
            template: None,
            real: RealId(n % RealId::LIMIT),
            expires: Tick(n),
            timeout: n % 1000,
            real_port: n as u16,
            state: State::TcpEstablished,
            flags: ConnFlags::NO_OUTPUT,
            forwarding: Forwarding::Masq,
            in_packets: n as u8 % (Conn::MANY_PACKETS + 1),
        }
    }

    #[test]
    fn a_connection_takes_at_most_forty_bytes_and_a_wide_one_seventy_two() {
        for capacity in [100, 1024, 65_536, 1_000_000] {
            let table = Table::<EntryV4>::new(capacity, [1, 2]);
            assert_eq!(table.capacity(), capacity);
            assert!(table.bytes() <= 40 * capacity, "{} for {capacity}", table.bytes());
        }
        let table = Table::<EntryV6>::new(10_000, [1, 2]);
        assert!(table.bytes() <= 72 * 10_000, "{}", table.bytes());
    }

    #[test]
    fn a_table_holds_as_many_as_it_says_and_refuses_one_more() {
        let mut table = Table::<EntryV4>::new(50_000, [1, 2]);
        for n in 0..50_000 {
            assert!(table.insert(&flow(n, false), conn(n)).is_ok(), "{n}");
        }
        assert_eq!(table.insert(&flow(50_000, false), conn(0)), Err(Full));
        for n in 0..50_000 {
            let slot = table.find(&flow(n, false)).unwrap();
            assert_eq!((table.read(slot), table.flow(slot)), (Some(conn(n)), Some(flow(n, false))));
        }
        assert_eq!(table.find(&flow(50_000, false)), None);
        let slot = table.find(&flow(7, false)).unwrap();
        assert_eq!(table.remove(slot), Some((flow(7, false), conn(7))));
        assert_eq!((table.remove(slot), table.read(slot)), (None, None));
        assert!(table.insert(&flow(50_000, false), conn(9)).is_ok());
    }

    #[test]
    fn a_protocol_without_ports_has_no_entry() {
        let mut table = Table::<EntryV4>::new(16, [1, 2]);
        let icmp = Flow { protocol: Protocol::Icmp, ..flow(0, false) };
        assert_eq!(table.insert(&icmp, conn(0)), Err(Full));
        assert_eq!((table.find(&icmp), table.len()), (None, 0));
    }

    #[test]
    fn a_round_of_sweeps_meets_every_entry_once_whatever_the_budget() {
        for budget in [1, 7, 64, 5000] {
            let mut table = Table::<EntryV4>::new(1000, [1, 2]);
            for n in 0..1000 {
                table.insert(&flow(n, false), conn(n)).unwrap();
            }
            let mut met = vec![0; 1000];
            let mut looked = 0;
            while looked < table.round() {
                let mut left = budget.min(table.round() - looked);
                looked += left;
                while let Some(slot) = table.sweep(&mut left, (Tick(1000), false), |entry| {
                    met[entry.expires().0 as usize] += 1;
                    entry.expires().0 % 5 == 0
                }) {
                    table.remove(slot);
                }
            }
            assert_eq!(met, [1; 1000], "budget {budget}");
            assert_eq!(table.len(), 800);
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn four_homes_at_once_are_those_of_each_flow_before_growth_and_after() {
        use std::arch::x86_64::__m512i;

        if Tier::best() < Tier::Avx512 {
            return;
        }
        let mut table = Table::<EntryV4>::new(3_000, [11, 12]);
        for grown in [false, true] {
            if grown {
                assert!(table.grow(Growth::new(3_000, 20_000)).is_ok());
            }
            for n in 0..500 {
                let keys: [_; 4] = std::array::from_fn(|more| {
                    EntryV4::key(&flow(3 * (4 * n + more as u32), false))
                });
                let mut ends = [u64::MAX; 8];
                for (end, [addresses, place]) in ends.iter_mut().step_by(2).zip(keys) {
                    *end = EntryV4::end_of((addresses >> 32) as u32, (place >> 48) as u16, 1);
                }
                // SAFETY: the CPU has the tier, and eight words are 64 bytes, whatever their bits.
                #[allow(unsafe_code)]
                let homes =
                    unsafe { table.request_homes(std::mem::transmute::<[u64; 8], __m512i>(ends)) };
                assert_eq!(homes, keys.map(|key| table.home(&key)));
            }
        }
    }

    #[test]
    fn pages_list_every_connection_once() {
        let mut table = Table::<EntryV4>::new(1000, [1, 2]);
        for n in 0..700 {
            table.insert(&flow(n, false), conn(n)).unwrap();
        }
        table.grow(Growth::new(1000, 1500)).unwrap();
        for n in 700..1400 {
            table.insert(&flow(n, false), conn(n)).unwrap();
        }
        let (mut listed, mut from) = (Vec::new(), Some(0));
        while let Some(at) = from {
            from = table.page(at, 64, |_, conn| listed.push(conn.expires.0));
        }
        listed.sort_unstable();
        assert_eq!(listed, (0..1400).collect::<Vec<_>>());
        assert_eq!(table.iter().count(), 1400);
    }

    #[test]
    fn a_full_table_grows_in_steps_and_every_entry_is_found_under_its_number_all_the_time() {
        let mut table = Table::<EntryV4>::new(5_000, [1, 2]);
        let slots: Vec<_> =
            (0..5_000).map(|n| table.insert(&flow(n, false), conn(n)).unwrap()).collect();
        let before = table.bytes();
        table.grow(Growth::new(table.capacity(), 10_000)).unwrap();
        assert!(table.grow(Growth::new(10_000, 20_000)).is_err(), "one at a time");
        let mut next = 5_000;
        let spent = loop {
            let spent = table.step(3);
            for n in (0..5_000).step_by(97) {
                let home = table.locate(&flow(n, false));
                table.prefetch_bucket(&home, &EntryV4::key(&flow(n, false)));
                table.prefetch_entry(&home, &EntryV4::key(&flow(n, false)));
                assert_eq!(table.find_at(&home, &flow(n, false)), Some(slots[n as usize]));
            }
            if spent.is_some() {
                break spent;
            }
            table.insert(&flow(next, false), conn(next)).unwrap();
            next += 1;
        };
        assert!(spent.unwrap().bytes() < before);
        assert!(!table.is_growing());
        while table.len() < 10_000 {
            table.insert(&flow(next, false), conn(next)).unwrap();
            next += 1;
        }
        assert!((0..next).all(|n| table.find(&flow(n, false)).is_some()));
        assert!(table.bytes() <= 40 * 10_000);
    }

    #[derive(Clone, Debug)]
    enum Deed {
        Insert(u32),
        Remove(u32),
        Write(u32, u32),
        Renew(u32),
        Grow(usize),
        Step(usize),
    }

    fn deed() -> impl Strategy<Value = Deed> {
        let key = 0..400u32;
        prop_oneof![
            6 => key.clone().prop_map(Deed::Insert),
            3 => key.clone().prop_map(Deed::Remove),
            2 => (key.clone(), any::<u32>()).prop_map(|(n, to)| Deed::Write(n, to)),
            2 => key.prop_map(Deed::Renew),
            1 => (1..40usize).prop_map(Deed::Grow),
            2 => (1..4usize).prop_map(Deed::Step),
        ]
    }

    /// The table and a map agree whatever is done.
    fn agrees<E: Entry>(v6: bool, deeds: &[Deed]) -> Result<(), TestCaseError> {
        let mut table = Table::<E>::new(64, [11, 12]);
        let mut model: HashMap<u32, (Slot, Conn)> = HashMap::new();
        for deed in deeds {
            match *deed {
                Deed::Insert(n) if model.contains_key(&n) => {}
                Deed::Insert(n) => match table.insert(&flow(n, v6), conn(n)) {
                    Ok(slot) => drop(model.insert(n, (slot, conn(n)))),
                    Err(Full) => prop_assert_eq!(model.len(), table.capacity()),
                },
                Deed::Remove(n) => {
                    if let Some((slot, conn)) = model.remove(&n) {
                        prop_assert_eq!(table.remove(slot), Some((flow(n, v6), conn)));
                    }
                }
                Deed::Write(n, to) => {
                    if let Some((slot, old)) = model.get_mut(&n) {
                        *old = conn(to);
                        table.write(*slot, old);
                    }
                }
                Deed::Renew(n) => {
                    if let Some((slot, old)) = model.get_mut(&n) {
                        old.count_packet();
                        (old.timeout, old.expires) = (9, Tick(n + 9));
                        let _ = table.entry_mut(*slot).unwrap().keep(9, Tick(n + 9));
                    }
                }
                Deed::Grow(more) => {
                    let wanted = table.capacity() + more;
                    let _ = table.grow(Growth::new(table.capacity(), wanted));
                }
                Deed::Step(buckets) => drop(table.step(buckets)),
            }
            prop_assert_eq!(table.len(), model.len());
        }
        for n in 0..400 {
            let found = table.find(&flow(n, v6));
            prop_assert_eq!(found, model.get(&n).map(|(slot, _)| *slot));
            prop_assert_eq!(
                found.and_then(|slot| table.read(slot)),
                model.get(&n).map(|(_, c)| *c)
            );
        }
        prop_assert_eq!(table.iter().count(), model.len());
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        #[test]
        fn an_ipv4_table_is_a_map(deeds in prop::collection::vec(deed(), 0..600)) {
            agrees::<EntryV4>(false, &deeds)?;
        }

        #[test]
        fn an_ipv6_table_is_a_map(deeds in prop::collection::vec(deed(), 0..600)) {
            agrees::<EntryV6>(true, &deeds)?;
        }
    }
}
