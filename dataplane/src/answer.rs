//! The director as a host: what it answers by itself, and how often.

use crate::port::Frame;
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::wire::answer::Unanswerable;
use crate::wire::ethernet::Mac;
use crate::wire::{Addr, Family, Packet, Protocol, icmp, tcp};

/// An answer that a host would give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A TCP reset (RFC 9293, 3.10.7.1).
    Reset,
    /// An ICMP error from the address that the packet was sent to.
    Icmp(icmp::Error),
    /// An ICMP error from this address.
    IcmpFrom(Addr, icmp::Error),
    /// An echo reply.
    Echo,
}

impl Answer {
    /// What a host answers to a packet that it has no taker for; `None` for silence.
    pub fn for_unwanted(packet: &Packet) -> Option<Self> {
        match packet.protocol {
            Protocol::Tcp => Some(Self::Reset),
            Protocol::Udp => Some(Self::Icmp(icmp::Error::PortUnreachable)),
            Protocol::Icmp | Protocol::Icmpv6 => None,
            Protocol::Other(number) if is_spoken(number, packet.family) => None,
            Protocol::Sctp | Protocol::Ah | Protocol::Esp | Protocol::Other(_) => {
                Some(Self::Icmp(icmp::Error::ProtocolUnreachable))
            }
        }
    }

    /// The ICMP error that it is, if it is one.
    pub(crate) const fn error(self) -> Option<icmp::Error> {
        match self {
            Self::Icmp(error) | Self::IcmpFrom(_, error) => Some(error),
            Self::Reset | Self::Echo => None,
        }
    }

    /// Writes the answer over the frame that it answers.
    pub fn write(
        self,
        frame: &mut impl Frame,
        packet: &Packet,
        own: Mac,
    ) -> Result<(), Unanswerable> {
        match self {
            Self::Reset => tcp::reset(frame, packet, own),
            Self::Icmp(error) => icmp::error(frame, packet, own, error),
            Self::IcmpFrom(from, error) => icmp::error_from(frame, packet, own, from, error),
            Self::Echo => icmp::echo_reply(frame, packet, own),
        }
    }
}

/// Whether every host has an ear for this protocol: IGMP, PIM; with IPv6 the headers between.
const fn is_spoken(number: u8, family: Family) -> bool {
    match family {
        Family::V4 => matches!(number, 2 | 103),
        Family::V6 => matches!(number, 0 | 43 | 44 | 59 | 60 | 103),
    }
}

/// How many answers a core may still give: a bucket that fills by a fixed rate and holds
/// one second's worth, so that a flood draws a bounded number of answers.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    per_second: u32,
    /// What it holds at the most.
    full: u64,
    /// In answers x ticks per second, so that slow rates fill evenly.
    tokens: u64,
    filled: Tick,
}

impl Budget {
    /// What the kernel allows all errors together (`icmp_msgs_per_sec`, `icmp_msgs_burst`), as
    /// one core of so many has it.
    pub fn of_kernel(cores: usize) -> Self {
        let cores = u32::try_from(cores).unwrap_or(u32::MAX).max(1);
        let full = u64::from(50_u32.div_ceil(cores)) * u64::from(TICKS_PER_SECOND);
        Self { full, tokens: full, ..Self::new(1000_u32.div_ceil(cores)) }
    }

    /// Whether it gives whatever is asked for.
    pub const fn is_unlimited(&self) -> bool {
        self.per_second == u32::MAX
    }

