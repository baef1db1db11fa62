//! What the options of a command add up to, and whether they go together.

use std::net::{IpAddr, Ipv4Addr};

use dataplane::sched::SchedulerFlags;
use dataplane::snapshot::{Identity, Persistence};
use dataplane::wire::Protocol;

use super::Usage;
use super::command::{
    Command, DaemonOptions, DaemonRole, Forward, ListOptions, ServerOptions, ServiceOptions, Show,
};
use super::option::{Name, Verb};
use super::parse::Gathered;
use crate::listing::{Style, Tunnel, TunnelChecksum};

/// ipvsadm's scheduler where none is named.
const DEFAULT_SCHEDULER: &str = "wlc";

pub(super) fn identity(gathered: &Gathered) -> Result<Identity, Usage> {
    // The check of options has seen that it is there.
    gathered.service.ok_or_else(Usage::try_help)
}

pub(super) fn service(gathered: &Gathered) -> Result<ServiceOptions, Usage> {
    let identity = identity(gathered)?;
    let one_packet = gathered.has(Name::Ops);
    if let Identity::Address { protocol, vip_port, .. } = identity {
        if vip_port == 0 && gathered.persistent_s.is_none() {
            return Err(Usage::new("Zero port specified for non-persistent service"));
        }
        if one_packet && protocol != Protocol::Udp {
            return Err(Usage::new("One-Packet Scheduling is only for UDP virtual services"));
        }
    }
    let scheduler = gathered.scheduler.as_deref().filter(|name| !name.is_empty());
    let scheduler = scheduler.unwrap_or(DEFAULT_SCHEDULER).to_owned();
    let mask = gathered.mask_for(identity.family());
    Ok(ServiceOptions {
        identity,
        flags: flags(gathered.flags.as_deref(), &scheduler)?,
        scheduler,
        persistence: gathered.persistent_s.map(|timeout_s| Persistence { timeout_s, mask }),
        engine: gathered.engine.clone(),
        one_packet,
    })
}

pub(super) fn flags(text: Option<&str>, scheduler: &str) -> Result<SchedulerFlags, Usage> {
    let mut flags = SchedulerFlags::empty();
    for word in text.into_iter().flat_map(|text| text.split(',')) {
        let (flag, of) = match word {
            "flag-1" => (SchedulerFlags::FALLBACK, None),
            "flag-2" => (SchedulerFlags::PORT, None),
            "flag-3" => (SchedulerFlags::FLAG_3, None),
            "sh-fallback" => (SchedulerFlags::FALLBACK, Some("sh")),
            "sh-port" => (SchedulerFlags::PORT, Some("sh")),
            "mh-fallback" => (SchedulerFlags::FALLBACK, Some("mh")),
            "mh-port" => (SchedulerFlags::PORT, Some("mh")),
            _ => return Err(Usage::new(format!("invalid scheduler flag `{word}'"))),
        };
        if of.is_some_and(|of| of != scheduler) {
            return Err(Usage::new(format!("incompatible scheduler flag `{word}'")));
        }
        flags |= flag;
    }
    Ok(flags)
}

pub(super) fn server(gathered: &Gathered) -> Result<ServerOptions, Usage> {
    let service = identity(gathered)?;
    let typed = gathered.server.ok_or_else(Usage::try_help)?;
    let forward = gathered.forward.unwrap_or(Forward::Route);
    let tunnelled = matches!(forward, Forward::Tunnel(_));
    if typed.address.family() != service.family() && !tunnelled {
        return Err(Usage::new("Different address family is allowed only for tunneling servers"));
    }
    let forward = match forward {
        Forward::Tunnel(_) => Forward::Tunnel(tunnel(gathered)?),
        _ if has_tunnel_options(gathered) => {
            return Err(Usage::new("Tunnel options conflict with forward method"));
        }
        other => other,
    };
    let of_mark = matches!(service, Identity::Mark { .. });
    // Packets that are not masqueraded keep their port, whatever was typed.
    let keeps_port = !of_mark && forward != Forward::Masq;
    let port = match typed.port {
        Some(port) if !keeps_port => port,
        _ => gathered.service_port,
    };
    Ok(ServerOptions {
        service,
        address: typed.address,
        port,
        forward,
        weight: gathered.weight.unwrap_or(1),
        upper_threshold: gathered.upper.unwrap_or(0),
        lower_threshold: gathered.lower.unwrap_or(0),
    })
}

const CHECKSUMS: [Name; 3] = [Name::NoChecksum, Name::Checksum, Name::RemoteChecksum];

fn has_tunnel_options(gathered: &Gathered) -> bool {
    gathered.has(Name::TunnelType)
        || gathered.has(Name::TunnelPort)
        || CHECKSUMS.iter().any(|name| gathered.has(*name))
}

