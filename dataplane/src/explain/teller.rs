//! How the story of a packet is found out: the same questions as on the packet path, in the same
//! order, and nothing is changed by them.

use std::sync::Arc;

use super::{Because, Fate};
use crate::answer::Answer;
use crate::bindings::{self, Bindings, ClientStanding, FTP_DATA_PORT, Outcome};
use crate::classify::Hit;
use crate::compat::TtlPolicy;
use crate::conn::Flow;
use crate::forward::masq::Endpoint;
use crate::forward::{Forwarding, Tunnel};
use crate::fragments::Fragments;
use crate::ids::RealId;
use crate::reply::ReplyKey;
use crate::shared::Shared;
use crate::snapshot::{HostAddress, Identity, OnDown, Service, Snapshot, Tracking};
use crate::tick::Tick;
use crate::verdict::DropReason;
use crate::wire::{Family, Fragment, Packet, Protocol, icmp, ndp};

/// A service's name and identity.
pub(super) type Named = Option<(Arc<str>, Identity)>;

/// Who asks what becomes of a packet.
pub(super) struct Teller<'a> {
    pub(super) snapshot: &'a Snapshot,
    pub(super) shared: &'a Shared,
    pub(super) bindings: &'a Bindings,
    pub(super) fragments: &'a Fragments,
    pub(super) packet: &'a Packet,
    pub(super) may_be_balanced: bool,
    pub(super) frame: &'a [u8],
    /// The kernel-facing port behind the one that the packet comes in on.
    pub(super) kernel: Option<&'a Arc<str>>,
    pub(super) now: Tick,
}

