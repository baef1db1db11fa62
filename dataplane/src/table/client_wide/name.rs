//! A client as the slots of the IPv6 layout have it: its scope, and its address under a veil.

use crate::table::hash::Hasher;
use crate::table::key::{ClientKey, Probe};

/// A client as the slots have it: the word's upper part, and the veiled halves of the address,
/// the upper one first.
#[derive(Clone, Copy)]
pub(in crate::table) struct Name {
    pub(super) word: u64,
    pub(super) halves: [u64; 2],
}

/// What addresses are veiled by.
#[derive(Clone, Copy)]
pub(in crate::table) struct Veil([u64; 2]);

impl Veil {
    /// A secret that follows from the table's.
    pub(in crate::table) fn new(hasher: &Hasher) -> Self {
        let hash = hasher.hash(0, u64::MAX);
        let half = |high: u32, low: u32| (u64::from(high) << 32 | u64::from(low)).max(1);
        Self([half(hash.first, hash.second), half(hash.shard, hash.fingerprint)])
    }

    /// The halves of an address, veiled; or of a veiled one, as they were.
    #[inline(always)]
    pub(in crate::table) fn over(self, [high, low]: [u64; 2]) -> [u64; 2] {
        let Self([over_high, over_low]) = self;
        [high ^ over_high, low ^ over_low]
    }

    /// What is laid over an address whose upper half comes first.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "sse2")]
    #[inline]
    pub(in crate::table) fn wide(self) -> std::arch::x86_64::__m128i {
        let Self([high, low]) = self;
        std::arch::x86_64::_mm_set_epi64x(low as i64, high as i64)
    }

    /// A client as a slot has it; or one that a slot has, as it is.
    pub(in crate::table) fn client(self, client: ClientKey) -> ClientKey {
        let [high, low] = self.over(halves_of(client.bits()));
        ClientKey::V6(u128::from(high) << 64 | u128::from(low))
    }

    /// The key as the slots have it. `None` where they cannot.
    #[inline]
    pub(super) fn name(self, probe: &Probe) -> Option<Name> {
        let halves = self.over(halves_of(probe.key.client.bits()));
        let word = u64::from(probe.key.scope.0) << 16;
        (!halves.contains(&0)).then_some(Name { word, halves })
    }
}

impl Name {
    /// A client of the scope of this number, the halves of its address veiled.
    #[inline(always)]
    pub(in crate::table) fn new(scope: u16, halves: [u64; 2]) -> Self {
        Self { word: u64::from(scope) << 16, halves }
    }
}

#[inline]
fn halves_of(address: u128) -> [u64; 2] {
    [(address >> 64) as u64, address as u64]
}
