//! Plain packets that open, close or move something: bound as the reference path binds them,
//! and sent on in the short way, where that is all there is to do.

use super::hops::Sources;
use super::lane::Opens;
use super::masquerade::masquerade_v4;
use super::read::{TAGGED, TAGGED_HEAD, UNTAGGED, UNTAGGED_HEAD, is_reset_v4};
use super::rewrite;
use super::{Learned, Path, Reading};
use crate::bindings::{Binder, Bindings, Opening, Outcome};
use crate::conn::Signal;
use crate::conn::table::Flow;
use crate::forward::masq::End;
use crate::forward::{Forwarding, ftp};
use crate::port::Frame;
use crate::snapshot::Snapshot;
use crate::table::ClientBurst;
use crate::tick::Tick;
use crate::verdict::{DropReason, Verdict};
use crate::wire::field::{u16_at, u32_at};
use crate::wire::{Addr, Family, NO_CHUNK, Parsed, Protocol, TcpFlags, ipv4, parse, tcp};

/// What the way of a plain packet depends on besides its real server.
#[derive(Clone, Copy)]
struct Plain {
    family: Family,
    vlan: Option<u16>,
    total_len: u16,
    udp: bool,
}

/// The first packet of a TCP connection, of a frame that was read.
#[inline(always)]
fn opening_v4<const L3: usize, const HEAD: usize>(
    head: &[u8; HEAD],
    total_len: u16,
) -> Option<Opening> {
    let l4 = L3 + ipv4::HEADER_LEN;
    let flow = Flow {
        client: Addr::v4(u32_at(head, L3 + ipv4::SRC)?),
        vip: Addr::v4(u32_at(head, L3 + ipv4::DST)?),
        client_port: u16_at(head, l4)?,
        vip_port: u16_at(head, l4 + 2)?,
        protocol: Protocol::Tcp,
    };
    let tcp_flags = TcpFlags::from_bits_retain(*head.get(l4 + tcp::FLAGS)?);
    let signal = Signal { protocol: Protocol::Tcp, tcp_flags, sctp_chunks: [NO_CHUNK; 2] };
    Some(Opening { flow, signal, total_len })
}

