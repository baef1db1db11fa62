//! Tunnels to real servers: IP in IP (RFC 2003, RFC 2473), GRE (RFC 2784) and GUE, over
//! either family, for packets of either family.

use crate::port::Frame;
use crate::wire::checksum;
use crate::wire::ethernet::{TYPE_IPV4, TYPE_IPV6};
use crate::wire::field::{put, u16_at};
use crate::wire::{Addr, Family, Packet, Protocol, ipv4, ipv6, udp};

/// The outer headers: ipvsadm's `--tun-type` and its companions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Tunnel {
    /// The packet in another IP packet.
    #[default]
    Ipip,
    /// With a GRE header between.
    Gre {
        /// With GRE's checksum (`--tun-csum`).
        checksum: bool,
    },
    /// With UDP and GUE headers between.
    Gue {
        /// The outer destination port (`--tun-port`).
        port: u16,
        /// The UDP checksum.
        checksum: GueChecksum,
    },
}

/// The UDP checksum of a GUE tunnel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum GueChecksum {
    /// None (`--tun-nocsum`).
    #[default]
    None,
    /// Computed (`--tun-csum`).
    Full,
    /// Remote checksum offload (`--tun-remcsum`). It differs from the computed one only for
    /// packets whose own checksum the sending host has left to its NIC: none here.
    Remote,
}

/// GUE's header: version 0, a data message, no optional fields; the protocol's number is
/// its second byte.
const GUE_LEN: usize = 4;
const GRE_LEN: usize = 4;
const GRE_CHECKSUM_LEN: usize = 8;
const GRE_CHECKSUM_PRESENT: u8 = 0x80;
const GRE: u8 = 47;
const IPV4_IN_IP: u8 = 4;
const IPV6_IN_IP: u8 = 41;
/// The ECN field: not capable, ECT(1), ECT(0), congestion experienced.
const ECN: u8 = 3;
const ECT_0: u8 = 2;
/// GUE's source ports: the kernel's local ports.
const FIRST_SOURCE_PORT: u16 = 32_768;
const SOURCE_PORTS: u64 = 28_232;
/// A link must leave so much for the inner packet, or nothing is sent (RFC 791, RFC 8200).
const LEAST_V4: u16 = 68;
pub(crate) const LEAST_V6: u16 = 1280;

/// What one packet's outer header says besides the tunnel's kind.
#[derive(Clone, Copy, Debug)]
pub struct Outer {
    /// The director's own address towards the real server.
    pub src: Addr,
    /// RIP.
    pub dst: Addr,
    /// The inner packet's TTL after the director has taken one off.
    pub ttl: u8,
    /// Whether the outer packet must not be fragmented either.
    pub dont_fragment: bool,
    /// For outer packets that may be fragmented.
    pub id: u16,
    /// A hash of the inner flow: GUE's source port, so that one flow keeps one path.
    pub flow: u64,
}

/// The packet that is to be wrapped.
#[derive(Clone, Copy, Debug)]
pub struct Inner {
    /// Where in the frame it begins.
    pub l3: usize,
    /// Its bytes, without padding behind it.
    pub len: u16,
    /// IPv4 or IPv6.
    pub family: Family,
    /// The type of service, or the traffic class.
    pub tos: u8,
}

impl Inner {
    /// A packet that was parsed.
    pub fn of(packet: &Packet) -> Self {
        Self {
            l3: usize::from(packet.l3_offset),
            len: packet.total_len,
            family: packet.family,
            tos: packet.tos,
        }
    }
}

impl Tunnel {
    /// Bytes between the outer IP header and the inner packet.
    const fn between(self) -> usize {
        match self {
            Self::Ipip => 0,
            Self::Gre { checksum: false } => GRE_LEN,
            Self::Gre { checksum: true } => GRE_CHECKSUM_LEN,
            Self::Gue { .. } => udp::HEADER_LEN + GUE_LEN,
        }
    }

    /// Bytes that the tunnel puts before a packet, over this family.
    pub const fn overhead(self, outer: Family) -> usize {
        self.between()
            + match outer {
                Family::V4 => ipv4::HEADER_LEN,
                Family::V6 => ipv6::HEADER_LEN,
            }
    }

    /// The longest inner packet on a link with this MTU; `None` where the link is too
    /// narrow for tunnels of this family at all.
    pub fn room(self, outer: Family, mtu: u16) -> Option<u16> {
        let least = match outer {
            Family::V4 => LEAST_V4,
            Family::V6 => LEAST_V6,
        };
        mtu.checked_sub(self.overhead(outer) as u16).filter(|room| *room >= least)
    }

    /// Where the inner packet begins behind the outer headers of one of these tunnels, and
    /// its family; as far as they are there.
    pub fn inner_of(frame: &[u8], outer: &Packet) -> Option<(usize, Family)> {
        let at = usize::from(outer.l4_offset);
        let number = |number: u8| match number {
            IPV4_IN_IP => Some(Family::V4),
            IPV6_IN_IP => Some(Family::V6),
            _ => None,
        };
        match outer.protocol {
            Protocol::Other(GRE) => {
                let family = match u16_at(frame, at + 2)? {
                    TYPE_IPV4 => Family::V4,
                    TYPE_IPV6 => Family::V6,
                    _ => return None,
                };
                let checksum = frame.get(at)? & GRE_CHECKSUM_PRESENT != 0;
                Some((at + Self::Gre { checksum }.between(), family))
            }
            Protocol::Udp => {
                let inner = number(*frame.get(at + udp::HEADER_LEN + 1)?)?;
                Some((at + udp::HEADER_LEN + GUE_LEN, inner))
            }
            Protocol::Other(other) => Some((at, number(other)?)),
            _ => None,
        }
    }

