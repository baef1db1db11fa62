//! Memory for tables: on large pages, so that a random access costs one miss and not two.
//!
//! A table of a million entries touches tens of thousands of ordinary pages, more than the CPU
//! keeps translations of; with pages of 2 MiB it touches a few dozen. They come from the system
//! as transparent hugepages, and where it has none of those, from the reserved ones; the
//! reserved ones come second because packet buffers can have nothing else.

use std::alloc::Layout;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

/// Below this many bytes pages do not matter.
const LEAST: usize = 1 << 20;

/// What pages memory is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pages {
    /// Of 2 MiB, which the system puts together as it is asked to.
    Transparent,
    /// Of 2 MiB, from those that were reserved for programs that ask for them.
    Reserved,
    /// The machine's smallest: no others were free, or the memory is too small to need them.
    Ordinary,
}

/// Bytes of all blocks there are, by their pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PagesInUse {
    /// On transparent hugepages.
    pub transparent: u64,
    /// On reserved hugepages.
    pub reserved: u64,
    /// On ordinary pages.
    pub ordinary: u64,
}

/// By [`Pages`], in their order.
static IN_USE: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// How much memory is on what pages, in the whole process. For reports.
pub fn pages_in_use() -> PagesInUse {
    let [transparent, reserved, ordinary] =
        IN_USE.each_ref().map(|bytes| bytes.load(Ordering::Relaxed));
    PagesInUse { transparent, reserved, ordinary }
}

fn in_use(pages: Pages) -> &'static AtomicU64 {
    let [transparent, reserved, ordinary] = &IN_USE;
    match pages {
        Pages::Transparent => transparent,
        Pages::Reserved => reserved,
        Pages::Ordinary => ordinary,
    }
}

/// Blocks begin with a cache line.
const CACHE_LINE: usize = 64;

/// How values are laid out that come from the allocator; `None` where they take no memory.
fn layout<T>(length: usize) -> Option<Layout> {
    let layout = Layout::array::<T>(length).and_then(|layout| layout.align_to(CACHE_LINE));
    layout.ok().filter(|layout| layout.size() > 0)
}

/// So many values in memory of the allocator.
fn allocated<T>(length: usize, make: impl Fn() -> T) -> NonNull<T> {
    let Some(layout) = layout::<T>(length) else { return NonNull::dangling() };
    // SAFETY: the layout's size is not 0.
    #[allow(unsafe_code)]
    let memory = unsafe { std::alloc::alloc(layout) };
    let Some(first) = NonNull::new(memory.cast::<T>()) else {
        std::alloc::handle_alloc_error(layout)
    };
    for at in 0..length {
        // SAFETY: the memory has room for `length` values at their alignment, and is ours alone.
        #[allow(unsafe_code)]
        unsafe {
            first.add(at).write(make());
        }
    }
    first
}

/// So many values in a row, for as long as their table lives; the first one begins a cache line.
pub struct Block<T> {
    first: NonNull<T>,
    length: usize,
    source: Source,
}

/// Where the memory came from, and so how it is given back.
#[derive(Clone, Copy)]
enum Source {
    Allocator,
    /// A mapping of so many bytes that begins with the first value.
    #[cfg(target_os = "linux")]
    Mapping {
        bytes: usize,
        pages: Pages,
    },
}

// SAFETY: a block owns its values as a boxed slice does.
#[allow(unsafe_code)]
unsafe impl<T: Send> Send for Block<T> {}
// SAFETY: as above; it has no interior mutability of its own.
#[allow(unsafe_code)]
unsafe impl<T: Sync> Sync for Block<T> {}

impl<T> Block<T> {
    /// Makes so many values. All of the memory is written, so that no core ever waits for a
    /// page.
    pub fn new(length: usize, make: impl Fn() -> T) -> Self {
        let bytes = length.saturating_mul(size_of::<T>());
        #[cfg(target_os = "linux")]
        if bytes >= LEAST
            && let Some((mapping, pages)) = mapping::filled(length, &make)
        {
            let (first, bytes) = mapping.keep();
            return Self::counted(Self { first, length, source: Source::Mapping { bytes, pages } });
        }
        Self::counted(Self { first: allocated(length, make), length, source: Source::Allocator })
    }

    fn counted(block: Self) -> Self {
        in_use(block.pages()).fetch_add(block.taken(), Ordering::Relaxed);
        block
    }

    /// Bytes that were taken from the system.
    fn taken(&self) -> u64 {
        match self.source {
            Source::Allocator => size_of_val(&**self) as u64,
            #[cfg(target_os = "linux")]
            Source::Mapping { bytes, .. } => bytes as u64,
        }
    }

