//! `net_memif`: frames from one process to another through shared memory.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use std::time::{Duration, Instant};

use dataplane::port::{Burst, Frame, Port};
use nic::{PortConfig, Turn, TurnFn};

fn port(role: &str, socket: &str) -> PortConfig {
    let device = format!("net_memif0,role={role},id=0,socket={socket},socket-abstract=no");
    PortConfig::new("memory", &device, &[1])
}

/// Sends 2,000 frames in bursts and expects each back, byte for byte and in order.
fn client(socket: &str) {
    let mut nic = nic::open(&lab::config("memif-client", vec![port("client", socket)])).unwrap();
    let mut queue = lab::only_queue(&mut nic, 1);
    let handle = nic.handle();
    let (mut sent, mut received, begun) = (0usize, 0usize, Instant::now());
    let expected = |n: usize| {
        let mut frame = lab::pattern(n as u8, 60 + n * 53 % 1455);
        lab::swap_macs(&mut frame);
        frame
    };
    let turn: TurnFn = Box::new(move || {
        assert!(begun.elapsed() < Duration::from_secs(30), "{received} of {sent} came back");
        let mut burst = Burst::new();
        if sent == 0 && !handle.stats().ports[0].link_up {
            return Turn::Continue;
        }
        while sent < 2_000 && sent - received < 256 && !burst.is_full() {
            let bytes = lab::pattern(sent as u8, 60 + sent * 53 % 1455);
            let mut frame = queue.alloc(bytes.len()).unwrap();
            frame.bytes_mut().copy_from_slice(&bytes);
            burst.push(frame);
            sent += 1;
        }
        queue.tx(&mut burst);
        assert!(burst.is_empty());
        queue.rx(&mut burst);
        for frame in burst.drain(..) {
            assert_eq!(frame.bytes(), expected(received), "frame {received}");
            received += 1;
        }
        if received == 2_000 { Turn::Stop } else { Turn::Continue }
    });
    let totals = nic.run(vec![(1, turn)]).unwrap();
    assert_eq!(totals.mbufs_held, 0);
}

#[test]
fn two_processes_converse_byte_for_byte() {
    lab::isolated("two_processes_converse_byte_for_byte", || {
        if let Ok(socket) = std::env::var("NIC_TEST_SOCKET") {
            return client(&socket);
        }
        let socket = format!("/tmp/nic-test-memif-{}.sock", std::process::id());
        let port = port("server", &socket);
        let nic = nic::open(&lab::config("memif-server", vec![port])).unwrap();
        assert_eq!(nic.ports()[0].driver, "net_memif");
        lab::converse(nic, move || lab::again_with("NIC_TEST_SOCKET", &socket).success());
    });
}
