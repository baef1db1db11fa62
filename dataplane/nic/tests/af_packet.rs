//! `net_af_packet` over veth: real frames, by way of the kernel, without a driver to bind.

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
use std::os::unix::fs::chown;
use std::process::Command;
use std::thread;
use std::time::Duration;

use dataplane::port::{Burst, Frame, Port};
use lab::wire::Wire;
use nic::{NicError, PortConfig, Turn, TurnFn};

fn conversation(prefix: &str) {
    lab::veth("wan0", "peer0");
    let port = PortConfig::new("wan", "net_af_packet0,iface=wan0", &[1]);
    let nic = nic::open(&lab::config(prefix, vec![port])).unwrap();
    assert_eq!(nic.ports()[0].driver, "net_af_packet");
    let peer = Wire::on("peer0");
    let totals = lab::converse(nic, move || peer.converse(200, 1514));
    let port = &totals.stats.ports[0];
    assert_eq!((port.ipackets, port.opackets), (200, 200), "{port:?}");
}

#[test]
fn frames_come_back_byte_for_byte() {
    lab::isolated("frames_come_back_byte_for_byte", || {
        lab::own_network();
        conversation("packet");
    });
}

#[test]
fn an_ordinary_user_can_do_it_in_a_user_namespace() {
    let folder = std::env::temp_dir().join(format!("nic-test-user-{}", std::process::id()));
    let by = format!("RUNTIME_DIRECTORY={}", folder.display());
    let starter = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "env",
        &by,
        "unshare",
        "-Urnm",
    ];
    let test = "an_ordinary_user_can_do_it_in_a_user_namespace";
    if lab::is_isolated(test) {
        lab::shell("ip link set lo up");
        return conversation("user");
    }
    fs::create_dir_all(&folder).unwrap();
    chown(&folder, Some(65534), Some(65534)).unwrap();
    lab::isolated_by(&starter, test, || ());
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_ordinary_user_is_told_which_privilege_is_missing() {
    let starter = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let test = "an_ordinary_user_is_told_which_privilege_is_missing";
    lab::isolated_by(&starter, test, || {
        let port = PortConfig::new("wan", "net_af_packet0,iface=lo", &[1]);
        let (_, sentence) = lab::refusal(&lab::config("unprivileged", vec![port]));
        let expected = "port wan: net_af_packet0 needs CAP_NET_RAW; run as root or grant it \
                        (`setcap`, systemd's AmbientCapabilities=)";
        assert_eq!(sentence, expected);
    });
}

#[test]
fn a_link_that_is_down_is_no_error() {
    lab::isolated("a_link_that_is_down_is_no_error", || {
        lab::own_network();
        lab::veth("wan0", "peer0");
        lab::shell("ip link set peer0 down");
        // The kernel tells of a lost or found carrier when it gets round to it.
        eventually(|| {
            let output = Command::new("ip").args(["-o", "link", "show", "wan0"]).output().unwrap();
            String::from_utf8_lossy(&output.stdout).contains("NO-CARRIER")
        });
        let port = PortConfig::new("wan", "net_af_packet0,iface=wan0", &[1]);
        let nic = nic::open(&lab::config("down", vec![port])).unwrap();
        assert!(!nic.ports()[0].link_up);
        let handle = nic.handle();
        assert!(!handle.stats().ports[0].link_up);
        lab::shell("ip link set peer0 up");
        eventually(|| handle.stats().ports[0].link_up);
    });
}

/// Waits until it holds, for at most ten seconds.
fn eventually(holds: impl Fn() -> bool) {
    assert!((0..200).any(|_| {
        let now = holds();
        if !now {
            thread::sleep(Duration::from_millis(50));
        }
        now
    }));
}

