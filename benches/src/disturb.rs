//! What control does while the cores work at full load: a reload, tables that grow, or a list
//! of everything in them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use dataplane::catalog::Catalog;
use dataplane::catalog::spec::Farm;
use dataplane::mailbox::{Answer, Query};
use dataplane::shared::{Shared, TableSizes, Unable};
use dataplane::table::Cursor;
use dataplane::tick::Tick;

use crate::error::BenchError;
use crate::farm::{self, Measured};
use crate::load::Load;

/// How long anything may take until all cores have it.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often control looks whether the cores have it.
const LOOK: Duration = Duration::from_micros(200);

/// What happens in the middle of a round.
#[derive(Clone, Copy, Debug)]
pub enum Disturbance {
    /// Every service gets another weight for one of its real servers.
    Reload(Configuration),
    /// Tables become larger by as much as they had at the start.
    Growth,
    /// All bindings and connections are listed.
    Listing,
}

/// Services as an operator writes them. Reading them is a part of a reload.
#[derive(Clone, Copy, Debug)]
pub struct Configuration {
    /// The services' text.
    pub write: fn(&[Farm]) -> Result<String, String>,
    /// What it says.
    pub read: fn(&str) -> Result<Vec<Farm>, String>,
}

/// Places in a table of all cores that are looked at at once, and connections of one core:
/// as many as `director clients` and `ipvsadm -Lnc` ask for.
const STEP: usize = 256;

/// Control, as far as a measurement needs it.
pub struct Control {
    what: Disturbance,
    shared: Arc<Shared>,
    catalog: Catalog,
    farms: Vec<Farm>,
    start: TableSizes,
    times: u32,
    /// The next reload's configuration.
    text: String,
}

impl Control {
    /// Control of the director that is measured, if something is to happen to it. Once.
    pub fn new(what: Option<Disturbance>, load: &Load, measured: &mut Measured) -> Option<Self> {
        let (what, catalog) = (what?, measured.take_catalog()?);
        let shared = Arc::clone(&measured.shared);
        let (farms, start) = (farm::farms(load), shared.sizes_now());
        Some(Self { what, shared, catalog, farms, start, times: 0, text: String::new() })
    }

    /// Writes down what the next time needs, before a round begins: only then do the cores
    /// take anything, and it is not to be over before.
    ///
    /// # Errors
    /// The load has no words in a configuration.
    pub fn prepare(&mut self) -> Result<(), BenchError> {
        self.times += 1;
        let Disturbance::Reload(configuration) = self.what else { return Ok(()) };
        let weight = 1 + self.times % 2;
        for farm in &mut self.farms {
            if let Some(real) = farm.reals.first_mut() {
                real.weight = weight;
            }
        }
        self.text = (configuration.write)(&self.farms).map_err(BenchError::Asked)?;
        Ok(())
    }

    /// Does it, and waits until every core works with it. Answers how long that took.
    ///
    /// # Errors
    /// It was refused, or a core did not take it.
    pub fn disturb(&mut self) -> Result<Duration, BenchError> {
        match self.what {
            Disturbance::Reload(configuration) => self.reload(configuration),
            Disturbance::Growth => self.grow(),
            Disturbance::Listing => self.list(),
        }
    }

    fn reload(&mut self, configuration: Configuration) -> Result<Duration, BenchError> {
        let began = Instant::now();
        let farms = (configuration.read)(&self.text).map_err(BenchError::Asked)?;
        let (_, snapshot) = self.catalog.applied(&farms, Vec::new())?;
        let generation = snapshot.generation;
        for mailbox in &self.shared.mailboxes {
            drop(mailbox.snapshots.force_push(Arc::clone(&snapshot)));
        }
        let adopted =
            || self.shared.counters.iter().all(|core| core.generation.get() >= generation.0);
        wait(began, "the new configuration", || adopted().then_some(()))?;
        let took = began.elapsed();
        // The cores hand the old snapshots back; they are freed here.
        for mailbox in &self.shared.mailboxes {
            while mailbox.retired.pop().is_some() {}
        }
        self.catalog.reclaim(generation);
        Ok(took)
    }

    fn grow(&self) -> Result<Duration, BenchError> {
        let began = Instant::now();
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
        })??;
        Ok(began.elapsed())
    }

    /// Reads what all cores share where it stands, and asks each core for its connections.
    fn list(&self) -> Result<Duration, BenchError> {
        let (began, mut listed) = (Instant::now(), 0_u64);
        for core in 0..self.shared.mailboxes.len() {
            let shard = core as u32;
            let mut next = Some(Cursor::default());
            while let Some(from) = next {
                next = self.shared.clients.iterate(shard, from, STEP, |_, _, _, _| listed += 1);
            }
            let (mut next, now) = (Some(Cursor::default()), Tick::default());
            while let Some(from) = next {
                next = self.shared.templates.iterate(shard, from, now, STEP, |_, _| listed += 1);
            }
            for v6 in [false, true] {
                let mut next = Some(0);
                while let Some(from) = next {
                    let (connections, then) = self.connections(core, v6, from)?;
                    listed += connections as u64;
                    next = then;
                }
            }
        }
        match listed {
            0 => Err(BenchError::Asked("there is nothing to list".to_owned())),
            _ => Ok(began.elapsed()),
        }
    }

    /// Some connections of a core from a place on, and the place behind them.
    fn connections(
        &self,
        core: usize,
        v6: bool,
        from: usize,
    ) -> Result<(usize, Option<usize>), BenchError> {
        let Some(mailbox) = self.shared.mailboxes.get(core) else { return Ok((0, None)) };
        let query = Query::Connections { v6, from, page: Vec::with_capacity(STEP) };
        let (began, mut query) = (Instant::now(), Some(query));
        loop {
            query = query.and_then(|query| mailbox.queries.push(query).err());
            if let Some(Answer::Connections { page, next, .. }) = mailbox.answers.pop() {
                return Ok((page.len(), next));
            }
            if began.elapsed() > PATIENCE {
                return Err(BenchError::Asked(format!("core {core} answers no question")));
            }
            std::hint::spin_loop();
        }
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
