//! `director drain` and `undrain`: a real server's state, changed where it runs.

use std::collections::HashMap;
use std::sync::Arc;

use dataplane::catalog::spec::{Farm, RealSpec};
use dataplane::snapshot::{Identity, OnDown, OnDrain, RealState};
use dataplane::tick::Tick;
use dataplane::wire::{Addr, Protocol};
use serde_json::json;
use tracing::info;

use super::{ControlThread, drains, to_json};
use crate::api::{Peer, Reply};
use crate::compile::identity as identity_of;
use crate::counted::counted;
use crate::history::Cause;
use crate::listing::endpoint_text;
use crate::server_name::ServerName;

/// What becomes of a real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// No new clients; after so many seconds nobody.
    Drain { deadline_s: Option<u32> },
    /// Everybody.
    Up,
}

/// The names of a service's real servers, by address and port.
#[derive(Default)]
pub(super) struct Names<'a>(HashMap<(Addr, u16), &'a str>);

impl Names<'_> {
    /// Whether a real server of the service is meant.
    pub(super) fn mean(&self, server: &ServerName, address: Addr, port: u16) -> bool {
        server.means(address.into(), port, self.0.get(&(address, port)).copied())
    }
}

impl ControlThread {
    /// Changes the state of every real server that is meant, as one generation.
    pub(super) fn set_state(
        &mut self,
        server: &ServerName,
        service: Option<&str>,
        wish: Wish,
        peer: Peer,
    ) -> Reply {
        let meant = match self.meant(server, service) {
            Ok(meant) => meant,
            Err(sentence) => return Reply::refused(sentence),
        };
        let (mut changed, mut left) = (Vec::new(), 0);
        for (identity, real) in &meant {
            let Some(wanted) = self.wanted_spec(identity, *real, wish) else {
                left += 1;
                continue;
            };
            if wanted == *real {
                continue;
            }
            if let Err(refused) = self.catalog.edit_real(identity, wanted) {
                return Reply::refused(format!("{server}: {refused}\n"));
            }
            changed.push((*identity, real.address, real.port));
        }
        if !changed.is_empty() {
            self.snapshot = self.catalog.snapshot();
            self.follow_catalog();
            let of = service.map(|name| format!(" --service {name}")).unwrap_or_default();
            let what = match wish {
                Wish::Drain { deadline_s: Some(seconds) } => {
                    format!("drain {server}{of} --deadline {seconds}s")
                }
                Wish::Drain { deadline_s: None } => format!("drain {server}{of}"),
                Wish::Up => format!("undrain {server}{of}"),
            };
            info!("{peer}: {what}: generation {}", self.snapshot.generation);
            let changes = counted(changed.len(), "real server");
            self.note(Cause::Drain, peer.user(), what, changes);
            self.wait_for_cores();
        }
        if left == meant.len() {
            return Reply::refused(match wish {
                Wish::Drain { .. } => {
                    format!("{server} is down already and takes nobody; nothing was changed\n")
                }
                Wish::Up => format!(
                    "{server} is down, which no drain made it: take `state: down` out of the \
                     configuration; nothing was changed\n"
                ),
            });
        }
        self.drained(&meant, &changed)
    }

    /// A real server in its new state; its deadline is noted. Without one of its own it has
    /// its service's, and one that drains already keeps what it has. `None` for one that is
    /// down and was not drained: that is the configuration's word.
    fn wanted_spec(&mut self, identity: &Identity, real: RealSpec, wish: Wish) -> Option<RealSpec> {
        let key = (*identity, real.address, real.port);
        match (wish, real.state) {
            (Wish::Drain { .. }, RealState::Down) => return None,
            (Wish::Up, RealState::Down) if !self.drains.has(&key) => return None,
            (Wish::Drain { deadline_s: None }, RealState::Drain) => return Some(real),
            _ => {}
        }
        let service = self.model.services.iter().find(|one| identity_of(one) == *identity);
        let name = service.map(|one| one.name.clone()).unwrap_or_default();
        let of_service = service.and_then(|one| one.drain_deadline_s);
        let deadline_s = match wish {
            Wish::Up => {
                self.drains.forget(&key);
                return Some(RealSpec { state: RealState::Up, drain_until: None, ..real });
            }
            Wish::Drain { deadline_s } => deadline_s.or(of_service),
        };
        let now = self.now_ms();
        let until = deadline_s.map(|seconds| now.saturating_add(u64::from(seconds) * 1_000));
        match until {
            Some(until) => self.drains.begin(key, name, now, until),
            None => self.drains.forget(&key),
        }
        Some(RealSpec { state: RealState::Drain, drain_until: until.map(drains::tick), ..real })
    }

    /// How a real server's drain stands.
    pub(super) fn drain_report(&mut self, server: &ServerName, service: Option<&str>) -> Reply {
        match self.meant(server, service) {
            Ok(meant) => self.drained(&meant, &[]),
            Err(sentence) => Reply::refused(sentence),
        }
    }

