//! Real servers as the rewrite needs them: two MAC addresses, a port, an MTU, in half a cache
//! line, instead of snapshot, neighbour table and surroundings.
//!
//! A row is made when its first packet comes, and made anew after another snapshot was adopted
//! or a neighbour's MAC address changed.

use crate::block::Block;
use crate::compat::TtlPolicy;
use crate::forward::Forwarding;
use crate::ids::{PortIndex, RealId};
use crate::neighbour::NeighbourTable;
use crate::path_mtus::PathMtus;
use crate::prefetch::prefetch;
use crate::route::Exit;
use crate::snapshot::{NextHop, RealState, Snapshot};
use crate::wire::ethernet::{Mac, TYPE_VLAN};

/// Rows there are; real servers beyond share them.
const ROWS: usize = 1 << 17;
/// Places are below this, so that a key has room for a VLAN beside them.
pub(super) const PLACES: u32 = 1 << 20;
const _: () = assert!(RealId::LIMIT <= PLACES);

/// A real server to which packets are simply sent on: four words, so that a table of them is
/// zeroed memory that the system makes real when a row is first used.
///
/// ```text
/// 0: epoch 16 | manner 16 | VLAN 12 that packets come from | place 20: whether the row is good
/// 1: destination MAC address, and the first two bytes of the source's, in memory order
/// 2: its last four bytes, and a tag's four bytes
/// 3: real server or RIP 32 | manner 16 | MTU 16
///
/// manner: writes the tag 1 | takes one off the TTL 1 | port 8
/// ```
///
/// The MTU is 0 where packets take the reference path. What stands for the real server is the
/// one thing that the place does not say: by a client's number, which it is; by a real server,
/// its address (0 if it has no IPv4 address).
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop<'a>(&'a [u64; 4]);

const WRITES_TAG: u16 = 1 << 9;
const TAKES_TTL: u16 = 1 << 8;
/// Where in the last word the manner stands, and the number.
const MANNER_SHIFT: u32 = 16;
const NUMBER_SHIFT: u32 = 32;
/// Where in the first word the epoch stands, and the manner.
const EPOCH_SHIFT: u32 = 48;
const ALIKE_SHIFT: u32 = 32;
const ALIKE: u64 = 0xFFFF << ALIKE_SHIFT;

impl<'a> Hop<'a> {
    /// The row that has these words.
    #[inline(always)]
    pub(super) fn of(words: &'a [u64; 4]) -> Self {
        Self(words)
    }

    /// The row's words.
    #[inline(always)]
    pub(super) fn words(self) -> [u64; 4] {
        *self.0
    }
}

impl Hop<'_> {
    /// The real server, in a row by a client's number.
    #[inline(always)]
    pub(super) fn real(self) -> RealId {
        RealId((self.0[3] >> NUMBER_SHIFT) as u32)
    }

    /// RIP, in a row by a real server; `None` if it is no IPv4 address.
    #[inline(always)]
    pub(super) fn rip(self) -> Option<u32> {
        Some((self.0[3] >> NUMBER_SHIFT) as u32).filter(|rip| *rip != 0)
    }

    /// Where its frames leave, and what is done to them besides: in frames with the same manner
    /// it is the same.
    #[inline(always)]
    pub(super) fn manner(self) -> u16 {
        (self.0[3] >> MANNER_SHIFT) as u16
    }

    /// Where its frames leave.
    #[inline(always)]
    pub(super) fn port(self) -> PortIndex {
        port_of(self.manner())
    }

    /// Whether one is taken off the TTL.
    #[inline(always)]
    pub(super) fn takes_ttl(self) -> bool {
        takes_ttl(self.manner())
    }

    /// Whether a packet of this length needs nothing but a rewrite.
    #[inline(always)]
    pub(super) fn takes(self, total_len: u16) -> bool {
        total_len <= self.0[3] as u16
    }

    /// The first twelve bytes of a frame.
    #[inline(always)]
    pub(super) fn write_macs(self, to: &mut [u8; 12]) {
        let (first, rest) = to.split_at_mut(8);
        first.copy_from_slice(&self.0[1].to_le_bytes());
        rest.copy_from_slice(&(self.0[2] as u32).to_le_bytes());
    }

    /// The tag behind them, if it changes.
    #[inline(always)]
    pub(super) fn tag(self) -> Option<[u8; 4]> {
        let writes = self.manner() & WRITES_TAG != 0;
        writes.then_some(((self.0[2] >> 32) as u32).to_le_bytes())
    }
}

/// Where frames of a [`Hop::manner`] leave.
#[inline(always)]
pub(super) fn port_of(manner: u16) -> PortIndex {
    PortIndex(manner as u8)
}

