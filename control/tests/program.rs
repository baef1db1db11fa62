//! The command line and the start: what the program prints and how it ends, also when
//! nothing is as it should be.

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
use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::eventually;
use support::farm;
use support::frame::{ethernet, udp};
use support::node::Node;
use support::program::{Ended, Home, Program, director, director_with_input, refusal};
use support::socket::Wire;

const NULL_PORT: &str = "ports:\n  - name: lan0\n    device: net_null0\n    cores: [1]\n    \
                         addresses: [198.18.10.1/16]\n";

/// A node with an interface `eth0` for a director, and the node with the wire's other end.
fn wired() -> (Node, Node) {
    let (node, peer) = (Node::new(), Node::new());
    node.wire("eth0", &peer, "peer0");
    node.mute("eth0");
    peer.mute("peer0");
    (node, peer)
}

fn assert_sentence(ended: &Ended, code: i32, parts: &[&str]) {
    assert_eq!(ended.code(), Some(code), "{}", ended.stderr);
    assert_eq!(ended.stdout, "", "nothing belongs on standard output");
    assert!(!ended.stderr.contains("panicked"), "{}", ended.stderr);
    for line in ended.stderr.lines() {
        let dump = ["EAL", "PMD", "ETHDEV", "TELEMETRY"].iter().any(|who| line.starts_with(who));
        assert!(!dump, "DPDK speaks: {line}");
    }
    for part in parts {
        assert!(ended.stderr.contains(part), "'{part}' is not in: {}", ended.stderr);
    }
}

/// Starts a director that must end with one line on standard error.
fn assert_refused(node: &Node, home: &Home, yaml: &str, code: i32, parts: &[&str]) {
    let ended = refusal(node, home, yaml);
    assert_sentence(&ended, code, parts);
    assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    assert!(!home.socket().exists(), "the socket of a director that did not start");
}

/// Every command is run by some test: its name stands first among a program's arguments.
#[test]
fn every_subcommand_is_run_by_a_test() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let texts: Vec<String> = (std::fs::read_dir(folder).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "rs"))
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    let told = director(&["help"]).stdout;
    let names: Vec<&str> = (told.lines())
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(names.len() > 25, "{names:?}");
    for name in names {
        let first = [format!("[\"{name}\""), format!("arg(\"{name}\")")];
        let tried = texts.iter().any(|text| first.iter().any(|words| text.contains(words)));
        assert!(tried, "no test runs `director {name}`");
    }
}

