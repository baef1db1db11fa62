//! What routers have said of the ways to tunnels' ends, under `compat: ipvs`: the kernel's routing
//! table remembers it for ten minutes, and longer packets are refused or cut before they leave.
//! By default nothing is remembered: an error of a router goes to whoever sent the packet.
//!
//! Shared by all cores. Under a lock, which nobody takes as long as no router has said anything,
//! and then only for packets that leave through tunnels.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::ids::RealId;
use crate::tick::Tick;
use crate::wire::Addr;

/// How long it is remembered (`net.ipv4.route.mtu_expires`, `net.ipv6.route.mtu_expires`).
const KEPT_S: u32 = 600;
/// What it was told again counts anew in the second half of that time only.
const RENEWED_S: u32 = 300;
/// No IPv4 way is believed to be narrower (`net.ipv4.route.min_pmtu`).
const LEAST_V4: u16 = 552;
/// No IPv6 way is narrower (RFC 8200, 5).
const LEAST_V6: u16 = 1280;
/// Ends that are remembered at the most; of further ones nothing is.
const MOST: usize = 1 << 12;

/// What is known of one way.
#[derive(Debug)]
struct Known {
    mtu: u16,
    until: Tick,
    /// The real servers that have sent a packet since it is known: the route that the kernel
    /// keeps for a real server is looked up anew with its next packet only.
    followed_by: Vec<RealId>,
}

/// What is known of all ways.
#[derive(Debug, Default)]
pub struct PathMtus {
    /// Of how many ways something is known.
    known: AtomicUsize,
    /// How often that has changed.
    changes: AtomicU32,
    all: Mutex<HashMap<Addr, Known>>,
}

