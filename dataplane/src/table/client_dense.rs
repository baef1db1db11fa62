//! The client table's IPv4 layout: client, scope and real server in one word, seven to a line,
//! with seven ages.

mod room;
#[cfg(all(target_arch = "x86_64", not(loom)))]
mod standing;
mod window;

use super::cells::Row;
use super::client::ClientTable;
use super::client_slots::{DEAD, Slots, Word};
use super::client_view::{Hit, Rebound, ServiceReal};
use super::key::{ClientKey, Handle, Probe};
use super::line::Line;
use super::sync::{AtomicU8, AtomicU64, Ordering};
use crate::block::Block;
use crate::prefetch::prefetch;

pub(super) use room::Room;
pub(super) use window::DenseWindow;

/// A row of dense buckets.
pub(super) struct Dense(Block<Bucket>);

/// Seven words and their ages; then a mark, which is not 0 once a client whose first bucket this
/// is had to go to its second one.
pub(super) type Bucket = Line<AtomicU64, [AtomicU8; 8]>;

/// Where the mark is.
const MARK: usize = 7;

/// Where new clients go: see [`super::assign::Window::FIRST_IF_FREE`]. At the nominal fill
/// nine clients of ten are then in their first line.
const FIRST_IF_FREE: usize = 3;
const _: () = assert!(FIRST_IF_FREE == 3, "Dense::room_in counts no further");

/// The key as the word has it.
fn name_of(probe: &Probe) -> u64 {
    name(probe.key.client.bits() as u32, probe.key.scope.0 as u16)
}

/// A client and its scope as the word has them.
#[inline]
pub(super) fn name(client: u32, scope: u16) -> u64 {
    u64::from(client) << 32 | u64::from(scope) << 16
}

impl Row for Dense {
    const WAYS: usize = 7;
    const SLOTS_FOR_1024: usize = 7 * 256;
    const CHOICES: usize = 2;

    fn new(buckets: usize) -> Self {
        let bucket = || Bucket {
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            beside: std::array::from_fn(|_| AtomicU8::new(0)),
        };
        Self(Block::new(buckets, bucket))
    }

    fn bytes(&self) -> usize {
        self.buckets() * size_of::<Bucket>()
    }

    fn buckets(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn prefetch(&self, bucket: usize) {
        prefetch(&self.0[bucket]);
    }

    fn handle(segment: usize, place: usize) -> Handle {
        Handle::v4(segment, place)
    }
}

impl Dense {
    #[inline]
    fn word(&self, place: usize) -> &AtomicU64 {
        &self.0[place / Self::WAYS].words[place % Self::WAYS]
    }
}

impl Slots for Dense {
    fn load(&self, place: usize) -> Word {
        Word(self.word(place).load(Ordering::Acquire))
    }

    fn swap(&self, place: usize, before: Word, after: Word) -> Result<(), Word> {
        self.word(place)
            .compare_exchange(before.0, after.0, Ordering::AcqRel, Ordering::Acquire)
            .map_or_else(|newer| Err(Word(newer)), |_| Ok(()))
    }

    #[inline]
    fn age(&self, place: usize) -> &AtomicU8 {
        &self.0[place / Self::WAYS].beside[place % Self::WAYS]
    }

    fn client(&self, _place: usize, word: Word) -> ClientKey {
        ClientKey::V4((word.0 >> 32) as u32)
    }

    fn clear(&self, place: usize) {
        self.word(place).store(0, Ordering::Release);
    }

    #[inline(always)]
    fn is_quiet(&self, bucket: usize, age_now: u8) -> bool {
        let line = &self.0[bucket];
        let slots = line.words.iter().zip(&line.beside);
        let each = slots.map(|(word, age)| {
            Word(word.load(Ordering::Acquire)).is_quiet(age.load(Ordering::Relaxed), age_now)
        });
        each.fold(true, |all, is_quiet| all & is_quiet)
    }
}

impl Dense {
    /// The lower half of the word of a client that is bound in this bucket and is not doomed,
    /// with its age set; 0 if there is none.
    #[inline(always)]
    pub(super) fn bound_in(
        &self,
        bucket: usize,
        name: u64,
        age_now: u8,
        first: impl FnOnce(&Bucket, u64) -> usize,
    ) -> u32 {
        let Some(line) = self.0.get(bucket) else { return 0 };
        let at = first(line, name);
        let (Some(word), Some(age)) = (line.words.get(at), line.beside.get(at)) else { return 0 };
        let word = word.load(Ordering::Acquire);
        // Of this name, and its value that of a bound client: neither 0, dead, nor doomed.
        if (word ^ name).wrapping_sub(1) >= DEAD - 1 {
            return 0;
        }
        if age.load(Ordering::Relaxed) != age_now {
            age.store(age_now, Ordering::Release);
        }
        word as u32
    }
}

impl ClientTable {
    #[inline]
    pub(super) fn lookup_dense(&self, probe: &Probe, age_now: u8) -> Option<Hit> {
        self.find_dense(probe, |row, place, word| row.hit(place, word, age_now))
    }

    pub(super) fn peek_dense(&self, probe: &Probe) -> Option<Hit> {
        self.find_dense(probe, |_, _, word| word.real())
    }

    #[inline(always)]
    fn find_dense(
        &self,
        probe: &Probe,
        hit: impl Fn(&Dense, usize, Word) -> Option<ServiceReal>,
    ) -> Option<Hit> {
        let name = name_of(probe);
        for segment in (0..self.v4.announced()).rev() {
            let Some(row) = self.v4.row(segment) else { continue };
            for at in self.v4.pair(row, segment, probe) {
                for place in row.0[at.bucket].candidates(name) {
                    let place = at.bucket * Dense::WAYS + place;
                    let word = row.load(place);
                    if word.is_of(name)
                        && let Some(real) = hit(row, place, word)
                    {
                        return Some(Hit { real, slot: Dense::handle(segment, place) });
                    }
                }
            }
        }
        None
    }

    pub(super) fn rebind_dense(
        &self,
        probe: &Probe,
        hit: Hit,
        new: ServiceReal,
    ) -> Option<Rebound> {
        let (row, place) = self.v4.find(hit.slot)?;
        row.rebind(place, name_of(probe), hit, new)
    }
}
