//! Persistence: the template is asked before any scheduler.

use super::{Bindings, Choice, NoChoice};
use crate::call::Call;
use crate::classify::Hit;
use crate::ids::RealId;
use crate::snapshot::{OnDown, OnDrain, Persistence, Real, RealState, Service, Snapshot};
use crate::table::{Candidate, ClientKey, Outcome, Probe, Renewal, TemplateKey, View};
use crate::tick::Tick;
use crate::wire::{Addr, Family, Packet};

/// How often a lookup is tried again when other cores end the template in between.
pub(super) const TRIES: usize = 4;

impl Bindings {
    /// The template of a client, whether it may be used or not.
    pub(crate) fn template(
        &self,
        hit: &Hit,
        persistence: &Persistence,
        client: Addr,
        call: Option<&Call>,
        now: Tick,
    ) -> (Probe, Option<View>) {
        let mut key = key(hit, persistence, client);
        if let Some(call) = call {
            key.client = call.key;
        }
        let probe = self.shared.templates.probe(key);
        let view = self.shared.templates.get(&probe, now);
        (probe, view)
    }

    /// The client's real server by its template; where there is none that may be used, by
    /// the scheduler, and a template is made. The template controls the connection from
    /// here on.
    pub(super) fn follow(
        &mut self,
        packet: &Packet,
        hit: &Hit,
        service: &Service,
        persistence: &Persistence,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Result<Choice, NoChoice> {
        let renewal = match service.compat.renew_extended_templates {
            true => Renewal::Full,
            false => Renewal::AsKernel,
        };
        for _ in 0..TRIES {
            let (probe, view) =
                self.template(hit, persistence, packet.src, self.call.as_ref(), now);
            let bound = match view {
                Some(view) => match standing(view.real, service, snapshot, now) {
                    Standing::Usable => view,
                    Standing::Waiting => return Err(NoChoice::Down),
                    Standing::Unusable => {
                        self.orphan(&view);
                        continue;
                    }
                },
                None => {
                    let Some(real) = self.pick(packet, service, snapshot, now) else {
                        return Err(NoChoice::Nobody);
                    };
                    match self.make(&probe, real, service, snapshot, now) {
                        Some(view) => view,
                        None => break,
                    }
                }
            };
            let attached = self.shared.templates.attach(
                bound.handle,
                bound.real,
                renewal,
                now,
                &mut self.seat.templates,
            );
            if attached.is_ok() {
                return Ok(Choice {
                    real: bound.real,
                    template: Some(bound.handle),
                    by_error: false,
                    by_server: false,
                    real_port: None,
                });
            }
        }
        if service.compat.as_kernel {
            return Err(NoChoice::Full);
        }
        self.place_by_hash(hit, persistence, packet.src, service, snapshot)
    }

    /// Makes a template, or finds the one that another core has just made. `None` when the
    /// table has no room.
    pub(super) fn make(
        &mut self,
        probe: &Probe,
        real: RealId,
        service: &Service,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<View> {
        let candidate = Candidate { real, timeout_index: service.timeout_index };
        match self.shared.templates.get_or_insert(probe, candidate, now).ok()? {
            Outcome::Inserted(view) => {
                if let Some(real) = snapshot.real(view.real) {
                    self.shift_bound(real, 1);
                }
                self.tell_call();
                Some(view)
            }
            Outcome::Found(view) => Some(view),
        }
    }

    /// Tells control whose call was bound.
    fn tell_call(&self) {
        let mailbox = self.shared.mailboxes.get(self.core);
        if let (Some(call), Some(mailbox)) = (self.call, mailbox) {
            // Where control is behind, the call is listed without its name.
            let _ = mailbox.calls.push(call);
        }
    }

    /// Where there is no room for a template, a keyed hash of the client decides, so that
    /// all cores agree and the client stays as long as the list does.
    pub(super) fn place_by_hash(
        &mut self,
        hit: &Hit,
        persistence: &Persistence,
        client: Addr,
        service: &Service,
        snapshot: &Snapshot,
    ) -> Result<Choice, NoChoice> {
        if let Some(counters) = self.counters() {
            counters.untracked.add(1);
        }
        let client = persistence.masked(client);
        let real = by_hash(&self.shared.key.0, hit, client, service, snapshot);
        real.map(|real| Choice {
            real: real.id,
            template: None,
            by_error: false,
            by_server: false,
            real_port: None,
        })
        .ok_or(NoChoice::Nobody)
    }
}

/// Whether a bound client's new connection may go to its real server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It goes there.
    Usable,
    /// The client stays bound, but the server is down: the connection has to wait.
    Waiting,
    /// The binding is void.
    Unusable,
}

/// How a bound client's real server stands: no look is taken at weight or overload, as in
/// IPVS; a client stays bound to a quiesced server unless `expire_quiescent_template` says
/// otherwise. Servers that are in drain or down are the service's policy.
pub(crate) fn standing(
    real: RealId,
    service: &Service,
    snapshot: &Snapshot,
    now: Tick,
) -> Standing {
    let Some(real) = snapshot.available(real) else { return Standing::Unusable };
    if real.is_down(now) {
        return match service.policy.on_down {
            OnDown::Rebind => Standing::Unusable,
            OnDown::Keep => Standing::Usable,
            OnDown::Drop => Standing::Waiting,
        };
    }
    let quiescent = service.compat.expire_quiescent_template && real.weight == 0;
    let drained =
        real.state == RealState::Drain && service.policy.on_drain == OnDrain::NewElsewhere;
    if quiescent || drained { Standing::Unusable } else { Standing::Usable }
}

/// What a client's template is found by.
pub(crate) fn key(hit: &Hit, persistence: &Persistence, client: Addr) -> TemplateKey {
    let masked = persistence.masked(client);
    let client = match masked.family() {
        Family::V4 => ClientKey::V4(masked.v4_number()),
        Family::V6 => ClientKey::V6(masked.number()),
    };
    TemplateKey { scope: hit.scope, client }
}

/// The usable real server with the highest keyed score for this client (rendezvous
/// hashing): removing one moves only its own clients.
fn by_hash<'a>(
    secret: &[u64; 2],
    hit: &Hit,
    client: Addr,
    service: &Service,
    snapshot: &'a Snapshot,
) -> Option<&'a Real> {
    let [high, low] = client.words();
    let [first, second] = *secret;
    let seed = mix(mix(first ^ high) ^ low ^ u64::from(hit.scope.0));
    service
        .members
        .iter()
        .filter_map(|member| snapshot.available(member.real))
        .filter(|real| real.effective_weight() > 0)
        .max_by_key(|real| {
            let [high, low] = real.address.words();
            mix(mix(seed ^ second ^ high) ^ low ^ u64::from(real.port))
        })
}

fn mix(value: u64) -> u64 {
    let product = u128::from(value ^ 0x9E37_79B9_7F4A_7C15) * 0xD6E8_FEB8_6659_FD93_u128;
    (product >> 64) as u64 ^ product as u64
}
