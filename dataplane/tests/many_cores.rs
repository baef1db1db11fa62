//! Connections of one client come in on many cores and get one real server.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::HashMap;

use dataplane::ids::PortIndex;
use dataplane::port::Frame;
use dataplane::port::memory::MemoryFrame;
use dataplane::shared::TableSizes;
use support::lab::{Lab, Setup, client_address, core_of};
use support::packet;

const CLIENTS: u16 = 10_000;

fn lab(cores: usize, words: &str) -> Lab {
    let sizes = TableSizes {
        connections_v4: 1 << 17,
        templates_v4: 1 << 15,
        clients_v4: 1 << 15,
        ..Setup::default().sizes
    };
    let mut lab = Lab::with(Setup { cores, sizes, ..Setup::default() });
    lab.ipvsadm(&format!("-A {words}"));
    for real in 1..=7 {
        lab.ipvsadm(&format!("-a {words} -r R{real} -w {real}"));
    }
    lab
}

/// SYNs of every client, four connections each to four ports, by the core that RSS chooses.
fn syns(cores: usize) -> Vec<Vec<Vec<u8>>> {
    let mut by_core = vec![Vec::new(); cores];
    for connection in 0..4_u16 {
        for client in 1..=CLIENTS {
            let port = 1024 + client.wrapping_mul(13).wrapping_add(connection * 997) % 60_000;
            let from = format!("{}:{port}", client_address(client, false));
            let to = format!("198.18.255.1:{}", 80 + connection);
            let frame = packet::tcp(&from, &to).flags("S").build();
            by_core[core_of(&frame, cores)].push(frame);
        }
    }
    by_core
}

/// Client address to the MAC addresses that its packets were sent to.
fn servers<'a>(sent: impl IntoIterator<Item = &'a [u8]>) -> HashMap<[u8; 4], Vec<[u8; 6]>> {
    let mut servers: HashMap<[u8; 4], Vec<[u8; 6]>> = HashMap::new();
    for frame in sent {
        let client = frame[26..30].try_into().unwrap();
        servers.entry(client).or_default().push(frame[..6].try_into().unwrap());
    }
    servers
}

fn assert_one_server_each(servers: &HashMap<[u8; 4], Vec<[u8; 6]>>) {
    assert_eq!(servers.len(), usize::from(CLIENTS));
    for (client, macs) in servers {
        assert_eq!(macs.len(), 4, "every connection of {client:?} was forwarded");
        assert!(macs.iter().all(|mac| *mac == macs[0]), "client {client:?} got {macs:02x?}");
    }
}

#[test]
fn a_client_gets_one_server_whatever_the_number_of_cores() {
    for cores in [1, 2, 4, 8, 16] {
        for words in ["-t V:0 -s wrr -p 360", "-t V:0 -s wrr -p 360 --client"] {
            let mut lab = lab(cores, words);
            let by_core = syns(cores);
            let mut sent = Vec::new();
            let longest = by_core.iter().map(Vec::len).max().unwrap();
            for at in (0..longest).step_by(32) {
                for (core, frames) in by_core.iter().enumerate() {
                    let burst = frames.get(at..frames.len().min(at + 32)).unwrap_or_default();
                    if !burst.is_empty() {
                        sent.extend(lab.feed(core, PortIndex(0), burst));
                    }
                }
            }
            assert_one_server_each(&servers(sent.iter().map(|(_, frame)| frame.as_slice())));
            let bound: u64 = (1..=7).map(|real| lab.load("-t V:0", real).2).sum();
            assert_eq!(bound, u64::from(CLIENTS), "{cores} cores, {words}");
        }
    }
}

#[test]
fn a_client_gets_one_server_from_cores_that_run_at_once() {
    for words in ["-t V:0 -s wlc -p 360", "-t V:0 -s wlc -p 360 --client"] {
        let cores = 8;
        let mut lab = lab(cores, words);
        let now = lab.now;
        let mut workers = std::mem::take(&mut lab.workers);
        let start = std::sync::Barrier::new(cores);
        let mut sent: Vec<Vec<u8>> = Vec::new();
        std::thread::scope(|scope| {
            let threads: Vec<_> = workers
                .iter_mut()
                .zip(syns(cores))
                .map(|(worker, frames)| {
                    let start = &start;
                    scope.spawn(move || {
                        let wire = &mut worker.ports_mut()[0];
                        wire.arriving.extend(frames.iter().map(|frame| MemoryFrame::new(frame)));
                        start.wait();
                        while worker.turn(now) {}
                        let sent = worker.ports_mut()[0].sent.drain(..);
                        sent.map(|frame| frame.bytes().to_vec()).collect::<Vec<_>>()
                    })
                })
                .collect();
            for thread in threads {
                sent.extend(thread.join().unwrap());
            }
        });
        lab.workers = workers;
        assert_one_server_each(&servers(sent.iter().map(Vec::as_slice)));
        let bound: u64 = (1..=7).map(|real| lab.load("-t V:0", real).2).sum();
        assert_eq!(bound, u64::from(CLIENTS), "{words}");
        for counters in &lab.shared.counters {
            assert!(counters.read().is_conserved());
        }
    }
}
