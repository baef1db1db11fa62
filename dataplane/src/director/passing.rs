//! Sending on to real servers, and what every way out has in common.

use super::{Arrival, Path};
use crate::answer::Answer;
use crate::compat::TtlPolicy;
use crate::conn::Flow;
use crate::forward::masq::{self, End, Endpoint, Unwritable};
use crate::forward::{Egress, Forwarding, Inner, Outer, Rewrite, admit, ftp, route, send, splice};
use crate::ids::NeighbourId;
use crate::mailbox::Event;
use crate::port::Frame;
use crate::route::Exit;
use crate::snapshot::{NextHop, Real, Snapshot};
use crate::verdict::{DropReason, Verdict};
use crate::wire::{Addr, Family, Packet, Parsed, Protocol, icmp, parse};

/// A packet on its way to a real server.
#[derive(Clone, Copy)]
pub(super) struct Inward<'a> {
    pub packet: &'a Packet,
    pub real: &'a Real,
    pub forwarding: Forwarding,
    pub real_port: u16,
    /// Where a masqueraded packet goes: the real server's address but for a few of FTP's data
    /// connections.
    pub address: Addr,
}

impl Inward<'_> {
    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint { address: self.address, port: self.real_port }
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
        let Some(next) = self.hop_to(snapshot, to) else {
            return self.seek_elsewhere(snapshot, frame, to, at);
        };
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
                    self.shift_acknowledged(frame, packet);
                    send(frame, packet.vlan, &next, &egress)
                }
            },
        };
        self.sent(snapshot, (rewrite, packet.total_len <= next.mtu), frame, packet, None, at)
    }

    /// The way to where a packet goes: its real server's, or on the same network another host's;
    /// `None` where that was never asked for its MAC address.
    pub(super) fn hop_to(&self, snapshot: &Snapshot, to: Inward<'_>) -> Option<NextHop> {
        if to.address == to.real.address {
            return to.real.next_hop;
        }
        // As in the kernel, the route is the real server's.
        match snapshot.exits.lookup(to.real.address) {
            Some(exit) if exit.gateway.is_none() => self.next_hop(exit, to.address),
            _ => to.real.next_hop,
        }
    }

    /// Looks for another host than the real server on the real server's network.
    fn seek_elsewhere(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        to: Inward<'_>,
        at: Arrival,
    ) -> Verdict {
        if to.address == to.real.address {
            return Verdict::Drop(DropReason::NoNeighbour);
        }
        let Some(exit) = snapshot.exits.lookup(to.real.address).copied() else {
            return Verdict::Drop(DropReason::NoNeighbour);
        };
        let ttl = self.egress(snapshot, Some(to.real)).ttl;
        if let Err(refused) = admit(frame, to.packet, exit.mtu, ttl) {
            return self.sent(snapshot, (refused, true), frame, to.packet, None, at);
        }
        let (end, bytes) = (End::Destination, frame.bytes_mut());
        match masq::rewrite(bytes, to.packet, end, to.endpoint()) {
            Ok(()) => self.seek(frame, &Packet { dst: to.address, ..*to.packet }, &exit),
            Err(why) => unwritable(why),
        }
    }

    /// What a client acknowledges of an FTP server's lines that were written anew.
    fn shift_acknowledged(&self, frame: &mut impl Frame, packet: &Packet) {
        if packet.dst_port == ftp::CONTROL_PORT
            && packet.protocol == Protocol::Tcp
            && let Some(shift) = self.shared.agreements.shift(&Flow::of(packet))
        {
            // A segment without a whole header was refused before.
            let _ = splice::shift_back(frame.bytes_mut(), packet, &shift);
        }
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
        let mtu = match compat.as_kernel {
            true => self.shared.path_mtus.follow(real.address, real.id, next.mtu, at.now),
            false => next.mtu,
        };
        let Some(room) = tunnel.room(family, mtu) else {
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
    pub(super) fn weighed(&self, packet: &Packet, mtu: u16) -> Packet {
        match self.longest {
            Some(longest) if packet.family == Family::V6 => {
                Packet { dont_fragment: longest > mtu, ..*packet }
            }
            _ => *packet,
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
    pub(super) fn answer_or(
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

pub(super) fn unwritable(why: Unwritable) -> Verdict {
    Verdict::Drop(match why {
        Unwritable::SctpFragment => DropReason::SctpFragment,
        Unwritable::Family => DropReason::BadAddress,
        Unwritable::Headers => DropReason::BadL4Header,
    })
}
