//! What a template is found by, and what it is referred to by once it is found.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::hash::Hash;
use crate::ids::ScopeId;

/// A client's address under the service's netmask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientKey {
    /// IPv4, as a number.
    V4(u32),
    /// IPv6, as a number.
    V6(u128),
}

impl ClientKey {
    /// The address, for listings.
    pub fn address(self) -> IpAddr {
        match self {
            Self::V4(bits) => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            Self::V6(bits) => IpAddr::V6(Ipv6Addr::from_bits(bits)),
        }
    }

    pub(super) fn bits(self) -> u128 {
        match self {
            Self::V4(bits) => u128::from(bits),
            Self::V6(bits) => bits,
        }
    }
}

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6(address.to_bits()),
        }
    }
}

/// What a template is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TemplateKey {
    /// Which (protocol, VIP, port), port-0 service or mark. Only the low 20 bits count.
    pub scope: ScopeId,
    /// Which client.
    pub client: ClientKey,
}

/// A key with its hash, made once per packet: good for a prefetch and for the operations after.
#[derive(Clone, Copy, Debug)]
pub struct Probe {
    pub(super) key: TemplateKey,
    pub(super) hash: Hash,
    pub(super) shard: u32,
}

impl Probe {
    /// The key.
    pub fn key(&self) -> TemplateKey {
        self.key
    }

    /// Whether the client is an IPv6 one.
    pub(super) fn is_v6(&self) -> bool {
        matches!(self.key.client, ClientKey::V6(_))
    }

    /// The shard where the key lives.
    pub fn shard(&self) -> u32 {
        self.shard
    }
}

/// Names a template's slot. Valid until the core's next `quiescent`, and for as long as a
/// connection that was counted with `attach` has not been released.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Handle(u32);

/// Bits of a slot's place within its segment.
const PLACE_BITS: u32 = 28;
const V6: u32 = 1 << 31;

impl Handle {
    /// Slots that one segment may have.
    pub(super) const MAX_SLOTS: usize = 1 << PLACE_BITS;

    pub(super) fn v4(segment: usize, place: usize) -> Self {
        Self(((segment as u32) & 7) << PLACE_BITS | (place as u32) & (PLACE_MASK))
    }

    pub(super) fn v6(segment: usize, place: usize) -> Self {
        Self(Self::v4(segment, place).0 | V6)
    }

    pub(super) fn is_v6(self) -> bool {
        self.0 & V6 != 0
    }

    pub(super) fn segment(self) -> usize {
        ((self.0 >> PLACE_BITS) & 7) as usize
    }

    pub(super) fn place(self) -> usize {
        (self.0 & PLACE_MASK) as usize
    }

    /// The handle as a number, for entries that pack it.
    pub fn to_bits(self) -> u32 {
        self.0
    }

    /// The handle that `to_bits` gave.
    pub fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

const PLACE_MASK: u32 = (1 << PLACE_BITS) - 1;
