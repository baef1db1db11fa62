//! The director of a scenario: two ports in memory, and a clock that is moved by hand.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use dataplane::catalog::Catalog;
use dataplane::catalog::spec::{PortSpec, Site};
use dataplane::director::{Director, Surroundings};
use dataplane::explain::Explanation;
use dataplane::ids::PortIndex;
use dataplane::port::memory::{MemoryFrame, MemoryPort};
use dataplane::route::Route;
use dataplane::shared::{HashKey, Shared, TableSizes};
use dataplane::snapshot::Snapshot;
use dataplane::table::Cursor;
use dataplane::tick::{TICKS_PER_SECOND, Tick};
use dataplane::timer::{self, TimerRule};
use dataplane::wire::ethernet::{self, Mac};
use dataplane::wire::{Addr, Vlan};
use dataplane::worker::Worker;
use serde_json::Value;

use super::marks::MarkRule;
use super::observe;
use super::vector::{Station, Topology};
use crate::calls::Calls;
use crate::ipvsadm::Names;
use crate::listing::{ConnectionRow, Meters, SyncDaemon, gather};

/// The port towards the clients.
pub(super) const CLIENT_SIDE: PortIndex = PortIndex(0);
/// The port towards the real servers.
pub(super) const LAN_SIDE: PortIndex = PortIndex(1);

/// What IPVS says of its connection table.
pub(super) const TABLE_SIZE: u32 = 4096;
/// Larger than any scenario needs.
const SIZES: TableSizes = TableSizes {
    connections_v4: 16_384,
    connections_v6: 4_096,
    templates_v4: 4_096,
    templates_v6: 1_024,
    clients_v4: 64,
    clients_v6: 64,
    fragments: 2_048,
    age_unit_s: 6,
};
/// How long a fragment waits for its first one: as long as the kernel keeps the pieces of a
/// datagram.
const EARLY_S: u32 = 30;
const EARLY_V6_S: u32 = 60;
/// More fragments than any scenario has at a time.
const EARLY: usize = 4096;
/// Free pages of the recordings' machine, about; it never ran short.
pub(super) const FREE_PAGES: u32 = 100_000;
/// Turns of the poll loop after a frame.
const TURNS: usize = 3;
/// Sweeps until nothing depends on another sweep: connections, then their templates, of both
/// families.
const ROUNDS: usize = 3;
/// The director's own life for an extended template, as in the template table.
const EXTENSION_S: u32 = 60;

/// A director in its surroundings.
pub(super) struct World {
    pub(super) catalog: Catalog,
    pub(super) shared: Arc<Shared>,
    pub(super) meters: Meters,
    calls: Calls,
    pub(super) daemons: Vec<SyncDaemon>,
    pub(super) names: Names,
    pub(super) site: Site,
    pub(super) marks: Vec<MarkRule>,
    /// Kernel settings that were set, by their names.
    pub(super) settings: BTreeMap<String, String>,
    /// Files that commands wrote.
    pub(super) files: HashMap<String, String>,
    worker: Worker<MemoryPort>,
    pub(super) snapshot: Arc<Snapshot>,
    now: Tick,
    next_meter: Tick,
    /// When entries of removed real servers end, where a setting says that they do: a tick
    /// after the removal.
    flush_at: Option<Tick>,
    stations: HashMap<(PortIndex, Mac), String>,
    real_servers: HashMap<String, Mac>,
    macs: [Mac; 2],
    gateway: Mac,
}

fn mac(text: &str) -> Result<Mac, String> {
    text.parse().map_err(|_| format!("{text:?} is no MAC address"))
}

/// An address with its prefix length, as in `10.255.255.1/24`.
pub(super) fn network(text: &str) -> Result<(Addr, u8), String> {
    let wrong = || format!("{text:?} is no address or network");
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length.parse().map_err(|_| wrong())?)),
        None => (text, None),
    };
    let address = Addr::from(address.parse::<IpAddr>().map_err(|_| wrong())?);
    let bits = address.family().bits();
    let length = length.unwrap_or(bits);
    if length > bits { Err(wrong()) } else { Ok((address, length)) }
}

/// The site that a topology describes.
fn site(topology: &Topology) -> Result<Site, String> {
    let mut site = Site::default();
    let sides = [&topology.director.client_side, &topology.director.lan_side];
    for (index, side) in sides.into_iter().enumerate() {
        let mut addresses = Vec::new();
        for text in [&side.ip, &side.ip6].into_iter().flatten() {
            let (address, length) = network(text)?;
            addresses.push(address);
            let port = PortIndex(index as u8);
            site.routes.push(Route { network: address.masked(length), length, port, via: None });
        }
        site.ports.push(PortSpec {
            name: side.dev.as_str().into(),
            vlan: Vlan::UNTAGGED,
            mtu: topology.mtu,
            addresses,
            peer: None,
            kernel_facing: false,
        });
    }
    let gateways =
        [(&topology.client_gateway.ip, Addr::v4(0)), (&topology.client_gateway.ip6, Addr::v6(0))];
    for (gateway, network) in gateways {
        if let Some(text) = gateway {
            let via = Some(self::network(text)?.0);
            site.routes.push(Route { network, length: 0, port: CLIENT_SIDE, via });
        }
    }
    if let Some(port) = site.ports.first_mut() {
        port.addresses.extend(topology.vips.iter().map(|vip| Addr::from(*vip)));
    }
    Ok(site)
}

