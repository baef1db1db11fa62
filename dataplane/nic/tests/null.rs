//! `net_null`: a device that always has a frame and swallows what is sent.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod lab;

use std::time::Duration;

use dataplane::port::{Burst, Frame, Port};
use dataplane::rss::{RssKey, Steering};
use nic::{PortConfig, Steered, Turn};

#[test]
fn frames_go_round_and_every_mbuf_comes_back() {
    lab::isolated("frames_go_round_and_every_mbuf_comes_back", || {
        let config = lab::config("null", vec![PortConfig::new("wan", "net_null0,size=64", &[1])]);
        let mut nic = nic::open(&config).unwrap();
        let info = &nic.ports()[0];
        assert_eq!((info.driver.as_str(), info.mtu, info.rx_queues), ("net_null", 1500, 1));
        assert!(info.link_up);
        let handle = nic.handle();
        assert_eq!(handle.stats().mbufs_in_use, 0);
        let mut queue = lab::only_queue(&mut nic, 1);
        assert!(queue.receives());
        let mut sent = 0;
        let turn = Box::new(move || {
            let mut burst = Burst::new();
            queue.rx(&mut burst);
            sent += burst.len();
            queue.tx(&mut burst);
            assert!(burst.is_empty(), "the port refused frames");
            if sent >= 100_000 { Turn::Stop } else { Turn::Continue }
        });
        let totals = nic.run(vec![(1, turn)]).unwrap();
        let port = &totals.stats.ports[0];
        assert!(port.ipackets >= 100_000, "{port:?}");
        assert_eq!(port.opackets, port.ipackets);
        assert_eq!((totals.mbufs_held, totals.stats.mbufs_in_use), (0, 0));
        assert_eq!(totals.stats.mbufs_free, 16_383);
        assert_eq!(handle.stats(), totals.stats);
        assert!(!handle.is_running());
        let files = format!("/var/run/dpdk/{}", config.memory.file_prefix);
        assert!(!std::path::Path::new(&files).exists(), "{files} is left behind");
    });
}

#[test]
fn a_core_transmits_on_the_ports_of_other_cores_too() {
    lab::isolated("a_core_transmits_on_the_ports_of_other_cores_too", || {
        let ports = vec![
            PortConfig::new("a", "net_null0,size=64", &[0]),
            PortConfig::new("b", "net_null1,size=64", &[1]),
        ];
        let mut nic = nic::open(&lab::config("null-two", ports)).unwrap();
        let mut turns: Vec<(usize, nic::TurnFn)> = Vec::new();
        for core in [0, 1] {
            let mut queues = nic.take_queues(core).unwrap();
            let receives: Vec<bool> = queues.iter().map(|q| q.receives()).collect();
            assert_eq!(receives, [core == 0, core == 1]);
            let mut count = 0;
            turns.push((
                core,
                Box::new(move || {
                    let mut burst = Burst::new();
                    let other = 1 - core;
                    queues[other].rx(&mut burst);
                    assert!(burst.is_empty(), "a queue that only transmits received");
                    queues[core].rx(&mut burst);
                    count += burst.len();
                    queues[other].tx(&mut burst);
                    assert!(burst.is_empty());
                    if count >= 10_000 { Turn::Stop } else { Turn::Continue }
                }),
            ));
        }
        let totals = nic.run(turns).unwrap();
        assert!(totals.stats.ports.iter().all(|p| p.opackets >= 10_000), "{totals:?}");
        assert_eq!(totals.mbufs_held, 0);
    });
}

