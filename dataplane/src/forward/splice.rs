//! Changing what a TCP segment carries, so that it gets longer or shorter, and the numbers that
//! tell of it in all segments after it: as IPVS and netfilter do for FTP's lines, with the
//! arithmetic of RFC 9293, 3.4.

use crate::port::Frame;
use crate::wire::checksum::{self, Change};
use crate::wire::field::{bytes_at, put, u16_at, u32_at};
use crate::wire::{Family, Fragment, Packet, Protocol, ipv4, ipv6, tcp};

/// Selective acknowledgements (RFC 2018).
const OPTION_SACK: u8 = 5;
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;

/// By how much one direction's sequence numbers are shifted: one way up to a point, another way
/// behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    point: u32,
    before: u32,
    behind: u32,
}

impl Shift {
    /// A segment that begins with this number, as its sender counts, has become longer by so many
    /// bytes (in two's complement).
    pub fn grow(&mut self, sequence: u32, by: u32) {
        if by != 0 && (self.before == self.behind || is_before(self.point, sequence)) {
            *self =
                Self { point: sequence, before: self.behind, behind: self.behind.wrapping_add(by) };
        }
    }

    /// What the sender's number is to the receiver.
    fn there(&self, sequence: u32) -> u32 {
        let by = if is_before(self.point, sequence) { self.behind } else { self.before };
        sequence.wrapping_add(by)
    }

    /// What the receiver's number is to the sender.
    fn back(&self, acknowledged: u32) -> u32 {
        let behind = is_before(self.point, acknowledged.wrapping_sub(self.before));
        acknowledged.wrapping_sub(if behind { self.behind } else { self.before })
    }
}

/// Whether a sequence number is before another one.
fn is_before(one: u32, other: u32) -> bool {
    (one.wrapping_sub(other) as i32) < 0
}

/// Where a whole segment begins, and how long its header is.
fn header(frame: &[u8], packet: &Packet) -> Option<(usize, usize)> {
    (packet.protocol == Protocol::Tcp && packet.fragment == Fragment::Whole).then_some(())?;
    let at = usize::from(packet.l4_offset);
    Some((at, usize::from(frame.get(at + tcp::FLAGS - 1)? >> 4) * 4))
}

/// The number that a segment begins with.
pub fn sequence(frame: &[u8], packet: &Packet) -> Option<u32> {
    let (at, _) = header(frame, packet)?;
    u32_at(frame, at + tcp::SEQUENCE)
}

/// Puts another text in the place of some bytes that a segment carries, `from` the first to
/// before `to`, counted from the beginning of what it carries. Answers by how many bytes it got
/// longer, in two's complement; `None`, and nothing is changed, where there is no room.
pub fn replace(
    frame: &mut impl Frame,
    packet: &Packet,
    (from, to): (usize, usize),
    text: &[u8],
) -> Option<u32> {
    let (at, header_len) = header(frame.bytes(), packet)?;
    let (from, to) = (at + header_len + from, at + header_len + to);
    let (old_end, old_len) = (packet.end(), frame.bytes().len());
    let behind = old_end.checked_sub(to)?;
    let end = from.checked_add(text.len())?.checked_add(behind)?;
    let total = u16::try_from(end.checked_sub(usize::from(packet.l3_offset))?).ok()?;
    if end > old_len && !frame.set_len(end) {
        return None;
    }
    let bytes = frame.bytes_mut();
    bytes.copy_within(to..old_end, from + text.len());
    bytes.get_mut(from..from + text.len())?.copy_from_slice(text);
    // Padding is no part of the packet, and none is left where there was none.
    if old_end == old_len && !frame.set_len(end) {
        return None;
    }
    write_len(frame.bytes_mut(), packet, total)?;
    let bytes = frame.bytes_mut();
    put(bytes, at + tcp::CHECKSUM, [0; 2])?;
    let segment = bytes.get(at..end)?;
    let sum = checksum::transport(packet.src, packet.dst, Protocol::Tcp, segment);
    put(bytes, at + tcp::CHECKSUM, sum.to_be_bytes())?;
    Some((end as u32).wrapping_sub(old_end as u32))
}

