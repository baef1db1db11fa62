//! Connections that a newer one of their flow hides. IPVS keeps both: what the client sends
//! belongs to the newer one, what the older one's real server sends to the older one, and where
//! the newer one ends first the older one is found again.

use super::Bindings;
use super::expiry::is_flushed;
use crate::conn::table::{Flow, Slot};
use crate::conn::{Conn, ConnFlags, Signal};
use crate::ids::RealId;
use crate::snapshot::Snapshot;
use crate::tick::Tick;
use crate::wire::Family;

/// Hidden connections that a core has at the most.
const MOST: usize = 1024;

/// A connection that is in no table.
pub(super) struct Hidden {
    flow: Flow,
    conn: Conn,
    /// What its real server's packets are told to belong to.
    slot: Slot,
}

impl Bindings {
    /// Makes room for a newer connection of the flow; where there is no room for both, the older
    /// one ends.
    pub(super) fn hide(&mut self, family: Family, slot: Slot, snapshot: &Snapshot, now: Tick) {
        if self.hidden.len() >= MOST {
            return self.remove(family, slot, snapshot, now);
        }
        let taken = match family {
            Family::V4 => self.v4.remove(slot),
            Family::V6 => self.v6.remove(slot),
        };
        if let Some((flow, conn)) = &taken {
            self.hide_agreement(flow, conn);
        }
        self.hidden.extend(taken.map(|(flow, conn)| Hidden { flow, conn, slot }));
    }

    /// All that are hidden, of one family.
    pub(super) fn hidden(&self, family: Family) -> impl Iterator<Item = (Flow, Conn)> + '_ {
        let all = self.hidden.iter().map(|hidden| (hidden.flow, hidden.conn));
        all.filter(move |(flow, _)| flow.client.family() == family)
    }

    /// A hidden connection is covered by a newer one, or is so no longer.
    pub(super) fn mark_hidden(&mut self, flow: &Flow, real: RealId, covered: bool) {
        let same = |hidden: &&mut Hidden| hidden.conn.real == real && hidden.flow == *flow;
        if let Some(hidden) = self.hidden.iter_mut().find(same) {
            hidden.conn.flags.set(ConnFlags::COVERED, covered);
        }
    }

    /// A packet from this real server in the flow: whether it was a hidden connection's, which is
    /// moved by it.
    pub(super) fn is_hidden_reply(
        &mut self,
        flow: &Flow,
        real: RealId,
        signal: Signal,
        snapshot: &Snapshot,
        now: Tick,
    ) -> bool {
        let same = |hidden: &Hidden| hidden.conn.real == real && hidden.flow == *flow;
        let Some(place) = self.hidden.iter().position(same) else { return false };
        // Of two with one real server the newer one is found.
        let newer = self.slot(flow).and_then(|slot| self.conn(flow.client.family(), slot));
        if newer.is_some_and(|conn| conn.real == real) {
            return false;
        }
        let Some(conn) = self.hidden.get(place).map(|hidden| hidden.conn) else { return false };
        let moved = self.after_reply(conn, flow, signal, snapshot, now);
        if let Some(hidden) = self.hidden.get_mut(place) {
            hidden.conn = moved;
        }
        true
    }

    /// The flow's connection has ended: the newest of those that it hid is found from now on.
    pub(super) fn uncover(&mut self, flow: &Flow, snapshot: &Snapshot, now: Tick) {
        let Some(place) = self.hidden.iter().rposition(|hidden| hidden.flow == *flow) else {
            return;
        };
        let Hidden { mut conn, slot, .. } = self.hidden.remove(place);
        self.withdraw(flow, slot, &conn, snapshot, now);
        conn.flags.remove(ConnFlags::COVERED);
        let inserted = match flow.client.family() {
            Family::V4 => self.v4.insert(flow, conn),
            Family::V6 => self.v6.insert(flow, conn),
        };
        self.shared.agreements.uncover(flow);
        match inserted {
            Ok(slot) => self.announce(flow, slot, &conn, snapshot, now),
            Err(_) => {
                self.end_hidden_agreement(flow, &conn);
                self.forget(&conn, snapshot, now);
            }
        }
    }

    /// Ends those whose time has come.
    pub(super) fn sweep_hidden(&mut self, snapshot: &Snapshot, now: Tick) {
        let mut place = 0;
        while let Some(Hidden { flow, conn, slot }) = self.hidden.get(place) {
            let (flow, conn, slot) = (*flow, *conn, *slot);
            let flushed = snapshot.flushes_removed && is_flushed(conn.real, snapshot);
            let longer = match self.is_over(&conn, now) && !flushed {
                true => self.outlives(&flow, &conn, true),
                false => None,
            };
            if let (Some(longer), Some(hidden)) = (longer, self.hidden.get_mut(place)) {
                hidden.conn = longer;
                place += 1;
            } else if flushed || self.is_over(&conn, now) {
                self.hidden.remove(place);
                self.end_hidden_agreement(&flow, &conn);
                self.withdraw(&flow, slot, &conn, snapshot, now);
                self.forget(&conn, snapshot, now);
            } else {
                place += 1;
            }
        }
    }
}
