//! Drains with a deadline: when it passes, the server counts as down.
//!
//! The cores see the deadline themselves, in the snapshot; here the server's state follows,
//! so that listings and later configurations agree. A deadline counts from the moment when
//! the server was first seen in drain, and a configuration that still says `drain` later does
//! not begin anew.

use std::collections::HashMap;

use dataplane::catalog::Catalog;
use dataplane::catalog::spec::Farm;
use dataplane::snapshot::{Identity, RealState};
use dataplane::tick::{TICKS_PER_SECOND, Tick};
use dataplane::wire::Addr;
use serde::Serialize;

use crate::config::Model;

/// A real server of a service.
pub(super) type Key = (Identity, Addr, u16);

/// The drains that have a deadline.
#[derive(Clone, Debug, Default)]
pub struct Drains {
    known: HashMap<Key, Drain>,
}

#[derive(Clone, Debug)]
struct Drain {
    service: String,
    began_ms: u64,
    until_ms: u64,
    over: bool,
}

/// A drain as `status` tells of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Draining {
    /// The service's name.
    pub service: String,
    /// The real server, as `ADDRESS:PORT`.
    pub real_server: String,
    /// Seconds until the deadline; 0 if it has passed and the server counts as down.
    pub seconds_left: u64,
}

impl Drains {
    /// Puts the deadlines of a configuration into its plan. Times are milliseconds since the
    /// start, the same as the ticks'.
    pub fn settle(&mut self, model: &Model, farms: &mut [Farm], now_ms: u64) {
        let mut known = HashMap::new();
        for (service, farm) in model.services.iter().zip(farms) {
            let Some(deadline_s) = service.drain_deadline_s else { continue };
            let identity = farm.service.identity;
            for real in farm.reals.iter_mut().filter(|real| real.state == RealState::Drain) {
                let key = (identity, real.address, real.port);
                let began_ms = self.known.get(&key).map_or(now_ms, |drain| drain.began_ms);
                let until_ms = began_ms.saturating_add(u64::from(deadline_s) * 1_000);
                let over = until_ms <= now_ms;
                if over {
                    real.state = RealState::Down;
                } else {
                    real.drain_until = Some(tick(until_ms));
                }
                let service = service.name.clone();
                known.insert(key, Drain { service, began_ms, until_ms, over });
            }
        }
        self.known = known;
    }

    /// A drain that an operator begins, until this moment; another one of the same server is
    /// replaced.
    pub(super) fn begin(&mut self, key: Key, service: String, now_ms: u64, until_ms: u64) {
        self.known.insert(key, Drain { service, began_ms: now_ms, until_ms, over: false });
    }

    /// Whether this server has, or had, a deadline.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.known.contains_key(key)
    }

    /// There is no deadline for this server any more.
    pub(super) fn forget(&mut self, key: &Key) {
        self.known.remove(key);
    }

    /// Marks the servers whose deadline has passed as down in the catalog, and says which
    /// ones: service and address.
    pub fn end(&mut self, catalog: &mut Catalog, now_ms: u64) -> Vec<(String, Addr)> {
        let mut ended = Vec::new();
        for (key, drain) in &mut self.known {
            if drain.over || drain.until_ms > now_ms {
                continue;
            }
            drain.over = true;
            let (identity, address, port) = key;
            // Somebody may have changed it in between.
            let Some(mut spec) = catalog.real(identity, *address, *port) else { continue };
            if spec.state != RealState::Drain {
                continue;
            }
            spec.state = RealState::Down;
            spec.drain_until = None;
            if catalog.edit_real(identity, spec).is_ok() {
                ended.push((drain.service.clone(), *address));
            }
        }
        ended
    }

    /// All of them that are still there and not up again, by service and address.
    pub fn list(&self, catalog: &Catalog, now_ms: u64) -> Vec<Draining> {
        let is_there = |(identity, address, port): &Key| {
            catalog.real(identity, *address, *port).is_some_and(|one| one.state != RealState::Up)
        };
        let mut list: Vec<Draining> = self
            .known
            .iter()
            .filter(|(key, _)| is_there(key))
            .map(|((_, address, port), drain)| Draining {
                service: drain.service.clone(),
                real_server: match address.is_v4() {
                    true => format!("{address}:{port}"),
                    false => format!("[{address}]:{port}"),
                },
                seconds_left: drain.until_ms.saturating_sub(now_ms).div_ceil(1_000),
            })
            .collect();
        list.sort_by(|a, b| (&a.service, &a.real_server).cmp(&(&b.service, &b.real_server)));
        list
    }
}

