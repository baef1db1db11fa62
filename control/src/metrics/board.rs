//! What the control thread leaves for those who ask, so that nobody has to ask it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use dataplane::ids::ServiceId;
use dataplane::shared::Shared;
use dataplane::snapshot::Snapshot;
use nic::{NicStats, PortInfo};

use super::exposition::Format;
use super::page::{self, Applies};
use crate::config::model::Metrics;
use crate::listing::Traffic;
use crate::neighbour::Condition;

/// A page is used again for so long.
const FRESH: Duration = Duration::from_secs(1);

/// What the control thread knows and the cores do not count.
#[derive(Clone, Debug)]
pub struct Facts {
    /// What is offered.
    pub settings: Metrics,
    /// The newest generation.
    pub snapshot: Arc<Snapshot>,
    /// The ports as they were opened.
    pub ports: Vec<PortInfo>,
    /// The ports' counters, as of the last look (every two seconds).
    pub nic: NicStats,
    /// What all real servers of each service have counted, removed ones among them, as of
    /// the same look; never set to zero.
    pub services: HashMap<ServiceId, Traffic>,
    /// The same of all services together, past ones among them.
    pub all: Traffic,
    /// Neighbours by port and condition.
    pub neighbours: HashMap<(u8, Condition), u64>,
    /// How changes of the configuration ended.
    pub applies: Applies,
    /// When the director started.
    pub started: SystemTime,
}

impl Facts {
    /// Whether something has no series of its own.
    pub fn leaves_out(&self) -> bool {
        let reals = page::reals_of(&self.snapshot);
        page::room_for(&reals, &self.settings).leaves_out(reals.len())
    }
}

/// A page and when it was made.
type Page = (Instant, Arc<str>);

/// The board: written by the control thread, read by the listener's threads.
pub struct Board {
    shared: Arc<Shared>,
    /// Held only to take or replace the pointer.
    facts: Mutex<Option<Arc<Facts>>>,
    /// Turns of the control thread's loop.
    rounds: AtomicU64,
    /// One page a format; who makes a page holds it, so that others wait for that one.
    pages: [Mutex<Option<Page>>; 2],
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Board {
    /// A board with nothing on it yet.
    pub fn new(shared: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            shared,
            facts: Mutex::default(),
            rounds: AtomicU64::new(0),
            pages: Default::default(),
        })
    }

    /// What all cores share.
    pub fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Puts up newer facts.
    pub fn put(&self, facts: Facts) {
        let older = lock(&self.facts).replace(Arc::new(facts));
        // Freed after the lock.
        drop(older);
    }

    /// The facts now; `None` while the director starts.
    pub fn facts(&self) -> Option<Arc<Facts>> {
        lock(&self.facts).clone()
    }

    /// Says that the control thread has been around its loop.
    pub fn round(&self) {
        self.rounds.fetch_add(1, Relaxed);
    }

    /// How often it has been around.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Relaxed)
    }

    /// The page of metrics, at most a second old; `None` while the director starts.
    pub fn page(&self, format: Format) -> Option<Arc<str>> {
        let [text, openmetrics] = &self.pages;
        let mut page = lock(match format {
            Format::Text => text,
            Format::OpenMetrics => openmetrics,
        });
        if let Some((made, page)) = &*page
            && made.elapsed() < FRESH
        {
            return Some(Arc::clone(page));
        }
        let facts = self.facts()?;
        let fresh: Arc<str> = page::write(&facts, &self.shared, format).into();
        *page = Some((Instant::now(), Arc::clone(&fresh)));
        Some(fresh)
    }
}
