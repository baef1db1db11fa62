//! Fragments on their way: first ones decide, later ones follow or wait.

use super::{Arrival, Path};
use crate::bindings::{Outcome, follows_key_exchange};
use crate::port::Frame;
use crate::snapshot::Snapshot;
use crate::verdict::{DropReason, Verdict};
use crate::wire::{
    Family, Fragment, Malformed, Packet, Parsed, Protocol, icmp, ipv4, parse, parse_piece,
    read_whole_header, tcp,
};

/// A fragment, even one that lacks a part of its transport header.
pub(super) fn as_piece(frame: &[u8]) -> Option<Packet> {
    match parse(frame) {
        Parsed::Packet(packet) => Some(packet),
        Parsed::Malformed(Malformed::TinyFragment) => parse_piece(frame),
        _ => None,
    }
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
        if self.waits_for_all(snapshot, frame, packet, at) {
            return Verdict::Early;
        }
        // The header may be in pieces, and is read where they were put together.
        let own = packet.transport(frame.bytes());
        let header = self.fragments.head(packet).unwrap_or(own);
        let Some(packet) = &read_whole_header(packet, header) else {
            return Verdict::Drop(Malformed::TinyFragment.into());
        };
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
        if self.waits_for_all(snapshot, frame, packet, at) {
            return Verdict::Early;
        }
        let packet = &self.with_ports(snapshot, packet, at);
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
        self.fragments.forget(&packet);
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

    /// Whether a fragment waits because nothing is decided before its datagram is whole.
    fn waits_for_all(
        &mut self,
        snapshot: &Snapshot,
        frame: &impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> bool {
        let limits = &snapshot.fragments;
        limits.whole
            && self.may_be_balanced(snapshot, packet)
            && !self.fragments.gather(packet, packet.transport(frame.bytes()), at.now, limits)
    }

    /// A later fragment that has the checksum of its TCP segment, which changes with addresses and
    /// ports: with the ports of the first one. Any other as it is.
    fn with_ports(&self, snapshot: &Snapshot, packet: &Packet, at: Arrival) -> Packet {
        match packet.fragment {
            Fragment::Later { offset, .. }
                if packet.protocol == Protocol::Tcp && usize::from(offset) <= tcp::CHECKSUM =>
            {
                let ports = self.fragments.ports(packet, at.now, &snapshot.fragments);
                let (src_port, dst_port) = ports.unwrap_or_default();
                Packet { src_port, dst_port, ..*packet }
            }
            _ => *packet,
        }
    }

    /// Whether a fragment without ports can belong to a datagram that a service takes, or
    /// to a masqueraded reply.
    fn may_be_balanced(&self, snapshot: &Snapshot, packet: &Packet) -> bool {
        let carried = packet.protocol.has_ports()
            || follows_key_exchange(packet.protocol)
            || packet.family == Family::V6;
        carried
            && (snapshot.classifier.has_address(packet.dst)
                || snapshot.masqueraded.has_address(packet.src))
    }
}
