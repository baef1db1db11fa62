//! A capture file with one packet of each client, for `net_pcap` to replay.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use dataplane::port::Frame;
use dataplane::port::memory::MemoryFrame;
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Parsed, checksum, parse};

use crate::draw::{ACK, Draw, Order};
use crate::error::BenchError;
use crate::load::{FCS, Load};
use crate::plan;
use crate::template::Template;

/// The MAC address that `net_pcap0` gives itself.
pub const PCAP_MAC: Mac = Mac([0x02, 0x70, 0x63, 0x61, 0x70, 0x00]);

/// Writes the file. The frames are for `director`, and their checksums are right.
///
/// # Errors
/// The file cannot be written.
pub fn write(path: &Path, load: &Load, director: Mac) -> Result<(), BenchError> {
    let failed = |error| BenchError::File { path: path.display().to_string(), error };
    let mut file = BufWriter::new(File::create(path).map_err(failed)?);
    // Classic format, microseconds, Ethernet, frames of up to 64 KiB.
    let mut out: Vec<u8> = Vec::new();
    for word in [0xA1B2_C3D4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        out.extend(word.to_le_bytes());
    }
    file.write_all(&out).map_err(failed)?;
    let mut draw = Draw::new(load, 0, 1);
    draw.set_order(Order::Each(ACK));
    let pattern = load.size.pattern();
    let templates: Vec<Template> =
        pattern.iter().map(|bytes| Template::new(load.family, director, bytes - FCS)).collect();
    for (number, template) in (0..load.clients).zip(templates.iter().cycle()) {
        let flow = draw.next();
        let vip = plan::vip_bytes(load.family, flow.service);
        let mut frame = MemoryFrame::new(&vec![0; template.frame_len()]);
        template.write(&mut frame, flow, Some(vip));
        complete(frame.bytes_mut());
        let len = frame.bytes().len() as u32;
        out.clear();
        for word in [number / 1_000_000, number % 1_000_000, len, len] {
            out.extend(word.to_le_bytes());
        }
        out.extend(frame.bytes());
        file.write_all(&out).map_err(failed)?;
    }
    file.flush().map_err(failed)
}

/// Makes the checksums of a TCP frame right.
fn complete(frame: &mut [u8]) {
    let Parsed::Packet(packet) = parse(frame) else { return };
    let (l3, l4) = (usize::from(packet.l3_offset), usize::from(packet.l4_offset));
    if packet.src.is_v4()
        && let Some(header) = frame.get_mut(l3..l4)
        && let Some(place) = header.get_mut(10..12)
    {
        place.fill(0);
        let sum = checksum::of(header);
        if let Some(place) = header.get_mut(10..12) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
    }
    if let Some(message) = frame.get_mut(l4..) {
        if let Some(place) = message.get_mut(16..18) {
            place.fill(0);
        }
        let sum = checksum::transport(packet.src, packet.dst, packet.protocol, message);
        if let Some(place) = message.get_mut(16..18) {
            place.copy_from_slice(&sum.to_be_bytes());
        }
    }
}
