//! Which client sends the next packet.

use dataplane::snapshot::Tracking;

use crate::load::Load;
use crate::plan::FIRST_CLIENT_PORT;

/// Ports from which a client has its connections.
const PORTS: u32 = 1 << 14;
/// From a client's number to its one port.
const PORT_STEP: u32 = 0x9E37_79B1;
const PORT_SHIFT: u32 = 18;
/// A linear congruential generator's next number, of which the upper half is random enough
/// (Knuth's MMIX).
const STEP: u64 = 6_364_136_223_846_793_005;
const STEP_ON: u64 = 1_442_695_040_888_963_407;
/// TCP flags.
pub const SYN: u8 = 0x02;
/// TCP flags.
pub const ACK: u8 = 0x10;

/// One packet's client, service and TCP flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flow {
    /// The client's number.
    pub client: u32,
    /// Its TCP port.
    pub port: u16,
    /// The service's number.
    pub service: u32,
    /// TCP flags.
    pub flags: u8,
    /// The real server that answers, if this packet is an answer.
    pub server: Option<u16>,
}

/// Packets that are drawn together.
pub const AT_ONCE: usize = 8;

/// What tells packets of known clients apart.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    /// The clients' numbers.
    pub clients: [u32; AT_ONCE],
    /// Their TCP ports, each below 2^16.
    pub ports: [u32; AT_ONCE],
}

/// [`Known`], each number in 64 bits of which it needs 32.
#[cfg(target_arch = "x86_64")]
#[derive(Clone, Copy, Debug)]
pub struct KnownWide {
    /// The clients' numbers.
    pub clients: std::arch::x86_64::__m512i,
    /// Their TCP ports.
    pub ports: std::arch::x86_64::__m512i,
}

/// In which order known clients come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One after the other, each once, with these flags; then from the beginning.
    Each(u8),
    /// At random, with an ACK.
    Random,
}

/// Draws flows for one of the cores. The cores' flows do not meet: they are parted as a NIC
/// does it that hashes the five values, so that a client is seen by all cores and each of
/// its connections by one.
#[derive(Clone, Debug)]
pub struct Draw {
    state: u64,
    /// For packets that are drawn together, one generator for each.
    lanes: [u64; AT_ONCE],
    order: Order,
    clients: u32,
    services: u32,
    /// Whether a client has one connection, or one for every packet.
    one_connection: bool,
    core: u32,
    cores: u32,
    /// Clients that this core sees,
    own_clients: u32,
    /// the first of them,
    first_client: u32,
    /// and how far apart they are: with one connection each, a client is seen by one core only.
    step: u32,
    /// The bits in which ports of a core differ.
    port_mask: u32,
    /// Of 2^32 packets, those that are of new clients.
    new_of_all: u64,
    newest: u32,
    next: u32,
    /// By client number, modulo its length: the client's real server. Empty where answers do
    /// not pass the director.
    servers: Vec<u16>,
    /// Whether requests and answers come in the same bursts.
    mixed: bool,
    /// Whether this burst is of answers, where they are not mixed.
    answering: bool,
}

