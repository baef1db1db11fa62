//! Counters since they were set to zero, and their averages per second.
//!
//! The averages are those of IPVS's estimator: every two seconds the change since the last
//! time is taken as a rate, and the average moves a quarter of the way towards it, in fixed
//! point. So a burst of 100 connections shows as 12, then 9, then 7 a second, and an average
//! that has almost died down shows as 1.

use std::collections::HashMap;

use dataplane::ids::ServiceId;
use dataplane::load::{Load, LoadBoard};
use dataplane::snapshot::{Real, Snapshot};
use dataplane::wire::Addr;

use super::row::{Stats, Traffic};

/// Bits behind the point: ten for connections and packets, five for bytes.
const SCALE: [u32; 5] = [10, 10, 10, 5, 5];

/// A real server as meters know it. Its id may be given to another one, these may not.
type RealKey = (ServiceId, Addr, u16);

/// The meters of all services and real servers. Control owns them.
#[derive(Clone, Debug, Default)]
pub struct Meters {
    services: HashMap<ServiceId, Meter>,
    reals: HashMap<RealKey, RealMeter>,
    /// What all services have counted, past ones among them.
    ever: [u64; 5],
    /// Everything, of services that are gone as well.
    all: Meter,
    /// Whether what was counted since the last tick is left out, as IPVS leaves it out.
    lagging: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    total: [u64; 5],
    average: [i64; 5],
    /// What was counted before the last time that it was set to zero.
    zeroed: [u64; 5],
    /// What was counted since the last tick, and is not this service's but its predecessor's.
    inherited: [u64; 5],
}

#[derive(Clone, Copy, Debug, Default)]
struct RealMeter {
    /// The cores' counters as they were when the meter was last moved.
    seen: [u64; 5],
    /// The same when its service's meter was.
    told: [u64; 5],
    meter: Meter,
}

impl Meters {
    /// Seconds between two calls of [`Self::tick`].
    pub const PERIOD_S: u32 = 2;

    /// Meters that show the counters as they were at the last tick: for comparisons with IPVS.
    pub fn as_in_kernel() -> Self {
        Self { lagging: true, ..Self::default() }
    }

    /// Moves all meters to the counters as they are; to be called every [`Self::PERIOD_S`].
    /// What is in the snapshot no longer is forgotten.
    pub fn tick(&mut self, snapshot: &Snapshot, loads: &LoadBoard) {
        let mut reals = HashMap::with_capacity(self.reals.len());
        let mut changes: HashMap<ServiceId, [u64; 5]> = HashMap::new();
        for real in snapshot.reals.iter().flatten() {
            let now = columns(&loads.sum(real.id));
            let mut entry = self.reals.get(&key(real)).copied().unwrap_or_default();
            let change = grown(entry.told, now);
            entry.told = now;
            // IPVS looks at a removed one's counters again when it is put back.
            if real.available || !self.lagging {
                entry.meter.advance(grown(entry.seen, now));
                entry.seen = now;
            }
            reals.insert(key(real), entry);
            let of_service = changes.entry(real.service).or_default();
            *of_service = sum(*of_service, change);
        }
        let ever = changes.values().fold(self.ever, |ever, change| sum(ever, *change));
        let mut all = self.all;
        all.advance(changes.values().copied().fold([0; 5], sum));
        let mut services = HashMap::with_capacity(self.services.len());
        for service in snapshot.services.iter().flatten() {
            let mut meter = self.services.get(&service.id).copied().unwrap_or_default();
            let change = changes.get(&service.id).copied().unwrap_or_default();
            let inherited = std::mem::take(&mut meter.inherited);
            meter.advance(zip(change, inherited, u64::saturating_sub));
            services.insert(service.id, meter);
        }
        *self = Self { services, reals, ever, all, lagging: self.lagging };
    }

