//! `services[]` as written.

use crate::config::code::Code;
use crate::config::fields::{Fields, Given};
use crate::config::findings::Findings;
use crate::config::keys;
use crate::config::model::{Family, Mark, OnDown, OnDrain, Scheduler, ServiceCompat, Tracking};
use crate::config::path::Path;
use crate::config::scalar::{self, Reject};
use crate::config::tree::Node;

use super::compat;
use super::persistence::{Persistence, persistence};
use super::pin::{Pin, pins};
use super::real_server::RealServer;
use super::scheduler::scheduler;
use super::section::MAX_TIMEOUT_S;
use super::selector::{Selectors, family, selectors};

/// Services of one file.
const MAX_SERVICES: usize = 65_536;

/// A virtual service as written.
pub(in crate::config) struct Service {
    pub(in crate::config) name: Given<String>,
    pub(in crate::config) mark: Given<Mark>,
    pub(in crate::config) family: Given<Family>,
    pub(in crate::config) selectors: Selectors,
    pub(in crate::config) scheduler: Given<Scheduler>,
    /// `Good(None)` is `persistence: false`.
    pub(in crate::config) persistence: Given<Option<Persistence>>,
    pub(in crate::config) tracking: Given<Tracking>,
    pub(in crate::config) one_packet: Given<bool>,
    pub(in crate::config) seed: Given<u64>,
    pub(in crate::config) on_drain: Given<OnDrain>,
    pub(in crate::config) on_down: Given<OnDown>,
    pub(in crate::config) drain_deadline_s: Given<u32>,
    pub(in crate::config) compat: ServiceCompat,
    pub(in crate::config) pins: Vec<Option<Pin>>,
    pub(in crate::config) real_servers: Vec<Option<RealServer>>,
}

impl Service {
    pub(super) fn read_all(
        file: &Fields<'_, '_>,
        findings: &mut Findings<'_>,
    ) -> Vec<Option<Box<Self>>> {
        let path = Path::Root.key("services");
        let items = file.list("services", findings).good().unwrap_or_default();
        if items.len() > MAX_SERVICES {
            let what = format!("there are {} services, {MAX_SERVICES} are possible", items.len());
            let hint = "split the load over several directors";
            findings.value(Code::OutOfRange, &path.item(MAX_SERVICES), what, hint);
        }
        let mut all = Vec::new();
        for (index, node) in items.iter().enumerate().take(MAX_SERVICES) {
            if findings.full() {
                break;
            }
            if all.len() == all.capacity() {
                // Doubling would take as much again for services that never come.
                all.reserve_exact((all.len() / 8).max(64));
            }
            // Each in a place of its own, so that it can be let go of by itself.
            all.push(Service::read(node, &path.item(index), findings).map(Box::new));
        }
        all
    }

    fn read(node: &Node<'_>, path: &Path<'_>, findings: &mut Findings<'_>) -> Option<Self> {
        let fields = Fields::open(node, path, &keys::SERVICE, findings)?;
        Some(Self {
            name: fields.read("name", findings, |text| scalar::name(text, ":/[]", 64)),
            mark: fields.read("mark", findings, mark),
            family: family(&fields, path, findings),
            selectors: selectors(&fields, path, findings),
            scheduler: scheduler(&fields, path, findings),
            persistence: persistence(&fields, path, findings),
            tracking: fields.word(
                "tracking",
                findings,
                &[("full", Tracking::Full), ("client", Tracking::Client)],
            ),
            one_packet: fields.read("one_packet", findings, scalar::boolean),
            seed: fields.read("seed", findings, |text| scalar::fitting(text, 0..=u64::MAX)),
            on_drain: fields.word(
                "on_drain",
                findings,
                &[("keep", OnDrain::Keep), ("new_elsewhere", OnDrain::NewElsewhere)],
            ),
            on_down: fields.word(
                "on_down",
                findings,
                &[("rebind", OnDown::Rebind), ("keep", OnDown::Keep), ("drop", OnDown::Drop)],
            ),
            drain_deadline_s: fields
                .read("drain_deadline", findings, |text| scalar::seconds(text, 1..=MAX_TIMEOUT_S)),
            compat: compat::of_service(&fields, path, findings),
            pins: pins(&fields, path, findings),
            real_servers: RealServer::read_all(&fields, path, findings),
        })
    }
}

fn mark(text: &str) -> Result<Mark, Reject> {
    scalar::fitting::<u32>(text, 1..=u64::from(u32::MAX)).and_then(|number| {
        number.try_into().map(Mark).map_err(|_| {
            Reject::new(Code::OutOfRange, "0 is no mark".to_owned(), "leave the key out")
        })
    })
}