    /// The real servers of all services, or of one, that go by this name.
    fn meant(
        &self,
        server: &ServerName,
        service: Option<&str>,
    ) -> Result<Vec<(Identity, RealSpec)>, String> {
        let only = service.map(|name| self.service_named(name).map(|one| one.identity));
        let only = only.transpose()?;
        let mut meant = Vec::new();
        for Farm { service, reals } in self.catalog.farms() {
            if only.is_some_and(|only| only != service.identity) {
                continue;
            }
            let names = self.names_of(&service.identity);
            let named = |real: &&RealSpec| names.mean(server, real.address, real.port);
            meant.extend(reals.iter().filter(named).map(|real| (service.identity, *real)));
        }
        if meant.is_empty() {
            let of = service.map(|name| format!(" of service '{name}'")).unwrap_or_default();
            return Err(format!(
                "there is no real server '{server}'{of}; 'director get reals' lists them\n"
            ));
        }
        Ok(meant)
    }

    /// The names of a service's real servers, as the configuration has them.
    pub(super) fn names_of(&self, identity: &Identity) -> Names<'_> {
        let service = self.model.services.iter().find(|one| identity_of(one) == *identity);
        let reals = service.map(|service| service.real_servers.iter()).into_iter().flatten();
        let named = reals.filter_map(|real| {
            Some(((real.address.into(), real.real_port), real.name.as_deref()?))
        });
        Names(named.collect())
    }

    /// How many pins of a service lead to a real server.
    fn pins_to(&self, identity: &Identity, address: Addr) -> usize {
        let service = self.model.services.iter().find(|one| identity_of(one) == *identity);
        let pins = service.map_or(&[][..], |service| &service.pins);
        pins.iter().filter(|pin| Addr::from(pin.real_server) == address).count()
    }

    /// How long a connection of this service lives on without a packet, at the most.
    fn idle_s(&self, identity: &Identity) -> u32 {
        let timeouts = self.model.timeouts;
        let (tcp, udp) = (timeouts.tcp_s.max(timeouts.tcp_fin_s), timeouts.udp_s);
        match identity {
            Identity::Address { protocol: Protocol::Tcp, .. }
            | Identity::Ports { protocol: Some(Protocol::Tcp), .. } => tcp,
            Identity::Address { protocol: Protocol::Udp, .. }
            | Identity::Ports { protocol: Some(Protocol::Udp), .. } => udp,
            _ => tcp.max(udp),
        }
    }

    /// How these real servers are now, and which of them have just changed.
    fn drained(&self, meant: &[(Identity, RealSpec)], changed: &[drains::Key]) -> Reply {
        let now = Tick::after(self.started.elapsed());
        let snapshot = Arc::clone(&self.snapshot);
        let mut rows = Vec::new();
        for (identity, spec) in meant {
            let services = snapshot.services.iter().flatten();
            let Some(service) = services.into_iter().find(|one| one.identity == *identity) else {
                continue;
            };
            let reals = service.members.iter().filter_map(|one| snapshot.available(one.real));
            let same = |real: &&dataplane::snapshot::Real| {
                real.address == spec.address && real.port == spec.port
            };
            let Some(real) = reals.into_iter().find(same) else { continue };
            let load = self.shared.loads.sum(real.id);
            let left_s = real.drain_until.map(|until| {
                now.until(until).max(0).unsigned_abs() / dataplane::tick::TICKS_PER_SECOND
            });
            rows.push(json!({
                "service": service.name.to_string(),
                "real_server": endpoint_text(real.address, real.port),
                "address": real.address.to_string(),
                "port": real.port,
                "state": if real.is_down(now) { "down" } else { state_word(real.state) },
                "persistent": service.persistence.is_some(),
                "idle_s": self.idle_s(identity),
                "clients": load.clients(),
                "connections": load.active + load.inactive,
                "on_drain": on_drain_word(service.policy.on_drain),
                "on_down": on_down_word(service.policy.on_down),
                "pins": self.pins_to(identity, real.address),
                "deadline_in_s": left_s,
                "changed": changed.contains(&(*identity, spec.address, spec.port)),
            }));
        }
        to_json(&rows)
    }
}

fn on_drain_word(on_drain: OnDrain) -> &'static str {
    match on_drain {
        OnDrain::Keep => "keep",
        OnDrain::NewElsewhere => "new_elsewhere",
    }
}

fn on_down_word(on_down: OnDown) -> &'static str {
    match on_down {
        OnDown::Rebind => "rebind",
        OnDown::Keep => "keep",
        OnDown::Drop => "drop",
    }
}

pub(super) fn state_word(state: RealState) -> &'static str {
    match state {
        RealState::Up => "up",
        RealState::Drain => "drain",
        RealState::Down => "down",
    }
}
