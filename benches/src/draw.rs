//! Which client sends the next packet.

use dataplane::snapshot::Tracking;

use crate::load::Load;
use crate::plan::FIRST_CLIENT_PORT;

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
    order: Order,
    clients: u32,
    services: u32,
    /// Whether a client has one connection, or one for every packet.
    one_connection: bool,
    core: u32,
    cores: u32,
    /// Of 2^32 packets, those that are of new clients.
    new_of_all: u64,
    newest: u32,
    next: u32,
    /// By client number, modulo its length: the client's real server. Empty where answers do
    /// not pass the director.
    servers: Vec<u16>,
}

impl Draw {
    /// The draw of one of `cores` cores.
    pub fn new(load: &Load, core: u32, cores: u32) -> Self {
        Self {
            state: 0x9E37_79B9_7F4A_7C15 ^ u64::from(core) << 17,
            order: Order::Random,
            clients: load.clients.max(1),
            services: load.services_in_use.max(1),
            one_connection: load.tracking == Tracking::Full,
            core,
            cores: cores.max(1),
            new_of_all: (load.new_share.clamp(0.0, 1.0) * 4_294_967_296.0) as u64,
            newest: load.clients + core,
            next: core,
            servers: Vec::new(),
        }
    }

    /// From now on every second packet is the answer of a client's real server; `servers` are
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

    /// The next packet's flow.
    #[inline(always)]
    #[expect(clippy::should_implement_trait, reason = "it never ends, and is no iterator")]
    pub fn next(&mut self) -> Flow {
        match self.order {
            Order::Random => self.random(),
            Order::Each(flags) => {
                let client = self.next;
                self.next = client.saturating_add(self.step());
                // Whoever comes after the last one has been there.
                self.flow(client % self.clients, u64::from(client), flags)
            }
        }
    }

    #[inline(always)]
    fn random(&mut self) -> Flow {
        self.state = self.state.wrapping_add(0xA076_1D64_78BD_642F);
        let product = u128::from(self.state) * u128::from(self.state ^ 0xE703_7ED1_A0B4_28DB);
        let bits = (product >> 64) as u64 ^ product as u64;
        if self.new_of_all != 0 && bits & 0xFFFF_FFFF < self.new_of_all {
            let client = self.newest;
            self.newest = client.wrapping_add(self.cores);
            return self.flow(client, bits, SYN);
        }
        let mut client = (((bits >> 32) * u64::from(self.clients)) >> 32) as u32;
        if self.one_connection && self.cores > 1 {
            client -= client % self.cores;
            client = (client + self.core).min(self.clients - 1);
        }
        let mut flow = self.flow(client, bits, ACK);
        if !self.servers.is_empty() && bits & 1 == 1 {
            flow.server = self.servers.get(client as usize % self.servers.len()).copied();
        }
        flow
    }

    /// How far apart two clients of this core are: with one connection each, a client is
    /// seen by one core only.
    #[inline(always)]
    fn step(&self) -> u32 {
        if self.one_connection { self.cores } else { 1 }
    }

    #[inline(always)]
    fn flow(&self, client: u32, bits: u64, flags: u8) -> Flow {
        let port = if self.one_connection {
            (client.wrapping_mul(0x9E37_79B1) >> 18) as u16
        } else {
            // A core's ports, as RSS gives them to it.
            let port = bits as u32 & 0x3FFF;
            ((port - port % self.cores) + self.core) as u16
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
