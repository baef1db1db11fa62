//! The control thread: everything that is not a packet.
//!
//! One loop, no locks. It takes requests from the socket, changes of the file and signals,
//! turns them into snapshots, hears what the cores have to tell and keeps the neighbours.
//! The cores never wait for it.

mod begin;
mod bindings;
mod changes;
mod commands;
mod drain;
mod drains;
mod growth;
mod hops;
mod listed;
mod observers;
mod pin;
mod questions;
mod rebinds;
mod restart;
mod traces;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dataplane::catalog::Catalog;
use dataplane::shared::Shared;
use dataplane::snapshot::Snapshot;
use dataplane::tick::Tick;
use nic::{NicHandle, PortInfo};
use tracing::{info, warn};

use crate::api::{Call, Reply, Request, Socket};
use crate::calls::Calls;
use crate::config::{self, Model};
use crate::history::{Cause, History};
use crate::listing::{Meters, SyncDaemon};
use crate::metrics::ListenError;
use crate::neighbour::{Neighbours, Settings};
use crate::notify::Notify;
use crate::privileges::{Account, PrivilegeError};
use crate::publish;
use crate::status::{self, LastApply};
use crate::trace::session::Sessions;

use changes::Source;
use drain::Wish;
pub use drains::{Draining, Drains};
use observers::Observers;

/// Pause between two rounds of the loop; what waits for control waits no longer.
const ROUND: Duration = Duration::from_millis(2);
/// Between two looks at the configuration file.
const LOOK: Duration = Duration::from_millis(200);

/// Signals, as flags that their handlers set.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// SIGTERM or SIGINT: stop.
    pub stop: Arc<AtomicBool>,
    /// SIGHUP: read the file again.
    pub reload: Arc<AtomicBool>,
    /// SIGUSR1: write the status to the log.
    pub status: Arc<AtomicBool>,
    /// SIGUSR2, which has no meaning here and must not end the process.
    pub ignored: Arc<AtomicBool>,
}

/// Everything that the control thread owns.
pub struct ControlThread {
    shared: Arc<Shared>,
    catalog: Catalog,
    snapshot: Arc<Snapshot>,
    model: Arc<Model>,
    config: PathBuf,
    history: History,
    watch: crate::watch::Watch,
    neighbours: Neighbours,
    calls: Calls,
    drains: Drains,
    meters: Meters,
    socket: Socket,
    nic: NicHandle,
    ports: Vec<PortInfo>,
    signals: Signals,
    started: Instant,
    last_apply: LastApply,
    observers: Observers,
    traces: Sessions,
    notify: Notify,
    account: Option<Account>,
    files: Vec<PathBuf>,
    ready: bool,
    /// Synchronisation daemons that ipvsadm was told to start.
    daemons: Vec<SyncDaemon>,
    growth: growth::Growth,
    /// What runs and no configuration has words for.
    unsaid: Vec<String>,
}

/// What a control thread starts with.
pub struct Parts {
    /// What the cores share.
    pub shared: Arc<Shared>,
    /// The services.
    pub catalog: Catalog,
    /// The snapshot that the cores started with.
    pub snapshot: Arc<Snapshot>,
    /// The drains in it that have a deadline.
    pub drains: Drains,
    /// The configuration.
    pub model: Model,
    /// Where it came from.
    pub config: PathBuf,
    /// What ran before.
    pub history: History,
    /// The control socket.
    pub socket: Socket,
    /// The ports' statistics.
    pub nic: NicHandle,
    /// The ports.
    pub ports: Vec<PortInfo>,
    /// Signals.
    pub signals: Signals,
    /// When the ticks began.
    pub started: Instant,
    /// The listener for metrics, if any are offered.
    pub metrics: Option<TcpListener>,
    /// Who the process becomes once the cores run.
    pub account: Option<Account>,
    /// What that user must be able to write to and remove.
    pub files: Vec<PathBuf>,
}

