//! Changes that are refused.

use std::fmt;

/// Why a change was refused. The running configuration is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The service is there already.
    ServiceExists,
    /// There is no such service.
    NoSuchService,
    /// The real server is in the service already.
    RealExists,
    /// The service has no such real server.
    NoSuchReal,
    /// The lower threshold is above the upper one.
    Thresholds,
    /// More real servers, or more (protocol, VIP, port) and marks, than ids.
    TooMany,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ServiceExists => "the service exists already; edit it instead",
            Self::NoSuchService => "there is no such service; add it first",
            Self::RealExists => "the service has this real server already; edit it instead",
            Self::NoSuchReal => "the service has no such real server; add it first",
            Self::Thresholds => "the lower threshold is above the upper one; lower it",
            Self::TooMany => "there are more real servers or VIP ports than the tables can name",
        })
    }
}

impl std::error::Error for Refused {}
