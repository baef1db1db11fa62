//! Who gets the next client.

use documented::{Documented, DocumentedFields};
use serde::ser::{Serialize, SerializeMap, Serializer};

/// `services[].scheduler`: ipvsadm's short names; the hashing ones with their flags.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Documented, DocumentedFields)]
#[documented_fields(rename_all = "snake_case")]
pub enum Scheduler {
    /// Round robin.
    Rr,
    /// Weighted round robin.
    Wrr,
    /// Least connection.
    Lc,
    /// Weighted least connection.
    #[default]
    Wlc,
    /// Locality-based least connection.
    Lblc,
    /// Locality-based least connection with replication.
    Lblcr,
    /// Destination hashing.
    Dh,
    /// Source hashing.
    Sh(HashFlags),
    /// Maglev hashing.
    Mh(HashFlags),
    /// Shortest expected delay.
    Sed,
    /// Never queue.
    Nq,
    /// Weighted fail-over.
    Fo,
    /// Weighted overflow.
    Ovf,
    /// Power of two choices.
    Twos,
    /// New clients get nobody; bound ones and connections stay.
    None,
}

impl Scheduler {
    /// The name that `ipvsadm -s` takes.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Scheduler::Rr => "rr",
            Scheduler::Wrr => "wrr",
            Scheduler::Lc => "lc",
            Scheduler::Wlc => "wlc",
            Scheduler::Lblc => "lblc",
            Scheduler::Lblcr => "lblcr",
            Scheduler::Dh => "dh",
            Scheduler::Sh(_) => "sh",
            Scheduler::Mh(_) => "mh",
            Scheduler::Sed => "sed",
            Scheduler::Nq => "nq",
            Scheduler::Fo => "fo",
            Scheduler::Ovf => "ovf",
            Scheduler::Twos => "twos",
            Scheduler::None => "none",
        }
    }

    /// The flags of `sh` and `mh`; none for the others.
    #[must_use]
    pub fn flags(&self) -> HashFlags {
        match self {
            Scheduler::Sh(flags) | Scheduler::Mh(flags) => *flags,
            Scheduler::Rr
            | Scheduler::Wrr
            | Scheduler::Lc
            | Scheduler::Wlc
            | Scheduler::Lblc
            | Scheduler::Lblcr
            | Scheduler::Dh
            | Scheduler::Sed
            | Scheduler::Nq
            | Scheduler::Fo
            | Scheduler::Ovf
            | Scheduler::Twos
            | Scheduler::None => HashFlags::default(),
        }
    }
}

impl Serialize for Scheduler {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let flags = self.flags();
        if flags == HashFlags::default() {
            return serializer.serialize_str(self.name());
        }
        let mut map = serializer.serialize_map(Some(3))?;
        map.serialize_entry("name", self.name())?;
        map.serialize_entry("fallback", &flags.fallback)?;
        map.serialize_entry("port", &flags.port)?;
        map.end()
    }
}

/// `services[].scheduler.{fallback,port}`: ipvsadm's `-b sh-fallback,sh-port` and
/// `-b mh-fallback,mh-port`. Both false by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Documented, DocumentedFields)]
pub struct HashFlags {
    /// Try another real server when the hashed one cannot take a client.
    pub fallback: bool,
    /// Hash the client's port, too.
    pub port: bool,
}
