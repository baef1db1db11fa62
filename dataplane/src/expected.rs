//! Connections that were agreed upon in another one: FTP's data connections, of which the
//! control connection tells port and real server before their first packet comes.
//!
//! A small table that all cores write and read without waiting: what core A reads in a control
//! connection, core B needs for the data connection, wherever the NIC brings it. An entry is
//! one word, so it is read and written whole; it has a part of a keyed hash instead of the five
//! values. A full set forgets what is oldest.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::ids::RealId;
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::wire::Addr;

/// Sets of entries; a power of two.
const SETS: usize = 1 << 11;
/// Entries of a set.
const WAYS: usize = 4;
/// Time is told in this many ticks, about a second, so that what is left of a tick's bits wraps
/// when ticks do.
const UNIT_SHIFT: u32 = 8;
/// For how many seconds FTP's data connections are expected: as long as IPVS keeps one in LISTEN.
pub(crate) const LISTENING_S: u32 = 120;
/// For how many seconds key exchanges are known to other cores, unless they end before.
pub(crate) const EXCHANGES_S: u32 = 86_400;

// An entry: mark 20 | real server 20 | unit in which it ends 24. Zero is free.
const MARK_SHIFT: u32 = 44;
const REAL_SHIFT: u32 = 24;
const UNITS: u32 = u32::MAX >> UNIT_SHIFT;

/// What is known of a connection to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expectation {
    /// CIP.
    pub client: Addr,
    /// The client's port; 0 where it may be any.
    pub client_port: u16,
    /// VIP.
    pub vip: Addr,
    /// The virtual port.
    pub vip_port: u16,
}

/// The connections that are expected.
pub struct ExpectedTable {
    sets: Box<[[AtomicU64; WAYS]]>,
    secret: [u64; 2],
    /// For how long a connection is expected, in units.
    patience: u32,
}

impl ExpectedTable {
    /// An empty table that forgets what is older than so many seconds, hashed under this secret.
    pub fn new(secret: [u64; 2], patience_s: u32) -> Self {
        let patience = (patience_s * TICKS_PER_SECOND) >> UNIT_SHIFT;
        Self { sets: (0..SETS).map(|_| Default::default()).collect(), secret, patience }
    }

    /// The set of an expectation, and its mark, which is not zero.
    fn place(&self, expectation: &Expectation) -> (Option<&[AtomicU64; WAYS]>, u64) {
        let Expectation { client, client_port, vip, vip_port } = expectation;
        let ([a, b], [c, d]) = (client.words(), vip.words());
        let ports = u64::from(*client_port) << 16 | u64::from(*vip_port);
        let [first, second] = self.secret;
        let hash = [a, b, c, d, ports].iter().fold(first, |hash, word| {
            let product = u128::from(hash ^ word ^ 0x9E37_79B9_7F4A_7C15) * u128::from(second | 1);
            (product >> 64) as u64 ^ product as u64
        });
        (self.sets.get(hash as usize & (SETS - 1)), hash >> MARK_SHIFT | 1)
    }

    /// Expects a connection to go to this real server.
    pub fn add(&self, expectation: &Expectation, real: RealId, now: Tick) {
        let (Some(set), mark) = self.place(expectation) else { return };
        let unit = now.0 >> UNIT_SHIFT;
        let left = |word: u64| self.left_of(word, unit);
        let same = set.iter().find(|way| way.load(Ordering::Relaxed) >> MARK_SHIFT == mark);
        let oldest = || set.iter().min_by_key(|way| left(way.load(Ordering::Relaxed)));
        if let Some(way) = same.or_else(oldest) {
            let end = unit.wrapping_add(self.patience) & UNITS;
            let real = u64::from(real.0 & (RealId::LIMIT - 1));
            way.store(mark << MARK_SHIFT | real << REAL_SHIFT | u64::from(end), Ordering::Relaxed);
        }
    }

    /// Takes an expectation out, and answers the real server of it.
    pub fn take(&self, expectation: &Expectation, now: Tick) -> Option<RealId> {
        let (set, mark) = self.place(expectation);
        let unit = now.0 >> UNIT_SHIFT;
        set?.iter().find_map(|way| {
            let word = way.load(Ordering::Relaxed);
            if word >> MARK_SHIFT != mark || self.left_of(word, unit) == 0 {
                return None;
            }
            // Whoever takes it first has it: a connection is made once.
            way.compare_exchange(word, 0, Ordering::Relaxed, Ordering::Relaxed).ok()?;
            Some(RealId((word >> REAL_SHIFT) as u32 & (RealId::LIMIT - 1)))
        })
    }