impl PathMtus {
    fn lock(&self) -> MutexGuard<'_, HashMap<Addr, Known>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, all: &HashMap<Addr, Known>) {
        self.known.store(all.len(), Ordering::Release);
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether nothing is known of any way.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.known.load(Ordering::Acquire) == 0
    }

    /// Another number after every change.
    #[inline]
    pub fn changes(&self) -> u32 {
        self.changes.load(Ordering::Acquire)
    }

    /// Whether something is known of the way to this end, or was until a moment ago.
    pub fn knows(&self, end: Addr) -> bool {
        !self.is_empty() && self.lock().contains_key(&end)
    }

    /// A router has said that the way to this end takes `said` bytes; `link` is the MTU of its
    /// first link.
    pub fn learn(&self, end: Addr, said: u32, link: u16, now: Tick) {
        let mut all = self.lock();
        let known = all.get(&end).filter(|known| !known.until.has_come(now));
        let current = known.map_or(link, |known| known.mtu.min(link));
        let said = u16::try_from(said).unwrap_or(u16::MAX);
        let (mtu, renews) = match end.is_v4() {
            // One that is too narrow to be true is taken for the least, and renewed every time.
            true if said < LEAST_V4 => (current.min(LEAST_V4), true),
            true if said > current => return,
            true => (said, false),
            false if said.max(LEAST_V6) >= current => return,
            false => (said.max(LEAST_V6), false),
        };
        if let Some(known) = known
            && known.mtu == mtu
            && !renews
            && !known.until.has_come(now.plus_secs(RENEWED_S))
        {
            return;
        }
        let followed_by = known.map(|known| known.followed_by.clone()).unwrap_or_default();
        if known.is_some() || all.len() < MOST {
            all.insert(end, Known { mtu, until: now.plus_secs(KEPT_S), followed_by });
            self.settle(&all);
        }
    }

    /// The MTU of the way to this end, whose first link has the MTU `link`, as the last packet
    /// found it that was sent there.
    pub fn mtu(&self, end: Addr, link: u16) -> u16 {
        self.lock().get(&end).map_or(link, |known| known.mtu.min(link))
    }

    /// The same for a packet that this real server is sent now, whose route knows it from now on.
    #[inline]
    pub fn follow(&self, end: Addr, real: RealId, link: u16, now: Tick) -> u16 {
        if self.is_empty() { link } else { self.look(end, real, link, now) }
    }

    #[cold]
    fn look(&self, end: Addr, real: RealId, link: u16, now: Tick) -> u16 {
        let mut all = self.lock();
        let Some(known) = all.get_mut(&end) else { return link };
        if known.until.has_come(now) {
            all.remove(&end);
            self.settle(&all);
            return link;
        }
        if !known.followed_by.contains(&real) {
            known.followed_by.push(real);
        }
        known.mtu.min(link)
    }

    /// What the route says that is kept for this real server.
    pub fn kept(&self, end: Addr, real: RealId, link: u16, now: Tick) -> u16 {
        let all = self.lock();
        let fresh =
            |known: &&Known| !known.until.has_come(now) && known.followed_by.contains(&real);
        all.get(&end).filter(fresh).map_or(link, |known| known.mtu.min(link))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const ONE: RealId = RealId(1);

    fn end(text: &str) -> Addr {
        Addr::from(text.parse::<std::net::IpAddr>().unwrap())
    }

    fn at(seconds: u32) -> Tick {
        Tick::from_secs(1_000).plus_secs(seconds)
    }

    #[test]
    fn a_way_is_as_narrow_as_was_said_for_ten_minutes() {
        let (ways, four, six) = (PathMtus::default(), end("172.16.0.11"), end("fd00::11"));
        assert!(ways.is_empty() && ways.follow(four, ONE, 1500, at(0)) == 1500);
        ways.learn(four, 1600, 1500, at(0));
        assert!(ways.is_empty());
        ways.learn(four, 1400, 1500, at(0));
        ways.learn(six, 1300, 1500, at(0));
        assert_eq!([four, six].map(|end| ways.follow(end, ONE, 1500, at(599))), [1400, 1300]);
        // Nobody makes it wider, and nothing is believed that cannot be.
        ways.learn(four, 1450, 1500, at(1));
        assert_eq!(ways.follow(four, ONE, 1500, at(1)), 1400);
        ways.learn(four, 100, 1500, at(1));
        ways.learn(six, 100, 1500, at(1));
        assert_eq!([four, six].map(|end| ways.follow(end, ONE, 1500, at(600))), [552, 1280]);
        assert_eq!(ways.follow(four, ONE, 500, at(600)), 500);
        assert_eq!([four, six].map(|end| ways.follow(end, ONE, 1500, at(601))), [1500; 2]);
        assert!(ways.is_empty() && !ways.knows(four));
    }

    #[test]
    fn what_is_said_again_counts_anew_in_the_second_half_only() {
        let (ways, end) = (PathMtus::default(), end("172.16.0.11"));
        ways.learn(end, 1400, 1500, at(0));
        let changes = ways.changes();
        ways.learn(end, 1400, 1500, at(299));
        assert_eq!(ways.changes(), changes);
        ways.learn(end, 1400, 1500, at(301));
        assert_eq!(ways.follow(end, ONE, 1500, at(900)), 1400);
        assert_eq!(ways.follow(end, ONE, 1500, at(901)), 1500);
    }

    #[test]
    fn a_real_server_knows_it_after_its_next_packet() {
        let (ways, end) = (PathMtus::default(), end("172.16.0.11"));
        ways.learn(end, 1400, 1500, at(0));
        assert_eq!(ways.kept(end, RealId(1), 1500, at(1)), 1500);
        assert_eq!(ways.follow(end, RealId(1), 1500, at(1)), 1400);
        ways.learn(end, 1300, 1500, at(2));
        assert_eq!([1, 2].map(|id| ways.kept(end, RealId(id), 1500, at(2))), [1300, 1500]);
    }

    #[test]
    fn so_many_are_remembered_and_no_more() {
        let ways = PathMtus::default();
        for number in 0..MOST as u32 + 2 {
            ways.learn(Addr::v4(number), 1400, 1500, at(0));
        }
        assert!(ways.knows(Addr::v4(MOST as u32 - 1)) && !ways.knows(Addr::v4(MOST as u32)));
    }
}
