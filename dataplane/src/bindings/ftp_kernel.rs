//! FTP under `compat: ipvs`, as the kernel's module has it: a server's answer counts where its
//! client has asked for it, may name any host, and is written anew however long it gets.

use arrayvec::ArrayVec;

use super::{Bindings, Outcome};
use crate::agreements::{Data, Waiting};
use crate::conn::table::{Flow, Slot};
use crate::conn::{Conn, ConnFlags, State};
use crate::expected::Expectation;
use crate::forward::Forwarding;
use crate::forward::ftp::{self, Named};
use crate::forward::ftp_words::{self, Asked, Place};
use crate::forward::masq::Endpoint;
use crate::ids::RealId;
use crate::snapshot::{Real, Snapshot};
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::verdict::DropReason;
use crate::wire::{Addr, Family, Packet, Protocol};

/// Ticks that a control connection lives on, again and again, while it controls others.
const LONGER: u32 = 60 * TICKS_PER_SECOND;
/// The longest text: six numbers.
const LONGEST: usize = 23;

/// What a server's line is to say instead of what it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    /// The bytes that are replaced, counted from the beginning of what the segment carries: the
    /// first, and the one behind the last.
    pub place: (usize, usize),
    /// What takes their place.
    pub text: ArrayVec<u8, LONGEST>,
}

impl Said {
    fn new(place: &Place, asked: Asked, vip: Addr, port: u16) -> Option<Self> {
        use std::io::Write;
        let mut text = ArrayVec::new();
        match asked {
            Asked::Passive => {
                let [a, b, c, d] = vip.v4_number().to_be_bytes();
                let [high, low] = port.to_be_bytes();
                write!(text, "{a},{b},{c},{d},{high},{low}").ok()?;
            }
            Asked::Extended => write!(text, "|||{port}|").ok()?,
        }
        Some(Self { place: (place.from, place.to), text })
    }
}

impl Bindings {
    /// A client has spoken on a masqueraded control connection.
    pub(super) fn hear_client_as_kernel(
        &mut self,
        (flow, slot): (&Flow, Slot),
        transport: &[u8],
        snapshot: &Snapshot,
        now: Tick,
    ) {
        let family = flow.client.family();
        let established = |conn: &Conn| conn.state == State::TcpEstablished;
        let Some(control) = self.conn(family, slot).filter(established) else { return };
        let Some(said) = ftp::data_of(transport) else { return };
        if let Some(asked) = ftp_words::asked(said, family) {
            return self.shared.agreements.ask(flow, Some(asked));
        }
        let Some(Named { address: Some(client), port }) = ftp_words::named_by_client(said, family)
        else {
            return;
        };
        self.shared.agreements.ask(flow, None);
        let (client_port, vip_port) = (port, flow.vip_port.wrapping_sub(1));
        let data = Flow { client, client_port, vip_port, ..*flow };
        if self.shared.cores() > 1 {
            let expected = Expectation { client, client_port, vip: flow.vip, vip_port };
            self.shared.expected.add(&expected, control.real, now);
        }
        if let Some(slot) = self.slot(&data) {
            if port != 0 {
                if let Some(known) = self.conn(family, slot) {
                    self.set_conn(family, slot, &listening(known, snapshot, now));
                }
                return;
            }
            // One from port 0 is never found by its client's side, and so there is another one.
            self.hide(family, slot, snapshot, now);
        }
        let (Some(real), Some(id)) =
            (snapshot.real(control.real), self.shared.agreements.control(flow))
        else {
            return;
        };
        self.shared.agreements.begin_data(&data, Data { server: real.address, control: id });
        if !self.listen(&data, &control, ConnFlags::CHILD, snapshot, now) {
            self.shared.agreements.end_data(&data);
        }
    }

