//! From the catalog to a snapshot.

use std::sync::Arc;

use super::spec::{RealSpec, ServiceSpec};
use super::{Catalog, RealEntry, Refused, ServiceEntry};
use crate::classify::{Classifier, Hit, Rank, Rule};
use crate::forward::Forwarding;
use crate::ids::{Generation, PortIndex, RealId, ScopeId, ServiceId};
use crate::pins::{Pin, Pins};
use crate::route::{Exit, Exits, Route, Routes};
use crate::sched::{Listed, State, Tables, rr, wrr};
use crate::snapshot::{
    HostAddress, Hosts, Identity, Masqueraded, NextHop, Numbers, PortFacts, Real, RealState, Scope,
    Service, SharedRoute, Snapshot,
};
use crate::wire::{Addr, Protocol};

const TRANSPORTS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
const FTP_PORT: u16 = 21;
const FTP_DATA_PORT: u16 = 20;
/// Distinct persistence timeouts that can be told apart at a time.
const TIMEOUTS: usize = 256;

pub(super) fn empty_service(id: ServiceId, spec: &ServiceSpec) -> Service {
    Service {
        id,
        name: Arc::clone(&spec.name),
        identity: spec.identity,
        scheduler: spec.scheduler,
        flags: spec.flags,
        seed: spec.seed,
        persistence: spec.persistence,
        engine: spec.engine,
        timeout_index: 0,
        tracking: spec.tracking,
        one_packet: spec.one_packet,
        members: Arc::default(),
        scheduler_epoch: 0,
        list_epoch: 0,
        common: None,
        tables: Tables::None,
        rr_removals: rr::Removals::default(),
        wrr_history: wrr::History::default(),
        compat: spec.compat,
        policy: spec.policy,
        pins: Pins::default(),
    }
}

impl ServiceEntry {
    /// Makes the service anew from its parts.
    pub(super) fn rebuild(&mut self, id: ServiceId, reals: &[Option<RealEntry>], pins: &[Pin]) {
        let listed: Vec<Listed> = self
            .members
            .iter()
            .filter_map(|member| reals.get(member.real.0 as usize)?.as_ref())
            .map(|entry| Listed {
                real: entry.real.id,
                weight: entry.real.effective_weight(),
                last_weight: entry.real.last_weight,
                address: entry.real.address,
                port: entry.real.port,
            })
            .collect();
        let levels = wrr::Levels::of(listed.iter().map(|member| u64::from(member.weight)));
        self.wrr_history.record(self.list_epoch, levels);
        // A server that is down is left out, as a health checker would remove it: clients
        // that hash to it go elsewhere instead of being refused.
        let is_up = |member: &&Listed| {
            let entry = reals.get(member.real.0 as usize).and_then(Option::as_ref);
            entry.is_some_and(|entry| entry.real.state != RealState::Down)
        };
        let hashed: Vec<Listed> = listed.iter().filter(is_up).copied().collect();
        self.built = Arc::new(Service {
            timeout_index: self.timeout_index,
            members: self.members.clone().into(),
            scheduler_epoch: self.scheduler_epoch,
            list_epoch: self.list_epoch,
            common: (self.spec.compat.as_kernel && self.spec.scheduler.is_some_and(State::is_of))
                .then(|| Arc::clone(&self.common)),
            tables: Tables::build(self.spec.scheduler, self.spec.seed, &hashed),
            rr_removals: self.rr_removals.clone(),
            wrr_history: self.wrr_history.clone(),
            pins: Pins::new(pins, |address| {
                listed.iter().find(|one| one.address == address).map(|one| one.real)
            }),
            ..empty_service(id, &self.spec)
        });
    }
}

impl Catalog {
    pub(super) fn rebuild(&mut self, id: ServiceId, list_changed: bool) {
        let epoch = self.next_epoch();
        if let Some(Some(entry)) = self.services.get_mut(id.0 as usize) {
            if list_changed {
                entry.list_epoch = epoch;
            }
            let pins = self.pins.get(&entry.spec.identity).map_or(&[][..], Vec::as_slice);
            entry.rebuild(id, &self.reals, pins);
        }
    }

