//! `director bench`: the real packet path in this process, under a synthetic load.

use std::path::{Path, PathBuf};
use std::sync::mpsc::channel;
use std::time::Instant;

use dataplane::counters::CoreTotals;
use dataplane::port::Port;
use dataplane::wire::ethernet::Mac;
use dataplane::worker::Worker;
use nic::{Memory, Nic, NicConfig, NicError, PortConfig, Queue, Turn, TurnFn};

use crate::bare::Bare;
use crate::capture;
use crate::conduct::{self, Extent, Line, Rounds};
use crate::core_at_work::{Clock, CoreAtWork};
use crate::disturb::{Control, Disturbance};
use crate::draw::Draw;
use crate::error::BenchError;
use crate::farm::Measured;
use crate::l3fwd::L3fwd;
use crate::load::{FCS, Load, Source};
use crate::outcome::Outcome;
use crate::recycle::RecyclePort;
use crate::reference::{self, Testpmd};
use crate::synthesis::Synthesis;

/// Mbufs of a pool that holds no capture.
const MBUFS: u32 = 16_383;
/// MiB of ordinary memory that DPDK needs for itself.
const OWN_MIB: u32 = 64;
/// Frames that go round in a memory port.
const MEMORY_FRAMES: usize = 512;
/// The memory port's MAC address.
const MEMORY_MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Bench {
    /// The packets and the director.
    pub load: Load,
    /// The CPUs that balance, one worker each.
    pub cores: Vec<usize>,
    /// How much is measured.
    pub extent: Extent,
    /// The testpmd mode to compare with, round by round.
    pub reference: Option<String>,
    /// Another program in the director's place: a mode of testpmd, or `l3fwd:PATH`.
    pub peer: Option<String>,
    /// What control does in the middle of every round.
    pub during: Option<Disturbance>,
    /// Without a director: frames are only received, filled and sent, so many bursts held.
    pub bare: Option<usize>,
    /// Without hugepages even where there are some.
    pub no_huge: bool,
}

impl Bench {
    /// Measures. `say` is told of every round.
    ///
    /// # Errors
    /// See [`BenchError`].
    pub fn run(&self, say: impl Fn(&str) + Send + 'static) -> Result<Outcome, BenchError> {
        if let Some(peer) = &self.peer {
            return self.of_peer(peer, &say);
        }
        match self.load.source {
            Source::Memory => self.in_memory(&say),
            Source::Null | Source::Pcap => self.on_dpdk(say),
        }
    }

    fn main_core(&self) -> usize {
        let all = core_affinity::get_core_ids().unwrap_or_default();
        let free = all.iter().map(|core| core.id).find(|core| !self.cores.contains(core));
        free.or(self.cores.first().copied()).unwrap_or(0)
    }

    fn in_memory(&self, say: &dyn Fn(&str)) -> Result<Outcome, BenchError> {
        if self.reference.is_some() {
            let what = "testpmd needs DPDK's ports; leave out --reference or take --source null";
            return Err(BenchError::Asked(what.to_owned()));
        }
        let longest = self.load.size.pattern().into_iter().max().unwrap_or(64);
        let ports = self.cores.iter().map(|_| {
            RecyclePort::new(MEMORY_MAC, MEMORY_FRAMES, usize::from(longest - FCS).max(128))
        });
        let (mut measured, workers) = self.workers(ports.collect())?;
        let main_core = self.main_core();
        std::thread::scope(|scope| {
            let mut lines = Vec::new();
            for (at_work, cpu) in workers.into_iter().zip(self.cores.iter().copied()) {
                let (line, mut run) = line(at_work);
                lines.push(line);
                scope.spawn(move || {
                    core_affinity::set_for_current(core_affinity::CoreId { id: cpu });
                    while run() == Turn::Continue {}
                });
            }
            core_affinity::set_for_current(core_affinity::CoreId { id: main_core });
            let mut control = Control::new(self.during, &self.load, &mut measured);
            let rounds =
                conduct::conduct(&self.load, self.extent, &lines, None, control.as_mut(), say)?;
            Ok(self.outcome(&mut measured, rounds, None))
        })
    }

