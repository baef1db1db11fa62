//! `net_af_xdp` over veth, in copy mode.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use lab::wire::Wire;
use nic::{NicError, PortConfig};

const DEVICE: &str = "net_af_xdp0,iface=wan0,force_copy=1";

#[test]
fn frames_come_back_byte_for_byte() {
    lab::isolated("frames_come_back_byte_for_byte", || {
        lab::own_network();
        lab::veth("wan0", "peer0");
        let nic =
            nic::open(&lab::config("xdp", vec![PortConfig::new("wan", DEVICE, &[1])])).unwrap();
        assert_eq!(nic.ports()[0].driver, "net_af_xdp");
        let filled = nic.handle().stats().mbufs_in_use;
        let peer = Wire::on("peer0");
        let totals = lab::converse_and_lose(nic, move || peer.converse(2_000, 1514));
        assert_eq!(totals.stats.ports[0].ipackets, 2_000);
        // This driver never gives back what it filled its queue with when it was opened, but
        // no frame of the conversation may be lost.
        let held = u64::from(totals.mbufs_held);
        assert!(held <= filled + 64, "{held} mbufs are held, {filled} were at first");
    });
}

#[test]
fn a_queue_that_another_program_has_is_told() {
    lab::isolated("a_queue_that_another_program_has_is_told", || {
        let port = || vec![PortConfig::new("wan", DEVICE, &[1])];
        if std::env::var_os("NIC_TEST_SECOND").is_some() {
            let (error, sentence) = lab::refusal(&lab::config("xdp-second", port()));
            assert!(matches!(error, NicError::PortSetup { .. }), "{sentence}");
            let expected = "port wan: net_af_xdp0,iface=wan0,force_copy=1 refuses to set up its \
                            queues; check its arguments, and that no other program has it";
            assert!(sentence.starts_with(expected), "{sentence}");
            return;
        }
        lab::own_network();
        lab::veth("wan0", "peer0");
        let _first = nic::open(&lab::config("xdp-first", port())).unwrap();
        lab::again("NIC_TEST_SECOND").success();
    });
}
