//! From the running director to rows.
//!
//! Nothing here stops a core: counters are read while they move, tables while they change. A
//! listing is therefore of no single moment, as `ipvsadm`'s is.

use std::collections::HashMap;
use std::sync::Arc;

use dataplane::agreements::Agreements;
use dataplane::conn::table::Flow;
use dataplane::conn::{Conn, ConnFlags};
use dataplane::forward::Forwarding;
use dataplane::ids::{ScopeId, ServiceId};
use dataplane::load::LoadBoard;
use dataplane::sched::Scheduler;
use dataplane::snapshot::{Identity, Real, Service, Snapshot};
use dataplane::table::{ClientKey, Cursor, ServiceReal, TemplateKey, TemplateTable, View};
use dataplane::tick::{TICKS_PER_SECOND, Tick};
use dataplane::wire::{Addr, Protocol};

use super::address;
use super::meter::Meters;
use super::row::{
    ConnectionRow, Endpoint, Listing, RealRow, ServiceRow, Stats, Tunnel, TunnelChecksum,
};

/// The port that IPVS gives to both addresses of a template that is not found any more.
const INVALID_PORT: u16 = u16::MAX;
/// Buckets of a table that are listed at a time.
const BUDGET: usize = 1024;

/// All services, real servers newest first, as IPVS's lists are; [`Listing::sort`] puts them
/// into ipvsadm's order. `table_size` goes into the first line.
pub fn services(
    snapshot: &Snapshot,
    loads: &LoadBoard,
    meters: &Meters,
    table_size: u32,
) -> Listing {
    let stats = meters.services(snapshot, loads);
    let row = |service: &Arc<Service>| {
        let stats = stats.get(&service.id).copied().unwrap_or_default();
        service_row(service, stats, snapshot, loads, meters)
    };
    Listing { table_size, services: snapshot.services.iter().flatten().map(row).collect() }
}

fn service_row(
    service: &Service,
    stats: Stats,
    snapshot: &Snapshot,
    loads: &LoadBoard,
    meters: &Meters,
) -> ServiceRow {
    let members = service.members.iter().filter_map(|member| snapshot.available(member.real));
    ServiceRow {
        name: Arc::clone(&service.name),
        identity: service.identity,
        scheduler: service.scheduler.map(Scheduler::name),
        flags: service.flags,
        persistence: service.persistence,
        engine: service.engine.map(|engine| engine.name().into()),
        one_packet: service.one_packet,
        tracking: service.tracking,
        stats,
        reals: members.map(|real| real_row(real, loads, meters)).collect(),
    }
}

fn tunnel(tunnel: dataplane::forward::Tunnel) -> Tunnel {
    use dataplane::forward::{GueChecksum, Tunnel as Kind};
    match tunnel {
        Kind::Ipip => Tunnel::Ipip,
        Kind::Gre { checksum: false } => Tunnel::Gre { checksum: TunnelChecksum::Off },
        Kind::Gre { checksum: true } => Tunnel::Gre { checksum: TunnelChecksum::On },
        Kind::Gue { port, checksum } => Tunnel::Gue {
            port,
            checksum: match checksum {
                GueChecksum::None => TunnelChecksum::Off,
                GueChecksum::Full => TunnelChecksum::On,
                GueChecksum::Remote => TunnelChecksum::Remote,
            },
        },
    }
}

fn real_row(real: &Real, loads: &LoadBoard, meters: &Meters) -> RealRow {
    let load = loads.sum(real.id);
    RealRow {
        address: real.address,
        port: real.port,
        forwarding: real.forwarding.word(),
        tunnel: (real.forwarding == Forwarding::Tunnel).then(|| tunnel(real.tunnel)),
        weight: real.effective_weight(),
        active: load.active,
        inactive: load.inactive,
        persistent: load.bound,
        clients: load.clients(),
        upper_threshold: real.upper_threshold,
        lower_threshold: real.lower_threshold,
        state: real.state,
        stats: meters.real(real, &load),
    }
}

/// A connection's row. `None` if the snapshot does not know its real server, which happens
/// only while a newer snapshot is on its way.
pub fn connection(
    flow: &Flow,
    conn: &Conn,
    snapshot: &Snapshot,
    agreements: &Agreements,
    now: Tick,
) -> Option<ConnectionRow> {
    let mut address = snapshot.real(conn.real)?.address;
    if conn.flags.contains(ConnFlags::ELSEWHERE)
        && let Some(data) = agreements.data(flow)
    {
        address = data.server;
    }
    Some(ConnectionRow {
        protocol: Some(flow.protocol),
        expires_s: seconds_until(conn.expires, now),
        state: conn.state.word(),
        client: Endpoint { address: flow.client, port: flow.client_port },
        virtual_side: Endpoint { address: flow.vip, port: flow.vip_port },
        real: Endpoint { address, port: conn.real_port },
        engine: None,
        template: false,
    })
}

