//! The real server for a new connection.

use super::Bindings;
use crate::classify::Hit;
use crate::ids::RealId;
use crate::sched::Pool;
use crate::shared::Shared;
use crate::snapshot::{Identity, Service, Snapshot};
use crate::table::Handle;
use crate::tick::Tick;
use crate::verdict::DropReason;
use crate::wire::Packet;

/// A real server that was chosen for a new connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Choice {
    pub real: RealId,
    pub template: Option<Handle>,
    /// An ICMP error was what told of the flow.
    pub by_error: bool,
    /// The real server itself began the flow.
    pub by_server: bool,
    /// The port on the real server, where it was agreed upon.
    pub real_port: Option<u16>,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoChoice {
    /// No usable real server.
    Nobody,
    /// The client's real server is down, and the client is to wait for it.
    Down,
    /// There is no room for the client's template.
    Full,
}

impl NoChoice {
    /// Why the packet is dropped, where it is not answered.
    pub(super) const fn reason(self) -> DropReason {
        match self {
            Self::Nobody => DropReason::NoRealServer,
            Self::Down => DropReason::RealServerDown,
            Self::Full => DropReason::TableFull,
        }
    }
}

impl Bindings {
    /// The real server for a new connection.
    pub(super) fn choose(
        &mut self,
        packet: &Packet,
        hit: &Hit,
        service: &Service,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Result<Choice, NoChoice> {
        match &service.persistence {
            Some(persistence) => self.follow(packet, hit, service, persistence, snapshot, now),
            // A packet for another port than the service's own comes here by FTP's rule or
            // by port 0, and without persistence IPVS has nobody for it.
            None if !hit.own_port && matches!(service.identity, Identity::Address { .. }) => {
                Err(NoChoice::Nobody)
            }
            None => {
                let real = self.pick(packet, service, snapshot, now).ok_or(NoChoice::Nobody)?;
                Ok(Choice {
                    real,
                    template: None,
                    by_error: false,
                    by_server: false,
                    real_port: None,
                })
            }
        }
    }

    /// Asks the service's pins, then its scheduler.
    pub(super) fn pick(
        &mut self,
        packet: &Packet,
        service: &Service,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<RealId> {
        if let Some(real) = pinned(packet, service, snapshot, now) {
            return Some(real);
        }
        let pool = pool(&self.shared, self.core, service, snapshot, now);
        self.schedulers.pick(service, &pool, packet)
    }

    /// The real server that the scheduler would pick, without moving its cursor.
    pub(crate) fn would_pick(
        &self,
        packet: &Packet,
        service: &Service,
        snapshot: &Snapshot,
        now: Tick,
    ) -> Option<RealId> {
        if let Some(real) = pinned(packet, service, snapshot, now) {
            return Some(real);
        }
        let pool = pool(&self.shared, self.core, service, snapshot, now);
        self.schedulers.would_pick(service, &pool, packet)
    }
}

/// The real server that the client is pinned to, unless that one takes nobody. Weight and
/// thresholds are for schedulers.
fn pinned(packet: &Packet, service: &Service, snapshot: &Snapshot, now: Tick) -> Option<RealId> {
    let real = snapshot.available(service.pins.of(packet.src)?)?;
    (!real.is_down(now)).then_some(real.id)
}

/// What the schedulers may look at.
pub(crate) fn pool<'a>(
    shared: &'a Shared,
    core: usize,
    service: &'a Service,
    snapshot: &'a Snapshot,
    now: Tick,
) -> Pool<'a> {
    Pool {
        members: &service.members,
        reals: &snapshot.reals,
        loads: &shared.loads,
        kernel: service.compat.kernel,
        flags: service.flags,
        tracking: service.tracking,
        seed: service.seed,
        secret: shared.key.0,
        now,
        core,
    }
}
