//! The five values that tell connections apart.

use crate::wire::{Addr, Packet, Protocol};

/// The five values of a flow, from the client's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flow {
    /// CIP.
    pub client: Addr,
    /// VIP.
    pub vip: Addr,
    /// The client's port.
    pub client_port: u16,
    /// The virtual port.
    pub vip_port: u16,
    /// The transport protocol.
    pub protocol: Protocol,
}

impl Flow {
    /// The flow of a packet that goes from a client to a VIP.
    #[inline]
    pub fn of(packet: &Packet) -> Self {
        Self {
            client: packet.src,
            vip: packet.dst,
            client_port: packet.src_port,
            vip_port: packet.dst_port,
            protocol: packet.protocol,
        }
    }

    /// The flow that a packet from a VIP to a client answers.
    #[inline]
    pub fn answered_by(packet: &Packet) -> Self {
        Self {
            client: packet.dst,
            vip: packet.src,
            client_port: packet.dst_port,
            vip_port: packet.src_port,
            protocol: packet.protocol,
        }
    }
}

/// A protocol with ports as two bits, never 0; 0 for any other, which is in no table.
#[inline]
pub(crate) const fn bits_of(protocol: Protocol) -> u64 {
    match protocol {
        Protocol::Tcp => 1,
        Protocol::Udp => 2,
        Protocol::Sctp => 3,
        _ => 0,
    }
}

/// The protocol of these bits, which are not 0.
#[inline]
pub(crate) const fn protocol_of(bits: u64) -> Protocol {
    match bits & 3 {
        2 => Protocol::Udp,
        3 => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}
