//! One frame's way: parse, classify, bind, rewrite.

use std::sync::Arc;

use super::Surroundings;
use super::passing::{self, Inward};
use crate::answer::{Answer, Budget, Receivers};
use crate::bindings::{Bindings, Outcome};
use crate::counters::CoreCounters;
use crate::fragments::Fragments;
use crate::gathering::Gathering;
use crate::ids::PortIndex;
use crate::mailbox::Event;
use crate::port::Frame;
use crate::shared::Shared;
use crate::snapshot::Snapshot;
use crate::tick::Tick;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, Mac};
use crate::wire::ndp;
use crate::wire::{Fragment, Malformed, Packet, Parsed, Protocol, icmp, ipv6, parse, parse_piece};

/// All of a director but its configuration.
pub(super) struct Path {
    pub(super) shared: Arc<Shared>,
    pub(super) bindings: Bindings,
    pub(super) surroundings: Surroundings,
    pub(super) answers: Budget,
    /// What the kernel would still answer, where its limits hold.
    pub(super) as_kernel: Option<Box<(Receivers, Budget)>>,
    pub(super) fragments: Fragments,
    pub(super) gathering: Gathering,
    /// The longest fragment of the datagram in hand, if it was put together.
    pub(super) longest: Option<u16>,
    /// Whether something was written into the datagram in hand that made it one piece.
    pub(super) is_spliced: bool,
    /// Answers given so far.
    pub(super) answers_given: u32,
    /// Tunnelled packets so far, for their identifications.
    pub(super) packets_made: u64,
}

/// Where and when a frame came in.
#[derive(Clone, Copy)]
pub(super) struct Arrival {
    pub(super) port: PortIndex,
    pub(super) now: Tick,
}

impl Path {
    /// See [`Director::fragments_remembered`].
    pub(super) fn remembered(&self) -> u64 {
        self.fragments.remembered().wrapping_add(self.gathering.count())
    }

    pub(super) fn counters(&self) -> Option<&CoreCounters> {
        self.shared.counters.get(self.bindings.core()).map(|padded| &**padded)
    }

    pub(super) fn handle(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        at: Arrival,
    ) -> Verdict {
        let Some(port) = snapshot.port(at.port) else { return Verdict::Drop(DropReason::NotForUs) };
        if port.kernel_facing {
            return Self::kernel_sends(port);
        }
        let parsed = match parse(frame.bytes()) {
            // Where datagrams are put together before anything is decided, their headers are.
            refused @ Parsed::Malformed(Malformed::TinyFragment) if snapshot.fragments.whole => {
                parse_piece(frame.bytes()).map_or(refused, Parsed::Packet)
            }
            parsed => parsed,
        };
        if !matches!(parsed, Parsed::Malformed(_))
            && let Some(reason) = self.not_ours(frame.bytes(), at.port)
        {
            return Verdict::Drop(reason);
        }
        match parsed {
            Parsed::Packet(packet) => {
                if packet.vlan.id() != port.vlan.id() {
                    return Verdict::Drop(DropReason::OtherVlan);
                }
                // What puts datagrams together leaves no trace of a fragment.
                if snapshot.fragments.whole
                    && ipv6::take_fragment_header(frame, &packet)
                    && let Parsed::Packet(packet) = parse(frame.bytes())
                {
                    return self.packet(snapshot, frame, &packet, at);
                }
                self.packet(snapshot, frame, &packet, at)
            }
            Parsed::Arp(arp) if arp.vlan.id() != port.vlan.id() => {
                Verdict::Drop(DropReason::OtherVlan)
            }
            Parsed::Arp(arp) => self.arp(snapshot, frame, &arp, at.port),
            Parsed::Other => self.to_kernel(snapshot, at.port, DropReason::NotForUs),
            Parsed::Malformed(malformed) => Verdict::Drop(malformed.into()),
        }
    }

    /// A frame for another station, as a flooding switch or a promiscuous port delivers it.
    pub(super) fn not_ours(&self, frame: &[u8], ingress: PortIndex) -> Option<DropReason> {
        let destination = ethernet::destination(frame)?;
        let ours = destination.is_multicast() || destination == self.mac(ingress);
        (!ours).then_some(DropReason::OtherMac)
    }

    pub(super) fn mac(&self, port: PortIndex) -> Mac {
        self.surroundings.macs.get(usize::from(port.0)).copied().unwrap_or_default()
    }

