//! `director bench`: from the command line to a measurement, and its result.

mod reload;

use std::fs;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use benches::bench::Bench;
use benches::conduct::Extent;
use benches::disturb::Disturbance;
use benches::load::{FrameSize, LONGEST, Load, Source};
use benches::machine;
use benches::results;
use benches::table::{self, Table};
use dataplane::forward::Forwarding;
use dataplane::sched::Scheduler;
use dataplane::snapshot::Tracking;
use dataplane::wire::Family;

use crate::cli::{
    self, BenchDuring, BenchFamily, BenchForwarding, BenchSource, BenchTable, BenchTracking,
};
use crate::reason::reason;

/// `director bench`.
///
/// # Errors
/// A sentence for standard error.
pub fn run(args: &cli::Bench) -> Result<ExitCode, String> {
    if let Some(which) = args.table {
        return table(args, which);
    }
    let bench = bench(args)?;
    say(&bench.load.sentence());
    let outcome = bench.run(say).map_err(|error| error.to_string())?;
    let json = outcome.json().to_string();
    write(args, &json)?;
    let text = if args.json { format!("{json}\n") } else { outcome.text() };
    let _ = io::stdout().lock().write_all(text.as_bytes());
    Ok(if outcome.ns_per_packet().is_some() { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// Exit status 0 only if every row that was measured kept its mark.
fn table(args: &cli::Bench, which: BenchTable) -> Result<ExitCode, String> {
    let table = Table {
        director: table::this_program(),
        quick: which == BenchTable::Quick,
        only: args.only.clone(),
        commit: args.commit.clone(),
        l3fwd: args.l3fwd.clone(),
        steady: args.steady,
        arguments: args.no_huge.then(|| "--no-huge".to_owned()).into_iter().collect(),
    };
    let measured = table.run(&say);
    write(args, &format!("{measured:#}"))?;
    if let Some(folder) = &args.results {
        table.latency(folder, &say);
        results::write(&measured, "scripts/bench", folder).map_err(|error| error.to_string())?;
    }
    if args.json {
        let _ = writeln!(io::stdout().lock(), "{measured:#}");
    }
    Ok(if table::all_kept(&measured) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

/// Progress, which is not the result.
fn say(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

fn write(args: &cli::Bench, json: &str) -> Result<(), String> {
    let Some(path) = &args.output else { return Ok(()) };
    fs::write(path, format!("{json}\n"))
        .map_err(|error| format!("cannot write {}: {}", path.display(), reason(&error)))
}

fn bench(args: &cli::Bench) -> Result<Bench, String> {
    let cores = if args.cores.is_empty() {
        vec![machine::first_and_last_cpu()[1]]
    } else {
        args.cores.clone()
    };
    between("--rounds", args.rounds, 1, 1000)?;
    if !(args.seconds > 0.0 && args.seconds <= 3600.0) {
        return Err("--seconds is above 0 and at most 3600".to_owned());
    }
    let extent = Extent {
        rounds: args.rounds,
        time: Duration::from_secs_f64(args.seconds),
        gaps: args.gaps || args.during.is_some(),
        packets: args.packets.unwrap_or(u64::MAX),
        at_most: Duration::from_secs_f64(args.at_most.clamp(0.0, 86_400.0)),
    };
    let reference = args.reference.clone();
    let during = args.during.map(|during| match during {
        BenchDuring::Reload => Disturbance::Reload(reload::CONFIGURATION),
        BenchDuring::Growth => Disturbance::Growth,
        BenchDuring::Listing => Disturbance::Listing,
    });
    let (load, bare, peer) = (load(args)?, args.bare, args.peer.clone());
    Ok(Bench { load, cores, extent, reference, peer, during, bare, no_huge: args.no_huge })
}

fn load(args: &cli::Bench) -> Result<Load, String> {
    between("--clients", args.clients, 1, 100_000_000)?;
    between("--services", args.services, 1, 10_000)?;
    between("--servers", args.servers, 1, 4_000)?;
    between("--room", args.room, 1_000, 1 << 28)?;
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
        services_in_use: args.in_use.unwrap_or(args.services).clamp(1, args.services),
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
        mixed: args.mixed,
        room_for_new: args.room,
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
        Load { forwarding, mixed: true, .. } if *forwarding != Forwarding::Masq => {
            refused("--mixed is about answers, which pass the director with --forwarding masq only")
        }
        Load { forwarding: Forwarding::Masq, services_in_use, .. } if *services_in_use > 1 => {
            refused(
                "--forwarding masq is measured with one service: who answers whom is known by order",
            )
        }
        Load { forwarding: Forwarding::Masq, source: Source::Pcap, .. } => {
            refused("a capture has no answers: take --source null or memory with masq")
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

/// A length of frames, or a mixture.
pub(crate) fn size(text: &str) -> Result<FrameSize, String> {
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
