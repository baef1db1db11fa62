//! Bindings of clients, a page at a time: listed, ended, moved. The tables are read where they
//! stand, by the control thread; what changes is done by a core, a few between two bursts.

use std::collections::{HashMap, HashSet};

use dataplane::bindings::{BoundKey, service_of};
use dataplane::conn::Conn;
use dataplane::conn::table::Flow;
use dataplane::ids::{RealId, ServiceId};
use dataplane::mailbox::{Answer, Query};
use dataplane::snapshot::{Identity, Real, Service};
use dataplane::table::{ClientKey, ClientScope, Cursor, ServiceReal, TemplateKey, View};
use dataplane::tick::{TICKS_PER_SECOND, Tick};
use dataplane::wire::Addr;
use serde_json::{Value, json};

use super::ControlThread;
use super::drain::{Names, state_word};
use crate::api::Reply;
use crate::compile;
use crate::listing::endpoint_text;
use crate::page::{Filter, Page, Part, Place};
use crate::service_name;

/// Buckets that are looked at for one page: a few milliseconds of the control thread's time.
pub(super) const BUCKETS: usize = 1 << 16;
/// Buckets between two looks whether the page is full.
pub(super) const STEP: usize = 256;
/// Bindings on a page; a little more, as a step is not broken off.
pub(super) const ROWS: usize = 2_048;
/// Connections that a core looks at between two bursts: some microseconds of its time.
const CONNS: usize = 256;
/// Seconds that a template lives on while it has connections, as in IPVS.
const EXTENSION_S: u32 = 60;

/// Which bindings are meant.
pub(super) struct Wanted {
    client: Option<(Addr, u8)>,
    service: Option<ServiceId>,
    /// Those that go by the name that is wanted.
    reals: Option<HashSet<RealId>>,
}

/// Connections of one core.
pub(super) struct ConnsPage {
    pub(super) conns: Vec<(Flow, Conn)>,
    /// Where to go on.
    pub(super) next: Option<Place>,
    /// When the core looked.
    pub(super) now: Tick,
}

/// A binding that was found.
pub(super) struct Found<'a> {
    pub(super) key: BoundKey,
    pub(super) client: ClientKey,
    pub(super) service: &'a Service,
    pub(super) real: &'a Real,
    core: u32,
    age_s: u32,
    expires_s: u32,
    /// `None` where connections are not kept.
    connections: Option<u32>,
    state: &'static str,
}

impl ControlThread {
    /// The ids behind the names of a filter.
    pub(super) fn wanted(&self, filter: &Filter) -> Result<Wanted, String> {
        let service = match &filter.service {
            None => None,
            Some(name) => Some(self.service_named(name)?.id),
        };
        let client = filter.client.map(|client| (Addr::from(client.address), client.length));
        let Some(server) = &filter.real_server else {
            return Ok(Wanted { client, service, reals: None });
        };
        let mut names = HashMap::new();
        let mut is_meant = |real: &Real| {
            let names = names.entry(real.service).or_insert_with(|| self.names_in(real.service));
            names.mean(server, real.address, real.port)
        };
        // Removed ones may still have clients.
        let all = self.snapshot.reals.iter().flatten();
        let reals: HashSet<_> = all.filter(|one| is_meant(one)).map(|one| one.id).collect();
        match reals.is_empty() {
            true => Err(format!(
                "there is no real server '{server}'; 'director get reals' lists them\n"
            )),
            false => Ok(Wanted { client, service, reals: Some(reals) }),
        }
    }

