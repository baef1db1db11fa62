//! DPDK's example l3fwd with its exact-match table: a router with a rule for every flow, and
//! so the nearest thing to a connection table that DPDK brings along.
//!
//! It polls without end, so it stands still (SIGSTOP) while others are measured. It prints no
//! counters; DPDK's telemetry has them.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::cpu::CpuTime;
use crate::draw::{ACK, Draw, Order};
use crate::error::BenchError;
use crate::load::Load;
use crate::plan;
use crate::reference::{Settings, failed_as, worker_schedstat};
use crate::round::Round;

/// The tool that asks DPDK's telemetry.
const TELEMETRY: &str = "dpdk-telemetry.py";
/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(15);

/// A running l3fwd.
pub struct L3fwd {
    child: Child,
    prefix: String,
    schedstat: String,
    rules: [PathBuf; 2],
}

impl L3fwd {
    /// Starts it with a rule for every client of the load, and stops it for now.
    ///
    /// # Errors
    /// It is not there or refuses to start.
    pub fn start(program: &Path, settings: &Settings, load: &Load) -> Result<Self, BenchError> {
        let prefix = format!("director-l3fwd-{}", std::process::id());
        let rules = ["v4", "v6"].map(|name| std::env::temp_dir().join(format!("{prefix}-{name}")));
        let [v4, v6] = &rules;
        for (path, text) in [(v4, rules_of(load)), (v6, one_rule_v6())] {
            fs::write(path, text)
                .map_err(|error| BenchError::File { path: path.display().to_string(), error })?;
        }
        let mut command = Command::new(program);
        command.arg(format!("--lcores=0@{},1@{}", settings.main_core, settings.core));
        command.args(["--no-pci", &format!("--file-prefix={prefix}")]);
        command.arg(format!("--vdev={}", with_two_queues(&settings.device)));
        match settings.no_huge_mib {
            Some(mib) => command.args(["--no-huge", "-m", &(mib + 512).to_string()]),
            None => command.arg("--huge-unlink"),
        };
        command.args(["--", "-p", "0x1", "-P", "-E", "--parse-ptype", "--config=(0,0,1)"]);
        command.arg(format!("--rule_ipv4={}", v4.display()));
        command.arg(format!("--rule_ipv6={}", v6.display()));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command
            .spawn()
            .map_err(|error| said(&format!("{} does not start: {error}", program.display())))?;
        let mut l3fwd = Self { child, prefix, schedstat: String::new(), rules };
        let began = Instant::now();
        while l3fwd.packets().unwrap_or(0) == 0 {
            if matches!(l3fwd.child.try_wait(), Ok(Some(_))) || began.elapsed() > PATIENCE {
                return Err(said("does not forward; start it by hand to see why"));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        l3fwd.schedstat = worker_schedstat(l3fwd.child.id())?;
        l3fwd.signal(Signal::STOP);
        Ok(l3fwd)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = Pid::from_raw(self.child.id() as i32) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Forwards for so long.
    ///
    /// # Errors
    /// It ended, or says nothing of packets.
    pub fn round(&mut self, time: Duration) -> Result<Round, BenchError> {
        self.signal(Signal::CONT);
        // What it does while telemetry is asked is not in the round: both readings are taken
        // as near as can be to one another.
        let (packets, before) = (self.packets()?, CpuTime::of(&self.schedstat));
        std::thread::sleep(time.max(Duration::from_secs(1)));
        let (later, after) = (self.packets()?, CpuTime::of(&self.schedstat));
        self.signal(Signal::STOP);
        let packets = later.saturating_sub(packets);
        Ok(Round {
            packets,
            on_cpu: before.on_cpu(&after),
            wall: before.wall(&after),
            bursts: packets.div_ceil(32),
            ..Round::default()
        })
    }

    /// Packets received so far.
    fn packets(&self) -> Result<u64, BenchError> {
        let asked = Command::new(TELEMETRY)
            .args(["-f", &self.prefix])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut asked = asked.map_err(|error| said(&format!("cannot be asked: {error}")))?;
        if let Some(mut to) = asked.stdin.take() {
            let _ = to.write_all(b"/ethdev/stats,0\n");
        }
        let output = asked.wait_with_output().map_err(|error| said(&error.to_string()))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let answer = text.split_once("{\"/ethdev/stats\"").map(|(_, rest)| rest);
        let stats = answer.map(|rest| format!("{{\"/ethdev/stats\"{rest}"));
        let stats = stats.as_deref().and_then(first_object);
        stats
            .and_then(|stats| stats.pointer("/~1ethdev~1stats/ipackets")?.as_u64())
            .ok_or_else(|| said("says nothing of packets through DPDK's telemetry"))
    }
}

impl Drop for L3fwd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for path in &self.rules {
            let _ = fs::remove_file(path);
        }
    }
}

/// The first JSON value of a text.
fn first_object(text: &str) -> Option<Value> {
    serde_json::Deserializer::from_str(text).into_iter().next()?.ok()
}

/// It sends by a queue for each of its cores, the idle one among them, and `net_pcap` has as many
/// as it has captures to read.
fn with_two_queues(device: &str) -> String {
    match device.split(',').find(|part| part.starts_with("rx_pcap=")) {
        Some(capture) => format!("{device},{capture}"),
        None => device.to_owned(),
    }
}

fn said(what: &str) -> BenchError {
    failed_as("l3fwd", what)
}

/// Destination, source, ports, protocol, port to leave by.
fn rules_of(load: &Load) -> String {
    let mut draw = Draw::new(load, 0, 1);
    draw.set_order(Order::Each(ACK));
    let mut text = String::new();
    for _ in 0..load.clients {
        let flow = draw.next();
        let source = Ipv4Addr::from(plan::client_v4(flow.client));
        let vip = plan::vip(load.family, flow.service);
        let _ = writeln!(text, "R{vip} {source} {} {} 0x06 0", plan::VIP_PORT, flow.port);
    }
    text
}

/// It wants rules for IPv6, too.
fn one_rule_v6() -> String {
    "R2001:db8:0:0:0:0:0:1 2001:db8:0:0:0:0:0:2 80 1024 0x06 0\n".to_owned()
}