#[test]
fn frames_of_the_pool_keep_the_frame_contract() {
    lab::isolated("frames_of_the_pool_keep_the_frame_contract", || {
        let mut port = PortConfig::new("wan", "net_null0,size=64", &[1]);
        port.mtu = 9000;
        let mut nic = nic::open(&lab::config("null-frame", vec![port])).unwrap();
        let mut queue = lab::only_queue(&mut nic, 1);
        assert_eq!(queue.mtu(), 9000);
        let mut frame = queue.alloc(9018).unwrap();
        frame.bytes_mut().fill(0xA5);
        assert!(frame.push_front(128) && !frame.push_front(1));
        assert_eq!(frame.bytes().len(), 9018 + 128);
        assert!(frame.bytes()[128..].iter().all(|b| *b == 0xA5));
        assert!(frame.set_len(60) && !frame.set_len(60_000) && !frame.set_len(1 << 20));
        assert_eq!(frame.bytes().len(), 60);
        assert!(queue.alloc(60_000).is_none());
        let mut burst = Burst::new();
        burst.push(frame);
        queue.rx(&mut burst);
        assert_eq!(burst.len(), 32);
        assert_eq!(nic.handle().stats().mbufs_in_use, 32);
        queue.discard(&mut burst);
        assert_eq!(nic.handle().stats().mbufs_in_use, 0);
        let all: Vec<_> = std::iter::from_fn(|| queue.alloc(60)).collect();
        assert!(all.len() > 16_000 && all.len() <= 16_383, "{}", all.len());
        drop(all);
        assert_eq!(nic.handle().stats().mbufs_in_use, 0);
    });
}

#[test]
fn frames_that_the_program_keeps_stay_valid_after_the_end() {
    lab::isolated("frames_that_the_program_keeps_stay_valid_after_the_end", || {
        let config =
            lab::config("null-kept", vec![PortConfig::new("wan", "net_null0,size=64", &[1])]);
        let mut nic = nic::open(&config).unwrap();
        let mut queue = lab::only_queue(&mut nic, 1);
        let mut frame = queue.alloc(100).unwrap();
        frame.bytes_mut().fill(7);
        let totals = nic.run(vec![(1, Box::new(|| Turn::Stop))]).unwrap();
        assert_eq!(totals.mbufs_held, 1);
        assert!(frame.bytes().iter().all(|b| *b == 7));
        let mut burst = Burst::new();
        queue.rx(&mut burst);
        assert!(burst.is_empty(), "a closed port received");
        drop((frame, queue));
    });
}

#[test]
fn a_panic_on_one_core_stops_all_and_is_told() {
    lab::isolated("a_panic_on_one_core_stops_all_and_is_told", || {
        let ports = vec![
            PortConfig::new("a", "net_null0,size=64", &[0]),
            PortConfig::new("b", "net_null1,size=64", &[1]),
        ];
        let mut nic = nic::open(&lab::config("null-panic", ports)).unwrap();
        let queues = nic.take_queues(1).unwrap();
        let broken: nic::TurnFn = Box::new(move || panic!("{} queues, no idea", queues.len()));
        let endless: nic::TurnFn = Box::new(|| Turn::Continue);
        let error = nic.run(vec![(0, endless), (1, broken)]).unwrap_err();
        let sentence = error.to_string();
        assert!(
            sentence.contains("core 1") && sentence.contains("2 queues, no idea"),
            "{sentence}"
        );
    });
}

#[test]
fn the_handle_stops_cores_that_never_would() {
    lab::isolated("the_handle_stops_cores_that_never_would", || {
        let config =
            lab::config("null-stop", vec![PortConfig::new("wan", "net_null0,size=64", &[1])]);
        let nic = nic::open(&config).unwrap();
        let handle = nic.handle();
        let stopper = std::thread::spawn(move || {
            while !handle.is_running() {
                std::thread::sleep(Duration::from_millis(1));
            }
            handle.stop();
        });
        nic.run(vec![(1, Box::new(|| Turn::Continue))]).unwrap();
        stopper.join().unwrap();
    });
}

#[test]
fn every_core_has_one_turn_to_run() {
    lab::isolated("every_core_has_one_turn_to_run", || {
        let config =
            lab::config("null-turns", vec![PortConfig::new("wan", "net_null0,size=64", &[1])]);
        let mut nic = nic::open(&config).unwrap();
        assert!(nic.take_queues(0).unwrap_err().to_string().contains("core 0 polls no port"));
        assert_eq!(nic.take_queues(1).unwrap().len(), 1);
        assert!(nic.take_queues(1).unwrap_err().to_string().contains("core 1 are taken"));
        let error = nic.run(Vec::new()).unwrap_err().to_string();
        assert!(error.contains("core 1 has 0 turns"), "{error}");
        let again = nic::open(&config).unwrap_err().to_string();
        assert!(again.contains("opened before in this process"), "{again}");
    });
}

