//! The end of connections and templates.

use super::Bindings;
use super::pace::Sizes;
use crate::conn::table::{Packed, Slot};
use crate::conn::{Conn, ConnFlags};
use crate::ids::RealId;
use crate::snapshot::{Real, Snapshot};
use crate::table::{Swept, View};
use crate::tick::Tick;
use crate::timer;
use crate::wire::Family;

impl Bindings {
    /// Looks at up to `budget` entries of the largest table, and of each other one at as many
    /// as bring it round in the same time; ends those whose time has come. A budget of
    /// [`Self::round`] looks at all.
    pub fn sweep(&mut self, snapshot: &Snapshot, now: Tick, budget: usize) {
        if self.swept_at != now {
            self.swept_at = now;
            self.schedulers.tend(&self.shared.loads, self.core);
            self.set_pace();
            self.sweep_waiting(snapshot, now);
        }
        let all = budget >= self.round;
        let shares = if all { Sizes::all(budget) } else { self.pace.shares(budget) };
        for (family, mut left) in [(Family::V4, shares.v4), (Family::V6, shares.v6)] {
            while let Some(slot) = self.next_over(family, snapshot, now, &mut left) {
                self.end(family, slot, snapshot, now);
            }
        }
        if !self.hidden.is_empty() {
            self.sweep_hidden(snapshot, now);
        }
        let defending = self.defends(snapshot, Family::V4) || self.defends(snapshot, Family::V6);
        if snapshot.flushes_removed || defending {
            let templates = shares.templates.saturating_add(shares.templates_v6);
            self.thin_templates(snapshot, now, templates, defending);
        }
        self.sweep_templates(snapshot, now, [shares.templates, shares.templates_v6]);
        self.sweep_clients(snapshot, now, [shares.clients, shares.clients_v6]);
    }

    /// Looks at how large the tables are by now.
    fn set_pace(&mut self) {
        let cores = self.shared.cores();
        let [templates, templates_v6] = self.shared.templates.buckets().map(|all| all / cores);
        let clients = self.shared.clients.buckets().map(|all| all / cores);
        // Clients' ages are that coarse.
        let age_unit_s = self.shared.age_unit_s as usize;
        let (v4, v6) = (self.v4.round(), self.v6.round());
        let round = Sizes { v4, v6, templates, templates_v6, ..Sizes::default() };
        let [clients_v4, clients_v6] = clients.map(|all| all.div_ceil(age_unit_s));
        self.pace.resize(Sizes { clients: clients_v4, clients_v6, ..round });
        let [clients, clients_v6] = clients;
        self.round = Sizes { clients, clients_v6, ..round }.largest();
    }

    fn next_over(
        &mut self,
        family: Family,
        snapshot: &Snapshot,
        now: Tick,
        left: &mut usize,
    ) -> Option<Slot> {
        let rule = self.shared.rule;
        let defending = self.defends(snapshot, family);
        let defences = &mut self.defences;
        let over = |entry: &Packed| {
            // No timer ends before its nominal expiry.
            entry.expires().has_come(now)
                && timer::fires(rule, entry.expires(), entry.timeout()).has_come(now)
                || snapshot.flushes_removed && is_flushed(entry.real(), snapshot)
                || defending && defences.takes(&entry.conn(), now)
        };
        // What ends for another reason than its time may be anywhere.
        let which = (now, snapshot.flushes_removed || defending);
        match family {
            Family::V4 => self.v4.sweep(left, which, over),
            Family::V6 => self.v6.sweep(left, which, over),
        }
    }

    fn sweep_templates(&mut self, snapshot: &Snapshot, now: Tick, budget: [usize; 2]) {
        let (shared, core) = (&self.shared, self.core);
        shared.templates.sweep_each(&mut self.seat.templates, now, budget, |swept| match swept {
            Swept::Freed { real, invalid, .. } => {
                if invalid {
                    shared.loads.orphan(core, real, -1);
                }
                shared.loads.bind(core, real, -1);
                // Unbinding a template may free an overloaded server, as any unbinding.
                if let Some(real) = snapshot.real(real) {
                    super::count::check_thresholds(shared, core, real, false);
                }
            }
            Swept::Extended { .. } => {}
        });
    }

    fn defends(&self, snapshot: &Snapshot, family: Family) -> bool {
        self.is_up(snapshot.compat.drop_entry, &snapshot.compat, family)
    }

    /// Ends templates of removed real servers where a switch says so and, in defence, some of
    /// those that no connection has made sure of; all as far as they control no connections.
    fn thin_templates(&mut self, snapshot: &Snapshot, now: Tick, budget: usize, defending: bool) {
        let (core, loads, templates) = (self.core, &self.shared.loads, &self.shared.templates);
        let defences = &mut self.defences;
        let thin = |_, view: View| {
            let Some(real) = snapshot.real(view.real) else { return };
            let flushed = is_flushed(real.id, snapshot);
            if flushed && templates.invalidate(view.handle) {
                loads.orphan(core, real.id, 1);
            }
            let unsure = defending && !view.assured;
            if view.connections == 0 && (flushed || unsure && defences.takes_template()) {
                templates.expire(view.handle, now);
            }
        };
        let next = templates.iterate(self.core as u32, self.flush_at, now, budget, thin);
        self.flush_at = next.unwrap_or_default();
    }

