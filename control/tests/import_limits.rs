//! Whatever 8 MiB `director import` is given, it answers within 128 MB and seconds of CPU time;
//! more than 8 MiB it does not read.
//!
//! The program itself runs for each file, under a limit of CPU time that the kernel keeps, and
//! the kernel says how much memory it had at most. Files that are read carelessly take minutes
//! or gigabytes.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

const MIB: usize = 1 << 20;
/// The largest file that is read.
const LARGEST: usize = 8 * MIB;
/// CPU time that one file may take, in seconds. The tests' program is hardly optimised, and the
/// one that is delivered takes less than one.
const SECONDS: u64 = 15;

/// How a program ended.
struct Ended {
    /// `None`: by a signal.
    code: Option<i32>,
    stderr: String,
    /// The most memory that it had.
    mib: usize,
}

/// Set for a process of this program that runs `director import`: its kind and file.
const CASE: [&str; 2] = ["IMPORT_LIMITS_KIND", "IMPORT_LIMITS_FILE"];

/// Runs `director import` from a small process: what the one had that begins a program counts
/// as the program's, too.
fn import(kind: &str, file: &Path) -> Ended {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "what_a_program_takes_is_measured", "--nocapture"])
        .env(CASE[0], kind)
        .env(CASE[1], file)
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let line = stdout.lines().find_map(|line| line.split_once("measured ")).unwrap().1;
    let (code, kib) = line.split_once(' ').unwrap();
    Ended { code: code.parse().ok(), stderr, mib: kib.parse::<usize>().unwrap() / 1024 }
}

/// What the small process does.
#[allow(clippy::zombie_processes, reason = "`wait4` waits, and says what `wait` does not")]
fn run_and_measure(kind: &str, file: &str) {
    let limit = libc::rlimit { rlim_cur: SECONDS, rlim_max: SECONDS };
    // SAFETY: the pointer is to a value on this stack.
    let answer = unsafe { libc::setrlimit(libc::RLIMIT_CPU, &raw const limit) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    let mut command = Command::new(env!("CARGO_BIN_EXE_director"));
    let child = command.args(["import", kind, file]).stdout(Stdio::null()).spawn().unwrap();
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    let pid = i32::try_from(child.id()).unwrap();
    // SAFETY: the pointers are to values on this stack, and nobody else waits for the child.
    let waited = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    assert_eq!(waited, pid, "{}", std::io::Error::last_os_error());
    // SAFETY: it was zeroed, which is a value of this type, and `wait4` may have filled it.
    let kib = unsafe { usage.assume_init() }.ru_maxrss;
    let code = match libc::WIFEXITED(status) {
        true => libc::WEXITSTATUS(status).to_string(),
        false => "killed".to_owned(),
    };
    println!("measured {code} {kib}");
}

#[test]
fn what_a_program_takes_is_measured() {
    if let [Ok(kind), Ok(file)] = CASE.map(std::env::var) {
        return run_and_measure(&kind, &file);
    }
    // What this process has is not counted.
    let large = vec![1_u8; 200 * MIB];
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("a small file");
    fs::write(&file, "-A -t 198.18.255.1:80\n").unwrap();
    let ended = import("ipvsadm", &file);
    fs::remove_file(file).unwrap();
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!((1..64).contains(&ended.mib), "{} MiB", ended.mib);
    assert_eq!(large.iter().map(|byte| usize::from(*byte)).sum::<usize>(), 200 * MIB);
}

/// `head`, as many units as fit into the largest file, and `tail`.
fn filled(head: &str, tail: &str, mut unit: impl FnMut(usize, &mut String)) -> String {
    let mut text = String::with_capacity(LARGEST + MIB);
    text += head;
    let mut number = 0;
    loop {
        let before = text.len();
        unit(number, &mut text);
        if text.len() + tail.len() > LARGEST {
            text.truncate(before);
            return text + tail;
        }
        number += 1;
    }
}

fn repeated(unit: &str) -> String {
    filled("", "", |_, text| text.push_str(unit))
}

/// Units of which each has a number (`#`), an address (`@`) or a port (`%`) of its own.
fn numbered(head: &str, unit: &str, tail: &str) -> String {
    filled(head, tail, |number, text| {
        for part in unit.split_inclusive(['#', '@', '%']) {
            text.push_str(part.trim_end_matches(['#', '@', '%']));
            match part.chars().last() {
                Some('#') => write!(text, "{}", number + 1).unwrap(),
                Some('%') => write!(text, "{}", number % 65_535 + 1).unwrap(),
                Some('@') => {
                    let [_, a, b, c] = u32::try_from(number).unwrap().to_be_bytes();
                    write!(text, "10.{a}.{b}.{c}").unwrap();
                }
                _ => {}
            }
        }
    })
}

/// The same random numbers each time.
fn noise(alphabet: &[u8]) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..LARGEST)
        .map(|_| {
            let [random, ..] = next().to_le_bytes();
            match alphabet.len() {
                0 => random,
                length => alphabet[usize::from(random) % length],
            }
        })
        .collect()
}

