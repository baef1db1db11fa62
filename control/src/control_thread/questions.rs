//! Questions about what is going on: listings and explanations. The cores answer for their
//! own tables, a page at a time, between two bursts.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use dataplane::bindings::service_of;
use dataplane::conn::Conn;
use dataplane::conn::table::Flow;
use dataplane::explain::Explanation;
use dataplane::ids::{PortIndex, ScopeId};
use dataplane::mailbox::{Answer, Query};
use dataplane::snapshot::Scope;
use dataplane::table::Cursor;
use dataplane::tick::Tick;
use dataplane::wire::Vlan;
use dataplane::wire::ethernet::Mac;

use super::commands::TABLE_SIZE;
use super::{ControlThread, to_json};
use serde_json::Value;

use crate::api::{self, Reply};
use crate::config;
use crate::flow::FlowText;
use crate::get::{self, Kind, Output};
use crate::listing::{self, ConnectionRow, Style, gather};
use crate::status;

/// Connections asked from a core at a time.
const PAGE: usize = 4096;
/// How long a core may take to answer a question.
const ANSWER: Duration = Duration::from_secs(2);

impl ControlThread {
    pub(super) fn show(&mut self, what: api::Listing, exact: bool, json: bool) -> Reply {
        let style = match what {
            api::Listing::Connections => return self.show_connections(json, false),
            api::Listing::ConnectionsWithCalls => return self.show_connections(json, true),
            api::Listing::Services => Style::Default,
            api::Listing::Stats => Style::Stats { exact },
            api::Listing::Rate => Style::Rate { exact },
            api::Listing::Thresholds => Style::Thresholds,
            api::Listing::Persistent => Style::PersistentConnections,
        };
        let mut listed =
            gather::services(&self.snapshot, &self.shared.loads, &self.meters, TABLE_SIZE);
        listed.sort();
        if json { to_json(&listed) } else { Reply::done(listing::services(&listed, style)) }
    }

    pub(super) fn get(&mut self, what: Kind, output: Output, names: &[String]) -> Reply {
        let mut rows = match what {
            Kind::Config => return self.running_config(output),
            Kind::Services | Kind::Reals => {
                let (snapshot, loads) = (&self.snapshot, &self.shared.loads);
                let mut listed = gather::services(snapshot, loads, &self.meters, TABLE_SIZE);
                listed.sort();
                match what {
                    Kind::Reals => get::reals(&listed, &self.model),
                    _ => get::services(&listed),
                }
            }
            Kind::Cores | Kind::Ports => {
                let report = serde_json::to_value(self.report()).unwrap_or_default();
                if what == Kind::Cores { get::cores(&report) } else { get::ports(&report) }
            }
            Kind::Bindings | Kind::Connections => {
                return Reply::refused("bindings and connections are asked for in pages\n");
            }
        };
        let named = |row: &Value, key: &str| {
            let name = row.get(key).and_then(Value::as_str);
            name.is_some_and(|name| names.iter().any(|wanted| wanted == name))
        };
        rows.retain(|row| names.is_empty() || named(row, "name") || named(row, "service"));
        match get::written(what, &rows, output) {
            Ok(text) => Reply::done(text),
            Err(sentence) => Reply::refused(sentence),
        }
    }

    /// The running configuration as a file would say it.
    fn running_config(&self, output: Output) -> Reply {
        if output == Output::Json {
            return to_json(&*self.model);
        }
        let unsaid: String =
            self.unsaid.iter().map(|what| format!("# not said here: {what}\n")).collect();
        match config::to_yaml(&self.model) {
            Ok(yaml) => {
                Reply::done(format!("# generation {}\n{unsaid}{yaml}", self.snapshot.generation))
            }
            Err(error) => Reply::refused(format!("cannot be written as YAML: {error}\n")),
        }
    }

    fn show_connections(&mut self, json: bool, engine: bool) -> Reply {
        match self.connection_rows() {
            Ok(rows) if json => to_json(&rows),
            Ok(rows) => Reply::done(listing::connections(&rows, engine)),
            Err(sentence) => Reply::refused(sentence),
        }
    }

