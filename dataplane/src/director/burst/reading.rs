//! Reading a burst: every frame is looked at once, and what its decision will need is noted.
//!
//! Frames that are like the last one, to the same destination, take a short loop that compares
//! four words of each; all others are read field by field.

use super::lane::{Kind, Lane};
use super::read::{Form, Gate, client_port_v4, is_ack_v4, read_v4};
use super::replies::read_reply_v4;
use super::services::Way;
use super::{Arrival, Learned};
use crate::conn::ConnBurst;
use crate::conn::table::EntryV4;
use crate::ids::PortIndex;
use crate::port::{BURST, Frame};
use crate::reply::{ReplyBurst, ReplyTable};
use crate::snapshot::Snapshot;
use crate::table::{ClientBurst, ClientBurstV6};
use crate::tick::Tick;
use crate::wire::{Addr, Protocol};

/// A burst that was read: what was found out about its frames before their turn.
pub struct Reading {
    pub(super) at: Arrival,
    pub(super) lanes: [Lane; BURST],
    /// Lanes of frames that were decided about.
    pub(super) done: usize,
    /// Frames that were read.
    pub(super) frames: usize,
    pub(super) clients: ClientBurst,
    /// Whether clients are still to be looked up.
    pub(super) seeks_clients: bool,
    pub(super) clients_v6: ClientBurstV6,
    /// Whether IPv6 clients are still to be looked up.
    pub(super) seeks_clients_v6: bool,
    pub(super) conns: ConnBurst<EntryV4>,
    /// Whether the connections' entries are still to be requested.
    pub(super) seeks_conns: bool,
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
            done: 0,
            frames: 0,
            clients: ClientBurst::default(),
            seeks_clients: false,
            clients_v6: ClientBurstV6::default(),
            seeks_clients_v6: false,
            conns: ConnBurst::default(),
            seeks_conns: false,
            replies: ReplyBurst::default(),
            seeks_replies: [false; 2],
            reply_changes: 0,
        }
    }
}

impl Reading {
    /// Whether there is something to be fetched for it between reading and deciding.
    #[inline]
    pub fn is_fetched(&self) -> bool {
        !self.conns.is_empty() || !self.replies.is_empty()
    }

    /// Whether there are IPv6 clients among its frames'.
    #[inline]
    pub fn has_v6_clients(&self) -> bool {
        !self.clients_v6.is_empty()
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
    ) {
        if let Some(scope) = way.scope {
            self.clients.put(at, client & way.mask, scope);
            self.seeks_clients = true;
            return self.put_lane(at, way.lane.with_len(total_len));
        }
        if let Kind::ConnTcp | Kind::ConnUdp = way.lane.kind() {
            self.put_conn::<L3, HEAD>(at, way, client, total_len, head);
        }
    }

    #[inline(always)]
    fn put_conn<const L3: usize, const HEAD: usize>(
        &mut self,
        at: usize,
        way: &Way,
        client: u32,
        total_len: u16,
        head: &[u8; HEAD],
    ) {
        let client_port = client_port_v4::<L3, HEAD>(head);
        if client_port == 0 {
            return;
        }
        let udp = way.lane.kind() == Kind::ConnUdp;
        let protocol = if udp { Protocol::Udp } else { Protocol::Tcp };
        let (addresses, ports) = ([client, way.vip()], [client_port, way.vip_port()]);
        self.conns.put(at, EntryV4::key_of(addresses, ports, protocol));
        let lane = match udp || is_ack_v4::<L3, HEAD>(head) {
            true => way.lane.with_len(total_len),
            false => Lane::BIND,
        };
        self.put_lane(at, lane);
    }

    /// Reads frames from a place on as long as they are plain and go the same way, and answers
    /// how many did.
    fn read_alike<F: Frame, const L3: usize, const HEAD: usize>(
        &mut self,
        at: usize,
        frames: &[F],
        form: &Form,
        way: &Way,
    ) -> usize {
        let frames = frames.get(at..).unwrap_or_default();
        match way.lane.kind() {
            Kind::Client if form.is_udp() => {
                self.read_clients::<F, L3, HEAD, true>(at, frames, form, way)
            }
            Kind::Client => self.read_clients::<F, L3, HEAD, false>(at, frames, form, way),
            Kind::ConnTcp => self.read_conns::<F, L3, HEAD, false>(at, frames, form, way),
            Kind::ConnUdp => self.read_conns::<F, L3, HEAD, true>(at, frames, form, way),
            Kind::ByTheBook | Kind::Bind | Kind::ReplyTcp | Kind::ReplyUdp | Kind::ClientV6 => 0,
        }
    }

    #[inline(never)]
    fn read_clients<F: Frame, const L3: usize, const HEAD: usize, const UDP: bool>(
        &mut self,
        at: usize,
        frames: &[F],
        form: &Form,
        way: &Way,
    ) -> usize {
        let (Some(scope), Some(lanes)) = (way.scope, self.lanes.get_mut(at..)) else { return 0 };
        let (lane, mask) = (way.lane, way.mask);
        let mut read = 0;
        for (frame, (place, client)) in
            frames.iter().zip(lanes.iter_mut().zip(self.clients.places(at)))
        {
            let Some((plain, _)) = form.read::<L3, HEAD, UDP>(frame.bytes()) else { break };
            client.put(plain.client & mask, scope);
            *place = lane.with_len(plain.total_len);
            read += 1;
        }
        self.seeks_clients |= read > 0;
        read
    }

    #[inline(never)]
    fn read_conns<F: Frame, const L3: usize, const HEAD: usize, const UDP: bool>(
        &mut self,
        from: usize,
        frames: &[F],
        form: &Form,
        way: &Way,
    ) -> usize {
        let mut at = from;
        for frame in frames {
            let Some((plain, head)) = form.read::<L3, HEAD, UDP>(frame.bytes()) else { break };
            self.put_nothing(at);
            self.put_conn::<L3, HEAD>(at, way, plain.client, plain.total_len, head);
            at += 1;
        }
        at - from
    }
}

/// Where a core reads frames, and what of.
#[derive(Clone, Copy)]
pub(super) struct Sight<'a> {
    pub gate: Gate,
    pub snapshot: &'a Snapshot,
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
        let mut way = self.services.last();
        let mut at = 0;
        loop {
            at += reading.read_alike::<F, L3, HEAD>(at, frames, &way.form(sight.gate), &way);
            let Some(frame) = frames.get(at) else { return };
            at += match self.read_one::<F, L3, HEAD>(reading, at, frame, sight, &mut way) {
                true => 1,
                false => self.read_v6::<F, L3>(reading, at, frames, &sight),
            };
        }
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
            let vip = Addr::v4(header.target.vip());
            if let Some(table) = sight.replies
                && !sight.snapshot.classifier.may_have(vip)
            {
                let replies = &mut reading.replies;
                let lane = read_reply_v4::<L3, HEAD>(replies, at, &header, head, table);
                reading.put_lane(at, lane);
                return true;
            }
            *way = self.services.way(header.target, sight.snapshot);
        }
        reading.put::<L3, HEAD>(at, way, header.client, header.total_len, head);
        true
    }
}
