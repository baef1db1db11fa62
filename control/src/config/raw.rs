//! The file as it is written: which keys there are, and the type of each value.
//!
//! Nothing here knows how two keys fit together; that is `check`'s part. A value that is
//! wrong by itself is reported here and stays [`Given::Bad`], so that nothing reports it
//! again.

mod allow;
mod compat;
mod metrics;
mod persistence;
mod pin;
mod port;
mod real_server;
mod run_as;
mod scheduler;
mod section;
mod selector;
mod service;

use super::fields::{Fields, Given, Listed};
use super::findings::Findings;
use super::keys;
use super::model::{
    Compat, Control, CoreId, Defaults, Fragments, Log, Metrics, Neighbours, RunAs, Tables,
    Timeouts, Ttl,
};
use super::path::Path;
use super::scalar;
use super::tree::Node;

pub(super) use persistence::Persistence;
pub(super) use pin::Pin;
pub(super) use port::{LEAST_DESCRIPTORS, Port};
pub(super) use real_server::{Method, RealServer};
pub(super) use section::Memory;
pub(super) use selector::Selector;
pub(super) use service::Service;

/// The whole file. Sections whose keys do not depend on each other are read as they are
/// meant; the rest stays as written.
pub(super) struct File {
    /// `None` for an item that is no mapping; so the index is the one in the file.
    pub(super) ports: Listed<Option<Port>>,
    pub(super) main_core: Given<CoreId>,
    pub(super) memory: Memory,
    pub(super) tables: Tables,
    pub(super) fragments: Fragments,
    pub(super) timeouts: Timeouts,
    pub(super) ttl: Ttl,
    pub(super) neighbours: Neighbours,
    pub(super) control: Control,
    pub(super) metrics: Option<Metrics>,
    pub(super) run_as: Option<RunAs>,
    pub(super) log: Log,
    pub(super) compat: Compat,
    /// `compat.defaults`, if it can be read.
    pub(super) defaults: Option<Defaults>,
    pub(super) services: Vec<Option<Box<Service>>>,
}

impl File {
    pub(super) fn read(root: &Node<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let top = Path::Root;
        let fields = Fields::open(root, &top, &keys::FILE, findings)?;
        fields.require("ports", "a director needs at least one NIC port", findings);
        let (compat, defaults) = compat::of_director(&fields, findings);
        Some(Self {
            ports: Port::read_all(&fields, findings),
            main_core: fields.read("main_core", findings, |text| {
                scalar::fitting(text, 0..=scalar::MAX_CORE).map(CoreId)
            }),
            memory: section::memory(&fields, findings),
            tables: section::tables(&fields, findings),
            fragments: section::fragments(&fields, findings),
            timeouts: section::timeouts(&fields, findings),
            ttl: fields
                .word("ttl", findings, &[("decrement", Ttl::Decrement), ("keep", Ttl::Keep)])
                .or(Ttl::default()),
            neighbours: section::neighbours(&fields, findings),
            control: section::control(&fields, findings),
            metrics: metrics::metrics(&fields, findings),
            run_as: run_as::run_as(&fields, findings),
            log: section::log(&fields, findings),
            compat,
            defaults,
            services: Service::read_all(&fields, findings),
        })
    }
}
