//! What is asked of the client table, and what it answers.

use std::num::NonZeroU16;

use super::key::{ClientKey, Handle};

/// Which service's clients: a scope in 16 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientScope(NonZeroU16);

impl ClientScope {
    /// A scope of 1..=65,535.
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    /// The number.
    pub fn number(self) -> u16 {
        self.0.get()
    }
}

/// A real server by its number within its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceReal(NonZeroU16);

impl ServiceReal {
    /// The highest number.
    pub const MAX: u16 = 0x7ffe;

    /// No real server: the client was taken from its own, and its next packet gets it another.
    pub const NOBODY: Self = Self(NonZeroU16::MIN);

    /// A real server of 1..=32,766; 1 is [`Self::NOBODY`].
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).filter(|number| number.get() <= Self::MAX).map(Self)
    }

    /// The number.
    pub fn number(self) -> u16 {
        self.0.get()
    }
}

/// A client that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Its real server.
    pub real: ServiceReal,
    /// Where it is, until the core's next `quiescent`.
    pub slot: Handle,
}

/// Where a client is bound after a call of [`ClientTable::rebind`](super::client::ClientTable::rebind).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebound {
    /// Its binding.
    pub hit: Hit,
    /// Whether this call made it: to be counted once.
    pub by_this_call: bool,
}

/// Who bound the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// This call.
    Inserted(Hit),
    /// It was bound already, or another core was faster.
    Found(Hit),
}

impl Bound {
    /// The client, whoever bound it.
    pub fn hit(self) -> Hit {
        match self {
            Self::Inserted(hit) | Self::Found(hit) => hit,
        }
    }
}

/// A free slot of an IPv4 client's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vacancy {
    /// Its place in the window.
    pub(super) hole: usize,
}

/// A client whose timeout has passed without a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freed {
    /// Its service's scope.
    pub scope: ClientScope,
    /// The client.
    pub client: ClientKey,
    /// The real server it was bound to.
    pub real: ServiceReal,
}
