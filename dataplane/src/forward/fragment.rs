//! Splitting a packet that is longer than the next link takes: an IPv4 packet (RFC 791, 3.2), or
//! an IPv6 packet of the director's own, a tunnel's (RFC 8200, 4.5).

use crate::port::Frame;
use crate::wire::field::{put, u16_at};
use crate::wire::{Family, Fragment, Packet, Parsed, checksum, ipv4, ipv6, parse};

/// In the flags and offset word: others follow.
const MORE: u16 = 0x2000;
/// In an option's type: it belongs into every fragment.
const COPIED: u8 = 0x80;
const END_OF_OPTIONS: u8 = 0;
const NO_OPERATION: u8 = 1;

/// A packet that is being cut. All pieces but the last are copies; the last one takes
/// over the frame, so that a packet never needs memory for all of itself.
pub struct Cut<F> {
    frame: F,
    l3: usize,
    /// Where the payload begins.
    payload: usize,
    /// Where the packet ends.
    end: usize,
    /// Bytes of payload in every piece but the last: a multiple of eight.
    step: usize,
    /// Bytes of payload in each piece, where they are not all the same.
    sizes: Vec<usize>,
    /// Pieces that are made already.
    made: usize,
    /// Bytes that are in pieces already.
    done: usize,
    how: How,
}

/// What tells the pieces of one packet.
#[derive(Clone, Copy)]
enum How {
    V4 {
        /// The word with flags and offset of the whole.
        word: u16,
    },
    V6 {
        id: u32,
        /// What follows the header.
        next: u8,
        /// Where its number is to stand, from the packet's beginning.
        said: usize,
    },
}

/// Where an IPv6 fragment header belongs, in bytes from the packet's beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HeaderPlace {
    /// Where its number stands.
    pub said: usize,
    /// Where it begins.
    pub at: usize,
}

impl Default for HeaderPlace {
    fn default() -> Self {
        Self { said: ipv6::NEXT_HEADER, at: ipv6::HEADER_LEN }
    }
}

/// How a datagram that had been put together is cut again.
pub(crate) struct Anew {
    /// For the pieces of an IPv6 packet.
    pub id: u32,
    /// Bytes of payload in each piece; empty where all are as long as possible.
    pub sizes: Vec<usize>,
    /// Whether the pieces of an IPv4 packet must not be cut again.
    pub forbids: bool,
    /// For the pieces of an IPv6 packet.
    pub place: HeaderPlace,
}

impl How {
    /// Bytes of a header that every piece has and the whole has not.
    const fn extra(self) -> usize {
        match self {
            Self::V4 { .. } => 0,
            Self::V6 { .. } => ipv6::FRAGMENT_HEADER_LEN,
        }
    }
}

impl<F: Frame> Cut<F> {
    /// Prepares to cut a frame's packet into pieces of at most `mtu` bytes; `id` is for the pieces
    /// of an IPv6 packet.
    ///
    /// # Errors
    /// The frame itself, unchanged, where it needs no cutting or must not be cut: it
    /// fits, its sender forbids it, or it is of IPv6 and has extension headers, which no tunnel's
    /// packet has.
    pub fn of(frame: F, mtu: u16, id: u32) -> Result<Self, F> {
        let packet = match parse(frame.bytes()) {
            Parsed::Packet(packet) if packet.total_len > mtu => packet,
            _ => return Err(frame),
        };
        let l3 = usize::from(packet.l3_offset);
        let header = usize::from(packet.l4_offset).saturating_sub(l3);
        let how = match packet.family {
            Family::V4 if packet.dont_fragment => None,
            Family::V4 => u16_at(frame.bytes(), l3 + ipv4::FLAGS).map(|word| How::V4 { word }),
            Family::V6 if packet.fragment != Fragment::Whole || header != ipv6::HEADER_LEN => None,
            Family::V6 => {
                let next = frame.bytes().get(l3 + ipv6::NEXT_HEADER).copied();
                next.map(|next| How::V6 { id, next, said: ipv6::NEXT_HEADER })
            }
        };
        let Some(how) = how else { return Err(frame) };
        Self::new(frame, [l3, l3 + header, packet.end()], mtu, Vec::new(), how)
    }

    /// Prepares to cut a datagram that had been put together, even if it fits.
    ///
    /// # Errors
    /// The frame itself, unchanged, where its headers cannot be read or leave no room.
    pub(crate) fn anew(frame: F, packet: &Packet, mtu: u16, anew: Anew) -> Result<Self, F> {
        let Anew { id, sizes, forbids, place } = anew;
        let (l3, l4) = (usize::from(packet.l3_offset), usize::from(packet.l4_offset));
        let (payload, how) = match packet.family {
            Family::V4 => {
                let bit = if forbids { ipv4::DONT_FRAGMENT } else { 0 };
                let word = u16_at(frame.bytes(), l3 + ipv4::FLAGS);
                (l4, word.map(|word| How::V4 { word: word | bit }))
            }
            Family::V6 => {
                let next = frame.bytes().get(l3 + place.said).copied();
                (l3 + place.at, next.map(|next| How::V6 { id, next, said: place.said }))
            }
        };
        let Some(how) = how else { return Err(frame) };
        Self::new(frame, [l3, payload, packet.end()], mtu, sizes, how)
    }

