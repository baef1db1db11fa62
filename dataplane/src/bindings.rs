//! Which real server a packet goes to: connection, then template, then scheduler.
//!
//! One per core. Connections are the core's own; templates are shared by all cores and
//! single-assigned. The rules are IPVS's; where a rule is surprising, a comment says so.

mod begun;
mod binder;
mod choosing;
mod client;
mod count;
mod deciding;
mod defence;
mod errors;
mod expiry;
mod ftp;
mod ftp_kernel;
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
mod twins;

use std::sync::Arc;

use crate::call::Call;
use crate::conn::Conn;
use crate::conn::table::{EntryV4, EntryV6, Flow, Slot, Table};
use crate::counters::CoreCounters;
use crate::forward::Forwarding;
use crate::forward::masq::Endpoint;
use crate::ids::RealId;
use crate::sched::Schedulers;
use crate::shared::{CoreSeat, Shared};
use crate::table::Cursor;
use crate::tick::Tick;
use crate::timer;
use crate::verdict::DropReason;
use crate::wire::{Addr, Family};
pub(crate) use binder::Binder;
pub(crate) use choosing::pool;
use choosing::{Choice, NoChoice};
pub(crate) use client::{ClientStanding, is_reset};
pub use client::{client_scope, service_of};
pub(crate) use deciding::{is_reused, may_open, on_down, opens};
pub use errors::Related;
pub(crate) use errors::follows_flow;
pub(crate) use ftp_kernel::control_of;
pub(crate) use ipsec::{exchange_of, follows as follows_key_exchange};
pub(crate) use opening::Opening;
use pace::Pace;
pub(crate) use persistent::{Standing, standing};
pub use rebind::{BoundKey, Rebind, Rebound};

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
    /// Where the packet that was decided about last goes to, if not to its real server.
    elsewhere: Option<Addr>,
}

/// The service binds calls, and the packet is of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoCall;

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
            elsewhere: None,
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

    /// Of these, those of IPv6.
    pub fn bytes_v6(&self) -> usize {
        self.v6.bytes()
    }

    /// All connections of the core.
    pub fn iter(&self) -> impl Iterator<Item = (Flow, Conn)> + '_ {
        let hidden = self.hidden(Family::V4).chain(self.hidden(Family::V6));
        let waiting = self.shared.agreements.of_core(self.core);
        self.v4.iter().chain(self.v6.iter()).chain(hidden).chain(waiting)
    }

    /// Fills a page with connections from entry number `from` on, up to its capacity.
    /// Answers where to go on.
    pub fn page(&self, v6: bool, from: usize, page: &mut Vec<(Flow, Conn)>) -> Option<usize> {
        let limit = page.capacity() - page.len();
        if from == 0 {
            let family = if v6 { Family::V6 } else { Family::V4 };
            page.extend(self.hidden(family));
            let waiting = self.shared.agreements.of_core(self.core).into_iter();
            page.extend(waiting.filter(|(flow, _)| flow.client.family() == family));
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

    /// Tells the shared tables that the core holds nothing that it has read. Once a turn.
    pub fn quiescent(&mut self) {
        self.schedulers.settle(&self.shared.loads, self.core);
        self.shared.templates.quiescent(&mut self.seat.templates);
        self.shared.clients.quiescent(&mut self.seat.clients);
    }
}
