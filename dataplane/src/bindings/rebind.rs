//! What an operator does to a binding: it ends, or it goes to another real server.
//!
//! The core does it between two bursts, because only a core may hold what it reads in the
//! shared tables. Any core may do it to any binding.

use super::Bindings;
use crate::ids::{RealId, ServiceId};
use crate::snapshot::Snapshot;
use crate::table::{Candidate, ClientKey, ClientScope, Outcome, ServiceReal, TemplateKey, View};
use crate::tick::Tick;

/// A binding, by what it is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BoundKey {
    /// A template, under `tracking: full`.
    Template(TemplateKey),
    /// A client of a service under `tracking: client`.
    Client {
        /// The number that its service's clients are kept under.
        scope: ClientScope,
        /// The client.
        client: ClientKey,
    },
}

/// A binding that is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rebind {
    /// Which one.
    pub key: BoundKey,
    /// The real server that the client gets; `None` leaves it to the client's next packet
    /// that opens something.
    pub to: Option<RealId>,
    /// Whether a client that is bound nowhere is bound, too.
    pub make: bool,
}

/// What became of bindings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rebound {
    /// Bindings that were there.
    pub found: u64,
    /// Those of them that changed.
    pub changed: u64,
    /// Bindings that were made where there were none.
    pub made: u64,
    /// Connections that go on with their old real server until they end.
    pub connections: u64,
    /// Bindings that could not be made: the table is full.
    pub full: u64,
}

impl std::ops::AddAssign for Rebound {
    fn add_assign(&mut self, other: Self) {
        self.found += other.found;
        self.changed += other.changed;
        self.made += other.made;
        self.connections += other.connections;
        self.full += other.full;
    }
}

impl Bindings {
    /// Changes a binding.
    pub fn rebind(&mut self, rebind: &Rebind, snapshot: &Snapshot, now: Tick) -> Rebound {
        match rebind.key {
            BoundKey::Template(key) => self.rebind_template(key, rebind, snapshot, now),
            BoundKey::Client { scope, client } => {
                self.rebind_client(scope, client, rebind, snapshot)
            }
        }
    }

    fn rebind_template(
        &mut self,
        key: TemplateKey,
        rebind: &Rebind,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Rebound {
        let probe = self.shared.templates.probe(key);
        let mut done = Rebound::default();
        let view = self.shared.templates.get(&probe, now);
        if let Some(old @ View { handle, real, connections, .. }) = view {
            done.found = 1;
            if rebind.to == Some(real) {
                return done;
            }
            // Nobody finds it any more. Without connections it ends at once; with some, a minute
            // after they have ended at the latest.
            self.orphan(&old);
            self.shared.templates.expire(handle, now);
            done.changed = 1;
            done.connections = u64::from(connections);
        }
        let Some(to) = rebind.to else { return done };
        if view.is_none() && !rebind.make {
            return done;
        }
        let Some(real) = snapshot.available(to) else { return done };
        let timeout_index =
            snapshot.service(real.service).map_or(0, |service| service.timeout_index);
        match self.shared.templates.get_or_insert(
            &probe,
            Candidate { real: to, timeout_index },
            now,
        ) {
            Ok(Outcome::Inserted(_)) => {
                self.shift_bound(real, 1);
                done.made = u64::from(view.is_none());
            }
            // A packet was faster, and its scheduler has decided.
            Ok(Outcome::Found(found)) => {
                if found.real != to {
                    done.changed = 0;
                }
            }
            Err(_) => done.full = 1,
        }
        done
    }

    fn rebind_client(
        &mut self,
        scope: ClientScope,
        client: ClientKey,
        rebind: &Rebind,
        snapshot: &Snapshot,
    ) -> Rebound {
        let mut done = Rebound::default();
        let service = super::service_of(scope);
        let to = rebind.to.and_then(|to| snapshot.available(to));
        let number = match (rebind.to, to) {
            (None, _) => Some(ServiceReal::NOBODY),
            (Some(_), to) => to.and_then(|real| ServiceReal::new(real.number)),
        };
        let Some(number) = number else { return done };
        let probe = self.shared.clients.probe(scope, client);
        let Some(hit) = self.shared.clients.peek(&probe) else {
            if let (true, Some(real)) = (rebind.make, to) {
                let age = self.client_age();
                match self.shared.clients.get_or_insert(&probe, number, age) {
                    Ok(bound) if bound.hit().real == number => {
                        done.made = 1;
                        self.shift_bound(real, 1);
                    }
                    Ok(_) => {}
                    Err(_) => done.full = 1,
                }
            }
            return done;
        };
        if hit.real == ServiceReal::NOBODY && rebind.to.is_none() {
            return done;
        }
        done.found = 1;
        if hit.real == number {
            return done;
        }
        if let Some(rebound) = self.shared.clients.rebind(&probe, hit, number)
            && rebound.by_this_call
        {
            done.changed = 1;
            self.unbind_client(service, hit.real, snapshot);
            if let Some(real) = to {
                self.shift_bound(real, 1);
            }
        }
        done
    }

    /// Takes a client from the count of the real server that it had.
    fn unbind_client(&self, service: ServiceId, number: ServiceReal, snapshot: &Snapshot) {
        if let Some(old) = snapshot.client_real(service, number) {
            self.shared.loads.bind(self.core, old, -1);
        }
    }
}
