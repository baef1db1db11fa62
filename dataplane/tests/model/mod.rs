//! IPVS as its description says it, with hash maps and one clock: what the packet path is
//! compared with. Written from the description alone, and slow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod control;
pub mod pick;
mod states;

use std::collections::{BTreeMap, HashMap};

pub use states::State;
use states::{Segment, next, timeout_s};

/// Ticks of 4 ms.
pub type Moment = u64;
pub const SECOND: Moment = 250;
const EXTENSION: Moment = 60 * SECOND;

/// A service by its place in the test's list.
pub type ServiceIndex = usize;

/// A real server: its service and its number.
pub type RealKey = (ServiceIndex, u8);

/// What a service is known by, in the model's small world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Known {
    Port { udp: bool, vip: u8, port: u16 },
    Mark,
}

/// A service's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    pub scheduler: pick::Scheduler,
    /// Timeout in seconds, and whether clients are told apart by their last bits.
    pub persistence: Option<(u32, bool)>,
    pub one_packet: bool,
}

/// A real server's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weights {
    pub weight: u32,
    pub upper: u32,
    pub lower: u32,
}

/// A real server, listed or in the trash.
#[derive(Clone, Copy, Debug)]
pub struct Real {
    pub settings: Weights,
    pub active: u64,
    pub inactive: u64,
    pub bound: u64,
    pub conns: u64,
    pub in_packets: u64,
    pub overloaded: bool,
    pub available: bool,
}

#[derive(Clone, Debug)]
pub struct Service {
    pub settings: Settings,
    /// Head first.
    pub list: Vec<u8>,
    /// One scheduler state per core: rr and wrr go round on each core by themselves.
    pub rounds: Vec<pick::Round>,
}

/// Client, client port, UDP, VIP, VIP port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    pub client: u8,
    pub client_port: u16,
    pub udp: bool,
    pub vip: u8,
    pub port: u16,
}

#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub real: RealKey,
    pub state: State,
    pub expires: Moment,
    pub template: Option<u64>,
}

/// Protocol (UDP, or none for marks), client, address or mark, port.
type TemplateKey = (Option<bool>, u8, Option<u8>, u16);

#[derive(Clone, Copy, Debug)]
pub struct Template {
    pub key: TemplateKey,
    pub real: RealKey,
    pub timeout: Moment,
    pub expires: Moment,
    pub controls: u64,
    pub valid: bool,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Real(u8),
    /// The host gets it.
    Host,
    /// ICMP port unreachable.
    Refused,
    /// Dropped, because its real server was removed.
    Silence,
}

/// What is switched on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Switches {
    pub sloppy_tcp: bool,
    pub conn_reuse_mode: u8,
    pub expire_nodest_conn: bool,
    pub expire_quiescent_template: bool,
}

/// A packet: its flow, and TCP flags by their letters.
#[derive(Clone, Copy, Debug)]
pub struct Packet {
    pub flow: Flow,
    pub flags: &'static str,
}

impl Packet {
    fn has(&self, flag: char) -> bool {
        !self.flow.udp && self.flags.contains(flag)
    }
}

/// The whole of IPVS.
#[derive(Clone, Debug)]
pub struct Model {
    pub now: Moment,
    pub cores: usize,
    pub switches: Switches,
    pub known: Vec<Known>,
    /// (UDP, VIP, port) that carry the mark.
    pub marked: Vec<(bool, u8, u16)>,
    pub services: BTreeMap<ServiceIndex, Service>,
    pub reals: BTreeMap<RealKey, Real>,
    pub connections: HashMap<Flow, Connection>,
    pub templates: BTreeMap<u64, Template>,
    next_template: u64,
}

impl Model {
    pub fn new(cores: usize, known: Vec<Known>, marked: Vec<(bool, u8, u16)>, now: Moment) -> Self {
        Self {
            now,
            cores,
            switches: Switches::default(),
            known,
            marked,
            services: BTreeMap::new(),
            reals: BTreeMap::new(),
            connections: HashMap::new(),
            templates: BTreeMap::new(),
            next_template: 0,
        }
    }

    /// The next moment at which a timer fires.
    pub fn next_timer(&self) -> Option<Moment> {
        let connections = self.connections.values().map(|conn| conn.expires);
        connections.chain(self.templates.values().map(|template| template.expires)).min()
    }