fn tunnel(gathered: &Gathered) -> Result<Tunnel, Usage> {
    let kind = gathered.tunnel_type.as_deref().unwrap_or("ipip");
    let illegal = |name: Name| {
        Usage::new(format!("Illegal '{}' option with the '{kind}' tunnel type", name.word()))
    };
    let checksums: Vec<Name> =
        CHECKSUMS.iter().copied().filter(|name| gathered.has(*name)).collect();
    let allowed: &[Name] = match kind {
        "gue" => &CHECKSUMS,
        "gre" => &[Name::NoChecksum, Name::Checksum],
        _ => &[],
    };
    if gathered.has(Name::TunnelPort) && kind != "gue" {
        return Err(illegal(Name::TunnelPort));
    }
    if let Some(name) = checksums.iter().find(|name| !allowed.contains(name)) {
        return Err(illegal(*name));
    }
    let checksum = match checksums.as_slice() {
        [] | [Name::NoChecksum] => TunnelChecksum::Off,
        [Name::Checksum] => TunnelChecksum::On,
        [Name::RemoteChecksum] => TunnelChecksum::Remote,
        [first, second, ..] => {
            return Err(Usage::new(format!(
                "The option '{}' conflicts with the '{}' option in the '{kind}' tunnel type",
                second.word(),
                first.word()
            )));
        }
        [_] => TunnelChecksum::Off,
    };
    Ok(match kind {
        "gue" => Tunnel::Gue {
            port: gathered.tunnel_port.ok_or_else(|| {
                Usage::new("You need to supply the 'tun-port' option for the 'gue' tunnel type")
            })?,
            checksum,
        },
        "gre" => Tunnel::Gre { checksum },
        _ => Tunnel::Ipip,
    })
}

pub(super) fn removal(gathered: &Gathered) -> Result<Command, Usage> {
    let service = identity(gathered)?;
    let typed = gathered.server.ok_or_else(Usage::try_help)?;
    let port = typed.port.unwrap_or(gathered.service_port);
    Ok(Command::DeleteServer { service, address: typed.address, port })
}

pub(super) fn checked_list(gathered: &Gathered) -> Result<Command, Usage> {
    let any = |names: &[Name]| names.iter().any(|name| gathered.has(*name));
    let counters = any(&[Name::Stats, Name::Rate, Name::Thresholds]);
    let elsewhere = any(&[Name::Timeout, Name::Daemon]);
    if (counters && (elsewhere || gathered.has(Name::Connection)))
        || (elsewhere && gathered.has(Name::PersistentConn))
    {
        return Err(Usage::new("options conflicts in the list command"));
    }
    Ok(list(gathered))
}

pub(super) fn list(gathered: &Gathered) -> Command {
    let exact = gathered.has(Name::Exact);
    let style = if gathered.has(Name::Stats) {
        Style::Stats { exact }
    } else if gathered.has(Name::Rate) {
        Style::Rate { exact }
    } else if gathered.has(Name::Thresholds) {
        Style::Thresholds
    } else if gathered.has(Name::PersistentConn) {
        Style::PersistentConnections
    } else if gathered.has(Name::TunnelInfo) {
        Style::TunnelInfo
    } else {
        Style::Default
    };
    let show = if gathered.has(Name::Connection) {
        Show::Connections { engine_data: gathered.has(Name::PersistentConn) }
    } else if gathered.has(Name::Timeout) {
        Show::Timeouts
    } else if gathered.has(Name::Daemon) {
        Show::Daemons
    } else {
        gathered.service.map_or(Show::Services(style), |service| Show::Service(service, style))
    };
    Command::List(ListOptions {
        show,
        numeric: gathered.has(Name::Numeric),
        sorted: !gathered.has(Name::NoSort),
    })
}

pub(super) fn role(verb: Verb, word: Option<&str>) -> Result<DaemonRole, Usage> {
    match word {
        Some("master") => Ok(DaemonRole::Master),
        Some("backup") => Ok(DaemonRole::Backup),
        _ if verb == Verb::StopDaemon => Err(Usage::new("illegal start_daemon specified")),
        _ => Err(Usage::new("illegal start-daemon parameter specified")),
    }
}

pub(super) fn daemon(gathered: &Gathered, word: Option<&str>) -> Result<DaemonOptions, Usage> {
    Ok(DaemonOptions {
        role: role(Verb::StartDaemon, word)?,
        interface: gathered.interface.clone().unwrap_or_else(|| "eth0".into()),
        syncid: gathered.syncid.unwrap_or(0),
        maxlen: gathered.maxlen.unwrap_or(0),
        group: gathered.group.unwrap_or(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 81))),
        port: gathered.group_port.unwrap_or(8848),
        ttl: gathered.ttl.unwrap_or(1),
    })
}
