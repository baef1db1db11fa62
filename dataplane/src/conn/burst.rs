//! The flows of one burst, looked up together: all are hashed and all homes on their way from
//! memory at once, then index lines of those that are not at home, then their entries.

use super::entry::place_in;
use super::slab::per_line;
#[cfg(target_arch = "x86_64")]
use super::table::EntryV4;
use super::table::{Entry, Home, Renewal, Slot, Standing, Table, Wanted};
use super::{State, Timeouts};
use crate::port::{BURST, places};
use crate::tick::Tick;

/// No entry.
const NONE: u32 = u32::MAX;

/// A burst's flows of one address family, each at its frame's place.
pub struct ConnBurst<E: Entry> {
    /// A bit for every place that a flow was put to.
    taken: u32,
    /// The same for flows of UDP; the others are of TCP.
    of_udp: u32,
    keys: [E::Key; BURST],
    /// Where the index has them: of those that are not at home, and of those that are opening.
    homes: [Home; BURST],
    /// A bit for every flow that is [opening](Self::put_opening), and the first entries of their
    /// homes.
    opening: u32,
    firsts: [Slot; BURST],
    /// A bit for every flow that is not at home.
    strays: u32,
    /// The number of the home's first entry; once it was read, the number of the entry that is most probably the flow's, or [`NONE`].
    guesses: [u32; BURST],
    /// What the entries were when they were read; then the table had [changed](Table::changes)
    /// so often.
    standings: [Standing; BURST],
    changes: u32,
    sees: bool,
    /// What the flows' packets make of their connections, TCP's and UDP's.
    renewals: [Renewal; 2],
}

const _: () = assert!(BURST <= u32::BITS as usize);

impl<E: Entry> Default for ConnBurst<E> {
    fn default() -> Self {
        Self {
            taken: 0,
            of_udp: 0,
            opening: 0,
            firsts: [Slot::from_number(0); BURST],
            keys: [E::Key::default(); BURST],
            homes: [Home::default(); BURST],
            strays: 0,
            guesses: [NONE; BURST],
            standings: [Standing::UNKNOWN; BURST],
            changes: 0,
            sees: false,
            renewals: renewals(&Timeouts::default(), Tick::default()),
        }
    }
}

fn renewals(timeouts: &Timeouts, now: Tick) -> [Renewal; 2] {
    let of = |state| Renewal::new(state, timeouts.ticks(state), now);
    [of(State::TcpEstablished), of(State::Udp)]
}

impl<E: Entry> ConnBurst<E> {
    /// Forgets all flows; those to come are of packets that come now. If it `sees`, their entries are
    /// read with their homes, for [`Self::standings`].
    #[inline]
    pub fn begin(&mut self, timeouts: &Timeouts, now: Tick, sees: bool) {
        self.sees = sees;
        if self.taken != 0 {
            (self.taken, self.of_udp, self.opening, self.strays) = (0, 0, 0, 0);
            self.guesses = [NONE; BURST];
            self.standings = [Standing::UNKNOWN; BURST];
        }
        self.renewals = renewals(timeouts, now);
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// Whether some flow was not found at home.
    #[inline]
    pub fn has_strays(&self) -> bool {
        self.strays != 0
    }

    /// Puts a flow, of a protocol with ports, to a place, and requests its home.
    #[inline(always)]
    pub fn put(&mut self, at: usize, key: E::Key, table: &Table<E>) {
        table.prefetch_slot(self.put_unasked(at, key, table));
    }

    /// Puts a flow to a place that is probably new, and for which room will be asked for.
    /// [`Self::aim`] requests its home.
    #[inline(always)]
    pub fn put_opening(&mut self, at: usize, key: E::Key, table: &Table<E>) {
        let home = self.put_unasked(at, key, table);
        if let (Some(place), Some(first)) = (self.homes.get_mut(at), self.firsts.get_mut(at)) {
            (*place, *first) = (table.locate_key(&key), home);
            self.opening |= 1 << (at % BURST);
        }
    }

    #[inline(always)]
    fn put_unasked(&mut self, at: usize, key: E::Key, table: &Table<E>) -> Slot {
        let first = table.home(&key);
        if let (Some(place), Some(guess)) = (self.keys.get_mut(at), self.guesses.get_mut(at)) {
            (*place, *guess) = (key, first.number());
            self.taken |= 1 << (at % BURST);
            self.of_udp |= u32::from(E::is_udp(&key)) << (at % BURST);
        }
        first
    }

    /// Requests the homes of opening flows, and what is known of their places. One request after
    /// the other, so that the CPU has as many pages looked up at a time as it can.
    #[inline]
    pub fn aim(&self, table: &Table<E>) {
        let homes = || places(self.opening).filter_map(|at| self.firsts.get(at));
        homes().for_each(|first| table.prefetch_slot(*first));
        homes().for_each(|first| table.prefetch_room(*first));
    }

    /// Requests what opening flows will be put to where their homes are full. After
    /// [`Self::fetch`].
    #[inline(always)]
    pub fn fetch_room(&self, table: &Table<E>) {
        for at in places(self.opening) {
            if let (Some(home), Some(first)) = (self.homes.get(at), self.firsts.get(at)) {
                table.prefetch_if_full(*first, *home);
            }
        }
    }

    /// [`Self::put`] for four places from one on, of one protocol; their homes were requested.
    #[inline(always)]
    pub fn put_four(&mut self, at: usize, keys: [E::Key; 4], homes: [Slot; 4]) {
        let places = (
            self.keys.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()),
            self.guesses.get_mut(at..).and_then(|rest| rest.first_chunk_mut::<4>()),
        );
        let (Some(places), Some(guesses)) = places else { return };
        *guesses = homes.map(Slot::number);
        *places = keys;
        self.taken |= 0xF << (at % BURST);
        let [first, ..] = keys;
        self.of_udp |= if E::is_udp(&first) { 0xF << (at % BURST) } else { 0 };
    }

