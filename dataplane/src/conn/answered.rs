//! Masqueraded connections by what real servers' packets say of them: without VIP, and with the
//! port on the real server.

use super::Conn;
use super::flow::Flow;
use super::table::{Entry, EntryV4, Slot, Table};

impl Table<EntryV4> {
    /// Which entry is that of the masqueraded connection that a real server's packet
    /// answers, by its [`EntryV4::answered_key`].
    #[inline(always)]
    pub fn guess_answered(&self, first: Slot, key: &[u64; 2]) -> (Slot, bool) {
        self.guess_by(first, |entry| entry.differs_from_answered(key))
    }

    /// An entry, if it is of a masqueraded connection with this key.
    #[inline(always)]
    pub fn answered_mut(&mut self, slot: Slot, key: &[u64; 2]) -> Option<&mut EntryV4> {
        self.slab.get_mut(slot).filter(|entry| entry.differs_from_answered(key) == 0)
    }

    /// The masqueraded connections with this key that are at home.
    pub fn answered(&self, key: &[u64; 2]) -> impl Iterator<Item = (Slot, Flow, Conn)> {
        let home = self.home(key);
        let line = self.slab.line(home).unwrap_or_default();
        line.iter()
            .zip(home.number()..)
            .filter(|(entry, _)| entry.differs_from_answered(key) == 0)
            .map(|(entry, number)| (Slot::from_number(number), entry.flow(), entry.packed().conn()))
    }
}
