//! From a frame's bytes to what a recording says of it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dataplane::port::Frame;
use dataplane::port::memory::MemoryFrame;
use dataplane::wire::ethernet::{self, TYPE_IPV4, TYPE_IPV6};
use dataplane::wire::{Addr, Protocol, checksum};
use serde_json::{Map, Value, json};

/// TCP's flags in the recordings' order of letters.
const LETTERS: [(u8, char); 8] = [
    (0x02, 'S'),
    (0x01, 'F'),
    (0x04, 'R'),
    (0x08, 'P'),
    (0x10, 'A'),
    (0x20, 'U'),
    (0x40, 'E'),
    (0x80, 'C'),
];

/// How deep tunnels and quotations are followed.
const DEPTH: usize = 3;

/// A frame that came out, as the recordings describe one. `None` for what is not IP.
pub(super) fn describe(frame: &MemoryFrame, to: &str) -> Option<Value> {
    let bytes = frame.bytes();
    let ethertype = u16::from_be_bytes(*bytes.get(12..)?.first_chunk()?);
    if ethertype != TYPE_IPV4 && ethertype != TYPE_IPV6 {
        return None;
    }
    let mut seen = Map::new();
    seen.insert("to".into(), to.into());
    ip(bytes.get(ethernet::HEADER_LEN..)?, &mut seen, Place::Wire, DEPTH)?;
    Some(Value::Object(seen))
}

/// Where a packet stands: only those on the wire are whole, so that checksums can be checked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Wire,
    Quoted,
}

struct Ip<'a> {
    src: Addr,
    dst: Addr,
    protocol: u8,
    payload: &'a [u8],
    later_fragment: bool,
    fragment: bool,
}

fn ip(bytes: &[u8], seen: &mut Map<String, Value>, place: Place, depth: usize) -> Option<()> {
    let ip = match bytes.first()? >> 4 {
        4 => ipv4(bytes, seen)?,
        6 => ipv6(bytes, seen)?,
        _ => return None,
    };
    let name = match ip.protocol {
        1 => json!("icmp"),
        4 => json!("ipip"),
        6 => json!("tcp"),
        17 => json!("udp"),
        41 => json!("ipv6"),
        47 => json!("gre"),
        58 => json!("icmpv6"),
        132 => json!("sctp"),
        other => json!(other),
    };
    seen.insert("proto".into(), name);
    if ip.later_fragment || depth == 0 {
        return Some(());
    }
    match ip.protocol {
        4 | 41 => {
            let mut inner = Map::new();
            if self::ip(ip.payload, &mut inner, place, depth - 1).is_some() {
                seen.insert("inner".into(), Value::Object(inner));
            }
        }
        6 | 17 | 132 => {
            ports(&ip, seen);
            if place == Place::Wire && depth == DEPTH && ip.protocol == 6 && !ip.fragment {
                said(ip.payload, seen);
            }
        }
        1 | 58 => icmp(&ip, seen, depth),
        _ => {}
    }
    if place == Place::Wire && !ip.fragment && !checksum_holds(&ip) {
        seen.insert("bad_l4_csum".into(), true.into());
    }
    Some(())
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn ipv4<'a>(bytes: &'a [u8], seen: &mut Map<String, Value>) -> Option<Ip<'a>> {
    let header = usize::from(bytes.first()? & 15) * 4;
    let total = word(bytes, 2)?;
    let flags = word(bytes, 6)?;
    let (src, dst) = (long(bytes, 12)?, long(bytes, 16)?);
    seen.insert("src".into(), Ipv4Addr::from(src).to_string().into());
    seen.insert("dst".into(), Ipv4Addr::from(dst).to_string().into());
    seen.insert("ttl".into(), (*bytes.get(8)?).into());
    seen.insert("len".into(), total.into());
    let tos = *bytes.get(1)?;
    if tos != 0 {
        seen.insert("tos".into(), tos.into());
    }
    if flags & 0x4000 != 0 {
        seen.insert("df".into(), true.into());
    }
    let (offset, more) = ((flags & 0x1FFF) * 8, flags & 0x2000 != 0);
    let fragment = more || offset != 0;
    if fragment {
        let id = word(bytes, 4)?;
        seen.insert("frag".into(), json!({ "off": offset, "mf": more, "id": id }));
    }
    let end = usize::from(total).min(bytes.len());
    Some(Ip {
        src: Addr::v4(src),
        dst: Addr::v4(dst),
        protocol: *bytes.get(9)?,
        payload: bytes.get(header..end.max(header))?,
        later_fragment: offset != 0,
        fragment,
    })
}

fn ipv6<'a>(bytes: &'a [u8], seen: &mut Map<String, Value>) -> Option<Ip<'a>> {
    let first = long(bytes, 0)?;
    let total = 40 + word(bytes, 4)?;
    let src = u128::from_be_bytes(*bytes.get(8..)?.first_chunk()?);
    let dst = u128::from_be_bytes(*bytes.get(24..)?.first_chunk()?);
    seen.insert("src".into(), Ipv6Addr::from(src).to_string().into());
    seen.insert("dst".into(), Ipv6Addr::from(dst).to_string().into());
    seen.insert("ttl".into(), (*bytes.get(7)?).into());
    seen.insert("len".into(), total.into());
    let class = (first >> 20) as u8;
    if class != 0 {
        seen.insert("tos".into(), class.into());
    }
    let mut protocol = *bytes.get(6)?;
    let mut at = 40;
    let mut fragment = None;
    if protocol == 44 {
        protocol = *bytes.get(at)?;
        let word = word(bytes, at + 2)?;
        let (offset, more) = (word & 0xFFF8, word & 1 != 0);
        seen.insert(
            "frag".into(),
            json!({ "off": offset, "mf": more, "id": long(bytes, at + 4)? }),
        );
        fragment = Some(offset);
        at += 8;
    }
    let end = usize::from(total).min(bytes.len());
    Some(Ip {
        src: Addr::v6(src),
        dst: Addr::v6(dst),
        protocol,
        payload: bytes.get(at..end.max(at))?,
        later_fragment: fragment.is_some_and(|offset| offset != 0),
        fragment: fragment.is_some(),
    })
}

