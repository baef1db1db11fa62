//! What becomes of a packet: by its connection, as a real server's, or by a choice for a new
//! connection.

use std::sync::Arc;

use super::choosing::NoChoice;
use super::ipsec;
use super::{Bindings, FTP_DATA_PORT, NoCall, Opening, Outcome, ftp, sip};
use crate::call::Call;
use crate::classify::Hit;
use crate::compat::Compat;
use crate::conn::table::{Flow, Slot};
use crate::conn::{Conn, ConnFlags, Signal, State, Timeouts, sctp};
use crate::forward::Forwarding;
use crate::snapshot::{Engine, OnDown, Real, Service, Snapshot, Tracking};
use crate::tick::Tick;
use crate::verdict::DropReason;
use crate::wire::{Packet, Protocol, TcpFlags, udp};

/// What a packet's connection says.
enum Known {
    /// What is to be done.
    Decided(Outcome),
    /// There is one, and it gives way to a new one.
    Reused(Slot),
    /// There is none, or none any more.
    Unknown,
}

impl Bindings {
    /// Decides about a packet, and remembers the decision. `transport` are the packet's bytes
    /// from the transport header on, for engines that look into it.
    pub fn bind(
        &mut self,
        packet: &Packet,
        transport: &[u8],
        snapshot: &Snapshot,
        now: Tick,
    ) -> Outcome {
        self.elsewhere = None;
        if ipsec::follows(packet.protocol) && !snapshot.passes_by(packet.family) {
            return self.follow_key_exchange(packet, snapshot, now);
        }
        if !packet.protocol.has_ports() {
            return Outcome::NotOurs;
        }
        if packet.is_later_fragment() {
            return Outcome::Drop(DropReason::FragmentEarly);
        }
        let hit = snapshot.classifier.for_client(
            packet.src,
            packet.dst,
            packet.protocol,
            packet.dst_port,
        );
        let service = hit.and_then(|hit| snapshot.service(hit.service)).map(Arc::as_ref);
        if let Some(service) = service
            && service.tracking == Tracking::Client
        {
            return self.bind_client(packet, service, snapshot, now);
        }
        if hit.is_none() && snapshot.passes_by(packet.family) {
            return Outcome::NotOurs;
        }
        // What is for no service can still be from a real server, and that comes first: IPVS
        // looks for replies among what it forwards before anything else.
        if hit.is_none()
            && let Some(reply) = self.masqueraded_reply(packet, transport, snapshot, now)
        {
            return reply;
        }
        let shadowed = match self.follow_known(packet, transport, service, snapshot, now) {
            Known::Decided(outcome) => return outcome,
            Known::Reused(slot) => Some(slot),
            Known::Unknown => {
                if let Some(outcome) =
                    self.sent_by_server(packet, transport, hit.is_some(), snapshot, now)
                {
                    return outcome;
                }
                None
            }
        };
        self.schedule(packet, transport, hit.zip(service), shadowed, snapshot, now)
    }

