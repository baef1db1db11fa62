//! The SIP persistence engine: calls are bound by their Call-ID (RFC 3261, 20.8), besides the
//! client's address.

use crate::call::LONGEST_CALL_ID;
use crate::table::ClientKey;
use crate::wire::Addr;

/// The header's name, and its short form.
const NAME: &[u8] = b"call-id";
const SHORT: u8 = b'i';

/// The Call-ID of a SIP message, from the bytes behind its UDP header. `None` where there
/// is none, or one that IPVS does not take: empty, too long, or not ended by a line's end.
pub(super) fn call_id(message: &[u8]) -> Option<&[u8]> {
    let mut lines = message.split_inclusive(|byte| matches!(byte, b'\r' | b'\n'));
    // The first line says what the message is, and is no header.
    lines.next();
    let value = lines.find_map(header_value)?;
    let len = value.iter().take_while(|byte| is_word(**byte) || **byte == b'@').count();
    let (call_id, after) = value.split_at_checked(len)?;
    let ended = matches!(after, [b'\r' | b'\n', ..]);
    (ended && len > 0 && len <= LONGEST_CALL_ID).then_some(call_id)
}

/// What stands behind the colon, if the line is the Call-ID's.
fn header_value(line: &[u8]) -> Option<&[u8]> {
    let rest = match line.split_at_checked(NAME.len()) {
        Some((name, rest)) if name.eq_ignore_ascii_case(NAME) => rest,
        _ => match line {
            [name, rest @ ..] if name.eq_ignore_ascii_case(&SHORT) => rest,
            _ => return None,
        },
    };
    let [b':', value @ ..] = rest.trim_ascii_start() else { return None };
    let blanks = value.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    value.get(blanks..)
}

/// The characters of RFC 3261's `word`.
fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-.!%*_+`'~()<>:\\\"/[]?{}".contains(&byte)
}

/// What a call's template is found by: a keyed 122-bit hash of client and Call-ID, which two
/// calls share as good as never.
pub(super) fn key(client: Addr, call_id: &[u8], [first, second]: [u64; 2]) -> ClientKey {
    let half = |start: u64, step: u64| {
        let [high, low] = client.words();
        let seeded = mix(mix(start ^ high, step) ^ low ^ call_id.len() as u64, step);
        let (words, rest) = call_id.as_chunks::<8>();
        let hash =
            words.iter().fold(seeded, |hash, word| mix(hash ^ u64::from_le_bytes(*word), step));
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        mix(hash ^ u64::from_le_bytes(last), step)
    };
    let (high, low) = (half(first, second), half(second, first));
    ClientKey::V6(u128::from(high) << 64 | u128::from(low))
}

fn mix(value: u64, step: u64) -> u64 {
    let product = u128::from(value ^ 0x9E37_79B9_7F4A_7C15) * u128::from(step | 1);
    (product >> 64) as u64 ^ product as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_found_by_either_name_in_any_case_and_on_its_own_line() {
        for (message, wanted) in [
            ("OPTIONS sip:a SIP/2.0\r\nCall-ID: abc@x\r\n\r\n", Some("abc@x")),
            ("OPTIONS sip:a SIP/2.0\nVia: y\ncall-id:abc\n", Some("abc")),
            ("SIP/2.0 200 OK\r\nI \t: \tabc.1-2\r\n", Some("abc.1-2")),
            ("Call-ID: first@line\r\n", None),
            ("OPTIONS\r\nX-Call-ID: abc\r\n", None),
            ("OPTIONS\r\nIa: abc\r\n", None),
            ("OPTIONS\r\nCall-ID abc\r\n", None),
            ("OPTIONS\r\nCall-ID: abc", None),
            ("OPTIONS\r\nCall-ID: abc def\r\n", None),
            ("OPTIONS\r\nCall-ID: \r\n", None),
            ("", None),
        ] {
            assert_eq!(call_id(message.as_bytes()), wanted.map(str::as_bytes), "{message:?}");
        }
    }

    #[test]
    fn a_call_id_may_have_255_bytes() {
        let message = |len: usize| format!("A\r\nCall-ID: {}\r\n", "a".repeat(len));
        assert_eq!(call_id(message(255).as_bytes()).map(<[u8]>::len), Some(255));
        assert_eq!(call_id(message(256).as_bytes()), None);
    }

    #[test]
    fn another_call_or_another_client_is_another_key() {
        let of = |client, call: &str| key(Addr::v4(client), call.as_bytes(), [3, 4]);
        let calls = ["", "a", "b", "ab", "abcdefgh", "abcdefghi", "abcdefg\0", "abcdefgh\0"];
        let keys: std::collections::HashSet<u128> = [1, 2]
            .into_iter()
            .flat_map(|client| calls.map(|call| of(client, call)))
            .map(|key| match key {
                ClientKey::V6(number) => number,
                ClientKey::V4(number) => u128::from(number),
            })
            .collect();
        assert_eq!(keys.len(), 2 * calls.len());
    }
}
