//! The memory of one address family: up to eight segments, each a row of buckets cut into one
//! range per shard. Growth adds a segment and moves nothing, so handles stay valid.

use std::sync::OnceLock;

use arrayvec::ArrayVec;

use super::cells::Row;
use super::hash::{Hash, Hasher};
use super::key::{ClientKey, Handle, Probe, TemplateKey};
use super::sync::{AtomicU64, AtomicUsize, Ordering};

/// Segments one family may have: handles name them in 3 bits.
pub(super) const MAX_SEGMENTS: usize = 8;

/// Buckets that a sweep requests for the next one, at the most.
const FETCHED: usize = 64;

/// Buckets of one segment where a key may stand, at most.
pub(super) const MAX_CHOICES: usize = 3;

/// No grace period has this number.
const NOT_BEGUN: u64 = 0;

/// One address family's segments.
pub(super) struct Segments<R> {
    shards: usize,
    rows: [OnceLock<R>; MAX_SEGMENTS],
    /// Segments that everybody looks at.
    announced: AtomicUsize,
    /// Segments that may be claimed in: those that everybody is known to look at.
    open: AtomicUsize,
    /// The grace period after which all announced segments may be opened.
    opens_after: AtomicU64,
}

/// A bucket of a window.
#[derive(Clone, Copy)]
pub(super) struct BucketAt {
    pub(super) segment: usize,
    pub(super) bucket: usize,
}

/// The buckets where one key may stand, in the order all cores agree on: newest segment first.
pub(super) struct Places {
    buckets: ArrayVec<BucketAt, { MAX_CHOICES * MAX_SEGMENTS }>,
    open: usize,
}

impl Places {
    /// Buckets in the window.
    #[inline]
    pub(super) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// One of them, and whether new keys may go there.
    #[inline]
    pub(super) fn bucket(&self, at: usize) -> (BucketAt, bool) {
        let at = self.buckets[at];
        (at, at.segment < self.open)
    }
}

impl<R: Row> Segments<R> {
    /// One segment with room for `entries` in `shards` ranges.
    pub(super) fn new(shards: usize, entries: usize) -> Self {
        let segments = Self {
            shards,
            rows: [const { OnceLock::new() }; MAX_SEGMENTS],
            announced: AtomicUsize::new(1),
            open: AtomicUsize::new(1),
            opens_after: AtomicU64::new(NOT_BEGUN),
        };
        let buckets = Self::buckets_for(shards, entries);
        segments.rows[0].get_or_init(|| R::new(buckets));
        segments
    }

    /// Buckets for `entries`, capped at what a handle can name.
    fn buckets_for(shards: usize, entries: usize) -> usize {
        let slots = entries.saturating_mul(R::SLOTS_FOR_1024).div_ceil(1024);
        let most = Handle::MAX_SLOTS / R::WAYS / shards;
        let per_shard = slots.div_ceil(R::WAYS).div_ceil(shards);
        per_shard.clamp(2, most) * shards
    }

    /// Segments there are now. At least 1.
    #[inline]
    pub(super) fn announced(&self) -> usize {
        self.announced.load(Ordering::Acquire)
    }

    /// Segments that may be claimed in.
    #[inline]
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// A segment, if there is one of that number.
    #[inline]
    pub(super) fn row(&self, segment: usize) -> Option<&R> {
        self.rows.get(segment)?.get()
    }

    /// All buckets in `segment` where the key may stand, the third one computed last.
    #[inline]
    pub(super) fn each(
        &self,
        row: &R,
        segment: usize,
        probe: &Probe,
    ) -> impl Iterator<Item = BucketAt> {
        let third = std::iter::once_with(move || self.third(row, segment, probe)).flatten();
        self.pair(row, segment, probe).into_iter().chain(third)
    }

    /// The two buckets in `segment` where the key may stand. They differ.
    #[inline]
    pub(super) fn pair(&self, row: &R, segment: usize, probe: &Probe) -> [BucketAt; 2] {
        let buckets = self.per_shard(row);
        pair_of(buckets, &probe.hash, probe.shard).map(|bucket| BucketAt { segment, bucket })
    }

