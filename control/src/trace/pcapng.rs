//! Captures in the pcapng format (draft-ietf-opsawg-pcapng), little-endian, with what became
//! of each packet in its comment.

use std::io::{self, Write};

const SECTION: u32 = 0x0A0D_0D0A;
const INTERFACE: u32 = 1;
const PACKET: u32 = 6;
const BYTE_ORDER: u32 = 0x1A2B_3C4D;
const ETHERNET: u16 = 1;

const END: u16 = 0;
const COMMENT: u16 = 1;
const USER_APPLICATION: u16 = 4;
const INTERFACE_NAME: u16 = 2;
const TIME_RESOLUTION: u16 = 9;
const PACKET_FLAGS: u16 = 2;
/// Of the packet's flags: it was received, or sent.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// Nanoseconds, as a negative power of ten.
const NANOSECONDS: u8 = 9;

/// Writes the beginning of a capture: who made it, and its interfaces in order.
///
/// # Errors
/// What the file says.
pub fn begin(out: &mut impl Write, interfaces: &[String], snaplen: u32) -> io::Result<()> {
    let mut body = Vec::new();
    body.extend(BYTE_ORDER.to_le_bytes());
    body.extend(1u16.to_le_bytes());
    body.extend(0u16.to_le_bytes());
    // A section of unknown length: it ends with the file.
    body.extend(u64::MAX.to_le_bytes());
    let name = concat!("director ", env!("CARGO_PKG_VERSION"));
    option(&mut body, USER_APPLICATION, name.as_bytes());
    option(&mut body, END, &[]);
    block(out, SECTION, &body)?;
    for interface in interfaces {
        let mut body = Vec::new();
        body.extend(ETHERNET.to_le_bytes());
        body.extend(0u16.to_le_bytes());
        body.extend(snaplen.to_le_bytes());
        option(&mut body, INTERFACE_NAME, interface.as_bytes());
        option(&mut body, TIME_RESOLUTION, &[NANOSECONDS]);
        option(&mut body, END, &[]);
        block(out, INTERFACE, &body)?;
    }
    Ok(())
}

/// A captured packet.
#[derive(Clone, Copy, Debug)]
pub struct Packet<'a> {
    /// The place of its interface in the list.
    pub interface: u32,
    /// When, in nanoseconds since the Unix epoch.
    pub at_ns: u64,
    /// Its beginning.
    pub bytes: &'a [u8],
    /// Its whole length.
    pub length: u32,
    /// What became of it; empty for nothing to tell.
    pub comment: &'a str,
    /// Whether it was sent, not received.
    pub sent: bool,
}

/// Writes a packet.
///
/// # Errors
/// What the file says.
pub fn packet(out: &mut impl Write, packet: &Packet<'_>) -> io::Result<()> {
    let mut body = Vec::new();
    body.extend(packet.interface.to_le_bytes());
    body.extend(((packet.at_ns >> 32) as u32).to_le_bytes());
    body.extend((packet.at_ns as u32).to_le_bytes());
    body.extend((packet.bytes.len() as u32).to_le_bytes());
    body.extend(packet.length.to_le_bytes());
    body.extend(packet.bytes);
    pad(&mut body);
    if !packet.comment.is_empty() {
        option(&mut body, COMMENT, packet.comment.as_bytes());
    }
    let direction = if packet.sent { OUTBOUND } else { INBOUND };
    option(&mut body, PACKET_FLAGS, &direction.to_le_bytes());
    option(&mut body, END, &[]);
    block(out, PACKET, &body)
}

fn pad(body: &mut Vec<u8>) {
    body.resize(body.len().next_multiple_of(4), 0);
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    // A comment is a sentence; what does not fit the field would not be read either.
    let value = value.get(..value.len().min(usize::from(u16::MAX) - 3)).unwrap_or_default();
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    body.extend(value);
    pad(body);
}

/// A block: its type, its length, what is in it, and its length once more.
fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let length = (body.len() as u32 + 12).to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&length)?;
    out.write_all(body)?;
    out.write_all(&length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_padded_to_words_and_say_their_length_twice() {
        let mut file = Vec::new();
        begin(&mut file, &["lan0".to_owned(), "wan".to_owned()], 96).unwrap();
        let packet_of = |bytes: &'static [u8]| Packet {
            interface: 1,
            at_ns: 0x0102_0304_0506_0708,
            bytes,
            length: 1500,
            comment: "dropped",
            sent: false,
        };
        for bytes in [&b""[..], b"1", b"12345"] {
            packet(&mut file, &packet_of(bytes)).unwrap();
        }
        let (mut at, mut kinds) = (0, Vec::new());
        while at < file.len() {
            let word = |at: usize| u32::from_le_bytes(*file[at..].first_chunk().unwrap());
            let length = word(at + 4) as usize;
            assert!(length.is_multiple_of(4) && at + length <= file.len());
            assert_eq!(word(at + length - 4) as usize, length);
            kinds.push(word(at));
            if word(at) == PACKET {
                assert_eq!((word(at + 8), word(at + 24)), (1, 1500));
                assert_eq!(
                    u64::from(word(at + 12)) << 32 | u64::from(word(at + 16)),
                    0x0102_0304_0506_0708
                );
            }
            at += length;
        }
        assert_eq!(kinds, [SECTION, INTERFACE, INTERFACE, PACKET, PACKET, PACKET]);
    }
}
