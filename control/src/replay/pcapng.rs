//! Capture files in the pcapng format (draft-ietf-opsawg-pcapng), as Wireshark, tcpdump and
//! `director capture` write them: blocks, each with its length in front and behind.

use super::pcap::{Capture, CaptureError, Captured, ETHERNET, LONGEST};
use crate::trace::pcapng;

/// The first block of every section, which reads the same in both byte orders.
pub(super) const SECTION: u32 = 0x0A0D_0D0A;
const BYTE_ORDER: u32 = 0x1A2B_3C4D;
const INTERFACE: u32 = 1;
const SIMPLE_PACKET: u32 = 3;
const PACKET: u32 = 6;
const TIME_RESOLUTION: u16 = 9;

/// A file while it is read.
struct Reader<'a> {
    bytes: &'a [u8],
    little: bool,
    /// Ticks per second of each interface of the section.
    interfaces: Vec<u64>,
}

/// Reads all whole frames of a capture.
pub(super) fn read(bytes: &[u8]) -> Result<Capture, CaptureError> {
    let mut reader = Reader { bytes, little: true, interfaces: Vec::new() };
    let mut capture = Capture::default();
    let mut at = 0;
    while at < bytes.len() {
        let broken = CaptureError::Broken { frames: capture.frames.len() };
        let kind = reader.word(at);
        if kind == Some(SECTION) && reader.word(at + 8).is_some() {
            reader.begin_section(at)?;
        }
        let (Some(kind), Some(length)) = (kind, reader.word(at + 4)) else {
            capture.is_cut = true;
            break;
        };
        // Type and twice the length.
        let end = at.checked_add(length as usize).filter(|_| length >= 12).ok_or(broken)?;
        if end > bytes.len() {
            capture.is_cut = true;
            break;
        }
        let read = match kind {
            INTERFACE => reader.add_interface(at, end).map(|()| None)?,
            PACKET => Some(reader.packet(at, end, capture.frames.len())?),
            SIMPLE_PACKET => {
                let at_ns = capture.frames.last().map_or(0, |frame| frame.at_ns);
                if reader.interfaces.is_empty() {
                    return Err(CaptureError::NoInterface { frames: capture.frames.len() });
                }
                let (frame, on_wire) = reader.simple(at, end).ok_or(broken)?;
                Some((Captured { at_ns, frame }, on_wire))
            }
            _ => None,
        };
        if let Some((captured, on_wire)) = read {
            capture.shortened += usize::from(captured.frame.len() < on_wire as usize);
            capture.frames.push(captured);
        }
        at = end.next_multiple_of(4);
    }
    Ok(capture)
}

impl Reader<'_> {
    fn word(&self, at: usize) -> Option<u32> {
        let word = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) })
    }

    fn half(&self, at: usize) -> Option<u16> {
        let half = *self.bytes.get(at..)?.first_chunk()?;
        Some(if self.little { u16::from_le_bytes(half) } else { u16::from_be_bytes(half) })
    }

    fn begin_section(&mut self, at: usize) -> Result<(), CaptureError> {
        self.interfaces.clear();
        self.little = true;
        match self.word(at + 8) {
            Some(BYTE_ORDER) => Ok(()),
            Some(other) if other == BYTE_ORDER.swap_bytes() => {
                self.little = false;
                Ok(())
            }
            _ => Err(CaptureError::Magic),
        }
    }

    fn add_interface(&mut self, at: usize, end: usize) -> Result<(), CaptureError> {
        let link = u32::from(self.half(at + 8).unwrap_or(0));
        if link != ETHERNET {
            return Err(CaptureError::Link(link));
        }
        let mut per_second = 1_000_000;
        let mut option = at + 16;
        while let (Some(code), Some(length)) = (self.half(option), self.half(option + 2))
            && code != 0
            && option + 4 <= end.saturating_sub(4)
        {
            if code == TIME_RESOLUTION
                && let Some(&resolution) = self.bytes.get(option + 4)
            {
                let exponent = u32::from(resolution & 0x7F);
                let base = if resolution & 0x80 == 0 { 10u64 } else { 2 };
                per_second = base.checked_pow(exponent).unwrap_or(u64::MAX);
            }
            option += 4 + usize::from(length).next_multiple_of(4);
        }
        self.interfaces.push(per_second);
        Ok(())
    }

    /// A frame and its length on the wire; so many frames were before it.
    fn packet(
        &self,
        at: usize,
        end: usize,
        frames: usize,
    ) -> Result<(Captured, u32), CaptureError> {
        let broken = CaptureError::Broken { frames };
        let interface = self.word(at + 8).ok_or(broken)? as usize;
        let per_second = self.interfaces.get(interface);
        let per_second = *per_second.ok_or(CaptureError::NoInterface { frames })?;
        self.stamped(at, end, per_second).ok_or(broken)
    }

    fn stamped(&self, at: usize, end: usize, per_second: u64) -> Option<(Captured, u32)> {
        let ticks = u64::from(self.word(at + 12)?) << 32 | u64::from(self.word(at + 16)?);
        let at_ns = u128::from(ticks) * 1_000_000_000 / u128::from(per_second);
        let length = self.word(at + 20)?;
        let frame = self.data(at + 28, length, end)?;
        let at_ns = u64::try_from(at_ns).unwrap_or(u64::MAX);
        Some((Captured { at_ns, frame }, self.word(at + 24)?))
    }

    fn simple(&self, at: usize, end: usize) -> Option<(Vec<u8>, u32)> {
        // It has no captured length of its own: all that the block has, if that is less.
        let most = u32::try_from(end.checked_sub(at + 16)?).ok()?;
        let on_wire = self.word(at + 8)?;
        Some((self.data(at + 12, on_wire.min(most), end)?, on_wire))
    }

    fn data(&self, at: usize, length: u32, end: usize) -> Option<Vec<u8>> {
        let stop = at.checked_add(length as usize).filter(|stop| *stop + 4 <= end);
        let bytes = self.bytes.get(at..stop.filter(|_| length <= LONGEST)?)?;
        Some(bytes.to_vec())
    }
}

