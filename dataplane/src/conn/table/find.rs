//! The lookups of a connection table, and what is requested from memory before them.

use super::{Slot, Table};
#[cfg(target_arch = "x86_64")]
use crate::conn::entry::EntryV4;
use crate::conn::entry::{Entry, place_in};
use crate::conn::flow::Flow;
use crate::conn::index::Home;

/// A flow that is probably new.
pub(crate) struct Wanted<'a, E: Entry> {
    /// The first entry of its home, as long as there is one segment.
    pub(in crate::conn) first: Slot,
    /// Where the index has it, if it has.
    pub(in crate::conn) home: &'a Home,
    /// The flow.
    pub(crate) key: &'a E::Key,
}

impl<E: Entry> Clone for Wanted<'_, E> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<E: Entry> Copy for Wanted<'_, E> {}

impl<E: Entry> Table<E> {
    /// Where a flow of this family would stand. Stays right until the table is dropped.
    #[inline]
    pub fn locate(&self, flow: &Flow) -> Home {
        self.locate_key(&E::key(flow))
    }

    /// The same by the flow's key.
    #[inline(always)]
    pub fn locate_key(&self, key: &E::Key) -> Home {
        Home::of(E::hash(key, self.secret))
    }

    /// What a flow's home follows from.
    #[inline(always)]
    pub(in crate::conn) fn end(&self, key: &E::Key) -> u64 {
        E::end_hash(key, self.secret)
    }

    /// The first entry of a flow's home: that of all flows with this client's end.
    #[inline(always)]
    pub fn home(&self, key: &E::Key) -> Slot {
        self.slab.home(self.end(key))
    }

    /// All entries, if the table was never enlarged.
    #[inline(always)]
    pub(in crate::conn) fn only(&self) -> Option<&[E]> {
        self.slab.only()
    }

    /// The home that begins with this entry.
    #[inline(always)]
    pub(in crate::conn) fn home_line(&self, first: Slot) -> Option<&[E]> {
        self.slab.line(first)
    }

    /// Which entry is the one that does not differ, if it is in the home that begins with this
    /// one; and whether it is not.
    #[inline(always)]
    pub(in crate::conn) fn guess_by(
        &self,
        first: Slot,
        differs: impl Fn(&E) -> u64,
    ) -> (Slot, bool) {
        let line = self.slab.line(first).unwrap_or_default();
        let place = place_in(line, differs);
        (Slot(first.0 + place as u32), place >= line.len())
    }

    /// Whether a flow that is not in the home that begins with this one may be elsewhere. Reads
    /// the home.
    #[inline(always)]
    pub fn goes_on(&self, first: Slot) -> bool {
        self.slab.goes_on(first)
    }

    /// Requests where a flow is looked for that is not at home: its index line, and homes that
    /// it had before the table grew.
    #[inline(always)]
    pub fn prefetch_bucket(&self, home: &Home, key: &E::Key) {
        if self.slab.has_many() {
            self.slab.older_homes(self.end(key)).for_each(|first| self.prefetch_slot(first));
        }
        self.index.prefetch(*home);
        if let Some(leaving) = &self.leaving {
            leaving.index.prefetch(*home);
        }
    }

    /// The entry of a flow in a home that it had before the table grew.
    #[inline(always)]
    fn find_in_older(&self, end: u64, key: &E::Key) -> Option<Slot> {
        self.slab.older_homes(end).find_map(|first| self.find_in_home(first, key))
    }

    /// The entry of a flow in the home that begins with this one.
    #[inline(always)]
    fn find_in_home(&self, first: Slot, key: &E::Key) -> Option<Slot> {
        let (guess, missed) = self.guess_by(first, |entry| entry.differs(key));
        // A key without a protocol is like those of free entries.
        (!missed && self.entry(guess).is_some()).then_some(guess)
    }

