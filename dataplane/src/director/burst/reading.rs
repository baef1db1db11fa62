//! Reading a burst: every frame is looked at once, and what its decision will need is noted.
//!
//! Frames that are like the last one, to the same destination, take a short loop
//! ([`Reading::read_alike`]); all others are read field by field.

use super::alike::Eyes;
use super::lane::{Kind, Lane};
use super::read::{Gate, HeaderV4, client_port_v4, is_ack_v4, is_syn_v4, read_v4};
use super::services::Way;
use super::{Arrival, Learned};
use crate::bindings::FTP_DATA_PORT;
use crate::conn::ConnBurst;
use crate::conn::table::{EntryV4, EntryV6, Table};
use crate::ids::PortIndex;
use crate::port::{BURST, Frame};
use crate::reply::{ReplyBurst, ReplyTable};
use crate::snapshot::Snapshot;
use crate::table::{ClientBurst, ClientBurstV6, ClientTable, TemplateBurst};
use crate::tick::Tick;
use crate::wire::Protocol;

/// A burst that was read: what was found out about its frames before their turn.
pub struct Reading {
    pub(super) at: Arrival,
    pub(super) lanes: [Lane; BURST],
    /// Whether its frames go to many services.
    pub(super) is_varied: bool,
    /// Lanes of frames that were decided about.
    pub(super) done: usize,
    /// Frames that were read.
    pub(super) frames: usize,
    pub(super) clients: ClientBurst,
    /// Whether some clients were put to their places and their lines not requested.
    pub(super) has_unaimed: bool,
    /// Whether clients are still to be looked up.
    pub(super) seeks_clients: bool,
    pub(super) clients_v6: ClientBurstV6,
    /// Whether IPv6 clients are still to be looked up.
    pub(super) seeks_clients_v6: bool,
    pub(super) conns: ConnBurst<EntryV4>,
    /// Whether the connections are still to be looked for at home, and those that are not there
    /// in the index.
    pub(super) seeks_conns: bool,
    pub(super) seeks_strays: bool,
    pub(super) conns_v6: ConnBurst<EntryV6>,
    /// The same of IPv6 connections.
    pub(super) seeks_conns_v6: bool,
    pub(super) seeks_strays_v6: bool,
    /// The clients that open connections.
    pub(super) templates: TemplateBurst,
    pub(super) replies: ReplyBurst,
    /// Whether the replies' entries are still to be requested, and to be read.
    pub(super) seeks_replies: [bool; 2],
    /// [`Bindings::reply_changes`](crate::bindings::Bindings::reply_changes) when they were read.
    pub(super) reply_changes: u64,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            at: Arrival { port: PortIndex::default(), now: Tick::default() },
            lanes: [Lane::default(); BURST],
            is_varied: false,
            done: 0,
            frames: 0,
            clients: ClientBurst::default(),
            has_unaimed: false,
            seeks_clients: false,
            clients_v6: ClientBurstV6::default(),
            seeks_clients_v6: false,
            conns: ConnBurst::default(),
            seeks_conns: false,
            seeks_strays: false,
            conns_v6: ConnBurst::default(),
            seeks_conns_v6: false,
            seeks_strays_v6: false,
            templates: TemplateBurst::default(),
            replies: ReplyBurst::default(),
            seeks_replies: [false; 2],
            reply_changes: 0,
        }
    }
}

/// So many are worth reading several at a time.
const FOUR_IN_A_ROW: usize = 4;
/// A burst whose frames' services change so often is varied.
const VARIED: usize = 4;

impl Reading {
    /// Whether there are IPv4 clients that were not looked for yet.
    #[inline]
    pub fn seeks_v4_clients(&self) -> bool {
        self.seeks_clients
    }

    /// Whether something besides clients is to be fetched between reading and deciding.
    #[inline]
    pub fn is_fetched(&self) -> bool {
        !self.conns.is_empty() || !self.replies.is_empty() || self.has_v6_conns()
    }

    /// Whether there are IPv6 connections among its frames'.
    #[inline]
    pub fn has_v6_conns(&self) -> bool {
        !self.conns_v6.is_empty()
    }

    /// Whether there are IPv6 clients among its frames'.
    #[inline]
    pub fn has_v6_clients(&self) -> bool {
        !self.clients_v6.is_empty()
    }

    /// What is known of the first frame that was not decided about.
    #[inline(always)]
    pub(super) fn kind(&self) -> Kind {
        self.lanes.get(self.done).map_or(Kind::ByTheBook, |lane| lane.kind())
    }

    /// The frame at a place takes the reference path.
    pub(super) fn put_nothing(&mut self, at: usize) {
        self.put_lane(at, Lane::BY_THE_BOOK);
        self.clients.clear(at);
    }

    pub(super) fn put_lane(&mut self, at: usize, lane: Lane) {
        if let Some(place) = self.lanes.get_mut(at) {
            *place = lane;
        }
    }