    /// What is decided by the packet's connection, if it has one.
    fn follow_known(
        &mut self,
        packet: &Packet,
        transport: &[u8],
        service: Option<&Service>,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Known {
        let (family, flow) = (packet.family, Flow::of(packet));
        // In IPVS, connections from port 0 look like templates to a packet and are never found.
        let known = if packet.src_port == 0 { None } else { self.slot(&flow) };
        let met = if known.is_none() { self.meet(&flow, snapshot, now) } else { None };
        let slot = match (known, met) {
            (Some(slot), _) | (None, Some(Ok(slot))) => slot,
            (None, Some(Err(outcome))) => return Known::Decided(outcome),
            (None, None) => return Known::Unknown,
        };
        let Some(conn) = self.conn(family, slot) else { return Known::Unknown };
        let compat = service.map_or(&snapshot.compat, |service| &service.compat);
        // Not swept yet. It must go: a flow has one entry.
        if self.is_over(&conn, now) && self.end(family, slot, snapshot, now) {
            return Known::Unknown;
        }
        if opens(packet) && is_reused(&conn, snapshot, compat) {
            if self.controls_others(&flow, &conn) {
                self.hide(family, slot, snapshot, now);
                return Known::Unknown;
            }
            // The old entry still counts while the new real server is chosen.
            return Known::Reused(slot);
        }
        if let Some(real) = snapshot.available(conn.real) {
            match on_down(real, snapshot, now) {
                None | Some(OnDown::Keep) => {
                    let heard = conn.forwarding == Forwarding::Masq
                        && ftp::is_control(flow.protocol, flow.vip_port)
                        && compat.ip_vs_ftp;
                    if heard && !compat.as_kernel {
                        self.hear_client(packet, &flow, &conn, transport, snapshot, now);
                    }
                    let outcome = self.established(packet, slot, snapshot, now);
                    if heard && compat.as_kernel {
                        self.hear_client_as_kernel((&flow, slot), transport, snapshot, now);
                    }
                    return Known::Decided(outcome);
                }
                Some(OnDown::Drop) => {
                    return Known::Decided(Outcome::Drop(DropReason::RealServerDown));
                }
                // As if there were no connection: UDP moves, TCP is reset.
                Some(OnDown::Rebind) => {}
            }
        } else if !snapshot.serves(family) {
            return Known::Decided(Outcome::NotOurs);
        } else if !compat.expire_nodest_conn {
            return Known::Decided(Outcome::Drop(DropReason::RealServerGone));
        } else if compat.as_kernel
            && conn.forwarding != Forwarding::Masq
            && packet.protocol == Protocol::Tcp
            && !may_open(packet, compat)
            && !packet.tcp_flags.contains(TcpFlags::RST)
        {
            // The host resets it while its entry is still there, and IPVS takes that for the real
            // server's word: it is closed, and ends with that state's timeout.
            self.reset_by_host(packet, snapshot, now);
            return Known::Decided(Outcome::NotOurs);
        }
        self.remove(family, slot, snapshot, now);
        Known::Unknown
    }

    /// What comes from a real server: a reply, or a flow that it begins. `is_served` says whether
    /// a service would take the packet.
    fn sent_by_server(
        &mut self,
        packet: &Packet,
        transport: &[u8],
        is_served: bool,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Outcome> {
        if is_served && let Some(reply) = self.masqueraded_reply(packet, transport, snapshot, now) {
            return Some(reply);
        }
        self.reply(packet, is_served, snapshot, now)
            .or_else(|| self.begun_by_server(packet, transport, snapshot, now))
    }

    /// A packet that may begin a connection; `shadowed` is one that gives way to it.
    fn schedule(
        &mut self,
        packet: &Packet,
        transport: &[u8],
        taken_by: Option<(Hit, &Service)>,
        shadowed: Option<Slot>,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Outcome {
        let opener = taken_by.filter(|(_, service)| may_open(packet, &service.compat));
        if let Some((hit, service)) = opener
            && hit.ftp_data
            && packet.protocol == Protocol::Tcp
            && service.compat.ip_vs_ftp
            && let Some(choice) = self.agreed(packet, snapshot, now)
        {
            let opening = Opening::of(packet);
            return self.open(&opening, hit.own_port, service, choice, snapshot, now);
        }
        // In IPVS this comes before a look at the ports.
        if let Some((_, service)) = opener
            && self.drops_packet(&service.compat, packet.family, now)
        {
            return Outcome::Drop(DropReason::DropRate);
        }
        let taker = opener.filter(|_| packet.src_port != FTP_DATA_PORT);
        if let Some((_, service)) = taker {
            match self.call_of(packet, transport, service) {
                Ok(call) => self.call = call,
                Err(NoCall) => return Outcome::Drop(DropReason::NoCallId),
            }
        }
        let choice = taker.map(|(hit, service)| self.choose(packet, &hit, service, snapshot, now));
        self.call = None;
        if let Some(slot) = shadowed {
            let chosen =
                choice.as_ref().and_then(|choice| snapshot.real(choice.as_ref().ok()?.real));
            self.give_way(packet.family, slot, chosen, snapshot, now);
        }
        match taker.zip(choice) {
            None => Outcome::NotOurs,
            Some(((hit, service), Ok(choice))) => {
                self.open(&Opening::of(packet), hit.own_port, service, choice, snapshot, now)
            }
            Some(((hit, _), Err(NoChoice::Nobody))) if hit.ftp_data => Outcome::NotOurs,
            Some((_, Err(NoChoice::Nobody))) => Outcome::Refuse,
            Some((_, Err(why @ (NoChoice::Down | NoChoice::Full)))) => Outcome::Drop(why.reason()),
        }
    }

    /// The call that a packet is of, if its service binds calls.
    pub(crate) fn call_of(
        &self,
        packet: &Packet,
        transport: &[u8],
        service: &Service,
    ) -> Result<Option<Call>, NoCall> {
        let (Some(Engine::Sip), Some(persistence)) = (service.engine, &service.persistence) else {
            return Ok(None);
        };
        let message = transport.get(udp::HEADER_LEN..).unwrap_or_default();
        let call_id = sip::call_id(message).filter(|_| packet.protocol == Protocol::Udp);
        let call_id = call_id.ok_or(NoCall)?;
        let client = persistence.masked(packet.src);
        let key = sip::key(client, call_id, self.shared.key.0);
        Ok(Some(Call::new(key, client, call_id)))
    }

    /// A packet of a known connection: count, state, timer.
    pub(super) fn established(
        &mut self,
        packet: &Packet,
        slot: Slot,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Outcome {
        let Some(conn) = self.conn(packet.family, slot) else {
            return Outcome::NotOurs;
        };
        let compat = snapshot.compat_of_real(conn.real);
        let secure = self.is_up(compat.secure_tcp, compat, packet.family);
        let next = Signal::of(packet).next(conn.state, conn.direction_in(), secure);
        let mut moved = self.moved(conn, next, &snapshot.timeouts, now);
        moved.count_packet();
        self.set_conn(packet.family, slot, &moved);
        self.count_incoming(conn.real, packet);
        if conn.flags.contains(ConnFlags::ELSEWHERE) {
            self.elsewhere = self.server_elsewhere(&Flow::of(packet), &conn);
        }
        let Conn { real, forwarding, real_port, .. } = conn;
        Outcome::Forward { real, forwarding, real_port }
    }

    /// The connection after a packet that leads to this state: counters follow, the timer
    /// starts anew.
    pub(super) fn moved(
        &mut self,
        conn: Conn,
        next: State,
        timeouts: &Timeouts,
        now: Tick,
    ) -> Conn {
        let moved = conn.in_state(next, timeouts, now);
        if moved.flags != conn.flags {
            let shift = if next.is_active() { 1 } else { -1 };
            self.shared.loads.shift(self.core, conn.real, shift, -shift);
        }
        self.assure_by(&conn, next);
        moved
    }

    /// Makes sure of a connection's template, if it is established by going to this state.
    pub(super) fn assure_by(&self, conn: &Conn, next: State) {
        if matches!(next, State::TcpEstablished | State::SctpEstablished)
            && conn.state != next
            && let Some(template) = conn.template
        {
            self.shared.templates.assure(template);
        }
    }
}

/// What a real server's service does about it being down; `None` while it is not.
pub(crate) fn on_down(real: &Real, snapshot: &Snapshot, now: Tick) -> Option<OnDown> {
    real.is_down(now).then(|| {
        snapshot.service(real.service).map_or(OnDown::default(), |service| service.policy.on_down)
    })
}

/// Whether the packet begins a connection: TCP with SYN (also SYN+ACK), SCTP with INIT.
pub(crate) fn opens(packet: &Packet) -> bool {
    match packet.protocol {
        Protocol::Tcp => packet.tcp_flags.contains(TcpFlags::SYN),
        Protocol::Sctp => sctp::Event::of(packet.sctp_chunks) == sctp::Event::Init,
        _ => false,
    }
}

/// Whether a packet without a connection may have one scheduled.
pub(crate) fn may_open(packet: &Packet, compat: &Compat) -> bool {
    match packet.protocol {
        Protocol::Tcp if packet.tcp_flags.contains(TcpFlags::RST) => false,
        Protocol::Tcp => compat.sloppy_tcp || packet.tcp_flags.contains(TcpFlags::SYN),
        Protocol::Udp => true,
        Protocol::Sctp => match sctp::Event::of(packet.sctp_chunks) {
            sctp::Event::Abort => false,
            sctp::Event::Init => true,
            _ => compat.sloppy_sctp,
        },
        _ => false,
    }
}

/// Whether an opening packet on a known connection is scheduled anew. Never where a
/// template controls the connection: a bound client stays.
pub(crate) fn is_reused(conn: &Conn, snapshot: &Snapshot, compat: &Compat) -> bool {
    let weight = snapshot.available(conn.real).map_or(0, |real| real.effective_weight());
    if compat.expire_nodest_conn && weight == 0 {
        return true;
    }
    let is_controlled = conn.template.is_some() || conn.flags.contains(ConnFlags::CHILD);
    if compat.conn_reuse_mode == 0 || is_controlled {
        return false;
    }
    match conn.state {
        State::TcpTimeWait | State::TcpClose | State::SctpClosed => true,
        State::TcpFinWait => {
            compat.conn_reuse_mode & 2 != 0 && conn.flags.contains(ConnFlags::NO_OUTPUT)
        }
        _ => false,
    }
}
