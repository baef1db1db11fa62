//! The rows of each kind.

use std::collections::HashMap;

use dataplane::snapshot::Identity;
use dataplane::wire::Addr;
use serde_json::{Value, json};

use super::Output;
use super::table::Column;
use crate::compile;
use crate::config::Model;
use crate::config::model::RealServer;
use crate::listing::{Listing, RealRow, ServiceRow, identity_text};

pub(super) const SERVICES: &[Column] = &[
    Column::new("NAME", "name", 8),
    Column::new("KNOWN BY", "known_by", 8),
    Column::new("KIND", "kind", 3),
    Column::new("SCHEDULER", "scheduler", 3),
    Column::new("PERSISTENCE", "persistence.timeout_s", 3),
    Column::new("REALS", "reals", 3),
    Column::new("CLIENTS", "clients", 7),
    Column::new("ACTIVE", "active", 6),
    Column::new("INACTIVE", "inactive", 6),
    Column::wide("TRACKING", "tracking", 4),
    Column::wide("CONNS/S", "stats.per_second.conns", 4),
    Column::wide("PACKETS/S", "stats.per_second.in_packets", 4),
    Column::wide("BYTES/S", "stats.per_second.in_bytes", 4),
];

pub(super) const REALS: &[Column] = &[
    Column::new("SERVICE", "service", 8),
    Column::new("NAME", "name", 4),
    Column::new("ADDRESS", "address", 13),
    Column::new("PORT", "port", 4),
    Column::new("FORWARDING", "forwarding", 5),
    Column::new("WEIGHT", "weight", 3),
    Column::new("STATE", "state", 5),
    Column::new("CLIENTS", "clients", 7),
    Column::new("ACTIVE", "active", 6),
    Column::new("INACTIVE", "inactive", 6),
    Column::wide("UPPER", "upper_threshold", 1),
    Column::wide("LOWER", "lower_threshold", 1),
    Column::wide("CONNS/S", "stats.per_second.conns", 4),
    Column::wide("PACKETS/S", "stats.per_second.in_packets", 4),
    Column::wide("BYTES/S", "stats.per_second.in_bytes", 4),
];

pub(super) const BINDINGS: &[Column] = &[
    Column::new("CLIENT", "client", 18),
    Column::new("SERVICE", "service", 16),
    Column::new("REAL SERVER", "real_server", 15),
    Column::new("AGE", "age_s", 5),
    Column::new("EXPIRES", "expires_s", 7),
    Column::new("CONNECTIONS", "connections", 5),
    Column::new("CORE", "core", 2),
    Column::wide("STATE", "state", 8),
    Column::wide("NAME", "name", 8),
    Column::wide("SERVER STATE", "server_state", 7),
];

pub(super) const CONNECTIONS: &[Column] = &[
    Column::new("PROTOCOL", "protocol", 4),
    Column::new("CLIENT", "client", 21),
    Column::new("VIP", "virtual", 21),
    Column::new("REAL SERVER", "real", 21),
    Column::new("STATE", "state", 11),
    Column::new("EXPIRES", "expires_s", 5),
    Column::new("SERVICE", "service", 16),
    Column::wide("CORE", "core", 2),
    Column::wide("BOUND", "bound", 3),
];

pub(super) const CORES: &[Column] = &[
    Column::new("CORE", "core", 2),
    Column::new("CPU", "cpu", 2),
    Column::new("GENERATION", "generation", 3),
    Column::new("RECEIVED", "received", 9),
    Column::new("FORWARDED", "forwarded", 9),
    Column::new("DROPPED", "dropped", 7),
    Column::new("CONNECTIONS", "connections", 5),
    Column::new("BUSY %", "busy_percent", 4),
];

pub(super) const PORTS: &[Column] = &[
    Column::new("NAME", "name", 5),
    Column::new("LINK UP", "link_up", 3),
    Column::new("DRIVER", "driver", 8),
    Column::new("MAC", "mac", 17),
    Column::new("QUEUES", "queues", 1),
    Column::new("RECEIVED", "received", 9),
    Column::new("SENT", "sent", 9),
    Column::new("MISSED", "missed", 3),
    Column::new("ERRORS", "errors", 3),
    Column::wide("DEVICE", "device", 8),
    Column::wide("MTU", "mtu", 4),
    Column::wide("RSS", "rss", 3),
];

