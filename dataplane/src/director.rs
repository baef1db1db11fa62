//! One frame: parse, classify, bind, rewrite. [`Director::handle`] is one core's share of
//! the load balancer, and the reference that faster paths are compared with.

mod burst;
mod errors;
mod host;
mod neighbours;
mod passing;
mod pieces;
mod relay;
mod returning;

use std::sync::Arc;

use crate::answer::{Answer, Budget, Receivers};
use crate::bindings::{Bindings, Outcome, Rebind, Rebound};
use crate::counters::CoreCounters;
use crate::datagram::{Datagram, as_piece};
use crate::explain::{Explanation, Scene};
use crate::fragments::{Fragments, Key};
use crate::gathering::{Gathering, Settled};
use crate::ids::PortIndex;
use crate::mailbox::Event;
use crate::port::Frame;
use crate::shared::{CoreSeat, Shared};
use crate::snapshot::Snapshot;
use crate::tick::Tick;
use crate::timer;
use crate::verdict::{DropReason, Verdict};
use crate::wire::ethernet::{self, Mac};
use crate::wire::ndp;
use crate::wire::{
    Family, Fragment, Malformed, Packet, Parsed, Protocol, icmp, ipv6, parse, parse_piece,
};
use burst::Learned;
pub use burst::{Decided, Reading};
use passing::Inward;
pub(crate) use pieces::Whole;

/// Bytes that a core has near itself, with a little help of the cores' shared cache.
const NEAR: usize = 4 << 20;
/// Bytes that a core has in a cache of its own.
const NEAREST: usize = 1 << 19;

/// What a director needs to know of its surroundings besides the configuration.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The ports' own MAC addresses, in the configuration's order.
    pub macs: Vec<Mac>,
    /// Answers given as a host, per second and core; `u32::MAX` for no limit.
    pub answers_per_second: u32,
}

/// One core's director.
pub struct Director {
    // Apart from the rest, so that it can be borrowed while the tables change: cloning the
    // `Arc` for every packet would make all cores write one line.
    snapshot: Arc<Snapshot>,
    path: Path,
    learned: Learned,
}

/// All of a director but its configuration.
struct Path {
    shared: Arc<Shared>,
    bindings: Bindings,
    surroundings: Surroundings,
    answers: Budget,
    /// What the kernel would still answer, where its limits hold.
    as_kernel: Option<Box<(Receivers, Budget)>>,
    fragments: Fragments,
    gathering: Gathering,
    /// The longest fragment of the datagram in hand, if it was put together.
    longest: Option<u16>,
    /// Whether something was written into the datagram in hand that made it one piece.
    is_spliced: bool,
    /// Answers given so far.
    answers_given: u32,
    /// Tunnelled packets so far, for their identifications.
    packets_made: u64,
}

/// Where and when a frame came in.
#[derive(Clone, Copy)]
struct Arrival {
    port: PortIndex,
    now: Tick,
}

impl Director {
    /// A director that starts with this configuration and empty tables.
    pub fn new(
        shared: Arc<Shared>,
        snapshot: Arc<Snapshot>,
        seat: CoreSeat,
        surroundings: Surroundings,
    ) -> Self {
        let path = Path {
            bindings: Bindings::new(Arc::clone(&shared), seat),
            answers: Budget::new(surroundings.answers_per_second),
            as_kernel: None,
            fragments: Fragments::new(
                shared.sizes.fragments.div_ceil(shared.cores().max(1)),
                shared.key.0,
            ),
            gathering: Gathering::default(),
            longest: None,
            is_spliced: false,
            answers_given: 0,
            shared,
            surroundings,
            packets_made: 0,
        };
        Self { snapshot, path, learned: Learned::new() }
    }

    /// Takes up a newer configuration and gives back the old one, for control to free.
    pub fn adopt(&mut self, snapshot: Arc<Snapshot>) -> Arc<Snapshot> {
        self.learned.forget();
        std::mem::replace(&mut self.snapshot, snapshot)
    }