/// All templates of the table: `shards` is its number of cores, `scopes` is
/// `catalog.scopes().collect()`. Templates whose scope or real server is unknown (they are
/// newer than `scopes` or the snapshot) are left out.
pub fn templates(
    table: &TemplateTable,
    shards: u32,
    scopes: &HashMap<ScopeId, Identity>,
    snapshot: &Snapshot,
    now: Tick,
) -> Vec<ConnectionRow> {
    let mut rows = Vec::new();
    for shard in 0..shards {
        let mut cursor = Some(Cursor::default());
        while let Some(from) = cursor {
            cursor = table.iterate(shard, from, now, BUDGET, |key, view| {
                let scope = scopes.get(&key.scope);
                rows.extend(scope.and_then(|scope| template(key, &view, scope, snapshot, now)));
            });
        }
    }
    rows
}

/// A template's row: client port 0, virtual port 0 if it is for all ports, protocol `IP` and
/// the mark as an address if it is for a mark. An invalidated one has both its VIP's and its
/// real server's port at 65535.
pub fn template(
    key: TemplateKey,
    view: &View,
    scope: &Identity,
    snapshot: &Snapshot,
    now: Tick,
) -> Option<ConnectionRow> {
    let real = snapshot.real(view.real)?;
    let mut side = VirtualSide::of_scope(scope);
    let mut real = Endpoint { address: real.address, port: side.real_port(real) };
    if view.invalid {
        side.endpoint.port = INVALID_PORT;
        real.port = INVALID_PORT;
    }
    let expires_s = seconds_until(view.expires, now);
    Some(bound_client(key.client, &side, real, expires_s, view.assured))
}

/// The row of a client under `tracking: client`, of which the last packet came `idle_s`
/// seconds ago: as its template would be listed. `None` if the service or the real server is
/// gone.
pub fn client(
    service: ServiceId,
    client: ClientKey,
    number: ServiceReal,
    idle_s: u32,
    snapshot: &Snapshot,
) -> Option<ConnectionRow> {
    let real = snapshot.real(snapshot.client_real(service, number)?)?;
    let service = snapshot.service(service)?;
    let side = VirtualSide::of_scope(&service.identity);
    let real = Endpoint { address: real.address, port: side.real_port(real) };
    let timeout_s = service.persistence.map_or(0, |persistence| persistence.timeout_s);
    Some(bound_client(client, &side, real, timeout_s.saturating_sub(idle_s), false))
}

/// What a template's key says of the virtual service, as IPVS lists it.
struct VirtualSide {
    protocol: Option<Protocol>,
    endpoint: Endpoint,
    one_port: bool,
}

impl VirtualSide {
    fn of_scope(scope: &Identity) -> Self {
        let (protocol, address, port, one_port) = match *scope {
            Identity::Address { protocol, vip, vip_port } => {
                (Some(protocol), vip, vip_port, vip_port != 0)
            }
            // IPVS has no such thing; the first port tells ranges apart.
            Identity::Ports { protocol, vip, first: 0 | 1, last: u16::MAX } => {
                (protocol, vip, 0, false)
            }
            Identity::Ports { protocol, vip, first, .. } => (protocol, vip, first, false),
            Identity::Mark { family, mark } => {
                (None, address::of_mark(family, mark.0.get()), 0, false)
            }
        };
        Self { protocol, endpoint: Endpoint { address, port }, one_port }
    }

    /// The real server's port, where the template is for one port.
    fn real_port(&self, real: &Real) -> u16 {
        if self.one_port { real.port } else { 0 }
    }
}

fn bound_client(
    client: ClientKey,
    side: &VirtualSide,
    real: Endpoint,
    expires_s: u32,
    assured: bool,
) -> ConnectionRow {
    ConnectionRow {
        protocol: side.protocol,
        expires_s,
        state: if assured { "ASSURED" } else { "NONE" },
        client: Endpoint { address: Addr::from(client.address()), port: 0 },
        virtual_side: side.endpoint,
        real,
        engine: None,
        template: true,
    }
}

