//! What is said on FTP's control connections, word for word as the kernel's `ip_vs_ftp` takes it:
//! from the first byte of a segment on, and of a server only what its client has asked for.

use super::ftp::Named;
use crate::wire::{Addr, Family};

/// How a client has asked its server for a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `PASV`, answered with 227.
    Passive,
    /// `EPSV`, answered with 229.
    Extended,
}

/// What a line names, and which bytes of the segment's say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Address and port; without an address it is the speaker's own.
    pub named: Named,
    /// The first byte.
    pub from: usize,
    /// The one behind the last.
    pub to: usize,
}

/// `PASV` (IPv4 only) or `EPSV`, anywhere in what a client says.
pub fn asked(data: &[u8], family: Family) -> Option<Asked> {
    for at in 0..data.len().saturating_sub(5) {
        let rest = data.get(at..)?;
        let starts = |word: &[u8]| {
            rest.get(..word.len()).is_some_and(|head| head.eq_ignore_ascii_case(word))
        };
        if family == Family::V4 && starts(b"PASV\r\n") {
            return Some(Asked::Passive);
        }
        if starts(b"EPSV\r") {
            return Some(Asked::Extended);
        }
        if starts(b"EPSV ") {
            let own = if family == Family::V4 { b'1' } else { b'2' };
            return match rest {
                [_, _, _, _, _, number, b'\r', ..] if *number == own => Some(Asked::Extended),
                _ => None,
            };
        }
    }
    None
}

/// What a client names with `PORT` (IPv4 only) or `EPRT`.
pub fn named_by_client(data: &[u8], family: Family) -> Option<Named> {
    let port = match family {
        Family::V4 => place(data, b"PORT", b' ', None, family),
        Family::V6 => None,
    };
    port.or_else(|| place(data, b"EPRT", b' ', Some(Missing::Never), family))
        .map(|place| place.named)
}

/// What a server names with 227 or 229, whichever its client has asked for.
pub fn named_by_server(data: &[u8], asked: Asked, family: Family) -> Option<Place> {
    match asked {
        Asked::Passive => place(data, b"227 ", b'(', None, family),
        Asked::Extended => place(data, b"229 ", b'(', Some(Missing::Allowed), family),
    }
}

/// Whether family and address may be missing in RFC 2428's form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Missing {
    Never,
    Allowed,
}

/// What follows the word, behind what is skipped: six numbers, or RFC 2428's form.
fn place(
    data: &[u8],
    word: &[u8],
    skipped: u8,
    extended: Option<Missing>,
    family: Family,
) -> Option<Place> {
    data.get(..word.len()).filter(|head| head.eq_ignore_ascii_case(word))?;
    let mut from = word.len();
    let mut skips = false;
    // The bracket before six numbers may be missing.
    loop {
        let byte = *data.get(from)?;
        match (skips, byte == skipped) {
            (false, _) if extended.is_none() && byte.is_ascii_digit() => break,
            (_, true) => skips = true,
            (true, false) => break,
            (false, false) => {}
        }
        from += 1;
    }
    let (named, to) = match extended {
        None => six_numbers(data, from)?,
        Some(missing) => with_delimiters(data, from, missing, family)?,
    };
    Some(Place { named, from, to })
}

/// Numbers with commas between them. What is missing between two commas is 0, and what is behind
/// the last number must not be the end.
fn six_numbers(data: &[u8], from: usize) -> Option<(Named, usize)> {
    let mut numbers = [0_u8; 6];
    let (mut at, mut which) = (from, 0);
    loop {
        let byte = *data.get(at)?;
        if byte.is_ascii_digit() {
            let number = numbers.get_mut(which)?;
            *number = number.checked_mul(10)?.checked_add(byte - b'0')?;
        } else if byte == b',' && which < 5 {
            which += 1;
        } else {
            break;
        }
        at += 1;
    }
    let [a, b, c, d, high, low] = numbers;
    let address = Some(Addr::v4(u32::from_be_bytes([a, b, c, d])));
    (which == 5).then_some((Named { address, port: u16::from_be_bytes([high, low]) }, at))
}

