//! How much of each table a sweep looks at, so that a core goes round all of them in one time.
//!
//! Tables differ by orders of magnitude, and looking at an entry costs the same in all: a table
//! that is gone round more often than it needs takes the time from packets.

/// Tables that are swept.
const TABLES: usize = 6;
/// A table with fewer entries, but any, counts as if it had so many: it costs nothing, and what
/// is over in a small table is gone soon even on a core that seldom makes a turn.
const LEAST: usize = 4096;

/// What a core looks at in one second, by table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// IPv4 connections.
    pub v4: usize,
    /// IPv6 connections.
    pub v6: usize,
    /// Buckets of IPv4 templates.
    pub templates: usize,
    /// Buckets of IPv6 templates.
    pub templates_v6: usize,
    /// Buckets of IPv4 clients.
    pub clients: usize,
    /// Buckets of IPv6 clients.
    pub clients_v6: usize,
}

impl Sizes {
    /// So many of each.
    pub(super) fn all(size: usize) -> Self {
        Self::of([size; TABLES])
    }

    fn of([v4, v6, templates, templates_v6, clients, clients_v6]: [usize; TABLES]) -> Self {
        Self { v4, v6, templates, templates_v6, clients, clients_v6 }
    }

    fn each(self) -> [usize; TABLES] {
        let Self { v4, v6, templates, templates_v6, clients, clients_v6 } = self;
        [v4, v6, templates, templates_v6, clients, clients_v6]
    }

    /// Of the largest one.
    pub(super) fn largest(self) -> usize {
        self.each().into_iter().fold(0, usize::max)
    }
}

/// The part of each table in what is to be looked at.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    sizes: Sizes,
    /// What each table is owed, times the largest table's size.
    owed: [u64; TABLES],
}

impl Pace {
    /// What the largest table is looked at in one second.
    pub(super) fn largest(&self) -> usize {
        self.sizes.largest().max(1)
    }

    /// The tables have other sizes now.
    pub(super) fn resize(&mut self, sizes: Sizes) {
        let least = |size: usize| if size == 0 { 0 } else { size.max(LEAST) };
        let sizes = Sizes::of(sizes.each().map(least));
        if self.sizes != sizes {
            *self = Self { sizes, owed: [0; TABLES] };
        }
    }

    /// So much of each table when `budget` of the largest one is looked at. What is left over
    /// in a division comes with later calls.
    pub(super) fn shares(&mut self, budget: usize) -> Sizes {
        let largest = self.largest() as u64;
        let sizes = self.sizes.each();
        let mut shares = [0; TABLES];
        for ((share, owed), size) in shares.iter_mut().zip(&mut self.owed).zip(sizes) {
            *owed += budget as u64 * size as u64;
            *share = (*owed / largest) as usize;
            *owed %= largest;
        }
        Sizes::of(shares)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tables_are_gone_round_in_one_time() {
        let sizes =
            Sizes { v4: 1_000_000, v6: 0, templates: 300, clients: 77_777, ..Sizes::default() };
        let mut pace = Pace::default();
        pace.resize(sizes);
        assert_eq!(pace.largest(), 1_000_000);
        let (mut looked, mut sum) = (0, Sizes::default());
        while looked < 1_000_000 {
            let share = pace.shares(64);
            looked += 64;
            sum.v4 += share.v4;
            sum.v6 += share.v6;
            sum.templates += share.templates;
            sum.clients += share.clients;
            sum.templates_v6 += share.templates_v6;
            sum.clients_v6 += share.clients_v6;
        }
        assert_eq!(sum, Sizes { templates: LEAST, ..sizes });
    }

    #[test]
    fn empty_tables_have_a_pace_too() {
        let mut pace = Pace::default();
        assert_eq!((pace.largest(), pace.shares(64)), (1, Sizes::default()));
        pace.resize(Sizes { v4: 1, templates: 5, ..Sizes::default() });
        assert_eq!(
            pace.shares(5),
            Sizes { v4: 5, v6: 0, templates: 5, clients: 0, ..Sizes::default() }
        );
    }
}
