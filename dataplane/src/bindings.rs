//! Which real server a packet goes to: connection, then template, then scheduler.
//!
//! One per core. Connections are the core's own; templates are shared by all cores and
//! single-assigned. The rules are IPVS's; where a rule is surprising, a comment says so.

mod begun;
mod binder;
mod client;
mod count;
mod defence;
mod expiry;
mod ftp;
mod growth;
mod hidden;
mod ipsec;
mod opener;
mod opening;
mod pace;
mod persistent;
mod rebind;
mod reply;
mod sip;

use std::sync::Arc;

use crate::call::Call;
use crate::classify::Hit;
use crate::compat::Compat;
use crate::conn::table::{EntryV4, EntryV6, Flow, Slot, Table};
use crate::conn::{Conn, ConnFlags, Signal, State, Timeouts, sctp};
use crate::counters::CoreCounters;
use crate::forward::Forwarding;
use crate::forward::masq::Endpoint;
use crate::ids::RealId;
use crate::sched::{Pool, Schedulers};
use crate::shared::{CoreSeat, Shared};
use crate::snapshot::{Engine, Identity, OnDown, Real, Service, Snapshot, Tracking};
use crate::table::{Cursor, Handle};
use crate::tick::Tick;
use crate::timer;
use crate::verdict::DropReason;
use crate::wire::{Family, Packet, Protocol, TcpFlags, udp};
use pace::Pace;

/// Connections from this port are FTP's active data connections and are never scheduled.
pub(crate) const FTP_DATA_PORT: u16 = 20;

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes to this real server.
    Forward {
        /// The real server.
        real: RealId,
        /// The method of its connection.
        forwarding: Forwarding,
        /// The port on it (masquerading).
        real_port: u16,
    },
    /// It comes from a real server and goes to its client.
    Reply {
        /// The real server.
        real: RealId,
        /// What it is to come from: the VIP and its port, in place of the real server's.
        /// `None` where it comes from there already.
        from: Option<Endpoint>,
    },
    /// No service takes it: the director is a host for it.
    NotOurs,
    /// A service takes it and has no real server for it: "port unreachable".
    Refuse,
    /// It goes nowhere.
    Drop(DropReason),
}

/// One core's bindings.
pub struct Bindings {
    core: usize,
    shared: Arc<Shared>,
    seat: CoreSeat,
    ages: client::AgeClock,
    v4: Table<EntryV4>,
    v6: Table<EntryV6>,
    schedulers: Schedulers,
    flush_at: Cursor,
    swept_at: Tick,
    pace: Pace,
    /// A budget that sweeps all tables.
    round: usize,
    defences: defence::Defences,
    hidden: Vec<hidden::Hidden>,
    /// How often a masqueraded connection was announced or withdrawn.
    reply_changes: u64,
    /// The call that the packet at hand is of, where its service binds calls.
    call: Option<Call>,
}

/// Where an ICMP error about a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Related {
    /// The flow's real server.
    pub real: RealId,
    /// The method of its connection.
    pub forwarding: Forwarding,
    /// Its port there.
    pub real_port: u16,
}

/// A real server that was chosen for a new connection.
#[derive(Clone, Copy, Debug)]
struct Choice {
    real: RealId,
    template: Option<Handle>,
    /// An ICMP error was what told of the flow.
    by_error: bool,
    /// The real server itself began the flow.
    by_server: bool,
    /// The port on the real server, where it was agreed upon.
    real_port: Option<u16>,
}

/// The service binds calls, and the packet is of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoCall;

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum NoChoice {
    /// No usable real server.
    Nobody,
    /// The client's real server is down, and the client is to wait for it.
    Down,
    /// There is no room for the client's template.
    Full,
}

impl NoChoice {
    /// Why the packet is dropped, where it is not answered.
    const fn reason(self) -> DropReason {
        match self {
            Self::Nobody => DropReason::NoRealServer,
            Self::Down => DropReason::RealServerDown,
            Self::Full => DropReason::TableFull,
        }
    }
}

