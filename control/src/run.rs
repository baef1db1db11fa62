//! `director run`: from a configuration to turning cores, and back.

use std::env;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use dataplane::catalog::spec::Site;
use dataplane::catalog::{Catalog, Refused};
use dataplane::counters::CoreTotals;
use dataplane::director::{Director, Surroundings};
use dataplane::ids::Generation;
use dataplane::shared::{CoreSeat, HashKey, Shared};
use dataplane::snapshot::Snapshot;
use dataplane::tick::Tick;
use dataplane::timer::TimerRule;
use dataplane::verdict::DropReason;
use dataplane::worker::Worker;
use nic::{Nic, NicError, Turn, TurnFn};
use thiserror::Error;
use tracing::{error, info, warn};

use crate::api::{Socket, SocketError};
use crate::cli;
use crate::compile;
use crate::config::{self, Model, Problems};
use crate::control_thread::{ControlThread, Drains, Parts, Signals};
use crate::cores::{self, NoSuchCore};
use crate::counted::counted;
use crate::doctor;
use crate::history::History;
use crate::link::{self, NoLink};
use crate::metrics::{self, ListenError};
use crate::output::print;
use crate::peers::Peers;
use crate::privileges::{Account, PrivilegeError};

/// Answers given as a host, per second and core.
const ANSWERS_PER_SECOND: u32 = 10_000;

