//! Sending on: to real servers, back to clients, and the errors that come of it.

use super::{Arrival, Path};
use crate::answer::Answer;
use crate::bindings::Outcome;
use crate::compat::TtlPolicy;
use crate::forward::ftp;
use crate::forward::masq::{self, End, Endpoint, Unwritable};
use crate::forward::{Egress, Forwarding, Inner, Outer, Rewrite, admit, route, send};
use crate::ids::NeighbourId;
use crate::mailbox::Event;
use crate::port::Frame;
use crate::route::Exit;
use crate::snapshot::{NextHop, Real, Snapshot};
use crate::verdict::{DropReason, Verdict};
use crate::wire::{Addr, Family, Packet, Parsed, Protocol, TcpFlags, icmp, parse};

/// A packet on its way to a real server.
#[derive(Clone, Copy)]
pub(super) struct Inward<'a> {
    pub packet: &'a Packet,
    pub real: &'a Real,
    pub forwarding: Forwarding,
    pub real_port: u16,
}

impl Inward<'_> {
    fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.real.address, port: self.real_port }
    }
}

impl Path {
    pub(super) fn egress<'a>(&'a self, snapshot: &Snapshot, real: Option<&Real>) -> Egress<'a> {
        let compat = real
            .and_then(|real| snapshot.service(real.service))
            .map_or(&snapshot.compat, |service| &service.compat);
        Egress {
            macs: &self.surroundings.macs,
            neighbours: &self.shared.neighbours,
            ttl: compat.ttl,
        }
    }

    /// Sends a packet on to its real server.
    pub(super) fn forward(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        to: Inward<'_>,
        at: Arrival,
    ) -> Verdict {
        let Inward { packet, real, forwarding, .. } = to;
        if real.local || forwarding == Forwarding::Local {
            // Nothing from outside may reach the host as if it were the host itself.
            if forwarding == Forwarding::Masq && real.address.is_loopback() {
                return Verdict::Drop(DropReason::BadAddress);
            }
            if forwarding == Forwarding::Masq
                && let Some(verdict) = self.masqueraded_host(snapshot, frame, to, at)
            {
                return verdict;
            }
            let verdict = self.host(snapshot, frame, packet, at);
            if verdict == Verdict::Forward(at.port) {
                self.count_answer(frame, packet, true, at);
                if packet.protocol == Protocol::Tcp {
                    // The host has reset the connection, and IPVS sees what the host sends.
                    self.bindings.reset_by_host(packet, snapshot, at.now);
                }
            }
            return verdict;
        }
        let Some(next) = real.next_hop else { return Verdict::Drop(DropReason::NoNeighbour) };
        if let Some(lost) = self.lose(snapshot, frame, to, &next, at) {
            return lost;
        }
        if forwarding == Forwarding::Tunnel {
            return self.wrap(snapshot, frame, to, &next, at);
        }
        let packet = &self.weighed(packet, next.mtu);
        let egress = self.egress(snapshot, Some(real));
        let rewrite = match forwarding {
            Forwarding::Route | Forwarding::Local | Forwarding::Tunnel => {
                route(frame, packet, &next, &egress)
            }
            Forwarding::Masq => match admit(frame, packet, next.mtu, egress.ttl) {
                Err(refused) => refused,
                Ok(()) => {
                    let end = End::Destination;
                    if let Err(why) = masq::rewrite(frame.bytes_mut(), packet, end, to.endpoint()) {
                        return unwritable(why);
                    }
                    send(frame, packet.vlan, &next, &egress)
                }
            },
        };
        self.sent(snapshot, (rewrite, packet.total_len <= next.mtu), frame, packet, None, at)
    }

    /// Looks for the packet's own destination on the real servers' network, where the route was
    /// made for another method ([`SharedRoute`](crate::snapshot::SharedRoute)). `None` for all
    /// that find their way.
    fn lose(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        to: Inward<'_>,
        next: &NextHop,
        at: Arrival,
    ) -> Option<Verdict> {
        let Inward { packet, real, forwarding, .. } = to;
        if real.shared_route.as_ref()?.leads(forwarding) {
            return None;
        }
        // A gateway is one for all methods.
        let exit = *snapshot.exits.lookup(real.address).filter(|exit| exit.gateway.is_none())?;
        let ttl = self.egress(snapshot, Some(real)).ttl;
        Some(match admit(frame, packet, next.mtu, ttl) {
            Err(refused) => self.sent(snapshot, (refused, true), frame, packet, None, at),
            Ok(()) => self.seek(frame, packet, &exit),
        })
    }

    /// What the host answers to a packet of a one-packet service that is masqueraded to another
    /// of its own addresses: about the packet as it has it, and from that address. `None` for
    /// all others, where the answer goes back through IPVS and the VIP is its source again.
    fn masqueraded_host(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        to: Inward<'_>,
        at: Arrival,
    ) -> Option<Verdict> {
        let Inward { packet, real, .. } = to;
        let one_packet = snapshot.service(real.service).is_some_and(|service| service.one_packet);
        if real.address == packet.dst
            || packet.protocol != Protocol::Udp
            || !one_packet
            || self.kernel_port(snapshot, at.port).is_some()
        {
            return None;
        }
        let bytes = frame.bytes_mut();
        if let Err(why) = masq::rewrite(bytes, packet, End::Destination, to.endpoint()) {
            return Some(unwritable(why));
        }
        let arrived = Packet { dst: real.address, dst_port: to.real_port, ..*packet };
        Some(self.host(snapshot, frame, &arrived, at))
    }

    /// Sends a packet on through its real server's tunnel.
    fn wrap(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        to: Inward<'_>,
        next: &NextHop,
        at: Arrival,
    ) -> Verdict {
        let Inward { packet, real, .. } = to;
        let (tunnel, family) = (real.tunnel, real.address.family());
        let compat = snapshot.service(real.service).map_or(snapshot.compat, |s| s.compat);
        let Some(room) = tunnel.room(family, next.mtu) else {
            // Nothing fits, and still the TTL comes first.
            return match admit(frame, packet, u16::MAX, compat.ttl) {
                Err(refused) => self.sent(snapshot, (refused, true), frame, packet, None, at),
                Ok(()) => Verdict::Drop(DropReason::TooBig),
            };
        };
        let Some(src) = real.tunnel_source else { return Verdict::Drop(DropReason::NoNeighbour) };
        let packet = &self.weighed(packet, room);
        // The outer packet is the director's own, and may be cut over IPv6 as well; but whoever
        // sends IPv6 packets expects to be told.
        let may_cut = match packet.family {
            Family::V4 => !(packet.dont_fragment && compat.pmtu_disc),
            Family::V6 if self.longest.is_some() => !packet.dont_fragment,
            Family::V6 => family == Family::V4 && !(packet.dont_fragment && compat.pmtu_disc),
        };
        let limit = if may_cut && packet.family == Family::V4 { u16::MAX } else { room };
        let admitted = match admit(frame, packet, limit, compat.ttl) {
            Ok(()) if !may_cut && packet.total_len > room => Err(Rewrite::TooBig { mtu: room }),
            admitted => admitted,
        };
        if let Err(refused) = admitted {
            return self.sent(snapshot, (refused, true), frame, packet, None, at);
        }
        let taken = u8::from(compat.ttl == TtlPolicy::Decrement);
        let outer = Outer {
            src,
            dst: real.address,
            ttl: packet.ttl.saturating_sub(taken),
            dont_fragment: packet.family == Family::V4 && packet.dont_fragment && compat.pmtu_disc,
            id: next_id(&mut self.packets_made, self.bindings.core(), self.shared.key.0),
            flow: flow_hash(
                [packet.src, packet.dst],
                [packet.src_port, packet.dst_port],
                self.shared.key.0,
            ),
        };
        if !tunnel.wrap(frame, Inner::of(packet), &outer) {
            return Verdict::Drop(DropReason::FrameMemory);
        }
        let rewrite = send(frame, packet.vlan, next, &self.egress(snapshot, Some(real)));
        self.sent(snapshot, (rewrite, packet.total_len <= room), frame, packet, None, at)
    }

    /// A packet as a link with this MTU is asked about it: of an IPv6 datagram that was put
    /// together only the fragments have to fit.
    fn weighed(&self, packet: &Packet, mtu: u16) -> Packet {
        match self.longest {
            Some(longest) if packet.family == Family::V6 => {
                Packet { dont_fragment: longest > mtu, ..*packet }
            }
            _ => *packet,
        }
    }

    /// Sends a real server's packet on to its client, as coming from the VIP.
    pub(super) fn reply(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        from: Option<Endpoint>,
        at: Arrival,
    ) -> Verdict {
        let speaks_ftp = from.is_some_and(|from| {
            from.port == ftp::CONTROL_PORT
                && packet.protocol == Protocol::Tcp
                && snapshot
                    .classifier
                    .lookup(from.address, packet.protocol, from.port)
                    .and_then(|hit| snapshot.service(hit.service))
                    .is_some_and(|service| service.compat.ip_vs_ftp)
        });
        self.outward(snapshot, frame, packet, at, |frame| match from {
            Some(from) => {
                if speaks_ftp {
                    ftp::translate(frame, packet, from.address);
                }
                masq::rewrite(frame, packet, End::Source, from)
            }
            None => Ok(()),
        })
    }

    /// What a router says of a real server's packet to a client before anybody asks whose answer it
    /// is, so that it counts nowhere: that its TTL has run out, or that it is too long.
    pub(super) fn refused_on_its_way(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Option<Verdict> {
        if !snapshot.masqueraded.has_address(packet.src) || snapshot.hosts.get(packet.dst).is_some()
        {
            return None;
        }
        let mtu = snapshot.exits.lookup(packet.dst)?.mtu;
        let refused = self.refuses_to_route(snapshot, packet, mtu)?;
        let own = snapshot.port(at.port).and_then(|port| port.own(packet.family));
        Some(self.sent(snapshot, (refused, true), frame, packet, own, at))
    }

    /// Why a router does not send a packet on to a link with this MTU. The length is looked at
    /// before one is taken off the TTL.
    fn refuses_to_route(&self, snapshot: &Snapshot, packet: &Packet, mtu: u16) -> Option<Rewrite> {
        let packet = self.weighed(packet, mtu);
        let counts = self.egress(snapshot, None).ttl == TtlPolicy::Decrement;
        if counts && packet.ttl <= 1 {
            return Some(Rewrite::TtlExceeded);
        }
        let too_big = packet.dont_fragment && packet.total_len > mtu && !self.is_stuck(&packet);
        too_big.then_some(Rewrite::TooBig { mtu })
    }

    /// Whether a packet forbids cutting and came in fragments nevertheless: on its way back it
    /// gets no further than here.
    fn is_stuck(&self, packet: &Packet) -> bool {
        self.longest.is_some() && packet.family == Family::V4 && packet.dont_fragment
    }

    /// Sends a packet on by the routing table, as a router: the TTL and the length are
    /// looked at first, and errors about it come from the director's own address.
    fn outward(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
        change: impl FnOnce(&mut [u8]) -> Result<(), Unwritable>,
    ) -> Verdict {
        let Some(exit) = snapshot.exits.lookup(packet.dst).copied() else {
            return Verdict::Drop(DropReason::NoNeighbour);
        };
        let own = snapshot.port(at.port).and_then(|port| port.own(packet.family));
        let ttl = self.egress(snapshot, None).ttl;
        let admitted = match self.refuses_to_route(snapshot, packet, exit.mtu) {
            Some(refused) => Err(refused),
            None => admit(frame, packet, u16::MAX, ttl),
        };
        if let Err(refused) = admitted {
            return self.sent(snapshot, (refused, true), frame, packet, own, at);
        }
        if let Err(why) = change(frame.bytes_mut()) {
            return unwritable(why);
        }
        if self.is_stuck(packet) {
            let too_big = Rewrite::TooBig { mtu: exit.mtu };
            return self.stuck(snapshot, frame, packet, too_big, own, at);
        }
        let Some(next) = self.next_hop(&exit, packet.dst) else {
            return self.seek(frame, packet, &exit);
        };
        let rewrite = send(frame, packet.vlan, &next, &self.egress(snapshot, None));
        self.sent(snapshot, (rewrite, packet.total_len <= exit.mtu), frame, packet, own, at)
    }

    /// A reply that was put together and must not be cut again, as it was to leave. The kernel
    /// tells its sender, which is the VIP by now, so that the error comes in again and follows
    /// the connection to the real server.
    fn stuck(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        too_big: Rewrite,
        own: Option<Addr>,
        at: Arrival,
    ) -> Verdict {
        let leaving = match parse(frame.bytes()) {
            Parsed::Packet(leaving) if leaving.src != packet.src => leaving,
            _ => return self.sent(snapshot, (too_big, true), frame, packet, own, at),
        };
        self.longest = None;
        match self.sent(snapshot, (too_big, true), frame, &leaving, Some(leaving.src), at) {
            Verdict::Forward(_) => match parse(frame.bytes()) {
                Parsed::Packet(error) => self.icmp(snapshot, frame, &error, at),
                _ => Verdict::Drop(DropReason::TooBig),
            },
            dropped => dropped,
        }
    }

    pub(super) fn next_hop(&self, exit: &Exit, to: Addr) -> Option<NextHop> {
        let neighbour = match exit.gateway {
            Some(gateway) => Some(gateway),
            None => self.shared.neighbours.find(exit.port, to),
        }?;
        Some(NextHop { port: exit.port, neighbour, vlan: exit.vlan, mtu: exit.mtu })
    }

    /// The destination is in a connected network and was never asked for.
    pub(super) fn seek(&self, frame: &mut impl Frame, packet: &Packet, exit: &Exit) -> Verdict {
        let unknown = NextHop {
            port: exit.port,
            // An id that is never given out: the MAC address is not known.
            neighbour: NeighbourId(u32::MAX),
            vlan: exit.vlan,
            mtu: exit.mtu,
        };
        let egress = Egress {
            macs: &self.surroundings.macs,
            neighbours: &self.shared.neighbours,
            ttl: TtlPolicy::Keep,
        };
        match send(frame, packet.vlan, &unknown, &egress) {
            Rewrite::NoRoom => Verdict::Drop(DropReason::FrameMemory),
            _ => {
                self.tell(Event::Sought { port: exit.port, address: packet.dst });
                Verdict::Seek(packet.dst, exit.port)
            }
        }
    }

    /// From what became of a frame to what is to be done with it: split, where it does not
    /// fit. Errors come from `own`, or from the address that the packet was sent to.
    pub(super) fn sent(
        &mut self,
        snapshot: &Snapshot,
        (rewrite, fits): (Rewrite, bool),
        frame: &mut impl Frame,
        packet: &Packet,
        own: Option<Addr>,
        at: Arrival,
    ) -> Verdict {
        let from = own.unwrap_or(packet.dst);
        match rewrite {
            Rewrite::Sent(port) if fits => Verdict::Forward(port),
            Rewrite::Sent(port) => Verdict::Fragment(port),
            Rewrite::Unresolved(neighbour, port) => {
                self.want(neighbour);
                Verdict::Hold(neighbour, port)
            }
            Rewrite::TtlExceeded => {
                let answer = Answer::IcmpFrom(from, icmp::Error::TimeExceeded);
                self.answer_or(snapshot, answer, DropReason::TtlExceeded, frame, packet, at)
            }
            Rewrite::TooBig { mtu } => {
                let answer = Answer::IcmpFrom(from, icmp::Error::PacketTooBig { mtu });
                self.answer_or(snapshot, answer, DropReason::TooBig, frame, packet, at)
            }
            Rewrite::NoRoom => Verdict::Drop(DropReason::FrameMemory),
        }
    }

    /// Counts an answer that stands where the packet was: of the real server, if the host is one.
    pub(super) fn count_answer(
        &self,
        frame: &impl Frame,
        packet: &Packet,
        is_server: bool,
        at: Arrival,
    ) {
        if let Parsed::Packet(answer) = parse(frame.bytes()) {
            self.bindings.answered_by_host(packet, answer.total_len, is_server, at.now);
        }
    }

    /// Answers where that is allowed, else drops for the given reason.
    fn answer_or(
        &mut self,
        snapshot: &Snapshot,
        answer: Answer,
        reason: DropReason,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        match self.answer(snapshot, answer, frame, packet, at) {
            Verdict::Drop(_) => Verdict::Drop(reason),
            answered => {
                self.count_answer(frame, packet, false, at);
                answered
            }
        }
    }

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
        if let Some(related) = self.bindings.related(error, quoted, snapshot, at.now) {
            let real = snapshot.real(related.real)?;
            let to = Inward {
                packet: error,
                real,
                forwarding: related.forwarding,
                real_port: related.real_port,
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
                    let to =
                        Inward { packet: error, real: snapshot.real(real)?, forwarding, real_port };
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
            masq::rewrite_error(frame, error, quoted, End::Source, from)
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
        let Some(next) = to.real.next_hop else { return Verdict::Drop(DropReason::NoNeighbour) };
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

    /// A masqueraded real server's packet that belongs to no connection: its own traffic
    /// to the world, which passes as it is; or, where `nat_icmp_send` says so, a late reply.
    pub(super) fn unknown_reply(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        let ends = match packet.protocol {
            Protocol::Tcp => packet.tcp_flags.contains(TcpFlags::RST),
            Protocol::Sctp => {
                use crate::conn::sctp::Event;
                Event::of(packet.sctp_chunks) == Event::Abort
            }
            _ => false,
        };
        if snapshot.compat.nat_icmp_send
            && packet.protocol.has_ports()
            && !ends
            && snapshot.masqueraded.has_port(packet.protocol, packet.src, packet.src_port)
            && let Some(own) = snapshot.port(at.port).and_then(|port| port.own(packet.family))
        {
            // Quoted as a router has it already: with one taken off its TTL.
            let ttl = self.egress(snapshot, None).ttl;
            if let Err(refused) = admit(frame, packet, u16::MAX, ttl) {
                return self.sent(snapshot, (refused, true), frame, packet, Some(own), at);
            }
            let refusal = Answer::IcmpFrom(own, icmp::Error::PortUnreachable);
            return self.answer_or(snapshot, refusal, DropReason::NotForUs, frame, packet, at);
        }
        if let Some(kernel) = self.kernel_port(snapshot, at.port) {
            return self.hand_to_kernel(kernel);
        }
        let for_one_host = !packet.dst.is_multicast() && !packet.dst.is_broadcast();
        if !for_one_host || is_from_itself(snapshot, packet) {
            return Verdict::Drop(DropReason::NotForUs);
        }
        self.outward(snapshot, frame, packet, at, |_| Ok(()))
    }
}

/// Identifications of the director's own IPv4 packets: hard to guess, and seldom twice
/// in a row of 2^16 (RFC 6864, 4.3).
pub(super) fn next_id(packets_made: &mut u64, core: usize, key: [u64; 2]) -> u16 {
    *packets_made = packets_made.wrapping_add(1);
    (hash([*packets_made, core as u64, 0, 0], key) as u16).max(1)
}

/// A number that is the same for all packets of a flow.
pub(super) fn flow_hash(addresses: [Addr; 2], ports: [u16; 2], key: [u64; 2]) -> u64 {
    let [[a, b], [c, d]] = addresses.map(Addr::words);
    let [source, destination] = ports.map(u64::from);
    hash([a ^ (source << 16 | destination), b, c, d], key)
}

fn hash(words: [u64; 4], [first, second]: [u64; 2]) -> u64 {
    words.iter().fold(first, |hash, word| {
        let product = u128::from(hash ^ word ^ 0x9E37_79B9_7F4A_7C15) * u128::from(second | 1);
        (product >> 64) as u64 ^ product as u64
    })
}

/// Whether a packet that came in has a source that is the director's. Linux looks for its own
/// addresses among the sources of IPv4 alone.
pub(super) fn is_from_itself(snapshot: &Snapshot, packet: &Packet) -> bool {
    packet.family == Family::V4 && snapshot.hosts.get(packet.src).is_some()
}

fn unwritable(why: Unwritable) -> Verdict {
    Verdict::Drop(match why {
        Unwritable::SctpFragment => DropReason::SctpFragment,
        Unwritable::Family => DropReason::BadAddress,
        Unwritable::Headers => DropReason::BadL4Header,
    })
}