    /// So many answers a second; `u32::MAX` is without limit.
    pub fn new(per_second: u32) -> Self {
        let tokens = u64::from(per_second) * u64::from(TICKS_PER_SECOND);
        Self { per_second, full: tokens, tokens, filled: Tick::default() }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Tick) -> bool {
        if self.per_second == u32::MAX {
            return true;
        }
        let passed = self.filled.until(now).max(0);
        self.filled = now;
        let gained = u64::from(self.per_second) * passed.unsigned_abs() as u64;
        self.tokens = (self.tokens + gained).min(self.full);
        match self.tokens.checked_sub(u64::from(TICKS_PER_SECOND)) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

/// Errors that the kernel sends to one host in a row, after a pause.
const IN_A_ROW: u64 = 6;
/// The kernel's `icmp_ratelimit`: a second between two errors to one host.
const BETWEEN: u64 = TICKS_PER_SECOND as u64;
/// Receivers that are told apart; a power of two. Others share their account.
const RECEIVERS: usize = 1 << 12;
/// What [`BETWEEN`] is counted in, so that IPv6's shorter pauses are whole numbers.
const PARTS: u64 = 16;

/// Errors by receiver, as the kernel limits them (`icmp_ratelimit` and `icmp_ratemask`): those
/// that a sender needs to find a path's MTU always pass.
#[derive(Clone, Debug)]
pub struct Receivers {
    /// Whose account it is, since when it has been filling, and what it held then.
    accounts: Box<[Option<(Addr, Tick, u64)>]>,
    secret: u64,
}

impl Receivers {
    /// Nobody was told anything so far.
    pub fn new(secret: u64) -> Self {
        Self { accounts: vec![None; RECEIVERS].into_boxed_slice(), secret }
    }

    /// Whether this error may go to this receiver, to whom a route of this prefix length leads:
    /// over IPv6, the wider the network the shorter the pause.
    pub fn take(&mut self, to: Addr, length: u8, error: icmp::Error, now: Tick) -> bool {
        if matches!(error, icmp::Error::PacketTooBig { .. }) {
            return true;
        }
        let narrowing = match to.family() {
            Family::V4 => 0,
            Family::V6 => u32::from(128_u8.saturating_sub(length) >> 5),
        };
        let price = (BETWEEN * PARTS) >> narrowing;
        let [high, low] = to.words();
        let product = u128::from(high ^ low.rotate_left(32) ^ self.secret | 1)
            * u128::from(low ^ 0x9E37_79B9_7F4A_7C15);
        let place = ((product >> 64) as u64 ^ product as u64) as usize & (RECEIVERS - 1);
        let Some(account) = self.accounts.get_mut(place) else { return true };
        let held = match *account {
            Some((owner, since, held)) if owner == to => {
                let gained = u64::from(since.until(now).max(0).unsigned_abs()) * PARTS;
                (held + gained).min(price * IN_A_ROW)
            }
            _ => price * IN_A_ROW,
        };
        let left = held.checked_sub(price);
        *account = Some((to, now, left.unwrap_or(held)));
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_is_told_six_times_in_a_row_and_then_once_a_second() {
        let mut receivers = Receivers::new(7);
        let error = icmp::Error::PortUnreachable;
        let (one, other) = (Addr::v4(0xC612_0005), Addr::v4(0xC612_0006));
        let mut told = |to, now| (0..20).filter(|_| receivers.take(to, 0, error, now)).count();
        assert_eq!(told(one, Tick(0)), 6);
        assert_eq!(told(other, Tick(0)), 6);
        assert_eq!(told(one, Tick(TICKS_PER_SECOND)), 1);
        assert_eq!(told(one, Tick(3 * TICKS_PER_SECOND)), 2);
        assert_eq!(told(one, Tick(100 * TICKS_PER_SECOND)), 6);
        let wide = Addr::v6(0x2001_0db8_0000_0000_0000_0000_0000_0005);
        assert_eq!((0..99).filter(|_| receivers.take(wide, 0, error, Tick(0))).count(), 6);
        let later = Tick(TICKS_PER_SECOND / 4);
        assert_eq!((0..99).filter(|_| receivers.take(wide, 0, error, later)).count(), 4 - 1);
        let mtu = icmp::Error::PacketTooBig { mtu: 1400 };
        assert!((0..99).all(|_| receivers.take(one, 0, mtu, later)));
    }

    #[test]
    fn a_budget_gives_its_rate_and_no_more() {
        let mut budget = Budget::new(10);
        let taken = |budget: &mut Budget, now| (0..100).filter(|_| budget.take(now)).count();
        assert_eq!(taken(&mut budget, Tick(0)), 10);
        assert_eq!(taken(&mut budget, Tick(0)), 0);
        assert_eq!(taken(&mut budget, Tick(TICKS_PER_SECOND / 2)), 5);
        assert_eq!(taken(&mut budget, Tick(TICKS_PER_SECOND * 9)), 10);
        let mut unlimited = Budget::new(u32::MAX);
        assert_eq!(taken(&mut unlimited, Tick(0)), 100);
    }
}