#[test]
fn every_subcommand_has_help_that_names_its_options() {
    for (command, words) in [
        ("", &["run", "check", "apply", "show", "status", "explain"][..]),
        ("run", &["--config", "--socket", "--verbose"]),
        ("check", &["FILE", "--config"]),
        ("apply", &["FILE", "--socket", "standard input"]),
        ("show", &["--connections", "--stats", "--rate", "--thresholds", "--persistent"]),
        ("show", &["--exact", "--json", "ipvsadm -lnc"]),
        ("status", &["--socket", "--json"]),
        ("doctor", &["--config", "--strict", "--json", "mends"]),
        ("trace", &["--client", "--service", "--verdict", "--count", "--for", "--rate", "--json"]),
        ("capture", &["--output", "--snaplen", "--verdict", "pcapng", "Example:"]),
        ("explain", &["FLOW", "--flags", "--port", "--json", "198.18.255.1:443"]),
        ("explain-key", &["PATH", "--recursive", "services.persistence.timeout"]),
        ("schema", &["yaml-language-server"]),
        ("completions", &["bash", "zsh", "fish"]),
        ("manual", &["DIR"]),
    ] {
        let arguments: Vec<&str> =
            [command, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let ended = director(&arguments);
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{command}");
        for word in words {
            assert!(ended.stdout.contains(word), "{command}: '{word}' in {}", ended.stdout);
        }
    }
    assert!(director(&["--version"]).stdout.starts_with("director "));
}

#[test]
fn words_that_are_not_known_end_with_2_and_a_usage() {
    for arguments in [
        &[][..],
        &["reload"],
        &["show", "--conections"],
        &["show", "--connections", "--stats"],
        &["apply"],
        &["explain"],
        &["check", "a.yaml", "-c", "b.yaml"],
    ] {
        let ended = director(arguments);
        assert_sentence(&ended, 2, &["Usage: director"]);
    }
}

#[test]
fn a_key_is_explained_and_a_misspelt_one_is_told_what_was_meant() {
    let said = director(&["explain-key", "services.persistence.timeout"]);
    assert_eq!((said.code(), said.stderr.as_str()), (Some(0), ""));
    assert!(said.stdout.contains("  default  360\n"), "{}", said.stdout);
    let all = director(&["explain-key", "--recursive", "memory"]).stdout;
    assert_eq!(all.lines().count(), 5, "{all}");
    let ended = director(&["explain-key", "services.persistance"]);
    assert_sentence(&ended, 1, &["did you mean `services[].persistence`?"]);
}

#[test]
fn schema_completions_and_manual_pages_come_out_of_the_program() {
    let schema = director(&["schema"]).stdout;
    let schema: serde_json::Value = serde_json::from_str(&schema).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    for (shell, part) in
        [("bash", "complete -F"), ("zsh", "#compdef director"), ("fish", "complete -c")]
    {
        let script = director(&["completions", shell]).stdout;
        assert!(script.contains(part) && script.contains("explain-key"), "{shell}");
    }
    let home = Home::new();
    let folder = home.folder.join("man");
    assert_eq!(director(&["manual", folder.to_str().unwrap()]).code(), Some(0));
    for page in ["director.1", "director-run.1", "director-explain-key.1", "director.yaml.5"] {
        let text = fs::read_to_string(folder.join(page)).unwrap();
        assert!(text.contains(".SH NAME") || text.contains(".SH \"NAME\""), "{page}: {text}");
    }
    let ended = director(&["manual", "/proc/no-such-folder"]);
    assert_sentence(&ended, 1, &["cannot write to /proc/no-such-folder"]);
}

#[test]
fn without_a_director_every_question_ends_with_2_and_a_sentence() {
    for arguments in [
        &["status", "--socket", "/nonexistent/control.sock"][..],
        &["show", "--socket", "/nonexistent/control.sock"],
        &["explain", "--socket", "/nonexistent/control.sock", "tcp 1.2.3.4:5 -> 6.7.8.9:80"],
        &["apply", "--socket", "/nonexistent/control.sock", "-"],
    ] {
        let ended = director_with_input(arguments, "ports: []\n");
        assert_sentence(&ended, 2, &["/nonexistent/control.sock", "is it running?"]);
        assert_eq!(ended.stderr.lines().count(), 1);
    }
}

#[test]
fn files_that_cannot_be_read_or_are_wrong_end_with_1() {
    let home = Home::new();
    let file = home.file();
    let name = file.to_str().unwrap();
    let missing = director(&["check", "/nonexistent/director.yaml"]);
    assert_sentence(&missing, 1, &["/nonexistent/director.yaml", "cannot be read"]);
    let missing = director(&["apply", "--socket", "/nonexistent/s", "/nonexistent/d.yaml"]);
    assert_sentence(&missing, 1, &["/nonexistent/d.yaml"]);

    std::fs::write(&file, format!("{NULL_PORT}servces: []\nttl: 7\n")).unwrap();
    for arguments in [&["check", name][..], &["check", "-c", name], &["run", "-c", name]] {
        let ended = director(arguments);
        assert_sentence(&ended, 1, &[&format!("{name}:6"), "`services`", &format!("{name}:7")]);
    }
    std::fs::write(&file, NULL_PORT).unwrap();
    let fine = director(&["check", name]);
    assert_eq!((fine.code(), fine.stderr.as_str()), (Some(0), ""));
    assert!(fine.stdout.contains("no problem; 1 port, 0 services"), "{}", fine.stdout);
}

#[test]
fn what_the_system_lacks_is_said_in_one_sentence_before_anything_runs() {
    let (node, _peer) = wired();
    let home = Home::new();
    let on = |cores: &str| home.yaml(&farm::port_on("net_null0", cores));
    // More than most machines have, so that it is missing on one with hugepages, too.
    let huge = on("[1]").replace("no_huge: true, mib: 128", "no_huge: false, mib: 1048576");
    assert_refused(&node, &home, &huge, 2, &["hugepages", "nr_hugepages", "no_huge"]);
    let few = on("[1]").replace("mbufs: 8191", "mbufs: 2600");
    assert_refused(&node, &home, &few, 2, &["2600 mbufs are too few", "set mbufs to at least"]);
    let core = on("[1, 999]");
    let parts = ["core 999 (`ports[0].cores`) does not exist", "this machine has cores"];
    assert_refused(&node, &home, &core, 2, &parts);
    // What no machine could do is a problem of the configuration.
    let fewer = on("[1]").replace("mbufs: 8191", "mbufs: 1024");
    let ended = refusal(&node, &home, &fewer);
    assert_sentence(&ended, 1, &["D0", "memory.mbufs", "write at least"]);
}

#[test]
fn devices_that_are_not_there_are_said_in_one_sentence() {
    let (node, _peer) = wired();
    let home = Home::new();
    for (device, parts) in [
        ("net_af_packet0,iface=eth7", &["port lan0", "there is no network interface eth7"][..]),
        ("net_af_packet0", &["port lan0", "iface=NAME"]),
        ("0000:ff:1f.7", &["port lan0", "there is no device 0000:ff:1f.7"]),
        ("net_nonsense0", &["port lan0", "cannot bring up net_nonsense0"]),
        ("net_pcap0,rx_pcap=/nonexistent.pcap", &["port lan0", "/nonexistent.pcap"]),
        ("net_af_xdp0,iface=eth7", &["port lan0", "eth7"]),
    ] {
        let yaml = home.yaml(&farm::port_on(device, "[1]"));
        assert_refused(&node, &home, &yaml, 2, parts);
    }
}

#[test]
fn a_socket_that_cannot_be_had_is_said_and_a_link_that_is_down_is_only_a_warning() {
    let (node, peer) = wired();
    peer.ip("link set peer0 down");
    eventually("the kernel knows that the link is down", || {
        node.shell("ip -br link show eth0").contains("NO-CARRIER").then_some(())
    });
    let program = Program::start(&node, &farm::one_port());
    program.logs("WARN port lan0: eth0 is up and has no carrier");
    program.logs("nothing is received or sent there until it has a link; bring its other end up");
    assert_eq!(program.status()["ports"][0]["link_up"], false);
    peer.ip("link set peer0 up");
    eventually("the link is up", || {
        (program.status()["ports"][0]["link_up"] == true).then_some(())
    });

    let second = Home::new();
    let yaml = |socket: &str| {
        let body = farm::port_on("net_null0", "[1]");
        format!("{body}\n{}control: {{ socket: {socket} }}\n", second.memory())
    };
    let taken = program.home.socket();
    let parts = ["a director is running already", taken.to_str().unwrap(), "--socket"];
    assert_refused(&node, &second, &yaml(taken.to_str().unwrap()), 2, &parts);
    let parts = ["cannot listen on /proc/nothing/s", "folder"];
    assert_refused(&node, &second, &yaml("/proc/nothing/s"), 2, &parts);
    assert_eq!(program.ask(&["status"]).code(), Some(0), "the first one is as it was");

    // The same memory, another socket: DPDK's own files are the first one's.
    let prefix = program.home.memory();
    let body = farm::port_on("net_null0", "[1]");
    let yaml = format!("{body}\n{prefix}{}", second.control());
    let folder = program.home.folder.display().to_string();
    std::fs::write(second.file(), yaml).unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_director"))
        .args(["run", "-c", second.file().to_str().unwrap()])
        .env("RUNTIME_DIRECTORY", folder)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{told}");
    assert!(told.contains("file_prefix") && told.lines().count() == 1, "{told}");
    program.stop();
}

#[test]
fn a_port_that_requires_a_link_waits_for_it_and_does_not_start_without() {
    let (node, peer) = wired();
    peer.ip("link set peer0 down");
    eventually("the kernel knows that the link is down", || {
        node.shell("ip -br link show eth0").contains("NO-CARRIER").then_some(())
    });
    let home = Home::new();
    let yaml = home.yaml(&format!("{}    require_link: true\n", farm::one_port()));
    let ended = refusal(&node, &home, &yaml);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{}", ended.stderr);
    let last = ended.stderr.lines().last().unwrap();
    for part in ["port lan0 (", "has no link", "ip link set eth0 up", "`require_link`"] {
        assert!(last.contains(part), "'{part}' is not in: {}", ended.stderr);
    }
    assert!(!home.socket().exists());
    // One that comes up in time is enough.
    std::fs::write(home.file(), &yaml).unwrap();
    let child = home.run(&node, &[]);
    let mut program = Program::adopt(home, child);
    peer.ip("link set peer0 up");
    eventually("the director answers", || {
        (program.ask(&["status"]).code() == Some(0)).then_some(())
    });
    assert_eq!(program.status()["ports"][0]["link_up"], true);
    program.signal(libc::SIGTERM);
    program.ended();
}

#[test]
fn check_reads_standard_input_and_says_what_a_path_is() {
    for arguments in [&["check", "-"][..], &["check", "-c", "-"]] {
        let fine = director_with_input(arguments, NULL_PORT);
        assert_eq!((fine.code(), fine.stderr.as_str()), (Some(0), ""));
        assert!(fine.stdout.starts_with("standard input: no problem; 1 port"), "{}", fine.stdout);
        let wrong = director_with_input(arguments, "ports: 7\n");
        assert_sentence(&wrong, 1, &["standard input:1:8: D0104: ports: a list must stand here"]);
    }
    let folder = director(&["check", "/etc"]);
    assert_sentence(&folder, 1, &["/etc: D0001: the file cannot be read: it is a folder"]);
    let missing = director(&["check", "/nonexistent"]);
    assert_sentence(
        &missing,
        1,
        &["the file cannot be read: there is no such file", "write it, or name another one"],
    );
    for ended in [folder, missing] {
        assert!(!ended.stderr.contains("-c FILE"), "{}", ended.stderr);
    }
}

#[test]
fn scenarios_that_are_not_there_are_an_error_and_no_failure() {
    let home = Home::new();
    let empty = home.folder.to_str().unwrap();
    for (path, part) in
        [("/nonexistent", "there is no such file or folder"), (empty, "has no scenario")]
    {
        let mut ended = director(&["simulate", path]);
        assert_eq!(std::mem::take(&mut ended.stdout), "0 passed, 0 failed\n");
        assert_sentence(&ended, 2, &[path, part]);
        assert_eq!(ended.stderr.lines().count(), 1);
    }
}

#[test]
fn import_says_by_its_exit_status_what_became_of_a_file() {
    let home = Home::new();
    let file = |name: &str, text: &str| {
        let path = home.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let saved = "-A -t 198.18.255.1:80 -s wlc\n-a -t 198.18.255.1:80 -r 198.18.10.11:80 -g -w 1\n";
    let all = file("all", saved);
    let some = file("some", &format!("{saved}-A -t www.example.com:80 -s rr\n"));
    let conf = file("keepalived.conf", "virtual_server 198.18.255.1 80 {\n}\n");
    let other = file("other", "<html>\n<p>-- no configuration</p>\n");

    let done = director(&["import", "ipvsadm", &all]);
    assert_eq!((done.code(), done.stderr.as_str()), (Some(0), ""));
    assert!(done.stdout.contains("vip: 198.18.255.1"), "{}", done.stdout);
    let part = director(&["import", "ipvsadm", &some]);
    assert_eq!(part.code(), Some(3), "{}", part.stderr);
    assert!(part.stdout.contains("vip: 198.18.255.1"), "{}", part.stdout);
    assert!(part.stderr.starts_with("not carried over, or not as it was:\n  "), "{}", part.stderr);
    assert!(part.stderr.ends_with("1 service was carried over, 1 thing was not\n"));
    let wrong = director(&["import", "ipvsadm", &conf]);
    let advice = format!("director import keepalived {conf}");
    assert_sentence(&wrong, 1, &["no service was found", "looks like keepalived's", &advice]);
    for kind in ["ipvsadm", "iptables", "keepalived"] {
        let nothing = director(&["import", kind, &other]);
        assert_sentence(&nothing, 1, &[&other, "nothing was written"]);
        let missing = director(&["import", kind, "/nonexistent"]);
        assert_sentence(&missing, 1, &["cannot read /nonexistent"]);
    }
    assert_sentence(&director(&["import", "haproxy", &all]), 2, &["haproxy"]);
}

#[test]
fn the_kernel_ports_faults_are_reported_under_its_own_name() {
    let (node, _peer) = wired();
    let home = Home::new();
    for (device, part) in [
        ("net_nonsense0", "cannot bring up net_nonsense0"),
        ("\"net_tap0,mac=xx\"", "cannot bring up net_tap0"),
        ("\"virtio_user0,path=/nonexistent\"", "cannot bring up virtio_user0"),
    ] {
        let port = farm::port_on("net_null0", "[1]");
        let yaml = home.yaml(&format!("{port}    kernel_port: {device}\n"));
        assert_refused(&node, &home, &yaml, 2, &["port lan0-kernel: ", part]);
    }
}

#[test]
fn a_pipe_that_nobody_reads_is_no_error() {
    let home = Home::new();
    std::fs::write(home.file(), NULL_PORT).unwrap();
    let file = home.file();
    let node = Node::new();
    let running = Program::start(&node, NULL_PORT);
    let socket = running.home.socket();
    let socket = socket.to_str().unwrap();
    for arguments in [
        &["--help"][..],
        &["show", "--help"],
        &["--version"],
        &["check", file.to_str().unwrap()],
        &["status", "--socket", socket],
        &["show", "--json", "--socket", socket],
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_director"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut complaints = String::new();
        child.stderr.take().unwrap().read_to_string(&mut complaints).unwrap();
        let status = child.wait().unwrap();
        assert_eq!((status.code(), complaints.as_str()), (Some(0), ""), "{arguments:?}");
    }
    // The totals have nobody to read them either.
    running.stop_unread();
}

#[test]
fn a_stop_under_traffic_ends_with_0_and_totals_that_add_up() {
    let (node, peer) = wired();
    let services = "services:\n  - { vip: 198.18.255.1, protocol: udp, vip_port: 53, scheduler: rr, \
                    real_servers: [{ address: 198.18.10.11, mac: \"02:00:00:00:00:11\" }, \
                    { address: 198.18.10.12 }] }\n";
    let director_mac = node.mac("eth0");
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut program = Program::start(&node, &format!("{}{services}", farm::one_port()));
        let wire = Wire::on(&peer, "peer0");
        let over = AtomicBool::new(false);
        let balance = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut port = 1024u16;
                while !over.load(Ordering::Relaxed) {
                    // Half of it waits for a real server that never answers.
                    let packet = udp(("198.18.0.1", port), ("198.18.255.1", 53), b"flood");
                    let header = ethernet(director_mac, [2, 0, 0, 0, 0, 1], 0x0800);
                    wire.send(&[header, packet].concat());
                    port = port.checked_add(1).unwrap_or(1024);
                    if port.is_multiple_of(64) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
            });
            let _over = AtTheEnd(&over);
            eventually("traffic", || {
                (program.number(&["frames", "forwarded"]) > 2_000).then_some(())
            });
            program.signal(signal);
            program.ended()
        });
        assert!(balance.received > 4_000 && balance.forwarded > 2_000, "{balance:?}");
        assert!(balance.dropped > 0, "what waited is dropped and counted: {balance:?}");
    }
}