    /// Lets the timers fire that are due. Of timers due at once, those of templates with
    /// connections go first.
    pub fn fire(&mut self) {
        let now = self.now;
        for template in self.templates.values_mut() {
            if template.expires <= now && template.controls > 0 {
                template.timeout = EXTENSION;
                template.expires += EXTENSION;
            }
        }
        let over: Vec<Flow> =
            self.connections.iter().filter(|(_, c)| c.expires <= now).map(|(f, _)| *f).collect();
        for flow in over {
            self.remove(flow);
        }
        let over: Vec<u64> = self
            .templates
            .iter()
            .filter(|(_, template)| template.expires <= now && template.controls == 0)
            .map(|(id, _)| *id)
            .collect();
        for id in over {
            self.remove_template(id);
        }
    }

    fn remove(&mut self, flow: Flow) {
        let Some(conn) = self.connections.remove(&flow) else { return };
        if let Some(id) = conn.template {
            self.templates.get_mut(&id).unwrap().controls -= 1;
        }
        self.unbind(conn.real, conn.state.is_active());
    }

    fn remove_template(&mut self, id: u64) {
        let template = self.templates.remove(&id).unwrap();
        self.reals.get_mut(&template.real).unwrap().bound -= 1;
    }

    fn bind(&mut self, real: RealKey) {
        let real = self.reals.get_mut(&real).unwrap();
        real.inactive += 1;
        let (total, upper) = (real.total(), u64::from(real.settings.upper));
        if upper != 0 && total == upper && total >= real.low_mark() {
            real.overloaded = true;
        }
    }

    fn unbind(&mut self, real: RealKey, active: bool) {
        let real = self.reals.get_mut(&real).unwrap();
        let before = real.total();
        if active {
            real.active -= 1;
        } else {
            real.inactive -= 1;
        }
        if before == real.low_mark() && real.total() < u64::from(real.settings.upper) {
            real.overloaded = false;
        }
    }

    /// The service of a packet: mark, exact, FTP, every port.
    fn service(&self, flow: &Flow) -> Option<ServiceIndex> {
        let find = |known: Known| {
            let index = self.known.iter().position(|each| *each == known)?;
            self.services.contains_key(&index).then_some(index)
        };
        let port = |port| find(Known::Port { udp: flow.udp, vip: flow.vip, port });
        if self.is_marked(flow)
            && let Some(index) = find(Known::Mark)
        {
            return Some(index);
        }
        let ftp = !flow.udp && (flow.port == 20 || flow.port >= 1024);
        port(flow.port).or_else(|| if ftp { port(21) } else { None }).or_else(|| port(0))
    }

    fn is_marked(&self, flow: &Flow) -> bool {
        self.marked.contains(&(flow.udp, flow.vip, flow.port))
    }

    fn serves_family_of(&self, vip: u8) -> bool {
        let v6 = |vip: u8| vip >= V6;
        self.services.keys().any(|index| match self.known[*index] {
            Known::Mark => !v6(vip),
            Known::Port { vip: other, .. } => v6(other) == v6(vip),
        })
    }

    /// A packet that comes in on this core.
    pub fn packet(&mut self, core: usize, packet: &Packet) -> Verdict {
        let flow = packet.flow;
        if !self.serves_family_of(flow.vip) {
            return Verdict::Host;
        }
        let mut shadowed = false;
        if let Some(conn) = self.connections.get(&flow).copied() {
            let real = self.reals[&conn.real];
            shadowed = packet.has('S') && self.is_rescheduled(&conn, &real);
            if !shadowed && real.available {
                return self.established(packet, conn);
            }
            if !shadowed && !self.switches.expire_nodest_conn {
                return Verdict::Silence;
            }
            if !shadowed {
                self.remove(flow);
            }
        }
        let chosen = self.schedule(core, packet);
        if shadowed {
            self.give_way(flow, chosen.as_ref().ok().map(|(real, ..)| *real));
        }
        match chosen {
            Ok((real, template, one_packet)) => self.open(packet, real, template, one_packet),
            Err(verdict) => verdict,
        }
    }

    /// The connection ends a tick after its successor was counted: for a moment both count.
    fn give_way(&mut self, flow: Flow, chosen: Option<RealKey>) {
        if let Some(real) = chosen {
            self.bind(real);
        }
        self.remove(flow);
        if let Some(real) = chosen {
            self.reals.get_mut(&real).unwrap().inactive -= 1;
        }
    }

    fn is_rescheduled(&self, conn: &Connection, real: &Real) -> bool {
        if self.switches.expire_nodest_conn && real.settings.weight == 0 {
            return true;
        }
        let mode = self.switches.conn_reuse_mode;
        if mode == 0 || conn.template.is_some() {
            return false;
        }
        match conn.state {
            State::TimeWait | State::Close => true,
            State::FinWait => mode & 2 != 0,
            _ => false,
        }
    }

