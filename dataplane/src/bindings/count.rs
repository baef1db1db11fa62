//! Counting: real servers' loads, thresholds and the core's own totals.

use super::{Bindings, Outcome};
use crate::compat::Kernel;
use crate::ids::RealId;
use crate::shared::Shared;
use crate::snapshot::Real;
use crate::table::View;
use crate::wire::{Family, Fragment, Packet};

impl Bindings {
    /// One packet from a client, with its IP length.
    pub(super) fn count_incoming(&self, real: RealId, packet: &Packet) {
        if let Some(load) = self.shared.loads.of_core(self.core, real) {
            load.incoming(1, u64::from(counted_len(packet)));
        }
    }

    /// One packet to a client, with its IP length.
    pub(super) fn count_outgoing(&self, real: RealId, packet: &Packet) {
        if let Some(load) = self.shared.loads.of_core(self.core, real) {
            load.outgoing(1, u64::from(counted_len(packet)));
        }
    }

    /// A later fragment: bytes of a packet that was counted with its first one.
    pub(crate) fn count_piece(&self, outcome: Outcome, packet: &Packet) {
        let payload = u64::from(packet.total_len) + u64::from(packet.l3_offset);
        let bytes = payload.saturating_sub(u64::from(packet.l4_offset));
        let load = |real| self.shared.loads.of_core(self.core, real);
        match outcome {
            Outcome::Forward { real, .. } => {
                if let Some(load) = load(real) {
                    load.incoming(0, bytes);
                }
            }
            Outcome::Reply { real, .. } => {
                if let Some(load) = load(real) {
                    load.outgoing(0, bytes);
                }
            }
            Outcome::NotOurs | Outcome::Refuse | Outcome::Drop(_) => {}
        }
    }

    /// One new connection with its first packet, of this IP length.
    pub(super) fn count_opening(&self, real: RealId, by_template: bool, total_len: u16) {
        if let Some(load) = self.shared.loads.of_core(self.core, real) {
            load.connection();
            load.incoming(1, u64::from(total_len));
        }
        if let Some(counters) = self.counters() {
            counters.scheduled.add(1);
            counters.followed.add(u64::from(by_template));
        }
    }

    /// One new client.
    pub(super) fn count_scheduled(&self, real: RealId) {
        if let Some(load) = self.shared.loads.of_core(self.core, real) {
            load.connection();
        }
        if let Some(counters) = self.counters() {
            counters.scheduled.add(1);
        }
    }

    /// Changes the connections of a real server, and its OVERLOAD flag with them.
    pub(super) fn shift_load(&self, real: &Real, active: i64, inactive: i64) {
        self.shared.loads.shift(self.core, real.id, active, inactive);
        check_thresholds(&self.shared, self.core, real, active + inactive > 0);
    }

    /// Changes the number of templates of a real server.
    pub(super) fn shift_bound(&self, real: &Real, by: i64) {
        self.shared.loads.bind(self.core, real.id, by);
        check_thresholds(&self.shared, self.core, real, by > 0);
    }

    /// Takes a template's client from it: nobody finds it any more, and it lives on only while
    /// it controls connections.
    pub(super) fn orphan(&self, template: &View) {
        if self.shared.templates.invalidate(template.handle) {
            self.shared.loads.orphan(self.core, template.real, 1);
        }
    }
}

/// The bytes that a packet or a first fragment counts for: as if its datagram came whole, and
/// without the header that IPv6 has for fragments alone.
pub(super) fn counted_len(packet: &Packet) -> u16 {
    const FRAGMENT_HEADER: u16 = 8;
    match (packet.family, packet.fragment) {
        (Family::V6, Fragment::First { .. }) => packet.total_len.saturating_sub(FRAGMENT_HEADER),
        _ => packet.total_len,
    }
}

/// IPVS looks at the thresholds after every entry that is bound or unbound, templates among
/// them, though only connections count.
pub(super) fn check_thresholds(shared: &Shared, core: usize, real: &Real, bound: bool) {
    let (upper, lower) = (u64::from(real.upper_threshold), u64::from(real.lower_threshold));
    if upper == 0 && !shared.loads.is_overloaded(real.id) {
        return;
    }
    let (active, inactive) = shared.loads.connections(real.id);
    let total = active + inactive;
    let overloaded = if bound {
        (upper != 0 && total >= upper).then_some(true)
    } else {
        let below = match (real.kernel, lower) {
            (Kernel::New, _) => total < u64::from(real.effective_lower_threshold()),
            (Kernel::Classic, 0) if upper != 0 => total * 4 < upper * 3,
            (Kernel::Classic, 0) => true,
            (Kernel::Classic, lower) => total < lower,
        };
        below.then_some(false)
    };
    if let Some(overloaded) = overloaded {
        shared.loads.set_overloaded_by(core, real.id, overloaded);
    }
}
