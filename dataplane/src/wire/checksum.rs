//! Checksums: the Internet checksum (RFC 1071), its incremental update (RFC 1624), the
//! pseudo-headers of TCP, UDP and ICMPv6, and CRC32c for SCTP (RFC 9260, appendix A).

use super::addr::{Addr, Family};
use super::packet::{Packet, Protocol};

/// A one's-complement sum that is still being added to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sum(u64);

impl Sum {
    /// The sum of nothing.
    pub const ZERO: Self = Self(0);

    /// Adds bytes as big-endian 16-bit words; a last odd byte counts as a word's upper half,
    /// so only the last piece of a message may have an odd length.
    #[inline]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        // Words are added in the machine's own order and swapped once: RFC 1071, 2(B).
        let mut sum = 0_u64;
        let (words, rest) = bytes.as_chunks::<4>();
        for word in words {
            sum += u64::from(u32::from_ne_bytes(*word));
        }
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        sum += u64::from(u32::from_ne_bytes(last));
        self.word(u16::from_be(fold(sum)))
    }

    /// Adds one 16-bit word.
    #[inline]
    pub const fn word(self, word: u16) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds a 32-bit word.
    #[inline]
    pub const fn word32(self, word: u32) -> Self {
        Self(self.0 + word as u64)
    }

    /// Adds an address: 4 bytes of IPv4, 16 of IPv6.
    #[inline]
    pub const fn addr(self, addr: Addr) -> Self {
        match addr.family() {
            Family::V4 => self.word32(addr.v4_number()),
            Family::V6 => {
                let [high, low] = addr.words();
                self.word32((high >> 32) as u32)
                    .word32(high as u32)
                    .word32((low >> 32) as u32)
                    .word32(low as u32)
            }
        }
    }

    /// The checksum field's value: the complement of the sum.
    #[inline]
    pub const fn checksum(self) -> u16 {
        !fold(self.0)
    }

    /// Whether a message whose checksum field was summed too is intact.
    #[inline]
    pub const fn holds(self) -> bool {
        fold(self.0) == 0xFFFF
    }
}

/// Adds the carries back until 16 bits are left. Zero only for zero.
#[inline]
const fn fold(sum: u64) -> u16 {
    // Three rounds leave at most 0x1_0000 of any sum; the fourth takes its carry.
    let sum = (sum >> 32) + (sum & 0xFFFF_FFFF);
    let sum = (sum >> 16) + (sum & 0xFFFF);
    let sum = (sum >> 16) + (sum & 0xFFFF);
    let sum = (sum >> 16) + (sum & 0xFFFF);
    sum as u16
}

/// The checksum of a message without a pseudo-header, as IPv4 headers and ICMP have it.
#[inline]
pub fn of(bytes: &[u8]) -> u16 {
    Sum::ZERO.bytes(bytes).checksum()
}

/// The pseudo-header of TCP, UDP and ICMPv6 (RFC 9293, 3.1; RFC 768; RFC 8200, 8.1): both
/// addresses, the protocol's number and the transport length in bytes.
#[inline]
pub const fn pseudo_header(src: Addr, dst: Addr, protocol: Protocol, len: usize) -> Sum {
    Sum::ZERO.addr(src).addr(dst).word(protocol.number() as u16).word32(len as u32)
}

/// The checksum field's value for a TCP segment, UDP datagram or ICMPv6 message whose checksum
/// field is zero now. For UDP, pass it through [`udp_zero_rule`].
pub fn transport(src: Addr, dst: Addr, protocol: Protocol, message: &[u8]) -> u16 {
    pseudo_header(src, dst, protocol, message.len()).bytes(message).checksum()
}

/// What UDP writes for a computed checksum: 0 would mean "none", so its other form is
/// written (RFC 768).
#[inline]
pub const fn udp_zero_rule(checksum: u16) -> u16 {
    if checksum == 0 { 0xFFFF } else { checksum }
}

