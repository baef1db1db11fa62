//! Whatever bytes are given as a configuration, the answer is a model or a problem: no
//! panic, no endless work, no memory beyond 128 MB.
//!
//! Memory and time are limited by the kernel, in a process that reads just one file: the test
//! runs its own program again for each of them. It gets 128 MiB of address space beyond what it
//! has before it reads, and seconds of CPU time; one without limits would take gigabytes or
//! minutes for these files. The high-water mark of its memory is looked at as well.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::indexing_slicing)]
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

use control::config::{self, Code};

const MIB: usize = 1 << 20;

/// The most memory this process ever had, in MiB.
fn high_water_mib() -> usize {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap() / 1024
}

/// The address space that this process has, in bytes.
fn address_space() -> u64 {
    let pages = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split_whitespace().next().unwrap().parse().unwrap();
    pages * 4096
}

/// CPU time that this process may take for a file, in seconds. The tests' program is hardly
/// optimised; the one that is delivered takes less than one.
const SECONDS: u64 = 10;

/// What this process has taken of it already, rounded up.
fn cpu_seconds() -> u64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    // The 14th and 15th field are user and system time in hundredths of a second.
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    ticks.div_ceil(100)
}

/// Sets a limit of this process; what goes beyond it fails or is killed.
fn limit(what: libc::__rlimit_resource_t, to: u64) {
    let limit = libc::rlimit { rlim_cur: to, rlim_max: to };
    // SAFETY: the pointer is to a value on this stack.
    let answer = unsafe { libc::setrlimit(what, &raw const limit) };
    assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
}

const PORT: &str = "ports: [{ name: lan0, device: net_null0, addresses: [\"2001:db8::1/32\"] }]\n";