/// What binds a burst's clients that are bound nowhere.
#[expect(clippy::large_enum_variant, reason = "there is one, on the stack; a box is an allocation")]
pub(super) enum Binding<'a> {
    /// Nobody was to be bound so far.
    Idle(&'a mut Bindings),
    /// Somebody was.
    Busy(Binder<'a>),
    /// The reference path.
    Elsewhere,
}

impl<'a> Binding<'a> {
    /// The number of the real server of a plain packet's client that was not found, after binding
    /// it; 0 where the reference path is to do that, or another one of these.
    #[inline(always)]
    pub(super) fn bind<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &'a Reading,
        at: usize,
        frame: &F,
        (snapshot, now): (&'a Snapshot, Tick),
    ) -> u16 {
        let Some(head) = frame.bytes().first_chunk::<HEAD>() else { return 0 };
        // Without connections nobody can tell a stray segment from a client that was bound before
        // a restart: all but resets are taken.
        let is_nobodys = |at| u32_at(head, at).map(Addr::v4).is_none_or(Addr::is_inside_a_host);
        if is_reset_v4::<L3, HEAD>(head) || is_nobodys(L3 + ipv4::SRC) || is_nobodys(L3 + ipv4::DST)
        {
            return 0;
        }
        let read = || match parse(frame.bytes()) {
            Parsed::Packet(packet) => Some(packet),
            _ => None,
        };
        if !matches!(self, Self::Busy(_)) {
            self.begin(&reading.clients, at, snapshot, now);
        }
        match self {
            Self::Busy(binder) => binder.bind(&reading.clients, at, read).unwrap_or(0),
            Self::Idle(_) | Self::Elsewhere => 0,
        }
    }

    #[inline(never)]
    fn begin(&mut self, clients: &ClientBurst, at: usize, snapshot: &'a Snapshot, now: Tick) {
        if let Self::Idle(bindings) = std::mem::replace(self, Self::Elsewhere)
            && let Some(scope) = clients.scope_at(at)
            && let Some(binder) = bindings.binder(scope, snapshot, now)
        {
            *self = Self::Busy(binder);
        }
    }
}

impl Path {
    /// Decides about a frame that was read: [`Path::handle`] without what that has shown.
    pub(super) fn bind_and_pass<F: Frame>(
        &mut self,
        reading: &Reading,
        learned: &mut Learned,
        snapshot: &Snapshot,
        frame: &mut F,
    ) -> Verdict {
        let at = reading.at;
        let Parsed::Packet(packet) = parse(frame.bytes()) else {
            return self.handle(snapshot, frame, at);
        };
        if Self::refuses(snapshot, &packet) {
            return Verdict::Drop(DropReason::BadAddress);
        }
        if let Some(refused) = self.refused_on_its_way(snapshot, frame, &packet, at) {
            return refused;
        }
        let transport = packet.transport(frame.bytes());
        let outcome = self.bindings.bind(&packet, transport, snapshot, at.now);
        let plain = Plain {
            family: packet.family,
            vlan: packet.vlan.id(),
            total_len: packet.total_len,
            udp: packet.protocol == Protocol::Udp,
        };
        // Who writes FTP's lines anew knows more than where a packet goes.
        let is_plain = !self.bindings.leads_elsewhere()
            && (packet.dst_port != ftp::CONTROL_PORT || self.shared.agreements.is_empty());
        let passed = match usize::from(packet.l3_offset) {
            _ if !is_plain => None,
            UNTAGGED => self
                .pass_bound::<F, UNTAGGED, UNTAGGED_HEAD>(learned, snapshot, frame, plain, outcome),
            TAGGED => {
                self.pass_bound::<F, TAGGED, TAGGED_HEAD>(learned, snapshot, frame, plain, outcome)
            }
            _ => None,
        };
        match passed {
            Some(verdict) => verdict,
            None => self.carry_out(outcome, snapshot, frame, &packet, at),
        }
    }

    /// Opens a plain connection and sends its first packet on.
    pub(super) fn open_and_pass<F: Frame>(
        &mut self,
        reading: &Reading,
        learned: &mut Learned,
        snapshot: &Snapshot,
        frame: &mut F,
    ) -> Verdict {
        let vlan = snapshot.port(reading.at.port).and_then(|port| port.vlan.id());
        let opened = match vlan {
            None => self
                .open_plain::<F, UNTAGGED, UNTAGGED_HEAD>(reading, learned, snapshot, frame, vlan),
            Some(_) => {
                self.open_plain::<F, TAGGED, TAGGED_HEAD>(reading, learned, snapshot, frame, vlan)
            }
        };
        match opened {
            Some(verdict) => verdict,
            None => self.bind_and_pass(reading, learned, snapshot, frame),
        }
    }

    /// `None`, and nothing is done, where the reference path is to do it.
    fn open_plain<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        learned: &mut Learned,
        snapshot: &Snapshot,
        frame: &mut F,
        vlan: Option<u16>,
    ) -> Option<Verdict> {
        // Where everybody is masqueraded, some sources are refused.
        if snapshot.masqueraded.everybody {
            return None;
        }
        let at = reading.done;
        let lane = reading.lanes.get(at)?;
        if reading.conns.entry(at, self.bindings.table_v4()).is_some() {
            return None;
        }
        let head = frame.bytes().first_chunk::<HEAD>()?;
        let opening = opening_v4::<L3, HEAD>(head, lane.total_len())?;
        if opening.flow.client.is_inside_a_host() || opening.flow.vip.is_inside_a_host() {
            return None;
        }
        let read = || match parse(frame.bytes()) {
            Parsed::Packet(packet) => Some(packet),
            _ => None,
        };
        let Opens { service, own_port } = Opens::unpack(lane.first_place())?;
        let taker = snapshot.service(service)?;
        let client = (&reading.templates, at);
        let now = reading.at.now;
        let outcome =
            self.bindings.open_at(client, &opening, (taker, own_port), read, snapshot, now)?;
        let plain = Plain { family: Family::V4, vlan, total_len: lane.total_len(), udp: false };
        let passed = self.pass_bound::<F, L3, HEAD>(learned, snapshot, frame, plain, outcome);
        if passed.is_some() {
            return passed;
        }
        let Parsed::Packet(packet) = parse(frame.bytes()) else { return None };
        Some(self.carry_out(outcome, snapshot, frame, &packet, reading.at))
    }

    /// Sends a plain packet on that goes to a real server; `None`, and the frame is as it was,
    /// where more is to be done.
    fn pass_bound<F: Frame, const L3: usize, const HEAD: usize>(
        &self,
        learned: &mut Learned,
        snapshot: &Snapshot,
        frame: &mut F,
        plain: Plain,
        outcome: Outcome,
    ) -> Option<Verdict> {
        let Outcome::Forward { real, forwarding, real_port } = outcome else { return None };
        let Plain { family, vlan, total_len, udp } = plain;
        let (neighbours, macs) = (&self.shared.neighbours, &*self.surroundings.macs);
        let path_mtus = &self.shared.path_mtus;
        let sources = Sources { snapshot, neighbours, path_mtus, macs, vlan };
        let side = learned.conn_hops.side(vlan.unwrap_or(0));
        let hop = learned.conn_hops.get_or_learn(side, real.0, &sources)?;
        if !hop.takes(total_len) {
            return None;
        }
        let bytes = frame.bytes_mut();
        let passed = match (forwarding, family) {
            (Forwarding::Route, Family::V4) => rewrite::route_v4::<L3, HEAD>(bytes, hop),
            (Forwarding::Route, Family::V6) => rewrite::route_v6::<L3, HEAD>(bytes, hop),
            (Forwarding::Masq, Family::V4) => {
                let (to, end) = ((hop.rip()?, real_port), End::Destination);
                match udp {
                    true => masquerade_v4::<L3, HEAD, true>(bytes, hop, end, to),
                    false => masquerade_v4::<L3, HEAD, false>(bytes, hop, end, to),
                }
            }
            (Forwarding::Masq, Family::V6) | (Forwarding::Tunnel | Forwarding::Local, _) => false,
        };
        passed.then(|| Verdict::Forward(hop.port()))
    }
}
