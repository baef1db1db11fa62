//! Which connection a real server's packet answers, on whatever core it arrives.
//!
//! A masqueraded reply comes from RIP and its port and goes to the client: RSS spreads such
//! packets by other values than the client's, so any core may get them. Each core announces
//! its masqueraded connections here, and every core finds in one lookup what the rewrite
//! needs: the VIP and its port. States and timers stay with the core that owns the
//! connection; a reply that arrives elsewhere is told to it by a note in its mailbox.
//!
//! A lookup costs two or three cache lines. Entries are written by the owner alone and
//! read under a version that is looked at before and after (a sequence lock of atomics).

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use crate::conn::table::Slot;
use crate::ids::RealId;
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::wire::{Addr, Packet, Protocol};

/// The five values of a real server's packet to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyKey {
    /// RIP.
    pub real: Addr,
    /// The port on the real server.
    pub real_port: u16,
    /// CIP.
    pub client: Addr,
    /// The client's port.
    pub client_port: u16,
    /// The transport protocol.
    pub protocol: Protocol,
}

impl ReplyKey {
    /// The key of a packet that goes from a real server to a client.
    pub fn of(packet: &Packet) -> Self {
        Self {
            real: packet.src,
            real_port: packet.src_port,
            client: packet.dst,
            client_port: packet.dst_port,
            protocol: packet.protocol,
        }
    }

    fn words(&self) -> [u64; 5] {
        let [a, b] = self.real.words();
        let [c, d] = self.client.words();
        let ports = u64::from(self.real_port) << 16 | u64::from(self.client_port);
        [a, b, c, d, ports << 8 | u64::from(self.protocol.number())]
    }
}

/// The connection that a reply belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The core that owns it.
    pub core: u16,
    /// Its entry there.
    pub slot: Slot,
    /// Its real server.
    pub real: RealId,
    /// What the client knows the service by.
    pub vip: Addr,
    /// The virtual port.
    pub vip_port: u16,
}

impl Origin {
    fn words(&self) -> [u64; 4] {
        let [a, b] = self.vip.words();
        let place = u64::from(self.slot.number()) << 32 | u64::from(self.core) << 16;
        [a, b, place | u64::from(self.vip_port), u64::from(self.real.0)]
    }

    fn from_words([a, b, place, real]: [u64; 4]) -> Self {
        Self {
            core: (place >> 16) as u16,
            slot: Slot::from_number((place >> 32) as u32),
            real: RealId(real as u32),
            vip: Addr::from_words([a, b]),
            vip_port: place as u16,
        }
    }
}

/// Names an entry while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

/// Entries whose states stand in one cache line.
const LINE: usize = 8;
/// In a state's low bits: the entry is free.
const FREE: u64 = 0;
/// The entry is being written.
const CLAIMED: u64 = 1;
/// The low bits of a state: free, claimed, or the tag of the key.
const TAG: u64 = 0xFFFF;
const VERSION: u64 = TAG + 1;
/// Ticks between two notes of one reply direction, unless a packet is news by itself.
const NOTE_EVERY: u32 = TICKS_PER_SECOND;

#[derive(Debug, Default)]
struct Entry {
    words: [AtomicU64; 9],
    /// When the owner was last told of a reply.
    noted: AtomicU64,
}

#[derive(Debug)]
#[repr(align(64))]
struct States([AtomicU64; LINE]);

#[derive(Debug)]
struct Store {
    states: Box<[States]>,
    entries: Box<[Entry]>,
}

/// All cores' masqueraded connections, by the packets that answer them.
#[derive(Debug)]
pub struct ReplyTable {
    capacity: usize,
    secret: [u64; 2],
    /// Allocated when the first masqueraded real server is configured.
    store: OnceLock<Store>,
}

impl ReplyTable {
    /// A table for so many connections, hashed under this secret. Takes no memory yet.
    pub fn new(capacity: usize, secret: [u64; 2]) -> Self {
        Self { capacity, secret, store: OnceLock::new() }
    }

    /// Takes the memory: 192 bytes per connection. Called by control before a snapshot
    /// names a masqueraded real server.
    pub fn open(&self) {
        self.store.get_or_init(|| {
            // Half full at the most, so that two lines nearly always have room.
            let lines = (self.capacity * 2).div_ceil(LINE).max(2);
            let line = || States(std::array::from_fn(|_| AtomicU64::new(FREE)));
            Store {
                states: (0..lines).map(|_| line()).collect(),
                entries: (0..lines * LINE).map(|_| Entry::default()).collect(),
            }
        });
    }

