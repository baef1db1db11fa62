//! Next hops: where the director stands, and whose MAC addresses it needs.

use std::collections::HashMap;
use std::sync::Arc;

use dataplane::ids::NeighbourId;
use dataplane::snapshot::HostAddress;
use dataplane::wire::Addr;
use dataplane::wire::ethernet::Mac;

use super::ControlThread;
use crate::neighbour::{PortFace, Watched};

impl ControlThread {
    /// Tells the neighbours what to watch: every next hop of the snapshot, and the gateways.
    pub(super) fn settle_neighbours(&mut self) {
        let now = self.now_ms();
        self.neighbours.site(self.faces(), now);
        let hops = self.hops();
        self.neighbours.watch_only(&self.shared.neighbours, &hops, now);
        self.log_neighbours();
    }

    fn faces(&self) -> Vec<PortFace> {
        let vips: Vec<Addr> = self
            .snapshot
            .hosts
            .iter()
            .filter(|(_, kind)| *kind == HostAddress::Vip)
            .map(|(address, _)| address)
            .collect();
        let faces = self.snapshot.ports.iter().enumerate().map(|(index, facts)| {
            let configured = self.model.ports.get(index);
            let addresses: Vec<(Addr, u8)> = configured.map_or_else(Vec::new, |port| {
                port.addresses.iter().map(|c| (c.address().into(), c.prefix())).collect()
            });
            PortFace {
                name: Arc::clone(&facts.name),
                mac: self.ports.get(index).map_or(Mac::ZERO, |port| port.mac),
                vlan: facts.vlan,
                vips: vips.iter().copied().filter(|vip| self.announces(index, *vip)).collect(),
                addresses,
            }
        });
        faces.collect()
    }

    /// A VIP is announced on the port whose connected network holds it; one that is in
    /// no connected network, on every port with a gateway, where its router may be.
    fn announces(&self, index: usize, vip: Addr) -> bool {
        let route = self.snapshot.routes.iter().find(|route| {
            route.network.family() == vip.family() && vip.masked(route.length) == route.network
        });
        match route {
            Some(route) if route.via.is_none() => usize::from(route.port.0) == index,
            _ => self.snapshot.routes.iter().any(|route| {
                route.length == 0
                    && usize::from(route.port.0) == index
                    && route.network.family() == vip.family()
            }),
        }
    }

    /// Every next hop that a real server of the snapshot has, removed ones among them as
    /// long as connections go there, and every gateway.
    fn hops(&self) -> Vec<Watched> {
        let mut pins: HashMap<NeighbourId, Option<Mac>> = HashMap::new();
        for real in self.snapshot.reals.iter().flatten() {
            if let Some(hop) = real.next_hop {
                let pin = pins.entry(hop.neighbour).or_default();
                *pin = pin.or(real.mac);
            }
        }
        for route in self.snapshot.routes.iter() {
            if let Some(via) = route.via
                && let Some(id) = self.shared.neighbours.intern(route.port, via)
            {
                pins.entry(id).or_default();
            }
        }
        let listed = self.shared.neighbours.list().into_iter();
        listed
            .filter_map(|(port, address, id)| {
                pins.get(&id).map(|pinned| Watched { id, port, address, pinned: *pinned })
            })
            .collect()
    }
}
