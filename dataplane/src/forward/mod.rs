//! How a packet reaches its real server. A closed set, by the words of `ipvsadm -ln`.

pub mod fragment;
pub mod ftp;
pub mod ftp_words;
mod hop;
pub mod masq;
pub mod splice;
mod tunnel;
mod vlan;

pub use hop::{Egress, Rewrite, admit, route, send};
pub(crate) use tunnel::LEAST_V6;
pub use tunnel::{GueChecksum, Inner, Outer, Tunnel};

/// The forwarding methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Forwarding {
    /// Direct routing (`ipvsadm -g`): only the MAC addresses change.
    #[default]
    Route,
    /// Masquerading (`ipvsadm -m`): the real server's address and port are written over the
    /// VIP's, and the other way round on the way back.
    Masq,
    /// Tunnelling (`ipvsadm -i`): the whole packet inside of another one.
    Tunnel,
    /// Delivered to the host itself, through the kernel-facing port.
    Local,
}

impl Forwarding {
    /// The word in the `Forward` column.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Route => "Route",
            Self::Masq => "Masq",
            Self::Tunnel => "Tunnel",
            Self::Local => "Local",
        }
    }

    /// Whether replies are known to pass the director, so that both directions are seen.
    pub const fn sees_replies(self) -> bool {
        match self {
            Self::Masq => true,
            Self::Route | Self::Tunnel | Self::Local => false,
        }
    }
}
