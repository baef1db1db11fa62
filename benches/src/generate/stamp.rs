//! What every generated frame says about itself.
//!
//! UDP datagrams carry it in their first 14 bytes. The shortest TCP frame has only six bytes
//! of payload: there the mark and the flow are in it, the sequence is the segment's sequence
//! number and the time its acknowledgement number, which no balancer below TCP changes.

use dataplane::wire::field::{bytes_at, put};

/// "This frame was generated": no other traffic begins like this by chance often.
const MARK: [u8; 2] = [0xD1, 0x7E];
/// Bytes of payload that a UDP datagram needs.
pub const UDP_LEN: usize = 14;
/// Bytes of payload that a TCP segment needs.
pub const TCP_LEN: usize = 6;
/// Nanoseconds in a step of [`Stamp::time`], which begins anew after 68 seconds.
pub const STEP_NS: u64 = 16;

/// Bits of a sequence that count a connection's packets; the others count its flow's
/// connections.
const PACKET_BITS: u32 = 20;

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The flow's number: client and one of its connections.
    pub flow: u32,
    /// Which of the flow's connections, and which packet of it.
    pub sequence: Sequence,
    /// When the frame was made, in steps of [`STEP_NS`].
    pub time: u32,
}

/// A packet's place: the number of the connection in its flow, and its own in that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sequence(pub u32);

impl Sequence {
    /// The next packet of the same connection.
    pub const fn next_packet(self) -> Self {
        let packets = (1 << PACKET_BITS) - 1;
        Self(self.0 & !packets | self.0.wrapping_add(1) & packets)
    }

    /// The first packet of the next connection.
    pub const fn next_connection(self) -> Self {
        Self((self.0 >> PACKET_BITS).wrapping_add(1) << PACKET_BITS)
    }

    /// The connection's number in its flow.
    pub const fn connection(self) -> u32 {
        self.0 >> PACKET_BITS
    }

    /// How many packets of the same connection `self` is after `other`; negative if it is
    /// before it. Numbers begin anew after a million.
    pub const fn after(self, other: Self) -> i32 {
        let shift = 32 - PACKET_BITS;
        (self.0.wrapping_sub(other.0) << shift) as i32 >> shift
    }
}

/// Where in a frame a stamp's parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The TCP header begins here and the payload there.
    Tcp(usize, usize),
    /// The UDP payload begins here.
    Udp(usize),
}

impl Stamp {
    /// Writes it; `None` where there is no room.
    #[inline]
    pub fn write(self, frame: &mut [u8], place: Place) -> Option<()> {
        let [sequence, time] = [self.sequence.0, self.time].map(u32::to_be_bytes);
        let (payload, [sequence_at, time_at]) = match place {
            Place::Tcp(header, payload) => (payload, [header + 4, header + 8]),
            Place::Udp(payload) => (payload, [payload + 6, payload + 10]),
        };
        put(frame, payload, MARK)?;
        put(frame, payload + 2, self.flow.to_be_bytes())?;
        put(frame, sequence_at, sequence)?;
        put(frame, time_at, time)
    }

    /// Reads one; `None` where there is none.
    #[inline]
    pub fn read(frame: &[u8], place: Place) -> Option<Self> {
        let (payload, [sequence_at, time_at]) = match place {
            Place::Tcp(header, payload) => (payload, [header + 4, header + 8]),
            Place::Udp(payload) => (payload, [payload + 6, payload + 10]),
        };
        if *bytes_at(frame, payload)? != MARK {
            return None;
        }
        let number = |at| bytes_at(frame, at).map(|bytes| u32::from_be_bytes(*bytes));
        Some(Self {
            flow: number(payload + 2)?,
            sequence: Sequence(number(sequence_at)?),
            time: number(time_at)?,
        })
    }

    /// What it adds to a frame's checksum.
    #[inline]
    pub const fn words(self) -> [u32; 4] {
        let mark = u16::from_be_bytes(MARK) as u32;
        [mark, self.flow, self.sequence.0, self.time]
    }

    /// Whether it was made before `time`, in the same steps and less than 34 seconds away.
    #[inline]
    pub const fn is_before(self, time: u32) -> bool {
        (self.time.wrapping_sub(time) as i32) < 0
    }

    /// Nanoseconds from this stamp's time to `now`, a time in the same steps.
    #[inline]
    pub const fn age_ns(self, now: u32) -> u64 {
        now.wrapping_sub(self.time) as u64 * STEP_NS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_again() {
        for place in [Place::Tcp(0, 20), Place::Udp(8)] {
            let stamp = Stamp { flow: 0x0102_0304, sequence: Sequence(0x1234_5678), time: 9 };
            let mut frame = [0; 26];
            stamp.write(&mut frame, place).unwrap();
            assert_eq!(Stamp::read(&frame, place), Some(stamp));
            assert_eq!(Stamp::read(&[0; 26], place), None);
            assert_eq!(stamp.write(&mut frame[..12], place), None);
        }
    }

    #[test]
    fn places_in_a_connection_follow_one_another_around_the_end() {
        let last = Sequence((7 << 20) + (1 << 20) - 1);
        let first = last.next_packet();
        assert_eq!(first, Sequence(7 << 20));
        assert_eq!((first.after(last), last.after(first), first.after(first)), (1, -1, 0));
        assert_eq!(first.next_connection(), Sequence(8 << 20));
        assert_eq!(Sequence(u32::MAX).next_connection().connection(), 0);
    }

    #[test]
    fn ages_are_right_when_the_clock_begins_anew() {
        let stamp = Stamp { flow: 0, sequence: Sequence(0), time: u32::MAX };
        assert_eq!(stamp.age_ns(1), 32);
        assert!(stamp.is_before(0) && stamp.is_before(5));
        assert!(!stamp.is_before(u32::MAX) && !stamp.is_before(u32::MAX - 5));
    }
}
