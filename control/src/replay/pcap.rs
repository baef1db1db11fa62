//! Capture files; here in libpcap's classic format: a header of 24 bytes, then a header of 16
//! bytes before every frame, in the byte order and the time unit that the magic number tells.

use std::fmt;
use std::path::Path;

use super::pcapng;

/// Microseconds, written by this machine's byte order or the other one; then nanoseconds.
const MICROSECONDS: u32 = 0xA1B2_C3D4;
const NANOSECONDS: u32 = 0xA1B2_3C4D;
pub(super) const ETHERNET: u32 = 1;
const FILE_HEADER: usize = 24;
const FRAME_HEADER: usize = 16;
/// The longest frame that is believed.
pub(super) const LONGEST: u32 = 256 * 1024;

/// What is wrong with a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaptureError {
    /// Neither a classic capture nor pcapng.
    Magic,
    /// Frames of another link than Ethernet.
    Link(u32),
    /// A frame has a length that no frame can have.
    Broken {
        /// Frames before it.
        frames: usize,
    },
    /// A frame of an interface that no block before it has described.
    NoInterface {
        /// Frames before it.
        frames: usize,
    },
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Magic => f.write_str(
                "it is no capture in libpcap's classic format or in pcapng; convert it with 'editcap -F pcap IN OUT'",
            ),
            Self::Link(kind) => {
                write!(f, "its frames are of link type {kind}, not Ethernet (1); capture on an Ethernet interface")
            }
            Self::Broken { frames } => write!(
                f,
                "frame {} has a length that no frame can have; the file is broken there",
                frames + 1
            ),
            Self::NoInterface { frames } => write!(
                f,
                "frame {} is of an interface that no interface block before it describes; the \
                 file is broken there",
                frames + 1
            ),
        }
    }
}

impl std::error::Error for CaptureError {}

/// What a capture holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capture {
    /// All whole frames.
    pub frames: Vec<Captured>,
    /// Whether the file ends within a frame after them, as that of a program that was killed.
    pub is_cut: bool,
    /// How many of the frames were longer on the wire than what was captured of them.
    pub shortened: usize,
}

impl Capture {
    /// What is missing, in sentences; nothing where all is there.
    pub fn missing(&self) -> Vec<String> {
        let mut said = Vec::new();
        if self.is_cut {
            said.push(format!("it ends within frame {}, which is left out", self.frames.len() + 1));
        }
        if self.shortened > 0 {
            said.push(format!(
                "{} of {} frames were captured in part (a snap length): they count as truncated \
                 where their headers are missing, and as shorter than they were; capture with \
                 'tcpdump -s 0'",
                self.shortened,
                self.frames.len()
            ));
        }
        said
    }
}

/// One captured frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// Nanoseconds since the epoch of the capture's clock.
    pub at_ns: u64,
    /// The frame, without FCS.
    pub frame: Vec<u8>,
}

/// Reads all whole frames of a capture.
///
/// # Errors
/// What it is instead of a capture of Ethernet, or where it is broken.
pub fn read(bytes: &[u8]) -> Result<Capture, CaptureError> {
    let magic: [u8; 4] = *bytes.first_chunk().ok_or(CaptureError::Magic)?;
    if u32::from_le_bytes(magic) == pcapng::SECTION {
        return pcapng::read(bytes);
    }
    let (little, ns_per_unit) = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
        (MICROSECONDS, _) => (true, 1_000),
        (NANOSECONDS, _) => (true, 1),
        (_, MICROSECONDS) => (false, 1_000),
        (_, NANOSECONDS) => (false, 1),
        _ => return Err(CaptureError::Magic),
    };
    let word = |at: usize| -> Option<u32> {
        let word = *bytes.get(at..)?.first_chunk()?;
        Some(if little { u32::from_le_bytes(word) } else { u32::from_be_bytes(word) })
    };
    match word(20).ok_or(CaptureError::Magic)? & 0x0FFF_FFFF {
        ETHERNET => {}
        other => return Err(CaptureError::Link(other)),
    }
    let mut capture = Capture::default();
    let mut at = FILE_HEADER;
    while at < bytes.len() {
        let header = [at, at + 4, at + 8, at + 12].map(word);
        let [Some(seconds), Some(units), Some(length), Some(on_wire)] = header else {
            capture.is_cut = true;
            break;
        };
        if length > LONGEST {
            return Err(CaptureError::Broken { frames: capture.frames.len() });
        }
        at += FRAME_HEADER;
        let Some(frame) = bytes.get(at..at + length as usize) else {
            capture.is_cut = true;
            break;
        };
        at += length as usize;
        capture.shortened += usize::from(length < on_wire);
        let at_ns = u64::from(seconds) * 1_000_000_000 + u64::from(units) * ns_per_unit;
        capture.frames.push(Captured { at_ns, frame: frame.to_vec() });
    }
    Ok(capture)
}

