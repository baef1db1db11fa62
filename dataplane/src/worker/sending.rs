//! Frames that leave: gathered in bursts, one for each port.

use super::Worker;
use crate::counters::CoreCounters;
use crate::forward::fragment;
use crate::ids::PortIndex;
use crate::port::{Burst, Frame, Port};
use crate::verdict::DropReason;
use crate::wire::{Parsed, parse};

impl<P: Port> Worker<P> {
    pub(super) fn send(&mut self, frame: P::Frame, port: PortIndex) {
        let index = usize::from(port.0);
        if self.tx.get(index).is_some_and(Burst::is_full) {
            self.flush_port(index);
        }
        match self.tx.get_mut(index) {
            Some(burst) => burst.push(frame),
            None => self.count_drop(DropReason::NotForUs),
        }
    }

    /// Sends a frame whose packet may be longer than the port takes, in pieces if so. The
    /// frame counts as one; further pieces count as originated.
    pub(super) fn split(&mut self, frame: P::Frame, port: PortIndex) {
        let index = usize::from(port.0);
        let Some(mtu) = self.director.snapshot().port(port).map(|facts| facts.mtu) else {
            return self.count_drop(DropReason::NotForUs);
        };
        let mtu = self.mtu_of_way(frame.bytes(), mtu);
        let mut cut = match fragment::Cut::of(frame, mtu, self.next_id()) {
            Ok(cut) => cut,
            Err(frame) => return self.send(frame, port),
        };
        while cut.has_more() {
            let len = cut.next_len();
            let Some(mut piece) = self.ports.get_mut(index).and_then(|port| port.alloc(len)) else {
                // A datagram with a hole is of no use to anybody.
                return self.count_drop(DropReason::FrameMemory);
            };
            cut.fill(&mut piece);
            self.send_own(piece, port);
        }
        self.send(cut.into_last(), port);
    }

    /// The MTU of the way that a packet goes whose first link has this one.
    pub(super) fn mtu_of_way(&self, frame: &[u8], link: u16) -> u16 {
        let ways = &self.shared.path_mtus;
        match ways.is_empty() {
            true => link,
            false => match parse(frame) {
                Parsed::Packet(packet) => ways.mtu(packet.dst, link),
                _ => link,
            },
        }
    }

    /// What the pieces of one packet share: hard to guess, and no number twice in a row of 2^32
    /// (RFC 7739).
    pub(super) fn next_id(&mut self) -> u32 {
        self.cut = self.cut.wrapping_add(1);
        let [first, second] = self.shared.key.0;
        // Odd factors and shifts lose nothing.
        let mixed = (self.cut ^ first as u32).wrapping_mul(second as u32 | 1);
        (mixed ^ mixed >> 16).wrapping_mul((second >> 32) as u32 | 1)
    }

    /// Sends a piece at once, behind what is ready already.
    pub(super) fn send_own(&mut self, piece: P::Frame, port: PortIndex) {
        let index = usize::from(port.0);
        self.flush_port(index);
        let Some(port) = self.ports.get_mut(index) else { return };
        let mut burst = Burst::new();
        burst.push(piece);
        port.tx(&mut burst);
        if burst.is_empty()
            && let Some(counters) = self.counters()
        {
            counters.originated.add(1);
        }
    }

    pub(super) fn flush(&mut self) {
        for index in 0..self.tx.len() {
            if self.tx.get(index).is_some_and(|burst| !burst.is_empty()) {
                self.flush_port(index);
            }
        }
    }

    pub(super) fn flush_port(&mut self, index: usize) {
        let (Some(port), Some(burst)) = (self.ports.get_mut(index), self.tx.get_mut(index)) else {
            return;
        };
        let counters = self.shared.counters.get(self.core).map(|padded| &**padded);
        transmit(port, burst, counters);
    }
}

/// Sends a burst; what the port refuses is dropped.
#[inline]
pub(super) fn transmit<P: Port>(
    port: &mut P,
    burst: &mut Burst<P::Frame>,
    counters: Option<&CoreCounters>,
) {
    let offered = burst.len();
    port.tx(burst);
    let refused = burst.len();
    burst.clear();
    if let Some(counters) = counters {
        counters.forwarded.add((offered - refused) as u64);
        counters.unsent.add(refused as u64);
    }
}