/// One row for every service: that of the listing, with sums over its real servers. A table has
/// no columns for the real servers themselves, which of thousands of services take a second.
pub fn services(listing: Listing, model: &Model, output: Output) -> Vec<Value> {
    let is_table = matches!(output, Output::Table | Output::Wide);
    let said = Said::of(model);
    listing.services.into_iter().map(|one| service(one, &said, is_table)).collect()
}

fn service(mut service: ServiceRow, said: &Said<'_>, is_table: bool) -> Value {
    let reals = std::mem::take(&mut service.reals);
    let sum = |of: fn(&RealRow) -> u64| reals.iter().map(of).sum::<u64>();
    let up = reals.iter().filter(|real| real.weight > 0).count();
    let mut row = json!(service);
    if let Value::Object(fields) = &mut row {
        fields.insert("known_by".into(), json!(identity_text(&service.identity)));
        fields.insert("kind".into(), json!(kind(&service)));
        if !is_table {
            let reals = reals.iter().map(|real| said.real(&service.identity, real));
            fields.insert("real_servers".into(), reals.collect());
        }
        // Of so many real servers, these take new clients.
        fields.insert("reals".into(), json!(format!("{up}/{}", reals.len())));
        fields.insert("clients".into(), json!(sum(|real| real.clients)));
        fields.insert("active".into(), json!(sum(|real| real.active)));
        fields.insert("inactive".into(), json!(sum(|real| real.inactive)));
    }
    row
}

/// What a client is bound by.
fn kind(service: &ServiceRow) -> Option<&'static str> {
    service.persistence?;
    Some(match service.identity {
        Identity::Mark { .. } => "PFM",
        Identity::Address { vip_port: 0, .. } => "PCC",
        Identity::Ports { first: 0 | 1, last: u16::MAX, .. } => "PCC",
        Identity::Address { .. } | Identity::Ports { .. } => "PPC",
    })
}

/// What the configuration says of real servers: who they are in it by service, address and port.
struct Said<'a>(HashMap<(Identity, Addr, u16), &'a RealServer>);

impl<'a> Said<'a> {
    fn of(model: &'a Model) -> Self {
        let each = model.services.iter().flat_map(|service| {
            let identity = compile::identity(service);
            service.real_servers.iter().map(move |real| (identity, real))
        });
        let by_place = |(identity, real): (Identity, &'a RealServer)| {
            ((identity, real.address.into(), real.real_port), real)
        };
        Self(each.map(by_place).collect())
    }

    /// A real server's row: its name, and its weight as configured. That it gets no new clients
    /// while it drains or is down is what `state` says; ipvsadm's listings show weight 0.
    fn real(&self, service: &Identity, real: &RealRow) -> Value {
        let mut row = json!(real);
        let said = self.0.get(&(*service, real.address, real.port));
        if let Value::Object(fields) = &mut row {
            fields.insert("name".into(), json!(said.and_then(|said| said.name.as_deref())));
            if let Some(said) = said {
                fields.insert("weight".into(), json!(said.weight));
            }
        }
        row
    }
}

/// One row for every real server of every service.
pub fn reals(listing: &Listing, model: &Model) -> Vec<Value> {
    let said = Said::of(model);
    let mut rows = Vec::new();
    for service in &listing.services {
        for real in &service.reals {
            let mut row = said.real(&service.identity, real);
            if let Value::Object(fields) = &mut row {
                fields.insert("service".into(), json!(&*service.name));
            }
            rows.push(row);
        }
    }
    rows
}

/// The cores of `director status`.
pub fn cores(status: &Value) -> Vec<Value> {
    part(status, "cores")
}

/// The ports of `director status`.
pub fn ports(status: &Value) -> Vec<Value> {
    part(status, "ports")
}

fn part(status: &Value, key: &str) -> Vec<Value> {
    status.get(key).and_then(Value::as_array).cloned().unwrap_or_default()
}
