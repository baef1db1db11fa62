//! From the running director to rows.
//!
//! Nothing here stops a core: counters are read while they move, tables while they change. A
//! listing is therefore of no single moment, as `ipvsadm`'s is.

use std::collections::HashMap;
use std::sync::Arc;

use dataplane::conn::Conn;
use dataplane::conn::table::Flow;
use dataplane::ids::{ScopeId, ServiceId};
use dataplane::load::LoadBoard;
use dataplane::sched::Scheduler;
use dataplane::snapshot::{Identity, Real, Scope, Service, Snapshot};
use dataplane::table::{ClientKey, Cursor, ServiceReal, TemplateKey, TemplateTable, View};
use dataplane::tick::{TICKS_PER_SECOND, Tick};
use dataplane::wire::{Addr, Protocol};

use super::address;
use super::meter::Meters;
use super::row::{ConnectionRow, Endpoint, Listing, RealRow, ServiceRow};

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
    let rows = snapshot.services.iter().flatten();
    let services = rows.map(|service| row(service, snapshot, loads, meters)).collect();
    Listing { table_size, services }
}

fn row(service: &Service, snapshot: &Snapshot, loads: &LoadBoard, meters: &Meters) -> ServiceRow {
    let members = service.members.iter().filter_map(|member| snapshot.available(member.real));
    ServiceRow {
        name: Arc::clone(&service.name),
        identity: service.identity,
        scheduler: service.scheduler.map(Scheduler::name),
        flags: service.flags,
        persistence: service.persistence,
        engine: None,
        one_packet: service.one_packet,
        tracking: service.tracking,
        stats: meters.service(service.id, snapshot, loads),
        reals: members.map(|real| real_row(real, loads, meters)).collect(),
    }
}

fn real_row(real: &Real, loads: &LoadBoard, meters: &Meters) -> RealRow {
    let load = loads.sum(real.id);
    RealRow {
        address: real.address,
        port: real.port,
        forwarding: real.forwarding.word(),
        tunnel: None,
        weight: real.effective_weight(),
        active: load.active,
        inactive: load.inactive,
        persistent: load.bound,
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
    now: Tick,
) -> Option<ConnectionRow> {
    let real = snapshot.real(conn.real)?;
    Some(ConnectionRow {
        protocol: Some(flow.protocol),
        expires_s: seconds_until(conn.expires, now),
        state: conn.state.word(),
        client: Endpoint { address: flow.client, port: flow.client_port },
        virtual_side: Endpoint { address: flow.vip, port: flow.vip_port },
        real: Endpoint { address: real.address, port: conn.real_port },
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
    scopes: &HashMap<ScopeId, Scope>,
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
    scope: &Scope,
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
    let side = VirtualSide::of_scope(&match service.identity {
        Identity::Address { protocol, vip, vip_port } => Scope::Port { protocol, vip, vip_port },
        Identity::Ports { protocol, vip, first, last } => {
            Scope::Ports { protocol, vip, first, last }
        }
        Identity::Mark { family, mark } => Scope::Mark { family, mark },
    });
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
    fn of_scope(scope: &Scope) -> Self {
        let (protocol, address, port, one_port) = match *scope {
            Scope::Port { protocol, vip, vip_port } => {
                (Some(protocol), vip, vip_port, vip_port != 0)
            }
            // IPVS has no such thing; the first port tells ranges apart.
            Scope::Ports { protocol, vip, first, .. } => (protocol, vip, first, false),
            Scope::Mark { family, mark } => {
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