impl World {
    /// The director of this topology, without services, at time 0.
    pub(super) fn new(topology: &Topology, phase: u32) -> Result<Self, String> {
        let key = HashKey([0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210]);
        let (shared, seats) = Shared::new(1, SIZES, TimerRule::KernelWheel, key);
        shared.free_pages.store(FREE_PAGES, Ordering::Relaxed);
        let site = site(topology)?;
        let mut catalog = Catalog::new(Arc::clone(&shared), site.clone());
        // The recordings' director is a router, too.
        catalog.routes_all = true;
        // And its kernel is without the module that understands FTP until that is loaded.
        catalog.compat.ip_vs_ftp = false;
        catalog.compat.as_kernel = true;
        catalog.fragments.early_wait = EARLY_S * TICKS_PER_SECOND;
        catalog.fragments.early_wait_v6 = EARLY_V6_S * TICKS_PER_SECOND;
        catalog.fragments.early = EARLY;
        catalog.fragments.whole = true;
        let snapshot = catalog.snapshot();
        let macs =
            [mac(&topology.director.client_side.mac)?, mac(&topology.director.lan_side.mac)?];
        let surroundings = Surroundings { macs: macs.to_vec(), answers_per_second: u32::MAX };
        let seat = seats.into_iter().next().ok_or("the tables have no seat for a core")?;
        let director =
            Director::new(Arc::clone(&shared), Arc::clone(&snapshot), seat, surroundings);
        let ports = macs.map(|mac| MemoryPort::new(mac).with_mtu(topology.mtu)).into();
        let mut world = Self {
            catalog,
            meters: Meters::as_in_kernel(),
            calls: Calls::default(),
            daemons: Vec::new(),
            names: Names::offline(),
            site,
            marks: Vec::new(),
            settings: BTreeMap::new(),
            files: HashMap::new(),
            worker: Worker::new(0, director, ports, 64),
            snapshot,
            now: Tick(0),
            next_meter: Tick(phase),
            flush_at: None,
            stations: HashMap::new(),
            real_servers: HashMap::new(),
            macs,
            gateway: mac(&topology.client_gateway.mac)?,
            shared,
        };
        world.place(&topology.client_gateway, CLIENT_SIDE, "client")?;
        for server in &topology.real_servers {
            let mac = world.place(server, LAN_SIDE, &server.name)?;
            world.real_servers.insert(server.name.clone(), mac);
        }
        Ok(world)
    }

    /// Puts a station on a network; who has which MAC address is known from the start.
    fn place(&mut self, station: &Station, port: PortIndex, name: &str) -> Result<Mac, String> {
        let mac = mac(&station.mac)?;
        for text in [&station.ip, &station.ip6].into_iter().flatten() {
            let neighbours = &self.shared.neighbours;
            let id = neighbours.intern(port, network(text)?.0);
            neighbours.set(id.ok_or("the neighbour table is full")?, Some(mac));
        }
        self.stations.insert((port, mac), name.to_owned());
        Ok(mac)
    }

    /// Takes up what commands changed in the catalog.
    pub(super) fn publish(&mut self) {
        self.catalog.set_selectors(MarkRule::selectors(&self.marks));
        self.catalog.set_site(self.site.clone());
        self.snapshot = self.catalog.snapshot();
        if let Some(mailbox) = self.shared.mailboxes.first() {
            let _ = mailbox.snapshots.force_push(Arc::clone(&self.snapshot));
            self.worker.turn(self.now);
            while mailbox.retired.pop().is_some() {}
            while mailbox.events.pop().is_some() {}
        }
        if self.snapshot.flushes_removed {
            self.flush_at = Some(self.now.plus(1));
        }
    }

    /// Lets time pass until so many seconds after the start; every timer on the way ends at
    /// its own moment.
    pub(super) fn advance(&mut self, at_s: f64) {
        // The recordings' clock stood a quarter of a jiffy after one at the start.
        let to = Tick((at_s * f64::from(TICKS_PER_SECOND) + 0.25).max(0.0) as u32);
        while let Some(due) = self.next_due().filter(|due| due.has_come(to)) {
            self.now = if due.has_come(self.now) { self.now.plus(1) } else { due };
            self.sweep();
            if self.worker.gives_up_at().is_some_and(|until| until.has_come(self.now)) {
                self.worker.turn(self.now);
            }
            self.flush_at = self.flush_at.filter(|flush| !flush.has_come(self.now));
            if self.next_meter.has_come(self.now) {
                self.meters.tick(&self.snapshot, &self.shared.loads);
                self.next_meter = self.next_meter.plus_secs(Meters::PERIOD_S);
            }
        }
        self.now = to;
    }

