//! How a template lives and ends: the inner half of [`TemplateTable`].

use super::assign::{Holes, Seen, Window};
use super::cells::{Cells, FIRST_IF_FREE, Whose};
use super::key::{Handle, Probe};
use super::seat::Sweeper;
use super::segments::{Places, Segments};
use super::sync::{AtomicU64, Ordering};
use super::template::{Cursor, EXTENSION_S, Renewal, TemplateTable};
use super::value::Value;
use super::view::{Candidate, Gone, Swept, View};
use crate::ids::RealId;
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::timer::{fires, rearmed};

/// Ticks within which a connection's end is noticed: sweeps come round about once a second.
const NOTICED_WITHIN: u32 = 2 * TICKS_PER_SECOND;

pub(super) fn view(handle: Handle, value: Value, timeout_index: u8, now: Tick) -> View {
    View {
        handle,
        real: value.real(),
        expires: value.expires(now),
        timeout_index,
        connections: value.count(),
        assured: value.assured(),
        extended: value.extended(),
        invalid: value.invalid(),
    }
}

/// Changes a value word in one step, `change` being asked again if another core was faster.
/// Returns what the word is now; None if `change` refused.
pub(super) fn update(
    word: &AtomicU64,
    mut change: impl FnMut(Value) -> Option<Value>,
) -> Option<Value> {
    let mut before = word.load(Ordering::Acquire);
    loop {
        let after = change(Value(before))?.0;
        if after == before {
            return Some(Value(after));
        }
        match word.compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => return Some(Value(after)),
            Err(newer) => before = newer,
        }
    }
}

impl TemplateTable {
    /// The slot's value word and its timeout index.
    pub(super) fn place(&self, handle: Handle) -> Result<(&AtomicU64, u8), Gone> {
        fn of<C: Cells>(segments: &Segments<C>, handle: Handle) -> Option<(&AtomicU64, u8)> {
            let (row, place) = segments.find(handle)?;
            Some((row.value(place), row.timeout(place)))
        }
        if handle.is_v6() { of(&self.v6, handle) } else { of(&self.v4, handle) }.ok_or(Gone)
    }

    /// Sets a mark on a living template. False if it is dead or `change` finds nothing to do.
    pub(super) fn mark(
        &self,
        handle: Handle,
        mut change: impl FnMut(Value) -> Option<Value>,
    ) -> bool {
        let Ok((word, _)) = self.place(handle) else { return false };
        let living = |value: Value| !value.is_empty() && !value.dead();
        update(word, |before| if living(before) { change(before) } else { None }).is_some()
    }

    /// The word as it should be at `now`: extended, if the timer fired while connections were
    /// controlled. None if it fired without any: the template is over.
    pub(super) fn as_of(&self, value: Value, timeout: u8, now: Tick) -> Option<Value> {
        let expires = value.expires(now);
        if !expires.has_come(now) {
            // No timer ends before its nominal expiry.
            return Some(value);
        }
        let armed = self.period_s(value, timeout).wrapping_mul(TICKS_PER_SECOND);
        let fired = fires(self.rule, expires, armed);
        if !fired.has_come(now) {
            return Some(value);
        }
        if value.count() == 0 {
            return None;
        }
        let expires = rearmed(self.rule, fired, EXTENSION_S, now);
        Some(value.extend().with_expires(expires, self.rule))
    }

    /// The word as of `now`, if new connections may use it for `real`.
    pub(super) fn usable(
        &self,
        value: Value,
        real: RealId,
        timeout: u8,
        now: Tick,
    ) -> Option<Value> {
        if value.dead() || value.invalid() || value.real() != real {
            return None;
        }
        self.as_of(value, timeout, now)
    }

    /// The word with its timer restarted by a hit.
    pub(super) fn restarted(
        &self,
        value: Value,
        timeout: u8,
        renewal: Renewal,
        now: Tick,
    ) -> Value {
        let value = match renewal {
            Renewal::AsKernel => value,
            Renewal::Full => value.unextend(),
        };
        value.with_expires(now.plus_secs(self.period_s(value, timeout)), self.rule)
    }

    /// What the template's timer is armed with, in seconds.
    pub(super) fn period_s(&self, value: Value, timeout: u8) -> u32 {
        if value.extended() {
            return EXTENSION_S;
        }
        self.timeouts_s.get(usize::from(timeout)).map_or(EXTENSION_S, |s| s.load(Ordering::Relaxed))
    }

    #[inline]
    pub(super) fn get_in<C: Cells>(
        &self,
        segments: &Segments<C>,
        probe: &Probe,
        now: Tick,
    ) -> Option<View> {
        let name = C::name(probe);
        for segment in (0..segments.announced()).rev() {
            let Some(row) = segments.row(segment) else { continue };
            for at in segments.each(row, segment, probe) {
                for place in at.bucket * C::WAYS..(at.bucket + 1) * C::WAYS {
                    if !row.is_of(place, name) {
                        continue;
                    }
                    let value = Value(row.value(place).load(Ordering::Acquire));
                    if value.is_empty() || value.dead() || value.invalid() {
                        continue;
                    }
                    let timeout = row.timeout(place);
                    if let Some(value) = self.as_of(value, timeout, now) {
                        return Some(view(C::handle(segment, place), value, timeout, now));
                    }
                }
            }
        }
        None
    }

