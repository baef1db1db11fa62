//! Sending ICMP errors on to where the flows go that they are about.

use super::passing::{Inward, unwritable};
use super::{Arrival, Path};
use crate::bindings::Outcome;
use crate::forward::masq::{self, End};
use crate::forward::{Forwarding, admit, send};
use crate::port::Frame;
use crate::snapshot::Snapshot;
use crate::verdict::{DropReason, Verdict};
use crate::wire::Packet;

impl Path {
    /// Sends an ICMP error on to where the flow that it is about goes; `None` for an error
    /// about no flow of ours.
    pub(super) fn follow(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        error: &Packet,
        quoted: &Packet,
        at: Arrival,
    ) -> Option<Verdict> {
        self.hear_of_way(snapshot, frame.bytes(), error, quoted, at.now);
        if snapshot.passes_by(quoted.family) {
            return None;
        }
        if let Some(related) = self.bindings.related(error, quoted, snapshot, at.now) {
            let real = snapshot.real(related.real)?;
            let to = Inward {
                packet: error,
                real,
                forwarding: related.forwarding,
                real_port: related.real_port,
                address: self.bindings.take_elsewhere().unwrap_or(real.address),
            };
            if related.forwarding == Forwarding::Masq && !real.local {
                return Some(self.forward_error(snapshot, frame, to, quoted, at));
            }
            return Some(self.forward(snapshot, frame, to, at));
        }
        let Some(from) = self.bindings.related_reply(error, quoted, snapshot, at.now) else {
            return match self.bindings.bind_by_error(error, quoted, snapshot, at.now) {
                // The flow has a connection now, which the error follows.
                Some(Outcome::Forward { real, forwarding, real_port }) => {
                    let real = snapshot.real(real)?;
                    let address = real.address;
                    let to = Inward { packet: error, real, forwarding, real_port, address };
                    Some(match forwarding {
                        Forwarding::Masq => self.forward_error(snapshot, frame, to, quoted, at),
                        _ => self.forward(snapshot, frame, to, at),
                    })
                }
                Some(Outcome::Drop(reason)) => Some(Verdict::Drop(reason)),
                Some(_) => None,
                None => self.relay(snapshot, frame, error, quoted, at),
            };
        };
        Some(self.outward(snapshot, frame, error, at, |frame| {
            masq::rewrite_error(frame.bytes_mut(), error, quoted, End::Source, from)?;
            Ok(0)
        }))
    }

    /// An ICMP error to a masqueraded real server.
    fn forward_error(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        to: Inward<'_>,
        quoted: &Packet,
        at: Arrival,
    ) -> Verdict {
        let Some(next) = self.hop_to(snapshot, to) else {
            return Verdict::Drop(DropReason::NoNeighbour);
        };
        if let Some(route) = &to.real.shared_route {
            route.leads(to.forwarding);
        }
        let egress = self.egress(snapshot, Some(to.real));
        let rewrite = match admit(frame, to.packet, next.mtu, egress.ttl) {
            Err(refused) => refused,
            Ok(()) => {
                let end = End::Destination;
                let bytes = frame.bytes_mut();
                if let Err(why) = masq::rewrite_error(bytes, to.packet, quoted, end, to.endpoint())
                {
                    return unwritable(why);
                }
                send(frame, to.packet.vlan, &next, &egress)
            }
        };
        self.sent(snapshot, (rewrite, to.packet.total_len <= next.mtu), frame, to.packet, None, at)
    }
}
