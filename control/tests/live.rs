//! Live updates: whatever is done to the configuration while packets flow, it is taken over
//! whole or not at all, and nobody's connection notices.

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
use std::io::{Read, Write};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use support::eventually;
use support::farm::{self, CLIENT, Farm, VIPS};
use support::node::Node;
use support::program::{Home, Program};
use support::server::{self, Talk};

/// One service with rr on the first VIP, its real servers with these weights.
fn body(weights: [u32; 2]) -> String {
    let reals: String = weights
        .iter()
        .enumerate()
        .map(|(index, weight)| {
            format!("      - {{ address: {}, weight: {weight} }}\n", farm::rip(index))
        })
        .collect();
    format!(
        "{}services:\n  - name: web\n    vip: {}\n    protocol: tcp\n    vip_port: 80\n    \
         scheduler: wrr\n    real_servers:\n{reals}",
        farm::one_port(),
        VIPS[0]
    )
}

fn vip(port: u16) -> String {
    format!("{}:{port}", VIPS[0])
}

fn generation(program: &Program) -> u64 {
    program.number(&["adopted_generation"])
}

/// Waits for the next generation, in which the first real server has this weight.
fn takes(program: &Program, how: &str, before: u64, weight: u32) {
    eventually(&format!("{how} taken over"), || (generation(program) > before).then_some(()));
    let listed = program.told(&["show"]);
    let line = listed.lines().find(|line| line.contains("198.18.10.11:80")).unwrap();
    assert_eq!(line.split_whitespace().nth(3), Some(weight.to_string().as_str()), "{how}");
}

/// A client that keeps talking over one connection on a thread of its own.
struct Steady {
    stop: AtomicBool,
    lines: AtomicU32,
}

impl Steady {
    /// Talks while `work` runs: how many lines were answered, all by one server.
    fn during<T>(client: &Node, work: impl FnOnce(&Self) -> T) -> (T, u32) {
        let steady = Self { stop: AtomicBool::new(false), lines: AtomicU32::new(0) };
        let mut talk = Talk::open(client, CLIENT, &vip(80));
        let server = talk.say("first");
        let done = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !steady.stop.load(Ordering::Relaxed) {
                    let line = format!("line {}", steady.lines.load(Ordering::Relaxed));
                    assert_eq!(talk.say(&line), server);
                    steady.lines.fetch_add(1, Ordering::Relaxed);
                }
            });
            let _stop = StopAtTheEnd(&steady.stop);
            work(&steady)
        });
        (done, steady.lines.load(Ordering::Relaxed))
    }

    /// Waits until something more was said and answered.
    fn goes_on(&self) {
        let before = self.lines.load(Ordering::Relaxed);
        eventually("the connection goes on", || {
            (self.lines.load(Ordering::Relaxed) > before + 1).then_some(())
        });
    }
}

struct StopAtTheEnd<'a>(&'a AtomicBool);

impl Drop for StopAtTheEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_tcp_connection_survives_every_way_of_saving_and_a_hundred_reloads() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let program = Program::start(&farm.director, &body([1, 1]));
    let (_, lines) = Steady::during(&farm.client, |steady| {
        ways_of_saving(&program, steady);
        ways_of_asking(&program, steady);
        let before = generation(&program);
        for n in 0..100u32 {
            let yaml = program.yaml(&body([n % 7 + 1, n % 2]));
            let ended = program.ask_with_input(&["apply", "-"], &yaml);
            assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        }
        steady.goes_on();
        assert_eq!(generation(&program), before + 100, "one generation for each");
        let status = program.status();
        for core in status["cores"].as_array().unwrap() {
            assert_eq!(core["generation"], status["generation"], "on every core");
        }
    });
    assert!(lines > 100, "{lines} lines were answered");
    let balance = program.stop();
    assert!(balance.forwarded > 200, "{balance:?}");
}

fn ways_of_saving(program: &Program, steady: &Steady) {
    let file = program.file();
    let folder = &program.home.folder;
    let text = |weight: u32| program.yaml(&body([weight, 1]));

    fs::write(&file, text(2)).unwrap();
    takes(program, "a rewrite in place", 1, 2);

    let mut open = fs::OpenOptions::new().write(true).truncate(true).open(&file).unwrap();
    for part in text(3).as_bytes().chunks(100) {
        open.write_all(part).unwrap();
        open.sync_all().unwrap();
    }
    drop(open);
    takes(program, "a rewrite in many pieces", 2, 3);

    fs::write(folder.join("new"), text(4)).unwrap();
    fs::rename(folder.join("new"), &file).unwrap();
    takes(program, "an atomic replacement", 3, 4);

    // As vim does with 'backupcopy' off: away with the old one, then a new file.
    fs::rename(&file, folder.join("director.yaml~")).unwrap();
    fs::write(&file, text(5)).unwrap();
    fs::remove_file(folder.join("director.yaml~")).unwrap();
    takes(program, "an editor's backup and new file", 4, 5);

    // As a mounted set of files is turned to its next version: by a link.
    fs::write(folder.join("version-6"), text(6)).unwrap();
    fs::write(folder.join("version-7"), text(7)).unwrap();
    for (generation, version) in [(5, 6), (6, 7)] {
        symlink(format!("version-{version}"), folder.join("link")).unwrap();
        fs::rename(folder.join("link"), &file).unwrap();
        takes(program, "a link that is turned", generation, version);
    }
    assert_eq!(generation(program), 7, "each was taken over once");
    steady.goes_on();
}

