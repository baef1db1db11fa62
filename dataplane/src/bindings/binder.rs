//! New clients of one service, bound one after the other: what is the same for all of them is
//! looked up once.

use super::client::service_of;
use super::count::check_thresholds;
use super::{Bindings, pool};
use crate::counters::CoreCounters;
use crate::load::LoadShelf;
use crate::sched::{Picker, Pool};
use crate::shared::Shared;
use crate::snapshot::{Real, Service, Snapshot};
use crate::table::{ClientBurst, ClientScope, ServiceReal, SoleClients};
use crate::tick::Tick;
use crate::wire::Packet;

/// Binds new clients of one service. While there is one, nothing else may change a load.
pub(crate) struct Binder<'a> {
    shared: &'a Shared,
    core: usize,
    snapshot: &'a Snapshot,
    service: &'a Service,
    scope: ClientScope,
    pool: Pool<'a>,
    picker: Picker<'a>,
    /// The table, if nobody else writes there.
    sole: Option<SoleClients<'a>>,
    loads: LoadShelf<'a>,
    counters: Option<&'a CoreCounters>,
    age: u8,
}

impl Bindings {
    /// What binds the clients that are kept under this scope; `None` where each of them is to be
    /// bound by [`Self::bind`].
    pub(crate) fn binder<'a>(
        &'a mut self,
        scope: ClientScope,
        snapshot: &'a Snapshot,
        now: Tick,
    ) -> Option<Binder<'a>> {
        let service = snapshot.service(service_of(scope))?;
        // Pins may lead to a real server that takes no new clients, and of very many real servers
        // some have no number. Where everybody is masqueraded, some sources are refused.
        let numbers = snapshot.client_reals.places(service.id)?;
        let has_numbers = numbers.len() <= usize::from(ServiceReal::MAX);
        if !service.pins.is_empty() || !has_numbers || snapshot.masqueraded.everybody {
            return None;
        }
        let age = self.client_age();
        let Self { shared, schedulers, core, .. } = self;
        let (shared, core) = (&**shared, *core);
        let pool = pool(shared, core, service, snapshot, now);
        Some(Binder {
            shared,
            core,
            snapshot,
            service,
            scope,
            picker: schedulers.picker(service, &pool),
            pool,
            sole: shared.clients.sole(),
            loads: shared.loads.core(core)?.shelf()?,
            counters: shared.counters.get(core).map(|padded| &**padded),
            age,
        })
    }
}

impl Binder<'_> {
    /// The number of the real server of the client at a place of a burst that was looked up and
    /// not found, after binding it if it is bound nowhere; its packet is not counted yet. `None`,
    /// and nothing is done, where [`Bindings::bind`] is to be asked, or another binder. `read`
    /// reads the packet, which is no reset.
    #[inline(always)]
    pub(crate) fn bind(
        &mut self,
        clients: &ClientBurst,
        at: usize,
        read: impl FnOnce() -> Option<Packet>,
    ) -> Option<u16> {
        if clients.scope_at(at)? != self.scope {
            return None;
        }
        let Self { shared, snapshot, service, pool, picker, sole, age, .. } = self;
        let mut picked = None;
        let pick = || {
            let (place, real) = match picker {
                Picker::Race(race) => race.as_ref()?.winner()?,
                Picker::Any(schedulers) => (0, schedulers.pick_unread(service, pool, read)?),
            };
            let real = snapshot.real(real)?;
            picked = Some((place, real));
            ServiceReal::new(real.number)
        };
        let bound = match sole {
            Some(sole) => sole.bind_at(clients, at, *age, pick)?,
            None => shared.clients.bind_at(clients, at, *age, pick)?,
        };
        if let Some((place, real)) = picked
            && bound.by_this_call
        {
            self.count(place, real);
        }
        Some(bound.real.number())
    }

    /// Counts a new client of a real server, which was picked at a place of its list.
    #[inline(always)]
    fn count(&mut self, place: usize, real: &Real) {
        if let Some(counters) = self.counters {
            counters.scheduled.add(1);
        }
        let Some(load) = self.loads.of(real.id) else { return };
        let (shared, core) = (self.shared, self.core);
        match &mut self.picker {
            Picker::Race(Some(race)) => {
                let counts = load.client();
                // Whoever was picked is not overloaded, and without a threshold does not become
                // so.
                let is_overloaded = real.upper_threshold != 0 && {
                    check_thresholds(shared, core, real, true);
                    shared.loads.is_overloaded(real.id)
                };
                race.follow(place, counts, is_overloaded);
            }
            Picker::Race(None) | Picker::Any(_) => {
                load.connection();
                shared.loads.bind(core, real.id, 1);
                check_thresholds(shared, core, real, true);
            }
        }
    }
}
