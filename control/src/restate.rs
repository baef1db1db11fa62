//! The catalog restated as a configuration: what [`compile`] does, backwards.
//!
//! ipvsadm's commands act on the catalog, as they act on the kernel's lists: one by one, in
//! their order. Afterwards the model has to say the same, so that what runs can be shown,
//! compared with a file and put back. A service that says already what the catalog says is left
//! as it is written; of the others the parts that ipvsadm knows are replaced and the rest stays.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU16;

use dataplane::catalog::spec::{Farm, RealSpec, Selector, ServiceSpec};
use dataplane::conn::Timeouts;
use dataplane::forward::{Forwarding, GueChecksum, Tunnel};
use dataplane::sched::{Scheduler, SchedulerFlags};
use dataplane::snapshot::{self, Identity};
use dataplane::wire::Protocol;

use crate::compile;
use crate::config::model::{self, HashFlags, Model, VipPorts};

/// The largest weight that a file may have.
const WEIGHT: u32 = 65_535;

/// The services in words of a configuration.
#[derive(Clone, Debug, Default)]
pub struct Restated {
    /// The services: those that the model had in their places, new ones behind them.
    pub services: Vec<model::Service>,
    /// What a configuration has no words for, a sentence each.
    pub unsaid: Vec<String>,
}

/// The catalog's services as the model would have them written.
pub fn services(model: &Model, farms: Vec<Farm>, selectors: &[Selector]) -> Restated {
    let mut left: HashMap<Identity, Farm> =
        farms.into_iter().map(|farm| (farm.service.identity, farm)).collect();
    let ports = model.ports.iter().flat_map(|port| &port.addresses);
    let own: HashSet<IpAddr> = ports.map(|address| address.address()).collect();
    let mut restated = Restated::default();
    for written in &model.services {
        let compiled = compile::farm(written, model);
        let Some(farm) = left.remove(&compiled.service.identity) else { continue };
        if compiled == farm {
            restated.services.push(written.clone());
        } else {
            let again = restate(written.clone(), &farm, &own, &mut restated.unsaid);
            restated.services.push(again);
        }
    }
    let mut new: Vec<Farm> = left.into_values().collect();
    new.sort_by_key(|farm| farm.service.identity);
    for farm in new {
        let blank = blank(&farm.service, selectors);
        let written = restate(blank, &farm, &own, &mut restated.unsaid);
        restated.services.push(written);
    }
    restated
}

/// The timeouts in words of a configuration.
pub fn timeouts(timeouts: Timeouts) -> model::Timeouts {
    let Timeouts { tcp_s, tcp_fin_s, udp_s } = timeouts;
    model::Timeouts { tcp_s, tcp_fin_s, udp_s }
}

/// A service that says nothing yet but what it is known by. A mark takes up the selectors
/// that are there for it: they are what iptables is to the kernel, and no command of ipvsadm
/// touches them.
fn blank(spec: &ServiceSpec, selectors: &[Selector]) -> model::Service {
    let family = spec.identity.family().into();
    let (mark, selectors) = match spec.identity {
        Identity::Mark { family, mark } => {
            let own = |one: &&Selector| one.mark == mark && one.vip.family() == family;
            let selectors = selectors.iter().filter(own).map(selector).collect();
            (Some(model::Mark(mark.0)), selectors)
        }
        Identity::Address { protocol, vip, vip_port } => {
            let vip_ports = vip_port.try_into().map_or(VipPorts::All, VipPorts::One);
            let protocol = self::protocol(Some(protocol));
            (None, vec![model::Selector { vip: vip.into(), protocol, vip_ports }])
        }
        Identity::Ports { protocol, vip, first, last } => {
            let protocol = self::protocol(protocol);
            (
                None,
                vec![model::Selector { vip: vip.into(), protocol, vip_ports: ports(first, last) }],
            )
        }
    };
    model::Service {
        name: spec.name.to_string(),
        mark,
        family: (selectors.is_empty() && family == model::Family::V6).then_some(family),
        selectors,
        scheduler: model::Scheduler::default(),
        persistence: None,
        tracking: model::Tracking::default(),
        one_packet: false,
        seed: None,
        on_drain: match spec.policy.on_drain {
            snapshot::OnDrain::Keep => model::OnDrain::Keep,
            snapshot::OnDrain::NewElsewhere => model::OnDrain::NewElsewhere,
        },
        on_down: match spec.policy.on_down {
            snapshot::OnDown::Rebind => model::OnDown::Rebind,
            snapshot::OnDown::Keep => model::OnDown::Keep,
            snapshot::OnDown::Drop => model::OnDown::Drop,
        },
        drain_deadline_s: None,
        compat: model::ServiceCompat::default(),
        pins: Vec::new(),
        real_servers: Vec::new(),
    }
}

