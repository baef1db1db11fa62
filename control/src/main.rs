//! The program `director`.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use control::api::{Listing, Request};
use control::cli::{self, Command, DEFAULT_SOCKET, Show};
use control::{bench, doctor, generate, ipvsadm, offline, output, remote, run, trace};

// Measured against the system's allocator the control thread builds snapshots of many
// services faster, and memory that it frees does not stay scattered.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let code = as_ipvsadm().unwrap_or_else(|| told(cli::parse().command));
    // Half of a configuration in a file on a full disk is no success.
    if code == ExitCode::SUCCESS && !output::is_whole() { ExitCode::from(1) } else { code }
}

fn told(command: Command) -> ExitCode {
    match command {
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
                complain(problems.to_string().trim_end());
                ExitCode::from(1)
            }
        },
        Command::Doctor(args) => finish(doctor::run(&args)),
        Command::Apply(args) => ExitCode::from(remote::apply(&args)),
        Command::Diff(args) => ExitCode::from(remote::diff(&args)),
        Command::Rollback(args) => ExitCode::from(remote::rollback(&args)),
        Command::History(args) => ExitCode::from(remote::history(&args)),
        Command::Clients(args) => ExitCode::from(remote::clients(&args)),
        Command::Evict(args) => ExitCode::from(remote::evict(&args)),
        Command::Rebind(args) => ExitCode::from(remote::rebind(&args)),
        Command::Pin(args) => ExitCode::from(remote::pin(&args)),
        Command::Unpin(args) => ExitCode::from(remote::unpin(&args)),
        Command::Drain(args) => ExitCode::from(remote::drain(&args)),
        Command::Undrain(args) => ExitCode::from(remote::undrain(&args)),
        Command::Get(args) => ExitCode::from(remote::get(&args)),
        Command::Ipvsadm(args) => {
            ExitCode::from(ipvsadm::client::main(&args.words, &args.at.socket))
        }
        Command::Show(args) if args.connections => ExitCode::from(remote::connections(&args)),
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
        Command::Trace(args) => trace::client::trace(&args),
        Command::Capture(args) => trace::client::capture(&args),
        Command::Replay(args) => finish(offline::replay(&args)),
        Command::Simulate(args) => offline::simulate(&args),
        Command::Import(args) => finish(offline::import(&args)),
        Command::ExplainKey(args) => finish(offline::explain_key(&args)),
        Command::Schema => finish(offline::schema()),
        Command::Completions(args) => {
            offline::completions(&args);
            ExitCode::SUCCESS
        }
        Command::Manual(args) => finish(offline::manual(&args)),
        Command::Bench(args) => finish(bench::run(&args)),
        Command::Generate(args) => finish(generate::run(&args)),
    }
}

/// What the program does under one of ipvsadm's names; `None` under its own.
fn as_ipvsadm() -> Option<ExitCode> {
    let mut args = std::env::args_os().map(|word| word.to_string_lossy().into_owned());
    let name = args.next()?;
    let first = match Path::new(&name).file_name()?.to_str()? {
        "ipvsadm" => None,
        "ipvsadm-save" => Some("-S"),
        "ipvsadm-restore" => Some("-R"),
        _ => return None,
    };
    let words: Vec<String> = first.map(str::to_owned).into_iter().chain(args).collect();
    let socket = std::env::var_os("DIRECTOR_SOCKET").unwrap_or_else(|| DEFAULT_SOCKET.into());
    Some(ExitCode::from(ipvsadm::client::main(&words, Path::new(&socket))))
}

fn finish(result: Result<ExitCode, String>) -> ExitCode {
    result.unwrap_or_else(|sentence| {
        complain(sentence.trim_end());
        ExitCode::from(1)
    })
}

fn listing(args: &Show) -> Listing {
    match args {
        Show { stats: true, .. } => Listing::Stats,
        Show { rate: true, .. } => Listing::Rate,
        Show { thresholds: true, .. } => Listing::Thresholds,
        Show { persistent: true, .. } => Listing::Persistent,
        _ => Listing::Services,
    }
}

fn ask(socket: &Path, request: &Request) -> ExitCode {
    ExitCode::from(remote::ask(socket, request))
}

fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
