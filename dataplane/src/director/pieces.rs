//! Fragments on their way: first ones decide, later ones follow or wait.

use super::{Arrival, Path};
use crate::bindings::Outcome;
use crate::bindings::follows_key_exchange;
use crate::datagram::{Datagram, as_piece, payload_at};
use crate::gathering::Gathered;
use crate::port::Frame;
use crate::snapshot::Snapshot;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, Mac};
use crate::wire::{Family, Fragment, Packet, Parsed, Protocol, icmp, ipv4, parse};

/// What became of a datagram that was put together.
#[derive(Clone, Copy)]
pub(crate) struct Whole {
    pub(crate) verdict: Verdict,
    /// Whether what stands in its frame now is an answer.
    pub(crate) answered: bool,
    /// Whether the kernel has its fragments still apart.
    pub(crate) apart: bool,
}

impl Path {
    /// The fragment that has the transport header.
    pub(super) fn first_fragment(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
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
        match self.fragments.follow(packet, at.now, &snapshot.fragments) {
            // The first one was answered already.
            Some(Outcome::Refuse) => Verdict::Drop(DropReason::NoRealServer),
            Some(outcome) => {
                self.bindings.count_piece(outcome, packet);
                self.carry_out(outcome, snapshot, frame, packet, at)
            }
            None if Self::may_be_balanced(snapshot, packet) => Verdict::Early,
            None => self.host(snapshot, frame, packet, at),
        }
    }

    /// A fragment whose datagram's rest did not come in time: as the kernel, the first one's
    /// sender is told (RFC 792; RFC 8200, 4.5).
    pub(super) fn incomplete(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        at: Arrival,
    ) -> Verdict {
        let Some(packet) = as_piece(frame.bytes()) else {
            return Verdict::Drop(DropReason::FragmentEarly);
        };
        self.gathering.forget(&packet);
        if !snapshot.compat.as_kernel || packet.is_later_fragment() {
            return Verdict::Drop(DropReason::FragmentEarly);
        }
        if packet.family == Family::V4 && snapshot.hosts.get(packet.dst).is_none() {
            // One that was to be sent on has lost a hop by then.
            ipv4::decrement_ttl(frame.bytes_mut(), &packet);
        }
        self.tell_sender(snapshot, frame, &packet, icmp::Error::ReassemblyTime, at)
            .unwrap_or(Verdict::Drop(DropReason::FragmentEarly))
    }

    /// What becomes of a fragment where nothing is decided before its datagram is whole; `None`
    /// where it is treated by itself nevertheless.
    pub(super) fn gather(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Option<Verdict> {
        let limits = &snapshot.fragments;
        let to_one = !ethernet::destination(frame.bytes()).is_some_and(Mac::is_multicast);
        if packet.fragment == Fragment::Whole || !limits.whole {
            return None;
        }
        if to_one
            && Self::may_be_balanced(snapshot, packet)
            && !self.fragments.is_decided(packet, at.now, limits)
        {
            // IPv6 datagrams are put together before anything is asked.
            if packet.family == Family::V4
                && let Some(verdict) = self.refused_on_its_way(snapshot, frame, packet, at)
            {
                return Some(verdict);
            }
            let payload = payload_at(frame.bytes(), packet);
            let len = packet.end().saturating_sub(payload);
            match self.gathering.add(packet, len, at.now, limits) {
                Gathered::Waits => return Some(Verdict::Early),
                Gathered::Known | Gathered::Broken => {
                    return Some(Verdict::Drop(DropReason::BadFragment));
                }
                // As without waiting.
                Gathered::NoRoom => {}
            }
        }
        match parse(frame.bytes()) {
            Parsed::Malformed(malformed) => Some(Verdict::Drop(malformed.into())),
            _ => None,
        }
    }

    /// Decides about a datagram that was put together.
    pub(super) fn whole(
        &mut self,
        snapshot: &Snapshot,
        datagram: &mut Datagram,
        at: Arrival,
    ) -> Whole {
        let Parsed::Packet(packet) = parse(datagram.frame.bytes()) else {
            let verdict = Verdict::Drop(DropReason::BadFragment);
            return Whole { verdict, answered: false, apart: false };
        };
        // What the kernel has put together for itself it has copied into one piece.
        let apart = packet.family == Family::V6 || snapshot.hosts.get(packet.dst).is_none();
        let answers = self.answers_given;
        (self.longest, self.is_spliced) = (Some(datagram.longest), false);
        let verdict = self.handle(snapshot, &mut datagram.frame, at);
        self.longest = None;
        let apart = apart && !self.is_spliced;
        Whole { verdict, answered: self.answers_given != answers, apart }
    }

    /// Whether a fragment without ports can belong to a datagram that a service takes, or
    /// to a masqueraded reply.
    pub(super) fn may_be_balanced(snapshot: &Snapshot, packet: &Packet) -> bool {
        let carried = packet.protocol.has_ports()
            || snapshot.fragments.whole && packet.protocol == Protocol::Icmp
            || follows_key_exchange(packet.protocol)
            || packet.family == Family::V6;
        carried
            && (snapshot.classifier.has_address(packet.dst)
                || snapshot.masqueraded.has_address(packet.src))
    }
}
