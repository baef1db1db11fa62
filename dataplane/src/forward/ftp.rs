//! FTP's control connection: what its lines say of data connections, and the one line whose
//! address is rewritten under masquerading.

use crate::wire::checksum::Change;
use crate::wire::field::{put, u16_at};
use crate::wire::{Addr, Family, Fragment, Packet, Protocol, tcp};

/// Where FTP servers listen.
pub const CONTROL_PORT: u16 = 21;
/// Bytes of a segment that are looked at: the lines in question are far shorter.
const LOOKED_AT: usize = 512;
/// The longest address and port as six numbers: `255,255,255,255,255,255`.
const LONGEST: usize = 23;
/// Behind the code and its blank.
const BEHIND_CODE: usize = 4;

/// An address and port that one end has named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The address; `None` where only a port is named (229).
    pub address: Option<Addr>,
    /// The port.
    pub port: u16,
}

/// What a client names: `PORT 198,18,0,5,195,80`, `EPRT |1|198.18.0.5|50000|`.
pub fn named_by_client(segment: &[u8]) -> Option<Named> {
    lines(data_of(segment)?).find_map(|(_, line)| {
        let (verb, rest) = line.split_at_checked(5)?;
        if verb.eq_ignore_ascii_case(b"PORT ") {
            six_numbers(rest).filter(|found| found.from == 0).map(|found| found.named)
        } else if verb.eq_ignore_ascii_case(b"EPRT ") {
            extended(rest)
        } else {
            None
        }
    })
}

/// What a server names: `227 Entering Passive Mode (172,16,0,11,156,64)`, `229 Entering
/// Extended Passive Mode (|||40000|)`.
pub fn named_by_server(segment: &[u8]) -> Option<Named> {
    lines(data_of(segment)?).find_map(|(_, line)| match line.split_at_checked(BEHIND_CODE)? {
        (b"227 ", rest) => six_numbers(rest).map(|found| found.named),
        (b"229 ", rest) => {
            let open = rest.iter().position(|byte| *byte == b'(')?;
            extended(rest.get(open + 1..)?)
        }
        _ => None,
    })
}

/// The whole lines of a segment, each with its place. The last one may lack its end.
fn lines(data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let looked_at = data.get(..LOOKED_AT).unwrap_or(data);
    let mut at = 0;
    looked_at.split_inclusive(|byte| *byte == b'\n').map(move |line| {
        let place = at;
        at += line.len();
        (place, line)
    })
}

/// What a TCP segment carries.
pub fn data_of(segment: &[u8]) -> Option<&[u8]> {
    segment.get(header_len(segment)?..).filter(|data| !data.is_empty())
}

fn header_len(segment: &[u8]) -> Option<usize> {
    Some(usize::from(segment.get(tcp::FLAGS - 1)? >> 4) * 4)
}

/// An address and port as six numbers, and where they stand.
struct Found {
    from: usize,
    to: usize,
    named: Named,
}

/// The first six numbers with commas between them.
fn six_numbers(text: &[u8]) -> Option<Found> {
    let from = text.iter().position(u8::is_ascii_digit)?;
    let mut numbers = [0_u8; 6];
    let mut at = from;
    for (count, number) in numbers.iter_mut().enumerate() {
        if count > 0 {
            (*text.get(at)? == b',').then_some(())?;
            at += 1;
        }
        let (value, len) = decimal(text.get(at..)?)?;
        *number = u8::try_from(value).ok()?;
        at += len;
    }
    let [a, b, c, d, high, low] = numbers;
    let address = Some(Addr::v4(u32::from_be_bytes([a, b, c, d])));
    Some(Found { from, to: at, named: Named { address, port: u16::from_be_bytes([high, low]) } })
}

/// The number at the beginning of a text, and how many digits it has.
fn decimal(text: &[u8]) -> Option<(u32, usize)> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let digits = std::str::from_utf8(text.get(..len).filter(|digits| digits.len() <= 5)?).ok()?;
    Some((digits.parse().ok()?, len))
}