/// Whether the transport checksum of a whole packet is right. A UDP checksum of zero is right
/// over IPv4 and wrong over IPv6 (RFC 8200, 8.1); protocols without a checksum are always right.
pub fn transport_holds(frame: &[u8], packet: &Packet) -> bool {
    let message = packet.transport(frame);
    let sum = match packet.protocol {
        Protocol::Udp => {
            if let [_, _, _, _, _, _, 0, 0, ..] = message {
                return packet.family == Family::V4;
            }
            // The length field decides where the datagram ends (RFC 768), not the packet.
            let [_, _, _, _, a, b, ..] = message else { return false };
            let Some(datagram) = message.get(..usize::from(u16::from_be_bytes([*a, *b]))) else {
                return false;
            };
            let len = datagram.len();
            pseudo_header(packet.src, packet.dst, packet.protocol, len).bytes(datagram)
        }
        Protocol::Tcp | Protocol::Icmpv6 => {
            let len = message.len();
            pseudo_header(packet.src, packet.dst, packet.protocol, len).bytes(message)
        }
        Protocol::Icmp => Sum::ZERO.bytes(message),
        Protocol::Sctp => {
            let Some((head, [a, b, c, d, rest @ ..])) = message.split_at_checked(8) else {
                return false;
            };
            let crc = Crc32c::START.bytes(head).bytes(&[0; 4]).bytes(rest);
            return crc.value() == u32::from_le_bytes([*a, *b, *c, *d]);
        }
        Protocol::Ah | Protocol::Esp | Protocol::Other(_) => return true,
    };
    sum.holds()
}

/// A change of some words that checksums cover, to be applied to each of those checksums
/// (RFC 1624, equation 3: `HC' = ~(~HC + ~m + m')`). The result is what summing again would give,
/// except where everything summed has become zero, which an IP header or pseudo-header prevents.
#[derive(Clone, Copy, Debug, Default)]
pub struct Change(Sum);

impl Change {
    /// Nothing has changed.
    pub const NONE: Self = Self(Sum::ZERO);

    /// A 16-bit word has changed.
    #[inline]
    pub const fn word(self, old: u16, new: u16) -> Self {
        Self(self.0.word(!old).word(new))
    }

    /// A 32-bit word has changed.
    #[inline]
    pub const fn word32(self, old: u32, new: u32) -> Self {
        Self(self.0.word32(!old).word32(new))
    }

    /// An address has changed to another one of the same family.
    #[inline]
    pub const fn addr(self, old: Addr, new: Addr) -> Self {
        match old.family() {
            Family::V4 => self.word32(old.v4_number(), new.v4_number()),
            Family::V6 => {
                let ([old_high, old_low], [new_high, new_low]) = (old.words(), new.words());
                self.word32((old_high >> 32) as u32, (new_high >> 32) as u32)
                    .word32(old_high as u32, new_high as u32)
                    .word32((old_low >> 32) as u32, (new_low >> 32) as u32)
                    .word32(old_low as u32, new_low as u32)
            }
        }
    }

    /// A checksum after this change.
    #[inline]
    pub const fn apply(self, checksum: u16) -> u16 {
        self.0.word(!checksum).checksum()
    }

    /// A UDP checksum after this change: none (0) stays none, and a computed 0 becomes
    /// 0xFFFF (RFC 768).
    #[inline]
    pub const fn apply_udp(self, checksum: u16) -> u16 {
        if checksum == 0 { 0 } else { udp_zero_rule(self.apply(checksum)) }
    }
}

/// A CRC32c (Castagnoli) that is still being added to.
#[derive(Clone, Copy, Debug)]
pub struct Crc32c(u32);

/// `TABLES[k][b]` is what byte `b` contributes when `k` more bytes follow in its group of eight.
static TABLES: [[u32; 256]; 8] = crc_tables();

#[expect(
    clippy::indexing_slicing,
    reason = "runs at compile time, where a wrong index is an error"
)]
const fn crc_tables() -> [[u32; 256]; 8] {
    /// The Castagnoli polynomial, bits reversed.
    const POLYNOMIAL: u32 = 0x82F6_3B78;
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut byte = 0;
    while byte < 256 {
        let mut after = 1;
        while after < 8 {
            let crc = tables[after - 1][byte];
            tables[after][byte] = crc >> 8 ^ tables[0][(crc & 0xFF) as usize];
            after += 1;
        }
        byte += 1;
    }
    tables
}

impl Crc32c {
    /// The CRC of nothing yet.
    pub const START: Self = Self(u32::MAX);