fn ports(ip: &Ip<'_>, seen: &mut Map<String, Value>) {
    let (Some(sport), Some(dport)) = (word(ip.payload, 0), word(ip.payload, 2)) else { return };
    seen.insert("sport".into(), sport.into());
    seen.insert("dport".into(), dport.into());
    // Of a quotation of eight bytes only the ports are told.
    if ip.protocol == 6
        && let (Some(flags), Some(seq), true) =
            (ip.payload.get(13), long(ip.payload, 4), ip.payload.len() >= 20)
    {
        let set: String =
            LETTERS.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, letter)| letter).collect();
        seen.insert("flags".into(), set.into());
        seen.insert("seq".into(), seq.into());
    }
}

/// What a TCP segment acknowledges and carries, which only some recordings tell.
fn said(segment: &[u8], seen: &mut Map<String, Value>) {
    let (Some(ack), Some(first)) = (long(segment, 8), segment.get(12)) else { return };
    seen.insert("ack".into(), ack.into());
    let carried = segment.get(usize::from(first >> 4) * 4..).unwrap_or_default();
    if !carried.is_empty() {
        let text: String = carried.iter().copied().map(char::from).collect();
        seen.insert("data".into(), text.into());
    }
}

fn icmp(ip: &Ip<'_>, seen: &mut Map<String, Value>, depth: usize) {
    let (Some(kind), Some(code)) = (ip.payload.first(), ip.payload.get(1)) else { return };
    let v6 = ip.protocol == 58;
    let mut message = Map::new();
    message.insert("type".into(), (*kind).into());
    message.insert("code".into(), (*code).into());
    let echo = if v6 { matches!(kind, 128 | 129) } else { matches!(kind, 0 | 8) };
    let error = if v6 { *kind < 128 } else { matches!(kind, 3 | 4 | 5 | 11 | 12) };
    if echo && let (Some(id), Some(seq)) = (word(ip.payload, 4), word(ip.payload, 6)) {
        message.insert("id".into(), id.into());
        message.insert("seq".into(), seq.into());
    }
    let mtu = match (v6, kind, code) {
        (true, 2, _) => long(ip.payload, 4),
        (false, 3, 4) => word(ip.payload, 6).map(u32::from),
        _ => None,
    };
    if let Some(mtu) = mtu {
        message.insert("mtu".into(), mtu.into());
    }
    if error && let Some(quoted) = ip.payload.get(8..) {
        let mut inner = Map::new();
        if self::ip(quoted, &mut inner, Place::Quoted, depth - 1).is_some() {
            message.insert("inner".into(), Value::Object(inner));
        }
    }
    seen.insert("icmp".into(), Value::Object(message));
}

fn checksum_holds(ip: &Ip<'_>) -> bool {
    let message = ip.payload;
    let pseudo = |protocol| checksum::transport(ip.src, ip.dst, protocol, message) == 0;
    match ip.protocol {
        6 => pseudo(Protocol::Tcp),
        17 if word(message, 6) == Some(0) => ip.src.is_v4(),
        17 => pseudo(Protocol::Udp),
        58 => pseudo(Protocol::Icmpv6),
        1 => checksum::of(message) == 0,
        132 => {
            let Some((head, [a, b, c, d, rest @ ..])) = message.split_at_checked(8) else {
                return false;
            };
            let crc = checksum::Crc32c::START.bytes(head).bytes(&[0; 4]).bytes(rest);
            crc.value().to_le_bytes() == [*a, *b, *c, *d]
        }
        _ => true,
    }
}

/// Takes out what is random by nature: the identification of IPv6 fragments, tunnels and ICMP, and
/// the source port of packets that the director at these addresses makes of others (GUE).
pub(super) fn without_random(mut seen: Value, director: &[Addr]) -> Value {
    let src = seen.get("src").and_then(Value::as_str).unwrap_or_default();
    let v6 = src.contains(':');
    let made = src.parse::<IpAddr>().is_ok_and(|src| director.contains(&Addr::from(src)));
    if made
        && seen.get("proto").and_then(Value::as_str) == Some("udp")
        && let Some(fields) = seen.as_object_mut()
    {
        fields.remove("sport");
    }
    // What a host says of its own accord, echo replies among it, has a number of its own.
    let own = ["ipip", "ipv6", "gre", "icmp"];
    let numbered = seen.get("proto").and_then(Value::as_str).is_some_and(|p| own.contains(&p));
    if (v6 || numbered || made)
        && let Some(fragment) = seen.get_mut("frag").and_then(Value::as_object_mut)
    {
        fragment.remove("id");
    }
    seen
}