struct AtTheEnd<'a>(&'a AtomicBool);

impl Drop for AtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_director_that_was_killed_leaves_nothing_in_the_way_of_the_next() {
    let node = Node::new();
    let mut killed = Program::start(&node, NULL_PORT);
    let socket = killed.home.socket();
    let yaml = std::fs::read_to_string(killed.file()).unwrap();
    let home = killed.kill();
    assert!(socket.exists(), "it had no time to clean up");
    let next = Program::start_as(&node, home, &yaml, &["--verbose"]);
    // It goes on counting where the history ends, which the killed one may not have written.
    let generation = next.number(&["generation"]);
    assert!((1..=2).contains(&generation), "{generation}");
    next.stop_unread();
}

#[test]
fn a_stop_while_it_starts_is_a_stop() {
    let node = Node::new();
    let home = Home::new();
    std::fs::write(home.file(), home.yaml(NULL_PORT)).unwrap();
    let mut child = home.run(&node, &[]);
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    assert!(first.contains("INFO port lan0 is net_null0"), "{first}");
    let mut program = Program::adopt(home, child);
    program.signal(libc::SIGINT);
    let balance = program.ended();
    assert_eq!(balance.unsent, 0, "{balance:?}");
}

#[test]
fn the_log_can_be_json_and_dpdk_is_heard_when_asked_for() {
    let node = Node::new();
    let home = Home::new();
    let yaml = home.yaml(&format!("{NULL_PORT}log: {{ format: json }}\n"));
    let program = Program::start_as(&node, home, &yaml, &[]);
    program.logs("generation 1 runs on 1 core");
    for line in program.log().lines() {
        let entry: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(entry["level"].is_string() && entry["fields"]["message"].is_string(), "{line}");
    }
    let socket = program.home.socket();
    let told = Command::new(env!("CARGO_BIN_EXE_director"))
        .args(["status", "--json"])
        .env("DIRECTOR_SOCKET", &socket)
        .output()
        .unwrap();
    assert_eq!(told.status.code(), Some(0), "the environment names the socket");
    program.stop_unread();

    let home = Home::new();
    std::fs::write(home.file(), home.yaml(&farm::port_on("net_nonsense0", "[1]"))).unwrap();
    let child = home.run(&node, &["-v"]);
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.lines().any(|line| line.starts_with("EAL: ")), "{told}");
}

