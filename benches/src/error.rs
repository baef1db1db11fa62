//! Why a measurement could not be made.

use dataplane::catalog::Refused;
use nic::NicError;
use thiserror::Error;

/// See the module.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The ports could not be opened, or failed.
    #[error("{0}")]
    Nic(#[from] NicError),
    /// The load asks for more than ids.
    #[error("the load cannot be configured: {0}")]
    Refused(#[from] Refused),
    /// What was asked for does not go together.
    #[error("{0}")]
    Asked(String),
    /// A program that is compared with could not be run.
    #[error("{program}: {what}")]
    Reference {
        /// The program.
        program: String,
        /// What is wrong with it, and what to do.
        what: String,
    },
    /// A file could not be written or read.
    #[error("{path}: {error}")]
    File {
        /// The file.
        path: String,
        /// What the system said.
        error: std::io::Error,
    },
    /// A measuring thread ended early.
    #[error("core {0} ended before its work was done; see the message above")]
    CoreEnded(usize),
    /// Packets did not reach real servers, so the figures would not be of balancing.
    #[error("{packets} of {of} packets reached no real server ({reasons}); nothing was measured")]
    Lost {
        /// How many.
        packets: u64,
        /// Of how many.
        of: u64,
        /// Why, by the drop reasons' labels.
        reasons: String,
    },
}