/// Writes a capture of what was sent: pcapng where the file's name ends so, else classic.
pub fn write_as(path: &Path, frames: &[Captured]) -> Vec<u8> {
    let ending = path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("pcapng"));
    if ending { pcapng::write(frames) } else { write(frames) }
}

/// Writes a classic capture with nanoseconds.
pub fn write(frames: &[Captured]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(NANOSECONDS.to_le_bytes());
    bytes.extend([2, 0, 4, 0]);
    bytes.extend([0; 8]);
    bytes.extend(LONGEST.to_le_bytes());
    bytes.extend(ETHERNET.to_le_bytes());
    for captured in frames {
        let length = (captured.frame.len() as u32).to_le_bytes();
        bytes.extend(((captured.at_ns / 1_000_000_000) as u32).to_le_bytes());
        bytes.extend(((captured.at_ns % 1_000_000_000) as u32).to_le_bytes());
        bytes.extend(length);
        bytes.extend(length);
        bytes.extend(&captured.frame);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames() -> Vec<Captured> {
        (1..4u8)
            .map(|n| Captured {
                at_ns: 1_000_000_007 * u64::from(n),
                frame: vec![n; usize::from(n) * 20],
            })
            .collect()
    }

    #[test]
    fn what_was_written_is_read_again() {
        let whole = Capture { frames: frames(), ..Capture::default() };
        assert_eq!(read(&write(&frames())).unwrap(), whole);
        assert_eq!(read(&write(&[])).unwrap(), Capture::default());
    }

    #[test]
    fn the_other_byte_order_and_microseconds_are_read() {
        let mut bytes = Vec::new();
        for word in [MICROSECONDS, 0x0002_0004, 0, 0, 65_535, ETHERNET, 7, 5, 3, 900] {
            bytes.extend(word.to_be_bytes());
        }
        bytes.extend([1, 2, 3]);
        let expected = Captured { at_ns: 7_000_005_000, frame: vec![1, 2, 3] };
        let capture = read(&bytes).unwrap();
        assert_eq!((capture.frames.as_slice(), capture.shortened), (&[expected][..], 1));
        assert!(capture.missing()[0].contains("1 of 1 frames"));
    }

    #[test]
    fn a_capture_that_ends_within_a_frame_has_those_before_it() {
        let whole = write(&frames());
        for end in FILE_HEADER..whole.len() {
            let capture = read(&whole[..end]).unwrap();
            assert_eq!(capture.frames, frames()[..capture.frames.len()]);
            let rest = end - FILE_HEADER;
            let ends = [0, 36, 36 + 56];
            assert_eq!(capture.is_cut, !ends.contains(&rest), "{end}");
            assert_eq!(capture.missing().len(), usize::from(capture.is_cut));
        }
        assert_eq!(read(&whole[..40 + 36]).unwrap().frames.len(), 1);
    }

    #[test]
    fn what_is_no_capture_is_refused() {
        let whole = write(&frames());
        for end in 0..FILE_HEADER {
            assert_eq!(read(&whole[..end]), Err(CaptureError::Magic));
        }
        assert_eq!(read(b"hello, world, hello, world"), Err(CaptureError::Magic));
        let mut lying = whole.clone();
        lying[32..36].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(read(&lying), Err(CaptureError::Broken { frames: 0 }));
        let mut radio = whole;
        radio[20] = 127;
        assert_eq!(read(&radio), Err(CaptureError::Link(127)));
    }
}
