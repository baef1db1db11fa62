//! `selectors` of a service as written.

use std::net::IpAddr;

use crate::config::code::Code;
use crate::config::fields::{Fields, Given, Listed};
use crate::config::findings::Findings;
use crate::config::keys;
use crate::config::model::{self, Family, Protocol, VipPorts};
use crate::config::path::Path;
use crate::config::scalar;
use crate::config::tree::{Node, Value};

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

pub(super) const SELECTOR_KEYS: &[&str] = &["vip", "protocol", "vip_port"];

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

/// Selectors have a family of their own; a mark alone has none.
pub(super) fn family(
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

/// What belongs to a service.
pub(super) fn selectors(
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
        let Some(fields) = Fields::open(node, &path, &keys::SELECTOR, findings) else {
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
