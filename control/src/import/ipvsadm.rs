//! ipvsadm's command lines and saved listings.

use std::net::IpAddr;

use dataplane::sched::SchedulerFlags;
use dataplane::snapshot::Identity;
use dataplane::wire::Protocol as WireProtocol;

use crate::config::model::{
    Engine, Forwarding, GueChecksum, HashFlags, Mark, Netmask, Persistence, Protocol, Scheduler,
    Thresholds, Tunnel,
};
use crate::ipvsadm::{self, Command, Forward, Names, ServerOptions, ServiceOptions};
use crate::listing;

use super::draft::{self, Draft, Key, Origin, RealServer, Refused, Servers, Service};

/// Carries out one command line on the draft, as the kernel would.
pub(super) fn read(origin: Origin, args: &[String], names: &Names, draft: &mut Draft) {
    let line = || format!("ipvsadm {}", args.join(" "));
    let command = match ipvsadm::parse(args, names) {
        Ok(command) => command,
        Err(usage) => {
            let hint = "mend the line, with numbers instead of names (`ipvsadm-save -n`)";
            // Where its first word is no option at all, ipvsadm has no more to say than that.
            let why = match usage.message.starts_with("Try `ipvsadm") {
                true => "it is no command of ipvsadm's".to_owned(),
                false => format!("ipvsadm refuses it: {}", usage.message),
            };
            draft.notes.add(origin, line(), why, hint);
            return;
        }
    };
    match command {
        Command::AddService(options) => add_service(origin, &options, draft),
        Command::EditService(options) => edit_service(origin, &options, draft),
        Command::DeleteService(identity) => {
            if !key(&identity).is_some_and(|key| draft.remove(&key)) {
                missing(origin, line(), draft);
            }
        }
        Command::AddServer(options) => add_server(origin, &options, line, draft),
        Command::EditServer(options) => edit_server(origin, &options, line, draft),
        Command::DeleteServer { service, address, port } => {
            let address = IpAddr::from(address);
            let found = key(&service).and_then(|key| draft.service(&key));
            let Some(found) = found else { return missing(origin, line(), draft) };
            if !found.real_servers.remove(address, port) {
                no_server(origin, line(), draft);
            }
        }
        Command::Clear => draft.clear(),
        Command::SetTimeouts { tcp_s, tcp_fin_s, udp_s } => {
            for (place, new) in draft.timeouts_s.iter_mut().zip([tcp_s, tcp_fin_s, udp_s]) {
                if new > 0 {
                    *place = new;
                }
            }
        }
        Command::StartDaemon(_) => draft.notes.add(
            origin,
            line(),
            "Director does not speak IPVS's synchronisation protocol",
            "leave it out",
        ),
        Command::Restore => draft.notes.add(
            origin,
            line(),
            "the commands that it reads are in another file",
            "import that file",
        ),
        // Nothing that stays.
        Command::StopDaemon(_) | Command::List(_) | Command::Save { .. } | Command::Zero(_) => {}
        Command::Help | Command::Version => {}
    }
}

fn missing(origin: Origin, line: String, draft: &mut Draft) {
    let hint = "put the line that adds the service before it";
    draft.notes.add(origin, line, "there is no such service up to here", hint);
}

fn no_server(origin: Origin, line: String, draft: &mut Draft) {
    let hint = "put the line that adds it before this one";
    draft.notes.add(origin, line, "there is no such real server up to here", hint);
}

/// The service's key; `None` for what ipvsadm cannot name.
fn key(identity: &Identity) -> Option<Key> {
    match *identity {
        Identity::Address { protocol, vip, vip_port } => {
            let protocol = match protocol {
                WireProtocol::Tcp => Protocol::Tcp,
                WireProtocol::Udp => Protocol::Udp,
                WireProtocol::Sctp => Protocol::Sctp,
                _ => return None,
            };
            Some(Key::Address { protocol, vip: vip.into(), vip_port })
        }
        Identity::Mark { family, mark } => {
            Some(Key::Mark { mark: Mark(mark.0), family: family.into() })
        }
        Identity::Ports { .. } => None,
    }
}

fn add_service(origin: Origin, options: &ServiceOptions, draft: &mut Draft) {
    let Some(service) = service(origin, options, draft) else { return };
    let shown = service.key.shown();
    if let Err(refused) = draft.add(service) {
        draft.notes.add(origin, shown, refused.why(), refused.hint());
    }
}

fn edit_service(origin: Origin, options: &ServiceOptions, draft: &mut Draft) {
    let Some(new) = service(origin, options, draft) else { return };
    match draft.service(&new.key) {
        Some(old) => {
            let real_servers = std::mem::take(&mut old.real_servers);
            *old = Service { real_servers, ..new };
        }
        None => missing(origin, new.key.shown(), draft),
    }
}

