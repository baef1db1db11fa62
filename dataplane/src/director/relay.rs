//! ICMP errors about the director's own tunnel packets: unwrapped, and told to the client.

use super::{Arrival, Path};
use crate::conn::{Conn, Flow};
use crate::forward::masq::{self, End, Endpoint};
use crate::forward::{LEAST_V6, Tunnel, send};
use crate::port::Frame;
use crate::reply::ReplyKey;
use crate::snapshot::{HostAddress, Snapshot};
use crate::tick::Tick;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, TYPE_IPV4, TYPE_IPV6};
use crate::wire::field::{put, u16_at, u32_at};
use crate::wire::{Addr, Family, Packet, Parsed, Protocol, icmp, parse};

/// Where an ICMP error carries the MTU of the next link: 16 bits of IPv4, 32 of IPv6.
const MTU_V4: usize = 6;
const MTU_V6: usize = 4;
/// The kernel takes a tunnel's headers off an MTU that leaves more than this (RFC 791).
const LEAST_LEFT: u16 = 68;

impl Path {
    /// Turns an error about a tunnel packet into one about the client's packet inside, from
    /// the VIP, with what the tunnel leaves of the MTU. `None` where it is about no packet
    /// of ours.
    pub(super) fn relay(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        error: &Packet,
        outer: &Packet,
        at: Arrival,
    ) -> Option<Verdict> {
        if !matches!(snapshot.hosts.get(outer.src), Some(HostAddress::Own(_))) {
            return None;
        }
        let (offset, family) = Tunnel::inner_of(frame.bytes(), outer)?;
        let inner = icmp::packet_at(frame.bytes(), offset, error.end(), family)?;
        let slot = self.bindings.find(&Flow::of(&inner), at.now)?;
        let conn = self.bindings.conn(family, slot)?;
        if snapshot.real(conn.real)?.address != outer.dst {
            return None;
        }
        let overhead = offset - usize::from(outer.l3_offset);
        let why = match snapshot.compat_of_real(conn.real).as_kernel {
            true => self.cause_as_kernel(snapshot, frame.bytes(), (error, outer), &conn, at.now),
            false => cause(frame.bytes(), error, overhead),
        };
        let Some(why) = why else {
            return Some(Verdict::Drop(DropReason::Unanswerable));
        };
        let Some(why) = tellable(why, &inner) else {
            return Some(Verdict::Drop(DropReason::TooBig));
        };
        let may_be_cut = !inner.dont_fragment;
        if may_be_cut && matches!(why, icmp::Error::PacketTooBig { .. }) {
            // The tunnel packet may be cut as well: whoever says so has dropped it anyway.
            return Some(Verdict::Drop(DropReason::Unanswerable));
        }
        if !self.may_answer(snapshot, Some(why), inner.src, at.now) {
            return Some(Verdict::Drop(DropReason::AnswerLimited));
        }
        let told = uncover(frame, error, &inner).and_then(|inner| {
            icmp::error_from(frame, &inner, self.mac(at.port), inner.dst, why).ok()
        });
        if told.is_none() {
            return Some(Verdict::Drop(DropReason::Unanswerable));
        }
        Some(self.send_to_client(snapshot, frame, at))
    }

    /// Remembers what a way takes that a GUE tunnel's packet has gone, where all is as in the
    /// kernel: there its UDP does so, whether or not IPVS looks at the error.
    pub(super) fn hear_of_way(
        &self,
        snapshot: &Snapshot,
        frame: &[u8],
        error: &Packet,
        outer: &Packet,
        now: Tick,
    ) {
        if snapshot.compat.as_kernel
            && outer.protocol == Protocol::Udp
            && matches!(snapshot.hosts.get(outer.src), Some(HostAddress::Own(_)))
            && let Some(said) = narrow(frame, error)
            && let Some(exit) = snapshot.exits.lookup(outer.dst)
            && snapshot.reals.iter().flatten().any(|real| real.is_end_of_tunnel(outer.dst))
        {
            self.shared.path_mtus.learn(outer.dst, said, exit.mtu, now);
        }
    }