/// Whether it is imported or refused within its limits; what it took is told.
fn answers(kind: &str, name: &str, text: impl AsRef<[u8]>) {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{kind} {name}"));
    fs::write(&file, text).unwrap();
    let ended = import(kind, &file);
    fs::remove_file(file).unwrap();
    println!("{kind}: {name}: {} MiB", ended.mib);
    let first: String = ended.stderr.lines().take(3).collect();
    assert!(matches!(ended.code, Some(0 | 1 | 3)), "{kind}: {name}: {:?} {first}", ended.code);
    assert!(ended.mib < 128, "{kind}: {name} took {} MiB", ended.mib);
}

/// What no program ever wrote.
fn nonsense() -> Vec<(&'static str, Vec<u8>)> {
    let mut texts: Vec<(&'static str, Vec<u8>)> = [
        ("dashes", "-\n"),
        ("words", "x\n"),
        ("many words", "a b c d e f g h\n"),
        ("blank lines", "\n"),
        ("one line", "x"),
        ("one line of words", "x "),
        ("blocks in blocks", "a {\n"),
        ("braces", "{"),
        ("empty blocks", "x {\n}\n"),
        ("closing braces", "}\n"),
        ("half a command", "-A -t\n"),
        ("variables", "$A\n"),
        ("one variable", "A=b\n"),
        ("continued lines", "\\\n"),
        ("quotes", "\""),
    ]
    .map(|(name, unit)| (name, repeated(unit).into_bytes()))
    .to_vec();
    texts.push(("many variables", numbered("", "A#=b#\n", "").into_bytes()));
    texts.push(("many parameters", numbered("", "$A#=b#\n", "").into_bytes()));
    let long = "x ".repeat(4_000);
    let called = numbered(&format!("$A={long}\n"), "$A\n", "");
    texts.push(("a long parameter", called.into_bytes()));
    texts.push(("bytes that are no text", vec![0xff; LARGEST]));
    texts.push(("noise", noise(&[])));
    texts.push(("noise of signs", noise(b"abc {}\n;,-:/01.$\\\"#!@")));
    texts
}

#[test]
fn nonsense_is_refused_within_bounds() {
    for (name, text) in nonsense() {
        for kind in ["ipvsadm", "iptables", "keepalived"] {
            answers(kind, name, &text);
        }
    }
}

#[test]
fn ipvsadm_commands_are_read_within_bounds() {
    let pair = "-A -t @:80\n-a -t @:80 -r 172.16.0.1:80 -m\n";
    let servers = numbered("-A -t 10.0.0.1:80\n", "-a -t 10.0.0.1:80 -r @:80 -m\n", "");
    answers("ipvsadm", "services", numbered("", "-A -t @:80 -s rr\n", ""));
    answers("ipvsadm", "services with servers", numbered("", pair, ""));
    answers("ipvsadm", "servers of one service", servers);
    answers("ipvsadm", "marks", numbered("", "-A -f #\n", ""));
    answers("ipvsadm", "services that go again", repeated("-A -f 1\n-D -f 1\n"));
    answers("ipvsadm", "servers of no service", numbered("", "-a -f # -r 1.1.1.1\n", ""));
    answers("ipvsadm", "names", numbered("", "-A -t host#:http\n", ""));
}