fn selector(selector: &Selector) -> model::Selector {
    model::Selector {
        vip: selector.vip.into(),
        protocol: protocol(selector.protocol),
        vip_ports: ports(*selector.ports.start(), *selector.ports.end()),
    }
}

fn protocol(protocol: Option<Protocol>) -> model::Protocol {
    match protocol {
        Some(Protocol::Tcp) => model::Protocol::Tcp,
        Some(Protocol::Udp) => model::Protocol::Udp,
        Some(Protocol::Sctp) => model::Protocol::Sctp,
        Some(_) | None => model::Protocol::Any,
    }
}

fn ports(first: u16, last: u16) -> VipPorts {
    match (NonZeroU16::new(first), NonZeroU16::new(last)) {
        (Some(first), Some(last)) if first == last => VipPorts::One(first),
        (Some(first), Some(last)) => VipPorts::Range(first, last),
        _ => VipPorts::All,
    }
}

/// The service with everything that ipvsadm can change as the catalog has it.
fn restate(
    mut written: model::Service,
    farm: &Farm,
    own: &HashSet<IpAddr>,
    unsaid: &mut Vec<String>,
) -> model::Service {
    let spec = &farm.service;
    let is_udp = written.selectors.iter().all(|one| one.protocol == model::Protocol::Udp);
    let mut cannot = |what: &str| unsaid.push(format!("service {}: {what}", spec.name));
    written.scheduler = match spec.scheduler {
        Some(scheduler) => self::scheduler(scheduler, spec.flags),
        None => model::Scheduler::None,
    };
    if compile::flags(written.scheduler.flags()) != spec.flags {
        cannot("scheduler flags that its scheduler does not use (ipvsadm -b) are left out");
    }
    written.persistence = spec.persistence.map(|persistence| {
        let mask = model::Netmask::of(persistence.mask, spec.identity.family().into());
        let engine = spec.engine.filter(|_| is_udp).map(|engine| match engine {
            snapshot::Engine::Sip => model::Engine::Sip,
        });
        model::Persistence { timeout_s: persistence.timeout_s, mask, engine }
    });
    if spec.engine.is_some() && written.persistence.is_none_or(|kept| kept.engine.is_none()) {
        cannot("its persistence engine (ipvsadm --pe) is left out: it is for persistent UDP");
    }
    if farm.reals.iter().any(|real| real.weight > WEIGHT) {
        cannot("a weight above 65535, which a file may not have, is shown as it is");
    }
    written.one_packet = spec.one_packet;
    let old: HashMap<_, model::RealServer> =
        written.real_servers.drain(..).map(|real| ((real.address, real.real_port), real)).collect();
    let real = |spec: &RealSpec| {
        let old = old.get(&(spec.address.into(), spec.port));
        let own = spec.address.is_loopback() || own.contains(&spec.address.into());
        real_server(old, spec, own)
    };
    written.real_servers = farm.reals.iter().map(real).collect();
    // A pin to a server that is gone pins nobody, and a file must not have it.
    let addresses: HashSet<_> = written.real_servers.iter().map(|real| real.address).collect();
    written.pins.retain(|pin| addresses.contains(&pin.real_server));
    written
}

fn scheduler(scheduler: Scheduler, flags: SchedulerFlags) -> model::Scheduler {
    let flags = HashFlags {
        fallback: flags.contains(SchedulerFlags::FALLBACK),
        port: flags.contains(SchedulerFlags::PORT),
    };
    match scheduler {
        Scheduler::Rr => model::Scheduler::Rr,
        Scheduler::Wrr => model::Scheduler::Wrr,
        Scheduler::Lc => model::Scheduler::Lc,
        Scheduler::Wlc => model::Scheduler::Wlc,
        Scheduler::Lblc => model::Scheduler::Lblc,
        Scheduler::Lblcr => model::Scheduler::Lblcr,
        Scheduler::Dh => model::Scheduler::Dh,
        Scheduler::Sh => model::Scheduler::Sh(flags),
        Scheduler::Mh => model::Scheduler::Mh(flags),
        Scheduler::Sed => model::Scheduler::Sed,
        Scheduler::Nq => model::Scheduler::Nq,
        Scheduler::Fo => model::Scheduler::Fo,
        Scheduler::Ovf => model::Scheduler::Ovf,
        Scheduler::Twos => model::Scheduler::Twos,
    }
}