    /// The real server of an expectation, which stays and has all its time again; and whether
    /// this is the first time in about a second.
    pub fn find(&self, expectation: &Expectation, now: Tick) -> Option<(RealId, bool)> {
        let (set, mark) = self.place(expectation);
        let unit = now.0 >> UNIT_SHIFT;
        set?.iter().find_map(|way| {
            let word = way.load(Ordering::Relaxed);
            if word >> MARK_SHIFT != mark || self.left_of(word, unit) == 0 {
                return None;
            }
            let end = u64::from(unit.wrapping_add(self.patience) & UNITS);
            let again = word & !u64::from(UNITS) | end;
            let is_due = again != word
                && way.compare_exchange(word, again, Ordering::Relaxed, Ordering::Relaxed).is_ok();
            Some((RealId((word >> REAL_SHIFT) as u32 & (RealId::LIMIT - 1)), is_due))
        })
    }

    /// Units that an entry has left; 0 for none, and for a free one.
    fn left_of(&self, word: u64, unit: u32) -> u32 {
        let left = (word as u32).wrapping_sub(unit) & UNITS;
        if word != 0 && left <= self.patience { left } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: [u64; 2] = [0x0123_4567_89AB_CDEF, 0x0F1E_2D3C_4B5A_6978];

    fn expectation(number: u32, client_port: u16) -> Expectation {
        Expectation {
            client: Addr::v4(0xC612_0000 + number),
            client_port,
            vip: Addr::v4(0xC000_020A),
            vip_port: 40_000,
        }
    }

    #[test]
    fn an_expected_connection_is_found_once_and_with_all_that_is_known_of_it() {
        let table = ExpectedTable::new(SECRET, LISTENING_S);
        let now = Tick::from_secs(7);
        table.add(&expectation(1, 0), RealId(77), now);
        table.add(&expectation(1, 900), RealId(RealId::LIMIT - 1), now);
        assert_eq!(table.take(&expectation(1, 901), now), None);
        assert_eq!(table.take(&expectation(2, 0), now), None);
        assert_eq!(table.take(&expectation(1, 0), now), Some(RealId(77)));
        assert_eq!(table.take(&expectation(1, 0), now), None);
        let last = RealId(RealId::LIMIT - 1);
        assert_eq!(table.take(&expectation(1, 900), now), Some(last));
    }

    #[test]
    fn nothing_is_expected_for_longer_than_two_minutes_wherever_the_clock_stands() {
        for start in [Tick(0), Tick(u32::MAX - 50), Tick(u32::MAX / 2)] {
            let table = ExpectedTable::new(SECRET, LISTENING_S);
            table.add(&expectation(1, 0), RealId(1), start);
            table.add(&expectation(2, 0), RealId(2), start);
            assert_eq!(table.take(&expectation(1, 0), start.plus_secs(117)), Some(RealId(1)));
            assert_eq!(table.take(&expectation(2, 0), start.plus_secs(121)), None);
        }
    }

    #[test]
    fn what_is_found_stays_and_is_news_once_a_second() {
        let table = ExpectedTable::new(SECRET, EXCHANGES_S);
        let start = Tick(u32::MAX - 50);
        table.add(&expectation(1, 500), RealId(7), start);
        assert_eq!(table.find(&expectation(2, 500), start), None);
        assert_eq!(table.find(&expectation(1, 500), start), Some((RealId(7), false)));
        for seconds in [2, 80_000, 160_000] {
            let now = start.plus_secs(seconds);
            assert_eq!(table.find(&expectation(1, 500), now), Some((RealId(7), true)));
            assert_eq!(table.find(&expectation(1, 500), now), Some((RealId(7), false)));
        }
        assert_eq!(table.take(&expectation(1, 500), start.plus_secs(160_001)), Some(RealId(7)));
        assert_eq!(table.find(&expectation(1, 500), start.plus_secs(160_002)), None);
    }

    #[test]
    fn the_newest_of_many_are_kept() {
        let table = ExpectedTable::new(SECRET, LISTENING_S);
        let many = 100_000;
        for number in 0..many {
            table.add(&expectation(number, 0), RealId(number % 1000), Tick(number));
        }
        let now = Tick(many);
        let newest = (many - 500..many).filter(|number| {
            table.take(&expectation(*number, 0), now) == Some(RealId(number % 1000))
        });
        assert!(newest.count() > 490);
    }
}
