//! ICMP errors about flows.

use super::choosing::Choice;
use super::{Bindings, FTP_DATA_PORT, Opening, Outcome, ipsec};
use crate::conn::Conn;
use crate::conn::table::Flow;
use crate::forward::Forwarding;
use crate::ids::RealId;
use crate::snapshot::{Identity, Snapshot, Tracking};
use crate::tick::Tick;
use crate::verdict::DropReason;
use crate::wire::{Packet, Protocol};

/// Where an ICMP error about a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Related {
    /// The flow's real server.
    pub real: RealId,
    /// The method of its connection.
    pub forwarding: Forwarding,
    /// Its port there.
    pub real_port: u16,
}

impl Bindings {
    /// As [`Self::bind`], for a flow that only an ICMP error tells of (`schedule_icmp`):
    /// the connection is made, and no packet has moved it. `None` where that is off or no
    /// service takes the flow.
    pub fn bind_by_error(
        &mut self,
        error: &Packet,
        quoted: &Packet,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Outcome> {
        // What is quoted went from the VIP to the client.
        let packet = Packet {
            src: quoted.dst,
            dst: quoted.src,
            src_port: quoted.dst_port,
            dst_port: quoted.src_port,
            total_len: error.total_len,
            ..*quoted
        };
        let hit = snapshot.classifier.lookup(packet.dst, packet.protocol, packet.dst_port)?;
        let service = snapshot.service(hit.service)?;
        // A firewall's rule that looks at ports sets no mark on an ICMP error.
        let bars = service.tracking == Tracking::Client
            || matches!(service.identity, Identity::Mark { .. })
            || packet.src_port == FTP_DATA_PORT
            || self.find(&Flow::of(&packet), now).is_some();
        if !service.compat.schedule_icmp || !follows_flow(error) || bars {
            return None;
        }
        if self.drops_packet(&service.compat, packet.family, now) {
            return Some(Outcome::Drop(DropReason::DropRate));
        }
        if service.engine.is_some() && service.persistence.is_some() {
            // An error quotes too little to find a Call-ID in.
            return Some(Outcome::Drop(DropReason::NoCallId));
        }
        // A scheduler by destination takes the quoted packet's, which is the client.
        let inverse = Packet { dst: packet.src, ..packet };
        Some(match self.choose(&inverse, &hit, service, snapshot, now) {
            Ok(choice) => {
                let choice = Choice { by_error: true, ..choice };
                self.open(&Opening::of(&packet), hit.own_port, service, choice, snapshot, now)
            }
            // An error is never answered.
            Err(why) => Outcome::Drop(why.reason()),
        })
    }

    /// The real server of the flow that an ICMP error is about. The error leaves state and
    /// timer alone. Whether a real server was removed is not asked, as in IPVS.
    pub fn related(
        &mut self,
        error: &Packet,
        quoted: &Packet,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Related> {
        if !follows_flow(error) {
            return None;
        }
        // What is quoted went from the VIP to the client.
        let quoted = &ipsec::exchange_of(quoted);
        let flow = Flow::answered_by(quoted);
        let hit =
            snapshot.classifier.for_client(flow.client, flow.vip, flow.protocol, flow.vip_port);
        if let Some(hit) = &hit
            && let Some(service) = snapshot.service(hit.service)
            && service.tracking == Tracking::Client
        {
            return self.related_client(error, flow.client, service, snapshot, now);
        }
        let slot = self.find(&flow, now)?;
        let conn = self.conn(flow.client.family(), slot)?;
        // It follows to a real server that was removed as well, but is not counted there.
        if snapshot.available(conn.real).is_some() {
            self.count_incoming(conn.real, error);
        }
        self.elsewhere = self.server_elsewhere(&flow, &conn);
        let Conn { real, forwarding, real_port, .. } = conn;
        Some(Related { real, forwarding, real_port })
    }
}

/// ICMP errors that IPVS relates to a flow: IPv4 types 3, 4 and 11, all of IPv6's.
pub(crate) fn follows_flow(error: &Packet) -> bool {
    match error.protocol {
        Protocol::Icmp => matches!(error.icmp_type, 3 | 4 | 11),
        _ => true,
    }
}