    /// Puts the outer headers before the packet; Ethernet padding goes. Answers `false`,
    /// and leaves the packet as it was, where the frame has no room.
    #[inline]
    pub fn wrap(self, frame: &mut impl Frame, inner: Inner, outer: &Outer) -> bool {
        let family = outer.dst.family();
        let (l3, overhead) = (inner.l3, self.overhead(family));
        let len = usize::from(inner.len);
        if usize::from(u16::MAX) < overhead + len || !frame.push_front(overhead) {
            return false;
        }
        if !frame.set_len(l3 + overhead + len) {
            return false;
        }
        let bytes = frame.bytes_mut();
        bytes.copy_within(overhead..overhead + l3, 0);
        let (ethertype, ip_len) = match family {
            Family::V4 => (TYPE_IPV4, ipv4::HEADER_LEN),
            Family::V6 => (TYPE_IPV6, ipv6::HEADER_LEN),
        };
        let done = put(bytes, l3.wrapping_sub(2), ethertype.to_be_bytes())
            .and_then(|()| self.write_ip(bytes, inner, outer, overhead - ip_len + len))
            .and_then(|()| self.write_between(bytes, l3 + ip_len, inner, outer));
        done.is_some()
    }

    #[inline]
    fn write_ip(
        self,
        bytes: &mut [u8],
        inner: Inner,
        outer: &Outer,
        payload_len: usize,
    ) -> Option<()> {
        let l3 = inner.l3;
        let payload_len = u16::try_from(payload_len).ok()?;
        let Outer { src, dst, ttl, .. } = *outer;
        let number = match self {
            Self::Ipip => inner_number(inner),
            Self::Gre { .. } => GRE,
            Self::Gue { .. } => Protocol::Udp.number(),
        };
        let family = dst.family();
        let (protocol, tos) = (Protocol::of(number, family), outer_tos(inner.tos));
        match family {
            Family::V4 => {
                let identification = (!outer.dont_fragment).then_some(outer.id);
                let header =
                    ipv4::Header { src, dst, protocol, tos, ttl, payload_len, identification };
                ipv4::write(bytes, l3, header)
            }
            Family::V6 => {
                let (traffic_class, hop_limit) = (tos, ttl);
                let header =
                    ipv6::Header { src, dst, protocol, traffic_class, hop_limit, payload_len };
                ipv6::write(bytes, l3, header)
            }
        }
    }

    #[inline]
    fn write_between(self, bytes: &mut [u8], at: usize, inner: Inner, outer: &Outer) -> Option<()> {
        match self {
            Self::Ipip => Some(()),
            Self::Gre { checksum } => {
                let kind = match inner.family {
                    Family::V4 => TYPE_IPV4,
                    Family::V6 => TYPE_IPV6,
                };
                let [k0, k1] = kind.to_be_bytes();
                if !checksum {
                    return put(bytes, at, [0, 0, k0, k1]);
                }
                put(bytes, at, [GRE_CHECKSUM_PRESENT, 0, k0, k1, 0, 0, 0, 0])?;
                let sum = checksum::of(bytes.get(at..)?);
                put(bytes, at + GRE_LEN, sum.to_be_bytes())
            }
            Self::Gue { port, checksum } => {
                let source = FIRST_SOURCE_PORT + (outer.flow % SOURCE_PORTS) as u16;
                let ([s0, s1], [d0, d1]) = (source.to_be_bytes(), port.to_be_bytes());
                let len = u16::try_from(bytes.len().checked_sub(at)?).ok()?;
                let [l0, l1] = len.to_be_bytes();
                put(bytes, at, [s0, s1, d0, d1, l0, l1, 0, 0, 0, inner_number(inner), 0, 0])?;
                if checksum == GueChecksum::None {
                    return Some(());
                }
                let datagram = bytes.get(at..)?;
                let sum = checksum::transport(outer.src, outer.dst, Protocol::Udp, datagram);
                put(bytes, at + udp::CHECKSUM, checksum::udp_zero_rule(sum).to_be_bytes())
            }
        }
    }
}

/// The inner packet's number in headers that name it.
const fn inner_number(inner: Inner) -> u8 {
    match inner.family {
        Family::V4 => IPV4_IN_IP,
        Family::V6 => IPV6_IN_IP,
    }
}

/// The inner DSCP and ECN, but a congestion mark stays inside: the outer packet is capable
/// and starts unmarked (RFC 3168, 9.1.1, full functionality, as the kernel does).
const fn outer_tos(inner: u8) -> u8 {
    if inner & ECN == ECN { inner & !ECN | ECT_0 } else { inner }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_congestion_mark_stays_inside() {
        assert_eq!([0, 1, 2, 3].map(outer_tos), [0, 1, 2, 2]);
        assert_eq!(outer_tos(0xB8 | 3), 0xB8 | 2);
    }

    #[test]
    fn a_link_that_leaves_too_little_room_is_no_tunnel() {
        assert_eq!(Tunnel::Ipip.room(Family::V4, 1500), Some(1480));
        assert_eq!(Tunnel::Ipip.room(Family::V4, 88), Some(68));
        assert_eq!(Tunnel::Ipip.room(Family::V4, 87), None);
        assert_eq!(Tunnel::Ipip.room(Family::V6, 1320), Some(1280));
        assert_eq!(Tunnel::Ipip.room(Family::V6, 1319), None);
        assert_eq!(Tunnel::Gre { checksum: false }.room(Family::V4, 1500), Some(1476));
        assert_eq!(Tunnel::Gre { checksum: true }.room(Family::V4, 1500), Some(1472));
        let gue = Tunnel::Gue { port: 6080, checksum: GueChecksum::Full };
        assert_eq!(gue.room(Family::V6, 1500), Some(1448));
        assert_eq!(gue.room(Family::V4, 10), None);
    }
}
