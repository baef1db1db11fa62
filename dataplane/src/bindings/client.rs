//! `tracking: client`: the binding alone, one lookup a packet, no connections.

use super::{Bindings, NoChoice, Outcome, Related};
use crate::forward::Forwarding;
use crate::ids::{RealId, ServiceId};
use crate::snapshot::{OnDown, Service, Snapshot};
use crate::table::{
    Bound, ClientHit, ClientKey, ClientScope, Freed, MAX_TIMEOUT_AGES, Probe, ServiceReal,
};
use crate::tick::{TICKS_PER_SECOND, Tick};
use crate::wire::{Addr, Family, Packet, Protocol, TcpFlags};

/// The client's real server is down, and the client waits for it.
struct Waiting;

/// How a client of a service without connections stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientStanding {
    /// It has no binding.
    Unbound,
    /// It is bound, and goes to this real server.
    Bound(RealId),
    /// It is bound to a real server that takes it no more.
    Void,
    /// It is bound to one that is down, and waits for it.
    Waiting,
}

/// The coarse clock of the client table: a counter that all cores move at the same ticks.
#[derive(Clone, Copy, Debug)]
pub(super) struct AgeClock {
    unit_ticks: u32,
    began: Tick,
    age: u8,
}

impl AgeClock {
    pub(super) fn new(unit_s: u32) -> Self {
        let unit_ticks = unit_s.max(1).saturating_mul(TICKS_PER_SECOND);
        Self { unit_ticks, began: Tick::default(), age: 0 }
    }

    /// The age that a packet at this moment stands for.
    pub(super) fn at(&mut self, now: Tick) -> u8 {
        let passed = self.began.until(now);
        if passed >= self.unit_ticks as i32 {
            let units = passed.unsigned_abs() / self.unit_ticks;
            self.began = self.began.plus(units.wrapping_mul(self.unit_ticks));
            self.age = self.age.wrapping_add(units as u8);
        }
        self.age
    }

    fn ages(&self, seconds: u32) -> u8 {
        let unit_s = (self.unit_ticks / TICKS_PER_SECOND).max(1);
        seconds.div_ceil(unit_s).min(u32::from(MAX_TIMEOUT_AGES)) as u8
    }
}

impl Bindings {
    /// The age that the core gives to clients at present.
    pub fn client_age(&self) -> u8 {
        self.ages.age
    }

    /// The age that clients get from packets at this moment.
    pub(crate) fn age_at(&mut self, now: Tick) -> u8 {
        self.ages.at(now)
    }

