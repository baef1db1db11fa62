//! The slots where one IPv6 client may stand, as [`assign`](crate::table::assign) goes through
//! them.

use super::line::IN_LINE;
use super::name::{Name, Veil};
use super::{Away, Wide, side_of, turned};
use crate::table::assign::{Holes, Seen, Window};
use crate::table::cells::{Row, Whose};
use crate::table::client_slots::{DEAD, Slots, Word};
use crate::table::client_view::{Hit, ServiceReal};
use crate::table::key::{Handle, Probe};
use crate::table::segments::{Places, Segments};
use crate::table::sync::Ordering;

/// The slots where one client may stand.
pub(in crate::table) struct WideWindow<'a> {
    segments: &'a Segments<Wide>,
    places: Places,
    name: Name,
    side: usize,
    real: ServiceReal,
    age_now: u8,
}

impl<'a> WideWindow<'a> {
    /// `None` for a client that no slot can have.
    pub(in crate::table) fn new(
        segments: &'a Segments<Wide>,
        veil: Veil,
        probe: &Probe,
        real: ServiceReal,
        age_now: u8,
    ) -> Option<Self> {
        let (places, name) = (segments.places(probe), veil.name(probe)?);
        let side = side_of(probe.hash.first);
        Some(Self { segments, places, name, side, real, age_now })
    }

    fn slot(&self, at: usize) -> Option<(&'a Wide, usize, Handle, bool)> {
        let (bucket, way) = (at / Wide::WAYS, at % Wide::WAYS);
        self.segments.slot(&self.places, bucket * Wide::WAYS + turned(way, self.side))
    }

    fn swap(&self, at: usize, before: u64, after: u64) -> bool {
        self.slot(at)
            .is_some_and(|(row, place, ..)| row.swap(place, Word(before), Word(after)).is_ok())
    }

    /// Marks the key's first line in a segment, if this slot stands elsewhere.
    fn mark(&self, row: &Wide, at: usize) {
        let (number, turn) = (at / Wide::WAYS, usize::from(at % Wide::WAYS >= IN_LINE));
        let segment = self.places.bucket(number).0.segment;
        let of_segment = |number: &usize| self.places.bucket(*number).0.segment == segment;
        let first = (0..number).find(of_segment).unwrap_or(number);
        let away = Away { choice: number - first, turn };
        if away != (Away { choice: 0, turn: 0 }) {
            row.mark(2 * self.places.bucket(first).0.bucket + self.side, away);
        }
    }

    /// The buckets' rows, the places in the key's order, and whether new keys may go there.
    fn buckets(&self) -> impl Iterator<Item = (&'a Wide, [usize; Wide::WAYS], bool)> {
        (0..self.places.buckets()).filter_map(|number| {
            let (at, open) = self.places.bucket(number);
            let place = |way| at.bucket * Wide::WAYS + turned(way, self.side);
            Some((self.segments.row(at.segment)?, std::array::from_fn(place), open))
        })
    }
}

impl Window for WideWindow<'_> {
    type Bound = Hit;
    const WAYS: usize = Wide::WAYS;
    // At the nominal fill five clients of six are then in their first line, nine of ten in their
    // first bucket, and one new client in 30,000 finds no room.
    const FIRST_IF_FREE: usize = 2;

    fn slots(&self) -> usize {
        self.places.buckets() * Wide::WAYS
    }

    fn look(&self, at: usize) -> Seen<Hit> {
        let Some((row, place, slot, open)) = self.slot(at) else { return Seen::Other };
        let word = match row.settle(place, self.name) {
            (Whose::Free, _) if open => return Seen::Free,
            (Whose::Free | Whose::Other, _) => return Seen::Other,
            // Not read again: a dead slot may be another client's by then.
            (Whose::This, word) => word,
        };
        if word.0 == self.name.word {
            return Seen::Tentative;
        }
        match row.hit(place, word, self.age_now) {
            Some(real) => Seen::Bound(Hit { real, slot }),
            None => Seen::Dead,
        }
    }

    fn claim(&self, at: usize) -> bool {
        let Some((row, place, ..)) = self.slot(at) else { return false };
        self.mark(row, at);
        row.swap(place, Word(0), Word(self.name.word)).is_ok()
            && row.settle(place, self.name).0 == Whose::This
    }

    fn abandon(&self, at: usize) -> bool {
        self.swap(at, self.name.word, self.name.word | DEAD)
    }

    fn nowhere(&self) -> Option<Holes> {
        let mut holes = Holes::default();
        for (number, (row, places, open)) in self.buckets().enumerate() {
            let mut free = 0;
            for (way, place) in places.into_iter().enumerate() {
                match row.settle(place, self.name).0 {
                    Whose::This => return None,
                    Whose::Free => free |= 1 << way,
                    Whose::Other => {}
                }
            }
            if open {
                holes.add::<Self>(number * Wide::WAYS, free);
            }
        }
        Some(holes)
    }

    fn nowhere_but(&self, but: usize) -> bool {
        self.buckets().enumerate().all(|(number, (row, places, _))| {
            let others = places.into_iter().enumerate();
            others
                .filter(|(way, _)| number * Wide::WAYS + way != but)
                .all(|(_, place)| row.settle(place, self.name).0 != Whose::This)
        })
    }

    fn publish(&self, at: usize) -> Option<Hit> {
        let (row, place, slot, _) = self.slot(at)?;
        // Before it can be found, so that it is never found with the age of a former client.
        row.age(place).store(self.age_now, Ordering::Release);
        let bound = Word::of(self.name.word, self.real);
        row.swap(place, Word(self.name.word), bound).ok()?;
        Some(Hit { real: self.real, slot })
    }
}