    pub(super) fn make_real(
        &self,
        id: RealId,
        service: ServiceId,
        spec: &RealSpec,
        last_weight: u32,
    ) -> Real {
        Real {
            id,
            service,
            address: spec.address,
            port: spec.port,
            weight: spec.weight,
            last_weight: if spec.weight > 0 { spec.weight } else { last_weight },
            state: spec.state,
            drain_until: spec.drain_until,
            forwarding: spec.forwarding,
            tunnel: spec.tunnel,
            tunnel_source: self.own_towards(spec.address),
            upper_threshold: spec.upper_threshold,
            lower_threshold: spec.lower_threshold,
            next_hop: if self.is_own(spec.address) { None } else { self.next_hop(spec) },
            local: self.is_own(spec.address),
            mac: spec.mac,
            number: self.number_of(service, id),
            kernel: self.compat.kernel,
            shared_route: self.shared_route(id, service, spec),
            available: true,
            flushed: false,
        }
    }

    /// What connections of several methods share, if the real server has had another one.
    fn shared_route(
        &self,
        id: RealId,
        service: ServiceId,
        spec: &RealSpec,
    ) -> Option<Arc<SharedRoute>> {
        let entry = self.services.get(service.0 as usize)?.as_ref()?;
        let old = &self.reals.get(id.0 as usize)?.as_ref()?.real;
        let mixed = old.shared_route.is_some() || old.forwarding != spec.forwarding;
        (mixed && entry.spec.compat.as_kernel).then(Arc::default)
    }

    /// Whether packets for this address stay here, whatever the forwarding method.
    fn is_own(&self, address: Addr) -> bool {
        address.is_loopback()
            || self.site.ports.iter().any(|port| port.addresses.contains(&address))
    }

    fn number_of(&self, service: ServiceId, id: RealId) -> u16 {
        let numbers = self.numbers.get(service.0 as usize);
        let number = numbers.and_then(|n| n.iter().position(|entry| *entry == Some(id)));
        number.and_then(|number| u16::try_from(number).ok()).unwrap_or(0)
    }

    /// The director's own address of this one's family on the port that leads there; one
    /// in the next hop's network if there are several.
    fn own_towards(&self, address: Addr) -> Option<Addr> {
        let routes = Routes::new(self.site.routes.clone());
        let hop = routes.lookup(address)?;
        let port = self.site.ports.get(usize::from(hop.port.0))?;
        let own = || port.addresses.iter().copied().filter(|a| a.family() == address.family());
        let connected = routes.iter().find(|route| {
            route.via.is_none()
                && route.port == hop.port
                && hop.neighbour.family() == route.network.family()
                && hop.neighbour.masked(route.length) == route.network
        });
        let near = connected.and_then(|r| own().find(|a| a.masked(r.length) == r.network));
        near.or_else(|| own().next())
    }

    fn next_hop(&self, spec: &RealSpec) -> Option<NextHop> {
        let hop = Routes::new(self.site.routes.clone()).lookup(spec.address)?;
        let port = self.site.ports.get(usize::from(hop.port.0))?;
        let neighbour = self.shared.neighbours.intern(hop.port, hop.neighbour)?;
        if spec.mac.is_some() {
            self.shared.neighbours.set(neighbour, spec.mac);
        }
        Some(NextHop { port: hop.port, neighbour, vlan: port.vlan, mtu: port.mtu })
    }

    /// The place of a service's persistence timeout among all timeouts.
    pub(super) fn timeout_index(&mut self, spec: &ServiceSpec) -> u8 {
        let Some(persistence) = spec.persistence else { return 0 };
        let seconds = persistence.timeout_s;
        let known = self.template_timeouts_s.iter().position(|known| *known == seconds);
        let index = known.unwrap_or_else(|| {
            if self.template_timeouts_s.len() < TIMEOUTS {
                self.template_timeouts_s.push(seconds);
                let index = self.template_timeouts_s.len() - 1;
                self.shared.templates.set_timeout(index as u8, seconds);
                return self.template_timeouts_s.len() - 1;
            }
            // All places taken by earlier edits: reuse one that no service has now.
            let used: Vec<u8> =
                self.services.iter().flatten().map(|entry| entry.timeout_index).collect();
            let free = (0..=u8::MAX).find(|index| !used.contains(index)).unwrap_or(u8::MAX);
            if let Some(place) = self.template_timeouts_s.get_mut(usize::from(free)) {
                *place = seconds;
            }
            self.shared.templates.set_timeout(free, seconds);
            usize::from(free)
        });
        index as u8
    }

