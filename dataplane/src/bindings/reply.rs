//! The way back: packets from real servers to clients.

use super::{Bindings, Outcome, follows_flow, ftp, ipsec};
use crate::conn::table::{EntryV4, Flow, Slot};
use crate::conn::{Conn, ConnFlags, Direction, Signal};
use crate::forward::Forwarding;
use crate::forward::masq::Endpoint;
use crate::mailbox::{Note, Seen};
use crate::reply::{Origin, ReplyKey};
use crate::snapshot::Snapshot;
use crate::tick::Tick;
use crate::wire::{Addr, Family, Packet, Protocol, TcpFlags};

/// Notes of other cores that are taken up in one turn.
const NOTES_PER_TURN: usize = 512;

impl Bindings {
    /// The connection that a packet answers, if any: counted, and moved by it. Of those that
    /// are not masqueraded. `served` says whether some service takes the packet.
    pub(super) fn reply(
        &mut self,
        packet: &Packet,
        served: bool,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Outcome> {
        // A reply of direct routing or a tunnel goes past the director, except where the
        // director is the real server's gateway: it then passes as it is.
        // The connection may have outlived its service; no service's client need be asked about.
        if served {
            snapshot.classifier.lookup(packet.src, packet.protocol, packet.src_port)?;
        }
        let flow = Flow::answered_by(packet);
        let slot = self.find(&flow, now)?;
        let conn = self.conn(packet.family, slot)?;
        if conn.forwarding == Forwarding::Masq {
            return None;
        }
        self.replied(&flow, slot, Signal::of(packet), snapshot, now);
        if snapshot.available(conn.real).is_some() {
            self.count_outgoing(conn.real, packet);
        }
        Some(Outcome::Reply { real: conn.real, from: None })
    }

    /// The masqueraded connection that a packet answers, if any: counted, and moved by it.
    pub(super) fn masqueraded_reply(
        &mut self,
        packet: &Packet,
        transport: &[u8],
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Outcome> {
        let (place, origin) = match self.own_answered(packet, snapshot) {
            Some(origin) => (None, origin),
            None => {
                let (place, origin) = self.shared.replies.find(&ReplyKey::of(packet))?;
                (Some(place), origin)
            }
        };
        let signal = Signal::of(packet);
        let flow = flow(packet.dst, packet.dst_port, origin.vip, origin.vip_port, packet.protocol);
        if usize::from(origin.core) == self.core {
            if !self.is_hidden_reply(&flow, origin.real, signal, snapshot, now) {
                let conn = self.owned(&flow, origin.slot)?;
                // Not swept yet. It must go: it may cover another one.
                if self.is_over(&conn, now) && self.end(packet.family, origin.slot, snapshot, now) {
                    return self.masqueraded_reply(packet, transport, snapshot, now);
                }
                self.replied(&flow, origin.slot, signal, snapshot, now);
            }
        } else if signal.is_news()
            || place.is_some_and(|place| self.shared.replies.note_is_due(place, now))
        {
            self.note(&origin, Seen { slot: origin.slot, flow, real: origin.real, signal });
        }
        // Removed ones' replies pass, and count nowhere.
        if snapshot.available(origin.real).is_some() {
            self.count_outgoing(origin.real, packet);
        }
        if ftp::is_control(packet.protocol, origin.vip_port)
            && let compat = snapshot.compat_of_real(origin.real)
            && compat.ip_vs_ftp
            && !compat.as_kernel
        {
            self.hear_server(packet, &origin, transport, now);
        }
        Some(Outcome::Reply { real: origin.real, from: Some(endpoint(&origin)) })
    }

    /// The connection of this core that an IPv4 packet answers, if it is at home in its table.
    fn own_answered(&self, packet: &Packet, snapshot: &Snapshot) -> Option<Origin> {
        if packet.family != Family::V4 {
            return None;
        }
        let (client, port) = (packet.dst.v4_number(), packet.dst_port);
        let key = EntryV4::answered_key(client, port, packet.src_port, packet.protocol);
        self.v4.answered(&key).find_map(|(slot, flow, conn)| {
            let real = snapshot.available(conn.real)?;
            (real.address == packet.src).then_some(Origin {
                core: self.core as u16,
                slot,
                real: conn.real,
                vip: flow.vip,
                vip_port: flow.vip_port,
            })
        })
    }

    /// The host itself has answered a packet with `len` bytes: an error about one that cannot go
    /// on, or what a host says for which no one listens. IPVS sees its host's packets, and takes
    /// those to a client that is not masqueraded for replies of the real server.
    /// `is_server` says whether it has answered as the real server that it is itself.
    pub fn answered_by_host(&self, packet: &Packet, len: u16, is_server: bool, now: Tick) {
        let packet = &ipsec::exchange_of(packet);
        if !packet.protocol.has_ports() {
            return;
        }
        let Some(slot) = self.find(&Flow::of(packet), now) else { return };
        let Some(conn) = self.conn(packet.family, slot) else { return };
        if (is_server || conn.forwarding != Forwarding::Masq)
            && let Some(load) = self.shared.loads.of_core(self.core, conn.real)
        {
            load.outgoing(1, u64::from(len));
        }
    }

    /// The host itself has answered a packet of a local real server with a reset.
    pub fn reset_by_host(&mut self, packet: &Packet, snapshot: &Snapshot, now: Tick) {
        let flow = Flow::of(packet);
        let Some(slot) = self.find(&flow, now) else { return };
        let signal = Signal { tcp_flags: TcpFlags::RST, ..Signal::of(packet) };
        self.replied(&flow, slot, signal, snapshot, now);
    }

    /// A masqueraded real server's packet was answered with a reset in the client's place.
    pub fn reset_by_client(
        &mut self,
        packet: &Packet,
        reset: &Packet,
        from: Endpoint,
        snapshot: &Snapshot,
        now: Tick,
    ) {
        let found = self.own_answered(packet, snapshot);
        let elsewhere =
            || self.shared.replies.find(&ReplyKey::of(packet)).map(|(_, origin)| origin);
        let Some(origin) = found.or_else(elsewhere) else { return };
        let flow = flow(packet.dst, packet.dst_port, from.address, from.port, packet.protocol);
        // Whoever sends a reset, the connection is closed by it.
        let signal = Signal::of(reset);
        match usize::from(origin.core) == self.core {
            true => self.replied(&flow, origin.slot, signal, snapshot, now),
            false => {
                self.note(&origin, Seen { slot: origin.slot, flow, real: origin.real, signal })
            }
        }
        if snapshot.available(origin.real).is_some() {
            self.count_incoming(origin.real, reset);
        }
    }

    /// The VIP and port that an ICMP error from the real servers' side is about: what it
    /// quotes went from the client to the real server.
    pub fn related_reply(
        &mut self,
        error: &Packet,
        quoted: &Packet,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Endpoint> {
        if !follows_flow(error) {
            return None;
        }
        let quoted = &ipsec::exchange_of(quoted);
        // Of a connection that is not masqueraded it passes as it is, and counts.
        if snapshot.hosts.get(error.dst).is_none()
            && let Some(slot) = self.find(&Flow::of(quoted), now)
            && let Some(conn) = self.conn(quoted.family, slot)
            && conn.forwarding != Forwarding::Masq
            && snapshot.available(conn.real).is_some()
        {
            self.count_outgoing(conn.real, error);
            return None;
        }
        let key = ReplyKey::of_answers_to(quoted);
        let (_, origin) = self.shared.replies.find(&key)?;
        self.count_outgoing(origin.real, error);
        Some(endpoint(&origin))
    }

    /// Moves the connections whose replies other cores have sent on.
    pub fn take_notes(&mut self, snapshot: &Snapshot, now: Tick) {
        for _ in 0..NOTES_PER_TURN {
            let Some(seen) = self.shared.mailboxes.get(self.core).and_then(|m| m.seen.pop()) else {
                return;
            };
            match seen {
                Note::Replied(Seen { slot, flow, real, signal }) => {
                    if !self.is_hidden_reply(&flow, real, signal, snapshot, now) {
                        self.replied(&flow, slot, signal, snapshot, now);
                    }
                }
                Note::Kept(flow) => self.keep_exchange(&flow, snapshot, now),
                Note::Twin { slot, flow, real, covered } => {
                    self.take_twin(&flow, (slot, real), covered, snapshot);
                }
            }
        }
    }

    /// Tells the owner of a connection what has passed by here.
    fn note(&self, origin: &Origin, seen: Seen) {
        if let Some(owner) = self.shared.mailboxes.get(usize::from(origin.core)) {
            // A full queue loses the note; the next reply brings another one.
            let _ = owner.seen.push(Note::Replied(seen));
        }
    }

    /// The entry, if it is still this flow's.
    pub(super) fn owned(&self, flow: &Flow, slot: Slot) -> Option<Conn> {
        (self.flow(flow.client.family(), slot)? == *flow).then_some(())?;
        self.conn(flow.client.family(), slot)
    }

    /// A packet from the real server: state and timer.
    pub(super) fn replied(
        &mut self,
        flow: &Flow,
        slot: Slot,
        signal: Signal,
        snapshot: &Snapshot,
        now: Tick,
    ) {
        let Some(conn) = self.owned(flow, slot) else { return };
        let moved = self.after_reply(conn, flow, signal, snapshot, now);
        self.set_conn(flow.client.family(), slot, &moved);
    }

    /// The connection after a packet from the real server.
    pub(super) fn after_reply(
        &mut self,
        conn: Conn,
        flow: &Flow,
        signal: Signal,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Conn {
        let compat = snapshot.compat_of_real(conn.real);
        let secure = self.is_up(compat.secure_tcp, compat, flow.client.family());
        let next = signal.next(conn.state, Direction::Out, secure);
        let mut moved = self.moved(conn, next, &snapshot.timeouts, now);
        moved.flags.remove(ConnFlags::NO_OUTPUT);
        if signal.protocol == Protocol::Udp
            && let Some(template) = conn.template
        {
            self.shared.templates.assure(template);
        }
        moved
    }

    /// What the real server's packets look like. A real server keeps its address and its place
    /// in the snapshot as long as it has connections.
    pub(super) fn reply_key(
        &self,
        flow: &Flow,
        conn: &Conn,
        snapshot: &Snapshot,
    ) -> Option<ReplyKey> {
        let real = match self.server_elsewhere(flow, conn) {
            Some(server) => server,
            None => snapshot.real(conn.real)?.address,
        };
        Some(ReplyKey {
            real,
            real_port: conn.real_port,
            client: flow.client,
            client_port: flow.client_port,
            protocol: flow.protocol,
        })
    }

    /// Lets all cores find the replies of a new masqueraded connection.
    pub(super) fn announce(
        &mut self,
        flow: &Flow,
        slot: Slot,
        conn: &Conn,
        snapshot: &Snapshot,
        now: Tick,
    ) {
        self.announce_exchange(flow, conn.real, now);
        if conn.forwarding == Forwarding::Masq
            && let Some(key) = self.reply_key(flow, conn, snapshot)
        {
            let origin = Origin {
                core: self.core as u16,
                slot,
                real: conn.real,
                vip: flow.vip,
                vip_port: flow.vip_port,
            };
            self.announce_reply(&key, &origin, now);
        }
    }

    /// Takes back what [`Self::announce`] said.
    pub(super) fn withdraw(
        &mut self,
        flow: &Flow,
        slot: Slot,
        conn: &Conn,
        snapshot: &Snapshot,
        now: Tick,
    ) {
        self.withdraw_exchange(flow, now);
        if conn.forwarding == Forwarding::Masq
            && let Some(key) = self.reply_key(flow, conn, snapshot)
        {
            self.withdraw_reply(&key, (slot, conn.flags), now);
        }
    }
}

fn endpoint(origin: &Origin) -> Endpoint {
    Endpoint { address: origin.vip, port: origin.vip_port }
}

fn flow(client: Addr, client_port: u16, vip: Addr, vip_port: u16, protocol: Protocol) -> Flow {
    Flow { client, vip, client_port, vip_port, protocol }
}
