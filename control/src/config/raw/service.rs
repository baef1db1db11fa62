//! `services[]` as written.

use std::net::IpAddr;

use crate::config::code::Code;
use crate::config::fields::{Fields, Given, Listed, word, wrong_kind};
use crate::config::findings::Findings;
use crate::config::model::{
    self, Family, HashFlags, Mark, OnDown, OnDrain, Protocol, Scheduler, Tracking, VipPorts,
};
use crate::config::path::Path;
use crate::config::scalar::{self, Reject};
use crate::config::tree::{Node, Value};

use super::real_server::RealServer;
use super::section::MAX_TIMEOUT_S;

/// A virtual service as written.
pub(in crate::config) struct Service {
    pub(in crate::config) name: Given<String>,
    pub(in crate::config) mark: Given<Mark>,
    pub(in crate::config) family: Given<Family>,
    pub(in crate::config) selectors: Selectors,
    pub(in crate::config) scheduler: Given<Scheduler>,
    /// `Good(None)` is `persistence: false`.
    pub(in crate::config) persistence: Given<Option<Persistence>>,
    pub(in crate::config) tracking: Given<Tracking>,
    pub(in crate::config) one_packet: Given<bool>,
    pub(in crate::config) seed: Given<u64>,
    pub(in crate::config) on_drain: Given<OnDrain>,
    pub(in crate::config) on_down: Given<OnDown>,
    pub(in crate::config) real_servers: Vec<Option<RealServer>>,
}

/// What belongs to a service, said in one of two ways.
pub(in crate::config) struct Selectors {
    /// Whether `vip`, `protocol`, `vip_port` stand in the service itself.
    pub(in crate::config) short: bool,
    pub(in crate::config) list: Listed<Selector>,
}

/// A selector as written.
#[derive(Clone, Copy)]
pub(in crate::config) struct Selector {
    pub(in crate::config) vip: Given<IpAddr>,
    pub(in crate::config) protocol: Given<Protocol>,
    pub(in crate::config) vip_ports: Given<VipPorts>,
}

impl Selector {
    const UNKNOWN: Selector =
        Selector { vip: Given::Bad, protocol: Given::Bad, vip_ports: Given::Bad };

    /// The selector if all of it can be used.
    pub(in crate::config) fn good(&self) -> Option<model::Selector> {
        Some(model::Selector {
            vip: self.vip.good()?,
            protocol: self.protocol.good()?,
            vip_ports: self.vip_ports.good()?,
        })
    }
}

impl Selectors {
    pub(in crate::config) fn all(&self) -> &[Selector] {
        &self.list.items
    }

    /// Whether it is certain that there is none.
    pub(in crate::config) fn none(&self) -> bool {
        self.list.whole && self.list.items.is_empty()
    }

    /// The only selector, where it is certain that there is just one.
    pub(in crate::config) fn only(&self) -> Option<&Selector> {
        match self.list.items.as_slice() {
            [selector] if self.list.whole => Some(selector),
            _ => None,
        }
    }
}

/// `persistence:` as written; the prefix has yet to be held against the family.
#[derive(Clone, Copy)]
pub(in crate::config) struct Persistence {
    pub(in crate::config) timeout_s: Given<u32>,
    pub(in crate::config) prefix: Given<u8>,
    pub(in crate::config) netmask: Given<u8>,
}

impl Persistence {
    fn plain() -> Self {
        Self { timeout_s: Given::Absent, prefix: Given::Absent, netmask: Given::Absent }
    }
}

const KEYS: &[&str] = &[
    "name",
    "mark",
    "family",
    "selectors",
    "vip",
    "protocol",
    "vip_port",
    "scheduler",
    "persistence",
    "tracking",
    "one_packet",
    "seed",
    "on_drain",
    "on_down",
    "real_servers",
];

const SELECTOR_KEYS: &[&str] = &["vip", "protocol", "vip_port"];

const SELECTOR_HINTS: [&str; 3] = [
    "such as `vip: 198.18.255.1`",
    "`tcp`, `udp`, `sctp` or `any`",
    "a port (443), a range (8000-8010) or 0 for all",
];

const PROTOCOLS: &[(&str, Protocol)] = &[
    ("tcp", Protocol::Tcp),
    ("udp", Protocol::Udp),
    ("sctp", Protocol::Sctp),
    ("any", Protocol::Any),
];

const PLAIN: HashFlags = HashFlags { fallback: false, port: false };

const SCHEDULERS: &[(&str, Scheduler)] = &[
    ("rr", Scheduler::Rr),
    ("wrr", Scheduler::Wrr),
    ("lc", Scheduler::Lc),
    ("wlc", Scheduler::Wlc),
    ("lblc", Scheduler::Lblc),
    ("lblcr", Scheduler::Lblcr),
    ("dh", Scheduler::Dh),
    ("sh", Scheduler::Sh(PLAIN)),
    ("mh", Scheduler::Mh(PLAIN)),
    ("sed", Scheduler::Sed),
    ("nq", Scheduler::Nq),
    ("fo", Scheduler::Fo),
    ("ovf", Scheduler::Ovf),
    ("twos", Scheduler::Twos),
];