    /// Adds bytes.
    #[expect(clippy::indexing_slicing, reason = "a byte is always within a table of 256")]
    pub fn bytes(self, bytes: &[u8]) -> Self {
        let [t0, t1, t2, t3, t4, t5, t6, t7] = &TABLES;
        let (groups, rest) = bytes.as_chunks::<8>();
        let mut crc = self.0;
        for [a, b, c, d, e, f, g, h] in groups {
            let [p, q, r, s] = (crc ^ u32::from_le_bytes([*a, *b, *c, *d])).to_le_bytes();
            // A byte indexes a table of 256: never out of bounds.
            crc = t7[usize::from(p)]
                ^ t6[usize::from(q)]
                ^ t5[usize::from(r)]
                ^ t4[usize::from(s)]
                ^ t3[usize::from(*e)]
                ^ t2[usize::from(*f)]
                ^ t1[usize::from(*g)]
                ^ t0[usize::from(*h)];
        }
        for byte in rest {
            let [low, ..] = crc.to_le_bytes();
            crc = crc >> 8 ^ t0[usize::from(low ^ byte)];
        }
        Self(crc)
    }

    /// The CRC; SCTP carries it with its least significant byte first.
    pub const fn value(self) -> u32 {
        !self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::net::IpAddr;

    /// The definition, word by word.
    fn slow(bytes: &[u8]) -> u16 {
        let mut sum = 0_u32;
        for pair in bytes.chunks(2) {
            sum += u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0));
            if sum > 0xFFFF {
                sum -= 0xFFFF;
            }
        }
        !(sum as u16)
    }

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn the_example_of_rfc_1071_comes_out() {
        let bytes = [0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7];
        assert_eq!(of(&bytes), !0xDDF2);
    }

    #[test]
    fn the_example_of_rfc_1624_is_not_minus_zero() {
        // Section 4: HC = 0xDD2F, m = 0x5555, m' = 0x3285; equation 2 would give 0xFFFF.
        assert_eq!(Change::NONE.word(0x5555, 0x3285).apply(0xDD2F), 0x0000);
    }

    /// Every fold that an update of one word can meet: the sum of any three words. With
    /// the next test this covers every (checksum, old, new), as the update is their sum alone.
    #[test]
    fn folding_is_the_remainder_of_65535_with_zero_for_zero_only() {
        for sum in 0..=3 * 0xFFFF_u64 {
            let expected = if sum == 0 { 0 } else { (sum - 1) % 0xFFFF + 1 };
            assert_eq!(u64::from(fold(sum)), expected, "{sum:#x}");
        }
        assert_eq!(fold(u64::MAX), 0xFFFF);
    }

    #[test]
    fn a_sum_that_carries_in_every_round_is_folded_to_the_end() {
        assert_eq!(fold(0xFFFF_FFFF_0001_0000), 1);
    }

    #[test]
    fn what_does_not_change_leaves_every_checksum_as_it_is() {
        for checksum in 0..=u16::MAX {
            assert_eq!(Change::NONE.apply(checksum), checksum);
        }
    }

    #[test]
    fn updating_any_word_to_any_word_equals_summing_again() {
        // The other words of the message sum to `rest`. Summing again with the next
        // larger word is one more, with the carry around: no division, no fold.
        let rest = 0xBEEF_u32;
        let mut wrong = 0_u32;
        for old in 0..=u16::MAX {
            let checksum = Sum::ZERO.word32(rest).word(old).checksum();
            let mut summed = rest;
            for new in 0..=u16::MAX {
                let updated = Change::NONE.word(old, new).apply(checksum);
                wrong += u32::from(updated != !(summed as u16));
                summed = if summed == 0xFFFF { 1 } else { summed + 1 };
            }
        }
        assert_eq!(wrong, 0);
    }

    #[test]
    fn updating_from_a_set_of_words_equals_summing_again_for_every_rest() {
        let set = [0, 1, 0x00FF, 0x0100, 0x7FFF, 0x8000, 0xFEFF, 0xFF00, 0xFFFE, 0xFFFF];
        for rest in 1..=u16::MAX {
            for old in set {
                for new in set {
                    let before = Sum::ZERO.word(rest).word(old).checksum();
                    let after = Sum::ZERO.word(rest).word(new).checksum();
                    assert_eq!(Change::NONE.word(old, new).apply(before), after);
                }
            }
        }
    }

    #[test]
    fn udp_without_a_checksum_stays_without_and_zero_is_written_as_ones() {
        assert_eq!(Change::NONE.word(1, 2).apply_udp(0), 0);
        let zero_after = Change::NONE.word(0x5555, 0x3285);
        assert_eq!(zero_after.apply(0xDD2F), 0);
        assert_eq!(zero_after.apply_udp(0xDD2F), 0xFFFF);
        // 0xFFFF stands for zero: taking the change back gives the checksum that was there.
        assert_eq!(Change::NONE.word(0x3285, 0x5555).apply_udp(0xFFFF), 0xDD2F);
        assert_eq!(udp_zero_rule(0), 0xFFFF);
        assert_eq!(udp_zero_rule(7), 7);
    }

    #[test]
    fn the_pseudo_header_equals_its_bytes() {
        let (src, dst) = (addr("198.18.0.5"), addr("198.18.255.1"));
        let bytes = [198, 18, 0, 5, 198, 18, 255, 1, 0, 17, 0, 9];
        assert_eq!(pseudo_header(src, dst, Protocol::Udp, 9).checksum(), slow(&bytes));
        let (src, dst) = (addr("2001:db8::5"), addr("2001:db8:ffff::1"));
        let mut bytes = [0; 40];
        bytes[..4].copy_from_slice(&[0x20, 1, 0x0D, 0xB8]);
        bytes[15] = 5;
        bytes[16..22].copy_from_slice(&[0x20, 1, 0x0D, 0xB8, 0xFF, 0xFF]);
        bytes[31] = 1;
        bytes[32..36].copy_from_slice(&70_000_u32.to_be_bytes());
        bytes[39] = 6;
        assert_eq!(pseudo_header(src, dst, Protocol::Tcp, 70_000).checksum(), slow(&bytes));
    }

    #[test]
    fn crc32c_gives_the_published_values() {
        // RFC 3720, B.4, and the customary check string.
        assert_eq!(Crc32c::START.bytes(b"123456789").value(), 0xE306_9283);
        assert_eq!(Crc32c::START.bytes(&[0; 32]).value(), 0x8A91_36AA);
        assert_eq!(Crc32c::START.bytes(&[0xFF; 32]).value(), 0x62A8_AB43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(Crc32c::START.bytes(&rising).value(), 0x46DD_794E);
        for cut in 0..32 {
            let (head, tail) = rising.split_at(cut);
            assert_eq!(Crc32c::START.bytes(head).bytes(tail).value(), 0x46DD_794E);
        }
    }

    proptest! {
        #[test]
        fn the_fast_sum_equals_the_definition(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(of(&bytes), slow(&bytes));
        }

        #[test]
        fn a_message_with_its_checksum_holds(mut bytes in proptest::collection::vec(any::<u8>(), 12..80)) {
            bytes[4..6].fill(0);
            let sum = of(&bytes);
            bytes[4..6].copy_from_slice(&sum.to_be_bytes());
            // A message of zeros alone is the one that sums to zero either way.
            prop_assert!(Sum::ZERO.bytes(&bytes).holds());
        }

        #[test]
        fn updating_words_and_addresses_equals_summing_again(
            mut bytes in proptest::collection::vec(any::<u8>(), 40..60),
            new in any::<[u8; 16]>(), word in any::<u32>(),
        ) {
            bytes[0] |= 1; // not all zeros
            let before = of(&bytes);
            let old: [u8; 16] = bytes[16..32].try_into().unwrap();
            let old_word: [u8; 4] = bytes[32..36].try_into().unwrap();
            bytes[16..32].copy_from_slice(&new);
            bytes[32..36].copy_from_slice(&word.to_be_bytes());
            let change = Change::NONE
                .addr(Addr::v6(u128::from_be_bytes(old)), Addr::v6(u128::from_be_bytes(new)))
                .word32(u32::from_be_bytes(old_word), word);
            prop_assert_eq!(change.apply(before), of(&bytes));
        }
    }
}
