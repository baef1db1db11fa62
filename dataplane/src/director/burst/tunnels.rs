//! Plain packets of bound clients and established connections whose real servers are reached
//! through a tunnel.

use super::hops::{By, Hop, PLACES, Sources, tunnel_to};
use super::lane::Kind;
use super::read::TAGGED;
use super::{Desk, Learned, Reading, rewrite};
use crate::conn::State;
use crate::conn::table::Packed;
use crate::director::passing::{flow_hash, next_id};
use crate::forward::{Forwarding, Inner, Outer, Tunnel};
use crate::ids::{PortIndex, RealId};
use crate::port::Frame;
use crate::snapshot::{NextHop, RealState};
use crate::tick::Tick;
use crate::wire::ethernet::HEADER_LEN;
use crate::wire::field::{bytes_at, u16_at, u32_at};
use crate::wire::{Addr, Family, ipv4, ipv6};

/// Bits of a place, beside which a VLAN stands in a key.
const PLACE_BITS: u32 = PLACES.trailing_zeros();
/// Rows there are; real servers beyond share them.
const ROWS: usize = 1 << 12;

/// A real server's tunnel.
#[derive(Clone, Copy)]
struct Way {
    real: RealId,
    /// To the next hop; its MTU is what the tunnel leaves of it.
    hop: [u64; 4],
    tunnel: Tunnel,
    src: Addr,
    dst: Addr,
    /// Whether the inner packet's wish not to be fragmented is the outer one's.
    keeps_whole: bool,
}

/// A real server's place, with the epoch and the VLAN that packets come from, and its tunnel;
/// `None` where packets take the reference path.
#[derive(Clone, Copy)]
struct Row {
    key: u64,
    way: Option<Way>,
}

/// No place's.
const NOBODY: Row = Row { key: u64::MAX, way: None };

/// Real servers with tunnels, each at its place.
pub(super) struct Tunnels {
    by: By,
    /// Made when the first one is asked for.
    rows: Vec<Row>,
    epoch: u32,
}

impl Tunnels {
    pub(super) fn new(by: By) -> Self {
        Self { by, rows: Vec::new(), epoch: 0 }
    }

    /// Makes all rows out of date.
    pub(super) fn forget(&mut self) {
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.rows.fill(NOBODY);
        }
    }

    #[inline(always)]
    fn get_or_learn(&mut self, place: u32, sources: &Sources<'_>) -> Option<&Way> {
        let vlan = u64::from(sources.vlan.unwrap_or(0));
        let key = u64::from(self.epoch) << 32 | vlan << PLACE_BITS | u64::from(place);
        let at = place as usize % ROWS;
        if self.rows.get(at).is_none_or(|row| row.key != key) {
            self.learn(at, place, key, sources);
        }
        self.rows.get(at)?.way.as_ref()
    }

    #[cold]
    #[inline(never)]
    fn learn(&mut self, at: usize, place: u32, key: u64, sources: &Sources<'_>) {
        if self.rows.is_empty() {
            self.rows = vec![NOBODY; ROWS];
        }
        let real = match self.by {
            By::Number => sources.snapshot.client_reals.at_place(place),
            By::Id => Some(RealId(place)),
            By::Exit => None,
        };
        if let Some(row) = self.rows.get_mut(at) {
            let real = real.filter(|_| place < PLACES);
            *row = Row { key, way: real.and_then(|real| way_to(real, self.by, sources)) };
        }
    }
}

/// `None` for a server about which something is to be asked for every packet.
fn way_to(real: RealId, by: By, sources: &Sources<'_>) -> Option<Way> {
    let real = sources.snapshot.available(real)?;
    let compat = sources.snapshot.compat_of(real.service);
    let is_asked = real.state != RealState::Up
        || real.local
        || real.shared_route.is_some()
        || compat.as_kernel && sources.path_mtus.knows(real.address)
        || by == By::Number
            && (real.forwarding != Forwarding::Tunnel
                || compat.expire_quiescent_template && real.weight == 0);
    if is_asked {
        return None;
    }
    let next = real.next_hop?;
    let mtu = real.tunnel.room(real.address.family(), next.mtu)?;
    Some(Way {
        real: real.id,
        hop: tunnel_to(&NextHop { mtu, ..next }, compat.ttl, sources)?,
        tunnel: real.tunnel,
        src: real.tunnel_source?,
        dst: real.address,
        keeps_whole: compat.pmtu_disc,
    })
}