/// Whether one is taken off the TTL of frames of a [`Hop::manner`].
#[inline(always)]
pub(super) fn takes_ttl(manner: u16) -> bool {
    manner & TAKES_TTL != 0
}

/// The rows that have one manner.
#[derive(Clone, Copy)]
pub(super) struct AlikeHops<'a> {
    rows: &'a [[u64; 4]; ROWS],
    alike: Alike,
}

impl<'a> AlikeHops<'a> {
    /// The row of a place, if it is up to date.
    #[inline(always)]
    pub(super) fn get(self, place: u32) -> Option<Hop<'a>> {
        let row = self.rows.get(place as usize % ROWS)?;
        (row[0] == self.alike.key(place)).then_some(Hop(row))
    }
}

/// What makes a row.
struct Row {
    number: u32,
    next: NextHop,
    to: Mac,
    from: Mac,
    /// The tag that frames get, where it changes.
    tci: Option<u16>,
    ttl: TtlPolicy,
}

impl Row {
    fn pack(&self, key: u64) -> [u64; 4] {
        let (Mac([d0, d1, d2, d3, d4, d5]), Mac([s0, s1, s2, s3, s4, s5])) = (self.to, self.from);
        let ([t0, t1], [t2, t3]) = (TYPE_VLAN.to_be_bytes(), self.tci.unwrap_or(0).to_be_bytes());
        let flag = |set: bool, flag: u16| if set { flag } else { 0 };
        let manner = flag(self.tci.is_some(), WRITES_TAG)
            | flag(self.ttl == TtlPolicy::Decrement, TAKES_TTL)
            | u16::from(self.next.port.0);
        [
            key | u64::from(manner) << ALIKE_SHIFT,
            u64::from_le_bytes([d0, d1, d2, d3, d4, d5, s0, s1]),
            u64::from_le_bytes([s2, s3, s4, s5, t0, t1, t2, t3]),
            u64::from(self.number) << NUMBER_SHIFT
                | u64::from(manner) << MANNER_SHIFT
                | u64::from(self.next.mtu),
        ]
    }
}

/// What real servers are found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum By {
    /// The place of their number in [`Numbers`](crate::snapshot::Numbers): for bound clients,
    /// whose packets go the server's way.
    Number,
    /// Their id: for connections, which have a way of their own.
    Id,
    /// No real servers, but clients' gateways: the place of an exit in
    /// [`Exits`](crate::route::Exits).
    Exit,
}

/// Real servers, each at its place.
pub(super) struct Hops {
    by: By,
    rows: Block<[u64; 4]>,
    epoch: u16,
    /// How many were learned, ever.
    learned: u32,
}

/// Where hops are made from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub snapshot: &'a Snapshot,
    pub neighbours: &'a NeighbourTable,
    pub path_mtus: &'a PathMtus,
    pub macs: &'a [Mac],
    /// The VLAN that packets come from.
    pub vlan: Option<u16>,
}

/// A burst's rows: those for packets from one VLAN.
#[derive(Clone, Copy)]
pub(super) struct Side(u64);

/// Those of a side's rows that have one manner.
#[derive(Clone, Copy)]
pub(super) struct Alike(u64);

impl Side {
    #[inline(always)]
    pub(super) fn alike(self, manner: u16) -> Alike {
        Alike(self.0 | u64::from(manner) << ALIKE_SHIFT)
    }
}

impl Alike {
    /// What the row of a place begins with; its lowest bits are the place's.
    #[inline(always)]
    pub(super) fn key(self, place: u32) -> u64 {
        self.0.wrapping_add(u64::from(place))
    }
}

impl Hops {
    pub(super) fn new(by: By) -> Self {
        Self { by, rows: Block::new(ROWS, || [0; 4]), epoch: 1, learned: 0 }
    }

    /// How many were learned, ever.
    pub(super) fn learned(&self) -> u32 {
        self.learned
    }

    /// Requests the row of a place.
    #[inline(always)]
    pub(super) fn prefetch(&self, place: u32) {
        if let Some(row) = self.rows.get(place as usize % ROWS) {
            prefetch(row);
        }
    }

    /// Whose row stands where that of a place would.
    #[inline(always)]
    pub(super) fn likely(&self, place: u32) -> Option<RealId> {
        self.rows.get(place as usize % ROWS).map(|row| Hop(row).real())
    }