    fn home(&self, store: &Store, words: &[u64; 5]) -> (u64, [usize; 2]) {
        let [first, second] = self.secret;
        let hash = words.iter().fold(first, |hash, word| mix(hash ^ word ^ second));
        let lines = store.states.len();
        let one = ((hash & 0xFFFF_FFFF) as usize * lines) >> 32;
        let other = ((hash >> 32) as usize * lines) >> 32;
        let other = if other == one { (one + 1) % lines } else { other };
        let tag = mix(hash) & TAG;
        (tag.max(CLAIMED + 1), [one, other])
    }

    /// Announces a connection. Answers `false` where there is no room: its replies will
    /// not be found. One key may be announced twice, for two virtual services of one real
    /// server and one client; either is found.
    pub fn insert(&self, key: &ReplyKey, origin: &Origin, now: Tick) -> bool {
        let Some(store) = self.store.get() else { return false };
        let words = key.words();
        let (tag, lines) = self.home(store, &words);
        let used = |line: &usize| {
            store.states.get(*line).map_or(LINE, |States(states)| {
                states.iter().filter(|s| s.load(Ordering::Relaxed) & TAG != FREE).count()
            })
        };
        let [one, other] = lines;
        let order = if used(&other) < used(&one) { [other, one] } else { [one, other] };
        for line in order {
            let Some(States(states)) = store.states.get(line) else { continue };
            for (place, state) in states.iter().enumerate() {
                let before = state.load(Ordering::Relaxed);
                let version = (before & !TAG).wrapping_add(VERSION);
                if before & TAG != FREE
                    || state
                        .compare_exchange(
                            before,
                            version | CLAIMED,
                            Ordering::Acquire,
                            Ordering::Relaxed,
                        )
                        .is_err()
                {
                    continue;
                }
                // A reader that sees a new word must see that the entry is claimed.
                fence(Ordering::Release);
                if let Some(entry) = store.entries.get(line * LINE + place) {
                    for (to, word) in entry.words.iter().zip(words.iter().chain(&origin.words())) {
                        to.store(*word, Ordering::Relaxed);
                    }
                    entry.noted.store(u64::from(now.0), Ordering::Relaxed);
                }
                state.store(version | tag, Ordering::Release);
                return true;
            }
        }
        false
    }

    /// The connection that a packet with these values answers.
    pub fn find(&self, key: &ReplyKey) -> Option<(Place, Origin)> {
        self.search(key, |_| true).map(|(place, origin, _)| (place, origin))
    }

    fn search(
        &self,
        key: &ReplyKey,
        wanted: impl Fn(&Origin) -> bool,
    ) -> Option<(Place, Origin, u64)> {
        let store = self.store.get()?;
        let words = key.words();
        let (tag, lines) = self.home(store, &words);
        for line in lines {
            let States(states) = store.states.get(line)?;
            for (place, state) in states.iter().enumerate() {
                let before = state.load(Ordering::Acquire);
                if before & TAG != tag {
                    continue;
                }
                let place = line * LINE + place;
                let entry = store.entries.get(place)?;
                let mut read = [0; 9];
                for (to, word) in read.iter_mut().zip(&entry.words) {
                    *to = word.load(Ordering::Relaxed);
                }
                fence(Ordering::Acquire);
                let [k0, k1, k2, k3, k4, value @ ..] = read;
                let origin = Origin::from_words(value);
                if [k0, k1, k2, k3, k4] == words
                    && state.load(Ordering::Relaxed) == before
                    && wanted(&origin)
                {
                    return Some((Place(place), origin, before));
                }
            }
        }
        None
    }

    /// Takes back what [`Self::insert`] announced; by the owner alone.
    pub fn remove(&self, key: &ReplyKey, core: u16, slot: Slot) {
        let found = self.search(key, |origin| origin.core == core && origin.slot == slot);
        if let (Some(store), Some((Place(place), _, state))) = (self.store.get(), found)
            && let Some(States(states)) = store.states.get(place / LINE)
            && let Some(place) = states.get(place % LINE)
        {
            place.store(state & !TAG, Ordering::Release);
        }
    }