    /// Reads the homes, and requests the index lines of those that are not there. Once.
    #[inline(never)]
    pub fn fetch(&mut self, table: &Table<E>) {
        match self.sees {
            true => self.fetch_by(table, E::look),
            false => self.fetch_by(table, |line, key, _| {
                (place_in(line, |entry| entry.differs(key)), Standing::UNKNOWN)
            }),
        }
    }

    #[inline(always)]
    fn fetch_by(
        &mut self,
        table: &Table<E>,
        look: impl Fn(&[E], &E::Key, &Renewal) -> (usize, Standing),
    ) {
        let per_line = per_line::<E>();
        self.changes = table.changes();
        let only = table.only();
        let line = |at: usize| match only {
            Some(entries) => entries.get(at..at + per_line),
            None => table.home_line(Slot::from_number(at as u32)),
        };
        self.strays = self.look_by(line, look);
        let mut strays = self.strays;
        // Of those that are not at home, the most are nowhere: their homes say so.
        for at in places(strays) {
            if let (Some(key), Some(home), Some(guess)) =
                (self.keys.get(at), self.homes.get_mut(at), self.guesses.get(at))
            {
                let first = guess.wrapping_sub(per_line as u32);
                match table.goes_on(Slot::from_number(first)) {
                    true => {
                        *home = table.locate_key(key);
                        table.prefetch_bucket(home, key);
                    }
                    false => strays &= !(1 << at),
                }
            }
        }
        self.strays = strays;
    }

