//! Sending a packet to a next hop. Direct routing is this and nothing else: twelve MAC
//! bytes, and the TTL with its checksum.

use super::vlan;
use crate::compat::TtlPolicy;
use crate::ids::{NeighbourId, PortIndex};
use crate::neighbour::NeighbourTable;
use crate::port::Frame;
use crate::snapshot::NextHop;
use crate::wire::ethernet::{self, Mac};
use crate::wire::{Family, Packet, Vlan, ipv4, ipv6};

/// What became of a frame that was to be sent to a next hop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Ready to be sent.
    Sent(PortIndex),
    /// Ready but for the destination MAC address, which is not known yet.
    Unresolved(NeighbourId, PortIndex),
    /// The TTL ran out; the frame is as it came.
    TtlExceeded,
    /// Longer than the next link takes and not to be fragmented. The TTL is decremented
    /// already, as the quoting ICMP error of a kernel shows it.
    TooBig {
        /// What the link takes.
        mtu: u16,
    },
    /// No memory for a VLAN tag.
    NoRoom,
}

/// What the sending side is made of.
#[derive(Clone, Copy)]
pub struct Egress<'a> {
    /// The ports' own MAC addresses.
    pub macs: &'a [Mac],
    /// The next hops' MAC addresses.
    pub neighbours: &'a NeighbourTable,
    /// Whether the TTL is decremented.
    pub ttl: TtlPolicy,
}

/// What a router does before it sends a packet on: takes one off the TTL, and then looks at
/// the length, in this order, as IPVS does. A packet that is too long and may be
/// fragmented passes; it is for the sender to split.
///
/// # Errors
/// [`Rewrite::TtlExceeded`] and [`Rewrite::TooBig`].
pub fn admit(
    frame: &mut impl Frame,
    packet: &Packet,
    mtu: u16,
    ttl: TtlPolicy,
) -> Result<(), Rewrite> {
    if ttl == TtlPolicy::Decrement {
        if packet.ttl <= 1 {
            return Err(Rewrite::TtlExceeded);
        }
        // Cannot fail: the TTL is above one, and the parser has seen the header.
        let _ = match packet.family {
            Family::V4 => ipv4::decrement_ttl(frame.bytes_mut(), packet),
            Family::V6 => ipv6::decrement_hop_limit(frame.bytes_mut(), packet),
        };
    }
    if packet.total_len > mtu && packet.dont_fragment {
        return Err(Rewrite::TooBig { mtu });
    }
    Ok(())
}

/// Writes the tag and the MAC addresses of a next hop.
pub fn send(frame: &mut impl Frame, vlan: Vlan, next: &NextHop, egress: &Egress<'_>) -> Rewrite {
    if vlan.id() != next.vlan.id() && !vlan::retag(frame, next.vlan) {
        return Rewrite::NoRoom;
    }
    let own = egress.macs.get(usize::from(next.port.0)).copied().unwrap_or_default();
    match egress.neighbours.mac(next.neighbour) {
        Some(mac) => {
            ethernet::set_macs(frame.bytes_mut(), mac, own);
            Rewrite::Sent(next.port)
        }
        None => {
            ethernet::set_macs(frame.bytes_mut(), Mac::ZERO, own);
            Rewrite::Unresolved(next.neighbour, next.port)
        }
    }
}

/// Sends the packet on to a next hop as a router would, but for the addresses, which stay.
pub fn route(
    frame: &mut impl Frame,
    packet: &Packet,
    next: &NextHop,
    egress: &Egress<'_>,
) -> Rewrite {
    match admit(frame, packet, next.mtu, egress.ttl) {
        Ok(()) => send(frame, packet.vlan, next, egress),
        Err(refused) => refused,
    }
}
