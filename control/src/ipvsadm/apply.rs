//! Commands carried out on the catalog, with the answers that the kernel has for them.

use std::collections::HashSet;
use std::sync::Arc;

use dataplane::catalog::spec::RealSpec;
use dataplane::catalog::{Catalog, Refused};
use dataplane::ids::ServiceId;
use dataplane::load::LoadBoard;
use dataplane::snapshot::{Identity, Snapshot};

use super::command::{
    Command, DaemonOptions, DaemonRole, ListOptions, ServerOptions, ServiceOptions, Show,
};
use super::name::Names;
use super::spec::{real_spec, service_spec};
use super::{Reply, Usage, parse};
use crate::listing::{self, ConnectionRow, Listing, Meters, SyncDaemon, SyncRole, gather};

const VERSION: &str = "ipvsadm v1.31 2019/12/24 (compiled with popt and IPVS v1.2.1)\n";
const HELP: &str = include_str!("help.txt");

/// The exit code of what the kernel refuses.
const REFUSED: u8 = 255;
/// The exit code of a listing of what is not there.
const NOT_LISTED: u8 = 1;
/// The longest message of a synchronisation daemon where none is given: an Ethernet packet
/// without its IP and UDP headers.
const SYNC_MESSAGE: u16 = 1472;

/// What commands act on.
pub struct Target<'a> {
    /// The services.
    pub catalog: &'a mut Catalog,
    /// The newest snapshot of them.
    pub snapshot: &'a mut Arc<Snapshot>,
    /// What commands changed since that snapshot; nothing at first.
    pub pending: Pending,
    /// What the real servers carry.
    pub loads: &'a LoadBoard,
    /// The counters as listings show them.
    pub meters: &'a mut Meters,
    /// The synchronisation daemons.
    pub daemons: &'a mut Vec<SyncDaemon>,
    /// Lists connections and templates; called by `-Lc` alone.
    pub connections: &'a dyn Fn() -> Vec<ConnectionRow>,
    /// Interfaces that a daemon may be started on.
    pub interfaces: &'a [&'a str],
    /// Names of ports and hosts.
    pub names: &'a Names,
    /// What the first line of a listing calls the size of the connection table.
    pub table_size: u32,
}

/// What the newest snapshot lacks.
#[derive(Debug, Default)]
pub struct Pending {
    changed: bool,
    /// Services that were added: one that was there before has its old id, but counts from
    /// nothing.
    added: HashSet<ServiceId>,
}

impl Target<'_> {
    /// Makes a snapshot of what was changed since the last one; `None` if nothing was.
    pub fn settle(&mut self) -> Option<&Arc<Snapshot>> {
        let pending = std::mem::take(&mut self.pending);
        if !pending.changed {
            return None;
        }
        *self.snapshot = self.catalog.snapshot();
        if !pending.added.is_empty() {
            let added = |service| pending.added.contains(&service);
            self.meters.begin_anew(self.snapshot, self.loads, added);
        }
        Some(self.snapshot)
    }
}

/// Carries out a command. `stdin` is what `--restore` reads.
pub fn apply(target: &mut Target<'_>, command: &Command, stdin: &str) -> Reply {
    let done = match command {
        Command::Help | Command::Version => return told_alone(command).unwrap_or_default(),
        Command::List(options) => return list(target, options),
        Command::Save { numeric } => return save(target, *numeric),
        Command::Restore => return restore(target, stdin),
        Command::AddService(options) => add_service(target, options),
        Command::EditService(options) => edit_service(target, options),
        Command::DeleteService(identity) => {
            target.catalog.delete_service(identity).map_err(of_service)
        }
        Command::AddServer(options) => add_server(target, options),
        Command::EditServer(options) => edit_server(target, options),
        Command::DeleteServer { service, address, port } => {
            target.catalog.delete_real(service, *address, *port).map_err(of_server)
        }
        Command::Clear => {
            target.catalog.flush();
            Ok(())
        }
        Command::Zero(service) => zero(target, service.as_ref()),
        Command::SetTimeouts { tcp_s, tcp_fin_s, udp_s } => {
            let timeouts = &mut target.catalog.timeouts;
            for (place, new) in [
                (&mut timeouts.tcp_s, tcp_s),
                (&mut timeouts.tcp_fin_s, tcp_fin_s),
                (&mut timeouts.udp_s, udp_s),
            ] {
                if *new > 0 {
                    *place = *new;
                }
            }
            Ok(())
        }
        Command::StartDaemon(options) => start_daemon(target, options),
        Command::StopDaemon(role) => stop_daemon(target, *role),
    };
    target.pending.changed |= done.is_ok() && command.changes();
    match done {
        Ok(()) => Reply::default(),
        Err(message) => Reply::refusal(message, REFUSED),
    }
}