    /// The configuration in use.
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }

    /// The core's connections and its way to the shared tables.
    pub fn bindings(&self) -> &Bindings {
        &self.path.bindings
    }

    /// What all cores share.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.path.shared
    }

    /// The core's counters.
    pub fn counters(&self) -> Option<&CoreCounters> {
        self.path.counters()
    }

    /// Bounded clean-up: at most so many entries of each table are looked at.
    pub fn sweep(&mut self, now: Tick, budget: usize) {
        self.path.bindings.sweep(&self.snapshot, now, budget);
    }

    /// Changes a binding, between two bursts.
    pub fn rebind(&mut self, rebind: &Rebind, now: Tick) -> Rebound {
        self.path.bindings.rebind(rebind, &self.snapshot, now)
    }

    /// What would happen to a frame, and why; nothing is sent or remembered.
    pub fn explain(&self, frame: &[u8], port: PortIndex, now: Tick) -> Explanation {
        let scene = Scene {
            snapshot: &self.snapshot,
            shared: &self.path.shared,
            bindings: &self.path.bindings,
            fragments: &self.path.fragments,
            mac: self.path.mac(port),
            refuses: Path::refuses,
            may_be_balanced: Path::may_be_balanced,
        };
        scene.explain(frame, port, now)
    }

    /// How many first fragments were remembered and datagrams settled: when this changes, frames
    /// that were [`Verdict::Early`] are to be handed in again, or put together.
    pub fn fragments_remembered(&self) -> u64 {
        self.path.remembered()
    }

    /// The next datagram of which all fragments are there, or none is of use.
    pub(crate) fn next_settled(&mut self) -> Option<(Key, Settled)> {
        self.path.gathering.next_settled()
    }

    /// Whether [`Self::next_settled`] has something to tell.
    pub(crate) fn has_settled(&self) -> bool {
        self.path.gathering.has_settled()
    }

    /// The datagram that a fragment waits for.
    pub(crate) fn gathered(&self, frame: &[u8]) -> Option<Key> {
        let key = as_piece(frame).and_then(|piece| Key::of(&piece));
        key.filter(|_| self.snapshot.fragments.whole)
    }

    /// Whether the fragments of a datagram still wait for each other.
    pub(crate) fn is_gathering(&self, key: &Key) -> bool {
        self.snapshot.fragments.whole && self.path.gathering.waits_since(key).is_some()
    }

    /// Decides about a datagram that was put together.
    pub(crate) fn whole(
        &mut self,
        datagram: &mut Datagram,
        ingress: PortIndex,
        now: Tick,
    ) -> Whole {
        self.path.whole(&self.snapshot, datagram, Arrival { port: ingress, now })
    }

    /// Takes up what other cores saw of this core's connections. Once a turn.
    pub fn take_notes(&mut self, now: Tick) {
        self.path.bindings.take_notes(&self.snapshot, now);
    }

    /// Goes on with making the connection tables larger, if control wants that. Once a turn.
    pub fn grow(&mut self) {
        self.path.bindings.grow();
    }

    /// Tells the shared tables that nothing is held from before. Once a turn.
    pub fn quiescent(&mut self) {
        self.path.bindings.quiescent();
    }

    /// Whether the table of a family's clients is so small that its lines are mostly near the
    /// core: then waiting for them costs less than having many frames under way.
    #[inline]
    pub fn is_near(&self, family: Family) -> bool {
        self.path.shared.clients.bytes(family) <= NEAR
    }

    /// Whether it is so small that they are in the core's own cache, and need no waiting for.
    #[inline]
    pub fn is_nearest(&self, family: Family) -> bool {
        self.path.shared.clients.bytes(family) <= NEAREST
    }

    /// Reads a burst of frames that came in on one port, and requests from memory what
    /// [`Self::decide`] will need. Other bursts may be read before this one is decided about,
    /// but no snapshot adopted.
    #[inline]
    pub fn read<F: Frame>(
        &mut self,
        reading: &mut Reading,
        frames: &[F],
        ingress: PortIndex,
        now: Tick,
    ) {
        let at = Arrival { port: ingress, now };
        self.path.read(reading, &mut self.learned, &self.snapshot, frames, at);
    }

    /// Requests from memory what can be requested now that the answers to [`Self::read`]'s
    /// requests have come. Left out, [`Self::decide`] does it.
    #[inline]
    pub fn fetch(&mut self, reading: &mut Reading) {
        self.path.fetch(reading);
    }

    /// Requests from memory what the answers to [`Self::fetch`]'s requests have told of. Left
    /// out, [`Self::decide`] does it.
    #[inline]
    pub fn find(&mut self, reading: &mut Reading) {
        self.path.find(reading);
    }

    /// Whether connections are so few that waiting for their lines costs less than having more
    /// frames under way.
    #[inline]
    pub fn has_few_connections(&self) -> bool {
        self.path.has_few_connections()
    }

    /// The same of IPv6 connections.
    #[inline]
    pub fn has_few_v6_connections(&self) -> bool {
        self.path.bindings.table_v6().bytes() <= NEAREST
    }

    /// Decides about frames of a burst that was read, from the first undecided one on, and
    /// rewrites them: all of them, or up to one that other frames may have waited for
    /// ([`Self::fragments_remembered`]). Gives what [`Self::handle`] gives for one after the
    /// other; `handle` may be called in between.
    #[inline]
    pub fn decide<F: Frame>(
        &mut self,
        reading: &mut Reading,
        undecided: &mut [F],
        decided: &mut Decided,
    ) {
        self.path.decide(reading, &mut self.learned, &self.snapshot, undecided, decided);
    }

    /// How many ways were learned, ever: this many more frames took longer than others.
    pub fn learned(&self) -> u32 {
        self.learned.learned()
    }

    /// A frame whose next hop did not say its MAC address in time: its sender is told, where
    /// that is possible.
    pub fn give_up(&mut self, frame: &mut impl Frame, port: PortIndex, now: Tick) -> Verdict {
        self.path.unreachable(&self.snapshot, frame, Arrival { port, now })
    }

    /// Until when a fragment that has come now waits for the rest of its datagram: as long as
    /// those that have come before it.
    pub(crate) fn waits_until(&self, frame: &[u8], now: Tick) -> Tick {
        let piece = as_piece(frame);
        let family = piece.as_ref().map_or(Family::V4, |piece| piece.family);
        let wait = self.snapshot.fragments.wait(family);
        let key = piece.as_ref().and_then(Key::of);
        let since = key.and_then(|key| self.path.gathering.waits_since(&key)).unwrap_or(now);
        timer::fires(self.path.shared.rule, since.plus(wait), wait)
    }

    /// What becomes of a fragment whose datagram's rest did not come in time.
    pub(crate) fn give_up_datagram(
        &mut self,
        frame: &mut impl Frame,
        port: PortIndex,
        now: Tick,
    ) -> Verdict {
        self.path.incomplete(&self.snapshot, frame, Arrival { port, now })
    }

    /// Decides about one frame and rewrites it.
    pub fn handle(&mut self, frame: &mut impl Frame, ingress: PortIndex, now: Tick) -> Verdict {
        self.path.handle(&self.snapshot, frame, Arrival { port: ingress, now })
    }
}

