//! Services and real servers.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use dataplane::load::Load;
use dataplane::shared::Shared;
use dataplane::snapshot::{Identity, Real, RealState, Service, Snapshot};

use super::ipvs;
use crate::config::model::Metrics;
use crate::listing::Traffic;
use crate::metrics::board::Facts;
use crate::metrics::exposition::Exposition;

/// Series of one service: its counters, its gauges and what it is.
const OF_SERVICE: usize = SERVICE_COUNTERS.len() + SERVICE_GAUGES.len() + 1;
/// Series of one real server; under the names of IPVS's collector there are some more.
const OF_REAL: usize = REAL_COUNTERS.len() + REAL_GAUGES.len();

/// A service with what it has counted.
pub(super) struct OfService {
    pub(super) service: Arc<Service>,
    pub(super) ever: Traffic,
    pub(super) load: Load,
    pub(super) reals: Vec<OfReal>,
    usable: usize,
    /// Whether its real servers have series of their own.
    shows_reals: bool,
}

/// A real server with what it has counted.
pub(super) struct OfReal {
    pub(super) real: Real,
    pub(super) load: Load,
    label: String,
}

/// The services that have series of their own, and how many there are in all.
pub(super) struct Series {
    services: Vec<OfService>,
    room: Room,
    all_services: usize,
    all_reals: usize,
}

/// What has series of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::metrics) struct Room {
    /// The first so many services.
    services: usize,
    /// Of each of those, whether its real servers have some, too.
    reals_of: Vec<bool>,
    /// Real servers that have none.
    reals_left: usize,
}

impl Room {
    /// Whether any of so many services, or a real server of theirs, has no series.
    pub(in crate::metrics) fn leaves_out(&self, services: usize) -> bool {
        self.services < services || self.reals_left > 0
    }
}

/// Shares out the series among services with so many real servers each. Services come first, in
/// the order in which they were configured; what is left is for real servers, all of a service
/// or none, so that a sum over a service's real servers is always whole.
pub(in crate::metrics) fn room_for(reals: &[usize], settings: &Metrics) -> Room {
    let of_real = OF_REAL + if settings.ipvs_names { ipvs::OF_REAL } else { 0 };
    let most = settings.series as usize;
    let services = reals.len().min(most / OF_SERVICE);
    let mut left = most - services * OF_SERVICE;
    let fits = |count: &usize| {
        let fits = count * of_real <= left;
        left -= if fits { count * of_real } else { 0 };
        fits
    };
    let reals_of: Vec<bool> = reals.iter().take(services).map(fits).collect();
    let shown = reals_of.iter().chain(std::iter::repeat(&false));
    let reals_left = reals.iter().zip(shown).filter(|(_, shown)| !**shown).map(|(count, _)| count);
    let reals_left = reals_left.sum();
    Room { services, reals_of, reals_left }
}

/// How many real servers each service has.
pub(in crate::metrics) fn reals_of(snapshot: &Snapshot) -> Vec<usize> {
    snapshot.services.iter().flatten().map(|service| service.members.len()).collect()
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
    /// Reads the counters of what has series once.
    pub(super) fn of(facts: &Facts, shared: &Shared) -> Self {
        let reals = reals_of(&facts.snapshot);
        let room = room_for(&reals, &facts.settings);
        let services = facts.snapshot.services.iter().flatten().zip(&room.reals_of);
        let services =
            services.map(|(service, shows)| OfService::read(service, *shows, facts, shared));
        Self {
            services: services.collect(),
            all_services: reals.len(),
            all_reals: reals.iter().sum(),
            room,
        }
    }

    pub(super) fn write(&self, page: &mut Exposition) {
        page.gauge("director_services", "Services of the configuration.").only(self.all_services);
        page.gauge("director_real_servers", "Real servers of all services.").only(self.all_reals);
        let help = "Services and real servers without series of their own (metrics.series).";
        let mut left_out = page.gauge("director_left_out", help);
        left_out.sample(&[("of", "service")], self.all_services - self.room.services);
        left_out.sample(&[("of", "real_server")], self.room.reals_left);
        if !self.services.is_empty() {
            self.write_services(page);
        }
        if self.has_reals() {
            self.write_reals(page);
        }
    }

    /// Whether any real server has series of its own.
    pub(super) fn has_reals(&self) -> bool {
        self.reals().next().is_some()
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

    /// Every real server that has series, with its service.
    pub(super) fn reals(&self) -> impl Iterator<Item = (&Service, &OfReal)> {
        let shown = self.services.iter().filter(|of| of.shows_reals);
        shown.flat_map(|of| of.reals.iter().map(|real| (&*of.service, real)))
    }
}

impl OfService {
    fn read(service: &Arc<Service>, shows_reals: bool, facts: &Facts, shared: &Shared) -> Self {
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
        Self { service: Arc::clone(service), ever, load, reals, usable, shows_reals }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// How many services have series, of which the real servers have, and who is left out.
    fn room(series: u32, ipvs_names: bool, reals: &[usize]) -> (usize, Vec<bool>, usize) {
        let address = SocketAddr::from(([127, 0, 0, 1], 9690));
        let settings = Metrics { series, ipvs_names, ..Metrics::on(address) };
        let Room { services, reals_of, reals_left } = room_for(reals, &settings);
        (services, reals_of, reals_left)
    }

    #[test]
    fn services_have_series_as_far_as_they_go_and_real_servers_what_is_left() {
        assert_eq!((OF_SERVICE, OF_REAL, ipvs::OF_REAL), (11, 11, 3));
        assert_eq!(room(55, false, &[1, 2]), (2, vec![true, true], 0));
        assert_eq!(room(54, false, &[1, 2]), (2, vec![true, false], 2), "all of a service or none");
        assert_eq!(
            room(54, false, &[3, 1]),
            (2, vec![false, true], 3),
            "a large one blocks no one"
        );
        assert_eq!(room(55, true, &[1, 2]), (2, vec![true, false], 2), "three more names each");
        assert_eq!(room(64, true, &[1, 2]), (2, vec![true, true], 0));
        assert_eq!(room(21, false, &[1, 2]), (1, vec![false], 3));
        assert_eq!(room(10, false, &[1, 2]), (0, vec![], 3));
        assert_eq!(room(0, false, &[]), (0, vec![], 0));
        let (services, shown, left) = room(20_000, false, &[2; 10_000]);
        assert_eq!((services, left), (1_818, 20_000));
        assert!(shown.iter().all(|shown| !shown));
    }
}