    /// Every connection, template and client.
    pub(super) fn connection_rows(&self) -> Result<Vec<ConnectionRow>, String> {
        let mut rows: Vec<ConnectionRow> = Vec::new();
        let mut now = Tick::default();
        for core in 0..self.shared.cores() {
            for v6 in [false, true] {
                let Some(entries) = self.connections_of(core, v6, &mut now) else {
                    return Err(format!("core {core} did not answer in time\n"));
                };
                rows.extend(entries.iter().filter_map(|(flow, conn)| {
                    gather::connection(flow, conn, &self.snapshot, now)
                }));
            }
        }
        let scopes: HashMap<ScopeId, Scope> = self.catalog.scopes().collect();
        let shards = self.shared.cores() as u32;
        let templates = &self.shared.templates;
        rows.extend(gather::templates(templates, shards, &scopes, &self.snapshot, now));
        self.calls.name(&mut rows);
        rows.extend(self.clients());
        Ok(rows)
    }

    /// The clients of services under `tracking: client`.
    fn clients(&self) -> Vec<ConnectionRow> {
        let mut rows = Vec::new();
        for (shard, counters) in self.shared.counters.iter().enumerate() {
            let age_now = counters.client_age.get() as u8;
            let mut from = Some(Cursor::default());
            while let Some(at) = from {
                let each = |scope, client, number, age| {
                    let idle_s = u32::from(age_now.wrapping_sub(age)) * self.shared.age_unit_s;
                    let service = service_of(scope);
                    rows.extend(gather::client(service, client, number, idle_s, &self.snapshot));
                };
                from = self.shared.clients.iterate(shard as u32, at, PAGE, each);
            }
        }
        rows
    }

    fn connections_of(&self, core: usize, v6: bool, now: &mut Tick) -> Option<Vec<(Flow, Conn)>> {
        let mut all = Vec::new();
        let mut from = 0;
        loop {
            let page = Vec::with_capacity(PAGE);
            match self.ask(core, Query::Connections { v6, from, page })? {
                Answer::Connections { page, next, now: then } => {
                    all.extend(page);
                    *now = then;
                    match next {
                        Some(next) => from = next,
                        None => return Some(all),
                    }
                }
                Answer::Explanation(_) | Answer::Rebound(_) | Answer::Traced(_) => return None,
            }
        }
    }

    pub(super) fn ask(&self, core: usize, query: Query) -> Option<Answer> {
        let mailbox = self.shared.mailboxes.get(core)?;
        // An answer that came too late for the one who asked is nobody's now.
        while mailbox.answers.pop().is_some() {}
        mailbox.queries.push(query).ok()?;
        let asked = Instant::now();
        loop {
            if let Some(answer) = mailbox.answers.pop() {
                return Some(answer);
            }
            if asked.elapsed() > ANSWER {
                return None;
            }
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    pub(super) fn explain(&self, flow: &str, flags: &str, port: Option<&str>, json: bool) -> Reply {
        let flow = match FlowText::parse(flow, flags) {
            Ok(flow) => flow,
            Err(error) => return Reply::refused(format!("{error}\n")),
        };
        let index = match port {
            None => 0,
            Some(name) => match self.snapshot.ports.iter().position(|p| &*p.name == name) {
                Some(index) => index,
                None => return Reply::refused(format!("there is no port '{name}'\n")),
            },
        };
        let mac = self.ports.get(index).map_or(Mac::ZERO, |port| port.mac);
        let vlan = self.snapshot.ports.get(index).map_or(Vlan::UNTAGGED, |port| port.vlan);
        let frame: Box<[u8]> = flow.frame(mac, vlan).into();
        let mut told: Option<Explanation> = None;
        for core in 0..self.shared.cores() {
            let port = PortIndex(index as u8);
            let query = Query::Explain { frame: frame.clone(), port };
            if let Some(Answer::Explanation(story)) = self.ask(core, query)
                && (told.is_none() || story.is_of_connection())
            {
                told = Some(story);
            }
        }
        match told {
            Some(story) if json => to_json(&status::explanation(&story)),
            Some(story) => Reply::done(story.to_string()),
            None => Reply::refused("no core answered in time\n"),
        }
    }
}