    fn on_dpdk(&self, say: impl Fn(&str) + Send + 'static) -> Result<Outcome, BenchError> {
        let capture = self.capture()?;
        let (mut nic, huge) = self.open(capture.as_ref())?;
        let mut queues: Vec<Queue> = Vec::new();
        for core in nic.cores() {
            queues.extend(nic.take_queues(core)?);
        }
        let mac = queues.first().map(Port::mac).unwrap_or_default();
        if capture.is_some() && mac != capture::PCAP_MAC {
            let what =
                format!("net_pcap0 has the MAC address {mac}, and the capture is for another");
            return Err(BenchError::Asked(what));
        }
        let (mut measured, workers) = self.workers(queues)?;
        let mut turns: Vec<(usize, TurnFn)> = Vec::new();
        let mut lines = Vec::new();
        for (at_work, cpu) in workers.into_iter().zip(nic.cores()) {
            let (line, run) = line(at_work);
            lines.push(line);
            turns.push((cpu, Box::new(run)));
        }
        let (load, extent) = (self.load.clone(), self.extent);
        let settings = self.reference_settings(capture.as_ref(), huge);
        let mut control = Control::new(self.during, &self.load, &mut measured);
        let conductor = std::thread::spawn(move || -> Result<Rounds, BenchError> {
            let mut reference = settings.as_ref().map(Testpmd::start).transpose()?;
            conduct::conduct(&load, extent, &lines, reference.as_mut(), control.as_mut(), &say)
        });
        let ran = nic.run(turns);
        let rounds = conductor.join().unwrap_or(Err(BenchError::CoreEnded(0)));
        ran?;
        Ok(self.outcome(&mut measured, rounds?, Some(huge)))
    }

    /// Measures another program as the director is measured.
    fn of_peer(&self, peer: &str, say: &dyn Fn(&str)) -> Result<Outcome, BenchError> {
        let capture = self.capture()?;
        let Some(reference) = self.reference_settings(capture.as_ref(), !self.no_huge) else {
            let what = "--peer is compared with --reference: give one, such as macswap";
            return Err(BenchError::Asked(what.to_owned()));
        };
        let mut theirs = Testpmd::start(&reference)?;
        let rounds = match peer.strip_prefix("l3fwd:") {
            Some(path) => {
                let mut l3fwd = L3fwd::start(Path::new(path), &reference, &self.load)?;
                let round = |time| l3fwd.round(time);
                conduct::alternate(self.extent, round, &mut theirs, say)?
            }
            None => {
                let settings = reference::Settings { mode: peer.to_owned(), ..reference };
                let mut testpmd = Testpmd::start(&settings)?;
                let round = |time| testpmd.round(time);
                conduct::alternate(self.extent, round, &mut theirs, say)?
            }
        };
        let (load, cores, huge) = (self.load.clone(), self.cores.clone(), Some(!self.no_huge));
        Ok(Outcome { load, cores, rounds, huge, totals: CoreTotals::default() })
    }

    fn workers<P: Port>(
        &self,
        ports: Vec<P>,
    ) -> Result<(Measured, Vec<CoreAtWork<P>>), BenchError> {
        let cores = ports.len();
        let mut measured = Measured::new(&self.load, cores)?;
        let ports = ports.into_iter().enumerate().map(|(core, port)| {
            let draw = Draw::new(&self.load, core as u32, cores as u32);
            let draw = (self.load.source != Source::Pcap).then_some(draw);
            Synthesis::new(port, &self.load, draw)
        });
        let workers: Vec<Worker<_>> = measured.workers(ports.collect());
        let entries = self.load.table_entries();
        let clock = match self.extent.packets {
            u64::MAX => Clock::Wall(Instant::now()),
            _ => Clock::Turns(0),
        };
        let at_work = workers.into_iter().enumerate();
        let at_work = at_work.map(|(core, worker)| {
            CoreAtWork::new(core, worker, entries, clock).bare(self.bare.map(Bare::new))
        });
        Ok((measured, at_work.collect()))
    }

