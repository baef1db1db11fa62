//! A capture through the real packet path: what is told, sent and listed.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::fs;
use std::process::Command;

use control::config;
use control::flow::FlowText;
use control::replay::pcap::{self, Captured};
use control::replay::{Replayed, replay};
use dataplane::wire::Vlan;
use dataplane::wire::ethernet::Mac;

const OWN: Mac = Mac([2, 0, 0, 0, 0, 0x77]);

const CONFIG: &str = "
ports:
  - name: lan0
    device: net_null0
    cores: [1]
    addresses: [198.18.10.1/24]
    gateway: 198.18.10.254
services:
  - name: farm
    mark: 10
    selectors:
      - { vip: 198.18.255.1, protocol: tcp, vip_port: 80 }
      - { vip: 198.18.255.1, protocol: tcp, vip_port: 443 }
    scheduler: rr
    persistence: { timeout: 360 }
    real_servers:
      - { address: 198.18.10.11 }
      - { address: 198.18.10.12 }
";

fn frame(at_s: f64, flow: &str, flags: &str) -> Captured {
    let frame = FlowText::parse(flow, flags).unwrap().frame(OWN, Vlan::UNTAGGED);
    Captured { at_ns: (at_s * 1e9) as u64, frame }
}

fn play(frames: &[Captured]) -> Replayed {
    replay(&config::parse(CONFIG.as_bytes(), "test").unwrap(), frames, None).unwrap()
}

fn servers(replayed: &Replayed) -> Vec<u8> {
    replayed.sent.iter().map(|captured| captured.frame[5]).collect()
}

#[test]
fn one_client_goes_to_one_server_on_both_ports_and_another_to_the_other() {
    let replayed = play(&[
        frame(100.0, "tcp 198.18.0.5:1000 -> 198.18.255.1:80", "S"),
        frame(100.1, "tcp 198.18.0.5:1001 -> 198.18.255.1:443", "S"),
        frame(100.2, "tcp 198.18.0.6:1000 -> 198.18.255.1:443", "S"),
    ]);
    assert_eq!(servers(&replayed), [12, 12, 11], "made-up MAC addresses show the server");
    assert!(replayed.packets.iter().all(|told| told.verdict == "forwarded"));
    assert!(replayed.packets[1].line().contains("the client is bound"));
    let end = replayed.end();
    assert!(end.contains("FWM  10 rr persistent 360"), "{end}");
    assert!(end.contains("\nreceived 3 = forwarded 3 "), "{end}");
}

#[test]
fn the_captures_time_stamps_are_the_clock() {
    let first = frame(0.0, "tcp 198.18.0.5:1000 -> 198.18.255.1:80", "S");
    let later = |at_s| frame(at_s, "tcp 198.18.0.5:1001 -> 198.18.255.1:80", "S");
    assert_eq!(servers(&play(&[first.clone(), later(350.0)])), [12, 12], "bound for 360 s");
    assert_eq!(servers(&play(&[first, later(500.0)])), [12, 11], "and no longer");
}

#[test]
fn time_stamps_that_leap_by_years_end_what_was_remembered_and_are_replayed_at_once() {
    let at = |at_s| frame(at_s, "tcp 198.18.0.5:1000 -> 198.18.255.1:80", "S");
    // A clock that was set from 1970 to today; by seconds this would take minutes.
    let years = 56.0 * 365.25 * 86_400.0;
    let replayed = play(&[at(0.0), at(years), at(2.0 * years), at(years), at(2.0 * years + 60.0)]);
    // Bound anew after each leap, and still so for a packet that is older than the one before.
    assert_eq!(servers(&replayed), [12, 11, 12, 12, 12]);
    assert!(replayed.connections.iter().all(|row| row.expires_s <= 360), "{}", replayed.end());
}

