//! The layouts of template slots, four to a bucket: 16 bytes for an IPv4 client (`cells_v4.rs`), so
//! that a bucket is one cache line, and 32 for an IPv6 one.

use super::key::{ClientKey, Handle, Probe, TemplateKey};
use super::sync::{AtomicU64, Ordering};
use crate::block::Block;
use crate::ids::ScopeId;
use crate::prefetch::prefetch;

/// Whose a slot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Nobody's.
    Free,
    /// The key's that was asked for, alive or dead.
    This,
    /// Another key's.
    Other,
}

/// A row of buckets, each of one cache line or two neighbouring ones.
pub(super) trait Row {
    /// Slots in a bucket.
    const WAYS: usize;
    /// Slots to make for every 1,024 entries that are asked for: so many that hardly one new
    /// key in 20,000 finds its window full before all entries are in.
    const SLOTS_FOR_1024: usize;
    /// Buckets of a row where one key may stand: two, or three where there are so many.
    const CHOICES: usize;

    fn new(buckets: usize) -> Self;
    fn buckets(&self) -> usize;
    /// Its memory.
    fn bytes(&self) -> usize;
    fn prefetch(&self, bucket: usize);
    fn handle(segment: usize, place: usize) -> Handle;
}

/// How a key is written into a slot whose value stands in a word of its own.
pub(super) trait Cells: Row {
    /// A key as the slot's words have it.
    type Name: Copy;

    fn name(probe: &Probe) -> Self::Name;
    fn value(&self, place: usize) -> &AtomicU64;
    /// Whether the slot is the key's, without writing. A slot whose key is still being written
    /// is not.
    fn is_of(&self, place: usize, name: Self::Name) -> bool;
    /// Whose the slot is. Where the key is still being written, this settles whose it will be.
    fn settle(&self, place: usize, name: Self::Name) -> Whose;
    /// Whose the slot is, and whether it can be claimed if it is nobody's: a slot that is being
    /// reclaimed loses its key first and its value last.
    fn settle_whole(&self, place: usize, name: Self::Name) -> (Whose, bool) {
        let whose = self.settle(place, name);
        if whose != Whose::Free {
            return (whose, false);
        }
        if self.value(place).load(Ordering::Acquire) == 0 {
            return (Whose::Free, true);
        }
        // Either being reclaimed, or claimed and published between the two loads; having seen
        // the value, this load sees the key.
        (self.settle(place, name), false)
    }
    /// Takes a free slot. False if another was faster.
    fn claim(&self, place: usize, name: Self::Name, timeout: u8) -> bool;
    /// Which timeout the claimer chose.
    fn timeout(&self, place: usize) -> u8;
    /// The key, if the slot has one.
    fn key(&self, place: usize) -> Option<TemplateKey>;
    /// Makes a dead slot free. For the owner, after the grace period.
    fn clear(&self, place: usize);
    /// A key that may stand in this bucket will stand in a later one of its buckets.
    fn mark(&self, _bucket: usize) {}
}

/// See [`Window::FIRST_IF_FREE`](super::assign::Window::FIRST_IF_FREE): up to a quarter of the
/// fill, 97 of 100 new keys go to the first line; at the nominal fill, one key in 29,000 has no
/// room. With two of four it would be one in 8,000.
pub(super) const FIRST_IF_FREE: usize = 3;

/// Set in every used key word, so that none is 0.
const USED: u64 = 1 << 63;
const TIMEOUT_SHIFT: u32 = 52;
pub(super) const TIMEOUT_MASK: u64 = 0xff << TIMEOUT_SHIFT;
const SCOPE_SHIFT: u32 = 32;
const SCOPE_MASK: u64 = ScopeId::LIMIT as u64 - 1;

/// The parts that both layouts' first words share: used 1 | timeout 8 | scope 20 | low 32.
pub(super) fn first_word(scope: ScopeId, low: u32) -> u64 {
    USED | (u64::from(scope.0) & SCOPE_MASK) << SCOPE_SHIFT | u64::from(low)
}

pub(super) fn with_timeout(word: u64, timeout: u8) -> u64 {
    word | u64::from(timeout) << TIMEOUT_SHIFT
}

pub(super) fn timeout_of(word: u64) -> u8 {
    (word >> TIMEOUT_SHIFT) as u8
}

pub(super) fn scope_of(word: u64) -> ScopeId {
    ScopeId(((word >> SCOPE_SHIFT) & SCOPE_MASK) as u32)
}

/// IPv6: the key in three words, written one by one, each by one compare-and-swap and only by
/// those whose key has the words before. The first says the scope and a fingerprint of the
/// address, the others are the address's halves.
///
/// Two keys with the same scope and fingerprint (one pair in 2^32) may both write to a slot
/// that one of them claimed. The words then decide whose it is: the three are always one of
/// their keys, complete, because nobody writes behind a word that is not its own. The claimer
/// may lose its slot that way; it looks on, and the slot is not lost.
///
/// Halves are written only where the value was seen to be 0 before the first word was seen: a
/// slot that is being reclaimed loses its value last, and one that was free or tentative then is
/// not reclaimed while this operation is under way. Otherwise a half might be written behind the
/// owner that clears it, and would stand in a slot that is free, where no other key could ever be
/// written.
pub(super) struct V6(Block<BucketV6>);

