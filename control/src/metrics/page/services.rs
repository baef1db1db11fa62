//! Services and real servers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dataplane::load::Load;
use dataplane::shared::Shared;
use dataplane::snapshot::{Identity, Real, RealState, Service};

use crate::config::model::Metrics;
use crate::listing::Traffic;
use crate::metrics::board::Facts;
use crate::metrics::exposition::Exposition;

/// Series of one service, and of one real server, at the most.
const OF_SERVICE: usize = 12;
const OF_REAL: usize = 14;

/// A service with what it has counted.
pub(super) struct OfService {
    pub(super) service: Arc<Service>,
    pub(super) ever: Traffic,
    pub(super) load: Load,
    pub(super) reals: Vec<OfReal>,
    usable: usize,
}

/// A real server with what it has counted.
pub(super) struct OfReal {
    pub(super) real: Real,
    pub(super) load: Load,
    label: String,
}

/// All of them, and which are written.
pub(super) struct Series {
    pub(super) services: Vec<OfService>,
    pub(super) room: Room,
}

/// What is few enough to have series of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::metrics) struct Room {
    /// Services.
    pub(in crate::metrics) services: bool,
    /// Real servers.
    pub(in crate::metrics) reals: bool,
}

/// Whether there is room for the series of so many services and real servers.
pub(in crate::metrics) fn room_for(services: usize, reals: usize, settings: &Metrics) -> Room {
    let most = settings.series as usize;
    let of_services = services * OF_SERVICE;
    Room { services: of_services <= most, reals: of_services + reals * OF_REAL <= most }
}

type OfOneService = (&'static str, &'static str, fn(&OfService) -> u64);
type OfOneReal = (&'static str, &'static str, fn(&OfReal) -> u64);

const SERVICE_COUNTERS: [OfOneService; 5] = [
    ("director_service_connections", "Connections scheduled.", |of| of.ever.conns),
    ("director_service_incoming_packets", "Packets from clients.", |of| of.ever.in_packets),
    ("director_service_incoming_bytes", "Bytes from clients (IP total length).", |of| {
        of.ever.in_bytes
    }),
    ("director_service_outgoing_packets", "Packets to clients that passed here.", |of| {
        of.ever.out_packets
    }),
    (
        "director_service_outgoing_bytes",
        "Bytes to clients that passed here (IP total length).",
        |of| of.ever.out_bytes,
    ),
];

const SERVICE_GAUGES: [OfOneService; 5] = [
    ("director_service_connections_active", "Connections in an active state.", |of| of.load.active),
    ("director_service_connections_inactive", "All other connections.", |of| of.load.inactive),
    ("director_service_bindings", "Clients that are bound.", |of| of.load.clients()),
    ("director_service_real_servers", "Real servers of the service.", |of| of.reals.len() as u64),
    (
        "director_service_real_servers_usable",
        "Real servers that take new clients: up, and with a weight.",
        |of| of.usable as u64,
    ),
];

const REAL_COUNTERS: [OfOneReal; 5] = [
    ("director_real_server_connections", "Connections scheduled.", |of| of.load.connections),
    ("director_real_server_incoming_packets", "Packets from clients.", |of| of.load.in_packets),
    ("director_real_server_incoming_bytes", "Bytes from clients (IP total length).", |of| {
        of.load.in_bytes
    }),
    ("director_real_server_outgoing_packets", "Packets to clients that passed here.", |of| {
        of.load.out_packets
    }),
    (
        "director_real_server_outgoing_bytes",
        "Bytes to clients that passed here (IP total length).",
        |of| of.load.out_bytes,
    ),
];

const REAL_GAUGES: [OfOneReal; 6] = [
    ("director_real_server_connections_active", "Connections in an active state.", |of| {
        of.load.active
    }),
    ("director_real_server_connections_inactive", "All other connections.", |of| of.load.inactive),
    ("director_real_server_bindings", "Clients that are bound.", |of| of.load.clients()),
    ("director_real_server_weight", "The weight that schedulers see; 0 is quiesced.", |of| {
        u64::from(of.real.effective_weight())
    }),
    ("director_real_server_up", "Whether its state is up.", |of| {
        u64::from(of.real.state == RealState::Up)
    }),
    ("director_real_server_draining", "Whether its state is drain.", |of| {
        u64::from(of.real.state == RealState::Drain)
    }),
];

impl Series {
    /// Reads all counters once.
    pub(super) fn of(facts: &Facts, shared: &Shared) -> Self {
        let services: Vec<OfService> = (facts.snapshot.services.iter().flatten())
            .map(|service| OfService::read(service, facts, shared))
            .collect();
        let reals: usize = services.iter().map(|of| of.reals.len()).sum();
        Self { room: room_for(services.len(), reals, &facts.settings), services }
    }