const SERVICE: &str = "ports: [{ name: lan0, device: net_null0, addresses: [\"2001:db8::1/32\"] }]
services:
- { vip: \"2001:db9::1\", protocol: tcp, vip_port: 80 }
- vip: \"2001:db9::2\"
  protocol: tcp
  vip_port: 80
  real_servers:
";

/// An input that a careless reader takes minutes or gigabytes for.
struct Bomb {
    name: &'static str,
    head: &'static str,
    /// Repeated up to 8 MiB; `#` becomes a number in hex with a colon in it.
    unit: String,
    tail: &'static str,
    /// The only problem, if there is just one.
    code: Option<Code>,
}

impl Bomb {
    fn text(&self) -> String {
        let room = 8 * MIB - self.tail.len();
        let mut text = String::with_capacity(8 * MIB);
        text += self.head;
        let varies = self.unit.contains('#');
        let mut number = 0u32;
        loop {
            let numbered =
                || self.unit.replace('#', &format!("{:x}:{:x}", number >> 16, number & 0xffff));
            let unit = if varies { numbered() } else { self.unit.clone() };
            if text.len() + unit.len() > room || (number > 0 && unit.len() > MIB) {
                break;
            }
            text += &unit;
            number += 1;
        }
        text + self.tail
    }
}

fn bombs() -> Vec<Bomb> {
    let bomb =
        |name, head, unit: &str, tail, code| Bomb { name, head, unit: unit.to_owned(), tail, code };
    let one = |name, head, unit: &str, tail, code| bomb(name, head, unit, tail, Some(code));
    let any = |name, head, unit: &str, tail| bomb(name, head, unit, tail, None);
    vec![
        one("opening brackets", "", "[", "", Code::TooDeep),
        one("opening brackets on lines", "", "[\n ", "", Code::TooDeep),
        one("opening braces", "", "{a: \n ", "", Code::TooDeep),
        one("dashes", "", "- ", "", Code::TooDeep),
        one("question marks", "", "? ", "", Code::TooDeep),
        any("aliases", "a: &a [x]\nb:\n", "- *a\n", ""),
        any("anchors", "", "- &a x\n", ""),
        any("one scalar", "a: ", "x", ""),
        any("one scalar on many lines", "a:\n", " x\n", ""),
        any("one quoted scalar", "a: \"", "x\n ", "\""),
        any("one literal scalar", "a: |\n", " x\n", ""),
        any("escapes", "a: \"", "\\x41\\\n ", "\""),
        any("blank lines", "a:", "\n", ""),
        any("comments", "", "#\n", ""),
        one("commas", "[", "a,\n ", "]", Code::TooManyValues),
        one("commas on one line", "[", "a,", "]", Code::TooManyValues),
        one("pairs on one line", "{", "a,", "}", Code::TooManyValues),
        one("list items", "", "- a\n", "", Code::TooManyValues),
        any("unknown keys", "", "#: 1\n", ""),
        any("one key again and again", "", "log: 1\n", ""),
        any("empty services", SERVICE, "- {}\n", ""),
        any("empty real servers", SERVICE, "  - {}\n", ""),
        any("real servers", SERVICE, "  - {address: \"2001:db8:1::#\"}\n", ""),
        any("the same real server", SERVICE, "  - {address: \"2001:db8::5\"}\n", ""),
        any("wrong words", SERVICE, "  - {address: 1, forwarding: x}\n", ""),
        any("services", SERVICE, "- {vip: \"2001:db9:1::#\", protocol: udp, vip_port: 9}\n", ""),
        any("nulls", "services:\n", "-\n", ""),
        any("documents", "", "---\n", ""),
        any("tags", "", "- !a b\n", ""),
        any("anchors and tags", "services:\n", "- &a !a b\n", ""),
        any("merged keys", "services:\n", "- <<: *a\n", ""),
        any("lists as keys", "", "? []\n: 1\n", ""),
        any("cores", "ports: [{ cores: [", "0-1023,\n ", "]}]"),
        one("quotes", "", "- \"\n", "", Code::TooManyValues),
        one("zeros", "", "\0", "", Code::ControlCharacter),
    ]
}

/// Every port range starts later and ends later than the one before: all overlap.
fn overlapping_ranges() -> String {
    let mut text = format!("{PORT}services:\n- mark: 1\n  selectors:\n");
    for first in 1..=30_000 {
        text += &format!(
            "  - {{ vip: \"2001:db9::1\", protocol: any, vip_port: {first}-{} }}\n",
            first + 30_000
        );
    }
    text
}

/// 10,000 services with 8 real servers each, as an operator's generator writes them.
fn large() -> String {
    let mut text = "ports: [{ name: lan0, device: net_null0, addresses: [198.18.0.1/16] }]\n\
                    services:\n"
        .to_owned();
    for number in 0..10_000 {
        text += &format!(
            "  - name: service-{number}\n    vip: 198.19.{}.{}\n    protocol: tcp\n    \
             vip_port: 443\n    scheduler: wlc\n    persistence: {{ timeout: 360 }}\n    \
             real_servers:\n",
            number / 250,
            number % 250 + 1
        );
        for real in 1..=8 {
            text +=
                &format!("      - {{ address: 198.18.10.{real}, weight: 1, forwarding: route }}\n");
        }
    }
    text
}

fn good_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    ["../conf", "../conf/examples", "tests/fixtures/config/good"]
        .iter()
        .flat_map(|folder| fs::read_dir(root.join(folder)).unwrap())
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "yaml"))
        .collect()
}

/// Set for a process that reads one of the large files: which one.
const CASE: &str = "CONFIG_LIMITS_CASE";

/// All large files: what they are called, what they contain, what they are refused for.
fn large_files() -> Vec<Bomb> {
    let mut files = bombs();
    let whole = |name, unit| Bomb { name, head: "", unit, tail: "", code: None };
    files.push(whole("overlapping ranges", overlapping_ranges()));
    files.push(whole("a large configuration", large()));
    files
}