fn ways_of_asking(program: &Program, steady: &Steady) {
    program.signal(libc::SIGHUP);
    program.logs("director.yaml is what runs already (generation 7)");
    assert_eq!(generation(program), 7, "what runs already is no generation");
    // The same with the watch on the file out of the way, which would be first.
    let file = fs::read_to_string(program.file()).unwrap();
    let unwatched = file.replace("control: {", "control: { watch: false,");
    assert_ne!(unwatched, file);
    fs::write(program.file(), unwatched).unwrap();
    eventually("the watch is off", || (generation(program) == 8).then_some(()));
    fs::write(program.file(), program.yaml(&body([6, 1]))).unwrap();
    program.signal(libc::SIGHUP);
    takes(program, "SIGHUP", 8, 6);
    program.logs("INFO SIGHUP: ");
    // What keepalived and others take these for ends no director.
    program.signal(libc::SIGUSR2);
    program.signal(libc::SIGUSR1);
    program.logs("INFO SIGUSR1: the status is\ndirector ");

    let other = program.home.folder.join("other.yaml");
    fs::write(&other, program.yaml(&body([8, 1]))).unwrap();
    let told = program.told(&["apply", other.to_str().unwrap()]);
    assert!(told.starts_with("generation 10: "), "{told}");
    takes(program, "director apply FILE", 9, 8);

    let ended = program.ask_with_input(&["apply", "-"], &program.yaml(&body([9, 1])));
    assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""));
    takes(program, "director apply -", 10, 9);
    steady.goes_on();
}

#[test]
fn what_is_taken_out_and_put_back_finds_its_connections_again() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let program = Program::start(&farm.director, &body([1, 1]));
    let mut talks: Vec<Talk> = (0..2).map(|_| Talk::open(&farm.client, CLIENT, &vip(80))).collect();
    let servers: Vec<String> = talks.iter_mut().map(|talk| talk.say("before")).collect();
    assert_ne!(servers[0], servers[1]);
    let apply = |text: &str| {
        let ended = program.ask_with_input(&["apply", "-"], text);
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
        ended.stdout
    };
    let whole = program.yaml(&body([1, 1]));
    let without_rs2 = whole.replace("      - { address: 198.18.10.12, weight: 1 }\n", "");
    let without_service = program.yaml(&format!("{}services: []\n", farm::one_port()));
    for less in [without_rs2, without_service] {
        assert_ne!(less, whole);
        apply(&less);
        // What a client says meanwhile is said again by its TCP until somebody hears it.
        for (talk, server) in talks.iter_mut().zip(&servers) {
            if server == "rs2" {
                talk.send("meanwhile");
            }
        }
        eventually("packets without a real server are dropped", || {
            (program.dropped("real_server_gone") > 0 || program.number(&["services"]) == 0)
                .then_some(())
        });
        apply(&whole);
        for (talk, server) in talks.iter_mut().zip(&servers) {
            if server == "rs2" {
                assert_eq!(talk.hear("meanwhile"), *server);
            }
            assert_eq!(talk.say("after"), *server);
        }
    }
    // The addresses of a port are live as well.
    apply(&whole.replace("198.18.10.1/16", "198.18.10.7/16"));
    farm.client.shell("ping -c 1 -W 30 198.18.10.7");
    for (talk, server) in talks.iter_mut().zip(&servers) {
        assert_eq!(talk.say("still"), *server);
    }
    program.stop();
}

#[test]
fn a_bad_configuration_changes_nothing_and_is_explained_everywhere() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let program = Program::start(&farm.director, &body([1, 1]));
    let good = program.told(&["show"]);
    let (_, lines) = Steady::during(&farm.client, |steady| {
        a_bad_file(&program);
        a_bad_apply(&program);
        keys_that_need_a_restart(&program);
        steady.goes_on();
    });
    assert!(lines > 0);
    assert_eq!(generation(&program), 1);
    let listed = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split_whitespace().take(4).collect()).collect()
    };
    assert_eq!(listed(&program.told(&["show"])), listed(&good));

    // A good file afterwards is taken over, and the complaint is gone.
    fs::write(program.file(), program.yaml(&body([2, 1]))).unwrap();
    takes(&program, "the corrected file", 1, 2);
    let last = program.status()["last_apply"].clone();
    assert_eq!(last["result"], "taken over");
    assert!(last["problems"].is_null());
    program.stop();
}

