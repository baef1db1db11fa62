//! The program under the name `ipvsadm` against a running director.

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
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use support::node::Node;
use support::program::{Ended, Program, run_to_end};

/// The director of the recordings' topology, on ports that nothing comes in on. `net_null`
/// would bring frames all the time; a ring brings none.
fn recorded_place() -> String {
    "ports:\n\
     \x20 - name: eth0\n\
     \x20   device: net_ring0\n\
     \x20   addresses: [10.255.255.1/24, \"fd00:ff::1/64\", 192.0.2.10/32, 192.0.2.20/32, \
     192.0.2.30/32, \"2001:db8:c0de::10/128\", \"2001:db8:c0de::20/128\"]\n\
     \x20   gateway: 10.255.255.254\n\
     \x20   gateway6: \"fd00:ff::fe\"\n\
     \x20 - name: eth1\n\
     \x20   device: net_ring1\n\
     \x20   addresses: [172.16.0.1/24, \"fd00:16::1/64\"]\n\
     services: []\n"
        .to_owned()
}

/// A shell in which `ipvsadm` is a link to the program.
struct Shell {
    program: Program,
    folder: PathBuf,
}

impl Shell {
    fn start(body: &str) -> Self {
        let program = Program::start(&Node::new(), body);
        let folder = program.home.folder.join("bin");
        fs::create_dir(&folder).unwrap();
        for name in ["ipvsadm", "ipvsadm-save", "ipvsadm-restore"] {
            let link = folder.join(name);
            std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_director"), link).unwrap();
        }
        // What the recordings do besides: marks and settings, which no text depends on.
        for name in ["iptables", "ip6tables", "sysctl", "ip", "modprobe"] {
            let mut stub = fs::OpenOptions::new();
            use std::os::unix::fs::OpenOptionsExt;
            let file = stub.write(true).create(true).mode(0o755).open(folder.join(name));
            file.unwrap().write_all(b"#!/bin/sh\nexit 0\n").unwrap();
        }
        Self { program, folder }
    }

    fn run_with(&self, line: &str, input: &str) -> Ended {
        let mut command = Command::new("sh");
        command
            .args(["-c", line])
            .env("PATH", format!("{}:/usr/bin:/bin", self.folder.display()))
            .env("DIRECTOR_SOCKET", self.program.home.socket())
            .current_dir(&self.folder);
        run_to_end(&mut command, input)
    }

    fn run(&self, line: &str) -> Ended {
        self.run_with(line, "")
    }

    /// Runs commands that must work and say nothing.
    fn done(&self, lines: &[&str]) {
        for line in lines {
            let ended = self.run(line);
            let said = (ended.code(), ended.stdout.as_str(), ended.stderr.as_str());
            assert_eq!(said, (Some(0), "", ""), "{line}");
        }
    }

    fn told(&self, line: &str) -> String {
        let ended = self.run(line);
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{line}");
        ended.stdout
    }

    fn forget(&self) {
        self.done(&["ipvsadm -C", "ipvsadm --set 900 120 300"]);
        for role in ["master", "backup"] {
            self.run(&format!("ipvsadm --stop-daemon {role}"));
        }
    }
}

/// A recording's commands, as far as they can be compared where no packet flows.
struct Played<'a> {
    shell: &'a Shell,
    name: String,
    packets: bool,
    compared: usize,
    wrong: Vec<String>,
}

impl Played<'_> {
    fn command(&mut self, step: &Value) {
        let line = step["cmd"].as_str().unwrap();
        // The kernel's own interfaces are not ipvsadm's.
        if line.contains("python3") || line.contains("/proc/") {
            return;
        }
        let here = line.replace("/tmp/", &format!("{}/", self.shell.folder.display()));
        let ended = self.shell.run_with(&here, step["stdin"].as_str().unwrap_or_default());
        let stubbed =
            ["iptables", "ip6tables", "sysctl", "ip "].iter().any(|w| line.starts_with(w));
        let counts = self.packets && ["-l", "-L"].iter().any(|word| line.contains(word));
        if stubbed || counts {
            return;
        }
        self.equal(line, "exit code", &code(step), &format!("{:?}", ended.code()));
        // The kernel lists in the order of a hash that is another one after each boot.
        if !line.contains("--nosort") {
            self.equal(line, "stdout", step["stdout"].as_str().unwrap_or_default(), &ended.stdout);
        }
        self.equal(line, "stderr", step["stderr"].as_str().unwrap_or_default(), &ended.stderr);
    }

    fn snap(&mut self, step: &Value) {
        for (key, output) in step["outputs"].as_object().unwrap() {
            let line = output["cmd"].as_str().unwrap();
            let counts = !["save", "timeout", "daemon"].contains(&key.as_str());
            if !line.starts_with("ipvsadm") || (self.packets && counts) {
                continue;
            }
            let ended = self.shell.run(line);
            self.equal(line, key, output["stdout"].as_str().unwrap(), &ended.stdout);
        }
    }

    fn equal(&mut self, line: &str, part: &str, expected: &str, got: &str) {
        self.compared += 1;
        if expected != got {
            let name = &self.name;
            let text =
                format!("{name}: {line}: {part}\n expected {expected:?}\n got      {got:?}\n");
            self.wrong.push(text);
        }
    }
}