impl Path {
    /// See [`Director::fragments_remembered`].
    fn remembered(&self) -> u64 {
        self.fragments.remembered().wrapping_add(self.gathering.count())
    }

    fn counters(&self) -> Option<&CoreCounters> {
        self.shared.counters.get(self.bindings.core()).map(|padded| &**padded)
    }

    fn handle(&mut self, snapshot: &Snapshot, frame: &mut impl Frame, at: Arrival) -> Verdict {
        let Some(port) = snapshot.port(at.port) else { return Verdict::Drop(DropReason::NotForUs) };
        if port.kernel_facing {
            return Self::kernel_sends(port);
        }
        let parsed = match parse(frame.bytes()) {
            // Where datagrams are put together before anything is decided, their headers are.
            refused @ Parsed::Malformed(Malformed::TinyFragment) if snapshot.fragments.whole => {
                parse_piece(frame.bytes()).map_or(refused, Parsed::Packet)
            }
            parsed => parsed,
        };
        if !matches!(parsed, Parsed::Malformed(_))
            && let Some(reason) = self.not_ours(frame.bytes(), at.port)
        {
            return Verdict::Drop(reason);
        }
        match parsed {
            Parsed::Packet(packet) => {
                if packet.vlan.id() != port.vlan.id() {
                    return Verdict::Drop(DropReason::OtherVlan);
                }
                // What puts datagrams together leaves no trace of a fragment.
                if snapshot.fragments.whole
                    && ipv6::take_fragment_header(frame, &packet)
                    && let Parsed::Packet(packet) = parse(frame.bytes())
                {
                    return self.packet(snapshot, frame, &packet, at);
                }
                self.packet(snapshot, frame, &packet, at)
            }
            Parsed::Arp(arp) if arp.vlan.id() != port.vlan.id() => {
                Verdict::Drop(DropReason::OtherVlan)
            }
            Parsed::Arp(arp) => self.arp(snapshot, frame, &arp, at.port),
            Parsed::Other => self.to_kernel(snapshot, at.port, DropReason::NotForUs),
            Parsed::Malformed(malformed) => Verdict::Drop(malformed.into()),
        }
    }

    /// A frame for another station, as a flooding switch or a promiscuous port delivers it.
    fn not_ours(&self, frame: &[u8], ingress: PortIndex) -> Option<DropReason> {
        let destination = ethernet::destination(frame)?;
        let ours = destination.is_multicast() || destination == self.mac(ingress);
        (!ours).then_some(DropReason::OtherMac)
    }

