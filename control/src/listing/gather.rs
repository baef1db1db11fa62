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
    let (protocol, vip, vip_port) = match *scope {
        Scope::Port { protocol, vip, vip_port } => (Some(protocol), vip, vip_port),
        Scope::Mark { family, mark } => (None, address::of_mark(family, mark.0.get()), 0),
    };
    let real_port = if vip_port == 0 { 0 } else { real.port };
    let (vip_port, real_port) =
        if view.invalid { (INVALID_PORT, INVALID_PORT) } else { (vip_port, real_port) };
    Some(bound_client(
        protocol,
        key.client,
        Endpoint { address: vip, port: vip_port },
        Endpoint { address: real.address, port: real_port },
        (seconds_until(view.expires, now), view.assured),
    ))
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
    let (protocol, vip, vip_port) = match service.identity {
        Identity::Address { protocol, vip, vip_port } => (Some(protocol), vip, vip_port),
        Identity::Mark { family, mark } => (None, address::of_mark(family, mark.0.get()), 0),
    };
    let timeout_s = service.persistence.map_or(0, |persistence| persistence.timeout_s);
    Some(bound_client(
        protocol,
        client,
        Endpoint { address: vip, port: vip_port },
        Endpoint { address: real.address, port: if vip_port == 0 { 0 } else { real.port } },
        (timeout_s.saturating_sub(idle_s), false),
    ))
}

fn bound_client(
    protocol: Option<Protocol>,
    client: ClientKey,
    virtual_side: Endpoint,
    real: Endpoint,
    (expires_s, assured): (u32, bool),
) -> ConnectionRow {
    ConnectionRow {
        protocol,
        expires_s,
        state: if assured { "ASSURED" } else { "NONE" },
        client: Endpoint { address: Addr::from(client.address()), port: 0 },
        virtual_side,
        real,
        engine: None,
        template: true,
    }
}

/// Whole seconds that are left; 0 for what is over and not swept yet.
fn seconds_until(expires: Tick, now: Tick) -> u32 {
    u32::try_from(now.until(expires)).unwrap_or(0) / TICKS_PER_SECOND
}
