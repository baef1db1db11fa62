//! Telling the neighbours where the director's addresses are (RFC 5227, 2.3; RFC 4861, 7.2.6).

use std::collections::BTreeMap;

use dataplane::ids::PortIndex;
use dataplane::wire::Addr;

use super::site::Site;

/// Milliseconds between two announcements of an address (RFC 5227, 1.1: `ANNOUNCE_INTERVAL`
/// is 2 s; one second is what balancers do on a takeover).
const INTERVAL_MS: u64 = 1_000;

/// The announcements that are still to be made, and how often each.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    left: BTreeMap<(u64, PortIndex, Addr), u8>,
}

impl Announcements {
    /// Announces everything that the site has and the former one had not.
    pub(super) fn site_changed(&mut self, former: &Site, site: &Site, times: u8, now: u64) {
        self.left.retain(|(_, port, address), _| site.has(*port, *address));
        for (port, address) in site.addresses() {
            let known = site.face(port).is_some_and(|face| former.shows(port, address, face));
            if !known {
                self.add(port, address, times, now);
            }
        }
    }

    /// Announces everything, once more if it has been.
    pub(super) fn all(&mut self, site: &Site, times: u8, now: u64) {
        self.left.clear();
        for (port, address) in site.addresses() {
            self.add(port, address, times, now);
        }
    }

    fn add(&mut self, port: PortIndex, address: Addr, times: u8, now: u64) {
        if times > 0 && !address.is_multicast() {
            self.left.insert((now, port, address), times);
        }
    }

    /// When the next one is to be made.
    pub(super) fn due(&self) -> Option<u64> {
        self.left.first_key_value().map(|((due, _, _), _)| *due)
    }

    /// Takes one that is due.
    pub(super) fn take(&mut self, now: u64) -> Option<(PortIndex, Addr)> {
        let first = self.left.first_entry().filter(|first| first.key().0 <= now)?;
        let ((_, port, address), times) = first.remove_entry();
        if times > 1 {
            self.left.insert((now.saturating_add(INTERVAL_MS), port, address), times - 1);
        }
        Some((port, address))
    }
}
