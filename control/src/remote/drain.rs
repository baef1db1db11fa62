//! `director drain` and `undrain`: asked for, reported, waited for.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::clients::{Failed, asked, each_page};
use super::print;
use crate::api::Request;
use crate::cli;
use crate::counted::{agreeing, counted};
use crate::page::{Filter, Part};
use crate::server_name::ServerName;

/// Between two looks of `--wait`.
const LOOK: Duration = Duration::from_secs(1);

/// One real server of one service.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Drained {
    service: String,
    real_server: String,
    address: IpAddr,
    port: u16,
    state: String,
    /// Whether the service binds clients.
    persistent: bool,
    /// Seconds that a connection without packets lives on.
    idle_s: u32,
    clients: u64,
    connections: u64,
    /// The service's `on_drain` and `on_down`.
    on_drain: String,
    on_down: String,
    /// Pins of the service that lead to it.
    pins: usize,
    deadline_in_s: Option<u32>,
    /// Whether what was asked for changed it.
    changed: bool,
}

impl Drained {
    fn is_over(&self) -> bool {
        self.is_down() || self.is_left() || self.is_up()
    }

    /// Whether somebody has taken it back.
    fn is_up(&self) -> bool {
        self.state == "up"
    }

    fn is_down(&self) -> bool {
        self.state == "down"
    }

    /// Whether nobody is there any more.
    fn is_left(&self) -> bool {
        self.clients == 0 && self.connections == 0
    }

    /// Whether its clients go on with it although it is down.
    fn is_kept(&self) -> bool {
        self.is_down() && self.on_down == "keep" && !self.is_left()
    }
}

/// `director drain`: of several servers each, also where one of them cannot be.
pub fn drain(args: &cli::Drain) -> u8 {
    let mut drains = Vec::new();
    let mut code = 0;
    for server in &args.servers {
        match begin(args, server) {
            Ok(rows) => drains.push((server, rows)),
            Err(failed) => code = failed.code().max(code),
        }
    }
    if args.wait {
        for (server, rows) in drains {
            code = wait(args, server, rows).map_or_else(Failed::code, |()| 0).max(code);
        }
    }
    code
}

fn begin(args: &cli::Drain, server: &ServerName) -> Result<Vec<Drained>, Failed> {
    let socket = &args.at.socket;
    let request = Request::Drain {
        server: server.clone(),
        service: args.service.clone(),
        deadline_s: args.deadline,
    };
    let rows: Vec<Drained> = asked(socket, &request)?;
    for row in &rows {
        print(&told(row, last_leaves(socket, row)?));
    }
    Ok(rows)
}

/// Tells of every change until nobody is there any more.
fn wait(args: &cli::Drain, server: &ServerName, mut rows: Vec<Drained>) -> Result<(), Failed> {
    while !rows.iter().all(Drained::is_over) {
        std::thread::sleep(LOOK);
        let now = report(&args.at.socket, server, args.service.as_deref())?;
        for (old, new) in rows.iter().zip(&now) {
            let counts = |row: &Drained| (row.clients, row.connections, row.state.clone());
            if counts(old) != counts(new) {
                print(&told(new, None));
            }
        }
        rows = now;
    }
    if rows.iter().any(Drained::is_up) {
        return Err(Failed::Refused(format!(
            "{server} is up again: somebody else has ended the drain, and it takes new clients"
        )));
    }
    print(&match rows.iter().any(Drained::is_kept) {
        true => format!("{server} is down, and serves the clients that it had\n"),
        false => format!("{server} serves nobody any more{}\n", still_listed(&rows)),
    });
    Ok(())
}

/// The services in which a real server is down and gives its clients away.
pub(super) fn down_in(socket: &Path, server: &ServerName, services: &[String]) -> Vec<String> {
    // Only a remark depends on it.
    let rows = report(socket, server, None).unwrap_or_default().into_iter();
    let down = rows.filter(|row| row.is_down() && services.contains(&row.service));
    down.map(|row| row.service).collect()
}

fn report(
    socket: &Path,
    server: &ServerName,
    service: Option<&str>,
) -> Result<Vec<Drained>, Failed> {
    let service = service.map(str::to_owned);
    asked(socket, &Request::DrainReport { server: server.clone(), service })
}