impl Draw {
    /// The draw of one of `cores` cores.
    pub fn new(load: &Load, core: u32, cores: u32) -> Self {
        let (clients, cores) = (load.clients.max(1), cores.max(1));
        let one_connection = load.tracking == Tracking::Full;
        Self {
            state: 0x9E37_79B9_7F4A_7C15 ^ u64::from(core) << 17,
            lanes: std::array::from_fn(|lane| {
                (lane as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ u64::from(core) << 40
            }),
            order: Order::Random,
            clients,
            services: load.services_in_use.max(1),
            one_connection,
            core,
            cores,
            own_clients: if one_connection { (clients / cores).max(1) } else { clients },
            first_client: if one_connection { core } else { 0 },
            step: if one_connection { cores } else { 1 },
            port_mask: (PORTS - 1) & !(cores.next_power_of_two() - 1),
            new_of_all: (load.new_share.clamp(0.0, 1.0) * 4_294_967_296.0) as u64,
            newest: load.clients + core,
            next: core,
            servers: Vec::new(),
            mixed: load.mixed,
            answering: false,
        }
    }

    /// From now on half of the packets are answers of clients' real servers; `servers` are
    /// those of the first clients, and the others' follow in the same order again and again.
    pub fn answer_from(&mut self, servers: Vec<u16>) {
        self.servers = servers;
    }

    /// Changes the order; each client's turn begins anew.
    pub fn set_order(&mut self, order: Order) {
        self.order = order;
        self.next = self.core;
    }

    /// Whether everyone has had their turn since [`Order::Each`] was set.
    pub fn has_been_round(&self) -> bool {
        self.next >= self.clients
    }

    /// New clients drawn so far.
    pub fn new_clients(&self) -> u32 {
        (self.newest - self.clients) / self.cores
    }

    /// New clients begin again with the first one, for when the tables have forgotten them.
    pub fn forget_new(&mut self) {
        self.newest = self.clients + self.core;
    }

    /// Another burst begins.
    #[inline(always)]
    pub fn begin_burst(&mut self) {
        self.answering = !self.answering;
    }

    /// The next packet's flow.
    #[inline(always)]
    #[expect(clippy::should_implement_trait, reason = "it never ends, and is no iterator")]
    pub fn next(&mut self) -> Flow {
        match self.order {
            Order::Random => self.random(),
            Order::Each(flags) => {
                let client = self.next;
                self.next = client.saturating_add(self.step);
                // Whoever comes after the last one has been there.
                self.flow(client % self.clients, u64::from(client), flags)
            }
        }
    }

    #[inline(always)]
    fn random(&mut self) -> Flow {
        let bits = self.bits();
        if self.servers.is_empty() {
            // Without a branch, of which no CPU could know where it goes: it would be this
            // program's share of what a mixture costs.
            let is_new = bits & 0xFFFF_FFFF < self.new_of_all;
            let known = self.some_client(bits);
            let client = if is_new { self.newest } else { known };
            self.newest = self.newest.wrapping_add(if is_new { self.cores } else { 0 });
            return self.flow(client, bits, if is_new { SYN } else { ACK });
        }
        let mut flow = self.flow(self.some_client(bits), bits, ACK);
        if self.is_answer(bits) {
            flow.server = self.server_of(flow.client);
        }
        flow
    }

    /// Whether all packets are such as [`Self::known`] draws: from known clients, of one
    /// service, none an answer.
    #[inline]
    pub fn is_plain(&self) -> bool {
        self.order == Order::Random
            && self.new_of_all == 0
            && self.servers.is_empty()
            && self.services == 1
    }

    /// Packets that all come from known clients, as ACKs.
    #[inline(always)]
    pub fn known(&mut self) -> Known {
        self.lanes = self.lanes.map(|state| state.wrapping_mul(STEP).wrapping_add(STEP_ON));
        let bits = self.lanes.map(|state| (state >> 32) as u32);
        let clients = bits.map(|bits| {
            let nth = (u64::from(bits) * u64::from(self.own_clients)) >> 32;
            (nth as u32).wrapping_mul(self.step).wrapping_add(self.first_client)
        });
        let ports = match self.one_connection {
            true => clients.map(Self::port_of),
            false => bits.map(|bits| bits & self.port_mask | self.core),
        };
        Known { clients, ports: ports.map(|port| u32::from(FIRST_CLIENT_PORT) + port) }
    }

    /// [`Self::known`], in one row of eight 64-bit words each.
    ///
    /// # Safety
    /// Where this is not called from code for the same CPUs, the CPU was asked
    /// ([`crate::cpu::is_wide`]).
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx512f,avx512dq")]
    #[inline]
    pub fn known_wide(&mut self) -> KnownWide {
        use std::arch::x86_64::{
            __m512i, _mm512_add_epi64, _mm512_and_si512, _mm512_mul_epu32, _mm512_mullo_epi64,
            _mm512_or_si512, _mm512_set1_epi64, _mm512_srli_epi64,
        };
        let row = |number: u32| _mm512_set1_epi64(i64::from(number));
        // SAFETY: eight words, whatever their bits.
        let state = unsafe { std::mem::transmute::<[u64; AT_ONCE], __m512i>(self.lanes) };
        let state = _mm512_mullo_epi64(state, _mm512_set1_epi64(STEP as i64));
        let state = _mm512_add_epi64(state, _mm512_set1_epi64(STEP_ON as i64));
        // SAFETY: as above.
        self.lanes = unsafe { std::mem::transmute::<__m512i, [u64; AT_ONCE]>(state) };
        let bits = _mm512_srli_epi64(state, 32);
        let nth = _mm512_srli_epi64(_mm512_mul_epu32(bits, row(self.own_clients)), 32);
        let clients = _mm512_mul_epu32(nth, row(self.step));
        let clients = _mm512_add_epi64(clients, row(self.first_client));
        let ports = if self.one_connection {
            let spread = _mm512_mul_epu32(clients, row(PORT_STEP));
            _mm512_srli_epi64(_mm512_and_si512(spread, row(u32::MAX)), PORT_SHIFT)
        } else {
            _mm512_or_si512(_mm512_and_si512(bits, row(self.port_mask)), row(self.core))
        };
        KnownWide { clients, ports: _mm512_add_epi64(ports, row(u32::from(FIRST_CLIENT_PORT))) }
    }

    #[inline(always)]
    fn is_answer(&self, bits: u64) -> bool {
        if self.mixed { bits & 1 == 1 } else { self.answering }
    }

    #[inline(always)]
    fn server_of(&self, client: u32) -> Option<u16> {
        // A division takes longer than all the rest, and is seldom needed.
        match self.servers.get(client as usize) {
            Some(server) => Some(*server),
            None => self.servers.get(client as usize % self.servers.len().max(1)).copied(),
        }
    }

    /// Whether packets of known clients of one service and answers to them are all there are.
    #[inline]
    pub fn is_answered(&self) -> bool {
        self.order == Order::Random
            && self.new_of_all == 0
            && !self.servers.is_empty()
            && self.services == 1
    }

    /// Whether all packets of this burst are of known clients of one service, and those of the
    /// next one answers to such.
    #[inline]
    pub fn is_asking(&self) -> bool {
        self.is_answered() && !self.mixed && !self.answering
    }

    /// A known client's flow and its server, and whether the packet is the answer.
    #[inline(always)]
    pub fn either_way(&mut self) -> (Flow, u16, bool) {
        let bits = self.bits();
        let flow = self.flow(self.some_client(bits), bits, ACK);
        (flow, self.server_of(flow.client).unwrap_or(0), self.is_answer(bits))
    }

    /// [`Self::either_way`], several at a time: clients, their servers, and who of the two sends,
    /// all bits set where it is the server, else none.
    #[inline(always)]
    pub fn either_way_at_once(&mut self) -> (Known, [u32; AT_ONCE], [u32; AT_ONCE]) {
        let known = self.known();
        let servers = known.clients.map(|client| self.server_of(client).unwrap_or(0).into());
        let answers = match self.mixed {
            // Clients were drawn by the bits' upper end.
            true => self.lanes.map(|state| (state >> 32) as u32 & 1),
            false => [u32::from(self.answering); AT_ONCE],
        };
        (known, servers, answers.map(u32::wrapping_neg))
    }

    /// The port of a client's one connection.
    #[inline(always)]
    const fn port_of(client: u32) -> u32 {
        client.wrapping_mul(PORT_STEP) >> PORT_SHIFT
    }

    #[inline(always)]
    fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0xA076_1D64_78BD_642F);
        let product = u128::from(self.state) * u128::from(self.state ^ 0xE703_7ED1_A0B4_28DB);
        (product >> 64) as u64 ^ product as u64
    }

    /// One of this core's clients, all of them as likely.
    #[inline(always)]
    fn some_client(&self, bits: u64) -> u32 {
        let nth = ((bits >> 32) * u64::from(self.own_clients)) >> 32;
        nth as u32 * self.step + self.first_client
    }

    #[inline(always)]
    fn flow(&self, client: u32, bits: u64, flags: u8) -> Flow {
        let port = if self.one_connection {
            Self::port_of(client) as u16
        } else {
            // A core's ports, as RSS gives them to it.
            (bits as u32 & self.port_mask | self.core) as u16
        };
        let service = if self.services == 1 {
            0
        } else {
            let spread = client.wrapping_mul(0x85EB_CA6B);
            ((u64::from(spread) * u64::from(self.services)) >> 32) as u32
        };
        Flow { client, port: FIRST_CLIENT_PORT + port, service, flags, server: None }
    }
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::load::{FrameSize, Source};
    use dataplane::forward::Forwarding;
    use dataplane::sched::Scheduler;
    use dataplane::wire::Family;
    use std::arch::x86_64::__m512i;

    #[test]
    fn known_clients_are_drawn_alike_one_by_one_and_on_wide_cpus_in_rows() {
        for (tracking, cores) in [(Tracking::Full, 1), (Tracking::Client, 1), (Tracking::Full, 3)] {
            let load = Load {
                tracking,
                clients: 1000,
                services: 1,
                services_in_use: 1,
                servers: 1,
                scheduler: Scheduler::Wlc,
                persistence_s: 360,
                family: Family::V4,
                forwarding: Forwarding::Route,
                new_share: 0.0,
                mixed: false,
                room_for_new: 0,
                size: FrameSize::Bytes(64),
                source: Source::Memory,
            };
            let mut one = Draw::new(&load, cores - 1, cores);
            let mut other = one.clone();
            for _ in 0..100 {
                let known = one.known();
                assert!(known.clients.iter().all(|client| *client < 1000));
                assert!(known.ports.iter().all(|port| *port <= u32::from(u16::MAX)));
                if !crate::cpu::is_wide() {
                    continue;
                }
                // SAFETY: the CPU was asked.
                let wide = unsafe { other.known_wide() };
                // SAFETY: eight words each.
                let rows = unsafe {
                    [wide.clients, wide.ports]
                        .map(|row| std::mem::transmute::<__m512i, [u64; AT_ONCE]>(row))
                };
                assert_eq!(rows, [known.clients.map(u64::from), known.ports.map(u64::from)]);
            }
        }
    }
}
