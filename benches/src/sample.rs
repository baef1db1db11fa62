//! Single frames in ordinary memory, for what is measured by itself.

use dataplane::port::Frame;
use dataplane::port::memory::MemoryFrame;
use dataplane::wire::ethernet::Mac;
use dataplane::wire::packet::{Packet, Parsed};
use dataplane::wire::{Family, parse};

use crate::draw::{ACK, Flow};
use crate::template::Template;

const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// A segment from the client of this number to the first service, 60 bytes long.
pub fn frame(family: Family, client: u32) -> MemoryFrame {
    let mut frame = MemoryFrame::new(&[0; 128]);
    let sent = Flow { client, port: 2000, service: 0, flags: ACK, server: None };
    Template::new(family, MAC, 60).write(&mut frame, sent, None);
    frame
}

/// What the director reads in the frame; nothing if it is no packet.
pub fn packet(frame: &MemoryFrame) -> Option<Packet> {
    match parse(frame.bytes()) {
        Parsed::Packet(packet) => Some(packet),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_a_packet_of_its_family() {
        for family in [Family::V4, Family::V6] {
            assert_eq!(packet(&frame(family, 7)).map(|packet| packet.family), Some(family));
        }
    }
}