/// The same moment as the cores count it.
pub(super) fn tick(ms: u64) -> Tick {
    Tick((ms / u64::from(1_000 / TICKS_PER_SECOND)) as u32)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use dataplane::shared::{HashKey, Shared, TableSizes};
    use dataplane::timer::TimerRule;

    use super::*;
    use crate::{compile, config};

    fn model(state: &str, deadline: &str) -> Model {
        let text = format!(
            "ports: [{{ name: lan0, device: net_null0, addresses: [198.18.10.1/24] }}]\n\
             services:\n  - vip: 198.18.255.1\n    protocol: tcp\n    vip_port: 80\n    {deadline}\n    \
             real_servers:\n      - {{ address: 198.18.10.11, state: {state} }}\n      \
             - {{ address: 198.18.10.12 }}\n"
        );
        config::parse(text, "test").unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn settled(drains: &mut Drains, model: &Model, now_ms: u64) -> (RealState, Option<Tick>) {
        let mut plan = compile::plan(model);
        drains.settle(model, &mut plan.farms, now_ms);
        (plan.farms[0].reals[0].state, plan.farms[0].reals[0].drain_until)
    }

    #[test]
    fn a_deadline_counts_from_the_first_sight_and_is_not_renewed() {
        let mut drains = Drains::default();
        let draining = model("drain", "drain_deadline: 10");
        let until = Some(tick(11_000));
        assert_eq!(settled(&mut drains, &draining, 1_000), (RealState::Drain, until));
        assert_eq!(settled(&mut drains, &draining, 9_000), (RealState::Drain, until));
        assert_eq!(settled(&mut drains, &draining, 11_000), (RealState::Down, None));
        // A later deadline is a later one.
        let longer = model("drain", "drain_deadline: 20");
        assert_eq!(settled(&mut drains, &longer, 12_000).1, Some(tick(21_000)));
        // Once it was up, the next drain is another one.
        assert_eq!(settled(&mut drains, &model("up", "drain_deadline: 10"), 13_000).1, None);
        assert_eq!(settled(&mut drains, &draining, 14_000).1, Some(tick(24_000)));
        assert_eq!(settled(&mut drains, &model("drain", ""), 15_000), (RealState::Drain, None));
    }

    #[test]
    fn when_the_deadline_passes_the_server_is_down_once() {
        let mut drains = Drains::default();
        let model = model("drain", "drain_deadline: 10");
        let mut plan = compile::plan(&model);
        drains.settle(&model, &mut plan.farms, 0);
        let sizes = TableSizes::default();
        let (shared, _) = Shared::new(1, sizes, TimerRule::Exact, HashKey([1, 2]));
        let mut catalog = Catalog::new(Arc::clone(&shared), plan.site);
        catalog.apply(&plan.farms, plan.selectors).unwrap();
        let identity = plan.farms[0].service.identity;
        let state = |catalog: &Catalog| {
            let real = plan.farms[0].reals[0];
            catalog.real(&identity, real.address, real.port).unwrap().state
        };

        assert_eq!(drains.list(&catalog, 2_500)[0].seconds_left, 8);
        assert_eq!(drains.list(&catalog, 2_500)[0].real_server, "198.18.10.11:80");
        assert_eq!(drains.end(&mut catalog, 9_999), []);
        assert_eq!(state(&catalog), RealState::Drain);
        let ended = drains.end(&mut catalog, 10_000);
        assert_eq!(ended.len(), 1);
        assert_eq!(state(&catalog), RealState::Down);
        assert_eq!(drains.end(&mut catalog, 20_000), []);
        assert_eq!(drains.list(&catalog, 20_000)[0].seconds_left, 0);
        catalog.delete_service(&identity).unwrap();
        assert_eq!(drains.list(&catalog, 20_000), []);
    }
}
