//! Live packets with what became of them, told to whoever asks.
//!
//! While nobody asks, a core's list of orders is empty, and nothing is paid for it. While
//! somebody does, the core goes frame by frame ([`Director::handle`]), looks at no more than
//! so many frames a second, and puts what fits into a ring; what the ring does not take is
//! counted. Whoever asks neither holds up a core nor takes its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use crossbeam::queue::ArrayQueue;

use crate::answer::Budget;
use crate::counters::CoreCounters;
use crate::director::Director;
use crate::explain::Explanation;
use crate::ids::PortIndex;
use crate::tick::Tick;
use crate::verdict::{DropReason, Verdict};
use crate::wire::{Addr, Parsed, parse};

/// Orders that a core takes at a time.
pub const MOST_ORDERS: usize = 4;
/// Records that an order's ring holds.
const RING: usize = 4096;

/// What became of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Sent on through this port.
    Forwarded(PortIndex),
    /// Answered as a host.
    Answered,
    /// Handed to the kernel-facing port.
    ToKernel,
    /// Handed to the control thread.
    Punted,
    /// Waits for its next hop's MAC address, or for its first fragment.
    Held,
    /// Dropped.
    Dropped(DropReason),
}

/// The outcomes that an order wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wanted {
    /// All of them.
    #[default]
    Any,
    /// Those that were sent on.
    Forwarded,
    /// Those that were answered.
    Answered,
    /// Those that the kernel got.
    ToKernel,
    /// Those that the control thread got.
    Punted,
    /// Those that wait.
    Held,
    /// Those that were dropped, for this reason or for any.
    Dropped(Option<DropReason>),
}

impl Wanted {
    /// Whether this is one of them.
    pub fn takes(self, outcome: Outcome) -> bool {
        match (self, outcome) {
            (Self::Any, _)
            | (Self::Forwarded, Outcome::Forwarded(_))
            | (Self::Answered, Outcome::Answered)
            | (Self::ToKernel, Outcome::ToKernel)
            | (Self::Punted, Outcome::Punted)
            | (Self::Held, Outcome::Held)
            | (Self::Dropped(None), Outcome::Dropped(_)) => true,
            (Self::Dropped(Some(wanted)), Outcome::Dropped(reason)) => wanted == reason,
            _ => false,
        }
    }
}

/// Which packets an order wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Packets from or to a network: clients' packets and what goes back to them.
    pub client: Option<(Addr, u8)>,
    /// Packets of the service of this name.
    pub service: Option<Arc<str>>,
    /// Packets that ended so.
    pub wanted: Wanted,
}

impl Filter {
    fn is_for(&self, parsed: &Parsed) -> bool {
        let Some((network, length)) = self.client else { return true };
        let v4 = |address| Addr::from(std::net::IpAddr::V4(address));
        let holds = |address: Addr| {
            address.family() == network.family() && address.masked(length) == network
        };
        match parsed {
            Parsed::Packet(packet) => holds(packet.src) || holds(packet.dst),
            Parsed::Arp(arp) => [arp.sender, arp.target].map(v4).into_iter().any(holds),
            Parsed::Other | Parsed::Malformed(_) => false,
        }
    }
}

/// One frame's story.
#[derive(Clone, Debug)]
pub struct Record {
    /// When its burst came, in nanoseconds of the core's clock.
    pub at_ns: u64,
    /// The port that it came in on.
    pub port: PortIndex,
    /// What it was.
    pub parsed: Parsed,
    /// Its beginning as it came in, up to the order's length.
    pub frame: Box<[u8]>,
    /// Its whole length.
    pub length: usize,
    /// The decision and its reasons, taken before it passed.
    pub story: Explanation,
    /// What became of it.
    pub outcome: Outcome,
}

/// What somebody wants to see, and where it is put. Shared by the cores and the one who reads.
#[derive(Debug)]
pub struct Order {
    filter: Filter,
    /// Bytes of each frame that are kept.
    snaplen: usize,
    /// Frames that each core looks at per second.
    per_second: u32,
    ring: ArrayQueue<Record>,
    over: AtomicBool,
    passed_by: AtomicU64,
    lost: AtomicU64,
}

impl Order {
    /// An order for frames that fit the filter. Each core looks at up to `per_second` of
    /// them; the first `snaplen` bytes of each are kept.
    pub fn new(filter: Filter, snaplen: usize, per_second: u32) -> Arc<Self> {
        Arc::new(Self {
            filter,
            snaplen,
            per_second,
            ring: ArrayQueue::new(RING),
            over: AtomicBool::new(false),
            passed_by: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        })
    }

    /// The next record.
    pub fn pop(&self) -> Option<Record> {
        self.ring.pop()
    }

    /// Ends it: the cores forget it by their next turn.
    pub fn end(&self) {
        self.over.store(true, Relaxed);
    }

    /// Frames of the client's that were not looked at, to keep the rate.
    pub fn passed_by(&self) -> u64 {
        self.passed_by.load(Relaxed)
    }

    /// Records that found no place.
    pub fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }
}

/// One core's orders.
#[derive(Debug, Default)]
pub struct Tracer {
    orders: Vec<(Arc<Order>, Budget)>,
    now_ns: u64,
}

