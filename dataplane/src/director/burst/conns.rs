//! Plain packets of established connections, directly routed or masqueraded, and of masqueraded
//! real servers to their clients.

use super::hops::{self, Alike, Side};
use super::lane::{Kind, Lane};
use super::masquerade::masquerade_v4;
use super::{Desk, Learned, Reading, rewrite};
use crate::conn::State;
use crate::conn::table::Entry;
use crate::forward::Forwarding;
use crate::forward::ftp;
use crate::forward::masq::End;
use crate::ids::{PortIndex, RealId};
use crate::port::Frame;
use crate::reply::{Origin, Place, Whose};

/// What is the same for all frames of a burst.
struct Round {
    /// The rows for real servers, and for clients' gateways.
    sides: [Side; 2],
    /// The timeouts of an established TCP connection and of a UDP one, in ticks.
    timeouts: [u32; 2],
    leaving: PortIndex,
    count: usize,
}

impl Round {
    /// Whether a frame may leave on this port: on that of the frames before it.
    #[inline(always)]
    fn leaves(&mut self, port: PortIndex) -> bool {
        if port != self.leaving {
            if self.count > 0 {
                return false;
            }
            self.leaving = port;
        }
        true
    }
}

impl Learned {
    /// Sends plain frames of established connections on, from the first one, whichever way they
    /// go, as long as they leave on one port; the connections are counted and live on.
    #[inline(never)]
    pub(super) fn pass_conns<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
    ) -> (usize, PortIndex) {
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let vlan = desk.sources.vlan.unwrap_or(0);
        let timeouts = &desk.sources.snapshot.timeouts;
        let mut round = Round {
            sides: [self.conn_hops.side(vlan), self.exit_hops.side(vlan)],
            timeouts: [State::TcpEstablished, State::Udp].map(|state| timeouts.ticks(state)),
            leaving: PortIndex::default(),
            count: 0,
        };
        let [side, _] = round.sides;
        let first = lanes.first().map_or(Kind::ByTheBook, |lane| lane.kind());
        let routed = match first {
            Kind::ConnTcp => self.pass_routed::<F, L3, HEAD, false>(reading, desk, frames, side),
            Kind::ConnUdp => self.pass_routed::<F, L3, HEAD, true>(reading, desk, frames, side),
            _ => None,
        };
        let frames = match routed {
            Some((0, _)) => frames.get_mut(..1).unwrap_or_default(),
            Some(passed) => return passed,
            None => frames,
        };
        let one_way = reading.conns.is_empty() || reading.replies.is_empty();
        match first {
            Kind::ConnTcp if one_way => {
                self.pass_run::<F, L3, HEAD, false, false>(reading, desk, &mut round, frames);
            }
            Kind::ReplyTcp if one_way => {
                self.pass_run::<F, L3, HEAD, false, true>(reading, desk, &mut round, frames);
            }
            _ => self.pass_either::<F, L3, HEAD>(reading, desk, &mut round, frames),
        }
        (round.count, round.leaving)
    }

    /// Sends frames on as long as they go one way.
    #[inline(never)]
    fn pass_run<
        F: Frame,
        const L3: usize,
        const HEAD: usize,
        const UDP: bool,
        const REPLY: bool,
    >(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        round: &mut Round,
        frames: &mut [F],
    ) {
        let kind = match (REPLY, UDP) {
            (false, false) => Kind::ConnTcp,
            (false, true) => Kind::ConnUdp,
            (true, false) => Kind::ReplyTcp,
            (true, true) => Kind::ReplyUdp,
        };
        let Some(mut loads) = desk.loads.shelf() else { return };
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        for (frame, lane) in frames.iter_mut().zip(lanes) {
            if !lane.is(kind) {
                break;
            }
            let (bytes, at) = (frame.bytes_mut(), reading.done + round.count);
            let real = match REPLY {
                true => self.pass_reply::<L3, HEAD, UDP>(reading, desk, round, *lane, at, bytes),
                false => self.pass_conn::<L3, HEAD, UDP>(reading, desk, round, *lane, at, bytes),
            };
            let Some(real) = real else { break };
            if let Some(load) = loads.of(real) {
                let bytes = u64::from(lane.total_len());
                if REPLY { load.outgoing(1, bytes) } else { load.incoming(1, bytes) }
            }
            round.count += 1;
        }
    }

    /// Sends frames on, whichever way they go.
    #[inline(never)]
    fn pass_either<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        round: &mut Round,
        frames: &mut [F],
    ) {
        let Some(mut loads) = desk.loads.shelf() else { return };
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        for (frame, lane) in frames.iter_mut().zip(lanes) {
            let bytes = frame.bytes_mut();
            let lane = *lane;
            let at = reading.done + round.count;
            let (real, is_reply) = match lane.kind() {
                Kind::ConnTcp => (
                    self.pass_conn::<L3, HEAD, false>(reading, desk, round, lane, at, bytes),
                    false,
                ),
                Kind::ReplyTcp => (
                    self.pass_reply::<L3, HEAD, false>(reading, desk, round, lane, at, bytes),
                    true,
                ),
                Kind::ConnUdp => {
                    (self.pass_conn::<L3, HEAD, true>(reading, desk, round, lane, at, bytes), false)
                }
                Kind::ReplyUdp => {
                    (self.pass_reply::<L3, HEAD, true>(reading, desk, round, lane, at, bytes), true)
                }
                Kind::ByTheBook | Kind::Bind | Kind::Open | Kind::Client => break,
                Kind::ClientV6 | Kind::ConnTcpV6 | Kind::ConnUdpV6 => break,
            };
            let Some(real) = real else { break };
            if let Some(load) = loads.of(real) {
                let bytes = u64::from(lane.total_len());
                if is_reply { load.outgoing(1, bytes) } else { load.incoming(1, bytes) }
            }
            round.count += 1;
        }
    }

    /// Sends plain frames of established connections on that are directly routed, from the
    /// first one, as long as they leave in one manner. `None` if the first is not routed.
    #[inline(always)]
    fn pass_routed<F: Frame, const L3: usize, const HEAD: usize, const UDP: bool>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
        side: Side,
    ) -> Option<(usize, PortIndex)> {
        let nobody = Some(Default::default());
        let table = desk.bindings.table_v4();
        let (key, (first, slot)) = reading.conns.standings(reading.done).next()?;
        let sees = reading.conns.sees();
        let renewal = reading.conns.renewal(UDP);
        let first = if sees { first } else { table.standing(slot, key, renewal) };
        if first.is_odd() {
            let entry = table.entry(slot);
            let routed = entry.is_none_or(|entry| entry.forwarding() == Forwarding::Route);
            return nobody.filter(|_| routed);
        }
        let real = first.real();
        let Some(hop) = self.conn_hops.get_or_learn(side, real.0, &desk.sources) else {
            return nobody;
        };
        let manner = hop.manner();
        let alike = side.alike(manner);
        let count = match (hops::takes_ttl(manner), sees) {
            (true, true) => {
                self.pass_alike_conns::<F, L3, HEAD, UDP, true, true>(reading, desk, frames, alike)
            }
            (true, false) => {
                self.pass_alike_conns::<F, L3, HEAD, UDP, true, false>(reading, desk, frames, alike)
            }
            (false, true) => {
                self.pass_alike_conns::<F, L3, HEAD, UDP, false, true>(reading, desk, frames, alike)
            }
            (false, false) => self
                .pass_alike_conns::<F, L3, HEAD, UDP, false, false>(reading, desk, frames, alike),
        };
        Some((count, hops::port_of(manner)))
    }

    /// `SEEN`: what the entries are was seen when their homes were read.
    #[inline(never)]
    fn pass_alike_conns<
        F: Frame,
        const L3: usize,
        const HEAD: usize,
        const UDP: bool,
        const TTL: bool,
        const SEEN: bool,
    >(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        frames: &mut [F],
        alike: Alike,
    ) -> usize {
        let (kind, state) = match UDP {
            true => (Kind::ConnUdp, State::Udp),
            false => (Kind::ConnTcp, State::TcpEstablished),
        };
        let timeout = desk.sources.snapshot.timeouts.ticks(state);
        let expires = desk.now.plus(timeout);
        let Some(incoming) = desk.loads.incoming() else { return 0 };
        let lanes = reading.lanes.get(reading.done..).unwrap_or_default();
        let flows = lanes.iter().zip(reading.conns.standings(reading.done));
        let table = desk.bindings.table_v4_mut();
        let mut count = 0;
        let renewal = reading.conns.renewal(UDP);
        for (frame, (lane, (key, (seen, slot)))) in frames.iter_mut().zip(flows) {
            let standing = if SEEN { seen } else { table.standing(slot, key, renewal) };
            if !lane.is(kind) || standing.is_odd() {
                break;
            }
            let real = standing.real();
            let Some(hop) = self.conn_hops.get_alike(alike, real.0) else { break };
            if !hop.takes(lane.total_len())
                || !rewrite::route::<L3, HEAD, TTL>(frame.bytes_mut(), hop)
            {
                break;
            }
            incoming.count(real, lane.total_len());
            if standing.changes() {
                table.keep(slot, timeout, expires);
            }
            count += 1;
        }
        count
    }

    /// Sends one frame to its real server, which it answers.
    #[inline(always)]
    fn pass_conn<const L3: usize, const HEAD: usize, const UDP: bool>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        round: &mut Round,
        lane: Lane,
        at: usize,
        bytes: &mut [u8],
    ) -> Option<RealId> {
        let ([side, _], [tcp, udp]) = (round.sides, round.timeouts);
        let (state, timeout) = if UDP { (State::Udp, udp) } else { (State::TcpEstablished, tcp) };
        let table = desk.bindings.table_v4_mut();
        let slot = reading.conns.entry(at, table)?;
        let entry = table.packed_mut(slot)?;
        // An expired entry may live on by its timer's slack: the reference path knows.
        if !entry.lives_in(state, desk.now) {
            return None;
        }
        let real = entry.real();
        let hop = self.conn_hops.get_or_learn(side, real.0, &desk.sources)?;
        if !hop.takes(lane.total_len()) || !round.leaves(hop.port()) {
            return None;
        }
        let sent = match entry.forwarding() {
            Forwarding::Route => rewrite::route_v4::<L3, HEAD>(bytes, hop),
            Forwarding::Masq => {
                let to = (hop.rip()?, entry.real_port());
                masquerade_v4::<L3, HEAD, UDP>(bytes, hop, End::Destination, to)
            }
            Forwarding::Tunnel | Forwarding::Local => return None,
        };
        if !sent {
            return None;
        }
        let expires = desk.now.plus(timeout);
        if entry.keep(timeout, expires) {
            table.ends_at(slot, expires);
        }
        Some(real)
    }

    /// Sends one frame of a real server, which it answers, to its client.
    #[inline(always)]
    fn pass_reply<const L3: usize, const HEAD: usize, const UDP: bool>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        round: &mut Round,
        lane: Lane,
        at: usize,
        bytes: &mut [u8],
    ) -> Option<RealId> {
        // Where a frame before this one has made or ended a connection, another one may be
        // answered by now.
        let slot = match reading.replies.own(at) {
            Some(slot) if desk.reply_changes == reading.reply_changes => slot,
            _ => match whose(reading, desk, at) {
                Whose::Own(slot) => slot,
                Whose::Foreign(place, origin) => {
                    let passing = (lane, at, place, origin);
                    return self
                        .pass_foreign::<L3, HEAD, UDP>(reading, desk, round, passing, bytes);
                }
                Whose::Nobody => return None,
            },
        };
        let ([to_real, side], [tcp, udp]) = (round.sides, round.timeouts);
        let (state, timeout) = if UDP { (State::Udp, udp) } else { (State::TcpEstablished, tcp) };
        let (key, answered) = reading.replies.keys(at)?;
        let table = desk.bindings.table_v4_mut();
        let entry = table.answered_mut(slot, answered)?;
        let (from, conn) = (entry.target(), entry.packed_mut());
        // An expired entry may live on by its timer's slack, a reply over UDP assures the
        // template, and FTP's are listened to: the reference path knows.
        let assures = UDP && conn.template().is_some();
        let (_, vip_port) = from;
        if !conn.lives_in(state, desk.now) || assures || vip_port == ftp::CONTROL_PORT {
            return None;
        }
        let real = conn.real();
        let there = self.conn_hops.get_or_learn(to_real, real.0, &desk.sources)?;
        if there.rip() != Some(key.real()) {
            return None;
        }
        let exit = self.exits.place(key.client(), desk.sources.snapshot)?;
        let hop = self.exit_hops.get_or_learn(side, exit, &desk.sources)?;
        if !hop.takes(lane.total_len()) || !round.leaves(hop.port()) {
            return None;
        }
        if !masquerade_v4::<L3, HEAD, UDP>(bytes, hop, End::Source, from) {
            return None;
        }
        let expires = desk.now.plus(timeout);
        if conn.keep_by_reply(timeout, expires) {
            table.ends_at(slot, expires);
        }
        Some(real)
    }

    /// Sends one frame of a real server, which it answers, to the client of another core's
    /// connection.
    #[inline(never)]
    fn pass_foreign<const L3: usize, const HEAD: usize, const UDP: bool>(
        &mut self,
        reading: &Reading,
        desk: &mut Desk<'_>,
        round: &mut Round,
        (lane, at, place, origin): (Lane, usize, Place, Origin),
        bytes: &mut [u8],
    ) -> Option<RealId> {
        let [_, side] = round.sides;
        let (key, _) = reading.replies.keys(at)?;
        let exit = self.exits.place(key.client(), desk.sources.snapshot)?;
        let hop = self.exit_hops.get_or_learn(side, exit, &desk.sources)?;
        if !hop.takes(lane.total_len()) || !round.leaves(hop.port()) {
            return None;
        }
        let from = (origin.vip.v4_number(), origin.vip_port);
        let sent = desk.notes::<L3>(key, place, &origin, bytes)
            && masquerade_v4::<L3, HEAD, UDP>(bytes, hop, End::Source, from);
        sent.then_some(origin.real)
    }
}

/// Whose connection a reply answers that is not known to be this core's.
#[inline(never)]
fn whose(reading: &Reading, desk: &Desk<'_>, at: usize) -> Whose {
    match desk.reply_changes == reading.reply_changes {
        true => reading.replies.whose(at),
        false => {
            let (conns, core) = (desk.bindings.table_v4(), desk.core);
            reading.replies.ask_again(at, desk.replies, conns, core)
        }
    }
}
