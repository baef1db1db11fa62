//! What the core has learned of services: from a packet's destination to what its clients are
//! found by, in half a cache line instead of classifier, snapshot and service.
//!
//! Learned from the snapshot on the first packet, forgotten when another one is adopted.

use super::hops::PLACES;
use super::lane::{Kind, Lane, Opens};
use super::read::{Form, Gate, TargetV4};
use crate::bindings::client_scope;
use crate::block::Block;
use crate::classify::Hit;
use crate::compat::Defence;
use crate::forward::ftp;
use crate::ids::ScopeId;
use crate::snapshot::{Service, Snapshot, Tracking};
use crate::table::ClientScope;
use crate::wire::{Addr, Family, Protocol};

/// Places for destinations that are remembered: so many that of 10,000 hardly any two push each
/// other out, which costs more than all else that a packet needs.
const ROWS_V4: usize = 1 << 16;
/// The same for IPv6.
pub(super) const ROWS: usize = 1 << 14;
/// Rows in which one destination may stand.
pub(super) const WINDOW: usize = 4;

/// How packets to a destination are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(align(32))]
pub(super) struct Way {
    target: TargetV4,
    epoch: u32,
    /// The bits that tell clients apart, of a service that binds them.
    pub mask: u32,
    /// What its templates are kept under, and one; 0 for none.
    templates: u32,
    /// What its clients are kept under.
    pub scope: Option<ClientScope>,
    /// What its packets' lanes have in common.
    pub lane: Lane,
}

impl Way {
    /// The form of packets to this destination.
    #[inline(always)]
    pub(super) fn form(&self, gate: Gate) -> Form {
        Form::new(gate, self.target)
    }

    /// Where its packets go.
    #[inline(always)]
    pub(super) fn target(&self) -> TargetV4 {
        self.target
    }

    /// What templates of its clients are kept under.
    #[inline(always)]
    pub(super) fn templates(&self) -> Option<ScopeId> {
        self.templates.checked_sub(1).map(ScopeId)
    }

    /// VIP.
    #[inline(always)]
    pub(super) fn vip(&self) -> u32 {
        self.target.vip()
    }

    /// The VIP's port.
    #[inline(always)]
    pub(super) fn vip_port(&self) -> u16 {
        self.target.vip_port()
    }

    /// Whether this is the way of packets to that destination.
    #[inline(always)]
    pub(super) fn is_to(&self, target: TargetV4) -> bool {
        self.target == target
    }
}

/// Remembered destinations.
pub(super) struct Services {
    rows: Block<Way>,
    last: Way,
    /// Rows of other epochs count as empty.
    epoch: u32,
    /// How many were learned, ever.
    learned: u32,
}

impl Services {
    pub(super) fn new() -> Self {
        let rows = Block::new(ROWS_V4, Way::default);
        Self { rows, last: Way::default(), epoch: 1, learned: 0 }
    }

    /// Forgets everything.
    pub(super) fn forget(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.rows.fill(Way::default());
            self.epoch = 1;
        }
        self.last = Way::default();
    }

    /// How many were learned, ever.
    pub(super) fn learned(&self) -> u32 {
        self.learned
    }

    /// The way that was asked for last.
    #[inline(always)]
    pub(super) fn last(&self) -> Way {
        self.last
    }

    /// How packets to this destination are treated.
    #[inline(never)]
    pub(super) fn way(&mut self, target: TargetV4, snapshot: &Snapshot) -> Way {
        let home = home(target);
        let window = self.rows.get(home..home + WINDOW).unwrap_or_default();
        let known = window.iter().find(|row| row.target == target && row.epoch == self.epoch);
        self.last = match known {
            Some(row) => *row,
            None => self.learn(target, home, snapshot),
        };
        self.last
    }

    #[cold]
    fn learn(&mut self, target: TargetV4, home: usize, snapshot: &Snapshot) -> Way {
        self.learned = self.learned.wrapping_add(1);
        let Some(way) = way_of(target, snapshot) else {
            // Not remembered: whoever scans ports is to push nobody out.
            return Way { target, ..Way::default() };
        };
        let way = Way { target, epoch: self.epoch, ..way };
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
fn home(target: TargetV4) -> usize {
    let mixed = (target.0 ^ target.0 >> 32).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (mixed >> 32) as usize % (ROWS_V4 - WINDOW + 1)
}

/// `None` where every packet takes the reference path.
fn way_of(target: TargetV4, snapshot: &Snapshot) -> Option<Way> {
    let protocol = Protocol::of(target.protocol(), Family::V4);
    let vip = Addr::v4(target.vip());
    if snapshot.classifier.looks_at_clients() {
        return None;
    }
    let hit = snapshot.classifier.lookup(vip, protocol, target.vip_port())?;
    let service = snapshot.service(hit.service)?;
    match service.tracking {
        Tracking::Client => {
            let (mask, scope, lane) = client_way(service, snapshot, Kind::Client)?;
            Some(Way { mask: mask as u32, scope: Some(scope), lane, ..Way::default() })
        }
        Tracking::Full => {
            let kind = conn_kind(service, protocol, target.vip_port())?;
            let opens = if opens_plainly(service, &hit) {
                Opens { service: service.id, own_port: hit.own_port }.pack()
            } else {
                0
            };
            Some(Way {
                lane: Lane::new(kind, opens),
                mask: service.persistence.map_or(0, |persistence| persistence.mask as u32),
                templates: service.persistence.map_or(0, |_| hit.scope.0 + 1),
                ..Way::default()
            })
        }
    }
}

/// What packets of a service's connections are; `None` where all take the reference path.
pub(super) fn conn_kind(service: &Service, protocol: Protocol, vip_port: u16) -> Option<Kind> {
    match protocol {
        // What is said on FTP's control connections is read.
        Protocol::Tcp if vip_port == ftp::CONTROL_PORT && service.compat.ip_vs_ftp => None,
        Protocol::Tcp => Some(Kind::ConnTcp),
        Protocol::Udp => Some(Kind::ConnUdp),
        _ => None,
    }
}

/// Whether its new connections need nothing but a template, where there is persistence, and the
/// scheduler.
fn opens_plainly(service: &Service, hit: &Hit) -> bool {
    service.pins.is_empty()
        && service.engine.is_none()
        && service.compat.drop_packet == Defence::Off
        && (hit.own_port || service.persistence.is_some())
}

/// The mask of a service's clients, what they are kept under, and their packets' lane.
pub(super) fn client_way(
    service: &Service,
    snapshot: &Snapshot,
    kind: Kind,
) -> Option<(u128, ClientScope, Lane)> {
    let persistence = service.persistence.as_ref()?;
    let places = snapshot.client_reals.places(service.id)?;
    let lane = Lane::new(kind, places.start);
    (places.end <= PLACES).then_some((persistence.mask, client_scope(service.id)?, lane))
}