    /// Whether a packet is dropped for its addresses: nobody's outside of a host (RFC 1122, 3.2.1.3;
    /// RFC 4291, 2.5.3), or, as a host that is a router drops it, its own source.
    pub(super) fn refuses(snapshot: &Snapshot, packet: &Packet) -> bool {
        packet.dst.is_inside_a_host()
            || packet.src.is_inside_a_host() && !packet.dst.is_broadcast()
            || snapshot.masqueraded.everybody && passing::is_from_itself(snapshot, packet)
    }

    pub(super) fn packet(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        if Self::refuses(snapshot, packet) {
            return Verdict::Drop(DropReason::BadAddress);
        }
        if let Some(verdict) = self.gather(snapshot, frame, packet, at) {
            return verdict;
        }
        if matches!(packet.protocol, Protocol::Icmp | Protocol::Icmpv6)
            && !packet.is_later_fragment()
        {
            if packet.fragment != Fragment::Whole {
                self.fragments.remember(packet, Outcome::NotOurs, at.now);
            }
            return self.icmp(snapshot, frame, packet, at);
        }
        // IPVS balances only what was sent to this station alone.
        if ethernet::destination(frame.bytes()).is_some_and(Mac::is_multicast) {
            return self.to_kernel(snapshot, at.port, DropReason::NotForUs);
        }
        match packet.fragment {
            Fragment::Whole => {
                if let Some(refused) = self.refused_on_its_way(snapshot, frame, packet, at) {
                    return refused;
                }
                let transport = packet.transport(frame.bytes());
                let outcome = self.bindings.bind(packet, transport, snapshot, at.now);
                self.carry_out(outcome, snapshot, frame, packet, at)
            }
            Fragment::First { .. } => self.first_fragment(snapshot, frame, packet, at),
            Fragment::Later { .. } => self.later_fragment(snapshot, frame, packet, at),
        }
    }

    /// Does to a frame what was decided about its packet.
    pub(super) fn carry_out(
        &mut self,
        outcome: Outcome,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        match outcome {
            Outcome::Forward { real, forwarding, real_port } => {
                let Some(real) = snapshot.real(real) else {
                    return Verdict::Drop(DropReason::RealServerGone);
                };
                let address = self.bindings.take_elsewhere().unwrap_or(real.address);
                let to = Inward { packet, real, forwarding, real_port, address };
                self.forward(snapshot, frame, to, at)
            }
            Outcome::Reply { real, from } => self.reply(snapshot, frame, packet, (real, from), at),
            Outcome::NotOurs => self.host(snapshot, frame, packet, at),
            Outcome::Refuse => {
                let refusal = Answer::Icmp(icmp::Error::PortUnreachable);
                match self.answer(snapshot, refusal, frame, packet, at) {
                    Verdict::Drop(_) => Verdict::Drop(DropReason::NoRealServer),
                    answered => answered,
                }
            }
            Outcome::Drop(reason) => Verdict::Drop(reason),
        }
    }

    pub(super) fn want(&self, neighbour: crate::ids::NeighbourId) {
        if self.shared.neighbours.want(neighbour) && !self.tell(Event::Wanted(neighbour)) {
            // Nobody heard it: the next packet asks again.
            self.shared.neighbours.unwant(neighbour);
        }
    }

    /// Tells control; `false` where its queue is full.
    pub(super) fn tell(&self, event: Event) -> bool {
        let mailbox = self.shared.mailboxes.get(self.bindings.core());
        mailbox.is_some_and(|mailbox| mailbox.events.push(event).is_ok())
    }

    /// ICMP: errors about a balanced flow follow it; echo and neighbour discovery are
    /// answered; the rest is the host's.
    pub(super) fn icmp(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        if let Some(quoted) = icmp::quoted(frame.bytes(), packet)
            && let Some(verdict) = self.follow(snapshot, frame, packet, &quoted, at)
        {
            return verdict;
        }
        if packet.protocol == Protocol::Icmpv6
            && let Ok(message) = ndp::parse(frame.bytes(), packet)
        {
            return self.neighbour_discovery(snapshot, frame, packet, &message, at.port);
        }
        if icmp::is_echo_request(packet) && snapshot.hosts.get(packet.dst).is_some() {
            return self.answer_as_host(snapshot, Answer::Echo, frame, packet, at);
        }
        self.host(snapshot, frame, packet, at)
    }
}
