//! The control socket: who may use it, and what those who misuse it can do to others.

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
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use support::node::Node;
use support::program::{Home, Program, refusal};

const PORT: &str = "ports:\n  - name: lan0\n    device: net_null0\n    cores: [1]\n    \
                    addresses: [198.18.10.1/16]\n";

/// A configuration with this section `control.allow`.
fn yaml(home: &Home, allow: &str) -> String {
    let control = format!("control: {{ socket: {}, allow: {allow} }}\n", home.socket().display());
    home.yaml(PORT).replace(&home.control(), &control)
}

/// Asks for the status as this user and group: whether that was possible, and what was said.
fn ask_as(socket: &Path, user: u32, group: u32) -> Result<(bool, String), std::io::ErrorKind> {
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            // SAFETY: no pointers; the system calls themselves change only this thread, which
            // ends here.
            unsafe {
                assert_eq!(libc::syscall(libc::SYS_setgroups, 0, 0), 0);
                assert_eq!(libc::syscall(libc::SYS_setresgid, group, group, group), 0);
                assert_eq!(libc::syscall(libc::SYS_setresuid, user, user, user), 0);
            }
            let mut stream = UnixStream::connect(socket).map_err(|error| error.kind())?;
            // One that may not be served is told so before it has said anything.
            let _ = stream.write_all(b"{\"request\":\"status\",\"json\":false}\n");
            let mut line = String::new();
            BufReader::new(stream).read_line(&mut line).unwrap();
            let reply: Value = serde_json::from_str(&line).unwrap();
            Ok((reply["ok"].as_bool().unwrap(), reply["text"].as_str().unwrap().to_owned()))
        });
        asking.join().unwrap()
    })
}

#[test]
fn users_and_groups_that_are_allowed_are_served_and_others_are_told_why_not() {
    let node = Node::new();
    let home = Home::new();
    let socket = home.socket();
    let (nobody, some_user) = (yaml(&home, "{}"), yaml(&home, "{ users: [4242] }"));
    let some_group = yaml(&home, "{ groups: [4343] }");
    let program = Program::start_as(&node, home, &nobody, &[]);
    let mode = || fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    let apply = |yaml: &str| {
        let ended = program.ask_with_input(&["apply", "-"], yaml);
        assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    };
    assert_eq!(mode(), 0o600);
    assert!(ask_as(&socket, 0, 0).unwrap().0, "root is always served");
    assert_eq!(ask_as(&socket, 4242, 1), Err(std::io::ErrorKind::PermissionDenied));

    apply(&some_user);
    assert_eq!(mode(), 0o666);
    assert!(ask_as(&socket, 4242, 1).unwrap().0);
    let (served, said) = ask_as(&socket, 4243, 4343).unwrap();
    assert!(!served && said.contains("user 4243 may not speak to this director"), "{said}");

    // The program ends with 1, as it does where the socket itself cannot be reached.
    let copy = program.home.folder.join("director");
    // Wherever the tree is: this user gets there.
    fs::copy(env!("CARGO_BIN_EXE_director"), &copy).unwrap();
    let as_user = |words: &[&str]| {
        let output = Command::new(&copy)
            .args(words)
            .env("DIRECTOR_SOCKET", &socket)
            .uid(4243)
            .gid(4343)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let commands = [
        (&["status"][..], 1),
        (&["apply", "/dev/null"], 1),
        (&["rollback"], 1),
        (&["clients"], 1),
        (&["drain", "198.18.10.11"], 1),
        (&["trace", "--for", "1s"], 1),
        (&["show", "-c"], 1),
        // Here 1 is a difference.
        (&["diff"], 2),
        // As of an ipvsadm that cannot reach IPVS.
        (&["ipvsadm", "-Ln"], 255),
    ];
    let refuses_all = || {
        for (words, code) in commands {
            let (ended, said) = as_user(words);
            assert_eq!(ended, Some(code), "{words:?}: {said}");
            assert!(said.contains("may not speak to th"), "{words:?}: {said}");
            if let ["apply" | "rollback", ..] = words {
                assert!(said.ends_with("\nnothing was changed\n"), "{said}");
            }
        }
    };
    refuses_all();

    apply(&some_group);
    assert!(ask_as(&socket, 4243, 4343).unwrap().0);
    assert!(!ask_as(&socket, 4242, 1).unwrap().0, "not any more");

    apply(&nobody);
    assert_eq!(mode(), 0o600);
    assert_eq!(ask_as(&socket, 4243, 4343), Err(std::io::ErrorKind::PermissionDenied));
    refuses_all();
    program.stop_unread();
}

#[test]
fn names_that_this_machine_does_not_know_are_refused_at_the_start_and_later() {
    let node = Node::new();
    let home = Home::new();
    let unknown = yaml(&home, "{ groups: [no-such-group] }");
    let ended = refusal(&node, &home, &unknown);
    assert_eq!((ended.code(), ended.stderr.lines().count()), (Some(2), 1), "{}", ended.stderr);
    assert!(ended.stderr.contains("there is no group no-such-group"), "{}", ended.stderr);

    let fine = yaml(&home, "{ users: [root] }");
    let program = Program::start_as(&node, home, &fine, &[]);
    let ended = program.ask_with_input(&["apply", "-"], &unknown);
    assert_eq!(ended.code(), Some(1));
    assert!(ended.stderr.contains("generation 1 runs on"), "{}", ended.stderr);
    program.stop_unread();
}

#[test]
fn slow_silent_and_hostile_clients_harm_nobody() {
    let node = Node::new();
    let program = Program::start(&node, PORT);
    let socket = program.home.socket();
    let connect = || UnixStream::connect(&socket).unwrap();
    let silent: Vec<UnixStream> = (0..150).map(|_| connect()).collect();
    let slow: Vec<UnixStream> = (0..50)
        .map(|_| {
            let mut stream = connect();
            let _ = stream.write_all(b"{\"request\":");
            stream
        })
        .collect();
    assert_eq!(program.number(&["generation"]), 1, "they keep nobody waiting");

    // A request without an end is cut off at its limit.
    let mut endless = connect();
    let chunk = vec![b'{'; 1 << 20];
    let mut taken = 0usize;
    while endless.write_all(&chunk).is_ok() {
        taken += chunk.len();
        assert!(taken < 64 << 20, "it has no limit");
    }
    for garbage in [&b"\n"[..], b"\0\xFF\n", b"[[[[[[[[\n", b"{\"request\":\"apply\"}\n"] {
        let mut stream = connect();
        stream.write_all(garbage).unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).unwrap();
        assert!(said.contains("\"ok\":false"), "{said}");
    }
    // Answers that nobody reads: each of these asks and goes.
    for _ in 0..200 {
        connect().write_all(b"{\"request\":\"status\",\"json\":true}\n").unwrap();
    }
    assert_eq!(program.number(&["generation"]), 1);
    let ended = program.ask_with_input(&["apply", "-"], &program.yaml(PORT));
    assert_eq!(ended.code(), Some(0), "{}", ended.stderr);
    drop((silent, slow));
    program.stop_unread();
}