fn write_len(bytes: &mut [u8], packet: &Packet, total: u16) -> Option<()> {
    let l3 = usize::from(packet.l3_offset);
    match packet.family {
        Family::V4 => {
            let old = u16_at(bytes, l3 + ipv4::TOTAL_LEN)?;
            put(bytes, l3 + ipv4::TOTAL_LEN, total.to_be_bytes())?;
            let sum = u16_at(bytes, l3 + ipv4::CHECKSUM)?;
            let sum = Change::NONE.word(old, total).apply(sum);
            put(bytes, l3 + ipv4::CHECKSUM, sum.to_be_bytes())
        }
        Family::V6 => {
            let payload = total.checked_sub(ipv6::HEADER_LEN as u16)?;
            put(bytes, l3 + ipv6::PAYLOAD_LEN, payload.to_be_bytes())
        }
    }
}

/// Shifts a segment of the sender whose numbers are shifted.
pub fn shift_there(bytes: &mut [u8], packet: &Packet, shift: &Shift) -> Option<()> {
    let (at, _) = header(bytes, packet)?;
    rewrite(bytes, at, at + tcp::SEQUENCE, |number| shift.there(number))
}

/// Shifts what a segment of the receiver acknowledges, selectively too.
pub fn shift_back(bytes: &mut [u8], packet: &Packet, shift: &Shift) -> Option<()> {
    let (at, header_len) = header(bytes, packet)?;
    if !packet.tcp_flags.contains(crate::wire::TcpFlags::ACK) {
        return Some(());
    }
    rewrite(bytes, at, at + tcp::ACKNOWLEDGEMENT, |number| shift.back(number))?;
    let (mut option, end) = (at + tcp::HEADER_LEN, at + header_len);
    while option < end {
        let len = match *bytes.get(option)? {
            OPTION_END => return Some(()),
            OPTION_NOP => 1,
            kind => {
                let len = usize::from(*bytes.get(option + 1)?);
                if len < 2 || option + len > end {
                    return Some(());
                }
                if kind == OPTION_SACK {
                    for edge in (option + 2..option + len).step_by(4) {
                        if edge + 4 <= option + len {
                            rewrite(bytes, at, edge, |number| shift.back(number))?;
                        }
                    }
                }
                len
            }
        };
        option += len;
    }
    Some(())
}