    /// Sets counters and averages to zero (`ipvsadm -Z`): of one service with its real
    /// servers, or of all.
    pub fn zero(&mut self, snapshot: &Snapshot, loads: &LoadBoard, only: Option<ServiceId>) {
        self.zero_those(snapshot, loads, |service| only.is_none_or(|only| only == service));
        if only.is_none() {
            self.all = Meter::default();
        }
    }

    /// Services that were removed and are back: their meters begin anew, in one pass. IPVS
    /// keeps what real servers have counted since the last tick, but it is another service.
    pub fn begin_anew(
        &mut self,
        snapshot: &Snapshot,
        loads: &LoadBoard,
        chosen: impl Fn(ServiceId) -> bool,
    ) {
        let before = self.pending(snapshot, loads);
        self.zero_those(snapshot, loads, &chosen);
        let back = self.services.iter_mut().filter(|(id, _)| self.lagging && chosen(**id));
        for (id, meter) in back {
            meter.inherited = before.get(id).copied().unwrap_or_default();
        }
    }

    fn zero_those(
        &mut self,
        snapshot: &Snapshot,
        loads: &LoadBoard,
        chosen: impl Fn(ServiceId) -> bool,
    ) {
        let mut pending: HashMap<ServiceId, [u64; 5]> = HashMap::new();
        for real in snapshot.reals.iter().flatten().filter(|real| chosen(real.service)) {
            let before = self.reals.get(&key(real)).copied().unwrap_or_default();
            let now = columns(&loads.sum(real.id));
            let [seen, told] = match self.lagging {
                true => [before.seen, before.told],
                false => [now; 2],
            };
            let of_service = pending.entry(real.service).or_default();
            *of_service = sum(*of_service, grown(before.told, told));
            self.reals.insert(key(real), RealMeter { seen, told, meter: Meter::default() });
        }
        for service in snapshot.services.iter().flatten().filter(|service| chosen(service.id)) {
            let pending = pending.get(&service.id).copied().unwrap_or_default();
            self.ever = sum(self.ever, pending);
            let meter = self.services.get(&service.id).copied().unwrap_or_default();
            let zeroed = sum(meter.zeroed, sum(meter.total, pending));
            self.services.insert(service.id, Meter { zeroed, ..Meter::default() });
        }
    }

    /// What each service has counted up to the last tick, whether it was set to zero or not:
    /// for those who count by differences.
    pub fn ever(&self) -> HashMap<ServiceId, Traffic> {
        let counted = |meter: &Meter| Traffic::from_columns(sum(meter.zeroed, meter.total));
        self.services.iter().map(|(id, meter)| (*id, counted(meter))).collect()
    }

    /// The same of all services together, past ones among them.
    pub fn ever_in_all(&self) -> Traffic {
        Traffic::from_columns(self.ever)
    }

    /// The statistics of everything as of the last tick: the sum of what all services ever
    /// had, and averages of their own.
    pub fn all(&self) -> Stats {
        self.all.stats([0; 5])
    }

    /// The statistics of a real server whose counters stand at `load`.
    pub(super) fn real(&self, real: &Real, load: &Load) -> Stats {
        let entry = self.reals.get(&key(real)).copied().unwrap_or_default();
        let pending = grown(entry.seen, columns(load));
        entry.meter.stats(if self.lagging { [0; 5] } else { pending })
    }

    /// The statistics of all services, each from all real servers that it has or had.
    pub(super) fn services(
        &self,
        snapshot: &Snapshot,
        loads: &LoadBoard,
    ) -> HashMap<ServiceId, Stats> {
        let pending = self.pending(snapshot, loads);
        let stats = |id: ServiceId| {
            let pending = pending.get(&id).copied().filter(|_| !self.lagging).unwrap_or_default();
            (id, self.services.get(&id).copied().unwrap_or_default().stats(pending))
        };
        snapshot.services.iter().flatten().map(|service| stats(service.id)).collect()
    }
}