    /// What pages the values are on.
    pub fn pages(&self) -> Pages {
        match self.source {
            Source::Allocator => Pages::Ordinary,
            #[cfg(target_os = "linux")]
            Source::Mapping { pages, .. } => pages,
        }
    }
}

impl<T> Deref for Block<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: `first` is the first of `length` values that were all written, at the alignment
        // of `T`, and nobody frees them before the block is dropped.
        #[allow(unsafe_code)]
        unsafe {
            NonNull::slice_from_raw_parts(self.first, self.length).as_ref()
        }
    }
}

impl<T> DerefMut for Block<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as for `deref`; the block is borrowed alone, and it owns the values.
        #[allow(unsafe_code)]
        unsafe {
            NonNull::slice_from_raw_parts(self.first, self.length).as_mut()
        }
    }
}

impl<T> Drop for Block<T> {
    fn drop(&mut self) {
        in_use(self.pages()).fetch_sub(self.taken(), Ordering::Relaxed);
        let values = NonNull::slice_from_raw_parts(self.first, self.length);
        match self.source {
            Source::Allocator => {
                // SAFETY: all values were written and are dropped once, here; the memory was
                // allocated with this layout, and nothing points there any more.
                #[allow(unsafe_code)]
                unsafe {
                    values.drop_in_place();
                    if let Some(layout) = layout::<T>(self.length) {
                        std::alloc::dealloc(self.first.as_ptr().cast(), layout);
                    }
                }
            }
            #[cfg(target_os = "linux")]
            Source::Mapping { bytes, .. } => {
                // SAFETY: all values were written and are dropped once, here; the mapping of this
                // size begins with them, and nothing points there any more.
                #[allow(unsafe_code)]
                unsafe {
                    values.drop_in_place();
                    libc::munmap(self.first.as_ptr().cast(), bytes);
                }
            }
        }
    }
}

impl<T> std::fmt::Debug for Block<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Block").field("length", &self.length).field("pages", &self.pages()).finish()
    }
}

#[cfg(target_os = "linux")]
mod mapping {
    use super::{ManuallyDrop, NonNull, Pages};

    /// The size of large pages, and what blocks on them begin at a multiple of.
    const LARGE: usize = 2 << 20;

    /// Memory straight from the system, given back unless it is kept.
    pub(super) struct Mapping {
        first: NonNull<u8>,
        bytes: usize,
    }

