//! AH and ESP: never scheduled, they follow the key exchange of their two ends, which is a
//! connection between their ports 500 (RFC 7296, 2), as in IPVS.
//!
//! The NIC tells such packets apart by their addresses alone, so that they come to another core
//! than the key exchange. What other cores need is in a small table that all share; a core that
//! finds a packet's connection there tells the others once a second, and the owner keeps it.

use super::{Bindings, Outcome};
use crate::conn::table::Flow;
use crate::expected::Expectation;
use crate::forward::masq::Endpoint;
use crate::ids::RealId;
use crate::mailbox::Note;
use crate::reply::ReplyKey;
use crate::snapshot::Snapshot;
use crate::tick::Tick;
use crate::verdict::DropReason;
use crate::wire::{Packet, Protocol};

/// Both ends' port in a key exchange.
const KEY_EXCHANGE: u16 = 500;

/// Whether packets of this protocol follow a key exchange.
pub(crate) const fn follows(protocol: Protocol) -> bool {
    matches!(protocol, Protocol::Ah | Protocol::Esp)
}

/// The key exchange's packet in the place of one of AH or ESP; any other as it is.
pub(crate) fn exchange_of(packet: &Packet) -> Packet {
    match follows(packet.protocol) {
        true => Packet {
            protocol: Protocol::Udp,
            src_port: KEY_EXCHANGE,
            dst_port: KEY_EXCHANGE,
            ..*packet
        },
        false => *packet,
    }
}

/// What a key exchange is known by to all cores; `None` for any other flow.
fn exchange(flow: &Flow) -> Option<Expectation> {
    let Flow { client, vip, client_port, vip_port, protocol } = *flow;
    let is_one =
        protocol == Protocol::Udp && client_port == KEY_EXCHANGE && vip_port == KEY_EXCHANGE;
    is_one.then_some(Expectation { client, client_port, vip, vip_port })
}

impl Bindings {
    /// A packet of AH or ESP.
    pub(super) fn follow_key_exchange(
        &mut self,
        packet: &Packet,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Outcome {
        let packet = exchange_of(packet);
        let flow = Flow::of(&packet);
        if let Some(slot) = self.find(&flow, now)
            && let Some(conn) = self.conn(packet.family, slot)
        {
            if snapshot.available(conn.real).is_some() {
                return self.established(&packet, slot, snapshot, now);
            }
            let ends = snapshot.compat_of_real(conn.real).expire_nodest_conn;
            if ends {
                self.remove(packet.family, slot, snapshot, now);
            }
            return match ends || !snapshot.serves(packet.family) {
                true => Outcome::NotOurs,
                false => Outcome::Drop(DropReason::RealServerGone),
            };
        }
        match self.answer_key_exchange(&packet, snapshot, now) {
            Some(reply) => reply,
            None => self.follow_elsewhere(&packet, &flow, snapshot, now),
        }
    }

    /// A real server's packet of AH or ESP. It keeps the connection, but makes sure of no
    /// template.
    fn answer_key_exchange(
        &mut self,
        packet: &Packet,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Outcome> {
        let flow = |vip, vip_port| Flow {
            client: packet.dst,
            vip,
            client_port: packet.dst_port,
            vip_port,
            protocol: packet.protocol,
        };
        let outcome = match self.shared.replies.find(&ReplyKey::of(packet)) {
            Some((place, origin)) => {
                let flow = flow(origin.vip, origin.vip_port);
                if usize::from(origin.core) == self.core {
                    self.keep_exchange(&flow, snapshot, now);
                } else if self.shared.replies.note_is_due(place, now)
                    && let Some(owner) = self.shared.mailboxes.get(usize::from(origin.core))
                {
                    let _ = owner.seen.push(Note::Kept(flow));
                }
                let from = Endpoint { address: origin.vip, port: origin.vip_port };
                Outcome::Reply { real: origin.real, from: Some(from) }
            }
            None => {
                let flow = flow(packet.src, packet.src_port);
                let conn = self.conn(packet.family, self.find(&flow, now)?)?;
                self.keep_exchange(&flow, snapshot, now);
                Outcome::Reply { real: conn.real, from: None }
            }
        };
        if let Outcome::Reply { real, .. } = outcome
            && snapshot.available(real).is_some()
        {
            self.count_outgoing(real, packet);
        }
        Some(outcome)
    }

    /// A packet whose key exchange may be another core's.
    fn follow_elsewhere(
        &mut self,
        packet: &Packet,
        flow: &Flow,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Outcome {
        let found = exchange(flow).and_then(|exchange| self.shared.exchanges.find(&exchange, now));
        let Some((id, is_due)) = found else { return Outcome::NotOurs };
        let Some(real) = snapshot.available(id) else {
            return Outcome::Drop(DropReason::RealServerGone);
        };
        if is_due {
            for owner in &self.shared.mailboxes {
                // A full queue loses the note; the next second brings another one.
                let _ = owner.seen.push(Note::Kept(*flow));
            }
        }
        self.count_incoming(id, packet);
        Outcome::Forward { real: id, forwarding: real.forwarding, real_port: KEY_EXCHANGE }
    }

    /// Another core has seen packets that follow a key exchange.
    pub(super) fn keep_exchange(&mut self, flow: &Flow, snapshot: &Snapshot, now: Tick) {
        let Some(slot) = self.find(flow, now) else { return };
        let Some(conn) = self.conn(flow.client.family(), slot) else { return };
        let kept = self.moved(conn, conn.state, &snapshot.timeouts, now);
        self.set_conn(flow.client.family(), slot, &kept);
    }

    /// Tells all cores of a key exchange's connection.
    pub(super) fn announce_exchange(&self, flow: &Flow, real: RealId, now: Tick) {
        if let Some(exchange) = exchange(flow) {
            self.shared.exchanges.add(&exchange, real, now);
        }
    }

    /// Takes back what [`Self::announce_exchange`] said.
    pub(super) fn withdraw_exchange(&self, flow: &Flow, now: Tick) {
        if let Some(exchange) = exchange(flow) {
            self.shared.exchanges.take(&exchange, now);
        }
    }
}
