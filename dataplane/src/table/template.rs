//! The template table: (scope, masked client) -> real server, for all cores.
//!
//! Every core may look up, insert, hold and release in every shard; nobody waits for anybody.
//! How a key gets exactly one real server is told in `assign.rs`; when memory is used anew, in
//! `grace.rs`. The other races on a slot's value word, which only ever changes by
//! compare-and-swap:
//!
//! - *Expiry against a new connection.* `attach` counts the connection and restarts the timer in
//!   one step, the sweeper kills a slot in one step from a word with count 0. One wins: either
//!   the template lives on with the connection, or `attach` answers [`Gone`] and its caller
//!   asks again.
//! - *Expiry against a release.* A template whose timer fired while it controlled connections
//!   lives 60 s longer, whoever notices: every change first brings the word up to `now`
//!   ([`TemplateTable`]'s `as_of`), so a release after the timer fired does not make it look
//!   as if it had expired without connections.
//! - *Invalidation against a lookup.* A lookup that read the word before has asked before. Its
//!   `attach` is refused. Of two who insert afterwards one wins.
//! - *Cores whose clocks differ by a burst.* One may see a template expired that another still
//!   uses. The first to change the word wins, the other sees the change and judges again.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use super::assign::{Assigned, NoHole, assign};
use super::cells::V6;
use super::cells_v4::V4;
use super::counters::{Counters, Stats};
use super::grace::Grace;
use super::hash::Hasher;
use super::key::{ClientKey, Handle, Probe, TemplateKey};
use super::life::{TemplateWindow, update, view};
use super::seat::Seat;
use super::segments::{Segments, hash_of, shard_of};
use super::sync::Ordering;
use super::value::Value;
use super::view::{Candidate, Full, Gone, Outcome, Swept, View};
use crate::cpu::Tier;
use crate::ids::RealId;
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::timer::TimerRule;

/// How big a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Cores that use the table; each owns a shard. 1..=256.
    pub shards: u32,
    /// IPv4 templates it should hold: 24 bytes each, up to 134 million.
    pub entries_v4: usize,
    /// IPv6 templates it should hold: 64 bytes each, up to 134 million.
    pub entries_v6: usize,
}

/// What a hit does to the timer of a template that was extended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Renewal {
    /// Restarts it with 60 s, as IPVS does.
    #[default]
    AsKernel,
    /// Gives the template its own timeout back.
    Full,
}

/// Why a table cannot grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrowError {
    /// It has grown seven times. Restart with a bigger size in the configuration.
    Exhausted,
    /// The growth before is not over: some core has not been quiescent since. Try again later.
    Growing,
}

/// Where a listing goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub(super) v6: bool,
    pub(super) segment: usize,
    pub(super) bucket: usize,
}

impl Cursor {
    /// A place that [`Self::parts`] told, perhaps to another program. One that is beyond the
    /// table is its end.
    pub fn at((v6, segment, bucket): (bool, usize, usize)) -> Self {
        Self { v6, segment, bucket }
    }

    /// The family, the segment of its table and the bucket in it.
    pub fn parts(self) -> (bool, usize, usize) {
        (self.v6, self.segment, self.bucket)
    }
}

/// How long an expired template with connections lives on, as in IPVS.
pub(crate) const EXTENSION_S: u32 = 60;

/// The table. Shared by all cores behind an `Arc`.
///
/// A core's operations are: `probe`, `prefetch`, `get`, `get_or_insert`, then `attach` (or
/// `touch` where no connection is kept) on what was found; `release` when the connection ends.
/// Once per turn, between bursts, it calls `quiescent` and `sweep`. Nothing allocates.
pub struct TemplateTable {
    pub(super) rule: TimerRule,
    pub(super) shards: usize,
    pub(super) hasher: Hasher,
    pub(super) v4: Segments<V4>,
    pub(super) v6: Segments<V6>,
    pub(super) grace: Grace,
    /// Seconds, by timeout index. Settings, no part of the protocol.
    pub(super) timeouts_s: Box<[AtomicU32]>,
    pub(super) counters: Counters,
    pub(super) tier: Tier,
}

impl TemplateTable {
    /// A table and one seat for each of its cores. `key` must be secret and random.
    pub fn new(sizes: Sizes, rule: TimerRule, key: [u64; 2]) -> (Arc<Self>, Vec<Seat>) {
        let shards = sizes.shards.clamp(1, Value::MAX_CORES) as usize;
        let table = Self {
            rule,
            shards,
            hasher: Hasher::new(key),
            v4: Segments::new(shards, sizes.entries_v4),
            v6: Segments::new(shards, sizes.entries_v6),
            grace: Grace::new(shards),
            timeouts_s: (0..=u8::MAX).map(|_| AtomicU32::new(EXTENSION_S)).collect(),
            counters: Counters::new(shards),
            tier: Tier::best(),
        };
        (Arc::new(table), (0..shards).map(Seat::new).collect())
    }

    /// Says what a timeout index means, in seconds (1 to 31 days). To be called before any core
    /// can meet the index; the meaning of an index in use must not change.
    pub fn set_timeout(&self, index: u8, seconds: u32) {
        self.timeouts_s[usize::from(index)].store(seconds.max(1), Ordering::Relaxed);
    }