impl Meters {
    /// What the services' real servers have counted since their meters were moved.
    fn pending(&self, snapshot: &Snapshot, loads: &LoadBoard) -> HashMap<ServiceId, [u64; 5]> {
        let mut pending: HashMap<ServiceId, [u64; 5]> = HashMap::new();
        for real in snapshot.reals.iter().flatten() {
            let told = self.reals.get(&key(real)).copied().unwrap_or_default().told;
            let of_service = pending.entry(real.service).or_default();
            *of_service = sum(*of_service, grown(told, columns(&loads.sum(real.id))));
        }
        pending
    }
}

impl Meter {
    fn advance(&mut self, change: [u64; 5]) {
        self.total = sum(self.total, change);
        for ((average, change), scale) in self.average.iter_mut().zip(change).zip(SCALE) {
            let limit = i64::MAX as u64 >> (scale + 1);
            // Half of the change, as a period is two seconds.
            let rate = (change.min(limit) << (scale - 1)).cast_signed();
            *average += (rate - *average) >> 2;
        }
    }

    fn stats(&self, pending: [u64; 5]) -> Stats {
        let mut rates = [0; 5];
        for ((rate, average), scale) in rates.iter_mut().zip(self.average).zip(SCALE) {
            let rounding = (1 << (scale - 1)) - 1;
            *rate = (average + rounding).max(0).unsigned_abs() >> scale;
        }
        Stats {
            total: Traffic::from_columns(sum(self.total, pending)),
            per_second: Traffic::from_columns(rates),
        }
    }
}

fn key(real: &Real) -> RealKey {
    (real.service, real.address, real.port)
}

fn columns(load: &Load) -> [u64; 5] {
    [load.connections, load.in_packets, load.out_packets, load.in_bytes, load.out_bytes]
}

fn sum(left: [u64; 5], right: [u64; 5]) -> [u64; 5] {
    zip(left, right, u64::wrapping_add)
}

/// How much was counted since. Counters below what was seen began anew with a new id.
fn grown(seen: [u64; 5], now: [u64; 5]) -> [u64; 5] {
    let began_anew = seen.iter().zip(now).any(|(seen, now)| now < *seen);
    if began_anew { now } else { zip(now, seen, u64::wrapping_sub) }
}

fn zip(mut left: [u64; 5], right: [u64; 5], with: impl Fn(u64, u64) -> u64) -> [u64; 5] {
    for (left, right) in left.iter_mut().zip(right) {
        *left = with(*left, right);
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_fades_in_the_steps_that_ipvs_shows() {
        let mut meter = Meter::default();
        meter.advance([100, 100, 0, 4000, 0]);
        let mut shown = Vec::new();
        for _ in 0..4 {
            let Traffic { conns, in_bytes, .. } = meter.stats([0; 5]).per_second;
            shown.push((conns, in_bytes));
            meter.advance([0; 5]);
        }
        assert_eq!(shown, [(12, 500), (9, 375), (7, 281), (5, 211)]);
        for _ in 0..200 {
            meter.advance([0; 5]);
        }
        assert_eq!(meter.stats([0; 5]).per_second, Traffic::default());
        assert_eq!(meter.stats([0; 5]).total.conns, 100);
    }

    #[test]
    fn a_steady_flow_shows_its_rate_and_the_greatest_numbers_do_not_overflow() {
        let mut steady = Meter::default();
        let mut flood = Meter::default();
        for _ in 0..300 {
            steady.advance([20, 2_000, 0, 3_000_000_000_000, 0]);
            flood.advance([u64::MAX; 5]);
        }
        let rates = steady.stats([0; 5]).per_second;
        assert_eq!((rates.conns, rates.in_packets), (10, 1000));
        assert_eq!(rates.in_bytes, 1_500_000_000_000);
        assert!(flood.stats([0; 5]).per_second.conns > 1 << 50);
    }

    #[test]
    fn counters_that_begin_anew_are_counted_from_zero() {
        assert_eq!(grown([5, 9, 0, 90, 0], [7, 9, 0, 90, 0]), [2, 0, 0, 0, 0]);
        assert_eq!(grown([5, 9, 0, 90, 0], [1, 2, 0, 80, 0]), [1, 2, 0, 80, 0]);
    }
}
