//! A burst gives what its frames give one at a time: verdicts, bytes, counters and tables of
//! [`Director::read`] and [`Director::decide`] are those of [`Director::handle`], the reference,
//! for frames of every kind, on tagged and untagged ports, while servers, services and MAC
//! addresses change.

// Clippy knows the functions that tests call only as production code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;

use dataplane::catalog::Catalog;
use dataplane::catalog::spec::{PortSpec, RealSpec, ServiceSpec, Site};
use dataplane::compat::{Compat, TtlPolicy};
use dataplane::director::{Decided, Director, Reading, Surroundings};
use dataplane::forward::{Forwarding, GueChecksum, Tunnel};
use dataplane::ids::{PortIndex, RealId};
use dataplane::port::memory::MemoryFrame;
use dataplane::port::{BURST, Frame};
use dataplane::route::Route;
use dataplane::sched::{Scheduler, SchedulerFlags};
use dataplane::shared::{HashKey, Shared, TableSizes};
use dataplane::snapshot::{Identity, OnDown, Persistence, Policy, RealState, Tracking};
use dataplane::table::Cursor;
use dataplane::tick::Tick;
use dataplane::timer::TimerRule;
use dataplane::verdict::{DropReason, Verdict};
use dataplane::wire::ethernet::Mac;
use dataplane::wire::{Addr, Protocol, Vlan};
use proptest::prelude::*;
use proptest::test_runner::Config;
use support::explained;
use support::packet::{self, Builder};

/// Ports: untagged, VLAN 20, VLAN 30, the kernel's end of the first one.
const VLANS: [Option<u16>; 4] = [None, Some(20), Some(30), None];
const REALS: u16 = 9;
/// Tunnels of all kinds. Twice as many ways: the second half to an address of the other family.
const TUNNELS: [Tunnel; 6] = [
    Tunnel::Ipip,
    Tunnel::Gre { checksum: false },
    Tunnel::Gre { checksum: true },
    Tunnel::Gue { port: 6080, checksum: GueChecksum::None },
    Tunnel::Gue { port: 6080, checksum: GueChecksum::Full },
    Tunnel::Gue { port: 6080, checksum: GueChecksum::Remote },
];
const WAYS: usize = 2 * TUNNELS.len();
/// Kinds of real servers that are there from the beginning.
const ROUTED: u8 = 0;
const TUNNELLED: u8 = 2;

fn addr(text: &str) -> Addr {
    text.parse::<std::net::IpAddr>().unwrap().into()
}

fn own_mac(port: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, 1 + port]
}

fn site() -> Site {
    let port = |number: u8, mtu| PortSpec {
        name: format!("port{number}").as_str().into(),
        vlan: VLANS[usize::from(number)].map_or(Vlan::UNTAGGED, Vlan::tagged),
        mtu,
        addresses: vec![addr(&format!("172.1{number}.0.1")), addr(&format!("fd00:1{number}::1"))],
        peer: match number {
            0 => Some(PortIndex(3)),
            3 => Some(PortIndex(0)),
            _ => None,
        },
        kernel_facing: number == 3,
    };
    let mut routes = Vec::new();
    for number in 0..3 {
        for (network, length) in
            [(format!("172.1{number}.0.0"), 24), (format!("fd00:1{number}::"), 64)]
        {
            let (network, port) = (addr(&network), PortIndex(number));
            routes.push(Route { network, length, port, via: None });
        }
    }
    for (network, via) in [("0.0.0.0", "172.10.0.254"), ("::", "fd00:10::fe")] {
        let (network, via) = (addr(network), Some(addr(via)));
        routes.push(Route { network, length: 0, port: PortIndex(0), via });
    }
    Site { ports: vec![port(0, 1500), port(1, 1500), port(2, 120), port(3, 1500)], routes }
}

