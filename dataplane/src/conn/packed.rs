//! What an entry holds besides the addresses, bit by bit, in three words:
//!
//! ```text
//! place    client port 16 | virtual port 16 | protocol 2 | real server 20 | method 2 | scarce 8
//! clock    expires 32 | real port 16 | elsewhere 1, state 7 | flags 8
//! rest     template 32 | away 2 | timeout 30
//! ```
//!
//! `scarce` counts the packets that are missing to [`Conn::MANY_PACKETS`], so that the entry of a
//! connection that has had many says 0 there. The two bits `away` belong to the line: a digit of the
//! number of flows that would stand there if it had had room.

use super::flow::{Flow, bits_of};
use super::{Conn, ConnFlags, State};
use crate::forward::Forwarding;
use crate::ids::RealId;
use crate::table::Handle;
use crate::tick::Tick;

pub(super) const PROTOCOL_SHIFT: u32 = 30;
const REAL_SHIFT: u32 = 10;
pub(super) const FORWARDING_SHIFT: u32 = 8;
pub(super) const SCARCE: u64 = 0xFF;
/// The bits of the place that belong to the five values.
pub(super) const KEY: u64 = !0 << PROTOCOL_SHIFT;
/// Masquerading, as a method.
pub(super) const MASQ: u64 = 1;
/// The bits of the place that a real server's packet knows: the client's port, the protocol,
/// and that it is masqueraded.
pub(super) const ANSWERED: u64 = 0xFFFF << 48 | 3 << PROTOCOL_SHIFT | 3 << FORWARDING_SHIFT;
pub(super) const METHOD: u64 = 3 << FORWARDING_SHIFT;
/// The bits of the clock that it knows: the port on the real server, that no newer connection is
/// answered by packets like it, and that it is of the real server itself.
pub(super) const ANSWERED_CLOCK: u64 =
    0xFFFF << REAL_PORT_SHIFT | ConnFlags::COVERED.union(ConnFlags::ELSEWHERE).bits() as u64;
const EXPIRES_SHIFT: u32 = 32;
pub(super) const REAL_PORT_SHIFT: u32 = 16;
const STATE_SHIFT: u32 = 8;
pub(super) const STATE: u64 = 0xFF << STATE_SHIFT;
/// Among the state's bits: the connection leads elsewhere, and no packet that compares states
/// finds it in one that it knows.
const DIVERTED: u64 = 0x80 << STATE_SHIFT;
/// The bits of the clock that a packet is asked about.
pub(super) const CLOCK: u64 = !0 << EXPIRES_SHIFT | STATE;
/// Among the flags: the template's bits mean one.
const HAS_TEMPLATE: u64 = 1 << 7;
const TEMPLATE_SHIFT: u32 = 32;
/// The longest timeout that an entry holds, in ticks: 49 days.
pub(super) const TIMEOUT: u64 = (1 << 30) - 1;
const AWAY_SHIFT: u32 = 30;
const AWAY: u64 = 3 << AWAY_SHIFT;

/// What packets of one protocol make of connections that they leave in their state, at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    state: State,
    pub(super) now: Tick,
    timeout: u32,
}

impl Renewal {
    /// Of connections in this state, which has this timeout in ticks.
    pub fn new(state: State, timeout: u32, now: Tick) -> Self {
        Self { state, now, timeout }
    }

    /// What an entry's clock says afterwards, under [`CLOCK`].
    #[inline(always)]
    pub(super) fn clock(&self) -> u64 {
        u64::from(self.now.plus(self.timeout).0) << EXPIRES_SHIFT
            | (self.state as u64) << STATE_SHIFT
    }

    /// What its rest says, under [`TIMEOUT`].
    #[inline(always)]
    pub(super) fn rest(&self) -> u64 {
        u64::from(self.timeout)
    }
}

/// A connection as a packet that leaves it in its state wants to know it: where the packet goes,
/// and what it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing(pub(super) u32);

impl Standing {
    /// Of nobody knows which connection.
    pub const UNKNOWN: Self = Self(Self::ODD);
    const ODD: u32 = 1 << 31;
    pub(super) const CHANGES: u32 = 1 << 30;

    /// Whether there is more to be asked than where the packet goes: it has another state, is not
    /// directly routed, has expired, or is not known.
    #[inline(always)]
    pub fn is_odd(self) -> bool {
        self.0 & Self::ODD != 0
    }

