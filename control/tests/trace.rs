//! `director trace` and `director capture` on a running director.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

mod support;

use std::fs;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use control::api::{self, Request};
use control::trace::Question;
use serde_json::Value;
use support::eventually;
use support::farm::{self, Farm, VIPS};
use support::frame::{ethernet, udp};
use support::node::Node;
use support::program::{Ended, Program, director};
use support::server::{self, ask};
use support::socket::Wire;

fn body() -> String {
    format!(
        "{}services:\n  - {{ name: web, mark: 7, selectors: [{{ vip: {}, protocol: tcp, vip_port: 80 }}], \
         scheduler: rr, persistence: true, real_servers: [{{ address: {} }}, {{ address: {} }}] }}\n",
        farm::one_port(),
        VIPS[0],
        farm::rip(0),
        farm::rip(1)
    )
}

/// Runs a command that traces, and makes traffic until it ends.
fn while_traffic(program: &Program, words: &[&str], mut traffic: impl FnMut()) -> Ended {
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let tracing = scope.spawn(|| {
            let ended = program.ask(words);
            over.store(true, Ordering::Relaxed);
            ended
        });
        eventually("the trace ends", || {
            if !over.load(Ordering::Relaxed) {
                traffic();
            }
            over.load(Ordering::Relaxed).then_some(())
        });
        tracing.join().unwrap()
    })
}

/// A frame for the director whose packet is for nobody.
fn stray(director: [u8; 6]) -> Vec<u8> {
    let packet = udp(("198.18.0.1", 4000), ("203.0.113.9", 53), b"astray");
    [ethernet(director, [2, 0, 0, 0, 0, 9], 0x0800), packet].concat()
}

#[test]
fn a_trace_tells_packets_with_verdict_service_server_and_reason() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let program = Program::start(&farm.director, &body());
    program.resolves(&farm::rip(0));
    program.resolves(&farm::rip(1));
    let visit = |from: &str| {
        ask(&farm.client, from, &format!("{}:80", VIPS[0]));
    };

    let words = ["trace", "--client", "198.18.64.0/24", "--service", "web", "-n", "8", "--json"];
    let ended = while_traffic(&program, &words, || {
        visit("198.18.64.1");
        visit("198.18.80.1");
    });
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    let records: Vec<Value> =
        ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(records.len(), 8);
    let mut last = 0;
    for record in &records {
        assert_eq!((&record["service"], &record["mark"]), (&"web".into(), &7.into()), "{record}");
        assert_eq!(record["verdict"], "forwarded");
        assert_eq!(record["port"], "lan0");
        let packet = record["packet"].as_str().unwrap();
        assert!(packet.starts_with("TCP 198.18.64.1:") && packet.ends_with(":80"), "{packet}");
        let at = record["at_unix_ns"].as_u64().unwrap();
        assert!(at >= last && at > 1_700_000_000_000_000_000, "{record}");
        last = at;
    }
    // The first packet of a connection and the later ones have different reasons.
    let whys: Vec<&Value> = records.iter().map(|record| &record["fate"]["because"]).collect();
    assert!(whys.iter().any(|why| why["connection"].is_object()), "{whys:?}");
    assert!(whys.iter().any(|why| !why["connection"].is_object()), "{whys:?}");

    // A machine that is busy may still be sending the last client's packets.
    let words = ["trace", "--client", "198.18.64.2", "--verdict", "forward", "-n", "3"];
    let ended = while_traffic(&program, &words, || visit("198.18.64.2"));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    for line in ended.stdout.lines() {
        let tells = line.contains("  lan0  TCP 198.18.64.2:")
            && line.contains("  forwarded  service web  server 198.18.10.1");
        assert!(tells, "{line}");
    }
    assert_eq!(ended.stdout.lines().count(), 3);

    // What is answered, and an end by time.
    let ended = while_traffic(&program, &["trace", "--verdict", "answer", "-n", "1"], || {
        let _ = server::Talk::try_open(
            &farm.client,
            "198.18.64.3",
            &format!("{}:81", VIPS[0]),
            std::time::Duration::from_millis(200),
        );
    });
    assert!(ended.stdout.contains("answered with a TCP reset"), "{}", ended.stdout);
    let ended = program.ask(&["trace", "--for", "100ms", "--client", "198.18.99.99"]);
    assert_eq!((ended.code(), ended.stdout.as_str(), ended.stderr.as_str()), (Some(0), "", ""));
    program.stop();
}

