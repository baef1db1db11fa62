//! What no service takes: the kernel's, or the director's own as a host.

use super::{Arrival, Path};
use crate::answer::{Answer, Budget, Receivers};
use crate::ids::PortIndex;
use crate::port::Frame;
use crate::snapshot::{PortFacts, Snapshot};
use crate::tick::Tick;
use crate::verdict::{DropReason, Verdict};
use crate::wire::{Addr, Fragment, Packet, Protocol, checksum, icmp};

impl Path {
    /// What no service takes.
    pub(super) fn host(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        if snapshot.masqueraded.has_address(packet.src) && snapshot.hosts.get(packet.dst).is_none()
        {
            return self.unknown_reply(snapshot, frame, packet, at);
        }
        if let Some(kernel) = self.kernel_port(snapshot, at.port) {
            return self.hand_to_kernel(kernel);
        }
        if snapshot.hosts.get(packet.dst).is_none() {
            return Verdict::Drop(DropReason::NotForUs);
        }
        match Answer::for_unwanted(packet) {
            Some(_) if is_broken(frame.bytes(), packet) => Verdict::Drop(DropReason::Unanswerable),
            Some(answer) => self.answer_as_host(snapshot, answer, frame, packet, at),
            None => Verdict::Drop(DropReason::NotForUs),
        }
    }

    /// Whether an answer to this address, an ICMP error or another one, may be given now.
    pub(super) fn may_answer(
        &mut self,
        snapshot: &Snapshot,
        error: Option<icmp::Error>,
        to: Addr,
        now: Tick,
    ) -> bool {
        if !snapshot.compat.as_kernel || self.answers.is_unlimited() {
            return self.answers.take(now);
        }
        // The kernel limits errors alone.
        let Some(error) = error else { return true };
        let length = snapshot.exits.lookup(to).map_or(0, |exit| exit.length);
        let (receivers, errors) = self
            .as_kernel
            .get_or_insert_with(|| {
                let cores = self.shared.cores();
                Box::new((Receivers::new(self.shared.key.0[0]), Budget::of_kernel(cores)))
            })
            .as_mut();
        receivers.take(to, length, error, now)
            && (matches!(error, icmp::Error::PacketTooBig { .. }) || errors.take(now))
    }

    /// Answers a packet that came for the host itself.
    pub(super) fn answer_as_host(
        &mut self,
        snapshot: &Snapshot,
        answer: Answer,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        // It would go to this very host, which never sent the packet.
        if snapshot.hosts.get(packet.src).is_some() {
            return Verdict::Drop(DropReason::Unanswerable);
        }
        self.answer(snapshot, answer, frame, packet, at)
    }

    pub(super) fn answer(
        &mut self,
        snapshot: &Snapshot,
        answer: Answer,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        if !self.may_answer(snapshot, answer.error(), packet.src, at.now) {
            return Verdict::Drop(DropReason::AnswerLimited);
        }
        match answer.write(frame, packet, self.mac(at.port)) {
            Ok(()) => self.answered(at.port),
            Err(_) => Verdict::Drop(DropReason::Unanswerable),
        }
    }

    pub(super) fn answered(&mut self, ingress: PortIndex) -> Verdict {
        if let Some(counters) = self.counters() {
            counters.answered.add(1);
        }
        self.answers_given = self.answers_given.wrapping_add(1);
        Verdict::Forward(ingress)
    }

    pub(super) fn kernel_port(&self, snapshot: &Snapshot, ingress: PortIndex) -> Option<PortIndex> {
        snapshot.port(ingress)?.peer
    }

    pub(super) fn hand_to_kernel(&self, kernel: PortIndex) -> Verdict {
        if let Some(counters) = self.counters() {
            counters.to_kernel.add(1);
        }
        Verdict::Forward(kernel)
    }

    pub(super) fn to_kernel(
        &self,
        snapshot: &Snapshot,
        ingress: PortIndex,
        otherwise: DropReason,
    ) -> Verdict {
        match self.kernel_port(snapshot, ingress) {
            Some(kernel) => self.hand_to_kernel(kernel),
            None => Verdict::Drop(otherwise),
        }
    }

    pub(super) fn to_kernel_or_punt(&self, snapshot: &Snapshot, ingress: PortIndex) -> Verdict {
        match self.kernel_port(snapshot, ingress) {
            Some(kernel) => self.hand_to_kernel(kernel),
            None => Verdict::Punt,
        }
    }

    /// What the kernel sends leaves on the NIC port that it stands behind, as it is.
    pub(super) fn kernel_sends(port: &PortFacts) -> Verdict {
        match port.peer {
            Some(nic) => Verdict::Forward(nic),
            None => Verdict::Drop(DropReason::NotForUs),
        }
    }
}

/// Whether a UDP datagram is one that a host drops before it asks who listens (RFC 1122, 4.1.3.4;
/// over IPv6 also without a checksum: RFC 8200, 8.1). Of fragments nobody can tell.
fn is_broken(frame: &[u8], packet: &Packet) -> bool {
    packet.protocol == Protocol::Udp
        && packet.fragment == Fragment::Whole
        && !checksum::transport_holds(frame, packet)
}
