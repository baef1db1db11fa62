//! The services as they were added, edited and removed: where snapshots come from.
//!
//! The catalog keeps what a snapshot alone cannot know. The order in which real servers
//! came (the newest stands at the head of the list). The ids, which stay with the thing
//! that they name: a real server that is removed and put back has its old id, finds its
//! counters as they are, and its connections go on. And how often a list or a scheduler
//! changed, so that the cores' cursors can follow.
//!
//! Owned by control; the packet path never sees it.

mod apply;
mod build;
mod reals;
mod refused;
mod snapshot;
pub mod spec;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

pub use apply::Changes;
pub use refused::Refused;
use spec::{RealSpec, Selector, ServiceSpec, Site};

use crate::compat::Compat;
use crate::conn::Timeouts;
use crate::fragments::FragmentLimits;
use crate::ids::{Generation, RealId, ScopeId, ServiceId};
use crate::pins::Pin;
use crate::sched::{State, rr, wrr};
use crate::shared::Shared;
use crate::snapshot::{Identity, Member, Real, Service};
use crate::wire::Addr;

struct ServiceEntry {
    spec: ServiceSpec,
    /// Head of the list first.
    members: Vec<Member>,
    scheduler_epoch: u64,
    list_epoch: u64,
    rr_removals: rr::Removals,
    wrr_history: wrr::History,
    /// For all cores together, where they share it.
    common: Arc<Mutex<State>>,
    timeout_index: u8,
    built: Arc<Service>,
}

struct RealEntry {
    real: Real,
    spec: RealSpec,
    incarnation: u32,
    /// When it was removed; its id may be given out again once every core is past this.
    removed_in: Option<Generation>,
    built: Arc<Real>,
}

/// The services, their real servers and their ids.
pub struct Catalog {
    shared: Arc<Shared>,
    generation: Generation,
    epoch: u64,
    services: Vec<Option<ServiceEntry>>,
    service_ids: HashMap<Identity, ServiceId>,
    /// By service: which real server has which number in the client table. Kept when the
    /// service is removed, as the table's entries are.
    numbers: Vec<Vec<Option<RealId>>>,
    reals: Vec<Option<RealEntry>>,
    real_ids: HashMap<(ServiceId, Addr, u16), RealId>,
    free_reals: Vec<RealId>,
    /// By [`Identity::scope`].
    scopes: HashMap<Identity, ScopeId>,
    template_timeouts_s: Vec<u32>,
    selectors: Vec<Selector>,
    /// Kept when the service is removed, as selectors are.
    pins: HashMap<Identity, Vec<Pin>>,
    site: Site,
    /// Connection timeouts.
    pub timeouts: Timeouts,
    /// How fragments are treated.
    pub fragments: FragmentLimits,
    /// Switches for what is of no service.
    pub compat: Compat,
    /// The first port that is not privileged (`ip_unprivileged_port_start`).
    pub first_unprivileged_port: u16,
    /// Whether the director is a router as a Linux host is: packets of no service go on by the
    /// routing table (`ip_forward`), and IPv4 packets from its own addresses are refused
    /// (`accept_local` 0). Otherwise only masqueraded real servers' packets go on, and replies
    /// of direct routing may pass.
    pub routes_all: bool,
}

impl Catalog {
    /// A catalog without services.
    pub fn new(shared: Arc<Shared>, site: Site) -> Self {
        Self {
            shared,
            generation: Generation(0),
            epoch: 0,
            services: Vec::new(),
            service_ids: HashMap::new(),
            numbers: Vec::new(),
            // Id 0 is never given out.
            reals: vec![None],
            real_ids: HashMap::new(),
            free_reals: Vec::new(),
            scopes: HashMap::new(),
            template_timeouts_s: Vec::new(),
            selectors: Vec::new(),
            pins: HashMap::new(),
            site,
            timeouts: Timeouts::default(),
            fragments: FragmentLimits::default(),
            compat: Compat::default(),
            first_unprivileged_port: 1024,
            routes_all: false,
        }
    }

    /// The generation of the newest snapshot.
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// Goes on counting behind this generation, that of an earlier run.
    pub fn resume(&mut self, newest: Generation) {
        self.generation = self.generation.max(newest);
    }

    /// The specification of a service.
    pub fn service(&self, identity: &Identity) -> Option<&ServiceSpec> {
        self.entry(identity).map(|(_, entry)| &entry.spec)
    }

    /// All services with their real servers in the order of addition.
    pub fn farms(&self) -> Vec<spec::Farm> {
        let mut farms: Vec<_> = self
            .services
            .iter()
            .flatten()
            .map(|entry| spec::Farm {
                service: entry.spec.clone(),
                reals: entry.members.iter().rev().filter_map(|m| self.spec_of(m.real)).collect(),
            })
            .collect();
        farms.sort_by_key(|farm| farm.service.identity);
        farms
    }

    /// A real server of a service, as it was specified.
    pub fn real(&self, identity: &Identity, address: Addr, port: u16) -> Option<RealSpec> {
        let (_, id) = self.find_real(identity, address, port).ok()?;
        self.spec_of(id)
    }