    /// The key with its hash and the shard that the hash chooses.
    #[inline]
    pub fn probe(&self, key: TemplateKey) -> Probe {
        let hash = hash_of(&self.hasher, &key);
        Probe { key, hash, shard: shard_of(hash, self.shards) }
    }

    /// The key with its hash, in the shard of the core to which the NIC steers this client. For
    /// one key the shard must always be the same, on all cores and for the table's lifetime.
    #[inline]
    pub fn probe_in(&self, shard: u32, key: TemplateKey) -> Probe {
        let shard = shard.min(self.shards as u32 - 1);
        Probe { key, hash: hash_of(&self.hasher, &key), shard }
    }

    /// Requests the key's cache lines.
    #[inline]
    pub fn prefetch(&self, probe: &Probe) {
        match probe.key.client {
            ClientKey::V4(_) => self.v4.prefetch(probe),
            ClientKey::V6(_) => self.v6.prefetch(probe),
        }
    }

    /// The key's template. One that has expired without connections is as good as none.
    #[inline]
    pub fn get(&self, probe: &Probe, now: Tick) -> Option<View> {
        match probe.key.client {
            ClientKey::V4(_) => self.get_in(&self.v4, probe, now),
            ClientKey::V6(_) => self.get_in(&self.v6, probe, now),
        }
    }

    /// The key's template, made from the candidate if there is none. However many cores ask at
    /// once, exactly one gets [`Outcome::Inserted`] and all get the same real server. The timer
    /// of a new template starts at `now`; that of a found one is left to `attach`.
    pub fn get_or_insert(
        &self,
        probe: &Probe,
        first: Candidate,
        now: Tick,
    ) -> Result<Outcome, Full> {
        let assigned = match probe.key.client {
            ClientKey::V4(_) => assign(&TemplateWindow::new(self, &self.v4, probe, first, now)),
            ClientKey::V6(_) => assign(&TemplateWindow::new(self, &self.v6, probe, first, now)),
        };
        match assigned {
            Ok(Assigned::Inserted(view)) => {
                self.counters.inserted(probe.shard, probe.is_v6());
                Ok(Outcome::Inserted(view))
            }
            Ok(Assigned::Found(view)) => Ok(Outcome::Found(view)),
            Err(NoHole) => {
                self.counters.full(probe.shard);
                Err(Full)
            }
        }
    }

    /// Counts a connection that was bound by the template to `real`, and restarts the timer as
    /// every new connection does. From here to `release` the handle stays valid.
    pub fn attach(
        &self,
        handle: Handle,
        real: RealId,
        renewal: Renewal,
        now: Tick,
        seat: &mut Seat,
    ) -> Result<View, Gone> {
        let (word, timeout) = self.place(handle)?;
        // Only this core changes what it counts for itself, so this holds during the update.
        let carries = Value(word.load(Ordering::Relaxed)).carried() && seat.carry.has(handle);
        let after = update(word, |before| {
            let value = self.usable(before, real, timeout, now)?;
            let value = self.restarted(value, timeout, renewal, now);
            Some(match value.count() {
                _ if carries => value,
                count if count < Value::COUNT_LIMIT => value.count_up(),
                _ => value.count_up().carry(),
            })
        });
        let after = after.ok_or(Gone)?;
        if carries {
            seat.carry.hold(handle);
        } else if after.count() > Value::COUNT_LIMIT {
            seat.carry.anchor(handle);
            self.counters.carried(seat.core as u32);
        }
        Ok(view(handle, after, timeout, now))
    }

    /// Takes back what `attach` counted; by the same core.
    pub fn release(&self, handle: Handle, now: Tick, seat: &mut Seat) {
        let Ok((word, timeout)) = self.place(handle) else { return };
        if Value(word.load(Ordering::Relaxed)).carried() && seat.carry.release(handle) {
            return;
        }
        update(word, |before| {
            debug_assert!(before.count() > 0 && !before.dead(), "released more than attached");
            if before.count() == 0 || before.dead() {
                return None;
            }
            Some(self.as_of(before, timeout, now)?.count_down())
        });
    }

    /// When the template's timer nominally ends as of `now`, the timeout that it was armed for, in
    /// ticks, and the template's own one. None if the template has ended.
    pub fn timer(&self, handle: Handle, now: Tick) -> Option<(Tick, u32, u32)> {
        let (word, timeout) = self.place(handle).ok()?;
        let value = self.as_of(Value(word.load(Ordering::Relaxed)), timeout, now)?;
        let armed_for = self.period_s(value, timeout).wrapping_mul(TICKS_PER_SECOND);
        let own_s = self.timeouts_s[usize::from(timeout)].load(Ordering::Relaxed);
        Some((value.expires(now), armed_for, own_s.wrapping_mul(TICKS_PER_SECOND)))
    }

