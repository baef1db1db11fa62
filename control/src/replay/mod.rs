//! `director replay`: a capture through the real packet path, with the capture's own time
//! stamps as the clock.
//!
//! The same worker, tables and schedulers as in the poll loop, on ports in memory. What a
//! capture cannot tell is made up so that it shows: a next hop whose MAC address is not
//! pinned has 02:00 and the last four bytes of its IP address.

pub mod pcap;
mod pcapng;

use std::collections::HashMap;
use std::sync::Arc;

use dataplane::catalog::{Catalog, Refused};
use dataplane::counters::CoreTotals;
use dataplane::director::{Director, Surroundings};
use dataplane::explain::Explanation;
use dataplane::ids::{PortIndex, ScopeId};
use dataplane::port::Frame as _;
use dataplane::port::memory::{MemoryFrame, MemoryPort};
use dataplane::shared::{HashKey, Shared, TableSizes};
use dataplane::snapshot::{Identity, Snapshot};
use dataplane::tick::{TICKS_PER_SECOND, Tick};
use dataplane::timer::TimerRule;
use dataplane::verdict::DropReason;
use dataplane::wire::ethernet::{self, Mac};
use dataplane::wire::{Addr, Family, Parsed, parse};
use dataplane::worker::Worker;
use serde_json::{Value, json};

use crate::calls::Calls;
use crate::compile;
use crate::config::Model;
use crate::listing::{self, ConnectionRow, Listing, Meters, Style, gather};
use crate::{status, story};
use pcap::Captured;

const NS_PER_TICK: u64 = 1_000_000_000 / TICKS_PER_SECOND as u64;
/// Ticks of a turn while something is remembered that may expire.
const SECOND: u64 = TICKS_PER_SECOND as u64;
/// The same while nothing is: a capture whose time stamps leap by years is replayed at once.
const HOUR: u64 = 3600 * SECOND;
/// Frames that wait for a next hop: none, since all are resolved.
const HELD: usize = 64;
const TABLE_SIZE: u32 = 4096;

/// What became of one packet.
#[derive(Clone, Debug)]
pub struct Told {
    /// Seconds since the first frame.
    pub at_s: f64,
    /// The packet in words.
    pub packet: String,
    /// The decision and its reasons, as `director explain` tells them; taken before the
    /// packet passed.
    pub story: Explanation,
    /// What was done: `forwarded`, `answered`, `punted`, or the label of the drop reason.
    pub verdict: String,
}

/// What became of a capture.
#[derive(Debug)]
pub struct Replayed {
    /// One for every frame.
    pub packets: Vec<Told>,
    /// What was sent.
    pub sent: Vec<Captured>,
    /// The services at the end.
    pub services: Listing,
    /// The connections and templates at the end.
    pub connections: Vec<ConnectionRow>,
    /// The counters at the end.
    pub totals: CoreTotals,
}

struct Stage {
    shared: Arc<Shared>,
    catalog: Catalog,
    snapshot: Arc<Snapshot>,
    worker: Worker<MemoryPort>,
    calls: Calls,
    ingress: PortIndex,
}

/// Pushes frames through the configuration. They come in on the port of this name, or on
/// the first one.
///
/// # Errors
/// A sentence, if the configuration does not fit the tables or has no such port.
pub fn replay(model: &Model, frames: &[Captured], port: Option<&str>) -> Result<Replayed, String> {
    let mut stage = Stage::new(model, frames, port)?;
    let first_ns = frames.first().map_or(0, |captured| captured.at_ns);
    let (mut packets, mut sent) = (Vec::with_capacity(frames.len()), Vec::new());
    let (mut now, mut clock) = (Tick(0), 0);
    for captured in frames {
        let at_ns = captured.at_ns.saturating_sub(first_ns);
        now = stage.advance(&mut clock, at_ns / NS_PER_TICK);
        packets.push(stage.play(captured, at_ns as f64 / 1e9, now));
        sent.extend(stage.sent(captured.at_ns));
    }
    let (services, connections) = stage.listings(now);
    Ok(Replayed { packets, sent, services, connections, totals: stage.shared.totals() })
}