/// What the outer headers depend on in a plain packet.
struct Seen {
    tos: u8,
    ttl: u8,
    dont_fragment: bool,
    flow: u64,
}

/// Reads a packet whose IP header begins at `L3`. `None` for a frame that is shorter than its
/// headers, which none is that was read.
#[inline(always)]
fn seen<const L3: usize>(
    frame: &[u8],
    family: Family,
    tunnel: Tunnel,
    key: [u64; 2],
) -> Option<Seen> {
    let (l4, tos, ttl, dont_fragment) = match family {
        Family::V4 => (
            L3 + ipv4::HEADER_LEN,
            *frame.get(L3 + 1)?,
            *frame.get(L3 + ipv4::TTL)?,
            u16_at(frame, L3 + ipv4::FLAGS)? & ipv4::DONT_FRAGMENT != 0,
        ),
        Family::V6 => {
            let class = (u16_at(frame, L3)? >> 4) as u8;
            (L3 + ipv6::HEADER_LEN, class, *frame.get(L3 + ipv6::HOP_LIMIT)?, false)
        }
    };
    let flow = match tunnel {
        Tunnel::Ipip | Tunnel::Gre { .. } => 0,
        Tunnel::Gue { .. } => {
            let v6 = |at| bytes_at(frame, at).map(|bytes| Addr::v6(u128::from_be_bytes(*bytes)));
            let addresses = match family {
                Family::V4 => [
                    Addr::v4(u32_at(frame, L3 + ipv4::SRC)?),
                    Addr::v4(u32_at(frame, L3 + ipv4::DST)?),
                ],
                Family::V6 => [v6(L3 + ipv6::SRC)?, v6(L3 + ipv6::DST)?],
            };
            flow_hash(addresses, [u16_at(frame, l4)?, u16_at(frame, l4 + 2)?], key)
        }
    };
    Some(Seen { tos, ttl, dont_fragment, flow })
}

impl Way {
    /// Sends a plain packet through the tunnel. `false`, and the packet is as it was, where the
    /// frame has no room.
    #[inline(always)]
    fn send<F: Frame, const L3: usize>(
        &self,
        frame: &mut F,
        (family, len): (Family, u16),
        (packets_made, core, key): (&mut u64, usize, [u64; 2]),
    ) -> bool {
        let hop = Hop::of(&self.hop);
        let Some(seen) = seen::<L3>(frame.bytes(), family, self.tunnel, key) else { return false };
        let mut made = *packets_made;
        let outer = Outer {
            src: self.src,
            dst: self.dst,
            ttl: seen.ttl.saturating_sub(u8::from(hop.takes_ttl())),
            dont_fragment: seen.dont_fragment && self.keeps_whole,
            id: next_id(&mut made, core, key),
            flow: seen.flow,
        };
        let inner = Inner { l3: L3, len, family, tos: seen.tos };
        // A tunnel's checksum covers what is inside: an IPv4 header's own makes up for its TTL,
        // a hop limit has to be right before.
        let taken = u8::from(family == Family::V6 && hop.takes_ttl());
        let hops = L3 + ipv6::HOP_LIMIT;
        let put = |frame: &mut F, by: u8| {
            if let Some(hops) = frame.bytes_mut().get_mut(hops) {
                *hops = hops.wrapping_sub(by);
            }
        };
        put(frame, taken);
        if !self.tunnel.wrap(frame, inner, &outer) {
            put(frame, taken.wrapping_neg());
            return false;
        }
        *packets_made = made;
        let bytes = frame.bytes_mut();
        let at = L3 + self.tunnel.overhead(self.dst.family());
        if family == Family::V4 && hop.takes_ttl() {
            let place = bytes.get_mut(at + ipv4::TTL..).and_then(<[u8]>::first_chunk_mut);
            place.into_iter().for_each(rewrite::take_ttl);
        }
        match bytes.first_chunk_mut::<{ TAGGED }>() {
            Some(head) if L3 == TAGGED => rewrite::write_link::<L3, TAGGED>(head, hop),
            Some(head) => {
                let Some(head) = head.first_chunk_mut::<HEADER_LEN>() else { return true };
                rewrite::write_link::<L3, HEADER_LEN>(head, hop)
            }
            None => true,
        }
    }
}