#[test]
fn whatever_reads_a_file_comes_to_an_end_with_one_that_has_none() {
    let folder = std::env::temp_dir().join(format!("director-endless-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let config = folder.join("a.yaml");
    fs::write(&config, "ports: [{ name: a, device: net_null0, addresses: [198.18.10.1/24] }]\n")
        .unwrap();
    let config = config.to_str().unwrap();
    for words in [
        &["import", "keepalived", "/dev/zero"][..],
        &["import", "ipvsadm", "/dev/zero"],
        &["replay", "-c", config, "/dev/zero"],
        &["simulate", "/dev/zero"],
    ] {
        let ended = director(words);
        assert!(matches!(ended.code(), Some(1 | 2)), "{words:?}: {:?}", ended.code());
        assert!(ended.stderr.contains("/dev/zero: "), "{words:?}: {}", ended.stderr);
    }
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_file_without_an_end_is_refused() {
    let node = Node::new();
    let running = Program::start(&node, NULL_PORT);
    for words in [&["apply", "/dev/zero"][..], &["apply", "/"]] {
        let ended = running.ask(words);
        assert_sentence(&ended, 1, &[]);
    }
    let ended = director(&["check", "/dev/zero"]);
    assert_sentence(&ended, 1, &["/dev/zero"]);
    assert_eq!(running.number(&["generation"]), 1);
    running.stop_unread();
}

#[test]
fn what_comes_on_standard_input_is_named_so_and_a_mark_without_rules_is_not_nothing() {
    let conf = "virtual_server fwmark 10 {\n  lb_algo wlc\n  lb_kind DR\n  \
                real_server 192.0.2.1 0 {\n    weight 1\n  }\n}\n";
    let ended = director_with_input(&["import", "keepalived", "-"], conf);
    assert_eq!(ended.code(), Some(3));
    assert!(ended.stdout.starts_with("# Imported from standard input.\n"), "{}", ended.stdout);
    assert!(
        ended.stderr.ends_with(
            "0 services were carried over, 1 service stands as a remark to be completed, 1 thing \
             was not\n"
        ),
        "{}",
        ended.stderr
    );
    let checked = director_with_input(&["check", "-"], "ports: 7\n");
    assert_eq!(checked.code(), Some(1));
    let last = checked.stderr.split('\n').rev().nth(1).unwrap();
    assert!(checked.stderr.ends_with('\n') && last.contains("around it"), "{}", checked.stderr);
}
