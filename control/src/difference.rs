//! What is different in another configuration: every key, by its path.
//!
//! Services are told apart by what they are known by, real servers by address and port, ports
//! by name, so that another order is no difference and one more real server is one line.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::compile;
use crate::config::model::{RealServer, Service, Settings};

/// One key, entry or part that differs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// Where: `services[web].scheduler`.
    pub path: String,
    /// What there is; `None` for what would be new.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// What there would be; `None` for what would go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, from, to } = self;
        match (from, to) {
            (None, Some(to)) => write!(f, "+ {path}: {}", Inline(to)),
            (Some(from), None) => write!(f, "- {path}: {}", Inline(from)),
            (Some(from), Some(to)) => write!(f, "~ {path}: {} -> {}", Inline(from), Inline(to)),
            (None, None) => f.write_str(path),
        }
    }
}

/// A value on one line, as YAML would have it.
struct Inline<'a>(&'a Value);

impl fmt::Display for Inline<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Value::String(text) => f.write_str(text),
            Value::Array(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{}", Inline(item))?;
                }
                f.write_str("]")
            }
            Value::Object(fields) => {
                f.write_str("{")?;
                for (index, (key, value)) in fields.iter().enumerate() {
                    let comma = if index > 0 { "," } else { "" };
                    write!(f, "{comma} {key}: {}", Inline(value))?;
                }
                f.write_str(" }")
            }
            other => other.fmt(f),
        }
    }
}

/// Everything in which `to` differs from `from`, in the order of the file's keys.
pub fn between(from: &Settings, to: &Settings) -> Vec<Change> {
    let mut changes = Vec::new();
    let (mut old, mut new) = (json(from), json(to));
    take(&mut old, "services");
    take(&mut new, "services");
    let ports = (take(&mut old, "ports"), take(&mut new, "ports"));
    if let (Value::Array(old), Value::Array(new)) = ports {
        let name = |port: &Value| port.get("name").map(|name| Inline(name).to_string());
        lists("ports", &old, &new, name, &mut changes);
    }
    values("", &old, &new, &mut changes);
    services(&from.services, &to.services, &mut changes);
    changes
}

fn json(value: &impl Serialize) -> Value {
    // Every part of a model has a JSON form; what had none would show as a difference of null.
    serde_json::to_value(value).unwrap_or_default()
}

fn take(value: &mut Value, key: &str) -> Value {
    value.get_mut(key).map(Value::take).unwrap_or_default()
}

fn services(old: &[Service], new: &[Service], changes: &mut Vec<Change>) {
    let old: Vec<_> = old.iter().map(|one| (compile::identity(one), one)).collect();
    let new: Vec<_> = new.iter().map(|one| (compile::identity(one), one)).collect();
    let of_new: std::collections::HashMap<_, _> = new.iter().copied().collect();
    let of_old: std::collections::HashMap<_, _> = old.iter().copied().collect();
    for (identity, was) in &old {
        let path = format!("services[{}]", was.name);
        match of_new.get(identity) {
            Some(is) => service(&path, was, is, changes),
            None => changes.push(Change { path, from: Some(summary(was)), to: None }),
        }
    }
    for (identity, is) in &new {
        if !of_old.contains_key(identity) {
            let path = format!("services[{}]", is.name);
            changes.push(Change { path, from: None, to: Some(summary(is)) });
        }
    }
}

/// A service that comes or goes, in a few words.
fn summary(service: &Service) -> Value {
    let mut value = json(service);
    let servers = take(&mut value, "real_servers");
    let addresses = servers.as_array().into_iter().flatten().filter_map(|one| one.get("address"));
    let addresses: Vec<Value> = addresses.cloned().collect();
    if let Value::Object(fields) = &mut value {
        fields.remove("name");
        fields.insert("real_servers".to_owned(), Value::Array(addresses));
    }
    value
}

fn service(path: &str, old: &Service, new: &Service, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    let (mut was, mut is) = (json(old), json(new));
    for key in ["real_servers", "selectors"] {
        take(&mut was, key);
        take(&mut is, key);
    }
    values(path, &was, &is, changes);
    let selectors = |service: &Service| service.selectors.iter().map(json).collect::<Vec<_>>();
    let whole = |selector: &Value| Some(Inline(selector).to_string());
    lists(&format!("{path}.selectors"), &selectors(old), &selectors(new), whole, changes);
    let servers = |service: &Service| service.real_servers.iter().map(real_server).collect();
    let (was, is): (Vec<Value>, Vec<Value>) = (servers(old), servers(new));
    let place = |server: &Value| {
        let address = Inline(server.get("address")?).to_string();
        match server.get("real_port").and_then(Value::as_u64) {
            Some(0) | None => Some(address),
            Some(port) if address.contains(':') => Some(format!("[{address}]:{port}")),
            Some(port) => Some(format!("{address}:{port}")),
        }
    };
    lists(&format!("{path}.real_servers"), &was, &is, place, changes);
}