/// VIP, port, protocol, and what is done with its clients.
fn services() -> Vec<ServiceSpec> {
    let service = |protocol, vip: &str, vip_port, scheduler: &str, client, mask: u128| {
        let persistence = (mask != 0).then_some(Persistence { timeout_s: 60, mask });
        ServiceSpec {
            name: Arc::from("law"),
            identity: Identity::Address { protocol, vip: addr(vip), vip_port },
            scheduler: Some(Scheduler::by_name(scheduler).unwrap()),
            flags: SchedulerFlags::empty(),
            seed: None,
            persistence,
            engine: None,
            tracking: if client { Tracking::Client } else { Tracking::Full },
            one_packet: false,
            compat: Compat::default(),
            policy: Policy::default(),
        }
    };
    let mut services = Vec::new();
    for [one, two] in [["198.18.255.1", "198.18.255.2"], ["2001:db8::ff:1", "2001:db8::ff:2"]] {
        services.extend([
            service(Protocol::Tcp, one, 0, "rr", true, u128::MAX),
            service(Protocol::Udp, one, 0, "wrr", true, !1),
            service(Protocol::Tcp, one, 80, "wlc", false, 0),
            service(Protocol::Udp, one, 53, "rr", false, u128::MAX),
            service(Protocol::Tcp, two, 80, "wlc", false, u128::MAX),
            service(Protocol::Tcp, two, 443, "wlc", true, u128::MAX),
            service(Protocol::Sctp, two, 0, "rr", true, u128::MAX),
            service(Protocol::Sctp, one, 0, "rr", false, 0),
            service(Protocol::Udp, two, 53, "lc", false, 0),
        ]);
    }
    services
}

fn real_address(number: u16, v6: bool) -> Addr {
    // Two in three on the ports behind, so that frames change their VLAN.
    let port = number % 3;
    if v6 {
        addr(&format!("fd00:1{port}::{number}"))
    } else {
        addr(&format!("172.1{port}.0.{number}"))
    }
}

/// One director with everything around it.
struct World {
    shared: Arc<Shared>,
    catalog: Catalog,
    director: Director,
    services: Vec<ServiceSpec>,
    /// Whether there are masqueraded real servers.
    masquerades: bool,
    now: Tick,
}

impl World {
    /// The last two of each service's first real servers are reached through tunnels.
    fn new(masquerades: bool, ways: [usize; 2]) -> Self {
        let key = HashKey([0x0123_4567_89AB_CDEF, 0x0F1E_2D3C_4B5A_6978]);
        let sizes = TableSizes {
            connections_v4: 64,
            clients_v4: 64,
            clients_v6: 64,
            ..TableSizes::default()
        };
        let (shared, seats) = Shared::new(1, sizes, TimerRule::Exact, key);
        let mut catalog = Catalog::new(Arc::clone(&shared), site());
        let services = services();
        for service in &services {
            catalog.add_service(service.clone()).unwrap();
        }
        let snapshot = catalog.snapshot();
        let surroundings = Surroundings {
            macs: (0..4).map(|port| Mac(own_mac(port))).collect(),
            answers_per_second: 50,
        };
        let seat = seats.into_iter().next().unwrap();
        let director = Director::new(Arc::clone(&shared), snapshot, seat, surroundings);
        let now = Tick(1000);
        let mut world = Self { shared, catalog, director, services, masquerades, now };
        for service in 0..world.services.len() {
            for number in 1..5 {
                world.change(&Change::Add(service, number, ROUTED, 1, 0));
            }
            for (number, way) in (5..).zip(ways) {
                world.change(&Change::Add(service, number, TUNNELLED, 1, way));
            }
        }
        world.publish();
        world.change(&Change::Macs(7));
        world
    }

    fn publish(&mut self) {
        let snapshot = self.catalog.snapshot();
        drop(self.director.adopt(snapshot));
    }

