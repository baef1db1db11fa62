//! What IPVS's FTP module remembers (`ip_vs_ftp`), under `compat: ipvs`: what clients have asked
//! for on their control connections, by how much these connections' numbers are shifted, and the
//! data connections that were agreed upon.
//!
//! Shared by all cores, as the two directions of a control connection and its data connections
//! may arrive on any of them. Under a lock, which is taken for what is said on control
//! connections, for what has no connection while one waits for its client, and for data
//! connections to other hosts; never for anybody else's packets.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::conn::{Conn, Flow};
use crate::forward::ftp_words::Asked;
use crate::forward::splice::Shift;
use crate::wire::Addr;

/// Control connections that are remembered at the most, and data connections. What is beyond is
/// not understood: lines pass as they are.
const MOST: usize = 1 << 14;

/// Names a control connection, also when a newer one of its flow hides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ControlId(u32);

/// A control connection.
#[derive(Debug)]
struct Control {
    flow: Flow,
    asked: Option<Asked>,
    shift: Shift,
    /// How many data connections it controls.
    controls: usize,
}

/// A data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data {
    /// Its server, which may be no real server.
    pub server: Addr,
    /// What controls it.
    pub control: ControlId,
}

/// A data connection whose client's port is not known yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Its flow; the client's port is 0.
    pub flow: Flow,
    /// All else.
    pub conn: Conn,
    /// Where it leads.
    pub data: Data,
    /// The core that made it.
    pub core: usize,
}

#[derive(Default)]
struct All {
    next: u32,
    controls: HashMap<ControlId, Control>,
    /// The one that is found, of each flow.
    current: HashMap<Flow, ControlId>,
    /// Oldest first.
    waiting: Vec<Waiting>,
    /// How many of them have a flow: whoever sends what has no connection asks, and finds none.
    waiting_of: HashMap<Flow, usize>,
    /// Several of a flow where it begins at port 0, oldest first.
    data: HashMap<Flow, Vec<Data>>,
}

/// What is known of all control connections.
#[derive(Default)]
pub struct Agreements {
    /// How many control connections are known: nobody takes the lock while there is none.
    controls: AtomicUsize,
    /// How many data connections wait for their clients.
    waiting: AtomicUsize,
    all: Mutex<All>,
}

