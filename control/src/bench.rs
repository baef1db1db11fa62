//! `director bench`: from the command line to a measurement, and its result.

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use benches::bench::Bench;
use benches::conduct::Extent;
use benches::load::{FrameSize, LONGEST, Load, Source};
use dataplane::forward::Forwarding;
use dataplane::sched::Scheduler;
use dataplane::snapshot::Tracking;
use dataplane::wire::Family;

use crate::cli::{self, BenchFamily, BenchForwarding, BenchSource, BenchTracking};

/// `director bench`.
///
/// # Errors
/// A sentence for standard error.
pub fn run(args: &cli::Bench) -> Result<ExitCode, String> {
    let bench = bench(args)?;
    let _ = writeln!(io::stderr().lock(), "{}", bench.load.sentence());
    let said = |line: &str| {
        let _ = writeln!(io::stderr().lock(), "{line}");
    };
    let outcome = bench.run(said).map_err(|error| error.to_string())?;
    let json = outcome.json().to_string();
    if let Some(path) = &args.output {
        fs::write(path, format!("{json}\n"))
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    let text = if args.json { format!("{json}\n") } else { outcome.text() };
    let _ = io::stdout().lock().write_all(text.as_bytes());
    Ok(if outcome.ns_per_packet().is_some() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

fn bench(args: &cli::Bench) -> Result<Bench, String> {
    let cores = if args.cores.is_empty() { vec![last_core()] } else { args.cores.clone() };
    between("--rounds", args.rounds, 1, 1000)?;
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        return Err("--seconds is above 0 and at most 3600".to_owned());
    }
    let extent = Extent {
        rounds: args.rounds,
        time: Duration::from_secs_f64(args.seconds),
        packets: args.packets.unwrap_or(u64::MAX),
    };
    let reference = args.reference.clone();
    Ok(Bench { load: load(args)?, cores, extent, reference, no_huge: args.no_huge })
}

/// The CPU that is farthest from the one that the kernel likes best.
fn last_core() -> usize {
    let ids = core_affinity::get_core_ids().unwrap_or_default();
    ids.iter().map(|core| core.id).max().unwrap_or(0)
}

fn load(args: &cli::Bench) -> Result<Load, String> {
    between("--clients", args.clients, 1, 100_000_000)?;
    between("--services", args.services, 1, 10_000)?;
    between("--servers", args.servers, 1, 4_000)?;
    if !(0.0..=1.0).contains(&args.new) {
        return Err("--new is a share of all packets, 0 to 1".to_owned());
    }
    let scheduler = Scheduler::by_name(&args.scheduler)
        .ok_or_else(|| format!("there is no scheduler {}; see ipvsadm's names", args.scheduler))?;
    let load = Load {
        tracking: match args.tracking {
            BenchTracking::Client => Tracking::Client,
            BenchTracking::Full => Tracking::Full,
        },
        clients: args.clients,
        services: args.services,
        servers: args.servers,
        scheduler,
        persistence_s: args.persistence,
        family: match args.family {
            BenchFamily::V4 => Family::V4,
            BenchFamily::V6 => Family::V6,
        },
        forwarding: match args.forwarding {
            BenchForwarding::Route => Forwarding::Route,
            BenchForwarding::Masq => Forwarding::Masq,
            BenchForwarding::Tunnel => Forwarding::Tunnel,
        },
        new_share: args.new,
        size: size(&args.size)?,
        source: match args.source {
            BenchSource::Null => Source::Null,
            BenchSource::Pcap => Source::Pcap,
            BenchSource::Memory => Source::Memory,
        },
    };
    together(&load)?;
    Ok(load)
}

/// What does not go together.
fn together(load: &Load) -> Result<(), String> {
    let refused = |sentence: &str| Err(sentence.to_owned());
    match load {
        Load { tracking: Tracking::Client, persistence_s: 0, .. } => {
            refused("--tracking client binds clients: give --persistence more than 0")
        }
        Load { tracking: Tracking::Client, forwarding: Forwarding::Masq, .. } => {
            refused("--forwarding masq needs connections: take --tracking full")
        }
        Load { source: Source::Pcap, new_share, .. } if *new_share > 0.0 => {
            refused("a capture has no new clients: take --source null or memory for --new")
        }
        Load { source: Source::Pcap, clients, .. } if *clients > 500_000 => {
            refused("a capture is kept in mbufs: at most 500000 --clients with --source pcap")
        }
        _ => Ok(()),
    }
}

fn size(text: &str) -> Result<FrameSize, String> {
    if text == "imix" {
        return Ok(FrameSize::Imix);
    }
    let bytes = text.parse().ok().filter(|bytes| (64..=LONGEST).contains(bytes));
    bytes
        .map(FrameSize::Bytes)
        .ok_or_else(|| format!("--size {text} is neither imix nor 64 to {LONGEST} bytes"))
}

fn between(option: &str, value: u32, least: u32, most: u32) -> Result<(), String> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(format!("{option} {value} is not between {least} and {most}"))
}