/// What a command prints that needs no director; `None` for all others.
pub fn told_alone(command: &Command) -> Option<Reply> {
    match command {
        Command::Help => Some(Reply::output(format!("{VERSION}{HELP}"))),
        Command::Version => Some(Reply::output(VERSION.into())),
        _ => None,
    }
}

/// The kernel's refusals in ipvsadm's words.
const NO_SERVICE: &str = "No such service";
const SERVICE_EXISTS: &str = "Service already exists";
const SERVICE_NOT_DEFINED: &str = "Service not defined";
const SERVER_EXISTS: &str = "Destination already exists";
const NO_SERVER: &str = "No such destination";
pub(super) const NO_SCHEDULER: &str = "Scheduler or persistence engine not found";
const OUT_OF_RANGE: &str = "Numerical result out of range";
const NO_MEMORY: &str = "Memory allocation problem";
pub(super) const INVALID: &str =
    "Invalid operation.  Possibly wrong module version, address not unicast, ...";
type Done = Result<(), &'static str>;

/// A refusal of something that is done to a service.
fn of_service(refused: Refused) -> &'static str {
    match refused {
        Refused::NoSuchService => NO_SERVICE,
        other => of_server(other),
    }
}

/// A refusal of something that is done to a real server.
fn of_server(refused: Refused) -> &'static str {
    match refused {
        Refused::ServiceExists => SERVICE_EXISTS,
        Refused::NoSuchService => SERVICE_NOT_DEFINED,
        Refused::RealExists => SERVER_EXISTS,
        Refused::NoSuchReal => NO_SERVER,
        Refused::Thresholds => OUT_OF_RANGE,
        Refused::TooMany => NO_MEMORY,
    }
}

fn add_service(target: &mut Target<'_>, options: &ServiceOptions) -> Done {
    // The kernel looks for the service before it looks for the scheduler.
    if target.catalog.service(&options.identity).is_some() {
        return Err(SERVICE_EXISTS);
    }
    let spec = service_spec(target.catalog, options, None)?;
    let id = target.catalog.add_service(spec).map_err(of_service)?;
    target.pending.added.insert(id);
    Ok(())
}

fn edit_service(target: &mut Target<'_>, options: &ServiceOptions) -> Done {
    let old = target.catalog.service(&options.identity).cloned().ok_or(NO_SERVICE)?;
    let spec = service_spec(target.catalog, options, Some(&old))?;
    target.catalog.edit_service(spec).map_err(of_service)
}

fn add_server(target: &mut Target<'_>, options: &ServerOptions) -> Done {
    if target.catalog.service(&options.service).is_none() {
        return Err(SERVICE_NOT_DEFINED);
    }
    let spec = real_spec(options)?;
    target.catalog.add_real(&options.service, spec).map(drop).map_err(of_server)
}

fn edit_server(target: &mut Target<'_>, options: &ServerOptions) -> Done {
    if target.catalog.service(&options.service).is_none() {
        return Err(SERVICE_NOT_DEFINED);
    }
    let (address, port) = (options.address, options.port);
    // The kernel looks at the numbers before it looks for the server.
    if options.lower_threshold > options.upper_threshold {
        return Err(OUT_OF_RANGE);
    }
    let old = target.catalog.real(&options.service, address, port).ok_or(NO_SERVER)?;
    let spec = RealSpec {
        mac: old.mac,
        state: old.state,
        drain_until: old.drain_until,
        ..real_spec(options)?
    };
    target.catalog.edit_real(&options.service, spec).map_err(of_server)
}