    /// The names of the real servers of a service that may have been removed.
    fn names_in(&self, service: ServiceId) -> Names<'_> {
        match self.snapshot.service(service) {
            Some(service) => self.names_of(&service.identity),
            None => Names::default(),
        }
    }

    /// The names of all real servers that have one, by service, address and port.
    fn all_names(&self) -> HashMap<(Identity, Addr, u16), &str> {
        let each = self.model.services.iter().flat_map(|service| {
            let named = service.real_servers.iter().filter(|real| real.name.is_some());
            named.map(move |real| (service, real))
        });
        each.filter_map(|(service, real)| {
            let key = (compile::identity(service), real.address.into(), real.real_port);
            Some((key, real.name.as_deref()?))
        })
        .collect()
    }

    pub(super) fn service_named(&self, name: &str) -> Result<&Service, String> {
        let services = self.snapshot.services.iter().flatten();
        service_name::meant(name, services, |one| &*one.name, |one| one.identity)
            .map(|service| &**service)
    }

    /// One page of bindings, or of connections.
    pub(super) fn page(&self, page: &Page) -> Reply {
        let wanted = match self.wanted(&page.filter) {
            Ok(wanted) => wanted,
            Err(sentence) => return Reply::refused(sentence),
        };
        let mut rows = Vec::new();
        let next = match page.from.part {
            Part::Connections => match self.connections_page(page.from, &wanted, &mut rows) {
                Ok(next) => next,
                Err(sentence) => return Reply::refused(sentence),
            },
            Part::Templates | Part::Clients => {
                let (names, now) = (self.all_names(), Tick::after(self.started.elapsed()));
                self.walk(page.from, &wanted, &mut |found| rows.push(found.row(&names, now)))
            }
        };
        Reply::done(json!({ "rows": rows, "next": next }).to_string())
    }

    /// Goes on through the tables until a page is full or its time is over.
    pub(super) fn walk(
        &self,
        from: Place,
        wanted: &Wanted,
        each: &mut dyn FnMut(&Found<'_>),
    ) -> Option<Place> {
        let (mut place, mut looked) = (from, 0);
        let found = std::cell::Cell::new(0);
        let now = Tick::after(self.started.elapsed());
        let mut count = |one: &Found<'_>| {
            found.set(found.get() + 1);
            each(one);
        };
        while looked < BUCKETS {
            place = self.step(place, wanted, now, &mut count)?;
            looked += STEP;
            if found.get() >= ROWS {
                break;
            }
        }
        Some(place)
    }

    /// One step, and where to go on.
    fn step(
        &self,
        place: Place,
        wanted: &Wanted,
        now: Tick,
        each: &mut dyn FnMut(&Found<'_>),
    ) -> Option<Place> {
        let cursor = Cursor::at(place.cursor);
        let mut take = |found: Option<Found<'_>>| {
            if let Some(found) = found.filter(|found| wanted.takes(found)) {
                each(&found);
            }
        };
        let next = match place.part {
            Part::Templates => {
                let templates = &self.shared.templates;
                templates.iterate(place.core, cursor, now, STEP, |key, view| {
                    take(self.by_template(place.core, key, view, now));
                })
            }
            Part::Clients => {
                let ages = self.shared.counters.get(place.core as usize);
                let age_now = ages.map_or(0, |counters| counters.client_age.get()) as u8;
                let clients = &self.shared.clients;
                clients.iterate(place.core, cursor, STEP, |scope, client, number, age| {
                    let age_s =
                        u32::from(age_now.wrapping_sub(age)).saturating_mul(self.shared.age_unit_s);
                    take(self.by_client(place.core, (scope, client), number, age_s));
                })
            }
            Part::Connections => None,
        };
        match next {
            Some(cursor) => Some(Place { cursor: cursor.parts(), ..place }),
            None => self.next_shard(place),
        }
    }

    /// A binding under `tracking: full`; `None` for one that is no more.
    fn by_template(&self, core: u32, key: TemplateKey, view: View, now: Tick) -> Option<Found<'_>> {
        let real = self.snapshot.real(view.real).filter(|_| !view.invalid)?;
        let service = self.snapshot.service(real.service)?;
        let lives_s = if view.extended { EXTENSION_S } else { self.lives_s(view.timeout_index) };
        let expires_s = seconds_until(view.expires, now);
        Some(Found {
            key: BoundKey::Template(key),
            client: key.client,
            service,
            real,
            core,
            age_s: lives_s.saturating_sub(expires_s),
            expires_s,
            connections: Some(view.connections),
            state: if view.assured { "ASSURED" } else { "NONE" },
        })
    }

    /// A binding under `tracking: client`: to the real server of this number in its service.
    fn by_client(
        &self,
        core: u32,
        (scope, client): (ClientScope, ClientKey),
        number: ServiceReal,
        age_s: u32,
    ) -> Option<Found<'_>> {
        let id = service_of(scope);
        let real = self.snapshot.real(self.snapshot.client_real(id, number)?)?;
        let service = self.snapshot.service(id)?;
        let lives_s = service.persistence.map_or(0, |one| one.timeout_s);
        Some(Found {
            key: BoundKey::Client { scope, client },
            client,
            service,
            real,
            core,
            age_s,
            expires_s: lives_s.saturating_sub(age_s),
            connections: None,
            state: "NONE",
        })
    }

    pub(super) fn next_shard(&self, place: Place) -> Option<Place> {
        let core = place.core.saturating_add(1);
        if (core as usize) < self.shared.cores() {
            return Some(Place { core, ..Place::start(place.part) });
        }
        match place.part {
            Part::Templates => Some(Place::start(Part::Clients)),
            Part::Clients | Part::Connections => None,
        }
    }

    fn lives_s(&self, timeout_index: u8) -> u32 {
        let timeouts = &self.snapshot.template_timeouts_s;
        timeouts.get(usize::from(timeout_index)).copied().unwrap_or(0)
    }

    /// Connections of one core from a place on.
    fn connections_page(
        &self,
        from: Place,
        wanted: &Wanted,
        rows: &mut Vec<Value>,
    ) -> Result<Option<Place>, String> {
        let ConnsPage { conns, next, now } = self.connections_from(from)?;
        for (flow, conn) in &conns {
            let Some(real) = self.snapshot.real(conn.real) else { continue };
            let width = flow.client.family().bits();
            let client = wanted.client.is_none_or(|wanted| covers(wanted, flow.client, width));
            let service = wanted.service.is_none_or(|wanted| wanted == real.service);
            if !(client && service && wanted.takes_real(real)) {
                continue;
            }
            rows.push(json!({
                "protocol": flow.protocol.to_string().to_lowercase(),
                "client": endpoint_text(flow.client, flow.client_port),
                "virtual": endpoint_text(flow.vip, flow.vip_port),
                "real": endpoint_text(real.address, conn.real_port),
                "state": conn.state.word(),
                "expires_s": seconds_until(conn.expires, now),
                "service": self.snapshot.service(real.service).map(|one| one.name.to_string()),
                "core": from.core,
                "bound": conn.template.is_some(),
            }));
        }
        Ok(next)
    }

    /// Asks a core for connections from a place on: a few between two bursts, some times.
    pub(super) fn connections_from(&self, from: Place) -> Result<ConnsPage, String> {
        let mut all = ConnsPage { conns: Vec::new(), next: Some(from), now: Tick::default() };
        for _ in 0..ROWS / CONNS {
            let Some(at) = all.next.filter(|at| at.core == from.core) else { break };
            let (v6, slot, _) = at.cursor;
            let query = Query::Connections { v6, from: slot, page: Vec::with_capacity(CONNS) };
            let Some(Answer::Connections { page, next, now }) = self.ask(at.core as usize, query)
            else {
                return Err(format!("core {} did not answer in time; try again\n", at.core));
            };
            all.conns.extend(page);
            all.now = now;
            all.next = match next {
                Some(slot) => Some(Place { cursor: (v6, slot, 0), ..at }),
                None if !v6 => Some(Place { cursor: (true, 0, 0), ..at }),
                None => self.next_shard(at),
            };
        }
        Ok(all)
    }
}

