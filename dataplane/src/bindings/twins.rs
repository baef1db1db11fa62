//! Twins: connections of one client port to two virtual services that lead to one port of one
//! masqueraded real server, whose packets look alike. As in IPVS they are the newest one's, and
//! when it has ended those of the one before.

use super::Bindings;
use crate::conn::ConnFlags;
use crate::conn::table::{Flow, Slot};
use crate::ids::RealId;
use crate::mailbox::Note;
use crate::reply::{Origin, ReplyKey};
use crate::snapshot::Snapshot;
use crate::tick::Tick;

impl Bindings {
    /// Announces a masqueraded connection, and sees to it that it is found before an older one
    /// that is answered by packets with the same key.
    pub(super) fn announce_reply(&mut self, key: &ReplyKey, origin: &Origin, now: Tick) {
        let older = self.shared.replies.find(key);
        self.reply_changes = self.reply_changes.wrapping_add(1);
        self.shared.replies.insert(key, origin, now);
        let Some((_, older)) = older else { return };
        if (older.core, older.slot) != (origin.core, origin.slot) {
            self.change_cover(key, &older, true);
        }
    }

    /// Takes the announcement of a connection back, and lets the one be found that it covered.
    pub(super) fn withdraw_reply(
        &mut self,
        key: &ReplyKey,
        (slot, flags): (Slot, ConnFlags),
        now: Tick,
    ) {
        self.reply_changes = self.reply_changes.wrapping_add(1);
        let (replies, core) = (&self.shared.replies, self.core as u16);
        let announced = match flags.contains(ConnFlags::COVERED) {
            true => replies.remove_covered(key, core, slot),
            false => {
                replies.remove(key, core, slot);
                true
            }
        };
        if announced && let Some(older) = replies.uncover(key, now) {
            self.change_cover(key, &older, false);
        }
    }

    /// Covers a connection or tells it that it is found again; or tells its core to.
    fn change_cover(&mut self, key: &ReplyKey, older: &Origin, covered: bool) {
        let flow = Flow {
            client: key.client,
            vip: older.vip,
            client_port: key.client_port,
            vip_port: older.vip_port,
            protocol: key.protocol,
        };
        let (slot, real) = (older.slot, older.real);
        if usize::from(older.core) != self.core {
            if let Some(owner) = self.shared.mailboxes.get(usize::from(older.core)) {
                // Where it is lost, the owner still looks where it has to before it ends one.
                let _ = owner.seen.push(Note::Twin { slot, flow, real, covered });
            }
        } else if !covered || self.shared.replies.cover(key, older) {
            self.mark_covered(&flow, slot, real, covered);
        }
    }

    /// What another core has seen of a twin of this core's connection.
    pub(super) fn take_twin(
        &mut self,
        flow: &Flow,
        (slot, real): (Slot, RealId),
        covered: bool,
        snapshot: &Snapshot,
    ) {
        let Some(conn) = self.owned(flow, slot).filter(|conn| conn.real == real) else { return };
        let Some(key) = self.reply_key(flow, &conn, snapshot) else { return };
        self.reply_changes = self.reply_changes.wrapping_add(1);
        let (vip, vip_port) = (flow.vip, flow.vip_port);
        let own = Origin { core: self.core as u16, slot, real, vip, vip_port };
        if !covered || self.shared.replies.cover(&key, &own) {
            self.mark_covered(flow, slot, real, covered);
        }
    }

    fn mark_covered(&mut self, flow: &Flow, slot: Slot, real: RealId, covered: bool) {
        match self.owned(flow, slot).filter(|conn| conn.real == real) {
            Some(mut conn) => {
                conn.flags.set(ConnFlags::COVERED, covered);
                self.set_conn(flow.client.family(), slot, &conn);
            }
            None => self.mark_hidden(flow, real, covered),
        }
    }
}
