//! What control does while the cores work at full load: a reload, or tables that grow.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane::catalog::Catalog;
use dataplane::catalog::spec::Farm;
use dataplane::shared::{Shared, TableSizes, Unable};

use crate::error::BenchError;
use crate::farm;
use crate::load::Load;

/// How long anything may take until all cores have it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often control looks whether the cores have it.
const LOOK: Duration = Duration::from_micros(200);

/// What happens in the middle of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disturbance {
    /// Every service gets another weight for one of its real servers.
    Reload,
    /// Tables become larger by as much as they had at the start.
    Growth,
}

/// Control, as far as a measurement needs it.
pub struct Control {
    what: Disturbance,
    shared: Arc<Shared>,
    catalog: Catalog,
    farms: Vec<Farm>,
    start: TableSizes,
    times: u32,
}

impl Control {
    /// Control of the director that is measured.
    pub fn new(what: Disturbance, load: &Load, shared: Arc<Shared>, catalog: Catalog) -> Self {
        let (farms, start) = (farm::farms(load), shared.sizes_now());
        Self { what, shared, catalog, farms, start, times: 0 }
    }

    /// Does it, and waits until every core works with it. Answers how long that took.
    ///
    /// # Errors
    /// It was refused, or a core did not take it.
    pub fn disturb(&mut self) -> Result<Duration, BenchError> {
        self.times += 1;
        let began = Instant::now();
        match self.what {
            Disturbance::Reload => self.reload(began),
            Disturbance::Growth => self.grow(began),
        }?;
        Ok(began.elapsed())
    }

    fn reload(&mut self, began: Instant) -> Result<(), BenchError> {
        let weight = 1 + self.times % 2;
        for farm in &mut self.farms {
            if let Some(real) = farm.reals.first_mut() {
                real.weight = weight;
            }
        }
        let (_, snapshot) = self.catalog.applied(&self.farms, Vec::new())?;
        let generation = snapshot.generation;
        for mailbox in &self.shared.mailboxes {
            drop(mailbox.snapshots.force_push(Arc::clone(&snapshot)));
        }
        let adopted =
            || self.shared.counters.iter().all(|core| core.generation.get() >= generation.0);
        wait(began, "the new configuration", || adopted().then_some(()))?;
        // The cores hand the old snapshots back; they are freed here.
        for mailbox in &self.shared.mailboxes {
            while mailbox.retired.pop().is_some() {}
        }
        self.catalog.reclaim(generation);
        Ok(())
    }

    fn grow(&self, began: Instant) -> Result<(), BenchError> {
        let times = 1 + self.times as usize;
        let none = TableSizes::default();
        let larger =
            |entries: usize, least: usize| if entries > least { entries * times } else { 0 };
        let start = &self.start;
        let wanted = TableSizes {
            connections_v4: larger(start.connections_v4, none.connections_v4),
            connections_v6: larger(start.connections_v6, none.connections_v6),
            templates_v4: larger(start.templates_v4, none.templates_v4),
            templates_v6: larger(start.templates_v6, none.templates_v6),
            clients_v4: larger(start.clients_v4, none.clients_v4),
            clients_v6: larger(start.clients_v6, none.clients_v6),
            ..none
        };
        wait(began, "larger tables", || {
            for mailbox in &self.shared.mailboxes {
                while mailbox.leftovers.pop().is_some() {}
            }
            match self.shared.grow(&wanted) {
                Ok(true) | Err(Unable::Busy) => None,
                Ok(false) => Some(Ok(())),
                Err(unable) => Some(Err(BenchError::Asked(unable.to_string()))),
            }
        })?
    }
}

/// Looks again and again until there is an answer.
fn wait<T>(
    began: Instant,
    what: &str,
    mut look: impl FnMut() -> Option<T>,
) -> Result<T, BenchError> {
    while began.elapsed() < PATIENCE {
        if let Some(answer) = look() {
            return Ok(answer);
        }
        std::thread::sleep(LOOK);
    }
    Err(BenchError::Asked(format!("no core took {what} within {} s", PATIENCE.as_secs())))
}