#[test]
fn cores_share_a_transmit_queue_where_the_device_has_one() {
    lab::isolated("cores_share_a_transmit_queue_where_the_device_has_one", || {
        lab::own_network();
        lab::veth("wan0", "peer0");
        lab::veth("lan0", "peer1");
        let ports = vec![
            PortConfig::new("wan", "net_af_packet0,iface=wan0", &[0]),
            PortConfig::new("lan", "net_af_packet1,iface=lan0", &[1]),
        ];
        let mut nic = nic::open(&lab::config("shared", ports)).unwrap();
        assert!(nic.ports().iter().all(|port| port.tx_shared && port.tx_queues == 1));
        let mut turns: Vec<(usize, TurnFn)> = Vec::new();
        for core in [0, 1] {
            let mut queues = nic.take_queues(core).unwrap();
            let mut sent = [0; 2];
            turns.push((
                core,
                Box::new(move || {
                    for (port, sent) in queues.iter_mut().zip(&mut sent) {
                        let mut burst = Burst::new();
                        for _ in 0..8 {
                            let mut frame = port.alloc(60).unwrap();
                            frame.bytes_mut().copy_from_slice(&lab::pattern(core as u8, 60));
                            burst.push(frame);
                        }
                        port.tx(&mut burst);
                        *sent += 8 - burst.len();
                    }
                    if sent.iter().all(|n| *n >= 2_000) { Turn::Stop } else { Turn::Continue }
                }),
            ));
        }
        let totals = nic.run(turns).unwrap();
        assert!(totals.stats.ports.iter().all(|port| port.opackets >= 4_000), "{totals:?}");
        assert_eq!((totals.mbufs_held, totals.stats.mbufs_in_use), (0, 0));
    });
}

#[test]
fn two_queue_pairs_serve_two_cores() {
    lab::isolated("two_queue_pairs_serve_two_cores", || {
        lab::own_network();
        lab::veth("wan0", "peer0");
        let port = PortConfig::new("wan", "net_af_packet0,iface=wan0,qpairs=2", &[0, 1]);
        let mut nic = nic::open(&lab::config("pairs", vec![port])).unwrap();
        let info = nic.ports()[0].clone();
        assert_eq!((info.rx_queues, info.tx_queues, info.tx_shared), (2, 2, false));
        assert_eq!(info.rss, None, "this driver has no RSS");
        let turns = [0, 1].map(|core| (core, lab::echo(lab::only_queue(&mut nic, core))));
        let handle = nic.handle();
        let peer = Wire::on("peer0");
        let talking = std::thread::spawn(move || {
            while !handle.is_running() {
                std::thread::yield_now();
            }
            peer.converse(50, 200);
            handle.stop();
        });
        let totals = nic.run(turns.into()).unwrap();
        talking.join().unwrap();
        assert_eq!((totals.stats.ports[0].opackets, totals.mbufs_held), (50, 0));
    });
}

#[test]
fn more_cores_than_queue_pairs_is_an_error_with_advice() {
    lab::isolated("more_cores_than_queue_pairs_is_an_error_with_advice", || {
        lab::own_network();
        lab::veth("wan0", "peer0");
        let port = PortConfig::new("wan", "net_af_packet0,iface=wan0", &[0, 1]);
        let (_, sentence) = lab::refusal(&lab::config("few-pairs", vec![port]));
        let expected = "port wan: 2 cores and only 1 receive queue(s) on \
                        net_af_packet0,iface=wan0; add qpairs=N to the device's arguments \
                        or take fewer cores";
        assert_eq!(sentence, expected);
    });
}

#[test]
fn an_mtu_above_the_interface_s_is_refused() {
    lab::isolated("an_mtu_above_the_interface_s_is_refused", || {
        lab::own_network();
        lab::veth("wan0", "peer0");
        let mut port = PortConfig::new("wan", "net_af_packet0,iface=wan0", &[1]);
        port.mtu = 9000;
        let (error, _) = lab::refusal(&lab::config("mtu", vec![port]));
        let expected = NicError::Mtu { port: "wan".into(), mtu: 9000, least: 576, most: 1500 };
        assert_eq!(error, expected);
    });
}