    fn real(&self, service: usize, number: u16, kind: u8, weight: u32, way: usize) -> RealSpec {
        let v6 = matches!(self.services[service].identity, Identity::Address { vip, .. } if !vip.is_v4());
        let full = self.masquerades && self.services[service].tracking == Tracking::Full;
        let address = match (kind % 8, v6) {
            (4, false) => addr("172.10.0.1"),
            (4, true) => addr("fd00:10::1"),
            (TUNNELLED, v6) => real_address(number, v6 != (way >= TUNNELS.len())),
            _ => real_address(number, v6),
        };
        RealSpec {
            weight,
            forwarding: match kind % 8 {
                _ if full && number == 2 => Forwarding::Masq,
                1 if full => Forwarding::Masq,
                TUNNELLED => Forwarding::Tunnel,
                3 => Forwarding::Local,
                _ => Forwarding::Route,
            },
            state: match kind / 8 {
                1 => RealState::Drain,
                2 => RealState::Down,
                _ => RealState::Up,
            },
            tunnel: TUNNELS[way % TUNNELS.len()],
            drain_until: kind.is_multiple_of(5).then(|| self.now.plus(500)),
            upper_threshold: if number == 3 { 4 } else { 0 },
            ..RealSpec::new(address, 0)
        }
    }

    /// Changes that make no sense now are left out.
    fn change(&mut self, change: &Change) {
        match *change {
            Change::Add(service, number, kind, weight, way) => {
                let spec = self.real(service, number, kind, weight, way);
                let identity = self.services[service].identity;
                if self.catalog.add_real(&identity, spec).is_err() {
                    let _ = self.catalog.edit_real(&identity, spec);
                }
            }
            Change::Remove(service, number) => {
                let identity = self.services[service].identity;
                for v6 in [false, true] {
                    let _ = self.catalog.delete_real(&identity, real_address(number, v6), 0);
                }
            }
            Change::Edit(service, quiescent, keep, on_down) => {
                let spec = &mut self.services[service];
                spec.compat.expire_quiescent_template = quiescent;
                spec.compat.ttl = if keep { TtlPolicy::Keep } else { TtlPolicy::Decrement };
                spec.policy.on_down = [OnDown::Rebind, OnDown::Keep, OnDown::Drop][on_down];
                self.catalog.edit_service(spec.clone()).unwrap();
            }
            Change::Router(all) => self.catalog.routes_all = all,
            Change::Macs(known) => {
                for (port, address, id) in self.shared.neighbours.list() {
                    let last = address.words()[1] as u8;
                    let known = known >> (last % 3) & 1 == 1;
                    let mac = known.then_some(Mac([2, 2, 2, port.0, known.into(), last]));
                    self.shared.neighbours.set(id, mac);
                }
            }
        }
    }

    /// Everything that can be seen of the tables and counters.
    fn state(&self) -> String {
        let mut state = format!("{:?}\n", self.shared.totals());
        for id in (0..200).map(RealId) {
            let load = self.shared.loads.sum(id);
            if load != Default::default() {
                state += &format!("{id:?} {load:?}\n");
            }
        }
        for (flow, conn) in self.director.bindings().iter() {
            state += &format!("{flow:?} {conn:?}\n");
        }
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.shared.clients.iterate(0, from, 1000, |scope, client, real, age| {
                state += &format!("{scope:?} {client:?} {real:?} {age}\n");
            });
        }
        cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = self.shared.templates.iterate(0, from, self.now, 1000, |key, view| {
                state += &format!("{key:?} {view:?}\n");
            });
        }
        state
    }

    /// The frames one at a time, each explained before.
    fn singly(&mut self, port: u8, frames: &[Vec<u8>]) -> Vec<(Verdict, Vec<u8>)> {
        let each = |bytes: &Vec<u8>| {
            let mut frame = MemoryFrame::new(bytes);
            let port = PortIndex(port);
            let verdict = explained::handle(&mut self.director, &mut frame, port, self.now);
            (verdict, frame.bytes().to_vec())
        };
        frames.iter().map(each).collect()
    }

    /// The frames as one burst.
    fn together(&mut self, port: u8, frames: &[Vec<u8>]) -> Vec<(Verdict, Vec<u8>)> {
        let mut frames: Vec<_> = frames.iter().map(|bytes| MemoryFrame::new(bytes)).collect();
        let mut reading = Reading::default();
        self.director.read(&mut reading, &frames, PortIndex(port), self.now);
        let mut verdicts = Vec::new();
        while verdicts.len() < frames.len() {
            let mut decided = Decided::default();
            let undecided = &mut frames[verdicts.len()..];
            self.director.decide(&mut reading, undecided, &mut decided);
            verdicts.extend(decided.verdicts());
        }
        verdicts.into_iter().zip(frames.iter().map(|frame| frame.bytes().to_vec())).collect()
    }

    fn end_turn(&mut self, ticks: u32) {
        self.director.sweep(self.now, 64);
        self.director.quiescent();
        self.now = self.now.plus(ticks);
    }
}

