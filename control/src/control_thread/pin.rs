//! `director pin` and `unpin`: a client's own real server, said where it runs.

use std::net::IpAddr;
use std::sync::Arc;

use serde_json::json;
use tracing::info;

use super::{ControlThread, to_json};
use crate::api::{Peer, Reply};
use crate::compile;
use crate::config::model::{Cidr, Family, Pin, RealServer, Service};
use crate::history::Cause;
use crate::page::Network;
use crate::server_name::ServerName;

impl ControlThread {
    /// Pins a client, or takes its pin away (`to` is `None`), in one service or in all that
    /// can have it. Answers with the services' names.
    pub(super) fn pin(
        &mut self,
        client: Network,
        to: Option<&ServerName>,
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
        let of = service.map(|name| format!(" --service {name}")).unwrap_or_default();
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
        if services == self.model.services {
            // Everything is so already: that is no new generation.
            return to_json(&json!(touched));
        }
        self.catalog.set_pins(compile::pins(&services));
        self.snapshot = self.catalog.snapshot();
        self.model = Arc::new(self.model.with_services(services, self.model.timeouts));
        self.follow_catalog();
        let what = match to {
            Some(to) => format!("pin {client} {to}{of}"),
            None => format!("unpin {client}{of}"),
        };
        info!("{peer}: {what}: generation {}", self.snapshot.generation);
        self.note(Cause::Pin, peer.user(), what, format!("service {}", touched.join(", ")));
        self.wait_for_cores();
        to_json(&json!(touched))
    }
}

/// Changes a service's pins; whether it is one that has this client and this real server.
fn changed(service: &mut Service, client: Cidr, to: Option<&ServerName>) -> bool {
    let same = |pin: &Pin| {
        (pin.client.network(), pin.client.prefix()) == (client.network(), client.prefix())
    };
    let Some(to) = to else {
        let before = service.pins.len();
        service.pins.retain(|pin| !same(pin));
        return service.pins.len() < before;
    };
    let Some(real_server) = pinned_to(service, to) else { return false };
    if Family::of(client.address()) != service.family() {
        return false;
    }
    // In its place, so that a pin that was there already changes nothing.
    match service.pins.iter_mut().find(|pin| same(pin)) {
        Some(pin) => pin.real_server = real_server,
        None => service.pins.push(Pin { client, real_server }),
    }
    true
}

/// The address of the real server that is meant. A pin has no more than that: of several at one
/// address it leads to the first one.
fn pinned_to(service: &Service, to: &ServerName) -> Option<IpAddr> {
    let reals = &service.real_servers;
    let means = |real: &&RealServer| to.means(real.address, real.real_port, real.name.as_deref());
    let meant = reals.iter().find(means)?;
    let first = reals.iter().find(|real| real.address == meant.address)?;
    means(&first).then_some(meant.address)
}

fn nothing(client: Network, to: Option<&ServerName>, service: Option<&str>) -> String {
    let place = match service {
        Some(name) => format!("the service '{name}'"),
        None => "any service".to_owned(),
    };
    match to {
        Some(to) => format!(
            "{client} cannot be pinned to {to} in {place}: none of that name and family has this \
             real server, or another one comes first at its address, which is all that a pin names; \
             'director get reals' lists them\n"
        ),
        None => format!("{client} is not pinned in {place}; 'director get' shows the pins\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn a_pin_names_an_address_and_is_refused_where_that_leads_to_another_server() {
        let mut text = "ports: [{ name: lan0, device: net_null0, addresses: [198.18.10.1/24] }]\n\
                        services:\n  - vip: 198.18.10.80\n    protocol: tcp\n    vip_port: 80\n    \
                        real_servers:\n"
            .to_owned();
        for (address, port, name) in [(11, 80, "one"), (11, 81, "two"), (12, 80, "three")] {
            text += &format!(
                "      - {{ address: 198.18.10.{address}, real_port: {port}, name: {name}, \
                 forwarding: masq }}\n"
            );
        }
        let model = config::parse(text, "test").unwrap();
        let service = &model.services[0];
        let meant = |name: &str| {
            let address = pinned_to(service, &name.parse().unwrap());
            address.map(|address| address.to_string())
        };
        for (name, address) in [
            ("198.18.10.11", Some("198.18.10.11")),
            ("198.18.10.11:80", Some("198.18.10.11")),
            ("one", Some("198.18.10.11")),
            ("198.18.10.11:81", None),
            ("two", None),
            ("three", Some("198.18.10.12")),
            ("198.18.10.12:80", Some("198.18.10.12")),
            ("198.18.10.12:81", None),
            ("four", None),
        ] {
            assert_eq!(meant(name).as_deref(), address, "{name}");
        }
    }
}
