//! A director under systemd: what it tells, who it becomes, and its unit file.

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
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use support::farm::{self, CLIENT, DIRECTOR, Farm, VIPS};
use support::program::{Home, Program, refusal};
use support::server::{self, Talk, ask};
use support::{PATIENCE, eventually};

/// A service manager that listens.
struct Manager(UnixDatagram);

impl Manager {
    /// Listens in a director's folder and puts itself into its environment.
    fn of(home: &mut Home) -> Self {
        let path = home.folder.join("notify.sock");
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        home.environment.push(("NOTIFY_SOCKET", path.display().to_string()));
        home.environment.push(("WATCHDOG_USEC", "400000".to_owned()));
        Self(socket)
    }

    fn hears(&self) -> String {
        let mut bytes = [0; 4096];
        let length = self.0.recv(&mut bytes).expect("a message in time");
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// The next message that begins so; those in between are given back as well.
    fn until(&self, beginning: &str) -> (String, Vec<String>) {
        let mut others = Vec::new();
        loop {
            let message = self.hears();
            if message.starts_with(beginning) {
                return (message, others);
            }
            others.push(message);
        }
    }
}

fn web(weight: u32) -> String {
    format!(
        "services:\n  - name: web\n    vip: {}\n    protocol: tcp\n    vip_port: 80\n    \
         scheduler: rr\n    real_servers:\n      - {{ address: {}, weight: {weight} }}\n",
        VIPS[0],
        farm::rip(0)
    )
}

#[test]
fn the_service_manager_hears_of_start_reload_refusal_and_stop_and_is_fed_while_cores_move() {
    let farm = Farm::new(1);
    let mut home = Home::new();
    let manager = Manager::of(&mut home);
    let unwatched = "control: { watch: false, socket: ";
    let yaml = |program: &Home, weight| {
        let body = format!("{}{}", farm::one_port(), web(weight));
        program.yaml(&body).replace("control: { socket: ", unwatched)
    };
    let first = yaml(&home, 1);
    let program = Program::start_as(&farm.director, home, &first, &[]);

    let (ready, before) = manager.until("READY=1\n");
    assert!(before.is_empty(), "nothing is said before it is ready: {before:?}");
    assert!(ready.contains(&format!("\nMAINPID={}\n", program.pid())), "{ready}");
    assert!(ready.ends_with("\nSTATUS=generation 1, 1 service"), "{ready}");
    for _ in 0..3 {
        let (_, others) = manager.until("WATCHDOG=1");
        assert!(others.is_empty(), "{others:?}");
    }

    fs::write(program.file(), yaml(&program.home, 2)).unwrap();
    program.signal(libc::SIGHUP);
    let (reloading, _) = manager.until("RELOADING=1\n");
    let usec: u64 = reloading.rsplit_once("MONOTONIC_USEC=").unwrap().1.parse().unwrap();
    assert!(usec > 0);
    let (ready, _) = manager.until("READY=1\n");
    assert!(ready.ends_with("STATUS=generation 2, 1 service"), "{ready}");

    fs::write(program.file(), "ports: none\n").unwrap();
    program.signal(libc::SIGHUP);
    manager.until("RELOADING=1\n");
    let (ready, _) = manager.until("READY=1\n");
    assert!(ready.contains("generation 2, 1 service; the last change was refused: "), "{ready}");
    assert!(ready.contains("director.yaml:1:8: D0104: "), "{ready}");
    assert_eq!(ready.lines().count(), 3, "{ready}");

    farm.switch.ip("link set dev d down");
    let (status, _) = manager.until("STATUS=");
    assert!(status.contains("; port lan0 has no link; "), "{status}");

    program.stop();
    manager.until("STOPPING=1");
}

/// A line of a thread's `/proc` status.
fn of_thread(status: &str, name: &str) -> String {
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_once(':').unwrap().1.trim().to_owned()
}

#[test]
fn a_director_that_has_dropped_its_privileges_goes_on_with_everything() {
    let farm = Farm::new(1);
    server::everywhere(&farm, &[80]);
    let mut home = Home::new();
    let manager = Manager::of(&mut home);
    let body = format!(
        "{}    kernel_port: net_tap0,iface=dtap0\n{}run_as: {{ user: nobody, group: daemon }}\n",
        farm::one_port(),
        web(1)
    );
    let yaml = home.yaml(&body);
    let program = Program::start_as(&farm.director, home, &yaml, &[]);
    manager.until("READY=1\n");
    program.logs("runs as nobody, without capabilities");

    let threads = format!("/proc/{}/task", program.pid());
    let mut seen = 0;
    for thread in fs::read_dir(threads).unwrap() {
        let status = fs::read_to_string(thread.unwrap().path().join("status")).unwrap();
        let ids = |name| of_thread(&status, name).split_whitespace().next().unwrap().to_owned();
        assert_eq!((ids("Uid"), ids("Gid")), ("65534".to_owned(), "1".to_owned()), "{status}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(of_thread(&status, set), "0000000000000000", "{set}\n{status}");
        }
        assert_eq!(of_thread(&status, "NoNewPrivs"), "1");
        assert_eq!(of_thread(&status, "Groups"), "1");
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} threads");

    // Traffic of the service, of the kernel, questions and changes go on.
    let vip = format!("{}:80", VIPS[0]);
    assert_eq!(ask(&farm.client, CLIENT, &vip), "rs1");
    farm.director.ip(&format!("link set dtap0 up\naddr add {DIRECTOR}/16 dev dtap0"));
    server::tcp(&farm.director, &format!("{DIRECTOR}:2222"), "host");
    assert_eq!(Talk::open(&farm.client, CLIENT, &format!("{DIRECTOR}:2222")).say("x"), "host");
    let before = program.number(&["generation"]);
    fs::write(program.file(), yaml.replace("weight: 1", "weight: 7")).unwrap();
    program.reaches(before + 1);
    let entry = program.home.folder.join(format!("history/{:010}.yaml", before + 1));
    eventually("the history goes on", || {
        let owner = fs::metadata(&entry).ok()?.uid();
        assert_eq!(owner, 65534);
        Some(())
    });
    assert_eq!(ask(&farm.client, CLIENT, &vip), "rs1");
    assert!(program.told(&["show"]).contains("web") || program.told(&["show"]).contains(VIPS[0]));
    let changed = yaml.replace("user: nobody", "user: daemon");
    let ended = program.ask_with_input(&["apply", "-"], &changed);
    assert!(ended.stderr.contains("run_as differs"), "{}", ended.stderr);
    program.stop();
}

#[test]
fn a_user_that_is_not_there_ends_the_start_with_a_sentence() {
    let farm = Farm::new(0);
    let home = Home::new();
    let yaml = home.yaml(&format!("{}run_as: no-such-user\n", farm::one_port()));
    let ended = refusal(&farm.director, &home, &yaml);
    assert_eq!(ended.code(), Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("run_as: there is no user `no-such-user`"), "{}", ended.stderr);
}

/// A folder that goes with the test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_unit_file_is_what_systemd_understands() {
    let root = std::env::temp_dir().join(format!("director-unit-{}", std::process::id()));
    let scratch = Scratch(root.clone());
    let made = Command::new("sh")
        .args([
            "-ec",
            "mkdir -p usr/bin usr/lib/systemd && ln -s usr/bin bin && ln -s usr/lib lib && \
            cp -r /usr/lib/systemd/system usr/lib/systemd/ && : > usr/bin/director && \
            chmod +x usr/bin/director",
        ])
        .current_dir({
            fs::create_dir_all(&root).unwrap();
            &root
        })
        .status()
        .unwrap();
    assert!(made.success());
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("../conf/director.service");
    let there = root.join("usr/lib/systemd/system/director.service");
    let verify = |text: &str| {
        fs::write(&there, text).unwrap();
        let output = Command::new("systemd-analyze")
            .arg(format!("--root={}", root.display()))
            .args(["--man=no", "verify", "director.service"])
            .output()
            .expect("systemd-analyze, from the package systemd");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let text = fs::read_to_string(unit).unwrap();
    assert_eq!(verify(&text), "");
    assert!(verify(&text.replace("WatchdogSec", "WatchdogSecs")).contains("Unknown key"));
    assert!(
        verify(&text.replace("/bin/director run", "/bin/directory run")).contains("executable")
    );
    drop(scratch);
}