/// Whole seconds that are left; 0 for what is over and not swept yet.
fn seconds_until(expires: Tick, now: Tick) -> u32 {
    u32::try_from(now.until(expires)).unwrap_or(0) / TICKS_PER_SECOND
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use dataplane::catalog::Catalog;
    use dataplane::catalog::spec::{RealSpec, ServiceSpec, Site};
    use dataplane::compat::Compat;
    use dataplane::conn::{ConnFlags, State};
    use dataplane::ids::{Mark, RealId};
    use dataplane::sched::SchedulerFlags;
    use dataplane::shared::{CoreSeat, HashKey, Shared, TableSizes};
    use dataplane::snapshot::{Persistence, RealState, Tracking};
    use dataplane::table::{Candidate, Renewal};
    use dataplane::timer::TimerRule;
    use dataplane::wire::Family;

    use super::super::{Style, connections, service};
    use super::*;

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    fn tcp(vip: &str, vip_port: u16) -> Identity {
        Identity::Address { protocol: Protocol::Tcp, vip: addr(vip), vip_port }
    }

    fn mark(family: Family) -> Identity {
        Identity::Mark { family, mark: Mark(10.try_into().unwrap()) }
    }

    /// A director of one core whose tables are filled by hand.
    struct Bench {
        catalog: Catalog,
        shared: Arc<Shared>,
        seat: CoreSeat,
    }

    impl Bench {
        fn new() -> Self {
            let sizes = TableSizes::default();
            let (shared, mut seats) =
                Shared::new(1, sizes, TimerRule::KernelWheel, HashKey([1, 2]));
            let catalog = Catalog::new(Arc::clone(&shared), Site::default());
            Self { catalog, shared, seat: seats.remove(0) }
        }

        fn add(
            &mut self,
            identity: Identity,
            timeout_s: u32,
            reals: &[(&str, u16)],
        ) -> Vec<RealId> {
            let spec = ServiceSpec {
                name: "web".into(),
                identity,
                scheduler: Scheduler::by_name("wlc"),
                flags: SchedulerFlags::default(),
                seed: None,
                persistence: Some(Persistence { timeout_s, mask: u128::MAX }),
                engine: None,
                tracking: Tracking::Full,
                one_packet: false,
                compat: Compat::default(),
                policy: Default::default(),
            };
            self.catalog.add_service(spec).unwrap();
            let add = |(rip, port): &(&str, u16)| {
                self.catalog.add_real(&identity, RealSpec::new(addr(rip), *port)).unwrap()
            };
            reals.iter().map(add).collect()
        }

        fn key(&self, scope: Identity, client: &str) -> TemplateKey {
            let (id, _) = self.catalog.scopes().find(|(_, known)| *known == scope).unwrap();
            TemplateKey { scope: id, client: client.parse::<IpAddr>().unwrap().into() }
        }

        fn bind(&mut self, scope: Identity, client: &str, real: RealId, now: Tick) -> View {
            let table = &self.shared.templates;
            let probe = table.probe(self.key(scope, client));
            let first = Candidate { real, timeout_index: 0 };
            let view = table.get_or_insert(&probe, first, now).unwrap().view();
            let seat = &mut self.seat.templates;
            table.attach(view.handle, real, Renewal::AsKernel, now, seat).unwrap()
        }

        fn list_templates(&mut self, now: Tick) -> Vec<String> {
            let snapshot = self.catalog.snapshot();
            let scopes: HashMap<_, _> = self.catalog.scopes().collect();
            let rows = templates(&self.shared.templates, 1, &scopes, &snapshot, now);
            let text = connections(&rows, false);
            let mut lines: Vec<String> = text.lines().skip(2).map(str::to_owned).collect();
            lines.sort();
            lines
        }
    }

    #[test]
    fn templates_are_listed_as_connections_with_client_port_0() {
        let mut bench = Bench::new();
        let port = bench.add(tcp("192.0.2.10", 80), 100, &[("172.16.0.11", 80)])[0];
        let all = bench.add(tcp("192.0.2.20", 0), 100, &[("172.16.0.12", 0)])[0];
        let v4 = bench.add(mark(Family::V4), 100, &[("172.16.0.13", 0)])[0];
        let v6 = bench.add(mark(Family::V6), 100, &[("fd00:16::13", 0)])[0];
        let vip =
            |vip, vip_port| Identity::Address { protocol: Protocol::Tcp, vip: addr(vip), vip_port };
        let of_mark = |family| Identity::Mark { family, mark: Mark(10.try_into().unwrap()) };
        let range = |first, last| {
            let vip = addr("192.0.2.30");
            (
                Identity::Ports { protocol: None, vip, first, last },
                Identity::Ports { protocol: None, vip, first, last },
            )
        };
        let some = bench.add(range(8000, 8099).0, 100, &[("172.16.0.14", 0)])[0];
        let every = bench.add(range(0, u16::MAX).0, 100, &[("172.16.0.15", 0)])[0];
        let now = Tick::from_secs(1000);
        bench.bind(range(8000, 8099).1, "10.1.0.1", some, now);
        bench.bind(range(0, u16::MAX).1, "10.1.0.1", every, now);
        let proven = bench.bind(vip("192.0.2.10", 80), "10.1.0.1", port, now);
        bench.shared.templates.assure(proven.handle);
        bench.bind(vip("192.0.2.20", 0), "10.1.0.1", all, now);
        bench.bind(of_mark(Family::V4), "10.1.0.1", v4, now);
        bench.bind(of_mark(Family::V6), "2001:db8:2::1", v6, now);
        assert_eq!(
            bench.list_templates(now.plus(10)),
            [
                "IP  01:39  NONE        10.1.0.1:0         0.0.0.10:0         172.16.0.13:0",
                "IP  01:39  NONE        10.1.0.1:0         192.0.2.30:0       172.16.0.15:0",
                "IP  01:39  NONE        10.1.0.1:0         192.0.2.30:8000    172.16.0.14:0",
                "IP  01:39  NONE        [2001:db8:2::1]:0  [0:a::]:0          [fd00:16::13]:0",
                "TCP 01:39  ASSURED     10.1.0.1:0         192.0.2.10:80      172.16.0.11:80",
                "TCP 01:39  NONE        10.1.0.1:0         192.0.2.20:0       172.16.0.12:0",
            ]
        );
    }

    #[test]
    fn an_invalidated_template_has_both_ports_at_65535_beside_its_successor() {
        let mut bench = Bench::new();
        let reals =
            bench.add(tcp("192.0.2.10", 80), 100, &[("172.16.0.13", 80), ("172.16.0.11", 80)]);
        let scope =
            Identity::Address { protocol: Protocol::Tcp, vip: addr("192.0.2.10"), vip_port: 80 };
        let now = Tick::from_secs(1000);
        let old = bench.bind(scope, "10.1.0.1", reals[0], now);
        bench.shared.templates.assure(old.handle);
        bench.shared.templates.invalidate(old.handle);
        bench.bind(scope, "10.1.0.1", reals[1], now);
        // A removed real server is still known while templates name it.
        bench.shared.loads.bind(0, reals[0], 1);
        bench.catalog.delete_real(&tcp("192.0.2.10", 80), addr("172.16.0.13"), 80).unwrap();
        assert_eq!(
            bench.list_templates(now.plus(10)),
            [
                "TCP 01:39  ASSURED     10.1.0.1:0         192.0.2.10:65535   172.16.0.13:65535",
                "TCP 01:39  NONE        10.1.0.1:0         192.0.2.10:80      172.16.0.11:80",
            ]
        );
    }

    #[test]
    fn a_connection_is_listed_with_its_own_port_and_never_with_negative_time() {
        let mut bench = Bench::new();
        let real = bench.add(tcp("192.0.2.10", 80), 100, &[("172.16.0.11", 80)])[0];
        let snapshot = bench.catalog.snapshot();
        let flow = Flow {
            client: addr("10.1.0.1"),
            vip: addr("192.0.2.10"),
            client_port: 1000,
            vip_port: 80,
            protocol: Protocol::Tcp,
        };
        let mut conn = Conn {
            template: None,
            real,
            expires: Tick::from_secs(900),
            timeout: 900 * TICKS_PER_SECOND,
            real_port: 8080,
            state: State::TcpEstablished,
            flags: ConnFlags::default(),
            forwarding: Forwarding::Route,
            in_packets: 1,
        };
        let line = |conn: &Conn, now| {
            let row = connection(&flow, conn, &snapshot, &Agreements::default(), now).unwrap();
            connections(&[row], false).lines().nth(2).unwrap().to_owned()
        };
        assert_eq!(
            line(&conn, Tick(1)),
            "TCP 14:59  ESTABLISHED 10.1.0.1:1000      192.0.2.10:80      172.16.0.11:8080"
        );
        assert!(line(&conn, Tick::from_secs(901)).starts_with("TCP 00:00 "));
        conn.real = RealId(4000);
        assert_eq!(connection(&flow, &conn, &snapshot, &Agreements::default(), Tick(1)), None);
    }

    #[test]
    fn a_client_without_connections_is_listed_like_a_template() {
        let mut bench = Bench::new();
        bench.add(tcp("192.0.2.10", 80), 100, &[("172.16.0.11", 80)]);
        let snapshot = bench.catalog.snapshot();
        let id = snapshot.services.iter().flatten().next().unwrap().id;
        let number = ServiceReal::new(2).unwrap();
        let of = |idle_s| {
            let key = "10.1.0.1".parse::<IpAddr>().unwrap().into();
            client(id, key, number, idle_s, &snapshot).unwrap()
        };
        assert_eq!(
            connections(&[of(40), of(140)], false).lines().skip(2).collect::<Vec<_>>(),
            [
                "TCP 01:00  NONE        10.1.0.1:0         192.0.2.10:80      172.16.0.11:80",
                "TCP 00:00  NONE        10.1.0.1:0         192.0.2.10:80      172.16.0.11:80",
            ]
        );
    }

    #[test]
    fn services_show_what_the_cores_counted() {
        let mut bench = Bench::new();
        let identity = tcp("192.0.2.10", 80);
        let reals = bench.add(identity, 360, &[("172.16.0.11", 80), ("172.16.0.12", 80)]);
        let drained = RealSpec {
            weight: 5,
            state: RealState::Drain,
            ..RealSpec::new(addr("172.16.0.12"), 80)
        };
        bench.catalog.edit_real(&identity, drained).unwrap();
        let load = bench.shared.loads.of_core(0, reals[0]).unwrap();
        bench.shared.loads.shift(0, reals[0], 3, 2);
        bench.shared.loads.bind(0, reals[0], 1);
        for _ in 0..5 {
            load.connection();
        }
        load.incoming(7, 280);
        let snapshot = bench.catalog.snapshot();
        let list = |meters: &Meters, style| {
            let mut listing = services(&snapshot, &bench.shared.loads, meters, 4096);
            listing.sort();
            let text = service(listing.find(&identity).unwrap(), style);
            text.lines().skip(2).map(str::to_owned).collect::<Vec<_>>()
        };
        let mut meters = Meters::default();
        assert_eq!(
            list(&meters, Style::Default),
            [
                "TCP  192.0.2.10:80 wlc persistent 360",
                "  -> 172.16.0.11:80               Route   1      3          2         ",
                "  -> 172.16.0.12:80               Route   0      0          0         ",
            ]
        );
        assert!(
            list(&meters, Style::PersistentConnections)[1].contains("1         1           3 ")
        );
        let counted = [
            "TCP  192.0.2.10:80                       5        7        0      280        0",
            "  -> 172.16.0.11:80                      5        7        0      280        0",
            "  -> 172.16.0.12:80                      0        0        0        0        0",
        ];
        assert_eq!(list(&meters, Style::Stats { exact: false }), counted);
        meters.tick(&snapshot, &bench.shared.loads);
        assert_eq!(list(&meters, Style::Stats { exact: false }), counted);
        let rates = list(&meters, Style::Rate { exact: false });
        assert!(rates[0].ends_with("    1        1        0       35        0"), "{}", rates[0]);
        meters.zero(&snapshot, &bench.shared.loads, None);
        load.connection();
        let [service, real, _] = &list(&meters, Style::Stats { exact: true })[..] else { panic!() };
        assert!(service.ends_with(" 1        0        0        0        0"));
        assert!(real.ends_with(" 1        0        0        0        0"));
        meters.tick(&snapshot, &bench.shared.loads);
        let id = snapshot.services.iter().flatten().next().unwrap().id;
        assert_eq!(meters.ever()[&id].conns, 6, "set to zero, and counted all the same");
        assert_eq!(meters.ever_in_all().in_packets, 7);
    }

    #[test]
    fn a_service_keeps_what_its_removed_real_servers_counted() {
        let mut bench = Bench::new();
        let identity = tcp("192.0.2.10", 80);
        let reals = bench.add(identity, 360, &[("172.16.0.11", 80), ("172.16.0.12", 80)]);
        bench.shared.loads.of_core(0, reals[0]).unwrap().connection();
        bench.shared.loads.of_core(0, reals[1]).unwrap().connection();
        let mut meters = Meters::default();
        meters.tick(&bench.catalog.snapshot(), &bench.shared.loads);
        bench.catalog.delete_real(&identity, addr("172.16.0.11"), 80).unwrap();
        let mut snapshot = Snapshot::clone(&bench.catalog.snapshot());
        // As when the id has been given back.
        snapshot.reals[reals[0].0 as usize] = None;
        meters.tick(&snapshot, &bench.shared.loads);
        let listing = services(&snapshot, &bench.shared.loads, &meters, 4096);
        let row = listing.find(&identity).unwrap();
        assert_eq!(row.reals.len(), 1);
        assert_eq!(row.stats.total.conns, 2);
    }
}