fn zero(target: &mut Target<'_>, service: Option<&Identity>) -> Done {
    target.settle();
    let only = match service {
        None => None,
        Some(identity) => {
            let found = target.snapshot.services.iter().flatten().find(|s| s.identity == *identity);
            Some(found.ok_or(NO_SERVICE)?.id)
        }
    };
    target.meters.zero(target.snapshot, target.loads, only);
    Ok(())
}

fn start_daemon(target: &mut Target<'_>, options: &DaemonOptions) -> Done {
    if !target.interfaces.contains(&options.interface.as_str()) {
        return Err("No such device");
    }
    let role = sync_role(options.role);
    if target.daemons.iter().any(|daemon| daemon.role == role) {
        return Err("Daemon has already run");
    }
    target.daemons.push(SyncDaemon {
        role,
        interface: options.interface.clone(),
        syncid: options.syncid,
        maxlen: if options.maxlen == 0 { SYNC_MESSAGE } else { options.maxlen },
        group: options.group,
        port: options.port,
        ttl: options.ttl,
    });
    Ok(())
}

fn stop_daemon(target: &mut Target<'_>, role: DaemonRole) -> Done {
    let role = sync_role(role);
    let running = target.daemons.iter().position(|daemon| daemon.role == role);
    target.daemons.remove(running.ok_or("No daemon is running")?);
    Ok(())
}

fn sync_role(role: DaemonRole) -> SyncRole {
    match role {
        DaemonRole::Master => SyncRole::Master,
        DaemonRole::Backup => SyncRole::Backup,
    }
}

impl Target<'_> {
    fn listing(&mut self, sorted: bool) -> Listing {
        self.settle();
        let mut listing = gather::services(self.snapshot, self.loads, self.meters, self.table_size);
        if sorted {
            listing.sort();
        }
        listing
    }
}

fn list(target: &mut Target<'_>, options: &ListOptions) -> Reply {
    Reply::output(match options.show {
        Show::Services(style) => listing::services(&target.listing(options.sorted), style),
        Show::Service(identity, style) => match target.listing(options.sorted).find(&identity) {
            Some(row) => listing::service(row, style),
            None => return Reply::refusal(NO_SERVICE, NOT_LISTED),
        },
        Show::Connections { engine_data } => {
            listing::connections(&(target.connections)(), engine_data)
        }
        Show::Timeouts => listing::timeouts(&target.catalog.timeouts),
        Show::Daemons => listing::daemons(target.daemons),
    })
}

fn save(target: &mut Target<'_>, numeric: bool) -> Reply {
    let listing = target.listing(true);
    let saved = listing::save(&listing);
    let stdout = if numeric { saved } else { target.names.in_saved(&saved) };
    Reply { stderr: listing::unsaid(&listing), ..Reply::output(stdout) }
}

/// Commands line by line, with or without the word `ipvsadm` in front. A line that is no
/// command ends it; what the director refuses is reported, and the next line follows.
fn restore(target: &mut Target<'_>, stdin: &str) -> Reply {
    let mut all = Reply::default();
    for line in stdin.lines() {
        let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        if words.first().is_some_and(|word| word == "ipvsadm") {
            words.remove(0);
        }
        if words.is_empty() {
            continue;
        }
        let command: Result<Command, Usage> = parse(&words, target.names);
        // A restore within a restore would read the same lines again.
        let command = match command {
            Ok(Command::Restore) => Err(Usage::try_help()),
            command => command,
        };
        let usage = command.is_err();
        let reply = match command {
            Ok(command) => apply(target, &command, ""),
            Err(usage) => usage.into(),
        };
        all.stdout.push_str(&reply.stdout);
        all.stderr.push_str(&reply.stderr);
        all.rc = reply.rc;
        if usage {
            break;
        }
    }
    all
}