/// Two lines that the CPU fetches as a pair: with only two slots to a bucket, windows would be
/// full at a third of the fill.
#[repr(align(128))]
struct BucketV6([SlotV6; 4]);

struct SlotV6 {
    first: AtomicU64,
    high: AtomicU64,
    low: AtomicU64,
    value: AtomicU64,
}

/// The first word and the halves of the address, each never 0.
#[derive(Clone, Copy)]
pub(super) struct NameV6([u64; 3]);

const HIGH_IS_ZERO: u64 = 1 << 60;
const LOW_IS_ZERO: u64 = 1 << 61;

impl V6 {
    #[inline]
    fn slot(&self, place: usize) -> &SlotV6 {
        &self.0[place / Self::WAYS].0[place % Self::WAYS]
    }
}

/// Whether the word is `wanted`, after writing it if nobody had written any.
fn settle_word(word: &AtomicU64, wanted: u64) -> bool {
    let mut found = word.load(Ordering::Acquire);
    if found == 0 {
        found = match word.compare_exchange(0, wanted, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => wanted,
            Err(other) => other,
        };
    }
    found == wanted
}

impl Row for V6 {
    const WAYS: usize = 4;
    const SLOTS_FOR_1024: usize = 2 * 1024;
    const CHOICES: usize = 2;

    fn new(buckets: usize) -> Self {
        let word = || AtomicU64::new(0);
        let slot = || SlotV6 { first: word(), high: word(), low: word(), value: word() };
        Self(Block::new(buckets, || BucketV6([slot(), slot(), slot(), slot()])))
    }

    fn bytes(&self) -> usize {
        self.buckets() * size_of::<BucketV6>()
    }

    fn buckets(&self) -> usize {
        self.0.len()
    }

    #[inline]
    fn prefetch(&self, bucket: usize) {
        let BucketV6([first, _, third, _]) = &self.0[bucket];
        prefetch(first);
        prefetch(third);
    }

    fn handle(segment: usize, place: usize) -> Handle {
        Handle::v6(segment, place)
    }
}

impl Cells for V6 {
    type Name = NameV6;

    #[inline]
    fn name(probe: &Probe) -> NameV6 {
        let bits = probe.key.client.bits();
        let (high, low) = ((bits >> 64) as u64, bits as u64);
        let mut first = first_word(probe.key.scope, probe.hash.fingerprint);
        // A word of 0 says "not written", so a half that is 0 is told by a flag.
        if high == 0 {
            first |= HIGH_IS_ZERO;
        }
        if low == 0 {
            first |= LOW_IS_ZERO;
        }
        NameV6([first, high.max(1), low.max(1)])
    }

    #[inline]
    fn value(&self, place: usize) -> &AtomicU64 {
        &self.slot(place).value
    }

    #[inline]
    fn is_of(&self, place: usize, NameV6([first, high, low]): NameV6) -> bool {
        let slot = self.slot(place);
        slot.first.load(Ordering::Acquire) & !TIMEOUT_MASK == first
            && slot.high.load(Ordering::Acquire) == high
            && slot.low.load(Ordering::Acquire) == low
    }

    fn settle(&self, place: usize, NameV6([first, high, low]): NameV6) -> Whose {
        let slot = self.slot(place);
        let is_unbound = slot.value.load(Ordering::Acquire) == 0;
        match slot.first.load(Ordering::Acquire) {
            0 => return Whose::Free,
            word if word & !TIMEOUT_MASK != first => return Whose::Other,
            _ => {}
        }
        let is_this = if is_unbound {
            settle_word(&slot.high, high) && settle_word(&slot.low, low)
        } else {
            // Whoever gave it a value had written the halves before.
            slot.high.load(Ordering::Acquire) == high && slot.low.load(Ordering::Acquire) == low
        };
        if is_this { Whose::This } else { Whose::Other }
    }

    fn claim(&self, place: usize, name: NameV6, timeout: u8) -> bool {
        let NameV6([first, ..]) = name;
        let word = with_timeout(first, timeout);
        let claimed = self
            .slot(place)
            .first
            .compare_exchange(0, word, Ordering::AcqRel, Ordering::Acquire)
            .is_ok();
        claimed && self.settle(place, name) == Whose::This
    }

    fn timeout(&self, place: usize) -> u8 {
        timeout_of(self.slot(place).first.load(Ordering::Relaxed))
    }

    fn key(&self, place: usize) -> Option<TemplateKey> {
        let slot = self.slot(place);
        let first = slot.first.load(Ordering::Acquire);
        let high = slot.high.load(Ordering::Acquire);
        let low = slot.low.load(Ordering::Acquire);
        if first == 0 || high == 0 || low == 0 {
            return None;
        }
        let high = if first & HIGH_IS_ZERO != 0 { 0 } else { high };
        let low = if first & LOW_IS_ZERO != 0 { 0 } else { low };
        let client = ClientKey::V6(u128::from(high) << 64 | u128::from(low));
        Some(TemplateKey { scope: scope_of(first), client })
    }

    fn clear(&self, place: usize) {
        let slot = self.slot(place);
        slot.high.store(0, Ordering::Release);
        slot.low.store(0, Ordering::Release);
        slot.first.store(0, Ordering::Release);
        // Last, because only a slot with first word and value 0 may be claimed.
        slot.value.store(0, Ordering::Release);
    }
}
