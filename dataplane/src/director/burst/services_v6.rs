//! What the core has learned of IPv6 services, as `services` has it for IPv4.

use super::lane::{Kind, Lane};
use super::read::Gate;
use super::read_v6::{FormV6, TargetV6};
use super::services::{ROWS, WINDOW, client_way, conn_kind};
use crate::snapshot::{Snapshot, Tracking};
use crate::table::ClientScope;
use crate::wire::{Family, Protocol};

/// How packets to a destination are treated, in one cache line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(64))]
pub(super) struct WayV6 {
    target: TargetV6,
    epoch: u32,
    /// What its clients are kept under; `None` where every packet takes the reference path.
    pub scope: Option<ClientScope>,
    /// The bits that tell clients apart, the upper half first.
    pub mask: [u64; 2],
    /// What its packets' lanes have in common.
    pub lane: Lane,
}

impl WayV6 {
    /// The form of packets to this destination.
    #[inline(always)]
    pub(super) fn form(&self, gate: Gate) -> FormV6 {
        FormV6::new(gate, self.target)
    }

    /// Where its packets go.
    #[inline(always)]
    pub(super) fn target(&self) -> TargetV6 {
        self.target
    }

    /// The halves of VIP, the upper one first.
    #[inline(always)]
    pub(super) fn vip(&self) -> [u64; 2] {
        self.target.vip.map(u64::swap_bytes)
    }

    /// The VIP's port.
    #[inline(always)]
    pub(super) fn vip_port(&self) -> u16 {
        self.target.vip_port()
    }

    /// The part of a client's address by which it is known.
    #[inline(always)]
    pub(super) fn client(&self, [high, low]: [u64; 2]) -> [u64; 2] {
        let [mask_high, mask_low] = self.mask;
        [high & mask_high, low & mask_low]
    }
}

/// Remembered destinations.
pub(super) struct ServicesV6 {
    rows: Vec<WayV6>,
    last: WayV6,
    /// Rows of other epochs count as empty.
    epoch: u32,
    /// How many were learned, ever.
    learned: u32,
}

impl ServicesV6 {
    pub(super) fn new() -> Self {
        Self { rows: Vec::new(), last: WayV6::default(), epoch: 1, learned: 0 }
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.rows.fill(WayV6::default());
            self.epoch = 1;
        }
        self.last = WayV6::default();
    }

    /// How many were learned, ever.
    pub(super) fn learned(&self) -> u32 {
        self.learned
    }

    /// The way that was asked for last.
    #[inline(always)]
    pub(super) fn last(&self) -> WayV6 {
        self.last
    }

    /// How packets to this destination are treated.
    #[inline(never)]
    pub(super) fn way(&mut self, target: TargetV6, snapshot: &Snapshot) -> WayV6 {
        if self.last.target != target {
            let home = home(target);
            let window = self.rows.get(home..home + WINDOW).unwrap_or_default();
            let known = window.iter().find(|row| row.target == target && row.epoch == self.epoch);
            self.last = match known {
                Some(row) => *row,
                None => self.learn(target, home, snapshot),
            };
        }
        self.last
    }

    #[cold]
    fn learn(&mut self, target: TargetV6, home: usize, snapshot: &Snapshot) -> WayV6 {
        self.learned = self.learned.wrapping_add(1);
        let Some(way) = way_of(target, snapshot) else {
            // Not remembered: whoever scans ports is to push nobody out.
            return WayV6 { target, ..WayV6::default() };
        };
        if self.rows.is_empty() {
            self.rows = vec![WayV6::default(); ROWS];
        }
        let way = WayV6 { target, epoch: self.epoch, ..way };
        let window = self.rows.get_mut(home..home + WINDOW).unwrap_or_default();
        let free = window.iter().position(|row| row.epoch != self.epoch).unwrap_or(0);
        if let Some(place) = window.get_mut(free) {
            *place = way;
        }
        way
    }
}

/// Where the search for a destination begins; the window behind it never ends outside.
#[inline]
fn home(target: TargetV6) -> usize {
    (target.mixed() >> 32) as usize % (ROWS - WINDOW + 1)
}

/// `None` where every packet takes the reference path.
fn way_of(target: TargetV6, snapshot: &Snapshot) -> Option<WayV6> {
    let (vip, protocol) = (target.vip(), Protocol::of(target.protocol(), Family::V6));
    // No IPv6 packet may carry an IPv4 address.
    if vip.is_v4() || snapshot.classifier.looks_at_clients() {
        return None;
    }
    let hit = snapshot.classifier.lookup(vip, protocol, target.vip_port())?;
    let service = snapshot.service(hit.service)?;
    match service.tracking {
        Tracking::Client => {
            let (mask, scope, lane) = client_way(service, snapshot, Kind::ClientV6)?;
            let mask = [(mask >> 64) as u64, mask as u64];
            Some(WayV6 { mask, scope: Some(scope), lane, ..WayV6::default() })
        }
        Tracking::Full => {
            let kind = conn_kind(service, protocol, target.vip_port())?;
            let kind = if kind == Kind::ConnUdp { Kind::ConnUdpV6 } else { Kind::ConnTcpV6 };
            Some(WayV6 { lane: Lane::new(kind, 0), ..WayV6::default() })
        }
    }
}