    pub(super) fn sweep_in<C: Cells>(
        &self,
        segments: &Segments<C>,
        shard: usize,
        sweeper: &mut Sweeper,
        (now, budget): (Tick, usize),
        on_event: &mut impl FnMut(Swept),
    ) {
        sweeper.limbo.reclaim(&self.grace, budget.saturating_mul(C::WAYS), |bits| {
            let handle = Handle::from_bits(bits);
            if let Some((row, place)) = segments.find(handle) {
                row.clear(place);
            }
        });
        let (mut left, mut is_again) = (budget, false);
        while left > 0 {
            let at = (&mut sweeper.segment, &mut sweeper.bucket);
            let Some((row, segment, bucket)) = segments.next_bucket(shard, at) else {
                (sweeper.segment, sweeper.bucket) = (0, 0);
                // A sweep that ended with the last bucket is followed by one from the first.
                if left < budget || is_again {
                    return;
                }
                is_again = true;
                continue;
            };
            left -= 1;
            for place in bucket * C::WAYS..(bucket + 1) * C::WAYS {
                if Value(row.value(place).load(Ordering::Acquire)).may_be_over(now) {
                    self.sweep_slot(row, C::handle(segment, place), sweeper, now, on_event);
                }
            }
        }
        segments.prefetch_next(shard, (sweeper.segment, sweeper.bucket), budget);
    }

    #[inline(never)]
    fn sweep_slot<C: Cells>(
        &self,
        row: &C,
        handle: Handle,
        sweeper: &mut Sweeper,
        now: Tick,
        on_event: &mut impl FnMut(Swept),
    ) {
        let place = handle.place();
        let word = row.value(place);
        let mut value = Value(word.load(Ordering::Acquire));
        // Free or tentative; or queued already.
        if value.is_empty() || value == Value::LIMBO {
            return;
        }
        if !value.dead() {
            let timeout = row.timeout(place);
            // Its last connection may have ended before it fired, and no sweep has come by there
            // yet: whoever tells of that in time must not find it extended.
            let late = if value.count() > 0 { NOTICED_WITHIN } else { 0 };
            let asked = Tick(now.0.wrapping_sub(late));
            let after = self.as_of(value, timeout, asked).unwrap_or_else(|| value.kill());
            if after == value {
                return;
            }
            // Whoever was faster has judged by its own clock; the next round looks again.
            let swapped =
                word.compare_exchange(value.0, after.0, Ordering::AcqRel, Ordering::Acquire);
            if swapped.is_err() {
                return;
            }
            value = after;
            if let (false, Some(key)) = (value.dead(), row.key(place)) {
                on_event(Swept::Extended { key, view: view(handle, value, timeout, now) });
            }
        }
        if value.dead() && sweeper.limbo.room() > 0 {
            // Nobody but the owner changes a dead word.
            word.store(Value::LIMBO.0, Ordering::Release);
            sweeper.limbo.push(handle.to_bits());
            // An abandoned claim was never anybody's template.
            if let (true, Some(key)) = (value.real().0 != 0, row.key(place)) {
                self.counters.freed(sweeper.shard, handle.is_v6());
                let (real, invalid) = (value.real(), value.invalid());
                on_event(Swept::Freed { key, real, invalid });
            }
        }
    }

    pub(super) fn list_in<C: Cells>(
        &self,
        segments: &Segments<C>,
        shard: usize,
        mut cursor: Cursor,
        (now, budget): (Tick, usize),
        each: &mut impl FnMut(super::TemplateKey, View),
    ) -> Option<Cursor> {
        for _ in 0..budget {
            let at = (&mut cursor.segment, &mut cursor.bucket);
            let (row, segment, bucket) = segments.next_bucket(shard, at)?;
            for place in bucket * C::WAYS..(bucket + 1) * C::WAYS {
                let Some(key) = row.key(place) else { continue };
                let value = Value(row.value(place).load(Ordering::Acquire));
                // A thread without a seat may meet a slot that is being used anew.
                if value.is_empty() || value.dead() || row.key(place) != Some(key) {
                    continue;
                }
                let timeout = row.timeout(place);
                if let Some(value) = self.as_of(value, timeout, now) {
                    each(key, view(C::handle(segment, place), value, timeout, now));
                }
            }
        }
        Some(cursor)
    }

    /// Opens segments that all cores know of by now.
    pub(super) fn open_grown(&self) {
        self.v4.open_if(|since| self.grace.over(since));
        self.v6.open_if(|since| self.grace.over(since));
    }
}