#[test]
fn several_queues_spread_flows_with_the_key_that_is_given() {
    lab::isolated("several_queues_spread_flows_with_the_key_that_is_given", || {
        let mut port = PortConfig::new("wan", "net_null0,size=64", &[1, 0]);
        port.rss_key = Some((0..40).map(|i| if i % 2 == 0 { 0x6D } else { 0x5A }).collect());
        let key = port.rss_key.clone().unwrap();
        let nic = nic::open(&lab::config("null-rss", vec![port])).unwrap();
        let info = &nic.ports()[0];
        assert_eq!((info.cores.as_slice(), info.rx_queues, info.tx_queues), (&[0, 1][..], 2, 2));
        let rss = info.rss.as_ref().unwrap();
        assert_eq!((rss.key_len, &rss.key), (40, &key));
        assert!(!rss.table.is_empty() && rss.table.iter().all(|queue| *queue < 2), "{rss:?}");
        assert!(rss.fields != 0 && !rss.addresses_only, "{rss:?}");
    });
}

#[test]
fn several_queues_are_given_a_key_by_which_they_spread_clients() {
    lab::isolated("several_queues_are_given_a_key_by_which_they_spread_clients", || {
        let steering = Steering::by_address([7, 8]);
        let port = |name: &str, device: &str, cores: &[usize]| PortConfig {
            steering: Some(steering),
            ..PortConfig::new(name, device, cores)
        };
        let ports =
            vec![port("wan", "net_null0,size=64", &[1, 0]), port("lan", "net_null1,size=64", &[1])];
        let nic = nic::open(&lab::config("null-steering", ports)).unwrap();
        let [wan, lan] = nic.ports() else { panic!("two ports") };
        let rss = wan.rss.as_ref().unwrap();
        let bits = rss.table.len().trailing_zeros();
        let key = steering.key(40, bits).unwrap();
        assert_eq!(rss.key, key.bytes);
        assert_eq!(rss.table, dataplane::rss::table_of(rss.table.len() as u16, 2));
        let RssKey { bits_v4, bits_v6, .. } = key;
        assert_eq!(wan.steered, Steered::ByClient { bits_v4, bits_v6 });
        assert_eq!(lan.steered, Steered::OneQueue);
    });
}

#[test]
fn signals_stay_the_program_s() {
    lab::isolated("signals_stay_the_program_s", || {
        let caught = || {
            let status = std::fs::read_to_string("/proc/self/status").unwrap();
            let line = status.lines().find(|line| line.starts_with("SigCgt:")).unwrap();
            let mask = u64::from_str_radix(line.split_whitespace().nth(1).unwrap(), 16).unwrap();
            [libc::SIGHUP, libc::SIGINT, libc::SIGTERM].map(|signal| mask >> (signal - 1) & 1)
        };
        let config =
            lab::config("null-signals", vec![PortConfig::new("wan", "net_null0,size=64", &[1])]);
        let nic = nic::open(&config).unwrap();
        assert_eq!(caught(), [0, 0, 0]);
        let while_running = std::sync::Arc::new(std::sync::Mutex::new([9; 3]));
        let seen = std::sync::Arc::clone(&while_running);
        let turn = Box::new(move || {
            *seen.lock().unwrap() = caught();
            Turn::Stop
        });
        nic.run(vec![(1, turn)]).unwrap();
        assert_eq!(*while_running.lock().unwrap(), [0, 0, 0]);
    });
}

#[test]
fn each_core_runs_on_its_cpu_and_the_opener_on_the_main_one() {
    lab::isolated("each_core_runs_on_its_cpu_and_the_opener_on_the_main_one", || {
        let allowed = || {
            let status = std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            line.unwrap().trim().to_owned()
        };
        let config =
            lab::config("null-pin", vec![PortConfig::new("wan", "net_null0,size=64", &[1])]);
        let nic = nic::open(&config).unwrap();
        assert_eq!(allowed(), "0");
        let turn = Box::new(move || {
            assert_eq!(allowed(), "1");
            Turn::Stop
        });
        nic.run(vec![(1, turn)]).unwrap();
    });
}
