//! Fragments, compared by what arrives in the end.
//!
//! The kernel keeps the fragments of a datagram until all are there, decides, and sends them on
//! in their old sizes. Director decides by the first fragment and lets the others follow, so
//! that frames leave in other steps, and a datagram that never becomes whole leaves in parts.
//! Equal is what a receiver can put together.

use std::collections::BTreeMap;

use serde_json::Value;

/// What came out in the steps of a scenario that have to do with fragments.
#[derive(Clone, Debug, Default)]
pub(super) struct Fragments {
    expected: Vec<Value>,
    got: Vec<Value>,
}

impl Fragments {
    /// Notes what came out in the step of one fragment.
    pub(super) fn note(&mut self, expected: &[Value], got: &[Value]) {
        self.expected.extend_from_slice(expected);
        self.got.extend_from_slice(got);
    }

    /// The whole datagrams and other packets that came out, as (expected, got), if they are
    /// not the same.
    pub(super) fn difference(&self) -> Option<(String, String)> {
        let (expected, got) = (whole(&self.expected), whole(&self.got));
        if expected == got {
            return None;
        }
        let only = |these: &[String], those: &[String]| {
            let only: Vec<&str> =
                these.iter().filter(|one| !those.contains(one)).map(String::as_str).collect();
            if only.is_empty() { "nothing else".to_owned() } else { only.join(" ") }
        };
        Some((only(&expected, &got), only(&got, &expected)))
    }
}

/// Every datagram of which all pieces are there, and every packet that is no fragment.
fn whole(frames: &[Value]) -> Vec<String> {
    let mut datagrams: BTreeMap<String, Vec<(u64, u64, bool, String)>> = BTreeMap::new();
    let mut packets = Vec::new();
    for frame in frames {
        let text = |key: &str| frame.get(key).map(Value::to_string).unwrap_or_default();
        let Some(fragment) = frame.get("frag") else {
            packets.push(frame.to_string());
            continue;
        };
        let number = |key: &str| fragment.get(key).and_then(Value::as_u64).unwrap_or(0);
        let header = if text("src").contains(':') { IPV6_HEADERS } else { IPV4_HEADER };
        let len = frame.get("len").and_then(Value::as_u64).unwrap_or(0).saturating_sub(header);
        let more = fragment.get("mf").and_then(Value::as_bool).unwrap_or(false);
        let key = ["to", "src", "dst", "proto", "ttl"].map(text).join(" ");
        let key = format!("{key} #{}", number("id"));
        let ports = format!("{} {}", text("sport"), text("dport"));
        datagrams.entry(key).or_default().push((number("off"), len, more, ports));
    }
    for (key, mut pieces) in datagrams {
        pieces.sort();
        pieces.dedup();
        let mut next = Some(0);
        for (offset, len, more, _) in &pieces {
            next = match next {
                Some(end) if end == *offset && *more => Some(offset + len),
                Some(end) if end == *offset => Some(DONE),
                _ => None,
            };
        }
        if next == Some(DONE) {
            // The identification is the kernel's own where it made the fragments anew.
            let key = key.split(" #").next().unwrap_or_default();
            packets.push(format!("{key} {pieces:?}"));
        }
    }
    packets.sort();
    packets
}

/// Behind the last piece.
const DONE: u64 = u64::MAX;
const IPV4_HEADER: u64 = 20;
/// The fixed header and the fragment header.
const IPV6_HEADERS: u64 = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn piece(to: &str, id: u32, off: u32, mf: bool) -> Value {
        json!({ "to": to, "src": "10.1.0.1", "dst": "192.0.2.10", "proto": "udp", "ttl": 63,
                "len": 532, "frag": { "off": off, "mf": mf, "id": id } })
    }

    #[test]
    fn pieces_may_leave_at_other_times_and_incomplete_datagrams_do_not_count() {
        let mut fragments = Fragments::default();
        let whole = [piece("rs1", 1, 0, true), piece("rs1", 1, 512, false)];
        fragments.note(&[], &whole[..1]);
        fragments.note(&whole, &whole[1..]);
        fragments.note(&[], &[piece("rs2", 7, 0, true)]);
        assert_eq!(fragments.difference(), None);
    }

    #[test]
    fn a_piece_that_goes_elsewhere_is_a_difference() {
        let mut fragments = Fragments::default();
        fragments.note(
            &[piece("rs1", 1, 0, true), piece("rs1", 1, 512, false)],
            &[piece("rs1", 1, 0, true), piece("rs2", 1, 512, false)],
        );
        assert!(fragments.difference().is_some());
    }
}
