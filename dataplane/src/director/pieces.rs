//! Fragments on their way: first ones decide, later ones follow or wait.

use super::{Arrival, Path};
use crate::bindings::Outcome;
use crate::port::Frame;
use crate::snapshot::Snapshot;
use crate::verdict::{DropReason, Verdict};
use crate::wire::Packet;

impl Path {
    /// The fragment that has the transport header.
    pub(super) fn first_fragment(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        if self.waits_for_all(snapshot, packet, at) {
            return Verdict::Early;
        }
        if self.fragments.check(packet, at.now, &snapshot.fragments).is_err() {
            return Verdict::Drop(DropReason::BadFragment);
        }
        let transport = packet.transport(frame.bytes());
        let outcome = self.bindings.bind(packet, transport, snapshot, at.now);
        self.fragments.remember(packet, outcome, at.now);
        self.carry_out(outcome, snapshot, frame, packet, at)
    }

    /// Any other fragment: it goes where the first one went.
    pub(super) fn later_fragment(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        if self.waits_for_all(snapshot, packet, at) {
            return Verdict::Early;
        }
        match self.fragments.follow(packet, at.now, &snapshot.fragments) {
            // The first one was answered already.
            Some(Outcome::Refuse) => Verdict::Drop(DropReason::NoRealServer),
            Some(outcome) => {
                self.bindings.count_piece(outcome, packet);
                self.carry_out(outcome, snapshot, frame, packet, at)
            }
            None if self.may_be_balanced(snapshot, packet) => Verdict::Early,
            None => self.host(snapshot, frame, packet, at),
        }
    }

    /// Whether a fragment waits because nothing is decided before its datagram is whole.
    fn waits_for_all(&mut self, snapshot: &Snapshot, packet: &Packet, at: Arrival) -> bool {
        snapshot.fragments.whole
            && self.may_be_balanced(snapshot, packet)
            && !self.fragments.gather(packet, at.now, &snapshot.fragments)
    }

    /// Whether a fragment without ports can belong to a datagram that a service takes, or
    /// to a masqueraded reply.
    fn may_be_balanced(&self, snapshot: &Snapshot, packet: &Packet) -> bool {
        let carried = packet.protocol.has_ports() || packet.family == crate::wire::Family::V6;
        carried
            && (snapshot.classifier.has_address(packet.dst)
                || snapshot.masqueraded.has_address(packet.src))
    }
}