    fn outcome(&self, measured: &mut Measured, rounds: Rounds, huge: Option<bool>) -> Outcome {
        let totals = measured.shared.totals();
        Outcome { load: self.load.clone(), cores: self.cores.clone(), rounds, huge, totals }
    }

    /// The capture to replay, if that is the source. Removed when it is dropped.
    fn capture(&self) -> Result<Option<CaptureFile>, BenchError> {
        if self.load.source != Source::Pcap {
            return Ok(None);
        }
        if self.cores.len() > 1 {
            let what = "a capture is replayed on one core; take --source null for several";
            return Err(BenchError::Asked(what.to_owned()));
        }
        let name = format!("director-bench-{}.pcap", std::process::id());
        let file = CaptureFile(std::env::temp_dir().join(name));
        capture::write(&file.0, &self.load, capture::PCAP_MAC)?;
        Ok(Some(file))
    }

    fn device(&self, capture: Option<&CaptureFile>) -> String {
        match capture {
            Some(file) => format!("net_pcap0,rx_pcap={},infinite_rx=1", file.0.display()),
            None => {
                let longest = self.load.size.pattern().into_iter().max().unwrap_or(64);
                format!("net_null0,size={}", longest - FCS)
            }
        }
    }

    fn mbufs(&self) -> u32 {
        match self.load.source {
            // Every packet of the capture stays in one for ever.
            Source::Pcap => (MBUFS + self.load.clients).next_power_of_two() * 2 - 1,
            Source::Null | Source::Memory => MBUFS,
        }
    }

    fn no_huge_mib(&self) -> u32 {
        self.mbufs() / 256 + OWN_MIB + 128
    }

    fn open(&self, capture: Option<&CaptureFile>) -> Result<(Nic, bool), BenchError> {
        let mut config = NicConfig {
            memory: Memory {
                no_huge: self.no_huge,
                mib: if self.no_huge { self.no_huge_mib() } else { 0 },
                file_prefix: format!("director-bench-{}", std::process::id()),
            },
            main_core: self.main_core(),
            mbufs: self.mbufs(),
            mbuf_cache: 256,
            ports: vec![PortConfig::new("wire", &self.device(capture), &self.cores)],
        };
        match nic::open(&config) {
            Err(NicError::NoHugepages { .. } | NicError::NoHugetlbfs) if !self.no_huge => {
                config.memory.no_huge = true;
                config.memory.mib = self.no_huge_mib();
                Ok((nic::open(&config)?, false))
            }
            opened => Ok((opened?, !self.no_huge)),
        }
    }

    fn reference_settings(
        &self,
        capture: Option<&CaptureFile>,
        huge: bool,
    ) -> Option<reference::Settings> {
        Some(reference::Settings {
            mode: self.reference.clone()?,
            device: self.device(capture),
            core: self.cores.last().copied().unwrap_or(0),
            main_core: self.main_core(),
            no_huge_mib: (!huge).then(|| self.no_huge_mib()),
            mbufs: self.mbufs(),
        })
    }
}

/// A core's line, and what the core does in a turn: one job.
fn line<P: Port>(mut core: CoreAtWork<P>) -> (Line, impl FnMut() -> Turn) {
    let ((jobs, to_do), (done, answers)) = (channel(), channel());
    let held = core.held();
    let run = move || match to_do.recv() {
        Ok(job) if core.serve_one(job, &done) => Turn::Continue,
        _ => Turn::Stop,
    };
    (Line { jobs, answers, held }, run)
}

/// A file that is removed when it is dropped.
struct CaptureFile(PathBuf);

impl Drop for CaptureFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}
