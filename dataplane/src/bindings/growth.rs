//! Connection tables that grow while packets pass.

use super::Bindings;
use crate::conn::table::{Leftover, TableGrowth};

/// Buckets of the old index that are moved in one turn: some fifty entries.
const BUCKETS_PER_TURN: usize = 4;

impl Bindings {
    /// Takes up memory that control has sent, and goes on with moving to it. Bounded; once a
    /// turn.
    pub(crate) fn grow(&mut self) {
        let Some(mailbox) = self.shared.mailboxes.get(self.core) else { return };
        // What is left over must go back to control, so that no core frees it.
        if mailbox.leftovers.is_full() {
            return;
        }
        let spent = match (self.v4.is_growing(), self.v6.is_growing()) {
            (true, _) => self.v4.step(BUCKETS_PER_TURN),
            (false, true) => self.v6.step(BUCKETS_PER_TURN),
            (false, false) => {
                let unused = match mailbox.growths.pop() {
                    None => return,
                    Some(TableGrowth::V4(growth)) => self.v4.grow(growth).map_err(TableGrowth::V4),
                    Some(TableGrowth::V6(growth)) => self.v6.grow(growth).map_err(TableGrowth::V6),
                };
                if let Err(unused) = unused {
                    let _ = mailbox.leftovers.push(Leftover::Unused(unused));
                }
                return;
            }
        };
        if let Some(spent) = spent {
            let _ = mailbox.leftovers.push(Leftover::Index(spent));
        }
    }

    /// How many connections of each family there may be.
    pub fn capacity(&self) -> [usize; 2] {
        [self.v4.capacity(), self.v6.capacity()]
    }

    /// How many IPv6 connections there are.
    pub fn connections_v6(&self) -> usize {
        self.v6.len()
    }
}