/// Why the director could not start, or stopped.
#[derive(Debug, Error)]
pub enum RunError {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(#[from] Problems),
    /// The ports could not be opened, or failed.
    #[error("{0}")]
    Nic(#[from] NicError),
    /// The control socket could not be opened.
    #[error("{0}")]
    Socket(#[from] SocketError),
    /// Somebody who is to use the control socket is not known here.
    #[error("{0}")]
    Peers(String),
    /// Metrics cannot be offered.
    #[error("{0}")]
    Metrics(#[from] ListenError),
    /// The services do not fit.
    #[error("the configuration cannot be taken over: {0}")]
    Refused(#[from] Refused),
    /// A core of the configuration is not there.
    #[error("{0}")]
    NoSuchCore(#[from] NoSuchCore),
    /// The process cannot become the user that it should be.
    #[error("{0}")]
    Privileges(#[from] PrivilegeError),
    /// A port that must have a link has none.
    #[error("{0}; the director does not start because of `require_link`")]
    NoLink(#[from] NoLink),
    /// Signals or randomness could not be had.
    #[error("the system refused {what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        error: String,
    },
}

impl RunError {
    /// 1: the configuration was refused, or what it requires of a link is not so; 2: the
    /// director could not start.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Config(_) | Self::NoLink(_) => ExitCode::from(1),
            _ => ExitCode::from(2),
        }
    }
}

/// Runs the director until a signal says stop; then prints the totals.
pub fn run(args: &cli::Run) -> Result<(), RunError> {
    let model = config::load(&args.config)?;
    crate::log::start(&model.log, args.verbose);
    let main_core = cores::main_core(&model, &cores::usable())?;
    let account = model.run_as.as_ref().map(Account::find).transpose()?;
    if let Some(account) = &account {
        account.seal()?;
    }
    let signals = signals()?;
    let socket = Socket::open(args.socket.as_deref().unwrap_or(&model.control.socket))?;
    let peers = Peers::find(&model.control.allow).map_err(RunError::Peers)?;
    socket.allow(peers)?;
    let metrics = model.metrics.map(|wanted| metrics::listen(wanted.address)).transpose()?;
    let mut nic_config = compile::nic_config(&model, main_core.core);
    // A secret of its own: NICs tell their keys to everybody.
    let steering = compile::steering(&model, secret()?);
    nic_config.ports.iter_mut().for_each(|port| port.steering = steering);
    let mut nic = nic::open(&nic_config)?;
    main_core.warn();
    cores::pin(main_core.core);
    for port in nic.ports() {
        info!(
            "port {} is {} ({}), MAC {}, {}",
            port.name,
            port.device,
            port.driver,
            port.mac,
            counted(port.rx_queues, "queue")
        );
    }
    doctor::warn_at_start(&model);
    link::check(&model, nic.ports(), &nic.handle())?;
    share_macs(&nic, &compile::site(&model));
    let (shared, seats) = shared(&model, &nic)?;
    let history = History::open(&state_folder(args, &socket).join("history"));
    let (catalog, snapshot, drains) = catalog(&model, &shared, history.newest())?;
    let started = Instant::now();
    let stop = Arc::new(AtomicBool::new(false));
    let turns = workers(&mut nic, seats, &model, (&shared, &snapshot), started, &stop)?;
    info!("generation {} runs on {}", snapshot.generation, counted(turns.len(), "core"));
    let files = files(args, &socket, &nic);
    let control = ControlThread::new(Parts {
        shared: Arc::clone(&shared),
        catalog,
        snapshot,
        drains,
        model,
        config: args.config.clone(),
        history,
        socket,
        nic: nic.handle(),
        ports: nic.ports().to_vec(),
        signals,
        started,
        metrics,
        account,
        files,
    })?;
    let finished = Arc::clone(&stop);
    let control = std::thread::Builder::new()
        .name("control".into())
        .spawn(move || {
            // Whatever ends the control thread ends the cores: a director that nobody can
            // reach is restarted rather than left alone.
            let _stop = StopOnDrop(finished);
            control.run()
        })
        .map_err(|error| RunError::System { what: "a thread", error: error.to_string() })?;
    let totals = nic.run(turns)?;
    stop.store(true, Ordering::Relaxed);
    match control.join() {
        Ok(ended) => ended?,
        Err(_) => error!("the control thread failed; see the message above"),
    }
    print_totals(&shared.totals(), &totals);
    Ok(())
}

/// What the director writes to or removes while it runs and when it ends.
fn files(args: &cli::Run, socket: &Socket, nic: &Nic) -> Vec<PathBuf> {
    let runtime = env::var_os("RUNTIME_DIRECTORY").unwrap_or_default();
    // systemd separates several folders by colons.
    let folders = env::split_paths(&runtime).filter(|folder| folder.is_absolute());
    // A folder that was named for it is the director's; one that the socket is in may not be.
    let state = args.state.clone().unwrap_or_else(|| state_folder(args, socket).join("history"));
    folders.chain([state, socket.path().to_owned(), nic.runtime_files().to_owned()]).collect()
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The kernel answers behind a NIC port with that port's MAC address.
fn share_macs(nic: &Nic, site: &Site) {
    for (index, port) in site.ports.iter().enumerate().filter(|(_, port)| port.kernel_facing) {
        let before = port.peer.and_then(|peer| nic.ports().get(usize::from(peer.0)));
        if let Some(before) = before
            && !nic.set_kernel_mac(index, before.mac)
        {
            warn!(
                "port {}: give its interface the MAC address {} (ip link set IFACE address {}), or the kernel hears nothing",
                port.name, before.mac, before.mac
            );
        }
    }
}

fn signals() -> Result<Signals, RunError> {
    let signals = Signals::default();
    let failed = |error: std::io::Error| RunError::System {
        what: "a signal handler",
        error: error.to_string(),
    };
    for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT] {
        signal_hook::flag::register(signal, Arc::clone(&signals.stop)).map_err(failed)?;
    }
    for (signal, flag) in [
        (signal_hook::consts::SIGHUP, &signals.reload),
        (signal_hook::consts::SIGUSR1, &signals.status),
        (signal_hook::consts::SIGUSR2, &signals.ignored),
    ] {
        signal_hook::flag::register(signal, Arc::clone(flag)).map_err(failed)?;
    }
    Ok(signals)
}

fn shared(model: &Model, nic: &Nic) -> Result<(Arc<Shared>, Vec<CoreSeat>), RunError> {
    let key = HashKey(secret()?);
    Ok(Shared::new(nic.cores().len(), compile::table_sizes(model), TimerRule::Exact, key))
}

/// Random numbers that nobody outside can know.
fn secret() -> Result<[u64; 2], RunError> {
    let mut secret = [0u8; 16];
    getrandom::fill(&mut secret)
        .map_err(|error| RunError::System { what: "random numbers", error: error.to_string() })?;
    let number = u128::from_ne_bytes(secret);
    Ok([number as u64, (number >> 64) as u64])
}

/// Where what has to outlive the program is kept: beside the socket unless another folder is
/// named, by the service manager for one.
fn state_folder(args: &cli::Run, socket: &Socket) -> PathBuf {
    let beside = || socket.path().parent().unwrap_or(Path::new("/")).to_owned();
    args.state.clone().unwrap_or_else(beside)
}

fn catalog(
    model: &Model,
    shared: &Arc<Shared>,
    newest: u64,
) -> Result<(Catalog, Arc<Snapshot>, Drains), RunError> {
    let mut plan = compile::plan(model);
    let mut drains = Drains::default();
    drains.settle(model, &mut plan.farms, 0);
    let mut catalog = Catalog::new(Arc::clone(shared), plan.site);
    catalog.timeouts = plan.timeouts;
    catalog.compat = plan.compat;
    catalog.fragments = plan.fragments;
    catalog.routes_all = plan.routes_all;
    catalog.resume(Generation(newest));
    catalog.set_pins(plan.pins);
    let (_, snapshot) = catalog.applied(&plan.farms, plan.selectors)?;
    Ok((catalog, snapshot, drains))
}

fn workers(
    nic: &mut Nic,
    seats: Vec<CoreSeat>,
    model: &Model,
    (shared, snapshot): (&Arc<Shared>, &Arc<Snapshot>),
    started: Instant,
    stop: &Arc<AtomicBool>,
) -> Result<Vec<(usize, TurnFn)>, RunError> {
    let macs: Vec<_> = nic.ports().iter().map(|port| port.mac).collect();
    let held = usize::from(model.neighbours.held_frames) * 16;
    let mut turns: Vec<(usize, TurnFn)> = Vec::new();
    for (core, seat) in nic.cores().into_iter().zip(seats) {
        let queues = nic.take_queues(core)?;
        let surroundings =
            Surroundings { macs: macs.clone(), answers_per_second: ANSWERS_PER_SECOND };
        let index = seat.templates.core() as usize;
        let director = Director::new(Arc::clone(shared), Arc::clone(snapshot), seat, surroundings);
        let mut worker = Worker::new(index, director, queues, held);
        let stop = Arc::clone(stop);
        turns.push((
            core,
            Box::new(move || {
                // The time is read once a turn.
                let elapsed = started.elapsed();
                if worker.is_traced() {
                    worker.stamp(elapsed.as_nanos() as u64);
                }
                worker.turn(Tick::after(elapsed));
                if stop.load(Ordering::Relaxed) {
                    worker.stop();
                    return Turn::Stop;
                }
                Turn::Continue
            }),
        ));
    }
    Ok(turns)
}

/// The totals, on standard output. Whoever does not read them any more misses nothing else.
fn print_totals(totals: &CoreTotals, nic: &nic::Totals) {
    let mut text = format!(
        "received {} = forwarded {} + punted {} + dropped {} + unsent {} + held {}\n",
        totals.received,
        totals.forwarded,
        totals.punted,
        totals.dropped_total(),
        totals.unsent,
        totals.held
    );
    for reason in DropReason::ALL {
        let frames = totals.dropped_for(*reason);
        if frames > 0 {
            let _ = writeln!(text, "dropped {frames} {}: {}", reason.label(), reason.sentence());
        }
    }
    for port in &nic.stats.ports {
        let _ = writeln!(
            text,
            "port {}: received {}, sent {}, missed {}",
            port.name, port.ipackets, port.opackets, port.imissed
        );
    }
    print(&text);
}

/// `director check`; `-` reads standard input.
///
/// # Errors
/// The configuration's problems.
pub fn check(file: &Path) -> Result<(), RunError> {
    let model = if file == Path::new("-") {
        config::load_from(&mut io::stdin().lock(), "standard input")?
    } else {
        config::load(file)?
    };
    let reals: usize = model.services.iter().map(|service| service.real_servers.len()).sum();
    print(&format!(
        "{}: no problem; {}, {}, {}\n",
        if file == Path::new("-") { "standard input".into() } else { file.display().to_string() },
        counted(model.ports.len(), "port"),
        counted(model.services.len(), "service"),
        counted(reals, "real server")
    ));
    Ok(())
}