impl Bindings {
    /// Empty tables for the core that sits on this seat.
    pub fn new(shared: Arc<Shared>, seat: CoreSeat) -> Self {
        let (sizes, cores, key) = (shared.sizes, shared.cores(), shared.key.0);
        Self {
            core: seat.templates.core() as usize,
            ages: client::AgeClock::new(shared.age_unit_s),
            v4: Table::new(sizes.connections_v4.div_ceil(cores), key),
            v6: Table::new(sizes.connections_v6.div_ceil(cores), key),
            seat,
            shared,
            schedulers: Schedulers::default(),
            flush_at: Cursor::default(),
            swept_at: Tick::default(),
            pace: Pace::default(),
            round: 0,
            defences: defence::Defences::default(),
            hidden: Vec::new(),
            reply_changes: 0,
            call: None,
        }
    }

    fn counters(&self) -> Option<&CoreCounters> {
        self.shared.counters.get(self.core).map(|padded| &**padded)
    }

    /// The IPv4 connections.
    pub(crate) fn table_v4(&self) -> &Table<EntryV4> {
        &self.v4
    }

    /// The IPv4 connections, for packets that change nothing but their timers and counts.
    pub(crate) fn table_v4_mut(&mut self) -> &mut Table<EntryV4> {
        &mut self.v4
    }

    /// The IPv6 connections.
    pub(crate) fn table_v6(&self) -> &Table<EntryV6> {
        &self.v6
    }

    /// The IPv6 connections, for packets that change nothing but their timers and counts.
    pub(crate) fn table_v6_mut(&mut self) -> &mut Table<EntryV6> {
        &mut self.v6
    }

    /// A number that moves whenever this core changes what replies are found by.
    pub(crate) fn reply_changes(&self) -> u64 {
        self.reply_changes
    }

    /// Which core this is, from 0.
    pub fn core(&self) -> usize {
        self.core
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// Bytes that the connection tables take.
    pub fn bytes(&self) -> usize {
        self.v4.bytes() + self.v6.bytes()
    }

    /// All connections of the core.
    pub fn iter(&self) -> impl Iterator<Item = (Flow, Conn)> + '_ {
        let hidden = self.hidden(Family::V4).chain(self.hidden(Family::V6));
        self.v4.iter().chain(self.v6.iter()).chain(hidden)
    }

    /// Fills a page with connections from entry number `from` on, up to its capacity.
    /// Answers where to go on.
    pub fn page(&self, v6: bool, from: usize, page: &mut Vec<(Flow, Conn)>) -> Option<usize> {
        let limit = page.capacity() - page.len();
        if from == 0 {
            page.extend(self.hidden(if v6 { Family::V6 } else { Family::V4 }));
        }
        let each = |flow, conn| page.push((flow, conn));
        if v6 { self.v6.page(from, limit, each) } else { self.v4.page(from, limit, each) }
    }

    /// The connection of a packet, if it has one that has not expired.
    pub(crate) fn find(&self, flow: &Flow, now: Tick) -> Option<Slot> {
        // IPVS never finds a connection whose client port is 0: such entries are templates to
        // it. A client that really sends from port 0 is scheduled anew by every SYN.
        if flow.client_port == 0 {
            return None;
        }
        let slot = self.slot(flow)?;
        let conn = self.conn(flow.client.family(), slot)?;
        (!self.is_over(&conn, now)).then_some(slot)
    }

    fn slot(&self, flow: &Flow) -> Option<Slot> {
        match flow.client.family() {
            Family::V4 => self.v4.find(flow),
            Family::V6 => self.v6.find(flow),
        }
    }

    pub(crate) fn conn(&self, family: Family, slot: Slot) -> Option<Conn> {
        match family {
            Family::V4 => self.v4.read(slot),
            Family::V6 => self.v6.read(slot),
        }
    }

    pub(crate) fn flow(&self, family: Family, slot: Slot) -> Option<Flow> {
        match family {
            Family::V4 => self.v4.flow(slot),
            Family::V6 => self.v6.flow(slot),
        }
    }

    fn set_conn(&mut self, family: Family, slot: Slot, conn: &Conn) {
        match family {
            Family::V4 => self.v4.write(slot, conn),
            Family::V6 => self.v6.write(slot, conn),
        }
    }