fn a_bad_file(program: &Program) {
    let bad = program.yaml(&body([1, 1])).replace("scheduler: wrr", "schedular: wrr");
    fs::write(program.file(), &bad).unwrap();
    program.logs("there is no key `schedular` here");
    let log = program.log();
    assert!(log.contains("ERROR the file changed: ") && log.contains("nothing was changed"));
    let last = program.status()["last_apply"].clone();
    assert_eq!(last["result"], "refused");
    let problems = last["problems"].as_str().unwrap();
    assert!(problems.contains("did you mean `scheduler`?"), "{problems}");
    let status = program.told(&["status"]);
    assert!(status.contains("director.yaml refused\n"), "{status}");
    assert!(status.contains("    ") && status.contains("`schedular`"), "{status}");

    // Not a file at all, and then an empty one.
    fs::remove_file(program.file()).unwrap();
    program.signal(libc::SIGHUP);
    program.logs("the file cannot be read");
    fs::write(program.file(), "").unwrap();
    program.logs("ERROR the file changed: ");
    assert_eq!(generation(program), 1);
}

fn a_bad_apply(program: &Program) {
    let bad = program.yaml(&body([70_000, 1]));
    let ended = program.ask_with_input(&["apply", "-"], &bad);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""));
    for part in ["70000", "weight", "nothing was changed; generation 1 runs on"] {
        assert!(ended.stderr.contains(part), "'{part}' is not in: {}", ended.stderr);
    }
    assert!(ended.stderr.contains("standard input:"), "{}", ended.stderr);
    let deep = "[".repeat(2_000_000);
    let ended = program.ask_with_input(&["apply", "-"], &deep);
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    let long = "#".repeat(9 << 20);
    let ended = program.ask_with_input(&["apply", "-"], &long);
    assert_eq!(ended.code(), Some(1), "{}", ended.stderr);
    let binary = program.home.folder.join("binary");
    fs::write(&binary, [0xFF, 0xFE, 0, 1]).unwrap();
    let ended = program.ask(&["apply", binary.to_str().unwrap()]);
    assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""));
    assert_eq!(generation(program), 1);
}

fn keys_that_need_a_restart(program: &Program) {
    let good = program.yaml(&body([1, 1]));
    for (key, old, new) in [
        ("memory", "mib: 128", "mib: 256"),
        ("tables.fragments", "clients: 16k", "clients: 16k, fragments: 16k"),
        ("main_core", "main_core: 0", "main_core: 2"),
        ("control.socket", "control.sock", "other.sock"),
        ("ports.lan0.name", "name: lan0", "name: wan0"),
        ("ports.lan0.device", "iface=eth0", "iface=eth1"),
        ("ports.lan0.cores", "cores: [1]", "cores: [2]"),
        ("ports.lan0.mtu", "    cores: [1]", "    mtu: 1400\n    cores: [1]"),
        ("ports.lan0.promiscuous", "    cores: [1]", "    promiscuous: true\n    cores: [1]"),
        ("ports.lan0.rx_descriptors", "    cores: [1]", "    rx_descriptors: 512\n    cores: [1]"),
        ("ports.lan0.kernel_port", "    cores: [1]", "    kernel_port: net_tap0\n    cores: [1]"),
    ] {
        let changed = good.replace(old, new);
        assert_ne!(changed, good, "{key}");
        let ended = program.ask_with_input(&["apply", "-"], &changed);
        assert_eq!((ended.code(), ended.stdout.as_str()), (Some(1), ""), "{key}");
        let sentence = format!("{key} differs from the running configuration and needs a restart");
        assert!(ended.stderr.contains(&sentence), "{key}: {}", ended.stderr);
    }
    assert_eq!(generation(program), 1);
}

/// How many connections there is room for.
fn room(program: &Program) -> u64 {
    let report = program.status();
    let rows = report["tables"].as_array().unwrap();
    let row = rows.iter().find(|row| row["name"] == "connections").unwrap();
    assert!(row["bytes_per_entry"].as_f64().unwrap() < 80.0, "{row}");
    let pages = report["memory"]["pages"].as_object().unwrap();
    assert!(pages.values().map(|bytes| bytes.as_u64().unwrap()).sum::<u64>() > 0, "{pages:?}");
    row["capacity"].as_u64().unwrap()
}

