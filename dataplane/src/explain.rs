//! What would happen to a packet, and why, without sending it or remembering it.

use std::fmt;
use std::sync::Arc;

use crate::bindings::{self, Bindings};
use crate::classify::Hit;
use crate::conn::table::Flow;
use crate::forward::Forwarding;
use crate::ids::{PortIndex, RealId};
use crate::shared::Shared;
use crate::snapshot::{HostAddress, Identity, Service, Snapshot, Tracking};
use crate::tick::Tick;
use crate::wire::ethernet::Mac;
use crate::wire::{Addr, Packet, Parsed, Protocol, parse};

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
    /// To the host's kernel, which no service keeps it from.
    Kernel {
        /// The kernel-facing port.
        port: Arc<str>,
    },
    /// Answered as a host, or dropped: the sentence says which.
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
            Fate::Not(sentence) => writeln!(f, "verdict     {sentence}"),
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

/// Tells the story of a frame that would come in on this port.
pub fn explain(
    snapshot: &Snapshot,
    shared: &Shared,
    bindings: &Bindings,
    frame: &[u8],
    port: PortIndex,
    now: Tick,
) -> Explanation {
    let mut story = Explanation {
        core: bindings.core(),
        generation: snapshot.generation.0,
        service: None,
        host: None,
        fate: Fate::Not(
            "the frame is no IP packet; it goes to the kernel-facing port if there is one",
        ),
    };
    let packet = match parse(frame) {
        Parsed::Packet(packet) => packet,
        Parsed::Malformed(malformed) => {
            story.fate = Fate::Not(crate::verdict::DropReason::from(malformed).sentence());
            return story;
        }
        Parsed::Arp(_) | Parsed::Other => return story,
    };
    story.host = snapshot.hosts.get(packet.dst);
    if let Some(facts) = snapshot.port(port)
        && facts.kernel_facing
    {
        story.fate = Fate::Not("the kernel sends it: it leaves on the NIC port as it is");
        return story;
    }
    let kernel = snapshot.port(port).and_then(|facts| snapshot.port(facts.peer?));
    let kernel = kernel.map(|facts| &facts.name);
    let transport = packet.transport(frame);
    let teller = Teller { snapshot, shared, bindings, packet: &packet, transport, kernel, now };
    let hit =
        snapshot.classifier.for_client(packet.src, packet.dst, packet.protocol, packet.dst_port);
    let service = hit.and_then(|hit| snapshot.service(hit.service));
    story.service = service.map(|service| (Arc::clone(&service.name), service.identity));
    story.fate = match (hit, service) {
        (Some(hit), Some(service)) => teller.of_service(&hit, service),
        _ => teller.of_connection().unwrap_or_else(|| match kernel {
            Some(port) => Fate::Kernel { port: Arc::clone(port) },
            None => Fate::Not(as_host(&packet, story.host)),
        }),
    };
    story
}

struct Teller<'a> {
    snapshot: &'a Snapshot,
    shared: &'a Shared,
    bindings: &'a Bindings,
    packet: &'a Packet,
    /// From the transport header on.
    transport: &'a [u8],
    /// The kernel-facing port behind the one that the packet comes in on.
    kernel: Option<&'a Arc<str>>,
    now: Tick,
}

impl Teller<'_> {
    fn of_connection(&self) -> Option<Fate> {
        let family = self.packet.family;
        let slot = self.bindings.find(&Flow::of(self.packet), self.now)?;
        let conn = self.bindings.conn(family, slot)?;
        if self.snapshot.available(conn.real).is_none() {
            return Some(Fate::Not(crate::verdict::DropReason::RealServerGone.sentence()));
        }
        let because = Because::Connection {
            state: conn.state.word(),
            expires_s: seconds_left(self.now, conn.expires),
        };
        self.to(conn.real, because)
    }

    fn of_service(&self, hit: &Hit, service: &Service) -> Fate {
        if service.tracking == Tracking::Full
            && let Some(fate) = self.of_connection()
        {
            return fate;
        }
        if !bindings::may_open(self.packet, &service.compat) && service.tracking == Tracking::Full {
            return Fate::Not(
                "the packet opens no connection and belongs to none: answered as a host would",
            );
        }
        if let Some(persistence) = &service.persistence {
            match service.tracking {
                Tracking::Full => {
                    let Ok(call) = self.bindings.call_of(self.packet, self.transport, service)
                    else {
                        return Fate::Not(crate::verdict::DropReason::NoCallId.sentence());
                    };
                    let (_, view) = self.bindings.template(
                        hit,
                        persistence,
                        self.packet.src,
                        call.as_ref(),
                        self.now,
                    );
                    if let Some(view) = view
                        && bindings::standing(view.real, service, self.snapshot, self.now)
                            == bindings::Standing::Usable
                    {
                        let because = Because::Template {
                            expires_s: seconds_left(self.now, view.expires),
                            connections: view.connections,
                        };
                        return self.to(view.real, because).unwrap_or(NOBODY);
                    }
                }
                Tracking::Client => {
                    if let Some(real) =
                        self.bindings.client(service, self.packet.src, self.snapshot, self.now)
                    {
                        let because = Because::Template { expires_s: 0, connections: 0 };
                        return self.to(real, because).unwrap_or(NOBODY);
                    }
                }
            }
        }
        let picked = self.bindings.would_pick(self.packet, service, self.snapshot, self.now);
        let because = match service.pins.of(self.packet.src) == picked && picked.is_some() {
            true => Because::Pin,
            false => Because::Scheduler(service.scheduler.map_or("none", |s| s.name())),
        };
        picked.and_then(|real| self.to(real, because)).unwrap_or(NOBODY)
    }

    fn to(&self, id: RealId, because: Because) -> Option<Fate> {
        let real = self.snapshot.real(id)?;
        let next = real.next_hop;
        if real.local || real.forwarding == Forwarding::Local {
            let (address, forwarding) = (real.address, Forwarding::Local.word());
            let port = self.kernel.cloned();
            return Some(Fate::Real { id, address, forwarding, mac: None, port, because });
        }
        Some(Fate::Real {
            id,
            address: real.address,
            forwarding: real.forwarding.word(),
            mac: next.and_then(|next| self.shared.neighbours.mac(next.neighbour)),
            port: next
                .and_then(|next| self.snapshot.port(next.port))
                .map(|port| Arc::clone(&port.name)),
            because,
        })
    }
}

const NOBODY: Fate =
    Fate::Not("the service has no usable real server: answered with ICMP port unreachable");

fn as_host(packet: &Packet, host: Option<HostAddress>) -> &'static str {
    match (host, packet.protocol) {
        (None, _) => "the director has no such address: dropped",
        (Some(_), Protocol::Tcp) => "no service takes it: answered with a TCP reset",
        (Some(_), Protocol::Udp) => "no service takes it: answered with ICMP port unreachable",
        (Some(_), Protocol::Icmp | Protocol::Icmpv6) => {
            "an echo request is answered, the rest dropped"
        }
        (Some(_), _) => "no service takes it: dropped",
    }
}

fn seconds_left(now: Tick, expires: Tick) -> u32 {
    now.until(expires).max(0).unsigned_abs() / crate::tick::TICKS_PER_SECOND
}
