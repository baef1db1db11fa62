//! What would happen to a packet, and why, without sending it or remembering it.

mod scene;
mod teller;

use std::fmt;
use std::sync::Arc;

use crate::forward::Forwarding;
use crate::forward::masq::Endpoint;
use crate::ids::RealId;
use crate::snapshot::{HostAddress, Identity};
use crate::verdict::DropReason;
use crate::wire::Addr;
use crate::wire::ethernet::Mac;
pub(crate) use scene::Scene;

/// Why a real server is the one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// The packet belongs to a connection.
    Connection {
        /// Its state's word.
        state: &'static str,
        /// Seconds until it expires.
        expires_s: u32,
    },
    /// The client is bound.
    Template {
        /// Seconds until the binding expires.
        expires_s: u32,
        /// Connections that the template controls.
        connections: u32,
    },
    /// An operator has pinned the client to it.
    Pin,
    /// The scheduler picks it now.
    Scheduler(&'static str),
    /// The packet is an ICMP error about a connection, which it follows.
    Error {
        /// The connection's state's word.
        state: &'static str,
    },
    /// The packet is a fragment and goes where its datagram's first one went.
    Fragment,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection { state, expires_s } => {
                write!(f, "it belongs to a connection ({state}, {expires_s} s left)")
            }
            Self::Template { expires_s, connections } => {
                write!(f, "the client is bound ({expires_s} s left, {connections} connections)")
            }
            Self::Pin => f.write_str("the client is new, and it is pinned to this server"),
            Self::Scheduler(name) => {
                write!(f, "the client is new, and {name} picks this server now")
            }
            Self::Error { state } => {
                write!(f, "it is an ICMP error about a connection ({state})")
            }
            Self::Fragment => f.write_str("it follows its datagram's first fragment"),
        }
    }
}

/// Where the packet would go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// To a real server.
    Real {
        /// Which one.
        id: RealId,
        /// RIP.
        address: Addr,
        /// The forwarding method's word.
        forwarding: &'static str,
        /// The next hop's MAC address, if it is known.
        mac: Option<Mac>,
        /// The port that it leaves on; the kernel-facing one if the server is the host itself.
        port: Option<Arc<str>>,
        /// Why this one.
        because: Because,
    },
    /// From a real server, on to its client.
    Reply {
        /// The VIP that it comes from when it leaves; `None` where it comes from there already.
        from: Option<Endpoint>,
    },
    /// To the host's kernel, which no service keeps it from.
    Kernel {
        /// The kernel-facing port.
        port: Arc<str>,
    },
    /// The director's own as a host, which answers or hears it: the sentence says which.
    Host(&'static str),
    /// Anything else, above all dropped: the sentence says what.
    Not(&'static str),
}

/// The whole story of one packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explanation {
    /// The core that answers.
    pub core: usize,
    /// The generation of the configuration that was asked.
    pub generation: u64,
    /// The service, by name and identity.
    pub service: Option<(Arc<str>, Identity)>,
    /// What the director is to the packet's destination.
    pub host: Option<HostAddress>,
    /// Where it would go.
    pub fate: Fate,
}

impl Explanation {
    /// Corrects what was foretold of a packet by what was done with it: only then is known, for
    /// example, that a table is full or that a limit was reached.
    pub fn dropped(&mut self, reason: DropReason) {
        if !matches!(self.fate, Fate::Real { .. }) || !reason.is_of_chosen() {
            self.fate = Fate::Not(reason.sentence());
        }
    }

    /// The same of one that was answered: what was to be sent on to somebody was not.
    pub fn answered(&mut self) {
        let foretold = match &self.fate {
            Fate::Host(_) => true,
            Fate::Real { forwarding, .. } => *forwarding == Forwarding::Local.word(),
            Fate::Reply { .. } | Fate::Kernel { .. } | Fate::Not(_) => false,
        };
        if !foretold {
            self.fate = Fate::Host(
                "it cannot go on (TTL, length or an unreachable next hop): answered with an \
                 ICMP error",
            );
        }
    }

    /// Whether the core that answers has the packet's connection.
    pub fn is_of_connection(&self) -> bool {
        matches!(self.fate, Fate::Real { because: Because::Connection { .. }, .. })
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "generation  {}", self.generation)?;
        match &self.service {
            Some((name, identity)) => {
                writeln!(f, "service     {name}")?;
                if let Identity::Mark { mark, .. } = identity {
                    writeln!(f, "mark        {}", mark.0)?;
                }
            }
            None => writeln!(f, "service     none")?,
        }
        match &self.fate {
            Fate::Host(sentence) | Fate::Not(sentence) => writeln!(f, "verdict     {sentence}"),
            Fate::Reply { from } => writeln!(f, "verdict     {}", reply_sentence(from.as_ref())),
            Fate::Kernel { port } => {
                writeln!(f, "verdict     no service takes it: handed to the kernel on {port}")
            }
            Fate::Real { address, forwarding, mac, port, because, .. } => {
                writeln!(f, "why         {because}")?;
                writeln!(f, "real server {address}")?;
                if *forwarding == Forwarding::Local.word() {
                    return match port {
                        Some(port) => {
                            writeln!(f, "verdict     {forwarding}: handed to the kernel on {port}")
                        }
                        None => writeln!(
                            f,
                            "verdict     {forwarding}: answered as a host would; no kernel-facing port takes it"
                        ),
                    };
                }
                let port = port.as_deref().unwrap_or("no port");
                match mac {
                    Some(mac) => writeln!(f, "verdict     {forwarding} to {mac} on {port}"),
                    None => writeln!(
                        f,
                        "verdict     {forwarding} on {port}, once the next hop's MAC address is known"
                    ),
                }
            }
        }
    }
}

/// What becomes of a real server's packet, in words.
pub fn reply_sentence(from: Option<&Endpoint>) -> String {
    match from {
        None => "a real server's answer: sent on to its client as it is".to_owned(),
        Some(Endpoint { address, port }) if address.is_v4() => {
            format!("a real server's answer: sent on to its client as from {address}:{port}")
        }
        Some(Endpoint { address, port }) => {
            format!("a real server's answer: sent on to its client as from [{address}]:{port}")
        }
    }
}