#[test]
fn the_program_reads_a_capture_tells_every_packet_and_writes_what_is_sent() {
    let folder = std::env::temp_dir().join(format!("director-replay-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).display().to_string();
    let (config, capture, sent) = (path("a.yaml"), path("in.pcap"), path("out.pcap"));
    fs::write(&config, CONFIG).unwrap();
    let frames = [
        frame(1.0, "tcp 198.18.0.5:1000 -> 198.18.255.1:80", "S"),
        frame(1.5, "tcp 198.18.0.5:1000 -> 198.18.255.1:81", "S"),
    ];
    fs::write(&capture, pcap::write(&frames)).unwrap();
    let run = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_director"));
        let output = command.args(["replay", "-c", &config]).args(words).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, told, said) = run(&[&capture, "-o", &sent]);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    assert!(told.contains("forwarded") && told.contains("received 2 = forwarded "), "{told}");
    let written = pcap::read(&fs::read(&sent).unwrap()).unwrap().frames;
    assert_eq!(written[0].frame[5], 12, "the made-up MAC address of the server");
    // Another format by its name, and what is written can be read again.
    let newer = path("out.pcapng");
    assert_eq!(run(&[&capture, "-o", &newer]).0, Some(0));
    let bytes = fs::read(&newer).unwrap();
    assert_eq!(bytes[..4], [0x0A, 0x0D, 0x0D, 0x0A]);
    assert_eq!(pcap::read(&bytes).unwrap().frames, written);
    assert_eq!(run(&[&newer]).0, Some(0));
    let (code, told, _) = run(&[&capture, "--json"]);
    let lines: Vec<serde_json::Value> =
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines[0]["verdict"].as_str()), (Some(0), Some("forwarded")));
    let end = lines.last().unwrap();
    assert_eq!(end["totals"]["received"].as_u64(), Some(2), "{end}");
    assert!(end["listing"]["services"][0]["real_servers"].is_array(), "{end}");
    assert!(end["connections"].is_array(), "{end}");
    // Of a tcpdump that was killed within a frame, the whole ones are played.
    let cut = path("cut.pcap");
    let bytes = fs::read(&capture).unwrap();
    fs::write(&cut, &bytes[..bytes.len() - 5]).unwrap();
    let (code, told, said) = run(&[&cut]);
    assert_eq!(code, Some(0));
    assert!(told.contains("received 1 = forwarded 1 "), "{told}");
    assert_eq!(said, format!("{cut}: it ends within frame 2, which is left out\n"));
    let (_, told, _) = run(&[&cut, "--json"]);
    let end: serde_json::Value = serde_json::from_str(told.lines().last().unwrap()).unwrap();
    assert_eq!(end["missing"][0], "it ends within frame 2, which is left out");
    for (wrong, sentence) in [
        (&[&config[..]][..], "capture"),
        (&[&capture, "--port", "lan9"], "lan9"),
        (&[&capture, "-o", &capture], "in.pcap"),
        (&["/no/such.pcap"], "cannot read /no/such.pcap"),
    ] {
        let (code, _, said) = run(wrong);
        assert!(code == Some(1) && said.contains(sentence), "{wrong:?}: {code:?} {said}");
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_is_said_of_a_packet_is_what_was_done_with_it() {
    let masquerading = CONFIG
        .replace("{ address: 198.18.10.11 }", "{ address: 198.18.10.11, forwarding: masq }")
        .replace("{ address: 198.18.10.12 }", "{ address: 198.18.10.12, forwarding: masq }");
    let model = config::parse(masquerading.as_bytes(), "test").unwrap();
    let tagged = FlowText::parse("tcp 198.18.0.5:1000 -> 198.18.255.1:80", "A").unwrap();
    let tagged = Captured { at_ns: 1_000_000_003, frame: tagged.frame(OWN, Vlan::tagged(9)) };
    let frames = [
        frame(1.0, "tcp 198.18.0.5:1000 -> 198.18.255.1:80", "S"),
        frame(1.0, "tcp 198.18.10.12:80 -> 198.18.0.5:1000", "SA"),
        frame(1.0, "tcp 198.18.10.12:5000 -> 198.51.100.1:443", "S"),
        tagged,
    ];
    let replayed = replay(&model, &frames, None).unwrap();
    let said: Vec<(&str, String)> =
        (replayed.packets.iter()).map(|told| (told.verdict.as_str(), told.line())).collect();
    for ((verdict, line), (done, words)) in said.iter().zip([
        ("forwarded", "server 198.18.10.12  (the client is new, and rr picks this server now)"),
        ("forwarded", "(a real server's answer: sent on to its client as from 198.18.255.1:80)"),
        ("forwarded", "(a masqueraded real server's own packet, of no connection: sent on as by a"),
        (
            "dropped: other_vlan",
            "(The frame carries a VLAN tag that the port is not configured for.)",
        ),
    ]) {
        assert_eq!(*verdict, done, "{line}");
        assert!(line.contains(words), "{line}");
    }
    assert_eq!(replayed.packets[1].json()["fate"]["from"]["vip"], "198.18.255.1");
    assert!(!said[3].1.contains("server "), "{}", said[3].1);
}

#[test]
fn every_frame_gets_a_line_whatever_it_is() {
    let garbage = Captured { at_ns: 5, frame: vec![0xFF; 40] };
    let replayed = play(&[
        garbage,
        frame(1.0, "tcp 198.18.0.5:1000 -> 198.18.255.1:8080", "S"),
        frame(1.5, "udp 198.18.0.5:1000 -> 198.18.10.1:53", "S"),
    ]);
    let verdicts: Vec<&str> = replayed.packets.iter().map(|told| told.verdict.as_str()).collect();
    assert_eq!(verdicts.len(), 3);
    assert_eq!(verdicts[2], "answered");
    for told in &replayed.packets {
        assert!(told.json()["verdict"].is_string());
        assert!(!told.line().is_empty());
    }
}
