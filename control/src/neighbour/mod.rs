//! Which MAC address the next hops have: ARP (RFC 826, 5227) and Neighbour Discovery
//! (RFC 4861) as a state machine without sockets, threads or a clock.
//!
//! Cores tell what they hear and which next hop a packet waits for; time is handed in, in
//! milliseconds of any monotonic clock. Out come frames to send, MAC addresses in the
//! [`NeighbourTable`], and [`Notice`]s for the log.
//!
//! ```text
//!            answer                   80 % of its time
//! asking ------------> reachable ------------------------> probing (unicast, 3 times)
//!   |  ^                   ^  \  somebody else claims it     |  |
//!   |  |                   |   `-------------> probing, 2x   |  |
//!   |  |                   `---------------------------------'  | silence
//!   |  `--------------------------------------------------------'
//!   | silence (broadcast, `retries` times)
//!   v
//! failed: asked after 1, 2, 4 ... 60 s while configured or wanted
//! ```
//!
//! Trust: an address is believed only from an answer, sent to the director alone, to a
//! question that is open, for that address, on that port; and while a neighbour is asked
//! by unicast, only from that neighbour. What others say unasked can make the director ask,
//! never believe. Addresses of the director itself are never learned.

mod announcements;
mod entries;
mod entry;
mod limit;
mod notice;
mod pace;
mod question;
mod reports;
mod settings;
mod site;

use dataplane::ids::{NeighbourId, PortIndex};
use dataplane::mailbox::{Event, Heard, Outgoing};
use dataplane::neighbour::NeighbourTable;
use dataplane::wire::Addr;
use dataplane::wire::ethernet::Mac;

use announcements::Announcements;
use entries::Entries;
use entry::{Effect, Neighbour, Step};
use pace::Pace;
use reports::Reports;
use site::{Ours, Site};

pub use entry::Condition;
pub use notice::Notice;
pub use settings::Settings;
pub use site::PortFace;

/// A next hop that the configuration names: a real server or a gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watched {
    /// Its id in the [`NeighbourTable`].
    pub id: NeighbourId,
    /// The port that it is on.
    pub port: PortIndex,
    /// Its address.
    pub address: Addr,
    /// The MAC address that the configuration gives it; it is then never asked.
    pub pinned: Option<Mac>,
}

/// A neighbour, for listings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id in the [`NeighbourTable`].
    pub id: NeighbourId,
    /// The port that it is on.
    pub port: PortIndex,
    /// Its address.
    pub address: Addr,
    /// The MAC address that frames for it get now.
    pub mac: Option<Mac>,
    /// How far the director is with it.
    pub condition: Condition,
    /// Whether the configuration names it.
    pub watched: bool,
}

/// All neighbours of all ports.
#[derive(Debug, Default)]
pub struct Neighbours {
    settings: Settings,
    site: Site,
    entries: Entries,
    announcements: Announcements,
    pace: Pace,
    reports: Reports,
    /// Which address each id of the [`NeighbourTable`] names, as far as it was needed.
    places: Vec<(PortIndex, Addr)>,
}