/// `|1|198.18.0.5|50000|` with any delimiter, and anything behind.
fn with_delimiters(
    data: &[u8],
    from: usize,
    missing: Missing,
    family: Family,
) -> Option<(Named, usize)> {
    let delimiter = *data.get(from).filter(|byte| (33..=126).contains(*byte))?;
    let part = |at: usize| {
        let rest = data.get(at..)?;
        let len = rest.iter().position(|byte| *byte == delimiter)?;
        Some((rest.get(..len)?, at + len + 1))
    };
    let (number, at) = part(from + 1)?;
    let (address, at) = part(at)?;
    let (port, to) = part(at)?;
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let address = match (number, family) {
        (b"", _) if missing == Missing::Allowed && address.is_empty() => None,
        (b"1", Family::V4) => Some(Addr::from(std::net::IpAddr::V4(text(address)?.parse().ok()?))),
        (b"2", Family::V6) => Some(Addr::from(std::net::IpAddr::V6(text(address)?.parse().ok()?))),
        _ => return None,
    };
    let is_number = port.iter().all(u8::is_ascii_digit);
    let port = text(port).filter(|_| is_number)?.parse().ok().filter(|port| *port != 0)?;
    Some((Named { address, port }, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(address: &str, port: u16) -> Option<Named> {
        let address =
            (!address.is_empty()).then(|| Addr::from(address.parse::<std::net::IpAddr>().unwrap()));
        Some(Named { address, port })
    }

    #[test]
    fn a_client_asks_anywhere_in_what_it_says() {
        use Asked::{Extended, Passive};
        for (said, v4, v6) in [
            ("PASV\r\n", Some(Passive), None),
            ("NOOP\r\npasv\r\n", Some(Passive), None),
            ("PASV\n", None, None),
            ("EPSV\r\n", Some(Extended), Some(Extended)),
            ("EPSV 1\r\n", Some(Extended), None),
            ("epsv 2\r\n", None, Some(Extended)),
            ("EPSV ALL\r\n", None, None),
            ("EPSV 2\r\nPASV\r\n", None, Some(Extended)),
            ("NOOP\r\n", None, None),
            ("", None, None),
        ] {
            assert_eq!(asked(said.as_bytes(), Family::V4), v4, "{said:?}");
            assert_eq!(asked(said.as_bytes(), Family::V6), v6, "{said:?}");
        }
    }

    #[test]
    fn a_client_names_what_the_kernel_reads_in_its_first_line() {
        for (said, wanted) in [
            ("PORT 10,1,0,1,11,184\r\n", named("10.1.0.1", 3000)),
            ("port  10,1,0,1,11,185\r\n", named("10.1.0.1", 3001)),
            ("PORT10,1,0,1,11,186\r\n", named("10.1.0.1", 3002)),
            ("PORT (10,1,0,1,11,187)\r\n", None),
            ("NOOP\r\nPORT 10,1,0,1,11,188\r\n", None),
            ("PORT 10,1,0,1,11\r\n", None),
            ("PORT 10,1,0,1,11,190,1\r\n", named("10.1.0.1", 3006)),
            ("PORT 266,1,0,1,11,191\r\n", None),
            ("PORT 10,1,0,1,11,192", None),
            ("PORT 10,1,0,1,0,0\r\n", named("10.1.0.1", 0)),
            ("PORT 10,1,0,1,11,a\r\n", named("10.1.0.1", 2816)),
            ("EPRT |1|10.1.0.1|3100|\r\n", named("10.1.0.1", 3100)),
            ("EPRT |1|10.1.0.1|3101\r\n", None),
            ("EPRT |||3102|\r\n", None),
            ("EPRT |2|::1|3103|\r\n", None),
            ("EPRT !1!10.1.0.9!3104!\r\n", named("10.1.0.9", 3104)),
            ("EPRT |1|10.1.0.1|0|\r\n", None),
            ("EPRT |1|10.1.0.1|70000|\r\n", None),
            ("EPRT |1|10.1.0.1|+1|\r\n", None),
        ] {
            assert_eq!(named_by_client(said.as_bytes(), Family::V4), wanted, "{said:?}");
        }
        for (said, wanted) in [
            ("EPRT |2|2001:db8:1::5|3010|\r\n", named("2001:db8:1::5", 3010)),
            ("EPRT |1|10.1.0.5|3011|\r\n", None),
            ("PORT 10,1,0,1,11,184\r\n", None),
        ] {
            assert_eq!(named_by_client(said.as_bytes(), Family::V6), wanted, "{said:?}");
        }
    }

    #[test]
    fn a_server_names_what_it_was_asked_for_and_the_place_of_it_is_known() {
        let said = |line: &str, asked, family| {
            let place = named_by_server(line.as_bytes(), asked, family)?;
            Some((place.named, line[place.from..place.to].to_owned()))
        };
        let numbers = "172,16,0,11,156,64";
        let own = (named("172.16.0.11", 40_000).unwrap(), numbers.to_owned());
        for line in ["227 Entering Passive Mode (N).\r\n", "227 =N\r\n", "227 ((N\r\n"] {
            let line = line.replace('N', numbers);
            assert_eq!(said(&line, Asked::Passive, Family::V4), Some(own.clone()), "{line:?}");
            assert_eq!(said(&line, Asked::Extended, Family::V4), None, "{line:?}");
        }
        for line in [
            "200 ok\r\n227 (172,16,0,11,156,67).\r\n",
            "227 (172,16,0,11,156\r\n",
            "227 (172,16,0,11,412,325).\r\n",
            "227 words\r\n",
            "227 (172,16,0,11,156,64",
        ] {
            assert_eq!(said(line, Asked::Passive, Family::V4), None, "{line:?}");
        }
        for (line, wanted, place) in [
            ("229 Mode (|||40003|)\r\n", named("", 40_003), "|||40003|"),
            ("229 x (!!!40008!)\r\n", named("", 40_008), "!!!40008!"),
            ("229 x ((|||40011|\r\n", named("", 40_011), "|||40011|"),
            ("229 (|1|9.9.9.9|7|)\r\n", named("9.9.9.9", 7), "|1|9.9.9.9|7|"),
        ] {
            let found = said(line, Asked::Extended, Family::V4);
            assert_eq!(found, wanted.map(|named| (named, place.to_owned())), "{line:?}");
        }
        for line in ["229 x (|||0|)\r\n", "229 x (|2|::1|40010|)\r\n", "229 x |||40009|\r\n"] {
            assert_eq!(said(line, Asked::Extended, Family::V4), None, "{line:?}");
        }
        let wide = said("229 (|2|fd00:16::d|42001|)\r\n", Asked::Extended, Family::V6);
        assert_eq!(wide.map(|(named, _)| named), named("fd00:16::d", 42_001));
    }
}
