//! The file as it is written: which keys there are, and the type of each value.
//!
//! Nothing here knows how two keys fit together; that is `check`'s part. A value that is
//! wrong by itself is reported here and stays [`Given::Bad`], so that nothing reports it
//! again.

mod allow;
mod metrics;
mod port;
mod real_server;
mod section;
mod service;

use super::fields::{Fields, Given, Listed};
use super::findings::Findings;
use super::model::{Compat, Control, CoreId, Log, Metrics, Neighbours, Tables, Timeouts, Ttl};
use super::path::Path;
use super::scalar;
use super::tree::Node;

pub(super) use port::{LEAST_DESCRIPTORS, Port};
pub(super) use real_server::{Method, RealServer};
pub(super) use section::Memory;
pub(super) use service::{Persistence, Selector, Service};

/// The whole file. Sections whose keys do not depend on each other are read as they are
/// meant; the rest stays as written.
pub(super) struct File {
    /// `None` for an item that is no mapping; so the index is the one in the file.
    pub(super) ports: Listed<Option<Port>>,
    pub(super) main_core: Given<CoreId>,
    pub(super) memory: Memory,
    pub(super) tables: Tables,
    pub(super) timeouts: Timeouts,
    pub(super) ttl: Ttl,
    pub(super) neighbours: Neighbours,
    pub(super) control: Control,
    pub(super) metrics: Option<Metrics>,
    pub(super) log: Log,
    pub(super) compat: Compat,
    pub(super) services: Vec<Option<Service>>,
}

const KEYS: &[&str] = &[
    "ports",
    "main_core",
    "memory",
    "tables",
    "timeouts",
    "ttl",
    "neighbours",
    "control",
    "metrics",
    "log",
    "compat",
    "services",
];

impl File {
    pub(super) fn read(root: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let top = Path::Root;
        let fields = Fields::open(root, &top, KEYS, findings)?;
        fields.require("ports", "a director needs at least one NIC port", findings);
        Some(Self {
            ports: Port::read_all(&fields, findings),
            main_core: fields.read("main_core", findings, |text| {
                scalar::fitting(text, 0..=scalar::MAX_CORE).map(CoreId)
            }),
            memory: section::memory(&fields, findings),
            tables: section::tables(&fields, findings),
            timeouts: section::timeouts(&fields, findings),
            ttl: fields
                .word("ttl", findings, &[("decrement", Ttl::Decrement), ("keep", Ttl::Keep)])
                .or(Ttl::default()),
            neighbours: section::neighbours(&fields, findings),
            control: section::control(&fields, findings),
            metrics: metrics::metrics(&fields, findings),
            log: section::log(&fields, findings),
            compat: section::compat(&fields, findings),
            services: Service::read_all(&fields, findings),
        })
    }
}