    /// Reads the homes; a bit for every flow that is not there.
    #[inline(always)]
    fn look_by<'a>(
        &mut self,
        line: impl Fn(usize) -> Option<&'a [E]>,
        look: impl Fn(&[E], &E::Key, &Renewal) -> (usize, Standing),
    ) -> u32
    where
        E: 'a,
    {
        let mut strays = 0;
        let [tcp, udp] = self.renewals;
        let of_each = [(self.taken & !self.of_udp, tcp), (self.taken & self.of_udp, udp)];
        for (which, renewal) in of_each {
            for at in places(which) {
                if let (Some(key), Some(guess), Some(standing)) =
                    (self.keys.get(at), self.guesses.get_mut(at), self.standings.get_mut(at))
                    && let Some(line) = line(*guess as usize)
                {
                    let (place, found) = look(line, key, &renewal);
                    strays |= u32::from(place >= line.len()) << at;
                    (*guess, *standing) = (*guess + place as u32, found);
                }
            }
        }
        strays
    }

    /// Reads the index lines and requests the entries. Once.
    #[inline(never)]
    pub fn find(&mut self, table: &Table<E>) {
        for at in places(self.strays) {
            if let (Some(home), Some(key), Some(guess)) =
                (self.homes.get(at), self.keys.get(at), self.guesses.get_mut(at))
            {
                *guess = table.prefetch_entry(home, key).map_or(NONE, Slot::number);
            }
        }
    }

    /// Reads the entries of those that are not at home. Once.
    #[inline(always)]
    pub fn settle(&mut self, table: &Table<E>) {
        if self.sees && self.strays != 0 {
            self.read_anew(self.strays, table);
        }
    }

    /// Reads the entries of flows from a place on again, if the table has changed since.
    #[inline(always)]
    pub fn follow(&mut self, from: usize, table: &Table<E>) {
        if self.sees && self.changes != table.changes() {
            self.changes = table.changes();
            let rest = u32::MAX.checked_shl(from as u32).unwrap_or(0);
            self.read_anew(self.taken & rest, table);
        }
    }

    #[inline(never)]
    fn read_anew(&mut self, which: u32, table: &Table<E>) {
        for at in places(which) {
            if let (Some(key), Some(guess), Some(standing)) =
                (self.keys.get(at), self.guesses.get(at), self.standings.get_mut(at))
            {
                let [tcp, udp] = &self.renewals;
                let renewal = if E::is_udp(key) { udp } else { tcp };
                *standing = table.standing(Slot::from_number(*guess), key, renewal);
            }
        }
    }

    /// The entry of the flow that was put to a place, whatever happened to the table since.
    #[inline(always)]
    pub fn entry(&self, at: usize, table: &Table<E>) -> Option<Slot> {
        let (key, guess) = (self.keys.get(at)?, self.guesses.get(at)?);
        let slot = Slot::from_number(*guess);
        // An entry that is the flow's is in use.
        if table.is_of(slot, key) { Some(slot) } else { self.search(at, table) }
    }

    /// Whether [`Self::standings`] says what the entries are.
    #[inline(always)]
    pub fn sees(&self) -> bool {
        self.sees
    }

    /// What packets make of connections that they leave in their state: UDP's or TCP's.
    #[inline(always)]
    pub fn renewal(&self, udp: bool) -> &Renewal {
        let [of_tcp, of_udp] = &self.renewals;
        if udp { of_udp } else { of_tcp }
    }

    /// The flows from a place on, what their entries are if that was seen, as of
    /// [`Self::follow`], and which they probably are.
    #[inline(always)]
    pub fn standings(&self, from: usize) -> impl Iterator<Item = (&E::Key, (Standing, Slot))> {
        let guesses = self.guesses.iter().map(|guess| Slot::from_number(*guess));
        let standings = self.standings.iter().copied();
        self.keys.iter().zip(standings.zip(guesses)).skip(from)
    }

    /// The flow that was put to a place as [opening](Self::put_opening).
    #[inline(always)]
    pub(crate) fn wanted(&self, at: usize) -> Option<Wanted<'_, E>> {
        let (first, home, key) = (*self.firsts.get(at)?, self.homes.get(at)?, self.keys.get(at)?);
        (self.opening >> at & 1 == 1).then_some(Wanted { first, home, key })
    }

    /// Asks the table anew.
    #[cold]
    #[inline(never)]
    fn search(&self, at: usize, table: &Table<E>) -> Option<Slot> {
        if self.taken >> at & 1 == 0 {
            return None;
        }
        let key = self.keys.get(at)?;
        table.find_key(&table.locate_key(key), key)
    }
}