    /// How many entries, or buckets of entries, the core's largest table has.
    pub fn round(&self) -> usize {
        let cores = self.shared.cores();
        let buckets = [self.shared.templates.buckets(), self.shared.clients.buckets()];
        let largest = buckets.as_flattened().iter().fold(0, |all, one| all.max(*one));
        self.v4.round().max(self.v6.round()).max(largest / cores)
    }

    /// How many entries of the largest table, by [`Self::sweep`]'s measure, are to be looked at
    /// in one second.
    pub fn pace(&self) -> usize {
        self.pace.largest()
    }

    /// Takes a connection whose time has come out of its table. Its template hears of it as of
    /// the moment when it ended, however late that is noticed: whether the template controlled
    /// connections when its own timer fired decides about another sixty seconds. Answers whether
    /// it has ended: one that controls others lives on as long as they do.
    pub(super) fn end(
        &mut self,
        family: Family,
        slot: Slot,
        snapshot: &Snapshot,
        now: Tick,
    ) -> bool {
        if let Some(conn) = self.conn(family, slot) {
            let ended = self.end_of(&conn);
            if ended.has_come(now)
                && !self.shared.agreements.is_empty()
                && let Some(flow) = self.flow(family, slot)
                && let Some(longer) = self.outlives(&flow, &conn, false)
            {
                self.set_conn(family, slot, &longer);
                return false;
            }
            let before = Tick(ended.0.wrapping_sub(1));
            let ended = match ended.has_come(now) {
                true if self.ends_before_template(&conn, before) => before,
                true => ended,
                false => now,
            };
            let flow = self.flow(family, slot).filter(|_| !self.hidden.is_empty());
            self.remove(family, slot, snapshot, ended);
            if let Some(flow) = flow {
                self.uncover(&flow, snapshot, now);
            }
        }
        true
    }

    /// Whether a connection and its template end at one moment, the connection first.
    fn ends_before_template(&self, conn: &Conn, now: Tick) -> bool {
        let timer = conn.template.and_then(|template| self.shared.templates.timer(template, now));
        timer.is_some_and(|(expires, timeout, own_timeout)| {
            let rule = self.shared.rule;
            let (own, of_template) = ((conn.expires, conn.timeout), (expires, timeout));
            // Of a connection with one packet it is known that its template was armed with it.
            let armed = Tick(conn.expires.0.wrapping_sub(conn.timeout));
            let is_twin = conn.in_packets == 1
                && !timer::has_fired_since(rule, (armed, own_timeout), expires, now);
            let first = match is_twin {
                true => timer::ends_first_of_twins(rule, own, of_template),
                false => timer::ends_first(rule, own, of_template),
            };
            first && timer::fires(rule, expires, timeout) == self.end_of(conn)
        })
    }

    /// Takes a connection out of its table.
    pub(super) fn remove(&mut self, family: Family, slot: Slot, snapshot: &Snapshot, now: Tick) {
        if let (Some(flow), Some(conn)) = (self.flow(family, slot), self.conn(family, slot)) {
            self.withdraw(&flow, slot, &conn, snapshot, now);
            self.end_agreement(&flow, &conn);
        }
        let removed = match family {
            Family::V4 => self.v4.remove(slot),
            Family::V6 => self.v6.remove(slot),
        };
        if let Some((_, conn)) = removed {
            self.forget(&conn, snapshot, now);
        }
    }

    /// Takes out a connection whose flow begins anew with the chosen real server. In IPVS it
    /// ends a tick later, so that for a moment both count, and a threshold may be reached.
    pub(super) fn give_way(
        &mut self,
        family: Family,
        slot: Slot,
        chosen: Option<&Real>,
        snapshot: &Snapshot,
        now: Tick,
    ) {
        if let Some(real) = chosen {
            self.shift_load(real, 0, 1);
        }
        self.remove(family, slot, snapshot, now);
        if let Some(real) = chosen {
            // The new connection is yet to be counted; no entry is unbound here.
            self.shared.loads.shift(self.core, real.id, 0, -1);
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
            None => self.shared.loads.shift(self.core, conn.real, active, inactive),
        }
    }
}

/// Whether entries of this real server end because it was removed.
pub(super) fn is_flushed(real: RealId, snapshot: &Snapshot) -> bool {
    match snapshot.real(real) {
        Some(real) => real.flushed,
        None => snapshot.compat.expire_nodest_conn,
    }
}
