//! One core's share of the load balancer. [`Director::handle`] takes a frame alone along its
//! `path`, and is the reference that faster paths are compared with.

mod burst;
mod errors;
mod host;
mod neighbours;
mod passing;
mod path;
mod pieces;
mod relay;
mod returning;

use std::sync::Arc;

use crate::answer::Budget;
use crate::bindings::{Bindings, Rebind, Rebound};
use crate::counters::CoreCounters;
use crate::datagram::{Datagram, as_piece};
use crate::explain::{Explanation, Scene};
use crate::fragments::{Fragments, Key};
use crate::gathering::{Gathering, Settled};
use crate::ids::PortIndex;
use crate::port::Frame;
use crate::shared::{CoreSeat, Shared};
use crate::snapshot::Snapshot;
use crate::tick::Tick;
use crate::timer;
use crate::verdict::Verdict;
use crate::wire::Family;
use crate::wire::ethernet::Mac;
use burst::Learned;
pub use burst::{Decided, Reading};
use path::{Arrival, Path};
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