impl Service {
    pub(super) fn read_all(
        file: &Fields<'_, '_>,
        findings: &mut Findings<'_>,
    ) -> Vec<Option<Self>> {
        let path = Path::Root.key("services");
        let items = file.list("services", findings).good().unwrap_or_default();
        let mut all = Vec::new();
        for (index, node) in items.iter().enumerate() {
            if findings.full() {
                break;
            }
            all.push(Service::read(node, &path.item(index), findings));
        }
        all
    }

    fn read(node: &Node<'_>, path: &Path<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let fields = Fields::open(node, path, KEYS, findings)?;
        Some(Self {
            name: fields.read("name", findings, |text| scalar::name(text, ":/[]", 64)),
            mark: fields.read("mark", findings, mark),
            family: family(&fields, path, findings),
            selectors: selectors(&fields, path, findings),
            scheduler: scheduler(&fields, path, findings),
            persistence: persistence(&fields, path, findings),
            tracking: fields.word(
                "tracking",
                findings,
                &[("full", Tracking::Full), ("client", Tracking::Client)],
            ),
            one_packet: fields.read("one_packet", findings, scalar::boolean),
            seed: fields.read("seed", findings, |text| scalar::fitting(text, 0..=u64::MAX)),
            on_drain: fields.word(
                "on_drain",
                findings,
                &[("keep", OnDrain::Keep), ("new_elsewhere", OnDrain::NewElsewhere)],
            ),
            on_down: fields.word(
                "on_down",
                findings,
                &[("rebind", OnDown::Rebind), ("keep", OnDown::Keep), ("drop", OnDown::Drop)],
            ),
            real_servers: RealServer::read_all(&fields, path, findings),
        })
    }
}

fn mark(text: &str) -> Result<Mark, Reject> {
    scalar::fitting::<u32>(text, 1..=u64::from(u32::MAX)).and_then(|number| {
        number.try_into().map(Mark).map_err(|_| {
            Reject::new(Code::OutOfRange, "0 is no mark".to_owned(), "leave the key out")
        })
    })
}

