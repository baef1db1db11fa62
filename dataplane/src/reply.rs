//! Which connection a real server's packet answers, on whatever core it arrives.
//!
//! A masqueraded reply comes from RIP and its port and goes to the client: RSS spreads such
//! packets by other values than the client's, so any core may get them. Each core announces
//! its masqueraded connections here, and every core finds in one lookup what the rewrite
//! needs: the VIP and its port. States and timers stay with the core that owns the
//! connection; a reply that arrives elsewhere is told to it by a note in its mailbox.
//!
//! A lookup reads a line of tags and the entry. For a burst: [`ReplyTable::locate`] all,
//! [`ReplyTable::prefetch_bucket`] all, [`ReplyTable::prefetch_entry`] all, then
//! [`ReplyTable::find_at`] one by one. Memory comes in pieces; growth adds one and moves
//! nothing.

mod burst;
mod covered;
mod layout;
mod store;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::conn::table::Slot;
use crate::ids::RealId;
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::wire::{Addr, Packet, Protocol};
pub use burst::{ReplyBurst, Whose};
use covered::Covered;
pub use layout::ReplyKeyV4;
use layout::{Layout, V4, V6};
use store::Store;

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

    /// The key of the answers to a packet that goes from a client to a real server.
    pub fn of_answers_to(packet: &Packet) -> Self {
        Self {
            real: packet.dst,
            real_port: packet.dst_port,
            client: packet.src,
            client_port: packet.src_port,
            protocol: packet.protocol,
        }
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

/// Where a key may stand, and in which family.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReplyHome {
    hash: u64,
    v6: bool,
}

impl ReplyHome {
    /// Neither free nor claimed.
    fn tag(&self) -> u64 {
        (self.hash >> 56).max(2)
    }
}

/// Names an entry while it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    at: u32,
    piece: u8,
    v6: bool,
}

/// Ticks between two notes of one reply direction, unless a packet is news by itself.
const NOTE_EVERY: u32 = TICKS_PER_SECOND;
/// Pieces that the table may have: its first one and those that it grew by.
const PIECES: usize = 8;

struct Piece {
    v4: Store<V4>,
    v6: Store<V6>,
}

/// The table has as many pieces as it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exhausted;

/// All cores' masqueraded connections, by the packets that answer them.
pub struct ReplyTable {
    /// What it opens with: IPv4, IPv6.
    capacity: [AtomicUsize; 2],
    secret: [u64; 2],
    /// The first one is taken when the first masqueraded real server is configured.
    pieces: [OnceLock<Piece>; PIECES],
    /// Connections that found no room.
    refused: AtomicU64,
    covered: Covered,
}

impl ReplyTable {
    /// A table for so many IPv4 and IPv6 connections, hashed under this secret. Takes no memory
    /// yet.
    pub fn new(v4: usize, v6: usize, secret: [u64; 2]) -> Self {
        // Whatever the secret, no factor of the hash is small.
        let [first, second] = secret;
        let secret = [first ^ 0x9E37_79B9_7F4A_7C15, second ^ 0xD6E8_FEB8_6659_FD93];
        Self {
            capacity: [v4, v6].map(AtomicUsize::new),
            secret,
            pieces: [const { OnceLock::new() }; PIECES],
            refused: AtomicU64::new(0),
            covered: Covered::default(),
        }
    }

    /// Takes the memory: 48 bytes for an IPv4 connection and 91 for an IPv6 one. Called by
    /// control before a snapshot names a masqueraded real server.
    pub fn open(&self) {
        let [v4, v6] = self.capacity.each_ref().map(|capacity| capacity.load(Ordering::Relaxed));
        let [first, ..] = &self.pieces;
        first.get_or_init(|| Piece { v4: Store::new(v4), v6: Store::new(v6) });
    }

    /// Adds room for so many connections more; control pays for the memory, at once if the
    /// table is open.
    ///
    /// # Errors
    /// [`Exhausted`] where it has eight pieces.
    pub fn grow(&self, more_v4: usize, more_v6: usize) -> Result<(), Exhausted> {
        if !self.is_open() {
            for (capacity, more) in self.capacity.iter().zip([more_v4, more_v6]) {
                capacity.fetch_add(more, Ordering::Relaxed);
            }
            return Ok(());
        }
        let new = || Piece { v4: Store::new(more_v4), v6: Store::new(more_v6) };
        let free = self.pieces.iter().find(|piece| piece.get().is_none()).ok_or(Exhausted)?;
        free.get_or_init(new);
        Ok(())
    }

    /// How many connections are announced. Looks at every place: for reports.
    pub fn entries(&self) -> usize {
        self.pieces().map(|piece| piece.v4.entries() + piece.v6.entries()).sum()
    }

    /// How many connections found no room so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Bytes of memory that the table takes in all, empty places included.
    pub fn bytes(&self) -> usize {
        self.pieces().map(|piece| piece.v4.bytes() + piece.v6.bytes()).sum()
    }