#[test]
fn tables_grow_with_a_reload_and_by_themselves_and_shrink_with_a_restart_only() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let datagrams = format!(
        "  - {{ name: datagrams, vip: {}, protocol: udp, vip_port: 80, scheduler: rr,\n      \
         real_servers: [{{ address: {} }}] }}\n",
        VIPS[0],
        farm::rip(0)
    );
    let home = Home::new();
    let small =
        home.yaml(&(body([1, 1]) + &datagrams)).replace("connections: 16k", "connections: 1024");
    let program = Program::start_as(&farm.director, home, &small, &[]);
    program.resolves("198.18.10.11");
    let mut talk = Talk::open(&farm.client, CLIENT, &vip(80));
    let server = talk.say("before");
    assert_eq!(room(&program), 1_024 + 4_000, "1,024 are the least");

    farm.client.inside(|| {
        for port in 20_000..20_950 {
            let socket = std::net::UdpSocket::bind((CLIENT, port)).unwrap();
            socket.send_to(b"one of many", vip(80)).unwrap();
            std::thread::sleep(std::time::Duration::from_micros(100));
        }
    });
    eventually("a table that doubles", || (room(&program) == 2_048 + 4_000).then_some(()));
    program.logs("of 1024 entries and grows to twice that");
    assert_eq!(talk.say("while it was full"), server);

    let larger = small.replace("connections: 1024", "connections: 64k");
    let ended = program.ask_with_input(&["apply", "-"], &larger);
    assert!(ended.stdout.contains("tables.connections grows to 64000"), "{}", ended.stdout);
    eventually("the larger table", || (room(&program) == 64_000 + 4_000).then_some(()));
    assert_eq!(talk.say("after the growth"), server);
    let ended = program.ask_with_input(&["apply", "-"], &small);
    let said = "tables.connections stays at 64000 until a restart";
    assert!(ended.stdout.contains(said), "{}", ended.stdout);
    assert_eq!(room(&program), 64_000 + 4_000);
    assert_eq!(talk.say("at the end"), server);
    program.stop();
}

#[test]
fn silent_slow_and_hostile_clients_of_the_socket_harm_nobody() {
    let farm = Farm::new(2);
    server::everywhere(&farm, &[80]);
    let program = Program::start(&farm.director, &body([1, 1]));
    let path = program.home.socket();
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "{mode:o}");
    let (_, lines) = Steady::during(&farm.client, |steady| {
        let connect = || UnixStream::connect(&path).unwrap();
        let silent: Vec<UnixStream> = (0..40).map(|_| connect()).collect();
        let half: Vec<UnixStream> = (0..10)
            .map(|_| {
                let mut stream = connect();
                stream.write_all(b"{\"request\":\"sta").unwrap();
                stream
            })
            .collect();
        assert_eq!(program.ask(&["status"]).code(), Some(0), "beside those that say nothing");

        for words in [&b"\n"[..], b"GET / HTTP/1.1\r\n\r\n", b"{\"request\":\"halt\"}\n", &[0; 99]]
        {
            let mut stream = connect();
            stream.write_all(words).unwrap();
            stream.shutdown(std::net::Shutdown::Write).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let refused: serde_json::Value = serde_json::from_str(&answer).unwrap();
            assert_eq!(refused["ok"], false, "{answer}");
        }
        // One asks and does not wait for the answer; one sends without an end.
        for _ in 0..50 {
            connect().write_all(b"{\"request\":\"status\",\"json\":false}\n").unwrap();
        }
        let mut endless = connect();
        let _ = endless.write_all(&vec![b'x'; 1 << 20]);
        // More than are served at once: those beyond are sent away, and when the silent ones
        // have been hung up on there is room again.
        let crowd: Vec<UnixStream> =
            (0..100).filter_map(|_| UnixStream::connect(&path).ok()).collect();
        eventually("the socket serves again", || {
            let ended = program.ask(&["show"]);
            assert!(matches!(ended.code(), Some(0..=2)), "{}", ended.stderr);
            (ended.code() == Some(0)).then_some(())
        });
        steady.goes_on();
        drop((silent, half, crowd, endless));
    });
    assert!(lines > 0);
    program.stop();
}

#[test]
fn a_file_that_is_not_watched_is_read_on_sighup_alone() {
    let node = Node::new();
    let home = Home::new();
    let quiet = |text: String| text.replace("control: {", "control: { watch: false,");
    let ports = "ports:\n  - { name: lan0, device: net_null0, addresses: [198.18.10.1/16] }\n";
    let yaml = quiet(home.yaml(ports));
    let program = Program::start_as(&node, home, &yaml, &[]);
    let more =
        format!("{ports}services:\n  - {{ vip: 198.18.255.1, protocol: tcp, vip_port: 80 }}\n");
    fs::write(program.file(), quiet(program.yaml(&more))).unwrap();
    program.signal(libc::SIGHUP);
    program.reaches(2);
    assert_eq!(program.number(&["services"]), 1);
    assert!(!program.log().contains("the file changed"), "{}", program.log());
    program.stop_unread();
}
