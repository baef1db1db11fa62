//! Collects notices and keeps them few.

use dataplane::ids::{NeighbourId, PortIndex};
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Addr, Family};

use super::limit::Limit;
use super::notice::Notice;
use super::site::Site;

/// Notices kept until they are taken; more are dropped.
const KEPT: usize = 1_024;

/// The notices since they were last taken.
#[derive(Debug, Default)]
pub(super) struct Reports {
    notices: Vec<Notice>,
    claims: Limit<Mac>,
    duplicates: Limit<Mac>,
    disputes: Limit<NeighbourId>,
    changes: Limit<NeighbourId>,
    unaskable: Limit<(PortIndex, Family)>,
    full: Limit<()>,
}

impl Reports {
    pub(super) fn take(&mut self) -> std::vec::Drain<'_, Notice> {
        self.notices.drain(..)
    }

    fn add(&mut self, notice: Notice) {
        if self.notices.len() < KEPT {
            self.notices.push(notice);
        }
    }

    pub(super) fn learned(&mut self, site: &Site, port: PortIndex, address: Addr, mac: Mac) {
        self.add(Notice::Learned { port: site.name(port), address, mac });
    }

    pub(super) fn lost(&mut self, site: &Site, port: PortIndex, address: Addr, last: Option<Mac>) {
        self.add(Notice::Lost { port: site.name(port), address, last });
    }

    pub(super) fn changed(
        &mut self,
        site: &Site,
        (id, port, address): (NeighbourId, PortIndex, Addr),
        (old, new): (Mac, Mac),
        now: u64,
    ) {
        if let Some(unsaid) = self.changes.admit(id, now) {
            self.add(Notice::Changed { port: site.name(port), address, old, new, unsaid });
        }
    }

    pub(super) fn disputed(
        &mut self,
        site: &Site,
        (id, port, address): (NeighbourId, PortIndex, Addr),
        (known, claimed): (Mac, Mac),
        pinned: bool,
        now: u64,
    ) {
        if let Some(unsaid) = self.disputes.admit(id, now) {
            let port = site.name(port);
            self.add(Notice::Disputed { port, address, known, claimed, pinned, unsaid });
        }
    }

    /// Asks for the station's own address only if the notice is made at all.
    pub(super) fn vip_claimed(
        &mut self,
        site: &Site,
        heard: &dataplane::mailbox::Heard,
        station: impl FnOnce() -> Option<Addr>,
        now: u64,
    ) {
        if let Some(unsaid) = self.claims.admit(heard.mac, now) {
            self.add(Notice::VipClaimed {
                port: site.name(heard.port),
                vip: heard.address,
                mac: heard.mac,
                station: station(),
                answered: heard.reply,
                unsaid,
            });
        }
    }

    pub(super) fn duplicate(
        &mut self,
        site: &Site,
        port: PortIndex,
        address: Addr,
        mac: Mac,
        now: u64,
    ) {
        if let Some(unsaid) = self.duplicates.admit(mac, now) {
            self.add(Notice::Duplicate { port: site.name(port), address, mac, unsaid });
        }
    }

    pub(super) fn no_source(&mut self, site: &Site, port: PortIndex, address: Addr, now: u64) {
        if self.unaskable.admit((port, address.family()), now).is_some() {
            self.add(Notice::NoSource { port: site.name(port), address });
        }
    }

    pub(super) fn full(&mut self, entries: u32, now: u64) {
        if let Some(unsaid) = self.full.admit((), now) {
            self.add(Notice::Full { entries, unsaid });
        }
    }
}