    /// The third bucket where the key may stand, in a layout that has it.
    #[inline]
    pub(super) fn third(&self, row: &R, segment: usize, probe: &Probe) -> Option<BucketAt> {
        if R::CHOICES < MAX_CHOICES {
            return None;
        }
        let bucket = third_of(self.per_shard(row), &probe.hash, probe.shard)?;
        Some(BucketAt { segment, bucket })
    }

    /// How many ranges each row is cut into.
    #[inline]
    pub(super) fn shards(&self) -> usize {
        self.shards
    }

    /// Buckets of a row in one range.
    #[inline]
    pub(super) fn per_shard(&self, row: &R) -> usize {
        // Numbers of buckets have 28 bits, and dividing them as such takes half the time.
        (row.buckets() as u32 / self.shards as u32) as usize
    }

    /// All buckets where the key may stand.
    #[inline]
    pub(super) fn places(&self, probe: &Probe) -> Places {
        let mut places = Places { buckets: ArrayVec::new(), open: self.open() };
        for segment in (0..self.announced()).rev() {
            let Some(row) = self.row(segment) else { continue };
            places.buckets.extend(self.each(row, segment, probe));
        }
        places
    }

    /// A slot of a window: its row, its place in it, its handle, and whether it may be claimed.
    pub(super) fn slot(&self, places: &Places, at: usize) -> Option<(&R, usize, Handle, bool)> {
        let (bucket, open) = places.bucket(at / R::WAYS);
        let place = bucket.bucket * R::WAYS + at % R::WAYS;
        Some((self.row(bucket.segment)?, place, R::handle(bucket.segment, place), open))
    }

    /// The row and place that a handle names, if there is such a slot.
    #[inline]
    pub(super) fn find(&self, handle: Handle) -> Option<(&R, usize)> {
        let row = self.row(handle.segment())?;
        let place = handle.place();
        (place < row.buckets() * R::WAYS).then_some((row, place))
    }

    /// Requests the lines of the key's buckets in the newest segment, where nearly all are.
    #[inline]
    pub(super) fn prefetch(&self, probe: &Probe) {
        let segment = self.announced() - 1;
        if let Some(row) = self.row(segment) {
            self.each(row, segment, probe).for_each(|at| row.prefetch(at.bucket));
        }
    }

    /// The next bucket on a round through one shard: its row, segment and number. None at the end
    /// of the round.
    pub(super) fn next_bucket(
        &self,
        shard: usize,
        (segment, bucket): (&mut usize, &mut usize),
    ) -> Option<(&R, usize, usize)> {
        loop {
            let row = self.row(*segment)?;
            let per_shard = self.per_shard(row);
            if *bucket < per_shard {
                *bucket += 1;
                return Some((row, *segment, shard * per_shard + *bucket - 1));
            }
            (*segment, *bucket) = (*segment + 1, 0);
        }
    }

    /// Requests the lines of the buckets that a round comes to next. They are one after the
    /// other, but not asked for so often that the CPU would see that itself.
    pub(super) fn prefetch_next(
        &self,
        shard: usize,
        (segment, bucket): (usize, usize),
        buckets: usize,
    ) {
        if let Some(row) = self.row(segment) {
            let per_shard = self.per_shard(row);
            let end = (bucket + buckets.min(FETCHED)).min(per_shard);
            (bucket..end).for_each(|bucket| row.prefetch(shard * per_shard + bucket));
        }
    }

    /// Adds a segment that everybody will look at from now on, and begins the grace period after
    /// which it is opened. None if there are eight already.
    pub(super) fn announce(&self, entries: usize, begin: impl Fn() -> u64) -> Option<()> {
        let next = self.announced();
        let buckets = Self::buckets_for(self.shards, entries);
        let mut made = false;
        self.rows.get(next)?.get_or_init(|| {
            made = true;
            R::new(buckets)
        });
        if made {
            // Whoever sees the segment announced sees also that its grace period has not begun.
            self.opens_after.store(NOT_BEGUN, Ordering::Relaxed);
            self.announced.store(next + 1, Ordering::Release);
            self.opens_after.store(begin(), Ordering::Release);
        }
        made.then_some(())
    }

