//! `net_pcap`: frames out of a file, and into one.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use std::fs;
use std::path::Path;

use dataplane::port::{Burst, Frame, Port};
use nic::{PortConfig, Turn};

fn write_pcap(path: &Path, frames: &[Vec<u8>]) {
    let mut file = Vec::new();
    for word in [0xA1B2_C3D4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        file.extend(word.to_le_bytes());
    }
    for (n, frame) in frames.iter().enumerate() {
        for word in [n as u32, 0, frame.len() as u32, frame.len() as u32] {
            file.extend(word.to_le_bytes());
        }
        file.extend(frame);
    }
    fs::write(path, file).unwrap();
}

fn read_pcap(path: &Path) -> Vec<Vec<u8>> {
    let file = fs::read(path).unwrap();
    let (mut rest, mut frames) = (&file[24..], Vec::new());
    while !rest.is_empty() {
        let len = u32::from_le_bytes(rest[8..12].try_into().unwrap()) as usize;
        frames.push(rest[16..16 + len].to_vec());
        rest = &rest[16 + len..];
    }
    frames
}

/// Frames of 60 bytes up to `longest`; the long ones do not fit the driver's or the pool's
/// mbufs as they are.
fn pass_through(name: &str, mtu: u16, longest: usize) -> (Vec<Vec<u8>>, Vec<Vec<u8>>, u64) {
    let folder = std::env::temp_dir().join(format!("nic-test-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (from, to) = (folder.join("in file.pcap"), folder.join("out.pcap"));
    let frames: Vec<_> =
        (0..300).map(|n| lab::pattern(n as u8, 60 + n * 131 % (longest - 59))).collect();
    write_pcap(&from, &frames);
    let device = format!("net_pcap0,rx_pcap={},tx_pcap={}", from.display(), to.display());
    let mut port = PortConfig::new("file", &device, &[1]);
    port.mtu = mtu;
    let mut config = lab::config(name, vec![port]);
    config.memory.mib = 320;
    let mut nic = nic::open(&config).unwrap();
    let mut queue = lab::only_queue(&mut nic, 1);
    let mut empty = 0;
    let turn = Box::new(move || {
        let mut burst = Burst::new();
        queue.rx(&mut burst);
        empty = if burst.is_empty() { empty + 1 } else { 0 };
        for frame in &mut burst {
            lab::swap_macs(frame.bytes_mut());
        }
        queue.tx(&mut burst);
        assert!(burst.is_empty());
        if empty > 1000 { Turn::Stop } else { Turn::Continue }
    });
    let totals = nic.run(vec![(1, turn)]).unwrap();
    assert_eq!((totals.mbufs_held, totals.stats.mbufs_in_use), (0, 0));
    let written = read_pcap(&to);
    fs::remove_dir_all(&folder).unwrap();
    let expected = frames.into_iter().map(|mut frame| {
        lab::swap_macs(&mut frame);
        frame
    });
    (expected.collect(), written, totals.stats.ports[0].rx_refused)
}

#[test]
fn a_file_goes_through_byte_for_byte() {
    lab::isolated("a_file_goes_through_byte_for_byte", || {
        let (expected, written, refused) = pass_through("pcap", 1500, 1514);
        assert_eq!(written, expected);
        assert_eq!(refused, 0);
    });
}

#[test]
fn jumbo_frames_fit_the_mbufs_of_a_port_with_a_jumbo_mtu() {
    lab::isolated("jumbo_frames_fit_the_mbufs_of_a_port_with_a_jumbo_mtu", || {
        let (expected, written, refused) = pass_through("pcap-jumbo", 9000, 9014);
        assert_eq!(written, expected);
        assert_eq!(refused, 0);
    });
}

#[test]
fn frames_that_do_not_fit_one_mbuf_are_dropped_and_counted() {
    lab::isolated("frames_that_do_not_fit_one_mbuf_are_dropped_and_counted", || {
        let (expected, written, refused) = pass_through("pcap-long", 1500, 4000);
        let fitting: Vec<_> = expected.into_iter().filter(|f| f.len() <= 2048).collect();
        assert_eq!(written, fitting);
        assert_eq!(refused as usize, 300 - fitting.len());
    });
}
