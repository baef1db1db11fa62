//! Connections: one client flow each, private to the core that its packets arrive on.

mod answered;
mod burst;
mod entry;
pub(crate) mod flow;
mod growth;
mod index;
mod listing;
mod packed;
mod places;
pub mod sctp;
mod slab;
pub mod table;
pub mod tcp;
mod timeouts;

pub use burst::ConnBurst;
pub use entry::EntryV4;
pub use flow::Flow;
pub use timeouts::{State, Timeouts};

use crate::forward::Forwarding;
use crate::ids::RealId;
use crate::table::Handle;
use crate::tick::Tick;
use crate::wire::{Packet, Protocol, TcpFlags};

bitflags::bitflags! {
    /// What is remembered of a connection besides its state, in seven bits: entries use the
    /// eighth.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct ConnFlags: u8 {
        /// Counted as InActConn (otherwise as ActiveConn).
        const INACTIVE = 1;
        /// No reply has been seen passing the director (direct routing, tunnels).
        const NO_OUTPUT = 2;
        /// A template's count includes this connection.
        const CONTROLLED = 4;
        /// Masqueraded, and a newer connection is answered by packets that look the same.
        const COVERED = 8;
        /// A data connection that its control connection waits for.
        const CHILD = 16;
        /// It leads to another host than its real server, which is known elsewhere.
        const ELSEWHERE = 32;
    }
}

/// Which way a packet goes, as far as the state machines care.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client, replies seen as well.
    In,
    /// From the real server.
    Out,
    /// From the client, replies not seen: direct routing and tunnels.
    InOnly,
}

/// What a packet says to the state machines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal {
    /// The transport protocol.
    pub protocol: Protocol,
    /// TCP's flags.
    pub tcp_flags: TcpFlags,
    /// SCTP's first two chunks.
    pub sctp_chunks: [u8; 2],
}

impl Signal {
    /// What this packet says.
    pub fn of(packet: &Packet) -> Self {
        Self {
            protocol: packet.protocol,
            tcp_flags: packet.tcp_flags,
            sctp_chunks: packet.sctp_chunks,
        }
    }

    /// The state after this packet.
    pub fn next(self, state: State, direction: Direction, secure_tcp: bool) -> State {
        match self.protocol {
            Protocol::Tcp => tcp::next(state, self.tcp_flags, direction, secure_tcp),
            Protocol::Sctp => sctp::next(state, sctp::Event::of(self.sctp_chunks), direction),
            _ => State::Udp,
        }
    }

    /// Whether it opens or closes something: more than data and acknowledgements.
    pub fn is_news(self) -> bool {
        match self.protocol {
            Protocol::Tcp => {
                self.tcp_flags.intersects(TcpFlags::SYN | TcpFlags::FIN | TcpFlags::RST)
            }
            Protocol::Sctp => sctp::Event::of(self.sctp_chunks) != sctp::Event::Data,
            _ => false,
        }
    }
}

/// A connection's entry, without the five values that it is found by. The service that made it
/// is its real server's: a real server is one service's, and keeps its id while it is named here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conn {
    /// The template that it was made through; meaningful with `CONTROLLED`.
    pub template: Option<Handle>,
    /// Its real server.
    pub real: RealId,
    /// When it ends unless a packet comes.
    pub expires: Tick,
    /// The timeout that `expires` was set with, in ticks, up to 2^30 - 1 (49 days).
    pub timeout: u32,
    /// The port packets go to on the real server (masquerading).
    pub real_port: u16,
    /// The protocol's state.
    pub state: State,
    /// Flags.
    pub flags: ConnFlags,
    /// The method it was born with: editing the real server leaves it alone.
    pub forwarding: Forwarding,
    /// Packets from the client, counted up to [`Conn::MANY_PACKETS`] (the aging rule of the
    /// drop_entry defence).
    pub in_packets: u8,
}

impl Conn {
    /// Nobody asks whether a connection has had this many packets or more; that it is not
    /// written any more saves its cache line the way back to memory.
    pub const MANY_PACKETS: u8 = 15;

    /// Counts a packet from the client.
    #[inline]
    pub fn count_packet(&mut self) {
        if self.in_packets < Self::MANY_PACKETS {
            self.in_packets += 1;
        }
    }

    /// The connection after a packet that leads to this state: its timer starts anew.
    #[inline]
    pub fn in_state(mut self, next: State, timeouts: &Timeouts, now: Tick) -> Self {
        self.state = next;
        self.timeout = timeouts.ticks(next);
        self.expires = now.plus(self.timeout);
        self.flags.set(ConnFlags::INACTIVE, !next.is_active());
        self
    }

    /// Whether a reply passing by would be news to the state machine.
    pub fn direction_in(&self) -> Direction {
        if self.flags.contains(ConnFlags::NO_OUTPUT) { Direction::InOnly } else { Direction::In }
    }
}