impl Replayed {
    /// The listings at the end, `ipvsadm -ln` and `-lnc`, and the counters in a line.
    pub fn end(&self) -> String {
        let totals = &self.totals;
        format!(
            "{}{}\nreceived {} = forwarded {} + punted {} + dropped {} + unsent {} + held {}",
            listing::services(&self.services, Style::Default),
            listing::connections(&self.connections, false),
            totals.received,
            totals.forwarded,
            totals.punted,
            totals.dropped_total(),
            totals.unsent,
            totals.held
        )
    }

    /// The same as JSON: what `director show --json` and its connections are, the counters, and
    /// what the capture lacks.
    pub fn end_json(&self, missing: &[String]) -> Value {
        let totals = &self.totals;
        json!({
            "missing": missing,
            "listing": self.services,
            "connections": self.connections,
            "totals": {
                "received": totals.received,
                "forwarded": totals.forwarded,
                "punted": totals.punted,
                "dropped": totals.dropped_total(),
                "unsent": totals.unsent,
                "held": totals.held,
            },
        })
    }
}

impl Stage {
    fn new(model: &Model, frames: &[Captured], port: Option<&str>) -> Result<Self, String> {
        let sizes = TableSizes { age_unit_s: 1, ..TableSizes::default() };
        let room = frames.len().clamp(4096, 1 << 20);
        let sizes = TableSizes {
            connections_v4: room,
            connections_v6: room,
            templates_v4: room,
            templates_v6: room,
            clients_v4: room,
            clients_v6: room,
            fragments: room.min(1 << 16),
            age_unit_s: compile::table_sizes(model).age_unit_s.max(sizes.age_unit_s),
        };
        // A fixed key: a replay gives the same answers every time.
        let key = HashKey([0x6469_7265_6374_6F72, 0x7265_706C_6179_2121]);
        let (shared, seats) = Shared::new(1, sizes, TimerRule::Exact, key);
        let plan = compile::plan(model);
        let mut catalog = Catalog::new(Arc::clone(&shared), plan.site);
        catalog.timeouts = plan.timeouts;
        catalog.compat = plan.compat;
        catalog.fragments = plan.fragments;
        catalog.routes_all = plan.routes_all;
        catalog.set_pins(plan.pins);
        let applied = catalog.applied(&plan.farms, plan.selectors);
        let (_, snapshot) = applied.map_err(|refused: Refused| refused.to_string())?;
        resolve(&shared, &snapshot);
        let ingress = match port {
            None => PortIndex(0),
            Some(name) => snapshot
                .ports
                .iter()
                .position(|facts| &*facts.name == name)
                .map(|index| PortIndex(index as u8))
                .ok_or_else(|| format!("the configuration has no port '{name}'"))?,
        };
        let macs = macs(&snapshot, frames, ingress);
        let ports =
            macs.iter().zip(&snapshot.ports).map(|(mac, _)| MemoryPort::new(*mac)).collect();
        let surroundings = Surroundings { macs, answers_per_second: u32::MAX };
        let seat = seats.into_iter().next().ok_or("no core")?;
        let director =
            Director::new(Arc::clone(&shared), Arc::clone(&snapshot), seat, surroundings);
        let worker = Worker::new(0, director, ports, HELD);
        let calls = Calls::default();
        Ok(Self { shared, catalog, snapshot, worker, calls, ingress })
    }

    /// Lets time pass: a turn every second, so that expiry keeps its order. `clock` counts ticks
    /// from the first frame on and never goes back.
    fn advance(&mut self, clock: &mut u64, then: u64) -> Tick {
        loop {
            let step =
                if then.saturating_sub(*clock) > HOUR && self.is_idle() { HOUR } else { SECOND };
            if then.saturating_sub(*clock) <= step {
                break;
            }
            *clock += step;
            self.worker.turn(Tick(*clock as u32));
        }
        *clock = then.max(*clock);
        Tick(*clock as u32)
    }

    /// Whether nothing is remembered that time could end.
    fn is_idle(&self) -> bool {
        let [templates, clients] = [self.shared.templates.stats(), self.shared.clients.stats()];
        let connections = self.worker.director().bindings().connections();
        connections == 0 && templates.entries == 0 && clients.entries == 0
    }