    /// Whether its memory was taken.
    #[inline]
    pub fn is_open(&self) -> bool {
        self.pieces().next().is_some()
    }

    #[inline]
    fn pieces(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().map_while(OnceLock::get)
    }

    /// Where a key would stand.
    #[inline]
    pub fn locate(&self, key: &ReplyKey) -> ReplyHome {
        if key.client.is_v4() {
            return self.locate_v4(&V4::key(key));
        }
        let ([a, b], [c, d]) = (key.real.words(), key.client.words());
        let [first, second] = self.secret;
        let ports = u64::from(key.real_port) << 16 | u64::from(key.client_port);
        let ports = ports << 8 | u64::from(key.protocol.number());
        let hash = mix(mix(mix(first ^ a, second ^ b), second ^ c), d ^ first);
        let hash = mix(hash ^ d, second ^ ports);
        ReplyHome { hash: mix(hash, first), v6: true }
    }

    /// The same of an IPv4 key.
    #[inline(always)]
    pub fn locate_v4(&self, key: &ReplyKeyV4) -> ReplyHome {
        let ([ends, ports], [first, second]) = (key.words(), self.secret);
        ReplyHome { hash: mix(mix(ends ^ first, ports ^ second) ^ second, first), v6: false }
    }

    /// Requests the line of a key's home.
    #[inline(always)]
    pub fn prefetch_bucket(&self, home: &ReplyHome) {
        for piece in self.pieces() {
            match home.v6 {
                false => piece.v4.prefetch_bucket(home),
                true => piece.v6.prefetch_bucket(home),
            }
        }
    }

    /// Requests the line of the entry that is most probably the key's. Reads the home.
    #[inline(always)]
    pub fn prefetch_entry(&self, home: &ReplyHome) {
        for piece in self.pieces() {
            let found = match home.v6 {
                false => piece.v4.prefetch_entry(home),
                true => piece.v6.prefetch_entry(home),
            };
            if found {
                return;
            }
        }
    }

    /// Announces a connection. Answers `false` where there is no room: its replies will
    /// not be found. Where one key is announced twice, for two virtual services of one real
    /// server and one client, either is found until the older one is [covered](Self::cover).
    pub fn insert(&self, key: &ReplyKey, origin: &Origin, now: Tick) -> bool {
        let home = self.locate(key);
        // The last piece has the most room.
        let into = |piece: &Piece| match home.v6 {
            false => piece.v4.insert(&home, key, origin, now),
            true => piece.v6.insert(&home, key, origin, now),
        };
        let found_room = self.pieces.iter().rev().filter_map(OnceLock::get).any(into);
        if !found_room {
            self.refused.fetch_add(1, Ordering::Relaxed);
        }
        found_room
    }

    /// The connection that a packet with these values answers.
    pub fn find(&self, key: &ReplyKey) -> Option<(Place, Origin)> {
        self.find_at(&self.locate(key), key)
    }

    /// The same, from where [`Self::locate`] said.
    #[inline]
    pub fn find_at(&self, home: &ReplyHome, key: &ReplyKey) -> Option<(Place, Origin)> {
        self.search(home, key, |_| true)
    }

    /// As [`Self::find_at`], of an IPv4 key.
    #[inline(always)]
    pub fn find_v4(&self, home: &ReplyHome, key: &ReplyKeyV4) -> Option<(Place, Origin)> {
        self.search_v4(home, key, |_| true)
    }

    #[inline(always)]
    fn search_v4(
        &self,
        home: &ReplyHome,
        key: &ReplyKeyV4,
        wanted: impl Fn(&Origin) -> bool,
    ) -> Option<(Place, Origin)> {
        self.pieces().zip(0..).find_map(|(memory, piece)| {
            let (at, origin) = memory.v4.search(home, key, &wanted)?;
            Some((Place { at: at as u32, piece, v6: false }, origin))
        })
    }

    #[inline]
    fn search(
        &self,
        home: &ReplyHome,
        key: &ReplyKey,
        wanted: impl Fn(&Origin) -> bool,
    ) -> Option<(Place, Origin)> {
        if !home.v6 {
            return self.search_v4(home, &V4::key(key), wanted);
        }
        self.pieces().zip(0..).find_map(|(memory, piece)| {
            let (at, origin) = memory.v6.search(home, key, &wanted)?;
            Some((Place { at: at as u32, piece, v6: true }, origin))
        })
    }

    /// Takes back what [`Self::insert`] announced; by the owner alone.
    pub fn remove(&self, key: &ReplyKey, core: u16, slot: Slot) {
        let home = self.locate(key);
        let mine = |origin: &Origin| origin.core == core && origin.slot == slot;
        if let Some((place, _)) = self.search(&home, key, mine)
            && let Some(piece) = self.piece_of(place)
        {
            match home.v6 {
                false => piece.v4.free(&home, place.at as usize),
                true => piece.v6.free(&home, place.at as usize),
            }
        }
    }

