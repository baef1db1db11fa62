//! `net_tap`: the path to this machine's kernel.

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
use nic::PortConfig;

#[test]
fn the_kernel_s_frames_come_back_byte_for_byte() {
    lab::isolated("the_kernel_s_frames_come_back_byte_for_byte", || {
        lab::own_network();
        let mut port = PortConfig::new("kernel", "net_tap0,iface=dtap0", &[1]);
        port.kernel_facing = true;
        let nic = nic::open(&lab::config("tap", vec![port])).unwrap();
        let info = &nic.ports()[0];
        assert_eq!((info.driver.as_str(), info.kernel_facing), ("net_tap", true));
        let peer = Wire::on("dtap0");
        lab::converse(nic, move || peer.converse(200, 1514));
    });
}