    /// Requests the line of the entry that is most probably the flow's, which is not at home, and
    /// says which it is. Reads the index.
    #[inline(always)]
    pub fn prefetch_entry(&self, home: &Home, key: &E::Key) -> Option<Slot> {
        if self.slab.has_many()
            && let Some(slot) = self.find_in_older(self.end(key), key)
        {
            return Some(slot);
        }
        let guess = match &self.leaving {
            None => self.index.first_guess(*home),
            Some(leaving) => {
                let guess = self.index.first_guess(*home);
                guess.or_else(|| leaving.index.first_guess(*home))
            }
        };
        let slot = guess.map(Slot)?;
        crate::prefetch::prefetch(self.slab.get(slot)?);
        Some(slot)
    }

    /// Requests what adding a flow with this home will ask for.
    #[inline(always)]
    pub(in crate::conn) fn prefetch_room(&self, home: Slot) {
        self.slab.prefetch_room(home);
    }

    /// Requests what adding a flow with this home, and this place in the index, asks for if its
    /// home is full.
    #[inline(always)]
    pub(in crate::conn) fn prefetch_if_full(&self, first: Slot, home: Home) {
        if let Some(place) = self.slab.room_if_full(first) {
            self.prefetch_slot(place);
            self.index.prefetch(home);
        }
    }

    /// Requests the line of an entry.
    #[inline(always)]
    pub fn prefetch_slot(&self, slot: Slot) {
        if let Some(entry) = self.slab.get(slot) {
            crate::prefetch::prefetch(entry);
        }
    }

    /// Whether an entry is this flow's.
    #[inline(always)]
    pub fn is_of(&self, slot: Slot, key: &E::Key) -> bool {
        self.slab.get(slot).is_some_and(|entry| entry.is_of(key))
    }

    /// The entry of a flow, from where [`Self::locate`] said.
    #[inline]
    pub fn find_at(&self, home: &Home, flow: &Flow) -> Option<Slot> {
        self.find_key(home, &E::key(flow))
    }

    /// The same by the flow's key.
    #[inline]
    pub fn find_key(&self, home: &Home, key: &E::Key) -> Option<Slot> {
        let end = self.end(key);
        let found = self.find_in_home(self.slab.home(end), key);
        let found = found.or_else(|| self.find_in_older(end, key));
        if found.is_some() || !self.slab.anybody_away(end) {
            return found;
        }
        self.find_away(home, key)
    }

    /// The entry of a flow that is probably new.
    #[inline(always)]
    pub(crate) fn find_wanted(&self, Wanted { first, home, key }: Wanted<'_, E>) -> Option<Slot> {
        if self.slab.has_many() {
            return self.find_key(home, key);
        }
        let found = self.find_in_home(first, key);
        if found.is_some() || !self.slab.goes_on(first) {
            return found;
        }
        self.find_away(home, key)
    }

    /// The same of a flow that is away from home.
    #[inline(never)]
    fn find_away(&self, home: &Home, key: &E::Key) -> Option<Slot> {
        let is_it = |number| self.slab.get(Slot(number)).is_some_and(|entry| entry.is_of(key));
        let mut found = self.index.find(*home, is_it);
        if found.is_none()
            && let Some(leaving) = &self.leaving
        {
            found = leaving.index.find(*home, is_it);
        }
        found.map(Slot)
    }

    /// The entry of a flow.
    #[inline]
    pub fn find(&self, flow: &Flow) -> Option<Slot> {
        self.find_at(&self.locate(flow), flow)
    }
}

#[cfg(target_arch = "x86_64")]
impl Table<EntryV4> {
    /// [`Self::home`] of four flows by their ends, the lower half of each quarter as
    /// [`EntryV4::end_of`] has them; requests the homes.
    #[target_feature(enable = "avx512f,avx512vl,avx512ifma")]
    #[inline]
    pub(crate) fn request_homes(&self, ends: std::arch::x86_64::__m512i) -> [Slot; 4] {
        self.slab.request_homes(EntryV4::end_hashes(ends, self.secret))
    }
}