impl Agreements {
    fn lock(&self) -> MutexGuard<'_, All> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing is known of any control connection.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.controls.load(Ordering::Acquire) == 0
    }

    /// Whether a data connection waits for its client's first packet.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Acquire) != 0
    }

    fn settle(&self, all: &All) {
        self.controls.store(all.controls.len(), Ordering::Release);
        self.waiting.store(all.waiting.len(), Ordering::Release);
    }

    /// Changes what a client has asked for last.
    pub fn ask(&self, flow: &Flow, asked: Option<Asked>) {
        let mut all = self.lock();
        if let Some(id) = all.control(flow, asked.is_some())
            && let Some(control) = all.controls.get_mut(&id)
        {
            control.asked = asked;
        }
        self.settle(&all);
    }

    /// What the client of a control connection has asked for last, unless it was answered.
    pub fn asked(&self, flow: &Flow) -> Option<Asked> {
        if self.is_empty() {
            return None;
        }
        let all = self.lock();
        all.controls.get(all.current.get(flow)?)?.asked
    }

    /// The client's question was answered by a segment with this number, which has become longer
    /// by so much.
    pub fn answered(&self, flow: &Flow, sequence: u32, grown: u32) {
        let mut all = self.lock();
        if let Some(id) = all.current.get(flow).copied()
            && let Some(control) = all.controls.get_mut(&id)
        {
            control.asked = None;
            control.shift.grow(sequence, grown);
        }
    }

    /// By how much the numbers of a control connection's server are shifted; `None` where they
    /// are not.
    pub fn shift(&self, flow: &Flow) -> Option<Shift> {
        if self.is_empty() {
            return None;
        }
        let all = self.lock();
        let shift = all.controls.get(all.current.get(flow)?)?.shift;
        (shift != Shift::default()).then_some(shift)
    }

    /// A control connection controls one data connection more. `None` where too many are known.
    pub fn control(&self, flow: &Flow) -> Option<ControlId> {
        let mut all = self.lock();
        let full = all.data.len() + all.waiting.len() >= MOST;
        let id = if full { None } else { all.control(flow, true) };
        if let Some(control) = id.and_then(|id| all.controls.get_mut(&id)) {
            control.controls += 1;
        }
        self.settle(&all);
        id
    }

    /// Whether a control connection still controls others.
    pub fn has_control(&self, flow: &Flow) -> bool {
        if self.is_empty() {
            return false;
        }
        let all = self.lock();
        let current = all.current.get(flow).and_then(|id| all.controls.get(id));
        current.is_some_and(|control| control.controls > 0)
    }

    /// A newer connection of the flow hides the control connection from now on. What it controls
    /// stays its own.
    pub fn hide(&self, flow: &Flow) {
        if !self.is_empty() {
            self.lock().current.remove(flow);
        }
    }

    /// The newer connection of the flow has ended, and the one that it hid is found again.
    pub fn uncover(&self, flow: &Flow) {
        if self.is_empty() {
            return;
        }
        let mut all = self.lock();
        let of_flow = all.controls.iter().filter(|(_, control)| control.flow == *flow);
        let newest = of_flow.map(|(id, _)| *id).max_by_key(|id| id.0);
        if let Some(id) = newest {
            all.current.entry(*flow).or_insert(id);
        }
    }

    /// A control connection has ended.
    pub fn end_control(&self, flow: &Flow) {
        if self.is_empty() {
            return;
        }
        let mut all = self.lock();
        if let Some(id) = all.current.remove(flow) {
            all.controls.remove(&id);
        }
        self.settle(&all);
    }

    /// Whether hidden control connections of this flow still control others; those that do not
    /// are forgotten.
    pub fn hidden_has_control(&self, flow: &Flow) -> bool {
        if self.is_empty() {
            return false;
        }
        let mut all = self.lock();
        let current = all.current.get(flow).copied();
        all.controls.retain(|id, control| {
            control.flow != *flow || Some(*id) == current || control.controls > 0
        });
        let hidden =
            |(id, control): (&ControlId, &Control)| control.flow == *flow && Some(*id) != current;
        let found = all.controls.iter().any(hidden);
        self.settle(&all);
        found
    }

    /// A data connection waits for its client; a core made it.
    pub fn wait(&self, waiting: Waiting) {
        let mut all = self.lock();
        *all.waiting_of.entry(waiting.flow).or_default() += 1;
        all.waiting.push(waiting);
        self.settle(&all);
    }

    /// The data connection from this server's port that waits for a client with this address,
    /// which is to begin again: changed by `renew`. Answers whether there is one.
    pub fn renew(
        &self,
        flow: &Flow,
        server: Addr,
        real_port: u16,
        renew: impl Fn(Conn) -> Conn,
    ) -> Option<Flow> {
        let mut all = self.lock();
        let same = |waiting: &&mut Waiting| {
            waiting.flow.client == flow.client
                && waiting.data.server == server
                && waiting.conn.real_port == real_port
        };
        // The newest is found first.
        let found = all.waiting.iter_mut().rev().find(same)?;
        found.conn = renew(found.conn);
        Some(found.flow)
    }

    /// The data connection that waits for this packet's client, the newest first. It is taken out
    /// where `may` says so of it.
    pub fn meet(&self, flow: &Flow, may: impl Fn(&Conn) -> bool) -> Option<(Waiting, bool)> {
        let mut all = self.lock();
        let unknown = Flow { client_port: 0, ..*flow };
        all.waiting_of.get(&unknown)?;
        let place = all.waiting.iter().rposition(|waiting| waiting.flow == unknown)?;
        let found = *all.waiting.get(place)?;
        let taken = may(&found.conn);
        if taken {
            all.waiting.remove(place);
            all.waits_no_more(&unknown);
            self.settle(&all);
        }
        Some((found, taken))
    }

    /// The waiting ones that a core has made.
    pub fn of_core(&self, core: usize) -> Vec<(Flow, Conn)> {
        if !self.is_waiting() {
            return Vec::new();
        }
        let all = self.lock();
        let own = all.waiting.iter().filter(|waiting| waiting.core == core);
        own.map(|waiting| (waiting.flow, waiting.conn)).collect()
    }

    /// Takes out those waiting ones of a core that are over.
    pub fn end_waiting(&self, core: usize, is_over: impl Fn(&Conn) -> bool) -> Vec<Conn> {
        if !self.is_waiting() {
            return Vec::new();
        }
        let mut all = self.lock();
        let is_over = |waiting: &mut Waiting| waiting.core == core && is_over(&waiting.conn);
        let ended: Vec<Waiting> = all.waiting.extract_if(.., is_over).collect();
        for waiting in &ended {
            all.waits_no_more(&waiting.flow);
            all.release(waiting.data.control);
        }
        self.settle(&all);
        ended.into_iter().map(|waiting| waiting.conn).collect()
    }

    /// A data connection has a flow.
    pub fn begin_data(&self, flow: &Flow, data: Data) {
        self.lock().data.entry(*flow).or_default().push(data);
    }

    /// Where a data connection leads to.
    pub fn data(&self, flow: &Flow) -> Option<Data> {
        if self.is_empty() {
            return None;
        }
        let all = self.lock();
        if let Some(data) = all.data.get(flow).and_then(|of_flow| of_flow.last()) {
            return Some(*data);
        }
        all.waiting_of.get(flow)?;
        let waiting = all.waiting.iter().rev().find(|waiting| waiting.flow == *flow);
        waiting.map(|waiting| waiting.data)
    }

    /// A data connection has ended.
    pub fn end_data(&self, flow: &Flow) {
        let mut all = self.lock();
        let Entry::Occupied(mut of_flow) = all.data.entry(*flow) else { return };
        let ended = (!of_flow.get().is_empty()).then(|| of_flow.get_mut().remove(0));
        if of_flow.get().is_empty() {
            of_flow.remove();
        }
        if let Some(data) = ended {
            all.release(data.control);
        }
        self.settle(&all);
    }
}