/// A real server; one on the director's own address is the director's host itself.
fn real_server(old: Option<&model::RealServer>, spec: &RealSpec, own: bool) -> model::RealServer {
    let thresholds = model::Thresholds { upper: spec.upper_threshold, lower: spec.lower_threshold };
    let forwarding = match forwarding(spec) {
        // The kernel, too, delivers these to itself, whatever `-g` says.
        model::Forwarding::Route if own => model::Forwarding::Local,
        other => other,
    };
    let weight = spec.weight;
    let state = match spec.state {
        snapshot::RealState::Up => model::State::Up,
        snapshot::RealState::Drain => model::State::Drain,
        snapshot::RealState::Down => model::State::Down,
    };
    match old {
        Some(old) => {
            // Only direct routing has a next hop to pin.
            let mac = old.mac.filter(|_| forwarding == model::Forwarding::Route);
            model::RealServer { weight, state, forwarding, thresholds, mac, ..old.clone() }
        }
        None => model::RealServer {
            name: None,
            address: spec.address.into(),
            real_port: spec.port,
            weight,
            state,
            forwarding,
            mac: spec.mac.and_then(|mac| model::Mac::new(mac.0)),
            thresholds,
        },
    }
}

fn forwarding(spec: &RealSpec) -> model::Forwarding {
    match spec.forwarding {
        Forwarding::Local => model::Forwarding::Local,
        Forwarding::Masq => model::Forwarding::Masq,
        Forwarding::Route => model::Forwarding::Route,
        Forwarding::Tunnel => model::Forwarding::Tunnel(match spec.tunnel {
            Tunnel::Ipip => model::Tunnel::Ipip,
            Tunnel::Gre { checksum } => model::Tunnel::Gre { checksum },
            Tunnel::Gue { port, checksum } => match NonZeroU16::new(port) {
                Some(port) => model::Tunnel::Gue {
                    port,
                    checksum: match checksum {
                        GueChecksum::None => model::GueChecksum::None,
                        GueChecksum::Full => model::GueChecksum::Full,
                        GueChecksum::Remote => model::GueChecksum::Remote,
                    },
                },
                None => model::Tunnel::Ipip,
            },
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dataplane::catalog::Catalog;
    use dataplane::shared::{HashKey, Shared, TableSizes};
    use dataplane::timer::TimerRule;

    use super::*;
    use crate::config;
    use crate::ipvsadm::{self, Names, Pending, Target};
    use crate::listing::Meters;

    const PORTS: &str = "ports: [{ name: lan0, device: net_null0, \
                         addresses: [198.18.10.1/24, \"2001:db8::1/64\"] }]\n";

    struct Director {
        model: Model,
        catalog: Catalog,
        shared: Arc<Shared>,
    }

    impl Director {
        fn of(services: &str) -> Self {
            let model = config::parse(format!("{PORTS}{services}"), "test").unwrap();
            let sizes = TableSizes::default();
            let (shared, _) = Shared::new(1, sizes, TimerRule::Exact, HashKey([1, 2]));
            let plan = compile::plan(&model);
            let mut catalog = Catalog::new(Arc::clone(&shared), plan.site);
            catalog.compat = plan.compat;
            catalog.apply(&plan.farms, plan.selectors).unwrap();
            Self { model, catalog, shared }
        }

        /// Runs commands that must work.
        fn run(&mut self, lines: &[&str]) {
            let mut snapshot = self.catalog.snapshot();
            for line in lines {
                let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
                let mut target = Target {
                    catalog: &mut self.catalog,
                    snapshot: &mut snapshot,
                    pending: Pending::default(),
                    loads: &self.shared.loads,
                    meters: &mut Meters::default(),
                    daemons: &mut Vec::new(),
                    connections: &Vec::new,
                    interfaces: &[],
                    names: &Names::offline(),
                    table_size: 4096,
                };
                let reply = ipvsadm::run(&words, "", &mut target);
                assert_eq!(reply, ipvsadm::Reply::default(), "{line}");
            }
        }

        /// Runs commands, restates the model, and checks that it says what the catalog does.
        fn after(&mut self, lines: &[&str]) -> Vec<String> {
            self.run(lines);
            let said = services(&self.model, self.catalog.farms(), self.catalog.selectors());
            let timeouts = timeouts(self.catalog.timeouts);
            self.model = self.model.with_services(said.services, timeouts);
            if said.unsaid.is_empty() {
                let plan = compile::plan(&self.model);
                let mut farms = plan.farms;
                farms.sort_by_key(|farm| farm.service.identity);
                assert_eq!(farms, self.catalog.farms());
            }
            said.unsaid
        }

        /// The configuration as it would be written, without the ports.
        fn written(&self) -> model::Settings {
            let yaml = config::to_yaml(&self.model).unwrap();
            let again = config::parse(&yaml, "written").unwrap_or_else(|p| panic!("{p}\n{yaml}"));
            assert_eq!(again, self.model);
            model::Settings::clone(&again)
        }
    }

    #[test]
    fn what_ipvsadm_makes_is_said_as_a_configuration_and_read_back() {
        let mut director = Director::of("services: []");
        let unsaid = director.after(&[
            "-A -t 198.18.255.1:443 -s wrr -p 600 -M 255.255.255.0",
            "-a -t 198.18.255.1:443 -r 198.18.10.11 -w 65535 -x 100 -y 80",
            "-a -t 198.18.255.1:443 -r 198.18.10.12:8443 -m",
            "-A -t 198.18.255.1:0 -s sh -b sh-port -p",
            "-A -u 198.18.255.1:53 -o",
            "-A -u 198.18.255.1:5060 -p --pe sip -s none",
            "-a -u 198.18.255.1:53 -r 198.18.10.13 -i --tun-type gue --tun-port 6080 --tun-csum",
            "-A -f 10 -p",
            "-a -f 10 -r 198.18.10.11 -w 0",
            "-A -f 10 -6 -s rr",
            "-A -t [2001:db8::80]:80",
            "-a -t [2001:db8::80]:80 -r [2001:db8::11]:80",
            "--set 600 60 30",
        ]);
        assert_eq!(unsaid, [""; 0]);
        let written = director.written();
        let names: Vec<&str> = written.services.iter().map(|one| one.name.as_str()).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(
            sorted,
            [
                "mark/10",
                "mark6/10",
                "tcp/198.18.255.1:0",
                "tcp/198.18.255.1:443",
                "tcp/[2001:db8::80]:80",
                "udp/198.18.255.1:5060",
                "udp/198.18.255.1:53",
            ]
        );
        assert_eq!(written.timeouts, model::Timeouts { tcp_s: 600, tcp_fin_s: 60, udp_s: 30 });
        let web = written.services.iter().find(|one| one.name == "tcp/198.18.255.1:443").unwrap();
        assert_eq!(
            web.persistence,
            Some(model::Persistence {
                timeout_s: 600,
                mask: model::Netmask::Prefix(24),
                engine: None
            })
        );
        assert_eq!((web.real_servers[0].weight, web.real_servers[1].real_port), (65_535, 8443));
        assert!(written.services.iter().any(|one| one.family == Some(model::Family::V6)));
    }

    #[test]
    fn a_netmask_that_is_no_prefix_is_said_as_it_is_and_read_back() {
        let mut director = Director::of("services: []");
        let unsaid = director.after(&[
            "-A -t 198.18.255.1:1 -p -M 255.0.255.0",
            "-A -t 198.18.255.1:2 -p -M 0.0.0.0",
            "-A -t 198.18.255.1:3 -p -M 24",
        ]);
        assert_eq!(unsaid, [""; 0]);
        let masks: Vec<_> =
            director.written().services.iter().map(|one| one.persistence.unwrap().mask).collect();
        let said = ["255.0.255.0", "0.0.0.0", "0.0.0.24"].map(|mask| mask.parse().unwrap());
        assert_eq!(masks, said.map(model::Netmask::Holes));
        director.after(&["-E -t 198.18.255.1:1 -p -M 255.255.0.0"]);
        let again = director.written().services.remove(0);
        assert_eq!(again.persistence.unwrap().mask, model::Netmask::Prefix(16));
    }

    const FARM: &str = "services:\n\
        - name: farm\n\
        \x20 mark: 10\n\
        \x20 selectors:\n\
        \x20 - { vip: 198.18.255.4, protocol: tcp, vip_port: 80 }\n\
        \x20 - { vip: 198.18.255.4, protocol: tcp, vip_port: 8000-8010 }\n\
        \x20 persistence: true\n\
        \x20 on_drain: new_elsewhere\n\
        \x20 real_servers:\n\
        \x20 - { name: one, address: 198.18.10.11, state: drain, mac: \"02:00:00:00:00:11\" }\n\
        \x20 - { name: two, address: 198.18.10.12 }\n";

    #[test]
    fn what_ipvsadm_does_not_know_stays_as_it_is_written() {
        let mut director = Director::of(FARM);
        let before = director.written();
        assert_eq!(director.after(&[]), [""; 0]);
        assert_eq!(director.written(), before, "nothing was done");
        director.after(&[
            "-e -f 10 -r 198.18.10.11 -w 9",
            "-a -f 10 -r 198.18.10.13",
            "-E -f 10 -s rr -p 60",
        ]);
        let farm = director.written().services.remove(0);
        assert_eq!((farm.name.as_str(), farm.on_drain), ("farm", model::OnDrain::NewElsewhere));
        assert_eq!(farm.scheduler, model::Scheduler::Rr);
        assert_eq!(farm.selectors, before.services[0].selectors);
        let [one, two, new] = &farm.real_servers[..] else { panic!("{farm:?}") };
        let old = &before.services[0].real_servers;
        assert_eq!(*one, model::RealServer { weight: 9, ..old[0].clone() });
        assert_eq!(*two, old[1]);
        assert_eq!((new.name.as_deref(), new.weight), (None, 1));
    }

    #[test]
    fn a_server_on_the_directors_own_address_is_the_director_itself() {
        let mut director = Director::of("services: []");
        director.run(&[
            "-A -t 198.18.255.1:80",
            "-a -t 198.18.255.1:80 -r 127.0.0.1 -g",
            "-a -t 198.18.255.1:80 -r 198.18.10.1 -g",
            "-a -t 198.18.255.1:80 -r 198.18.10.11 -g",
        ]);
        let said = services(&director.model, director.catalog.farms(), &[]);
        assert_eq!(said.unsaid, [""; 0]);
        let forwarding = |address: &str| {
            let reals = &said.services[0].real_servers;
            let real = reals.iter().find(|real| real.address.to_string() == address);
            real.unwrap().forwarding
        };
        assert_eq!(forwarding("127.0.0.1"), model::Forwarding::Local);
        assert_eq!(forwarding("198.18.10.1"), model::Forwarding::Local);
        assert_eq!(forwarding("198.18.10.11"), model::Forwarding::Route);
    }

    #[test]
    fn a_mark_that_comes_back_finds_its_selectors() {
        let mut director = Director::of(FARM);
        director.after(&["-C"]);
        assert_eq!(director.written().services, []);
        director.after(&["-A -f 10 -p", "-A -f 11"]);
        let services = director.written().services;
        assert_eq!((services[0].selectors.len(), services[1].selectors.len()), (2, 0));
        assert_eq!(services[0].selectors[1].vip_ports.to_string(), "8000-8010");
    }

    #[test]
    fn what_a_configuration_has_no_words_for_is_told() {
        let mut director = Director::of("services: []");
        let unsaid = director.after(&[
            "-A -t 198.18.255.1:1 -p --pe sip",
            "-A -t 198.18.255.1:2 -s rr -b flag-1",
            "-A -t 198.18.255.1:3",
            "-a -t 198.18.255.1:3 -r 198.18.10.11 -w 65536",
            "-A -t 198.18.255.1:4 -p",
        ]);
        assert_eq!(unsaid.len(), 3, "{unsaid:?}");
        for (said, port) in unsaid.iter().zip(1..) {
            assert!(said.starts_with(&format!("service tcp/198.18.255.1:{port}: ")), "{said}");
        }
    }
}