    fn end_of(&self, conn: &Conn) -> Tick {
        timer::fires(self.shared.rule, conn.expires, conn.timeout)
    }

    fn is_over(&self, conn: &Conn, now: Tick) -> bool {
        self.end_of(conn).has_come(now)
    }

    /// Decides about a packet, and remembers the decision. `transport` are the packet's bytes
    /// from the transport header on, for engines that look into it.
    pub fn bind(
        &mut self,
        packet: &Packet,
        transport: &[u8],
        snapshot: &Snapshot,
        now: Tick,
    ) -> Outcome {
        if ipsec::follows(packet.protocol) {
            return self.follow_key_exchange(packet, snapshot, now);
        }
        if !packet.protocol.has_ports() {
            return Outcome::NotOurs;
        }
        if packet.is_later_fragment() {
            return Outcome::Drop(DropReason::FragmentEarly);
        }
        let family = packet.family;
        let hit = snapshot.classifier.for_client(
            packet.src,
            packet.dst,
            packet.protocol,
            packet.dst_port,
        );
        let service = hit.and_then(|hit| snapshot.service(hit.service));
        if let Some(service) = service
            && service.tracking == Tracking::Client
        {
            return self.bind_client(packet, service, snapshot, now);
        }
        let flow = Flow::of(packet);
        // What is for no service can still be from a real server, and that comes first: IPVS
        // looks for replies among what it forwards before anything else.
        if hit.is_none()
            && let Some(reply) = self.masqueraded_reply(packet, transport, snapshot, now)
        {
            return reply;
        }
        let mut shadowed = None;
        // In IPVS, connections from port 0 look like templates to a packet and are never found.
        let known = if packet.src_port == 0 { None } else { self.slot(&flow) };
        if let Some(slot) = known
            && let Some(conn) = self.conn(family, slot)
        {
            let compat = service.map_or(&snapshot.compat, |service| &service.compat);
            if self.is_over(&conn, now) {
                // Not swept yet. It must go: a flow has one entry.
                self.end(family, slot, snapshot, now);
            } else if opens(packet) && is_reused(&conn, snapshot, compat) {
                // The old entry still counts while the new real server is chosen.
                shadowed = Some(slot);
            } else if let Some(real) = snapshot.available(conn.real) {
                match on_down(real, snapshot, now) {
                    None | Some(OnDown::Keep) => {
                        if conn.forwarding == Forwarding::Masq
                            && ftp::is_control(flow.protocol, flow.vip_port)
                            && compat.ip_vs_ftp
                        {
                            self.hear_client(packet, &flow, &conn, transport, snapshot, now);
                        }
                        return self.established(packet, slot, snapshot, now);
                    }
                    Some(OnDown::Drop) => return Outcome::Drop(DropReason::RealServerDown),
                    // As if there were no connection: UDP moves, TCP is reset.
                    Some(OnDown::Rebind) => self.remove(family, slot, snapshot, now),
                }
            } else if !snapshot.serves(family) {
                return Outcome::NotOurs;
            } else if !compat.expire_nodest_conn {
                return Outcome::Drop(DropReason::RealServerGone);
            } else {
                self.remove(family, slot, snapshot, now);
            }
        }
        if shadowed.is_none()
            && hit.is_some()
            && let Some(reply) = self.masqueraded_reply(packet, transport, snapshot, now)
        {
            return reply;
        }
        if shadowed.is_none()
            && let Some(reply) = self.reply(packet, hit.is_some(), snapshot, now)
        {
            return reply;
        }
        if shadowed.is_none()
            && let Some(begun) = self.begun_by_server(packet, transport, snapshot, now)
        {
            return begun;
        }
        let opener = hit.zip(service).filter(|(_, service)| may_open(packet, &service.compat));
        if let Some((hit, service)) = opener
            && hit.ftp_data
            && packet.protocol == Protocol::Tcp
            && service.compat.ip_vs_ftp
            && let Some(choice) = self.agreed(packet, snapshot, now)
        {
            let opening = Opening::of(packet);
            return self.open(&opening, hit.own_port, service, choice, snapshot, now);
        }
        // In IPVS this comes before a look at the ports.
        if let Some((_, service)) = opener
            && self.drops_packet(&service.compat, family, now)
        {
            return Outcome::Drop(DropReason::DropRate);
        }
        let taker = opener.filter(|_| packet.src_port != FTP_DATA_PORT);
        if let Some((_, service)) = taker {
            match self.call_of(packet, transport, service) {
                Ok(call) => self.call = call,
                Err(NoCall) => return Outcome::Drop(DropReason::NoCallId),
            }
        }
        let choice = taker.map(|(hit, service)| self.choose(packet, &hit, service, snapshot, now));
        self.call = None;
        if let Some(slot) = shadowed {
            let chosen =
                choice.as_ref().and_then(|choice| snapshot.real(choice.as_ref().ok()?.real));
            self.give_way(family, slot, chosen, snapshot, now);
        }
        match taker.zip(choice) {
            None => Outcome::NotOurs,
            Some(((hit, service), Ok(choice))) => {
                self.open(&Opening::of(packet), hit.own_port, service, choice, snapshot, now)
            }
            Some(((hit, _), Err(NoChoice::Nobody))) if hit.ftp_data => Outcome::NotOurs,
            Some((_, Err(NoChoice::Nobody))) => Outcome::Refuse,
            Some((_, Err(why @ (NoChoice::Down | NoChoice::Full)))) => Outcome::Drop(why.reason()),
        }
    }

