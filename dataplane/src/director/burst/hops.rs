//! Real servers as the rewrite needs them: two MAC addresses, a port, an MTU, in half a cache
//! line, instead of snapshot, neighbour table and surroundings.
//!
//! A row is made when its first packet comes, and made anew after another snapshot was adopted
//! or a neighbour's MAC address changed.

use crate::compat::TtlPolicy;
use crate::forward::Forwarding;
use crate::ids::{PortIndex, RealId};
use crate::neighbour::NeighbourTable;
use crate::snapshot::{NextHop, Real, RealState, Snapshot};
use crate::wire::ethernet::Mac;

/// Rows there are; real servers beyond share them.
const ROWS: usize = 1 << 17;

/// A real server to which packets are simply sent on: four words, so that a table of them is
/// zeroed memory that the system makes real when a row is first used.
///
/// ```text
/// 0: epoch 32 | place 32, so that one comparison tells whether the row is good
/// 1: destination MAC address, and the first two bytes of the source's, in memory order
/// 2: its last four bytes | MTU 16 (0: packets take the reference path) | VLAN 16 (0: none)
/// 3: real server 32 | port 8 | what is taken off the TTL 8
/// ```
#[derive(Clone, Copy, Debug)]
pub(super) struct Hop<'a>(&'a [u64; 4]);

impl Hop<'_> {
    /// The real server.
    #[inline(always)]
    pub(super) fn real(self) -> RealId {
        RealId(self.0[3] as u32)
    }

    /// Where its frames leave.
    #[inline(always)]
    pub(super) fn port(self) -> PortIndex {
        PortIndex((self.0[3] >> 32) as u8)
    }

    /// Whether one is taken off the TTL.
    #[inline(always)]
    pub(super) fn takes_ttl(self) -> bool {
        self.0[3] >> 40 != 0
    }

    /// Whether a packet of this length, from this VLAN (0 for none), needs nothing but a
    /// rewrite.
    #[inline(always)]
    pub(super) fn takes(self, total_len: u16, vlan: u16) -> bool {
        total_len <= (self.0[2] >> 32) as u16 && vlan == (self.0[2] >> 48) as u16
    }

    /// The first twelve bytes of a frame.
    #[inline(always)]
    pub(super) fn write_macs(self, to: &mut [u8; 12]) {
        let (first, rest) = to.split_at_mut(8);
        first.copy_from_slice(&self.0[1].to_le_bytes());
        rest.copy_from_slice(&(self.0[2] as u32).to_le_bytes());
    }
}

fn pack(real: RealId, next: &NextHop, to: Mac, from: Mac, ttl: TtlPolicy) -> [u64; 4] {
    let (Mac([d0, d1, d2, d3, d4, d5]), Mac([s0, s1, s2, s3, s4, s5])) = (to, from);
    let links = u64::from(next.vlan.id().unwrap_or(0)) << 48 | u64::from(next.mtu) << 32;
    let takes = u64::from(ttl == TtlPolicy::Decrement);
    [
        0,
        u64::from_le_bytes([d0, d1, d2, d3, d4, d5, s0, s1]),
        u64::from(u32::from_le_bytes([s2, s3, s4, s5])) | links,
        u64::from(real.0) | u64::from(next.port.0) << 32 | takes << 40,
    ]
}

/// Real servers, by a place that its owner chooses.
pub(super) struct Hops {
    rows: Vec<[u64; 4]>,
    epoch: u32,
}

/// Where hops are made from.
#[derive(Clone, Copy)]
pub(super) struct Sources<'a> {
    pub snapshot: &'a Snapshot,
    pub neighbours: &'a NeighbourTable,
    pub macs: &'a [Mac],
}

impl Hops {
    pub(super) fn new() -> Self {
        Self { rows: vec![[0; 4]; ROWS], epoch: 1 }
    }

    /// Makes all rows out of date.
    pub(super) fn forget(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.rows.fill([0; 4]);
            self.epoch = 1;
        }
    }

    /// The row of a place, if it is up to date.
    #[inline(always)]
    pub(super) fn get(&self, place: u32) -> Option<Hop<'_>> {
        let row = self.rows.get(place as usize % ROWS)?;
        (row[0] == self.key(place)).then_some(Hop(row))
    }

    #[inline(always)]
    fn key(&self, place: u32) -> u64 {
        u64::from(self.epoch) << 32 | u64::from(place)
    }

    /// Makes a row.
    #[cold]
    pub(super) fn learn(&mut self, place: u32, real: Option<RealId>, sources: &Sources<'_>) {
        let row = real.and_then(|real| row_of(sources.snapshot.available(real)?, sources));
        let [_, rest @ ..] = row.unwrap_or_default();
        let [first, second, third] = rest;
        let key = self.key(place);
        if let Some(place) = self.rows.get_mut(place as usize % ROWS) {
            *place = [key, first, second, third];
        }
    }
}

/// `None` for a server about which something is to be asked for every packet, or whose packets
/// need more than other MAC addresses.
fn row_of(real: &Real, sources: &Sources<'_>) -> Option<[u64; 4]> {
    let compat = sources.snapshot.compat_of(real.service);
    let quiescent = compat.expire_quiescent_template && real.weight == 0;
    let plain = real.state == RealState::Up && real.forwarding == Forwarding::Route;
    if !plain || quiescent || real.local {
        return None;
    }
    let next = real.next_hop?;
    let mac = sources.neighbours.mac(next.neighbour)?;
    let own = sources.macs.get(usize::from(next.port.0)).copied().unwrap_or_default();
    Some(pack(real.id, &next, mac, own, compat.ttl))
}
