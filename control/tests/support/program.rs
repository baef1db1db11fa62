//! The program: started in a node, asked over its socket, stopped by a signal.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

use super::node::Node;
use super::{PATIENCE, eventually};

static HOMES: AtomicU32 = AtomicU32::new(0);

/// A folder for one director: configuration, socket, DPDK's files.
pub struct Home {
    pub folder: PathBuf,
    /// More for the director's environment.
    pub environment: Vec<(&'static str, String)>,
    prefix: String,
}

impl Home {
    /// A new one.
    pub fn new() -> Self {
        let number = HOMES.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("e2e-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(format!("director-{prefix}"));
        fs::create_dir_all(&folder).unwrap();
        Self { folder, environment: Vec::new(), prefix }
    }

    /// The control socket.
    pub fn socket(&self) -> PathBuf {
        self.folder.join("control.sock")
    }

    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        self.folder.join("director.yaml")
    }

    /// DPDK's memory, small and without hugepages.
    pub fn memory(&self) -> String {
        format!(
            "memory: {{ no_huge: true, mib: 128, mbufs: 8191, file_prefix: {} }}\n",
            self.prefix
        )
    }

    /// Where the socket is.
    pub fn control(&self) -> String {
        format!("control: {{ socket: {} }}\n", self.socket().display())
    }

    /// A whole configuration around `ports` and `services`.
    pub fn yaml(&self, body: &str) -> String {
        let tables = "tables: { connections: 16k, connections6: 4k, templates: 16k, \
                      templates6: 4k, clients: 16k, clients6: 4k }\n";
        format!("{body}\n{}{}{tables}main_core: 0\n", self.memory(), self.control())
    }

