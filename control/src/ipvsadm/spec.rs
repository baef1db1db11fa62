//! What a command asks for, as the catalog specifies it.

use std::sync::Arc;

use dataplane::catalog::Catalog;
use dataplane::catalog::spec::{RealSpec, ServiceSpec};
use dataplane::forward::{Forwarding, GueChecksum, Tunnel};
use dataplane::sched::Scheduler;
use dataplane::snapshot::{Engine, Identity, Policy, RealState, Tracking};
use dataplane::wire::Protocol;

use super::apply::{INVALID, NO_SCHEDULER};
use super::command::{Forward, ServerOptions, ServiceOptions};
use crate::config::model;
use crate::listing;

/// What IPVS calls having no scheduler.
const NO_SCHEDULER_NAME: &str = "none";

pub(super) fn service_spec(
    catalog: &Catalog,
    options: &ServiceOptions,
    old: Option<&ServiceSpec>,
) -> Result<ServiceSpec, &'static str> {
    let scheduler = match options.scheduler.as_str() {
        NO_SCHEDULER_NAME => None,
        name => Some(Scheduler::by_name(name).ok_or(NO_SCHEDULER)?),
    };
    if options.engine.as_deref().is_some_and(|engine| engine != "sip") {
        return Err(NO_SCHEDULER);
    }
    let identity = options.identity;
    Ok(ServiceSpec {
        name: old.map_or_else(|| name(&identity), |old| Arc::clone(&old.name)),
        identity,
        scheduler,
        flags: options.flags,
        seed: old.and_then(|old| old.seed),
        persistence: options.persistence,
        engine: options.engine.as_deref().map(|_| Engine::Sip),
        tracking: old.map_or(Tracking::Full, |old| old.tracking),
        one_packet: options.one_packet,
        compat: old.map_or(catalog.compat, |old| old.compat),
        policy: old.map_or_else(Policy::default, |old| old.policy),
    })
}

/// A name for a service that came without one, as a configuration file would give it.
fn name(identity: &Identity) -> Arc<str> {
    let text = match *identity {
        Identity::Address { protocol, vip, vip_port } => {
            let protocol = match protocol {
                Protocol::Udp => model::Protocol::Udp,
                Protocol::Sctp => model::Protocol::Sctp,
                _ => model::Protocol::Tcp,
            };
            let vip_ports = vip_port.try_into().map_or(model::VipPorts::All, model::VipPorts::One);
            model::selector_name(&model::Selector { vip: vip.into(), protocol, vip_ports })
        }
        Identity::Ports { vip, first, last, .. } => format!("{vip}:{first}-{last}"),
        Identity::Mark { family, mark } => model::mark_name(model::Mark(mark.0), family.into()),
    };
    text.into()
}

pub(super) fn real_spec(options: &ServerOptions) -> Result<RealSpec, &'static str> {
    let address = options.address;
    if address.is_unspecified() || address.is_multicast() || address.is_broadcast() {
        return Err(INVALID);
    }
    let (forwarding, tunnel) = forwarding(options.forward);
    Ok(RealSpec {
        address,
        port: options.port,
        weight: options.weight,
        forwarding,
        tunnel,
        upper_threshold: options.upper_threshold,
        lower_threshold: options.lower_threshold,
        state: RealState::Up,
        drain_until: None,
        mac: None,
    })
}

fn forwarding(forward: Forward) -> (Forwarding, Tunnel) {
    match forward {
        Forward::Route => (Forwarding::Route, Tunnel::Ipip),
        Forward::Masq => (Forwarding::Masq, Tunnel::Ipip),
        Forward::Tunnel(shown) => (Forwarding::Tunnel, tunnel(shown)),
    }
}

fn tunnel(shown: listing::Tunnel) -> Tunnel {
    use listing::TunnelChecksum as Sum;
    match shown {
        listing::Tunnel::Ipip => Tunnel::Ipip,
        listing::Tunnel::Gre { checksum } => Tunnel::Gre { checksum: checksum != Sum::Off },
        listing::Tunnel::Gue { port, checksum } => Tunnel::Gue {
            port,
            checksum: match checksum {
                Sum::Off => GueChecksum::None,
                Sum::On => GueChecksum::Full,
                Sum::Remote => GueChecksum::Remote,
            },
        },
    }
}
