//! `director drain` and `undrain`: asked for, reported, waited for.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use serde::Deserialize;

use super::clients::{Failed, asked, each_page};
use super::print;
use crate::api::Request;
use crate::cli;
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
    clients: u64,
    connections: u64,
    /// The service's `on_drain` and `on_down`.
    on_drain: String,
    on_down: String,
    /// Pins of the service that lead to it.
    pins: usize,
    deadline_in_s: Option<u32>,
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

/// `director drain`.
pub fn drain(args: &cli::Drain) -> u8 {
    match drain_all(args) {
        Ok(()) => 0,
        Err(failed) => failed.code(),
    }
}

fn drain_all(args: &cli::Drain) -> Result<(), Failed> {
    let socket = &args.at.socket;
    let request = Request::Drain {
        server: args.server.clone(),
        service: args.service.clone(),
        deadline_s: args.deadline,
    };
    let mut rows: Vec<Drained> = asked(socket, &request)?;
    for row in &rows {
        print(&told(row, last_leaves(socket, row)?));
    }
    while args.wait && !rows.iter().all(Drained::is_over) {
        std::thread::sleep(LOOK);
        let now = report(socket, &args.server, args.service.as_deref())?;
        for (old, new) in rows.iter().zip(&now) {
            let counts = |row: &Drained| (row.clients, row.connections, row.state.clone());
            if counts(old) != counts(new) {
                print(&told(new, None));
            }
        }
        rows = now;
    }
    let server = &args.server;
    if args.wait && rows.iter().any(Drained::is_up) {
        return Err(Failed::Refused(format!(
            "{server} is up again: somebody else has ended the drain, and it takes new clients"
        )));
    }
    if args.wait {
        print(&match rows.iter().any(Drained::is_kept) {
            true => format!("{server} is down, and serves the clients that it had\n"),
            false => format!("{server} serves nobody any more\n"),
        });
    }
    Ok(())
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

fn told(row: &Drained, last_s: Option<u64>) -> String {
    let Drained { service, real_server, state, clients, connections, deadline_in_s, .. } = row;
    let mut text = format!("{real_server} of service {service}: {state}, ");
    text += &match (row.is_down() && !row.is_left(), row.on_down.as_str()) {
        (true, "rebind") => format!(
            "{clients} client(s) get another real server when they come back, {connections} \
             connection(s) end"
        ),
        (true, "drop") => format!(
            "what {clients} client(s) and {connections} connection(s) send is dropped until it \
             is up"
        ),
        _ => format!("{clients} client(s) still bound, {connections} connection(s)"),
    };
    if let Some(seconds) = last_s {
        text += &format!("; the last one leaves in {seconds} s");
        // A template lives on for its connections, a minute at a time.
        text += match (*connections > 0, row.on_drain.as_str()) {
            (false, "new_elsewhere") => ", or when it comes back",
            (true, "new_elsewhere") => " at the soonest: connections keep it",
            (false, _) => " unless it comes back",
            (true, _) => " at the soonest: connections keep it, and it may come back",
        };
    }
    if row.pins > 0 && !row.is_down() {
        text += &format!("; {} pin(s) send clients to it nevertheless", row.pins);
    }
    match deadline_in_s {
        Some(seconds) if state == "drain" => {
            text += &format!("; the deadline is in {seconds} s");
        }
        _ => {}
    }
    text + "\n"
}

/// `director undrain`.
pub fn undrain(args: &cli::Undrain) -> u8 {
    let request = Request::Undrain { server: args.server.clone(), service: args.service.clone() };
    match asked::<Vec<Drained>>(&args.at.socket, &request) {
        Ok(rows) => {
            for row in &rows {
                print(&told(row, None));
            }
            0
        }
        Err(failed) => failed.code(),
    }
}