    /// Whether [`Packed::keep`] would change anything.
    #[inline(always)]
    pub fn changes(self) -> bool {
        self.0 & Self::CHANGES != 0
    }

    /// The real server.
    #[inline(always)]
    pub fn real(self) -> RealId {
        RealId(self.0 & (RealId::LIMIT - 1))
    }

    /// More is to be asked if this holds.
    #[inline(always)]
    pub(super) fn unless(self, unknown: bool) -> Self {
        Self(self.0 | if unknown { Self::ODD } else { 0 })
    }
}

/// All that an entry holds besides the addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    pub(super) place: u64,
    pub(super) clock: u64,
    rest: u64,
}

/// Ports and protocol where entries have them; protocols without ports have no number and are
/// in no table.
#[inline]
pub(super) fn place_of(flow: &Flow) -> u64 {
    u64::from(flow.client_port) << 48
        | u64::from(flow.vip_port) << 32
        | bits_of(flow.protocol) << PROTOCOL_SHIFT
}

impl Packed {
    /// For a place as [`place_of`] gives it.
    #[inline(always)]
    pub(super) fn new(place: u64, conn: &Conn) -> Self {
        let mut packed = Self { place, clock: 0, rest: 0 };
        packed.set(conn);
        packed
    }

    /// Whether a connection is in the entry.
    #[inline]
    pub fn is_used(&self) -> bool {
        self.place >> PROTOCOL_SHIFT & 3 != 0
    }

    /// Everything but the flow.
    #[inline]
    pub(super) fn set(&mut self, conn: &Conn) {
        let forwarding: u64 = match conn.forwarding {
            Forwarding::Route => 0,
            Forwarding::Masq => MASQ,
            Forwarding::Tunnel => 2,
            Forwarding::Local => 3,
        };
        self.place = self.place & KEY
            | u64::from(conn.real.0 & (RealId::LIMIT - 1)) << REAL_SHIFT
            | forwarding << FORWARDING_SHIFT
            | u64::from(Conn::MANY_PACKETS.wrapping_sub(conn.in_packets));
        let flags = u64::from(conn.flags.bits());
        let diverted = if conn.flags.contains(ConnFlags::ELSEWHERE) { DIVERTED } else { 0 };
        self.clock = u64::from(conn.expires.0) << EXPIRES_SHIFT
            | u64::from(conn.real_port) << REAL_PORT_SHIFT
            | u64::from(conn.state as u8) << STATE_SHIFT
            | diverted
            | if conn.template.is_some() { flags | HAS_TEMPLATE } else { flags };
        self.rest = u64::from(conn.template.map_or(0, Handle::to_bits)) << TEMPLATE_SHIFT
            | self.rest & AWAY
            | u64::from(conn.timeout).min(TIMEOUT);
    }

    /// Bits of [`Self::away`].
    pub(super) const AWAY_BITS: u32 = 2;

    /// What stands there for the line, which is no part of the connection.
    #[inline(always)]
    pub(super) fn away(&self) -> u32 {
        (self.rest >> AWAY_SHIFT) as u32 & 3
    }

    /// Sets it, to the lowest bits of this number.
    #[inline(always)]
    pub(super) fn set_away(&mut self, digit: u32) {
        self.rest = self.rest & !AWAY | u64::from(digit) << AWAY_SHIFT & AWAY;
    }

    /// The connection, unpacked.
    #[inline]
    pub fn conn(&self) -> Conn {
        Conn {
            template: self.template(),
            real: self.real(),
            expires: self.expires(),
            timeout: self.timeout(),
            real_port: self.real_port(),
            state: self.state(),
            flags: self.flags(),
            forwarding: self.forwarding(),
            in_packets: Conn::MANY_PACKETS.wrapping_sub((self.place & SCARCE) as u8),
        }
    }

    /// Its real server.
    #[inline]
    pub fn real(&self) -> RealId {
        RealId((self.place >> REAL_SHIFT) as u32 & (RealId::LIMIT - 1))
    }

    /// The method that it was born with.
    #[inline]
    pub fn forwarding(&self) -> Forwarding {
        match self.place >> FORWARDING_SHIFT & 3 {
            0 => Forwarding::Route,
            1 => Forwarding::Masq,
            2 => Forwarding::Tunnel,
            _ => Forwarding::Local,
        }
    }

