//! Defences for times of attack: dropping packets that would open connections, and ending
//! connections that look like an attack's.

use std::sync::atomic::Ordering;

use super::Bindings;
use crate::compat::{Compat, Defence};
use crate::conn::{Conn, State};
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::wire::Family;

/// One of so many entries is looked at in a second (IPVS: a 32nd of the table).
const LOOKED_AT: u64 = 32;
/// An entry that had a packet within this time is left alone.
const IDLE: i32 = 60 * TICKS_PER_SECOND as i32;
/// Entries with more packets than this are no attack's.
const MOST_PACKETS: usize = 8;

/// What the defences remember. One per core.
#[derive(Clone, Debug)]
pub(super) struct Defences {
    /// Packets until the next one is dropped.
    packets: u32,
    /// The second in which those were counted out, where that is done every second.
    second: u32,
    /// By number of packets: entries until the next one is dropped.
    aged: [u8; MOST_PACKETS + 1],
    random: u64,
}

impl Default for Defences {
    fn default() -> Self {
        Self { packets: 0, second: 0, aged: [0; MOST_PACKETS + 1], random: 0x2545_F491_4F6C_DD1D }
    }
}

impl Defences {
    /// Whether the entry is ended. The sweep comes to every entry about once a second, so
    /// that looking at a 32nd of them at random is IPVS's rate.
    pub(super) fn takes(&mut self, conn: &Conn, now: Tick) -> bool {
        if !self.looks_at() {
            return false;
        }
        match conn.state {
            State::TcpSynRecv | State::TcpSynAck | State::SctpInit | State::SctpInit1 => true,
            State::TcpEstablished | State::Udp | State::SctpEstablished => self.ages(conn, now),
            _ => false,
        }
    }

    /// Whether a template is ended that controls no connections and that none has made sure of.
    pub(super) fn takes_template(&mut self) -> bool {
        self.looks_at()
    }

    fn looks_at(&mut self) -> bool {
        // Xorshift (Marsaglia, 2003).
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 32).is_multiple_of(LOOKED_AT)
    }

    /// Idle entries with one packet go, every second one with two, and so on.
    fn ages(&mut self, conn: &Conn, now: Tick) -> bool {
        let idle = (conn.timeout as i32).wrapping_sub(now.until(conn.expires));
        let packets = usize::from(conn.in_packets);
        let Some(left) = self.aged.get_mut(packets).filter(|_| packets > 0) else { return false };
        if idle < IDLE {
            return false;
        }
        *left = left.saturating_sub(1);
        if *left > 0 {
            return false;
        }
        *left = conn.in_packets;
        true
    }

    /// IPVS sets the rate, and with it the count, once a second.
    fn count_anew(&mut self, rate: u32, now: Tick) {
        let second = now.0 / TICKS_PER_SECOND;
        if second != self.second {
            (self.second, self.packets) = (second, rate);
        }
    }

    /// Whether this packet is the one of `rate` that is dropped.
    fn drops(&mut self, rate: u32) -> bool {
        self.packets = self.packets.saturating_sub(1);
        if self.packets > 0 {
            return false;
        }
        self.packets = rate.max(1);
        true
    }
}

impl Bindings {
    /// Whether a defence is up for this family's connections.
    pub(super) fn is_up(&self, defence: Defence, compat: &Compat, family: Family) -> bool {
        match defence {
            Defence::Off => false,
            Defence::Pressed => self.free(compat, family) < compat.amemthresh,
            Defence::Always => true,
        }
    }

    /// Whether `drop_packet` takes a packet that would open a connection.
    pub(super) fn drops_packet(&mut self, compat: &Compat, family: Family, now: Tick) -> bool {
        if !self.is_up(compat.drop_packet, compat, family) {
            return false;
        }
        let rate = match compat.drop_packet {
            Defence::Off => return false,
            Defence::Always => compat.am_droprate,
            // The less is free, the more packets go.
            Defence::Pressed => {
                let free = self.free(compat, family);
                let rate = compat.amemthresh / compat.amemthresh.saturating_sub(free).max(1);
                self.defences.count_anew(rate, now);
                rate
            }
        };
        self.defences.drops(rate)
    }

    /// What may run out: places of the table, or the machine's pages, as IPVS has it.
    fn free(&self, compat: &Compat, family: Family) -> u32 {
        if compat.as_kernel {
            return self.shared.free_pages.load(Ordering::Relaxed);
        }
        let free = match family {
            Family::V4 => self.v4.capacity() - self.v4.len(),
            Family::V6 => self.v6.capacity() - self.v6.len(),
        };
        u32::try_from(free).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::ConnFlags;
    use crate::forward::Forwarding;
    use crate::ids::RealId;

    #[test]
    fn one_of_three_packets_is_dropped_beginning_with_the_first() {
        let mut defences = Defences::default();
        let dropped: Vec<bool> = (0..10).map(|_| defences.drops(3)).collect();
        let wanted = [true, false, false, true, false, false, true, false, false, true];
        assert_eq!(dropped, wanted);
    }

    /// Which of ten entries go that are alike: of so many packets, the last one so long ago.
    fn gone(state: State, in_packets: u8, idle_s: u32) -> Vec<usize> {
        let (now, timeout) = (Tick(1_000_000), 300 * TICKS_PER_SECOND);
        let conn = Conn {
            template: None,
            real: RealId(1),
            expires: now.plus(timeout - idle_s * TICKS_PER_SECOND),
            timeout,
            real_port: 80,
            state,
            flags: ConnFlags::empty(),
            forwarding: Forwarding::Route,
            in_packets,
        };
        let mut defences = Defences::default();
        (0..10).filter(|_| defences.ages(&conn, now)).collect()
    }

    #[test]
    fn of_idle_entries_one_goes_of_as_many_as_it_had_packets() {
        assert_eq!(gone(State::Udp, 1, 60), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
        assert_eq!(gone(State::Udp, 3, 60), [0, 3, 6, 9]);
        assert_eq!(gone(State::TcpEstablished, 8, 200), [0, 8]);
        // Not idle for long enough, too busy for an attack's, or the real server's own.
        for (in_packets, idle_s) in [(1, 59), (9, 200), (0, 200)] {
            assert_eq!(gone(State::Udp, in_packets, idle_s), [], "{in_packets} {idle_s}");
        }
    }

    #[test]
    fn a_rate_of_the_moment_is_counted_from_every_second_on() {
        let mut defences = Defences::default();
        let dropped: Vec<bool> = [1, 1, 1, 1, 2, 2, 3, 3, 3]
            .map(|second| {
                defences.count_anew(3, Tick(second * TICKS_PER_SECOND));
                defences.drops(3)
            })
            .to_vec();
        let wanted = [false, false, true, false, false, false, false, false, true];
        assert_eq!(dropped, wanted);
    }
}