    /// A masqueraded server has spoken on a control connection: where it names what its client
    /// has asked for, the data connection waits for the client, and the line is written anew.
    pub(crate) fn hear_server_as_kernel(
        &mut self,
        packet: &Packet,
        transport: &[u8],
        (real, from): (RealId, Endpoint),
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Said> {
        let flow = control_of(packet, from);
        let asked = self.shared.agreements.asked(&flow)?;
        let own = self.slot(&flow).and_then(|slot| self.conn(packet.family, slot));
        if own.is_some_and(|conn| conn.state != State::TcpEstablished) {
            return None;
        }
        let place = ftp_words::named_by_server(ftp::data_of(transport)?, asked, packet.family)?;
        let Named { address, port } = place.named;
        let server = address.unwrap_or(packet.src);
        let renew = |conn: Conn| listening(conn, snapshot, now);
        let known = self.shared.agreements.renew(&flow, server, port, renew);
        let to = match known {
            Some(known) => known,
            None => {
                let real = snapshot.real(real)?;
                let control = self.shared.agreements.control(&flow)?;
                let to = Flow { client_port: 0, vip_port: port, ..flow };
                self.await_client(&to, real, Data { server, control }, snapshot, now);
                to
            }
        };
        Said::new(&place, asked, to.vip, to.vip_port)
    }

    fn await_client(
        &mut self,
        flow: &Flow,
        real: &Real,
        data: Data,
        snapshot: &Snapshot,
        now: Tick,
    ) {
        let conn = Conn {
            template: None,
            real: real.id,
            expires: now,
            timeout: 0,
            real_port: flow.vip_port,
            state: State::TcpListen,
            flags: ConnFlags::INACTIVE | ConnFlags::CHILD,
            forwarding: Forwarding::Masq,
            in_packets: 0,
        };
        let mut conn = listening(conn, snapshot, now);
        conn.flags.set(ConnFlags::ELSEWHERE, data.server != real.address);
        self.shift_load(real, 0, 1);
        self.shared.agreements.wait(Waiting { flow: *flow, conn, data, core: self.core });
    }

    /// A packet that has no connection: where a data connection waits for its client, it is this
    /// one from now on.
    pub(super) fn meet(
        &mut self,
        flow: &Flow,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Result<Slot, Outcome>> {
        if flow.protocol != Protocol::Tcp
            || flow.client_port == 0
            || !self.shared.agreements.is_waiting()
        {
            return None;
        }
        let is_served = |conn: &Conn| snapshot.available(conn.real).is_some();
        let may = |conn: &Conn| is_served(conn) && !self.is_over(conn, now);
        let (Waiting { conn, data, .. }, taken) = self.shared.agreements.meet(flow, may)?;
        if !taken {
            let gone = Err(Outcome::Drop(DropReason::RealServerGone));
            return (!is_served(&conn)).then_some(gone);
        }
        self.shared.agreements.begin_data(flow, data);
        let inserted = match flow.client.family() {
            Family::V4 => self.v4.insert(flow, conn),
            Family::V6 => self.v6.insert(flow, conn),
        };
        Some(match inserted {
            Ok(slot) => {
                self.announce(flow, slot, &conn, snapshot, now);
                Ok(slot)
            }
            Err(_) => {
                self.shared.agreements.end_data(flow);
                self.forget(&conn, snapshot, now);
                Err(Outcome::Drop(DropReason::TableFull))
            }
        })
    }

    /// Where a connection leads to that leads to no real server.
    pub(super) fn server_elsewhere(&self, flow: &Flow, conn: &Conn) -> Option<Addr> {
        if !conn.flags.contains(ConnFlags::ELSEWHERE) {
            return None;
        }
        self.shared.agreements.data(flow).map(|data| data.server)
    }

    /// A real server's packet that was counted has become longer by so much, in two's complement.
    pub(crate) fn count_longer(&self, real: RealId, by: u32, snapshot: &Snapshot) {
        if by != 0
            && snapshot.available(real).is_some()
            && let Some(load) = self.shared.loads.of_core(self.core, real)
        {
            load.outgoing(0, i64::from(by as i32) as u64);
        }
    }

    /// Whether the packet that was decided about last goes to another host than its real server.
    pub(crate) fn leads_elsewhere(&self) -> bool {
        self.elsewhere.is_some()
    }

    /// Where the packet that was decided about last goes to, if not to its real server.
    pub(crate) fn take_elsewhere(&mut self) -> Option<Addr> {
        self.elsewhere.take()
    }

    /// A connection as it is after its timer has fired although it controls others.
    pub(super) fn outlives(&self, flow: &Flow, conn: &Conn, is_hidden: bool) -> Option<Conn> {
        if !is_control(flow, conn) {
            return None;
        }
        let controls = match is_hidden {
            true => self.shared.agreements.hidden_has_control(flow),
            false => self.shared.agreements.has_control(flow),
        };
        let expires = self.end_of(conn).plus(LONGER);
        controls.then_some(Conn { timeout: LONGER, expires, ..*conn })
    }

    /// Whether a connection controls others, so that it stays when its flow begins anew.
    pub(super) fn controls_others(&self, flow: &Flow, conn: &Conn) -> bool {
        is_control(flow, conn) && self.shared.agreements.has_control(flow)
    }

    /// A connection has ended.
    pub(super) fn end_agreement(&self, flow: &Flow, conn: &Conn) {
        if conn.flags.contains(ConnFlags::CHILD) {
            self.shared.agreements.end_data(flow);
        } else if is_control(flow, conn) {
            self.shared.agreements.end_control(flow);
        }
    }

    /// A hidden connection has ended. Of a control connection nothing is left by then.
    pub(super) fn end_hidden_agreement(&self, flow: &Flow, conn: &Conn) {
        if conn.flags.contains(ConnFlags::CHILD) {
            self.shared.agreements.end_data(flow);
        }
    }

    /// A newer connection of its flow hides a connection.
    pub(super) fn hide_agreement(&self, flow: &Flow, conn: &Conn) {
        if is_control(flow, conn) {
            self.shared.agreements.hide(flow);
        }
    }

    /// Ends the data connections whose clients have not come.
    pub(super) fn sweep_waiting(&mut self, snapshot: &Snapshot, now: Tick) {
        let ended = self.shared.agreements.end_waiting(self.core, |conn| self.is_over(conn, now));
        for conn in ended {
            self.forget(&conn, snapshot, now);
        }
    }
}

/// The flow of the control connection that a server's packet is of.
pub(crate) fn control_of(packet: &Packet, from: Endpoint) -> Flow {
    Flow {
        client: packet.dst,
        vip: from.address,
        client_port: packet.dst_port,
        vip_port: from.port,
        protocol: packet.protocol,
    }
}

fn is_control(flow: &Flow, conn: &Conn) -> bool {
    conn.forwarding == Forwarding::Masq && super::ftp::is_control(flow.protocol, flow.vip_port)
}

/// A connection that waits for its first packet from now on.
fn listening(conn: Conn, snapshot: &Snapshot, now: Tick) -> Conn {
    let timeout = snapshot.timeouts.ticks(State::TcpListen);
    Conn { state: State::TcpListen, timeout, expires: now.plus(timeout), ..conn }
}
