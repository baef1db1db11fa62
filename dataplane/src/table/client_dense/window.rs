//! The slots where one IPv4 client may stand, as [`assign`](crate::table::assign) goes through
//! them.

use super::{Bucket, Dense, FIRST_IF_FREE, name_of};
use crate::table::assign::{Holes, Seen, Window};
use crate::table::cells::Row;
use crate::table::client_slots::{DEAD, Slots, Word};
use crate::table::client_view::{Hit, ServiceReal, Vacancy};
use crate::table::key::Probe;
use crate::table::segments::{Places, Segments};
use crate::table::sync::{AtomicU64, Ordering};

/// The slots where one client may stand.
pub(in crate::table) struct DenseWindow<'a> {
    segments: &'a Segments<Dense>,
    places: Places,
    name: u64,
    real: ServiceReal,
    age_now: u8,
}

impl<'a> DenseWindow<'a> {
    pub(in crate::table) fn new(
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
    pub(in crate::table) fn vacancy(segments: &Segments<Dense>, probe: &Probe) -> Option<Vacancy> {
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
