//! The client table's IPv4 layout: client, scope and real server in one word, seven to a line,
//! with seven ages.

use super::assign::{Holes, Seen, Window};
use super::cells::Row;
use super::client::{ClientTable, Hit, Rebound, ServiceReal, Vacancy};
use super::client_slots::{DEAD, Slots, Word};
use super::key::{ClientKey, Handle, Probe};
use super::line::{Candidates, Line};
use super::segments::{Places, Segments};
use super::sync::{AtomicU8, AtomicU64, Ordering};
use crate::block::Block;
use crate::cpu::Tier;
use crate::prefetch::prefetch;

/// A row of dense buckets.
pub(super) struct Dense(Block<Bucket>);

/// Seven words and their ages; then a mark, which is not 0 once a client whose first bucket this
/// is had to go to its second one.
pub(super) type Bucket = Line<AtomicU64, [AtomicU8; 8]>;

/// Where the mark is.
const MARK: usize = 7;

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

/// What a bucket has for a client.
#[cfg(all(target_arch = "x86_64", not(loom)))]
#[derive(Clone, Copy)]
pub(super) struct Standing {
    /// The lower half of its word; 0 if it is not bound here, or doomed.
    pub real: u32,
    /// The bit of its place, if its age is another than the one asked about.
    pub older: u8,
}

#[cfg(all(target_arch = "x86_64", not(loom)))]
impl Dense {
    /// Looks for a client in a bucket without a branch, for CPUs that compare a whole line.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    #[inline]
    pub(super) fn standing(
        &self,
        bucket: usize,
        name: u64,
        ages: std::arch::x86_64::__m128i,
    ) -> Standing {
        use std::arch::asm;
        use std::arch::x86_64::{
            __m128i, __m512i, _mm_cvtsi128_si32, _mm_mask_cmpneq_epi8_mask, _mm512_add_epi64,
            _mm512_castsi512_si128, _mm512_cmplt_epu64_mask, _mm512_maskz_compress_epi64,
            _mm512_set_epi64, _mm512_set1_epi64,
        };
        const { assert!(size_of::<Bucket>() == 64 && align_of::<Bucket>() == 64) };
        let Some(line) = self.0.get(bucket) else { return Standing { real: 0, older: 0 } };
        let (differences, beside): (__m512i, __m128i);
        // SAFETY: the loads lie inside the line, which is 64 bytes, aligned to 64. Others may
        // write words and ages meanwhile, as atomics; assembly reads them as the CPU does, each
        // of them whole, and nothing relies on more than one word and its age.
        #[allow(unsafe_code)]
        unsafe {
            asm!(
                "vpxorq {differences}, {name}, [{line}]",
                "vmovq {beside}, qword ptr [{line} + 56]",
                line = in(reg) std::ptr::from_ref(line),
                name = in(zmm_reg) _mm512_set1_epi64(name as i64),
                differences = out(zmm_reg) differences,
                beside = out(xmm_reg) beside,
                options(readonly, nostack, preserves_flags),
            );
        }
        // Of this name, and its value that of a bound client: neither 0, dead, nor doomed.
        let less = _mm512_add_epi64(differences, _mm512_set1_epi64(-1));
        // Behind the words stand the ages, which nothing is less than 0 of.
        const BELOW: i64 = (DEAD - 1) as i64;
        let values = _mm512_set_epi64(0, BELOW, BELOW, BELOW, BELOW, BELOW, BELOW, BELOW);
        let bound = _mm512_cmplt_epu64_mask(less, values);
        let word = _mm512_maskz_compress_epi64(bound, differences);
        let real = _mm_cvtsi128_si32(_mm512_castsi512_si128(word)) as u32;
        let older = _mm_mask_cmpneq_epi8_mask(u16::from(bound), beside, ages);
        Standing { real, older: older as u8 }
    }

