//! What is offered: who sends to whom.

use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Addr, Family, Protocol};

use crate::load::FrameSize;

/// The first port that clients send from.
const FIRST_PORT: u16 = 1024;
/// Ports that clients send from.
const PORTS: u32 = 64_000;

/// Packets of many clients for some services. Clients' and services' addresses follow one
/// another.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// The first client's address.
    pub first_client: Addr,
    /// Clients.
    pub clients: u32,
    /// Connections that each has at a time.
    pub connections: u32,
    /// The first service's address.
    pub first_vip: Addr,
    /// Services. A client uses one of them.
    pub services: u32,
    /// The port that all services are on.
    pub port: u16,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// The share of packets that open a new connection in place of an older one, 0 to 1.
    pub new_share: f64,
    /// How long the frames are.
    pub size: FrameSize,
    /// Where the frames are sent: the balancer, or the router before it.
    pub to: Mac,
}

impl Offer {
    /// IPv4 or IPv6.
    pub const fn family(&self) -> Family {
        self.first_vip.family()
    }

    /// Connections at a time, of all clients.
    pub const fn flows(&self) -> u32 {
        self.clients.saturating_mul(self.connections)
    }

    /// The client that a flow is of.
    #[inline]
    pub const fn client_of(&self, flow: u32) -> u32 {
        flow / self.connections
    }

    /// The service that a client uses.
    #[inline]
    pub const fn service_of(&self, client: u32) -> u32 {
        if self.services == 1 {
            return 0;
        }
        let spread = client.wrapping_mul(0x85EB_CA6B);
        ((spread as u64 * self.services as u64) >> 32) as u32
    }

    /// The port that a flow's connection comes from; all connections that a client has at a
    /// time have different ones.
    #[inline]
    pub const fn port_of(&self, flow: u32, connection: u32) -> u16 {
        let slot = flow % self.connections;
        let number = connection.wrapping_mul(self.connections).wrapping_add(slot);
        FIRST_PORT + (number % PORTS) as u16
    }

    /// In one line, for people.
    pub fn sentence(&self) -> String {
        format!(
            "{} client(s) from {} with {} connection(s) each, {} service(s) from {} port {} {}, \
             {:.1} % new, frames of {}",
            self.clients,
            self.first_client,
            self.connections,
            self.services,
            self.first_vip,
            self.port,
            if self.protocol == Protocol::Udp { "UDP" } else { "TCP" },
            self.new_share * 100.0,
            self.size
        )
    }
}

/// The address so many after the first one, within its family.
#[inline]
pub const fn nth(first: Addr, number: u32) -> Addr {
    match first.family() {
        Family::V4 => Addr::v4(first.v4_number().wrapping_add(number)),
        Family::V6 => Addr::v6(first.number().wrapping_add(number as u128)),
    }
}