impl Teller<'_> {
    /// The service and the fate of the packet. `to_many` says whether its frame was sent to many
    /// stations.
    pub(super) fn tell(&self, to_many: bool) -> (Named, Fate) {
        let packet = self.packet;
        let is_icmp = matches!(packet.protocol, Protocol::Icmp | Protocol::Icmpv6);
        let limits = &self.snapshot.fragments;
        let decided = self.fragments.follow(packet, self.now, limits);
        let gathers = limits.whole && packet.fragment != Fragment::Whole && !to_many;
        let fate = if gathers && self.may_be_balanced && decided.is_none() {
            Fate::Not("a fragment: decided about when all of its datagram are there")
        } else if is_icmp && !packet.is_later_fragment() {
            self.of_icmp()
        } else if to_many {
            self.of_nobody(not(DropReason::NotForUs))
        } else if packet.is_later_fragment() {
            match decided {
                Some(outcome) => self.of_outcome(outcome),
                None if self.may_be_balanced => Fate::Not(
                    "a later fragment: it goes where its first one goes, once that has come",
                ),
                None => self.of_host(),
            }
        } else if self.fragments.check(packet, self.now, limits).is_err() {
            not(DropReason::BadFragment)
        } else if let Some(refused) = self.of_router() {
            refused
        } else {
            return self.of_flow();
        };
        (self.service_of(&fate), fate)
    }

    /// What a router says of a masqueraded real server's packet before anything else.
    fn of_router(&self) -> Option<Fate> {
        let Self { snapshot, packet, .. } = self;
        let from_server = snapshot.masqueraded.has_address(packet.src);
        if !from_server
            || snapshot.hosts.get(packet.dst).is_some()
            || packet.fragment != Fragment::Whole
        {
            return None;
        }
        let mtu = snapshot.exits.lookup(packet.dst)?.mtu;
        if snapshot.compat.ttl == TtlPolicy::Decrement && packet.ttl <= 1 {
            return Some(Fate::Host("its TTL runs out here: answered with ICMP time exceeded"));
        }
        (packet.dont_fragment && packet.total_len > mtu).then_some(Fate::Host(
            "it is longer than the next link takes: answered with an ICMP error that says so",
        ))
    }

    /// The service of the real server that a packet goes to.
    fn service_of(&self, fate: &Fate) -> Named {
        let Fate::Real { id, .. } = fate else { return None };
        let service = self.snapshot.service(self.snapshot.real(*id)?.service)?;
        Some((Arc::clone(&service.name), service.identity))
    }

    fn of_flow(&self) -> (Named, Fate) {
        let Packet { src, dst, protocol, dst_port, .. } = *self.packet;
        let hit = self.snapshot.classifier.for_client(src, dst, protocol, dst_port);
        let service = hit.and_then(|hit| self.snapshot.service(hit.service));
        if let Some((hit, service)) = hit.zip(service) {
            let named = Some((Arc::clone(&service.name), service.identity));
            return (named, self.of_service(&hit, service));
        }
        if self.snapshot.passes_by(self.packet.family) {
            return (None, self.of_host());
        }
        if let Some(reply) = self.of_masqueraded_reply(&ReplyKey::of(self.packet)) {
            return (None, reply);
        }
        if let Some(fate) = self.of_connection(None) {
            return (self.service_of(&fate), fate);
        }
        let fate = self.of_reply().unwrap_or_else(|| self.of_host());
        (None, fate)
    }

    fn of_outcome(&self, outcome: Outcome) -> Fate {
        match outcome {
            Outcome::Forward { real, forwarding, .. } => {
                self.by(real, forwarding, Because::Fragment).unwrap_or(NOBODY)
            }
            Outcome::Reply { from, .. } => Fate::Reply { from },
            Outcome::NotOurs => self.of_host(),
            Outcome::Refuse => not(DropReason::NoRealServer),
            Outcome::Drop(reason) => not(reason),
        }
    }

    /// A masqueraded real server's answer.
    fn of_masqueraded_reply(&self, key: &ReplyKey) -> Option<Fate> {
        let (_, origin) = self.shared.replies.find(key)?;
        if self.packet.protocol.has_ports() && self.snapshot.hosts.get(self.packet.dst).is_some() {
            return Some(self.of_host());
        }
        Some(Fate::Reply { from: Some(Endpoint { address: origin.vip, port: origin.vip_port }) })
    }

    /// An answer that comes from the VIP already, where the director is its router.
    fn of_reply(&self) -> Option<Fate> {
        let conn = self.conn(&Flow::answered_by(self.packet))?;
        (conn.forwarding != Forwarding::Masq).then_some(Fate::Reply { from: None })
    }

    fn of_icmp(&self) -> Fate {
        let packet = self.packet;
        if let Some(fate) = icmp::quoted(self.frame, packet)
            .filter(|_| bindings::follows_flow(packet))
            .filter(|_| !self.snapshot.passes_by(packet.family))
            .and_then(|quoted| self.of_error(&quoted))
        {
            return fate;
        }
        if packet.protocol == Protocol::Icmpv6 && ndp::parse(self.frame, packet).is_ok() {
            return Fate::Host(
                "neighbour discovery: heard, and answered if it asks for an address here",
            );
        }
        if icmp::is_echo_request(packet) && self.snapshot.hosts.get(packet.dst).is_some() {
            return Fate::Host("an echo request: answered as a host does");
        }
        self.of_host()
    }

    /// An ICMP error about a flow; `None` where it is about none of ours.
    fn of_error(&self, quoted: &Packet) -> Option<Fate> {
        let flow = Flow::answered_by(quoted);
        let classifier = &self.snapshot.classifier;
        let hit = classifier.for_client(flow.client, flow.vip, flow.protocol, flow.vip_port);
        let service = hit.and_then(|hit| self.snapshot.service(hit.service));
        if let Some(service) = service
            && service.tracking == Tracking::Client
        {
            let standing = self.bindings.client(service, flow.client, self.snapshot, self.now);
            let ClientStanding::Bound(real) = standing else { return None };
            return self.to(real, Because::Template { expires_s: 0, connections: 0 });
        }
        if let Some(conn) = self.conn(&flow) {
            let because = Because::Error { state: conn.state.word() };
            return self.by(conn.real, conn.forwarding, because);
        }
        let key = ReplyKey::of_answers_to(quoted);
        if let Some(reply) = self.of_masqueraded_reply(&key) {
            return Some(reply);
        }
        if service.is_some_and(|service| service.compat.schedule_icmp) {
            return Some(Fate::Not(
                "an ICMP error about a flow without a connection: schedule_icmp makes it one",
            ));
        }
        let own = matches!(self.snapshot.hosts.get(quoted.src), Some(HostAddress::Own(_)));
        let is_of_tunnel = own && Tunnel::inner_of(self.frame, quoted).is_some();
        is_of_tunnel.then_some(Fate::Not(match self.snapshot.compat.as_kernel {
            false => "an ICMP error about a tunnel: told to the client whose packet was in it",
            true => "an ICMP error about a tunnel: told to the client where both are of IPv4",
        }))
    }

    fn conn(&self, flow: &Flow) -> Option<crate::conn::Conn> {
        let slot = self.bindings.find(flow, self.now)?;
        self.bindings.conn(flow.client.family(), slot)
    }

    fn of_nobody(&self, otherwise: Fate) -> Fate {
        match self.kernel {
            Some(port) => Fate::Kernel { port: Arc::clone(port) },
            None => otherwise,
        }
    }

    /// What no service takes.
    fn of_host(&self) -> Fate {
        let packet = self.packet;
        let host = self.snapshot.hosts.get(packet.dst);
        if host.is_none() && self.snapshot.masqueraded.has_address(packet.src) {
            let to_one = !packet.dst.is_multicast() && !packet.dst.is_broadcast();
            let own = packet.family == Family::V4 && self.snapshot.hosts.get(packet.src).is_some();
            return match to_one && !own {
                true => self.of_nobody(Fate::Not(
                    "a masqueraded real server's own packet, of no connection: sent on as by a router",
                )),
                false => self.of_nobody(not(DropReason::NotForUs)),
            };
        }
        self.of_nobody(as_host(packet, host))
    }

    /// What is decided by the packet's connection, if it has one that holds.
    fn of_connection(&self, service: Option<&Service>) -> Option<Fate> {
        let packet = &bindings::exchange_of(self.packet);
        let conn = self.conn(&Flow::of(packet))?;
        let compat = service.map_or(&self.snapshot.compat, |service| &service.compat);
        if bindings::opens(packet) && bindings::is_reused(&conn, self.snapshot, compat) {
            return None;
        }
        let because = Because::Connection {
            state: conn.state.word(),
            expires_s: seconds_left(self.now, conn.expires),
        };
        let Some(real) = self.snapshot.available(conn.real) else {
            return match (self.snapshot.serves(packet.family), compat.expire_nodest_conn) {
                (false, _) => Some(self.of_host()),
                (true, false) => Some(not(DropReason::RealServerGone)),
                (true, true) => None,
            };
        };
        match bindings::on_down(real, self.snapshot, self.now) {
            None | Some(OnDown::Keep) => self.by(conn.real, conn.forwarding, because),
            Some(OnDown::Drop) => Some(not(DropReason::RealServerDown)),
            Some(OnDown::Rebind) => None,
        }
    }

    fn of_service(&self, hit: &Hit, service: &Service) -> Fate {
        match service.tracking {
            Tracking::Full => self.of_connections(hit, service),
            Tracking::Client => self.of_client(service),
        }
    }

    fn of_connections(&self, hit: &Hit, service: &Service) -> Fate {
        let packet = self.packet;
        if let Some(fate) = self.of_connection(Some(service)) {
            return fate;
        }
        if let Some(reply) = self.of_masqueraded_reply(&ReplyKey::of(packet)) {
            return reply;
        }
        let classifier = &self.snapshot.classifier;
        let from_vip = classifier.lookup(packet.src, packet.protocol, packet.src_port).is_some();
        if let Some(reply) = self.of_reply().filter(|_| from_vip) {
            return reply;
        }
        if !bindings::may_open(packet, &service.compat) || packet.src_port == FTP_DATA_PORT {
            return self.of_nobody(STRAY);
        }
        let Ok(call) = self.bindings.call_of(packet, packet.transport(self.frame), service) else {
            return not(DropReason::NoCallId);
        };
        let Some(persistence) = &service.persistence else {
            let for_another = !hit.own_port && matches!(service.identity, Identity::Address { .. });
            return match for_another {
                true => self.without_server(hit),
                false => self.of_scheduler(service).unwrap_or_else(|| self.without_server(hit)),
            };
        };
        let (_, view) =
            self.bindings.template(hit, persistence, packet.src, call.as_ref(), self.now);
        if let Some(view) = view {
            match bindings::standing(view.real, service, self.snapshot, self.now) {
                bindings::Standing::Usable => {
                    let because = Because::Template {
                        expires_s: seconds_left(self.now, view.expires),
                        connections: view.connections,
                    };
                    return self.to(view.real, because).unwrap_or(NOBODY);
                }
                bindings::Standing::Waiting => return not(DropReason::RealServerDown),
                bindings::Standing::Unusable => {}
            }
        }
        self.of_scheduler(service).unwrap_or_else(|| self.without_server(hit))
    }

    /// A service without connections: its clients alone.
    fn of_client(&self, service: &Service) -> Fate {
        match self.bindings.client(service, self.packet.src, self.snapshot, self.now) {
            ClientStanding::Bound(real) => {
                let because = Because::Template { expires_s: 0, connections: 0 };
                self.to(real, because).unwrap_or(NOBODY)
            }
            ClientStanding::Waiting => not(DropReason::RealServerDown),
            ClientStanding::Unbound if bindings::is_reset(self.packet) => self.of_nobody(STRAY),
            ClientStanding::Unbound | ClientStanding::Void => {
                self.of_scheduler(service).unwrap_or(NOBODY)
            }
        }
    }

    fn of_scheduler(&self, service: &Service) -> Option<Fate> {
        let picked = self.bindings.would_pick(self.packet, service, self.snapshot, self.now)?;
        let because = match service.pins.of(self.packet.src) == Some(picked) {
            true => Because::Pin,
            false => Because::Scheduler(service.scheduler.map_or("none", |s| s.name())),
        };
        self.to(picked, because)
    }

    /// A service that has nobody for the packet. Of FTP's data connections the host is asked.
    fn without_server(&self, hit: &Hit) -> Fate {
        if hit.ftp_data { self.of_host() } else { NOBODY }
    }

    /// To a real server, as it is configured now.
    fn to(&self, id: RealId, because: Because) -> Option<Fate> {
        self.by(id, self.snapshot.real(id)?.forwarding, because)
    }

    /// To a real server by the method of a connection, which may be older.
    fn by(&self, id: RealId, forwarding: Forwarding, because: Because) -> Option<Fate> {
        let real = self.snapshot.real(id)?;
        let next = real.next_hop;
        if real.local || forwarding == Forwarding::Local {
            let (address, forwarding) = (real.address, Forwarding::Local.word());
            let port = self.kernel.cloned();
            return Some(Fate::Real { id, address, forwarding, mac: None, port, because });
        }
        Some(Fate::Real {
            id,
            address: real.address,
            forwarding: forwarding.word(),
            mac: next.and_then(|next| self.shared.neighbours.mac(next.neighbour)),
            port: next
                .and_then(|next| self.snapshot.port(next.port))
                .map(|port| Arc::clone(&port.name)),
            because,
        })
    }
}

pub(super) fn not(reason: DropReason) -> Fate {
    Fate::Not(reason.sentence())
}

const STRAY: Fate =
    Fate::Host("the packet opens no connection and belongs to none: answered as a host would");
const NOBODY: Fate =
    Fate::Host("the service has no usable real server: answered with ICMP port unreachable");

fn as_host(packet: &Packet, host: Option<HostAddress>) -> Fate {
    if host.is_none() {
        return Fate::Not("the director has no such address: dropped");
    }
    match Answer::for_unwanted(packet) {
        Some(Answer::Reset) => Fate::Host("no service takes it: answered with a TCP reset"),
        Some(Answer::Icmp(icmp::Error::PortUnreachable)) => {
            Fate::Host("no service takes it: answered with ICMP port unreachable")
        }
        Some(_) => Fate::Host("no service takes it: answered with ICMP protocol unreachable"),
        None => Fate::Not("no service takes it, and a host says nothing to it: dropped"),
    }
}

fn seconds_left(now: Tick, expires: Tick) -> u32 {
    now.until(expires).max(0).unsigned_abs() / crate::tick::TICKS_PER_SECOND
}
