//! Packets and what became of them, in words: what `replay`, `trace` and `capture` share.

use std::fmt::Write as _;

use dataplane::explain::{Explanation, Fate, reply_sentence};
use dataplane::wire::{Addr, Family, Parsed};

/// The packet in words: `tcp 198.18.0.5:40000 -> 198.18.255.1:443`.
pub fn packet(parsed: &Parsed) -> String {
    match parsed {
        Parsed::Packet(packet) if packet.protocol.has_ports() => {
            let end = |address: Addr, port: u16| match address.family() {
                Family::V4 => format!("{address}:{port}"),
                Family::V6 => format!("[{address}]:{port}"),
            };
            format!(
                "{} {} -> {}",
                packet.protocol,
                end(packet.src, packet.src_port),
                end(packet.dst, packet.dst_port)
            )
        }
        Parsed::Packet(packet) => format!("{} {} -> {}", packet.protocol, packet.src, packet.dst),
        Parsed::Arp(arp) => format!("arp {} -> {}", arp.sender, arp.target),
        Parsed::Other => "no IP".to_owned(),
        Parsed::Malformed(_) => "malformed".to_owned(),
    }
}

/// The decision in words: `service web  server 198.18.10.11  (why)`.
pub fn decision(story: &Explanation) -> String {
    let mut text = String::new();
    if let Some((name, _)) = &story.service {
        let _ = write!(text, "service {name}  ");
    }
    let _ = match &story.fate {
        Fate::Real { address, because, .. } => write!(text, "server {address}  ({because})"),
        Fate::Reply { from } => write!(text, "({})", reply_sentence(from.as_ref())),
        Fate::Kernel { port } => {
            write!(text, "(no service takes it: handed to the kernel on {port})")
        }
        Fate::Host(sentence) | Fate::Not(sentence) => write!(text, "({sentence})"),
    };
    text
}
