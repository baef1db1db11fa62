//! DPDK's own forwarder, `dpdk-testpmd`, as the measure of what a packet costs at least.
//!
//! It is started once and told to start and stop for every round, so that its rounds and
//! the director's lie side by side; while it is stopped its core sleeps.

use std::fs;
use std::io::{BufReader, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::cpu::CpuTime;
use crate::error::BenchError;
use crate::round::Round;

/// The program, as Debian's package dpdk installs it.
pub const TESTPMD: &str = "dpdk-testpmd";

const PROMPT: &str = "testpmd> ";

/// How it is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The forwarding mode: `io`, `macswap`, `5tswap` ...
    pub mode: String,
    /// The virtual device with its arguments.
    pub device: String,
    /// The CPU that forwards.
    pub core: usize,
    /// The CPU of its main thread.
    pub main_core: usize,
    /// Without hugepages: the MiB of ordinary memory.
    pub no_huge_mib: Option<u32>,
    /// Mbufs in its pool.
    pub mbufs: u32,
}

/// A running testpmd.
pub struct Testpmd {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
    schedstat: String,
}

impl Testpmd {
    /// Starts it and waits until it takes commands.
    ///
    /// # Errors
    /// The program is not there or refuses to start; the message has its last words.
    pub fn start(settings: &Settings) -> Result<Self, BenchError> {
        // Into a pipe it would keep what it says to itself until its end.
        let mut command = Command::new("stdbuf");
        command.args(["-oL", TESTPMD]);
        command.arg(format!("--lcores=0@{},1@{}", settings.main_core, settings.core));
        command.args(["--no-pci", "--no-telemetry"]);
        command.arg(format!("--vdev={}", settings.device));
        match settings.no_huge_mib {
            Some(mib) => {
                let prefix = format!("--file-prefix=testpmd-{}", std::process::id());
                command.args(["--no-huge", "--no-shconf", "-m", &mib.to_string(), &prefix]);
            }
            None => {
                command.arg("--in-memory");
            }
        }
        command.args(["--", "-i", "--nb-cores=1", "--burst=32", "--no-flush-rx"]);
        command.arg(format!("--forward-mode={}", settings.mode));
        command.arg(format!("--total-num-mbufs={}", settings.mbufs));
        command.args(["--mbcache=256", "--port-topology=loop"]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        if !is_installed(TESTPMD) {
            return Err(failed(
                "is not installed; apt-get install dpdk-dev brings it, or leave out the reference",
            ));
        }
        let mut child =
            command.spawn().map_err(|error| failed(&format!("cannot be started: {error}")))?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(failed("has no standard input or output"));
        };
        let mut testpmd =
            Self { child, commands, answers: BufReader::new(answers), schedstat: String::new() };
        testpmd.answer()?;
        testpmd.schedstat = worker_schedstat(testpmd.child.id())?;
        Ok(testpmd)
    }

    /// Forwards for so long.
    ///
    /// # Errors
    /// It ended, or says nothing of packets.
    pub fn round(&mut self, time: Duration) -> Result<Round, BenchError> {
        let before = CpuTime::of(&self.schedstat);
        self.ask("start")?;
        std::thread::sleep(time);
        let said = self.ask("stop")?;
        let after = CpuTime::of(&self.schedstat);
        let packets = total(&said, "RX-packets:")
            .ok_or_else(|| failed(&format!("says nothing of packets: {}", last_words(&said))))?;
        Ok(Round {
            packets,
            on_cpu: before.on_cpu(&after),
            wall: before.wall(&after),
            // It does not say how many polls it made; a full burst each is what there is.
            bursts: packets.div_ceil(32),
            ..Round::default()
        })
    }

    fn ask(&mut self, command: &str) -> Result<String, BenchError> {
        let sent = writeln!(self.commands, "{command}").and_then(|()| self.commands.flush());
        sent.map_err(|error| failed(&format!("takes no commands any more ({error})")))?;
        self.answer()
    }

    /// What it says until it asks for a command.
    fn answer(&mut self) -> Result<String, BenchError> {
        let mut said = Vec::new();
        let mut byte = [0];
        while !said.ends_with(PROMPT.as_bytes()) {
            match self.answers.read(&mut byte) {
                Ok(1) => said.extend(byte),
                _ => {
                    let said = String::from_utf8_lossy(&said).into_owned();
                    return Err(failed(&format!("ended: {}", last_words(&said))));
                }
            }
        }
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

/// The file of a DPDK program's forwarding thread: the one that DPDK calls worker 1.
pub(crate) fn worker_schedstat(process: u32) -> Result<String, BenchError> {
    let tasks = format!("/proc/{process}/task");
    let entries =
        fs::read_dir(&tasks).map_err(|error| BenchError::File { path: tasks.clone(), error })?;
    for task in entries.flatten() {
        let path = task.path();
        let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
        if name.trim().ends_with("worker-1") {
            return Ok(path.join("schedstat").display().to_string());
        }
    }
    Err(failed("has no thread that forwards"))
}

impl Drop for Testpmd {
    fn drop(&mut self) {
        let _ = writeln!(self.commands, "quit");
        let _ = self.commands.flush();
        let mut rest = Vec::new();
        let _ = self.answers.read_to_end(&mut rest);
        let _ = self.child.wait();
    }
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn failed(what: &str) -> BenchError {
    failed_as(TESTPMD, what)
}

/// A program that is compared with does not do what it should.
pub(crate) fn failed_as(program: &str, what: &str) -> BenchError {
    BenchError::Reference { program: program.to_owned(), what: what.to_owned() }
}

fn last_words(said: &str) -> String {
    let lines: Vec<&str> = said.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.iter().rev().take(4).rev().copied().collect::<Vec<_>>().join(" | ")
}

/// The last number behind a label: testpmd ends with the sums over all ports.
fn total(said: &str, label: &str) -> Option<u64> {
    let (_, rest) = said.rsplit_once(label)?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_over_all_ports_is_read() {
        let said =
            "RX-packets: 5  RX-dropped: 0\n +++ Accumulated\n  RX-packets: 1234   RX-dropped: 0";
        assert_eq!(total(said, "RX-packets:"), Some(1234));
        assert_eq!(total("nothing", "RX-packets:"), None);
    }
}
