//! From the configuration as it is meant to what the packet path and DPDK take.

use std::collections::HashMap;

use dataplane::catalog::spec::{Farm, RealSpec, Selector, ServiceSpec, Site};
use dataplane::classify::Rank;
use dataplane::compat::{Compat, Defence, Kernel, TtlPolicy};
use dataplane::conn::Timeouts;
use dataplane::forward::{Forwarding, GueChecksum, Tunnel};
use dataplane::fragments::FragmentLimits;
use dataplane::ids::Mark;
use dataplane::pins::Pin;
use dataplane::rss::Steering;
use dataplane::sched::{Scheduler, SchedulerFlags};
use dataplane::shared::TableSizes;
use dataplane::snapshot::{
    Engine, Identity, OnDown, OnDrain, Persistence, Policy, RealState, Tracking,
};
use dataplane::tick::TICKS_PER_SECOND;
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Addr, Protocol};

use crate::config::model::{self, Defaults, Model, VipPorts};

mod ports;

pub use ports::{nic_config, site};

/// Everything that a reload can change, ready for the catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The services with their real servers.
    pub farms: Vec<Farm>,
    /// Clients with a real server of their own, by service.
    pub pins: HashMap<Identity, Vec<Pin>>,
    /// What gives packets their marks.
    pub selectors: Vec<Selector>,
    /// Ports, addresses and routes.
    pub site: Site,
    /// Connection timeouts.
    pub timeouts: Timeouts,
    /// How fragments find their way.
    pub fragments: FragmentLimits,
    /// Switches.
    pub compat: Compat,
    /// Whether packets of no service go on by the routing table.
    pub routes_all: bool,
}

/// The plan of a configuration.
pub fn plan(model: &Model) -> Plan {
    Plan {
        farms: model.services.iter().map(|service| farm(service, model)).collect(),
        pins: pins(&model.services),
        selectors: model
            .services
            .iter()
            .flat_map(|service| selectors(service, model.compat.defaults))
            .collect(),
        site: site(model),
        timeouts: Timeouts {
            tcp_s: model.timeouts.tcp_s,
            tcp_fin_s: model.timeouts.tcp_fin_s,
            udp_s: model.timeouts.udp_s,
        },
        fragments: FragmentLimits {
            remembered: model.fragments.remembered_s.saturating_mul(TICKS_PER_SECOND),
            early_wait: early_wait(model, 30_000),
            early_wait_v6: early_wait(model, 60_000),
            early: usize::from(model.fragments.early),
            whole: model.fragments.whole.unwrap_or(model.compat.defaults == Defaults::Ipvs),
        },
        compat: compat(&model.compat, model.ttl),
        routes_all: model.compat.ip_forward,
    }
}

/// For how many ticks a fragment waits for those before it: as many ms as the kernel's
/// `ipfrag_time` says where the kernel's defaults hold.
fn early_wait(model: &Model, in_kernel_ms: u32) -> u32 {
    let wait_ms = model.fragments.early_wait_ms.unwrap_or(match model.compat.defaults {
        Defaults::Safe => 50,
        Defaults::Ipvs => in_kernel_ms,
    });
    wait_ms.div_ceil(1000 / TICKS_PER_SECOND)
}

fn compat(compat: &model::Compat, ttl: model::Ttl) -> Compat {
    Compat {
        kernel: match compat.kernel {
            model::Kernel::New => Kernel::New,
            model::Kernel::Classic => Kernel::Classic,
        },
        ttl: match ttl {
            model::Ttl::Decrement => TtlPolicy::Decrement,
            model::Ttl::Keep => TtlPolicy::Keep,
        },
        sloppy_tcp: compat.sloppy_tcp,
        sloppy_sctp: compat.sloppy_sctp,
        conn_reuse_mode: compat.conn_reuse_mode,
        expire_nodest_conn: compat.expire_nodest_conn,
        expire_quiescent_template: compat.expire_quiescent_template,
        schedule_icmp: compat.schedule_icmp,
        nat_icmp_send: compat.nat_icmp_send,
        pmtu_disc: compat.pmtu_disc,
        secure_tcp: defence(compat.secure_tcp),
        drop_entry: defence(compat.drop_entry),
        drop_packet: defence(compat.drop_packet),
        am_droprate: compat.am_droprate,
        amemthresh: compat.amemthresh,
        ip_vs_ftp: compat.ip_vs_ftp,
        renew_extended_templates: compat.renew_extended_templates,
        as_kernel: compat.defaults == Defaults::Ipvs,
    }
}