#[test]
fn rules_of_iptables_are_read_within_bounds() {
    let listed = |unit: &str| numbered("*mangle\n", &format!("-A {unit}\n"), "COMMIT\n");
    let marked = "-j MARK --set-mark #";
    answers("iptables", "marks", listed(&format!("PREROUTING -d @ -p tcp --dport 80 {marked}")));
    answers("iptables", "marks of one VIP", listed(&format!("PREROUTING -d 10.0.0.1 {marked}")));
    answers("iptables", "marks of anything", listed(&format!("PREROUTING {marked}")));
    let ports = format!("PREROUTING -d 10.0.0.1 -p tcp --dport % {marked}");
    answers("iptables", "marks of ports", listed(&ports));
    answers("iptables", "networks", listed("PREROUTING -d @/24 -j MARK --set-mark 1"));
    answers("iptables", "jumps", listed("x -j A"));
    answers("iptables", "chains that call chains", listed("PREROUTING -j c#\n-A c# -j c"));
    answers("iptables", "chains", numbered("*mangle\n", ":c#\n", "COMMIT\n"));
    answers("iptables", "tables", numbered("", "*t#\n:c\n", ""));
    let list = vec!["1.1.1.1"; 8_000].join(",");
    answers("iptables", "lists", listed(&format!("PREROUTING -d {list} {marked}")));
    let call = "iptables -t mangle";
    let mut there = String::new();
    for number in 0..6_000 {
        writeln!(there, "{call} -A PREROUTING -d 10.1.0.{number} -j DROP").unwrap();
        writeln!(there, "{call} -A PREROUTING --dport {number} -j MARK --set-mark 1").unwrap();
    }
    let rule = "PREROUTING -d 1.1.1.1 -j MARK --set-mark 1\n";
    let unit = format!("{call} -I {rule}{call} -D {rule}");
    answers("iptables", "rules put before others", numbered(&there, &unit, ""));
    let unit = format!("{call} -D PREROUTING -d @ {marked}\n");
    answers("iptables", "rules that are not there", numbered(&there, &unit, ""));
}

#[test]
fn rulesets_of_nft_are_read_within_bounds() {
    const HEAD: &str = "table ip t {\nchain c {\ntype filter hook prerouting priority -150\n";
    const TAIL: &str = "\n}\n}\n";
    let chain = |unit: &str| numbered(HEAD, unit, TAIL);
    answers("iptables", "marks", chain("ip daddr @ tcp dport 80 meta mark set #\n"));
    answers("iptables", "marks of anything", chain("mark set 1\n"));
    answers("iptables", "drops", chain("drop;"));
    answers("iptables", "statements that end", chain(";"));
    answers("iptables", "words", chain("1 "));
    answers("iptables", "commas", chain(","));
    answers("iptables", "marks of connections", chain("ct mark set 10\n"));
    let covered = filled(HEAD, TAIL, |number, text| {
        writeln!(text, "ip daddr 10.{}.0.0/24 mark set 1", number % 255).unwrap();
    });
    answers("iptables", "marks over marks", covered);
    let wide = filled(HEAD, TAIL, |number, text| {
        let (third, fourth) = (number / 200 % 200, number % 200);
        writeln!(text, "ip daddr 10.0.{third}.{fourth}-10.0.{}.1 mark set 1", third + 50).unwrap();
    });
    answers("iptables", "networks that overlap", wide);
    let open = |begin: &str, unit: &str| {
        numbered(&format!("{HEAD}{begin} {{ "), unit, &format!("}}{TAIL}"))
    };
    let verdicts = "ip daddr . tcp dport vmap";
    answers("iptables", "a map of verdicts", open(verdicts, "@ . 80 : drop, "));
    let marks = "meta mark set ip daddr . tcp dport map";
    answers("iptables", "a map of marks", open(marks, "@ . 80 : #, "));
    let set = numbered(&format!("{HEAD}ip daddr {{ "), "@, ", &format!("}} mark set 1{TAIL}"));
    answers("iptables", "a set", set);
    let line = numbered(&format!("{HEAD}ip daddr 10.0.0.1 "), "accept ", TAIL);
    answers("iptables", "verdicts of one rule", line);
    let mut ways = String::from("ip daddr { ");
    for number in 0..1_900 {
        write!(ways, "10.0.{}.{},", number / 250, number % 250).unwrap();
    }
    ways += " } tcp dport vmap { ";
    for port in 0..1_900 {
        write!(ways, "{port} : accept,").unwrap();
    }
    ways += "}\n";
    answers("iptables", "sets times maps", chain(&ways));
    answers("iptables", "chains", numbered("table ip t {\n", "chain c# {\n}\n", "}\n"));
    answers("iptables", "tables", numbered("", "table ip t# { chain c { } }\n", ""));
}