/// The slots where one key's template may stand, with what is needed to judge and to make it.
pub(super) struct TemplateWindow<'a, C: Cells> {
    table: &'a TemplateTable,
    segments: &'a Segments<C>,
    name: C::Name,
    first: Candidate,
    now: Tick,
    places: Places,
}

impl<'a, C: Cells> TemplateWindow<'a, C> {
    pub(super) fn new(
        table: &'a TemplateTable,
        segments: &'a Segments<C>,
        probe: &Probe,
        first: Candidate,
        now: Tick,
    ) -> Self {
        let (name, places) = (C::name(probe), segments.places(probe));
        Self { table, segments, name, first, now, places }
    }

    fn slot(&self, at: usize) -> Option<(&'a C, usize, Handle, bool)> {
        self.segments.slot(&self.places, at)
    }
}

impl<C: Cells> Window for TemplateWindow<'_, C> {
    type Bound = View;
    const WAYS: usize = C::WAYS;
    const FIRST_IF_FREE: usize = FIRST_IF_FREE;

    fn slots(&self) -> usize {
        self.places.buckets() * C::WAYS
    }

    fn look(&self, at: usize) -> Seen<View> {
        let Some((row, place, handle, open)) = self.slot(at) else { return Seen::Other };
        let word = row.value(place);
        // What was alive or tentative before the key was seen is not reclaimed while this
        // operation is under way; what was dead may be, and would look tentative then.
        let was_dead = Value(word.load(Ordering::Acquire)).dead();
        match row.settle_whole(place, self.name) {
            (Whose::Free, claimable) if claimable && open => return Seen::Free,
            (Whose::Free | Whose::Other, _) => return Seen::Other,
            (Whose::This, _) if was_dead => return Seen::Dead,
            (Whose::This, _) => {}
        }
        let timeout = row.timeout(place);
        let mut seen = Seen::Dead;
        update(word, |value| {
            seen = Seen::Dead;
            if value.is_empty() {
                seen = Seen::Tentative;
            } else if !value.dead() && !value.invalid() {
                match self.table.as_of(value, timeout, self.now) {
                    Some(value) => seen = Seen::Bound(view(handle, value, timeout, self.now)),
                    None => return Some(value.kill()),
                }
            }
            None
        });
        seen
    }

    fn claim(&self, at: usize) -> bool {
        let Some((row, place, ..)) = self.slot(at) else { return false };
        // The marks are there before anybody can be found behind them.
        let number = at / C::WAYS;
        let segment = self.places.bucket(number).0.segment;
        let before = (0..number).map(|earlier| self.places.bucket(earlier).0);
        before.filter(|one| one.segment == segment).for_each(|one| row.mark(one.bucket));
        row.claim(place, self.name, self.first.timeout_index)
    }

    fn abandon(&self, at: usize) -> bool {
        self.slot(at)
            .is_some_and(|(row, place, ..)| settle_empty(row.value(place), Value::ABANDONED))
    }

    fn nowhere(&self) -> Option<Holes> {
        let mut holes = Holes::default();
        for number in 0..self.places.buckets() {
            let (at, open) = self.places.bucket(number);
            let Some(row) = self.segments.row(at.segment) else { continue };
            let mut free = 0;
            for way in 0..C::WAYS {
                match row.settle_whole(at.bucket * C::WAYS + way, self.name) {
                    (Whose::This, _) => return None,
                    (Whose::Free, claimable) => free |= u32::from(claimable) << way,
                    (Whose::Other, _) => {}
                }
            }
            if open {
                holes.add::<Self>(number * C::WAYS, free);
            }
        }
        Some(holes)
    }

    fn nowhere_but(&self, but: usize) -> bool {
        (0..self.places.buckets()).all(|number| {
            let (at, _) = self.places.bucket(number);
            let Some(row) = self.segments.row(at.segment) else { return true };
            let place = |way| at.bucket * C::WAYS + way;
            (0..C::WAYS)
                .filter(|way| number * C::WAYS + way != but)
                .all(|way| !matches!(row.settle_whole(place(way), self.name), (Whose::This, _)))
        })
    }

    fn publish(&self, at: usize) -> Option<View> {
        let (row, place, handle, _) = self.slot(at)?;
        // The claimer's timeout holds, if this core finishes another's work.
        let timeout = row.timeout(place);
        let expires = self.now.plus_secs(self.table.period_s(Value::EMPTY, timeout));
        let value = Value::new(self.first.real, expires, self.table.rule);
        let published = settle_empty(row.value(place), value);
        published.then(|| view(handle, value, timeout, self.now))
    }
}

/// Gives a tentative slot its value. False if it has one.
fn settle_empty(word: &AtomicU64, value: Value) -> bool {
    word.compare_exchange(Value::EMPTY.0, value.0, Ordering::AcqRel, Ordering::Acquire).is_ok()
}
