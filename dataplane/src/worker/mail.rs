//! What control sends a core, and what it asks.

use super::Worker;
use crate::bindings::Rebound;
use crate::mailbox::{Answer, Query, REBINDS};
use crate::port::{Burst, Frame, Port};
use crate::tick::Tick;

impl<P: Port> Worker<P> {
    pub(super) fn news(&mut self, now: Tick) {
        self.take_snapshot();
        self.director.grow();
        self.director.take_notes(now);
        self.send_outgoing();
        self.answer_query(now);
        if !self.tracer.is_idle() {
            self.tracer.settle();
        }
    }

    fn take_snapshot(&mut self) {
        let Some(mailbox) = self.shared.mailboxes.get(self.core) else { return };
        // The old snapshot must go back to control, so that no core frees it; until there is
        // room for it, no newer one is taken.
        if let Some(old) = self.parting.take()
            && let Err(old) = mailbox.retired.push(old)
        {
            self.parting = Some(old);
            return;
        }
        if let Some(snapshot) = mailbox.snapshots.pop() {
            let generation = snapshot.generation;
            let old = self.director.adopt(snapshot);
            self.parting = mailbox.retired.push(old).err();
            if let Some(counters) = self.shared.counters.get(self.core) {
                counters.generation.set(generation.0);
            }
        }
    }

    fn send_outgoing(&mut self) {
        let Some(mailbox) = self.shared.mailboxes.get(self.core) else { return };
        while let Some(outgoing) = mailbox.outgoing.pop() {
            let Some(port) = self.ports.get_mut(usize::from(outgoing.port.0)) else { continue };
            let Some(mut frame) = port.alloc(outgoing.frame.len()) else { continue };
            if frame.bytes().len() != outgoing.frame.len() {
                continue;
            }
            frame.bytes_mut().copy_from_slice(&outgoing.frame);
            let mut burst = Burst::new();
            burst.push(frame);
            port.tx(&mut burst);
            if burst.is_empty()
                && let Some(counters) = self.shared.counters.get(self.core)
            {
                counters.originated.add(1);
            }
        }
    }

    fn answer_query(&mut self, now: Tick) {
        let Some(mailbox) = self.shared.mailboxes.get(self.core) else { return };
        if mailbox.answers.is_full() {
            return;
        }
        let answer = match mailbox.queries.pop() {
            None => return,
            Some(Query::Connections { v6, from, mut page }) => {
                let next = self.director.bindings().page(v6, from, &mut page);
                Answer::Connections { page, next, now }
            }
            Some(Query::Trace(order)) => Answer::Traced(self.tracer.take(order)),
            Some(Query::Rebind(rebinds)) => {
                let mut all = Rebound::default();
                for rebind in rebinds.iter().take(REBINDS) {
                    all += self.director.rebind(rebind, now);
                }
                Answer::Rebound(all)
            }
            Some(Query::Explain { frame, port }) => {
                Answer::Explanation(self.director.explain(&frame, port, now))
            }
        };
        let _ = mailbox.answers.push(answer);
    }
}