    fn spec_of(&self, real: RealId) -> Option<RealSpec> {
        self.reals.get(real.0 as usize)?.as_ref().map(|entry| entry.spec)
    }

    fn entry(&self, identity: &Identity) -> Option<(ServiceId, &ServiceEntry)> {
        let id = *self.service_ids.get(identity)?;
        Some((id, self.services.get(id.0 as usize)?.as_ref()?))
    }

    fn entry_mut(
        &mut self,
        identity: &Identity,
    ) -> Result<(ServiceId, &mut ServiceEntry), Refused> {
        let id = *self.service_ids.get(identity).ok_or(Refused::NoSuchService)?;
        let entry = self.services.get_mut(id.0 as usize).and_then(Option::as_mut);
        Ok((id, entry.ok_or(Refused::NoSuchService)?))
    }

    fn next_epoch(&mut self) -> u64 {
        self.epoch += 1;
        self.epoch
    }

    /// Adds a service without real servers.
    pub fn add_service(&mut self, spec: ServiceSpec) -> Result<ServiceId, Refused> {
        if self.entry(&spec.identity).is_some() {
            return Err(Refused::ServiceExists);
        }
        let id = *self.service_ids.entry(spec.identity).or_insert_with(|| {
            self.services.push(None);
            // Numbers 0 and 1 are nobody's: the table has no 0, and 1 is a client's of nobody.
            self.numbers.push(vec![None, None]);
            ServiceId(self.services.len() as u32 - 1)
        });
        self.intern_scope(spec.identity)?;
        let epoch = self.next_epoch();
        let timeout_index = self.timeout_index(&spec);
        let mut entry = ServiceEntry {
            built: Arc::new(build::empty_service(id, &spec)),
            spec,
            members: Vec::new(),
            scheduler_epoch: epoch,
            list_epoch: epoch,
            rr_removals: rr::Removals::default(),
            wrr_history: wrr::History::default(),
            common: Arc::default(),
            timeout_index,
        };
        let pins = self.pins.get(&entry.spec.identity).map_or(&[][..], Vec::as_slice);
        entry.rebuild(id, &self.reals, pins);
        if let Some(place) = self.services.get_mut(id.0 as usize) {
            *place = Some(entry);
        }
        Ok(id)
    }

    /// Replaces everything of a service but its real servers and its identity. The
    /// scheduler's state survives unless the scheduler is another one.
    pub fn edit_service(&mut self, spec: ServiceSpec) -> Result<(), Refused> {
        let epoch = self.next_epoch();
        let timeout_index = self.timeout_index(&spec);
        let (id, entry) = self.entry_mut(&spec.identity)?;
        if entry.spec.scheduler != spec.scheduler {
            entry.scheduler_epoch = epoch;
            entry.wrr_history = wrr::History::default();
        }
        entry.timeout_index = timeout_index;
        entry.spec = spec;
        self.rebuild(id, false);
        Ok(())
    }

    /// Removes a service. Its connections and templates stay until they expire.
    pub fn delete_service(&mut self, identity: &Identity) -> Result<(), Refused> {
        let (id, entry) = self.entry_mut(identity)?;
        let members: Vec<RealId> = entry.members.iter().map(|member| member.real).collect();
        for real in members {
            self.retire(real);
        }
        if let Some(place) = self.services.get_mut(id.0 as usize) {
            *place = None;
        }
        Ok(())
    }

    /// Removes all services.
    pub fn flush(&mut self) {
        let all: Vec<Identity> =
            self.services.iter().flatten().map(|entry| entry.spec.identity).collect();
        for identity in all {
            let _ = self.delete_service(&identity);
        }
    }

    /// Replaces all selectors.
    pub fn set_selectors(&mut self, selectors: Vec<Selector>) {
        self.selectors = selectors;
    }

    /// The selectors.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// Replaces the pins of all services: those that are not named have none.
    pub fn set_pins(&mut self, pins: HashMap<Identity, Vec<Pin>>) {
        let old = std::mem::replace(&mut self.pins, pins);
        let named = old.keys().chain(self.pins.keys()).copied().collect::<HashSet<_>>();
        for identity in named {
            if old.get(&identity) != self.pins.get(&identity)
                && let Some((id, _)) = self.entry(&identity)
            {
                self.rebuild(id, false);
            }
        }
    }

    /// Replaces ports, addresses and routes; the next hops of all real servers follow.
    pub fn set_site(&mut self, site: Site) {
        if self.site == site {
            return;
        }
        self.site = site;
        let specs: Vec<_> = self
            .reals
            .iter()
            .flatten()
            .map(|entry| (entry.real.id, entry.real.service, entry.spec, entry.real.last_weight))
            .collect();
        for (id, service, spec, last_weight) in specs {
            let made = self.make_real(id, service, &spec, last_weight);
            if let Some(Some(entry)) = self.reals.get_mut(id.0 as usize) {
                let Real { available, flushed, .. } = entry.real;
                entry.real = Real { available, flushed, ..made };
                entry.built = Arc::new(entry.real.clone());
            }
        }
    }
}