    /// Makes all rows out of date.
    pub(super) fn forget(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.rows.fill([0; 4]);
            self.epoch = 1;
        }
    }

    /// The rows for packets from this VLAN, 0 for none.
    #[inline]
    pub(super) fn side(&self, vlan: u16) -> Side {
        Side((u64::from(self.epoch) << EPOCH_SHIFT) + u64::from(vlan) * u64::from(PLACES))
    }

    /// The row of a place, if it is up to date.
    #[inline(always)]
    pub(super) fn get(&self, side: Side, place: u32) -> Option<Hop<'_>> {
        let row = self.rows.get(place as usize % ROWS)?;
        (row[0] & !ALIKE == side.0 + u64::from(place)).then_some(Hop(row))
    }

    /// The rows of one manner, to look up many.
    #[inline(always)]
    pub(super) fn alike(&self, alike: Alike) -> Option<AlikeHops<'_>> {
        Some(AlikeHops { rows: self.rows.first_chunk()?, alike })
    }

    /// [`Self::get`] of rows that have one manner.
    #[inline(always)]
    pub(super) fn get_alike(&self, alike: Alike, place: u32) -> Option<Hop<'_>> {
        let row = self.rows.get(place as usize % ROWS)?;
        (row[0] == alike.0.wrapping_add(u64::from(place))).then_some(Hop(row))
    }

    /// Whether [`Self::get_alike`] has a row that takes a packet of this length. For those who
    /// cannot predict it: no branches.
    #[inline(always)]
    pub(super) fn takes_alike(&self, alike: Alike, place: u32, total_len: u16) -> bool {
        let Some(row) = self.rows.get(place as usize % ROWS) else { return false };
        (row[0] == alike.0.wrapping_add(u64::from(place))) & (total_len <= row[3] as u16)
    }

    /// The row of a place, made if it is not up to date.
    #[inline(always)]
    pub(super) fn get_or_learn(
        &mut self,
        side: Side,
        place: u32,
        sources: &Sources<'_>,
    ) -> Option<Hop<'_>> {
        // The borrow of a row that is returned would last for the rest.
        let row = self.rows.get(place as usize % ROWS)?;
        if row[0] & !ALIKE != side.0 + u64::from(place) {
            self.learn(side, place, sources);
            return self.get(side, place);
        }
        self.rows.get(place as usize % ROWS).map(Hop)
    }

    /// Makes a row. Places from [`PLACES`] on get none.
    #[cold]
    #[inline(never)]
    fn learn(&mut self, side: Side, place: u32, sources: &Sources<'_>) {
        self.learned = self.learned.wrapping_add(1);
        let key = side.0 + u64::from(place);
        let row = match self.by {
            By::Number => sources
                .snapshot
                .client_reals
                .at_place(place)
                .and_then(|real| row_of(real, self.by, sources)),
            By::Id => row_of(RealId(place), self.by, sources),
            By::Exit => row_of_exit(place, sources),
        };
        if let Some(words) = self.rows.get_mut(place as usize % ROWS)
            && place < PLACES
        {
            *words = row.map_or([key, 0, 0, 0], |row| row.pack(key));
        }
    }
}

/// `None` for a server about which something is to be asked for every packet, or whose packets
/// need more than other MAC addresses and another tag.
fn row_of(real: RealId, by: By, sources: &Sources<'_>) -> Option<Row> {
    let real = sources.snapshot.available(real)?;
    let compat = sources.snapshot.compat_of(real.service);
    if real.state != RealState::Up || real.local || real.shared_route.is_some() {
        return None;
    }
    let number = match by {
        By::Number if real.forwarding != Forwarding::Route => return None,
        By::Number if compat.expire_quiescent_template && real.weight == 0 => return None,
        By::Number => real.id.0,
        By::Id if real.address.is_v4() => real.address.v4_number(),
        By::Id | By::Exit => 0,
    };
    row_to(&real.next_hop?, number, compat.ttl, sources)
}

/// The row to a real server's next hop, for packets that are wrapped on the way.
pub(super) fn tunnel_to(next: &NextHop, ttl: TtlPolicy, sources: &Sources<'_>) -> Option<[u64; 4]> {
    row_to(next, 0, ttl, sources).map(|row| row.pack(0))
}

/// `None` where every destination is a neighbour of its own.
fn row_of_exit(place: u32, sources: &Sources<'_>) -> Option<Row> {
    let Exit { port, vlan, mtu, gateway, .. } = *sources.snapshot.exits.0.get(place as usize)?;
    let next = NextHop { port, neighbour: gateway?, vlan, mtu };
    row_to(&next, 0, sources.snapshot.compat.ttl, sources)
}

fn row_to(next: &NextHop, number: u32, ttl: TtlPolicy, sources: &Sources<'_>) -> Option<Row> {
    let tci = match (sources.vlan, next.vlan.id()) {
        (from, to) if from == to => None,
        (Some(_), Some(_)) => next.vlan.tci(),
        // Longer or shorter than it came.
        _ => return None,
    };
    let to = sources.neighbours.mac(next.neighbour)?;
    let from = sources.macs.get(usize::from(next.port.0)).copied().unwrap_or_default();
    Some(Row { number, next: *next, to, from, tci, ttl })
}