    /// Whether the owner should be told of a reply that is no news by itself: once a
    /// second is enough to keep its timer going.
    pub fn note_is_due(&self, place: Place, now: Tick) -> bool {
        self.piece_of(place).is_some_and(|piece| match place.v6 {
            false => piece.v4.is_due(place.at as usize, NOTE_EVERY, now),
            true => piece.v6.is_due(place.at as usize, NOTE_EVERY, now),
        })
    }

    fn piece_of(&self, place: Place) -> Option<&Piece> {
        self.pieces.get(usize::from(place.piece))?.get()
    }
}

impl std::fmt::Debug for ReplyTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ReplyTable").field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// A folded multiplication: both halves of the 128-bit product, so that every bit counts.
#[inline]
fn mix(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    pub(super) fn key(n: u32) -> ReplyKey {
        ReplyKey {
            real: Addr::v4(0xAC10_000B),
            real_port: 8080,
            client: Addr::v4(0x0A00_0000 + n / 1000),
            client_port: (n % 1000) as u16,
            protocol: Protocol::Tcp,
        }
    }

    pub(super) fn origin(n: u32, core: u16) -> Origin {
        Origin {
            core,
            slot: Slot::from_number(n),
            real: RealId((n ^ 5) % RealId::LIMIT),
            vip: Addr::v4(n.wrapping_mul(77)),
            vip_port: n as u16,
        }
    }

    #[test]
    fn what_was_announced_is_found_until_it_is_taken_back() {
        let table = ReplyTable::new(10_000, 16, [3, 4]);
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
    fn a_full_table_refuses_none_and_takes_half_a_hundred_bytes_a_connection() {
        let table = ReplyTable::new(200_000, 20_000, [3, 4]);
        table.open();
        assert!(table.bytes() <= 48 * 200_000 + 91 * 20_000 + 4096, "{}", table.bytes());
        let wide = |n| ReplyKey {
            real: Addr::v6(0x2001_0DB8 << 96 | 11),
            client: Addr::v6(0x2001_0DB8 << 96 | u128::from(n) << 64),
            ..key(0)
        };
        for n in 0..200_000 {
            assert!(table.insert(&key(n), &origin(n, 1), Tick(0)), "{n}");
        }
        for n in 0..20_000 {
            let origin = Origin { vip: Addr::v6(u128::MAX - u128::from(n)), ..origin(n, 2) };
            assert!(table.insert(&wide(n), &origin, Tick(0)), "{n}");
        }
        for n in 0..200_000 {
            let home = table.locate(&key(n));
            table.prefetch_bucket(&home);
            table.prefetch_entry(&home);
            assert_eq!(table.find_at(&home, &key(n)).unwrap().1, origin(n, 1));
        }
        for n in 0..20_000 {
            let found = table.find(&wide(n)).unwrap().1;
            assert_eq!((found.slot, found.core), (Slot::from_number(n), 2));
            table.remove(&wide(n), 2, found.slot);
            assert_eq!(table.find(&wide(n)), None);
        }
    }

    #[test]
    fn a_table_that_grew_finds_old_and_new_connections() {
        let table = ReplyTable::new(100, 16, [3, 4]);
        assert_eq!(table.grow(100, 0), Ok(()));
        assert_eq!(table.bytes(), 0, "no memory before it is open");
        table.open();
        let mut announced = 0;
        while table.insert(&key(announced), &origin(announced, 0), Tick(0)) {
            announced += 1;
        }
        assert!(announced >= 200);
        assert_eq!((table.entries(), table.refused()), (announced as usize, 1));
        table.grow(1000, 16).unwrap();
        for n in announced..announced + 1000 {
            assert!(table.insert(&key(n), &origin(n, 0), Tick(0)));
        }
        for n in 0..announced + 1000 {
            assert_eq!(table.find(&key(n)).unwrap().1, origin(n, 0));
            table.remove(&key(n), 0, Slot::from_number(n));
            assert_eq!(table.find(&key(n)), None);
        }
        assert_eq!((table.entries(), table.refused()), (0, 1));
        for _ in 2..PIECES {
            table.grow(16, 16).unwrap();
        }
        assert_eq!(table.grow(16, 16), Err(Exhausted));
    }

    #[test]
    fn one_key_can_stand_for_two_services_and_each_is_taken_back_alone() {
        let table = ReplyTable::new(16, 16, [3, 4]);
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
        let table = ReplyTable::new(16, 16, [3, 4]);
        table.open();
        table.insert(&key(1), &origin(1, 0), Tick(100));
        let (place, _) = table.find(&key(1)).unwrap();
        assert!(!table.note_is_due(place, Tick(100 + NOTE_EVERY - 8)));
        assert!(table.note_is_due(place, Tick(100 + NOTE_EVERY + 8)));
        assert!(!table.note_is_due(place, Tick(109 + NOTE_EVERY)));
    }

    #[test]
    fn readers_never_see_half_an_entry_while_owners_replace_them() {
        const KEYS: u32 = 8;
        let table = ReplyTable::new(16, 16, [3, 4]);
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
