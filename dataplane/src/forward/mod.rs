//! How a packet reaches its real server. A closed set, by the words of `ipvsadm -ln`.

mod route;
mod vlan;

pub use route::{Egress, Rewrite, route};

/// The forwarding methods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Forwarding {
    /// Direct routing (`ipvsadm -g`): only the MAC addresses change.
    #[default]
    Route,
    /// Delivered to the host itself, through the kernel-facing port.
    Local,
}

impl Forwarding {
    /// The word in the `Forward` column.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Route => "Route",
            Self::Local => "Local",
        }
    }

    /// Whether replies pass the director, so that both directions are seen.
    pub const fn sees_replies(self) -> bool {
        match self {
            Self::Route => false,
            Self::Local => true,
        }
    }
}