    /// As [`cause`], where all is as in the kernel: it remembers what a way takes, and tells a
    /// client what the route says that it keeps for the real server; nobody is told of tunnels
    /// that are of IPv6, or that carry it.
    fn cause_as_kernel(
        &self,
        snapshot: &Snapshot,
        frame: &[u8],
        (error, outer): (&Packet, &Packet),
        conn: &Conn,
        now: Tick,
    ) -> Option<icmp::Error> {
        let (offset, family) = Tunnel::inner_of(frame, outer)?;
        let overhead = offset - usize::from(outer.l3_offset);
        let is_told = error.family == Family::V4 && family == Family::V4;
        let Some(said) = narrow(frame, error) else {
            return cause(frame, error, overhead).filter(|_| is_told);
        };
        let link = snapshot.exits.lookup(outer.dst)?.mtu;
        let ways = &self.shared.path_mtus;
        if is_told {
            ways.learn(outer.dst, said, link, now);
        }
        let kept = ways.kept(outer.dst, conn.real, link, now);
        let left = kept.checked_sub(overhead as u16).filter(|left| *left > LEAST_LEFT);
        is_told.then_some(icmp::Error::PacketTooBig { mtu: left.unwrap_or(kept) })
    }

    /// A frame that waited for its next hop in vain becomes the error that tells its sender so:
    /// from the VIP, or over IPv4 from the director's own address, as a router's.
    pub(super) fn unreachable(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        at: Arrival,
    ) -> Verdict {
        let own = self.mac(at.port);
        ethernet::set_macs(frame.bytes_mut(), own, own);
        let Parsed::Packet(mut packet) = parse(frame.bytes()) else {
            return Verdict::Drop(DropReason::NoNeighbour);
        };
        // Masqueraded already: its client knows the VIP only.
        let key = ReplyKey::of_answers_to(&packet);
        let vip = self.shared.replies.find(&key).map(|(_, origin)| origin);
        if let Some(origin) = vip {
            let to = Endpoint { address: origin.vip, port: origin.vip_port };
            if masq::rewrite(frame.bytes_mut(), &packet, End::Destination, to).is_err() {
                return Verdict::Drop(DropReason::NoNeighbour);
            }
            packet = Packet { dst: to.address, dst_port: to.port, ..packet };
        }
        let is_routed = packet.family == Family::V4 && vip.is_none();
        let from = router(snapshot, &packet).filter(|_| is_routed);
        let error = icmp::Error::HostUnreachable;
        self.tell_from(snapshot, frame, &packet, (from.unwrap_or(packet.dst), error), at)
            .unwrap_or(Verdict::Drop(DropReason::NoNeighbour))
    }

    /// Tells a packet's sender an error: from where the packet was sent to, if that is here.
    pub(super) fn tell_sender(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        error: icmp::Error,
        at: Arrival,
    ) -> Option<Verdict> {
        let own = self.mac(at.port);
        ethernet::set_macs(frame.bytes_mut(), own, own);
        let is_here = snapshot.hosts.get(packet.dst).is_some();
        let router = router(snapshot, packet).filter(|_| !is_here);
        self.tell_from(snapshot, frame, packet, (router.unwrap_or(packet.dst), error), at)
    }

    fn tell_from(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        (from, error): (Addr, icmp::Error),
        at: Arrival,
    ) -> Option<Verdict> {
        // The director's own packets, tunnels' among them, have nobody to be told.
        if matches!(snapshot.hosts.get(packet.src), Some(HostAddress::Own(_)))
            || !self.may_answer(snapshot, Some(error), packet.src, at.now)
        {
            return None;
        }
        icmp::error_from(frame, packet, self.mac(at.port), from, error).ok()?;
        self.count_answer(frame, packet, false, at);
        Some(self.send_to_client(snapshot, frame, at))
    }

