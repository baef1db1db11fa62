//! Packets from clients and their bytes as the packet path counts them: both in one word for each
//! real server, the words close together, so that a packet costs one addition, most often in the
//! nearest cache.
//!
//! ```text
//! packets 24 | bytes 40
//! ```
//!
//! What a word has counted moves to the wide counters before it is full.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use super::RealLoad;
use crate::block::Block;
use crate::ids::RealId;
use crate::pieces::Pieces;
use crate::prefetch::prefetch;

/// Real servers that have a word; those with greater ids are counted in the wide counters alone.
const WORDS: usize = 1 << 17;

const PACKETS_SHIFT: u32 = 40;
const PACKET: u64 = 1 << PACKETS_SHIFT;
const BYTES: u64 = PACKET - 1;
/// From here on a word is emptied: packets of 65,535 bytes each have not filled its bytes then.
const FULL: u64 = 1 << 63;
const _: () = assert!((FULL >> PACKETS_SHIFT) * (u16::MAX as u64) < BYTES);
/// What the word of a real server says whose word is being emptied: more than any other.
const MOVING: u64 = u64::MAX;

/// One core's words.
#[derive(Debug)]
pub(super) struct Tallies(Block<AtomicU64>);

impl Tallies {
    pub(super) fn new() -> Self {
        Self(Block::new(WORDS, || AtomicU64::new(0)))
    }

    /// See [`CoreLoads::incoming`](super::CoreLoads::incoming).
    #[inline(always)]
    pub(super) fn incoming<'a>(&'a self, wide: &'a Pieces<RealLoad>) -> Option<Incoming<'a>> {
        Some(Incoming { words: self.0.first_chunk()?, wide })
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, id: RealId) {
        if let Some(word) = self.0.get(id.0 as usize) {
            prefetch(word);
        }
    }

    /// Packets and bytes of a real server, with these wide counters. For any thread.
    pub(super) fn with(&self, id: RealId, [packets, bytes]: [&AtomicU64; 2]) -> [u64; 2] {
        let Some(word) = self.0.get(id.0 as usize) else {
            return [packets.load(Relaxed), bytes.load(Relaxed)];
        };
        loop {
            // The wide packets change each time that a word is emptied, after it has said so.
            let before = packets.load(Acquire);
            let told = word.load(Acquire);
            let sums = [before + (told >> PACKETS_SHIFT), bytes.load(Acquire) + (told & BYTES)];
            if told != MOVING && packets.load(Relaxed) == before {
                return sums;
            }
            std::hint::spin_loop();
        }
    }

    /// Forgets what a real server was counted. No core refers to it.
    pub(super) fn reset(&self, id: RealId) {
        if let Some(word) = self.0.get(id.0 as usize) {
            word.store(0, Relaxed);
        }
    }
}

/// See [`CoreLoads::incoming`](super::CoreLoads::incoming).
#[derive(Clone, Copy)]
pub(crate) struct Incoming<'a> {
    words: &'a [AtomicU64; WORDS],
    wide: &'a Pieces<RealLoad>,
}

impl Incoming<'_> {
    /// Counts a packet from a client, and its bytes (IP total length, as IPVS does).
    #[inline(always)]
    pub(crate) fn count(self, id: RealId, bytes: u16) {
        let Some(word) = self.words.get(id.0 as usize) else { return self.count_wide(id, bytes) };
        let sum = word.load(Relaxed).wrapping_add(PACKET | u64::from(bytes));
        // Who reads this one sees what was moved out of the word before it.
        word.store(sum, Release);
        if sum >= FULL {
            self.empty(word, id);
        }
    }

    #[cold]
    #[inline(never)]
    fn count_wide(self, id: RealId, bytes: u16) {
        if let Some(load) = self.wide.get(id.0 as usize) {
            load.incoming(1, u64::from(bytes));
        }
    }

    /// Moves what a word has counted to the wide counters.
    #[cold]
    #[inline(never)]
    fn empty(self, word: &AtomicU64, id: RealId) {
        let Some(load) = self.wide.get(id.0 as usize) else { return };
        let counted = word.load(Relaxed);
        word.store(MOVING, Relaxed);
        // Whoever reads one of these stores sees the one above, or a later one, in the word.
        let packets = load.in_packets.load(Relaxed).wrapping_add(counted >> PACKETS_SHIFT);
        load.in_packets.store(packets, Release);
        let bytes = load.in_bytes.load(Relaxed).wrapping_add(counted & BYTES);
        load.in_bytes.store(bytes, Release);
        word.store(0, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::super::LoadBoard;
    use super::*;

    fn told(board: &LoadBoard, id: RealId) -> [u64; 2] {
        let load = board.sum(id);
        [load.in_packets, load.in_bytes]
    }

    #[test]
    fn no_packet_and_no_byte_is_lost_when_a_word_is_emptied() {
        let board = LoadBoard::new(2);
        let (near, far) = (RealId(7), RealId(WORDS as u32));
        for id in [near, far] {
            board.reserve(id);
        }
        let incoming = board.core(0).unwrap().incoming().unwrap();
        // The longest packets, until the word has been emptied twice.
        let packets = (FULL >> PACKETS_SHIFT) * 2 + 3;
        for _ in 0..packets {
            incoming.count(near, u16::MAX);
        }
        assert_eq!(told(&board, near), [packets, packets * u64::from(u16::MAX)]);
        assert!(board.of_core(0, near).unwrap().in_packets.load(Relaxed) > 0);
        // What other code counts, and another core, comes beside it.
        board.of_core(1, near).unwrap().incoming(1, 100);
        board.core(1).unwrap().incoming().unwrap().count(near, 20);
        let bytes = packets * u64::from(u16::MAX) + 120;
        assert_eq!(told(&board, near), [packets + 2, bytes]);
        // An id without a word, and one that was never reserved.
        incoming.count(far, 40);
        incoming.count(RealId(WORDS as u32 + 5000), 40);
        assert_eq!(told(&board, far), [1, 40]);
        board.reset(near);
        assert_eq!(told(&board, near), [0, 0]);
    }

    #[test]
    fn who_reads_while_a_word_is_emptied_never_sees_less_than_before_nor_more_than_there_is() {
        let board = LoadBoard::new(1);
        let id = RealId(3);
        board.reserve(id);
        let packets = (FULL >> PACKETS_SHIFT) * 2 + 9;
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut before = [0, 0];
                while before[0] < packets {
                    let now = told(&board, id);
                    assert!(now[0] >= before[0] && now[1] >= before[1], "{before:?} {now:?}");
                    assert_eq!(now[1], now[0] * 60);
                    before = now;
                }
                before
            });
            let incoming = board.core(0).unwrap().incoming().unwrap();
            (0..packets).for_each(|_| incoming.count(id, 60));
            assert_eq!(reader.join().unwrap(), [packets, packets * 60]);
        });
    }
}
