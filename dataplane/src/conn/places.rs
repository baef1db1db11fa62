//! Which entries of a segment are free, and when a block of them is worth looking at.

use crate::block::Block;
use crate::prefetch::prefetch;
use crate::tick::Tick;

/// Entries that share a word, and a time.
pub(super) const BLOCK: usize = u64::BITS as usize;

/// What is known of a block: in one line, as who takes a place asks for both.
#[derive(Clone, Copy)]
#[repr(align(16))]
struct Known {
    /// A bit for each place that is free.
    free: u64,
    /// Nothing in it ends before.
    due: Tick,
}

/// A segment's places.
pub(super) struct Places {
    blocks: Block<Known>,
    /// A bit for each block that has a free place.
    any: Vec<u64>,
    len: usize,
}

impl Places {
    /// So many places, all of them free.
    pub(super) fn new(len: usize) -> Self {
        let words = len.div_ceil(BLOCK);
        let mut blocks = Block::new(words, || Known { free: u64::MAX, due: Tick::default() });
        if let Some(last) = blocks.last_mut() {
            last.free = first_bits(len - (words - 1) * BLOCK);
        }
        let any = (0..words.div_ceil(BLOCK)).map(|at| first_bits(words - at * BLOCK)).collect();
        Self { blocks, any, len }
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.blocks) + size_of_val(&*self.any)
    }

    /// Requests what is known of the place's block.
    #[inline(always)]
    pub(super) fn prefetch(&self, place: usize) {
        if let Some(block) = self.blocks.get(place / BLOCK) {
            prefetch(block);
        }
    }

    /// Takes one of so many places from this one on, a multiple of their number.
    #[inline]
    pub(super) fn take_of(&mut self, place: usize, many: usize) -> Option<usize> {
        let wanted = first_bits(many) << (place % BLOCK);
        self.take_in(place / BLOCK, wanted)
    }

    /// The free place of the same block that [`Self::take_near`] would take.
    #[inline(always)]
    pub(super) fn near(&self, place: usize) -> Option<usize> {
        let word = place / BLOCK;
        let free = self.blocks.get(word)?.free;
        (free != 0).then(|| word * BLOCK + free.trailing_zeros() as usize)
    }

    /// Takes any place, one of the same block if there is any.
    pub(super) fn take_near(&mut self, place: usize) -> Option<usize> {
        let word = place / BLOCK;
        self.take_in(word, u64::MAX).or_else(|| {
            let (group, groups) = (word / BLOCK, self.any.len());
            let mut order = (group..groups).chain(0..group);
            let word = order.find_map(|group| {
                let words = *self.any.get(group)?;
                (words != 0).then(|| group * BLOCK + words.trailing_zeros() as usize)
            })?;
            self.take_in(word, u64::MAX)
        })
    }

    #[inline]
    fn take_in(&mut self, word: usize, wanted: u64) -> Option<usize> {
        let free = &mut self.blocks.get_mut(word)?.free;
        let found = *free & wanted;
        if found == 0 {
            return None;
        }
        *free ^= found & found.wrapping_neg();
        if *free == 0
            && let Some(words) = self.any.get_mut(word / BLOCK)
        {
            *words &= !(1 << (word % BLOCK));
        }
        Some(word * BLOCK + found.trailing_zeros() as usize)
    }

    /// Frees a place.
    pub(super) fn free(&mut self, place: usize) {
        let word = place / BLOCK;
        if let (Some(block), Some(words)) =
            (self.blocks.get_mut(word), self.any.get_mut(word / BLOCK))
        {
            block.free |= 1 << (place % BLOCK);
            *words |= 1 << (word % BLOCK);
        }
    }

    /// Whether all places from here to the end of the block are free.
    pub(super) fn are_free_from(&self, place: usize) -> bool {
        let word = place / BLOCK;
        let there = first_bits(self.len.saturating_sub(word * BLOCK));
        let used = there & !self.blocks.get(word).map_or(u64::MAX, |block| block.free);
        used >> (place % BLOCK) == 0
    }

    /// When the place's block is to be looked at.
    #[inline]
    pub(super) fn due(&self, place: usize) -> Tick {
        self.blocks.get(place / BLOCK).map_or(Tick::default(), |block| block.due)
    }

    /// The place's block is to be looked at then.
    #[inline]
    pub(super) fn set_due(&mut self, place: usize, at: Tick) {
        if let Some(block) = self.blocks.get_mut(place / BLOCK) {
            block.due = at;
        }
    }

    /// The place's block is to be looked at then, or sooner.
    #[inline]
    pub(super) fn due_by(&mut self, place: usize, at: Tick) {
        if let Some(block) = self.blocks.get_mut(place / BLOCK)
            && at.has_come(block.due)
        {
            block.due = at;
        }
    }
}

/// The lowest so many bits, all where there are more.
const fn first_bits(many: usize) -> u64 {
    if many >= BLOCK { u64::MAX } else { (1 << many) - 1 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_is_given_out_once_and_again_after_it_was_freed() {
        for len in [2, 63, 64, 65, 5_000] {
            let mut places = Places::new(len);
            assert!(places.are_free_from(0));
            let mut taken: Vec<usize> = (0..len).map_while(|at| places.take_near(at / 3)).collect();
            assert_eq!(places.take_near(0), None);
            assert!(!places.are_free_from(len - 1));
            taken.sort_unstable();
            assert_eq!(taken, (0..len).collect::<Vec<_>>());
            places.free(len - 1);
            assert!(places.are_free_from(len - 1));
            assert_eq!(places.take_of(0, 1), None);
            assert_eq!(places.take_near(0), Some(len - 1));
        }
    }

    #[test]
    fn places_that_belong_together_are_taken_together() {
        let mut places = Places::new(200);
        assert_eq!(places.take_of(126, 2), Some(126));
        assert_eq!(places.take_of(126, 2), Some(127));
        assert_eq!(places.take_of(126, 2), None);
        assert_eq!(places.take_of(128, 2), Some(128));
    }

    #[test]
    fn a_block_is_due_as_soon_as_somebody_said() {
        let mut places = Places::new(200);
        places.set_due(70, Tick(900));
        places.due_by(127, Tick(1000));
        assert_eq!(places.due(64), Tick(900));
        places.due_by(127, Tick(300));
        assert_eq!((places.due(64), places.due(0)), (Tick(300), Tick(0)));
    }
}