    /// The call that a packet is of, if its service binds calls.
    pub(crate) fn call_of(
        &self,
        packet: &Packet,
        transport: &[u8],
        service: &Service,
    ) -> Result<Option<Call>, NoCall> {
        let (Some(Engine::Sip), Some(persistence)) = (service.engine, &service.persistence) else {
            return Ok(None);
        };
        let message = transport.get(udp::HEADER_LEN..).unwrap_or_default();
        let call_id = sip::call_id(message).filter(|_| packet.protocol == Protocol::Udp);
        let call_id = call_id.ok_or(NoCall)?;
        let client = persistence.masked(packet.src);
        let key = sip::key(client, call_id, self.shared.key.0);
        Ok(Some(Call::new(key, client, call_id)))
    }

    /// As [`Self::bind`], for a flow that only an ICMP error tells of (`schedule_icmp`):
    /// the connection is made, and no packet has moved it. `None` where that is off or no
    /// service takes the flow.
    pub fn bind_by_error(
        &mut self,
        error: &Packet,
        quoted: &Packet,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Outcome> {
        // What is quoted went from the VIP to the client.
        let packet = Packet {
            src: quoted.dst,
            dst: quoted.src,
            src_port: quoted.dst_port,
            dst_port: quoted.src_port,
            total_len: error.total_len,
            ..*quoted
        };
        let hit = snapshot.classifier.lookup(packet.dst, packet.protocol, packet.dst_port)?;
        let service = snapshot.service(hit.service)?;
        // A firewall's rule that looks at ports sets no mark on an ICMP error.
        let bars = service.tracking == Tracking::Client
            || matches!(service.identity, Identity::Mark { .. })
            || packet.src_port == FTP_DATA_PORT
            || self.find(&Flow::of(&packet), now).is_some();
        if !service.compat.schedule_icmp || !follows_flow(error) || bars {
            return None;
        }
        if self.drops_packet(&service.compat, packet.family, now) {
            return Some(Outcome::Drop(DropReason::DropRate));
        }
        if service.engine.is_some() && service.persistence.is_some() {
            // An error quotes too little to find a Call-ID in.
            return Some(Outcome::Drop(DropReason::NoCallId));
        }
        // A scheduler by destination takes the quoted packet's, which is the client.
        let inverse = Packet { dst: packet.src, ..packet };
        Some(match self.choose(&inverse, &hit, service, snapshot, now) {
            Ok(choice) => {
                let choice = Choice { by_error: true, ..choice };
                self.open(&Opening::of(&packet), hit.own_port, service, choice, snapshot, now)
            }
            // An error is never answered.
            Err(why) => Outcome::Drop(why.reason()),
        })
    }

    /// A packet of a known connection: count, state, timer.
    fn established(
        &mut self,
        packet: &Packet,
        slot: Slot,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Outcome {
        let Some(conn) = self.conn(packet.family, slot) else {
            return Outcome::NotOurs;
        };
        let compat = snapshot.compat_of_real(conn.real);
        let secure = self.is_up(compat.secure_tcp, compat, packet.family);
        let next = Signal::of(packet).next(conn.state, conn.direction_in(), secure);
        let mut moved = self.moved(conn, next, &snapshot.timeouts, now);
        moved.count_packet();
        self.set_conn(packet.family, slot, &moved);
        self.count_incoming(conn.real, packet);
        let Conn { real, forwarding, real_port, .. } = conn;
        Outcome::Forward { real, forwarding, real_port }
    }

    /// The connection after a packet that leads to this state: counters follow, the timer
    /// starts anew.
    fn moved(&mut self, conn: Conn, next: State, timeouts: &Timeouts, now: Tick) -> Conn {
        let moved = conn.in_state(next, timeouts, now);
        if moved.flags != conn.flags {
            let shift = if next.is_active() { 1 } else { -1 };
            self.shared.loads.shift(self.core, conn.real, shift, -shift);
        }
        self.assure_by(&conn, next);
        moved
    }

    /// Makes sure of a connection's template, if it is established by going to this state.
    fn assure_by(&self, conn: &Conn, next: State) {
        if matches!(next, State::TcpEstablished | State::SctpEstablished)
            && conn.state != next
            && let Some(template) = conn.template
        {
            self.shared.templates.assure(template);
        }
    }

    /// The real server for a new connection.
    fn choose(
        &mut self,
        packet: &Packet,
        hit: &Hit,
        service: &Service,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Result<Choice, NoChoice> {
        match &service.persistence {
            Some(persistence) => self.follow(packet, hit, service, persistence, snapshot, now),
            // A packet for another port than the service's own comes here by FTP's rule or
            // by port 0, and without persistence IPVS has nobody for it.
            None if !hit.own_port && matches!(service.identity, Identity::Address { .. }) => {
                Err(NoChoice::Nobody)
            }
            None => {
                let real = self.pick(packet, service, snapshot, now).ok_or(NoChoice::Nobody)?;
                Ok(Choice {
                    real,
                    template: None,
                    by_error: false,
                    by_server: false,
                    real_port: None,
                })
            }
        }
    }

    /// Asks the service's pins, then its scheduler.
    fn pick(
        &mut self,
        packet: &Packet,
        service: &Service,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<RealId> {
        if let Some(real) = pinned(packet, service, snapshot, now) {
            return Some(real);
        }
        let pool = pool(&self.shared, self.core, service, snapshot, now);
        self.schedulers.pick(service, &pool, packet)
    }

    /// The real server that the scheduler would pick, without moving its cursor.
    pub(crate) fn would_pick(
        &self,
        packet: &Packet,
        service: &Service,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<RealId> {
        if let Some(real) = pinned(packet, service, snapshot, now) {
            return Some(real);
        }
        let pool = pool(&self.shared, self.core, service, snapshot, now);
        self.schedulers.would_pick(service, &pool, packet)
    }

    /// The real server of the flow that an ICMP error is about. The error leaves state and
    /// timer alone. Whether a real server was removed is not asked, as in IPVS.
    pub fn related(
        &mut self,
        error: &Packet,
        quoted: &Packet,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Related> {
        if !follows_flow(error) {
            return None;
        }
        // What is quoted went from the VIP to the client.
        let quoted = &ipsec::exchange_of(quoted);
        let flow = Flow {
            client: quoted.dst,
            vip: quoted.src,
            client_port: quoted.dst_port,
            vip_port: quoted.src_port,
            protocol: quoted.protocol,
        };
        let hit =
            snapshot.classifier.for_client(flow.client, flow.vip, flow.protocol, flow.vip_port);
        if let Some(hit) = &hit
            && let Some(service) = snapshot.service(hit.service)
            && service.tracking == Tracking::Client
        {
            return self.related_client(error, flow.client, service, snapshot, now);
        }
        let slot = self.find(&flow, now)?;
        let conn = self.conn(flow.client.family(), slot)?;
        // It follows to a real server that was removed as well, but is not counted there.
        if snapshot.available(conn.real).is_some() {
            self.count_incoming(conn.real, error);
        }
        let Conn { real, forwarding, real_port, .. } = conn;
        Some(Related { real, forwarding, real_port })
    }

    /// Tells the shared tables that the core holds nothing that it has read. Once a turn.
    pub fn quiescent(&mut self) {
        self.schedulers.settle(&self.shared.loads, self.core);
        self.shared.templates.quiescent(&mut self.seat.templates);
        self.shared.clients.quiescent(&mut self.seat.clients);
    }
}

pub(crate) use binder::Binder;
pub use client::{client_scope, service_of};
pub(crate) use ipsec::follows as follows_key_exchange;
pub(crate) use opening::Opening;
pub(crate) use persistent::{Standing, standing};
pub use rebind::{BoundKey, Rebind, Rebound};

/// The real server that the client is pinned to, unless that one takes nobody. Weight and
/// thresholds are for schedulers.
fn pinned(packet: &Packet, service: &Service, snapshot: &Snapshot, now: Tick) -> Option<RealId> {
    let real = snapshot.available(service.pins.of(packet.src)?)?;
    (!real.is_down(now)).then_some(real.id)
}

/// What the schedulers may look at.
pub(crate) fn pool<'a>(
    shared: &'a Shared,
    core: usize,
    service: &'a Service,
    snapshot: &'a Snapshot,
    now: Tick,
) -> Pool<'a> {
    Pool {
        members: &service.members,
        reals: &snapshot.reals,
        loads: &shared.loads,
        kernel: service.compat.kernel,
        flags: service.flags,
        tracking: service.tracking,
        seed: service.seed,
        secret: shared.key.0,
        now,
        core,
    }
}

/// What a real server's service does about it being down; `None` while it is not.
fn on_down(real: &Real, snapshot: &Snapshot, now: Tick) -> Option<OnDown> {
    real.is_down(now).then(|| {
        snapshot.service(real.service).map_or(OnDown::default(), |service| service.policy.on_down)
    })
}

/// Whether the packet begins a connection: TCP with SYN (also SYN+ACK), SCTP with INIT.
pub(crate) fn opens(packet: &Packet) -> bool {
    match packet.protocol {
        Protocol::Tcp => packet.tcp_flags.contains(TcpFlags::SYN),
        Protocol::Sctp => sctp::Event::of(packet.sctp_chunks) == sctp::Event::Init,
        _ => false,
    }
}

/// Whether a packet without a connection may have one scheduled.
pub(crate) fn may_open(packet: &Packet, compat: &Compat) -> bool {
    match packet.protocol {
        Protocol::Tcp if packet.tcp_flags.contains(TcpFlags::RST) => false,
        Protocol::Tcp => compat.sloppy_tcp || packet.tcp_flags.contains(TcpFlags::SYN),
        Protocol::Udp => true,
        Protocol::Sctp => match sctp::Event::of(packet.sctp_chunks) {
            sctp::Event::Abort => false,
            sctp::Event::Init => true,
            _ => compat.sloppy_sctp,
        },
        _ => false,
    }
}

/// Whether an opening packet on a known connection is scheduled anew. Never where a
/// template controls the connection: a bound client stays.
fn is_reused(conn: &Conn, snapshot: &Snapshot, compat: &Compat) -> bool {
    let weight = snapshot.available(conn.real).map_or(0, |real| real.effective_weight());
    if compat.expire_nodest_conn && weight == 0 {
        return true;
    }
    if compat.conn_reuse_mode == 0 || conn.template.is_some() {
        return false;
    }
    match conn.state {
        State::TcpTimeWait | State::TcpClose | State::SctpClosed => true,
        State::TcpFinWait => {
            compat.conn_reuse_mode & 2 != 0 && conn.flags.contains(ConnFlags::NO_OUTPUT)
        }
        _ => false,
    }
}

/// ICMP errors that IPVS relates to a flow: IPv4 types 3, 4 and 11, all of IPv6's.
fn follows_flow(error: &Packet) -> bool {
    match error.protocol {
        Protocol::Icmp => matches!(error.icmp_type, 3 | 4 | 11),
        _ => true,
    }
}
