//! From what was read to what Director can be told: marks get their selectors, and what a
//! configuration would be refused for is left out with a note.

mod real_server;
mod selectors;

use std::collections::HashSet;
use std::net::IpAddr;

use crate::config::model::{Family, Mark, Persistence, Protocol, Scheduler, Selector, VipPorts};

use super::draft::{Draft, Key, Origin, RealServer, Service};
use super::filter;
use super::note::Notes;
use selectors::Claims;

/// What is going to be written.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) files: Vec<String>,
    /// TCP, TCP after a FIN, UDP; 0 for Director's default.
    pub(super) timeouts_s: [u32; 3],
    pub(super) services: Vec<Settled>,
}

/// A service as it is going to be written.
#[derive(Debug)]
pub(super) struct Settled {
    pub(super) origin: Origin,
    pub(super) name: Option<String>,
    pub(super) mark: Option<Mark>,
    pub(super) family: Family,
    /// None of them: the service is written as a remark that waits for them.
    pub(super) selectors: Vec<(Selector, Origin)>,
    pub(super) scheduler: Scheduler,
    pub(super) persistence: Option<Persistence>,
    pub(super) one_packet: bool,
    pub(super) real_servers: Vec<RealServer>,
}

impl Settled {
    /// The port that packets keep unless they are masqueraded; 0 where there are several.
    pub(super) fn vip_port(&self) -> u16 {
        match (self.mark, self.selectors.as_slice()) {
            (None, [(selector, _)]) => selector.vip_ports.single(),
            _ => 0,
        }
    }
}

/// Settles everything. The notes are complete then, but for what does not fit into a file.
pub(super) fn settle(mut draft: Draft) -> (Plan, Notes) {
    let mut notes = std::mem::take(&mut draft.notes);
    let mut services = draft.take_services();
    let vips = vips(&services);
    let painted = filter::marks(&draft.rules, vips.into_iter(), &mut notes);
    if services.is_empty() {
        services = selectors::services_of(&painted, &mut notes);
    }
    let mut claims = Claims::new(painted, &services, &mut notes);
    let mut names = HashSet::new();
    let mut settled = Vec::new();
    for service in services {
        let Some(selectors) = claims.take(&service, &mut notes) else { continue };
        settled.extend(one(service, selectors, &mut names, &mut notes));
    }
    let plan = Plan { files: draft.files, timeouts_s: draft.timeouts_s, services: settled };
    (plan, notes)
}

/// The VIPs that services name themselves.
fn vips(services: &[Service]) -> Vec<IpAddr> {
    let own = services.iter().flat_map(|service| &service.selectors).map(|(one, _)| one.vip);
    let named = services.iter().filter_map(|service| match service.key {
        Key::Address { vip, .. } => Some(vip),
        Key::Mark { .. } => None,
    });
    own.chain(named).collect()
}

fn one(
    service: Service,
    selectors: Vec<(Selector, Origin)>,
    names: &mut HashSet<String>,
    notes: &mut Notes,
) -> Option<Settled> {
    let Service { origin, key, name, scheduler, mut persistence, real_servers, .. } = service;
    let mut one_packet = service.one_packet;
    let mark = match key {
        Key::Address { .. } => None,
        Key::Mark { mark, .. } => Some(mark),
    };
    let all_ports = selectors.iter().any(|(one, _)| one.vip_ports == VipPorts::All);
    if mark.is_none() && all_ports && persistence.is_none() {
        let why = "a service for all ports has to be persistent, in IPVS and here";
        notes.add(origin, key.shown(), why, "name a port, or write the service with persistence");
        return None;
    }
    if let (Some(mark), []) = (mark, selectors.as_slice()) {
        let why = "no rule that could be carried over puts the mark on";
        let hint = "import the firewall's rules, too (`--iptables FILE`: iptables-save -t mangle, \
                    or nft list ruleset), or complete the remark in the configuration";
        notes.add(origin, format!("the selectors of mark {mark}"), why, hint);
    }
    let udp = |(one, _): &(Selector, Origin)| one.protocol.overlaps(Protocol::Udp);
    if one_packet && !selectors.is_empty() && !selectors.iter().any(udp) {
        let what = format!("{}: one-packet scheduling", key.shown());
        notes.add(origin, what, "it is for UDP, and the service has none", "leave it out");
        one_packet = false;
    }
    let other = selectors.iter().find(|(one, _)| one.protocol != Protocol::Udp);
    if let (Some(bound), Some((one, _))) = (&mut persistence, other)
        && bound.engine.take().is_some()
    {
        let what = format!("{}: persistence engine sip (--pe)", key.shown());
        let why = format!("it is for UDP, and the service has {}", one.protocol);
        notes.add(origin, what, why, "make a service of its own for SIP");
    }
    let around =
        real_server::Around { key, vips: selectors.iter().map(|(one, _)| one.vip).collect() };
    let real_servers = real_server::settle(real_servers.into_list(), &around, notes);
    let name = name.map(String::from).filter(|name| names.insert(name.clone()));
    Some(Settled {
        origin,
        name,
        mark,
        family: key.family(),
        selectors,
        scheduler,
        persistence,
        one_packet,
        real_servers,
    })
}

/// Why an address cannot be a VIP or a real server's.
fn no_host(address: IpAddr) -> Option<&'static str> {
    match address {
        _ if address.is_unspecified() => Some("it stands for no address"),
        _ if address.is_multicast() => Some("it is a group address"),
        IpAddr::V4(v4) if v4.is_broadcast() => Some("it is the broadcast address"),
        IpAddr::V4(v4) if v4.octets().first() == Some(&0) => {
            Some("it is in 0.0.0.0/8, which has no hosts")
        }
        _ => None,
    }
}
