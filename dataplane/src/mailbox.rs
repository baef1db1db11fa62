//! The queues between one core and the control thread. Neither ever waits for the other.

use std::sync::Arc;

use crossbeam::queue::ArrayQueue;

use crate::bindings::{Rebind, Rebound};
use crate::call::Call;
use crate::conn::table::{Flow, Leftover, Slot, TableGrowth};
use crate::conn::{Conn, Signal};
use crate::explain::Explanation;
use crate::ids::{NeighbourId, PortIndex, RealId};
use crate::snapshot::Snapshot;
use crate::tick::Tick;
use crate::trace::Order;
use crate::wire::Addr;
use crate::wire::ethernet::Mac;

/// What a core tells control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A packet waits for this next hop's MAC address.
    Wanted(NeighbourId),
    /// A packet waits for a neighbour that has no id yet: a client in a connected network.
    /// It is to be interned and resolved.
    Sought {
        /// The port that leads to it.
        port: PortIndex,
        /// Its address.
        address: Addr,
    },
    /// A station that is not the director says that it has a VIP.
    VipClaimed(Heard),
    /// Somebody said which MAC address an address has.
    Heard(Heard),
}

/// An ARP or Neighbour Discovery message, as far as it tells of a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The port that it came in on.
    pub port: PortIndex,
    /// The address.
    pub address: Addr,
    /// Its MAC address.
    pub mac: Mac,
    /// Whether it answers a question (otherwise it asks one, or announces).
    pub reply: bool,
    /// Whether it was addressed to this director alone.
    pub unicast: bool,
}

/// A reply that another core than its connection's owner has sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The owner's entry, as of the lookup.
    pub slot: Slot,
    /// The connection's flow: the entry may be another one's by now.
    pub flow: Flow,
    /// The real server that has sent it.
    pub real: RealId,
    /// What the packet says to the state machine.
    pub signal: Signal,
}

/// What other cores tell a connection's owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Note {
    /// A reply has passed.
    Replied(Seen),
    /// Packets that follow this key exchange have passed: it goes on.
    Kept(Flow),
    /// A connection is covered by a newer one whose real server's packets look the same, or is
    /// so no longer.
    Twin {
        /// The owner's entry.
        slot: Slot,
        /// The connection's flow.
        flow: Flow,
        /// Its real server.
        real: RealId,
        /// Whether it is covered now.
        covered: bool,
    },
}

/// A frame that control wants sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The port.
    pub port: PortIndex,
    /// The whole frame, without FCS.
    pub frame: Box<[u8]>,
}

/// Bindings that are changed in one turn at the most.
pub const REBINDS: usize = 64;

/// A question to a core.
#[derive(Debug)]
pub enum Query {
    /// The next connections from this place on, into the page.
    Connections {
        /// Which address family's table.
        v6: bool,
        /// Where to go on (0 at the start).
        from: usize,
        /// Filled by the core up to its capacity, then sent back.
        page: Vec<(Flow, Conn)>,
    },
    /// Tell what becomes of frames, until the order is over.
    Trace(Arc<Order>),
    /// These bindings change. At most [`REBINDS`] at a time, so that a turn stays short.
    Rebind(Vec<Rebind>),
    /// What would happen to this frame.
    Explain {
        /// The frame.
        frame: Box<[u8]>,
        /// The port that it would come in on.
        port: PortIndex,
    },
}

/// A core's answer.
#[derive(Debug)]
pub enum Answer {
    /// Some of its connections.
    Connections {
        /// The connections.
        page: Vec<(Flow, Conn)>,
        /// Where to go on; `None` at the end.
        next: Option<usize>,
        /// The core's time, against which the entries' expiry is read.
        now: Tick,
    },
    /// What became of all of them together.
    Rebound(Rebound),
    /// What would happen to the frame.
    Explanation(Explanation),
    /// Whether the order was taken.
    Traced(bool),
}

/// One core's queues. Both sides hold it.
#[derive(Debug)]
pub struct Mailbox {
    /// Newer configurations; control sends one at a time.
    pub snapshots: ArrayQueue<Arc<Snapshot>>,
    /// Configurations that the core has done with, for control to free.
    pub retired: ArrayQueue<Arc<Snapshot>>,
    /// What the core has to tell.
    pub events: ArrayQueue<Event>,
    /// SIP calls that the core has bound; one that finds no place stays without a name in
    /// listings.
    pub calls: ArrayQueue<Call>,
    /// Frames that control wants sent.
    pub outgoing: ArrayQueue<Outgoing>,
    /// Questions about the core's tables.
    pub queries: ArrayQueue<Query>,
    /// The core's answers.
    pub answers: ArrayQueue<Answer>,
    /// Memory for the core's tables.
    pub growths: ArrayQueue<TableGrowth>,
    /// Memory that the core has done with, for control to free.
    pub leftovers: ArrayQueue<Leftover>,
    /// What other cores have seen of this core's connections.
    pub seen: ArrayQueue<Note>,
}

impl Default for Mailbox {
    fn default() -> Self {
        Self {
            snapshots: ArrayQueue::new(1),
            retired: ArrayQueue::new(4),
            events: ArrayQueue::new(1024),
            calls: ArrayQueue::new(512),
            outgoing: ArrayQueue::new(256),
            queries: ArrayQueue::new(4),
            answers: ArrayQueue::new(4),
            growths: ArrayQueue::new(2),
            leftovers: ArrayQueue::new(4),
            seen: ArrayQueue::new(4096),
        }
    }
}