    /// When it ends unless a packet comes.
    #[inline]
    pub fn expires(&self) -> Tick {
        Tick((self.clock >> EXPIRES_SHIFT) as u32)
    }

    /// The port packets go to on the real server (masquerading).
    #[inline]
    pub fn real_port(&self) -> u16 {
        (self.clock >> REAL_PORT_SHIFT) as u16
    }

    /// The protocol's state.
    #[inline]
    pub fn state(&self) -> State {
        let number = ((self.clock & !DIVERTED) >> STATE_SHIFT) as u8;
        State::ALL.get(usize::from(number)).copied().unwrap_or(State::TcpNone)
    }

    /// Whether a packet that finds the protocol in this state and leaves it there is sent on
    /// directly: it has not expired, and its real server's MAC address is all there is to write.
    #[inline(always)]
    pub fn is_routed_in(&self, state: State, now: Tick) -> bool {
        let other_state = (self.clock ^ (state as u64) << STATE_SHIFT) & STATE;
        // Direct routing has the number 0.
        let other_method = self.place & 3 << FORWARDING_SHIFT;
        other_state | other_method == 0 && !self.expires().has_come(now)
    }

    /// What it is to packets of its client.
    #[inline(always)]
    pub(super) fn standing(&self, renewal: &Renewal) -> Standing {
        // Direct routing has the number 0, as has a connection that has had many packets.
        let other = self.place & (METHOD | SCARCE)
            | (self.clock ^ renewal.clock()) & CLOCK
            | (self.rest ^ renewal.rest()) & TIMEOUT;
        if other == 0 { Standing(self.real().0) } else { self.standing_otherwise(renewal) }
    }

    /// The same, if a packet would change something.
    #[inline(always)]
    fn standing_otherwise(&self, renewal: &Renewal) -> Standing {
        let odd = !self.is_routed_in(renewal.state, renewal.now);
        Standing(self.real().0 | Standing::CHANGES).unless(odd)
    }

    /// Whether it is in this state and has not expired.
    #[inline(always)]
    pub fn lives_in(&self, state: State, now: Tick) -> bool {
        self.is_in(state) && !self.expires().has_come(now)
    }

    /// Whether the protocol's state is this one.
    #[inline(always)]
    pub fn is_in(&self, state: State) -> bool {
        (self.clock >> STATE_SHIFT) as u8 == state as u8
    }

    /// The flags.
    #[inline]
    pub fn flags(&self) -> ConnFlags {
        ConnFlags::from_bits_truncate(self.clock as u8)
    }

    /// The template that it was made through.
    #[inline]
    pub fn template(&self) -> Option<Handle> {
        (self.clock & HAS_TEMPLATE != 0)
            .then(|| Handle::from_bits((self.rest >> TEMPLATE_SHIFT) as u32))
    }

    /// The timeout that `expires` was set with, in ticks.
    #[inline]
    pub fn timeout(&self) -> u32 {
        (self.rest & TIMEOUT) as u32
    }

    /// A packet from the client that leaves the state as it is: counted, and the timer starts
    /// anew. What stays as it was is not written. Whether the timeout changed: the connection
    /// may end sooner than was known.
    #[inline(always)]
    #[must_use]
    pub fn keep(&mut self, timeout: u32, expires: Tick) -> bool {
        if self.place & SCARCE != 0 {
            self.place -= 1;
        }
        self.restart(timeout, expires)
    }

    /// A packet to the client that leaves the state as it is: not counted, but remembered.
    /// Answers as [`Self::keep`] does.
    #[inline(always)]
    #[must_use]
    pub fn keep_by_reply(&mut self, timeout: u32, expires: Tick) -> bool {
        let no_output = u64::from(ConnFlags::NO_OUTPUT.bits());
        if self.clock & no_output != 0 {
            self.clock &= !no_output;
        }
        self.restart(timeout, expires)
    }

    #[inline(always)]
    fn restart(&mut self, timeout: u32, expires: Tick) -> bool {
        if self.expires() != expires {
            self.clock = self.clock & u64::from(u32::MAX) | u64::from(expires.0) << EXPIRES_SHIFT;
        }
        let differs = self.timeout() != timeout;
        if differs {
            self.rest = self.rest & !TIMEOUT | u64::from(timeout).min(TIMEOUT);
        }
        differs
    }
}
