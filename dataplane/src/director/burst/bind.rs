//! Plain packets that open, close or move something: bound as the reference path binds them,
//! and sent on in the short way, where that is all there is to do.

use super::hops::Sources;
use super::read::{TAGGED, TAGGED_HEAD, UNTAGGED, UNTAGGED_HEAD, is_reset_v4};
use super::rewrite;
use super::{Desk, Learned, Path, Reading};
use crate::bindings::Outcome;
use crate::forward::Forwarding;
use crate::forward::masq::End;
use crate::port::Frame;
use crate::snapshot::Snapshot;
use crate::verdict::Verdict;
use crate::wire::{Packet, Parsed, Protocol, parse};

impl Desk<'_> {
    /// The number of the real server of a plain packet's client that was not found, after binding
    /// it; 0 where the reference path is to do that.
    #[inline]
    pub(super) fn bind_client<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &Reading,
        at: usize,
        frame: &F,
    ) -> u16 {
        let Some(head) = frame.bytes().first_chunk::<HEAD>() else { return 0 };
        // Without connections nobody can tell a stray segment from a client that was bound before
        // a restart: all but resets are taken.
        if is_reset_v4::<L3, HEAD>(head) {
            return 0;
        }
        let read = || match parse(frame.bytes()) {
            Parsed::Packet(packet) => Some(packet),
            _ => None,
        };
        let (clients, snapshot) = (&reading.clients, self.sources.snapshot);
        self.bindings.bind_at(clients, at, read, snapshot, self.now).unwrap_or(0)
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
        let transport = packet.transport(frame.bytes());
        let outcome = self.bindings.bind(&packet, transport, snapshot, at.now);
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
        let passed = rewritten && rewrite::route_v4::<L3, HEAD>(bytes, hop);
        passed.then(|| Verdict::Forward(hop.port()))
    }
}