    /// Opens the announced segments if `over` says that their grace period has ended.
    pub(super) fn open_if(&self, over: impl Fn(u64) -> bool) {
        let announced = self.announced();
        let since = self.opens_after.load(Ordering::Acquire);
        if self.open() < announced && since != NOT_BEGUN && over(since) {
            self.open.store(announced, Ordering::Release);
        }
    }

    /// Buckets of all segments.
    pub(super) fn buckets(&self) -> usize {
        self.rows.iter().filter_map(OnceLock::get).map(R::buckets).sum()
    }

    /// (slots, bytes) in all segments.
    pub(super) fn size(&self) -> (usize, usize) {
        let buckets = self.buckets();
        let bytes = self.rows.iter().filter_map(OnceLock::get).map(R::bytes).sum();
        (buckets * R::WAYS, bytes)
    }
}

/// The two buckets of a key in a row with so many buckets per shard. They differ.
#[inline]
pub(super) fn pair_of(buckets: usize, hash: &Hash, shard: u32) -> [usize; 2] {
    let start = shard as usize * buckets;
    let first = Hash::scale(hash.first, buckets);
    let step = 1 + Hash::scale(hash.second, buckets - 1);
    let second = if first + step < buckets { first + step } else { first + step - buckets };
    [start + first, start + second]
}

/// A third one, other than those two; `None` if there are but two.
#[inline]
pub(super) fn third_of(buckets: usize, hash: &Hash, shard: u32) -> Option<usize> {
    let others = buckets.checked_sub(2).filter(|others| *others > 0)?;
    let start = shard as usize * buckets;
    let first = Hash::scale(hash.first, buckets);
    let second = 1 + Hash::scale(hash.second, buckets - 1);
    let step = 1 + Hash::scale(hash.fingerprint, others);
    let step = if step < second { step } else { step + 1 };
    let third = if first + step < buckets { first + step } else { first + step - buckets };
    Some(start + third)
}

/// The shard of a key whose NIC does not steer by client.
#[inline]
pub(super) fn shard_of(hash: Hash, shards: usize) -> u32 {
    Hash::scale(hash.shard, shards) as u32
}

/// Hashes a key.
#[inline]
pub(super) fn hash_of(hasher: &Hasher, key: &TemplateKey) -> Hash {
    let family = match key.client {
        ClientKey::V4(_) => 0,
        ClientKey::V6(_) => 1 << 32,
    };
    hasher.hash(key.client.bits(), u64::from(key.scope.0) | family)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_buckets_of_a_key_differ_and_all_are_used_alike() {
        let hasher = Hasher::new([1, 2]);
        for buckets in [2usize, 3, 4, 5, 7, 16] {
            let mut used = vec![[0u32; 3]; buckets];
            for n in 0..40_000u128 {
                let hash = hasher.hash(n, 0);
                let [first, second] = pair_of(buckets, &hash, 2);
                let third = third_of(buckets, &hash, 2);
                assert_eq!(third.is_some(), buckets > 2);
                assert!(first != second && third != Some(first) && third != Some(second));
                for (choice, bucket) in [Some(first), Some(second), third].into_iter().enumerate() {
                    if let Some(bucket) = bucket {
                        used[bucket - 2 * buckets][choice] += 1;
                    }
                }
            }
            let wanted = 40_000 / buckets as u32;
            let near = |count: u32| count.abs_diff(wanted) < wanted / 10;
            for choice in 0..if buckets > 2 { 3 } else { 2 } {
                assert!(used.iter().all(|counts| near(counts[choice])), "{buckets}: {used:?}");
            }
        }
    }
}
