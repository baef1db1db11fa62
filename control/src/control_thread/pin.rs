//! `director pin` and `unpin`: a client's own real server, said where it runs.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;
use tracing::info;

use super::{ControlThread, to_json};
use crate::api::{Peer, Reply};
use crate::compile;
use crate::config::model::{Cidr, Family, Pin, Service};
use crate::history::Cause;
use crate::page::Network;

impl ControlThread {
    /// Pins a client, or takes its pin away (`to` is `None`), in one service or in all that
    /// can have it. Answers with the services' names.
    pub(super) fn pin(
        &mut self,
        client: Network,
        to: Option<IpAddr>,
        service: Option<&str>,
        peer: Peer,
    ) -> Reply {
        let Some(network) = Cidr::new(client.address, client.length) else {
            return Reply::refused(format!("{client} is no client\n"));
        };
        let service = match service.map(|name| self.service_named(name)).transpose() {
            Ok(service) => service.map(|service| &*service.name),
            Err(sentence) => return Reply::refused(sentence),
        };
        let mut services = self.model.services.clone();
        let mut touched = Vec::new();
        for one in services.iter_mut().filter(|one| service.is_none_or(|name| one.name == name)) {
            if changed(one, network, to) {
                touched.push(one.name.clone());
            }
        }
        if touched.is_empty() {
            return Reply::refused(nothing(client, to, service));
        }
        self.catalog.set_pins(compile::pins(&services));
        self.snapshot = self.catalog.snapshot();
        self.model = Arc::new(self.model.with_services(services, self.model.timeouts));
        self.follow_catalog();
        let what = match to {
            Some(to) => format!("pin {client} {to}"),
            None => format!("unpin {client}"),
        };
        info!("{peer}: {what}: generation {}", self.snapshot.generation);
        self.note(Cause::Pin, peer.user(), what, format!("service {}", touched.join(", ")));
        self.wait_for_cores();
        to_json(&json!(touched))
    }
}

/// Changes a service's pins; whether it is one that has this client and this real server.
fn changed(service: &mut Service, client: Cidr, to: Option<IpAddr>) -> bool {
    let same = |pin: &Pin| {
        (pin.client.network(), pin.client.prefix()) == (client.network(), client.prefix())
    };
    let Some(to) = to else {
        let before = service.pins.len();
        service.pins.retain(|pin| !same(pin));
        return service.pins.len() < before;
    };
    let there = service.real_servers.iter().any(|real| real.address == to);
    if !there || Family::of(client.address()) != service.family() {
        return false;
    }
    service.pins.retain(|pin| !same(pin));
    service.pins.push(Pin { client, real_server: to });
    true
}

fn nothing(client: Network, to: Option<IpAddr>, service: Option<&str>) -> String {
    let place = match service {
        Some(name) => format!("the service '{name}'"),
        None => "any service".to_owned(),
    };
    match to {
        Some(to) => format!(
            "{client} cannot be pinned to {to} in {place}: none of that name and family has this \
             real server; 'director get reals' lists them\n"
        ),
        None => format!("{client} is not pinned in {place}; 'director get' shows the pins\n"),
    }
}