    fn play(&mut self, captured: &Captured, at_s: f64, now: Tick) -> Told {
        let mut story = self.worker.director().explain(&captured.frame, self.ingress, now);
        let before = self.shared.totals();
        if let Some(port) = self.worker.ports_mut().get_mut(usize::from(self.ingress.0)) {
            port.arriving.push_back(MemoryFrame::new(&captured.frame));
        }
        self.worker.turn(now);
        self.calls.hear(&self.shared, now);
        let after = self.shared.totals();
        let dropped = DropReason::ALL
            .iter()
            .find(|reason| after.dropped_for(**reason) > before.dropped_for(**reason));
        match dropped {
            Some(reason) => story.dropped(*reason),
            None if after.answered > before.answered => story.answered(),
            None => {}
        }
        let verdict = match dropped {
            Some(reason) => format!("dropped: {}", reason.label()),
            None if after.answered > before.answered => "answered".to_owned(),
            None if after.to_kernel > before.to_kernel => "to the kernel".to_owned(),
            None if after.forwarded > before.forwarded => "forwarded".to_owned(),
            None if after.punted > before.punted => "punted".to_owned(),
            None => "held".to_owned(),
        };
        Told { at_s, packet: story::packet(&parse(&captured.frame)), story, verdict }
    }

    fn sent(&mut self, at_ns: u64) -> Vec<Captured> {
        self.worker
            .ports_mut()
            .iter_mut()
            .flat_map(|port| port.sent.drain(..))
            .map(|frame| Captured { at_ns, frame: frame.bytes().to_vec() })
            .collect()
    }

    fn listings(&self, now: Tick) -> (Listing, Vec<ConnectionRow>) {
        let meters = Meters::default();
        let mut listed = gather::services(&self.snapshot, &self.shared.loads, &meters, TABLE_SIZE);
        listed.sort();
        let bindings = self.worker.director().bindings();
        let mut rows: Vec<_> = bindings
            .iter()
            .filter_map(|(flow, conn)| {
                gather::connection(&flow, &conn, &self.snapshot, &self.shared.agreements, now)
            })
            .collect();
        let scopes: HashMap<ScopeId, Identity> = self.catalog.scopes().collect();
        let templates = &self.shared.templates;
        rows.extend(gather::templates(templates, 1, &scopes, &self.snapshot, now));
        self.calls.name(&mut rows);
        (listed, rows)
    }
}

/// Gives every next hop a MAC address: its pinned one, or one that shows its IP address.
fn resolve(shared: &Shared, snapshot: &Snapshot) {
    for route in snapshot.routes.iter() {
        if let Some(via) = route.via {
            let _ = shared.neighbours.intern(route.port, via);
        }
    }
    for (_, address, id) in shared.neighbours.list() {
        if shared.neighbours.mac(id).is_none() {
            shared.neighbours.set(id, Some(made_up(address)));
        }
    }
}

fn made_up(address: Addr) -> Mac {
    let number = match address.family() {
        Family::V4 => address.v4_number(),
        Family::V6 => address.number() as u32,
    };
    let [a, b, c, d] = number.to_be_bytes();
    Mac([2, 0, a, b, c, d])
}

/// The ports' MAC addresses. The one that the capture comes in on has the address that its
/// packets for the director are sent to.
fn macs(snapshot: &Snapshot, frames: &[Captured], ingress: PortIndex) -> Vec<Mac> {
    let seen = frames.iter().find_map(|captured| {
        let Parsed::Packet(packet) = parse(&captured.frame) else { return None };
        snapshot.hosts.get(packet.dst)?;
        ethernet::destination(&captured.frame).filter(|mac| !mac.is_multicast())
    });
    (0..snapshot.ports.len())
        .map(|index| match seen {
            Some(mac) if index == usize::from(ingress.0) => mac,
            _ => Mac([2, 0, 0, 0, 0xD1, index as u8]),
        })
        .collect()
}

impl Told {
    /// The packet's line.
    pub fn line(&self) -> String {
        let decision = story::decision(&self.story);
        format!("{:>12.6}  {}  {}  {decision}", self.at_s, self.packet, self.verdict)
    }

    /// The packet as JSON.
    pub fn json(&self) -> Value {
        let mut value = status::explanation(&self.story);
        if let Value::Object(fields) = &mut value {
            fields.insert("at_s".into(), json!(self.at_s));
            fields.insert("packet".into(), json!(self.packet));
            fields.insert("verdict".into(), json!(self.verdict));
        }
        value
    }
}