fn code(step: &Value) -> String {
    format!("{:?}", Some(step["rc"].as_i64().unwrap_or(0)))
}

fn play(shell: &Shell, file: &Path) -> (usize, Vec<String>) {
    let vector: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
    shell.forget();
    let name = vector["name"].as_str().unwrap().to_owned();
    let mut played = Played { shell, name, packets: false, compared: 0, wrong: Vec::new() };
    for setup in vector["setup"].as_array().unwrap() {
        played.command(setup);
    }
    for step in vector["steps"].as_array().unwrap() {
        match step["op"].as_str().unwrap() {
            "pkt" => played.packets = true,
            "cmd" => played.command(step),
            "snap" => played.snap(step),
            other => panic!("{other}"),
        }
    }
    (played.compared, played.wrong)
}

#[test]
fn the_recorded_commands_answer_and_end_as_ipvsadm_did() {
    let shell = Shell::start(&recorded_place());
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../dataplane/tests/vectors");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "json"));
    // Its services are made past ipvsadm.
    files.retain(|file| !file.ends_with("port0-kernel-side.json"));
    files.sort();
    let (mut compared, mut wrong) = (0, Vec::new());
    for file in &files {
        let (some, differing) = play(&shell, file);
        compared += some;
        wrong.extend(differing);
    }
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.concat());
    assert!(compared > 3_000, "only {compared} texts and codes were compared");
}

#[test]
fn a_saved_listing_is_restored_by_name_and_by_number() {
    let shell = Shell::start(&recorded_place());
    shell.done(&[
        "ipvsadm -A -t 192.0.2.10:http -s wrr -p 600",
        "ipvsadm -a -t 192.0.2.10:http -r 172.16.0.11 -w 5",
        "ipvsadm -a -t 192.0.2.10:http -r 172.16.0.12:8080 -m",
        "ipvsadm -A -f 10 -p",
        "ipvsadm -a -f 10 -r 172.16.0.11",
        "ipvsadm -A -f 10 -6 -s rr",
        "ipvsadm -A -t [2001:db8:c0de::10]:443 -s sh -b sh-port,sh-fallback",
    ]);
    let saved = shell.told("ipvsadm -S -n");
    assert_eq!(saved.lines().count(), 7, "{saved}");
    let named = shell.told("ipvsadm-save");
    assert!(named.contains("-t 192.0.2.10:http "), "{named}");
    for text in [&saved, &named] {
        shell.done(&["ipvsadm -C"]);
        assert_eq!(shell.told("ipvsadm -S -n"), "");
        let restored = shell.run_with("ipvsadm -R", text);
        assert_eq!((restored.code(), restored.stderr.as_str()), (Some(0), ""));
        assert_eq!(shell.told("ipvsadm -S -n"), saved);
    }
    let before = shell.program.number(&["generation"]);
    let mut many = String::from("-C\n");
    for n in 0..2_000 {
        let vip = format!("198.18.{}.{}:80", n / 250, n % 250 + 1);
        many += &format!("-A -t {vip} -s rr\n-a -t {vip} -r 172.16.0.11:80\n");
    }
    let restored = shell.run_with("ipvsadm-restore", &many);
    assert_eq!((restored.code(), restored.stderr.as_str()), (Some(0), ""));
    assert_eq!(shell.program.number(&["generation"]), before + 1, "a restore is one change");
    assert_eq!(shell.program.number(&["services"]), 2_000);
    shell.program.stop();
}

#[test]
fn mistakes_are_told_where_they_stand_and_nobody_there_is_too() {
    let shell = Shell::start(&recorded_place());
    let input = "-A -t 192.0.2.10:80 -s rr\n-A -t 192.0.2.10:80\n-A -D -t 192.0.2.10:81\n-C\n";
    let ended = shell.run_with("ipvsadm -R", input);
    assert_eq!(ended.stderr, "Service already exists\ninvalid option `-D'\n");
    assert_eq!(ended.code(), Some(2));
    assert_eq!(shell.told("ipvsadm -S -n"), "-A -t 192.0.2.10:80 -s rr\n");
    let help = shell.told("director_socket=x ipvsadm -h");
    assert!(help.contains("--add-service     -A "), "{help}");
    let told = shell.program.told(&["ipvsadm", "-S", "-n"]);
    assert_eq!(told, "-A -t 192.0.2.10:80 -s rr\n");
    let away = shell.run("DIRECTOR_SOCKET=/nonexistent/socket ipvsadm -Ln");
    assert_eq!(away.code(), Some(255));
    assert!(away.stderr.contains("no director answers on /nonexistent/socket"), "{}", away.stderr);
    shell.program.stop();
}