impl Neighbours {
    /// No neighbours yet, and no ports.
    pub fn new(settings: Settings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Goes on with other settings. They count from the next question on.
    pub fn configure(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Tells what the ports are now; a port's place is its [`PortIndex`]. Addresses that are
    /// new, or at another MAC address or VLAN than before, will be announced.
    pub fn site(&mut self, faces: Vec<PortFace>, now: u64) {
        let former = std::mem::replace(&mut self.site, Site::new(faces));
        let times = self.settings.announcements;
        self.announcements.site_changed(&former, &self.site, times, now);
    }

    /// Announces every own address and VIP, also those announced before: the director takes
    /// them over.
    pub fn announce(&mut self, now: u64) {
        self.announcements.all(&self.site, self.settings.announcements, now);
    }

    /// Looks for a next hop and keeps it fresh from now on, or changes whether it is pinned.
    pub fn watch(&mut self, table: &NeighbourTable, hop: Watched, now: u64) {
        let Watched { id, port, address, pinned } = hop;
        if self.entries.get(id).is_none() {
            self.entries.insert(Neighbour::new(id, port, address, now));
        }
        let settings = self.settings;
        self.entries.change(id, |neighbour| neighbour.watch(pinned, &settings, now));
        if pinned.is_some() {
            table.set(id, pinned);
        }
    }

    /// Keeps a next hop no longer than packets need it. Its MAC address stays until its time
    /// is over; a pinned one goes at once, so a next hop should be watched as long as any
    /// real server in the snapshot, removed or not, is reached through it.
    pub fn unwatch(&mut self, table: &NeighbourTable, id: NeighbourId) {
        let pinned = self.entries.change(id, |neighbour| {
            neighbour.watched = false;
            neighbour.condition() == Condition::Pinned
        });
        if pinned == Some(true) {
            self.forget(table, id);
        }
    }

    /// Watches these next hops and no others.
    pub fn watch_only(&mut self, table: &NeighbourTable, hops: &[Watched], now: u64) {
        let wanted: std::collections::HashSet<_> = hops.iter().map(|hop| hop.id).collect();
        let left: Vec<_> = self
            .entries
            .iter()
            .filter(|neighbour| neighbour.watched && !wanted.contains(&neighbour.id))
            .map(|neighbour| neighbour.id)
            .collect();
        for id in left {
            self.unwatch(table, id);
        }
        for hop in hops {
            self.watch(table, *hop, now);
        }
    }

    /// Takes note of what a core tells.
    pub fn hear(&mut self, table: &NeighbourTable, event: &Event, now: u64) {
        match event {
            Event::Wanted(id) => self.want(table, *id, now),
            Event::Sought { port, address } => {
                if let Some(id) = table.intern(*port, *address) {
                    self.want(table, id, now);
                }
            }
            Event::VipClaimed(heard) | Event::Heard(heard) => self.heard(table, heard, now),
        }
    }

    /// Does what is due: asks, announces, gives up, forgets. Sends no more than a few dozen
    /// frames; [`Self::next_due`] then names the time for the rest.
    pub fn tick(&mut self, table: &NeighbourTable, now: u64, send: &mut impl FnMut(Outgoing)) {
        while let Some((due, id)) = self.entries.first()
            && due <= now
            && self.pace.has_room(now)
        {
            let settings = self.settings;
            match self.entries.change(id, |neighbour| neighbour.step(&settings, now)) {
                Some(Step::Ask(to)) => self.ask(table, id, to, now, send),
                Some(Step::GiveUp(last)) => self.lose(table, id, last),
                Some(Step::Forget) | None => self.forget(table, id),
            }
        }
        while self.pace.has_room(now)
            && let Some((port, address)) = self.announcements.take(now)
        {
            let face = self.site.face(port);
            if let Some(frame) = face.and_then(|face| question::announcement(face, address)) {
                self.pace.count();
                send(Outgoing { port, frame });
            }
        }
    }

    /// When [`Self::tick`] has something to do next: at once if the time has passed, never
    /// if `None`.
    pub fn next_due(&self) -> Option<u64> {
        let neighbours = self.entries.first().map(|(due, _)| due);
        let due = neighbours.into_iter().chain(self.announcements.due()).min()?;
        Some(due.max(self.pace.opens()))
    }

    /// The notices since this was last called. To be called after every other call: only
    /// about a thousand are kept.
    pub fn notices(&mut self) -> std::vec::Drain<'_, Notice> {
        self.reports.take()
    }

    /// Every neighbour, in no order.
    pub fn iter(&self) -> impl Iterator<Item = Listed> + '_ {
        self.entries.iter().map(|neighbour| Listed {
            id: neighbour.id,
            port: neighbour.port,
            address: neighbour.address,
            mac: neighbour.mac(),
            condition: neighbour.condition(),
            watched: neighbour.watched,
        })
    }