    /// The real server for a packet without a connection, and its template.
    fn schedule(
        &mut self,
        core: usize,
        packet: &Packet,
    ) -> Result<(RealKey, Option<u64>, bool), Verdict> {
        let flow = packet.flow;
        let opens = flow.udp || packet.has('S') || self.switches.sloppy_tcp;
        if packet.has('R') || !opens || flow.client_port == 20 {
            return Err(Verdict::Host);
        }
        let index = self.service(&flow).ok_or(Verdict::Host)?;
        let settings = self.services[&index].settings;
        let (mark, service_port) = match self.known[index] {
            Known::Mark => (true, 0),
            Known::Port { port, .. } => (false, port),
        };
        let nobody =
            if service_port == 21 && flow.port != 21 { Verdict::Host } else { Verdict::Refused };
        let Some((timeout_s, whole)) = settings.persistence else {
            if !mark && flow.port != service_port {
                return Err(nobody);
            }
            let number = self.pick(index, core).ok_or(nobody)?;
            return Ok(((index, number), None, settings.one_packet && flow.udp));
        };
        let client = if whole { flow.client } else { flow.client & !1 };
        let key = if mark {
            (None, client, None, 0)
        } else {
            let own = flow.port == service_port && service_port != 21;
            (Some(flow.udp), client, Some(flow.vip), if own { service_port } else { 0 })
        };
        let id = match self.usable_template(key) {
            Some(id) => id,
            None => {
                let number = self.pick(index, core).ok_or(nobody)?;
                self.make_template(key, (index, number), Moment::from(timeout_s) * SECOND)
            }
        };
        let now = self.now;
        let template = self.templates.get_mut(&id).unwrap();
        template.expires = now + template.timeout;
        Ok((template.real, Some(id), settings.one_packet && flow.udp))
    }

    fn usable_template(&mut self, key: TemplateKey) -> Option<u64> {
        let quiescent = self.switches.expire_quiescent_template;
        let (id, template) = self.templates.iter_mut().find(|(_, t)| t.valid && t.key == key)?;
        let real = &self.reals[&template.real];
        template.valid = real.available && !(quiescent && real.settings.weight == 0);
        template.valid.then_some(*id)
    }

    fn make_template(&mut self, key: TemplateKey, real: RealKey, timeout: Moment) -> u64 {
        self.next_template += 1;
        let expires = self.now + timeout;
        let template = Template { key, real, timeout, expires, controls: 0, valid: true };
        self.templates.insert(self.next_template, template);
        self.reals.get_mut(&real).unwrap().bound += 1;
        self.next_template
    }

    fn pick(&mut self, index: ServiceIndex, core: usize) -> Option<u8> {
        let service = self.services.get_mut(&index).unwrap();
        let reals = &self.reals;
        pick::pick(
            service.settings.scheduler,
            &mut service.rounds[core],
            &service.list,
            &|number| reals[&(index, number)],
        )
    }

    fn open(
        &mut self,
        packet: &Packet,
        real: RealKey,
        template: Option<u64>,
        one_packet: bool,
    ) -> Verdict {
        self.reals.get_mut(&real).unwrap().conns += 1;
        if one_packet {
            self.reals.get_mut(&real).unwrap().in_packets += 1;
            return Verdict::Real(real.1);
        }
        self.bind(real);
        if let Some(id) = template {
            self.templates.get_mut(&id).unwrap().controls += 1;
        }
        let state = if packet.flow.udp { State::Udp } else { State::None };
        let conn = Connection { real, state, expires: 0, template };
        self.established(packet, conn)
    }

    /// Counts the packet, moves the state and restarts the timer.
    fn established(&mut self, packet: &Packet, mut conn: Connection) -> Verdict {
        let real = self.reals.get_mut(&conn.real).unwrap();
        real.in_packets += 1;
        let before = conn.state.is_active();
        conn.state = next(conn.state, Segment::of(packet.flags));
        match (before, conn.state.is_active()) {
            (false, true) => (real.active, real.inactive) = (real.active + 1, real.inactive - 1),
            (true, false) => (real.active, real.inactive) = (real.active - 1, real.inactive + 1),
            _ => {}
        }
        conn.expires = self.now + timeout_s(conn.state) * SECOND;
        self.connections.insert(packet.flow, conn);
        Verdict::Real(conn.real.1)
    }
}

/// VIPs from this number on are IPv6.
pub const V6: u8 = 2;

impl Real {
    pub fn total(&self) -> u64 {
        self.active + self.inactive
    }

    fn low_mark(&self) -> u64 {
        let Weights { upper, lower, .. } = self.settings;
        u64::from(if lower == 0 { upper - upper / 4 } else { lower })
    }
}