/// A connection that a plain packet of this state leaves as it is.
#[inline(always)]
fn established(entry: Option<&mut Packed>, state: State, now: Tick) -> Option<&mut Packed> {
    // An expired entry may live on by its timer's slack: the reference path knows.
    entry.filter(|entry| {
        entry.is_in(state)
            && !entry.expires().has_come(now)
            && entry.forwarding() == Forwarding::Tunnel
    })
}

impl Learned {
    /// Sends plain frames on through tunnels, from the first one, as long as they leave on one
    /// port; connections are counted and live on.
    #[inline(never)]
    pub(super) fn pass_tunnelled<F: Frame, const L3: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let timeouts = &desk.sources.snapshot.timeouts;
        let [tcp, udp] =
            [State::TcpEstablished, State::Udp].map(|state| (state, timeouts.ticks(state)));
        let (mut count, mut leaving) = (0, PortIndex::default());
        let Some(incoming) = desk.loads.incoming() else { return (0, leaving) };
        for (frame, lane) in frames.iter_mut().zip(lanes) {
            let at = reading.done + count;
            let kind = lane.kind();
            let (ways, place, kept) = match kind {
                Kind::Client | Kind::ClientV6 => {
                    let number = match kind {
                        Kind::Client => reading.clients.found(at).next(),
                        _ => reading.clients_v6.found(at).next(),
                    };
                    let Some(number) = number.filter(|number| *number != 0) else { break };
                    let place = lane.first_place().wrapping_add(u32::from(number));
                    (&mut self.client_tunnels, place, None)
                }
                Kind::ConnTcp | Kind::ConnUdp | Kind::ConnTcpV6 | Kind::ConnUdpV6 => {
                    let is_v4 = matches!(kind, Kind::ConnTcp | Kind::ConnUdp);
                    let slot = match is_v4 {
                        true => reading.conns.entry(at, desk.bindings.table_v4()),
                        false => reading.conns_v6.entry(at, desk.bindings.table_v6()),
                    };
                    let Some(slot) = slot else { break };
                    let entry = match is_v4 {
                        true => desk.bindings.table_v4_mut().packed_mut(slot),
                        false => desk.bindings.table_v6_mut().packed_mut(slot),
                    };
                    let is_tcp = matches!(kind, Kind::ConnTcp | Kind::ConnTcpV6);
                    let (state, timeout) = if is_tcp { tcp } else { udp };
                    let Some(entry) = established(entry, state, desk.now) else { break };
                    (&mut self.conn_tunnels, entry.real().0, Some((entry, timeout, slot, is_v4)))
                }
                Kind::ByTheBook | Kind::Bind | Kind::Open => break,
                Kind::ReplyTcp | Kind::ReplyUdp => break,
            };
            let Some(way) = ways.get_or_learn(place, &desk.sources) else { break };
            let hop = Hop::of(&way.hop);
            if !hop.takes(lane.total_len()) || (count > 0 && hop.port() != leaving) {
                break;
            }
            let family = match kind {
                Kind::ClientV6 | Kind::ConnTcpV6 | Kind::ConnUdpV6 => Family::V6,
                _ => Family::V4,
            };
            let ids = (&mut *desk.packets_made, desk.core, desk.key);
            if !way.send::<F, L3>(frame, (family, lane.total_len()), ids) {
                break;
            }
            leaving = hop.port();
            if let Some((entry, timeout, slot, is_v4)) = kept {
                let expires = desk.now.plus(timeout);
                if entry.keep(timeout, expires) {
                    match is_v4 {
                        true => desk.bindings.table_v4_mut().ends_at(slot, expires),
                        false => desk.bindings.table_v6_mut().ends_at(slot, expires),
                    }
                }
            }
            incoming.count(way.real, lane.total_len());
            count += 1;
        }
        (count, leaving)
    }
}