    /// Sends a packet of the director's own to a client, by the routing table.
    fn send_to_client(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        at: Arrival,
    ) -> Verdict {
        let Parsed::Packet(packet) = parse(frame.bytes()) else {
            return Verdict::Drop(DropReason::Unanswerable);
        };
        let Some(exit) = snapshot.exits.lookup(packet.dst).copied() else {
            return Verdict::Drop(DropReason::NoNeighbour);
        };
        let Some(next) = self.next_hop(&exit, packet.dst) else {
            return self.seek(frame, &packet, &exit);
        };
        let rewrite = send(frame, packet.vlan, &next, &self.egress(snapshot, None));
        self.sent(snapshot, (rewrite, true), frame, &packet, None, at)
    }
}

/// The director's own address towards a packet's sender.
fn router(snapshot: &Snapshot, packet: &Packet) -> Option<Addr> {
    snapshot.port(snapshot.exits.lookup(packet.src)?.port)?.own(packet.family)
}

/// The MTU of the link that was too narrow, if that is what an error says.
fn narrow(frame: &[u8], error: &Packet) -> Option<u32> {
    let at = usize::from(error.l4_offset);
    match (error.family, error.icmp_type, error.icmp_code) {
        (Family::V4, icmp::v4::UNREACHABLE, 4) => u16_at(frame, at + MTU_V4).map(u32::from),
        (Family::V6, icmp::v6::PACKET_TOO_BIG, _) => u32_at(frame, at + MTU_V6),
        _ => None,
    }
}

/// What happened to the tunnel packet, in terms of the packet inside.
fn cause(frame: &[u8], error: &Packet, overhead: usize) -> Option<icmp::Error> {
    if let Some(mtu) = narrow(frame, error) {
        let left = (mtu as usize).checked_sub(overhead)?;
        return Some(icmp::Error::PacketTooBig { mtu: u16::try_from(left).unwrap_or(u16::MAX) });
    }
    match (error.family, error.icmp_type) {
        (Family::V4, icmp::v4::UNREACHABLE) | (Family::V6, icmp::v6::UNREACHABLE) => {
            Some(icmp::Error::HostUnreachable)
        }
        (Family::V4, icmp::v4::TIME_EXCEEDED) | (Family::V6, icmp::v6::TIME_EXCEEDED) => {
            Some(icmp::Error::TimeExceeded)
        }
        _ => None,
    }
}

/// What the sender of a packet may be told: over IPv6 no link takes less than 1,280 bytes, and an
/// error that says otherwise is void (RFC 8201, 4). `None` where the packet is no longer than that.
fn tellable(why: icmp::Error, inner: &Packet) -> Option<icmp::Error> {
    match why {
        icmp::Error::PacketTooBig { mtu } if inner.family == Family::V6 && mtu < LEAST_V6 => {
            (inner.total_len > LEAST_V6).then_some(icmp::Error::PacketTooBig { mtu: LEAST_V6 })
        }
        why => Some(why),
    }
}

/// Leaves of the frame what was quoted of the inner packet, and answers where that is now.
fn uncover(frame: &mut impl Frame, error: &Packet, inner: &Packet) -> Option<Packet> {
    let (l3, from) = (error.l3_offset, inner.l3_offset);
    let end = error.end();
    let ethertype = match inner.family {
        Family::V4 => TYPE_IPV4,
        Family::V6 => TYPE_IPV6,
    };
    let len = end.checked_sub(usize::from(from))?;
    frame.bytes_mut().get(..end)?;
    frame.bytes_mut().copy_within(usize::from(from)..end, usize::from(l3));
    put(frame.bytes_mut(), usize::from(l3).checked_sub(2)?, ethertype.to_be_bytes())?;
    frame.set_len(usize::from(l3) + len).then_some(())?;
    let l4_offset = l3 + (inner.l4_offset - from);
    Some(Packet { l3_offset: l3, l4_offset, vlan: error.vlan, ..*inner })
}
