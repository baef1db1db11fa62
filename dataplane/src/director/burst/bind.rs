//! Plain packets that open, close or move something: bound as the reference path binds them,
//! and sent on in the short way, where that is all there is to do.

use super::hops::Sources;
use super::lane::Kind;
use super::read::{TAGGED, TAGGED_HEAD, UNTAGGED, UNTAGGED_HEAD};
use super::rewrite;
use super::{Learned, Path, Reading};
use crate::bindings::{Outcome, service_of};
use crate::forward::Forwarding;
use crate::forward::masq::End;
use crate::port::Frame;
use crate::snapshot::Snapshot;
use crate::verdict::Verdict;
use crate::wire::{Family, Packet, Parsed, Protocol, parse};

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
        let outcome = match self.bind_unknown_client(reading, snapshot, &packet) {
            Some(outcome) => outcome,
            None => self.bindings.bind(&packet, packet.transport(frame.bytes()), snapshot, at.now),
        };
        let passed = match usize::from(packet.l3_offset) {
            UNTAGGED => self.pass_bound::<F, UNTAGGED, UNTAGGED_HEAD>(
                learned, snapshot, frame, &packet, outcome,
            ),
            TAGGED => self
                .pass_bound::<F, TAGGED, TAGGED_HEAD>(learned, snapshot, frame, &packet, outcome),
            _ => None,
        };
        match passed {
            Some(verdict) => verdict,
            None => self.carry_out(outcome, snapshot, frame, &packet, at),
        }
    }

    /// Binds a client that was not found, without asking for its service and itself again.
    fn bind_unknown_client(
        &mut self,
        reading: &Reading,
        snapshot: &Snapshot,
        packet: &Packet,
    ) -> Option<Outcome> {
        let place = reading.done;
        if reading.lanes.get(place)?.kind() != Kind::Client
            || reading.clients.found(place).next() != Some(0)
        {
            return None;
        }
        let (scope, probe) = self.shared.clients.probe_at(&reading.clients, place)?;
        let service = snapshot.service(service_of(scope))?;
        self.bindings.bind_unknown(&probe, packet, service, snapshot, reading.at.now)
    }

    /// Sends a plain packet on that goes to a real server; `None`, and the frame is as it was,
    /// where more is to be done.
    fn pass_bound<F: Frame, const L3: usize, const HEAD: usize>(
        &self,
        learned: &mut Learned,
        snapshot: &Snapshot,
        frame: &mut F,
        packet: &Packet,
        outcome: Outcome,
    ) -> Option<Verdict> {
        let Outcome::Forward { real, forwarding, real_port } = outcome else { return None };
        let vlan = packet.vlan.id();
        let (neighbours, macs) = (&self.shared.neighbours, &*self.surroundings.macs);
        let sources = Sources { snapshot, neighbours, macs, vlan };
        let side = learned.conn_hops.side(vlan.unwrap_or(0));
        let hop = learned.conn_hops.get_or_learn(side, real.0, &sources)?;
        if !hop.takes(packet.total_len) {
            return None;
        }
        let bytes = frame.bytes_mut();
        let rewritten = match forwarding {
            Forwarding::Route => true,
            Forwarding::Masq => {
                let (to, udp) = ((hop.rip()?, real_port), packet.protocol == Protocol::Udp);
                rewrite::masquerade_v4::<L3, HEAD>(bytes, End::Destination, to, udp)
            }
            Forwarding::Tunnel | Forwarding::Local => false,
        };
        let passed = rewritten
            && match packet.family {
                Family::V4 => rewrite::route_v4::<L3, HEAD>(bytes, hop),
                Family::V6 => rewrite::route_v6::<L3, HEAD>(bytes, hop),
            };
        passed.then(|| Verdict::Forward(hop.port()))
    }
}