#[cfg(target_arch = "x86_64")]
impl ConnBurst<EntryV4> {
    /// [`Self::fetch`], for CPUs that compare a whole line at once.
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1,bmi2")]
    #[inline(never)]
    pub(crate) fn fetch_avx512(&mut self, table: &Table<EntryV4>) {
        match self.sees {
            true => {
                self.fetch_by(table, |line, key, renewal| EntryV4::look_avx512(line, key, renewal))
            }
            false => self.fetch_by(table, |line, key, _| {
                (EntryV4::find_avx512(line, key), Standing::UNKNOWN)
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::table::{EntryV4, Flow, Packed};
    use crate::conn::{Conn, ConnFlags, State};
    #[cfg(target_arch = "x86_64")]
    use crate::cpu::Tier;
    use crate::forward::Forwarding;
    use crate::ids::RealId;
    use crate::tick::Tick;
    use crate::wire::{Addr, Protocol};

    fn flow(n: u32) -> Flow {
        Flow {
            client: Addr::v4(n),
            vip: Addr::v4(9),
            client_port: n as u16,
            vip_port: 80,
            protocol: Protocol::Tcp,
        }
    }

    fn conn(n: u32) -> Conn {
        Conn {
            template: None,
            real: RealId(n),
            expires: Tick(0),
            timeout: 0,
            real_port: 0,
            state: State::TcpNone,
            flags: ConnFlags::empty(),
            forwarding: Forwarding::Route,
            in_packets: 0,
        }
    }

    #[test]
    fn every_flow_is_found_at_its_place_even_if_the_table_changed_after_it_was_fetched() {
        let mut table = Table::<EntryV4>::new(5000, [3, 4]);
        let slots: Vec<Slot> =
            (1..4000).map(|n| table.insert(&flow(n), conn(n)).unwrap()).collect();
        let mut burst = ConnBurst::default();
        for (at, n) in [(0, 1), (3, 17), (7, 3999), (31, 4500)] {
            burst.put(at, EntryV4::key(&flow(n)), &table);
        }
        burst.fetch(&table);
        burst.find(&table);
        let real = |at, table: &mut Table<EntryV4>| {
            burst.entry(at, table).and_then(|slot| table.entry(slot)).map(Packed::real)
        };
        assert_eq!(real(0, &mut table), Some(RealId(1)));
        assert_eq!(real(1, &mut table), None);
        assert_eq!(real(3, &mut table), Some(RealId(17)));
        assert_eq!(real(31, &mut table), None);
        table.remove(slots[3998]);
        assert_eq!(real(7, &mut table), None);
        assert!(table.insert(&flow(4500), conn(5)).is_ok(), "in the place that is free now");
        assert_eq!(real(7, &mut table), None);
        assert_eq!(real(31, &mut table), Some(RealId(5)));
        burst.begin(&Timeouts::default(), Tick(0), false);
        assert!(burst.is_empty());
        assert!(burst.entry(0, &table).is_none());
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn whole_lines_are_compared_as_their_words_are() {
        if Tier::best() < Tier::Avx512 {
            return;
        }
        let mut table = Table::<EntryV4>::new(64, [3, 4]);
        let (timeouts, now) = (Timeouts::default(), Tick(1_000));
        let timeout = timeouts.ticks(State::TcpEstablished);
        for n in 1..=56 {
            // Some as a packet leaves them, and others that differ from it in one value.
            let mut conn = Conn {
                state: State::TcpEstablished,
                expires: now.plus(timeout),
                timeout,
                in_packets: Conn::MANY_PACKETS,
                ..conn(n)
            };
            match n % 7 {
                1 => conn.in_packets -= 1,
                2 => conn.expires = now,
                3 => conn.expires = now.plus(1),
                4 => conn.state = State::TcpFinWait,
                5 => conn.forwarding = Forwarding::Masq,
                _ => {}
            }
            table.insert(&flow(n), conn).unwrap();
        }
        let mut strays = 0;
        for first in (1..=64).step_by(BURST) {
            let [mut burst, mut wide] = [(); 2].map(|()| {
                let mut burst = ConnBurst::default();
                burst.begin(&timeouts, now, true);
                burst
            });
            for at in 0..BURST {
                burst.put(at, EntryV4::key(&flow(first + at as u32)), &table);
            }
            for at in (0..BURST).step_by(4) {
                let key = |more| EntryV4::key(&flow(first + (at + more) as u32));
                let keys: [_; 4] = std::array::from_fn(key);
                wide.put_four(at, keys, keys.map(|key| table.home(&key)));
            }
            assert_eq!((burst.taken, burst.guesses), (wide.taken, wide.guesses));
            burst.fetch(&table);
            // SAFETY: the CPU has the tier.
            #[allow(unsafe_code)]
            unsafe {
                wide.fetch_avx512(&table);
            }
            assert_eq!((burst.strays, burst.guesses), (wide.strays, wide.guesses));
            let of = |standing: Standing| (!standing.is_odd()).then_some(standing);
            assert_eq!(burst.standings.map(of), wide.standings.map(of));
            for (at, (_, (standing, _))) in burst.standings(0).enumerate() {
                let n = first + at as u32;
                let at_home = n <= 56 && burst.strays >> at & 1 == 0;
                assert_eq!(!standing.is_odd(), at_home && !matches!(n % 7, 2 | 4 | 5), "{n}");
                if !standing.is_odd() {
                    let known = (standing.real(), standing.changes());
                    assert_eq!(known, (RealId(n), matches!(n % 7, 1 | 3)), "{n}");
                }
            }
            strays += burst.strays.count_ones();
        }
        assert!((8..56).contains(&strays), "{strays} of 64");
    }
}
