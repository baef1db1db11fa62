//! What the specifications of services and real servers become.

use std::sync::Arc;

use super::spec::{RealSpec, ServiceSpec};
use super::{Catalog, RealEntry, Refused, ServiceEntry};
use crate::ids::{RealId, ScopeId, ServiceId};
use crate::pins::{Pin, Pins};
use crate::route::Routes;
use crate::sched::{Listed, State, Tables, rr, wrr};
use crate::snapshot::{Identity, NextHop, Real, RealState, Service, SharedRoute};
use crate::wire::Addr;

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

    /// Gives a service's scope its id.
    pub(super) fn intern_scope(&mut self, identity: Identity) -> Result<(), Refused> {
        let (scope, next) = (identity.scope(), self.scopes.len() as u32);
        if next >= ScopeId::LIMIT - 1 && !self.scopes.contains_key(&scope) {
            return Err(Refused::TooMany);
        }
        // From 1 on, so that 0 can mean "none" in tables.
        self.scopes.entry(scope).or_insert(ScopeId(next + 1));
        Ok(())
    }

    pub(super) fn scope(&self, identity: Identity) -> ScopeId {
        self.scopes.get(&identity.scope()).copied().unwrap_or(ScopeId(0))
    }

    /// What a scope id stands for, for listings: see [`Identity::scope`].
    pub fn scopes(&self) -> impl Iterator<Item = (ScopeId, Identity)> + '_ {
        self.scopes.iter().map(|(scope, id)| (*id, *scope))
    }
}