    /// Restarts the timer without counting a connection: for one-packet scheduling.
    pub fn touch(
        &self,
        handle: Handle,
        real: RealId,
        renewal: Renewal,
        now: Tick,
    ) -> Result<View, Gone> {
        let (word, timeout) = self.place(handle)?;
        let after = update(word, |before| {
            let value = self.usable(before, real, timeout, now)?;
            Some(self.restarted(value, timeout, renewal, now))
        });
        after.map(|after| view(handle, after, timeout, now)).ok_or(Gone)
    }

    /// Marks the template as proven, for good: a connection of it has been established.
    pub fn assure(&self, handle: Handle) {
        self.mark(handle, |value| (!value.assured()).then(|| value.assure()));
    }

    /// Hides the template from its key, so that a fresh one can be made. It stays listed and
    /// counted, keeps its timer and is never found again. True if this call did it.
    pub fn invalidate(&self, handle: Handle) -> bool {
        self.mark(handle, |value| (!value.invalid()).then(|| value.invalidate()))
    }

    /// Lets the timer fire now: a template without connections ends, one with connections is
    /// extended. The sweeper reports the end. False if it had ended already.
    pub fn expire(&self, handle: Handle, now: Tick) -> bool {
        self.mark(handle, |value| {
            Some(match value.count() {
                0 => value.kill(),
                _ => value.extend().with_expires(now.plus_secs(EXTENSION_S), self.rule),
            })
        })
    }

    /// Sets the nominal expiry, for state that is restored. False if the template has ended.
    pub fn set_expires(&self, handle: Handle, expires: Tick) -> bool {
        self.mark(handle, |value| Some(value.with_expires(expires, self.rule)))
    }

    /// Tells the table that this core holds nothing it has read: no `View` and no handle but
    /// those it is attached to. Once per turn, between bursts.
    #[inline]
    pub fn quiescent(&self, seat: &mut Seat) {
        self.grace.quiescent(seat.core, &mut seat.seen);
    }

    /// The core will not touch the table until it is `back`; without this, a stopped core keeps
    /// all others from using the memory of dead templates anew.
    pub fn away(&self, seat: &mut Seat) {
        self.grace.away(seat.core);
    }

    /// The core uses the table again.
    pub fn back(&self, seat: &mut Seat) {
        self.grace.back(seat.core, &mut seat.seen);
    }

    /// Walks the next `budget` buckets of each family in the core's own shard: extends and frees
    /// what has expired, and makes memory of the dead free again.
    pub fn sweep(&self, seat: &mut Seat, now: Tick, budget: usize, on_event: impl FnMut(Swept)) {
        self.sweep_each(seat, now, [budget; 2], on_event);
    }

    /// [`Self::sweep`] of so many buckets of IPv4 and of IPv6.
    pub fn sweep_each(
        &self,
        seat: &mut Seat,
        now: Tick,
        [v4, v6]: [usize; 2],
        mut on_event: impl FnMut(Swept),
    ) {
        self.open_grown();
        self.sweep_in(&self.v4, seat.core, &mut seat.v4, (now, v4), &mut on_event);
        self.sweep_in(&self.v6, seat.core, &mut seat.v6, (now, v6), &mut on_event);
    }

    /// Lists up to `budget` buckets of a shard from `from` on, dead and unfinished templates left
    /// out. Returns where to go on; None at the end. For any thread at any time; a template that
    /// comes or goes meanwhile may or may not be listed.
    pub fn iterate(
        &self,
        shard: u32,
        from: Cursor,
        now: Tick,
        budget: usize,
        mut each: impl FnMut(TemplateKey, View),
    ) -> Option<Cursor> {
        let shard = shard as usize;
        if shard >= self.shards {
            return None;
        }
        if !from.v6 {
            let next = self.list_in(&self.v4, shard, from, (now, budget), &mut each);
            return Some(next.unwrap_or(Cursor { v6: true, segment: 0, bucket: 0 }));
        }
        self.list_in(&self.v6, shard, from, (now, budget), &mut each)
    }

    /// Adds room for so many templates more, without a stall: for the control thread, which pays
    /// for the memory. New templates may use it as soon as every core has been quiescent.
    pub fn grow(&self, more_v4: usize, more_v6: usize) -> Result<(), GrowError> {
        self.open_grown();
        if self.v4.open() < self.v4.announced() || self.v6.open() < self.v6.announced() {
            return Err(GrowError::Growing);
        }
        let begin = || self.grace.begin();
        if more_v4 > 0 {
            self.v4.announce(more_v4, begin).ok_or(GrowError::Exhausted)?;
        }
        if more_v6 > 0 {
            self.v6.announce(more_v6, begin).ok_or(GrowError::Exhausted)?;
        }
        Ok(())
    }

    /// IPv4 and IPv6 buckets in all shards: what a round of sweeps goes through.
    pub fn buckets(&self) -> [usize; 2] {
        [self.v4.buckets(), self.v6.buckets()]
    }

    /// Sizes and events so far.
    pub fn stats(&self) -> Stats {
        let (slots_v4, bytes_v4) = self.v4.size();
        let (slots_v6, bytes_v6) = self.v6.size();
        self.counters.stats(slots_v4 + slots_v6, [bytes_v4, bytes_v6])
    }
}