    pub(super) fn write(&self, page: &mut Exposition) {
        let services = self.services.len();
        let reals: usize = self.services.iter().map(|of| of.reals.len()).sum();
        page.gauge("director_services", "Services of the configuration.").only(services);
        page.gauge("director_real_servers", "Real servers of all services.").only(reals);
        let help = "Services and real servers without series of their own (metrics.series).";
        let mut left_out = page.gauge("director_left_out", help);
        left_out.sample(&[("of", "service")], if self.room.services { 0 } else { services });
        left_out.sample(&[("of", "real_server")], if self.room.reals { 0 } else { reals });
        if self.room.services {
            self.write_services(page);
        }
        if self.room.reals {
            self.write_reals(page);
        }
    }

    fn write_services(&self, page: &mut Exposition) {
        let mut info = page.gauge("director_service_info", "What the service is; always 1.");
        for OfService { service, .. } in &self.services {
            let side = Side::of(&service.identity);
            let labels = [
                ("service", &*service.name),
                ("protocol", side.protocol),
                ("vip", &side.address),
                ("vip_port", &side.port),
                ("mark", &side.mark),
                ("scheduler", service.scheduler.map_or("", |scheduler| scheduler.name())),
            ];
            info.sample(&labels, 1);
        }
        for (name, help, value) in SERVICE_COUNTERS {
            let mut family = page.counter(name, help);
            for of in &self.services {
                family.sample(&[("service", &of.service.name)], value(of));
            }
        }
        for (name, help, value) in SERVICE_GAUGES {
            let mut family = page.gauge(name, help);
            for of in &self.services {
                family.sample(&[("service", &of.service.name)], value(of));
            }
        }
    }

    fn write_reals(&self, page: &mut Exposition) {
        for (name, help, value) in REAL_COUNTERS {
            let mut family = page.counter(name, help);
            for (service, of) in self.reals() {
                let labels = [("service", &*service.name), ("real_server", of.label.as_str())];
                family.sample(&labels, value(of));
            }
        }
        for (name, help, value) in REAL_GAUGES {
            let mut family = page.gauge(name, help);
            for (service, of) in self.reals() {
                let labels = [("service", &*service.name), ("real_server", of.label.as_str())];
                family.sample(&labels, value(of));
            }
        }
    }

    /// Every real server with its service.
    pub(super) fn reals(&self) -> impl Iterator<Item = (&Service, &OfReal)> {
        self.services.iter().flat_map(|of| of.reals.iter().map(|real| (&*of.service, real)))
    }
}

impl OfService {
    fn read(service: &Arc<Service>, facts: &Facts, shared: &Shared) -> Self {
        let members = service.members.iter();
        let reals: Vec<OfReal> = members
            .filter_map(|member| facts.snapshot.available(member.real))
            .map(|real| OfReal {
                real: real.clone(),
                load: shared.loads.sum(real.id),
                label: SocketAddr::new(IpAddr::from(real.address), real.port).to_string(),
            })
            .collect();
        let mut load = Load::default();
        for of in &reals {
            load.active += of.load.active;
            load.inactive += of.load.inactive;
            load.bound += of.load.bound;
            load.orphans += of.load.orphans;
        }
        let ever = facts.services.get(&service.id).copied().unwrap_or_default();
        let usable = reals.iter().filter(|of| of.real.effective_weight() > 0).count();
        Self { service: Arc::clone(service), ever, load, reals, usable }
    }
}

/// What clients know a service by, as label values.
pub(super) struct Side {
    pub(super) protocol: &'static str,
    pub(super) address: String,
    pub(super) port: String,
    pub(super) mark: String,
}

impl Side {
    fn of(identity: &Identity) -> Self {
        match *identity {
            Identity::Address { protocol, vip, vip_port } => Self {
                protocol: word(Some(protocol)),
                address: vip.to_string(),
                port: vip_port.to_string(),
                mark: String::new(),
            },
            Identity::Ports { protocol, vip, first, last } => Self {
                protocol: word(protocol),
                address: vip.to_string(),
                port: format!("{first}-{last}"),
                mark: String::new(),
            },
            Identity::Mark { mark, .. } => Self {
                protocol: "",
                address: String::new(),
                port: String::new(),
                mark: mark.0.to_string(),
            },
        }
    }
}

fn word(protocol: Option<dataplane::wire::Protocol>) -> &'static str {
    use dataplane::wire::Protocol;
    match protocol {
        Some(Protocol::Tcp) => "tcp",
        Some(Protocol::Udp) => "udp",
        Some(Protocol::Sctp) => "sctp",
        Some(_) => "",
        None => "any",
    }
}

/// The service's side in the words of node_exporter's IPVS collector.
pub(super) fn as_in_ipvs(identity: &Identity) -> Side {
    match *identity {
        Identity::Mark { mark, .. } => Side {
            protocol: "FWM",
            address: String::new(),
            port: "0".to_owned(),
            mark: format!("{:08X}", mark.0),
        },
        _ => {
            let side = Side::of(identity);
            let protocol = match side.protocol {
                "tcp" => "TCP",
                "udp" => "UDP",
                "sctp" => "SCTP",
                _ => "ANY",
            };
            Side { protocol, ..side }
        }
    }
}