    /// Puts a plain packet to its place.
    fn put<const L3: usize, const HEAD: usize>(
        &mut self,
        at: usize,
        way: &Way,
        client: u32,
        total_len: u16,
        head: &[u8; HEAD],
        conns: &Table<EntryV4>,
    ) {
        if let Some(scope) = way.scope {
            self.clients.put(at, client & way.mask, scope);
            (self.seeks_clients, self.has_unaimed) = (true, true);
            return self.put_lane(at, way.lane.with_len(total_len));
        }
        if let Kind::ConnTcp | Kind::ConnUdp = way.lane.kind() {
            self.put_conn::<L3, HEAD>(at, way, client, total_len, head, conns);
        }
    }

    #[inline(always)]
    pub(super) fn put_conn<const L3: usize, const HEAD: usize>(
        &mut self,
        at: usize,
        way: &Way,
        client: u32,
        total_len: u16,
        head: &[u8; HEAD],
        conns: &Table<EntryV4>,
    ) {
        let client_port = client_port_v4::<L3, HEAD>(head);
        if client_port == 0 {
            return;
        }
        let udp = way.lane.kind() == Kind::ConnUdp;
        let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
        let (addresses, ports) = ([client, way.vip()], [client_port, way.vip_port()]);
        let key = EntryV4::key_of(addresses, ports, protocol);
        let lane = if udp || is_ack_v4::<L3, HEAD>(head) {
            self.conns.put(at, key, conns);
            way.lane.with_len(total_len)
        } else if way.lane.first_place() != 0
            && client_port != FTP_DATA_PORT
            && is_syn_v4::<L3, HEAD>(head)
        {
            if let Some(scope) = way.templates() {
                self.templates.put(at, client & way.mask, scope);
            }
            self.conns.put_opening(at, key, conns);
            Lane::new(Kind::Open, way.lane.first_place()).with_len(total_len)
        } else {
            self.conns.put(at, key, conns);
            Lane::BIND
        };
        self.put_lane(at, lane);
    }
}

/// Where a core reads frames, and what of.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub gate: Gate,
    pub snapshot: &'a Snapshot,
    pub clients: &'a ClientTable,
    pub conns: &'a Table<EntryV4>,
    pub conns_v6: &'a Table<EntryV6>,
    /// Where masqueraded real servers' packets are known, if there are such servers.
    pub replies: Option<&'a ReplyTable>,
}

impl Learned {
    /// Reads the frames.
    #[inline(never)]
    pub(super) fn read_all<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &mut Reading,
        frames: &[F],
        sight: Sight<'_>,
    ) {
        let aimer = sight.clients.aimer(&mut reading.clients);
        let (gate, conns, tier) = (sight.gate, sight.conns, self.tier);
        let mut way = self.services.last();
        let (mut at, mut by_fours, mut ways) = (0, true, 0);
        // Whether the last frame went the way of the one before it.
        let mut again = true;
        loop {
            // Between frames of two directions the way stays: those of replies are no service's.
            // Where each frame goes another way, no form is worth making.
            if again {
                self.forms.follow::<L3>(&way, gate);
            }
            if self.forms.are_of(&way, gate) {
                let forms = &self.forms.wide;
                let eyes = Eyes { gate, tier, aimer, conns, forms, by_fours };
                let alike = reading.read_alike::<F, L3, HEAD>(at, frames, eyes, &way);
                // Where directions mix, four in a row seldom go one way.
                by_fours &= alike == 0 || alike >= FOUR_IN_A_ROW;
                at += alike;
            }
            let answers =
                self.read_answers::<F, L3, HEAD>(reading, at, frames, sight, &way, by_fours);
            by_fours &= answers == 0 || answers >= FOUR_IN_A_ROW;
            at += answers;
            let Some(frame) = frames.get(at) else { break };
            let before = way;
            at += match self.read_one::<F, L3, HEAD>(reading, at, frame, sight, &mut way) {
                true => 1,
                false => self.read_v6::<F, L3>(reading, at, frames, &sight),
            };
            again = way == before;
            ways += usize::from(!again);
        }
        reading.is_varied = ways >= VARIED;
    }

    /// Reads one frame, if it is a plain IPv4 one. `way` is that of the frame before.
    fn read_one<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        reading: &mut Reading,
        at: usize,
        frame: &F,
        sight: Sight<'_>,
        way: &mut Way,
    ) -> bool {
        reading.put_nothing(at);
        let Some((header, head)) = read_v4::<L3, HEAD>(frame.bytes(), sight.gate) else {
            return false;
        };
        if !way.is_to(header.target) {
            *way = self.services.way(header.target, sight.snapshot);
        }
        let HeaderV4 { client, total_len, .. } = header;
        reading.put::<L3, HEAD>(at, way, client, total_len, head, sight.conns);
        true
    }
}
