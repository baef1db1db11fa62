//! New connections.

use super::count::counted_len;
use super::{Bindings, Choice, Outcome, pool};
use crate::conn::table::Flow;
use crate::conn::{Conn, ConnFlags, Signal, State, Timeouts};
use crate::forward::Forwarding;
use crate::snapshot::{Service, Snapshot};
use crate::table::TemplateBurst;
use crate::tick::Tick;
use crate::verdict::DropReason;
use crate::wire::{Family, Packet, Protocol};

/// A packet that opens a connection, as far as the connection is concerned.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    /// Whose first packet it is.
    pub flow: Flow,
    /// What it says to the state machine.
    pub signal: Signal,
    /// Bytes of the IP packet.
    pub total_len: u16,
}

impl Opening {
    pub(super) fn of(packet: &Packet) -> Self {
        let total_len = counted_len(packet);
        Self { flow: Flow::of(packet), signal: Signal::of(packet), total_len }
    }
}

impl Bindings {
    /// Opens the connection of a burst's packet, of which it is known that it has none and that
    /// its service looks at nothing but template and scheduler. `None`, and nothing is done,
    /// where [`Self::bind`] is to be asked. `read` reads the packet.
    #[inline]
    pub(crate) fn open_at(
        &mut self,
        (clients, at): (&TemplateBurst, usize),
        opening: &Opening,
        (service, own_port): (&Service, bool),
        read: impl FnOnce() -> Option<Packet>,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Outcome> {
        // It could be an answer that passes the director as the real server's gateway.
        if snapshot.classifier.may_have(opening.flow.client) || self.shared.replies.is_open() {
            return None;
        }
        let Self { shared, schedulers, core, .. } = self;
        let pool = pool(shared, *core, service, snapshot, now);
        let pick = || schedulers.pick_unread(service, &pool, read);
        let choice = match service.persistence {
            None => Choice {
                real: pick()?,
                template: None,
                by_error: false,
                by_server: false,
                real_port: None,
            },
            Some(_) => {
                let templates = &shared.templates;
                let made = templates.make_at(clients, at, service.timeout_index, now, pick);
                let (template, real) = made?;
                if let Some(real) = snapshot.real(real) {
                    self.shift_bound(real, 1);
                }
                Choice {
                    real,
                    template: Some(template),
                    by_error: false,
                    by_server: false,
                    real_port: None,
                }
            }
        };
        Some(self.open(opening, own_port, service, choice, snapshot, now))
    }

    /// Makes a connection's entry and lets its first packet pass.
    pub(super) fn open(
        &mut self,
        opening: &Opening,
        own_port: bool,
        service: &Service,
        choice: Choice,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Outcome {
        let Opening { flow, signal, total_len } = opening;
        let Some(real) = snapshot.real(choice.real) else { return Outcome::Refuse };
        // A service for all ports has port 0 for its own, and a template that it shares with FTP's
        // may name a real server that has one.
        let own_port = own_port || flow.vip_port == service.identity.vip_port();
        let fixed_port = own_port || service.persistence.is_none();
        let real_port = match choice.real_port {
            Some(port) => port,
            None if fixed_port && real.port != 0 => real.port,
            None => flow.vip_port,
        };
        let outcome = Outcome::Forward { real: real.id, forwarding: real.forwarding, real_port };
        match choice.by_server {
            true => self.count_scheduled(real.id),
            false => self.count_opening(real.id, choice.template.is_some(), *total_len),
        }
        if service.one_packet && flow.protocol == Protocol::Udp {
            if let Some(handle) = choice.template {
                self.shared.templates.release(handle, now, &mut self.seat.templates);
            }
            return outcome;
        }
        let mut flags = ConnFlags::INACTIVE;
        flags.set(ConnFlags::NO_OUTPUT, !real.forwarding.sees_replies());
        let mut conn = Conn {
            template: choice.template,
            real: real.id,
            expires: now.plus(Timeouts::NEW),
            timeout: Timeouts::NEW,
            real_port,
            state: first_state(flow.protocol),
            flags,
            forwarding: real.forwarding,
            in_packets: u8::from(!choice.by_server),
        };
        if !choice.by_error && !choice.by_server {
            let (compat, family) = (&service.compat, flow.client.family());
            let secure = self.is_up(compat.secure_tcp, compat, family);
            let next = signal.next(conn.state, conn.direction_in(), secure);
            self.assure_by(&conn, next);
            conn = conn.in_state(next, &snapshot.timeouts, now);
        }
        let inactive = i64::from(conn.flags.contains(ConnFlags::INACTIVE));
        self.shift_load(real, 1 - inactive, inactive);
        let inserted = match flow.client.family() {
            Family::V4 => self.v4.insert(flow, conn),
            Family::V6 => self.v6.insert(flow, conn),
        };
        match inserted {
            Ok(slot) => self.announce(flow, slot, &conn, snapshot, now),
            Err(_) => {
                self.forget(&conn, snapshot, now);
                // A persistent client is bound by its template even without an entry; only
                // the way back through masquerading needs one.
                if choice.template.is_none()
                    || real.forwarding == Forwarding::Masq
                    || service.compat.as_kernel
                {
                    return Outcome::Drop(DropReason::TableFull);
                }
            }
        }
        outcome
    }
}

fn first_state(protocol: Protocol) -> State {
    match protocol {
        Protocol::Tcp => State::TcpNone,
        Protocol::Sctp => State::SctpNone,
        _ => State::Udp,
    }
}