    fn new(
        frame: F,
        [l3, payload, end]: [usize; 3],
        mtu: u16,
        sizes: Vec<usize>,
        how: How,
    ) -> Result<Self, F> {
        let step = usize::from(mtu).saturating_sub(payload - l3 + how.extra()) / 8 * 8;
        if step == 0 || end < payload {
            return Err(frame);
        }
        Ok(Self { frame, l3, payload, end, step, sizes, made: 0, done: 0, how })
    }

    /// Bytes of payload in the next piece, if it is not the last one.
    fn step(&self) -> usize {
        self.sizes.get(self.made).copied().unwrap_or(self.step)
    }

    fn left(&self) -> usize {
        self.end - self.payload - self.done
    }

    /// Whether there is a piece before the last one.
    pub fn has_more(&self) -> bool {
        self.left() > self.step()
    }

    /// Whether every piece is made.
    pub fn is_done(&self) -> bool {
        self.left() == 0
    }

    /// Bytes of the next piece's frame.
    pub fn next_len(&self) -> usize {
        self.payload + self.how.extra() + self.step().min(self.left())
    }

    /// Makes a frame of [`Self::next_len`] bytes the next piece.
    pub fn fill(&mut self, piece: &mut impl Frame) {
        let from = self.payload + self.done;
        let more = self.has_more();
        let step = self.step().min(self.left());
        let bytes = self.frame.bytes();
        if let (Some(head), Some(data)) = (bytes.get(..self.payload), bytes.get(from..from + step))
            && let Some((to_head, rest)) = piece.bytes_mut().split_at_mut_checked(self.payload)
            && let Some(to_data) = rest.get_mut(self.how.extra()..)
            && to_data.len() == data.len()
        {
            to_head.copy_from_slice(head);
            to_data.copy_from_slice(data);
        }
        let (l3, payload, done) = (self.l3, self.payload, self.done);
        let place = Place { l3, payload, done, len: step, more };
        let _ = write_piece(piece.bytes_mut(), self.how, &place);
        self.done += step;
        self.made += 1;
    }

    /// The last piece.
    pub fn into_last(self) -> F {
        let (from, len) = (self.payload + self.done, self.left());
        let Self { mut frame, l3, payload, end, done, how, .. } = self;
        // There is a piece before this one, which is longer than a fragment header.
        frame.bytes_mut().copy_within(from..end, payload + how.extra());
        // Only ever shorter than it was, which always works.
        frame.set_len(payload + how.extra() + len);
        let place = Place { l3, payload, done, len, more: false };
        let _ = write_piece(frame.bytes_mut(), how, &place);
        frame
    }
}

/// Where a piece belongs.
struct Place {
    l3: usize,
    payload: usize,
    done: usize,
    len: usize,
    more: bool,
}

/// Writes what tells a piece from the others of its packet.
fn write_piece(piece: &mut [u8], how: How, place: &Place) -> Option<()> {
    match how {
        How::V4 { word } => {
            // A fragment that is cut again keeps its own "others follow".
            let more = if place.more { MORE } else { word & MORE };
            write_place(piece, place, word, more)
        }
        How::V6 { id, next, said } => write_fragment_header(piece, id, (said, next), place),
    }
}

/// Writes an IPv6 piece's length and fragment header.
fn write_fragment_header(
    piece: &mut [u8],
    id: u32,
    (said, next): (usize, u8),
    place: &Place,
) -> Option<()> {
    let Place { l3, payload, done, len, more } = *place;
    let headers = payload.checked_sub(l3 + ipv6::HEADER_LEN)? + ipv6::FRAGMENT_HEADER_LEN;
    let payload_len = u16::try_from(headers + len).ok()?;
    put(piece, l3 + ipv6::PAYLOAD_LEN, payload_len.to_be_bytes())?;
    put(piece, l3 + said, [ipv6::FRAGMENT])?;
    let ([high, low], [a, b, c, d]) =
        ((u16::try_from(done).ok()? | u16::from(more)).to_be_bytes(), id.to_be_bytes());
    put(piece, payload, [next, 0, high, low, a, b, c, d])
}

/// Writes a piece's length, place, options and header checksum.
fn write_place(piece: &mut [u8], place: &Place, word: u16, more: u16) -> Option<()> {
    let Place { l3, payload, done, len, .. } = *place;
    let total = u16::try_from(payload - l3 + len).ok()?;
    put(piece, l3 + ipv4::TOTAL_LEN, total.to_be_bytes())?;
    let offset = (done / 8) as u16;
    put(piece, l3 + ipv4::FLAGS, ((word & !MORE | more).wrapping_add(offset)).to_be_bytes())?;
    if done > 0 {
        drop_first_only(piece.get_mut(l3 + ipv4::HEADER_LEN..payload)?);
    }
    put(piece, l3 + ipv4::CHECKSUM, [0; 2])?;
    let sum = checksum::of(piece.get(l3..payload)?);
    put(piece, l3 + ipv4::CHECKSUM, sum.to_be_bytes())
}