impl ControlThread {
    /// A control thread that is ready to run.
    ///
    /// # Errors
    /// There is no thread left for the metrics.
    pub fn new(parts: Parts) -> Result<Self, ListenError> {
        let mut thread = Self {
            watch: crate::watch::Watch::new(&parts.config),
            neighbours: Neighbours::new(neighbour_settings(&parts.model)),
            calls: Calls::default(),
            drains: parts.drains,
            growth: growth::Growth::new(&parts.shared),
            meters: Meters::default(),
            last_apply: LastApply::started(&parts.config),
            observers: Observers::new(&parts.shared, parts.metrics)?,
            traces: Sessions::default(),
            shared: parts.shared,
            catalog: parts.catalog,
            snapshot: parts.snapshot,
            model: Arc::new(parts.model),
            // The history and other people's messages name it, wherever those are read.
            config: std::path::absolute(&parts.config).unwrap_or(parts.config),
            history: parts.history,
            socket: parts.socket,
            nic: parts.nic,
            ports: parts.ports,
            signals: parts.signals,
            started: parts.started,
            notify: Notify::from_environment(),
            account: parts.account,
            files: parts.files,
            ready: false,
            daemons: Vec::new(),
            unsaid: Vec::new(),
        };
        thread.settle_neighbours();
        let what = thread.config.display().to_string();
        thread.note(Cause::Start, "director run".into(), what, "started".into());
        thread.observers.nic = thread.nic.stats();
        thread.tell_observers();
        Ok(thread)
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Runs until a signal says stop.
    ///
    /// # Errors
    /// [`PrivilegeError`] if the process cannot become the user that it should be.
    pub fn run(mut self) -> Result<(), PrivilegeError> {
        let (mut looked, mut metered) = (Instant::now(), Instant::now());
        while !self.signals.stop.load(Ordering::Relaxed) {
            match self.socket.calls.recv_timeout(ROUND) {
                Ok(call) => self.answer(call),
                Err(error) if error.is_timeout() => {}
                Err(_) => std::thread::sleep(ROUND),
            }
            self.hear();
            self.observers.round();
            publish::collect(&self.shared);
            self.grow_tables();
            self.begin()?;
            if looked.elapsed() >= LOOK {
                looked = Instant::now();
                self.look_at_file();
                self.log_status();
                self.look_at_tables();
                self.look_at_memory();
                self.end_drains();
                self.history.flush();
                self.traces.forget();
                self.catalog.reclaim(publish::adopted(&self.shared));
                self.tell();
            }
            if metered.elapsed() >= Duration::from_secs(u64::from(Meters::PERIOD_S)) {
                metered = Instant::now();
                self.meters.tick(&self.snapshot, &self.shared.loads);
                self.look_at_links();
                self.tell_observers();
            }
        }
        info!("stopping");
        self.notify.stopping();
        Ok(())
    }

    /// Says which ports lost or got their link.
    fn look_at_links(&mut self) {
        self.observers.nic = self.nic.stats();
        for (port, now) in self.ports.iter_mut().zip(&self.observers.nic.ports) {
            if port.link_up == now.link_up {
                continue;
            }
            port.link_up = now.link_up;
            match now.link_up {
                true => info!("port {}: the link is up", port.name),
                false => warn!("port {}: the link is down; nothing is received or sent", port.name),
            }
        }
    }

    /// Servers whose drain has come to its deadline are down from now on.
    fn end_drains(&mut self) {
        let now = self.now_ms();
        let ended = self.drains.end(&mut self.catalog, now);
        if ended.is_empty() {
            return;
        }
        self.snapshot = self.catalog.snapshot();
        publish::publish(&self.shared, &self.snapshot);
        for (service, address) in ended {
            info!("service {service}: the drain of {address} is over, it counts as down now");
            let what = format!("services[{service}].drain_deadline");
            self.note(Cause::Drain, "the clock".into(), what, format!("{address} is down"));
        }
    }

    fn log_status(&self) {
        if self.signals.status.swap(false, Ordering::Relaxed) {
            info!("SIGUSR1: the status is\n{}", self.report().to_string().trim_end());
        }
    }

    fn look_at_file(&mut self) {
        let asked = self.signals.reload.swap(false, Ordering::Relaxed);
        let changed = self.watch.changed() && self.model.control.watch;
        if !asked && !changed {
            return;
        }
        if asked {
            self.watch.taken();
            self.notify.reloading();
        }
        let who = if asked { "SIGHUP" } else { "the file changed" };
        let result = config::load(&self.config).map(Arc::new);
        let source = Source {
            cause: Cause::File,
            who: who.to_owned(),
            name: self.config.display().to_string(),
        };
        let _ = self.take_over(result.map_err(|problems| problems.to_string()), &source);
        if asked && self.ready {
            let state = self.state();
            self.notify.ready(&state);
        }
    }

    /// What the cores have to tell, and what the neighbours want sent.
    fn hear(&mut self) {
        let now = self.now_ms();
        for mailbox in &self.shared.mailboxes {
            while let Some(event) = mailbox.events.pop() {
                self.neighbours.hear(&self.shared.neighbours, &event, now);
            }
        }
        self.calls.hear(&self.shared, Tick::after(self.started.elapsed()));
        let outgoing = self.shared.mailboxes.first().map(|mailbox| &mailbox.outgoing);
        self.neighbours.tick(&self.shared.neighbours, now, &mut |frame| {
            // A full queue loses the question; it is asked again by its timer.
            let _ = outgoing.map(|queue| queue.push(frame));
        });
        self.log_neighbours();
    }

    fn log_neighbours(&mut self) {
        for notice in self.neighbours.notices() {
            notice.log();
        }
    }

    fn answer(&mut self, call: Call) {
        let reply = match call.request {
            Request::Apply { name, file, text, dry_run: false } => {
                self.apply(name, file, &text, call.peer)
            }
            Request::Apply { name, text, dry_run: true, .. } => self.would_apply(&name, &text),
            Request::Diff { file, json } => self.diff(file, json),
            Request::Rollback { generation, dry_run } => {
                self.rollback(generation, dry_run, call.peer)
            }
            Request::History { json } => self.history(json),
            Request::Page(page) => self.page(&page),
            Request::Listed { from, form } => self.listed(from, form),
            Request::Rebind { page, to } => self.rebind(&page, to.as_ref()),
            Request::Pin { client, to, service } => {
                self.pin(client, to.as_ref(), service.as_deref(), call.peer)
            }
            Request::Drain { server, service, deadline_s } => {
                self.set_state(&server, service.as_deref(), Wish::Drain { deadline_s }, call.peer)
            }
            Request::Undrain { server, service } => {
                self.set_state(&server, service.as_deref(), Wish::Up, call.peer)
            }
            Request::DrainReport { server, service } => {
                self.drain_report(&server, service.as_deref())
            }
            Request::Get { what, output, names } => self.get(what, output, &names),
            Request::Ipvsadm { args, stdin } => self.ipvsadm(&args, &stdin, call.peer),
            Request::Show { what, exact, json } => self.show(what, exact, json),
            Request::Status { json } => self.status(json),
            Request::Explain { flow, flags, port, json } => {
                self.explain(&flow, &flags, port.as_deref(), json)
            }
            Request::Trace { question } => self.trace(&question),
            Request::Traced { session } => self.traced(session),
            Request::EndTrace { session } => {
                self.traces.close(session);
                Reply::done("")
            }
        };
        // A client that went away does not want it any more.
        let _ = call.reply.send(reply);
    }

    fn status(&self, json: bool) -> Reply {
        let report = self.report();
        if json { to_json(&report) } else { Reply::done(report.to_string()) }
    }

    fn report(&self) -> status::Report {
        status::Report::gather(status::Sources {
            shared: &self.shared,
            snapshot: &self.snapshot,
            ports: &self.ports,
            nic: &self.nic.stats(),
            neighbours: &self.neighbours,
            last_apply: &self.last_apply,
            drains: self.drains.list(&self.catalog, self.now_ms()),
            uptime: self.started.elapsed(),
        })
    }
}

fn to_json(value: &impl serde::Serialize) -> Reply {
    match serde_json::to_string_pretty(value) {
        Ok(text) => Reply::done(text + "\n"),
        Err(error) => Reply::refused(format!("cannot be written as JSON: {error}\n")),
    }
}

fn neighbour_settings(model: &Model) -> Settings {
    Settings {
        reachable_ms: model.neighbours.reachable_ms,
        retransmit_ms: model.neighbours.retransmit_ms,
        retries: model.neighbours.retries,
        entries: model.neighbours.entries,
        ..Settings::default()
    }
}