    /// Sets the age of the client at a place that [`Self::standing`] found.
    #[inline]
    pub(super) fn refresh(&self, bucket: usize, older: u8, age_now: u8) {
        let age =
            self.0.get(bucket).and_then(|line| line.beside.get(older.trailing_zeros() as usize));
        if let Some(age) = age {
            age.store(age_now, Ordering::Release);
        }
    }
}

/// What two buckets have for a client.
pub(super) enum Room {
    /// The client stands in one of them, in whatever state.
    Taken,
    /// It does not, and this place is where it should go.
    Vacant(usize),
    /// It does not, and no slot is free.
    Full,
}

impl Dense {
    /// Marks a bucket: not all clients that begin there are there.
    fn mark(&self, bucket: usize) {
        if let Some(line) = self.0.get(bucket)
            && line.beside[MARK].load(Ordering::Relaxed) == 0
        {
            line.beside[MARK].store(1, Ordering::Release);
        }
    }

    /// Whether a client that is not in this bucket, which is its first one, may be in its second
    /// one. For the only core of a table: another core's clients may be there before their mark
    /// is seen.
    #[inline(always)]
    pub(super) fn goes_on(&self, bucket: usize) -> bool {
        self.0.get(bucket).is_some_and(|line| line.beside[MARK].load(Ordering::Acquire) != 0)
    }

    /// Looks for a client, and for room for it, in the two buckets where it may stand. For the
    /// only core of a table.
    #[inline(always)]
    pub(super) fn room_in(&self, buckets: [usize; 2], name: u64, tier: Tier) -> Room {
        let [Some(first), Some(second)] = buckets.map(|bucket| self.0.get(bucket)) else {
            return Room::Full;
        };
        let goes_on = first.beside[MARK].load(Ordering::Acquire) != 0;
        // No word but a free one is without a scope.
        let [taken, free] = first.candidates_of_two([name, 0], tier);
        if taken.is_any() || goes_on && second.candidates(name).is_any() {
            return Room::Taken;
        }
        match free.up_to_three() {
            FIRST_IF_FREE => Room::Vacant(buckets[0] * Self::WAYS + free.first()),
            few => self.room_in_crowd(buckets, (free, few), second.candidates(0)),
        }
    }

    /// The same where the first bucket is nearly full: in the emptier one.
    #[cold]
    fn room_in_crowd(
        &self,
        [first, second]: [usize; 2],
        (free, few): (Candidates, usize),
        free_in_second: Candidates,
    ) -> Room {
        let (bucket, free) = match free_in_second.up_to_three() > few {
            true => {
                self.mark(first);
                (second, free_in_second)
            }
            false => (first, free),
        };
        match free.is_any() {
            true => Room::Vacant(bucket * Self::WAYS + free.first()),
            false => Room::Full,
        }
    }

    /// Free -> bound at once. For the only core of a table.
    #[inline(always)]
    pub(super) fn take(&self, place: usize, name: u64, real: ServiceReal, age_now: u8) {
        self.age(place).store(age_now, Ordering::Release);
        self.word(place).store(Word::of(name, real).0, Ordering::Release);
    }
}

/// Where new clients go: see [`Window::FIRST_IF_FREE`]. At the nominal fill nine clients of ten
/// are then in their first line.
const FIRST_IF_FREE: usize = 3;
const _: () = assert!(FIRST_IF_FREE == 3, "room_in counts no further");

/// The slots where one client may stand.
pub(super) struct DenseWindow<'a> {
    segments: &'a Segments<Dense>,
    places: Places,
    name: u64,
    real: ServiceReal,
    age_now: u8,
}

impl<'a> DenseWindow<'a> {
    pub(super) fn new(
        segments: &'a Segments<Dense>,
        probe: &Probe,
        real: ServiceReal,
        age_now: u8,
    ) -> Self {
        let (places, name) = (segments.places(probe), name_of(probe));
        Self { segments, places, name, real, age_now }
    }

    /// Where the key should go, if it stands nowhere and a slot is free.
    #[inline]
    pub(super) fn vacancy(segments: &Segments<Dense>, probe: &Probe) -> Option<Vacancy> {
        let places = segments.places(probe);
        let hole = nowhere::<Self>(lines(segments, &places), name_of(probe))?.best()?;
        Some(Vacancy { hole })
    }

