//! Sending back to clients what real servers send.

use super::passing::{is_from_itself, unwritable};
use super::{Arrival, Path};
use crate::answer::Answer;
use crate::compat::TtlPolicy;
use crate::forward::ftp;
use crate::forward::masq::{self, End, Endpoint, Unwritable};
use crate::forward::{Rewrite, admit, send};
use crate::port::Frame;
use crate::snapshot::Snapshot;
use crate::verdict::{DropReason, Verdict};
use crate::wire::{Addr, Family, Packet, Parsed, Protocol, TcpFlags, icmp, parse};

impl Path {
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
    pub(super) fn outward(
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