/// A frame that some order wants, before it is decided about.
#[derive(Debug)]
pub struct Seen {
    record: Record,
    bytes: Vec<u8>,
    orders: u8,
    answered: u64,
    to_kernel: u64,
}

impl Tracer {
    /// Whether nobody asks.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.orders.is_empty()
    }

    /// Takes an order. False if there are too many.
    pub fn take(&mut self, order: Arc<Order>) -> bool {
        if self.orders.len() >= MOST_ORDERS {
            return false;
        }
        let budget = Budget::new(order.per_second.min(u32::MAX - 1));
        self.orders.push((order, budget));
        true
    }

    /// Forgets orders that are over. Once a turn, while there are any.
    pub fn settle(&mut self) {
        self.orders.retain(|(order, _)| !order.over.load(Relaxed));
    }

    /// The core's clock, in nanoseconds: the time of what comes next.
    pub fn stamp(&mut self, now_ns: u64) {
        self.now_ns = now_ns;
    }

    /// Looks at a frame that has come in, if somebody wants it.
    pub fn look(
        &mut self,
        director: &Director,
        frame: &[u8],
        port: PortIndex,
        now: Tick,
    ) -> Option<Seen> {
        if self.orders.is_empty() {
            return None;
        }
        let parsed = parse(frame);
        let mut wanted = 0u8;
        let mut snaplen = 0;
        for (index, (order, budget)) in self.orders.iter_mut().enumerate() {
            if !order.filter.is_for(&parsed) {
                continue;
            }
            if budget.take(now) {
                wanted |= 1 << index;
                snaplen = order.snaplen.max(snaplen);
            } else {
                order.passed_by.fetch_add(1, Relaxed);
            }
        }
        if wanted == 0 {
            return None;
        }
        let story = director.explain(frame, port, now);
        for (index, (order, _)) in self.orders.iter().enumerate() {
            let service = story.service.as_ref().map(|(name, _)| name);
            if order.filter.service.is_some() && order.filter.service.as_ref() != service {
                wanted &= !(1 << index);
            }
        }
        if wanted == 0 {
            return None;
        }
        let (answered, to_kernel) = tallies(director.counters());
        let record = Record {
            at_ns: self.now_ns,
            port,
            parsed,
            frame: Box::default(),
            length: frame.len(),
            story,
            outcome: Outcome::Held,
        };
        let bytes = frame.get(..snaplen.min(frame.len())).unwrap_or_default().to_vec();
        Some(Seen { record, bytes, orders: wanted, answered, to_kernel })
    }

    /// Tells what became of it.
    pub fn tell(&mut self, mut seen: Seen, director: &Director, verdict: Verdict) {
        let (answered, to_kernel) = tallies(director.counters());
        let outcome = match verdict {
            _ if answered != seen.answered => Outcome::Answered,
            _ if to_kernel != seen.to_kernel => Outcome::ToKernel,
            Verdict::Forward(port) | Verdict::Fragment(port) => Outcome::Forwarded(port),
            Verdict::Punt => Outcome::Punted,
            Verdict::Hold(..) | Verdict::Seek(..) | Verdict::Early => Outcome::Held,
            Verdict::Drop(reason) => Outcome::Dropped(reason),
        };
        match outcome {
            Outcome::Dropped(reason) => seen.record.story.dropped(reason),
            Outcome::Answered => seen.record.story.answered(),
            _ => {}
        }
        for (index, (order, _)) in self.orders.iter().enumerate() {
            if seen.orders & 1 << index == 0 || !order.filter.wanted.takes(outcome) {
                continue;
            }
            let kept = seen.bytes.get(..order.snaplen.min(seen.bytes.len())).unwrap_or_default();
            let record = Record { frame: kept.into(), outcome, ..seen.record.clone() };
            if order.ring.push(record).is_err() {
                order.lost.fetch_add(1, Relaxed);
            }
        }
    }
}

fn tallies(counters: Option<&CoreCounters>) -> (u64, u64) {
    counters.map_or((0, 0), |counters| (counters.answered.get(), counters.to_kernel.get()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_wanted_by_their_kind_and_reason() {
        let dropped = Outcome::Dropped(DropReason::TableFull);
        assert!(Wanted::Any.takes(dropped) && Wanted::Dropped(None).takes(dropped));
        assert!(Wanted::Dropped(Some(DropReason::TableFull)).takes(dropped));
        assert!(!Wanted::Dropped(Some(DropReason::Loop)).takes(dropped));
        assert!(!Wanted::Forwarded.takes(dropped) && !Wanted::Held.takes(Outcome::Answered));
        assert!(Wanted::Forwarded.takes(Outcome::Forwarded(PortIndex(3))));
    }

    #[test]
    fn a_core_takes_few_orders_and_forgets_those_that_are_over() {
        let mut tracer = Tracer::default();
        assert!(tracer.is_idle());
        let orders: Vec<Arc<Order>> =
            (0..=MOST_ORDERS).map(|_| Order::new(Filter::default(), 0, 10)).collect();
        let taken = orders.iter().filter(|order| tracer.take(Arc::clone(order))).count();
        assert_eq!(taken, MOST_ORDERS);
        orders[0].end();
        tracer.settle();
        assert!(tracer.take(Arc::clone(&orders[MOST_ORDERS])));
        orders.iter().for_each(|order| order.end());
        tracer.settle();
        assert!(tracer.is_idle());
    }
}