/// Selectors have a family of their own; a mark alone has none.
fn family(
    fields: &Fields<'_, '_>,
    service: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Given<Family> {
    let selected = ["selectors", "vip"].iter().any(|key| fields.has(key));
    if selected && fields.has("family") && !is_empty_list(fields, "selectors") {
        let what = "`family` has no effect beside selectors: their addresses have one".to_owned();
        findings.key(Code::Pointless, &service.key("family"), what, "remove it");
    }
    fields.word("family", findings, &[("ipv4", Family::V4), ("ipv6", Family::V6)])
}

fn is_empty_list(fields: &Fields<'_, '_>, key: &str) -> bool {
    fields
        .find(key)
        .good()
        .is_some_and(|node| matches!(&node.value, Value::List(items) if items.is_empty()))
}

fn selectors(
    fields: &Fields<'_, '_>,
    service: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Selectors {
    let short = SELECTOR_KEYS.iter().any(|key| fields.means(key));
    let listed = match fields.list("selectors", findings) {
        Given::Absent if short => {
            for (key, hint) in SELECTOR_KEYS.iter().zip(SELECTOR_HINTS) {
                fields.require(key, hint, findings);
            }
            let list = Listed { items: vec![selector(fields, findings)], whole: true };
            return Selectors { short, list };
        }
        // Packets get a mark alone from nobody, as in the kernel without iptables.
        Given::Absent if fields.has("mark") => Listed { items: Vec::new(), whole: true },
        Given::Absent => {
            let hint = "such as `vip: 198.18.255.1`, with `protocol` and `vip_port`";
            fields.require("selectors", hint, findings);
            Listed::unknown()
        }
        Given::Bad => Listed::unknown(),
        Given::Good([]) if fields.has("mark") => Listed { items: Vec::new(), whole: true },
        Given::Good(items) => listed_selectors(items, &service.key("selectors"), findings),
    };
    if let Some(key) = SELECTOR_KEYS.iter().find(|key| fields.has(key))
        && fields.has("selectors")
    {
        let what = format!("`{key}` and `selectors` exclude each other");
        let hint = "put everything into `selectors`";
        findings.key(Code::Conflict, &service.key(key), what, hint);
        // Whichever is kept must be right.
        selector(fields, findings);
        return Selectors { short: false, list: Listed { whole: false, ..listed } };
    }
    Selectors { short: false, list: listed }
}

fn listed_selectors(
    items: &[Node<'_>],
    path: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Listed<Selector> {
    if items.is_empty() {
        let what = "the list of selectors is empty".to_owned();
        let hint = "no packet would ever belong to this service";
        findings.value(Code::OutOfRange, path, what, hint);
        return Listed::unknown();
    }
    let read = |(index, node)| {
        let path = path.item(index);
        let Some(fields) = Fields::open(node, &path, SELECTOR_KEYS, findings) else {
            return Selector::UNKNOWN;
        };
        for (key, hint) in SELECTOR_KEYS.iter().zip(SELECTOR_HINTS) {
            fields.require(key, hint, findings);
        }
        selector(&fields, findings)
    };
    Listed { items: items.iter().enumerate().map(read).collect(), whole: true }
}

fn selector(fields: &Fields<'_, '_>, findings: &mut Findings<'_>) -> Selector {
    Selector {
        vip: fields.read("vip", findings, |text| scalar::address(text, "vip_port")),
        protocol: fields.word("protocol", findings, PROTOCOLS),
        vip_ports: fields.read("vip_port", findings, scalar::vip_ports),
    }
}

/// `wlc`, or `{name: sh, fallback: true, port: true}`.
fn scheduler(
    fields: &Fields<'_, '_>,
    service: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Given<Scheduler> {
    let node = match fields.find("scheduler") {
        Given::Absent => return Given::Absent,
        Given::Bad => return Given::Bad,
        Given::Good(node) => node,
    };
    let path = service.key("scheduler");
    let Value::Map(_) = &node.value else { return word(node, &path, findings, SCHEDULERS) };
    let Some(fields) = Fields::open(node, &path, &["name", "fallback", "port"], findings) else {
        return Given::Bad;
    };
    fields.require("name", "such as `name: sh`", findings);
    let flags = HashFlags {
        fallback: fields.read("fallback", findings, scalar::boolean).or(false),
        port: fields.read("port", findings, scalar::boolean).or(false),
    };
    let Given::Good(scheduler) = fields.word("name", findings, SCHEDULERS) else {
        return Given::Bad;
    };
    Given::Good(match scheduler {
        Scheduler::Sh(_) => Scheduler::Sh(flags),
        Scheduler::Mh(_) => Scheduler::Mh(flags),
        other => {
            for key in ["fallback", "port"] {
                let why = format!("has no meaning for the scheduler `{}`", other.name());
                fields.pointless(key, &why, "only `sh` and `mh` have flags", findings);
            }
            other
        }
    })
}

/// `true`, a time, or `{timeout: 360, netmask: 255.255.255.0}`.
fn persistence(
    fields: &Fields<'_, '_>,
    service: &Path<'_>,
    findings: &mut Findings<'_>,
) -> Given<Option<Persistence>> {
    let node = match fields.find("persistence") {
        Given::Absent => return Given::Absent,
        Given::Bad => return Given::Bad,
        Given::Good(node) => node,
    };
    let path = service.key("persistence");
    let timeout = |text: &str| scalar::seconds(text, 1..=MAX_TIMEOUT_S);
    match &node.value {
        Value::List(_) | Value::Unknown => {
            wrong_kind(node, &path, "keys and values", findings);
            Given::Bad
        }
        Value::Plain(text) | Value::Quoted(text) if !node.is_null() => {
            match scalar::boolean(text) {
                Ok(true) => Given::Good(Some(Persistence::plain())),
                Ok(false) => Given::Good(None),
                Err(_) => match fields.read("persistence", findings, timeout) {
                    Given::Good(timeout_s) => Given::Good(Some(Persistence {
                        timeout_s: Given::Good(timeout_s),
                        ..Persistence::plain()
                    })),
                    Given::Absent | Given::Bad => Given::Bad,
                },
            }
        }
        Value::Plain(_) | Value::Quoted(_) | Value::Map(_) => {
            let known = &["timeout", "netmask", "prefix"];
            let Some(fields) = Fields::open(node, &path, known, findings) else {
                return Given::Bad;
            };
            if fields.has("netmask") && fields.has("prefix") {
                let what = "`netmask` and `prefix` exclude each other".to_owned();
                findings.key(Code::Conflict, &path.key("netmask"), what, "keep one of them");
            }
            Given::Good(Some(Persistence {
                timeout_s: fields.read("timeout", findings, timeout),
                prefix: fields.read("prefix", findings, |text| scalar::fitting(text, 1..=128)),
                netmask: fields.read("netmask", findings, netmask),
            }))
        }
    }
}

/// A mask without ones would make all clients one.
fn netmask(text: &str) -> Result<u8, Reject> {
    match scalar::netmask(text)? {
        0 => {
            let what = format!("{text} would make all clients one");
            Err(Reject::new(Code::OutOfRange, what, "allowed: 128.0.0.0 to 255.255.255.255"))
        }
        prefix => Ok(prefix),
    }
}