#[test]
fn configurations_of_keepalived_are_read_within_bounds() {
    let vs = |unit: &str| numbered("", &format!("virtual_server @ 80 {{ {unit}\n}}\n"), "");
    let servers = |unit: &str| numbered("virtual_server 10.0.0.1 80 {\n", unit, "}\n");
    answers("keepalived", "services", vs(""));
    answers("keepalived", "services with servers", vs("real_server 10.0.0.1 80 { }"));
    let usual =
        "lb_algo rr\n lb_kind DR\n protocol TCP\n real_server 172.16.0.1 80 {\n weight 1\n}";
    answers("keepalived", "usual services", vs(usual));
    answers("keepalived", "marks", numbered("", "virtual_server fwmark # { }\n", ""));
    answers("keepalived", "servers of one service", servers("real_server @ 80\n"));
    let checked = "real_server @ 80 {\nTCP_CHECK { connect_port #\n}\n}\n";
    answers("keepalived", "health checks", servers(checked));
    answers("keepalived", "other keys", servers("x\n"));
    answers("keepalived", "groups", numbered("", "virtual_server_group g# {\n}\n", ""));
    let used = "virtual_server_group g# { @ 80\n}\nvirtual_server group g# {\n}\n";
    answers("keepalived", "groups with services", numbered("", used, ""));
    let mut group = String::from("virtual_server_group g {\n");
    for net in 0..19 {
        writeln!(group, "10.{net}.0.0/20 80").unwrap();
    }
    let services = numbered(&(group + "}\n"), "virtual_server group g {\n}\n", "");
    answers("keepalived", "services for one group", services);
    answers("keepalived", "blocks on few lines", repeated(&("x{}".repeat(20_000) + "\n")));
    let long = "x".repeat(4 * MIB);
    answers("keepalived", "a huge parameter", numbered(&format!("$A={long}\n"), "$A ", "\n"));
    let lines = "x\\\n".repeat(1_000);
    answers("keepalived", "a parameter of lines", numbered(&format!("$A={lines}\n"), "$A\n", ""));
}

#[test]
fn more_than_eight_mib_is_refused_before_it_is_read() {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("larger than is read");
    // Of 64 GiB nothing is on the disk; nobody would get them read.
    fs::File::create(&file).unwrap().set_len(64 << 30).unwrap();
    for kind in ["ipvsadm", "iptables", "keepalived"] {
        for file in [&file, Path::new("/dev/zero")] {
            let ended = import(kind, file);
            assert_eq!(ended.code, Some(1), "{}", ended.stderr);
            let sentence = format!(
                "{}: it has more than 8388608 bytes (8 MiB), which no configuration may have; \
                 import it in parts",
                file.display()
            );
            assert!(ended.stderr.contains(&sentence), "{}", ended.stderr);
            assert!(ended.mib < 64, "{} MiB", ended.mib);
        }
    }
    fs::remove_file(file).unwrap();
}