/// Writes a capture of frames that were sent, with nanoseconds.
pub(super) fn write(frames: &[Captured]) -> Vec<u8> {
    let mut bytes = Vec::new();
    // Nothing fails that is written to memory.
    let _ = pcapng::begin(&mut bytes, &["director".to_owned()], LONGEST);
    for Captured { at_ns, frame } in frames {
        let packet = pcapng::Packet {
            interface: 0,
            at_ns: *at_ns,
            bytes: frame,
            length: frame.len() as u32,
            comment: "",
            sent: true,
        };
        let _ = pcapng::packet(&mut bytes, &packet);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture() -> Vec<u8> {
        let mut file = Vec::new();
        pcapng::begin(&mut file, &["lan0".to_owned()], 65_535).unwrap();
        for (at_ns, bytes) in [(1_700_000_000_000_000_001, &b"first"[..]), (7, b"second frame")] {
            let packet = pcapng::Packet {
                interface: 0,
                at_ns,
                bytes,
                length: 1500,
                comment: "forwarded  service web",
                sent: false,
            };
            pcapng::packet(&mut file, &packet).unwrap();
        }
        file
    }

    #[test]
    fn what_capture_writes_is_read_back() {
        let read = read(&capture()).unwrap();
        let frames = read.frames;
        assert_eq!((read.is_cut, read.shortened), (false, 2), "of 1500 bytes each");
        let frame = |at_ns, bytes: &[u8]| Captured { at_ns, frame: bytes.to_vec() };
        let expected = [frame(1_700_000_000_000_000_001, b"first"), frame(7, b"second frame")];
        assert_eq!(frames, expected);
    }

    #[test]
    fn a_capture_of_the_other_byte_order_with_microseconds_is_read() {
        let mut file = Vec::new();
        let block = |file: &mut Vec<u8>, kind: u32, body: &[u8]| {
            let length = (body.len() as u32 + 12).to_be_bytes();
            file.extend([&kind.to_be_bytes()[..], &length, body, &length].concat());
        };
        let section = [&BYTE_ORDER.to_be_bytes()[..], &[0, 1, 0, 0], &[0xFF; 8]].concat();
        block(&mut file, SECTION, &section);
        block(&mut file, INTERFACE, &[0, 1, 0, 0, 0, 0, 0, 0]);
        let words = [0u32, 0, 2_500_000, 4, 4].map(u32::to_be_bytes).concat();
        block(&mut file, PACKET, &[&words[..], b"abcd"].concat());
        block(&mut file, SIMPLE_PACKET, &[&4u32.to_be_bytes()[..], b"efgh"].concat());
        let frames = read(&file).unwrap().frames;
        assert_eq!(frames[0], Captured { at_ns: 2_500_000_000, frame: b"abcd".to_vec() });
        assert_eq!(frames[1].frame, b"efgh");
    }

    #[test]
    fn every_beginning_of_a_capture_is_read_or_refused() {
        let whole = capture();
        let all = read(&whole).unwrap().frames;
        let is_whole = |end: &usize| !read(&whole[..*end]).unwrap().is_cut;
        let ends: Vec<usize> = (0..=whole.len()).filter(is_whole).collect();
        assert!(ends.contains(&whole.len()) && ends.len() == 5, "at blocks' ends alone: {ends:?}");
        for end in 0..whole.len() {
            let some = read(&whole[..end]).unwrap().frames;
            assert_eq!(some, all[..some.len()], "{end}");
        }
        // The section's header, and then at once a packet.
        let section = ends[1];
        let (first, packet) = (&whole[..section], &whole[ends[2]..]);
        let early = [first, packet].concat();
        assert_eq!(read(&early), Err(CaptureError::NoInterface { frames: 0 }));
        for at in 0..whole.len() {
            let mut broken = whole.clone();
            broken[at] ^= 0xFF;
            // Whatever comes of it, it ends.
            let _ = read(&broken);
        }
    }
}
