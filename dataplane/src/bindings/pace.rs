//! How much of each table a sweep looks at, so that a core goes round all of them in one time.
//!
//! Tables differ by orders of magnitude, and looking at an entry costs the same in all: a table
//! that is gone round more often than it needs takes the time from packets.

/// Tables that are swept.
const TABLES: usize = 4;

/// What a core looks at in one second, by table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    /// IPv4 connections.
    pub v4: usize,
    /// IPv6 connections.
    pub v6: usize,
    /// Buckets of templates.
    pub templates: usize,
    /// Buckets of clients.
    pub clients: usize,
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
        let Sizes { v4, v6, templates, clients } = self.sizes;
        v4.max(v6).max(templates).max(clients).max(1)
    }

    /// The tables have other sizes now.
    pub(super) fn resize(&mut self, sizes: Sizes) {
        if self.sizes != sizes {
            *self = Self { sizes, owed: [0; TABLES] };
        }
    }

    /// So much of each table when `budget` of the largest one is looked at. What is left over
    /// in a division comes with later calls.
    pub(super) fn shares(&mut self, budget: usize) -> Sizes {
        let largest = self.largest() as u64;
        let Sizes { v4, v6, templates, clients } = self.sizes;
        let sizes = [v4, v6, templates, clients];
        let mut shares = [0; TABLES];
        for ((share, owed), size) in shares.iter_mut().zip(&mut self.owed).zip(sizes) {
            *owed += budget as u64 * size as u64;
            *share = (*owed / largest) as usize;
            *owed %= largest;
        }
        let [v4, v6, templates, clients] = shares;
        Sizes { v4, v6, templates, clients }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_tables_are_gone_round_in_one_time() {
        let sizes = Sizes { v4: 1_000_000, v6: 0, templates: 300, clients: 77_777 };
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
        }
        assert_eq!(sum, sizes);
    }

    #[test]
    fn empty_tables_have_a_pace_too() {
        let mut pace = Pace::default();
        assert_eq!((pace.largest(), pace.shares(64)), (1, Sizes::default()));
        pace.resize(Sizes { v4: 0, v6: 0, templates: 5, clients: 0 });
        assert_eq!(pace.shares(5).templates, 5);
    }
}
