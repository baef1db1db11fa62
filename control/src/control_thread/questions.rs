//! Questions about what is going on: listings and explanations. The cores answer for their
//! own tables, a page at a time, between two bursts.

use std::time::{Duration, Instant};

use dataplane::explain::Explanation;
use dataplane::ids::PortIndex;
use dataplane::mailbox::{Answer, Query};
use dataplane::wire::Vlan;
use dataplane::wire::ethernet::Mac;

use super::commands::TABLE_SIZE;
use super::{ControlThread, to_json};
use serde_json::Value;

use crate::api::{self, Reply};
use crate::config;
use crate::flow::FlowText;
use crate::get::{self, Kind, Output};
use crate::listing::{self, Style, gather};
use crate::server_name::ServerName;
use crate::status;

/// How long a core may take to answer a question.
const ANSWER: Duration = Duration::from_secs(2);

/// Whether a real server's row is that of `ADDRESS:PORT`.
fn is_at(row: &Value, endpoint: &str) -> bool {
    let Ok(ServerName::Endpoint(endpoint)) = endpoint.parse() else { return false };
    let address = row.get("address").and_then(Value::as_str).and_then(|text| text.parse().ok());
    let port = row.get("port").and_then(Value::as_u64);
    address == Some(endpoint.ip()) && port == Some(u64::from(endpoint.port()))
}

impl ControlThread {
    pub(super) fn show(&mut self, what: api::Listing, exact: bool, json: bool) -> Reply {
        let style = match what {
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
                    _ => get::services(listed, &self.model, output),
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
        let service_of = |name: &str| match what {
            Kind::Services => self.service_named(name).map(|_| ()),
            _ => Ok(()),
        };
        if let Some(sentence) = names.iter().find_map(|name| service_of(name).err()) {
            return Reply::refused(sentence);
        }
        // A service may be called by what it is known by; then its name is meant.
        let whole = |name: &String| match (what, self.service_named(name)) {
            (Kind::Services | Kind::Reals, Ok(service)) => service.name.to_string(),
            _ => name.clone(),
        };
        let names: Vec<String> = names.iter().map(whole).collect();
        let named = |row: &Value, key: &str, wanted: &str| {
            row.get(key).is_some_and(|name| match name {
                Value::Number(number) => number.to_string() == wanted,
                name => name == wanted,
            })
        };
        let fits = |row: &Value, name: &str| {
            ["name", "service", "address", "core"].iter().any(|key| named(row, key, name))
                || what == Kind::Reals && is_at(row, name)
        };
        // A service without real servers has no row among them.
        let empty = |name: &str| what == Kind::Reals && self.service_named(name).is_ok();
        let there = |name: &str| rows.iter().any(|row| fits(row, name)) || empty(name);
        if let Some(unknown) = names.iter().find(|name| !there(name)) {
            return Reply::refused(format!("{}\n", get::unknown(what, unknown)));
        }
        rows.retain(|row| names.is_empty() || names.iter().any(|name| fits(row, name)));
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
