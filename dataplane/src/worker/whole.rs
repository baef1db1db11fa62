//! Datagrams that are put together before anything is decided, and taken apart again behind it.

use super::Worker;
use super::waiting::Awaited;
use crate::datagram::Datagram;
use crate::director::Whole;
use crate::forward::fragment::Cut;
use crate::fragments::Key;
use crate::gathering::Settled;
use crate::ids::PortIndex;
use crate::port::{Frame, Port};
use crate::tick::Tick;
use crate::verdict::{DropReason, Verdict};

/// A datagram's parts on their way out.
struct Parts<F> {
    /// Frames to put them into.
    spare: Vec<F>,
    port: PortIndex,
    awaited: Option<Awaited>,
}

impl<P: Port> Worker<P> {
    /// Takes a datagram's fragments from those that wait, and does to the datagram what is decided
    /// about it as a whole.
    pub(super) fn settle(&mut self, key: &Key, settled: Settled, now: Tick) {
        let waiting = std::mem::take(&mut self.early);
        let (these, others): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|early| early.datagram == Some(*key));
        self.early = others.into();
        let Some(ingress) = these.first().map(|early| early.ingress) else { return };
        let frames: Vec<P::Frame> = these.into_iter().map(|early| early.frame).collect();
        frames.iter().for_each(|_| self.unhold());
        let datagram = match settled {
            Settled::Whole => Datagram::of(&frames),
            Settled::Broken => None,
        };
        match datagram {
            Some(datagram) => self.pass_whole(datagram, frames, ingress, now),
            None => frames.iter().for_each(|_| self.count_drop(DropReason::BadFragment)),
        }
    }

    /// Decides about a datagram and does what was decided; its fragments' frames take what leaves.
    fn pass_whole(
        &mut self,
        mut datagram: Datagram,
        frames: Vec<P::Frame>,
        ingress: PortIndex,
        now: Tick,
    ) {
        let seen = self.tracer.look(&self.director, datagram.frame.bytes(), ingress, now);
        let Whole { verdict, answered, apart } = self.director.whole(&mut datagram, ingress, now);
        if let Some(seen) = seen {
            self.tracer.tell(seen, &self.director, verdict);
        }
        let (port, awaited) = match verdict {
            Verdict::Forward(port) | Verdict::Fragment(port) => (port, None),
            Verdict::Hold(neighbour, port) => (port, Some(Awaited::Mac(neighbour))),
            Verdict::Seek(address, port) => (port, Some(Awaited::Id(address))),
            Verdict::Punt => {
                if let Some(counters) = self.counters() {
                    counters.punted.add(frames.len() as u64);
                }
                return;
            }
            Verdict::Early => {
                return frames.iter().for_each(|_| self.count_drop(DropReason::FragmentTable));
            }
            Verdict::Drop(reason) => {
                return frames.iter().for_each(|_| self.count_drop(reason));
            }
        };
        let Some(mtu) = self.director.snapshot().port(port).map(|facts| facts.mtu) else {
            return frames.iter().for_each(|_| self.count_drop(DropReason::NotForUs));
        };
        let mtu = self.mtu_of_way(datagram.frame.bytes(), mtu);
        let id = self.next_id();
        let cut = match answered {
            true => Cut::of(datagram.frame, mtu, id),
            false => datagram.cut(mtu, apart, id),
        };
        let mut parts = Parts { spare: frames, port, awaited };
        match cut {
            Ok(mut cut) => {
                while !cut.is_done() {
                    let len = cut.next_len();
                    if !self.part(&mut parts, len, now, |piece| cut.fill(piece)) {
                        break;
                    }
                }
            }
            Err(whole) => {
                self.part(&mut parts, whole.bytes().len(), now, |frame| {
                    frame.bytes_mut().copy_from_slice(whole.bytes());
                });
            }
        }
        // What has become fewer frames has been sent on nevertheless.
        if let Some(counters) = self.counters() {
            counters.forwarded.add(parts.spare.len() as u64);
        }
    }

    /// Sends one part of a datagram, or has it wait for its next hop; answers whether there was
    /// memory for it.
    fn part(
        &mut self,
        parts: &mut Parts<P::Frame>,
        len: usize,
        now: Tick,
        fill: impl FnOnce(&mut P::Frame),
    ) -> bool {
        let Parts { spare, port, awaited } = parts;
        let (mut frame, is_own) = match spare.pop() {
            Some(frame) => (frame, false),
            None => {
                let port = self.ports.get_mut(usize::from(port.0));
                let Some(frame) = port.and_then(|port| port.alloc(len)) else {
                    self.count_drop(DropReason::FrameMemory);
                    return false;
                };
                (frame, true)
            }
        };
        if !frame.set_len(len) {
            self.count_drop(DropReason::FrameMemory);
            return false;
        }
        fill(&mut frame);
        match *awaited {
            None if is_own => self.send_own(frame, *port),
            None => self.send(frame, *port),
            Some(awaited) => {
                if is_own && let Some(counters) = self.counters() {
                    // It will count among the frames sent on.
                    counters.received.add(1);
                }
                self.hold(frame, awaited, *port, now);
            }
        }
        true
    }
}