/// When the last binding of a real server ends, if none of its clients comes back before.
fn last_leaves(socket: &Path, row: &Drained) -> Result<Option<u64>, Failed> {
    if row.clients == 0 {
        return Ok(None);
    }
    let filter = Filter {
        client: None,
        service: Some(row.service.clone()),
        real_server: Some(ServerName::Endpoint(SocketAddr::new(row.address, row.port))),
    };
    let mut last = None;
    each_page(socket, Part::Templates, &filter, |rows| {
        let ends = rows.iter().filter_map(|row| row.get("expires_s")?.as_u64());
        last = ends.chain(last).max();
        Ok(())
    })?;
    Ok(last)
}

/// Who is in the listings of a server that is down although it serves nobody.
fn still_listed(rows: &[Drained]) -> String {
    let sum = |of: fn(&Drained) -> u64| rows.iter().map(of).sum::<u64>();
    let (clients, connections) = (sum(|row| row.clients), sum(|row| row.connections));
    let who = match (clients, connections) {
        (0, 0) => return String::new(),
        (0, _) => counted(connections, "connection"),
        (_, 0) => counted(clients, "client"),
        (..) => {
            format!("{} and {}", counted(clients, "client"), counted(connections, "connection"))
        }
    };
    let until = agreeing(
        clients + connections,
        "is listed with it until it sends something or times out",
        "are listed with it until they send something or time out",
    );
    format!("; {who} {until}")
}

fn told(row: &Drained, last_s: Option<u64>) -> String {
    let Drained { service, real_server, state, .. } = row;
    let mut text = format!("{real_server} of service {service}: {state}, {}", who_is_there(row));
    if let Some(seconds) = last_s {
        text += &format!("; the last one leaves in {seconds} s");
        // A template lives on for its connections, a minute at a time.
        text += match (row.connections > 0, row.on_drain.as_str()) {
            (false, "new_elsewhere") => ", or when it comes back",
            (true, "new_elsewhere") => " at the soonest: connections keep it",
            (false, _) => " unless it comes back",
            (true, _) => " at the soonest: connections keep it, and it may come back",
        };
    }
    if row.pins > 0 && !row.is_down() {
        let sends = agreeing(row.pins, "sends", "send");
        text += &format!("; {} {sends} clients to it nevertheless", counted(row.pins, "pin"));
    }
    if let Some(seconds) = row.deadline_in_s.filter(|_| state == "drain") {
        text += &format!("; the deadline is in {seconds} s");
        if row.connections > 0 {
            text += match row.on_down.as_str() {
                "keep" => ", and what is open then goes on",
                "drop" => ", and what is open then is not served until the server is up",
                _ => ", and what is open then ends: TCP is reset, UDP gets another real server",
            };
        }
    }
    text + "\n"
}

/// Who is bound or connected, and what becomes of them.
fn who_is_there(row: &Drained) -> String {
    let (bound, open) = (counted(row.clients, "client"), counted(row.connections, "connection"));
    let get = agreeing(row.clients, "gets", "get");
    let back = agreeing(row.clients, "it comes", "they come");
    let end = agreeing(row.connections, "ends", "end");
    match (row.state.as_str(), row.on_down.as_str()) {
        ("down", "rebind") if row.clients == 0 && row.connections > 0 => {
            format!("{open} {end} with the next packet")
        }
        ("down", "rebind") if !row.is_left() => format!(
            "{bound} {get} another real server when {back} back, {open} {end} with the next packet"
        ),
        ("down", "drop") if !row.is_left() => {
            format!("what {bound} and {open} send is dropped until it is up")
        }
        _ if row.persistent || row.clients > 0 => format!("{bound} still bound, {open}"),
        ("drain", _) if row.connections > 0 => {
            let (go, end) = (
                agreeing(row.connections, "goes", "go"),
                agreeing(row.connections, "it ends", "they end"),
            );
            format!("{open} {go} on until {end}, an idle one for {} s at the most", row.idle_s)
        }
        _ => open,
    }
}

/// `director undrain`. Where a server was not drained is told only where nothing else is, or
/// where the service was named.
pub fn undrain(args: &cli::Undrain) -> u8 {
    let mut code = 0;
    for server in &args.servers {
        let request = Request::Undrain { server: server.clone(), service: args.service.clone() };
        match asked::<Vec<Drained>>(&args.at.socket, &request) {
            Ok(rows) => {
                let all = args.service.is_some() || !rows.iter().any(|row| row.changed);
                for row in rows.iter().filter(|row| all || row.changed) {
                    print(&told(row, None));
                }
            }
            Err(failed) => code = failed.code().max(code),
        }
    }
    code
}