    /// Decides about a packet of a service that keeps no connections.
    pub(super) fn bind_client(
        &mut self,
        packet: &Packet,
        service: &Service,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Outcome {
        let age = self.ages.at(now);
        let Some(probe) = self.client_probe(service, packet.src) else {
            return Outcome::Refuse;
        };
        let bound = self.shared.clients.lookup(&probe, age);
        let real = match bound {
            Some(found) => match self.usable_client(&found, service, snapshot, now) {
                Ok(Some(real)) => Ok(real),
                Err(Waiting) => Err(NoChoice::Down),
                Ok(None) => self.move_client(&probe, found, packet, service, snapshot, now),
            },
            // Without connections nobody can tell a stray segment from a client that was
            // bound before a restart: all but resets are taken.
            None if is_reset(packet) => return Outcome::NotOurs,
            None => self.bind_new(&probe, packet, service, snapshot, now),
        };
        self.go_to(real, packet, snapshot)
    }

    fn go_to(
        &self,
        real: Result<RealId, NoChoice>,
        packet: &Packet,
        snapshot: &Snapshot,
    ) -> Outcome {
        match real {
            Ok(real) => {
                self.count_incoming(real, packet);
                let forwarding = snapshot.real(real).map_or(Forwarding::Route, |r| r.forwarding);
                if forwarding == Forwarding::Masq {
                    // Nothing would lead its replies back. The configuration check refuses
                    // this mixture.
                    return Outcome::Refuse;
                }
                Outcome::Forward { real, forwarding, real_port: packet.dst_port }
            }
            Err(NoChoice::Nobody) => Outcome::Refuse,
            Err(why @ (NoChoice::Down | NoChoice::Full)) => Outcome::Drop(why.reason()),
        }
    }

    fn client_probe(&self, service: &Service, client: Addr) -> Option<Probe> {
        let masked = service.persistence.as_ref()?.masked(client);
        let client = match masked.family() {
            Family::V4 => ClientKey::V4(masked.v4_number()),
            Family::V6 => ClientKey::V6(masked.number()),
        };
        Some(self.shared.clients.probe(client_scope(service.id)?, client))
    }

    fn usable_client(
        &self,
        found: &ClientHit,
        service: &Service,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Result<Option<RealId>, Waiting> {
        let named = snapshot.client_real(service.id, found.real);
        let Some(real) = named.and_then(|id| snapshot.available(id)) else { return Ok(None) };
        if real.is_down(now) {
            return match service.policy.on_down {
                OnDown::Rebind => Ok(None),
                OnDown::Keep => Ok(Some(real.id)),
                OnDown::Drop => Err(Waiting),
            };
        }
        let quiescent = service.compat.expire_quiescent_template && real.weight == 0;
        Ok((!quiescent).then_some(real.id))
    }

    fn bind_new(
        &mut self,
        probe: &Probe,
        packet: &Packet,
        service: &Service,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Result<RealId, NoChoice> {
        let age = self.client_age();
        let picked = self.pick(packet, service, snapshot, now).ok_or(NoChoice::Nobody)?;
        let number = snapshot.real(picked).and_then(|real| ServiceReal::new(real.number));
        let clients = &self.shared.clients;
        let bound = number.and_then(|number| clients.get_or_insert(probe, number, age).ok());
        match bound {
            Some(Bound::Inserted(_)) => {
                self.count_scheduled(picked);
                if let Some(real) = snapshot.real(picked) {
                    self.shift_bound(real, 1);
                }
                Ok(picked)
            }
            Some(Bound::Found(found)) => match self.usable_client(&found, service, snapshot, now) {
                Ok(real) => real.ok_or(NoChoice::Nobody),
                Err(Waiting) => Err(NoChoice::Down),
            },
            None => {
                let persistence = service.persistence.as_ref().ok_or(NoChoice::Nobody)?;
                let Packet { src, dst, protocol, dst_port, .. } = *packet;
                let hit = snapshot.classifier.for_client(src, dst, protocol, dst_port);
                let hit = hit.ok_or(NoChoice::Nobody)?;
                let choice = self.place_by_hash(&hit, persistence, src, service, snapshot)?;
                Ok(choice.real)
            }
        }
    }

    /// Gives a client whose real server is gone another one.
    fn move_client(
        &mut self,
        probe: &Probe,
        found: ClientHit,
        packet: &Packet,
        service: &Service,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Result<RealId, NoChoice> {
        let picked = self.pick(packet, service, snapshot, now).ok_or(NoChoice::Nobody)?;
        let number = snapshot.real(picked).and_then(|real| ServiceReal::new(real.number));
        let Some(number) = number else { return Ok(picked) };
        let Some(moved) = self.shared.clients.rebind(probe, found, number) else {
            // Freed in between: the client's next packet binds it anew.
            return Ok(picked);
        };
        if moved.by_this_call {
            if let Some(old) = snapshot.client_real(service.id, found.real) {
                self.shared.loads.bind(self.core, old, -1);
            }
            self.count_scheduled(picked);
            if let Some(real) = snapshot.real(picked) {
                self.shift_bound(real, 1);
            }
        }
        snapshot.client_real(service.id, moved.hit.real).ok_or(NoChoice::Nobody)
    }

    /// How a client stands, for `explain` and ICMP errors.
    pub(crate) fn client(
        &self,
        service: &Service,
        client: Addr,
        snapshot: &Snapshot,
        now: Tick,
    ) -> ClientStanding {
        let probe = self.client_probe(service, client);
        let found = probe.and_then(|probe| self.shared.clients.peek(&probe));
        let Some(found) = found else { return ClientStanding::Unbound };
        match self.usable_client(&found, service, snapshot, now) {
            Ok(Some(real)) => ClientStanding::Bound(real),
            Ok(None) => ClientStanding::Void,
            Err(Waiting) => ClientStanding::Waiting,
        }
    }

    pub(super) fn related_client(
        &self,
        error: &Packet,
        client: Addr,
        service: &Service,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<Related> {
        let ClientStanding::Bound(real) = self.client(service, client, snapshot, now) else {
            return None;
        };
        let real = snapshot.available(real)?;
        self.count_incoming(real.id, error);
        Some(Related { real: real.id, forwarding: real.forwarding, real_port: real.port })
    }

    pub(super) fn sweep_clients(&mut self, snapshot: &Snapshot, now: Tick, budget: [usize; 2]) {
        let age = self.ages.at(now);
        let (shared, core, ages) = (&self.shared, self.core, self.ages);
        let timeout = |scope: ClientScope| {
            let id = service_of(scope);
            let persistence = snapshot.service(id).and_then(|service| service.persistence);
            persistence.map_or(u8::MAX / 4, |persistence| ages.ages(persistence.timeout_s))
        };
        let freed = |freed: Freed| {
            let id = service_of(freed.scope);
            if let Some(real) = snapshot.client_real(id, freed.real) {
                shared.loads.bind(core, real, -1);
            }
        };
        shared.clients.sweep_each(&mut self.seat.clients, age, budget, timeout, freed);
    }
}

/// The service whose clients are kept under this number.
pub fn service_of(scope: ClientScope) -> ServiceId {
    ServiceId(u32::from(scope.number()) - 1)
}

/// The number that a service's clients are kept under.
pub fn client_scope(service: ServiceId) -> Option<ClientScope> {
    ClientScope::new(u16::try_from(service.0.checked_add(1)?).ok()?)
}

pub(crate) fn is_reset(packet: &Packet) -> bool {
    packet.protocol == Protocol::Tcp && packet.tcp_flags.contains(TcpFlags::RST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_count_on_through_the_wrap_of_the_ticks() {
        let mut clock = AgeClock::new(6);
        let mut now = Tick(0);
        let mut expected = 0u8;
        for _ in 0..4_000 {
            now = now.plus(1_000_000);
            let before = clock.age;
            let age = clock.at(now);
            expected = expected.wrapping_add(age.wrapping_sub(before));
            assert_eq!(age, expected);
            assert!(clock.began.until(now) < 6 * TICKS_PER_SECOND as i32);
        }
        assert_eq!(clock.ages(360), 60);
        assert_eq!(clock.ages(361), 61);
        assert_eq!(clock.ages(2_678_400), MAX_TIMEOUT_AGES);
    }
}