/// Writes another number to where one stands, wherever in its words.
fn rewrite(bytes: &mut [u8], l4: usize, at: usize, to: impl Fn(u32) -> u32) -> Option<()> {
    let old = *bytes_at::<4>(bytes, at)?;
    let new = to(u32::from_be_bytes(old)).to_be_bytes();
    let checksum = u16_at(bytes, l4 + tcp::CHECKSUM)?;
    let words = |[a, b, c, d]: [u8; 4]| match (at - l4).is_multiple_of(2) {
        true => [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]), 0],
        false => [u16::from(a), u16::from_be_bytes([b, c]), u16::from(d) << 8],
    };
    let change = words(old)
        .into_iter()
        .zip(words(new))
        .fold(Change::NONE, |change, (old, new)| change.word(old, new));
    put(bytes, at, new)?;
    put(bytes, l4 + tcp::CHECKSUM, change.apply(checksum).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::memory::MemoryFrame;
    use crate::wire::{Addr, Parsed, parse};

    const LINE: &[u8] = b"227 (172,16,0,11,156,64)\r\n";

    /// A frame of this segment with these options, IPv4 or IPv6, perhaps padded.
    fn frame(v6: bool, options: &[u8], payload: &[u8], padded: usize) -> MemoryFrame {
        let mut segment = vec![0, 21, 3, 232, 0, 0, 20, 0, 0, 0, 16, 0, 0, 0x18, 1, 0, 0, 0, 0, 0];
        segment[12] = ((20 + options.len()) as u8 / 4) << 4;
        segment.extend([options, payload].concat());
        let (src, dst) = match v6 {
            false => (Addr::v4(0xAC10_000B), Addr::v4(0x0A01_0001)),
            true => (Addr::v6(7), Addr::v6(9)),
        };
        let sum = checksum::transport(src, dst, Protocol::Tcp, &segment);
        segment[16..18].copy_from_slice(&sum.to_be_bytes());
        let mut bytes = vec![2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 1, 17];
        let len = segment.len() as u16;
        if v6 {
            bytes.extend([0x86, 0xDD, 0x60, 0, 0, 0]);
            bytes.extend(len.to_be_bytes());
            bytes.extend([6, 64]);
            bytes.extend([src.number().to_be_bytes(), dst.number().to_be_bytes()].concat());
        } else {
            let mut header =
                [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 172, 16, 0, 11, 10, 1, 0, 1];
            header[2..4].copy_from_slice(&(20 + len).to_be_bytes());
            let sum = checksum::of(&header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
            bytes.extend([8, 0]);
            bytes.extend(header);
        }
        bytes.extend(segment);
        bytes.extend(vec![0; padded]);
        MemoryFrame::new(&bytes)
    }

    fn packet(frame: &impl Frame) -> Packet {
        match parse(frame.bytes()) {
            Parsed::Packet(packet) => packet,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_text_of_another_length_takes_a_place_and_all_lengths_and_checksums_follow() {
        for (v6, padded) in [(false, 0), (false, 6), (true, 0), (true, 3)] {
            for text in ["1,2,3,4,5,6", "198,151,100,200,156,64", "", "172,16,0,11,156,64"] {
                let mut frame = frame(v6, &[], LINE, padded);
                let before = packet(&frame);
                let grown = replace(&mut frame, &before, (5, 23), text.as_bytes()).unwrap();
                assert_eq!(grown as i32, text.len() as i32 - 18);
                let after = packet(&frame);
                assert_eq!(i32::from(after.total_len) - i32::from(before.total_len), grown as i32);
                assert!(checksum::transport_holds(frame.bytes(), &after));
                let l3 = usize::from(after.l3_offset);
                assert!(v6 || checksum::of(&frame.bytes()[l3..l3 + 20]) == 0);
                let line = &after.transport(frame.bytes())[20..];
                assert_eq!(line, format!("227 ({text})\r\n").as_bytes());
                assert!(frame.bytes().len() - after.end() <= padded + 18);
            }
        }
    }

    #[test]
    fn what_has_no_room_stays_as_it_is() {
        let mut frame = frame(false, &[], LINE, 0);
        let (packet, before) = (packet(&frame), frame.bytes().to_vec());
        assert_eq!(replace(&mut frame, &packet, (5, 99), b""), None);
        assert_eq!(replace(&mut frame, &packet, (5, 23), &[b'x'; 70_000]), None);
        assert_eq!(frame.bytes(), before);
    }

    #[test]
    fn numbers_are_shifted_behind_the_point_and_shifted_back_in_what_acknowledges_them() {
        for start in [5_000, u32::MAX - 60] {
            let number = |by: u32| start.wrapping_add(by);
            let mut shift = Shift::default();
            assert_eq!((shift.there(number(0)), shift.back(number(9))), (number(0), number(9)));
            // 50 bytes become 49, and 19 behind them become 22.
            shift.grow(number(0), u32::MAX);
            assert_eq!([0, 50].map(|by| shift.there(number(by))), [number(0), number(49)]);
            assert_eq!([0, 49].map(|by| shift.back(number(by))), [number(0), number(50)]);
            shift.grow(number(50), 3);
            assert_eq!([50, 69].map(|by| shift.there(number(by))), [number(49), number(71)]);
            assert_eq!([49, 71].map(|by| shift.back(number(by))), [number(50), number(69)]);
            // The same line again is no second line.
            let before = shift;
            shift.grow(number(50), 3);
            shift.grow(number(99), 0);
            assert_eq!(shift, before);
        }
    }

    #[test]
    fn a_segment_tells_the_shifted_numbers_and_its_checksum_holds() {
        let sack = |edges: [u32; 4], odd: bool| {
            let mut options = if odd { vec![1] } else { vec![1, 1] };
            options.extend([5, 18]);
            options.extend(edges.iter().flat_map(|edge| edge.to_be_bytes()));
            options.resize(20, 0);
            options
        };
        let mut shift = Shift::default();
        shift.grow(4096, 0xFFFF_FFF0);
        for (v6, odd) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut bytes = frame(v6, &sack([4096, 4097, 5000, 6000], odd), b"x", 0);
            let packet = packet(&bytes);
            shift_there(bytes.bytes_mut(), &packet, &shift).unwrap();
            assert_eq!(sequence(bytes.bytes(), &packet), Some(5120 - 16));
            shift_back(bytes.bytes_mut(), &packet, &shift).unwrap();
            let wanted = frame(v6, &sack([4096, 4113, 5016, 6016], odd), b"x", 0);
            let segment = packet.transport(bytes.bytes());
            assert_eq!(
                segment[8..12],
                4096_u32.to_be_bytes(),
                "up to the point nothing is shifted"
            );
            assert_eq!(segment[18..], packet.transport(wanted.bytes())[18..]);
            assert!(checksum::transport_holds(bytes.bytes(), &packet));
        }
    }
}
