//! The end of connections and templates.

use super::Bindings;
use crate::conn::table::Slot;
use crate::conn::{Conn, ConnFlags};
use crate::snapshot::Snapshot;
use crate::table::Swept;
use crate::tick::Tick;
use crate::timer;
use crate::wire::Family;

impl Bindings {
    /// Looks at up to `budget` entries of every table and ends those whose time has come.
    pub fn sweep(&mut self, snapshot: &Snapshot, now: Tick, budget: usize) {
        for family in [Family::V4, Family::V6] {
            let mut left = budget;
            while let Some(slot) = self.next_over(family, snapshot, now, &mut left) {
                self.remove(family, slot, snapshot, now);
            }
        }
        self.sweep_templates(snapshot, now, budget);
        self.sweep_clients(snapshot, now, budget);
    }

    fn next_over(
        &mut self,
        family: Family,
        snapshot: &Snapshot,
        now: Tick,
        left: &mut usize,
    ) -> Option<Slot> {
        let rule = self.shared.rule;
        let up = snapshot.compat.drop_entry;
        let defending = self.is_up(up, snapshot.compat.amemthresh, family);
        let defences = &mut self.defences;
        let over = |conn: &Conn| {
            timer::fires(rule, conn.expires, conn.timeout).has_come(now)
                || (defending && defences.takes(conn, now))
        };
        match family {
            Family::V4 => self.v4.sweep(left, over),
            Family::V6 => self.v6.sweep(left, over),
        }
    }

    fn sweep_templates(&mut self, snapshot: &Snapshot, now: Tick, budget: usize) {
        let (shared, core) = (&self.shared, self.core);
        shared.templates.sweep(&mut self.seat.templates, now, budget, |swept| match swept {
            Swept::Freed { real, .. } => {
                if let Some(load) = shared.loads.of_core(core, real) {
                    load.bind(-1);
                }
                // Unbinding a template may free an overloaded server, as any unbinding.
                if let Some(real) = snapshot.real(real) {
                    super::count::check_thresholds(shared, real, false);
                }
            }
            Swept::Extended { .. } => {}
        });
    }

    /// How many entries a full round of the core's tables has.
    pub fn round(&self) -> usize {
        self.v4.round().max(self.v6.round()).max(self.shared.templates.stats().slots / self.shared.cores())
    }

    /// Takes a connection out of its table.
    pub(super) fn remove(&mut self, family: Family, slot: Slot, snapshot: &Snapshot, now: Tick) {
        if let (Some(flow), Some(conn)) = (self.flow(family, slot), self.conn(family, slot)) {
            self.withdraw(&flow, slot, conn, snapshot);
        }
        let removed = match family {
            Family::V4 => self.v4.remove(slot),
            Family::V6 => self.v6.remove(slot),
        };
        if let Some((_, conn)) = removed {
            self.forget(&conn, snapshot, now);
        }
    }

    /// Takes back what a connection was counted as.
    pub(super) fn forget(&mut self, conn: &Conn, snapshot: &Snapshot, now: Tick) {
        if let Some(template) = conn.template {
            self.shared.templates.release(template, now, &mut self.seat.templates);
        }
        let (active, inactive) =
            if conn.flags.contains(ConnFlags::INACTIVE) { (0, -1) } else { (-1, 0) };
        match snapshot.real(conn.real) {
            Some(real) => self.shift_load(real, active, inactive),
            None => {
                if let Some(load) = self.shared.loads.of_core(self.core, conn.real) {
                    load.shift(active, inactive);
                }
            }
        }
    }
}