fn defence(mode: u8) -> Defence {
    match mode {
        0 => Defence::Off,
        1 | 2 => Defence::Pressed,
        _ => Defence::Always,
    }
}

/// A service with its real servers.
pub(crate) fn farm(service: &model::Service, model: &Model) -> Farm {
    let spec = ServiceSpec {
        name: service.name.as_str().into(),
        identity: identity(service),
        scheduler: Scheduler::by_name(service.scheduler.name()),
        flags: flags(service.scheduler.flags()),
        seed: service.seed,
        engine: service.persistence.as_ref().and_then(|persistence| persistence.engine).map(
            |engine| match engine {
                model::Engine::Sip => Engine::Sip,
            },
        ),
        persistence: service.persistence.as_ref().map(|persistence| Persistence {
            timeout_s: persistence.timeout_s,
            mask: persistence.mask.bits(service.family()),
        }),
        tracking: match service.tracking {
            model::Tracking::Full => Tracking::Full,
            model::Tracking::Client => Tracking::Client,
        },
        one_packet: service.one_packet,
        compat: compat(&model.compat.with(&service.compat), model.ttl),
        policy: Policy {
            on_drain: match service.on_drain {
                model::OnDrain::Keep => OnDrain::Keep,
                model::OnDrain::NewElsewhere => OnDrain::NewElsewhere,
            },
            on_down: match service.on_down {
                model::OnDown::Rebind => OnDown::Rebind,
                model::OnDown::Keep => OnDown::Keep,
                model::OnDown::Drop => OnDown::Drop,
            },
        },
    };
    Farm { service: spec, reals: service.real_servers.iter().map(real).collect() }
}

/// The pins of all services that have some.
pub(crate) fn pins(services: &[model::Service]) -> HashMap<Identity, Vec<Pin>> {
    let pin = |pin: &model::Pin| Pin {
        client: pin.client.network().into(),
        length: pin.client.prefix(),
        real: pin.real_server.into(),
    };
    services
        .iter()
        .filter(|service| !service.pins.is_empty())
        .map(|service| (identity(service), service.pins.iter().map(pin).collect()))
        .collect()
}

/// What a service is known by.
pub(crate) fn identity(service: &model::Service) -> Identity {
    let family = service.family().into();
    if let Some(mark) = service.mark {
        return Identity::Mark { family, mark: Mark(mark.0) };
    }
    // The model has exactly one selector where there is no mark.
    let Some(selector) = service.selectors.first() else {
        return Identity::Mark { family, mark: Mark(std::num::NonZeroU32::MAX) };
    };
    let vip = Addr::from(selector.vip);
    let ports = selector.vip_ports.numbers();
    match (protocol(selector.protocol), selector.vip_ports) {
        (Some(protocol), VipPorts::One(_) | VipPorts::All) => {
            Identity::Address { protocol, vip, vip_port: selector.vip_ports.single() }
        }
        (protocol, _) => {
            Identity::Ports { protocol, vip, first: *ports.start(), last: *ports.end() }
        }
    }
}

fn selectors(service: &model::Service, defaults: Defaults) -> impl Iterator<Item = Selector> + '_ {
    // The kernel asks for a mark's service before it looks at anything else.
    let first = match defaults {
        Defaults::Safe => 0,
        Defaults::Ipvs => Rank::FIREWALL.0,
    };
    service.mark.into_iter().flat_map(move |mark| {
        service.selectors.iter().map(move |selector| {
            let vip = Addr::from(selector.vip);
            Selector {
                vip,
                length: vip.family().bits(),
                source: None,
                protocol: protocol(selector.protocol),
                ports: selector.vip_ports.numbers(),
                mark: Mark(mark.0),
                rank: match selector.vip_ports {
                    VipPorts::One(_) => Rank(first + Rank::PORT.0),
                    VipPorts::Range(..) => Rank(first + Rank::RANGE.0),
                    VipPorts::All => Rank(first + Rank::ALL_PORTS.0),
                },
            }
        })
    })
}

