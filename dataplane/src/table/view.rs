//! What is asked of the template table, and what it answers.

use super::key::{Handle, TemplateKey};
use crate::ids::RealId;
use crate::tick::Tick;

/// What a new template is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The real server that the scheduler picked.
    pub real: RealId,
    /// The service's persistence timeout, as an index into the table's timeouts.
    pub timeout_index: u8,
}

/// A template at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// Where it is.
    pub handle: Handle,
    /// The real server the client is bound to.
    pub real: RealId,
    /// The nominal expiry, to 32 ms.
    pub expires: Tick,
    /// Its own timeout, as an index into the table's timeouts.
    pub timeout_index: u8,
    /// Connections it controls. A lower bound, but never 0, once there are more than 1,791.
    pub connections: u32,
    /// A controlled connection has been established: shown as ASSURED, not dropped in defence.
    pub assured: bool,
    /// Its timer fired while it controlled connections: from then on it lives 60 s at a time.
    pub extended: bool,
    /// Not found by its key any more; listed until it expires.
    pub invalid: bool,
}

/// Who bound the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This call; the candidate is the client's real server.
    Inserted(View),
    /// It was bound already, or another core was faster. The candidate was not used.
    Found(View),
}

impl Outcome {
    /// The template, whoever made it.
    pub fn view(self) -> View {
        match self {
            Self::Inserted(view) | Self::Found(view) => view,
        }
    }
}

/// No slot for the key, and the key is not in the table. Counted; the caller falls back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The template has expired, or was invalidated, or is bound to another real server by now: ask
/// again by the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

/// What the sweeper did to a template.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// Expired without connections; gone. Told once for every `Inserted`.
    Freed {
        /// The key.
        key: TemplateKey,
        /// The real server the client was bound to.
        real: RealId,
        /// Whether it had been invalidated.
        invalid: bool,
    },
    /// Expired with connections; lives 60 s longer.
    Extended {
        /// The key.
        key: TemplateKey,
        /// The template now.
        view: View,
    },
}
