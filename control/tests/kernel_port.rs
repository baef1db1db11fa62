//! The kernel-facing port: what no service takes is the machine's own kernel's, while a VIP is
//! balanced on the same NIC port.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use support::farm::{self, CLIENT, DIRECTOR, Farm, VIPS};
use support::frame::{BROADCAST, ethernet, udp};
use support::program::Program;
use support::server::{self, Talk, ask};
use support::socket::Wire;

#[test]
fn the_kernel_is_reached_through_the_port_while_a_vip_is_balanced() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let body = format!(
        "{}    kernel_port: net_tap0,iface=dtap0\nservices:\n  - name: web\n    vip: {}\n    \
         protocol: tcp\n    vip_port: 80\n    scheduler: rr\n    real_servers:\n{}",
        farm::one_port(),
        VIPS[0],
        farm::reals(2)
    );
    let program = Program::start(&farm.director, &body);
    let own = farm.director.mac("eth0");
    // The kernel's end stands for the port: it was given the port's MAC address, and gets the
    // addresses from the operator.
    assert_eq!(farm.director.mac("dtap0"), own);
    farm.director.ip(&format!("link set dtap0 up\naddr add {DIRECTOR}/16 dev dtap0"));
    server::tcp(&farm.director, &format!("{DIRECTOR}:2222"), "host");

    let mut host = Talk::open(&farm.client, CLIENT, &format!("{DIRECTOR}:2222"));
    let vip = format!("{}:80", VIPS[0]);
    let mut names = Vec::new();
    for n in 0..10 {
        assert_eq!(host.say(&format!("line {n}")), "host");
        names.push(ask(&farm.client, CLIENT, &vip));
    }
    for server in ["rs1", "rs2"] {
        assert_eq!(names.iter().filter(|name| *name == server).count(), 5, "{names:?}");
    }
    // The kernel's own programs reach the LAN as well.
    let out = Talk::open(&farm.director, DIRECTOR, "198.18.10.11:80").say("hello");
    assert_eq!(out, "rs1");

    // A broadcast that is nobody's (a DHCP request) is the kernel's, byte for byte.
    let tap = Wire::on(&farm.director, "dtap0");
    let outside = Wire::on(&farm.client, "eth0");
    let request = [
        ethernet(BROADCAST, farm.client.mac("eth0"), 0x0800),
        udp(("0.0.0.0", 68), ("255.255.255.255", 67), b"a DHCP request"),
    ]
    .concat();
    outside.send(&request);
    tap.expect("the broadcast", |frame| frame.starts_with(&request).then_some(()));

    let story = program.told(&["explain", &format!("tcp {CLIENT}:40000 -> {DIRECTOR}:2222")]);
    assert!(story.contains("handed to the kernel on lan0-kernel\n"), "{story}");
    let told = program.json(&["explain", &format!("tcp {CLIENT}:40000 -> {DIRECTOR}:2222")]);
    assert_eq!(told["fate"]["port"], "lan0-kernel");

    let to_kernel = program.number(&["frames", "to_kernel"]);
    assert!(to_kernel > 10, "{to_kernel}");
    let ports = program.status()["ports"].clone();
    assert_eq!(ports[1]["name"], "lan0-kernel");
    assert_eq!(ports[1]["driver"], "net_tap");
    drop(host);
    program.stop();
}
