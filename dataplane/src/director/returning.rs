//! Sending back to clients what real servers send.

use super::passing::{is_from_itself, unwritable};
use std::sync::Arc;

use super::{Arrival, Path};
use crate::answer::Answer;
use crate::bindings::control_of;
use crate::compat::TtlPolicy;
use crate::forward::masq::{self, End, Endpoint, Unwritable};
use crate::forward::{Rewrite, admit, ftp, send, splice};
use crate::ids::RealId;
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
        (real, from): (RealId, Option<Endpoint>),
        at: Arrival,
    ) -> Verdict {
        let Some(from) = from else {
            return self.outward(snapshot, frame, packet, at, |_| Ok(0));
        };
        // FTP's PORT may name any address as the client's.
        if packet.dst.is_multicast() || packet.dst.is_broadcast() {
            return Verdict::Drop(DropReason::NotForUs);
        }
        if snapshot.hosts.get(packet.dst).is_some() {
            return self.led_to_host(snapshot, frame, packet, from, at);
        }
        if from.port != ftp::CONTROL_PORT || packet.protocol != Protocol::Tcp {
            return self.outward(snapshot, frame, packet, at, |frame| {
                masq::rewrite(frame.bytes_mut(), packet, End::Source, from)?;
                Ok(0)
            });
        }
        let compat = snapshot.compat_of_real(real);
        if compat.as_kernel {
            return self.written_anew(snapshot, frame, packet, (real, from), at);
        }
        let speaks_ftp = compat.ip_vs_ftp;
        self.outward(snapshot, frame, packet, at, |frame| {
            if speaks_ftp {
                ftp::translate(frame.bytes_mut(), packet, from.address);
            }
            masq::rewrite(frame.bytes_mut(), packet, End::Source, from)?;
            Ok(0)
        })
    }

    /// A client has named an address of the host as its own (FTP's PORT): nobody waits there for
    /// the real server, which is reset by way of the connection, as by its client.
    fn led_to_host(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        from: Endpoint,
        at: Arrival,
    ) -> Verdict {
        let answers = self.answers_given;
        let verdict = self.host(snapshot, frame, packet, at);
        if self.answers_given != answers
            && let Parsed::Packet(reset) = parse(frame.bytes())
        {
            // A host's answer has more than one hop left.
            let _ = admit(frame, &reset, u16::MAX, self.egress(snapshot, None).ttl);
            self.bindings.reset_by_client(packet, &reset, from, snapshot, at.now);
        }
        verdict
    }

    /// Sends what an FTP server says to its client, as the kernel does: with other words where
    /// they name an address, and with the numbers that follow from other lines' lengths.
    fn written_anew(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        (real, from): (RealId, Endpoint),
        at: Arrival,
    ) -> Verdict {
        let shared = Arc::clone(&self.shared);
        let (transport, speaker) = (packet.transport(frame.bytes()), (real, from));
        let said =
            self.bindings.hear_server_as_kernel(packet, transport, speaker, snapshot, at.now);
        let (mut longer, mut replaced) = (0, false);
        let verdict = self.outward(snapshot, frame, packet, at, |frame| {
            let (control, agreements) = (control_of(packet, from), &shared.agreements);
            let mut grown = 0;
            if let Some(said) = said
                && let Some(sequence) = splice::sequence(frame.bytes(), packet)
                && let Some(by) = splice::replace(frame, packet, said.place, &said.text)
            {
                agreements.answered(&control, sequence, by);
                (grown, longer, replaced) = (by, by, true);
            }
            masq::rewrite(frame.bytes_mut(), packet, End::Source, from)?;
            if let Some(shift) = agreements.shift(&control) {
                // A segment without a whole header was refused before.
                let _ = splice::shift_there(frame.bytes_mut(), packet, &shift);
            }
            Ok(grown)
        });
        self.bindings.count_longer(real, longer, snapshot);
        self.is_spliced |= replaced;
        verdict
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
    /// looked at first, and errors about it come from the director's own address. `change` answers
    /// by how many bytes it has made the packet longer, in two's complement.
    pub(super) fn outward<F: Frame>(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut F,
        packet: &Packet,
        at: Arrival,
        change: impl FnOnce(&mut F) -> Result<u32, Unwritable>,
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
        let grown = match change(frame) {
            Ok(grown) => grown,
            Err(why) => return unwritable(why),
        };
        if self.is_stuck(packet) {
            let too_big = Rewrite::TooBig { mtu: exit.mtu };
            return self.stuck(snapshot, frame, packet, too_big, own, at);
        }
        let Some(next) = self.next_hop(&exit, packet.dst) else {
            return self.seek(frame, packet, &exit);
        };
        let rewrite = send(frame, packet.vlan, &next, &self.egress(snapshot, None));
        let fits = u32::from(packet.total_len).wrapping_add(grown) <= u32::from(exit.mtu);
        self.sent(snapshot, (rewrite, fits), frame, packet, own, at)
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
        self.outward(snapshot, frame, packet, at, |_| Ok(0))
    }
}
