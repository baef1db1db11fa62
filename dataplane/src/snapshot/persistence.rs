//! How clients are bound.

use crate::wire::{Addr, Family};

/// How long and how finely clients are bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Persistence {
    /// Seconds from the last new connection until the binding ends (`ipvsadm -p`).
    pub timeout_s: u32,
    /// Clients that share this many leading bits share a binding (`ipvsadm -M`): the
    /// mask itself, because IPVS takes masks with holes. For IPv4 the low 32 bits.
    pub mask: u128,
}

impl Persistence {
    /// `ipvsadm -p` without a number.
    pub const DEFAULT_TIMEOUT_S: u32 = 360;

    /// The client's address as templates keep it.
    pub fn masked(&self, client: Addr) -> Addr {
        match client.family() {
            Family::V4 => Addr::v4(client.v4_number() & self.mask as u32),
            Family::V6 => Addr::v6(client.number() & self.mask),
        }
    }
}

/// What binds clients besides their address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Engine {
    /// SIP's Call-ID: a call stays with its server, whatever port its datagrams come from.
    /// Other protocols than UDP, and messages without a Call-ID, are dropped.
    Sip,
}

impl Engine {
    /// The name as in `ipvsadm --pe`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sip => "sip",
        }
    }
}
