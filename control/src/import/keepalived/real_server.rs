//! `real_server` with what it says about balancing; its health checks are noted.

use std::net::IpAddr;

use crate::config::model::{Family, Forwarding, Thresholds};

use super::super::draft::{self, Draft, Origin};
use super::checks::Checks;
use super::method::method;
use super::origin;
use super::tree::Node;
use super::virtual_server::{Reading, port};

/// A real server; without a port it has the service's.
pub(super) struct Server {
    pub(super) origin: Origin,
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
    pub(super) weight: u16,
    pub(super) forwarding: Forwarding,
    pub(super) thresholds: Thresholds,
}

impl Reading<'_> {
    /// Reads one real server; `None` if it has no address.
    pub(super) fn server(
        &self,
        node: &Node,
        service: &str,
        forwarding: Forwarding,
        checks: &mut Checks,
        draft: &mut Draft,
    ) -> Option<Server> {
        let at = origin(self.file, node);
        let what = format!("{service}: {}", node.words.joined());
        let Some(address) = node.value(0).and_then(draft::address) else {
            let why = "its address is not understood; names are not looked up";
            draft.notes.add(at, what, why, "add the real server by hand");
            return None;
        };
        let port = match node.value(1) {
            None => None,
            Some(text) => match port(text, self.names) {
                Some(port) => Some(port),
                None => {
                    let hint = "it has the service's port now; write `real_port` if that is wrong";
                    draft.notes.add(at, what.clone(), "its port is not understood", hint);
                    None
                }
            },
        };
        let mut server = Server {
            origin: at,
            address,
            port,
            weight: 1,
            forwarding,
            thresholds: Thresholds::default(),
        };
        let mut health = Vec::new();
        for one in &node.children {
            match one.key() {
                "weight" | "uthreshold" | "lthreshold" | "lvs_method" | "lb_kind" => {
                    if !server_setting(one, &mut server) {
                        let what = format!("{what}: {}", one.shown());
                        let why = "it is not understood, or too large";
                        let at = origin(self.file, one);
                        draft.notes.add(at, what, why, "see to the real server");
                    }
                }
                key if key.ends_with("_CHECK") || key.ends_with("_GET") => {
                    let why = "Director does not check real servers' health itself";
                    checks.add(origin(self.file, one), node.words.joined(), one.shown(), why);
                }
                _ => health.push(one.shown()),
            }
        }
        if !health.is_empty() {
            let why =
                "it concerns health checks and notifications, which Director does not do itself";
            checks.add(at, node.words.joined(), health.join("; "), why);
        }
        Some(server)
    }
}

fn server_setting(one: &Node, server: &mut Server) -> bool {
    let number = one.value(0).and_then(|text| text.parse::<u32>().ok());
    let threshold = number.filter(|number| i32::try_from(*number).is_ok());
    match one.key() {
        "weight" => match number.and_then(|number| u16::try_from(number).ok()) {
            Some(weight) => server.weight = weight,
            None => return false,
        },
        "uthreshold" => match threshold {
            Some(upper) => server.thresholds.upper = upper,
            None => return false,
        },
        "lthreshold" => match threshold {
            Some(lower) => server.thresholds.lower = lower,
            None => return false,
        },
        _ => match method(one.values()) {
            Some(forwarding) => server.forwarding = forwarding,
            None => return false,
        },
    }
    true
}

/// The family of a mark: that of the real servers, of which tunnelled ones say nothing unless
/// there are no others.
pub(super) fn family_of(servers: &[Server]) -> Family {
    let plain = |server: &&Server| !matches!(server.forwarding, Forwarding::Tunnel(_));
    let first = servers.iter().find(plain).or_else(|| servers.first());
    first.map_or(Family::V4, |server| Family::of(server.address))
}