/// RFC 2428's form: delimiter, family, delimiter, address, delimiter, port, delimiter; family
/// and address may be missing.
fn extended(text: &[u8]) -> Option<Named> {
    let delimiter = text.first().copied().filter(|byte| (33..=126).contains(byte))?;
    let mut parts = text.split(|byte| *byte == delimiter).skip(1);
    let (family, address, port) = (parts.next()?, parts.next()?, parts.next()?);
    // What is behind the last delimiter is not looked at, but the delimiter must be there.
    parts.next()?;
    let address = match (family, address) {
        (b"", b"") => None,
        (b"1", address) => Some(Addr::from(parsed::<std::net::Ipv4Addr>(address)?.into_ip())),
        (b"2", address) => Some(Addr::from(parsed::<std::net::Ipv6Addr>(address)?.into_ip())),
        _ => return None,
    };
    Some(Named { address, port: parsed(port)? })
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Option<T> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Both kinds of address as one.
trait IntoIp {
    fn into_ip(self) -> std::net::IpAddr;
}

impl IntoIp for std::net::Ipv4Addr {
    fn into_ip(self) -> std::net::IpAddr {
        self.into()
    }
}

impl IntoIp for std::net::Ipv6Addr {
    fn into_ip(self) -> std::net::IpAddr {
        self.into()
    }
}

/// Writes the VIP where a server's 227 has its own address. The line keeps its length, so that
/// no later segment needs other sequence numbers: the words before the numbers, which mean
/// nothing (RFC 959, 5.4; RFC 1123, 4.1.2.6), give way or get blanks. Answers whether there was
/// anything to write; a line without words enough stays as it is.
pub fn translate(frame: &mut [u8], packet: &Packet, vip: Addr) -> bool {
    let plain = packet.protocol == Protocol::Tcp
        && packet.family == Family::V4
        && packet.fragment == Fragment::Whole;
    if !plain {
        return false;
    }
    let l4 = usize::from(packet.l4_offset);
    let Some((at, line)) = translation(frame, packet, vip) else { return false };
    let Some(old) = frame.get(at..at + line.len()) else { return false };
    let mut change = Change::NONE;
    for (place, (old, new)) in (at..).zip(old.iter().zip(&line)) {
        // Each byte by itself, as the upper or the lower half of its word.
        let half = |byte: &u8| match (place - l4).is_multiple_of(2) {
            true => u16::from(*byte) << 8,
            false => u16::from(*byte),
        };
        if old != new {
            change = change.word(half(old), half(new));
        }
    }
    let Some(checksum) = u16_at(frame, l4 + tcp::CHECKSUM) else { return false };
    let Some(place) = frame.get_mut(at..at + line.len()) else { return false };
    place.copy_from_slice(&line);
    put(frame, l4 + tcp::CHECKSUM, change.apply(checksum).to_be_bytes()).is_some()
}

/// The line up to its numbers' end as it is to be, and where in the frame it begins.
fn translation(
    frame: &[u8],
    packet: &Packet,
    vip: Addr,
) -> Option<(usize, arrayvec::ArrayVec<u8, LOOKED_AT>)> {
    let segment = packet.transport(frame);
    let data = data_of(segment)?;
    let begin = usize::from(packet.l4_offset) + header_len(segment)?;
    lines(data).find_map(|(place, line)| {
        let rest = line.strip_prefix(b"227 ")?;
        let found = six_numbers(rest)?;
        if found.named.address != Some(packet.src) || !vip.is_v4() {
            return None;
        }
        let [a, b, c, d] = vip.v4_number().to_be_bytes();
        let [high, low] = found.named.port.to_be_bytes();
        let numbers = format_six([a, b, c, d, high, low])?;
        let (words, bracket) = match rest.get(..found.from)? {
            [words @ .., b'('] => (words, &b"("[..]),
            words => (words, &b""[..]),
        };
        let room = found.to.checked_sub(numbers.len() + bracket.len())?;
        let mut new = arrayvec::ArrayVec::new();
        new.try_extend_from_slice(b"227 ").ok()?;
        let kept = words.get(..room.min(words.len()))?;
        new.try_extend_from_slice(kept).ok()?;
        (kept.len()..room).try_for_each(|_| new.try_push(b' ')).ok()?;
        new.try_extend_from_slice(bracket).ok()?;
        new.try_extend_from_slice(&numbers).ok()?;
        Some((begin + place, new))
    })
}

fn format_six(numbers: [u8; 6]) -> Option<arrayvec::ArrayVec<u8, LONGEST>> {
    use std::io::Write;
    let mut text = arrayvec::ArrayVec::new();
    let [a, b, c, d, high, low] = numbers;
    write!(text, "{a},{b},{c},{d},{high},{low}").ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(text: &str) -> Vec<u8> {
        let mut bytes = vec![0; tcp::HEADER_LEN];
        bytes[tcp::FLAGS - 1] = 0x50;
        bytes.extend(text.as_bytes());
        bytes
    }

    fn named(address: &str, port: u16) -> Option<Named> {
        let address =
            (!address.is_empty()).then(|| Addr::from(address.parse::<std::net::IpAddr>().unwrap()));
        Some(Named { address, port })
    }

    #[test]
    fn clients_name_addresses_in_two_forms() {
        for (line, wanted) in [
            ("PORT 198,18,0,5,195,80\r\n", named("198.18.0.5", 50_000)),
            ("port 198,18,0,5,0,1\n", named("198.18.0.5", 1)),
            ("NOOP\r\nPORT 1,2,3,4,5,6\r\n", named("1.2.3.4", 1286)),
            ("EPRT |1|198.18.0.5|50000|\r\n", named("198.18.0.5", 50_000)),
            ("EPRT !2!2001:db8::5!50000!\r\n", named("2001:db8::5", 50_000)),
            ("PORT 198,18,0,5,195\r\n", None),
            ("PORT 198,18,0,256,195,80\r\n", None),
            ("PORT (198,18,0,5,195,80)\r\n", None),
            ("EPRT |1|198.18.0.5|50000\r\n", None),
            ("EPRT |1|198.18.0.5|70000|\r\n", None),
            ("EPRT |3|198.18.0.5|50000|\r\n", None),
            ("USER PORT 1,2,3,4,5,6\r\n", None),
            ("PORT", None),
            ("", None),
        ] {
            assert_eq!(named_by_client(&segment(line)), wanted, "{line:?}");
        }
    }

    #[test]
    fn servers_name_ports_in_two_forms_among_any_words() {
        for (line, wanted) in [
            ("227 Entering Passive Mode (172,16,0,11,156,64).\r\n", named("172.16.0.11", 40_000)),
            ("227 =172,16,0,11,156,64\r\n", named("172.16.0.11", 40_000)),
            ("200 OK\r\n227 x (172,16,0,11,156,64)\r\n", named("172.16.0.11", 40_000)),
            ("229 Entering Extended Passive Mode (|||40000|)\r\n", named("", 40_000)),
            ("229 no numbers here\r\n", None),
            ("227 Entering Passive Mode (172,16,0,11,156,)\r\n", None),
            ("227-172,16,0,11,156,64\r\n", None),
            ("2270 172,16,0,11,156,64\r\n", None),
            ("226 172,16,0,11,156,64\r\n", None),
        ] {
            assert_eq!(named_by_server(&segment(line)), wanted, "{line:?}");
        }
        let mut far = "230 x\r\n".repeat(100);
        far.push_str("227 (1,2,3,4,5,6)\r\n");
        assert_eq!(named_by_server(&segment(&far)), None, "only the beginning is looked at");
    }

    /// A frame from the real server 172.16.0.11 to a client.
    fn frame(text: &str) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 1, 0, 2, 0, 0, 0, 1, 17, 8, 0];
        let mut header = [0x45, 0, 0, 0, 0, 1, 0x40, 0, 64, 6, 0, 0, 172, 16, 0, 11, 10, 1, 0, 1];
        let total = 20 + tcp::HEADER_LEN + text.len();
        header[2..4].copy_from_slice(&(total as u16).to_be_bytes());
        let sum = crate::wire::checksum::of(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        frame.extend(header);
        let mut bytes = segment(text);
        bytes[..4].copy_from_slice(&[0, 21, 3, 232]);
        bytes[tcp::FLAGS] = 0x18;
        let (src, dst) = (Addr::v4(0xAC10_000B), Addr::v4(0x0A01_0001));
        let sum = crate::wire::checksum::transport(src, dst, Protocol::Tcp, &bytes);
        bytes[tcp::CHECKSUM..tcp::CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
        frame.extend(bytes);
        frame
    }

    fn translated(text: &str, vip: [u8; 4]) -> (bool, String) {
        let mut bytes = frame(text);
        let parsed = |bytes: &[u8]| match crate::wire::parse(bytes) {
            crate::wire::Parsed::Packet(packet) => packet,
            other => panic!("{other:?}"),
        };
        let packet = parsed(&bytes);
        let len = bytes.len();
        let done = translate(&mut bytes, &packet, Addr::v4(u32::from_be_bytes(vip)));
        assert_eq!(bytes.len(), len);
        assert!(crate::wire::checksum::transport_holds(&bytes, &parsed(&bytes)), "{text:?}");
        (done, String::from_utf8(bytes[14 + 40..].to_vec()).unwrap())
    }

    #[test]
    fn the_vip_takes_the_place_of_a_passive_servers_address_in_a_line_of_the_same_length() {
        let line = "227 Entering Passive Mode (172,16,0,11,156,64).\r\n";
        for (vip, wanted) in [
            ([192, 0, 2, 10], "227 Entering Passive Mode  (192,0,2,10,156,64).\r\n"),
            ([192, 0, 2, 100], "227 Entering Passive Mode (192,0,2,100,156,64).\r\n"),
            ([198, 151, 100, 200], "227 Entering Passive M(198,151,100,200,156,64).\r\n"),
            ([1, 2, 3, 4], "227 Entering Passive Mode     (1,2,3,4,156,64).\r\n"),
        ] {
            assert_eq!(translated(line, vip), (true, wanted.into()));
        }
        // At an odd place, behind another line, without brackets.
        let odd = "230 ok.\r\n227 abcdefghi 172,16,0,11,1,2\r\n226 x\r\n";
        let wanted = "230 ok.\r\n227 abcdefgh198,151,100,1,1,2\r\n226 x\r\n";
        assert_eq!(translated(odd, [198, 151, 100, 1]), (true, wanted.into()));
    }

    #[test]
    fn a_line_that_names_another_host_or_has_no_room_stays_as_it_is() {
        for line in [
            "227 Entering Passive Mode (172,16,0,12,156,64).\r\n",
            "227 (172,16,0,11,156,64)\r\n",
            "226 Entering Passive Mode (172,16,0,11,156,64).\r\n",
            "",
        ] {
            assert_eq!(translated(line, [198, 151, 100, 200]), (false, line.into()));
        }
    }
}