impl All {
    /// The control connection of a flow that is found; made if it is to be.
    fn control(&mut self, flow: &Flow, make: bool) -> Option<ControlId> {
        if let Some(id) = self.current.get(flow) {
            return Some(*id);
        }
        if !make || self.controls.len() >= MOST {
            return None;
        }
        let id = ControlId(self.next);
        self.next = self.next.wrapping_add(1);
        let control = Control { flow: *flow, asked: None, shift: Shift::default(), controls: 0 };
        self.controls.insert(id, control);
        self.current.insert(*flow, id);
        Some(id)
    }

    /// One of a flow waits no more.
    fn waits_no_more(&mut self, flow: &Flow) {
        if let Some(count) = self.waiting_of.get_mut(flow) {
            *count -= 1;
            if *count == 0 {
                self.waiting_of.remove(flow);
            }
        }
    }

    fn release(&mut self, id: ControlId) {
        if let Some(control) = self.controls.get_mut(&id) {
            control.controls = control.controls.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::{ConnFlags, State};
    use crate::forward::Forwarding;
    use crate::ids::RealId;
    use crate::tick::Tick;
    use crate::wire::Protocol;

    fn flow(client_port: u16, vip_port: u16) -> Flow {
        let (client, vip) = (Addr::v4(9), Addr::v4(1));
        Flow { client, vip, client_port, vip_port, protocol: Protocol::Tcp }
    }

    fn waiting(core: usize, vip_port: u16, control: ControlId) -> Waiting {
        let conn = Conn {
            template: None,
            real: RealId(5),
            expires: Tick(100),
            timeout: 100,
            real_port: vip_port,
            state: State::TcpListen,
            flags: ConnFlags::INACTIVE,
            forwarding: Forwarding::Masq,
            in_packets: 0,
        };
        Waiting { flow: flow(0, vip_port), conn, data: Data { server: Addr::v4(7), control }, core }
    }

    #[test]
    fn what_was_asked_is_known_until_it_is_answered_and_the_shift_until_the_end() {
        let known = Agreements::default();
        let control = flow(2000, 21);
        assert!(known.is_empty());
        known.ask(&control, None);
        assert!(known.is_empty(), "nothing is to be remembered");
        known.ask(&control, Some(Asked::Extended));
        known.ask(&control, Some(Asked::Passive));
        assert_eq!(
            (known.asked(&control), known.asked(&flow(2001, 21))),
            (Some(Asked::Passive), None)
        );
        assert_eq!(known.shift(&control), None);
        known.answered(&control, 5000, 3);
        let mut shift = Shift::default();
        shift.grow(5000, 3);
        assert_eq!((known.asked(&control), known.shift(&control)), (None, Some(shift)));
        known.end_control(&control);
        assert!(known.is_empty() && known.shift(&control).is_none());
    }

    #[test]
    fn a_waiting_connection_meets_its_client_once_and_its_control_waits_for_its_end() {
        let known = Agreements::default();
        let control = flow(2000, 21);
        let id = known.control(&control).unwrap();
        known.wait(waiting(1, 40_000, id));
        assert!(known.is_waiting() && known.has_control(&control));
        assert_eq!((known.of_core(0).len(), known.of_core(1).len()), (0, 1));
        assert_eq!(known.data(&flow(0, 40_000)).map(|data| data.server), Some(Addr::v4(7)));
        assert_eq!(known.meet(&flow(3000, 40_001), |_| true), None);
        assert!(known.meet(&flow(3000, 40_000), |_| false).is_some_and(|(_, taken)| !taken));
        let (met, taken) = known.meet(&flow(3000, 40_000), |_| true).unwrap();
        assert!(taken && !known.is_waiting());
        known.begin_data(&flow(3000, 40_000), met.data);
        assert!(known.has_control(&control));
        // A newer control connection of the flow controls nothing yet.
        known.hide(&control);
        assert!(!known.has_control(&control) && known.hidden_has_control(&control));
        known.end_data(&flow(3000, 40_000));
        assert!(!known.hidden_has_control(&control) && known.is_empty());
    }

    #[test]
    fn what_waits_in_vain_is_ended_by_the_core_that_made_it() {
        let known = Agreements::default();
        let id = known.control(&flow(2000, 21)).unwrap();
        known.wait(waiting(1, 40_000, id));
        assert!(known.end_waiting(0, |_| true).is_empty());
        assert!(known.end_waiting(1, |_| false).is_empty());
        assert_eq!(known.end_waiting(1, |_| true).len(), 1);
        assert!(known.lock().waiting_of.is_empty());
        assert!(!known.has_control(&flow(2000, 21)));
    }

    #[test]
    fn the_newest_of_a_port_is_renewed_and_met_first() {
        let known = Agreements::default();
        let id = known.control(&flow(2000, 21)).unwrap();
        for server in [7, 8] {
            let mut next = waiting(0, 40_000, id);
            next.data.server = Addr::v4(server);
            known.wait(next);
        }
        let later = |conn: Conn| Conn { expires: Tick(500), ..conn };
        assert_eq!(known.renew(&flow(2000, 21), Addr::v4(9), 40_000, later), None);
        assert_eq!(known.renew(&flow(2000, 21), Addr::v4(7), 40_000, later), Some(flow(0, 40_000)));
        let (met, _) = known.meet(&flow(1, 40_000), |_| true).unwrap();
        assert_eq!((met.data.server, met.conn.expires), (Addr::v4(8), Tick(100)));
        let (met, _) = known.meet(&flow(1, 40_000), |_| true).unwrap();
        assert_eq!((met.data.server, met.conn.expires), (Addr::v4(7), Tick(500)));
        assert_eq!(known.meet(&flow(1, 40_000), |_| true), None);
        assert!(known.lock().waiting_of.is_empty());
    }

    #[test]
    fn so_many_are_known_and_no_more() {
        let known = Agreements::default();
        for port in 0..MOST as u16 {
            known.ask(&flow(port, 21), Some(Asked::Passive));
        }
        known.ask(&flow(MOST as u16, 21), Some(Asked::Passive));
        assert_eq!(known.asked(&flow(MOST as u16, 21)), None);
        assert_eq!(known.control(&flow(MOST as u16, 21)), None);
        assert_eq!(known.asked(&flow(MOST as u16 - 1, 21)), Some(Asked::Passive));
    }
}