    fn swap(&self, at: usize, before: u64, after: u64) -> bool {
        self.segments
            .slot(&self.places, at)
            .is_some_and(|(row, place, ..)| row.swap(place, Word(before), Word(after)).is_ok())
    }
}

/// A window's lines, and whether new keys may go there.
#[inline(always)]
fn lines<'a>(
    segments: &'a Segments<Dense>,
    places: &'a Places,
) -> impl Iterator<Item = (&'a Bucket, bool)> {
    (0..places.buckets()).filter_map(|number| {
        let (at, open) = places.bucket(number);
        Some((&segments.row(at.segment)?.0[at.bucket], open))
    })
}

/// The holes of a window where no word is of this name.
#[inline(always)]
fn nowhere<'a, W: Window>(
    lines: impl Iterator<Item = (&'a Bucket, bool)>,
    name: u64,
) -> Option<Holes> {
    let mut holes = Holes::default();
    for (number, (line, open)) in lines.enumerate() {
        let (mut free, mut taken) = (0, false);
        for (place, word) in line.words.iter().enumerate() {
            let word = word.load(Ordering::Acquire);
            free |= u32::from(word == 0) << place;
            taken |= Word(word).is_of(name);
        }
        if taken {
            return None;
        }
        if open {
            holes.add::<W>(number * Dense::WAYS, free);
        }
    }
    Some(holes)
}

impl Window for DenseWindow<'_> {
    type Bound = Hit;
    const WAYS: usize = Dense::WAYS;
    const FIRST_IF_FREE: usize = FIRST_IF_FREE;

    fn slots(&self) -> usize {
        self.places.buckets() * Dense::WAYS
    }

    fn look(&self, at: usize) -> Seen<Hit> {
        let Some((row, place, slot, open)) = self.segments.slot(&self.places, at) else {
            return Seen::Other;
        };
        let word = row.load(place);
        if word.0 == 0 && open {
            return Seen::Free;
        }
        if !word.is_of(self.name) || word.0 == 0 {
            return Seen::Other;
        }
        if word.0 == self.name {
            return Seen::Tentative;
        }
        match row.hit(place, word, self.age_now) {
            Some(real) => Seen::Bound(Hit { real, slot }),
            None => Seen::Dead,
        }
    }

    fn claim(&self, at: usize) -> bool {
        // Buckets come in pairs. The mark is there before anybody can be found behind it.
        let number = at / Self::WAYS;
        if number % 2 == 1 {
            let (first, _) = self.places.bucket(number - 1);
            if let Some(row) = self.segments.row(first.segment) {
                row.mark(first.bucket);
            }
        }
        self.swap(at, 0, self.name)
    }

    fn abandon(&self, at: usize) -> bool {
        self.swap(at, self.name, self.name | DEAD)
    }

    #[inline]
    fn nowhere(&self) -> Option<Holes> {
        nowhere::<Self>(lines(self.segments, &self.places), self.name)
    }

    #[inline]
    fn nowhere_but(&self, at: usize) -> bool {
        let is_of = |word: &AtomicU64| Word(word.load(Ordering::Acquire)).is_of(self.name);
        lines(self.segments, &self.places).enumerate().all(|(number, (line, _))| {
            let taken: usize = line.words.iter().map(|word| usize::from(is_of(word))).sum();
            taken == usize::from(number == at / Dense::WAYS)
        })
    }

    fn publish(&self, at: usize) -> Option<Hit> {
        let (row, place, slot, _) = self.segments.slot(&self.places, at)?;
        // Before it can be found, so that it is never found with the age of a former client.
        row.age(place).store(self.age_now, Ordering::Release);
        let bound = Word::of(self.name, self.real);
        row.swap(place, Word(self.name), bound).ok()?;
        Some(Hit { real: self.real, slot })
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