/// Reads one file and checks the answer; what it took is left to the process that waits.
fn read_one(case: &str) {
    let bomb = large_files().into_iter().find(|bomb| bomb.name == case).unwrap();
    let text = bomb.text();
    drop(bomb.unit);
    assert!(text.len() <= 8 * MIB, "{case} is {} bytes", text.len());
    let before = high_water_mib();
    limit(libc::RLIMIT_AS, address_space() + 128 * MIB as u64);
    // Building the text took some of it.
    limit(libc::RLIMIT_CPU, SECONDS + cpu_seconds());
    let started = std::time::Instant::now();
    let result = config::parse(&text, case);
    let took = started.elapsed();
    println!("{case}: {took:?}, {} MiB, {before} before", high_water_mib());
    match (bomb.code, result) {
        (Some(code), Err(problems)) => {
            assert_eq!(problems.iter().next().unwrap().code, code, "{problems}");
            assert_eq!(problems.len(), 1, "{problems}");
        }
        (Some(code), Ok(_)) => panic!("{case} was accepted and not refused for {code:?}"),
        (None, Err(problems)) => {
            assert!(case != "a large configuration", "{problems}");
            assert!(problems.len() <= 1_000);
        }
        (None, Ok(model)) => assert!(!model.services.is_empty(), "{case} says nothing"),
    }
    assert!(high_water_mib() < 128, "{case} took {} MiB", high_water_mib());
}

/// This test's program again, for one case.
fn child(case: &str) -> std::process::Output {
    std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture"])
        .env(CASE, case)
        // Else malloc reserves address space for each thread that nobody uses.
        .env("MALLOC_ARENA_MAX", "1")
        .output()
        .unwrap()
}

/// What a process does that takes more than it may.
fn be_greedy(case: &str) {
    limit(libc::RLIMIT_AS, address_space() + 128 * MIB as u64);
    limit(libc::RLIMIT_CPU, 1 + cpu_seconds());
    if case == GREEDY[0] {
        println!("{}", vec![1u8; 200 * MIB].len());
    } else {
        let mut number = 1u64;
        while number != 0 {
            number = number.wrapping_mul(3);
        }
        println!("{number}");
    }
}

const GREEDY: [&str; 2] = ["too much memory", "too much time"];

fn the_limits_hold() {
    for case in GREEDY {
        assert!(!child(case).status.success(), "{case} was not stopped");
    }
}

fn large_files_stay_within_memory() {
    for bomb in large_files() {
        let output = child(bomb.name);
        let text = String::from_utf8_lossy(&output.stdout);
        print!("{}", text.lines().find(|line| line.contains(" MiB")).unwrap_or_default());
        println!();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}:\n{text}\n{errors}", bomb.name);
    }
}

fn a_file_cut_at_any_byte_gives_a_model_or_a_problem() {
    let mut cuts = 0;
    for path in good_files() {
        let bytes = fs::read(&path).unwrap();
        for end in 0..bytes.len() {
            if let Err(problems) = config::parse(&bytes[..end], "cut") {
                assert!(!problems.is_empty(), "{} cut at {end}", path.display());
                assert!(!problems.to_string().is_empty());
            }
            cuts += 1;
        }
    }
    assert!(cuts > 10_000, "only {cuts} cuts");
}

fn a_file_with_wrong_bytes_gives_a_model_or_a_problem() {
    // A fixed sequence, so that a failure can be seen again.
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below as u64) as usize
    };
    let marks = b"[]{},:-?&*!|>'\"%@`#\n\t ~0a\xc3\xbc";
    let mut refused = 0;
    for path in good_files() {
        let original = fs::read(&path).unwrap();
        for _ in 0..500 {
            let mut bytes = original.clone();
            for _ in 0..=next(4) {
                let at = next(bytes.len());
                match next(3) {
                    0 => bytes[at] = marks[next(marks.len())],
                    1 => bytes.insert(at, marks[next(marks.len())]),
                    _ => {
                        let end = (at + next(20)).min(bytes.len());
                        drop(bytes.drain(at..end));
                    }
                }
                if bytes.is_empty() {
                    break;
                }
            }
            if let Err(problems) = config::parse(&bytes, "mutated") {
                refused += usize::from(!problems.to_string().is_empty());
            }
        }
    }
    assert!(refused > 1_000, "only {refused} of the changed files were refused");
}

/// The name of the test below.
const TEST: &str = "any_input_is_answered_within_bounds";

#[test]
fn any_input_is_answered_within_bounds() {
    match std::env::var(CASE) {
        Ok(case) if GREEDY.contains(&case.as_str()) => return be_greedy(&case),
        Ok(case) => return read_one(&case),
        Err(_) => the_limits_hold(),
    }
    large_files_stay_within_memory();
    a_file_cut_at_any_byte_gives_a_model_or_a_problem();
    a_file_with_wrong_bytes_gives_a_model_or_a_problem();
}