fn protocol(protocol: model::Protocol) -> Option<Protocol> {
    match protocol {
        model::Protocol::Tcp => Some(Protocol::Tcp),
        model::Protocol::Udp => Some(Protocol::Udp),
        model::Protocol::Sctp => Some(Protocol::Sctp),
        model::Protocol::Any => None,
    }
}

/// The flags of sh and mh.
pub(crate) fn flags(flags: model::HashFlags) -> SchedulerFlags {
    let mut set = SchedulerFlags::empty();
    set.set(SchedulerFlags::FALLBACK, flags.fallback);
    set.set(SchedulerFlags::PORT, flags.port);
    set
}

fn real(real: &model::RealServer) -> RealSpec {
    RealSpec {
        address: real.address.into(),
        port: real.real_port,
        weight: real.weight,
        forwarding: match real.forwarding {
            model::Forwarding::Local => Forwarding::Local,
            model::Forwarding::Route => Forwarding::Route,
            model::Forwarding::Masq => Forwarding::Masq,
            model::Forwarding::Tunnel(_) => Forwarding::Tunnel,
        },
        tunnel: match real.forwarding {
            model::Forwarding::Tunnel(tunnel) => self::tunnel(tunnel),
            _ => Tunnel::Ipip,
        },
        upper_threshold: real.thresholds.upper,
        lower_threshold: real.thresholds.lower,
        state: match real.state {
            model::State::Up => RealState::Up,
            model::State::Drain => RealState::Drain,
            model::State::Down => RealState::Down,
        },
        drain_until: None,
        mac: real.mac.map(|mac| Mac(mac.bytes())),
    }
}

fn tunnel(tunnel: model::Tunnel) -> Tunnel {
    match tunnel {
        model::Tunnel::Ipip => Tunnel::Ipip,
        model::Tunnel::Gre { checksum } => Tunnel::Gre { checksum },
        model::Tunnel::Gue { port, checksum } => Tunnel::Gue {
            port: port.get(),
            checksum: match checksum {
                model::GueChecksum::None => GueChecksum::None,
                model::GueChecksum::Full => GueChecksum::Full,
                model::GueChecksum::Remote => GueChecksum::Remote,
            },
        },
    }
}

/// The tables' sizes, and a client age that the longest timeout fits into four times.
pub fn table_sizes(model: &Model) -> TableSizes {
    let longest = model
        .services
        .iter()
        .filter_map(|service| service.persistence.as_ref())
        .map(|persistence| persistence.timeout_s)
        .max()
        .unwrap_or(Persistence::DEFAULT_TIMEOUT_S);
    TableSizes {
        connections_v4: model.tables.connections as usize,
        connections_v6: model.tables.connections6 as usize,
        templates_v4: model.tables.templates as usize,
        templates_v6: model.tables.templates6 as usize,
        clients_v4: model.tables.clients as usize,
        clients_v6: model.tables.clients6 as usize,
        fragments: model.tables.fragments as usize,
        age_unit_s: longest.div_ceil(60).max(1),
    }
}

