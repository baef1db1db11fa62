//! Real servers that a configuration can have.

use std::collections::HashSet;
use std::net::IpAddr;

use crate::config::model::{Family, Forwarding, Thresholds};

use super::super::draft::{Key, RealServer};
use super::super::note::Notes;
use super::no_host;

/// The service around real servers.
pub(super) struct Around {
    pub(super) key: Key,
    pub(super) vips: HashSet<IpAddr>,
}

/// The real servers that can stay, mended where that changes nothing.
pub(super) fn settle(
    written: Vec<RealServer>,
    around: &Around,
    notes: &mut Notes,
) -> Vec<RealServer> {
    let mut seen = HashSet::new();
    let mut kept = Vec::with_capacity(written.len());
    for server in written {
        let origin = server.origin;
        let what = format!("{}: real server {}", around.key.shown(), server.address);
        let Some(server) = one(server, around, &what, notes) else { continue };
        if seen.insert((server.address, server.real_port)) {
            kept.push(server);
        } else {
            let why = "it is there already with this port, and IPVS keeps the first one";
            notes.add(origin, what, why, "raise the weight of the first one instead");
        }
    }
    kept
}

fn one(
    mut server: RealServer,
    around: &Around,
    what: &str,
    notes: &mut Notes,
) -> Option<RealServer> {
    let RealServer { origin, address, .. } = server;
    if let Some(why) = no_host(address) {
        notes.add(origin, what, why, "name the server's own address");
        return None;
    }
    let tunnelled = matches!(server.forwarding, Forwarding::Tunnel(_));
    if Family::of(address) != around.key.family() && !tunnelled {
        let why = format!("it is not {} as the service's VIP", around.key.family());
        notes.add(origin, what, why, "only `forwarding: tunnel` joins the two families");
        return None;
    }
    let of_director = address.is_loopback() || around.vips.contains(&address);
    if of_director && server.forwarding != Forwarding::Local {
        let why = "the address is the director's own, where IPVS delivers to the kernel itself";
        let hint = "it is `forwarding: local` now, which needs a `kernel_port` in `ports`";
        notes.add(origin, what, why, hint);
        server.forwarding = Forwarding::Local;
        if let Key::Address { vip_port, .. } = around.key {
            server.real_port = vip_port;
        }
    }
    let Thresholds { upper, lower } = server.thresholds;
    if lower > upper {
        let why = format!("its lower threshold {lower} is above the upper one, {upper}");
        notes.add(origin, what, why, "it has no lower threshold now: three quarters of the upper one");
        server.thresholds.lower = 0;
    }
    Some(server)
}