fn service(origin: Origin, options: &ServiceOptions, draft: &mut Draft) -> Option<Service> {
    let key = key(&options.identity)?;
    let flags = HashFlags {
        fallback: options.flags.contains(SchedulerFlags::FALLBACK),
        port: options.flags.contains(SchedulerFlags::PORT),
    };
    let scheduler = draft::scheduler(&options.scheduler, flags).unwrap_or_else(|| {
        let what = format!("{}: scheduler {}", key.shown(), options.scheduler);
        draft.notes.add(origin, what, "Director has no such scheduler", "it is wlc now");
        Scheduler::Wlc
    });
    let lost = match scheduler {
        Scheduler::Sh(_) | Scheduler::Mh(_) => options.flags.contains(SchedulerFlags::FLAG_3),
        _ => !options.flags.is_empty(),
    };
    if lost {
        let what = format!("{}: scheduler flags (-b)", key.shown());
        let why = format!("they mean nothing to {}", scheduler.name());
        draft.notes.add(origin, what, why, "leave them out");
    }
    if let Some(engine) = options.engine.as_deref().filter(|engine| *engine != "sip") {
        let what = format!("{}: persistence engine {engine} (--pe)", key.shown());
        let why = "Director has the engine sip only; clients are told apart by address";
        draft.notes.add(origin, what, why, "leave it out if that is enough");
    }
    let persistence = options.persistence.map(|persistence| Persistence {
        timeout_s: persistence.timeout_s,
        mask: Netmask::of(persistence.mask, key.family()),
        engine: (options.engine.as_deref() == Some("sip")).then_some(Engine::Sip),
    });
    Some(Service {
        origin,
        key,
        name: None,
        selectors: Vec::new(),
        scheduler,
        persistence,
        one_packet: options.one_packet,
        real_servers: Servers::default(),
    })
}

fn add_server(
    origin: Origin,
    options: &ServerOptions,
    line: impl Fn() -> String,
    draft: &mut Draft,
) {
    let Some(key) = key(&options.service) else { return };
    let server = server(origin, options, &key, draft);
    let Some(service) = draft.service(&key) else { return missing(origin, line(), draft) };
    let refused = match service.real_servers.find(server.address, server.real_port) {
        Some(_) => Err(Refused::Exists),
        None => draft.may_add_server(),
    };
    match refused {
        Ok(()) => {
            if let Some(service) = draft.service(&key) {
                service.real_servers.push(server);
            }
        }
        Err(refused) => draft.notes.add(origin, line(), refused.why(), refused.hint()),
    }
}

fn edit_server(
    origin: Origin,
    options: &ServerOptions,
    line: impl Fn() -> String,
    draft: &mut Draft,
) {
    let Some(key) = key(&options.service) else { return };
    let new = server(origin, options, &key, draft);
    let service = draft.service(&key);
    match service.and_then(|service| service.real_servers.find(new.address, new.real_port)) {
        Some(place) => *place = new,
        None => no_server(origin, line(), draft),
    }
}

fn server(origin: Origin, options: &ServerOptions, key: &Key, draft: &mut Draft) -> RealServer {
    let address = IpAddr::from(options.address);
    let what = || format!("{}: real server {address}", key.shown());
    let weight = u16::try_from(options.weight).unwrap_or_else(|_| {
        let why = format!("a weight of {} is above 65535", options.weight);
        draft.notes.add(origin, what(), why, "it is 65535 now; divide all weights of the service");
        u16::MAX
    });
    RealServer {
        origin,
        address,
        real_port: options.port,
        weight,
        forwarding: forwarding(options.forward),
        thresholds: Thresholds { upper: options.upper_threshold, lower: options.lower_threshold },
    }
}

fn forwarding(forward: Forward) -> Forwarding {
    use listing::{Tunnel as Listed, TunnelChecksum as Checksum};
    match forward {
        Forward::Route => Forwarding::Route,
        Forward::Masq => Forwarding::Masq,
        Forward::Tunnel(Listed::Ipip) => Forwarding::Tunnel(Tunnel::Ipip),
        Forward::Tunnel(Listed::Gre { checksum }) => {
            Forwarding::Tunnel(Tunnel::Gre { checksum: checksum != Checksum::Off })
        }
        Forward::Tunnel(Listed::Gue { port, checksum }) => {
            let checksum = match checksum {
                Checksum::Off => GueChecksum::None,
                Checksum::On => GueChecksum::Full,
                Checksum::Remote => GueChecksum::Remote,
            };
            // The grammar has no port 0 here.
            std::num::NonZeroU16::new(port).map_or(Forwarding::Tunnel(Tunnel::Ipip), |port| {
                Forwarding::Tunnel(Tunnel::Gue { port, checksum })
            })
        }
    }
}