/// How NIC ports are to spread clients over their queues: so that those who are bound together
/// share one. `None` where no service binds anybody; flows are spread better one by one then.
pub fn steering(model: &Model, secret: [u64; 2]) -> Option<Steering> {
    let mut steering = None;
    for service in &model.services {
        if let Some(persistence) = &service.persistence {
            let family = service.family();
            let so_far = steering.unwrap_or(Steering::by_address(secret));
            steering = Some(so_far.joining(family.into(), persistence.mask.bits(family)));
        }
    }
    steering
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_steer_by_the_coarsest_netmask_of_each_family_once_somebody_is_bound() {
        let service = |vip: &str, more: &str| {
            format!("- {{ vip: \"{vip}\", protocol: tcp, vip_port: 80, scheduler: rr{more} }}\n")
        };
        let of = |services: &str| {
            let model = crate::config::parse(format!("{PORT}services:\n{services}"), "test");
            steering(&model.unwrap_or_else(|problems| panic!("{problems}")), [1, 2])
        };
        let free = service("198.18.255.1", "");
        assert_eq!(of(&free), None);
        let bound = service("198.18.255.2", ", persistence: { timeout: 60s, prefix: 28 }");
        let coarse = service("198.18.255.3", ", persistence: { timeout: 60s, prefix: 24 }");
        let wide = service("2001:db8::1", ", persistence: { timeout: 60s, prefix: 64 }");
        let by = |v4, v6| Some(Steering { v4, v6, secret: [1, 2] });
        assert_eq!(of(&(free.clone() + &bound)), by(0xFFFF_FFF0, u128::MAX));
        assert_eq!(of(&(free + &bound + &coarse + &wide)), by(0xFFFF_FF00, u128::MAX << 64));
    }

    const PORT: &str = "ports: [{ name: lan0, device: net_null0, addresses: [198.18.10.1/24] }]\n";

    fn planned(text: &str) -> Plan {
        let model = crate::config::parse(format!("{PORT}{text}"), "test");
        plan(&model.unwrap_or_else(|problems| panic!("{problems}")))
    }

    #[test]
    fn a_service_has_its_own_switches_and_those_of_all() {
        let plan = planned(
            "compat: { schedule_icmp: true, sloppy_tcp: true }\nservices:\n\
             - { vip: 198.18.255.1, protocol: tcp, vip_port: 1,\n    \
             compat: { sloppy_tcp: false, conn_reuse_mode: 3, drop_packet: 3 } }\n\
             - { vip: 198.18.255.1, protocol: tcp, vip_port: 2 }\n",
        );
        let [own, plain] = [0, 1].map(|index| plan.farms[index].service.compat);
        assert_eq!(plain, plan.compat);
        let expected = Compat {
            sloppy_tcp: false,
            conn_reuse_mode: 3,
            drop_packet: Defence::Always,
            ..plan.compat
        };
        assert_eq!(own, expected);
        assert!(own.schedule_icmp && plain.sloppy_tcp);
    }

    #[test]
    fn under_the_kernels_defaults_marks_go_first_and_clients_stay() {
        let text = "services:\n- { mark: 1, vip: 198.18.255.1, protocol: tcp, vip_port: 0 }\n\
                    - { vip: 198.18.255.1, protocol: tcp, vip_port: 80 }\n";
        let (safe, ipvs) = (planned(text), planned(&format!("compat: ipvs\n{text}")));
        assert_eq!((safe.selectors[0].rank, safe.compat), (Rank::ALL_PORTS, Compat::default()));
        assert!(ipvs.selectors[0].rank > Rank::PORT);
        let expected = Compat { as_kernel: true, ..Compat::default() };
        assert_eq!(ipvs.compat, expected, "all switches are the kernel's either way");
        let policy = |plan: &Plan| plan.farms[1].service.policy;
        assert_eq!(policy(&safe).on_down, OnDown::Rebind);
        assert_eq!(policy(&ipvs), Policy { on_drain: OnDrain::Keep, on_down: OnDown::Keep });
    }

    #[test]
    fn engines_schedulers_and_fragments_are_handed_on() {
        let plan = planned(
            "fragments: { remembered: 10s, early_wait: 9ms, early: 7 }\nservices:\n\
             - { vip: 198.18.255.1, protocol: udp, vip_port: 5060, scheduler: none,\n    \
             persistence: { engine: sip } }\n",
        );
        let limits = FragmentLimits {
            remembered: 2_500,
            early_wait: 3,
            early_wait_v6: 3,
            early: 7,
            whole: false,
        };
        assert_eq!(plan.fragments, limits);
        let service = &plan.farms[0].service;
        assert_eq!((service.engine, service.scheduler), (Some(Engine::Sip), None));
        assert_eq!(planned("").fragments, FragmentLimits::default());
    }
}