/// A packet of a capture: its interface, whole length, bytes and comment.
#[derive(Debug)]
struct Captured {
    interface: u32,
    length: u32,
    bytes: Vec<u8>,
    comment: String,
}

/// Reads a capture by the letter of the format.
fn read(file: &[u8]) -> (Vec<String>, Vec<Captured>) {
    let half = |at: usize| u16::from_le_bytes(*file[at..].first_chunk().unwrap());
    let word = |at: usize| u32::from_le_bytes(*file[at..].first_chunk().unwrap());
    let options = |mut at: usize, end: usize| {
        let mut found = Vec::new();
        while at < end && half(at) != 0 {
            let length = usize::from(half(at + 2));
            found.push((half(at), file[at + 4..at + 4 + length].to_vec()));
            at += 4 + length.next_multiple_of(4);
        }
        found
    };
    let text = |options: &[(u16, Vec<u8>)], code: u16| {
        let found = options.iter().find(|(one, _)| *one == code);
        found.map(|(_, value)| String::from_utf8(value.clone()).unwrap()).unwrap_or_default()
    };
    let (mut at, mut interfaces, mut packets) = (0, Vec::new(), Vec::new());
    assert_eq!((word(0), word(8)), (0x0A0D_0D0A, 0x1A2B_3C4D));
    while at < file.len() {
        let length = word(at + 4) as usize;
        let end = at + length - 4;
        assert_eq!(word(end) as usize, length);
        match word(at) {
            1 => interfaces.push(text(&options(at + 16, end), 2)),
            6 => {
                let captured = word(at + 20) as usize;
                let data = at + 28;
                let options = options(data + captured.next_multiple_of(4), end);
                packets.push(Captured {
                    interface: word(at + 8),
                    length: word(at + 24),
                    bytes: file[data..data + captured].to_vec(),
                    comment: text(&options, 1),
                });
            }
            _ => {}
        }
        at += length;
    }
    (interfaces, packets)
}

#[test]
fn a_capture_has_verdict_service_and_server_in_every_packets_comment() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let program = Program::start(&farm.director, &body());
    let file = program.home.folder.join("web.pcapng");
    let name = file.to_str().unwrap();
    program.resolves(&farm::rip(0));
    program.resolves(&farm::rip(1));
    let words = ["capture", "-o", name, "--service", "web", "-n", "6", "--snaplen", "60"];
    let ended = while_traffic(&program, &words, || {
        ask(&farm.client, "198.18.64.1", &format!("{}:80", VIPS[0]));
    });
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
    assert!(ended.stderr.starts_with(&format!("6 packets in {name}; 0 more")), "{}", ended.stderr);
    let (interfaces, packets) = read(&fs::read(&file).unwrap());
    assert_eq!((interfaces, packets.len()), (vec!["lan0".to_owned()], 6));
    for packet in &packets {
        assert_eq!(packet.interface, 0);
        assert!(
            packet.comment.starts_with("forwarded  service web  server 198.18.10.1"),
            "{packet:?}"
        );
        assert!(packet.bytes.len() <= 60 && packet.bytes.len() <= packet.length as usize);
        assert_eq!(packet.bytes[12..14], [8, 0], "{packet:?}");
        // As it came in: to the VIP, before the MAC addresses were changed.
        assert_eq!(packet.bytes[..6], farm.director.mac("eth0"));
    }
    let output = Command::new("tcpdump").args(["-nn", "-r", name]).output().unwrap();
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(lines.lines().count(), 6, "{lines}");
    assert!(
        lines.lines().all(|line| line.contains(&format!("> {}.80: Flags [", VIPS[0]))),
        "{lines}"
    );

    // Drops, by their reason, to standard output.
    let wire = Wire::on(&farm.client, "eth0");
    let mac = farm.director.mac("eth0");
    let words = ["capture", "-o", "-", "--verdict", "not_for_us", "-n", "2"];
    let ended = while_traffic(&program, &words, || {
        wire.send(&stray(mac));
    });
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(ended.stderr.starts_with("2 packets in -;"), "{}", ended.stderr);
    program.stop();
}