#[derive(Clone, Debug)]
enum Change {
    /// Service, number, kind, weight, the way of its tunnel.
    Add(usize, u16, u8, u32, usize),
    Remove(usize, u16),
    /// Service, `expire_quiescent_template`, `ttl: keep`, what happens when a server is down.
    Edit(usize, bool, bool, usize),
    /// Which third of the neighbours is known.
    Macs(u8),
    /// Whether it is a router for everybody.
    Router(bool),
}

#[derive(Clone, Debug)]
enum Step {
    Burst(u8, Vec<Vec<u8>>),
    Change(Change, bool),
    Wait(u32),
}

fn changes() -> impl Strategy<Value = Change> {
    // Those of clients without connections more often: plain packets go there.
    let service = || prop_oneof![1 => 0..services().len(), 1 => Just(0), 1 => Just(5), 1 => Just(9), 1 => Just(14)];
    prop_oneof![
        6 => (service(), 1..REALS, 0u8..24, 0u32..4, 0..WAYS)
            .prop_map(|(s, n, k, w, way)| Change::Add(s, n, k, w, way)),
        2 => (service(), 1..REALS).prop_map(|(s, n)| Change::Remove(s, n)),
        2 => (service(), any::<bool>(), any::<bool>(), 0usize..3)
            .prop_map(|(s, quiescent, keep, down)| Change::Edit(s, quiescent, keep, down)),
        1 => any::<u8>().prop_map(Change::Macs),
        2 => Just(Change::Macs(7)),
        1 => any::<bool>().prop_map(Change::Router),
    ]
}

/// Few flows, so that most of their packets find a binding.
#[derive(Clone, Copy, Debug)]
struct Flow {
    v6: bool,
    client: u16,
    client_port: u16,
    vip: u16,
    vip_port: u16,
}

impl Flow {
    fn ends(&self) -> (String, String) {
        let Self { v6, client, client_port, vip, vip_port } = self;
        match v6 {
            true => (
                format!("[2001:db8::{client}]:{client_port}"),
                format!("[2001:db8::ff:{vip}]:{vip_port}"),
            ),
            false => (
                format!("198.18.32.{client}:{client_port}"),
                format!("198.18.255.{vip}:{vip_port}"),
            ),
        }
    }

    /// As a real server answers that has the VIP itself.
    fn answer_past(&self) -> (String, String) {
        let (client, vip) = self.ends();
        (vip, client)
    }

    /// As a masqueraded real server answers it.
    fn answer(&self) -> (String, String) {
        let (client, _) = self.ends();
        let real = std::net::SocketAddr::new(real_address(2, self.v6).into(), self.vip_port);
        (real.to_string(), client)
    }
}

prop_compose! {
    fn flows()(
        v6 in prop::bool::weighted(0.4),
        client in prop_oneof![2 => 1u16..3, 1 => 1u16..250],
        client_port in prop::sample::select(vec![2000u16, 2000, 2000, 2000, 2000, 2000, 20, 0]),
        vip in prop::sample::select(vec![1u16, 1, 1, 2, 2, 2, 3]),
        vip_port in prop::sample::select(vec![80u16, 80, 80, 53, 53, 53, 443, 8080]),
    ) -> Flow {
        Flow { v6, client, client_port, vip, vip_port }
    }
}

/// Packets as nearly all traffic has them.
fn plain() -> impl Strategy<Value = Builder> {
    let flags =
        prop::sample::select(vec!["S", "S", "A", "A", "A", "A", "A", "PA", "FA", "SA", "R"]);
    (flows(), prop::bool::weighted(0.3), 0u8..8, flags)
        .prop_map(|(flow, udp, way, flags)| plain_of(&flow, udp, way, flags))
}

