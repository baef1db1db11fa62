//! FTP under masquerading: what the control connection says of data connections to come
//! (RFC 959, RFC 2428), nearly as the kernel's `ip_vs_ftp` reads it; exactly as that does under
//! `compat: ipvs`, see `ftp_kernel`.
//!
//! A passive server names a port of its own and the client connects to that port of the VIP;
//! an active one connects from the port before its own to what the client has named. Both are
//! taken from whole lines of whole segments; what comes in pieces is not understood, as in the
//! kernel. An address must be the speaker's own, so that nobody is sent to a third host.

use super::{Bindings, Choice};
use crate::conn::table::Flow;
use crate::conn::{Conn, ConnFlags, State};
use crate::expected::Expectation;
use crate::forward::Forwarding;
use crate::forward::ftp::{self, Named};
use crate::reply::Origin;
use crate::snapshot::Snapshot;
use crate::tick::Tick;
use crate::wire::{Family, Packet, Protocol};

/// Whether a flow to this port is a control connection.
pub(super) fn is_control(protocol: Protocol, vip_port: u16) -> bool {
    protocol == Protocol::Tcp && vip_port == ftp::CONTROL_PORT
}

impl Bindings {
    /// A client speaks on a masqueraded control connection: where it names an address of its
    /// own (`PORT`, `EPRT`), the server's connection to it is expected from now on.
    pub(super) fn hear_client(
        &mut self,
        packet: &Packet,
        flow: &Flow,
        conn: &Conn,
        transport: &[u8],
        snapshot: &Snapshot,
        now: Tick,
    ) {
        let Some(Named { address, port }) = ftp::named_by_client(transport) else { return };
        let vip_port = flow.vip_port.wrapping_sub(1);
        let Some(client) = address.filter(|address| address.family() == packet.family) else {
            return;
        };
        if client != packet.src || port == 0 || packet.src_port == port {
            return;
        }
        let data = Flow { client, client_port: port, vip_port, ..*flow };
        let expected = Expectation { client, client_port: port, vip: flow.vip, vip_port };
        self.shared.expected.add(&expected, conn.real, now);
        if self.find(&data, now).is_none() {
            self.listen(&data, conn, ConnFlags::empty(), snapshot, now);
        }
    }

    /// Makes the entry by which the packets of an active server's data connection are found
    /// before its client has answered. Answers whether there was room.
    pub(super) fn listen(
        &mut self,
        data: &Flow,
        control: &Conn,
        flags: ConnFlags,
        snapshot: &Snapshot,
        now: Tick,
    ) -> bool {
        let Some(real) = snapshot.real(control.real) else { return false };
        let timeout = snapshot.timeouts.ticks(State::TcpListen);
        let conn = Conn {
            template: None,
            real: control.real,
            expires: now.plus(timeout),
            timeout,
            real_port: control.real_port.wrapping_sub(1),
            state: State::TcpListen,
            flags: ConnFlags::INACTIVE | flags,
            forwarding: Forwarding::Masq,
            in_packets: 0,
        };
        let inserted = match data.client.family() {
            Family::V4 => self.v4.insert(data, conn),
            Family::V6 => self.v6.insert(data, conn),
        };
        // Without room the server's packets go out as they are, and nobody answers them.
        if let Ok(slot) = inserted {
            self.shift_load(real, 0, 1);
            self.announce(data, slot, &conn, snapshot, now);
        }
        inserted.is_ok()
    }

    /// A server speaks on a masqueraded control connection: where it names a port (227, 229),
    /// its client's connection to that port of the VIP is expected from now on.
    pub(super) fn hear_server(
        &self,
        packet: &Packet,
        origin: &Origin,
        transport: &[u8],
        now: Tick,
    ) {
        let Some(Named { address, port }) = ftp::named_by_server(transport) else { return };
        if address.is_some_and(|address| address != packet.src) || port == 0 {
            return;
        }
        let expected =
            Expectation { client: packet.dst, client_port: 0, vip: origin.vip, vip_port: port };
        self.shared.expected.add(&expected, origin.real, now);
    }

    /// The real server of a data connection that was agreed upon.
    pub(super) fn agreed(&self, packet: &Packet, snapshot: &Snapshot, now: Tick) -> Option<Choice> {
        let Packet { src, src_port, dst, dst_port, .. } = *packet;
        let from =
            |client_port| Expectation { client: src, client_port, vip: dst, vip_port: dst_port };
        let take = |client_port| self.shared.expected.take(&from(client_port), now);
        let (id, active) = match take(src_port) {
            Some(id) => (id, true),
            None => (take(0)?, false),
        };
        let real = snapshot.available(id).filter(|real| !real.is_down(now))?;
        let real_port = match (active, real.port) {
            (false, _) => dst_port,
            (true, 0) => ftp::CONTROL_PORT - 1,
            (true, port) => port.wrapping_sub(1),
        };
        let real_port = Some(real_port);
        Some(Choice { real: id, template: None, by_error: false, by_server: false, real_port })
    }
}