    fn want(&mut self, table: &NeighbourTable, id: NeighbourId, now: u64) {
        if self.entries.change(id, Neighbour::want).is_some() {
            return;
        }
        let Some((port, address)) = self.place(table, id) else { return };
        if self.entries.len() >= self.settings.entries as usize {
            let Some(spare) = self.entries.spare() else {
                // Lets a later packet ask again.
                table.set(id, None);
                return self.reports.full(self.settings.entries, now);
            };
            self.forget(table, spare);
        }
        self.entries.insert(Neighbour::new(id, port, address, now));
    }

    /// What an id of the table names.
    fn place(&mut self, table: &NeighbourTable, id: NeighbourId) -> Option<(PortIndex, Addr)> {
        let at = id.0 as usize;
        if at >= self.places.len() {
            // Ids are given out in order and for good, so the list only grows.
            self.places =
                table.list().into_iter().map(|(port, address, _)| (port, address)).collect();
        }
        self.places.get(at).copied()
    }

    fn heard(&mut self, table: &NeighbourTable, heard: &Heard, now: u64) {
        let Heard { port, address, mac, .. } = *heard;
        let nobody = address.is_unspecified() || address.is_multicast() || address.is_broadcast();
        if nobody || !mac.is_unicast() || self.site.is_our_mac(mac) {
            return;
        }
        match self.site.ours(address) {
            Some(Ours::Own) => {
                return self.reports.duplicate(&self.site, port, address, mac, now);
            }
            Some(Ours::Vip) => {
                let station = || self.entries.station(port, mac).map(|station| station.address);
                return self.reports.vip_claimed(&self.site, heard, station, now);
            }
            None => {}
        }
        let Some(id) = self.entries.find(port, address) else { return };
        let settings = self.settings;
        let effect = self.entries.change(id, |neighbour| neighbour.hear(heard, &settings, now));
        let watched = self.entries.get(id).is_some_and(|neighbour| neighbour.watched);
        match effect.unwrap_or(Effect::Nothing) {
            Effect::Nothing => {}
            Effect::Learned(mac) => {
                table.set(id, Some(mac));
                if watched {
                    self.reports.learned(&self.site, port, address, mac);
                }
            }
            Effect::Changed { old, new } => {
                table.set(id, Some(new));
                self.reports.changed(&self.site, (id, port, address), (old, new), now);
            }
            Effect::Disputed { known, claimed } => {
                let pinned = self.entries.get(id).map(Neighbour::condition);
                let pinned = pinned == Some(Condition::Pinned);
                let who = (id, port, address);
                self.reports.disputed(&self.site, who, (known, claimed), pinned, now);
            }
        }
    }

    fn ask(
        &mut self,
        table: &NeighbourTable,
        id: NeighbourId,
        to: Option<Mac>,
        now: u64,
        send: &mut impl FnMut(Outgoing),
    ) {
        let Some(&Neighbour { port, address, watched, .. }) = self.entries.get(id) else { return };
        if self.entries.get(id).is_some_and(|neighbour| neighbour.mac().is_none()) {
            // Lets the cores say again that a packet waits.
            table.set(id, None);
        }
        let ours = self.site.ours(address).is_some();
        let face = self.site.face(port).filter(|_| !ours);
        if let Some(frame) = face.and_then(|face| question::question(face, address, to)) {
            self.pace.count();
            return send(Outgoing { port, frame });
        }
        self.entries.change(id, |neighbour| neighbour.give_up(now));
        table.set(id, None);
        if watched && !ours {
            self.reports.no_source(&self.site, port, address, now);
        }
    }

    fn lose(&mut self, table: &NeighbourTable, id: NeighbourId, last: Option<Mac>) {
        table.set(id, None);
        if let Some(&Neighbour { port, address, watched: true, .. }) = self.entries.get(id) {
            self.reports.lost(&self.site, port, address, last);
        }
    }

    fn forget(&mut self, table: &NeighbourTable, id: NeighbourId) {
        table.set(id, None);
        self.entries.remove(id);
    }
}

#[cfg(test)]
mod lan;
#[cfg(test)]
mod stories;