    fn mac(&self, port: PortIndex) -> Mac {
        self.surroundings.macs.get(usize::from(port.0)).copied().unwrap_or_default()
    }

    /// Whether a packet is dropped for its addresses: nobody's outside of a host (RFC 1122, 3.2.1.3;
    /// RFC 4291, 2.5.3), or, as a host that is a router drops it, its own source.
    fn refuses(snapshot: &Snapshot, packet: &Packet) -> bool {
        packet.dst.is_inside_a_host()
            || packet.src.is_inside_a_host() && !packet.dst.is_broadcast()
            || snapshot.masqueraded.everybody && passing::is_from_itself(snapshot, packet)
    }

    fn packet(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        if Self::refuses(snapshot, packet) {
            return Verdict::Drop(DropReason::BadAddress);
        }
        if let Some(verdict) = self.gather(snapshot, frame, packet, at) {
            return verdict;
        }
        if matches!(packet.protocol, Protocol::Icmp | Protocol::Icmpv6)
            && !packet.is_later_fragment()
        {
            if packet.fragment != Fragment::Whole {
                self.fragments.remember(packet, Outcome::NotOurs, at.now);
            }
            return self.icmp(snapshot, frame, packet, at);
        }
        // IPVS balances only what was sent to this station alone.
        if ethernet::destination(frame.bytes()).is_some_and(Mac::is_multicast) {
            return self.to_kernel(snapshot, at.port, DropReason::NotForUs);
        }
        match packet.fragment {
            Fragment::Whole => {
                if let Some(refused) = self.refused_on_its_way(snapshot, frame, packet, at) {
                    return refused;
                }
                let transport = packet.transport(frame.bytes());
                let outcome = self.bindings.bind(packet, transport, snapshot, at.now);
                self.carry_out(outcome, snapshot, frame, packet, at)
            }
            Fragment::First { .. } => self.first_fragment(snapshot, frame, packet, at),
            Fragment::Later { .. } => self.later_fragment(snapshot, frame, packet, at),
        }
    }

    /// Does to a frame what was decided about its packet.
    fn carry_out(
        &mut self,
        outcome: Outcome,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        match outcome {
            Outcome::Forward { real, forwarding, real_port } => {
                let Some(real) = snapshot.real(real) else {
                    return Verdict::Drop(DropReason::RealServerGone);
                };
                let address = self.bindings.take_elsewhere().unwrap_or(real.address);
                let to = Inward { packet, real, forwarding, real_port, address };
                self.forward(snapshot, frame, to, at)
            }
            Outcome::Reply { real, from } => self.reply(snapshot, frame, packet, (real, from), at),
            Outcome::NotOurs => self.host(snapshot, frame, packet, at),
            Outcome::Refuse => {
                let refusal = Answer::Icmp(icmp::Error::PortUnreachable);
                match self.answer(snapshot, refusal, frame, packet, at) {
                    Verdict::Drop(_) => Verdict::Drop(DropReason::NoRealServer),
                    answered => answered,
                }
            }
            Outcome::Drop(reason) => Verdict::Drop(reason),
        }
    }

    fn want(&self, neighbour: crate::ids::NeighbourId) {
        if self.shared.neighbours.want(neighbour) && !self.tell(Event::Wanted(neighbour)) {
            // Nobody heard it: the next packet asks again.
            self.shared.neighbours.unwant(neighbour);
        }
    }

    /// Tells control; `false` where its queue is full.
    fn tell(&self, event: Event) -> bool {
        let mailbox = self.shared.mailboxes.get(self.bindings.core());
        mailbox.is_some_and(|mailbox| mailbox.events.push(event).is_ok())
    }

    /// ICMP: errors about a balanced flow follow it; echo and neighbour discovery are
    /// answered; the rest is the host's.
    fn icmp(
        &mut self,
        snapshot: &Snapshot,
        frame: &mut impl Frame,
        packet: &Packet,
        at: Arrival,
    ) -> Verdict {
        if let Some(quoted) = icmp::quoted(frame.bytes(), packet)
            && let Some(verdict) = self.follow(snapshot, frame, packet, &quoted, at)
        {
            return verdict;
        }
        if packet.protocol == Protocol::Icmpv6
            && let Ok(message) = ndp::parse(frame.bytes(), packet)
        {
            return self.neighbour_discovery(snapshot, frame, packet, &message, at.port);
        }
        if icmp::is_echo_request(packet) && snapshot.hosts.get(packet.dst).is_some() {
            return self.answer(snapshot, Answer::Echo, frame, packet, at);
        }
        self.host(snapshot, frame, packet, at)
    }
}