fn plain_of(flow: &Flow, udp: bool, way: u8, flags: &str) -> Builder {
    let (from, to) = match way {
        0 | 1 => flow.answer(),
        2 => flow.answer_past(),
        _ => flow.ends(),
    };
    match udp {
        true => packet::udp(&from, &to),
        false => packet::tcp(&from, &to).flags(flags),
    }
}

/// Packets of a few clients that all go one way: what is read and sent on several at a time.
fn row() -> impl Strategy<Value = Vec<Builder>> {
    let flags = prop::sample::select(vec!["S", "A", "A", "A", "A"]);
    let all = (flows(), prop::bool::weighted(0.3), 0u8..6, flags);
    let clients = prop::collection::vec(1u16..4, 4..20);
    (all, clients).prop_map(|((flow, udp, way, flags), clients)| {
        let of = |client| plain_of(&Flow { client, ..flow }, udp, way, flags);
        clients.into_iter().map(of).collect()
    })
}

prop_compose! {
    /// Packets of every other kind.
    fn odd()(
        flow in flows(),
        kind in 0u8..8,
        flags in prop::sample::select(vec!["S", "A", "FA", "", "SR"]),
        ttl in prop::sample::select(vec![64u8, 255, 2, 1, 0]),
        len in prop::sample::select(vec![0usize, 10, 60, 80, 100, 1400, 1470]),
        shape in 0u8..6,
    ) -> Builder {
        let (from, to) = flow.ends();
        let host = |text: &str| text.parse::<std::net::SocketAddr>().unwrap().ip().to_string();
        let packet = match kind {
            0..3 => packet::tcp(&from, &to).flags(flags),
            3 => packet::udp(&from, &to).without_checksum(),
            4 => packet::sctp(&from, &to, &[(u8::try_from(flow.client).unwrap() % 15, 16)]),
            5 => packet::echo_request(&host(&from), &host(&to), 1, 1),
            6 => packet::raw(&host(&from), &host(&to), 47),
            _ => {
                let quoted = packet::tcp(&to, &from).build();
                let kind = if flow.v6 { 1 } else { 3 };
                packet::icmp_error(&host(&from), &host(&to), kind, 3, &quoted, 100)
            }
        };
        let packet = packet.ttl(ttl).payload(&vec![7; len]);
        match shape {
            0 => packet.dont_fragment(),
            1 if !flow.v6 => packet.options(&[1, 1, 1, 1]),
            1 => packet.extension(60, &[1, 4, 0, 0, 0, 0]),
            2 => packet.pad_to(200),
            _ => packet,
        }
    }
}

fn packets() -> impl Strategy<Value = Builder> {
    prop_oneof![5 => plain(), 1 => odd()]
}

/// A packet as it comes in on a port.
fn on_port(port: u8, packet: Builder) -> Builder {
    let packet = packet.dst_mac(own_mac(port));
    match VLANS[usize::from(port)] {
        Some(vlan) => packet.vlan(vlan),
        None => packet,
    }
}

