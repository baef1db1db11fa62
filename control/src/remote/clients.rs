//! `director clients`, `evict`, `rebind`, and what `director get` has in pages.

use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

use super::drain;
use super::listed::shown;
use super::{complain, print};
use crate::api::{self, Reply, Request};
use crate::cli;
use crate::config;
use crate::counted::{agreeing, counted};
use crate::get::{self, Kind, Output, Table};
use crate::page::{Filter, Page, Part, Place};
use crate::server_name::ServerName;

/// What a page answers.
#[derive(Debug, Deserialize)]
pub(super) struct Rows {
    pub(super) rows: Vec<Value>,
    pub(super) next: Option<Place>,
}

/// What a page of changes answers.
#[derive(Debug, Deserialize)]
struct Changed {
    done: Done,
    /// Bindings whose client is pinned to another real server.
    pinned: u64,
    /// Bindings that stay, as the real server sends its clients away.
    unfit: u64,
    next: Option<Place>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Done {
    found: u64,
    changed: u64,
    made: u64,
    full: u64,
    /// Connections that go on where they are.
    connections: u64,
    /// Those that end, and those whose packets are dropped, as their real server is down.
    ending: u64,
    dropped: u64,
    #[serde(skip)]
    pinned: u64,
    #[serde(skip)]
    unfit: u64,
}

impl Done {
    fn add(&mut self, other: Self) {
        self.found += other.found;
        self.changed += other.changed;
        self.made += other.made;
        self.connections += other.connections;
        self.full += other.full;
        self.ending += other.ending;
        self.dropped += other.dropped;
        self.pinned += other.pinned;
        self.unfit += other.unfit;
    }
}

/// Why a command ends early, with its exit code.
pub(crate) enum Failed {
    /// The director refused, or answered something else than was asked for.
    Refused(String),
    /// It could not be asked; the exit status says whether this user may not, or it is not there.
    Unreached(String, u8),
    /// Nobody reads any more.
    Closed,
}

impl Failed {
    pub(super) fn code(self) -> u8 {
        match self {
            Self::Refused(sentence) => {
                complain(sentence.trim_end());
                1
            }
            Self::Unreached(sentence, status) => {
                complain(&sentence);
                status
            }
            // `director clients | head` has got what it wants.
            Self::Closed => 0,
        }
    }
}

/// Asks for something that is answered in JSON.
pub(super) fn asked<T: for<'a> Deserialize<'a>>(
    socket: &Path,
    request: &Request,
) -> Result<T, Failed> {
    match api::call(socket, request) {
        Ok(Reply { ok: true, text, .. }) => serde_json::from_str(&text)
            .map_err(|error| Failed::Refused(format!("the answer is not as expected: {error}"))),
        Ok(Reply { text, .. }) => Err(Failed::Refused(text)),
        Err(error) => Err(Failed::Unreached(error.to_string(), error.exit_status())),
    }
}

/// Every row, a page at a time.
pub(super) fn each_page(
    socket: &Path,
    part: Part,
    filter: &Filter,
    mut take: impl FnMut(Vec<Value>) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut from = Some(Place::start(part));
    while let Some(at) = from {
        let page = Page { from: at, filter: filter.clone() };
        let Rows { rows, next } = asked(socket, &Request::Page(page))?;
        take(rows)?;
        from = next;
    }
    Ok(())
}

/// `director clients`.
pub fn clients(args: &cli::Clients) -> u8 {
    let output = args.output.unwrap_or(Output::Table);
    code(listed(&args.at.socket, Kind::Bindings, output, &args.filter.filter()))
}

/// `director get bindings` and `get connections`.
pub(super) fn paged(socket: &Path, kind: Kind, output: Output, names: &[String]) -> u8 {
    let service = match names {
        [] => None,
        [name] => Some(name.clone()),
        _ => {
            complain("name one service at a time");
            return 2;
        }
    };
    code(listed(socket, kind, output, &Filter { service, ..Filter::default() }))
}

fn code(result: Result<(), Failed>) -> u8 {
    result.map_or_else(Failed::code, |()| 0)
}

/// Prints what comes as it comes.
fn listed(socket: &Path, kind: Kind, output: Output, filter: &Filter) -> Result<(), Failed> {
    let part = if kind == Kind::Connections { Part::Connections } else { Part::Templates };
    let mut table = Table::new(get::columns(kind), output == Output::Wide);
    let mut first = true;
    let begin = match output {
        Output::Json => "[",
        Output::Yaml | Output::Table | Output::Wide => "",
    };
    let mut begun = false;
    each_page(socket, part, filter, |rows| {
        // Nothing is printed where the director cannot be reached.
        if !std::mem::replace(&mut begun, true) {
            shown(begin)?;
        }
        // The first lines of a table decide about its widths; an empty page has none.
        if rows.is_empty() {
            return Ok(());
        }
        let text = match output {
            Output::Table | Output::Wide => table.page(&rows),
            Output::Yaml => {
                config::yaml_of(&rows).map_err(|error| Failed::Refused(error.to_string()))?
            }
            Output::Json => rows
                .iter()
                .map(|row| {
                    let comma = if std::mem::take(&mut first) { "\n" } else { ",\n" };
                    format!("{comma}  {row}")
                })
                .collect(),
        };
        first = false;
        shown(&text)
    })?;
    match output {
        Output::Json => shown("\n]\n"),
        Output::Yaml if first => shown("[]\n"),
        Output::Table | Output::Wide if first => shown(&table.page(&[])),
        Output::Yaml | Output::Table | Output::Wide => Ok(()),
    }
}

/// `director evict`.
pub fn evict(args: &cli::Evict) -> u8 {
    let filter = Filter { client: Some(args.client), ..args.of.filter() };
    match changed(&args.at.socket, &filter, None) {
        Ok(Done { found: 0, .. }) => {
            complain(&format!("{} is bound nowhere; nothing was changed", args.client));
            1
        }
        Ok(done @ Done { changed, pinned, .. }) => {
            let mut text = format!("{} ended; ", counted(changed, "binding"));
            text += &match pinned {
                0 => "the next connection of each is scheduled anew\n".to_owned(),
                some => format!(
                    "the next connection of each is scheduled anew, or goes to the real server that \
                     the client is pinned to ({some})\n"
                ),
            };
            print(&(text + &of_connections(&done)));
            0
        }
        Err(failed) => failed.code(),
    }
}

/// `director rebind`.
pub fn rebind(args: &cli::Rebind) -> u8 {
    let filter = Filter { client: Some(args.client), ..args.of.filter() };
    match changed(&args.at.socket, &filter, Some(&args.to)) {
        Ok(Done { found: 0, unfit, .. }) if unfit > 0 => {
            complain(&format!("{}; nothing was changed", sent_away(&args.to, unfit)));
            1
        }
        Ok(Done { found: 0, .. }) => {
            complain(&format!(
                "{} has no binding in a service that has the real server {}; nothing was changed",
                args.client, args.to
            ));
            1
        }
        Ok(done @ Done { found, changed, full, pinned, unfit, .. }) => {
            let mut text = format!("{} moved to {}", counted(changed, "binding"), args.to);
            // Where some moved, the rest of the walk may have come upon them again.
            if changed == 0 {
                text += &format!(", {found} were there already");
            }
            text.push('\n');
            if full > 0 {
                text += &format!("{full} could not be made: the table is full\n");
            }
            if unfit > 0 {
                text += &format!("{}\n", sent_away(&args.to, unfit));
            }
            if pinned > 0 {
                text += &format!(
                    "{pinned} of them are pinned to another real server, and go there when their \
                     binding ends; 'director unpin' changes that\n"
                );
            }
            print(&(text + &of_connections(&done)));
            0
        }
        Err(failed) => failed.code(),
    }
}

/// `director pin`: the pin, and then whoever is bound elsewhere.
pub fn pin(args: &cli::Pin) -> u8 {
    let request = Request::Pin {
        client: args.client,
        to: Some(args.to.clone()),
        service: args.service.clone(),
    };
    let result = asked::<Vec<String>>(&args.at.socket, &request).and_then(|services| {
        let mut moved = Done::default();
        for service in &services {
            let filter = Filter {
                client: Some(args.client),
                service: Some(service.clone()),
                real_server: None,
            };
            moved.add(changed(&args.at.socket, &filter, Some(&args.to))?);
        }
        Ok((services, moved))
    });
    match result {
        Ok((services, done @ Done { changed, unfit, .. })) => {
            let mut text = of_connections(&done);
            let down = drain::down_in(&args.at.socket, &args.to, &services);
            if !down.is_empty() {
                let down = down.join(", ");
                text += &format!("{} is down in {down}: the pin counts once it is up\n", args.to);
            } else if unfit > 0 {
                text += &format!("{}\n", sent_away(&args.to, unfit));
            }
            print(&format!(
                "{} is pinned to {} in {}; {} moved there\n{}",
                args.client,
                args.to,
                services.join(", "),
                counted(changed, "binding"),
                text
            ));
            0
        }
        Err(failed) => failed.code(),
    }
}

/// `director unpin`.
pub fn unpin(args: &cli::Unpin) -> u8 {
    let request = Request::Pin { client: args.client, to: None, service: args.service.clone() };
    match asked::<Vec<String>>(&args.at.socket, &request) {
        Ok(services) => {
            let services = services.join(", ");
            print(&format!(
                "{} is not pinned in {services} any more; it stays where it is bound\n",
                args.client
            ));
            0
        }
        Err(failed) => failed.code(),
    }
}

fn sent_away(to: &ServerName, bindings: u64) -> String {
    let stay = agreeing(bindings, "stays where it is", "stay where they are");
    format!(
        "{} {stay}: {to} is down or drains there, and its clients are given another real server with \
         their next connection",
        counted(bindings, "binding")
    )
}

/// What becomes of connections that are open.
fn of_connections(done: &Done) -> String {
    let mut text = String::new();
    let mut add = |number: u64, fate: [&str; 2], how: &str| {
        let [one, many] = fate;
        if number > 0 {
            let fate = agreeing(number, one, many);
            text += &format!("{} {fate}{how}\n", counted(number, "connection"));
        }
    };
    add(
        done.connections,
        ["goes on where it is until it ends", "go on where they are until they end"],
        "",
    );
    add(
        done.ending,
        ["ends with its next packet", "end with their next packet"],
        " (TCP is reset, UDP gets another real server), as the real server is down",
    );
    add(
        done.dropped,
        ["has its packets dropped", "have their packets dropped"],
        " until the real server is back, which is down or removed",
    );
    text
}

fn changed(socket: &Path, filter: &Filter, to: Option<&ServerName>) -> Result<Done, Failed> {
    let mut all = Done::default();
    let mut from = Some(Place::start(Part::Templates));
    while let Some(at) = from {
        let page = Page { from: at, filter: filter.clone() };
        let request = Request::Rebind { page, to: to.cloned() };
        let Changed { done, pinned, unfit, next } = asked(socket, &request)?;
        all.add(Done { pinned, unfit, ..done });
        from = next;
    }
    Ok(all)
}