    impl Mapping {
        /// So many bytes of zeros, a multiple of [`LARGE`], of which none is there yet.
        fn new(bytes: usize, flags: libc::c_int) -> Option<Self> {
            let all = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | flags;
            let access = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: a new mapping at an address that the system chooses touches nothing of ours.
            #[allow(unsafe_code)]
            let first = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, all, -1, 0) };
            if first == libc::MAP_FAILED {
                return None;
            }
            Some(Self { first: NonNull::new(first.cast())?, bytes })
        }

        /// The same, beginning at a multiple of [`LARGE`].
        fn aligned(bytes: usize) -> Option<Self> {
            let mut whole = Self::new(bytes.checked_add(LARGE)?, 0)?;
            let before = whole.first.as_ptr().align_offset(LARGE);
            if before > 0 {
                drop(whole.split_off_first(before)?);
            }
            whole.cut_to(bytes);
            Some(whole)
        }

        /// Parts with the first so many bytes, a multiple of a page's size.
        fn split_off_first(&mut self, bytes: usize) -> Option<Self> {
            let rest = self.bytes.checked_sub(bytes)?;
            let before = Self { first: self.first, bytes };
            // SAFETY: not more than the mapping has.
            #[allow(unsafe_code)]
            let first = unsafe { self.first.add(bytes) };
            (self.first, self.bytes) = (first, rest);
            Some(before)
        }

        /// Gives back all but the first so many bytes, a multiple of a page's size.
        fn cut_to(&mut self, bytes: usize) {
            if let Some(kept) = self.split_off_first(bytes) {
                drop(std::mem::replace(self, kept));
            }
        }

        fn advise(&self, advice: libc::c_int) -> bool {
            // SAFETY: the advices given here change where memory is, and nothing that is in it.
            #[allow(unsafe_code)]
            unsafe {
                libc::madvise(self.first.as_ptr().cast(), self.bytes, advice) == 0
            }
        }

        /// Writes a value to each place.
        fn fill<T>(&self, length: usize, make: impl Fn() -> T) {
            let first = self.first.cast::<T>();
            for at in 0..length {
                // SAFETY: the mapping has room for `length` values, begins at a multiple of their
                // alignment, may be written, and nothing else points into it.
                #[allow(unsafe_code)]
                unsafe {
                    first.add(at).write(make());
                }
            }
        }

        /// The first value's place, and how many bytes are to be given back.
        pub(super) fn keep<T>(self) -> (NonNull<T>, usize) {
            let kept = ManuallyDrop::new(self);
            (kept.first.cast(), kept.bytes)
        }
    }

    impl Drop for Mapping {
        fn drop(&mut self) {
            // SAFETY: these bytes are this mapping's alone, and what `fill` wrote there needs no
            // drop where this is reached: see `filled`.
            #[allow(unsafe_code)]
            unsafe {
                libc::munmap(self.first.as_ptr().cast(), self.bytes);
            }
        }
    }

    /// Values on large pages, if there are any to be had, and else on ordinary ones; `None` if
    /// there is no memory, or values cannot be placed so.
    pub(super) fn filled<T>(length: usize, make: impl Fn() -> T) -> Option<(Mapping, Pages)> {
        // Values that were written twice would have to be dropped twice.
        if std::mem::needs_drop::<T>() || align_of::<T>() > LARGE {
            return None;
        }
        let bytes = length.checked_mul(size_of::<T>())?.checked_next_multiple_of(LARGE)?;
        let mapping = Mapping::aligned(bytes)?;
        let asked = mapping.advise(libc::MADV_HUGEPAGE);
        mapping.fill(length, &make);
        if asked && are_large(&mapping) {
            return Some((mapping, Pages::Transparent));
        }
        if let Some(reserved) = reserved(bytes) {
            reserved.fill(length, &make);
            return Some((reserved, Pages::Reserved));
        }
        Some((mapping, Pages::Ordinary))
    }

    /// Whether what was asked for was given, at the latest now. Kernels before 6.1 do not say:
    /// they are believed.
    fn are_large(mapping: &Mapping) -> bool {
        let is_known = Mapping { first: mapping.first, bytes: 0 };
        !ManuallyDrop::new(is_known).advise(libc::MADV_COLLAPSE)
            || mapping.advise(libc::MADV_COLLAPSE)
    }

    /// Reserved pages, all of them there. Without the second step a core might touch one that a
    /// control group denies it, which ends the process.
    fn reserved(bytes: usize) -> Option<Mapping> {
        let mapping = Mapping::new(bytes, libc::MAP_HUGETLB | libc::MAP_HUGE_2MB)?;
        mapping.advise(libc::MADV_POPULATE_WRITE).then_some(mapping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn a_block_has_what_was_made_and_can_be_changed_whatever_its_size() {
        for length in [0, 1, 1000, LEAST / 8, LEAST / 8 + 1, 5_000_000 / 8] {
            let mut block = Block::new(length, || 7u64);
            assert_eq!(block.len(), length);
            assert!(block.iter().all(|value| *value == 7));
            if let Some(last) = block.last_mut() {
                *last = 8;
            }
            assert_eq!(block.iter().filter(|value| **value == 8).count(), length.min(1));
        }
    }

    #[test]
    fn values_begin_at_their_own_alignment() {
        #[repr(align(64))]
        struct Line(#[allow(dead_code)] [u8; 64]);
        for length in [3, 100_000] {
            let block = Block::new(length, || Line([1; 64]));
            assert!(block.as_ptr().is_aligned());
        }
    }

    #[test]
    fn values_that_own_something_are_dropped_once_each() {
        let owned = Arc::new(());
        let block = Block::new(LEAST / 4, || Arc::clone(&owned));
        assert_eq!(Arc::strong_count(&owned), LEAST / 4 + 1);
        drop(block);
        assert_eq!(Arc::strong_count(&owned), 1);
    }

    #[test]
    fn what_is_in_use_is_told_by_its_pages() {
        let block = Block::new(10 << 20, || 1u8);
        let told = pages_in_use();
        let bytes = match block.pages() {
            Pages::Transparent => told.transparent,
            Pages::Reserved => told.reserved,
            Pages::Ordinary => told.ordinary,
        };
        assert!(bytes >= 10 << 20, "{bytes}");
        assert_eq!(Block::new(10, || 1u8).pages(), Pages::Ordinary);
    }

    #[test]
    fn a_block_can_be_read_by_others() {
        let block = Arc::new(Block::new(1 << 20, || 3u32));
        let there = Arc::clone(&block);
        let sum = std::thread::spawn(move || there.iter().map(|n| u64::from(*n)).sum::<u64>());
        assert_eq!(sum.join().unwrap(), 3 << 20);
    }
}
