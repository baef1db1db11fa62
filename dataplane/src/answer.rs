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
    /// In answers x ticks per second, so that slow rates fill evenly.
    tokens: u64,
    filled: Tick,
}

impl Budget {
    /// So many answers a second; `u32::MAX` is without limit.
    pub fn new(per_second: u32) -> Self {
        let tokens = u64::from(per_second) * u64::from(TICKS_PER_SECOND);
        Self { per_second, tokens, filled: Tick::default() }
    }

    /// Takes one, if there is one.
    pub fn take(&mut self, now: Tick) -> bool {
        if self.per_second == u32::MAX {
            return true;
        }
        let passed = self.filled.until(now).max(0);
        self.filled = now;
        let full = u64::from(self.per_second) * u64::from(TICKS_PER_SECOND);
        let gained = u64::from(self.per_second) * passed.unsigned_abs() as u64;
        self.tokens = (self.tokens + gained).min(full);
        match self.tokens.checked_sub(u64::from(TICKS_PER_SECOND)) {
            Some(left) => {
                self.tokens = left;
                true
            }
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