    /// `director run` in a node, on the configuration file as it is.
    pub fn run(&self, node: &Node, more: &[&str]) -> Child {
        let mut command = Command::new(env!("CARGO_BIN_EXE_director"));
        command.arg("run").arg("-c").arg(self.file()).args(more);
        command.env("RUNTIME_DIRECTORY", &self.folder).env_remove("RUST_LOG");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        node.inside(|| command.spawn().unwrap())
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// How a program ended and what it printed.
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// Its exit code; a signal is none.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }
}

/// Runs the program with these arguments to its end.
pub fn director(arguments: &[&str]) -> Ended {
    director_with_input(arguments, "")
}

/// The same with a text on standard input.
pub fn director_with_input(arguments: &[&str], input: &str) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_director"));
    command.args(arguments).env_remove("DIRECTOR_SOCKET");
    run_to_end(&mut command, input)
}

/// Runs a command with a text on standard input to its end.
pub fn run_to_end(command: &mut Command, input: &str) -> Ended {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that does not read closes its end; that is its right.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ended {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Starts a director that must refuse to run: how it ended.
pub fn refusal(node: &Node, home: &Home, yaml: &str) -> Ended {
    fs::write(home.file(), yaml).unwrap();
    let mut child = home.run(node, &[]);
    let (mut stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let ended = eventually_or_kill(&mut child);
    let (mut out, mut err) = (String::new(), String::new());
    stdout.read_to_string(&mut out).unwrap();
    stderr.read_to_string(&mut err).unwrap();
    Ended { status: ended, stdout: out, stderr: err }
}

fn eventually_or_kill(child: &mut Child) -> ExitStatus {
    let began = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if began.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the director did not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Where all frames went, of all cores together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    pub received: u64,
    pub forwarded: u64,
    pub punted: u64,
    pub dropped: u64,
    pub unsent: u64,
    pub held: u64,
}

impl Balance {
    fn holds(&self) -> bool {
        self.received == self.forwarded + self.punted + self.dropped + self.unsent + self.held
    }

    fn of_line(line: &str) -> Option<Self> {
        let numbers: Vec<u64> =
            line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        let [received, forwarded, punted, dropped, unsent, held] = numbers[..] else {
            return None;
        };
        Some(Self { received, forwarded, punted, dropped, unsent, held })
    }

    fn of_status(status: &Value) -> Self {
        let number = |name: &str| status["frames"][name].as_u64().unwrap();
        Self {
            received: number("received"),
            forwarded: number("forwarded"),
            punted: number("punted"),
            dropped: number("dropped"),
            unsent: number("unsent"),
            held: number("held"),
        }
    }
}

/// A running director. It is killed if the test ends without stopping it.
pub struct Program {
    pub home: Home,
    child: Child,
    log: Arc<Mutex<String>>,
    logging: Option<JoinHandle<()>>,
}

impl Program {
    /// Starts one on `ports` and `services`, and waits until it answers.
    pub fn start(node: &Node, body: &str) -> Self {
        let home = Home::new();
        let yaml = home.yaml(body);
        Self::start_as(node, home, &yaml, &[])
    }

    /// Starts one on a whole configuration.
    pub fn start_as(node: &Node, home: Home, yaml: &str, more: &[&str]) -> Self {
        fs::write(home.file(), yaml).unwrap();
        let mut child = home.run(node, more);
        let lines = child.stderr.take().unwrap();
        let mut program = Self::adopt(home, child);
        program.keep_log(lines);
        eventually("the director answers", || {
            let ended = program.child.try_wait().unwrap();
            assert!(ended.is_none(), "it ended: {ended:?}");
            (program.ask(&["status"]).code() == Some(0)).then_some(())
        });
        program
    }

    /// A director that was started otherwise.
    pub fn adopt(home: Home, child: Child) -> Self {
        Self { home, child, log: Arc::default(), logging: None }
    }

    fn keep_log(&mut self, lines: ChildStderr) {
        let log = Arc::clone(&self.log);
        self.logging = Some(std::thread::spawn(move || {
            for line in BufReader::new(lines).lines().map_while(Result::ok) {
                let mut log = log.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        }));
    }

    /// Kills it, so that it cannot clean up, and gives its folder to the next one.
    pub fn kill(&mut self) -> Home {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        std::mem::replace(&mut self.home, Home::new())
    }

    /// A subcommand that asks this director.
    pub fn ask(&self, words: &[&str]) -> Ended {
        self.ask_with_input(words, "")
    }

    /// The same with a text on standard input.
    pub fn ask_with_input(&self, words: &[&str], input: &str) -> Ended {
        let socket = self.home.socket();
        let mut all: Vec<&str> = words.to_vec();
        all.splice(1..1, ["--socket", socket.to_str().unwrap()]);
        director_with_input(&all, input)
    }

    /// What a subcommand prints; it must succeed and complain about nothing.
    pub fn told(&self, words: &[&str]) -> String {
        let ended = self.ask(words);
        assert_eq!((ended.code(), ended.stderr.as_str()), (Some(0), ""), "{words:?}");
        ended.stdout
    }

    /// What a subcommand prints as JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let text = self.told(&[words, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{words:?}: {error}\n{text}"))
    }

    /// `director status --json`.
    pub fn status(&self) -> Value {
        self.json(&["status"])
    }

    /// A number of `status`, by its keys.
    pub fn number(&self, keys: &[&str]) -> u64 {
        let status = self.status();
        keys.iter().fold(&status, |value, key| &value[*key]).as_u64().expect("a number")
    }

    /// Frames dropped for a reason.
    pub fn dropped(&self, reason: &str) -> u64 {
        let status = self.status();
        let drops = status["drops"].as_array().unwrap();
        let found = drops.iter().find(|drop| drop["reason"] == reason);
        found.map_or(0, |drop| drop["frames"].as_u64().unwrap())
    }

    /// Everything that it has logged.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits for a text in the log.
    pub fn logs(&self, text: &str) {
        eventually(&format!("'{text}' in the log"), || self.log().contains(text).then_some(()));
    }

    /// Waits until every core runs this generation.
    pub fn reaches(&self, generation: u64) {
        eventually(&format!("generation {generation}"), || {
            (self.number(&["adopted_generation"]) >= generation).then_some(())
        });
    }

    /// A whole configuration for this director.
    pub fn yaml(&self, body: &str) -> String {
        self.home.yaml(body)
    }

    /// The configuration file.
    pub fn file(&self) -> PathBuf {
        self.home.file()
    }

    /// Waits until the MAC address of this neighbour is known.
    pub fn resolves(&self, address: &str) {
        eventually(&format!("the MAC address of {address}"), || {
            let status = self.status();
            let neighbours = status["neighbours"].as_array().unwrap();
            neighbours
                .iter()
                .any(|one| one["address"] == address && one["mac"].is_string())
                .then_some(())
        });
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: no pointers; the process is a child that has not been waited for.
        let answer = unsafe { libc::kill(self.child.id() as i32, signal) };
        assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
    }

    /// Checks that every frame is accounted for, once in `status` and once in the totals,
    /// after a SIGTERM. Gives back the totals.
    pub fn stop(self) -> Balance {
        self.stop_by(libc::SIGTERM)
    }

    /// The same with another signal.
    pub fn stop_by(mut self, signal: i32) -> Balance {
        eventually("every frame is accounted for in status", || {
            let balance = Balance::of_status(&self.status());
            (balance.holds() && balance.held == 0).then_some(())
        });
        self.signal(signal);
        let balance = self.ended();
        assert!(balance.holds() && balance.held == 0, "{balance:?}");
        balance
    }

    /// Stops it while nobody reads what it prints, which is no reason to end badly.
    pub fn stop_unread(mut self) {
        drop(self.child.stdout.take());
        self.signal(libc::SIGTERM);
        let status = eventually_or_kill(&mut self.child);
        assert_eq!(status.code(), Some(0), "{}", self.log());
    }

    /// Waits for the end, which must be a good one, and reads the totals.
    pub fn ended(&mut self) -> Balance {
        let status = eventually_or_kill(&mut self.child);
        let mut printed = String::new();
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        if let Some(logging) = self.logging.take() {
            logging.join().unwrap();
        }
        assert_eq!(status.code(), Some(0), "{printed}");
        let log = self.log();
        for foul in ["panicked", "EAL: ", "PMD: "] {
            assert!(!log.contains(foul) && !printed.contains(foul), "'{foul}':\n{log}{printed}");
        }
        assert!(!exists(&self.home.socket()), "the socket is left behind");
        printed.lines().find_map(Balance::of_line).expect("a line of totals")
    }
}

fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the director's log:\n{}", self.log());
        }
    }
}