    /// Gives the scopes that a service can have their ids.
    pub(super) fn intern_scopes(&mut self, identity: &Identity) -> Result<(), Refused> {
        for scope in scopes_of(identity) {
            let next = self.scopes.len() as u32;
            if next >= ScopeId::LIMIT - 1 && !self.scopes.contains_key(&scope) {
                return Err(Refused::TooMany);
            }
            // From 1 on, so that 0 can mean "none" in tables.
            self.scopes.entry(scope).or_insert(ScopeId(next + 1));
        }
        Ok(())
    }

    fn scope(&self, scope: Scope) -> ScopeId {
        self.scopes.get(&scope).copied().unwrap_or(ScopeId(0))
    }

    /// What a scope id stands for, for listings.
    pub fn scopes(&self) -> impl Iterator<Item = (ScopeId, Scope)> + '_ {
        self.scopes.iter().map(|(scope, id)| (*id, *scope))
    }

    /// A new generation of the configuration.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        self.generation = Generation(self.generation.0 + 1);
        Arc::new(Snapshot {
            generation: self.generation,
            services: self
                .services
                .iter()
                .map(|entry| entry.as_ref().map(|entry| Arc::clone(&entry.built)))
                .collect(),
            reals: self
                .reals
                .iter()
                .map(|entry| entry.as_ref().map(|entry| Arc::clone(&entry.built)))
                .collect(),
            classifier: Classifier::build(self.rules()),
            hosts: self.hosts(),
            ports: self
                .site
                .ports
                .iter()
                .map(|port| PortFacts {
                    name: Arc::clone(&port.name),
                    vlan: port.vlan,
                    peer: port.peer,
                    kernel_facing: port.kernel_facing,
                    mtu: port.mtu,
                    own_v4: port.addresses.iter().copied().find(|address| address.is_v4()),
                    own_v6: port.addresses.iter().copied().find(|address| !address.is_v4()),
                })
                .collect(),
            routes: Routes::new(self.site.routes.clone()),
            exits: self.exits(),
            masqueraded: self.masqueraded(),
            timeouts: self.timeouts,
            fragments: self.fragments,
            client_reals: Numbers::new(self.numbers.iter().map(|list| list.clone().into())),
            template_timeouts_s: self.template_timeouts_s.clone(),
            compat: self.compat,
            flushes_removed: self.flushes_removed(),
        })
    }

    fn exits(&self) -> Exits {
        let exit = |route: &Route| {
            let port = self.site.ports.get(usize::from(route.port.0))?;
            let gateway = match route.via {
                Some(via) => Some(self.shared.neighbours.intern(route.port, via)?),
                None => None,
            };
            Some(Exit {
                network: route.network,
                length: route.length,
                port: route.port,
                vlan: port.vlan,
                mtu: port.mtu,
                gateway,
            })
        };
        Exits(Routes::new(self.site.routes.clone()).iter().filter_map(exit).collect())
    }

    /// Also opens the reply table, as soon as there is anybody to be found in it.
    fn masqueraded(&self) -> Masqueraded {
        let mut masqueraded = Masqueraded::default();
        masqueraded.everybody = self.routes_all;
        for entry in self.services.iter().flatten() {
            let protocol = match entry.spec.identity {
                Identity::Address { protocol, .. } => Some(protocol),
                Identity::Ports { protocol, .. } => protocol,
                Identity::Mark { .. } => None,
            };
            // What has an engine may begin calls, from the port that the service knows it by.
            let calls = entry.spec.engine.is_some()
                && matches!(
                    entry.spec.identity,
                    Identity::Address { protocol: Protocol::Udp, vip_port: 1.., .. }
                );
            for member in entry.members.iter() {
                let spec = self.spec_of(member.real);
                let Some(spec) = spec.filter(|spec| spec.forwarding == Forwarding::Masq) else {
                    continue;
                };
                self.shared.replies.open();
                masqueraded.add(protocol, spec.address, spec.port);
                if calls && spec.port != 0 {
                    masqueraded.add_caller(spec.address, spec.port, member.real);
                }
            }
        }
        masqueraded
    }

    fn flushes_removed(&self) -> bool {
        self.reals.iter().flatten().any(|entry| entry.real.flushed)
    }

    fn rules(&self) -> Vec<Rule> {
        let mut rules = Vec::new();
        for entry in self.services.iter().flatten() {
            let service = entry.built.id;
            match entry.spec.identity {
                Identity::Address { protocol, vip, vip_port } => {
                    self.address_rules(service, protocol, vip, vip_port, &mut rules);
                }
                Identity::Ports { protocol, vip, first, last } => {
                    let scope = self.scope(Scope::Ports { protocol, vip, first, last });
                    let hit = Hit { service, scope, own_port: false, ftp_data: false };
                    let all = first == 0 && last == u16::MAX;
                    rules.extend(transports(protocol).map(|protocol| Rule {
                        vip,
                        length: vip.family().bits(),
                        source: None,
                        protocol,
                        ports: first..=last,
                        hit: Some(hit),
                        rank: if all { Rank::ALL_PORTS } else { Rank::RANGE },
                    }));
                }
                Identity::Mark { .. } => {}
            }
        }
        for selector in &self.selectors {
            let identity = Identity::Mark { family: selector.vip.family(), mark: selector.mark };
            let family = selector.vip.family();
            let hit = self.entry(&identity).map(|(service, _)| {
                let scope = self.scope(Scope::Mark { family, mark: selector.mark });
                Hit { service, scope, own_port: false, ftp_data: false }
            });
            for protocol in transports(selector.protocol) {
                rules.push(Rule {
                    vip: selector.vip,
                    length: selector.length,
                    source: selector.source,
                    protocol,
                    ports: selector.ports.clone(),
                    hit,
                    rank: selector.rank,
                });
            }
        }
        rules
    }

    fn address_rules(
        &self,
        service: ServiceId,
        protocol: Protocol,
        vip: Addr,
        vip_port: u16,
        rules: &mut Vec<Rule>,
    ) {
        // FTP's templates cover all ports of the VIP, so that data connections find them.
        let template_port = if vip_port == FTP_PORT { 0 } else { vip_port };
        let scope = self.scope(Scope::Port { protocol, vip, vip_port: template_port });
        let hit = Hit { service, scope, own_port: vip_port != 0, ftp_data: false };
        let rule = |ports, hit, rank| Rule {
            vip,
            length: vip.family().bits(),
            source: None,
            protocol,
            ports,
            hit: Some(hit),
            rank,
        };
        if vip_port == 0 {
            rules.push(rule(0..=u16::MAX, hit, Rank::ALL_PORTS));
            return;
        }
        rules.push(rule(vip_port..=vip_port, hit, Rank::PORT));
        if vip_port == FTP_PORT && protocol == Protocol::Tcp {
            let data = Hit { own_port: false, ftp_data: true, ..hit };
            rules.push(rule(FTP_DATA_PORT..=FTP_DATA_PORT, data, Rank::FTP));
            rules.push(rule(self.first_unprivileged_port..=u16::MAX, data, Rank::FTP));
        }
    }

    fn hosts(&self) -> Hosts {
        let mut hosts = Hosts::default();
        for entry in self.services.iter().flatten() {
            match entry.spec.identity {
                Identity::Address { vip, .. } | Identity::Ports { vip, .. } => {
                    hosts.add(vip, HostAddress::Vip);
                }
                Identity::Mark { .. } => {}
            }
        }
        for selector in &self.selectors {
            if selector.length == selector.vip.family().bits() {
                hosts.add(selector.vip, HostAddress::Vip);
            } else if selector.length > 0 {
                // A mark for every destination makes none of them ours.
                hosts.add_prefix(selector.vip, selector.length);
            }
        }
        for (index, port) in self.site.ports.iter().enumerate() {
            for address in &port.addresses {
                hosts.add(*address, HostAddress::Own(PortIndex(index as u8)));
            }
        }
        hosts
    }
}

fn transports(only: Option<Protocol>) -> impl Iterator<Item = Protocol> {
    TRANSPORTS.into_iter().filter(move |protocol| only.is_none_or(|only| only == *protocol))
}

pub(super) fn scopes_of(identity: &Identity) -> Vec<Scope> {
    match *identity {
        Identity::Address { protocol, vip, vip_port } => {
            let port = if vip_port == FTP_PORT { 0 } else { vip_port };
            vec![Scope::Port { protocol, vip, vip_port: port }]
        }
        Identity::Ports { protocol, vip, first, last } => {
            vec![Scope::Ports { protocol, vip, first, last }]
        }
        Identity::Mark { family, mark } => vec![Scope::Mark { family, mark }],
    }
}