/// What comes in on a port: frames for it, and some that are bent, cut, or for others.
fn frames(port: u8) -> impl Strategy<Value = Vec<u8>> {
    let on_port = move |packet: Builder| on_port(port, packet);
    let good = packets().prop_map(move |packet| on_port(packet).build());
    let fragment = (packets(), 0usize..2).prop_map(move |(packet, at)| {
        let fragments = on_port(packet.payload(&[7; 200])).fragments(64);
        fragments[at].clone()
    });
    let bent = (packets(), any::<prop::sample::Index>(), any::<u8>());
    let bent = bent.prop_map(move |(packet, at, byte)| {
        let mut frame = on_port(packet).build();
        let at = at.index(frame.len().min(80));
        frame[at] = byte;
        frame
    });
    let cut = (packets(), any::<prop::sample::Index>()).prop_map(move |(packet, at)| {
        let mut frame = on_port(packet).build();
        frame.truncate(at.index(frame.len()));
        frame
    });
    let other = (packets(), 0u16..40).prop_map(|(packet, vlan)| packet.vlan(vlan).build());
    prop_oneof![40 => good, 1 => fragment, 2 => bent, 1 => cut, 1 => other]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let port = prop::sample::select(vec![0u8, 0, 0, 1, 1, 2, 3]);
    let burst = port.prop_flat_map(|port| {
        let mixed = prop::collection::vec(frames(port), 1..33);
        let rows = prop::collection::vec(row(), 1..3).prop_map(move |rows| {
            let rows = rows.into_iter().flatten().take(BURST);
            rows.map(|packet| on_port(port, packet).build()).collect()
        });
        let frames = prop_oneof![2 => mixed, 1 => rows];
        frames.prop_map(move |frames| Step::Burst(port, frames))
    });
    let step = prop_oneof![
        8 => burst,
        4 => (changes(), prop::bool::weighted(0.8)).prop_map(|(change, publish)| Step::Change(change, publish)),
        2 => (1u32..3000).prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..40)
}

#[test]
fn a_routers_syn_that_is_too_long_for_its_way_is_refused_in_a_burst_as_alone() {
    let syn = packet::tcp("198.18.32.1:2000", "198.18.255.3:80").flags("S").payload(&[7; 1470]);
    let frame = syn.dont_fragment().dst_mac(own_mac(0)).build();
    let [together, alone] = [World::together, World::singly].map(|way| {
        let mut world = World::new(true, [0, 0]);
        world.change(&Change::Router(true));
        world.publish();
        way(&mut world, 0, std::slice::from_ref(&frame))
    });
    assert_eq!(together, alone);
    let [(Verdict::Forward(PortIndex(0)), error)] = &alone[..] else { panic!("{alone:?}") };
    // RFC 792: destination unreachable, fragmentation needed.
    assert_eq!((error[23], &error[34..36]), (1, &[3, 4][..]));
}

#[test]
fn nobody_outside_reaches_a_service_inside_the_host_in_a_burst_or_alone() {
    let frames: Vec<Vec<u8>> = (1..9)
        .map(|n| packet::tcp(&format!("198.18.32.{n}:2000"), "127.0.0.5:80").flags("S"))
        .map(|syn| syn.dst_mac(own_mac(0)).build())
        .collect();
    for tracking in [Tracking::Client, Tracking::Full] {
        for way in [World::together, World::singly] {
            let mut world = World::new(false, [0, 0]);
            let like = services().into_iter().find(|service| service.tracking == tracking);
            let (protocol, vip, vip_port) = (Protocol::Tcp, addr("127.0.0.5"), 80);
            let identity = Identity::Address { protocol, vip, vip_port };
            let inside = ServiceSpec { identity, ..like.unwrap() };
            world.catalog.add_service(inside.clone()).unwrap();
            world.services.push(inside);
            world.change(&Change::Add(world.services.len() - 1, 1, ROUTED, 1, 0));
            world.publish();
            for (verdict, _) in way(&mut world, 0, &frames) {
                assert_eq!(verdict, Verdict::Drop(DropReason::BadAddress), "{tracking:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(Config { cases: 400, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_burst_gives_what_its_frames_give_one_at_a_time(
        masquerades in any::<bool>(),
        ways in [0..WAYS, 0..WAYS],
        steps in steps(),
    ) {
        let [mut one, mut other] = [(); 2].map(|()| World::new(masquerades, ways));
        for step in steps {
            match step {
                Step::Burst(port, frames) => {
                    prop_assert_eq!(one.together(port, &frames), other.singly(port, &frames));
                    prop_assert_eq!(one.state(), other.state());
                    one.end_turn(1);
                    other.end_turn(1);
                }
                Step::Change(change, publish) => {
                    for world in [&mut one, &mut other] {
                        world.change(&change);
                        if publish {
                            world.publish();
                        }
                    }
                }
                Step::Wait(ticks) => {
                    one.end_turn(ticks);
                    other.end_turn(ticks);
                }
            }
        }
    }
}