    /// Looks at every entry of every table, more than once because the end of one entry can
    /// be the end of another.
    fn sweep(&mut self) {
        let round = self.worker.director().bindings().round() + 1;
        for _ in 0..ROUNDS {
            self.worker.director_mut().sweep(self.now, round);
            self.worker.director_mut().quiescent();
        }
    }

    /// The earliest moment at which something ends or is read.
    fn next_due(&self) -> Option<Tick> {
        let rule = self.shared.rule;
        let mut due = vec![self.next_meter];
        due.extend(self.flush_at);
        due.extend(self.worker.gives_up_at());
        for (_, conn) in self.worker.director().bindings().iter() {
            due.push(timer::fires(rule, conn.expires, conn.timeout));
        }
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            let templates = &self.shared.templates;
            cursor = templates.iterate(0, from, self.now, usize::MAX / 2, |_, view| {
                let timeout =
                    self.snapshot.template_timeouts_s.get(usize::from(view.timeout_index));
                let seconds = match (view.extended, timeout) {
                    (false, Some(seconds)) => *seconds,
                    _ => EXTENSION_S,
                };
                let ticks = seconds.saturating_mul(TICKS_PER_SECOND);
                due.push(timer::fires(rule, view.expires, ticks));
            });
        }
        due.into_iter().min_by_key(|due| self.now.until(*due))
    }

    /// The MAC addresses of a frame from that station: its own and the director's.
    pub(super) fn way(&self, from: &str) -> Result<(PortIndex, Mac, Mac), String> {
        let [client_side, lan_side] = self.macs;
        match self.real_servers.get(from) {
            Some(mac) => Ok((LAN_SIDE, *mac, lan_side)),
            None if from == "client" => Ok((CLIENT_SIDE, self.gateway, client_side)),
            None => Err(format!("nobody is called {from:?}")),
        }
    }

    /// Changes what an interface takes at the most; false if there is none of that name.
    pub(super) fn set_mtu(&mut self, device: &str, mtu: u16) -> bool {
        let Some(index) = self.site.ports.iter().position(|port| &*port.name == device) else {
            return false;
        };
        if let Some(port) = self.site.ports.get_mut(index) {
            port.mtu = mtu;
        }
        if let (Some(port), Some(mac)) =
            (self.worker.ports_mut().get_mut(index), self.macs.get(index))
        {
            *port = MemoryPort::new(*mac).with_mtu(mtu);
        }
        true
    }

    /// Lets a frame come in.
    pub(super) fn inject(&mut self, frame: &[u8], port: PortIndex) {
        if let Some(port) = self.worker.ports_mut().get_mut(usize::from(port.0)) {
            port.arriving.push_back(MemoryFrame::new(frame));
        }
        // A poll loop turns many times before the next frame: what waited for this one leaves.
        for _ in 0..TURNS {
            self.worker.turn(self.now);
        }
        self.calls.hear(&self.shared, self.now);
    }

    /// The packets that came out since the last call.
    pub(super) fn take_sent(&mut self) -> Vec<Value> {
        let mut seen = Vec::new();
        for (index, port) in self.worker.ports_mut().iter_mut().enumerate() {
            let side = PortIndex(index as u8);
            for frame in port.sent.drain(..) {
                let mac = ethernet::destination(dataplane::port::Frame::bytes(&frame));
                let name = mac.and_then(|mac| self.stations.get(&(side, mac)).cloned());
                let name = name.unwrap_or_else(|| {
                    let side = if side == CLIENT_SIDE { "client" } else { "lan" };
                    format!("{side}?{}", mac.unwrap_or_default())
                });
                seen.extend(observe::describe(&frame, &name));
            }
        }
        seen
    }

    /// What would happen to a frame, and why.
    pub(super) fn explain(&self, frame: &[u8], port: PortIndex) -> Explanation {
        self.worker.director().explain(frame, port, self.now)
    }

    /// All connections and templates.
    pub(super) fn connections(&self) -> Vec<ConnectionRow> {
        let scopes = self.catalog.scopes().collect();
        let (snapshot, now) = (&self.snapshot, self.now);
        let bindings = self.worker.director().bindings();
        let mut rows: Vec<ConnectionRow> = bindings
            .iter()
            .filter_map(|(flow, conn)| {
                gather::connection(&flow, &conn, snapshot, &self.shared.agreements, now)
            })
            .collect();
        rows.extend(gather::templates(&self.shared.templates, 1, &scopes, snapshot, now));
        self.calls.name(&mut rows);
        rows
    }

    /// The director's own addresses towards the real servers, which its tunnels begin at.
    pub(super) fn own(&self) -> &[Addr] {
        let port = self.site.ports.get(usize::from(LAN_SIDE.0));
        port.map_or(&[], |port| &port.addresses)
    }

    /// The configuration in use.
    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}