    /// Whether the owner should be told of a reply that is no news by itself: once a
    /// second is enough to keep its timer going.
    pub fn note_is_due(&self, place: Place, now: Tick) -> bool {
        let Some(entry) = self.store.get().and_then(|store| store.entries.get(place.0)) else {
            return false;
        };
        let noted = Tick(entry.noted.load(Ordering::Relaxed) as u32);
        let due = noted.until(now).unsigned_abs() >= NOTE_EVERY;
        if due {
            entry.noted.store(u64::from(now.0), Ordering::Relaxed);
        }
        due
    }
}

fn mix(value: u64) -> u64 {
    let product = u128::from(value ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93_u128;
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    fn key(n: u32) -> ReplyKey {
        ReplyKey {
            real: Addr::v4(0xAC10_000B),
            real_port: 8080,
            client: Addr::v4(0x0A00_0000 + n / 1000),
            client_port: (n % 1000) as u16,
            protocol: Protocol::Tcp,
        }
    }

    fn origin(n: u32, core: u16) -> Origin {
        Origin {
            core,
            slot: Slot::from_number(n),
            real: RealId(n ^ 5),
            vip: Addr::v4(n.wrapping_mul(77)),
            vip_port: n as u16,
        }
    }

    #[test]
    fn what_was_announced_is_found_until_it_is_taken_back() {
        let table = ReplyTable::new(10_000, [3, 4]);
        assert!(!table.insert(&key(0), &origin(0, 0), Tick(0)), "not opened yet");
        assert_eq!(table.find(&key(0)), None);
        table.open();
        for n in 0..10_000 {
            assert!(table.insert(&key(n), &origin(n, 1), Tick(0)), "{n}");
        }
        for n in 0..10_000 {
            assert_eq!(table.find(&key(n)).unwrap().1, origin(n, 1));
        }
        for n in (0..10_000).step_by(2) {
            table.remove(&key(n), 1, Slot::from_number(n));
        }
        for n in 0..10_000 {
            assert_eq!(table.find(&key(n)).is_some(), n % 2 == 1, "{n}");
        }
        assert_eq!(table.find(&key(10_001)), None);
    }

    #[test]
    fn one_key_can_stand_for_two_services_and_each_is_taken_back_alone() {
        let table = ReplyTable::new(16, [3, 4]);
        table.open();
        assert!(table.insert(&key(1), &origin(1, 0), Tick(0)));
        assert!(table.insert(&key(1), &origin(2, 0), Tick(0)));
        table.remove(&key(1), 0, Slot::from_number(1));
        assert_eq!(table.find(&key(1)).unwrap().1, origin(2, 0));
        table.remove(&key(1), 0, Slot::from_number(7));
        assert!(table.find(&key(1)).is_some(), "somebody else's entry stays");
    }

    #[test]
    fn a_note_is_due_once_a_second() {
        let table = ReplyTable::new(16, [3, 4]);
        table.open();
        table.insert(&key(1), &origin(1, 0), Tick(100));
        let (place, _) = table.find(&key(1)).unwrap();
        assert!(!table.note_is_due(place, Tick(100 + NOTE_EVERY - 1)));
        assert!(table.note_is_due(place, Tick(100 + NOTE_EVERY)));
        assert!(!table.note_is_due(place, Tick(101 + NOTE_EVERY)));
    }

    #[test]
    fn readers_never_see_half_an_entry_while_owners_replace_them() {
        const KEYS: u32 = 8;
        let table = ReplyTable::new(16, [3, 4]);
        table.open();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for core in 0..2_u16 {
                let (table, stop) = (&table, &stop);
                scope.spawn(move || {
                    for round in 0..20_000_u32 {
                        let n = round % KEYS * 2 + u32::from(core);
                        let mine = Origin { vip_port: n as u16, ..origin(round, core) };
                        table.insert(&key(n), &mine, Tick(0));
                        table.remove(&key(n), core, mine.slot);
                    }
                    stop.store(true, Ordering::Relaxed);
                });
            }
            while !stop.load(Ordering::Relaxed) {
                for n in 0..KEYS * 2 {
                    if let Some((_, found)) = table.find(&key(n)) {
                        let round = found.slot.number();
                        let expected =
                            Origin { vip_port: n as u16, ..origin(round, (n % 2) as u16) };
                        assert_eq!(found, expected);
                    }
                }
            }
        });
        for n in 0..KEYS * 2 {
            assert_eq!(table.find(&key(n)), None);
        }
    }
}
