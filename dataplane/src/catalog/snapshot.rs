//! A catalog as a snapshot: what cores are handed.

use std::sync::Arc;

use super::Catalog;
use crate::classify::{Classifier, Hit, Rank, Rule};
use crate::forward::Forwarding;
use crate::ids::{Generation, PortIndex, ServiceId};
use crate::route::{Exit, Exits, Route, Routes};
use crate::snapshot::{HostAddress, Hosts, Identity, Masqueraded, Numbers, PortFacts, Snapshot};
use crate::wire::{Addr, Family, Protocol};

const TRANSPORTS: [Protocol; 3] = [Protocol::Tcp, Protocol::Udp, Protocol::Sctp];
const FTP_DATA_PORT: u16 = 20;

impl Catalog {
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
            served: [Family::V4, Family::V6].map(|family| self.serves(family)),
        })
    }

    fn serves(&self, family: Family) -> bool {
        self.services.iter().flatten().any(|entry| entry.spec.identity.family() == family)
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
                    let scope = self.scope(entry.spec.identity);
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
            let hit = self.entry(&identity).map(|(service, _)| {
                let scope = self.scope(identity);
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
        let scope = self.scope(Identity::Address { protocol, vip, vip_port });
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
        if vip_port == Identity::FTP_PORT && protocol == Protocol::Tcp {
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
