//! The program `director`.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use control::api::{self, Listing, Reply, Request};
use control::cli::{Cli, Command, Show};
use control::{doctor, offline, run};

// Measured against the system's allocator the control thread builds snapshots of many
// services faster, and memory that it frees does not stay scattered.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => match run::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                complain(&error.to_string());
                if args.verbose {
                    nic::dpdk_log().iter().for_each(|line| complain(line));
                }
                error.exit_code()
            }
        },
        Command::Check(args) => match run::check(args.config.as_deref().unwrap_or(&args.file)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(problems) => {
                complain(&problems.to_string());
                ExitCode::from(1)
            }
        },
        Command::Doctor(args) => finish(doctor::run(&args)),
        Command::Apply(args) => match read(&args.file) {
            Ok(text) => {
                let name = match args.file.as_path() {
                    file if file == Path::new("-") => "standard input".to_owned(),
                    file => file.display().to_string(),
                };
                ask(&args.at.socket, &Request::Apply { name, text })
            }
            Err(error) => {
                complain(&format!("cannot read {}: {error}", args.file.display()));
                ExitCode::from(1)
            }
        },
        Command::Show(args) => {
            let request =
                Request::Show { what: listing(&args), exact: args.exact, json: args.json };
            ask(&args.at.socket, &request)
        }
        Command::Status(args) => ask(&args.at.socket, &Request::Status { json: args.json }),
        Command::Explain(args) => {
            let request = Request::Explain {
                flow: args.flow,
                flags: args.flags,
                port: args.port,
                json: args.json,
            };
            ask(&args.at.socket, &request)
        }
        Command::Replay(args) => finish(offline::replay(&args)),
        Command::Simulate(args) => offline::simulate(&args),
        Command::Import(args) => finish(offline::import(&args)),
    }
}

fn finish(result: Result<ExitCode, String>) -> ExitCode {
    result.unwrap_or_else(|sentence| {
        complain(sentence.trim_end());
        ExitCode::from(1)
    })
}

fn listing(args: &Show) -> Listing {
    match args {
        Show { connections: true, .. } => Listing::Connections,
        Show { stats: true, .. } => Listing::Stats,
        Show { rate: true, .. } => Listing::Rate,
        Show { thresholds: true, .. } => Listing::Thresholds,
        Show { persistent: true, .. } => Listing::Persistent,
        _ => Listing::Services,
    }
}

/// The text of a file, or of standard input. No more is read than the director would take:
/// it answers that the rest is too much.
fn read(file: &Path) -> io::Result<String> {
    let limit = control::config::MAX_BYTES as u64 + 1;
    let mut text = String::new();
    if file == Path::new("-") {
        io::stdin().lock().take(limit).read_to_string(&mut text)?;
    } else {
        fs::File::open(file)?.take(limit).read_to_string(&mut text)?;
    }
    Ok(text)
}

/// Asks the running director and prints its answer: 0 done, 1 refused, 2 not reached.
fn ask(socket: &Path, request: &Request) -> ExitCode {
    match api::call(socket, request) {
        Ok(Reply { ok: true, text }) => {
            // A closed pipe (`director show | head`) is no error.
            let _ = io::stdout().lock().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Ok(Reply { ok: false, text }) => {
            complain(text.trim_end());
            ExitCode::from(1)
        }
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(2)
        }
    }
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