/// Turns options that only a first fragment has into "no operation" (RFC 791, 3.1).
fn drop_first_only(mut options: &mut [u8]) {
    while let [kind, rest @ ..] = options {
        let len = match (*kind, &*rest) {
            (END_OF_OPTIONS, _) => return,
            (NO_OPERATION, _) => 1,
            (_, [len, ..]) if *len >= 2 => usize::from(*len),
            _ => return,
        };
        let copied = *kind & COPIED != 0;
        let Some((option, after)) = options.split_at_mut_checked(len) else { return };
        if !copied {
            option.fill(NO_OPERATION);
        }
        options = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::port::memory::MemoryFrame;
    use crate::wire::Fragment;

    /// An IPv4 packet of protocol 253 with these options and payload, unfragmented or not.
    fn frame(word: u16, options: &[u8], payload: &[u8]) -> MemoryFrame {
        let header = 20 + options.len();
        let mut bytes = vec![0; 12];
        bytes.extend([8, 0, 0x40 | (header / 4) as u8, 0]);
        bytes.extend(((header + payload.len()) as u16).to_be_bytes());
        bytes.extend([0x12, 0x34]);
        bytes.extend(word.to_be_bytes());
        bytes.extend([64, 253, 0, 0, 198, 18, 0, 5, 198, 18, 0, 6]);
        bytes.extend(options);
        bytes.extend(payload);
        bytes.extend([0xEE; 4]);
        MemoryFrame::new(&bytes)
    }

    fn pieces(frame: MemoryFrame, mtu: u16) -> Vec<MemoryFrame> {
        let mut cut = Cut::of(frame, mtu, 0x0102_0304).map_err(|_| "not to be cut").unwrap();
        let mut pieces = Vec::new();
        while cut.has_more() {
            let mut piece = MemoryFrame::new(&[]);
            assert!(piece.set_len(cut.next_len()));
            cut.fill(&mut piece);
            pieces.push(piece);
        }
        pieces.push(cut.into_last());
        pieces
    }

    #[test]
    fn pieces_join_to_the_packet_whatever_the_mtu() {
        let payload: Vec<u8> = (0..2000).map(|n| (n % 251) as u8).collect();
        for mtu in [28, 68, 576, 1000, 1499, 2019] {
            let mut joined = vec![0; payload.len()];
            let all = pieces(frame(0, &[], &payload), mtu);
            for (place, piece) in all.iter().enumerate() {
                let Parsed::Packet(packet) = parse(piece.bytes()) else { panic!("not read") };
                assert!(packet.total_len <= mtu);
                assert!(ipv4::checksum_holds(piece.bytes(), &packet));
                let (offset, more) = match packet.fragment {
                    Fragment::First { id: 0x1234 } => (0, true),
                    Fragment::Later { offset, more, id: 0x1234 } => (usize::from(offset), more),
                    other => panic!("{other:?}"),
                };
                assert_eq!(more, place + 1 < all.len());
                let data = packet.transport(piece.bytes());
                joined[offset..offset + data.len()].copy_from_slice(data);
            }
            assert_eq!(joined, payload, "mtu {mtu}");
        }
    }

    #[test]
    fn a_fragment_is_cut_again_in_its_place() {
        for more in [0, MORE] {
            let all = pieces(frame(100 | more, &[], &[7; 96]), 60);
            let places: Vec<_> =
                all.iter().map(|piece| u16_at(piece.bytes(), 14 + ipv4::FLAGS).unwrap()).collect();
            assert_eq!(places, [100 | MORE, 105 | MORE, 110 | more]);
        }
    }

    #[test]
    fn options_that_are_not_copied_stay_in_the_first_piece() {
        // Record route (not copied) and a copied option.
        let options = [7, 4, 4, 0, 0x88, 4, 1, 2];
        let all = pieces(frame(0, &options, &[7; 64]), 60);
        let of = |piece: &MemoryFrame| piece.bytes()[34..42].to_vec();
        assert_eq!(of(&all[0]), options);
        assert_eq!(of(&all[1]), [1, 1, 1, 1, 0x88, 4, 1, 2]);
    }

    #[test]
    fn what_fits_or_must_not_be_cut_stays_as_it_is() {
        let fits = frame(0, &[], &[7; 40]);
        assert_eq!(Cut::of(fits.clone(), 60, 0).err(), Some(fits));
        let forbidden = frame(0x4000, &[], &[7; 400]);
        assert_eq!(Cut::of(forbidden.clone(), 60, 0).err(), Some(forbidden));
        let hopeless = frame(0, &[], &[7; 400]);
        assert_eq!(Cut::of(hopeless.clone(), 27, 0).err(), Some(hopeless));
    }
}