impl Wanted {
    fn takes_real(&self, real: &Real) -> bool {
        self.reals.as_ref().is_none_or(|wanted| wanted.contains(&real.id))
    }

    fn takes(&self, found: &Found<'_>) -> bool {
        self.service.is_none_or(|service| service == found.service.id)
            && self.takes_real(found.real)
            && self.client.is_none_or(|wanted| {
                covers(wanted, Addr::from(found.client.address()), found.length())
            })
    }
}

/// Whether two networks have an address in common: what is asked for, and a client with so
/// many bits.
fn covers((wanted, wanted_length): (Addr, u8), client: Addr, length: u8) -> bool {
    let length = length.min(wanted_length);
    wanted.family() == client.family() && wanted.masked(length) == client.masked(length)
}

impl Found<'_> {
    /// How many bits of the client's address its service looks at.
    fn length(&self) -> u8 {
        let mask = self.service.persistence.map_or(u128::MAX, |persistence| persistence.mask);
        let width = u32::from(Addr::from(self.client.address()).family().bits());
        u8::try_from(mask.count_ones().min(width)).unwrap_or(u8::MAX)
    }

    fn row(&self, names: &HashMap<(Identity, Addr, u16), &str>, now: Tick) -> Value {
        let name = names.get(&(self.service.identity, self.real.address, self.real.port));
        let server_state = match self.real.is_down(now) {
            _ if !self.real.available => "removed",
            true => "down",
            false => state_word(self.real.state),
        };
        let address = self.client.address();
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let client = match (self.service.engine, self.length()) {
            // A call is kept by a hash of it; whose it is cannot be read from that.
            (Some(engine), _) => format!("({})", engine.name()),
            (None, length) if length < whole => format!("{address}/{length}"),
            (None, _) => address.to_string(),
        };
        json!({
            "client": client,
            "service": self.service.name.to_string(),
            "real_server": endpoint_text(self.real.address, self.real.port),
            "age_s": self.age_s,
            "expires_s": self.expires_s,
            "connections": self.connections,
            "core": self.core,
            "state": self.state,
            "name": name,
            "server_state": server_state,
        })
    }
}

/// Whole seconds that are left; 0 for what is over and not swept yet.
fn seconds_until(expires: Tick, now: Tick) -> u32 {
    u32::try_from(now.until(expires)).unwrap_or(0) / TICKS_PER_SECOND
}