#[test]
fn what_cannot_be_traced_is_said_in_a_sentence() {
    let node = Node::new();
    let program = Program::start(
        &node,
        "ports: [{ name: lan0, device: net_null0, addresses: [198.18.10.1/16] }]\n",
    );
    for (words, code, part) in [
        (&["trace", "--client", "198.18.64.0/40"][..], 2, "'198.18.64.0/40' is no client"),
        (&["trace", "--verdict", "dropped"], 2, "'dropped' is no verdict"),
        (&["trace", "--count", "0"], 2, "--count"),
        (&["trace", "--service", "nope"], 1, "there is no service 'nope'"),
        (&["capture", "-o", "/nonexistent/file"], 1, "/nonexistent/file cannot be written"),
        (&["trace", "--for", "soon"], 2, "write a time such as 10s"),
        (&["trace", "--rate", "0"], 2, "--rate"),
        (&["capture"], 2, "--output"),
    ] {
        let ended = program.ask(words);
        assert_eq!(ended.code(), Some(code), "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.contains(part), "{words:?}: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    let ended = director(&["trace", "--socket", "/nonexistent/control.sock"]);
    assert_eq!(ended.code(), Some(2));
    assert!(ended.stderr.contains("is it running?"), "{}", ended.stderr);
    for command in ["trace", "capture"] {
        let help = director(&[command, "--help"]).stdout;
        for word in ["--client", "--service", "--verdict", "--count", "--for", "--rate", "Example:"]
        {
            assert!(help.contains(word), "{command}: '{word}' in {help}");
        }
    }
    program.stop_unread();
}

#[test]
fn a_trace_whose_client_is_gone_ends_by_itself_and_a_flood_is_told_in_part() {
    let farm = Farm::new(1);
    let program = Program::start(&farm.director, &body());
    let question = Question { snaplen: 64, rate: 1, ..Question::default() };
    let socket = program.home.socket();
    let open = || api::call(&socket, &Request::Trace { question: question.clone() }).unwrap();
    let opened: Vec<_> = std::iter::repeat_with(open).take_while(|reply| reply.ok).collect();
    assert_eq!(opened.len(), dataplane::trace::MOST_ORDERS);
    assert!(open().text.contains("traces run already"), "{}", open().text);
    // Nobody asks for their records: after some seconds there is room again.
    eventually("room for another trace", || open().ok.then_some(()));
    // Those that were opened first end first; one that ends by itself makes room at once.
    eventually("room for a trace that ends", || {
        (program.ask(&["trace", "--for", "1s"]).code() == Some(0)).then_some(())
    });

    let wire = Wire::on(&farm.client, "eth0");
    let mac = farm.director.mac("eth0");
    let words = ["trace", "--rate", "5", "--for", "1s", "--verdict", "drop"];
    // On a busy machine a core may get no turn for seconds.
    let ended = eventually("the core answers", || {
        let ended = while_traffic(&program, &words, || {
            for _ in 0..200 {
                wire.send(&stray(mac));
            }
        });
        (!ended.stderr.contains("did not answer in time")).then_some(ended)
    });
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("more came too fast to be looked at (--rate)"),
        "{}",
        ended.stderr
    );
    assert!(ended.stdout.contains("dropped: not_for_us"), "{}", ended.stdout);
    program.stop();
}