fn real_server(server: &RealServer) -> Value {
    json(server)
}

/// Two lists whose items are told apart by a name.
fn lists(
    path: &str,
    old: &[Value],
    new: &[Value],
    name: impl Fn(&Value) -> Option<String>,
    changes: &mut Vec<Change>,
) {
    let find = |list: &[Value], wanted: &Option<String>| {
        list.iter().find(|item| name(item) == *wanted).cloned()
    };
    // A long list of which everything is equal is the common case.
    if old == new {
        return;
    }
    for was in old {
        let key = name(was);
        let path = format!("{path}[{}]", key.as_deref().unwrap_or_default());
        match find(new, &key) {
            Some(is) => values(&path, was, &is, changes),
            None => changes.push(Change { path, from: Some(was.clone()), to: None }),
        }
    }
    for is in new {
        let key = name(is);
        if find(old, &key).is_none() {
            let path = format!("{path}[{}]", key.as_deref().unwrap_or_default());
            changes.push(Change { path, from: None, to: Some(is.clone()) });
        }
    }
}

/// Two values key by key.
fn values(path: &str, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    let at = |key: &str| if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
    match (old, new) {
        _ if old == new => {}
        (Value::Object(was), Value::Object(is)) => {
            for (key, was) in was {
                match is.get(key) {
                    Some(is) => values(&at(key), was, is, changes),
                    None => {
                        changes.push(Change { path: at(key), from: Some(was.clone()), to: None })
                    }
                }
            }
            for (key, is) in is.iter().filter(|(key, _)| !was.contains_key(*key)) {
                changes.push(Change { path: at(key), from: None, to: Some(is.clone()) });
            }
        }
        _ => changes.push(Change {
            path: path.to_owned(),
            from: Some(old.clone()),
            to: Some(new.clone()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn model(text: &str) -> config::Model {
        let ports = "ports: [{ name: lan0, device: net_null0, addresses: [198.18.10.1/24] }]\n";
        config::parse(format!("{ports}{text}"), "test").unwrap()
    }

    fn told(old: &str, new: &str) -> Vec<String> {
        between(&model(old), &model(new)).iter().map(Change::to_string).collect()
    }

    fn web(more: &str, servers: &str) -> String {
        format!(
            "services:\n- {{ name: web, vip: 198.18.255.1, protocol: tcp, vip_port: 80{more}, \
             real_servers: [{servers}] }}\n"
        )
    }

    #[test]
    fn equal_configurations_have_no_difference_whatever_their_order() {
        let servers = [
            "{ address: 198.18.10.11 }, { address: 198.18.10.12, weight: 2 }",
            "{ address: 198.18.10.12, weight: 2 }, { address: 198.18.10.11, weight: 1 }",
        ];
        assert_eq!(told(&web("", servers[0]), &web(", scheduler: wlc", servers[1])), [""; 0]);
    }

    #[test]
    fn every_difference_is_one_line_with_its_path() {
        let old =
            web(", persistence: true", "{ address: 198.18.10.11 }, { address: 198.18.10.12 }");
        let new = web(
            ", persistence: 60, scheduler: rr",
            "{ address: 198.18.10.11, weight: 5, state: drain }, { address: 198.18.10.13 }",
        );
        assert_eq!(
            told(&old, &format!("timeouts: {{ tcp: 600 }}\n{new}")),
            [
                "~ timeouts.tcp: 900 -> 600",
                "~ services[web].persistence.timeout: 360 -> 60",
                "~ services[web].scheduler: wlc -> rr",
                "~ services[web].real_servers[198.18.10.11:80].state: up -> drain",
                "~ services[web].real_servers[198.18.10.11:80].weight: 1 -> 5",
                "- services[web].real_servers[198.18.10.12:80]: { address: 198.18.10.12, \
                 forwarding: route, lower_threshold: 0, real_port: 80, state: up, \
                 upper_threshold: 0, weight: 1 }",
                "+ services[web].real_servers[198.18.10.13:80]: { address: 198.18.10.13, \
                 forwarding: route, lower_threshold: 0, real_port: 80, state: up, \
                 upper_threshold: 0, weight: 1 }",
            ]
        );
    }

    #[test]
    fn a_service_is_known_by_what_it_takes_and_not_by_its_name() {
        let renamed = web("", "").replace("name: web", "name: site");
        assert_eq!(told(&web("", ""), &renamed), ["~ services[web].name: web -> site"]);
        let moved = web("", "").replace("vip_port: 80", "vip_port: 81");
        let told = told(&web("", "{ address: 198.18.10.11 }"), &moved);
        assert_eq!(told.len(), 2, "{told:?}");
        assert!(told[0].starts_with("- services[web]: {"), "{told:?}");
        assert!(told[0].contains("real_servers: [198.18.10.11]"), "{told:?}");
        assert!(told[1].starts_with("+ services[web]: {"), "{told:?}");
    }
}
