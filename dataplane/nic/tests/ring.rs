//! `net_ring`: what a core sends comes back to it, in memory.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use dataplane::port::{Burst, Frame, Port};
use nic::{PortConfig, Turn, TurnFn};

#[test]
fn what_is_sent_is_received_byte_for_byte_and_in_order() {
    lab::isolated("what_is_sent_is_received_byte_for_byte_and_in_order", || {
        let config = lab::config("ring", vec![PortConfig::new("loop", "net_ring0", &[1])]);
        let mut nic = nic::open(&config).unwrap();
        assert_eq!(nic.ports()[0].driver, "net_ring");
        let mut queue = lab::only_queue(&mut nic, 1);
        let mut n = 0u8;
        let turn: TurnFn = Box::new(move || {
            let mut burst = Burst::new();
            for _ in 0..32 {
                let expected = lab::pattern(n, 14 + usize::from(n) * 5);
                let mut frame = queue.alloc(expected.len()).unwrap();
                frame.bytes_mut().copy_from_slice(&expected);
                burst.push(frame);
                n += 1;
            }
            queue.tx(&mut burst);
            assert!(burst.is_empty());
            queue.rx(&mut burst);
            assert_eq!(burst.len(), 32);
            for (i, frame) in burst.iter().enumerate() {
                let n = n - 32 + i as u8;
                assert_eq!(frame.bytes(), lab::pattern(n, 14 + usize::from(n) * 5));
            }
            if n >= 224 { Turn::Stop } else { Turn::Continue }
        });
        let totals = nic.run(vec![(1, turn)]).unwrap();
        assert_eq!((totals.mbufs_held, totals.stats.mbufs_in_use), (0, 0));
    });
}

#[test]
fn a_full_queue_leaves_the_rest_in_the_burst() {
    lab::isolated("a_full_queue_leaves_the_rest_in_the_burst", || {
        let config = lab::config("ring-full", vec![PortConfig::new("loop", "net_ring0", &[1])]);
        let mut nic = nic::open(&config).unwrap();
        let mut queue = lab::only_queue(&mut nic, 1);
        let (mut sent, mut burst) = (0u16, Burst::new());
        while burst.is_empty() {
            for n in 0..32 {
                let mut frame = queue.alloc(60).unwrap();
                frame.bytes_mut()[..2].copy_from_slice(&(sent + n).to_be_bytes());
                burst.push(frame);
            }
            queue.tx(&mut burst);
            sent += 32 - burst.len() as u16;
        }
        assert_eq!(burst[0].bytes()[..2], sent.to_be_bytes(), "the refused begin after the sent");
        burst.clear();
        let mut received = 0u16;
        loop {
            queue.rx(&mut burst);
            if burst.is_empty() {
                break;
            }
            for frame in burst.drain(..) {
                assert_eq!(frame.bytes()[..2], received.to_be_bytes());
                received += 1;
            }
        }
        assert_eq!(received, sent);
        drop(queue);
        assert_eq!(nic.handle().stats().mbufs_in_use, 0);
    });
}
